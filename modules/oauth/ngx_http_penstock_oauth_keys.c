
/*
 * Whose tokens are trusted: key files and issuers.  Read and parsed when the
 * configuration is; a reload reads again.
 */

#include "ngx_http_penstock_oauth.h"


static ngx_http_penstock_oauth_issuer_t *ngx_http_penstock_oauth_any_issuer(
    ngx_conf_t *cf, ngx_http_penstock_oauth_loc_conf_t *olcf);
static char *ngx_http_penstock_oauth_add_request(ngx_conf_t *cf,
    ngx_http_penstock_oauth_issuer_t *issuer, ngx_str_t *uri);
static ngx_http_penstock_oauth_issuer_t *ngx_http_penstock_oauth_add_issuer(
    ngx_conf_t *cf, ngx_http_penstock_oauth_loc_conf_t *olcf);
static char *ngx_http_penstock_oauth_add_keys(ngx_conf_t *cf,
    ngx_http_penstock_oauth_issuer_t *issuer, ngx_str_t *path);
static ps_jwks_t *ngx_http_penstock_oauth_load(ngx_conf_t *cf,
    ngx_str_t *path, unsigned algorithms);
static ngx_int_t ngx_http_penstock_oauth_read(ngx_conf_t *cf,
    ngx_str_t *path, ngx_str_t *content);
static void ngx_http_penstock_oauth_free(void *data);


char *
ngx_http_penstock_oauth_key_file(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_penstock_oauth_loc_conf_t *olcf = conf;

    ngx_str_t                         *value;
    ngx_http_penstock_oauth_issuer_t  *issuer;

    value = cf->args->elts;

    issuer = ngx_http_penstock_oauth_any_issuer(cf, olcf);
    if (issuer == NULL) {
        return NGX_CONF_ERROR;
    }

    if (ngx_strlchr(value[1].data, value[1].data + value[1].len, '$')) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" holds a variable: key files are read when "
                           "the configuration is, so name one",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    return ngx_http_penstock_oauth_add_keys(cf, issuer, &value[1]);
}


char *
ngx_http_penstock_oauth_key_request(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_penstock_oauth_loc_conf_t *olcf = conf;

    ngx_str_t                         *value;
    ngx_http_penstock_oauth_issuer_t  *issuer;

    value = cf->args->elts;

    issuer = ngx_http_penstock_oauth_any_issuer(cf, olcf);
    if (issuer == NULL) {
        return NGX_CONF_ERROR;
    }

    return ngx_http_penstock_oauth_add_request(cf, issuer, &value[1]);
}


/* several files and requests at one level: any of their keys */

static ngx_http_penstock_oauth_issuer_t *
ngx_http_penstock_oauth_any_issuer(ngx_conf_t *cf,
    ngx_http_penstock_oauth_loc_conf_t *olcf)
{
    if (olcf->bound) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "can't be used beside \"auth_jwt_issuer\": each "
                           "issuer has its own \"key_file=\" or "
                           "\"key_request=\"");
        return NULL;
    }

    if (olcf->issuers != NGX_CONF_UNSET_PTR) {
        return olcf->issuers->elts;
    }

    return ngx_http_penstock_oauth_add_issuer(cf, olcf);
}


static char *
ngx_http_penstock_oauth_add_request(ngx_conf_t *cf,
    ngx_http_penstock_oauth_issuer_t *issuer, ngx_str_t *uri)
{
    ngx_str_t  *request;

    if (uri->len == 0 || uri->data[0] != '/'
        || ngx_strlchr(uri->data, uri->data + uri->len, '?')
        || ngx_strlchr(uri->data, uri->data + uri->len, '$'))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid key request \"%V\", name the URI of an "
                           "internal location of this server, such as "
                           "\"/_keys\", whose \"proxy_pass\" names the "
                           "issuer's key set", uri);
        return NGX_CONF_ERROR;
    }

    request = ngx_array_push(&issuer->requests);
    if (request == NULL) {
        return NGX_CONF_ERROR;
    }

    *request = *uri;

    return NGX_CONF_OK;
}


