
/*
 * What Redis holds of cells: which of it stands, and into L1 with that.
 *
 * A record stands if its fill began after the last invalidation of its tags.
 * Plain JSON, another program's, has no such time.
 */

#include "ngx_http_penstock_availability_cells.h"


/* a record from further in the future is not used, ms */

#define NGX_HTTP_PENSTOCK_CELLS_AHEAD  5000

/* freshness of plain JSON without an availability_cache_valid, ms */

#define NGX_HTTP_PENSTOCK_CELLS_PLAIN  1000


static ngx_uint_t ngx_http_penstock_cells_usable(
    ngx_http_penstock_cells_t *c, ngx_http_penstock_cell_t *cell,
    ps_record_t *record, uint64_t now);
static ngx_uint_t ngx_http_penstock_cells_dropped(
    ngx_http_penstock_cells_t *c, ngx_uint_t i);
static ngx_int_t ngx_http_penstock_cells_judge(ngx_http_penstock_cells_t *c,
    ngx_uint_t i, ps_record_t *record, ngx_http_penstock_cells_pack_t *pack);
static ngx_int_t ngx_http_penstock_cells_plain(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cell_t *cell, ngx_str_t *raw);
static ngx_int_t ngx_http_penstock_cells_plain_value(
    ngx_http_penstock_cells_t *c, ngx_http_penstock_cell_t *cell,
    ngx_str_t *raw);
static ngx_int_t ngx_http_penstock_cells_own_tags(
    ngx_http_penstock_cells_t *c, ngx_http_penstock_cells_store_t *store,
    ps_record_t *record);


void
ngx_http_penstock_cells_found(ngx_http_penstock_cells_t *c)
{
    uint64_t                          now, envelope;
    ngx_str_t                         text, last;
    ngx_uint_t                        i, n, nsoft, wanted;
    ps_record_t                       record;
    ngx_http_penstock_cell_t         *cell;
    ngx_http_penstock_cells_pack_t    pack;
    ngx_http_penstock_cells_store_t  *store, *soft;

    store = ngx_pcalloc(c->request->pool,
                        c->n * sizeof(ngx_http_penstock_cells_store_t));
    if (store == NULL) {
        return;
    }

    /* from its end, those that were purged softly */

    soft = store + c->n;

    n = 0;
    nsoft = 0;
    wanted = 0;
    envelope = 0;
    now = ngx_http_penstock_av_now();

    ngx_str_null(&last);

    for (i = 0; i < c->n; i++) {
        cell = &c->cell[i];

        if (!ngx_http_penstock_cells_wanted(c, cell)) {
            continue;
        }

        wanted++;

        /* what is held here stands no more, or we should not have asked */

        cell->valid = 0;

        if (cell->held && ngx_http_penstock_cells_dropped(c, i)) {

            /* never to be shown again, not even if the upstream fails */

            cell->held = 0;
        }

        if (c->raw[i].len == 0) {
            continue;
        }

        switch (ngx_http_penstock_cells_judge(c, i, &record, &pack)) {

        case NGX_OK:
            break;

        case NGX_ABORT:

            /* plain JSON, if it is that */

            cell->plain = 1;

            if (ngx_http_penstock_cells_plain(c, cell, &c->raw[i]) == NGX_OK)
            {
                store[n].cell = cell;
                store[n].plain = 1;
                n++;
            }

            continue;

        case NGX_BUSY:

            if (ngx_http_penstock_cells_usable(c, cell, &record, now)) {
                soft--;
                nsoft++;

                soft->cell = cell;
                soft->soft = 1;

                if (ngx_http_penstock_cells_own_tags(c, soft, &record)
                    != NGX_OK)
                {
                    return;
                }
            }

            continue;

        default:
            continue;
        }

        if (now >= record.created + record.fresh) {
            continue;
        }

        if (ngx_http_penstock_cells_bare(c->request->pool, &record, &pack,
                                         &text)
            != NGX_OK)
        {
            return;
        }

        /* neighbours mostly come from the same answer */

        if (envelope == 0 || last.len != text.len
            || ngx_memcmp(last.data, text.data, text.len) != 0)
        {
            last = text;
            envelope = ngx_http_penstock_cells_store_envelope(c, &text);

            if (envelope == 0) {
                continue;
            }
        }

        if (ngx_http_penstock_cells_own_tags(c, &store[n], &record)
            != NGX_OK)
        {
            return;
        }

        cell->value = pack.value;
        cell->envelope = envelope;
        cell->created = record.created;
        cell->fresh = record.fresh;
        cell->while_revalidate = record.while_revalidate;
        cell->if_error = record.if_error;

        store[n++].cell = cell;
    }

    for (i = 0; i < n; i++) {
        cell = store[i].cell;

        cell->state = NGX_HTTP_PENSTOCK_CELL_HAVE;
        cell->held = 1;
        cell->valid = 1;
        cell->soft = 0;
        cell->old = 0;
        cell->refresh = 0;
        cell->remote = 0;
        cell->from_redis = 1;
    }

    ngx_http_penstock_cells_store(c, store, n);

    if (n + nsoft < wanted) {

        /* the upstream is asked anyhow: for these too */

        return;
    }

    for (i = 0; i < nsoft; i++) {
        cell = soft[i].cell;

        cell->state = NGX_HTTP_PENSTOCK_CELL_HAVE;
        cell->soft = 1;
        cell->old = 1;
        cell->refresh = 1;
        cell->remote = 0;
    }

    ngx_http_penstock_cells_store(c, soft, nsoft);
}


