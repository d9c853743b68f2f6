
/*
 * The way of a governed request: claim its key, send it once, say what has
 * become of it, answer.
 *
 * What is learned from the upstream is recorded by the exchange's handler, so
 * that it is kept even when the client has left.
 */

#include "ngx_http_penstock_erp.h"


static ngx_int_t ngx_http_penstock_erp_inner(ngx_http_request_t *r,
    ngx_http_penstock_erp_loc_conf_t *conf);
static ngx_http_penstock_erp_ctx_t *ngx_http_penstock_erp_make_ctx(
    ngx_http_request_t *r, ngx_http_penstock_erp_loc_conf_t *conf);
static ngx_int_t ngx_http_penstock_erp_begin(
    ngx_http_penstock_erp_ctx_t *ctx);
static ngx_int_t ngx_http_penstock_erp_claimed(
    ngx_http_penstock_erp_ctx_t *ctx);
static ngx_int_t ngx_http_penstock_erp_look(ngx_http_penstock_erp_ctx_t *ctx);
static void ngx_http_penstock_erp_looked(ngx_http_penstock_exchange_t *x);
static ngx_int_t ngx_http_penstock_erp_found(
    ngx_http_penstock_erp_ctx_t *ctx);
static void ngx_http_penstock_erp_aim(ngx_http_penstock_erp_ctx_t *ctx);
static ngx_int_t ngx_http_penstock_erp_send(ngx_http_penstock_erp_ctx_t *ctx);
static void ngx_http_penstock_erp_sent(ngx_http_penstock_exchange_t *x);
static ngx_http_penstock_erp_outcome_e ngx_http_penstock_erp_outcome(
    ngx_http_penstock_exchange_t *x);


ngx_int_t
ngx_http_penstock_erp_handler(ngx_http_request_t *r)
{
    ngx_int_t                          rc;
    ngx_http_penstock_erp_ctx_t       *ctx;
    ngx_http_penstock_loc_conf_t      *plcf;
    ngx_http_penstock_erp_loc_conf_t  *conf;

    plcf = ngx_http_get_module_loc_conf(r, ngx_http_penstock_module);

    if (!plcf->governs) {
        return NGX_DECLINED;
    }

    conf = ngx_http_get_module_loc_conf(r, ngx_http_penstock_erp_module);

    if (r != r->main) {
        return ngx_http_penstock_erp_inner(r, conf);
    }

    if ((r->method & NGX_HTTP_PENSTOCK_ERP_SAFE)
        && conf->budget == NULL && conf->breaker == NULL)
    {
        return NGX_DECLINED;
    }

    ctx = ngx_http_penstock_get_state(r, NGX_HTTP_PENSTOCK_ERP);

    if (ctx && ctx->state == NGX_HTTP_PENSTOCK_ERP_ANSWERED) {

        /*
         * error_page or another redirect has led here: a page of this host
         * needs no place, but what goes to a server is governed anew.
         */

        if (r->content_handler == NULL) {
            return NGX_DECLINED;
        }

        ctx = NULL;
    }

    rc = ngx_http_penstock_read_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    if (ctx == NULL) {
        ctx = ngx_http_penstock_erp_make_ctx(r, conf);
        if (ctx == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    for ( ;; ) {

        switch (ctx->state) {

        case NGX_HTTP_PENSTOCK_ERP_START:
            rc = ngx_http_penstock_erp_begin(ctx);
            break;

        case NGX_HTTP_PENSTOCK_ERP_CLAIMING:
            rc = ctx->claim->asking ? NGX_AGAIN
                                    : ngx_http_penstock_erp_claimed(ctx);
            break;

        case NGX_HTTP_PENSTOCK_ERP_LOOKING:
            rc = NGX_AGAIN;
            break;

        case NGX_HTTP_PENSTOCK_ERP_LOOKED:
            rc = ngx_http_penstock_erp_found(ctx);
            break;

        case NGX_HTTP_PENSTOCK_ERP_SENDING:
            rc = NGX_AGAIN;
            break;

        default: /* NGX_HTTP_PENSTOCK_ERP_SETTLING */

            if ((ctx->claim && ctx->claim->asking)
                || (ctx->invalidation
                    && ngx_http_penstock_availability_pending(
                                                          ctx->invalidation)))
            {
                rc = NGX_AGAIN;
                break;
            }

            ctx->state = NGX_HTTP_PENSTOCK_ERP_ANSWERED;

            return ngx_http_penstock_erp_answer(ctx);
        }

        if (rc == NGX_AGAIN) {

            /* what only waits for its turn ends with its client */

            return ngx_http_penstock_park(r, 0,
                             ngx_http_penstock_exchange_idle(&ctx->exchange)
                             || ngx_http_penstock_exchange_idle(&ctx->lookup));
        }

        if (rc == NGX_DONE) {

            /* answered, and perhaps freed */

            return NGX_DONE;
        }

        if (rc != NGX_OK) {
            ctx->state = NGX_HTTP_PENSTOCK_ERP_ANSWERED;
            return rc;
        }

        /* the state has moved on */
    }
}


/*
 * A subrequest of other modules is not led, so it can't wait for a place: one
 * more at the server than the budget allows.
 */

static ngx_int_t
ngx_http_penstock_erp_inner(ngx_http_request_t *r,
    ngx_http_penstock_erp_loc_conf_t *conf)
{
    if (r->content_handler == NULL || ngx_http_penstock_exchange_of(r)) {
        return NGX_DECLINED;
    }

    if (conf->budget) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "\"erp_budget\" can't be applied to a subrequest, \"%V\" "
                      "is not sent: give its location \"erp_budget off\"",
                      &r->uri);

        return NGX_HTTP_SERVICE_UNAVAILABLE;
    }

    return (conf->breaker
            && ngx_http_penstock_erp_breaker_state(conf->breaker)
               != PS_BREAKER_CLOSED)
           ? NGX_HTTP_SERVICE_UNAVAILABLE : NGX_DECLINED;
}


