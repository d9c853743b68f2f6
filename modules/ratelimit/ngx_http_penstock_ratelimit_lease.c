
/*
 * sync=lease: a worker debits units of a key in Redis ahead and spends them
 * without asking.
 *
 * Leases are each worker's own, in its memory.  Requests that find nothing
 * left wait for the answer together, see
 * ngx_http_penstock_ratelimit_lease_ask.c.
 */

#include "ngx_http_penstock_ratelimit_lease.h"


/* a worker keeps a lease for each so many bytes of the zone, at most */

#define NGX_HTTP_PENSTOCK_RATELIMIT_LEASE_SHARE  512


/* of one zone */

typedef struct {
    ngx_http_penstock_ratelimit_lease_t    **bucket;
    ngx_uint_t                               mask;
    ngx_uint_t                               n;
    ngx_uint_t                               max;
    ngx_queue_t                              lru;
} ngx_http_penstock_ratelimit_leases_t;


static ngx_http_penstock_ratelimit_lease_t *
    ngx_http_penstock_ratelimit_lease_find(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_item_t *item);
static ngx_http_penstock_ratelimit_leases_t *
    ngx_http_penstock_ratelimit_leases_make(
    ngx_http_penstock_ratelimit_zone_t *zone);
static void ngx_http_penstock_ratelimit_leases_evict(
    ngx_http_penstock_ratelimit_leases_t *leases);
static ngx_int_t ngx_http_penstock_ratelimit_lease_wait(
    ngx_http_penstock_ratelimit_decision_t *d,
    ngx_http_penstock_ratelimit_item_t *item,
    ngx_http_penstock_ratelimit_lease_t *l);
static void ngx_http_penstock_ratelimit_lease_cleanup(void *data);


ngx_int_t
ngx_http_penstock_ratelimit_lease(ngx_http_penstock_ratelimit_decision_t *d,
    ngx_http_penstock_ratelimit_item_t *item)
{
    uint64_t                               now;
    ngx_http_penstock_ratelimit_lease_t   *l;
    ngx_http_penstock_ratelimit_waiter_t  *w;

    w = d->waiter;

    if (w) {
        if (w->waiting) {
            return NGX_AGAIN;
        }

        d->waiter = NULL;

        if (w->failed) {
            return NGX_DECLINED;
        }

        if (item->decided) {
            return NGX_OK;
        }
    }

    l = ngx_http_penstock_ratelimit_lease_find(d->request, item);
    if (l == NULL) {
        return NGX_ERROR;
    }

    now = ps_gcra_now();

    if (w == NULL) {
        ps_lease_demand(&l->lease, now,
                        ngx_min(item->cost, item->limit->burst)
                        * item->limit->interval);
    }

    switch (ps_lease_take(&l->lease, item->limit, now, item->cost,
                          &item->result))
    {
    case PS_LEASE_TAKEN:
        item->decided = 1;
        item->debited = 1;
        item->leased = 1;

        if (l->call.pending == NULL
            && ps_lease_low(&l->lease, item->limit, now))
        {
            (void) ngx_http_penstock_ratelimit_lease_ask(l, item->limit, now);
        }

        return NGX_OK;

    case PS_LEASE_REFUSED:
        item->decided = 1;
        item->refused = 1;

        return NGX_OK;

    default: /* PS_LEASE_ASK */
        return ngx_http_penstock_ratelimit_lease_wait(d, item, l);
    }
}


/* makes one unless there is one; NULL: no memory */

static ngx_http_penstock_ratelimit_lease_t *
ngx_http_penstock_ratelimit_lease_find(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_item_t *item)
{
    ngx_str_t                              name;
    ngx_http_penstock_ratelimit_lease_t   *l, **bucket;
    ngx_http_penstock_ratelimit_leases_t  *leases;

    leases = item->zone->leases;

    if (leases == NULL) {
        leases = ngx_http_penstock_ratelimit_leases_make(item->zone);
        if (leases == NULL) {
            return NULL;
        }
    }

    bucket = &leases->bucket[item->hash & leases->mask];

    for (l = *bucket; l; l = l->next) {
        if (l->hash == item->hash) {
            ngx_queue_remove(&l->lru);
            ngx_queue_insert_head(&leases->lru, &l->lru);
            return l;
        }
    }

    if (ngx_http_penstock_ratelimit_redis_name(r->pool,
                                     ngx_http_penstock_ratelimit_prefix(item),
                                               &item->zone->name, &item->key,
                                               &name)
        != NGX_OK)
    {
        return NULL;
    }

    if (leases->n >= leases->max) {
        ngx_http_penstock_ratelimit_leases_evict(leases);
    }

    l = ngx_calloc(sizeof(ngx_http_penstock_ratelimit_lease_t) + name.len,
                   r->connection->log);
    if (l == NULL) {
        return NULL;
    }

    l->zone = item->zone;
    l->table = item->table;
    l->hash = item->hash;

    l->name.len = name.len;
    l->name.data = (u_char *) l + sizeof(ngx_http_penstock_ratelimit_lease_t);
    ngx_memcpy(l->name.data, name.data, name.len);

    ngx_queue_init(&l->waiters);
    ngx_queue_insert_head(&leases->lru, &l->lru);

    l->next = *bucket;
    *bucket = l;
    leases->n++;

    return l;
}


