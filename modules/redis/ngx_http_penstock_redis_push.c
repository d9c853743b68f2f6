
/*
 * Push: which worker holds the link, and what readers of shared memory see.
 *
 * Every worker looks every 100 ms whether the link is held.  The first that
 * finds it is not (no worker yet, its holder died or hangs) takes it.  After
 * a reload the new workers take it before the old ones are told to leave;
 * an old worker that still has requests then does not count the link as live,
 * since the new holder may write to other memory than its own.
 *
 * The holder writes what is shared, all others read it; nothing is locked.
 */

#include "ngx_http_penstock_redis_node.h"
#include "ngx_http_penstock_redis_link.h"
#include "ngx_http_penstock_redis_sentinel.h"


/* raise it when the layout of the state changes */

#define NGX_HTTP_PENSTOCK_REDIS_PUSH_LAYOUT  2

#define NGX_HTTP_PENSTOCK_REDIS_PUSH_TICK    100    /* ms */

/* a holder that showed no sign: then its pid is looked at, and then it is
   taken for one that hangs, ms */

#define NGX_HTTP_PENSTOCK_REDIS_PUSH_SIGN    250
#define NGX_HTTP_PENSTOCK_REDIS_PUSH_HANGS   2000


static ngx_int_t ngx_http_penstock_redis_push_create(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis);
static ngx_int_t ngx_http_penstock_redis_push_zone_init(ngx_shm_zone_t *zone,
    ngx_slab_pool_t *shpool, void *conf, void **data);
static uint64_t ngx_http_penstock_redis_push_gauge(void *data);
static ngx_uint_t ngx_http_penstock_redis_push_linked(
    ngx_http_penstock_redis_t *redis);
static ngx_uint_t ngx_http_penstock_redis_push_same(
    ngx_http_penstock_redis_t *redis,
    ngx_http_penstock_redis_push_state_t *state);
static void ngx_http_penstock_redis_push_tick(ngx_event_t *ev);
static ngx_uint_t ngx_http_penstock_redis_push_take(
    ngx_http_penstock_redis_push_t *push);


