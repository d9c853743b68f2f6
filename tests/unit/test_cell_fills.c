
/*
 * Who reads a cell: two that both believe to be the only one cost the
 * upstream a request, and a slot that is lost leaves followers waiting.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ps_cell_fills.h"


#define KEYS  300


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
    hash[0] = key * 2 + 1;
    hash[1] = key * 0x9e3779b97f4a7c15ULL >> 40;
}


static ps_cell_fills_t *
make(uint32_t n)
{
    ps_cell_fills_t  *fills;

    fills = malloc(ps_cell_fills_size(n));
    assert_non_null(fills);

    memset(fills, 0xa5, ps_cell_fills_size(n));
    ps_cell_fills_init(fills, n);

    return fills;
}


static void
test_calls(void **state)
{
    uint32_t          n;
    uint64_t          a[2] = { 1, 7 }, b[2] = { 2, 7 }, c[2] = { 1, 8 };
    ps_cell_fill_t   *slot;
    ps_cell_fills_t  *fills;

    /* also fewer slots than are looked at */

    for (n = 1; n <= 64; n *= 2) {
        fills = make(n);

        assert_null(ps_cell_fills_find(fills, a));

        slot = ps_cell_fills_claim(fills, a);
        assert_non_null(slot);
        assert_int_equal(slot->state, PS_CELL_FILL_FREE);
        assert_int_equal(slot->hash[0], 1);
        assert_int_equal(slot->hash[1], 7);
        assert_int_equal(slot->fill, 0);

        slot->state = PS_CELL_FILL_RUNS;
        slot->fill = 5;

        assert_ptr_equal(ps_cell_fills_find(fills, a), slot);
        assert_null(ps_cell_fills_find(fills, b));
        assert_null(ps_cell_fills_find(fills, c));

        /* its own again, as new */

        slot->status = 503;
        assert_ptr_equal(ps_cell_fills_claim(fills, a), slot);
        assert_int_equal(slot->state, PS_CELL_FILL_FREE);
        assert_int_equal(slot->status, 0);
        assert_int_equal(slot->hash[0], 1);

        free(fills);
    }
}


/* a fill that runs is never taken by another; what ended goes oldest first */

static void
test_full(void **state)
{
    uint64_t          i, hash[2];
    ps_cell_fill_t   *slot, *oldest;
    ps_cell_fills_t  *fills;

    fills = make(64);

    for (i = 0; i < 16; i++) {
        hash[0] = i;
        hash[1] = 60;                   /* round the end */

        slot = ps_cell_fills_claim(fills, hash);
        assert_non_null(slot);
        assert_true(slot >= fills->slot && slot < fills->slot + 64);
        slot->state = PS_CELL_FILL_RUNS;
        slot->fill = 100 + i;
    }

    hash[0] = 99;
    assert_null(ps_cell_fills_claim(fills, hash));

    /* others have room yet */

    hash[1] = 20;
    slot = ps_cell_fills_claim(fills, hash);
    assert_non_null(slot);

    for (i = 0; i < 16; i++) {
        hash[0] = i;
        hash[1] = 60;

        slot = ps_cell_fills_find(fills, hash);
        assert_non_null(slot);
        assert_int_equal(slot->fill, 100 + i);

        if (i == 9 || i == 4 || i == 12) {
            slot->state = (i == 12) ? PS_CELL_FILL_ODD : PS_CELL_FILL_FAILED;
        }
    }

    hash[0] = 4;
    oldest = ps_cell_fills_find(fills, hash);

    hash[0] = 99;
    assert_ptr_equal(ps_cell_fills_claim(fills, hash), oldest);

    hash[0] = 4;
    assert_null(ps_cell_fills_find(fills, hash));

    free(fills);
}


static void
test_model(void **state)
{
    uint64_t          key, id, n, refused, hash[2], fill[KEYS];
    ps_cell_fill_t   *slot;
    ps_cell_fills_t  *fills;

    memset(fill, 0, sizeof(fill));

    fills = make(256);
    id = 0;
    refused = 0;

    for (n = 0; n < 500000; n++) {
        key = draw(KEYS);
        hash_of(key, hash);

        slot = ps_cell_fills_find(fills, hash);

        if (fill[key]) {

            /* it runs: nobody may have taken its slot */

            assert_non_null(slot);
            assert_int_equal(slot->state, PS_CELL_FILL_RUNS);
            assert_int_equal(slot->fill, fill[key]);

            if (draw(3)) {
                slot->state = (uint16_t) (draw(2) ? PS_CELL_FILL_FAILED
                                                  : PS_CELL_FILL_FREE);
                fill[key] = 0;
            }

            continue;
        }

        if (slot) {
            assert_int_equal(slot->state, PS_CELL_FILL_FAILED);
        }

        slot = ps_cell_fills_claim(fills, hash);

        if (slot == NULL) {
            refused++;
            continue;
        }

        assert_int_equal(slot->hash[0], hash[0]);
        assert_int_equal(slot->hash[1], hash[1]);

        slot->state = PS_CELL_FILL_RUNS;
        slot->fill = ++id;
        fill[key] = id;
    }

    /* with seven of ten slots taken */

    assert_true(refused < n / 100);

    free(fills);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
