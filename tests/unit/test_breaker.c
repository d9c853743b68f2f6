
/*
 * The breaker: when it opens, what it lets through half open, what closes it.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "../../modules/erp/ps_breaker.h"


static const ps_breaker_limits_t  limits = { 10000, 5000, 50, 4 };


static void
report(ps_breaker_t *b, uint64_t now, int failed)
{
    int  probe;

    assert_int_equal(ps_breaker_ask(b, &limits, now, &probe), 0);
    ps_breaker_report(b, &limits, now, probe, failed);
}


static void
test_ratio(void **state)
{
    ps_breaker_t  b;

    memset(&b, 0, sizeof(b));

    report(&b, 100000, 0);
    report(&b, 100000, 0);
    report(&b, 100000, 1);
    assert_int_equal(ps_breaker_state(&b, 100000), PS_BREAKER_CLOSED);
    report(&b, 100000, 1);
    assert_int_equal(ps_breaker_state(&b, 100000), PS_BREAKER_OPEN);
    assert_int_equal(b.opened, 1);
}


/* too few, and too old ones, say nothing */

static void
test_window(void **state)
{
    int           i;
    ps_breaker_t  b;

    memset(&b, 0, sizeof(b));

    for (i = 0; i < 20; i++) {
        report(&b, 100000 + i * 5000, 1);
    }

    assert_int_equal(ps_breaker_state(&b, 300000), PS_BREAKER_CLOSED);

    for (i = 0; i < 6; i++) {
        report(&b, 300000, 0);
    }

    for (i = 0; i < 5; i++) {
        report(&b, 305000, 1);
    }

    assert_int_equal(ps_breaker_state(&b, 305000), PS_BREAKER_CLOSED);
    report(&b, 305000, 1);
    assert_int_equal(ps_breaker_state(&b, 305000), PS_BREAKER_OPEN);
}


static void
test_half_open(void **state)
{
    int           i, probe;
    ps_breaker_t  b;

    memset(&b, 0, sizeof(b));

    for (i = 0; i < 4; i++) {
        report(&b, 100000, 1);
    }

    assert_int_equal(ps_breaker_ask(&b, &limits, 101000, &probe), 4000);

    /* one that was sent before says nothing */

    ps_breaker_report(&b, &limits, 101000, 0, 0);
    assert_int_equal(ps_breaker_state(&b, 101000), PS_BREAKER_OPEN);

    assert_int_equal(ps_breaker_state(&b, 105000), PS_BREAKER_HALF_OPEN);
    assert_int_equal(ps_breaker_ask(&b, &limits, 105000, &probe), 0);
    assert_true(probe);
    assert_int_not_equal(ps_breaker_ask(&b, &limits, 105000, &probe), 0);

    ps_breaker_report(&b, &limits, 105500, 1, 1);
    assert_int_equal(ps_breaker_state(&b, 105500), PS_BREAKER_OPEN);
    assert_int_equal(b.opened, 2);

    /* a probe that is never heard of again is followed by another one */

    assert_int_equal(ps_breaker_ask(&b, &limits, 110500, &probe), 0);
    assert_int_not_equal(ps_breaker_ask(&b, &limits, 115499, &probe), 0);
    assert_int_equal(ps_breaker_ask(&b, &limits, 115500, &probe), 0);
    ps_breaker_forget(&b, probe);
    assert_int_equal(ps_breaker_ask(&b, &limits, 115500, &probe), 0);

    ps_breaker_report(&b, &limits, 116000, 1, 0);
    assert_int_equal(ps_breaker_state(&b, 116000), PS_BREAKER_CLOSED);

    for (i = 0; i < 3; i++) {
        report(&b, 116000, 1);
    }

    assert_int_equal(ps_breaker_state(&b, 116000), PS_BREAKER_CLOSED);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_ratio),
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_half_open)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
