
/*
 * Places at the ERP: of this host in a table in shared memory, of all hosts
 * in Redis.
 *
 * What this host holds in Redis is in its table too: so that it is counted
 * when Redis can't be asked, and this host has to do with its own share.
 * Each second a worker renews what it holds, here and in Redis, where that
 * also restores what a restart has lost.  What a dead worker held stays taken
 * until its lease ends: the ERP may still be working on it.
 */

#include "ngx_http_penstock_erp.h"


#define NGX_HTTP_PENSTOCK_ERP_TICK    5          /* ms, while some wait */
#define NGX_HTTP_PENSTOCK_ERP_RENEW   1000       /* ms, while some are there */
#define NGX_HTTP_PENSTOCK_ERP_ALIVE   3000       /* ms, of one that waits */
#define NGX_HTTP_PENSTOCK_ERP_PAUSE   2000       /* ms, for others' requests to
                                                    end when Redis is lost */
#define NGX_HTTP_PENSTOCK_ERP_LOOKS   20         /* ticks between two looks
                                                    for no reason */


static ngx_int_t ngx_http_penstock_erp_queue(
    ngx_http_penstock_erp_passage_t *p);
static ngx_int_t ngx_http_penstock_erp_local_enter(
    ngx_http_penstock_erp_passage_t *p);
static void ngx_http_penstock_erp_limits(
    ngx_http_penstock_erp_budget_t *budget, ps_budget_limits_t *limits);
static void ngx_http_penstock_erp_wait(ngx_http_penstock_erp_passage_t *p);
static void ngx_http_penstock_erp_unlist(ngx_http_penstock_erp_passage_t *p);
static void ngx_http_penstock_erp_late(ngx_event_t *ev);
static void ngx_http_penstock_erp_look_around(
    ngx_http_penstock_erp_budget_t *budget, ngx_uint_t grant);
static void ngx_http_penstock_erp_tick(ngx_event_t *ev);
static void ngx_http_penstock_erp_renew(ngx_event_t *ev);


ngx_int_t
ngx_http_penstock_erp_enter(ngx_http_penstock_erp_passage_t *p,
    ngx_msec_t timeout)
{
    if (!p->entered) {

        p->entered = 1;

        p->timer.handler = ngx_http_penstock_erp_late;
        p->timer.data = p;
        p->timer.log = p->exchange->host->connection->log;

        if ((p->early && !p->in)
            || (!p->early && ngx_http_penstock_erp_queue(p) == NGX_AGAIN))
        {
            ngx_add_timer(&p->timer, timeout);
        }
    }

    if (p->in) {
        return NGX_OK;
    }

    return (p->full || p->late) ? NGX_DECLINED : NGX_AGAIN;
}