static ngx_http_penstock_erp_ctx_t *
ngx_http_penstock_erp_make_ctx(ngx_http_request_t *r,
    ngx_http_penstock_erp_loc_conf_t *conf)
{
    ngx_http_penstock_erp_ctx_t  *ctx;

    ctx = ngx_pcalloc(r->pool, sizeof(ngx_http_penstock_erp_ctx_t));
    if (ctx == NULL) {
        return NULL;
    }

    ctx->request = r;
    ctx->conf = conf;
    ctx->unsafe = !(r->method & NGX_HTTP_PENSTOCK_ERP_SAFE);

    if (ngx_http_penstock_set_state(r, NGX_HTTP_PENSTOCK_ERP, ctx) != NGX_OK) {
        return NULL;
    }

    return ctx;
}


/* each step: NGX_OK: the state has moved on; NGX_AGAIN; or what to return */

static ngx_int_t
ngx_http_penstock_erp_begin(ngx_http_penstock_erp_ctx_t *ctx)
{
    ngx_int_t                      rc;
    ngx_http_penstock_erp_keys_t  *keys;

    if (!ctx->unsafe || ctx->conf->keys == NULL) {
        return ngx_http_penstock_erp_send(ctx);
    }

    rc = ngx_http_penstock_erp_prepare(ctx);

    if (rc == NGX_DECLINED) {
        return ngx_http_penstock_erp_send(ctx);
    }

    if (rc != NGX_OK) {
        keys = ngx_http_penstock_zone_conf(ctx->conf->keys);
        ngx_http_penstock_count(
                        keys->counters[NGX_HTTP_PENSTOCK_ERP_INVALID], 1);
        ctx->judged = 1;
        ctx->verdict = NGX_HTTP_PENSTOCK_ERP_INVALID;
        return rc;
    }

    ctx->state = NGX_HTTP_PENSTOCK_ERP_CLAIMING;

    rc = ngx_http_penstock_erp_claim(ctx->claim, ctx->conf->reconcile
                                            ? NGX_HTTP_PENSTOCK_ERP_CLAIM_LOOK
                                            : NGX_HTTP_PENSTOCK_ERP_CLAIM);

    if (rc == NGX_AGAIN) {

        /* most keys are new: a place is asked for in the same round trip */

        ngx_http_penstock_erp_aim(ctx);
        ngx_http_penstock_exchange_early(&ctx->exchange);
    }

    return rc;
}


static ngx_int_t
ngx_http_penstock_erp_claimed(ngx_http_penstock_erp_ctx_t *ctx)
{
    ngx_http_penstock_erp_claim_t  *claim;

    claim = ctx->claim;

    if (!ctx->judged) {
        ctx->judged = 1;
        ctx->verdict = claim->verdict;

        ngx_http_penstock_count(claim->keys->counters[claim->verdict], 1);
    }

    if (claim->verdict == NGX_HTTP_PENSTOCK_ERP_NEW) {
        return ngx_http_penstock_erp_send(ctx);
    }

    ngx_http_penstock_exchange_cancel(&ctx->exchange);

    switch (claim->verdict) {

    case NGX_HTTP_PENSTOCK_ERP_RECONCILE:
        return ngx_http_penstock_erp_look(ctx);

    default:
        return ngx_http_penstock_erp_verdict_answer(ctx);
    }
}


