
/*
 * The budget's table: never more than the limit, the share of writes, turns
 * of clients, entries that run out, and what it learns; by plan and at
 * random.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../../modules/erp/ps_budget.h"


#define ROOM  64


static ps_budget_t *
table(void)
{
    ps_budget_t  *b;

    b = calloc(1, ps_budget_size(ROOM));
    assert_non_null(b);

    b->room = ROOM;

    return b;
}


static uint64_t
enter(ps_budget_t *b, ps_budget_limits_t *l, uint64_t client, int write,
    ps_budget_state_e state)
{
    uint64_t  id;

    assert_int_equal(ps_budget_enter(b, l, 1000, 9000, client, write, &id),
                     state);
    return id;
}


static void
test_limit_and_queue(void **state)
{
    uint64_t            a, w;
    ps_budget_t        *b = table();
    ps_budget_limits_t  l = { 1, 0, 1 };

    a = enter(b, &l, 1, 0, PS_BUDGET_HELD);
    w = enter(b, &l, 1, 0, PS_BUDGET_WAITING);
    (void) enter(b, &l, 1, 0, PS_BUDGET_FULL);

    ps_budget_leave(b, a);
    assert_int_equal(ps_budget_grant(b, &l, 1000), 1);
    assert_int_equal(ps_budget_look(b, w), PS_BUDGET_HELD);
    assert_int_equal(ps_budget_look(b, a), PS_BUDGET_NONE);

    free(b);
}


static void
test_share_of_writes(void **state)
{
    ps_budget_t        *b = table();
    ps_budget_limits_t  l = { 3, 1, 9 };

    (void) enter(b, &l, 1, 0, PS_BUDGET_HELD);
    (void) enter(b, &l, 1, 0, PS_BUDGET_HELD);
    (void) enter(b, &l, 1, 0, PS_BUDGET_WAITING);
    (void) enter(b, &l, 1, 1, PS_BUDGET_HELD);
    (void) enter(b, &l, 1, 1, PS_BUDGET_WAITING);

    free(b);
}


/* ten of one client wait; the first of another is second */

static void
test_turns(void **state)
{
    int                 i;
    uint64_t            first, many, few;
    ps_budget_t        *b = table();
    ps_budget_limits_t  l = { 1, 0, 20 };

    first = enter(b, &l, 1, 0, PS_BUDGET_HELD);
    many = enter(b, &l, 1, 0, PS_BUDGET_WAITING);

    for (i = 0; i < 9; i++) {
        (void) enter(b, &l, 1, 0, PS_BUDGET_WAITING);
    }

    few = enter(b, &l, 2, 0, PS_BUDGET_WAITING);

    ps_budget_leave(b, first);
    (void) ps_budget_grant(b, &l, 1000);
    assert_int_equal(ps_budget_look(b, many), PS_BUDGET_HELD);

    ps_budget_leave(b, many);
    (void) ps_budget_grant(b, &l, 1000);
    assert_int_equal(ps_budget_look(b, few), PS_BUDGET_HELD);

    free(b);
}


static void
test_runs_out(void **state)
{
    uint64_t            a, w;
    ps_budget_t        *b = table();
    ps_budget_limits_t  l = { 1, 0, 9 };

    a = enter(b, &l, 1, 0, PS_BUDGET_HELD);
    w = enter(b, &l, 1, 0, PS_BUDGET_WAITING);

    ps_budget_renew(b, w, 20000);
    assert_int_equal(ps_budget_grant(b, &l, 8999), 0);
    assert_int_equal(ps_budget_count(b, PS_BUDGET_HELD, 8999), 1);
    assert_int_equal(ps_budget_count(b, PS_BUDGET_HELD, 9000), 0);
    assert_int_equal(ps_budget_grant(b, &l, 9000), 1);
    assert_int_equal(ps_budget_look(b, a), PS_BUDGET_NONE);
    assert_int_equal(ps_budget_look(b, w), PS_BUDGET_HELD);

    free(b);
}


/*
 * A process may die at each step of a removal: whoever else has a place keeps
 * it, with its id, for as long as it renews it and no longer.
 */

