
/*
 * An answer of the upstream taken apart into cells, which are kept here and
 * in Redis.
 */

#include "ngx_http_penstock_availability_cells.h"


/* an element of the answer, in the list of its cell */

typedef struct ngx_http_penstock_cells_part_s  ngx_http_penstock_cells_part_t;

struct ngx_http_penstock_cells_part_s {
    ngx_http_penstock_cells_part_t   *next;
    ps_json_text_t                    text;
    ps_json_text_t                    location;
};

typedef struct {
    ngx_http_penstock_cells_part_t   *first;
    ngx_http_penstock_cells_part_t  **last;
    size_t                            len;
} ngx_http_penstock_cells_slot_t;

typedef struct {
    ngx_http_penstock_cells_ask_t    *ask;
    ps_cell_index_t                   index[PS_CELL_AXES];
    ngx_http_penstock_cells_slot_t   *slot;
} ngx_http_penstock_cells_parse_t;


static ngx_int_t ngx_http_penstock_cells_place(
    ngx_http_penstock_cells_ask_t *ask, ps_cell_index_t *skus,
    ps_cell_index_t *locations, ngx_http_penstock_cell_t *cell,
    ngx_uint_t *place);
static int ngx_http_penstock_cells_element(const ps_json_text_t *element,
    const ps_json_text_t *id, void *data);
static ngx_int_t ngx_http_penstock_cells_join(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cells_slot_t *slot, ngx_str_t *value);
static ngx_int_t ngx_http_penstock_cells_tags(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cells_slot_t *slot, ps_tags_t *tags,
    ngx_http_penstock_cells_store_t *store);
static uint32_t ngx_http_penstock_cells_absent(ngx_http_penstock_cells_t *c,
    uint32_t fresh);


ngx_int_t
ngx_http_penstock_cells_take_apart(ngx_http_penstock_cells_ask_t *ask,
    ps_record_t *record, ps_tags_t *tags, ngx_uint_t store)
{
    char                             *buf;
    uint16_t                         *slots;
    uint64_t                          envelope;
    ngx_str_t                         text, value;
    ngx_int_t                         rc;
    ngx_uint_t                        i, k, n, nloc, ntaken;
    ps_json_text_t                    answer;
    ps_cell_split_t                   split;
    ngx_http_request_t               *r;
    ngx_http_penstock_cell_t         *cell;
    ngx_http_penstock_cells_t        *c;
    ngx_http_penstock_cells_slot_t   *slot;
    ngx_http_penstock_cells_parse_t   parse;
    ngx_http_penstock_cells_store_t  *taken;

    c = ask->cells;
    r = c->request;

    nloc = ask->axis[1].asked ? ask->axis[1].n : 1;
    n = ask->axis[0].n * nloc;

    answer.data = (char *) ask->exchange.answer.data;
    answer.len = ask->exchange.answer.len;

    buf = ngx_pnalloc(r->pool, answer.len + 1);
    parse.slot = ngx_pcalloc(r->pool,
                             n * sizeof(ngx_http_penstock_cells_slot_t));
    taken = ngx_pcalloc(r->pool,
                        n * sizeof(ngx_http_penstock_cells_store_t));

    if (buf == NULL || parse.slot == NULL || taken == NULL) {
        return NGX_ERROR;
    }

    parse.ask = ask;

    for (k = 0; k < PS_CELL_AXES; k++) {

        if (!ask->axis[k].asked) {
            continue;
        }

        slots = ngx_palloc(r->pool, ps_cell_index_size(ask->axis[k].n)
                                    * sizeof(uint16_t));
        if (slots == NULL) {
            return NGX_ERROR;
        }

        (void) ps_cell_index_init(&parse.index[k], ask->axis[k].id,
                                  ask->axis[k].n,
                                  ngx_http_penstock_cells_secret(c->zone),
                                  slots);
    }

    split.list = &c->conf->list;
    split.id = c->conf->id;
    split.nid = (unsigned) c->conf->nid;

    if (ps_cell_split(&split, &answer, buf, ngx_http_penstock_cells_element,
                      &parse)
        != 0)
    {
        return NGX_DECLINED;
    }

    if (ngx_http_penstock_cells_wrap(ask, &split, &text) != NGX_OK) {
        return NGX_ERROR;
    }

    envelope = store ? ngx_http_penstock_cells_store_envelope(c, &text) : 0;

    /* without room for that, nothing can be answered from here later */

    store = store && envelope;

    c->envelope = text;
    c->envelope_hash = envelope;

    ntaken = 0;

    for (i = 0; i < c->n; i++) {
        cell = &c->cell[i];

        /* where it is in this answer, if it is */

        rc = ngx_http_penstock_cells_place(ask, &parse.index[0],
                                           &parse.index[1], cell, &k);
        if (rc != NGX_OK) {
            continue;
        }

        slot = &parse.slot[k];

        if (store && taken[k].cell == NULL) {

            if (ngx_http_penstock_cells_tags(c, slot, tags, &taken[k])
                != NGX_OK)
            {
                return NGX_ERROR;
            }

            taken[k].cell = cell;
            ntaken++;
        }

        if (ngx_http_penstock_cells_join(c, slot, &value) != NGX_OK) {
            return NGX_ERROR;
        }

        cell->value = value;
        cell->envelope = envelope;
        cell->created = store ? record->created : ngx_http_penstock_av_now();
        cell->fresh = store ? record->fresh : 0;
        cell->while_revalidate = store ? record->while_revalidate : 0;
        cell->if_error = store ? record->if_error : 0;
        cell->held = 1;
        cell->valid = 1;
        cell->refresh = 0;
        cell->remote = 0;
        cell->filled = 1;

        if (value.len == 0) {
            cell->fresh = ngx_http_penstock_cells_absent(c, cell->fresh);
        }

        cell->state = NGX_HTTP_PENSTOCK_CELL_HAVE;
    }

    if (!store) {
        return NGX_OK;
    }

    /* each place of the answer is of some cell, as only these were asked */

    for (i = 0, k = 0; i < n; i++) {
        if (taken[i].cell) {
            taken[k++] = taken[i];
        }
    }

    ngx_http_penstock_cells_store(c, taken, ntaken);

    c->stored = 1;

    if (c->clock) {
        ngx_http_penstock_cells_l2_store(c, taken, ntaken);
    }

    return NGX_OK;
}


