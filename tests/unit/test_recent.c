
/*
 * The table of what a process has met last: nothing is found but what was
 * kept, for the same context, within its time; and what is gone is wiped.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../../modules/oauth/ps_recent.h"


static const unsigned char  context[PS_RECENT_CONTEXT] = "a set of keys";
static ps_recent_t          table;


static const char *
find(const char *text, uint64_t now)
{
    size_t       len;
    const char  *value;

    value = ps_recent_find(&table, text, strlen(text), context, now, &len);

    if (value) {
        assert_int_equal(len, strlen(value) + 1);
        assert_int_equal((uintptr_t) value % 16, 0);
    }

    return value;
}


static void
keep(const char *text, const char *value, uint64_t now)
{
    ps_recent_keep(&table, text, strlen(text), context, value,
                   strlen(value) + 1, now);
}


static int
empty(void **state)
{
    (void) state;

    ps_recent_free(&table);

    return 0;
}


static void
test_found(void **state)
{
    (void) state;

    assert_null(find("header.payload.signature", 5));

    keep("header.payload.signature", "claims", 5);
    assert_string_equal(find("header.payload.signature", 5), "claims");
    assert_string_equal(find("header.payload.signature",
                             5 + PS_RECENT_MS - 1), "claims");
    assert_null(find("header.payload.signature", 5 + PS_RECENT_MS));

    keep("header.payload.signature", "other claims, longer than those", 2000);
    assert_string_equal(find("header.payload.signature", 2000),
                        "other claims, longer than those");
}


/* one byte less, more or other, at each place, is another text */

static void
test_every_byte(void **state)
{
    char      text[200];
    size_t    len, i;
    unsigned  bit;

    (void) state;

    for (len = 1; len < sizeof(text) - 1; len++) {
        memset(text, 'x', len);
        text[len] = '\0';

        ps_recent_free(&table);
        keep(text, "value", 0);
        assert_string_equal(find(text, 0), "value");

        for (i = 0; i < len; i++) {
            for (bit = 1; bit < 256; bit <<= 1) {
                text[i] ^= (char) bit;

                if (text[i] != '\0') {
                    assert_null(find(text, 0));
                }

                text[i] ^= (char) bit;
            }
        }

        text[len] = 'x';
        text[len + 1] = '\0';
        assert_null(find(text, 0));

        text[len - 1] = '\0';
        assert_null(find(text, 0));
    }
}


static void
test_context(void **state)
{
    size_t         len, i;
    unsigned char  other[PS_RECENT_CONTEXT];

    (void) state;

    keep("header.payload.signature", "claims", 0);

    for (i = 0; i < sizeof(other); i++) {
        memcpy(other, context, sizeof(other));
        other[i] ^= 1;

        assert_null(ps_recent_find(&table, "header.payload.signature", 24,
                                   other, 0, &len));
    }
}


static void
test_limits(void **state)
{
    char    *text;
    size_t   len;

    (void) state;

    text = calloc(1, PS_RECENT_VALUE + 1);
    assert_non_null(text);

    ps_recent_keep(&table, text, PS_RECENT_TEXT, context, "v", 2, 0);
    assert_non_null(ps_recent_find(&table, text, PS_RECENT_TEXT, context, 0,
                                   &len));

    /* what does not fit takes the place of what stood there all the same */

    ps_recent_keep(&table, text, PS_RECENT_TEXT + 1, context, "v", 2, 0);
    assert_null(ps_recent_find(&table, text, PS_RECENT_TEXT + 1, context, 0,
                               &len));
    assert_null(ps_recent_find(&table, text, PS_RECENT_TEXT, context, 0,
                               &len));

    ps_recent_keep(&table, text, 40, context, text, PS_RECENT_VALUE + 1, 0);
    assert_null(ps_recent_find(&table, text, 40, context, 0, &len));

    ps_recent_keep(&table, text, 40, context, text, PS_RECENT_VALUE, 0);
    assert_non_null(ps_recent_find(&table, text, 40, context, 0, &len));
    assert_int_equal(len, PS_RECENT_VALUE);

    ps_recent_keep(&table, "", 0, context, "v", 2, 0);
    assert_null(ps_recent_find(&table, "", 0, context, 0, &len));

    free(text);
}


/* many texts: each is found as itself or not at all, and nothing stays */

static void
test_many(void **state)
{
    int          i, found, slot, held;
    char         text[64], want[64];
    const char  *value;

    (void) state;

    for (i = 0; i < 10000; i++) {
        snprintf(text, sizeof(text), "token.of.%08x", i * 2654435761u);
        keep(text, text, 0);
    }

    found = 0;

    for (i = 0; i < 10000; i++) {
        snprintf(want, sizeof(want), "token.of.%08x", i * 2654435761u);
        value = find(want, 0);

        if (value) {
            assert_string_equal(value, want);
            found++;
        }
    }

    held = 0;

    for (slot = 0; slot < PS_RECENT_SLOTS; slot++) {
        held += table.slots[slot].text_len != 0;
    }

    assert_int_equal(found, held);
    assert_true(held > PS_RECENT_SLOTS / 2);
}


/* an old token's bytes don't lie behind a shorter one */

static void
test_wiped(void **state)
{
    size_t             i, slot;
    const char         marker[] = "SECRETSECRETSECRETSECRETSECRETSECRET-tail";
    ps_recent_slot_t  *s;

    (void) state;

    keep(marker, "claims of it", 0);
    keep("-tail-tail-tail", "", 0);
    keep("t-tail", "", 0);

    /* the same slot, by the same last eight bytes, and a shorter text */

    keep("ET-tail", "", 0);
    keep("CRET-tail", "v", 0);

    for (slot = 0; slot < PS_RECENT_SLOTS; slot++) {
        s = &table.slots[slot];

        for (i = 0; i + 6 <= s->size && s->text_len; i++) {
            assert_memory_not_equal(s->data + i, "SECRET", 6);
        }
    }

    assert_null(find(marker, 0));
    assert_string_equal(find("CRET-tail", 0), "v");
}


int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_found, empty),
        cmocka_unit_test_teardown(test_every_byte, empty),
        cmocka_unit_test_teardown(test_context, empty),
        cmocka_unit_test_teardown(test_limits, empty),
        cmocka_unit_test_teardown(test_many, empty),
        cmocka_unit_test_teardown(test_wiped, empty)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
