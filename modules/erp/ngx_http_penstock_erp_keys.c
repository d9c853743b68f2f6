
/*
 * Idempotency keys in shared memory.
 *
 * A record is made whole before it is linked, its answer before its state
 * says so, and one that has run out is unlinked before it is freed: whatever
 * a worker's death leaves is valid.  Only a death inside of the allocator
 * is not; after one nothing new is taken in until nginx is restarted, as a
 * key that can't be kept must not be let through.
 *
 * Nothing is evicted: a full zone refuses new keys until others run out.
 */

#include "ngx_http_penstock_erp.h"


#define NGX_HTTP_PENSTOCK_ERP_BUCKET   512       /* bytes of zone for one */
#define NGX_HTTP_PENSTOCK_ERP_SWEEP    2         /* buckets for a new key */
#define NGX_HTTP_PENSTOCK_ERP_SEARCH   1024      /* buckets when it is full */


typedef struct {
    size_t                               size;
    u_char                               data[1];
} ngx_http_penstock_erp_kept_t;


typedef struct ngx_http_penstock_erp_record_s
    ngx_http_penstock_erp_record_t;

struct ngx_http_penstock_erp_record_s {
    ngx_http_penstock_erp_record_t      *next;
    u_char                               key[NGX_HTTP_PENSTOCK_KEY_LEN];
    u_char                               print[NGX_HTTP_PENSTOCK_KEY_LEN];
    u_char                               owner[NGX_HTTP_PENSTOCK_ERP_OWNER];
    ngx_msec_t                           until;      /* of the lease */
    ngx_msec_t                           since;      /* unknown, or 0 */
    ngx_msec_t                           expires;
    ngx_uint_t                           state;      /* outcome; or held */
    ngx_http_penstock_erp_kept_t        *answer;
};


#define NGX_HTTP_PENSTOCK_ERP_HELD     (NGX_HTTP_PENSTOCK_ERP_UNDO + 1)


typedef struct {
    ngx_slab_pool_t                     *shpool;
    ngx_http_penstock_erp_record_t     **buckets;
    ngx_uint_t                           nbuckets;
    ngx_uint_t                           sweep;
    ngx_atomic_t                         entries;
    volatile ngx_uint_t                  allocating;
} ngx_http_penstock_erp_table_t;


static ngx_http_penstock_erp_record_t **ngx_http_penstock_erp_bucket(
    ngx_http_penstock_erp_table_t *table, const u_char *key);
static ngx_http_penstock_erp_record_t *ngx_http_penstock_erp_find(
    ngx_http_penstock_erp_table_t *table, const u_char *key);
static void ngx_http_penstock_erp_hold(ngx_http_penstock_erp_record_t *rec,
    ngx_http_penstock_erp_claim_t *claim);
static void *ngx_http_penstock_erp_alloc(
    ngx_http_penstock_erp_table_t *table, size_t size);
static void *ngx_http_penstock_erp_try_alloc(
    ngx_http_penstock_erp_table_t *table, size_t size);
static void ngx_http_penstock_erp_free(ngx_http_penstock_erp_table_t *table,
    void *p);
static void ngx_http_penstock_erp_sweep(ngx_http_penstock_erp_table_t *table,
    ngx_uint_t n);


ngx_int_t
ngx_http_penstock_erp_keys_init(ngx_shm_zone_t *zone,
    ngx_slab_pool_t *shpool, void *conf, void **data)
{
    ngx_http_penstock_erp_table_t  *table;

    table = ngx_slab_calloc(shpool, sizeof(ngx_http_penstock_erp_table_t));
    if (table == NULL) {
        return NGX_ERROR;
    }

    table->shpool = shpool;
    table->nbuckets = ngx_max(zone->shm.size / NGX_HTTP_PENSTOCK_ERP_BUCKET,
                              1);

    table->buckets = ngx_slab_calloc(shpool,
                      table->nbuckets
                      * sizeof(ngx_http_penstock_erp_record_t *));
    if (table->buckets == NULL) {
        return NGX_ERROR;
    }

    /* a full zone is our own business */

    shpool->log_nomem = 0;

    *data = table;

    return NGX_OK;
}


