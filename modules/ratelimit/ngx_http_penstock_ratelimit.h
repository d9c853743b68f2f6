
/*
 * Rate limits: what the files of this folder share.
 *
 * A zone is a key, a rate and a table of states; a limit applies a zone to a
 * location.  What a main request has met so far is kept in one state, which
 * internal redirects don't lose: so a zone counts it once, and the fields of
 * the answer are right on an error page too.
 */

#ifndef _NGX_HTTP_PENSTOCK_RATELIMIT_H_INCLUDED_
#define _NGX_HTTP_PENSTOCK_RATELIMIT_H_INCLUDED_


#include "ngx_http_penstock.h"
#include "ngx_http_penstock_redis.h"
#include "ngx_http_penstock_ratelimit_slots.h"
#include "ps_gcra_table.h"
#include "ps_hot.h"
#include "ps_lease.h"
#include "ps_overrides.h"


typedef enum {
    NGX_HTTP_PENSTOCK_RATELIMIT_PASSED = 0,
    NGX_HTTP_PENSTOCK_RATELIMIT_REJECTED,
    NGX_HTTP_PENSTOCK_RATELIMIT_DRY_RUN,
    NGX_HTTP_PENSTOCK_RATELIMIT_FALLBACK,
    NGX_HTTP_PENSTOCK_RATELIMIT_RESULTS
} ngx_http_penstock_ratelimit_result_e;


typedef struct ngx_http_penstock_ratelimit_decision_s
    ngx_http_penstock_ratelimit_decision_t;

typedef struct ngx_http_penstock_ratelimit_ask_s
    ngx_http_penstock_ratelimit_ask_t;

typedef struct ngx_http_penstock_ratelimit_lane_s
    ngx_http_penstock_ratelimit_lane_t;


/* what a zone holds in shared memory */

typedef struct {
    ps_gcra_table_t             *table;
    ps_hot_t                    *hot;
    ps_overrides_t              *overrides;  /* changes: under the mutex */
    ngx_slab_pool_t             *shpool;

    /* of the overrides in Redis */

    ngx_atomic_t                 asked;      /* ms, when a worker did last */
    ngx_atomic_t                 version;    /* what is in force here */
} ngx_http_penstock_ratelimit_memory_t;


typedef struct {
    ngx_str_t                    name;
    ngx_shm_zone_t              *shm_zone;

    ngx_http_complex_value_t     key;
    ngx_int_t                    key_index;  /* of the variable that "key" is;
                                                NGX_ERROR: it is more */
    ngx_str_t                    key_text;   /* as written, for lists */
    ngx_str_t                    rate_text;
    ngx_http_complex_value_t    *plan;
    ngx_http_complex_value_t    *rate;       /* NULL: "limit" is it */
    ngx_str_t                    policy;     /* of "limit", for clients */
    ps_gcra_t                    limit;
    ngx_uint_t                   burst;

    ngx_http_penstock_redis_t   *redis;      /* NULL: this host's own */
    ngx_http_penstock_ratelimit_lane_t  *lane;      /* to it */
    ngx_uint_t                   fallback;
    ngx_flag_t                   lease;      /* sync=lease */
    void                        *leases;     /* this worker's */

    ngx_int_t                    counters[
                                     NGX_HTTP_PENSTOCK_RATELIMIT_RESULTS];
    ngx_int_t                    evicted;

    ngx_http_penstock_redis_call_t   call;   /* this worker's, about
                                                overrides */
    uint64_t                     known;      /* the version it asked with */
} ngx_http_penstock_ratelimit_zone_t;


typedef struct {
    ngx_array_t                  zones;
                                 /* ngx_http_penstock_ratelimit_zone_t * */

    /* whether there are limits of each phase, and of concurrency, anywhere */

    unsigned                     before:1;
    unsigned                     after:1;
    unsigned                     running:1;
} ngx_http_penstock_ratelimit_main_conf_t;


/* of rate_limit_concurrency_zone */

