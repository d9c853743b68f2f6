
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "ps_base64url.h"
#include "ps_dpop.h"
#include "ps_jwk.h"


#define PS_DPOP_HASH  43        /* characters of a SHA-256 in base64url */


typedef struct {
    const unsigned char  *scheme;
    size_t                scheme_len;
    const unsigned char  *host;     /* with its port */
    size_t                host_len;
    const unsigned char  *path;     /* without query and fragment */
    size_t                path_len;
} ps_dpop_uri_t;


static const char *ps_dpop_signature(const ps_jws_t *jws,
    const ps_dpop_request_t *request);
static const char *ps_dpop_payload(json_t *payload,
    const ps_dpop_request_t *request, ps_dpop_proof_t *proof);
static int ps_dpop_sha256(const void *data, size_t len, unsigned char *out);
static int ps_dpop_is(const json_t *value, const ps_token_text_t *text);
static int ps_dpop_uri(ps_dpop_uri_t *uri, const ps_token_text_t *text);
static int ps_dpop_path_is(const unsigned char *a, size_t a_len,
    const unsigned char *b, size_t b_len);
static int ps_dpop_next(const unsigned char **p, const unsigned char *end);


const char *
ps_dpop_check(const unsigned char *text, size_t len, unsigned char *buf,
    const ps_dpop_request_t *request, ps_dpop_proof_t *proof)
{
    json_t          *payload;
    ps_jws_t         jws;
    const char      *wrong;

    if (ps_jws_parse(&jws, text, len, buf) != PS_JWT_OK) {
        return "the DPoP proof is not a JWS";
    }

    payload = NULL;

    if (jws.typ == NULL
        || !ps_jws_typ_is(jws.typ, jws.typ_len, "dpop+jwt"))
    {
        wrong = "the DPoP proof's \"typ\" is not dpop+jwt";

    } else {
        wrong = ps_dpop_signature(&jws, request);
    }

    if (wrong == NULL && ps_token_claims(&jws, &payload) != PS_JWT_OK) {
        wrong = "the DPoP proof's payload is not a JSON object";
    }

    if (wrong == NULL) {
        wrong = ps_dpop_payload(payload, request, proof);
    }

    json_decref(payload);
    ps_jws_free(&jws);

    return wrong;
}


static const char *
ps_dpop_signature(const ps_jws_t *jws, const ps_dpop_request_t *request)
{
    int             ok;
    char           *text, error[128];
    size_t          i;
    json_t         *jwk;
    ps_jwk_t       *key;
    ps_jwks_t      *set;
    unsigned char   thumbprint[PS_DPOP_HASH];

    switch (jws->alg) {

    case PS_ALG_HS256:
    case PS_ALG_HS384:
    case PS_ALG_HS512:
        return "the DPoP proof's algorithm is not asymmetric";

    default:
        break;
    }

    jwk = json_object_get(jws->header, "jwk");

    if (!json_is_object(jwk) || ps_dpop_thumbprint(jwk, thumbprint) != 0) {
        return "the DPoP proof has no public key in \"jwk\"";
    }

    /* before the costly part: another key is no use */

    if (request->jkt.len != PS_DPOP_HASH
        || CRYPTO_memcmp(thumbprint, request->jkt.data, PS_DPOP_HASH) != 0)
    {
        return "the DPoP proof's key is not the token's";
    }

    text = json_dumps(jwk, JSON_COMPACT);
    if (text == NULL) {
        return "no memory";
    }

    /* strict: private members and weak keys are refused */

    set = ps_jwks_parse((unsigned char *) text, strlen(text),
                        ps_alg_bit(jws->alg), 1, error, sizeof(error));
    free(text);

    if (set == NULL) {
        return "the DPoP proof's \"jwk\" can't be used";
    }

    i = 0;
    key = ps_jwks_next(set, &i, jws->alg, NULL, 0);
    ok = key && ps_jwk_verify(key, jws->input, jws->input_len,
                              jws->signature, jws->signature_len);

    ps_jwks_free(set);

    return ok ? NULL : "the DPoP proof's signature doesn't match";
}


