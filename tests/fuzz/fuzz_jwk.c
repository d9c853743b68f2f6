/*
 * Key sets come from files and, later, from issuers: any bytes give a set of
 * usable keys or a terminated reason, and a set verifies without harm.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../modules/oauth/ps_jwk.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int             alg, strict;
    char            error[64];
    size_t          i;
    unsigned        allowed;
    ps_jwk_t       *key;
    ps_jwks_t      *set;
    unsigned char  *copy, sig[132];

    if (size < 1) {
        return 0;
    }

    strict = data[0] & 1;
    allowed = data[0] & 2 ? (1u << PS_ALG_COUNT) - 2 : 0;

    copy = malloc(size);
    if (copy == NULL) {
        abort();
    }

    memcpy(copy, data + 1, size - 1);
    memset(error, 'x', sizeof(error));

    set = ps_jwks_parse(copy, size - 1, allowed, strict, error,
                        sizeof(error));

    if (set == NULL && memchr(error, '\0', sizeof(error)) == NULL) {
        abort();
    }

    memset(sig, 1, sizeof(sig));

    for (alg = 1; set && alg < PS_ALG_COUNT; alg++) {
        i = 0;

        while ((key = ps_jwks_next(set, &i, alg, NULL, 0))) {
            if (ps_jwk_verify(key, copy, size - 1, sig, sizeof(sig))
                || ps_jwk_verify(key, copy, size - 1, sig, 64))
            {
                abort();
            }
        }
    }

    ps_jwks_free(set);
    free(copy);

    return 0;
}
