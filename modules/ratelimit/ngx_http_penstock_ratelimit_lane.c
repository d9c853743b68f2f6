
/*
 * A worker's way to one Redis for questions of exact limits: those of one
 * turn of the event loop go together, in one script call.
 *
 * While a call is out, what comes waits for its answer, but no longer than a
 * millisecond, and only until a call is full.  So a Redis that is busy gets
 * fewer and larger calls, and one that isn't keeps nobody waiting.  In a
 * cluster nothing waits so, and only keys of one slot go together.
 */

#include "ngx_http_penstock_ratelimit.h"


/* limits in one call: so many block Redis for some 200 us */

#define NGX_HTTP_PENSTOCK_RATELIMIT_BATCH       64

#define NGX_HTTP_PENSTOCK_RATELIMIT_BATCH_WAIT  1   /* ms */


/* of MessagePack: an array of up to 2^32 elements, and a double */

#define NGX_HTTP_PENSTOCK_RATELIMIT_PACK_ARRAY   5
#define NGX_HTTP_PENSTOCK_RATELIMIT_PACK_DOUBLE  9

/* numbers in front of all, for a request, and for each limit of it */

#define NGX_HTTP_PENSTOCK_RATELIMIT_PACK_HEAD      2
#define NGX_HTTP_PENSTOCK_RATELIMIT_PACK_REQUEST   1
#define NGX_HTTP_PENSTOCK_RATELIMIT_PACK_QUESTION  5


/* the limits that a request asked about, also when it waits no longer */

typedef struct {
    ngx_http_penstock_ratelimit_ask_t   *ask;    /* NULL: gone */
    ngx_uint_t                           n;
} ngx_http_penstock_ratelimit_place_t;


typedef struct {
    ngx_queue_t                          queue;  /* until it is sent */
    ngx_http_penstock_ratelimit_lane_t  *lane;
    ngx_http_penstock_redis_call_t       call;
    ngx_msec_t                           since;
    ngx_int_t                            slot;

    ngx_http_penstock_ratelimit_place_t  place[
                                           NGX_HTTP_PENSTOCK_RATELIMIT_BATCH];
    ngx_uint_t                           nplaces;
    ngx_uint_t                           nlimits;
    ngx_uint_t                           asks;   /* that wait still */

    unsigned                             full:1;
    unsigned                             out:1;  /* its answer is to come */
} ngx_http_penstock_ratelimit_batch_t;


struct ngx_http_penstock_ratelimit_lane_s {
    ngx_http_penstock_redis_t           *redis;
    ngx_queue_t                          waiting;
    ngx_uint_t                           sent;   /* calls that are out */
    ngx_event_t                          flush;
    ngx_event_t                          timer;

    unsigned                             ready:1;
};


/* the keys of a call, each once: by hash, then by name */

typedef struct {
    ngx_str_t                           *argv;
    uint64_t                            *hash;
    ngx_uint_t                          *bucket; /* number of a key, or 0 */
    ngx_uint_t                           mask;
    ngx_uint_t                           n;
} ngx_http_penstock_ratelimit_keys_t;


static ngx_http_penstock_ratelimit_batch_t *
    ngx_http_penstock_ratelimit_batch(
    ngx_http_penstock_ratelimit_lane_t *lane, ngx_int_t slot, ngx_uint_t n);
static void ngx_http_penstock_ratelimit_lane_flush(ngx_event_t *ev);
static void ngx_http_penstock_ratelimit_batch_send(
    ngx_http_penstock_ratelimit_batch_t *batch);
static ngx_int_t ngx_http_penstock_ratelimit_batch_eval(
    ngx_http_penstock_ratelimit_batch_t *batch);
static u_char *ngx_http_penstock_ratelimit_batch_pack(
    ngx_http_penstock_ratelimit_batch_t *batch, u_char *p,
    ngx_http_penstock_ratelimit_keys_t *keys);
static ngx_uint_t ngx_http_penstock_ratelimit_batch_key(
    ngx_http_penstock_ratelimit_keys_t *keys,
    ngx_http_penstock_ratelimit_question_t *q);
static u_char *ngx_http_penstock_ratelimit_pack(u_char *p, uint64_t n);
static void ngx_http_penstock_ratelimit_batch_handler(
    ngx_http_penstock_redis_call_t *call, redisReply *reply);
