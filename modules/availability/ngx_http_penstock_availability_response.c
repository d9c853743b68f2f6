
/*
 * What of an upstream's answer may be stored and for how long (RFC 9111,
 * Sections 3 and 4.2; RFC 5861), and its record.
 */

#include "ngx_http_penstock_availability.h"


#define NGX_HTTP_PENSTOCK_MAX_FRESH  2147483     /* s, so that ms fit */


static ngx_uint_t ngx_http_penstock_av_storable(ngx_uint_t status,
    ngx_http_penstock_av_head_t *head);
static ngx_int_t ngx_http_penstock_av_date(ngx_http_request_t *sr,
    ngx_http_penstock_av_head_t *head);
static uint32_t ngx_http_penstock_av_window(ps_cache_control_t *cc,
    int64_t said, time_t configured);
static time_t ngx_http_penstock_av_fresh(ngx_http_penstock_av_ctx_t *ctx,
    ngx_http_penstock_av_head_t *head);


/* headers of one connection, of one moment, or written anew */

static ngx_str_t  ngx_http_penstock_av_dropped[] = {
    ngx_string("Connection"),
    ngx_string("Keep-Alive"),
    ngx_string("Proxy-Authenticate"),
    ngx_string("Proxy-Authentication-Info"),
    ngx_string("Proxy-Connection"),
    ngx_string("TE"),
    ngx_string("Trailer"),
    ngx_string("Transfer-Encoding"),
    ngx_string("Upgrade"),
    ngx_string("Content-Length"),
    ngx_string("Content-Type"),
    ngx_string("Set-Cookie"),
    ngx_string("Accept-Ranges"),
    ngx_string("Age"),
    ngx_string("Server"),
    ngx_null_string
};


ngx_http_penstock_av_kind_e
ngx_http_penstock_av_judge(ngx_http_penstock_av_ctx_t *ctx,
    ps_record_t *record, ps_tags_t *tags)
{
    time_t                         fresh, age;
    ngx_http_penstock_exchange_t  *x;
    ngx_http_penstock_av_head_t    head;

    x = ctx->exchange;

    if (x->too_large) {
        return NGX_HTTP_PENSTOCK_AV_NO_STORE;
    }

    if (!x->complete) {

        /* a refusal of nginx's own, such as 404 of a missing file */

        if (!x->header && x->status < NGX_HTTP_INTERNAL_SERVER_ERROR) {
            return NGX_HTTP_PENSTOCK_AV_NO_STORE;
        }

        ctx->fail_status = (x->header
                            || x->status < NGX_HTTP_BAD_GATEWAY)
                           ? NGX_HTTP_BAD_GATEWAY : x->status;
        ctx->retry_after = x->retry_after;

        return NGX_HTTP_PENSTOCK_AV_FAILURE;
    }

    ngx_http_penstock_av_read_head(ctx, &head, tags);

    fresh = ngx_http_penstock_av_fresh(ctx, &head);

    /*
     * nginx before 1.23 takes the last length and ignores what is none, so
     * what was read may be half of it (RFC 9112, 6.3: 502)
     */

    if (head.framing) {
        ngx_log_error(NGX_LOG_ERR, ctx->request->connection->log, 0,
                      "upstream sent an invalid Content-Length, or several "
                      "that differ");

        ctx->fail_status = NGX_HTTP_BAD_GATEWAY;

        return NGX_HTTP_PENSTOCK_AV_FAILURE;
    }

    if (x->status >= NGX_HTTP_INTERNAL_SERVER_ERROR
        || x->status == NGX_HTTP_TOO_MANY_REQUESTS)
    {
        ctx->fail_status = x->status;

        /* that limit is ours: not the client's, who would be told of it */

        if (x->status == NGX_HTTP_TOO_MANY_REQUESTS) {
            ctx->fail_status = NGX_HTTP_SERVICE_UNAVAILABLE;

        } else if (x->upstream
                   && !x->request->upstream->conf->intercept_errors)
        {
            ctx->page = 1;

        } else if (x->status < NGX_HTTP_BAD_GATEWAY) {
            ctx->fail_status = NGX_HTTP_BAD_GATEWAY;
        }

        return NGX_HTTP_PENSTOCK_AV_FAILURE;
    }

    age = head.age;

    if (head.date > 0 && ngx_time() - head.date > age) {
        age = ngx_time() - head.date;
    }

    if (!x->header || fresh <= age
        || x->status == NGX_HTTP_PARTIAL_CONTENT
        || x->status == NGX_HTTP_NOT_MODIFIED
        || !ngx_http_penstock_av_storable(x->status, &head)
        || (ctx->credentials && !head.cc.public_ && !head.cc.must_revalidate
            && head.cc.s_maxage == PS_CC_UNSET)
        || tags->overflow)
    {
        return NGX_HTTP_PENSTOCK_AV_NO_STORE;
    }

    if (ngx_http_penstock_av_date(x->request, &head) != NGX_OK) {
        return NGX_HTTP_PENSTOCK_AV_NO_STORE;
    }

    if (head.vary.n) {
        ctx->varies = ngx_palloc(ctx->request->pool, sizeof(ps_vary_t));
        if (ctx->varies == NULL) {
            return NGX_HTTP_PENSTOCK_AV_NO_STORE;
        }

        *ctx->varies = head.vary;
    }

    ngx_memzero(record, sizeof(ps_record_t));

    record->status = (uint16_t) x->status;
    record->clock = ctx->clock;

    if (head.cc.must_revalidate || head.cc.s_maxage != PS_CC_UNSET) {
        record->flags = PS_RECORD_NO_STALE;
    }

    record->created = ngx_http_penstock_av_now() - (uint64_t) age * 1000;
    record->fresh = (uint32_t) fresh * 1000;

    record->while_revalidate = ngx_http_penstock_av_window(&head.cc,
                                   head.cc.stale_while_revalidate,
                                   ctx->conf->while_revalidate);
    record->if_error = ngx_http_penstock_av_window(&head.cc,
                           head.cc.stale_if_error, ctx->conf->if_error);

    return NGX_HTTP_PENSTOCK_AV_STORE;
}


