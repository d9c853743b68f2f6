
/*
 * auth_introspect: its directive, zones and counters.
 */

#include "ngx_http_penstock_oauth.h"


#define NGX_HTTP_PENSTOCK_OAUTH_CALLS_LAYOUT  1


static ngx_int_t ngx_http_penstock_oauth_calls_init(ngx_shm_zone_t *zone,
    ngx_slab_pool_t *shpool, void *conf, void **data);
static ngx_int_t ngx_http_penstock_oauth_introspect_metrics(ngx_conf_t *cf,
    ngx_http_penstock_oauth_main_conf_t *omcf);


char *
ngx_http_penstock_oauth_introspect_directive(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf)
{
    ngx_http_penstock_oauth_loc_conf_t *olcf = conf;

    char                                  *rv;
    ngx_str_t                             *value, s;
    ngx_uint_t                             i;
    ngx_http_penstock_oauth_main_conf_t   *omcf;
    ngx_http_penstock_oauth_introspect_t  *in;

    if (olcf->introspect != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0 && cf->args->nelts == 2) {
        olcf->introspect = NULL;
        return NGX_CONF_OK;
    }

    if (value[1].len == 0 || value[1].data[0] != '/'
        || ngx_strlchr(value[1].data, value[1].data + value[1].len, '?')
        || ngx_strlchr(value[1].data, value[1].data + value[1].len, '$'))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid URI \"%V\", name that of an internal "
                           "location of this server, such as "
                           "\"/_introspect\", whose \"proxy_pass\" names the "
                           "introspection endpoint", &value[1]);
        return NGX_CONF_ERROR;
    }

    in = ngx_pcalloc(cf->pool, sizeof(ngx_http_penstock_oauth_introspect_t));
    if (in == NULL) {
        return NGX_CONF_ERROR;
    }

    in->uri = value[1];
    in->cache = 60;
    in->negative = 5;
    in->timeout = 5000;

    for (i = 2; i < cf->args->nelts; i++) {

        s.data = (u_char *) ngx_strchr(value[i].data, '=');

        if (s.data == NULL || s.data + 1 == value[i].data + value[i].len) {
            goto invalid;
        }

        s.data++;
        s.len = value[i].data + value[i].len - s.data;

        if (ngx_strncmp(value[i].data, "cache=", 6) == 0) {
            in->cache = ngx_parse_time(&s, 1);

            if (in->cache == (time_t) NGX_ERROR) {
                goto invalid;
            }

        } else if (ngx_strncmp(value[i].data, "negative=", 9) == 0) {
            in->negative = ngx_parse_time(&s, 1);

            if (in->negative == (time_t) NGX_ERROR) {
                goto invalid;
            }

        } else if (ngx_strncmp(value[i].data, "timeout=", 8) == 0) {
            in->timeout = ngx_parse_time(&s, 0);

            if (in->timeout == (ngx_msec_t) NGX_ERROR || in->timeout == 0) {
                goto invalid;
            }

        } else if (ngx_strncmp(value[i].data, "issuer=", 7) == 0) {
            in->rules.iss.data = s.data;
            in->rules.iss.len = s.len;

        } else if (ngx_strncmp(value[i].data, "redis=", 6) == 0
                   && in->redis == NULL)
        {
            in->redis = ngx_http_penstock_redis_ref(cf, &s);
            if (in->redis == NULL) {
                return NGX_CONF_ERROR;
            }

        } else if (ngx_strncmp(value[i].data, "audience=", 9) == 0
                   && in->rules.naudience == 0)
        {
            rv = ngx_http_penstock_oauth_audience(cf, &s, &in->rules);
            if (rv != NGX_CONF_OK) {
                return rv;
            }

        } else {
            goto invalid;
        }
    }

    olcf->introspect = in;

    omcf = ngx_http_conf_get_module_main_conf(cf,
                                              ngx_http_penstock_oauth_module);
    omcf->introspects = 1;

    return NGX_CONF_OK;

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid or repeated parameter \"%V\", after the URI "
                       "may follow cache=TIME negative=TIME timeout=TIME "
                       "issuer=ISS audience=NAME,... redis=NAME",
                       &value[i]);
    return NGX_CONF_ERROR;
}


