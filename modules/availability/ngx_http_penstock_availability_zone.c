
/*
 * Zones of availability: the dictionary of records, the table of tags beside
 * it, and their metrics.
 */

#include "ngx_http_penstock_availability.h"


/* raise it when the layout of an entry or of the tag table changes */

#define NGX_HTTP_PENSTOCK_AV_LAYOUT     5

#define NGX_HTTP_PENSTOCK_AV_REDIS_KEY  "penstock:av:{%V}"


static ngx_int_t ngx_http_penstock_av_tags_init(ngx_shm_zone_t *zone,
    ngx_slab_pool_t *shpool, void *conf, void **data);
static ngx_atomic_t *ngx_http_penstock_av_ended(void *data);
static ngx_int_t ngx_http_penstock_av_zone_metrics(ngx_conf_t *cf,
    ngx_http_penstock_av_zone_t *zone);


ngx_http_penstock_av_zone_t *
ngx_http_penstock_av_zone(ngx_conf_t *cf, ngx_str_t *name)
{
    ngx_uint_t                          i;
    ngx_http_penstock_av_zone_t       **zone;
    ngx_http_penstock_av_main_conf_t   *amcf;

    amcf = ngx_http_conf_get_module_main_conf(cf,
                                       ngx_http_penstock_availability_module);

    zone = amcf->zones.elts;

    for (i = 0; i < amcf->zones.nelts; i++) {
        if (zone[i]->name.len == name->len
            && ngx_strncmp(zone[i]->name.data, name->data, name->len) == 0)
        {
            return zone[i];
        }
    }

    zone = ngx_array_push(&amcf->zones);
    if (zone == NULL) {
        return NULL;
    }

    *zone = ngx_pcalloc(cf->pool, sizeof(ngx_http_penstock_av_zone_t));
    if (*zone == NULL) {
        return NULL;
    }

    (*zone)->name = *name;
    (*zone)->file = cf->conf_file->file.name.data;
    (*zone)->line = cf->conf_file->line;

    return *zone;
}


char *
ngx_http_penstock_av_zone_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    u_char                       *p;
    ssize_t                       size;
    ngx_str_t                    *value, name, tags, redis;
    ngx_http_penstock_av_zone_t  *zone;

    value = cf->args->elts;

    if (ngx_http_penstock_zone_parse(cf, &value[1], &name, &size) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    zone = ngx_http_penstock_av_zone(cf, &name);
    if (zone == NULL) {
        return NGX_CONF_ERROR;
    }

    if (zone->dict) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "duplicate zone \"%V\", give this one another "
                           "name", &name);
        return NGX_CONF_ERROR;
    }

    if (cf->args->nelts == 3) {

        if (ngx_strncmp(value[2].data, "redis=", 6) != 0
            || value[2].len == 6)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\", only "
                               "\"redis=NAME\" may follow the size",
                               &value[2]);
            return NGX_CONF_ERROR;
        }

        redis.data = value[2].data + 6;
        redis.len = value[2].len - 6;

        zone->redis = ngx_http_penstock_redis_ref(cf, &redis);
        if (zone->redis == NULL) {
            return NGX_CONF_ERROR;
        }

        zone->redis_key.data = ngx_pnalloc(cf->pool,
                        sizeof(NGX_HTTP_PENSTOCK_AV_REDIS_KEY) + name.len);
        if (zone->redis_key.data == NULL) {
            return NGX_CONF_ERROR;
        }

        p = ngx_sprintf(zone->redis_key.data, NGX_HTTP_PENSTOCK_AV_REDIS_KEY,
                        &name);
        zone->redis_key.len = p - zone->redis_key.data;

        if (ngx_http_penstock_av_push_add(cf, zone) != NGX_OK) {
            return NGX_CONF_ERROR;
        }
    }

    zone->dict = ngx_http_penstock_dict_add(cf, &name, size,
                                      &ngx_http_penstock_availability_module,
                                      NGX_HTTP_PENSTOCK_AV_LAYOUT, zone);
    if (zone->dict == NULL) {
        return NGX_CONF_ERROR;
    }

    tags.data = ngx_pnalloc(cf->pool, name.len + sizeof(":tags"));
    if (tags.data == NULL) {
        return NGX_CONF_ERROR;
    }

    tags.len = ngx_sprintf(tags.data, "%V:tags", &name) - tags.data;

    zone->tags = ngx_http_penstock_zone_add(cf, &tags,
                                      sizeof(ngx_http_penstock_tag_table_t)
                                      + 16 * ngx_pagesize,
                                      &ngx_http_penstock_availability_module,
                                      NGX_HTTP_PENSTOCK_AV_LAYOUT,
                                      ngx_http_penstock_av_tags_init, zone);
    if (zone->tags == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_http_penstock_wait_init(&zone->wait, ngx_http_penstock_av_ended, zone,
                                &cf->cycle->new_log);
    ngx_http_penstock_av_l2_init(zone, &cf->cycle->new_log);

    return (ngx_http_penstock_av_zone_metrics(cf, zone) == NGX_OK)
           ? NGX_CONF_OK : NGX_CONF_ERROR;
}


