
#include "ps_cell_query.h"
#include "ps_cell_split.h"


int
ps_cell_split(ps_cell_split_t *split, const ps_json_text_t *answer, char *buf,
    ps_cell_split_pt handler, void *data)
{
    int              rc;
    char            *b;
    unsigned         i, k;
    const char      *p;
    ps_json_text_t   array, element, value[PS_CELL_AXES], id[PS_CELL_AXES];

    if (ps_json_text_check(answer->data, answer->len) != 0
        || ps_json_text_find(answer, split->list, &array) != 0
        || array.data[0] != '[')
    {
        return -1;
    }

    split->before.data = answer->data;
    split->before.len = (size_t) (array.data + 1 - answer->data);

    split->behind.data = array.data + array.len - 1;
    split->behind.len = (size_t) (answer->data + answer->len
                                  - split->behind.data);

    p = array.data;

    for ( ;; ) {
        rc = ps_json_text_next(&array, &p, &element);

        if (rc != 1) {
            return rc;
        }

        b = buf;

        for (i = 0; i < split->nid; i++) {

            if (ps_json_text_find(&element, &split->id[i], &value[i]) != 0) {
                return -1;
            }

            /* twice the same would need twice the room */

            for (k = 0; k < i && value[k].data != value[i].data; k++) {
                /* void */
            }

            if (k < i) {
                id[i] = id[k];
                continue;
            }

            if (ps_json_text_id(&value[i], b, &id[i]) != 0) {
                return -1;
            }

            if (id[i].data == b) {
                b += id[i].len;
            }
        }

        if (handler(&element, id, data) != 0) {
            return -1;
        }
    }
}
