
/*
 * The budget of reads: how many of a location's reads may go to the upstream,
 * on all hosts together.  It is a rate_limit_zone that each of them is
 * debited to: fills at the gate of their exchange, requests that the cache
 * lets pass before they go on to proxy_pass.
 */

#include "ngx_http_penstock_availability.h"
#include "ngx_http_penstock_ratelimit_spend.h"


static ngx_int_t ngx_http_penstock_av_budget_enter(
    ngx_http_penstock_exchange_t *x, void **state);
static void ngx_http_penstock_av_budget_leave(
    ngx_http_penstock_exchange_t *x, void **state);
static void ngx_http_penstock_av_budget_continue(
    ngx_http_penstock_ratelimit_spend_t *spend);
static void ngx_http_penstock_av_budget_wake(
    ngx_http_penstock_ratelimit_spend_t *spend);
static ngx_int_t ngx_http_penstock_av_budget_verdict(
    ngx_http_penstock_av_ctx_t *ctx);
static time_t ngx_http_penstock_av_budget_retry(
    ngx_http_penstock_ratelimit_spend_t *spend);


static ngx_http_penstock_gate_t  ngx_http_penstock_av_budget_gate = {
    ngx_http_penstock_av_budget_enter,
    NULL,
    ngx_http_penstock_av_budget_leave,
    NULL
};


static ngx_http_penstock_problem_t  ngx_http_penstock_av_budget_problem = {
    NGX_HTTP_SERVICE_UNAVAILABLE,
    ngx_null_string,
    ngx_null_string,
    ngx_string("Availability can't be read at the moment: there are too many "
               "reads."),
    ngx_null_string
};


char *
ngx_http_penstock_av_budget_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_penstock_av_loc_conf_t  *alcf = conf;

    ngx_str_t                         *value, name;
    ngx_http_penstock_av_main_conf_t  *amcf;

    if (alcf->budget != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {
        alcf->budget = NULL;
        return NGX_CONF_OK;
    }

    if (ngx_strncmp(value[1].data, "zone=", 5) != 0 || value[1].len == 5) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\", it must be "
                           "\"zone=NAME\" with the name of a "
                           "\"rate_limit_zone\", or \"off\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    name.data = value[1].data + 5;
    name.len = value[1].len - 5;

    alcf->budget = ngx_http_penstock_ratelimit_spend_zone(cf, &name);
    if (alcf->budget == NULL) {
        return NGX_CONF_ERROR;
    }

    amcf = ngx_http_conf_get_module_main_conf(cf,
                                       ngx_http_penstock_availability_module);
    amcf->budgets = 1;

    return NGX_CONF_OK;
}


ngx_int_t
ngx_http_penstock_av_budget_init(ngx_conf_t *cf)
{
    ngx_http_penstock_av_main_conf_t  *amcf;

    amcf = ngx_http_conf_get_module_main_conf(cf,
                                       ngx_http_penstock_availability_module);

    if (!amcf->budgets) {
        return NGX_OK;
    }

    amcf->over_budget = ngx_http_penstock_counter(cf,
                            "penstock_availability_over_budget_total",
                            "Reads that the budget kept from the upstream.",
                            NULL);

    if (amcf->over_budget == NGX_ERROR) {
        return NGX_ERROR;
    }

    return ngx_http_penstock_exchange_gate(cf,
                                           &ngx_http_penstock_av_budget_gate);
}


