
/*
 * The answer of an exchange, as the filters see it: kept in memory, spooled
 * to a file, or given up.
 */

#include "ngx_http_penstock.h"
#include "ngx_http_penstock_exchange.h"
#include "ngx_http_penstock_filter.h"


#define NGX_HTTP_PENSTOCK_EXCHANGE_BLOCK  4096


static ngx_int_t ngx_http_penstock_exchange_append(
    ngx_http_penstock_exchange_t *x, u_char *p, size_t len);
static ngx_int_t ngx_http_penstock_exchange_spool(
    ngx_http_penstock_exchange_t *x, ngx_http_request_t *r, ngx_buf_t *b);
static void ngx_http_penstock_exchange_give_up(
    ngx_http_penstock_exchange_t *x, ngx_http_request_t *r);


ngx_int_t
ngx_http_penstock_exchange_header(ngx_http_penstock_exchange_t *x,
    ngx_http_request_t *r)
{
    off_t                 size;
    ngx_http_upstream_t  *u;

    r->header_sent = 1;
    r->filter_need_in_memory = 1;
    r->allow_ranges = 0;

    if (r->headers_out.status == 0) {

        /* no status line: for nginx an answer in HTTP/0.9, for us none */

        return NGX_ERROR;
    }

    x->header = 1;
    x->status = r->headers_out.status;

    u = r->upstream;

    if (u) {

        /* a buffered clone hangs at "proxy_max_temp_file_size 0" */

        if (!u->cacheable && !u->store) {
            u->buffering = 0;
        }

        x->upstream = (u->headers_in.status_n != 0);
    }

    size = r->headers_out.content_length_n;

    if (size > (off_t) x->max_size && !x->spool) {
        x->too_large = 1;
        return NGX_ERROR;
    }

    if (size > 0 && size <= (off_t) x->max_size) {
        x->buf = ngx_create_temp_buf(r->pool, (size_t) size);
        if (x->buf == NULL) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_penstock_exchange_body(ngx_http_penstock_exchange_t *x,
    ngx_http_request_t *r, ngx_chain_t *in)
{
    off_t        size;
    ngx_buf_t   *b;
    ngx_int_t    rc;

    ngx_http_penstock_keep_delay(x->host);

    for ( /* void */ ; in; in = in->next) {
        b = in->buf;
        size = ngx_buf_size(b);

        if (size > 0 && !x->too_large) {

            if (x->file || x->size + size > (off_t) x->max_size) {
                rc = x->spool ? ngx_http_penstock_exchange_spool(x, r, b)
                              : NGX_DECLINED;

            } else if (ngx_buf_in_memory(b)) {
                rc = ngx_http_penstock_exchange_append(x, b->pos,
                                                       (size_t) size);

            } else {
                rc = NGX_ERROR;
            }

            if (rc != NGX_OK) {
                ngx_http_penstock_exchange_give_up(x, r);
            }

            x->size += size;
        }

        if (b->last_buf || b->last_in_chain) {
            x->complete = !x->too_large;
        }

        b->pos = b->last;
        b->file_pos = b->file_last;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_exchange_append(ngx_http_penstock_exchange_t *x, u_char *p,
    size_t len)
{
    size_t        n, size;
    ngx_pool_t   *pool;
    ngx_chain_t  *cl;

    pool = x->host->pool;

    while (len) {

        if (x->buf == NULL || x->buf->last == x->buf->end) {

            if (x->buf) {
                cl = ngx_alloc_chain_link(pool);
                if (cl == NULL) {
                    return NGX_ERROR;
                }

                cl->buf = x->buf;
                cl->next = NULL;

                *x->last = cl;
                x->last = &cl->next;
            }

            /* doubles, so that a long answer takes few blocks */

            size = ngx_max((size_t) x->size, len);
            size = ngx_max(size, NGX_HTTP_PENSTOCK_EXCHANGE_BLOCK);

            x->buf = ngx_create_temp_buf(pool, size);
            if (x->buf == NULL) {
                return NGX_ERROR;
            }
        }

        n = ngx_min(len, (size_t) (x->buf->end - x->buf->last));

        x->buf->last = ngx_cpymem(x->buf->last, p, n);

        p += n;
        len -= n;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_exchange_spool(ngx_http_penstock_exchange_t *x,
    ngx_http_request_t *r, ngx_buf_t *b)
{
    ssize_t                    n;
    ngx_chain_t                cl, *ll;
    ngx_temp_file_t           *tf;
    ngx_http_core_loc_conf_t  *clcf;

    if (x->file == NULL) {
        clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

        tf = ngx_pcalloc(r->pool, sizeof(ngx_temp_file_t));
        if (tf == NULL) {
            return NGX_ERROR;
        }

        tf->file.fd = NGX_INVALID_FILE;
        tf->file.log = r->connection->log;
        tf->path = clcf->client_body_temp_path;
        tf->pool = r->pool;

        x->file = tf;

        /* what is in memory goes first */

        if (x->buf) {
            ll = ngx_alloc_chain_link(r->pool);
            if (ll == NULL) {
                return NGX_ERROR;
            }

            ll->buf = x->buf;
            ll->next = NULL;

            *x->last = ll;
            x->last = &ll->next;
        }

        if (x->chain) {
            n = ngx_write_chain_to_temp_file(tf, x->chain);
            if (n == NGX_ERROR) {
                return NGX_ERROR;
            }

            tf->offset += n;
        }

        x->chain = NULL;
        x->buf = NULL;
    }

    cl.buf = b;
    cl.next = NULL;

    n = ngx_write_chain_to_temp_file(x->file, &cl);
    if (n == NGX_ERROR) {
        return NGX_ERROR;
    }

    x->file->offset += n;

    return NGX_OK;
}


static void
ngx_http_penstock_exchange_give_up(ngx_http_penstock_exchange_t *x,
    ngx_http_request_t *r)
{
    x->too_large = 1;
    x->chain = NULL;
    x->buf = NULL;

    /* end the clone now instead of reading all that is still to come */

    if (r->upstream && !r->upstream->buffering) {
        r->upstream->keepalive = 0;
        r->upstream->length = 0;
    }
}


ngx_int_t
ngx_http_penstock_exchange_join(ngx_http_penstock_exchange_t *x)
{
    u_char       *p;
    ngx_chain_t  *cl;

    if (x->file || x->buf == NULL) {
        return NGX_OK;
    }

    if (x->chain == NULL) {
        x->answer.data = x->buf->pos;
        x->answer.len = x->buf->last - x->buf->pos;
        return NGX_OK;
    }

    p = ngx_pnalloc(x->host->pool, (size_t) x->size);
    if (p == NULL) {
        return NGX_ERROR;
    }

    x->answer.data = p;
    x->answer.len = (size_t) x->size;

    for (cl = x->chain; cl; cl = cl->next) {
        p = ngx_cpymem(p, cl->buf->pos, cl->buf->last - cl->buf->pos);
    }

    ngx_memcpy(p, x->buf->pos, x->buf->last - x->buf->pos);

    return NGX_OK;
}
