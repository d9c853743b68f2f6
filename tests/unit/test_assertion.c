
/*
 * What the gateway says at a token endpoint can be verified by its public
 * key, says what it must, and never the same twice; what comes back is a
 * token that can stand in a header, or it is refused.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "ps_assertion.h"
#include "ps_base64url.h"


static char       pem[3][8192];
static char      *algs[] = { "RS256", "ES256", "PS256" };
static EVP_PKEY  *keys[3];


static void
write_key(EVP_PKEY *key, char *text, size_t size)
{
    int   n;
    BIO  *bio;

    bio = BIO_new(BIO_s_mem());
    assert_non_null(bio);
    assert_int_equal(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL,
                                              NULL), 1);

    n = BIO_read(bio, text, (int) size - 1);
    assert_true(n > 0);
    text[n] = '\0';

    BIO_free(bio);
}


static int
setup(void **state)
{
    int  i;

    keys[0] = EVP_RSA_gen(2048);
    keys[1] = EVP_EC_gen("P-256");
    keys[2] = EVP_RSA_gen(2048);

    for (i = 0; i < 3; i++) {
        assert_non_null(keys[i]);
        write_key(keys[i], pem[i], sizeof(pem[i]));
    }

    return 0;
}


static int
teardown(void **state)
{
    int  i;

    for (i = 0; i < 3; i++) {
        EVP_PKEY_free(keys[i]);
    }

    return 0;
}


static json_t *
part(const char *text, size_t len)
{
    size_t         n;
    json_t        *value;
    unsigned char  buf[2048];

    assert_true(ps_base64url_decoded_len(len) <= sizeof(buf));
    assert_int_equal(ps_base64url_decode(buf, &n, (unsigned char *) text,
                                         len), 0);

    value = json_loadb((char *) buf, n, 0, NULL);
    assert_non_null(value);

    return value;
}


static void
is(json_t *object, const char *name, const char *value)
{
    assert_string_equal(json_string_value(json_object_get(object, name)),
                        value);
}


/* by OpenSSL, with R and S put into DER first */

static int
verify(int alg, const char *text, const char *dot)
{
    int              ok, der_len;
    size_t           n;
    ECDSA_SIG       *sig;
    EVP_MD_CTX      *ctx;
    EVP_PKEY_CTX    *pctx;
    unsigned char    buf[1024], *der;

    assert_int_equal(ps_base64url_decode(buf, &n, (unsigned char *) dot + 1,
                                         strlen(dot + 1)), 0);

    ctx = EVP_MD_CTX_new();
    assert_non_null(ctx);
    assert_int_equal(EVP_DigestVerifyInit(ctx, &pctx, EVP_sha256(), NULL,
                                          keys[alg]), 1);

    der = NULL;

    if (alg == PS_ASSERTION_PS256) {
        EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING);
        EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST);

    } else if (alg == PS_ASSERTION_ES256) {
        assert_int_equal(n, 64);
        sig = ECDSA_SIG_new();
        ECDSA_SIG_set0(sig, BN_bin2bn(buf, 32, NULL),
                       BN_bin2bn(buf + 32, 32, NULL));
        der_len = i2d_ECDSA_SIG(sig, &der);
        assert_true(der_len > 0 && der_len < (int) sizeof(buf));
        memcpy(buf, der, (size_t) der_len);
        n = (size_t) der_len;
        ECDSA_SIG_free(sig);
        OPENSSL_free(der);
    }

    ok = EVP_DigestVerify(ctx, buf, n, (unsigned char *) text,
                          (size_t) (dot - text));

    EVP_MD_CTX_free(ctx);

    return ok == 1;
}


static void
test_assertions(void **state)
{
    int              alg;
    char            *text, *dot, *last;
    json_t          *header, *claims;
    ps_assertion_t   a;

    for (alg = 0; alg < 3; alg++) {
        memset(&a, 0, sizeof(a));

        a.alg = (ps_assertion_alg_e) alg;
        a.key = pem[alg];
        a.key_len = strlen(pem[alg]);
        a.key_id = alg ? "k\"1" : NULL;
        a.client = "cli\xc3\xa9nt";
        a.audience = "https://as.example/token";
        a.id = "0123";
        a.now = 1700000000;
        a.lifetime = 60;

        assert_null(ps_assertion_key(a.key, a.key_len, a.alg));

        text = ps_assertion_sign(&a);
        assert_non_null(text);

        dot = strchr(text, '.');
        last = strrchr(text, '.');
        assert_true(dot && last && dot != last);

        header = part(text, (size_t) (dot - text));
        claims = part(dot + 1, (size_t) (last - dot - 1));

        is(header, "alg", algs[alg]);
        is(claims, "iss", a.client);
        is(claims, "sub", a.client);
        is(claims, "aud", a.audience);
        is(claims, "jti", a.id);

        if (a.key_id) {
            is(header, "kid", a.key_id);

        } else {
            assert_null(json_object_get(header, "kid"));
        }

        assert_int_equal(json_integer_value(json_object_get(claims, "iat")),
                         a.now);
        assert_int_equal(json_integer_value(json_object_get(claims, "exp")),
                         a.now + 60);

        assert_true(verify(alg, text, last));

        text[0] ^= 1;
        assert_false(verify(alg, text, last));

        json_decref(header);
        json_decref(claims);
        free(text);
    }
}


