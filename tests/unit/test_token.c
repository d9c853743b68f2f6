/*
 * The parts of token verification that need no keys: the compact form, the
 * flat record of a token, its rules, bearer credentials, scopes.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ps_base64url.h"
#include "ps_bearer.h"
#include "ps_scope.h"
#include "ps_token.h"


static unsigned char  decoded[PS_JWS_MAX];


/* header and payload into a token with some signature */

static char *
compact(const char *header, const char *payload)
{
    char    *token;
    size_t   n;

    token = malloc(3 * (strlen(header) + strlen(payload)) + 16);

    n = ps_base64url_encode((unsigned char *) token,
                            (const unsigned char *) header, strlen(header));
    token[n++] = '.';
    n += ps_base64url_encode((unsigned char *) token + n,
                             (const unsigned char *) payload,
                             strlen(payload));
    memcpy(token + n, ".AAAA", sizeof(".AAAA"));

    return token;
}


static ps_jwt_error_e
build(ps_token_buf_t *buf, const char *header, const char *payload,
    const ps_token_t **out)
{
    char            *token;
    json_t          *claims;
    ps_jws_t         jws;
    ps_jwt_error_e   rc;

    token = compact(header, payload);

    rc = ps_jws_parse(&jws, (unsigned char *) token, strlen(token), decoded);

    if (rc == PS_JWT_OK) {
        rc = ps_token_claims(&jws, &claims);

        if (rc == PS_JWT_OK) {
            rc = ps_token_build(buf, &jws, claims, out);
            json_decref(claims);
        }

        ps_jws_free(&jws);
    }

    free(token);

    return rc;
}


static void
assert_text(const ps_token_t *token, const char *name, size_t len,
    const char *want)
{
    ps_token_text_t  text;

    if (want == NULL) {
        assert_false(ps_token_find(token, PS_TOKEN_CLAIM, name, len, &text));
        return;
    }

    assert_true(ps_token_find(token, PS_TOKEN_CLAIM, name, len, &text));
    assert_int_equal(text.len, strlen(want));
    assert_memory_equal(text.data, want, text.len);
}


static void
test_parts(void **state)
{
    size_t    i;
    char      large[PS_JWS_MAX + 2];
    ps_jws_t  jws;

    static const struct {
        const char      *token;
        ps_jwt_error_e   error;
    } bad[] = {
        { "", PS_JWT_PARTS },
        { ".", PS_JWT_PARTS },
        { "..", PS_JWT_PARTS },
        { "...", PS_JWT_PARTS },
        { "a.b", PS_JWT_PARTS },
        { "a.b.c.d.e", PS_JWT_PARTS },
        { ".e30.AAAA", PS_JWT_PARTS },
        { "e30.e30.", PS_JWT_PARTS },
        { "e3.e30.AAAA", PS_JWT_BASE64 },
        { "e30.e3.AAAA", PS_JWT_BASE64 },
        { "e30.e30.A", PS_JWT_BASE64 },
        { "e30.e30.AAAA", PS_JWT_ALG },
        { "W10.e30.AAAA", PS_JWT_HEADER }
    };

    (void) state;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(ps_jws_parse(&jws,
                                      (const unsigned char *) bad[i].token,
                                      strlen(bad[i].token), decoded),
                         bad[i].error);
        assert_null(jws.header);
    }

    memset(large, 'A', sizeof(large));

    assert_int_equal(ps_jws_parse(&jws, (unsigned char *) large,
                                  PS_JWS_MAX + 1, decoded), PS_JWT_SIZE);
    assert_int_equal(ps_jws_parse(&jws, (unsigned char *) large,
                                  PS_JWS_MAX, decoded), PS_JWT_PARTS);

    /* as many bytes as can be, in a buffer of just that size */

    large[2] = '.';
    large[PS_JWS_MAX - 5] = '.';
    assert_int_equal(ps_jws_parse(&jws, (unsigned char *) large,
                                  PS_JWS_MAX, decoded), PS_JWT_HEADER);

    large[PS_JWS_HEADER_MAX + 2] = '.';
    large[2] = 'A';
    assert_int_equal(ps_jws_parse(&jws, (unsigned char *) large,
                                  PS_JWS_MAX, decoded), PS_JWT_SIZE);
}


static void
test_typ(void **state)
{
    (void) state;

    assert_true(ps_jws_typ_is("at+jwt", 6, "at+jwt"));
    assert_true(ps_jws_typ_is("AT+JWT", 6, "at+jwt"));
    assert_true(ps_jws_typ_is("Application/at+JWT", 18, "at+jwt"));
    assert_false(ps_jws_typ_is("at+jwt ", 7, "at+jwt"));
    assert_false(ps_jws_typ_is("application/", 12, "at+jwt"));
    assert_false(ps_jws_typ_is("application/application/at+jwt", 30,
                               "at+jwt"));
    assert_false(ps_jws_typ_is("", 0, "jwt"));
}


