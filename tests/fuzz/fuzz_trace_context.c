
/*
 * Trace headers are whatever a client sends.  The input's first line is a
 * traceparent (and an ID, and a header name), the others are the fields of
 * one tracestate.  What is written must be readable again and mean the same.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../modules/correlation/ps_correlation.h"
#include "../../modules/correlation/ps_trace_context.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static char *
copy(const uint8_t *data, size_t size)
{
    char  *p;

    /* exactly as large, so that a read behind it is seen */

    p = malloc(size ? size : 1);
    if (p == NULL) {
        abort();
    }

    memcpy(p, data, size);

    return p;
}


static size_t
field(const uint8_t *data, size_t size)
{
    const uint8_t  *end;

    end = size ? memchr(data, '\n', size) : NULL;

    return end ? (size_t) (end - data) : size;
}


static void
traceparent(const uint8_t *data, size_t size)
{
    char              *value, text[PS_TRACEPARENT_LEN];
    uint8_t            random[PS_SPAN_RANDOM_LEN];
    ps_traceparent_t   tp, again;

    value = copy(data, size);

    if (ps_traceparent_parse(&tp, value, size) == 0) {
        memset(random, 0x5a, sizeof(random));
        ps_traceparent_span(&tp, random);
        ps_traceparent_write(text, &tp);

        if (ps_traceparent_parse(&again, text, sizeof(text)) != 0
            || memcmp(&tp, &again, sizeof(tp)) != 0)
        {
            abort();
        }
    }

    free(value);
}


static void
tracestate(const uint8_t *data, size_t size)
{
    int               valid;
    char             *text, *value, *again;
    size_t            len, n;
    unsigned          i;
    const uint8_t    *p, *last;
    ps_tracestate_t   ts, ts2;

    n = 1;
    last = data + size;

    for (p = data; p < last; p++) {
        n += *p == '\n';
    }

    text = malloc(size + n);
    if (text == NULL) {
        abort();
    }

    ps_tracestate_init(&ts, text);
    valid = 1;

    for (p = data; valid && n; n--) {
        len = field(p, (size_t) (last - p));
        value = copy(p, len);
        valid = ps_tracestate_add(&ts, value, len) == 0;
        free(value);
        p += len + (n > 1);
    }

    if (valid) {
        if (ts.n > PS_TRACESTATE_MEMBERS) {
            abort();
        }

        for (i = 0; i < ts.len; i++) {
            if (text[i] < 0x20 || text[i] > 0x7e) {
                abort();
            }
        }

        again = malloc(ts.len + 1);
        if (again == NULL) {
            abort();
        }

        ps_tracestate_init(&ts2, again);

        if (ps_tracestate_add(&ts2, text, ts.len) != 0
            || ts2.n != ts.n || ts2.len != ts.len
            || memcmp(again, text, ts.len) != 0)
        {
            abort();
        }

        free(again);
    }

    free(text);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char    *value;
    size_t   len;

    len = field(data, size);

    traceparent(data, len);

    value = copy(data, len);
    (void) ps_correlation_id_valid(value, len);
    (void) ps_correlation_name_check(value, len);
    free(value);

    if (len < size) {
        tracestate(data + len + 1, size - len - 1);
    }

    return 0;
}
