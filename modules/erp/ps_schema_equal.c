
/*
 * Equality as JSON Schema has it: numbers by their value, objects whatever
 * the order of their members.
 */

#include "ps_schema_node.h"

#include <stdlib.h>
#include <string.h>


/* so many elements are compared each with each, where none holds others */

#define PS_SCHEMA_FEW  8


typedef struct {
    uint64_t               sum[2];
    uint32_t               index;
} ps_schema_digest_t;


typedef struct {
    const ps_json_tape_t  *tape;
    char                  *digits;           /* of numbers, as needed */
    size_t                 size;
    int                    failed;
} ps_schema_hash_t;


static void ps_schema_hash(ps_schema_hash_t *h, uint32_t i, uint64_t sum[2]);
static void ps_schema_hash_number(ps_schema_hash_t *h, uint32_t i,
    uint64_t sum[2]);
static int ps_schema_compare_digests(const void *one, const void *two);
static uint32_t ps_schema_repeated_few(const ps_json_tape_t *tape,
    uint32_t array);


/*
 * The depth of the recursion is that of the shallower one.  Objects are
 * looked into when they have as many members: the caller has one of the two
 * from a file, and no large ones are in there.
 */

int
ps_schema_equal(const ps_json_tape_t *one, uint32_t a,
    const ps_json_tape_t *two, uint32_t b)
{
    size_t                 len, n;
    uint32_t               i, j;
    ps_number_t            x, y;
    const char            *text, *other;
    const ps_json_node_t  *p, *q;

    p = &one->nodes[a];
    q = &two->nodes[b];

    if (p->type != q->type) {
        return 0;
    }

    switch (p->type) {

    case PS_JSON_NUMBER:
        ps_number_read(&x, one->text + p->pos, p->len);
        ps_number_read(&y, two->text + q->pos, q->len);

        return ps_number_compare(&x, &y) == 0;

    case PS_JSON_STRING:
        text = ps_json_tape_string(one, a, &len);
        other = ps_json_tape_string(two, b, &n);

        return len == n && memcmp(text, other, n) == 0;

    case PS_JSON_ARRAY:

        if (p->count != q->count) {
            return 0;
        }

        for (i = a + 1, j = b + 1;
             i < p->end;
             i = one->nodes[i].end, j = two->nodes[j].end)
        {
            if (!ps_schema_equal(one, i, two, j)) {
                return 0;
            }
        }

        return 1;

    case PS_JSON_OBJECT:

        if (p->count != q->count) {
            return 0;
        }

        for (i = a + 1; i < p->end; i = one->nodes[i + 1].end) {
            text = ps_json_tape_string(one, i, &len);
            j = ps_json_tape_get(two, b, text, len);

            if (j == 0 || !ps_schema_equal(one, i + 1, two, j)) {
                return 0;
            }
        }

        return 1;

    default: /* null, false, true */
        return 1;
    }
}


/*
 * With a secret key nobody can make two values of one hash, so that those of
 * one hash are equal.
 */

uint32_t
ps_schema_repeated(const ps_json_tape_t *tape, uint32_t array,
    int64_t *budget)
{
    uint32_t               at, n, found;
    ps_schema_hash_t       h;
    ps_schema_digest_t    *digests;
    const ps_json_node_t  *nodes;

    nodes = tape->nodes;
    n = nodes[array].count;

    if (n < 2) {
        return 0;
    }

    *budget -= nodes[array].end - array + nodes[array].len / 32;

    if (n <= PS_SCHEMA_FEW && nodes[array].end - array == n + 1) {
        return ps_schema_repeated_few(tape, array);
    }

    h.tape = tape;
    h.digits = NULL;
    h.size = 0;
    h.failed = 0;

    digests = malloc(n * sizeof(ps_schema_digest_t));
    if (digests == NULL) {
        return UINT32_MAX;
    }

    n = 0;

    for (at = array + 1; at < nodes[array].end; at = nodes[at].end) {
        ps_schema_hash(&h, at, digests[n].sum);
        digests[n].index = n;
        n++;
    }

    qsort(digests, n, sizeof(ps_schema_digest_t), ps_schema_compare_digests);

    found = h.failed ? UINT32_MAX : 0;

    for (at = 1; at < n && found == 0; at++) {
        if (digests[at].sum[0] == digests[at - 1].sum[0]
            && digests[at].sum[1] == digests[at - 1].sum[1])
        {
            found = digests[at].index;
        }
    }

    free(h.digits);
    free(digests);

    return found;
}


