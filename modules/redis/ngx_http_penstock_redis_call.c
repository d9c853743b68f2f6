
/*
 * Calls: queues, deadlines, cancellation, answers.
 *
 * A command waits in "waiting" until all of it was copied to the output
 * buffer and in "sent" until its reply was read.  A call that ends earlier
 * (deadline, cancel) leaves its command in place once a byte may have left,
 * so that the reply is consumed in order; else the command is never sent.
 */

#include "ngx_http_penstock_redis_node.h"
#include "ngx_http_penstock_redis_cluster.h"
#include "ngx_http_penstock_redis_sentinel.h"


/* unsent bytes a node keeps at most, whatever max_pending says */

#define NGX_HTTP_PENSTOCK_REDIS_BACKLOG  (64 * 1024 * 1024)


static ngx_int_t ngx_http_penstock_redis_bind(
    ngx_http_penstock_redis_cmd_t *cmd, ngx_http_penstock_redis_call_t *call);
static void ngx_http_penstock_redis_cleanup(void *data);
static ngx_uint_t ngx_http_penstock_redis_ready(
    ngx_http_penstock_redis_node_t *node);
static void ngx_http_penstock_redis_untime(
    ngx_http_penstock_redis_cmd_t *cmd);
static ngx_http_penstock_redis_call_t *ngx_http_penstock_redis_detach(
    ngx_http_penstock_redis_cmd_t *cmd);
static void ngx_http_penstock_redis_free(ngx_http_penstock_redis_cmd_t *cmd);
static ngx_int_t ngx_http_penstock_redis_again(
    ngx_http_penstock_redis_cmd_t *cmd);


ngx_uint_t
ngx_http_penstock_redis_up(ngx_http_penstock_redis_t *redis)
{
    ngx_uint_t                       i;
    ngx_http_penstock_redis_node_t  *node;

    if (redis->cluster && redis->cluster->n) {

        for (i = 0; i < redis->cluster->n; i++) {
            if (ngx_http_penstock_redis_ready(redis->cluster->node[i])) {
                return 1;
            }
        }

        return 0;
    }

    if (redis->sentinel) {
        return ngx_http_penstock_redis_ready(&redis->sentinel->master);
    }

    node = redis->nodes.elts;

    return ngx_http_penstock_redis_ready(&node[0]);
}


ngx_msec_t
ngx_http_penstock_redis_timeout(ngx_http_penstock_redis_t *redis)
{
    return redis->command_timeout;
}


ngx_http_penstock_redis_node_t *
ngx_http_penstock_redis_route(ngx_http_penstock_redis_t *redis,
    const ngx_str_t *key)
{
    if (redis->cluster) {
        return ngx_http_penstock_redis_cluster_route(redis->cluster, key);
    }

    if (redis->sentinel) {
        return ngx_http_penstock_redis_use(&redis->sentinel->master);
    }

    return ngx_http_penstock_redis_use(redis->nodes.elts);
}


ngx_http_penstock_redis_node_t *
ngx_http_penstock_redis_use(ngx_http_penstock_redis_node_t *node)
{
    if (!ngx_http_penstock_redis_ready(node)) {
        return NULL;
    }

    if (node->state == NGX_HTTP_PENSTOCK_REDIS_CLOSED) {

        if (node->ident == 0) {
            ngx_http_penstock_redis_node_init(node);
        }

        ngx_http_penstock_redis_connect(node);

        if (node->state == NGX_HTTP_PENSTOCK_REDIS_BACKOFF) {
            return NULL;
        }
    }

    return node;
}


/*
 * After a failure calls are taken only when the handshake is done again, so
 * that no request waits for an attempt to connect that may well fail too.
 */

