
/*
 * Arguments of a query decide which cells a request is about: they are cut
 * and decoded as WHATWG's URL standard says for forms.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ps_form.h"


/* name=value; of each, "!" where it has no "=" */

static const char *
all(const char *text)
{
    int             n;
    char           *copy;
    size_t          len;
    const char     *p;
    ps_form_arg_t   arg;
    static char     out[256];

    len = strlen(text);
    copy = malloc(len ? len : 1);
    memcpy(copy, text, len);

    n = 0;
    out[0] = '\0';
    p = copy;

    while (ps_form_next(&p, copy + len, &arg)) {

        assert_true(arg.text >= copy && arg.text + arg.len <= copy + len);
        assert_true(arg.value >= copy
                    && arg.value + arg.value_len <= copy + len);
        assert_true(p > arg.text || arg.len == 0);
        assert_ptr_equal(arg.value + arg.value_len, arg.text + arg.len);

        n += snprintf(out + n, sizeof(out) - n, "%.*s%s%.*s;",
                      (int) arg.name_len, arg.text,
                      arg.name_len == arg.len ? "!" : "=",
                      (int) arg.value_len, arg.value);
    }

    /* and stays at the end */

    assert_int_equal(ps_form_next(&p, copy + len, &arg), 0);

    free(copy);

    return out;
}


static void
test_next(void **state)
{
    assert_string_equal(all(""), "");
    assert_string_equal(all("a=1"), "a=1;");
    assert_string_equal(all("a=1&b=2"), "a=1;b=2;");
    assert_string_equal(all("a"), "a!;");
    assert_string_equal(all("a="), "a=;");
    assert_string_equal(all("=1"), "=1;");
    assert_string_equal(all("="), "=;");
    assert_string_equal(all("&"), "!;");
    assert_string_equal(all("&&a=1&"), "!;!;a=1;");
    assert_string_equal(all("a=1=2&b==&c&d="), "a=1=2;b==;c!;d=;");
    assert_string_equal(all("a=1;b=2"), "a=1;b=2;");
    assert_string_equal(all("a%3d1=%26"), "a%3d1=%26;");
}


static size_t
decode(const char *text, size_t len, char *out)
{
    char    *copy, *dst;
    size_t   n;

    copy = malloc(len ? len : 1);
    dst = malloc(len ? len : 1);
    memcpy(copy, text, len);

    n = ps_form_decode(dst, copy, len);
    assert_true(n <= len);
    memcpy(out, dst, n);

    free(copy);
    free(dst);

    return n;
}


static void
test_decode(void **state)
{
    char      out[64];
    size_t    n;
    unsigned  i;

    static const char  *t[][2] = {
        { "", "" }, { "abc", "abc" }, { "a+b", "a b" }, { "+", " " },
        { "%41", "A" }, { "%2c", "," }, { "%2C", "," }, { "%2b", "+" },
        { "%c3%A9", "\xc3\xa9" }, { "%", "%" }, { "%4", "%4" },
        { "a%", "a%" }, { "a%4", "a%4" }, { "%g1", "%g1" }, { "%1g", "%1g" },
        { "%%41", "%A" }, { "%4%41", "%4A" }, { "%2541", "%41" },
        { "% 41", "% 41" }, { "%-1", "%-1" }, { "%ff", "\xff" },
        { "%Zz", "%Zz" }, { "%@1", "%@1" }, { "%`1", "%`1" },
        { "%:1", "%:1" }, { "%/1", "%/1" }, { "\xc3%28", "\xc3(" },
    };

    for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        n = decode(t[i][0], strlen(t[i][0]), out);
        out[n] = '\0';
        assert_string_equal(out, t[i][1]);
    }

    assert_int_equal(decode("%00a", 4, out), 2);
    assert_memory_equal(out, "\0a", 2);
}


static void
test_encode(void **state)
{
    char      src[256], dst[3 * 256], again[256];
    size_t    n;
    unsigned  i;

    n = ps_form_encode(dst, "aZ09-._~", 8);
    assert_int_equal(n, 8);
    assert_memory_equal(dst, "aZ09-._~", 8);

    n = ps_form_encode(dst, " +,&=%#/\xff", 9);
    assert_int_equal(n, 27);
    assert_memory_equal(dst, "%20%2B%2C%26%3D%25%23%2F%FF", 27);

    assert_int_equal(ps_form_encode(dst, "", 0), 0);

    for (i = 0; i < 256; i++) {
        src[i] = (char) i;
    }

    n = ps_form_encode(dst, src, 256);
    assert_true(n <= sizeof(dst));

    for (i = 0; i < n; i++) {
        assert_non_null(strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~%"
                               "abcdefghijklmnopqrstuvwxyz", dst[i]));
    }

    assert_int_equal(ps_form_decode(again, dst, n), 256);
    assert_memory_equal(again, src, 256);

    /* decoding in place */

    assert_int_equal(ps_form_decode(dst, dst, n), 256);
    assert_memory_equal(dst, src, 256);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_next),
        cmocka_unit_test(test_decode),
        cmocka_unit_test(test_encode),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
