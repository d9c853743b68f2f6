
/*
 * Correlation IDs: which of a client's are kept, and how ours are made.
 */

#include <string.h>
#include <strings.h>

#include "ps_correlation.h"


/* bits: 1 in a correlation ID, 2 in a token */

static const uint8_t  ps_correlation_chars[256] = {
    ['!'] = 2, ['#'] = 2, ['$'] = 2, ['%'] = 2, ['&'] = 2, ['\''] = 2,
    ['*'] = 2, ['+'] = 3, ['-'] = 3, ['.'] = 3, ['/'] = 1, [':'] = 1,
    ['='] = 1, ['@'] = 1, ['^'] = 2, ['_'] = 3, ['`'] = 2, ['|'] = 2,
    ['~'] = 3,
    ['0' ... '9'] = 3, ['A' ... 'Z'] = 3, ['a' ... 'z'] = 3
};


static const char *const  ps_correlation_reserved[] = {

    /* framing, routing and hop-by-hop */

    "Connection", "Content-Length", "Expect", "Host", "Keep-Alive",
    "Max-Forwards", "Proxy-Authenticate", "Proxy-Authorization",
    "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade",
    "Via", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host",
    "X-Forwarded-Proto", "X-Real-IP",

    /* requests */

    "Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language",
    "Authorization", "Cookie", "Date", "From", "If-Match",
    "If-Modified-Since", "If-None-Match", "If-Range",
    "If-Unmodified-Since", "Origin", "Range", "Referer", "User-Agent",
    "DPoP", "Idempotency-Key", "traceparent", "tracestate",

    /* responses */

    "Accept-Ranges", "Age", "Allow", "Cache-Control", "Cache-Status",
    "Content-Disposition", "Content-Encoding", "Content-Language",
    "Content-Location", "Content-Range", "Content-Type", "ETag", "Expires",
    "Last-Modified", "Link", "Location", "Pragma", "RateLimit",
    "RateLimit-Policy", "Refresh", "Retry-After", "Server", "Set-Cookie",
    "Status", "Strict-Transport-Security", "Vary", "WWW-Authenticate",
    "X-Accel-Redirect", "X-Accel-Expires", "X-Accel-Limit-Rate",
    "X-Accel-Buffering", "X-Accel-Charset",
    NULL
};


int
ps_correlation_id_valid(const char *id, size_t len)
{
    size_t  i;

    if (len == 0 || len > PS_CORRELATION_ID_MAX) {
        return 0;
    }

    for (i = 0; i < len; i++) {
        if (!(ps_correlation_chars[(uint8_t) id[i]] & 1)) {
            return 0;
        }
    }

    return 1;
}


ps_correlation_name_e
ps_correlation_name_check(const char *name, size_t len)
{
    size_t  i;

    if (len == 0 || len > PS_CORRELATION_NAME_MAX) {
        return PS_CORRELATION_NAME_LENGTH;
    }

    for (i = 0; i < len; i++) {
        if (!(ps_correlation_chars[(uint8_t) name[i]] & 2)) {
            return PS_CORRELATION_NAME_TOKEN;
        }
    }

    for (i = 0; ps_correlation_reserved[i]; i++) {
        if (strlen(ps_correlation_reserved[i]) == len
            && strncasecmp(ps_correlation_reserved[i], name, len) == 0)
        {
            return PS_CORRELATION_NAME_RESERVED;
        }
    }

    return PS_CORRELATION_NAME_OK;
}


void
ps_uuid7(char *text, uint64_t usec, const uint8_t *random)
{
    int                   i;
    uint64_t              ms, sub;
    uint8_t               b[16];

    static const char     hex[] = "0123456789abcdef";
    static const uint8_t  at[] = {
        0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34
    };

    ms = usec / 1000;
    sub = (usec % 1000) * 4096 / 1000;

    for (i = 0; i < 6; i++) {
        b[i] = (uint8_t) (ms >> (40 - 8 * i));
    }

    b[6] = (uint8_t) (0x70 | (sub >> 8));
    b[7] = (uint8_t) sub;

    memcpy(&b[8], random, PS_UUID_RANDOM_LEN);

    b[8] = (uint8_t) (0x80 | (b[8] & 0x3f));

    for (i = 0; i < 16; i++) {
        text[at[i]] = hex[b[i] >> 4];
        text[at[i] + 1] = hex[b[i] & 0x0f];
    }

    text[8] = text[13] = text[18] = text[23] = '-';
}
