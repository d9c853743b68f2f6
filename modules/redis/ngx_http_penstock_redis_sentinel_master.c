
/*
 * Redis Sentinel: what a worker makes of the address that it was told.
 *
 * The node of the master is one for the worker's life and takes the address
 * of the day; so does the push link.
 */

#include "ngx_http_penstock_redis_node.h"
#include "ngx_http_penstock_redis_link.h"
#include "ngx_http_penstock_redis_sentinel.h"


static ngx_uint_t ngx_http_penstock_redis_sentinel_doubt(
    ngx_http_penstock_redis_sentinel_t *sentinel, ps_sentinel_addr_t *found);
static ngx_atomic_uint_t ngx_http_penstock_redis_sentinel_mark(
    ps_sentinel_addr_t *addr);
static ngx_int_t ngx_http_penstock_redis_sentinel_address(
    ngx_http_penstock_redis_sentinel_t *sentinel, ps_sentinel_addr_t *found);
static void ngx_http_penstock_redis_sentinel_move(
    ngx_http_penstock_redis_sentinel_t *sentinel);


void
ngx_http_penstock_redis_sentinel_found(
    ngx_http_penstock_redis_sentinel_t *sentinel, ps_sentinel_addr_t *found,
    ngx_uint_t switched)
{
    ngx_http_penstock_redis_node_t  *master;

    master = &sentinel->master;

    if (sentinel->version && found->port == master->port
        && found->host_len == master->host.len
        && ngx_memcmp(found->host, master->host.data, found->host_len) == 0)
    {
        sentinel->agreed = 1;
        sentinel->doubts = 0;

        if (master->fails && master->state != NGX_HTTP_PENSTOCK_REDIS_UP) {

            /* others may know better */

            ngx_http_penstock_redis_sentinel_miss(sentinel);

        } else {
            sentinel->at->faulty = 0;
            sentinel->misses = 0;
        }

        return;
    }

    if (!switched && ngx_http_penstock_redis_sentinel_doubt(sentinel, found)) {
        return;
    }

    if (ngx_http_penstock_redis_sentinel_address(sentinel, found) != NGX_OK) {
        ngx_http_penstock_redis_sentinel_fault(sentinel,
                               "it gave the master's name, which needs a "
                               "\"resolver\" in http { }");
        return;
    }

    sentinel->agreed = 1;
    sentinel->doubts = 0;

    ngx_http_penstock_redis_sentinel_move(sentinel);
}


/*
 * A sentinel that was cut off for a while, maybe along with the master of
 * those days, may still name that.  So a master that is fine is not left on
 * the word of one that was not heard before, unless another one says the
 * same, or nobody can be asked.
 */

static ngx_uint_t
ngx_http_penstock_redis_sentinel_doubt(
    ngx_http_penstock_redis_sentinel_t *sentinel, ps_sentinel_addr_t *found)
{
    ngx_uint_t         n;
    ngx_atomic_uint_t  mark;

    n = sentinel->redis->nodes.nelts;
    mark = ngx_http_penstock_redis_sentinel_mark(found);

    if (sentinel->master.state != NGX_HTTP_PENSTOCK_REDIS_UP
        || sentinel->agreed || n == 1 || sentinel->doubts == 2 * n
        || (sentinel->doubts && sentinel->suspect == mark
            && sentinel->from != sentinel->at))
    {
        return 0;
    }

    sentinel->doubts++;
    sentinel->suspect = mark;
    sentinel->from = sentinel->at;

    ngx_http_penstock_redis_sentinel_miss(sentinel);

    return 1;
}


static ngx_atomic_uint_t
ngx_http_penstock_redis_sentinel_mark(ps_sentinel_addr_t *addr)
{
    return (ngx_atomic_uint_t) ngx_crc32_long((u_char *) addr->host,
                                              addr->host_len)
           * 65536 + addr->port;
}


/* NGX_DECLINED: a name, and there is no resolver */

