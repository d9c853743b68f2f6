
/*
 * The decision about a request that meets several limits: all are checked
 * before one is debited, and a refusal leaves no debit behind.
 */

#include "ngx_http_penstock_ratelimit.h"


static ngx_int_t ngx_http_penstock_ratelimit_peek(
    ngx_http_penstock_ratelimit_item_t *items, ngx_uint_t n);
static ngx_int_t ngx_http_penstock_ratelimit_leases(
    ngx_http_penstock_ratelimit_decision_t *d);
static ngx_int_t ngx_http_penstock_ratelimit_local(
    ngx_http_penstock_ratelimit_item_t *items, ngx_uint_t n);
static void ngx_http_penstock_ratelimit_take(
    ngx_http_penstock_ratelimit_item_t *item, uint64_t now);
static ngx_int_t ngx_http_penstock_ratelimit_asked(
    ngx_http_penstock_ratelimit_decision_t *d);
static ngx_int_t ngx_http_penstock_ratelimit_fallback(
    ngx_http_penstock_ratelimit_decision_t *d,
    ngx_http_penstock_ratelimit_ask_t *ask);
static ngx_int_t ngx_http_penstock_ratelimit_without(
    ngx_http_penstock_ratelimit_decision_t *d,
    ngx_http_penstock_ratelimit_item_t *item);
static ngx_int_t ngx_http_penstock_ratelimit_undo(
    ngx_http_penstock_ratelimit_decision_t *d);


