
/*
 * Core of the suite: what every feature stands on.
 *
 * Per-request state that survives internal redirects, park and resume,
 * the exchange with an upstream, request header lists, problem replies,
 * shared memory zones and dictionaries, counters.
 *
 * Features include this file and never each other's private headers.
 */

#ifndef _NGX_HTTP_PENSTOCK_H_INCLUDED_
#define _NGX_HTTP_PENSTOCK_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


#define NGX_HTTP_PENSTOCK_KEY_LEN      32    /* SHA-256 */


typedef enum {
    NGX_HTTP_PENSTOCK_CORRELATION = 0,
    NGX_HTTP_PENSTOCK_OAUTH,
    NGX_HTTP_PENSTOCK_RATELIMIT,
    NGX_HTTP_PENSTOCK_AVAILABILITY,
    NGX_HTTP_PENSTOCK_ERP,
    NGX_HTTP_PENSTOCK_SCHEMA,
    NGX_HTTP_PENSTOCK_CREDENTIALS,
    NGX_HTTP_PENSTOCK_PROBE,
    NGX_HTTP_PENSTOCK_FEATURES
} ngx_http_penstock_feature_e;


typedef enum {
    NGX_HTTP_PENSTOCK_COUNTER = 0,
    NGX_HTTP_PENSTOCK_GAUGE
} ngx_http_penstock_metric_e;


/*
 * A request header for the upstream: a value with data == NULL drops every
 * header of that name, otherwise the one given replaces them.
 */

typedef struct {
    ngx_str_t                            name;
    ngx_str_t                            value;
} ngx_http_penstock_header_t;


/*
 * Appends to "headers" (of ngx_http_penstock_header_t, in r->pool) what a
 * feature wants to be on the request when it goes to the upstream.  Called
 * once for each request or exchange that really goes there, never for a hit.
 */

typedef ngx_int_t (*ngx_http_penstock_upstream_pt)(ngx_http_request_t *r,
    ngx_array_t *headers);

typedef ngx_int_t (*ngx_http_penstock_id_pt)(ngx_http_request_t *r,
    ngx_str_t *id);

typedef uint64_t (*ngx_http_penstock_gauge_pt)(void *data);


typedef struct {
    ngx_array_t                          upstream;
                                         /* ngx_http_penstock_upstream_pt */
    ngx_array_t                          gates;
                                         /* ngx_http_penstock_gate_t * */
    ngx_http_penstock_id_pt              correlation_id;
    ngx_array_t                          metrics;
                                         /* ngx_http_penstock_metric_t */
    ngx_shm_zone_t                      *metrics_zone;
} ngx_http_penstock_main_conf_t;


/*
 * What modules say of a location to others.  "authenticates" is set by
 * directives at once, for those that merge before: configurations merge in
 * the modules' order.
 */

typedef struct {
    ngx_flag_t                           authenticates;
    ngx_uint_t                           governs;    /* erp leads writes */
    ngx_http_handler_pt                  content;    /* of a directive of ours
                                                        that answers */
} ngx_http_penstock_loc_conf_t;


/*
 * For a directive without arguments that makes its location answer by
 * "handler", within limit_except, too: what the directive's function returns.
 */

char *ngx_http_penstock_content(ngx_conf_t *cf, ngx_http_handler_pt handler);


/* RFC 9457 problem details; "members" is raw JSON: "a":1,"b":[2] */

typedef struct {
    ngx_uint_t                           status;
    ngx_str_t                            type;
    ngx_str_t                            title;
    ngx_str_t                            detail;
    ngx_str_t                            members;
} ngx_http_penstock_problem_t;


extern ngx_module_t  ngx_http_penstock_module;


/*
 * State of a feature for the whole main request.  It survives internal
 * redirects, which zero r->ctx.  Any request of the tree may be given.
 * get: NULL where none was set.  set: NGX_OK or NGX_ERROR (no memory).
 */

void *ngx_http_penstock_get_state(ngx_http_request_t *r,
    ngx_http_penstock_feature_e feature);
ngx_int_t ngx_http_penstock_set_state(ngx_http_request_t *r,
    ngx_http_penstock_feature_e feature, void *state);


