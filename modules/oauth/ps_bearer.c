
#include <strings.h>

#include "ps_bearer.h"


/* the characters of b64token before its "=", 16 a line; none from 0x80 on */

static const unsigned char  ps_bearer_chars[256] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0,
    0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1,
    0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 0,
};


int
ps_bearer_b64token(const unsigned char *token, size_t len)
{
    size_t                i;
    const unsigned char  *p;

    /* tokens are long and each request has one: eight at a time */

    for (i = 0; i + 8 <= len; i += 8) {
        p = token + i;

        if (!(ps_bearer_chars[p[0]] & ps_bearer_chars[p[1]]
              & ps_bearer_chars[p[2]] & ps_bearer_chars[p[3]]
              & ps_bearer_chars[p[4]] & ps_bearer_chars[p[5]]
              & ps_bearer_chars[p[6]] & ps_bearer_chars[p[7]]))
        {
            break;
        }
    }

    while (i < len && ps_bearer_chars[token[i]]) {
        i++;
    }

    if (i == 0) {
        return 0;
    }

    while (i < len && token[i] == '=') {
        i++;
    }

    return i == len;
}


static ps_bearer_e
ps_bearer_scheme(const char *scheme, size_t size, const unsigned char *value,
    size_t len, const unsigned char **token, size_t *token_len)
{
    size_t  n;

    if (len < size || strncasecmp((const char *) value, scheme, size) != 0) {
        return PS_BEARER_NONE;
    }

    /* "Bearertoken" is a scheme of its own */

    if (len > size && ps_bearer_b64token(value + size, 1)) {
        return PS_BEARER_NONE;
    }

    for (n = size; n < len && value[n] == ' '; n++) { /* void */ }

    if (n == size || n == len) {
        return PS_BEARER_MALFORMED;
    }

    *token = value + n;
    *token_len = len - n;

    return PS_BEARER_OK;
}


ps_bearer_e
ps_bearer_parse(const unsigned char *value, size_t len,
    const unsigned char **token, size_t *token_len)
{
    return ps_bearer_scheme("Bearer", 6, value, len, token, token_len);
}


ps_bearer_e
ps_bearer_parse_dpop(const unsigned char *value, size_t len,
    const unsigned char **token, size_t *token_len)
{
    return ps_bearer_scheme("DPoP", 4, value, len, token, token_len);
}
