
/*
 * Cells in a ring: whatever is inserted, used, replaced and deleted, a cell
 * that is found is the one put there, byte for byte; what goes is the oldest;
 * and a million of them fit where 96 bytes each are added to their values.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ps_cell_table.h"


#define KEYS  4096


/* what a cell should be: its bytes follow from the version */

typedef struct {
    uint64_t   stamp;                   /* when it came to the head, */
    uint64_t   latest;                  /* for sure, or at the latest */
    uint32_t   version;
    uint32_t   len;
    uint16_t   ntags;
    uint8_t    held;
} model_t;


static uint64_t  seed = 88172645463325252ULL;


static uint64_t
draw(uint64_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;

    return (seed >> 11) % n;
}


static void
hash_of(uint64_t key, uint64_t hash[2])
{
    hash[0] = (key + 1) * 0x9e3779b97f4a7c15ULL;
    hash[0] ^= hash[0] >> 29;
    hash[1] = (key + 7) * 0xbf58476d1ce4e5b9ULL;
}


static uint8_t
byte_of(uint32_t version, uint64_t i)
{
    return (uint8_t) (version * 31 + i * 7 + (i >> 8));
}


static ps_cell_t *
put(ps_cell_table_t *table, uint64_t key, uint32_t version, uint32_t len,
    uint16_t ntags)
{
    char       *value;
    uint32_t   *tags;
    uint64_t    i;
    ps_cell_t   head, *cell;

    memset(&head, 0, sizeof(head));

    hash_of(key, head.hash);
    head.created = 1700000000000ULL + version;
    head.seq = version * 3ULL;
    head.envelope = version * 5ULL;
    head.checked = version;
    head.made_by = version + 1;
    head.fresh = version + 2;
    head.while_revalidate = version + 3;
    head.if_error = version + 4;
    head.tag[0] = version + 5;
    head.tag[1] = version + 6;
    head.len = len;
    head.ntags = ntags;
    head.flags = PS_CELL_PLAIN;

    /* what the table keeps for itself does not come from the caller */

    head.next = 0xdeadbeef;
    head.flags |= (version & 1) ? PS_CELL_DEAD : 0;

    cell = ps_cell_insert(table, &head);
    if (cell == NULL) {
        return NULL;
    }

    tags = ps_cell_tags(cell);
    value = ps_cell_value(cell);

    for (i = 0; i < ntags; i++) {
        tags[i] = version ^ (uint32_t) i;
    }

    for (i = 0; i < len; i++) {
        value[i] = (char) byte_of(version, i);
    }

    return cell;
}


static void
is(ps_cell_t *cell, uint64_t key, uint32_t version, uint32_t len,
    uint16_t ntags)
{
    char      *value;
    uint32_t  *tags;
    uint64_t   i, hash[2];

    assert_int_equal((uintptr_t) cell % 8, 0);

    hash_of(key, hash);
    assert_int_equal(cell->hash[0], hash[0]);
    assert_int_equal(cell->hash[1], hash[1]);

    assert_int_equal(cell->created, 1700000000000ULL + version);
    assert_int_equal(cell->seq, version * 3ULL);
    assert_int_equal(cell->envelope, version * 5ULL);
    assert_int_equal(cell->checked, version);
    assert_int_equal(cell->made_by, version + 1);
    assert_int_equal(cell->fresh, version + 2);
    assert_int_equal(cell->while_revalidate, version + 3);
    assert_int_equal(cell->if_error, version + 4);
    assert_int_equal(cell->tag[0], version + 5);
    assert_int_equal(cell->tag[1], version + 6);
    assert_int_equal(cell->len, len);
    assert_int_equal(cell->ntags, ntags);
    assert_int_equal(cell->flags, PS_CELL_PLAIN);

    tags = ps_cell_tags(cell);
    value = ps_cell_value(cell);

    for (i = 0; i < ntags; i++) {
        if (tags[i] != (version ^ (uint32_t) i)) {
            fail_msg("tag %d of key %d", (int) i, (int) key);
        }
    }

    for (i = 0; i < len; i++) {
        if (value[i] != (char) byte_of(version, i)) {
            fail_msg("byte %d of key %d", (int) i, (int) key);
        }
    }
}


