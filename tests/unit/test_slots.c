/*
 * Counts of what is under way: what is taken comes back once, each key and
 * kind by itself, what a dead process held is found, and one kind's share is
 * kept free for it.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ps_slots.h"


#define SIZE  (8 * 1024)


static uint64_t  dead;


static int
alive(uint64_t owner)
{
    return owner != dead;
}


static ps_slots_t *
make(size_t size)
{
    void        *mem;
    ps_slots_t  *slots;

    mem = malloc(size);
    assert_non_null(mem);

    slots = ps_slots_init(mem, size, (const uint8_t *) "0123456789abcdef");
    if (slots == NULL) {
        free(mem);
    }

    return slots;
}


static uint64_t
total(ps_slots_t *slots, uint64_t hash)
{
    uint64_t  use[PS_SLOTS_KINDS];

    ps_slots_use(slots, hash, use);

    return use[0] + use[1];
}


static void
test_too_small(void **state)
{
    assert_null(make(256));
}


static void
test_counts(void **state)
{
    uint64_t     a, b, use[PS_SLOTS_KINDS];
    ps_slots_t  *slots;

    slots = make(SIZE);
    a = ps_slots_hash(slots, "a", 1);
    b = ps_slots_hash(slots, "b", 1);
    assert_true(a != b);

    assert_int_equal(ps_slots_add(slots, a, 1, 0), 0);
    assert_int_equal(ps_slots_add(slots, a, 1, 0), 0);
    assert_int_equal(ps_slots_add(slots, a, 2, 1), 0);
    assert_int_equal(ps_slots_add(slots, b, 2, 1), 0);

    ps_slots_use(slots, a, use);
    assert_int_equal(use[0], 2);
    assert_int_equal(use[1], 1);
    assert_int_equal(total(slots, b), 1);

    /* not of that owner, not of that kind */

    ps_slots_remove(slots, a, 2, 0);
    ps_slots_remove(slots, a, 3, 0);
    assert_int_equal(total(slots, a), 3);

    ps_slots_remove(slots, a, 1, 0);
    ps_slots_remove(slots, a, 1, 0);
    ps_slots_remove(slots, a, 1, 0);
    assert_int_equal(total(slots, a), 1);

    ps_slots_remove(slots, a, 2, 1);
    assert_int_equal(total(slots, a), 0);
    assert_int_equal(total(slots, b), 1);

    free(slots);
}


static void
test_dead(void **state)
{
    uint64_t     a;
    ps_slots_t  *slots;

    slots = make(SIZE);
    a = ps_slots_hash(slots, "a", 1);

    assert_int_equal(ps_slots_add(slots, a, 1, 0), 0);
    assert_int_equal(ps_slots_add(slots, a, 2, 0), 0);
    assert_int_equal(ps_slots_add(slots, a, 2, 1), 0);

    dead = 3;
    assert_int_equal(ps_slots_reap(slots, a, alive), 0);

    dead = 2;
    assert_int_equal(ps_slots_reap(slots, a, alive), 2);
    assert_int_equal(total(slots, a), 1);

    free(slots);
}


/* no room is said, and nobody's count is lost by it */

static void
test_full(void **state)
{
    int          n, rc;
    char         key[16];
    uint64_t     hash[1000];
    ps_slots_t  *slots;

    slots = make(SIZE);

    for (n = 0; n < 1000; n++) {
        (void) snprintf(key, sizeof(key), "%d", n);
        hash[n] = ps_slots_hash(slots, key, strlen(key));

        rc = ps_slots_add(slots, hash[n], 7, 0);
        if (rc != 0) {
            break;
        }
    }

    assert_true(n >= PS_SLOTS_WINDOW && n < 1000);

    while (n--) {
        assert_int_equal(total(slots, hash[n]), 1);
        ps_slots_remove(slots, hash[n], 7, 0);
        assert_int_equal(total(slots, hash[n]), 0);
    }

    free(slots);
}


static void
test_fit(void **state)
{
    static const struct {
        uint64_t  use[2];
        unsigned  kind;
        uint64_t  limit, reserved;
        int       fits;
    } t[] = {
        { { 1, 0 }, 0, 1, 0, 1 },
        { { 2, 0 }, 0, 1, 0, 0 },
        { { 1, 0 }, 0, 0, 0, 0 },

        /* ten, of which three are for the other kind */

        { { 7, 0 }, 0, 10, 3, 1 },
        { { 8, 0 }, 0, 10, 3, 0 },
        { { 7, 2 }, 0, 10, 3, 1 },
        { { 7, 3 }, 0, 10, 3, 1 },
        { { 6, 4 }, 0, 10, 3, 1 },
        { { 7, 4 }, 0, 10, 3, 0 },

        /* who has the share may use all */

        { { 0, 10 }, 1, 10, 0, 1 },
        { { 7, 3 }, 1, 10, 0, 1 },
        { { 7, 4 }, 1, 10, 0, 0 },

        /* a share above the limit leaves nothing */

        { { 1, 0 }, 0, 10, 20, 0 }
    };

    size_t  i;

    for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        assert_int_equal(ps_slots_fit(t[i].use, t[i].kind, t[i].limit,
                                      t[i].reserved), t[i].fits);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_too_small),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_dead),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_fit)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
