
/*
 * Arguments of a query.  A "%" without two hexadecimal digits stays as it is.
 */

#include <string.h>

#include "ps_form.h"


static int ps_hex(char c);


size_t
ps_form_decode(char *dst, const char *src, size_t len)
{
    int     high, low;
    char   *out;
    size_t  i;

    out = dst;

    for (i = 0; i < len; i++) {

        if (src[i] == '+') {
            *out++ = ' ';
            continue;
        }

        if (src[i] == '%' && i + 2 < len) {
            high = ps_hex(src[i + 1]);
            low = ps_hex(src[i + 2]);

            if (high >= 0 && low >= 0) {
                *out++ = (char) (high << 4 | low);
                i += 2;
                continue;
            }
        }

        *out++ = src[i];
    }

    return (size_t) (out - dst);
}


static int
ps_hex(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }

    c |= 0x20;

    return (c >= 'a' && c <= 'f') ? c - 'a' + 10 : -1;
}


int
ps_form_next(const char **p, const char *end, ps_form_arg_t *arg)
{
    const char  *amp, *eq;

    if (*p >= end) {
        return 0;
    }

    amp = memchr(*p, '&', (size_t) (end - *p));

    if (amp == NULL) {
        amp = end;
    }

    eq = memchr(*p, '=', (size_t) (amp - *p));

    arg->text = *p;
    arg->len = (size_t) (amp - *p);
    arg->name_len = eq ? (size_t) (eq - *p) : arg->len;
    arg->value = eq ? eq + 1 : amp;
    arg->value_len = (size_t) (amp - arg->value);

    *p = (amp == end) ? end : amp + 1;

    return 1;
}


size_t
ps_form_encode(char *dst, const char *src, size_t len)
{
    char           *out;
    size_t          i;
    unsigned char   c;

    static const char  hex[] = "0123456789ABCDEF";

    out = dst;

    for (i = 0; i < len; i++) {
        c = (unsigned char) src[i];

        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z')
            || (c >= 'A' && c <= 'Z') || c == '-' || c == '.' || c == '_'
            || c == '~')
        {
            *out++ = (char) c;
            continue;
        }

        *out++ = '%';
        *out++ = hex[c >> 4];
        *out++ = hex[c & 15];
    }

    return (size_t) (out - dst);
}
