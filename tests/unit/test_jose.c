/*
 * Signatures and keys against published vectors: RFC 7515 and 8037 (a few are
 * here, for a checkout without the shared folder), and Wycheproof's when
 * PENSTOCK_SHARED or ../shared next to the repository has them.  Forgeries
 * that passed in other implementations must not pass here.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "ps_base64url.h"
#include "ps_jwk.h"
#include "ps_jwk_key.h"
#include "ps_jws.h"


static json_t *
vectors(const char *name)
{
    size_t       i;
    char         path[4096];
    json_t      *root;
    const char  *dirs[] = { getenv("PENSTOCK_SHARED"), "../shared",
                            "../../../shared" };

    for (i = 0; i < 3; i++) {
        if (dirs[i] == NULL) {
            continue;
        }

        snprintf(path, sizeof(path), "%s/vectors/%s", dirs[i], name);
        root = json_load_file(path, 0, NULL);

        if (root != NULL) {
            return root;
        }
    }

    print_message("%s is not there, skipped\n", name);

    return NULL;
}


static ps_jwks_t *
key_set(json_t *json, char *error)
{
    char       *text;
    ps_jwks_t  *set;

    text = json_dumps(json, 0);
    set = ps_jwks_parse((unsigned char *) text, strlen(text), 0, 1, error,
                        256);
    free(text);

    return set;
}


/* whether any key of the set verifies the token */

static int
verifies(ps_jwks_t *set, const char *token)
{
    int             ok;
    size_t          i;
    ps_jws_t        jws;
    ps_jwk_t       *key;
    unsigned char  *buf, *copy;

    /* exact sizes, for the sanitizer to see a byte too far */

    copy = malloc(strlen(token) + 1);
    buf = malloc(strlen(token) + 1);
    memcpy(copy, token, strlen(token));

    ok = 0;
    i = 0;

    if (ps_jws_parse(&jws, copy, strlen(token), buf) == PS_JWT_OK) {
        while ((key = ps_jwks_next(set, &i, jws.alg, jws.kid, jws.kid_len))) {
            ok |= ps_jwk_verify(key, jws.input, jws.input_len, jws.signature,
                                jws.signature_len);
        }

        ps_jws_free(&jws);
    }

    free(copy);
    free(buf);

    return ok;
}


/*
 * Where the verdict is another one than Wycheproof's.  Refused though "valid":
 * 346 and 350 are PS384 with a key whose "alg" is PS256 (RFC 8725, 3.1); the
 * "alg" of 347's and 351's key is ES521, which no registry knows; 372 and 373
 * have a "?" in base64url (RFC 7515, 2).  And 367 and 370, "invalid", are
 * byte for byte the token of 357, which is "valid".
 */

static int
departs(const char *name, json_t *test)
{
    size_t      i;
    json_int_t  id;

    static const json_int_t  ids[] = { 346, 347, 350, 351, 367, 370, 372,
                                       373 };

    if (strstr(name, "json_web_signature") == NULL) {
        return 0;
    }

    id = json_integer_value(json_object_get(test, "tcId"));

    for (i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        if (ids[i] == id) {
            return 1;
        }
    }

    return 0;
}


static void
run_jws(const char *name, int rfc)
{
    int          valid, ok;
    char         error[256];
    size_t       i, j;
    json_t      *root, *groups, *group, *tests, *test, *jwk;
    ps_jwks_t   *set;
    const char  *jws;

    root = vectors(name);
    if (root == NULL) {
        skip();
    }

    groups = rfc ? root : json_object_get(root, "testGroups");

    json_array_foreach(groups, i, group) {

        jwk = json_object_get(group, "public");

        if (jwk == NULL) {
            jwk = json_object_get(group, rfc ? "jwk" : "private");
        }

        set = jwk ? key_set(jwk, error) : NULL;
        tests = rfc ? group : json_object_get(group, "tests");

        for (j = 0; j < (rfc ? 1 : json_array_size(tests)); j++) {
            test = rfc ? group : json_array_get(tests, j);
            jws = json_string_value(json_object_get(test, "jws"));

            if (jws == NULL) {
                continue;               /* a JSON serialization */
            }

            valid = strcmp(json_string_value(json_object_get(test, "result")),
                           "valid") == 0;

            if (!rfc && departs(name, test)) {
                valid = !valid;
            }

            ok = set && verifies(set, jws);

            if (ok != valid) {
                fail_msg("%s, group %zu, test %zu: %s (%s)", name, i, j,
                         ok ? "accepted" : "refused",
                         set ? "verify" : error);
            }
        }

        ps_jwks_free(set);
    }

    json_decref(root);
}


