
/*
 * Core's two filters: they swallow the answer of an exchange, or the one
 * after which a request goes to the upstream once more, and put a problem
 * document in the place of nginx's own error page.  And the two phases at
 * which the clone of an exchange that a redirect has led elsewhere ends:
 * server rewrite for a URI, before anything is rewritten, and preaccess for a
 * named location, which starts behind the former.
 *
 * A module of its own, since filters must stand behind nginx's while core
 * stands before the access module.  The last one's handlers are the first.
 */

#include "ngx_http_penstock.h"
#include "ngx_http_penstock_filter.h"


static ngx_int_t ngx_http_penstock_header_filter(ngx_http_request_t *r);
static ngx_int_t ngx_http_penstock_body_filter(ngx_http_request_t *r,
    ngx_chain_t *in);
static ngx_int_t ngx_http_penstock_clone_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_penstock_filter_init(ngx_conf_t *cf);


static ngx_http_module_t  ngx_http_penstock_filter_module_ctx = {
    NULL,                                  /* preconfiguration */
    ngx_http_penstock_filter_init,         /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_penstock_filter_module = {
    NGX_MODULE_V1,
    &ngx_http_penstock_filter_module_ctx,  /* module context */
    NULL,                                  /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;
static ngx_http_output_body_filter_pt    ngx_http_next_body_filter;


ngx_http_penstock_filter_ctx_t *
ngx_http_penstock_filter_ctx(ngx_http_request_t *r)
{
    ngx_http_penstock_filter_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_penstock_filter_module);

    if (ctx == NULL) {
        ctx = ngx_pcalloc(r->pool, sizeof(ngx_http_penstock_filter_ctx_t));
        if (ctx == NULL) {
            return NULL;
        }

        ngx_http_set_ctx(r, ctx, ngx_http_penstock_filter_module);
    }

    return ctx;
}


static ngx_int_t
ngx_http_penstock_header_filter(ngx_http_request_t *r)
{
    ngx_int_t                        rc;
    ngx_http_penstock_exchange_t    *x;
    ngx_http_penstock_filter_ctx_t  *ctx;

    if (r != r->main) {
        x = ngx_http_penstock_exchange_of(r);

        if (x) {
            return ngx_http_penstock_exchange_header(x, r);
        }

        return ngx_http_next_header_filter(r);
    }

    /* a redirect by error_page has taken the context away */

    ctx = ngx_http_get_module_ctx(r, ngx_http_penstock_filter_module);

    if (ctx && ctx->mark) {
        rc = ngx_http_penstock_upstream_again(r, ctx->mark);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    /* a page that makes good for a refusal asks nobody to come again */

    if (r->error_page && r->headers_out.status < NGX_HTTP_SPECIAL_RESPONSE) {
        ngx_http_penstock_no_retry(r);
    }

    if (ctx && ctx->problem
        && ctx->problem->status == r->headers_out.status
        && ngx_http_penstock_problem_answer(r, ctx->problem, &ctx->body)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_next_header_filter(r);
}


static ngx_int_t
ngx_http_penstock_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_chain_t                      out;
    ngx_http_penstock_exchange_t    *x;
    ngx_http_penstock_filter_ctx_t  *ctx;

    if (r != r->main) {
        x = ngx_http_penstock_exchange_of(r);

        if (x) {
            return ngx_http_penstock_exchange_body(x, r, in);
        }

        return ngx_http_next_body_filter(r, in);
    }

    ctx = ngx_http_get_module_ctx(r, ngx_http_penstock_filter_module);

    if (ctx == NULL || ctx->body == NULL) {
        return ngx_http_next_body_filter(r, in);
    }

    /* the built-in page, which is dropped */

    for ( /* void */ ; in; in = in->next) {
        in->buf->pos = in->buf->last;
        in->buf->file_pos = in->buf->file_last;
    }

    if (ctx->sent) {
        return ngx_http_next_body_filter(r, NULL);
    }

    ctx->sent = 1;

    out.buf = ctx->body;
    out.next = NULL;

    return ngx_http_next_body_filter(r, &out);
}


/* a clone starts behind these phases, so it is here by a redirect only */

static ngx_int_t
ngx_http_penstock_clone_handler(ngx_http_request_t *r)
{
    ngx_http_penstock_exchange_t  *x;

    if (r == r->main) {
        return NGX_DECLINED;
    }

    x = ngx_http_penstock_exchange_of(r);

    if (x == NULL || x->internal) {
        return NGX_DECLINED;
    }

    return ngx_http_penstock_exchange_led(x, r);
}


static ngx_int_t
ngx_http_penstock_filter_init(ngx_conf_t *cf)
{
    if (ngx_http_penstock_phase_handler(cf, NGX_HTTP_SERVER_REWRITE_PHASE,
                                        ngx_http_penstock_clone_handler)
        != NGX_OK
        || ngx_http_penstock_phase_handler(cf, NGX_HTTP_PREACCESS_PHASE,
                                           ngx_http_penstock_clone_handler)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_penstock_header_filter;

    ngx_http_next_body_filter = ngx_http_top_body_filter;
    ngx_http_top_body_filter = ngx_http_penstock_body_filter;

    return NGX_OK;
}
