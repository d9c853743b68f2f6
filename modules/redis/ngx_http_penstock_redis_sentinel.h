
/*
 * Inside the Redis client: the master that sentinels tell of, as a worker
 * knows it.
 */

#ifndef _NGX_HTTP_PENSTOCK_REDIS_SENTINEL_H_INCLUDED_
#define _NGX_HTTP_PENSTOCK_REDIS_SENTINEL_H_INCLUDED_


#include "ngx_http_penstock_redis_node.h"
#include "ps_sentinel.h"


struct ngx_http_penstock_redis_sentinel_s {
    ngx_http_penstock_redis_t           *redis;
    ngx_http_penstock_redis_node_t      *at;      /* the sentinel asked */
    void                                *unused;

    /* event ident must be after 3 pointers as in ngx_connection_t */
    ngx_int_t                            ident;

    /* configuration; the sentinels are redis->nodes */

    ngx_str_t                            name;    /* the master's */
    ngx_str_t                            user;
    ngx_str_t                            password;
    ngx_flag_t                           tls;
    ngx_int_t                            moves;   /* counter */

    /* a worker's */

    ngx_http_penstock_redis_node_t       master;
    ngx_uint_t                           version; /* of its address; 0: not
                                                     known yet */
    ngx_atomic_uint_t                    mark;    /* of its address; 0: as
                                                     before */
    ngx_addr_t                           addr;    /* none: a name */
    ngx_sockaddr_t                       sockaddr;
    u_char                               host[PS_SENTINEL_HOST_MAX + 1];
    u_char                               text[PS_SENTINEL_HOST_MAX
                                              + sizeof("[]:65535")];

    ngx_event_t                          tick;
    ngx_msec_t                           asked;   /* the last time */
    ngx_uint_t                           misses;  /* sentinels that were of no
                                                     help, in a row */

    ngx_http_penstock_redis_call_t       get;
    ngx_http_penstock_redis_call_t       subscribe;

    /* of another address than that of a master that is fine */

    ngx_atomic_uint_t                    suspect; /* its mark */
    ngx_http_penstock_redis_node_t      *from;    /* who said so */
    ngx_uint_t                           doubts;

    unsigned                             subscribed:1;
    unsigned                             agreed:1;  /* "at" named this one */
    unsigned                             rotate:1;  /* ask the next one */
    unsigned                             deaf:1;  /* may not subscribe; was
                                                     logged */
};


/* ngx_http_penstock_redis_sentinel.c */

/* asks soon, wherever the last answer led to */

void ngx_http_penstock_redis_sentinel_ask(
    ngx_http_penstock_redis_sentinel_t *sentinel);

/*
 * What happens to a node of such a block, a sentinel or the master's: it is
 * up; it was closed; it was told something (NGX_DECLINED: that is the reply to
 * a command).
 */

void ngx_http_penstock_redis_sentinel_up(
    ngx_http_penstock_redis_node_t *node);
void ngx_http_penstock_redis_sentinel_closed(
    ngx_http_penstock_redis_node_t *node, ngx_uint_t failed);
ngx_int_t ngx_http_penstock_redis_sentinel_told(
    ngx_http_penstock_redis_node_t *node, redisReply *reply);

/* the sentinel was of no help: the next one, after a pause if all were so */

void ngx_http_penstock_redis_sentinel_miss(
    ngx_http_penstock_redis_sentinel_t *sentinel);

/* the same; logged once, until that sentinel is of help again */

void ngx_http_penstock_redis_sentinel_fault(
    ngx_http_penstock_redis_sentinel_t *sentinel, const char *what);


/* ngx_http_penstock_redis_sentinel_master.c */

/* the sentinel named the master's address, "switched": by +switch-master */

void ngx_http_penstock_redis_sentinel_found(
    ngx_http_penstock_redis_sentinel_t *sentinel, ps_sentinel_addr_t *found,
    ngx_uint_t switched);

/* whether a node is the master's and waits to be told its address */

ngx_uint_t ngx_http_penstock_redis_sentinel_lost(
    ngx_http_penstock_redis_node_t *node);

void ngx_http_penstock_redis_sentinel_exit(
    ngx_http_penstock_redis_sentinel_t *sentinel);


#endif /* _NGX_HTTP_PENSTOCK_REDIS_SENTINEL_H_INCLUDED_ */
