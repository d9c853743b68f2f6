/*
 * Whatever a client sends as credentials: the parsers read only what they
 * were given, and what they accept makes a record that can be searched.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../modules/core/ps_base64url.h"
#include "../../modules/oauth/ps_bearer.h"
#include "../../modules/oauth/ps_jwk.h"
#include "../../modules/oauth/ps_token.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static const char  keys[] =
    "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9t"
    "Le1gHMzV76e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjK"
    "IWI5a0\"},{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7Ty"
    "WQHOg7hcvPapiMlrwIaaPcHURo\"}]}";


static void
claims(const ps_jws_t *jws)
{
    json_t                 *object;
    ps_token_text_t         text;
    ps_token_rules_t        rules;
    const ps_token_t       *token;
    static ps_token_buf_t   buf;

    if (ps_token_claims(jws, &object) != PS_JWT_OK) {
        if (object != NULL) {
            abort();
        }
        return;
    }

    if (ps_token_build(&buf, jws, object, &token) == PS_JWT_OK) {
        memset(&rules, 0, sizeof(rules));
        rules.at_jwt = 1;

        (void) ps_token_check(token, &rules, 1e9);
        (void) ps_token_find(token, PS_TOKEN_CLAIM, "scope", 5, &text);
        (void) ps_token_find(token, PS_TOKEN_HEADER, "\xff", 1, &text);

        if (token->size != buf.len
            || !ps_token_find(token, PS_TOKEN_HEADER, "alg", 3, &text))
        {
            abort();
        }
    }

    json_decref(object);
}


/* a header and a payload with a zero byte between, as a token */

static unsigned char *
compact(const uint8_t *data, size_t size, const uint8_t *zero, size_t *len)
{
    unsigned char  *p, *token;

    token = malloc(ps_base64url_encoded_len(size) + 16);
    if (token == NULL) {
        abort();
    }

    p = token;
    p += ps_base64url_encode(p, data, zero - data);
    *p++ = '.';
    p += ps_base64url_encode(p, zero + 1, data + size - zero - 1);
    memcpy(p, ".AAAA", 5);

    *len = p + 5 - token;

    return token;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t                i, len;
    ps_jws_t              jws;
    ps_jwk_t             *key;
    const uint8_t        *zero;
    const unsigned char  *token;
    unsigned char        *copy, *buf;
    static ps_jwks_t     *set;
    char                  error[256];

    if (set == NULL) {
        set = ps_jwks_parse((const unsigned char *) keys, sizeof(keys) - 1, 0,
                            1, error, sizeof(error));
        if (set == NULL) {
            abort();
        }
    }

    zero = size ? memchr(data, '\0', size) : NULL;

    if (zero) {
        copy = compact(data, size, zero, &size);

    } else {

        /* exactly as large, so that a byte too far is seen */

        copy = malloc(size ? size : 1);
        if (copy == NULL) {
            abort();
        }

        memcpy(copy, data, size);
    }

    buf = malloc(size ? size : 1);
    if (buf == NULL) {
        abort();
    }

    if (ps_bearer_parse(copy, size, &token, &len) != PS_BEARER_OK) {
        token = copy;
        len = size;
    }

    if (ps_jws_parse(&jws, token, len, buf) == PS_JWT_OK) {

        claims(&jws);

        /* the examples of the RFCs for these keys are in the corpus */

        i = 0;
        while ((key = ps_jwks_next(set, &i, jws.alg, jws.kid, jws.kid_len))) {
            (void) ps_jwk_verify(key, jws.input, jws.input_len, jws.signature,
                                 jws.signature_len);
        }

        ps_jws_free(&jws);
    }

    free(copy);
    free(buf);

    return 0;
}