static ngx_http_penstock_ratelimit_leases_t *
ngx_http_penstock_ratelimit_leases_make(
    ngx_http_penstock_ratelimit_zone_t *zone)
{
    ngx_uint_t                             size;
    ngx_http_penstock_ratelimit_leases_t  *leases;

    if (ngx_http_penstock_ratelimit_lease_start() != NGX_OK) {
        return NULL;
    }

    leases = ngx_pcalloc(ngx_cycle->pool,
                         sizeof(ngx_http_penstock_ratelimit_leases_t));
    if (leases == NULL) {
        return NULL;
    }

    leases->max = zone->shm_zone->shm.size
                  / NGX_HTTP_PENSTOCK_RATELIMIT_LEASE_SHARE;

    for (size = 64; size < leases->max; size *= 2) { /* void */ }

    leases->mask = size - 1;

    leases->bucket = ngx_pcalloc(ngx_cycle->pool, size
                           * sizeof(ngx_http_penstock_ratelimit_lease_t *));
    if (leases->bucket == NULL) {
        return NULL;
    }

    ngx_queue_init(&leases->lru);

    zone->leases = leases;

    return leases;
}


/* one that was not used for long goes, unless somebody waits for it */

static void
ngx_http_penstock_ratelimit_leases_evict(
    ngx_http_penstock_ratelimit_leases_t *leases)
{
    ngx_uint_t                             i;
    ngx_queue_t                           *q;
    ngx_http_penstock_ratelimit_lease_t   *l, **p;

    q = ngx_queue_last(&leases->lru);

    for (i = 0; i < 8 && q != ngx_queue_sentinel(&leases->lru); i++) {
        l = ngx_queue_data(q, ngx_http_penstock_ratelimit_lease_t, lru);
        q = ngx_queue_prev(q);

        if (l->call.pending || !ngx_queue_empty(&l->waiters)) {
            continue;
        }

        if (l->ends) {
            ngx_http_penstock_ratelimit_lease_return(l);
        }

        for (p = &leases->bucket[l->hash & leases->mask]; *p != l;
             p = &(*p)->next)
        {
            /* void */
        }

        *p = l->next;

        ngx_queue_remove(&l->lru);
        ngx_free(l);
        leases->n--;

        return;
    }
}


static ngx_int_t
ngx_http_penstock_ratelimit_lease_wait(
    ngx_http_penstock_ratelimit_decision_t *d,
    ngx_http_penstock_ratelimit_item_t *item,
    ngx_http_penstock_ratelimit_lease_t *l)
{
    ngx_pool_cleanup_t                    *cln;
    ngx_http_penstock_ratelimit_waiter_t  *w;

    cln = ngx_pool_cleanup_add(d->request->pool,
                               sizeof(ngx_http_penstock_ratelimit_waiter_t));
    if (cln == NULL) {
        return NGX_ERROR;
    }

    w = cln->data;
    ngx_memzero(w, sizeof(ngx_http_penstock_ratelimit_waiter_t));
    cln->handler = ngx_http_penstock_ratelimit_lease_cleanup;

    w->decision = d;
    w->item = item;
    w->ns = item->cost * item->limit->interval;

    ngx_queue_insert_tail(&l->waiters, &w->queue);
    w->waiting = 1;

    if (l->call.pending == NULL
        && ngx_http_penstock_ratelimit_lease_ask(l, item->limit, ps_gcra_now())
           != NGX_OK)
    {
        ngx_http_penstock_ratelimit_lease_cleanup(w);
        return NGX_DECLINED;
    }

    d->waiter = w;

    return NGX_AGAIN;
}


static void
ngx_http_penstock_ratelimit_lease_cleanup(void *data)
{
    ngx_http_penstock_ratelimit_waiter_t  *w = data;

    if (w->waiting) {
        w->waiting = 0;
        ngx_queue_remove(&w->queue);
    }
}


void
ngx_http_penstock_ratelimit_lease_abandon(
    ngx_http_penstock_ratelimit_decision_t *d)
{
    if (d->waiter && d->waiter->waiting) {
        ngx_http_penstock_ratelimit_lease_cleanup(d->waiter);
        d->waiter->failed = 1;
    }
}


void
ngx_http_penstock_ratelimit_unlease(ngx_http_penstock_ratelimit_item_t *item)
{
    ngx_http_penstock_ratelimit_lease_t   *l;
    ngx_http_penstock_ratelimit_leases_t  *leases;

    leases = item->zone->leases;

    for (l = leases->bucket[item->hash & leases->mask]; l; l = l->next) {
        if (l->hash == item->hash) {
            ps_lease_untake(&l->lease, ps_gcra_now(),
                            item->cost * item->limit->interval);
            return;
        }
    }
}
