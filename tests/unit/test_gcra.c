
/*
 * GCRA arithmetic: rates, exact counts, and the property that matters (no
 * span of time admits more than rate x span + burst, and a request is never
 * refused that a plain token bucket would admit), against a simulation that
 * counts tokens in rational numbers.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../../modules/ratelimit/ps_gcra.h"


#define EVENTS  400


static uint64_t  seed = 88172645463325252ULL;


static uint64_t
rnd(uint64_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;

    return seed % n;
}


static ps_gcra_t
limit(const char *text, uint64_t burst)
{
    ps_gcra_t       g;
    ps_gcra_rate_t  rate;

    assert_int_equal(ps_gcra_rate(text, strlen(text), &rate), 0);
    assert_int_equal(ps_gcra_limit(&g, &rate, burst), 0);

    return g;
}


static void
test_rate(void **state)
{
    size_t              i;
    ps_gcra_rate_t      rate;
    static const char  *bad[] = {
        "", "r", "r/s", "/s", "1", "1r", "1r/", "1r/x", "1r/ss", "1 r/s",
        " 1r/s", "1r/s ", "-1r/s", "+1r/s", "0r/s", "00r/m", "1.5r/s",
        "1000001r/s", "60000001r/m", "4294967296r/d", "4294967297r/h",
        "99999999999999999999999r/s", "1R/s", "1r/S", "0x1r/s", "1r\\s"
    };

    (void) state;

    assert_int_equal(ps_gcra_rate("1r/s", 4, &rate), 0);
    assert_int_equal(rate.count, 1);
    assert_int_equal(rate.period, 1);

    assert_int_equal(ps_gcra_rate("100r/m", 6, &rate), 0);
    assert_int_equal(rate.count, 100);
    assert_int_equal(rate.period, 60);

    assert_int_equal(ps_gcra_rate("007r/hXX", 6, &rate), 0);
    assert_int_equal(rate.count, 7);
    assert_int_equal(rate.period, 3600);

    assert_int_equal(ps_gcra_rate("1000000r/s", 10, &rate), 0);
    assert_int_equal(ps_gcra_rate("4294967295r/d", 13, &rate), 0);
    assert_int_equal(rate.period, 86400);

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(ps_gcra_rate(bad[i], strlen(bad[i]), &rate), -1);
    }
}


static void
test_limit(void **state)
{
    ps_gcra_t       g;
    ps_gcra_rate_t  rate;

    (void) state;

    /* the policy of the draft's own example */

    g = limit("100r/m", 100);
    assert_int_equal(g.interval, 600000000);
    assert_int_equal(g.quota, 100);
    assert_int_equal(g.window, 60);

    g = limit("100r/m", 1);
    assert_int_equal(g.quota, 100);
    assert_int_equal(g.window, 60);

    /* a burst above what the unit of time allows */

    g = limit("1r/h", 5);
    assert_int_equal(g.quota, 5);
    assert_int_equal(g.window, 18000);

    g = limit("3r/s", 7);
    assert_int_equal(g.interval, 333333334);
    assert_int_equal(g.quota, 7);
    assert_int_equal(g.window, 3);

    g = limit("1000000r/s", 1);
    assert_int_equal(g.interval, 1000);

    assert_int_equal(ps_gcra_rate("1r/d", 4, &rate), 0);
    assert_int_equal(ps_gcra_limit(&g, &rate, 90), 0);
    assert_int_equal(ps_gcra_limit(&g, &rate, 91), -1);
    assert_int_equal(ps_gcra_limit(&g, &rate, 0), -1);
    assert_int_equal(ps_gcra_limit(&g, &rate, UINT64_MAX), -1);
}


static void
test_counts(void **state)
{
    int               i;
    uint64_t          now, tat;
    ps_gcra_t         g;
    ps_gcra_result_t  res;

    (void) state;

    /* 100 at once, and no more; the draft's r=50;t=30 on the way */

    g = limit("100r/m", 100);
    now = 12345;
    tat = 0;

    for (i = 1; i <= 100; i++) {
        ps_gcra_check(&g, now, tat, 1, &res);
        assert_true(res.allowed && res.changed);
        assert_int_equal(res.remaining, 100 - i);
        assert_int_equal(res.retry, 0);

        if (i == 50) {
            assert_int_equal(ps_gcra_seconds(&res), 30);
        }

        tat = res.tat;
    }

    /* the last one: 60 s to the whole burst, 1 s to the next request */

    assert_int_equal(ps_gcra_ceil(res.reset), 60);
    assert_int_equal(ps_gcra_seconds(&res), 1);

    ps_gcra_check(&g, now, tat, 1, &res);
    assert_false(res.allowed);
    assert_false(res.changed);
    assert_int_equal(res.remaining, 0);
    assert_int_equal(res.retry, 600000000);
    assert_int_equal(ps_gcra_seconds(&res), 1);

    /* one ns too early, and in time */

    ps_gcra_check(&g, now + res.retry - 1, tat, 1, &res);
    assert_false(res.allowed);
    assert_int_equal(res.retry, 1);

    ps_gcra_check(&g, now + 600000000, tat, 1, &res);
    assert_true(res.allowed);

    /* costs */

    ps_gcra_check(&g, now, 0, 100, &res);
    assert_true(res.allowed);
    assert_int_equal(res.remaining, 0);

    ps_gcra_check(&g, now, 0, 101, &res);
    assert_false(res.allowed);
    assert_true(res.retry == PS_GCRA_NEVER);

    ps_gcra_check(&g, now, 0, UINT64_MAX, &res);
    assert_false(res.allowed);

    ps_gcra_check(&g, now, tat, 0, &res);
    assert_true(res.allowed);
    assert_false(res.changed);
    assert_int_equal(res.remaining, 0);

    ps_gcra_check(&g, now, tat, 3, &res);
    assert_false(res.allowed);
    assert_int_equal(res.retry, 3 * 600000000ULL);

    /* the clock at its ends */

    ps_gcra_check(&g, 0, 0, 1, &res);
    assert_true(res.allowed);
    ps_gcra_check(&g, UINT64_MAX / 2, 1, 1, &res);
    assert_true(res.allowed);
}


