
/*
 * Private to availability: zones, and what is invalidated in them.
 */

#ifndef _NGX_HTTP_PENSTOCK_AVAILABILITY_ZONE_H_INCLUDED_
#define _NGX_HTTP_PENSTOCK_AVAILABILITY_ZONE_H_INCLUDED_


#include "ngx_http_penstock.h"
#include "ngx_http_penstock_redis.h"
#include "ngx_http_penstock_redis_push.h"
#include "ps_record.h"
#include "ps_tags.h"


/* L1 is asked no longer than this without a look at Redis, ms, while Redis
   pushes no changes */

#define NGX_HTTP_PENSTOCK_TRUST      1000

/* how long Redis remembers an invalidation, and the most it keeps, ms */

#define NGX_HTTP_PENSTOCK_TAG_TTL    "691200000"
#define NGX_HTTP_PENSTOCK_MAX_TTL    604800000ULL

#define NGX_HTTP_PENSTOCK_BUCKETS    32768
#define NGX_HTTP_PENSTOCK_PURGES     4096


/*
 * Beside the dictionary, in a zone of its own.  An invalidation takes the
 * next number and writes it to the buckets of its tags, so a record that was
 * begun at an older number is void: one store a tag, whatever it covers.
 * Tags that share a bucket share their invalidations, which costs a fill.
 */

typedef struct {
    ngx_atomic_t                          seq;       /* numbers given out */
    ngx_atomic_t                          gen;       /* counts those whose
                                                        buckets are written */
    ngx_atomic_t                          wake;      /* counts finished
                                                        fills */
    ngx_atomic_t                          fills;     /* the last fill's id */
    ngx_atomic_t                          lost;      /* an invalidation that
                                                        Redis did not get: 1,
                                                        or the worker that
                                                        makes up for it */
    ngx_atomic_t                          all;       /* seq of a full purge */
    ngx_atomic_t                          bucket[NGX_HTTP_PENSTOCK_BUCKETS];

    /* purges that leave stale what they cover, or leave nothing of it */

    ngx_atomic_t                          all_soft;
    ngx_atomic_t                          all_hard;
    ngx_atomic_t                          soft[NGX_HTTP_PENSTOCK_PURGES];
    ngx_atomic_t                          hard[NGX_HTTP_PENSTOCK_PURGES];
    ngx_atomic_t                          lost_hard; /* what was lost was one */

    /* the same numbers, for what Redis said has changed: of tags, and of
       records by the first 32 bits of their key */

    ngx_atomic_t                          pushed_all;
    ngx_atomic_t                          pushed[NGX_HTTP_PENSTOCK_BUCKETS];

    /* of leases, and of what is filled under them */

    ngx_atomic_t                          lease_waits;
    ngx_atomic_t                          leases[NGX_HTTP_PENSTOCK_PURGES];
} ngx_http_penstock_tag_table_t;


/* what an invalidation leaves of what it covers */

typedef enum {
    NGX_HTTP_PENSTOCK_AV_VOID = 0,       /* shown if the upstream fails, where
                                            "if_error" says so */
    NGX_HTTP_PENSTOCK_AV_SOFT,           /* stale, as if it had run out */
    NGX_HTTP_PENSTOCK_AV_HARD            /* never shown again */
} ngx_http_penstock_av_mode_e;


typedef enum {
    NGX_HTTP_PENSTOCK_AV_HIT = 0,
    NGX_HTTP_PENSTOCK_AV_L2_HIT,
    NGX_HTTP_PENSTOCK_AV_STALE,
    NGX_HTTP_PENSTOCK_AV_UPDATING,
    NGX_HTTP_PENSTOCK_AV_MISS,
    NGX_HTTP_PENSTOCK_AV_PARTIAL,        /* some cells were held */
    NGX_HTTP_PENSTOCK_AV_EXPIRED,
    NGX_HTTP_PENSTOCK_AV_COLLAPSED,
    NGX_HTTP_PENSTOCK_AV_PASS,
    NGX_HTTP_PENSTOCK_AV_BYPASS,
    NGX_HTTP_PENSTOCK_AV_ERROR,
    NGX_HTTP_PENSTOCK_AV_NONE,           /* not decided */
} ngx_http_penstock_av_status_e;


typedef enum {
    NGX_HTTP_PENSTOCK_CELLS_HIT = 0,
    NGX_HTTP_PENSTOCK_CELLS_REDIS_HIT,
    NGX_HTTP_PENSTOCK_CELLS_STALE,
    NGX_HTTP_PENSTOCK_CELLS_MISS,
    NGX_HTTP_PENSTOCK_CELLS_COLLAPSED,
    NGX_HTTP_PENSTOCK_CELLS_RESULTS
} ngx_http_penstock_cells_result_e;


typedef struct ngx_http_penstock_places_s  ngx_http_penstock_places_t;


