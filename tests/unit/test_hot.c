/*
 * Hot keys: those that come most have their places and exact counts, also
 * under a flood of keys that come once, and lose them when others come more.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ps_hot.h"


#define SIZE  8192


static uint64_t
mix(uint64_t n)
{
    n = (n ^ n >> 30) * 0xbf58476d1ce4e5b9ULL;
    n = (n ^ n >> 27) * 0x94d049bb133111ebULL;

    return (n ^ n >> 31) | 1;
}


static void
use(ps_hot_t *hot, uint64_t key, uint64_t now, int refused)
{
    char  text[32];

    if (ps_hot_use(hot, mix(key), now, refused)) {
        (void) snprintf(text, sizeof(text), "key-%lu", (unsigned long) key);
        ps_hot_take(hot, mix(key), now, refused, text, strlen(text));
    }
}


static int
find(ps_hot_t *hot, uint64_t key, uint64_t now, ps_hot_key_t *found)
{
    uint32_t  i;

    for (i = 0; i < ps_hot_places(hot); i++) {
        if (ps_hot_at(hot, i, now, found) && found->hash == mix(key)) {
            return 1;
        }
    }

    return 0;
}


static void
test_counts(void **state)
{
    int            i;
    void          *mem;
    ps_hot_t      *hot;
    ps_hot_key_t   key;

    mem = aligned_alloc(64, SIZE);
    assert_null(ps_hot_init(mem, 256));

    hot = ps_hot_init(mem, SIZE);
    assert_non_null(hot);
    assert_int_equal(find(hot, 1, 100, &key), 0);

    for (i = 0; i < 10; i++) {
        use(hot, 1, 100, i >= 7);
    }

    assert_int_equal(find(hot, 1, 100, &key), 1);
    assert_int_equal(key.uses, 10);
    assert_int_equal(key.refused, 3);
    assert_int_equal(key.since, 100);
    assert_int_equal(key.score, 10);
    assert_int_equal(key.len, 5);
    assert_memory_equal(key.text, "key-1", 5);

    /* what was hot a minute ago is not now */

    assert_int_equal(find(hot, 1, 160, &key), 1);
    assert_int_equal(key.score, 0);

    free(mem);
}


static void
test_flood(void **state)
{
    int            i;
    void          *mem;
    uint64_t       once;
    ps_hot_t      *hot;
    ps_hot_key_t   key;

    mem = aligned_alloc(64, SIZE);
    hot = ps_hot_init(mem, SIZE);
    once = 1000;

    /* five keys of one in fifty each, the rest of keys that never return */

    for (i = 0; i < 200000; i++) {
        if (i % 10 == 0) {
            use(hot, 1 + i / 10 % 5, 100, 0);

        } else {
            use(hot, once++, 100, 1);
        }
    }

    for (i = 1; i <= 5; i++) {
        assert_int_equal(find(hot, i, 100, &key), 1);
        assert_true(key.uses >= 3000 && key.uses <= 4000);
        assert_int_equal(key.refused, 0);
    }

    /* and they give way when others come */

    for (i = 0; i < 200000; i++) {
        use(hot, 11 + i % 5, 200, 0);
    }

    for (i = 11; i <= 15; i++) {
        assert_int_equal(find(hot, i, 200, &key), 1);
    }

    free(mem);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_flood)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
