
/*
 * The table of GCRA states: a million keys in 32 MB keep their own counts,
 * eviction takes idle entries first, and threads that claim and debit the
 * same keys at the same time admit exactly the burst.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <pthread.h>
#include <stdatomic.h>
#include <cmocka.h>

#include "../../modules/ratelimit/ps_gcra_table.h"


#define THREADS  4
#define KEYS     3000
#define BURST    5


static const uint8_t  key[PS_SIPHASH_KEY_LEN] = "0123456789abcde";

static ps_gcra_table_t  *shared;
static _Atomic int       admitted[KEYS];
static _Atomic int       forgotten;


static ps_gcra_t
limit(const char *text, uint64_t burst)
{
    ps_gcra_t       g;
    ps_gcra_rate_t  rate;

    assert_int_equal(ps_gcra_rate(text, strlen(text), &rate), 0);
    assert_int_equal(ps_gcra_limit(&g, &rate, burst), 0);

    return g;
}


static void
test_calls(void **state)
{
    void             *mem;
    uint64_t          hash, now;
    ps_gcra_t         g, h;
    ps_gcra_table_t  *table;
    ps_gcra_result_t  res;

    (void) state;

    mem = aligned_alloc(128, 8192);
    memset(mem, 0xa5, 8192);

    assert_null(ps_gcra_table_init(mem, PS_GCRA_TABLE_MIN - 1, key));

    table = ps_gcra_table_init(mem, 8192, key);
    assert_non_null(table);
    assert_int_equal(ps_gcra_table_capacity(table), (8192 - 128) / 16);

    g = limit("1r/h", 3);
    hash = ps_gcra_table_hash(table, "shop-1", 6);
    now = 5000;

    assert_int_equal(ps_gcra_table_backlog(table, hash, &g, now), 0);

    /* a peek leaves no trace */

    ps_gcra_table_peek(table, hash, &g, now, 1, &res);
    assert_true(res.allowed);
    assert_int_equal(res.remaining, 3);
    assert_int_equal(ps_gcra_table_backlog(table, hash, &g, now), 0);

    assert_int_equal(ps_gcra_table_take(table, hash, &g, now, 2, &res), 0);
    assert_true(res.allowed);
    assert_int_equal(res.remaining, 1);

    ps_gcra_table_peek(table, hash, &g, now, 2, &res);
    assert_false(res.allowed);
    assert_int_equal(res.retry, g.interval);

    ps_gcra_table_peek(table, hash, &g, now, 1, &res);
    assert_true(res.allowed);
    assert_int_equal(res.remaining, 1);

    ps_gcra_table_refund(table, hash, g.interval);
    ps_gcra_table_take(table, hash, &g, now, 2, &res);
    assert_true(res.allowed);
    assert_int_equal(res.remaining, 0);

    /* a refund never makes more than a burst */

    ps_gcra_table_refund(table, hash, UINT64_MAX);
    ps_gcra_table_peek(table, hash, &g, now, 0, &res);
    assert_int_equal(res.remaining, 3);

    ps_gcra_table_raise(table, hash, now, now + 2 * g.interval);
    ps_gcra_table_raise(table, hash, now, now + g.interval);
    ps_gcra_table_peek(table, hash, &g, now, 0, &res);
    assert_int_equal(res.remaining, 1);

    /* what is spent, and no more than a burst, from then on */

    assert_int_equal(ps_gcra_table_backlog(table, hash, &g, now),
                     2 * g.interval);
    assert_int_equal(ps_gcra_table_backlog(table, hash, &g,
                                           now + 3 * g.interval),
                     0);
    h = limit("1r/s", 2);
    assert_int_equal(ps_gcra_table_backlog(table, hash, &h, now),
                     h.capacity);
    assert_int_equal(ps_gcra_table_backlog(table, hash, &h,
                                           now + h.interval),
                     h.interval);
    assert_int_equal(ps_gcra_table_backlog(table, hash, &g, now), h.capacity);

    /* of an unknown key */

    hash = ps_gcra_table_hash(table, "shop-2", 6);
    ps_gcra_table_refund(table, hash, 1000);
    ps_gcra_table_raise(table, hash, now, now);
    assert_int_equal(ps_gcra_table_backlog(table, hash, &g, now), 0);

    ps_gcra_table_raise(table, hash, now, now + 3 * g.interval);
    ps_gcra_table_take(table, hash, &g, now, 1, &res);
    assert_false(res.allowed);

    /* what can't be admitted takes no place */

    hash = ps_gcra_table_hash(table, "shop-3", 6);
    ps_gcra_table_take(table, hash, &g, now, 4, &res);
    assert_false(res.allowed);
    assert_int_equal(ps_gcra_table_backlog(table, hash, &g, now), 0);

    free(mem);
}


