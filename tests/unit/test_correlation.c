
/*
 * A correlation ID goes into logs, headers and documents unescaped: so what
 * is accepted is tested byte by byte.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ps_correlation.h"


static void
id_lengths(void **state)
{
    char  id[PS_CORRELATION_ID_MAX + 1];

    (void) state;

    memset(id, 'a', sizeof(id));

    assert_false(ps_correlation_id_valid(id, 0));
    assert_true(ps_correlation_id_valid(id, 1));
    assert_true(ps_correlation_id_valid(id, PS_CORRELATION_ID_MAX));
    assert_false(ps_correlation_id_valid(id, PS_CORRELATION_ID_MAX + 1));
}


static void
id_every_byte(void **state)
{
    int          c, good;
    char         id[3];
    const char  *set = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                       "0123456789._~:/+=@-";

    (void) state;

    for (c = 0; c < 256; c++) {
        good = c != 0 && strchr(set, c) != NULL;

        id[0] = (char) c;
        assert_int_equal(ps_correlation_id_valid(id, 1), good);

        id[0] = 'a';
        id[1] = (char) c;
        id[2] = 'z';
        assert_int_equal(ps_correlation_id_valid(id, 3), good);
    }
}


static void
header_names(void **state)
{
    int          c, good;
    char         long_name[PS_CORRELATION_NAME_MAX + 1];
    size_t       i;
    const char  *token = "!#$%&'*+-.^_`|~0123456789"
                         "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

    static const char *const  reserved[] = {
        "Host", "host", "Content-Length", "TRANSFER-ENCODING", "connection",
        "Keep-Alive", "TE", "Upgrade", "Expect", "Authorization", "Cookie",
        "Set-Cookie", "Server", "Date", "traceparent", "TraceState",
        "X-Accel-Redirect", "X-Forwarded-For", "RateLimit"
    };

    (void) state;

    assert_int_equal(ps_correlation_name_check("X-Correlation-ID", 16),
                     PS_CORRELATION_NAME_OK);
    assert_int_equal(ps_correlation_name_check("X-Request-ID", 12),
                     PS_CORRELATION_NAME_OK);
    assert_int_equal(ps_correlation_name_check("Hosts", 5),
                     PS_CORRELATION_NAME_OK);
    assert_int_equal(ps_correlation_name_check("", 0),
                     PS_CORRELATION_NAME_LENGTH);

    memset(long_name, 'x', sizeof(long_name));

    assert_int_equal(ps_correlation_name_check(long_name,
                                               PS_CORRELATION_NAME_MAX),
                     PS_CORRELATION_NAME_OK);
    assert_int_equal(ps_correlation_name_check(long_name,
                                               PS_CORRELATION_NAME_MAX + 1),
                     PS_CORRELATION_NAME_LENGTH);

    for (c = 0; c < 256; c++) {
        good = c != 0 && strchr(token, c) != NULL;
        long_name[1] = (char) c;

        assert_int_equal(ps_correlation_name_check(long_name, 3),
                         good ? PS_CORRELATION_NAME_OK
                              : PS_CORRELATION_NAME_TOKEN);
    }

    for (i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
        assert_int_equal(ps_correlation_name_check(reserved[i],
                                                   strlen(reserved[i])),
                         PS_CORRELATION_NAME_RESERVED);
    }
}


/* RFC 9562, appendix A.6: 2022-02-22 14:22:22 GMT-05:00 */

static void
uuid_example(void **state)
{
    char           text[PS_UUID_LEN];
    const uint8_t  random[] = { 0x18, 0xc4, 0xdc, 0x0c,
                                0x0c, 0x07, 0x39, 0x8f };

    (void) state;

    ps_uuid7(text, 0x017f22e279b0ULL * 1000, random);

    assert_memory_equal(text, "017f22e2-79b0-7000-98c4-dc0c0c07398f",
                        PS_UUID_LEN);
}


static void
uuid_fields(void **state)
{
    int      i;
    char     text[PS_UUID_LEN];
    uint8_t  random[PS_UUID_RANDOM_LEN];

    (void) state;

    for (i = 0; i < 256; i++) {
        memset(random, i, sizeof(random));
        ps_uuid7(text, 1700000000123456ULL + (uint64_t) i, random);

        assert_int_equal(text[14], '7');
        assert_non_null(memchr("89ab", text[19], 4));
        assert_int_equal(text[8], '-');
        assert_int_equal(text[13], '-');
        assert_int_equal(text[18], '-');
        assert_int_equal(text[23], '-');
        assert_true(ps_correlation_id_valid(text, PS_UUID_LEN));
    }

    memset(random, 0xff, sizeof(random));
    ps_uuid7(text, UINT64_C(0xffffffffffff) * 1000 + 999, random);

    assert_memory_equal(text, "ffffffff-ffff-7ffb-bfff-ffffffffffff",
                        PS_UUID_LEN);
}


/* each microsecond sorts behind the one before, whatever the random bits */

static void
uuid_order(void **state)
{
    int       i;
    char      last[PS_UUID_LEN], text[PS_UUID_LEN];
    uint8_t   high[PS_UUID_RANDOM_LEN], low[PS_UUID_RANDOM_LEN];
    uint64_t  usec;

    (void) state;

    memset(high, 0xff, sizeof(high));
    memset(low, 0x00, sizeof(low));

    usec = 1700000000998000ULL;

    for (i = 0; i < 5000; i++) {
        ps_uuid7(last, usec, high);
        ps_uuid7(text, ++usec, low);
        assert_true(memcmp(last, text, PS_UUID_LEN) < 0);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(id_lengths),
        cmocka_unit_test(id_every_byte),
        cmocka_unit_test(header_names),
        cmocka_unit_test(uuid_example),
        cmocka_unit_test(uuid_fields),
        cmocka_unit_test(uuid_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
