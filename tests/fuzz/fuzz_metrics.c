
/*
 * Accept headers come from anybody; label pairs are checked when they are
 * registered.  Neither parser reads behind its end or stands still.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../modules/core/ps_metrics.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char        *text, *value;
    ps_label_t   label;
    const char  *p, *end, *last;

    /* exactly as large, so that a read behind it is seen */

    text = malloc(size ? size : 1);
    value = malloc(size ? size : 1);

    if (text == NULL || value == NULL) {
        abort();
    }

    memcpy(text, data, size);

    if (ps_accept_weight(text, size, "text/plain") > 1000) {
        abort();
    }

    p = text;
    end = text + size;
    last = p;

    while (ps_label_next(&p, end, &label) == 1) {

        if (p <= last || p > end || label.name_len == 0
            || label.value + label.value_len >= end
            || ps_label_unescape(value, label.value, label.value_len)
               > label.value_len)
        {
            abort();
        }

        last = p;
    }

    free(text);
    free(value);

    return 0;
}