/* asks the upstream what has become of the key */

static ngx_int_t
ngx_http_penstock_erp_look(ngx_http_penstock_erp_ctx_t *ctx)
{
    u_char                        *p;
    ngx_str_t                      uri;
    ngx_http_request_t            *r;
    ngx_http_penstock_exchange_t  *x;

    r = ctx->request;
    x = &ctx->lookup;

    if (ngx_http_complex_value(r, ctx->conf->reconcile, &uri) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    x->args.len = sizeof("idempotency_id=") - 1 + ctx->claim->id.len;

    p = ngx_pnalloc(r->pool, x->args.len);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    x->args.data = p;

    p = ngx_cpymem(p, "idempotency_id=", sizeof("idempotency_id=") - 1);
    (void) ngx_cpymem(p, ctx->claim->id.data, ctx->claim->id.len);

    x->host = r;
    x->handler = ngx_http_penstock_erp_looked;
    x->data = ctx;
    x->uri = uri;
    x->max_size = NGX_HTTP_PENSTOCK_ERP_ANSWER;
    x->internal = 1;
    x->gated = 1;

    ctx->state = NGX_HTTP_PENSTOCK_ERP_LOOKING;

    if (ngx_http_penstock_exchange_start(x) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return NGX_AGAIN;
}


/*
 * Only what the upstream has said counts: a 404 of nginx's own, for a location
 * that is not there, would have an order sent twice.
 */

static void
ngx_http_penstock_erp_looked(ngx_http_penstock_exchange_t *x)
{
    ngx_str_t                       answer;
    const char                     *wrong;
    ngx_http_penstock_erp_ctx_t    *ctx = x->data;
    ngx_http_penstock_erp_claim_t  *claim;

    claim = ctx->claim;

    ctx->state = NGX_HTTP_PENSTOCK_ERP_LOOKED;
    ctx->outcome = NGX_HTTP_PENSTOCK_ERP_LOST;
    wrong = NULL;

    if (x->refused) {
        /* the gate has said so */

    } else if ((!x->complete && !x->too_large) || !x->upstream) {
        wrong = "it is no answer of the upstream";

    } else if (x->status >= NGX_HTTP_OK && x->status < 300) {

        /*
         * It took effect: what is known of it is the answer from now on, or
         * that it is too large to be kept.
         */

        if (ngx_http_penstock_erp_serialize(x, &answer) == NGX_OK) {
            claim->answer = answer;
            ctx->outcome = NGX_HTTP_PENSTOCK_ERP_DONE;
        }

    } else if (x->status != NGX_HTTP_NOT_FOUND) {
        wrong = "it says neither that it took effect nor that it did not";

    } else if (claim->age >= ctx->conf->reconcile_after) {
        ctx->outcome = NGX_HTTP_PENSTOCK_ERP_GONE;
    }

    if (wrong) {
        ngx_log_error(NGX_LOG_ERR, x->host->connection->log, 0,
                      "the answer to \"idempotency_reconcile\" of \"%V\" "
                      "can't be used: %s, status %ui", &x->uri, wrong,
                      x->status);
    }

    if (ctx->outcome == NGX_HTTP_PENSTOCK_ERP_GONE) {

        /* it did not, and won't any more: this request goes on with it */

        ctx->state = NGX_HTTP_PENSTOCK_ERP_CLAIMING;
        (void) ngx_http_penstock_erp_claim(claim,
                                           NGX_HTTP_PENSTOCK_ERP_CLAIM_AGAIN);

    } else {
        (void) ngx_http_penstock_erp_settle(claim, ctx->outcome,
                                            &claim->answer);
    }

    if (!claim->asking) {
        ngx_http_penstock_wake(ctx->request);
    }
}


static ngx_int_t
ngx_http_penstock_erp_found(ngx_http_penstock_erp_ctx_t *ctx)
{
    ngx_http_penstock_erp_claim_t  *claim;

    claim = ctx->claim;

    if (claim->asking) {
        return NGX_AGAIN;
    }

    claim->verdict = (ctx->outcome == NGX_HTTP_PENSTOCK_ERP_DONE)
                     ? NGX_HTTP_PENSTOCK_ERP_REPLAYED
                     : NGX_HTTP_PENSTOCK_ERP_UNKNOWN;

    return ngx_http_penstock_erp_verdict_answer(ctx);
}


static void
ngx_http_penstock_erp_aim(ngx_http_penstock_erp_ctx_t *ctx)
{
    ngx_http_penstock_exchange_t  *x;

    x = &ctx->exchange;

    x->host = ctx->request;
    x->handler = ngx_http_penstock_erp_sent;
    x->data = ctx;
    x->max_size = NGX_HTTP_PENSTOCK_ERP_ANSWER;
    x->spool = 1;
    x->write = ctx->unsafe;
}


static ngx_int_t
ngx_http_penstock_erp_send(ngx_http_penstock_erp_ctx_t *ctx)
{
    ngx_http_request_t            *r;
    ngx_http_penstock_exchange_t  *x;

    r = ctx->request;
    x = &ctx->exchange;

    ctx->state = NGX_HTTP_PENSTOCK_ERP_SENDING;

    if (ctx->unsafe
        && ngx_http_penstock_availability_touched(r, &ctx->invalidation)
           != NGX_OK)
    {
        goto failed;
    }

    if (ctx->unsafe && ctx->conf->pass.len) {

        /* the client's own one would be a lie where there is no key */

        ctx->header.name = ctx->conf->pass;

        if (ctx->claim) {
            ctx->header.value = ctx->claim->id;
        }

        x->headers = &ctx->header;
        x->nheaders = 1;
    }

    ngx_http_penstock_erp_aim(ctx);

    if (ngx_http_penstock_exchange_start(x) == NGX_OK) {
        return NGX_AGAIN;
    }

failed:

    ngx_http_penstock_exchange_cancel(x);

    if (ctx->claim) {
        (void) ngx_http_penstock_erp_settle(ctx->claim,
                                            NGX_HTTP_PENSTOCK_ERP_GONE, NULL);
    }

    return NGX_HTTP_INTERNAL_SERVER_ERROR;
}


static void
ngx_http_penstock_erp_sent(ngx_http_penstock_exchange_t *x)
{
    ngx_str_t                     answer;
    ngx_http_penstock_erp_ctx_t  *ctx = x->data;

    ctx->state = NGX_HTTP_PENSTOCK_ERP_SETTLING;
    ctx->outcome = ngx_http_penstock_erp_outcome(x);

    /* 3xx too: a form's usual answer is 303 (RFC 9111, Section 4.4) */

    if (ctx->invalidation && !x->unsent
        && (!x->complete || x->status < NGX_HTTP_BAD_REQUEST
            || x->status >= NGX_HTTP_INTERNAL_SERVER_ERROR))
    {
        ngx_http_penstock_availability_invalidate(ctx->invalidation);
    }

    if (ctx->claim) {
        ngx_str_null(&answer);

        if (ctx->outcome == NGX_HTTP_PENSTOCK_ERP_DONE
            && ngx_http_penstock_erp_serialize(x, &answer) != NGX_OK)
        {
            /* done, and the answer is not kept */

            ngx_str_null(&answer);
        }

        (void) ngx_http_penstock_erp_settle(ctx->claim, ctx->outcome,
                                            &answer);
    }

    /* else the last of these wakes it; a wake too many does no harm */

    ngx_http_penstock_wake(ctx->request);
}


/*
 * What the answer says of the request.  Of 5xx nothing can be said but that
 * of 503, which by its meaning was not handled; 401, 425 and 429 neither.
 */

static ngx_http_penstock_erp_outcome_e
ngx_http_penstock_erp_outcome(ngx_http_penstock_exchange_t *x)
{
    if (x->unsent) {
        return NGX_HTTP_PENSTOCK_ERP_GONE;
    }

    /* a page of nginx's own, after the request has left, or half an answer */

    if (!x->intercepted && (!x->complete || !x->upstream)) {
        return NGX_HTTP_PENSTOCK_ERP_LOST;
    }

    switch (x->status) {

    case NGX_HTTP_UNAUTHORIZED:
    case 425: /* Too Early */
    case NGX_HTTP_TOO_MANY_REQUESTS:
    case NGX_HTTP_SERVICE_UNAVAILABLE:
        return NGX_HTTP_PENSTOCK_ERP_GONE;

    default:
        break;
    }

    return x->status >= NGX_HTTP_INTERNAL_SERVER_ERROR
           ? NGX_HTTP_PENSTOCK_ERP_LOST : NGX_HTTP_PENSTOCK_ERP_DONE;
}
