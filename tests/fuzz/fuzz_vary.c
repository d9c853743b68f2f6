
/*
 * Vary is what the upstream says, the fields it names are what clients send:
 * any bytes.  A list put into itself must not change, whatever is in it; a
 * value that was written once must stay as it is when it is written again.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../modules/availability/ps_vary.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
check_list(const char *data, size_t size)
{
    int          order;
    size_t       len, last_len;
    unsigned     n;
    ps_vary_t    vary, twice;
    const char  *p, *name, *last;

    ps_vary_init(&vary);
    ps_vary_add(&vary, data, size);

    if (vary.len > PS_VARY_LEN || vary.n > PS_VARY_NAMES) {
        abort();
    }

    p = vary.text;
    last = NULL;
    last_len = 0;

    for (n = 0; ps_vary_next(&vary, &p, &name, &len); n++) {

        if (len == 0) {
            abort();
        }

        if (last) {
            order = memcmp(last, name, last_len < len ? last_len : len);

            if (order > 0 || (order == 0 && last_len >= len)) {
                abort();
            }
        }

        last = name;
        last_len = len;
    }

    if (n != vary.n) {
        abort();
    }

    twice = vary;
    ps_vary_add(&twice, vary.text, vary.len);

    if (twice.len != vary.len || memcmp(twice.text, vary.text, vary.len) != 0
        || twice.overflow != vary.overflow)
    {
        abort();
    }
}


static void
check_value(const char *name, const char *data, size_t size)
{
    char    *out, *again;
    size_t   len;

    out = malloc(size ? size : 1);
    again = malloc(size ? size : 1);

    if (out && again) {
        len = (size_t) (ps_vary_put(out, name, strlen(name), data, size)
                        - out);

        if (len > size
            || (size_t) (ps_vary_put(again, name, strlen(name), out, len)
                         - again)
               != len
            || memcmp(out, again, len) != 0)
        {
            abort();
        }
    }

    free(out);
    free(again);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_list((const char *) data, size);
    check_value("foo", (const char *) data, size);
    check_value("accept-language", (const char *) data, size);

    return 0;
}
