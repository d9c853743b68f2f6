
/*
 * Slots: how many may be under way at a time, by zone and key, on this host
 * or, with Redis, on all hosts together.  For rate_limit_concurrency, and
 * for other features' budgets of concurrency.
 *
 *     conf->slots.redis = redis;                        at configuration
 *     ngx_http_penstock_ratelimit_slots_add(cf, &conf->slots, &name, size,
 *                                           &my_module, conf);
 *
 *     slot->slots = &conf->slots;                       of a request
 *     slot->request = r;
 *     slot->key = key;
 *     slot->limit = 20;
 *     slot->handler = my_handler;
 *     slot->data = my_data;
 *
 *     switch (ngx_http_penstock_ratelimit_slot_acquire(slot)) { ... }
 *     ...
 *     ngx_http_penstock_ratelimit_slot_release(slot);
 *
 * A slot goes back by itself when the request's pool ends, when the worker
 * that holds it was killed (seen by who is refused next), and when its host
 * died (in Redis, after ..._SLOTS_TTL).
 */

#ifndef _NGX_HTTP_PENSTOCK_RATELIMIT_SLOTS_H_INCLUDED_
#define _NGX_HTTP_PENSTOCK_RATELIMIT_SLOTS_H_INCLUDED_


#include "ngx_http_penstock.h"
#include "ngx_http_penstock_redis.h"


/* ms that Redis keeps what a host holds; it is renewed while it is held */

#define NGX_HTTP_PENSTOCK_RATELIMIT_SLOTS_TTL    8000
#define NGX_HTTP_PENSTOCK_RATELIMIT_SLOTS_RENEW  2000


/* what to do while Redis does not answer */

typedef enum {
    NGX_HTTP_PENSTOCK_RATELIMIT_LOCAL = 0,   /* the whole limit a host */
    NGX_HTTP_PENSTOCK_RATELIMIT_ALLOW,
    NGX_HTTP_PENSTOCK_RATELIMIT_DENY
} ngx_http_penstock_ratelimit_fallback_e;


/* of one zone; lives with the configuration */

typedef struct {
    ngx_http_penstock_redis_t             *redis;      /* NULL: this host */
    ngx_uint_t                             fallback;

    ngx_str_t                              name;       /* set by add */
    ngx_shm_zone_t                        *shm_zone;
} ngx_http_penstock_ratelimit_slots_t;


typedef struct ngx_http_penstock_ratelimit_slot_s
    ngx_http_penstock_ratelimit_slot_t;

/*
 * Called once after NGX_AGAIN, never from inside of a call, with the outcome
 * in slot->rc.  It wakes or posts, and never runs a request.
 */

typedef void (*ngx_http_penstock_ratelimit_slot_pt)(
    ngx_http_penstock_ratelimit_slot_t *slot);


/* owned by the caller, in r->pool; zeroed, then the first part set */

struct ngx_http_penstock_ratelimit_slot_s {
    ngx_http_penstock_ratelimit_slots_t   *slots;
    ngx_http_request_t                    *request;
    ngx_str_t                              key;        /* lives as long as
                                                          the request */
    ngx_uint_t                             limit;
    ngx_uint_t                             kind;       /* 0 or 1 */
    ngx_uint_t                             reserved;   /* slots of "limit"
                                             kept for the other kind; those
                                             that it uses count */
    ngx_http_penstock_ratelimit_slot_pt    handler;
    void                                  *data;

    ngx_int_t                              rc;
    ngx_uint_t                             in_use;     /* of both kinds, this
                                                          one included if
                                                          acquired */
    unsigned                               fallback:1; /* Redis did not
                                                          answer */
    unsigned                               held:1;

    /* private */

    unsigned                               pending:1;
    unsigned                               cleanup:1;
    uint64_t                               hash;
    ngx_str_t                              name;       /* of the Redis key */
    ngx_http_penstock_redis_call_t         call;
    void                                  *group;
};


/*
 * At configuration time: defines a zone of slots.  "tag" is the module of
 * the directive, "conf" what ngx_http_penstock_zone_conf() shall return.
 * Reports its own errors.
 */

ngx_int_t ngx_http_penstock_ratelimit_slots_add(ngx_conf_t *cf,
    ngx_http_penstock_ratelimit_slots_t *slots, ngx_str_t *name, ssize_t size,
    ngx_module_t *tag, void *conf);

/*
 * NGX_OK: it is held.  NGX_DECLINED: there is none free, or, with
 * slot->fallback, Redis did not answer and fallback=deny.  NGX_AGAIN: the
 * handler will be called.  NGX_ERROR: no memory in the zone or the pool.
 * slot->rc is the same.  After a refusal or a release it may be called
 * again.
 */

ngx_int_t ngx_http_penstock_ratelimit_slot_acquire(
    ngx_http_penstock_ratelimit_slot_t *slot);

/*
 * Gives the slot back, or gives up the question about one: the handler won't
 * be called any more.  No-op if it neither holds nor asks.
 */

void ngx_http_penstock_ratelimit_slot_release(
    ngx_http_penstock_ratelimit_slot_t *slot);

/*
 * A counter that moves when a slot of the zone came back on this host; for
 * ngx_http_penstock_wait_init().  Of what other hosts give back nothing is
 * heard: a waiter asks again now and then, every 100 ms say.
 */

ngx_atomic_t *ngx_http_penstock_ratelimit_slots_released(
    ngx_http_penstock_ratelimit_slots_t *slots);

/* how many of each kind this host has in use for a key */

void ngx_http_penstock_ratelimit_slots_use(
    ngx_http_penstock_ratelimit_slots_t *slots, ngx_str_t *key,
    uint64_t use[2]);


#endif /* _NGX_HTTP_PENSTOCK_RATELIMIT_SLOTS_H_INCLUDED_ */
