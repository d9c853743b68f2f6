
/*
 * State of a main request, park and resume, the request body.
 *
 * The state hangs on a pool cleanup: internal redirects zero r->ctx, which
 * serves here only as a shortcut to it.
 */

#include "ngx_http_penstock.h"
#include "ngx_http_penstock_filter.h"


typedef struct {
    ngx_http_request_t  *request;
    void                *state[NGX_HTTP_PENSTOCK_FEATURES];

    ngx_event_t          timer;         /* the deadline of a park */
    ngx_event_t          resume;        /* posted by wake */
    ngx_event_t          delay;         /* posted by keep_delay */

    unsigned             parked:1;
    unsigned             timed_out:1;
    unsigned             body_asked:1;
    unsigned             body_read:1;
} ngx_http_penstock_request_t;


static ngx_http_penstock_request_t *ngx_http_penstock_find_request(
    ngx_http_request_t *r);
static ngx_http_penstock_request_t *ngx_http_penstock_make_request(
    ngx_http_request_t *r);
static void ngx_http_penstock_request_cleanup(void *data);
static void ngx_http_penstock_resume_handler(ngx_event_t *ev);
static void ngx_http_penstock_timeout_handler(ngx_event_t *ev);
static void ngx_http_penstock_delay_handler(ngx_event_t *ev);
static void ngx_http_penstock_body_handler(ngx_http_request_t *r);


void *
ngx_http_penstock_get_state(ngx_http_request_t *r,
    ngx_http_penstock_feature_e feature)
{
    ngx_http_penstock_request_t  *pr;

    pr = ngx_http_penstock_find_request(r->main);

    return (pr == NULL) ? NULL : pr->state[feature];
}


ngx_int_t
ngx_http_penstock_set_state(ngx_http_request_t *r,
    ngx_http_penstock_feature_e feature, void *state)
{
    ngx_http_penstock_request_t  *pr;

    pr = ngx_http_penstock_make_request(r->main);
    if (pr == NULL) {
        return NGX_ERROR;
    }

    pr->state[feature] = state;

    return NGX_OK;
}


static ngx_http_penstock_request_t *
ngx_http_penstock_find_request(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t           *cln;
    ngx_http_penstock_request_t  *pr;

    pr = ngx_http_get_module_ctx(r, ngx_http_penstock_module);
    if (pr) {
        return pr;
    }

    for (cln = r->pool->cleanup; cln; cln = cln->next) {
        if (cln->handler == ngx_http_penstock_request_cleanup) {
            ngx_http_set_ctx(r, cln->data, ngx_http_penstock_module);
            return cln->data;
        }
    }

    return NULL;
}


static ngx_http_penstock_request_t *
ngx_http_penstock_make_request(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t           *cln;
    ngx_http_penstock_request_t  *pr;

    pr = ngx_http_penstock_find_request(r);
    if (pr) {
        return pr;
    }

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_penstock_request_t));
    if (cln == NULL) {
        return NULL;
    }

    pr = cln->data;
    ngx_memzero(pr, sizeof(ngx_http_penstock_request_t));

    pr->request = r;

    /* not cancelable: a reload lets a parked request finish */

    pr->timer.handler = ngx_http_penstock_timeout_handler;
    pr->timer.data = pr;
    pr->timer.log = r->connection->log;

    pr->resume.handler = ngx_http_penstock_resume_handler;
    pr->resume.data = pr;
    pr->resume.log = r->connection->log;

    pr->delay.handler = ngx_http_penstock_delay_handler;
    pr->delay.data = pr;
    pr->delay.log = r->connection->log;

    cln->handler = ngx_http_penstock_request_cleanup;

    ngx_http_set_ctx(r, pr, ngx_http_penstock_module);

    return pr;
}


static void
ngx_http_penstock_request_cleanup(void *data)
{
    ngx_http_penstock_request_t  *pr = data;

    if (pr->timer.timer_set) {
        ngx_del_timer(&pr->timer);
    }

    if (pr->resume.posted) {
        ngx_delete_posted_event(&pr->resume);
    }

    if (pr->delay.posted) {
        ngx_delete_posted_event(&pr->delay);
    }
}


ngx_int_t
ngx_http_penstock_park(ngx_http_request_t *r, ngx_msec_t timeout,
    ngx_uint_t watch)
{
    ngx_connection_t             *c;
    ngx_http_penstock_request_t  *pr;

    pr = ngx_http_penstock_make_request(r);
    if (pr == NULL) {
        return NGX_ERROR;
    }

    c = r->connection;

    pr->parked = 1;
    pr->timed_out = 0;

    if (timeout) {
        ngx_add_timer(&pr->timer, timeout);
    }

    r->write_event_handler = ngx_http_request_empty_handler;

    if (!watch) {
        r->read_event_handler = ngx_http_block_reading;
        return NGX_AGAIN;
    }

    r->read_event_handler = ngx_http_test_reading;

    if (c->read->ready) {
        ngx_post_event(c->read, &ngx_posted_events);

    } else if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    return NGX_AGAIN;
}


