
/*
 * A dictionary in a zone: a hash table over the slab, least recently used
 * goes first.
 *
 * The head and the buckets lie behind the slab's reach: a reset runs
 * ngx_slab_init() again and they stay where every process knows them.
 * Everything is guarded by shpool->mutex, the one lock that nginx releases
 * when its holder dies; "dirty" says that the holder had not finished.
 */

#include "ngx_http_penstock.h"
#include "ngx_http_penstock_metrics.h"
#include "ps_siphash.h"


/* bytes of zone for a bucket; the smallest entry takes 128 */

#define NGX_HTTP_PENSTOCK_DICT_BUCKET   256

/*
 * Evictions for one insert: some, and for each page of it as many as a page
 * holds of the smallest, but never more than takes half a millisecond.
 */

#define NGX_HTTP_PENSTOCK_DICT_EVICT        256
#define NGX_HTTP_PENSTOCK_DICT_EVICT_PAGE   32
#define NGX_HTTP_PENSTOCK_DICT_EVICT_MAX    2048


struct ngx_http_penstock_dict_s {
    ngx_http_penstock_dict_node_t  **buckets;
    ngx_uint_t                       nbuckets;   /* a power of two */
    ngx_uint_t                       shift;
    uint64_t                         secret;
    ps_siphash_key_t                 text_key;
    ngx_queue_t                      lru;        /* head: most recent */
    ngx_slab_pool_t                 *shpool;

    volatile ngx_uint_t              dirty;
    ngx_uint_t                       was_reset;

    /* read without the lock, by relaxed atomics */

    uint64_t                         entries;
    uint64_t                         evictions;
};


static ngx_int_t ngx_http_penstock_dict_init(ngx_shm_zone_t *zone,
    ngx_slab_pool_t *shpool, void *conf, void **data);
static void ngx_http_penstock_dict_reset(ngx_http_penstock_dict_t *dict);
static ngx_http_penstock_dict_node_t **ngx_http_penstock_dict_bucket(
    ngx_http_penstock_dict_t *dict, const u_char *key);


ngx_shm_zone_t *
ngx_http_penstock_dict_add(ngx_conf_t *cf, ngx_str_t *name, ssize_t size,
    ngx_module_t *tag, ngx_uint_t layout, void *conf)
{
    return ngx_http_penstock_zone_add(cf, name, size, tag, layout,
                                      ngx_http_penstock_dict_init, conf);
}


ngx_http_penstock_dict_t *
ngx_http_penstock_dict(ngx_shm_zone_t *zone)
{
    return ngx_http_penstock_zone_data(zone);
}


void
ngx_http_penstock_dict_key(ngx_http_penstock_dict_t *dict, ngx_str_t *text,
    u_char key[NGX_HTTP_PENSTOCK_KEY_LEN])
{
    uint64_t  hash[NGX_HTTP_PENSTOCK_KEY_LEN / sizeof(uint64_t)];

    ngx_memzero(hash, sizeof(hash));
    ps_siphash128(&dict->text_key, text->data, text->len, hash);

    ngx_memcpy(key, hash, NGX_HTTP_PENSTOCK_KEY_LEN);
}


void
ngx_http_penstock_dict_lock(ngx_http_penstock_dict_t *dict)
{
    ngx_shmtx_lock(&dict->shpool->mutex);

    if (dict->dirty) {
        ngx_http_penstock_dict_reset(dict);
    }

    dict->dirty = 1;
    ngx_memory_barrier();

    ngx_http_penstock_kill_point("dict-locked");
}


void
ngx_http_penstock_dict_unlock(ngx_http_penstock_dict_t *dict)
{
    ngx_uint_t  was_reset;

    was_reset = dict->was_reset;
    dict->was_reset = 0;

    ngx_http_penstock_kill_point("dict-unlocking");

    ngx_memory_barrier();
    dict->dirty = 0;

    ngx_shmtx_unlock(&dict->shpool->mutex);

    if (was_reset) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "a worker process died while it wrote%s, "
                      "which was emptied", dict->shpool->log_ctx);
    }
}


ngx_http_penstock_dict_node_t *
ngx_http_penstock_dict_find(ngx_http_penstock_dict_t *dict, const u_char *key)
{
    ngx_http_penstock_dict_node_t  *node;

    node = *ngx_http_penstock_dict_bucket(dict, key);

    for ( /* void */ ; node; node = node->next) {

        if (ngx_memcmp(node->key, key, NGX_HTTP_PENSTOCK_KEY_LEN) != 0) {
            continue;
        }

        if (ngx_queue_head(&dict->lru) != &node->lru) {
            ngx_queue_remove(&node->lru);
            ngx_queue_insert_head(&dict->lru, &node->lru);
        }

        return node;
    }

    return NULL;
}


