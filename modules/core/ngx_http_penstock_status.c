
/*
 * penstock_status: all metrics, as JSON or in Prometheus' text format.
 */

#include "ngx_http_penstock.h"
#include "ngx_http_penstock_metrics.h"
#include "ps_json_escape.h"
#include "ps_metrics.h"


#define NGX_HTTP_PENSTOCK_INFO                                                \
    "penstock_info"

#define NGX_HTTP_PENSTOCK_INFO_HELP                                           \
    "Versions of Penstock and nginx."

#define NGX_HTTP_PENSTOCK_INFO_LABELS                                         \
    "version=\"" NGX_HTTP_PENSTOCK_VERSION "\",nginx=\"" NGINX_VERSION "\""


typedef u_char *(*ngx_http_penstock_status_pt)(u_char *p,
    ngx_http_penstock_main_conf_t *pmcf, ngx_array_t *metrics);


static ngx_int_t ngx_http_penstock_status_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_penstock_status_refuse(ngx_http_request_t *r);
static ngx_int_t ngx_http_penstock_status_format(ngx_http_request_t *r,
    ngx_uint_t *prometheus);
static void ngx_http_penstock_status_accept(ngx_http_request_t *r,
    unsigned *text, unsigned *json);
static ngx_array_t *ngx_http_penstock_status_metrics(ngx_http_request_t *r,
    ngx_http_penstock_main_conf_t *pmcf);
static size_t ngx_http_penstock_status_size(ngx_array_t *metrics);
static u_char *ngx_http_penstock_status_json(u_char *p,
    ngx_http_penstock_main_conf_t *pmcf, ngx_array_t *metrics);
static u_char *ngx_http_penstock_status_json_labels(u_char *p,
    ngx_array_t *pairs);
static u_char *ngx_http_penstock_status_prometheus(u_char *p,
    ngx_http_penstock_main_conf_t *pmcf, ngx_array_t *metrics);
static const char *ngx_http_penstock_status_type(
    ngx_http_penstock_metric_t *metric);
static uint64_t ngx_http_penstock_status_one(void *data);


