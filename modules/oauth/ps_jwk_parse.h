
/*
 * One key of a set (RFC 7517, section 4; RFC 7518, section 6): which algorithm
 * it verifies, and its material.  Private to ps_jwk.c and ps_jwk_parse.c.
 */

#ifndef PS_JWK_PARSE_H
#define PS_JWK_PARSE_H


#include <jansson.h>

#include "ps_jwk_key.h"


#define PS_JWK_SKIP  1
#define PS_JWK_BAD   -1


typedef struct {
    const char     *error;          /* of the key that is bad */
    unsigned        allowed;
} ps_jwk_parse_t;


/*
 * "key" is zeroed, and afterwards to be freed by ps_jwk_key_free(), whatever
 * is returned.  0; PS_JWK_SKIP: not for us; PS_JWK_BAD: ctx->error says why.
 * ctx->allowed is a mask of ps_alg_bit(), 0 for all.
 */

int ps_jwk_parse(ps_jwk_parse_t *ctx, json_t *jwk, ps_jwk_t *key);

/* bits of algorithms that a key of this kind could verify */

unsigned ps_jwk_kind_algs(ps_jwk_kind_e kind);


#endif /* PS_JWK_PARSE_H */
