
/*
 * The directive "request_schema", and the files it names.
 */

#include "ngx_http_penstock_schema.h"


/* bytes of a schema */

#define NGX_HTTP_PENSTOCK_SCHEMA_FILE  (4 * 1024 * 1024)


static char *ngx_http_penstock_schema_limit(ngx_conf_t *cf,
    ngx_http_penstock_schema_loc_conf_t *slcf, ngx_str_t *value);
static ps_schema_t *ngx_http_penstock_schema_load(ngx_conf_t *cf,
    ngx_str_t *name);
static ps_schema_t *ngx_http_penstock_schema_compile(ngx_conf_t *cf,
    ngx_str_t *name, ngx_fd_t fd);
static void ngx_http_penstock_schema_cleanup(void *data);


char *
ngx_http_penstock_schema_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_str_t                            *value;
    ngx_uint_t                            i;
    ngx_http_penstock_schema_loc_conf_t  *slcf = conf;

    value = cf->args->elts;

    if (slcf->schema != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    if (ngx_strcmp(value[1].data, "off") == 0) {

        if (cf->args->nelts > 2) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"request_schema off\" takes no other "
                               "parameter");
            return NGX_CONF_ERROR;
        }

        slcf->schema = NULL;

        return NGX_CONF_OK;
    }

    for (i = 2; i < cf->args->nelts; i++) {
        if (ngx_http_penstock_schema_limit(cf, slcf, &value[i])
            != NGX_CONF_OK)
        {
            return NGX_CONF_ERROR;
        }
    }

    if (slcf->max_size == 0) {
        slcf->max_size = 1024 * 1024;
    }

    if (slcf->max_depth == 0) {
        slcf->max_depth = 32;
    }

    if (slcf->max_errors == 0) {
        slcf->max_errors = 16;
    }

    slcf->schema = ngx_http_penstock_schema_load(cf, &value[1]);

    return slcf->schema ? NGX_CONF_OK : NGX_CONF_ERROR;
}


static char *
ngx_http_penstock_schema_limit(ngx_conf_t *cf,
    ngx_http_penstock_schema_loc_conf_t *slcf, ngx_str_t *value)
{
    ssize_t    n;
    ngx_str_t  text;

    if (ngx_strncmp(value->data, "max_size=", 9) == 0
        && slcf->max_size == 0)
    {
        text.data = value->data + 9;
        text.len = value->len - 9;

        n = ngx_parse_size(&text);

        if (n > 0 && n <= PS_JSON_TAPE_MAX_SIZE) {
            slcf->max_size = n;
            return NGX_CONF_OK;
        }

    } else if (ngx_strncmp(value->data, "max_depth=", 10) == 0
               && slcf->max_depth == 0)
    {
        n = ngx_atoi(value->data + 10, value->len - 10);

        if (n > 0 && n <= PS_JSON_TAPE_MAX_DEPTH) {
            slcf->max_depth = n;
            return NGX_CONF_OK;
        }

    } else if (ngx_strncmp(value->data, "max_errors=", 11) == 0
               && slcf->max_errors == 0)
    {
        n = ngx_atoi(value->data + 11, value->len - 11);

        if (n > 0 && n <= PS_SCHEMA_MAX_FAULTS) {
            slcf->max_errors = n;
            return NGX_CONF_OK;
        }
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid or repeated parameter \"%V\", use "
                       "\"max_size=SIZE\" below 16m, \"max_depth=N\" of 1 to "
                       "%d or \"max_errors=N\" of 1 to %d", value,
                       PS_JSON_TAPE_MAX_DEPTH, PS_SCHEMA_MAX_FAULTS);

    return NGX_CONF_ERROR;
}


static ps_schema_t *
ngx_http_penstock_schema_load(ngx_conf_t *cf, ngx_str_t *name)
{
    ngx_fd_t                               fd;
    ngx_uint_t                             i;
    ps_schema_t                           *schema;
    ngx_http_penstock_schema_file_t       *file;
    ngx_http_penstock_schema_main_conf_t  *smcf;

    smcf = ngx_http_conf_get_module_main_conf(cf,
                                             ngx_http_penstock_schema_module);

    if (ngx_conf_full_name(cf->cycle, name, 1) != NGX_OK) {
        return NULL;
    }

    file = smcf->files.elts;

    for (i = 0; i < smcf->files.nelts; i++) {
        if (file[i].name.len == name->len
            && ngx_strncmp(file[i].name.data, name->data, name->len) == 0)
        {
            return file[i].schema;
        }
    }

    fd = ngx_open_file(name->data, NGX_FILE_RDONLY|NGX_FILE_NONBLOCK,
                       NGX_FILE_OPEN, 0);
    if (fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_open_file_n " \"%V\" failed, name the JSON "
                           "schema of the bodies", name);
        return NULL;
    }

    schema = ngx_http_penstock_schema_compile(cf, name, fd);

    if (ngx_close_file(fd) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_ALERT, cf, ngx_errno,
                           ngx_close_file_n " \"%V\" failed", name);
    }

    if (schema == NULL) {
        return NULL;
    }

    file = ngx_array_push(&smcf->files);
    if (file == NULL) {
        return NULL;
    }

    file->name = *name;
    file->schema = schema;

    return schema;
}


static ps_schema_t *
ngx_http_penstock_schema_compile(ngx_conf_t *cf, ngx_str_t *name, ngx_fd_t fd)
{
    char                 error[1024];
    off_t                size;
    u_char              *text;
    ssize_t              n;
    ps_schema_t         *schema;
    ngx_file_t           file;
    ngx_file_info_t      fi;
    ngx_pool_cleanup_t  *cln;

    if (ngx_fd_info(fd, &fi) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_fd_info_n " \"%V\" failed", name);
        return NULL;
    }

    size = ngx_file_size(&fi);

    if (!ngx_is_file(&fi) || size > NGX_HTTP_PENSTOCK_SCHEMA_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" is not a regular file of at most 4 MB",
                           name);
        return NULL;
    }

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    text = ngx_pnalloc(cf->temp_pool, (size_t) size + 1);

    if (cln == NULL || text == NULL) {
        return NULL;
    }

    ngx_memzero(&file, sizeof(ngx_file_t));

    file.fd = fd;
    file.name = *name;
    file.log = cf->log;

    n = ngx_read_file(&file, text, (size_t) size, 0);

    if (n != (ssize_t) size) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" could not be read whole", name);
        return NULL;
    }

    schema = ps_schema_compile((char *) text, (size_t) n, error,
                               sizeof(error));
    if (schema == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the schema in \"%V\" can't be used: %s", name,
                           error);
        return NULL;
    }

    cln->handler = ngx_http_penstock_schema_cleanup;
    cln->data = schema;

    return schema;
}


static void
ngx_http_penstock_schema_cleanup(void *data)
{
    ps_schema_free(data);
}
