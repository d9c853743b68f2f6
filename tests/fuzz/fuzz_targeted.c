
/*
 * CDN-Cache-Control is what the upstream says: any bytes.  What parses must
 * parse the same with blanks before it, and never with a comma behind.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../modules/availability/ps_targeted.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
check(int64_t age)
{
    if (age < PS_CC_UNSET || age > PS_CC_MAX_AGE) {
        abort();
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char           *copy;
    ps_targeted_t   t, blank, comma;

    ps_targeted_init(&t);
    ps_targeted_parse(&t, (const char *) data, size);

    check(t.cc.max_age);
    check(t.cc.s_maxage);
    check(t.cc.stale_while_revalidate);
    check(t.cc.stale_if_error);

    copy = malloc(size + 1);
    if (copy == NULL) {
        return 0;
    }

    copy[0] = ' ';
    memcpy(copy + 1, data, size);

    ps_targeted_init(&blank);
    ps_targeted_parse(&blank, copy, size + 1);

    if (ps_targeted_valid(&blank) != ps_targeted_valid(&t)
        || blank.cc.max_age != t.cc.max_age)
    {
        abort();
    }

    memcpy(copy, data, size);
    copy[size] = ',';

    ps_targeted_init(&comma);
    ps_targeted_parse(&comma, copy, size + 1);

    if (ps_targeted_valid(&comma)) {
        abort();
    }

    free(copy);

    return 0;
}
