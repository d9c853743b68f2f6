
/*
 * Inside the Redis client: a "redis" block, its nodes (servers with one
 * connection a worker) and the commands on their way.  Not for features.
 *
 * Everything here belongs to one worker; nothing is shared or locked.
 */

#ifndef _NGX_HTTP_PENSTOCK_REDIS_NODE_H_INCLUDED_
#define _NGX_HTTP_PENSTOCK_REDIS_NODE_H_INCLUDED_


#include "ngx_http_penstock.h"
#include "ngx_http_penstock_redis.h"
#include "ngx_http_penstock_redis_push.h"
#include "ps_resp_limits.h"


/* a node's buffers: of replies and of commands */

#define NGX_HTTP_PENSTOCK_REDIS_IN   16384
#define NGX_HTTP_PENSTOCK_REDIS_OUT  65536

/* a connection that lasted so long, in ms, ends a series of failures */

#define NGX_HTTP_PENSTOCK_REDIS_STABLE  5000


typedef struct ngx_http_penstock_redis_node_s  ngx_http_penstock_redis_node_t;
typedef struct ngx_http_penstock_redis_push_s  ngx_http_penstock_redis_push_t;
typedef struct ngx_http_penstock_redis_link_s  ngx_http_penstock_redis_link_t;
typedef struct ngx_http_penstock_redis_cluster_s
    ngx_http_penstock_redis_cluster_t;
typedef struct ngx_http_penstock_redis_sentinel_s
    ngx_http_penstock_redis_sentinel_t;


typedef enum {
    NGX_HTTP_PENSTOCK_REDIS_CLOSED = 0,  /* the next call connects */
    NGX_HTTP_PENSTOCK_REDIS_RESOLVING,
    NGX_HTTP_PENSTOCK_REDIS_CONNECTING,
    NGX_HTTP_PENSTOCK_REDIS_TLS,
    NGX_HTTP_PENSTOCK_REDIS_HANDSHAKE,
    NGX_HTTP_PENSTOCK_REDIS_UP,
    NGX_HTTP_PENSTOCK_REDIS_BACKOFF
} ngx_http_penstock_redis_state_e;


typedef enum {
    NGX_HTTP_PENSTOCK_REDIS_CALL = 0,
    NGX_HTTP_PENSTOCK_REDIS_AUTH,
    NGX_HTTP_PENSTOCK_REDIS_SELECT,
    NGX_HTTP_PENSTOCK_REDIS_SETNAME,
    NGX_HTTP_PENSTOCK_REDIS_ROLE,
    NGX_HTTP_PENSTOCK_REDIS_ASKING
} ngx_http_penstock_redis_kind_e;


/* one command from the call until its reply was consumed; malloc'ed */

typedef struct {
    ngx_queue_t                          queue;   /* node's waiting or sent */
    ngx_rbtree_node_t                    timer;   /* key: its deadline */
    ngx_http_penstock_redis_node_t      *node;
    ngx_http_penstock_redis_call_t      *call;    /* NULL: nobody waits */
    ngx_pool_cleanup_t                  *cln;     /* call->pool's */

    ngx_http_penstock_redis_script_t    *script;
    ngx_uint_t                           argc;
    size_t                               tail;    /* offset of what is behind
                                                     the second argument */
    ngx_msec_t                           deadline;
    ngx_int_t                            slot;    /* in a cluster; NGX_ERROR:
                                                     of no key */
    ngx_uint_t                           hops;

    size_t                               size;
    size_t                               copied;  /* to the output buffer:
                                                     may have left */
    ngx_http_penstock_redis_kind_e       kind;
    unsigned                             timed:1;
    unsigned                             asked:1; /* behind an ASKING */

    u_char                               data[1];
} ngx_http_penstock_redis_cmd_t;


typedef struct {
    ngx_int_t                            calls;
    ngx_int_t                            refused;
    ngx_int_t                            down;
    ngx_int_t                            lost;
    ngx_int_t                            protocol;
    ngx_int_t                            tls;
    ngx_int_t                            resumed;
    ngx_int_t                            connects;
} ngx_http_penstock_redis_metrics_t;


typedef struct {
    ngx_http_penstock_redis_moved_pt     handler;
    void                                *data;
} ngx_http_penstock_redis_mover_t;


struct ngx_http_penstock_redis_s {
    ngx_str_t                            name;

