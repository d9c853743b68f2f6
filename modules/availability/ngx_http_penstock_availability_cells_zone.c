
/*
 * Cells in shared memory (L1), and who reads which of them.
 *
 * The table and the fills lie in a zone of their own, in one piece that is
 * never freed.  Everything is guarded by the mutex of its slab pool, the one
 * lock that nginx releases when its holder dies; "dirty" says that the holder
 * had not finished.  The lock is held for copies of the cells of one request.
 */

#include "ngx_http_penstock_availability_cells.h"


/* raise it when the layout of anything in the zone changes */

#define NGX_HTTP_PENSTOCK_CELLS_LAYOUT   1

/* bytes of zone for a fill under way */

#define NGX_HTTP_PENSTOCK_CELLS_FILL     4096

/* a fill is given up by all others after that, ms */

#define NGX_HTTP_PENSTOCK_CELLS_FILL_MAX 600000

/* room for a value at first */

#define NGX_HTTP_PENSTOCK_CELLS_VALUE    160

/* between two lines about answers of another shape, s */

#define NGX_HTTP_PENSTOCK_CELLS_LOG      60

/* cells written without letting others in */

#define NGX_HTTP_PENSTOCK_CELLS_BATCH    64

/* marks texts around cells apart from cells: no keyed hash has it */

#define NGX_HTTP_PENSTOCK_CELLS_TEXT     0x5465787441726f75ULL
#define NGX_HTTP_PENSTOCK_CELLS_SCOPE    0x4c61737454657874ULL


typedef struct {
    ps_cell_table_t                   *table;
    ps_cell_fills_t                   *fills;
    ps_siphash_key_t                   key;
    ngx_slab_pool_t                   *shpool;

    ngx_atomic_t                       logged;     /* s, of an odd answer */

    volatile ngx_uint_t                dirty;
    ngx_uint_t                         was_reset;
} ngx_http_penstock_cells_shm_t;


static ngx_int_t ngx_http_penstock_cells_init(ngx_shm_zone_t *zone,
    ngx_slab_pool_t *shpool, void *conf, void **data);
static void ngx_http_penstock_cells_lock(ngx_http_penstock_cells_shm_t *shm);
static void ngx_http_penstock_cells_unlock(
    ngx_http_penstock_cells_shm_t *shm);
static size_t ngx_http_penstock_cells_look_locked(
    ngx_http_penstock_cells_t *c, ngx_http_penstock_cells_shm_t *shm,
    uint64_t now);
static size_t ngx_http_penstock_cells_take(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cell_t *cell, ps_cell_t *held, uint64_t now);
static void ngx_http_penstock_cells_elect(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cells_shm_t *shm, ngx_http_penstock_cell_t *cell);
static ngx_uint_t ngx_http_penstock_cells_joins(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cell_t *cell, ps_cell_fill_t *slot);
static ngx_uint_t ngx_http_penstock_cells_void(
    ngx_http_penstock_tag_table_t *table, ps_cell_t *held);
static ngx_uint_t ngx_http_penstock_cells_later(ngx_atomic_t *bucket,
    ngx_uint_t size, ngx_atomic_uint_t all, ps_cell_t *held);
static ngx_uint_t ngx_http_penstock_cells_trusted(
    ngx_http_penstock_cells_t *c, ps_cell_t *held, uint64_t now);
static void ngx_http_penstock_cells_pushed(void *data, const ngx_str_t *keys,
    ngx_uint_t n);
static void ngx_http_penstock_cells_put(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cells_shm_t *shm, ngx_http_penstock_cells_store_t *s,
    uint64_t now);
static ngx_int_t ngx_http_penstock_cells_text(ngx_http_penstock_cells_t *c,
    uint64_t hash[2], ngx_str_t *text, uint64_t *made);
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
            != NGX_OK)
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


static void
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
}


static void
ngx_http_penstock_cells_unlock(ngx_http_penstock_cells_shm_t *shm)
{
    ngx_uint_t  was_reset;

    was_reset = shm->was_reset;
    shm->was_reset = 0;

    ngx_memory_barrier();
    shm->dirty = 0;

    ngx_shmtx_unlock(&shm->shpool->mutex);

    if (was_reset) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "a worker process died while it wrote%s, "
                      "which was emptied", shm->shpool->log_ctx);
    }
}