static uint32_t
ps_schema_repeated_few(const ps_json_tape_t *tape, uint32_t array)
{
    uint32_t  i, j, n;

    n = tape->nodes[array].count;

    for (i = 1; i < n; i++) {
        for (j = 0; j < i; j++) {
            if (ps_schema_equal(tape, array + 1 + i, tape, array + 1 + j)) {
                return i;
            }
        }
    }

    return 0;
}


static void
ps_schema_hash(ps_schema_hash_t *h, uint32_t i, uint64_t sum[2])
{
    size_t                 len;
    uint32_t               at;
    uint64_t               parts[7], member[2];
    const char            *text;
    const ps_json_node_t  *node, *nodes;

    nodes = h->tape->nodes;
    node = &nodes[i];

    memset(parts, 0, sizeof(parts));
    parts[0] = node->type;

    switch (node->type) {

    case PS_JSON_NUMBER:
        ps_schema_hash_number(h, i, &parts[1]);
        break;

    case PS_JSON_STRING:
        text = ps_json_tape_string(h->tape, i, &len);
        ps_siphash128(&h->tape->key, text, len, &parts[1]);
        break;

    case PS_JSON_ARRAY:

        for (at = i + 1; at < node->end; at = nodes[at].end) {
            ps_schema_hash(h, at, &parts[3]);
            ps_siphash128(&h->tape->key, parts, sizeof(parts), &parts[1]);
        }

        parts[3] = 0;
        parts[4] = 0;
        break;

    case PS_JSON_OBJECT:

        /* a sum, so that the order is nothing */

        for (at = i + 1; at < node->end; at = nodes[at + 1].end) {
            uint64_t  pair[4];

            text = ps_json_tape_string(h->tape, at, &len);
            ps_siphash128(&h->tape->key, text, len, pair);
            ps_schema_hash(h, at + 1, pair + 2);
            ps_siphash128(&h->tape->key, pair, sizeof(pair), member);

            parts[1] += member[0];
            parts[2] += member[1];
        }

        break;

    default:
        break;
    }

    parts[5] = node->type >= PS_JSON_ARRAY ? node->count : 0;
    parts[6] = node->type;

    ps_siphash128(&h->tape->key, parts, sizeof(parts), sum);
}


static void
ps_schema_hash_number(ps_schema_hash_t *h, uint32_t i, uint64_t sum[2])
{
    char                  *digits;
    size_t                 n, room;
    uint64_t               parts[4];
    ps_number_t            number;
    const ps_json_node_t  *node;

    node = &h->tape->nodes[i];

    ps_number_read(&number, h->tape->text + node->pos, node->len);

    room = number.nhead + number.ntail;

    if (room > h->size) {
        digits = realloc(h->digits, room);

        if (digits == NULL) {
            h->failed = 1;
            sum[0] = sum[1] = 0;
            return;
        }

        h->digits = digits;
        h->size = room;
    }

    n = room ? ps_number_digits(&number, h->digits) : 0;

    ps_siphash128(&h->tape->key, h->digits, n, parts);

    parts[2] = (uint64_t) number.exponent;
    parts[3] = (uint64_t) number.negative;

    ps_siphash128(&h->tape->key, parts, sizeof(parts), sum);
}


static int
ps_schema_compare_digests(const void *one, const void *two)
{
    const ps_schema_digest_t  *a = one;
    const ps_schema_digest_t  *b = two;

    if (a->sum[0] != b->sum[0]) {
        return a->sum[0] < b->sum[0] ? -1 : 1;
    }

    if (a->sum[1] != b->sum[1]) {
        return a->sum[1] < b->sum[1] ? -1 : 1;
    }

    return (a->index > b->index) - (a->index < b->index);
}