    /* one in standalone mode, a cluster's seeds, sentinels */
    ngx_array_t                          nodes;
                                         /* ngx_http_penstock_redis_node_t */
    ngx_http_penstock_redis_cluster_t   *cluster; /* NULL: no cluster */
    ngx_http_penstock_redis_sentinel_t  *sentinel; /* NULL: no sentinels */
    ngx_str_t                            mode;
    ngx_str_t                            user;
    ngx_str_t                            password;
    ngx_int_t                            database;
    ngx_msec_t                           connect_timeout;
    ngx_msec_t                           command_timeout;
    ngx_int_t                            max_pending;
    ssize_t                              max_reply;

    ngx_flag_t                           tls;
    ngx_str_t                            tls_trusted_certificate;
    ngx_str_t                            tls_certificate;
    ngx_str_t                            tls_certificate_key;
    ngx_str_t                            tls_name;
    ngx_ssl_t                           *ssl;     /* NULL: tls off */

    ngx_array_t                          movers;
                                         /* ngx_http_penstock_redis_mover_t */
    ngx_resolver_t                      *resolver;
    ngx_http_penstock_redis_push_t      *push;    /* NULL: nobody asked */
    ngx_http_penstock_redis_metrics_t    metrics;

    /* where it was named first, for errors */
    u_char                              *file;
    ngx_uint_t                           line;

    unsigned                             defined:1;
};


struct ngx_http_penstock_redis_node_s {
    ngx_http_penstock_redis_t           *redis;
    ngx_connection_t                    *connection;
    ngx_resolver_ctx_t                  *resolve;

    /* event ident must be after 3 pointers as in ngx_connection_t */
    ngx_int_t                            ident;

    /* configuration */

    ngx_str_t                            server;  /* as written */
    ngx_str_t                            host;
    in_port_t                            port;
    ngx_addr_t                          *addrs;   /* none: by the resolver */
    ngx_uint_t                           naddrs;
    ngx_str_t                            tls_name; /* ends with a zero */

    /* a worker's */

    ngx_http_penstock_redis_link_t      *link;    /* NULL: it is for calls */

    ngx_http_penstock_redis_state_e      state;
    ngx_log_t                            log;
    ngx_peer_connection_t                peer;
    ngx_sockaddr_t                       sockaddr;
    ngx_ssl_session_t                   *session; /* the last one; owned */
    ngx_str_t                            peer_name;
    u_char                               peer_text[NGX_SOCKADDR_STRLEN];
    ngx_uint_t                           next;    /* address to try */

    ngx_queue_t                          waiting; /* not wholly copied */
    ngx_queue_t                          sent;    /* awaiting their replies */
    ngx_uint_t                           ncommands;
    size_t                               nbytes;  /* of waiting */

    ngx_rbtree_t                         timers;  /* commands awaited */
    ngx_rbtree_node_t                    sentinel;

    ngx_event_t                          timer;   /* the earliest deadline */
    ngx_event_t                          connect; /* connect= or back-off */
    ngx_event_t                          flush;   /* posted, once a loop */
    ngx_event_t                          ttl;     /* look the name up again */
    time_t                               valid;   /* until when it holds */

    u_char                              *in;
    ngx_buf_t                            out;
    redisReader                         *reader;
    ps_resp_limits_t                     limits;

    ngx_uint_t                           shakes;  /* replies to come */
    ngx_uint_t                           fails;   /* in a row */
    ngx_uint_t                           pauses;
    ngx_msec_t                           pause_until;
    ngx_msec_t                           up_since;
    ngx_msec_t                           last_sign; /* of the server */

    unsigned                             tls_ip:1; /* tls_name is one */
    unsigned                             paused:1;
    unsigned                             drain:1; /* close when all is read */
    unsigned                             moved:1; /* the same, but what is
                                                     unsent goes elsewhere */
    unsigned                             unresolved:1; /* was logged */
    unsigned                             aside:1; /* takes no calls: a push
                                                     link, a sentinel */
    unsigned                             tells:1; /* a sentinel */
    unsigned                             faulty:1; /* was logged */
    unsigned                             no_port:1; /* none was written */
    unsigned                             gone:1;  /* the worker ends */
};


/* commands: ngx_http_penstock_redis_command.c */

/* a command in RESP from two lists of arguments; NULL: no memory */

ngx_http_penstock_redis_cmd_t *ngx_http_penstock_redis_cmd(ngx_uint_t nhead,
    const ngx_str_t *head, ngx_uint_t argc, const ngx_str_t *argv);

