
/*
 * Redis Cluster: which node has a slot, and commands that a node sent on.
 *
 * Each worker has a table of its own.  It is asked for (CLUSTER SLOTS) at the
 * first call, when a node says MOVED or can't be reached, and by the worker
 * that holds the push links all the time; never more often than twice a
 * second.  What a node redirects was not carried out, so it is sent again,
 * within its time and at most 5 times.
 */

#include "ngx_http_penstock_redis_node.h"
#include "ngx_http_penstock_redis_cluster.h"


#define NGX_HTTP_PENSTOCK_REDIS_REFRESH  500      /* ms */
#define NGX_HTTP_PENSTOCK_REDIS_HOPS     5
#define NGX_HTTP_PENSTOCK_REDIS_NODES    512
#define NGX_HTTP_PENSTOCK_REDIS_AGAIN    10       /* ms, doubled each time */


static void ngx_http_penstock_redis_cluster_start(
    ngx_http_penstock_redis_cluster_t *cluster);
static void ngx_http_penstock_redis_cluster_ask(ngx_event_t *ev);
static void ngx_http_penstock_redis_cluster_told(
    ngx_http_penstock_redis_call_t *call, redisReply *reply);
static ngx_http_penstock_redis_node_t *ngx_http_penstock_redis_cluster_node(
    ngx_http_penstock_redis_cluster_t *cluster, const char *host, size_t len,
    in_port_t port, ngx_http_penstock_redis_node_t *from);
static ngx_http_penstock_redis_node_t *ngx_http_penstock_redis_cluster_add(
    ngx_http_penstock_redis_cluster_t *cluster, ngx_str_t *host,
    in_port_t port);
static void ngx_http_penstock_redis_cluster_move(
    ngx_http_penstock_redis_cmd_t *cmd,
    ngx_http_penstock_redis_node_t *node);
static void ngx_http_penstock_redis_cluster_delay(
    ngx_http_penstock_redis_cluster_t *cluster,
    ngx_http_penstock_redis_cmd_t *cmd);
static void ngx_http_penstock_redis_cluster_again(ngx_event_t *ev);


ngx_http_penstock_redis_cluster_t *
ngx_http_penstock_redis_cluster_create(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis)
{
    ngx_http_penstock_redis_cluster_t  *cluster;

    cluster = ngx_pcalloc(cf->pool,
                          sizeof(ngx_http_penstock_redis_cluster_t));
    if (cluster == NULL) {
        return NULL;
    }

    cluster->redis = redis;

    return cluster;
}


/* the seeds, in a worker */

static void
ngx_http_penstock_redis_cluster_start(
    ngx_http_penstock_redis_cluster_t *cluster)
{
    ngx_uint_t                       i;
    ngx_http_penstock_redis_node_t  *seed;

    cluster->ident = -1;

    cluster->refresh.handler = ngx_http_penstock_redis_cluster_ask;
    cluster->refresh.data = cluster;
    cluster->refresh.log = ngx_cycle->log;
    cluster->refresh.cancelable = 1;

    cluster->again.handler = ngx_http_penstock_redis_cluster_again;
    cluster->again.data = cluster;
    cluster->again.log = ngx_cycle->log;

    ngx_queue_init(&cluster->delayed);

    cluster->asked = ngx_current_msec - NGX_HTTP_PENSTOCK_REDIS_REFRESH;

    seed = cluster->redis->nodes.elts;

    for (i = 0; i < cluster->redis->nodes.nelts
                && i < NGX_HTTP_PENSTOCK_REDIS_NODES;
         i++)
    {
        cluster->node[cluster->n++] = &seed[i];
    }

    cluster->next = ngx_random() % cluster->n;
}


ngx_http_penstock_redis_node_t *
ngx_http_penstock_redis_cluster_route(
    ngx_http_penstock_redis_cluster_t *cluster, const ngx_str_t *key)
{
    ngx_uint_t                       i;
    ngx_http_penstock_redis_node_t  *node;

    ngx_http_penstock_redis_cluster_refresh(cluster, 0);

    if (key) {
        node = cluster->slot[ps_slot((char *) key->data, key->len)];

        if (node) {
            node = ngx_http_penstock_redis_use(node);

            if (node == NULL) {
                ngx_http_penstock_redis_cluster_refresh(cluster, 1);
            }

            return node;
        }
    }

    /* not known yet: any one tells */

    for (i = 0; i < cluster->n; i++) {
        node = ngx_http_penstock_redis_use(
                   cluster->node[(cluster->next + i) % cluster->n]);

        if (node) {
            return node;
        }

        cluster->next++;
    }

    return NULL;
}


