
/*
 * Credentials for the ERP: the gateway's own token in the place of the
 * channel's, and the verified identity in headers that no client can forge.
 *
 * Exchanges get both at a gate.  A request that goes to the upstream itself
 * gets them in PRECONTENT, behind all that might answer it, and gives them
 * back when the upstream has answered: what is logged or redirected then must
 * not show the token.  Both are sent once more with a new token where the ERP
 * refuses the one it was given.
 */

#include "ngx_http_penstock_credentials.h"


/* of a main request that goes to the upstream itself */

typedef struct {
    ngx_http_penstock_bearer_t   bearer;
    ngx_list_t                   headers;        /* the client's own */
    ngx_table_elt_t             *authorization;
#if (nginx_version < 1023000)
    ngx_uint_t                   ncookies;
#else
    ngx_table_elt_t             *cookie;
#endif
    unsigned                     replaced:1;
} ngx_http_penstock_credentials_ctx_t;


static ngx_int_t ngx_http_penstock_credentials_handler(
    ngx_http_request_t *r);
static ngx_int_t ngx_http_penstock_credentials_inner(ngx_http_request_t *r,
    ngx_http_penstock_credentials_loc_conf_t *clcf);
static ngx_int_t ngx_http_penstock_credentials_replace(
    ngx_http_penstock_credentials_ctx_t *ctx, ngx_http_request_t *r,
    ngx_http_penstock_credentials_loc_conf_t *clcf, ngx_str_t *token);
static ngx_int_t ngx_http_penstock_credentials_restore(
    ngx_http_penstock_credentials_ctx_t *ctx, ngx_http_request_t *r);
static ngx_int_t ngx_http_penstock_credentials_passed(ngx_http_request_t *r);
static ngx_http_penstock_credentials_ctx_t *
    ngx_http_penstock_credentials_ctx(ngx_http_request_t *r);
static void ngx_http_penstock_credentials_cleanup(void *data);

static ngx_int_t ngx_http_penstock_credentials_header_filter(
    ngx_http_request_t *r);
static ngx_int_t ngx_http_penstock_credentials_variable(
    ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t data);

static ngx_int_t ngx_http_penstock_credentials_add_variables(ngx_conf_t *cf);
static void *ngx_http_penstock_credentials_create_main_conf(ngx_conf_t *cf);
static void *ngx_http_penstock_credentials_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_penstock_credentials_merge_loc_conf(ngx_conf_t *cf,
    void *parent, void *child);
static ngx_int_t ngx_http_penstock_credentials_init(ngx_conf_t *cf);