ngx_int_t
ngx_http_penstock_erp_enter_early(ngx_http_penstock_erp_passage_t *p)
{
    if (p->budget->redis == NULL || !p->budget->sharing) {
        return NGX_DECLINED;
    }

    p->early = 1;

    if (ngx_http_penstock_erp_remote_enter(p) != NGX_OK) {
        return NGX_DECLINED;
    }

    ngx_http_penstock_erp_wait(p);

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_erp_queue(ngx_http_penstock_erp_passage_t *p)
{
    if (p->budget->redis) {

        if (ngx_http_penstock_erp_remote_enter(p) == NGX_OK) {
            ngx_http_penstock_erp_wait(p);
            return NGX_AGAIN;
        }

        ngx_http_penstock_erp_alone(p->budget);
    }

    return ngx_http_penstock_erp_local_enter(p);
}


static ngx_int_t
ngx_http_penstock_erp_local_enter(ngx_http_penstock_erp_passage_t *p)
{
    ps_budget_state_e                state;
    ps_budget_limits_t               limits;
    ngx_http_penstock_erp_budget_t  *budget;
    ngx_http_penstock_erp_places_t  *places;

    budget = p->budget;
    places = ngx_http_penstock_zone_data(budget->shm_zone);

    if (budget->redis) {
        ngx_http_penstock_count(budget->unshared, 1);
    }

    ngx_http_penstock_erp_limits(budget, &limits);
    limits.queue = p->queue_max;

    ngx_shmtx_lock(&places->shpool->mutex);

    state = ps_budget_enter(&places->table, &limits, ngx_current_msec,
                            ngx_current_msec + NGX_HTTP_PENSTOCK_ERP_ALIVE,
                            p->client, p->write, &p->local);

    ngx_shmtx_unlock(&places->shpool->mutex);

    switch (state) {

    case PS_BUDGET_HELD:
        ngx_http_penstock_erp_granted(p);
        return NGX_OK;

    case PS_BUDGET_WAITING:
        ngx_http_penstock_erp_wait(p);
        return NGX_AGAIN;

    default:
        p->full = 1;
        return NGX_DECLINED;
    }
}


/* the budget's, or what this host may have without Redis */

static void
ngx_http_penstock_erp_limits(ngx_http_penstock_erp_budget_t *budget,
    ps_budget_limits_t *limits)
{
    ngx_http_penstock_erp_places_t  *places;

    limits->limit = (unsigned) (budget->redis ? budget->alone
                                              : budget->limit);
    limits->writes = (unsigned) ngx_min(budget->writes, limits->limit);
    limits->queue = 0;

    if (budget->redis == NULL) {
        return;
    }

    if (limits->limit && limits->writes == limits->limit
        && budget->writes < budget->limit)
    {
        limits->writes = limits->limit - 1;
    }

    /*
     * While Redis answers another worker of this host, it is there for the
     * other hosts too, who then share the whole limit among them: one that
     * is cut off alone waits.
     */

    places = ngx_http_penstock_zone_data(budget->shm_zone);

    if ((ngx_msec_int_t) (budget->alone_from - ngx_current_msec) > 0
        || ngx_http_penstock_age(places->answered)
           < NGX_HTTP_PENSTOCK_ERP_PAUSE)
    {
        limits->limit = 0;
    }
}


/*
 * The other hosts may have more than their share of places at this moment:
 * nobody new is let in here until their requests should have ended.
 */

void
ngx_http_penstock_erp_alone(ngx_http_penstock_erp_budget_t *budget)
{
    if (budget->sharing) {
        budget->sharing = 0;
        budget->alone_from = ngx_current_msec + NGX_HTTP_PENSTOCK_ERP_PAUSE;

        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "erp_budget \"%V\" goes on with %ui places of this "
                      "host, as Redis does not answer", &budget->name,
                      budget->alone);
    }
}


void
ngx_http_penstock_erp_shared(ngx_http_penstock_erp_budget_t *budget)
{
    ngx_queue_t                      *q, *next;
    ngx_http_penstock_erp_places_t   *places;
    ngx_http_penstock_erp_passage_t  *p;

    if (budget->sharing) {
        return;
    }

    budget->sharing = 1;

    ngx_http_penstock_erp_remote_renew(budget);

    /* none of this worker's is let in here from now on */

    budget->alone_from = ngx_current_msec + NGX_MAX_INT32_VALUE;

    places = ngx_http_penstock_zone_data(budget->shm_zone);

    for (q = ngx_queue_head(&budget->waiting);
         q != ngx_queue_sentinel(&budget->waiting);
         q = next)
    {
        next = ngx_queue_next(q);

        p = ngx_queue_data(q, ngx_http_penstock_erp_passage_t, queue);

        if (p->local == 0 || ngx_http_penstock_erp_remote_enter(p) != NGX_OK) {
            continue;
        }

        ngx_shmtx_lock(&places->shpool->mutex);
        ps_budget_leave(&places->table, p->local);
        ngx_shmtx_unlock(&places->shpool->mutex);

        p->local = 0;
    }
}


static void
ngx_http_penstock_erp_wait(ngx_http_penstock_erp_passage_t *p)
{
    ngx_http_penstock_erp_budget_t  *budget;

    budget = p->budget;

    if (!p->listed) {
        p->listed = 1;
        ngx_queue_insert_tail(&budget->waiting, &p->queue);
    }

    ngx_http_penstock_count(budget->queued, p->asking ? 0 : 1);

    if (!budget->tick.timer_set) {
        ngx_add_timer(&budget->tick, NGX_HTTP_PENSTOCK_ERP_TICK);
    }

    if (!budget->renew.timer_set) {
        ngx_add_timer(&budget->renew, NGX_HTTP_PENSTOCK_ERP_RENEW);
    }
}


static void
ngx_http_penstock_erp_unlist(ngx_http_penstock_erp_passage_t *p)
{
    if (p->listed) {
        p->listed = 0;
        ngx_queue_remove(&p->queue);
    }

    if (p->timer.timer_set) {
        ngx_del_timer(&p->timer);
    }
}


