
/*
 * Why a token is refused.  Each reason has two texts: one for the log, and
 * one for the client's error_description (RFC 6750, 3).  Both are fixed and
 * never hold anything from the token.
 */

#ifndef PS_JWT_ERROR_H
#define PS_JWT_ERROR_H


typedef enum {
    PS_JWT_OK = 0,

    PS_JWT_GRAMMAR,      /* no b64token: the request's fault, not the token's */

    PS_JWT_SIZE,
    PS_JWT_PARTS,
    PS_JWT_BASE64,
    PS_JWT_HEADER,
    PS_JWT_CRIT,
    PS_JWT_B64,
    PS_JWT_ALG,
    PS_JWT_KID,

    PS_JWT_NO_KEYS,      /* the gateway's fault, not the token's */
    PS_JWT_NO_INTROSPECTION,
    PS_JWT_INACTIVE,
    PS_JWT_KEY,
    PS_JWT_KEYS,
    PS_JWT_SIGNATURE,

    PS_JWT_PAYLOAD,
    PS_JWT_CLAIM,
    PS_JWT_ISS,
    PS_JWT_AUD,
    PS_JWT_TYP,
    PS_JWT_NO_EXP,
    PS_JWT_EXP,
    PS_JWT_NBF,
    PS_JWT_MISSING,
    PS_JWT_BOUND,
    PS_JWT_REVOKED,
    PS_JWT_NO_REVOCATION,
    PS_JWT_REQUIRE,

    PS_JWT_MEMORY,

    PS_JWT_ERRORS
} ps_jwt_error_e;


/* zero-terminated, static, never NULL */

const char *ps_jwt_error_log(ps_jwt_error_e error);
const char *ps_jwt_error_description(ps_jwt_error_e error);


#endif /* PS_JWT_ERROR_H */
