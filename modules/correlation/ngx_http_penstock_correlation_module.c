
/*
 * One ID for a transaction, and the W3C trace it belongs to: taken from the
 * client or made, sent to the upstream, with every response and with every
 * line of the error log.
 */

#include "ngx_http_penstock_correlation.h"


typedef struct {
    ngx_flag_t                           used;
    ngx_int_t                            ids[2];      /* generated, client */
    ngx_int_t                            traces[
                                          NGX_HTTP_PENSTOCK_TRACE_ORIGINS];
} ngx_http_penstock_correlation_main_conf_t;


static ngx_int_t ngx_http_penstock_correlation_post_read(
    ngx_http_request_t *r);
static ngx_int_t ngx_http_penstock_correlation_location(
    ngx_http_request_t *r);
static ngx_int_t ngx_http_penstock_correlation_precontent(
    ngx_http_request_t *r);
static ngx_int_t ngx_http_penstock_correlation_count(ngx_http_request_t *r);
static ngx_int_t ngx_http_penstock_correlation_upstream(
    ngx_http_request_t *r, ngx_array_t *headers);
static ngx_int_t ngx_http_penstock_correlation_problem(
    ngx_http_request_t *r, ngx_str_t *id);
static ngx_int_t ngx_http_penstock_correlation_header_filter(
    ngx_http_request_t *r);
static ngx_int_t ngx_http_penstock_correlation_init(ngx_conf_t *cf);
static ngx_int_t ngx_http_penstock_correlation_counters(ngx_conf_t *cf,
    ngx_http_penstock_correlation_main_conf_t *mcf);
static ngx_int_t ngx_http_penstock_correlation_init_module(
    ngx_cycle_t *cycle);
static void *ngx_http_penstock_correlation_create_main_conf(ngx_conf_t *cf);
static void *ngx_http_penstock_correlation_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_penstock_correlation_merge_loc_conf(ngx_conf_t *cf,
    void *parent, void *child);
static char *ngx_http_penstock_correlation_used(ngx_conf_t *cf, void *post,
    void *data);
static char *ngx_http_penstock_correlation_header(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);


static ngx_conf_post_t  ngx_http_penstock_correlation_post = {
    ngx_http_penstock_correlation_used
};


