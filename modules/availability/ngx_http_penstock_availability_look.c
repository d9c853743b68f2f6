
/*
 * Looking in L1: what is held of a key, and whether it may be shown.
 *
 * A hit takes the lock once, for a copy.  Everything that is decided from
 * the copy is decided without the lock; only becoming the leader of a key
 * takes it again, and looks whether the entry is still the one that was
 * copied.
 */

#include "ngx_http_penstock_availability.h"


/* looks at an entry that others change meanwhile */

#define NGX_HTTP_PENSTOCK_AV_LOOKS     4

/* so many tags are compared each time, while invalidations go on */

#define NGX_HTTP_PENSTOCK_AV_WALK      16

/* without an invalidation: calm, ms */

#define NGX_HTTP_PENSTOCK_AV_CALM      1000


static ngx_http_penstock_av_verdict_e ngx_http_penstock_av_look(
    ngx_http_penstock_av_ctx_t *ctx);
static ngx_uint_t ngx_http_penstock_av_trusted(
    ngx_http_penstock_av_ctx_t *ctx, ngx_http_penstock_av_entry_t *entry,
    uint64_t now, ngx_uint_t *soon);
static ngx_int_t ngx_http_penstock_av_copy(ngx_http_penstock_av_ctx_t *ctx,
    ngx_http_penstock_av_entry_t *entry);
static u_char *ngx_http_penstock_av_copy_list(
    ngx_http_penstock_av_ctx_t *ctx, ngx_http_penstock_av_entry_t *e);
static ngx_uint_t ngx_http_penstock_av_check(ngx_http_penstock_av_ctx_t *ctx,
    ngx_http_penstock_av_entry_t *entry);


ngx_http_penstock_av_verdict_e
ngx_http_penstock_av_lookup(ngx_http_penstock_av_ctx_t *ctx)
{
    ngx_uint_t                      i;
    ngx_http_penstock_av_verdict_e  verdict;

    for (i = 0; i < NGX_HTTP_PENSTOCK_AV_LOOKS; i++) {

        if (ctx->vary) {
            ngx_http_penstock_av_primary(ctx);
        }

        verdict = ngx_http_penstock_av_look(ctx);

        if (verdict != NGX_HTTP_PENSTOCK_AV_AGAIN) {
            return verdict;
        }
    }

    /* it changes faster than we can look */

    return NGX_HTTP_PENSTOCK_AV_GO;
}


static ngx_http_penstock_av_verdict_e
ngx_http_penstock_av_look(ngx_http_penstock_av_ctx_t *ctx)
{
    uint64_t                        now;
    ngx_uint_t                      stale, trusted, soon;
    ngx_http_penstock_av_entry_t    entry;
    ngx_http_penstock_av_verdict_e  verdict;

    if (ngx_http_penstock_av_copy(ctx, &entry) != NGX_OK) {
        return NGX_HTTP_PENSTOCK_AV_GO;
    }

    now = ngx_http_penstock_av_now();

    if (entry.list && now < entry.fresh_until
        && (ngx_http_penstock_av_select(ctx, &ctx->list) != NGX_OK
            || ngx_http_penstock_av_copy(ctx, &entry) != NGX_OK))
    {
        return NGX_HTTP_PENSTOCK_AV_GO;
    }

    ctx->forced = 0;
    ctx->trusted = 0;
    ctx->read = entry.read;

    /*
     * The fill, or look, that we waited for serves us even where it is void
     * by now: our request is older than the invalidation.  Unless it is late:
     * an answer may bring tags that nobody could compare when we joined.
     */

    if (ctx->state == NGX_HTTP_PENSTOCK_AV_FOLLOW) {

        if (ctx->have && entry.made_by == ctx->fill
            && (!ctx->late || (ngx_http_penstock_av_check(ctx, &entry)
                               && !ctx->pushed)))
        {
            ctx->collapsed = 1;
            ctx->valid = 1;
            return NGX_HTTP_PENSTOCK_AV_USE;
        }

        if (ctx->have && entry.confirmed == ctx->fill && !ctx->late
            && now < entry.fresh_until
            && !ngx_http_penstock_av_refused(ctx, &ctx->record, now)
            && ngx_http_penstock_av_check(ctx, &entry) && !ctx->soft)
        {
            return NGX_HTTP_PENSTOCK_AV_USE;
        }

        if (entry.failed == ctx->fill) {
            ctx->fail_status = entry.failed_status;
            (void) ngx_http_penstock_av_check(ctx, &entry);
            return NGX_HTTP_PENSTOCK_AV_FAIL;
        }
    }

    if (entry.pass_until > now) {
        return NGX_HTTP_PENSTOCK_AV_GO;
    }

    stale = 0;

    if (ngx_http_penstock_av_check(ctx, &entry)) {

        trusted = ngx_http_penstock_av_trusted(ctx, &entry, now, &soon);

        if (ctx->asks
            && ngx_http_penstock_av_refused(ctx, &ctx->record, now))
        {
            ctx->forced = (now < entry.fresh_until);
            return ngx_http_penstock_av_elect(ctx, &entry, 0);
        }

        if (now < entry.fresh_until && trusted && !ctx->soft) {

            if (!soon || entry.filler) {
                return NGX_HTTP_PENSTOCK_AV_USE;
            }

            /* one request confirms it before the trust ends */

            ctx->trusted = entry.checked + NGX_HTTP_PENSTOCK_TRUST;

            verdict = ngx_http_penstock_av_elect(ctx, &entry, 1);

            return verdict == NGX_HTTP_PENSTOCK_AV_USE_AND_FILL
                   ? NGX_HTTP_PENSTOCK_AV_LEAD : verdict;
        }

        /* a purge ends its freshness, and begins no new time */

        stale = trusted
                && now < ngx_http_penstock_av_stale_until(ctx,
                                                          entry.stale_until)
                && (!ctx->soft || ctx->record.while_revalidate);
    }

    return ngx_http_penstock_av_elect(ctx, &entry, stale);
}