void
ngx_http_penstock_erp_granted(ngx_http_penstock_erp_passage_t *p)
{
    ngx_http_penstock_erp_budget_t  *budget;
    ngx_http_penstock_erp_places_t  *places;

    budget = p->budget;
    places = ngx_http_penstock_zone_data(budget->shm_zone);

    ngx_http_penstock_erp_unlist(p);

    ngx_shmtx_lock(&places->shpool->mutex);

    if (p->remote) {
        p->local = ps_budget_take(&places->table, ngx_current_msec,
                                  ngx_current_msec + budget->lease, p->write);

    } else {
        ps_budget_renew(&places->table, p->local,
                        ngx_current_msec + budget->lease);
    }

    ngx_shmtx_unlock(&places->shpool->mutex);

    p->in = 1;
    p->listed = 1;
    ngx_queue_insert_tail(&budget->held, &p->queue);

    if (!budget->renew.timer_set) {
        ngx_add_timer(&budget->renew, NGX_HTTP_PENSTOCK_ERP_RENEW);
    }

    if (budget->redis && p->remote == 0) {

        /* if Redis is there for others, they must know at once */

        ngx_http_penstock_erp_remote_renew(budget);
    }

    ngx_http_penstock_exchange_continue(p->exchange);
}


void
ngx_http_penstock_erp_rejected(ngx_http_penstock_erp_passage_t *p)
{
    ngx_http_penstock_erp_unlist(p);

    p->remote = 0;
    p->full = 1;

    ngx_http_penstock_exchange_continue(p->exchange);
}


/* a request with a key that is not to be sent must not hold up the queue */

void
ngx_http_penstock_erp_none_free(ngx_http_penstock_erp_passage_t *p)
{
    p->early = 0;
    p->remote = 0;

    if (!p->entered) {
        ngx_http_penstock_erp_unlist(p);

    } else if (ngx_http_penstock_erp_queue(p) == NGX_DECLINED) {
        ngx_http_penstock_erp_rejected(p);
    }
}


void
ngx_http_penstock_erp_fall_back(ngx_http_penstock_erp_passage_t *p)
{
    p->early = 0;
    p->remote = 0;

    if (ngx_http_penstock_erp_local_enter(p) == NGX_DECLINED) {
        ngx_http_penstock_erp_rejected(p);
    }
}


void
ngx_http_penstock_erp_leave(ngx_http_penstock_erp_passage_t *p,
    ngx_uint_t busy)
{
    ngx_http_penstock_erp_budget_t  *budget;
    ngx_http_penstock_erp_places_t  *places;

    if (p->left) {
        return;
    }

    budget = p->budget;

    p->left = 1;
    ngx_http_penstock_erp_unlist(p);

    if (p->in && busy) {

        /* not renewed any more, it ends with its lease */

        if (p->remote) {
            ngx_http_penstock_erp_remote_busy(p);
        }

        return;
    }

    if (p->remote) {
        ngx_http_penstock_erp_remote_leave(p);
    }

    if (p->local == 0) {
        return;
    }

    places = ngx_http_penstock_zone_data(budget->shm_zone);

    ngx_shmtx_lock(&places->shpool->mutex);
    ps_budget_leave(&places->table, p->local);
    ngx_shmtx_unlock(&places->shpool->mutex);

    p->local = 0;

    ngx_http_penstock_erp_look_around(budget, 1);
}


static void
ngx_http_penstock_erp_late(ngx_event_t *ev)
{
    ngx_http_penstock_erp_passage_t  *p = ev->data;

    ngx_http_penstock_erp_leave(p, 0);

    p->late = 1;

    ngx_http_penstock_exchange_continue(p->exchange);
}


/* lets in who may, and finds out who of this worker is */