static void
test_texts(void **state)
{
    ps_token_buf_t     buf = { NULL, 0, 0 };
    ps_token_text_t    text;
    const ps_token_t  *t;

    (void) state;

    assert_int_equal(build(&buf, "{\"alg\":\"RS256\",\"kid\":\"k\"}",
        "{\"s\":\"x\",\"i\":-7,\"r\":0.1,\"e\":1e300,\"t\":true,\"f\":false,"
        "\"n\":null,\"a\":[],\"b\":[\"p\",null,1,[2,\"q\"],{\"z\":[]}],"
        "\"o\":{\"s\":\"inner\",\"o\":{\"a\":[\"u\",\"v\"]}},\"\":\"no name\","
        "\"aud\":[\"x\",\"y,z\"],\"exp\":5,\"nbf\":1.5}", &t), PS_JWT_OK);

    assert_text(t, "s", 1, "x");
    assert_text(t, "i", 1, "-7");
    assert_text(t, "r", 1, "0.1");
    assert_text(t, "e", 1, "1e+300");
    assert_text(t, "t", 1, "true");
    assert_text(t, "f", 1, "false");
    assert_text(t, "n", 1, NULL);
    assert_text(t, "a", 1, "");
    assert_text(t, "b", 1, "p,null,1,[2,\"q\"],{\"z\":[]}");
    assert_text(t, "o", 1, "{\"s\":\"inner\",\"o\":{\"a\":[\"u\",\"v\"]}}");
    assert_text(t, "o\0s", 3, "inner");
    assert_text(t, "o\0o\0a", 5, "u,v");
    assert_text(t, "o\0o\0b", 5, NULL);
    assert_text(t, "", 0, "no name");
    assert_text(t, "aud", 3, "x,y,z");

    assert_true(ps_token_find(t, PS_TOKEN_AUDIENCE, "y,z", 3, &text));
    assert_false(ps_token_find(t, PS_TOKEN_AUDIENCE, "y", 1, &text));
    assert_false(ps_token_find(t, PS_TOKEN_AUDIENCE, "x,y,z", 5, &text));
    assert_true(ps_token_find(t, PS_TOKEN_HEADER, "kid", 3, &text));
    assert_false(ps_token_find(t, PS_TOKEN_CLAIM, "kid", 3, &text));

    assert_true(t->exp == 5 && t->nbf == 1.5);
    assert_int_equal(t->flags, PS_TOKEN_EXP | PS_TOKEN_NBF);
    assert_int_equal(t->size, buf.len);

    /* the buffer is used again */

    assert_int_equal(build(&buf, "{\"alg\":\"RS256\"}", "{}", &t), PS_JWT_OK);
    assert_int_equal(t->flags, 0);
    assert_text(t, "s", 1, NULL);

    ps_token_buf_free(&buf);
}


static void
test_depth(void **state)
{
    char               payload[4000], path[64];
    size_t             i, n;
    ps_token_buf_t     buf = { NULL, 0, 0 };
    const ps_token_t  *t;

    (void) state;

    n = 0;

    for (i = 0; i < 400; i++) {
        n += sprintf(payload + n, "{\"a\":");
    }

    n += sprintf(payload + n, "1");

    for (i = 0; i < 400; i++) {
        payload[n++] = '}';
    }

    payload[n] = '\0';

    assert_int_equal(build(&buf, "{\"alg\":\"RS256\"}", payload, &t),
                     PS_JWT_OK);

    /* the value of "a" is the text without its first name and last brace */

    payload[n - 1] = '\0';
    memcpy(path, "a\0a\0a\0a\0a\0a\0a\0a\0a", 17);
    assert_text(t, path, 1, payload + 5);

    payload[n - PS_TOKEN_DEPTH] = '\0';
    assert_text(t, path, 2 * PS_TOKEN_DEPTH - 1,
                payload + 5 * PS_TOKEN_DEPTH);
    assert_text(t, path, 2 * PS_TOKEN_DEPTH + 1, NULL);

    ps_token_buf_free(&buf);
}