ngx_int_t
ngx_http_penstock_cells_look(ngx_http_penstock_cells_t *c)
{
    size_t                          size;
    uint64_t                        now;
    ngx_http_penstock_cells_shm_t  *shm;
    ngx_http_penstock_tag_table_t  *table;

    shm = ngx_http_penstock_zone_data(c->zone->cells);
    table = ngx_http_penstock_av_tag_table(c->zone);
    now = ngx_http_penstock_av_now();

    size = c->n * NGX_HTTP_PENSTOCK_CELLS_VALUE;

    if (c->zone->redis) {

        /* before the cells are looked at, as they may be told of changes */

        c->push_live = ngx_http_penstock_redis_push_live(c->zone->redis);
        c->push_epoch = ngx_http_penstock_redis_push_epoch(c->zone->redis);
        ngx_memory_barrier();
    }

    /* all that we come to lead now is one fill */

    c->fill = 0;
    c->seq = table->seq;
    c->gen = table->gen;

    for ( ;; ) {

        if (c->pos == NULL || (size_t) (c->last - c->pos) < size) {
            c->pos = ngx_pnalloc(c->request->pool, size);
            if (c->pos == NULL) {
                return NGX_ERROR;
            }

            c->last = c->pos + size;
        }

        ngx_http_penstock_cells_lock(shm);

        size = ngx_http_penstock_cells_look_locked(c, shm, now);

        ngx_http_penstock_cells_unlock(shm);

        if (size == 0) {
            return NGX_OK;
        }

        /* what was taken stays; the rest needs that much at least */

        size += c->n * NGX_HTTP_PENSTOCK_CELLS_VALUE;
    }
}


/* 0, or bytes for which there was no room */

static size_t
ngx_http_penstock_cells_look_locked(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cells_shm_t *shm, uint64_t now)
{
    size_t                     size;
    ps_cell_t                 *held;
    ngx_uint_t                 i;
    ngx_http_penstock_cell_t  *cell;

    for (i = 0; i < c->n; i++) {
        cell = &c->cell[i];

        if (cell->state != NGX_HTTP_PENSTOCK_CELL_NEED
            && cell->state != NGX_HTTP_PENSTOCK_CELL_FOLLOW)
        {
            continue;
        }

        held = ps_cell_find(shm->table, cell->hash);

        if (held) {
            size = ngx_http_penstock_cells_take(c, cell, held, now);

            if (size) {
                return size;
            }

            if (cell->held) {
                ps_cell_touch(shm->table, held);
            }
        }

        if (cell->state != NGX_HTTP_PENSTOCK_CELL_HAVE || cell->refresh) {
            ngx_http_penstock_cells_elect(c, shm, cell);
        }
    }

    return 0;
}


static size_t
ngx_http_penstock_cells_take(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cell_t *cell, ps_cell_t *held, uint64_t now)
{
    uint64_t                        fresh_until;
    ngx_uint_t                      valid, trusted, have, refresh;
    ngx_http_penstock_tag_table_t  *table;

    table = ngx_http_penstock_av_tag_table(c->zone);

    cell->marked = (held->flags & PS_CELL_DIRTY) != 0;

    if (cell->marked) {

        /* since then, whoever wrote it */

        cell->seq = c->seq - (uint32_t) ((uint32_t) c->seq - held->checked);
    }

    if ((held->flags & PS_CELL_MARK)
        || ngx_http_penstock_cells_later(table->hard, NGX_HTTP_PENSTOCK_PURGES,
                                         table->all_hard, held))
    {
        return 0;
    }

    if ((held->flags & PS_CELL_PLAIN) && !cell->marked
        && (held->flags & PS_CELL_LINKED)
        && c->push_live && held->checked == (uint32_t) c->push_epoch)
    {
        /* it would have been pushed, had it changed */

        cell->seq = held->seq;
        cell->marked = 1;
    }

    valid = !ngx_http_penstock_cells_void(table, held);
    trusted = ngx_http_penstock_cells_trusted(c, held, now);
    fresh_until = held->created + held->fresh;

    have = 0;
    refresh = 0;

    if (cell->state == NGX_HTTP_PENSTOCK_CELL_FOLLOW
        && held->made_by == (uint32_t) cell->fill
        && (!cell->late || valid))
    {
        /* our request is older than an invalidation that came meanwhile */

        have = 1;
        cell->collapsed = 1;

    } else if (valid && trusted && now < fresh_until) {
        have = 1;

    } else if (valid && trusted
               && now < fresh_until + held->while_revalidate)
    {
        have = 1;
        refresh = 1;

    } else if (now >= fresh_until + ngx_max(held->while_revalidate,
                                            held->if_error))
    {
        return 0;
    }

    if ((size_t) (c->last - c->pos) < held->len) {
        return held->len;
    }

    cell->value.data = c->pos;
    cell->value.len = held->len;

    c->pos = ngx_cpymem(c->pos, ps_cell_value(held), held->len);

    cell->created = held->created;
    cell->envelope = held->envelope;
    cell->fresh = held->fresh;
    cell->while_revalidate = held->while_revalidate;
    cell->if_error = held->if_error;
    cell->held = 1;
    cell->valid = valid;
    cell->refresh = refresh;

    if (have) {
        cell->state = NGX_HTTP_PENSTOCK_CELL_HAVE;
    }

    return 0;
}


