
/*
 * Inside the Redis client: a cluster's nodes and slots, as a worker knows
 * them.
 */

#ifndef _NGX_HTTP_PENSTOCK_REDIS_CLUSTER_H_INCLUDED_
#define _NGX_HTTP_PENSTOCK_REDIS_CLUSTER_H_INCLUDED_


#include "ngx_http_penstock_redis_node.h"
#include "ps_slot.h"


struct ngx_http_penstock_redis_cluster_s {
    ngx_http_penstock_redis_t           *redis;
    ngx_http_penstock_redis_node_t      *from;    /* asked for the slots */
    void                                *unused;

    /* event ident must be after 3 pointers as in ngx_connection_t */
    ngx_int_t                            ident;

    ngx_http_penstock_redis_node_t      *node[512];   /* seeds, then others */
    ngx_uint_t                           n;       /* 0: not started */
    ngx_uint_t                           next;    /* to be asked */
    ngx_http_penstock_redis_node_t      *slot[PS_SLOTS];

    ngx_uint_t                           version; /* of the slots; 0: none */

    ngx_event_t                          refresh;
    ngx_msec_t                           asked;   /* for the slots, last */
    ngx_http_penstock_redis_call_t       call;

    ngx_queue_t                          delayed; /* commands */
    ngx_event_t                          again;

    unsigned                             complete:1;  /* each slot has one */
    unsigned                             refused:1;
};


ngx_http_penstock_redis_cluster_t *ngx_http_penstock_redis_cluster_create(
    ngx_conf_t *cf, ngx_http_penstock_redis_t *redis);

/* the node for a key, any without; NULL: it can't take a call now */

ngx_http_penstock_redis_node_t *ngx_http_penstock_redis_cluster_route(
    ngx_http_penstock_redis_cluster_t *cluster, const ngx_str_t *key);

/* starts; with "again" asks for the slots soon */

void ngx_http_penstock_redis_cluster_refresh(
    ngx_http_penstock_redis_cluster_t *cluster, ngx_uint_t again);

/* an error reply to a command: NGX_OK: it was sent on, or will be */

ngx_int_t ngx_http_penstock_redis_cluster_redirect(
    ngx_http_penstock_redis_cmd_t *cmd, redisReply *reply);

/* queues an ASKING: the next command there is for a slot on its way to it */

ngx_int_t ngx_http_penstock_redis_cluster_asking(
    ngx_http_penstock_redis_node_t *node);

void ngx_http_penstock_redis_cluster_exit(
    ngx_http_penstock_redis_cluster_t *cluster);


#endif /* _NGX_HTTP_PENSTOCK_REDIS_CLUSTER_H_INCLUDED_ */
