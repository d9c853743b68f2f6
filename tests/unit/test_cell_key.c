
/*
 * Two cells with the same key show each other's numbers.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ps_cell_key.h"


/* what may be mistaken for something else */

static const char  letters[] = "a%?;:{} 3F25";


/* room for no more than three times, so that a write behind it is seen */

static char *
encode(const char *text, int scope)
{
    char            *room, *end, *copy;
    size_t           len;
    ps_json_text_t   id;

    len = strlen(text);

    room = malloc(3 * len + 1);
    copy = malloc(len ? len : 1);
    assert_non_null(room);
    assert_non_null(copy);
    memcpy(copy, text, len);

    id.data = copy;
    id.len = len;

    end = scope ? ps_cell_key_scope(room, copy, len)
                : ps_cell_key_id(room, &id);

    assert_true((size_t) (end - room) <= 3 * len);
    *end = '\0';

    free(copy);

    return room;
}


static void
expect(const char *text, int scope, const char *key)
{
    char  *got;

    got = encode(text, scope);
    assert_string_equal(got, key);
    free(got);
}


static void
test_ordinary_ones_stay(void **state)
{
    (void) state;

    expect("A-100", 0, "A-100");
    expect("", 0, "");
    expect("\xc3\xa9/a?b;c&d", 0, "\xc3\xa9/a?b;c&d");

    expect("/availability", 1, "/availability");
    expect("tenant 7 /availability", 1, "tenant 7 /availability");
    expect("httpshop.example/v1/stock:a={b}", 1,
           "httpshop.example/v1/stock:a={b}");
    expect("sha256", 1, "sha256");
    expect("/sha256:", 1, "/sha256:");
}


static void
test_others_are_encoded(void **state)
{
    (void) state;

    expect("a:b{c}d%e f\x7f\x01", 0, "a%3Ab%7Bc%7Dd%25e%20f%7F%01");

    expect("/a?x=1", 1, "/a%3Fx=1");
    expect("/a%3Fx=1", 1, "/a%253Fx=1");
    expect("/a;body=0", 1, "/a%3Bbody=0");
    expect("sha256:00", 1, "sha256%3A00");
    expect("sha256::", 1, "sha256%3A:");
}


/* all texts of up to three letters: each is told back from its key */

static void
decode(char *text)
{
    char          *to;
    unsigned long  ch;
    char           hex[3];

    for (to = text; *text; *to++ = (char) ch) {
        ch = (unsigned char) *text++;

        if (ch == '%') {
            hex[0] = *text++;
            hex[1] = *text++;
            hex[2] = '\0';
            ch = strtoul(hex, NULL, 16);
        }
    }

    *to = '\0';
}


static void
test_each_is_told_back(void **state)
{
    int      scope;
    char     text[4], *key;
    size_t   i, j, k, n;

    (void) state;

    n = sizeof(letters);                /* the last one: no letter */

    for (i = 0; i < n; i++) {
        for (j = 0; j < n; j++) {
            for (k = 0; k < n; k++) {
                text[0] = letters[i];
                text[1] = letters[j];
                text[2] = letters[k];
                text[3] = '\0';

                for (scope = 0; scope < 2; scope++) {
                    key = encode(text, scope);

                    assert_null(strpbrk(key, scope ? "?;" : ":{} "));

                    decode(key);
                    assert_string_equal(key, text);
                    free(key);
                }
            }
        }
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_ordinary_ones_stay),
        cmocka_unit_test(test_others_are_encoded),
        cmocka_unit_test(test_each_is_told_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
