
#include <string.h>
#include <strings.h>

#include "ps_base64url.h"
#include "ps_jws.h"


/* longer headers are parsed each time, characters */

#define PS_JWS_SEEN_MAX  256


/*
 * The last good header as it was written, and what it said.  The tokens of
 * an issuer have the same one, and parsing it again would say nothing new.
 */

static struct {
    unsigned char   text[PS_JWS_SEEN_MAX];
    size_t          len;
    ps_jws_t        jws;
} ps_jws_seen;


static int
ps_jws_recall(ps_jws_t *jws, const unsigned char *text, size_t len)
{
    if (len != ps_jws_seen.len || memcmp(text, ps_jws_seen.text, len) != 0) {
        return 0;
    }

    jws->header = json_incref(ps_jws_seen.jws.header);
    jws->alg = ps_jws_seen.jws.alg;
    jws->kid = ps_jws_seen.jws.kid;
    jws->kid_len = ps_jws_seen.jws.kid_len;
    jws->typ = ps_jws_seen.jws.typ;
    jws->typ_len = ps_jws_seen.jws.typ_len;

    return 1;
}


static void
ps_jws_remember(const ps_jws_t *jws, const unsigned char *text, size_t len)
{
    if (len > PS_JWS_SEEN_MAX) {
        return;
    }

    json_decref(ps_jws_seen.jws.header);

    ps_jws_seen.jws = *jws;
    json_incref(ps_jws_seen.jws.header);

    memcpy(ps_jws_seen.text, text, len);
    ps_jws_seen.len = len;
}


static ps_jwt_error_e
ps_jws_header(ps_jws_t *jws, const unsigned char *data, size_t len)
{
    json_t  *header, *v;

    /*
     * jansson refuses what is not UTF-8, anything after the value, and
     * \u0000, which would cut strings short.
     */

    header = json_loadb((const char *) data, len, JSON_REJECT_DUPLICATES,
                        NULL);

    if (!json_is_object(header)) {
        json_decref(header);
        return PS_JWT_HEADER;
    }

    jws->header = header;

    if (json_object_get(header, "crit") != NULL) {
        return PS_JWT_CRIT;
    }

    v = json_object_get(header, "b64");
    if (v != NULL && !json_is_true(v)) {
        return PS_JWT_B64;
    }

    v = json_object_get(header, "alg");
    if (!json_is_string(v)) {
        return PS_JWT_ALG;
    }

    jws->alg = ps_jwt_alg(json_string_value(v), json_string_length(v));
    if (jws->alg == PS_ALG_UNKNOWN) {
        return PS_JWT_ALG;
    }

    v = json_object_get(header, "kid");
    if (v != NULL) {
        if (!json_is_string(v)) {
            return PS_JWT_KID;
        }

        jws->kid = json_string_value(v);
        jws->kid_len = json_string_length(v);
    }

    v = json_object_get(header, "typ");
    if (v != NULL) {
        if (!json_is_string(v)) {
            return PS_JWT_KID;
        }

        jws->typ = json_string_value(v);
        jws->typ_len = json_string_length(v);
    }

    return PS_JWT_OK;
}


ps_jwt_error_e
ps_jws_parse(ps_jws_t *jws, const unsigned char *token, size_t len,
    unsigned char *buf)
{
    size_t                header_len;
    ps_jwt_error_e        rc;
    const unsigned char  *dot1, *dot2, *end;

    memset(jws, 0, sizeof(ps_jws_t));

    if (len > PS_JWS_MAX) {
        return PS_JWT_SIZE;
    }

    end = token + len;

    dot1 = memchr(token, '.', len);
    if (dot1 == NULL) {
        return PS_JWT_PARTS;
    }

    dot2 = memchr(dot1 + 1, '.', end - dot1 - 1);
    if (dot2 == NULL || memchr(dot2 + 1, '.', end - dot2 - 1) != NULL) {
        return PS_JWT_PARTS;
    }

    if (dot1 - token > PS_JWS_HEADER_MAX || end - dot2 - 1 > PS_JWS_SIG_MAX) {
        return PS_JWT_SIZE;
    }

    if (dot1 == token || dot2 + 1 == end) {
        return PS_JWT_PARTS;
    }

    header_len = 0;

    if (!ps_jws_recall(jws, token, dot1 - token)
        && ps_base64url_decode(buf, &header_len, token, dot1 - token) != 0)
    {
        return PS_JWT_BASE64;
    }

    jws->input = token;
    jws->input_len = dot2 - token;

    jws->payload = buf + header_len;

    if (ps_base64url_decode(jws->payload, &jws->payload_len, dot1 + 1,
                            dot2 - dot1 - 1)
        != 0)
    {
        ps_jws_free(jws);
        return PS_JWT_BASE64;
    }

    jws->signature = jws->payload + jws->payload_len;

    if (ps_base64url_decode(jws->signature, &jws->signature_len, dot2 + 1,
                            end - dot2 - 1)
        != 0)
    {
        ps_jws_free(jws);
        return PS_JWT_BASE64;
    }

    if (jws->header) {
        return PS_JWT_OK;
    }

    rc = ps_jws_header(jws, buf, header_len);

    if (rc != PS_JWT_OK) {
        ps_jws_free(jws);
        return rc;
    }

    ps_jws_remember(jws, token, dot1 - token);

    return PS_JWT_OK;
}


void
ps_jws_free(ps_jws_t *jws)
{
    json_decref(jws->header);
    jws->header = NULL;
}


int
ps_jws_typ_is(const char *typ, size_t len, const char *type)
{
    static const char  prefix[] = "application/";

    if (len > sizeof(prefix) - 1
        && strncasecmp(typ, prefix, sizeof(prefix) - 1) == 0)
    {
        typ += sizeof(prefix) - 1;
        len -= sizeof(prefix) - 1;
    }

    return len == strlen(type) && strncasecmp(typ, type, len) == 0;
}
