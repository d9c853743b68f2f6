
/*
 * Reading and writing of a node's connection.  Commands of one turn of the
 * event loop leave in one send(); replies are checked against the limits
 * before hiredis sees them.
 */

#include "ngx_http_penstock_redis_node.h"
#include "ngx_http_penstock_redis_sentinel.h"


static ngx_int_t ngx_http_penstock_redis_parse(
    ngx_http_penstock_redis_node_t *node, u_char *p, size_t n);
static void ngx_http_penstock_redis_flush(
    ngx_http_penstock_redis_node_t *node);
static void ngx_http_penstock_redis_fill(
    ngx_http_penstock_redis_node_t *node);


void
ngx_http_penstock_redis_read_handler(ngx_event_t *rev)
{
    ssize_t                          n;
    ngx_connection_t                *c;
    ngx_http_penstock_redis_node_t  *node;

    c = rev->data;
    node = c->data;

    if (c->close) {

        /* the worker shuts down: idle, or its shutdown timeout is over */

        ngx_http_penstock_redis_close(node, 0);
        return;
    }

    if (node->state == NGX_HTTP_PENSTOCK_REDIS_CONNECTING) {
        ngx_http_penstock_redis_connect_done(node);
        return;
    }

    for ( ;; ) {

        n = c->recv(c, node->in, NGX_HTTP_PENSTOCK_REDIS_IN);

        if (n == NGX_AGAIN) {
            break;
        }

        if (n == NGX_ERROR) {

            if (c->ssl && node->state == NGX_HTTP_PENSTOCK_REDIS_HANDSHAKE) {

                /* in TLS 1.3 it judges ours after the handshake */

                ngx_http_penstock_redis_tls_fail(node, "it refused TLS, does "
                                      "it take our \"tls_certificate\"?");
                return;
            }

            ngx_http_penstock_redis_close(node, 1);
            return;
        }

        if (n == 0) {

            if (node->state == NGX_HTTP_PENSTOCK_REDIS_UP
                && node->ncommands == 0)
            {
                /* the server's own idle timeout, or its restart */

                ngx_log_error(NGX_LOG_INFO, &node->log, 0,
                              "closed an idle connection");

                ngx_http_penstock_redis_close(node, 0);
                return;
            }

            ngx_http_penstock_redis_fail(node, 0, "it closed the connection");
            return;
        }

        node->last_sign = ngx_current_msec;

        if (ngx_http_penstock_redis_parse(node, node->in, n) != NGX_OK) {
            return;
        }
    }

    if (node->drain && node->ncommands == 0) {

        /* with a pause, where the next connection is likely no better */

        ngx_http_penstock_redis_close(node, node->paused);
        return;
    }

    if (node->moved && ngx_http_penstock_redis_move(node) == NGX_OK) {
        return;
    }

    if (ngx_handle_read_event(rev, 0) != NGX_OK) {
        ngx_http_penstock_redis_close(node, 1);
        return;
    }

    ngx_http_penstock_redis_watch(node);

    if (ngx_exiting && c->idle) {
        ngx_http_penstock_redis_close(node, 0);
    }
}


static ngx_int_t
ngx_http_penstock_redis_parse(ngx_http_penstock_redis_node_t *node, u_char *p,
    size_t n)
{
    int     done;
    long    size;
    void   *reply;

    while (n) {

        size = ps_resp_limits_scan(&node->limits, (char *) p, n, &done);

        if (size < 0) {
            ngx_http_penstock_count(node->redis->metrics.protocol, 1);
            ngx_http_penstock_redis_fail(node, 0, node->limits.error);
            return NGX_ERROR;
        }

        if (redisReaderFeed(node->reader, (char *) p, size) != REDIS_OK) {
            ngx_http_penstock_redis_fail(node, 0, "no memory for a reply");
            return NGX_ERROR;
        }

        p += size;
        n -= size;

        if (!done) {
            continue;
        }

        if (redisReaderGetReply(node->reader, &reply) != REDIS_OK
            || reply == NULL)
        {
            ngx_http_penstock_count(node->redis->metrics.protocol, 1);
            ngx_http_penstock_redis_fail(node, 0, "a reply is malformed");
            return NGX_ERROR;
        }

        if ((node->link
             && ngx_http_penstock_redis_link_told(node->link, reply) == NGX_OK)
            || (node->tells
                && ngx_http_penstock_redis_sentinel_told(node, reply)
                   == NGX_OK))
        {
            freeReplyObject(reply);
            continue;
        }

        if (ngx_queue_empty(&node->sent)) {
            freeReplyObject(reply);
            ngx_http_penstock_count(node->redis->metrics.protocol, 1);
            ngx_http_penstock_redis_fail(node, 0, "a reply to no command");
            return NGX_ERROR;
        }

        if (ngx_http_penstock_redis_reply(node, reply) != NGX_OK) {
            freeReplyObject(reply);
            return NGX_ERROR;
        }

        freeReplyObject(reply);
    }

    return NGX_OK;
}