static ngx_int_t ngx_http_penstock_ratelimit_batch_read(
    ngx_http_penstock_ratelimit_batch_t *batch, redisReply *reply);
static ngx_int_t ngx_http_penstock_ratelimit_batch_answer(
    ngx_http_penstock_ratelimit_place_t *place, redisReply **element);
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


static ngx_int_t
ngx_http_penstock_ratelimit_batch_eval(
    ngx_http_penstock_ratelimit_batch_t *batch)
{
    u_char                              *data;
    size_t                               size;
    ngx_int_t                            rc;
    ngx_uint_t                           n, buckets;
    ngx_msec_t                           timeout, waited;
    ngx_http_penstock_ratelimit_keys_t   keys;

    n = batch->nlimits;

    for (buckets = 16; buckets < 2 * n; buckets *= 2) { /* void */ }

    size = NGX_HTTP_PENSTOCK_RATELIMIT_PACK_ARRAY
           + (NGX_HTTP_PENSTOCK_RATELIMIT_PACK_HEAD
              + batch->nplaces * NGX_HTTP_PENSTOCK_RATELIMIT_PACK_REQUEST
              + n * NGX_HTTP_PENSTOCK_RATELIMIT_PACK_QUESTION)
             * NGX_HTTP_PENSTOCK_RATELIMIT_PACK_DOUBLE;

    keys.argv = ngx_alloc((n + 1) * sizeof(ngx_str_t) + n * sizeof(uint64_t)
                          + buckets * sizeof(ngx_uint_t) + size,
                          ngx_cycle->log);
    if (keys.argv == NULL) {
        return NGX_ERROR;
    }

    keys.hash = (uint64_t *) (keys.argv + n + 1);
    keys.bucket = (ngx_uint_t *) (keys.hash + n);
    keys.mask = buckets - 1;
    keys.n = 0;

    ngx_memzero(keys.bucket, buckets * sizeof(ngx_uint_t));

    data = (u_char *) (keys.bucket + buckets);

    size = ngx_http_penstock_ratelimit_batch_pack(batch, data, &keys) - data;

    keys.argv[keys.n].data = data;
    keys.argv[keys.n].len = size;

    /* the one that has waited longest waits no longer than it may */

    timeout = ngx_http_penstock_redis_timeout(batch->lane->redis);
    waited = ngx_current_msec - batch->since;

    batch->call.timeout = (waited < timeout) ? timeout - waited : 1;

    rc = ngx_http_penstock_redis_eval(batch->lane->redis, &batch->call,
                                      &ngx_http_penstock_ratelimit_exact,
                                      keys.n, keys.n + 1, keys.argv);

    ngx_free(keys.argv);

    return rc;
}


/* what the script wants to know */

static u_char *
ngx_http_penstock_ratelimit_batch_pack(
    ngx_http_penstock_ratelimit_batch_t *batch, u_char *p,
    ngx_http_penstock_ratelimit_keys_t *keys)
{
    uint32_t                                 n;
    uint64_t                                 way;
    ngx_uint_t                               i, k;
    ngx_http_penstock_ratelimit_ask_t       *ask;
    ngx_http_penstock_ratelimit_question_t  *q;

    n = NGX_HTTP_PENSTOCK_RATELIMIT_PACK_HEAD
        + batch->nplaces * NGX_HTTP_PENSTOCK_RATELIMIT_PACK_REQUEST
        + batch->nlimits * NGX_HTTP_PENSTOCK_RATELIMIT_PACK_QUESTION;

    *p++ = 0xdd;
    *p++ = (u_char) (n >> 24);
    *p++ = (u_char) (n >> 16);
    *p++ = (u_char) (n >> 8);
    *p++ = (u_char) n;

    way = (uint64_t) ngx_http_penstock_redis_timeout(batch->lane->redis)
          * 1000000;

    p = ngx_http_penstock_ratelimit_pack(p, way);
    p = ngx_http_penstock_ratelimit_pack(p, PS_LEASE_TTL / 1000);

    for (i = 0; i < batch->nplaces; i++) {
        ask = batch->place[i].ask;

        p = ngx_http_penstock_ratelimit_pack(p, ask->n);

        for (k = 0; k < ask->n; k++) {
            q = &ask->question[k];

            p = ngx_http_penstock_ratelimit_pack(p,
                              ngx_http_penstock_ratelimit_batch_key(keys, q));
            p = ngx_http_penstock_ratelimit_pack(p, q->capacity);
            p = ngx_http_penstock_ratelimit_pack(p, q->cost);
            p = ngx_http_penstock_ratelimit_pack(p, q->carry);
            p = ngx_http_penstock_ratelimit_pack(p, q->enforced);
        }
    }

    return p;
}


