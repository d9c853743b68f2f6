
/*
 * Writes to an ERP: each of them once, at the ERP's pace.
 */

#include "ngx_http_penstock_erp.h"


static ngx_int_t ngx_http_penstock_erp_add_variables(ngx_conf_t *cf);
static ngx_int_t ngx_http_penstock_erp_key_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_penstock_erp_status_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_penstock_erp_init(ngx_conf_t *cf);
static ngx_int_t ngx_http_penstock_erp_init_process(ngx_cycle_t *cycle);


static ngx_command_t  ngx_http_penstock_erp_commands[] = {

    { ngx_string("idempotency_zone"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE12,
      ngx_http_penstock_erp_keys_zone,
      0,
      0,
      NULL },

    { ngx_string("idempotency"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_penstock_erp_idempotency,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("idempotency_reconcile"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_penstock_erp_reconcile,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("erp_budget_zone"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_1MORE,
      ngx_http_penstock_erp_budget_zone,
      0,
      0,
      NULL },

    { ngx_string("erp_budget"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_penstock_erp_budget,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("erp_overload"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_penstock_erp_overload,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("erp_breaker"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_penstock_erp_breaker,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_penstock_erp_module_ctx = {
    ngx_http_penstock_erp_add_variables,   /* preconfiguration */
    ngx_http_penstock_erp_init,            /* postconfiguration */

    ngx_http_penstock_erp_create_main_conf, /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_penstock_erp_create_loc_conf, /* create location configuration */
    ngx_http_penstock_erp_merge_loc_conf   /* merge location configuration */
};


ngx_module_t  ngx_http_penstock_erp_module = {
    NGX_MODULE_V1,
    &ngx_http_penstock_erp_module_ctx,     /* module context */
    ngx_http_penstock_erp_commands,        /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_http_penstock_erp_init_process,    /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


ngx_module_t  ngx_http_penstock_erp_keys_tag = {
    .name = "penstock_idempotency"
};

ngx_module_t  ngx_http_penstock_erp_budget_tag = {
    .name = "penstock_budget"
};

ngx_module_t  ngx_http_penstock_erp_breaker_tag = {
    .name = "penstock_breaker"
};


static ngx_http_variable_t  ngx_http_penstock_erp_vars[] = {

    { ngx_string("idempotency_key"), NULL,
      ngx_http_penstock_erp_key_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("idempotency_id"), NULL,
      ngx_http_penstock_erp_key_variable, 1, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("idempotency_status"), NULL,
      ngx_http_penstock_erp_status_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


static ngx_str_t  ngx_http_penstock_erp_statuses[] = {
    ngx_string("new"),
    ngx_string("replayed"),
    ngx_string("in_progress"),
    ngx_string("mismatch"),
    ngx_string("unknown"),
    ngx_string("looked_up"),
    ngx_string("unavailable"),
    ngx_string("invalid")
};


static ngx_int_t
ngx_http_penstock_erp_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var, *v;

    for (v = ngx_http_penstock_erp_vars; v->name.len; v++) {
        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_erp_key_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t                    *value;
    ngx_http_penstock_erp_ctx_t  *ctx;

    ctx = ngx_http_penstock_get_state(r, NGX_HTTP_PENSTOCK_ERP);

    if (ctx == NULL || ctx->claim == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    value = data ? &ctx->claim->id : &ctx->claim->text;

    v->data = value->data;
    v->len = value->len;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_erp_status_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_penstock_erp_ctx_t  *ctx;

    ctx = ngx_http_penstock_get_state(r, NGX_HTTP_PENSTOCK_ERP);

    if (ctx == NULL || !ctx->judged) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->data = ngx_http_penstock_erp_statuses[ctx->verdict].data;
    v->len = ngx_http_penstock_erp_statuses[ctx->verdict].len;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_erp_init(ngx_conf_t *cf)
{
    ngx_http_penstock_erp_main_conf_t  *emcf;

    static ngx_str_t                    client =
                               ngx_string("$jwt_claim_iss $jwt_claim_sub");

    emcf = ngx_http_conf_get_module_main_conf(cf,
                                              ngx_http_penstock_erp_module);

    if (!emcf->used) {
        return NGX_OK;
    }

    emcf->client = ngx_http_penstock_erp_value(cf, &client);
    if (emcf->client == NULL) {
        return NGX_ERROR;
    }

    if (ngx_http_penstock_phase_handler(cf, NGX_HTTP_PRECONTENT_PHASE,
                                        ngx_http_penstock_erp_handler)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ngx_http_penstock_exchange_gate(cf,
                                        &ngx_http_penstock_erp_breaker_gate)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_penstock_exchange_gate(cf,
                                          &ngx_http_penstock_erp_budget_gate);
}


static ngx_int_t
ngx_http_penstock_erp_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                           i;
    ngx_http_penstock_erp_budget_t     **budget;
    ngx_http_penstock_erp_main_conf_t   *emcf;

    emcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_http_penstock_erp_module);

    /* the cache manager and loader serve nobody */

    if (emcf == NULL
        || (ngx_process != NGX_PROCESS_WORKER
            && ngx_process != NGX_PROCESS_SINGLE))
    {
        return NGX_OK;
    }

    budget = emcf->budgets.elts;

    for (i = 0; i < emcf->budgets.nelts; i++) {
        ngx_http_penstock_erp_budget_start(budget[i]);
    }

    return NGX_OK;
}
