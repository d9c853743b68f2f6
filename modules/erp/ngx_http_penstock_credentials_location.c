
/*
 * What a location says of credentials: erp_authorization and
 * erp_identity_header.
 */

#include "ngx_http_penstock_credentials.h"


/* named before or after it is defined */

ngx_http_penstock_client_t *
ngx_http_penstock_client(ngx_conf_t *cf, ngx_str_t *name)
{
    ngx_uint_t                                   i;
    ngx_http_penstock_client_t                 **client, *new;
    ngx_http_penstock_credentials_main_conf_t   *cmcf;

    for (i = 0; i < name->len; i++) {
        if (!(name->data[i] == '_' || name->data[i] == '-'
              || (name->data[i] >= '0' && name->data[i] <= '9')
              || ((name->data[i] | 0x20) >= 'a'
                  && (name->data[i] | 0x20) <= 'z')))
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid name \"%V\" of an oauth_client, use "
                               "letters, digits, \"_\" and \"-\"", name);
            return NULL;
        }
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf,
                                        ngx_http_penstock_credentials_module);
    client = cmcf->clients.elts;

    for (i = 0; i < cmcf->clients.nelts; i++) {
        if (client[i]->name.len == name->len
            && ngx_memcmp(client[i]->name.data, name->data, name->len) == 0)
        {
            return client[i];
        }
    }

    new = ngx_pcalloc(cf->pool, sizeof(ngx_http_penstock_client_t));
    client = ngx_array_push(&cmcf->clients);

    if (new == NULL || client == NULL) {
        return NULL;
    }

    new->name = *name;
    new->file = cf->conf_file->file.name.data;
    new->line = cf->conf_file->line;

    *client = new;

    return new;
}


char *
ngx_http_penstock_erp_authorization(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_str_t                                  *value;
    ngx_http_penstock_credentials_loc_conf_t   *clcf = conf;
    ngx_http_penstock_credentials_main_conf_t  *cmcf;

    value = cf->args->elts;

    if (clcf->client != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    if (ngx_strcmp(value[1].data, "off") == 0) {
        clcf->client = NULL;
        return NGX_CONF_OK;
    }

    if (value[1].len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the name in \"erp_authorization\" is empty, "
                           "write the NAME of an \"oauth_client\" or \"off\"");
        return NGX_CONF_ERROR;
    }

    clcf->client = ngx_http_penstock_client(cf, &value[1]);
    clcf->own = 1;

    cmcf = ngx_http_conf_get_module_main_conf(cf,
                                        ngx_http_penstock_credentials_module);
    cmcf->used = 1;

    return clcf->client ? NGX_CONF_OK : NGX_CONF_ERROR;
}


ngx_int_t
ngx_http_penstock_upstream_name(ngx_conf_t *cf, ngx_str_t *name)
{
    u_char      c;
    ngx_uint_t  i;

    static ngx_str_t  own[] = {
        ngx_string("Host"), ngx_string("Content-Length"),
        ngx_string("Transfer-Encoding"), ngx_string("Connection"),
        ngx_string("Content-Type"), ngx_string("Authorization"),
        ngx_string("Expect"), ngx_null_string
    };

    for (i = 0; i < name->len; i++) {
        c = name->data[i];

        if (c != '-' && (c < '0' || c > '9')
            && ((c | 0x20) < 'a' || (c | 0x20) > 'z'))
        {
            break;
        }
    }

    if (name->len == 0 || i < name->len) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" is no header name: use letters, digits and "
                           "\"-\", as in X-Client-ID", name);
        return NGX_ERROR;
    }

    for (i = 0; own[i].len; i++) {
        if (own[i].len == name->len
            && ngx_strncasecmp(own[i].data, name->data, own[i].len) == 0)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "the header \"%V\" has a meaning of its own: "
                               "choose another name", name);
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


char *
ngx_http_penstock_erp_identity(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t                                  *value;
    ngx_http_penstock_identity_t               *identity;
    ngx_http_compile_complex_value_t            ccv;
    ngx_http_penstock_credentials_loc_conf_t   *clcf = conf;
    ngx_http_penstock_credentials_main_conf_t  *cmcf;

    value = cf->args->elts;

    if (ngx_http_penstock_upstream_name(cf, &value[1]) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (clcf->identity == NGX_CONF_UNSET_PTR) {
        clcf->identity = ngx_array_create(cf->pool, 4,
                                        sizeof(ngx_http_penstock_identity_t));
        if (clcf->identity == NULL) {
            return NGX_CONF_ERROR;
        }

        clcf->names = 1;
    }

    identity = ngx_array_push(clcf->identity);
    if (identity == NULL) {
        return NGX_CONF_ERROR;
    }

    identity->name = value[1];

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &value[2];
    ccv.complex_value = &identity->value;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf,
                                        ngx_http_penstock_credentials_module);
    cmcf->used = 1;

    return NGX_CONF_OK;
}
