
/*
 * Directives of idempotency keys, and what all directives here share.
 */

#include "ngx_http_penstock_credentials.h"
#include "ngx_http_penstock_erp.h"


/* of records in a zone; a change makes a reload start with a new one */

#define NGX_HTTP_PENSTOCK_ERP_KEYS_LAYOUT  1

#define NGX_HTTP_PENSTOCK_ERP_NAME_MAX     64


static const char  *ngx_http_penstock_erp_verdicts[] = {
    "new", "replayed", "in_progress", "mismatch", "unknown", "looked_up",
    "unavailable", "invalid"
};


void *
ngx_http_penstock_erp_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_penstock_erp_main_conf_t  *emcf;

    emcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_penstock_erp_main_conf_t));
    if (emcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&emcf->breakers, cf->pool, 2,
                       sizeof(ngx_http_penstock_erp_breaker_t *))
        != NGX_OK
        || ngx_array_init(&emcf->budgets, cf->pool, 2,
                          sizeof(ngx_http_penstock_erp_budget_t *))
           != NGX_OK)
    {
        return NULL;
    }

    return emcf;
}


void *
ngx_http_penstock_erp_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_penstock_erp_loc_conf_t  *conf;

    /*
     * set by ngx_pcalloc():
     *
     *     conf->required, ttl, lease, scope, pass: of "keys"
     *     conf->queue, timeout, client: of "budget"
     *     conf->reconcile_after: of "reconcile"
     */

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_penstock_erp_loc_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    conf->keys = NGX_CONF_UNSET_PTR;
    conf->reconcile = NGX_CONF_UNSET_PTR;
    conf->budget = NGX_CONF_UNSET_PTR;
    conf->breaker = NGX_CONF_UNSET_PTR;
    conf->overload = NGX_CONF_UNSET_PTR;

    return conf;
}


char *
ngx_http_penstock_erp_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child)
{
    ngx_http_penstock_erp_loc_conf_t  *prev = parent;
    ngx_http_penstock_erp_loc_conf_t  *conf = child;

    ngx_http_penstock_loc_conf_t  *plcf;

    if (conf->keys == NGX_CONF_UNSET_PTR) {
        conf->keys = prev->keys;
        conf->required = prev->required;
        conf->ttl = prev->ttl;
        conf->lease = prev->lease;
        conf->scope = prev->scope;
        conf->pass = prev->pass;
    }

    if (conf->reconcile == NGX_CONF_UNSET_PTR) {
        conf->reconcile = prev->reconcile;
        conf->reconcile_after = prev->reconcile_after;
    }

    if (conf->budget == NGX_CONF_UNSET_PTR) {
        conf->budget = prev->budget;
        conf->queue = prev->queue;
        conf->timeout = prev->timeout;
        conf->client = prev->client;
    }

    ngx_conf_merge_ptr_value(conf->keys, NULL, NULL);
    ngx_conf_merge_ptr_value(conf->reconcile, NULL, NULL);
    ngx_conf_merge_ptr_value(conf->budget, NULL, NULL);
    ngx_conf_merge_ptr_value(conf->breaker, prev->breaker, NULL);
    ngx_conf_merge_ptr_value(conf->overload, prev->overload, NULL);

    plcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_penstock_module);
    plcf->governs = (conf->keys || conf->budget || conf->breaker);

    return NGX_CONF_OK;
}