static void
test_million(void **state)
{
    int               evicted;
    char              name[64];
    void             *mem;
    size_t            i, n;
    uint64_t          now;
    ps_gcra_t         g;
    ps_gcra_table_t  *table;
    ps_gcra_result_t  res;

    (void) state;

    mem = aligned_alloc(128, 32 << 20);
    table = ps_gcra_table_init(mem, 32 << 20, key);
    assert_non_null(table);

    g = limit("1r/h", 2);
    now = 1000;
    evicted = 0;

    for (i = 0; i < 1000000; i++) {
        n = (size_t) sprintf(name, "https://idp.example/clients/%zu", i);
        evicted += ps_gcra_table_take(table,
                                      ps_gcra_table_hash(table, name, n),
                                      &g, now, 1 + i % 2, &res);
        assert_true(res.allowed);
    }

    assert_int_equal(evicted, 0);

    for (i = 0; i < 1000000; i++) {
        n = (size_t) sprintf(name, "https://idp.example/clients/%zu", i);
        ps_gcra_table_take(table, ps_gcra_table_hash(table, name, n),
                           &g, now, 1, &res);
        assert_int_equal(res.allowed, i % 2 == 0);
    }

    free(mem);
}


/* a table too small: who owes much stays, who is idle goes */

static void
test_evict(void **state)
{
    int               evicted;
    void             *mem;
    uint64_t          i, now, kept, size, hash;
    ps_gcra_t         slow, fast;
    ps_gcra_table_t  *table;
    ps_gcra_result_t  res;

    (void) state;

    mem = aligned_alloc(128, 4096);
    table = ps_gcra_table_init(mem, 4096, key);
    assert_non_null(table);

    size = ps_gcra_table_capacity(table);
    slow = limit("1r/h", 100);
    fast = limit("1r/s", 1);
    now = PS_GCRA_SECOND;

    /* a quarter of the places owe a day */

    evicted = 0;

    for (i = 0; i < size / 4; i++) {
        hash = ps_gcra_table_hash(table, &i, sizeof(i));
        evicted += ps_gcra_table_take(table, hash, &slow, now, 24, &res);
        assert_true(res.allowed);
    }

    assert_int_equal(evicted, 0);

    /* a flood of others, each idle when the next comes */

    for (i = 1000; i < 1000 + 20 * size; i++) {
        now += 2 * PS_GCRA_SECOND;
        hash = ps_gcra_table_hash(table, &i, sizeof(i));
        evicted += ps_gcra_table_take(table, hash, &fast, now, 1, &res);
        assert_true(res.allowed);
    }

    assert_int_equal(evicted, 0);

    /* and one in which none is: they push each other out */

    for (i = 100000; i < 100000 + 20 * size; i++) {
        hash = ps_gcra_table_hash(table, &i, sizeof(i));
        evicted += ps_gcra_table_take(table, hash, &fast, now, 1, &res);
        assert_true(res.allowed);
    }

    assert_true(evicted > 0);

    kept = 0;

    for (i = 0; i < size / 4; i++) {
        hash = ps_gcra_table_hash(table, &i, sizeof(i));
        kept += ps_gcra_table_backlog(table, hash, &slow, now) != 0;
    }

    assert_true(kept == size / 4);

    free(mem);
}


static void *
worker(void *data)
{
    int               i, n, k;
    char              name[32];
    size_t            len;
    uint64_t          hash;
    ps_gcra_t         g;
    ps_gcra_rate_t    rate;
    ps_gcra_result_t  res;

    (void) data;

    (void) ps_gcra_rate("1r/d", 4, &rate);
    (void) ps_gcra_limit(&g, &rate, BURST);

    /* all threads walk the same keys, so that they claim them together */

    for (i = 0; i < KEYS; i++) {
        k = i;
        len = (size_t) sprintf(name, "key-%d", k);
        hash = ps_gcra_table_hash(shared, name, len);

        for (n = 0; n < BURST + 2; n++) {
            if (ps_gcra_table_take(shared, hash, &g, ps_gcra_now(), 1, &res))
            {
                atomic_fetch_add(&forgotten, 1);
            }

            if (res.allowed) {
                atomic_fetch_add(&admitted[k], 1);
            }

            /* debits that are given back don't change the sum */

            if (n == 2 && res.allowed) {
                ps_gcra_table_refund(shared, hash, g.interval);
                atomic_fetch_sub(&admitted[k], 1);
            }
        }
    }

    return NULL;
}


static void
test_threads(void **state)
{
    int        i, round;
    void      *mem;
    size_t     size;
    pthread_t  tid[THREADS];

    (void) state;

    size = 4096 * 64;
    mem = aligned_alloc(128, size);

    for (round = 0; round < 10; round++) {
        shared = ps_gcra_table_init(mem, size, key);
        assert_non_null(shared);

        for (i = 0; i < KEYS; i++) {
            atomic_store(&admitted[i], 0);
        }

        for (i = 0; i < THREADS; i++) {
            assert_int_equal(pthread_create(&tid[i], NULL, worker, NULL), 0);
        }

        for (i = 0; i < THREADS; i++) {
            assert_int_equal(pthread_join(tid[i], NULL), 0);
        }

        assert_int_equal(atomic_load(&forgotten), 0);

        for (i = 0; i < KEYS; i++) {
            assert_int_equal(atomic_load(&admitted[i]), BURST);
        }
    }

    free(mem);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_million),
        cmocka_unit_test(test_evict),
        cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
