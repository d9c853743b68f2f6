
/*
 * What a request asks for, read from its query or its body, and the same
 * request for some of that: one value too many or too few and the wrong cell
 * is served, so what can't be told must be refused.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ps_cell_query.h"
#include "ps_form.h"


#define MAX  16


static ps_cell_id_t    ids[PS_CELL_AXES][MAX];
static ps_cell_axis_t  axis[PS_CELL_AXES];
static ps_json_path_t  path[PS_CELL_AXES];
static char            names[PS_CELL_AXES][64];
static char           *text, *decoded, *end;


static void
clear(void)
{
    free(text);
    free(decoded);

    text = NULL;
    decoded = NULL;
}


/* exactly as large, so that a read or write behind them is seen */

static void
hold(const char *from, size_t len)
{
    clear();

    text = malloc(len ? len : 1);
    decoded = malloc(len ? len : 1);
    assert_non_null(text);
    assert_non_null(decoded);

    memcpy(text, from, len);
    end = decoded;
}


/* the values of an axis, each with a ";" behind it */

static const char *
values(const ps_cell_axis_t *a)
{
    int          n;
    unsigned     i;
    static char  out[4096];

    n = 0;
    out[0] = '\0';

    for (i = 0; i < a->n; i++) {
        n += snprintf(out + n, sizeof(out) - n, "%.*s;", (int) a->id[i].id.len,
                      a->id[i].id.data);
    }

    return out;
}


static int
query_n(const char *args, size_t len, const char *name)
{
    axis[0].name.data = name;
    axis[0].name.len = strlen(name);
    axis[0].path = NULL;
    axis[0].id = ids[0];

    hold(args, len);

    return ps_cell_query_ids(&axis[0], text, len, &end, MAX);
}


static const char *
query(const char *args, const char *name)
{
    if (query_n(args, strlen(args), name) != 0) {
        return "refused";
    }

    assert_true(end <= decoded + strlen(args));

    return values(&axis[0]);
}


static size_t
count(const char *args)
{
    ps_json_text_t  name = { "sku", 3 };

    hold(args, strlen(args));

    return ps_cell_query_count(&name, text, strlen(args), decoded);
}


/* whatever cells make of a list, its values are counted */

static void
test_count(void **state)
{
    int       n;
    char      args[4 * PS_CELL_AXIS_MAX];
    unsigned  i;

    (void) state;

    assert_int_equal(count(""), 0);
    assert_int_equal(count("sku"), 0);
    assert_int_equal(count("sku=&sku=,&sku=%2C+,%20,"), 0);
    assert_int_equal(count("sku=A"), 1);
    assert_int_equal(count("sku=A,A,%42&x=C&s%6Bu=D%2CE"), 5);
    assert_int_equal(count("skus=A&xsku=B&SKU=C"), 0);

    memset(args, 'x', 200);
    memcpy(args, "sku=", 4);
    strcpy(args + 200, ",A,B");
    assert_int_equal(count(args), 3);

    n = sprintf(args, "sku=");

    for (i = 0; i < PS_CELL_AXIS_MAX + 10; i++) {
        n += sprintf(args + n, "%u,", i % 10);
    }

    assert_int_equal(count(args), PS_CELL_AXIS_MAX + 10);
}


