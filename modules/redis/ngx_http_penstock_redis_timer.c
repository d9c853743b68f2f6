
/*
 * Deadlines of calls, and the watch for a connection that went silent.
 */

#include "ngx_http_penstock_redis_node.h"


static ngx_int_t ngx_http_penstock_redis_overdue(
    ngx_http_penstock_redis_node_t *node, ngx_msec_t *at);


/*
 * One timer a node.  While somebody waits it is not cancelable: a worker
 * that shuts down lets its requests finish.  Once nobody does it only
 * watches for a connection whose replies don't come.
 */

void
ngx_http_penstock_redis_watch(ngx_http_penstock_redis_node_t *node)
{
    ngx_msec_t          at;
    ngx_uint_t          idle;
    ngx_rbtree_node_t  *min;

    idle = (node->timers.root == &node->sentinel);

    /* a push link keeps no worker from its end, nor does a sentinel */

    node->timer.cancelable = idle || node->aside;

    if (node->connection) {
        node->connection->idle = idle || node->link;
    }

    if (!idle) {
        min = ngx_rbtree_min(node->timers.root, &node->sentinel);
        at = min->key;

    } else {

        if (ngx_http_penstock_redis_overdue(node, &at) != NGX_OK) {
            return;
        }
    }

    if (node->timer.timer_set) {

        /* one that fires too early finds nothing and is set again */

        if ((ngx_msec_int_t) (node->timer.timer.key - at) <= 0) {
            return;
        }

        ngx_del_timer(&node->timer);
    }

    ngx_add_timer(&node->timer,
                  ngx_max((ngx_msec_int_t) (at - ngx_current_msec), 1));
}


/*
 * When to give up the connection, as seen from its oldest command: sent, or
 * in part.  NGX_DECLINED: there is none.
 */

static ngx_int_t
ngx_http_penstock_redis_overdue(ngx_http_penstock_redis_node_t *node,
    ngx_msec_t *at)
{
    ngx_msec_t                      since;
    ngx_queue_t                    *q;
    ngx_http_penstock_redis_cmd_t  *cmd;

    if (!ngx_queue_empty(&node->sent)) {
        q = ngx_queue_head(&node->sent);

    } else if (!ngx_queue_empty(&node->waiting)) {
        q = ngx_queue_head(&node->waiting);

    } else {
        return NGX_DECLINED;
    }

    cmd = ngx_queue_data(q, ngx_http_penstock_redis_cmd_t, queue);

    if (cmd->copied == 0) {
        return NGX_DECLINED;
    }

    since = cmd->deadline;

    if ((ngx_msec_int_t) (node->last_sign - since) > 0) {
        since = node->last_sign;
    }

    *at = since + 3 * node->redis->command_timeout;

    return NGX_OK;
}


void
ngx_http_penstock_redis_timer_handler(ngx_event_t *ev)
{
    ngx_msec_t                       at;
    ngx_rbtree_node_t               *min;
    ngx_http_penstock_redis_cmd_t   *cmd;
    ngx_http_penstock_redis_node_t  *node;

    node = ev->data;

    while (node->timers.root != &node->sentinel) {

        min = ngx_rbtree_min(node->timers.root, &node->sentinel);

        if ((ngx_msec_int_t) (min->key - ngx_current_msec) > 0) {
            break;
        }

        cmd = (ngx_http_penstock_redis_cmd_t *)
                  ((char *) min
                   - offsetof(ngx_http_penstock_redis_cmd_t, timer));

        ngx_http_penstock_redis_expire(cmd);
    }

    if (node->state == NGX_HTTP_PENSTOCK_REDIS_UP
        && ngx_http_penstock_redis_overdue(node, &at) == NGX_OK
        && (ngx_msec_int_t) (at - ngx_current_msec) <= 0)
    {
        ngx_http_penstock_redis_fail(node, 0, "no reply in time");
        return;
    }

    ngx_http_penstock_redis_watch(node);
}
