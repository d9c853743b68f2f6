
/*
 * Members of one name in an object.
 */

#include "ps_json_tape.h"

#include <stdlib.h>
#include <string.h>


/* up to that many names are compared one by one */

#define PS_JSON_TAPE_FEW  12


static int ps_json_tape_same(const ps_json_tape_t *tape, uint32_t a,
    uint32_t b);
static int ps_json_tape_compare(const void *one, const void *two);


ps_json_rc_e
ps_json_tape_unique(ps_json_tape_t *tape, uint32_t object)
{
    size_t           len;
    uint32_t         i, j, n, end, size;
    uint64_t        *h;
    const char      *name;
    ps_json_node_t  *nodes;

    nodes = tape->nodes;
    end = nodes[object].end;
    n = nodes[object].count;

    if (n <= PS_JSON_TAPE_FEW) {

        for (i = object + 1; i < end; i = nodes[i + 1].end) {
            for (j = nodes[i + 1].end; j < end; j = nodes[j + 1].end) {
                if (ps_json_tape_same(tape, i, j)) {
                    tape->error = nodes[j].pos;
                    return PS_JSON_DUPLICATE;
                }
            }
        }

        return PS_JSON_OK;
    }

    /* pairs of a hash and an index, sorted */

    if (tape->hashes_size < 2 * n) {
        size = 2 * n;

        h = realloc(tape->hashes, size * sizeof(uint64_t));
        if (h == NULL) {
            return PS_JSON_MEMORY;
        }

        tape->hashes = h;
        tape->hashes_size = size;
    }

    h = tape->hashes;

    for (i = object + 1; i < end; i = nodes[i + 1].end) {
        name = ps_json_tape_string(tape, i, &len);
        *h++ = ps_siphash(&tape->key, name, len);
        *h++ = i;
    }

    qsort(tape->hashes, n, 2 * sizeof(uint64_t), ps_json_tape_compare);

    for (i = 1, h = tape->hashes; i < n; i++, h += 2) {
        if (h[0] == h[2] && ps_json_tape_same(tape, (uint32_t) h[1],
                                              (uint32_t) h[3]))
        {
            tape->error = nodes[h[1] > h[3] ? h[1] : h[3]].pos;
            return PS_JSON_DUPLICATE;
        }
    }

    return PS_JSON_OK;
}


static int
ps_json_tape_same(const ps_json_tape_t *tape, uint32_t a, uint32_t b)
{
    size_t       len, other;
    const char  *one, *two;

    if (tape->nodes[a].count != tape->nodes[b].count) {
        return 0;
    }

    one = ps_json_tape_string(tape, a, &len);
    two = ps_json_tape_string(tape, b, &other);

    return memcmp(one, two, len) == 0;
}


static int
ps_json_tape_compare(const void *one, const void *two)
{
    const uint64_t  *a = one;
    const uint64_t  *b = two;

    return (*a > *b) - (*a < *b);
}
