
#include "ps_budget.h"
#include "ps_fault.h"


static ps_budget_entry_t *ps_budget_find(ps_budget_t *b, uint64_t id);
static void ps_budget_remove(ps_budget_t *b, ps_budget_entry_t *e);
static void ps_budget_mend(ps_budget_t *b);
static void ps_budget_expire(ps_budget_t *b, uint64_t now);
static uint64_t ps_budget_add(ps_budget_t *b, ps_budget_entry_t *e);


ps_budget_state_e
ps_budget_enter(ps_budget_t *b, const ps_budget_limits_t *limits,
    uint64_t now, uint64_t expires, uint64_t client, int write, uint64_t *id)
{
    unsigned            i, waiting;
    ps_budget_entry_t   e;
    ps_budget_state_e   state;

    ps_budget_expire(b, now);

    e.expires = expires;
    e.client = client;
    e.tag = b->turn;
    e.seq = ++b->seq;
    e.state = PS_BUDGET_WAITING;
    e.write = (write != 0);

    waiting = 0;

    for (i = 0; i < b->n; i++) {
        if (b->entry[i].state != PS_BUDGET_WAITING) {
            continue;
        }

        waiting++;

        if (b->entry[i].client == client && b->entry[i].tag > e.tag) {
            e.tag = b->entry[i].tag;
        }
    }

    e.tag++;

    *id = ps_budget_add(b, &e);

    if (*id == 0) {
        return PS_BUDGET_FULL;
    }

    (void) ps_budget_grant(b, limits, now);

    state = ps_budget_look(b, *id);

    if (state == PS_BUDGET_WAITING && waiting >= limits->queue) {
        ps_budget_leave(b, *id);
        *id = 0;

        return PS_BUDGET_FULL;
    }

    return state;
}


uint64_t
ps_budget_take(ps_budget_t *b, uint64_t now, uint64_t expires, int write)
{
    ps_budget_entry_t  e;

    ps_budget_expire(b, now);

    e.expires = expires;
    e.client = 0;
    e.tag = 0;
    e.seq = ++b->seq;
    e.state = PS_BUDGET_HELD;
    e.write = (write != 0);

    return ps_budget_add(b, &e);
}


void
ps_budget_leave(ps_budget_t *b, uint64_t id)
{
    ps_budget_entry_t  *e;

    ps_budget_mend(b);

    e = ps_budget_find(b, id);

    if (e) {
        ps_budget_remove(b, e);
    }
}


ps_budget_state_e
ps_budget_look(ps_budget_t *b, uint64_t id)
{
    ps_budget_entry_t  *e;

    e = ps_budget_find(b, id);

    return e ? (ps_budget_state_e) e->state : PS_BUDGET_NONE;
}


void
ps_budget_renew(ps_budget_t *b, uint64_t id, uint64_t expires)
{
    ps_budget_entry_t  *e;

    e = ps_budget_find(b, id);

    if (e) {
        e->expires = expires;
    }
}


unsigned
ps_budget_grant(ps_budget_t *b, const ps_budget_limits_t *limits,
    uint64_t now)
{
    unsigned            i, n, level, held, reads, most, granted;
    ps_budget_entry_t  *e, *first;

    ps_budget_expire(b, now);

    level = ps_budget_level(&b->narrow, limits->limit, now);

    /* narrowed below the share of writes, reads still get their turn */

    most = level > limits->writes ? level - limits->writes
                                  : limits->limit > limits->writes;

    held = 0;
    reads = 0;

    for (i = 0; i < b->n; i++) {
        if (b->entry[i].state == PS_BUDGET_HELD) {
            held++;
            reads += !b->entry[i].write;
        }
    }

    for (granted = 0; held < level; granted++) {

        first = NULL;

        for (n = 0; n < b->n; n++) {
            e = &b->entry[n];

            if (e->state != PS_BUDGET_WAITING
                || (!e->write && reads >= most))
            {
                continue;
            }

            if (first == NULL || e->tag < first->tag
                || (e->tag == first->tag && e->seq < first->seq))
            {
                first = e;
            }
        }

        if (first == NULL) {
            break;
        }

        /* not back: a read's turn may come late behind its share */

        if (first->tag > b->turn) {
            b->turn = first->tag;
        }

        held++;
        reads += !first->write;

        ps_kill_point("budget-granting");

        first->state = PS_BUDGET_HELD;
    }

    return granted;
}


unsigned
ps_budget_count(const ps_budget_t *b, ps_budget_state_e state, uint64_t now)
{
    unsigned  i, n;

    n = 0;

    for (i = 0; i < b->n && i < b->room; i++) {
        n += (b->entry[i].state == (uint32_t) state
              && b->entry[i].expires > now);
    }

    return n;
}


unsigned
ps_budget_level(const ps_budget_narrow_t *n, unsigned limit, uint64_t now)
{
    uint64_t  level;

    if (n->level == 0) {
        return limit;
    }

    level = n->level;

    if (now >= n->until) {
        level += (now - n->until) / 1000 + 1;
    }

    return level < limit ? (unsigned) level : limit;
}


int
ps_budget_narrow(ps_budget_narrow_t *n, unsigned limit, uint64_t now,
    uint64_t ms)
{
    unsigned  level;

    if (n->level && now < n->at + 1000) {
        return 0;
    }

    level = ps_budget_level(n, limit, now) / 2;

    n->at = now;
    n->until = now + ms;
    n->level = level ? level : 1;

    return 1;
}


static ps_budget_entry_t *
ps_budget_find(ps_budget_t *b, uint64_t id)
{
    unsigned  i;

    for (i = 0; i < b->n; i++) {
        if (b->entry[i].id == id && b->entry[i].state != PS_BUDGET_NONE) {
            return &b->entry[i];
        }
    }

    return NULL;
}


static void
ps_budget_remove(ps_budget_t *b, ps_budget_entry_t *e)
{
    ps_budget_entry_t  *last;

    last = &b->entry[b->n - 1];

    if (e != last) {

        /* of no state in between, or half of it would count */

        e->state = PS_BUDGET_NONE;
        __atomic_signal_fence(__ATOMIC_SEQ_CST);

        e->id = last->id;

        ps_kill_point("budget-removing");

        e->expires = last->expires;
        e->client = last->client;
        e->tag = last->tag;
        e->seq = last->seq;
        e->write = last->write;

        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        e->state = last->state;

        ps_kill_point("budget-removed");
    }

    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    b->n--;
}


/* a process that died in a removal may have left the last entry twice */

static void
ps_budget_mend(ps_budget_t *b)
{
    ps_budget_entry_t  *last;

    if (b->n < 2) {
        return;
    }

    last = &b->entry[b->n - 1];

    if (last->state != PS_BUDGET_NONE && ps_budget_find(b, last->id) != last) {
        b->n--;
    }
}


static void
ps_budget_expire(ps_budget_t *b, uint64_t now)
{
    unsigned  i;

    ps_budget_mend(b);

    for (i = 0; i < b->n; /* void */) {

        /* of no state: of a removal that was cut short */

        if (b->entry[i].state == PS_BUDGET_NONE
            || b->entry[i].expires <= now)
        {
            ps_budget_remove(b, &b->entry[i]);
            continue;
        }

        i++;
    }
}


static uint64_t
ps_budget_add(ps_budget_t *b, ps_budget_entry_t *e)
{
    if (b->n >= b->room) {
        return 0;
    }

    e->id = ++b->ids;
    b->entry[b->n] = *e;

    ps_kill_point("budget-added");

    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    b->n++;

    return e->id;
}
