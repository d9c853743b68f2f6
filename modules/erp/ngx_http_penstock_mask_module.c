
/*
 * Response masking: takes fields out of JSON answers that the caller may not
 * see.
 *
 * The header waits until the body is whole and masked: what can't be masked
 * (no JSON, encoded, cut off, too large) is not sent at all, 502 is.  In
 * PRECONTENT the request loses what would make the server or nginx answer
 * with less than the whole: validators, ranges and codings.
 */

#include "ngx_http_penstock_mask.h"
#include "ngx_http_penstock_exchange.h"


static ngx_int_t ngx_http_penstock_mask_handler(ngx_http_request_t *r);

static ngx_int_t ngx_http_penstock_mask_header_filter(ngx_http_request_t *r);
static ngx_int_t ngx_http_penstock_mask_inner(ngx_http_request_t *r);
static ngx_uint_t ngx_http_penstock_mask_own_page(ngx_http_request_t *r);

static ngx_int_t ngx_http_penstock_mask_body_filter(ngx_http_request_t *r,
    ngx_chain_t *in);
static ngx_int_t ngx_http_penstock_mask_send(ngx_http_request_t *r,
    ngx_http_penstock_mask_ctx_t *ctx);
static ngx_int_t ngx_http_penstock_mask_fail(ngx_http_request_t *r,
    ngx_http_penstock_mask_ctx_t *ctx, const char *reason);

static void *ngx_http_penstock_mask_create_main_conf(ngx_conf_t *cf);
static void *ngx_http_penstock_mask_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_penstock_mask_merge_loc_conf(ngx_conf_t *cf,
    void *parent, void *child);
static ngx_int_t ngx_http_penstock_mask_init(ngx_conf_t *cf);


static ngx_conf_post_t  ngx_http_penstock_mask_size_post = {
    ngx_http_penstock_mask_size
};