static void
test_tightened(void **state)
{
    uint64_t          tat;
    ps_gcra_t         wide, tight;
    ps_gcra_result_t  res;

    (void) state;

    /* a key that owes 10 hours moves to a plan of seconds */

    wide = limit("1r/h", 10);
    tight = limit("10r/s", 5);

    ps_gcra_check(&wide, 1000, 0, 10, &res);
    assert_true(res.allowed);
    tat = res.tat;

    ps_gcra_check(&tight, 1000, tat, 1, &res);
    assert_false(res.allowed);
    assert_true(res.changed);
    assert_int_equal(res.tat, 1000 + tight.capacity);
    assert_int_equal(res.retry, tight.interval);
    tat = res.tat;

    ps_gcra_check(&tight, 1000 + tight.interval, tat, 1, &res);
    assert_true(res.allowed);
}


/*
 * Tokens in units of 1 / (period x 1e9), so exact: count x ns are gained,
 * period x 1e9 x cost are spent.
 */

static void
simulate(const char *text, uint64_t burst, uint64_t spread)
{
    int                i, j;
    uint64_t           now, tat, at[EVENTS], cost[EVENTS], sum, last, want,
                       retry;
    ps_gcra_t          g;
    ps_gcra_rate_t     rate;
    unsigned __int128  tokens, full, one, short_of;
    ps_gcra_result_t   res;

    assert_int_equal(ps_gcra_rate(text, strlen(text), &rate), 0);
    g = limit(text, burst);

    one = (unsigned __int128) rate.period * PS_GCRA_SECOND;
    full = one * burst;
    tokens = full;

    now = 1 + rnd(PS_GCRA_SECOND);
    tat = 0;
    last = now;

    for (i = 0; i < EVENTS; i++) {
        now += rnd(8) ? rnd(spread) : 0;
        want = rnd(4) ? 1 : rnd(burst + 2);

        tokens += (unsigned __int128) (now - last) * rate.count;
        if (tokens > full) {
            tokens = full;
        }
        last = now;

        ps_gcra_check(&g, now, tat, want, &res);

        at[i] = now;
        cost[i] = 0;

        if (res.allowed) {

            /* a plain bucket agrees */

            assert_true(tokens >= one * want);
            tokens -= one * want;
            cost[i] = want;
            tat = res.tat;
            assert_true(tat - now <= g.capacity);

        } else if (want <= burst) {

            /*
             * Refused only for want of tokens, up to the rounding of the
             * interval: 1 ns for each unit that may be outstanding.
             */

            short_of = tokens;
            assert_true(short_of < one * want + (unsigned __int128) rate.count
                                                * (burst + 1) * 2 * EVENTS);
            assert_true(tokens < one * want
                        || g.interval * rate.count != one);

            /* the promise: not before, but then */

            retry = res.retry;
            ps_gcra_check(&g, now + retry - 1, tat, want, &res);
            assert_false(res.allowed);
            ps_gcra_check(&g, now + retry, tat, want, &res);
            assert_true(res.allowed);

            ps_gcra_check(&g, now, tat, want, &res);
            if (res.changed) {
                tat = res.tat;
            }

        } else {
            assert_true(res.retry == PS_GCRA_NEVER);
        }

        assert_true(res.remaining <= burst);
        assert_true(res.remaining <= g.quota);
    }

    /* every span between two admitted requests, both counted */

    for (i = 0; i < EVENTS; i++) {
        sum = 0;

        for (j = i; j < EVENTS; j++) {
            sum += cost[j];

            assert_true(one * sum
                        <= (unsigned __int128) (at[j] - at[i]) * rate.count
                           + full);
        }
    }
}


static void
test_property(void **state)
{
    size_t              i, k;
    uint64_t            burst;
    ps_gcra_t           g;
    static const char  *rates[] = {
        "1r/s", "3r/s", "7r/s", "100r/s", "999983r/s", "1000000r/s", "1r/m",
        "7r/m", "100r/m", "6000r/m", "1r/h", "1000r/h", "1r/d", "999r/d"
    };

    (void) state;

    for (i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        for (k = 0; k < 12; k++) {
            burst = k ? 1 + rnd(80) : 1;
            g = limit(rates[i], burst);
            simulate(rates[i], burst, 1 + g.interval * (1 + k % 4) / 2);
        }
    }
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_tightened),
        cmocka_unit_test(test_property),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