static void
test_query(void **state)
{
    char      args[3 * PS_CELL_ID_MAX + 16], *p;
    unsigned  i;

    assert_string_equal(query("sku=A,B", "sku"), "A;B;");
    assert_true(axis[0].asked);
    assert_false(axis[0].repeat);

    assert_string_equal(query("sku=A&sku=B", "sku"), "A;B;");
    assert_true(axis[0].repeat);

    assert_string_equal(query("sku=A,B&x=1&sku=C", "sku"), "A;B;C;");
    assert_false(axis[0].repeat);

    assert_string_equal(query("x=1", "sku"), "");
    assert_false(axis[0].asked);

    assert_string_equal(query("", "sku"), "");
    assert_false(axis[0].asked);

    assert_string_equal(query("sku", "sku"), "");
    assert_true(axis[0].asked);

    assert_string_equal(query("sku=", "sku"), "");
    assert_true(axis[0].asked);

    assert_string_equal(query("sku=,,+,%20,", "sku"), "");
    assert_true(axis[0].asked);

    assert_string_equal(query("sku=A", "sku"), "A;");
    assert_string_equal(query("SKU=A&Sku=B", "sku"), "");
    assert_string_equal(query("skus=A&sk=B&xsku=C", "sku"), "");
    assert_string_equal(query("sku==A", "sku"), "=A;");
    assert_string_equal(query("sku=A,A,B,A", "sku"), "A;A;B;A;");
    assert_string_equal(query(",sku=A&sku=B", "sku"), "B;");

    /* white space around a value, and empty ones */

    assert_string_equal(query("sku=A,+B+,%20%09C,,+,D+E", "sku"),
                        "A;B;C;D E;");

    /* encodings */

    assert_string_equal(query("sku=A%2CB", "sku"), "A;B;");
    assert_string_equal(query("sku=%41%2d1,%c3%A9", "sku"), "A-1;\xc3\xa9;");
    assert_string_equal(query("sku=100%,%4,%zz", "sku"), "100%;%4;%zz;");
    assert_string_equal(query("sku=a%26b%3Dc", "sku"), "a&b=c;");
    assert_string_equal(query("%73ku=A&s%6B%75=B&%73%6b%75=C", "sku"),
                        "A;B;C;");
    assert_string_equal(query("sku%5B%5D=A&sku[]=B", "sku[]"), "A;B;");
    assert_string_equal(query("a+b=A&a%20b=B&a%2Bb=C", "a b"), "A;B;");

    assert_int_equal(query_n("sku=a%00b", 9, "sku"), 0);
    assert_int_equal(axis[0].n, 1);
    assert_int_equal(axis[0].id[0].id.len, 3);
    assert_memory_equal(axis[0].id[0].id.data, "a\0b", 3);

    /* as many, as long, and no more */

    assert_string_equal(query("s=1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,", "s"),
                        "1;2;3;4;5;6;7;8;9;0;1;2;3;4;5;6;");
    assert_string_equal(query("s=1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7", "s"),
                        "refused");
    assert_string_equal(query("s=1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6&s=7", "s"),
                        "refused");

    for (i = PS_CELL_ID_MAX; i <= PS_CELL_ID_MAX + 1; i++) {

        p = stpcpy(args, "s=");
        memset(p, 'a', i);
        p[i] = '\0';

        assert_int_equal(query_n(args, strlen(args), "s"),
                         i > PS_CELL_ID_MAX ? -1 : 0);

        p = stpcpy(args, "s=");

        while (p < args + 2 + 3 * i) {
            p = stpcpy(p, "%61");
        }

        assert_int_equal(query_n(args, strlen(args), "s"),
                         i > PS_CELL_ID_MAX ? -1 : 0);
    }

    /* a name as long as one may be, encoded in full */

    memset(args, 'n', PS_CELL_ID_MAX);
    args[PS_CELL_ID_MAX] = '\0';

    axis[0].name.data = args;
    axis[0].name.len = PS_CELL_ID_MAX;

    hold(names[0], 0);
    free(text);
    text = malloc(3 * PS_CELL_ID_MAX + 2);

    for (p = text; p < text + 3 * PS_CELL_ID_MAX; p += 3) {
        memcpy(p, "%6e", 3);
    }

    memcpy(p, "=1", 2);

    free(decoded);
    end = decoded = malloc(1);

    assert_int_equal(ps_cell_query_ids(&axis[0], text,
                                       3 * PS_CELL_ID_MAX + 2, &end, MAX), 0);
    assert_int_equal(axis[0].n, 1);

    clear();
}


/* sku and location of a query; what is left of it */

static const char *
rest(const char *args)
{
    char         *out;
    size_t        len, n;
    static char   copy[512];

    axis[0].name.data = "sku";
    axis[0].name.len = 3;
    axis[0].path = NULL;
    axis[1].name.data = "loc";
    axis[1].name.len = 3;
    axis[1].path = NULL;

    len = strlen(args);
    out = malloc(len ? len : 1);
    hold(args, len);

    n = ps_cell_query_rest(axis, 2, text, len, out);
    assert_true(n <= len);

    memcpy(copy, out, n);
    copy[n] = '\0';
    free(out);

    return copy;
}


static void
test_rest(void **state)
{
    assert_string_equal(rest(""), "");
    assert_string_equal(rest("sku=A"), "");
    assert_string_equal(rest("sku=A&loc=B&sku=C"), "");
    assert_string_equal(rest("a=1&sku=A&b=2"), "a=1&b=2");
    assert_string_equal(rest("sku=A&a=1&loc=2"), "a=1");
    assert_string_equal(rest("a=1&s%6bu=A"), "a=1");
    assert_string_equal(rest("skus=1&Sku=2&loca=3"), "skus=1&Sku=2&loca=3");
    assert_string_equal(rest("a=%41&b=+"), "a=%41&b=+");
    assert_string_equal(rest("sku"), "");
    assert_string_equal(rest("&a=1&&sku=A&b&"), "a=1&b");

    clear();
}


