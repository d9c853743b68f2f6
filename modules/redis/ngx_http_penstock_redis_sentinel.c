
/*
 * Redis Sentinel: where the master is.
 *
 * Each worker is connected to one of the sentinels.  It asks for the master
 * at the first call, whenever a connection to the master is lost, and once a
 * second; and it is subscribed to "+switch-master" there, and to
 * "+promoted-slave", since the sentinel that leads a failover gives the new
 * address from then on, which may be seconds before it says the former.  One
 * that doesn't help is left for the next.  Whoever named it, a server takes
 * commands only after it called itself a master in answer to ROLE.
 *
 * A connection that is subscribed takes no other commands, so each question
 * stands between an UNSUBSCRIBE and a SUBSCRIBE.  A message that falls between
 * them is missed; the next question makes up for it.
 *
 * Nothing here closes the sentinel's connection from its own read event; that
 * is left to the tick.
 */

#include "ngx_http_penstock_redis_node.h"
#include "ngx_http_penstock_redis_sentinel.h"


#define NGX_HTTP_PENSTOCK_REDIS_SENTINEL_POLL   1000   /* ms */

/* between two questions at least, ms */

#define NGX_HTTP_PENSTOCK_REDIS_SENTINEL_PACE   100

#define NGX_HTTP_PENSTOCK_REDIS_SENTINEL_SWITCH    "+switch-master"
#define NGX_HTTP_PENSTOCK_REDIS_SENTINEL_PROMOTED  "+promoted-slave"

/* after a round of sentinels that are of no help the pause grows to 400 to
   800 ms */

#define NGX_HTTP_PENSTOCK_REDIS_SENTINEL_FAILS  4


static void ngx_http_penstock_redis_sentinel_start(
    ngx_http_penstock_redis_sentinel_t *sentinel);
static void ngx_http_penstock_redis_sentinel_arm(
    ngx_http_penstock_redis_sentinel_t *sentinel, ngx_msec_t delay);
static void ngx_http_penstock_redis_sentinel_tick(ngx_event_t *ev);
static void ngx_http_penstock_redis_sentinel_next(
    ngx_http_penstock_redis_sentinel_t *sentinel);
static void ngx_http_penstock_redis_sentinel_query(
    ngx_http_penstock_redis_sentinel_t *sentinel);
static ngx_int_t ngx_http_penstock_redis_sentinel_channels(
    ngx_http_penstock_redis_sentinel_t *sentinel, const char *verb,
    ngx_http_penstock_redis_call_t *call);
static ngx_int_t ngx_http_penstock_redis_sentinel_send(
    ngx_http_penstock_redis_sentinel_t *sentinel,
    ngx_http_penstock_redis_call_t *call, ngx_uint_t argc,
    const ngx_str_t *argv);
static void ngx_http_penstock_redis_sentinel_answered(
    ngx_http_penstock_redis_call_t *call, redisReply *reply);
static void ngx_http_penstock_redis_sentinel_subscribed(
    ngx_http_penstock_redis_call_t *call, redisReply *reply);


void
ngx_http_penstock_redis_sentinel_ask(
    ngx_http_penstock_redis_sentinel_t *sentinel)
{
    ngx_msec_int_t  wait;

    if (sentinel->at == NULL) {
        ngx_http_penstock_redis_sentinel_start(sentinel);
    }

    wait = sentinel->asked + NGX_HTTP_PENSTOCK_REDIS_SENTINEL_PACE
           - ngx_current_msec;

    ngx_http_penstock_redis_sentinel_arm(sentinel, ngx_max(wait, 1));
}


/* once in a worker */

static void
ngx_http_penstock_redis_sentinel_start(
    ngx_http_penstock_redis_sentinel_t *sentinel)
{
    sentinel->ident = -1;

    sentinel->tick.handler = ngx_http_penstock_redis_sentinel_tick;
    sentinel->tick.data = sentinel;
    sentinel->tick.log = ngx_cycle->log;
    sentinel->tick.cancelable = 1;

    sentinel->asked = ngx_current_msec - NGX_HTTP_PENSTOCK_REDIS_SENTINEL_PACE;

    sentinel->at = sentinel->redis->nodes.elts;
}


