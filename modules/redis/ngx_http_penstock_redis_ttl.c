
/*
 * A name is looked up again when its TTL is over, while the connection is in
 * use.  If it no longer leads to the server's address, the node moves: what
 * was sent is answered over the old connection, what is called from then on
 * waits for the new one.  No call is lost or declined by it.
 *
 * A lookup that fails changes nothing: a server that answers is better than
 * none.
 */

#include "ngx_http_penstock_redis_node.h"


/* ms; after a failed lookup, and at most whatever the TTL */

#define NGX_HTTP_PENSTOCK_REDIS_TTL_RETRY  2000
#define NGX_HTTP_PENSTOCK_REDIS_TTL_MAX    (3600 * 1000)


static void ngx_http_penstock_redis_ttl_resolved(ngx_resolver_ctx_t *ctx);
static ngx_uint_t ngx_http_penstock_redis_ttl_found(
    ngx_http_penstock_redis_node_t *node, ngx_resolver_ctx_t *ctx);


void
ngx_http_penstock_redis_ttl_start(ngx_http_penstock_redis_node_t *node)
{
    time_t      seconds;
    ngx_msec_t  delay;

    if (node->naddrs || node->ttl.timer_set) {
        return;
    }

    /* the resolver's cache holds through the second "valid" */

    seconds = node->valid - ngx_time() + 1;
    seconds = ngx_max(seconds, 1);

    delay = ngx_min(seconds, NGX_HTTP_PENSTOCK_REDIS_TTL_MAX / 1000) * 1000;

    ngx_add_timer(&node->ttl, delay);
}


void
ngx_http_penstock_redis_ttl_handler(ngx_event_t *ev)
{
    ngx_resolver_ctx_t              *ctx;
    ngx_http_penstock_redis_node_t  *node;

    node = ev->data;

    if (node->state != NGX_HTTP_PENSTOCK_REDIS_UP || ngx_exiting) {
        return;
    }

    ctx = ngx_resolve_start(node->redis->resolver, NULL);

    if (ctx == NULL || ctx == NGX_NO_RESOLVER) {
        ngx_add_timer(&node->ttl, NGX_HTTP_PENSTOCK_REDIS_TTL_RETRY);
        return;
    }

    ctx->name = node->host;
    ctx->handler = ngx_http_penstock_redis_ttl_resolved;
    ctx->data = node;
    ctx->timeout = NGX_HTTP_PENSTOCK_REDIS_TTL_RETRY;
    ctx->cancelable = 1;

    node->resolve = ctx;

    if (ngx_resolve_name(ctx) != NGX_OK) {
        node->resolve = NULL;
        ngx_add_timer(&node->ttl, NGX_HTTP_PENSTOCK_REDIS_TTL_RETRY);
    }
}


/* the state is UP: a connection that is closed gives up its lookup */

static void
ngx_http_penstock_redis_ttl_resolved(ngx_resolver_ctx_t *ctx)
{
    ngx_uint_t                       found;
    ngx_http_penstock_redis_node_t  *node;

    node = ctx->data;
    node->resolve = NULL;

    if (ctx->state || ctx->naddrs == 0) {

        /* once in a row */

        if (!node->unresolved) {
            node->unresolved = 1;

            ngx_log_error(NGX_LOG_WARN, &node->log, 0,
                          "\"%V\" could not be resolved again (%i: %s), "
                          "the connection stays", &ctx->name, ctx->state,
                          ngx_resolver_strerror(ctx->state));
        }

        ngx_resolve_name_done(ctx);
        ngx_add_timer(&node->ttl, NGX_HTTP_PENSTOCK_REDIS_TTL_RETRY);
        return;
    }

    node->unresolved = 0;
    node->valid = ctx->valid;

    found = ngx_http_penstock_redis_ttl_found(node, ctx);

    ngx_resolve_name_done(ctx);

    if (found) {
        ngx_http_penstock_redis_ttl_start(node);
        return;
    }

    ngx_log_error(NGX_LOG_NOTICE, &node->log, 0,
                  "its name leads to another address, moving there");

    node->moved = 1;

    ngx_http_penstock_redis_move(node);
}


static ngx_uint_t
ngx_http_penstock_redis_ttl_found(ngx_http_penstock_redis_node_t *node,
    ngx_resolver_ctx_t *ctx)
{
    ngx_uint_t  i;

    for (i = 0; i < ctx->naddrs; i++) {
        if (ngx_cmp_sockaddr(ctx->addrs[i].sockaddr, ctx->addrs[i].socklen,
                             &node->sockaddr.sockaddr, node->peer.socklen, 0)
            == NGX_OK)
        {
            return 1;
        }
    }

    return 0;
}


ngx_int_t
ngx_http_penstock_redis_move(ngx_http_penstock_redis_node_t *node)
{
    ngx_queue_t                     waiting, *q;
    ngx_http_penstock_redis_cmd_t  *cmd;

    if (!ngx_queue_empty(&node->sent)) {
        return NGX_AGAIN;
    }

    ngx_queue_init(&waiting);

    if (!ngx_queue_empty(&node->waiting)) {
        q = ngx_queue_head(&node->waiting);
        cmd = ngx_queue_data(q, ngx_http_penstock_redis_cmd_t, queue);

        if (cmd->copied) {
            return NGX_AGAIN;
        }

        ngx_queue_add(&waiting, &node->waiting);
        ngx_queue_init(&node->waiting);
    }

    ngx_http_penstock_redis_close(node, 0);

    if (ngx_queue_empty(&waiting)) {

        /* the next call connects */

        return NGX_OK;
    }

    ngx_queue_add(&node->waiting, &waiting);

    ngx_http_penstock_redis_connect(node);

    /* their deadlines; an attempt that failed at once has ended them */

    ngx_http_penstock_redis_watch(node);

    return NGX_OK;
}