/* asks "args" for some of its values: "skus" and "locs" are lists in it */

static const char *
rewrite(const char *args, const char *skus, const char *locs)
{
    char          *out;
    size_t         len, n, size;
    unsigned       i, j;
    const char    *p, *want[2];
    static char    copy[1024];
    ps_cell_id_t   picked[2][MAX];

    (void) rest(args);
    len = strlen(args);

    want[0] = skus;
    want[1] = locs;

    for (i = 0; i < 2; i++) {
        axis[i].id = ids[i];
        assert_int_equal(ps_cell_query_ids(&axis[i], text, len, &end, MAX),
                         0);

        axis[i].id = picked[i];
        axis[i].n = 0;

        for (p = want[i]; *p; p++) {
            j = (unsigned) (*p - '0');
            picked[i][axis[i].n++] = ids[i][j];
        }
    }

    size = ps_cell_query_size(axis, 2, len);
    out = malloc(size);
    n = ps_cell_query_write(axis, 2, text, len, out);
    assert_true(n <= size);

    memcpy(copy, out, n);
    copy[n] = '\0';
    free(out);
    clear();

    return copy;
}


static void
test_query_write(void **state)
{
    /* the numbers are places in the lists */

    assert_string_equal(rewrite("sku=A,B,C", "02", ""), "sku=A,C");
    assert_string_equal(rewrite("sku=A&sku=B&sku=C", "02", ""),
                        "sku=A&sku=C");
    assert_string_equal(rewrite("sku=A&sku=B,C", "12", ""), "sku=B,C");
    assert_string_equal(rewrite("x=1&sku=A,B&y=2&loc=M,N&z=3", "1", "0"),
                        "x=1&sku=B&y=2&loc=M&z=3");
    assert_string_equal(rewrite("x=1&sku=A&y=2&loc=M&sku=B&loc=N", "1", "10"),
                        "x=1&sku=B&y=2&loc=N&loc=M");
    assert_string_equal(rewrite("loc=M&sku=A", "0", "0"), "loc=M&sku=A");
    assert_string_equal(rewrite("s%6Bu=A&sku=B", "01", ""),
                        "s%6Bu=A&s%6Bu=B");
    assert_string_equal(rewrite("sku=A+B,%26%3d,%c3%a9", "012", ""),
                        "sku=A%20B,%26%3D,%C3%A9");
    assert_string_equal(rewrite("a=%41+&sku=A&b", "0", ""), "a=%41+&sku=A&b");
    assert_string_equal(rewrite("sku=A&&", "0", ""), "sku=A&");

    /* a list of nothing is not asked for */

    assert_string_equal(rewrite("a=1&sku=A&loc=&b=2", "0", ""),
                        "a=1&sku=A&b=2");
    assert_string_equal(rewrite("loc=&sku=A", "0", ""), "sku=A");
    assert_string_equal(rewrite("loc&sku=A", "0", ""), "sku=A");
    assert_string_equal(rewrite("", "", ""), "");
}


static const char *
body_n(const char *json, const char *pointer, unsigned k, unsigned max)
{
    ps_json_text_t  body;

    assert_null(ps_json_path_parse(&path[k], pointer, strlen(pointer),
                                   names[k]));

    axis[k].path = &path[k];
    axis[k].id = ids[k];

    if (k == 0) {
        hold(json, strlen(json));
        assert_int_equal(ps_json_text_check(text, strlen(json)), 0);
    }

    body.data = text;
    body.len = strlen(json);

    if (ps_cell_body_ids(&axis[k], &body, &end, max) != 0) {
        return "refused";
    }

    assert_true(end <= decoded + strlen(json));

    return values(&axis[k]);
}


static const char *
body(const char *json, const char *pointer)
{
    return body_n(json, pointer, 0, MAX);
}


