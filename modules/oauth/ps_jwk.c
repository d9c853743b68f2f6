
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <openssl/evp.h>

#include "ps_jwk.h"
#include "ps_jwk_parse.h"


/*
 * What a verified token depends on: the material and algorithm of each key,
 * and its kid.  Secrets go in too, but only their digest comes out.
 */

static int
ps_jwks_digest(ps_jwks_t *set)
{
    int            ok;
    size_t         i;
    EVP_MD_CTX    *md;
    unsigned char  head[4];

    md = EVP_MD_CTX_new();

    ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1;

    for (i = 0; ok && i < set->n; i++) {
        head[0] = set->keys[i].alg;
        head[1] = set->keys[i].kid != NULL;
        head[2] = set->keys[i].kid_len >> 8;
        head[3] = set->keys[i].kid_len;

        ok = EVP_DigestUpdate(md, head, sizeof(head)) == 1
             && EVP_DigestUpdate(md, set->keys[i].kid, set->keys[i].kid_len)
                == 1
             && EVP_DigestUpdate(md, set->keys[i].digest,
                                 sizeof(set->keys[i].digest))
                == 1;
    }

    ok = ok && EVP_DigestFinal_ex(md, set->digest, NULL) == 1;

    EVP_MD_CTX_free(md);

    return ok;
}


static int
ps_jwks_duplicate(ps_jwks_t *set, ps_jwk_t *key)
{
    size_t     i;
    ps_jwk_t  *k;

    for (i = 0; i < set->n; i++) {
        k = &set->keys[i];

        if (k->alg == key->alg && k->kid && key->kid
            && k->kid_len == key->kid_len
            && memcmp(k->kid, key->kid, key->kid_len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


ps_jwks_t *
ps_jwks_parse(const unsigned char *data, size_t len, unsigned allowed,
    int strict, char *error, size_t size)
{
    int              rc, secrets;
    json_t          *root, *keys, *jwk;
    size_t           i, n;
    ps_jwk_t         key;
    ps_jwks_t       *set;
    json_error_t     json_error;
    ps_jwk_parse_t   ctx;

    if (len > PS_JWKS_MAX_SIZE) {
        snprintf(error, size, "the key set is larger than 1 MB");
        return NULL;
    }

    set = NULL;

    root = json_loadb((const char *) data, len, JSON_REJECT_DUPLICATES,
                      &json_error);
    if (root == NULL) {

        /* jansson's text quotes the input, which may be a secret */

        snprintf(error, size, "not valid JSON in line %d",
                 json_error.line);
        return NULL;
    }

    keys = json_object_get(root, "keys");

    if (keys == NULL && json_object_get(root, "kty") != NULL) {
        keys = root;
        n = 1;

    } else if (json_is_array(keys)) {
        n = json_array_size(keys);

    } else {
        snprintf(error, size, "neither a key set with \"keys\" nor a key "
                 "with \"kty\"");
        goto failed;
    }

    if (n > PS_JWKS_MAX_KEYS) {
        snprintf(error, size, "more than %d keys", PS_JWKS_MAX_KEYS);
        goto failed;
    }

    set = calloc(1, sizeof(ps_jwks_t));
    if (set == NULL) {
        snprintf(error, size, "no memory");
        goto failed;
    }

    set->keys = calloc(n ? n : 1, sizeof(ps_jwk_t));
    if (set->keys == NULL) {
        snprintf(error, size, "no memory");
        goto failed;
    }

    ctx.allowed = allowed;
    secrets = 0;

    for (i = 0; i < n; i++) {
        jwk = keys == root ? root : json_array_get(keys, i);

        memset(&key, 0, sizeof(ps_jwk_t));

        rc = ps_jwk_parse(&ctx, jwk, &key);

        if (rc == 0 && ps_jwks_duplicate(set, &key)) {
            ctx.error = "another key has the same \"kid\" and algorithm";
            rc = PS_JWK_BAD;
        }

        if (rc == PS_JWK_BAD && strict) {
            snprintf(error, size, "key %zu of the set: %s", i + 1, ctx.error);
            ps_jwk_key_free(&key);
            goto failed;
        }

        if (rc != 0) {
            ps_jwk_key_free(&key);
            set->skipped++;
            continue;
        }

        secrets += key.kind == PS_JWK_OCT;
        set->keys[set->n++] = key;
    }

    if (set->n == 0) {
        snprintf(error, size, "no key in it can verify a signature "
                 "(\"use\", \"key_ops\", \"kty\" and \"alg\" decide)");
        goto failed;
    }

    if (secrets && (size_t) secrets != set->n) {
        snprintf(error, size, "secrets (\"oct\") and public keys in one set: "
                 "put them into sets of their own");
        goto failed;
    }

    if (!ps_jwks_digest(set)) {
        snprintf(error, size, "no memory");
        goto failed;
    }

    json_decref(root);

    return set;

failed:

    ps_jwks_free(set);
    json_decref(root);

    return NULL;
}


void
ps_jwks_free(ps_jwks_t *set)
{
    size_t  i;

    if (set == NULL) {
        return;
    }

    for (i = 0; set->keys && i < set->n; i++) {
        ps_jwk_key_free(&set->keys[i]);
    }

    free(set->keys);
    free(set);
}


ps_jwk_t *
ps_jwks_next(ps_jwks_t *set, size_t *i, ps_jwt_alg_e alg, const char *kid,
    size_t kid_len)
{
    ps_jwk_t  *key;

    while (*i < set->n) {
        key = &set->keys[(*i)++];

        if (key->alg != alg
            && !(ps_alg_is_ed(alg) && ps_alg_is_ed(key->alg)
                 && ps_jwk_kind_algs(key->kind) & ps_alg_bit(alg)))
        {
            continue;
        }

        if (kid && key->kid
            && (key->kid_len != kid_len
                || memcmp(key->kid, kid, kid_len) != 0))
        {
            continue;
        }

        return key;
    }

    return NULL;
}
