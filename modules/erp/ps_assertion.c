
#include "ps_assertion.h"
#include "ps_base64url.h"

#include <jansson.h>
#include <jwt.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>


static char *ps_assertion_libjwt(const ps_assertion_t *assertion);
static char *ps_assertion_ps256(const ps_assertion_t *assertion);
static char *ps_assertion_text(json_t *header, json_t *claims);
static EVP_PKEY *ps_assertion_read(const char *key, size_t len);
static int ps_assertion_no_password(char *buf, int size, int rw, void *data);


char *
ps_assertion_sign(const ps_assertion_t *assertion)
{
    return assertion->alg == PS_ASSERTION_PS256
           ? ps_assertion_ps256(assertion) : ps_assertion_libjwt(assertion);
}


static char *
ps_assertion_libjwt(const ps_assertion_t *a)
{
    char       *text, *encoded;
    jwt_t      *jwt;
    jwt_alg_t   alg;

    if (jwt_new(&jwt) != 0) {
        return NULL;
    }

    text = NULL;
    alg = a->alg == PS_ASSERTION_ES256 ? JWT_ALG_ES256 : JWT_ALG_RS256;

    if (jwt_set_alg(jwt, alg, (const unsigned char *) a->key,
                    (int) a->key_len) == 0
        && (a->key_id == NULL || jwt_add_header(jwt, "kid", a->key_id) == 0)
        && jwt_add_grant(jwt, "iss", a->client) == 0
        && jwt_add_grant(jwt, "sub", a->client) == 0
        && jwt_add_grant(jwt, "aud", a->audience) == 0
        && jwt_add_grant(jwt, "jti", a->id) == 0
        && jwt_add_grant_int(jwt, "iat", (long) a->now) == 0
        && jwt_add_grant_int(jwt, "exp", (long) (a->now + a->lifetime)) == 0)
    {
        encoded = jwt_encode_str(jwt);

        if (encoded) {
            text = strdup(encoded);
            free(encoded);
        }
    }

    /* wipes its copy of the key */

    jwt_free(jwt);

    return text;
}


static char *
ps_assertion_ps256(const ps_assertion_t *a)
{
    char          *text, *signed_text;
    size_t         len, n;
    json_t        *header, *claims;
    EVP_PKEY      *key;
    EVP_MD_CTX    *ctx;
    EVP_PKEY_CTX  *pctx;
    unsigned char  signature[1024];

    header = json_pack("{s:s, s:s}", "alg", "PS256", "typ", "JWT");
    claims = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I}", "iss", a->client,
                       "sub", a->client, "aud", a->audience, "jti", a->id,
                       "iat", (json_int_t) a->now,
                       "exp", (json_int_t) (a->now + a->lifetime));

    text = NULL;
    signed_text = NULL;
    ctx = EVP_MD_CTX_new();
    key = ps_assertion_read(a->key, a->key_len);

    if (header == NULL || claims == NULL || ctx == NULL || key == NULL
        || (a->key_id
            && json_object_set_new(header, "kid", json_string(a->key_id))
               != 0))
    {
        goto done;
    }

    text = ps_assertion_text(header, claims);
    n = sizeof(signature);

    if (text == NULL
        || EVP_DigestSignInit(ctx, &pctx, EVP_sha256(), NULL, key) != 1
        || EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) != 1
        || EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST)
           != 1
        || EVP_DigestSign(ctx, signature, &n, (unsigned char *) text,
                          strlen(text)) != 1)
    {
        goto done;
    }

    len = strlen(text);

    signed_text = malloc(len + 1 + ps_base64url_encoded_len(n) + 1);
    if (signed_text == NULL) {
        goto done;
    }

    memcpy(signed_text, text, len);
    signed_text[len++] = '.';
    len += ps_base64url_encode((unsigned char *) signed_text + len,
                               signature, n);
    signed_text[len] = '\0';

done:

    EVP_PKEY_free(key);
    EVP_MD_CTX_free(ctx);
    json_decref(header);
    json_decref(claims);
    free(text);

    return signed_text;
}


/* what is signed: both encoded, and a dot between */

static char *
ps_assertion_text(json_t *header, json_t *claims)
{
    char    *one, *two, *text;
    size_t   len;

    one = json_dumps(header, JSON_COMPACT);
    two = json_dumps(claims, JSON_COMPACT);
    text = NULL;

    if (one && two) {
        text = malloc(ps_base64url_encoded_len(strlen(one)) + 1
                      + ps_base64url_encoded_len(strlen(two)) + 1);
    }

    if (text) {
        len = ps_base64url_encode((unsigned char *) text,
                                  (unsigned char *) one, strlen(one));
        text[len++] = '.';
        len += ps_base64url_encode((unsigned char *) text + len,
                                   (unsigned char *) two, strlen(two));
        text[len] = '\0';
    }

    free(one);
    free(two);

    return text;
}