static ngx_int_t
ngx_http_penstock_av_tags_init(ngx_shm_zone_t *zone, ngx_slab_pool_t *shpool,
    void *conf, void **data)
{
    *data = ngx_slab_calloc(shpool, sizeof(ngx_http_penstock_tag_table_t));

    return *data ? NGX_OK : NGX_ERROR;
}


static ngx_atomic_t *
ngx_http_penstock_av_ended(void *data)
{
    return &ngx_http_penstock_av_tag_table(data)->wake;
}


static ngx_int_t
ngx_http_penstock_av_zone_metrics(ngx_conf_t *cf,
    ngx_http_penstock_av_zone_t *zone)
{
    u_char      *p;
    size_t       len;
    ngx_str_t    labels, result;
    ngx_uint_t   i;

    len = sizeof("zone=\"\",result=\"redis_hit\"") + zone->name.len;

    labels.data = ngx_pnalloc(cf->pool, len);
    if (labels.data == NULL) {
        return NGX_ERROR;
    }

    labels.len = ngx_sprintf(labels.data, "zone=\"%V\"", &zone->name)
                 - labels.data;

    for (i = 0; i < NGX_HTTP_PENSTOCK_AV_NONE; i++) {

        p = ngx_pnalloc(cf->pool, len);
        if (p == NULL) {
            return NGX_ERROR;
        }

        result.data = p;
        result.len = ngx_sprintf(p, "%V,result=\"%s\"", &labels,
                                 ngx_http_penstock_av_label(i)) - p;

        zone->requests[i] = ngx_http_penstock_counter(cf,
                                "penstock_availability_requests_total",
                                "Reads, by how they were answered.", &result);
        if (zone->requests[i] == NGX_ERROR) {
            return NGX_ERROR;
        }
    }

    zone->fills = ngx_http_penstock_counter(cf,
                      "penstock_availability_fills_total",
                      "Reads sent to the upstream to fill the cache.",
                      &labels);

    zone->fill_errors = ngx_http_penstock_counter(cf,
                            "penstock_availability_fill_errors_total",
                            "Fills that the upstream did not answer.",
                            &labels);

    zone->invalidations = ngx_http_penstock_counter(cf,
                              "penstock_availability_invalidations_total",
                              "Invalidations by writes and purges.",
                              &labels);

    if (zone->fills == NGX_ERROR || zone->fill_errors == NGX_ERROR
        || zone->invalidations == NGX_ERROR)
    {
        return NGX_ERROR;
    }

    if (ngx_http_penstock_gauge(cf, "penstock_availability_entries",
                                "Entries held in shared memory.", &labels,
                                ngx_http_penstock_dict_entries, zone->dict)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_penstock_gauge(cf, "penstock_availability_evictions_total",
                                   "Entries that had to go for others.",
                                   &labels, ngx_http_penstock_dict_evictions,
                                   zone->dict);
}
