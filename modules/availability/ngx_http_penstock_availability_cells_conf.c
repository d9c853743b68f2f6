
/*
 * availability_cache_items.
 */

#include "ngx_http_penstock_availability_cells.h"


static char *ngx_http_penstock_cells_axis(ngx_conf_t *cf,
    ngx_http_penstock_cells_conf_t *items, ngx_str_t *value);
static char *ngx_http_penstock_cells_path(ngx_conf_t *cf, ngx_str_t *param,
    size_t skip, ps_json_path_t *path);
static ngx_uint_t ngx_http_penstock_cells_key_has(ngx_str_t *key,
    ngx_http_penstock_cells_conf_t *items, ngx_str_t *name);


char *
ngx_http_penstock_cells_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_penstock_av_loc_conf_t  *alcf = conf;

    char                            *rv;
    ngx_int_t                        n;
    ngx_str_t                       *value;
    ngx_uint_t                       i, k;
    ngx_http_penstock_cells_conf_t  *items;

    if (alcf->items != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) {
        alcf->items = NULL;
        return NGX_CONF_OK;
    }

    items = ngx_pcalloc(cf->pool, sizeof(ngx_http_penstock_cells_conf_t));
    if (items == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 1; i < cf->args->nelts; i++) {

        /* one list or id can't be both */

        for (k = 1; k < i; k++) {
            if (value[k].len == value[i].len
                && ngx_strncmp(value[k].data, value[i].data, value[i].len)
                   == 0)
            {
                goto duplicate;
            }
        }

        if (ngx_strncmp(value[i].data, "arg=", 4) == 0) {
            rv = ngx_http_penstock_cells_axis(cf, items, &value[i]);

        } else if (ngx_strncmp(value[i].data, "list=", 5) == 0) {

            if (items->list.n) {
                goto duplicate;
            }

            rv = ngx_http_penstock_cells_path(cf, &value[i], 5, &items->list);

        } else if (ngx_strncmp(value[i].data, "id=", 3) == 0) {

            if (items->nid == PS_CELL_AXES) {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "\"%V\" is one \"id=\" too many, there "
                                   "are at most two: of the SKU and of the "
                                   "location", &value[i]);
                return NGX_CONF_ERROR;
            }

            rv = ngx_http_penstock_cells_path(cf, &value[i], 3,
                                              &items->id[items->nid++]);

        } else if (ngx_strncmp(value[i].data, "max_items=", 10) == 0) {

            if (items->max_items) {
                goto duplicate;
            }

            rv = NGX_CONF_OK;
            n = ngx_atoi(value[i].data + 10, value[i].len - 10);

            if (n == NGX_ERROR || n == 0) {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "invalid number in \"%V\", write for "
                                   "example \"max_items=50\"", &value[i]);
                return NGX_CONF_ERROR;
            }

            items->max_items = n;

        } else {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\", it must be "
                               "\"arg=NAME\", \"arg=body:POINTER\", "
                               "\"list=POINTER\", \"id=POINTER\" or "
                               "\"max_items=NUMBER\"", &value[i]);
            return NGX_CONF_ERROR;
        }

        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    if (items->axes == 0 || items->list.n == 0 || items->nid < items->axes) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" needs \"arg=\", \"list=\" and an \"id=\" "
                           "for each \"arg=\", for example "
                           "\"arg=sku list=/items id=/sku\"", &cmd->name);
        return NGX_CONF_ERROR;
    }

    alcf->items = items;

    return NGX_CONF_OK;

duplicate:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "duplicate parameter \"%V\", keep one", &value[i]);

    return NGX_CONF_ERROR;
}


