
/*
 * Cells and the text around them as bytes: a record whose body holds three
 * lengths of 4 bytes, of which the last is 1 where the upstream has said how
 * long it is fresh, and then the text before, the text behind and the value.
 */

#include "ngx_http_penstock_availability_cells.h"


#define NGX_HTTP_PENSTOCK_CELLS_HEAD  12


static ngx_uint_t ngx_http_penstock_cells_kept(ngx_table_elt_t *h,
    ngx_http_penstock_cells_pack_t *pack);
static ngx_uint_t ngx_http_penstock_cells_is(ngx_table_elt_t *h,
    const char *name);
static u_char *ngx_http_penstock_cells_put32(u_char *p, uint32_t n);
static uint32_t ngx_http_penstock_cells_get32(const char *p);


/* fields that speak of one answer, not of one put together */

static const char  *ngx_http_penstock_cells_dropped[] = {
    "Cache-Tag",
    "CDN-Cache-Control",
    "Content-Digest",
    "Content-Location",
    "Content-MD5",
    "Digest",
    "ETag",
    "Last-Modified",
    "Link",
    "Pragma",
    "Repr-Digest",
    NULL
};


ngx_int_t
ngx_http_penstock_cells_wrap(ngx_http_penstock_cells_ask_t *ask,
    ps_cell_split_t *split, ngx_str_t *envelope)
{
    char                            *p;
    size_t                           len;
    ngx_str_t                        type;
    ngx_uint_t                       i;
    ps_record_t                      head;
    ngx_pool_t                      *pool;
    ngx_list_part_t                 *part;
    ngx_table_elt_t                 *h;
    ngx_http_request_t              *sr;
    ngx_http_penstock_cells_pack_t   pack;

    pool = ask->ctx.request->pool;
    sr = ask->exchange.request;

    ngx_memzero(&head, sizeof(ps_record_t));
    ngx_memzero(&pack, sizeof(ngx_http_penstock_cells_pack_t));

    head.status = NGX_HTTP_OK;

    pack.before.data = (u_char *) split->before.data;
    pack.before.len = split->before.len;
    pack.behind.data = (u_char *) split->behind.data;
    pack.behind.len = split->behind.len;

    type = sr->headers_out.content_type;

    if (type.len && type.len == sr->headers_out.content_type_len
        && sr->headers_out.charset.len)
    {
        type.len += sizeof("; charset=") - 1 + sr->headers_out.charset.len;

        type.data = ngx_pnalloc(pool, type.len);
        if (type.data == NULL) {
            return NGX_ERROR;
        }

        (void) ngx_sprintf(type.data, "%V; charset=%V",
                           &sr->headers_out.content_type,
                           &sr->headers_out.charset);
    }

    len = 6 + sizeof("Content-Type") - 1 + type.len;

    for (part = &sr->headers_out.headers.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            len += 6 + h[i].key.len + h[i].value.len;
        }
    }

    p = ngx_pnalloc(pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    head.headers = p;

    if (type.len) {
        p = ps_record_put_header(p, "Content-Type",
                                 sizeof("Content-Type") - 1,
                                 (char *) type.data, type.len);
        head.nheaders++;
    }

    for (part = &sr->headers_out.headers.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (ngx_http_penstock_cells_kept(&h[i], &pack)) {
                p = ps_record_put_header(p, (char *) h[i].key.data,
                                         h[i].key.len,
                                         (char *) h[i].value.data,
                                         h[i].value.len);
                head.nheaders++;
            }
        }
    }

    head.body = p;

    return ngx_http_penstock_cells_pack(pool, &head, NULL, &pack, envelope);
}


static ngx_uint_t
ngx_http_penstock_cells_kept(ngx_table_elt_t *h,
    ngx_http_penstock_cells_pack_t *pack)
{
    ngx_uint_t  i;

    if (!ngx_http_penstock_av_kept(h)) {
        return 0;
    }

    if (ngx_http_penstock_cells_is(h, "Cache-Control")
        || ngx_http_penstock_cells_is(h, "Expires"))
    {
        /* said anew with each answer */

        pack->limited = 1;
        return 0;
    }

    for (i = 0; ngx_http_penstock_cells_dropped[i]; i++) {
        if (ngx_http_penstock_cells_is(h,
                                       ngx_http_penstock_cells_dropped[i]))
        {
            return 0;
        }
    }

    return 1;
}


static ngx_uint_t
ngx_http_penstock_cells_is(ngx_table_elt_t *h, const char *name)
{
    return h->key.len == ngx_strlen(name)
           && ngx_strncasecmp(h->key.data, (u_char *) name, h->key.len) == 0;
}


