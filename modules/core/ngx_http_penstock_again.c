
/*
 * A request that has gone to its upstream by itself, and goes there again.
 *
 * Nothing of the first answer is passed on: this is asked by the first of all
 * filters.  Between two tries the request is as it was before the first:
 * headers_out is put back, and the phases run from the handler that made the
 * mark.  The content handler makes a new upstream, as it does where
 * error_page leads to the location it came from.
 *
 * A redirect takes the mark away, with the context that it hangs on.
 */

#include "ngx_http_penstock.h"
#include "ngx_http_penstock_filter.h"


struct ngx_http_penstock_mark_s {
    ngx_http_request_t             *request;
    ngx_http_penstock_answered_pt   answered;
    ngx_event_t                     event;

    ngx_int_t                       from;        /* the handler's phase */
    ngx_int_t                       content;
    ngx_http_headers_out_t          headers_out;
    ngx_uint_t                      nheaders;    /* in the last part */
    ngx_uint_t                      ntrailers;

    unsigned                        again:1;     /* on its way */
    unsigned                        repeated:1;
};


static ngx_http_penstock_mark_t *ngx_http_penstock_mark(
    ngx_http_request_t *r);
static void ngx_http_penstock_again_handler(ngx_event_t *ev);
static void ngx_http_penstock_again_cleanup(void *data);
static void ngx_http_penstock_again_cut(ngx_list_t *list,
    ngx_list_part_t *last, ngx_uint_t n);


ngx_int_t
ngx_http_penstock_upstream_mark(ngx_http_request_t *r,
    ngx_http_penstock_answered_pt answered)
{
    ngx_http_penstock_mark_t  *mark;

    mark = ngx_http_penstock_mark(r);
    if (mark == NULL) {
        return NGX_ERROR;
    }

    mark->answered = answered;

    if (mark->again) {

        /* what stands between here and the content has had its turn */

        mark->again = 0;
        r->phase_handler = mark->content - 1;

        return NGX_OK;
    }

    mark->from = r->phase_handler;
    mark->headers_out = r->headers_out;
    mark->nheaders = r->headers_out.headers.last->nelts;
    mark->ntrailers = r->headers_out.trailers.last->nelts;

    return NGX_OK;
}


static ngx_http_penstock_mark_t *
ngx_http_penstock_mark(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t              *cln;
    ngx_http_penstock_mark_t        *mark;
    ngx_http_penstock_filter_ctx_t  *ctx;

    ctx = ngx_http_penstock_filter_ctx(r);
    if (ctx == NULL) {
        return NULL;
    }

    if (ctx->mark) {
        return ctx->mark;
    }

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_penstock_mark_t));
    if (cln == NULL) {
        return NULL;
    }

    mark = cln->data;
    ngx_memzero(mark, sizeof(ngx_http_penstock_mark_t));

    mark->request = r;
    mark->event.handler = ngx_http_penstock_again_handler;
    mark->event.data = mark;
    mark->event.log = r->connection->log;

    cln->handler = ngx_http_penstock_again_cleanup;

    ctx->mark = mark;

    return mark;
}


ngx_int_t
ngx_http_penstock_upstream_again(ngx_http_request_t *r,
    ngx_http_penstock_mark_t *mark)
{
    ngx_http_upstream_t  *u;

    u = r->upstream;

    /* an answer of an upstream that is at work, and not from nginx's cache */

    if (mark->again || u == NULL || u->cleanup == NULL || r->cached
        || u->headers_in.status_n == 0)
    {
        return NGX_OK;
    }

    if (mark->answered(r) != NGX_AGAIN || mark->repeated) {
        return NGX_OK;
    }

    if (r->request_body_no_buffering) {

        /* parts of the body are gone */

        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "the request goes to the upstream once more, "
                  "after status %ui", u->headers_in.status_n);

    mark->again = 1;
    mark->repeated = 1;
    mark->content = r->phase_handler;

    /*
     * The upstream ends with what it is told by this filter, where that is an
     * error or "post_action" is set: NGX_DONE only takes one reference off
     * the request.
     */

    r->main->count++;
    r->post_action = 1;

    ngx_post_event(&mark->event, &ngx_posted_events);

    return NGX_DONE;
}


static void
ngx_http_penstock_again_handler(ngx_event_t *ev)
{
    ngx_connection_t          *c;
    ngx_http_request_t        *r;
    ngx_http_penstock_mark_t  *mark = ev->data;

    r = mark->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    r->post_action = 0;

    /* a list of one part ends inside of the structure, at the same place */

    ngx_http_penstock_again_cut(&r->headers_out.headers,
                                mark->headers_out.headers.last,
                                mark->nheaders);
    ngx_http_penstock_again_cut(&r->headers_out.trailers,
                                mark->headers_out.trailers.last,
                                mark->ntrailers);

    mark->headers_out.headers = r->headers_out.headers;
    mark->headers_out.trailers = r->headers_out.trailers;

    r->headers_out = mark->headers_out;

    r->phase_handler = mark->from;
    r->write_event_handler = ngx_http_core_run_phases;

    ngx_http_core_run_phases(r);

    ngx_http_run_posted_requests(c);
}


static void
ngx_http_penstock_again_cleanup(void *data)
{
    ngx_http_penstock_mark_t *mark = data;

    if (mark->event.posted) {
        ngx_delete_posted_event(&mark->event);
    }
}


/*
 * Takes away what was added to the list behind the first n of the part that
 * was the last one then.
 */

static void
ngx_http_penstock_again_cut(ngx_list_t *list, ngx_list_part_t *last,
    ngx_uint_t n)
{
#if (nginx_version >= 1023000)
    ngx_uint_t        i, from;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    /* headers of one name are linked: nothing may lead to what goes */

    for (part = last, from = n; part; part = part->next, from = 0) {
        h = part->elts;

        for (i = from; i < part->nelts; i++) {
            h[i].hash = 0;
        }
    }
#endif

    last->nelts = n;
    last->next = NULL;
    list->last = last;

#if (nginx_version >= 1023000)

    for (part = &list->part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (h[i].next && h[i].next->hash == 0) {
                h[i].next = NULL;
            }
        }
    }
#endif
}
