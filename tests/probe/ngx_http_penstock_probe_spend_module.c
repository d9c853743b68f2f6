
/*
 * For tests only: spends from a rate_limit_zone as a feature would.
 *
 *     location /spend { probe_spend ZONE; }
 *
 * GET ?n=N spends N times in one go, cost=C each; "late" answers first and
 * spends then, in what is left of the request, and logs the outcomes;
 * "cancel" gives up what is not known at once.
 *
 * The answer is a word for each: ok, no:MS (refused, when to come again),
 * never, error, cancelled; with "-" behind it if it came at once, and "+"
 * if the handler brought it; "f" where Redis did not answer.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_penstock_ratelimit_spend.h"


#define NGX_HTTP_PENSTOCK_PROBE_SPENDS  1000


typedef struct {
    ngx_shm_zone_t                       *zone;
} ngx_http_penstock_probe_spend_conf_t;


typedef struct {
    ngx_http_request_t                   *request;
    ngx_http_penstock_ratelimit_spend_t  *spends;
    ngx_uint_t                            n;
    ngx_uint_t                            cost;
    ngx_uint_t                            pending;
    ngx_str_t                             text;
    ngx_event_t                           event;

    unsigned                              late:1;
    unsigned                              cancel:1;
} ngx_http_penstock_probe_spend_ctx_t;


static ngx_int_t ngx_http_penstock_probe_spend_handler(ngx_http_request_t *r);
static ngx_uint_t ngx_http_penstock_probe_spend_arg(ngx_http_request_t *r,
    char *name, ngx_uint_t value);
static void ngx_http_penstock_probe_spend_start(
    ngx_http_penstock_probe_spend_ctx_t *ctx);
static void ngx_http_penstock_probe_spend_done(
    ngx_http_penstock_ratelimit_spend_t *spend);
static void ngx_http_penstock_probe_spend_told(
    ngx_http_penstock_probe_spend_ctx_t *ctx,
    ngx_http_penstock_ratelimit_spend_t *spend, u_char how);
static void ngx_http_penstock_probe_spend_event(ngx_event_t *ev);
static void ngx_http_penstock_probe_spend_cleanup(void *data);
static void *ngx_http_penstock_probe_spend_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_penstock_probe_spend(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


static ngx_command_t  ngx_http_penstock_probe_spend_commands[] = {

    { ngx_string("probe_spend"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_penstock_probe_spend,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_penstock_probe_spend_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_penstock_probe_spend_create_loc_conf,
                                           /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_penstock_probe_spend_module = {
    NGX_MODULE_V1,
    &ngx_http_penstock_probe_spend_module_ctx,
                                           /* module context */
    ngx_http_penstock_probe_spend_commands, /* module directives */
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


static ngx_int_t
ngx_http_penstock_probe_spend_handler(ngx_http_request_t *r)
{
    ngx_int_t                             rc;
    ngx_uint_t                            i;
    ngx_pool_cleanup_t                   *cln;
    ngx_http_penstock_probe_spend_ctx_t  *ctx;

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    cln = ngx_pool_cleanup_add(r->pool,
                               sizeof(ngx_http_penstock_probe_spend_ctx_t));
    if (cln == NULL) {
        return NGX_ERROR;
    }

    ctx = cln->data;
    ngx_memzero(ctx, sizeof(ngx_http_penstock_probe_spend_ctx_t));
    cln->handler = ngx_http_penstock_probe_spend_cleanup;

    ctx->request = r;
    ctx->n = ngx_http_penstock_probe_spend_arg(r, "n", 1);
    ctx->n = ngx_min(ctx->n, NGX_HTTP_PENSTOCK_PROBE_SPENDS);
    ctx->cost = ngx_http_penstock_probe_spend_arg(r, "cost", 1);
    ctx->late = ngx_http_penstock_probe_spend_arg(r, "late", 0);
    ctx->cancel = ngx_http_penstock_probe_spend_arg(r, "cancel", 0);

    ctx->event.handler = ngx_http_penstock_probe_spend_event;
    ctx->event.data = ctx;
    ctx->event.log = r->connection->log;

    ctx->spends = ngx_pcalloc(r->pool, ctx->n
                              * sizeof(ngx_http_penstock_ratelimit_spend_t));
    ctx->text.data = ngx_pnalloc(r->pool, ctx->n * (NGX_INT64_LEN + 16) + 1);
    if (ctx->spends == NULL || ctx->text.data == NULL) {
        return NGX_ERROR;
    }

    r->main->count++;

    if (ctx->late) {
        r->headers_out.status = NGX_HTTP_NO_CONTENT;
        r->header_only = 1;

        (void) ngx_http_send_header(r);
        (void) ngx_http_send_special(r, NGX_HTTP_LAST|NGX_HTTP_FLUSH);
    }

    ngx_http_penstock_probe_spend_start(ctx);

    if (ctx->cancel) {
        for (i = 0; i < ctx->n; i++) {
            if (ctx->spends[i].rc == NGX_AGAIN) {
                ngx_http_penstock_ratelimit_spend_cancel(&ctx->spends[i]);
                ctx->text.len = ngx_sprintf(ctx->text.data + ctx->text.len,
                                            "cancelled ")
                                - ctx->text.data;
                ctx->pending--;
            }
        }
    }

    if (ctx->pending == 0) {
        ngx_post_event(&ctx->event, &ngx_posted_events);
    }

    return NGX_DONE;
}


