
#include <string.h>

#include "ps_slot.h"


static int ps_redirect_number(const char **p, const char *end, unsigned max,
    unsigned *n);
static int ps_slot_host(const char *host, size_t len);


unsigned
ps_slot(const char *key, size_t len)
{
    int          bit;
    size_t       i;
    unsigned     crc;
    const char  *open, *close;

    open = memchr(key, '{', len);

    if (open) {
        close = memchr(open + 1, '}', len - (size_t) (open + 1 - key));

        if (close && close != open + 1) {
            key = open + 1;
            len = (size_t) (close - key);
        }
    }

    crc = 0;

    for (i = 0; i < len; i++) {
        crc ^= (unsigned) (unsigned char) key[i] << 8;

        for (bit = 0; bit < 8; bit++) {
            crc = (crc & 0x8000) ? (crc << 1 ^ 0x1021) & 0xffff
                                 : crc << 1 & 0xffff;
        }
    }

    return crc % PS_SLOTS;
}


int
ps_redirect_parse(ps_redirect_t *redirect, const char *text, size_t len)
{
    const char  *p, *end, *colon;

    p = text;
    end = text + len;

    if (len > 6 && memcmp(p, "MOVED ", 6) == 0) {
        redirect->ask = 0;
        p += 6;

    } else if (len > 4 && memcmp(p, "ASK ", 4) == 0) {
        redirect->ask = 1;
        p += 4;

    } else {
        return -1;
    }

    if (ps_redirect_number(&p, end, PS_SLOTS - 1, &redirect->slot) != 0
        || p == end || *p++ != ' ')
    {
        return -1;
    }

    /* an IPv6 address has colons of its own */

    for (colon = end; colon > p && colon[-1] != ':'; colon--) {
        /* void */
    }

    if (colon == p) {
        return -1;
    }

    redirect->host = p;
    redirect->host_len = (size_t) (colon - 1 - p);

    if (ps_slot_host(redirect->host, redirect->host_len) != 0) {
        return -1;
    }

    p = colon;

    if (ps_redirect_number(&p, end, 65535, &redirect->port) != 0
        || p != end || redirect->port == 0)
    {
        return -1;
    }

    return 0;
}


static int
ps_redirect_number(const char **p, const char *end, unsigned max, unsigned *n)
{
    const char  *start;

    *n = 0;

    for (start = *p; *p < end && **p >= '0' && **p <= '9'; (*p)++) {
        *n = *n * 10 + (unsigned) (**p - '0');

        if (*n > max) {
            return -1;
        }
    }

    return (*p == start) ? -1 : 0;
}


/*
 * It becomes a name to look up and a text in the log: what can't be one is
 * not taken for one.  Among that is "?", a node's way to say that its name is
 * not known.
 */

static int
ps_slot_host(const char *host, size_t len)
{
    size_t  i;
    char    c;

    if (len > PS_SLOT_HOST) {
        return -1;
    }

    for (i = 0; i < len; i++) {
        c = host[i];

        if ((c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
            && (c < '0' || c > '9')
            && c != '.' && c != '-' && c != '_' && c != ':' && c != '%')
        {
            return -1;
        }
    }

    return 0;
}


int
ps_slot_range_parse(ps_slot_range_t *range, const redisReply *reply)
{
    const redisReply  *first, *last, *master, *port;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 3) {
        return -1;
    }

    first = reply->element[0];
    last = reply->element[1];
    master = reply->element[2];

    if (first->type != REDIS_REPLY_INTEGER
        || last->type != REDIS_REPLY_INTEGER
        || first->integer < 0 || last->integer < first->integer
        || last->integer >= PS_SLOTS
        || master->type != REDIS_REPLY_ARRAY || master->elements < 2)
    {
        return -1;
    }

    port = master->element[1];
    master = master->element[0];

    if (port->type != REDIS_REPLY_INTEGER || port->integer < 1
        || port->integer > 65535)
    {
        return -1;
    }

    range->first = (unsigned) first->integer;
    range->last = (unsigned) last->integer;
    range->port = (unsigned) port->integer;

    if (master->type == REDIS_REPLY_NIL) {
        range->host = "";
        range->host_len = 0;

    } else if (master->type == REDIS_REPLY_STRING
               && ps_slot_host(master->str, master->len) == 0)
    {
        range->host = master->str;
        range->host_len = master->len;

    } else {
        return -1;
    }

    return 0;
}
