
/*
 * What a sentinel says of a master's address: what Redis sends is taken, and
 * of anything else nothing.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "ps_sentinel.h"


static int
addr(ps_sentinel_addr_t *a, const char *host, const char *port)
{
    return ps_sentinel_addr(a, host, strlen(host), port, strlen(port));
}


static int
told(ps_sentinel_addr_t *a, const char *text)
{
    return ps_sentinel_switch(a, "shop", 4, text, strlen(text));
}


static void
test_addr(void **state)
{
    ps_sentinel_addr_t  a;

    (void) state;

    assert_int_equal(addr(&a, "127.0.0.1", "6379"), 0);
    assert_int_equal(a.port, 6379);
    assert_int_equal(a.host_len, 9);
    assert_memory_equal(a.host, "127.0.0.1", 9);

    assert_int_equal(addr(&a, "2001:db8::1", "1"), 0);
    assert_int_equal(a.port, 1);
    assert_int_equal(addr(&a, "redis-0.redis_headless.svc", "65535"), 0);
    assert_int_equal(a.port, 65535);
    assert_int_equal(addr(&a, "h", "06379"), 0);
    assert_int_equal(a.port, 6379);
}


static void
test_addr_bad(void **state)
{
    char                long_name[300];
    size_t              i;
    ps_sentinel_addr_t  a;

    static const char  *hosts[] = {
        "", " ", "a b", "a\n", "a/b", "[::1]", "a%25", "\xc3\xa9", "a\"", "a,b"
    };
    static const char  *ports[] = {
        "", "0", "00000", "65536", "99999", "-1", "+1", "1 ", " 1", "1x",
        "100000", "000001", "4294967297", "0x10"
    };

    (void) state;

    for (i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        assert_int_equal(addr(&a, hosts[i], "6379"), -1);
    }

    for (i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
        assert_int_equal(addr(&a, "h", ports[i]), -1);
    }

    assert_int_equal(ps_sentinel_addr(&a, "a\0b", 3, "1", 1), -1);
    assert_int_equal(ps_sentinel_addr(&a, "a", 1, "1\0", 2), -1);

    memset(long_name, 'a', sizeof(long_name));

    assert_int_equal(ps_sentinel_addr(&a, long_name, 255, "1", 1), 0);
    assert_int_equal(ps_sentinel_addr(&a, long_name, 256, "1", 1), -1);
}


static void
test_switch(void **state)
{
    ps_sentinel_addr_t  a;

    (void) state;

    assert_int_equal(told(&a, "shop 10.0.0.1 6379 10.0.0.2 6380"), 0);
    assert_int_equal(a.port, 6380);
    assert_int_equal(a.host_len, 8);
    assert_memory_equal(a.host, "10.0.0.2", 8);

    assert_int_equal(told(&a, "shop ::1 6379 redis-1.local 7"), 0);
    assert_int_equal(a.port, 7);
}


static void
test_switch_bad(void **state)
{
    size_t              i;
    ps_sentinel_addr_t  a;

    static const char  *texts[] = {
        "", "shop", "shop ", "shop 10.0.0.1 6379", "    ",
        "shop 10.0.0.1 6379 10.0.0.2", "shop 10.0.0.1 6379 10.0.0.2 ",
        "shop 10.0.0.1 6379 10.0.0.2 0", "shop 10.0.0.1 6379 10.0.0.2 65536",
        "shop 10.0.0.1 6379 10.0.0.2 6380 ",
        "shop 10.0.0.1 6379 10.0.0.2 6380 x",
        "shop  10.0.0.1 6379 10.0.0.2 6380",
        " shop 10.0.0.1 6379 10.0.0.2 6380",
        "shops 10.0.0.1 6379 10.0.0.2 6380",
        "sho 10.0.0.1 6379 10.0.0.2 6380",
        "SHOP 10.0.0.1 6379 10.0.0.2 6380",
        "shop 10.0.0.1 6379 10.0.0.2/x 6380"
    };

    (void) state;

    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_int_equal(told(&a, texts[i]), -1);
    }
}


static void
test_name(void **state)
{
    char  long_name[300];

    (void) state;

    assert_true(ps_sentinel_name("mymaster", 8));
    assert_true(ps_sentinel_name("A-z_0.9", 7));
    assert_false(ps_sentinel_name("", 0));
    assert_false(ps_sentinel_name("a b", 3));
    assert_false(ps_sentinel_name("a\0b", 3));
    assert_false(ps_sentinel_name("a\r\n", 3));
    assert_false(ps_sentinel_name("a:1", 3));

    memset(long_name, 'a', sizeof(long_name));

    assert_true(ps_sentinel_name(long_name, 255));
    assert_false(ps_sentinel_name(long_name, 256));
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_addr),
        cmocka_unit_test(test_addr_bad),
        cmocka_unit_test(test_switch),
        cmocka_unit_test(test_switch_bad),
        cmocka_unit_test(test_name)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
