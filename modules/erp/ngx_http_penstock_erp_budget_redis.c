
/*
 * Places at the ERP in Redis, for all hosts: what a worker asks the script
 * for, and what it makes of the answers.
 *
 * An id is r or w, its worker and a number.  Each second a worker says which
 * ones it knows; others that it seems to hold are of calls whose answers were
 * lost, and go.
 */

#include "ngx_http_penstock_erp.h"


#define NGX_HTTP_PENSTOCK_ERP_NKEYS  6
#define NGX_HTTP_PENSTOCK_ERP_NARGS  5
#define NGX_HTTP_PENSTOCK_ERP_FEW    32

#define NGX_HTTP_PENSTOCK_ERP_ID_LEN                                          \
    (sizeof("w::") + 16 + NGX_INT64_LEN)


typedef enum {
    NGX_HTTP_PENSTOCK_ERP_QUEUED = 0,
    NGX_HTTP_PENSTOCK_ERP_IN,
    NGX_HTTP_PENSTOCK_ERP_QUEUE_FULL,
    NGX_HTTP_PENSTOCK_ERP_EARLY          /* it begins anew */
} ngx_http_penstock_erp_reply_e;


static ngx_int_t ngx_http_penstock_erp_ask(
    ngx_http_penstock_erp_budget_t *budget,
    ngx_http_penstock_redis_call_t *call, const char *op, ngx_str_t *args,
    ngx_uint_t nargs);
static ngx_int_t ngx_http_penstock_erp_name(
    ngx_http_penstock_erp_budget_t *budget);
static ngx_str_t ngx_http_penstock_erp_id(ngx_http_penstock_erp_passage_t *p,
    u_char *buf);
static ngx_int_t ngx_http_penstock_erp_reply(
    ngx_http_penstock_erp_budget_t *budget,
    ngx_http_penstock_redis_call_t *call, redisReply *reply);
static void ngx_http_penstock_erp_mail(ngx_http_penstock_erp_budget_t *budget,
    redisReply *id);
static void ngx_http_penstock_erp_entered(
    ngx_http_penstock_redis_call_t *call, redisReply *reply);
static void ngx_http_penstock_erp_renewed(
    ngx_http_penstock_redis_call_t *call, redisReply *reply);
static void ngx_http_penstock_erp_polled(
    ngx_http_penstock_redis_call_t *call, redisReply *reply);


ngx_int_t
ngx_http_penstock_erp_remote_enter(ngx_http_penstock_erp_passage_t *p)
{
    u_char     id[NGX_HTTP_PENSTOCK_ERP_ID_LEN];
    u_char     client[16], queue[NGX_INT64_LEN];
    ngx_str_t  args[3];

    if (!ngx_http_penstock_redis_up(p->budget->redis)
        || ngx_http_penstock_erp_name(p->budget) != NGX_OK)
    {
        return NGX_DECLINED;
    }

    p->remote = ++p->budget->ids;

    args[0] = ngx_http_penstock_erp_id(p, id);
    args[1].data = client;
    args[1].len = ngx_hex_dump(client, (u_char *) &p->client, 8) - client;
    args[2].data = queue;
    args[2].len = ngx_http_penstock_digits(queue, p->early ? 0 : p->queue_max)
                  - queue;

    p->call.handler = ngx_http_penstock_erp_entered;
    p->call.data = p;
    p->call.pool = p->exchange->host->pool;

    if (ngx_http_penstock_erp_ask(p->budget, &p->call, "enter", args, 3)
        != NGX_OK)
    {
        p->remote = 0;
        return NGX_DECLINED;
    }

    p->asking = 1;

    return NGX_OK;
}


static void
ngx_http_penstock_erp_entered(ngx_http_penstock_redis_call_t *call,
    redisReply *reply)
{
    ngx_int_t                         rc;
    ngx_http_penstock_erp_passage_t  *p = call->data;

    p->asking = 0;

    rc = ngx_http_penstock_erp_reply(p->budget, call, reply);

    if (p->left) {

        /* asked again, the question may have come after the leave */

        if (rc == NGX_HTTP_PENSTOCK_ERP_IN) {
            ngx_http_penstock_erp_remote_leave(p);
        }

        return;
    }

    switch (rc) {

    case NGX_HTTP_PENSTOCK_ERP_IN:
        ngx_http_penstock_erp_granted(p);
        break;

    case NGX_HTTP_PENSTOCK_ERP_QUEUED:
        ngx_http_penstock_count(p->budget->queued, 1);
        break;

    case NGX_HTTP_PENSTOCK_ERP_QUEUE_FULL:

        if (p->early) {
            ngx_http_penstock_erp_none_free(p);

        } else {
            ngx_http_penstock_erp_rejected(p);
        }

        break;

    default:

        if (call->status == NGX_HTTP_PENSTOCK_REDIS_LOST) {
            ngx_http_penstock_erp_remote_leave(p);
        }

        if (p->early && !p->entered) {
            ngx_http_penstock_erp_none_free(p);

        } else {
            ngx_http_penstock_erp_fall_back(p);
        }
    }
}


