
/*
 * Private to availability: configuration, and the state of one request on
 * its way through the cache.
 */

#ifndef _NGX_HTTP_PENSTOCK_AVAILABILITY_H_INCLUDED_
#define _NGX_HTTP_PENSTOCK_AVAILABILITY_H_INCLUDED_


#include "ngx_http_penstock.h"
#include "ngx_http_penstock_exchange.h"
#include "ngx_http_penstock_availability_zone.h"
#include "ps_cache_control.h"
#include "ps_targeted.h"
#include "ps_vary.h"


/* an answer that can't be stored is not queued for, ms */

#define NGX_HTTP_PENSTOCK_PASS       10000

/* what names the holder of a lease, bytes */

#define NGX_HTTP_PENSTOCK_AV_TOKEN   16

/* answers of one URL that vary; what a key in L1 has but zeros, bytes */

#define NGX_HTTP_PENSTOCK_AV_VARIANTS  64
#define NGX_HTTP_PENSTOCK_AV_HALF_KEY  16


typedef struct ngx_http_penstock_cells_s  ngx_http_penstock_cells_t;
typedef struct ngx_http_penstock_cells_conf_s  ngx_http_penstock_cells_conf_t;


typedef struct {
    ngx_uint_t                            code;        /* 0: any */
    time_t                                sec;
} ngx_http_penstock_av_valid_t;


typedef struct {
    ngx_str_t                             arg;         /* arg=NAME, or */
    ngx_http_complex_value_t              value;
} ngx_http_penstock_av_tag_t;


typedef struct {
    ngx_array_t                           zones;       /* of pointers */
    ngx_http_complex_value_t              default_key;
    ngx_http_complex_value_t              cells_key;   /* the default's */
    ngx_int_t                             over_budget;
    unsigned                              budgets:1;   /* some location has
                                                          one */
} ngx_http_penstock_av_main_conf_t;


typedef struct {
    ngx_flag_t                            enabled;
    ngx_http_penstock_av_zone_t          *zone;
    ngx_http_complex_value_t             *key;         /* NULL: the default */
    ngx_array_t                          *valid;
    ngx_array_t                          *tags;
    ngx_array_t                          *bypass;      /* predicates */
    ngx_http_penstock_cells_conf_t       *items;       /* NULL: answers are
                                                          kept as a whole */
    ngx_shm_zone_t                       *budget;      /* of rate limits */
    time_t                                while_revalidate;
    time_t                                if_error;
    ngx_flag_t                            lock;
    ngx_flag_t                            lock_cluster;
    ngx_msec_t                            lock_timeout;
    ngx_flag_t                            request_control;
    ngx_msec_t                            request_min;
    size_t                                max_size;

    ngx_http_penstock_av_zone_t          *invalidate_zone;
    ngx_array_t                          *pointers;    /* compiled */
    ngx_http_penstock_av_zone_t          *purge_zone;
} ngx_http_penstock_av_loc_conf_t;


/*
 * In front of each record in L1; zero record_size: nothing held yet.  With
 * "list" the record is a list of fields, and the variants stand before it.
 */

typedef struct {
    uint64_t                              filler;      /* fill id, 0: none */
    uint64_t                              filler_seq;  /* seq and gen at its
                                                          start */
    uint64_t                              filler_gen;
    ngx_pid_t                             pid;         /* the filler's */
    ngx_msec_t                            since;       /* its start */

    uint64_t                              made_by;     /* fill id */
    uint64_t                              seq;         /* at that fill's
                                                          start */
    uint64_t                              checked_gen; /* tags compared at this
                                                          gen */
    uint64_t                              checked;     /* ms, with Redis */
    uint64_t                              checked_seq; /* then, and of the */
    uint64_t                              checked_epoch; /* push link; 0: not
                                                          with Redis */
    uint64_t                              confirmed;   /* by the look of this
                                                          fill id */
    uint32_t                              record_hash; /* of its Redis key */
    uint32_t                              soft;        /* Redis says so */
    uint64_t                              fresh_until; /* ms */
    uint64_t                              stale_until; /* while revalidate */
    uint64_t                              pass_until;  /* ms */
    uint64_t                              read;        /* ms: when the upstream
                                                          last answered, or
                                                          failed */
    uint64_t                              failed;      /* fill id */
    uint32_t                              failed_status;
    uint32_t                              list;
    uint32_t                              headers_at;  /* in the record */
    uint32_t                              body_at;
    size_t                                record_size;
} ngx_http_penstock_av_entry_t;


