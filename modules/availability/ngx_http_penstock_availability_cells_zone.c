
/*
 * Cells in shared memory (L1), and who reads which of them.
 *
 * The table and the fills lie in a zone of their own, in one piece that is
 * never freed.  Everything is guarded by the mutex of its slab pool, the one
 * lock that nginx releases when its holder dies; "dirty" says that the holder
 * had not finished.  The lock is held for copies of the cells of one request.
 */

#include "ngx_http_penstock_availability_cells.h"
#include "ngx_http_penstock_availability_cells_shm.h"


/* raise it when the layout of anything in the zone changes */

#define NGX_HTTP_PENSTOCK_CELLS_LAYOUT   1

/* bytes of zone for a fill under way */

#define NGX_HTTP_PENSTOCK_CELLS_FILL     4096

/* between two lines about answers of another shape, s */

#define NGX_HTTP_PENSTOCK_CELLS_LOG      60


static ngx_int_t ngx_http_penstock_cells_init(ngx_shm_zone_t *zone,
    ngx_slab_pool_t *shpool, void *conf, void **data);
static void ngx_http_penstock_cells_pushed(void *data, const ngx_str_t *keys,
    ngx_uint_t n);
static uint64_t ngx_http_penstock_cells_entries(void *data);
static uint64_t ngx_http_penstock_cells_evictions(void *data);


