
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
#include "ngx_http_penstock_availability_lua.h"


/* how far another host's clock may be ahead, ms: a record from further in the
   future would be fresh until then */

#define NGX_HTTP_PENSTOCK_L2_AHEAD  5000


/* of the request, the record in L1, and the zone's two and the record's key */

#define NGX_HTTP_PENSTOCK_L2_KEYS  (PS_TAGS_MAX * 2 + 3)


static ngx_uint_t ngx_http_penstock_av_l2_tags(
    ngx_http_penstock_av_ctx_t *ctx, ngx_str_t *keys);
static ngx_int_t ngx_http_penstock_av_l2_record_key(
    ngx_http_penstock_av_ctx_t *ctx, ngx_str_t *key);


/*
 * KEYS: zone, record, epoch, tags, and the lease, if that is asked for; ARGV:
 * ms to keep a tag, the lease's token (or nothing) and ms, and the clock of a
 * record that the host has and may use if that stands.
 *
 * Gives the clock, the newest invalidation of the tags, the record, the
 * newest hard and the newest soft purge; and 0 where the lease was granted,
 * the ms that it is another's, -1 where nothing is to be filled.  Numbers of
 * a record are read from where ps_record.c puts them.
 */

static ngx_http_penstock_redis_script_t  ngx_http_penstock_av_look_script = {
    NGX_HTTP_PENSTOCK_AV_LUA
    "local newest,hard,soft=times(KEYS[3],'0')\n"
    "if newest==0 then\n"
    "newest=now now=now+1\n"
    "set(KEYS[3],text(newest),'0')\n"
    "end\n"
    "local last=#KEYS\n"
    "if ARGV[2]~='' then last=last-1 end\n"
    "for i=4,last do\n"
    "local a,h,s=times(KEYS[i],ARGV[1])\n"
    "if a>newest then newest=a end\n"
    "if h>hard then hard=h end\n"
    "if s>soft then soft=s end\n"
    "end\n"
    "redis.call('HSET',KEYS[1],'clock',text(now))\n"
    "local r=redis.call('GET',KEYS[2])\n"
    "local left=-1\n"
    "if ARGV[2]~='' then\n"
    "local old=math.max(newest,soft)\n"
    "local stands=tonumber(ARGV[4])>old\n"
    "if not stands and r and #r>=44 and r:sub(1,4)=='PSR2' then\n"
    "local ends=struct.unpack('<I4',r,13)+struct.unpack('<I8',r,25)\n"
    "stands=struct.unpack('<I8',r,33)>old and ends*1000>now\n"
    "end\n"
    "if not stands then\n"
    "local k=KEYS[#KEYS]\n"
    "left=redis.call('PTTL',k)\n"
    "if left<0 or redis.pcall('GET',k)==ARGV[2] then\n"
    "redis.call('SET',k,ARGV[2],'PX',ARGV[3])\n"
    "left=0\n"
    "elseif left==0 then left=1 end\n"
    "end\n"
    "end\n"
    "return {text(now),text(newest),r,text(hard),text(soft),left}\n",
    ""
};


ngx_int_t
ngx_http_penstock_av_l2_look(ngx_http_penstock_av_ctx_t *ctx,
    ngx_http_penstock_redis_handler_pt handler)
{
    ngx_int_t    rc;
    ngx_str_t   *keys, lease, argv[3];
    ngx_uint_t   n;

    keys = ngx_palloc(ctx->request->pool,
                      (NGX_HTTP_PENSTOCK_L2_KEYS + 5) * sizeof(ngx_str_t));
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

    rc = ngx_http_penstock_av_lease_args(ctx, &keys[1], &lease, argv);

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (rc == NGX_OK) {
        keys[n++] = lease;
    }

    ngx_str_set(&keys[n], NGX_HTTP_PENSTOCK_TAG_TTL);

    keys[n + 1] = argv[0];
    keys[n + 2] = argv[1];
    keys[n + 3] = argv[2];

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
                                        n, n + 4, keys);
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


ngx_int_t
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
    uint64_t      clock, newest, hard, soft;
    ps_tag_t      tag;
    ps_record_t   record;
    ngx_uint_t    i, known;
    redisReply   *bulk;
    const char   *tags;

    ngx_str_null(raw);

    if (ctx->call.status != NGX_HTTP_PENSTOCK_REDIS_OK
        || reply->type != REDIS_REPLY_ARRAY || reply->elements != 6)
    {
        return NGX_OK;
    }

    clock = ngx_http_penstock_av_l2_number(reply->element[0]);
    newest = ngx_http_penstock_av_l2_number(reply->element[1]);

    if (clock == 0 || newest == 0) {
        return NGX_OK;
    }

    ngx_http_penstock_av_lease_reply(ctx, reply->element[5]);

    hard = ngx_http_penstock_av_l2_number(reply->element[3]);
    soft = ngx_http_penstock_av_l2_number(reply->element[4]);

    ctx->looked = 1;
    ctx->clock = clock;
    ctx->softened = 0;

    if (ctx->have) {

        if (newest >= ctx->record.clock) {
            ctx->valid = 0;
        }

        if (soft && soft >= ctx->record.clock) {
            ctx->soft = 1;
        }

        if (hard && hard >= ctx->record.clock) {
            ctx->have = 0;
            ctx->dropped = 1;
        }
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

    if (soft >= record.clock) {
        ctx->softened = (ctx->have && record.clock <= ctx->record.clock);
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


uint64_t
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