typedef struct {
    uint64_t                              list;        /* its hash */
    uint64_t                              next;
    u_char                                key[NGX_HTTP_PENSTOCK_AV_VARIANTS]
                                             [NGX_HTTP_PENSTOCK_AV_HALF_KEY];
} ngx_http_penstock_av_variants_t;


typedef enum {
    NGX_HTTP_PENSTOCK_AV_START = 0,
    NGX_HTTP_PENSTOCK_AV_FOLLOW,
    NGX_HTTP_PENSTOCK_AV_LOOK,           /* asked Redis */
    NGX_HTTP_PENSTOCK_AV_FILL,           /* asked the upstream */
    NGX_HTTP_PENSTOCK_AV_BUDGET,         /* whether it may pass */
    NGX_HTTP_PENSTOCK_AV_DONE
} ngx_http_penstock_av_state_e;


typedef enum {
    NGX_HTTP_PENSTOCK_AV_USE = 0,        /* ctx->record answers */
    NGX_HTTP_PENSTOCK_AV_USE_AND_FILL,   /* ... and we refresh it */
    NGX_HTTP_PENSTOCK_AV_LEAD,
    NGX_HTTP_PENSTOCK_AV_WAIT,
    NGX_HTTP_PENSTOCK_AV_GO,             /* straight to proxy_pass */
    NGX_HTTP_PENSTOCK_AV_FAIL,
    NGX_HTTP_PENSTOCK_AV_AGAIN           /* filled meanwhile: look again */
} ngx_http_penstock_av_verdict_e;


typedef struct {
    ngx_http_request_t                   *request;
    ngx_http_penstock_av_loc_conf_t      *conf;
    ngx_http_penstock_av_zone_t          *zone;
    ngx_http_penstock_av_state_e          state;
    ngx_http_penstock_av_status_e         status;

    ngx_http_penstock_cells_t            *cells;       /* NULL: as a whole */

    ngx_str_t                             text;        /* of the key */
    ngx_str_t                             primary;     /* of the URL's entry */
    ngx_str_t                             id;          /* of the entry: that,
                                                          and what varies */
    u_char                                key[NGX_HTTP_PENSTOCK_KEY_LEN];
    ps_tags_t                            *tags;        /* of the request */
    ps_cache_control_t                   *asks;        /* of the request, or
                                                          NULL */
    uint64_t                              read;        /* of the entry */
    ps_vary_t                            *vary;        /* by which "id" was
                                                          made, or NULL */
    ps_vary_t                            *varies;      /* what the upstream
                                                          said, or NULL */
    ngx_str_t                             list;        /* a copy from L1 */
    ps_vary_t                            *selected;    /* the last list that
                                                          chose, and its "id" */
    ngx_str_t                             variant;

    ngx_str_t                             raw;         /* a record's copy */
    uint64_t                              raw_by;      /* its made_by */
    ps_record_t                           record;
    ngx_uint_t                            fail_status;

    uint64_t                              fill;        /* our id, or the one
                                                          that we follow */
    uint64_t                              seq;         /* at its start */
    uint64_t                              clock;       /* Redis's, 0: none */
    uint64_t                              asked;       /* ms, Redis */
    uint64_t                              trusted;     /* till then, ms, where
                                                          we only confirm */
    uint64_t                              epoch;       /* of the push link,
                                                          before that */
    uint32_t                              record_hash;

    ngx_http_penstock_waiter_t            waiter;
    ngx_event_t                          *event;       /* background only */

    ngx_http_penstock_redis_call_t        call;
    ngx_http_penstock_exchange_t         *exchange;    /* NULL: none yet; a
                                                          hit needs none */

    ngx_str_t                             lease;       /* its key */
    u_char                                token[NGX_HTTP_PENSTOCK_AV_TOKEN];
    uint64_t                              lease_seq;   /* before the look */
    ngx_msec_t                            lease_until; /* another host's */
    ngx_event_t                          *renew;       /* of ours */
    struct ngx_http_penstock_ratelimit_spend_s  *spend;

    ngx_msec_t                            deadline;    /* of a follower */
    time_t                                retry_after;

    unsigned                              leads:1;     /* to be released */
    unsigned                              have:1;      /* record is parsed */
    unsigned                              valid:1;     /* not invalidated */
    unsigned                              pushed:1;    /* but maybe changed:
                                                          Redis knows */
    unsigned                              replaced:1;  /* its record in Redis
                                                          has changed */
    unsigned                              soft:1;      /* purged so: stale */
    unsigned                              dropped:1;   /* purged hard, as
                                                          Redis says */
    unsigned                              softened:1;  /* its record in Redis
                                                          is there, soft */
    unsigned                              held:1;      /* the main request,
                                                          for a background
                                                          look */
    unsigned                              background:1;
    unsigned                              leased:1;    /* to us */
    unsigned                              denied:1;    /* to another host */
    unsigned                              lease_waits:1;
    unsigned                              looking:1;   /* at Redis */
    unsigned                              looked:1;    /* it answered */
    unsigned                              relooked:1;
    unsigned                              stored:1;
    unsigned                              revalidated:1;  /* by a 304 */
    unsigned                              collapsed:1;
    unsigned                              late:1;      /* joined the fill after
                                                          an invalidation */
    unsigned                              from_l2:1;
    unsigned                              final:1;     /* of the fill: the
                                                          record answers */
    unsigned                              forced:1;    /* what is held is not
                                                          what is asked for */
    unsigned                              credentials:1;  /* and a key that
                                                          does not speak of
                                                          them */
    unsigned                              again:1;     /* found a list: look
                                                          by that */
    unsigned                              went:1;      /* by such a list */
    unsigned                              page:1;      /* a failure that the
                                                          upstream has a page
                                                          for */
} ngx_http_penstock_av_ctx_t;


