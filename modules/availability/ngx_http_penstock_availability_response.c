
/*
 * What of an upstream's answer may be stored and for how long (RFC 9111,
 * Sections 3 and 4.2; RFC 5861), and its record.
 */

#include "ngx_http_penstock_availability.h"
#include "ps_age.h"
#include "ps_cache_control.h"


#define NGX_HTTP_PENSTOCK_MAX_FRESH  2147483     /* s, so that ms fit */


typedef struct {
    ps_cache_control_t   cc;
    off_t                length;
    time_t               expires;       /* NGX_ERROR: malformed, so past */
    time_t               date;
    time_t               age;
    time_t               accel;
    unsigned             has_expires:1;
    unsigned             has_accel:1;
    unsigned             has_age:1;
    unsigned             vary:1;        /* on more than the coding */
    unsigned             set_cookie:1;
    unsigned             coded:1;
    unsigned             has_length:1;
    unsigned             framing:1;     /* no length, or two that differ */
} ngx_http_penstock_av_head_t;


static uint32_t ngx_http_penstock_av_window(int64_t said, time_t configured);
static void ngx_http_penstock_av_read_head(ngx_http_penstock_av_ctx_t *ctx,
    ngx_http_penstock_av_head_t *head, ps_tags_t *tags);
static void ngx_http_penstock_av_read_header(ngx_http_penstock_av_ctx_t *ctx,
    ngx_http_penstock_av_head_t *head, ps_tags_t *tags, ngx_table_elt_t *h);
static void ngx_http_penstock_av_read_vary(ngx_http_penstock_av_head_t *head,
    ngx_str_t *value);
static void ngx_http_penstock_av_drop_named(ngx_list_t *list,
    ngx_str_t *names);
static time_t ngx_http_penstock_av_fresh(ngx_http_penstock_av_ctx_t *ctx,
    ngx_http_penstock_av_head_t *head);
static ngx_uint_t ngx_http_penstock_av_kept(ngx_table_elt_t *h);


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
    ngx_string("Date"),
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

    x = &ctx->exchange;

    if (x->too_large) {
        return NGX_HTTP_PENSTOCK_AV_NO_STORE;
    }

    if (!x->complete) {

        /* a refusal of nginx's own, such as 404 of a missing file */

        if (!x->header && x->status < NGX_HTTP_INTERNAL_SERVER_ERROR) {
            return NGX_HTTP_PENSTOCK_AV_NO_STORE;
        }

        ctx->fail_status = x->header ? NGX_HTTP_BAD_GATEWAY : x->status;
        ctx->retry_after = x->retry_after;

        return NGX_HTTP_PENSTOCK_AV_FAILURE;
    }

    ngx_memzero(&head, sizeof(ngx_http_penstock_av_head_t));
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
        ctx->fail_status = (x->status == NGX_HTTP_TOO_MANY_REQUESTS)
                           ? NGX_HTTP_SERVICE_UNAVAILABLE : x->status;

        return NGX_HTTP_PENSTOCK_AV_FAILURE;
    }

    age = head.age;

    if (head.date > 0 && ngx_time() - head.date > age) {
        age = ngx_time() - head.date;
    }

    if (!x->header || fresh <= age
        || x->status == NGX_HTTP_PARTIAL_CONTENT
        || x->status == NGX_HTTP_NOT_MODIFIED
        || head.cc.no_store || head.cc.no_cache || head.cc.private_
        || head.vary || head.set_cookie || head.coded || tags->overflow)
    {
        return NGX_HTTP_PENSTOCK_AV_NO_STORE;
    }

    ngx_memzero(record, sizeof(ps_record_t));

    record->status = (uint16_t) x->status;
    record->clock = ctx->clock;
    record->created = ngx_http_penstock_av_now() - (uint64_t) age * 1000;
    record->fresh = (uint32_t) fresh * 1000;

    if (!head.cc.must_revalidate) {
        record->while_revalidate = ngx_http_penstock_av_window(
                                       head.cc.stale_while_revalidate,
                                       ctx->conf->while_revalidate);
        record->if_error = ngx_http_penstock_av_window(
                               head.cc.stale_if_error, ctx->conf->if_error);
    }

    return NGX_HTTP_PENSTOCK_AV_STORE;
}


/* ms; what the answer says goes before the directive */

static uint32_t
ngx_http_penstock_av_window(int64_t said, time_t configured)
{
    int64_t  sec;

    sec = (said != PS_CC_UNSET) ? said : configured;

    return (uint32_t) ngx_min(sec, NGX_HTTP_PENSTOCK_MAX_FRESH) * 1000;
}


/* what the upstream said, before proxy_hide_header */