/*
 * The same URI is another endpoint in another server, and what one said
 * doesn't count at the other.
 */

ngx_int_t
ngx_http_penstock_oauth_introspect_merge(ngx_conf_t *cf,
    ngx_http_penstock_oauth_introspect_t **introspect)
{
    u_char                                *p;
    ngx_str_t                              parts[2];
    ngx_http_core_srv_conf_t              *cscf;
    ngx_http_penstock_oauth_introspect_t  *in;

    in = ngx_palloc(cf->pool, sizeof(ngx_http_penstock_oauth_introspect_t));
    if (in == NULL) {
        return NGX_ERROR;
    }

    *in = **introspect;
    *introspect = in;

    cscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_core_module);

    p = ngx_pnalloc(cf->pool, sizeof("introspect:::") + NGX_INT_T_LEN
                              + ngx_strlen(cscf->file_name)
                              + cscf->server_name.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    parts[0].data = p;
    parts[0].len = ngx_sprintf(p, "introspect:%s:%ui:%V:", cscf->file_name,
                               cscf->line, &cscf->server_name) - p;
    parts[1] = in->uri;

    if (ngx_http_penstock_sha256(parts, 2, in->salt) != NGX_OK) {
        return NGX_ERROR;
    }

    /* of other hosts the file and line may be others */

    parts[0].len = ngx_sprintf(p, "introspect:%V:", &cscf->server_name) - p;

    return ngx_http_penstock_sha256(parts, 2, in->shared);
}


ngx_int_t
ngx_http_penstock_oauth_introspect_init(ngx_conf_t *cf,
    ngx_http_penstock_oauth_main_conf_t *omcf)
{
    static ngx_str_t  calls = ngx_string("penstock_introspection");
    static ngx_str_t  ended = ngx_string("penstock_introspection:ended");

    if (!omcf->introspects) {
        return NGX_OK;
    }

    omcf->calls = ngx_http_penstock_dict_add(cf, &calls, 2 * 1024 * 1024,
                                      &ngx_http_penstock_oauth_module,
                                      NGX_HTTP_PENSTOCK_OAUTH_CALLS_LAYOUT,
                                      omcf);

    omcf->calls_end = ngx_http_penstock_zone_add(cf, &ended, 8 * ngx_pagesize,
                                      &ngx_http_penstock_oauth_module,
                                      NGX_HTTP_PENSTOCK_OAUTH_CALLS_LAYOUT,
                                      ngx_http_penstock_oauth_calls_init,
                                      omcf);

    if (omcf->calls == NULL || omcf->calls_end == NULL) {
        return NGX_ERROR;
    }

    ngx_http_penstock_wait_init(&omcf->calls_wait,
                                ngx_http_penstock_oauth_calls_ended, omcf,
                                &cf->cycle->new_log);

    return ngx_http_penstock_oauth_introspect_metrics(cf, omcf);
}


static ngx_int_t
ngx_http_penstock_oauth_calls_init(ngx_shm_zone_t *zone,
    ngx_slab_pool_t *shpool, void *conf, void **data)
{
    *data = ngx_slab_calloc(shpool, sizeof(ngx_atomic_t));

    return *data ? NGX_OK : NGX_ERROR;
}


ngx_atomic_t *
ngx_http_penstock_oauth_calls_ended(void *data)
{
    ngx_http_penstock_oauth_main_conf_t *omcf = data;

    return ngx_http_penstock_zone_data(omcf->calls_end);
}


static ngx_int_t
ngx_http_penstock_oauth_introspect_metrics(ngx_conf_t *cf,
    ngx_http_penstock_oauth_main_conf_t *omcf)
{
    ngx_uint_t   i;
    ngx_int_t   *id[] = { &omcf->active, &omcf->inactive, &omcf->ask_errors,
                          &omcf->shared };

    static ngx_str_t  results[] = {
        ngx_string("result=\"active\""),
        ngx_string("result=\"inactive\""),
        ngx_string("result=\"error\""),
        ngx_string("result=\"shared\"")
    };

    for (i = 0; i < 4; i++) {
        *id[i] = ngx_http_penstock_counter(cf,
                               "penstock_oauth_introspections_total",
                               "Tokens asked about at their server.",
                               &results[i]);

        if (*id[i] == NGX_ERROR) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}
