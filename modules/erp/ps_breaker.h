
/*
 * A circuit breaker: closed until too many of the latest requests have
 * failed, then open for a while, then half open: one probe at a time, and
 * its outcome closes or opens it.
 *
 * The window is cut into buckets that are used again in turn.  The caller
 * locks.  Times in ms; a death in the middle leaves counts that are off by
 * one at most.
 */

#ifndef _PS_BREAKER_H_INCLUDED_
#define _PS_BREAKER_H_INCLUDED_


#include <stdint.h>


#define PS_BREAKER_BUCKETS  10


typedef struct {
    uint64_t  window;                    /* ms, at least one a bucket */
    uint64_t  open;                      /* ms */
    unsigned  percent;                   /* failed, of all */
    unsigned  least;                     /* requests in the window */
} ps_breaker_limits_t;


typedef struct {
    struct {
        uint64_t  turn;
        uint32_t  all;
        uint32_t  failed;
    }         bucket[PS_BREAKER_BUCKETS];

    uint64_t  until;                     /* open; 0: closed */
    uint64_t  probe;                     /* one is on its way until then */
    uint64_t  opened;                    /* how often */
} ps_breaker_t;


typedef enum {
    PS_BREAKER_CLOSED = 0,
    PS_BREAKER_OPEN,
    PS_BREAKER_HALF_OPEN
} ps_breaker_state_e;


/*
 * Whether a request may go: 0, and *probe says whether it is one; else the
 * ms to wait.  Each one that goes ends with report or, when its outcome says
 * nothing of the server, with forget.
 */

uint64_t ps_breaker_ask(ps_breaker_t *b, const ps_breaker_limits_t *limits,
    uint64_t now, int *probe);
void ps_breaker_report(ps_breaker_t *b, const ps_breaker_limits_t *limits,
    uint64_t now, int probe, int failed);
void ps_breaker_forget(ps_breaker_t *b, int probe);

ps_breaker_state_e ps_breaker_state(const ps_breaker_t *b, uint64_t now);


#endif /* _PS_BREAKER_H_INCLUDED_ */
