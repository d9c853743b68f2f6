
/*
 * Between the files of sync=lease: what a worker has of each key, and its
 * questions to Redis about that.
 */

#ifndef _NGX_HTTP_PENSTOCK_RATELIMIT_LEASE_H_INCLUDED_
#define _NGX_HTTP_PENSTOCK_RATELIMIT_LEASE_H_INCLUDED_


#include "ngx_http_penstock_ratelimit.h"


typedef struct ngx_http_penstock_ratelimit_lease_s
    ngx_http_penstock_ratelimit_lease_t;

struct ngx_http_penstock_ratelimit_lease_s {
    ngx_http_penstock_ratelimit_lease_t     *next;     /* in the bucket */
    ngx_queue_t                              lru;
    ngx_queue_t                              ending;   /* if "ends" */
    ngx_queue_t                              waiters;

    ngx_http_penstock_ratelimit_zone_t      *zone;
    ps_gcra_table_t                         *table;
    uint64_t                                 hash;
    ps_lease_t                               lease;

    /* the question on its way: call.pending */

    ngx_http_penstock_redis_call_t           call;
    ps_lease_ask_t                           ask;
    uint64_t                                 sent;
    uint64_t                                 need;

    /* of the last answer: Redis' time, us, and what was spent before */

    uint64_t                                 at;
    uint64_t                                 before;

    ngx_str_t                                name;     /* in Redis */
    unsigned                                 ends:1;
};


/* once in a worker, before its first lease; NGX_ERROR: no random bytes */

ngx_int_t ngx_http_penstock_ratelimit_lease_start(void);

/*
 * Asks for all that wait, and ahead; no other question may be on its way.
 * NGX_OK: the answer serves those that wait.  NGX_DECLINED: it can't be sent.
 */

ngx_int_t ngx_http_penstock_ratelimit_lease_ask(
    ngx_http_penstock_ratelimit_lease_t *l, const ps_gcra_t *limit,
    uint64_t now);

/* gives back what is left of one that ends; nobody waits for the answer */

void ngx_http_penstock_ratelimit_lease_return(
    ngx_http_penstock_ratelimit_lease_t *l);


#endif /* _NGX_HTTP_PENSTOCK_RATELIMIT_LEASE_H_INCLUDED_ */
