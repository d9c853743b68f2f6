
/*
 * Redis client on nginx's event loop; hiredis is the RESP codec.
 *
 * A feature names a "redis NAME { }" block, sends calls and gets each answer
 * once, in a callback.  A callback never runs a request: it stores what it
 * needs and calls ngx_http_penstock_wake().
 */

#ifndef _NGX_HTTP_PENSTOCK_REDIS_H_INCLUDED_
#define _NGX_HTTP_PENSTOCK_REDIS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <hiredis/hiredis.h>


typedef struct ngx_http_penstock_redis_s  ngx_http_penstock_redis_t;
typedef struct ngx_http_penstock_redis_call_s  ngx_http_penstock_redis_call_t;


typedef enum {
    NGX_HTTP_PENSTOCK_REDIS_OK = 0,      /* a reply that is no error */
    NGX_HTTP_PENSTOCK_REDIS_REFUSED,     /* an error reply: reply->str */
    NGX_HTTP_PENSTOCK_REDIS_DOWN,        /* nothing was sent; reply NULL */
    NGX_HTTP_PENSTOCK_REDIS_LOST         /* bytes may have left, no answer
                                            in time; reply NULL */
} ngx_http_penstock_redis_status_e;


/* the reply is freed when the handler returns */

typedef void (*ngx_http_penstock_redis_handler_pt)(
    ngx_http_penstock_redis_call_t *call, redisReply *reply);


/* "own": it was this worker that went to the last one */

typedef void (*ngx_http_penstock_redis_moved_pt)(void *data, ngx_uint_t own);


/*
 * Owned by the caller, usually in r->pool; zeroed, then the first part set.
 * With "pool" the call is cancelled when that pool is destroyed.  Without,
 * the memory must live until the handler was called, or cancel.
 */

struct ngx_http_penstock_redis_call_s {
    ngx_http_penstock_redis_handler_pt   handler;    /* NULL: don't care */
    void                                *data;
    ngx_pool_t                          *pool;
    ngx_msec_t                           timeout;    /* ms; 0: the block's */

    ngx_http_penstock_redis_status_e     status;
    void                                *pending;    /* the client's */
};


/* a script, sent by EVALSHA with EVAL as fallback; make it static */

typedef struct {
    const char                          *text;
    u_char                               sha1[41];   /* filled on first use */
} ngx_http_penstock_redis_script_t;


/*
 * At configuration time: the block of that name, which may come later in
 * the file.  A name that never comes is an error of "nginx -t" with the
 * file and line of this reference.  NULL: reported already.
 */

ngx_http_penstock_redis_t *ngx_http_penstock_redis_ref(ngx_conf_t *cf,
    ngx_str_t *name);


/*
 * At configuration time: the handler is called in each worker whose calls go
 * to another master than before from now on, where sentinels tell it; also in
 * a new one, if the others were elsewhere before.  The master may not have
 * what the last one had confirmed shortly before.  No call is made inside.
 * NGX_ERROR: no memory.
 */

ngx_int_t ngx_http_penstock_redis_moved_add(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis,
    ngx_http_penstock_redis_moved_pt handler, void *data);

/*
 * Sends one command.  NGX_OK: the handler will be called, once, later (never
 * from inside).  NGX_DECLINED: it can't be sent now (back-off, too many
 * pending); the handler will not be called, call->status says DOWN.  A call
 * made without a handler may have call == NULL.
 *
 * "key" is the index in argv of the key that decides the node in a cluster,
 * or -1.  The arguments are copied.  Commands of one worker to one block are
 * sent in order on one connection and pipelined.
 *
 * The timeout runs from here, whether the connection is up already or not.
 */

ngx_int_t ngx_http_penstock_redis_send(ngx_http_penstock_redis_t *redis,
    ngx_http_penstock_redis_call_t *call, ngx_uint_t argc,
    const ngx_str_t *argv, ngx_int_t key);

/*
 * The same with a script; argv holds nkeys keys, then the other arguments.
 * One that the server doesn't know (NOSCRIPT: it was not run) is sent as
 * text, behind what was called meanwhile.
 */

ngx_int_t ngx_http_penstock_redis_eval(ngx_http_penstock_redis_t *redis,
    ngx_http_penstock_redis_call_t *call,
    ngx_http_penstock_redis_script_t *script, ngx_uint_t nkeys,
    ngx_uint_t argc, const ngx_str_t *argv);

/* the handler won't be called any more; the reply is still consumed */

void ngx_http_penstock_redis_cancel(ngx_http_penstock_redis_call_t *call);

/* in a cluster the slot of a key: one script call may name keys of one slot
   only; else NGX_ERROR */

ngx_int_t ngx_http_penstock_redis_slot(ngx_http_penstock_redis_t *redis,
    const ngx_str_t *key);

/* whether a send would be tried now */

ngx_uint_t ngx_http_penstock_redis_up(ngx_http_penstock_redis_t *redis);

/* the block's "timeout command=" in ms */

ngx_msec_t ngx_http_penstock_redis_timeout(ngx_http_penstock_redis_t *redis);


#endif /* _NGX_HTTP_PENSTOCK_REDIS_H_INCLUDED_ */
