
/*
 * Label pairs come from names in a configuration, Accept from anybody.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ps_metrics.h"


/* "name|value|" for each pair, "!" where it is none */

static void
check_labels(const char *text, const char *expected)
{
    int          rc;
    char         seen[256], value[64];
    char        *copy;
    size_t       len;
    ps_label_t   label;
    const char  *p, *end;

    /* no byte behind the end may be read */

    len = strlen(text);
    copy = malloc(len + 1);
    assert_non_null(copy);
    copy = realloc(copy, len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, text, len);

    p = copy;
    end = copy + len;
    seen[0] = '\0';

    while ((rc = ps_label_next(&p, end, &label)) == 1) {
        len = ps_label_unescape(value, label.value, label.value_len);
        sprintf(seen + strlen(seen), "%.*s|%.*s|", (int) label.name_len,
                label.name, (int) len, value);
    }

    if (rc == -1) {
        strcat(seen, "!");
    }

    assert_string_equal(seen, expected);

    free(copy);
}


static void
test_labels(void **state)
{
    check_labels("", "");
    check_labels("zone=\"a\"", "zone|a|");
    check_labels("zone=\"a\",_r2=\"b c\"", "zone|a|_r2|b c|");
    check_labels("a=\"\"", "a||");
    check_labels("a=\"x\\\"y\\\\z\\n\"", "a|x\"y\\z\n|");
    check_labels("a=\"},{\"", "a|},{|");

    check_labels("a", "!");
    check_labels("a=", "!");
    check_labels("a=\"", "!");
    check_labels("a=\"x", "!");
    check_labels("a=\"x\\\"", "!");
    check_labels("a=\"\\t\"", "!");
    check_labels("a=\"\n\"", "!");
    check_labels("a=x", "!");
    check_labels("1a=\"x\"", "!");
    check_labels("=\"x\"", "!");
    check_labels(" a=\"x\"", "!");
    check_labels("a=\"x\",", "!");
    check_labels("a=\"x\"b=\"y\"", "!");
    check_labels("a=\"x\",,b=\"y\"", "a|x|!");
    check_labels("a=\"x\",b", "a|x|!");
}


static void
check_accept(const char *accept, unsigned weight)
{
    char    *copy;
    size_t   len;

    len = strlen(accept);
    copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, accept, len);

    assert_int_equal(ps_accept_weight(copy, len, "text/plain"), weight);

    free(copy);
}


static void
test_accept(void **state)
{
    check_accept("", 0);
    check_accept("*/*", 0);
    check_accept("text/*", 0);
    check_accept("text/plain", 1000);
    check_accept("TEXT/Plain", 1000);
    check_accept("text/plainer", 0);
    check_accept("text/plai", 0);
    check_accept("application/json, text/plain, */*", 1000);
    check_accept(" text/plain ; version=0.0.4 ; q=0.3", 300);
    check_accept("text/plain;q=0", 0);
    check_accept("text/plain;q=0.001", 1);
    check_accept("text/plain;q=0.0019", 1);
    check_accept("text/plain;q=1.000", 1000);
    check_accept("text/plain;q=1.9", 1000);
    check_accept("text/plain;Q=.5", 0);
    check_accept("text/plain;q=2", 0);
    check_accept("text/plain;q=0.5x", 0);
    check_accept("text/plain;q=", 1000);
    check_accept("text/plain;a=\"q=0,x;q=0\"", 1000);
    check_accept("a/b;x=\"text/plain, text/plain\"", 0);
    check_accept("a/b;x=\"\\\", text/plain", 0);
    check_accept("text/plain;q=0.2,text/plain;q=0.4", 400);
    check_accept(",,;,text/plain", 1000);
    check_accept("text/plain;", 1000);
    check_accept("\"", 0);
    check_accept("\"\\", 0);

    /* what Prometheus sends */

    check_accept("application/openmetrics-text;version=1.0.0,"
                 "application/openmetrics-text;version=0.0.1;q=0.75,"
                 "text/plain;version=0.0.4;q=0.5,*/*;q=0.1", 500);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_accept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
