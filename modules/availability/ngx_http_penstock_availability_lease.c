
/*
 * One fill in a cluster: the look at Redis also asks for a lease of the
 * answer's key, which is granted where Redis has no answer that stands.  The
 * leader of a host that does not get it waits for the host that has it, and
 * looks again when Redis pushes the answer's or the lease's key.
 *
 * The holder prolongs the lease while its fill goes on.  If its host dies,
 * the lease runs out, and who looks then gets it.
 */

#include "ngx_http_penstock_availability.h"


#define NGX_HTTP_PENSTOCK_AV_LEASE_MIN  500    /* ms */


static ngx_msec_t ngx_http_penstock_av_lease_time(
    ngx_http_penstock_av_ctx_t *ctx);
static void ngx_http_penstock_av_lease_renew(ngx_event_t *ev);
static void ngx_http_penstock_av_lease_eval(ngx_http_penstock_av_ctx_t *ctx,
    ngx_http_penstock_redis_script_t *script, ngx_uint_t n);
static void ngx_http_penstock_av_lease_leave(ngx_http_penstock_av_ctx_t *ctx);


/* KEYS: the lease; ARGV: the holder's token, ms: another holder's stays */

static ngx_http_penstock_redis_script_t  ngx_http_penstock_av_lease_keep = {
    "if redis.pcall('GET',KEYS[1])==ARGV[1] then\n"
    "redis.call('PEXPIRE',KEYS[1],ARGV[2])\n"
    "end\n",
    ""
};

static ngx_http_penstock_redis_script_t  ngx_http_penstock_av_lease_free = {
    "if redis.pcall('GET',KEYS[1])==ARGV[1] then\n"
    "redis.call('DEL',KEYS[1])\n"
    "end\n",
    ""
};


