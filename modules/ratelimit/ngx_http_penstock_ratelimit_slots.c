
/*
 * Slots on this host: counts in the zone, under its mutex.  A slot is always
 * counted here, also if Redis decides: so the host goes on from what is true
 * when Redis fails, and tells it all it holds when it is back.
 */

#include "ngx_http_penstock_ratelimit_slots_private.h"


/* of the zone; a change makes a reload start with a new one */

#define NGX_HTTP_PENSTOCK_RATELIMIT_SLOTS_LAYOUT  101

/* ms between two looks for workers that died */

#define NGX_HTTP_PENSTOCK_RATELIMIT_SLOTS_LOOK  50

/* random bytes, which are shown in hexadecimal */

#define NGX_HTTP_PENSTOCK_RATELIMIT_ID                                        \
    (NGX_HTTP_PENSTOCK_RATELIMIT_HOST_LEN / 2)


static ngx_int_t ngx_http_penstock_ratelimit_slots_init(ngx_shm_zone_t *zone,
    ngx_slab_pool_t *shpool, void *conf, void **data);
static ngx_int_t ngx_http_penstock_ratelimit_slot_count(
    ngx_http_penstock_ratelimit_slot_t *slot,
    ngx_http_penstock_ratelimit_shared_t *shared,
    ngx_http_penstock_ratelimit_snapshot_t *snapshot);
static ngx_int_t ngx_http_penstock_ratelimit_slot_hold(
    ngx_http_penstock_ratelimit_slot_t *slot);
static void ngx_http_penstock_ratelimit_slot_uncount(
    ngx_http_penstock_ratelimit_slot_t *slot);
static ngx_int_t ngx_http_penstock_ratelimit_slot_fallback(
    ngx_http_penstock_ratelimit_slot_t *slot);
static void ngx_http_penstock_ratelimit_slot_cleanup(void *data);
static uint64_t ngx_http_penstock_ratelimit_slots_owner(void);
static int ngx_http_penstock_ratelimit_slots_alive(uint64_t owner);


