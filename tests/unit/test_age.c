
/*
 * An Age that is misread calls old numbers fresh.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ps_age.h"


static int64_t
age(const char *value)
{
    char     *copy;
    size_t    len;
    int64_t   result;

    /* exactly as large, so that a read behind it is seen */

    len = strlen(value);

    copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, value, len);

    result = ps_age_parse(copy, len);

    free(copy);

    return result;
}


static void
test_numbers(void **state)
{
    (void) state;

    assert_int_equal(age("0"), 0);
    assert_int_equal(age("7200"), 7200);
    assert_int_equal(age(" 0012\t"), 12);
    assert_int_equal(age("2147483647"), PS_AGE_MAX);
}


static void
test_large(void **state)
{
    (void) state;

    assert_int_equal(age("2147483648"), PS_AGE_MAX);
    assert_int_equal(age("99999999999999999999999999999999"), PS_AGE_MAX);
}


static void
test_what_is_no_number_is_old(void **state)
{
    size_t  i;

    static const char  *values[] = {
        "", " ", "abc", "-1", "+1", "7200.0", "0, 0", "7200,0", "0;a=b",
        "0 0", "0x", "\"0\""
    };

    (void) state;

    for (i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        assert_int_equal(age(values[i]), PS_AGE_MAX);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_what_is_no_number_is_old),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
