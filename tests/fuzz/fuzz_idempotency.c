
/*
 * Keys come from clients and kept answers from Redis: what is taken is within
 * its bounds, and can't split a header.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../modules/erp/ps_idempotency.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char                      key[PS_IDEMPOTENCY_KEY_MAX];
    size_t                    i, n, nlen, vlen;
    const char               *p, *name, *value;
    ps_idempotency_answer_t   answer;

    n = ps_idempotency_key((const char *) data, size, key);

    if (n > PS_IDEMPOTENCY_KEY_MAX) {
        abort();
    }

    for (i = 0; i < n; i++) {
        if (key[i] < 0x20 || key[i] > 0x7e) {
            abort();
        }
    }

    if (ps_idempotency_answer(&answer, (const char *) data, size) != 0) {
        return 0;
    }

    p = answer.field;

    for (i = 0; i < answer.fields; i++) {
        ps_idempotency_next(&p, &name, &nlen, &value, &vlen);

        if (nlen == 0 || memchr(name, ':', nlen) || memchr(value, '\r', vlen)
            || memchr(value, '\n', vlen) || memchr(value, '\0', vlen))
        {
            abort();
        }
    }

    if (p != answer.body
        || answer.body + answer.body_len != (const char *) data + size)
    {
        abort();
    }

    return 0;
}