ngx_int_t
ngx_http_penstock_cells_pack(ngx_pool_t *pool, ps_record_t *head,
    ps_tags_t *tags, ngx_http_penstock_cells_pack_t *pack, ngx_str_t *raw)
{
    char         *p;
    u_char       *body;
    size_t        tag_bytes, header_bytes;
    ngx_uint_t    i, n;
    ps_record_t   record;

    n = tags ? tags->n : 0;
    tag_bytes = 0;

    for (i = 0; i < n; i++) {
        tag_bytes += tags->tag[i].len;
    }

    /* the fields as they are in the other record, the lengths included */

    header_bytes = (size_t) (head->body - head->headers)
                   - (size_t) head->nheaders * 6;

    record = *head;

    record.ntags = (uint16_t) n;
    record.body_len = NGX_HTTP_PENSTOCK_CELLS_HEAD + pack->before.len
                      + pack->behind.len + pack->value.len;

    raw->len = ps_record_size(n, tag_bytes, head->nheaders, header_bytes,
                              record.body_len);

    raw->data = ngx_palloc(pool, raw->len);
    if (raw->data == NULL) {
        return NGX_ERROR;
    }

    p = ps_record_put_head((char *) raw->data, &record);

    for (i = 0; i < n; i++) {
        p = ps_record_put_tag(p, &tags->tag[i]);
    }

    body = ngx_http_penstock_cells_copy((u_char *) p, head->headers,
                                        head->body - head->headers);

    body = ngx_http_penstock_cells_put32(body, (uint32_t) pack->before.len);
    body = ngx_http_penstock_cells_put32(body, (uint32_t) pack->behind.len);
    body = ngx_http_penstock_cells_put32(body, pack->limited);

    body = ngx_http_penstock_cells_copy(body, pack->before.data,
                                        pack->before.len);
    body = ngx_http_penstock_cells_copy(body, pack->behind.data,
                                        pack->behind.len);
    (void) ngx_http_penstock_cells_copy(body, pack->value.data,
                                        pack->value.len);

    return NGX_OK;
}


ngx_int_t
ngx_http_penstock_cells_bare(ngx_pool_t *pool, ps_record_t *record,
    ngx_http_penstock_cells_pack_t *pack, ngx_str_t *envelope)
{
    ps_record_t                      head;
    ngx_http_penstock_cells_pack_t   around;

    ngx_memzero(&head, sizeof(ps_record_t));

    head.status = NGX_HTTP_OK;
    head.nheaders = record->nheaders;
    head.headers = record->headers;
    head.body = record->body;

    around = *pack;
    around.value.len = 0;

    return ngx_http_penstock_cells_pack(pool, &head, NULL, &around, envelope);
}


ngx_int_t
ngx_http_penstock_cells_unpack(ngx_str_t *raw, ps_record_t *record,
    ngx_http_penstock_cells_pack_t *pack)
{
    size_t       left;
    const char  *p;

    if (ps_record_parse(record, (char *) raw->data, raw->len) != 0
        || record->body_len < NGX_HTTP_PENSTOCK_CELLS_HEAD)
    {
        return NGX_DECLINED;
    }

    p = record->body;
    left = record->body_len - NGX_HTTP_PENSTOCK_CELLS_HEAD;

    pack->before.len = ngx_http_penstock_cells_get32(p);
    pack->behind.len = ngx_http_penstock_cells_get32(p + 4);
    pack->limited = ngx_http_penstock_cells_get32(p + 8) & 1;

    if (pack->before.len > left || pack->behind.len > left - pack->before.len)
    {
        return NGX_DECLINED;
    }

    p += NGX_HTTP_PENSTOCK_CELLS_HEAD;

    pack->before.data = (u_char *) p;
    pack->behind.data = pack->before.data + pack->before.len;
    pack->value.data = pack->behind.data + pack->behind.len;
    pack->value.len = left - pack->before.len - pack->behind.len;

    return NGX_OK;
}


static u_char *
ngx_http_penstock_cells_put32(u_char *p, uint32_t n)
{
    *p++ = (u_char) n;
    *p++ = (u_char) (n >> 8);
    *p++ = (u_char) (n >> 16);
    *p++ = (u_char) (n >> 24);

    return p;
}


static uint32_t
ngx_http_penstock_cells_get32(const char *p)
{
    const u_char  *u = (const u_char *) p;

    return (uint32_t) u[0] | (uint32_t) u[1] << 8 | (uint32_t) u[2] << 16
           | (uint32_t) u[3] << 24;
}
