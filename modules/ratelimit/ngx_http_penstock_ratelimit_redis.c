
/*
 * Exact limits across hosts: one question about all limits of a request that
 * live in one Redis, decided on that Redis' clock.  Those of many requests
 * share a script call, see ngx_http_penstock_ratelimit_lane.c.
 *
 * In a cluster that is a question for each slot, side by side.  Where one
 * refuses, what the others have debited is given back.
 *
 * What Redis says is remembered in the zone, as a state that is never
 * stricter than Redis' own.  It goes along with the next question, and the
 * script takes the stricter of the two.  So a limit goes on from where it
 * was when Redis fails, and what was admitted without Redis, or was lost by
 * it (a restart, an eviction, a failover, a clock set forward), still counts
 * when it is back.
 */

#include "ngx_http_penstock_ratelimit.h"


static ngx_uint_t ngx_http_penstock_ratelimit_doubts(
    ngx_http_penstock_ratelimit_decision_t *d, ngx_uint_t first);
static ngx_http_penstock_ratelimit_ask_t *ngx_http_penstock_ratelimit_ask_slot(
    ngx_http_penstock_ratelimit_decision_t *d, ngx_uint_t first);
static void ngx_http_penstock_ratelimit_ask_cleanup(void *data);


#define ngx_http_penstock_ratelimit_open(item, to)                            \
    (!(item)->decided && (item)->zone->redis == (to))


ngx_http_penstock_ratelimit_ask_t *
ngx_http_penstock_ratelimit_ask(ngx_http_penstock_ratelimit_decision_t *d,
    ngx_uint_t first)
{
    ngx_uint_t                            i, doubts, up;
    ngx_http_penstock_redis_t            *redis;
    ngx_http_penstock_ratelimit_ask_t    *ask, *asks, **last;
    ngx_http_penstock_ratelimit_item_t   *item;

    redis = d->items[first].zone->redis;
    up = ngx_http_penstock_redis_up(redis);

    for (i = first; i < d->n; i++) {
        item = &d->items[i];

        if (!ngx_http_penstock_ratelimit_open(item, redis)) {
            continue;
        }

        if (ngx_http_penstock_ratelimit_redis_name(d->request->pool,
                                      ngx_http_penstock_ratelimit_prefix(item),
                                                   &item->zone->name,
                                                   &item->key, &item->name)
            != NGX_OK)
        {
            return NULL;
        }

        item->ask = NULL;
        item->slot = ngx_http_penstock_redis_slot(redis, &item->name);
    }

    doubts = up ? ngx_http_penstock_ratelimit_doubts(d, first) : 0;

    asks = NULL;
    last = &asks;

    for (i = first; i < d->n; i++) {
        item = &d->items[i];

        if (!ngx_http_penstock_ratelimit_open(item, redis) || item->ask
            || (doubts && !item->doubt))
        {
            continue;
        }

        ask = ngx_http_penstock_ratelimit_ask_slot(d, i);

        if (ask == NULL
            || (up && ngx_http_penstock_ratelimit_lane_put(item->zone->lane,
                                                           ask)
                      != NGX_OK))
        {
            for (ask = asks; ask; ask = ask->next) {
                ngx_http_penstock_ratelimit_unask(ask);
            }

            return NULL;
        }

        ask->waiting = up;

        *last = ask;
        last = &ask->next;
    }

    return asks;
}


/*
 * With limits in several slots, those that would refuse by what this host
 * remembers are asked before the others are debited.  That decides nothing
 * but who is asked first: a request that is refused again and again would
 * else be debited and given back in the other slots each time, where requests
 * of other hosts meet it.
 */

static ngx_uint_t
ngx_http_penstock_ratelimit_doubts(ngx_http_penstock_ratelimit_decision_t *d,
    ngx_uint_t first)
{
    uint64_t                             now;
    ngx_uint_t                           i, k, doubts;
    ps_gcra_result_t                     result;
    ngx_http_penstock_redis_t           *redis;
    ngx_http_penstock_ratelimit_item_t  *item, *other;

    redis = d->items[first].zone->redis;
    doubts = 0;
    now = 0;

    for (i = first; i < d->n; i++) {
        item = &d->items[i];

        if (!ngx_http_penstock_ratelimit_open(item, redis)
            || item->slot == NGX_ERROR || item->dry_run)
        {
            continue;
        }

        if (now == 0) {
            now = ps_gcra_now();
        }

        ps_gcra_table_peek(item->table, item->hash, item->limit, now,
                           item->cost, &result);

        if (result.allowed) {
            continue;
        }

        doubts = 1;

        for (k = first; k < d->n; k++) {
            other = &d->items[k];
            other->doubt |= (ngx_http_penstock_ratelimit_open(other, redis)
                             && other->slot == item->slot);
        }
    }

    return doubts;
}


/* about all items of one slot */