void
ngx_http_penstock_unwatch(ngx_http_request_t *r)
{
    ngx_http_penstock_request_t  *pr;

    pr = ngx_http_penstock_find_request(r->main);

    if (pr && pr->parked) {
        r->main->read_event_handler = ngx_http_block_reading;
    }
}


void
ngx_http_penstock_wake(ngx_http_request_t *r)
{
    ngx_http_penstock_request_t  *pr;

    pr = ngx_http_penstock_find_request(r->main);

    if (pr == NULL || !pr->parked) {
        return;
    }

    ngx_post_event(&pr->resume, &ngx_posted_events);
}


ngx_uint_t
ngx_http_penstock_timed_out(ngx_http_request_t *r)
{
    ngx_http_penstock_request_t  *pr;

    pr = ngx_http_penstock_find_request(r->main);

    return pr && pr->timed_out;
}


static void
ngx_http_penstock_timeout_handler(ngx_event_t *ev)
{
    ngx_http_penstock_request_t  *pr = ev->data;

    pr->timed_out = 1;

    ngx_http_penstock_resume_handler(ev);
}


static void
ngx_http_penstock_resume_handler(ngx_event_t *ev)
{
    ngx_http_penstock_request_t  *pr = ev->data;

    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = pr->request;
    c = r->connection;

    if (!pr->parked) {
        return;
    }

    pr->parked = 0;

    if (pr->timer.timer_set) {
        ngx_del_timer(&pr->timer);
    }

    if (pr->resume.posted) {
        ngx_delete_posted_event(&pr->resume);
    }

    ngx_http_set_log_request(c->log, r);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "penstock resume: \"%V\" timed out:%d",
                   &r->uri, pr->timed_out);

    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_core_run_phases;

    ngx_http_core_run_phases(r);

    ngx_http_run_posted_requests(c);
}


void
ngx_http_penstock_keep_delay(ngx_http_request_t *r)
{
    ngx_http_penstock_request_t  *pr;

    if (!r->connection->write->delayed) {
        return;
    }

    pr = ngx_http_penstock_find_request(r->main);

    if (pr) {
        ngx_post_event(&pr->delay, &ngx_posted_events);
    }
}


static void
ngx_http_penstock_delay_handler(ngx_event_t *ev)
{
    ngx_event_t                  *wev;
    ngx_http_penstock_request_t  *pr = ev->data;

    wev = pr->request->connection->write;

    /* what is too early yet for limit_rate will be delayed again */

    if (wev->delayed && !wev->timer_set) {
        ngx_add_timer(wev, 1);
    }
}


ngx_int_t
ngx_http_penstock_read_body(ngx_http_request_t *r)
{
    ngx_int_t                     rc;
    ngx_http_penstock_request_t  *pr;

    pr = ngx_http_penstock_make_request(r);
    if (pr == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (pr->body_read) {
        return NGX_OK;
    }

    if (pr->body_asked) {

        /* it could not be read, and error_page has led here */

        return (r->err_status >= NGX_HTTP_BAD_REQUEST)
               ? r->err_status : NGX_HTTP_BAD_REQUEST;
    }

    pr->body_asked = 1;

    rc = ngx_http_read_client_request_body(r, ngx_http_penstock_body_handler);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return rc;
    }

    ngx_http_finalize_request(r, NGX_DONE);

    return NGX_DONE;
}


static void
ngx_http_penstock_body_handler(ngx_http_request_t *r)
{
    ngx_http_penstock_request_t  *pr;

    pr = ngx_http_penstock_find_request(r);

    if (pr == NULL) {
        ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }

    pr->body_read = 1;

    /* the exchange's proxy would close the temp file */

    r->preserve_body = 1;

    r->write_event_handler = ngx_http_core_run_phases;
    ngx_http_core_run_phases(r);
}


ngx_int_t
ngx_http_penstock_body(ngx_http_request_t *r, size_t max, ngx_str_t *body)
{
    off_t         size;
    u_char       *p;
    ssize_t       n;
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    ngx_str_null(body);

    if (r->request_body == NULL || r->request_body->bufs == NULL) {
        return NGX_OK;
    }

    size = 0;

    for (cl = r->request_body->bufs; cl; cl = cl->next) {
        size += ngx_buf_size(cl->buf);
    }

    if (size > (off_t) max) {
        return NGX_DECLINED;
    }

    cl = r->request_body->bufs;

    if (cl->next == NULL && ngx_buf_in_memory(cl->buf)) {
        body->data = cl->buf->pos;
        body->len = (size_t) size;
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, (size_t) size + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    body->data = p;
    body->len = (size_t) size;

    for ( /* void */ ; cl; cl = cl->next) {
        b = cl->buf;

        if (ngx_buf_in_memory(b)) {
            p = ngx_cpymem(p, b->pos, b->last - b->pos);
            continue;
        }

        if (!b->in_file || b->file_last == b->file_pos) {
            continue;
        }

        n = ngx_read_file(b->file, p, (size_t) (b->file_last - b->file_pos),
                          b->file_pos);

        if (n != (ssize_t) (b->file_last - b->file_pos)) {
            return NGX_ERROR;
        }

        p += n;
    }

    return NGX_OK;
}