char *
ngx_http_penstock_oauth_key_cache(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_penstock_oauth_loc_conf_t *olcf = conf;

    ngx_int_t    n;
    ngx_str_t   *value, s;
    ngx_uint_t   i;

    if (olcf->key_cache != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    value = cf->args->elts;

    olcf->key_cache = ngx_parse_time(&value[1], 1);

    if (olcf->key_cache == (time_t) NGX_ERROR || olcf->key_cache == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid time \"%V\", say how long fetched keys "
                           "serve, such as \"1h\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    for (i = 2; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "refetch=", 8) == 0) {
            s.data = value[i].data + 8;
            s.len = value[i].len - 8;

            n = ngx_parse_time(&s, 1);

            if (n > 0) {
                olcf->key_refetch = n;
                continue;
            }
        }

        if (ngx_strncmp(value[i].data, "timeout=", 8) == 0) {
            s.data = value[i].data + 8;
            s.len = value[i].len - 8;

            n = ngx_parse_time(&s, 0);

            if (n > 0) {
                olcf->key_timeout = n;
                continue;
            }
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\", only \"refetch=TIME\" "
                           "and \"timeout=TIME\" may follow, both above 0",
                           &value[i]);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_penstock_oauth_issuer(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_penstock_oauth_loc_conf_t *olcf = conf;

    char                              *rv;
    ngx_str_t                         *value, list, file, request;
    ngx_uint_t                         i;
    ngx_http_penstock_oauth_issuer_t  *issuer, *other;

    value = cf->args->elts;

    if (olcf->issuers != NGX_CONF_UNSET_PTR && !olcf->bound) {
        return "can't be used beside \"auth_jwt_key_file\": give the issuer "
               "its own \"key_file=\"";
    }

    if (value[1].len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the issuer is empty, "
                           "name what its tokens have in \"iss\"");
        return NGX_CONF_ERROR;
    }

    if (olcf->bound) {
        other = olcf->issuers->elts;

        for (i = 0; i < olcf->issuers->nelts; i++) {
            if (other[i].name.len == value[1].len
                && ngx_memcmp(other[i].name.data, value[1].data,
                              value[1].len)
                   == 0)
            {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "issuer \"%V\" is named twice", &value[1]);
                return NGX_CONF_ERROR;
            }
        }
    }

    issuer = ngx_http_penstock_oauth_add_issuer(cf, olcf);
    if (issuer == NULL) {
        return NGX_CONF_ERROR;
    }

    olcf->bound = 1;

    issuer->name = value[1];
    issuer->rules.iss.data = value[1].data;
    issuer->rules.iss.len = value[1].len;
    issuer->rules.need_exp = 1;

    ngx_str_null(&file);
    ngx_str_null(&request);

    for (i = 2; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "key_file=", 9) == 0
            && value[i].len > 9 && file.len == 0)
        {
            file.data = value[i].data + 9;
            file.len = value[i].len - 9;
            continue;
        }

        if (ngx_strncmp(value[i].data, "key_request=", 12) == 0
            && request.len == 0)
        {
            request.data = value[i].data + 12;
            request.len = value[i].len - 12;

            rv = ngx_http_penstock_oauth_add_request(cf, issuer, &request);
            if (rv != NGX_CONF_OK) {
                return rv;
            }

            continue;
        }

        if (ngx_strncmp(value[i].data, "audience=", 9) == 0
            && issuer->rules.naudience == 0)
        {
            list.data = value[i].data + 9;
            list.len = value[i].len - 9;

            rv = ngx_http_penstock_oauth_audience(cf, &list, &issuer->rules);
            if (rv != NGX_CONF_OK) {
                return rv;
            }

            continue;
        }

        if (ngx_strncmp(value[i].data, "algorithms=", 11) == 0
            && issuer->algorithms == 0)
        {
            list.data = value[i].data + 11;
            list.len = value[i].len - 11;

            rv = ngx_http_penstock_oauth_algorithms(cf, &list,
                                                    &issuer->algorithms);
            if (rv != NGX_CONF_OK) {
                return rv;
            }

            continue;
        }

        if (ngx_strncmp(value[i].data, "type=", 5) == 0) {

            if (ngx_strcmp(value[i].data + 5, "at+jwt") != 0) {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "invalid parameter \"%V\", "
                                   "only \"type=at+jwt\" is known",
                                   &value[i]);
                return NGX_CONF_ERROR;
            }

            issuer->rules.at_jwt = 1;
            continue;
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid or repeated parameter \"%V\" of issuer "
                           "\"%V\", it takes key_file= "
                           "key_request= audience= algorithms= type=",
                           &value[i], &value[1]);
        return NGX_CONF_ERROR;
    }

    if (file.len == 0 && request.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "issuer \"%V\" has no keys, add \"key_file=\" or "
                           "\"key_request=\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    if (issuer->rules.at_jwt && issuer->rules.naudience == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "issuer \"%V\" with \"type=at+jwt\" needs "
                           "\"audience=\" too (RFC 9068)", &value[1]);
        return NGX_CONF_ERROR;
    }

    if (file.len == 0) {
        return NGX_CONF_OK;
    }

    return ngx_http_penstock_oauth_add_keys(cf, issuer, &file);
}


