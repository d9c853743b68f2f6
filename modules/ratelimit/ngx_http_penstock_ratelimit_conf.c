
/*
 * rate_limit, and what the directives of zones have in common; for
 * rate_limit_zone see ngx_http_penstock_ratelimit_conf_zone.c.
 */

#include "ngx_http_penstock_ratelimit.h"


static ngx_uint_t ngx_http_penstock_ratelimit_is(ngx_str_t *value,
    const char *text);


static const char  *ngx_http_penstock_ratelimit_results[] = {
    "passed", "rejected", "dry_run", "fallback"
};


ngx_int_t
ngx_http_penstock_ratelimit_params(ngx_conf_t *cf,
    ngx_http_penstock_ratelimit_param_t *params, ngx_uint_t n)
{
    u_char      *p, names[128];
    size_t       len;
    ngx_str_t   *value;
    ngx_uint_t   i, k;

    value = cf->args->elts;
    len = 0;

    for (k = 0; k < n; k++) {
        ngx_str_null(params[k].value);
    }

    for (i = 2; i < cf->args->nelts; i++) {

        for (k = 0; k < n; k++) {
            len = ngx_strlen(params[k].name);

            if (value[i].len >= len
                && ngx_strncmp(value[i].data, params[k].name, len) == 0)
            {
                break;
            }
        }

        if (k == n) {
            p = names;

            for (k = 0; k < n; k++) {
                p = ngx_slprintf(p, names + sizeof(names), "%s%s",
                                 k == 0 ? "" : k == n - 1 ? " or " : ", ",
                                 params[k].name);
            }

            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\", use %*s",
                               &value[i], (size_t) (p - names), names);
            return NGX_ERROR;
        }

        if (params[k].value->data) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "duplicate parameter \"%V\", keep one",
                               &value[i]);
            return NGX_ERROR;
        }

        params[k].value->data = value[i].data + len;
        params[k].value->len = value[i].len - len;
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_penstock_ratelimit_conf_redis(ngx_conf_t *cf, ngx_str_t *zone,
    ngx_str_t *name, ngx_str_t *value, ngx_http_penstock_redis_t **redis,
    ngx_uint_t *fallback)
{
    ngx_uint_t          i;
    static const char  *names[] = { "local", "allow", "deny" };

    *fallback = NGX_HTTP_PENSTOCK_RATELIMIT_LOCAL;

    if (name->data == NULL) {

        if (value->data) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"fallback=\" of zone \"%V\" needs "
                               "\"redis=NAME\", add it or drop the parameter",
                               zone);
            return NGX_ERROR;
        }

        return NGX_OK;
    }

    if (value->data) {

        for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
            if (ngx_http_penstock_ratelimit_is(value, names[i])) {
                break;
            }
        }

        if (i == sizeof(names) / sizeof(names[0])) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid fallback \"%V\", use \"local\", "
                               "\"allow\" or \"deny\"", value);
            return NGX_ERROR;
        }

        *fallback = i;
    }

    *redis = ngx_http_penstock_redis_ref(cf, name);

    return *redis ? NGX_OK : NGX_ERROR;
}


static ngx_uint_t
ngx_http_penstock_ratelimit_is(ngx_str_t *value, const char *text)
{
    return value->len == ngx_strlen(text)
           && ngx_strncmp(value->data, text, value->len) == 0;
}


