
/*
 * The walk over JSON text decides what an upstream's answer is cut into: it
 * must take what RFC 8259 takes and nothing else, agree with jansson about
 * every text, and never read past the end of one.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>

#include "ps_json_text.h"


#define S(text)  { text, sizeof(text) - 1 }


static uint64_t  seed = 88172645463325252ULL;


static unsigned
draw(unsigned n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;

    return (unsigned) ((seed >> 11) % n);
}


/* in a piece of memory of its own size, so that a read past it is seen */

static char *
exact(const char *text, size_t len)
{
    char  *copy;

    copy = malloc(len ? len : 1);
    assert_non_null(copy);

    if (len) {
        memcpy(copy, text, len);
    }

    return copy;
}


static int
check(const char *text, size_t len)
{
    int    rc;
    char  *copy;

    copy = exact(text, len);
    rc = ps_json_text_check(copy, len);
    free(copy);

    return rc;
}


static const ps_json_text_t  good[] = {
    S("0"), S("-0"), S("1"), S("-1"), S("10.00"), S("1e5"), S("1E+5"),
    S("0e0"), S("0E-0"), S("-0.0e-0"), S("123456789012345678901234567890"),
    S("0.1234567890123456789012345678901234567890"), S("1e400"),
    S("true"), S("false"), S("null"), S("\"\""), S("\"a\""), S("\"\x7f\""),
    S("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\""), S("\"\\uABCD\\uabcd\""),
    S("\"\\uD834\\uDD1E\""), S("\"\\u0000\""), S("\"\xc3\xa9\""),
    S("\"\xe2\x80\xa8\""), S("\"\xf0\x9d\x84\x9e\""),
    S("[]"), S("[ ]"), S("[1]"), S("[1,2]"), S(" [ 1 , 2 ] "),
    S("\t\r\n [\t\r\n 1\t\r\n ]\t\r\n "), S("[[],[[]]]"), S("[null,true]"),
    S("[\"a\",\"]\",\"}\",\",\"]"), S("{}"), S("{ }"), S("{\"\":0}"),
    S("{\"a\":1}"), S("{\"a\":1,\"a\":2}"), S(" { \"a\" : 1 , \"b\" : [ ] } "),
    S("{\"a\\u0000b\":{\"}\":\"{\"}}"), S("{\"a\":[{\"b\":{\"c\":[1]}}]}"),
};


static const ps_json_text_t  bad[] = {
    S(""), S(" "), S("\n"), S("-"), S("+1"), S("01"), S("-01"), S("00"),
    S("1."), S(".1"), S("1.e1"), S("1e"), S("1e+"), S("1e-"), S("1E"),
    S("1.0e"), S("0x1"), S("1_000"), S("1 2"), S("1,"), S(",1"), S("--1"),
    S("- 1"), S("1a"), S("NaN"), S("Infinity"), S("-Infinity"), S("1f"),
    S("t"), S("tru"), S("truee"), S("True"), S("TRUE"), S("nul"), S("nulll"),
    S("fals"), S("falsE"), S("true\0"), S("1\0"), S("\0"), S("\0001"),
    S("\""), S("\"a"), S("\"\\"), S("\"\\\""), S("\"\\u"), S("\"\\u0"),
    S("\"\\u00"), S("\"\\u004"), S("\"\\u0041"), S("\"\\u004\""),
    S("\"\\u00g1\""), S("\"\\U0041\""), S("\"\\x41\""), S("\"\\a\""),
    S("\"\\0\""), S("\"\\ \""), S("\"\\'\""), S("\"\n\""), S("\"\t\""),
    S("\"\x1f\""), S("\"\0\""), S("\"\\\n\""), S("'a'"), S("a"), S("\"a\"b"),
    S("\"a\"\"b\""), S("\xef\xbb\xbf[]"), S("[\xe2\x80\xa8]"), S("[\xc2\xa0]"),
    S("\x0b[]"), S("\x0c[]"), S("[]\x0c"), S("[]\0"), S("["), S("]"),
    S("[1"), S("[1,"), S("[1,]"), S("[,1]"), S("[,]"), S("[1,,2]"),
    S("[1 2]"), S("[1:2]"), S("[1}"), S("[\"a\"}"), S("[1]]"), S("[[1]"),
    S("[\"a\""), S("[-]"), S("[1.]"), S("[a]"), S("[\"a\n\"]"), S("[*]"),
    S("{"), S("}"), S("{]"), S("{\"a\""), S("{\"a\":"), S("{\"a\":1"),
    S("{\"a\":1,"), S("{\"a\":1,}"), S("{,}"), S("{\"a\"}"), S("{\"a\" 1}"),
    S("{\"a\",1}"), S("{\"a\"::1}"), S("{\"a\":}"), S("{\"a\":,}"),
    S("{:1}"), S("{a:1}"), S("{'a':1}"), S("{1:1}"), S("{null:1}"),
    S("{\"a\":1 \"b\":2}"), S("{\"a\":1]"), S("{\"a\":1}}"), S("{{}}"),
    S("{\"a\":1,,\"b\":2}"), S("{\"a\n\":1}"), S("{\"a\\z\":1}"), S("{[]:1}"),
    S("[]//"), S("[]/**/"), S("/**/[]"), S("[/**/]"), S("#\n[]"), S("<a/>"),
    S("[1]x"), S("[],"), S("{}{}"), S("\\u005b]"),
};