static ngx_int_t
ngx_http_penstock_av_budget_enter(ngx_http_penstock_exchange_t *x,
    void **state)
{
    ngx_int_t                             rc;
    ngx_http_request_t                   *r;
    ngx_http_penstock_av_loc_conf_t      *alcf;
    ngx_http_penstock_av_main_conf_t     *amcf;
    ngx_http_penstock_ratelimit_spend_t  *spend;

    r = x->host;
    spend = *state;

    if (spend == NULL) {

        alcf = ngx_http_get_module_loc_conf(r,
                                       ngx_http_penstock_availability_module);

        if (alcf->budget == NULL || alcf->zone == NULL || x->write) {
            return NGX_OK;
        }

        spend = ngx_pcalloc(r->pool,
                            sizeof(ngx_http_penstock_ratelimit_spend_t));
        if (spend == NULL) {
            return NGX_ERROR;
        }

        spend->request = r;
        spend->zone = alcf->budget;
        spend->cost = 1;
        spend->handler = ngx_http_penstock_av_budget_continue;
        spend->data = x;

        *state = spend;

        rc = ngx_http_penstock_ratelimit_spend(spend);

    } else {
        rc = spend->rc;
    }

    if (rc != NGX_DECLINED) {
        return rc;
    }

    amcf = ngx_http_get_module_main_conf(r,
                                       ngx_http_penstock_availability_module);

    ngx_http_penstock_count(amcf->over_budget, 1);

    x->problem = &ngx_http_penstock_av_budget_problem;
    x->retry_after = ngx_http_penstock_av_budget_retry(spend);

    return NGX_HTTP_SERVICE_UNAVAILABLE;
}


static void
ngx_http_penstock_av_budget_leave(ngx_http_penstock_exchange_t *x,
    void **state)
{
    ngx_http_penstock_ratelimit_spend_cancel(*state);

    *state = NULL;
}


static void
ngx_http_penstock_av_budget_continue(
    ngx_http_penstock_ratelimit_spend_t *spend)
{
    ngx_http_penstock_exchange_continue(spend->data);
}


/* seconds, rounded up */

static time_t
ngx_http_penstock_av_budget_retry(ngx_http_penstock_ratelimit_spend_t *spend)
{
    if (spend->retry_after == NGX_HTTP_PENSTOCK_RATELIMIT_NEVER) {
        return 0;
    }

    return ngx_max((time_t) ((spend->retry_after + 999) / 1000), 1);
}


ngx_int_t
ngx_http_penstock_av_budget_pass(ngx_http_penstock_av_ctx_t *ctx)
{
    ngx_http_request_t                   *r;
    ngx_http_penstock_ratelimit_spend_t  *spend;

    if (ctx->conf->budget == NULL) {
        return NGX_DECLINED;
    }

    r = ctx->request;

    spend = ngx_pcalloc(r->pool, sizeof(ngx_http_penstock_ratelimit_spend_t));
    if (spend == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    spend->request = r;
    spend->zone = ctx->conf->budget;
    spend->cost = 1;
    spend->handler = ngx_http_penstock_av_budget_wake;

    ctx->spend = spend;
    ctx->state = NGX_HTTP_PENSTOCK_AV_BUDGET;

    if (ngx_http_penstock_ratelimit_spend(spend) == NGX_AGAIN) {
        return ngx_http_penstock_park(r, 0, 1);
    }

    return ngx_http_penstock_av_budget_verdict(ctx);
}


static void
ngx_http_penstock_av_budget_wake(ngx_http_penstock_ratelimit_spend_t *spend)
{
    ngx_http_penstock_wake(spend->request);
}


ngx_int_t
ngx_http_penstock_av_budget_resume(ngx_http_penstock_av_ctx_t *ctx)
{
    if (ctx->spend->rc == NGX_AGAIN) {
        return ngx_http_penstock_park(ctx->request, 0, 1);
    }

    return ngx_http_penstock_av_budget_verdict(ctx);
}


static ngx_int_t
ngx_http_penstock_av_budget_verdict(ngx_http_penstock_av_ctx_t *ctx)
{
    ngx_http_request_t                *r;
    ngx_http_penstock_av_main_conf_t  *amcf;

    r = ctx->request;
    ctx->state = NGX_HTTP_PENSTOCK_AV_DONE;

    if (ctx->spend->rc == NGX_OK) {
        return NGX_DECLINED;
    }

    if (ctx->spend->rc != NGX_DECLINED) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    amcf = ngx_http_get_module_main_conf(r,
                                       ngx_http_penstock_availability_module);

    ngx_http_penstock_count(amcf->over_budget, 1);

    ctx->status = NGX_HTTP_PENSTOCK_AV_ERROR;

    if (ngx_http_penstock_retry_after(r,
                           ngx_http_penstock_av_budget_retry(ctx->spend))
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_penstock_problem(r, &ngx_http_penstock_av_budget_problem);
}
