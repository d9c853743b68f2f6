
/*
 * Rate limits: phase handlers and header filter.  The directives are read in
 * ngx_http_penstock_ratelimit_conf.c.
 */

#include "ngx_http_penstock_ratelimit.h"


/* ms that the client of Redis may take over its own timeout */

#define NGX_HTTP_PENSTOCK_RATELIMIT_GRACE  500


static ngx_int_t ngx_http_penstock_ratelimit_preaccess(ngx_http_request_t *r);
static ngx_int_t ngx_http_penstock_ratelimit_precontent(
    ngx_http_request_t *r);
static ngx_int_t ngx_http_penstock_ratelimit_handler(ngx_http_request_t *r,
    ngx_uint_t before_auth);
static ngx_int_t ngx_http_penstock_ratelimit_park(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_state_t *st);
static void ngx_http_penstock_ratelimit_wake(
    ngx_http_penstock_ratelimit_decision_t *d);
static ngx_int_t ngx_http_penstock_ratelimit_header_filter(
    ngx_http_request_t *r);

static ngx_int_t ngx_http_penstock_ratelimit_add_variables(ngx_conf_t *cf);
static void *ngx_http_penstock_ratelimit_create_main_conf(ngx_conf_t *cf);
static void *ngx_http_penstock_ratelimit_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_penstock_ratelimit_merge_loc_conf(ngx_conf_t *cf,
    void *parent, void *child);
static ngx_int_t ngx_http_penstock_ratelimit_init(ngx_conf_t *cf);


static ngx_conf_post_t  ngx_http_penstock_ratelimit_status_post = {
    ngx_http_penstock_ratelimit_status
};


