
/*
 * The cases of the W3C's own trace-context test suite, and the edges of the
 * level 2 grammar.  Where the suite still follows the keys of level 1
 * ("foo@=1" is invalid there), the text of level 2 is followed.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ps_trace_context.h"


#define T  "12345678901234567890123456789012"
#define P  "1234567890123456"


static char  text[65536];


static int
parse(ps_traceparent_t *tp, const char *value)
{
    int     rc;
    char   *copy;
    size_t  len;

    /* of exact size, so that a sanitizer sees a read behind it */

    len = strlen(value);
    copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, value, len);

    rc = ps_traceparent_parse(tp, copy, len);

    free(copy);

    return rc;
}


/* several fields, ended by NULL; NULL when the list is dropped */

static const char *
combine(const char *first, ...)
{
    char             *copy;
    size_t            len;
    va_list           args;
    const char       *value;
    ps_tracestate_t   ts;

    ps_tracestate_init(&ts, text);

    va_start(args, first);

    for (value = first; value; value = va_arg(args, const char *)) {
        len = strlen(value);
        copy = malloc(len ? len : 1);
        assert_non_null(copy);
        memcpy(copy, value, len);

        if (ps_tracestate_add(&ts, copy, len) != 0) {
            free(copy);
            va_end(args);
            return NULL;
        }

        free(copy);
    }

    va_end(args);

    text[ts.len] = '\0';

    return text;
}


/* "c" n times, then the rest */

static const char *
repeat(char c, int n, const char *rest)
{
    static char  buf[2048];

    memset(buf, c, (size_t) n);
    strcpy(buf + n, rest);

    return buf;
}


static const char *
members(int from, int to)
{
    int          i;
    char        *p;
    static char  buf[4096];

    p = buf;

    for (i = from; i <= to; i++) {
        p += sprintf(p, "%sbar%02d=%02d", i == from ? "" : ",", i, i);
    }

    return buf;
}


static void
traceparent_valid(void **state)
{
    ps_traceparent_t  tp;

    (void) state;

    assert_int_equal(parse(&tp, "00-" T "-" P "-01"), 0);
    assert_memory_equal(tp.trace_id, T, PS_TRACE_ID_LEN);
    assert_memory_equal(tp.span_id, P, PS_SPAN_ID_LEN);
    assert_int_equal(tp.flags, 1);

    assert_int_equal(parse(&tp, "00-0af7651916cd43dd8448eb211c80319c-"
                                "b7ad6b7169203331-00"), 0);
    assert_memory_equal(tp.trace_id, "0af7651916cd43dd8448eb211c80319c",
                        PS_TRACE_ID_LEN);
    assert_int_equal(tp.flags, 0);

    /* one digit that is not zero will do */

    assert_int_equal(parse(&tp, "00-00000000000000000000000000000001-"
                                "1000000000000000-00"), 0);
}


static void
traceparent_flags(void **state)
{
    int               i;
    char              value[64];
    ps_traceparent_t  tp;

    (void) state;

    /* sampled and random are kept, all others are zeroed */

    for (i = 0; i < 256; i++) {
        sprintf(value, "00-" T "-" P "-%02x", i);
        assert_int_equal(parse(&tp, value), 0);
        assert_int_equal(tp.flags, i & 3);

        sprintf(value, "01-" T "-" P "-%02x", i);
        assert_int_equal(parse(&tp, value), 0);
        assert_int_equal(tp.flags, i & 3);
    }
}


static void
traceparent_versions(void **state)
{
    int               i;
    char              value[80];
    ps_traceparent_t  tp;

    (void) state;

    assert_int_equal(parse(&tp, "00-" T "-" P "-01."), -1);
    assert_int_equal(parse(&tp, "00-" T "-" P "-01-"), -1);
    assert_int_equal(parse(&tp, "00-" T "-" P
                                "-01-what-the-future-will-be-like"), -1);

    assert_int_equal(parse(&tp, "cc-" T "-" P "-01"), 0);
    assert_int_equal(parse(&tp, "cc-" T "-" P "-01-"), 0);
    assert_int_equal(parse(&tp, "cc-" T "-" P
                                "-01-what-the-future-will-be-like"), 0);
    assert_memory_equal(tp.trace_id, T, PS_TRACE_ID_LEN);
    assert_int_equal(parse(&tp, "cc-" T "-" P
                                "-01.what-the-future-will-be-like"), -1);
    assert_int_equal(parse(&tp, "cc-" T "-" P "-011"), -1);

    for (i = 0; i < 256; i++) {
        sprintf(value, "%02x-" T "-" P "-01", i);
        assert_int_equal(parse(&tp, value), i == 255 ? -1 : 0);

        sprintf(value, "%02x-" T "-" P "-01-x", i);
        assert_int_equal(parse(&tp, value), (i == 0 || i == 255) ? -1 : 0);
    }
}


