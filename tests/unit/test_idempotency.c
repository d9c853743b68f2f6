
/*
 * Idempotency keys as the field has them, and answers that are kept.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "../../modules/erp/ps_idempotency.h"


static void
test_key(void **state)
{
    size_t  i;
    char    key[PS_IDEMPOTENCY_KEY_MAX], longest[300];

    struct {
        const char  *text;
        const char  *key;
    } cases[] = {
        { "\"a\"", "a" }, { "  \"a b\"  ", "a b" },
        { "\"a\\\"\\\\\"", "a\"\\" }, { "\"~!;,=\"", "~!;,=" },
        { "", "" }, { "\"", "" }, { "\"\"", "" }, { "a", "" },
        { "\"a", "" }, { "a\"", "" }, { "\"a\"b\"", "" },
        { "\"a\"; p", "" }, { "\"a\", \"b\"", "" }, { "\"a\\\"", "" },
        { "\"\\n\"", "" }, { "\"\t\"", "" }, { "\"\x7f\"", "" },
        { "\"\xc3\xa9\"", "" }, { ":YQ==:", "" }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(ps_idempotency_key(cases[i].text,
                                            strlen(cases[i].text), key),
                         strlen(cases[i].key));
        assert_memory_equal(key, cases[i].key, strlen(cases[i].key));
    }

    memset(longest, 'x', sizeof(longest));
    longest[0] = '"';
    longest[256] = '"';
    assert_int_equal(ps_idempotency_key(longest, 257, key), 255);
    longest[256] = 'x';
    longest[257] = '"';
    assert_int_equal(ps_idempotency_key(longest, 258, key), 0);
}


static void
test_answer(void **state)
{
    char                     buf[256], cut[256];
    char                    *p;
    size_t                   i, len, nlen, vlen;
    const char              *q, *name, *value;
    ps_idempotency_answer_t  a;

    p = ps_idempotency_head(buf, 201, 2);
    p = ps_idempotency_field(p, "Location", 8, "/orders/1", 9);
    p = ps_idempotency_field(p, "X", 1, "", 0);
    memcpy(p, "body", 4);
    len = p + 4 - buf;

    assert_int_equal(ps_idempotency_answer(&a, buf, len), 0);
    assert_int_equal(a.status, 201);
    assert_int_equal(a.fields, 2);
    assert_int_equal(a.body_len, 4);
    assert_memory_equal(a.body, "body", 4);

    q = a.field;
    ps_idempotency_next(&q, &name, &nlen, &value, &vlen);
    assert_int_equal(nlen, 8);
    assert_int_equal(vlen, 9);
    assert_memory_equal(name, "Location", 8);
    assert_memory_equal(value, "/orders/1", 9);
    ps_idempotency_next(&q, &name, &nlen, &value, &vlen);
    assert_int_equal(vlen, 0);
    assert_ptr_equal(q, a.body);

    for (i = 0; i < len - 4; i++) {
        memcpy(cut, buf, len);
        assert_int_equal(ps_idempotency_answer(&a, cut, i), -1);
    }

    /* what would split the header, or is no answer */

    memcpy(cut, buf, len);
    cut[PS_IDEMPOTENCY_HEAD + PS_IDEMPOTENCY_FIELD + 8] = '\n';
    assert_int_equal(ps_idempotency_answer(&a, cut, len), -1);

    memcpy(cut, buf, len);
    cut[PS_IDEMPOTENCY_HEAD + PS_IDEMPOTENCY_FIELD] = ':';
    assert_int_equal(ps_idempotency_answer(&a, cut, len), -1);

    memcpy(cut, buf, len);
    cut[0] = '2';
    assert_int_equal(ps_idempotency_answer(&a, cut, len), -1);

    memcpy(cut, buf, len);
    cut[1] = 0;
    cut[2] = 100;
    assert_int_equal(ps_idempotency_answer(&a, cut, len), -1);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_key),
        cmocka_unit_test(test_answer)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