static const char *
ps_dpop_payload(json_t *payload, const ps_dpop_request_t *request,
    ps_dpop_proof_t *proof)
{
    double            iat;
    json_t           *jti, *htu, *date, *nonce;
    ps_token_text_t   text;
    unsigned char     digest[32], ath[PS_DPOP_HASH];
    unsigned char     id[PS_DPOP_HASH + PS_DPOP_JTI_MAX];

    if (!ps_dpop_is(json_object_get(payload, "htm"), &request->method)) {
        return "the DPoP proof's \"htm\" is not this method";
    }

    htu = json_object_get(payload, "htu");

    if (!json_is_string(htu)) {
        return "the DPoP proof has no \"htu\"";
    }

    text.data = (const unsigned char *) json_string_value(htu);
    text.len = json_string_length(htu);

    if (!ps_dpop_htu_is(&text, &request->origin, &request->path)) {
        return "the DPoP proof's \"htu\" is not this resource";
    }

    date = json_object_get(payload, "iat");

    if (!json_is_number(date)) {
        return "the DPoP proof has no \"iat\"";
    }

    iat = json_number_value(date);

    if (!(iat >= request->now - request->window
          && iat <= request->now + request->window))
    {
        return "the DPoP proof was not made now";
    }

    if (ps_dpop_sha256(request->token.data, request->token.len, digest) != 0) {
        return "no memory";
    }

    ps_base64url_encode(ath, digest, sizeof(digest));
    text.data = ath;
    text.len = PS_DPOP_HASH;

    if (!ps_dpop_is(json_object_get(payload, "ath"), &text)) {
        return "the DPoP proof's \"ath\" is not of this token";
    }

    jti = json_object_get(payload, "jti");

    if (!json_is_string(jti) || json_string_length(jti) == 0
        || json_string_length(jti) > PS_DPOP_JTI_MAX)
    {
        return "the DPoP proof has no \"jti\", or too long a one";
    }

    memcpy(id, request->jkt.data, PS_DPOP_HASH);
    memcpy(id + PS_DPOP_HASH, json_string_value(jti),
           json_string_length(jti));

    if (ps_dpop_sha256(id, PS_DPOP_HASH + json_string_length(jti), proof->id)
        != 0)
    {
        return "no memory";
    }

    proof->until = iat + request->window;
    proof->nonce_len = 0;

    nonce = json_object_get(payload, "nonce");

    if (json_is_string(nonce) && json_string_length(nonce) == PS_NONCE_LEN) {
        memcpy(proof->nonce, json_string_value(nonce), PS_NONCE_LEN);
        proof->nonce_len = PS_NONCE_LEN;
    }

    return NULL;
}


int
ps_dpop_thumbprint(const json_t *jwk, unsigned char out[43])
{
    int             rc;
    char           *text;
    size_t          i;
    json_t         *members, *value;
    const char     *kty;
    const char    **name;
    unsigned char   digest[32];

    static const char  *ec[] = { "crv", "kty", "x", "y", NULL };
    static const char  *rsa[] = { "e", "kty", "n", NULL };
    static const char  *okp[] = { "crv", "kty", "x", NULL };

    kty = json_string_value(json_object_get(jwk, "kty"));

    if (kty == NULL) {
        return -1;
    }

    if (strcmp(kty, "EC") == 0) {
        name = ec;

    } else if (strcmp(kty, "RSA") == 0) {
        name = rsa;

    } else if (strcmp(kty, "OKP") == 0) {
        name = okp;

    } else {
        return -1;
    }

    members = json_object();
    if (members == NULL) {
        return -1;
    }

    rc = -1;

    for (i = 0; name[i]; i++) {
        value = json_object_get(jwk, name[i]);

        if (!json_is_string(value)
            || json_object_set(members, name[i], value) != 0)
        {
            goto done;
        }
    }

    /* the order of RFC 7638, 3.3 is that of the names */

    text = json_dumps(members, JSON_COMPACT|JSON_SORT_KEYS);

    if (text && ps_dpop_sha256(text, strlen(text), digest) == 0) {
        ps_base64url_encode(out, digest, sizeof(digest));
        rc = 0;
    }

    free(text);

done:

    json_decref(members);

    return rc;
}


static int
ps_dpop_sha256(const void *data, size_t len, unsigned char *out)
{
    return EVP_Digest(data, len, out, NULL, EVP_sha256(), NULL) == 1 ? 0 : -1;
}


