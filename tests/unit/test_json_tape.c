
/*
 * Bodies are judged by where their values stand in the text: whatever the
 * bytes, the tape takes what another parser takes and finds the same there.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ps_json_tape.h"


static ps_json_tape_t  tape;


static ps_json_rc_e
parse(const char *text, unsigned depth)
{
    size_t        len;
    char         *copy;
    static char  *last;

    /* exactly as large, so that a read behind it is seen */

    len = strlen(text);
    copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, text, len);

    free(last);
    last = copy;

    return ps_json_tape_read(&tape, copy, len, depth, PS_JSON_TAPE_UNIQUE);
}


static void
string_is(uint32_t i, const char *expected, size_t len)
{
    size_t       n;
    const char  *p;

    assert_int_equal(tape.nodes[i].type, PS_JSON_STRING);

    p = ps_json_tape_string(&tape, i, &n);

    assert_int_equal(n, len);
    assert_memory_equal(p, expected, len);
}


static void
test_layout(void **state)
{
    const char      *text = " { \"a\" : [1.00, -0e+5 , true] , \"b\":{} } ";
    ps_json_node_t  *n;

    assert_int_equal(parse(text, 8), PS_JSON_OK);

    n = tape.nodes;

    assert_int_equal(tape.n, 8);
    assert_int_equal(tape.depth, 2);
    assert_int_equal(n[0].type, PS_JSON_OBJECT);
    assert_int_equal(n[0].pos, 1);
    assert_int_equal(n[0].len, strlen(text) - 2);
    assert_int_equal(n[0].count, 2);
    assert_int_equal(n[0].end, 8);
    string_is(1, "a", 1);
    assert_int_equal(n[2].count, 3);
    assert_int_equal(n[2].end, 6);
    assert_memory_equal(tape.text + n[3].pos, "1.00", n[3].len);
    assert_memory_equal(tape.text + n[4].pos, "-0e+5", n[4].len);
    assert_int_equal(n[5].type, PS_JSON_TRUE);
    assert_int_equal(ps_json_tape_get(&tape, 0, "b", 1), 7);
    assert_int_equal(ps_json_tape_get(&tape, 0, "c", 1), 0);
    assert_int_equal(ps_json_tape_get(&tape, 2, "a", 1), 0);
}


static void
test_strings(void **state)
{
    assert_int_equal(parse("[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\", \"\\u00e9\\u20AC"
                           "\\ud83d\\uDE00\\u0000x\", \"\", \"\xc3\xa9\"]",
                           1), PS_JSON_OK);

    string_is(1, "\"\\/\b\f\n\r\t", 8);
    string_is(2, "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\0x", 11);
    string_is(3, "", 0);
    string_is(4, "\xc3\xa9", 2);
}


static void
test_refused(void **state)
{
    size_t  i;

    static const struct {
        const char    *text;
        ps_json_rc_e   rc;
    } cases[] = {
        { "", PS_JSON_TRUNCATED },
        { " ", PS_JSON_TRUNCATED },
        { "[", PS_JSON_TRUNCATED },
        { "{\"a\"", PS_JSON_TRUNCATED },
        { "{\"a\":", PS_JSON_TRUNCATED },
        { "\"a", PS_JSON_TRUNCATED },
        { "\"a\\", PS_JSON_TRUNCATED },
        { "tru", PS_JSON_TRUNCATED },
        { "-", PS_JSON_TRUNCATED },
        { "1.", PS_JSON_TRUNCATED },
        { "1e", PS_JSON_TRUNCATED },
        { "[1,]", PS_JSON_INVALID },
        { "[1 2]", PS_JSON_INVALID },
        { "[1}", PS_JSON_INVALID },
        { "{\"a\":1,}", PS_JSON_INVALID },
        { "{a:1}", PS_JSON_INVALID },
        { "{\"a\" 1}", PS_JSON_INVALID },
        { "1 1", PS_JSON_INVALID },
        { "01", PS_JSON_INVALID },
        { "+1", PS_JSON_INVALID },
        { ".5", PS_JSON_INVALID },
        { "1.x", PS_JSON_INVALID },
        { "NaN", PS_JSON_INVALID },
        { "nul1", PS_JSON_INVALID },
        { "\"\n\"", PS_JSON_INVALID },
        { "\"\\x\"", PS_JSON_INVALID },
        { "\"\\u12\"", PS_JSON_INVALID },
        { "\"\\u12g4\"", PS_JSON_INVALID },
        { "\"\\ud800\"", PS_JSON_INVALID },
        { "\"\\ud800\\u0041\"", PS_JSON_INVALID },
        { "\"\\udc00\"", PS_JSON_INVALID },
        { "\"\xff\"", PS_JSON_INVALID },
        { "\"\xc0\xaf\"", PS_JSON_INVALID },
        { "\"\xed\xa0\x80\"", PS_JSON_INVALID },
        { "\xef\xbb\xbf[]", PS_JSON_INVALID },
        { "[[[]]]", PS_JSON_DEEP },
        { "{\"a\":1,\"b\":2,\"a\":3}", PS_JSON_DUPLICATE },
        { "{\"a\":1,\"\\u0061\":3}", PS_JSON_DUPLICATE },
        { "[[1,2]]", PS_JSON_OK },
        { "{\"a\":1,\"A\":3,\"\":4}", PS_JSON_OK }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (parse(cases[i].text, 2) != cases[i].rc) {
            print_message("%s\n", cases[i].text);
            fail();
        }
    }

    assert_int_equal(parse("[1, x]", 2), PS_JSON_INVALID);
    assert_int_equal(tape.error, 4);
}


/* an object of many members takes another way to find equal names */

static void
test_many(void **state)
{
    int          i, n, twice;
    char        *p;
    static char  text[200000];

    for (twice = 0; twice < 2; twice++) {
        for (n = 2; n < 5000; n = n * 3 + 1) {

            p = text;
            *p++ = '{';

            for (i = 0; i < n; i++) {
                p += sprintf(p, "\"k%d\":%d,",
                             twice && i == n - 1 ? n / 2 - 1 : i, i);
            }

            p[-1] = '}';
            *p = '\0';

            assert_int_equal(parse(text, 1), twice ? PS_JSON_DUPLICATE
                                                   : PS_JSON_OK);
        }
    }
}


/* 128 is the most, whatever is asked for */

static void
test_depth(void **state)
{
    char  text[512];

    memset(text, '[', 200);
    memset(text + 200, ']', 200);
    text[400] = '\0';

    assert_int_equal(parse(text, 200), PS_JSON_DEEP);
    assert_int_equal(tape.error, 128);

    text[328] = '\0';

    assert_int_equal(parse(text + 72, 1000), PS_JSON_OK);
    assert_int_equal(tape.depth, 128);
}


static int
teardown(void **state)
{
    ps_json_tape_free(&tape);

    return 0;
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_depth),
    };

    return cmocka_run_group_tests(tests, NULL, teardown);
}
