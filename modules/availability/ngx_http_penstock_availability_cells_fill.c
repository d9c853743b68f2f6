
/*
 * Cells from the upstream: one request for those that are missing, or some
 * side by side, and what comes back taken apart.
 */

#include "ngx_http_penstock_availability_cells.h"


static ngx_int_t ngx_http_penstock_cells_axes_needed(
    ngx_http_penstock_cells_t *c, uint16_t *needed[PS_CELL_AXES],
    ngx_uint_t n[PS_CELL_AXES], ngx_uint_t *exact);
static ngx_int_t ngx_http_penstock_cells_start(
    ngx_http_penstock_cells_ask_t *ask, ngx_uint_t as_is);
static ngx_int_t ngx_http_penstock_cells_uri(ngx_http_request_t *r,
    ngx_str_t *uri);
static void ngx_http_penstock_cells_done(ngx_http_penstock_exchange_t *x);
static void ngx_http_penstock_cells_fail(ngx_http_penstock_cells_t *c);
static void ngx_http_penstock_cells_odd(ngx_http_penstock_cells_ask_t *ask);
static void ngx_http_penstock_cells_whole_done(
    ngx_http_penstock_exchange_t *x);


/* of a POST, what "get" drops of a GET */

static ngx_http_penstock_header_t  ngx_http_penstock_cells_drop[] = {
    { ngx_string("If-Modified-Since"), ngx_null_string },
    { ngx_string("If-Unmodified-Since"), ngx_null_string },
    { ngx_string("If-Match"), ngx_null_string },
    { ngx_string("If-None-Match"), ngx_null_string },
    { ngx_string("If-Range"), ngx_null_string },
    { ngx_string("Range"), ngx_null_string },
    { ngx_string("Accept-Encoding"), ngx_null_string },
    { ngx_string("Expect"), ngx_null_string }
};


/*
 * Asks for all that we lead, or, in the background, are to refresh.  With
 * c->pending 0 afterwards nothing was asked, and c says why.
 */

ngx_int_t
ngx_http_penstock_cells_fill(ngx_http_penstock_cells_t *c)
{
    uint16_t                       *needed[PS_CELL_AXES];
    ngx_uint_t                      i, j, k, n[PS_CELL_AXES], per, exact;
    ps_cell_axis_t                 *axis;
    ngx_http_request_t             *r;
    ngx_http_penstock_cells_ask_t  *ask;

    r = c->request;

    if (ngx_http_penstock_cells_axes_needed(c, needed, n, &exact) != NGX_OK) {
        goto failed;
    }

    if (n[0] == 0) {

        /* Redis had them all */

        ngx_http_penstock_cells_end(c, PS_CELL_FILL_FREE, 0);
        return NGX_OK;
    }

    per = c->conf->max_items ? c->conf->max_items : n[0];

    c->nasks = (n[0] + per - 1) / per;

    c->ask = ngx_pcalloc(r->pool,
                         c->nasks * sizeof(ngx_http_penstock_cells_ask_t));
    if (c->ask == NULL) {
        goto failed;
    }

    /* the last one to end is not to find the others not yet begun */

    c->pending = 1;
    c->stage = NGX_HTTP_PENSTOCK_CELLS_ASKED;
    c->timed_out = 0;

    for (i = 0; i < c->nasks; i++) {
        ask = &c->ask[i];

        ask->cells = c;
        ask->whole = (exact && c->nasks == 1);

        for (k = 0; k < c->conf->axes; k++) {
            axis = &ask->axis[k];
            *axis = c->axis[k];

            if (!axis->asked) {
                axis->n = 0;
                continue;
            }

            ask->index[k] = needed[k] + (k == 0 ? i * per : 0);
            axis->n = (unsigned) (k == 0 ? ngx_min(per, n[0] - i * per)
                                         : n[k]);

            axis->id = ngx_palloc(r->pool, axis->n * sizeof(ps_cell_id_t));
            if (axis->id == NULL) {
                goto unstarted;
            }

            for (j = 0; j < axis->n; j++) {
                axis->id[j] = c->axis[k].id[ask->index[k][j]];
            }
        }

        if (ngx_http_penstock_cells_start(ask, ask->whole) != NGX_OK) {
            goto unstarted;
        }

        c->pending++;
        ngx_http_penstock_count(c->zone->fills, 1);
    }

    c->pending--;

    return NGX_OK;

unstarted:

    /* those that are out end by themselves */

    c->pending--;

failed:

    c->fail_status = NGX_HTTP_INTERNAL_SERVER_ERROR;
    ngx_http_penstock_cells_end(c, PS_CELL_FILL_FAILED,
                                NGX_HTTP_INTERNAL_SERVER_ERROR);

    return NGX_ERROR;
}


/*
 * The places in each axis of what is to be read, each value once; "exact":
 * that is all of the request, and it names nothing twice.
 */