/*
 * Whether L1's record may be used without a look at Redis; "soon": one should
 * look, as that ends.  With a live push link it doesn't: what was compared
 * with Redis since the link is up stands until a push says that it may not.
 */

static ngx_uint_t
ngx_http_penstock_av_trusted(ngx_http_penstock_av_ctx_t *ctx,
    ngx_http_penstock_av_entry_t *entry, uint64_t now, ngx_uint_t *soon)
{
    ngx_http_penstock_redis_t  *redis;

    *soon = 0;
    redis = ctx->zone->redis;

    if (redis == NULL) {
        return 1;
    }

    if (ctx->pushed) {
        return 0;
    }

    if (entry->checked_epoch && ngx_http_penstock_redis_push_live(redis)) {
        return entry->checked_epoch
               == ngx_http_penstock_redis_push_epoch(redis);
    }

    *soon = now - entry->checked > NGX_HTTP_PENSTOCK_TRUST / 2;

    return now - entry->checked <= NGX_HTTP_PENSTOCK_TRUST;
}


/* the entry as it is, and its record into ctx */

static ngx_int_t
ngx_http_penstock_av_copy(ngx_http_penstock_av_ctx_t *ctx,
    ngx_http_penstock_av_entry_t *entry)
{
    u_char                         *p;
    ngx_http_penstock_dict_t       *dict;
    ngx_http_penstock_av_entry_t   *e;
    ngx_http_penstock_dict_node_t  *node;

    p = NULL;
    ctx->have = 0;
    ctx->valid = 0;
    ctx->pushed = 0;
    ctx->replaced = 0;
    ctx->soft = 0;
    ctx->dropped = 0;

    dict = ngx_http_penstock_dict(ctx->zone->dict);

    ngx_http_penstock_dict_lock(dict);

    node = ngx_http_penstock_dict_find(dict, ctx->key);

    if (node == NULL) {
        ngx_http_penstock_dict_unlock(dict);
        ngx_memzero(entry, sizeof(ngx_http_penstock_av_entry_t));
        return NGX_OK;
    }

    e = (ngx_http_penstock_av_entry_t *) node->data;
    *entry = *e;

    if (e->list) {

        p = ngx_http_penstock_av_copy_list(ctx, e);

    } else if (e->record_size) {

        /* a follower looks many times, mostly at the same record */

        if (ctx->raw_by == e->made_by && ctx->raw.len == e->record_size) {
            p = ctx->raw.data;

        } else {
            p = ngx_palloc(ctx->request->pool, e->record_size);
        }

        if (p && p != ctx->raw.data) {
            ngx_memcpy(p, (u_char *) e + sizeof(ngx_http_penstock_av_entry_t),
                       e->record_size);
        }
    }

    ngx_http_penstock_dict_unlock(dict);

    if (entry->record_size == 0) {
        return NGX_OK;
    }

    if (p == NULL) {
        return NGX_ERROR;
    }

    if (entry->list) {
        ctx->list.data = p;
        ctx->list.len = entry->record_size;

        return NGX_OK;
    }

    ctx->raw.data = p;
    ctx->raw.len = entry->record_size;
    ctx->raw_by = entry->made_by;

    /* it was parsed when it was stored */

    ps_record_open(&ctx->record, (char *) p, entry->headers_at,
                   entry->body_at);
    ctx->have = 1;

    return NGX_OK;
}


