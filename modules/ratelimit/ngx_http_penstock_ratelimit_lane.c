
/*
 * A worker's way to one Redis for questions of exact limits: those of one
 * turn of the event loop go together, in one script call.
 *
 * While a call is out, what comes waits for its answer, but no longer than a
 * millisecond, and only until a call is full.  So a Redis that is busy gets
 * fewer and larger calls, and one that isn't keeps nobody waiting.  In a
 * cluster nothing waits so, and only keys of one slot go together.
 */

#include "ngx_http_penstock_ratelimit_lane.h"


#define NGX_HTTP_PENSTOCK_RATELIMIT_BATCH_WAIT  1   /* ms */


static ngx_http_penstock_ratelimit_batch_t *
    ngx_http_penstock_ratelimit_batch(
    ngx_http_penstock_ratelimit_lane_t *lane, ngx_int_t slot, ngx_uint_t n);
static void ngx_http_penstock_ratelimit_lane_flush(ngx_event_t *ev);
static void ngx_http_penstock_ratelimit_batch_send(
    ngx_http_penstock_ratelimit_batch_t *batch);
static void ngx_http_penstock_ratelimit_batch_handler(
    ngx_http_penstock_redis_call_t *call, redisReply *reply);
static void ngx_http_penstock_ratelimit_batch_end(
    ngx_http_penstock_ratelimit_batch_t *batch, ngx_uint_t answered);


/* zones of one Redis share it, so that a request's question is one */

ngx_http_penstock_ratelimit_lane_t *
ngx_http_penstock_ratelimit_lane(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis)
{
    ngx_uint_t                                i;
    ngx_http_penstock_ratelimit_lane_t       *lane;
    ngx_http_penstock_ratelimit_zone_t      **zone;
    ngx_http_penstock_ratelimit_main_conf_t  *rmcf;

    rmcf = ngx_http_conf_get_module_main_conf(cf,
                                          ngx_http_penstock_ratelimit_module);
    zone = rmcf->zones.elts;

    for (i = 0; i < rmcf->zones.nelts; i++) {
        if (zone[i]->redis == redis) {
            return zone[i]->lane;
        }
    }

    lane = ngx_pcalloc(cf->pool, sizeof(ngx_http_penstock_ratelimit_lane_t));
    if (lane == NULL) {
        return NULL;
    }

    lane->redis = redis;

    return lane;
}


ngx_int_t
ngx_http_penstock_ratelimit_lane_put(ngx_http_penstock_ratelimit_lane_t *lane,
    ngx_http_penstock_ratelimit_ask_t *ask)
{
    ngx_int_t                             slot;
    ngx_http_penstock_ratelimit_place_t  *place;
    ngx_http_penstock_ratelimit_batch_t  *batch;

    if (!lane->ready) {
        ngx_queue_init(&lane->waiting);

        lane->flush.handler = ngx_http_penstock_ratelimit_lane_flush;
        lane->flush.data = lane;
        lane->flush.log = ngx_cycle->log;

        lane->timer = lane->flush;

        lane->ready = 1;
    }

    slot = ngx_http_penstock_redis_slot(ask->redis, ask->question[0].name);

    batch = ngx_http_penstock_ratelimit_batch(lane, slot, ask->n);
    if (batch == NULL) {
        return NGX_ERROR;
    }

    ask->batch = batch;
    ask->place = batch->nplaces;

    place = &batch->place[batch->nplaces++];
    place->ask = ask;
    place->n = ask->n;

    batch->nlimits += ask->n;
    batch->asks++;

    if (batch->nlimits >= NGX_HTTP_PENSTOCK_RATELIMIT_BATCH) {
        batch->full = 1;
    }

    if (lane->sent == 0 || batch->full || slot != NGX_ERROR) {

        if (!lane->flush.posted) {
            ngx_post_event(&lane->flush, &ngx_posted_events);
        }

    } else if (!lane->timer.timer_set) {
        ngx_add_timer(&lane->timer, NGX_HTTP_PENSTOCK_RATELIMIT_BATCH_WAIT);
    }

    return NGX_OK;
}


/* the batch for "n" limits more; behind all others, so that order is kept */

static ngx_http_penstock_ratelimit_batch_t *
ngx_http_penstock_ratelimit_batch(ngx_http_penstock_ratelimit_lane_t *lane,
    ngx_int_t slot, ngx_uint_t n)
{
    ngx_queue_t                          *q;
    ngx_http_penstock_ratelimit_batch_t  *batch;

    for (q = ngx_queue_last(&lane->waiting);
         q != ngx_queue_sentinel(&lane->waiting);
         q = ngx_queue_prev(q))
    {
        batch = ngx_queue_data(q, ngx_http_penstock_ratelimit_batch_t, queue);

        if (batch->slot != slot) {
            continue;
        }

        if (batch->full
            || batch->nlimits + n > NGX_HTTP_PENSTOCK_RATELIMIT_BATCH)
        {
            batch->full = 1;
            break;
        }

        return batch;
    }

    batch = ngx_alloc(sizeof(ngx_http_penstock_ratelimit_batch_t),
                      ngx_cycle->log);
    if (batch == NULL) {
        return NULL;
    }

    ngx_memzero(&batch->call, sizeof(ngx_http_penstock_redis_call_t));

    batch->call.handler = ngx_http_penstock_ratelimit_batch_handler;
    batch->call.data = batch;

    batch->lane = lane;
    batch->since = ngx_current_msec;
    batch->slot = slot;
    batch->nplaces = 0;
    batch->nlimits = 0;
    batch->asks = 0;
    batch->full = 0;
    batch->out = 0;

    ngx_queue_insert_tail(&lane->waiting, &batch->queue);

    return batch;
}


