
/*
 * Answers of one URL that vary (RFC 9111, Section 4.1).
 *
 * Under the key of such a URL stands a list: the fields of a request that
 * choose.  Each answer stands under the key and what the request has in those
 * fields, with a life, a leader and followers of its own.  A list only
 * grows, so that an upstream which names now these fields and now those
 * doesn't make the answers change places; it is asked for anew each hour.
 *
 * With the list in L1 are the keys of its answers, of which the oldest goes
 * when there are too many: what clients write into a field is theirs to
 * choose.
 */

#include "ngx_http_penstock_availability.h"


/* how long a list is believed, ms */

#define NGX_HTTP_PENSTOCK_AV_LIST  3600000


static ngx_int_t ngx_http_penstock_av_variant(ngx_http_penstock_av_ctx_t *ctx,
    ps_vary_t *vary);
static size_t ngx_http_penstock_av_variant_text(ngx_http_request_t *r,
    ps_vary_t *vary, u_char *p);
static ngx_uint_t ngx_http_penstock_av_is_named(ngx_table_elt_t *h,
    const char *name, size_t len);
static ngx_int_t ngx_http_penstock_av_list_record(
    ngx_http_penstock_av_ctx_t *ctx, ps_vary_t *vary, ngx_str_t *raw);
static void ngx_http_penstock_av_store_list(ngx_http_penstock_av_ctx_t *ctx,
    ngx_str_t *raw, u_char *variant);
static void ngx_http_penstock_av_add_variant(ngx_http_penstock_av_ctx_t *ctx,
    u_char *variant);
static void ngx_http_penstock_av_push_variant(ngx_http_penstock_dict_t *dict,
    ngx_http_penstock_av_variants_t *variants, u_char *variant);
static void ngx_http_penstock_av_drop_variant(ngx_http_penstock_dict_t *dict,
    u_char *half);


void
ngx_http_penstock_av_primary(ngx_http_penstock_av_ctx_t *ctx)
{
    ctx->vary = NULL;
    ctx->id = ctx->primary;

    ngx_http_penstock_dict_key(ngx_http_penstock_dict(ctx->zone->dict),
                               &ctx->id, ctx->key);
}


ngx_int_t
ngx_http_penstock_av_select(ngx_http_penstock_av_ctx_t *ctx, ngx_str_t *raw)
{
    ps_vary_t    *vary;
    ps_record_t   record;

    if (ps_record_parse(&record, (char *) raw->data, raw->len) != 0
        || !(record.flags & PS_RECORD_VARY))
    {
        return NGX_ERROR;
    }

    /* a follower looks many times, mostly by the same list */

    vary = ctx->selected;

    if (vary && vary->len == record.body_len
        && ngx_memcmp(vary->text, record.body, record.body_len) == 0)
    {
        ctx->vary = vary;
        ctx->id = ctx->variant;

        ngx_http_penstock_dict_key(ngx_http_penstock_dict(ctx->zone->dict),
                                   &ctx->id, ctx->key);
        return NGX_OK;
    }

    vary = ngx_palloc(ctx->request->pool, sizeof(ps_vary_t));
    if (vary == NULL) {
        return NGX_ERROR;
    }

    ps_vary_init(vary);
    ps_vary_add(vary, record.body, record.body_len);

    if (vary->n == 0 || vary->any || vary->overflow) {
        return NGX_ERROR;
    }

    if (ngx_http_penstock_av_variant(ctx, vary) != NGX_OK) {
        return NGX_ERROR;
    }

    ctx->selected = vary;
    ctx->variant = ctx->id;

    return NGX_OK;
}


/* the key of the answer that this request would get */

