
/*
 * The Authorization field of a bearer token (RFC 6750, 2.1):
 * credentials = "Bearer" 1*SP b64token; the scheme in any case (RFC 9110,
 * 11.1).
 */

#ifndef PS_BEARER_H
#define PS_BEARER_H


#include <stddef.h>


typedef enum {
    PS_BEARER_OK = 0,
    PS_BEARER_NONE,          /* another scheme: as if there were no token */
    PS_BEARER_MALFORMED
} ps_bearer_e;


/*
 * "token" points into "value" and is not empty.  Its characters are left to
 * ps_bearer_b64token(): a token that is known by its digest needs no look.
 */

ps_bearer_e ps_bearer_parse(const unsigned char *value, size_t len,
    const unsigned char **token, size_t *token_len);

/* the same of "DPoP" (RFC 9449, 7.1) */

ps_bearer_e ps_bearer_parse_dpop(const unsigned char *value, size_t len,
    const unsigned char **token, size_t *token_len);

/* 1*( ALPHA / DIGIT / "-._~+/" ) *"=" */

int ps_bearer_b64token(const unsigned char *token, size_t len);


#endif /* PS_BEARER_H */
