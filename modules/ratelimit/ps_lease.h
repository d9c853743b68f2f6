
/*
 * Leases: units of a limit that one process has debited in Redis ahead, to
 * be spent without asking.
 *
 * All amounts are ns of the limit's time, as in GCRA: a unit is "interval".
 * What is leased and not spent does not come back in Redis; what is spent
 * comes back only from when it was reported.  So Redis counts each unit
 * until later than it was used, and what all processes admit in any span
 * keeps to the limit.
 *
 * A lease is spent for PS_LEASE_HOLD at most and then goes back; Redis keeps
 * it for PS_LEASE_TTL, for the case that its holder died, and then counts it
 * as spent.
 */

#ifndef _PS_LEASE_H_INCLUDED_
#define _PS_LEASE_H_INCLUDED_


#include "ps_gcra.h"


#define PS_LEASE_HOLD    PS_GCRA_SECOND             /* ns */
#define PS_LEASE_TTL     (2 * PS_GCRA_SECOND)

/* a lease is meant to last so long, as things go */

#define PS_LEASE_TARGET  (PS_GCRA_SECOND / 4)

/* after Redis had little to give: until it is asked ahead again */

#define PS_LEASE_PAUSE   (PS_GCRA_SECOND / 20)


typedef enum {
    PS_LEASE_TAKEN = 0,
    PS_LEASE_REFUSED,      /* by what was last heard of the limit */
    PS_LEASE_ASK           /* Redis must be asked */
} ps_lease_rc_e;


/* zeroed: nothing is held or known */

typedef struct {
    uint64_t  balance;     /* to be spent */
    uint64_t  until;       /* ns, when it must go back */
    uint64_t  amount;      /* what Redis keeps for us: spent or not */
    uint64_t  total;       /* TAT of all that is spent or leased, by anybody */

    uint64_t  since;       /* the measure of demand */
    uint64_t  asked;
    uint64_t  demand;      /* in PS_LEASE_TARGET */
    uint64_t  pause;       /* not asked ahead before */
} ps_lease_t;


/* what to tell Redis, and to ask for */

typedef struct {
    uint64_t  kept;        /* of what is leased: still unspent, stays ours */
    uint64_t  returned;    /* unspent, goes back */
    uint64_t  want;        /* to be leased, if there is plenty */
} ps_lease_ask_t;


/* a request of that cost came: for the measure, once a request */

void ps_lease_demand(ps_lease_t *lease, uint64_t now, uint64_t cost);

/* "result" is set unless PS_LEASE_ASK is returned */

ps_lease_rc_e ps_lease_take(ps_lease_t *lease, const ps_gcra_t *limit,
    uint64_t now, uint64_t cost, ps_gcra_result_t *result);

/* puts back what was taken and not used after all */

void ps_lease_untake(ps_lease_t *lease, uint64_t now, uint64_t ns);

/* whether so little is left that Redis should be asked ahead */

int ps_lease_low(const ps_lease_t *lease, const ps_gcra_t *limit,
    uint64_t now);

/* to be called when Redis is asked, "now" being then */

void ps_lease_ask(ps_lease_t *lease, uint64_t now, ps_lease_ask_t *ask);

/*
 * What it answered to the question sent at "sent": "extra" was leased,
 * "total" is what all have spent and leased, that included.
 */

void ps_lease_answer(ps_lease_t *lease, const ps_lease_ask_t *ask,
    uint64_t sent, uint64_t extra, uint64_t total);

/* no answer: what was kept goes on, what was leased is not known of */

void ps_lease_lost(ps_lease_t *lease);

/* the lease ends: returns what goes back, and forgets it */

uint64_t ps_lease_end(ps_lease_t *lease);


#endif /* _PS_LEASE_H_INCLUDED_ */
