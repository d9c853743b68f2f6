
/*
 * A method that may change what its URL shows voids what is held of that URL
 * (RFC 9111, Section 4.4), on every host.
 *
 * Records carry a tag made of their key, so this is one more invalidation.
 * It takes place before the client sees its answer, which may be followed by
 * a read at once.
 */

#include "ngx_http_penstock_availability.h"
#include "ngx_http_penstock_availability_cells.h"


#define NGX_HTTP_PENSTOCK_AV_SAFE                                             \
    (NGX_HTTP_GET|NGX_HTTP_HEAD|NGX_HTTP_OPTIONS|NGX_HTTP_TRACE               \
     |NGX_HTTP_PROPFIND)


static ngx_int_t ngx_http_penstock_av_unsafe_filter(ngx_http_request_t *r);
static void ngx_http_penstock_av_unsafe(ngx_http_request_t *r,
    ngx_http_penstock_av_loc_conf_t *alcf);
static void ngx_http_penstock_av_unsafe_cells(ngx_http_request_t *r,
    ngx_http_penstock_av_loc_conf_t *alcf);
static void ngx_http_penstock_av_unsafe_locations(ngx_http_request_t *r,
    ngx_str_t *key, ps_tags_t *tags);
static void ngx_http_penstock_av_unsafe_location(ngx_http_request_t *r,
    ngx_str_t *prefix, ngx_str_t *location, ps_tags_t *tags);


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;


void
ngx_http_penstock_av_unsafe_init(void)
{
    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_penstock_av_unsafe_filter;
}


static ngx_int_t
ngx_http_penstock_av_unsafe_filter(ngx_http_request_t *r)
{
    ngx_http_penstock_av_loc_conf_t  *alcf;

    if ((r->method & NGX_HTTP_PENSTOCK_AV_SAFE)
        || r != r->main
        || r->headers_out.status < NGX_HTTP_OK
        || r->headers_out.status >= NGX_HTTP_BAD_REQUEST)
    {
        return ngx_http_next_header_filter(r);
    }

    alcf = ngx_http_get_module_loc_conf(r,
                                       ngx_http_penstock_availability_module);

    if (alcf->enabled && alcf->zone && alcf->items == NULL) {
        ngx_http_penstock_av_unsafe(r, alcf);

    } else if (alcf->enabled && alcf->zone) {
        ngx_http_penstock_av_unsafe_cells(r, alcf);
    }

    return ngx_http_next_header_filter(r);
}


/* the cells that the URL asks for; a POST with lists in its body is a read */

static void
ngx_http_penstock_av_unsafe_cells(ngx_http_request_t *r,
    ngx_http_penstock_av_loc_conf_t *alcf)
{
    u_char     *buf;
    ngx_str_t  *sku;
    ps_tags_t  *tags;

    sku = &alcf->items->arg[0];

    if (sku->len == 0 || (alcf->items->in_body && r->method == NGX_HTTP_POST))
    {
        return;
    }

    tags = ngx_palloc(r->pool, sizeof(ps_tags_t));
    buf = ngx_pnalloc(r->pool, r->args.len + 1);

    if (tags == NULL || buf == NULL) {
        return;
    }

    tags->n = 0;
    tags->overflow = 0;

    (void) ps_tags_query(tags, (char *) r->args.data, r->args.len,
                         (char *) sku->data, sku->len, (char *) buf);

    if (tags->n || tags->overflow) {
        ngx_http_penstock_av_invalidate(alcf->zone, NGX_HTTP_PENSTOCK_AV_VOID,
                                        tags->overflow ? NULL : tags, NULL,
                                        r->pool);
        ngx_http_penstock_count(alcf->zone->invalidations, 1);
    }
}