static ngx_uint_t
ngx_http_penstock_redis_ready(ngx_http_penstock_redis_node_t *node)
{
    switch (node->state) {

    case NGX_HTTP_PENSTOCK_REDIS_BACKOFF:
        return 0;

    case NGX_HTTP_PENSTOCK_REDIS_RESOLVING:
    case NGX_HTTP_PENSTOCK_REDIS_CONNECTING:
    case NGX_HTTP_PENSTOCK_REDIS_TLS:
    case NGX_HTTP_PENSTOCK_REDIS_HANDSHAKE:
        if (node->fails && !ngx_exiting) {
            return 0;
        }

        break;

    case NGX_HTTP_PENSTOCK_REDIS_UP:
        if (node->drain) {
            return 0;
        }

        if (node->paused) {
            if ((ngx_msec_int_t) (node->pause_until - ngx_current_msec) > 0) {
                return 0;
            }

            node->paused = 0;
        }

        break;

    default: /* NGX_HTTP_PENSTOCK_REDIS_CLOSED */
        if (node->gone) {
            return 0;
        }

        break;
    }

    return node->ncommands < (ngx_uint_t) node->redis->max_pending
           && node->nbytes < NGX_HTTP_PENSTOCK_REDIS_BACKLOG;
}


ngx_int_t
ngx_http_penstock_redis_declined(ngx_http_penstock_redis_t *redis,
    ngx_http_penstock_redis_call_t *call)
{
    if (call) {
        call->status = NGX_HTTP_PENSTOCK_REDIS_DOWN;
        call->pending = NULL;
    }

    ngx_http_penstock_count(redis->metrics.down, 1);

    return NGX_DECLINED;
}


ngx_int_t
ngx_http_penstock_redis_submit(ngx_http_penstock_redis_node_t *node,
    ngx_http_penstock_redis_cmd_t *cmd, ngx_http_penstock_redis_call_t *call)
{
    ngx_msec_t  timeout;

    timeout = node->redis->command_timeout;

    if (call) {
        if (call->timeout) {
            timeout = call->timeout;
        }

        if (ngx_http_penstock_redis_bind(cmd, call) != NGX_OK) {
            ngx_free(cmd);
            return ngx_http_penstock_redis_declined(node->redis, call);
        }
    }

    cmd->node = node;
    cmd->deadline = ngx_current_msec + timeout;
    cmd->timed = 1;
    cmd->timer.key = cmd->deadline;
    ngx_rbtree_insert(&node->timers, &cmd->timer);

    ngx_queue_insert_tail(&node->waiting, &cmd->queue);
    node->ncommands++;
    node->nbytes += cmd->size;

    if (!node->aside) {
        ngx_http_penstock_count(node->redis->metrics.calls, 1);
    }

    ngx_http_penstock_redis_watch(node);
    ngx_http_penstock_redis_post(node);

    return NGX_OK;
}


/*
 * A pool that ends cancels its calls.  The cleanup of a call that is over
 * stays registered, disarmed, and serves the next call of the same pool.
 */

static ngx_int_t
ngx_http_penstock_redis_bind(ngx_http_penstock_redis_cmd_t *cmd,
    ngx_http_penstock_redis_call_t *call)
{
    ngx_pool_cleanup_t  *cln;

    if (call->pool) {

        for (cln = call->pool->cleanup; cln; cln = cln->next) {
            if (cln->handler == ngx_http_penstock_redis_cleanup
                && cln->data == NULL)
            {
                break;
            }
        }

        if (cln == NULL) {
            cln = ngx_pool_cleanup_add(call->pool, 0);
            if (cln == NULL) {
                return NGX_ERROR;
            }

            cln->handler = ngx_http_penstock_redis_cleanup;
        }

        cln->data = call;
        cmd->cln = cln;
    }

    cmd->call = call;
    call->pending = cmd;
    call->status = NGX_HTTP_PENSTOCK_REDIS_OK;

    return NGX_OK;
}


static void
ngx_http_penstock_redis_cleanup(void *data)
{
    if (data) {
        ngx_http_penstock_redis_cancel(data);
    }
}


void
ngx_http_penstock_redis_cancel(ngx_http_penstock_redis_call_t *call)
{
    ngx_http_penstock_redis_cmd_t   *cmd;
    ngx_http_penstock_redis_node_t  *node;

    cmd = call->pending;

    if (cmd == NULL) {
        return;
    }

    node = cmd->node;

    ngx_http_penstock_redis_detach(cmd);
    ngx_http_penstock_redis_untime(cmd);

    if (cmd->copied == 0) {
        ngx_http_penstock_redis_free(cmd);
    }

    ngx_http_penstock_redis_watch(node);
}