void
ngx_http_penstock_erp_keys_claim(ngx_http_penstock_erp_claim_t *claim,
    ngx_http_penstock_erp_claim_e how)
{
    size_t                            size;
    ngx_msec_t                        now;
    ngx_http_penstock_erp_table_t    *table;
    ngx_http_penstock_erp_record_t   *rec, **bucket;

    table = ngx_http_penstock_zone_data(claim->keys->shm_zone);
    now = ngx_current_msec;
    size = 0;

    claim->answer.len = 0;
    claim->verdict = NGX_HTTP_PENSTOCK_ERP_UNAVAILABLE;

    ngx_shmtx_lock(&table->shpool->mutex);

    rec = ngx_http_penstock_erp_find(table, claim->key);

    if (rec == NULL) {

        ngx_http_penstock_erp_sweep(table, NGX_HTTP_PENSTOCK_ERP_SWEEP);

        rec = ngx_http_penstock_erp_alloc(table,
                                      sizeof(ngx_http_penstock_erp_record_t));

        if (rec) {
            ngx_memzero(rec, sizeof(ngx_http_penstock_erp_record_t));
            ngx_memcpy(rec->key, claim->key, NGX_HTTP_PENSTOCK_KEY_LEN);
            ngx_memcpy(rec->print, claim->print, NGX_HTTP_PENSTOCK_KEY_LEN);
            ngx_http_penstock_erp_hold(rec, claim);

            bucket = ngx_http_penstock_erp_bucket(table, claim->key);

            rec->next = *bucket;
            ngx_memory_barrier();
            ngx_http_penstock_kill_point("keys-made");
            *bucket = rec;

            ngx_http_penstock_kill_point("keys-linked");
            table->entries++;

            claim->verdict = NGX_HTTP_PENSTOCK_ERP_NEW;
        }

        goto done;
    }

    if (ngx_memcmp(rec->print, claim->print, NGX_HTTP_PENSTOCK_KEY_LEN) != 0) {
        claim->verdict = NGX_HTTP_PENSTOCK_ERP_MISMATCH;
        goto done;
    }

    if (rec->state == NGX_HTTP_PENSTOCK_ERP_DONE) {
        claim->verdict = NGX_HTTP_PENSTOCK_ERP_REPLAYED;

        if (rec->answer) {
            size = rec->answer->size;
            claim->answer.data = ngx_pnalloc(claim->request->pool, size);

            if (claim->answer.data == NULL) {
                claim->verdict = NGX_HTTP_PENSTOCK_ERP_UNAVAILABLE;
                goto done;
            }

            ngx_memcpy(claim->answer.data, rec->answer->data, size);
            claim->answer.len = size;
        }

        goto done;
    }

    if (rec->state == NGX_HTTP_PENSTOCK_ERP_HELD) {

        if (how == NGX_HTTP_PENSTOCK_ERP_CLAIM_AGAIN
            && ngx_memcmp(rec->owner, claim->owner,
                          NGX_HTTP_PENSTOCK_ERP_OWNER)
               == 0)
        {
            rec->since = 0;
            ngx_http_penstock_erp_hold(rec, claim);
            claim->verdict = NGX_HTTP_PENSTOCK_ERP_NEW;
            goto done;
        }

        if (now < rec->until) {
            claim->verdict = NGX_HTTP_PENSTOCK_ERP_IN_PROGRESS;
            claim->age = rec->until - now;
            goto done;
        }

        /* its worker has died */

        if (rec->since == 0) {
            rec->since = rec->until;
        }

        rec->state = NGX_HTTP_PENSTOCK_ERP_LOST;
    }

    claim->age = ngx_http_penstock_age(rec->since);
    claim->verdict = NGX_HTTP_PENSTOCK_ERP_UNKNOWN;

    if (how == NGX_HTTP_PENSTOCK_ERP_CLAIM_LOOK) {
        ngx_http_penstock_erp_hold(rec, claim);
        claim->verdict = NGX_HTTP_PENSTOCK_ERP_RECONCILE;
    }

done:

    ngx_shmtx_unlock(&table->shpool->mutex);

    if (claim->verdict == NGX_HTTP_PENSTOCK_ERP_UNAVAILABLE) {
        ngx_log_error(NGX_LOG_ERR, claim->request->connection->log, 0,
                      table->allocating
                      ? "a worker process died in the allocator of "
                        "idempotency_zone \"%V\": restart nginx"
                      : "idempotency_zone \"%V\" is full, "
                        "give it more memory", &claim->keys->name);
    }
}


void
ngx_http_penstock_erp_keys_settle(ngx_http_penstock_erp_claim_t *claim,
    ngx_http_penstock_erp_outcome_e outcome, ngx_str_t *answer)
{
    ngx_http_penstock_erp_kept_t     *kept;
    ngx_http_penstock_erp_table_t    *table;
    ngx_http_penstock_erp_record_t   *rec;

    table = ngx_http_penstock_zone_data(claim->keys->shm_zone);
    claim->kept = 0;

    ngx_shmtx_lock(&table->shpool->mutex);

    rec = ngx_http_penstock_erp_find(table, claim->key);

    if (rec == NULL || rec->state == NGX_HTTP_PENSTOCK_ERP_DONE
        || ngx_memcmp(rec->owner, claim->owner, NGX_HTTP_PENSTOCK_ERP_OWNER)
           != 0)
    {
        goto done;
    }

    claim->kept = 1;

    if (outcome == NGX_HTTP_PENSTOCK_ERP_UNDO) {
        outcome = rec->since ? NGX_HTTP_PENSTOCK_ERP_LOST
                             : NGX_HTTP_PENSTOCK_ERP_GONE;
    }

    if (outcome == NGX_HTTP_PENSTOCK_ERP_GONE) {

        /* to be swept; a find does not see it any more */

        rec->expires = 0;
        goto done;
    }

    if (outcome == NGX_HTTP_PENSTOCK_ERP_LOST) {

        if (rec->since == 0) {
            rec->since = ngx_current_msec;
        }

    } else if (answer->len) {

        kept = ngx_http_penstock_erp_alloc(table,
                                           sizeof(size_t) + answer->len);

        if (kept) {
            kept->size = answer->len;
            ngx_memcpy(kept->data, answer->data, answer->len);

            ngx_http_penstock_kill_point("keys-answering");
            rec->answer = kept;
        }
    }

    rec->expires = ngx_current_msec + claim->ttl;
    ngx_memory_barrier();
    ngx_http_penstock_kill_point("keys-settling");
    rec->state = outcome;

done:

    ngx_shmtx_unlock(&table->shpool->mutex);
}


