
/*
 * The answer put together: the text around the cells, that of the oldest of
 * them, and between it their values in the order in which they were asked
 * for.  Age is that of the oldest (RFC 9111, Section 5.1).
 */

#include "ngx_http_penstock_availability_cells.h"


typedef struct {
    ngx_uint_t   filled;
    ngx_uint_t   held;
    ngx_uint_t   stale;
    ngx_uint_t   collapsed;
    ngx_uint_t   redis;
    ngx_uint_t   refresh;
    uint64_t     oldest;                /* ms since the epoch */
    uint64_t     until;                 /* the first to be old */
} ngx_http_penstock_cells_sum_t;


static ngx_int_t ngx_http_penstock_cells_around(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cells_sum_t *sum);
static void ngx_http_penstock_cells_sum(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cells_sum_t *sum);
static ngx_int_t ngx_http_penstock_cells_fields(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cells_sum_t *sum, ngx_str_t *before, ngx_str_t *behind);
static ngx_buf_t *ngx_http_penstock_cells_body(ngx_http_penstock_cells_t *c,
    ngx_str_t *before, ngx_str_t *behind);
static ngx_int_t ngx_http_penstock_cells_cache_status(
    ngx_http_penstock_cells_t *c, ngx_http_penstock_cells_sum_t *sum,
    uint64_t now);