static ngx_http_penstock_ratelimit_ask_t *
ngx_http_penstock_ratelimit_ask_slot(ngx_http_penstock_ratelimit_decision_t *d,
    ngx_uint_t first)
{
    size_t                                   size;
    ngx_int_t                                slot;
    ngx_uint_t                               i, n;
    ngx_pool_cleanup_t                      *cln;
    ngx_http_penstock_redis_t               *redis;
    ngx_http_penstock_ratelimit_ask_t       *ask;
    ngx_http_penstock_ratelimit_item_t      *item;
    ngx_http_penstock_ratelimit_question_t  *q;

    redis = d->items[first].zone->redis;
    slot = d->items[first].slot;
    n = 0;

    for (i = first; i < d->n; i++) {
        item = &d->items[i];
        n += (ngx_http_penstock_ratelimit_open(item, redis)
              && item->slot == slot);
    }

    size = offsetof(ngx_http_penstock_ratelimit_ask_t, question)
           + n * sizeof(ngx_http_penstock_ratelimit_question_t);

    cln = ngx_pool_cleanup_add(d->request->pool, size);
    if (cln == NULL) {
        return NULL;
    }

    ask = cln->data;
    ngx_memzero(ask, size);

    ask->redis = redis;
    ask->decision = d;
    ask->n = n;
    ask->sent = ps_gcra_now();

    q = ask->question;

    for (i = first; i < d->n; i++) {
        item = &d->items[i];

        if (!ngx_http_penstock_ratelimit_open(item, redis)
            || item->slot != slot)
        {
            continue;
        }

        item->ask = ask;

        q->name = &item->name;
        q->hash = item->hash;
        q->capacity = item->limit->capacity;

        /* more than a burst is more than the capacity, whatever is left */

        q->cost = ngx_min(item->cost, item->limit->burst + 1)
                  * item->limit->interval;

        q->carry = ps_gcra_table_backlog(item->table, item->hash,
                                         item->limit, ask->sent);
        q->enforced = !item->dry_run;

        q++;
    }

    cln->handler = ngx_http_penstock_ratelimit_ask_cleanup;

    return ask;
}


static void
ngx_http_penstock_ratelimit_ask_cleanup(void *data)
{
    ngx_http_penstock_ratelimit_unask(data);
}


void
ngx_http_penstock_ratelimit_unask(ngx_http_penstock_ratelimit_ask_t *ask)
{
    if (ask->batch) {
        ngx_http_penstock_ratelimit_lane_drop(ask);
    }

    ask->waiting = 0;
}


ngx_int_t
ngx_http_penstock_ratelimit_answer(ngx_http_penstock_ratelimit_ask_t *ask,
    ngx_http_penstock_ratelimit_item_t *items, ngx_uint_t n)
{
    uint64_t                             backlog;
    ngx_uint_t                           i, k;
    ngx_http_penstock_ratelimit_item_t  *item;

    k = 0;

    for (i = 0; i < n; i++) {
        item = &items[i];

        if (item->decided || item->ask != ask) {
            continue;
        }

        backlog = ask->question[k++].backlog;

        /* behind leases, which don't drain, nobody knows what has */

        item->backlog = ask->leases ? 0 : backlog;
        item->at = ask->at;

        /* the script's arithmetic once more */

        ps_gcra_check(item->limit, 0, backlog, item->cost, &item->result);

        item->decided = 1;
        item->refused = !item->result.allowed;

        if (ask->admitted) {
            item->debited = item->result.allowed;

        } else if (item->result.allowed) {
            ps_gcra_check(item->limit, 0, backlog, 0, &item->result);
        }

        item->answered = 1;
    }

    return ask->admitted ? NGX_OK : NGX_DECLINED;
}


void
ngx_http_penstock_ratelimit_learn(ngx_http_penstock_ratelimit_item_t *item)
{
    uint64_t  sent;

    if (!item->answered) {
        return;
    }

    item->answered = 0;

    /* as of when it was asked: never later than Redis has it */

    sent = item->ask->sent;

    if (ps_gcra_table_raise(item->table, item->hash, sent,
                            sent + item->result.reset))
    {
        ngx_http_penstock_count(item->zone->evicted, 1);
    }
}


void
ngx_http_penstock_ratelimit_give_back(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_item_t *item)
{
    u_char     *p, number[3 * NGX_INT64_LEN];
    ngx_str_t   argv[4];

    if (ngx_http_penstock_ratelimit_redis_name(r->pool,
                                     ngx_http_penstock_ratelimit_prefix(item),
                                               &item->zone->name, &item->key,
                                               &argv[0])
        != NGX_OK)
    {
        return;
    }

    p = number;

    argv[1].data = p;
    p = ngx_http_penstock_digits(p, item->cost * item->limit->interval);
    argv[1].len = p - argv[1].data;

    argv[2].data = p;
    p = ngx_http_penstock_digits(p, item->at);
    argv[2].len = p - argv[2].data;

    argv[3].data = p;
    p = ngx_http_penstock_digits(p, item->backlog);
    argv[3].len = p - argv[3].data;

    /* lost, it leaves the limit stricter than it need be, never wider */

    (void) ngx_http_penstock_redis_eval(item->zone->redis, NULL,
                                        &ngx_http_penstock_ratelimit_back, 1,
                                        4, argv);
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

    p = ngx_cpymem(p, prefix, ngx_strlen(prefix));
    p = ngx_cpymem(p, zone->data, zone->len);
    *p++ = ':';
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
