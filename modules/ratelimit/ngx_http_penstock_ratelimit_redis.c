
/*
 * Exact limits across hosts: one script call for all limits of a request
 * that live in one Redis, on that Redis' clock.
 *
 * What Redis says is remembered in the zone, as a state that is never
 * stricter than Redis' own.  It goes along with the next question, and the
 * script takes the stricter of the two.  So a limit goes on from where it
 * was when Redis fails, and what was admitted without Redis, or was lost by
 * it (a restart, an eviction, a failover, a clock set forward), still counts
 * when it is back.
 */

#include "ngx_http_penstock_ratelimit.h"


#define NGX_HTTP_PENSTOCK_RATELIMIT_NARGS    4


static ngx_int_t ngx_http_penstock_ratelimit_number(ngx_http_request_t *r,
    uint64_t n, ngx_str_t *arg);
static void ngx_http_penstock_ratelimit_ask_handler(
    ngx_http_penstock_redis_call_t *call, redisReply *reply);


ngx_http_penstock_ratelimit_ask_t *
ngx_http_penstock_ratelimit_ask(ngx_http_penstock_ratelimit_decision_t *d,
    ngx_uint_t first)
{
    uint64_t                             tat, cost, way;
    ngx_str_t                           *argv, *key, *arg;
    ngx_uint_t                           i, k, argc;
    ngx_http_request_t                  *r;
    ngx_http_penstock_redis_t           *redis;
    ngx_http_penstock_ratelimit_ask_t   *ask;
    ngx_http_penstock_ratelimit_item_t  *items;

    r = d->request;
    items = d->items;
    redis = items[first].zone->redis;

    ask = ngx_pcalloc(r->pool, sizeof(ngx_http_penstock_ratelimit_ask_t));
    if (ask == NULL) {
        return NULL;
    }

    ask->redis = redis;
    ask->decision = d;

    if (!ngx_http_penstock_redis_up(redis)) {
        return ask;
    }

    k = 0;

    for (i = first; i < d->n; i++) {
        k += (!items[i].decided && items[i].zone->redis == redis);
    }

    argc = k * (1 + NGX_HTTP_PENSTOCK_RATELIMIT_NARGS) + 2;

    argv = ngx_palloc(r->pool, argc * sizeof(ngx_str_t));
    if (argv == NULL) {
        return NULL;
    }

    ask->backlog = ngx_palloc(r->pool, k * sizeof(uint64_t));
    if (ask->backlog == NULL) {
        return NULL;
    }

    ask->n = k;
    ask->sent = ps_gcra_now();

    key = argv;
    arg = argv + k;

    for (i = first; i < d->n; i++) {

        if (items[i].decided || items[i].zone->redis != redis) {
            continue;
        }

        if (ngx_http_penstock_ratelimit_redis_name(r->pool,
                                 ngx_http_penstock_ratelimit_prefix(&items[i]),
                                                   &items[i].zone->name,
                                                   &items[i].key, key++)
            != NGX_OK)
        {
            return NULL;
        }

        /* more than a burst is more than the capacity, whatever is left */

        cost = ngx_min(items[i].cost, items[i].limit->burst + 1)
               * items[i].limit->interval;

        tat = ps_gcra_table_tat(items[i].table, items[i].hash);

        if (ngx_http_penstock_ratelimit_number(r, items[i].limit->capacity,
                                               &arg[0])
            != NGX_OK
            || ngx_http_penstock_ratelimit_number(r, cost, &arg[1]) != NGX_OK
            || ngx_http_penstock_ratelimit_number(r,
                                     tat > ask->sent ? tat - ask->sent : 0,
                                     &arg[2])
               != NGX_OK)
        {
            return NULL;
        }

        ngx_str_set(&arg[3], "1");

        if (items[i].dry_run) {
            ngx_str_set(&arg[3], "0");
        }

        arg += NGX_HTTP_PENSTOCK_RATELIMIT_NARGS;
    }

    way = (uint64_t) ngx_http_penstock_redis_timeout(redis) * 1000000;

    if (ngx_http_penstock_ratelimit_number(r, way, &arg[0]) != NGX_OK
        || ngx_http_penstock_ratelimit_number(r, PS_LEASE_TTL / 1000, &arg[1])
           != NGX_OK)
    {
        return NULL;
    }

    ask->call.handler = ngx_http_penstock_ratelimit_ask_handler;
    ask->call.data = ask;
    ask->call.pool = r->pool;

    ask->waiting = 1;

    if (ngx_http_penstock_redis_eval(redis, &ask->call,
                                     &ngx_http_penstock_ratelimit_exact, k,
                                     argc, argv)
        != NGX_OK)
    {
        ask->waiting = 0;
    }

    return ask;
}