ngx_int_t
ngx_http_penstock_cells_answer(ngx_http_penstock_cells_t *c)
{
    ngx_int_t                       rc;
    ngx_buf_t                      *b;
    ngx_str_t                       before, behind;
    ngx_chain_t                     out;
    ngx_http_request_t             *r;
    ngx_http_penstock_cells_sum_t   sum;

    r = c->request;

    ngx_http_penstock_cells_sum(c, &sum);

    rc = ngx_http_penstock_cells_around(c, &sum);

    if (rc == NGX_AGAIN) {
        return NGX_AGAIN;
    }

    if (rc != NGX_OK
        || ngx_http_penstock_cells_fields(c, &sum, &before, &behind)
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b = ngx_http_penstock_cells_body(c, &before, &behind);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    c->ctx->state = NGX_HTTP_PENSTOCK_AV_DONE;

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = b->last - b->pos;

    out.buf = b;
    out.next = NULL;

    return ngx_http_penstock_send(r, &out);
}


/*
 * The text around the oldest cell.  NGX_AGAIN: it is gone, and so are the
 * cells that came with it.  Values of other programs come without one.
 */

static ngx_int_t
ngx_http_penstock_cells_around(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cells_sum_t *sum)
{
    uint64_t                   hash;
    ngx_int_t                  rc;
    ngx_uint_t                 i;
    ngx_http_penstock_cell_t  *cell, *oldest;

    oldest = NULL;

    for (i = 0; i < c->n; i++) {
        cell = &c->cell[i];

        if ((cell->envelope || cell->filled)
            && (oldest == NULL || cell->created < oldest->created))
        {
            oldest = cell;
        }
    }

    if (oldest == NULL) {
        rc = ngx_http_penstock_cells_last_envelope(c, &hash, &c->envelope);

    } else if (c->envelope.len && oldest->envelope == c->envelope_hash) {
        return NGX_OK;

    } else {
        hash = oldest->envelope;
        rc = ngx_http_penstock_cells_envelope(c, hash, &c->envelope);
    }

    if (rc == NGX_OK) {
        c->envelope_hash = hash;
    }

    if (rc != NGX_DECLINED) {
        return rc;
    }

    hash = oldest ? oldest->envelope : 0;

    for (i = 0; i < c->n; i++) {
        cell = &c->cell[i];

        if (cell->envelope == hash) {
            cell->state = NGX_HTTP_PENSTOCK_CELL_LEAD;
            cell->held = 0;
            cell->from_redis = 0;
            cell->missed = 1;
        }
    }

    return NGX_AGAIN;
}


static void
ngx_http_penstock_cells_sum(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cells_sum_t *sum)
{
    uint64_t                   now, until;
    ngx_uint_t                 i;
    ngx_http_penstock_cell_t  *cell;

    now = ngx_http_penstock_av_now();

    ngx_memzero(sum, sizeof(ngx_http_penstock_cells_sum_t));

    sum->oldest = UINT64_MAX;
    sum->until = UINT64_MAX;

    for (i = 0; i < c->n; i++) {
        cell = &c->cell[i];

        sum->oldest = ngx_min(sum->oldest, cell->created);
        until = cell->soft ? now : cell->created + cell->fresh;
        sum->until = ngx_min(sum->until, until);

        if (cell->stale) {
            sum->stale++;

        } else if (cell->filled) {
            sum->filled++;

        } else if (cell->collapsed) {
            sum->collapsed++;

        } else {
            sum->held++;
            sum->redis += cell->from_redis;
            sum->refresh += cell->old;
        }
    }
}


static ngx_int_t
ngx_http_penstock_cells_fields(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cells_sum_t *sum, ngx_str_t *before, ngx_str_t *behind)
{
    u_char                          *v;
    uint64_t                         now, age;
    ngx_str_t                        value;
    ngx_uint_t                       i;
    const char                      *p;
    ps_record_t                      record;
    ngx_http_request_t              *r;
    ngx_http_penstock_cells_pack_t   pack;

    static ngx_str_t  cache_control = ngx_string("Cache-Control");

    r = c->request;

    if (ngx_http_penstock_cells_unpack(&c->envelope, &record, &pack)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    *before = pack.before;
    *behind = pack.behind;

    p = record.headers;

    for (i = 0; i < record.nheaders; i++) {
        if (ngx_http_penstock_av_header(r, &p) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    now = ngx_http_penstock_av_now();
    age = (now > sum->oldest) ? (now - sum->oldest) / 1000 : 0;

    if (c->unkept) {
        ngx_str_set(&value, "no-store");

        if (ngx_http_penstock_add_header(r, &cache_control, &value) == NULL) {
            return NGX_ERROR;
        }

    } else if (pack.limited) {

        /* for as long as its first cell is fresh, in the terms of Age */

        v = ngx_pnalloc(r->pool, sizeof("max-age=") + NGX_INT64_LEN);
        if (v == NULL) {
            return NGX_ERROR;
        }

        value.data = v;
        v = ngx_cpymem(v, "max-age=", sizeof("max-age=") - 1);
        v = ngx_http_penstock_digits(v, sum->until > now
                                        ? age + (sum->until - now) / 1000
                                        : age);
        value.len = v - value.data;

        if (ngx_http_penstock_add_header(r, &cache_control, &value) == NULL) {
            return NGX_ERROR;
        }
    }

    if (ngx_http_penstock_av_age(r, age) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_penstock_cells_cache_status(c, sum, now);
}


static ngx_buf_t *
ngx_http_penstock_cells_body(ngx_http_penstock_cells_t *c, ngx_str_t *before,
    ngx_str_t *behind)
{
    size_t                     len;
    u_char                    *p;
    ngx_buf_t                 *b;
    ngx_uint_t                 i, comma;
    ngx_http_penstock_cell_t  *cell;

    len = before->len + behind->len;

    for (i = 0; i < c->n; i++) {
        len += c->cell[i].value.len + 1;
    }

    b = ngx_create_temp_buf(c->request->pool, len);
    if (b == NULL) {
        return NULL;
    }

    p = ngx_http_penstock_cells_copy(b->last, before->data, before->len);

    comma = 0;

    for (i = 0; i < c->n; i++) {
        cell = &c->cell[i];

        if (cell->value.len == 0) {
            continue;
        }

        if (comma) {
            *p++ = ',';
        }

        comma = 1;
        p = ngx_cpymem(p, cell->value.data, cell->value.len);
    }

    b->last = ngx_http_penstock_cells_copy(p, behind->data, behind->len);

    b->last_buf = 1;
    b->last_in_chain = 1;

    return b;
}


static ngx_int_t
ngx_http_penstock_cells_cache_status(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cells_sum_t *sum, uint64_t now)
{
    u_char                       *p;
    int64_t                       ttl;
    ngx_str_t                     value;
    ngx_http_penstock_av_ctx_t   *ctx;
    ngx_http_penstock_av_zone_t  *zone;

    static ngx_str_t              name = ngx_string("Cache-Status");

    ctx = c->ctx;
    zone = c->zone;

    ngx_http_penstock_count(zone->cell[NGX_HTTP_PENSTOCK_CELLS_HIT],
                            sum->held - sum->redis);

    if (sum->held != c->n || sum->redis) {
        ngx_http_penstock_count(zone->cell[NGX_HTTP_PENSTOCK_CELLS_REDIS_HIT],
                                sum->redis);
        ngx_http_penstock_count(zone->cell[NGX_HTTP_PENSTOCK_CELLS_STALE],
                                sum->stale);
        ngx_http_penstock_count(zone->cell[NGX_HTTP_PENSTOCK_CELLS_MISS],
                                sum->filled);
        ngx_http_penstock_count(zone->cell[NGX_HTTP_PENSTOCK_CELLS_COLLAPSED],
                                sum->collapsed);
    }

    p = ngx_pnalloc(c->request->pool, 160);
    if (p == NULL) {
        return NGX_ERROR;
    }

    value.data = p;

    ttl = ((int64_t) sum->until - (int64_t) now) / 1000;

    if (sum->stale) {
        ctx->status = NGX_HTTP_PENSTOCK_AV_STALE;
        p = ngx_sprintf(p, "Penstock; fwd=stale; fwd-status=%ui; ttl=%L; "
                        "detail=if-error", c->fail_status, ttl);

    } else if (sum->filled == c->n) {
        ctx->status = NGX_HTTP_PENSTOCK_AV_MISS;
        p = ngx_sprintf(p, "Penstock; fwd=miss; fwd-status=200%s",
                        c->stored ? "; stored" : "");

    } else if (sum->filled) {
        ctx->status = NGX_HTTP_PENSTOCK_AV_PARTIAL;
        p = ngx_sprintf(p, "Penstock; fwd=partial; fwd-status=200%s; "
                        "detail=\"%ui of %ui cells held\"",
                        c->stored ? "; stored" : "", c->n - sum->filled,
                        c->n);

    } else if (sum->collapsed) {
        ctx->status = NGX_HTTP_PENSTOCK_AV_COLLAPSED;
        p = ngx_sprintf(p, "Penstock; fwd=%s; collapsed; ttl=%L",
                        sum->collapsed == c->n ? "miss" : "partial", ttl);

    } else {
        ctx->status = sum->refresh ? NGX_HTTP_PENSTOCK_AV_UPDATING
                      : sum->redis ? NGX_HTTP_PENSTOCK_AV_L2_HIT
                                   : NGX_HTTP_PENSTOCK_AV_HIT;

        p = ngx_cpymem(p, "Penstock; hit; ttl=",
                       sizeof("Penstock; hit; ttl=") - 1);

        if (ttl < 0) {
            *p++ = '-';
            ttl = -ttl;
        }

        p = ngx_http_penstock_digits(p, ttl);

        if (sum->redis) {
            p = ngx_cpymem(p, "; detail=redis", sizeof("; detail=redis") - 1);
        }
    }

    value.len = p - value.data;

    return ngx_http_penstock_put_header(c->request, &name, &value)
           ? NGX_OK : NGX_ERROR;
}
