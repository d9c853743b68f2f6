/*
 * DPoP proofs: the examples of RFC 9449 (their token, key and thumbprint are
 * here, so that a checkout without the shared folder has them), each check
 * of section 4.3 by itself with proofs signed here, and URIs.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "ps_base64url.h"
#include "ps_dpop.h"


#define TOKEN  "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
#define JKT    "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
#define PROOF                                                                 \
    "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwi"    \
    "eCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5"    \
    "IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNy"    \
    "diI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwi"   \
    "aHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJj"    \
    "ZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhX"    \
    "WG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1p"   \
    "lemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"

#define text(s)  { (const unsigned char *) s, sizeof(s) - 1 }


static unsigned char  buf[PS_JWS_MAX];

static EVP_PKEY      *key;
static char           jwk[256];
static char           jkt[44];


static ps_dpop_request_t
example(void)
{
    ps_dpop_request_t  request = {
        .method = text("GET"),
        .origin = text("https://resource.example.org"),
        .path = text("/protectedresource"),
        .token = text(TOKEN),
        .jkt = text(JKT),
        .now = 1562262618,
        .window = 60
    };

    return request;
}


static const char *
check(const char *proof, const ps_dpop_request_t *request)
{
    ps_dpop_proof_t  out;

    return ps_dpop_check((const unsigned char *) proof, strlen(proof), buf,
                         request, &out);
}


static void
test_example(void **state)
{
    ps_dpop_proof_t    proof;
    ps_dpop_request_t  request = example();

    (void) state;

    assert_null(ps_dpop_check((const unsigned char *) PROOF, strlen(PROOF),
                              buf, &request, &proof));
    assert_true(proof.until == 1562262678);

    request.now = 1562262618 + 60;
    assert_null(check(PROOF, &request));
    request.now = 1562262618 - 60;
    assert_null(check(PROOF, &request));
    request.now = 1562262618 + 61;
    assert_string_equal(check(PROOF, &request),
                        "the DPoP proof was not made now");
    request.now = 1562262618 - 61;
    assert_string_equal(check(PROOF, &request),
                        "the DPoP proof was not made now");
}


static void
test_example_refused(void **state)
{
    char               *bad;
    ps_dpop_request_t   request;

    (void) state;

    request = example();
    request.method = (ps_token_text_t) text("POST");
    assert_string_equal(check(PROOF, &request),
                        "the DPoP proof's \"htm\" is not this method");

    request = example();
    request.path = (ps_token_text_t) text("/other");
    assert_string_equal(check(PROOF, &request),
                        "the DPoP proof's \"htu\" is not this resource");

    request = example();
    request.token = (ps_token_text_t) text(TOKEN "x");
    assert_string_equal(check(PROOF, &request),
                        "the DPoP proof's \"ath\" is not of this token");

    request = example();
    request.jkt = (ps_token_text_t)
                  text("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4J");
    assert_string_equal(check(PROOF, &request),
                        "the DPoP proof's key is not the token's");

    request.jkt.len = 0;
    assert_string_equal(check(PROOF, &request),
                        "the DPoP proof's key is not the token's");

    request = example();
    bad = strdup(PROOF);
    bad[strlen(bad) - 10] ^= 1;
    assert_string_equal(check(bad, &request),
                        "the DPoP proof's signature doesn't match");
    free(bad);

    assert_string_equal(check("a.b", &request),
                        "the DPoP proof is not a JWS");
}


/* a key of our own, so that proofs can be wrong in one thing at a time */

static int
make_key(void **state)
{
    json_t         *object;
    unsigned char  *der, *p, x[64], y[64];

    (void) state;

    key = EVP_EC_gen("P-256");
    assert_non_null(key);

    /* the point is the end of its encoding: 04 X Y */

    der = NULL;
    p = NULL;
    int  len = i2d_PUBKEY(key, &p);
    der = p + len - 64;

    x[ps_base64url_encode(x, der, 32)] = '\0';
    y[ps_base64url_encode(y, der + 32, 32)] = '\0';
    OPENSSL_free(p);

    snprintf(jwk, sizeof(jwk),
             "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"%s\",\"y\":\"%s\"}",
             x, y);

    object = json_loads(jwk, 0, NULL);
    assert_int_equal(ps_dpop_thumbprint(object, (unsigned char *) jkt), 0);
    json_decref(object);

    return 0;
}


