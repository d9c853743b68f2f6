
/*
 * The gates before an upstream: each exchange passes them on its way there,
 * and the answer comes back through them.
 *
 * An exchange that waits holds its host by a count, since the host may have
 * been answered already (a fill in the background).  Whatever ends a host in
 * the middle, what the gates hold is given back by a cleanup of its pool.
 */

#include "ngx_http_penstock.h"
#include "ngx_http_penstock_exchange.h"
#include "ngx_http_penstock_filter.h"


static ngx_int_t ngx_http_penstock_gate_guard(
    ngx_http_penstock_exchange_t *x);
static ngx_int_t ngx_http_penstock_gate_enter(
    ngx_http_penstock_exchange_t *x);
static void ngx_http_penstock_gate_leave(ngx_http_penstock_exchange_t *x);
static ngx_http_penstock_gate_t **ngx_http_penstock_gates(
    ngx_http_penstock_exchange_t *x, ngx_uint_t *n);
static void ngx_http_penstock_gate_hold(ngx_http_penstock_exchange_t *x);
static void ngx_http_penstock_gate_handler(ngx_event_t *ev);
static void ngx_http_penstock_gate_cleanup(void *data);


ngx_int_t
ngx_http_penstock_exchange_gate(ngx_conf_t *cf,
    ngx_http_penstock_gate_t *gate)
{
    ngx_http_penstock_gate_t       **g;
    ngx_http_penstock_main_conf_t   *pmcf;

    pmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_penstock_module);

    if (pmcf->gates.nelts == NGX_HTTP_PENSTOCK_GATES) {
        return NGX_ERROR;
    }

    g = ngx_array_push(&pmcf->gates);
    if (g == NULL) {
        return NGX_ERROR;
    }

    *g = gate;

    return NGX_OK;
}


ngx_int_t
ngx_http_penstock_exchange_start(ngx_http_penstock_exchange_t *x)
{
    ngx_int_t   rc;
    ngx_uint_t  n;

    (void) ngx_http_penstock_gates(x, &n);

    if (n == 0) {
        return ngx_http_penstock_exchange_send(x);
    }

    if (ngx_http_penstock_gate_guard(x) != NGX_OK) {
        return NGX_ERROR;
    }

    x->event.handler = ngx_http_penstock_gate_handler;
    x->event.data = x;
    x->event.log = x->host->connection->log;

    rc = ngx_http_penstock_gate_enter(x);

    if (rc == NGX_OK) {
        rc = ngx_http_penstock_exchange_send(x);

        if (rc != NGX_OK) {
            ngx_http_penstock_gate_leave(x);
        }

        return rc;
    }

    ngx_http_penstock_gate_hold(x);

    if (rc != NGX_AGAIN) {

        /* the caller expects its handler later */

        ngx_post_event(&x->event, &ngx_posted_events);
    }

    return NGX_OK;
}


void
ngx_http_penstock_exchange_early(ngx_http_penstock_exchange_t *x)
{
    ngx_uint_t                  i, n;
    ngx_http_penstock_gate_t  **gate;

    gate = ngx_http_penstock_gates(x, &n);

    if (n == 0 || ngx_http_penstock_gate_guard(x) != NGX_OK) {
        return;
    }

    for (i = 0; i < n; i++) {

        if (gate[i]->early && gate[i]->early(x, &x->gate[i]) != NGX_OK) {
            return;
        }
    }
}


void
ngx_http_penstock_exchange_cancel(ngx_http_penstock_exchange_t *x)
{
    if (x->guarded && x->request == NULL && !x->held) {
        ngx_http_penstock_gate_leave(x);
    }
}


ngx_uint_t
ngx_http_penstock_exchange_idle(ngx_http_penstock_exchange_t *x)
{
    return x->held && x->idle;
}


void
ngx_http_penstock_exchange_continue(ngx_http_penstock_exchange_t *x)
{
    if (x->held) {
        ngx_post_event(&x->event, &ngx_posted_events);
    }
}


ngx_int_t
ngx_http_penstock_exchange_judge(ngx_http_penstock_exchange_t *x)
{
    ngx_uint_t                  i, n;
    ngx_http_penstock_gate_t  **gate;

    gate = ngx_http_penstock_gates(x, &n);

    for (i = n; i > 0; i--) {

        if (gate[i - 1]->answered == NULL
            || gate[i - 1]->answered(x, &x->gate[i - 1]) != NGX_AGAIN
            || x->again)
        {
            continue;
        }

        ngx_http_penstock_gate_leave(x);

        x->add = NULL;
        x->again = 1;
        x->done = 0;

        x->request = NULL;
        x->status = 0;
        x->file = NULL;
        x->size = 0;
        x->buf = NULL;
        x->chain = NULL;
        x->complete = 0;
        x->too_large = 0;
        x->upstream = 0;
        x->header = 0;
        x->intercepted = 0;
        x->unsent = 0;
        ngx_str_null(&x->redirect);
        ngx_str_null(&x->answer);

        ngx_http_penstock_gate_hold(x);
        ngx_post_event(&x->event, &ngx_posted_events);

        return NGX_AGAIN;
    }

    ngx_http_penstock_gate_leave(x);

    return NGX_OK;
}