/* from a script's command that was answered by NOSCRIPT: one with EVAL */

ngx_http_penstock_redis_cmd_t *ngx_http_penstock_redis_cmd_eval(
    ngx_http_penstock_redis_cmd_t *cmd);


/* calls: ngx_http_penstock_redis_call.c */

/* the node for a key; NULL: none can take a call now */

ngx_http_penstock_redis_node_t *ngx_http_penstock_redis_route(
    ngx_http_penstock_redis_t *redis, const ngx_str_t *key);

/* the same node, connecting if it is not; NULL: it can't take a call now */

ngx_http_penstock_redis_node_t *ngx_http_penstock_redis_use(
    ngx_http_penstock_redis_node_t *node);

/* queues a command, which is the client's from here; NGX_OK or
   NGX_DECLINED */

ngx_int_t ngx_http_penstock_redis_submit(ngx_http_penstock_redis_node_t *node,
    ngx_http_penstock_redis_cmd_t *cmd, ngx_http_penstock_redis_call_t *call);

/* a call that was not taken */

ngx_int_t ngx_http_penstock_redis_declined(ngx_http_penstock_redis_t *redis,
    ngx_http_penstock_redis_call_t *call);

/* takes the command off its queue and timers, calls the handler (unless
   the worker ends), frees */

void ngx_http_penstock_redis_complete(ngx_http_penstock_redis_cmd_t *cmd,
    ngx_http_penstock_redis_status_e status, redisReply *reply);

/* gives a reply to the oldest sent command; NGX_ERROR: the connection was
   closed */

ngx_int_t ngx_http_penstock_redis_reply(ngx_http_penstock_redis_node_t *node,
    redisReply *reply);

/* the call's time is over: its handler is called */

void ngx_http_penstock_redis_expire(ngx_http_penstock_redis_cmd_t *cmd);


/* deadlines: ngx_http_penstock_redis_timer.c */

/* sets the node's timer, and marks a connection that nobody waits for */

void ngx_http_penstock_redis_watch(ngx_http_penstock_redis_node_t *node);

void ngx_http_penstock_redis_timer_handler(ngx_event_t *ev);


/* connections: ngx_http_penstock_redis_connection.c */

/* once in each worker that uses it, before all else; sets node->ident */

void ngx_http_penstock_redis_node_init(ngx_http_penstock_redis_node_t *node);

/* at the worker's end: closes, frees; no handler is called */

void ngx_http_penstock_redis_node_exit(ngx_http_penstock_redis_node_t *node);

/* starts to connect; the state tells what came of it */

void ngx_http_penstock_redis_connect(ngx_http_penstock_redis_node_t *node);

/* the connection can carry commands: sends the handshake's */

void ngx_http_penstock_redis_greet(ngx_http_penstock_redis_node_t *node);

/* an event of a connection in the state CONNECTING */

void ngx_http_penstock_redis_connect_done(
    ngx_http_penstock_redis_node_t *node);

/*
 * Closes the connection; commands that may have left are LOST, the others
 * DOWN.  After a failure no call is taken until the back-off is over.  The
 * handlers of all commands run inside.
 */

void ngx_http_penstock_redis_close(ngx_http_penstock_redis_node_t *node,
    ngx_uint_t failed);

/* the same with a line in the log */

void ngx_http_penstock_redis_fail(ngx_http_penstock_redis_node_t *node,
    ngx_err_t err, const char *reason);

/* of the n-th failure in a row, from 0; doubled each time, half random */

ngx_msec_t ngx_http_penstock_redis_backoff(ngx_uint_t n);

/* no calls for a while, though the connection is up: the server said so */

void ngx_http_penstock_redis_pause(ngx_http_penstock_redis_node_t *node,
    const char *reason);


/* names whose TTL ends: ngx_http_penstock_redis_ttl.c */

/* on a connection that is up; nothing for an address or without resolver */

void ngx_http_penstock_redis_ttl_start(ngx_http_penstock_redis_node_t *node);

void ngx_http_penstock_redis_ttl_handler(ngx_event_t *ev);

/*
 * Of a node that is "moved": connects anew when nothing of the connection is
 * awaited any more; unsent commands are kept.  NGX_OK: the old connection is
 * closed; NGX_AGAIN: not yet.
 */

ngx_int_t ngx_http_penstock_redis_move(ngx_http_penstock_redis_node_t *node);


