/*
 * What rate_limit_admin is asked for: all of it makes sense, or none of it is
 * taken.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "ps_override_read.h"


static const char *
read_text(const char *text, ps_override_t *o, uint64_t *expires)
{
    memset(o, 0xff, sizeof(ps_override_t));

    return ps_override_read(text, strlen(text), 7, o, expires);
}


static void
test_taken(void **state)
{
    uint64_t       expires;
    ps_override_t  o;

    assert_null(read_text("{\"rate\":\"10r/s\",\"burst\":20,\"dry_run\":true,"
                          "\"expires\":3600}", &o, &expires));
    assert_int_equal(o.rate.count, 10);
    assert_int_equal(o.rate.period, 1);
    assert_int_equal(o.limit.burst, 20);
    assert_int_equal(o.limit.interval, 100000000);
    assert_int_equal(o.dry_run, 1);
    assert_int_equal(expires, 3600);

    /* the zone's burst, in force, without an end */

    assert_null(read_text(" { \"rate\" : \"60r/h\" } ", &o, &expires));
    assert_int_equal(o.rate.count, 60);
    assert_int_equal(o.rate.period, 3600);
    assert_int_equal(o.limit.burst, 7);
    assert_int_equal(o.dry_run, 0);
    assert_int_equal(expires, 0);

    /* the largest of each */

    assert_null(read_text("{\"rate\":\"1r/d\",\"burst\":90}", &o, &expires));
    assert_null(read_text("{\"rate\":\"1000000r/s\"}", &o, &expires));
    assert_null(read_text("{\"rate\":\"1r/s\",\"expires\":31622400}", &o,
                          &expires));
    assert_int_equal(expires, PS_OVERRIDE_LAST);
    assert_null(read_text("{\"rate\":\"1r/s\",\"dry_run\":false}", &o,
                          &expires));
    assert_int_equal(o.dry_run, 0);
}


static void
test_refused(void **state)
{
    size_t         i;
    uint64_t       expires;
    const char    *err;
    ps_override_t  o;

    static const struct {
        const char  *text;
        const char  *says;
    } cases[] = {
        { "", "no JSON" },
        { "{", "no JSON" },
        { "\xff", "no JSON" },
        { "{\"rate\":\"1r/s\"}}", "no JSON" },
        { "{\"rate\":\"1r/s\",\"rate\":\"2r/s\"}", "twice" },
        { "[]", "an object" },
        { "{}", "must have a \"rate\"" },
        { "{\"burst\":1}", "must have a \"rate\"" },
        { "{\"rate\":null}", "\"rate\" must be" },
        { "{\"rate\":1}", "\"rate\" must be" },
        { "{\"rate\":\"\"}", "\"rate\" must be" },
        { "{\"rate\":\"0r/s\"}", "\"rate\" must be" },
        { "{\"rate\":\"1r/y\"}", "\"rate\" must be" },
        { "{\"rate\":\"1000001r/s\"}", "\"rate\" must be" },
        { "{\"rate\":\"1r/s\\u0000\"}", "no JSON" },
        { "{\"rate\":\"1r/s\",\"burst\":0}", "\"burst\" must be" },
        { "{\"rate\":\"1r/s\",\"burst\":-1}", "\"burst\" must be" },
        { "{\"rate\":\"1r/s\",\"burst\":1.0}", "\"burst\" must be" },
        { "{\"rate\":\"1r/s\",\"burst\":\"1\"}", "\"burst\" must be" },
        { "{\"rate\":\"1r/s\",\"burst\":null}", "\"burst\" must be" },
        { "{\"rate\":\"1r/d\",\"burst\":91}", "90 days" },
        { "{\"rate\":\"1r/s\",\"burst\":9223372036854775807}", "90 days" },
        { "{\"rate\":\"1r/s\",\"burst\":9223372036854775808}", "no JSON" },
        { "{\"rate\":\"1r/s\",\"dry_run\":1}", "\"dry_run\" must" },
        { "{\"rate\":\"1r/s\",\"dry_run\":\"true\"}", "\"dry_run\" must" },
        { "{\"rate\":\"1r/s\",\"expires\":0}", "\"expires\" must" },
        { "{\"rate\":\"1r/s\",\"expires\":-5}", "\"expires\" must" },
        { "{\"rate\":\"1r/s\",\"expires\":31622401}", "\"expires\" must" },
        { "{\"rate\":\"1r/s\",\"expires\":1e3}", "\"expires\" must" },
        { "{\"rate\":\"1r/s\",\"Burst\":5}", "The members are" },
        { "{\"rate\":\"1r/s\",\"\":5}", "The members are" },
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        err = read_text(cases[i].text, &o, &expires);

        if (err == NULL || strstr(err, cases[i].says) == NULL) {
            print_error("%s: %s\n", cases[i].text, err ? err : "taken");
            fail();
        }
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_taken),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
