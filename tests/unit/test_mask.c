
/*
 * What a caller may not see is gone, and no byte of the rest has changed.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ps_mask.h"


#define N  4


/* "pointers" with blanks between; "mask" NULL: removed */

static void
check(const char *text, const char *pointers, const char *mask,
    const char *expected)
{
    char                copy[256], *p, *dst;
    size_t              n, found;
    const char         *err;
    ps_json_tape_t      tape;
    ps_mask_rule_t      rule;
    ps_mask_text_t      masks[1];
    ps_json_pointer_t  *list[N];

    memset(&tape, 0, sizeof(tape));
    memset(&rule, 0, sizeof(rule));

    strcpy(copy, pointers);

    for (p = strtok(copy, " "); p; p = strtok(NULL, " ")) {
        list[rule.npointers] = ps_json_pointer_parse(p, strlen(p), &err);
        assert_non_null(list[rule.npointers]);
        rule.npointers++;
    }

    rule.pointers = list;
    rule.remove = (mask == NULL);

    masks[0].text = mask ? mask : "";
    masks[0].len = strlen(masks[0].text);

    assert_int_equal(ps_json_tape_read(&tape, text, strlen(text), 99, 0),
                     PS_JSON_OK);

    found = ps_mask_mark(&tape, &rule);

    dst = malloc(strlen(text) + 4 + found * masks[0].len);
    assert_non_null(dst);

    n = ps_mask_write(&tape, masks, dst);

    assert_int_equal(n, strlen(expected));
    assert_memory_equal(dst, expected, n);

    free(dst);
    ps_json_tape_free(&tape);

    for (n = 0; n < rule.npointers; n++) {
        ps_json_pointer_free(list[n]);
    }
}


static void
test_members(void **state)
{
    const char  *text = " { \"a\" : 1.0 , \"b\" : [ ] , \"c\" : 3 } ";

    check(text, "/x", NULL, text);
    check(text, "/a", NULL, " {\"b\" : [ ] , \"c\" : 3 } ");
    check(text, "/b", NULL, " { \"a\" : 1.0 , \"c\" : 3 } ");
    check(text, "/c", NULL, " { \"a\" : 1.0 , \"b\" : [ ] } ");
    check(text, "/a /b", NULL, " {\"c\" : 3 } ");
    check(text, "/a /c", NULL, " {\"b\" : [ ] } ");
    check(text, "/b /c", NULL, " { \"a\" : 1.0 } ");
    check(text, "/*", NULL, " { } ");
    check(text, "/a", "\"-\"",
          " { \"a\" : \"-\" , \"b\" : [ ] , \"c\" : 3 } ");
    check(text, "/*", "0", " { \"a\" : 0 , \"b\" : 0 , \"c\" : 0 } ");
}


static void
test_elements(void **state)
{
    check("[1,2,3]", "/0", NULL, "[2,3]");
    check("[1,2,3]", "/1", NULL, "[1,3]");
    check("[1,2,3]", "/2", NULL, "[1,2]");
    check("[1,2,3]", "/3 /- /01 /x", NULL, "[1,2,3]");
    check("[1,2,3]", "/0 /1 /2", NULL, "[]");
    check("[1,2,3]", "/1", "\"x\"", "[1,\"x\",3]");
    check("[[1,2],[3]]", "/*/0", NULL, "[[2],[]]");
}


static void
test_inside(void **state)
{
    check("{\"l\":[{\"c\":1,\"s\":2},{\"s\":3},{\"s\":4,\"c\":5}],\"c\":6}",
          "/l/*/c", NULL,
          "{\"l\":[{\"s\":2},{\"s\":3},{\"s\":4}],\"c\":6}");
    check("{\"a\":{\"b\":1,\"c\":2},\"d\":3}", "/a/b /a", NULL, "{\"d\":3}");
    check("{\"a\":{\"b\":1,\"c\":2},\"d\":3}", "/a /a/b", NULL, "{\"d\":3}");
    check("{\"x\":{\"b\":{\"c\":1}},\"y\":2}", "/x/b/c /y", NULL,
          "{\"x\":{\"b\":{}}}");
}


/* written in another way, and there twice, it is still found */

static void
test_spelling(void **state)
{
    check("{\"\\u0061\":1,\"b\":2,\"a\":3}", "/a", NULL, "{\"b\":2}");
    check("{\"a/b\":1,\"m~n\":2,\"\":3}", "/a~1b /m~0n /", NULL, "{}");
    check("{\"a\\u0000\":1}", "/a", NULL, "{\"a\\u0000\":1}");
}


static void
test_whole(void **state)
{
    check("{\"a\":1}", "", NULL, "{\"a\":1}");        /* no pointer at all */
    check(" 5 ", "/a", NULL, " 5 ");
}


/* two rules for one value */

static void
test_rules(void **state)
{
    char                dst[64];
    size_t              n;
    unsigned            i;
    const char         *err;
    ps_json_tape_t      tape;
    ps_mask_rule_t      rule;
    ps_mask_text_t      masks[2] = { { "\"A\"", 3 }, { "\"BB\"", 4 } };
    ps_json_pointer_t  *pointer;

    memset(&tape, 0, sizeof(tape));
    memset(&rule, 0, sizeof(rule));

    pointer = ps_json_pointer_parse("/*", 2, &err);
    assert_non_null(pointer);

    rule.pointers = &pointer;
    rule.npointers = 1;

    assert_int_equal(ps_json_tape_read(&tape, "[1,2]", 5, 9, 0), PS_JSON_OK);

    for (i = 0; i < 2; i++) {
        rule.mask = 1 - i;
        assert_int_equal(ps_mask_mark(&tape, &rule), i ? 0 : 2);
    }

    n = ps_mask_write(&tape, masks, dst);
    assert_int_equal(n, 11);
    assert_memory_equal(dst, "[\"BB\",\"BB\"]", n);

    rule.remove = 1;
    assert_int_equal(ps_mask_mark(&tape, &rule), 0);

    n = ps_mask_write(&tape, masks, dst);
    assert_int_equal(n, 2);
    assert_memory_equal(dst, "[]", n);

    ps_json_pointer_free(pointer);
    pointer = ps_json_pointer_parse("", 0, &err);
    assert_non_null(pointer);

    assert_int_equal(ps_mask_mark(&tape, &rule), 1);
    n = ps_mask_write(&tape, masks, dst);
    assert_int_equal(n, 4);
    assert_memory_equal(dst, "null", n);

    ps_json_pointer_free(pointer);
    ps_json_tape_free(&tape);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_elements),
        cmocka_unit_test(test_inside),
        cmocka_unit_test(test_spelling),
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_rules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
