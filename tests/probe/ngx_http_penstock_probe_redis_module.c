
/*
 * Test-only: reaches the Redis client from a configuration.
 *
 *     location /redis { probe_redis NAME; }
 *
 * The query string is the test's program; values are unescaped:
 *
 *     a=ARG          an argument, repeated; a request body is one more
 *     n=N            N calls in one go; "%i" in an argument is the number
 *     eval=TEXT      a script, nkeys=K of the arguments are keys
 *     timeout=MS     of each call
 *     again=K        each call's handler makes the same call again, K times
 *     cancel=MS      cancels what is not answered after that; 0 at once
 *     forget=1       calls without a handler
 *     up=1           asks nothing
 *
 * The answer is JSON: {"up":1,"took":MS,"calls":[{"status":"ok",
 * "reply":...}]}, error replies as {"error":"..."}, binary ones as
 * {"bytes":N}.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <jansson.h>

#include "ngx_http_penstock.h"
#include "ngx_http_penstock_redis.h"


#define NGX_HTTP_PENSTOCK_PROBE_ARGS     64
#define NGX_HTTP_PENSTOCK_PROBE_SCRIPTS  16


typedef struct {
    ngx_http_penstock_redis_t           *redis;
} ngx_http_penstock_probe_redis_loc_conf_t;


typedef struct ngx_http_penstock_probe_redis_ctx_s
    ngx_http_penstock_probe_redis_ctx_t;


typedef struct {
    ngx_http_penstock_redis_call_t       call;
    ngx_http_penstock_probe_redis_ctx_t *ctx;
    ngx_uint_t                           index;
    ngx_uint_t                           again;
    unsigned                             done:1;
} ngx_http_penstock_probe_redis_call_t;


struct ngx_http_penstock_probe_redis_ctx_s {
    ngx_http_request_t                  *request;
    ngx_http_penstock_redis_t           *redis;
    ngx_http_penstock_redis_script_t    *script;
    ngx_str_t                            argv[NGX_HTTP_PENSTOCK_PROBE_ARGS];
    ngx_uint_t                           argc;
    ngx_uint_t                           nkeys;
    ngx_uint_t                           n;
    ngx_uint_t                           again;
    ngx_msec_t                           timeout;
    ngx_int_t                            cancel;
    ngx_uint_t                           forget;
    ngx_uint_t                           sending;
    ngx_msec_t                           start;

    ngx_uint_t                           left;
    ngx_http_penstock_probe_redis_call_t *calls;
    json_t                              *results;
    ngx_event_t                          done;
    ngx_event_t                          timer;
};


static void ngx_http_penstock_probe_redis_body(ngx_http_request_t *r);
static ngx_int_t ngx_http_penstock_probe_redis_args(ngx_http_request_t *r,
    ngx_http_penstock_probe_redis_ctx_t *ctx);
static ngx_http_penstock_redis_script_t *ngx_http_penstock_probe_redis_script(
    ngx_str_t *text);
static ngx_int_t ngx_http_penstock_probe_redis_call(
    ngx_http_penstock_probe_redis_call_t *call);
static void ngx_http_penstock_probe_redis_handler(
    ngx_http_penstock_redis_call_t *call, redisReply *reply);
static json_t *ngx_http_penstock_probe_redis_reply(redisReply *reply);
static void ngx_http_penstock_probe_redis_result(
    ngx_http_penstock_probe_redis_call_t *call, const char *status,
    json_t *reply);
static void ngx_http_penstock_probe_redis_timer(ngx_event_t *ev);
static void ngx_http_penstock_probe_redis_done(ngx_event_t *ev);
static void ngx_http_penstock_probe_redis_cleanup(void *data);
static void *ngx_http_penstock_probe_redis_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_penstock_probe_redis(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


static ngx_command_t  ngx_http_penstock_probe_redis_commands[] = {

    { ngx_string("probe_redis"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_penstock_probe_redis,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_penstock_probe_redis_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_penstock_probe_redis_create_loc_conf, /* create location conf */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_penstock_probe_redis_module = {
    NGX_MODULE_V1,
    &ngx_http_penstock_probe_redis_module_ctx, /* module context */
    ngx_http_penstock_probe_redis_commands,    /* module directives */
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
ngx_http_penstock_probe_redis_content(ngx_http_request_t *r)
{
    ngx_int_t  rc;

    rc = ngx_http_read_client_request_body(r,
                                          ngx_http_penstock_probe_redis_body);

    return rc >= NGX_HTTP_SPECIAL_RESPONSE ? rc : NGX_DONE;
}


static void
ngx_http_penstock_probe_redis_body(ngx_http_request_t *r)
{
    ngx_uint_t                                 i;
    ngx_pool_cleanup_t                        *cln;
    ngx_http_penstock_probe_redis_ctx_t       *ctx;
    ngx_http_penstock_probe_redis_loc_conf_t  *prlcf;

    prlcf = ngx_http_get_module_loc_conf(r,
                                        ngx_http_penstock_probe_redis_module);

    ctx = ngx_pcalloc(r->pool, sizeof(ngx_http_penstock_probe_redis_ctx_t));
    cln = ngx_pool_cleanup_add(r->pool, 0);

    if (ctx == NULL || cln == NULL
        || ngx_http_penstock_probe_redis_args(r, ctx) != NGX_OK)
    {
        ngx_http_finalize_request(r, NGX_HTTP_BAD_REQUEST);
        return;
    }

    ctx->request = r;
    ctx->redis = prlcf->redis;
    ctx->results = json_array();
    ctx->start = ngx_current_msec;

    ctx->done.handler = ngx_http_penstock_probe_redis_done;
    ctx->done.data = ctx;
    ctx->done.log = r->connection->log;

    ctx->timer.handler = ngx_http_penstock_probe_redis_timer;
    ctx->timer.data = ctx;
    ctx->timer.log = r->connection->log;

    cln->handler = ngx_http_penstock_probe_redis_cleanup;
    cln->data = ctx;

    ctx->calls = ngx_pcalloc(r->pool, (ctx->n + 1)
                             * sizeof(ngx_http_penstock_probe_redis_call_t));
    if (ctx->calls == NULL) {
        ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }

    r->read_event_handler = ngx_http_test_reading;

    ctx->left = ctx->n;
    ctx->sending = 1;

    for (i = 0; i < ctx->n; i++) {
        json_array_append_new(ctx->results, json_null());

        ctx->calls[i].ctx = ctx;
        ctx->calls[i].index = i;
        ctx->calls[i].again = ctx->again;

        if (ngx_http_penstock_probe_redis_call(&ctx->calls[i])
            == NGX_DECLINED)
        {
            ngx_http_penstock_probe_redis_result(&ctx->calls[i], "declined",
                                                 NULL);

        } else if (ctx->forget) {
            ngx_http_penstock_probe_redis_result(&ctx->calls[i], "forgotten",
                                                 NULL);

        } else if (ctx->cancel == 0) {
            ngx_http_penstock_redis_cancel(&ctx->calls[i].call);
            ngx_http_penstock_probe_redis_result(&ctx->calls[i], "cancelled",
                                                 NULL);
        }
    }

    ctx->sending = 0;

    if (ctx->left == 0) {
        ngx_post_event(&ctx->done, &ngx_posted_events);

    } else if (ctx->cancel > 0) {
        ngx_add_timer(&ctx->timer, ctx->cancel);
    }
}


static ngx_int_t
ngx_http_penstock_probe_redis_args(ngx_http_request_t *r,
    ngx_http_penstock_probe_redis_ctx_t *ctx)
{
    u_char       *p, *end, *amp, *eq, *dst, *src;
    ngx_str_t     name, value;
    ngx_chain_t  *cl;

    ctx->n = 1;
    ctx->cancel = -1;

    p = r->args.data;
    end = p + r->args.len;

    for ( /* void */ ; p < end; p = amp + 1) {

        amp = ngx_strlchr(p, end, '&');
        if (amp == NULL) {
            amp = end;
        }

        eq = ngx_strlchr(p, amp, '=');
        if (eq == NULL) {
            return NGX_ERROR;
        }

        name.data = p;
        name.len = eq - p;

        value.data = ngx_pnalloc(r->pool, amp - eq);
        if (value.data == NULL) {
            return NGX_ERROR;
        }

        dst = value.data;
        src = eq + 1;
        ngx_unescape_uri(&dst, &src, amp - src, 0);
        value.len = dst - value.data;

        if (ngx_strncmp(name.data, "a=", 2) == 0) {
            if (ctx->argc == NGX_HTTP_PENSTOCK_PROBE_ARGS - 1) {
                return NGX_ERROR;
            }

            ctx->argv[ctx->argc++] = value;

        } else if (ngx_strncmp(name.data, "n=", 2) == 0) {
            ctx->n = ngx_atoi(value.data, value.len);

        } else if (ngx_strncmp(name.data, "eval=", 5) == 0) {
            ctx->script = ngx_http_penstock_probe_redis_script(&value);
            if (ctx->script == NULL) {
                return NGX_ERROR;
            }

        } else if (ngx_strncmp(name.data, "nkeys=", 6) == 0) {
            ctx->nkeys = ngx_atoi(value.data, value.len);

        } else if (ngx_strncmp(name.data, "timeout=", 8) == 0) {
            ctx->timeout = ngx_atoi(value.data, value.len);

        } else if (ngx_strncmp(name.data, "again=", 6) == 0) {
            ctx->again = ngx_atoi(value.data, value.len);

        } else if (ngx_strncmp(name.data, "cancel=", 7) == 0) {
            ctx->cancel = ngx_atoi(value.data, value.len);

        } else if (ngx_strncmp(name.data, "forget=", 7) == 0) {
            ctx->forget = 1;

        } else if (ngx_strncmp(name.data, "up=", 3) == 0) {
            ctx->n = 0;
        }
    }

    if (r->headers_in.content_length_n > 0 || r->headers_in.chunked) {
        /* client_body_buffer_size is to be large enough */

        if (r->request_body->bufs == NULL || r->request_body->temp_file) {
            return NGX_ERROR;
        }

        p = ngx_pnalloc(r->pool, 64 * 1024 * 1024);
        if (p == NULL) {
            return NGX_ERROR;
        }

        ctx->argv[ctx->argc].data = p;

        for (cl = r->request_body->bufs; cl; cl = cl->next) {
            p = ngx_cpymem(p, cl->buf->pos, cl->buf->last - cl->buf->pos);
        }

        ctx->argv[ctx->argc].len = p - ctx->argv[ctx->argc].data;
        ctx->argc++;
    }

    return ctx->n > 100000 || ctx->nkeys > ctx->argc ? NGX_ERROR : NGX_OK;
}


/* a script lives as long as the process */

static ngx_http_penstock_redis_script_t *
ngx_http_penstock_probe_redis_script(ngx_str_t *text)
{
    char                                     *copy;
    ngx_uint_t                                i;

    static ngx_http_penstock_redis_script_t   scripts[
                                             NGX_HTTP_PENSTOCK_PROBE_SCRIPTS];

    for (i = 0; i < NGX_HTTP_PENSTOCK_PROBE_SCRIPTS; i++) {

        if (scripts[i].text == NULL) {
            copy = strndup((char *) text->data, text->len);
            scripts[i].text = copy;
            return copy ? &scripts[i] : NULL;
        }

        if (ngx_strlen(scripts[i].text) == text->len
            && ngx_memcmp(scripts[i].text, text->data, text->len) == 0)
        {
            return &scripts[i];
        }
    }

    return NULL;
}


static ngx_int_t
ngx_http_penstock_probe_redis_call(ngx_http_penstock_probe_redis_call_t *call)
{
    u_char                               *p, *src, *last;
    ngx_str_t                             argv[NGX_HTTP_PENSTOCK_PROBE_ARGS];
    ngx_uint_t                            i;
    ngx_http_penstock_redis_call_t       *c;
    ngx_http_penstock_probe_redis_ctx_t  *ctx;

    ctx = call->ctx;

    ngx_memzero(&call->call, sizeof(ngx_http_penstock_redis_call_t));

    call->call.handler = ngx_http_penstock_probe_redis_handler;
    call->call.data = call;
    call->call.pool = ctx->request->pool;
    call->call.timeout = ctx->timeout;

    c = ctx->forget ? NULL : &call->call;

    for (i = 0; i < ctx->argc; i++) {
        argv[i] = ctx->argv[i];

        if (argv[i].len > 100
            || ngx_strlchr(argv[i].data, argv[i].data + argv[i].len, '%')
               == NULL)
        {
            continue;
        }

        src = ctx->argv[i].data;
        last = src + ctx->argv[i].len;

        p = ngx_pnalloc(ctx->request->pool, argv[i].len + NGX_INT_T_LEN);
        if (p == NULL) {
            return NGX_DECLINED;
        }

        argv[i].data = p;

        while (src < last) {
            if (src + 1 < last && src[0] == '%' && src[1] == 'i') {
                p = ngx_sprintf(p, "%ui", call->index);
                src += 2;
                continue;
            }

            *p++ = *src++;
        }

        argv[i].len = p - argv[i].data;
    }

    if (ctx->script) {
        return ngx_http_penstock_redis_eval(ctx->redis, c, ctx->script,
                                            ctx->nkeys, ctx->argc, argv);
    }

    return ngx_http_penstock_redis_send(ctx->redis, c, ctx->argc, argv,
                                        ctx->argc > 1 ? 1 : -1);
}


static void
ngx_http_penstock_probe_redis_handler(ngx_http_penstock_redis_call_t *c,
    redisReply *reply)
{
    json_t                                *value;
    ngx_http_penstock_probe_redis_call_t  *call;

    static const char                     *status[] = {
        "ok", "refused", "down", "lost"
    };

    call = c->data;

    if (call->ctx->sending || call->done) {
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, 0,
                      "probe: a handler ran %s",
                      call->done ? "twice" : "inside send");
    }

    if (call->again) {
        call->again--;

        if (ngx_http_penstock_probe_redis_call(call) == NGX_OK) {
            return;
        }
    }

    value = reply ? ngx_http_penstock_probe_redis_reply(reply) : NULL;

    ngx_http_penstock_probe_redis_result(call, status[c->status], value);

    if (call->ctx->left == 0) {
        ngx_post_event(&call->ctx->done, &ngx_posted_events);
    }
}


