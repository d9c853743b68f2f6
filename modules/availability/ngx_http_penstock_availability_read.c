
/*
 * The way of a read whose answer is kept as a whole.
 */

#include "ngx_http_penstock_availability.h"


static ngx_int_t ngx_http_penstock_av_credentials(
    ngx_http_penstock_av_ctx_t *ctx);
static ngx_int_t ngx_http_penstock_av_follow(ngx_http_penstock_av_ctx_t *ctx,
    ngx_http_penstock_av_verdict_e verdict);
static ngx_int_t ngx_http_penstock_av_filled(ngx_http_penstock_av_ctx_t *ctx);
static ngx_int_t ngx_http_penstock_av_use(ngx_http_penstock_av_ctx_t *ctx,
    ngx_http_penstock_av_status_e status);
static ngx_int_t ngx_http_penstock_av_give_up(
    ngx_http_penstock_av_ctx_t *ctx);
static void ngx_http_penstock_av_cleanup(void *data);


ngx_int_t
ngx_http_penstock_av_begin(ngx_http_penstock_av_ctx_t *ctx)
{
    ngx_str_t                         *key;
    ngx_http_request_t                *r;
    ngx_http_complex_value_t          *value;
    ngx_http_penstock_av_main_conf_t  *amcf;

    r = ctx->request;

    switch (ngx_http_test_predicates(r, ctx->conf->bypass)) {

    case NGX_ERROR:
        return NGX_HTTP_INTERNAL_SERVER_ERROR;

    case NGX_DECLINED:
        return ngx_http_penstock_av_decline(ctx, NGX_HTTP_PENSTOCK_AV_BYPASS);

    default:
        break;
    }

    value = ctx->conf->key;

    if (value == NULL) {

        amcf = ngx_http_get_module_main_conf(r,
                                       ngx_http_penstock_availability_module);
        value = &amcf->default_key;
    }

    key = &ctx->text;

    if (ngx_http_complex_value(r, value, key) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* a key of variables that are all empty tells nobody apart */

    if (key->len == 0) {
        return ngx_http_penstock_av_decline(ctx, NGX_HTTP_PENSTOCK_AV_BYPASS);
    }

    ctx->primary = *key;

    /*
     * Nobody said that clients with credentials share their answers: only
     * what the upstream says of an answer counts (RFC 9111, Section 3.5)
     */

    if (ctx->conf->key == NULL && r->headers_in.authorization
        && ngx_http_penstock_av_credentials(ctx) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_penstock_av_primary(ctx);

    if (ctx->conf->request_control && ngx_http_penstock_av_asks(ctx) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_penstock_av_follow(ctx, ngx_http_penstock_av_lookup(ctx));
}


/* a place of their own, which no variant's text is: a name has no colon */

static ngx_int_t
ngx_http_penstock_av_credentials(ngx_http_penstock_av_ctx_t *ctx)
{
    u_char  *p;

    p = ngx_pnalloc(ctx->request->pool, ctx->text.len
                                        + sizeof("\n:credentials") - 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ctx->primary.data = p;

    p = ngx_cpymem(p, ctx->text.data, ctx->text.len);
    p = ngx_cpymem(p, "\n:credentials", sizeof("\n:credentials") - 1);

    ctx->primary.len = p - ctx->primary.data;
    ctx->credentials = 1;

    return NGX_OK;
}


/* called again, perhaps for no reason: a function of the state */

ngx_int_t
ngx_http_penstock_av_resume(ngx_http_penstock_av_ctx_t *ctx)
{
    ngx_int_t            rc;
    ngx_http_request_t  *r;

    r = ctx->request;

    switch (ctx->state) {

    case NGX_HTTP_PENSTOCK_AV_BUDGET:
        return ngx_http_penstock_av_budget_resume(ctx);

    case NGX_HTTP_PENSTOCK_AV_FOLLOW:

        if (ngx_http_penstock_timed_out(r)) {
            ngx_http_penstock_wait_leave(&ctx->waiter);
            ctx->fail_status = NGX_HTTP_GATEWAY_TIME_OUT;
            return ngx_http_penstock_av_give_up(ctx);
        }

        return ngx_http_penstock_av_follow(ctx,
                                           ngx_http_penstock_av_lookup(ctx));

    case NGX_HTTP_PENSTOCK_AV_LOOK:
    case NGX_HTTP_PENSTOCK_AV_FILL:

        rc = ngx_http_penstock_av_fill_resume(ctx);

        if (rc == NGX_AGAIN) {
            return ngx_http_penstock_park(r, 0, 0);
        }

        if (rc == NGX_DECLINED) {
            return ngx_http_penstock_av_follow(ctx,
                                           ngx_http_penstock_av_lookup(ctx));
        }

        if (rc != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return ngx_http_penstock_av_filled(ctx);

    default:
        return NGX_DECLINED;
    }
}


static ngx_int_t
ngx_http_penstock_av_follow(ngx_http_penstock_av_ctx_t *ctx,
    ngx_http_penstock_av_verdict_e verdict)
{
    ngx_int_t            rc;
    ngx_msec_t           left;
    ngx_http_request_t  *r;

    r = ctx->request;

    if (verdict != NGX_HTTP_PENSTOCK_AV_WAIT) {
        ngx_http_penstock_wait_leave(&ctx->waiter);
    }

    if (ctx->asks && ctx->asks->only_if_cached
        && (verdict == NGX_HTTP_PENSTOCK_AV_WAIT
            || verdict == NGX_HTTP_PENSTOCK_AV_GO))
    {
        return ngx_http_penstock_av_give_up(ctx);
    }

    switch (verdict) {

    case NGX_HTTP_PENSTOCK_AV_USE:
        return ngx_http_penstock_av_use(ctx, ctx->collapsed
                                             ? NGX_HTTP_PENSTOCK_AV_COLLAPSED
                                             : NGX_HTTP_PENSTOCK_AV_HIT);

    case NGX_HTTP_PENSTOCK_AV_USE_AND_FILL:

        ctx->background = 1;
        (void) ngx_http_penstock_av_fill_start(ctx);

        return ngx_http_penstock_av_use(ctx, NGX_HTTP_PENSTOCK_AV_UPDATING);

    case NGX_HTTP_PENSTOCK_AV_LEAD:

        rc = ngx_http_penstock_av_fill_start(ctx);

        if (rc == NGX_DONE) {
            return ngx_http_penstock_av_use(ctx, NGX_HTTP_PENSTOCK_AV_HIT);
        }

        if (rc == NGX_DECLINED) {
            return ngx_http_penstock_av_give_up(ctx);
        }

        if (rc != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return ngx_http_penstock_park(r, 0, 0);

    case NGX_HTTP_PENSTOCK_AV_WAIT:

        if (ctx->state != NGX_HTTP_PENSTOCK_AV_FOLLOW) {
            ctx->state = NGX_HTTP_PENSTOCK_AV_FOLLOW;
        }

        if (ctx->deadline == 0) {
            ctx->deadline = ngx_current_msec + ctx->conf->lock_timeout;
        }

        ngx_http_penstock_wait_join(&ctx->zone->wait, &ctx->waiter, r);

        left = ctx->deadline - ngx_current_msec;

        if ((ngx_msec_int_t) left <= 0) {
            left = 1;
        }

        return ngx_http_penstock_park(r, left, 1);

    case NGX_HTTP_PENSTOCK_AV_FAIL:
        return ngx_http_penstock_av_give_up(ctx);

    default: /* NGX_HTTP_PENSTOCK_AV_GO */
        return ngx_http_penstock_av_decline(ctx, NGX_HTTP_PENSTOCK_AV_PASS);
    }
}


/* the leader's answer */

static ngx_int_t
ngx_http_penstock_av_filled(ngx_http_penstock_av_ctx_t *ctx)
{
    if (ctx->background) {
        return ngx_http_penstock_av_use(ctx, NGX_HTTP_PENSTOCK_AV_UPDATING);
    }

    if (ctx->final) {
        return ngx_http_penstock_av_use(ctx, ctx->from_l2
                                             ? NGX_HTTP_PENSTOCK_AV_L2_HIT
                                             : NGX_HTTP_PENSTOCK_AV_HIT);
    }

    if (ctx->exchange && ctx->exchange->too_large) {
        return ngx_http_penstock_av_decline(ctx, NGX_HTTP_PENSTOCK_AV_PASS);
    }

    if (ctx->fail_status) {
        return ngx_http_penstock_av_give_up(ctx);
    }

    ctx->state = NGX_HTTP_PENSTOCK_AV_DONE;
    ctx->status = ctx->have ? NGX_HTTP_PENSTOCK_AV_EXPIRED
                            : NGX_HTTP_PENSTOCK_AV_MISS;

    return ngx_http_penstock_av_answer_exchange(ctx);
}


static ngx_int_t
ngx_http_penstock_av_use(ngx_http_penstock_av_ctx_t *ctx,
    ngx_http_penstock_av_status_e status)
{
    if (status == NGX_HTTP_PENSTOCK_AV_HIT
        && (ctx->soft
            || ngx_http_penstock_av_now()
               >= ctx->record.created + ctx->record.fresh))
    {
        status = NGX_HTTP_PENSTOCK_AV_UPDATING;
    }

    ctx->status = status;

    /* a background look or fill goes on with its own state */

    if (!ctx->background) {
        ctx->state = NGX_HTTP_PENSTOCK_AV_DONE;
    }

    return ngx_http_penstock_av_answer(ctx);
}


/* the upstream can't be read: stale where that is allowed, else a problem */

static ngx_int_t
ngx_http_penstock_av_give_up(ngx_http_penstock_av_ctx_t *ctx)
{
    ctx->state = NGX_HTTP_PENSTOCK_AV_DONE;

    if (ctx->asks && ctx->asks->only_if_cached) {
        ctx->fail_status = NGX_HTTP_GATEWAY_TIME_OUT;
        return ngx_http_penstock_av_answer_failure(ctx);
    }

    if (ngx_http_penstock_av_showable(ctx)) {
        ctx->status = NGX_HTTP_PENSTOCK_AV_STALE;
        return ngx_http_penstock_av_answer(ctx);
    }

    return ngx_http_penstock_av_answer_failure(ctx);
}


ngx_uint_t
ngx_http_penstock_av_showable(ngx_http_penstock_av_ctx_t *ctx)
{
    /* one that was invalidated is known to be old: only where that is asked
       for, however fresh it was */

    return ctx->have
           && ((ctx->valid && !ctx->soft && (!ctx->pushed || ctx->looked))
               || ctx->record.if_error)
           && ngx_http_penstock_av_now()
              < ctx->record.created + ctx->record.fresh
                + ctx->record.if_error;
}


/* to proxy_pass; the phase goes on behind us */

ngx_int_t
ngx_http_penstock_av_decline(ngx_http_penstock_av_ctx_t *ctx,
    ngx_http_penstock_av_status_e status)
{
    ctx->state = NGX_HTTP_PENSTOCK_AV_DONE;
    ctx->status = status;

    return ngx_http_penstock_av_budget_pass(ctx);
}


ngx_http_penstock_av_ctx_t *
ngx_http_penstock_av_make_ctx(ngx_http_request_t *r,
    ngx_http_penstock_av_loc_conf_t *alcf)
{
    ngx_pool_cleanup_t          *cln;
    ngx_http_penstock_av_ctx_t  *ctx;

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_penstock_av_ctx_t));
    if (cln == NULL) {
        return NULL;
    }

    ctx = cln->data;
    ngx_memzero(ctx, sizeof(ngx_http_penstock_av_ctx_t));

    ctx->request = r;
    ctx->conf = alcf;
    ctx->zone = alcf->zone;
    ctx->status = NGX_HTTP_PENSTOCK_AV_NONE;

    if (ngx_http_penstock_set_state(r, NGX_HTTP_PENSTOCK_AVAILABILITY, ctx)
        != NGX_OK)
    {
        return NULL;
    }

    cln->handler = ngx_http_penstock_av_cleanup;

    ngx_http_set_ctx(r, ctx, ngx_http_penstock_availability_module);

    return ctx;
}


static void
ngx_http_penstock_av_cleanup(void *data)
{
    ngx_http_penstock_av_ctx_t  *ctx = data;

    ngx_http_penstock_av_lease_end(ctx);

    if (ctx->event && ctx->event->posted) {
        ngx_delete_posted_event(ctx->event);
    }

    /* terminated in the middle: a follower takes over */

    ngx_http_penstock_av_release(ctx);
}
