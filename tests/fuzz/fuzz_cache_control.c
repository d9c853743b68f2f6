
/*
 * Cache-Control is what the upstream says: any bytes, and each line but adds
 * to what forbids, never takes away.
 */

#include <stdint.h>
#include <stdlib.h>

#include "../../modules/core/ps_cache_control.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
check(int64_t before, int64_t after)
{
    if (after < PS_CC_UNSET || after > 2147483647
        || (before != PS_CC_UNSET
            && (after == PS_CC_UNSET || after > before)))
    {
        abort();
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ps_cache_control_t  cc, was;

    ps_cache_control_init(&cc);
    ps_cache_control_parse(&cc, (const char *) data, size);

    was = cc;
    ps_cache_control_parse(&cc, (const char *) data + size / 2,
                           size - size / 2);

    check(was.max_age, cc.max_age);
    check(was.s_maxage, cc.s_maxage);
    check(was.stale_while_revalidate, cc.stale_while_revalidate);
    check(was.stale_if_error, cc.stale_if_error);

    if (was.no_store > cc.no_store || was.no_cache > cc.no_cache
        || was.private_ > cc.private_
        || was.must_revalidate > cc.must_revalidate)
    {
        abort();
    }

    return 0;
}