/* who reads it: another request that began in time, or we; under the lock */

static void
ngx_http_penstock_cells_elect(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cells_shm_t *shm, ngx_http_penstock_cell_t *cell)
{
    ps_cell_fill_t                 *slot;
    ngx_http_penstock_tag_table_t  *table;

    cell->missed = 1;

    if (!c->ctx->conf->lock) {
        cell->state = NGX_HTTP_PENSTOCK_CELL_LEAD;
        return;
    }

    table = ngx_http_penstock_av_tag_table(c->zone);
    slot = ps_cell_fills_find(shm->fills, cell->hash);

    if (slot) {

        if (cell->state == NGX_HTTP_PENSTOCK_CELL_FOLLOW
            && slot->fill == cell->fill)
        {
            if (slot->state == PS_CELL_FILL_FAILED) {
                cell->state = NGX_HTTP_PENSTOCK_CELL_FAILED;
                c->fail_status = slot->status;
                return;
            }

            if (slot->state == PS_CELL_FILL_ODD) {
                c->pass = 1;
                return;
            }
        }

        if (slot->state == PS_CELL_FILL_RUNS
            && ngx_http_penstock_cells_joins(c, cell, slot))
        {
            if (cell->refresh) {

                /* somebody sees to it */

                cell->refresh = 0;
                return;
            }

            if (cell->fill != slot->fill) {
                cell->fill = slot->fill;
                cell->late = (table->gen != slot->gen);
            }

            cell->state = NGX_HTTP_PENSTOCK_CELL_FOLLOW;
            return;
        }
    }

    if (c->fill == 0) {
        c->fill = ngx_atomic_fetch_add(&table->fills, 1) + 1;
    }

    slot = ps_cell_fills_claim(shm->fills, cell->hash);

    if (slot) {
        slot->state = PS_CELL_FILL_RUNS;
        slot->fill = c->fill;
        slot->seq = c->seq;
        slot->gen = c->gen;
        slot->since = (uint32_t) ngx_current_msec;
        slot->pid = (int32_t) ngx_pid;

        cell->slot = 1;
    }

    if (!cell->refresh) {
        cell->state = NGX_HTTP_PENSTOCK_CELL_LEAD;
    }
}


/*
 * Whether a fill may be joined: its worker lives, and nothing of the cell was
 * invalidated after it began, or we would be told what we have just changed.
 */

static ngx_uint_t
ngx_http_penstock_cells_joins(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cell_t *cell, ps_cell_fill_t *slot)
{
    ps_json_text_t                 *id;
    ngx_http_penstock_tag_table_t  *table;

    if ((uint32_t) ngx_current_msec - slot->since
        > NGX_HTTP_PENSTOCK_CELLS_FILL_MAX)
    {
        return 0;
    }

    /* of this very request: asked for twice, or in an earlier round */

    if (slot->fill == c->fill) {
        return 1;
    }

    /* only a request that has waited makes the system call */

    if (cell->state == NGX_HTTP_PENSTOCK_CELL_FOLLOW
        && slot->pid != (int32_t) ngx_pid
        && kill((ngx_pid_t) slot->pid, 0) == -1 && ngx_errno == NGX_ESRCH)
    {
        return 0;
    }

    if (cell->state == NGX_HTTP_PENSTOCK_CELL_FOLLOW
        && cell->fill == slot->fill)
    {
        return 1;
    }

    table = ngx_http_penstock_av_tag_table(c->zone);

    if (table->gen == slot->gen) {
        return 1;
    }

    if (table->all > slot->seq) {
        return 0;
    }

    id = &c->axis[0].id[cell->sku].id;

    if (table->bucket[ps_tag_hash(id->data, id->len)
                      % NGX_HTTP_PENSTOCK_BUCKETS]
        > slot->seq)
    {
        return 0;
    }

    if (!c->axis[1].asked) {
        return 1;
    }

    id = &c->axis[1].id[cell->location].id;

    return table->bucket[ngx_http_penstock_cells_location_hash(id)
                         % NGX_HTTP_PENSTOCK_BUCKETS]
           <= slot->seq;
}