typedef struct {
    ngx_http_penstock_ratelimit_slots_t  slots;
    ngx_http_complex_value_t     key;
    ngx_http_complex_value_t    *limit_value;   /* NULL: "limit" is it */
    ngx_uint_t                   limit;
    ngx_int_t                    counters[
                                     NGX_HTTP_PENSTOCK_RATELIMIT_RESULTS];
} ngx_http_penstock_concurrency_zone_t;


typedef struct {
    ngx_shm_zone_t              *shm_zone;
    ngx_http_complex_value_t    *cost;

    unsigned                     before_auth:1;
    unsigned                     dry_run:1;
} ngx_http_penstock_ratelimit_limit_t;


typedef struct {
    ngx_array_t                 *limits;
                                 /* ngx_http_penstock_ratelimit_limit_t */
    ngx_flag_t                   headers;
    ngx_uint_t                   status;

    ngx_uint_t                   after;      /* how many of each phase */
    ngx_uint_t                   before;
} ngx_http_penstock_ratelimit_loc_conf_t;


/* one zone's view of one request */

typedef struct {
    ngx_http_penstock_ratelimit_zone_t  *zone;
    ps_gcra_table_t             *table;
    ngx_http_penstock_ratelimit_memory_t  *memory;
    ps_gcra_t                   *limit;
    ps_override_t               *override;   /* NULL: none, or no room */
    ngx_str_t                    key;
    uint64_t                     hash;
    uint64_t                     cost;
    ps_gcra_result_t             result;

    ngx_http_penstock_ratelimit_ask_t  *ask; /* in which Redis is asked */
    ngx_str_t                    name;       /* in Redis */
    ngx_int_t                    slot;       /* in a cluster */
    uint64_t                     backlog;    /* in Redis, before a debit */
    uint64_t                     at;         /* and its time then, us */

    unsigned                     dry_run:1;
    unsigned                     trial:1;    /* an override in dry run, beside
                                                the limit in force */
    unsigned                     local:1;    /* to be decided by "table" */
    unsigned                     lease:1;    /* to be decided by a lease */
    unsigned                     leased:1;   /* debited to one */
    unsigned                     decided:1;
    unsigned                     debited:1;
    unsigned                     refused:1;
    unsigned                     fallback:1; /* Redis did not answer */
    unsigned                     unknown:1;  /* admitted unseen */
    unsigned                     doubt:1;    /* its slot may well refuse */
    unsigned                     answered:1; /* by Redis, and not learned */
} ngx_http_penstock_ratelimit_item_t;


/* one concurrency limit's view of one request */

typedef struct ngx_http_penstock_running_s  ngx_http_penstock_running_t;

struct ngx_http_penstock_running_s {
    ngx_http_penstock_running_t             *next;
    ngx_http_penstock_concurrency_zone_t    *zone;
    ngx_http_penstock_ratelimit_slot_t       slot;

    unsigned                                 dry_run:1;
    unsigned                                 parked:1;
    unsigned                                 decided:1;
    unsigned                                 refused:1;
};


/* what is asked about one item, and the answer */

typedef struct {
    ngx_str_t                       *name;       /* in Redis */
    uint64_t                         hash;
    uint64_t                         capacity;
    uint64_t                         cost;
    uint64_t                         carry;      /* what this host remembers */
    uint64_t                         backlog;    /* before the request */

    unsigned                         enforced:1;
} ngx_http_penstock_ratelimit_question_t;


/* a question to one Redis about items that name it, in a cluster one slot's */

struct ngx_http_penstock_ratelimit_ask_s {
    ngx_http_penstock_ratelimit_ask_t  *next;
    ngx_http_penstock_redis_t       *redis;
    ngx_http_penstock_ratelimit_decision_t  *decision;
    void                            *batch;  /* it is in; NULL: in none */
    ngx_uint_t                       place;
    uint64_t                         sent;   /* ps_gcra_now() */
    uint64_t                         at;     /* Redis' time then, us */
    ngx_uint_t                       n;