void
ngx_http_penstock_redis_write_handler(ngx_event_t *wev)
{
    ngx_connection_t                *c;
    ngx_http_penstock_redis_node_t  *node;

    c = wev->data;
    node = c->data;

    if (node->state == NGX_HTTP_PENSTOCK_REDIS_CONNECTING) {
        ngx_http_penstock_redis_connect_done(node);
        return;
    }

    /* a large command is on its way and the other side takes it */

    node->last_sign = ngx_current_msec;

    ngx_http_penstock_redis_flush(node);
}


void
ngx_http_penstock_redis_post(ngx_http_penstock_redis_node_t *node)
{
    if (node->state == NGX_HTTP_PENSTOCK_REDIS_UP
        || node->state == NGX_HTTP_PENSTOCK_REDIS_HANDSHAKE)
    {
        if (!node->flush.posted) {
            ngx_post_event(&node->flush, &ngx_posted_events);
        }
    }
}


void
ngx_http_penstock_redis_flush_handler(ngx_event_t *ev)
{
    ngx_http_penstock_redis_flush(ev->data);
}


static void
ngx_http_penstock_redis_flush(ngx_http_penstock_redis_node_t *node)
{
    ssize_t            n;
    ngx_connection_t  *c;

    c = node->connection;

    while (c->write->ready) {

        if (node->out.pos == node->out.last) {
            ngx_http_penstock_redis_fill(node);

            if (node->out.pos == node->out.last) {
                break;
            }
        }

        n = c->send(c, node->out.pos, node->out.last - node->out.pos);

        if (n == NGX_ERROR) {
            ngx_http_penstock_redis_close(node, 1);
            return;
        }

        if (n == NGX_AGAIN) {
            break;
        }

        node->out.pos += n;
    }

    if (ngx_handle_write_event(c->write, 0) != NGX_OK) {
        ngx_http_penstock_redis_close(node, 1);
    }
}


static void
ngx_http_penstock_redis_fill(ngx_http_penstock_redis_node_t *node)
{
    size_t                          size;
    ngx_buf_t                      *b;
    ngx_queue_t                    *q;
    ngx_http_penstock_redis_cmd_t  *cmd;

    b = &node->out;

    if (node->state != NGX_HTTP_PENSTOCK_REDIS_UP) {

        /* the handshake is out; a password stays in the configuration only */

        ngx_explicit_memzero(b->start, b->last - b->start);
    }

    b->pos = b->start;
    b->last = b->start;

    if (node->state != NGX_HTTP_PENSTOCK_REDIS_UP) {
        return;
    }

    while (b->last < b->end && !ngx_queue_empty(&node->waiting)) {

        q = ngx_queue_head(&node->waiting);
        cmd = ngx_queue_data(q, ngx_http_penstock_redis_cmd_t, queue);

        if (node->moved && cmd->copied == 0) {

            /* it goes over the next connection */

            break;
        }

        size = ngx_min(cmd->size - cmd->copied, (size_t) (b->end - b->last));

        b->last = ngx_cpymem(b->last, cmd->data + cmd->copied, size);

        cmd->copied += size;
        node->nbytes -= size;

        if (cmd->copied == cmd->size) {
            ngx_queue_remove(q);
            ngx_queue_insert_tail(&node->sent, q);
        }
    }
}
