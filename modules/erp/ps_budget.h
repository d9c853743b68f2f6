
/*
 * A budget of concurrency: so many requests at a server at once, some of
 * them for writes alone, and a queue for those that must wait.
 *
 * The queue is start-time fair: each request is tagged with the turn of its
 * client's next request, at least the one of the last that was let in, and
 * the lowest tag goes first.  So clients take turns, and each one's requests
 * stay in order.
 *
 * A table in memory that processes share; the caller locks.  Entries of those
 * that die run out.  Any prefix of a change is valid: an entry is written
 * before it counts, and one that is removed is overwritten by the last one
 * before that goes; who comes next ends what was begun.  Times in ms.
 */

#ifndef _PS_BUDGET_H_INCLUDED_
#define _PS_BUDGET_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


typedef enum {
    PS_BUDGET_NONE = 0,                  /* not there (any more) */
    PS_BUDGET_WAITING,
    PS_BUDGET_HELD,
    PS_BUDGET_FULL                       /* the queue is */
} ps_budget_state_e;


typedef struct {
    unsigned  limit;
    unsigned  writes;                    /* of these, for writes alone */
    unsigned  queue;                     /* that may wait */
} ps_budget_limits_t;


typedef struct {
    uint64_t  id;
    uint64_t  expires;
    uint64_t  client;                    /* a hash */
    uint64_t  tag;
    uint64_t  seq;
    uint32_t  state;
    uint32_t  write;
} ps_budget_entry_t;


/* what a server said about its own limits: so many until then */

typedef struct {
    uint64_t  until;
    uint64_t  at;                        /* when it was said last */
    uint32_t  level;                     /* 0: nothing was said */
} ps_budget_narrow_t;


typedef struct {
    uint64_t            ids;
    uint64_t            seq;
    uint64_t            turn;            /* of the last that was let in */
    ps_budget_narrow_t  narrow;
    uint32_t            room;            /* entries there may be */
    uint32_t            n;               /* entries there are */
    ps_budget_entry_t   entry[1];
} ps_budget_t;


#define ps_budget_size(n)                                                     \
    (sizeof(ps_budget_t) + (n) * sizeof(ps_budget_entry_t))


/*
 * Enters a request: HELD, WAITING, or FULL, where it is not entered.  The
 * entry runs out at "expires" unless that is renewed.
 */

ps_budget_state_e ps_budget_enter(ps_budget_t *b,
    const ps_budget_limits_t *limits, uint64_t now, uint64_t expires,
    uint64_t client, int write, uint64_t *id);

/*
 * Enters one that has its place from elsewhere: always HELD, 0 where there
 * is no room.
 */

uint64_t ps_budget_take(ps_budget_t *b, uint64_t now, uint64_t expires,
    int write);

void ps_budget_leave(ps_budget_t *b, uint64_t id);
ps_budget_state_e ps_budget_look(ps_budget_t *b, uint64_t id);
void ps_budget_renew(ps_budget_t *b, uint64_t id, uint64_t expires);

/* lets in who may; returns how many */

unsigned ps_budget_grant(ps_budget_t *b, const ps_budget_limits_t *limits,
    uint64_t now);

/* those that have not run out by "now" */

unsigned ps_budget_count(const ps_budget_t *b, ps_budget_state_e state,
    uint64_t now);


/*
 * The limit now: what was narrowed comes back by one a second.  narrow: the
 * server has refused; halves the limit for "ms", at most once a second: the
 * refusals of one moment are one.
 */

unsigned ps_budget_level(const ps_budget_narrow_t *n, unsigned limit,
    uint64_t now);
int ps_budget_narrow(ps_budget_narrow_t *n, unsigned limit, uint64_t now,
    uint64_t ms);


#endif /* _PS_BUDGET_H_INCLUDED_ */