/* where in an answer a cell is; NGX_DECLINED: it was not asked for */

static ngx_int_t
ngx_http_penstock_cells_place(ngx_http_penstock_cells_ask_t *ask,
    ps_cell_index_t *skus, ps_cell_index_t *locations,
    ngx_http_penstock_cell_t *cell, ngx_uint_t *place)
{
    int                         sku, location;
    ngx_http_penstock_cells_t  *c;

    c = ask->cells;

    sku = ps_cell_index_find(skus, &c->axis[0].id[cell->sku].id);

    if (sku < 0) {
        return NGX_DECLINED;
    }

    if (!ask->axis[1].asked) {
        *place = sku;
        return NGX_OK;
    }

    location = ps_cell_index_find(locations,
                                  &c->axis[1].id[cell->location].id);

    if (location < 0) {
        return NGX_DECLINED;
    }

    *place = sku * ask->axis[1].n + location;

    return NGX_OK;
}


static int
ngx_http_penstock_cells_element(const ps_json_text_t *element,
    const ps_json_text_t *id, void *data)
{
    int                               sku, location;
    ngx_http_penstock_cells_ask_t    *ask;
    ngx_http_penstock_cells_part_t   *part;
    ngx_http_penstock_cells_slot_t   *slot;
    ngx_http_penstock_cells_parse_t  *parse = data;

    ask = parse->ask;

    /* what was not asked for: the lists mean something else to it */

    sku = ps_cell_index_find(&parse->index[0], &id[0]);

    if (sku < 0) {
        return -1;
    }

    if (ask->axis[1].asked) {
        location = ps_cell_index_find(&parse->index[1], &id[1]);

        if (location < 0) {
            return -1;
        }

        sku = sku * (int) ask->axis[1].n + location;
    }

    part = ngx_palloc(ask->cells->request->pool,
                      sizeof(ngx_http_penstock_cells_part_t));
    if (part == NULL) {
        return -1;
    }

    part->next = NULL;
    part->text = *element;
    part->location.len = 0;

    if (!ask->axis[1].asked && ask->cells->conf->nid > 1) {

        /* ids lie in a buffer that is used again */

        part->location.data = (char *)
            ngx_pnalloc(ask->cells->request->pool, id[1].len + 1);
        if (part->location.data == NULL) {
            return -1;
        }

        ngx_memcpy((u_char *) part->location.data, id[1].data, id[1].len);
        part->location.len = id[1].len;
    }

    slot = &parse->slot[sku];

    if (slot->last == NULL) {
        slot->last = &slot->first;
    }

    *slot->last = part;
    slot->last = &part->next;
    slot->len += element->len + 1;

    return 0;
}


