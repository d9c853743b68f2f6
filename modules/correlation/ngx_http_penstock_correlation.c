
/*
 * The correlation ID and the trace of a main request: made once, on first
 * need, by whoever needs them first.
 */

#include "ngx_http_penstock_correlation.h"


#define NGX_HTTP_PENSTOCK_LOG_PREFIX  ", correlation_id: \""


static u_char *ngx_http_penstock_correlation_log(ngx_http_request_t *r,
    ngx_http_request_t *sr, u_char *buf, size_t len);
static ngx_http_penstock_correlation_t *ngx_http_penstock_correlation_state(
    ngx_http_request_t *r);
static ngx_int_t ngx_http_penstock_correlation_decide(ngx_http_request_t *r,
    ngx_http_penstock_correlation_t *c,
    ngx_http_penstock_correlation_loc_conf_t *conf);
static ngx_int_t ngx_http_penstock_correlation_generate(
    ngx_http_penstock_correlation_t *c);
static ngx_int_t ngx_http_penstock_correlation_tracestate(
    ngx_http_request_t *r, ngx_http_penstock_correlation_t *c);


static const ngx_str_t  ngx_http_penstock_traceparent_name =
    ngx_string("traceparent");
static const ngx_str_t  ngx_http_penstock_tracestate_name =
    ngx_string("tracestate");


static ngx_http_penstock_correlation_t *
ngx_http_penstock_correlation_state(ngx_http_request_t *r)
{
    ngx_http_penstock_correlation_t  *c;

    c = ngx_http_penstock_get_state(r, NGX_HTTP_PENSTOCK_CORRELATION);
    if (c) {
        return c;
    }

    c = ngx_pcalloc(r->pool, sizeof(ngx_http_penstock_correlation_t));
    if (c == NULL) {
        return NULL;
    }

    if (ngx_http_penstock_set_state(r, NGX_HTTP_PENSTOCK_CORRELATION, c)
        != NGX_OK)
    {
        return NULL;
    }

    return c;
}