static void
traceparent_invalid(void **state)
{
    size_t            i;
    ps_traceparent_t  tp;

    static const char *const  values[] = {
        "",
        " ",
        "\t \t",
        "-",
        "00",
        "00-",
        "---",

        "ff-" T "-" P "-01",
        "FF-" T "-" P "-01",
        ".0-" T "-" P "-01",
        "0.-" T "-" P "-01",
        "CC-" T "-" P "-01",
        "000-" T "-" P "-01",
        "0000-" T "-" P "-01",
        "0-" T "-" P "-01",
        "-" T "-" P "-01",
        T "-" P "-01",

        "00-00000000000000000000000000000000-" P "-01",
        "00-.2345678901234567890123456789012-" P "-01",
        "00-1234567890123456789012345678901.-" P "-01",
        "00-1234567890123456789012345678901 -" P "-01",
        "00-0AF7651916CD43DD8448EB211C80319C-" P "-01",
        "00-0af7651916cd43dd8448eb211c80319g-" P "-01",
        "00-123456789012345678901234567890123-" P "-01",
        "00-1234567890123456789012345678901-" P "-01",
        "00--" P "-01",

        "00-" T "-0000000000000000-01",
        "00-" T "-.234567890123456-01",
        "00-" T "-123456789012345.-01",
        "00-" T "-B7AD6B7169203331-01",
        "00-" T "-12345678901234567-01",
        "00-" T "-123456789012345-01",
        "00-" T "--01",

        "00-" T "-" P "-.0",
        "00-" T "-" P "-0.",
        "00-" T "-" P "-0A",
        "00-" T "-" P "-001",
        "00-" T "-" P "-1",
        "00-" T "-" P "-",
        "00-" T "-" P,
        "00-" T "-" P "-0 1",

        "00_" T "-" P "-01",
        "00-" T "_" P "-01",
        "00-" T "-" P "_01",
        "00-" T "-" P "-01,00-" T "-" P "-01",
        "00-" T "-" P "-01 x"
    };

    (void) state;

    for (i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        if (parse(&tp, values[i]) != -1) {
            fail_msg("accepted: \"%s\"", values[i]);
        }
    }
}


/* no byte may be changed to anything but a hex digit or one for another */

static void
traceparent_every_byte(void **state)
{
    int               c, dash, hex;
    char              value[PS_TRACEPARENT_LEN + 1];
    size_t            i;
    ps_traceparent_t  tp;

    (void) state;

    for (i = 0; i < PS_TRACEPARENT_LEN; i++) {
        for (c = 1; c < 256; c++) {
            strcpy(value, "00-" T "-" P "-01");
            value[i] = (char) c;

            dash = (i == 2 || i == 35 || i == 52);
            hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');

            assert_int_equal(parse(&tp, value),
                             (dash ? c == '-' : hex) ? 0 : -1);
        }
    }
}


static void
traceparent_ows(void **state)
{
    size_t            i;
    ps_traceparent_t  tp;

    static const char *const  values[] = {
        " 00-" T "-" P "-01",
        "\t00-" T "-" P "-01",
        "00-" T "-" P "-01 ",
        "00-" T "-" P "-01\t",
        "\t 00-" T "-" P "-01 \t",
        " \t cc-" T "-" P "-01-x \t"
    };

    (void) state;

    for (i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        assert_int_equal(parse(&tp, values[i]), 0);
        assert_memory_equal(tp.trace_id, T, PS_TRACE_ID_LEN);
    }
}


