
/*
 * What Redis, or whoever sits at its address, may make us allocate.  Every
 * input is fed whole, byte by byte and in two pieces at each place: framing
 * must not depend on how TCP cuts it.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <hiredis/hiredis.h>

#include "ps_resp_limits.h"


typedef struct {
    const char  *input;
    int          replies;
    const char  *error;
} sample_t;


static const ps_resp_caps_t  caps = {
    .total = 200,
    .bulk = 64,
    .line = 40,
    .elements = 8,
    .depth = 3
};


/* replies seen; *error is set where it failed */

static int
feed(ps_resp_limits_t *rl, const char *p, size_t n, const char **error)
{
    int   done, replies;
    char *piece;
    long  size;

    /* exactly as large, so that a read behind it is seen */

    piece = malloc(n ? n : 1);
    assert_non_null(piece);
    memcpy(piece, p, n);

    p = piece;
    replies = 0;

    while (n) {
        size = ps_resp_limits_scan(rl, p, n, &done);

        if (size < 0) {
            *error = rl->error;
            break;
        }

        assert_true(size > 0 && (size_t) size <= n);
        assert_true(done || (size_t) size == n);

        replies += done;
        p += size;
        n -= (size_t) size;
    }

    free(piece);

    return replies;
}


static void
check(const char *input, size_t n, int replies, const char *error)
{
    int                got;
    size_t             cut, i;
    const char        *why;
    ps_resp_limits_t   rl;

    for (cut = 0; cut <= n; cut++) {
        why = NULL;
        ps_resp_limits_init(&rl, &caps);

        got = feed(&rl, input, cut, &why);

        if (why == NULL) {
            got += feed(&rl, input + cut, n - cut, &why);
        }

        if (got != replies || (why == NULL) != (error == NULL)
            || (why && strcmp(why, error) != 0))
        {
            fail_msg("\"%s\" cut at %zu: %d replies, %s", input, cut, got,
                     why ? why : "no error");
        }
    }

    why = NULL;
    got = 0;
    ps_resp_limits_init(&rl, &caps);

    for (i = 0; i < n && why == NULL; i++) {
        got += feed(&rl, input + i, 1, &why);
    }

    assert_int_equal(got, replies);

    if (error) {
        assert_string_equal(why, error);

        /* it stays failed, whatever comes */

        assert_int_equal(feed(&rl, "+OK\r\n", 5, &why), 0);
        assert_string_equal(rl.error, error);

    } else {
        assert_null(why);
    }
}


static void
check_all(const sample_t *s)
{
    for ( /* void */ ; s->input; s++) {
        check(s->input, strlen(s->input), s->replies, s->error);
    }
}


static void
test_valid(void **state)
{
    static const sample_t  samples[] = {
        { "+OK\r\n", 1, NULL },
        { "+\r\n", 1, NULL },
        { "-ERR no\r\n", 1, NULL },
        { ":0\r\n", 1, NULL },
        { ":-1\r\n", 1, NULL },
        { ":9223372036854775807\r\n", 1, NULL },
        { ":-9223372036854775808\r\n", 1, NULL },
        { "$0\r\n\r\n", 1, NULL },
        { "$-1\r\n", 1, NULL },
        { "$5\r\nhello\r\n", 1, NULL },
        { "$4\r\n\r\n\r\n\r\n", 1, NULL },
        { "*0\r\n", 1, NULL },
        { "*-1\r\n", 1, NULL },
        { "*2\r\n$1\r\na\r\n:1\r\n", 1, NULL },
        { "*2\r\n*0\r\n*2\r\n+a\r\n*1\r\n-b\r\n", 1, NULL },
        { "+a\r\n:1\r\n*1\r\n$-1\r\n$1\r\nx\r\n", 4, NULL },

        /* what isn't complete is no error */

        { "*2\r\n+a\r\n", 0, NULL },
        { "$5\r\nhel", 0, NULL },
        { "+O", 0, NULL },
        { "", 0, NULL },
        { NULL, 0, NULL }
    };

    check_all(samples);
}


static void
test_malformed(void **state)
{
    static const sample_t  samples[] = {
        { "HTTP/1.1 400 Bad Request\r\n", 0, "unknown reply type" },
        { "\r\n", 0, "unknown reply type" },
        { "+OK\r\n\r\n", 1, "unknown reply type" },

        /* RESP3 was not asked for */

        { "%1\r\n+a\r\n+b\r\n", 0, "unknown reply type" },
        { ">2\r\n+a\r\n+b\r\n", 0, "unknown reply type" },
        { "_\r\n", 0, "unknown reply type" },

        { "+a\nb\r\n", 0, "LF without CR in reply" },
        { "+a\rb\r\n", 0, "CR without LF in reply" },
        { ":1\rx", 0, "CR without LF in reply" },
        { ":\r\n", 0, "invalid number in reply" },
        { ":-\r\n", 0, "invalid number in reply" },
        { ":--1\r\n", 0, "invalid number in reply" },
        { ":+1\r\n", 0, "invalid number in reply" },
        { ":-0\r\n", 0, "invalid number in reply" },
        { ":00\r\n", 0, "invalid number in reply" },
        { ":01\r\n", 0, "invalid number in reply" },
        { "$-0\r\n", 0, "invalid number in reply" },
        { ":1 \r\n", 0, "invalid number in reply" },
        { "$0x10\r\n", 0, "invalid number in reply" },
        { "$\r\n\r\n", 0, "invalid number in reply" },
        { "$-2\r\n", 0, "negative length in reply" },
        { "*-2\r\n", 0, "negative length in reply" },
        { "$3\r\nabcd\r\n", 0, "string does not end with CR LF" },
        { "$3\r\nabc\r\r", 0, "string does not end with CR LF" },
        { "$0\r\n\n\n", 0, "string does not end with CR LF" },
        { "*1\r\nx", 0, "unknown reply type" },
        { NULL, 0, NULL }
    };

    check_all(samples);
}


