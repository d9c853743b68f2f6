
/*
 * Any text: jansson takes it if and only if we do, but for what only who
 * makes numbers and strings of it can refuse; and of what we take, each
 * element and member is found, is a value itself, and lies within.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <jansson.h>

#include "ps_json_text.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static unsigned
depth(json_t *value)
{
    void     *at;
    size_t    i;
    unsigned  n, most;

    most = 0;

    if (json_is_array(value)) {

        for (i = 0; i < json_array_size(value); i++) {
            n = depth(json_array_get(value, i));
            most = (n > most) ? n : most;
        }

        return most + 1;
    }

    if (json_is_object(value)) {

        for (at = json_object_iter(value); at;
             at = json_object_iter_next(value, at))
        {
            n = depth(json_object_iter_value(at));
            most = (n > most) ? n : most;
        }

        return most + 1;
    }

    return 0;
}


/* jansson is right to refuse what we take */

static int
allowed(const json_error_t *err)
{
    switch (json_error_code(err)) {

    case json_error_invalid_utf8:
    case json_error_numeric_overflow:
    case json_error_null_byte_in_key:
        return 1;

    default:
        return strncmp(err->text, "invalid Unicode", 15) == 0;
    }
}


/* what jansson makes of the text at a place is the value itself */

static void
same(const ps_json_text_t *text, json_t *value)
{
    int              rc;
    char            *buf;
    json_t          *again;
    ps_json_text_t   id;

    again = json_loadb(text->data, text->len, JSON_DECODE_ANY|JSON_ALLOW_NUL,
                       NULL);

    if (again == NULL || !json_equal(again, value)) {
        abort();
    }

    json_decref(again);

    if (json_is_string(value)) {
        buf = malloc(text->len);
        rc = ps_json_text_id(text, buf, &id);

        if (memchr(json_string_value(value), '\0', json_string_length(value))
            ? rc != -1
            : (rc != 0 || id.len != json_string_length(value)
               || memcmp(id.data, json_string_value(value), id.len) != 0))
        {
            abort();
        }

        free(buf);
    }
}


static void
walk(const ps_json_text_t *doc, const ps_json_path_t *up, json_t *value)
{
    int              rc;
    char             index[16];
    void            *at;
    size_t           n, len;
    const char      *p;
    ps_json_text_t   text, element;
    ps_json_path_t   path;

    if (ps_json_text_find(doc, up, &text) != 0 || text.data < doc->data
        || text.data + text.len > doc->data + doc->len)
    {
        abort();
    }

    same(&text, value);

    path = *up;

    if (path.n == PS_JSON_PATH_MAX) {
        return;
    }

    path.n++;

    if (json_is_array(value)) {
        p = text.data;

        for (n = 0; /* void */ ; n++) {
            rc = ps_json_text_next(&text, &p, &element);

            if (rc == 0) {
                break;
            }

            if (rc != 1 || n >= json_array_size(value)) {
                abort();
            }

            same(&element, json_array_get(value, n));

            if (n < 20) {
                len = 0;

                if (n >= 10) {
                    index[len++] = '1';
                }

                index[len++] = (char) ('0' + n % 10);

                path.token[path.n - 1].data = index;
                path.token[path.n - 1].len = len;

                walk(doc, &path, json_array_get(value, n));
            }
        }

        if (n != json_array_size(value)) {
            abort();
        }

    } else if (json_is_object(value)) {

        for (at = json_object_iter(value); at;
             at = json_object_iter_next(value, at))
        {
            path.token[path.n - 1].data = json_object_iter_key(at);
            path.token[path.n - 1].len = strlen(json_object_iter_key(at));

            walk(doc, &path, json_object_iter_value(at));
        }
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int              rc;
    json_t          *value;
    const char      *text;
    json_error_t     err;
    ps_json_text_t   doc;
    ps_json_path_t   path;

    text = (const char *) data;

    rc = ps_json_text_check(text, size);

    if (size == 0) {
        return 0;
    }

    /* jansson does not see a zero byte behind a word or a number */

    if (memchr(text, '\0', size)) {

        if (rc == 0) {
            abort();
        }

        return 0;
    }

    value = json_loadb(text, size, JSON_DECODE_ANY|JSON_ALLOW_NUL, &err);

    if (value == NULL) {

        if (rc == 0 && !allowed(&err)) {
            abort();
        }

        return 0;
    }

    if ((rc == 0) != (depth(value) <= PS_JSON_TEXT_DEPTH)) {
        abort();
    }

    json_decref(value);

    if (rc != 0) {
        return 0;
    }

    /* names that are there twice are not found */

    value = json_loadb(text, size, JSON_DECODE_ANY|JSON_ALLOW_NUL
                                   |JSON_REJECT_DUPLICATES, NULL);

    if (value) {
        doc.data = text;
        doc.len = size;
        path.n = 0;

        walk(&doc, &path, value);

        json_decref(value);
    }

    return 0;
}
