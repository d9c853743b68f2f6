
/*
 * Storing in L1: how the leader of a key ends.
 */

#include "ngx_http_penstock_availability.h"


static void ngx_http_penstock_av_finish(ngx_http_penstock_av_ctx_t *ctx);


uint64_t
ngx_http_penstock_av_now(void)
{
    ngx_time_t  *tp;

    tp = ngx_timeofday();

    return (uint64_t) tp->sec * 1000 + tp->msec;
}


void
ngx_http_penstock_av_confirm(ngx_http_penstock_av_ctx_t *ctx)
{
    ngx_http_penstock_dict_t       *dict;
    ngx_http_penstock_av_entry_t   *e;
    ngx_http_penstock_dict_node_t  *node;

    dict = ngx_http_penstock_dict(ctx->zone->dict);

    ngx_http_penstock_dict_lock(dict);

    node = ngx_http_penstock_dict_find(dict, ctx->key);

    if (node) {
        e = (ngx_http_penstock_av_entry_t *) node->data;

        /* still the record that was compared */

        if (e->filler == ctx->fill) {
            e->checked = ctx->asked;
            e->checked_seq = ctx->seq;
            e->checked_epoch = ctx->epoch;
            e->record_hash = ctx->record_hash;
            e->confirmed = ctx->fill;
            e->soft = ctx->soft;
        }
    }

    ngx_http_penstock_dict_unlock(dict);
}


void
ngx_http_penstock_av_drop(ngx_http_penstock_av_ctx_t *ctx)
{
    ngx_http_penstock_dict_t       *dict;
    ngx_http_penstock_av_entry_t   *e;
    ngx_http_penstock_dict_node_t  *node;

    dict = ngx_http_penstock_dict(ctx->zone->dict);

    ngx_http_penstock_dict_lock(dict);

    node = ngx_http_penstock_dict_find(dict, ctx->key);

    if (node) {
        e = (ngx_http_penstock_av_entry_t *) node->data;

        if (e->made_by == ctx->raw_by && !e->list) {
            e->record_size = 0;
        }
    }

    ngx_http_penstock_dict_unlock(dict);
}


void
ngx_http_penstock_av_store(ngx_http_penstock_av_ctx_t *ctx, ngx_str_t *raw)
{
    uint64_t                        gen;
    ngx_uint_t                      void_, pushed;
    ps_record_t                     record;
    ngx_http_penstock_dict_t       *dict;
    ngx_http_penstock_av_entry_t    entry, *e;
    ngx_http_penstock_dict_node_t  *node;
    ngx_http_penstock_tag_table_t  *table;

    if (ps_record_parse(&record, (char *) raw->data, raw->len) != 0) {
        ngx_http_penstock_av_release(ctx);
        return;
    }

    table = ngx_http_penstock_av_tag_table(ctx->zone);

    gen = table->gen;
    ngx_memory_barrier();

    /* if so, kept for those who wait for this fill, void for all others */

    void_ = ngx_http_penstock_av_void(table, &record, ctx->seq)
            || ngx_http_penstock_av_purged(table, NGX_HTTP_PENSTOCK_AV_SOFT,
                                           &record, ctx->seq);

    /* and what was pushed while we read is compared before the next use */

    pushed = ctx->zone->redis
             && (table->pushed[ctx->record_hash % NGX_HTTP_PENSTOCK_BUCKETS]
                 > ctx->seq
                 || ngx_http_penstock_av_pushed(table, &record, ctx->seq));

    dict = ngx_http_penstock_dict(ctx->zone->dict);

    ngx_http_penstock_dict_lock(dict);

    ngx_memzero(&entry, sizeof(ngx_http_penstock_av_entry_t));

    node = ngx_http_penstock_dict_find(dict, ctx->key);

    if (node) {
        entry = *(ngx_http_penstock_av_entry_t *) node->data;
    }

    if (entry.record_size && entry.made_by > ctx->fill) {

        /* overtaken by a fill that began later */

        ngx_http_penstock_dict_unlock(dict);
        ngx_http_penstock_av_finish(ctx);
        return;
    }

    if (entry.filler == ctx->fill) {
        entry.filler = 0;
    }

    entry.made_by = ctx->fill;
    entry.seq = ctx->seq;
    entry.checked_gen = (void_ || pushed) ? 0 : gen;

    /* Redis knew of no invalidation then; a slow fill is no younger for it */

    entry.checked = ctx->looked ? ctx->asked : ngx_http_penstock_av_now();
    entry.checked_seq = ctx->seq;
    entry.checked_epoch = ctx->looked ? ctx->epoch : 0;
    entry.record_hash = ctx->record_hash;
    entry.soft = 0;
    entry.fresh_until = record.created + record.fresh;
    entry.stale_until = entry.fresh_until + record.while_revalidate;
    entry.pass_until = 0;

    if (!ctx->from_l2) {
        entry.read = ngx_http_penstock_av_now();
    }

    entry.list = 0;
    entry.headers_at = record.headers - (char *) raw->data;
    entry.body_at = record.body - (char *) raw->data;
    entry.record_size = raw->len;

    node = ngx_http_penstock_dict_insert(dict, ctx->key,
                                         sizeof(ngx_http_penstock_av_entry_t)
                                         + raw->len);

    if (node) {
        e = (ngx_http_penstock_av_entry_t *) node->data;

        *e = entry;
        ngx_memcpy((u_char *) e + sizeof(ngx_http_penstock_av_entry_t),
                   raw->data, raw->len);

        ctx->stored = !void_;

    } else {

        /* no room even in an empty zone: the followers go on by themselves */

        node = ngx_http_penstock_dict_insert(dict, ctx->key,
                                        sizeof(ngx_http_penstock_av_entry_t));

        if (node) {
            e = (ngx_http_penstock_av_entry_t *) node->data;

            ngx_memzero(e, sizeof(ngx_http_penstock_av_entry_t));
            e->pass_until = ngx_http_penstock_av_now()
                            + NGX_HTTP_PENSTOCK_PASS;
        }
    }

    ngx_http_penstock_dict_unlock(dict);

    ngx_http_penstock_av_finish(ctx);
}


