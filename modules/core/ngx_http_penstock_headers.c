
/*
 * Header lists.  A request's list is never pushed to: a subrequest's list
 * shares its parts with the parent's, so changes always make a new one.
 */

#include "ngx_http_penstock.h"


static ngx_uint_t ngx_http_penstock_replaced(ngx_table_elt_t *h,
    ngx_http_penstock_header_t *headers, ngx_uint_t n);
static void ngx_http_penstock_known_header(ngx_http_request_t *r,
    ngx_table_elt_t *h, ngx_table_elt_t *value);
static ngx_table_elt_t *ngx_http_penstock_added(ngx_http_request_t *r,
    ngx_str_t *name);


static ngx_str_t  ngx_http_penstock_retry_name = ngx_string("Retry-After");


ngx_int_t
ngx_http_penstock_set_headers_in(ngx_http_request_t *r,
    ngx_http_penstock_header_t *headers, ngx_uint_t n)
{
    ngx_uint_t        i, total;
    ngx_list_t        list;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h, *new, gone;

    total = n;

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        total += part->nelts;
    }

    /* one part holds all of it */

    if (ngx_list_init(&list, r->pool, total ? total : 1,
                      sizeof(ngx_table_elt_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    part = &r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (part->nelts == 0 || h[i].hash == 0) {
            continue;
        }

        if (ngx_http_penstock_replaced(&h[i], headers, n)) {
            continue;
        }

        new = ngx_list_push(&list);
        *new = h[i];
    }

    for (i = 0; i < n; i++) {

        if (headers[i].value.data == NULL) {
            gone.key = headers[i].name;
            ngx_http_penstock_known_header(r, &gone, NULL);
            continue;
        }

        new = ngx_list_push(&list);
        ngx_memzero(new, sizeof(ngx_table_elt_t));

        new->key = headers[i].name;
        new->value = headers[i].value;

        new->lowcase_key = ngx_pnalloc(r->pool, new->key.len);
        if (new->lowcase_key == NULL) {
            return NGX_ERROR;
        }

        new->hash = ngx_hash_strlow(new->lowcase_key, new->key.data,
                                    new->key.len);

        ngx_http_penstock_known_header(r, new, new);
    }

    r->headers_in.headers = list;
    r->headers_in.headers.last = &r->headers_in.headers.part;

    return NGX_OK;
}


static ngx_uint_t
ngx_http_penstock_replaced(ngx_table_elt_t *h,
    ngx_http_penstock_header_t *headers, ngx_uint_t n)
{
    ngx_uint_t  i;

    for (i = 0; i < n; i++) {
        if (h->key.len == headers[i].name.len
            && ngx_strncasecmp(h->key.data, headers[i].name.data, h->key.len)
               == 0)
        {
            return 1;
        }
    }

    return 0;
}


static void
ngx_http_penstock_known_header(ngx_http_request_t *r, ngx_table_elt_t *h,
    ngx_table_elt_t *value)
{
    u_char                      low[64];
    ngx_uint_t                  hash;
    ngx_http_header_t          *hh;
    ngx_http_core_main_conf_t  *cmcf;

    if (h->key.len > sizeof(low)) {
        return;
    }

    hash = ngx_hash_strlow(low, h->key.data, h->key.len);

    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);

    hh = ngx_hash_find(&cmcf->headers_in_hash, hash, low, h->key.len);

    if (hh == NULL || hh->offset == 0) {
        return;
    }

#if (nginx_version < 1023000)

    /* these are arrays of headers, not pointers to one */

    if (hh->offset == offsetof(ngx_http_headers_in_t, cookies)
#if (NGX_HTTP_X_FORWARDED_FOR)
        || hh->offset == offsetof(ngx_http_headers_in_t, x_forwarded_for)
#endif
       )
    {
        ((ngx_array_t *) ((char *) &r->headers_in + hh->offset))->nelts = 0;
        return;
    }

#endif

    *((ngx_table_elt_t **) ((char *) &r->headers_in + hh->offset)) = value;
}


ngx_int_t
ngx_http_penstock_upstream_headers(ngx_http_request_t *r)
{
    ngx_uint_t                      i;
    ngx_array_t                     headers;
    ngx_http_penstock_upstream_pt  *hook;
    ngx_http_penstock_main_conf_t  *pmcf;

    pmcf = ngx_http_get_module_main_conf(r, ngx_http_penstock_module);

    if (pmcf->upstream.nelts == 0) {
        return NGX_OK;
    }

    if (ngx_array_init(&headers, r->pool, 4,
                       sizeof(ngx_http_penstock_header_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    hook = pmcf->upstream.elts;

    for (i = 0; i < pmcf->upstream.nelts; i++) {
        if (hook[i](r, &headers) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (headers.nelts == 0) {
        return NGX_OK;
    }

    return ngx_http_penstock_set_headers_in(r, headers.elts, headers.nelts);
}


ngx_table_elt_t *
ngx_http_penstock_add_header(ngx_http_request_t *r, ngx_str_t *name,
    ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NULL;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    h->hash = 1;
    h->key = *name;
    h->value = *value;

    return h;
}


ngx_table_elt_t *
ngx_http_penstock_put_header(ngx_http_request_t *r, ngx_str_t *name,
    ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    h = r->internal ? ngx_http_penstock_added(r, name) : NULL;

    if (h == NULL) {
        return ngx_http_penstock_add_header(r, name, value);
    }

    h->value = *value;

    return h;
}


/* what was added under this name, before a redirect */

static ngx_table_elt_t *
ngx_http_penstock_added(ngx_http_request_t *r, ngx_str_t *name)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    for (part = &r->headers_out.headers.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (h[i].hash && h[i].key.len == name->len
                && ngx_memcmp(h[i].key.data, name->data, name->len) == 0)
            {
                return &h[i];
            }
        }
    }

    return NULL;
}


void
ngx_http_penstock_no_retry(ngx_http_request_t *r)
{
    ngx_table_elt_t  *h;

    h = ngx_http_penstock_added(r, &ngx_http_penstock_retry_name);

    if (h) {
        h->hash = 0;
    }
}


ngx_int_t
ngx_http_penstock_retry_after(ngx_http_request_t *r, time_t sec)
{
    ngx_str_t  value;

    value.data = ngx_pnalloc(r->pool, NGX_TIME_T_LEN);
    if (value.data == NULL) {
        return NGX_ERROR;
    }

    value.len = ngx_sprintf(value.data, "%T", sec) - value.data;

    return ngx_http_penstock_put_header(r, &ngx_http_penstock_retry_name,
                                        &value)
           ? NGX_OK : NGX_ERROR;
}