ngx_int_t
ngx_http_penstock_redis_push_add(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis, ngx_str_t *prefix,
    ngx_http_penstock_redis_push_pt handler, void *data)
{
    ngx_http_penstock_redis_watch_t  *watch;

    if (redis->push == NULL
        && ngx_http_penstock_redis_push_create(cf, redis) != NGX_OK)
    {
        return NGX_ERROR;
    }

    watch = ngx_array_push(&redis->push->watches);
    if (watch == NULL) {
        return NGX_ERROR;
    }

    watch->prefix = *prefix;
    watch->handler = handler;
    watch->data = data;

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_redis_push_create(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis)
{
    u_char                          *p;
    ngx_str_t                        name, labels;
    ngx_http_penstock_redis_push_t  *push;

    push = ngx_pcalloc(cf->pool, sizeof(ngx_http_penstock_redis_push_t));
    if (push == NULL) {
        return NGX_ERROR;
    }

    push->redis = redis;

    if (ngx_array_init(&push->watches, cf->pool, 4,
                       sizeof(ngx_http_penstock_redis_watch_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    /* no zone that a user defines has a space in its name */

    name.data = ngx_pnalloc(cf->pool, redis->name.len + sizeof("redis "));
    if (name.data == NULL) {
        return NGX_ERROR;
    }

    name.len = ngx_sprintf(name.data, "redis %V", &redis->name) - name.data;

    push->zone = ngx_http_penstock_zone_add(cf, &name, 8 * ngx_pagesize,
                                       &ngx_http_penstock_redis_module,
                                       NGX_HTTP_PENSTOCK_REDIS_PUSH_LAYOUT,
                                       ngx_http_penstock_redis_push_zone_init,
                                       push);
    if (push->zone == NULL) {
        return NGX_ERROR;
    }

    if (ngx_http_penstock_redis_counter(cf, redis,
                                        "penstock_redis_pushed_keys_total",
                                        "Keys that Redis said have changed",
                                        NULL, &push->keys)
        != NGX_OK
        || ngx_http_penstock_redis_counter(cf, redis,
                                        "penstock_redis_push_links_total",
                                        "Push links that were established",
                                        NULL, &push->links)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    p = ngx_pnalloc(cf->pool, redis->name.len + sizeof("redis=\"\""));
    if (p == NULL) {
        return NGX_ERROR;
    }

    labels.data = p;
    labels.len = ngx_sprintf(p, "redis=\"%V\"", &redis->name) - p;

    redis->push = push;

    return ngx_http_penstock_gauge(cf, "penstock_redis_push_live",
                                   "Whether Redis tells this host of changes",
                                   &labels,
                                   ngx_http_penstock_redis_push_gauge, redis);
}


static ngx_int_t
ngx_http_penstock_redis_push_zone_init(ngx_shm_zone_t *zone,
    ngx_slab_pool_t *shpool, void *conf, void **data)
{
    *data = ngx_slab_calloc(shpool,
                            sizeof(ngx_http_penstock_redis_push_state_t));

    return *data ? NGX_OK : NGX_ERROR;
}


/* the host's link, wherever this worker is */

static uint64_t
ngx_http_penstock_redis_push_gauge(void *data)
{
    ngx_http_penstock_redis_t  *redis = data;

    return ngx_http_penstock_redis_push_linked(redis);
}


ngx_uint_t
ngx_http_penstock_redis_push_live(ngx_http_penstock_redis_t *redis)
{
    return ngx_http_penstock_redis_push_linked(redis)
           && ngx_http_penstock_redis_push_same(redis,
                               ngx_http_penstock_zone_data(redis->push->zone));
}


static ngx_uint_t
ngx_http_penstock_redis_push_linked(ngx_http_penstock_redis_t *redis)
{
    ngx_msec_t                             alive;
    ngx_http_penstock_redis_push_t        *push;
    ngx_http_penstock_redis_push_state_t  *state;

    push = redis->push;

    if (push == NULL) {
        return 0;
    }

    state = ngx_http_penstock_zone_data(push->zone);
    alive = state->alive;

    /* our clock may be behind that of the holder */

    return alive && state->cycle == push->cycle
           && (ngx_msec_int_t) (ngx_current_msec - alive)
              < NGX_HTTP_PENSTOCK_REDIS_PUSH_LIVE;
}


uint64_t
ngx_http_penstock_redis_push_epoch(ngx_http_penstock_redis_t *redis)
{
    ngx_http_penstock_redis_push_state_t  *state;

    if (redis->push == NULL) {
        return 0;
    }

    state = ngx_http_penstock_zone_data(redis->push->zone);

    if (!ngx_http_penstock_redis_push_same(redis, state) && state->epoch) {

        /* what we read is not of the server that the link is to */

        return state->epoch - 1;
    }

    return state->epoch;
}


/*
 * Whether this worker's calls go to where the link is to.  During a failover
 * it may be ahead of the holder, or behind.
 */

static ngx_uint_t
ngx_http_penstock_redis_push_same(ngx_http_penstock_redis_t *redis,
    ngx_http_penstock_redis_push_state_t *state)
{
    return redis->sentinel == NULL || state->master == redis->sentinel->mark;
}


ngx_uint_t
ngx_http_penstock_redis_push_elsewhere(ngx_http_penstock_redis_t *redis)
{
    ngx_http_penstock_redis_push_state_t  *state;

    if (redis->push == NULL) {
        return 0;
    }

    state = ngx_http_penstock_zone_data(redis->push->zone);

    return state->master && state->master != redis->sentinel->mark;
}


void
ngx_http_penstock_redis_push_init(ngx_http_penstock_redis_t *redis)
{
    ngx_http_penstock_redis_push_state_t  *state;

    if (redis->push) {
        state = ngx_http_penstock_zone_data(redis->push->zone);
        redis->push->cycle = ngx_atomic_fetch_add(&state->cycles, 1) + 1;
    }
}


ngx_int_t
ngx_http_penstock_redis_push_start(ngx_http_penstock_redis_t *redis,
    ngx_cycle_t *cycle)
{
    ngx_http_penstock_redis_push_t  *push;

    push = redis->push;

    if (push == NULL) {
        return NGX_OK;
    }

    push->worker = cycle;
    push->ident = -1;

    push->tick.handler = ngx_http_penstock_redis_push_tick;
    push->tick.data = push;
    push->tick.log = cycle->log;
    push->tick.cancelable = 1;

    /* the first worker is a bit ahead of those that are born along with it */

    ngx_add_timer(&push->tick, 1 + 10 * (ngx_worker % 10));

    return NGX_OK;
}


void
ngx_http_penstock_redis_push_exit(ngx_http_penstock_redis_t *redis)
{
    if (redis->push && redis->push->worker) {
        ngx_http_penstock_redis_push_leave(redis->push);
        ngx_http_penstock_redis_links_exit(redis->push);
    }
}


static void
ngx_http_penstock_redis_push_tick(ngx_event_t *ev)
{
    ngx_http_penstock_redis_push_t        *push = ev->data;
    ngx_http_penstock_redis_push_state_t  *state;

    state = ngx_http_penstock_zone_data(push->zone);

    if (ngx_exiting) {
        ngx_http_penstock_redis_push_leave(push);
        return;
    }

    if (push->holds) {

        if (ngx_http_penstock_redis_push_mine(push)) {
            state->held = ngx_current_msec;
            ngx_http_penstock_redis_links_tick(push);

        } else {
            ngx_http_penstock_redis_push_leave(push);
        }

    } else if (ngx_http_penstock_redis_push_take(push)) {
        ngx_http_penstock_redis_links_tick(push);
    }

    if (!ev->timer_set) {
        ngx_add_timer(ev, NGX_HTTP_PENSTOCK_REDIS_PUSH_TICK);
    }
}


static ngx_uint_t
ngx_http_penstock_redis_push_take(ngx_http_penstock_redis_push_t *push)
{
    ngx_msec_int_t                         silent;
    ngx_atomic_uint_t                      pid;
    ngx_http_penstock_redis_push_state_t  *state;

    state = ngx_http_penstock_zone_data(push->zone);
    pid = state->pid;

    if (state->cycle > push->cycle) {

        /* ours is the older configuration */

        return 0;
    }

    if (pid && pid != (ngx_atomic_uint_t) ngx_pid
        && state->cycle == push->cycle)
    {
        silent = ngx_http_penstock_age(state->held);

        if (silent < NGX_HTTP_PENSTOCK_REDIS_PUSH_SIGN) {
            return 0;
        }

        if (silent < NGX_HTTP_PENSTOCK_REDIS_PUSH_HANGS
            && (kill((ngx_pid_t) pid, 0) == 0 || ngx_errno != NGX_ESRCH))
        {
            return 0;
        }
    }

    if (!ngx_atomic_cmp_set(&state->pid, pid, ngx_pid)) {
        return 0;
    }

    state->alive = 0;
    state->held = ngx_current_msec;
    state->cycle = push->cycle;

    push->holds = 1;

    return 1;
}


ngx_uint_t
ngx_http_penstock_redis_push_mine(ngx_http_penstock_redis_push_t *push)
{
    ngx_http_penstock_redis_push_state_t  *state;

    state = ngx_http_penstock_zone_data(push->zone);

    return push->holds && state->pid == (ngx_atomic_uint_t) ngx_pid
           && state->cycle == push->cycle;
}


void
ngx_http_penstock_redis_push_leave(ngx_http_penstock_redis_push_t *push)
{
    ngx_http_penstock_redis_push_state_t  *state;

    if (!push->holds) {
        return;
    }

    state = ngx_http_penstock_zone_data(push->zone);

    if (ngx_http_penstock_redis_push_mine(push)) {
        state->alive = 0;
    }

    push->holds = 0;

    (void) ngx_atomic_cmp_set(&state->pid, ngx_pid, 0);

    ngx_http_penstock_redis_links_close(push);
}
