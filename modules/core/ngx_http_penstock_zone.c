
/*
 * Shared memory zones.  What a process knows of a zone (its data, its
 * configuration) is a small structure of the cycle; what outlives a reload
 * is in the zone, with its layout version.
 *
 * nginx tells zones apart by their names.  What it gets for one of ours begins
 * with the tag's name, "penstock_ratelimit:api", so that a zone of an upstream
 * or of another directive may have the same name.
 */

#include "ngx_http_penstock.h"
#include "ngx_http_penstock_metrics.h"


#define NGX_HTTP_PENSTOCK_ZONE_MAGIC  0x50656e73746f636bULL


/* in the zone; never written after its initialization */

typedef struct {
    uint64_t                         magic;
    ngx_uint_t                       layout;
    void                            *data;
} ngx_http_penstock_zone_header_t;


/* shm_zone->data, in the cycle's pool */

typedef struct {
    ngx_str_t                        name;       /* as configured */
    void                            *data;
    void                            *conf;
    ngx_uint_t                       layout;
    ngx_http_penstock_zone_init_pt   init;

    ngx_str_t                        file;       /* of the first reference */
    ngx_uint_t                       line;
} ngx_http_penstock_zone_t;


static ngx_int_t ngx_http_penstock_zone_key(ngx_conf_t *cf, ngx_str_t *name,
    ngx_module_t *tag, ngx_str_t *key);
static ngx_shm_zone_t *ngx_http_penstock_zone_lookup(ngx_conf_t *cf,
    ngx_str_t *key, ngx_module_t *tag, ngx_int_t *rc);
static ngx_shm_zone_t *ngx_http_penstock_zone_create(ngx_conf_t *cf,
    ngx_str_t *name, ngx_str_t *key, ngx_module_t *tag);
static ngx_int_t ngx_http_penstock_zone_init(ngx_shm_zone_t *shm_zone,
    void *old);


ngx_shm_zone_t *
ngx_http_penstock_zone_add(ngx_conf_t *cf, ngx_str_t *name, ssize_t size,
    ngx_module_t *tag, ngx_uint_t layout, ngx_http_penstock_zone_init_pt init,
    void *conf)
{
    ngx_int_t                  rc;
    ngx_str_t                  key;
    ngx_shm_zone_t            *shm_zone;
    ngx_http_penstock_zone_t  *zone;

    if (size < (ssize_t) (8 * ngx_pagesize)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "zone \"%V\" is too small, "
                           "give it at least %uzk", name,
                           (size_t) (8 * ngx_pagesize) / 1024);
        return NULL;
    }

    if (ngx_http_penstock_zone_key(cf, name, tag, &key) != NGX_OK) {
        return NULL;
    }

    shm_zone = ngx_http_penstock_zone_lookup(cf, &key, tag, &rc);

    if (rc != NGX_OK) {
        return NULL;
    }

    if (shm_zone == NULL) {
        shm_zone = ngx_http_penstock_zone_create(cf, name, &key, tag);
        if (shm_zone == NULL) {
            return NULL;
        }
    }

    zone = shm_zone->data;

    if (shm_zone->shm.size) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "zone \"%V\" is already defined, "
                           "give this one another name", name);
        return NULL;
    }

    shm_zone->shm.size = size;

    /*
     * nginx reuses the memory of the same tag only.  An address inside of
     * the module's structure is ours alone, and differs by layout, so that
     * after a reload a new layout gets new memory while old workers go on
     * with the old.
     */

    shm_zone->tag = (u_char *) tag
                    + 1 + layout % (sizeof(ngx_module_t) - 1);

    zone->conf = conf;
    zone->layout = layout;
    zone->init = init;

    return shm_zone;
}


ngx_shm_zone_t *
ngx_http_penstock_zone_ref(ngx_conf_t *cf, ngx_str_t *name, ngx_module_t *tag)
{
    ngx_int_t        rc;
    ngx_str_t        key;
    ngx_shm_zone_t  *shm_zone;

    if (name->len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "zone name is empty");
        return NULL;
    }

    if (ngx_http_penstock_zone_key(cf, name, tag, &key) != NGX_OK) {
        return NULL;
    }

    shm_zone = ngx_http_penstock_zone_lookup(cf, &key, tag, &rc);

    if (rc != NGX_OK || shm_zone) {
        return shm_zone;
    }

    return ngx_http_penstock_zone_create(cf, name, &key, tag);
}


