
/*
 * A pointer from the configuration meets an answer of any bytes: the tape
 * takes what jansson takes and nothing else; what the pointer finds is
 * masked, or gone, and the rest has the same values.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <jansson.h>

#include "../../modules/erp/ps_mask.h"


#define MASK  "\"***\""


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static int
masked(const ps_json_match_t *m, void *data)
{
    (void) data;

    if (!json_is_string(m->value)
        || strcmp(json_string_value(m->value), "***") != 0)
    {
        abort();
    }

    return 0;
}


static int
no_match(const ps_json_match_t *m, void *data)
{
    (void) m;
    (void) data;

    abort();
}


/* whether jansson refuses for a reason of its own */

static int
peculiar(const char *text, size_t len)
{
    json_t        *document;
    json_error_t   error;

    document = json_loadb(text, len,
                          JSON_DECODE_ANY|JSON_REJECT_DUPLICATES
                          |JSON_ALLOW_NUL, &error);
    if (document) {
        json_decref(document);
        return 0;
    }

    return json_error_code(&error) == json_error_numeric_overflow
           || json_error_code(&error) == json_error_null_byte_in_key;
}


static void
check(ps_json_pointer_t *pointer, const char *text, size_t len, int remove)
{
    char            *dst;
    size_t           n, found, i;
    json_t          *document;
    ps_json_tape_t   tape, again;
    ps_mask_rule_t   rule;
    ps_mask_text_t   mask = { MASK, sizeof(MASK) - 1 };

    memset(&tape, 0, sizeof(tape));
    memset(&again, 0, sizeof(again));
    memset(&rule, 0, sizeof(rule));

    document = json_loadb(text, len, JSON_DECODE_ANY|JSON_ALLOW_NUL
                                     |JSON_REJECT_DUPLICATES, NULL);

    switch (ps_json_tape_read(&tape, text, len, 999, PS_JSON_TAPE_UNIQUE)) {

    case PS_JSON_OK:
        if (document == NULL && !peculiar(text, len)) {
            abort();
        }

        break;

    case PS_JSON_DEEP:
        goto done;

    default:

        /* jansson loses a zero byte behind a number */

        if (document != NULL && memchr(text, '\0', len) == NULL) {
            abort();
        }

        goto done;
    }

    rule.pointers = &pointer;
    rule.npointers = 1;
    rule.remove = (unsigned) remove;

    found = ps_mask_mark(&tape, &rule);

    dst = malloc(len + 4 + found * mask.len);
    if (dst == NULL) {
        goto done;
    }

    n = ps_mask_write(&tape, &mask, dst);

    if (ps_json_tape_read(&again, dst, n, 999, PS_JSON_TAPE_UNIQUE)
        != PS_JSON_OK)
    {
        abort();
    }

    if (found == 0 && (n != len || memcmp(dst, text, n) != 0)) {
        abort();
    }

    json_decref(document);
    document = json_loadb(dst, n, JSON_DECODE_ANY|JSON_ALLOW_NUL, NULL);

    for (i = 0; i < ps_json_pointer_count(pointer); i++) {
        if (ps_json_pointer_token(pointer, i)->index
            != PS_JSON_POINTER_NO_INDEX)
        {
            break;
        }
    }

    if (document && !remove) {
        (void) ps_json_pointer_eval(pointer, document, 1000, masked, NULL);

    } else if (document && i && i == ps_json_pointer_count(pointer)) {

        /* elements that have moved up are found in place of others */

        (void) ps_json_pointer_eval(pointer, document, 1000, no_match, NULL);
    }

    free(dst);

done:

    json_decref(document);
    ps_json_tape_free(&tape);
    ps_json_tape_free(&again);
}


/* the pointer's length, the pointer, the document */

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char               *text;
    size_t              len;
    const char         *err;
    ps_json_pointer_t  *pointer;

    if (size == 0 || data[0] > size - 1) {
        return 0;
    }

    len = data[0];

    pointer = ps_json_pointer_parse((const char *) data + 1, len, &err);
    if (pointer == NULL) {
        return 0;
    }

    /* exactly as large, so that a read behind it is seen */

    size -= 1 + len;

    text = malloc(size ? size : 1);

    if (text) {
        memcpy(text, data + 1 + len, size);

        check(pointer, text, size, 0);
        check(pointer, text, size, 1);

        free(text);
    }

    ps_json_pointer_free(pointer);

    return 0;
}
