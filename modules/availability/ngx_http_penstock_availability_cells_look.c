
/*
 * Cells that a request needs: those that are held are copied, and of each
 * other one it is decided who reads it.  The lock is held for the copies of
 * one request.
 */

#include "ngx_http_penstock_availability_cells.h"
#include "ngx_http_penstock_availability_cells_shm.h"


/* a fill is given up by all others after that, ms */

#define NGX_HTTP_PENSTOCK_CELLS_FILL_MAX 600000

/* room for a value at first */

#define NGX_HTTP_PENSTOCK_CELLS_VALUE    160


static size_t ngx_http_penstock_cells_look_locked(
    ngx_http_penstock_cells_t *c, ngx_http_penstock_cells_shm_t *shm,
    uint64_t now);
static size_t ngx_http_penstock_cells_take(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cell_t *cell, ps_cell_t *held, uint64_t now);
static void ngx_http_penstock_cells_elect(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cells_shm_t *shm, ngx_http_penstock_cell_t *cell);
static ngx_uint_t ngx_http_penstock_cells_joins(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cell_t *cell, ps_cell_fill_t *slot);
static ngx_uint_t ngx_http_penstock_cells_trusted(
    ngx_http_penstock_cells_t *c, ps_cell_t *held, uint64_t now);


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
    ngx_uint_t                      valid, soft, trusted, have, old;
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
    soft = ngx_http_penstock_cells_soft(table, held);
    trusted = ngx_http_penstock_cells_trusted(c, held, now);
    fresh_until = held->created + held->fresh;

    have = 0;
    old = 0;

    if (cell->state == NGX_HTTP_PENSTOCK_CELL_FOLLOW
        && held->made_by == (uint32_t) cell->fill
        && !(held->flags & PS_CELL_SOFT)
        && (!cell->late || (valid && !soft)))
    {
        /* our request is older than an invalidation that came meanwhile */

        have = 1;
        cell->collapsed = 1;

    } else if (valid && !soft && trusted && now < fresh_until) {
        have = 1;

    } else if (valid && trusted && held->while_revalidate
               && now < fresh_until + held->while_revalidate)
    {
        /* a purge ends its freshness, and begins no new time */

        have = 1;
        old = 1;

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
    cell->soft = soft;
    cell->old = old;
    cell->refresh = old;

    /*
     * For when it can't be read anew: who can't ask Redis doesn't know what
     * was changed there.
     */

    cell->valid = !have && valid && !soft && !(held->flags & PS_CELL_DIRTY)
                  && !ngx_http_penstock_cells_touched(table, held);

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
    ps_cell_t                       cell_tags;
    ngx_http_penstock_tag_table_t  *table;

    /* another worker may have looked at the clock a little later than we */

    if ((int32_t) ((uint32_t) ngx_current_msec - slot->since)
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

    ngx_memzero(&cell_tags, sizeof(ps_cell_t));
    cell_tags.seq = slot->seq;

    ngx_http_penstock_cells_tag(c, cell, &cell_tags);

    return !ngx_http_penstock_cells_touched(table, &cell_tags);
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