/* the earlier time counts */

static void
ngx_http_penstock_redis_sentinel_arm(
    ngx_http_penstock_redis_sentinel_t *sentinel, ngx_msec_t delay)
{
    if (sentinel->tick.timer_set) {

        if ((ngx_msec_int_t) (sentinel->tick.timer.key
                              - (ngx_current_msec + delay))
            <= 0)
        {
            return;
        }

        ngx_del_timer(&sentinel->tick);
    }

    ngx_add_timer(&sentinel->tick, delay);
}


static void
ngx_http_penstock_redis_sentinel_tick(ngx_event_t *ev)
{
    ngx_http_penstock_redis_node_t      *node;
    ngx_http_penstock_redis_sentinel_t  *sentinel = ev->data;

    if (ngx_exiting
        && !ngx_http_penstock_redis_sentinel_lost(&sentinel->master))
    {
        /* what is known is enough for the requests that remain */

        return;
    }

    if (sentinel->rotate) {
        ngx_http_penstock_redis_sentinel_next(sentinel);
    }

    node = sentinel->at;

    switch (node->state) {

    case NGX_HTTP_PENSTOCK_REDIS_BACKOFF:

        /* the pace is ours, over all sentinels */

        if (node->connect.timer_set) {
            ngx_del_timer(&node->connect);
        }

        /* fall through */

    case NGX_HTTP_PENSTOCK_REDIS_CLOSED:

        if (node->ident == 0) {
            ngx_http_penstock_redis_node_init(node);
        }

        ngx_http_penstock_redis_connect(node);
        break;

    case NGX_HTTP_PENSTOCK_REDIS_UP:
        ngx_http_penstock_redis_sentinel_query(sentinel);
        break;

    default:
        break;
    }

    ngx_http_penstock_redis_sentinel_arm(sentinel,
                                         NGX_HTTP_PENSTOCK_REDIS_SENTINEL_POLL);
}


static void
ngx_http_penstock_redis_sentinel_next(
    ngx_http_penstock_redis_sentinel_t *sentinel)
{
    ngx_uint_t                       i, n;
    ngx_http_penstock_redis_node_t  *nodes, *node;

    sentinel->rotate = 0;

    n = sentinel->redis->nodes.nelts;

    if (n == 1) {
        return;
    }

    nodes = sentinel->redis->nodes.elts;
    node = sentinel->at;
    i = node - nodes;

    sentinel->at = &nodes[(i + 1) % n];
    sentinel->agreed = 0;
    sentinel->subscribed = 0;

    if (node->state != NGX_HTTP_PENSTOCK_REDIS_CLOSED) {
        ngx_http_penstock_redis_close(node, 0);
    }
}


void
ngx_http_penstock_redis_sentinel_miss(
    ngx_http_penstock_redis_sentinel_t *sentinel)
{
    ngx_uint_t  n;

    n = sentinel->redis->nodes.nelts;

    sentinel->rotate = 1;

    if (++sentinel->misses < n) {
        ngx_http_penstock_redis_sentinel_arm(sentinel, 1);
        return;
    }

    ngx_http_penstock_redis_sentinel_arm(sentinel,
        ngx_http_penstock_redis_backoff(
            ngx_min(sentinel->misses - n,
                    NGX_HTTP_PENSTOCK_REDIS_SENTINEL_FAILS)));
}