static void
ngx_http_penstock_ratelimit_ask_handler(ngx_http_penstock_redis_call_t *call,
    redisReply *reply)
{
    ngx_uint_t                          i;
    ngx_http_penstock_ratelimit_ask_t  *ask = call->data;

    ask->waiting = 0;

    if (call->status == NGX_HTTP_PENSTOCK_REDIS_OK
        && reply->type == REDIS_REPLY_ARRAY
        && reply->elements == ask->n + 1)
    {
        ask->answered = 1;

        for (i = 0; i <= ask->n; i++) {

            /* the first one says whether: 0 or 1 */

            if (reply->element[i]->type != REDIS_REPLY_INTEGER
                || reply->element[i]->integer < 0
                || (i == 0 && reply->element[i]->integer > 1))
            {
                ask->answered = 0;
                break;
            }

            if (i == 0) {
                ask->admitted = (reply->element[0]->integer == 1);

            } else {
                ask->backlog[i - 1] = reply->element[i]->integer;
            }
        }
    }

    if (call->status == NGX_HTTP_PENSTOCK_REDIS_REFUSED) {
        ngx_log_error(NGX_LOG_ERR, ask->decision->request->connection->log, 0,
                      "Redis refused the rate limit script: \"%*s\"",
                      (size_t) ngx_min(reply->len, 256), reply->str);
    }

    ask->decision->wake(ask->decision);
}


ngx_int_t
ngx_http_penstock_ratelimit_answer(ngx_http_penstock_ratelimit_ask_t *ask,
    ngx_http_penstock_ratelimit_item_t *items, ngx_uint_t n)
{
    uint64_t                            *backlog;
    ngx_uint_t                           i;
    ngx_http_penstock_ratelimit_item_t  *item;

    backlog = ask->backlog;

    for (i = 0; i < n; i++) {
        item = &items[i];

        if (item->decided || item->zone->redis != ask->redis) {
            continue;
        }

        /* the script's arithmetic once more */

        ps_gcra_check(item->limit, 0, *backlog, item->cost, &item->result);

        item->decided = 1;
        item->refused = !item->result.allowed;

        if (ask->admitted) {
            item->debited = item->result.allowed;

        } else if (item->result.allowed) {
            ps_gcra_check(item->limit, 0, *backlog, 0, &item->result);
        }

        /* as of when it was asked: never later than Redis has it */

        if (ps_gcra_table_raise(item->table, item->hash, ask->sent,
                                ask->sent + item->result.reset))
        {
            ngx_http_penstock_count(item->zone->evicted, 1);
        }

        backlog++;
    }

    return ask->admitted ? NGX_OK : NGX_DECLINED;
}


void
ngx_http_penstock_ratelimit_give_back(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_item_t *item)
{
    ngx_str_t  argv[2];

    if (ngx_http_penstock_ratelimit_redis_name(r->pool,
                                     ngx_http_penstock_ratelimit_prefix(item),
                                               &item->zone->name, &item->key,
                                               &argv[0])
        != NGX_OK
        || ngx_http_penstock_ratelimit_number(r,
                                          item->cost * item->limit->interval,
                                          &argv[1])
           != NGX_OK)
    {
        return;
    }

    /* lost, it leaves the limit stricter than it need be, never wider */

    (void) ngx_http_penstock_redis_eval(item->zone->redis, NULL,
                                        &ngx_http_penstock_ratelimit_back, 1,
                                        2, argv);
}


ngx_int_t
ngx_http_penstock_ratelimit_redis_name(ngx_pool_t *pool, const char *prefix,
    ngx_str_t *zone, ngx_str_t *key, ngx_str_t *name)
{
    u_char     *p;
    u_char      buf[NGX_HTTP_PENSTOCK_RATELIMIT_KEY_MAX];
    ngx_str_t   text;

    if (ngx_http_penstock_ratelimit_key_name(key, buf, &text) != NGX_OK) {
        return NGX_ERROR;
    }

    p = ngx_pnalloc(pool, ngx_strlen(prefix) + sizeof(":}") - 1 + zone->len
                          + text.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    name->data = p;

    p = ngx_sprintf(p, "%s%V:", prefix, zone);
    p = ngx_cpymem(p, text.data, text.len);
    *p++ = '}';

    name->len = p - name->data;

    return NGX_OK;
}


ngx_int_t
ngx_http_penstock_ratelimit_key_name(ngx_str_t *key,
    u_char buf[NGX_HTTP_PENSTOCK_RATELIMIT_KEY_MAX], ngx_str_t *name)
{
    u_char  *p;
    u_char   digest[NGX_HTTP_PENSTOCK_KEY_LEN];

    if (key->len <= NGX_HTTP_PENSTOCK_RATELIMIT_KEY_MAX) {
        *name = *key;
        return NGX_OK;
    }

    if (ngx_http_penstock_sha256(key, 1, digest) != NGX_OK) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(buf, "sha256:", sizeof("sha256:") - 1);
    p = ngx_hex_dump(p, digest, sizeof(digest));

    name->data = buf;
    name->len = p - buf;

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_ratelimit_number(ngx_http_request_t *r, uint64_t n,
    ngx_str_t *arg)
{
    arg->data = ngx_pnalloc(r->pool, NGX_INT64_LEN + 1);
    if (arg->data == NULL) {
        return NGX_ERROR;
    }

    arg->len = ngx_sprintf(arg->data, "%uL", n) - arg->data;

    return NGX_OK;
}
