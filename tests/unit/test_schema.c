
/*
 * A schema that can't be kept is refused when it is read, and says where; a
 * body's faults have their places; no body takes longer than its budget.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ps_number.h"
#include "ps_schema.h"
#include "ps_schema_format.h"
#include "ps_schema_regex.h"


static ps_json_tape_t     tape;
static ps_schema_fault_t  faults[8];
static size_t             nfaults;


static ps_schema_rc_e
check(const char *schema, const char *body)
{
    char             error[512];
    ps_schema_t     *s;
    ps_schema_rc_e   rc;

    s = ps_schema_compile(schema, strlen(schema), error, sizeof(error));

    if (s == NULL) {
        print_message("%s: %s\n", schema, error);
        fail();
    }

    assert_int_equal(ps_json_tape_read(&tape, body, strlen(body), 99,
                                       PS_JSON_TAPE_UNIQUE),
                     PS_JSON_OK);

    rc = ps_schema_check(s, &tape, faults, 8, &nfaults);

    ps_schema_free(s);

    return rc;
}


static void
test_refused(void **state)
{
    char          error[512];
    size_t        i;
    ps_schema_t  *s;

    static const char  *cases[][2] = {
        { "", "it ends too early, at byte 0" },
        { "{\"type\":1,}", "it is not JSON in UTF-8, at byte 10" },
        { "[]", "at \"\": a schema is an object, true or false" },
        { "{\"properties\":{\"a\":{\"minimun\":1}}}",
          "at \"/properties/a/minimun\": the keyword \"minimun\" is not "
          "supported" },
        { "{\"$defs\":{\"a/b\":{\"x\":1}}}", "at \"/$defs/a~1b/x\"" },
        { "{\"type\":\"int\"}", "at \"/type\": \"type\" must be null" },
        { "{\"type\":[]}", "\"type\" must be" },
        { "{\"minLength\":-1}", "\"minLength\" must be an integer" },
        { "{\"minLength\":1.5}", "\"minLength\" must be an integer" },
        { "{\"maxItems\":4294967296}", "\"maxItems\" must be an integer" },
        { "{\"minimum\":\"1\"}", "\"minimum\" must be a number" },
        { "{\"exclusiveMinimum\":true}", "must be a number" },
        { "{\"multipleOf\":0}", "must be a number above 0" },
        { "{\"multipleOf\":-1}", "must be a number above 0" },
        { "{\"multipleOf\":1234567890123456789}", "at most 18 digits" },
        { "{\"pattern\":\"(\"}", "at \"/pattern\": this regular expression "
          "can't be used: a \")\" is missing" },
        { "{\"pattern\":1}", "\"pattern\" must be a string" },
        { "{\"patternProperties\":{\"a++\":true}}", "nothing to repeat" },
        { "{\"format\":\"ipv4\"}", "this \"format\" is not supported" },
        { "{\"required\":\"a\"}", "at \"/required\": an array of strings" },
        { "{\"required\":[\"a\",\"a\"]}", "a name stands twice" },
        { "{\"enum\":[]}", "\"enum\" must be an array of values" },
        { "{\"items\":[true]}", "an array of them is \"prefixItems\"" },
        { "{\"anyOf\":[]}", "\"anyOf\" must be an array of schemas" },
        { "{\"properties\":[]}", "\"properties\" must be an object" },
        { "{\"definitions\":{}}", "write \"$defs\"" },
        { "{\"$dynamicRef\":\"#a\"}", "use \"$ref\"" },
        { "{\"$schema\":\"http://json-schema.org/draft-07/schema#\"}",
          "no other draft is supported" },
        { "{\"$ref\":\"#/$defs/x\"}", "at \"/$ref\": the reference leads to "
          "no schema" },
        { "{\"$ref\":\"other.json\"}", "leads to no schema" },
        { "{\"$ref\":\"#\"}", "which never ends" },
        { "{\"$defs\":{\"a\":{\"allOf\":[{\"$ref\":\"#/$defs/a\"}]}}}",
          "which never ends" },
        { "{\"items\":{\"$id\":\"x\"}}", "at the top of the file only" },
        { "{\"allOf\":[{\"$anchor\":\"a\"},{\"$anchor\":\"a\"}]}",
          "there is another" },
        { "{\"a\":1,\"a\":2}", "two members" }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        s = ps_schema_compile(cases[i][0], strlen(cases[i][0]), error,
                              sizeof(error));

        if (s || strstr(error, cases[i][1]) == NULL) {
            print_message("%s: %s\n", cases[i][0], s ? "taken" : error);
            fail();
        }
    }
}


static void
test_faults(void **state)
{
    assert_int_equal(check("{\"properties\":{\"a\":{\"items\":{\"type\":"
                           "[\"string\",\"null\"],\"maxLength\":2}}},"
                           "\"required\":[\"b\"]}",
                           "{\"a\":[\"x\",1,null,\"\xc3\xa9\xc3\xa9\","
                           "\"xyz\"]}"), PS_SCHEMA_INVALID);

    assert_int_equal(nfaults, 3);
    assert_string_equal(faults[0].pointer, "#");
    assert_string_equal(faults[0].detail, "the member \"b\" is missing");
    assert_string_equal(faults[1].pointer, "#/a/1");
    assert_string_equal(faults[1].detail, "must be null or a string");
    assert_string_equal(faults[2].pointer, "#/a/4");
    assert_string_equal(faults[2].detail, "must have at most 2 characters");

    /* a name of anybody's in a pointer */

    assert_int_equal(check("{\"additionalProperties\":false}",
                           "{\"a/b~ \xc3\xa9\\u0000\":1}"),
                     PS_SCHEMA_INVALID);
    assert_string_equal(faults[0].pointer, "#/a~1b~0%20%C3%A9%00");

    /* no more than there is room for */

    assert_int_equal(check("{\"items\":false}",
                           "[1,2,3,4,5,6,7,8,9,10,11,12]"),
                     PS_SCHEMA_INVALID);
    assert_int_equal(nfaults, 8);

    /* what is tried tells no faults */

    assert_int_equal(check("{\"anyOf\":[{\"type\":\"string\"},"
                           "{\"minimum\":5}]}", "1"), PS_SCHEMA_INVALID);
    assert_int_equal(nfaults, 1);
    assert_string_equal(faults[0].detail, "matches none of 2 alternatives");
}


