
/*
 * Two requests that get the same key get the same answer: a key that leaves
 * something out shows one channel what was meant for another.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ps_vary.h"


static ps_vary_t
list(const char *value)
{
    char       *copy;
    size_t      len;
    ps_vary_t   vary;

    /* exactly as large, so that a read behind it is seen */

    len = strlen(value);

    copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, value, len);

    ps_vary_init(&vary);
    ps_vary_add(&vary, copy, len);

    free(copy);

    return vary;
}


static void
is(const char *value, const char *text)
{
    ps_vary_t  vary;

    vary = list(value);

    assert_false(vary.overflow);
    assert_int_equal(vary.len, strlen(text));
    assert_memory_equal(vary.text, text, vary.len);
}


static void
test_lists(void **state)
{
    is("", "");
    is(" ,\t,", "");
    is("Foo", "foo,");
    is("b, a", "a,b,");
    is("X-B,x-a , X-A,\tx-b", "x-a,x-b,");
    is("ab,a,abc", "a,ab,abc,");
    is("a-b, a", "a,a-b,");
    is("Accept-Encoding", "");
    is("accept-encoding, Cookie", "cookie,");

    assert_true(list("Accept-Encoding").coding);
    assert_false(list("Accept").coding);
    assert_true(list("*").any);
    assert_true(list("a, *").any);
    assert_false(list("a*").any);
}


static void
test_too_much(void **state)
{
    char       name[PS_VARY_LEN + 1];
    ps_vary_t  vary;

    assert_false(list("a,b,c,d,e,f,g,h").overflow);
    assert_false(list("a,b,c,d,e,f,g,h,a,H").overflow);
    assert_true(list("a,b,c,d,e,f,g,h,i").overflow);
    assert_true(list("a b;c").overflow);
    assert_true(list("a\x01").overflow);
    assert_true(list("\"a\"").overflow);

    memset(name, 'n', sizeof(name));

    ps_vary_init(&vary);
    ps_vary_add(&vary, name, PS_VARY_LEN - 1);
    assert_false(vary.overflow);
    assert_int_equal(vary.len, PS_VARY_LEN);

    ps_vary_add(&vary, "a", 1);
    assert_true(vary.overflow);
    assert_int_equal(vary.len, PS_VARY_LEN);

    ps_vary_init(&vary);
    ps_vary_add(&vary, name, PS_VARY_LEN);
    assert_true(vary.overflow);
}


static void
test_union(void **state)
{
    ps_vary_t  a, b;

    a = list("x, b");
    b = list("a, x");

    ps_vary_add(&a, b.text, b.len);

    assert_int_equal(a.n, 3);
    assert_int_equal(a.len, 6);
    assert_memory_equal(a.text, "a,b,x,", 6);
}


static void
put(const char *name, const char *value, const char *expected)
{
    char    *copy, *out, *end;
    size_t   len;

    len = strlen(value);

    copy = malloc(len ? len : 1);
    out = malloc(len ? len : 1);
    assert_non_null(copy);
    assert_non_null(out);
    memcpy(copy, value, len);

    end = ps_vary_put(out, name, strlen(name), copy, len);

    assert_int_equal(end - out, strlen(expected));
    assert_memory_equal(out, expected, strlen(expected));

    free(copy);
    free(out);
}


static void
test_values(void **state)
{
    put("foo", "", "");
    put("foo", "  ", "");
    put("foo", "1", "1");
    put("foo", " 1 ", "1");
    put("foo", "1, 2", "1,2");
    put("foo", "1 ,\t2 , 3", "1,2,3");
    put("foo", ", ,1", ",,1");
    put("foo", "a  b, c d", "a  b,c d");
    put("foo", "A,b", "A,b");
    put("foo", "\"a , b\" , c", "\"a , b\",c");
    put("foo", "\"a\\\" , b\" , c", "\"a\\\" , b\",c");
    put("foo", "\"a , ", "\"a , ");
    put("foo", "a\\ , b", "a\\,b");
    put("accept-language", "en-GB, DE;q=0.5", "en-gb,de;q=0.5");
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_too_much),
        cmocka_unit_test(test_union),
        cmocka_unit_test(test_values),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