void
ngx_http_penstock_erp_remote_leave(ngx_http_penstock_erp_passage_t *p)
{
    u_char                           id[NGX_HTTP_PENSTOCK_ERP_ID_LEN];
    ngx_str_t                        arg;
    ngx_http_penstock_erp_budget_t  *budget;

    budget = p->budget;

    arg = ngx_http_penstock_erp_id(p, id);

    /* its answer may let in others of this worker; one at a time is heard,
       the rest is in the mail of the next poll */

    if (!budget->polling && !ngx_queue_empty(&budget->waiting)) {

        budget->poll.handler = ngx_http_penstock_erp_polled;
        budget->poll.data = budget;

        if (ngx_http_penstock_erp_ask(budget, &budget->poll, "leave", &arg, 1)
            == NGX_OK)
        {
            budget->polling = 1;
        }

        return;
    }

    (void) ngx_http_penstock_erp_ask(budget, NULL, "release", &arg, 1);
}


void
ngx_http_penstock_erp_remote_poll(ngx_http_penstock_erp_budget_t *budget)
{
    ngx_queue_t                      *q;
    ngx_http_penstock_erp_passage_t  *p;

    if (budget->polling) {
        return;
    }

    /* also for those that wait here only: is Redis back? */

    for (q = ngx_queue_head(&budget->waiting);
         q != ngx_queue_sentinel(&budget->waiting);
         q = ngx_queue_next(q))
    {
        p = ngx_queue_data(q, ngx_http_penstock_erp_passage_t, queue);

        if (!p->asking) {
            break;
        }
    }

    if (q == ngx_queue_sentinel(&budget->waiting)) {
        return;
    }

    budget->poll.handler = ngx_http_penstock_erp_polled;
    budget->poll.data = budget;

    budget->polling = 1;

    if (ngx_http_penstock_erp_ask(budget, &budget->poll, "poll", NULL, 0)
        != NGX_OK)
    {
        budget->poll.status = NGX_HTTP_PENSTOCK_REDIS_DOWN;
        ngx_http_penstock_erp_polled(&budget->poll, NULL);
    }
}


static void
ngx_http_penstock_erp_polled(ngx_http_penstock_redis_call_t *call,
    redisReply *reply)
{
    ngx_queue_t                      *q, *next;
    ngx_http_penstock_erp_budget_t   *budget = call->data;
    ngx_http_penstock_erp_passage_t  *p;

    budget->polling = 0;

    if (ngx_http_penstock_erp_reply(budget, call, reply)
        == NGX_HTTP_PENSTOCK_ERP_QUEUED)
    {
        return;
    }

    /* Redis is away, or has forgotten: each finds its place here */

    for (q = ngx_queue_head(&budget->waiting);
         q != ngx_queue_sentinel(&budget->waiting);
         q = next)
    {
        next = ngx_queue_next(q);

        p = ngx_queue_data(q, ngx_http_penstock_erp_passage_t, queue);

        if (p->remote && !p->asking) {
            ngx_http_penstock_erp_fall_back(p);
        }
    }
}


void
ngx_http_penstock_erp_remote_busy(ngx_http_penstock_erp_passage_t *p)
{
    ngx_http_penstock_erp_busy_t    *busy;
    ngx_http_penstock_erp_budget_t  *budget;

    budget = p->budget;

    if (budget->nbusy == NGX_HTTP_PENSTOCK_ERP_BUSY) {

        /* the oldest one is counted by Redis alone no longer */

        budget->nbusy--;
        ngx_memmove(budget->busy, budget->busy + 1,
                    budget->nbusy * sizeof(ngx_http_penstock_erp_busy_t));
    }

    busy = &budget->busy[budget->nbusy++];

    busy->id = p->remote;
    busy->write = p->write;
    busy->until = ngx_current_msec + budget->lease;
}


/* held ones first, then those that wait or are busy: all that are known */

