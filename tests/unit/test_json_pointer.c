
/*
 * JSON pointers name what an order touches and what an answer must not show:
 * RFC 6901 to the letter, plus "*".
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ps_json_pointer.h"


typedef struct {
    char     text[1024];
    size_t   stop;       /* after so many */
    size_t   n;
} seen_t;


/* the example of RFC 6901, section 5 */

static const char  rfc[] =
    "{\"foo\":[\"bar\",\"baz\"],\"\":0,\"a/b\":1,\"c%d\":2,\"e^f\":3,"
    "\"g|h\":4,\"i\\\\j\":5,\"k\\\"l\":6,\" \":7,\"m~n\":8}";

static const char  order[] =
    "{\"id\":7,\"lines\":[{\"sku\":\"A\",\"qty\":1},{\"sku\":\"B\"},"
    "{\"qty\":2},\"odd\",null,[\"C\"]],"
    "\"by\":{\"x\":{\"sku\":\"X\"},\"y\":{\"sku\":\"Y\"}},"
    "\"0\":\"zero\",\"*\":\"star\"}";


static int
see(const ps_json_match_t *match, void *data)
{
    char    *text;
    seen_t  *seen = data;

    text = json_dumps(match->value, JSON_ENCODE_ANY|JSON_COMPACT);
    assert_non_null(text);
    assert_true(strlen(seen->text) + strlen(text) + 2 < sizeof(seen->text));

    strcat(seen->text, text);
    strcat(seen->text, " ");
    free(text);

    seen->n++;

    return seen->n == seen->stop;
}


static ps_json_pointer_rc_e
find(const char *json, const char *text, size_t max, seen_t *seen)
{
    json_t                *document;
    const char            *err;
    ps_json_pointer_t     *pointer;
    ps_json_pointer_rc_e   rc;

    memset(seen->text, 0, sizeof(seen->text));
    seen->n = 0;

    document = json_loads(json, JSON_DECODE_ANY, NULL);
    assert_non_null(document);

    pointer = ps_json_pointer_parse(text, strlen(text), &err);
    assert_non_null(pointer);

    rc = ps_json_pointer_eval(pointer, document, max, see, seen);

    ps_json_pointer_free(pointer);
    json_decref(document);

    return rc;
}


static void
check(const char *json, const char *text, const char *expected)
{
    seen_t  seen;

    memset(&seen, 0, sizeof(seen));

    assert_int_equal(find(json, text, 100, &seen), PS_JSON_POINTER_ALL);
    assert_string_equal(seen.text, expected);
}


static void
test_rfc(void **state)
{
    check(rfc, "/foo", "[\"bar\",\"baz\"] ");
    check(rfc, "/foo/0", "\"bar\" ");
    check(rfc, "/foo/1", "\"baz\" ");
    check(rfc, "/", "0 ");
    check(rfc, "/a~1b", "1 ");
    check(rfc, "/c%d", "2 ");
    check(rfc, "/e^f", "3 ");
    check(rfc, "/g|h", "4 ");
    check(rfc, "/i\\j", "5 ");
    check(rfc, "/k\"l", "6 ");
    check(rfc, "/ ", "7 ");
    check(rfc, "/m~0n", "8 ");
    check("17", "", "17 ");
    check("{\"~1\":1,\"/\":2}", "/~01", "1 ");
    check("{\"\":{\"\":3}}", "//", "3 ");
}


static void
test_nowhere(void **state)
{
    check(rfc, "/bar", "");
    check(rfc, "/foo/2", "");
    check(rfc, "/foo/-", "");
    check(rfc, "/foo/-1", "");
    check(rfc, "/foo/+1", "");
    check(rfc, "/foo/00", "");
    check(rfc, "/foo/01", "");
    check(rfc, "/foo/1x", "");
    check(rfc, "/foo/", "");
    check(rfc, "/foo/18446744073709551616", "");
    check(rfc, "/foo/18446744073709551615", "");
    check(rfc, "/foo/0/0", "");
    check(rfc, "/a~1b/0", "");
    check("17", "/", "");
    check("null", "/*", "");
}


static void
test_any(void **state)
{
    check(order, "/lines/*/sku", "\"A\" \"B\" ");
    check(order, "/lines/*/0", "\"C\" ");
    check(order, "/lines/0/sku", "\"A\" ");
    check(order, "/by/*/sku", "\"X\" \"Y\" ");
    check(order, "/by/*/*", "\"X\" \"Y\" ");
    check(order, "/0", "\"zero\" ");
    check("[[1,2],[3,[4]]]", "/*/*", "1 2 3 [4] ");
    check("[]", "/*", "");
    check("{}", "/*", "");
    check(order, "/id/*", "");
}


