
/*
 * Governed requests to an ERP: what the files of this folder share.
 *
 * A location with one of these directives is led by this module: each request
 * that reaches it goes to the upstream by an exchange, after its idempotency
 * key was claimed, through the breaker and the budget, which are gates that
 * fills of the cache pass as well.
 */

#ifndef _NGX_HTTP_PENSTOCK_ERP_H_INCLUDED_
#define _NGX_HTTP_PENSTOCK_ERP_H_INCLUDED_


#include "ngx_http_penstock.h"
#include "ngx_http_penstock_exchange.h"
#include "ngx_http_penstock_redis.h"
#include "ngx_http_penstock_availability_invalidate.h"
#include "ps_breaker.h"
#include "ps_budget.h"
#include "ps_idempotency.h"


#define NGX_HTTP_PENSTOCK_ERP_SAFE                                            \
    (NGX_HTTP_GET|NGX_HTTP_HEAD|NGX_HTTP_OPTIONS|NGX_HTTP_TRACE               \
     |NGX_HTTP_PROPFIND)

/* bytes of an answer that are kept for replays, and in memory */

#define NGX_HTTP_PENSTOCK_ERP_ANSWER  (256 * 1024)

/* bytes of a request body with a key: it is read at once */

#define NGX_HTTP_PENSTOCK_ERP_BODY    (16 * 1024 * 1024)

#define NGX_HTTP_PENSTOCK_ERP_OWNER   16


/* what became of a request's key */

typedef enum {
    NGX_HTTP_PENSTOCK_ERP_NEW = 0,       /* ours now: send */
    NGX_HTTP_PENSTOCK_ERP_REPLAYED,
    NGX_HTTP_PENSTOCK_ERP_IN_PROGRESS,
    NGX_HTTP_PENSTOCK_ERP_MISMATCH,      /* it was another body */
    NGX_HTTP_PENSTOCK_ERP_UNKNOWN,
    NGX_HTTP_PENSTOCK_ERP_RECONCILE,     /* ours now: look it up */
    NGX_HTTP_PENSTOCK_ERP_UNAVAILABLE,   /* can't be told: no Redis, no room */
    NGX_HTTP_PENSTOCK_ERP_INVALID,       /* no key, or none that is valid */
    NGX_HTTP_PENSTOCK_ERP_VERDICTS
} ngx_http_penstock_erp_verdict_e;


typedef enum {
    NGX_HTTP_PENSTOCK_ERP_DONE = 0,      /* with the answer */
    NGX_HTTP_PENSTOCK_ERP_LOST,          /* the outcome is unknown */
    NGX_HTTP_PENSTOCK_ERP_GONE,          /* nothing happened: free again */
    NGX_HTTP_PENSTOCK_ERP_UNDO           /* as it was before our claim */
} ngx_http_penstock_erp_outcome_e;


typedef struct {
    ngx_str_t                            name;
    ngx_shm_zone_t                      *shm_zone;
    ngx_http_penstock_redis_t           *redis;      /* NULL: the zone */
    ngx_int_t                            counters[
                                            NGX_HTTP_PENSTOCK_ERP_VERDICTS];
    ngx_int_t                            lost;
} ngx_http_penstock_erp_keys_t;


/* places of requests that were given up here, and may go on at the server */

#define NGX_HTTP_PENSTOCK_ERP_BUSY    128

typedef struct {
    uint64_t                             id;
    ngx_msec_t                           until;
    ngx_uint_t                           write;
} ngx_http_penstock_erp_busy_t;


