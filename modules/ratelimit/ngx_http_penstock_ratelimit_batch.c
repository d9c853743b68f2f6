
/*
 * What a script call for exact limits says, and what its answer means; see
 * ngx_http_penstock_ratelimit_scripts.c.
 */

#include "ngx_http_penstock_ratelimit_lane.h"
#include "ps_pack.h"


/* numbers in front of all, for a request, and for each limit of it */

#define NGX_HTTP_PENSTOCK_RATELIMIT_PACK_HEAD      2
#define NGX_HTTP_PENSTOCK_RATELIMIT_PACK_REQUEST   1
#define NGX_HTTP_PENSTOCK_RATELIMIT_PACK_QUESTION  5


/* the keys of a call, each once: by hash, then by name */

typedef struct {
    ngx_str_t                           *argv;
    uint64_t                            *hash;
    ngx_uint_t                          *bucket; /* number of a key, or 0 */
    ngx_uint_t                           mask;
    ngx_uint_t                           n;
} ngx_http_penstock_ratelimit_keys_t;


static u_char *ngx_http_penstock_ratelimit_batch_pack(
    ngx_http_penstock_ratelimit_batch_t *batch, u_char *p,
    ngx_http_penstock_ratelimit_keys_t *keys);
static ngx_uint_t ngx_http_penstock_ratelimit_batch_key(
    ngx_http_penstock_ratelimit_keys_t *keys,
    ngx_http_penstock_ratelimit_question_t *q);
static ngx_int_t ngx_http_penstock_ratelimit_batch_answer(
    ngx_http_penstock_ratelimit_place_t *place, redisReply **element);


ngx_int_t
ngx_http_penstock_ratelimit_batch_eval(
    ngx_http_penstock_ratelimit_batch_t *batch)
{
    u_char                              *data;
    size_t                               size;
    ngx_int_t                            rc;
    ngx_uint_t                           n, buckets;
    ngx_msec_t                           timeout, waited;
    ngx_http_penstock_ratelimit_keys_t   keys;

    n = batch->nlimits;

    for (buckets = 16; buckets < 2 * n; buckets *= 2) { /* void */ }

    size = PS_PACK_ARRAY
           + (NGX_HTTP_PENSTOCK_RATELIMIT_PACK_HEAD
              + batch->nplaces * NGX_HTTP_PENSTOCK_RATELIMIT_PACK_REQUEST
              + n * NGX_HTTP_PENSTOCK_RATELIMIT_PACK_QUESTION)
             * PS_PACK_NUMBER;

    keys.argv = ngx_alloc((n + 1) * sizeof(ngx_str_t) + n * sizeof(uint64_t)
                          + buckets * sizeof(ngx_uint_t) + size,
                          ngx_cycle->log);
    if (keys.argv == NULL) {
        return NGX_ERROR;
    }

    keys.hash = (uint64_t *) (keys.argv + n + 1);
    keys.bucket = (ngx_uint_t *) (keys.hash + n);
    keys.mask = buckets - 1;
    keys.n = 0;

    ngx_memzero(keys.bucket, buckets * sizeof(ngx_uint_t));

    data = (u_char *) (keys.bucket + buckets);

    size = ngx_http_penstock_ratelimit_batch_pack(batch, data, &keys) - data;

    keys.argv[keys.n].data = data;
    keys.argv[keys.n].len = size;

    /* the one that has waited longest waits no longer than it may */

    timeout = ngx_http_penstock_redis_timeout(batch->lane->redis);
    waited = ngx_current_msec - batch->since;

    batch->call.timeout = (waited < timeout) ? timeout - waited : 1;

    rc = ngx_http_penstock_redis_eval(batch->lane->redis, &batch->call,
                                      &ngx_http_penstock_ratelimit_exact,
                                      keys.n, keys.n + 1, keys.argv);

    ngx_free(keys.argv);

    return rc;
}


/* what the script wants to know */

