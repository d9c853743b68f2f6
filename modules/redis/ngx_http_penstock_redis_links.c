
/*
 * Which servers have a push link: the one of a block, each master of a
 * cluster.  The worker that holds them sees to that at each tick.
 */

#include "ngx_http_penstock_redis_node.h"
#include "ngx_http_penstock_redis_link.h"
#include "ngx_http_penstock_redis_cluster.h"
#include "ngx_http_penstock_redis_sentinel.h"


static void ngx_http_penstock_redis_links_sync(
    ngx_http_penstock_redis_push_t *push,
    ngx_http_penstock_redis_cluster_t *cluster);
static void ngx_http_penstock_redis_links_follow(
    ngx_http_penstock_redis_push_t *push,
    ngx_http_penstock_redis_sentinel_t *sentinel);
static void ngx_http_penstock_redis_links_address(
    ngx_http_penstock_redis_link_t *link, ngx_http_penstock_redis_node_t *of);
static ngx_uint_t ngx_http_penstock_redis_links_want(
    ngx_http_penstock_redis_push_t *push, ngx_http_penstock_redis_node_t *of);


void
ngx_http_penstock_redis_links_tick(ngx_http_penstock_redis_push_t *push)
{
    ngx_uint_t  i;

    if (push->redis->cluster) {
        ngx_http_penstock_redis_links_sync(push, push->redis->cluster);

    } else if (push->redis->sentinel) {
        ngx_http_penstock_redis_links_follow(push, push->redis->sentinel);

    } else if (push->nlinks == 0) {
        push->complete = ngx_http_penstock_redis_links_want(push,
                                             push->redis->nodes.elts);
    }

    for (i = 0; i < push->nlinks; i++) {
        if (push->link[i]->of) {
            ngx_http_penstock_redis_link_tick(push->link[i]);
        }
    }
}


/* a link to each master of a cluster */

static void
ngx_http_penstock_redis_links_sync(ngx_http_penstock_redis_push_t *push,
    ngx_http_penstock_redis_cluster_t *cluster)
{
    ngx_uint_t                       i;
    ngx_http_penstock_redis_node_t  *node;

    ngx_http_penstock_redis_cluster_refresh(cluster,
                             ngx_current_msec - cluster->asked
                             > NGX_HTTP_PENSTOCK_REDIS_LINK_TIMEOUT);

    if (push->version == cluster->version) {
        return;
    }

    push->version = cluster->version;
    push->complete = cluster->complete;

    for (i = 0; i < push->nlinks; i++) {
        push->link[i]->wanted = 0;
    }

    node = NULL;

    for (i = 0; i < PS_SLOTS; i++) {

        if (cluster->slot[i] == NULL || cluster->slot[i] == node) {
            continue;
        }

        node = cluster->slot[i];

        if (!ngx_http_penstock_redis_links_want(push, node)) {
            push->complete = 0;
        }
    }

    for (i = 0; i < push->nlinks; i++) {
        if (push->link[i]->of && !push->link[i]->wanted) {
            push->link[i]->of = NULL;
            ngx_http_penstock_redis_close(&push->link[i]->node, 0);
        }
    }
}


/* the link to the master that sentinels tell of */

static void
ngx_http_penstock_redis_links_follow(ngx_http_penstock_redis_push_t *push,
    ngx_http_penstock_redis_sentinel_t *sentinel)
{
    ngx_http_penstock_redis_link_t  *link;

    if (sentinel->at == NULL) {

        /* nobody has asked them yet */

        ngx_http_penstock_redis_sentinel_ask(sentinel);
        return;
    }

    if (push->version == sentinel->version) {
        return;
    }

    push->version = sentinel->version;

    if (push->nlinks == 0) {
        push->complete = ngx_http_penstock_redis_links_want(push,
                                                           &sentinel->master);
        return;
    }

    link = push->link[0];

    ngx_http_penstock_redis_close(&link->node, 0);
    ngx_http_penstock_redis_tls_forget(&link->node);

    ngx_http_penstock_redis_links_address(link, &sentinel->master);

    link->refused = 0;
}


static ngx_uint_t
ngx_http_penstock_redis_links_want(ngx_http_penstock_redis_push_t *push,
    ngx_http_penstock_redis_node_t *of)
{
    ngx_uint_t                       i;
    ngx_http_penstock_redis_link_t  *link;
    ngx_http_penstock_redis_node_t  *node;

    /* one that was used for the server stays its own */

    for (i = 0; i < push->nlinks; i++) {
        link = push->link[i];
        node = &link->node;

        if (node->port == of->port && node->host.len == of->host.len
            && ngx_memcmp(node->host.data, of->host.data, of->host.len) == 0)
        {
            goto found;
        }
    }

    if (push->nlinks == NGX_HTTP_PENSTOCK_REDIS_LINKS) {
        return 0;
    }

    link = ngx_pcalloc(push->worker->pool,
                       sizeof(ngx_http_penstock_redis_link_t));
    if (link == NULL) {
        return 0;
    }

    link->push = push;

    node = &link->node;

    node->redis = of->redis;
    node->link = link;
    node->aside = 1;

    ngx_http_penstock_redis_links_address(link, of);

    ngx_http_penstock_redis_node_init(node);

    push->link[push->nlinks++] = link;

found:

    link->of = of;
    link->wanted = 1;

    return 1;
}


static void
ngx_http_penstock_redis_links_address(ngx_http_penstock_redis_link_t *link,
    ngx_http_penstock_redis_node_t *of)
{
    ngx_http_penstock_redis_node_t  *node;

    node = &link->node;

    node->server = of->server;
    node->host = of->host;
    node->port = of->port;
    node->addrs = of->addrs;
    node->naddrs = of->naddrs;
    node->tls_name = of->tls_name;
    node->tls_ip = of->tls_ip;
}


void
ngx_http_penstock_redis_links_close(ngx_http_penstock_redis_push_t *push)
{
    ngx_uint_t  i;

    for (i = 0; i < push->nlinks; i++) {
        push->link[i]->refused = 0;
        ngx_http_penstock_redis_close(&push->link[i]->node, 0);
    }
}


void
ngx_http_penstock_redis_links_exit(ngx_http_penstock_redis_push_t *push)
{
    ngx_uint_t  i;

    for (i = 0; i < push->nlinks; i++) {
        ngx_http_penstock_redis_node_exit(&push->link[i]->node);
    }
}