static void
test_check(void **state)
{
    size_t  i;

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        if (check(good[i].data, good[i].len) != 0) {
            fail_msg("refused: %s", good[i].data);
        }
    }

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (check(bad[i].data, bad[i].len) == 0) {
            fail_msg("taken: %s", bad[i].data);
        }
    }
}


/* no text cut short is one, unless it ends in a number or in white space */

static void
test_cut(void **state)
{
    size_t  i, len;

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {

        if (memchr("[{\"tfn", good[i].data[0], 6) == NULL) {
            continue;
        }

        for (len = 0; len < good[i].len; len++) {
            if (check(good[i].data, len) == 0) {
                fail_msg("taken: %.*s", (int) len, good[i].data);
            }
        }
    }
}


static void
test_depth(void **state)
{
    char      text[8 * (PS_JSON_TEXT_DEPTH + 1)], *p;
    unsigned  i, n;

    for (n = PS_JSON_TEXT_DEPTH; n <= PS_JSON_TEXT_DEPTH + 1; n++) {
        memset(text, '[', n);
        memset(text + n, ']', n);

        assert_int_equal(check(text, 2 * n), n > PS_JSON_TEXT_DEPTH ? -1 : 0);

        p = text;

        for (i = 0; i < n; i++) {
            p = stpcpy(p, (i % 2) ? "[" : "{\"\":");
        }

        *p++ = '0';

        while (i--) {
            *p++ = (i % 2) ? ']' : '}';
        }

        assert_int_equal(check(text, (size_t) (p - text)),
                         n > PS_JSON_TEXT_DEPTH ? -1 : 0);
    }

    /* hostile: deep enough to end a process that recursed freely */

    p = malloc(1000000);
    assert_non_null(p);

    memset(p, '[', 1000000);
    assert_int_equal(ps_json_text_check(p, 1000000), -1);

    for (i = 0; i < 1000000; i += 5) {
        memcpy(p + i, "{\"a\":", 5);
    }

    assert_int_equal(ps_json_text_check(p, 1000000), -1);

    free(p);
}


/* how deep a value is: 0 for a scalar */

static unsigned
depth(json_t *value)
{
    void        *at;
    json_t      *inner;
    size_t       i;
    unsigned     n, most;

    if (!json_is_array(value) && !json_is_object(value)) {
        return 0;
    }

    most = 0;

    if (json_is_array(value)) {

        for (i = 0; i < json_array_size(value); i++) {
            n = depth(json_array_get(value, i));
            most = (n > most) ? n : most;
        }

        return most + 1;
    }

    for (at = json_object_iter(value); at;
         at = json_object_iter_next(value, at))
    {
        inner = json_object_iter_value(at);
        n = depth(inner);
        most = (n > most) ? n : most;
    }

    return most + 1;
}