static ngx_command_t  ngx_http_penstock_correlation_commands[] = {

    { ngx_string("correlation_id"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_penstock_correlation_loc_conf_t, enable),
      &ngx_http_penstock_correlation_post },

    { ngx_string("correlation_id_header"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_penstock_correlation_header,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("correlation_id_trust"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_penstock_correlation_loc_conf_t, trust),
      NULL },

    { ngx_string("trace_context"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_penstock_correlation_loc_conf_t, trace),
      &ngx_http_penstock_correlation_post },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_penstock_correlation_module_ctx = {
    ngx_http_penstock_correlation_add_variables,
                                           /* preconfiguration */
    ngx_http_penstock_correlation_init,    /* postconfiguration */

    ngx_http_penstock_correlation_create_main_conf,
                                           /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_penstock_correlation_create_loc_conf,
                                           /* create location configuration */
    ngx_http_penstock_correlation_merge_loc_conf
                                           /* merge location configuration */
};


ngx_module_t  ngx_http_penstock_correlation_module = {
    NGX_MODULE_V1,
    &ngx_http_penstock_correlation_module_ctx,
                                           /* module context */
    ngx_http_penstock_correlation_commands,
                                           /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    ngx_http_penstock_correlation_init_module,
                                           /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;


static ngx_int_t
ngx_http_penstock_correlation_post_read(ngx_http_request_t *r)
{
    ngx_http_penstock_correlation_t  *c;

    if (r != r->main) {
        return NGX_DECLINED;
    }

    if (ngx_http_penstock_correlation_make(r, &c) == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return NGX_DECLINED;
}


/* the location is known: REWRITE, and PREACCESS for named locations */

static ngx_int_t
ngx_http_penstock_correlation_location(ngx_http_request_t *r)
{
    ngx_int_t                         rc;
    ngx_http_penstock_correlation_t  *c;

    if (r != r->main) {
        return NGX_DECLINED;
    }

    rc = ngx_http_penstock_correlation_make(r, &c);

    if (rc == NGX_ERROR) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (rc == NGX_OK) {
        c->settled = 1;
    }

    return NGX_DECLINED;
}


/*
 * The last of our handlers before the content: what comes here was not
 * answered by the gateway.  Requests that no content handler takes are
 * answered from files and need no other headers.
 */

static ngx_int_t
ngx_http_penstock_correlation_precontent(ngx_http_request_t *r)
{
    if (r != r->main || r->content_handler == NULL) {
        return NGX_DECLINED;
    }

    if (ngx_http_penstock_upstream_headers(r) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_penstock_correlation_count(ngx_http_request_t *r)
{
    ngx_http_penstock_correlation_t            *c;
    ngx_http_penstock_correlation_main_conf_t  *cmcf;

    if (r != r->main) {
        return NGX_OK;
    }

    c = ngx_http_penstock_get_state(r, NGX_HTTP_PENSTOCK_CORRELATION);

    if (c == NULL) {
        return NGX_OK;
    }

    cmcf = ngx_http_get_module_main_conf(r,
                                        ngx_http_penstock_correlation_module);

    if (c->id.len) {
        ngx_http_penstock_count(cmcf->ids[c->client], 1);
    }

    if (c->traced) {
        ngx_http_penstock_count(cmcf->traces[c->origin], 1);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_correlation_upstream(ngx_http_request_t *r,
    ngx_array_t *headers)
{
    ngx_http_penstock_header_t                *h;
    ngx_http_penstock_correlation_t           *c;
    ngx_http_penstock_correlation_loc_conf_t  *conf;

    conf = ngx_http_get_module_loc_conf(r,
                                        ngx_http_penstock_correlation_module);

    if (conf->enable) {
        if (ngx_http_penstock_correlation_make(r, &c) != NGX_OK) {
            return NGX_ERROR;
        }

        h = ngx_array_push(headers);
        if (h == NULL) {
            return NGX_ERROR;
        }

        c->seen = 1;

        h->name = conf->header;
        h->value = c->id;
    }

    if (conf->trace) {
        if (ngx_http_penstock_correlation_trace(r, &c) != NGX_OK) {
            return NGX_ERROR;
        }

        h = ngx_array_push_n(headers, 2);
        if (h == NULL) {
            return NGX_ERROR;
        }

        ngx_str_set(&h[0].name, "traceparent");
        h[0].value.data = c->traceparent;
        h[0].value.len = PS_TRACEPARENT_LEN;

        ngx_str_set(&h[1].name, "tracestate");
        h[1].value = c->tracestate;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_correlation_problem(ngx_http_request_t *r, ngx_str_t *id)
{
    ngx_int_t                         rc;
    ngx_http_penstock_correlation_t  *c;

    rc = ngx_http_penstock_correlation_make(r, &c);

    if (rc == NGX_OK) {
        c->seen = 1;
        *id = c->id;
    }

    return rc;
}


static ngx_int_t
ngx_http_penstock_correlation_header_filter(ngx_http_request_t *r)
{
    ngx_uint_t                                 i;
    ngx_table_elt_t                           *h;
    ngx_list_part_t                           *part;
    ngx_http_penstock_correlation_t           *c;
    ngx_http_penstock_correlation_loc_conf_t  *conf;

    if (r != r->main) {
        return ngx_http_next_header_filter(r);
    }

    conf = ngx_http_get_module_loc_conf(r,
                                        ngx_http_penstock_correlation_module);

    if (!conf->enable) {
        return ngx_http_next_header_filter(r);
    }

    if (ngx_http_penstock_correlation_make(r, &c) != NGX_OK) {
        return NGX_ERROR;
    }

    c->seen = 1;

    /* the upstream's own, or one of a cached answer, is another's ID */

    part = &r->headers_out.headers.part;
    i = 0;

    for ( ;; ) {
        h = ngx_http_penstock_correlation_next(&part, &i, &conf->header);
        if (h == NULL) {
            break;
        }

        h->hash = 0;
    }

    if (ngx_http_penstock_add_header(r, &conf->header, &c->id) == NULL) {
        return NGX_ERROR;
    }

    return ngx_http_next_header_filter(r);
}


static ngx_int_t
ngx_http_penstock_correlation_init(ngx_conf_t *cf)
{
    ngx_uint_t                                  i;
    ngx_http_handler_pt                        *h;
    ngx_http_core_main_conf_t                  *cmcf;
    ngx_http_penstock_upstream_pt              *hook;
    ngx_http_penstock_main_conf_t              *pmcf;
    ngx_http_penstock_correlation_main_conf_t  *mcf;

    static const struct {
        ngx_http_phases                         phase;
        ngx_http_handler_pt                     handler;
    } handlers[] = {
        { NGX_HTTP_POST_READ_PHASE, ngx_http_penstock_correlation_post_read },
        { NGX_HTTP_REWRITE_PHASE, ngx_http_penstock_correlation_location },
        { NGX_HTTP_PREACCESS_PHASE, ngx_http_penstock_correlation_location },
        { NGX_HTTP_LOG_PHASE, ngx_http_penstock_correlation_count }
    };

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    pmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_penstock_module);
    mcf = ngx_http_conf_get_module_main_conf(cf,
                                        ngx_http_penstock_correlation_module);

    /* this one serves every feature that registered headers */

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_PRECONTENT_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_penstock_correlation_precontent;

    if (!mcf->used) {
        return NGX_OK;
    }

    for (i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++) {
        h = ngx_array_push(&cmcf->phases[handlers[i].phase].handlers);
        if (h == NULL) {
            return NGX_ERROR;
        }

        *h = handlers[i].handler;
    }

    hook = ngx_array_push(&pmcf->upstream);
    if (hook == NULL) {
        return NGX_ERROR;
    }

    *hook = ngx_http_penstock_correlation_upstream;

    pmcf->correlation_id = ngx_http_penstock_correlation_problem;

    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_penstock_correlation_header_filter;

    return ngx_http_penstock_correlation_counters(cf, mcf);
}


static ngx_int_t
ngx_http_penstock_correlation_counters(ngx_conf_t *cf,
    ngx_http_penstock_correlation_main_conf_t *mcf)
{
    ngx_uint_t        i;
    static ngx_str_t  sources[] = {
        ngx_string("source=\"generated\""),
        ngx_string("source=\"client\"")
    };
    static ngx_str_t  origins[] = {
        ngx_string("origin=\"joined\""),
        ngx_string("origin=\"started\""),
        ngx_string("origin=\"restarted\"")
    };

    for (i = 0; i < 2; i++) {
        mcf->ids[i] = ngx_http_penstock_counter(cf,
                                   "penstock_correlation_ids_total",
                                   "Requests by where their correlation ID "
                                   "came from.", &sources[i]);
        if (mcf->ids[i] == NGX_ERROR) {
            return NGX_ERROR;
        }
    }

    for (i = 0; i < NGX_HTTP_PENSTOCK_TRACE_ORIGINS; i++) {
        mcf->traces[i] = ngx_http_penstock_counter(cf,
                                   "penstock_traces_total",
                                   "Requests by how their trace came to be: "
                                   "the client's, new, or new in the place "
                                   "of an invalid one.", &origins[i]);
        if (mcf->traces[i] == NGX_ERROR) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/*
 * nginx's rewrite module skips its handler for a request that no location
 * took, as the server's codes have run already, by comparing its own index
 * with that of the first handler of the phase.  That is ours now, so the
 * index is moved on to where it was; else each "rewrite" and "return" of
 * such a server would run twice.  Only named locations start at that index:
 * for those the ID is made in PREACCESS.
 */

static ngx_int_t
ngx_http_penstock_correlation_init_module(ngx_cycle_t *cycle)
{
    ngx_uint_t                  i;
    ngx_http_phase_handler_t   *ph;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_core_module);

    if (cmcf == NULL) {
        return NGX_OK;
    }

    i = cmcf->phase_engine.location_rewrite_index;
    ph = cmcf->phase_engine.handlers;

    if (i != (ngx_uint_t) -1
        && ph[i].checker == ngx_http_core_rewrite_phase
        && ph[i].handler == ngx_http_penstock_correlation_location)
    {
        cmcf->phase_engine.location_rewrite_index = i + 1;
    }

    return NGX_OK;
}


static void *
ngx_http_penstock_correlation_create_main_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool,
                       sizeof(ngx_http_penstock_correlation_main_conf_t));
}


static void *
ngx_http_penstock_correlation_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_penstock_correlation_loc_conf_t  *conf;

    /*
     * set by ngx_pcalloc():
     *
     *     conf->header = { 0, NULL };
     */

    conf = ngx_pcalloc(cf->pool,
                       sizeof(ngx_http_penstock_correlation_loc_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    conf->enable = NGX_CONF_UNSET;
    conf->trust = NGX_CONF_UNSET;
    conf->trace = NGX_CONF_UNSET;

    return conf;
}


static char *
ngx_http_penstock_correlation_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child)
{
    ngx_http_penstock_correlation_loc_conf_t  *prev = parent;
    ngx_http_penstock_correlation_loc_conf_t  *conf = child;

    ngx_conf_merge_value(conf->enable, prev->enable, 0);
    ngx_conf_merge_value(conf->trust, prev->trust, 0);
    ngx_conf_merge_value(conf->trace, prev->trace, 0);
    ngx_conf_merge_str_value(conf->header, prev->header, "X-Correlation-ID");

    return NGX_CONF_OK;
}


/* handlers and filters are registered only if some "on" asks for them */

static char *
ngx_http_penstock_correlation_used(ngx_conf_t *cf, void *post, void *data)
{
    ngx_flag_t  *flag = data;

    ngx_http_penstock_correlation_main_conf_t  *mcf;

    if (*flag) {
        mcf = ngx_http_conf_get_module_main_conf(cf,
                                        ngx_http_penstock_correlation_module);
        mcf->used = 1;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_penstock_correlation_header(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_penstock_correlation_loc_conf_t  *clcf = conf;

    ngx_str_t  *value;

    if (clcf->header.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    switch (ps_correlation_name_check((char *) value[1].data, value[1].len)) {

    case PS_CORRELATION_NAME_LENGTH:
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the header name \"%V\" in "
                           "\"correlation_id_header\" must have from 1 to "
                           "%d characters", &value[1],
                           PS_CORRELATION_NAME_MAX);
        return NGX_CONF_ERROR;

    case PS_CORRELATION_NAME_TOKEN:
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" in \"correlation_id_header\" is no header "
                           "name: use letters, digits and \"-\", as in "
                           "X-Correlation-ID", &value[1]);
        return NGX_CONF_ERROR;

    case PS_CORRELATION_NAME_RESERVED:
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the header \"%V\" in \"correlation_id_header\" "
                           "has a meaning of its own: choose another name, "
                           "as X-Correlation-ID", &value[1]);
        return NGX_CONF_ERROR;

    case PS_CORRELATION_NAME_OK:
        break;
    }

    if (value[1].data[0] == '$') {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"correlation_id_header\" takes a header name, "
                           "no variable: \"%V\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    clcf->header = value[1];

    return NGX_CONF_OK;
}