static int
free_key(void **state)
{
    (void) state;

    EVP_PKEY_free(key);
    return 0;
}


static char *
sign(const char *header, const char *payload)
{
    char                 *out;
    size_t                n, len;
    ECDSA_SIG            *sig;
    EVP_MD_CTX           *ctx;
    unsigned char         der[128], raw[64];
    const unsigned char  *p;

    out = malloc(2 * (strlen(header) + strlen(payload)) + 200);

    n = ps_base64url_encode((unsigned char *) out,
                            (const unsigned char *) header, strlen(header));
    out[n++] = '.';
    n += ps_base64url_encode((unsigned char *) out + n,
                             (const unsigned char *) payload,
                             strlen(payload));

    ctx = EVP_MD_CTX_new();
    len = sizeof(der);
    assert_int_equal(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key),
                     1);
    assert_int_equal(EVP_DigestSign(ctx, der, &len, (unsigned char *) out, n),
                     1);
    EVP_MD_CTX_free(ctx);

    p = der;
    sig = d2i_ECDSA_SIG(NULL, &p, len);
    BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, 32);
    BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + 32, 32);
    ECDSA_SIG_free(sig);

    out[n++] = '.';
    n += ps_base64url_encode((unsigned char *) out + n, raw, 64);
    out[n] = '\0';

    return out;
}


static void
expect(const char *header, const char *payload, const char *wrong)
{
    char               *proof;
    const char         *got;
    ps_dpop_request_t   request = example();

    request.jkt.data = (unsigned char *) jkt;
    request.jkt.len = 43;

    proof = sign(header, payload);
    got = check(proof, &request);
    free(proof);

    if (wrong == NULL) {
        assert_null(got);
        return;
    }

    assert_non_null(got);
    assert_string_equal(got, wrong);
}


static void
test_header(void **state)
{
    char         header[512];
    const char  *good = "{\"jti\":\"a\",\"htm\":\"GET\",\"htu\":"
        "\"https://resource.example.org/protectedresource\","
        "\"iat\":1562262618,\"ath\":"
        "\"fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo\"}";

    (void) state;

    snprintf(header, sizeof(header),
             "{\"typ\":\"dpop+jwt\",\"alg\":\"ES256\",\"jwk\":%s}", jwk);
    expect(header, good, NULL);

    snprintf(header, sizeof(header),
             "{\"typ\":\"application/DPoP+JWT\",\"alg\":\"ES256\",\"jwk\":%s}",
             jwk);
    expect(header, good, NULL);

    snprintf(header, sizeof(header),
             "{\"typ\":\"at+jwt\",\"alg\":\"ES256\",\"jwk\":%s}", jwk);
    expect(header, good, "the DPoP proof's \"typ\" is not dpop+jwt");

    snprintf(header, sizeof(header), "{\"alg\":\"ES256\",\"jwk\":%s}", jwk);
    expect(header, good, "the DPoP proof's \"typ\" is not dpop+jwt");

    snprintf(header, sizeof(header),
             "{\"typ\":\"dpop+jwt\",\"alg\":\"HS256\",\"jwk\":%s}", jwk);
    expect(header, good, "the DPoP proof's algorithm is not asymmetric");

    snprintf(header, sizeof(header),
             "{\"typ\":\"dpop+jwt\",\"alg\":\"none\",\"jwk\":%s}", jwk);
    expect(header, good, "the DPoP proof is not a JWS");

    snprintf(header, sizeof(header),
             "{\"typ\":\"dpop+jwt\",\"alg\":\"RS256\",\"jwk\":%s}", jwk);
    expect(header, good, "the DPoP proof's \"jwk\" can't be used");

    snprintf(header, sizeof(header),
             "{\"typ\":\"dpop+jwt\",\"alg\":\"ES256\",\"crit\":[\"x\"],"
             "\"x\":1,\"jwk\":%s}", jwk);
    expect(header, good, "the DPoP proof is not a JWS");

    expect("{\"typ\":\"dpop+jwt\",\"alg\":\"ES256\"}", good,
           "the DPoP proof has no public key in \"jwk\"");
    expect("{\"typ\":\"dpop+jwt\",\"alg\":\"ES256\",\"jwk\":\"x\"}", good,
           "the DPoP proof has no public key in \"jwk\"");
    expect("{\"typ\":\"dpop+jwt\",\"alg\":\"ES256\",\"jwk\":"
           "{\"kty\":\"oct\",\"k\":\"AAAA\"}}", good,
           "the DPoP proof has no public key in \"jwk\"");

    /* a private member, though the thumbprint is the same */

    snprintf(header, sizeof(header),
             "{\"typ\":\"dpop+jwt\",\"alg\":\"ES256\",\"jwk\":"
             "{\"d\":\"AAAA\",%s}", jwk + 1);
    expect(header, good, "the DPoP proof's \"jwk\" can't be used");
}