/*
 * jansson takes a text if and only if we do, but for what only who makes
 * numbers and strings of it can refuse: bytes that are no UTF-8, escaped zero
 * bytes, halves of surrogate pairs, numbers out of range; and how deep it may
 * be.
 */

static void
differ(const char *text, size_t len)
{
    int           rc;
    char         *copy;
    json_t       *value;
    json_error_t  err;

    copy = exact(text, len);
    rc = ps_json_text_check(copy, len);

    /* jansson does not see a zero byte behind a word or a number */

    if (memchr(text, '\0', len)) {
        assert_int_equal(rc, -1);
        free(copy);
        return;
    }

    value = json_loadb(copy, len, JSON_DECODE_ANY|JSON_ALLOW_NUL, &err);

    if (value) {
        if ((rc == 0) != (depth(value) <= PS_JSON_TEXT_DEPTH)) {
            fail_msg("we %s: %.*s", rc == 0 ? "take" : "refuse",
                     (int) len, text);
        }

        json_decref(value);

    } else if (rc == 0) {

        switch (json_error_code(&err)) {

        case json_error_invalid_utf8:
        case json_error_numeric_overflow:
        case json_error_null_byte_in_key:
            break;

        default:
            if (strncmp(err.text, "invalid Unicode", 15) != 0) {
                fail_msg("taken, but %s: %.*s", err.text, (int) len, text);
            }
        }
    }

    free(copy);
}


static void
test_differ(void **state)
{
    char                   text[256];
    size_t                 len, at;
    unsigned               i, j, n;
    const ps_json_text_t  *base;

    static const char  bytes[] = "[]{}\",:\\/ \t\n\r-+.eE0123456789"
                                 "abfnrtuslDd\x7f\xc3\xa9";

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        differ(good[i].data, good[i].len);
    }

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        differ(bad[i].data, bad[i].len);
    }

    /* each text with some of its bytes changed */

    for (i = 0; i < 300000; i++) {

        base = draw(4) ? &good[draw(sizeof(good) / sizeof(good[0]))]
                       : &bad[draw(sizeof(bad) / sizeof(bad[0]))];

        memcpy(text, base->data, base->len);
        len = base->len;

        for (n = 1 + draw(3); n; n--) {

            at = draw((unsigned) len + 1);

            switch (draw(3)) {

            case 0:
                if (at < len) {
                    text[at] = bytes[draw(sizeof(bytes) - 1)];
                }
                break;

            case 1:
                memmove(text + at + 1, text + at, len - at);
                text[at] = bytes[draw(sizeof(bytes) - 1)];
                len++;
                break;

            default:
                if (at < len) {
                    memmove(text + at, text + at + 1, len - at - 1);
                    len--;
                }
            }
        }

        differ(text, len);
    }

    /* and of all the short ones of the bytes that matter */

    for (i = 0; i < 600000; i++) {
        len = 1 + draw(7);

        for (j = 0; j < len; j++) {
            text[j] = bytes[draw(sizeof(bytes) - 1)];
        }

        differ(text, len);
    }
}


static char  names[1024];


static void
path_is(ps_json_path_t *path, const char *text)
{
    const char  *err;

    err = ps_json_path_parse(path, text, strlen(text), names);

    if (err) {
        fail_msg("%s: %s", text, err);
    }
}