static void
test_removal_cut_short(void **state)
{
    int                 step;
    uint64_t            a, z;
    ps_budget_t        *b;
    ps_budget_entry_t  *e, *last;
    ps_budget_limits_t  l = { 3, 0, 9 };

    for (step = 0; step < 4; step++) {
        b = table();

        a = enter(b, &l, 1, 0, PS_BUDGET_HELD);
        (void) enter(b, &l, 2, 0, PS_BUDGET_HELD);
        z = enter(b, &l, 3, 1, PS_BUDGET_HELD);

        e = &b->entry[0];
        last = &b->entry[2];
        assert_int_equal(e->id, a);
        assert_int_equal(last->id, z);

        /* as ps_budget_remove() goes about it */

        e->state = PS_BUDGET_NONE;

        if (step > 0) {
            e->id = last->id;
        }

        if (step > 1) {
            *e = *last;
            e->state = PS_BUDGET_NONE;
        }

        if (step > 2) {
            e->state = last->state;
        }

        /* its holder notices nothing */

        assert_int_equal(ps_budget_look(b, z), PS_BUDGET_HELD);
        ps_budget_renew(b, z, 20000);

        /* the place that was left is free, no other is */

        (void) enter(b, &l, 4, 0, PS_BUDGET_HELD);
        (void) enter(b, &l, 5, 0, PS_BUDGET_WAITING);
        assert_int_equal(ps_budget_count(b, PS_BUDGET_HELD, 1000), 3);

        /* the others run out, this one does not */

        assert_int_equal(ps_budget_grant(b, &l, 10000), 0);
        assert_int_equal(ps_budget_count(b, PS_BUDGET_HELD, 10000), 1);
        assert_int_equal(ps_budget_look(b, z), PS_BUDGET_HELD);

        ps_budget_leave(b, z);
        assert_int_equal(ps_budget_count(b, PS_BUDGET_HELD, 10000), 0);
        assert_int_equal(b->n, 0);

        free(b);
    }
}


/* the same, where its holder is the next to do anything */

static void
test_leaves_twice(void **state)
{
    uint64_t            z;
    ps_budget_t        *b = table();
    ps_budget_limits_t  l = { 3, 0, 9 };

    (void) enter(b, &l, 1, 0, PS_BUDGET_HELD);
    z = enter(b, &l, 3, 1, PS_BUDGET_HELD);

    b->entry[0] = b->entry[1];

    ps_budget_leave(b, z);
    assert_int_equal(b->n, 0);

    free(b);
}


static void
test_narrow(void **state)
{
    ps_budget_narrow_t  n = { 0, 0, 0 };

    assert_int_equal(ps_budget_level(&n, 8, 1), 8);
    assert_true(ps_budget_narrow(&n, 8, 1000, 3000));
    assert_false(ps_budget_narrow(&n, 8, 1999, 3000));
    assert_int_equal(ps_budget_level(&n, 8, 3999), 4);
    assert_int_equal(ps_budget_level(&n, 8, 4000), 5);
    assert_int_equal(ps_budget_level(&n, 8, 6500), 7);
    assert_int_equal(ps_budget_level(&n, 8, 99999), 8);
    assert_true(ps_budget_narrow(&n, 1, 99999, 1000));
    assert_int_equal(ps_budget_level(&n, 1, 99999), 1);
}


/* whatever comes, goes and runs out: nobody is lost, nothing exceeded */

static void
test_random(void **state)
{
    int                 i;
    unsigned            k, n, held, reads;
    uint64_t            id[ROOM], now;
    ps_budget_t        *b = table();
    ps_budget_limits_t  l = { 5, 2, 20 };

    srand(7);
    n = 0;
    now = 1000;

    for (i = 0; i < 200000; i++) {
        now += rand() % 3;

        if (rand() % 2) {

            if (n < ROOM
                && ps_budget_enter(b, &l, now, now + 50 + rand() % 50,
                                   rand() % 4, rand() % 2, &id[n])
                   != PS_BUDGET_FULL)
            {
                n++;
            }

        } else if (n) {
            k = rand() % n;
            ps_budget_leave(b, id[k]);
            id[k] = id[--n];
            (void) ps_budget_grant(b, &l, now);
        }

        for (k = 0; k < n; /* void */) {
            if (ps_budget_look(b, id[k]) == PS_BUDGET_NONE) {
                id[k] = id[--n];
                continue;
            }

            k++;
        }

        held = 0;
        reads = 0;

        for (k = 0; k < b->n; k++) {
            if (b->entry[k].state == PS_BUDGET_HELD) {
                held++;
                reads += !b->entry[k].write;
            }
        }

        assert_int_equal(b->n, n);
        assert_true(held <= l.limit && reads <= l.limit - l.writes);
        assert_int_equal(held, ps_budget_count(b, PS_BUDGET_HELD, 0));
    }

    /* everybody gets a turn at last */

    while (n) {
        for (k = 0; k < n; k++) {
            if (ps_budget_look(b, id[k]) == PS_BUDGET_HELD) {
                break;
            }
        }

        assert_true(k < n);
        ps_budget_leave(b, id[k]);
        id[k] = id[--n];
        (void) ps_budget_grant(b, &l, 1);
    }

    free(b);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_limit_and_queue),
        cmocka_unit_test(test_share_of_writes),
        cmocka_unit_test(test_turns),
        cmocka_unit_test(test_runs_out),
        cmocka_unit_test(test_removal_cut_short),
        cmocka_unit_test(test_leaves_twice),
        cmocka_unit_test(test_narrow),
        cmocka_unit_test(test_random)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