static void
ngx_http_penstock_av_read_head(ngx_http_penstock_av_ctx_t *ctx,
    ngx_http_penstock_av_head_t *head, ps_tags_t *tags)
{
    ngx_uint_t           i;
    ngx_list_part_t     *part;
    ngx_table_elt_t     *h;
    ngx_http_request_t  *sr;

    ps_cache_control_init(&head->cc);

    sr = ctx->exchange.request;

    part = ctx->exchange.upstream ? &sr->upstream->headers_in.headers.part
                                  : &sr->headers_out.headers.part;

    for ( /* void */ ; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (h[i].hash) {
                ngx_http_penstock_av_read_header(ctx, head, tags, &h[i]);
            }
        }
    }
}


static void
ngx_http_penstock_av_read_header(ngx_http_penstock_av_ctx_t *ctx,
    ngx_http_penstock_av_head_t *head, ps_tags_t *tags, ngx_table_elt_t *h)
{
    off_t      off;
    ngx_int_t  n;

#define ngx_http_penstock_av_is(s)                                            \
    (h->key.len == sizeof(s) - 1                                              \
     && ngx_strncasecmp(h->key.data, (u_char *) s, sizeof(s) - 1) == 0)

    if (ngx_http_penstock_av_is("Cache-Control")) {
        ps_cache_control_parse(&head->cc, (char *) h->value.data,
                               h->value.len);

    } else if (ngx_http_penstock_av_is("Content-Length")) {

        off = ngx_atoof(h->value.data, h->value.len);

        if (off == NGX_ERROR || (head->has_length && off != head->length)) {
            head->framing = 1;
        }

        head->has_length = 1;
        head->length = off;

    } else if (ngx_http_penstock_av_is("Expires")) {
        head->has_expires = 1;
        head->expires = ngx_parse_http_time(h->value.data, h->value.len);

    } else if (ngx_http_penstock_av_is("Date")) {
        head->date = ngx_parse_http_time(h->value.data, h->value.len);

    } else if (ngx_http_penstock_av_is("Age")) {

        /* of two that differ, or don't, neither is known to be ours */

        head->age = head->has_age
                    ? PS_AGE_MAX
                    : (time_t) ps_age_parse((char *) h->value.data,
                                            h->value.len);
        head->has_age = 1;

    } else if (ngx_http_penstock_av_is("X-Accel-Expires")) {
        n = ngx_atoi(h->value.data, h->value.len);

        if (n != NGX_ERROR) {
            head->has_accel = 1;
            head->accel = n;
        }

    } else if (ngx_http_penstock_av_is("Vary")) {
        ngx_http_penstock_av_read_vary(head, &h->value);

    } else if (ngx_http_penstock_av_is("Connection")) {
        ngx_http_penstock_av_drop_named(
                         &ctx->exchange.request->headers_out.headers,
                         &h->value);

    } else if (ngx_http_penstock_av_is("Set-Cookie")) {
        head->set_cookie = 1;

    } else if (ngx_http_penstock_av_is("Content-Encoding")) {
        head->coded = 1;

    } else if (ngx_http_penstock_av_is("Cache-Tag")) {
        ps_tags_list(tags, (char *) h->value.data, h->value.len);

    } else if (ngx_http_penstock_av_is("Retry-After")) {
        n = ngx_atoi(h->value.data, h->value.len);
        ctx->retry_after = (n == NGX_ERROR) ? 0 : n;
    }

#undef ngx_http_penstock_av_is
}


/* a fill asks without Accept-Encoding, so that one alone changes nothing */

static void
ngx_http_penstock_av_read_vary(ngx_http_penstock_av_head_t *head,
    ngx_str_t *value)
{
    u_char  *p, *end, *name;
    size_t   len;

    p = value->data;
    end = p + value->len;

    while (p < end) {

        if (*p == ' ' || *p == '\t' || *p == ',') {
            p++;
            continue;
        }

        name = p;

        while (p < end && *p != ' ' && *p != '\t' && *p != ',') {
            p++;
        }

        len = p - name;

        if (len != sizeof("Accept-Encoding") - 1
            || ngx_strncasecmp(name, (u_char *) "Accept-Encoding", len) != 0)
        {
            head->vary = 1;
        }
    }
}


/* fields of the upstream's connection (RFC 9110, Section 7.6.1) */

static void
ngx_http_penstock_av_drop_named(ngx_list_t *list, ngx_str_t *names)
{
    u_char           *p, *end, *name;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    p = names->data;
    end = p + names->len;

    while (p < end) {

        if (*p == ' ' || *p == '\t' || *p == ',') {
            p++;
            continue;
        }

        name = p;

        while (p < end && *p != ' ' && *p != '\t' && *p != ',') {
            p++;
        }

        for (part = &list->part; part; part = part->next) {
            h = part->elts;

            for (i = 0; i < part->nelts; i++) {
                if (h[i].key.len == (size_t) (p - name)
                    && ngx_strncasecmp(h[i].key.data, name, p - name) == 0)
                {
                    h[i].hash = 0;
                }
            }
        }
    }
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
            if (valid[i].code == 0 || valid[i].code == ctx->exchange.status) {
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

    x = &ctx->exchange;
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


static ngx_uint_t
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
