
/*
 * A token endpoint's answer of any bytes gives a token that can't leave its
 * header, or none.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../modules/erp/ps_assertion.h"


#define MAX  64


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char     token[MAX];
    size_t   i, len;
    int64_t  seconds;

    len = MAX;

    if (ps_grant_read((const char *) data, size, token, &len, &seconds)
        != NULL)
    {
        return 0;
    }

    if (len == 0 || len > MAX || seconds < -1) {
        abort();
    }

    for (i = 0; i < len; i++) {
        if (token[i] <= ' ' || token[i] >= 0x7f || token[i] == ','
            || token[i] == '"')
        {
            abort();
        }
    }

    return 0;
}
