
/*
 * Directives of the budget and the breaker.
 */

#include "ngx_http_penstock_erp.h"


#define NGX_HTTP_PENSTOCK_ERP_BUDGET_LAYOUT   2
#define NGX_HTTP_PENSTOCK_ERP_BREAKER_LAYOUT  1


static ngx_int_t ngx_http_penstock_erp_budget_metrics(ngx_conf_t *cf,
    ngx_http_penstock_erp_budget_t *budget);
static ngx_http_penstock_erp_breaker_t *ngx_http_penstock_erp_breaker_add(
    ngx_conf_t *cf, ngx_str_t *name);


char *
ngx_http_penstock_erp_budget_zone(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ssize_t                          size;
    ngx_str_t                       *value, limit, writes, redis, lease,
                                     alone;
    ngx_http_penstock_erp_budget_t  *budget, **b;
    ngx_http_penstock_erp_param_t    params[] = {
        { "limit=", &limit },
        { "writes=", &writes },
        { "redis=", &redis },
        { "lease=", &lease },
        { "alone=", &alone }
    };
    ngx_http_penstock_erp_main_conf_t  *emcf;

    value = cf->args->elts;

    emcf = ngx_http_conf_get_module_main_conf(cf,
                                              ngx_http_penstock_erp_module);

    budget = ngx_pcalloc(cf->pool, sizeof(ngx_http_penstock_erp_budget_t));
    if (budget == NULL) {
        return NGX_CONF_ERROR;
    }

    if (ngx_http_penstock_zone_parse(cf, &value[1], &budget->name, &size)
        != NGX_OK
        || ngx_http_penstock_erp_params(cf, 2, params, 5) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (limit.data == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" must have \"limit=\": how many requests "
                           "the upstream takes at once, for example limit=15",
                           &cmd->name);
        return NGX_CONF_ERROR;
    }

    budget->lease = 60000;

    if (ngx_http_penstock_erp_number(cf, "limit", &limit, 1, 10000,
                                     &budget->limit)
        != NGX_OK
        || ngx_http_penstock_erp_number(cf, "writes", &writes, 0,
                                        budget->limit, &budget->writes)
           != NGX_OK
        || ngx_http_penstock_erp_time(cf, "lease", &lease, 5000,
                                      &budget->lease)
           != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    budget->alone = ngx_max(budget->limit / 2, 1);

    if (ngx_http_penstock_erp_number(cf, "alone", &alone, 0, budget->limit,
                                     &budget->alone)
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (alone.data && redis.data == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"alone=\" of \"%V\" needs \"redis=NAME\", add it "
                           "or drop the parameter", &cmd->name);
        return NGX_CONF_ERROR;
    }

    if (redis.data) {
        budget->redis = ngx_http_penstock_redis_ref(cf, &redis);
        if (budget->redis == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    budget->shm_zone = ngx_http_penstock_zone_add(cf, &budget->name, size,
                                         &ngx_http_penstock_erp_budget_tag,
                                         NGX_HTTP_PENSTOCK_ERP_BUDGET_LAYOUT,
                                         ngx_http_penstock_erp_budget_init,
                                         budget);
    if (budget->shm_zone == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_http_penstock_erp_budget_setup(budget, &cf->cycle->new_log);

    if (budget->redis) {
        b = ngx_array_push(&emcf->budgets);
        if (b == NULL) {
            return NGX_CONF_ERROR;
        }

        *b = budget;
    }

    return (ngx_http_penstock_erp_budget_metrics(cf, budget) == NGX_OK)
           ? NGX_CONF_OK : NGX_CONF_ERROR;
}


static ngx_int_t
ngx_http_penstock_erp_budget_metrics(ngx_conf_t *cf,
    ngx_http_penstock_erp_budget_t *budget)
{
    ngx_str_t   labels;
    ngx_uint_t  i;

    struct {
        const char  *name;
        const char  *help;
        ngx_int_t   *id;
    } counters[] = {
        { "penstock_erp_budget_granted_total",
          "Requests that got a place at the upstream.", &budget->granted },
        { "penstock_erp_budget_queued_total",
          "Requests that had to wait for it.", &budget->queued },
        { "penstock_erp_budget_queue_full_total",
          "Requests refused because too many waited.", &budget->full },
        { "penstock_erp_budget_queue_timeout_total",
          "Requests refused because they waited too long.", &budget->late },
        { "penstock_erp_budget_overload_total",
          "Answers by which the upstream refused for its load.",
          &budget->overload },
        { "penstock_erp_budget_unshared_total",
          "Requests counted on this host alone, without Redis.",
          &budget->unshared }
    };

    if (ngx_http_penstock_erp_label(cf, "zone", &budget->name, &labels)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    for (i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
        *counters[i].id = ngx_http_penstock_counter(cf, counters[i].name,
                                                    counters[i].help,
                                                    &labels);
        if (*counters[i].id == NGX_ERROR) {
            return NGX_ERROR;
        }
    }

    if (ngx_http_penstock_gauge(cf, "penstock_erp_budget_in_use",
                                "Places that this host's requests have.",
                                &labels, ngx_http_penstock_erp_budget_held,
                                budget)
        != NGX_OK
        || ngx_http_penstock_gauge(cf, "penstock_erp_budget_waiting",
                                   "Requests that wait in this host's own "
                                   "queue.", &labels,
                                   ngx_http_penstock_erp_budget_waiting,
                                   budget)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_penstock_gauge(cf, "penstock_erp_budget_limit",
                                   "The limit now, as this host has learned "
                                   "it.", &labels,
                                   ngx_http_penstock_erp_budget_level, budget);
}


char *
ngx_http_penstock_erp_budget(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_penstock_erp_loc_conf_t  *elcf = conf;

    ngx_str_t                         *value, queue, timeout, client;
    ngx_http_penstock_erp_param_t      params[] = {
        { "queue=", &queue },
        { "timeout=", &timeout },
        { "client=", &client }
    };

    if (elcf->budget != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_http_penstock_erp_params(cf, 2, params, 3) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (ngx_strcmp(value[1].data, "off") == 0) {
        elcf->budget = NULL;
        return NGX_CONF_OK;
    }

    elcf->queue = 100;
    elcf->timeout = 5000;

    if (ngx_http_penstock_erp_number(cf, "queue", &queue, 0, 100000,
                                     &elcf->queue)
        != NGX_OK
        || ngx_http_penstock_erp_time(cf, "timeout", &timeout, 1,
                                      &elcf->timeout)
           != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (client.data) {
        elcf->client = ngx_http_penstock_erp_value(cf, &client);
        if (elcf->client == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    elcf->budget = ngx_http_penstock_zone_ref(cf, &value[1],
                                          &ngx_http_penstock_erp_budget_tag);
    if (elcf->budget == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_http_penstock_erp_used(cf);

    return NGX_CONF_OK;
}


char *
ngx_http_penstock_erp_breaker(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_penstock_erp_loc_conf_t  *elcf = conf;

    ngx_str_t                         *value, failures, window, open, least;
    ngx_uint_t                         percent, n;
    ngx_msec_t                         ms;
    ps_breaker_limits_t                limits;
    ngx_http_penstock_erp_param_t      params[] = {
        { "failures=", &failures },
        { "window=", &window },
        { "open=", &open },
        { "least=", &least }
    };

    if (elcf->breaker != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_http_penstock_erp_params(cf, 2, params, 4) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (ngx_strcmp(value[1].data, "off") == 0) {
        elcf->breaker = NULL;
        return NGX_CONF_OK;
    }

    elcf->breaker = ngx_http_penstock_erp_breaker_add(cf, &value[1]);
    if (elcf->breaker == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_http_penstock_erp_used(cf);

    if (cf->args->nelts == 2 && elcf->breaker->limits.window) {
        return NGX_CONF_OK;
    }

    if (failures.len && failures.data[failures.len - 1] == '%') {
        failures.len--;
    }

    percent = 50;
    n = 10;

    if (ngx_http_penstock_erp_number(cf, "failures", &failures, 1, 100,
                                     &percent)
        != NGX_OK
        || ngx_http_penstock_erp_number(cf, "least", &least, 1, 1000000, &n)
           != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    limits.percent = (unsigned) percent;
    limits.least = (unsigned) n;

    ms = 10000;

    if (ngx_http_penstock_erp_time(cf, "window", &window, 100, &ms)
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    limits.window = ms;
    ms = 5000;

    if (ngx_http_penstock_erp_time(cf, "open", &open, 100, &ms) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    limits.open = ms;

    if (elcf->breaker->limits.window
        && (elcf->breaker->limits.window != limits.window
            || elcf->breaker->limits.open != limits.open
            || elcf->breaker->limits.percent != limits.percent
            || elcf->breaker->limits.least != limits.least))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "erp_breaker \"%V\" has other parameters elsewhere "
                           "in the configuration, leave them out here or give "
                           "it another name", &value[1]);
        return NGX_CONF_ERROR;
    }

    elcf->breaker->limits = limits;

    return NGX_CONF_OK;
}


static ngx_http_penstock_erp_breaker_t *
ngx_http_penstock_erp_breaker_add(ngx_conf_t *cf, ngx_str_t *name)
{
    u_char                              *p;
    ngx_str_t                            labels;
    ngx_uint_t                           i;
    ngx_http_penstock_erp_breaker_t    **b, *breaker;
    ngx_http_penstock_erp_main_conf_t   *emcf;

    emcf = ngx_http_conf_get_module_main_conf(cf,
                                              ngx_http_penstock_erp_module);

    b = emcf->breakers.elts;

    for (i = 0; i < emcf->breakers.nelts; i++) {
        if (b[i]->name.len == name->len
            && ngx_strncmp(b[i]->name.data, name->data, name->len) == 0)
        {
            return b[i];
        }
    }

    for (p = name->data; p < name->data + name->len; p++) {

        if ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z')
            || (*p >= '0' && *p <= '9') || *p == '_' || *p == '-'
            || *p == '.')
        {
            continue;
        }

        break;
    }

    if (name->len == 0 || p < name->data + name->len) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid name \"%V\" of a breaker, use letters, "
                           "digits, \"_\", \"-\" and \".\"", name);
        return NULL;
    }

    breaker = ngx_pcalloc(cf->pool, sizeof(ngx_http_penstock_erp_breaker_t));
    b = ngx_array_push(&emcf->breakers);

    if (breaker == NULL || b == NULL
        || ngx_http_penstock_erp_label(cf, "breaker", name, &labels)
           != NGX_OK)
    {
        return NULL;
    }

    *b = breaker;
    breaker->name = *name;

    breaker->shm_zone = ngx_http_penstock_zone_add(cf, &breaker->name,
                                         8 * ngx_pagesize,
                                         &ngx_http_penstock_erp_breaker_tag,
                                         NGX_HTTP_PENSTOCK_ERP_BREAKER_LAYOUT,
                                         ngx_http_penstock_erp_breaker_init,
                                         breaker);
    if (breaker->shm_zone == NULL) {
        return NULL;
    }

    breaker->refused = ngx_http_penstock_counter(cf,
                           "penstock_erp_breaker_refused_total",
                           "Requests refused while the breaker was open.",
                           &labels);

    if (breaker->refused == NGX_ERROR
        || ngx_http_penstock_gauge(cf, "penstock_erp_breaker_state",
                                   "0: closed, 1: open, 2: half open.",
                                   &labels,
                                   ngx_http_penstock_erp_breaker_state,
                                   breaker)
           != NGX_OK
        || ngx_http_penstock_gauge(cf, "penstock_erp_breaker_opened_total",
                                   "How often the breaker has opened.",
                                   &labels,
                                   ngx_http_penstock_erp_breaker_opened,
                                   breaker)
           != NGX_OK)
    {
        return NULL;
    }

    return breaker;
}


char *
ngx_http_penstock_erp_overload(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_penstock_erp_loc_conf_t  *elcf = conf;

    ngx_int_t                          status;
    ngx_str_t                         *value;
    ngx_http_penstock_erp_overload_t  *overload;

    value = cf->args->elts;

    status = ngx_atoi(value[1].data, value[1].len);

    if (status < 400 || status > 599) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid status \"%V\", use 400 to 599",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    if (cf->args->nelts == 3 && value[2].len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the text of \"erp_overload\" is empty, leave it "
                           "out where the status alone tells");
        return NGX_CONF_ERROR;
    }

    if (elcf->overload == NGX_CONF_UNSET_PTR) {
        elcf->overload = ngx_array_create(cf->pool, 1,
                                   sizeof(ngx_http_penstock_erp_overload_t));
        if (elcf->overload == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    overload = ngx_array_push(elcf->overload);
    if (overload == NULL) {
        return NGX_CONF_ERROR;
    }

    overload->status = status;
    ngx_str_null(&overload->text);

    if (cf->args->nelts == 3) {
        overload->text = value[2];
    }

    return NGX_CONF_OK;
}
