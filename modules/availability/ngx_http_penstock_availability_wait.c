
/*
 * Followers: requests that wait for another's fill.
 *
 * A fill that ends in this worker wakes them at once.  For fills of other
 * workers one counter in shared memory is read by a 5 ms timer that runs only
 * while somebody waits here; it needs nothing from reloads, and every 100 ms
 * it lets the followers look whether their leader's worker still lives.
 */

#include "ngx_http_penstock_availability.h"


#define NGX_HTTP_PENSTOCK_WAIT_TICK   5       /* ms */
#define NGX_HTTP_PENSTOCK_WAIT_TICKS  20      /* between looks at the pid */


static void ngx_http_penstock_av_wait_handler(ngx_event_t *ev);


void
ngx_http_penstock_av_wait_init(ngx_http_penstock_av_zone_t *zone,
    ngx_log_t *log)
{
    ngx_queue_init(&zone->waiting);

    zone->timer.handler = ngx_http_penstock_av_wait_handler;
    zone->timer.data = zone;
    zone->timer.log = log;
}


ngx_int_t
ngx_http_penstock_av_wait(ngx_http_penstock_av_ctx_t *ctx)
{
    ngx_http_penstock_av_zone_t  *zone;

    zone = ctx->zone;

    if (ctx->waiting) {
        return NGX_OK;
    }

    ngx_queue_insert_tail(&zone->waiting, &ctx->queue);
    ctx->waiting = 1;

    if (!zone->timer.timer_set) {

        /* what ended between our look and now shows as a change */

        ngx_add_timer(&zone->timer, NGX_HTTP_PENSTOCK_WAIT_TICK);
    }

    return NGX_OK;
}


void
ngx_http_penstock_av_leave(ngx_http_penstock_av_ctx_t *ctx)
{
    if (ctx->waiting) {
        ngx_queue_remove(&ctx->queue);
        ctx->waiting = 0;
    }
}


void
ngx_http_penstock_av_wake(ngx_http_penstock_av_zone_t *zone)
{
    ngx_queue_t                 *q;
    ngx_http_penstock_av_ctx_t  *ctx;

    for (q = ngx_queue_head(&zone->waiting);
         q != ngx_queue_sentinel(&zone->waiting);
         q = ngx_queue_next(q))
    {
        ctx = ngx_queue_data(q, ngx_http_penstock_av_ctx_t, queue);

        ngx_http_penstock_wake(ctx->request);
    }
}


static void
ngx_http_penstock_av_wait_handler(ngx_event_t *ev)
{
    ngx_atomic_uint_t             wake;
    ngx_http_penstock_av_zone_t  *zone = ev->data;

    if (ngx_queue_empty(&zone->waiting)) {
        return;
    }

    wake = ngx_http_penstock_av_tag_table(zone)->wake;

    if (wake != zone->seen
        || ++zone->ticks % NGX_HTTP_PENSTOCK_WAIT_TICKS == 0)
    {
        zone->seen = wake;
        ngx_http_penstock_av_wake(zone);
    }

    ngx_add_timer(ev, NGX_HTTP_PENSTOCK_WAIT_TICK);
}