static void
ngx_http_penstock_av_unsafe(ngx_http_request_t *r,
    ngx_http_penstock_av_loc_conf_t *alcf)
{
    ngx_str_t                          key;
    ps_tags_t                         *tags;
    ngx_http_complex_value_t          *value;
    ngx_http_penstock_av_main_conf_t  *amcf;

    value = alcf->key;

    if (value == NULL) {
        amcf = ngx_http_get_module_main_conf(r,
                                       ngx_http_penstock_availability_module);
        value = &amcf->default_key;
    }

    tags = ngx_palloc(r->pool, sizeof(ps_tags_t));

    if (tags == NULL || ngx_http_complex_value(r, value, &key) != NGX_OK
        || key.len == 0)
    {
        return;
    }

    tags->n = 0;
    tags->overflow = 0;

    ngx_http_penstock_av_key_tag(r->pool, &key, tags);
    ngx_http_penstock_av_unsafe_locations(r, &key, tags);

    /* no tag would mean everything */

    if (tags->n) {
        ngx_http_penstock_av_invalidate(alcf->zone, NGX_HTTP_PENSTOCK_AV_VOID,
                                        tags, NULL, r->pool);
        ngx_http_penstock_count(alcf->zone->invalidations, 1);
    }
}


/* the URLs that the answer names, where a key ends with its request's URL */

static void
ngx_http_penstock_av_unsafe_locations(ngx_http_request_t *r, ngx_str_t *key,
    ps_tags_t *tags)
{
    ngx_str_t         prefix, *uri;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    uri = &r->unparsed_uri;

    if (key->len < uri->len
        || ngx_memcmp(key->data + key->len - uri->len, uri->data, uri->len)
           != 0)
    {
        return;
    }

    prefix.data = key->data;
    prefix.len = key->len - uri->len;

    for (part = &r->headers_out.headers.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (h[i].hash
                && ((h[i].key.len == sizeof("Location") - 1
                     && ngx_strncasecmp(h[i].key.data, (u_char *) "Location",
                                        sizeof("Location") - 1)
                        == 0)
                    || (h[i].key.len == sizeof("Content-Location") - 1
                        && ngx_strncasecmp(h[i].key.data,
                                           (u_char *) "Content-Location",
                                           sizeof("Content-Location") - 1)
                           == 0)))
            {
                ngx_http_penstock_av_unsafe_location(r, &prefix, &h[i].value,
                                                     tags);
            }
        }
    }
}


/* of our own origin only: others' are not theirs to void */

static void
ngx_http_penstock_av_unsafe_location(ngx_http_request_t *r,
    ngx_str_t *prefix, ngx_str_t *location, ps_tags_t *tags)
{
    u_char      *p, *end, *slashes;
    ngx_str_t    key, *host;
    ngx_uint_t   https;

#if (NGX_HTTP_SSL)
    https = (r->connection->ssl != NULL);
#else
    https = 0;
#endif

    p = location->data;
    end = ngx_strlchr(p, p + location->len, '#');

    if (end == NULL) {
        end = p + location->len;
    }

    if (r->headers_in.host) {

        host = &r->headers_in.host->value;
        slashes = ngx_strlcasestrn(p, end, (u_char *) "://", 3 - 1);

        if (slashes
            && ngx_strncasecmp(p, (u_char *) (https ? "https" : "http"),
                               slashes - p)
               == 0
            && slashes - p == (https ? 5 : 4)
            && (size_t) (end - slashes) > 3 + host->len
            && ngx_strncasecmp(slashes + 3, host->data, host->len) == 0)
        {
            p = slashes + 3 + host->len;
        }
    }

    if (end - p < 1 || p[0] != '/' || (end - p > 1 && p[1] == '/')) {
        return;
    }

    key.len = prefix->len + (end - p);

    key.data = ngx_pnalloc(r->pool, key.len);
    if (key.data == NULL) {
        return;
    }

    (void) ngx_cpymem(ngx_cpymem(key.data, prefix->data, prefix->len), p,
                      end - p);

    ngx_http_penstock_av_key_tag(r->pool, &key, tags);
}


void
ngx_http_penstock_av_key_tag(ngx_pool_t *pool, ngx_str_t *key,
    ps_tags_t *tags)
{
    u_char    *p, *last;
    uint64_t   hash;

    /* an answer of as many tags as there may be is kept without it */

    if (tags->n == PS_TAGS_MAX) {
        return;
    }

    p = ngx_pnalloc(pool, sizeof("url,") - 1 + 16);
    if (p == NULL) {
        tags->overflow = 1;
        return;
    }

    hash = ps_tag_hash((char *) key->data, key->len);

    /* a comma, which no tag of a list has */

    last = ngx_cpymem(p, "url,", sizeof("url,") - 1);
    last = ngx_hex_dump(last, (u_char *) &hash, sizeof(uint64_t));

    ps_tags_add(tags, (char *) p, last - p);
}
