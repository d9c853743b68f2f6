
/*
 * Variables of the verified token.  They read the main request's, so that a
 * subrequest sees them too, and they are never cached: what was asked for
 * before the ACCESS phase was empty and may not stay so.
 */

#include "ngx_http_penstock_oauth.h"


static const ps_token_t *ngx_http_penstock_oauth_accepted(
    ngx_http_request_t *r);
static ngx_uint_t ngx_http_penstock_oauth_alike(
    ngx_http_penstock_oauth_loc_conf_t *a,
    ngx_http_penstock_oauth_loc_conf_t *b);
static ngx_int_t ngx_http_penstock_oauth_field(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, int kind, u_char *name, size_t len);
static ngx_int_t ngx_http_penstock_oauth_claim_variable(
    ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_penstock_oauth_header_variable(
    ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_penstock_oauth_claim_path(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_penstock_oauth_header_path(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_penstock_oauth_error_variable(
    ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t data);


static ngx_http_variable_t  ngx_http_penstock_oauth_vars[] = {

    { ngx_string("jwt_claim_"), NULL,
      ngx_http_penstock_oauth_claim_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE|NGX_HTTP_VAR_PREFIX, 0 },

    { ngx_string("jwt_header_"), NULL,
      ngx_http_penstock_oauth_header_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE|NGX_HTTP_VAR_PREFIX, 0 },

    { ngx_string("auth_jwt_error"), NULL,
      ngx_http_penstock_oauth_error_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


ngx_int_t
ngx_http_penstock_oauth_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var, *v;

    for (v = ngx_http_penstock_oauth_vars; v->name.len; v++) {
        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


char *
ngx_http_penstock_oauth_set_variable(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    u_char               *p;
    ngx_str_t            *value, *path;
    ngx_uint_t            i;
    ngx_http_variable_t  *var;

    value = cf->args->elts;

    if (value[1].len < 2 || value[1].data[0] != '$') {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid variable name \"%V\", "
                           "it must start with \"$\" and go on with a "
                           "name", &value[1]);
        return NGX_CONF_ERROR;
    }

    value[1].data++;
    value[1].len--;

    var = ngx_http_add_variable(cf, &value[1], NGX_HTTP_VAR_NOCACHEABLE);
    if (var == NULL) {
        return NGX_CONF_ERROR;
    }

    path = ngx_pcalloc(cf->pool, sizeof(ngx_str_t));
    if (path == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 2; i < cf->args->nelts; i++) {
        path->len += value[i].len + 1;
    }

    path->data = ngx_pnalloc(cf->pool, path->len);
    if (path->data == NULL) {
        return NGX_CONF_ERROR;
    }

    /* as ps_token_build() names members of objects */

    p = path->data;

    for (i = 2; i < cf->args->nelts; i++) {
        p = ngx_cpymem(p, value[i].data, value[i].len);
        *p++ = '\0';
    }

    path->len--;

    var->get_handler = cmd->offset == PS_TOKEN_CLAIM
                       ? ngx_http_penstock_oauth_claim_path
                       : ngx_http_penstock_oauth_header_path;
    var->data = (uintptr_t) path;

    return NGX_CONF_OK;
}


/*
 * The token of the main request, if the location that it is in now trusts
 * the same issuers and keys, or doesn't ask for a token; else NULL.
 */

static const ps_token_t *
ngx_http_penstock_oauth_accepted(ngx_http_request_t *r)
{
    ngx_http_penstock_oauth_state_t     *state;
    ngx_http_penstock_oauth_loc_conf_t  *olcf;

    state = ngx_http_penstock_get_state(r, NGX_HTTP_PENSTOCK_OAUTH);

    if (state == NULL || state->token == NULL) {
        return NULL;
    }

    olcf = ngx_http_get_module_loc_conf(r->main,
                                        ngx_http_penstock_oauth_module);

    if (olcf->enabled && !ngx_http_penstock_oauth_alike(olcf, state->conf)) {
        return NULL;
    }

    return state->token;
}


static ngx_uint_t
ngx_http_penstock_oauth_alike(ngx_http_penstock_oauth_loc_conf_t *a,
    ngx_http_penstock_oauth_loc_conf_t *b)
{
    ngx_http_penstock_oauth_introspect_t  *i, *j;

    if (a->issuers != b->issuers || a->token != b->token || a->mtls != b->mtls
        || a->dpop != b->dpop)
    {
        return 0;
    }

    i = a->introspect;
    j = b->introspect;

    /* locations have copies, of which these tell where they come from */

    return i == j
           || (i && j && i->rules.iss.data == j->rules.iss.data
               && i->rules.audience == j->rules.audience
               && ngx_memcmp(i->salt, j->salt, NGX_HTTP_PENSTOCK_KEY_LEN)
                  == 0);
}


static ngx_int_t
ngx_http_penstock_oauth_field(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, int kind, u_char *name, size_t len)
{
    ps_token_text_t    text;
    const ps_token_t  *token;

    token = ngx_http_penstock_oauth_accepted(r);

    if (token == NULL || !ps_token_find(token, kind, name, len, &text)) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->len = text.len;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->data = (u_char *) text.data;

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_oauth_claim_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t *name = (ngx_str_t *) data;

    return ngx_http_penstock_oauth_field(r, v, PS_TOKEN_CLAIM,
                                     name->data + sizeof("jwt_claim_") - 1,
                                     name->len - (sizeof("jwt_claim_") - 1));
}


static ngx_int_t
ngx_http_penstock_oauth_header_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t *name = (ngx_str_t *) data;

    return ngx_http_penstock_oauth_field(r, v, PS_TOKEN_HEADER,
                                     name->data + sizeof("jwt_header_") - 1,
                                     name->len - (sizeof("jwt_header_") - 1));
}


static ngx_int_t
ngx_http_penstock_oauth_claim_path(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t *path = (ngx_str_t *) data;

    return ngx_http_penstock_oauth_field(r, v, PS_TOKEN_CLAIM, path->data,
                                         path->len);
}


static ngx_int_t
ngx_http_penstock_oauth_header_path(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t *path = (ngx_str_t *) data;

    return ngx_http_penstock_oauth_field(r, v, PS_TOKEN_HEADER, path->data,
                                         path->len);
}


static ngx_int_t
ngx_http_penstock_oauth_error_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_penstock_oauth_state_t  *state;

    state = ngx_http_penstock_get_state(r, NGX_HTTP_PENSTOCK_OAUTH);

    if (state == NULL || state->error == NULL || state->error[0] == '\0') {
        v->not_found = 1;
        return NGX_OK;
    }

    v->data = (u_char *) state->error;
    v->len = ngx_strlen(state->error);
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}
