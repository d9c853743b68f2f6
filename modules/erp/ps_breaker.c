
#include "ps_breaker.h"
#include "ps_fault.h"


uint64_t
ps_breaker_ask(ps_breaker_t *b, const ps_breaker_limits_t *limits,
    uint64_t now, int *probe)
{
    *probe = 0;

    if (b->until == 0) {
        return 0;
    }

    if (now < b->until) {
        return b->until - now;
    }

    if (now < b->probe) {
        return b->probe - now;
    }

    /* one that never comes back is given up after that long */

    b->probe = now + limits->open;
    *probe = 1;

    ps_kill_point("breaker-probing");

    return 0;
}


void
ps_breaker_report(ps_breaker_t *b, const ps_breaker_limits_t *limits,
    uint64_t now, int probe, int failed)
{
    uint64_t  all, bad, width, turn;
    unsigned  i;

    if (b->until) {

        /* what was sent before it opened says nothing new */

        if (probe) {
            b->probe = 0;

            if (failed) {
                b->until = now + limits->open;
                b->opened++;

            } else {
                for (i = 0; i < PS_BREAKER_BUCKETS; i++) {
                    b->bucket[i].all = 0;
                    b->bucket[i].failed = 0;
                }

                ps_kill_point("breaker-closing");

                b->until = 0;
            }
        }

        return;
    }

    width = limits->window / PS_BREAKER_BUCKETS;

    if (width == 0) {
        width = 1;
    }

    turn = now / width;
    i = (unsigned) (turn % PS_BREAKER_BUCKETS);

    if (b->bucket[i].turn != turn) {
        b->bucket[i].all = 0;
        b->bucket[i].failed = 0;

        ps_kill_point("breaker-turning");

        /* last: what an old turn has left is never counted for this one */

        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        b->bucket[i].turn = turn;
    }

    b->bucket[i].all++;

    ps_kill_point("breaker-counted");

    b->bucket[i].failed += (failed != 0);

    if (!failed) {
        return;
    }

    all = 0;
    bad = 0;

    for (i = 0; i < PS_BREAKER_BUCKETS; i++) {

        if (b->bucket[i].turn + PS_BREAKER_BUCKETS > turn
            && b->bucket[i].turn <= turn)
        {
            all += b->bucket[i].all;
            bad += b->bucket[i].failed;
        }
    }

    if (all >= limits->least && bad * 100 >= all * limits->percent) {
        b->until = now + limits->open;

        ps_kill_point("breaker-opening");

        b->probe = 0;
        b->opened++;
    }
}


void
ps_breaker_forget(ps_breaker_t *b, int probe)
{
    if (probe) {
        b->probe = 0;
    }
}


ps_breaker_state_e
ps_breaker_state(const ps_breaker_t *b, uint64_t now)
{
    if (b->until == 0) {
        return PS_BREAKER_CLOSED;
    }

    return now < b->until ? PS_BREAKER_OPEN : PS_BREAKER_HALF_OPEN;
}