    unsigned                         waiting:1;
    unsigned                         answered:1;
    unsigned                         admitted:1;
    unsigned                         leases:1;   /* "at" is of no use for
                                                    what drains */

    ngx_http_penstock_ratelimit_question_t   question[1];
};


/* an item that waits for a lease */

typedef struct {
    ngx_queue_t                      queue;
    ngx_http_penstock_ratelimit_decision_t  *decision;
    ngx_http_penstock_ratelimit_item_t      *item;
    void                            *lease;
    uint64_t                         ns;     /* what it needs */

    unsigned                         waiting:1;
    unsigned                         counted:1; /* in what was asked for */
    unsigned                         failed:1;  /* Redis did not answer */
} ngx_http_penstock_ratelimit_waiter_t;


/*
 * A decision about some items, for a parked request or for who else spends.
 * "wake" is called when it can go on, never from inside of it.
 */

typedef void (*ngx_http_penstock_ratelimit_wake_pt)(
    ngx_http_penstock_ratelimit_decision_t *d);

struct ngx_http_penstock_ratelimit_decision_s {
    ngx_http_request_t          *request;    /* its pool and log */
    ngx_http_penstock_ratelimit_item_t  *items;
    ngx_uint_t                   n;
    ngx_http_penstock_ratelimit_wake_pt  wake;
    void                        *data;
    ngx_http_penstock_ratelimit_ask_t  *ask;
    ngx_http_penstock_ratelimit_waiter_t  *waiter;

    unsigned                     started:1;
    unsigned                     unavailable:1;  /* by fallback=deny */
};


typedef struct {
    ngx_array_t                  items;
                                 /* ngx_http_penstock_ratelimit_item_t */
    ngx_uint_t                   first;      /* item of this phase */
    ngx_uint_t                   status;     /* of the answer, if refused */
    ngx_http_penstock_ratelimit_decision_t  decision;
    ngx_http_penstock_running_t *running;

    unsigned                     deciding:1;
    unsigned                     parked:1;
    unsigned                     headers:1;
    unsigned                     refused:1;
    unsigned                     failed:1;

    ngx_http_penstock_ratelimit_item_t  few[2];     /* "items", unless they
                                                       are more */
} ngx_http_penstock_ratelimit_state_t;


extern ngx_module_t  ngx_http_penstock_ratelimit_module;


/* NAME=VALUE parameters from the second on: each once, only those named */

typedef struct {
    const char                  *name;       /* with the "=" */
    ngx_str_t                   *value;      /* data NULL: not given */
} ngx_http_penstock_ratelimit_param_t;

ngx_int_t ngx_http_penstock_ratelimit_params(ngx_conf_t *cf,
    ngx_http_penstock_ratelimit_param_t *params, ngx_uint_t n);

/* redis= and fallback= of a zone; data NULL: not given */

ngx_int_t ngx_http_penstock_ratelimit_conf_redis(ngx_conf_t *cf,
    ngx_str_t *zone, ngx_str_t *name, ngx_str_t *value,
    ngx_http_penstock_redis_t **redis, ngx_uint_t *fallback);

/* a counter for each result */

ngx_int_t ngx_http_penstock_ratelimit_counters(ngx_conf_t *cf,
    ngx_str_t *zone, const char *name, const char *help, ngx_int_t *counters);


/* rate_limit_zone, rate_limit, and the check of rate_limit_status */