static ngx_http_penstock_oauth_issuer_t *
ngx_http_penstock_oauth_add_issuer(ngx_conf_t *cf,
    ngx_http_penstock_oauth_loc_conf_t *olcf)
{
    ngx_http_penstock_oauth_issuer_t  *issuer;

    if (olcf->issuers == NGX_CONF_UNSET_PTR) {
        olcf->issuers = ngx_array_create(cf->pool, 2,
                                   sizeof(ngx_http_penstock_oauth_issuer_t));
        if (olcf->issuers == NULL) {
            return NULL;
        }
    }

    issuer = ngx_array_push(olcf->issuers);
    if (issuer == NULL) {
        return NULL;
    }

    ngx_memzero(issuer, sizeof(ngx_http_penstock_oauth_issuer_t));

    if (ngx_array_init(&issuer->sets, cf->pool, 1, sizeof(ps_jwks_t *))
        != NGX_OK
        || ngx_array_init(&issuer->requests, cf->pool, 1, sizeof(ngx_str_t))
           != NGX_OK)
    {
        return NULL;
    }

    return issuer;
}


static char *
ngx_http_penstock_oauth_add_keys(ngx_conf_t *cf,
    ngx_http_penstock_oauth_issuer_t *issuer, ngx_str_t *path)
{
    ps_jwks_t  *set, **setp;

    set = ngx_http_penstock_oauth_load(cf, path, issuer->algorithms);
    if (set == NULL) {
        return NGX_CONF_ERROR;
    }

    setp = ngx_array_push(&issuer->sets);
    if (setp == NULL) {
        return NGX_CONF_ERROR;
    }

    *setp = set;

    return NGX_CONF_OK;
}


static ps_jwks_t *
ngx_http_penstock_oauth_load(ngx_conf_t *cf, ngx_str_t *path,
    unsigned algorithms)
{
    char                                  error[256];
    ngx_str_t                             name, content;
    ps_jwks_t                            *set;
    ngx_uint_t                            i;
    ngx_pool_cleanup_t                   *cln;
    ngx_http_penstock_oauth_file_t       *file;
    ngx_http_penstock_oauth_main_conf_t  *omcf;

    name = *path;

    if (ngx_conf_full_name(cf->cycle, &name, 1) != NGX_OK) {
        return NULL;
    }

    omcf = ngx_http_conf_get_module_main_conf(cf,
                                              ngx_http_penstock_oauth_module);
    file = omcf->files.elts;

    for (i = 0; i < omcf->files.nelts; i++) {
        if (file[i].algorithms == algorithms
            && file[i].path.len == name.len
            && ngx_memcmp(file[i].path.data, name.data, name.len) == 0)
        {
            return file[i].set;
        }
    }

    if (ngx_http_penstock_oauth_read(cf, &name, &content) != NGX_OK) {
        return NULL;
    }

    set = ps_jwks_parse(content.data, content.len, algorithms, 1, error,
                        sizeof(error));

    /* it may hold secrets */

    ngx_explicit_memzero(content.data, content.len);
    ngx_free(content.data);

    if (set == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "key file \"%V\": %s",
                           &name, error);
        return NULL;
    }

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        ps_jwks_free(set);
        return NULL;
    }

    cln->handler = ngx_http_penstock_oauth_free;
    cln->data = set;

    file = ngx_array_push(&omcf->files);
    if (file == NULL) {
        return NULL;
    }

    file->path = name;
    file->algorithms = algorithms;
    file->set = set;

    return set;
}


/* the content is the caller's to ngx_free() */

static ngx_int_t
ngx_http_penstock_oauth_read(ngx_conf_t *cf, ngx_str_t *path,
    ngx_str_t *content)
{
    size_t           size;
    ssize_t          n;
    ngx_fd_t         fd;
    ngx_int_t        rc;
    ngx_file_info_t  fi;

    rc = NGX_ERROR;
    content->data = NULL;

    /* a FIFO by mistake must not hang the master */

    fd = ngx_open_file(path->data, NGX_FILE_RDONLY|NGX_FILE_NONBLOCK,
                       NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           "can't open key file \"%V\"", path);
        return NGX_ERROR;
    }

    if (ngx_fd_info(fd, &fi) == NGX_FILE_ERROR || !ngx_is_file(&fi)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "key file \"%V\" is not a regular file", path);
        goto done;
    }

    size = ngx_file_size(&fi);

    if (size > PS_JWKS_MAX_SIZE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "key file \"%V\" is larger than 1 MB", path);
        goto done;
    }

    content->data = ngx_alloc(size + 1, cf->log);
    if (content->data == NULL) {
        goto done;
    }

    n = ngx_read_fd(fd, content->data, size);

    if (n == -1 || (size_t) n != size) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, n == -1 ? ngx_errno : 0,
                           "can't read key file \"%V\"", path);
        ngx_free(content->data);
        goto done;
    }

    content->len = size;
    rc = NGX_OK;

done:

    if (ngx_close_file(fd) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_ALERT, cf, ngx_errno,
                           ngx_close_file_n " \"%V\" failed", path);
    }

    return rc;
}


static void
ngx_http_penstock_oauth_free(void *data)
{
    ps_jwks_free(data);
}
