
#include <strings.h>

#include "ps_bearer.h"


/* a bit for each character of b64token before its "=" */

static const unsigned  ps_bearer_chars[8] = {
    0x00000000,
    0x03ffe800,  /* 9876543210  / . -  + */
    0x87fffffe,  /* _ Z-A */
    0x47fffffe,  /* ~ z-a */
    0, 0, 0, 0
};


int
ps_bearer_b64token(const unsigned char *token, size_t len)
{
    size_t  i;

    for (i = 0; i < len; i++) {
        if (!(ps_bearer_chars[token[i] >> 5] >> (token[i] & 31) & 1)) {
            break;
        }
    }

    if (i == 0) {
        return 0;
    }

    while (i < len && token[i] == '=') {
        i++;
    }

    return i == len;
}


ps_bearer_e
ps_bearer_parse(const unsigned char *value, size_t len,
    const unsigned char **token, size_t *token_len)
{
    size_t  n;

    if (len < 6 || strncasecmp((const char *) value, "Bearer", 6) != 0) {
        return PS_BEARER_NONE;
    }

    /* "Bearertoken" is a scheme of its own */

    if (len > 6 && ps_bearer_b64token(value + 6, 1)) {
        return PS_BEARER_NONE;
    }

    for (n = 6; n < len && value[n] == ' '; n++) { /* void */ }

    if (n == 6 || !ps_bearer_b64token(value + n, len - n)) {
        return PS_BEARER_MALFORMED;
    }

    *token = value + n;
    *token_len = len - n;

    return PS_BEARER_OK;
}