static ngx_uint_t
ngx_http_penstock_probe_spend_arg(ngx_http_request_t *r, char *name,
    ngx_uint_t value)
{
    ngx_int_t  n;
    ngx_str_t  arg;

    if (ngx_http_arg(r, (u_char *) name, ngx_strlen(name), &arg) != NGX_OK) {
        return value;
    }

    n = ngx_atoi(arg.data, arg.len);

    return (n == NGX_ERROR) ? value : (ngx_uint_t) n;
}


static void
ngx_http_penstock_probe_spend_start(ngx_http_penstock_probe_spend_ctx_t *ctx)
{
    ngx_uint_t                             i;
    ngx_http_penstock_ratelimit_spend_t   *spend;
    ngx_http_penstock_probe_spend_conf_t  *pcf;

    pcf = ngx_http_get_module_loc_conf(ctx->request,
                                       ngx_http_penstock_probe_spend_module);

    for (i = 0; i < ctx->n; i++) {
        spend = &ctx->spends[i];

        spend->request = ctx->request;
        spend->zone = pcf->zone;
        spend->cost = ctx->cost;
        spend->handler = ngx_http_penstock_probe_spend_done;
        spend->data = ctx;

        if (ngx_http_penstock_ratelimit_spend(spend) == NGX_AGAIN) {
            ctx->pending++;

        } else {
            ngx_http_penstock_probe_spend_told(ctx, spend, '-');
        }
    }
}


static void
ngx_http_penstock_probe_spend_done(ngx_http_penstock_ratelimit_spend_t *spend)
{
    ngx_http_penstock_probe_spend_ctx_t  *ctx = spend->data;

    ngx_http_penstock_probe_spend_told(ctx, spend, '+');

    if (--ctx->pending == 0) {
        ngx_post_event(&ctx->event, &ngx_posted_events);
    }
}


static void
ngx_http_penstock_probe_spend_told(ngx_http_penstock_probe_spend_ctx_t *ctx,
    ngx_http_penstock_ratelimit_spend_t *spend, u_char how)
{
    u_char  *p;

    p = ctx->text.data + ctx->text.len;

    if (spend->rc == NGX_OK) {
        p = ngx_sprintf(p, "ok");

    } else if (spend->rc != NGX_DECLINED) {
        p = ngx_sprintf(p, "error");

    } else if (spend->retry_after == NGX_HTTP_PENSTOCK_RATELIMIT_NEVER) {
        p = ngx_sprintf(p, "never");

    } else {
        p = ngx_sprintf(p, "no:%M", spend->retry_after);
    }

    p = ngx_sprintf(p, "%c%s ", how, spend->fallback ? "f" : "");

    ctx->text.len = p - ctx->text.data;
}


static void
ngx_http_penstock_probe_spend_event(ngx_event_t *ev)
{
    ngx_http_penstock_probe_spend_ctx_t  *ctx = ev->data;

    ngx_int_t                  rc;
    ngx_connection_t          *c;
    ngx_http_request_t        *r;
    ngx_http_complex_value_t   cv;

    static ngx_str_t           type = ngx_string("text/plain");

    r = ctx->request;
    c = r->connection;
    rc = NGX_OK;

    if (ctx->late) {
        ngx_log_error(NGX_LOG_WARN, c->log, 0, "spent late: %V", &ctx->text);

    } else {
        ngx_memzero(&cv, sizeof(ngx_http_complex_value_t));
        cv.value = ctx->text;

        rc = ngx_http_send_response(r, NGX_HTTP_OK, &type, &cv);
    }

    ngx_http_finalize_request(r, rc);
    ngx_http_run_posted_requests(c);
}


static void
ngx_http_penstock_probe_spend_cleanup(void *data)
{
    ngx_http_penstock_probe_spend_ctx_t  *ctx = data;

    if (ctx->event.posted) {
        ngx_delete_posted_event(&ctx->event);
    }
}


static void *
ngx_http_penstock_probe_spend_create_loc_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_penstock_probe_spend_conf_t));
}


static char *
ngx_http_penstock_probe_spend(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_penstock_probe_spend_conf_t *pcf = conf;

    ngx_str_t                 *value;
    ngx_http_core_loc_conf_t  *clcf;

    value = cf->args->elts;

    pcf->zone = ngx_http_penstock_ratelimit_spend_zone(cf, &value[1]);
    if (pcf->zone == NULL) {
        return NGX_CONF_ERROR;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_penstock_probe_spend_handler;

    return NGX_CONF_OK;
}
