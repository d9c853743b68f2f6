
/*
 * The suite's first module: configuration that every feature shares.
 */

#include "ngx_http_penstock.h"
#include "ngx_http_penstock_exchange.h"
#include "ngx_http_penstock_metrics.h"


static void *ngx_http_penstock_create_main_conf(ngx_conf_t *cf);
static void *ngx_http_penstock_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_penstock_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);


static ngx_command_t  ngx_http_penstock_commands[] = {

    { ngx_string("penstock_status"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_penstock_status_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_penstock_module_ctx = {
    NULL,                                  /* preconfiguration */
    ngx_http_penstock_zone_postconf,       /* postconfiguration */

    ngx_http_penstock_create_main_conf,    /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_penstock_create_loc_conf,     /* create location configuration */
    ngx_http_penstock_merge_loc_conf       /* merge location configuration */
};


ngx_module_t  ngx_http_penstock_module = {
    NGX_MODULE_V1,
    &ngx_http_penstock_module_ctx,         /* module context */
    ngx_http_penstock_commands,            /* module directives */
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


static void *
ngx_http_penstock_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_penstock_main_conf_t  *pmcf;

    pmcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_penstock_main_conf_t));
    if (pmcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&pmcf->upstream, cf->pool, 4,
                       sizeof(ngx_http_penstock_upstream_pt))
        != NGX_OK
        || ngx_array_init(&pmcf->gates, cf->pool, NGX_HTTP_PENSTOCK_GATES,
                          sizeof(ngx_http_penstock_gate_t *))
           != NGX_OK)
    {
        return NULL;
    }

    return pmcf;
}


static void *
ngx_http_penstock_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_penstock_loc_conf_t  *plcf;

    plcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_penstock_loc_conf_t));
    if (plcf == NULL) {
        return NULL;
    }

    plcf->authenticates = NGX_CONF_UNSET;

    return plcf;
}


static char *
ngx_http_penstock_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_penstock_loc_conf_t  *prev = parent;
    ngx_http_penstock_loc_conf_t  *conf = child;

    ngx_http_core_loc_conf_t  *clcf;

    ngx_conf_merge_value(conf->authenticates, prev->authenticates, 0);

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->lmt_excpt && clcf->handler == NULL && prev->content) {
        clcf->handler = prev->content;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_penstock_content(ngx_conf_t *cf, ngx_http_handler_pt handler)
{
    ngx_http_core_loc_conf_t      *clcf;
    ngx_http_penstock_loc_conf_t  *plcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    plcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_penstock_module);

    if (clcf->handler == handler) {
        return "is duplicate";
    }

    clcf->handler = handler;
    plcf->content = handler;

    return NGX_CONF_OK;
}