ngx_uint_t
ngx_http_penstock_av_timed_out(ngx_http_penstock_av_ctx_t *ctx)
{
    return !ctx->exchange->header
           && ctx->fail_status == NGX_HTTP_GATEWAY_TIME_OUT;
}


static ngx_uint_t
ngx_http_penstock_av_storable(ngx_uint_t status,
    ngx_http_penstock_av_head_t *head)
{
    if (head->cc.must_understand) {

        /* who understands may store in spite of no-store (RFC 9111,
           Section 5.2.2.3) */

        switch (status) {
        case NGX_HTTP_OK:
        case 203:
        case NGX_HTTP_NO_CONTENT:
        case 300:
        case NGX_HTTP_MOVED_PERMANENTLY:
        case NGX_HTTP_MOVED_TEMPORARILY:
        case NGX_HTTP_SEE_OTHER:
        case NGX_HTTP_TEMPORARY_REDIRECT:
        case NGX_HTTP_PERMANENT_REDIRECT:
        case NGX_HTTP_NOT_FOUND:
        case NGX_HTTP_NOT_ALLOWED:
        case 410:
        case NGX_HTTP_REQUEST_URI_TOO_LARGE:
            break;

        default:
            return 0;
        }

    } else if (head->cc.no_store) {
        return 0;
    }

    /*
     * A fill asks without Accept-Encoding: what is coded all the same is so
     * for everybody, unless the answer says that it depends.
     */

    return !(head->cc.no_cache || head->cc.private_ || head->set_cookie
             || head->vary.any || head->vary.overflow
             || (head->coded && head->vary.coding));
}


/*
 * The time at which the upstream made the answer stays with it, as Expires
 * and Age speak of it; nginx's proxy hides it and says "now".  One that has
 * none is of now (RFC 9110, Section 6.6.1).
 */

