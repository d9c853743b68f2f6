
/*
 * The exchange.  See the header, and mind what was learned about clones:
 *
 * - r->ctx of a clone is zeroed by redirects, so it is known by its post
 *   subrequest handler;
 * - the body filter must not return NGX_ERROR, which would mark the client's
 *   connection;
 * - a truncated answer ends with NGX_OK and status 200: only last_buf or
 *   last_in_chain says that it is whole;
 * - the done handler may be called twice.
 */

#include "ngx_http_penstock.h"
#include "ngx_http_penstock_exchange.h"
#include "ngx_http_penstock_filter.h"


static ngx_int_t ngx_http_penstock_exchange_request(
    ngx_http_penstock_exchange_t *x, ngx_http_request_t *sr);
static ngx_int_t ngx_http_penstock_exchange_new_body(
    ngx_http_penstock_exchange_t *x, ngx_http_request_t *sr);
static void ngx_http_penstock_exchange_end(ngx_http_request_t *sr);
static ngx_int_t ngx_http_penstock_exchange_done(ngx_http_request_t *sr,
    void *data, ngx_int_t rc);
static ngx_int_t ngx_http_penstock_exchange_refusal(ngx_http_request_t *r,
    ngx_http_penstock_exchange_t *x);
static void ngx_http_penstock_exchange_limit_rate(ngx_http_request_t *r,
    ngx_http_upstream_t *u);
static ngx_int_t ngx_http_penstock_exchange_page(ngx_http_request_t *r,
    ngx_http_penstock_exchange_t *x);


/* what a fill must not ask with: the answer is for everybody */

static ngx_http_penstock_header_t  ngx_http_penstock_exchange_drop[] = {
    { ngx_string("If-Modified-Since"), ngx_null_string },
    { ngx_string("If-Unmodified-Since"), ngx_null_string },
    { ngx_string("If-Match"), ngx_null_string },
    { ngx_string("If-None-Match"), ngx_null_string },
    { ngx_string("If-Range"), ngx_null_string },
    { ngx_string("Range"), ngx_null_string },
    { ngx_string("Accept-Encoding"), ngx_null_string },
    { ngx_string("Expect"), ngx_null_string },
    { ngx_string("Content-Length"), ngx_null_string },
    { ngx_string("Transfer-Encoding"), ngx_null_string }
};

#define NGX_HTTP_PENSTOCK_EXCHANGE_NDROP                                      \
    (sizeof(ngx_http_penstock_exchange_drop)                                  \
     / sizeof(ngx_http_penstock_header_t))


static ngx_str_t  ngx_http_penstock_post_method = ngx_string("POST");


ngx_int_t
ngx_http_penstock_exchange_send(ngx_http_penstock_exchange_t *x)
{
    ngx_str_t           *uri, *args;
    ngx_uint_t           flags;
    ngx_http_request_t  *r, *sr;

    r = x->host;

    x->post.handler = ngx_http_penstock_exchange_done;
    x->post.data = x;
    x->last = &x->chain;

    flags = NGX_HTTP_SUBREQUEST_BACKGROUND;

    if (!x->internal) {
        flags |= NGX_HTTP_SUBREQUEST_CLONE;
    }

    uri = x->internal ? &x->uri : &r->uri;
    args = x->uri.len ? &x->args : &r->args;

    if (ngx_http_subrequest(r, uri, args, &sr, &x->post, flags) != NGX_OK) {
        return NGX_ERROR;
    }

    x->request = sr;

    /* errors are answered by the host, which knows what they mean */

    sr->error_page = 1;

    if (ngx_http_penstock_exchange_request(x, sr) == NGX_OK) {
        return NGX_OK;
    }

    /* it is queued already: it will end at once, untold */

    x->request = NULL;
    sr->write_event_handler = ngx_http_penstock_exchange_end;

    return NGX_ERROR;
}


