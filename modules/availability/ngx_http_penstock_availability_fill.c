
/*
 * The leader's way: a look at Redis, then the upstream.
 *
 * What comes back is stored by the callbacks themselves, so that it is kept
 * even when the leader's client has left; the leader's own answer follows
 * when its request is resumed.  A refresh in the background goes the same
 * way with nobody to resume.
 */

#include "ngx_http_penstock_availability.h"


static ngx_uint_t ngx_http_penstock_av_stands(
    ngx_http_penstock_av_ctx_t *ctx);
static ngx_uint_t ngx_http_penstock_av_only_if_cached(
    ngx_http_penstock_av_ctx_t *ctx);
static ngx_int_t ngx_http_penstock_av_denied(ngx_http_penstock_av_ctx_t *ctx);
static ngx_int_t ngx_http_penstock_av_exchange(
    ngx_http_penstock_av_ctx_t *ctx);
static void ngx_http_penstock_av_exchange_done(
    ngx_http_penstock_exchange_t *x);
static void ngx_http_penstock_av_looked(ngx_http_penstock_redis_call_t *call,
    redisReply *reply);
static void ngx_http_penstock_av_background(ngx_event_t *ev);


ngx_int_t
ngx_http_penstock_av_fill_start(ngx_http_penstock_av_ctx_t *ctx)
{
    if (ctx->background) {
        ngx_http_penstock_av_close(ctx->request);

        if (ctx->event == NULL) {
            ctx->event = ngx_pcalloc(ctx->request->pool, sizeof(ngx_event_t));
        }
    }

    if (ctx->zone->redis == NULL || (ctx->background && ctx->event == NULL)
        || ngx_http_penstock_av_l2_look(ctx, ngx_http_penstock_av_looked)
           != NGX_OK)
    {
        if (ngx_http_penstock_av_stands(ctx)) {
            ngx_http_penstock_av_release(ctx);
            return NGX_DONE;
        }

        if (ngx_http_penstock_av_only_if_cached(ctx)) {
            return NGX_DECLINED;
        }

        return ngx_http_penstock_av_exchange(ctx);
    }

    ctx->state = NGX_HTTP_PENSTOCK_AV_LOOK;
    ctx->looking = 1;

    if (ctx->background) {

        /* the request must outlive the look: its client may be gone first */

        ctx->request->main->count++;
        ctx->held = 1;
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_penstock_av_fill_resume(ngx_http_penstock_av_ctx_t *ctx)
{
    uint64_t    now;
    ngx_uint_t  stale;

    if (ctx->state == NGX_HTTP_PENSTOCK_AV_FILL) {
        return ctx->exchange->done ? NGX_OK : NGX_AGAIN;
    }

    if (ctx->looking) {
        return NGX_AGAIN;
    }

    if (ctx->final) {
        return NGX_OK;
    }

    if (ctx->again) {
        ctx->again = 0;
        ctx->denied = 0;
        ctx->looked = 0;
        ctx->relooked = 0;
        ctx->clock = 0;
        ctx->state = NGX_HTTP_PENSTOCK_AV_START;

        return NGX_DECLINED;
    }

    /* Redis has confirmed a record that may be used while it is renewed */

    now = ngx_http_penstock_av_now();
    stale = 0;

    if (ctx->have && ctx->valid && ctx->looked
        && now < ngx_http_penstock_av_stale_until(ctx,
                     ctx->record.created + ctx->record.fresh
                     + ctx->record.while_revalidate)
        && (!ctx->soft || ctx->record.while_revalidate)
        && !ngx_http_penstock_av_refused(ctx, &ctx->record, now))
    {
        stale = 1;
    }

    if (stale && ctx->denied) {

        /* another host renews it */

        ngx_http_penstock_av_release(ctx);
        ctx->final = 1;

        return NGX_OK;
    }

    if (stale) {
        ctx->background = 1;
        ngx_http_penstock_av_close(ctx->request);
    }

    if (ngx_http_penstock_av_only_if_cached(ctx)) {
        ctx->fail_status = NGX_HTTP_GATEWAY_TIME_OUT;
        return NGX_OK;
    }

    if (ctx->denied) {
        return ngx_http_penstock_av_denied(ctx);
    }

    if (ngx_http_penstock_av_exchange(ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    return ctx->background ? NGX_OK : NGX_AGAIN;
}


/*
 * We lead only to confirm what is held before its time without Redis ends;
 * where Redis does not answer, it counts for the rest of that.
 */

static ngx_uint_t
ngx_http_penstock_av_stands(ngx_http_penstock_av_ctx_t *ctx)
{
    uint64_t  now;

    now = ngx_http_penstock_av_now();

    return ctx->have && ctx->valid && now < ctx->trusted
           && now < ctx->record.created + ctx->record.fresh;
}


/* the upstream is not to be asked: another one leads */

static ngx_uint_t
ngx_http_penstock_av_only_if_cached(ngx_http_penstock_av_ctx_t *ctx)
{
    if (ctx->asks == NULL || !ctx->asks->only_if_cached || ctx->background) {
        return 0;
    }

    ngx_http_penstock_av_release(ctx);

    return 1;
}


/* another host fills it */

static ngx_int_t
ngx_http_penstock_av_denied(ngx_http_penstock_av_ctx_t *ctx)
{
    ngx_int_t                       rc;
    ngx_http_penstock_tag_table_t  *table;

    rc = ngx_http_penstock_av_lease_wait(ctx);

    if (rc == NGX_AGAIN) {
        return NGX_AGAIN;
    }

    ctx->denied = 0;

    if (rc == NGX_BUSY) {

        /* those who wait here have their own time */

        ctx->fail_status = NGX_HTTP_GATEWAY_TIME_OUT;
        ngx_http_penstock_av_release(ctx);

        return NGX_OK;
    }

    /* what we fill from here on begins now */

    table = ngx_http_penstock_av_tag_table(ctx->zone);

    ctx->seq = table->seq;
    ctx->epoch = ngx_http_penstock_redis_push_epoch(ctx->zone->redis);

    ctx->looked = 0;
    ctx->relooked = 0;
    ctx->clock = 0;

    if (ngx_http_penstock_av_l2_look(ctx, ngx_http_penstock_av_looked)
        == NGX_OK)
    {
        ctx->looking = 1;
        return NGX_AGAIN;
    }

    return (ngx_http_penstock_av_exchange(ctx) == NGX_OK) ? NGX_AGAIN
                                                          : NGX_ERROR;
}


void
ngx_http_penstock_av_close(ngx_http_request_t *r)
{
#if (NGX_HTTP_V2)

    if (r->stream) {
        return;
    }

#endif

    r->keepalive = 0;
}


static ngx_int_t
ngx_http_penstock_av_exchange(ngx_http_penstock_av_ctx_t *ctx)
{
    ngx_http_request_t            *r;
    ngx_http_penstock_exchange_t  *x;

    r = ctx->request;

    x = ngx_pcalloc(r->pool, sizeof(ngx_http_penstock_exchange_t));
    if (x == NULL) {
        ngx_http_penstock_av_failed(ctx, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return NGX_ERROR;
    }

    ctx->exchange = x;
    ctx->state = NGX_HTTP_PENSTOCK_AV_FILL;

    x->host = r;
    x->handler = ngx_http_penstock_av_exchange_done;
    x->data = ctx;
    x->max_size = ctx->conf->max_size;
    x->get = 1;

    if (ngx_http_penstock_av_conditions(ctx) != NGX_OK) {
        ngx_http_penstock_av_failed(ctx, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return NGX_ERROR;
    }

    if (ngx_http_penstock_exchange_start(x) != NGX_OK) {
        ngx_http_penstock_av_failed(ctx, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return NGX_ERROR;
    }

    ngx_http_penstock_count(ctx->zone->fills, 1);

    return NGX_OK;
}


static void
ngx_http_penstock_av_exchange_done(ngx_http_penstock_exchange_t *x)
{
    ngx_str_t                     raw;
    ps_tags_t                    *tags;
    ps_record_t                   record;
    ngx_http_penstock_av_ctx_t   *ctx = x->data;
    ngx_http_penstock_av_kind_e   kind;

    tags = ngx_palloc(ctx->request->pool, sizeof(ps_tags_t));

    if (tags == NULL) {
        ngx_http_penstock_av_release(ctx);
        ngx_http_penstock_wake(ctx->request);
        return;
    }

    *tags = *ctx->tags;

    ngx_http_penstock_av_key_tag(ctx->request->pool, &ctx->text, tags);

    if (ngx_http_penstock_av_freshen(ctx, tags) == NGX_ERROR) {
        ngx_http_penstock_av_release(ctx);
        ngx_http_penstock_wake(ctx->request);
        return;
    }

    kind = ngx_http_penstock_av_judge(ctx, &record, tags);

    switch (kind) {

    case NGX_HTTP_PENSTOCK_AV_STORE:

        if (ngx_http_penstock_av_serialize(ctx, &record, tags, &raw)
            != NGX_OK)
        {
            ngx_http_penstock_av_release(ctx);
            break;
        }

        if (ctx->vary || ctx->varies) {
            ngx_http_penstock_av_store_variant(ctx, &raw);
            break;
        }

        ngx_http_penstock_av_store(ctx, &raw);

        if (ctx->stored) {
            ngx_http_penstock_av_l2_store(ctx, &raw);
        }

        break;

    case NGX_HTTP_PENSTOCK_AV_NO_STORE:
        ngx_http_penstock_av_pass(ctx);
        break;

    case NGX_HTTP_PENSTOCK_AV_FAILURE:
        ngx_http_penstock_count(ctx->zone->fill_errors, 1);

        /* no answer in time says nothing of the next try, and all but one
           wait on */

        ngx_http_penstock_av_failed(ctx,
                                    (ngx_http_penstock_av_timed_out(ctx)
                                     && !ngx_http_penstock_av_showable(ctx))
                                    ? 0 : ctx->fail_status);
        break;
    }

    /* behind the answer, for those who are woken by it */

    ngx_http_penstock_av_lease_end(ctx);

    if (!ctx->background) {
        ngx_http_penstock_wake(ctx->request);
    }
}


static void
ngx_http_penstock_av_looked(ngx_http_penstock_redis_call_t *call,
    redisReply *reply)
{
    uint64_t                     now;
    ngx_str_t                    raw;
    ps_record_t                  record;
    ngx_http_penstock_av_ctx_t  *ctx = call->data;

    if (ngx_http_penstock_av_l2_reply(ctx, reply, &raw) == NGX_AGAIN
        && !ctx->relooked)
    {
        ctx->relooked = 1;

        if (ngx_http_penstock_av_l2_look(ctx, ngx_http_penstock_av_looked)
            == NGX_OK)
        {
            return;
        }
    }

    ctx->looking = 0;

    now = ngx_http_penstock_av_now();

    if (ctx->looked && ctx->replaced) {

        /* another program has deleted it, or a host has filled it anew */

        if (!ctx->softened
            && (raw.len == 0
                || ps_record_parse(&record, (char *) raw.data, raw.len) != 0
                || record.clock > ctx->record.clock))
        {
            ctx->valid = 0;
        }
    }

    if (ctx->dropped) {
        ngx_http_penstock_av_drop(ctx);
    }

    if (ctx->looked && ctx->have && ctx->valid) {

        ngx_http_penstock_av_confirm(ctx);

        if (now < ctx->record.created + ctx->record.fresh && !ctx->soft
            && !ngx_http_penstock_av_refused(ctx, &ctx->record, now))
        {
            ngx_http_penstock_av_release(ctx);
            ctx->final = 1;
        }
    }

    if (!ctx->looked && ngx_http_penstock_av_stands(ctx)) {
        ngx_http_penstock_av_release(ctx);
        ctx->final = 1;
    }

    if (!ctx->final && raw.len
        && ps_record_parse(&record, (char *) raw.data, raw.len) == 0
        && now < record.created + record.fresh
        && record.flags & PS_RECORD_VARY)
    {
        /* the answer is elsewhere, or can't be: one list leads to no other */

        if (ctx->vary == NULL && !ctx->went) {
            ngx_http_penstock_av_found_list(ctx, &raw);
            ctx->again = 1;
            ctx->went = 1;
        }

    } else if (!ctx->final && raw.len
               && ps_record_parse(&record, (char *) raw.data, raw.len) == 0
               && now < record.created + record.fresh
               && !ngx_http_penstock_av_refused(ctx, &record, now))
    {
        ctx->raw = raw;
        ctx->record = record;
        ctx->have = 1;
        ctx->valid = 1;
        ctx->soft = 0;
        ctx->from_l2 = 1;
        ctx->final = 1;

        ngx_http_penstock_av_store(ctx, &raw);
    }

    if (ctx->final || ctx->again) {
        ngx_http_penstock_av_lease_end(ctx);
    }

    if (!ctx->held) {
        ngx_http_penstock_wake(ctx->request);
        return;
    }

    ctx->event->handler = ngx_http_penstock_av_background;
    ctx->event->data = ctx;
    ctx->event->log = ctx->request->connection->log;

    ngx_post_event(ctx->event, &ngx_posted_events);
}


/* a background look has ended; the request is held for it */

static void
ngx_http_penstock_av_background(ngx_event_t *ev)
{
    ngx_connection_t            *c;
    ngx_http_request_t          *r;
    ngx_http_penstock_av_ctx_t  *ctx = ev->data;

    r = ctx->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    ctx->held = 0;

    if (ctx->denied) {

        /* another host renews it */

        ngx_http_penstock_av_release(ctx);

    } else if (!ctx->final && !ctx->again) {
        (void) ngx_http_penstock_av_exchange(ctx);
    }

    ngx_http_finalize_request(r, NGX_DONE);

    ngx_http_run_posted_requests(c);
}