void
ngx_http_penstock_av_pass(ngx_http_penstock_av_ctx_t *ctx)
{
    ngx_http_penstock_dict_t      *dict;
    ngx_http_penstock_av_entry_t  *e;

    dict = ngx_http_penstock_dict(ctx->zone->dict);

    ngx_http_penstock_dict_lock(dict);

    e = ngx_http_penstock_av_entry(ctx);

    if (e) {
        e->pass_until = ngx_http_penstock_av_now() + NGX_HTTP_PENSTOCK_PASS;

        if (e->filler == ctx->fill) {
            e->filler = 0;
        }
    }

    ngx_http_penstock_dict_unlock(dict);

    ngx_http_penstock_av_finish(ctx);
}


void
ngx_http_penstock_av_failed(ngx_http_penstock_av_ctx_t *ctx,
    ngx_uint_t status)
{
    ngx_http_penstock_dict_t      *dict;
    ngx_http_penstock_av_entry_t  *e;

    dict = ngx_http_penstock_dict(ctx->zone->dict);

    ngx_http_penstock_dict_lock(dict);

    e = ngx_http_penstock_av_entry(ctx);

    if (e) {
        e->read = ngx_http_penstock_av_now();

        if (status) {
            e->failed = ctx->fill;
            e->failed_status = status;
        }

        if (e->filler == ctx->fill) {
            e->filler = 0;
        }
    }

    ngx_http_penstock_dict_unlock(dict);

    ngx_http_penstock_av_finish(ctx);
}


void
ngx_http_penstock_av_release(ngx_http_penstock_av_ctx_t *ctx)
{
    ngx_http_penstock_dict_t       *dict;
    ngx_http_penstock_av_entry_t   *e;
    ngx_http_penstock_dict_node_t  *node;

    if (!ctx->leads) {
        return;
    }

    dict = ngx_http_penstock_dict(ctx->zone->dict);

    ngx_http_penstock_dict_lock(dict);

    node = ngx_http_penstock_dict_find(dict, ctx->key);

    if (node) {
        e = (ngx_http_penstock_av_entry_t *) node->data;

        if (e->filler == ctx->fill) {
            e->filler = 0;
        }
    }

    ngx_http_penstock_dict_unlock(dict);

    ngx_http_penstock_av_finish(ctx);
}


/* the followers of all workers look again */

static void
ngx_http_penstock_av_finish(ngx_http_penstock_av_ctx_t *ctx)
{
    ngx_http_penstock_tag_table_t  *table;

    ctx->leads = 0;

    ngx_http_penstock_kill_point("av-filled");

    table = ngx_http_penstock_av_tag_table(ctx->zone);

    (void) ngx_atomic_fetch_add(&table->wake, 1);

    ngx_http_penstock_wait_wake(&ctx->zone->wait);
}
