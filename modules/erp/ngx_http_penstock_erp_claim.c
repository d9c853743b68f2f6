
/*
 * The record of an idempotency key in Redis.
 *
 * It is a hash, so that an operator can read it: state, print (of
 * the body), owner and until (of the lease), since (the outcome is unknown),
 * answer.  All times are Redis' own.
 */

#include "ngx_http_penstock_erp.h"


static void ngx_http_penstock_erp_claimed(
    ngx_http_penstock_redis_call_t *call, redisReply *reply);
static ngx_int_t ngx_http_penstock_erp_record(
    ngx_http_penstock_erp_claim_t *claim,
    ngx_http_penstock_redis_call_t *call,
    ngx_http_penstock_erp_outcome_e outcome, ngx_str_t *answer);
static void ngx_http_penstock_erp_settled(
    ngx_http_penstock_redis_call_t *call, redisReply *reply);
static void ngx_http_penstock_erp_claim_hold(
    ngx_http_penstock_erp_claim_t *claim);
static void ngx_http_penstock_erp_claim_renew(ngx_event_t *ev);
static ngx_str_t ngx_http_penstock_erp_redis_key(
    ngx_http_penstock_erp_claim_t *claim, u_char *buf);


#define NGX_HTTP_PENSTOCK_ERP_KEY_LEN                                         \
    (sizeof("penstock:idem:{:}") + 255 + 2 * NGX_HTTP_PENSTOCK_KEY_LEN)


/*
 * print, owner, lease and ttl (ms), how: n (normal), l (may be looked up), a
 * (again, after that).  Returns the verdict, ms, and the answer.
 */

static ngx_http_penstock_redis_script_t  ngx_http_penstock_erp_claim_script = {
    "local t = redis.call('TIME')\n"
    "local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"
    "local v = redis.call('HMGET', KEYS[1], 'state', 'print', 'until',\n"
    "                     'since', 'answer', 'owner')\n"
    "local function hold()\n"
    "    redis.call('HSET', KEYS[1], 'state', 'held', 'print', ARGV[1],\n"
    "               'owner', ARGV[2], 'until',\n"
    "               string.format('%.0f', now + ARGV[3]))\n"
    "    redis.call('PEXPIRE', KEYS[1], ARGV[4])\n"
    "end\n"
    "if not v[1] then\n"
    "    hold()\n"
    "    return {0, 0}\n"
    "end\n"
    "if v[2] ~= ARGV[1] then\n"
    "    return {3, 0}\n"
    "end\n"
    "if v[1] == 'done' then\n"
    "    return {1, 0, v[5] or ''}\n"
    "end\n"
    "local since = tonumber(v[4])\n"
    "if v[1] == 'held' then\n"
    "    if ARGV[5] == 'a' and v[6] == ARGV[2] then\n"
    "        redis.call('HDEL', KEYS[1], 'since')\n"
    "        hold()\n"
    "        return {0, 0}\n"
    "    end\n"
    "    local left = tonumber(v[3]) - now\n"
    "    if left > 0 then\n"
    "        return {2, left}\n"
    "    end\n"
    "    since = since or tonumber(v[3])\n"
    "    redis.call('HSET', KEYS[1], 'state', 'unknown', 'since',\n"
    "               string.format('%.0f', since))\n"
    "end\n"
    "local age = math.max(0, now - (since or now))\n"
    "if ARGV[5] == 'l' then\n"
    "    hold()\n"
    "    return {5, age}\n"
    "end\n"
    "return {4, age}\n",
    { 0 }
};


/* owner, state (done, unknown, gone, undo), print, ttl, answer */

