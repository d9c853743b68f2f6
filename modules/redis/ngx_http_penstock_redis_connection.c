
/*
 * A node's connection: resolve, connect, read, write, close, back-off.
 *
 * The handlers of calls run from read, timer and resolver events only; what
 * send() starts inside a request can't reach one, since no call is queued
 * while a node is closed.
 */

#include "ngx_http_penstock_redis_node.h"
#include "ngx_http_penstock_redis_sentinel.h"


#define NGX_HTTP_PENSTOCK_REDIS_BACKOFF_MIN  50
#define NGX_HTTP_PENSTOCK_REDIS_BACKOFF_MAX  1000

/* the back-off of a push link stops to grow there: at 400 to 800 ms */

#define NGX_HTTP_PENSTOCK_REDIS_LINK_FAILS   4

#define NGX_HTTP_PENSTOCK_REDIS_MAX_LINE     65536
#define NGX_HTTP_PENSTOCK_REDIS_MAX_ELEMENTS 262144


static void ngx_http_penstock_redis_connect_addr(
    ngx_http_penstock_redis_node_t *node);
static void ngx_http_penstock_redis_resolve_handler(ngx_resolver_ctx_t *ctx);
static void ngx_http_penstock_redis_connected(
    ngx_http_penstock_redis_node_t *node);
static void ngx_http_penstock_redis_connect_handler(ngx_event_t *ev);
static u_char *ngx_http_penstock_redis_log_error(ngx_log_t *log, u_char *buf,
    size_t len);


void
ngx_http_penstock_redis_node_init(ngx_http_penstock_redis_node_t *node)
{
    node->ident = -1;

    node->log = *ngx_cycle->log;
    node->log.handler = ngx_http_penstock_redis_log_error;
    node->log.data = node;
    node->log.action = NULL;

    ngx_queue_init(&node->waiting);
    ngx_queue_init(&node->sent);

    ngx_rbtree_init(&node->timers, &node->sentinel,
                    ngx_rbtree_insert_timer_value);

    node->timer.handler = ngx_http_penstock_redis_timer_handler;
    node->timer.data = node;
    node->timer.log = &node->log;

    node->connect.handler = ngx_http_penstock_redis_connect_handler;
    node->connect.data = node;
    node->connect.log = &node->log;

    /* a call that waits for the connection has its own deadline */

    node->connect.cancelable = 1;

    node->flush.handler = ngx_http_penstock_redis_flush_handler;
    node->flush.data = node;
    node->flush.log = &node->log;

    node->ttl.handler = ngx_http_penstock_redis_ttl_handler;
    node->ttl.data = node;
    node->ttl.log = &node->log;
    node->ttl.cancelable = 1;

    /* workers start at different addresses of a name */

    node->next = ngx_random();
}


void
ngx_http_penstock_redis_node_exit(ngx_http_penstock_redis_node_t *node)
{
    if (node->ident == 0) {
        return;
    }

    node->gone = 1;

    ngx_http_penstock_redis_close(node, 0);
    ngx_http_penstock_redis_tls_forget(node);

    ngx_free(node->in);
    node->in = NULL;
}


void
ngx_http_penstock_redis_connect(ngx_http_penstock_redis_node_t *node)
{
    ngx_addr_t          *addr;
    ngx_resolver_ctx_t  *ctx;

    ngx_http_penstock_count(node->redis->metrics.connects, 1);

    node->state = NGX_HTTP_PENSTOCK_REDIS_RESOLVING;
    node->peer_name.len = 0;

    if (node->connect.timer_set) {
        ngx_del_timer(&node->connect);
    }

    ngx_add_timer(&node->connect, node->redis->connect_timeout);

    if (ngx_http_penstock_redis_sentinel_lost(node)) {

        /* goes on when a sentinel has told the address */

        ngx_http_penstock_redis_sentinel_ask(node->redis->sentinel);
        return;
    }

    if (node->naddrs) {
        addr = &node->addrs[node->next++ % node->naddrs];

        ngx_memcpy(&node->sockaddr, addr->sockaddr, addr->socklen);
        node->peer.socklen = addr->socklen;

        ngx_http_penstock_redis_connect_addr(node);
        return;
    }

    ctx = ngx_resolve_start(node->redis->resolver, NULL);
    if (ctx == NULL || ctx == NGX_NO_RESOLVER) {
        ngx_http_penstock_redis_fail(node, 0, "its name can't be resolved");
        return;
    }

    ctx->name = node->host;
    ctx->handler = ngx_http_penstock_redis_resolve_handler;
    ctx->data = node;
    ctx->timeout = node->redis->connect_timeout;
    ctx->cancelable = 1;

    node->resolve = ctx;

    if (ngx_resolve_name(ctx) != NGX_OK) {
        node->resolve = NULL;
        ngx_http_penstock_redis_fail(node, 0, "its name can't be resolved");
    }
}


