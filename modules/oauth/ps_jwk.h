
/*
 * Key sets (RFC 7517): parsed once into keys that are ready to verify.
 *
 * Every key verifies exactly one algorithm (RFC 8725, 3.1): its "alg", or
 * that of its curve, or the only one of the allowed algorithms that fits its
 * kind; RS256 and HS256 if nothing says otherwise.
 */

#ifndef PS_JWK_H
#define PS_JWK_H


#include <stddef.h>

#include "ps_jwt_alg.h"
#include "ps_jwt_error.h"


#define PS_JWKS_MAX_KEYS  64
#define PS_JWKS_MAX_SIZE  (1024 * 1024)


typedef struct ps_jwk_s  ps_jwk_t;

typedef struct {
    ps_jwk_t       *keys;
    size_t          n;
    size_t          skipped;      /* not for us: use, key_ops, kty, alg */
    unsigned char   digest[32];   /* of the keys' content and algorithms */
} ps_jwks_t;


/*
 * Parses a set ({"keys":[...]}) or a single key.  "allowed" is a mask of
 * ps_alg_bit(), 0 for all.
 *
 * Left out silently, as RFC 7517, 5 wants: keys of an unknown kind, curve or
 * "alg", of another "use" than "sig", with "key_ops" that lack "verify", or
 * with an "alg" that is not allowed.
 *
 * Faults: RSA below 2048 or above 8192 bits or with an even or tiny
 * exponent; a point that is not on its curve or of a wrong length; a secret
 * shorter than the hash (RFC 7518, 3.2); "alg" of another kind than the key;
 * private members; secrets and public keys in one set; one "kid" twice with
 * the same algorithm; an algorithm that is not certain.  With "strict" a
 * fault refuses the set; without, the key is left out, and a set of both
 * secrets and public keys is refused still.
 *
 * Returns NULL with a reason in "error" (size bytes, always terminated, holds
 * no key material).  A set without any key left is refused.
 */

ps_jwks_t *ps_jwks_parse(const unsigned char *data, size_t len,
    unsigned allowed, int strict, char *error, size_t size);
void ps_jwks_free(ps_jwks_t *set);

/*
 * The next key for a token of that algorithm and "kid" (NULL: none given),
 * from position *i, which starts at 0.  A key without "kid" fits any token,
 * and a token without "kid" fits any key.  NULL: no more.
 */

ps_jwk_t *ps_jwks_next(ps_jwks_t *set, size_t *i, ps_jwt_alg_e alg,
    const char *kid, size_t kid_len);

/*
 * Whether "sig" is the key's signature of "input", by the key's algorithm.
 * ES* signatures are R||S of exact size, R and S in [1, n-1] (RFC 7518, 3.4);
 * the salt of PS* is as long as the hash (3.5); HMACs are compared in
 * constant time.  Uses the key's own context: one thread at a time.
 */

int ps_jwk_verify(ps_jwk_t *key, const unsigned char *input, size_t input_len,
    const unsigned char *sig, size_t sig_len);


#endif /* PS_JWK_H */