static ngx_command_t  ngx_http_penstock_mask_commands[] = {

    { ngx_string("response_mask"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_penstock_mask_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("response_mask_max_size"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_penstock_mask_loc_conf_t, max_size),
      &ngx_http_penstock_mask_size_post },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_penstock_mask_module_ctx = {
    NULL,                                  /* preconfiguration */
    ngx_http_penstock_mask_init,           /* postconfiguration */

    ngx_http_penstock_mask_create_main_conf,
                                           /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_penstock_mask_create_loc_conf,
                                           /* create location configuration */
    ngx_http_penstock_mask_merge_loc_conf  /* merge location configuration */
};


ngx_module_t  ngx_http_penstock_mask_module = {
    NGX_MODULE_V1,
    &ngx_http_penstock_mask_module_ctx,    /* module context */
    ngx_http_penstock_mask_commands,       /* module directives */
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


/* what would bring less than the whole answer, or one that can't be read */

static ngx_http_penstock_header_t  ngx_http_penstock_mask_drop[] = {
    { ngx_string("If-None-Match"), ngx_null_string },
    { ngx_string("If-Modified-Since"), ngx_null_string },
    { ngx_string("If-Range"), ngx_null_string },
    { ngx_string("Range"), ngx_null_string },
    { ngx_string("Accept-Encoding"), ngx_null_string }
};


static ngx_int_t
ngx_http_penstock_mask_handler(ngx_http_request_t *r)
{
    ngx_table_elt_t                    *accept;
    ngx_http_penstock_mask_loc_conf_t  *mlcf;

    if (r != r->main) {

        /* of what is kept in memory the filters may see nothing */

        return (r->subrequest_in_memory
                && ngx_http_penstock_mask_inner(r) != NGX_OK)
               ? NGX_HTTP_BAD_GATEWAY : NGX_DECLINED;
    }

    mlcf = ngx_http_get_module_loc_conf(r, ngx_http_penstock_mask_module);

    if (mlcf->rules == NULL || !ngx_http_penstock_mask_any(r, mlcf)) {
        return NGX_DECLINED;
    }

    /* nginx's own validation comes before the filter */

    r->disable_not_modified = 1;

#if (NGX_HTTP_GZIP || NGX_HTTP_HEADERS)
    accept = r->headers_in.accept_encoding;
#endif

    if (ngx_http_penstock_set_headers_in(r, ngx_http_penstock_mask_drop,
                                    sizeof(ngx_http_penstock_mask_drop)
                                    / sizeof(ngx_http_penstock_header_t))
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

#if (NGX_HTTP_GZIP || NGX_HTTP_HEADERS)

    /* for nginx's gzip, which comes behind the mask */

    r->headers_in.accept_encoding = accept;

#endif

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_penstock_mask_header_filter(ngx_http_request_t *r)
{
    off_t                               size;
    ngx_http_penstock_mask_ctx_t       *ctx;
    ngx_http_penstock_mask_loc_conf_t  *mlcf;

    if (r != r->main) {
        return ngx_http_penstock_mask_inner(r) == NGX_OK
               ? ngx_http_next_header_filter(r) : NGX_HTTP_BAD_GATEWAY;
    }

    mlcf = ngx_http_get_module_loc_conf(r, ngx_http_penstock_mask_module);

    /* one that was held back gives way to this one */

    ngx_http_set_ctx(r, NULL, ngx_http_penstock_mask_module);

    if (mlcf->rules == NULL || !ngx_http_penstock_mask_any(r, mlcf)) {
        return ngx_http_next_header_filter(r);
    }

    size = r->headers_out.content_length_n;

    ngx_http_penstock_mask_clear(r);

    if (r->header_only || r->method == NGX_HTTP_HEAD
        || r->headers_out.status == NGX_HTTP_NO_CONTENT)
    {
        ngx_http_clear_content_length(r);
        return ngx_http_next_header_filter(r);
    }

    if (size == 0
        && r->headers_out.status != NGX_HTTP_NOT_MODIFIED
        && r->headers_out.status != NGX_HTTP_PARTIAL_CONTENT)
    {
        return ngx_http_next_header_filter(r);
    }

    if (!ngx_http_penstock_json_type(&r->headers_out.content_type)
        && ngx_http_penstock_mask_own_page(r))
    {
        return ngx_http_next_header_filter(r);
    }

    ctx = ngx_pcalloc(r->pool, sizeof(ngx_http_penstock_mask_ctx_t));
    if (ctx == NULL) {
        return NGX_ERROR;
    }

    ctx->conf = mlcf;

    ngx_http_set_ctx(r, ctx, ngx_http_penstock_mask_module);

    if (r->headers_out.status == NGX_HTTP_NOT_MODIFIED
        || r->headers_out.status == NGX_HTTP_PARTIAL_CONTENT
        || r->headers_out.status < NGX_HTTP_OK)
    {
        return ngx_http_penstock_mask_fail(r, ctx,
                                           "it is not the whole of it");
    }

    if (!ngx_http_penstock_json_type(&r->headers_out.content_type)) {

        if (r->headers_out.status >= NGX_HTTP_SPECIAL_RESPONSE
            && r->headers_out.status < NGX_HTTP_BAD_REQUEST)
        {
            /* a redirect says all in its header */

            ctx->state = NGX_HTTP_PENSTOCK_MASK_DONE;

            ctx->body = ngx_calloc_buf(r->pool);
            if (ctx->body == NULL) {
                return NGX_ERROR;
            }

            ctx->body->last_buf = 1;
            ctx->body->last_in_chain = 1;

            ngx_http_clear_content_length(r);
            r->headers_out.content_length_n = 0;
            r->headers_out.content_type.len = 0;

            return ngx_http_next_header_filter(r);
        }

        return ngx_http_penstock_mask_fail(r, ctx, "it is not JSON");
    }

    if (r->headers_out.content_encoding
        && r->headers_out.content_encoding->value.len
        && !(r->headers_out.content_encoding->value.len
                 == sizeof("identity") - 1
             && ngx_strncasecmp(r->headers_out.content_encoding->value.data,
                                (u_char *) "identity", sizeof("identity") - 1)
                == 0))
    {
        return ngx_http_penstock_mask_fail(r, ctx, "it is encoded");
    }

    if (size > (off_t) mlcf->max_size) {
        return ngx_http_penstock_mask_fail(r, ctx,
                               "it is larger than \"response_mask_max_size\"");
    }

    if (size > 0) {
        ctx->body = ngx_create_temp_buf(r->pool, (size_t) size);
        if (ctx->body == NULL) {
            return NGX_ERROR;
        }
    }

    r->filter_need_in_memory = 1;

    return NGX_OK;
}


/*
 * What a subrequest brings becomes a part of another answer, unmasked.  Those
 * of an exchange are masked when the host sends them; a mirror's and an
 * auth_request's are not sent.
 */

static ngx_int_t
ngx_http_penstock_mask_inner(ngx_http_request_t *r)
{
    ngx_http_penstock_mask_loc_conf_t   *mlcf;
    ngx_http_penstock_mask_main_conf_t  *mmcf;

    mlcf = ngx_http_get_module_loc_conf(r, ngx_http_penstock_mask_module);

    if (mlcf->rules == NULL || r->header_only || r->method == NGX_HTTP_HEAD
        || ngx_http_penstock_exchange_of(r)
        || !ngx_http_penstock_mask_any(r, mlcf))
    {
        return NGX_OK;
    }

    if (!ngx_http_penstock_json_type(&r->headers_out.content_type)
        && ngx_http_penstock_mask_own_page(r))
    {
        return NGX_OK;
    }

    mmcf = ngx_http_get_module_main_conf(r, ngx_http_penstock_mask_module);

    ngx_http_penstock_count(mmcf->failed, 1);

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "\"response_mask\" can't be applied to a subrequest, the "
                  "answer to \"%V\" is not sent", &r->uri);

    return NGX_DECLINED;
}


/*
 * A page for an error or a redirect that nginx makes itself or takes from a
 * file: an upstream's answer has not been finalized when its header is here.
 */

static ngx_uint_t
ngx_http_penstock_mask_own_page(ngx_http_request_t *r)
{
    return r->err_status
           && (r->upstream == NULL || r->upstream->cleanup == NULL);
}


static ngx_int_t
ngx_http_penstock_mask_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_int_t                      rc;
    ngx_buf_t                     *b;
    ngx_uint_t                     last, cut;
    ngx_chain_t                    out;
    const char                    *reason;
    ngx_http_penstock_mask_ctx_t  *ctx;

    ctx = (r == r->main)
          ? ngx_http_get_module_ctx(r, ngx_http_penstock_mask_module) : NULL;

    /* what comes behind the last is of "add_after_body" */

    if (ctx == NULL || ctx->state == NGX_HTTP_PENSTOCK_MASK_SENT) {
        return ngx_http_next_body_filter(r, in);
    }

    last = 0;
    cut = 0;
    reason = NULL;

    for ( /* void */ ; in; in = in->next) {
        b = in->buf;

        if (ctx->state == NGX_HTTP_PENSTOCK_MASK_READ && reason == NULL
            && ngx_buf_size(b) > 0)
        {
            if (!ngx_buf_in_memory(b)) {
                reason = "it is not in memory";

            } else if ((size_t) (b->last - b->pos)
                           + (ctx->body ? ctx->body->last - ctx->body->pos : 0)
                       > ctx->conf->max_size)
            {
                reason = "it is larger than \"response_mask_max_size\"";

            } else if (ngx_http_penstock_mask_append(r, ctx, b->pos,
                                                     b->last - b->pos)
                       != NGX_OK)
            {
                return NGX_ERROR;
            }
        }

        last |= b->last_buf;
        cut |= b->flush;

        b->pos = b->last;
        b->file_pos = b->file_last;
    }

    if (ctx->state == NGX_HTTP_PENSTOCK_MASK_READ) {

        if (reason == NULL && !last && cut && r->upstream
            && r->upstream->cleanup == NULL)
        {
            reason = "it did not come whole";
        }

        if (reason == NULL && !last) {
            return NGX_OK;
        }

        rc = reason ? ngx_http_penstock_mask_fail(r, ctx, reason)
                    : ngx_http_penstock_mask_send(r, ctx);

        if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
            return rc;
        }
    }

    if (ctx->body == NULL) {
        return ngx_http_next_body_filter(r, NULL);
    }

    out.buf = ctx->body;
    out.next = NULL;

    ctx->body = NULL;

    return ngx_http_next_body_filter(r, &out);
}


static ngx_int_t
ngx_http_penstock_mask_send(ngx_http_request_t *r,
    ngx_http_penstock_mask_ctx_t *ctx)
{
    ngx_int_t    rc;
    ngx_buf_t   *b;
    const char  *reason;

    rc = ngx_http_penstock_mask_apply(r, ctx, &reason);

    if (rc != NGX_OK) {
        return rc == NGX_DECLINED ? ngx_http_penstock_mask_fail(r, ctx, reason)
                                  : NGX_ERROR;
    }

    b = ctx->body;
    b->last_buf = 1;
    b->last_in_chain = 1;

    ctx->state = NGX_HTTP_PENSTOCK_MASK_SENT;

    ngx_http_clear_content_length(r);
    r->headers_out.content_length_n = b->last - b->pos;

    return ngx_http_next_header_filter(r);
}


/*
 * Nothing of the answer goes out, its headers neither; the document follows
 * by the body filter.
 */

static ngx_int_t
ngx_http_penstock_mask_fail(ngx_http_request_t *r,
    ngx_http_penstock_mask_ctx_t *ctx, const char *reason)
{
    ngx_http_penstock_problem_t          problem;
    ngx_http_penstock_mask_main_conf_t  *mmcf;

    mmcf = ngx_http_get_module_main_conf(r, ngx_http_penstock_mask_module);

    ngx_http_penstock_count(mmcf->failed, 1);

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "an answer with status %ui can't be masked and is not "
                  "sent: %s", r->headers_out.status, reason);

    ngx_memzero(&problem, sizeof(ngx_http_penstock_problem_t));

    problem.status = NGX_HTTP_BAD_GATEWAY;
    ngx_str_set(&problem.detail, "The server's answer can't be shown.");

    ngx_http_clean_header(r);

    /* the list's memory may be an exchange's too */

    if (ngx_list_init(&r->headers_out.headers, r->pool, 8,
                      sizeof(ngx_table_elt_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    r->headers_out.status = NGX_HTTP_BAD_GATEWAY;
    r->allow_ranges = 0;

    ctx->state = NGX_HTTP_PENSTOCK_MASK_DONE;

    if (ngx_http_penstock_problem_answer(r, &problem, &ctx->body) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_next_header_filter(r);
}


static void *
ngx_http_penstock_mask_create_main_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_penstock_mask_main_conf_t));
}


static void *
ngx_http_penstock_mask_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_penstock_mask_loc_conf_t  *mlcf;

    mlcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_penstock_mask_loc_conf_t));
    if (mlcf == NULL) {
        return NULL;
    }

    mlcf->enabled = NGX_CONF_UNSET;
    mlcf->max_size = NGX_CONF_UNSET_SIZE;

    return mlcf;
}


