
/*
 * Between the files of exact limits: questions that go to Redis together.
 */

#ifndef _NGX_HTTP_PENSTOCK_RATELIMIT_LANE_H_INCLUDED_
#define _NGX_HTTP_PENSTOCK_RATELIMIT_LANE_H_INCLUDED_


#include "ngx_http_penstock_ratelimit.h"


/* limits in one call: so many block Redis for some 200 us */

#define NGX_HTTP_PENSTOCK_RATELIMIT_BATCH       64


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


/* sends the call; NGX_DECLINED or NGX_ERROR: it can't be sent */

ngx_int_t ngx_http_penstock_ratelimit_batch_eval(
    ngx_http_penstock_ratelimit_batch_t *batch);

/*
 * Puts the answers into the questions.  NGX_ERROR: the reply is not as it
 * should be, which makes it none for all of the batch.
 */

ngx_int_t ngx_http_penstock_ratelimit_batch_read(
    ngx_http_penstock_ratelimit_batch_t *batch, redisReply *reply);


#endif /* _NGX_HTTP_PENSTOCK_RATELIMIT_LANE_H_INCLUDED_ */