static void
test_keys(void **state)
{
    char       small[8192];
    EVP_PKEY  *key;

    assert_non_null(ps_assertion_key(pem[0], strlen(pem[0]),
                                     PS_ASSERTION_ES256));
    assert_non_null(ps_assertion_key(pem[1], strlen(pem[1]),
                                     PS_ASSERTION_RS256));
    assert_non_null(ps_assertion_key(pem[1], strlen(pem[1]),
                                     PS_ASSERTION_PS256));
    assert_non_null(ps_assertion_key("x", 1, PS_ASSERTION_RS256));
    assert_non_null(ps_assertion_key("", 0, PS_ASSERTION_RS256));

    key = EVP_EC_gen("P-384");
    assert_non_null(key);
    write_key(key, small, sizeof(small));
    assert_non_null(ps_assertion_key(small, strlen(small),
                                     PS_ASSERTION_ES256));
    EVP_PKEY_free(key);

    key = EVP_RSA_gen(1024);
    assert_non_null(key);
    write_key(key, small, sizeof(small));
    assert_non_null(ps_assertion_key(small, strlen(small),
                                     PS_ASSERTION_RS256));
    EVP_PKEY_free(key);
}


static void
test_form(void **state)
{
    char  buf[256] = "", *p;

    p = buf;
    ps_grant_add(&p, buf, "a", "x y", 3);
    ps_grant_add(&p, buf, "b", "&=+%\xc3\xa9", 6);
    ps_grant_add(&p, buf, "c", "Az09-._*", 8);
    *p = '\0';

    assert_string_equal(buf, "a=x+y&b=%26%3D%2B%25%C3%A9&c=Az09-._*");
}


static void
test_answers(void **state)
{
    char         token[16];
    size_t       i, len;
    int64_t      seconds;
    const char  *wrong;

    static const struct {
        const char  *text;
        const char  *token;          /* NULL: refused */
        int64_t      seconds;
    } cases[] = {
        { "{\"access_token\":\"aZ0-._~+/==\",\"token_type\":\"bearer\","
          "\"expires_in\":60}", "aZ0-._~+/==", 60 },
        { "{\"access_token\":\"a\",\"token_type\":\"BEARER\"}", "a", -1 },
        { "{\"access_token\":\"a\",\"token_type\":\"Bearer\","
          "\"expires_in\":\"60\"}", "a", -1 },
        { "{\"access_token\":\"a\",\"token_type\":\"Bearer\","
          "\"expires_in\":-5}", "a", 0 },
        { "{\"access_token\":\"a\",\"token_type\":\"Bearer\","
          "\"expires_in\":1e300}", "a", 100000000 },
        { "{\"access_token\":\"a\",\"token_type\":\"Bearer\","
          "\"expires_in\":3599.5}", "a", 3599 },
        { "{\"access_token\":\"a\",\"token_type\":\"DPoP\"}", NULL, 0 },
        { "{\"access_token\":\"a\"}", NULL, 0 },
        { "{\"access_token\":\"\",\"token_type\":\"Bearer\"}", NULL, 0 },
        { "{\"access_token\":\"a\\r\\nX: y\",\"token_type\":\"Bearer\"}",
          NULL, 0 },
        { "{\"access_token\":\"a b\",\"token_type\":\"Bearer\"}", NULL, 0 },
        { "{\"access_token\":\"0123456789abcdefg\","
          "\"token_type\":\"Bearer\"}", NULL, 0 },
        { "{\"access_token\":1,\"token_type\":\"Bearer\"}", NULL, 0 },
        { "{\"access_token\":\"a\",\"access_token\":\"b\","
          "\"token_type\":\"Bearer\"}", NULL, 0 },
        { "[]", NULL, 0 },
        { "access_token=a", NULL, 0 },
        { "", NULL, 0 }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        len = sizeof(token);
        wrong = ps_grant_read(cases[i].text, strlen(cases[i].text), token,
                              &len, &seconds);

        if (cases[i].token == NULL) {
            assert_non_null(wrong);
            continue;
        }

        assert_null(wrong);
        assert_int_equal(len, strlen(cases[i].token));
        assert_memory_equal(token, cases[i].token, len);
        assert_int_equal(seconds, cases[i].seconds);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_assertions),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_form),
        cmocka_unit_test(test_answers),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
