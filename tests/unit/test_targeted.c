
/*
 * CDN-Cache-Control takes the place of Cache-Control only where it parses as
 * a structured field to its last byte: a parser that forgives more than
 * others makes two caches in a row disagree.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ps_targeted.h"


static void
parse(ps_targeted_t *targeted, const char *value)
{
    char    *copy;
    size_t   len;

    /* exactly as large, so that a read behind it is seen */

    len = strlen(value);

    copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, value, len);

    ps_targeted_parse(targeted, copy, len);

    free(copy);
}


static ps_targeted_t
one(const char *value)
{
    ps_targeted_t  targeted;

    ps_targeted_init(&targeted);
    parse(&targeted, value);

    return targeted;
}


static void
test_directives(void **state)
{
    ps_targeted_t  t;

    t = one("max-age=5, s-maxage=6,stale-while-revalidate=7\t,\t"
            "stale-if-error=8");
    assert_true(ps_targeted_valid(&t));
    assert_int_equal(t.cc.max_age, 5);
    assert_int_equal(t.cc.s_maxage, 6);
    assert_int_equal(t.cc.stale_while_revalidate, 7);
    assert_int_equal(t.cc.stale_if_error, 8);

    t = one("  no-store, no-cache, private, public, must-revalidate, "
            "must-understand  ");
    assert_true(ps_targeted_valid(&t));
    assert_true(t.cc.no_store && t.cc.no_cache && t.cc.private_
                && t.cc.public_ && t.cc.must_revalidate
                && t.cc.must_understand);
    assert_int_equal(t.cc.max_age, PS_CC_UNSET);

    assert_true(one("proxy-revalidate").cc.must_revalidate);
    assert_false(one("proxy").cc.must_revalidate);
}


static void
test_values(void **state)
{
    /* what is no integer of 0 and above is stale */

    assert_int_equal(one("max-age").cc.max_age, 0);
    assert_int_equal(one("max-age=-1").cc.max_age, 0);
    assert_int_equal(one("max-age=-0").cc.max_age, 0);
    assert_int_equal(one("max-age=1.5").cc.max_age, 0);
    assert_int_equal(one("max-age=\"60\"").cc.max_age, 0);
    assert_int_equal(one("max-age=a60").cc.max_age, 0);
    assert_int_equal(one("max-age=(60)").cc.max_age, 0);
    assert_int_equal(one("max-age=?1").cc.max_age, 0);

    assert_int_equal(one("max-age=007").cc.max_age, 7);
    assert_int_equal(one("max-age=999999999999999").cc.max_age,
                     PS_CC_MAX_AGE);

    /* what forbids, with any value but false */

    assert_true(one("no-store=?1").cc.no_store);
    assert_false(one("no-store=?0").cc.no_store);
    assert_true(one("no-store=1").cc.no_store);
    assert_true(one("no-cache=\"a, b\"").cc.no_cache);
    assert_true(one("private=(a b)").cc.private_);
}


static void
test_the_last_counts(void **state)
{
    ps_targeted_t  t;

    assert_int_equal(one("max-age=5, max-age=9").cc.max_age, 9);
    assert_false(one("no-store, no-store=?0").cc.no_store);

    t = one("max-age=5");
    parse(&t, "max-age=3, public");
    assert_true(ps_targeted_valid(&t));
    assert_int_equal(t.cc.max_age, 3);
}


static void
test_parameters_are_ignored(void **state)
{
    ps_targeted_t  t;

    t = one("max-age=5;max-age=9;a; b=?0;*c=:aGk=:, public;x=\"y;z\"");
    assert_true(ps_targeted_valid(&t));
    assert_int_equal(t.cc.max_age, 5);
    assert_true(t.cc.public_);
}


static void
test_any_value_parses(void **state)
{
    size_t         i;
    ps_targeted_t  t;

    static const char  *values[] = {
        "a", "*a", "a_-.*0=1", "a=()", "a=( )", "a=(1 \"x\" t;p  2.5);q",
        "a=\"\\\"\\\\\"", "a=*t!#$%&'*+-.^_`|~:/", "a=::", "a=:aGk=:",
        "a=123456789012.123", "a=-1.0", "a=T/x:y",
        "a \t"
    };

    for (i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        t = one(values[i]);
        assert_true(ps_targeted_valid(&t));
    }
}


static void
test_errors(void **state)
{
    size_t         i;
    ps_targeted_t  t;

    static const char  *values[] = {
        "Max-Age=5", "max-age =5", "max-age= 5", "max-age=", "max-age=5,",
        ",max-age=5", "a,,b", "a, ,b", "=5", "5", "max-age=5 public",
        "max-age=1234567890123456", "a=1.", "a=.5", "a=1.2345",
        "a=1234567890123.1", "a=-", "a=--1", "a=\"", "a=\"\\x\"",
        "a=\"\t\"", "a=\"\xc3\xa9\"", "a=?", "a=?2", "a=:", "a=:a", "a=:a!:",
        "a=(", "a=(1", "a=(1,2)", "a=(\"a\"\"b\")", "a=(1\t2)", "a;", "a;B",
        "a;b=", "a=@1659578233", "\tmax-age=5", "a=\x7f",
        "max-age=5\n"
    };

    for (i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        t = one(values[i]);

        if (ps_targeted_valid(&t)) {
            fail_msg("\"%s\" parses", values[i]);
        }
    }
}


static void
test_empty(void **state)
{
    ps_targeted_t  t;

    ps_targeted_init(&t);
    assert_false(ps_targeted_valid(&t));

    t = one("");
    assert_false(ps_targeted_valid(&t));

    t = one("   ");
    assert_false(ps_targeted_valid(&t));

    /* joined, the lines are a dictionary with nothing between two commas */

    t = one("a");
    parse(&t, "");
    assert_false(ps_targeted_valid(&t));

    /* one line in error fails all */

    t = one("max-age=5");
    parse(&t, "&");
    parse(&t, "max-age=5");
    assert_false(ps_targeted_valid(&t));
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_directives),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_the_last_counts),
        cmocka_unit_test(test_parameters_are_ignored),
        cmocka_unit_test(test_any_value_parses),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_empty),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