/* a name longer than a pointer may be: the place around it is told */

static void
test_long_pointer(void **state)
{
    char  body[1024];

    memset(body, 'x', sizeof(body));
    memcpy(body, "{\"a\":{\"", 7);
    strcpy(body + 1000, "\":1}}");

    assert_int_equal(check("{\"properties\":{\"a\":{\"additionalProperties\":"
                           "false}}}", body), PS_SCHEMA_INVALID);
    assert_string_equal(faults[0].pointer, "#/a");

    assert_int_equal(check("{\"additionalProperties\":{"
                           "\"additionalProperties\":false}}", body),
                     PS_SCHEMA_INVALID);
    assert_string_equal(faults[0].pointer, "#/a");
}


static void
test_numbers(void **state)
{
    size_t        i;
    ps_number_t   a, b;
    ps_divisor_t  d;

    static const struct {
        const char  *one;
        const char  *two;
        int          compare;
        int          multiple;       /* -1: no divisor */
    } cases[] = {
        { "1", "1.0", 0, 1 },
        { "100", "1e2", 0, 1 },
        { "0", "-0.0e5", 0, -1 },
        { "-1", "1", -1, 1 },
        { "-2", "-1", -1, -1 },
        { "0.1", "0.09", 1, 0 },
        { "10.10", "0.01", 1, 1 },
        { "10.101", "0.01", 1, 0 },
        { "0.3", "0.1", 1, 1 },
        { "1e308", "0.123456789", 1, 0 },
        { "4.35", "0.01", 1, 1 },
        { "123456789012345678901234567890", "7", 1, 1 },
        { "123456789012345678901234567891", "123456789012345678901234567890",
          1, -1 },
        { "1e1000000", "1e999999", 1, 1 },
        { "1e-5", "0.00001", 0, 1 },
        { "7e99999999999999999999", "3", 1, 0 },
        { "6e99999999999999999999", "3", 1, 1 },
        { "0.00", "3", -1, 1 }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ps_number_read(&a, cases[i].one, strlen(cases[i].one));
        ps_number_read(&b, cases[i].two, strlen(cases[i].two));

        if (ps_number_compare(&a, &b) != cases[i].compare
            || ps_number_compare(&b, &a) != -cases[i].compare)
        {
            print_message("%s %s\n", cases[i].one, cases[i].two);
            fail();
        }

        if (ps_number_divisor(&b, &d) != (cases[i].multiple < 0 ? -1 : 0)
            || (cases[i].multiple >= 0
                && ps_number_is_multiple(&a, &d) != cases[i].multiple))
        {
            print_message("%s / %s\n", cases[i].one, cases[i].two);
            fail();
        }
    }
}


