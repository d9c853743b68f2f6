
/*
 * Tags decide what an order invalidates.  One that is missed leaves an old
 * number in the cache, so what can't be told must count as overflow.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ps_tags.h"


static ps_tags_t  tags;
static char      *input, *decoded;


static void
clear(void)
{
    free(input);
    free(decoded);

    input = NULL;
    decoded = NULL;

    tags.n = 0;
    tags.overflow = 0;
}


/* each tag with a ";" behind it */

static const char *
all(void)
{
    char         *p;
    unsigned      i;
    static char   text[65536];

    p = text;
    *p = '\0';

    for (i = 0; i < tags.n; i++) {
        p += sprintf(p, "%.*s;", (int) tags.tag[i].len, tags.tag[i].name);
    }

    return text;
}


static const char *
list(const char *value)
{
    clear();
    ps_tags_list(&tags, value, strlen(value));

    return all();
}


static const char *
query(const char *args, const char *arg)
{
    size_t  len, used;

    clear();

    len = strlen(args);

    /* exactly as large, so that a read or write behind them is seen */

    input = malloc(len ? len : 1);
    decoded = malloc(len ? len : 1);
    assert_non_null(input);
    assert_non_null(decoded);
    memcpy(input, args, len);

    used = ps_tags_query(&tags, input, len, arg, strlen(arg), decoded);
    assert_true(used <= len);

    return all();
}


static void
test_add(void **state)
{
    char  name[PS_TAG_MAX_LEN + 1];

    clear();
    ps_tags_add(&tags, "a", 1);
    ps_tags_add(&tags, "", 0);
    ps_tags_add(&tags, "a", 1);
    ps_tags_add(&tags, "A", 1);
    ps_tags_add(&tags, "a\0", 2);

    assert_int_equal(tags.n, 3);
    assert_false(tags.overflow);

    memset(name, 'x', sizeof(name));

    ps_tags_add(&tags, name, PS_TAG_MAX_LEN);
    assert_int_equal(tags.n, 4);
    assert_false(tags.overflow);

    ps_tags_add(&tags, name, PS_TAG_MAX_LEN + 1);
    assert_int_equal(tags.n, 4);
    assert_true(tags.overflow);
}


static void
test_overflow(void **state)
{
    unsigned     i;
    static char  names[PS_TAGS_MAX + 1][8];

    clear();

    for (i = 0; i < PS_TAGS_MAX; i++) {
        sprintf(names[i], "%u", i);
        ps_tags_add(&tags, names[i], strlen(names[i]));
    }

    assert_int_equal(tags.n, PS_TAGS_MAX);
    assert_false(tags.overflow);

    /* a known one still is no overflow */

    ps_tags_add(&tags, "7", 1);
    assert_false(tags.overflow);

    ps_tags_add(&tags, "one more", 8);
    assert_int_equal(tags.n, PS_TAGS_MAX);
    assert_true(tags.overflow);
}


static void
test_list(void **state)
{
    assert_string_equal(list(""), "");
    assert_string_equal(list(","), "");
    assert_string_equal(list(" , \t,"), "");
    assert_string_equal(list("a"), "a;");
    assert_string_equal(list("a,b"), "a;b;");
    assert_string_equal(list(" a\t, b b ,c,"), "a;b b;c;");
    assert_string_equal(list("b,a,b"), "b;a;");
}


static void
test_query(void **state)
{
    assert_string_equal(query("", "sku"), "");
    assert_string_equal(query("sku", "sku"), "");
    assert_string_equal(query("sku=", "sku"), "");
    assert_string_equal(query("sku=a", "sku"), "a;");
    assert_string_equal(query("sku=a&sku=b", "sku"), "a;b;");
    assert_string_equal(query("x=1&sku=a&&y=2&sku=b&", "sku"), "a;b;");
    assert_string_equal(query("sku=a,b&sku=b,c", "sku"), "a;b;c;");
    assert_string_equal(query("sku=a=b", "sku"), "a=b;");

    /* other names, and names are told apart by case */

    assert_string_equal(query("xsku=a&skux=b&SKU=c&sku[]=d", "sku"), "");
    assert_string_equal(query("sku=a&location=L1", "location"), "L1;");
}


/* as the upstream decodes it, or the tag would be another */

static void
test_query_decoding(void **state)
{
    assert_string_equal(query("sku=%41", "sku"), "A;");
    assert_string_equal(query("sku=a%2Cb", "sku"), "a;b;");
    assert_string_equal(query("sku=a%2cb", "sku"), "a;b;");
    assert_string_equal(query("sku=a+b", "sku"), "a b;");
    assert_string_equal(query("sku=a%2Bb", "sku"), "a+b;");
    assert_string_equal(query("sku=a%26sku%3Db", "sku"), "a&sku=b;");
    assert_string_equal(query("%73ku=a", "sku"), "a;");
    assert_string_equal(query("s%6bu=a&%73%6b%75=b", "sku"), "a;b;");
    assert_string_equal(query("sku=%2541", "sku"), "%41;");

    /* no escape */

    assert_string_equal(query("sku=%", "sku"), "%;");
    assert_string_equal(query("sku=%4", "sku"), "%4;");
    assert_string_equal(query("sku=%4&x", "sku"), "%4;");
    assert_string_equal(query("sku=%zz", "sku"), "%zz;");
    assert_string_equal(query("sku=%g1%1g", "sku"), "%g1%1g;");
    assert_string_equal(query("sku=%C3%A4", "sku"), "\xc3\xa4;");
}


static void
test_hash(void **state)
{
    char      name[8];
    unsigned  i, n, *count, most;

    assert_true(ps_tag_hash("a", 1) == ps_tag_hash("ab", 1));
    assert_true(ps_tag_hash("a", 1) != ps_tag_hash("b", 1));
    assert_true(ps_tag_hash("ab", 2) != ps_tag_hash("ba", 2));

    /* SKUs are often short numbers in a row: they must spread */

    count = calloc(32768, sizeof(unsigned));
    assert_non_null(count);

    most = 0;

    for (i = 0; i < 32768; i++) {
        sprintf(name, "%u", i);
        n = ++count[ps_tag_hash(name, strlen(name)) % 32768];
        most = n > most ? n : most;
    }

    assert_true(most < 16);
    free(count);
}


static int
end(void **state)
{
    clear();

    return 0;
}


int
main(void)
{
    const struct CMUnitTest  group[] = {
        cmocka_unit_test(test_add),
        cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_query),
        cmocka_unit_test(test_query_decoding),
        cmocka_unit_test(test_hash),
    };

    return cmocka_run_group_tests(group, NULL, end);
}