extern ngx_module_t  ngx_http_penstock_availability_module;


/*
 * _read.c: the way of a request.
 *
 * begin, resume: of one whose answer is kept as a whole.  showable: whether
 * what is held may be shown where the upstream fails.  make_ctx: the state of
 * any.  decline: straight to proxy_pass.
 */

ngx_int_t ngx_http_penstock_av_begin(ngx_http_penstock_av_ctx_t *ctx);
ngx_uint_t ngx_http_penstock_av_showable(ngx_http_penstock_av_ctx_t *ctx);
ngx_int_t ngx_http_penstock_av_resume(ngx_http_penstock_av_ctx_t *ctx);
ngx_http_penstock_av_ctx_t *ngx_http_penstock_av_make_ctx(
    ngx_http_request_t *r, ngx_http_penstock_av_loc_conf_t *alcf);
ngx_int_t ngx_http_penstock_av_decline(ngx_http_penstock_av_ctx_t *ctx,
    ngx_http_penstock_av_status_e status);


/*
 * _budget.c.
 *
 * pass: whether the request may go on to proxy_pass: NGX_DECLINED, or what
 * the handler is to return.  resume: of a request in that state.
 */

char *ngx_http_penstock_av_budget_directive(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
ngx_int_t ngx_http_penstock_av_budget_init(ngx_conf_t *cf);
ngx_int_t ngx_http_penstock_av_budget_pass(ngx_http_penstock_av_ctx_t *ctx);
ngx_int_t ngx_http_penstock_av_budget_resume(ngx_http_penstock_av_ctx_t *ctx);


/* _cells.c: a read that asks for cells */

ngx_int_t ngx_http_penstock_cells_handler(ngx_http_request_t *r,
    ngx_http_penstock_av_loc_conf_t *alcf);


/* _variables.c: how reads were answered */

ngx_int_t ngx_http_penstock_av_add_variables(ngx_conf_t *cf);
ngx_int_t ngx_http_penstock_av_log_handler(ngx_http_request_t *r);

/* the counter's label for a status */

const char *ngx_http_penstock_av_label(ngx_http_penstock_av_status_e status);


/* _conf.c */

void *ngx_http_penstock_av_create_main_conf(ngx_conf_t *cf);
char *ngx_http_penstock_av_init_main_conf(ngx_conf_t *cf, void *conf);
void *ngx_http_penstock_av_create_loc_conf(ngx_conf_t *cf);
char *ngx_http_penstock_av_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);