static void
test_body(void **state)
{
    char      json[PS_CELL_ID_MAX * 6 + 32], *p;
    unsigned  i;

    assert_string_equal(body("{\"skus\":[\"A\",\"B\"]}", "/skus"), "A;B;");
    assert_true(axis[0].asked);
    assert_int_equal(axis[0].id[1].text.len, 3);
    assert_memory_equal(axis[0].id[1].text.data, "\"B\"", 3);
    assert_int_equal(axis[0].array.len, 9);

    assert_string_equal(body("{\"skus\":[7, -1 ,123456789012345678901]}",
                             "/skus"),
                        "7;-1;123456789012345678901;");
    assert_string_equal(body("{\"skus\":[\"\\u0041\",\"a\\/b\",\"\\u00e9\","
                             "\"\\uD834\\uDD1E\",\"plain\"]}", "/skus"),
                        "A;a/b;\xc3\xa9;\xf0\x9d\x84\x9e;plain;");
    assert_string_equal(body("{\"q\":{\"s\":[ \"A\" ]}}", "/q/s"), "A;");
    assert_string_equal(body("[[\"A\"]]", "/0"), "A;");
    assert_string_equal(body(" { \"skus\" : [ ] } ", "/skus"), "");
    assert_true(axis[0].asked);

    /* not there, or twice: all of the body decides */

    assert_string_equal(body("{\"sku\":[\"A\"]}", "/skus"), "");
    assert_false(axis[0].asked);
    assert_int_equal(axis[0].array.len, 0);

    assert_string_equal(body("{\"s\":[\"A\"],\"s\":[\"B\"]}", "/s"), "");
    assert_false(axis[0].asked);
    assert_string_equal(body("{\"s\":[\"A\"],\"\\u0073\":[\"B\"]}", "/s"), "");
    assert_false(axis[0].asked);
    assert_string_equal(body("[]", "/s"), "");
    assert_string_equal(body("7", "/s"), "");

    /* what is no list of ids */

    assert_string_equal(body("{\"s\":\"A\"}", "/s"), "refused");
    assert_string_equal(body("{\"s\":7}", "/s"), "refused");
    assert_string_equal(body("{\"s\":null}", "/s"), "refused");
    assert_string_equal(body("{\"s\":{}}", "/s"), "refused");
    assert_string_equal(body("{\"s\":[\"A\",null]}", "/s"), "refused");
    assert_string_equal(body("{\"s\":[\"A\",1.0]}", "/s"), "refused");
    assert_string_equal(body("{\"s\":[1e3]}", "/s"), "refused");
    assert_string_equal(body("{\"s\":[\"\"]}", "/s"), "refused");
    assert_string_equal(body("{\"s\":[[\"A\"]]}", "/s"), "refused");
    assert_string_equal(body("{\"s\":[\"\\u0000\"]}", "/s"), "refused");
    assert_string_equal(body("{\"s\":[\"\\ud800\"]}", "/s"), "refused");

    /* as many, as long, and no more */

    assert_string_equal(body_n("{\"s\":[1,2,3]}", "/s", 0, 3), "1;2;3;");
    assert_string_equal(body_n("{\"s\":[1,2,3,4]}", "/s", 0, 3), "refused");

    for (i = PS_CELL_ID_MAX; i <= PS_CELL_ID_MAX + 1; i++) {

        p = stpcpy(json, "{\"s\":[\"");
        memset(p, 'a', i);
        stpcpy(p + i, "\"]}");

        if (i > PS_CELL_ID_MAX) {
            assert_string_equal(body(json, "/s"), "refused");
            break;
        }

        assert_int_equal(strlen(body(json, "/s")), i + 1);

        p = stpcpy(json, "{\"s\":[\"");

        while (p < json + 7 + 6 * i) {
            p = stpcpy(p, "\\u0061");
        }

        stpcpy(p, "\"]}");

        assert_int_equal(strlen(body(json, "/s")), i + 1);
    }

    clear();
}


static const char *
body_write(const char *json, const char *skus, const char *locs)
{
    char            *out;
    size_t           n, size;
    unsigned         i;
    const char      *p, *want[2];
    static char      copy[1024];
    ps_cell_id_t     picked[2][MAX];
    ps_json_text_t   b;

    assert_string_not_equal(body_n(json, "/s", 0, MAX), "refused");
    assert_string_not_equal(body_n(json, "/l", 1, MAX), "refused");

    want[0] = skus;
    want[1] = locs;

    for (i = 0; i < 2; i++) {
        axis[i].id = picked[i];
        axis[i].n = 0;

        for (p = want[i]; *p; p++) {
            picked[i][axis[i].n++] = ids[i][*p - '0'];
        }
    }

    b.data = text;
    b.len = strlen(json);

    size = ps_cell_body_size(axis, 2, b.len);
    out = malloc(size ? size : 1);
    n = ps_cell_body_write(axis, 2, &b, out);
    assert_true(n <= size);

    memcpy(copy, out, n);
    copy[n] = '\0';
    free(out);
    clear();

    return copy;
}