static void
traceparent_write(void **state)
{
    char              value[PS_TRACEPARENT_LEN];
    uint8_t           random[PS_TRACE_RANDOM_LEN];
    ps_traceparent_t  tp, again;

    (void) state;

    assert_int_equal(parse(&tp, "cc-" T "-" P "-ff-later"), 0);
    memset(random, 0xab, sizeof(random));
    ps_traceparent_span(&tp, random);
    ps_traceparent_write(value, &tp);
    assert_memory_equal(value, "00-" T "-abababababababab-03",
                        PS_TRACEPARENT_LEN);

    ps_traceparent_start(&tp, random);
    ps_traceparent_write(value, &tp);
    assert_memory_equal(value, "00-abababababababababababababababab-"
                               "abababababababab-02", PS_TRACEPARENT_LEN);

    /* what is written can be read, even of a random source that fails */

    memset(random, 0, sizeof(random));
    ps_traceparent_start(&tp, random);
    ps_traceparent_span(&tp, random);
    ps_traceparent_write(value, &tp);
    assert_int_equal(ps_traceparent_parse(&again, value, sizeof(value)), 0);
    assert_memory_equal(&tp, &again, sizeof(tp));
}


static void
tracestate_combined(void **state)
{
    (void) state;

    assert_string_equal(combine("foo=1,bar=2", NULL), "foo=1,bar=2");
    assert_string_equal(combine("foo=1,bar=2", "rojo=1,congo=2", "baz=3",
                                NULL),
                        "foo=1,bar=2,rojo=1,congo=2,baz=3");
}


static void
tracestate_empty(void **state)
{
    (void) state;

    assert_string_equal(combine("", NULL), "");
    assert_string_equal(combine("foo=1", "", NULL), "foo=1");
    assert_string_equal(combine("", "foo=1", NULL), "foo=1");
    assert_string_equal(combine(",", NULL), "");
    assert_string_equal(combine(" , \t,,", NULL), "");
    assert_string_equal(combine(",foo=1,,\t,bar=2,", NULL), "foo=1,bar=2");

    /* empty ones do not count */

    assert_string_equal(combine(repeat(',', 1000, "foo=1"), NULL), "foo=1");
}


static void
tracestate_ows(void **state)
{
    (void) state;

    assert_string_equal(combine("foo=1 \t , \t bar=2, \t baz=3", NULL),
                        "foo=1,bar=2,baz=3");
    assert_string_equal(combine("foo=1\t \t,\t \tbar=2,\t \tbaz=3", NULL),
                        "foo=1,bar=2,baz=3");
    assert_string_equal(combine(" foo=1", NULL), "foo=1");
    assert_string_equal(combine("\tfoo=1", NULL), "foo=1");
    assert_string_equal(combine("foo=1 ", NULL), "foo=1");
    assert_string_equal(combine("foo=1\t", NULL), "foo=1");
    assert_string_equal(combine("\t foo=1 \t", NULL), "foo=1");

    /* leading spaces are of the value */

    assert_string_equal(combine("foo=  1,bar= 2 3 ", NULL),
                        "foo=  1,bar= 2 3");
}


static void
tracestate_duplicates(void **state)
{
    (void) state;

    assert_null(combine("foo=1,foo=1", NULL));
    assert_null(combine("foo=1,foo=2", NULL));
    assert_null(combine("foo=1", "foo=1", NULL));
    assert_null(combine("foo=1", "foo=2", NULL));
    assert_null(combine("foo=1,bar=2,foo=3", NULL));
    assert_string_equal(combine("foo=1,fo=1,fooo=1,oo=1", NULL),
                        "foo=1,fo=1,fooo=1,oo=1");
}


static void
tracestate_characters(void **state)
{
    int          c, key, first, value;
    char         in[16];
    const char  *out;

    (void) state;

    for (c = 1; c < 256; c++) {
        first = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        key = first || strchr("_-*/@", c) != NULL;
        value = c >= 0x20 && c <= 0x7e && c != ',' && c != '=';

        sprintf(in, "%cx=1", c);
        out = combine(in, NULL);
        assert_int_equal(out != NULL, first || strchr(" \t,", c) != NULL);

        /* "x,y=1": a member without "=" */

        sprintf(in, "x%cy=1", c);
        out = combine(in, NULL);
        assert_int_equal(out != NULL, key);

        sprintf(in, "x=1%c2", c);
        out = combine(in, NULL);
        assert_int_equal(out != NULL, value);
    }
}


static void
tracestate_all_allowed(void **state)
{
    int   c;
    char  in[512], *p;

    (void) state;

    p = in + sprintf(in, "abcdefghijklmnopqrstuvwxyz0123456789_-*/"
                         "@a-z0-9_-*/=");

    for (c = 0x20; c <= 0x7e; c++) {
        if (c != ',' && c != '=') {
            *p++ = (char) c;
        }
    }

    *p = '\0';

    assert_string_equal(combine(in, NULL), in);
}