static void
test_claims_refused(void **state)
{
    size_t             i;
    ps_token_buf_t     buf = { NULL, 0, 0 };
    const ps_token_t  *t;

    static const struct {
        const char      *payload;
        ps_jwt_error_e   error;
    } bad[] = {
        { "", PS_JWT_PAYLOAD },
        { "[]", PS_JWT_PAYLOAD },
        { "{", PS_JWT_PAYLOAD },
        { "{} {}", PS_JWT_PAYLOAD },
        { "{\"a\":1,\"a\":1}", PS_JWT_PAYLOAD },
        { "{\"o\":{\"a\":1,\"a\":2}}", PS_JWT_PAYLOAD },
        { "{\"a\":\"\\u0000\"}", PS_JWT_PAYLOAD },
        { "{\"\\u0000\":1}", PS_JWT_PAYLOAD },
        { "{\"a\":\"\\ud800\"}", PS_JWT_PAYLOAD },
        { "{\"exp\":1e999}", PS_JWT_PAYLOAD },
        { "{\"exp\":\"1\"}", PS_JWT_CLAIM },
        { "{\"exp\":-0.5}", PS_JWT_CLAIM },
        { "{\"exp\":253402300800}", PS_JWT_CLAIM },
        { "{\"nbf\":null}", PS_JWT_CLAIM },
        { "{\"iat\":[]}", PS_JWT_CLAIM },
        { "{\"iss\":1}", PS_JWT_CLAIM },
        { "{\"sub\":{}}", PS_JWT_CLAIM },
        { "{\"jti\":false}", PS_JWT_CLAIM },
        { "{\"client_id\":1}", PS_JWT_CLAIM },
        { "{\"aud\":1}", PS_JWT_CLAIM },
        { "{\"aud\":[[\"a\"]]}", PS_JWT_CLAIM }
    };

    (void) state;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (build(&buf, "{\"alg\":\"RS256\"}", bad[i].payload, &t)
            != bad[i].error)
        {
            fail_msg("%s", bad[i].payload);
        }
    }

    ps_token_buf_free(&buf);
}


static ps_jwt_error_e
check(const char *header, const char *payload, const char *iss,
    const char *aud, int at_jwt, double leeway, double now)
{
    ps_jwt_error_e     rc;
    ps_token_buf_t     buf = { NULL, 0, 0 };
    ps_token_text_t    audience[2];
    ps_token_rules_t   rules;
    const ps_token_t  *t;

    memset(&rules, 0, sizeof(rules));

    if (iss) {
        rules.iss.data = (const unsigned char *) iss;
        rules.iss.len = strlen(iss);
        rules.need_exp = 1;
    }

    if (aud) {
        audience[0].data = (const unsigned char *) "other";
        audience[0].len = 5;
        audience[1].data = (const unsigned char *) aud;
        audience[1].len = strlen(aud);
        rules.audience = audience;
        rules.naudience = 2;
    }

    rules.at_jwt = at_jwt;
    rules.leeway = leeway;

    assert_int_equal(build(&buf, header, payload, &t), PS_JWT_OK);
    rc = ps_token_check(t, &rules, now);
    ps_token_buf_free(&buf);

    return rc;
}


#define ALG     "{\"alg\":\"RS256\"}"
#define AT      "{\"alg\":\"RS256\",\"typ\":\"at+jwt\"}"
#define FULL    "{\"iss\":\"i\",\"aud\":\"a\",\"exp\":200,\"iat\":1,"          \
                "\"sub\":\"s\",\"client_id\":\"c\",\"jti\":\"j\"}"


static void
test_rules(void **state)
{
    (void) state;

    assert_int_equal(check(ALG, "{}", NULL, NULL, 0, 0, 1), PS_JWT_OK);
    assert_int_equal(check(ALG, "{}", "i", NULL, 0, 0, 1), PS_JWT_ISS);
    assert_int_equal(check(ALG, "{\"iss\":\"i\"}", "i", NULL, 0, 0, 1),
                     PS_JWT_NO_EXP);
    assert_int_equal(check(ALG, FULL, "i", "a", 0, 0, 199.999), PS_JWT_OK);
    assert_int_equal(check(ALG, FULL, "i", "a", 0, 0, 200), PS_JWT_EXP);
    assert_int_equal(check(ALG, FULL, "i", "a", 0, 5, 204.9), PS_JWT_OK);
    assert_int_equal(check(ALG, FULL, "i", "a", 0, 5, 205), PS_JWT_EXP);
    assert_int_equal(check(ALG, FULL, "i2", "a", 0, 0, 1), PS_JWT_ISS);
    assert_int_equal(check(ALG, FULL, "i", "b", 0, 0, 1), PS_JWT_AUD);
    assert_int_equal(check(ALG, FULL, "i", "a", 1, 0, 1), PS_JWT_TYP);
    assert_int_equal(check(AT, FULL, "i", "a", 1, 0, 1), PS_JWT_OK);
    assert_int_equal(check(AT, "{\"iss\":\"i\",\"aud\":\"a\",\"exp\":200}",
                           "i", "a", 1, 0, 1), PS_JWT_MISSING);

    assert_int_equal(check(ALG, "{\"nbf\":10}", NULL, NULL, 0, 0, 9.9),
                     PS_JWT_NBF);
    assert_int_equal(check(ALG, "{\"nbf\":10}", NULL, NULL, 0, 0, 10),
                     PS_JWT_OK);
    assert_int_equal(check(ALG, "{\"nbf\":10}", NULL, NULL, 0, 3, 7),
                     PS_JWT_OK);

    assert_int_equal(check("{\"alg\":\"RS256\",\"typ\":\"dpop+jwt\"}", "{}",
                           NULL, NULL, 0, 0, 1), PS_JWT_TYP);
    assert_int_equal(check(ALG, "{\"cnf\":{}}", NULL, NULL, 0, 0, 1),
                     PS_JWT_BOUND);
}