static void
test_regex(void **state)
{
    char                error[256];
    size_t              i;
    int64_t             budget;
    ps_schema_regex_t  *regex;

    static const struct {
        const char  *pattern;
        const char  *text;
        int          match;          /* -1: refused */
    } cases[] = {
        { "^a.c$", "abc", 1 },
        { "^a.c$", "a\nc", 0 },
        { "^a.c$", "a\xe2\x80\xa8" "c", 0 },
        { "^a$", "a\n", 0 },
        { "b", "abc", 1 },
        { "^\\s+$", " \t\xc2\xa0\xef\xbb\xbf", 1 },
        { "^\\S+$", "a\xc2\xa0", 0 },
        { "^[\\s]$", "\xe2\x80\x80", 1 },
        { "^[^\\S]$", "\xe2\x80\x80", 1 },
        { "^[\\S]$", "\xe2\x80\x80", 0 },
        { "^[\\S]$", "\xf0\x9f\x98\x80", 1 },
        { "^\\d$", "\xd9\xa1", 0 },
        { "^\\w$", "\xc3\xa9", 0 },
        { "^\\u00e9\\x41\\u{1F600}\\uD83D\\uDE00$",
          "\xc3\xa9" "A\xf0\x9f\x98\x80\xf0\x9f\x98\x80", 1 },
        { "^\\p{Letter}\\P{Nd}\\p{Script=Greek}$", "\xc3\xa9x\xce\xb1", 1 },
        { "^(a)(?:b)(?<n>c)\\1\\k<n>$", "abcac", 1 },
        { "^(?=a)(?!b)a(?<=a)(?<!b)$", "a", 1 },
        { "^[[:alpha:]\\]$", "a", 0 },
        { "^[[:alpha:]\\]$", ":]", 1 },
        { "^[\\b]$", "\b", 1 },
        { "^[]$", "", 0 },
        { "^[^]$", "\n", 1 },
        { "^\\cJ\\0$", "\n", 0 },
        { "^a{2}b{1,}c{0,2}?$", "aabcc", 1 },
        { "^\\-\\/\\#\\@$", "-/#@", 1 },
        { "a # b", "a # b", 1 },
        { "(?i)a", "", -1 },
        { "(?>a)", "", -1 },
        { "(?#a)", "", -1 },
        { "(*ACCEPT)", "", -1 },
        { "a++", "", -1 },
        { "a?+", "", -1 },
        { "a{1}+", "", -1 },
        { "a**", "", -1 },
        { "*", "", -1 },
        { "{,3}", "", -1 },
        { "a{,3}", "", -1 },
        { "\\A", "", -1 },
        { "\\Z", "", -1 },
        { "\\Qa\\E", "", -1 },
        { "\\K", "", -1 },
        { "\\R", "", -1 },
        { "\\h", "", -1 },
        { "\\01", "", -1 },
        { "\\p{Xan}", "", -1 },
        { "\\p{L&}", "", -1 },
        { "\\p{Nothing}", "", -1 },
        { "\\pL", "", -1 },
        { "\\ud800", "", -1 },
        { "\\u{110000}", "", -1 },
        { "\\", "", -1 },
        { "[a", "", -1 },
        { "a)", "", -1 },
        { "a}", "", -1 }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        regex = ps_schema_regex_compile(cases[i].pattern,
                                        strlen(cases[i].pattern), error,
                                        sizeof(error));
        budget = 100000;

        if ((regex == NULL) != (cases[i].match < 0)
            || (regex && (int) ps_schema_regex_match(regex, cases[i].text,
                                                     strlen(cases[i].text),
                                                     &budget)
                         != cases[i].match))
        {
            print_message("%s: %s\n", cases[i].pattern,
                          regex ? cases[i].text : error);
            fail();
        }

        ps_schema_regex_free(regex);
    }
}


/* formats: what the public suite does not ask */