ngx_int_t
ngx_http_penstock_ratelimit_slots_add(ngx_conf_t *cf,
    ngx_http_penstock_ratelimit_slots_t *slots, ngx_str_t *name, ssize_t size,
    ngx_module_t *tag, void *conf)
{
    slots->name = *name;

    slots->shm_zone = ngx_http_penstock_zone_add(cf, name, size, tag,
                                   NGX_HTTP_PENSTOCK_RATELIMIT_SLOTS_LAYOUT,
                                   ngx_http_penstock_ratelimit_slots_init,
                                   conf);

    return slots->shm_zone ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_http_penstock_ratelimit_slots_init(ngx_shm_zone_t *zone,
    ngx_slab_pool_t *shpool, void *conf, void **data)
{
    void                                  *mem;
    size_t                                 size;
    u_char                                 seed[PS_SIPHASH_KEY_LEN];
    u_char                                 id[NGX_HTTP_PENSTOCK_RATELIMIT_ID];
    ngx_http_penstock_ratelimit_shared_t  *shared;

    shared = ngx_slab_calloc(shpool,
                             sizeof(ngx_http_penstock_ratelimit_shared_t));
    if (shared == NULL || shpool->pfree < 2) {
        return NGX_ERROR;
    }

    size = (shpool->pfree - 1) * ngx_pagesize;

    mem = ngx_slab_alloc(shpool, size);

    if (mem == NULL
        || ngx_http_penstock_random(seed, sizeof(seed)) != NGX_OK
        || ngx_http_penstock_random(id, sizeof(id)) != NGX_OK)
    {
        return NGX_ERROR;
    }

    (void) ngx_hex_dump(shared->host, id, sizeof(id));

    shared->shpool = shpool;
    shared->counts = ps_slots_init(mem, size, seed);

    ngx_explicit_memzero(seed, sizeof(seed));

    *data = shared;

    return shared->counts ? NGX_OK : NGX_ERROR;
}


ngx_int_t
ngx_http_penstock_ratelimit_slot_acquire(
    ngx_http_penstock_ratelimit_slot_t *slot)
{
    ngx_int_t                                rc;
    ngx_pool_cleanup_t                      *cln;
    ngx_http_penstock_ratelimit_shared_t    *shared;
    ngx_http_penstock_ratelimit_snapshot_t   snapshot;

    if (!slot->cleanup) {
        cln = ngx_pool_cleanup_add(slot->request->pool, 0);
        if (cln == NULL) {
            slot->rc = NGX_ERROR;
            return NGX_ERROR;
        }

        cln->handler = ngx_http_penstock_ratelimit_slot_cleanup;
        cln->data = slot;
        slot->cleanup = 1;
    }

    shared = ngx_http_penstock_zone_data(slot->slots->shm_zone);

    slot->fallback = 0;
    slot->name.len = 0;
    slot->hash = ps_slots_hash(shared->counts, slot->key.data, slot->key.len);

    rc = ngx_http_penstock_ratelimit_slot_count(slot, shared, &snapshot);

    if (rc == NGX_ERROR) {
        ngx_log_error(NGX_LOG_ERR, slot->request->connection->log, 0,
                      "no room for another key in zone \"%V\", make it "
                      "larger", &slot->slots->name);
    }

    if (rc == NGX_OK && slot->slots->redis) {

        switch (ngx_http_penstock_ratelimit_slots_ask(slot, &snapshot)) {

        case NGX_OK:
            slot->pending = 1;
            rc = NGX_AGAIN;
            break;

        case NGX_DECLINED:
            rc = ngx_http_penstock_ratelimit_slot_fallback(slot);
            break;

        default:
            ngx_http_penstock_ratelimit_slot_uncount(slot);
            rc = NGX_ERROR;
        }

    } else if (rc == NGX_OK) {
        rc = ngx_http_penstock_ratelimit_slot_hold(slot);
    }

    slot->rc = rc;

    return rc;
}


/*
 * Counts one more unless this host alone is over the limit then: it is not
 * for Redis to say that again.
 */

static ngx_int_t
ngx_http_penstock_ratelimit_slot_count(
    ngx_http_penstock_ratelimit_slot_t *slot,
    ngx_http_penstock_ratelimit_shared_t *shared,
    ngx_http_penstock_ratelimit_snapshot_t *snapshot)
{
    int                                   fits, dead;
    uint64_t                              owner;
    ngx_int_t                             rc;
    ngx_http_penstock_ratelimit_slots_t  *slots;
    static ngx_msec_t                     looked;

    slots = slot->slots;
    owner = ngx_http_penstock_ratelimit_slots_owner();
    fits = 0;
    rc = NGX_DECLINED;

    ngx_shmtx_lock(&shared->shpool->mutex);

    for (dead = 0; /* void */ ; dead = 1) {

        if (ps_slots_add(shared->counts, slot->hash, owner, slot->kind) == 0) {
            ps_slots_use(shared->counts, slot->hash, snapshot->use);

            fits = ps_slots_fit(snapshot->use, slot->kind, slot->limit,
                                slot->reserved)
                   || (slots->redis
                       && slots->fallback == NGX_HTTP_PENSTOCK_RATELIMIT_ALLOW
                       && !ngx_http_penstock_redis_up(slots->redis));

            slot->in_use = snapshot->use[0] + snapshot->use[1];

            if (fits) {
                ngx_http_penstock_kill_point("slots-counted");

                snapshot->seq = ++shared->seq;
                rc = NGX_OK;
                break;
            }

            ps_slots_remove(shared->counts, slot->hash, owner, slot->kind);
            slot->in_use--;
            rc = NGX_DECLINED;

        } else {
            rc = NGX_ERROR;
        }

        if (dead
            || ngx_current_msec - looked
               < NGX_HTTP_PENSTOCK_RATELIMIT_SLOTS_LOOK)
        {
            break;
        }

        looked = ngx_current_msec;

        if (ps_slots_reap(shared->counts, slot->hash,
                          ngx_http_penstock_ratelimit_slots_alive)
            == 0)
        {
            break;
        }
    }

    ngx_shmtx_unlock(&shared->shpool->mutex);

    return rc;
}


static ngx_int_t
ngx_http_penstock_ratelimit_slot_hold(ngx_http_penstock_ratelimit_slot_t *slot)
{
    slot->held = 1;

    if (slot->slots->redis) {
        (void) ngx_http_penstock_ratelimit_slots_keep(slot);
    }

    return NGX_OK;
}


static void
ngx_http_penstock_ratelimit_slot_uncount(
    ngx_http_penstock_ratelimit_slot_t *slot)
{
    ngx_http_penstock_ratelimit_shared_t  *shared;

    shared = ngx_http_penstock_zone_data(slot->slots->shm_zone);

    ngx_shmtx_lock(&shared->shpool->mutex);

    ps_slots_remove(shared->counts, slot->hash,
                    ngx_http_penstock_ratelimit_slots_owner(), slot->kind);

    ngx_shmtx_unlock(&shared->shpool->mutex);

    (void) ngx_atomic_fetch_add(&shared->released, 1);
}


static ngx_int_t
ngx_http_penstock_ratelimit_slot_fallback(
    ngx_http_penstock_ratelimit_slot_t *slot)
{
    slot->fallback = 1;

    if (slot->slots->fallback == NGX_HTTP_PENSTOCK_RATELIMIT_DENY) {
        ngx_http_penstock_ratelimit_slot_uncount(slot);
        return NGX_DECLINED;
    }

    /* this host's limit was kept to when the slot was counted */

    return ngx_http_penstock_ratelimit_slot_hold(slot);
}


void
ngx_http_penstock_ratelimit_slot_answered(
    ngx_http_penstock_ratelimit_slot_t *slot, ngx_int_t rc)
{
    slot->pending = 0;

    switch (rc) {

    case NGX_OK:
        slot->rc = ngx_http_penstock_ratelimit_slot_hold(slot);
        break;

    case NGX_DECLINED:
        ngx_http_penstock_ratelimit_slot_uncount(slot);
        slot->rc = NGX_DECLINED;
        break;

    default:
        slot->rc = ngx_http_penstock_ratelimit_slot_fallback(slot);
    }

    slot->handler(slot);
}


void
ngx_http_penstock_ratelimit_slot_release(
    ngx_http_penstock_ratelimit_slot_t *slot)
{
    if (slot->pending) {
        ngx_http_penstock_redis_cancel(&slot->call);

    } else if (!slot->held) {
        return;
    }

    slot->pending = 0;
    slot->held = 0;

    ngx_http_penstock_ratelimit_slot_uncount(slot);

    if (slot->slots->redis) {
        ngx_http_penstock_ratelimit_slots_gone(slot);
    }
}


static void
ngx_http_penstock_ratelimit_slot_cleanup(void *data)
{
    ngx_http_penstock_ratelimit_slot_release(data);
}


ngx_atomic_t *
ngx_http_penstock_ratelimit_slots_released(
    ngx_http_penstock_ratelimit_slots_t *slots)
{
    ngx_http_penstock_ratelimit_shared_t  *shared;

    shared = ngx_http_penstock_zone_data(slots->shm_zone);

    return &shared->released;
}


void
ngx_http_penstock_ratelimit_slots_use(
    ngx_http_penstock_ratelimit_slots_t *slots, ngx_str_t *key,
    uint64_t use[2])
{
    uint64_t                               hash;
    ngx_http_penstock_ratelimit_shared_t  *shared;

    shared = ngx_http_penstock_zone_data(slots->shm_zone);

    hash = ps_slots_hash(shared->counts, key->data, key->len);

    ngx_shmtx_lock(&shared->shpool->mutex);
    ps_slots_use(shared->counts, hash, use);
    ngx_shmtx_unlock(&shared->shpool->mutex);
}


void
ngx_http_penstock_ratelimit_slots_snapshot(
    ngx_http_penstock_ratelimit_slots_t *slots, uint64_t hash,
    ngx_http_penstock_ratelimit_snapshot_t *snapshot)
{
    ngx_http_penstock_ratelimit_shared_t  *shared;

    shared = ngx_http_penstock_zone_data(slots->shm_zone);

    ngx_shmtx_lock(&shared->shpool->mutex);

    ps_slots_use(shared->counts, hash, snapshot->use);
    snapshot->seq = ++shared->seq;

    ngx_shmtx_unlock(&shared->shpool->mutex);
}


/*
 * This process, by its pid and the time of its first use: a pid that comes
 * again is not the same.
 */

static uint64_t
ngx_http_penstock_ratelimit_slots_owner(void)
{
    static uint64_t  owner;

    if (owner == 0) {
        owner = ((uint64_t) ngx_pid << 32) | (uint32_t) ngx_current_msec;
    }

    return owner;
}


static int
ngx_http_penstock_ratelimit_slots_alive(uint64_t owner)
{
    if ((owner >> 32) == (uint64_t) ngx_pid) {
        return owner == ngx_http_penstock_ratelimit_slots_owner();
    }

    return kill((pid_t) (owner >> 32), 0) == 0 || ngx_errno != ESRCH;
}
