
/*
 * Directives of what makes things void: availability_invalidate and
 * availability_purge.
 */

#include "ngx_http_penstock_availability.h"
#include "ps_json_pointer.h"


static ngx_http_penstock_av_zone_t *ngx_http_penstock_av_zone_param(
    ngx_conf_t *cf, ngx_command_t *cmd, ngx_str_t *value);


/* zone=NAME */

static ngx_http_penstock_av_zone_t *
ngx_http_penstock_av_zone_param(ngx_conf_t *cf, ngx_command_t *cmd,
    ngx_str_t *value)
{
    ngx_str_t  name;

    if (ngx_strncmp(value->data, "zone=", 5) != 0 || value->len == 5) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the first parameter of \"%V\" is \"zone=NAME\", "
                           "not \"%V\"", &cmd->name, value);
        return NULL;
    }

    name.data = value->data + 5;
    name.len = value->len - 5;

    return ngx_http_penstock_av_zone(cf, &name);
}


char *
ngx_http_penstock_av_invalidate_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_penstock_av_loc_conf_t  *alcf = conf;

    ngx_str_t           *value;
    ngx_uint_t           i;
    const char          *err;
    ps_json_pointer_t  **pointer;

    if (alcf->invalidate_zone != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (cf->args->nelts == 2) {

        if (ngx_strcmp(value[1].data, "off") != 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"availability_invalidate\" takes a zone and "
                               "JSON pointers, for example \"zone=stock "
                               "/lines/*/sku\", or \"off\"");
            return NGX_CONF_ERROR;
        }

        alcf->invalidate_zone = NULL;

        return NGX_CONF_OK;
    }

    alcf->invalidate_zone = ngx_http_penstock_av_zone_param(cf, cmd,
                                                            &value[1]);
    if (alcf->invalidate_zone == NULL) {
        return NGX_CONF_ERROR;
    }

    alcf->pointers = ngx_array_create(cf->pool, 2,
                                      sizeof(ps_json_pointer_t *));
    if (alcf->pointers == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 2; i < cf->args->nelts; i++) {

        pointer = ngx_array_push(alcf->pointers);
        if (pointer == NULL) {
            return NGX_CONF_ERROR;
        }

        *pointer = ps_json_pointer_parse((char *) value[i].data, value[i].len,
                                         &err);
        if (*pointer == NULL) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"%V\" is no JSON pointer (%s), write for "
                               "example \"/lines/*/sku\"", &value[i], err);
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


char *
ngx_http_penstock_av_purge_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_penstock_av_loc_conf_t  *alcf = conf;

    ngx_str_t  *value;

    if (alcf->purge_zone) {
        return "is duplicate";
    }

    value = cf->args->elts;

    alcf->purge_zone = ngx_http_penstock_av_zone_param(cf, cmd, &value[1]);

    return alcf->purge_zone ? NGX_CONF_OK : NGX_CONF_ERROR;
}
