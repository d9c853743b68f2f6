
/*
 * Spending in the name of another feature: a decision about one item that
 * belongs to no phase of a request.
 */

#include "ngx_http_penstock_ratelimit.h"
#include "ngx_http_penstock_ratelimit_spend.h"


/* what a client is told where fallback=deny refuses, ms */

#define NGX_HTTP_PENSTOCK_RATELIMIT_SPEND_LATER  1000


typedef struct {
    ngx_http_penstock_ratelimit_item_t       item[2];
    ngx_http_penstock_ratelimit_decision_t   decision;
} ngx_http_penstock_ratelimit_spending_t;


static void ngx_http_penstock_ratelimit_spend_wake(
    ngx_http_penstock_ratelimit_decision_t *d);
static ngx_int_t ngx_http_penstock_ratelimit_spend_step(
    ngx_http_penstock_ratelimit_spend_t *spend);


ngx_shm_zone_t *
ngx_http_penstock_ratelimit_spend_zone(ngx_conf_t *cf, ngx_str_t *name)
{
    return ngx_http_penstock_zone_ref(cf, name,
                                      &ngx_http_penstock_ratelimit_module);
}


ngx_int_t
ngx_http_penstock_ratelimit_spend(ngx_http_penstock_ratelimit_spend_t *spend)
{
    ngx_int_t                                n;
    ngx_str_t                                key;
    ngx_http_penstock_ratelimit_spending_t  *s;

    spend->pending = NULL;
    spend->retry_after = 0;
    spend->fallback = 0;

    spend->rc = ngx_http_penstock_ratelimit_key(spend->request,
                                    ngx_http_penstock_zone_conf(spend->zone),
                                                &key);
    if (spend->rc != NGX_OK) {
        spend->rc = (spend->rc == NGX_DECLINED) ? NGX_OK : NGX_ERROR;
        return spend->rc;
    }

    spend->rc = NGX_ERROR;

    s = ngx_palloc(spend->request->pool,
                   sizeof(ngx_http_penstock_ratelimit_spending_t));
    if (s == NULL) {
        return NGX_ERROR;
    }

    n = ngx_http_penstock_ratelimit_item(spend->request, spend->zone, &key,
                                         NULL, spend->cost, s->item);
    if (n == NGX_ERROR) {
        return NGX_ERROR;
    }

    ngx_memzero(&s->decision, sizeof(ngx_http_penstock_ratelimit_decision_t));

    s->decision.request = spend->request;
    s->decision.items = s->item;
    s->decision.n = n;
    s->decision.wake = ngx_http_penstock_ratelimit_spend_wake;
    s->decision.data = spend;

    spend->pending = s;

    return ngx_http_penstock_ratelimit_spend_step(spend);
}


void
ngx_http_penstock_ratelimit_spend_cancel(
    ngx_http_penstock_ratelimit_spend_t *spend)
{
    ngx_http_penstock_ratelimit_spending_t  *s;

    s = spend->pending;

    if (s) {
        spend->pending = NULL;
        ngx_http_penstock_ratelimit_abandon(&s->decision);
    }
}


static void
ngx_http_penstock_ratelimit_spend_wake(
    ngx_http_penstock_ratelimit_decision_t *d)
{
    ngx_http_penstock_ratelimit_spend_t  *spend = d->data;

    if (ngx_http_penstock_ratelimit_spend_step(spend) != NGX_AGAIN) {
        spend->handler(spend);
    }
}


static ngx_int_t
ngx_http_penstock_ratelimit_spend_step(
    ngx_http_penstock_ratelimit_spend_t *spend)
{
    uint64_t                                 retry;
    ngx_int_t                                rc;
    ngx_http_penstock_ratelimit_spending_t  *s;

    s = spend->pending;

    rc = ngx_http_penstock_ratelimit_decide(&s->decision);

    spend->rc = rc;

    if (rc == NGX_AGAIN) {
        return rc;
    }

    spend->pending = NULL;
    spend->fallback = s->item[0].fallback;

    if (rc == NGX_ERROR) {
        return rc;
    }

    ngx_http_penstock_ratelimit_account(&s->decision, rc);

    if (rc == NGX_OK) {
        return rc;
    }

    if (s->item[0].unknown) {
        spend->retry_after = NGX_HTTP_PENSTOCK_RATELIMIT_SPEND_LATER;

    } else if (s->item[0].result.retry == PS_GCRA_NEVER) {
        spend->retry_after = NGX_HTTP_PENSTOCK_RATELIMIT_NEVER;

    } else {
        retry = s->item[0].result.retry / 1000000;
        spend->retry_after = (ngx_msec_t) retry + 1;
    }

    return rc;
}
