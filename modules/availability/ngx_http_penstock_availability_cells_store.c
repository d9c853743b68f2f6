
/*
 * Cells and the texts around them into shared memory, and the ends of fills.
 */

#include "ngx_http_penstock_availability_cells.h"
#include "ngx_http_penstock_availability_cells_shm.h"


/* cells written without letting others in */

#define NGX_HTTP_PENSTOCK_CELLS_BATCH    64

/* marks texts around cells, and what else is no cell, apart from cells: no
   keyed hash has it */

#define NGX_HTTP_PENSTOCK_CELLS_TEXT     0x5465787441726f75ULL
#define NGX_HTTP_PENSTOCK_CELLS_SCOPE    0x4c61737454657874ULL
#define NGX_HTTP_PENSTOCK_CELLS_LARGE    0x546f6f4c61726765ULL


static void ngx_http_penstock_cells_put(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cells_shm_t *shm, ngx_http_penstock_cells_store_t *s,
    uint64_t now);
static ngx_int_t ngx_http_penstock_cells_text(ngx_http_penstock_cells_t *c,
    uint64_t hash[2], ngx_str_t *text, uint64_t *made);
static void ngx_http_penstock_cells_large_hash(ngx_http_penstock_cells_t *c,
    uint64_t hash[2]);


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
    ps_cell_t                       head, *held;
    ngx_uint_t                      room;
    ps_cell_fill_t                 *slot;
    ngx_http_penstock_cell_t       *cell;
    ngx_http_penstock_tag_table_t  *table;

    table = ngx_http_penstock_av_tag_table(c->zone);
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

    if (s->soft) {
        head.flags |= PS_CELL_SOFT;
    }

    ngx_http_penstock_cells_tag(c, cell, &head);

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
            (void) ngx_http_penstock_cells_copy(
                                      (u_char *) ps_cell_tags(held), s->tag,
                                      s->ntags * sizeof(uint32_t));
            (void) ngx_http_penstock_cells_copy(
                                      (u_char *) ps_cell_value(held),
                                      cell->value.data, cell->value.len);

            cell->valid = !ngx_http_penstock_cells_void(table, held)
                          && !ngx_http_penstock_cells_soft(table, held)
                          && !(head.flags & PS_CELL_DIRTY);

        } else {
            cell->valid = 0;
            room = 0;
        }
    }

    if (cell->slot && !s->soft) {
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
ngx_http_penstock_cells_end(ngx_http_penstock_cells_t *c, ngx_uint_t state,
    ngx_uint_t status)
{
    uint64_t                        now;
    ngx_uint_t                      i;
    ps_cell_fill_t                 *slot;
    ngx_http_penstock_cell_t       *cell;
    ngx_http_penstock_cells_shm_t  *shm;

    for (i = 0;
         i < c->n && (!c->cell[i].slot || c->cell[i].remote);
         i++)
    {
        /* void */
    }

    if (i == c->n) {
        return 0;
    }

    shm = ngx_http_penstock_zone_data(c->zone->cells);
    now = ngx_http_penstock_av_now();

    ngx_http_penstock_cells_lock(shm);

    for ( /* void */ ; i < c->n; i++) {
        cell = &c->cell[i];

        if (!cell->slot || cell->remote) {
            continue;
        }

        slot = ps_cell_fills_find(shm->fills, cell->hash);

        if (slot && slot->fill == c->fill) {
            slot->state = (uint16_t) state;
            slot->status = (uint16_t) status;

            if (state == PS_CELL_FILL_FAILED && c->timed_out
                && !ngx_http_penstock_cells_showable(cell, now))
            {
                slot->state = PS_CELL_FILL_FREE;
            }
        }

        cell->slot = 0;
    }

    ngx_http_penstock_cells_unlock(shm);

    return 1;
}


void
ngx_http_penstock_cells_leave(ngx_http_penstock_cells_t *c)
{
    ngx_http_penstock_tag_table_t  *table;

    if (ngx_http_penstock_cells_end(c, PS_CELL_FILL_FREE, 0)) {
        table = ngx_http_penstock_av_tag_table(c->zone);

        (void) ngx_atomic_fetch_add(&table->wake, 1);

        ngx_http_penstock_wait_wake(&c->zone->wait);
    }
}


/* of all cells that it asks for: for others an answer may be small */

static void
ngx_http_penstock_cells_large_hash(ngx_http_penstock_cells_t *c,
    uint64_t hash[2])
{
    uint64_t                 link[4];
    ngx_uint_t               i;
    const ps_siphash_key_t  *key;

    key = ngx_http_penstock_cells_secret(c->zone);

    hash[0] = 0;
    hash[1] = 0;

    for (i = 0; i < c->n; i++) {
        link[0] = hash[0];
        link[1] = hash[1];
        link[2] = c->cell[i].hash[0];
        link[3] = c->cell[i].hash[1];

        ps_siphash128(key, (u_char *) link, sizeof(link), hash);
    }

    hash[1] = NGX_HTTP_PENSTOCK_CELLS_LARGE;
}


void
ngx_http_penstock_cells_set_large(ngx_http_penstock_cells_t *c)
{
    ps_cell_t                       head;
    ngx_http_penstock_cells_shm_t  *shm;

    shm = ngx_http_penstock_zone_data(c->zone->cells);

    ngx_memzero(&head, sizeof(ps_cell_t));

    ngx_http_penstock_cells_large_hash(c, head.hash);
    head.created = ngx_http_penstock_av_now();

    ngx_http_penstock_cells_lock(shm);

    (void) ps_cell_insert(shm->table, &head);

    ngx_http_penstock_cells_unlock(shm);
}


ngx_uint_t
ngx_http_penstock_cells_large(ngx_http_penstock_cells_t *c)
{
    uint64_t                        hash[2];
    ps_cell_t                      *held;
    ngx_uint_t                      large;
    ngx_http_penstock_cells_shm_t  *shm;

    shm = ngx_http_penstock_zone_data(c->zone->cells);

    ngx_http_penstock_cells_large_hash(c, hash);

    ngx_http_penstock_cells_lock(shm);

    held = ps_cell_find(shm->table, hash);
    large = held && ngx_http_penstock_av_now()
                    < held->created + NGX_HTTP_PENSTOCK_PASS;

    ngx_http_penstock_cells_unlock(shm);

    return large;
}
