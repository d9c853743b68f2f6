/*
 * Leases against a plain simulation: several workers share a limit through a
 * model of the script in Redis, with answers that take their time or get
 * lost and workers that die; whatever happens, a bucket that sees each unit
 * when it is used never overflows, and at a steady load below the limit next
 * to nothing is refused.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ps_lease.h"


#define WORKERS  8
#define MS       1000000ULL
#define START    (1000 * PS_GCRA_SECOND)


/* the model: as in ngx_http_penstock_ratelimit_scripts.c */

typedef struct {
    uint64_t  at;
    uint64_t  left;
    uint64_t  amount[WORKERS];
    uint64_t  until[WORKERS];
} store_t;


typedef struct {
    ps_lease_t      lease;
    ps_lease_ask_t  ask;
    uint64_t        sent;
    uint64_t        need;        /* 0: nobody waits */
    uint64_t        there;       /* when Redis has the question; or 0 */
    uint64_t        due;         /* of the answer; 0: none on its way */
    uint64_t        given, extra, total;
    int             lost;
} worker_t;


/* the truth: what is used drains from when it is used */

typedef struct {
    uint64_t  at;
    uint64_t  level;
    uint64_t  worst;
} bucket_t;


static uint64_t  rng_state;


static uint64_t
rng(uint64_t n)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;

    return rng_state % n;
}


static void
use(bucket_t *b, uint64_t now, uint64_t ns)
{
    uint64_t  gone;

    gone = now - b->at;
    b->level = (b->level > gone) ? b->level - gone : 0;
    b->level += ns;
    b->at = now;

    if (b->level > b->worst) {
        b->worst = b->level;
    }
}


static void
drain(store_t *s, uint64_t now)
{
    int       i, first;
    uint64_t  gone;

    for ( ;; ) {
        first = -1;

        for (i = 0; i < WORKERS; i++) {
            if (s->amount[i] && s->until[i] <= now
                && (first < 0 || s->until[i] < s->until[first]))
            {
                first = i;
            }
        }

        if (first < 0) {
            break;
        }

        gone = (s->until[first] > s->at) ? s->until[first] - s->at : 0;
        s->left = ((s->left > gone) ? s->left - gone : 0) + s->amount[first];
        s->at += gone;
        s->amount[first] = 0;
    }

    gone = now - s->at;
    s->left = (s->left > gone) ? s->left - gone : 0;
    s->at = now;
}


static void
script(store_t *s, const ps_gcra_t *limit, uint64_t now, int w,
    const ps_lease_ask_t *ask, uint64_t need, uint64_t *given,
    uint64_t *extra, uint64_t *total)
{
    int       i;
    uint64_t  sum, taken, free;

    drain(s, now);

    taken = ask->kept + ask->returned;

    if (s->amount[w] > taken) {
        s->left += s->amount[w] - taken;
    }

    s->amount[w] = 0;
    sum = 0;

    for (i = 0; i < WORKERS; i++) {
        sum += s->amount[i];
    }

    if (s->left > limit->capacity) {
        s->left = limit->capacity;
    }

    free = s->left + sum + ask->kept;
    free = (free < limit->capacity) ? limit->capacity - free : 0;

    *given = (need <= free) ? need : 0;
    *extra = 0;

    if (*given == need) {
        *extra = (free - *given) / 4;

        if (*extra > ask->want) {
            *extra = ask->want;
        }

        *extra -= *extra % limit->interval;
    }

    s->left += *given;
    s->amount[w] = ask->kept + *extra;
    s->until[w] = now + PS_LEASE_TTL;

    *total = s->left + sum + s->amount[w];
}


typedef struct {
    uint64_t  rate, burst;
    unsigned  load;              /* per mille of the rate; of all together */
    unsigned  bursts;            /* they come in bunches */
    unsigned  loss;              /* per mille of the questions */
    unsigned  deaths;            /* per mille of seconds, each worker */
    unsigned  latency;           /* us, at most */
    unsigned  seconds;
    unsigned  workers;
} scene_t;


static void
ask(worker_t *w, uint64_t now, const scene_t *scene)
{
    ps_lease_ask(&w->lease, now, &w->ask);

    w->sent = now;
    w->need = (w->need > w->ask.kept) ? w->need - w->ask.kept : 0;
    w->lost = (rng(1000) < scene->loss);

    w->there = now + 1 + rng(scene->latency * 500);
    w->due = w->there + 1 + rng(scene->latency * 500);

    /* lost on its way there, or on its way back */

    if (w->lost && rng(2)) {
        w->there = 0;
    }
}


/* the worker that something happens to next, before "end" */

static int
event(const worker_t *w, uint64_t end)
{
    int       i, first;
    uint64_t  t, least;

    first = -1;
    least = end;

    for (i = 0; i < WORKERS; i++) {
        t = w[i].there ? w[i].there : w[i].due;

        if (t && t <= least) {
            least = t;
            first = i;
        }
    }

    return first;
}