static void
test_bearer(void **state)
{
    int                   c;
    size_t                i, len;
    ps_bearer_e           rc;
    unsigned char         one[2];
    const unsigned char  *token;

    static const char  *chars =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/";

    static const struct {
        const char   *value;
        ps_bearer_e   rc;
        const char   *token;
    } cases[] = {
        { "Bearer abc", PS_BEARER_OK, "abc" },
        { "bEARER    abc==", PS_BEARER_OK, "abc==" },
        { "Bearer -._~+/", PS_BEARER_OK, "-._~+/" },
        { "", PS_BEARER_NONE, NULL },
        { "Bear", PS_BEARER_NONE, NULL },
        { "Basic abc", PS_BEARER_NONE, NULL },
        { "Bearers abc", PS_BEARER_NONE, NULL },
        { "Bearer", PS_BEARER_MALFORMED, NULL },
        { "Bearer ", PS_BEARER_MALFORMED, NULL },
        { "Bearer\tabc", PS_BEARER_MALFORMED, NULL },
        { "Bearer \tabc", PS_BEARER_MALFORMED, NULL },
        { "Bearer abc ", PS_BEARER_MALFORMED, NULL },
        { "Bearer a b", PS_BEARER_MALFORMED, NULL },
        { "Bearer a=b", PS_BEARER_MALFORMED, NULL },
        { "Bearer ==", PS_BEARER_MALFORMED, NULL },
        { "Bearer=abc", PS_BEARER_MALFORMED, NULL },
        { "Bearer,abc", PS_BEARER_MALFORMED, NULL },
        { "Bearer \xc3\xa9", PS_BEARER_MALFORMED, NULL }
    };

    (void) state;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        rc = ps_bearer_parse((const unsigned char *) cases[i].value,
                             strlen(cases[i].value), &token, &len);

        if (rc == PS_BEARER_OK && !ps_bearer_b64token(token, len)) {
            rc = PS_BEARER_MALFORMED;
        }

        assert_int_equal(rc, cases[i].rc);

        if (cases[i].token) {
            assert_int_equal(len, strlen(cases[i].token));
            assert_memory_equal(token, cases[i].token, len);
        }
    }

    for (c = 0; c < 256; c++) {
        one[0] = (unsigned char) c;
        assert_int_equal(ps_bearer_b64token(one, 1),
                         c && strchr(chars, c) != NULL);
    }
}


static void
test_scope(void **state)
{
    size_t  i;

    static const struct {
        const char  *list, *word;
        int          has;
    } cases[] = {
        { "a", "a", 1 }, { "a b", "b", 1 }, { "ab b", "a", 0 },
        { "ab", "b", 0 }, { "", "a", 0 }, { " a ", "a", 1 },
        { "a  b", "b", 1 }, { "a b", "a b", 0 }, { "A", "a", 0 },
        { "a b", "", 0 }, { "  ", "", 0 }, { "abc", "abcd", 0 }
    };

    (void) state;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(ps_scope_has((const unsigned char *) cases[i].list,
                                      strlen(cases[i].list),
                                      (const unsigned char *) cases[i].word,
                                      strlen(cases[i].word)),
                         cases[i].has);
    }

    assert_true(ps_scope_word((const unsigned char *) "a:b/c!", 6));
    assert_false(ps_scope_word((const unsigned char *) "", 0));
    assert_false(ps_scope_word((const unsigned char *) "a b", 3));
    assert_false(ps_scope_word((const unsigned char *) "a\"", 2));
    assert_false(ps_scope_word((const unsigned char *) "a\\", 2));
    assert_false(ps_scope_word((const unsigned char *) "\x7f", 1));
}


static void
test_texts_of_errors(void **state)
{
    int          i;
    const char  *p;

    (void) state;

    for (i = 0; i < PS_JWT_ERRORS; i++) {
        assert_true(i == PS_JWT_OK || ps_jwt_error_log(i)[0]);

        /* RFC 6750, 3 */

        for (p = ps_jwt_error_description(i); *p; p++) {
            assert_true(*p >= 0x20 && *p <= 0x7e && *p != '"' && *p != '\\');
        }
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_typ),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_claims_refused),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_bearer),
        cmocka_unit_test(test_scope),
        cmocka_unit_test(test_texts_of_errors)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