char *ngx_http_penstock_ratelimit_zone(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_penstock_ratelimit_limit(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_penstock_ratelimit_status(ngx_conf_t *cf, void *post,
    void *data);


/* the request's state, made if there is none; NULL: no memory */

ngx_http_penstock_ratelimit_state_t *ngx_http_penstock_ratelimit_state(
    ngx_http_request_t *r);

/*
 * Makes items of the limits of this phase that the request meets for the
 * first time.  NGX_OK: *state (made if it was NULL) has some from "first"
 * on.  NGX_DECLINED: none.  Else an HTTP status.
 */

ngx_int_t ngx_http_penstock_ratelimit_collect(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_loc_conf_t *rlcf, ngx_uint_t before_auth,
    ngx_http_penstock_ratelimit_state_t **state);

/* the key of a zone for a request; NGX_DECLINED: it is empty */

ngx_int_t ngx_http_penstock_ratelimit_key(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_zone_t *zone, ngx_str_t *key);

/*
 * The items of one limit on a request: rate, overrides and cost are
 * evaluated; the cost is "n" where "cost" is NULL.  Returns how many: 1, or 2
 * if there is an override in dry run; NGX_ERROR: no memory, or a rate that is
 * none, which is logged.
 */

ngx_int_t ngx_http_penstock_ratelimit_item(ngx_http_request_t *r,
    ngx_shm_zone_t *shm_zone, ngx_str_t *key, ngx_http_complex_value_t *cost,
    uint64_t n, ngx_http_penstock_ratelimit_item_t item[2]);

/*
 * Puts the zone's overrides for this request into its item, and, if one is
 * in dry run, makes another item of that.  Returns as above.
 */

ngx_int_t ngx_http_penstock_ratelimit_override(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_item_t item[2]);

/* a key as overrides, Redis and lists name it: longer ones by their digest,
   in "buf"; NGX_ERROR: no digest */

#define NGX_HTTP_PENSTOCK_RATELIMIT_KEY_MAX  PS_OVERRIDE_TEXT

ngx_int_t ngx_http_penstock_ratelimit_key_name(ngx_str_t *key,
    u_char buf[NGX_HTTP_PENSTOCK_RATELIMIT_KEY_MAX], ngx_str_t *name);

/* asks Redis for overrides that changed; "now": without waiting for the turn */

void ngx_http_penstock_ratelimit_overrides_load(
    ngx_http_penstock_ratelimit_zone_t *zone, ngx_uint_t now);

ngx_int_t ngx_http_penstock_ratelimit_overrides_process(ngx_cycle_t *cycle);

/* scripts of a change, see ngx_http_penstock_ratelimit_overrides.c */

extern ngx_http_penstock_redis_script_t  ngx_http_penstock_ratelimit_put;
extern ngx_http_penstock_redis_script_t  ngx_http_penstock_ratelimit_delete;

/* penstock:rl:overrides:{ZONE}; NGX_ERROR: no memory */

ngx_int_t ngx_http_penstock_ratelimit_overrides_name(ngx_pool_t *pool,
    ngx_http_penstock_ratelimit_zone_t *zone, ngx_str_t *name);

/* "rate_limit_admin" */

char *ngx_http_penstock_ratelimit_admin(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/*
 * Decides the items: checks all, then debits all or none.  NGX_OK: all let
 * it pass.  NGX_DECLINED: refused, or, with d->unavailable, not to be
 * decided.  NGX_AGAIN: d->wake will be called, then call again.  NGX_ERROR:
 * no memory.
 */

ngx_int_t ngx_http_penstock_ratelimit_decide(
    ngx_http_penstock_ratelimit_decision_t *d);

/*
 * Waits no longer: the next call of decide goes on without Redis.  "wake"
 * won't be called before.
 */

void ngx_http_penstock_ratelimit_abandon(
    ngx_http_penstock_ratelimit_decision_t *d);

/*
 * Asks the Redis of the item "first" about the undecided items that name it,
 * in a cluster each slot by itself: a list.  Each answer wakes; ask->waiting
 * is 0 at once where nothing could be sent.  NULL: no memory.
 */

ngx_http_penstock_ratelimit_ask_t *ngx_http_penstock_ratelimit_ask(
    ngx_http_penstock_ratelimit_decision_t *d, ngx_uint_t first);

/* waits no longer; what is not sent yet never is */

void ngx_http_penstock_ratelimit_unask(
    ngx_http_penstock_ratelimit_ask_t *ask);

/*
 * At configuration time: the lane of the zones of one Redis, in which what
 * the requests of a worker ask goes together; NULL: no memory.
 */

ngx_http_penstock_ratelimit_lane_t *ngx_http_penstock_ratelimit_lane(
    ngx_conf_t *cf, ngx_http_penstock_redis_t *redis);

/* puts a question into a lane; NGX_ERROR: no memory */

ngx_int_t ngx_http_penstock_ratelimit_lane_put(
    ngx_http_penstock_ratelimit_lane_t *lane,
    ngx_http_penstock_ratelimit_ask_t *ask);

/* takes it out again, sent or not */

void ngx_http_penstock_ratelimit_lane_drop(
    ngx_http_penstock_ratelimit_ask_t *ask);

/* takes an answer over into the items; NGX_DECLINED where one refuses */

ngx_int_t ngx_http_penstock_ratelimit_answer(
    ngx_http_penstock_ratelimit_ask_t *ask,
    ngx_http_penstock_ratelimit_item_t *items, ngx_uint_t n);

/* remembers in the zone what Redis answered, if it did */

void ngx_http_penstock_ratelimit_learn(
    ngx_http_penstock_ratelimit_item_t *item);

/*
 * Gives back what was debited in Redis for one item, at most what of it has
 * not drained since; nobody waits for it.
 */

void ngx_http_penstock_ratelimit_give_back(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_item_t *item);

/*
 * Decides an item by a lease of this worker, asking Redis for one if need be.
 * NGX_OK: decided, whatever it says.  NGX_AGAIN: d->wake will be called, then
 * call again.  NGX_DECLINED: without Redis there is none.  NGX_ERROR: no
 * memory.
 */

ngx_int_t ngx_http_penstock_ratelimit_lease(
    ngx_http_penstock_ratelimit_decision_t *d,
    ngx_http_penstock_ratelimit_item_t *item);

/* puts back what was debited to a lease */

void ngx_http_penstock_ratelimit_unlease(
    ngx_http_penstock_ratelimit_item_t *item);

/* waits no longer */

void ngx_http_penstock_ratelimit_lease_abandon(
    ngx_http_penstock_ratelimit_decision_t *d);

/* scripts: see ngx_http_penstock_ratelimit_scripts.c */

extern ngx_http_penstock_redis_script_t  ngx_http_penstock_ratelimit_exact;
extern ngx_http_penstock_redis_script_t  ngx_http_penstock_ratelimit_leased;
extern ngx_http_penstock_redis_script_t  ngx_http_penstock_ratelimit_back;

/*
 * A key's name in Redis, in "pool": PREFIX ZONE:KEY}, or the digest of a key
 * that is long; a prefix ends with the brace that begins a cluster's tag.
 */

#define ngx_http_penstock_ratelimit_prefix(item)                              \
    ((item)->trial ? "penstock:rl:trial:{" : "penstock:rl:{")

ngx_int_t ngx_http_penstock_ratelimit_redis_name(ngx_pool_t *pool,
    const char *prefix, ngx_str_t *zone, ngx_str_t *key, ngx_str_t *name);

/* counters and log lines of what was decided, with the outcome */

void ngx_http_penstock_ratelimit_account(
    ngx_http_penstock_ratelimit_decision_t *d, ngx_int_t rc);

/* the refusal: returns the status for the phase handler */

ngx_int_t ngx_http_penstock_ratelimit_refuse(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_state_t *st);

/* what RateLimit-Policy says of a zone whose rate is a constant */

ngx_int_t ngx_http_penstock_ratelimit_policy(ngx_pool_t *pool,
    ngx_http_penstock_ratelimit_zone_t *zone);

/* the response's fields: RateLimit-Policy, RateLimit, Retry-After */

ngx_int_t ngx_http_penstock_ratelimit_fields(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_state_t *st);

/* $rate_limit_status and $rate_limit_zone */

ngx_int_t ngx_http_penstock_ratelimit_status_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
ngx_int_t ngx_http_penstock_ratelimit_zone_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);


#endif /* _NGX_HTTP_PENSTOCK_RATELIMIT_H_INCLUDED_ */
