
/*
 * Private to availability: cells.
 *
 * A request that asks for many (SKU, location) pairs is a grid of cells.
 * Each is held by itself; what is not held is read from the upstream in one
 * request, or in some side by side, and the answer is put together from the
 * texts of all.
 */

#ifndef _NGX_HTTP_PENSTOCK_AVAILABILITY_CELLS_H_INCLUDED_
#define _NGX_HTTP_PENSTOCK_AVAILABILITY_CELLS_H_INCLUDED_


#include "ngx_http_penstock_availability.h"
#include "ps_cell_fills.h"
#include "ps_cell_key.h"
#include "ps_cell_query.h"
#include "ps_cell_split.h"
#include "ps_cell_table.h"


/* cells of one request; above it the request is passed */

#define NGX_HTTP_PENSTOCK_CELLS_MAX      8192

/* a body that is looked into, bytes */

#define NGX_HTTP_PENSTOCK_CELLS_BODY     (1024 * 1024)

/* times that a request looks for cells, leads or waits, before it is passed */

#define NGX_HTTP_PENSTOCK_CELLS_ROUNDS   16

/* a cell that the upstream does not know is held no longer, ms, unless
   availability_cache_valid has a time for 404 */

#define NGX_HTTP_PENSTOCK_CELLS_ABSENT   10000


/* availability_cache_items */

struct ngx_http_penstock_cells_conf_s {
    ngx_uint_t                         axes;       /* 1 or 2 */
    ngx_str_t                          arg[PS_CELL_AXES];   /* empty: body */
    ps_json_path_t                     body[PS_CELL_AXES];
    ps_json_path_t                     list;
    ps_json_path_t                     id[PS_CELL_AXES];
    ngx_uint_t                         nid;
    ngx_uint_t                         max_items;  /* 0: any number */
    unsigned                           in_body:1;  /* at least one axis */
};


typedef enum {
    NGX_HTTP_PENSTOCK_CELL_NEED = 0,
    NGX_HTTP_PENSTOCK_CELL_HAVE,       /* "value" answers */
    NGX_HTTP_PENSTOCK_CELL_LEAD,       /* we read it */
    NGX_HTTP_PENSTOCK_CELL_FOLLOW,     /* another request does */
    NGX_HTTP_PENSTOCK_CELL_FAILED      /* it could not be read */
} ngx_http_penstock_cell_state_e;


typedef struct {
    uint64_t                           hash[2];    /* of the key, in L1 */
    ngx_str_t                          key;        /* in Redis */

    /* what is held, old or not */

    ngx_str_t                          value;
    uint64_t                           created;    /* ms since the epoch */
    uint64_t                           envelope;
    uint64_t                           seq;
    uint32_t                           fresh;      /* ms from created */
    uint32_t                           while_revalidate;
    uint32_t                           if_error;

    uint64_t                           fill;       /* that we follow */

    uint16_t                           sku;        /* in the axes */
    uint16_t                           location;

    unsigned                           state:3;
    unsigned                           held:1;     /* value, created ... set */
    unsigned                           valid:1;    /* not invalidated since */
    unsigned                           late:1;     /* followed, though there
                                                      were invalidations */
    unsigned                           slot:1;     /* we are its filler */
    unsigned                           old:1;      /* used though it is stale,
                                                      as it is renewed */
    unsigned                           refresh:1;  /* ... by us */
    unsigned                           soft:1;     /* purged so: stale */
    unsigned                           stale:1;    /* used since it failed */
    unsigned                           plain:1;    /* seen in Redis: another
                                                      program's */
    unsigned                           marked:1;   /* its key was pushed */
    unsigned                           missed:1;   /* was not held at first */
    unsigned                           filled:1;   /* from the upstream */
    unsigned                           from_redis:1;
    unsigned                           collapsed:1;
    unsigned                           leased:1;   /* in the cluster, to us */
    unsigned                           remote:1;   /* to another host */
} ngx_http_penstock_cell_t;