static void
test_formats(void **state)
{
    size_t  i;

    static const struct {
        const char  *format;
        const char  *text;
        int          valid;
    } cases[] = {
        { "date", "2024-02-29", 1 },
        { "date", "2023-02-29", 0 },
        { "date", "1900-02-29", 0 },
        { "date", "2024-2-09", 0 },
        { "date-time", "2024-02-29T23:59:60Z", 1 },
        { "date-time", "2024-02-29 23:59:59Z", 0 },
        { "date-time", "2024-02-29T23:59:59", 0 },
        { "time", "15:59:60-08:00", 1 },
        { "time", "15:59:60+08:00", 0 },
        { "time", "24:00:00Z", 0 },
        { "uuid", "2eb8aa08-aa98-11ea-b4aa-73b441d16380", 1 },
        { "uuid", "2eb8aa08-aa98-11ea-b4aa-73b441d1638g", 0 },
        { "email", "a.b+c@example.com", 1 },
        { "email", "a..b@example.com", 0 },
        { "email", "a@-example.com", 0 },
        { "email", "@example.com", 0 },
        { "email", "a@b@example.com", 0 },
        { "email", "a@[127.0.0.1]", 1 },
        { "email", "a@[127.0.0.256]", 0 },
        { "uri", "https://u@example.com:80/a%20b?c#d", 1 },
        { "uri", "https://example.com/a b", 0 },
        { "uri", "//example.com", 0 },
        { "uri", "http://[::1]:80/", 1 },
        { "uri", "http://[::1:80/", 0 },
        { "uri", "urn:isbn:1", 1 },
        { "uri", "http://a/%2", 0 }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (ps_schema_format(cases[i].format, strlen(cases[i].format))
            ->check(cases[i].text, strlen(cases[i].text))
            != cases[i].valid)
        {
            print_message("%s %s\n", cases[i].format, cases[i].text);
            fail();
        }
    }
}


/* bodies that are small and would take for ever, or long */

static void
test_budget(void **state)
{
    char    *body, *p;
    size_t   i;

    body = malloc(600000);
    assert_non_null(body);

    /* two ways at each level: 2 to the 60 */

    p = body;

    for (i = 0; i < 60; i++) {
        p += sprintf(p, "{\"a\":");
    }

    *p++ = '1';
    memset(p, '}', 60);
    p[60] = '\0';

    assert_int_equal(check("{\"type\":\"object\",\"anyOf\":["
                           "{\"properties\":{\"a\":{\"$ref\":\"#\"}}},"
                           "{\"properties\":{\"a\":{\"$ref\":\"#\"}}}]}",
                           body), PS_SCHEMA_COSTLY);

    /* an expression that tries all ways */

    assert_int_equal(check("{\"pattern\":\"^(a|a)*$\"}",
                           "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab\""),
                     PS_SCHEMA_COSTLY);

    /* one that walks over the rest of a long text from each place */

    body[0] = '"';
    memset(body + 1, 'a', 500000);
    strcpy(body + 500001, "\"");

    assert_int_equal(check("{\"pattern\":\"(a+)+[bc]\"}", body),
                     PS_SCHEMA_COSTLY);
    assert_int_equal(check("{\"pattern\":\"^a*$\"}", body), PS_SCHEMA_VALID);

    /* many elements, none twice, and two large ones that are */

    p = body + sprintf(body, "[");

    for (i = 0; i < 50000; i++) {
        p += sprintf(p, "[%zu],", i);
    }

    strcpy(p - 1, "]");
    assert_int_equal(check("{\"uniqueItems\":true}", body), PS_SCHEMA_VALID);

    strcpy(p - 1, ",[49999e0]]");
    assert_int_equal(check("{\"uniqueItems\":true}", body),
                     PS_SCHEMA_INVALID);
    assert_string_equal(faults[0].pointer, "#/50000");

    free(body);
}


static void
test_unique(void **state)
{
    const char  *schema = "{\"uniqueItems\":true}";

    assert_int_equal(check(schema, "[1,true,\"1\",[1],{\"a\":1},null]"),
                     PS_SCHEMA_VALID);
    assert_int_equal(check(schema, "[{\"a\":1,\"b\":[2.0]},"
                                   "{\"b\":[2],\"a\":1e0}]"),
                     PS_SCHEMA_INVALID);
    assert_int_equal(check(schema, "[[1,2],[2,1]]"), PS_SCHEMA_VALID);
    assert_int_equal(check(schema, "[[[1],2],[1,[2]]]"), PS_SCHEMA_VALID);
    assert_int_equal(check(schema, "[\"\\u0061\",\"a\"]"),
                     PS_SCHEMA_INVALID);
    assert_int_equal(check(schema, "[0,-0.0]"), PS_SCHEMA_INVALID);
    assert_int_equal(check(schema, "[{},[],\"\",0,false]"), PS_SCHEMA_VALID);
}


static int
setup(void **state)
{
    uint8_t  bytes[PS_SIPHASH_KEY_LEN] = "0123456789abcde";

    ps_siphash_key(&tape.key, bytes);

    return 0;
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
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_long_pointer),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_regex),
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_budget),
        cmocka_unit_test(test_unique),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