static void
ngx_http_penstock_erp_look_around(ngx_http_penstock_erp_budget_t *budget,
    ngx_uint_t grant)
{
    ngx_queue_t                      *q, *next;
    ps_budget_state_e                 state;
    ps_budget_limits_t                limits;
    ngx_http_penstock_erp_places_t   *places;
    ngx_http_penstock_erp_passage_t  *p;

    places = ngx_http_penstock_zone_data(budget->shm_zone);

    if (grant) {
        ngx_http_penstock_erp_limits(budget, &limits);

        ngx_shmtx_lock(&places->shpool->mutex);

        if (ps_budget_grant(&places->table, &limits, ngx_current_msec)) {
            (void) ngx_atomic_fetch_add(&places->changes, 1);
        }

        ngx_shmtx_unlock(&places->shpool->mutex);
    }

    if (places->changes == budget->seen && !grant) {
        return;
    }

    budget->seen = places->changes;

    for (q = ngx_queue_head(&budget->waiting);
         q != ngx_queue_sentinel(&budget->waiting);
         q = next)
    {
        next = ngx_queue_next(q);

        p = ngx_queue_data(q, ngx_http_penstock_erp_passage_t, queue);

        if (p->local == 0) {
            continue;
        }

        ngx_shmtx_lock(&places->shpool->mutex);
        state = ps_budget_look(&places->table, p->local);
        ngx_shmtx_unlock(&places->shpool->mutex);

        if (state == PS_BUDGET_HELD) {
            ngx_http_penstock_erp_granted(p);

        } else if (state == PS_BUDGET_NONE) {

            /* this worker was held up for so long that it ran out */

            ngx_http_penstock_erp_rejected(p);
        }
    }
}


static void
ngx_http_penstock_erp_tick(ngx_event_t *ev)
{
    ngx_http_penstock_erp_budget_t  *budget = ev->data;

    if (ngx_queue_empty(&budget->waiting)) {
        return;
    }

    budget->ticks++;

    ngx_http_penstock_erp_look_around(budget,
                         budget->ticks % NGX_HTTP_PENSTOCK_ERP_LOOKS == 0);

    if (budget->redis && budget->ticks % 2 == 0) {
        ngx_http_penstock_erp_remote_poll(budget);
    }

    ngx_add_timer(ev, NGX_HTTP_PENSTOCK_ERP_TICK);
}


static void
ngx_http_penstock_erp_renew(ngx_event_t *ev)
{
    ngx_uint_t                        idle, told;
    ngx_queue_t                      *q;
    ngx_http_penstock_erp_budget_t   *budget = ev->data;
    ngx_http_penstock_erp_places_t   *places;
    ngx_http_penstock_erp_passage_t  *p;

    places = ngx_http_penstock_zone_data(budget->shm_zone);

    ngx_shmtx_lock(&places->shpool->mutex);

    for (q = ngx_queue_head(&budget->held);
         q != ngx_queue_sentinel(&budget->held);
         q = ngx_queue_next(q))
    {
        p = ngx_queue_data(q, ngx_http_penstock_erp_passage_t, queue);
        ps_budget_renew(&places->table, p->local,
                        ngx_current_msec + budget->lease);
    }

    for (q = ngx_queue_head(&budget->waiting);
         q != ngx_queue_sentinel(&budget->waiting);
         q = ngx_queue_next(q))
    {
        p = ngx_queue_data(q, ngx_http_penstock_erp_passage_t, queue);
        ps_budget_renew(&places->table, p->local,
                        ngx_current_msec + NGX_HTTP_PENSTOCK_ERP_ALIVE);
    }

    ngx_shmtx_unlock(&places->shpool->mutex);

    idle = ngx_queue_empty(&budget->waiting)
           && ngx_queue_empty(&budget->held);

    /*
     * Once more when nothing is left: so that Redis knows.  And while nobody
     * of this host asks: so that the host knows whether Redis answers, and
     * Redis that it has not been away.
     */

    told = (budget->redis == NULL);

    if (budget->redis
        && (!idle || !budget->idle
            || ngx_http_penstock_age(places->answered)
               >= NGX_HTTP_PENSTOCK_ERP_RENEW / 2))
    {
        told = budget->sharing;
        ngx_http_penstock_erp_remote_renew(budget);
    }

    budget->idle = idle;

    if (!idle || budget->redis) {
        ngx_add_timer(ev, told ? NGX_HTTP_PENSTOCK_ERP_RENEW
                               : NGX_HTTP_PENSTOCK_ERP_RENEW / 2);
    }
}


void
ngx_http_penstock_erp_budget_setup(ngx_http_penstock_erp_budget_t *budget,
    ngx_log_t *log)
{
    ngx_queue_init(&budget->waiting);
    ngx_queue_init(&budget->held);

    budget->tick.handler = ngx_http_penstock_erp_tick;
    budget->tick.data = budget;
    budget->tick.log = log;

    budget->renew.handler = ngx_http_penstock_erp_renew;
    budget->renew.data = budget;
    budget->renew.log = log;
    budget->renew.cancelable = 1;
}


void
ngx_http_penstock_erp_budget_start(ngx_http_penstock_erp_budget_t *budget)
{
    ngx_add_timer(&budget->renew, 1);
}