static json_t *
ngx_http_penstock_probe_redis_reply(redisReply *reply)
{
    size_t   i;
    json_t  *value;

    switch (reply->type) {

    case REDIS_REPLY_INTEGER:
        return json_integer(reply->integer);

    case REDIS_REPLY_NIL:
        return json_null();

    case REDIS_REPLY_ARRAY:
        value = json_array();

        for (i = 0; i < reply->elements; i++) {
            json_array_append_new(value,
                     ngx_http_penstock_probe_redis_reply(reply->element[i]));
        }

        return value;

    case REDIS_REPLY_ERROR:
        return json_pack("{s:s}", "error", reply->str);

    default:
        value = json_stringn(reply->str, reply->len);

        if (value == NULL || reply->len > 65536) {
            json_decref(value);
            value = json_pack("{s:i}", "bytes", (int) reply->len);
        }

        return value;
    }
}


static void
ngx_http_penstock_probe_redis_result(
    ngx_http_penstock_probe_redis_call_t *call, const char *status,
    json_t *reply)
{
    call->done = 1;
    call->ctx->left--;

    json_array_set_new(call->ctx->results, call->index,
                       json_pack("{s:s, s:o}", "status", status,
                                 "reply", reply ? reply : json_null()));
}


static void
ngx_http_penstock_probe_redis_timer(ngx_event_t *ev)
{
    ngx_uint_t                            i;
    ngx_http_penstock_probe_redis_ctx_t  *ctx;

    ctx = ev->data;

    for (i = 0; i < ctx->n; i++) {
        if (!ctx->calls[i].done) {
            ngx_http_penstock_redis_cancel(&ctx->calls[i].call);
            ngx_http_penstock_probe_redis_result(&ctx->calls[i], "cancelled",
                                                 NULL);
        }
    }

    if (!ctx->done.posted) {
        ngx_post_event(&ctx->done, &ngx_posted_events);
    }
}