static char *
ngx_http_penstock_mask_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child)
{
    ngx_http_penstock_mask_loc_conf_t  *prev = parent;
    ngx_http_penstock_mask_loc_conf_t  *conf = child;

    if (conf->enabled == NGX_CONF_UNSET) {
        conf->rules = prev->rules;
        conf->masks = prev->masks;
    }

    ngx_conf_merge_value(conf->enabled, prev->enabled, 0);
    ngx_conf_merge_size_value(conf->max_size, prev->max_size, 1024 * 1024);

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_penstock_mask_init(ngx_conf_t *cf)
{
    ngx_http_penstock_mask_main_conf_t  *mmcf;

    mmcf = ngx_http_conf_get_module_main_conf(cf,
                                              ngx_http_penstock_mask_module);

    if (!mmcf->used) {
        return NGX_OK;
    }

    mmcf->masked = ngx_http_penstock_counter(cf,
                       "penstock_masked_responses_total",
                       "Answers in which something was masked.", NULL);
    mmcf->failed = ngx_http_penstock_counter(cf,
                       "penstock_mask_failures_total",
                       "Answers not sent, as they can't be masked.", NULL);

    if (mmcf->masked == NGX_ERROR || mmcf->failed == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (ngx_http_penstock_phase_handler(cf, NGX_HTTP_PRECONTENT_PHASE,
                                        ngx_http_penstock_mask_handler)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_penstock_mask_header_filter;

    ngx_http_next_body_filter = ngx_http_top_body_filter;
    ngx_http_top_body_filter = ngx_http_penstock_mask_body_filter;

    return NGX_OK;
}
