
/*
 * $correlation_id, and the parts of the traceparent that goes upstream.
 */

#include "ngx_http_penstock_correlation.h"


static ngx_int_t ngx_http_penstock_correlation_id_variable(
    ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_penstock_correlation_trace_variable(
    ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t data);


/* parts of the traceparent text: data is (offset << 8) + length */

static ngx_http_variable_t  ngx_http_penstock_correlation_vars[] = {

    { ngx_string("correlation_id"), NULL,
      ngx_http_penstock_correlation_id_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("trace_id"), NULL,
      ngx_http_penstock_correlation_trace_variable,
      (3 << 8) + PS_TRACE_ID_LEN, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("span_id"), NULL,
      ngx_http_penstock_correlation_trace_variable,
      (36 << 8) + PS_SPAN_ID_LEN, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("trace_flags"), NULL,
      ngx_http_penstock_correlation_trace_variable,
      (53 << 8) + 2, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("traceparent"), NULL,
      ngx_http_penstock_correlation_trace_variable,
      PS_TRACEPARENT_LEN, NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


static ngx_int_t
ngx_http_penstock_correlation_id_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_int_t                         rc;
    ngx_http_penstock_correlation_t  *c;

    rc = ngx_http_penstock_correlation_make(r, &c);

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (rc == NGX_DECLINED) {
        v->not_found = 1;
        return NGX_OK;
    }

    c->seen = 1;

    v->len = c->id.len;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->data = c->id.data;

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_correlation_trace_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_int_t                         rc;
    ngx_http_penstock_correlation_t  *c;

    rc = ngx_http_penstock_correlation_trace(r, &c);

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (rc == NGX_DECLINED) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->len = data & 0xff;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->data = c->traceparent + (data >> 8);

    return NGX_OK;
}


ngx_int_t
ngx_http_penstock_correlation_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var, *v;

    for (v = ngx_http_penstock_correlation_vars; v->name.len; v++) {
        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}
