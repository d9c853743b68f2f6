
/*
 * Whoever may change limits may send any bytes: they are refused whole, or
 * are an override that can be put in force.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../modules/ratelimit/ps_override_read.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char              *text;
    uint64_t           burst, expires;
    ps_override_t      o;
    ps_gcra_result_t   res;

    if (size == 0) {
        return 0;
    }

    /* of the zone, which its configuration has checked */

    burst = data[0] + 1;
    size--;

    /* exactly as large, so that a read behind it is seen */

    text = malloc(size ? size : 1);
    if (text == NULL) {
        return 0;
    }

    memcpy(text, data + 1, size);
    memset(&o, 0xff, sizeof(o));

    if (ps_override_read(text, size, burst, &o, &expires) == NULL) {

        if (o.dry_run > 1 || expires > PS_OVERRIDE_LAST || o.rate.count == 0
            || o.limit.burst == 0 || o.limit.interval == 0
            || o.limit.capacity > PS_GCRA_SPAN_MAX
            || o.limit.capacity / o.limit.interval != o.limit.burst)
        {
            abort();
        }

        ps_gcra_check(&o.limit, 1, 0, o.limit.burst, &res);

        if (!res.allowed) {
            abort();
        }
    }

    free(text);

    return 0;
}
