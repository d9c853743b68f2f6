
#include <stdlib.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

#include "ps_jwk_key.h"


#define PS_JWK_RSA_MIN  2048
#define PS_JWK_RSA_MAX  8192        /* larger only costs us time */


static const char *
ps_jwk_key_digest(ps_jwk_t *key, const unsigned char *a, size_t a_len,
    const unsigned char *b, size_t b_len)
{
    int            ok;
    EVP_MD_CTX    *md;
    unsigned char  head[3];

    head[0] = key->kind;
    head[1] = a_len >> 8;
    head[2] = a_len;

    md = EVP_MD_CTX_new();

    ok = md
         && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1
         && EVP_DigestUpdate(md, head, sizeof(head)) == 1
         && EVP_DigestUpdate(md, a, a_len) == 1
         && EVP_DigestUpdate(md, b, b_len) == 1
         && EVP_DigestFinal_ex(md, key->digest, NULL) == 1;

    EVP_MD_CTX_free(md);

    return ok ? NULL : "no memory";
}


/*
 * Moduli of the broken generator behind CVE-2017-15361 ("ROCA") are powers
 * of 65537 modulo every small prime; others are that by chance in less than
 * one of 2^27 cases.
 */

static int
ps_jwk_key_roca(const BIGNUM *n)
{
    size_t    i;
    unsigned  power, rest;

    static const unsigned char  primes[] = {
        3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67,
        71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127, 131, 137, 139,
        149, 151, 157, 163, 167
    };

    for (i = 0; i < sizeof(primes); i++) {
        rest = BN_mod_word(n, primes[i]);
        power = 1;

        while (power != rest) {
            power = power * 65537 % primes[i];

            if (power == 1) {
                return 0;
            }
        }
    }

    return 1;
}


static EVP_PKEY *
ps_jwk_key_fromdata(const char *type, OSSL_PARAM_BLD *bld)
{
    EVP_PKEY      *pkey;
    OSSL_PARAM    *params;
    EVP_PKEY_CTX  *ctx;

    pkey = NULL;
    params = OSSL_PARAM_BLD_to_param(bld);
    ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);

    if (params == NULL || ctx == NULL
        || EVP_PKEY_fromdata_init(ctx) != 1
        || EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
    {
        pkey = NULL;
    }

    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);

    return pkey;
}


static int
ps_jwk_key_check(EVP_PKEY *pkey)
{
    int            ok;
    EVP_PKEY_CTX  *ctx;

    ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
    ok = ctx && EVP_PKEY_public_check(ctx) == 1;

    EVP_PKEY_CTX_free(ctx);

    return ok;
}


const char *
ps_jwk_key_rsa(ps_jwk_t *key, const unsigned char *n, size_t n_len,
    const unsigned char *e, size_t e_len)
{
    int              bits;
    BIGNUM          *bn, *be;
    const char      *error;
    OSSL_PARAM_BLD  *bld;

    bn = BN_bin2bn(n, n_len, NULL);
    be = BN_bin2bn(e, e_len, NULL);
    bld = OSSL_PARAM_BLD_new();

    error = "no memory";
    if (bn == NULL || be == NULL || bld == NULL) {
        goto done;
    }

    bits = BN_num_bits(bn);

    if (bits < PS_JWK_RSA_MIN) {
        error = "RSA of less than 2048 bits";
        goto done;
    }

    if (bits > PS_JWK_RSA_MAX) {
        error = "RSA of more than 8192 bits";
        goto done;
    }

    if (!BN_is_odd(bn)) {
        error = "\"n\" is even";
        goto done;
    }

    if (ps_jwk_key_roca(bn)) {
        error = "its modulus comes from a broken generator (ROCA)";
        goto done;
    }

    if (!BN_is_odd(be) || BN_is_one(be) || BN_num_bits(be) > 64) {
        error = "\"e\" is not an odd number from 3 to 2^64";
        goto done;
    }

    if (OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, bn) == 1
        && OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, be) == 1)
    {
        key->pkey = ps_jwk_key_fromdata("RSA", bld);
    }

    error = key->pkey ? ps_jwk_key_digest(key, n, n_len, e, e_len)
                      : "OpenSSL doesn't take this RSA key";

done:

    OSSL_PARAM_BLD_free(bld);
    BN_free(bn);
    BN_free(be);
    ERR_clear_error();

    return error;
}