static ngx_http_penstock_redis_script_t  ngx_http_penstock_erp_settle_script =
{
    "local v = redis.call('HMGET', KEYS[1], 'state', 'owner', 'since')\n"
    "if v[1] == 'done' or (v[2] and v[2] ~= ARGV[1]) then\n"
    "    return 0\n"
    "end\n"
    "if ARGV[2] == 'undo' and v[3] then\n"
    "    redis.call('HSET', KEYS[1], 'state', 'unknown')\n"
    "    return 1\n"
    "end\n"
    "if ARGV[2] == 'gone' or ARGV[2] == 'undo' then\n"
    "    redis.call('DEL', KEYS[1])\n"
    "    return 1\n"
    "end\n"
    "redis.call('HSET', KEYS[1], 'state', ARGV[2], 'print', ARGV[3],\n"
    "           'owner', ARGV[1])\n"
    "if ARGV[2] == 'done' then\n"
    "    redis.call('HSET', KEYS[1], 'answer', ARGV[5])\n"
    "    redis.call('HDEL', KEYS[1], 'until', 'since')\n"
    "else\n"
    "    local t = redis.call('TIME')\n"
    "    redis.call('HSETNX', KEYS[1], 'since', string.format('%.0f',\n"
    "               t[1] * 1000 + math.floor(t[2] / 1000)))\n"
    "end\n"
    "redis.call('PEXPIRE', KEYS[1], ARGV[4])\n"
    "return 1\n",
    { 0 }
};


static ngx_http_penstock_redis_script_t  ngx_http_penstock_erp_renew_script = {
    "local v = redis.call('HMGET', KEYS[1], 'state', 'owner')\n"
    "if v[1] == 'held' and v[2] == ARGV[1] then\n"
    "    local t = redis.call('TIME')\n"
    "    redis.call('HSET', KEYS[1], 'until', string.format('%.0f',\n"
    "               t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[2]))\n"
    "end\n"
    "return 0\n",
    { 0 }
};


ngx_int_t
ngx_http_penstock_erp_claim(ngx_http_penstock_erp_claim_t *claim,
    ngx_http_penstock_erp_claim_e how)
{
    u_char              key[NGX_HTTP_PENSTOCK_ERP_KEY_LEN];
    u_char              lease[NGX_INT64_LEN], ttl[NGX_INT64_LEN];
    ngx_str_t           argv[6];
    static const char   ways[] = "nla";

    if (claim->keys->redis == NULL) {
        ngx_http_penstock_erp_keys_claim(claim, how);
        ngx_http_penstock_erp_claim_hold(claim);

        return NGX_OK;
    }

    claim->verdict = NGX_HTTP_PENSTOCK_ERP_UNAVAILABLE;

    argv[0] = ngx_http_penstock_erp_redis_key(claim, key);

    argv[1].data = claim->print;
    argv[1].len = NGX_HTTP_PENSTOCK_KEY_LEN;
    argv[2].data = claim->owner;
    argv[2].len = NGX_HTTP_PENSTOCK_ERP_OWNER;
    argv[3].data = lease;
    argv[3].len = ngx_http_penstock_digits(lease, claim->lease) - lease;
    argv[4].data = ttl;
    argv[4].len = ngx_http_penstock_digits(ttl, claim->ttl) - ttl;
    argv[5].data = (u_char *) &ways[how];
    argv[5].len = 1;

    claim->call.handler = ngx_http_penstock_erp_claimed;
    claim->call.data = claim;
    claim->call.pool = claim->request->pool;

    if (ngx_http_penstock_redis_eval(claim->keys->redis, &claim->call,
                                     &ngx_http_penstock_erp_claim_script, 1, 6,
                                     argv)
        != NGX_OK)
    {
        return NGX_OK;
    }

    claim->asking = 1;
    claim->claiming = 1;

    return NGX_AGAIN;
}


