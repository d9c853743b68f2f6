
/*
 * auth_dpop and auth_dpop_zone.
 */

#include "ngx_http_penstock_oauth.h"


#define NGX_HTTP_PENSTOCK_OAUTH_NONCE_KEY_MIN  32
#define NGX_HTTP_PENSTOCK_OAUTH_NONCE_KEY_MAX  1024


static ngx_int_t ngx_http_penstock_oauth_dpop_origin(ngx_conf_t *cf,
    ngx_http_penstock_oauth_loc_conf_t *olcf, u_char *data, size_t len);
static ngx_int_t ngx_http_penstock_oauth_nonce_key(ngx_conf_t *cf,
    ngx_str_t name, ngx_str_t *key);
static void ngx_http_penstock_oauth_nonce_key_cleanup(void *data);


ngx_module_t  ngx_http_penstock_oauth_proofs_tag = {
    .name = "penstock_proofs"
};


char *
ngx_http_penstock_oauth_dpop_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_penstock_oauth_loc_conf_t *olcf = conf;

    time_t                                time;
    ngx_str_t                            *value, s;
    ngx_uint_t                            i;
    ngx_http_penstock_oauth_main_conf_t  *omcf;

    if (olcf->dpop != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0 && cf->args->nelts == 2) {
        olcf->dpop = 0;

    } else if (ngx_strcmp(value[1].data, "on") == 0) {
        olcf->dpop = 1;

    } else if (ngx_strcmp(value[1].data, "required") == 0) {
        olcf->dpop = NGX_HTTP_PENSTOCK_OAUTH_REQUIRED;

    } else {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\", use \"on\" or \"required\" "
                           "and parameters, or \"off\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    olcf->dpop_window = 60;

    for (i = 2; i < cf->args->nelts; i++) {

        s.data = (u_char *) ngx_strchr(value[i].data, '=');

        if (s.data) {
            s.data++;
            s.len = value[i].data + value[i].len - s.data;
            time = ngx_parse_time(&s, 1);

            if (ngx_strncmp(value[i].data, "window=", 7) == 0 && time > 0
                && time <= 3600)
            {
                olcf->dpop_window = time;
                continue;
            }

            if (ngx_strncmp(value[i].data, "nonce=", 6) == 0 && time > 0
                && time <= 86400)
            {
                olcf->dpop_nonce = time;
                continue;
            }

            if (ngx_strncmp(value[i].data, "uri=", 4) == 0 && s.len) {

                if (ngx_http_penstock_oauth_dpop_origin(cf, olcf, s.data,
                                                        s.len)
                    != NGX_OK)
                {
                    return NGX_CONF_ERROR;
                }

                continue;
            }
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\", use \"window=TIME\" of "
                           "at most an hour, \"nonce=TIME\" of at most a "
                           "day, or \"uri=ORIGIN\" such as "
                           "\"uri=https://api.example\"", &value[i]);
        return NGX_CONF_ERROR;
    }

    omcf = ngx_http_conf_get_module_main_conf(cf,
                                              ngx_http_penstock_oauth_module);
    omcf->dpop |= (olcf->dpop != 0);

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_penstock_oauth_dpop_origin(ngx_conf_t *cf,
    ngx_http_penstock_oauth_loc_conf_t *olcf, u_char *data, size_t len)
{
    ngx_str_t                         origin;
    ngx_http_compile_complex_value_t  ccv;

    olcf->dpop_uri = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));
    if (olcf->dpop_uri == NULL) {
        return NGX_ERROR;
    }

    origin.data = data;
    origin.len = len;

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &origin;
    ccv.complex_value = olcf->dpop_uri;

    return ngx_http_compile_complex_value(&ccv);
}


