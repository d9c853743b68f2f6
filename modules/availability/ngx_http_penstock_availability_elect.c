
/*
 * Who fills which key: one request, which may be of another worker.
 */

#include "ngx_http_penstock_availability.h"


/* nobody waits for a fill that is older, ms */

#define NGX_HTTP_PENSTOCK_AV_FILL_MAX  60000


static ngx_uint_t ngx_http_penstock_av_filler_stands(
    ngx_http_penstock_av_ctx_t *ctx, ngx_http_penstock_av_entry_t *e);


ngx_http_penstock_av_verdict_e
ngx_http_penstock_av_elect(ngx_http_penstock_av_ctx_t *ctx,
    ngx_http_penstock_av_entry_t *seen, ngx_uint_t stale)
{
    ngx_uint_t                      stands;
    ngx_http_penstock_dict_t       *dict;
    ngx_http_penstock_av_entry_t   *e;
    ngx_http_penstock_tag_table_t  *table;

    table = ngx_http_penstock_av_tag_table(ctx->zone);

    /* the arguments are read before the lock is taken */

    if (ngx_http_penstock_av_tags(ctx) == NULL) {
        return NGX_HTTP_PENSTOCK_AV_GO;
    }

    dict = ngx_http_penstock_dict(ctx->zone->dict);

    ngx_http_penstock_dict_lock(dict);

    e = ngx_http_penstock_av_entry(ctx);

    if (e == NULL) {
        ngx_http_penstock_dict_unlock(dict);
        return NGX_HTTP_PENSTOCK_AV_GO;
    }

    stands = ngx_http_penstock_av_filler_stands(ctx, e);

    if (stands && ctx->conf->lock) {

        if (ctx->fill != e->filler) {
            ctx->fill = e->filler;
            ctx->late = (table->gen != e->filler_gen);
        }

        ngx_http_penstock_dict_unlock(dict);

        return stale ? NGX_HTTP_PENSTOCK_AV_USE : NGX_HTTP_PENSTOCK_AV_WAIT;
    }

    if (e->made_by != seen->made_by && e->record_size) {

        ngx_http_penstock_dict_unlock(dict);

        return NGX_HTTP_PENSTOCK_AV_AGAIN;
    }

    ctx->fill = ngx_atomic_fetch_add(&table->fills, 1) + 1;
    ctx->seq = table->seq;
    ctx->leads = 1;

    if (ctx->zone->redis) {
        ctx->epoch = ngx_http_penstock_redis_push_epoch(ctx->zone->redis);
    }

    e->filler = ctx->fill;
    e->filler_seq = ctx->seq;
    e->filler_gen = table->gen;
    e->pid = ngx_pid;
    e->since = ngx_current_msec;

    ngx_http_penstock_kill_point("av-elected");

    ngx_http_penstock_dict_unlock(dict);

    return stale ? NGX_HTTP_PENSTOCK_AV_USE_AND_FILL
                 : NGX_HTTP_PENSTOCK_AV_LEAD;
}


/*
 * Whether there is a fill that we may join: its worker lives, and nothing
 * that we ask for was invalidated after it began, or we would be told what
 * we have just changed.  Called under the lock.
 */

static ngx_uint_t
ngx_http_penstock_av_filler_stands(ngx_http_penstock_av_ctx_t *ctx,
    ngx_http_penstock_av_entry_t *e)
{
    ngx_http_penstock_tag_table_t  *table;

    if (e->filler == 0) {
        return 0;
    }

    /*
     * Whatever became of it.  All workers have the same clock, but another
     * one may have looked at it a little later than we.
     */

    if ((ngx_msec_int_t) (ngx_current_msec - e->since)
        > NGX_HTTP_PENSTOCK_AV_FILL_MAX)
    {
        return 0;
    }

    /* only a request that has waited makes the system call */

    if (ctx->state == NGX_HTTP_PENSTOCK_AV_FOLLOW && e->pid != ngx_pid
        && kill(e->pid, 0) == -1 && ngx_errno == NGX_ESRCH)
    {
        return 0;
    }

    /* a follower has joined in time */

    if (ctx->state == NGX_HTTP_PENSTOCK_AV_FOLLOW && ctx->fill == e->filler) {
        return 1;
    }

    table = ngx_http_penstock_av_tag_table(ctx->zone);

    if (table->gen == e->filler_gen) {
        return 1;
    }

    return ctx->tags->n && !ctx->tags->overflow
           && table->pushed[e->record_hash % NGX_HTTP_PENSTOCK_BUCKETS]
              <= e->filler_seq
           && !ngx_http_penstock_av_touched(table, ctx->tags, e->filler_seq);
}


/* the key's entry, made where there is none; called under the lock */

ngx_http_penstock_av_entry_t *
ngx_http_penstock_av_entry(ngx_http_penstock_av_ctx_t *ctx)
{
    ngx_http_penstock_dict_t       *dict;
    ngx_http_penstock_dict_node_t  *node;

    dict = ngx_http_penstock_dict(ctx->zone->dict);

    node = ngx_http_penstock_dict_find(dict, ctx->key);

    if (node) {
        return (ngx_http_penstock_av_entry_t *) node->data;
    }

    node = ngx_http_penstock_dict_insert(dict, ctx->key,
                                         sizeof(ngx_http_penstock_av_entry_t));
    if (node == NULL) {
        return NULL;
    }

    ngx_memzero(node->data, sizeof(ngx_http_penstock_av_entry_t));

    return (ngx_http_penstock_av_entry_t *) node->data;
}
