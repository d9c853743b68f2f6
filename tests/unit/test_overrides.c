/*
 * Overrides: what was put is found under its kind and name until it is over
 * or removed, counts go on over changes, a full set says so and keeps what it
 * has, and readers never meet a set that is being built.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pthread.h>

#include <cmocka.h>

#include "ps_overrides.h"


#define NOW  1000000000ULL


static ps_overrides_t *
make(size_t size)
{
    void            *mem;
    ps_overrides_t  *o;

    mem = malloc(size);
    assert_non_null(mem);

    o = ps_overrides_init(mem, size, (const uint8_t *) "0123456789abcdef");
    if (o == NULL) {
        free(mem);
    }

    return o;
}


static ps_override_t
override(int kind, const char *text, uint32_t count, uint64_t until)
{
    ps_override_t  o;

    memset(&o, 0, sizeof(o));

    o.kind = (uint8_t) kind;
    o.len = (uint16_t) strlen(text);
    memcpy(o.text, text, o.len);
    o.until = until;
    o.rate.count = count;
    o.rate.period = 1;

    assert_int_equal(ps_gcra_limit(&o.limit, &o.rate, count), 0);

    return o;
}


static int
put(ps_overrides_t *set, int kind, const char *text, uint32_t count,
    uint64_t until)
{
    ps_override_t  o = override(kind, text, count, until);

    return ps_overrides_put(set, &o, NOW);
}


static uint32_t
rate(ps_overrides_t *set, int kind, const char *text, uint64_t now)
{
    ps_override_t  o;

    if (!ps_overrides_find(set, kind, text, strlen(text), now, &o)) {
        return 0;
    }

    assert_int_equal(o.limit.burst, o.rate.count);

    return o.rate.count;
}


static void
test_put_find_remove(void **state)
{
    ps_overrides_t  *set;

    assert_null(make(1000));
    set = make(16384);

    assert_int_equal(ps_overrides_number(set), 0);
    assert_int_equal(rate(set, PS_OVERRIDE_KEY, "a", NOW), 0);

    assert_int_equal(put(set, PS_OVERRIDE_KEY, "a", 1, PS_OVERRIDE_NEVER), 0);
    assert_int_equal(put(set, PS_OVERRIDE_PLAN, "a", 2, NOW + 10), 0);
    assert_int_equal(put(set, PS_OVERRIDE_ZONE, "", 3, PS_OVERRIDE_NEVER), 0);
    assert_int_equal(ps_overrides_number(set), 3);

    assert_int_equal(rate(set, PS_OVERRIDE_KEY, "a", NOW), 1);
    assert_int_equal(rate(set, PS_OVERRIDE_PLAN, "a", NOW), 2);
    assert_int_equal(rate(set, PS_OVERRIDE_ZONE, "", NOW), 3);
    assert_int_equal(rate(set, PS_OVERRIDE_KEY, "b", NOW), 0);
    assert_int_equal(rate(set, PS_OVERRIDE_KEY, "", NOW), 0);

    assert_int_equal(rate(set, PS_OVERRIDE_PLAN, "a", NOW + 10), 0);

    assert_int_equal(put(set, PS_OVERRIDE_KEY, "a", 9, PS_OVERRIDE_NEVER), 0);
    assert_int_equal(rate(set, PS_OVERRIDE_KEY, "a", NOW), 9);
    assert_int_equal(ps_overrides_number(set), 3);

    assert_int_equal(ps_overrides_remove(set, PS_OVERRIDE_KEY, "b", 1, NOW),
                     0);
    assert_int_equal(ps_overrides_remove(set, PS_OVERRIDE_KEY, "a", 1, NOW),
                     1);
    assert_int_equal(rate(set, PS_OVERRIDE_KEY, "a", NOW), 0);
    assert_int_equal(rate(set, PS_OVERRIDE_ZONE, "", NOW), 3);

    /* what is over goes with the next change */

    assert_int_equal(ps_overrides_remove(set, PS_OVERRIDE_ZONE, "", 0,
                                         NOW + 11), 1);
    assert_int_equal(ps_overrides_number(set), 0);

    free(set);
}