void
ngx_http_penstock_redis_cluster_refresh(
    ngx_http_penstock_redis_cluster_t *cluster, ngx_uint_t again)
{
    ngx_msec_int_t  wait;

    if (cluster->n == 0) {
        ngx_http_penstock_redis_cluster_start(cluster);
        again = 1;
    }

    if (!again || cluster->refresh.timer_set || cluster->call.pending
        || ngx_exiting)
    {
        return;
    }

    wait = cluster->asked + NGX_HTTP_PENSTOCK_REDIS_REFRESH
           - ngx_current_msec;

    ngx_add_timer(&cluster->refresh, ngx_max(wait, 1));
}


static void
ngx_http_penstock_redis_cluster_ask(ngx_event_t *ev)
{
    ngx_str_t                           argv[2];
    ngx_uint_t                          i;
    ngx_http_penstock_redis_cmd_t      *cmd;
    ngx_http_penstock_redis_node_t     *node;
    ngx_http_penstock_redis_cluster_t  *cluster = ev->data;

    if (ngx_exiting) {
        return;
    }

    cluster->asked = ngx_current_msec;

    ngx_str_set(&argv[0], "CLUSTER");
    ngx_str_set(&argv[1], "SLOTS");

    /* the next one each time: one may be cut off from the others */

    for (i = 0; i < cluster->n; i++) {

        node = ngx_http_penstock_redis_use(
                   cluster->node[cluster->next++ % cluster->n]);

        if (node == NULL) {
            continue;
        }

        cmd = ngx_http_penstock_redis_cmd(0, NULL, 2, argv);
        if (cmd == NULL) {
            break;
        }

        cmd->slot = NGX_ERROR;

        ngx_memzero(&cluster->call, sizeof(ngx_http_penstock_redis_call_t));

        cluster->call.handler = ngx_http_penstock_redis_cluster_told;
        cluster->call.data = cluster;
        cluster->call.timeout = ngx_max(cluster->redis->command_timeout,
                                        cluster->redis->connect_timeout);
        cluster->from = node;

        if (ngx_http_penstock_redis_submit(node, cmd, &cluster->call)
            == NGX_OK)
        {
            return;
        }
    }

    ngx_http_penstock_redis_cluster_refresh(cluster, 1);
}


static void
ngx_http_penstock_redis_cluster_told(ngx_http_penstock_redis_call_t *call,
    redisReply *reply)
{
    ngx_uint_t                          i, s, known, total;
    ps_slot_range_t                     range;
    ngx_http_penstock_redis_node_t     *node;
    ngx_http_penstock_redis_cluster_t  *cluster = call->data;

    if (call->status == NGX_HTTP_PENSTOCK_REDIS_REFUSED) {

        if (!cluster->refused) {
            cluster->refused = 1;

            ngx_log_error(NGX_LOG_ERR, &cluster->from->log, 0,
                          "it refused CLUSTER SLOTS; is it a cluster, and may "
                          "its user +cluster|slots?");
        }

        return;
    }

    if (call->status != NGX_HTTP_PENSTOCK_REDIS_OK
        || reply->type != REDIS_REPLY_ARRAY || reply->elements == 0)
    {
        ngx_http_penstock_redis_cluster_refresh(cluster, 1);
        return;
    }

    cluster->refused = 0;
    known = 0;
    total = 0;

    ngx_memzero(cluster->slot, sizeof(cluster->slot));

    for (i = 0; i < reply->elements; i++) {

        if (ps_slot_range_parse(&range, reply->element[i]) != 0) {
            continue;
        }

        /* slots named again and again must not keep the worker busy */

        total += range.last - range.first + 1;

        if (total > PS_SLOTS) {
            break;
        }

        node = ngx_http_penstock_redis_cluster_node(cluster, range.host,
                                                    range.host_len,
                                                    (in_port_t) range.port,
                                                    cluster->from);

        if (node == NULL) {
            continue;
        }

        for (s = range.first; s <= range.last; s++) {
            known += (cluster->slot[s] == NULL);
            cluster->slot[s] = node;
        }
    }

    cluster->complete = (known == PS_SLOTS);
    cluster->version++;

    if (!cluster->complete) {
        ngx_http_penstock_redis_cluster_refresh(cluster, 1);
    }
}


/* no host: the same as of the node that says so */