typedef struct {
    ngx_str_t                            name;
    ngx_shm_zone_t                      *shm_zone;
    ngx_http_penstock_redis_t           *redis;
    ngx_uint_t                           limit;
    ngx_uint_t                           writes;
    ngx_uint_t                           alone;      /* without Redis */
    ngx_msec_t                           lease;

    /* of this worker */

    ngx_queue_t                          waiting;    /* passages */
    ngx_queue_t                          held;
    ngx_event_t                          tick;
    ngx_event_t                          renew;
    ngx_http_penstock_redis_call_t       poll;
    ngx_http_penstock_redis_call_t       renewal;
    uint64_t                             ids;
    ngx_str_t                            prefix;     /* of Redis' keys */
    u_char                               worker[16];
    ngx_atomic_uint_t                    seen;
    ngx_uint_t                           ticks;
    ngx_msec_t                           alone_from; /* places here, then */
    ngx_http_penstock_erp_busy_t         busy[NGX_HTTP_PENSTOCK_ERP_BUSY];
    ngx_uint_t                           nbusy;
    unsigned                             polling:1;
    unsigned                             renewing:1;
    unsigned                             named:1;    /* "worker" is */
    unsigned                             sharing:1;  /* Redis has answered */
    unsigned                             idle:1;     /* and Redis knows */

    ngx_int_t                            granted;
    ngx_int_t                            queued;
    ngx_int_t                            full;
    ngx_int_t                            late;
    ngx_int_t                            overload;
    ngx_int_t                            unshared;
} ngx_http_penstock_erp_budget_t;


typedef struct {
    ngx_str_t                            name;
    ngx_shm_zone_t                      *shm_zone;
    ps_breaker_limits_t                  limits;
    ngx_int_t                            refused;
} ngx_http_penstock_erp_breaker_t;


/* an answer that says that the server has too much to do */

typedef struct {
    ngx_uint_t                           status;
    ngx_str_t                            text;       /* in its body; or none */
} ngx_http_penstock_erp_overload_t;


typedef struct {
    ngx_array_t                          breakers;
                                         /* ngx_http_penstock_erp_breaker_t * */
    ngx_array_t                          budgets;    /* those with Redis */
                                         /* ngx_http_penstock_erp_budget_t * */
    ngx_http_complex_value_t            *client;     /* the default scope */
    ngx_uint_t                           used;
} ngx_http_penstock_erp_main_conf_t;


typedef struct {
    ngx_shm_zone_t                      *keys;
    ngx_flag_t                           required;
    time_t                               ttl;        /* s */
    ngx_msec_t                           lease;
    ngx_http_complex_value_t            *scope;
    ngx_str_t                            pass;

    ngx_http_complex_value_t            *reconcile;
    ngx_msec_t                           reconcile_after;

    ngx_shm_zone_t                      *budget;
    ngx_uint_t                           queue;
    ngx_msec_t                           timeout;
    ngx_http_complex_value_t            *client;

    ngx_http_penstock_erp_breaker_t     *breaker;
    ngx_array_t                         *overload;
                                         /* ngx_http_penstock_erp_overload_t */
} ngx_http_penstock_erp_loc_conf_t;


/* a request's hold on its key */

typedef struct {
    ngx_http_request_t                  *request;
    ngx_http_penstock_exchange_t        *exchange;   /* that it is for */
    ngx_http_penstock_erp_keys_t        *keys;
    ngx_str_t                            text;       /* the client's key */
    ngx_str_t                            id;         /* unique over clients */
    u_char                               key[NGX_HTTP_PENSTOCK_KEY_LEN];
    u_char                               print[NGX_HTTP_PENSTOCK_KEY_LEN];
    u_char                               owner[NGX_HTTP_PENSTOCK_ERP_OWNER];
    ngx_msec_t                           ttl;
    ngx_msec_t                           lease;

    ngx_http_penstock_erp_verdict_e      verdict;
    ngx_msec_t                           age;        /* IN_PROGRESS: left of
                                                        the lease; UNKNOWN,
                                                        RECONCILE: since it
                                                        may have happened */
    ngx_str_t                            answer;     /* REPLAYED */

    ngx_http_penstock_redis_call_t       call;
    ngx_event_t                          renew;
    unsigned                             asking:1;
    unsigned                             claiming:1; /* it asks for that */
    unsigned                             held:1;
    unsigned                             kept:1;     /* the outcome is */
} ngx_http_penstock_erp_claim_t;


typedef enum {
    NGX_HTTP_PENSTOCK_ERP_CLAIM = 0,     /* normal */
    NGX_HTTP_PENSTOCK_ERP_CLAIM_LOOK,    /* may be looked up, if unknown */
    NGX_HTTP_PENSTOCK_ERP_CLAIM_AGAIN    /* was looked up: send now */
} ngx_http_penstock_erp_claim_e;