static ngx_int_t
ngx_http_penstock_exchange_request(ngx_http_penstock_exchange_t *x,
    ngx_http_request_t *sr)
{
    u_char     *p;
    ngx_str_t   server;

    if (x->internal) {

        /* nothing of the client's may reach that server */

        server = sr->headers_in.server;

        ngx_memzero(&sr->headers_in, sizeof(ngx_http_headers_in_t));

        sr->headers_in.server = server;
        sr->headers_in.content_length_n = -1;
        sr->headers_in.keep_alive_n = -1;

        if (ngx_list_init(&sr->headers_in.headers, sr->pool, 4,
                          sizeof(ngx_table_elt_t))
            != NGX_OK)
        {
            return NGX_ERROR;
        }

#if (nginx_version < 1023000)

        if (ngx_array_init(&sr->headers_in.cookies, sr->pool, 1,
                           sizeof(ngx_table_elt_t *))
            != NGX_OK)
        {
            return NGX_ERROR;
        }

#endif

        sr->request_body = NULL;
        sr->method = NGX_HTTP_GET;
        sr->method_name = ngx_http_core_get_method;

    } else {

        if (x->uri.len) {
            sr->unparsed_uri.len = x->uri.len
                                   + (x->args.len ? 1 + x->args.len : 0);

            p = ngx_pnalloc(sr->pool, sr->unparsed_uri.len);
            if (p == NULL) {
                return NGX_ERROR;
            }

            sr->unparsed_uri.data = p;
            p = ngx_cpymem(p, x->uri.data, x->uri.len);

            if (x->args.len) {
                *p++ = '?';
                ngx_memcpy(p, x->args.data, x->args.len);
            }

            sr->valid_unparsed_uri = 1;
        }

        if (ngx_http_penstock_upstream_headers(sr) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (x->get) {
        sr->method = NGX_HTTP_GET;
        sr->method_name = ngx_http_core_get_method;

        sr->headers_in.content_length_n = -1;
        sr->headers_in.chunked = 0;
        sr->request_body = NULL;

        if (ngx_http_penstock_set_headers_in(sr,
                                          ngx_http_penstock_exchange_drop,
                                          NGX_HTTP_PENSTOCK_EXCHANGE_NDROP)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    if (x->replace_body
        && ngx_http_penstock_exchange_new_body(x, sr) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (x->nheaders
        && ngx_http_penstock_set_headers_in(sr, x->headers, x->nheaders)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (x->add
        && ngx_http_penstock_set_headers_in(sr, x->add->elts, x->add->nelts)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (x->write) {

        /* a PUT that has left would be tried again by proxy_next_upstream;
           the name is what is sent */

        sr->method = NGX_HTTP_POST;

    } else if (x->once && sr->method != NGX_HTTP_HEAD) {

        /* likewise; proxy_cache still takes a GET for one */

        sr->method |= NGX_HTTP_LOCK;

    } else if (x->once && sr->content_handler) {

        /* no HEAD for proxy_cache, which would send it as a GET, or else
           store an answer without a body for GETs; files know no LOCK */

        sr->method = NGX_HTTP_LOCK;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_exchange_new_body(ngx_http_penstock_exchange_t *x,
    ngx_http_request_t *sr)
{
    u_char                      *p;
    ngx_buf_t                   *b;
    ngx_chain_t                 *cl;
    ngx_http_penstock_header_t   h[3];

    sr->request_body = ngx_pcalloc(sr->pool, sizeof(ngx_http_request_body_t));
    b = ngx_calloc_buf(sr->pool);
    cl = ngx_alloc_chain_link(sr->pool);
    p = ngx_pnalloc(sr->pool, NGX_OFF_T_LEN);

    if (sr->request_body == NULL || b == NULL || cl == NULL || p == NULL) {
        return NGX_ERROR;
    }

    b->pos = x->body.data;
    b->last = x->body.data + x->body.len;
    b->start = b->pos;
    b->end = b->last;
    b->memory = 1;
    b->last_buf = 1;

    cl->buf = b;
    cl->next = NULL;

    sr->request_body->bufs = cl;
    sr->request_body->buf = b;

    if (!x->get) {
        sr->method = NGX_HTTP_POST;
        sr->method_name = ngx_http_penstock_post_method;
    }

    sr->headers_in.content_length_n = x->body.len;
    sr->headers_in.chunked = 0;

    ngx_str_set(&h[0].name, "Transfer-Encoding");
    ngx_str_null(&h[0].value);

    ngx_str_set(&h[1].name, "Content-Length");
    h[1].value.data = p;
    h[1].value.len = ngx_sprintf(p, "%uz", x->body.len) - p;

    ngx_str_set(&h[2].name, "Content-Type");
    h[2].value = x->content_type;

    return ngx_http_penstock_set_headers_in(sr, h,
                                            x->content_type.len ? 3 : 2);
}


ngx_http_penstock_exchange_t *
ngx_http_penstock_exchange_of(ngx_http_request_t *r)
{
    if (r->post_subrequest == NULL
        || r->post_subrequest->handler != ngx_http_penstock_exchange_done)
    {
        return NULL;
    }

    return r->post_subrequest->data;
}


static void
ngx_http_penstock_exchange_end(ngx_http_request_t *sr)
{
    ngx_http_finalize_request(sr, NGX_OK);
}


static ngx_int_t
ngx_http_penstock_exchange_done(ngx_http_request_t *sr, void *data,
    ngx_int_t rc)
{
    ngx_http_penstock_exchange_t  *x = data;

    if (x->done || sr != x->request) {
        return NGX_OK;
    }

    x->done = 1;

    ngx_http_penstock_keep_delay(x->host);

    if (!x->header) {

        /* no header came: nginx has a status to say, or nothing at all */

        if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
            x->status = rc;

        } else if (rc == NGX_HTTP_CREATED || rc == NGX_HTTP_NO_CONTENT) {
            x->status = rc;
            x->complete = 1;

        } else {
            x->status = NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    if (sr->main->upstream_states == NULL) {
        sr->main->upstream_states = sr->upstream_states;
    }

    /* 1xx is not the answer, and nginx reads on for none */

    if (x->status < NGX_HTTP_OK
        || (x->complete && ngx_http_penstock_exchange_join(x) != NGX_OK))
    {
        x->complete = 0;
    }

    if (x->redirect.len && sr->upstream) {
        x->status = sr->upstream->headers_in.status_n;
    }

    x->intercepted = !x->header && sr->upstream
                     && sr->upstream->headers_in.status_n == x->status;

    x->unsent = !x->header
                && (sr->upstream == NULL || !sr->upstream->request_sent);

    if (ngx_http_penstock_exchange_judge(x) == NGX_AGAIN) {
        return NGX_OK;
    }

    x->handler(x);

    return NGX_OK;
}


ngx_int_t
ngx_http_penstock_exchange_headers(ngx_http_request_t *r,
    ngx_http_penstock_exchange_t *x)
{
    ngx_uint_t        i;
    ngx_list_t        had;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h, *new;

    had = r->headers_out.headers;

    /*
     * The known-header pointers point into the parts of the clone's list,
     * which lives in the same pool: the structure is copied as it is.
     */

    r->headers_out = x->request->headers_out;

    if (r->headers_out.headers.last == &x->request->headers_out.headers.part) {
        r->headers_out.headers.last = &r->headers_out.headers.part;
    }

    if (r->headers_out.trailers.last
        == &x->request->headers_out.trailers.part)
    {
        r->headers_out.trailers.last = &r->headers_out.trailers.part;
    }

    for (part = &had.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            new = ngx_list_push(&r->headers_out.headers);
            if (new == NULL) {
                return NGX_ERROR;
            }

            *new = h[i];
        }
    }

    r->headers_out.content_length = NULL;

    /* the length of what a HEAD would have brought is the upstream's word */

    if (r->headers_out.status == NGX_HTTP_NO_CONTENT) {
        ngx_http_clear_content_length(r);

    } else if (r->method != NGX_HTTP_HEAD || x->get) {
        r->headers_out.content_length_n = x->size;
    }

    ngx_http_penstock_exchange_limit_rate(r, x->request->upstream);

    return NGX_OK;
}


/* the clone's own limit is 0, as what it reads is not buffered */

static void
ngx_http_penstock_exchange_limit_rate(ngx_http_request_t *r,
    ngx_http_upstream_t *u)
{
    ngx_int_t         n;
    ngx_table_elt_t  *h;

    h = u ? u->headers_in.x_accel_limit_rate : NULL;

    if (h == NULL
        || u->conf->ignore_headers & NGX_HTTP_UPSTREAM_IGN_XA_LIMIT_RATE)
    {
        return;
    }

    n = ngx_atoi(h->value.data, h->value.len);

    if (n != NGX_ERROR) {
        r->limit_rate = (size_t) n;
        r->limit_rate_set = 1;
    }
}


ngx_int_t
ngx_http_penstock_exchange_answer(ngx_http_request_t *r,
    ngx_http_penstock_exchange_t *x)
{
    ngx_buf_t    *b;
    ngx_chain_t  *out;

    if (x->refused) {
        return ngx_http_penstock_exchange_refusal(r, x);
    }

    if (x->redirect.len) {
        return ngx_http_penstock_exchange_redirect(r, x);
    }

    /* with a header, "proxy_intercept_errors" had no page for it */

    if (!x->header
        || (!x->upstream && x->status >= NGX_HTTP_SPECIAL_RESPONSE))
    {
        return ngx_http_penstock_exchange_page(r, x);
    }

    if (ngx_http_penstock_exchange_headers(r, x) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (!x->get) {

        /* the upstream has judged If-Match and the like itself */

        r->disable_not_modified = 1;

    } else if (x->status == NGX_HTTP_OK) {

        /* a fill has asked for the whole: the range is cut here */

        ngx_http_clear_accept_ranges(r);
        r->allow_ranges = 1;
    }

    b = ngx_calloc_buf(r->pool);
    out = ngx_alloc_chain_link(r->pool);

    if (b == NULL || out == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (x->file) {
        b->file = &x->file->file;
        b->file_last = x->size;
        b->in_file = 1;

    } else if (x->answer.len) {
        b->pos = x->answer.data;
        b->last = x->answer.data + x->answer.len;
        b->memory = 1;
    }

    b->last_buf = 1;
    b->last_in_chain = 1;

    out->buf = b;
    out->next = NULL;

    return ngx_http_penstock_send(r, out);
}


static ngx_int_t
ngx_http_penstock_exchange_refusal(ngx_http_request_t *r,
    ngx_http_penstock_exchange_t *x)
{
    if (x->retry_after
        && ngx_http_penstock_retry_after(r, x->retry_after) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return x->problem ? ngx_http_penstock_problem(r, x->problem)
                      : (ngx_int_t) x->status;
}


/* a page of nginx's own, and the one header that gives it a meaning */

static ngx_int_t
ngx_http_penstock_exchange_page(ngx_http_request_t *r,
    ngx_http_penstock_exchange_t *x)
{
    ngx_table_elt_t  *h, *location, *challenge;

    location = x->request->headers_out.location;
    challenge = x->request->headers_out.www_authenticate;

    if (x->status == NGX_HTTP_UNAUTHORIZED && challenge) {

        h = ngx_list_push(&r->headers_out.headers);
        if (h == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        *h = *challenge;
        r->headers_out.www_authenticate = h;

    } else if (location && (x->status == NGX_HTTP_CREATED
                            || (x->status >= NGX_HTTP_SPECIAL_RESPONSE
                                && x->status < NGX_HTTP_BAD_REQUEST)))
    {
        ngx_http_clear_location(r);

        h = ngx_list_push(&r->headers_out.headers);
        if (h == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        *h = *location;
        r->headers_out.location = h;
    }

    return x->status;
}


ngx_int_t
ngx_http_penstock_send(ngx_http_request_t *r, ngx_chain_t *out)
{
    ngx_int_t  rc;

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_send_header(r);

    if (rc != NGX_ERROR && rc <= NGX_OK && !r->header_only) {
        rc = ngx_http_output_filter(r, out);
    }

    ngx_http_finalize_request(r, rc);

    return NGX_DONE;
}