static ps_cell_t *
find(ps_cell_table_t *table, uint64_t key)
{
    uint64_t  hash[2];

    hash_of(key, hash);

    return ps_cell_find(table, hash);
}


static void
test_calls(void **state)
{
    void             *mem;
    uint64_t          a[2], hash[2];
    ps_cell_t        *cell, head;
    ps_cell_table_t  *table;

    mem = malloc(PS_CELL_MIN_SIZE);
    memset(mem, 0xa5, PS_CELL_MIN_SIZE);

    assert_null(ps_cell_table_init(mem, PS_CELL_MIN_SIZE - 1));

    table = ps_cell_table_init(mem, PS_CELL_MIN_SIZE);
    assert_non_null(table);

    assert_int_equal(ps_cell_table_entries(table), 0);
    assert_int_equal(ps_cell_table_evictions(table), 0);
    assert_int_equal(ps_cell_table_used(table), 0);
    assert_true(ps_cell_table_room(table) > PS_CELL_MIN_SIZE * 9 / 10);
    assert_null(find(table, 1));

    put(table, 1, 10, 5, 2);
    put(table, 2, 11, 0, 0);
    assert_int_equal(ps_cell_table_entries(table), 2);
    is(find(table, 1), 1, 10, 5, 2);
    is(find(table, 2), 2, 11, 0, 0);

    /* one a key */

    put(table, 1, 12, 70, 0);
    assert_int_equal(ps_cell_table_entries(table), 2);
    is(find(table, 1), 1, 12, 70, 0);

    ps_cell_delete(table, find(table, 1));
    assert_null(find(table, 1));
    assert_int_equal(ps_cell_table_entries(table), 1);
    is(find(table, 2), 2, 11, 0, 0);

    /* both halves of a hash count, in one bucket too */

    memset(&head, 0, sizeof(head));
    hash_of(2, hash);

    head.hash[0] = hash[0];
    head.hash[1] = hash[1] ^ 1;
    ps_cell_insert(table, &head);

    head.hash[0] = hash[0] ^ 1ULL << 63;
    head.hash[1] = hash[1];
    ps_cell_insert(table, &head);

    assert_int_equal(ps_cell_table_entries(table), 3);
    is(find(table, 2), 2, 11, 0, 0);

    /* from the middle of a chain, from its ends */

    a[0] = hash[0];
    a[1] = hash[1] ^ 1;
    cell = ps_cell_find(table, a);
    assert_non_null(cell);
    ps_cell_delete(table, cell);
    assert_null(ps_cell_find(table, a));
    assert_non_null(ps_cell_find(table, head.hash));
    is(find(table, 2), 2, 11, 0, 0);
    ps_cell_delete(table, find(table, 2));
    assert_non_null(ps_cell_find(table, head.hash));
    ps_cell_delete(table, ps_cell_find(table, head.hash));
    assert_int_equal(ps_cell_table_entries(table), 0);

    /* an eighth at most; and the old one is no longer true */

    put(table, 3, 13, 8, 0);
    assert_null(put(table, 3, 14, PS_CELL_MIN_SIZE / 8, 0));
    assert_null(find(table, 3));
    assert_null(put(table, 3, 14, UINT32_MAX, 0));
    assert_null(put(table, 3, 14, UINT32_MAX, UINT16_MAX));
    assert_null(put(table, 3, 14, 0, UINT16_MAX));
    assert_int_equal(ps_cell_table_entries(table), 0);

    put(table, 4, 15, 8, 0);
    ps_cell_table_reset(table);
    assert_null(find(table, 4));
    assert_int_equal(ps_cell_table_entries(table), 0);
    assert_int_equal(ps_cell_table_used(table), 0);

    free(mem);
}


/* in a full ring the oldest cell may be moved to the head where it lies */

static int
is_oldest(ps_cell_table_t *table, const model_t *model, unsigned keys,
    uint64_t key)
{
    unsigned  i;

    for (i = 0; i < keys; i++) {
        if (model[i].held && model[i].stamp < model[key].stamp
            && find(table, i))
        {
            return 0;
        }
    }

    return 1;
}


/*
 * A table against a plain list of what was done to it.  largest: bytes of
 * value at most.
 */

