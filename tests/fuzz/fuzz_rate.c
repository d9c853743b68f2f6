
/*
 * Rates come from variables at run time: whatever they hold, the parser
 * reads only what it was given, and what it accepts makes a limit that
 * doesn't overflow.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../modules/ratelimit/ps_gcra.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char              *text;
    uint64_t           burst;
    ps_gcra_t          limit;
    ps_gcra_rate_t     rate;
    ps_gcra_result_t   res;

    if (size < sizeof(burst)) {
        return 0;
    }

    memcpy(&burst, data, sizeof(burst));
    size -= sizeof(burst);

    /* exactly as large, so that a read behind it is seen */

    text = malloc(size ? size : 1);
    if (text == NULL) {
        return 0;
    }

    memcpy(text, data + sizeof(burst), size);

    if (ps_gcra_rate(text, size, &rate) == 0) {

        if (rate.count == 0 || rate.period == 0
            || rate.count > (uint64_t) rate.period * PS_GCRA_RATE_MAX)
        {
            abort();
        }

        if (ps_gcra_limit(&limit, &rate, burst) == 0) {
            ps_gcra_check(&limit, 1, 0, burst, &res);

            if (!res.allowed || res.remaining != 0
                || res.reset != limit.capacity
                || limit.capacity > PS_GCRA_SPAN_MAX
                || limit.window == 0 || limit.quota < burst)
            {
                abort();
            }
        }
    }

    free(text);

    return 0;
}
