
/*
 * The push link to one server: a connection that redirects the invalidation
 * messages of its tracking to itself, as a subscriber.  So one connection
 * proves both by its pings: all that changed before a ping was answered was
 * told before.
 */

#include "ngx_http_penstock_redis_node.h"
#include "ngx_http_penstock_redis_link.h"
#include "ngx_http_penstock_redis_cluster.h"
#include "ngx_http_penstock_redis_sentinel.h"


/* until a server that refused is asked again, ms */

#define NGX_HTTP_PENSTOCK_REDIS_LINK_RETRY  60000

/* keys told to a handler at a time */

#define NGX_HTTP_PENSTOCK_REDIS_LINK_BATCH  64


static ngx_int_t ngx_http_penstock_redis_link_send(
    ngx_http_penstock_redis_link_t *link, ngx_http_penstock_redis_call_t *call,
    ngx_http_penstock_redis_handler_pt handler, ngx_uint_t argc,
    const ngx_str_t *argv);
static void ngx_http_penstock_redis_link_id(
    ngx_http_penstock_redis_call_t *call, redisReply *reply);
static ngx_int_t ngx_http_penstock_redis_link_track(
    ngx_http_penstock_redis_link_t *link, long long id);
static void ngx_http_penstock_redis_link_tracked(
    ngx_http_penstock_redis_call_t *call, redisReply *reply);
static void ngx_http_penstock_redis_link_subscribed(
    ngx_http_penstock_redis_call_t *call, redisReply *reply);
static void ngx_http_penstock_redis_link_ponged(
    ngx_http_penstock_redis_call_t *call, redisReply *reply);
static void ngx_http_penstock_redis_link_proved(
    ngx_http_penstock_redis_link_t *link);
static void ngx_http_penstock_redis_link_failed(
    ngx_http_penstock_redis_link_t *link,
    ngx_http_penstock_redis_call_t *call, redisReply *reply);
static void ngx_http_penstock_redis_link_tell(
    ngx_http_penstock_redis_watch_t *watch, redisReply *keys);


void
ngx_http_penstock_redis_link_tick(ngx_http_penstock_redis_link_t *link)
{
    ngx_str_t  argv[1];

    switch (link->node.state) {

    case NGX_HTTP_PENSTOCK_REDIS_CLOSED:

        if (link->refused
            && (ngx_msec_int_t) (link->retry - ngx_current_msec) > 0)
        {
            return;
        }

        ngx_http_penstock_redis_connect(&link->node);
        return;

    case NGX_HTTP_PENSTOCK_REDIS_UP:
        break;

    default:
        return;
    }

    if (!link->up) {
        return;
    }

    /* a server that answers by errors, as it is loading, gives no proof */

    if (ngx_current_msec - link->alive > NGX_HTTP_PENSTOCK_REDIS_LINK_TIMEOUT) {
        ngx_http_penstock_redis_fail(&link->node, 0,
                                     "the push link went silent");
        return;
    }

    if (link->ping.pending) {
        return;
    }

    link->asked = ngx_current_msec;

    ngx_str_set(&argv[0], "PING");

    if (ngx_http_penstock_redis_link_send(link, &link->ping,
                                          ngx_http_penstock_redis_link_ponged,
                                          1, argv)
        != NGX_OK)
    {
        ngx_http_penstock_redis_fail(&link->node, 0, "no memory");
    }
}


