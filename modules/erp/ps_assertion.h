
/*
 * What a client says of itself at a token endpoint: the assertion that it
 * signs (RFC 7523; private_key_jwt of OpenID Connect), the form (RFC 6749,
 * section 4.4), and the answer.
 */

#ifndef _PS_ASSERTION_H_INCLUDED_
#define _PS_ASSERTION_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


typedef enum {
    PS_ASSERTION_RS256 = 0,
    PS_ASSERTION_ES256,
    PS_ASSERTION_PS256
} ps_assertion_alg_e;


typedef struct {
    ps_assertion_alg_e   alg;
    const char          *key;            /* PEM, ends with a zero */
    size_t               key_len;
    const char          *key_id;         /* NULL: none */
    const char          *client;         /* iss and sub */
    const char          *audience;
    const char          *id;             /* jti: never the same again */
    int64_t              now;            /* s since the epoch */
    int                  lifetime;       /* s */
} ps_assertion_t;


/*
 * The assertion as a string to be freed, or NULL.  RS256 and ES256 are signed
 * by libjwt, PS256, which it can't do, by OpenSSL.
 */

char *ps_assertion_sign(const ps_assertion_t *assertion);

/*
 * Whether a key fits an algorithm: NULL, or a constant sentence.  RSA keys
 * have at least 2048 bits, ES256 is of the curve P-256.
 */

const char *ps_assertion_key(const char *key, size_t len,
    ps_assertion_alg_e alg);


/*
 * Appends "&name=value", or without "&" where *dst is at "start", encoded as
 * application/x-www-form-urlencoded; moves *dst.  Needs up to 3 bytes for each
 * of both and 2 more.
 */

void ps_grant_add(char **dst, const char *start, const char *name,
    const char *value, size_t len);

/* the value alone, as it stands in Basic credentials (RFC 6749, 2.3.1) */

size_t ps_grant_encode(char *dst, const char *value, size_t len);


/*
 * The token of an answer (RFC 6749, section 5.1) of type Bearer: a slice of
 * "token", of *len bytes at most, copied there; *seconds is -1 where the
 * answer has no expires_in.  NULL, or a constant sentence of what is wrong.
 */

const char *ps_grant_read(const char *text, size_t text_len, char *token,
    size_t *len, int64_t *seconds);


#endif /* _PS_ASSERTION_H_INCLUDED_ */