ngx_int_t
ngx_http_penstock_correlation_make(ngx_http_request_t *r,
    ngx_http_penstock_correlation_t **state)
{
    ngx_http_penstock_correlation_t           *c;
    ngx_http_penstock_correlation_loc_conf_t  *conf;

    conf = ngx_http_get_module_loc_conf(r,
                                        ngx_http_penstock_correlation_module);

    c = ngx_http_penstock_get_state(r, NGX_HTTP_PENSTOCK_CORRELATION);

    if (c && c->id.len) {
        *state = c;

        if (c->settled || c->seen || c->conf == conf || !conf->enable) {
            return NGX_OK;
        }

        return ngx_http_penstock_correlation_decide(r, c, conf);
    }

    if (!conf->enable) {
        return NGX_DECLINED;
    }

    c = ngx_http_penstock_correlation_state(r);
    if (c == NULL) {
        return NGX_ERROR;
    }

    if (ngx_http_penstock_correlation_decide(r, c, conf) != NGX_OK) {
        return NGX_ERROR;
    }

    /* lines are written with the main request's handler only */

    c->log_handler = r->main->log_handler;
    r->main->log_handler = ngx_http_penstock_correlation_log;

    *state = c;

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_correlation_decide(ngx_http_request_t *r,
    ngx_http_penstock_correlation_t *c,
    ngx_http_penstock_correlation_loc_conf_t *conf)
{
    ngx_uint_t        i;
    ngx_table_elt_t  *h;
    ngx_list_part_t  *part;

    c->conf = conf;

    if (conf->trust) {
        part = &r->main->headers_in.headers.part;
        i = 0;

        h = ngx_http_penstock_correlation_next(&part, &i, &conf->header);

        if (h && ps_correlation_id_valid((char *) h->value.data, h->value.len)
            && ngx_http_penstock_correlation_next(&part, &i, &conf->header)
               == NULL)
        {
            c->id = h->value;
            c->client = 1;

            return NGX_OK;
        }
    }

    if (c->id.len && !c->client) {
        return NGX_OK;
    }

    return ngx_http_penstock_correlation_generate(c);
}


static ngx_int_t
ngx_http_penstock_correlation_generate(ngx_http_penstock_correlation_t *c)
{
    u_char           random[PS_UUID_RANDOM_LEN];
    uint64_t         now;
    static uint64_t  last;

    if (ngx_http_penstock_random(random, sizeof(random)) != NGX_OK) {
        return NGX_ERROR;
    }

    /*
     * IDs of a worker sort in the order they were made, unless the clock is
     * set back by more than a second
     */

    now = ngx_http_penstock_usec();

    if (now <= last && last - now < 1000000) {
        now = last + 1;
    }

    last = now;

    ps_uuid7((char *) c->uuid, now, random);

    c->id.data = c->uuid;
    c->id.len = PS_UUID_LEN;
    c->client = 0;

    return NGX_OK;
}


ngx_int_t
ngx_http_penstock_correlation_trace(ngx_http_request_t *r,
    ngx_http_penstock_correlation_t **state)
{
    u_char                            random[PS_TRACE_RANDOM_LEN
                                             + PS_SPAN_RANDOM_LEN];
    ngx_uint_t                        i, n;
    ngx_table_elt_t                  *h;
    ngx_list_part_t                  *part;
    ps_traceparent_t                  tp;
    ngx_http_penstock_correlation_t  *c;

    ngx_http_penstock_correlation_loc_conf_t  *conf;

    c = ngx_http_penstock_get_state(r, NGX_HTTP_PENSTOCK_CORRELATION);

    if (c && c->traced) {
        *state = c;
        return NGX_OK;
    }

    conf = ngx_http_get_module_loc_conf(r,
                                        ngx_http_penstock_correlation_module);

    if (!conf->trace) {
        return NGX_DECLINED;
    }

    c = ngx_http_penstock_correlation_state(r);

    if (c == NULL
        || ngx_http_penstock_random(random, sizeof(random)) != NGX_OK)
    {
        return NGX_ERROR;
    }

    c->origin = NGX_HTTP_PENSTOCK_TRACE_STARTED;

    part = &r->main->headers_in.headers.part;
    i = 0;

    for (n = 0; /* void */ ; n++) {
        h = ngx_http_penstock_correlation_next(&part, &i,
                                         &ngx_http_penstock_traceparent_name);
        if (h == NULL) {
            break;
        }

        /* one and valid, or the trace is restarted */

        if (n == 0
            && ps_traceparent_parse(&tp, (char *) h->value.data, h->value.len)
               == 0)
        {
            c->origin = NGX_HTTP_PENSTOCK_TRACE_JOINED;
            continue;
        }

        c->origin = NGX_HTTP_PENSTOCK_TRACE_RESTARTED;
        break;
    }

    if (c->origin == NGX_HTTP_PENSTOCK_TRACE_JOINED) {
        if (ngx_http_penstock_correlation_tracestate(r, c) != NGX_OK) {
            return NGX_ERROR;
        }

    } else {
        ps_traceparent_start(&tp, random);
    }

    ps_traceparent_span(&tp, random + PS_TRACE_RANDOM_LEN);
    ps_traceparent_write((char *) c->traceparent, &tp);

    c->traced = 1;
    *state = c;

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_correlation_tracestate(ngx_http_request_t *r,
    ngx_http_penstock_correlation_t *c)
{
    char             *text;
    size_t            size;
    ngx_uint_t        i;
    ngx_table_elt_t  *h;
    ngx_list_part_t  *part;
    ps_tracestate_t   ts;

    size = 0;
    part = &r->main->headers_in.headers.part;
    i = 0;

    for ( ;; ) {
        h = ngx_http_penstock_correlation_next(&part, &i,
                                          &ngx_http_penstock_tracestate_name);
        if (h == NULL) {
            break;
        }

        size += h->value.len + 1;
    }

    if (size == 0) {
        return NGX_OK;
    }

    text = ngx_pnalloc(r->pool, size);
    if (text == NULL) {
        return NGX_ERROR;
    }

    ps_tracestate_init(&ts, text);

    part = &r->main->headers_in.headers.part;
    i = 0;

    for ( ;; ) {
        h = ngx_http_penstock_correlation_next(&part, &i,
                                          &ngx_http_penstock_tracestate_name);
        if (h == NULL) {
            break;
        }

        if (ps_tracestate_add(&ts, (char *) h->value.data, h->value.len) != 0)
        {
            return NGX_OK;
        }
    }

    if (ts.len) {
        c->tracestate.data = (u_char *) text;
        c->tracestate.len = ts.len;
    }

    return NGX_OK;
}


ngx_table_elt_t *
ngx_http_penstock_correlation_next(ngx_list_part_t **part, ngx_uint_t *i,
    const ngx_str_t *name)
{
    ngx_table_elt_t  *h;

    for ( ;; ) {

        if (*i >= (*part)->nelts) {
            if ((*part)->next == NULL) {
                return NULL;
            }

            *part = (*part)->next;
            *i = 0;
            continue;
        }

        h = (*part)->elts;
        h += (*i)++;

        if (h->hash && h->key.len == name->len
            && ngx_strncasecmp(h->key.data, name->data, name->len) == 0)
        {
            return h;
        }
    }
}


/*
 * Runs inside of ngx_log_error_core() with what the message left of its
 * NGX_MAX_ERROR_STR bytes: no allocation, no logging.  The ID goes before
 * nginx's own fields, as a long request line would push it out; a message
 * that is too long itself (a file name made of a long URI) loses its end.
 */

static u_char *
ngx_http_penstock_correlation_log(ngx_http_request_t *r,
    ngx_http_request_t *sr, u_char *buf, size_t len)
{
    size_t                            n;
    ngx_http_penstock_correlation_t  *c;

    c = ngx_http_penstock_get_state(r, NGX_HTTP_PENSTOCK_CORRELATION);

    c->seen = 1;

    /* one more byte is left for the line feed */

    n = sizeof(NGX_HTTP_PENSTOCK_LOG_PREFIX) - 1 + c->id.len + 1;

    if (len < n + 1) {
        buf -= n + 1 - len;
        len = n + 1;
    }

    buf = ngx_cpymem(buf, NGX_HTTP_PENSTOCK_LOG_PREFIX,
                     sizeof(NGX_HTTP_PENSTOCK_LOG_PREFIX) - 1);
    buf = ngx_cpymem(buf, c->id.data, c->id.len);
    *buf++ = '"';

    return c->log_handler(r, sr, buf, len - n);
}