ngx_str_t *
ngx_http_penstock_zone_name(ngx_shm_zone_t *shm_zone)
{
    ngx_http_penstock_zone_t  *zone;

    zone = shm_zone->data;

    return &zone->name;
}


void *
ngx_http_penstock_zone_data(ngx_shm_zone_t *shm_zone)
{
    ngx_http_penstock_zone_t  *zone;

    zone = shm_zone->data;

    return zone->data;
}


void *
ngx_http_penstock_zone_conf(ngx_shm_zone_t *shm_zone)
{
    ngx_http_penstock_zone_t  *zone;

    zone = shm_zone->data;

    return zone->conf;
}


ngx_int_t
ngx_http_penstock_zone_parse(ngx_conf_t *cf, ngx_str_t *value,
    ngx_str_t *name, ssize_t *size)
{
    u_char     *p, *last;
    ngx_str_t   s;

    last = value->data + value->len;
    p = ngx_strlchr(value->data, last, ':');

    if (p == NULL || p == value->data) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid zone \"%V\", "
                           "write it as NAME:SIZE, for example orders:10m",
                           value);
        return NGX_ERROR;
    }

    name->data = value->data;
    name->len = p - value->data;

    s.data = p + 1;
    s.len = last - s.data;

    /* names become labels, parts of Redis keys and of structured fields */

    for (p = name->data; p < name->data + name->len; p++) {

        if ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z')
            || (*p >= '0' && *p <= '9') || *p == '_' || *p == '-'
            || *p == '.')
        {
            continue;
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid zone name \"%V\", use letters, digits, "
                           "\"_\", \"-\" and \".\"", name);
        return NGX_ERROR;
    }

    *size = ngx_parse_size(&s);

    if (*size == NGX_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid size \"%V\" of zone \"%V\", "
                           "write a number of bytes, or with k or m", &s, name);
        return NGX_ERROR;
    }

    if (*size < (ssize_t) (8 * ngx_pagesize)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "zone \"%V\" is too small, "
                           "give it at least %uzk", name,
                           (size_t) (8 * ngx_pagesize) / 1024);
        return NGX_ERROR;
    }

    return NGX_OK;
}


void *
ngx_http_penstock_zone_reserve(ngx_slab_pool_t *shpool, size_t size)
{
    u_char  *end;

    size = ngx_align(size, ngx_cacheline_size);

    if (size > (size_t) (shpool->end - shpool->start) / 2) {
        return NULL;
    }

    end = shpool->end - size;
    end -= (uintptr_t) end % ngx_cacheline_size;

    ngx_memzero(end, size);

    shpool->end = end;
    ngx_slab_init(shpool);

    return end;
}


ngx_int_t
ngx_http_penstock_zone_postconf(ngx_conf_t *cf)
{
    ngx_int_t                  rc;
    ngx_uint_t                 i;
    ngx_shm_zone_t            *shm_zone;
    ngx_list_part_t           *part;
    ngx_http_penstock_zone_t  *zone;

    rc = NGX_OK;
    part = &cf->cycle->shared_memory.part;
    shm_zone = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            shm_zone = part->elts;
            i = 0;
        }

        if (shm_zone[i].init != ngx_http_penstock_zone_init
            || shm_zone[i].shm.size)
        {
            continue;
        }

        zone = shm_zone[i].data;

        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "zone \"%V\" is not defined: correct the name, or "
                      "define it with a ..._zone directive in %V:%ui",
                      &zone->name, &zone->file, zone->line);

        rc = NGX_ERROR;
    }

    return rc;
}


/* "ngx_http_penstock_ratelimit_module" and "api": penstock_ratelimit:api */

static ngx_int_t
ngx_http_penstock_zone_key(ngx_conf_t *cf, ngx_str_t *name, ngx_module_t *tag,
    ngx_str_t *key)
{
    ngx_str_t  use;

    use.data = (u_char *) tag->name;
    use.len = ngx_strlen(tag->name);

    if (use.len > sizeof("ngx_http_") - 1
        && ngx_strncmp(use.data, "ngx_http_", sizeof("ngx_http_") - 1) == 0)
    {
        use.data += sizeof("ngx_http_") - 1;
        use.len -= sizeof("ngx_http_") - 1;
    }

    if (use.len > sizeof("_module") - 1
        && ngx_strncmp(use.data + use.len - (sizeof("_module") - 1),
                       "_module", sizeof("_module") - 1)
           == 0)
    {
        use.len -= sizeof("_module") - 1;
    }

    key->len = use.len + 1 + name->len;

    key->data = ngx_pnalloc(cf->pool, key->len);
    if (key->data == NULL) {
        return NGX_ERROR;
    }

    ngx_sprintf(key->data, "%V:%V", &use, name);

    return NGX_OK;
}