/*
 * Park and resume: the one place that owns timer, cleanup, client-abort test
 * and wake-up of a request that waits in a phase.
 *
 * park: r is the main request, in a phase handler, which returns the value
 * (NGX_AGAIN, or NGX_ERROR) at once.  "timeout" in ms, 0 for none; the timer
 * is not cancelable, so a reload lets the request finish.  With "watch" a
 * client that leaves ends the request; without, its abort is ignored until
 * the request is resumed.
 *
 * unwatch: goes on as if it were parked without "watch".
 *
 * wake: posts the resume; the handler is then called again, possibly also
 * without a wake, so it must be a function of its own state.  Never runs the
 * request inline; may be called for a request that is not parked (no-op).
 *
 * timed_out: whether the last park ended by its timeout.
 */

ngx_int_t ngx_http_penstock_park(ngx_http_request_t *r, ngx_msec_t timeout,
    ngx_uint_t watch);
void ngx_http_penstock_unwatch(ngx_http_request_t *r);
void ngx_http_penstock_wake(ngx_http_request_t *r);
ngx_uint_t ngx_http_penstock_timed_out(ngx_http_request_t *r);


/*
 * Followers: requests parked until another one, perhaps of another worker,
 * has done what they need.  A wait is of one worker; "ended" returns the
 * counter in shared memory that moves when something ended.
 *
 * join: the request is woken when something ended, here or elsewhere, and
 * every 100 ms besides, to see whether its leader still lives; it looks for
 * itself what that means for it, and is parked by its handler.
 *
 * leave: must be called before the waiter's memory goes; no-op if it does
 * not wait.  wake: all of this worker, at once.
 */

typedef ngx_atomic_t *(*ngx_http_penstock_wait_pt)(void *data);

typedef struct {
    ngx_queue_t                          waiting;
    ngx_event_t                          timer;
    ngx_http_penstock_wait_pt            ended;
    void                                *data;
    ngx_atomic_uint_t                    seen;
    ngx_uint_t                           ticks;
} ngx_http_penstock_wait_t;

struct ngx_http_penstock_exchange_s;

typedef struct {
    ngx_queue_t                          queue;
    ngx_http_request_t                  *request;
    struct ngx_http_penstock_exchange_s *exchange;   /* set before join: one
                                                        that a gate holds is
                                                        continued instead */
    unsigned                             waiting:1;
} ngx_http_penstock_waiter_t;

void ngx_http_penstock_wait_init(ngx_http_penstock_wait_t *wait,
    ngx_http_penstock_wait_pt ended, void *data, ngx_log_t *log);
void ngx_http_penstock_wait_join(ngx_http_penstock_wait_t *wait,
    ngx_http_penstock_waiter_t *waiter, ngx_http_request_t *r);
void ngx_http_penstock_wait_leave(ngx_http_penstock_waiter_t *waiter);
void ngx_http_penstock_wait_wake(ngx_http_penstock_wait_t *wait);


/*
 * A request that goes to the upstream by itself, not by an exchange, may go
 * there twice.
 *
 * mark: in a phase handler after PREACCESS, as the last thing before
 * NGX_DECLINED.  When an upstream has answered, "answered" is called once
 * before anything of that is passed on.  NGX_OK: fine.  NGX_AGAIN: the answer
 * is dropped and the marking handler called again, in the state in which the
 * request was then; it marks once more, and the content handler follows.
 * That happens once at most, and not where the body was not kept
 * (proxy_request_buffering off).
 */

typedef ngx_int_t (*ngx_http_penstock_answered_pt)(ngx_http_request_t *r);

ngx_int_t ngx_http_penstock_upstream_mark(ngx_http_request_t *r,
    ngx_http_penstock_answered_pt answered);


/*
 * Reads the request body in a phase handler (as nginx's mirror module does).
 * Returns NGX_OK when it is there (r->request_body, perhaps in a temp file),
 * NGX_DONE when the handler must return NGX_DONE and will be called again,
 * or an HTTP status.
 *
 * body: the whole body in one piece of r->pool, NGX_DECLINED above "max".
 */

ngx_int_t ngx_http_penstock_read_body(ngx_http_request_t *r);
ngx_int_t ngx_http_penstock_body(ngx_http_request_t *r, size_t max,
    ngx_str_t *body);


/*
 * Replaces r->headers_in.headers by a new list with "headers" applied, and
 * fixes the known-header pointers of the changed ones.  Never touches a
 * list shared with a parent.
 *
 * upstream_headers: the same with what all features registered.
 */

ngx_int_t ngx_http_penstock_set_headers_in(ngx_http_request_t *r,
    ngx_http_penstock_header_t *headers, ngx_uint_t n);