static void
test_limits(void **state)
{
    static const sample_t  samples[] = {

        /* refused by the header, before a byte of it came */

        { "$65\r\n", 0, "string in reply is too large" },
        { "$536870912\r\n", 0, "string in reply is too large" },
        { "$9223372036854775807\r\n", 0, "string in reply is too large" },
        { "$9223372036854775808\r\n", 0, "number in reply is out of range" },
        { ":18446744073709551616\r\n", 0, "number in reply is out of range" },
        { ":-9223372036854775809\r\n", 0, "number in reply is out of range" },
        { "*9\r\n", 0, "too many elements in reply" },
        { "*4294967296\r\n", 0, "too many elements in reply" },
        { "*9223372036854775807\r\n", 0, "too many elements in reply" },

        /* elements count over all arrays of a reply, and anew in the next */

        { "*4\r\n*4\r\n+\r\n+\r\n+\r\n+\r\n*1\r\n", 0,
          "too many elements in reply" },
        { "*8\r\n+\r\n+\r\n+\r\n+\r\n+\r\n+\r\n+\r\n+\r\n"
          "*8\r\n", 1, NULL },

        { "*1\r\n*1\r\n*1\r\n+x\r\n", 1, NULL },
        { "*1\r\n*1\r\n*1\r\n*0\r\n", 1, NULL },
        { "*1\r\n*1\r\n*1\r\n*1\r\n", 0, "reply is nested too deep" },

        { "+0123456789012345678901234567890123456789\r\n", 1, NULL },
        { "+01234567890123456789012345678901234567890\r\n", 0,
          "reply line is too long" },

        { NULL, 0, NULL }
    };

    check_all(samples);
}


static void
test_total(void **state)
{
    char  reply[512];
    int   n;

    /* 3 * 64 bytes in strings of the largest size, plus headers: 3 * 7 + 4 */

    n = snprintf(reply, sizeof(reply), "*3\r\n$64\r\n%064d\r\n$64\r\n%064d\r\n"
                 "$64\r\n", 1, 2);
    check(reply, (size_t) n, 0, "reply is too large");

    /* exactly the total: 4 + 71 + 71 + 5 + 47 + 2 */

    n = snprintf(reply, sizeof(reply), "*3\r\n$64\r\n%064d\r\n$64\r\n%064d\r\n"
                 "$47\r\n%047d\r\n", 1, 2, 3);
    assert_int_equal(n, 200);
    check(reply, (size_t) n, 1, NULL);

    /* one more: only its end exceeds it, after the string was let in */

    n = snprintf(reply, sizeof(reply), "*3\r\n$64\r\n%064d\r\n$64\r\n%064d\r\n"
                 "$48\r\n%048d\r\n", 1, 2, 3);
    check(reply, (size_t) n, 0, "reply is too large");
}


static void
test_depth_of_the_parser(void **state)
{
    int                i, done;
    long               size;
    char               text[256];
    void              *reply;
    size_t             n;
    redisReader       *reader;
    ps_resp_caps_t     deep;
    ps_resp_limits_t   rl;

    /* as deep as we let it be, hiredis parses it; one more is refused */

    deep = caps;
    deep.depth = 100;

    for (i = 1; i <= PS_RESP_MAX_DEPTH + 1; i++) {
        n = 0;

        for (int k = 0; k < i; k++) {
            n += (size_t) snprintf(text + n, sizeof(text) - n, "*1\r\n");
        }

        n += (size_t) snprintf(text + n, sizeof(text) - n, ":7\r\n");

        ps_resp_limits_init(&rl, &deep);
        size = ps_resp_limits_scan(&rl, text, n, &done);

        if (i > PS_RESP_MAX_DEPTH) {
            assert_int_equal(size, -1);
            continue;
        }

        assert_int_equal(size, (long) n);
        assert_true(done);

        reader = redisReaderCreate();
        assert_non_null(reader);
        assert_int_equal(redisReaderFeed(reader, text, n), REDIS_OK);
        assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
        assert_non_null(reply);

        freeReplyObject(reply);
        redisReaderFree(reader);
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_valid),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_total),
        cmocka_unit_test(test_depth_of_the_parser)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
