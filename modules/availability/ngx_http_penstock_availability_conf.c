
/*
 * Directives of availability, but for its zones and its writes.
 */

#include "ngx_http_penstock_availability.h"
#include "ngx_http_penstock_availability_cells.h"


void *
ngx_http_penstock_av_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_penstock_av_main_conf_t  *amcf;

    amcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_penstock_av_main_conf_t));
    if (amcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&amcf->zones, cf->pool, 2,
                       sizeof(ngx_http_penstock_av_zone_t *))
        != NGX_OK)
    {
        return NULL;
    }

    return amcf;
}


char *
ngx_http_penstock_av_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_http_penstock_av_main_conf_t  *amcf = conf;

    ngx_str_t                          key;
    ngx_http_compile_complex_value_t   ccv;

    ngx_str_set(&key, "$scheme$host$request_uri");

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &key;
    ccv.complex_value = &amcf->default_key;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    ngx_str_set(&key, "$scheme$host$uri");

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &key;
    ccv.complex_value = &amcf->cells_key;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


void *
ngx_http_penstock_av_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_penstock_av_loc_conf_t  *alcf;

    alcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_penstock_av_loc_conf_t));
    if (alcf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     alcf->enabled = 0;
     *     alcf->key = NULL;
     *     alcf->pointers = NULL;
     *     alcf->purge_zone = NULL;
     */

    alcf->zone = NGX_CONF_UNSET_PTR;
    alcf->invalidate_zone = NGX_CONF_UNSET_PTR;
    alcf->valid = NGX_CONF_UNSET_PTR;
    alcf->tags = NGX_CONF_UNSET_PTR;
    alcf->bypass = NGX_CONF_UNSET_PTR;
    alcf->items = NGX_CONF_UNSET_PTR;
    alcf->budget = NGX_CONF_UNSET_PTR;
    alcf->while_revalidate = NGX_CONF_UNSET;
    alcf->if_error = NGX_CONF_UNSET;
    alcf->lock = NGX_CONF_UNSET;
    alcf->lock_cluster = NGX_CONF_UNSET;
    alcf->lock_timeout = NGX_CONF_UNSET_MSEC;
    alcf->request_control = NGX_CONF_UNSET;
    alcf->request_min = NGX_CONF_UNSET_MSEC;
    alcf->max_size = NGX_CONF_UNSET_SIZE;

    return alcf;
}


char *
ngx_http_penstock_av_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_penstock_av_loc_conf_t  *prev = parent;
    ngx_http_penstock_av_loc_conf_t  *conf = child;

    ngx_http_core_loc_conf_t      *clcf;
    ngx_http_penstock_loc_conf_t  *plcf;

    ngx_conf_merge_ptr_value(conf->zone, prev->zone, NULL);
    ngx_conf_merge_ptr_value(conf->valid, prev->valid, NULL);
    ngx_conf_merge_ptr_value(conf->tags, prev->tags, NULL);
    ngx_conf_merge_ptr_value(conf->bypass, prev->bypass, NULL);
    ngx_conf_merge_ptr_value(conf->items, prev->items, NULL);
    ngx_conf_merge_ptr_value(conf->budget, prev->budget, NULL);
    ngx_conf_merge_value(conf->while_revalidate, prev->while_revalidate, 0);
    ngx_conf_merge_value(conf->if_error, prev->if_error, 0);
    ngx_conf_merge_value(conf->lock, prev->lock, 1);
    ngx_conf_merge_value(conf->lock_cluster, prev->lock_cluster, 0);
    ngx_conf_merge_msec_value(conf->lock_timeout, prev->lock_timeout, 5000);
    ngx_conf_merge_value(conf->request_control, prev->request_control, 0);
    ngx_conf_merge_msec_value(conf->request_min, prev->request_min, 1000);
    ngx_conf_merge_size_value(conf->max_size, prev->max_size, 256 * 1024);

    if (conf->key == NULL) {
        conf->key = prev->key;
    }

    /* where POST is a read, writes elsewhere don't make it one */

    if (conf->invalidate_zone == NGX_CONF_UNSET_PTR
        && !(conf->zone && conf->items && conf->items->in_body))
    {
        conf->invalidate_zone = prev->invalidate_zone;
        conf->pointers = prev->pointers;
    }

    ngx_conf_init_ptr_value(conf->invalidate_zone, NULL);

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->noname && conf->purge_zone == NULL) {

        /* an "if" is no location of its own */

        conf->purge_zone = prev->purge_zone;
    }

    conf->enabled = conf->zone || conf->invalidate_zone || conf->purge_zone;

    if (ngx_http_penstock_cells_check(cf, conf) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    if (conf->lock && conf->lock_cluster && conf->zone && conf->zone->dict
        && conf->zone->redis == NULL)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"availability_cache_lock\" with "
                           "\"scope=cluster\" needs a Redis: add "
                           "\"redis=NAME\" to \"availability_zone %V\"",
                           &conf->zone->name);
        return NGX_CONF_ERROR;
    }

    if (conf->zone == NULL || conf->key) {
        return NGX_CONF_OK;
    }

    plcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_penstock_module);

    if (plcf->authenticates) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"availability_cache\" and \"auth_jwt\" together "
                           "need \"availability_cache_key\": say who may "
                           "share an answer, for example \"$request_uri\" "
                           "for all clients or "
                           "\"$jwt_claim_tenant $request_uri\"");
        return NGX_CONF_ERROR;
    }

    /* it stays NULL: a location below may authenticate and must be asked */

    return NGX_CONF_OK;
}


