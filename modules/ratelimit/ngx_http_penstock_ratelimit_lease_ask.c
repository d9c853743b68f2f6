
/*
 * Questions about leases: one about a key is on its way at a time, so what
 * the worker tells Redis of its lease is the whole truth, and a message that
 * was lost is put right by the next.
 */

#include "ngx_http_penstock_ratelimit_lease.h"


#define NGX_HTTP_PENSTOCK_RATELIMIT_LEASE_ARGS   12
#define NGX_HTTP_PENSTOCK_RATELIMIT_HOLDER_LEN   16

/* random bytes, which are shown in hexadecimal */

#define NGX_HTTP_PENSTOCK_RATELIMIT_ID                                        \
    (NGX_HTTP_PENSTOCK_RATELIMIT_HOLDER_LEN / 2)


static ngx_int_t ngx_http_penstock_ratelimit_lease_send(
    ngx_http_penstock_ratelimit_lease_t *l, const ps_gcra_t *limit,
    ps_lease_ask_t *ask, uint64_t need, uint64_t least, uint64_t carry,
    ngx_http_penstock_redis_call_t *call);
static void ngx_http_penstock_ratelimit_lease_handler(
    ngx_http_penstock_redis_call_t *call, redisReply *reply);
static ngx_int_t ngx_http_penstock_ratelimit_lease_reply(
    ngx_http_penstock_ratelimit_lease_t *l, redisReply *reply,
    uint64_t *given);
static void ngx_http_penstock_ratelimit_lease_serve(
    ngx_http_penstock_ratelimit_lease_t *l, uint64_t given,
    ngx_queue_t *done);
static void ngx_http_penstock_ratelimit_lease_fail(
    ngx_http_penstock_ratelimit_lease_t *l, ngx_queue_t *done);
static void ngx_http_penstock_ratelimit_lease_ends(
    ngx_http_penstock_ratelimit_lease_t *l);
static void ngx_http_penstock_ratelimit_lease_timer(ngx_event_t *ev);


/* this worker's leases by when they end, and the timer of the first */

static ngx_queue_t       ngx_http_penstock_ratelimit_ending;
static ngx_event_t       ngx_http_penstock_ratelimit_end;
static ngx_connection_t  ngx_http_penstock_ratelimit_no_connection;
static u_char            ngx_http_penstock_ratelimit_holder[
                                NGX_HTTP_PENSTOCK_RATELIMIT_HOLDER_LEN];


ngx_int_t
ngx_http_penstock_ratelimit_lease_start(void)
{
    u_char  id[NGX_HTTP_PENSTOCK_RATELIMIT_ID];

    if (ngx_http_penstock_ratelimit_holder[0]) {
        return NGX_OK;
    }

    if (ngx_http_penstock_random(id, sizeof(id)) != NGX_OK) {
        return NGX_ERROR;
    }

    (void) ngx_hex_dump(ngx_http_penstock_ratelimit_holder, id, sizeof(id));

    ngx_queue_init(&ngx_http_penstock_ratelimit_ending);

    return NGX_OK;
}


ngx_int_t
ngx_http_penstock_ratelimit_lease_ask(ngx_http_penstock_ratelimit_lease_t *l,
    const ps_gcra_t *limit, uint64_t now)
{
    uint64_t                               need, least;
    ngx_queue_t                           *q;
    ngx_http_penstock_ratelimit_waiter_t  *w;

    if (!ngx_http_penstock_redis_up(l->zone->redis)) {
        return NGX_DECLINED;
    }

    ps_lease_ask(&l->lease, now, &l->ask);

    need = 0;
    least = 0;

    for (q = ngx_queue_head(&l->waiters);
         q != ngx_queue_sentinel(&l->waiters);
         q = ngx_queue_next(q))
    {
        w = ngx_queue_data(q, ngx_http_penstock_ratelimit_waiter_t, queue);
        w->counted = 1;

        if (need == 0) {
            least = w->ns;
        }

        need += w->ns;
    }

    /* what is kept serves them first */

    need = (need > l->ask.kept) ? need - l->ask.kept : 0;
    least = (least > l->ask.kept) ? least - l->ask.kept : 0;

    l->need = need;
    l->sent = now;

    ngx_memzero(&l->call, sizeof(ngx_http_penstock_redis_call_t));

    l->call.handler = ngx_http_penstock_ratelimit_lease_handler;
    l->call.data = l;

    if (l->ask.returned) {
        ps_gcra_table_refund(l->table, l->hash, l->ask.returned);
    }

    return ngx_http_penstock_ratelimit_lease_send(l, limit, &l->ask, need,
                                                  least,
                                     ps_gcra_table_backlog(l->table, l->hash,
                                                           limit, now),
                                                  &l->call);
}