/* may run inside ngx_resolve_name() when the name is cached */

static void
ngx_http_penstock_redis_resolve_handler(ngx_resolver_ctx_t *ctx)
{
    ngx_resolver_addr_t             *addr;
    ngx_http_penstock_redis_node_t  *node;

    node = ctx->data;
    node->resolve = NULL;

    if (ctx->state || ctx->naddrs == 0) {
        ngx_log_error(NGX_LOG_ERR, &node->log, 0,
                      "\"%V\" could not be resolved (%i: %s)",
                      &ctx->name, ctx->state,
                      ngx_resolver_strerror(ctx->state));

        ngx_resolve_name_done(ctx);
        ngx_http_penstock_redis_close(node, 1);
        return;
    }

    addr = &ctx->addrs[node->next++ % ctx->naddrs];

    ngx_memcpy(&node->sockaddr, addr->sockaddr, addr->socklen);
    node->peer.socklen = addr->socklen;
    node->valid = ctx->valid;
    node->unresolved = 0;

    ngx_resolve_name_done(ctx);

    ngx_inet_set_port(&node->sockaddr.sockaddr, node->port);

    ngx_http_penstock_redis_connect_addr(node);
}


static void
ngx_http_penstock_redis_connect_addr(ngx_http_penstock_redis_node_t *node)
{
    ngx_int_t               rc;
    ngx_connection_t       *c;
    ngx_peer_connection_t  *pc;

    node->state = NGX_HTTP_PENSTOCK_REDIS_CONNECTING;

    node->peer_name.data = node->peer_text;
    node->peer_name.len = ngx_sock_ntop(&node->sockaddr.sockaddr,
                                        node->peer.socklen, node->peer_text,
                                        NGX_SOCKADDR_STRLEN, 1);

    pc = &node->peer;

    pc->sockaddr = &node->sockaddr.sockaddr;
    pc->name = &node->peer_name;
    pc->get = ngx_event_get_peer;
    pc->log = &node->log;
    pc->log_error = NGX_ERROR_ERR;
    pc->so_keepalive = (pc->sockaddr->sa_family != AF_UNIX);

    rc = ngx_event_connect_peer(pc);

    if (rc == NGX_ERROR || rc == NGX_DECLINED) {

        /* the reason is in the log already */

        ngx_http_penstock_redis_close(node, 1);
        return;
    }

    c = pc->connection;

    c->data = node;
    c->read->handler = ngx_http_penstock_redis_read_handler;
    c->write->handler = ngx_http_penstock_redis_write_handler;

    node->connection = c;

    ngx_http_penstock_redis_watch(node);

    if (rc == NGX_OK) {
        ngx_http_penstock_redis_connected(node);
    }
}


static void
ngx_http_penstock_redis_connected(ngx_http_penstock_redis_node_t *node)
{
    ngx_connection_t  *c;

    c = node->connection;

    if (node->sockaddr.sockaddr.sa_family != AF_UNIX
        && ngx_tcp_nodelay(c) != NGX_OK)
    {
        ngx_http_penstock_redis_close(node, 1);
        return;
    }

    if (node->redis->ssl && (!node->tells || node->redis->sentinel->tls)) {
        ngx_http_penstock_redis_tls_start(node);
        return;
    }

    ngx_http_penstock_redis_greet(node);
}


