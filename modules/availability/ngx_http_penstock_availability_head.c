
/*
 * What an upstream says of its answer, before proxy_hide_header takes some
 * of it away.
 */

#include "ngx_http_penstock_availability.h"
#include "ps_age.h"


static void ngx_http_penstock_av_read_header(ngx_http_penstock_av_ctx_t *ctx,
    ngx_http_penstock_av_head_t *head, ps_tags_t *tags, ngx_table_elt_t *h);
static void ngx_http_penstock_av_drop_named(ngx_list_t *list,
    ngx_str_t *names);


void
ngx_http_penstock_av_read_head(ngx_http_penstock_av_ctx_t *ctx,
    ngx_http_penstock_av_head_t *head, ps_tags_t *tags)
{
    ngx_uint_t           i;
    ngx_list_part_t     *part;
    ngx_table_elt_t     *h;
    ngx_http_request_t  *sr;

    ngx_memzero(head, sizeof(ngx_http_penstock_av_head_t));

    ps_cache_control_init(&head->cc);
    ps_targeted_init(&head->targeted);
    ps_vary_init(&head->vary);

    sr = ctx->exchange->request;

    part = ctx->exchange->upstream ? &sr->upstream->headers_in.headers.part
                                  : &sr->headers_out.headers.part;

    for ( /* void */ ; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (h[i].hash) {
                ngx_http_penstock_av_read_header(ctx, head, tags, &h[i]);
            }
        }
    }

    /* RFC 9213, Section 2.2 */

    if (ps_targeted_valid(&head->targeted)) {
        head->cc = head->targeted.cc;
        head->has_expires = 0;
    }
}


void
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

    } else if (ngx_http_penstock_av_is("CDN-Cache-Control")) {
        ps_targeted_parse(&head->targeted, (char *) h->value.data,
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
        head->date_text = h->value;

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
        ps_vary_add(&head->vary, (char *) h->value.data, h->value.len);

    } else if (ngx_http_penstock_av_is("Connection")) {
        ngx_http_penstock_av_drop_named(
                         &ctx->exchange->request->headers_out.headers,
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
