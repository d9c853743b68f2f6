
#include "ps_lease.h"


/* demand is measured over so long at least, ns */

#define PS_LEASE_MEASURE  (PS_GCRA_SECOND / 100)


static uint64_t ps_lease_left(const ps_lease_t *lease, uint64_t now);


void
ps_lease_demand(ps_lease_t *lease, uint64_t now, uint64_t cost)
{
    uint64_t  elapsed, recent;

    if (lease->since == 0) {
        lease->since = now;
    }

    elapsed = now - lease->since;

    if (elapsed >= PS_LEASE_MEASURE) {

        /* a key that comes back after a while starts anew */

        if (elapsed > 4 * PS_LEASE_TARGET) {
            lease->demand = 0;
        }

        recent = (uint64_t) ((double) lease->asked * PS_LEASE_TARGET
                             / (double) elapsed);

        lease->demand = (lease->demand + recent) / 2;
        lease->since = now;
        lease->asked = 0;
    }

    lease->asked += cost;
}


ps_lease_rc_e
ps_lease_take(ps_lease_t *lease, const ps_gcra_t *limit, uint64_t now,
    uint64_t cost, ps_gcra_result_t *result)
{
    uint64_t  left, others, need;

    left = ps_lease_left(lease, now);

    /* under a limit that was stricter more could be spent than is by now */

    if (lease->total > now + left + limit->capacity) {
        lease->total = now + left + limit->capacity;
    }

    /* of all that is known, what is not ours to spend */

    others = (lease->total > now) ? lease->total - now : 0;
    others = (others > left) ? others - left : 0;

    if (cost <= limit->burst) {
        need = cost * limit->interval;

        if (need <= left) {
            lease->balance -= need;

            ps_gcra_check(limit, 0, others + need, 0, result);

            return PS_LEASE_TAKEN;
        }
    }

    ps_gcra_check(limit, 0, others, cost, result);

    return result->allowed ? PS_LEASE_ASK : PS_LEASE_REFUSED;
}


void
ps_lease_untake(ps_lease_t *lease, uint64_t now, uint64_t ns)
{
    if (now < lease->until) {
        lease->balance += ns;
    }
}


int
ps_lease_low(const ps_lease_t *lease, const ps_gcra_t *limit, uint64_t now)
{
    return lease->demand >= 2 * limit->interval
           && ps_lease_left(lease, now) < lease->demand / 2
           && now >= lease->pause;
}


void
ps_lease_ask(ps_lease_t *lease, uint64_t now, ps_lease_ask_t *ask)
{
    ask->kept = ps_lease_left(lease, now);
    ask->returned = lease->balance - ask->kept;
    ask->want = (lease->demand > ask->kept) ? lease->demand - ask->kept : 0;

    lease->balance = ask->kept;
}


void
ps_lease_answer(ps_lease_t *lease, const ps_lease_ask_t *ask, uint64_t sent,
    uint64_t extra, uint64_t total)
{
    lease->balance += extra;
    lease->amount = ask->kept + extra;
    lease->until = sent + PS_LEASE_HOLD;
    lease->total = sent + total;

    if (extra < ask->want / 2) {
        lease->pause = sent + PS_LEASE_PAUSE;
    }
}


/*
 * Redis may have taken the question: then it keeps less for us than we think,
 * or more.  Nothing of ours is spent beyond its time in either case, as
 * "until" does not move.
 */

void
ps_lease_lost(ps_lease_t *lease)
{
    lease->total = 0;
}


uint64_t
ps_lease_end(ps_lease_t *lease)
{
    uint64_t  balance;

    balance = lease->balance;

    lease->balance = 0;
    lease->amount = 0;
    lease->until = 0;

    return balance;
}


static uint64_t
ps_lease_left(const ps_lease_t *lease, uint64_t now)
{
    return (now < lease->until) ? lease->balance : 0;
}
