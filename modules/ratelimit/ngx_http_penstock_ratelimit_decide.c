
/*
 * The decision about a request that meets several limits: all are checked
 * before one is debited, and a refusal leaves no debit behind.
 */

#include "ngx_http_penstock_ratelimit.h"


static ngx_int_t ngx_http_penstock_ratelimit_local(
    ngx_http_penstock_ratelimit_item_t *items, ngx_uint_t n);
static void ngx_http_penstock_ratelimit_take(
    ngx_http_penstock_ratelimit_item_t *item, uint64_t now);
static ngx_int_t ngx_http_penstock_ratelimit_fallback(
    ngx_http_penstock_ratelimit_decision_t *d,
    ngx_http_penstock_redis_t *redis);
static ngx_int_t ngx_http_penstock_ratelimit_undo(
    ngx_http_penstock_ratelimit_decision_t *d);


ngx_int_t
ngx_http_penstock_ratelimit_decide(ngx_http_penstock_ratelimit_decision_t *d)
{
    ngx_int_t                           rc;
    ngx_uint_t                          i;
    ngx_http_penstock_ratelimit_ask_t  *ask;

    if (d->ask == NULL) {

        /* this host's own first: they refuse without asking anybody */

        if (ngx_http_penstock_ratelimit_local(d->items, d->n) != NGX_OK) {
            return ngx_http_penstock_ratelimit_undo(d);
        }
    }

    for ( ;; ) {
        ask = d->ask;

        if (ask) {

            if (ask->waiting) {
                return NGX_AGAIN;
            }

            d->ask = NULL;

            if (ask->answered) {
                rc = ngx_http_penstock_ratelimit_answer(ask, d->items, d->n);

            } else {
                rc = ngx_http_penstock_ratelimit_fallback(d, ask->redis);
            }

            if (rc != NGX_OK) {
                return ngx_http_penstock_ratelimit_undo(d);
            }
        }

        for (i = 0; i < d->n; i++) {
            if (!d->items[i].decided) {
                break;
            }
        }

        if (i == d->n) {
            return NGX_OK;
        }

        d->ask = ngx_http_penstock_ratelimit_ask(d, i);
        if (d->ask == NULL) {
            (void) ngx_http_penstock_ratelimit_undo(d);
            return NGX_ERROR;
        }
    }
}


void
ngx_http_penstock_ratelimit_abandon(ngx_http_penstock_ratelimit_decision_t *d)
{
    if (d->ask && d->ask->waiting) {
        ngx_http_penstock_redis_cancel(&d->ask->call);
        d->ask->waiting = 0;
    }
}


/*
 * Decides what this host's tables are to decide.  With more than one limit
 * they are looked at before any is debited, so that a refused request is
 * not for a moment in the way of others; the debit itself checks again.
 */

static ngx_int_t
ngx_http_penstock_ratelimit_local(ngx_http_penstock_ratelimit_item_t *items,
    ngx_uint_t n)
{
    uint64_t                             now;
    ngx_int_t                            rc;
    ngx_uint_t                           i, enforced;
    ngx_http_penstock_ratelimit_item_t  *item;

    enforced = 0;
    now = 0;

    for (i = 0; i < n; i++) {
        item = &items[i];

        if (item->local && !item->decided) {
            enforced += !item->dry_run;

            if (now == 0) {
                now = ps_gcra_now();
            }
        }
    }

    if (now == 0) {
        return NGX_OK;
    }

    rc = NGX_OK;

    if (enforced > 1) {

        for (i = 0; i < n; i++) {
            item = &items[i];

            if (!item->local || item->decided || item->dry_run) {
                continue;
            }

            ps_gcra_table_peek(item->table, item->hash, item->limit, now,
                               item->cost, &item->result);

            if (!item->result.allowed) {
                item->decided = 1;
                item->refused = 1;
                rc = NGX_DECLINED;
            }
        }

        if (rc != NGX_OK) {
            return rc;
        }
    }

    for (i = 0; i < n; i++) {
        item = &items[i];

        if (item->local && !item->decided) {
            ngx_http_penstock_ratelimit_take(item, now);

            if (item->refused && !item->dry_run) {
                return NGX_DECLINED;
            }
        }
    }

    return NGX_OK;
}


static void
ngx_http_penstock_ratelimit_take(ngx_http_penstock_ratelimit_item_t *item,
    uint64_t now)
{
    if (ps_gcra_table_take(item->table, item->hash, item->limit, now,
                           item->cost, &item->result))
    {
        ngx_http_penstock_count(item->zone->evicted, 1);
    }

    item->decided = 1;
    item->debited = item->result.allowed;
    item->refused = !item->result.allowed;
}


static ngx_int_t
ngx_http_penstock_ratelimit_fallback(
    ngx_http_penstock_ratelimit_decision_t *d,
    ngx_http_penstock_redis_t *redis)
{
    ngx_uint_t                           i;
    ngx_http_penstock_ratelimit_item_t  *items;

    items = d->items;

    for (i = 0; i < d->n; i++) {

        if (items[i].decided || items[i].zone->redis != redis) {
            continue;
        }

        items[i].fallback = 1;

        switch (items[i].zone->fallback) {

        case NGX_HTTP_PENSTOCK_RATELIMIT_LOCAL:
            items[i].local = 1;
            break;

        case NGX_HTTP_PENSTOCK_RATELIMIT_DENY:

            items[i].decided = 1;
            items[i].unknown = 1;

            if (items[i].dry_run) {
                break;
            }

            items[i].refused = 1;
            d->unavailable = 1;
            break;

        default: /* NGX_HTTP_PENSTOCK_RATELIMIT_ALLOW */

            items[i].decided = 1;
            items[i].unknown = 1;
        }
    }

    ngx_log_error(NGX_LOG_INFO, d->request->connection->log, 0,
                  "rate limits are decided without Redis");

    if (d->unavailable) {
        return NGX_DECLINED;
    }

    return ngx_http_penstock_ratelimit_local(items, d->n);
}


/* refused: what was debited for it goes back */

static ngx_int_t
ngx_http_penstock_ratelimit_undo(ngx_http_penstock_ratelimit_decision_t *d)
{
    uint64_t                             ns;
    ngx_uint_t                           i;
    ngx_http_penstock_ratelimit_item_t  *items;

    items = d->items;

    for (i = 0; i < d->n; i++) {

        if (!items[i].debited) {
            continue;
        }

        items[i].debited = 0;

        ns = items[i].cost * items[i].limit->interval;

        if (ns == 0) {
            continue;
        }

        /* for a limit in Redis this is what we remember of it */

        ps_gcra_table_refund(items[i].table, items[i].hash, ns);

        if (!items[i].local) {
            ngx_http_penstock_ratelimit_give_back(d->request, &items[i]);
        }
    }

    return NGX_DECLINED;
}
