
/*
 * How long an answer may be kept is read from Cache-Control: a directive
 * that is misread shows old numbers, or hides those that could be shown.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ps_cache_control.h"


static void
parse(ps_cache_control_t *cc, const char *value)
{
    char    *copy;
    size_t   len;

    /* exactly as large, so that a read behind it is seen */

    len = strlen(value);

    copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, value, len);

    ps_cache_control_parse(cc, copy, len);

    free(copy);
}


static ps_cache_control_t
one(const char *value)
{
    ps_cache_control_t  cc;

    ps_cache_control_init(&cc);
    parse(&cc, value);

    return cc;
}


static void
test_nothing(void **state)
{
    ps_cache_control_t  cc;

    cc = one("");

    assert_int_equal(cc.max_age, PS_CC_UNSET);
    assert_int_equal(cc.s_maxage, PS_CC_UNSET);
    assert_int_equal(cc.stale_while_revalidate, PS_CC_UNSET);
    assert_int_equal(cc.stale_if_error, PS_CC_UNSET);
    assert_false(cc.no_store || cc.no_cache || cc.private_ || cc.public_
                 || cc.must_revalidate);

    cc = one(" ,, \t, ,");
    assert_int_equal(cc.max_age, PS_CC_UNSET);
}


static void
test_ages(void **state)
{
    ps_cache_control_t  cc;

    assert_int_equal(one("max-age=5").max_age, 5);
    assert_int_equal(one("MAX-AGE=5").max_age, 5);
    assert_int_equal(one("max-age=\"5\"").max_age, 5);
    assert_int_equal(one("public,max-age=5,immutable").max_age, 5);
    assert_int_equal(one("\tpublic , max-age=5 , x").max_age, 5);
    assert_int_equal(one("max-age=0").max_age, 0);
    assert_int_equal(one("max-age=0005").max_age, 5);

    cc = one("max-age=1, s-maxage=2, stale-while-revalidate=3, "
             "stale-if-error=4");
    assert_int_equal(cc.max_age, 1);
    assert_int_equal(cc.s_maxage, 2);
    assert_int_equal(cc.stale_while_revalidate, 3);
    assert_int_equal(cc.stale_if_error, 4);
}


/* RFC 9111, Section 4.2.1: stale is the safe reading of what is no age */

static void
test_no_age(void **state)
{
    assert_int_equal(one("max-age").max_age, 0);
    assert_int_equal(one("max-age=").max_age, 0);
    assert_int_equal(one("max-age=\"\"").max_age, 0);
    assert_int_equal(one("max-age=\"").max_age, 0);
    assert_int_equal(one("max-age=-1").max_age, 0);
    assert_int_equal(one("max-age=+1").max_age, 0);
    assert_int_equal(one("max-age=5s").max_age, 0);
    assert_int_equal(one("max-age=1.5").max_age, 0);
    assert_int_equal(one("max-age=0x10").max_age, 0);
    assert_int_equal(one("max-age= 5").max_age, 0);
    assert_int_equal(one("max-age=\"5\\").max_age, 0);
}


static void
test_large_ages(void **state)
{
    assert_int_equal(one("max-age=2147483647").max_age, 2147483647);
    assert_int_equal(one("max-age=2147483648").max_age, 2147483647);
    assert_int_equal(one("max-age=18446744073709551617").max_age, 2147483647);
    assert_int_equal(one("max-age=99999999999999999999999999999999999999")
                     .max_age, 2147483647);
}


/* of a repeated directive the smallest counts, over several lines too */

static void
test_repeated(void **state)
{
    ps_cache_control_t  cc;

    assert_int_equal(one("max-age=5, max-age=3").max_age, 3);
    assert_int_equal(one("max-age=3, max-age=5").max_age, 3);
    assert_int_equal(one("max-age=3, max-age=x").max_age, 0);

    ps_cache_control_init(&cc);
    parse(&cc, "max-age=5");
    parse(&cc, "no-store");
    parse(&cc, "max-age=7, s-maxage=1");

    assert_int_equal(cc.max_age, 5);
    assert_int_equal(cc.s_maxage, 1);
    assert_true(cc.no_store);
}


static void
test_flags(void **state)
{
    assert_true(one("no-store").no_store);
    assert_true(one("No-Store").no_store);
    assert_true(one("no-cache").no_cache);
    assert_true(one("no-cache=\"Set-Cookie, X\"").no_cache);
    assert_true(one("private").private_);
    assert_true(one("private=\"X\", max-age=5").private_);
    assert_true(one("public").public_);
    assert_true(one("must-revalidate").must_revalidate);
    assert_true(one("proxy-revalidate").must_revalidate);

    assert_false(one("no-stores").no_store);
    assert_false(one("xno-store").no_store);
    assert_false(one("no-store2").no_store);
    assert_false(one("no_store").no_store);
}


static void
test_of_requests(void **state)
{
    ps_cache_control_t  cc;

    cc = one("max-age=0, min-fresh=3, min-fresh=5, max-stale=7, "
             "only-if-cached, no-cache");
    assert_int_equal(cc.max_age, 0);
    assert_int_equal(cc.min_fresh, 5);
    assert_int_equal(cc.max_stale, 7);
    assert_true(cc.only_if_cached && cc.no_cache);

    /* any, and none for what is no age */

    assert_int_equal(one("max-stale").max_stale, PS_CC_MAX_AGE);
    assert_int_equal(one("max-stale=x").max_stale, 0);
    assert_int_equal(one("max-stale, max-stale=3").max_stale, 3);

    cc = one("max-age=5, must-understand");
    assert_int_equal(cc.max_stale, PS_CC_UNSET);
    assert_int_equal(cc.min_fresh, PS_CC_UNSET);
    assert_false(cc.only_if_cached);
    assert_true(cc.must_understand);
}


/* what stands in the quotes of another directive is not a directive */

static void
test_quoted(void **state)
{
    ps_cache_control_t  cc;

    cc = one("x=\"no-store, max-age=1\", max-age=9");
    assert_false(cc.no_store);
    assert_int_equal(cc.max_age, 9);

    cc = one("x=\"a\\\", no-store\", max-age=9");
    assert_false(cc.no_store);
    assert_int_equal(cc.max_age, 9);

    /* no end: nothing after it is known */

    cc = one("max-age=9, x=\"a, s-maxage=1");
    assert_int_equal(cc.max_age, 9);
    assert_int_equal(cc.s_maxage, PS_CC_UNSET);

    cc = one("x=\"\\");
    assert_int_equal(cc.max_age, PS_CC_UNSET);
}


static void
test_odd(void **state)
{
    assert_int_equal(one("=5").max_age, PS_CC_UNSET);
    assert_int_equal(one("=, max-age=5").max_age, 5);
    assert_int_equal(one("max-age=5;no-store").max_age, 0);
    assert_int_equal(one("\xff\x01, max-age=5").max_age, 5);
    assert_true(one("max-age =5, no-store").no_store);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_ages),
        cmocka_unit_test(test_no_age),
        cmocka_unit_test(test_large_ages),
        cmocka_unit_test(test_repeated),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_of_requests),
        cmocka_unit_test(test_quoted),
        cmocka_unit_test(test_odd),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