void
ngx_http_penstock_ratelimit_lane_drop(ngx_http_penstock_ratelimit_ask_t *ask)
{
    ngx_http_penstock_ratelimit_batch_t  *batch;

    batch = ask->batch;

    batch->place[ask->place].ask = NULL;
    ask->batch = NULL;

    if (--batch->asks == 0 && batch->out) {
        ngx_http_penstock_redis_cancel(&batch->call);

        batch->lane->sent--;
        ngx_free(batch);
    }
}


/* sends what need not wait; the event is "flush" or "timer" */

static void
ngx_http_penstock_ratelimit_lane_flush(ngx_event_t *ev)
{
    ngx_queue_t                          *q;
    ngx_http_penstock_ratelimit_lane_t   *lane = ev->data;
    ngx_http_penstock_ratelimit_batch_t  *batch;

    while (!ngx_queue_empty(&lane->waiting)) {
        q = ngx_queue_head(&lane->waiting);
        batch = ngx_queue_data(q, ngx_http_penstock_ratelimit_batch_t, queue);

        if (lane->sent && !batch->full && batch->slot == NGX_ERROR
            && ngx_current_msec - batch->since
               < NGX_HTTP_PENSTOCK_RATELIMIT_BATCH_WAIT)
        {
            if (!lane->timer.timer_set) {
                ngx_add_timer(&lane->timer,
                              NGX_HTTP_PENSTOCK_RATELIMIT_BATCH_WAIT);
            }

            return;
        }

        ngx_queue_remove(q);

        ngx_http_penstock_ratelimit_batch_send(batch);
    }
}


static void
ngx_http_penstock_ratelimit_batch_send(
    ngx_http_penstock_ratelimit_batch_t *batch)
{
    ngx_uint_t                            i, n;
    ngx_http_penstock_ratelimit_place_t  *place;

    /* who left is not asked for */

    n = 0;
    batch->nlimits = 0;

    for (i = 0; i < batch->nplaces; i++) {
        place = &batch->place[i];

        if (place->ask) {
            place->ask->place = n;
            batch->place[n++] = *place;
            batch->nlimits += place->n;
        }
    }

    batch->nplaces = n;

    if (n == 0) {
        ngx_free(batch);
        return;
    }

    if (ngx_http_penstock_ratelimit_batch_eval(batch) != NGX_OK) {
        ngx_http_penstock_ratelimit_batch_end(batch, 0);
        return;
    }

    batch->out = 1;
    batch->lane->sent++;
}


static void
ngx_http_penstock_ratelimit_batch_handler(
    ngx_http_penstock_redis_call_t *call, redisReply *reply)
{
    ngx_uint_t                            answered;
    ngx_http_penstock_ratelimit_lane_t   *lane;
    ngx_http_penstock_ratelimit_batch_t  *batch = call->data;

    lane = batch->lane;
    lane->sent--;
    batch->out = 0;

    answered = 0;

    if (call->status == NGX_HTTP_PENSTOCK_REDIS_OK) {
        answered = (ngx_http_penstock_ratelimit_batch_read(batch, reply)
                    == NGX_OK);

    } else if (call->status == NGX_HTTP_PENSTOCK_REDIS_REFUSED) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "Redis refused the rate limit script: \"%*s\"",
                      (size_t) ngx_min(reply->len, 256), reply->str);
    }

    ngx_http_penstock_ratelimit_batch_end(batch, answered);

    if (!ngx_queue_empty(&lane->waiting) && !lane->flush.posted) {
        ngx_post_event(&lane->flush, &ngx_posted_events);
    }
}


/* whoever is woken may end others, and may ask anew */

static void
ngx_http_penstock_ratelimit_batch_end(
    ngx_http_penstock_ratelimit_batch_t *batch, ngx_uint_t answered)
{
    ngx_uint_t                          i;
    ngx_http_penstock_ratelimit_ask_t  *ask;

    for (i = 0; i < batch->nplaces; i++) {
        ask = batch->place[i].ask;

        if (ask == NULL) {
            continue;
        }

        ngx_http_penstock_ratelimit_lane_drop(ask);

        ask->answered = answered;
        ask->waiting = 0;
        ask->decision->wake(ask->decision);
    }

    ngx_free(batch);
}