uint64_t
ngx_http_penstock_cells_location_hash(ps_json_text_t *id)
{
    u_char  *p, name[sizeof("location,") + PS_CELL_ID_MAX];

    p = ngx_cpymem(name, "location,", sizeof("location,") - 1);
    p = ngx_cpymem(p, id->data, ngx_min(id->len, PS_CELL_ID_MAX));

    return ps_tag_hash((char *) name, p - name);
}


static ngx_uint_t
ngx_http_penstock_cells_void(ngx_http_penstock_tag_table_t *table,
    ps_cell_t *held)
{
    /* a soft purge leaves no more of a cell */

    return ngx_http_penstock_cells_later(table->bucket,
                                         NGX_HTTP_PENSTOCK_BUCKETS,
                                         table->all, held)
           || ngx_http_penstock_cells_later(table->soft,
                                            NGX_HTTP_PENSTOCK_PURGES,
                                            table->all_soft, held);
}


/* whether a tag of the cell has a later number */

static ngx_uint_t
ngx_http_penstock_cells_later(ngx_atomic_t *bucket, ngx_uint_t size,
    ngx_atomic_uint_t all, ps_cell_t *held)
{
    uint32_t    *tag;
    ngx_uint_t   i;

    if (all > held->seq
        || bucket[held->tag[0] % size] > held->seq
        || bucket[held->tag[1] % size] > held->seq)
    {
        return 1;
    }

    tag = ps_cell_tags(held);

    for (i = 0; i < held->ntags; i++) {
        if (bucket[tag[i] % size] > held->seq) {
            return 1;
        }
    }

    return 0;
}


/* whether it may be used without a look at Redis */

static ngx_uint_t
ngx_http_penstock_cells_trusted(ngx_http_penstock_cells_t *c,
    ps_cell_t *held, uint64_t now)
{
    ngx_http_penstock_tag_table_t  *table;

    if (c->zone->redis == NULL) {
        return 1;
    }

    if (held->flags & PS_CELL_DIRTY) {
        return 0;
    }

    if (!(held->flags & PS_CELL_LINKED)) {
        return (uint32_t) now - held->checked <= NGX_HTTP_PENSTOCK_TRUST;
    }

    if (!c->push_live || held->checked != (uint32_t) c->push_epoch) {
        return 0;
    }

    table = ngx_http_penstock_av_tag_table(c->zone);

    return !ngx_http_penstock_cells_later(table->pushed,
                                          NGX_HTTP_PENSTOCK_BUCKETS,
                                          table->pushed_all, held);
}


void
ngx_http_penstock_cells_store(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cells_store_t *store, ngx_uint_t n)
{
    uint64_t                        now;
    ngx_uint_t                      i;
    ngx_http_penstock_cells_shm_t  *shm;

    shm = ngx_http_penstock_zone_data(c->zone->cells);
    now = c->asked ? c->asked : ngx_http_penstock_av_now();

    for (i = 0; i < n; /* void */ ) {

        ngx_http_penstock_cells_lock(shm);

        do {
            ngx_http_penstock_cells_put(c, shm, &store[i++], now);

        } while (i < n && i % NGX_HTTP_PENSTOCK_CELLS_BATCH);

        ngx_http_penstock_cells_unlock(shm);
    }
}


