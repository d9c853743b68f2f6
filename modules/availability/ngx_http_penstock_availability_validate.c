
/*
 * Validation (RFC 9111, Section 4.3): a record that has run out is asked for
 * with its validators, and a 304 makes it fresh again.
 *
 * What a 304 brings is completed by what is held, in the exchange itself, so
 * that all that follows sees one whole answer.
 */

#include "ngx_http_penstock_availability.h"


static ngx_uint_t ngx_http_penstock_av_of_body(ngx_str_t *name);
static void ngx_http_penstock_av_drop_of_body(ngx_list_t *list);
static ngx_uint_t ngx_http_penstock_av_named(ngx_list_t *list,
    ngx_str_t *name);


/*
 * Fields that speak of the body that is held, and the validator that was
 * asked with: a 304 has none, so whatever it says of them is not of ours
 * (RFC 9111, Section 3.2).
 */

static ngx_str_t  ngx_http_penstock_av_body_fields[] = {
    ngx_string("Content-Encoding"),
    ngx_string("Content-Length"),
    ngx_string("Content-MD5"),
    ngx_string("Content-Range"),
    ngx_string("ETag"),
    ngx_null_string
};


ngx_int_t
ngx_http_penstock_av_conditions(ngx_http_penstock_av_ctx_t *ctx)
{
    ngx_str_t                      name, value;
    ngx_uint_t                     i;
    const char                    *p, *key, *text;
    ngx_http_penstock_header_t    *h;
    ngx_http_penstock_exchange_t  *x;

    x = ctx->exchange;

    /* one that was invalidated is known to be old: the whole is asked for */

    if (!ctx->have || !ctx->valid || ctx->record.status != NGX_HTTP_OK) {
        return NGX_OK;
    }

    h = NULL;
    p = ctx->record.headers;

    for (i = 0; i < ctx->record.nheaders; i++) {

        ps_record_header(&p, &key, &name.len, &text, &value.len);

        name.data = (u_char *) key;
        value.data = (u_char *) text;

        if (name.len == sizeof("ETag") - 1
            && ngx_strncasecmp(name.data, (u_char *) "ETag", 4) == 0)
        {
            ngx_str_set(&name, "If-None-Match");

        } else if (name.len == sizeof("Last-Modified") - 1
                   && ngx_strncasecmp(name.data, (u_char *) "Last-Modified",
                                      sizeof("Last-Modified") - 1)
                      == 0)
        {
            ngx_str_set(&name, "If-Modified-Since");

        } else {
            continue;
        }

        if (h == NULL) {
            h = ngx_palloc(ctx->request->pool,
                           2 * sizeof(ngx_http_penstock_header_t));
            if (h == NULL) {
                return NGX_ERROR;
            }
        }

        if (x->nheaders == 2) {
            break;
        }

        h[x->nheaders].name = name;
        h[x->nheaders].value = value;
        x->nheaders++;
    }

    x->headers = h;

    return NGX_OK;
}


ngx_int_t
ngx_http_penstock_av_freshen(ngx_http_penstock_av_ctx_t *ctx,
    ps_tags_t *tags)
{
    ps_tag_t                       tag;
    ngx_str_t                      name, value;
    ngx_uint_t                     i;
    ngx_list_t                    *in;
    const char                    *p, *next, *key, *text;
    ps_record_t                   *record;
    ngx_table_elt_t               *h;
    ngx_http_request_t            *sr;
    ngx_http_penstock_exchange_t  *x;

    x = ctx->exchange;
    sr = x->request;
    record = &ctx->record;

    if (x->nheaders == 0 || !x->complete || !x->upstream
        || x->status != NGX_HTTP_NOT_MODIFIED)
    {
        return NGX_DECLINED;
    }

    in = &sr->upstream->headers_in.headers;

    ngx_http_penstock_av_drop_of_body(in);
    ngx_http_penstock_av_drop_of_body(&sr->headers_out.headers);

    p = record->tags;

    for (i = 0; i < record->ntags; i++) {
        ps_record_tag(&p, &tag);
        ps_tags_add(tags, tag.name, tag.len);
    }

    p = record->headers;

    for (i = 0; i < record->nheaders; i++) {

        next = p;

        ps_record_header(&next, &key, &name.len, &text, &value.len);

        name.data = (u_char *) key;
        value.data = (u_char *) text;

        /*
         * A field of several lines: our own of that name don't count.  The
         * time of the answer before is not that of the 304.
         */

        if (!ngx_http_penstock_av_named(in, &name)
            && !(name.len == sizeof("Date") - 1
                 && ngx_strncasecmp(name.data, (u_char *) "Date",
                                    sizeof("Date") - 1)
                    == 0))
        {

            h = ngx_list_push(in);
            if (h == NULL) {
                return NGX_ERROR;
            }

            ngx_memzero(h, sizeof(ngx_table_elt_t));
            h->hash = 2;
            h->key = name;
            h->value = value;

            if (ngx_http_penstock_av_header(sr, &p) != NGX_OK) {
                return NGX_ERROR;
            }
        }

        p = next;
    }

    x->status = record->status;
    x->answer.data = (u_char *) record->body;
    x->answer.len = record->body_len;
    x->size = record->body_len;

    sr->headers_out.status = record->status;
    ngx_str_null(&sr->headers_out.status_line);

    ctx->revalidated = 1;

    return NGX_OK;
}


static void
ngx_http_penstock_av_drop_of_body(ngx_list_t *list)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    for (part = &list->part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (ngx_http_penstock_av_of_body(&h[i].key)) {
                h[i].hash = 0;
            }
        }
    }
}


static ngx_uint_t
ngx_http_penstock_av_of_body(ngx_str_t *name)
{
    ngx_str_t  *f;

    for (f = ngx_http_penstock_av_body_fields; f->len; f++) {
        if (name->len == f->len
            && ngx_strncasecmp(name->data, f->data, f->len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


/* whether the 304 has a field of that name; ours are marked by their hash */

static ngx_uint_t
ngx_http_penstock_av_named(ngx_list_t *list, ngx_str_t *name)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    for (part = &list->part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (h[i].hash && h[i].hash != 2 && h[i].key.len == name->len
                && ngx_strncasecmp(h[i].key.data, name->data, name->len) == 0)
            {
                return 1;
            }
        }
    }

    return 0;
}
