
/*
 * What a client sent may come back in a problem document: whatever the
 * bytes, the result is a JSON string that says the same.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>

#include "ps_json_escape.h"


static void
check(const char *src, size_t len, const char *expected)
{
    char    *dst;
    size_t   n;

    dst = malloc(PS_JSON_ESCAPE_MAX(len) + 1);
    assert_non_null(dst);

    n = ps_json_escape(dst, src, len);

    assert_true(n <= PS_JSON_ESCAPE_MAX(len));
    assert_int_equal(n, strlen(expected));
    assert_memory_equal(dst, expected, n);

    free(dst);
}


static void
test_plain(void **state)
{
    check("", 0, "");
    check("a/b", 3, "a/b");
    check("\"\\", 2, "\\\"\\\\");
    check("a\nb\0c\x1f", 6, "a\\u000ab\\u0000c\\u001f");
    check("\x7f", 1, "\\u007f");
    check("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 9,
          "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
}


static void
test_invalid_utf8(void **state)
{
    check("\x80", 1, "\xef\xbf\xbd");
    check("\xff" "a", 2, "\xef\xbf\xbd" "a");
    check("\xc0\xaf", 2, "\xef\xbf\xbd\xef\xbf\xbd");           /* overlong */
    check("\xe0\x80\xaf", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    check("\xed\xa0\x80", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    check("\xf4\x90\x80\x80", 4,
          "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    check("\xe2\x82", 2, "\xef\xbf\xbd\xef\xbf\xbd");           /* cut off */
    check("\xc3\"", 2, "\xef\xbf\xbd\\\"");
}


/* every string of two bytes, and random longer ones, parses as JSON */

static void
test_any_bytes(void **state)
{
    char           src[24], text[PS_JSON_ESCAPE_MAX(sizeof(src)) + 2];
    json_t        *value;
    size_t         n, len;
    unsigned int   i, j;

    srand(1);

    for (i = 0; i < 70000; i++) {

        if (i < 65536) {
            src[0] = (char) (i >> 8);
            src[1] = (char) (i & 0xff);
            len = 2;

        } else {
            len = (size_t) rand() % sizeof(src);
            for (j = 0; j < len; j++) {
                src[j] = (char) (rand() & 0xff);
            }
        }

        text[0] = '"';
        n = ps_json_escape(text + 1, src, len) + 1;
        text[n++] = '"';

        value = json_loadb(text, n, JSON_DECODE_ANY|JSON_ALLOW_NUL, NULL);
        assert_non_null(value);
        json_decref(value);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_invalid_utf8),
        cmocka_unit_test(test_any_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
