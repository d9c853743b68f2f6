
#include <string.h>

#include "ps_slot.h"


static int ps_redirect_number(const char **p, const char *end, unsigned max,
    unsigned *n);


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

    if (redirect->host_len > 255
        || memchr(p, ' ', redirect->host_len) != NULL)
    {
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