ngx_int_t
ngx_http_penstock_av_lease_args(ngx_http_penstock_av_ctx_t *ctx,
    const ngx_str_t *record_key, ngx_str_t *key, ngx_str_t *argv)
{
    u_char                         *p;
    uint64_t                        clock;
    ngx_http_penstock_av_zone_t    *zone;
    ngx_http_penstock_tag_table_t  *table;

    zone = ctx->zone;
    table = ngx_http_penstock_av_tag_table(zone);

    ctx->denied = 0;
    ctx->lease_seq = table->seq;

    ngx_str_set(&argv[0], "");
    ngx_str_set(&argv[1], "");
    ngx_str_set(&argv[2], "");

    if (!ctx->conf->lock || !ctx->conf->lock_cluster) {
        return NGX_DECLINED;
    }

    /* the record's key with another letter; and token, ms, clock */

    p = ngx_pnalloc(ctx->request->pool, record_key->len
                                        + 2 * NGX_INT64_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(p, record_key->data, record_key->len);
    p[zone->redis_key.len + 1] = 'l';

    if (ctx->leased
        && (ctx->lease.len != record_key->len
            || ngx_memcmp(ctx->lease.data, p, record_key->len) != 0))
    {
        ngx_http_penstock_av_lease_end(ctx);
    }

    ctx->lease.data = p;
    ctx->lease.len = record_key->len;
    *key = ctx->lease;

    p += record_key->len;

    if (!ctx->leased
        && ngx_http_penstock_random(ctx->token,
                                    NGX_HTTP_PENSTOCK_AV_TOKEN)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    argv[0].data = ctx->token;
    argv[0].len = NGX_HTTP_PENSTOCK_AV_TOKEN;

    argv[1].data = p;
    p = ngx_sprintf(p, "%M", ngx_http_penstock_av_lease_time(ctx));
    argv[1].len = p - argv[1].data;

    /* if ours stands there is nothing to be filled */

    clock = 0;

    if (ctx->have && ctx->valid && !ctx->soft && !ctx->replaced
        && ngx_http_penstock_av_now()
           < ctx->record.created + ctx->record.fresh)
    {
        clock = ctx->record.clock;
    }

    argv[2].data = p;
    argv[2].len = ngx_sprintf(p, "%uL", clock) - p;

    return NGX_OK;
}


static ngx_msec_t
ngx_http_penstock_av_lease_time(ngx_http_penstock_av_ctx_t *ctx)
{
    return ngx_max(ctx->conf->lock_timeout / 2,
                   NGX_HTTP_PENSTOCK_AV_LEASE_MIN);
}


void
ngx_http_penstock_av_lease_reply(ngx_http_penstock_av_ctx_t *ctx,
    redisReply *reply)
{
    if (reply->type != REDIS_REPLY_INTEGER || reply->integer < 0) {

        /* not asked for, or there is nothing to be filled */

        return;
    }

    if (reply->integer == 0) {
        ctx->leased = 1;

        if (ctx->renew == NULL) {
            ctx->renew = ngx_pcalloc(ctx->request->pool, sizeof(ngx_event_t));
        }

        /* without memory for a timer it just runs out */

        if (ctx->renew && !ctx->renew->timer_set) {
            ctx->renew->handler = ngx_http_penstock_av_lease_renew;
            ctx->renew->data = ctx;
            ctx->renew->log = ngx_cycle->log;
            ctx->renew->cancelable = 1;

            ngx_add_timer(ctx->renew,
                          ngx_http_penstock_av_lease_time(ctx) / 2);
        }

        return;
    }

    ctx->denied = 1;
    ctx->lease_until = ngx_current_msec + reply->integer + 1;

    if (ctx->deadline == 0) {
        ctx->deadline = ngx_current_msec + ctx->conf->lock_timeout;
    }
}


static void
ngx_http_penstock_av_lease_renew(ngx_event_t *ev)
{
    ngx_http_penstock_av_ctx_t  *ctx = ev->data;

    ngx_http_penstock_av_lease_eval(ctx, &ngx_http_penstock_av_lease_keep, 3);

    ngx_add_timer(ev, ngx_http_penstock_av_lease_time(ctx) / 2);
}


static void
ngx_http_penstock_av_lease_eval(ngx_http_penstock_av_ctx_t *ctx,
    ngx_http_penstock_redis_script_t *script, ngx_uint_t n)
{
    u_char     ms[NGX_INT64_LEN];
    ngx_str_t  argv[3];

    argv[0] = ctx->lease;
    argv[1].data = ctx->token;
    argv[1].len = NGX_HTTP_PENSTOCK_AV_TOKEN;
    argv[2].data = ms;
    argv[2].len = ngx_sprintf(ms, "%M", ngx_http_penstock_av_lease_time(ctx))
                  - ms;

    (void) ngx_http_penstock_redis_eval(ctx->zone->redis, NULL, script, 1, n,
                                        argv);
}


void
ngx_http_penstock_av_lease_end(ngx_http_penstock_av_ctx_t *ctx)
{
    ngx_http_penstock_av_lease_leave(ctx);

    if (ctx->renew && ctx->renew->timer_set) {
        ngx_del_timer(ctx->renew);
    }

    if (ctx->leased) {
        ctx->leased = 0;
        ngx_http_penstock_av_lease_eval(ctx,
                                        &ngx_http_penstock_av_lease_free, 2);
    }
}


ngx_int_t
ngx_http_penstock_av_lease_wait(ngx_http_penstock_av_ctx_t *ctx)
{
    ngx_http_penstock_tag_table_t  *table;

    table = ngx_http_penstock_av_tag_table(ctx->zone);

    if ((ngx_msec_int_t) (ctx->deadline - ngx_current_msec) <= 0) {
        ngx_http_penstock_av_lease_leave(ctx);
        return NGX_BUSY;
    }

    /* the wait looks each 100 ms: without a live link that has to do */

    if (table->leases[ctx->record_hash % NGX_HTTP_PENSTOCK_PURGES]
        > ctx->lease_seq
        || (ngx_msec_int_t) (ctx->lease_until - ngx_current_msec) <= 0
        || (ctx->lease_waits
            && !ngx_http_penstock_redis_push_live(ctx->zone->redis)))
    {
        ngx_http_penstock_av_lease_leave(ctx);
        return NGX_OK;
    }

    if (!ctx->lease_waits) {
        ctx->lease_waits = 1;
        (void) ngx_atomic_fetch_add(&table->lease_waits, 1);
    }

    ngx_http_penstock_wait_join(&ctx->zone->wait, &ctx->waiter, ctx->request);

    return NGX_AGAIN;
}


static void
ngx_http_penstock_av_lease_leave(ngx_http_penstock_av_ctx_t *ctx)
{
    ngx_http_penstock_wait_leave(&ctx->waiter);

    if (ctx->lease_waits) {
        ctx->lease_waits = 0;
        (void) ngx_atomic_fetch_add(
                   &ngx_http_penstock_av_tag_table(ctx->zone)->lease_waits,
                   -1);
    }
}