static void
test_bounds(void **state)
{
    seen_t  seen;

    memset(&seen, 0, sizeof(seen));

    assert_int_equal(find("[1,2,3]", "/*", 3, &seen), PS_JSON_POINTER_ALL);
    assert_int_equal(seen.n, 3);

    assert_int_equal(find("[1,2,3]", "/*", 2, &seen), PS_JSON_POINTER_MORE);
    assert_string_equal(seen.text, "1 2 ");

    assert_int_equal(find("[[1],[2],[3]]", "/*/*", 1, &seen),
                     PS_JSON_POINTER_MORE);
    assert_string_equal(seen.text, "1 ");

    assert_int_equal(find("[]", "/*", 0, &seen), PS_JSON_POINTER_ALL);
    assert_int_equal(find("[1]", "/0", 0, &seen), PS_JSON_POINTER_MORE);

    seen.stop = 2;

    assert_int_equal(find("{\"a\":[1,2,3]}", "/*/*", 100, &seen),
                     PS_JSON_POINTER_STOPPED);
    assert_string_equal(seen.text, "1 2 ");
}


static void
refuse(const char *text, size_t len)
{
    const char  *err;

    err = NULL;

    assert_null(ps_json_pointer_parse(text, len, &err));
    assert_non_null(err);
}


static void
test_syntax(void **state)
{
    char                text[2 * (PS_JSON_POINTER_MAX_TOKENS + 1)];
    size_t              i;
    const char         *err;
    ps_json_pointer_t  *pointer;

    refuse("a", 1);
    refuse("#/a", 3);
    refuse("a/b", 3);
    refuse("/~", 2);
    refuse("/~2", 3);
    refuse("/a~", 3);
    refuse("/~~", 3);
    refuse("/a\0b", 4);

    for (i = 0; i < PS_JSON_POINTER_MAX_TOKENS + 1; i++) {
        text[2 * i] = '/';
        text[2 * i + 1] = 'a';
    }

    refuse(text, sizeof(text));

    pointer = ps_json_pointer_parse(text, sizeof(text) - 2, &err);
    assert_non_null(pointer);
    ps_json_pointer_free(pointer);

    /* nothing is read past the length */

    pointer = ps_json_pointer_parse("/a~0/b", 4, &err);
    assert_non_null(pointer);
    ps_json_pointer_free(pointer);

    ps_json_pointer_free(NULL);
}


static int
replace(const ps_json_match_t *match, void *data)
{
    assert_non_null(match->parent);

    if (match->key) {
        assert_int_equal(json_object_set_new(match->parent, match->key,
                                             json_string("***")), 0);
    } else {
        assert_int_equal(json_array_set_new(match->parent, match->index,
                                            json_string("***")), 0);
    }

    return 0;
}


static void
test_replace(void **state)
{
    char               *text;
    size_t              i;
    json_t             *document;
    const char         *err;
    ps_json_pointer_t  *pointer;

    static const char  *pointers[] = { "/lines/*/cost", "/bank/*", "/list/*" };

    document = json_loads("{\"lines\":[{\"cost\":1},{\"cost\":[2]},{}],"
                          "\"bank\":{\"iban\":\"x\",\"bic\":null},"
                          "\"list\":[1,2]}", 0, NULL);
    assert_non_null(document);

    for (i = 0; i < sizeof(pointers) / sizeof(pointers[0]); i++) {
        pointer = ps_json_pointer_parse(pointers[i], strlen(pointers[i]),
                                        &err);
        assert_non_null(pointer);
        assert_int_equal(ps_json_pointer_eval(pointer, document, 100, replace,
                                              NULL),
                         PS_JSON_POINTER_ALL);
        ps_json_pointer_free(pointer);
    }

    text = json_dumps(document, JSON_COMPACT|JSON_SORT_KEYS);
    assert_string_equal(text,
                        "{\"bank\":{\"bic\":\"***\",\"iban\":\"***\"},"
                        "\"lines\":[{\"cost\":\"***\"},{\"cost\":\"***\"},{}],"
                        "\"list\":[\"***\",\"***\"]}");

    free(text);
    json_decref(document);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_rfc),
        cmocka_unit_test(test_nowhere),
        cmocka_unit_test(test_any),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_syntax),
        cmocka_unit_test(test_replace),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
