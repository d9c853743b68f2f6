
/*
 * The generic cell rate algorithm (ITU-T I.371, annex A) as arithmetic.
 *
 * A limit is a rate and a burst.  Each unit of cost takes "interval" ns to
 * come back, and "burst" units may be outstanding.  So an idle key may spend
 * "burst" units at once, then one each interval, and what is admitted in any
 * span of time S, however it is placed, is at most rate x S + burst.
 *
 * The state is one number, the theoretical arrival time (TAT): when the key
 * will be idle, on the caller's clock.  A TAT in the past is an idle key.
 *
 * An interval that is no whole number of ns is rounded up: the limit is then
 * lower than written by at most rate / 1e9 of itself, 0.1% at the highest
 * rate, and never higher.
 */

#ifndef _PS_GCRA_H_INCLUDED_
#define _PS_GCRA_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


#define PS_GCRA_SECOND      1000000000ULL

/* requests a second, at most */

#define PS_GCRA_RATE_MAX    1000000

/*
 * Time in which a whole burst comes back, ns, at most (90 days): it must
 * be exact in a double, which is what Redis' Lua counts in.
 */

#define PS_GCRA_SPAN_MAX    (90 * 86400 * PS_GCRA_SECOND)

#define PS_GCRA_NEVER       UINT64_MAX


/* "count" requests each "period" seconds: 100r/m is 100 and 60 */

typedef struct {
    uint32_t  count;
    uint32_t  period;
} ps_gcra_rate_t;


typedef struct {
    uint64_t  interval;        /* ns in which one unit comes back */
    uint64_t  burst;           /* units */
    uint64_t  capacity;        /* burst x interval */
    uint64_t  quota;           /* "q" and "w" of RateLimit-Policy */
    uint64_t  window;          /* seconds */
} ps_gcra_t;


typedef struct {
    uint64_t  tat;             /* the new state, to be kept if "changed" */
    uint64_t  remaining;       /* units that would be admitted now */
    uint64_t  reset;           /* ns until the key is idle */
    uint64_t  next;            /* ns until one unit would be admitted */
    uint64_t  retry;           /* ns until this cost would be admitted,
                                  0 if it was, PS_GCRA_NEVER above burst */
    unsigned  allowed:1;
    unsigned  changed:1;
} ps_gcra_result_t;


/*
 * Parses "100r/s", "100r/m", "100r/h" or "100r/d".  Returns 0, or -1 if that
 * is not a rate from 1 a day to PS_GCRA_RATE_MAX a second.
 */

int ps_gcra_rate(const char *text, size_t len, ps_gcra_rate_t *rate);

/*
 * Makes a limit.  "burst" is 1 or more.  Returns 0, or -1 if the burst would
 * take longer than PS_GCRA_SPAN_MAX to come back.
 *
 * The policy that is told to clients is the rate as written (100r/m is 100
 * in 60 s) unless the burst is larger: then the burst, and the time in which
 * it comes back.
 */

int ps_gcra_limit(ps_gcra_t *limit, const ps_gcra_rate_t *rate,
    uint64_t burst);

/*
 * What a request of "cost" meets at "now" (ns) with the state "tat".  A
 * cost of 0 is always allowed.  A refusal changes nothing, with one
 * exception: where the TAT is further away than this limit could have put
 * it (the limit was tightened since), it is drawn in to a spent burst.
 */

void ps_gcra_check(const ps_gcra_t *limit, uint64_t now, uint64_t tat,
    uint64_t cost, ps_gcra_result_t *result);

/* "t" of the RateLimit field: see docs/ratelimit.md; 0 and up, seconds */

uint64_t ps_gcra_seconds(const ps_gcra_result_t *result);

/* ns to whole seconds, rounded up */

uint64_t ps_gcra_ceil(uint64_t ns);

/* ns on a clock that all processes of a host share and nobody sets */

uint64_t ps_gcra_now(void);


#endif /* _PS_GCRA_H_INCLUDED_ */