/* the elements of a cell, with commas between them */

static ngx_int_t
ngx_http_penstock_cells_join(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cells_slot_t *slot, ngx_str_t *value)
{
    u_char                          *p;
    ngx_http_penstock_cells_part_t  *part;

    part = slot->first;

    if (part == NULL) {
        ngx_str_null(value);
        return NGX_OK;
    }

    if (part->next == NULL) {
        value->data = (u_char *) part->text.data;
        value->len = part->text.len;
        return NGX_OK;
    }

    p = ngx_pnalloc(c->request->pool, slot->len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    value->data = p;
    value->len = slot->len - 1;

    for ( /* void */ ; part; part = part->next) {
        p = ngx_cpymem(p, part->text.data, part->text.len);

        if (part->next) {
            *p++ = ',';
        }
    }

    /* the same cell may be asked for again */

    slot->first->text.data = (char *) value->data;
    slot->first->text.len = value->len;
    slot->first->next = NULL;
    slot->len = value->len + 1;

    return NGX_OK;
}


/* what else voids a cell: tags of the answer, locations that it didn't name */

static ngx_int_t
ngx_http_penstock_cells_tags(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cells_slot_t *slot, ps_tags_t *tags,
    ngx_http_penstock_cells_store_t *store)
{
    u_char                          *p, *last;
    ngx_uint_t                       i, n;
    ngx_http_penstock_cells_part_t  *part;

    n = tags->n;

    for (part = slot->first; part; part = part->next) {
        n += (part->location.len != 0);
    }

    if (n == 0) {
        return NGX_OK;
    }

    if (n > 0xffff) {
        return NGX_ERROR;
    }

    store->tag = ngx_palloc(c->request->pool, n * sizeof(uint32_t));
    if (store->tag == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < tags->n; i++) {
        store->tag[i] = (uint32_t) tags->tag[i].hash;
    }

    for (part = slot->first; part; part = part->next) {
        if (part->location.len) {
            store->tag[i++] = (uint32_t)
                ngx_http_penstock_cells_location_hash(&part->location);
        }
    }

    store->ntags = n;

    if (c->clock == 0) {
        return NGX_OK;
    }

    /* in Redis by their names */

    store->names = tags;

    if (n == tags->n) {
        return NGX_OK;
    }

    store->names = ngx_palloc(c->request->pool, sizeof(ps_tags_t));
    if (store->names == NULL) {
        return NGX_ERROR;
    }

    *store->names = *tags;

    for (part = slot->first; part; part = part->next) {

        if (part->location.len == 0) {
            continue;
        }

        p = ngx_pnalloc(c->request->pool, sizeof("location,")
                                          + part->location.len);
        if (p == NULL) {
            return NGX_ERROR;
        }

        last = ngx_cpymem(p, "location,", sizeof("location,") - 1);
        last = ngx_cpymem(last, part->location.data, part->location.len);

        ps_tags_add(store->names, (char *) p, last - p);
    }

    return NGX_OK;
}


static uint32_t
ngx_http_penstock_cells_absent(ngx_http_penstock_cells_t *c, uint32_t fresh)
{
    uint64_t                       ms;
    ngx_uint_t                     i;
    ngx_array_t                   *a;
    ngx_http_penstock_av_valid_t  *valid;

    ms = NGX_HTTP_PENSTOCK_CELLS_ABSENT;
    a = c->ctx->conf->valid;

    for (i = 0; a && i < a->nelts; i++) {
        valid = a->elts;

        if (valid[i].code == NGX_HTTP_NOT_FOUND) {
            ms = (uint64_t) valid[i].sec * 1000;
            break;
        }
    }

    return (uint32_t) ngx_min(ms, fresh);
}