typedef enum {
    NGX_HTTP_PENSTOCK_CELLS_IDLE = 0,
    NGX_HTTP_PENSTOCK_CELLS_LOOK,      /* asked Redis */
    NGX_HTTP_PENSTOCK_CELLS_LEASE,     /* asked it for leases */
    NGX_HTTP_PENSTOCK_CELLS_REMOTE,    /* waits for other hosts */
    NGX_HTTP_PENSTOCK_CELLS_ASKED      /* the upstream */
} ngx_http_penstock_cells_stage_e;


/* one request to the upstream */

typedef struct {
    ngx_http_penstock_cells_t         *cells;
    ngx_http_penstock_av_ctx_t         ctx;        /* for what is said of
                                                      its exchange */
    ngx_http_penstock_exchange_t       exchange;
    ps_cell_axis_t                     axis[PS_CELL_AXES];
                                                   /* what it asks for */
    uint16_t                          *index[PS_CELL_AXES];
                                                   /* where that is in the
                                                      request's axes */
    unsigned                           whole:1;    /* all of the request */
} ngx_http_penstock_cells_ask_t;


/* an MGET for the cells of a SKU, from "first" on in the grid */

typedef struct {
    ngx_http_penstock_redis_call_t     call;
    ngx_http_penstock_cells_t         *cells;
    ngx_uint_t                         first;
} ngx_http_penstock_cells_get_t;


struct ngx_http_penstock_cells_s {
    ngx_http_penstock_av_ctx_t        *ctx;
    ngx_http_request_t                *request;
    ngx_http_penstock_cells_conf_t    *conf;
    ngx_http_penstock_av_zone_t       *zone;

    ps_cell_axis_t                     axis[PS_CELL_AXES];
    ps_json_text_t                     body;
    ngx_str_t                          scope;

    ngx_http_penstock_cell_t          *cell;       /* SKUs, each with all its
                                                      locations */
    ngx_uint_t                         n;
    ngx_uint_t                         nlocations; /* 1 where none is asked */
    ngx_uint_t                         distinct;   /* cells asked for once */

    u_char                            *pos;        /* room for values */
    u_char                            *last;

    /* of the round that we lead */

    uint64_t                           fill;
    uint64_t                           seq;
    uint64_t                           gen;
    ngx_http_penstock_cells_ask_t     *ask;
    ngx_uint_t                         nasks;
    ngx_uint_t                         pending;    /* asks, or Redis' replies */
    ngx_uint_t                         rounds;

    /* Redis */

    ngx_http_penstock_cells_get_t     *get;
    ngx_uint_t                         ngets;
    ngx_http_penstock_redis_call_t     look;
    ngx_uint_t                         ntimes;     /* that it asked for */
    uint64_t                          *times;      /* of SKUs, locations, and
                                                      the first "known" of
                                                      "extra" */
    uint64_t                          *more_times; /* of the rest of these */
    uint64_t                          *hard;       /* of hard purges: of the
                                                      epoch, then as times */
    uint64_t                          *soft;       /* likewise */
    uint64_t                          *more_soft;
    ps_tags_t                         *extra;
    ngx_uint_t                         known;
    ngx_str_t                         *raw;        /* what it holds of each
                                                      cell */
    uint64_t                           clock;      /* Redis's, 0: not known */
    uint64_t                           epoch;
    uint64_t                           asked;      /* ms */
    uint64_t                           push_epoch; /* before the look */

    /* the text around the cells, of the oldest of them */

    ngx_str_t                          envelope;
    uint64_t                           envelope_hash;

    ngx_http_penstock_cells_ask_t     *whole;      /* asked for as it is */
    ngx_uint_t                         fail_status;
    time_t                             retry_after;
    ngx_event_t                       *event;      /* of a background look */
    ngx_http_penstock_cells_stage_e    stage;

