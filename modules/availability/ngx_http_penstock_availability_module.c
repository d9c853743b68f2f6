
/*
 * Availability: answers reads from shared memory and Redis, so that the
 * upstream sees one of many.
 */

#include "ngx_http_penstock_availability.h"
#include "ngx_http_penstock_availability_cells.h"


static ngx_int_t ngx_http_penstock_av_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_penstock_av_init(ngx_conf_t *cf);


static ngx_command_t  ngx_http_penstock_av_commands[] = {

    { ngx_string("availability_zone"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE12,
      ngx_http_penstock_av_zone_directive,
      0,
      0,
      NULL },

    { ngx_string("availability_cache"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_penstock_av_cache_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("availability_cache_key"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_penstock_av_key_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_penstock_av_loc_conf_t, key),
      NULL },

    { ngx_string("availability_cache_valid"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_penstock_av_valid_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("availability_cache_stale"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_penstock_av_stale_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("availability_cache_items"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_penstock_cells_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("availability_cache_lock"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE123,
      ngx_http_penstock_av_lock_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("availability_cache_budget"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_penstock_av_budget_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("availability_cache_request_control"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_penstock_av_request_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("availability_cache_bypass"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_set_predicate_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_penstock_av_loc_conf_t, bypass),
      NULL },

    { ngx_string("availability_cache_max_size"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_penstock_av_loc_conf_t, max_size),
      NULL },

    { ngx_string("availability_cache_tag"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_penstock_av_tag_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("availability_invalidate"),
      NGX_HTTP_LOC_CONF|NGX_HTTP_LIF_CONF|NGX_CONF_1MORE,
      ngx_http_penstock_av_invalidate_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("availability_purge"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_penstock_av_purge_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_penstock_availability_module_ctx = {
    ngx_http_penstock_av_add_variables,    /* preconfiguration */
    ngx_http_penstock_av_init,             /* postconfiguration */

    ngx_http_penstock_av_create_main_conf, /* create main configuration */
    ngx_http_penstock_av_init_main_conf,   /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_penstock_av_create_loc_conf,  /* create location configuration */
    ngx_http_penstock_av_merge_loc_conf    /* merge location configuration */
};


ngx_module_t  ngx_http_penstock_availability_module = {
    NGX_MODULE_V1,
    &ngx_http_penstock_availability_module_ctx,    /* module context */
    ngx_http_penstock_av_commands,         /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_int_t
ngx_http_penstock_av_handler(ngx_http_request_t *r)
{
    ngx_http_penstock_av_ctx_t       *ctx;
    ngx_http_penstock_loc_conf_t     *plcf;
    ngx_http_penstock_av_loc_conf_t  *alcf;

    if (r != r->main) {
        return NGX_DECLINED;
    }

    alcf = ngx_http_get_module_loc_conf(r,
                                       ngx_http_penstock_availability_module);

    if (!alcf->enabled) {
        return NGX_DECLINED;
    }

    if (alcf->purge_zone) {
        return ngx_http_penstock_av_write(r, alcf);
    }

    if (alcf->zone && alcf->items
        && ((r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))
            || (alcf->items->in_body && r->method == NGX_HTTP_POST)))
    {
        return ngx_http_penstock_cells_handler(r, alcf);
    }

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {

        plcf = ngx_http_get_module_loc_conf(r, ngx_http_penstock_module);

        if (alcf->invalidate_zone && !plcf->governs
            && !(r->method & (NGX_HTTP_OPTIONS|NGX_HTTP_TRACE)))
        {
            return ngx_http_penstock_av_write(r, alcf);
        }

        /* reads of other kinds are bounded like those that can't be kept */

        if (alcf->budget == NULL
            || !(r->method & (NGX_HTTP_OPTIONS|NGX_HTTP_PROPFIND)))
        {
            return NGX_DECLINED;
        }
    }

    if (alcf->zone == NULL) {
        return NGX_DECLINED;
    }

    ctx = ngx_http_get_module_ctx(r, ngx_http_penstock_availability_module);

    if (ctx) {
        return ngx_http_penstock_av_resume(ctx);
    }

    ctx = ngx_http_penstock_av_make_ctx(r, alcf);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return (r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))
           ? ngx_http_penstock_av_begin(ctx)
           : ngx_http_penstock_av_decline(ctx, NGX_HTTP_PENSTOCK_AV_PASS);
}


static ngx_int_t
ngx_http_penstock_av_init(ngx_conf_t *cf)
{
    ngx_uint_t                          i;
    ngx_http_handler_pt                *h;
    ngx_http_core_main_conf_t          *cmcf;
    ngx_http_penstock_av_zone_t       **zone;
    ngx_http_penstock_av_main_conf_t   *amcf;

    amcf = ngx_http_conf_get_module_main_conf(cf,
                                       ngx_http_penstock_availability_module);

    if (amcf->zones.nelts == 0) {
        return NGX_OK;
    }

    zone = amcf->zones.elts;

    for (i = 0; i < amcf->zones.nelts; i++) {
        if (zone[i]->dict == NULL) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "there is no zone \"%V\", define it by "
                          "\"availability_zone %V:SIZE\" in %s:%ui",
                          &zone[i]->name, &zone[i]->name, zone[i]->file,
                          zone[i]->line);
            return NGX_ERROR;
        }

        if (ngx_http_penstock_cells_setup(cf, zone[i]) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_PRECONTENT_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_penstock_av_handler;

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_LOG_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_penstock_av_log_handler;

    ngx_http_penstock_av_unsafe_init();

    return ngx_http_penstock_av_budget_init(cf);
}