static ngx_int_t
ngx_http_penstock_status_handler(ngx_http_request_t *r)
{
    ngx_int_t                       rc;
    ngx_buf_t                      *b;
    ngx_uint_t                      prometheus;
    ngx_chain_t                     out;
    ngx_array_t                    *metrics;
    ngx_http_penstock_status_pt     write;
    ngx_http_penstock_main_conf_t  *pmcf;

    static ngx_str_t  cache_control = ngx_string("Cache-Control");
    static ngx_str_t  no_store = ngx_string("no-store");

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return ngx_http_penstock_status_refuse(r);
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    prometheus = 0;

    rc = ngx_http_penstock_status_format(r, &prometheus);
    if (rc != NGX_OK) {
        return rc;
    }

    pmcf = ngx_http_get_module_main_conf(r, ngx_http_penstock_module);

    metrics = ngx_http_penstock_status_metrics(r, pmcf);
    if (metrics == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b = ngx_create_temp_buf(r->pool, ngx_http_penstock_status_size(metrics));
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (prometheus) {
        write = ngx_http_penstock_status_prometheus;
        ngx_str_set(&r->headers_out.content_type,
                    "text/plain; version=0.0.4; charset=utf-8");
        r->headers_out.content_type_len = sizeof("text/plain") - 1;

    } else {
        write = ngx_http_penstock_status_json;
        ngx_str_set(&r->headers_out.content_type, "application/json");
        r->headers_out.content_type_len = r->headers_out.content_type.len;
    }

    b->last = write(b->pos, pmcf, metrics);
    b->last_buf = (r == r->main) ? 1 : 0;
    b->last_in_chain = 1;

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = b->last - b->pos;
    r->headers_out.content_type_lowcase = NULL;

    if (ngx_http_penstock_add_header(r, &cache_control, &no_store) == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


static ngx_int_t
ngx_http_penstock_status_refuse(ngx_http_request_t *r)
{
    static ngx_str_t  allow = ngx_string("Allow");
    static ngx_str_t  methods = ngx_string("GET, HEAD");

    if (ngx_http_penstock_add_header(r, &allow, &methods) == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_penstock_refuse(r, NGX_HTTP_NOT_ALLOWED,
                                    "The status is read by GET or HEAD.");
}


/* "format" decides; without it, whether text is preferred to JSON */

static ngx_int_t
ngx_http_penstock_status_format(ngx_http_request_t *r, ngx_uint_t *prometheus)
{
    unsigned          text, json;
    ngx_str_t         format;
    static ngx_str_t  vary = ngx_string("Vary");
    static ngx_str_t  accept = ngx_string("Accept");

    if (ngx_http_arg(r, (u_char *) "format", 6, &format) == NGX_OK) {

        if (format.len == 10
            && ngx_strncmp(format.data, "prometheus", 10) == 0)
        {
            *prometheus = 1;
            return NGX_OK;
        }

        if (format.len == 4 && ngx_strncmp(format.data, "json", 4) == 0) {
            *prometheus = 0;
            return NGX_OK;
        }

        return ngx_http_penstock_refuse(r, NGX_HTTP_BAD_REQUEST,
                                 "The format is \"json\" or \"prometheus\".");
    }

    ngx_http_penstock_status_accept(r, &text, &json);

    *prometheus = text > json;

    if (ngx_http_penstock_add_header(r, &vary, &accept) == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return NGX_OK;
}


static void
ngx_http_penstock_status_accept(ngx_http_request_t *r, unsigned *text,
    unsigned *json)
{
    char             *value;
    unsigned          weight;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *header;

    *text = 0;
    *json = 0;

    part = &r->headers_in.headers.part;
    header = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            header = part->elts;
            i = 0;
        }

        if (header[i].key.len != 6
            || ngx_strncasecmp(header[i].key.data, (u_char *) "Accept", 6)
               != 0)
        {
            continue;
        }

        value = (char *) header[i].value.data;

        weight = ps_accept_weight(value, header[i].value.len, "text/plain");
        *text = ngx_max(*text, weight);

        weight = ps_accept_weight(value, header[i].value.len,
                                  "application/openmetrics-text");
        *text = ngx_max(*text, weight);

        weight = ps_accept_weight(value, header[i].value.len,
                                  "application/json");
        *json = ngx_max(*json, weight);
    }
}


/* what was registered, and penstock_info before it */

static ngx_array_t *
ngx_http_penstock_status_metrics(ngx_http_request_t *r,
    ngx_http_penstock_main_conf_t *pmcf)
{
    ngx_array_t                 *metrics;
    ngx_http_penstock_metric_t  *metric;
    ngx_http_penstock_sample_t  *sample;

    metrics = ngx_array_create(r->pool, pmcf->metrics.nelts + 1,
                               sizeof(ngx_http_penstock_metric_t));
    if (metrics == NULL) {
        return NULL;
    }

    metric = ngx_array_push(metrics);
    ngx_memzero(metric, sizeof(ngx_http_penstock_metric_t));

    ngx_str_set(&metric->name, NGX_HTTP_PENSTOCK_INFO);
    ngx_str_set(&metric->help, NGX_HTTP_PENSTOCK_INFO_HELP);
    metric->type = NGX_HTTP_PENSTOCK_GAUGE;

    if (ngx_array_init(&metric->samples, r->pool, 1,
                       sizeof(ngx_http_penstock_sample_t))
        != NGX_OK)
    {
        return NULL;
    }

    sample = ngx_array_push(&metric->samples);
    ngx_memzero(sample, sizeof(ngx_http_penstock_sample_t));

    ngx_str_set(&sample->labels, NGX_HTTP_PENSTOCK_INFO_LABELS);
    sample->read = ngx_http_penstock_status_one;

    if (ngx_http_penstock_labels(r->pool, sample) != NGX_OK) {
        return NULL;
    }

    if (pmcf->metrics.nelts) {
        metric = ngx_array_push_n(metrics, pmcf->metrics.nelts);

        ngx_memcpy(metric, pmcf->metrics.elts,
                   pmcf->metrics.nelts * sizeof(ngx_http_penstock_metric_t));
    }

    return metrics;
}


/* room for either format */

static size_t
ngx_http_penstock_status_size(ngx_array_t *metrics)
{
    size_t                       size;
    ngx_uint_t                   i, k;
    ngx_http_penstock_metric_t  *metric;
    ngx_http_penstock_sample_t  *sample;

    size = sizeof("{\"version\":\"\",\"nginx\":\"\",\"metrics\":{}}" CRLF)
           + sizeof(NGX_HTTP_PENSTOCK_VERSION) + sizeof(NGINX_VERSION);

    metric = metrics->elts;

    for (i = 0; i < metrics->nelts; i++) {

        size += sizeof("\"\":{\"type\":\"counter\",\"help\":\"\","
                       "\"values\":[]},# HELP  " CRLF "# TYPE  counter" CRLF)
                + 3 * metric[i].name.len
                + PS_JSON_ESCAPE_MAX(metric[i].help.len);

        sample = metric[i].samples.elts;

        for (k = 0; k < metric[i].samples.nelts; k++) {
            size += sizeof("{\"labels\":{},\"value\":},{} " CRLF)
                    + NGX_INT64_LEN + metric[i].name.len

                    /* 'a="b",' as '"a":"b",' */

                    + PS_JSON_ESCAPE_MAX(sample[k].labels.len);
        }
    }

    return size;
}


static u_char *
ngx_http_penstock_status_json(u_char *p, ngx_http_penstock_main_conf_t *pmcf,
    ngx_array_t *metrics)
{
    ngx_uint_t                   i, k;
    ngx_http_penstock_metric_t  *metric;
    ngx_http_penstock_sample_t  *sample;

    p = ngx_cpymem(p, "{\"version\":\"" NGX_HTTP_PENSTOCK_VERSION
                      "\",\"nginx\":\"" NGINX_VERSION "\",\"metrics\":{",
                   sizeof("{\"version\":\"" NGX_HTTP_PENSTOCK_VERSION
                          "\",\"nginx\":\"" NGINX_VERSION
                          "\",\"metrics\":{") - 1);

    metric = metrics->elts;

    for (i = 0; i < metrics->nelts; i++) {

        if (i) {
            *p++ = ',';
        }

        p = ngx_sprintf(p, "\"%V\":{\"type\":\"%s\",\"help\":\"",
                        &metric[i].name,
                        ngx_http_penstock_status_type(&metric[i]));
        p += ps_json_escape((char *) p, (char *) metric[i].help.data,
                            metric[i].help.len);
        p = ngx_cpymem(p, "\",\"values\":[", sizeof("\",\"values\":[") - 1);

        sample = metric[i].samples.elts;

        for (k = 0; k < metric[i].samples.nelts; k++) {

            if (k) {
                *p++ = ',';
            }

            p = ngx_cpymem(p, "{\"labels\":{", sizeof("{\"labels\":{") - 1);
            p = ngx_http_penstock_status_json_labels(p, &sample[k].pairs);
            p = ngx_sprintf(p, "},\"value\":%uL}",
                            ngx_http_penstock_metric_value(pmcf, &sample[k]));
        }

        *p++ = ']';
        *p++ = '}';
    }

    *p++ = '}';
    *p++ = '}';
    *p++ = LF;

    return p;
}


static u_char *
ngx_http_penstock_status_json_labels(u_char *p, ngx_array_t *pairs)
{
    ngx_uint_t     i;
    ngx_keyval_t  *pair;

    pair = pairs->elts;

    for (i = 0; i < pairs->nelts; i++) {

        if (i) {
            *p++ = ',';
        }

        p = ngx_sprintf(p, "\"%V\":\"", &pair[i].key);
        p += ps_json_escape((char *) p, (char *) pair[i].value.data,
                            pair[i].value.len);
        *p++ = '"';
    }

    return p;
}


static u_char *
ngx_http_penstock_status_prometheus(u_char *p,
    ngx_http_penstock_main_conf_t *pmcf, ngx_array_t *metrics)
{
    ngx_uint_t                   i, k;
    ngx_http_penstock_metric_t  *metric;
    ngx_http_penstock_sample_t  *sample;

    metric = metrics->elts;

    for (i = 0; i < metrics->nelts; i++) {

        p = ngx_sprintf(p, "# HELP %V %V\n# TYPE %V %s\n",
                        &metric[i].name, &metric[i].help, &metric[i].name,
                        ngx_http_penstock_status_type(&metric[i]));

        sample = metric[i].samples.elts;

        for (k = 0; k < metric[i].samples.nelts; k++) {

            p = ngx_cpymem(p, metric[i].name.data, metric[i].name.len);

            if (sample[k].labels.len) {
                p = ngx_sprintf(p, "{%V}", &sample[k].labels);
            }

            p = ngx_sprintf(p, " %uL\n",
                            ngx_http_penstock_metric_value(pmcf, &sample[k]));
        }
    }

    return p;
}


/* what is read when asked may still be a counter, by its name */

static const char *
ngx_http_penstock_status_type(ngx_http_penstock_metric_t *metric)
{
    size_t  len;

    len = sizeof("_total") - 1;

    if (metric->type == NGX_HTTP_PENSTOCK_COUNTER
        || (metric->name.len > len
            && ngx_strncmp(metric->name.data + metric->name.len - len,
                           "_total", len)
               == 0))
    {
        return "counter";
    }

    return "gauge";
}


static uint64_t
ngx_http_penstock_status_one(void *data)
{
    return 1;
}


char *
ngx_http_penstock_status_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    return ngx_http_penstock_content(cf, ngx_http_penstock_status_handler);
}