/* returns how many of a million were refused */

static uint64_t
play(const scene_t *scene)
{
    int                i;
    uint64_t           now, end, next, gap, asked, refused, need;
    store_t            s;
    bucket_t           truth;
    worker_t           w[WORKERS], *p;
    ps_gcra_t          limit;
    ps_gcra_rate_t     rate = { (uint32_t) scene->rate, 1 };
    ps_gcra_result_t   result;

    assert_int_equal(ps_gcra_limit(&limit, &rate, scene->burst), 0);

    memset(&s, 0, sizeof(s));
    memset(w, 0, sizeof(w));
    memset(&truth, 0, sizeof(truth));

    now = START;
    s.at = truth.at = now;
    end = now + scene->seconds * PS_GCRA_SECOND;
    gap = limit.interval * 1000 / scene->load;
    next = now;
    asked = refused = 0;

    while (now < end) {

        /* the next thing that happens: an arrival, a question, an answer */

        i = event(w, next);

        if (i >= 0) {
            p = &w[i];

            if (p->there) {
                now = p->there;
                p->there = 0;

                script(&s, &limit, now, i, &p->ask, p->need, &p->given,
                       &p->extra, &p->total);

                if (!p->lost && p->given) {

                    /* what is needed is used when Redis says so */

                    use(&truth, now, p->given);
                }

                continue;
            }

            now = p->due;
            p->due = 0;
            need = p->need;
            p->need = 0;

            if (p->lost) {
                ps_lease_lost(&p->lease);
                continue;
            }

            ps_lease_answer(&p->lease, &p->ask, p->sent, p->extra, p->total);

            if (need && p->given < need) {
                refused++;
            }

            continue;
        }

        now = next;
        next = now + (scene->bursts && rng(20) ? gap / 20 + 1
                      : 1 + rng(2 * gap) * (scene->bursts ? 20 : 1));

        p = &w[rng(scene->workers)];
        i = (int) (p - w);

        if (scene->deaths && rng(1000000) < scene->deaths) {
            memset(p, 0, sizeof(worker_t));
            continue;
        }

        /* leases that are over go back, as the timer would have it */

        if (p->lease.amount && p->lease.until <= now && p->due == 0) {
            ps_lease_ask_t  give = { 0, ps_lease_end(&p->lease), 0 };
            uint64_t        none;

            script(&s, &limit, now, i, &give, 0, &none, &none, &none);
        }

        if (p->need) {

            /* somebody waits there already: one at a time is enough here */

            continue;
        }

        asked++;
        ps_lease_demand(&p->lease, now, limit.interval);

        switch (ps_lease_take(&p->lease, &limit, now, 1, &result)) {

        case PS_LEASE_TAKEN:
            assert_true(result.allowed);
            use(&truth, now, limit.interval);

            if (p->due == 0 && ps_lease_low(&p->lease, &limit, now)) {
                ask(p, now, scene);
            }

            break;

        case PS_LEASE_REFUSED:
            assert_false(result.allowed);
            assert_true(result.retry > 0);
            refused++;
            break;

        default:
            if (p->due) {
                asked--;
                break;
            }

            p->need = limit.interval;
            ask(p, now, scene);
        }
    }

    if (truth.worst > limit.capacity) {
        print_error("rate %lu burst %lu workers %u: %lu of %lu ns\n",
                    scene->rate, scene->burst, scene->workers, truth.worst,
                    limit.capacity);
        fail();
    }

    return asked ? refused * 1000000 / asked : 0;
}


static void
test_never_more(void **state)
{
    int      i;
    scene_t  scene;

    for (i = 0; i < 400; i++) {
        rng_state = 88172645463325252ULL + i;

        scene.rate = 1 + rng(rng(2) ? 20 : 5000);
        scene.burst = 1 + rng(rng(2) ? 10 : 2 * scene.rate);
        scene.load = 200 + rng(5000);
        scene.bursts = rng(2);
        scene.loss = rng(3) ? 0 : rng(300);
        scene.deaths = rng(3) ? 0 : rng(3000);
        scene.latency = 1 + rng(rng(4) ? 2000 : 50000);
        scene.workers = 1 + rng(WORKERS);
        scene.seconds = 20;

        while (scene.rate * scene.load > 2000 * 1000) {
            scene.load /= 2;
        }

        scene.load = scene.load ? scene.load : 1;

        (void) play(&scene);
    }
}