static ngx_int_t
ngx_http_penstock_redis_link_send(ngx_http_penstock_redis_link_t *link,
    ngx_http_penstock_redis_call_t *call,
    ngx_http_penstock_redis_handler_pt handler, ngx_uint_t argc,
    const ngx_str_t *argv)
{
    ngx_http_penstock_redis_cmd_t  *cmd;

    cmd = ngx_http_penstock_redis_cmd(0, NULL, argc, argv);
    if (cmd == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(call, sizeof(ngx_http_penstock_redis_call_t));

    call->handler = handler;
    call->data = link;
    call->timeout = NGX_HTTP_PENSTOCK_REDIS_LINK_TIMEOUT;

    return ngx_http_penstock_redis_submit(&link->node, cmd, call) == NGX_OK
           ? NGX_OK : NGX_ERROR;
}


/* connected and authenticated */

void
ngx_http_penstock_redis_link_up(ngx_http_penstock_redis_link_t *link)
{
    ngx_str_t  argv[2];

    ngx_str_set(&argv[0], "CLIENT");
    ngx_str_set(&argv[1], "ID");

    if (ngx_http_penstock_redis_link_send(link, &link->id,
                                          ngx_http_penstock_redis_link_id,
                                          2, argv)
        != NGX_OK)
    {
        link->node.drain = 1;
    }
}


static void
ngx_http_penstock_redis_link_id(ngx_http_penstock_redis_call_t *call,
    redisReply *reply)
{
    ngx_str_t                        argv[2];
    ngx_http_penstock_redis_link_t  *link = call->data;

    if (call->status != NGX_HTTP_PENSTOCK_REDIS_OK
        || reply->type != REDIS_REPLY_INTEGER)
    {
        ngx_http_penstock_redis_link_failed(link, call, reply);
        return;
    }

    link->asked = ngx_current_msec;

    ngx_str_set(&argv[0], "SUBSCRIBE");
    ngx_str_set(&argv[1], "__redis__:invalidate");

    if (ngx_http_penstock_redis_link_track(link, reply->integer) != NGX_OK
        || ngx_http_penstock_redis_link_send(link, &link->subscribe,
                                       ngx_http_penstock_redis_link_subscribed,
                                       2, argv)
           != NGX_OK)
    {
        link->node.drain = 1;
    }
}


static ngx_int_t
ngx_http_penstock_redis_link_track(ngx_http_penstock_redis_link_t *link,
    long long id)
{
    u_char                            number[NGX_INT64_LEN];
    ngx_int_t                         rc;
    ngx_str_t                        *argv;
    ngx_uint_t                        i, j, n, argc;
    ngx_http_penstock_redis_watch_t  *watch;

    watch = link->push->watches.elts;
    n = link->push->watches.nelts;

    argv = ngx_alloc((6 + 2 * n) * sizeof(ngx_str_t), &link->node.log);
    if (argv == NULL) {
        return NGX_ERROR;
    }

    ngx_str_set(&argv[0], "CLIENT");
    ngx_str_set(&argv[1], "TRACKING");
    ngx_str_set(&argv[2], "ON");
    ngx_str_set(&argv[3], "REDIRECT");

    argv[4].data = number;
    argv[4].len = ngx_sprintf(number, "%L", (int64_t) id) - number;

    ngx_str_set(&argv[5], "BCAST");

    argc = 6;

    for (i = 0; i < n; i++) {

        /* Redis takes no prefix that another one covers */

        for (j = 0; j < n; j++) {
            if (j != i && watch[j].prefix.len <= watch[i].prefix.len
                && (watch[j].prefix.len < watch[i].prefix.len || j < i)
                && ngx_memcmp(watch[j].prefix.data, watch[i].prefix.data,
                              watch[j].prefix.len)
                   == 0)
            {
                break;
            }
        }

        if (j < n) {
            continue;
        }

        ngx_str_set(&argv[argc], "PREFIX");
        argv[argc + 1] = watch[i].prefix;
        argc += 2;
    }

    rc = ngx_http_penstock_redis_link_send(link, &link->tracking,
                                          ngx_http_penstock_redis_link_tracked,
                                          argc, argv);
    ngx_free(argv);

    return rc;
}


static void
ngx_http_penstock_redis_link_tracked(ngx_http_penstock_redis_call_t *call,
    redisReply *reply)
{
    if (call->status != NGX_HTTP_PENSTOCK_REDIS_OK) {
        ngx_http_penstock_redis_link_failed(call->data, call, reply);
    }
}


/* tracking is on, and what it says reaches us */

static void
ngx_http_penstock_redis_link_subscribed(ngx_http_penstock_redis_call_t *call,
    redisReply *reply)
{
    ngx_http_penstock_redis_link_t        *link = call->data;
    ngx_http_penstock_redis_push_state_t  *state;

    if (call->status != NGX_HTTP_PENSTOCK_REDIS_OK) {
        ngx_http_penstock_redis_link_failed(link, call, reply);
        return;
    }

    if (link->node.drain || !ngx_http_penstock_redis_push_mine(link->push)) {
        return;
    }

    link->up = 1;
    link->refused = 0;

    state = ngx_http_penstock_zone_data(link->push->zone);

    state->refused = 0;

    if (link->push->redis->sentinel) {
        state->master = link->push->redis->sentinel->mark;
    }

    /* what was read before may have changed unseen */

    (void) ngx_atomic_fetch_add(&state->epoch, 1);

    ngx_http_penstock_redis_link_proved(link);

    ngx_http_penstock_count(link->push->links, 1);

    ngx_log_error(NGX_LOG_INFO, &link->node.log, 0, "the push link is up");
}


static void
ngx_http_penstock_redis_link_ponged(ngx_http_penstock_redis_call_t *call,
    redisReply *reply)
{
    ngx_http_penstock_redis_link_t  *link = call->data;

    if (call->status == NGX_HTTP_PENSTOCK_REDIS_OK) {
        ngx_http_penstock_redis_link_proved(link);
    }

    /* else the next tick sees that nothing was heard for too long */
}


static void
ngx_http_penstock_redis_link_proved(ngx_http_penstock_redis_link_t *link)
{
    ngx_msec_t                             alive;
    ngx_uint_t                             i;
    ngx_http_penstock_redis_push_t        *push;
    ngx_http_penstock_redis_push_state_t  *state;

    push = link->push;

    /* we know that it lived when the question was asked, not since */

    link->alive = link->asked;

    if (!push->complete || !ngx_http_penstock_redis_push_mine(push)) {
        return;
    }

    /* of several the one that was silent for the longest time counts */

    alive = link->alive;

    for (i = 0; i < push->nlinks; i++) {

        if (push->link[i]->of == NULL) {
            continue;
        }

        if (!push->link[i]->up) {
            return;
        }

        if ((ngx_msec_int_t) (push->link[i]->alive - alive) < 0) {
            alive = push->link[i]->alive;
        }
    }

    state = ngx_http_penstock_zone_data(push->zone);
    state->alive = ngx_max(alive, 1);
}


/*
 * A server that refuses goes without push.  Only the error's code is logged,
 * as the text may repeat what was sent.
 */

static void
ngx_http_penstock_redis_link_failed(ngx_http_penstock_redis_link_t *link,
    ngx_http_penstock_redis_call_t *call, redisReply *reply)
{
    ngx_str_t                              code;
    ngx_http_penstock_redis_push_state_t  *state;

    if (call->status == NGX_HTTP_PENSTOCK_REDIS_LOST
        || call->status == NGX_HTTP_PENSTOCK_REDIS_DOWN)
    {
        if (link->node.state == NGX_HTTP_PENSTOCK_REDIS_UP) {
            ngx_http_penstock_redis_fail(&link->node, 0,
                                         "no answer on the push link");
        }

        return;
    }

    /* what is sent already is read first */

    link->node.drain = 1;

    if (reply->type == REDIS_REPLY_ERROR
        && (ngx_strncmp(reply->str, "LOADING", 7) == 0
            || ngx_strncmp(reply->str, "NOAUTH", 6) == 0))
    {
        return;
    }

    link->refused = 1;
    link->retry = ngx_current_msec + NGX_HTTP_PENSTOCK_REDIS_LINK_RETRY;

    state = ngx_http_penstock_zone_data(link->push->zone);

    if (state->refused) {
        return;
    }

    state->refused = 1;

    ngx_str_null(&code);

    if (reply->type == REDIS_REPLY_ERROR) {
        code.data = (u_char *) reply->str;

        while (code.len < 32 && code.data[code.len] >= 'A'
               && code.data[code.len] <= 'Z')
        {
            code.len++;
        }
    }

    ngx_log_error(NGX_LOG_ERR, &link->node.log, 0,
                  "it refused to push changes (%V): other hosts' are seen "
                  "within a second only; it must be Redis 6 or newer, and its "
                  "user needs +ping +subscribe +client|id +client|tracking "
                  "&__redis__:invalidate", &code);
}


void
ngx_http_penstock_redis_link_down(ngx_http_penstock_redis_link_t *link)
{
    ngx_uint_t                             stood;
    ngx_http_penstock_redis_push_t        *push;
    ngx_http_penstock_redis_push_state_t  *state;

    push = link->push;

    stood = link->up && ngx_current_msec - link->node.up_since
                        > NGX_HTTP_PENSTOCK_REDIS_LINK_TIMEOUT;
    link->up = 0;

    if (!ngx_http_penstock_redis_push_mine(push)) {
        return;
    }

    if (link->of) {
        state = ngx_http_penstock_zone_data(push->zone);
        state->alive = 0;

        if (push->redis->cluster) {

            /* another may have its slots */

            ngx_http_penstock_redis_cluster_refresh(push->redis->cluster, 1);
        }
    }

    if (link->node.gone || ngx_exiting) {
        ngx_http_penstock_redis_push_leave(push);
        return;
    }

    /* closed for no failure: again at once, unless it goes on so */

    if (stood && link->node.state == NGX_HTTP_PENSTOCK_REDIS_CLOSED) {

        if (push->tick.timer_set) {
            ngx_del_timer(&push->tick);
        }

        ngx_add_timer(&push->tick, 1);
    }
}


ngx_int_t
ngx_http_penstock_redis_link_told(ngx_http_penstock_redis_link_t *link,
    redisReply *reply)
{
    ngx_uint_t                        i;
    redisReply                       *keys;
    ngx_http_penstock_redis_watch_t  *watch;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3
        || reply->element[0]->type != REDIS_REPLY_STRING
        || ngx_strcmp(reply->element[0]->str, "message") != 0)
    {
        return NGX_DECLINED;
    }

    keys = reply->element[2];

    if (keys->type == REDIS_REPLY_ARRAY) {
        ngx_http_penstock_count(link->push->keys, keys->elements);
    }

    watch = link->push->watches.elts;

    for (i = 0; i < link->push->watches.nelts; i++) {

        if (keys->type == REDIS_REPLY_ARRAY) {
            ngx_http_penstock_redis_link_tell(&watch[i], keys);

        } else {
            watch[i].handler(watch[i].data, NULL, 0);
        }
    }

    return NGX_OK;
}


static void
ngx_http_penstock_redis_link_tell(ngx_http_penstock_redis_watch_t *watch,
    redisReply *keys)
{
    size_t       i;
    ngx_str_t    key[NGX_HTTP_PENSTOCK_REDIS_LINK_BATCH];
    ngx_uint_t   n;
    redisReply  *r;

    n = 0;

    for (i = 0; i < keys->elements; i++) {
        r = keys->element[i];

        if (r->type != REDIS_REPLY_STRING
            || (size_t) r->len < watch->prefix.len
            || ngx_memcmp(r->str, watch->prefix.data, watch->prefix.len) != 0)
        {
            continue;
        }

        key[n].data = (u_char *) r->str;
        key[n].len = r->len;

        if (++n == NGX_HTTP_PENSTOCK_REDIS_LINK_BATCH) {
            watch->handler(watch->data, key, n);
            n = 0;
        }
    }

    if (n) {
        watch->handler(watch->data, key, n);
    }
}
