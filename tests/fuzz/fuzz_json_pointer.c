
/*
 * A pointer from the configuration meets a body from anybody: whatever both
 * hold, there are at most "max" matches, each is a value of the document,
 * and the values found may be replaced on the way.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../modules/core/ps_json_pointer.h"


#define MAX  16


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static int
match(const ps_json_match_t *m, void *data)
{
    size_t  *n = data;

    if (++*n > MAX || m->value == NULL) {
        abort();
    }

    if (m->parent == NULL) {
        return 0;
    }

    if (m->key) {
        if (json_object_get(m->parent, m->key) != m->value
            || json_object_set_new(m->parent, m->key, json_null()) != 0)
        {
            abort();
        }

    } else if (json_array_get(m->parent, m->index) != m->value
               || json_array_set_new(m->parent, m->index, json_null()) != 0)
    {
        abort();
    }

    return 0;
}


/* the pointer's length, the pointer, the document */

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char               *text;
    size_t              len, n;
    json_t             *document;
    const char         *err;
    ps_json_pointer_t  *pointer;

    if (size == 0 || data[0] > size - 1) {
        return 0;
    }

    len = data[0];

    /* exactly as large, so that a read behind it is seen */

    text = malloc(len ? len : 1);
    if (text == NULL) {
        return 0;
    }

    memcpy(text, data + 1, len);

    pointer = ps_json_pointer_parse(text, len, &err);

    free(text);

    if (pointer == NULL) {
        return 0;
    }

    document = json_loadb((const char *) data + 1 + len, size - 1 - len,
                          JSON_DECODE_ANY|JSON_REJECT_DUPLICATES, NULL);

    if (document) {
        n = 0;

        switch (ps_json_pointer_eval(pointer, document, MAX, match, &n)) {

        case PS_JSON_POINTER_ALL:
            break;

        case PS_JSON_POINTER_MORE:
            if (n != MAX) {
                abort();
            }

            break;

        default:
            abort();
        }

        json_decref(document);
    }

    ps_json_pointer_free(pointer);

    return 0;
}