/* the key's number, from 1 on, as Lua counts */

static ngx_uint_t
ngx_http_penstock_ratelimit_batch_key(
    ngx_http_penstock_ratelimit_keys_t *keys,
    ngx_http_penstock_ratelimit_question_t *q)
{
    ngx_str_t   *name;
    ngx_uint_t   i, n;

    for (i = q->hash & keys->mask; ; i = (i + 1) & keys->mask) {
        n = keys->bucket[i];

        if (n == 0) {
            break;
        }

        name = &keys->argv[n - 1];

        if (keys->hash[n - 1] == q->hash && name->len == q->name->len
            && ngx_memcmp(name->data, q->name->data, name->len) == 0)
        {
            return n;
        }
    }

    keys->argv[keys->n] = *q->name;
    keys->hash[keys->n] = q->hash;
    keys->bucket[i] = ++keys->n;

    return keys->n;
}


/* all numbers are below 2^53, or beyond all limits */

static u_char *
ngx_http_penstock_ratelimit_pack(u_char *p, uint64_t n)
{
    int  shift;

    union {
        double    number;
        uint64_t  bits;
    } u;

    if (n < 128) {
        *p++ = (u_char) n;
        return p;
    }

    u.number = (double) n;

    *p++ = 0xcb;

    for (shift = 56; shift >= 0; shift -= 8) {
        *p++ = (u_char) (u.bits >> shift);
    }

    return p;
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


/* a reply that is not as it should be is none, for all of the batch */

static ngx_int_t
ngx_http_penstock_ratelimit_batch_read(
    ngx_http_penstock_ratelimit_batch_t *batch, redisReply *reply)
{
    int64_t                               at;
    ngx_uint_t                            i;
    redisReply                          **element;
    ngx_http_penstock_ratelimit_place_t  *place;

    if (reply->type != REDIS_REPLY_ARRAY
        || reply->elements != batch->nlimits + 1)
    {
        return NGX_ERROR;
    }

    element = reply->element;

    /* the time behind all of them; negative where there are leases */

    if (element[batch->nlimits]->type != REDIS_REPLY_INTEGER) {
        return NGX_ERROR;
    }

    at = element[batch->nlimits]->integer;

    for (i = 0; i < batch->nplaces; i++) {
        place = &batch->place[i];

        if (ngx_http_penstock_ratelimit_batch_answer(place, element)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        if (place->ask) {
            place->ask->leases = (at < 0);
            place->ask->at = (uint64_t) (at < 0 ? -at : at);
        }

        element += place->n;
    }

    return NGX_OK;
}


/* for each limit what was left; a negative number means that the request is
   refused, for all of its limits alike */

static ngx_int_t
ngx_http_penstock_ratelimit_batch_answer(
    ngx_http_penstock_ratelimit_place_t *place, redisReply **element)
{
    int64_t                             n;
    ngx_uint_t                          i, refused;
    ngx_http_penstock_ratelimit_ask_t  *ask;

    ask = place->ask;
    refused = 0;

    for (i = 0; i < place->n; i++) {

        if (element[i]->type != REDIS_REPLY_INTEGER) {
            return NGX_ERROR;
        }

        n = element[i]->integer;

        if (i == 0) {
            refused = (n < 0);

        } else if (refused != (n < 0)) {
            return NGX_ERROR;
        }

        if (n < 0) {
            n = -1 - n;
        }

        if ((uint64_t) n > 4 * PS_GCRA_SPAN_MAX) {
            return NGX_ERROR;
        }

        if (ask) {
            ask->question[i].backlog = n;
        }
    }

    if (ask) {
        ask->admitted = !refused;
    }

    return NGX_OK;
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