void
ngx_http_penstock_redis_complete(ngx_http_penstock_redis_cmd_t *cmd,
    ngx_http_penstock_redis_status_e status, redisReply *reply)
{
    ngx_uint_t                       gone;
    ngx_http_penstock_redis_t       *redis;
    ngx_http_penstock_redis_call_t  *call;

    redis = cmd->node->redis;
    gone = cmd->node->gone;

    call = ngx_http_penstock_redis_detach(cmd);

    /* what ended before was counted then; those aside are no calls */

    if (cmd->timed && !cmd->node->aside) {

        switch (status) {

        case NGX_HTTP_PENSTOCK_REDIS_REFUSED:
            ngx_http_penstock_count(redis->metrics.refused, 1);
            break;

        case NGX_HTTP_PENSTOCK_REDIS_DOWN:
            ngx_http_penstock_count(redis->metrics.down, 1);
            break;

        case NGX_HTTP_PENSTOCK_REDIS_LOST:
            ngx_http_penstock_count(redis->metrics.lost, 1);
            break;

        default: /* NGX_HTTP_PENSTOCK_REDIS_OK */
            break;
        }
    }

    ngx_http_penstock_redis_untime(cmd);
    ngx_http_penstock_redis_free(cmd);

    if (call) {
        call->status = status;

        if (call->handler && !gone) {
            call->handler(call, reply);
        }
    }
}


void
ngx_http_penstock_redis_expire(ngx_http_penstock_redis_cmd_t *cmd)
{
    ngx_http_penstock_redis_call_t  *call;

    if (cmd->copied == 0) {
        ngx_http_penstock_redis_complete(cmd, NGX_HTTP_PENSTOCK_REDIS_DOWN,
                                         NULL);
        return;
    }

    /* the command stays where its reply will look for it */

    if (!cmd->node->aside) {
        ngx_http_penstock_count(cmd->node->redis->metrics.lost, 1);
    }

    ngx_http_penstock_redis_untime(cmd);
    call = ngx_http_penstock_redis_detach(cmd);

    if (call) {
        call->status = NGX_HTTP_PENSTOCK_REDIS_LOST;

        if (call->handler) {
            call->handler(call, NULL);
        }
    }
}


static ngx_http_penstock_redis_call_t *
ngx_http_penstock_redis_detach(ngx_http_penstock_redis_cmd_t *cmd)
{
    ngx_http_penstock_redis_call_t  *call;

    call = cmd->call;

    if (call) {
        call->pending = NULL;
        cmd->call = NULL;
    }

    if (cmd->cln) {
        cmd->cln->data = NULL;
        cmd->cln = NULL;
    }

    return call;
}


static void
ngx_http_penstock_redis_untime(ngx_http_penstock_redis_cmd_t *cmd)
{
    if (cmd->timed) {
        ngx_rbtree_delete(&cmd->node->timers, &cmd->timer);
        cmd->timed = 0;
    }
}


static void
ngx_http_penstock_redis_free(ngx_http_penstock_redis_cmd_t *cmd)
{
    ngx_queue_remove(&cmd->queue);

    cmd->node->ncommands--;
    cmd->node->nbytes -= cmd->size - cmd->copied;

    ngx_free(cmd);
}