static void
ngx_http_penstock_redis_sentinel_query(
    ngx_http_penstock_redis_sentinel_t *sentinel)
{
    ngx_str_t  argv[3];

    if (sentinel->get.pending || sentinel->subscribe.pending) {
        return;
    }

    sentinel->asked = ngx_current_msec;

    ngx_str_set(&argv[0], "SENTINEL");
    ngx_str_set(&argv[1], "GET-MASTER-ADDR-BY-NAME");
    argv[2] = sentinel->name;

    if ((sentinel->subscribed
         && ngx_http_penstock_redis_sentinel_channels(sentinel, "UNSUBSCRIBE",
                                                      NULL)
            != NGX_OK)
        || ngx_http_penstock_redis_sentinel_send(sentinel, &sentinel->get,
                                                 3, argv)
           != NGX_OK
        || ngx_http_penstock_redis_sentinel_channels(sentinel, "SUBSCRIBE",
                                                     &sentinel->subscribe)
           != NGX_OK)
    {
        ngx_http_penstock_redis_sentinel_miss(sentinel);
        return;
    }

    sentinel->subscribed = 1;
}


/* one by one, since each has a reply of its own */

static ngx_int_t
ngx_http_penstock_redis_sentinel_channels(
    ngx_http_penstock_redis_sentinel_t *sentinel, const char *verb,
    ngx_http_penstock_redis_call_t *call)
{
    ngx_str_t  argv[2];

    argv[0].data = (u_char *) verb;
    argv[0].len = ngx_strlen(verb);

    ngx_str_set(&argv[1], NGX_HTTP_PENSTOCK_REDIS_SENTINEL_PROMOTED);

    if (ngx_http_penstock_redis_sentinel_send(sentinel, NULL, 2, argv)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_str_set(&argv[1], NGX_HTTP_PENSTOCK_REDIS_SENTINEL_SWITCH);

    return ngx_http_penstock_redis_sentinel_send(sentinel, call, 2, argv);
}


static ngx_int_t
ngx_http_penstock_redis_sentinel_send(
    ngx_http_penstock_redis_sentinel_t *sentinel,
    ngx_http_penstock_redis_call_t *call, ngx_uint_t argc,
    const ngx_str_t *argv)
{
    ngx_http_penstock_redis_cmd_t  *cmd;

    cmd = ngx_http_penstock_redis_cmd(0, NULL, argc, argv);
    if (cmd == NULL) {
        return NGX_ERROR;
    }

    if (call) {
        ngx_memzero(call, sizeof(ngx_http_penstock_redis_call_t));

        call->handler = (call == &sentinel->get)
                        ? ngx_http_penstock_redis_sentinel_answered
                        : ngx_http_penstock_redis_sentinel_subscribed;
        call->data = sentinel;
        call->timeout = ngx_max(sentinel->redis->command_timeout,
                                sentinel->redis->connect_timeout);
    }

    return ngx_http_penstock_redis_submit(sentinel->at, cmd, call);
}


static void
ngx_http_penstock_redis_sentinel_answered(
    ngx_http_penstock_redis_call_t *call, redisReply *reply)
{
    ps_sentinel_addr_t                   addr;
    ngx_http_penstock_redis_sentinel_t  *sentinel = call->data;

    switch (call->status) {

    case NGX_HTTP_PENSTOCK_REDIS_OK:
        break;

    case NGX_HTTP_PENSTOCK_REDIS_REFUSED:
        ngx_http_penstock_redis_sentinel_fault(sentinel,
                               "it refused SENTINEL GET-MASTER-ADDR-BY-NAME; "
                               "is it a sentinel, and may its user "
                               "+sentinel|get-master-addr-by-name?");
        return;

    default:

        if (sentinel->at->state == NGX_HTTP_PENSTOCK_REDIS_UP) {
            ngx_http_penstock_redis_sentinel_fault(sentinel,
                               "no answer of the sentinel in time");
        }

        /* else its end is seen to */

        return;
    }

    if (reply->type == REDIS_REPLY_NIL) {
        ngx_http_penstock_redis_sentinel_fault(sentinel,
                               "it knows no master of that name, check "
                               "\"mode sentinel\"");
        return;
    }

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2
        || reply->element[0]->type != REDIS_REPLY_STRING
        || reply->element[1]->type != REDIS_REPLY_STRING
        || ps_sentinel_addr(&addr, reply->element[0]->str,
                            (size_t) reply->element[0]->len,
                            reply->element[1]->str,
                            (size_t) reply->element[1]->len)
           != 0)
    {
        ngx_http_penstock_redis_sentinel_fault(sentinel,
                               "what it gave as the master's address is none");
        return;
    }

    ngx_http_penstock_redis_sentinel_found(sentinel, &addr, 0);
}