static void
test_wycheproof_jws(void **state)
{
    (void) state;

    run_jws("wycheproof/json_web_signature_test.json", 0);
}


static void
test_wycheproof_jwk(void **state)
{
    (void) state;

    run_jws("wycheproof/json_web_key_test.json", 0);
}


static void
test_rfc_examples(void **state)
{
    (void) state;

    run_jws("rfc7515/appendix-a.json", 1);
}


static size_t
unhex(const char *hex, unsigned char *out)
{
    size_t    n;
    unsigned  c;

    for (n = 0; hex[2 * n]; n++) {
        sscanf(hex + 2 * n, "%2x", &c);
        out[n] = c;
    }

    return n;
}


/* vectors of bare signatures: message, signature, verdict */

static void
run_signatures(const char *name, const char *alg)
{
    int             valid, ok;
    char            error[256];
    size_t          i, j, msg_len, sig_len, k;
    json_t         *root, *group, *tests, *test, *jwk;
    ps_jwk_t       *key;
    ps_jwks_t      *set;
    unsigned char  *msg, *sig;

    root = vectors(name);
    if (root == NULL) {
        skip();
    }

    json_array_foreach(json_object_get(root, "testGroups"), i, group) {

        jwk = json_object_get(group, "publicKeyJwk");
        if (jwk == NULL) {
            continue;
        }

        set = key_set(jwk, error);
        k = 0;
        key = set ? ps_jwks_next(set, &k, ps_jwt_alg(alg, strlen(alg)), NULL,
                                 0)
                  : NULL;
        tests = json_object_get(group, "tests");

        json_array_foreach(tests, j, test) {
            msg = malloc(json_string_length(json_object_get(test, "msg")) + 1);
            sig = malloc(json_string_length(json_object_get(test, "sig")) + 1);

            msg_len = unhex(json_string_value(json_object_get(test, "msg")),
                            msg);
            sig_len = unhex(json_string_value(json_object_get(test, "sig")),
                            sig);

            valid = strcmp(json_string_value(json_object_get(test, "result")),
                           "valid") == 0;

            ok = key && ps_jwk_verify(key, msg, msg_len, sig, sig_len);

            if (ok != valid) {
                fail_msg("%s, group %zu, test %zu: %s", name, i, j,
                         ok ? "accepted" : "refused");
            }

            free(msg);
            free(sig);
        }

        ps_jwks_free(set);
    }

    json_decref(root);
}


static void
test_wycheproof_ecdsa(void **state)
{
    (void) state;

    run_signatures("wycheproof/ecdsa_secp256r1_sha256_p1363_test.json",
                   "ES256");
}


static void
test_wycheproof_ed25519(void **state)
{
    (void) state;

    run_signatures("wycheproof/ed25519_test.json", "EdDSA");
}


static void
test_wycheproof_pss(void **state)
{
    (void) state;

    run_signatures("wycheproof/rsa_pss_2048_sha256_mgf1_32_test.json",
                   "PS256");
}


#define RFC_PAYLOAD                                                           \
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLm"  \
    "NvbS9pc19yb290Ijp0cnVlfQ"

#define RFC_HS_KEY                                                            \
    "\"kty\":\"oct\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1q" \
    "S0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow\""

#define RFC_HS                                                                \
    "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." RFC_PAYLOAD                   \
    ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"

#define RFC_EC_KEY                                                            \
    "\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e" \
    "8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\""

#define RFC_ES                                                                \
    "eyJhbGciOiJFUzI1NiJ9." RFC_PAYLOAD                                       \
    ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxf" \
    "KTUJqPP3-Kg6NU1Q"

#define RFC_ED_KEY                                                            \
    "\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvP" \
    "apiMlrwIaaPcHURo\""

#define RFC_ED                                                                \
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0" \
    "JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KA" \
    "g"


static ps_jwks_t *
parse(const char *text, unsigned allowed, char *error)
{
    return ps_jwks_parse((const unsigned char *) text, strlen(text), allowed,
                         1, error, 256);
}