/* whether what we hold is that record, and may be shown while we read it */

static ngx_uint_t
ngx_http_penstock_cells_usable(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cell_t *cell, ps_record_t *record, uint64_t now)
{
    return !c->background && cell->held
           && cell->created == record->created && cell->while_revalidate
           && now < cell->created + cell->fresh + cell->while_revalidate;
}


/*
 * Whether what we hold of a cell may be from before a hard purge.  Its record
 * in Redis says when it was filled, if it is there.
 */

static ngx_uint_t
ngx_http_penstock_cells_dropped(ngx_http_penstock_cells_t *c, ngx_uint_t i)
{
    uint64_t                         hard;
    ps_record_t                      record;
    ngx_http_penstock_cell_t        *cell;
    ngx_http_penstock_cells_pack_t   pack;

    cell = &c->cell[i];

    hard = ngx_max(c->hard[0], c->hard[1 + cell->sku]);

    if (c->axis[1].asked) {
        hard = ngx_max(hard, c->hard[1 + c->axis[0].n + cell->location]);
    }

    return hard && (c->raw[i].len == 0
                    || ngx_http_penstock_cells_unpack(&c->raw[i], &record,
                                                      &pack)
                       != NGX_OK
                    || record.clock <= hard);
}


/*
 * NGX_OK: the record stands; NGX_BUSY: it was purged softly; NGX_ABORT: it is
 * none; NGX_DECLINED: void.
 */

static ngx_int_t
ngx_http_penstock_cells_judge(ngx_http_penstock_cells_t *c, ngx_uint_t i,
    ps_record_t *record, ngx_http_penstock_cells_pack_t *pack)
{
    uint64_t                   newest, soft, t, s;
    ps_tag_t                   tag;
    ngx_uint_t                 k, j, base;
    const char                *p;
    ngx_http_penstock_cell_t  *cell;

    cell = &c->cell[i];

    if (ngx_http_penstock_cells_unpack(&c->raw[i], record, pack) != NGX_OK) {
        return NGX_ABORT;
    }

    if (record->clock >= c->clock
        || record->created > ngx_http_penstock_av_now()
                             + NGX_HTTP_PENSTOCK_CELLS_AHEAD)
    {
        return NGX_DECLINED;
    }

    newest = ngx_max(c->epoch, c->times[cell->sku]);
    soft = ngx_max(c->soft[0], c->soft[1 + cell->sku]);
    base = c->axis[0].n;

    if (c->axis[1].asked) {
        newest = ngx_max(newest, c->times[base + cell->location]);
        soft = ngx_max(soft, c->soft[1 + base + cell->location]);
        base += c->axis[1].n;
    }

    p = record->tags;

    for (k = 0; k < record->ntags; k++) {
        ps_record_tag(&p, &tag);

        t = UINT64_MAX;
        s = 0;

        for (j = 0; j < c->extra->n; j++) {

            if (c->extra->tag[j].len != tag.len
                || ngx_memcmp(c->extra->tag[j].name, tag.name, tag.len) != 0)
            {
                continue;
            }

            if (j < c->known) {
                t = c->times[base + j];
                s = c->soft[1 + base + j];

            } else if (c->more_times) {
                t = c->more_times[j - c->known];
                s = c->more_soft[1 + j - c->known];
            }

            break;
        }

        newest = ngx_max(newest, t);
        soft = ngx_max(soft, s);
    }

    if (newest >= record->clock) {
        return NGX_DECLINED;
    }

    return (soft < record->clock) ? NGX_OK : NGX_BUSY;
}


