
/*
 * Inside the Redis client: the push link of a block.
 */

#ifndef _NGX_HTTP_PENSTOCK_REDIS_LINK_H_INCLUDED_
#define _NGX_HTTP_PENSTOCK_REDIS_LINK_H_INCLUDED_


#include "ngx_http_penstock_redis_node.h"


#define NGX_HTTP_PENSTOCK_REDIS_LINKS  128

/* without an answer for so long a link is made anew, ms */

#define NGX_HTTP_PENSTOCK_REDIS_LINK_TIMEOUT  1000


/* in shared memory */

typedef struct {
    ngx_atomic_t                         cycles;  /* configurations so far */
    ngx_atomic_t                         cycle;   /* the holder's */
    ngx_atomic_t                         pid;     /* the holder; 0: none */
    ngx_atomic_t                         held;    /* its last tick, ms */
    ngx_atomic_t                         epoch;
    ngx_atomic_t                         alive;   /* the link's last proof of
                                                     life, ms; 0: down */
    ngx_atomic_t                         refused; /* was logged */
    ngx_atomic_t                         master;  /* its mark, where sentinels
                                                     tell it; of the link */
} ngx_http_penstock_redis_push_state_t;


typedef struct {
    ngx_str_t                            prefix;
    ngx_http_penstock_redis_push_pt      handler;
    void                                *data;
} ngx_http_penstock_redis_watch_t;


struct ngx_http_penstock_redis_push_s {
    ngx_http_penstock_redis_t           *redis;
    ngx_shm_zone_t                      *zone;
    ngx_cycle_t                         *worker;  /* its cycle */

    /* event ident must be after 3 pointers as in ngx_connection_t */
    ngx_int_t                            ident;

    ngx_array_t                          watches;
                                         /* ngx_http_penstock_redis_watch_t */
    ngx_atomic_uint_t                    cycle;   /* of this configuration */
    ngx_int_t                            keys;    /* counters */
    ngx_int_t                            links;

    /* one, by sentinels as of the version of the master's address; in a
       cluster one to each master, as of the version of its slots */

    ngx_http_penstock_redis_link_t      *link[NGX_HTTP_PENSTOCK_REDIS_LINKS];
    ngx_uint_t                           nlinks;
    ngx_uint_t                           version;

    ngx_event_t                          tick;
    unsigned                             holds:1;
    unsigned                             complete:1;  /* each that there is */
};


/* the worker's link to one server, connected only while it holds it */

struct ngx_http_penstock_redis_link_s {
    ngx_http_penstock_redis_push_t      *push;
    ngx_http_penstock_redis_node_t      *of;      /* the same server's, for
                                                     calls; NULL: not used */
    ngx_http_penstock_redis_node_t       node;

    ngx_http_penstock_redis_call_t       id;
    ngx_http_penstock_redis_call_t       tracking;
    ngx_http_penstock_redis_call_t       subscribe;
    ngx_http_penstock_redis_call_t       ping;

    ngx_msec_t                           asked;   /* the ping, or subscribe */
    ngx_msec_t                           alive;   /* the last one answered */
    ngx_msec_t                           retry;   /* after a refusal */

    unsigned                             up:1;
    unsigned                             refused:1;
    unsigned                             wanted:1;
};


/* ngx_http_penstock_redis_push.c */

/* whether this worker holds the link, and nobody took it */

ngx_uint_t ngx_http_penstock_redis_push_mine(
    ngx_http_penstock_redis_push_t *push);

/* gives the link up, for another worker to take */

void ngx_http_penstock_redis_push_leave(ngx_http_penstock_redis_push_t *push);


/* ngx_http_penstock_redis_link.c */

/* connects it if it is not; asks whether it lives, or gives it up */

void ngx_http_penstock_redis_link_tick(ngx_http_penstock_redis_link_t *link);


/* ngx_http_penstock_redis_links.c */

/* connects those that there should be, sees to it that they live */

void ngx_http_penstock_redis_links_tick(ngx_http_penstock_redis_push_t *push);

void ngx_http_penstock_redis_links_close(
    ngx_http_penstock_redis_push_t *push);
void ngx_http_penstock_redis_links_exit(ngx_http_penstock_redis_push_t *push);


#endif /* _NGX_HTTP_PENSTOCK_REDIS_LINK_H_INCLUDED_ */