static void
ngx_http_penstock_erp_claimed(ngx_http_penstock_redis_call_t *call,
    redisReply *reply)
{
    redisReply                     *answer;
    ngx_http_penstock_erp_claim_t  *claim = call->data;

    claim->asking = 0;
    claim->claiming = 0;

    ngx_http_penstock_wake(claim->request);

    if (call->status == NGX_HTTP_PENSTOCK_REDIS_REFUSED) {
        ngx_log_error(NGX_LOG_ERR, claim->request->connection->log, 0,
                      "Redis refused an idempotency key: \"%*s\"",
                      (size_t) ngx_min(reply->len, 256), reply->str);
    }

    if (call->status == NGX_HTTP_PENSTOCK_REDIS_LOST) {

        /* it may have been claimed for us: undo that, if we can */

        (void) ngx_http_penstock_erp_settle(claim, NGX_HTTP_PENSTOCK_ERP_UNDO,
                                            NULL);
        return;
    }

    if (call->status != NGX_HTTP_PENSTOCK_REDIS_OK
        || reply->type != REDIS_REPLY_ARRAY
        || reply->elements < 2
        || reply->element[0]->type != REDIS_REPLY_INTEGER
        || reply->element[1]->type != REDIS_REPLY_INTEGER
        || reply->element[0]->integer < 0
        || reply->element[0]->integer >= NGX_HTTP_PENSTOCK_ERP_UNAVAILABLE
        || reply->element[1]->integer < 0)
    {
        return;
    }

    claim->age = (ngx_msec_t) reply->element[1]->integer;

    if (reply->element[0]->integer == NGX_HTTP_PENSTOCK_ERP_REPLAYED) {

        if (reply->elements < 3
            || reply->element[2]->type != REDIS_REPLY_STRING)
        {
            return;
        }

        answer = reply->element[2];

        claim->answer.len = answer->len;
        claim->answer.data = ngx_pnalloc(claim->request->pool,
                                         answer->len + 1);
        if (claim->answer.data == NULL) {
            return;
        }

        ngx_memcpy(claim->answer.data, answer->str, answer->len);
    }

    claim->verdict = reply->element[0]->integer;

    ngx_http_penstock_erp_claim_hold(claim);
}


ngx_int_t
ngx_http_penstock_erp_settle(ngx_http_penstock_erp_claim_t *claim,
    ngx_http_penstock_erp_outcome_e outcome, ngx_str_t *answer)
{
    static ngx_str_t  none = ngx_string("");

    if (claim->renew.timer_set) {
        ngx_del_timer(&claim->renew);
    }

    claim->held = 0;
    claim->kept = 0;

    if (answer == NULL || answer->len == 0) {
        answer = &none;
    }

    if (outcome == NGX_HTTP_PENSTOCK_ERP_LOST) {
        ngx_http_penstock_count(claim->keys->lost, 1);
    }

    if (claim->keys->redis == NULL) {
        ngx_http_penstock_erp_keys_settle(claim, outcome, answer);
        return NGX_OK;
    }

    claim->call.handler = ngx_http_penstock_erp_settled;
    claim->call.data = claim;
    claim->call.pool = claim->request->pool;

    if (ngx_http_penstock_erp_record(claim, &claim->call, outcome, answer)
        != NGX_OK)
    {
        return NGX_OK;
    }

    claim->asking = 1;

    return NGX_AGAIN;
}


static ngx_int_t
ngx_http_penstock_erp_record(ngx_http_penstock_erp_claim_t *claim,
    ngx_http_penstock_redis_call_t *call,
    ngx_http_penstock_erp_outcome_e outcome, ngx_str_t *answer)
{
    u_char            key[NGX_HTTP_PENSTOCK_ERP_KEY_LEN];
    u_char            ttl[NGX_INT64_LEN];
    ngx_str_t         argv[6];

    static ngx_str_t  states[] = {
        ngx_string("done"),
        ngx_string("unknown"),
        ngx_string("gone"),
        ngx_string("undo")
    };

    argv[0] = ngx_http_penstock_erp_redis_key(claim, key);

    argv[1].data = claim->owner;
    argv[1].len = NGX_HTTP_PENSTOCK_ERP_OWNER;
    argv[2] = states[outcome];
    argv[3].data = claim->print;
    argv[3].len = NGX_HTTP_PENSTOCK_KEY_LEN;
    argv[4].data = ttl;
    argv[4].len = ngx_http_penstock_digits(ttl, claim->ttl) - ttl;
    argv[5] = *answer;

    return ngx_http_penstock_redis_eval(claim->keys->redis, call,
                                        &ngx_http_penstock_erp_settle_script,
                                        1, 6, argv);
}