typedef struct {
    ngx_str_t                             name;
    ngx_shm_zone_t                       *dict;
    ngx_shm_zone_t                       *tags;
    ngx_shm_zone_t                       *cells;       /* NULL: not used */
    ngx_http_penstock_redis_t            *redis;
    ngx_str_t                             redis_key;   /* of the zone */
    ngx_str_t                             push_prefix; /* of its other keys */
    ngx_str_t                             cell_prefix; /* of its cells */
    ngx_str_t                             lease_prefix;    /* of their leases */
    u_char                               *file;        /* first named at */
    ngx_uint_t                            line;

    ngx_int_t                             requests[
                                             NGX_HTTP_PENSTOCK_AV_NONE];
    ngx_int_t                             fills;
    ngx_int_t                             fill_errors;
    ngx_int_t                             invalidations;
    ngx_int_t                             cell[
                                             NGX_HTTP_PENSTOCK_CELLS_RESULTS];
    ngx_int_t                             odd;

    ngx_http_penstock_wait_t              wait;        /* of followers */

    uint64_t                              calm_gen;    /* of the tag table, as
                                                          this worker saw it */
    ngx_msec_t                            calm_since;  /* first */

    ngx_event_t                           mend;        /* of an invalidation
                                                          that it lost */
    ngx_msec_t                            kept;        /* when Redis confirmed
                                                          one; 0: never */
    ngx_http_penstock_places_t           *places;      /* of cells in Redis */
    unsigned                              cells_used:1;
} ngx_http_penstock_av_zone_t;


/* a request that waits until Redis has its invalidation */

typedef struct {
    ngx_http_request_t                   *request;
    void                                 *bump;        /* NULL: over */
} ngx_http_penstock_av_waiter_t;


/* _zone.c: the zone of that name, which may be defined later */

ngx_http_penstock_av_zone_t *ngx_http_penstock_av_zone(ngx_conf_t *cf,
    ngx_str_t *name);
char *ngx_http_penstock_av_zone_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


/* _tags.c */

ngx_http_penstock_tag_table_t *ngx_http_penstock_av_tag_table(
    ngx_http_penstock_av_zone_t *zone);

/* local invalidation of the tags of these hashes; of everything: n == 0 */

void ngx_http_penstock_av_bump(ngx_http_penstock_av_zone_t *zone,
    ngx_http_penstock_av_mode_e mode, const uint64_t *hashes, ngx_uint_t n);

/* a number in the table only grows */

void ngx_http_penstock_av_raise(ngx_atomic_t *slot, ngx_atomic_uint_t seq);

/* whether an invalidation came after the fill that began at seq */

ngx_uint_t ngx_http_penstock_av_void(ngx_http_penstock_tag_table_t *table,
    ps_record_t *record, uint64_t seq);

/* the same of a soft or hard purge */

ngx_uint_t ngx_http_penstock_av_purged(ngx_http_penstock_tag_table_t *table,
    ngx_http_penstock_av_mode_e mode, ps_record_t *record, uint64_t seq);

/* whether anything came after seq that concerns one of the tags */

ngx_uint_t ngx_http_penstock_av_touched(ngx_http_penstock_tag_table_t *table,
    ps_tags_t *tags, uint64_t seq);

/* whether Redis said after seq that a tag of the record has changed */

ngx_uint_t ngx_http_penstock_av_pushed(ngx_http_penstock_tag_table_t *table,
    ps_record_t *record, uint64_t seq);


/* _push.c: has Redis tell this host what changes in the zone */

ngx_int_t ngx_http_penstock_av_push_add(ngx_conf_t *cf,
    ngx_http_penstock_av_zone_t *zone);


/* _l2.c: keys in Redis */

ngx_int_t ngx_http_penstock_av_l2_tag_key(ngx_http_penstock_av_zone_t *zone,
    ngx_pool_t *pool, ps_tag_t *tag, ngx_str_t *key);
ngx_int_t ngx_http_penstock_av_l2_epoch_key(ngx_http_penstock_av_zone_t *zone,
    ngx_pool_t *pool, ngx_str_t *key);

/* a time of Redis's clock from a reply; 0: it is none */

uint64_t ngx_http_penstock_av_l2_number(redisReply *reply);


/* _bump.c: invalidations in Redis */

void ngx_http_penstock_av_l2_init(ngx_http_penstock_av_zone_t *zone,
    ngx_log_t *log);

/*
 * Makes up for invalidations that Redis did not get, as soon as it can: the
 * worker that sees it first leaves its pid and purges the zone.  Returns
 * whether Redis's records are still not to be used.
 */

ngx_uint_t ngx_http_penstock_av_l2_lost(ngx_http_penstock_av_zone_t *zone);

/* calls go to another master, which may not have what the last one confirmed */

void ngx_http_penstock_av_l2_moved(void *data, ngx_uint_t own);

/*
 * Invalidates here, and in Redis where the zone has one; all tags where tags
 * is NULL.  The waiter, if any, is of waiter->request, which is woken when
 * Redis has answered or won't.
 */

void ngx_http_penstock_av_invalidate(ngx_http_penstock_av_zone_t *zone,
    ngx_http_penstock_av_mode_e mode, ps_tags_t *tags,
    ngx_http_penstock_av_waiter_t *waiter, ngx_pool_t *pool);


#endif /* _NGX_HTTP_PENSTOCK_AVAILABILITY_ZONE_H_INCLUDED_ */
