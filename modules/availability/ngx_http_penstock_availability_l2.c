
/*
 * L2: records and invalidations in Redis.
 *
 * Versions are times of Redis's clock.  An invalidation writes the time to
 * the keys of its tags, one write a tag whatever it covers; a record carries
 * the time at which its fill began, and is void when any of its tags, or the
 * zone's epoch, is as late.  A Redis that lost its data makes a new epoch,
 * which voids all that was filled before.
 *
 * All keys of a zone share a hash tag, so the scripts work in a cluster.
 */

#include "ngx_http_penstock_availability.h"


/* how far another host's clock may be ahead, ms: a record from further in the
   future would be fresh until then */

#define NGX_HTTP_PENSTOCK_L2_AHEAD  5000


/* between tries to make up for what was lost, ms */

#define NGX_HTTP_PENSTOCK_L2_MEND  500


/* of the request, the record in L1, and the zone's two and the record's key */

#define NGX_HTTP_PENSTOCK_L2_KEYS  (PS_TAGS_MAX * 2 + 3)


typedef struct {
    ngx_http_penstock_redis_call_t    call;
    ngx_http_penstock_av_zone_t      *zone;
    ngx_http_penstock_av_waiter_t    *waiter;
    ngx_uint_t                        n;          /* 0: everything */
    uint64_t                          hashes[1];  /* of the tags */
} ngx_http_penstock_av_bump_t;


static ngx_uint_t ngx_http_penstock_av_l2_tags(
    ngx_http_penstock_av_ctx_t *ctx, ngx_str_t *keys);
static ngx_int_t ngx_http_penstock_av_l2_tag_key(
    ngx_http_penstock_av_zone_t *zone, ngx_pool_t *pool, ps_tag_t *tag,
    ngx_str_t *key);
static ngx_int_t ngx_http_penstock_av_l2_record_key(
    ngx_http_penstock_av_ctx_t *ctx, ngx_str_t *key);
static void ngx_http_penstock_av_l2_lose(ngx_http_penstock_av_zone_t *zone);
static void ngx_http_penstock_av_l2_mend_handler(ngx_event_t *ev);
static void ngx_http_penstock_av_l2_bumped(
    ngx_http_penstock_redis_call_t *call, redisReply *reply);
static void ngx_http_penstock_av_l2_waiter_gone(void *data);
static uint64_t ngx_http_penstock_av_l2_number(redisReply *reply);


/*
 * KEYS: zone, record, epoch, tags; ARGV: ms to keep a tag.  Gives the clock,
 * the newest invalidation of the tags, and the record.
 *
 * What is no time of the past, another program's "SET ... x", is one of now,
 * and is written as such: else it would void all that is filled later.
 */

static ngx_http_penstock_redis_script_t  ngx_http_penstock_av_look_script = {
    "local function time(v)\n"
    "return type(v)=='string' and #v==16 and not v:find('%D')\n"
    "and tonumber(v)\n"
    "end\n"
    "local t=redis.call('TIME')\n"
    "local now=t[1]*1000000+t[2]\n"
    "local clock=time(redis.call('HGET',KEYS[1],'clock')) or 0\n"
    "if now<=clock then now=clock+1 end\n"
    "local newest=0\n"
    "for i=3,#KEYS do\n"
    "local v=redis.pcall('GET',KEYS[i])\n"
    "if v or i==3 then\n"
    "local at=time(v)\n"
    "if not at or at>now then\n"
    "at=now\n"
    "local s=string.format('%.0f',at)\n"
    "if i==3 then redis.call('SET',KEYS[i],s)\n"
    "else redis.call('SET',KEYS[i],s,'PX',ARGV[1]) end\n"
    "end\n"
    "if at>newest then newest=at end\n"
    "end\n"
    "end\n"
    "if now<=newest then now=newest+1 end\n"
    "redis.call('HSET',KEYS[1],'clock',string.format('%.0f',now))\n"
    "return {string.format('%.0f',now),string.format('%.0f',newest),\n"
    "redis.call('GET',KEYS[2])}\n",
    ""
};


/* KEYS: zone, tags or the epoch; ARGV: ms to keep them, or 0 */