ngx_http_penstock_dict_node_t *
ngx_http_penstock_dict_insert(ngx_http_penstock_dict_t *dict,
    const u_char *key, size_t size)
{
    size_t                           len;
    ngx_uint_t                       n;
    ngx_queue_t                     *q;
    ngx_slab_pool_t                 *shpool;
    ngx_http_penstock_dict_node_t   *node, **bucket;

    shpool = dict->shpool;

    node = ngx_http_penstock_dict_find(dict, key);
    if (node) {
        ngx_http_penstock_dict_delete(dict, node);
    }

    /* what could not even fit into an empty zone costs nobody's entry */

    len = offsetof(ngx_http_penstock_dict_node_t, data);

    if (size > (size_t) (shpool->last - shpool->pages) * ngx_pagesize - len) {
        return NULL;
    }

    len += ngx_max(size, sizeof(uint64_t));

    n = NGX_HTTP_PENSTOCK_DICT_EVICT
        + NGX_HTTP_PENSTOCK_DICT_EVICT_PAGE * (len / ngx_pagesize);
    n = ngx_min(n, NGX_HTTP_PENSTOCK_DICT_EVICT_MAX);

    for ( ;; ) {
        node = ngx_slab_alloc_locked(shpool, len);

        if (node || n-- == 0 || ngx_queue_empty(&dict->lru)) {
            break;
        }

        q = ngx_queue_last(&dict->lru);

        ngx_http_penstock_dict_delete(dict,
               ngx_queue_data(q, ngx_http_penstock_dict_node_t, lru));

        __atomic_store_n(&dict->evictions, dict->evictions + 1,
                         __ATOMIC_RELAXED);
    }

    if (node == NULL) {
        return NULL;
    }

    ngx_http_penstock_kill_point("dict-allocated");

    ngx_memcpy(node->key, key, NGX_HTTP_PENSTOCK_KEY_LEN);
    node->size = size;

    bucket = ngx_http_penstock_dict_bucket(dict, key);
    node->next = *bucket;
    *bucket = node;

    ngx_http_penstock_kill_point("dict-linked");

    ngx_queue_insert_head(&dict->lru, &node->lru);

    __atomic_store_n(&dict->entries, dict->entries + 1, __ATOMIC_RELAXED);

    return node;
}


void
ngx_http_penstock_dict_delete(ngx_http_penstock_dict_t *dict,
    ngx_http_penstock_dict_node_t *node)
{
    ngx_http_penstock_dict_node_t  **p;

    p = ngx_http_penstock_dict_bucket(dict, node->key);

    while (*p != node) {
        p = &(*p)->next;
    }

    *p = node->next;

    ngx_http_penstock_kill_point("dict-unlinked");

    ngx_queue_remove(&node->lru);
    ngx_slab_free_locked(dict->shpool, node);

    __atomic_store_n(&dict->entries, dict->entries - 1, __ATOMIC_RELAXED);
}


uint64_t
ngx_http_penstock_dict_entries(void *dict_zone)
{
    ngx_http_penstock_dict_t  *dict;

    dict = ngx_http_penstock_zone_data(dict_zone);

    return __atomic_load_n(&dict->entries, __ATOMIC_RELAXED);
}


uint64_t
ngx_http_penstock_dict_evictions(void *dict_zone)
{
    ngx_http_penstock_dict_t  *dict;

    dict = ngx_http_penstock_zone_data(dict_zone);

    return __atomic_load_n(&dict->evictions, __ATOMIC_RELAXED);
}


static ngx_int_t
ngx_http_penstock_dict_init(ngx_shm_zone_t *zone, ngx_slab_pool_t *shpool,
    void *conf, void **data)
{
    ngx_uint_t                 n, shift;
    ngx_http_penstock_dict_t  *dict;

    n = 64;
    shift = 64 - 6;

    while (n <= zone->shm.size / NGX_HTTP_PENSTOCK_DICT_BUCKET / 2) {
        n *= 2;
        shift--;
    }

    dict = ngx_http_penstock_zone_reserve(shpool,
               ngx_align(sizeof(ngx_http_penstock_dict_t), ngx_cacheline_size)
               + n * sizeof(ngx_http_penstock_dict_node_t *));
    if (dict == NULL) {
        return NGX_ERROR;
    }

    dict->buckets = (ngx_http_penstock_dict_node_t **)
                        ((u_char *) dict
                         + ngx_align(sizeof(ngx_http_penstock_dict_t),
                                     ngx_cacheline_size));
    dict->nbuckets = n;
    dict->shift = shift;
    dict->shpool = shpool;

    if (ngx_http_penstock_random((u_char *) &dict->secret, sizeof(uint64_t))
        != NGX_OK
        || ngx_http_penstock_random((u_char *) &dict->text_key,
                                    sizeof(ps_siphash_key_t))
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    dict->secret |= 1;

    ngx_queue_init(&dict->lru);

    /* a full zone is its normal state */
    shpool->log_nomem = 0;

    *data = dict;

    return NGX_OK;
}


/*
 * After a worker died inside: nothing of the slab or the table can be
 * trusted.  The mutex, in the head of the slab pool, is not touched, so that
 * those who wait for it go on waiting.
 */

static void
ngx_http_penstock_dict_reset(ngx_http_penstock_dict_t *dict)
{
    u_char           *log_ctx;
    ngx_slab_pool_t  *shpool;

    shpool = dict->shpool;
    log_ctx = shpool->log_ctx;

    ngx_slab_init(shpool);

    shpool->log_ctx = log_ctx;
    shpool->log_nomem = 0;

    ngx_memzero(dict->buckets,
                dict->nbuckets * sizeof(ngx_http_penstock_dict_node_t *));
    ngx_queue_init(&dict->lru);

    __atomic_store_n(&dict->entries, 0, __ATOMIC_RELAXED);
    dict->was_reset = 1;
}


/*
 * Keys are digests, but who chooses what is digested can search for keys
 * with equal first bits; multiplied by a number that only the zone knows,
 * they still spread over the buckets.
 */

static ngx_http_penstock_dict_node_t **
ngx_http_penstock_dict_bucket(ngx_http_penstock_dict_t *dict,
    const u_char *key)
{
    uint64_t  hash;

    ngx_memcpy(&hash, key, sizeof(uint64_t));

    return &dict->buckets[(hash * dict->secret) >> dict->shift];
}