/*
 * rc is NGX_OK with NULL when there is none of that name; NGX_ERROR when
 * another module has it, which is reported.
 */

static ngx_shm_zone_t *
ngx_http_penstock_zone_lookup(ngx_conf_t *cf, ngx_str_t *key,
    ngx_module_t *tag, ngx_int_t *rc)
{
    u_char           *p;
    ngx_uint_t        i;
    ngx_shm_zone_t   *shm_zone;
    ngx_list_part_t  *part;

    *rc = NGX_OK;
    part = &cf->cycle->shared_memory.part;
    shm_zone = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            shm_zone = part->elts;
            i = 0;
        }

        if (key->len != shm_zone[i].shm.name.len
            || ngx_strncmp(key->data, shm_zone[i].shm.name.data, key->len)
               != 0)
        {
            continue;
        }

        p = shm_zone[i].tag;

        if (p >= (u_char *) tag && p < (u_char *) tag + sizeof(ngx_module_t)
            && shm_zone[i].init == ngx_http_penstock_zone_init)
        {
            return &shm_zone[i];
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "zone \"%V\" is already there for a different "
                           "use, give this one another name", key);

        *rc = NGX_ERROR;
        return NULL;
    }

    return NULL;
}


static ngx_shm_zone_t *
ngx_http_penstock_zone_create(ngx_conf_t *cf, ngx_str_t *name,
    ngx_str_t *key, ngx_module_t *tag)
{
    ngx_shm_zone_t            *shm_zone;
    ngx_http_penstock_zone_t  *zone;

    zone = ngx_pcalloc(cf->pool, sizeof(ngx_http_penstock_zone_t));
    if (zone == NULL) {
        return NULL;
    }

    zone->name = *name;

    if (cf->conf_file) {
        zone->file = cf->conf_file->file.name;
        zone->line = cf->conf_file->line;
    }

    shm_zone = ngx_shared_memory_add(cf, key, 0, tag);
    if (shm_zone == NULL) {
        return NULL;
    }

    shm_zone->data = zone;
    shm_zone->init = ngx_http_penstock_zone_init;

    return shm_zone;
}


/*
 * Called with "old" set when the memory of the cycle before goes on, perhaps
 * in use by its workers at this moment: then nothing in it is written.
 */

static ngx_int_t
ngx_http_penstock_zone_init(ngx_shm_zone_t *shm_zone, void *old)
{
    u_char                           *p;
    size_t                            len;
    ngx_slab_pool_t                  *shpool;
    ngx_http_penstock_zone_t         *zone;
    ngx_http_penstock_zone_header_t  *header;

    zone = shm_zone->data;
    shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    if (old || shm_zone->shm.exists) {
        header = shpool->data;

        if (header == NULL
            || header->magic != NGX_HTTP_PENSTOCK_ZONE_MAGIC
            || header->layout != zone->layout)
        {
            ngx_log_error(NGX_LOG_EMERG, shm_zone->shm.log, 0,
                          "zone \"%V\" was laid out by another version of "
                          "the module, restart nginx", &zone->name);
            return NGX_ERROR;
        }

        zone->data = header->data;

        return NGX_OK;
    }

    len = sizeof(" in zone \"\"") + zone->name.len;

    header = ngx_http_penstock_zone_reserve(shpool,
                                  sizeof(ngx_http_penstock_zone_header_t)
                                  + len);
    if (header == NULL) {
        return NGX_ERROR;
    }

    p = (u_char *) header + sizeof(ngx_http_penstock_zone_header_t);
    ngx_sprintf(p, " in zone \"%V\"%Z", &zone->name);

    header->magic = NGX_HTTP_PENSTOCK_ZONE_MAGIC;
    header->layout = zone->layout;

    shpool->data = header;
    shpool->log_ctx = p;

    if (zone->init
        && zone->init(shm_zone, shpool, zone->conf, &header->data) != NGX_OK)
    {
        ngx_log_error(NGX_LOG_EMERG, shm_zone->shm.log, 0,
                      "zone \"%V\" could not be initialized, "
                      "give it more memory", &zone->name);
        return NGX_ERROR;
    }

    /* an init that reserved memory has reset the slab pool's log context */

    shpool->log_ctx = p;

    zone->data = header->data;

    return NGX_OK;
}