const char *
ps_assertion_key(const char *key, size_t len, ps_assertion_alg_e alg)
{
    char         group[64];
    size_t       n;
    EVP_PKEY    *pkey;
    const char  *wrong;

    pkey = ps_assertion_read(key, len);

    if (pkey == NULL) {
        return "it holds no private key in PEM without a password";
    }

    wrong = NULL;

    if (alg == PS_ASSERTION_ES256) {
        if (EVP_PKEY_get_base_id(pkey) != EVP_PKEY_EC
            || EVP_PKEY_get_group_name(pkey, group, sizeof(group), &n) != 1
            || strcmp(group, "prime256v1") != 0)
        {
            wrong = "ES256 needs a key of the curve P-256";
        }

    } else if (EVP_PKEY_get_base_id(pkey) != EVP_PKEY_RSA
               || EVP_PKEY_get_bits(pkey) < 2048
               || EVP_PKEY_get_bits(pkey) > 8192)
    {
        wrong = "RS256 and PS256 need an RSA key of 2048 to 8192 bits";
    }

    EVP_PKEY_free(pkey);

    return wrong;
}


static EVP_PKEY *
ps_assertion_read(const char *key, size_t len)
{
    BIO       *bio;
    EVP_PKEY  *pkey;

    bio = BIO_new_mem_buf(key, (int) len);
    if (bio == NULL) {
        return NULL;
    }

    pkey = PEM_read_bio_PrivateKey(bio, NULL, ps_assertion_no_password, NULL);

    BIO_free(bio);

    return pkey;
}


/* never asks at the terminal */

static int
ps_assertion_no_password(char *buf, int size, int rw, void *data)
{
    (void) buf;
    (void) size;
    (void) rw;
    (void) data;

    return -1;
}


void
ps_grant_add(char **dst, const char *start, const char *name,
    const char *value, size_t len)
{
    char  *p;

    p = *dst;

    if (p != start) {
        *p++ = '&';
    }

    p += ps_grant_encode(p, name, strlen(name));
    *p++ = '=';
    p += ps_grant_encode(p, value, len);

    *dst = p;
}


size_t
ps_grant_encode(char *dst, const char *value, size_t len)
{
    char           *p;
    size_t          i;
    unsigned char   c;

    static const char  hex[] = "0123456789ABCDEF";

    p = dst;

    for (i = 0; i < len; i++) {
        c = (unsigned char) value[i];

        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z')
            || (c >= 'A' && c <= 'Z') || c == '-' || c == '.' || c == '_'
            || c == '*')
        {
            *p++ = (char) c;

        } else if (c == ' ') {
            *p++ = '+';

        } else {
            *p++ = '%';
            *p++ = hex[c >> 4];
            *p++ = hex[c & 0xf];
        }
    }

    return (size_t) (p - dst);
}


const char *
ps_grant_read(const char *text, size_t text_len, char *token, size_t *len,
    int64_t *seconds)
{
    size_t       i, n;
    double       lifetime;
    json_t      *root, *value, *type;
    const char  *p, *wrong;

    root = json_loadb(text, text_len, JSON_REJECT_DUPLICATES, NULL);

    value = json_object_get(root, "access_token");
    type = json_object_get(root, "token_type");

    if (!json_is_object(root)) {
        wrong = "it is no JSON object";
        goto done;
    }

    if (!json_is_string(type)
        || strcasecmp(json_string_value(type), "Bearer") != 0)
    {
        wrong = "its token_type is not Bearer";
        goto done;
    }

    if (!json_is_string(value) || json_string_length(value) == 0
        || json_string_length(value) > *len)
    {
        wrong = "it has no access_token, or one too long";
        goto done;
    }

    p = json_string_value(value);
    n = json_string_length(value);

    /* b64token (RFC 6750, 2.1): nothing that could end a header */

    for (i = 0; i < n; i++) {
        if (!((p[i] >= '0' && p[i] <= '9') || (p[i] >= 'a' && p[i] <= 'z')
              || (p[i] >= 'A' && p[i] <= 'Z')
              || (p[i] && strchr("-._~+/=", p[i]))))
        {
            wrong = "its access_token has signs that no token has";
            goto done;
        }
    }

    memcpy(token, p, n);
    *len = n;

    *seconds = -1;
    value = json_object_get(root, "expires_in");

    if (json_is_number(value)) {
        lifetime = json_number_value(value);
        *seconds = lifetime < 0 ? 0 : lifetime > 1e8 ? 100000000
                                                     : (int64_t) lifetime;
    }

    wrong = NULL;

done:

    json_decref(root);

    return wrong;
}