static void
tracestate_keys(void **state)
{
    (void) state;

    assert_null(combine("foo =1", NULL));
    assert_null(combine("FOO=1", NULL));
    assert_null(combine("foo.bar=1", NULL));
    assert_null(combine("@foo=1,bar=2", NULL));
    assert_null(combine("_foo=1", NULL));
    assert_null(combine("=1", NULL));
    assert_null(combine("foo", NULL));
    assert_null(combine("foo,bar=1", NULL));

    /* level 2: "@" as any other */

    assert_non_null(combine("foo@=1,bar=2", NULL));
    assert_non_null(combine("foo@@bar=1,bar=2", NULL));
    assert_non_null(combine("foo@bar@baz=1,bar=2", NULL));
    assert_non_null(combine("0tenant@system=1", NULL));
}


static void
tracestate_values(void **state)
{
    (void) state;

    assert_null(combine("foo=bar=baz", NULL));
    assert_null(combine("foo=,bar=3", NULL));
    assert_null(combine("foo=", NULL));
    assert_null(combine("foo= \t ", NULL));
    assert_null(combine("foo=1\t2", NULL));
    assert_null(combine("foo=\t1", NULL));
    assert_null(combine("foo=caf\xc3\xa9", NULL));
}


static void
tracestate_lengths(void **state)
{
    char  value[1024];

    (void) state;

    assert_non_null(combine("foo=1", repeat('z', 256, "=1"), NULL));
    assert_null(combine("foo=1", repeat('z', 257, "=1"), NULL));
    assert_non_null(combine("foo=1", repeat('t', 241, "@vvvvvvvvvvvvvv=1"),
                            NULL));
    assert_non_null(combine("foo=1", repeat('t', 242, "@v=1"), NULL));
    assert_null(combine("foo=1", repeat('t', 242, "@vvvvvvvvvvvvvv=1"),
                        NULL));
    assert_non_null(combine("foo=1", "t@vvvvvvvvvvvvvvv=1", NULL));

    sprintf(value, "foo=%s", repeat('v', 256, ""));
    assert_string_equal(combine(value, NULL), value);
    sprintf(value, "foo=%s", repeat('v', 257, ""));
    assert_null(combine(value, NULL));
    sprintf(value, "foo=%s", repeat('v', 256, " \t"));
    assert_non_null(combine(value, NULL));
}


static void
tracestate_member_count(void **state)
{
    (void) state;

    assert_string_equal(combine(members(1, 32), NULL), members(1, 32));
    assert_null(combine(members(1, 33), NULL));
    assert_non_null(combine(members(1, 32), "", " , ", NULL));
    assert_null(combine(members(1, 32), "more=1", NULL));
}


/* the longest list there can be */

static void
tracestate_longest(void **state)
{
    int              i;
    char             key[300], in[1024];
    ps_tracestate_t  ts;

    (void) state;

    ps_tracestate_init(&ts, text);

    for (i = 0; i < PS_TRACESTATE_MEMBERS; i++) {
        sprintf(key, "%02d%s", i, repeat('k', 254, ""));
        sprintf(in, "%s=%s", key, repeat('v', 256, ""));
        assert_int_equal(ps_tracestate_add(&ts, in, strlen(in)), 0);
    }

    assert_int_equal(ts.len, 32 * 513 + 31);
    assert_int_equal(ps_tracestate_add(&ts, "a=1", 3), -1);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(traceparent_valid),
        cmocka_unit_test(traceparent_flags),
        cmocka_unit_test(traceparent_versions),
        cmocka_unit_test(traceparent_invalid),
        cmocka_unit_test(traceparent_every_byte),
        cmocka_unit_test(traceparent_ows),
        cmocka_unit_test(traceparent_write),
        cmocka_unit_test(tracestate_combined),
        cmocka_unit_test(tracestate_empty),
        cmocka_unit_test(tracestate_ows),
        cmocka_unit_test(tracestate_duplicates),
        cmocka_unit_test(tracestate_characters),
        cmocka_unit_test(tracestate_all_allowed),
        cmocka_unit_test(tracestate_keys),
        cmocka_unit_test(tracestate_values),
        cmocka_unit_test(tracestate_lengths),
        cmocka_unit_test(tracestate_member_count),
        cmocka_unit_test(tracestate_longest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