char *
ngx_http_penstock_oauth_dpop_zone(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_penstock_oauth_main_conf_t *omcf = conf;

    ssize_t                            size;
    ngx_str_t                         *value, name, s;
    ngx_uint_t                         i;
    ngx_http_penstock_oauth_proofs_t  *proofs;

    proofs = &omcf->proofs;

    if (proofs->zone) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_http_penstock_zone_parse(cf, &value[1], &name, &size) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    for (i = 2; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "redis=", 6) == 0
            && value[i].len > 6 && proofs->redis == NULL)
        {
            s.data = value[i].data + 6;
            s.len = value[i].len - 6;

            proofs->redis = ngx_http_penstock_redis_ref(cf, &s);
            if (proofs->redis == NULL) {
                return NGX_CONF_ERROR;
            }

            continue;
        }

        if (ngx_strncmp(value[i].data, "nonce_key=", 10) == 0
            && value[i].len > 10 && proofs->nonce_key.len == 0)
        {
            s.data = value[i].data + 10;
            s.len = value[i].len - 10;

            if (ngx_http_penstock_oauth_nonce_key(cf, s, &proofs->nonce_key)
                != NGX_OK)
            {
                return NGX_CONF_ERROR;
            }

            continue;
        }

        if (ngx_strcmp(value[i].data, "fail=closed") == 0) {
            proofs->open = 0;
            continue;
        }

        if (ngx_strcmp(value[i].data, "fail=open") == 0) {
            proofs->open = 1;
            continue;
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid or repeated parameter \"%V\", after the "
                           "zone may follow redis=NAME fail=closed|open "
                           "nonce_key=FILE", &value[i]);
        return NGX_CONF_ERROR;
    }

    proofs->zone = ngx_http_penstock_dict_add(cf, &name, size,
                                         &ngx_http_penstock_oauth_proofs_tag,
                                         NGX_HTTP_PENSTOCK_OAUTH_LAYOUT,
                                         omcf);

    return proofs->zone ? NGX_CONF_OK : NGX_CONF_ERROR;
}


/* the file's bytes, whatever they are; wiped with the configuration */

static ngx_int_t
ngx_http_penstock_oauth_nonce_key(ngx_conf_t *cf, ngx_str_t name,
    ngx_str_t *key)
{
    u_char               buf[NGX_HTTP_PENSTOCK_OAUTH_NONCE_KEY_MAX + 1];
    ssize_t              n;
    ngx_fd_t             fd;
    ngx_int_t            rc;
    ngx_pool_cleanup_t  *cln;

    if (ngx_conf_full_name(cf->cycle, &name, 1) != NGX_OK) {
        return NGX_ERROR;
    }

    fd = ngx_open_file(name.data, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_open_file_n " \"%V\" failed", &name);
        return NGX_ERROR;
    }

    rc = NGX_ERROR;

    n = ngx_read_fd(fd, buf, sizeof(buf));

    if (n == -1) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_read_fd_n " \"%V\" failed", &name);
        goto done;
    }

    if (n < NGX_HTTP_PENSTOCK_OAUTH_NONCE_KEY_MIN
        || n > NGX_HTTP_PENSTOCK_OAUTH_NONCE_KEY_MAX)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "nonce key \"%V\" must hold %d to %d bytes; "
                           "\"openssl rand -out FILE 32\" makes one", &name,
                           NGX_HTTP_PENSTOCK_OAUTH_NONCE_KEY_MIN,
                           NGX_HTTP_PENSTOCK_OAUTH_NONCE_KEY_MAX);
        goto done;
    }

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        goto done;
    }

    key->data = ngx_pnalloc(cf->pool, n);
    if (key->data == NULL) {
        goto done;
    }

    ngx_memcpy(key->data, buf, n);
    key->len = n;

    cln->handler = ngx_http_penstock_oauth_nonce_key_cleanup;
    cln->data = key;

    rc = NGX_OK;

done:

    OPENSSL_cleanse(buf, sizeof(buf));

    if (ngx_close_file(fd) == NGX_FILE_ERROR) {
        ngx_log_error(NGX_LOG_ALERT, cf->log, ngx_errno,
                      ngx_close_file_n " \"%V\" failed", &name);
    }

    return rc;
}


static void
ngx_http_penstock_oauth_nonce_key_cleanup(void *data)
{
    ngx_str_t *key = data;

    OPENSSL_cleanse(key->data, key->len);
}