static void
test_path(void **state)
{
    char            *buf, *text;
    unsigned         i;
    ps_json_path_t   path;

    static const char  *wrong[] = {
        "", "a", "a/b", "~", "/~", "/a~", "/a~2", "/~~", "/a/~", " /a",
        "/1/2/3/4/5/6/7/8/9", "/////////",
    };

    for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        text = exact(wrong[i], strlen(wrong[i]));
        buf = exact(wrong[i], strlen(wrong[i]));

        if (ps_json_path_parse(&path, text, strlen(wrong[i]), buf) == NULL) {
            fail_msg("taken: %s", wrong[i]);
        }

        free(text);
        free(buf);
    }

    path_is(&path, "/items");
    assert_int_equal(path.n, 1);
    assert_int_equal(path.token[0].len, 5);
    assert_memory_equal(path.token[0].data, "items", 5);

    path_is(&path, "/a~1b/~0~01/");
    assert_int_equal(path.n, 3);
    assert_int_equal(path.token[0].len, 3);
    assert_memory_equal(path.token[0].data, "a/b", 3);
    assert_int_equal(path.token[1].len, 3);
    assert_memory_equal(path.token[1].data, "~~1", 3);
    assert_int_equal(path.token[2].len, 0);

    path_is(&path, "/");
    assert_int_equal(path.n, 1);
    assert_int_equal(path.token[0].len, 0);

    path_is(&path, "/1/2/3/4/5/6/7/8");
    assert_int_equal(path.n, 8);
}


/* what is at a pointer, or "none" */

static const char *
at(const char *json, const char *pointer)
{
    int              rc;
    size_t           len;
    ps_json_path_t   path;
    ps_json_text_t   text, value;
    static char      out[256];

    path_is(&path, pointer);

    len = strlen(json);

    assert_int_equal(check(json, len), 0);

    text.data = exact(json, len);
    text.len = len;

    rc = ps_json_text_find(&text, &path, &value);

    if (rc == 0) {
        assert_true(value.data >= text.data
                    && value.data + value.len <= text.data + len);
        assert_int_equal(ps_json_text_check(value.data, value.len), 0);
        snprintf(out, sizeof(out), "%.*s", (int) value.len, value.data);
    }

    free((char *) text.data);

    return rc == 0 ? out : "none";
}