static void
test_steady(void **state)
{
    unsigned  k;
    uint64_t  refused;
    scene_t   scene = { 0, 0, 900, 0, 0, 0, 1000, 60, 8 };

    static const struct {
        uint64_t  rate, burst;
        unsigned  workers, load;
    } t[] = {
        { 100, 100, 4, 900 },
        { 100, 50, 8, 900 },
        { 1000, 1000, 2, 950 },
        { 1000, 200, 8, 900 },
        { 5000, 1000, 8, 950 },
        { 20, 20, 4, 800 }
    };

    for (k = 0; k < sizeof(t) / sizeof(t[0]); k++) {
        rng_state = 1234567 + k;

        scene.rate = t[k].rate;
        scene.burst = t[k].burst;
        scene.workers = t[k].workers;
        scene.load = t[k].load;

        refused = play(&scene);

        print_message("rate %lu burst %lu, %u workers at %u%%: "
                      "%lu of a million refused\n", scene.rate, scene.burst,
                      scene.workers, scene.load / 10, refused);

        assert_true(refused < 10000);
    }
}


/* what is asked for follows the demand, and ends with it */

static void
test_size(void **state)
{
    int               i;
    uint64_t          now;
    ps_gcra_t         limit;
    ps_lease_t        lease;
    ps_lease_ask_t    ask;
    ps_gcra_rate_t    rate = { 10000, 1 };

    assert_int_equal(ps_gcra_limit(&limit, &rate, 10000), 0);
    memset(&lease, 0, sizeof(lease));
    now = START;

    ps_lease_demand(&lease, now, limit.interval);
    ps_lease_ask(&lease, now, &ask);
    assert_int_equal(ask.want, 0);

    /* 1000 a second are 250 in a quarter */

    for (i = 0; i < 1000; i++) {
        now += MS;
        ps_lease_demand(&lease, now, limit.interval);
    }

    ps_lease_ask(&lease, now, &ask);
    assert_true(ask.want / limit.interval >= 230);
    assert_true(ask.want / limit.interval <= 270);

    now += 10 * PS_GCRA_SECOND;
    ps_lease_demand(&lease, now, limit.interval);
    ps_lease_ask(&lease, now, &ask);
    assert_true(ask.want / limit.interval <= 20);
}


static void
test_ends(void **state)
{
    uint64_t          now;
    ps_gcra_t         limit;
    ps_lease_t        lease;
    ps_lease_ask_t    ask = { 0, 0, 10 * MS };
    ps_gcra_rate_t    rate = { 1000, 1 };
    ps_gcra_result_t  result;

    assert_int_equal(ps_gcra_limit(&limit, &rate, 100), 0);
    memset(&lease, 0, sizeof(lease));
    now = START;

    ps_lease_answer(&lease, &ask, now, 10 * MS, 10 * MS);

    assert_int_equal(ps_lease_take(&lease, &limit, now, 4, &result),
                     PS_LEASE_TAKEN);
    assert_int_equal(result.remaining, 96);

    /* a second later nothing is left to spend, and six go back */

    now += PS_LEASE_HOLD;
    assert_int_equal(ps_lease_take(&lease, &limit, now, 1, &result),
                     PS_LEASE_ASK);

    ps_lease_ask(&lease, now, &ask);
    assert_int_equal(ask.kept, 0);
    assert_int_equal(ask.returned, 6 * MS);

    /* a cost above the burst is not asked for, one of nothing neither */

    assert_int_equal(ps_lease_take(&lease, &limit, now, 101, &result),
                     PS_LEASE_REFUSED);
    assert_true(result.retry == PS_GCRA_NEVER);
    assert_int_equal(ps_lease_take(&lease, &limit, now, 0, &result),
                     PS_LEASE_TAKEN);
}


/* what a stricter limit has shut for long, another one shuts for a burst */

static void
test_loosened(void **state)
{
    uint64_t          now;
    ps_gcra_t         strict, limit;
    ps_lease_t        lease;
    ps_lease_ask_t    ask = { 0, 0, 0 };
    ps_gcra_rate_t    day = { 1, 86400 }, rate = { 1000, 1 };
    ps_gcra_result_t  result;

    assert_int_equal(ps_gcra_limit(&strict, &day, 1), 0);
    assert_int_equal(ps_gcra_limit(&limit, &rate, 100), 0);
    memset(&lease, 0, sizeof(lease));
    now = START;

    ps_lease_answer(&lease, &ask, now, 0, strict.capacity);

    assert_int_equal(ps_lease_take(&lease, &strict, now, 1, &result),
                     PS_LEASE_REFUSED);
    assert_true(result.retry == strict.interval);

    assert_int_equal(ps_lease_take(&lease, &limit, now, 1, &result),
                     PS_LEASE_REFUSED);
    assert_true(result.retry == MS);

    now += MS;
    assert_int_equal(ps_lease_take(&lease, &limit, now, 1, &result),
                     PS_LEASE_ASK);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_never_more),
        cmocka_unit_test(test_steady),
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_loosened)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