ngx_int_t
ngx_http_penstock_cells_setup(ngx_conf_t *cf,
    ngx_http_penstock_av_zone_t *zone)
{
    size_t      size;
    ngx_str_t   name, labels;
    ngx_uint_t  i;

    static const char  *results[] = {
        "hit", "redis_hit", "stale", "miss", "collapsed"
    };

    if (!zone->cells_used) {
        return NGX_OK;
    }

    size = zone->dict->shm.size;

    if (size < 64 * ngx_pagesize) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "zone \"%V\" is too small for "
                      "\"availability_cache_items\", give it at least %uzk",
                      &zone->name, (size_t) (64 * ngx_pagesize) / 1024);
        return NGX_ERROR;
    }

    name.data = ngx_pnalloc(cf->pool, zone->name.len + sizeof(":cells"));
    labels.data = ngx_pnalloc(cf->pool, zone->name.len
                                        + sizeof("zone=\"\""));

    if (name.data == NULL || labels.data == NULL) {
        return NGX_ERROR;
    }

    name.len = ngx_sprintf(name.data, "%V:cells", &zone->name) - name.data;
    labels.len = ngx_sprintf(labels.data, "zone=\"%V\"", &zone->name)
                 - labels.data;

    /* a quarter stays for answers as a whole */

    zone->dict->shm.size = size / 4 / ngx_pagesize * ngx_pagesize;

    zone->cells = ngx_http_penstock_zone_add(cf, &name,
                                      size - zone->dict->shm.size,
                                      &ngx_http_penstock_availability_module,
                                      NGX_HTTP_PENSTOCK_CELLS_LAYOUT,
                                      ngx_http_penstock_cells_init, zone);
    if (zone->cells == NULL) {
        return NGX_ERROR;
    }

    if (zone->redis) {
        zone->cell_prefix.data = ngx_pnalloc(cf->pool,
                           sizeof("penstock:cell:{:") + zone->name.len);
        if (zone->cell_prefix.data == NULL) {
            return NGX_ERROR;
        }

        zone->cell_prefix.len = ngx_sprintf(zone->cell_prefix.data,
                                            "penstock:cell:{%V:", &zone->name)
                                - zone->cell_prefix.data;

        if (ngx_http_penstock_redis_push_add(cf, zone->redis,
                                             &zone->cell_prefix,
                                             ngx_http_penstock_cells_pushed,
                                             zone)
            != NGX_OK
            || ngx_http_penstock_cells_lease_setup(cf, zone) != NGX_OK
            || ngx_http_penstock_cells_places_setup(cf, zone) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    for (i = 0; i < NGX_HTTP_PENSTOCK_CELLS_RESULTS; i++) {
        name.data = ngx_pnalloc(cf->pool, labels.len
                                          + sizeof(",result=\"collapsed\""));
        if (name.data == NULL) {
            return NGX_ERROR;
        }

        name.len = ngx_sprintf(name.data, "%V,result=\"%s\"", &labels,
                               results[i]) - name.data;

        zone->cell[i] = ngx_http_penstock_counter(cf,
                            "penstock_availability_cells_total",
                            "Cells asked for, by how they were answered.",
                            &name);
        if (zone->cell[i] == NGX_ERROR) {
            return NGX_ERROR;
        }
    }

    zone->odd = ngx_http_penstock_counter(cf,
                    "penstock_availability_odd_answers_total",
                    "Answers that could not be taken apart into cells.",
                    &labels);

    if (zone->odd == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (ngx_http_penstock_gauge(cf, "penstock_availability_cell_entries",
                                "Cells held in shared memory.", &labels,
                                ngx_http_penstock_cells_entries, zone->cells)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_penstock_gauge(cf,
                              "penstock_availability_cell_evictions_total",
                              "Cells that had to go for others.", &labels,
                              ngx_http_penstock_cells_evictions, zone->cells);
}


static ngx_int_t
ngx_http_penstock_cells_init(ngx_shm_zone_t *zone, ngx_slab_pool_t *shpool,
    void *conf, void **data)
{
    size_t                          size;
    u_char                         *p;
    uint32_t                        n;
    ngx_http_penstock_cells_shm_t  *shm;

    size = ngx_align(sizeof(ngx_http_penstock_cells_shm_t),
                     ngx_cacheline_size);

    for (n = 64; n < zone->shm.size / NGX_HTTP_PENSTOCK_CELLS_FILL; n *= 2) {
        /* void */
    }

    p = ngx_slab_alloc(shpool, shpool->pfree * ngx_pagesize);
    if (p == NULL) {
        return NGX_ERROR;
    }

    shm = (ngx_http_penstock_cells_shm_t *) p;
    ngx_memzero(shm, sizeof(ngx_http_penstock_cells_shm_t));

    shm->shpool = shpool;

    shm->fills = (ps_cell_fills_t *) (p + size);
    size += ngx_align(ps_cell_fills_size(n), ngx_cacheline_size);
    ps_cell_fills_init(shm->fills, n);

    shm->table = ps_cell_table_init(p + size,
                                    (size_t) (shpool->end - p) - size);
    if (shm->table == NULL) {
        return NGX_ERROR;
    }

    if (ngx_http_penstock_random((u_char *) &shm->key,
                                 sizeof(ps_siphash_key_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    *data = shm;

    return NGX_OK;
}


void
ngx_http_penstock_cells_hash(ngx_http_penstock_av_zone_t *zone,
    ngx_str_t *key, uint64_t hash[2])
{
    ps_siphash128(ngx_http_penstock_cells_secret(zone), key->data, key->len,
                  hash);
}


const ps_siphash_key_t *
ngx_http_penstock_cells_secret(ngx_http_penstock_av_zone_t *zone)
{
    ngx_http_penstock_cells_shm_t  *shm;

    shm = ngx_http_penstock_zone_data(zone->cells);

    return &shm->key;
}


void
ngx_http_penstock_cells_lock(ngx_http_penstock_cells_shm_t *shm)
{
    ngx_shmtx_lock(&shm->shpool->mutex);

    if (shm->dirty) {

        /* a worker died inside: nothing here can be trusted */

        ps_cell_table_reset(shm->table);
        ps_cell_fills_init(shm->fills, shm->fills->mask + 1);
        shm->was_reset = 1;
    }

    shm->dirty = 1;
    ngx_memory_barrier();

    ngx_http_penstock_kill_point("cells-locked");
}


void
ngx_http_penstock_cells_unlock(ngx_http_penstock_cells_shm_t *shm)
{
    ngx_uint_t  was_reset;

    was_reset = shm->was_reset;
    shm->was_reset = 0;

    ngx_http_penstock_kill_point("cells-unlocking");

    ngx_memory_barrier();
    shm->dirty = 0;

    ngx_shmtx_unlock(&shm->shpool->mutex);

    if (was_reset) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "a worker process died while it wrote%s, "
                      "which was emptied", shm->shpool->log_ctx);
    }
}


uint64_t
ngx_http_penstock_cells_location_hash(ps_json_text_t *id)
{
    u_char  *p, name[sizeof("location,") + PS_CELL_ID_MAX];

    p = ngx_cpymem(name, "location,", sizeof("location,") - 1);
    p = ngx_cpymem(p, id->data, ngx_min(id->len, PS_CELL_ID_MAX));

    return ps_tag_hash((char *) name, p - name);
}


void
ngx_http_penstock_cells_tag(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cell_t *cell, ps_cell_t *head)
{
    ps_json_text_t  *id;

    id = &c->axis[0].id[cell->sku].id;
    head->tag[0] = (uint32_t) ps_tag_hash(id->data, id->len);
    head->tag[1] = head->tag[0];

    if (c->axis[1].asked) {
        id = &c->axis[1].id[cell->location].id;
        head->tag[1] = (uint32_t) ngx_http_penstock_cells_location_hash(id);
    }
}


ngx_uint_t
ngx_http_penstock_cells_void(ngx_http_penstock_tag_table_t *table,
    ps_cell_t *held)
{
    return ngx_http_penstock_cells_later(table->bucket,
                                         NGX_HTTP_PENSTOCK_BUCKETS,
                                         table->all, held);
}


ngx_uint_t
ngx_http_penstock_cells_soft(ngx_http_penstock_tag_table_t *table,
    ps_cell_t *held)
{
    return (held->flags & PS_CELL_SOFT)
           || ngx_http_penstock_cells_later(table->soft,
                                            NGX_HTTP_PENSTOCK_PURGES,
                                            table->all_soft, held);
}


ngx_uint_t
ngx_http_penstock_cells_touched(ngx_http_penstock_tag_table_t *table,
    ps_cell_t *held)
{
    return ngx_http_penstock_cells_void(table, held)
           || ngx_http_penstock_cells_soft(table, held)
           || ngx_http_penstock_cells_later(table->pushed,
                                            NGX_HTTP_PENSTOCK_BUCKETS,
                                            table->pushed_all, held);
}


/* whether a tag of the cell has a later number */

ngx_uint_t
ngx_http_penstock_cells_later(ngx_atomic_t *bucket, ngx_uint_t size,
    ngx_atomic_uint_t all, ps_cell_t *held)
{
    uint32_t    *tag, mask;
    ngx_uint_t   i;

    /* a power of two */

    mask = (uint32_t) size - 1;

    if (all > held->seq
        || bucket[held->tag[0] & mask] > held->seq
        || bucket[held->tag[1] & mask] > held->seq)
    {
        return 1;
    }

    tag = ps_cell_tags(held);

    for (i = 0; i < held->ntags; i++) {
        if (bucket[tag[i] & mask] > held->seq) {
            return 1;
        }
    }

    return 0;
}


ngx_uint_t
ngx_http_penstock_cells_may_log(ngx_http_penstock_av_zone_t *zone)
{
    ngx_atomic_uint_t               now, last;
    ngx_http_penstock_cells_shm_t  *shm;

    shm = ngx_http_penstock_zone_data(zone->cells);

    now = (ngx_atomic_uint_t) ngx_time();
    last = shm->logged;

    return (last == 0 || now - last >= NGX_HTTP_PENSTOCK_CELLS_LOG)
           && ngx_atomic_cmp_set(&shm->logged, last, now);
}


ngx_uint_t
ngx_http_penstock_cells_stands(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cell_t *cell)
{
    ps_cell_t                       head;
    ngx_http_penstock_tag_table_t  *table;

    ngx_memzero(&head, sizeof(ps_cell_t));

    head.seq = cell->seq;

    ngx_http_penstock_cells_tag(c, cell, &head);

    table = ngx_http_penstock_av_tag_table(c->zone);

    return !ngx_http_penstock_cells_touched(table, &head);
}


/*
 * Keys of cells were written in Redis, by whomever: what is held of them must
 * be compared before it is used.  Of others a mark is left, as plain JSON
 * counts from its push.  Runs in the worker that has the link.
 */

static void
ngx_http_penstock_cells_pushed(void *data, const ngx_str_t *keys,
    ngx_uint_t n)
{
    ngx_http_penstock_av_zone_t  *zone = data;

    uint64_t                        hash[2];
    ps_cell_t                       head, *held;
    ngx_str_t                       key;
    ngx_uint_t                      i;
    ngx_atomic_uint_t               seq;
    ngx_http_penstock_cells_shm_t  *shm;
    ngx_http_penstock_tag_table_t  *table;

    shm = ngx_http_penstock_zone_data(zone->cells);
    table = ngx_http_penstock_av_tag_table(zone);

    seq = ngx_atomic_fetch_add(&table->seq, 1) + 1;

    if (n == 0) {
        ngx_http_penstock_av_raise(&table->pushed_all, seq);
    }

    for (i = 0; i < n; i++) {

        key = keys[i];
        ngx_http_penstock_cells_hash(zone, &key, hash);

        ngx_http_penstock_cells_lock(shm);

        held = ps_cell_find(shm->table, hash);

        if (held == NULL) {
            ngx_memzero(&head, sizeof(ps_cell_t));

            head.hash[0] = hash[0];
            head.hash[1] = hash[1];
            head.flags = PS_CELL_MARK;

            held = ps_cell_insert(shm->table, &head);
        }

        if (held) {
            held->flags |= PS_CELL_DIRTY;
            held->checked = (uint32_t) seq;
        }

        ngx_http_penstock_cells_unlock(shm);

        ngx_http_penstock_cells_lease_news(zone, &key);
    }
}


static uint64_t
ngx_http_penstock_cells_entries(void *data)
{
    ngx_http_penstock_cells_shm_t  *shm;

    shm = ngx_http_penstock_zone_data(data);

    return ps_cell_table_entries(shm->table);
}


static uint64_t
ngx_http_penstock_cells_evictions(void *data)
{
    ngx_http_penstock_cells_shm_t  *shm;

    shm = ngx_http_penstock_zone_data(data);

    return ps_cell_table_evictions(shm->table);
}
