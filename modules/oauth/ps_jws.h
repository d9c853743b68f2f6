
/*
 * Compact JWS (RFC 7515, 7.1), parsed strictly (5.2, RFC 8725).
 */

#ifndef PS_JWS_H
#define PS_JWS_H


#include <jansson.h>

#include "ps_jwt_alg.h"
#include "ps_jwt_error.h"


#define PS_JWS_MAX          8192    /* characters of a token */
#define PS_JWS_HEADER_MAX   2048    /* characters of its header */
#define PS_JWS_SIG_MAX      1400    /* of its signature: RSA of 8192 bits */


typedef struct {
    const unsigned char  *input;        /* what was signed, in the token */
    size_t                input_len;

    unsigned char        *payload;      /* decoded, in the caller's buffer */
    size_t                payload_len;
    unsigned char        *signature;
    size_t                signature_len;

    json_t               *header;       /* owned, see ps_jws_free() */
    ps_jwt_alg_e          alg;
    const char           *kid;          /* in "header"; NULL: none */
    size_t                kid_len;
    const char           *typ;
    size_t                typ_len;
} ps_jws_t;


/*
 * Parses a token.  "buf" has room for "len" bytes and must live as long as
 * jws.  Sizes are checked before anything is decoded.
 *
 * Exactly two dots; strict base64url; the header a complete JSON object in
 * UTF-8 with unique names; no "crit" (none is understood), no "b64" but true
 * (RFC 7797, 7); "alg" a known string, so never "none"; "kid" and "typ"
 * strings.  "jku", "jwk", "x5u" and "x5c" are never looked at: a token does
 * not choose its key.
 *
 * PS_JWT_OK, then ps_jws_free() is due; else the reason, nothing to free.
 */

ps_jwt_error_e ps_jws_parse(ps_jws_t *jws, const unsigned char *token,
    size_t len, unsigned char *buf);
void ps_jws_free(ps_jws_t *jws);

/*
 * Whether "typ" is the media type "type": in any case, with or without the
 * "application/" (RFC 7515, 4.1.9).  "type" is lower case.
 */

int ps_jws_typ_is(const char *typ, size_t len, const char *type);


#endif /* PS_JWS_H */
