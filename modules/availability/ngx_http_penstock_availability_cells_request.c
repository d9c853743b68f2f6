
/*
 * What a request asks for: its axes, from the query or the body, the scope
 * that all its cells share, and their keys.
 */

#include "ngx_http_penstock_availability_cells.h"


/* a longer scope stands in keys by its digest, bytes */

#define NGX_HTTP_PENSTOCK_CELLS_SCOPE_MAX  256


static ngx_int_t ngx_http_penstock_cells_axes(ngx_http_request_t *r,
    ngx_http_penstock_cells_conf_t *conf, ps_json_text_t *body,
    ps_cell_axis_t *axis);
static ngx_int_t ngx_http_penstock_cells_scope(ngx_http_penstock_cells_t *c,
    ngx_str_t *key);
static ngx_int_t ngx_http_penstock_cells_digest(ngx_http_penstock_cells_t *c,
    ngx_str_t *parts, ngx_uint_t n, u_char *hex);


ngx_int_t
ngx_http_penstock_cells_read(ngx_http_penstock_cells_t *c)
{
    ngx_int_t                          rc;
    ngx_str_t                          key, body;
    ngx_http_request_t                *r;
    ngx_http_complex_value_t          *value;
    ngx_http_penstock_av_main_conf_t  *amcf;

    r = c->request;

    if (c->conf->in_body) {

        rc = ngx_http_penstock_body(r, NGX_HTTP_PENSTOCK_CELLS_BODY, &body);

        if (rc == NGX_ERROR) {
            return NGX_ERROR;
        }

        c->body.data = (char *) body.data;
        c->body.len = body.len;

        if (rc != NGX_OK
            || ps_json_text_check(c->body.data, c->body.len) != 0)
        {
            return NGX_DECLINED;
        }
    }

    rc = ngx_http_penstock_cells_axes(r, c->conf, &c->body, c->axis);
    if (rc != NGX_OK) {
        return rc;
    }

    value = c->ctx->conf->key;

    if (value == NULL) {

        /* RFC 9111, Section 3.5: nobody said that they share answers */

        if (r->headers_in.authorization) {
            return NGX_ABORT;
        }

        amcf = ngx_http_get_module_main_conf(r,
                                       ngx_http_penstock_availability_module);
        value = &amcf->cells_key;
    }

    if (ngx_http_complex_value(r, value, &key) != NGX_OK) {
        return NGX_ERROR;
    }

    /* a key of variables that are all empty tells nobody apart */

    if (key.len == 0) {
        return NGX_ABORT;
    }

    return ngx_http_penstock_cells_scope(c, &key);
}


static ngx_int_t
ngx_http_penstock_cells_axes(ngx_http_request_t *r,
    ngx_http_penstock_cells_conf_t *conf, ps_json_text_t *body,
    ps_cell_axis_t *axis)
{
    int            rc;
    char          *buf;
    size_t         size;
    unsigned       max;
    ngx_uint_t     k;
    ps_cell_id_t  *id;

    size = ngx_max(r->args.len, body->len);

    /* as many values as there may be commas and arguments */

    max = (unsigned) ngx_min(size / 2 + 1, PS_CELL_AXIS_MAX);

    for (k = 0; k < conf->axes; k++) {

        buf = ngx_pnalloc(r->pool, size + 1);
        id = ngx_palloc(r->pool, max * sizeof(ps_cell_id_t));

        if (buf == NULL || id == NULL) {
            return NGX_ERROR;
        }

        ngx_memzero(&axis[k], sizeof(ps_cell_axis_t));

        axis[k].id = id;

        if (conf->arg[k].len) {
            axis[k].name.data = (char *) conf->arg[k].data;
            axis[k].name.len = conf->arg[k].len;

            rc = ps_cell_query_ids(&axis[k], (char *) r->args.data,
                                   r->args.len, &buf, max);

        } else {
            axis[k].path = &conf->body[k];

            rc = ps_cell_body_ids(&axis[k], body, &buf, max);
        }

        if (rc != 0) {
            return NGX_ABORT;
        }
    }

    if (axis[0].n == 0) {
        return NGX_DECLINED;
    }

    /* an empty list of locations is what the upstream makes of it */

    return (axis[1].asked && axis[1].n == 0) ? NGX_ABORT : NGX_OK;
}