char *ngx_http_penstock_av_cache_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_penstock_av_key_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_penstock_av_valid_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_penstock_av_stale_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_penstock_av_lock_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_penstock_av_request_directive(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
char *ngx_http_penstock_av_tag_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


/* _write_conf.c */

char *ngx_http_penstock_av_invalidate_directive(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
char *ngx_http_penstock_av_purge_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


/* _tags.c: the tags that the request's arguments give; NULL: no memory */

ps_tags_t *ngx_http_penstock_av_tags(ngx_http_penstock_av_ctx_t *ctx);

/* _look.c: copies what is held to ctx and says what to do; may make us the
   leader */

ngx_http_penstock_av_verdict_e ngx_http_penstock_av_lookup(
    ngx_http_penstock_av_ctx_t *ctx);


/*
 * _elect.c: who fills.
 *
 * elect: the verdict where what was seen of the entry does not answer, or
 * is stale.  entry: the key's, made where there is none; under the lock.
 */

ngx_http_penstock_av_verdict_e ngx_http_penstock_av_elect(
    ngx_http_penstock_av_ctx_t *ctx, ngx_http_penstock_av_entry_t *seen,
    ngx_uint_t stale);
ngx_http_penstock_av_entry_t *ngx_http_penstock_av_entry(
    ngx_http_penstock_av_ctx_t *ctx);


/* _store.c: L1 */

uint64_t ngx_http_penstock_av_now(void);

/* L1's record stands: Redis has seen no later invalidation */

void ngx_http_penstock_av_confirm(ngx_http_penstock_av_ctx_t *ctx);

/* ... a hard purge: it goes */

void ngx_http_penstock_av_drop(ngx_http_penstock_av_ctx_t *ctx);

/*
 * The leader ends: with a record, or telling followers why not.  failed with
 * status 0: one of them is to try again.
 */

void ngx_http_penstock_av_store(ngx_http_penstock_av_ctx_t *ctx,
    ngx_str_t *raw);
void ngx_http_penstock_av_pass(ngx_http_penstock_av_ctx_t *ctx);
void ngx_http_penstock_av_failed(ngx_http_penstock_av_ctx_t *ctx,
    ngx_uint_t status);
void ngx_http_penstock_av_release(ngx_http_penstock_av_ctx_t *ctx);


/* _fill.c: the leader's way: Redis, then the upstream */

/* NGX_OK: under way; NGX_DONE: what is held stands; NGX_DECLINED: no more
   than what is held was asked for; NGX_ERROR */

ngx_int_t ngx_http_penstock_av_fill_start(ngx_http_penstock_av_ctx_t *ctx);

/*
 * The leader's request was resumed: NGX_AGAIN to wait on, NGX_OK: over,
 * NGX_DECLINED: look in L1 again.
 */

ngx_int_t ngx_http_penstock_av_fill_resume(ngx_http_penstock_av_ctx_t *ctx);

/*
 * HTTP/1.x would hold the next request of this connection until a fill in
 * the background has ended.  Called before the answer, which must say so.
 */

void ngx_http_penstock_av_close(ngx_http_request_t *r);


/* _l2.c: Redis */

ngx_int_t ngx_http_penstock_av_l2_look(ngx_http_penstock_av_ctx_t *ctx,
    ngx_http_penstock_redis_handler_pt handler);
ngx_int_t ngx_http_penstock_av_l2_reply(ngx_http_penstock_av_ctx_t *ctx,
    redisReply *reply, ngx_str_t *raw);
void ngx_http_penstock_av_l2_store(ngx_http_penstock_av_ctx_t *ctx,
    ngx_str_t *raw);

/* the record will be of another key than the one that was looked at */

ngx_int_t ngx_http_penstock_av_l2_rekey(ngx_http_penstock_av_ctx_t *ctx);


/*
 * _request.c: what the request's Cache-Control asks for.
 *
 * asks: reads it; NGX_ERROR: no memory.  refused: whether the record is not
 * what is asked for, and the upstream may be asked for another now.
 * stale_until: ms, "until" or as far as the request goes beyond it.
 */

ngx_int_t ngx_http_penstock_av_asks(ngx_http_penstock_av_ctx_t *ctx);
ngx_uint_t ngx_http_penstock_av_refused(ngx_http_penstock_av_ctx_t *ctx,
    ps_record_t *record, uint64_t now);
uint64_t ngx_http_penstock_av_stale_until(ngx_http_penstock_av_ctx_t *ctx,
    uint64_t until);


/*
 * _vary.c: answers that vary.
 *
 * primary: the key is the URL's again.  select: the key is the one of the
 * answer that the list in the record "raw" chooses, NGX_ERROR: it can't be.
 * store_variant: keeps the leader's answer under the fields that it names.
 * found_list: what Redis has at the URL's key is such a list, the leader ends.
 */

void ngx_http_penstock_av_primary(ngx_http_penstock_av_ctx_t *ctx);
ngx_int_t ngx_http_penstock_av_select(ngx_http_penstock_av_ctx_t *ctx,
    ngx_str_t *raw);
void ngx_http_penstock_av_store_variant(ngx_http_penstock_av_ctx_t *ctx,
    ngx_str_t *raw);
void ngx_http_penstock_av_found_list(ngx_http_penstock_av_ctx_t *ctx,
    ngx_str_t *raw);


/* _head.c: the head of an upstream's answer */

typedef struct {
    ps_cache_control_t                    cc;
    ps_targeted_t                         targeted;
    off_t                                 length;
    time_t                                expires;     /* NGX_ERROR: malformed,
                                                          so past */
    time_t                                date;        /* NGX_ERROR: malformed,
                                                          0: none */
    ngx_str_t                             date_text;
    ps_vary_t                             vary;
    time_t                                age;
    time_t                                accel;
    unsigned                              has_expires:1;
    unsigned                              has_accel:1;
    unsigned                              has_age:1;
    unsigned                              set_cookie:1;
    unsigned                              coded:1;
    unsigned                              has_length:1;
    unsigned                              framing:1;   /* no length, or two
                                                          that differ */
} ngx_http_penstock_av_head_t;

/* tags that the answer brings are added to "tags" */

void ngx_http_penstock_av_read_head(ngx_http_penstock_av_ctx_t *ctx,
    ngx_http_penstock_av_head_t *head, ps_tags_t *tags);


/* _lease.c: one fill in a cluster */

/*
 * For a look: the lease's key and its three arguments, empty where none is
 * asked for.  NGX_OK; NGX_DECLINED: there is no key; NGX_ERROR.
 */

ngx_int_t ngx_http_penstock_av_lease_args(ngx_http_penstock_av_ctx_t *ctx,
    const ngx_str_t *record_key, ngx_str_t *key, ngx_str_t *argv);

/* what the look said of it: sets ctx->leased or ctx->denied */

void ngx_http_penstock_av_lease_reply(ngx_http_penstock_av_ctx_t *ctx,
    redisReply *reply);

/* of a leader that was denied: NGX_AGAIN: wait on, NGX_OK: look again,
   NGX_BUSY: its time is over */

ngx_int_t ngx_http_penstock_av_lease_wait(ngx_http_penstock_av_ctx_t *ctx);

/* gives the lease back, if it is ours; the leader is over */

void ngx_http_penstock_av_lease_end(ngx_http_penstock_av_ctx_t *ctx);


/* _response.c: what may be stored, for how long, and as what */

typedef enum {
    NGX_HTTP_PENSTOCK_AV_STORE = 0,
    NGX_HTTP_PENSTOCK_AV_NO_STORE,
    NGX_HTTP_PENSTOCK_AV_FAILURE
} ngx_http_penstock_av_kind_e;

ngx_http_penstock_av_kind_e ngx_http_penstock_av_judge(
    ngx_http_penstock_av_ctx_t *ctx, ps_record_t *record, ps_tags_t *tags);
/* of a failure: the upstream has not begun to answer in time */

ngx_uint_t ngx_http_penstock_av_timed_out(ngx_http_penstock_av_ctx_t *ctx);

ngx_int_t ngx_http_penstock_av_serialize(ngx_http_penstock_av_ctx_t *ctx,
    ps_record_t *record, ps_tags_t *tags, ngx_str_t *raw);


/*
 * _validate.c: conditional requests to the upstream.
 *
 * conditions: gives the fill the validators of the record that we have.
 * freshen: NGX_OK: the upstream said 304, and the exchange is now the record
 * with the fields of that; the record's tags are added to "tags".
 * NGX_DECLINED: it said something else.
 */

ngx_int_t ngx_http_penstock_av_conditions(ngx_http_penstock_av_ctx_t *ctx);
ngx_int_t ngx_http_penstock_av_freshen(ngx_http_penstock_av_ctx_t *ctx,
    ps_tags_t *tags);


/* _unsafe.c: methods that void their URL; the tag that a record has for it */

void ngx_http_penstock_av_unsafe_init(void);
void ngx_http_penstock_av_key_tag(ngx_pool_t *pool, ngx_str_t *key,
    ps_tags_t *tags);


/* _answer.c */

/* adds the record's field at *p to the answer of r, and moves on */

ngx_int_t ngx_http_penstock_av_header(ngx_http_request_t *r, const char **p);

ngx_int_t ngx_http_penstock_av_age(ngx_http_request_t *r, uint64_t age);

/* whether a field of an upstream's answer is kept with it */

ngx_uint_t ngx_http_penstock_av_kept(ngx_table_elt_t *h);


ngx_int_t ngx_http_penstock_av_answer(ngx_http_penstock_av_ctx_t *ctx);
ngx_int_t ngx_http_penstock_av_answer_exchange(
    ngx_http_penstock_av_ctx_t *ctx);
ngx_int_t ngx_http_penstock_av_answer_failure(
    ngx_http_penstock_av_ctx_t *ctx);


/* _write.c */

ngx_int_t ngx_http_penstock_av_write(ngx_http_request_t *r,
    ngx_http_penstock_av_loc_conf_t *alcf);

#endif /* _NGX_HTTP_PENSTOCK_AVAILABILITY_H_INCLUDED_ */