static ngx_http_penstock_redis_node_t *
ngx_http_penstock_redis_cluster_node(
    ngx_http_penstock_redis_cluster_t *cluster, const char *host, size_t len,
    in_port_t port, ngx_http_penstock_redis_node_t *from)
{
    ngx_str_t                        name;
    ngx_uint_t                       i;
    ngx_http_penstock_redis_node_t  *node;

    name.data = (u_char *) host;
    name.len = len;

    if (len == 0) {
        name = from->host;
    }

    for (i = 0; i < cluster->n; i++) {
        node = cluster->node[i];

        if (node->port == port && node->host.len == name.len
            && ngx_memcmp(node->host.data, name.data, name.len) == 0)
        {
            return node;
        }
    }

    return ngx_http_penstock_redis_cluster_add(cluster, &name, port);
}


/* they stay for the worker's life; a cluster has few in all */

static ngx_http_penstock_redis_node_t *
ngx_http_penstock_redis_cluster_add(
    ngx_http_penstock_redis_cluster_t *cluster, ngx_str_t *host,
    in_port_t port)
{
    u_char                          *p;
    ngx_int_t                        rc;
    ngx_addr_t                      *addr;
    ngx_pool_t                      *pool;
    ngx_http_penstock_redis_t       *redis;
    ngx_http_penstock_redis_node_t  *node;

    redis = cluster->redis;
    pool = ngx_cycle->pool;

    if (cluster->n == NGX_HTTP_PENSTOCK_REDIS_NODES || host->len == 0) {
        return NULL;
    }

    node = ngx_pcalloc(pool, sizeof(ngx_http_penstock_redis_node_t));
    addr = ngx_pcalloc(pool, sizeof(ngx_addr_t));
    p = ngx_pnalloc(pool, 2 * host->len + sizeof("[]:65535") + 1);

    if (node == NULL || addr == NULL || p == NULL) {
        return NULL;
    }

    node->redis = redis;
    node->port = port;

    node->host.data = p;
    node->host.len = host->len;
    p = ngx_cpymem(p, host->data, host->len);
    *p++ = '\0';

    node->server.data = p;
    node->server.len = ngx_sprintf(p, ngx_strlchr(host->data, host->data
                                                  + host->len, ':')
                                      ? "[%V]:%ui" : "%V:%ui",
                                   host, (ngx_uint_t) port) - p;

    rc = ngx_parse_addr(pool, addr, node->host.data, node->host.len);

    if (rc == NGX_OK) {
        ngx_inet_set_port(addr->sockaddr, port);
        node->addrs = addr;
        node->naddrs = 1;

    } else if (rc == NGX_ERROR || redis->resolver == NULL) {
        return NULL;
    }

    node->tls_ip = (rc == NGX_OK);
    node->tls_name = node->host;

    if (redis->tls_name.data && redis->nodes.nelts) {
        node->tls_name = ((ngx_http_penstock_redis_node_t *)
                          redis->nodes.elts)->tls_name;
        node->tls_ip = ((ngx_http_penstock_redis_node_t *)
                        redis->nodes.elts)->tls_ip;
    }

    cluster->node[cluster->n++] = node;

    return node;
}


ngx_int_t
ngx_http_penstock_redis_cluster_redirect(ngx_http_penstock_redis_cmd_t *cmd,
    redisReply *reply)
{
    ps_redirect_t                       redirect;
    ngx_http_penstock_redis_node_t     *node;
    ngx_http_penstock_redis_cluster_t  *cluster;

    cluster = cmd->node->redis->cluster;

    if (ps_redirect_parse(&redirect, reply->str, reply->len) != 0) {

        if (ngx_strncmp(reply->str, "TRYAGAIN", 8) != 0
            && ngx_strncmp(reply->str, "CLUSTERDOWN", 11) != 0)
        {
            return NGX_DECLINED;
        }

        ngx_http_penstock_redis_cluster_refresh(cluster, 1);

        if (!cmd->timed || cmd->hops == NGX_HTTP_PENSTOCK_REDIS_HOPS) {
            return NGX_DECLINED;
        }

        ngx_http_penstock_redis_cluster_delay(cluster, cmd);

        return NGX_OK;
    }

    node = ngx_http_penstock_redis_cluster_node(cluster, redirect.host,
                                                redirect.host_len,
                                                (in_port_t) redirect.port,
                                                cmd->node);

    if (!redirect.ask) {

        if (node) {
            cluster->slot[redirect.slot] = node;
            cluster->version++;
        }

        ngx_http_penstock_redis_cluster_refresh(cluster, 1);
    }

    if (node == NULL || !cmd->timed
        || cmd->hops == NGX_HTTP_PENSTOCK_REDIS_HOPS
        || ngx_http_penstock_redis_use(node) == NULL)
    {
        return NGX_DECLINED;
    }

    if (redirect.ask
        && ngx_http_penstock_redis_cluster_asking(node) != NGX_OK)
    {
        return NGX_DECLINED;
    }

    cmd->hops++;

    ngx_http_penstock_redis_cluster_move(cmd, node);

    cmd->asked = redirect.ask;

    return NGX_OK;
}


