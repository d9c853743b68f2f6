
#include "ps_json_escape.h"


size_t
ps_json_escape(char *dst, const char *src, size_t len)
{
    char                 *out;
    size_t                n, i;
    const unsigned char  *p, *end;

    static const char     hex[] = "0123456789abcdef";

    out = dst;
    p = (const unsigned char *) src;
    end = p + len;

    while (p < end) {

        if (*p == '"' || *p == '\\') {
            *out++ = '\\';
            *out++ = (char) *p++;
            continue;
        }

        if (*p < 0x20 || *p == 0x7f) {
            *out++ = '\\';
            *out++ = 'u';
            *out++ = '0';
            *out++ = '0';
            *out++ = hex[*p >> 4];
            *out++ = hex[*p++ & 0xf];
            continue;
        }

        n = ps_utf8_length(p, (size_t) (end - p));

        if (n == 0) {
            *out++ = (char) 0xef;
            *out++ = (char) 0xbf;
            *out++ = (char) 0xbd;
            p++;
            continue;
        }

        for (i = 0; i < n; i++) {
            *out++ = (char) *p++;
        }
    }

    return (size_t) (out - dst);
}


size_t
ps_utf8_length(const unsigned char *p, size_t len)
{
    size_t         n, i;
    unsigned long  c, least;

    if (p[0] < 0x80) {
        return 1;
    }

    if (p[0] >= 0xc2 && p[0] <= 0xdf) {
        n = 2;
        c = p[0] & 0x1f;
        least = 0x80;

    } else if (p[0] >= 0xe0 && p[0] <= 0xef) {
        n = 3;
        c = p[0] & 0x0f;
        least = 0x800;

    } else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        n = 4;
        c = p[0] & 0x07;
        least = 0x10000;

    } else {
        return 0;
    }

    if (len < n) {
        return 0;
    }

    for (i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }

        c = (c << 6) | (p[i] & 0x3f);
    }

    if (c < least || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) {
        return 0;
    }

    return n;
}