static void
test_find(void **state)
{
    const char  *doc;

    /* the example of RFC 6901, section 5 */

    doc = "{\"foo\":[\"bar\",\"baz\"],\"\":0,\"a/b\":1,\"c%d\":2,\"e^f\":3,"
          "\"g|h\":4,\"i\\\\j\":5,\"k\\\"l\":6,\" \":7,\"m~n\":8}";

    assert_string_equal(at(doc, "/foo"), "[\"bar\",\"baz\"]");
    assert_string_equal(at(doc, "/foo/0"), "\"bar\"");
    assert_string_equal(at(doc, "/foo/1"), "\"baz\"");
    assert_string_equal(at(doc, "/"), "0");
    assert_string_equal(at(doc, "/a~1b"), "1");
    assert_string_equal(at(doc, "/c%d"), "2");
    assert_string_equal(at(doc, "/e^f"), "3");
    assert_string_equal(at(doc, "/g|h"), "4");
    assert_string_equal(at(doc, "/i\\j"), "5");
    assert_string_equal(at(doc, "/k\"l"), "6");
    assert_string_equal(at(doc, "/ "), "7");
    assert_string_equal(at(doc, "/m~0n"), "8");

    assert_string_equal(at(doc, "/foo/2"), "none");
    assert_string_equal(at(doc, "/foo/00"), "none");
    assert_string_equal(at(doc, "/foo/01"), "none");
    assert_string_equal(at(doc, "/foo/-"), "none");
    assert_string_equal(at(doc, "/foo/-1"), "none");
    assert_string_equal(at(doc, "/foo/"), "none");
    assert_string_equal(at(doc, "/foo/1000000"), "none");
    assert_string_equal(at(doc, "/foo/99999999999999999999"), "none");
    assert_string_equal(at(doc, "/foo/0/0"), "none");
    assert_string_equal(at(doc, "/fo"), "none");
    assert_string_equal(at(doc, "/fooo"), "none");
    assert_string_equal(at(doc, "//"), "none");

    /* values as they are written */

    assert_string_equal(at(" {\"a\" : 10.00 } ", "/a"), "10.00");
    assert_string_equal(at("{\"a\":9223372036854775807}", "/a"),
                        "9223372036854775807");
    assert_string_equal(at("{\"a\":1E+2}", "/a"), "1E+2");
    assert_string_equal(at("{\"a\":[ 1 , 2 ]}", "/a"), "[ 1 , 2 ]");
    assert_string_equal(at("{\"a\":\"\\u00e9 \\\" }\"}", "/a"),
                        "\"\\u00e9 \\\" }\"");
    assert_string_equal(at("[ 0 ,\n1 ]", "/1"), "1");
    assert_string_equal(at("[]", "/0"), "none");
    assert_string_equal(at("[ ]", "/0"), "none");
    assert_string_equal(at("{}", "/a"), "none");
    assert_string_equal(at("{ }", "/a"), "none");
    assert_string_equal(at("7", "/a"), "none");
    assert_string_equal(at(" \"a\" ", "/a"), "none");
    assert_string_equal(at("null", "/"), "none");

    /* names that are written in another way */

    assert_string_equal(at("{\"\\u0061\":1}", "/a"), "1");
    assert_string_equal(at("{\"\\u0061b\":1}", "/a"), "none");
    assert_string_equal(at("{\"b\\u0061\":1}", "/b"), "none");
    assert_string_equal(at("{\"a\\/b\":1}", "/a~1b"), "1");
    assert_string_equal(at("{\"\\uD834\\uDD1E\":1}", "/\xf0\x9d\x84\x9e"),
                        "1");
    assert_string_equal(at("{\"\\u00e9\":1}", "/\xc3\xa9"), "1");
    assert_string_equal(at("{\"\\u20ac\":1}", "/\xe2\x82\xac"), "1");
    assert_string_equal(at("{\"\\ud800\":1,\"a\":2}", "/a"), "2");
    assert_string_equal(at("{\"\\ud800\\n\":1,\"a\":2}", "/a"), "2");
    assert_string_equal(at("{\"\\u0000\":1,\"\":2}", "/"), "2");
    assert_string_equal(at("{\"\\n\\r\\t\\b\\f\":1}", "/\n\r\t\b\f"), "1");

    /* twice is refused, however they are written, and only on the way */

    assert_string_equal(at("{\"a\":1,\"a\":1}", "/a"), "none");
    assert_string_equal(at("{\"a\":1,\"\\u0061\":2}", "/a"), "none");
    assert_string_equal(at("{\"a\":{\"b\":1},\"a\":{}}", "/a/b"), "none");
    assert_string_equal(at("{\"a\":1,\"b\":2,\"b\":3}", "/a"), "1");
    assert_string_equal(at("{\"x\":{\"a\":2},\"a\":1}", "/a"), "1");
}


static void
test_next(void **state)
{
    int              n;
    char             out[64];
    const char      *p;
    unsigned         i;
    ps_json_text_t   array, value;

    static const struct {
        const char  *array;
        const char  *is;
    } t[] = {
        { "[]", "" },
        { "[ \n]", "" },
        { "[1]", "1;" },
        { "[ 1\t,\r\n2 , 3 ]", "1;2;3;" },
        { "[[],[ ],{}]", "[];[ ];{};" },
        { "[\"]\",\",\",\"\\\"\"]", "\"]\";\",\";\"\\\"\";" },
        { "[null,10.00]", "null;10.00;" },
        { "[[[1,2],3],4]", "[[1,2],3];4;" },
    };

    for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        array.len = strlen(t[i].array);
        array.data = exact(t[i].array, array.len);

        p = array.data;
        n = 0;
        out[0] = '\0';

        while (ps_json_text_next(&array, &p, &value) == 1) {
            n += snprintf(out + n, sizeof(out) - n, "%.*s;",
                          (int) value.len, value.data);
        }

        assert_string_equal(out, t[i].is);

        /* and stays at the end */

        assert_int_equal(ps_json_text_next(&array, &p, &value), 0);

        free((char *) array.data);
    }

    array.data = "{\"a\":1}";
    array.len = 7;
    p = array.data;
    assert_int_equal(ps_json_text_next(&array, &p, &value), -1);

    array.data = "\"[1]\"";
    array.len = 5;
    p = array.data;
    assert_int_equal(ps_json_text_next(&array, &p, &value), -1);

    array.len = 0;
    p = array.data;
    assert_int_equal(ps_json_text_next(&array, &p, &value), -1);
}