/* TLS: ngx_http_penstock_redis_tls.c */

/* "tls" and the directives "tls_..." of a block, each with one argument */

char *ngx_http_penstock_redis_tls_directive(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis);

/* the end of a block: reads the files, sets redis->ssl */

char *ngx_http_penstock_redis_tls_defaults(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis);

/* on a new connection: greets when the server's certificate was found to be
   right, else the connection is closed, which is a failure */

void ngx_http_penstock_redis_tls_start(ngx_http_penstock_redis_node_t *node);

/* counts, logs the reason if not NULL, forgets the session, closes */

void ngx_http_penstock_redis_tls_fail(ngx_http_penstock_redis_node_t *node,
    const char *reason);

/* frees the kept session, if any */

void ngx_http_penstock_redis_tls_forget(ngx_http_penstock_redis_node_t *node);

/* before a connection with c->ssl is closed; frees c->ssl; never waits */

void ngx_http_penstock_redis_tls_close(ngx_connection_t *c,
    ngx_uint_t failed);


/* reading and writing: ngx_http_penstock_redis_io.c */

void ngx_http_penstock_redis_read_handler(ngx_event_t *rev);
void ngx_http_penstock_redis_write_handler(ngx_event_t *wev);
void ngx_http_penstock_redis_flush_handler(ngx_event_t *ev);

/* posts the write of what waits */

void ngx_http_penstock_redis_post(ngx_http_penstock_redis_node_t *node);


/* the first commands: ngx_http_penstock_redis_handshake.c */

/* sends AUTH, SELECT, CLIENT SETNAME and ROLE, as needed, ahead of all;
   NGX_ERROR: no memory */

ngx_int_t ngx_http_penstock_redis_handshake(
    ngx_http_penstock_redis_node_t *node);

/* takes a reply to one of these; NGX_ERROR: the connection was closed */

ngx_int_t ngx_http_penstock_redis_shaken(ngx_http_penstock_redis_node_t *node,
    ngx_http_penstock_redis_kind_e kind, redisReply *reply);


/* the push link: ngx_http_penstock_redis_push.c */

/* once for each configuration, in the master; in each worker; at its end */

void ngx_http_penstock_redis_push_init(ngx_http_penstock_redis_t *redis);
ngx_int_t ngx_http_penstock_redis_push_start(
    ngx_http_penstock_redis_t *redis, ngx_cycle_t *cycle);
void ngx_http_penstock_redis_push_exit(ngx_http_penstock_redis_t *redis);

/* whether the host's last link was to another master than the sentinels now
   tell this worker */

ngx_uint_t ngx_http_penstock_redis_push_elsewhere(
    ngx_http_penstock_redis_t *redis);

/* what happens to a link's node: it is up, it was closed, it was told
   something; NGX_DECLINED: that is the reply to a command */

void ngx_http_penstock_redis_link_up(ngx_http_penstock_redis_link_t *link);
void ngx_http_penstock_redis_link_down(ngx_http_penstock_redis_link_t *link);
ngx_int_t ngx_http_penstock_redis_link_told(
    ngx_http_penstock_redis_link_t *link, redisReply *reply);


/* configuration: ngx_http_penstock_redis_block.c */

/* a counter with the label redis="NAME", and "reason" if not NULL */

ngx_int_t ngx_http_penstock_redis_counter(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis, const char *name, const char *help,
    const char *reason, ngx_int_t *id);

/* "password_file" and its like: reads it into *password */

char *ngx_http_penstock_redis_password_file(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis, ngx_str_t *password);

/* ngx_conf_parse()'s handler for what stands in a block */

char *ngx_http_penstock_redis_directive(ngx_conf_t *cf, ngx_command_t *dummy,
    void *conf);

/* the end of a block: missing ones and defaults */

char *ngx_http_penstock_redis_defaults(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis);


/* modes: ngx_http_penstock_redis_mode.c */

char *ngx_http_penstock_redis_mode(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis);

/* the directives "sentinel_..." of a block, each with one argument */

char *ngx_http_penstock_redis_sentinel_directive(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis);

/* the end of a block: what its mode asks for */

char *ngx_http_penstock_redis_mode_defaults(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis);


extern ngx_module_t  ngx_http_penstock_redis_module;


#endif /* _NGX_HTTP_PENSTOCK_REDIS_NODE_H_INCLUDED_ */
