
/*
 * How a read was answered: the variable, and the counters of the LOG phase.
 */

#include "ngx_http_penstock_availability.h"
#include "ngx_http_penstock_availability_cells.h"


static ngx_int_t ngx_http_penstock_av_status_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);


static ngx_str_t  ngx_http_penstock_av_variable =
    ngx_string("availability_cache_status");
static ngx_str_t  ngx_http_penstock_cells_name =
    ngx_string("availability_cells");


/* in the order of ngx_http_penstock_av_status_e */

static struct {
    ngx_str_t    name;                   /* of the variable */
    const char  *label;                  /* of the counter */
} ngx_http_penstock_av_names[] = {
    { ngx_string("HIT"), "hit" },
    { ngx_string("HIT"), "redis_hit" },
    { ngx_string("STALE"), "stale" },
    { ngx_string("UPDATING"), "updating" },
    { ngx_string("MISS"), "miss" },
    { ngx_string("PARTIAL"), "partial" },
    { ngx_string("EXPIRED"), "expired" },
    { ngx_string("COLLAPSED"), "collapsed" },
    { ngx_string("PASS"), "pass" },
    { ngx_string("BYPASS"), "bypass" },
    { ngx_string("ERROR"), "error" }
};


const char *
ngx_http_penstock_av_label(ngx_http_penstock_av_status_e status)
{
    return ngx_http_penstock_av_names[status].label;
}


ngx_int_t
ngx_http_penstock_av_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var;

    var = ngx_http_add_variable(cf, &ngx_http_penstock_av_variable,
                                NGX_HTTP_VAR_NOCACHEABLE);
    if (var == NULL) {
        return NGX_ERROR;
    }

    var->get_handler = ngx_http_penstock_av_status_variable;

    var = ngx_http_add_variable(cf, &ngx_http_penstock_cells_name,
                                NGX_HTTP_VAR_NOCACHEABLE);
    if (var == NULL) {
        return NGX_ERROR;
    }

    var->get_handler = ngx_http_penstock_cells_variable;

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_av_status_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t                   *name;
    ngx_http_penstock_av_ctx_t  *ctx;

    ctx = ngx_http_penstock_get_state(r, NGX_HTTP_PENSTOCK_AVAILABILITY);

    if (ctx == NULL || ctx->status == NGX_HTTP_PENSTOCK_AV_NONE) {
        v->not_found = 1;
        return NGX_OK;
    }

    name = &ngx_http_penstock_av_names[ctx->status].name;

    v->data = name->data;
    v->len = name->len;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


ngx_int_t
ngx_http_penstock_av_log_handler(ngx_http_request_t *r)
{
    ngx_http_penstock_av_ctx_t  *ctx;

    ctx = ngx_http_penstock_get_state(r, NGX_HTTP_PENSTOCK_AVAILABILITY);

    if (ctx && r == r->main && ctx->status != NGX_HTTP_PENSTOCK_AV_NONE) {
        ngx_http_penstock_count(ctx->zone->requests[ctx->status], 1);
    }

    return NGX_OK;
}