static void
test_own_set(void **state)
{
    char        error[256], *token;
    size_t      i, j;
    ps_jwks_t  *sets[3];

    static const char  *keys[] = {
        "{" RFC_HS_KEY "}", "{" RFC_EC_KEY "}", "{" RFC_ED_KEY "}"
    };
    static const char  *tokens[] = { RFC_HS, RFC_ES, RFC_ED };

    (void) state;

    for (i = 0; i < 3; i++) {
        sets[i] = parse(keys[i], 0, error);
        assert_non_null(sets[i]);
    }

    for (i = 0; i < 3; i++) {
        for (j = 0; j < 3; j++) {
            assert_int_equal(verifies(sets[i], tokens[j]), i == j);

            /* contexts are used again and keep their state to themselves */

            assert_int_equal(verifies(sets[i], tokens[i]), 1);
        }

        /* any change to the signed part, and to most of the signature */

        for (j = 0; j + 2 < strlen(tokens[i]); j++) {
            token = strdup(tokens[i]);
            token[j] = token[j] == 'A' ? 'B' : 'A';
            if (strcmp(token, tokens[i]) != 0) {
                assert_int_equal(verifies(sets[i], token), 0);
            }
            free(token);
        }
    }

    for (i = 0; i < 3; i++) {
        ps_jwks_free(sets[i]);
    }
}


static void
test_keys_refused(void **state)
{
    char        error[256];
    size_t      i;
    ps_jwks_t  *set;

    static const struct {
        const char  *text;
        const char  *error;
    } bad[] = {
        { "", "not valid JSON" },
        { "{}", "neither" },
        { "[]", "neither" },
        { "{\"keys\":{}}", "neither" },
        { "{\"keys\":[]}", "no key" },
        { "{\"keys\":[1]}", "not an object" },
        { "{\"keys\":[{}]}", "kty" },
        { "{\"keys\":[],\"keys\":[]}", "not valid JSON" },
        { "{\"keys\":[{" RFC_EC_KEY ",\"use\":\"enc\"}]}", "no key" },
        { "{\"keys\":[{" RFC_EC_KEY ",\"use\":1}]}", "use" },
        { "{" RFC_EC_KEY ",\"key_ops\":[\"sign\"]}", "no key" },
        { "{" RFC_EC_KEY ",\"key_ops\":[\"verify\",\"verify\"]}", "twice" },
        { "{" RFC_EC_KEY ",\"key_ops\":\"verify\"}", "array" },
        { "{" RFC_EC_KEY ",\"alg\":\"RS256\"}", "this kind" },
        { "{" RFC_EC_KEY ",\"alg\":\"ES384\"}", "this kind" },
        { "{" RFC_EC_KEY ",\"alg\":\"none\"}", "no key" },
        { "{" RFC_EC_KEY ",\"alg\":\"es256\"}", "no key" },
        { "{" RFC_EC_KEY ",\"d\":\"AA\"}", "private" },
        { "{" RFC_EC_KEY ",\"kid\":7}", "kid" },
        { "{" RFC_HS_KEY ",\"alg\":\"HS256\\u0000\"}", "not valid JSON" },
        { "{\"kty\":\"oct\",\"k\":\"AAAA\"}", "shorter" },
        { "{\"kty\":\"oct\",\"k\":\"AAAA=\"}", "base64url" },
        { "{\"kty\":\"oct\",\"k\":\"\"}", "base64url" },
        { "{\"kty\":\"RSA\",\"e\":\"AQAB\"}", "missing" },
        { "{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}", "2048" },
        { "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\"}", "length" },
        { "{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"AAAA\"}", "no key" },
        { "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAA\",\"y\":\"AAAA\"}",
          "length" },
        { "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1g"
          "HMzV76e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStik"
          "YjKIWI5a5\"}", "base64url" },
        { "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1g"
          "HMzV76e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStik"
          "YjKIWI5a8\"}", "curve" },
        { "{\"keys\":[{" RFC_EC_KEY "},{" RFC_HS_KEY "}]}", "of their own" },
        { "{\"keys\":[{" RFC_EC_KEY ",\"kid\":\"a\"},{" RFC_EC_KEY
          ",\"kid\":\"a\"}]}", "same" }
    };

    (void) state;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        error[0] = '\0';
        set = parse(bad[i].text, 0, error);

        if (set != NULL || strstr(error, bad[i].error) == NULL) {
            fail_msg("%s: %s", bad[i].text, set ? "accepted" : error);
        }
    }
}


