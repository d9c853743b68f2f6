
/*
 * DPoP proofs (RFC 9449, 4): that whoever sends an access token holds the key
 * that it is bound to.
 */

#ifndef PS_DPOP_H
#define PS_DPOP_H


#include <stddef.h>

#include "ps_nonce.h"
#include "ps_token.h"


#define PS_DPOP_JTI_MAX   256       /* bytes of "jti" */
#define PS_DPOP_ALGS                                                          \
    "ES256 ES384 ES512 EdDSA PS256 PS384 PS512 RS256 RS384 RS512"


/* what a proof must fit */

typedef struct {
    ps_token_text_t   method;
    ps_token_text_t   origin;       /* "https://api.example[:443]" */
    ps_token_text_t   path;         /* as sent, without the query */
    ps_token_text_t   token;        /* the access token, as sent */
    ps_token_text_t   jkt;          /* its cnf.jkt */
    double            now;          /* seconds since the epoch */
    double            window;       /* "iat" may be that far from now */
} ps_dpop_request_t;


typedef struct {
    unsigned char     id[32];       /* of key and "jti": once in its time */
    double            until;        /* seconds: when its time is over */
    size_t            nonce_len;    /* 0: none, or not one of ours */
    unsigned char     nonce[PS_NONCE_LEN];
} ps_dpop_proof_t;


/*
 * Makes all checks of RFC 9449, 4.3 but the replay's (11) and the nonce's
 * (10): a strict JWS with "typ" dpop+jwt and an asymmetric algorithm, signed
 * by the key in its "jwk", which holds no private member and whose thumbprint
 * (RFC 7638) is the token's; "htm", "htu" without query and fragment, "ath",
 * "iat", "jti".
 *
 * Returns NULL and *proof, or why not: a fixed text for the log.  "buf" has
 * room for "len" bytes.
 */

const char *ps_dpop_check(const unsigned char *text, size_t len,
    unsigned char *buf, const ps_dpop_request_t *request,
    ps_dpop_proof_t *proof);

/*
 * The thumbprint of a public key (RFC 7638) as base64url, 43 characters.
 * 0, or -1: not a key that has one, or no memory.
 */

int ps_dpop_thumbprint(const json_t *jwk, unsigned char out[43]);

/*
 * Whether "htu" is that origin and path: scheme and host in any case, default
 * ports and percent-encodings normalized (RFC 3986, 6.2.2 and 6.2.3).
 */

int ps_dpop_htu_is(const ps_token_text_t *htu, const ps_token_text_t *origin,
    const ps_token_text_t *path);


#endif /* PS_DPOP_H */