ngx_int_t
ngx_http_penstock_ratelimit_counters(ngx_conf_t *cf, ngx_str_t *zone,
    const char *name, const char *help, ngx_int_t *counters)
{
    u_char      *p;
    ngx_str_t    labels;
    ngx_uint_t   i;

    p = ngx_pnalloc(cf->pool, sizeof("zone=\"\",result=\"rejected\"")
                              + zone->len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    labels.data = p;

    for (i = 0; i < NGX_HTTP_PENSTOCK_RATELIMIT_RESULTS; i++) {
        labels.len = ngx_sprintf(p, "zone=\"%V\",result=\"%s\"", zone,
                                 ngx_http_penstock_ratelimit_results[i])
                     - p;

        counters[i] = ngx_http_penstock_counter(cf, name, help, &labels);

        if (counters[i] == NGX_ERROR) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


char *
ngx_http_penstock_ratelimit_limit(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_penstock_ratelimit_loc_conf_t *rlcf = conf;

    ngx_str_t                                *value, s;
    ngx_uint_t                                i;
    ngx_shm_zone_t                           *shm_zone;
    ngx_http_complex_value_t                 *cost;
    ngx_http_compile_complex_value_t          ccv;
    ngx_http_penstock_ratelimit_limit_t      *limit;
    ngx_http_penstock_ratelimit_main_conf_t  *rmcf;

    value = cf->args->elts;

    if (rlcf->limits == NULL) {
        rlcf->limits = ngx_array_create(cf->pool, 2,
                                 sizeof(ngx_http_penstock_ratelimit_limit_t));
        if (rlcf->limits == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    shm_zone = NULL;
    cost = NULL;

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "zone=", 5) == 0 && shm_zone == NULL) {
            s.data = value[i].data + 5;
            s.len = value[i].len - 5;

            if (s.len == 0) {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "\"zone=\" of \"%V\" has no name, write "
                                   "zone=NAME", &cmd->name);
                return NGX_CONF_ERROR;
            }

            shm_zone = ngx_http_penstock_zone_ref(cf, &s,
                                         &ngx_http_penstock_ratelimit_module);
            if (shm_zone == NULL) {
                return NGX_CONF_ERROR;
            }

            continue;
        }

        if (ngx_strncmp(value[i].data, "cost=", 5) == 0 && cost == NULL) {
            s.data = value[i].data + 5;
            s.len = value[i].len - 5;

            if (ngx_http_script_variables_count(&s) == 0
                && ngx_atoi(s.data, s.len) == NGX_ERROR)
            {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "invalid cost \"%V\", write a number or a "
                                   "variable", &s);
                return NGX_CONF_ERROR;
            }

            cost = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));
            if (cost == NULL) {
                return NGX_CONF_ERROR;
            }

            ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

            ccv.cf = cf;
            ccv.value = &s;
            ccv.complex_value = cost;

            if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
                return NGX_CONF_ERROR;
            }

            continue;
        }

        if (ngx_strcmp(value[i].data, "before_auth") == 0
            || ngx_strcmp(value[i].data, "dry_run") == 0)
        {
            continue;
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid or repeated parameter \"%V\", use zone=, "
                           "cost=, before_auth and dry_run", &value[i]);
        return NGX_CONF_ERROR;
    }

    if (shm_zone == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" must have \"zone=NAME\"", &cmd->name);
        return NGX_CONF_ERROR;
    }

    limit = rlcf->limits->elts;

    for (i = 0; i < rlcf->limits->nelts; i++) {
        if (limit[i].shm_zone == shm_zone) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "zone \"%V\" limits here already, a request "
                               "counts once: keep one \"%V\"",
                               ngx_http_penstock_zone_name(shm_zone),
                               &cmd->name);
            return NGX_CONF_ERROR;
        }
    }

    limit = ngx_array_push(rlcf->limits);
    if (limit == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(limit, sizeof(ngx_http_penstock_ratelimit_limit_t));

    limit->shm_zone = shm_zone;
    limit->cost = cost;

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_strcmp(value[i].data, "before_auth") == 0) {
            limit->before_auth = 1;

        } else if (ngx_strcmp(value[i].data, "dry_run") == 0) {
            limit->dry_run = 1;
        }
    }

    rlcf->before += limit->before_auth;
    rlcf->after += !limit->before_auth;

    rmcf = ngx_http_conf_get_module_main_conf(cf,
                                          ngx_http_penstock_ratelimit_module);

    rmcf->before |= limit->before_auth;
    rmcf->after |= !limit->before_auth;

    return NGX_CONF_OK;
}


char *
ngx_http_penstock_ratelimit_status(ngx_conf_t *cf, void *post, void *data)
{
    ngx_uint_t  *status = data;

    /* nginx closes the connection for 444, and has uses of its own for those
       from 494 to 499 */

    if (*status < 400 || *status > 599 || *status == NGX_HTTP_CLOSE
        || (*status >= NGX_HTTP_NGINX_CODES
            && *status <= NGX_HTTP_CLIENT_CLOSED_REQUEST))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid status \"%ui\", use 400 to 599 without "
                           "444 and 494 to 499, usually 429", *status);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}