/* the list of fields of an entry; under the lock */

static u_char *
ngx_http_penstock_av_copy_list(ngx_http_penstock_av_ctx_t *ctx,
    ngx_http_penstock_av_entry_t *e)
{
    u_char  *p;

    /* a follower looks many times: into the same piece */

    p = ctx->list.data;

    if (p == NULL || ctx->list.len < e->record_size) {
        p = ngx_palloc(ctx->request->pool, e->record_size);
        if (p == NULL) {
            return NULL;
        }
    }

    ngx_memcpy(p, (u_char *) (e + 1)
                  + sizeof(ngx_http_penstock_av_variants_t),
               e->record_size);

    return p;
}


/*
 * Whether the record in ctx is there and no invalidation came after it, as
 * far as this host knows; ctx->pushed: Redis may know more.
 */

static ngx_uint_t
ngx_http_penstock_av_check(ngx_http_penstock_av_ctx_t *ctx,
    ngx_http_penstock_av_entry_t *entry)
{
    uint64_t                        gen;
    ngx_http_penstock_dict_t       *dict;
    ngx_http_penstock_av_entry_t   *e;
    ngx_http_penstock_dict_node_t  *node;
    ngx_http_penstock_tag_table_t  *table;

    if (!ctx->have) {
        return 0;
    }

    table = ngx_http_penstock_av_tag_table(ctx->zone);
    gen = table->gen;

    ctx->soft = entry->soft;

    if (entry->checked_gen == gen) {
        ctx->valid = 1;
        return 1;
    }

    ngx_memory_barrier();

    if (ngx_http_penstock_av_void(table, &ctx->record, entry->seq)) {

        ctx->have = !ngx_http_penstock_av_purged(table,
                                                 NGX_HTTP_PENSTOCK_AV_HARD,
                                                 &ctx->record, entry->seq);
        return 0;
    }

    ctx->valid = 1;

    if (ngx_http_penstock_av_purged(table, NGX_HTTP_PENSTOCK_AV_SOFT,
                                    &ctx->record, entry->seq))
    {
        ctx->soft = 1;
    }

    if (ctx->zone->redis) {

        ctx->replaced = table->pushed[entry->record_hash
                                      % NGX_HTTP_PENSTOCK_BUCKETS]
                        > entry->checked_seq;

        ctx->pushed = ctx->replaced
                      || ngx_http_penstock_av_pushed(table, &ctx->record,
                                                     entry->checked_seq);
    }

    if (ctx->pushed || ctx->soft) {
        return 1;
    }

    /*
     * A walk over few tags is cheaper than the lock, unless it is the last
     * one for long: nothing was invalidated for a while.
     */

    if (ctx->zone->calm_gen != gen) {
        ctx->zone->calm_gen = gen;
        ctx->zone->calm_since = ngx_current_msec;
    }

    if (ctx->record.ntags <= NGX_HTTP_PENSTOCK_AV_WALK
        && ngx_current_msec - ctx->zone->calm_since
           < NGX_HTTP_PENSTOCK_AV_CALM)
    {
        return 1;
    }

    dict = ngx_http_penstock_dict(ctx->zone->dict);

    ngx_http_penstock_dict_lock(dict);

    node = ngx_http_penstock_dict_find(dict, ctx->key);

    if (node) {
        e = (ngx_http_penstock_av_entry_t *) node->data;

        if (e->made_by == entry->made_by && e->checked_gen < gen) {
            e->checked_gen = gen;
        }
    }

    ngx_http_penstock_dict_unlock(dict);

    return 1;
}