    u_char                             token[16];  /* of leases */
    ngx_event_t                       *renew;
    uint64_t                           lease_seq;  /* before they were asked */
    ngx_msec_t                         lease_until;    /* another host's */

    unsigned                           changed:1;  /* a cell, before its lease
                                                      was asked for */
    unsigned                           lease_waits:1;  /* counted in the zone */
    unsigned                           waited:1;
    unsigned                           leases:1;   /* some are ours */
    unsigned                           again:1;    /* for tags of records */
    unsigned                           push_live:1;
    unsigned                           background:1;
    unsigned                           held:1;     /* the request, for it */
    unsigned                           timed_out:1;    /* so did an ask of
                                                      this round */
    unsigned                           odd:1;      /* not the declared shape */
    unsigned                           asked_whole:1;
    unsigned                           pass:1;
    unsigned                           stored:1;
    unsigned                           unkept:1;   /* some may not be stored */
};


/* nothing may come from nowhere, which memcpy() is not told */

static ngx_inline u_char *
ngx_http_penstock_cells_copy(u_char *p, const void *from, size_t len)
{
    return len ? ngx_cpymem(p, from, len) : p;
}


/* _cells_conf.c */

char *ngx_http_penstock_cells_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* what items ask of a location's other directives; after the merge */

char *ngx_http_penstock_cells_check(ngx_conf_t *cf,
    ngx_http_penstock_av_loc_conf_t *alcf);


/*
 * _cells_zone.c: the zone, L1.
 *
 * setup: divides the memory of a zone that some location uses for cells; at
 * postconfiguration.
 */

ngx_int_t ngx_http_penstock_cells_setup(ngx_conf_t *cf,
    ngx_http_penstock_av_zone_t *zone);

/* the hash of a key; no lock needed */

void ngx_http_penstock_cells_hash(ngx_http_penstock_av_zone_t *zone,
    ngx_str_t *key, uint64_t hash[2]);
const ps_siphash_key_t *ngx_http_penstock_cells_secret(
    ngx_http_penstock_av_zone_t *zone);

/* the hash of the tag that cells of a location bear: location,NAME */

uint64_t ngx_http_penstock_cells_location_hash(ps_json_text_t *id);

/*
 * _cells_look.c.  Copies what is held of the cells that we still need, and
 * says of each other one who reads it: the state of each is set.  NGX_ERROR:
 * no memory.
 */

ngx_int_t ngx_http_penstock_cells_look(ngx_http_penstock_cells_t *c);

/*
 * _cells_store.c.  Takes cells into L1 that are now HAVE, and tells their
 * followers; "fresh" and others are those of the cell.  Cells that were
 * invalidated since "seq" serve those who wait only, and lose "valid".
 */

typedef struct {
    ngx_http_penstock_cell_t          *cell;
    uint32_t                          *tag;        /* further tags' hashes */
    ngx_uint_t                         ntags;
    ps_tags_t                         *names;      /* for Redis; or NULL */
    unsigned                           plain:1;
    unsigned                           soft:1;     /* purged so: we read it */
} ngx_http_penstock_cells_store_t;

void ngx_http_penstock_cells_store(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cells_store_t *store, ngx_uint_t n);

/* the same for the text around them; its hash, or 0 where it found no room */

uint64_t ngx_http_penstock_cells_store_envelope(ngx_http_penstock_cells_t *c,
    ngx_str_t *envelope);

/* a copy in the request's pool; NGX_DECLINED: it is gone */

ngx_int_t ngx_http_penstock_cells_envelope(ngx_http_penstock_cells_t *c,
    uint64_t hash, ngx_str_t *envelope);

/* the last text around cells of this scope, likewise */

ngx_int_t ngx_http_penstock_cells_last_envelope(ngx_http_penstock_cells_t *c,
    uint64_t *hash, ngx_str_t *envelope);

