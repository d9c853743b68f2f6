
/*
 * Test-only: runs exchanges from a configuration.
 *
 *     probe_exchange [count=N] [get] [body=TEXT] [uri=URI] [args=ARGS]
 *                    [header=NAME:VALUE]... [internal] [max=BYTES] [spool]
 *                    [report] [write] [gate=wait|refuse|late|again];
 *
 * With one exchange its answer is the answer.  With "report", or several,
 * the answer says of each: status, size, complete or not, too large or not,
 * and, on a line of its own, what was kept in memory.
 *
 * A gate waits for 50 ms, refuses at once or after that, or has the request
 * sent again, whose header X-Gate counts.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_penstock.h"
#include "ngx_http_penstock_exchange.h"


#define NGX_HTTP_PENSTOCK_PROBE_MAX  8


typedef struct {
    ngx_uint_t                     count;
    ngx_uint_t                     get;
    ngx_uint_t                     internal;
    ngx_uint_t                     spool;
    ngx_uint_t                     report;
    ngx_uint_t                     write;
    ngx_str_t                      gate;
    ngx_str_t                      body;
    ngx_str_t                      uri;
    ngx_str_t                      args;
    size_t                         max;
    ngx_http_penstock_header_t     headers[NGX_HTTP_PENSTOCK_PROBE_MAX];
    ngx_uint_t                     nheaders;
} ngx_http_penstock_probe_exchange_conf_t;


typedef struct {
    ngx_uint_t                     running;
    ngx_http_penstock_exchange_t   x[NGX_HTTP_PENSTOCK_PROBE_MAX];
} ngx_http_penstock_probe_exchange_ctx_t;


static ngx_int_t ngx_http_penstock_probe_exchange_handler(
    ngx_http_request_t *r);
static void ngx_http_penstock_probe_exchange_done(
    ngx_http_penstock_exchange_t *x);
static ngx_int_t ngx_http_penstock_probe_gate_enter(
    ngx_http_penstock_exchange_t *x, void **state);
static void ngx_http_penstock_probe_gate_timer(ngx_event_t *ev);
static ngx_int_t ngx_http_penstock_probe_gate_answered(
    ngx_http_penstock_exchange_t *x, void **state);
static void ngx_http_penstock_probe_gate_leave(
    ngx_http_penstock_exchange_t *x, void **state);
static ngx_int_t ngx_http_penstock_probe_exchange_report(
    ngx_http_request_t *r, ngx_http_penstock_probe_exchange_ctx_t *ctx,
    ngx_uint_t n);
static void *ngx_http_penstock_probe_exchange_create_conf(ngx_conf_t *cf);
static char *ngx_http_penstock_probe_exchange(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static ngx_int_t ngx_http_penstock_probe_exchange_init(ngx_conf_t *cf);


static ngx_http_penstock_gate_t  ngx_http_penstock_probe_gate = {
    ngx_http_penstock_probe_gate_enter,
    ngx_http_penstock_probe_gate_answered,
    ngx_http_penstock_probe_gate_leave,
    NULL
};


static ngx_command_t  ngx_http_penstock_probe_exchange_commands[] = {

    { ngx_string("probe_exchange"),
      NGX_HTTP_LOC_CONF|NGX_CONF_ANY,
      ngx_http_penstock_probe_exchange,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_penstock_probe_exchange_module_ctx = {
    NULL,                                  /* preconfiguration */
    ngx_http_penstock_probe_exchange_init, /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_penstock_probe_exchange_create_conf,
                                           /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_penstock_probe_exchange_module = {
    NGX_MODULE_V1,
    &ngx_http_penstock_probe_exchange_module_ctx,  /* module context */
    ngx_http_penstock_probe_exchange_commands,     /* module directives */
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
ngx_http_penstock_probe_exchange_handler(ngx_http_request_t *r)
{
    ngx_int_t                                 rc;
    ngx_uint_t                                i;
    ngx_http_penstock_exchange_t             *x;
    ngx_http_penstock_probe_exchange_ctx_t   *ctx;
    ngx_http_penstock_probe_exchange_conf_t  *conf;

    if (r != r->main) {
        return NGX_DECLINED;
    }

    conf = ngx_http_get_module_loc_conf(r,
                                     ngx_http_penstock_probe_exchange_module);

    if (conf->count == 0) {
        return NGX_DECLINED;
    }

    rc = ngx_http_penstock_read_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    ctx = ngx_http_get_module_ctx(r, ngx_http_penstock_probe_exchange_module);

    if (ctx) {

        if (ctx->running) {
            return ngx_http_penstock_park(r, 0, 0);
        }

        if (conf->report || conf->count > 1) {
            return ngx_http_penstock_probe_exchange_report(r, ctx,
                                                           conf->count);
        }

        return ngx_http_penstock_exchange_answer(r, &ctx->x[0]);
    }

    ctx = ngx_pcalloc(r->pool, sizeof(ngx_http_penstock_probe_exchange_ctx_t));
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_set_ctx(r, ctx, ngx_http_penstock_probe_exchange_module);

    for (i = 0; i < conf->count; i++) {
        x = &ctx->x[i];

        x->host = r;
        x->handler = ngx_http_penstock_probe_exchange_done;
        x->data = ctx;
        x->uri = conf->uri;
        x->args = conf->args;
        x->max_size = conf->max;
        x->get = conf->get;
        x->internal = conf->internal;
        x->spool = conf->spool;
        x->write = conf->write;
        x->headers = conf->headers;
        x->nheaders = conf->nheaders;

        if (conf->body.data) {
            x->replace_body = 1;
            x->body = conf->body;
            ngx_str_set(&x->content_type, "text/plain");
        }

        if (ngx_http_penstock_exchange_start(x) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        ctx->running++;
    }

    return ngx_http_penstock_park(r, 0, 0);
}


static void
ngx_http_penstock_probe_exchange_done(ngx_http_penstock_exchange_t *x)
{
    ngx_http_penstock_probe_exchange_ctx_t  *ctx = x->data;

    if (--ctx->running == 0) {
        ngx_http_penstock_wake(x->host);
    }
}


static ngx_int_t
ngx_http_penstock_probe_gate_enter(ngx_http_penstock_exchange_t *x,
    void **state)
{
    ngx_event_t                              *ev;
    ngx_http_penstock_header_t               *h;
    ngx_http_penstock_problem_t              *problem;
    ngx_http_penstock_probe_exchange_conf_t  *conf;

    conf = ngx_http_get_module_loc_conf(x->host,
                                     ngx_http_penstock_probe_exchange_module);

    if (conf->gate.len == 0) {
        return NGX_OK;
    }

    ev = *state;

    if (ev == NULL) {
        ev = ngx_pcalloc(x->host->pool, sizeof(ngx_event_t));
        if (ev == NULL) {
            return NGX_ERROR;
        }

        ev->handler = ngx_http_penstock_probe_gate_timer;
        ev->data = x;
        ev->log = x->host->connection->log;

        *state = ev;

        if (conf->gate.data[0] == 'w' || conf->gate.data[0] == 'l') {
            ngx_add_timer(ev, 50);
            return NGX_AGAIN;
        }
    }

    if (ev->timer_set) {
        return NGX_AGAIN;
    }

    if (conf->gate.data[0] == 'r' || conf->gate.data[0] == 'l') {

        problem = ngx_pcalloc(x->host->pool,
                              sizeof(ngx_http_penstock_problem_t));
        if (problem == NULL) {
            return NGX_ERROR;
        }

        problem->status = NGX_HTTP_SERVICE_UNAVAILABLE;
        ngx_str_set(&problem->detail, "refused by a gate");

        x->problem = problem;
        x->retry_after = 7;

        return NGX_HTTP_SERVICE_UNAVAILABLE;
    }

    x->add = ngx_array_create(x->host->pool, 1,
                              sizeof(ngx_http_penstock_header_t));
    if (x->add == NULL) {
        return NGX_ERROR;
    }

    h = ngx_array_push(x->add);
    if (h == NULL) {
        return NGX_ERROR;
    }

    ngx_str_set(&h->name, "X-Gate");
    ngx_str_set(&h->value, "1");

    if (x->again) {
        ngx_str_set(&h->value, "2");
    }

    return NGX_OK;
}


static void
ngx_http_penstock_probe_gate_timer(ngx_event_t *ev)
{
    ngx_http_penstock_exchange_continue(ev->data);
}


static ngx_int_t
ngx_http_penstock_probe_gate_answered(ngx_http_penstock_exchange_t *x,
    void **state)
{
    ngx_http_penstock_probe_exchange_conf_t  *conf;

    conf = ngx_http_get_module_loc_conf(x->host,
                                     ngx_http_penstock_probe_exchange_module);

    return (conf->gate.len && conf->gate.data[0] == 'a') ? NGX_AGAIN : NGX_OK;
}


static void
ngx_http_penstock_probe_gate_leave(ngx_http_penstock_exchange_t *x,
    void **state)
{
    ngx_event_t  *ev = *state;

    if (ev->timer_set) {
        ngx_del_timer(ev);
    }

    ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                  "probe gate left, done:%ud again:%ud status:%ui",
                  x->done, x->again, x->status);
}


static ngx_int_t
ngx_http_penstock_probe_exchange_report(ngx_http_request_t *r,
    ngx_http_penstock_probe_exchange_ctx_t *ctx, ngx_uint_t n)
{
    size_t                         len;
    ngx_buf_t                     *b;
    ngx_uint_t                     i;
    ngx_chain_t                    out;
    ngx_http_penstock_exchange_t  *x;

    len = 0;

    for (i = 0; i < n; i++) {
        len += 128 + ctx->x[i].answer.len;
    }

    b = ngx_create_temp_buf(r->pool, len);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    for (i = 0; i < n; i++) {
        x = &ctx->x[i];

        b->last = ngx_sprintf(b->last, "status:%ui size:%O complete:%ud "
                              "too_large:%ud upstream:%ud file:%ud%s\n%V\n",
                              x->status, x->size, x->complete, x->too_large,
                              x->upstream, x->file != NULL,
                              x->unsent ? " unsent" : "", &x->answer);
    }

    b->last_buf = 1;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = b->last - b->pos;

    return ngx_http_penstock_send(r, &out);
}


static void *
ngx_http_penstock_probe_exchange_create_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool,
                       sizeof(ngx_http_penstock_probe_exchange_conf_t));
}