static void
test_body_write(void **state)
{
    assert_string_equal(body_write("{\"s\":[\"A\",\"B\",\"C\"]}", "02", ""),
                        "{\"s\":[\"A\",\"C\"]}");
    assert_string_equal(body_write("{\"s\":[\"A\"],\"l\":[1,2]}", "0", "1"),
                        "{\"s\":[\"A\"],\"l\":[2]}");
    assert_string_equal(body_write("{\"l\":[1,2],\"s\":[\"A\"]}", "0", "01"),
                        "{\"l\":[1,2],\"s\":[\"A\"]}");
    assert_string_equal(body_write(" {\"x\":10.00, \"l\" : [ 1 , 2 ] ,\n"
                                   "\"y\":[],\"s\":[ \"\\u0041\"\n, 7]} ",
                                   "10", "0"),
                        " {\"x\":10.00, \"l\" : [1] ,\n"
                        "\"y\":[],\"s\":[7,\"\\u0041\"]} ");

    /* without values it is what else decides the answer */

    assert_string_equal(body_write("{\"s\":[ 1 ],\"l\":[2],\"x\":3}", "", ""),
                        "{\"s\":[],\"l\":[],\"x\":3}");
    assert_string_equal(body_write("{\"x\":3}", "", ""), "{\"x\":3}");
    assert_string_equal(body_write("{\"l\":[]}", "", ""), "{\"l\":[]}");
}


static void
test_index(void **state)
{
    char              *bytes;
    unsigned           i, n, differ;
    uint16_t          *slot;
    ps_cell_id_t      *id;
    ps_json_text_t     no;
    ps_cell_index_t    index;
    ps_siphash_key_t   key;

    ps_siphash_key(&key, (const uint8_t *) "0123456789abcdef");

    for (n = 0; n <= PS_CELL_AXIS_MAX; n += 1 + n / 3) {

        id = malloc((n + 1) * sizeof(ps_cell_id_t));
        bytes = malloc((n + 1) * 16);
        slot = malloc(ps_cell_index_size(n) * sizeof(uint16_t));

        assert_true(ps_cell_index_size(n) >= 2 * n);

        /* every third one twice */

        differ = 0;

        for (i = 0; i < n; i++) {
            id[i].id.data = bytes + i * 16;
            id[i].id.len = (size_t) sprintf(bytes + i * 16, "%u",
                                            i % 3 == 2 ? i - 1 : i);
            differ += (i % 3 != 2);
        }

        assert_int_equal(ps_cell_index_init(&index, id, n, &key, slot),
                         differ);

        for (i = 0; i < n; i++) {
            assert_int_equal(ps_cell_index_find(&index, &id[i].id),
                             i % 3 == 2 ? i - 1 : i);
        }

        no.data = "x";
        no.len = 1;
        assert_int_equal(ps_cell_index_find(&index, &no), -1);

        no.len = 0;
        assert_int_equal(ps_cell_index_find(&index, &no), -1);

        no.data = "999999";
        no.len = 6;
        assert_int_equal(ps_cell_index_find(&index, &no), -1);

        free(slot);
        free(bytes);
        free(id);
    }

    /* the first, not what begins like it */

    id = calloc(3, sizeof(ps_cell_id_t));
    slot = malloc(ps_cell_index_size(3) * sizeof(uint16_t));

    id[0].id.data = id[1].id.data = id[2].id.data = "AAA";
    id[0].id.len = 1;
    id[1].id.len = 3;
    id[2].id.len = 2;

    assert_int_equal(ps_cell_index_init(&index, id, 3, &key, slot), 3);
    assert_int_equal(ps_cell_index_find(&index, &id[2].id), 2);
    assert_int_equal(ps_cell_index_find(&index, &id[1].id), 1);

    free(slot);
    free(id);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_count),
        cmocka_unit_test(test_query),
        cmocka_unit_test(test_rest),
        cmocka_unit_test(test_query_write),
        cmocka_unit_test(test_body),
        cmocka_unit_test(test_body_write),
        cmocka_unit_test(test_index),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