void
ngx_http_penstock_redis_greet(ngx_http_penstock_redis_node_t *node)
{
    ps_resp_caps_t     caps;
    ngx_connection_t  *c;

    c = node->connection;

    if (node->in == NULL) {
        node->in = ngx_alloc(NGX_HTTP_PENSTOCK_REDIS_IN
                             + NGX_HTTP_PENSTOCK_REDIS_OUT, &node->log);
        if (node->in == NULL) {
            ngx_http_penstock_redis_close(node, 1);
            return;
        }

        node->out.start = node->in + NGX_HTTP_PENSTOCK_REDIS_IN;
        node->out.end = node->out.start + NGX_HTTP_PENSTOCK_REDIS_OUT;
    }

    node->out.pos = node->out.start;
    node->out.last = node->out.start;

    caps.total = node->redis->max_reply;
    caps.bulk = node->redis->max_reply;
    caps.line = NGX_HTTP_PENSTOCK_REDIS_MAX_LINE;
    caps.elements = NGX_HTTP_PENSTOCK_REDIS_MAX_ELEMENTS;
    caps.depth = PS_RESP_MAX_DEPTH;

    ps_resp_limits_init(&node->limits, &caps);

    node->state = NGX_HTTP_PENSTOCK_REDIS_HANDSHAKE;
    node->last_sign = ngx_current_msec;

    node->reader = redisReaderCreate();

    if (node->reader == NULL
        || ngx_http_penstock_redis_handshake(node) != NGX_OK)
    {
        ngx_http_penstock_redis_fail(node, 0, "no memory");
        return;
    }

    ngx_http_penstock_redis_post(node);

    if (c->read->ready) {

        /* closed by the server at once; no further event would tell */

        ngx_post_event(c->read, &ngx_posted_events);
    }
}


void
ngx_http_penstock_redis_connect_done(ngx_http_penstock_redis_node_t *node)
{
    int        err;
    socklen_t  len;

    err = 0;
    len = sizeof(int);

    if (getsockopt(node->connection->fd, SOL_SOCKET, SO_ERROR, (void *) &err,
                   &len)
        == -1)
    {
        err = ngx_socket_errno;
    }

    if (err) {
        ngx_http_penstock_redis_fail(node, err, "connect() failed");
        return;
    }

    ngx_http_penstock_redis_connected(node);
}


/* connect= is over, or the back-off */

static void
ngx_http_penstock_redis_connect_handler(ngx_event_t *ev)
{
    ngx_http_penstock_redis_node_t  *node;

    node = ev->data;

    if (node->state != NGX_HTTP_PENSTOCK_REDIS_BACKOFF) {
        ngx_http_penstock_redis_fail(node, NGX_ETIMEDOUT,
                           ngx_http_penstock_redis_sentinel_lost(node)
                           ? "its sentinels did not tell where it is"
                           : node->state == NGX_HTTP_PENSTOCK_REDIS_HANDSHAKE
                           ? "no reply to the handshake"
                           : node->state == NGX_HTTP_PENSTOCK_REDIS_TLS
                           ? "no TLS handshake in time"
                           : "not connected in time");
        return;
    }

    if (ngx_exiting || node->tells) {

        /* a request that ends may still ask for it; which sentinel is asked
           is another one's matter */

        node->state = NGX_HTTP_PENSTOCK_REDIS_CLOSED;
        return;
    }

    ngx_http_penstock_redis_connect(node);
}


void
ngx_http_penstock_redis_fail(ngx_http_penstock_redis_node_t *node,
    ngx_err_t err, const char *reason)
{
    ngx_log_error(NGX_LOG_ERR, &node->log, err, "%s", reason);

    ngx_http_penstock_redis_close(node, 1);
}