typedef enum {
    NGX_HTTP_PENSTOCK_ERP_START = 0,
    NGX_HTTP_PENSTOCK_ERP_CLAIMING,
    NGX_HTTP_PENSTOCK_ERP_LOOKING,
    NGX_HTTP_PENSTOCK_ERP_LOOKED,
    NGX_HTTP_PENSTOCK_ERP_SENDING,
    NGX_HTTP_PENSTOCK_ERP_SETTLING,
    NGX_HTTP_PENSTOCK_ERP_ANSWERED
} ngx_http_penstock_erp_state_e;


typedef struct {
    ngx_http_request_t                  *request;
    ngx_http_penstock_erp_loc_conf_t    *conf;
    ngx_http_penstock_erp_state_e        state;
    ngx_http_penstock_erp_claim_t       *claim;      /* NULL: no key */
    ngx_http_penstock_invalidation_t    *invalidation;
    ngx_http_penstock_exchange_t         exchange;
    ngx_http_penstock_exchange_t         lookup;
    ngx_http_penstock_header_t           header;     /* the key */
    ngx_http_penstock_erp_outcome_e      outcome;
    unsigned                             unsafe:1;
    unsigned                             judged:1;   /* "verdict" is */
    ngx_http_penstock_erp_verdict_e      verdict;
} ngx_http_penstock_erp_ctx_t;


extern ngx_module_t  ngx_http_penstock_erp_module;

/* no modules: what tells the zones of keys, budgets and breakers apart */

extern ngx_module_t  ngx_http_penstock_erp_keys_tag;
extern ngx_module_t  ngx_http_penstock_erp_budget_tag;
extern ngx_module_t  ngx_http_penstock_erp_breaker_tag;


/* _conf.c */