static int
ps_dpop_is(const json_t *value, const ps_token_text_t *text)
{
    return json_is_string(value) && json_string_length(value) == text->len
           && memcmp(json_string_value(value), text->data, text->len) == 0;
}


int
ps_dpop_htu_is(const ps_token_text_t *htu, const ps_token_text_t *origin,
    const ps_token_text_t *path)
{
    ps_dpop_uri_t  a, b;

    if (ps_dpop_uri(&a, htu) != 0 || ps_dpop_uri(&b, origin) != 0) {
        return 0;
    }

    if (a.scheme_len != b.scheme_len
        || strncasecmp((const char *) a.scheme, (const char *) b.scheme,
                       a.scheme_len) != 0
        || a.host_len != b.host_len
        || strncasecmp((const char *) a.host, (const char *) b.host,
                       a.host_len) != 0)
    {
        return 0;
    }

    /* an empty path is "/" (RFC 3986, 6.2.3) */

    if (a.path_len == 0) {
        a.path = (const unsigned char *) "/";
        a.path_len = 1;
    }

    return ps_dpop_path_is(a.path, a.path_len, path->data, path->len);
}


/* 0; or -1: no absolute URI, or one with user information */

static int
ps_dpop_uri(ps_dpop_uri_t *uri, const ps_token_text_t *text)
{
    size_t                len;
    const char           *port;
    const unsigned char  *p, *end;

    end = text->data + text->len;
    p = memchr(text->data, ':', text->len);

    if (p == NULL || end - p < 3 || p[1] != '/' || p[2] != '/') {
        return -1;
    }

    uri->scheme = text->data;
    uri->scheme_len = p - text->data;
    uri->host = p + 3;

    for (p = uri->host; p < end; p++) {
        if (*p == '/' || *p == '?' || *p == '#') {
            break;
        }

        if (*p == '@') {
            return -1;
        }
    }

    uri->host_len = p - uri->host;
    uri->path = p;

    while (p < end && *p != '?' && *p != '#') {
        p++;
    }

    uri->path_len = p - uri->path;

    if (uri->scheme_len == 5
        && strncasecmp((const char *) uri->scheme, "https", 5) == 0)
    {
        port = ":443";

    } else if (uri->scheme_len == 4
               && strncasecmp((const char *) uri->scheme, "http", 4) == 0)
    {
        port = ":80";

    } else {
        return -1;
    }

    len = strlen(port);

    if (uri->host_len > len
        && memcmp(uri->host + uri->host_len - len, port, len) == 0)
    {
        uri->host_len -= len;
    }

    return uri->host_len ? 0 : -1;
}


static int
ps_dpop_path_is(const unsigned char *a, size_t a_len, const unsigned char *b,
    size_t b_len)
{
    int                   x, y;
    const unsigned char  *a_end, *b_end;

    a_end = a + a_len;
    b_end = b + b_len;

    for ( ;; ) {
        x = ps_dpop_next(&a, a_end);
        y = ps_dpop_next(&b, b_end);

        if (x != y) {
            return 0;
        }

        if (x == -1) {
            return 1;
        }
    }
}


/*
 * The next character: an encoded one that need not be is itself, any other
 * encoded one its code and 256.  -1: the end.
 */

static int
ps_dpop_next(const unsigned char **p, const unsigned char *end)
{
    int                   i, c, code;
    const unsigned char  *s = *p;

    if (s == end) {
        return -1;
    }

    *p = s + 1;

    if (*s != '%' || end - s < 3) {
        return *s;
    }

    code = 0;

    for (i = 1; i <= 2; i++) {
        c = s[i] | 0x20;

        if (s[i] >= '0' && s[i] <= '9') {
            c = s[i] - '0';

        } else if (c >= 'a' && c <= 'f') {
            c = c - 'a' + 10;

        } else {
            return *s;
        }

        code = code * 16 + c;
    }

    *p = s + 3;

    if ((code >= '0' && code <= '9') || ((code | 0x20) >= 'a'
                                         && (code | 0x20) <= 'z')
        || code == '-' || code == '.' || code == '_' || code == '~')
    {
        return code;
    }

    return code + 256;
}