void
ngx_http_penstock_redis_close(ngx_http_penstock_redis_node_t *node,
    ngx_uint_t failed)
{
    ngx_pool_t                     *pool;
    ngx_queue_t                     calls, *q;
    ngx_connection_t               *c;
    ngx_resolver_ctx_t             *ctx;
    ngx_http_penstock_redis_cmd_t  *cmd;

    if (node->resolve) {
        ctx = node->resolve;
        node->resolve = NULL;
        ngx_resolve_name_done(ctx);
    }

    if (node->connect.timer_set) {
        ngx_del_timer(&node->connect);
    }

    if (node->timer.timer_set) {
        ngx_del_timer(&node->timer);
    }

    if (node->ttl.timer_set) {
        ngx_del_timer(&node->ttl);
    }

    if (node->flush.posted) {
        ngx_delete_posted_event(&node->flush);
    }

    if (node->connection) {
        c = node->connection;
        node->connection = NULL;

        pool = c->pool;

        if (c->ssl) {
            ngx_http_penstock_redis_tls_close(c, failed);
        }

        ngx_close_connection(c);

        if (pool) {
            ngx_destroy_pool(pool);
        }
    }

    if (node->reader) {
        redisReaderFree(node->reader);
        node->reader = NULL;
    }

    if (node->state == NGX_HTTP_PENSTOCK_REDIS_HANDSHAKE) {
        ngx_explicit_memzero(node->out.start,
                             node->out.last - node->out.start);
    }

    if (node->state == NGX_HTTP_PENSTOCK_REDIS_UP
        && ngx_current_msec - node->up_since
           >= NGX_HTTP_PENSTOCK_REDIS_STABLE)
    {
        node->fails = 0;
    }

    node->paused = 0;
    node->drain = 0;
    node->moved = 0;

    if (node->link) {

        /* hosts wait for it; one that is down costs each read a look */

        node->fails = ngx_min(node->fails, NGX_HTTP_PENSTOCK_REDIS_LINK_FAILS);
    }

    if (failed) {
        node->state = NGX_HTTP_PENSTOCK_REDIS_BACKOFF;
        ngx_add_timer(&node->connect,
                      ngx_http_penstock_redis_backoff(node->fails++));

    } else {
        node->state = NGX_HTTP_PENSTOCK_REDIS_CLOSED;
        node->fails = 0;
    }

    /* the state is set: what a handler sends from here is declined */

    ngx_queue_init(&calls);

    if (!ngx_queue_empty(&node->sent)) {
        ngx_queue_add(&calls, &node->sent);
        ngx_queue_init(&node->sent);
    }

    if (!ngx_queue_empty(&node->waiting)) {
        ngx_queue_add(&calls, &node->waiting);
        ngx_queue_init(&node->waiting);
    }

    while (!ngx_queue_empty(&calls)) {
        q = ngx_queue_head(&calls);
        cmd = ngx_queue_data(q, ngx_http_penstock_redis_cmd_t, queue);

        ngx_http_penstock_redis_complete(cmd,
                                    cmd->copied
                                    ? NGX_HTTP_PENSTOCK_REDIS_LOST
                                    : NGX_HTTP_PENSTOCK_REDIS_DOWN, NULL);
    }

    if (node->link) {
        ngx_http_penstock_redis_link_down(node->link);
    }

    if (node->redis->sentinel) {
        ngx_http_penstock_redis_sentinel_closed(node, failed);
    }
}


ngx_msec_t
ngx_http_penstock_redis_backoff(ngx_uint_t n)
{
    ngx_msec_t  max;

    max = NGX_HTTP_PENSTOCK_REDIS_BACKOFF_MIN << ngx_min(n, 10);
    max = ngx_min(max, NGX_HTTP_PENSTOCK_REDIS_BACKOFF_MAX);

    return max / 2 + (ngx_msec_t) ngx_random() % (max / 2 + 1);
}


void
ngx_http_penstock_redis_pause(ngx_http_penstock_redis_node_t *node,
    const char *reason)
{
    ngx_msec_t  delay;

    if (node->paused
        && (ngx_msec_int_t) (node->pause_until - ngx_current_msec) > 0)
    {
        return;
    }

    delay = ngx_http_penstock_redis_backoff(node->pauses++);

    node->paused = 1;
    node->pause_until = ngx_current_msec + delay;

    ngx_log_error(NGX_LOG_ERR, &node->log, 0, "%s, no calls for %M ms",
                  reason, delay);
}


static u_char *
ngx_http_penstock_redis_log_error(ngx_log_t *log, u_char *buf, size_t len)
{
    u_char                          *p;
    ngx_http_penstock_redis_node_t  *node;

    node = log->data;

    p = ngx_snprintf(buf, len, ", redis \"%V\" %V", &node->redis->name,
                     &node->server);

    if (node->peer_name.len
        && (node->peer_name.len != node->server.len
            || ngx_memcmp(node->peer_name.data, node->server.data,
                          node->server.len)
               != 0))
    {
        len -= p - buf;
        p = ngx_snprintf(p, len, " (%V)", &node->peer_name);
    }

    return p;
}