static void
test_id(void **state)
{
    char            *buf;
    size_t           i;
    ps_json_text_t   value, id;

    static const struct {
        ps_json_text_t   json;
        ps_json_text_t   id;
    } is[] = {
        { S("\"\""), S("") },
        { S("\"A-1\""), S("A-1") },
        { S("\"a b,\""), S("a b,") },
        { S("\"\\u0041\""), S("A") },
        { S("\"\\u00e9\\u20AC\""), S("\xc3\xa9\xe2\x82\xac") },
        { S("\"\\uD834\\uDd1e!\""), S("\xf0\x9d\x84\x9e!") },
        { S("\"\\udbff\\udfff\""), S("\xf4\x8f\xbf\xbf") },
        { S("\"\\uffff\""), S("\xef\xbf\xbf") },
        { S("\"\\u007f\\u0080\\u07ff\\u0800\""),
          S("\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80") },
        { S("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""), S("\"\\/\b\f\n\r\t") },
        { S("\"\xff\""), S("\xff") },
        { S("0"), S("0") },
        { S("-0"), S("-0") },
        { S("42"), S("42") },
        { S("-7"), S("-7") },
        { S("123456789012345678901234567890"),
          S("123456789012345678901234567890") },
    };

    static const ps_json_text_t  none[] = {
        S("true"), S("false"), S("null"), S("[]"), S("[1]"), S("{}"),
        S("1.0"), S("10.00"), S("1e2"), S("1E2"), S("-1.5"),
        S("\"\\u0000\""), S("\"a\\u0000\""), S("\"\\ud800\""),
        S("\"\\ud800a\""), S("\"\\ud800\\n\""), S("\"\\ud800\\\\u\""),
        S("\"\\ud800\\u0041\""), S("\"\\ud800\\ud800\""), S("\"\\udc00\""),
        S("\"\\udc00\\ud800\""), S("\"a\\udfff\""), S("\"\\udbff\\ue000\""),
        { "", 0 },
    };

    for (i = 0; i < sizeof(is) / sizeof(is[0]); i++) {
        value.data = exact(is[i].json.data, is[i].json.len);
        value.len = is[i].json.len;
        buf = malloc(value.len);

        assert_int_equal(ps_json_text_check(value.data, value.len), 0);
        assert_int_equal(ps_json_text_id(&value, buf, &id), 0);
        assert_int_equal(id.len, is[i].id.len);
        assert_memory_equal(id.data, is[i].id.data, id.len);

        free(buf);
        free((char *) value.data);
    }

    for (i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        value.data = exact(none[i].data, none[i].len);
        value.len = none[i].len;
        buf = malloc(value.len ? value.len : 1);

        if (ps_json_text_id(&value, buf, &id) == 0) {
            fail_msg("taken: %s", none[i].data);
        }

        free(buf);
        free((char *) value.data);
    }
}


/* a document as random as it gets, with escapes and white space */

static char *
value_write(char *p, unsigned deep)
{
    unsigned  i, n;

    static const char  *scalar[] = {
        "0", "-1", "10.00", "1e5", "9007199254740993", "true", "false",
        "null", "\"\"", "\"a\"", "\"\\u00e9\"", "\"\\\"]}\"", "\" , : \"",
        "\"\\uD834\\uDD1E\"", "\"\xc3\xa9\"", "\"\\n\\/\"",
    };

    static const char  *blank[] = { "", "", "", " ", "\n", "\r\n\t " };

#define BLANK  p = stpcpy(p, blank[draw(6)])

    if (deep == 0 || draw(3) == 0) {
        return stpcpy(p, scalar[draw(16)]);
    }

    n = draw(5);

    if (draw(2)) {
        *p++ = '[';
        BLANK;

        for (i = 0; i < n; i++) {

            if (i) {
                *p++ = ',';
                BLANK;
            }

            p = value_write(p, deep - 1);
            BLANK;
        }

        *p++ = ']';

        return p;
    }

    *p++ = '{';
    BLANK;

    for (i = 0; i < n; i++) {

        if (i) {
            *p++ = ',';
            BLANK;
        }

        switch (draw(3)) {

        case 0:
            p += sprintf(p, "\"n%u\"", i);
            break;

        case 1:
            p += sprintf(p, "\"\\u006e%u\"", i);
            break;

        default:
            p += sprintf(p, "\"~/\\\"\\u00e9%u\"", i);
        }

        BLANK;
        *p++ = ':';
        BLANK;
        p = value_write(p, deep - 1);
        BLANK;
    }

    *p++ = '}';

    return p;

#undef BLANK
}