ngx_int_t ngx_http_penstock_upstream_headers(ngx_http_request_t *r);


/*
 * Adds a response header.  The strings are not copied; "name" should be
 * spelled as it is to appear.  NULL: no memory.
 */

ngx_table_elt_t *ngx_http_penstock_add_header(ngx_http_request_t *r,
    ngx_str_t *name, ngx_str_t *value);

/* the same of a header that there is once, though an "error_page" may have
   led from one location that adds it to another */

ngx_table_elt_t *ngx_http_penstock_put_header(ngx_http_request_t *r,
    ngx_str_t *name, ngx_str_t *value);


/*
 * A refusal as problem details.  The strings must live as long as the
 * request; they are escaped when sent.  Title and type may be empty: the
 * status' reason phrase and about:blank.  Returns "status" for the phase
 * handler to return, so that "satisfy any" and "error_page" are honoured;
 * the body is sent only where nginx's built-in page would be.
 */

ngx_int_t ngx_http_penstock_problem(ngx_http_request_t *r,
    ngx_http_penstock_problem_t *problem);
ngx_int_t ngx_http_penstock_refuse(ngx_http_request_t *r, ngx_uint_t status,
    const char *detail);

/*
 * For a header filter: gives r->headers_out, whose status is the problem's,
 * what a problem document needs, and returns its body to be sent for the one
 * there was.
 */

ngx_int_t ngx_http_penstock_problem_answer(ngx_http_request_t *r,
    ngx_http_penstock_problem_t *problem, ngx_buf_t **out);

/* Retry-After in seconds on the reply; and no more */

ngx_int_t ngx_http_penstock_retry_after(ngx_http_request_t *r, time_t sec);
void ngx_http_penstock_no_retry(ngx_http_request_t *r);


/*
 * A zone of shared memory.  "size" counts in bytes, at least 8 pages.  init
 * is called once for new memory, with the slab pool ready; it sets and
 * returns through *data the pointer that each process finds in
 * ngx_http_penstock_zone_data().  On reload the memory is kept when name,
 * tag, size and layout are the same; init is not called then.
 *
 * A name is one of its tag's only: the tag, a module or a structure of that
 * type with a name, stands for what the zone is for.
 */

typedef ngx_int_t (*ngx_http_penstock_zone_init_pt)(ngx_shm_zone_t *zone,
    ngx_slab_pool_t *shpool, void *conf, void **data);

ngx_shm_zone_t *ngx_http_penstock_zone_add(ngx_conf_t *cf, ngx_str_t *name,
    ssize_t size, ngx_module_t *tag, ngx_uint_t layout,
    ngx_http_penstock_zone_init_pt init, void *conf);
void *ngx_http_penstock_zone_data(ngx_shm_zone_t *zone);
void *ngx_http_penstock_zone_conf(ngx_shm_zone_t *zone);
ngx_str_t *ngx_http_penstock_zone_name(ngx_shm_zone_t *zone);

/*
 * Looks up a zone named before or after by another directive; "conf" of it
 * is NULL until it is defined.
 */

ngx_shm_zone_t *ngx_http_penstock_zone_ref(ngx_conf_t *cf, ngx_str_t *name,
    ngx_module_t *tag);

/* NAME:SIZE; reports its own errors */

ngx_int_t ngx_http_penstock_zone_parse(ngx_conf_t *cf, ngx_str_t *value,
    ngx_str_t *name, ssize_t *size);


/*
 * A dictionary in a zone: 32-byte keys (digests), values of any size, least
 * recently used goes first.  All calls but add need the lock; hold it for a
 * copy, never for a log line, JSON or a loop over entries.  A worker killed
 * inside leaves a mark, and the next one to lock finds an empty dictionary.
 */

typedef struct ngx_http_penstock_dict_s  ngx_http_penstock_dict_t;

typedef struct ngx_http_penstock_dict_node_s  ngx_http_penstock_dict_node_t;

struct ngx_http_penstock_dict_node_s {
    ngx_http_penstock_dict_node_t       *next;
    ngx_queue_t                          lru;
    u_char                               key[NGX_HTTP_PENSTOCK_KEY_LEN];
    size_t                               size;       /* of data, bytes */
    uint64_t                             data[1];    /* aligned */
};

ngx_shm_zone_t *ngx_http_penstock_dict_add(ngx_conf_t *cf, ngx_str_t *name,
    ssize_t size, ngx_module_t *tag, ngx_uint_t layout, void *conf);