static ngx_int_t
ngx_http_penstock_redis_sentinel_address(
    ngx_http_penstock_redis_sentinel_t *sentinel, ps_sentinel_addr_t *found)
{
    in_addr_t                            inaddr;
    ngx_str_t                            host;
    ngx_uint_t                           ip;
    struct sockaddr_in                  *sin;
    ngx_http_penstock_redis_node_t      *master, *seed;
#if (NGX_HAVE_INET6)
    struct in6_addr                      in6;
    struct sockaddr_in6                 *sin6;
#endif

    master = &sentinel->master;
    seed = sentinel->redis->nodes.elts;

    host.data = (u_char *) found->host;
    host.len = found->host_len;

    ip = 1;
    inaddr = ngx_inet_addr(host.data, host.len);

    if (inaddr != INADDR_NONE) {
        ngx_memzero(&sentinel->sockaddr, sizeof(ngx_sockaddr_t));

        sin = &sentinel->sockaddr.sockaddr_in;
        sin->sin_family = AF_INET;
        sin->sin_addr.s_addr = inaddr;
        sentinel->addr.socklen = sizeof(struct sockaddr_in);

#if (NGX_HAVE_INET6)
    } else if (ngx_inet6_addr(host.data, host.len, in6.s6_addr) == NGX_OK) {
        ngx_memzero(&sentinel->sockaddr, sizeof(ngx_sockaddr_t));

        sin6 = &sentinel->sockaddr.sockaddr_in6;
        sin6->sin6_family = AF_INET6;
        ngx_memcpy(sin6->sin6_addr.s6_addr, in6.s6_addr, 16);
        sentinel->addr.socklen = sizeof(struct sockaddr_in6);
#endif

    } else if (sentinel->redis->resolver) {
        ip = 0;

    } else {
        return NGX_DECLINED;
    }

    ngx_memcpy(sentinel->host, host.data, host.len);
    sentinel->host[host.len] = '\0';

    master->host.data = sentinel->host;
    master->host.len = host.len;
    master->port = (in_port_t) found->port;

    master->server.data = sentinel->text;
    master->server.len = ngx_sprintf(sentinel->text,
                                     ngx_strlchr(host.data,
                                                 host.data + host.len, ':')
                                     ? "[%V]:%ui" : "%V:%ui",
                                     &host, (ngx_uint_t) found->port)
                         - sentinel->text;

    master->addrs = NULL;
    master->naddrs = 0;

    if (ip) {
        sentinel->addr.sockaddr = &sentinel->sockaddr.sockaddr;
        ngx_inet_set_port(sentinel->addr.sockaddr, master->port);

        master->addrs = &sentinel->addr;
        master->naddrs = 1;
    }

    if (sentinel->redis->tls_name.data) {
        master->tls_name = seed->tls_name;
        master->tls_ip = seed->tls_ip;

    } else {
        master->tls_name = master->host;
        master->tls_ip = ip;
    }

    sentinel->mark = ngx_http_penstock_redis_sentinel_mark(found);

    return NGX_OK;
}


ngx_int_t
ngx_http_penstock_redis_moved_add(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis,
    ngx_http_penstock_redis_moved_pt handler, void *data)
{
    ngx_http_penstock_redis_mover_t  *mover;

    mover = ngx_array_push(&redis->movers);
    if (mover == NULL) {
        return NGX_ERROR;
    }

    mover->handler = handler;
    mover->data = data;

    return NGX_OK;
}


/*
 * To the new address at once: what was sent to the old one is lost, even if
 * it answers, since what it does from now on will be undone.  What was not
 * sent yet goes to the new one.
 */

static void
ngx_http_penstock_redis_sentinel_move(
    ngx_http_penstock_redis_sentinel_t *sentinel)
{
    ngx_uint_t                        i, own, fails;
    ngx_queue_t                       unsent, *q;
    ngx_http_penstock_redis_t        *redis;
    ngx_http_penstock_redis_cmd_t    *cmd;
    ngx_http_penstock_redis_node_t   *master;
    ngx_http_penstock_redis_mover_t  *mover;

    redis = sentinel->redis;
    master = &sentinel->master;

    own = (sentinel->version++ != 0);

    if (own) {
        ngx_http_penstock_count(sentinel->moves, 1);

        ngx_log_error(NGX_LOG_NOTICE, &sentinel->at->log, 0,
                      "the master \"%V\" is %V now", &sentinel->name,
                      &master->server);
    }

    if (own || ngx_http_penstock_redis_push_elsewhere(redis)) {
        mover = redis->movers.elts;

        for (i = 0; i < redis->movers.nelts; i++) {
            mover[i].handler(mover[i].data, own);
        }
    }

    if (master->ident == 0) {
        ngx_http_penstock_redis_node_init(master);
    }

    fails = master->fails;

    if (master->state != NGX_HTTP_PENSTOCK_REDIS_CLOSED) {

        ngx_queue_init(&unsent);

        while (!ngx_queue_empty(&master->waiting)) {
            q = ngx_queue_last(&master->waiting);
            cmd = ngx_queue_data(q, ngx_http_penstock_redis_cmd_t, queue);

            if (cmd->copied) {
                break;
            }

            ngx_queue_remove(q);
            ngx_queue_insert_head(&unsent, q);
        }

        ngx_http_penstock_redis_close(master, 0);
        ngx_http_penstock_redis_tls_forget(master);

        /* handlers may have sent more, which comes behind */

        if (!ngx_queue_empty(&master->waiting)) {
            ngx_queue_add(&unsent, &master->waiting);
            ngx_queue_init(&master->waiting);
        }

        if (!ngx_queue_empty(&unsent)) {
            ngx_queue_add(&master->waiting, &unsent);
        }

        if (master->state == NGX_HTTP_PENSTOCK_REDIS_CLOSED) {

            /* after a failure calls still wait until it is up */

            master->fails = fails;

            ngx_http_penstock_redis_connect(master);
        }

        ngx_http_penstock_redis_watch(master);
    }

    if (redis->push && redis->push->holds) {
        ngx_http_penstock_redis_links_tick(redis->push);
    }
}


ngx_uint_t
ngx_http_penstock_redis_sentinel_lost(ngx_http_penstock_redis_node_t *node)
{
    ngx_http_penstock_redis_sentinel_t  *sentinel;

    sentinel = node->redis->sentinel;

    return sentinel && node == &sentinel->master && sentinel->version == 0
           && node->state == NGX_HTTP_PENSTOCK_REDIS_RESOLVING;
}


void
ngx_http_penstock_redis_sentinel_exit(
    ngx_http_penstock_redis_sentinel_t *sentinel)
{
    ngx_http_penstock_redis_node_exit(&sentinel->master);
}
