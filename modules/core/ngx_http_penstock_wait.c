
/*
 * Followers: requests that wait for what another request does.
 *
 * What ends in this worker wakes them at once.  For other workers one counter
 * in shared memory is read by a 5 ms timer that runs only while somebody
 * waits here; it needs nothing from reloads, and every 100 ms it lets the
 * followers look whether their leader's worker still lives.
 */

#include "ngx_http_penstock.h"
#include "ngx_http_penstock_exchange.h"


#define NGX_HTTP_PENSTOCK_WAIT_TICK   5       /* ms */
#define NGX_HTTP_PENSTOCK_WAIT_TICKS  20      /* between looks at the pid */


static void ngx_http_penstock_wait_handler(ngx_event_t *ev);


void
ngx_http_penstock_wait_init(ngx_http_penstock_wait_t *wait,
    ngx_http_penstock_wait_pt ended, void *data, ngx_log_t *log)
{
    ngx_queue_init(&wait->waiting);

    wait->ended = ended;
    wait->data = data;

    wait->timer.handler = ngx_http_penstock_wait_handler;
    wait->timer.data = wait;
    wait->timer.log = log;
}


void
ngx_http_penstock_wait_join(ngx_http_penstock_wait_t *wait,
    ngx_http_penstock_waiter_t *waiter, ngx_http_request_t *r)
{
    if (waiter->waiting) {
        return;
    }

    waiter->request = r;
    waiter->waiting = 1;
    ngx_queue_insert_tail(&wait->waiting, &waiter->queue);

    if (!wait->timer.timer_set) {

        /* what ended between our look and now shows as a change */

        ngx_add_timer(&wait->timer, NGX_HTTP_PENSTOCK_WAIT_TICK);
    }
}


void
ngx_http_penstock_wait_leave(ngx_http_penstock_waiter_t *waiter)
{
    if (waiter->waiting) {
        ngx_queue_remove(&waiter->queue);
        waiter->waiting = 0;
    }
}


void
ngx_http_penstock_wait_wake(ngx_http_penstock_wait_t *wait)
{
    ngx_queue_t                 *q;
    ngx_http_penstock_waiter_t  *waiter;

    for (q = ngx_queue_head(&wait->waiting);
         q != ngx_queue_sentinel(&wait->waiting);
         q = ngx_queue_next(q))
    {
        waiter = ngx_queue_data(q, ngx_http_penstock_waiter_t, queue);

        if (waiter->exchange) {
            ngx_http_penstock_exchange_continue(waiter->exchange);

        } else {
            ngx_http_penstock_wake(waiter->request);
        }
    }
}


static void
ngx_http_penstock_wait_handler(ngx_event_t *ev)
{
    ngx_atomic_uint_t          ended;
    ngx_http_penstock_wait_t  *wait = ev->data;

    if (ngx_queue_empty(&wait->waiting)) {
        return;
    }

    ended = *wait->ended(wait->data);

    if (ended != wait->seen
        || ++wait->ticks % NGX_HTTP_PENSTOCK_WAIT_TICKS == 0)
    {
        wait->seen = ended;
        ngx_http_penstock_wait_wake(wait);
    }

    ngx_add_timer(ev, NGX_HTTP_PENSTOCK_WAIT_TICK);
}
