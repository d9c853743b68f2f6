
/*
 * What Redis pushes about a zone, into the zone's table.
 *
 * A push says that something has changed, not what: its own host's writes
 * come back by it too.  So nothing is void by it.  An entry that it concerns
 * is compared with Redis before it is used again.
 *
 * Runs in the worker that holds the link; all workers read the table.
 */

#include "ngx_http_penstock_availability.h"


static void ngx_http_penstock_av_pushed_keys(void *data,
    const ngx_str_t *keys, ngx_uint_t n);
static void ngx_http_penstock_av_pushed_key(
    ngx_http_penstock_tag_table_t *table, const ngx_str_t *key,
    ngx_atomic_uint_t seq);
static void ngx_http_penstock_av_pushed_record(
    ngx_http_penstock_tag_table_t *table, const ngx_str_t *key,
    ngx_atomic_uint_t seq);


ngx_int_t
ngx_http_penstock_av_push_add(ngx_conf_t *cf,
    ngx_http_penstock_av_zone_t *zone)
{
    u_char  *p;

    /* not the zone's own key, which each look writes */

    p = ngx_pnalloc(cf->pool, zone->redis_key.len + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    zone->push_prefix.data = p;

    p = ngx_cpymem(p, zone->redis_key.data, zone->redis_key.len);
    *p++ = ':';

    zone->push_prefix.len = p - zone->push_prefix.data;

    if (ngx_http_penstock_redis_moved_add(cf, zone->redis,
                                          ngx_http_penstock_av_l2_moved, zone)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_penstock_redis_push_add(cf, zone->redis,
                                            &zone->push_prefix,
                                            ngx_http_penstock_av_pushed_keys,
                                            zone);
}


static void
ngx_http_penstock_av_pushed_keys(void *data, const ngx_str_t *keys,
    ngx_uint_t n)
{
    ngx_http_penstock_av_zone_t  *zone = data;

    ngx_str_t                       key;
    ngx_uint_t                      i;
    ngx_atomic_uint_t               seq;
    ngx_http_penstock_tag_table_t  *table;

    table = ngx_http_penstock_av_tag_table(zone);

    seq = ngx_atomic_fetch_add(&table->seq, 1) + 1;

    if (n == 0) {
        ngx_http_penstock_av_raise(&table->pushed_all, seq);
    }

    for (i = 0; i < n; i++) {
        key.data = keys[i].data + zone->push_prefix.len;
        key.len = keys[i].len - zone->push_prefix.len;

        ngx_http_penstock_av_pushed_key(table, &key, seq);
    }

    (void) ngx_atomic_fetch_add(&table->gen, 1);
}


static void
ngx_http_penstock_av_pushed_key(ngx_http_penstock_tag_table_t *table,
    const ngx_str_t *key, ngx_atomic_uint_t seq)
{
    uint64_t  hash;

    if (key->len > 2 && ngx_strncmp(key->data, "t:", 2) == 0) {
        hash = ps_tag_hash((char *) key->data + 2, key->len - 2);

        ngx_http_penstock_av_raise(
            &table->pushed[hash % NGX_HTTP_PENSTOCK_BUCKETS], seq);

    } else if (key->len == 2 + 2 * NGX_HTTP_PENSTOCK_KEY_LEN
               && key->data[1] == ':')
    {
        ngx_http_penstock_av_pushed_record(table, key, seq);

    } else if (key->len == 5 && ngx_strncmp(key->data, "epoch", 5) == 0) {
        ngx_http_penstock_av_raise(&table->pushed_all, seq);
    }
}


/* r:SHA256, or the lease l:SHA256 */

static void
ngx_http_penstock_av_pushed_record(ngx_http_penstock_tag_table_t *table,
    const ngx_str_t *key, ngx_atomic_uint_t seq)
{
    ngx_int_t  hash;

    hash = ngx_hextoi(key->data + 2, 8);

    if (hash == NGX_ERROR || (key->data[0] != 'r' && key->data[0] != 'l')) {
        return;
    }

    if (key->data[0] == 'r') {
        ngx_http_penstock_av_raise(
            &table->pushed[hash % NGX_HTTP_PENSTOCK_BUCKETS], seq);
    }

    ngx_http_penstock_av_raise(
        &table->leases[hash % NGX_HTTP_PENSTOCK_PURGES], seq);

    if (table->lease_waits) {
        (void) ngx_atomic_fetch_add(&table->wake, 1);
    }
}