void
ngx_http_penstock_erp_keys_renew(ngx_http_penstock_erp_claim_t *claim)
{
    ngx_http_penstock_erp_table_t    *table;
    ngx_http_penstock_erp_record_t   *rec;

    table = ngx_http_penstock_zone_data(claim->keys->shm_zone);

    ngx_shmtx_lock(&table->shpool->mutex);

    rec = ngx_http_penstock_erp_find(table, claim->key);

    if (rec && rec->state == NGX_HTTP_PENSTOCK_ERP_HELD
        && ngx_memcmp(rec->owner, claim->owner, NGX_HTTP_PENSTOCK_ERP_OWNER)
           == 0)
    {
        rec->until = ngx_current_msec + claim->lease;
    }

    ngx_shmtx_unlock(&table->shpool->mutex);
}


uint64_t
ngx_http_penstock_erp_keys_entries(void *zone)
{
    ngx_http_penstock_erp_table_t  *table;

    table = ngx_http_penstock_zone_data(zone);

    return table ? (uint64_t) table->entries : 0;
}


static ngx_http_penstock_erp_record_t **
ngx_http_penstock_erp_bucket(ngx_http_penstock_erp_table_t *table,
    const u_char *key)
{
    uint64_t  n;

    ngx_memcpy(&n, key, sizeof(n));

    return &table->buckets[n % table->nbuckets];
}


static ngx_http_penstock_erp_record_t *
ngx_http_penstock_erp_find(ngx_http_penstock_erp_table_t *table,
    const u_char *key)
{
    ngx_http_penstock_erp_record_t  *rec;

    for (rec = *ngx_http_penstock_erp_bucket(table, key); rec;
         rec = rec->next)
    {
        if (rec->expires > ngx_current_msec
            && ngx_memcmp(rec->key, key, NGX_HTTP_PENSTOCK_KEY_LEN) == 0)
        {
            return rec;
        }
    }

    return NULL;
}


static void
ngx_http_penstock_erp_hold(ngx_http_penstock_erp_record_t *rec,
    ngx_http_penstock_erp_claim_t *claim)
{
    ngx_memcpy(rec->owner, claim->owner, NGX_HTTP_PENSTOCK_ERP_OWNER);

    rec->until = ngx_current_msec + claim->lease;
    rec->expires = ngx_current_msec + claim->ttl;
    rec->state = NGX_HTTP_PENSTOCK_ERP_HELD;
}


static void *
ngx_http_penstock_erp_alloc(ngx_http_penstock_erp_table_t *table, size_t size)
{
    void  *p;

    if (table->allocating) {
        return NULL;
    }

    p = ngx_http_penstock_erp_try_alloc(table, size);

    if (p) {
        return p;
    }

    ngx_http_penstock_erp_sweep(table, NGX_HTTP_PENSTOCK_ERP_SEARCH);

    return ngx_http_penstock_erp_try_alloc(table, size);
}


static void *
ngx_http_penstock_erp_try_alloc(ngx_http_penstock_erp_table_t *table,
    size_t size)
{
    void  *p;

    table->allocating = 1;
    ngx_memory_barrier();
    ngx_http_penstock_kill_point("keys-allocating");

    p = ngx_slab_alloc_locked(table->shpool, size);

    ngx_memory_barrier();
    table->allocating = 0;

    return p;
}


static void
ngx_http_penstock_erp_free(ngx_http_penstock_erp_table_t *table, void *p)
{
    if (table->allocating) {
        return;
    }

    table->allocating = 1;
    ngx_memory_barrier();
    ngx_http_penstock_kill_point("keys-freeing");

    ngx_slab_free_locked(table->shpool, p);

    ngx_memory_barrier();
    table->allocating = 0;
}


static void
ngx_http_penstock_erp_sweep(ngx_http_penstock_erp_table_t *table,
    ngx_uint_t n)
{
    ngx_http_penstock_erp_record_t  *rec, **link;

    for (n = ngx_min(n, table->nbuckets); n; n--) {

        link = &table->buckets[table->sweep++ % table->nbuckets];

        while ((rec = *link)) {

            if (rec->expires > ngx_current_msec) {
                link = &rec->next;
                continue;
            }

            *link = rec->next;
            ngx_memory_barrier();
            ngx_http_penstock_kill_point("keys-unlinked");

            table->entries--;

            if (rec->answer) {
                ngx_http_penstock_erp_free(table, rec->answer);
            }

            ngx_http_penstock_erp_free(table, rec);
        }
    }
}