static void
test_payload(void **state)
{
    char    header[512], payload[1024], jti[300];
    size_t  i;

#define HTU  "\"htu\":\"https://resource.example.org/protectedresource\","
#define ATH  "\"ath\":\"fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo\","
#define IAT  "\"iat\":1562262618,"

    static const struct {
        const char  *payload;
        const char  *wrong;
    } cases[] = {
        { "{" HTU ATH IAT "\"jti\":\"a\",\"htm\":\"get\"}",
          "the DPoP proof's \"htm\" is not this method" },
        { "{" HTU ATH IAT "\"jti\":\"a\"}",
          "the DPoP proof's \"htm\" is not this method" },
        { "{" HTU ATH IAT "\"jti\":\"a\",\"htm\":1}",
          "the DPoP proof's \"htm\" is not this method" },
        { "{" ATH IAT "\"jti\":\"a\",\"htm\":\"GET\"}",
          "the DPoP proof has no \"htu\"" },
        { "{" HTU ATH "\"jti\":\"a\",\"htm\":\"GET\"}",
          "the DPoP proof has no \"iat\"" },
        { "{" HTU ATH "\"iat\":\"1562262618\",\"jti\":\"a\","
          "\"htm\":\"GET\"}", "the DPoP proof has no \"iat\"" },
        { "{" HTU ATH "\"iat\":1e300,\"jti\":\"a\",\"htm\":\"GET\"}",
          "the DPoP proof was not made now" },
        { "{" HTU IAT "\"jti\":\"a\",\"htm\":\"GET\"}",
          "the DPoP proof's \"ath\" is not of this token" },
        { "{" HTU ATH IAT "\"htm\":\"GET\"}",
          "the DPoP proof has no \"jti\", or too long a one" },
        { "{" HTU ATH IAT "\"jti\":\"\",\"htm\":\"GET\"}",
          "the DPoP proof has no \"jti\", or too long a one" },
        { "{" HTU ATH IAT "\"jti\":7,\"htm\":\"GET\"}",
          "the DPoP proof has no \"jti\", or too long a one" },
        { "{" HTU ATH IAT "\"jti\":\"a\",\"htm\":\"GET\",\"htm\":\"GET\"}",
          "the DPoP proof's payload is not a JSON object" },
        { "[]", "the DPoP proof's payload is not a JSON object" },
        { "{" HTU ATH "\"iat\":1562262618.5,\"jti\":\"a\",\"htm\":\"GET\"}",
          NULL },
    };

    (void) state;

    snprintf(header, sizeof(header),
             "{\"typ\":\"dpop+jwt\",\"alg\":\"ES256\",\"jwk\":%s}", jwk);

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        expect(header, cases[i].payload, cases[i].wrong);
    }

    memset(jti, 'x', sizeof(jti));
    jti[257] = '\0';

    snprintf(payload, sizeof(payload),
             "{" HTU ATH IAT "\"jti\":\"%s\",\"htm\":\"GET\"}", jti);
    expect(header, payload, "the DPoP proof has no \"jti\", or too long a one");

    jti[256] = '\0';
    snprintf(payload, sizeof(payload),
             "{" HTU ATH IAT "\"jti\":\"%s\",\"htm\":\"GET\"}", jti);
    expect(header, payload, NULL);
}