static void
test_counts(void **state)
{
    ps_override_t    o;
    ps_overrides_t  *set;

    set = make(16384);

    assert_int_equal(put(set, PS_OVERRIDE_KEY, "a", 1, PS_OVERRIDE_NEVER), 0);
    assert_int_equal(ps_overrides_find(set, PS_OVERRIDE_KEY, "a", 1, NOW, &o),
                     1);
    ps_overrides_use(set, &o, 0);
    ps_overrides_use(set, &o, 1);
    ps_overrides_use(set, &o, 1);

    assert_int_equal(put(set, PS_OVERRIDE_KEY, "b", 1, PS_OVERRIDE_NEVER), 0);
    assert_int_equal(put(set, PS_OVERRIDE_KEY, "a", 5, PS_OVERRIDE_NEVER), 0);

    assert_int_equal(ps_overrides_find(set, PS_OVERRIDE_KEY, "a", 1, NOW, &o),
                     1);
    assert_int_equal(o.passed, 1);
    assert_int_equal(o.refused, 2);

    /* one that is gone is not counted for another */

    assert_int_equal(ps_overrides_remove(set, PS_OVERRIDE_KEY, "a", 1, NOW),
                     1);
    ps_overrides_use(set, &o, 1);
    assert_int_equal(ps_overrides_find(set, PS_OVERRIDE_KEY, "b", 1, NOW, &o),
                     1);
    assert_int_equal(o.refused, 0);

    free(set);
}


static void
test_full(void **state)
{
    char             name[16];
    uint32_t         i, n;
    uint64_t         sum;
    ps_override_t    all[3], *copy;
    ps_overrides_t  *set;

    set = make(8192);
    n = ps_overrides_max(set);
    copy = calloc(n, sizeof(ps_override_t));
    assert_non_null(copy);

    for (i = 0; i < n; i++) {
        (void) snprintf(name, sizeof(name), "k%u", i);
        assert_int_equal(put(set, PS_OVERRIDE_KEY, name, i + 1,
                             PS_OVERRIDE_NEVER), 0);
    }

    assert_int_equal(put(set, PS_OVERRIDE_KEY, "more", 1, PS_OVERRIDE_NEVER),
                     -1);
    assert_int_equal(put(set, PS_OVERRIDE_KEY, "k0", 77, PS_OVERRIDE_NEVER),
                     0);

    for (i = 1; i < n; i++) {
        (void) snprintf(name, sizeof(name), "k%u", i);
        assert_int_equal(rate(set, PS_OVERRIDE_KEY, name, NOW), i + 1);
    }

    assert_int_equal(ps_overrides_copy(set, copy), n);

    for (i = 0, sum = 0; i < n; i++) {
        sum += copy[i].rate.count;
    }

    assert_int_equal(sum, n * (n + 1) / 2 - 1 + 77);

    all[0] = override(PS_OVERRIDE_KEY, "x", 1, PS_OVERRIDE_NEVER);
    all[1] = override(PS_OVERRIDE_KEY, "y", 2, NOW);
    all[2] = override(PS_OVERRIDE_PLAN, "z", 3, NOW + 1);

    assert_int_equal(ps_overrides_replace(set, all, 3, NOW), 0);
    assert_int_equal(ps_overrides_number(set), 2);
    assert_int_equal(rate(set, PS_OVERRIDE_KEY, "k1", NOW), 0);
    assert_int_equal(rate(set, PS_OVERRIDE_PLAN, "z", NOW), 3);

    assert_int_equal(ps_overrides_copy(set, copy), 2);

    free(copy);
    free(set);
}


static ps_overrides_t  *shared;
static int              stop;


static void *
reader(void *data)
{
    ps_override_t  o;

    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {

        /* always there, and always whole */

        if (!ps_overrides_find(shared, PS_OVERRIDE_KEY, "a", 1, NOW, &o)
            || o.limit.burst != o.rate.count)
        {
            return (void *) 1;
        }
    }

    return NULL;
}


static void
test_race(void **state)
{
    int        i, k;
    void      *rc;
    char       name[16];
    pthread_t  thread[2];

    shared = make(8192);
    assert_int_equal(put(shared, PS_OVERRIDE_KEY, "a", 1, PS_OVERRIDE_NEVER),
                     0);

    for (i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&thread[i], NULL, reader, NULL), 0);
    }

    for (i = 0; i < 5000; i++) {
        (void) snprintf(name, sizeof(name), "k%d", i % 10);
        (void) put(shared, PS_OVERRIDE_KEY, name, i + 1, PS_OVERRIDE_NEVER);
        (void) put(shared, PS_OVERRIDE_KEY, "a", i + 1, PS_OVERRIDE_NEVER);
    }

    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);

    for (k = 0; k < 2; k++) {
        assert_int_equal(pthread_join(thread[k], &rc), 0);
        assert_null(rc);
    }

    free(shared);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_put_find_remove),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_race)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