static ngx_http_penstock_redis_script_t  ngx_http_penstock_av_bump_script = {
    "local t=redis.call('TIME')\n"
    "local now=t[1]*1000000+t[2]\n"
    "local v=redis.call('HGET',KEYS[1],'clock')\n"
    "local clock=v and #v==16 and tonumber(v) or 0\n"
    "if now<=clock then now=clock+1 end\n"
    "local s=string.format('%.0f',now)\n"
    "redis.call('HSET',KEYS[1],'clock',s)\n"
    "for i=2,#KEYS do\n"
    "if ARGV[1]=='0' then redis.call('SET',KEYS[i],s)\n"
    "else redis.call('SET',KEYS[i],s,'PX',ARGV[1]) end\n"
    "end\n"
    "return s\n",
    ""
};


ngx_int_t
ngx_http_penstock_av_l2_look(ngx_http_penstock_av_ctx_t *ctx,
    ngx_http_penstock_redis_handler_pt handler)
{
    ngx_str_t   *keys;
    ngx_uint_t   n;

    keys = ngx_palloc(ctx->request->pool,
                      (NGX_HTTP_PENSTOCK_L2_KEYS + 1) * sizeof(ngx_str_t));
    if (keys == NULL) {
        return NGX_ERROR;
    }

    keys[0] = ctx->zone->redis_key;

    if (ngx_http_penstock_av_l2_record_key(ctx, &keys[1]) != NGX_OK
        || ngx_http_penstock_av_l2_epoch_key(ctx->zone, ctx->request->pool,
                                             &keys[2])
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    /* what Redis holds has it too */

    ngx_http_penstock_av_key_tag(ctx->request->pool, &ctx->text, ctx->tags);

    n = ngx_http_penstock_av_l2_tags(ctx, &keys[3]);
    if (n == 0) {
        return NGX_ERROR;
    }

    n += 2;

    ngx_str_set(&keys[n], NGX_HTTP_PENSTOCK_TAG_TTL);

    /* until that is made up for, Redis may hold what is void */

    if (ngx_http_penstock_av_l2_lost(ctx->zone)) {
        return NGX_DECLINED;
    }

    ctx->asked = ngx_http_penstock_av_now();

    ngx_memzero(&ctx->call, sizeof(ngx_http_penstock_redis_call_t));

    ctx->call.handler = handler;
    ctx->call.data = ctx;
    ctx->call.pool = ctx->request->pool;

    return ngx_http_penstock_redis_eval(ctx->zone->redis, &ctx->call,
                                        &ngx_http_penstock_av_look_script,
                                        n, n + 1, keys);
}


/*
 * The keys of all tags of the request and of the record that we have, from
 * keys[0] on; returns how many, plus one.  0: no memory.
 */

static ngx_uint_t
ngx_http_penstock_av_l2_tags(ngx_http_penstock_av_ctx_t *ctx, ngx_str_t *keys)
{
    ps_tag_t     tag;
    ps_tags_t   *tags;
    ngx_uint_t   i, n;
    const char  *p;

    n = 0;
    tags = ctx->tags;

    for (i = 0; i < tags->n; i++) {
        if (ngx_http_penstock_av_l2_tag_key(ctx->zone, ctx->request->pool,
                                            &tags->tag[i], &keys[n++])
            != NGX_OK)
        {
            return 0;
        }
    }

    if (ctx->have) {
        p = ctx->record.tags;

        for (i = 0; i < ctx->record.ntags; i++) {
            ps_record_tag(&p, &tag);

            if (ngx_http_penstock_av_l2_tag_key(ctx->zone, ctx->request->pool,
                                                &tag, &keys[n++])
                != NGX_OK)
            {
                return 0;
            }
        }
    }

    return n + 1;
}


static ngx_int_t
ngx_http_penstock_av_l2_tag_key(ngx_http_penstock_av_zone_t *zone,
    ngx_pool_t *pool, ps_tag_t *tag, ngx_str_t *key)
{
    u_char  *p;

    p = ngx_pnalloc(pool, zone->redis_key.len + 3 + tag->len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    key->data = p;

    p = ngx_cpymem(p, zone->redis_key.data, zone->redis_key.len);
    p = ngx_cpymem(p, ":t:", 3);
    p = ngx_cpymem(p, tag->name, tag->len);

    key->len = p - key->data;

    return NGX_OK;
}


ngx_int_t
ngx_http_penstock_av_l2_epoch_key(ngx_http_penstock_av_zone_t *zone,
    ngx_pool_t *pool, ngx_str_t *key)
{
    key->len = zone->redis_key.len + sizeof(":epoch") - 1;

    key->data = ngx_pnalloc(pool, key->len);
    if (key->data == NULL) {
        return NGX_ERROR;
    }

    (void) ngx_cpymem(ngx_cpymem(key->data, zone->redis_key.data,
                                 zone->redis_key.len),
                      ":epoch", sizeof(":epoch") - 1);

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_av_l2_record_key(ngx_http_penstock_av_ctx_t *ctx,
    ngx_str_t *key)
{
    u_char                       *p;
    u_char                        digest[NGX_HTTP_PENSTOCK_KEY_LEN];
    ngx_http_penstock_av_zone_t  *zone;

    zone = ctx->zone;

    /* ctx->key is of this host only */

    if (ngx_http_penstock_sha256(&ctx->id, 1, digest) != NGX_OK) {
        return NGX_ERROR;
    }

    /* as a push of the key will give it */

    ctx->record_hash = (uint32_t) digest[0] << 24 | digest[1] << 16
                       | digest[2] << 8 | digest[3];

    p = ngx_pnalloc(ctx->request->pool, zone->redis_key.len + 3
                                        + 2 * NGX_HTTP_PENSTOCK_KEY_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    key->data = p;

    p = ngx_cpymem(p, zone->redis_key.data, zone->redis_key.len);
    p = ngx_cpymem(p, ":r:", 3);
    p = ngx_hex_dump(p, digest, NGX_HTTP_PENSTOCK_KEY_LEN);

    key->len = p - key->data;

    return NGX_OK;
}


ngx_int_t
ngx_http_penstock_av_l2_rekey(ngx_http_penstock_av_ctx_t *ctx)
{
    ngx_str_t  key;

    if (ctx->zone->redis == NULL) {
        return NGX_OK;
    }

    return ngx_http_penstock_av_l2_record_key(ctx, &key);
}


/*
 * Reads the answer of a look: the clock, whether our own record stands, and
 * Redis's record in raw where that stands (raw->len == 0: none).  NGX_AGAIN:
 * that record has more tags than were asked for, look again.
 */

ngx_int_t
ngx_http_penstock_av_l2_reply(ngx_http_penstock_av_ctx_t *ctx,
    redisReply *reply, ngx_str_t *raw)
{
    u_char       *p;
    uint64_t      clock, newest;
    ps_tag_t      tag;
    ps_record_t   record;
    ngx_uint_t    i, known;
    redisReply   *bulk;
    const char   *tags;

    ngx_str_null(raw);

    if (ctx->call.status != NGX_HTTP_PENSTOCK_REDIS_OK
        || reply->type != REDIS_REPLY_ARRAY || reply->elements != 3)
    {
        return NGX_OK;
    }

    clock = ngx_http_penstock_av_l2_number(reply->element[0]);
    newest = ngx_http_penstock_av_l2_number(reply->element[1]);

    if (clock == 0 || newest == 0) {
        return NGX_OK;
    }

    ctx->looked = 1;
    ctx->clock = clock;

    if (ctx->have && newest >= ctx->record.clock) {
        ctx->valid = 0;
    }

    bulk = reply->element[2];

    if (bulk->type != REDIS_REPLY_STRING
        || (size_t) bulk->len > 2 * ctx->conf->max_size
        || ps_record_parse(&record, bulk->str, bulk->len) != 0
        || newest >= record.clock || record.clock >= clock
        || record.created > ngx_http_penstock_av_now()
                            + NGX_HTTP_PENSTOCK_L2_AHEAD)
    {
        return NGX_OK;
    }

    p = ngx_palloc(ctx->request->pool, bulk->len);
    if (p == NULL) {
        return NGX_OK;
    }

    ngx_memcpy(p, bulk->str, bulk->len);
    (void) ps_record_parse(&record, (char *) p, bulk->len);

    /* "newest" speaks only of the tags that were asked for */

    known = ctx->tags->n;
    tags = record.tags;

    for (i = 0; i < record.ntags; i++) {
        ps_record_tag(&tags, &tag);

        if (ps_tag_hash(tag.name, tag.len) != tag.hash) {
            return NGX_OK;
        }

        ps_tags_add(ctx->tags, tag.name, tag.len);
    }

    if (ctx->tags->overflow) {
        return NGX_OK;
    }

    if (ctx->tags->n != known) {
        return NGX_AGAIN;
    }

    raw->data = p;
    raw->len = bulk->len;

    return NGX_OK;
}


static uint64_t
ngx_http_penstock_av_l2_number(redisReply *reply)
{
    size_t    i;
    uint64_t  n;

    if (reply->type != REDIS_REPLY_STRING || reply->len > 18) {
        return 0;
    }

    n = 0;

    for (i = 0; i < (size_t) reply->len; i++) {
        if (reply->str[i] < '0' || reply->str[i] > '9') {
            return 0;
        }

        n = n * 10 + (reply->str[i] - '0');
    }

    return n;
}


void
ngx_http_penstock_av_l2_store(ngx_http_penstock_av_ctx_t *ctx, ngx_str_t *raw)
{
    u_char       buf[NGX_INT64_LEN];
    uint64_t     ttl, end, now;
    ngx_str_t    argv[5];
    ps_record_t  record;

    if (ctx->zone->redis == NULL || ctx->clock == 0
        || ps_record_parse(&record, (char *) raw->data, raw->len) != 0)
    {
        return;
    }

    now = ngx_http_penstock_av_now();
    end = record.created + record.fresh
          + ngx_max(record.while_revalidate, record.if_error);

    if (end <= now) {
        return;
    }

    ttl = ngx_min(end - now, NGX_HTTP_PENSTOCK_MAX_TTL);

    ngx_str_set(&argv[0], "SET");

    if (ngx_http_penstock_av_l2_record_key(ctx, &argv[1]) != NGX_OK) {
        return;
    }

    argv[2] = *raw;
    ngx_str_set(&argv[3], "PX");

    argv[4].data = buf;
    argv[4].len = ngx_sprintf(buf, "%uL", ttl) - buf;

    (void) ngx_http_penstock_redis_send(ctx->zone->redis, NULL, 5, argv, 1);
}


/*
 * The call to Redis outlives the request that made it: if Redis does not
 * confirm it, other hosts must not trust what they hold, so the whole zone
 * is invalidated as soon as Redis is back.
 */

void
ngx_http_penstock_av_invalidate(ngx_http_penstock_av_zone_t *zone,
    ps_tags_t *tags, ngx_http_penstock_av_waiter_t *waiter, ngx_pool_t *pool)
{
    ngx_str_t                    *argv;
    ngx_uint_t                    i, n, nkeys;
    ngx_pool_cleanup_t           *cln;
    ngx_http_penstock_av_bump_t  *bump;

    n = tags ? tags->n : 0;
    cln = NULL;

    argv = ngx_palloc(pool, (n + 3) * sizeof(ngx_str_t));
    bump = ngx_calloc(sizeof(ngx_http_penstock_av_bump_t)
                      + n * sizeof(uint64_t), ngx_cycle->log);

    if (argv == NULL || bump == NULL) {
        ngx_http_penstock_av_bump(zone, NULL, 0);
        goto lost;
    }

    bump->zone = zone;
    bump->n = n;

    for (i = 0; i < n; i++) {
        bump->hashes[i] = tags->tag[i].hash;
    }

    ngx_http_penstock_av_bump(zone, bump->hashes, n);

    if (zone->redis == NULL) {
        ngx_free(bump);
        return;
    }

    argv[0] = zone->redis_key;

    for (i = 0; i < n; i++) {
        if (ngx_http_penstock_av_l2_tag_key(zone, pool, &tags->tag[i],
                                            &argv[i + 1])
            != NGX_OK)
        {
            goto lost;
        }
    }

    nkeys = n + 1;
    ngx_str_set(&argv[nkeys], NGX_HTTP_PENSTOCK_TAG_TTL);

    if (n == 0) {

        if (ngx_http_penstock_av_l2_epoch_key(zone, pool, &argv[1])
            != NGX_OK)
        {
            goto lost;
        }

        nkeys = 2;
        ngx_str_set(&argv[nkeys], "0");
    }

    if (waiter) {
        cln = ngx_pool_cleanup_add(pool, 0);
        if (cln == NULL) {
            goto lost;
        }
    }

    bump->call.handler = ngx_http_penstock_av_l2_bumped;
    bump->call.data = bump;

    if (ngx_http_penstock_redis_eval(zone->redis, &bump->call,
                                     &ngx_http_penstock_av_bump_script,
                                     nkeys, nkeys + 1, argv)
        != NGX_OK)
    {
        goto lost;
    }

    if (waiter) {
        bump->waiter = waiter;
        waiter->bump = bump;

        cln->handler = ngx_http_penstock_av_l2_waiter_gone;
        cln->data = waiter;
    }

    return;

lost:

    if (bump) {
        ngx_free(bump);
    }

    if (zone->redis) {
        ngx_http_penstock_av_l2_lose(zone);
    }
}


static void
ngx_http_penstock_av_l2_bumped(ngx_http_penstock_redis_call_t *call,
    redisReply *reply)
{
    ngx_http_penstock_tag_table_t  *table;
    ngx_http_penstock_av_bump_t    *bump = call->data;

    table = ngx_http_penstock_av_tag_table(bump->zone);

    /* nothing but the time that was written confirms it */

    if (call->status != NGX_HTTP_PENSTOCK_REDIS_OK
        || ngx_http_penstock_av_l2_number(reply) == 0)
    {
        ngx_http_penstock_av_l2_lose(bump->zone);

    } else if (bump->n == 0) {
        (void) ngx_atomic_cmp_set(&table->lost, ngx_pid, 0);
    }

    /*
     * Until Redis had it, another worker may have taken from there what was
     * void already, as if that were new.
     */

    ngx_http_penstock_av_bump(bump->zone, bump->hashes, bump->n);

    if (bump->waiter) {
        bump->waiter->bump = NULL;
        ngx_http_penstock_wake(bump->waiter->request);
    }

    ngx_free(bump);
}


static void
ngx_http_penstock_av_l2_waiter_gone(void *data)
{
    ngx_http_penstock_av_waiter_t  *waiter = data;

    ngx_http_penstock_av_bump_t    *bump;

    bump = waiter->bump;

    if (bump) {
        bump->waiter = NULL;
    }
}


void
ngx_http_penstock_av_l2_init(ngx_http_penstock_av_zone_t *zone,
    ngx_log_t *log)
{
    zone->mend.handler = ngx_http_penstock_av_l2_mend_handler;
    zone->mend.data = zone;
    zone->mend.log = log;

    /* after a reload the workers that ask Redis see to it */

    zone->mend.cancelable = 1;
}


static void
ngx_http_penstock_av_l2_lose(ngx_http_penstock_av_zone_t *zone)
{
    ngx_http_penstock_av_tag_table(zone)->lost = 1;

    if (!zone->mend.timer_set) {
        ngx_add_timer(&zone->mend, NGX_HTTP_PENSTOCK_L2_MEND);
    }
}


static void
ngx_http_penstock_av_l2_mend_handler(ngx_event_t *ev)
{
    ngx_http_penstock_av_zone_t  *zone = ev->data;

    if (ngx_http_penstock_av_l2_lost(zone) && !ev->timer_set) {
        ngx_add_timer(ev, NGX_HTTP_PENSTOCK_L2_MEND);
    }
}


/*
 * Makes up for invalidations that Redis did not get, as soon as it can: the
 * worker that sees it first leaves its pid and purges the zone.  Returns
 * whether Redis's records are still not to be used.
 */

ngx_uint_t
ngx_http_penstock_av_l2_lost(ngx_http_penstock_av_zone_t *zone)
{
    ngx_pool_t                     *pool;
    ngx_atomic_uint_t               lost;
    ngx_http_penstock_tag_table_t  *table;

    table = ngx_http_penstock_av_tag_table(zone);
    lost = table->lost;

    if (lost == 0) {
        return 0;
    }

    if (lost > 1
        && (lost == (ngx_atomic_uint_t) ngx_pid
            || kill((ngx_pid_t) lost, 0) == 0 || ngx_errno != NGX_ESRCH))
    {
        return 1;
    }

    if (!ngx_http_penstock_redis_up(zone->redis)
        || !ngx_atomic_cmp_set(&table->lost, lost, ngx_pid))
    {
        return 1;
    }

    pool = ngx_create_pool(256, ngx_cycle->log);
    if (pool == NULL) {
        ngx_http_penstock_av_l2_lose(zone);
        return 1;
    }

    /* it says "lost" again when this fails too */

    ngx_http_penstock_av_invalidate(zone, NULL, NULL, pool);

    ngx_destroy_pool(pool);

    return 1;
}