ngx_int_t
ngx_http_penstock_ratelimit_decide(ngx_http_penstock_ratelimit_decision_t *d)
{
    ngx_int_t                           rc;
    ngx_uint_t                          i;
    ngx_http_penstock_ratelimit_ask_t  *ask;

    if (!d->started) {
        d->started = 1;

        /* this host's own first: they refuse without asking anybody */

        if (d->n > 1
            && ngx_http_penstock_ratelimit_peek(d->items, d->n) != NGX_OK)
        {
            return ngx_http_penstock_ratelimit_undo(d);
        }
    }

    if (d->ask == NULL) {
        rc = ngx_http_penstock_ratelimit_leases(d);

        if (rc == NGX_OK) {
            rc = ngx_http_penstock_ratelimit_local(d->items, d->n);
        }

        if (rc == NGX_AGAIN) {
            return NGX_AGAIN;
        }

        if (rc != NGX_OK) {
            (void) ngx_http_penstock_ratelimit_undo(d);
            return rc;
        }
    }

    for ( ;; ) {
        for (ask = d->ask; ask; ask = ask->next) {
            if (ask->waiting) {
                return NGX_AGAIN;
            }
        }

        if (ngx_http_penstock_ratelimit_asked(d) != NGX_OK) {
            return ngx_http_penstock_ratelimit_undo(d);
        }

        for (i = 0; i < d->n; i++) {
            if (!d->items[i].decided) {
                break;
            }
        }

        if (i == d->n) {

            for (i = 0; i < d->n; i++) {
                ngx_http_penstock_ratelimit_learn(&d->items[i]);
            }

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
    ngx_http_penstock_ratelimit_ask_t  *ask;

    for (ask = d->ask; ask; ask = ask->next) {
        if (ask->waiting) {
            ngx_http_penstock_ratelimit_unask(ask);
        }
    }

    ngx_http_penstock_ratelimit_lease_abandon(d);
}


/*
 * With more than one limit they are looked at before any is debited, so that
 * a refused request is not for a moment in the way of others; the debit
 * itself checks again.
 */

static ngx_int_t
ngx_http_penstock_ratelimit_peek(ngx_http_penstock_ratelimit_item_t *items,
    ngx_uint_t n)
{
    uint64_t                             now;
    ngx_int_t                            rc;
    ngx_uint_t                           i;
    ngx_http_penstock_ratelimit_item_t  *item;

    rc = NGX_OK;
    now = 0;

    for (i = 0; i < n; i++) {
        item = &items[i];

        if (!item->local || item->dry_run) {
            continue;
        }

        if (now == 0) {
            now = ps_gcra_now();
        }

        ps_gcra_table_peek(item->table, item->hash, item->limit, now,
                           item->cost, &item->result);

        if (!item->result.allowed) {
            item->decided = 1;
            item->refused = 1;
            rc = NGX_DECLINED;
        }
    }

    return rc;
}


/* what this worker may decide by a lease; NGX_AGAIN while it asks for one */

static ngx_int_t
ngx_http_penstock_ratelimit_leases(ngx_http_penstock_ratelimit_decision_t *d)
{
    ngx_int_t                            rc;
    ngx_uint_t                           i;
    ngx_http_penstock_ratelimit_item_t  *item;

    for (i = 0; i < d->n; i++) {
        item = &d->items[i];

        if (!item->lease || item->fallback) {
            continue;
        }

        if (!item->decided
            || (d->waiter && d->waiter->item == item))
        {
            rc = ngx_http_penstock_ratelimit_lease(d, item);

            if (rc == NGX_DECLINED) {
                rc = ngx_http_penstock_ratelimit_without(d, item);
            }

            if (rc != NGX_OK) {
                return rc;
            }
        }

        if (item->refused && !item->dry_run) {
            return NGX_DECLINED;
        }
    }

    return NGX_OK;
}


/* decides what this host's tables are to decide */

static ngx_int_t
ngx_http_penstock_ratelimit_local(ngx_http_penstock_ratelimit_item_t *items,
    ngx_uint_t n)
{
    uint64_t                             now;
    ngx_uint_t                           i;
    ngx_http_penstock_ratelimit_item_t  *item;

    now = 0;

    for (i = 0; i < n; i++) {
        item = &items[i];

        if (!item->local || item->decided) {
            continue;
        }

        if (now == 0) {
            now = ps_gcra_now();
        }

        ngx_http_penstock_ratelimit_take(item, now);

        if (item->refused && !item->dry_run) {
            return NGX_DECLINED;
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


/*
 * What came of the questions.  A refusal is one, whatever others could not
 * be asked.
 */

static ngx_int_t
ngx_http_penstock_ratelimit_asked(ngx_http_penstock_ratelimit_decision_t *d)
{
    ngx_int_t                           rc;
    ngx_http_penstock_ratelimit_ask_t  *ask, *asks;

    asks = d->ask;
    d->ask = NULL;

    rc = NGX_OK;

    for (ask = asks; ask; ask = ask->next) {
        if (ask->answered
            && ngx_http_penstock_ratelimit_answer(ask, d->items, d->n)
               != NGX_OK)
        {
            rc = NGX_DECLINED;
        }
    }

    for (ask = asks; ask && rc == NGX_OK; ask = ask->next) {
        if (!ask->answered) {
            rc = ngx_http_penstock_ratelimit_fallback(d, ask);
        }
    }

    return rc;
}


static ngx_int_t
ngx_http_penstock_ratelimit_fallback(
    ngx_http_penstock_ratelimit_decision_t *d,
    ngx_http_penstock_ratelimit_ask_t *ask)
{
    ngx_int_t                            rc;
    ngx_uint_t                           i;
    ngx_http_penstock_ratelimit_item_t  *items;

    items = d->items;
    rc = NGX_OK;

    for (i = 0; i < d->n; i++) {

        if (items[i].decided || items[i].ask != ask) {
            continue;
        }

        if (ngx_http_penstock_ratelimit_without(d, &items[i]) != NGX_OK) {
            rc = NGX_DECLINED;
        }
    }

    return (rc == NGX_OK)
           ? ngx_http_penstock_ratelimit_local(items, d->n) : rc;
}


/* an item that Redis does not decide; NGX_DECLINED: it is refused for that */

static ngx_int_t
ngx_http_penstock_ratelimit_without(ngx_http_penstock_ratelimit_decision_t *d,
    ngx_http_penstock_ratelimit_item_t *item)
{
    item->fallback = 1;

    ngx_log_error(NGX_LOG_INFO, d->request->connection->log, 0,
                  "rate limit by zone \"%V\" is decided without Redis",
                  &item->zone->name);

    if (item->zone->fallback == NGX_HTTP_PENSTOCK_RATELIMIT_LOCAL) {
        item->local = 1;
        return NGX_OK;
    }

    item->decided = 1;
    item->unknown = 1;

    if (item->zone->fallback == NGX_HTTP_PENSTOCK_RATELIMIT_ALLOW
        || item->dry_run)
    {
        return NGX_OK;
    }

    item->refused = 1;
    d->unavailable = 1;

    return NGX_DECLINED;
}


/*
 * Refused: what was debited for it goes back.  What Redis said of these limits
 * is not remembered: it counts what others may give back at this moment, too,
 * and the next question would hold it against the key.
 */

static ngx_int_t
ngx_http_penstock_ratelimit_undo(ngx_http_penstock_ratelimit_decision_t *d)
{
    uint64_t                             ns;
    ngx_uint_t                           i;
    ngx_http_penstock_ratelimit_item_t  *items;

    items = d->items;

    for (i = 0; i < d->n; i++) {

        if (!items[i].debited) {
            ngx_http_penstock_ratelimit_learn(&items[i]);
            continue;
        }

        items[i].debited = 0;

        ns = items[i].cost * items[i].limit->interval;

        if (ns == 0) {
            continue;
        }

        if (items[i].leased) {
            ngx_http_penstock_ratelimit_unlease(&items[i]);
            continue;
        }

        if (!items[i].answered) {

            /* for a limit in Redis this is what we remember of it */

            ps_gcra_table_refund(items[i].table, items[i].hash, ns);
        }

        if (!items[i].local) {
            ngx_http_penstock_ratelimit_give_back(d->request, &items[i]);
        }
    }

    return NGX_DECLINED;
}
