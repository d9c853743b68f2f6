
#include <string.h>

#include "ps_jwt_alg.h"


static const char  *ps_jwt_alg_names[PS_ALG_COUNT] = {
    "",
    "HS256", "HS384", "HS512",
    "RS256", "RS384", "RS512",
    "PS256", "PS384", "PS512",
    "ES256", "ES384", "ES512",
    "EdDSA", "Ed25519", "Ed448"
};


ps_jwt_alg_e
ps_jwt_alg(const char *name, size_t len)
{
    int  i;

    for (i = 1; i < PS_ALG_COUNT; i++) {
        if (strlen(ps_jwt_alg_names[i]) == len
            && memcmp(ps_jwt_alg_names[i], name, len) == 0)
        {
            return i;
        }
    }

    return PS_ALG_UNKNOWN;
}


const char *
ps_jwt_alg_name(ps_jwt_alg_e alg)
{
    return ps_jwt_alg_names[alg < PS_ALG_COUNT ? alg : 0];
}


size_t
ps_jwt_alg_hash(ps_jwt_alg_e alg)
{
    if (alg < PS_ALG_HS256 || alg > PS_ALG_ES512) {
        return 0;
    }

    return 32 + 16 * ((alg - PS_ALG_HS256) % 3);
}