static char *
ngx_http_penstock_probe_exchange(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_penstock_probe_exchange_conf_t  *pcf = conf;

    u_char      *colon;
    ngx_str_t   *value, s;
    ngx_uint_t   i;

    value = cf->args->elts;

    pcf->count = 1;
    pcf->max = 64 * 1024;

    for (i = 1; i < cf->args->nelts; i++) {

        colon = ngx_strlchr(value[i].data, value[i].data + value[i].len, '=');

        if (colon) {
            s.data = colon + 1;
            s.len = value[i].data + value[i].len - s.data;
        }

        if (ngx_strcmp(value[i].data, "get") == 0) {
            pcf->get = 1;

        } else if (ngx_strcmp(value[i].data, "internal") == 0) {
            pcf->internal = 1;

        } else if (ngx_strcmp(value[i].data, "spool") == 0) {
            pcf->spool = 1;

        } else if (ngx_strcmp(value[i].data, "write") == 0) {
            pcf->write = 1;

        } else if (ngx_strncmp(value[i].data, "gate=", 5) == 0) {
            pcf->gate = s;

        } else if (ngx_strcmp(value[i].data, "report") == 0) {
            pcf->report = 1;

        } else if (ngx_strncmp(value[i].data, "count=", 6) == 0) {
            pcf->count = ngx_atoi(s.data, s.len);

        } else if (ngx_strncmp(value[i].data, "max=", 4) == 0) {
            pcf->max = ngx_atoi(s.data, s.len);

        } else if (ngx_strncmp(value[i].data, "body=", 5) == 0) {
            pcf->body = s;

        } else if (ngx_strncmp(value[i].data, "uri=", 4) == 0) {
            pcf->uri = s;

        } else if (ngx_strncmp(value[i].data, "args=", 5) == 0) {
            pcf->args = s;

        } else if (ngx_strncmp(value[i].data, "header=", 7) == 0) {
            colon = ngx_strlchr(s.data, s.data + s.len, ':');

            if (colon == NULL
                || pcf->nheaders == NGX_HTTP_PENSTOCK_PROBE_MAX)
            {
                return "has an invalid header";
            }

            pcf->headers[pcf->nheaders].name.data = s.data;
            pcf->headers[pcf->nheaders].name.len = colon - s.data;

            if (colon + 1 < s.data + s.len) {
                pcf->headers[pcf->nheaders].value.data = colon + 1;
                pcf->headers[pcf->nheaders].value.len = s.data + s.len
                                                        - colon - 1;
            }

            pcf->nheaders++;

        } else {
            return "has an unknown parameter";
        }
    }

    if (pcf->count > NGX_HTTP_PENSTOCK_PROBE_MAX) {
        return "has too many exchanges";
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_penstock_probe_exchange_init(ngx_conf_t *cf)
{
    ngx_http_handler_pt        *h;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_PRECONTENT_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_penstock_probe_exchange_handler;

    return ngx_http_penstock_exchange_gate(cf, &ngx_http_penstock_probe_gate);
}