char *
ngx_http_penstock_av_cache_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_penstock_av_loc_conf_t  *alcf = conf;

    ngx_str_t  *value;

    if (alcf->zone != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {
        alcf->zone = NULL;
        return NGX_CONF_OK;
    }

    if (value[1].len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the zone name in \"%V\" is empty, write the NAME "
                           "of an \"availability_zone\" or \"off\"",
                           &cmd->name);
        return NGX_CONF_ERROR;
    }

    alcf->zone = ngx_http_penstock_av_zone(cf, &value[1]);

    return alcf->zone ? NGX_CONF_OK : NGX_CONF_ERROR;
}


char *
ngx_http_penstock_av_key_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_str_t  *value;

    value = cf->args->elts;

    if (value[1].len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" is empty, all answers would be one: "
                           "write for example \"$request_uri\"", &cmd->name);
        return NGX_CONF_ERROR;
    }

    return ngx_http_set_complex_value_slot(cf, cmd, conf);
}


char *
ngx_http_penstock_av_valid_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_penstock_av_loc_conf_t  *alcf = conf;

    time_t                         sec;
    ngx_int_t                      code;
    ngx_str_t                     *value;
    ngx_uint_t                     i, n;
    ngx_http_penstock_av_valid_t  *valid;

    static ngx_uint_t              usual[] = { 200, 203, 301, 308, 404, 410 };

    value = cf->args->elts;
    n = cf->args->nelts - 1;

    sec = ngx_parse_time(&value[n], 1);

    if (sec == (time_t) NGX_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid time \"%V\", write for example \"5s\"",
                           &value[n]);
        return NGX_CONF_ERROR;
    }

    if (alcf->valid == NGX_CONF_UNSET_PTR) {
        alcf->valid = ngx_array_create(cf->pool, 4,
                                       sizeof(ngx_http_penstock_av_valid_t));
        if (alcf->valid == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    if (n == 1) {

        for (i = 0; i < sizeof(usual) / sizeof(usual[0]); i++) {
            valid = ngx_array_push(alcf->valid);
            if (valid == NULL) {
                return NGX_CONF_ERROR;
            }

            valid->code = usual[i];
            valid->sec = sec;
        }

        return NGX_CONF_OK;
    }

    for (i = 1; i < n; i++) {

        code = ngx_atoi(value[i].data, value[i].len);

        if (code < 200 || code > 499 || code == NGX_HTTP_PARTIAL_CONTENT
            || code == NGX_HTTP_NOT_MODIFIED
            || code == NGX_HTTP_TOO_MANY_REQUESTS)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid code \"%V\", it must be from 200 to "
                               "499 and not 206, 304 or 429", &value[i]);
            return NGX_CONF_ERROR;
        }

        valid = ngx_array_push(alcf->valid);
        if (valid == NULL) {
            return NGX_CONF_ERROR;
        }

        valid->code = code;
        valid->sec = sec;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_penstock_av_stale_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_penstock_av_loc_conf_t  *alcf = conf;

    time_t      *sec;
    ngx_str_t   *value, s;
    ngx_uint_t   i, len;

    if (alcf->while_revalidate != NGX_CONF_UNSET
        || alcf->if_error != NGX_CONF_UNSET)
    {
        return "is duplicate";
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "while_revalidate=", 17) == 0) {
            sec = &alcf->while_revalidate;
            len = 17;

        } else if (ngx_strncmp(value[i].data, "if_error=", 9) == 0) {
            sec = &alcf->if_error;
            len = 9;

        } else {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\", it must be "
                               "\"while_revalidate=TIME\" or "
                               "\"if_error=TIME\"", &value[i]);
            return NGX_CONF_ERROR;
        }

        if (*sec != NGX_CONF_UNSET) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "duplicate parameter \"%V\", keep one",
                               &value[i]);
            return NGX_CONF_ERROR;
        }

        s.data = value[i].data + len;
        s.len = value[i].len - len;

        *sec = ngx_parse_time(&s, 1);

        if (*sec == (time_t) NGX_ERROR) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid time in \"%V\", write for example "
                               "\"%*s60s\"", &value[i], (size_t) len,
                               value[i].data);
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