static void
test_one_algorithm(void **state)
{
    char        error[256], text[4096], n[400];
    size_t      i;
    ps_jwks_t  *set;

    static const ps_jwt_alg_e  algs[] = { PS_ALG_RS256, PS_ALG_RS384,
                                          PS_ALG_PS256, PS_ALG_HS256,
                                          PS_ALG_ES256, PS_ALG_EDDSA };

    (void) state;

    /* 2048 bits, odd; any modulus does for this */

    memset(n, 'z', 342);
    memcpy(n + 341, "w", 2);

    snprintf(text, sizeof(text), "{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":"
             "\"AQAB\"}", n);

    set = parse(text, 0, error);
    assert_non_null(set);

    for (i = 0; i < sizeof(algs) / sizeof(algs[0]); i++) {
        size_t  k = 0;

        assert_int_equal(ps_jwks_next(set, &k, algs[i], NULL, 0) != NULL,
                         algs[i] == PS_ALG_RS256);
    }

    ps_jwks_free(set);

    /* the only allowed one that fits */

    set = parse(text, ps_alg_bit(PS_ALG_PS256) | ps_alg_bit(PS_ALG_ES256),
                error);
    assert_non_null(set);
    i = 0;
    assert_non_null(ps_jwks_next(set, &i, PS_ALG_PS256, "any", 3));
    i = 0;
    assert_null(ps_jwks_next(set, &i, PS_ALG_RS256, NULL, 0));
    ps_jwks_free(set);

    /* two that fit: uncertain */

    assert_null(parse(text, ps_alg_bit(PS_ALG_PS256)
                            | ps_alg_bit(PS_ALG_RS256), error));
    assert_non_null(strstr(error, "several"));

    /* none that fits */

    assert_null(parse(text, ps_alg_bit(PS_ALG_ES256), error));
    assert_non_null(strstr(error, "no key"));

    /* both names of Ed25519 */

    set = parse("{" RFC_ED_KEY ",\"kid\":\"x\"}", ps_alg_bit(PS_ALG_EDDSA),
                error);
    assert_non_null(set);
    i = 0;
    assert_non_null(ps_jwks_next(set, &i, PS_ALG_ED25519, "x", 1));
    i = 0;
    assert_non_null(ps_jwks_next(set, &i, PS_ALG_EDDSA, "x", 1));
    i = 0;
    assert_null(ps_jwks_next(set, &i, PS_ALG_ED448, "x", 1));
    i = 0;
    assert_null(ps_jwks_next(set, &i, PS_ALG_EDDSA, "y", 1));
    ps_jwks_free(set);
}


static void
test_digest(void **state)
{
    char        error[256];
    ps_jwks_t  *a, *b, *c, *d;

    (void) state;

    a = parse("{" RFC_EC_KEY ",\"kid\":\"x\"}", 0, error);
    b = parse("{\"keys\":[{\"kid\":\"x\"," RFC_EC_KEY ",\"use\":\"sig\"}]}",
              0, error);
    c = parse("{" RFC_EC_KEY ",\"kid\":\"y\"}", 0, error);
    d = parse("{" RFC_ED_KEY ",\"kid\":\"x\"}", 0, error);

    assert_memory_equal(a->digest, b->digest, 32);
    assert_memory_not_equal(a->digest, c->digest, 32);
    assert_memory_not_equal(a->digest, d->digest, 32);

    ps_jwks_free(a);
    ps_jwks_free(b);
    ps_jwks_free(c);
    ps_jwks_free(d);
}


static void
test_base64url(void **state)
{
    size_t          i, n, m;
    unsigned char   in[64], out[64], text[128], *exact;

    static const char  *bad[] = { "A", "AAAAA", "AA=", "AA==", "AB", "AAB",
                                  "A A", "AA\n", "AA+A", "AA/A", "AA.A",
                                  "\xc3\xa9", "AA%3D" };

    (void) state;

    for (n = 0; n < sizeof(in); n++) {
        for (i = 0; i < n; i++) {
            in[i] = (unsigned char) (i * 37 + n * 101);
        }

        m = ps_base64url_encode(text, in, n);
        assert_int_equal(m, ps_base64url_encoded_len(n));

        exact = malloc(m + 1);
        memcpy(exact, text, m);
        assert_int_equal(ps_base64url_decode(out, &i, exact, m), 0);
        free(exact);

        assert_int_equal(i, n);
        assert_memory_equal(in, out, n);
    }

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(ps_base64url_decode(out, &n,
                                             (const unsigned char *) bad[i],
                                             strlen(bad[i])), -1);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_base64url),
        cmocka_unit_test(test_own_set),
        cmocka_unit_test(test_keys_refused),
        cmocka_unit_test(test_one_algorithm),
        cmocka_unit_test(test_digest),
        cmocka_unit_test(test_rfc_examples),
        cmocka_unit_test(test_wycheproof_jws),
        cmocka_unit_test(test_wycheproof_jwk),
        cmocka_unit_test(test_wycheproof_ecdsa),
        cmocka_unit_test(test_wycheproof_ed25519),
        cmocka_unit_test(test_wycheproof_pss)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