static void
ngx_http_penstock_probe_redis_done(ngx_event_t *ev)
{
    char                                 *text;
    json_t                               *answer;
    ngx_buf_t                            *b;
    ngx_int_t                             rc;
    ngx_chain_t                           out;
    ngx_connection_t                     *c;
    ngx_http_request_t                   *r;
    ngx_http_penstock_probe_redis_ctx_t  *ctx;

    ctx = ev->data;
    r = ctx->request;
    c = r->connection;

    answer = json_pack("{s:i, s:i, s:O}",
                       "up", (int) ngx_http_penstock_redis_up(ctx->redis),
                       "took", (int) (ngx_current_msec - ctx->start),
                       "calls", ctx->results);
    text = json_dumps(answer, JSON_COMPACT|JSON_PRESERVE_ORDER);
    json_decref(answer);

    b = ngx_create_temp_buf(r->pool, ngx_strlen(text) + 1);

    if (b == NULL) {
        free(text);
        ngx_http_finalize_request(r, NGX_ERROR);
        ngx_http_run_posted_requests(c);
        return;
    }

    b->last = ngx_cpymem(b->last, text, ngx_strlen(text));
    *b->last++ = LF;
    b->last_buf = 1;

    free(text);

    out.buf = b;
    out.next = NULL;

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = b->last - b->pos;
    ngx_str_set(&r->headers_out.content_type, "application/json");

    rc = ngx_http_send_header(r);

    if (rc != NGX_ERROR && rc <= NGX_OK && !r->header_only) {
        rc = ngx_http_output_filter(r, &out);
    }

    ngx_http_finalize_request(r, rc);
    ngx_http_run_posted_requests(c);
}


static void
ngx_http_penstock_probe_redis_cleanup(void *data)
{
    ngx_http_penstock_probe_redis_ctx_t  *ctx = data;

    if (ctx->timer.timer_set) {
        ngx_del_timer(&ctx->timer);
    }

    if (ctx->done.posted) {
        ngx_delete_posted_event(&ctx->done);
    }

    json_decref(ctx->results);
}


static void *
ngx_http_penstock_probe_redis_create_loc_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool,
                       sizeof(ngx_http_penstock_probe_redis_loc_conf_t));
}


static char *
ngx_http_penstock_probe_redis(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_penstock_probe_redis_loc_conf_t  *prlcf = conf;

    ngx_str_t                 *value;
    ngx_http_core_loc_conf_t  *clcf;

    value = cf->args->elts;

    prlcf->redis = ngx_http_penstock_redis_ref(cf, &value[1]);
    if (prlcf->redis == NULL) {
        return NGX_CONF_ERROR;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_penstock_probe_redis_content;

    return NGX_CONF_OK;
}