static ngx_command_t  ngx_http_penstock_ratelimit_commands[] = {

    { ngx_string("rate_limit_zone"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_2MORE,
      ngx_http_penstock_ratelimit_zone,
      0,
      0,
      NULL },

    { ngx_string("rate_limit"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_penstock_ratelimit_limit,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rate_limit_admin"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_penstock_ratelimit_admin,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("rate_limit_headers"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_penstock_ratelimit_loc_conf_t, headers),
      NULL },

    { ngx_string("rate_limit_status"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_penstock_ratelimit_loc_conf_t, status),
      &ngx_http_penstock_ratelimit_status_post },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_penstock_ratelimit_module_ctx = {
    ngx_http_penstock_ratelimit_add_variables, /* preconfiguration */
    ngx_http_penstock_ratelimit_init,      /* postconfiguration */

    ngx_http_penstock_ratelimit_create_main_conf,
                                           /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_penstock_ratelimit_create_loc_conf,
                                           /* create location configuration */
    ngx_http_penstock_ratelimit_merge_loc_conf
                                           /* merge location configuration */
};


ngx_module_t  ngx_http_penstock_ratelimit_module = {
    NGX_MODULE_V1,
    &ngx_http_penstock_ratelimit_module_ctx, /* module context */
    ngx_http_penstock_ratelimit_commands,  /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_http_penstock_ratelimit_overrides_process, /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_http_variable_t  ngx_http_penstock_ratelimit_vars[] = {

    { ngx_string("rate_limit_status"), NULL,
      ngx_http_penstock_ratelimit_status_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("rate_limit_zone"), NULL,
      ngx_http_penstock_ratelimit_zone_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;


static ngx_int_t
ngx_http_penstock_ratelimit_preaccess(ngx_http_request_t *r)
{
    return ngx_http_penstock_ratelimit_handler(r, 1);
}


static ngx_int_t
ngx_http_penstock_ratelimit_precontent(ngx_http_request_t *r)
{
    return ngx_http_penstock_ratelimit_handler(r, 0);
}


/* may be called again while it decides: all it knows is in the state */

static ngx_int_t
ngx_http_penstock_ratelimit_handler(ngx_http_request_t *r,
    ngx_uint_t before_auth)
{
    ngx_int_t                                rc;
    ngx_http_penstock_ratelimit_state_t     *st;
    ngx_http_penstock_ratelimit_loc_conf_t  *rlcf;

    if (r != r->main) {
        return NGX_DECLINED;
    }

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_penstock_ratelimit_module);

    if ((before_auth ? rlcf->before : rlcf->after) == 0) {
        return NGX_DECLINED;
    }

    st = ngx_http_penstock_get_state(r, NGX_HTTP_PENSTOCK_RATELIMIT);

    if (st == NULL || !st->deciding) {

        /* what was refused once is an error page now */

        if (st && (st->refused || st->failed)) {
            return NGX_DECLINED;
        }

        rc = ngx_http_penstock_ratelimit_collect(r, rlcf, before_auth, &st);

        if (rc != NGX_OK) {
            return rc;
        }

        st->deciding = 1;
        st->parked = 0;
        st->headers = rlcf->headers;
        st->status = rlcf->status;

        ngx_memzero(&st->decision,
                    sizeof(ngx_http_penstock_ratelimit_decision_t));

        st->decision.request = r;
        st->decision.items = st->items.elts;
        st->decision.items += st->first;
        st->decision.n = st->items.nelts - st->first;
        st->decision.wake = ngx_http_penstock_ratelimit_wake;
    }

    if (st->parked && ngx_http_penstock_timed_out(r)) {
        ngx_http_penstock_ratelimit_abandon(&st->decision);
    }

    rc = ngx_http_penstock_ratelimit_decide(&st->decision);

    if (rc == NGX_AGAIN) {
        return ngx_http_penstock_ratelimit_park(r, st);
    }

    st->deciding = 0;

    if (rc == NGX_ERROR) {
        st->failed = 1;
        st->items.nelts = st->first;
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    st->refused = (rc == NGX_DECLINED);

    ngx_http_penstock_ratelimit_account(&st->decision, rc);

    if (st->refused) {
        return ngx_http_penstock_ratelimit_refuse(r, st);
    }

    return NGX_DECLINED;
}


/* the client of Redis has deadlines of its own; this one is the last */

static ngx_int_t
ngx_http_penstock_ratelimit_park(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_state_t *st)
{
    ngx_http_penstock_redis_t               *redis;
    ngx_http_penstock_ratelimit_decision_t  *d;

    d = &st->decision;

    redis = d->ask ? d->ask->redis : d->waiter->item->zone->redis;
    st->parked = 1;

    return ngx_http_penstock_park(r, ngx_http_penstock_redis_timeout(redis)
                                     + NGX_HTTP_PENSTOCK_RATELIMIT_GRACE, 1);
}


static void
ngx_http_penstock_ratelimit_wake(ngx_http_penstock_ratelimit_decision_t *d)
{
    ngx_http_penstock_wake(d->request);
}


static ngx_int_t
ngx_http_penstock_ratelimit_header_filter(ngx_http_request_t *r)
{
    ngx_http_penstock_ratelimit_state_t  *st;

    if (r != r->main) {
        return ngx_http_next_header_filter(r);
    }

    st = ngx_http_penstock_get_state(r, NGX_HTTP_PENSTOCK_RATELIMIT);

    if (st && ngx_http_penstock_ratelimit_fields(r, st) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_next_header_filter(r);
}


static ngx_int_t
ngx_http_penstock_ratelimit_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var, *v;

    for (v = ngx_http_penstock_ratelimit_vars; v->name.len; v++) {
        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


static void *
ngx_http_penstock_ratelimit_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_penstock_ratelimit_main_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool,
                       sizeof(ngx_http_penstock_ratelimit_main_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&conf->zones, cf->pool, 4,
                       sizeof(ngx_http_penstock_ratelimit_zone_t *))
        != NGX_OK)
    {
        return NULL;
    }

    return conf;
}


static void *
ngx_http_penstock_ratelimit_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_penstock_ratelimit_loc_conf_t  *conf;

    /*
     * set by ngx_pcalloc():
     *
     *     conf->limits = NULL;
     *     conf->before = 0;
     *     conf->after = 0;
     */

    conf = ngx_pcalloc(cf->pool,
                       sizeof(ngx_http_penstock_ratelimit_loc_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    conf->headers = NGX_CONF_UNSET;
    conf->status = NGX_CONF_UNSET_UINT;

    return conf;
}


static char *
ngx_http_penstock_ratelimit_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child)
{
    ngx_http_penstock_ratelimit_loc_conf_t  *prev = parent;
    ngx_http_penstock_ratelimit_loc_conf_t  *conf = child;

    if (conf->limits == NULL) {
        conf->limits = prev->limits;
        conf->before = prev->before;
        conf->after = prev->after;
    }

    ngx_conf_merge_value(conf->headers, prev->headers, 1);
    ngx_conf_merge_uint_value(conf->status, prev->status,
                              NGX_HTTP_TOO_MANY_REQUESTS);

    return NGX_CONF_OK;
}


/*
 * Handlers of a phase run in the reverse order of this: what the suite puts
 * behind limits (the cache, writes) comes earlier in the module order.
 */

static ngx_int_t
ngx_http_penstock_ratelimit_init(ngx_conf_t *cf)
{
    ngx_http_handler_pt                      *h;
    ngx_http_core_main_conf_t                *cmcf;
    ngx_http_penstock_ratelimit_main_conf_t  *rmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    rmcf = ngx_http_conf_get_module_main_conf(cf,
                                          ngx_http_penstock_ratelimit_module);

    /* a phase without limits costs no request a call */

    if (rmcf->before) {
        h = ngx_array_push(&cmcf->phases[NGX_HTTP_PREACCESS_PHASE].handlers);
        if (h == NULL) {
            return NGX_ERROR;
        }

        *h = ngx_http_penstock_ratelimit_preaccess;
    }

    if (rmcf->after) {
        h = ngx_array_push(&cmcf->phases[NGX_HTTP_PRECONTENT_PHASE].handlers);
        if (h == NULL) {
            return NGX_ERROR;
        }

        *h = ngx_http_penstock_ratelimit_precontent;
    }

    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_penstock_ratelimit_header_filter;

    return NGX_OK;
}