static ngx_int_t
ngx_http_penstock_av_variant(ngx_http_penstock_av_ctx_t *ctx,
    ps_vary_t *vary)
{
    u_char  *p;
    size_t   len;

    len = ctx->primary.len;

    p = ngx_pnalloc(ctx->request->pool, len
                    + ngx_http_penstock_av_variant_text(ctx->request, vary,
                                                        NULL));
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(p, ctx->primary.data, len);

    ctx->vary = vary;
    ctx->id.data = p;
    ctx->id.len = len + ngx_http_penstock_av_variant_text(ctx->request, vary,
                                                          p + len);

    ngx_http_penstock_dict_key(ngx_http_penstock_dict(ctx->zone->dict),
                               &ctx->id, ctx->key);

    return NGX_OK;
}


/*
 * For each name a line: the name, and with ":" what the request has there,
 * several lines as one.  No field has a line feed, so nothing is read two
 * ways.  Returns the length; where p is NULL, the most that it may be.
 */

static size_t
ngx_http_penstock_av_variant_text(ngx_http_request_t *r, ps_vary_t *vary,
    u_char *p)
{
    u_char           *start;
    size_t            len, most;
    ngx_uint_t        i, lines;
    const char       *next, *name;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    start = p;
    most = 0;
    next = vary->text;

    while (ps_vary_next(vary, &next, &name, &len)) {

        most += 1 + len;
        lines = 0;

        if (p) {
            *p++ = LF;
            p = ngx_cpymem(p, name, len);
        }

        for (part = &r->headers_in.headers.part; part; part = part->next) {
            h = part->elts;

            for (i = 0; i < part->nelts; i++) {

                if (!ngx_http_penstock_av_is_named(&h[i], name, len)) {
                    continue;
                }

                most += 1 + h[i].value.len;

                if (p) {
                    *p++ = lines++ ? ',' : ':';
                    p = (u_char *) ps_vary_put((char *) p, name, len,
                                               (char *) h[i].value.data,
                                               h[i].value.len);
                }
            }
        }
    }

    return p ? (size_t) (p - start) : most;
}


static ngx_uint_t
ngx_http_penstock_av_is_named(ngx_table_elt_t *h, const char *name,
    size_t len)
{
    return h->hash && h->key.len == len
           && ngx_strncasecmp(h->key.data, (u_char *) name, len) == 0;
}


void
ngx_http_penstock_av_store_variant(ngx_http_penstock_av_ctx_t *ctx,
    ngx_str_t *raw)
{
    u_char       led[NGX_HTTP_PENSTOCK_KEY_LEN];
    u_char       variant[NGX_HTTP_PENSTOCK_KEY_LEN];
    ngx_str_t    list;
    ngx_uint_t   stored;
    ps_vary_t   *vary;

    vary = ctx->vary;

    if (ctx->varies) {
        vary = ctx->varies;

        if (ctx->vary) {
            ps_vary_add(vary, ctx->vary->text, ctx->vary->len);
        }
    }

    /* a list only grows: the same length is the same list */

    if (ctx->vary && vary->len == ctx->vary->len) {

        ngx_http_penstock_av_store(ctx, raw);

        if (ctx->stored) {
            ngx_http_penstock_av_l2_store(ctx, raw);
            ngx_memcpy(variant, ctx->key, NGX_HTTP_PENSTOCK_KEY_LEN);
            ngx_http_penstock_av_add_variant(ctx, variant);
        }

        return;
    }

    ngx_memcpy(led, ctx->key, NGX_HTTP_PENSTOCK_KEY_LEN);

    if (vary->overflow || ngx_http_penstock_av_variant(ctx, vary) != NGX_OK
        || ngx_http_penstock_av_l2_rekey(ctx) != NGX_OK)
    {
        ngx_memcpy(ctx->key, led, NGX_HTTP_PENSTOCK_KEY_LEN);
        ngx_http_penstock_av_pass(ctx);
        return;
    }

    /*
     * The answer first, then the list that leads to it, and only then do
     * those wake who wait at the key that we have led: each finds its way
     * from the list, to this answer or to a leader of its own.
     */

    ngx_memcpy(variant, ctx->key, NGX_HTTP_PENSTOCK_KEY_LEN);

    ngx_http_penstock_av_store(ctx, raw);
    stored = ctx->stored;

    if (stored) {
        ngx_http_penstock_av_l2_store(ctx, raw);
    }

    ngx_http_penstock_av_primary(ctx);

    if (ngx_http_penstock_av_list_record(ctx, vary, &list) == NGX_OK) {
        ngx_http_penstock_av_store_list(ctx, &list, variant);
        ngx_http_penstock_av_l2_store(ctx, &list);
    }

    ngx_memcpy(ctx->key, led, NGX_HTTP_PENSTOCK_KEY_LEN);
    ctx->leads = 1;
    ngx_http_penstock_av_release(ctx);

    ctx->stored = stored;
}