char *
ngx_http_penstock_erp_keys_zone(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ssize_t                        size;
    ngx_str_t                     *value, redis, labels, result;
    ngx_uint_t                     i;
    ngx_http_penstock_erp_keys_t  *keys;
    ngx_http_penstock_erp_param_t  params[] = { { "redis=", &redis } };

    value = cf->args->elts;

    keys = ngx_pcalloc(cf->pool, sizeof(ngx_http_penstock_erp_keys_t));
    if (keys == NULL) {
        return NGX_CONF_ERROR;
    }

    if (ngx_http_penstock_zone_parse(cf, &value[1], &keys->name, &size)
        != NGX_OK
        || ngx_http_penstock_erp_params(cf, 2, params, 1) != NGX_OK
        || ngx_http_penstock_erp_label(cf, "zone", &keys->name, &labels)
           != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (redis.data) {
        keys->redis = ngx_http_penstock_redis_ref(cf, &redis);
        if (keys->redis == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    for (i = 0; i < NGX_HTTP_PENSTOCK_ERP_VERDICTS; i++) {

        result.data = ngx_pnalloc(cf->pool, labels.len
                                        + sizeof(",result=\"in_progress\""));
        if (result.data == NULL) {
            return NGX_CONF_ERROR;
        }

        result.len = ngx_sprintf(result.data, "%V,result=\"%s\"", &labels,
                                 ngx_http_penstock_erp_verdicts[i])
                     - result.data;

        keys->counters[i] = ngx_http_penstock_counter(cf,
                                "penstock_idempotency_requests_total",
                                "Requests, by what their idempotency key "
                                "said.", &result);
        if (keys->counters[i] == NGX_ERROR) {
            return NGX_CONF_ERROR;
        }
    }

    keys->lost = ngx_http_penstock_counter(cf,
                     "penstock_idempotency_unknown_outcomes_total",
                     "Requests with a key that were sent and not answered.",
                     &labels);
    if (keys->lost == NGX_ERROR) {
        return NGX_CONF_ERROR;
    }

    keys->shm_zone = ngx_http_penstock_zone_add(cf, &keys->name, size,
                                          &ngx_http_penstock_erp_keys_tag,
                                          NGX_HTTP_PENSTOCK_ERP_KEYS_LAYOUT,
                                          ngx_http_penstock_erp_keys_init,
                                          keys);
    if (keys->shm_zone == NULL) {
        return NGX_CONF_ERROR;
    }

    if (keys->redis == NULL
        && ngx_http_penstock_gauge(cf, "penstock_idempotency_keys",
                                   "Keys held in shared memory.", &labels,
                                   ngx_http_penstock_erp_keys_entries,
                                   keys->shm_zone)
           != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_penstock_erp_idempotency(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_penstock_erp_loc_conf_t  *elcf = conf;

    ngx_str_t                         *value, required, ttl, lease, scope;
    ngx_msec_t                         ms;
    ngx_http_penstock_erp_param_t      params[] = {
        { "required", &required },
        { "ttl=", &ttl },
        { "lease=", &lease },
        { "scope=", &scope },
        { "pass=", NULL }
    };

    if (elcf->keys != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    params[4].value = &elcf->pass;
    value = cf->args->elts;

    if (ngx_http_penstock_erp_params(cf, 2, params, 5) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (ngx_strcmp(value[1].data, "off") == 0) {
        elcf->keys = NULL;
        return NGX_CONF_OK;
    }

    ms = 24 * 3600 * 1000;
    elcf->lease = 30000;

    if (ngx_http_penstock_erp_time(cf, "ttl", &ttl, 1000, &ms) != NGX_OK
        || ngx_http_penstock_erp_time(cf, "lease", &lease, 1000,
                                      &elcf->lease)
           != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    elcf->ttl = ms / 1000;
    elcf->required = (required.data != NULL);

    if (elcf->lease >= ms) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"lease=\" of \"%V\" must be shorter than "
                           "\"ttl=\"", &cmd->name);
        return NGX_CONF_ERROR;
    }

    if (elcf->pass.data
        && ngx_http_penstock_upstream_name(cf, &elcf->pass) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (scope.data) {
        elcf->scope = ngx_http_penstock_erp_value(cf, &scope);
        if (elcf->scope == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    elcf->keys = ngx_http_penstock_zone_ref(cf, &value[1],
                                            &ngx_http_penstock_erp_keys_tag);
    if (elcf->keys == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_http_penstock_erp_used(cf);

    return NGX_CONF_OK;
}


char *
ngx_http_penstock_erp_reconcile(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_penstock_erp_loc_conf_t  *elcf = conf;

    ngx_str_t                         *value, after;
    ngx_http_penstock_erp_param_t      params[] = { { "after=", &after } };

    if (elcf->reconcile != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_http_penstock_erp_params(cf, 2, params, 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (ngx_strcmp(value[1].data, "off") == 0) {
        elcf->reconcile = NULL;
        return NGX_CONF_OK;
    }

    if (value[1].len == 0 || value[1].data[0] != '/') {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid URI \"%V\", name an internal location "
                           "that asks the upstream, for example \"/_status\"",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    elcf->reconcile_after = 60000;

    if (ngx_http_penstock_erp_time(cf, "after", &after, 0,
                                   &elcf->reconcile_after)
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    elcf->reconcile = ngx_http_penstock_erp_value(cf, &value[1]);

    return elcf->reconcile ? NGX_CONF_OK : NGX_CONF_ERROR;
}


ngx_int_t
ngx_http_penstock_erp_params(ngx_conf_t *cf, ngx_uint_t first,
    ngx_http_penstock_erp_param_t *params, ngx_uint_t n)
{
    size_t      len;
    ngx_str_t  *value;
    ngx_uint_t  i, k;

    value = cf->args->elts;

    for (k = 0; k < n; k++) {
        ngx_str_null(params[k].value);
    }

    for (i = first; i < cf->args->nelts; i++) {

        for (k = 0; k < n; k++) {
            len = ngx_strlen(params[k].name);

            if (value[i].len < len
                || ngx_strncmp(value[i].data, params[k].name, len) != 0)
            {
                continue;
            }

            if (params[k].name[len - 1] == '=') {
                params[k].value->len = value[i].len - len;

            } else if (value[i].len == len) {
                params[k].value->len = len;
                len = 0;

            } else {
                continue;
            }

            break;
        }

        if (k == n || params[k].value->len == 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               k == n ? "invalid parameter \"%V\""
                                      : "\"%V\" has no value", &value[i]);
            return NGX_ERROR;
        }

        if (params[k].value->data) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "duplicate parameter \"%V\", keep one",
                               &value[i]);
            return NGX_ERROR;
        }

        params[k].value->data = value[i].data + len;
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_penstock_erp_time(ngx_conf_t *cf, const char *name, ngx_str_t *text,
    ngx_msec_t least, ngx_msec_t *ms)
{
    ngx_int_t  n;

    if (text->data == NULL) {
        return NGX_OK;
    }

    n = ngx_parse_time(text, 0);

    if (n == NGX_ERROR || (ngx_msec_t) n < least) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid \"%s=%V\", write a time of at least %M "
                           "ms, for example %s=30s", name, text, least, name);
        return NGX_ERROR;
    }

    *ms = (ngx_msec_t) n;

    return NGX_OK;
}


ngx_int_t
ngx_http_penstock_erp_number(ngx_conf_t *cf, const char *name,
    ngx_str_t *text, ngx_uint_t least, ngx_uint_t most, ngx_uint_t *n)
{
    ngx_int_t  value;

    if (text->data == NULL) {
        return NGX_OK;
    }

    value = ngx_atoi(text->data, text->len);

    if (value == NGX_ERROR || (ngx_uint_t) value < least
        || (ngx_uint_t) value > most)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid \"%s=%V\", write a number from %ui to %ui",
                           name, text, least, most);
        return NGX_ERROR;
    }

    *n = value;

    return NGX_OK;
}


ngx_http_complex_value_t *
ngx_http_penstock_erp_value(ngx_conf_t *cf, ngx_str_t *text)
{
    ngx_http_complex_value_t          *value;
    ngx_http_compile_complex_value_t   ccv;

    value = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));
    if (value == NULL) {
        return NULL;
    }

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = text;
    ccv.complex_value = value;

    return (ngx_http_compile_complex_value(&ccv) == NGX_OK) ? value : NULL;
}


ngx_int_t
ngx_http_penstock_erp_label(ngx_conf_t *cf, const char *label,
    ngx_str_t *name, ngx_str_t *out)
{
    if (name->len > NGX_HTTP_PENSTOCK_ERP_NAME_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "name \"%V\" is too long, use at most %d "
                           "characters", name, NGX_HTTP_PENSTOCK_ERP_NAME_MAX);
        return NGX_ERROR;
    }

    out->data = ngx_pnalloc(cf->pool, ngx_strlen(label) + sizeof("=\"\"")
                                      + name->len);
    if (out->data == NULL) {
        return NGX_ERROR;
    }

    out->len = ngx_sprintf(out->data, "%s=\"%V\"", label, name) - out->data;

    return NGX_OK;
}


void
ngx_http_penstock_erp_used(ngx_conf_t *cf)
{
    ngx_http_penstock_erp_main_conf_t  *emcf;

    emcf = ngx_http_conf_get_module_main_conf(cf,
                                              ngx_http_penstock_erp_module);
    emcf->used = 1;
}


ngx_int_t
ngx_http_penstock_erp_client(ngx_http_request_t *r,
    ngx_http_complex_value_t *value, ngx_str_t *client)
{
    ngx_http_penstock_erp_main_conf_t  *emcf;

    if (value) {

        if (ngx_http_complex_value(r, value, client) != NGX_OK) {
            return NGX_ERROR;
        }

        if (client->len) {
            return NGX_OK;
        }
    }

    emcf = ngx_http_get_module_main_conf(r, ngx_http_penstock_erp_module);

    if (ngx_http_complex_value(r, emcf->client, client) != NGX_OK) {
        return NGX_ERROR;
    }

    /* nobody was verified: the text between the claims is all there is */

    if (client->len == 1) {
        *client = r->connection->addr_text;
    }

    return NGX_OK;
}