/*
 * That an answer to this very request is larger than may be held: for a while
 * it goes straight to proxy_pass.
 */

void ngx_http_penstock_cells_set_large(ngx_http_penstock_cells_t *c);
ngx_uint_t ngx_http_penstock_cells_large(ngx_http_penstock_cells_t *c);

/* once a minute and host */

ngx_uint_t ngx_http_penstock_cells_may_log(ngx_http_penstock_av_zone_t *zone);

/*
 * end: ends the fills of cells that we still lead; whether there were any.
 * Where the upstream has not answered in time, others try again those of which
 * they have nothing to show.
 * leave: so that others read them, who are told.
 */

ngx_uint_t ngx_http_penstock_cells_end(ngx_http_penstock_cells_t *c,
    ngx_uint_t state, ngx_uint_t status);
void ngx_http_penstock_cells_leave(ngx_http_penstock_cells_t *c);

/* whether nothing of the cell was invalidated since cell->seq */

ngx_uint_t ngx_http_penstock_cells_stands(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cell_t *cell);


/*
 * _cells_request.c: what a request asks for.
 *
 * NGX_OK: c is set; NGX_DECLINED: it asks for no cells; NGX_ABORT: for too
 * many; NGX_ERROR.
 */

ngx_int_t ngx_http_penstock_cells_read(ngx_http_penstock_cells_t *c);

/* makes the grid and its keys, from axes and scope */

ngx_int_t ngx_http_penstock_cells_grid(ngx_http_penstock_cells_t *c);

ngx_int_t ngx_http_penstock_cells_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);


/*
 * _cells.c: the way of a request.
 *
 * showable: whether what is held of a cell may be shown where the upstream
 * fails.
 */

ngx_uint_t ngx_http_penstock_cells_showable(ngx_http_penstock_cell_t *cell,
    uint64_t now);

ngx_int_t ngx_http_penstock_cells_resume(ngx_http_penstock_cells_t *c);


/*
 * _cells_round.c.
 *
 * lead: begins a round for the cells that we lead; what is old but usable is
 * read along.  go_on: from a stage that has ended to the next: Redis, leases,
 * the upstream, other hosts; NGX_OK: the round is over, NGX_AGAIN: not yet.
 * park: waits for other hosts.  refresh: reads behind the answer what it
 * shows though it is old.
 *
 * ended: the stage has ended: resumes the request, or what is held for it.
 */

ngx_int_t ngx_http_penstock_cells_lead(ngx_http_penstock_cells_t *c);
ngx_int_t ngx_http_penstock_cells_go_on(ngx_http_penstock_cells_t *c);
ngx_int_t ngx_http_penstock_cells_park(ngx_http_penstock_cells_t *c);
ngx_int_t ngx_http_penstock_cells_refresh(ngx_http_penstock_cells_t *c);
void ngx_http_penstock_cells_ended(ngx_http_penstock_cells_t *c);


/* _cells_fill.c: the upstream */

ngx_int_t ngx_http_penstock_cells_fill(ngx_http_penstock_cells_t *c);
ngx_int_t ngx_http_penstock_cells_ask_whole(ngx_http_penstock_cells_t *c);


/*
 * _cells_parse.c: sets the cells of the request that are in the answer, and
 * keeps them with "store".  NGX_DECLINED: it is not of the declared shape.
 */

ngx_int_t ngx_http_penstock_cells_take_apart(
    ngx_http_penstock_cells_ask_t *ask, ps_record_t *record, ps_tags_t *tags,
    ngx_uint_t store);


/*
 * _cells_l2.c: Redis.
 *
 * look: NGX_OK: c->pending counts the replies, then _cells_ended() follows;
 * else it can't be asked.
 */

ngx_int_t ngx_http_penstock_cells_l2_look(ngx_http_penstock_cells_t *c);
void ngx_http_penstock_cells_l2_store(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cells_store_t *store, ngx_uint_t n);
void ngx_http_penstock_cells_l2_cancel(ngx_http_penstock_cells_t *c);