static void
ngx_http_penstock_cells_put(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cells_shm_t *shm, ngx_http_penstock_cells_store_t *s,
    uint64_t now)
{
    ps_cell_t                  head, *held;
    ngx_uint_t                 room;
    ps_json_text_t            *id;
    ps_cell_fill_t            *slot;
    ngx_http_penstock_cell_t  *cell;

    cell = s->cell;
    room = 1;

    ngx_memzero(&head, sizeof(ps_cell_t));

    head.hash[0] = cell->hash[0];
    head.hash[1] = cell->hash[1];
    head.created = cell->created;
    head.seq = s->plain ? cell->seq : c->seq;
    head.envelope = cell->envelope;
    head.checked = (uint32_t) now;

    if (c->clock && c->push_live) {

        /* Redis was asked while it tells of changes */

        head.checked = (uint32_t) c->push_epoch;
        head.flags |= PS_CELL_LINKED;
    }

    head.made_by = (uint32_t) c->fill;
    head.fresh = cell->fresh;
    head.while_revalidate = cell->while_revalidate;
    head.if_error = cell->if_error;
    head.len = (uint32_t) cell->value.len;
    head.ntags = (uint16_t) s->ntags;

    if (s->plain) {
        head.flags |= PS_CELL_PLAIN;
    }

    id = &c->axis[0].id[cell->sku].id;
    head.tag[0] = (uint32_t) ps_tag_hash(id->data, id->len);
    head.tag[1] = head.tag[0];

    if (c->axis[1].asked) {
        id = &c->axis[1].id[cell->location].id;
        head.tag[1] = (uint32_t) ngx_http_penstock_cells_location_hash(id);
    }

    held = ps_cell_find(shm->table, cell->hash);

    if (held && held->made_by != head.made_by && !(held->flags & PS_CELL_MARK)
        && (int64_t) (held->seq - c->seq) > 0)
    {
        /* overtaken by a fill that began after an invalidation */

        cell->valid = 0;

    } else {

        if (held && (held->flags & PS_CELL_DIRTY)
            && (int32_t) (held->checked - (uint32_t) c->seq) > 0)
        {
            /* its key was written after we had begun: compare again */

            head.flags |= PS_CELL_DIRTY;
            head.checked = held->checked;
        }

        held = ps_cell_insert(shm->table, &head);

        if (held) {
            ngx_memcpy(ps_cell_tags(held), s->tag,
                       s->ntags * sizeof(uint32_t));
            ngx_memcpy(ps_cell_value(held), cell->value.data,
                       cell->value.len);

            cell->valid = !ngx_http_penstock_cells_void(
                                  ngx_http_penstock_av_tag_table(c->zone),
                                  held)
                          && !(head.flags & PS_CELL_DIRTY);

        } else {
            cell->valid = 0;
            room = 0;
        }
    }

    if (cell->slot) {
        slot = ps_cell_fills_find(shm->fills, cell->hash);

        if (slot && slot->fill == c->fill) {

            /* without room those who wait go on by themselves */

            slot->state = room ? PS_CELL_FILL_FREE : PS_CELL_FILL_ODD;
        }

        cell->slot = 0;
    }
}


uint64_t
ngx_http_penstock_cells_store_envelope(ngx_http_penstock_cells_t *c,
    ngx_str_t *envelope)
{
    uint64_t                        hash[2], last[2];
    ps_cell_t                       head, *held;
    ngx_http_penstock_cells_shm_t  *shm;

    shm = ngx_http_penstock_zone_data(c->zone->cells);

    ps_siphash128(&shm->key, envelope->data, envelope->len, hash);
    hash[1] = NGX_HTTP_PENSTOCK_CELLS_TEXT;

    ps_siphash128(&shm->key, c->scope.data, c->scope.len, last);
    last[1] = NGX_HTTP_PENSTOCK_CELLS_SCOPE;

    ngx_memzero(&head, sizeof(ps_cell_t));

    head.hash[0] = hash[0];
    head.hash[1] = hash[1];
    head.len = (uint32_t) envelope->len;

    ngx_http_penstock_cells_lock(shm);

    held = ps_cell_find(shm->table, hash);

    if (held) {
        ps_cell_touch(shm->table, held);

    } else {
        held = ps_cell_insert(shm->table, &head);

        if (held) {
            ngx_memcpy(ps_cell_value(held), envelope->data, envelope->len);
        }
    }

    if (held) {

        /* the scope's last one, for cells that come without */

        head.hash[0] = last[0];
        head.hash[1] = last[1];
        head.len = 0;
        head.envelope = hash[0];

        held = ps_cell_find(shm->table, last);

        if (held) {
            held->envelope = hash[0];

        } else {
            (void) ps_cell_insert(shm->table, &head);
        }

    } else {
        hash[0] = 0;
    }

    ngx_http_penstock_cells_unlock(shm);

    return hash[0];
}


