
/*
 * An upstream's answer taken apart: what is not of the declared shape is
 * refused, and nothing of what is goes lost.
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
#include "ps_cell_split.h"


typedef struct {
    char      text[1024];
    unsigned  nid;
    unsigned  n;
    unsigned  stop;                     /* ends at that element */
} seen_t;


static ps_json_path_t  list, ids[PS_CELL_AXES];
static char            names[3][64];


static int
see(const ps_json_text_t *element, const ps_json_text_t *id, void *data)
{
    char      *p;
    seen_t    *seen = data;
    unsigned   i;

    p = seen->text + strlen(seen->text);

    for (i = 0; i < seen->nid; i++) {
        p += sprintf(p, "%.*s|", (int) id[i].len, id[i].data);
    }

    sprintf(p, "%.*s;", (int) element->len, element->data);

    return ++seen->n == seen->stop ? -1 : 0;
}


/*
 * "before", each element as "id|id|text;", and "behind", or "refused"; ids
 * at /s and, where two, at "second"
 */

static const char *
split_at(const char *json, const char *at, const char *second, unsigned stop)
{
    int               rc;
    char             *buf, *text;
    seen_t            seen;
    ps_cell_split_t   split;
    ps_json_text_t    answer;
    static char       out[2048];

    memset(&seen, 0, sizeof(seen));
    seen.nid = second ? 2 : 1;
    seen.stop = stop;

    assert_null(ps_json_path_parse(&list, at, strlen(at), names[0]));
    assert_null(ps_json_path_parse(&ids[0], "/s", 2, names[1]));

    if (second) {
        assert_null(ps_json_path_parse(&ids[1], second, strlen(second),
                                       names[2]));
    }

    split.list = &list;
    split.id = ids;
    split.nid = seen.nid;

    answer.len = strlen(json);
    text = malloc(answer.len ? answer.len : 1);
    buf = malloc(answer.len ? answer.len : 1);
    memcpy(text, json, answer.len);
    answer.data = text;

    rc = ps_cell_split(&split, &answer, buf, see, &seen);

    if (rc == 0) {
        snprintf(out, sizeof(out), "%.*s %s %.*s", (int) split.before.len,
                 split.before.data, seen.text, (int) split.behind.len,
                 split.behind.data);
    }

    free(buf);
    free(text);

    return rc == 0 ? out : "refused";
}


static const char *
split(const char *json)
{
    return split_at(json, "/items", NULL, 0);
}


static void
test_shape(void **state)
{
    assert_string_equal(split("{\"items\":[{\"s\":\"A\",\"q\":10.00}]}"),
                        "{\"items\":[ A|{\"s\":\"A\",\"q\":10.00}; ]}");
    assert_string_equal(split("{\"items\":[]}"), "{\"items\":[  ]}");
    assert_string_equal(split(" {\"as_of\" : 1e3, \"items\" : [ \n"
                              "{ \"s\" : 7 } ,\t{\"s\":\"\\u0041\"} \n] ,"
                              "\"n\":9007199254740993}\n"),
                        " {\"as_of\" : 1e3, \"items\" : [ "
                        "7|{ \"s\" : 7 };A|{\"s\":\"\\u0041\"}; "
                        "] ,\"n\":9007199254740993}\n");

    assert_string_equal(split_at("{\"a\":{\"b\":[[{\"s\":1}]]}}", "/a/b/0",
                                 NULL, 0),
                        "{\"a\":{\"b\":[[ 1|{\"s\":1}; ]]}}");
    assert_string_equal(split_at("[0,[{\"s\":1}]]", "/1", NULL, 0),
                        "[0,[ 1|{\"s\":1}; ]]");

    /* two ids, decoded both */

    assert_string_equal(split_at("{\"items\":[{\"s\":\"\\u0041\","
                                 "\"l\":{\"x\":\"\\n\"}}]}", "/items",
                                 "/l/x", 0),
                        "{\"items\":[ A|\n|{\"s\":\"\\u0041\","
                        "\"l\":{\"x\":\"\\n\"}}; ]}");

    /* the same one twice */

    assert_string_equal(split_at("{\"items\":[{\"s\":\"aaaaaaaaaaaaaaaaaaaaa"
                                 "aaaaaaaaaaaaaa\\n\"}]}", "/items", "/s", 0),
                        "{\"items\":[ aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n|"
                        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n|"
                        "{\"s\":\"aaaaaaaaaaaaaaaaaaaaa"
                        "aaaaaaaaaaaaaa\\n\"}; ]}");
}


static void
test_refused(void **state)
{
    unsigned  i, len;
    char      cut[128];

    static const char  *t[] = {
        "", " ", "null", "7", "\"items\"", "[]", "{}",
        "{\"item\":[]}", "{\"items\":{}}", "{\"items\":null}",
        "{\"items\":\"[]\"}", "{\"items\":7}",
        "{\"items\":[],\"items\":[]}", "{\"items\":[],\"item\\u0073\":[]}",
        "{\"items\":[1]}", "{\"items\":[\"s\"]}", "{\"items\":[null]}",
        "{\"items\":[[]]}", "{\"items\":[{}]}", "{\"items\":[{\"S\":1}]}",
        "{\"items\":[{\"s\":1},{}]}", "{\"items\":[{\"s\":1.0}]}",
        "{\"items\":[{\"s\":null}]}", "{\"items\":[{\"s\":[1]}]}",
        "{\"items\":[{\"s\":true}]}", "{\"items\":[{\"s\":1,\"s\":1}]}",
        "{\"items\":[{\"s\":\"\\u0000\"}]}",
        "{\"items\":[{\"s\":\"\\ud800\"}]}",
        "{\"items\":[{\"s\":1}]}x", "{\"items\":[{\"s\":1}],}",
        "{\"items\":[{\"s\":1},]}", "{\"items\":[{\"s\":1}]}{}",
        "{\"items\":[{\"s\":01}]}", "<html>", "\x1f\x8b\x08",
    };

    static const char  whole[] = "{\"items\":[{\"s\":\"A\",\"q\":10.00},"
                                 "{\"s\":\"\\u0042\"}],\"t\":\"x\"}";

    for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        if (strcmp(split(t[i]), "refused") != 0) {
            fail_msg("taken: %s", t[i]);
        }
    }

    /* two ids where one of them is missing */

    assert_string_equal(split_at("{\"items\":[{\"s\":1}]}", "/items", "/l",
                                 0), "refused");

    /* cut short anywhere */

    assert_string_not_equal(split(whole), "refused");

    for (len = 0; len < sizeof(whole) - 1; len++) {
        memcpy(cut, whole, len);
        cut[len] = '\0';
        assert_string_equal(split(cut), "refused");
    }

    /* the handler's word */

    assert_string_equal(split_at(whole, "/items", NULL, 2), "refused");
    assert_string_not_equal(split_at(whole, "/items", NULL, 3), "refused");
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_shape),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
