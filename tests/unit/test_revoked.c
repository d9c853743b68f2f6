/*
 * The table of revocations: what is added is found and nothing else, the later
 * of two counts, entries go when their time is over and never before, and a
 * full table says so.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ps_revoked.h"


#define NOW  1000000u


static ps_revoked_t *
make(size_t n)
{
    ps_revoked_t  *table;

    table = calloc(1, ps_revoked_size(n));
    assert_non_null(table);
    ps_revoked_init(table, n, (const uint8_t *) "0123456789abcdef");

    return table;
}


static ps_revoked_text_t
text(const char *s)
{
    ps_revoked_text_t  t = { s, strlen(s) };

    return t;
}


static int
add(ps_revoked_t *table, int kind, const char *iss, const char *value,
    uint32_t before, uint32_t until, uint32_t now)
{
    ps_revoked_text_t  i = text(iss), v = text(value);

    return ps_revoked_add(table, kind, &i, &v, before, until, now);
}


static int
has(ps_revoked_t *table, int kind, const char *iss, const char *value,
    double iat)
{
    ps_revoked_text_t  i = text(iss), v = text(value);

    return ps_revoked_has(table, kind, &i, &v, iat);
}


static void
test_found(void **state)
{
    ps_revoked_t  *table = make(64);

    (void) state;

    assert_false(has(table, 's', "", "bob", 0));

    assert_int_equal(add(table, 's', "", "bob", NOW, NOW + 60, NOW), 0);
    assert_true(has(table, 's', "", "bob", NOW));
    assert_true(has(table, 's', "", "bob", NOW - 0.5));
    assert_false(has(table, 's', "", "bob", NOW + 0.5));

    assert_false(has(table, 'c', "", "bob", NOW));
    assert_false(has(table, 's', "b", "ob", NOW));
    assert_false(has(table, 's', "", "bobb", NOW));
    assert_false(has(table, 's', "", "", NOW));

    assert_int_equal(add(table, 'j', "i", "x", PS_REVOKED_ALWAYS, NOW + 60,
                         NOW), 0);
    assert_true(has(table, 'j', "i", "x", 1e300));
    assert_false(has(table, 'j', "", "x", 0));
    assert_false(has(table, 'j', "ix", "", 0));

    free(table);
}


static void
test_later_counts(void **state)
{
    ps_revoked_t  *table = make(64);

    (void) state;

    assert_int_equal(add(table, 's', "", "bob", NOW, NOW + 60, NOW), 0);
    assert_int_equal(add(table, 's', "", "bob", NOW + 5, NOW + 65, NOW), 0);
    assert_int_equal(add(table, 's', "", "bob", NOW - 5, NOW + 55, NOW), 0);
    assert_true(has(table, 's', "", "bob", NOW + 5));
    assert_false(has(table, 's', "", "bob", NOW + 6));

    free(table);
}


static void
test_room(void **state)
{
    int            full;
    char           name[32];
    size_t         i, n;
    ps_revoked_t  *table = make(1024);

    (void) state;

    /* what was added stays until its time is over, however full it gets */

    for (full = 0, n = 0; n < 2000; n++) {
        snprintf(name, sizeof(name), "%zu", n);

        if (add(table, 'j', "", name, PS_REVOKED_ALWAYS, NOW + 60, NOW) != 0) {
            full = 1;
            break;
        }
    }

    assert_true(full);
    assert_true(n > 512);

    for (i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "%zu", i);
        assert_true(has(table, 'j', "", name, 0));
    }

    /* and then makes room */

    for (i = 0; i < 500; i++) {
        snprintf(name, sizeof(name), "new%zu", i);
        assert_int_equal(add(table, 'j', "", name, PS_REVOKED_ALWAYS,
                             NOW + 200, NOW + 100), 0);
    }

    for (i = 0; i < 500; i++) {
        snprintf(name, sizeof(name), "new%zu", i);
        assert_true(has(table, 'j', "", name, 0));
    }

    free(table);
}


static void
test_long(void **state)
{
    char           name[1200];
    ps_revoked_t  *table = make(64);

    (void) state;

    memset(name, 'x', sizeof(name));
    name[sizeof(name) - 1] = '\0';

    assert_int_equal(add(table, 'j', "", name, PS_REVOKED_ALWAYS, NOW, NOW),
                     -1);
    assert_false(has(table, 'j', "", name, 0));

    name[1019] = '\0';
    assert_int_equal(add(table, 'j', "", name, PS_REVOKED_ALWAYS, NOW, NOW),
                     0);
    assert_true(has(table, 'j', "", name, 0));
    name[1018] = '\0';
    assert_false(has(table, 'j', "", name, 0));

    free(table);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_found),
        cmocka_unit_test(test_later_counts),
        cmocka_unit_test(test_room),
        cmocka_unit_test(test_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