/* whether the round that is under way is to read the cell */

ngx_uint_t ngx_http_penstock_cells_wanted(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cell_t *cell);

/*
 * _cells_lease.c.
 *
 * ask: leases of all that is wanted.  NGX_OK: c->pending counts the replies,
 * then _cells_ended() follows; NGX_DECLINED: none are needed.  end: gives
 * them back.
 *
 * wait: for cells that other hosts read.  NGX_AGAIN: wait on, NGX_OK: look
 * again, NGX_BUSY: its time is over.  leave: waits no more.
 *
 * news: the key of a cell, or of its lease, was written.
 */

ngx_int_t ngx_http_penstock_cells_lease_setup(ngx_conf_t *cf,
    ngx_http_penstock_av_zone_t *zone);
ngx_int_t ngx_http_penstock_cells_lease_ask(ngx_http_penstock_cells_t *c);
void ngx_http_penstock_cells_lease_end(ngx_http_penstock_cells_t *c);
ngx_int_t ngx_http_penstock_cells_lease_wait(ngx_http_penstock_cells_t *c);
void ngx_http_penstock_cells_lease_leave(ngx_http_penstock_cells_t *c);
void ngx_http_penstock_cells_lease_news(ngx_http_penstock_av_zone_t *zone,
    ngx_str_t *key);

/*
 * _cells_places.c: locations of cells in Redis that requests don't name.
 *
 * add: those that are known, to the tags to be asked for.  learn: from tags,
 * which records had, those that are locations; from that place on.
 */

ngx_int_t ngx_http_penstock_cells_places_setup(ngx_conf_t *cf,
    ngx_http_penstock_av_zone_t *zone);
ngx_int_t ngx_http_penstock_cells_places_add(ngx_http_penstock_cells_t *c,
    ps_tags_t *tags);
void ngx_http_penstock_cells_places_learn(ngx_http_penstock_cells_t *c,
    ps_tags_t *tags, ngx_uint_t from);

/* _cells_l2_found.c: takes what stands of c->raw into L1 */

void ngx_http_penstock_cells_found(ngx_http_penstock_cells_t *c);

/* _cells_answer.c; NGX_AGAIN: some cells are to be read again */

ngx_int_t ngx_http_penstock_cells_answer(ngx_http_penstock_cells_t *c);


/*
 * _cells_record.c: as bytes, in L1 the text around cells, in Redis that and
 * a cell's value.  Fields of the answer are those of the record.
 */

typedef struct {
    ngx_str_t                          before;
    ngx_str_t                          behind;
    ngx_str_t                          value;
    unsigned                           limited:1;  /* the upstream said for
                                                      how long it is fresh */
} ngx_http_penstock_cells_pack_t;

/* what the upstream sent around its cells */

ngx_int_t ngx_http_penstock_cells_wrap(ngx_http_penstock_cells_ask_t *ask,
    ps_cell_split_t *split, ngx_str_t *envelope);

/* "head" has fields, times and status; tags may be NULL */

ngx_int_t ngx_http_penstock_cells_pack(ngx_pool_t *pool, ps_record_t *head,
    ps_tags_t *tags, ngx_http_penstock_cells_pack_t *pack, ngx_str_t *raw);

/* the text around a cell of Redis, as wrap() has made it */

ngx_int_t ngx_http_penstock_cells_bare(ngx_pool_t *pool, ps_record_t *record,
    ngx_http_penstock_cells_pack_t *pack, ngx_str_t *envelope);

/* NGX_DECLINED: it is none; the strings point into raw */

ngx_int_t ngx_http_penstock_cells_unpack(ngx_str_t *raw, ps_record_t *record,
    ngx_http_penstock_cells_pack_t *pack);


#endif /* _NGX_HTTP_PENSTOCK_AVAILABILITY_CELLS_H_INCLUDED_ */
