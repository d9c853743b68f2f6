
#include "ps_base64url.h"


#define X  0xff


static const unsigned char  ps_base64url_value[256] = {
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, X, X, 62, X, X,
    52, 53, 54, 55, 56, 57, 58, 59, 60, 61, X, X, X, X, X, X,
    X, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14,
    15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, X, X, X, X, 63,
    X, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40,
    41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X
};


int
ps_base64url_decode(unsigned char *dst, size_t *dst_len,
    const unsigned char *src, size_t len)
{
    unsigned              bad;
    unsigned char         a, b, c, d, *p;
    const unsigned char  *end;

    if (len % 4 == 1) {
        return -1;
    }

    p = dst;
    bad = 0;
    end = src + len / 4 * 4;

    /* values are below 64: the upper bits of any bad one are kept in "bad" */

    while (src < end) {
        a = ps_base64url_value[src[0]];
        b = ps_base64url_value[src[1]];
        c = ps_base64url_value[src[2]];
        d = ps_base64url_value[src[3]];

        bad |= a | b | c | d;

        p[0] = (unsigned char) (a << 2 | b >> 4);
        p[1] = (unsigned char) (b << 4 | c >> 2);
        p[2] = (unsigned char) (c << 6 | d);

        src += 4;
        p += 3;
    }

    if (len % 4) {
        a = ps_base64url_value[src[0]];
        b = ps_base64url_value[src[1]];
        bad |= a | b;

        *p++ = (unsigned char) (a << 2 | b >> 4);

        if (len % 4 == 3) {
            c = ps_base64url_value[src[2]];
            bad |= c;
            *p++ = (unsigned char) (b << 4 | c >> 2);

            if (c & 0x03) {
                return -1;
            }

        } else if (b & 0x0f) {
            return -1;
        }
    }

    if (bad & 0xc0) {
        return -1;
    }

    *dst_len = p - dst;

    return 0;
}


size_t
ps_base64url_encode(unsigned char *dst, const unsigned char *src, size_t len)
{
    unsigned char      *p;
    static const char   basis[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    p = dst;

    while (len > 2) {
        *p++ = basis[src[0] >> 2];
        *p++ = basis[(src[0] & 3) << 4 | src[1] >> 4];
        *p++ = basis[(src[1] & 0x0f) << 2 | src[2] >> 6];
        *p++ = basis[src[2] & 0x3f];

        src += 3;
        len -= 3;
    }

    if (len) {
        *p++ = basis[src[0] >> 2];

        if (len == 1) {
            *p++ = basis[(src[0] & 3) << 4];

        } else {
            *p++ = basis[(src[0] & 3) << 4 | src[1] >> 4];
            *p++ = basis[(src[1] & 0x0f) << 2];
        }
    }

    return p - dst;
}