ngx_int_t
ngx_http_penstock_cells_envelope(ngx_http_penstock_cells_t *c, uint64_t hash,
    ngx_str_t *envelope)
{
    uint64_t  h[2];

    h[0] = hash;
    h[1] = NGX_HTTP_PENSTOCK_CELLS_TEXT;

    return ngx_http_penstock_cells_text(c, h, envelope, NULL);
}


ngx_int_t
ngx_http_penstock_cells_last_envelope(ngx_http_penstock_cells_t *c,
    uint64_t *hash, ngx_str_t *envelope)
{
    uint64_t   h[2];
    ngx_str_t  none;
    ngx_int_t  rc;

    ps_siphash128(ngx_http_penstock_cells_secret(c->zone), c->scope.data,
                  c->scope.len, h);
    h[1] = NGX_HTTP_PENSTOCK_CELLS_SCOPE;

    rc = ngx_http_penstock_cells_text(c, h, &none, hash);

    return (rc == NGX_OK)
           ? ngx_http_penstock_cells_envelope(c, *hash, envelope) : rc;
}


static ngx_int_t
ngx_http_penstock_cells_text(ngx_http_penstock_cells_t *c, uint64_t hash[2],
    ngx_str_t *text, uint64_t *made)
{
    size_t                          room;
    ps_cell_t                      *held;
    ngx_http_penstock_cells_shm_t  *shm;

    shm = ngx_http_penstock_zone_data(c->zone->cells);
    room = 512;

    for ( ;; ) {
        text->data = ngx_pnalloc(c->request->pool, room);
        if (text->data == NULL) {
            return NGX_ERROR;
        }

        ngx_http_penstock_cells_lock(shm);

        held = ps_cell_find(shm->table, hash);

        if (held == NULL) {
            ngx_http_penstock_cells_unlock(shm);
            return NGX_DECLINED;
        }

        text->len = held->len;

        if (made) {
            *made = held->envelope;
        }

        if (held->len <= room) {
            ngx_memcpy(text->data, ps_cell_value(held), held->len);
            ps_cell_touch(shm->table, held);

            ngx_http_penstock_cells_unlock(shm);

            return NGX_OK;
        }

        room = held->len;

        ngx_http_penstock_cells_unlock(shm);
    }
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
ngx_http_penstock_cells_end(ngx_http_penstock_cells_t *c, ngx_uint_t state,
    ngx_uint_t status)
{
    ngx_uint_t                      i;
    ps_cell_fill_t                 *slot;
    ngx_http_penstock_cells_shm_t  *shm;

    for (i = 0; i < c->n && !c->cell[i].slot; i++) {
        /* void */
    }

    if (i == c->n) {
        return 0;
    }

    shm = ngx_http_penstock_zone_data(c->zone->cells);

    ngx_http_penstock_cells_lock(shm);

    for ( /* void */ ; i < c->n; i++) {

        if (!c->cell[i].slot) {
            continue;
        }

        slot = ps_cell_fills_find(shm->fills, c->cell[i].hash);

        if (slot && slot->fill == c->fill) {
            slot->state = (uint16_t) state;
            slot->status = (uint16_t) status;
        }

        c->cell[i].slot = 0;
    }

    ngx_http_penstock_cells_unlock(shm);

    return 1;
}


ngx_uint_t
ngx_http_penstock_cells_stands(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cell_t *cell)
{
    ps_cell_t                       head;
    ps_json_text_t                 *id;
    ngx_http_penstock_tag_table_t  *table;

    ngx_memzero(&head, sizeof(ps_cell_t));

    head.seq = cell->seq;

    id = &c->axis[0].id[cell->sku].id;
    head.tag[0] = (uint32_t) ps_tag_hash(id->data, id->len);
    head.tag[1] = head.tag[0];

    if (c->axis[1].asked) {
        id = &c->axis[1].id[cell->location].id;
        head.tag[1] = (uint32_t) ngx_http_penstock_cells_location_hash(id);
    }

    table = ngx_http_penstock_av_tag_table(c->zone);

    return !ngx_http_penstock_cells_void(table, &head)
           && !ngx_http_penstock_cells_later(table->pushed,
                                             NGX_HTTP_PENSTOCK_BUCKETS,
                                             table->pushed_all, &head);
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
