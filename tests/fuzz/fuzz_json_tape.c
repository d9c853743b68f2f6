
/*
 * JSON from anybody as a tape: what Jansson takes is taken, and each value
 * lies inside of the text and of the value around it.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <jansson.h>

#include "../../modules/core/ps_json_tape.h"


#define DEPTH  64


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static int
tape(const char *text, size_t len, unsigned flags)
{
    int                    ok;
    size_t                 n;
    uint32_t               i;
    ps_json_node_t        *node;
    static ps_json_tape_t  t;

    ok = (ps_json_tape_read(&t, text, len, DEPTH, flags) == PS_JSON_OK);

    for (i = 0; ok && i < t.n; i++) {
        node = &t.nodes[i];

        if (node->pos + node->len > len || node->end <= i || node->end > t.n)
        {
            abort();
        }

        if (node->type == PS_JSON_STRING) {
            (void) ps_json_tape_string(&t, i, &n);

            if (n > node->len) {
                abort();
            }
        }
    }

    return ok;
}


static int
jansson(const char *text, size_t len)
{
    size_t   i, depth;
    json_t  *json;

    for (i = 0, depth = 0; i < len; i++) {
        depth += (text[i] == '[' || text[i] == '{');
    }

    /* for it a zero byte is the end */

    if (depth > DEPTH || memchr(text, 0, len)) {
        return 0;
    }

    json = json_loadb(text, len, JSON_DECODE_ANY, NULL);
    json_decref(json);

    return json != NULL;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int    ok;
    char  *copy;

    /* exactly as large, so that a step beyond is seen */

    copy = malloc(size ? size : 1);
    if (copy == NULL) {
        abort();
    }

    memcpy(copy, data, size);

    ok = tape(copy, size, 0);

    if (jansson(copy, size) && !ok) {
        abort();
    }

    if (tape(copy, size, PS_JSON_TAPE_UNIQUE) && !ok) {
        abort();
    }

    free(copy);

    return 0;
}
