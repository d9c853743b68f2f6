
/*
 * Signature algorithms (RFC 7518, RFC 8037, RFC 9864).  "none" is not one.
 */

#ifndef PS_JWT_ALG_H
#define PS_JWT_ALG_H


#include <stddef.h>


typedef enum {
    PS_ALG_UNKNOWN = 0,

    PS_ALG_HS256,
    PS_ALG_HS384,
    PS_ALG_HS512,
    PS_ALG_RS256,
    PS_ALG_RS384,
    PS_ALG_RS512,
    PS_ALG_PS256,
    PS_ALG_PS384,
    PS_ALG_PS512,
    PS_ALG_ES256,
    PS_ALG_ES384,
    PS_ALG_ES512,

    /* RFC 8037's one name for two, and RFC 9864's name for each */

    PS_ALG_EDDSA,
    PS_ALG_ED25519,
    PS_ALG_ED448,

    PS_ALG_COUNT
} ps_jwt_alg_e;


#define ps_alg_bit(alg)  (1u << (alg))

#define ps_alg_is_hs(alg)  ((alg) >= PS_ALG_HS256 && (alg) <= PS_ALG_HS512)
#define ps_alg_is_rs(alg)  ((alg) >= PS_ALG_RS256 && (alg) <= PS_ALG_RS512)
#define ps_alg_is_ps(alg)  ((alg) >= PS_ALG_PS256 && (alg) <= PS_ALG_PS512)
#define ps_alg_is_es(alg)  ((alg) >= PS_ALG_ES256 && (alg) <= PS_ALG_ES512)
#define ps_alg_is_ed(alg)  ((alg) >= PS_ALG_EDDSA && (alg) <= PS_ALG_ED448)


/* exact and case-sensitive, as names of algorithms are */

ps_jwt_alg_e ps_jwt_alg(const char *name, size_t len);
const char *ps_jwt_alg_name(ps_jwt_alg_e alg);

/* bytes of the hash: 32, 48, 64; 0 for EdDSA */

size_t ps_jwt_alg_hash(ps_jwt_alg_e alg);


#endif /* PS_JWT_ALG_H */
