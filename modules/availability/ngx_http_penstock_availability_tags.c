
/*
 * Tags: what an answer depends on, and local invalidation.
 *
 * The table stands in shared memory beside the dictionary.  An invalidation
 * takes a number and writes it to the buckets of its tags; records carry the
 * number at which their fill began.
 */

#include "ngx_http_penstock_availability.h"
#include "ngx_http_penstock_availability_cells.h"


static ngx_uint_t ngx_http_penstock_av_axis(
    ngx_http_penstock_cells_conf_t *items, ngx_str_t *arg);
static ngx_uint_t ngx_http_penstock_av_later(ngx_atomic_t *bucket,
    ngx_uint_t size, ps_record_t *record, uint64_t seq);


ngx_http_penstock_tag_table_t *
ngx_http_penstock_av_tag_table(ngx_http_penstock_av_zone_t *zone)
{
    return ngx_http_penstock_zone_data(zone->tags);
}


ps_tags_t *
ngx_http_penstock_av_tags(ngx_http_penstock_av_ctx_t *ctx)
{
    size_t                       n;
    u_char                      *buf;
    ngx_str_t                    value;
    ngx_uint_t                   i;
    ngx_http_request_t          *r;
    ngx_http_penstock_av_tag_t  *tag;

    if (ctx->tags) {
        return ctx->tags;
    }

    r = ctx->request;

    ctx->tags = ngx_palloc(r->pool, sizeof(ps_tags_t));
    if (ctx->tags == NULL) {
        return NULL;
    }

    ctx->tags->n = 0;
    ctx->tags->overflow = 0;

    if (ctx->conf->tags == NULL) {
        return ctx->tags;
    }

    tag = ctx->conf->tags->elts;

    for (i = 0; i < ctx->conf->tags->nelts; i++) {

        if (tag[i].arg.len == 0) {
            if (ngx_http_complex_value(r, &tag[i].value, &value) != NGX_OK) {
                ctx->tags = NULL;
                return NULL;
            }

            ps_tags_list(ctx->tags, (char *) value.data, value.len);
            continue;
        }

        /* each cell has its own value of that */

        if (ngx_http_penstock_av_axis(ctx->conf->items, &tag[i].arg)) {
            continue;
        }

        n = r->args.len;

        buf = ngx_pnalloc(r->pool, n + 1);
        if (buf == NULL) {
            ctx->tags = NULL;
            return NULL;
        }

        (void) ps_tags_query(ctx->tags, (char *) r->args.data, n,
                             (char *) tag[i].arg.data, tag[i].arg.len,
                             (char *) buf);
    }

    return ctx->tags;
}


static ngx_uint_t
ngx_http_penstock_av_axis(ngx_http_penstock_cells_conf_t *items,
    ngx_str_t *arg)
{
    ngx_uint_t  i;

    for (i = 0; items && i < items->axes; i++) {
        if (items->arg[i].len == arg->len
            && ngx_strncmp(items->arg[i].data, arg->data, arg->len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


ngx_uint_t
ngx_http_penstock_av_void(ngx_http_penstock_tag_table_t *table,
    ps_record_t *record, uint64_t seq)
{
    return table->all > seq
           || ngx_http_penstock_av_later(table->bucket,
                                         NGX_HTTP_PENSTOCK_BUCKETS, record,
                                         seq);
}


ngx_uint_t
ngx_http_penstock_av_pushed(ngx_http_penstock_tag_table_t *table,
    ps_record_t *record, uint64_t seq)
{
    return table->pushed_all > seq
           || ngx_http_penstock_av_later(table->pushed,
                                         NGX_HTTP_PENSTOCK_BUCKETS, record,
                                         seq);
}


ngx_uint_t
ngx_http_penstock_av_purged(ngx_http_penstock_tag_table_t *table,
    ngx_http_penstock_av_mode_e mode, ps_record_t *record, uint64_t seq)
{
    ngx_uint_t    hard;
    ngx_atomic_t  all;

    hard = (mode == NGX_HTTP_PENSTOCK_AV_HARD);
    all = hard ? table->all_hard : table->all_soft;

    return all > seq
           || ngx_http_penstock_av_later(hard ? table->hard : table->soft,
                                         NGX_HTTP_PENSTOCK_PURGES, record,
                                         seq);
}


ngx_uint_t
ngx_http_penstock_av_touched(ngx_http_penstock_tag_table_t *table,
    ps_tags_t *tags, uint64_t seq)
{
    uint64_t    hash;
    ngx_uint_t  i;

    /* a hard purge is in the buckets, too */

    if (table->all > seq || table->all_soft > seq
        || table->pushed_all > seq)
    {
        return 1;
    }

    for (i = 0; i < tags->n; i++) {
        hash = tags->tag[i].hash;

        if (table->bucket[hash % NGX_HTTP_PENSTOCK_BUCKETS] > seq
            || table->pushed[hash % NGX_HTTP_PENSTOCK_BUCKETS] > seq
            || table->soft[hash % NGX_HTTP_PENSTOCK_PURGES] > seq)
        {
            return 1;
        }
    }

    return 0;
}


/* whether a tag of the record has a later number */

static ngx_uint_t
ngx_http_penstock_av_later(ngx_atomic_t *bucket, ngx_uint_t size,
    ps_record_t *record, uint64_t seq)
{
    ps_tag_t     tag;
    ngx_uint_t   i;
    const char  *p;

    p = record->tags;

    for (i = 0; i < record->ntags; i++) {
        ps_record_tag(&p, &tag);

        if (bucket[tag.hash % size] > seq) {
            return 1;
        }
    }

    return 0;
}


void
ngx_http_penstock_av_bump(ngx_http_penstock_av_zone_t *zone,
    ngx_http_penstock_av_mode_e mode, const uint64_t *hashes, ngx_uint_t n)
{
    ngx_uint_t                      i, soft, hard;
    ngx_atomic_uint_t               seq;
    ngx_http_penstock_tag_table_t  *table;

    table = ngx_http_penstock_av_tag_table(zone);

    soft = (mode == NGX_HTTP_PENSTOCK_AV_SOFT);
    hard = (mode == NGX_HTTP_PENSTOCK_AV_HARD);

    seq = ngx_atomic_fetch_add(&table->seq, 1) + 1;

    /*
     * Twice, so that what was not looked at meanwhile is looked at even if
     * this worker dies before it is through.
     */

    (void) ngx_atomic_fetch_add(&table->gen, 1);

    if (n == 0) {
        ngx_http_penstock_av_raise(soft ? &table->all_soft : &table->all,
                                   seq);

        if (hard) {
            ngx_http_penstock_av_raise(&table->all_hard, seq);
        }
    }

    for (i = 0; i < n; i++) {
        ngx_http_penstock_av_raise(
            soft ? &table->soft[hashes[i] % NGX_HTTP_PENSTOCK_PURGES]
                 : &table->bucket[hashes[i] % NGX_HTTP_PENSTOCK_BUCKETS],
            seq);

        if (hard) {
            ngx_http_penstock_av_raise(
                &table->hard[hashes[i] % NGX_HTTP_PENSTOCK_PURGES], seq);
        }
    }

    ngx_http_penstock_kill_point("av-invalidated");

    (void) ngx_atomic_fetch_add(&table->gen, 1);
}


/* never back: another invalidation may have a later number */

void
ngx_http_penstock_av_raise(ngx_atomic_t *slot, ngx_atomic_uint_t seq)
{
    ngx_atomic_uint_t  old;

    do {
        old = *slot;
    } while (old < seq && !ngx_atomic_cmp_set(slot, old, seq));
}
