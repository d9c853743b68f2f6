
/*
 * One key: from its octets to a context that is ready to verify.  Private to
 * ps_jwk.c, ps_jwk_parse.c and ps_jwk_key.c.
 */

#ifndef PS_JWK_KEY_H
#define PS_JWK_KEY_H


#include <openssl/evp.h>

#include "ps_jwk.h"


typedef enum {
    PS_JWK_RSA = 0,
    PS_JWK_P256,
    PS_JWK_P384,
    PS_JWK_P521,
    PS_JWK_ED25519,
    PS_JWK_ED448,
    PS_JWK_OCT
} ps_jwk_kind_e;


struct ps_jwk_s {
    ps_jwk_kind_e   kind;
    ps_jwt_alg_e    alg;
    char           *kid;           /* NULL: none */
    size_t          kid_len;
    unsigned char   digest[32];    /* of the material */

    EVP_PKEY       *pkey;
    EVP_MD         *md;            /* fetched once */
    EVP_MD_CTX     *md_ctx;
    EVP_PKEY_CTX   *pkey_ctx;      /* RSA and EC: set up once */
    EVP_MAC_CTX    *mac_ctx;       /* HMAC: keyed once */
};


/*
 * These set the material of a key whose kind and alg are set.  NULL: good;
 * else what is wrong with it, static.
 */

const char *ps_jwk_key_rsa(ps_jwk_t *key, const unsigned char *n,
    size_t n_len, const unsigned char *e, size_t e_len);
const char *ps_jwk_key_ec(ps_jwk_t *key, const unsigned char *x,
    size_t x_len, const unsigned char *y, size_t y_len);
const char *ps_jwk_key_okp(ps_jwk_t *key, const unsigned char *x,
    size_t x_len);
const char *ps_jwk_key_secret(ps_jwk_t *key, const unsigned char *k,
    size_t k_len);

/* makes the contexts; the last step */

const char *ps_jwk_key_ready(ps_jwk_t *key);

/* frees what the key holds, not the key */

void ps_jwk_key_free(ps_jwk_t *key);


#endif /* PS_JWK_KEY_H */
