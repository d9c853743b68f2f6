
/*
 * Any answer of an upstream: the text before the list, its elements and the
 * text behind it lie in it in that order, and put together again they are an
 * answer that is taken apart into the same.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ps_cell_query.h"
#include "ps_cell_split.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


typedef struct {
    const ps_cell_split_t  *split;
    const char             *last;       /* of the element before */
    const char             *end;
    char                   *out;
    size_t                  n;
    size_t                  id_bytes;
} seen_t;


static int
see(const ps_json_text_t *element, const ps_json_text_t *id, void *data)
{
    seen_t    *seen = data;
    unsigned   i;

    if (element->len == 0 || element->data < seen->last
        || element->data + element->len > seen->end
        || ps_json_text_check(element->data, element->len) != 0
        || element->data[0] != '{'
        || element->data[element->len - 1] != '}')
    {
        abort();
    }

    for (i = 0; i < seen->split->nid; i++) {

        if (id[i].len > element->len || memchr(id[i].data, '\0', id[i].len)) {
            abort();
        }

        seen->id_bytes += id[i].len;
    }

    if (seen->n++) {
        *seen->out++ = ',';
    }

    memcpy(seen->out, element->data, element->len);
    seen->out += element->len;

    seen->last = element->data + element->len;

    return 0;
}


static int
again(ps_cell_split_t *split, const char *text, size_t len, seen_t *seen,
    char *out)
{
    int              rc;
    char            *buf;
    ps_json_text_t   answer;

    answer.data = text;
    answer.len = len;

    buf = malloc(len ? len : 1);

    seen->split = split;
    seen->last = text;
    seen->end = text + len;
    seen->n = 0;
    seen->id_bytes = 0;
    seen->out = out;

    rc = ps_cell_split(split, &answer, buf, see, seen);

    free(buf);

    return rc;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char             *out, *twice, *p;
    size_t            len, before, behind, elements;
    seen_t            first, second;
    unsigned          kind;
    const char       *text;
    char              names[3][16];
    ps_json_path_t    list, id[PS_CELL_AXES];
    ps_cell_split_t   split;

    if (size == 0) {
        return 0;
    }

    kind = data[0];
    text = (const char *) data + 1;
    len = size - 1;

    (void) ps_json_path_parse(&list, kind & 1 ? "/items" : "/0",
                              kind & 1 ? 6 : 2, names[0]);
    (void) ps_json_path_parse(&id[0], "/s", 2, names[1]);
    (void) ps_json_path_parse(&id[1], kind & 2 ? "/l" : "/s", 2, names[2]);

    split.list = &list;
    split.id = id;
    split.nid = (kind & 4) ? 2 : 1;

    out = malloc(len ? len : 1);

    if (again(&split, text, len, &first, out) == 0) {

        if (split.before.data != text
            || split.before.data[split.before.len - 1] != '['
            || split.behind.data[0] != ']'
            || split.behind.data + split.behind.len != text + len
            || split.before.data + split.before.len > split.behind.data
            || first.last > split.behind.data)
        {
            abort();
        }

        /* once more, of what came out */

        before = split.before.len;
        behind = split.behind.len;
        elements = (size_t) (first.out - out);

        p = malloc(before + elements + behind);
        memcpy(p, split.before.data, before);
        memcpy(p + before, out, elements);
        memcpy(p + before + elements, split.behind.data, behind);

        twice = malloc(before + elements + behind);

        if (again(&split, p, before + elements + behind, &second, twice) != 0
            || second.n != first.n || second.id_bytes != first.id_bytes
            || (size_t) (second.out - twice) != elements
            || memcmp(twice, out, elements) != 0
            || split.before.len != before || split.behind.len != behind)
        {
            abort();
        }

        free(twice);
        free(p);
    }

    free(out);

    return 0;
}