static ngx_int_t
ngx_http_penstock_ratelimit_lease_send(ngx_http_penstock_ratelimit_lease_t *l,
    const ps_gcra_t *limit, ps_lease_ask_t *ask, uint64_t need,
    uint64_t least, uint64_t carry, ngx_http_penstock_redis_call_t *call)
{
    u_char      *p;
    u_char       buf[NGX_HTTP_PENSTOCK_RATELIMIT_LEASE_ARGS * NGX_INT64_LEN];
    uint64_t     n[NGX_HTTP_PENSTOCK_RATELIMIT_LEASE_ARGS];
    ngx_str_t    argv[NGX_HTTP_PENSTOCK_RATELIMIT_LEASE_ARGS];
    ngx_uint_t   i;

    argv[0] = l->name;
    argv[1].data = ngx_http_penstock_ratelimit_holder;
    argv[1].len = NGX_HTTP_PENSTOCK_RATELIMIT_HOLDER_LEN;

    n[2] = limit->capacity;
    n[3] = limit->interval;
    n[4] = ask->kept;
    n[5] = ask->returned;
    n[6] = need;
    n[7] = least;
    n[8] = ask->want;
    n[9] = carry;
    n[10] = (uint64_t) ngx_http_penstock_redis_timeout(l->zone->redis)
            * 1000000;
    n[11] = PS_LEASE_TTL / 1000;

    p = buf;

    for (i = 2; i < NGX_HTTP_PENSTOCK_RATELIMIT_LEASE_ARGS; i++) {
        argv[i].data = p;
        p = ngx_http_penstock_digits(p, n[i]);
        argv[i].len = p - argv[i].data;
    }

    return ngx_http_penstock_redis_eval(l->zone->redis, call,
                                        &ngx_http_penstock_ratelimit_leased, 1,
                                        NGX_HTTP_PENSTOCK_RATELIMIT_LEASE_ARGS,
                                        argv);
}


static void
ngx_http_penstock_ratelimit_lease_handler(ngx_http_penstock_redis_call_t *call,
    redisReply *reply)
{
    uint64_t                               given;
    ngx_queue_t                            done, *q;
    ngx_http_penstock_ratelimit_lease_t   *l = call->data;
    ngx_http_penstock_ratelimit_waiter_t  *w;

    ngx_queue_init(&done);

    if (call->status == NGX_HTTP_PENSTOCK_REDIS_OK
        && ngx_http_penstock_ratelimit_lease_reply(l, reply, &given) == NGX_OK)
    {
        ngx_http_penstock_ratelimit_lease_serve(l, given, &done);

    } else {

        if (call->status == NGX_HTTP_PENSTOCK_REDIS_REFUSED) {
            ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                          "Redis refused the rate limit script for zone "
                          "\"%V\": \"%*s\"", &l->zone->name,
                          (size_t) ngx_min(reply->len, 256), reply->str);
        }

        ps_lease_lost(&l->lease);
        ngx_http_penstock_ratelimit_lease_fail(l, &done);
    }

    /* whoever is woken may do anything, and the lease may be gone then */

    while (!ngx_queue_empty(&done)) {
        q = ngx_queue_head(&done);
        w = ngx_queue_data(q, ngx_http_penstock_ratelimit_waiter_t, queue);

        ngx_queue_remove(q);
        w->waiting = 0;
        w->decision->wake(w->decision);
    }
}


/* given, leased, spent, leased by others; none may be more than can be */

static ngx_int_t
ngx_http_penstock_ratelimit_lease_reply(
    ngx_http_penstock_ratelimit_lease_t *l, redisReply *reply,
    uint64_t *given)
{
    size_t    i;
    uint64_t  n[5], own;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 5) {
        return NGX_ERROR;
    }

    for (i = 0; i < 5; i++) {

        if (reply->element[i]->type != REDIS_REPLY_INTEGER
            || reply->element[i]->integer < 0
            || (uint64_t) reply->element[i]->integer > 4 * PS_GCRA_SPAN_MAX)
        {
            return NGX_ERROR;
        }

        n[i] = reply->element[i]->integer;
    }

    if (n[0] > l->need || n[1] > l->ask.want || n[2] < n[0]) {
        return NGX_ERROR;
    }

    *given = n[0];
    l->before = n[2] - n[0];
    l->at = n[4];

    own = l->ask.kept + n[1];

    ps_lease_answer(&l->lease, &l->ask, l->sent, n[1], n[2] + n[3] + own);

    /* what is remembered for the time without Redis: ours as if spent */

    if (ps_gcra_table_raise(l->table, l->hash, l->sent, l->sent + n[2] + own))
    {
        ngx_http_penstock_count(l->zone->evicted, 1);
    }

    if (own) {
        ngx_http_penstock_ratelimit_lease_ends(l);

    } else if (l->ends) {
        ngx_queue_remove(&l->ending);
        l->ends = 0;
    }

    return NGX_OK;
}


/*
 * In the order they came: from what was given for those that it was asked
 * for, then from the lease.  Who is left is asked for anew.
 */