/*
 * The key, and what else of the request decides the answer: arguments that
 * are no axis, and the body around its lists.
 */

static ngx_int_t
ngx_http_penstock_cells_scope(ngx_http_penstock_cells_t *c, ngx_str_t *key)
{
    u_char              *p;
    size_t               len;
    ngx_str_t            rest, parts[3];
    ngx_uint_t           k;
    ps_cell_axis_t       axis[PS_CELL_AXES];
    ngx_http_request_t  *r;

    r = c->request;

    p = ngx_pnalloc(r->pool, 3 * key->len + 1 + r->args.len
                             + sizeof(";body=")
                             + 2 * NGX_HTTP_PENSTOCK_KEY_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    c->scope.data = p;

    p = (u_char *) ps_cell_key_scope((char *) p, (char *) key->data,
                                     key->len);

    if (c->conf->in_body) {

        /* the lists emptied, the rest as it is */

        for (k = 0; k < PS_CELL_AXES; k++) {
            axis[k] = c->axis[k];
            axis[k].n = 0;
        }

        len = ps_cell_body_size(axis, c->conf->axes, c->body.len);

        parts[0].data = ngx_pnalloc(r->pool, len);
        if (parts[0].data == NULL) {
            return NGX_ERROR;
        }

        parts[0].len = ps_cell_body_write(axis, c->conf->axes, &c->body,
                                          (char *) parts[0].data);

        p = ngx_cpymem(p, ";body=", sizeof(";body=") - 1);

        if (ngx_http_penstock_cells_digest(c, parts, 1, p) != NGX_OK) {
            return NGX_ERROR;
        }

        p += 2 * NGX_HTTP_PENSTOCK_KEY_LEN;
    }

    /* as the client wrote it, so nothing may stand behind */

    rest.data = p + 1;
    rest.len = ps_cell_query_rest(c->axis, c->conf->axes,
                                  (char *) r->args.data, r->args.len,
                                  (char *) rest.data);
    if (rest.len) {
        *p = '?';
        p += 1 + rest.len;
    }

    c->scope.len = p - c->scope.data;

    if (c->scope.len > NGX_HTTP_PENSTOCK_CELLS_SCOPE_MAX) {

        parts[0] = c->scope;

        p = ngx_pnalloc(r->pool, sizeof("sha256:")
                                 + 2 * NGX_HTTP_PENSTOCK_KEY_LEN);
        if (p == NULL) {
            return NGX_ERROR;
        }

        c->scope.data = p;
        c->scope.len = sizeof("sha256:") - 1 + 2 * NGX_HTTP_PENSTOCK_KEY_LEN;

        p = ngx_cpymem(p, "sha256:", sizeof("sha256:") - 1);

        if (ngx_http_penstock_cells_digest(c, parts, 1, p) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_cells_digest(ngx_http_penstock_cells_t *c,
    ngx_str_t *parts, ngx_uint_t n, u_char *hex)
{
    u_char  digest[NGX_HTTP_PENSTOCK_KEY_LEN];

    if (ngx_http_penstock_sha256(parts, n, digest) != NGX_OK) {
        return NGX_ERROR;
    }

    (void) ngx_hex_dump(hex, digest, NGX_HTTP_PENSTOCK_KEY_LEN);

    return NGX_OK;
}


/*
 * A key is penstock:cell:{ZONE:SKU}:LOCATION:SCOPE; the braces keep the cells
 * of a SKU on one node of a cluster.
 */

ngx_int_t
ngx_http_penstock_cells_grid(ngx_http_penstock_cells_t *c)
{
    size_t                     len, prefix;
    u_char                    *p, *start;
    ngx_uint_t                 i, j;
    ngx_http_penstock_cell_t  *cell;

    c->nlocations = c->axis[1].asked ? c->axis[1].n : 1;
    c->n = c->axis[0].n * c->nlocations;

    if (c->n > NGX_HTTP_PENSTOCK_CELLS_MAX) {
        return NGX_ABORT;
    }

    cell = ngx_pcalloc(c->request->pool,
                       c->n * sizeof(ngx_http_penstock_cell_t));
    if (cell == NULL) {
        return NGX_ERROR;
    }

    c->cell = cell;

    len = 0;

    for (i = 0; i < c->axis[0].n; i++) {
        len += 3 * c->axis[0].id[i].id.len;
    }

    len *= c->nlocations;

    for (j = 0; c->axis[1].asked && j < c->axis[1].n; j++) {
        len += c->axis[0].n * 3 * c->axis[1].id[j].id.len;
    }

    prefix = sizeof("penstock:cell:{") - 1 + c->zone->name.len + 1;
    len += c->n * (prefix + sizeof("}::") + c->scope.len);

    p = ngx_pnalloc(c->request->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < c->axis[0].n; i++) {
        for (j = 0; j < c->nlocations; j++, cell++) {

            start = p;

            p = ngx_cpymem(p, "penstock:cell:{",
                           sizeof("penstock:cell:{") - 1);
            p = ngx_cpymem(p, c->zone->name.data, c->zone->name.len);
            *p++ = ':';
            p = (u_char *) ps_cell_key_id((char *) p, &c->axis[0].id[i].id);
            *p++ = '}';
            *p++ = ':';

            if (c->axis[1].asked) {
                p = (u_char *) ps_cell_key_id((char *) p,
                                              &c->axis[1].id[j].id);
            }

            *p++ = ':';
            p = ngx_cpymem(p, c->scope.data, c->scope.len);

            cell->key.data = start;
            cell->key.len = p - start;
            cell->sku = (uint16_t) i;
            cell->location = (uint16_t) j;

            ngx_http_penstock_cells_hash(c->zone, &cell->key, cell->hash);
        }
    }

    return NGX_OK;
}


/*
 * $availability_cells: how many the query asks for.  Limits want to know it
 * before the cache has its turn, and of what can't be answered by cells too:
 * the upstream is asked for all of that.
 */

ngx_int_t
ngx_http_penstock_cells_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    char                             *buf;
    u_char                           *p;
    size_t                            n, count;
    ngx_uint_t                        k;
    ps_json_text_t                    name;
    ngx_http_penstock_av_ctx_t       *ctx;
    ngx_http_penstock_av_loc_conf_t  *alcf;

    r = r->main;

    v->not_found = 1;

    ctx = ngx_http_penstock_get_state(r, NGX_HTTP_PENSTOCK_AVAILABILITY);

    if (ctx && ctx->cells && ctx->cells->n) {
        n = ctx->cells->n;

    } else {
        alcf = ngx_http_get_module_loc_conf(r,
                                       ngx_http_penstock_availability_module);

        if (alcf->zone == NULL || alcf->items == NULL
            || alcf->items->in_body)
        {
            return NGX_OK;
        }

        buf = ngx_pnalloc(r->pool, r->args.len + 1);
        if (buf == NULL) {
            return NGX_ERROR;
        }

        n = 1;

        for (k = 0; k < alcf->items->axes; k++) {
            name.data = (char *) alcf->items->arg[k].data;
            name.len = alcf->items->arg[k].len;

            count = ps_cell_query_count(&name, (char *) r->args.data,
                                        r->args.len, buf);

            if (k == 0 && count == 0) {
                return NGX_OK;
            }

            /* no location stands for all of them */

            n *= count ? count : 1;
        }
    }

    p = ngx_pnalloc(r->pool, NGX_INT64_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    v->data = p;
    v->len = ngx_http_penstock_digits(p, n) - p;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}