ngx_int_t
ngx_http_penstock_redis_cluster_asking(ngx_http_penstock_redis_node_t *node)
{
    ngx_str_t                       argv;
    ngx_http_penstock_redis_cmd_t  *asking;

    ngx_str_set(&argv, "ASKING");

    asking = ngx_http_penstock_redis_cmd(0, NULL, 1, &argv);
    if (asking == NULL) {
        return NGX_ERROR;
    }

    asking->node = node;
    asking->kind = NGX_HTTP_PENSTOCK_REDIS_ASKING;

    ngx_queue_insert_tail(&node->waiting, &asking->queue);
    node->ncommands++;
    node->nbytes += asking->size;

    return NGX_OK;
}


/* to the end of that node's commands, as if it had not been sent yet */

static void
ngx_http_penstock_redis_cluster_move(ngx_http_penstock_redis_cmd_t *cmd,
    ngx_http_penstock_redis_node_t *node)
{
    ngx_http_penstock_redis_node_t  *old;

    old = cmd->node;

    ngx_queue_remove(&cmd->queue);
    old->ncommands--;
    old->nbytes -= cmd->size - cmd->copied;
    ngx_rbtree_delete(&old->timers, &cmd->timer);

    cmd->node = node;
    cmd->copied = 0;
    cmd->asked = 0;

    ngx_queue_insert_tail(&node->waiting, &cmd->queue);
    node->ncommands++;
    node->nbytes += cmd->size;

    cmd->timer.key = cmd->deadline;
    ngx_rbtree_insert(&node->timers, &cmd->timer);

    ngx_http_penstock_redis_watch(old);
    ngx_http_penstock_redis_watch(node);
    ngx_http_penstock_redis_post(node);
}


/* it keeps its node and its deadline, but waits in no queue of that */

static void
ngx_http_penstock_redis_cluster_delay(
    ngx_http_penstock_redis_cluster_t *cluster,
    ngx_http_penstock_redis_cmd_t *cmd)
{
    ngx_queue_remove(&cmd->queue);
    ngx_queue_insert_tail(&cluster->delayed, &cmd->queue);

    cmd->node->nbytes += cmd->copied;
    cmd->copied = 0;

    if (!cluster->again.timer_set) {
        ngx_add_timer(&cluster->again,
                      NGX_HTTP_PENSTOCK_REDIS_AGAIN << cmd->hops);
    }

    cmd->hops++;
}


static void
ngx_http_penstock_redis_cluster_again(ngx_event_t *ev)
{
    ngx_queue_t                         delayed, *q;
    ngx_http_penstock_redis_cmd_t      *cmd;
    ngx_http_penstock_redis_node_t     *node;
    ngx_http_penstock_redis_cluster_t  *cluster = ev->data;

    if (ngx_queue_empty(&cluster->delayed)) {
        return;
    }

    ngx_queue_init(&delayed);
    ngx_queue_add(&delayed, &cluster->delayed);
    ngx_queue_init(&cluster->delayed);

    while (!ngx_queue_empty(&delayed)) {
        q = ngx_queue_head(&delayed);
        cmd = ngx_queue_data(q, ngx_http_penstock_redis_cmd_t, queue);

        node = (cmd->slot >= 0) ? cluster->slot[cmd->slot] : NULL;

        if (node == NULL) {
            node = cmd->node;
        }

        if (ngx_http_penstock_redis_use(node) == NULL) {
            ngx_http_penstock_redis_complete(cmd,
                                       NGX_HTTP_PENSTOCK_REDIS_DOWN, NULL);
            continue;
        }

        ngx_http_penstock_redis_cluster_move(cmd, node);
    }
}


void
ngx_http_penstock_redis_cluster_exit(
    ngx_http_penstock_redis_cluster_t *cluster)
{
    ngx_uint_t                      i;
    ngx_queue_t                    *q;
    ngx_http_penstock_redis_cmd_t  *cmd;

    for (i = 0; i < cluster->n; i++) {
        ngx_http_penstock_redis_node_exit(cluster->node[i]);
    }

    while (cluster->n && !ngx_queue_empty(&cluster->delayed)) {
        q = ngx_queue_head(&cluster->delayed);
        cmd = ngx_queue_data(q, ngx_http_penstock_redis_cmd_t, queue);

        ngx_http_penstock_redis_complete(cmd, NGX_HTTP_PENSTOCK_REDIS_DOWN,
                                         NULL);
    }
}