static void
ngx_http_penstock_ratelimit_lease_serve(ngx_http_penstock_ratelimit_lease_t *l,
    uint64_t given, ngx_queue_t *done)
{
    uint64_t                               now, part, others;
    ngx_queue_t                           *q, *next;
    const ps_gcra_t                       *limit;
    ngx_http_penstock_ratelimit_item_t    *item;
    ngx_http_penstock_ratelimit_waiter_t  *w;

    now = ps_gcra_now();
    limit = NULL;

    for (q = ngx_queue_head(&l->waiters);
         q != ngx_queue_sentinel(&l->waiters);
         q = next)
    {
        next = ngx_queue_next(q);
        w = ngx_queue_data(q, ngx_http_penstock_ratelimit_waiter_t, queue);
        item = w->item;

        part = w->counted ? ngx_min(given, w->ns) : 0;

        if (part && w->ns - part <= l->lease.balance) {
            given -= part;
            l->lease.balance -= w->ns - part;

            others = (l->lease.total > now) ? l->lease.total - now : 0;
            others -= ngx_min(others, l->lease.balance);

            ps_gcra_check(item->limit, 0, others, 0, &item->result);

            item->decided = 1;
            item->debited = 1;
            item->backlog = l->before;
            item->at = l->at;

        } else {

            switch (ps_lease_take(&l->lease, item->limit, now, item->cost,
                                  &item->result))
            {
            case PS_LEASE_TAKEN:
                item->decided = 1;
                item->debited = 1;
                item->leased = 1;
                break;

            case PS_LEASE_REFUSED:
                item->decided = 1;
                item->refused = 1;
                break;

            default: /* PS_LEASE_ASK */
                limit = item->limit;
                continue;
            }
        }

        ngx_queue_remove(q);
        ngx_queue_insert_tail(done, q);
    }

    if (limit
        && ngx_http_penstock_ratelimit_lease_ask(l, limit, now) != NGX_OK)
    {
        ngx_http_penstock_ratelimit_lease_fail(l, done);
    }
}


static void
ngx_http_penstock_ratelimit_lease_fail(ngx_http_penstock_ratelimit_lease_t *l,
    ngx_queue_t *done)
{
    ngx_queue_t                           *q;
    ngx_http_penstock_ratelimit_waiter_t  *w;

    while (!ngx_queue_empty(&l->waiters)) {
        q = ngx_queue_head(&l->waiters);
        w = ngx_queue_data(q, ngx_http_penstock_ratelimit_waiter_t, queue);

        w->failed = 1;
        ngx_queue_remove(q);
        ngx_queue_insert_tail(done, q);
    }
}


/*
 * Each lease lasts as long from its question: what was asked last ends last.
 * The timer is not cancelable: an old worker gives back what it has before
 * it exits.
 */

static void
ngx_http_penstock_ratelimit_lease_ends(ngx_http_penstock_ratelimit_lease_t *l)
{
    ngx_event_t  *ev;

    if (l->ends) {
        ngx_queue_remove(&l->ending);
    }

    ngx_queue_insert_tail(&ngx_http_penstock_ratelimit_ending, &l->ending);
    l->ends = 1;

    ev = &ngx_http_penstock_ratelimit_end;

    if (!ev->timer_set) {
        ngx_http_penstock_ratelimit_no_connection.fd = (ngx_socket_t) -1;

        ev->handler = ngx_http_penstock_ratelimit_lease_timer;
        ev->data = &ngx_http_penstock_ratelimit_no_connection;
        ev->log = ngx_cycle->log;

        ngx_add_timer(ev, PS_LEASE_HOLD / 1000000);
    }
}


void
ngx_http_penstock_ratelimit_lease_return(
    ngx_http_penstock_ratelimit_lease_t *l)
{
    ps_gcra_t       limit;
    ps_lease_ask_t  ask;

    ngx_queue_remove(&l->ending);
    l->ends = 0;

    ask.kept = 0;
    ask.want = 0;
    ask.returned = ps_lease_end(&l->lease);

    if (ask.returned) {
        ps_gcra_table_refund(l->table, l->hash, ask.returned);
    }

    /* nothing is asked for: the limit does not matter */

    limit.capacity = 4 * PS_GCRA_SPAN_MAX;
    limit.interval = 1;

    (void) ngx_http_penstock_ratelimit_lease_send(l, &limit, &ask, 0, 0, 0,
                                                  NULL);
}


static void
ngx_http_penstock_ratelimit_lease_timer(ngx_event_t *ev)
{
    uint64_t                              now;
    ngx_queue_t                          *q;
    ngx_http_penstock_ratelimit_lease_t  *l;

    now = ps_gcra_now();

    while (!ngx_queue_empty(&ngx_http_penstock_ratelimit_ending)) {
        q = ngx_queue_head(&ngx_http_penstock_ratelimit_ending);
        l = ngx_queue_data(q, ngx_http_penstock_ratelimit_lease_t, ending);

        if (l->lease.until > now) {
            ngx_add_timer(ev, (l->lease.until - now) / 1000000 + 1);
            return;
        }

        if (l->call.pending) {

            /* the answer says how it goes on */

            ngx_queue_remove(q);
            l->ends = 0;
            continue;
        }

        ngx_http_penstock_ratelimit_lease_return(l);
    }
}