static void
play(size_t size, unsigned keys, uint32_t largest, unsigned steps)
{
    void             *mem;
    uint32_t          len, version;
    uint64_t          clock, key, evicted, evictions, gone, live, bytes, i;
    unsigned          n;
    uint16_t          ntags;
    ps_cell_t        *cell, *moved;
    ps_cell_table_t  *table;
    static model_t    model[KEYS];

    memset(model, 0, sizeof(model));

    mem = malloc(size);
    table = ps_cell_table_init(mem, size);
    assert_non_null(table);

    clock = 0;
    version = 0;
    evicted = 0;                        /* stamp of the youngest that went */
    gone = 0;                           /* seen to have gone */
    bytes = 0;

    for (n = 0; n < steps; n++) {

        key = draw(keys);
        cell = find(table, key);

        /* it is what was put there, or went for others */

        if (cell) {
            assert_true(model[key].held);
            is(cell, key, model[key].version, model[key].len,
               model[key].ntags);

        } else if (model[key].held) {
            model[key].held = 0;
            gone++;

            if (model[key].stamp > evicted) {
                evicted = model[key].stamp;
            }
        }

        switch (draw(8)) {

        case 0:
            if (cell) {
                ps_cell_delete(table, cell);
                model[key].held = 0;
            }
            break;

        case 1:
        case 2:
        case 3:
            if (cell) {
                ps_cell_touch(table, cell);

                moved = find(table, key);
                assert_non_null(moved);
                is(moved, key, model[key].version, model[key].len,
                   model[key].ntags);

                if (moved != cell) {
                    model[key].stamp = ++clock;
                    model[key].latest = clock;

                } else if (is_oldest(table, model, keys, key)) {
                    model[key].latest = ++clock;
                }
            }
            break;

        default:
            len = draw(16) ? (uint32_t) draw(64)
                           : (uint32_t) draw(largest + 1);
            ntags = (uint16_t) (draw(4) ? 0 : draw(6));

            version++;

            if (put(table, key, version, len, ntags) == NULL) {
                assert_true(PS_CELL_BYTES + len + ntags * 4 + 7
                            > ps_cell_table_room(table) / 8);
                model[key].held = 0;
                break;
            }

            bytes += PS_CELL_BYTES + len + ntags * 4;

            model[key].held = 1;
            model[key].stamp = ++clock;
            model[key].latest = clock;
            model[key].version = version;
            model[key].len = len;
            model[key].ntags = ntags;
        }

        assert_true(ps_cell_table_used(table) <= ps_cell_table_room(table));

        if (n % 1024 != 0 && n != steps - 1) {
            continue;
        }

        /* all of them; those that went are older than all that did not */

        live = 0;

        for (i = 0; i < keys; i++) {
            cell = find(table, i);

            if (cell) {
                assert_true(model[i].held);
                is(cell, i, model[i].version, model[i].len, model[i].ntags);
                live++;

            } else if (model[i].held) {
                model[i].held = 0;
                gone++;

                if (model[i].stamp > evicted) {
                    evicted = model[i].stamp;
                }
            }
        }

        for (i = 0; i < keys; i++) {
            if (model[i].held) {
                assert_true(model[i].latest > evicted);
            }
        }

        assert_int_equal(ps_cell_table_entries(table), live);
    }

    /* each that went was seen, as each step looks for its key first */

    evictions = ps_cell_table_evictions(table);
    assert_int_equal(evictions, gone);

    printf("%zu bytes, %u keys: %.1f times round, %d evictions\n", size, keys,
           (double) bytes / (double) ps_cell_table_room(table),
           (int) evictions);

    free(mem);
}


static void
test_model(void **state)
{
    play(PS_CELL_MIN_SIZE, 16, 9000, 60000);
    play(PS_CELL_MIN_SIZE, 300, 200, 60000);
    play(PS_CELL_MIN_SIZE, 1000, 8100, 100000);
    play(PS_CELL_MIN_SIZE + 8, KEYS, 0, 60000);
    play(PS_CELL_MIN_SIZE + 13, KEYS, 2000, 60000);
    play(256 * 1024, KEYS, 33000, 100000);
    play(1024 * 1024, KEYS, 1000, 100000);
}


/* cells of sizes that meet the ring's end in each way */