void
ngx_http_penstock_av_found_list(ngx_http_penstock_av_ctx_t *ctx,
    ngx_str_t *raw)
{
    ngx_http_penstock_av_store_list(ctx, raw, NULL);
    ngx_http_penstock_av_release(ctx);
}


static ngx_int_t
ngx_http_penstock_av_list_record(ngx_http_penstock_av_ctx_t *ctx,
    ps_vary_t *vary, ngx_str_t *raw)
{
    char         *p;
    ps_tags_t    *tags;
    ps_record_t   record;

    tags = ngx_palloc(ctx->request->pool, sizeof(ps_tags_t));
    if (tags == NULL) {
        return NGX_ERROR;
    }

    tags->n = 0;
    tags->overflow = 0;

    ngx_http_penstock_av_key_tag(ctx->request->pool, &ctx->text, tags);

    if (tags->n == 0) {
        return NGX_ERROR;
    }

    ngx_memzero(&record, sizeof(ps_record_t));

    record.status = NGX_HTTP_OK;
    record.flags = PS_RECORD_VARY;
    record.clock = ctx->clock;
    record.created = ngx_http_penstock_av_now();
    record.fresh = NGX_HTTP_PENSTOCK_AV_LIST;
    record.ntags = 1;
    record.body_len = vary->len;

    raw->len = ps_record_size(1, tags->tag[0].len, 0, 0, vary->len);

    raw->data = ngx_palloc(ctx->request->pool, raw->len);
    if (raw->data == NULL) {
        return NGX_ERROR;
    }

    p = ps_record_put_head((char *) raw->data, &record);
    p = ps_record_put_tag(p, &tags->tag[0]);
    (void) ps_record_put_body(p, vary->text, vary->len);

    return NGX_OK;
}


/* at the URL's own key; the keys that were held stay with the same list */

