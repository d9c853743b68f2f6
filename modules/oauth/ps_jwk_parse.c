
#include <string.h>

#include <jansson.h>
#include <openssl/crypto.h>

#include "ps_base64url.h"
#include "ps_jwk_parse.h"


#define PS_JWK_OCTETS_MAX  1100     /* RSA of 8192 bits, and some zeros */


/*
 * A base64url member of the key; NULL if there is none, "*len" then 0, or if
 * it is not one.
 */

static unsigned char *
ps_jwk_octets(json_t *jwk, const char *name, unsigned char *buf, size_t *len)
{
    json_t  *v;
    size_t   n;

    *len = 0;

    v = json_object_get(jwk, name);
    n = json_string_length(v);

    if (n == 0
        || ps_base64url_decoded_len(n) > PS_JWK_OCTETS_MAX
        || ps_base64url_decode(buf, len,
                               (const unsigned char *) json_string_value(v), n)
           != 0)
    {
        return NULL;
    }

    return buf;
}


unsigned
ps_jwk_kind_algs(ps_jwk_kind_e kind)
{
    switch (kind) {

    case PS_JWK_RSA:
        return ps_alg_bit(PS_ALG_RS256) | ps_alg_bit(PS_ALG_RS384)
               | ps_alg_bit(PS_ALG_RS512) | ps_alg_bit(PS_ALG_PS256)
               | ps_alg_bit(PS_ALG_PS384) | ps_alg_bit(PS_ALG_PS512);

    case PS_JWK_P256:
        return ps_alg_bit(PS_ALG_ES256);

    case PS_JWK_P384:
        return ps_alg_bit(PS_ALG_ES384);

    case PS_JWK_P521:
        return ps_alg_bit(PS_ALG_ES512);

    case PS_JWK_ED25519:
        return ps_alg_bit(PS_ALG_EDDSA) | ps_alg_bit(PS_ALG_ED25519);

    case PS_JWK_ED448:
        return ps_alg_bit(PS_ALG_EDDSA) | ps_alg_bit(PS_ALG_ED448);

    case PS_JWK_OCT:
        return ps_alg_bit(PS_ALG_HS256) | ps_alg_bit(PS_ALG_HS384)
               | ps_alg_bit(PS_ALG_HS512);
    }

    return 0;
}


static int
ps_jwk_kind(json_t *jwk, ps_jwk_kind_e *kind)
{
    json_t      *v;
    size_t       i;
    const char  *kty, *crv;

    static const struct {
        const char     *kty;
        const char     *crv;
        ps_jwk_kind_e   kind;
    } kinds[] = {
        { "RSA", NULL, PS_JWK_RSA },
        { "EC", "P-256", PS_JWK_P256 },
        { "EC", "P-384", PS_JWK_P384 },
        { "EC", "P-521", PS_JWK_P521 },
        { "OKP", "Ed25519", PS_JWK_ED25519 },
        { "OKP", "Ed448", PS_JWK_ED448 },
        { "oct", NULL, PS_JWK_OCT }
    };

    kty = json_string_value(json_object_get(jwk, "kty"));
    if (kty == NULL) {
        return PS_JWK_BAD;
    }

    v = json_object_get(jwk, "crv");
    crv = json_string_value(v);

    for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(kty, kinds[i].kty) == 0
            && (kinds[i].crv == NULL
                || (crv && strcmp(crv, kinds[i].crv) == 0)))
        {
            *kind = kinds[i].kind;
            return 0;
        }
    }

    return PS_JWK_SKIP;
}


/* "use" and "key_ops" (RFC 7517, 4.2 and 4.3) */

static int
ps_jwk_purpose(ps_jwk_parse_t *ctx, json_t *jwk)
{
    int      verify;
    json_t  *v, *op, *other;
    size_t   i, j;

    v = json_object_get(jwk, "use");

    if (v != NULL) {
        if (!json_is_string(v)) {
            ctx->error = "\"use\" is not a string";
            return PS_JWK_BAD;
        }

        if (strcmp(json_string_value(v), "sig") != 0) {
            return PS_JWK_SKIP;
        }
    }

    v = json_object_get(jwk, "key_ops");
    if (v == NULL) {
        return 0;
    }

    verify = 0;

    if (!json_is_array(v)) {
        ctx->error = "\"key_ops\" is not an array";
        return PS_JWK_BAD;
    }

    for (i = 0; i < json_array_size(v); i++) {
        op = json_array_get(v, i);

        if (!json_is_string(op)) {
            ctx->error = "\"key_ops\" holds something else than strings";
            return PS_JWK_BAD;
        }

        if (i >= 16) {
            ctx->error = "\"key_ops\" is too long";
            return PS_JWK_BAD;
        }

        for (j = 0; j < i; j++) {
            other = json_array_get(v, j);

            if (json_equal(op, other)) {
                ctx->error = "\"key_ops\" holds an operation twice";
                return PS_JWK_BAD;
            }
        }

        if (strcmp(json_string_value(op), "verify") == 0) {
            verify = 1;
        }
    }

    return verify ? 0 : PS_JWK_SKIP;
}


/* the one algorithm that the key verifies */