/* all that jansson finds in a value is at its pointer, and spelt so */

static void
walk(const ps_json_text_t *doc, json_t *value, char *pointer, char *end)
{
    char            *p, *buf;
    void            *it;
    size_t           i, n;
    json_t          *again;
    const char      *c, *at;
    ps_json_path_t   path;
    ps_json_text_t   text, id, element;

    *end = '\0';

    if (end != pointer) {
        buf = malloc((size_t) (end - pointer));

        assert_null(ps_json_path_parse(&path, pointer,
                                       (size_t) (end - pointer), buf));

        if (ps_json_text_find(doc, &path, &text) != 0) {
            fail_msg("no %s in %.*s", pointer, (int) doc->len, doc->data);
        }

        free(buf);

    } else {

        /* white space around it is not the value's */

        path.n = 0;
        assert_int_equal(ps_json_text_find(doc, &path, &text), 0);
    }

    again = json_loadb(text.data, text.len, JSON_DECODE_ANY, NULL);

    if (again == NULL || !json_equal(again, value)) {
        fail_msg("%s in %.*s", pointer, (int) doc->len, doc->data);
    }

    json_decref(again);

    if (json_is_string(value)) {
        buf = malloc(text.len);
        assert_int_equal(ps_json_text_id(&text, buf, &id), 0);
        assert_int_equal(id.len, json_string_length(value));
        assert_memory_equal(id.data, json_string_value(value), id.len);
        free(buf);

    } else if (json_is_array(value)) {
        n = 0;
        at = text.data;

        while (ps_json_text_next(&text, &at, &element) == 1) {
            n++;
        }

        assert_int_equal(n, json_array_size(value));

        for (i = 0; i < n; i++) {
            walk(doc, json_array_get(value, i), pointer,
                 end + sprintf(end, "/%zu", i));
        }

    } else if (json_is_object(value)) {

        for (it = json_object_iter(value); it;
             it = json_object_iter_next(value, it))
        {
            p = end;
            *p++ = '/';

            for (c = json_object_iter_key(it); *c; c++) {

                if (*c == '~' || *c == '/') {
                    *p++ = '~';
                    *p++ = (*c == '~') ? '0' : '1';

                } else {
                    *p++ = *c;
                }
            }

            walk(doc, json_object_iter_value(it), pointer, p);
        }
    }
}


static void
test_walk(void **state)
{
    char            *text, *end, pointer[512];
    json_t          *value;
    unsigned         i;
    ps_json_text_t   doc;

    text = malloc(1 << 20);
    assert_non_null(text);

    for (i = 0; i < 3000; i++) {
        end = stpcpy(text, draw(2) ? "" : " \n");
        end = value_write(end, 1 + draw(5));
        end = stpcpy(end, draw(2) ? "" : "\t\r\n ");

        doc.len = (size_t) (end - text);
        doc.data = exact(text, doc.len);

        assert_int_equal(ps_json_text_check(doc.data, doc.len), 0);

        value = json_loadb(doc.data, doc.len,
                           JSON_DECODE_ANY|JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(value);

        walk(&doc, value, pointer, pointer);

        json_decref(value);
        free((char *) doc.data);
    }

    free(text);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_differ),
        cmocka_unit_test(test_path),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_next),
        cmocka_unit_test(test_id),
        cmocka_unit_test(test_walk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