static ngx_command_t  ngx_http_penstock_credentials_commands[] = {

    { ngx_string("oauth_client"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_BLOCK|NGX_CONF_TAKE1,
      ngx_http_penstock_client_block,
      0,
      0,
      NULL },

    { ngx_string("erp_authorization"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_penstock_erp_authorization,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("erp_identity_header"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE2,
      ngx_http_penstock_erp_identity,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_penstock_credentials_module_ctx = {
    ngx_http_penstock_credentials_add_variables,   /* preconfiguration */
    ngx_http_penstock_credentials_init,    /* postconfiguration */

    ngx_http_penstock_credentials_create_main_conf,
                                           /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_penstock_credentials_create_loc_conf,
                                           /* create location configuration */
    ngx_http_penstock_credentials_merge_loc_conf
                                           /* merge location configuration */
};


ngx_module_t  ngx_http_penstock_credentials_module = {
    NGX_MODULE_V1,
    &ngx_http_penstock_credentials_module_ctx,    /* module context */
    ngx_http_penstock_credentials_commands,       /* module directives */
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


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;


/* may be called again while it waits */

static ngx_int_t
ngx_http_penstock_credentials_handler(ngx_http_request_t *r)
{
    ngx_int_t                                  rc;
    ngx_str_t                                  token;
    ngx_http_penstock_credentials_ctx_t       *ctx;
    ngx_http_penstock_credentials_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r,
                                        ngx_http_penstock_credentials_module);

    if (r != r->main) {
        return ngx_http_penstock_credentials_inner(r, clcf);
    }

    ctx = ngx_http_penstock_get_state(r, NGX_HTTP_PENSTOCK_CREDENTIALS);

    /* a redirect has led here: the token was for another location */

    if (ctx) {
        (void) ngx_http_penstock_credentials_restore(ctx, r);
    }

    /* without a content handler it is a file */

    if ((clcf->client == NULL && clcf->identity == NULL)
        || r->content_handler == NULL)
    {
        return NGX_DECLINED;
    }

    if (ctx == NULL) {
        ctx = ngx_http_penstock_credentials_ctx(r);
        if (ctx == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    ngx_str_null(&token);

    if (ctx->bearer.client != clcf->client) {
        ngx_http_penstock_wait_leave(&ctx->bearer.waiter);
        ctx->bearer.client = clcf->client;
        ctx->bearer.deadline = 0;
    }

    if (clcf->client) {

        rc = ngx_http_penstock_token(&ctx->bearer, r, r->pool, &token);

        if (rc == NGX_AGAIN) {
            return ngx_http_penstock_park(r, 0, 0);
        }

        if (rc == NGX_DECLINED) {
            if (ngx_http_penstock_retry_after(r,
                                   ngx_http_penstock_token_pause(clcf->client))
                != NGX_OK)
            {
                return NGX_HTTP_INTERNAL_SERVER_ERROR;
            }

            return ngx_http_penstock_refuse(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                       "The gateway has no access to the server now.");
        }

        if (rc != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    if (ngx_http_penstock_credentials_replace(ctx, r, clcf, &token) != NGX_OK
        || ngx_http_penstock_upstream_mark(r,
                                          ngx_http_penstock_credentials_passed)
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return NGX_DECLINED;
}


/*
 * Subrequests to another location: a status lookup, a mirror.  They can't
 * wait; the token is mostly there, as the request itself needs it too.  A
 * clone got all at the gate.  For the token only what the location itself
 * says counts: a location for an issuer's keys must not inherit one for the
 * ERP.  A client's forged identity is dropped wherever one is inherited.
 */

static ngx_int_t
ngx_http_penstock_credentials_inner(ngx_http_request_t *r,
    ngx_http_penstock_credentials_loc_conf_t *clcf)
{
    ngx_int_t                             rc;
    ngx_str_t                             token;
    ngx_array_t                           headers;
    ngx_http_penstock_bearer_t            bearer;
    ngx_http_penstock_exchange_t         *x;
    ngx_http_penstock_credentials_ctx_t  *ctx;

    ngx_http_penstock_credentials_loc_conf_t  here;

    x = ngx_http_penstock_exchange_of(r);

    if (r->content_handler == NULL
        || (x && r->loc_conf == r->main->loc_conf))
    {
        return NGX_DECLINED;
    }

    /* a copy of the request is one of what the client sent */

    ctx = ngx_http_penstock_get_state(r, NGX_HTTP_PENSTOCK_CREDENTIALS);

    if (ctx && ctx->replaced
        && r->headers_in.headers.part.elts
           == r->main->headers_in.headers.part.elts)
    {
        r->headers_in.headers = ctx->headers;
        r->headers_in.authorization = ctx->authorization;

        if (r->headers_in.headers.last == &ctx->headers.part) {
            r->headers_in.headers.last = &r->headers_in.headers.part;
        }
    }

    here = *clcf;

    if (!here.own) {
        here.client = NULL;

        if (here.identity == NULL || (x && !here.names)) {
            return NGX_DECLINED;
        }
    }

    ngx_str_null(&token);

    if (here.client) {
        ngx_memzero(&bearer, sizeof(ngx_http_penstock_bearer_t));
        bearer.client = here.client;

        rc = ngx_http_penstock_token_here(&bearer, r->pool, &token);

        if (rc != NGX_OK) {
            return rc == NGX_DECLINED ? NGX_HTTP_SERVICE_UNAVAILABLE
                                      : NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    if (ngx_array_init(&headers, r->pool, 8,
                       sizeof(ngx_http_penstock_header_t))
        != NGX_OK
        || ngx_http_penstock_credentials_headers(r, &here, &token, &headers)
           != NGX_OK
        || ngx_http_penstock_set_headers_in(r, headers.elts, headers.nelts)
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_penstock_credentials_replace(
    ngx_http_penstock_credentials_ctx_t *ctx, ngx_http_request_t *r,
    ngx_http_penstock_credentials_loc_conf_t *clcf, ngx_str_t *token)
{
    ngx_array_t  headers;

    if (ngx_array_init(&headers, r->pool, 8,
                       sizeof(ngx_http_penstock_header_t))
        != NGX_OK
        || ngx_http_penstock_credentials_headers(r, clcf, token, &headers)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    ctx->headers = r->headers_in.headers;
    ctx->authorization = r->headers_in.authorization;

#if (nginx_version < 1023000)
    ctx->ncookies = r->headers_in.cookies.nelts;
#else
    ctx->cookie = r->headers_in.cookie;
#endif

    /* a list of one part has its end in the structure itself */

    if (ctx->headers.last == &r->headers_in.headers.part) {
        ctx->headers.last = &ctx->headers.part;
    }

    ctx->replaced = 1;

    return ngx_http_penstock_set_headers_in(r, headers.elts, headers.nelts);
}


/* NGX_AGAIN: the ERP has refused the token, and a new one may do */

static ngx_int_t
ngx_http_penstock_credentials_restore(
    ngx_http_penstock_credentials_ctx_t *ctx, ngx_http_request_t *r)
{
    if (!ctx->replaced) {
        return NGX_OK;
    }

    ctx->replaced = 0;

    r->headers_in.headers = ctx->headers;
    r->headers_in.authorization = ctx->authorization;

#if (nginx_version < 1023000)
    r->headers_in.cookies.nelts = ctx->ncookies;
#else
    r->headers_in.cookie = ctx->cookie;
#endif

    if (r->headers_in.headers.last == &ctx->headers.part) {
        r->headers_in.headers.last = &r->headers_in.headers.part;
    }

    if (ctx->bearer.client == NULL || r->upstream == NULL
        || r->upstream->headers_in.status_n != NGX_HTTP_UNAUTHORIZED
        || ngx_http_penstock_token_rejected(&ctx->bearer) != NGX_OK)
    {
        return NGX_OK;
    }

    ctx->bearer.deadline = 0;

    return NGX_AGAIN;
}


/* 401: the ERP did nothing, so that even a write may go once more */

static ngx_int_t
ngx_http_penstock_credentials_passed(ngx_http_request_t *r)
{
    ngx_http_penstock_credentials_ctx_t  *ctx;

    ctx = ngx_http_penstock_get_state(r, NGX_HTTP_PENSTOCK_CREDENTIALS);

    return ngx_http_penstock_credentials_restore(ctx, r);
}


static ngx_http_penstock_credentials_ctx_t *
ngx_http_penstock_credentials_ctx(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t                   *cln;
    ngx_http_penstock_credentials_ctx_t  *ctx;

    cln = ngx_pool_cleanup_add(r->pool,
                               sizeof(ngx_http_penstock_credentials_ctx_t));
    if (cln == NULL) {
        return NULL;
    }

    ctx = cln->data;
    ngx_memzero(ctx, sizeof(ngx_http_penstock_credentials_ctx_t));

    if (ngx_http_penstock_set_state(r, NGX_HTTP_PENSTOCK_CREDENTIALS, ctx)
        != NGX_OK)
    {
        return NULL;
    }

    cln->handler = ngx_http_penstock_credentials_cleanup;

    return ctx;
}


static void
ngx_http_penstock_credentials_cleanup(void *data)
{
    ngx_http_penstock_credentials_ctx_t *ctx = data;

    ngx_http_penstock_wait_leave(&ctx->bearer.waiter);
}


/* for answers of nginx's own; those of an upstream came by "passed" */

static ngx_int_t
ngx_http_penstock_credentials_header_filter(ngx_http_request_t *r)
{
    ngx_http_penstock_credentials_ctx_t  *ctx;

    if (r == r->main) {
        ctx = ngx_http_penstock_get_state(r, NGX_HTTP_PENSTOCK_CREDENTIALS);

        if (ctx) {
            (void) ngx_http_penstock_credentials_restore(ctx, r);
        }
    }

    return ngx_http_next_header_filter(r);
}


/*
 * $http_authorization is what the client has sent, also while the gateway's
 * token stands in its place for the upstream: a client may leave then, and
 * an "error_page" may lead to where this is printed.
 */

static ngx_int_t
ngx_http_penstock_credentials_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_table_elt_t                      *h;
    ngx_http_penstock_credentials_ctx_t  *ctx;

    r = r->main;
    h = r->headers_in.authorization;

    ctx = ngx_http_penstock_get_state(r, NGX_HTTP_PENSTOCK_CREDENTIALS);

    if (ctx && ctx->replaced) {
        h = ctx->authorization;
    }

    if (h == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->data = h->value.data;
    v->len = h->value.len;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_credentials_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var;
    static ngx_str_t      name = ngx_string("http_authorization");

    var = ngx_http_add_variable(cf, &name, 0);
    if (var == NULL) {
        return NGX_ERROR;
    }

    var->get_handler = ngx_http_penstock_credentials_variable;

    return NGX_OK;
}


static void *
ngx_http_penstock_credentials_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_penstock_credentials_main_conf_t  *cmcf;

    cmcf = ngx_pcalloc(cf->pool,
                       sizeof(ngx_http_penstock_credentials_main_conf_t));
    if (cmcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&cmcf->clients, cf->pool, 2,
                       sizeof(ngx_http_penstock_client_t *))
        != NGX_OK)
    {
        return NULL;
    }

    return cmcf;
}


static void *
ngx_http_penstock_credentials_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_penstock_credentials_loc_conf_t  *clcf;

    clcf = ngx_pcalloc(cf->pool,
                       sizeof(ngx_http_penstock_credentials_loc_conf_t));
    if (clcf == NULL) {
        return NULL;
    }

    clcf->client = NGX_CONF_UNSET_PTR;
    clcf->identity = NGX_CONF_UNSET_PTR;

    return clcf;
}


static char *
ngx_http_penstock_credentials_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child)
{
    ngx_http_penstock_credentials_loc_conf_t  *prev = parent;
    ngx_http_penstock_credentials_loc_conf_t  *conf = child;

    ngx_http_core_loc_conf_t  *clcf;

    ngx_conf_merge_ptr_value(conf->client, prev->client, NULL);
    ngx_conf_merge_ptr_value(conf->identity, prev->identity, NULL);

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->noname) {

        /* an "if" is no location of its own */

        conf->own |= prev->own;
        conf->names |= prev->names;
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_penstock_credentials_init(ngx_conf_t *cf)
{
    ngx_uint_t                                   i;
    ngx_http_penstock_client_t                 **client;
    ngx_http_penstock_credentials_main_conf_t   *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf,
                                        ngx_http_penstock_credentials_module);

    client = cmcf->clients.elts;

    for (i = 0; i < cmcf->clients.nelts; i++) {
        if (!client[i]->defined) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "there is no block oauth_client \"%V\" { } in "
                          "http { } in %s:%ui", &client[i]->name,
                          client[i]->file, client[i]->line);
            return NGX_ERROR;
        }
    }

    if (!cmcf->used) {
        return NGX_OK;
    }

    if (ngx_http_penstock_exchange_gate(cf,
                                        &ngx_http_penstock_credentials_gate)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ngx_http_penstock_phase_handler(cf, NGX_HTTP_PRECONTENT_PHASE,
                                        ngx_http_penstock_credentials_handler)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_penstock_credentials_header_filter;

    return NGX_OK;
}