static int
ps_jwk_alg(ps_jwk_parse_t *ctx, json_t *jwk, ps_jwk_t *key)
{
    int       i;
    json_t   *v;
    unsigned  algs, fit;

    algs = ps_jwk_kind_algs(key->kind);
    v = json_object_get(jwk, "alg");

    if (v != NULL) {
        if (!json_is_string(v)) {
            ctx->error = "\"alg\" is not a string";
            return PS_JWK_BAD;
        }

        key->alg = ps_jwt_alg(json_string_value(v), json_string_length(v));

        if (key->alg == PS_ALG_UNKNOWN) {
            return PS_JWK_SKIP;
        }

        if (!(algs & ps_alg_bit(key->alg))) {
            ctx->error = "\"alg\" is not one of this kind of key";
            return PS_JWK_BAD;
        }

        fit = ps_alg_is_ed(key->alg) ? algs : ps_alg_bit(key->alg);

        return (ctx->allowed && !(ctx->allowed & fit)) ? PS_JWK_SKIP : 0;
    }

    if (ps_alg_is_ed(__builtin_ctz(algs))) {
        key->alg = key->kind == PS_JWK_ED25519 ? PS_ALG_ED25519
                                               : PS_ALG_ED448;
        return (ctx->allowed && !(ctx->allowed & algs)) ? PS_JWK_SKIP : 0;
    }

    if (ctx->allowed == 0) {

        /* the least bit: RS256 and HS256; a curve has but one */

        key->alg = __builtin_ctz(algs);
        return 0;
    }

    fit = algs & ctx->allowed;

    if (fit == 0) {
        return PS_JWK_SKIP;
    }

    if (fit & (fit - 1)) {
        ctx->error = "it has no \"alg\" and several of the allowed "
                     "algorithms fit it: add \"alg\" to the key";
        return PS_JWK_BAD;
    }

    for (i = 0; !(fit >> i & 1); i++) { /* void */ }

    key->alg = i;

    return 0;
}


static int
ps_jwk_material(ps_jwk_parse_t *ctx, json_t *jwk, ps_jwk_t *key)
{
    size_t          i, a_len, b_len;
    unsigned char   a[PS_JWK_OCTETS_MAX], b[PS_JWK_OCTETS_MAX];

    static const char  *private[] = { "d", "p", "q", "dp", "dq", "qi", "oth",
                                      "k" };

    if (key->kind == PS_JWK_OCT) {
        if (ps_jwk_octets(jwk, "k", a, &a_len) == NULL) {
            ctx->error = "\"k\" is missing, too long or not base64url";
            return PS_JWK_BAD;
        }

        ctx->error = ps_jwk_key_secret(key, a, a_len);
        OPENSSL_cleanse(a, sizeof(a));

        return ctx->error ? PS_JWK_BAD : 0;
    }

    for (i = 0; i < sizeof(private) / sizeof(private[0]); i++) {
        if (json_object_get(jwk, private[i]) != NULL) {
            ctx->error = "it holds private members: only the public key "
                         "belongs here";
            return PS_JWK_BAD;
        }
    }

    if (key->kind == PS_JWK_RSA) {
        if (ps_jwk_octets(jwk, "n", a, &a_len) == NULL
            || ps_jwk_octets(jwk, "e", b, &b_len) == NULL)
        {
            ctx->error = "\"n\" or \"e\" is missing, too long or not "
                         "base64url";
            return PS_JWK_BAD;
        }

        ctx->error = ps_jwk_key_rsa(key, a, a_len, b, b_len);

        return ctx->error ? PS_JWK_BAD : 0;
    }

    if (ps_jwk_octets(jwk, "x", a, &a_len) == NULL) {
        ctx->error = "\"x\" is missing, too long or not base64url";
        return PS_JWK_BAD;
    }

    if (key->kind == PS_JWK_ED25519 || key->kind == PS_JWK_ED448) {
        ctx->error = ps_jwk_key_okp(key, a, a_len);

        return ctx->error ? PS_JWK_BAD : 0;
    }

    if (ps_jwk_octets(jwk, "y", b, &b_len) == NULL) {
        ctx->error = "\"y\" is missing, too long or not base64url";
        return PS_JWK_BAD;
    }

    ctx->error = ps_jwk_key_ec(key, a, a_len, b, b_len);

    return ctx->error ? PS_JWK_BAD : 0;
}


int
ps_jwk_parse(ps_jwk_parse_t *ctx, json_t *jwk, ps_jwk_t *key)
{
    int          rc;
    json_t      *v;
    const char  *kid;

    ctx->error = NULL;

    if (!json_is_object(jwk)) {
        ctx->error = "it is not an object";
        return PS_JWK_BAD;
    }

    rc = ps_jwk_kind(jwk, &key->kind);
    if (rc != 0) {
        ctx->error = "\"kty\" is missing";
        return rc;
    }

    rc = ps_jwk_purpose(ctx, jwk);
    if (rc != 0) {
        return rc;
    }

    rc = ps_jwk_alg(ctx, jwk, key);
    if (rc != 0) {
        return rc;
    }

    v = json_object_get(jwk, "kid");

    if (v != NULL) {
        kid = json_string_value(v);

        if (kid == NULL) {
            ctx->error = "\"kid\" is not a string";
            return PS_JWK_BAD;
        }

        key->kid_len = json_string_length(v);
        key->kid = strdup(kid);

        if (key->kid == NULL) {
            ctx->error = "no memory";
            return PS_JWK_BAD;
        }
    }

    rc = ps_jwk_material(ctx, jwk, key);
    if (rc != 0) {
        return rc;
    }

    ctx->error = ps_jwk_key_ready(key);

    return ctx->error ? PS_JWK_BAD : 0;
}