static void
ngx_http_penstock_av_store_list(ngx_http_penstock_av_ctx_t *ctx,
    ngx_str_t *raw, u_char *variant)
{
    u_char                           *p;
    size_t                            size;
    uint64_t                          hash;
    ngx_uint_t                        i;
    ps_record_t                       record;
    ngx_http_penstock_dict_t         *dict;
    ngx_http_penstock_av_entry_t      entry, *e;
    ngx_http_penstock_dict_node_t    *node;
    ngx_http_penstock_av_variants_t   variants, *v;

    if (ps_record_parse(&record, (char *) raw->data, raw->len) != 0
        || record.body_len > PS_VARY_LEN)
    {
        return;
    }

    hash = ps_tag_hash(record.body, record.body_len);

    ngx_memzero(&entry, sizeof(ngx_http_penstock_av_entry_t));
    ngx_memzero(&variants, sizeof(ngx_http_penstock_av_variants_t));

    variants.list = hash;

    dict = ngx_http_penstock_dict(ctx->zone->dict);

    ngx_http_penstock_dict_lock(dict);

    node = ngx_http_penstock_dict_find(dict, ctx->key);

    if (node) {
        e = (ngx_http_penstock_av_entry_t *) node->data;
        entry = *e;

        if (e->list) {
            v = (ngx_http_penstock_av_variants_t *) (e + 1);

            if (v->list == hash) {
                variants = *v;

            } else {
                for (i = 0; i < NGX_HTTP_PENSTOCK_AV_VARIANTS; i++) {
                    ngx_http_penstock_av_drop_variant(dict, v->key[i]);
                }
            }
        }
    }

    if (variant) {
        ngx_http_penstock_av_push_variant(dict, &variants, variant);
    }

    entry.list = 1;
    entry.made_by = ctx->fill;
    entry.seq = ctx->seq;
    entry.checked = ngx_http_penstock_av_now();
    entry.fresh_until = record.created + record.fresh;
    entry.stale_until = 0;
    entry.pass_until = 0;
    entry.record_size = raw->len;

    size = sizeof(ngx_http_penstock_av_entry_t)
           + sizeof(ngx_http_penstock_av_variants_t) + raw->len;

    node = ngx_http_penstock_dict_insert(dict, ctx->key, size);

    if (node) {
        p = ngx_cpymem(node->data, &entry,
                       sizeof(ngx_http_penstock_av_entry_t));
        p = ngx_cpymem(p, &variants, sizeof(ngx_http_penstock_av_variants_t));
        ngx_memcpy(p, raw->data, raw->len);
    }

    ngx_http_penstock_dict_unlock(dict);
}


static void
ngx_http_penstock_av_add_variant(ngx_http_penstock_av_ctx_t *ctx,
    u_char *variant)
{
    u_char                            key[NGX_HTTP_PENSTOCK_KEY_LEN];
    ngx_http_penstock_dict_t         *dict;
    ngx_http_penstock_av_entry_t     *e;
    ngx_http_penstock_dict_node_t    *node;

    dict = ngx_http_penstock_dict(ctx->zone->dict);

    ngx_http_penstock_dict_key(dict, &ctx->primary, key);

    ngx_http_penstock_dict_lock(dict);

    node = ngx_http_penstock_dict_find(dict, key);

    if (node) {
        e = (ngx_http_penstock_av_entry_t *) node->data;

        if (e->list) {
            ngx_http_penstock_av_push_variant(dict,
                             (ngx_http_penstock_av_variants_t *) (e + 1),
                             variant);
        }
    }

    ngx_http_penstock_dict_unlock(dict);
}


/* under the lock */

static void
ngx_http_penstock_av_push_variant(ngx_http_penstock_dict_t *dict,
    ngx_http_penstock_av_variants_t *variants, u_char *variant)
{
    u_char      *slot;
    ngx_uint_t   i;

    for (i = 0; i < NGX_HTTP_PENSTOCK_AV_VARIANTS; i++) {
        if (ngx_memcmp(variants->key[i], variant,
                       NGX_HTTP_PENSTOCK_AV_HALF_KEY)
            == 0)
        {
            return;
        }
    }

    slot = variants->key[variants->next % NGX_HTTP_PENSTOCK_AV_VARIANTS];
    variants->next++;

    ngx_http_penstock_av_drop_variant(dict, slot);
    ngx_memcpy(slot, variant, NGX_HTTP_PENSTOCK_AV_HALF_KEY);
}


/* under the lock; an empty place is no key of anything */

static void
ngx_http_penstock_av_drop_variant(ngx_http_penstock_dict_t *dict,
    u_char *half)
{
    u_char                          key[NGX_HTTP_PENSTOCK_KEY_LEN];
    ngx_http_penstock_dict_node_t  *node;

    ngx_memzero(key, NGX_HTTP_PENSTOCK_KEY_LEN);
    ngx_memcpy(key, half, NGX_HTTP_PENSTOCK_AV_HALF_KEY);

    node = ngx_http_penstock_dict_find(dict, key);

    if (node) {
        ngx_http_penstock_dict_delete(dict, node);
    }
}
