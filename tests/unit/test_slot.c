/*
 * Slots as the Redis Cluster specification gives them, and redirections that
 * anyone may have written.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "ps_slot.h"


static unsigned
slot(const char *key)
{
    return ps_slot(key, strlen(key));
}


static void
test_slot(void **state)
{
    (void) state;

    /* 0x31c3: the specification's example */

    assert_int_equal(slot("123456789"), 0x31c3);
    assert_int_equal(slot("foo"), 12182);
    assert_int_equal(slot("bar"), 5061);
    assert_int_equal(slot(""), 0);
    assert_int_equal(ps_slot("\0\0", 2), 0);
    assert_true(slot("\xff\xfe\xfd") < PS_SLOTS);
}


static void
test_hash_tag(void **state)
{
    (void) state;

    assert_int_equal(slot("{user1000}.following"), slot("user1000"));
    assert_int_equal(slot("x{foo}y{bar}"), slot("foo"));
    assert_int_equal(slot("foo{}{bar}"), ps_slot("foo{}{bar}", 10));
    assert_int_not_equal(slot("foo{}{bar}"), slot("bar"));
    assert_int_equal(slot("foo{{bar}}zap"), slot("{bar"));
    assert_int_not_equal(slot("{foo"), slot("foo"));
    assert_int_not_equal(slot("foo}"), slot("foo"));
    assert_int_not_equal(slot("}foo{"), slot("foo"));
    assert_int_equal(slot("penstock:av:{a}:t:SKU"), slot("a"));
}


static int
parse(ps_redirect_t *r, const char *text)
{
    return ps_redirect_parse(r, text, strlen(text));
}


static void
test_redirect(void **state)
{
    ps_redirect_t  r;

    (void) state;

    assert_int_equal(parse(&r, "MOVED 3999 127.0.0.1:6381"), 0);
    assert_int_equal(r.slot, 3999);
    assert_int_equal(r.port, 6381);
    assert_int_equal(r.ask, 0);
    assert_int_equal(r.host_len, 9);
    assert_memory_equal(r.host, "127.0.0.1", 9);

    assert_int_equal(parse(&r, "ASK 16383 ::1:65535"), 0);
    assert_int_equal(r.slot, 16383);
    assert_int_equal(r.port, 65535);
    assert_int_equal(r.ask, 1);
    assert_int_equal(r.host_len, 3);

    assert_int_equal(parse(&r, "MOVED 0 :7"), 0);
    assert_int_equal(r.host_len, 0);
    assert_int_equal(parse(&r, "MOVED 0 redis-1.example:7"), 0);
}


static void
test_no_redirect(void **state)
{
    unsigned       i;
    ps_redirect_t  r;

    static const char  *bad[] = {
        "", "MOVED", "MOVED ", "ASK ", "MOVED 1", "MOVED 1 ", "MOVED 1 a",
        "MOVED 1 a:", "MOVED 1 a:0", "MOVED 1 a:65536", "MOVED 16384 a:1",
        "MOVED -1 a:1", "MOVED 99999999999999999999 a:1", "MOVED  a:1",
        "MOVED 1  a:1", "MOVED 1 a b:1", "MOVED 1 a:1 ", "moved 1 a:1",
        "MOVEDX 1 a:1", "ASKING 1 a:1", "MOVED 1x a:1", "ERR MOVED 1 a:1",
        "MOVED 1 ?:1", "MOVED 1 a/b:1", "MOVED 1 a\tb:1", "MOVED 1 \xff:1"
    };

    (void) state;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(parse(&r, bad[i]), -1);
    }
}


/* a reply as the client reads it, for freeReplyObject() */

static redisReply *
reply(const char *text)
{
    void         *p;
    redisReader  *reader;

    reader = redisReaderCreate();
    assert_non_null(reader);
    assert_int_equal(redisReaderFeed(reader, text, strlen(text)), REDIS_OK);
    assert_int_equal(redisReaderGetReply(reader, &p), REDIS_OK);
    assert_non_null(p);
    redisReaderFree(reader);

    return p;
}


static int
range(ps_slot_range_t *r, const char *text)
{
    int          rc;
    redisReply  *p;

    p = reply(text);
    rc = ps_slot_range_parse(r, p);

    /* where it points to is gone */

    r->host = NULL;
    freeReplyObject(p);

    return rc;
}


static void
test_range(void **state)
{
    redisReply       *p;
    ps_slot_range_t   r;

    (void) state;

    p = reply("*4\r\n:5461\r\n:10922\r\n"
              "*3\r\n$9\r\n127.0.0.1\r\n:6380\r\n$2\r\nid\r\n"
              "*3\r\n$9\r\n127.0.0.2\r\n:6383\r\n$2\r\nir\r\n");

    assert_int_equal(ps_slot_range_parse(&r, p), 0);
    assert_int_equal(r.first, 5461);
    assert_int_equal(r.last, 10922);
    assert_int_equal(r.port, 6380);
    assert_int_equal(r.host_len, 9);
    assert_memory_equal(r.host, "127.0.0.1", 9);

    freeReplyObject(p);

    /* who tells leaves out its own name, or has none */

    assert_int_equal(range(&r, "*3\r\n:0\r\n:16383\r\n"
                               "*2\r\n$-1\r\n:65535\r\n"), 0);
    assert_int_equal(r.host_len, 0);
    assert_int_equal(r.port, 65535);
    assert_int_equal(range(&r, "*3\r\n:7\r\n:7\r\n"
                               "*2\r\n$0\r\n\r\n:1\r\n"), 0);
}


static void
test_no_range(void **state)
{
    unsigned         i;
    ps_slot_range_t  r;

    static const char  *bad[] = {
        ":1\r\n", "*0\r\n", "*-1\r\n", "*2\r\n:0\r\n:1\r\n",
        "*3\r\n:0\r\n:1\r\n:2\r\n",
        "*3\r\n:0\r\n:1\r\n*0\r\n",
        "*3\r\n:0\r\n:1\r\n*1\r\n$1\r\na\r\n",
        "*3\r\n:-1\r\n:1\r\n*2\r\n$1\r\na\r\n:1\r\n",
        "*3\r\n:2\r\n:1\r\n*2\r\n$1\r\na\r\n:1\r\n",
        "*3\r\n:0\r\n:16384\r\n*2\r\n$1\r\na\r\n:1\r\n",
        "*3\r\n$1\r\n0\r\n:1\r\n*2\r\n$1\r\na\r\n:1\r\n",
        "*3\r\n:0\r\n$1\r\n1\r\n*2\r\n$1\r\na\r\n:1\r\n",
        "*3\r\n:0\r\n:1\r\n*2\r\n$1\r\na\r\n:0\r\n",
        "*3\r\n:0\r\n:1\r\n*2\r\n$1\r\na\r\n:65536\r\n",
        "*3\r\n:0\r\n:1\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n",
        "*3\r\n:0\r\n:1\r\n*2\r\n:1\r\n:1\r\n",
        "*3\r\n:0\r\n:1\r\n*2\r\n$1\r\n?\r\n:1\r\n",
        "*3\r\n:0\r\n:1\r\n*2\r\n$3\r\na b\r\n:1\r\n"
    };

    (void) state;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(range(&r, bad[i]), -1);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_slot),
        cmocka_unit_test(test_hash_tag),
        cmocka_unit_test(test_redirect),
        cmocka_unit_test(test_no_redirect),
        cmocka_unit_test(test_range),
        cmocka_unit_test(test_no_range)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