/* whatever ends the host, the gates get back what is theirs */

static ngx_int_t
ngx_http_penstock_gate_guard(ngx_http_penstock_exchange_t *x)
{
    ngx_pool_cleanup_t  *cln;

    if (x->guarded) {
        return NGX_OK;
    }

    cln = ngx_pool_cleanup_add(x->host->pool, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    cln->handler = ngx_http_penstock_gate_cleanup;
    cln->data = x;

    x->guarded = 1;

    return NGX_OK;
}


/* NGX_OK, NGX_AGAIN; NGX_DECLINED: refused, and x says with what */

static ngx_int_t
ngx_http_penstock_gate_enter(ngx_http_penstock_exchange_t *x)
{
    ngx_int_t                   rc;
    ngx_uint_t                  n;
    ngx_http_penstock_gate_t  **gate;

    gate = ngx_http_penstock_gates(x, &n);

    x->idle = 0;

    for ( /* void */ ; x->at < n; x->at++) {

        if (gate[x->at]->enter == NULL) {
            continue;
        }

        rc = gate[x->at]->enter(x, &x->gate[x->at]);

        if (rc == NGX_OK) {
            continue;
        }

        if (rc == NGX_AGAIN) {
            return NGX_AGAIN;
        }

        x->status = (rc == NGX_ERROR) ? NGX_HTTP_INTERNAL_SERVER_ERROR
                                      : (ngx_uint_t) rc;
        x->refused = 1;
        x->unsent = 1;

        return NGX_DECLINED;
    }

    return NGX_OK;
}


static void
ngx_http_penstock_gate_leave(ngx_http_penstock_exchange_t *x)
{
    ngx_uint_t                  i, n;
    ngx_http_penstock_gate_t  **gate;

    gate = ngx_http_penstock_gates(x, &n);

    for (i = n; i > 0; i--) {

        if (x->gate[i - 1] == NULL) {
            continue;
        }

        if (gate[i - 1]->leave) {
            gate[i - 1]->leave(x, &x->gate[i - 1]);
        }

        x->gate[i - 1] = NULL;
    }

    x->at = 0;
}


static ngx_http_penstock_gate_t **
ngx_http_penstock_gates(ngx_http_penstock_exchange_t *x, ngx_uint_t *n)
{
    ngx_http_penstock_main_conf_t  *pmcf;

    pmcf = ngx_http_get_module_main_conf(x->host, ngx_http_penstock_module);

    *n = (x->internal && !x->gated) ? 0 : pmcf->gates.nelts;

    return pmcf->gates.elts;
}


static void
ngx_http_penstock_gate_hold(ngx_http_penstock_exchange_t *x)
{
    x->host->main->count++;
    x->held = 1;
}


static void
ngx_http_penstock_gate_handler(ngx_event_t *ev)
{
    ngx_int_t                      rc;
    ngx_connection_t              *c;
    ngx_http_request_t            *r;
    ngx_http_penstock_exchange_t  *x = ev->data;

    r = x->host;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    rc = NGX_DECLINED;

    if (!x->refused) {
        rc = ngx_http_penstock_gate_enter(x);

        if (rc == NGX_AGAIN) {

            if (x->idle) {

                /* to be parked in the other way */

                ngx_http_penstock_wake(r);
            }

            /* a gate may have started a subrequest of its own */

            ngx_http_run_posted_requests(c);
            return;
        }
    }

    /* a gate that let it in at once may have said to go on, too: once is
       enough, as a second time would send it again */

    x->held = 0;

    if (x->event.posted) {
        ngx_delete_posted_event(&x->event);
    }

    if (rc == NGX_OK) {

        /* from here on it is under way, whether or not its client stays */

        ngx_http_penstock_unwatch(r);

        if (ngx_http_penstock_exchange_send(x) != NGX_OK) {
            x->status = NGX_HTTP_INTERNAL_SERVER_ERROR;
            x->refused = 1;
            x->unsent = 1;
        }
    }

    if (x->refused) {
        x->done = 1;

        ngx_http_penstock_gate_leave(x);

        x->handler(x);
    }

    ngx_http_finalize_request(r, NGX_DONE);

    ngx_http_run_posted_requests(c);
}


static void
ngx_http_penstock_gate_cleanup(void *data)
{
    ngx_http_penstock_exchange_t  *x = data;

    if (x->event.posted) {
        ngx_delete_posted_event(&x->event);
    }

    ngx_http_penstock_gate_leave(x);
}
