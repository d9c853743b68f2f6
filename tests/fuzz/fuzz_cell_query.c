
/*
 * Any query and any body: what is read of them is read again of what is
 * written for it, the rest of it is the same, and both take no more room than
 * was said.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ps_cell_query.h"


#define MAX  32


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static ps_json_path_t  path[PS_CELL_AXES];
static char            names[PS_CELL_AXES][8];


static void
name_axes(ps_cell_axis_t *axis, ps_cell_id_t (*id)[MAX], int body)
{
    unsigned  k;

    for (k = 0; k < PS_CELL_AXES; k++) {
        axis[k].name.data = k ? "l" : "sku";
        axis[k].name.len = k ? 1 : 3;
        axis[k].path = body ? &path[k] : NULL;
        axis[k].id = id[k];

        (void) ps_json_path_parse(&path[k], k ? "/l" : "/s", 2, names[k]);
    }
}


static int
read_ids(ps_cell_axis_t *axis, const char *text, size_t len, int body,
    char **decoded)
{
    char            *end;
    unsigned         k;
    ps_json_text_t   b;

    b.data = text;
    b.len = len;

    *decoded = malloc(len ? len : 1);
    end = *decoded;

    for (k = 0; k < PS_CELL_AXES; k++) {

        if ((body ? ps_cell_body_ids(&axis[k], &b, &end, MAX)
                  : ps_cell_query_ids(&axis[k], text, len, &end, MAX))
            != 0)
        {
            return -1;
        }

        if (axis[k].n > MAX || end > *decoded + len) {
            abort();
        }
    }

    return 0;
}


/* as a request for all but every "skip"th of them */

static void
rewrite(const char *text, size_t len, int body, unsigned skip)
{
    char             *first, *second, *out, *rest, *left;
    size_t            n, size, nrest, nleft;
    unsigned          i, k, m;
    ps_cell_id_t      id[PS_CELL_AXES][MAX], was[PS_CELL_AXES][MAX];
    ps_cell_id_t      pick[PS_CELL_AXES][MAX];
    ps_cell_axis_t    axis[PS_CELL_AXES], then[PS_CELL_AXES];
    ps_json_text_t    b;
    ps_cell_index_t   index;
    ps_siphash_key_t  key;
    uint16_t          slot[4 * MAX];

    name_axes(axis, id, body);

    if (read_ids(axis, text, len, body, &first) != 0) {
        free(first);
        return;
    }

    ps_siphash_key(&key, (const uint8_t *) "0123456789abcdef");

    for (k = 0; k < PS_CELL_AXES; k++) {

        m = ps_cell_index_init(&index, axis[k].id, axis[k].n, &key, slot);

        if (m > axis[k].n || (m == 0) != (axis[k].n == 0)) {
            abort();
        }

        for (i = 0; i < axis[k].n; i++) {
            int  at;

            at = ps_cell_index_find(&index, &axis[k].id[i].id);

            if (at < 0 || (unsigned) at > i) {
                abort();
            }
        }

        memcpy(was[k], id[k], sizeof(was[k]));
        m = 0;

        for (i = 0; i < axis[k].n; i++) {
            if (skip == 0 || i % skip) {
                pick[k][m++] = id[k][i];
            }
        }

        axis[k].id = pick[k];
        axis[k].n = m;
    }

    b.data = text;
    b.len = len;

    size = body ? ps_cell_body_size(axis, PS_CELL_AXES, len)
                : ps_cell_query_size(axis, PS_CELL_AXES, len);

    out = malloc(size ? size : 1);

    n = body ? ps_cell_body_write(axis, PS_CELL_AXES, &b, out)
             : ps_cell_query_write(axis, PS_CELL_AXES, text, len, out);

    if (n > size || (body && ps_json_text_check(out, n) != 0)) {
        abort();
    }

    /* the same values are in it, and the same else */

    name_axes(then, id, body);

    if (read_ids(then, out, n, body, &second) != 0) {
        abort();
    }

    for (k = 0; k < PS_CELL_AXES; k++) {

        if (then[k].n != axis[k].n) {
            abort();
        }

        for (i = 0; i < axis[k].n; i++) {
            if (id[k][i].id.len != pick[k][i].id.len
                || memcmp(id[k][i].id.data, pick[k][i].id.data,
                          pick[k][i].id.len) != 0)
            {
                abort();
            }
        }
    }

    if (!body) {
        rest = malloc(len ? len : 1);
        left = malloc(n ? n : 1);

        nrest = ps_cell_query_rest(axis, PS_CELL_AXES, text, len, rest);
        nleft = ps_cell_query_rest(axis, PS_CELL_AXES, out, n, left);

        if (nrest > len || nrest != nleft || memcmp(rest, left, nrest) != 0) {
            abort();
        }

        free(rest);
        free(left);
    }

    free(second);
    free(out);
    free(first);
}


/* how it is read, what is left out, the query or body */

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int          body;
    const char  *text;

    if (size < 2) {
        return 0;
    }

    text = (const char *) data + 2;
    size -= 2;

    body = data[0] & 1;

    if (body && ps_json_text_check(text, size) != 0) {
        return 0;
    }

    rewrite(text, size, body, data[1] % 5);

    return 0;
}