void
ngx_http_penstock_erp_remote_renew(ngx_http_penstock_erp_budget_t *budget)
{
    u_char                           *p, count[NGX_INT64_LEN];
    ngx_str_t                        *args;
    ngx_uint_t                        i, n, k, held;
    ngx_queue_t                      *q, *queue;
    ngx_http_penstock_redis_call_t   *call;
    ngx_http_penstock_erp_passage_t  *passage, busy;

    if (ngx_http_penstock_erp_name(budget) != NGX_OK) {
        return;
    }

    n = 1 + budget->nbusy;

    for (i = 0; i < 2; i++) {
        queue = i ? &budget->waiting : &budget->held;

        for (q = ngx_queue_head(queue); q != ngx_queue_sentinel(queue);
             q = ngx_queue_next(q))
        {
            n++;
        }
    }

    args = ngx_alloc(n * (sizeof(ngx_str_t) + NGX_HTTP_PENSTOCK_ERP_ID_LEN),
                     ngx_cycle->log);
    if (args == NULL) {
        return;
    }

    p = (u_char *) &args[n];
    k = 1;
    held = 0;

    for (i = 0; i < 2; i++) {
        queue = i ? &budget->waiting : &budget->held;

        for (q = ngx_queue_head(queue); q != ngx_queue_sentinel(queue);
             q = ngx_queue_next(q))
        {
            passage = ngx_queue_data(q, ngx_http_penstock_erp_passage_t,
                                     queue);

            if (passage->remote == 0) {

                if (i) {
                    continue;
                }

                /* let in without Redis, it counts there once that is back */

                passage->remote = ++budget->ids;
            }

            args[k++] = ngx_http_penstock_erp_id(passage, p);
            p += NGX_HTTP_PENSTOCK_ERP_ID_LEN;
            held += !i;
        }
    }

    ngx_memzero(&busy, sizeof(ngx_http_penstock_erp_passage_t));
    busy.budget = budget;

    for (i = 0, n = 0; i < budget->nbusy; i++) {

        if ((ngx_msec_int_t) (budget->busy[i].until - ngx_current_msec) <= 0) {
            continue;
        }

        busy.remote = budget->busy[i].id;
        busy.write = budget->busy[i].write;

        args[k++] = ngx_http_penstock_erp_id(&busy, p);
        p += NGX_HTTP_PENSTOCK_ERP_ID_LEN;

        budget->busy[n++] = budget->busy[i];
    }

    budget->nbusy = n;

    args[0].data = count;
    args[0].len = ngx_http_penstock_digits(count, held) - count;

    call = NULL;

    if (!budget->renewing) {
        call = &budget->renewal;
        call->handler = ngx_http_penstock_erp_renewed;
        call->data = budget;
    }

    if (ngx_http_penstock_erp_ask(budget, call, "renew", args, k) == NGX_OK
        && call)
    {
        budget->renewing = 1;
    }

    ngx_free(args);
}


/* it says whether Redis is there, be it of use to somebody else here */

static void
ngx_http_penstock_erp_renewed(ngx_http_penstock_redis_call_t *call,
    redisReply *reply)
{
    ngx_http_penstock_erp_budget_t  *budget = call->data;

    budget->renewing = 0;

    (void) ngx_http_penstock_erp_reply(budget, call, reply);
}


void
ngx_http_penstock_erp_remote_narrow(ngx_http_penstock_erp_budget_t *budget,
    ngx_msec_t ms)
{
    u_char     buf[NGX_INT64_LEN];
    ngx_str_t  arg;

    arg.data = buf;
    arg.len = ngx_http_penstock_digits(buf, ms) - buf;

    (void) ngx_http_penstock_erp_ask(budget, NULL, "narrow", &arg, 1);
}


static ngx_int_t
ngx_http_penstock_erp_ask(ngx_http_penstock_erp_budget_t *budget,
    ngx_http_penstock_redis_call_t *call, const char *op, ngx_str_t *args,
    ngx_uint_t nargs)
{
    u_char             *p;
    u_char              keys[NGX_HTTP_PENSTOCK_ERP_NKEYS][128];
    u_char              numbers[3][NGX_INT64_LEN];
    uint64_t            value[3];
    ngx_int_t           rc;
    ngx_str_t          *argv, few[NGX_HTTP_PENSTOCK_ERP_FEW];
    ngx_uint_t          i, n;

    static const char  *names[] = {
        "held", "reads", "writes", "info", "clients", "workers"
    };

    if (ngx_http_penstock_erp_name(budget) != NGX_OK) {
        return NGX_DECLINED;
    }

    argv = few;
    n = NGX_HTTP_PENSTOCK_ERP_NKEYS + NGX_HTTP_PENSTOCK_ERP_NARGS + nargs;

    if (n > NGX_HTTP_PENSTOCK_ERP_FEW) {
        argv = ngx_alloc(n * sizeof(ngx_str_t), ngx_cycle->log);
        if (argv == NULL) {
            return NGX_DECLINED;
        }
    }

    for (n = 0; n < NGX_HTTP_PENSTOCK_ERP_NKEYS; n++) {
        p = ngx_snprintf(keys[n], sizeof(keys[n]), "penstock:erp:{%V}:%s",
                         &budget->name, names[n]);
        argv[n].data = keys[n];
        argv[n].len = p - keys[n];
    }

    argv[n].data = (u_char *) op;
    argv[n++].len = ngx_strlen(op);
    argv[n].data = budget->worker;
    argv[n++].len = sizeof(budget->worker);

    value[0] = budget->limit;
    value[1] = budget->writes;
    value[2] = budget->lease;

    for (i = 0; i < 3; i++) {
        argv[n].data = numbers[i];
        argv[n++].len = ngx_http_penstock_digits(numbers[i], value[i])
                        - numbers[i];
    }

    for (i = 0; i < nargs; i++) {
        argv[n++] = args[i];
    }

    rc = ngx_http_penstock_redis_eval(budget->redis, call,
                                      &ngx_http_penstock_erp_budget_script,
                                      NGX_HTTP_PENSTOCK_ERP_NKEYS, n, argv);

    if (argv != few) {
        ngx_free(argv);
    }

    return rc;
}