ngx_http_penstock_dict_t *ngx_http_penstock_dict(ngx_shm_zone_t *zone);

/*
 * The key of a text in this dictionary, by a hash with the zone's own secret
 * key: cheaper than SHA-256, and of use on this host only.  No lock needed.
 */

void ngx_http_penstock_dict_key(ngx_http_penstock_dict_t *dict,
    ngx_str_t *text, u_char key[NGX_HTTP_PENSTOCK_KEY_LEN]);

void ngx_http_penstock_dict_lock(ngx_http_penstock_dict_t *dict);
void ngx_http_penstock_dict_unlock(ngx_http_penstock_dict_t *dict);

/* NULL: not there.  Makes it the most recently used. */

ngx_http_penstock_dict_node_t *ngx_http_penstock_dict_find(
    ngx_http_penstock_dict_t *dict, const u_char *key);

/*
 * A new node (any older of that key is gone), with data not initialized.
 * Evicts others when there is no room, in a bounded time: NULL when it can't
 * fit at all, or when a large one must be tried again because too few of the
 * small ones in its way have gone.
 */

ngx_http_penstock_dict_node_t *ngx_http_penstock_dict_insert(
    ngx_http_penstock_dict_t *dict, const u_char *key, size_t size);
void ngx_http_penstock_dict_delete(ngx_http_penstock_dict_t *dict,
    ngx_http_penstock_dict_node_t *node);

/* entries now, and evictions since start; no lock needed */

uint64_t ngx_http_penstock_dict_entries(void *dict_zone);
uint64_t ngx_http_penstock_dict_evictions(void *dict_zone);


/*
 * Counters of penstock_status.  Registered at configuration time; "labels"
 * is NULL or Prometheus label pairs: zone="a".  Names follow Prometheus
 * (penstock_..._total for counters).  The same name and labels give the same
 * id.  Values survive a reload.  NGX_ERROR: no memory.
 *
 * A gauge is read when asked.
 */

ngx_int_t ngx_http_penstock_counter(ngx_conf_t *cf, const char *name,
    const char *help, ngx_str_t *labels);
ngx_int_t ngx_http_penstock_gauge(ngx_conf_t *cf, const char *name,
    const char *help, ngx_str_t *labels, ngx_http_penstock_gauge_pt read,
    void *data);
void ngx_http_penstock_count(ngx_int_t id, ngx_uint_t n);


/* in postconfiguration; NGX_ERROR: no memory */

ngx_int_t ngx_http_penstock_phase_handler(ngx_conf_t *cf,
    ngx_http_phases phase, ngx_http_handler_pt handler);

/* whether a media type, with its parameters, is application/json or ...+json */

ngx_uint_t ngx_http_penstock_json_type(const ngx_str_t *type);


/* SHA-256 with a digest fetched once; NGX_OK or NGX_ERROR */

ngx_int_t ngx_http_penstock_sha256(const ngx_str_t *parts, ngx_uint_t n,
    u_char digest[NGX_HTTP_PENSTOCK_KEY_LEN]);

/* random bytes, drawn 4 KB at a time, never the same for two workers */

ngx_int_t ngx_http_penstock_random(u_char *p, size_t n);

/* ms and us since the epoch, now (not nginx's cached time) */

uint64_t ngx_http_penstock_usec(void);

/*
 * ms since "then", a value of ngx_current_msec that may be another worker's:
 * each has its own idea of now, and where that one was ahead this is 0.
 */

ngx_msec_t ngx_http_penstock_age(ngx_msec_t then);

/*
 * Writes the decimal digits of n, NGX_INT64_LEN bytes at most, and returns
 * the end: what ngx_sprintf("%uL") does, for fields of each response.
 */
u_char *ngx_http_penstock_digits(u_char *p, uint64_t n);


/*
 * A moment at which a worker may die, named for the tests: in their builds
 * the probe can kill it there, in others there is nothing.  Names are unique;
 * tests/live/test_kill_points.py finds them in the sources and dies at each.
 */

#if (NGX_HTTP_PENSTOCK_FAULTS)

void ngx_http_penstock_fault(const char *point);

#define ngx_http_penstock_kill_point(point)  ngx_http_penstock_fault(point)

#else

#define ngx_http_penstock_kill_point(point)

#endif


#endif /* _NGX_HTTP_PENSTOCK_H_INCLUDED_ */