const char *
ps_jwk_key_ec(ps_jwk_t *key, const unsigned char *x, size_t x_len,
    const unsigned char *y, size_t y_len)
{
    size_t           size;
    const char      *group;
    unsigned char    point[1 + 2 * 66];
    OSSL_PARAM_BLD  *bld;

    switch (key->kind) {
    case PS_JWK_P256:
        group = "P-256";
        size = 32;
        break;

    case PS_JWK_P384:
        group = "P-384";
        size = 48;
        break;

    default:
        group = "P-521";
        size = 66;
    }

    /* full size, leading zeros included (RFC 7518, 6.2.1.2) */

    if (x_len != size || y_len != size) {
        return "\"x\" or \"y\" has another length than the curve's";
    }

    point[0] = 0x04;        /* uncompressed */
    memcpy(point + 1, x, size);
    memcpy(point + 1 + size, y, size);

    bld = OSSL_PARAM_BLD_new();

    if (bld == NULL) {
        return "no memory";
    }

    if (OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME,
                                        group, 0)
        == 1
        && OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY,
                                            point, 1 + 2 * size)
           == 1)
    {
        key->pkey = ps_jwk_key_fromdata("EC", bld);
    }

    OSSL_PARAM_BLD_free(bld);

    if (key->pkey == NULL || !ps_jwk_key_check(key->pkey)) {
        ERR_clear_error();
        return "its point is not on the curve";
    }

    return ps_jwk_key_digest(key, x, x_len, y, y_len);
}


const char *
ps_jwk_key_okp(ps_jwk_t *key, const unsigned char *x, size_t x_len)
{
    size_t       size;
    const char  *type;

    type = key->kind == PS_JWK_ED25519 ? "ED25519" : "ED448";
    size = key->kind == PS_JWK_ED25519 ? 32 : 57;

    if (x_len != size) {
        return "\"x\" has another length than the curve's";
    }

    key->pkey = EVP_PKEY_new_raw_public_key_ex(NULL, type, NULL, x, x_len);

    if (key->pkey == NULL) {
        ERR_clear_error();
        return "OpenSSL doesn't take this key";
    }

    return ps_jwk_key_digest(key, x, x_len, NULL, 0);
}


const char *
ps_jwk_key_secret(ps_jwk_t *key, const unsigned char *k, size_t k_len)
{
    int          ok;
    EVP_MAC     *mac;
    OSSL_PARAM   params[2];

    static char  *names[] = { "SHA256", "SHA384", "SHA512" };

    if (k_len < ps_jwt_alg_hash(key->alg)) {
        return "the secret is shorter than its algorithm's hash";
    }

    params[0] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST,
                                        names[key->alg - PS_ALG_HS256], 0);
    params[1] = OSSL_PARAM_construct_end();

    mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    key->mac_ctx = EVP_MAC_CTX_new(mac);

    ok = key->mac_ctx
         && EVP_MAC_init(key->mac_ctx, k, k_len, params) == 1;

    EVP_MAC_free(mac);

    return ok ? ps_jwk_key_digest(key, k, k_len, NULL, 0) : "no memory";
}


const char *
ps_jwk_key_ready(ps_jwk_t *key)
{
    int          ok;
    const char  *name;

    static const char  *names[] = { "SHA256", "SHA384", "SHA512" };

    if (key->kind == PS_JWK_OCT) {
        return NULL;
    }

    if (ps_alg_is_ed(key->alg)) {
        key->md_ctx = EVP_MD_CTX_new();
        return key->md_ctx ? NULL : "no memory";
    }

    name = names[ps_jwt_alg_hash(key->alg) / 16 - 2];

    key->md = EVP_MD_fetch(NULL, name, NULL);
    key->md_ctx = EVP_MD_CTX_new();
    key->pkey_ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key->pkey, NULL);

    ok = key->md && key->md_ctx && key->pkey_ctx
         && EVP_PKEY_verify_init(key->pkey_ctx) == 1
         && EVP_PKEY_CTX_set_signature_md(key->pkey_ctx, key->md) == 1;

    if (ps_alg_is_rs(key->alg)) {
        ok = ok && EVP_PKEY_CTX_set_rsa_padding(key->pkey_ctx,
                                                RSA_PKCS1_PADDING) == 1;

    } else if (ps_alg_is_ps(key->alg)) {
        ok = ok
             && EVP_PKEY_CTX_set_rsa_padding(key->pkey_ctx,
                                             RSA_PKCS1_PSS_PADDING) == 1
             && EVP_PKEY_CTX_set_rsa_mgf1_md(key->pkey_ctx, key->md) == 1
             && EVP_PKEY_CTX_set_rsa_pss_saltlen(key->pkey_ctx,
                                                 RSA_PSS_SALTLEN_DIGEST) == 1;
    }

    ERR_clear_error();

    return ok ? NULL : "OpenSSL can't verify with this key";
}


void
ps_jwk_key_free(ps_jwk_t *key)
{
    EVP_MAC_CTX_free(key->mac_ctx);
    EVP_PKEY_CTX_free(key->pkey_ctx);
    EVP_MD_CTX_free(key->md_ctx);
    EVP_MD_free(key->md);
    EVP_PKEY_free(key->pkey);
    free(key->kid);
}