void *ngx_http_penstock_erp_create_main_conf(ngx_conf_t *cf);
void *ngx_http_penstock_erp_create_loc_conf(ngx_conf_t *cf);
char *ngx_http_penstock_erp_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);
char *ngx_http_penstock_erp_keys_zone(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_penstock_erp_idempotency(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_penstock_erp_reconcile(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* _conf_budget.c */

char *ngx_http_penstock_erp_budget_zone(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_penstock_erp_budget(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_penstock_erp_breaker(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_penstock_erp_overload(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


/* NAME=VALUE of a directive, or a word without "=", which gets itself */

typedef struct {
    const char                          *name;
    ngx_str_t                           *value;
} ngx_http_penstock_erp_param_t;

/*
 * Takes the arguments from "first" on apart; each may be there once.
 * Reports its own errors.
 */

ngx_int_t ngx_http_penstock_erp_params(ngx_conf_t *cf, ngx_uint_t first,
    ngx_http_penstock_erp_param_t *params, ngx_uint_t n);

/* a time of "text" in ms, at least "least"; reports its own errors */

ngx_int_t ngx_http_penstock_erp_time(ngx_conf_t *cf, const char *name,
    ngx_str_t *text, ngx_msec_t least, ngx_msec_t *ms);
ngx_int_t ngx_http_penstock_erp_number(ngx_conf_t *cf, const char *name,
    ngx_str_t *text, ngx_uint_t least, ngx_uint_t most, ngx_uint_t *n);
ngx_http_complex_value_t *ngx_http_penstock_erp_value(ngx_conf_t *cf,
    ngx_str_t *text);

/* LABEL="name" of metrics */

ngx_int_t ngx_http_penstock_erp_label(ngx_conf_t *cf, const char *label,
    ngx_str_t *name, ngx_str_t *out);

/* says that some location is led by this module */

void ngx_http_penstock_erp_used(ngx_conf_t *cf);

/* the client: of "value", or the verified one, or the address */

ngx_int_t ngx_http_penstock_erp_client(ngx_http_request_t *r,
    ngx_http_complex_value_t *value, ngx_str_t *client);


/* _lead.c: the phase handler */

ngx_int_t ngx_http_penstock_erp_handler(ngx_http_request_t *r);

/* _answer.c */

ngx_int_t ngx_http_penstock_erp_refuse(ngx_http_request_t *r,
    ngx_uint_t status, const char *type, const char *detail, time_t retry);
ngx_int_t ngx_http_penstock_erp_replay(ngx_http_request_t *r,
    ngx_str_t *answer);
ngx_int_t ngx_http_penstock_erp_verdict_answer(
    ngx_http_penstock_erp_ctx_t *ctx);
ngx_int_t ngx_http_penstock_erp_answer(ngx_http_penstock_erp_ctx_t *ctx);

/* the exchange's answer as it is kept; empty: not kept.  NGX_ERROR */

ngx_int_t ngx_http_penstock_erp_serialize(ngx_http_penstock_exchange_t *x,
    ngx_str_t *out);


/* _key.c: NGX_OK; NGX_DECLINED: there is no key; or an HTTP status */

ngx_int_t ngx_http_penstock_erp_prepare(ngx_http_penstock_erp_ctx_t *ctx);


/*
 * _claim.c: the request's hold on its key.
 *
 * claim: NGX_OK: claim->verdict says; NGX_AGAIN: the request is woken then,
 * and claim->asking is 0.  What is ours is renewed until it is settled.
 *
 * settle: the same, claim->kept says whether.
 */

ngx_int_t ngx_http_penstock_erp_claim(ngx_http_penstock_erp_claim_t *claim,
    ngx_http_penstock_erp_claim_e how);
ngx_int_t ngx_http_penstock_erp_settle(ngx_http_penstock_erp_claim_t *claim,
    ngx_http_penstock_erp_outcome_e outcome, ngx_str_t *answer);

/* for the request's end */

void ngx_http_penstock_erp_claim_cleanup(void *data);

/* _keys.c: the same in shared memory */

ngx_int_t ngx_http_penstock_erp_keys_init(ngx_shm_zone_t *zone,
    ngx_slab_pool_t *shpool, void *conf, void **data);
void ngx_http_penstock_erp_keys_claim(ngx_http_penstock_erp_claim_t *claim,
    ngx_http_penstock_erp_claim_e how);
void ngx_http_penstock_erp_keys_settle(ngx_http_penstock_erp_claim_t *claim,
    ngx_http_penstock_erp_outcome_e outcome, ngx_str_t *answer);
void ngx_http_penstock_erp_keys_renew(ngx_http_penstock_erp_claim_t *claim);
uint64_t ngx_http_penstock_erp_keys_entries(void *zone);


/* _gate.c: the breaker and the budget as gates */

extern ngx_http_penstock_gate_t  ngx_http_penstock_erp_breaker_gate;
extern ngx_http_penstock_gate_t  ngx_http_penstock_erp_budget_gate;

ngx_int_t ngx_http_penstock_erp_breaker_init(ngx_shm_zone_t *zone,
    ngx_slab_pool_t *shpool, void *conf, void **data);
uint64_t ngx_http_penstock_erp_breaker_state(void *breaker);
uint64_t ngx_http_penstock_erp_breaker_opened(void *breaker);


/*
 * _budget.c: places in the budget.
 *
 * A passage is of one exchange, in its host's pool, zeroed.  enter: NGX_OK,
 * NGX_AGAIN: waits, x is continued; NGX_DECLINED: passage->full or ->late
 * says why.  early, before that: takes a place that is free, without waiting
 * for one; NGX_DECLINED: Redis is not asked, so that enter will take no
 * longer.  leave: with "busy" the server may still be at it: the place
 * stays taken until its lease ends.
 */

typedef struct {
    ngx_queue_t                          queue;
    ngx_http_penstock_erp_budget_t      *budget;
    ngx_http_penstock_exchange_t        *exchange;
    ngx_http_penstock_redis_call_t       call;
    ngx_event_t                          timer;      /* the deadline */
    uint64_t                             client;
    uint64_t                             local;      /* id in the table */
    uint64_t                             remote;     /* id in Redis, or 0 */
    unsigned                             queue_max;
    unsigned                             write:1;
    unsigned                             asking:1;   /* Redis */
    unsigned                             early:1;    /* for a free place */
    unsigned                             listed:1;   /* in "waiting", "held" */
    unsigned                             entered:1;
    unsigned                             in:1;
    unsigned                             full:1;
    unsigned                             late:1;
    unsigned                             left:1;
} ngx_http_penstock_erp_passage_t;

ngx_int_t ngx_http_penstock_erp_enter_early(
    ngx_http_penstock_erp_passage_t *p);
ngx_int_t ngx_http_penstock_erp_enter(ngx_http_penstock_erp_passage_t *p,
    ngx_msec_t timeout);
void ngx_http_penstock_erp_leave(ngx_http_penstock_erp_passage_t *p,
    ngx_uint_t busy);

void ngx_http_penstock_erp_budget_setup(
    ngx_http_penstock_erp_budget_t *budget, ngx_log_t *log);

/* a worker's first question to Redis is due: they tell when it was away */
void ngx_http_penstock_erp_budget_start(
    ngx_http_penstock_erp_budget_t *budget);


/* _budget_zone.c: in shared memory */

typedef struct {
    ngx_slab_pool_t                     *shpool;
    ngx_atomic_t                         changes;
    ngx_atomic_t                         answered;  /* ms: when Redis last
                                                       told any worker here */
    ps_budget_t                          table;
} ngx_http_penstock_erp_places_t;

/* the server has refused for its load, and wants "ms" to pass */

void ngx_http_penstock_erp_narrow(ngx_http_penstock_erp_budget_t *budget,
    ngx_msec_t ms);

ngx_int_t ngx_http_penstock_erp_budget_init(ngx_shm_zone_t *zone,
    ngx_slab_pool_t *shpool, void *conf, void **data);
uint64_t ngx_http_penstock_erp_budget_held(void *budget);
uint64_t ngx_http_penstock_erp_budget_waiting(void *budget);
uint64_t ngx_http_penstock_erp_budget_level(void *budget);

/*
 * For _budget_redis.c: a passage is in; it could not be entered, as the queue
 * is full; there was no free place for one that was early; Redis does not
 * count it, so that it must find its place in this host's own table.
 */

void ngx_http_penstock_erp_granted(ngx_http_penstock_erp_passage_t *p);
void ngx_http_penstock_erp_rejected(ngx_http_penstock_erp_passage_t *p);
void ngx_http_penstock_erp_none_free(ngx_http_penstock_erp_passage_t *p);
void ngx_http_penstock_erp_fall_back(ngx_http_penstock_erp_passage_t *p);

/* Redis does not answer; it does, and those that wait here go there */

void ngx_http_penstock_erp_alone(ngx_http_penstock_erp_budget_t *budget);
void ngx_http_penstock_erp_shared(ngx_http_penstock_erp_budget_t *budget);


/*
 * _budget_script.c: the table of places in Redis.  Keys: held, reads, writes,
 * info, clients, workers.  Arguments: what (enter, leave, release, poll,
 * renew, narrow), the worker, limit, its share for writes, lease in ms; then
 * of enter an id, the client and how many may wait, of leave and release an
 * id, of renew how many of the ids that follow are held, of narrow ms.
 * Returns a number and the ids that were let in; 3: nobody is let in yet.
 */

extern ngx_http_penstock_redis_script_t  ngx_http_penstock_erp_budget_script;


/*
 * _budget_redis.c: places in Redis.
 *
 * enter: NGX_OK: granted, rejected or fall_back follows, or a wait, which the
 * poll ends.  NGX_DECLINED: there is no Redis now.
 */

ngx_int_t ngx_http_penstock_erp_remote_enter(
    ngx_http_penstock_erp_passage_t *p);
void ngx_http_penstock_erp_remote_leave(ngx_http_penstock_erp_passage_t *p);
void ngx_http_penstock_erp_remote_busy(ngx_http_penstock_erp_passage_t *p);
void ngx_http_penstock_erp_remote_poll(
    ngx_http_penstock_erp_budget_t *budget);
void ngx_http_penstock_erp_remote_renew(
    ngx_http_penstock_erp_budget_t *budget);
void ngx_http_penstock_erp_remote_narrow(
    ngx_http_penstock_erp_budget_t *budget, ngx_msec_t ms);


#endif /* _NGX_HTTP_PENSTOCK_ERP_H_INCLUDED_ */