/* a name that no other worker of any host has, once in its life */

static ngx_int_t
ngx_http_penstock_erp_name(ngx_http_penstock_erp_budget_t *budget)
{
    u_char  random[8];

    if (budget->named) {
        return NGX_OK;
    }

    if (ngx_http_penstock_random(random, sizeof(random)) != NGX_OK) {
        return NGX_ERROR;
    }

    (void) ngx_hex_dump(budget->worker, random, sizeof(random));

    budget->named = 1;

    return NGX_OK;
}


static ngx_str_t
ngx_http_penstock_erp_id(ngx_http_penstock_erp_passage_t *p, u_char *buf)
{
    ngx_str_t                        id;
    ngx_http_penstock_erp_budget_t  *budget;

    budget = p->budget;

    id.data = buf;
    id.len = ngx_sprintf(buf, "%c:%*s:%uL", p->write ? 'w' : 'r',
                         sizeof(budget->worker), budget->worker, p->remote)
             - buf;

    return id;
}


/* the first number, NGX_ERROR where there is none; and takes in the mail */

static ngx_int_t
ngx_http_penstock_erp_reply(ngx_http_penstock_erp_budget_t *budget,
    ngx_http_penstock_redis_call_t *call, redisReply *reply)
{
    size_t                           i;
    ngx_http_penstock_erp_places_t  *places;

    if (call->status == NGX_HTTP_PENSTOCK_REDIS_REFUSED && reply) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "Redis refused the script of erp_budget_zone \"%V\": "
                      "\"%*s\"", &budget->name,
                      (size_t) ngx_min(reply->len, 256), reply->str);
    }

    if (call->status != NGX_HTTP_PENSTOCK_REDIS_OK || reply == NULL
        || reply->type != REDIS_REPLY_ARRAY || reply->elements == 0
        || reply->element[0]->type != REDIS_REPLY_INTEGER)
    {
        ngx_http_penstock_erp_alone(budget);
        return NGX_ERROR;
    }

    places = ngx_http_penstock_zone_data(budget->shm_zone);
    places->answered = ngx_current_msec;

    if (reply->element[0]->integer == NGX_HTTP_PENSTOCK_ERP_EARLY) {
        ngx_http_penstock_erp_alone(budget);
        return NGX_ERROR;
    }

    ngx_http_penstock_erp_shared(budget);

    for (i = 1; i < reply->elements; i++) {
        ngx_http_penstock_erp_mail(budget, reply->element[i]);
    }

    return (ngx_int_t) reply->element[0]->integer;
}


static void
ngx_http_penstock_erp_mail(ngx_http_penstock_erp_budget_t *budget,
    redisReply *id)
{
    u_char                            buf[NGX_HTTP_PENSTOCK_ERP_ID_LEN];
    ngx_str_t                         text;
    ngx_queue_t                      *q;
    ngx_http_penstock_erp_passage_t  *p;

    if (id->type != REDIS_REPLY_STRING) {
        return;
    }

    for (q = ngx_queue_head(&budget->waiting);
         q != ngx_queue_sentinel(&budget->waiting);
         q = ngx_queue_next(q))
    {
        p = ngx_queue_data(q, ngx_http_penstock_erp_passage_t, queue);

        if (p->remote == 0) {
            continue;
        }

        text = ngx_http_penstock_erp_id(p, buf);

        if (text.len == id->len
            && ngx_memcmp(text.data, id->str, text.len) == 0)
        {
            ngx_http_penstock_erp_granted(p);
            return;
        }
    }

    /* it does not wait any more, so it must not take a place */

    text.data = (u_char *) id->str;
    text.len = id->len;

    (void) ngx_http_penstock_erp_ask(budget, NULL, "release", &text, 1);
}