static u_char *
ngx_http_penstock_ratelimit_batch_pack(
    ngx_http_penstock_ratelimit_batch_t *batch, u_char *p,
    ngx_http_penstock_ratelimit_keys_t *keys)
{
    uint32_t                                 n;
    uint64_t                                 way;
    ngx_uint_t                               i, k;
    ngx_http_penstock_ratelimit_ask_t       *ask;
    ngx_http_penstock_ratelimit_question_t  *q;

    n = NGX_HTTP_PENSTOCK_RATELIMIT_PACK_HEAD
        + batch->nplaces * NGX_HTTP_PENSTOCK_RATELIMIT_PACK_REQUEST
        + batch->nlimits * NGX_HTTP_PENSTOCK_RATELIMIT_PACK_QUESTION;

    p = ps_pack_array(p, n);

    way = (uint64_t) ngx_http_penstock_redis_timeout(batch->lane->redis)
          * 1000000;

    p = ps_pack_number(p, way);
    p = ps_pack_number(p, PS_LEASE_TTL / 1000);

    for (i = 0; i < batch->nplaces; i++) {
        ask = batch->place[i].ask;

        p = ps_pack_number(p, ask->n);

        for (k = 0; k < ask->n; k++) {
            q = &ask->question[k];

            p = ps_pack_number(p,
                              ngx_http_penstock_ratelimit_batch_key(keys, q));
            p = ps_pack_number(p, q->capacity);
            p = ps_pack_number(p, q->cost);
            p = ps_pack_number(p, q->carry);
            p = ps_pack_number(p, q->enforced);
        }
    }

    return p;
}


/* the key's number, from 1 on, as Lua counts */

static ngx_uint_t
ngx_http_penstock_ratelimit_batch_key(
    ngx_http_penstock_ratelimit_keys_t *keys,
    ngx_http_penstock_ratelimit_question_t *q)
{
    ngx_str_t   *name;
    ngx_uint_t   i, n;

    for (i = q->hash & keys->mask; ; i = (i + 1) & keys->mask) {
        n = keys->bucket[i];

        if (n == 0) {
            break;
        }

        name = &keys->argv[n - 1];

        if (keys->hash[n - 1] == q->hash && name->len == q->name->len
            && ngx_memcmp(name->data, q->name->data, name->len) == 0)
        {
            return n;
        }
    }

    keys->argv[keys->n] = *q->name;
    keys->hash[keys->n] = q->hash;
    keys->bucket[i] = ++keys->n;

    return keys->n;
}


ngx_int_t
ngx_http_penstock_ratelimit_batch_read(
    ngx_http_penstock_ratelimit_batch_t *batch, redisReply *reply)
{
    int64_t                               at;
    ngx_uint_t                            i;
    redisReply                          **element;
    ngx_http_penstock_ratelimit_place_t  *place;

    if (reply->type != REDIS_REPLY_ARRAY
        || reply->elements != batch->nlimits + 1)
    {
        return NGX_ERROR;
    }

    element = reply->element;

    /* the time behind all of them; negative where there are leases */

    if (element[batch->nlimits]->type != REDIS_REPLY_INTEGER) {
        return NGX_ERROR;
    }

    at = element[batch->nlimits]->integer;

    for (i = 0; i < batch->nplaces; i++) {
        place = &batch->place[i];

        if (ngx_http_penstock_ratelimit_batch_answer(place, element)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        if (place->ask) {
            place->ask->leases = (at < 0);
            place->ask->at = (uint64_t) (at < 0 ? -at : at);
        }

        element += place->n;
    }

    return NGX_OK;
}


/* for each limit what was left; a negative number means that the request is
   refused, for all of its limits alike */

static ngx_int_t
ngx_http_penstock_ratelimit_batch_answer(
    ngx_http_penstock_ratelimit_place_t *place, redisReply **element)
{
    int64_t                             n;
    ngx_uint_t                          i, refused;
    ngx_http_penstock_ratelimit_ask_t  *ask;

    ask = place->ask;
    refused = 0;

    for (i = 0; i < place->n; i++) {

        if (element[i]->type != REDIS_REPLY_INTEGER) {
            return NGX_ERROR;
        }

        n = element[i]->integer;

        if (i == 0) {
            refused = (n < 0);

        } else if (refused != (n < 0)) {
            return NGX_ERROR;
        }

        if (n < 0) {
            n = -1 - n;
        }

        if ((uint64_t) n > 4 * PS_GCRA_SPAN_MAX) {
            return NGX_ERROR;
        }

        if (ask) {
            ask->question[i].backlog = n;
        }
    }

    if (ask) {
        ask->admitted = !refused;
    }

    return NGX_OK;
}