static void
test_ends(void **state)
{
    void             *mem;
    uint32_t          i, len;
    unsigned          round;
    ps_cell_t        *cell;
    ps_cell_table_t  *table;

    mem = malloc(PS_CELL_MIN_SIZE);

    for (len = 0; len < 8100; len += 1 + len / 16) {

        table = ps_cell_table_init(mem, PS_CELL_MIN_SIZE);
        i = 0;

        for (round = 0; round < 3; round++) {

            do {
                i++;
                cell = put(table, i, i, len, 0);

                if (cell == NULL) {
                    assert_true(PS_CELL_BYTES + len + 7
                                > ps_cell_table_room(table) / 8);
                    break;
                }

                is(find(table, i), i, i, len, 0);

                /* the one before, and the oldest, are used */

                if (i > 1) {
                    ps_cell_touch(table, find(table, i - 1));
                    is(find(table, i - 1), i - 1, i - 1, len, 0);
                }

                cell = find(table, i - ps_cell_table_entries(table) + 1);

                if (cell) {
                    ps_cell_touch(table, cell);
                }

                assert_non_null(find(table, i));

            } while (ps_cell_table_evictions(table)
                     < (round + 1) * ps_cell_table_entries(table));
        }
    }

    free(mem);
}


/* what is used goes on, while a hundred times the room goes by */

static void
test_used(void **state)
{
    void             *mem;
    uint32_t          i, k;
    ps_cell_t        *cell;
    ps_cell_table_t  *table;

    mem = malloc(PS_CELL_MIN_SIZE);
    table = ps_cell_table_init(mem, PS_CELL_MIN_SIZE);

    for (k = 0; k < 50; k++) {
        put(table, k, k, 40, 1);
    }

    for (i = 1000; i < 101000; i++) {
        put(table, i, i, 40, 1);

        /* each of the fifty once in a hundred others */

        k = i % 100;

        if (k < 50) {
            cell = find(table, k);
            assert_non_null(cell);
            is(cell, k, k, 40, 1);
            ps_cell_touch(table, cell);
        }
    }

    for (k = 0; k < 50; k++) {
        assert_non_null(find(table, k));
    }

    /* and one that is not goes */

    assert_null(find(table, 1000));
    assert_non_null(find(table, i - 300));

    free(mem);
}


/* the same cells over and over: those that were replaced make the room */

static void
test_replaced(void **state)
{
    void             *mem;
    uint32_t          i, round;
    ps_cell_table_t  *table;

    mem = malloc(PS_CELL_MIN_SIZE);
    table = ps_cell_table_init(mem, PS_CELL_MIN_SIZE);

    for (round = 0; round < 200; round++) {
        for (i = 0; i < 400; i++) {
            put(table, i, round * 1000 + i, 48, 0);
        }

        assert_int_equal(ps_cell_table_entries(table), 400);
        assert_int_equal(ps_cell_table_evictions(table), 0);
    }

    free(mem);
}


static void
test_million(void **state)
{
    void             *mem;
    size_t            size;
    uint32_t          i, len;
    uint64_t          values;
    ps_cell_table_t  *table;

    static const unsigned  n = 1000000;

    /* values of 60 to 180 bytes, as an upstream's elements are */

    values = 0;

    for (i = 0; i < n; i++) {
        values += 60 + i * 7919ULL % 121;
    }

    size = values + n * 96ULL;

    mem = malloc(size);
    assert_non_null(mem);

    table = ps_cell_table_init(mem, size);

    for (i = 0; i < n; i++) {
        assert_non_null(put(table, i, i, 60 + i * 7919ULL % 121, 0));
    }

    assert_int_equal(ps_cell_table_entries(table), n);
    assert_int_equal(ps_cell_table_evictions(table), 0);

    printf("a million cells: %.1f bytes each beside the value\n",
           (double) (ps_cell_table_used(table) + size
                     - ps_cell_table_room(table) - values) / n);

    for (i = 0; i < n; i += 1 + draw(5)) {
        len = 60 + i * 7919ULL % 121;
        is(find(table, i), i, i, len, 0);
    }

    assert_null(find(table, n));

    free(mem);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_used),
        cmocka_unit_test(test_replaced),
        cmocka_unit_test(test_million),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
