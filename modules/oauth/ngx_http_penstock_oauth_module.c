
/*
 * auth_jwt: the directives.  Their configuration is in
 * ngx_http_penstock_oauth_conf.c, the handler in
 * ngx_http_penstock_oauth_access.c, verification and its cache in
 * ngx_http_penstock_oauth_verify.c.
 */

#include "ngx_http_penstock_oauth.h"

#include "ps_scope.h"


static char *ngx_http_penstock_oauth_auth_jwt(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static char *ngx_http_penstock_oauth_scope(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static char *ngx_http_penstock_oauth_type(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_penstock_oauth_require(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static char *ngx_http_penstock_oauth_zone(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

static ngx_int_t ngx_http_penstock_oauth_init(ngx_conf_t *cf);


#define NGX_HTTP_PENSTOCK_OAUTH_CONF                                          \
    NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_HTTP_LMT_CONF


static ngx_conf_enum_t  ngx_http_penstock_oauth_bound[] = {
    { ngx_string("off"), 0 },
    { ngx_string("on"), 1 },
    { ngx_string("required"), NGX_HTTP_PENSTOCK_OAUTH_REQUIRED },
    { ngx_null_string, 0 }
};


static ngx_command_t  ngx_http_penstock_oauth_commands[] = {

    { ngx_string("auth_jwt"),
      NGX_HTTP_PENSTOCK_OAUTH_CONF|NGX_CONF_TAKE12,
      ngx_http_penstock_oauth_auth_jwt,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("auth_jwt_key_file"),
      NGX_HTTP_PENSTOCK_OAUTH_CONF|NGX_CONF_TAKE1,
      ngx_http_penstock_oauth_key_file,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("auth_jwt_key_request"),
      NGX_HTTP_PENSTOCK_OAUTH_CONF|NGX_CONF_TAKE1,
      ngx_http_penstock_oauth_key_request,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("auth_jwt_key_cache"),
      NGX_HTTP_PENSTOCK_OAUTH_CONF|NGX_CONF_TAKE123,
      ngx_http_penstock_oauth_key_cache,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("auth_jwt_issuer"),
      NGX_HTTP_PENSTOCK_OAUTH_CONF|NGX_CONF_1MORE,
      ngx_http_penstock_oauth_issuer,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("auth_jwt_scope"),
      NGX_HTTP_PENSTOCK_OAUTH_CONF|NGX_CONF_1MORE,
      ngx_http_penstock_oauth_scope,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("auth_jwt_leeway"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_sec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_penstock_oauth_loc_conf_t, leeway),
      NULL },

    { ngx_string("auth_jwt_type"),
      NGX_HTTP_PENSTOCK_OAUTH_CONF|NGX_CONF_TAKE1,
      ngx_http_penstock_oauth_type,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("auth_jwt_require"),
      NGX_HTTP_PENSTOCK_OAUTH_CONF|NGX_CONF_1MORE,
      ngx_http_penstock_oauth_require,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("auth_jwt_claim_set"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_2MORE,
      ngx_http_penstock_oauth_set_variable,
      NGX_HTTP_MAIN_CONF_OFFSET,
      PS_TOKEN_CLAIM,
      NULL },

    { ngx_string("auth_jwt_header_set"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_2MORE,
      ngx_http_penstock_oauth_set_variable,
      NGX_HTTP_MAIN_CONF_OFFSET,
      PS_TOKEN_HEADER,
      NULL },

    { ngx_string("auth_introspect"),
      NGX_HTTP_PENSTOCK_OAUTH_CONF|NGX_CONF_1MORE,
      ngx_http_penstock_oauth_introspect_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("auth_jwt_revocation"),
      NGX_HTTP_PENSTOCK_OAUTH_CONF|NGX_CONF_TAKE123,
      ngx_http_penstock_oauth_revocation_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("oauth_protected_resource"),
      NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_penstock_oauth_resource_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("auth_mtls_bound"),
      NGX_HTTP_PENSTOCK_OAUTH_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_penstock_oauth_loc_conf_t, mtls),
      &ngx_http_penstock_oauth_bound },

    { ngx_string("auth_dpop"),
      NGX_HTTP_PENSTOCK_OAUTH_CONF|NGX_CONF_1MORE,
      ngx_http_penstock_oauth_dpop_directive,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("auth_dpop_zone"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_1MORE,
      ngx_http_penstock_oauth_dpop_zone,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("auth_jwt_zone"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_penstock_oauth_zone,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_penstock_oauth_main_conf_t, zone),
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_penstock_oauth_module_ctx = {
    ngx_http_penstock_oauth_add_variables, /* preconfiguration */
    ngx_http_penstock_oauth_init,          /* postconfiguration */

    ngx_http_penstock_oauth_create_main_conf,
                                           /* create main configuration */
    ngx_http_penstock_oauth_init_main_conf,
                                           /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_penstock_oauth_create_loc_conf,
                                           /* create location configuration */
    ngx_http_penstock_oauth_merge_loc_conf /* merge location configuration */
};


ngx_module_t  ngx_http_penstock_oauth_module = {
    NGX_MODULE_V1,
    &ngx_http_penstock_oauth_module_ctx,   /* module context */
    ngx_http_penstock_oauth_commands,      /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static char *
ngx_http_penstock_oauth_auth_jwt(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_penstock_oauth_loc_conf_t *olcf = conf;

    ngx_str_t                            *value, name;
    ngx_http_penstock_loc_conf_t         *plcf;
    ngx_http_compile_complex_value_t      ccv;
    ngx_http_penstock_oauth_main_conf_t  *omcf;

    if (olcf->enabled != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    value = cf->args->elts;

    /* core's: a cache in this location must be told who may share answers */

    plcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_penstock_module);

    olcf->file = cf->conf_file->file.name.data;
    olcf->line = cf->conf_file->line;

    if (ngx_strcmp(value[1].data, "off") == 0) {

        if (cf->args->nelts == 3) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"auth_jwt off\" takes no other parameter");
            return NGX_CONF_ERROR;
        }

        olcf->enabled = 0;
        plcf->authenticates = 0;

        return NGX_CONF_OK;
    }

    olcf->enabled = 1;
    olcf->token = NGX_CONF_UNSET;
    plcf->authenticates = 1;

    omcf = ngx_http_conf_get_module_main_conf(cf,
                                              ngx_http_penstock_oauth_module);
    omcf->used = 1;

    olcf->realm = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));
    if (olcf->realm == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &value[1];
    ccv.complex_value = olcf->realm;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (cf->args->nelts == 2) {
        return NGX_CONF_OK;
    }

    if (value[2].len <= 7 || ngx_strncmp(value[2].data, "token=$", 7) != 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\", "
                           "only \"token=$variable\" may follow the realm",
                           &value[2]);
        return NGX_CONF_ERROR;
    }

    name.data = value[2].data + 7;
    name.len = value[2].len - 7;

    olcf->token = ngx_http_get_variable_index(cf, &name);
    if (olcf->token == NGX_ERROR) {
        return NGX_CONF_ERROR;
    }

    olcf->query = (ngx_strncasecmp(name.data, (u_char *) "arg_", 4) == 0);

    return NGX_CONF_OK;
}


static char *
ngx_http_penstock_oauth_scope(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_penstock_oauth_loc_conf_t *olcf = conf;

    u_char      *p;
    ngx_str_t   *value, *scope;
    ngx_uint_t   i;

    if (olcf->scopes != NGX_CONF_UNSET_PTR) {
        return "is duplicate, name all scopes in one";
    }

    value = cf->args->elts;

    olcf->scopes = ngx_array_create(cf->pool, cf->args->nelts - 1,
                                    sizeof(ngx_str_t));
    if (olcf->scopes == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 1; i < cf->args->nelts; i++) {

        if (!ps_scope_word(value[i].data, value[i].len)) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid scope \"%V\", "
                               "a scope is of printable ASCII characters "
                               "without space, quote and backslash; "
                               "several are parameters of their own",
                               &value[i]);
            return NGX_CONF_ERROR;
        }

        scope = ngx_array_push(olcf->scopes);
        if (scope == NULL) {
            return NGX_CONF_ERROR;
        }

        *scope = value[i];
        olcf->scope.len += value[i].len + 1;
    }

    olcf->scope.data = ngx_pnalloc(cf->pool, olcf->scope.len);
    if (olcf->scope.data == NULL) {
        return NGX_CONF_ERROR;
    }

    p = olcf->scope.data;

    for (i = 1; i < cf->args->nelts; i++) {
        p = ngx_cpymem(p, value[i].data, value[i].len);
        *p++ = ' ';
    }

    olcf->scope.len--;

    return NGX_CONF_OK;
}


static char *
ngx_http_penstock_oauth_type(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t  *value;

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "signed") != 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid type \"%V\", only \"signed\" tokens "
                           "are supported", &value[1]);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_penstock_oauth_require(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_penstock_oauth_loc_conf_t *olcf = conf;

    ngx_str_t                          *value;
    ngx_uint_t                          i, n, status;
    ngx_http_compile_complex_value_t    ccv;
    ngx_http_penstock_oauth_require_t  *require;

    value = cf->args->elts;
    n = cf->args->nelts;
    status = NGX_HTTP_UNAUTHORIZED;

    if (ngx_strncmp(value[n - 1].data, "error=", 6) == 0) {

        if (ngx_strcmp(value[n - 1].data + 6, "403") == 0) {
            status = NGX_HTTP_FORBIDDEN;

        } else if (ngx_strcmp(value[n - 1].data + 6, "401") != 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\", "
                               "use \"error=401\" or \"error=403\"",
                               &value[n - 1]);
            return NGX_CONF_ERROR;
        }

        n--;
    }

    if (n == 1) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"auth_jwt_require\" needs a variable");
        return NGX_CONF_ERROR;
    }

    if (olcf->require == NGX_CONF_UNSET_PTR) {
        olcf->require = ngx_array_create(cf->pool, 2,
                                 sizeof(ngx_http_penstock_oauth_require_t));
        if (olcf->require == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    for (i = 1; i < n; i++) {

        if (value[i].data[0] != '$') {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid value \"%V\", "
                               "it must start with a variable", &value[i]);
            return NGX_CONF_ERROR;
        }

        require = ngx_array_push(olcf->require);
        if (require == NULL) {
            return NGX_CONF_ERROR;
        }

        require->status = status;

        ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

        ccv.cf = cf;
        ccv.value = &value[i];
        ccv.complex_value = &require->value;

        if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_penstock_oauth_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_penstock_oauth_main_conf_t *omcf = conf;

    ssize_t          size;
    ngx_str_t       *value, name;
    ngx_shm_zone_t **zone;

    zone = (ngx_shm_zone_t **) ((char *) omcf + cmd->offset);

    if (*zone) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_http_penstock_zone_parse(cf, &value[1], &name, &size) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    *zone = ngx_http_penstock_dict_add(cf, &name, size,
                                       &ngx_http_penstock_oauth_module,
                                       NGX_HTTP_PENSTOCK_OAUTH_LAYOUT, omcf);

    return *zone ? NGX_CONF_OK : NGX_CONF_ERROR;
}


static ngx_int_t
ngx_http_penstock_oauth_init(ngx_conf_t *cf)
{
    ngx_http_handler_pt        *h;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_ACCESS_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_penstock_oauth_handler;

    return NGX_OK;
}