char *
ngx_http_penstock_av_lock_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_penstock_av_loc_conf_t  *alcf = conf;

    ngx_str_t   *value, s;
    ngx_uint_t   i;

    if (alcf->lock != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "on") == 0) {
        alcf->lock = 1;

    } else if (ngx_strcmp(value[1].data, "off") == 0) {
        alcf->lock = 0;

    } else {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\", it must be \"on\" or "
                           "\"off\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    for (i = 2; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "timeout=", 8) == 0) {

            if (alcf->lock_timeout != NGX_CONF_UNSET_MSEC) {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "duplicate parameter \"%V\", keep one",
                                   &value[i]);
                return NGX_CONF_ERROR;
            }

            s.data = value[i].data + 8;
            s.len = value[i].len - 8;

            alcf->lock_timeout = ngx_parse_time(&s, 0);

            if (alcf->lock_timeout == (ngx_msec_t) NGX_ERROR
                || alcf->lock_timeout == 0)
            {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "invalid time in \"%V\", write for "
                                   "example \"timeout=5s\"", &value[i]);
                return NGX_CONF_ERROR;
            }

            continue;
        }

        if (ngx_strcmp(value[i].data, "scope=host") == 0
            || ngx_strcmp(value[i].data, "scope=cluster") == 0)
        {
            if (alcf->lock_cluster != NGX_CONF_UNSET) {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "duplicate parameter \"%V\", keep one",
                                   &value[i]);
                return NGX_CONF_ERROR;
            }

            alcf->lock_cluster = (value[i].data[6] == 'c');
            continue;
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\", it must be "
                           "\"timeout=TIME\", \"scope=host\" or "
                           "\"scope=cluster\"", &value[i]);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_penstock_av_tag_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_penstock_av_loc_conf_t  *alcf = conf;

    ngx_str_t                         *value;
    ngx_uint_t                         i;
    ngx_http_penstock_av_tag_t        *tag;
    ngx_http_compile_complex_value_t   ccv;

    if (alcf->tags == NGX_CONF_UNSET_PTR) {
        alcf->tags = ngx_array_create(cf->pool, 2,
                                      sizeof(ngx_http_penstock_av_tag_t));
        if (alcf->tags == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        tag = ngx_array_push(alcf->tags);
        if (tag == NULL) {
            return NGX_CONF_ERROR;
        }

        ngx_memzero(tag, sizeof(ngx_http_penstock_av_tag_t));

        if (ngx_strncmp(value[i].data, "arg=", 4) == 0) {

            if (value[i].len == 4) {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "\"arg=\" needs the name of a query "
                                   "argument, for example \"arg=sku\"");
                return NGX_CONF_ERROR;
            }

            tag->arg.data = value[i].data + 4;
            tag->arg.len = value[i].len - 4;
            continue;
        }

        ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

        ccv.cf = cf;
        ccv.value = &value[i];
        ccv.complex_value = &tag->value;

        if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}
