
/*
 * Answers from the cache, with Age (RFC 9111, Section 5.1) and Cache-Status
 * (RFC 9211).  Conditional requests and ranges are left to nginx's filters.
 */

#include "ngx_http_penstock_availability.h"


/* bytes that the field takes at most */

#define NGX_HTTP_PENSTOCK_AV_CACHE_STATUS  96


static ngx_int_t ngx_http_penstock_av_cache_status(
    ngx_http_penstock_av_ctx_t *ctx);


ngx_int_t
ngx_http_penstock_av_answer(ngx_http_penstock_av_ctx_t *ctx)
{
    uint64_t             now;
    ngx_buf_t           *b;
    ngx_uint_t           i;
    ngx_chain_t          out;
    const char          *p;
    ps_record_t         *record;
    ngx_http_request_t  *r;

    r = ctx->request;
    record = &ctx->record;

    r->headers_out.status = record->status;
    r->headers_out.content_length_n = record->body_len;

    p = record->headers;

    for (i = 0; i < record->nheaders; i++) {
        if (ngx_http_penstock_av_header(r, &p) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    now = ngx_http_penstock_av_now();

    if (ngx_http_penstock_av_age(r, now > record->created
                                    ? (now - record->created) / 1000 : 0)
        != NGX_OK
        || ngx_http_penstock_av_cache_status(ctx) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (record->body_len) {
        b->pos = (u_char *) record->body;
        b->last = b->pos + record->body_len;
        b->memory = 1;
    }

    b->last_buf = 1;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    r->allow_ranges = 1;

    /* nginx wants both to match (RFC 9110, Section 13.2.2: the first) */

    if (r->headers_in.if_none_match) {
        r->headers_in.if_modified_since = NULL;
    }

    return ngx_http_penstock_send(r, &out);
}


ngx_int_t
ngx_http_penstock_av_answer_exchange(ngx_http_penstock_av_ctx_t *ctx)
{
    if (ngx_http_penstock_av_cache_status(ctx) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_penstock_exchange_answer(ctx->request, ctx->exchange);
}


ngx_int_t
ngx_http_penstock_av_answer_failure(ngx_http_penstock_av_ctx_t *ctx)
{
    ngx_http_request_t  *r;

    r = ctx->request;

    ctx->status = NGX_HTTP_PENSTOCK_AV_ERROR;

    if (ctx->page) {
        return ngx_http_penstock_av_answer_exchange(ctx);
    }

    if (ctx->asks && ctx->asks->only_if_cached) {

        if (ngx_http_penstock_av_cache_status(ctx) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return ngx_http_penstock_refuse(r, NGX_HTTP_GATEWAY_TIME_OUT,
                   "No stored answer is what the request asks for, and it "
                   "asks for no other.");
    }

    if (ngx_http_penstock_retry_after(r, ctx->retry_after > 0
                                         ? ctx->retry_after : 1)
        != NGX_OK
        || ngx_http_penstock_av_cache_status(ctx) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    switch (ctx->fail_status) {

    case NGX_HTTP_GATEWAY_TIME_OUT:
        return ngx_http_penstock_refuse(r, NGX_HTTP_GATEWAY_TIME_OUT,
                   "Availability could not be read in time.");

    case NGX_HTTP_SERVICE_UNAVAILABLE:
        return ngx_http_penstock_refuse(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                   "Availability can't be read at the moment.");

    case NGX_HTTP_INTERNAL_SERVER_ERROR:
    case NGX_HTTP_NOT_IMPLEMENTED:
        return ngx_http_penstock_refuse(r, ctx->fail_status,
                   "Availability could not be read.");

    default:
        return ngx_http_penstock_refuse(r, NGX_HTTP_BAD_GATEWAY,
                   "Availability could not be read.");
    }
}


ngx_int_t
ngx_http_penstock_av_header(ngx_http_request_t *r, const char **p)
{
    u_char           *last;
    size_t            nlen, vlen;
    ngx_str_t         key, value;
    const char       *name, *text;
    ngx_table_elt_t  *h;

    ps_record_header(p, &name, &nlen, &text, &vlen);

    key.data = (u_char *) name;
    key.len = nlen;
    value.data = (u_char *) text;
    value.len = vlen;

    if (nlen == sizeof("Content-Type") - 1
        && ngx_tolower(key.data[8]) == 't'
        && ngx_strncasecmp(key.data, (u_char *) "Content-Type", nlen) == 0)
    {
        r->headers_out.content_type = value;

        last = ngx_strlchr(value.data, value.data + vlen, ';');

        r->headers_out.content_type_len = last ? (size_t) (last - value.data)
                                               : vlen;
        r->headers_out.content_type_lowcase = NULL;

        return NGX_OK;
    }

    h = ngx_http_penstock_add_header(r, &key, &value);
    if (h == NULL) {
        return NGX_ERROR;
    }

    /* nginx's own filters look for these */

    switch (nlen) {

    case 4:
        switch (ngx_tolower(key.data[0])) {

        case 'd':
            if (ngx_strncasecmp(key.data, (u_char *) "Date", 4) == 0) {
                r->headers_out.date = h;
            }

            break;

        case 'e':
            if (ngx_strncasecmp(key.data, (u_char *) "ETag", 4) == 0) {
                r->headers_out.etag = h;
            }

            break;
        }

        break;

    case 8:
        if (ngx_strncasecmp(key.data, (u_char *) "Location", 8) == 0) {
            r->headers_out.location = h;
        }

        break;

    case 13:
        if (ngx_tolower(key.data[0]) == 'l'
            && ngx_strncasecmp(key.data, (u_char *) "Last-Modified", 13)
               == 0)
        {
            r->headers_out.last_modified = h;
            r->headers_out.last_modified_time =
                                  ngx_parse_http_time(value.data, value.len);
        }

        break;

    case 16:
        if (ngx_strncasecmp(key.data, (u_char *) "Content-Encoding", 16)
            == 0)
        {
            r->headers_out.content_encoding = h;
        }

        break;
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_penstock_av_age(ngx_http_request_t *r, uint64_t age)
{
    ngx_str_t         value;
    static ngx_str_t  name = ngx_string("Age");

    value.data = ngx_pnalloc(r->pool, NGX_INT64_LEN);
    if (value.data == NULL) {
        return NGX_ERROR;
    }

    value.len = ngx_http_penstock_digits(value.data, age) - value.data;

    return ngx_http_penstock_add_header(r, &name, &value) ? NGX_OK
                                                          : NGX_ERROR;
}


static ngx_int_t
ngx_http_penstock_av_cache_status(ngx_http_penstock_av_ctx_t *ctx)
{
    u_char              *p;
    int64_t              ttl;
    ngx_str_t            value;
    ngx_http_request_t  *r;

    static ngx_str_t     name = ngx_string("Cache-Status");

    r = ctx->request;

    p = ngx_pnalloc(r->pool, NGX_HTTP_PENSTOCK_AV_CACHE_STATUS);
    if (p == NULL) {
        return NGX_ERROR;
    }

    value.data = p;

    ttl = 0;

    if (ctx->have) {
        ttl = (int64_t) (ctx->record.created + ctx->record.fresh)
              - (int64_t) ngx_http_penstock_av_now();
        ttl = ttl / 1000;
    }

    switch (ctx->status) {

    case NGX_HTTP_PENSTOCK_AV_HIT:
    case NGX_HTTP_PENSTOCK_AV_UPDATING:
        p = ngx_cpymem(p, "Penstock; hit; ttl=",
                       sizeof("Penstock; hit; ttl=") - 1);

        if (ttl < 0) {
            *p++ = '-';
            ttl = -ttl;
        }

        p = ngx_http_penstock_digits(p, ttl);
        break;

    case NGX_HTTP_PENSTOCK_AV_L2_HIT:
        p = ngx_sprintf(p, "Penstock; hit; ttl=%L; detail=redis", ttl);
        break;

    case NGX_HTTP_PENSTOCK_AV_STALE:
        p = ngx_sprintf(p, "Penstock; fwd=stale; fwd-status=%ui; ttl=%L;"
                           " detail=if-error", ctx->fail_status, ttl);
        break;

    case NGX_HTTP_PENSTOCK_AV_COLLAPSED:
        p = ngx_sprintf(p, "Penstock; fwd=uri-miss; collapsed; ttl=%L", ttl);
        break;

    case NGX_HTTP_PENSTOCK_AV_EXPIRED:
    case NGX_HTTP_PENSTOCK_AV_MISS:
        p = ngx_sprintf(p, "Penstock; fwd=%s; fwd-status=%ui%s",
                        ctx->forced ? "request"
                        : ctx->status != NGX_HTTP_PENSTOCK_AV_MISS ? "stale"
                        : ctx->vary ? "vary-miss" : "uri-miss",
                        ctx->revalidated ? (ngx_uint_t) NGX_HTTP_NOT_MODIFIED
                                         : ctx->exchange->status,
                        ctx->stored ? "; stored" : "");
        break;

    case NGX_HTTP_PENSTOCK_AV_ERROR:

        if (ctx->asks && ctx->asks->only_if_cached) {
            p = ngx_sprintf(p, "Penstock; detail=only-if-cached");
            break;
        }

        p = ngx_sprintf(p, "Penstock; fwd=%s; fwd-status=%ui; detail=error",
                        ctx->have ? "stale" : "uri-miss", ctx->fail_status);
        break;

    default:
        p = ngx_sprintf(p, "Penstock; fwd=bypass");
    }

    value.len = p - value.data;

    return ngx_http_penstock_put_header(r, &name, &value) ? NGX_OK
                                                          : NGX_ERROR;
}
