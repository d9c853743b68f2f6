
/*
 * Invalidations: here at once, and in Redis for all hosts.
 *
 * One that Redis did not get is made up for by voiding the whole zone there
 * as soon as it can be reached: the others could not be told what it was.
 */

#include "ngx_http_penstock_availability.h"
#include "ngx_http_penstock_availability_lua.h"


/* between tries to make up for what was lost, ms */

#define NGX_HTTP_PENSTOCK_L2_MEND  500

/* what was confirmed so long before has reached the replicas, ms */

#define NGX_HTTP_PENSTOCK_L2_KEPT  60000


typedef struct {
    ngx_http_penstock_redis_call_t    call;
    ngx_http_penstock_av_zone_t      *zone;
    ngx_http_penstock_av_waiter_t    *waiter;
    ngx_http_penstock_av_mode_e       mode;
    ngx_uint_t                        n;          /* 0: everything */
    uint64_t                          hashes[1];  /* of the tags */
} ngx_http_penstock_av_bump_t;


static void ngx_http_penstock_av_l2_bumped(
    ngx_http_penstock_redis_call_t *call, redisReply *reply);
static void ngx_http_penstock_av_l2_waiter_gone(void *data);
static void ngx_http_penstock_av_l2_lose(ngx_http_penstock_av_zone_t *zone,
    ngx_http_penstock_av_mode_e mode);
static void ngx_http_penstock_av_l2_mend_handler(ngx_event_t *ev);


/* KEYS: zone, tags or the epoch; ARGV: ms to keep them, or 0; and what is to
   be left of what they cover.  A later void does not undo a hard purge. */

static ngx_http_penstock_redis_script_t  ngx_http_penstock_av_bump_script = {
    NGX_HTTP_PENSTOCK_AV_LUA
    "for i=2,#KEYS do\n"
    "local a,h,s=times(KEYS[i],ARGV[1])\n"
    "if ARGV[2]=='soft' then s=now else a=now end\n"
    "if ARGV[2]=='hard' then h=now end\n"
    "if s<=a then s=0 end\n"
    "local v=text(a)\n"
    "if h>0 or s>0 then v=v..','..text(h)..','..text(s) end\n"
    "set(KEYS[i],v,ARGV[1])\n"
    "end\n"
    "redis.call('HSET',KEYS[1],'clock',text(now))\n"
    "return text(now)\n",
    ""
};


/*
 * The call to Redis outlives the request that made it: if Redis does not
 * confirm it, other hosts must not trust what they hold, so the whole zone
 * is invalidated as soon as Redis is back.
 */

void
ngx_http_penstock_av_invalidate(ngx_http_penstock_av_zone_t *zone,
    ngx_http_penstock_av_mode_e mode, ps_tags_t *tags,
    ngx_http_penstock_av_waiter_t *waiter, ngx_pool_t *pool)
{
    ngx_str_t                    *argv;
    ngx_uint_t                    i, n, nkeys;
    ngx_pool_cleanup_t           *cln;
    ngx_http_penstock_av_bump_t  *bump;

    n = tags ? tags->n : 0;
    cln = NULL;

    argv = ngx_palloc(pool, (n + 4) * sizeof(ngx_str_t));
    bump = ngx_calloc(sizeof(ngx_http_penstock_av_bump_t)
                      + n * sizeof(uint64_t), ngx_cycle->log);

    if (argv == NULL || bump == NULL) {
        ngx_http_penstock_av_bump(zone, mode, NULL, 0);
        goto lost;
    }

    bump->zone = zone;
    bump->mode = mode;
    bump->n = n;

    for (i = 0; i < n; i++) {
        bump->hashes[i] = tags->tag[i].hash;
    }

    ngx_http_penstock_av_bump(zone, mode, bump->hashes, n);

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

    switch (mode) {

    case NGX_HTTP_PENSTOCK_AV_SOFT:
        ngx_str_set(&argv[nkeys + 1], "soft");
        break;

    case NGX_HTTP_PENSTOCK_AV_HARD:
        ngx_str_set(&argv[nkeys + 1], "hard");
        break;

    default: /* NGX_HTTP_PENSTOCK_AV_VOID */
        ngx_str_set(&argv[nkeys + 1], "void");
        break;
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
                                     nkeys, nkeys + 2, argv)
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
        ngx_http_penstock_av_l2_lose(zone, mode);
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
        ngx_http_penstock_av_l2_lose(bump->zone, bump->mode);

    } else {
        bump->zone->kept = ngx_max(ngx_current_msec, 1);

        if (bump->n == 0
            && ngx_atomic_cmp_set(&table->lost, ngx_pid, 0)
            && bump->mode == NGX_HTTP_PENSTOCK_AV_HARD)
        {
            table->lost_hard = 0;
        }
    }

    /*
     * Until Redis had it, another worker may have taken from there what was
     * void already, as if that were new.
     */

    ngx_http_penstock_av_bump(bump->zone, bump->mode, bump->hashes, bump->n);

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


/*
 * Replicas are behind, if by little, and a master that is given up is heard
 * for a while: what this worker had it confirm then is as good as lost.  What
 * a worker did that is no more nobody knows.
 */

void
ngx_http_penstock_av_l2_moved(void *data, ngx_uint_t own)
{
    ngx_http_penstock_av_zone_t  *zone = data;

    if (!own
        || (zone->kept
            && ngx_current_msec - zone->kept < NGX_HTTP_PENSTOCK_L2_KEPT))
    {
        ngx_http_penstock_av_l2_lose(zone, NGX_HTTP_PENSTOCK_AV_VOID);
    }
}


static void
ngx_http_penstock_av_l2_lose(ngx_http_penstock_av_zone_t *zone,
    ngx_http_penstock_av_mode_e mode)
{
    ngx_http_penstock_tag_table_t  *table;

    table = ngx_http_penstock_av_tag_table(zone);

    if (mode == NGX_HTTP_PENSTOCK_AV_HARD) {
        table->lost_hard = 1;
    }

    table->lost = 1;

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


ngx_uint_t
ngx_http_penstock_av_l2_lost(ngx_http_penstock_av_zone_t *zone)
{
    ngx_pool_t                     *pool;
    ngx_atomic_uint_t               lost;
    ngx_http_penstock_av_mode_e     mode;
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

    mode = table->lost_hard ? NGX_HTTP_PENSTOCK_AV_HARD
                            : NGX_HTTP_PENSTOCK_AV_VOID;

    pool = ngx_create_pool(256, ngx_cycle->log);
    if (pool == NULL) {
        ngx_http_penstock_av_l2_lose(zone, mode);
        return 1;
    }

    /* it says "lost" again when this fails too */

    ngx_http_penstock_av_invalidate(zone, mode, NULL, NULL, pool);

    ngx_destroy_pool(pool);

    return 1;
}