ngx_int_t
ngx_http_penstock_redis_reply(ngx_http_penstock_redis_node_t *node,
    redisReply *reply)
{
    ngx_queue_t                       *q;
    ngx_http_penstock_redis_cmd_t     *cmd;
    ngx_http_penstock_redis_kind_e     kind;
    ngx_http_penstock_redis_status_e   status;

    if (ngx_queue_empty(&node->sent)) {
        return NGX_ERROR;
    }

    q = ngx_queue_head(&node->sent);
    cmd = ngx_queue_data(q, ngx_http_penstock_redis_cmd_t, queue);

    if (cmd->kind != NGX_HTTP_PENSTOCK_REDIS_CALL) {
        kind = cmd->kind;
        ngx_http_penstock_redis_free(cmd);

        if (kind == NGX_HTTP_PENSTOCK_REDIS_ASKING) {
            return NGX_OK;
        }

        return ngx_http_penstock_redis_shaken(node, kind, reply);
    }

    status = NGX_HTTP_PENSTOCK_REDIS_OK;

    if (reply->type == REDIS_REPLY_ERROR && node->redis->cluster
        && ngx_http_penstock_redis_cluster_redirect(cmd, reply) == NGX_OK)
    {
        return NGX_OK;
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        status = NGX_HTTP_PENSTOCK_REDIS_REFUSED;

        if (ngx_strncmp(reply->str, "NOSCRIPT", 8) == 0 && cmd->script) {

            if (ngx_http_penstock_redis_again(cmd) == NGX_OK) {
                return NGX_OK;
            }

        } else if (ngx_strncmp(reply->str, "LOADING", 7) == 0) {
            ngx_http_penstock_redis_pause(node, "it is loading its data");

        } else if (ngx_strncmp(reply->str, "NOAUTH", 6) == 0) {

            /* what was sent behind gets the same answer, then reconnect */

            if (!node->drain) {
                node->drain = 1;
                ngx_http_penstock_redis_pause(node,
                                              "it wants authentication");
            }

        } else if (node->redis->sentinel && !node->aside && !node->drain
                   && (ngx_strncmp(reply->str, "READONLY", 8) == 0
                       || ngx_strncmp(reply->str, "MASTERDOWN", 10) == 0))
        {
            /* no longer the master: it is asked for its ROLE again, and the
               sentinels for another one */

            node->drain = 1;
            ngx_http_penstock_redis_pause(node, "it became read-only");

        } else if (ngx_strncmp(reply->str, "READONLY", 8) == 0
                   && !node->drain
                   && ngx_current_msec - node->up_since
                      >= NGX_HTTP_PENSTOCK_REDIS_STABLE)
        {
            /* no longer the master: its name may lead to another by now */

            ngx_log_error(NGX_LOG_ERR, &node->log, 0,
                          "it became read-only, connecting anew");
            node->drain = 1;
        }

    } else {
        node->pauses = 0;
    }

    ngx_http_penstock_redis_complete(cmd, status, reply);

    return NGX_OK;
}


/*
 * A script that the server doesn't know was not run, so sending its text is
 * no repetition.  It takes its place behind what was called meanwhile.
 */

static ngx_int_t
ngx_http_penstock_redis_again(ngx_http_penstock_redis_cmd_t *cmd)
{
    ngx_http_penstock_redis_cmd_t   *eval;
    ngx_http_penstock_redis_node_t  *node;

    if (!cmd->timed) {

        /* nobody waits any more: a cancelled or late call stays so */

        ngx_http_penstock_redis_free(cmd);
        return NGX_OK;
    }

    node = cmd->node;

    eval = ngx_http_penstock_redis_cmd_eval(cmd);
    if (eval == NULL) {
        return NGX_ERROR;
    }

    /* an ASKING is for one command */

    if (cmd->asked && ngx_http_penstock_redis_cluster_asking(node) != NGX_OK) {
        ngx_free(eval);
        return NGX_ERROR;
    }

    eval->node = node;
    eval->call = cmd->call;
    eval->cln = cmd->cln;
    eval->deadline = cmd->deadline;
    eval->slot = cmd->slot;
    eval->hops = cmd->hops;
    eval->asked = cmd->asked;

    if (eval->call) {
        eval->call->pending = eval;
    }

    ngx_http_penstock_redis_untime(cmd);
    ngx_http_penstock_redis_free(cmd);

    eval->timed = 1;
    eval->timer.key = eval->deadline;
    ngx_rbtree_insert(&node->timers, &eval->timer);

    ngx_queue_insert_tail(&node->waiting, &eval->queue);
    node->ncommands++;
    node->nbytes += eval->size;

    ngx_http_penstock_redis_post(node);

    return NGX_OK;
}