static void
test_uri(void **state)
{
    size_t           i;
    ps_token_text_t  htu, origin, path;

    static const struct {
        const char  *htu, *origin, *path;
        int          is;
    } cases[] = {
        { "https://a.example/x", "https://a.example", "/x", 1 },
        { "HTTPS://A.Example:443/x", "https://a.example", "/x", 1 },
        { "https://a.example/x", "https://a.example:443", "/x", 1 },
        { "http://a.example:80/x", "http://a.example", "/x", 1 },
        { "http://a.example:8080/x", "http://a.example:8080", "/x", 1 },
        { "https://a.example", "https://a.example", "/", 1 },
        { "https://a.example?q", "https://a.example", "/", 1 },
        { "https://a.example/x?q=1#f", "https://a.example", "/x", 1 },
        { "https://a.example/%7ex", "https://a.example", "/~x", 1 },
        { "https://a.example/%2fx", "https://a.example", "/%2Fx", 1 },
        { "https://a.example/%2fx", "https://a.example", "//x", 0 },
        { "https://a.example/%", "https://a.example", "/%", 1 },
        { "https://a.example/%4", "https://a.example", "/%4", 1 },
        { "https://a.example/%zz", "https://a.example", "/%zz", 1 },
        { "https://a.example/X", "https://a.example", "/x", 0 },
        { "https://a.example/x/", "https://a.example", "/x", 0 },
        { "https://a.example/xy", "https://a.example", "/x", 0 },
        { "http://a.example/x", "https://a.example", "/x", 0 },
        { "https://a.example:8443/x", "https://a.example", "/x", 0 },
        { "https://b.example/x", "https://a.example", "/x", 0 },
        { "https://a.example@b.example/x", "https://b.example", "/x", 0 },
        { "https://a.example.b/x", "https://a.example", "/x", 0 },
        { "https:///x", "https://a.example", "/x", 0 },
        { "/x", "https://a.example", "/x", 0 },
        { "https:/a.example/x", "https://a.example", "/x", 0 },
        { "ftp://a.example/x", "ftp://a.example", "/x", 0 },
        { "", "https://a.example", "/x", 0 },
        { "https://", "https://a.example", "/x", 0 },
        { "https://:443", "https://a.example", "/", 0 },
    };

    (void) state;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        htu.data = (const unsigned char *) cases[i].htu;
        htu.len = strlen(cases[i].htu);
        origin.data = (const unsigned char *) cases[i].origin;
        origin.len = strlen(cases[i].origin);
        path.data = (const unsigned char *) cases[i].path;
        path.len = strlen(cases[i].path);

        if (ps_dpop_htu_is(&htu, &origin, &path) != cases[i].is) {
            fail_msg("%s at %s%s", cases[i].htu, cases[i].origin,
                     cases[i].path);
        }
    }
}


/* RFC 7638, 3.1 */

static void
test_thumbprint(void **state)
{
    json_t         *object;
    unsigned char   out[43];

    (void) state;

    object = json_loads(
        "{\"kty\":\"RSA\",\"n\":\"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbW"
        "hM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3okn"
        "jhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2"
        "QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08"
        "qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF4"
        "4-csFCur-kEgU8awapJzKnqDKgw\",\"e\":\"AQAB\",\"alg\":\"RS256\","
        "\"kid\":\"2011-04-29\"}", 0, NULL);

    assert_int_equal(ps_dpop_thumbprint(object, out), 0);
    assert_memory_equal(out, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
                        43);
    json_decref(object);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_example),
        cmocka_unit_test(test_example_refused),
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_payload),
        cmocka_unit_test(test_uri),
        cmocka_unit_test(test_thumbprint),
    };

    return cmocka_run_group_tests(tests, make_key, free_key);
}