static void
ngx_http_penstock_redis_sentinel_subscribed(
    ngx_http_penstock_redis_call_t *call, redisReply *reply)
{
    ngx_http_penstock_redis_sentinel_t  *sentinel = call->data;

    if (call->status == NGX_HTTP_PENSTOCK_REDIS_REFUSED && !sentinel->deaf) {
        /* it is asked once a second, which is enough, if late */

        sentinel->deaf = 1;

        ngx_log_error(NGX_LOG_WARN, &sentinel->at->log, 0,
                      "it refused to tell of another master at once; may its "
                      "user +subscribe, &+switch-master and "
                      "&+promoted-slave?");
    }
}


void
ngx_http_penstock_redis_sentinel_fault(
    ngx_http_penstock_redis_sentinel_t *sentinel, const char *what)
{
    if (!sentinel->at->faulty) {
        sentinel->at->faulty = 1;

        ngx_log_error(NGX_LOG_ERR, &sentinel->at->log, 0,
                      "%s (master \"%V\")", what, &sentinel->name);
    }

    ngx_http_penstock_redis_sentinel_miss(sentinel);
}


void
ngx_http_penstock_redis_sentinel_up(ngx_http_penstock_redis_node_t *node)
{
    ngx_http_penstock_redis_sentinel_t  *sentinel;

    sentinel = node->redis->sentinel;

    if (node == sentinel->at) {
        sentinel->subscribed = 0;
        ngx_http_penstock_redis_sentinel_query(sentinel);

    } else if (node == &sentinel->master) {
        sentinel->misses = 0;
    }
}


void
ngx_http_penstock_redis_sentinel_closed(ngx_http_penstock_redis_node_t *node,
    ngx_uint_t failed)
{
    ngx_http_penstock_redis_sentinel_t  *sentinel;

    sentinel = node->redis->sentinel;

    if (node->gone || (node->tells && node != sentinel->at)) {
        return;
    }

    if (node->tells) {
        sentinel->subscribed = 0;
        sentinel->agreed = 0;

        if (failed) {
            ngx_http_penstock_redis_sentinel_miss(sentinel);
            return;
        }
    }

    if (!ngx_exiting) {
        ngx_http_penstock_redis_sentinel_ask(sentinel);
    }
}


ngx_int_t
ngx_http_penstock_redis_sentinel_told(ngx_http_penstock_redis_node_t *node,
    redisReply *reply)
{
    redisReply                          *channel, *text;
    ps_sentinel_addr_t                   addr;
    ngx_http_penstock_redis_sentinel_t  *sentinel;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3
        || reply->element[0]->type != REDIS_REPLY_STRING
        || ngx_strcmp(reply->element[0]->str, "message") != 0)
    {
        return NGX_DECLINED;
    }

    sentinel = node->redis->sentinel;
    channel = reply->element[1];
    text = reply->element[2];

    if (node != sentinel->at || channel->type != REDIS_REPLY_STRING
        || text->type != REDIS_REPLY_STRING)
    {
        return NGX_OK;
    }

    if (ngx_strcmp(channel->str, NGX_HTTP_PENSTOCK_REDIS_SENTINEL_SWITCH) != 0)
    {
        /* of some master: it costs a question */

        ngx_http_penstock_redis_sentinel_arm(sentinel, 1);
        return NGX_OK;
    }

    /* masters of other names are none of our business */

    if (ps_sentinel_switch(&addr, (char *) sentinel->name.data,
                           sentinel->name.len, text->str, (size_t) text->len)
        == 0)
    {
        ngx_http_penstock_redis_sentinel_found(sentinel, &addr, 1);
    }

    return NGX_OK;
}