static char *
ngx_http_penstock_cells_axis(ngx_conf_t *cf,
    ngx_http_penstock_cells_conf_t *items, ngx_str_t *value)
{
    ngx_str_t   name;
    ngx_uint_t  k;

    k = items->axes;

    if (k == PS_CELL_AXES) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" is one \"arg=\" too many, there are at "
                           "most two: SKUs and locations", value);
        return NGX_CONF_ERROR;
    }

    items->axes++;

    name.data = value->data + 4;
    name.len = value->len - 4;

    if (ngx_strncmp(name.data, "body:", 5) == 0) {
        items->in_body = 1;

        return ngx_http_penstock_cells_path(cf, value, 4 + 5,
                                            &items->body[k]);
    }

    if (name.len == 0 || name.len > PS_CELL_ID_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" needs the name of a query argument of at "
                           "most 128 bytes, for example \"arg=sku\"", value);
        return NGX_CONF_ERROR;
    }

    items->arg[k] = name;

    return NGX_CONF_OK;
}


static char *
ngx_http_penstock_cells_path(ngx_conf_t *cf, ngx_str_t *param, size_t skip,
    ps_json_path_t *path)
{
    char        *buf;
    const char  *err;

    buf = ngx_pnalloc(cf->pool, param->len + 1);
    if (buf == NULL) {
        return NGX_CONF_ERROR;
    }

    err = ps_json_path_parse(path, (char *) param->data + skip,
                             param->len - skip, buf);

    /* elsewhere it stands for all elements of a list; here for none */

    if (err == NULL && ngx_strnstr(param->data + skip, "/*", param->len - skip)
        && (param->data[param->len - 1] == '*'
            || ngx_strnstr(param->data + skip, "/*/", param->len - skip)))
    {
        err = "without \"*\"";
    }

    if (err) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the JSON pointer in \"%V\" can't be used (%s), "
                           "write for example \"%*s/items\"", param, err,
                           skip, param->data);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_penstock_cells_check(ngx_conf_t *cf,
    ngx_http_penstock_av_loc_conf_t *alcf)
{
    ngx_str_t                        name;
    ngx_http_penstock_cells_conf_t  *items;

    items = alcf->items;

    if (items == NULL || alcf->zone == NULL) {
        return NGX_CONF_OK;
    }

    alcf->zone->cells_used = 1;

    if (items->in_body && alcf->invalidate_zone) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"availability_cache_items\" with \"arg=body:\" "
                           "takes POST for a read, \"availability_invalidate\" "
                           "for a write: keep one in this location");
        return NGX_CONF_ERROR;
    }

    /* or each request would have cells of its own */

    if (alcf->key
        && ngx_http_penstock_cells_key_has(&alcf->key->value, items, &name))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"$%V\" in \"availability_cache_key\" holds what "
                           "\"availability_cache_items\" takes apart, so no "
                           "cell would ever be shared: use \"$uri\"; other "
                           "arguments are told apart without being named",
                           &name);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static ngx_uint_t
ngx_http_penstock_cells_key_has(ngx_str_t *key,
    ngx_http_penstock_cells_conf_t *items, ngx_str_t *name)
{
    u_char      *p, *last;
    ngx_uint_t   i, k;

    static ngx_str_t  whole[] = {
        ngx_string("request_uri"),
        ngx_string("args"),
        ngx_string("query_string"),
        ngx_string("request"),
        ngx_string("request_id"),
        ngx_null_string
    };

    last = key->data + key->len;

    for (p = key->data; p < last; p++) {

        if (*p != '$') {
            continue;
        }

        name->data = ++p;

        if (p < last && *p == '{') {
            name->data = ++p;
        }

        while (p < last && ((*p >= 'a' && *p <= 'z')
                            || (*p >= 'A' && *p <= 'Z')
                            || (*p >= '0' && *p <= '9') || *p == '_'))
        {
            p++;
        }

        name->len = p - name->data;
        p--;

        for (i = 0; whole[i].len; i++) {
            if (name->len == whole[i].len
                && ngx_strncasecmp(name->data, whole[i].data, name->len) == 0)
            {
                return 1;
            }
        }

        for (k = 0; k < items->axes; k++) {
            if (items->arg[k].len && name->len == 4 + items->arg[k].len
                && ngx_strncasecmp(name->data, (u_char *) "arg_", 4) == 0
                && ngx_strncasecmp(name->data + 4, items->arg[k].data,
                                   items->arg[k].len)
                   == 0)
            {
                return 1;
            }
        }
    }

    return 0;
}
