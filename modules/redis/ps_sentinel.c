
#include <string.h>

#include "ps_sentinel.h"


static int ps_sentinel_alnum(int ch);
static const char *ps_sentinel_word(const char **p, const char *end,
    size_t *len);


int
ps_sentinel_addr(ps_sentinel_addr_t *addr, const char *host, size_t host_len,
    const char *port, size_t port_len)
{
    size_t    i;
    unsigned  n;

    if (host_len == 0 || host_len > PS_SENTINEL_HOST_MAX) {
        return -1;
    }

    for (i = 0; i < host_len; i++) {
        if (!ps_sentinel_alnum(host[i]) && host[i] != '.' && host[i] != ':'
            && host[i] != '-' && host[i] != '_')
        {
            return -1;
        }
    }

    if (port_len == 0 || port_len > 5) {
        return -1;
    }

    n = 0;

    for (i = 0; i < port_len; i++) {
        if (port[i] < '0' || port[i] > '9') {
            return -1;
        }

        n = n * 10 + (unsigned) (port[i] - '0');
    }

    if (n == 0 || n > 65535) {
        return -1;
    }

    addr->host = host;
    addr->host_len = host_len;
    addr->port = n;

    return 0;
}


int
ps_sentinel_switch(ps_sentinel_addr_t *addr, const char *name,
    size_t name_len, const char *text, size_t len)
{
    int          i;
    size_t       n[5];
    const char  *word[5], *p, *end;

    p = text;
    end = text + len;

    for (i = 0; i < 5; i++) {

        if (i && (p == end || *p++ != ' ')) {
            return -1;
        }

        word[i] = ps_sentinel_word(&p, end, &n[i]);

        if (n[i] == 0) {
            return -1;
        }
    }

    if (p != end || n[0] != name_len || memcmp(word[0], name, name_len) != 0)
    {
        return -1;
    }

    return ps_sentinel_addr(addr, word[3], n[3], word[4], n[4]);
}


int
ps_sentinel_name(const char *name, size_t len)
{
    size_t  i;

    for (i = 0; i < len; i++) {
        if (!ps_sentinel_alnum(name[i]) && name[i] != '.' && name[i] != '-'
            && name[i] != '_')
        {
            return 0;
        }
    }

    return len > 0 && len <= PS_SENTINEL_NAME_MAX;
}


static int
ps_sentinel_alnum(int ch)
{
    return (ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'z')
           || (ch >= 'A' && ch <= 'Z');
}


/* up to the next space */

static const char *
ps_sentinel_word(const char **p, const char *end, size_t *len)
{
    const char  *start;

    start = *p;

    while (*p < end && **p != ' ') {
        (*p)++;
    }

    *len = (size_t) (*p - start);

    return start;
}