static ngx_int_t
ngx_http_penstock_cells_axes_needed(ngx_http_penstock_cells_t *c,
    uint16_t *needed[PS_CELL_AXES], ngx_uint_t n[PS_CELL_AXES],
    ngx_uint_t *exact)
{
    int                        at;
    u_char                    *want;
    uint16_t                  *slot;
    ngx_uint_t                 i, k, len;
    ngx_pool_t                *pool;
    ps_cell_index_t            index;
    ngx_http_penstock_cell_t  *cell;

    pool = c->request->pool;

    *exact = 1;

    for (k = 0; k < PS_CELL_AXES; k++) {

        needed[k] = NULL;
        n[k] = 0;

        if (!c->axis[k].asked) {
            continue;
        }

        len = c->axis[k].n;

        want = ngx_pcalloc(pool, len);
        needed[k] = ngx_palloc(pool, len * sizeof(uint16_t));
        slot = ngx_palloc(pool, ps_cell_index_size(len) * sizeof(uint16_t));

        if (want == NULL || needed[k] == NULL || slot == NULL) {
            return NGX_ERROR;
        }

        if (ps_cell_index_init(&index, c->axis[k].id, len,
                               ngx_http_penstock_cells_secret(c->zone), slot)
            != len)
        {
            *exact = 0;
        }

        for (i = 0; i < c->n; i++) {
            cell = &c->cell[i];

            if (ngx_http_penstock_cells_wanted(c, cell) && !cell->remote) {
                want[k == 0 ? cell->sku : cell->location] = 1;
            }
        }

        for (i = 0; i < len; i++) {

            if (!want[i]) {
                continue;
            }

            at = ps_cell_index_find(&index, &c->axis[k].id[i].id);

            if ((ngx_uint_t) at != i) {

                /* the same as an earlier one, which may not be wanted */

                if (want[at]) {
                    continue;
                }

                want[at] = 1;
            }

            needed[k][n[k]++] = (uint16_t) at;
        }

        if (n[k] != len) {
            *exact = 0;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_cells_start(ngx_http_penstock_cells_ask_t *ask,
    ngx_uint_t as_is)
{
    u_char                        *p;
    size_t                         size;
    ngx_http_request_t            *r;
    ngx_http_penstock_cells_t     *c;
    ngx_http_penstock_exchange_t  *x;

    c = ask->cells;
    r = c->request;

    ask->ctx.request = r;
    ask->ctx.conf = c->ctx->conf;
    ask->ctx.zone = c->zone;
    ask->ctx.clock = c->clock;

    if (ngx_http_penstock_av_tags(&ask->ctx) == NULL) {
        return NGX_ERROR;
    }

    x = &ask->exchange;

    ask->ctx.exchange = x;

    x->host = r;
    x->data = ask;
    x->max_size = c->ctx->conf->max_size;

    if (x->handler == NULL) {
        x->handler = ngx_http_penstock_cells_done;
    }

    if (c->conf->in_body) {
        x->replace_body = 1;
        x->headers = ngx_http_penstock_cells_drop;
        x->nheaders = sizeof(ngx_http_penstock_cells_drop)
                      / sizeof(ngx_http_penstock_header_t);

        x->body.data = (u_char *) c->body.data;
        x->body.len = c->body.len;

        if (r->headers_in.content_type) {
            x->content_type = r->headers_in.content_type->value;
        }

    } else {
        x->get = 1;
    }

    if (as_is) {
        return ngx_http_penstock_exchange_start(x);
    }

    if (c->conf->in_body) {
        size = ps_cell_body_size(ask->axis, c->conf->axes, c->body.len);

        p = ngx_pnalloc(r->pool, size);
        if (p == NULL) {
            return NGX_ERROR;
        }

        x->body.data = p;
        x->body.len = ps_cell_body_write(ask->axis, c->conf->axes, &c->body,
                                         (char *) p);
    }

    /* an axis of the query may stand beside one of the body */

    size = ps_cell_query_size(ask->axis, c->conf->axes, r->args.len);

    p = ngx_pnalloc(r->pool, size);
    if (p == NULL) {
        return NGX_ERROR;
    }

    x->args.data = p;
    x->args.len = ps_cell_query_write(ask->axis, c->conf->axes,
                                      (char *) r->args.data, r->args.len,
                                      (char *) p);

    if (ngx_http_penstock_cells_uri(r, &x->uri) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_penstock_exchange_start(x);
}


/* the path as it would be sent for the request itself */

static ngx_int_t
ngx_http_penstock_cells_uri(ngx_http_request_t *r, ngx_str_t *uri)
{
    u_char     *p;
    uintptr_t   escape;

    if (r->valid_unparsed_uri) {
        uri->data = r->unparsed_uri.data;
        p = ngx_strlchr(uri->data, uri->data + r->unparsed_uri.len, '?');
        uri->len = p ? (size_t) (p - uri->data) : r->unparsed_uri.len;

        return NGX_OK;
    }

    escape = 2 * ngx_escape_uri(NULL, r->uri.data, r->uri.len,
                                NGX_ESCAPE_URI);

    uri->len = r->uri.len + escape;

    uri->data = ngx_pnalloc(r->pool, uri->len);
    if (uri->data == NULL) {
        return NGX_ERROR;
    }

    if (escape) {
        (void) ngx_escape_uri(uri->data, r->uri.data, r->uri.len,
                              NGX_ESCAPE_URI);
    } else {
        ngx_memcpy(uri->data, r->uri.data, r->uri.len);
    }

    return NGX_OK;
}


static void
ngx_http_penstock_cells_done(ngx_http_penstock_exchange_t *x)
{
    ngx_int_t                       rc;
    ngx_uint_t                      state;
    ps_tags_t                      *tags;
    ps_record_t                     record;
    ngx_http_penstock_cells_t      *c;
    ngx_http_penstock_av_kind_e     kind;
    ngx_http_penstock_cells_ask_t  *ask = x->data;

    c = ask->cells;

    /* of configuration, and of the upstream's Cache-Tag */

    tags = ask->ctx.tags;

    kind = ngx_http_penstock_av_judge(&ask->ctx, &record, tags);

    if (kind == NGX_HTTP_PENSTOCK_AV_STORE && ask->ctx.varies) {

        /* cells are shared by all who send the same key */

        kind = NGX_HTTP_PENSTOCK_AV_NO_STORE;
    }

    if (kind == NGX_HTTP_PENSTOCK_AV_FAILURE) {
        ngx_http_penstock_count(c->zone->fill_errors, 1);

        c->fail_status = ask->ctx.fail_status;
        c->timed_out = ngx_http_penstock_av_timed_out(&ask->ctx);
        c->retry_after = ask->ctx.retry_after;

    } else if (x->too_large) {

        /* more than we may hold: the client is to have it from proxy_pass */

        c->pass = 1;

        ngx_http_penstock_cells_set_large(c);

    } else if (kind == NGX_HTTP_PENSTOCK_AV_NO_STORE && ask->whole
               && x->status == NGX_HTTP_OK && x->complete)
    {
        /* it may be for this client alone, with its cookie and all */

        c->odd = 1;

    } else {
        c->unkept |= (kind == NGX_HTTP_PENSTOCK_AV_NO_STORE);

        rc = NGX_DECLINED;

        if (x->status == NGX_HTTP_OK && x->complete) {
            rc = ngx_http_penstock_cells_take_apart(ask, &record, tags,
                                     kind == NGX_HTTP_PENSTOCK_AV_STORE);
        }

        if (rc == NGX_DECLINED) {
            ngx_http_penstock_cells_odd(ask);

        } else if (rc != NGX_OK) {
            c->fail_status = NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    if (--c->pending) {
        return;
    }

    /* what is still led has no value */

    state = (c->odd || c->pass || c->fail_status == 0) ? PS_CELL_FILL_ODD
                                                       : PS_CELL_FILL_FAILED;

    ngx_http_penstock_cells_lease_end(c);
    ngx_http_penstock_cells_fail(c);
    ngx_http_penstock_cells_end(c, state, c->fail_status);

    ngx_http_penstock_cells_ended(c);
}


static void
ngx_http_penstock_cells_fail(ngx_http_penstock_cells_t *c)
{
    ngx_uint_t  i;

    for (i = 0; i < c->n; i++) {
        if (c->cell[i].state == NGX_HTTP_PENSTOCK_CELL_LEAD
            && !c->cell[i].remote)
        {
            c->cell[i].state = NGX_HTTP_PENSTOCK_CELL_FAILED;
        }
    }
}


static void
ngx_http_penstock_cells_odd(ngx_http_penstock_cells_ask_t *ask)
{
    ngx_http_penstock_cells_t     *c;
    ngx_http_penstock_exchange_t  *x;

    c = ask->cells;
    x = &ask->exchange;

    c->odd = 1;

    ngx_http_penstock_count(c->zone->odd, 1);

    if (!ngx_http_penstock_cells_may_log(c->zone)) {
        return;
    }

    ngx_log_error(NGX_LOG_WARN, c->request->connection->log, 0,
                  "upstream's answer with status %ui and %O bytes can't be "
                  "taken apart into cells, it is passed on; does "
                  "\"availability_cache_items\" fit it?",
                  x->status, x->size);
}


ngx_int_t
ngx_http_penstock_cells_ask_whole(ngx_http_penstock_cells_t *c)
{
    c->whole = ngx_pcalloc(c->request->pool,
                           sizeof(ngx_http_penstock_cells_ask_t));
    if (c->whole == NULL) {
        return NGX_ERROR;
    }

    c->asked_whole = 1;
    c->whole->cells = c;
    c->whole->exchange.handler = ngx_http_penstock_cells_whole_done;

    if (ngx_http_penstock_cells_start(c->whole, 1) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_http_penstock_count(c->zone->fills, 1);

    return NGX_OK;
}


static void
ngx_http_penstock_cells_whole_done(ngx_http_penstock_exchange_t *x)
{
    ngx_http_penstock_cells_ask_t  *ask = x->data;

    ngx_http_penstock_wake(ask->cells->request);
}