static void
ngx_http_penstock_erp_settled(ngx_http_penstock_redis_call_t *call,
    redisReply *reply)
{
    ngx_http_penstock_erp_claim_t  *claim = call->data;

    claim->asking = 0;

    claim->kept = (call->status == NGX_HTTP_PENSTOCK_REDIS_OK
                   && reply->type == REDIS_REPLY_INTEGER
                   && reply->integer == 1);

    ngx_http_penstock_wake(claim->request);
}


static void
ngx_http_penstock_erp_claim_hold(ngx_http_penstock_erp_claim_t *claim)
{
    if (claim->verdict != NGX_HTTP_PENSTOCK_ERP_NEW
        && claim->verdict != NGX_HTTP_PENSTOCK_ERP_RECONCILE)
    {
        return;
    }

    claim->held = 1;

    claim->renew.handler = ngx_http_penstock_erp_claim_renew;
    claim->renew.data = claim;
    claim->renew.log = claim->request->connection->log;

    ngx_add_timer(&claim->renew, claim->lease / 3 + 1);
}


static void
ngx_http_penstock_erp_claim_renew(ngx_event_t *ev)
{
    u_char                          key[NGX_HTTP_PENSTOCK_ERP_KEY_LEN];
    u_char                          lease[NGX_INT64_LEN];
    ngx_str_t                       argv[3];
    ngx_http_penstock_erp_claim_t  *claim = ev->data;

    ngx_add_timer(ev, claim->lease / 3 + 1);

    if (claim->keys->redis == NULL) {
        ngx_http_penstock_erp_keys_renew(claim);
        return;
    }

    argv[0] = ngx_http_penstock_erp_redis_key(claim, key);
    argv[1].data = claim->owner;
    argv[1].len = NGX_HTTP_PENSTOCK_ERP_OWNER;
    argv[2].data = lease;
    argv[2].len = ngx_http_penstock_digits(lease, claim->lease) - lease;

    (void) ngx_http_penstock_redis_eval(claim->keys->redis, NULL,
                                        &ngx_http_penstock_erp_renew_script, 1,
                                        3, argv);
}


/*
 * A request that ends in the middle leaves its key to run out: what became
 * of it is unknown.  But one that was not sent, as its client has left while
 * it waited for its turn, gives it back.
 */

void
ngx_http_penstock_erp_claim_cleanup(void *data)
{
    static ngx_str_t                none = ngx_string("");

    ngx_http_penstock_erp_claim_t  *claim = data;

    if (claim->renew.timer_set) {
        ngx_del_timer(&claim->renew);
    }

    if (claim->exchange->request || !(claim->held || claim->claiming)) {
        return;
    }

    claim->held = 0;

    if (claim->keys->redis == NULL) {
        ngx_http_penstock_erp_keys_settle(claim, NGX_HTTP_PENSTOCK_ERP_UNDO,
                                          &none);
        return;
    }

    (void) ngx_http_penstock_erp_record(claim, NULL,
                                        NGX_HTTP_PENSTOCK_ERP_UNDO, &none);
}


/* the braces are the hash tag of a cluster */

static ngx_str_t
ngx_http_penstock_erp_redis_key(ngx_http_penstock_erp_claim_t *claim,
    u_char *buf)
{
    u_char     *p;
    ngx_str_t   key;

    p = ngx_sprintf(buf, "penstock:idem:{%V:", &claim->keys->name);
    p = ngx_hex_dump(p, claim->key, NGX_HTTP_PENSTOCK_KEY_LEN);
    *p++ = '}';

    key.data = buf;
    key.len = p - buf;

    return key;
}