/*
 * Plain JSON counts from when its key was pushed: an invalidation after that
 * voids it.  Where that push was not seen, any on record may have come after.
 */

static ngx_int_t
ngx_http_penstock_cells_plain(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cell_t *cell, ngx_str_t *raw)
{
    ngx_uint_t                     i, place;
    ngx_array_t                   *a;
    ngx_http_penstock_av_valid_t  *valid;

    if (!cell->marked) {

        place = c->axis[0].n + cell->location;

        if (c->times[cell->sku] || c->soft[1 + cell->sku]
            || (c->axis[1].asked && (c->times[place] || c->soft[1 + place])))
        {
            return NGX_DECLINED;
        }

        cell->seq = c->seq;
    }

    if (ngx_http_penstock_cells_plain_value(c, cell, raw) != NGX_OK) {
        return NGX_DECLINED;
    }

    cell->envelope = 0;
    cell->created = ngx_http_penstock_av_now();
    cell->fresh = NGX_HTTP_PENSTOCK_CELLS_PLAIN;
    cell->while_revalidate = 0;
    cell->if_error = (uint32_t) c->ctx->conf->if_error * 1000;

    a = c->ctx->conf->valid;

    for (i = 0; a && i < a->nelts; i++) {
        valid = a->elts;

        if (valid[i].code == NGX_HTTP_OK || valid[i].code == 0) {
            cell->fresh = (uint32_t) valid[i].sec * 1000;
            break;
        }
    }

    return ngx_http_penstock_cells_stands(c, cell) ? NGX_OK : NGX_DECLINED;
}


/* an element of this cell, or an array of such, perhaps empty */

static ngx_int_t
ngx_http_penstock_cells_plain_value(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cell_t *cell, ngx_str_t *raw)
{
    char             *buf;
    const char       *p;
    ngx_uint_t        k;
    ps_json_text_t    text, element, value, id, *want;

    text.data = (char *) raw->data;
    text.len = raw->len;

    buf = ngx_pnalloc(c->request->pool, raw->len + 1);

    if (buf == NULL || ps_json_text_check(text.data, text.len) != 0) {
        return NGX_DECLINED;
    }

    while (text.len && (*text.data == ' ' || *text.data == '\t'
                        || *text.data == '\r' || *text.data == '\n'))
    {
        text.data++;
        text.len--;
    }

    while (text.len && text.data[text.len - 1] <= ' ') {
        text.len--;
    }

    cell->value.data = (u_char *) text.data;
    cell->value.len = text.len;

    p = text.data;

    if (*p == '[') {

        /* all between the brackets is the value */

        cell->value.data++;
        cell->value.len -= 2;

        while (cell->value.len && cell->value.data[0] <= ' ') {
            cell->value.data++;
            cell->value.len--;
        }

        if (ps_json_text_next(&text, &p, &element) != 1) {
            return NGX_OK;
        }

    } else {
        element = text;
        p = NULL;
    }

    do {
        for (k = 0; k < c->conf->nid; k++) {

            if (k == 1 && !c->axis[1].asked) {
                break;
            }

            want = k ? &c->axis[1].id[cell->location].id
                     : &c->axis[0].id[cell->sku].id;

            if (ps_json_text_find(&element, &c->conf->id[k], &value) != 0
                || ps_json_text_id(&value, buf, &id) != 0
                || id.len != want->len
                || ngx_memcmp(id.data, want->data, id.len) != 0)
            {
                return NGX_DECLINED;
            }
        }

    } while (p && ps_json_text_next(&text, &p, &element) == 1);

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_cells_own_tags(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cells_store_t *store, ps_record_t *record)
{
    ps_tag_t     tag;
    ngx_uint_t   i;
    const char  *p;

    if (record->ntags == 0) {
        return NGX_OK;
    }

    store->tag = ngx_palloc(c->request->pool,
                            record->ntags * sizeof(uint32_t));
    if (store->tag == NULL) {
        return NGX_ERROR;
    }

    p = record->tags;

    for (i = 0; i < record->ntags; i++) {
        ps_record_tag(&p, &tag);

        /* the number in the record is its writer's word */

        store->tag[i] = (uint32_t) ps_tag_hash(tag.name, tag.len);
    }

    store->ntags = record->ntags;

    return NGX_OK;
}


ngx_uint_t
ngx_http_penstock_cells_wanted(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cell_t *cell)
{
    return cell->state == NGX_HTTP_PENSTOCK_CELL_LEAD
           || (c->background && cell->refresh);
}