static ngx_int_t
ngx_http_penstock_av_date(ngx_http_request_t *sr,
    ngx_http_penstock_av_head_t *head)
{
    ngx_str_t         value;
    static ngx_str_t  name = ngx_string("Date");

    if (sr->headers_out.date) {
        sr->headers_out.date->hash = 0;
    }

    value = head->date_text;

    if (head->date <= 0) {
        value.len = ngx_cached_http_time.len;

        value.data = ngx_pnalloc(sr->pool, value.len);
        if (value.data == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(value.data, ngx_cached_http_time.data, value.len);
    }

    sr->headers_out.date = ngx_http_penstock_add_header(sr, &name, &value);

    return sr->headers_out.date ? NGX_OK : NGX_ERROR;
}


/*
 * ms; what the answer says goes before the directive, which does not go
 * before a word against stale answers (RFC 9111, Section 4.2.4)
 */

static uint32_t
ngx_http_penstock_av_window(ps_cache_control_t *cc, int64_t said,
    time_t configured)
{
    int64_t  sec;

    if (cc->must_revalidate) {
        return 0;
    }

    sec = said;

    if (sec == PS_CC_UNSET) {
        sec = (cc->s_maxage != PS_CC_UNSET) ? 0 : configured;
    }

    return (uint32_t) ngx_min(sec, NGX_HTTP_PENSTOCK_MAX_FRESH) * 1000;
}


/* seconds; X-Accel-Expires first, as in nginx's own caches */

static time_t
ngx_http_penstock_av_fresh(ngx_http_penstock_av_ctx_t *ctx,
    ngx_http_penstock_av_head_t *head)
{
    time_t                         fresh, date;
    ngx_uint_t                     i;
    ngx_http_penstock_av_valid_t  *valid;

    fresh = 0;

    if (head->has_accel) {
        fresh = head->accel;

    } else if (head->cc.s_maxage != PS_CC_UNSET) {
        fresh = (time_t) head->cc.s_maxage;

    } else if (head->cc.max_age != PS_CC_UNSET) {
        fresh = (time_t) head->cc.max_age;

    } else if (head->has_expires) {
        date = head->date > 0 ? head->date : ngx_time();
        fresh = (head->expires == NGX_ERROR) ? 0 : head->expires - date;

    } else if (ctx->revalidated) {

        /* X-Accel-Expires, which is not kept, or the directive's */

        fresh = (time_t) ctx->record.fresh / 1000;

    } else if (ctx->conf->valid) {
        valid = ctx->conf->valid->elts;

        for (i = 0; i < ctx->conf->valid->nelts; i++) {
            if (valid[i].code == 0 || valid[i].code == ctx->exchange->status) {
                fresh = valid[i].sec;
                break;
            }
        }
    }

    if (fresh < 0) {
        return 0;
    }

    return ngx_min(fresh, NGX_HTTP_PENSTOCK_MAX_FRESH);
}


ngx_int_t
ngx_http_penstock_av_serialize(ngx_http_penstock_av_ctx_t *ctx,
    ps_record_t *record, ps_tags_t *tags, ngx_str_t *raw)
{
    char                          *p;
    size_t                         tag_bytes, header_bytes;
    ngx_str_t                      type;
    ngx_uint_t                     i, nheaders;
    ngx_list_part_t               *part;
    ngx_table_elt_t               *h;
    ngx_http_request_t            *sr;
    ngx_http_penstock_exchange_t  *x;

    x = ctx->exchange;
    sr = x->request;

    tag_bytes = 0;
    header_bytes = 0;
    nheaders = 0;

    for (i = 0; i < tags->n; i++) {
        tag_bytes += tags->tag[i].len;
    }

    type = sr->headers_out.content_type;

    if (type.len && type.len == sr->headers_out.content_type_len
        && sr->headers_out.charset.len)
    {
        type.len += sizeof("; charset=") - 1 + sr->headers_out.charset.len;

        type.data = ngx_pnalloc(ctx->request->pool, type.len);
        if (type.data == NULL) {
            return NGX_ERROR;
        }

        (void) ngx_sprintf(type.data, "%V; charset=%V",
                           &sr->headers_out.content_type,
                           &sr->headers_out.charset);
    }

    if (type.len) {
        nheaders++;
        header_bytes += sizeof("Content-Type") - 1 + type.len;
    }

    for (part = &sr->headers_out.headers.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (ngx_http_penstock_av_kept(&h[i])) {
                nheaders++;
                header_bytes += h[i].key.len + h[i].value.len;
            }
        }
    }

    record->ntags = (uint16_t) tags->n;
    record->nheaders = (uint16_t) nheaders;
    record->body_len = x->answer.len;

    raw->len = ps_record_size(tags->n, tag_bytes, nheaders, header_bytes,
                              x->answer.len);

    raw->data = ngx_palloc(ctx->request->pool, raw->len);
    if (raw->data == NULL) {
        return NGX_ERROR;
    }

    p = ps_record_put_head((char *) raw->data, record);

    for (i = 0; i < tags->n; i++) {
        p = ps_record_put_tag(p, &tags->tag[i]);
    }

    if (type.len) {
        p = ps_record_put_header(p, "Content-Type",
                                 sizeof("Content-Type") - 1,
                                 (char *) type.data, type.len);
    }

    for (part = &sr->headers_out.headers.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (ngx_http_penstock_av_kept(&h[i])) {
                p = ps_record_put_header(p, (char *) h[i].key.data,
                                         h[i].key.len,
                                         (char *) h[i].value.data,
                                         h[i].value.len);
            }
        }
    }

    (void) ps_record_put_body(p, (char *) x->answer.data, x->answer.len);

    return NGX_OK;
}


ngx_uint_t
ngx_http_penstock_av_kept(ngx_table_elt_t *h)
{
    ngx_str_t  *name;

    if (h->hash == 0 || h->key.len == 0) {
        return 0;
    }

    for (name = ngx_http_penstock_av_dropped; name->len; name++) {
        if (h->key.len == name->len
            && ngx_strncasecmp(h->key.data, name->data, name->len) == 0)
        {
            return 0;
        }
    }

    return 1;
}
