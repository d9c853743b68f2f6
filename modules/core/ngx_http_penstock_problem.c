
/*
 * Refusals as problem details (RFC 9457).  The handler returns the status;
 * the filter module puts the document in the place of nginx's own page.
 */

#include "ngx_http_penstock.h"
#include "ngx_http_penstock_filter.h"
#include "ps_json_escape.h"


typedef struct {
    ngx_uint_t    status;
    const char   *title;
} ngx_http_penstock_title_t;


static ngx_int_t ngx_http_penstock_problem_body(ngx_http_request_t *r,
    ngx_http_penstock_problem_t *problem, ngx_str_t *body);
static size_t ngx_http_penstock_problem_member(u_char **p, const char *name,
    ngx_str_t *value);
static const char *ngx_http_penstock_problem_title(ngx_uint_t status);


static const ngx_http_penstock_title_t  ngx_http_penstock_titles[] = {
    { 400, "Bad Request" },
    { 401, "Unauthorized" },
    { 403, "Forbidden" },
    { 404, "Not Found" },
    { 405, "Method Not Allowed" },
    { 409, "Conflict" },
    { 413, "Content Too Large" },
    { 415, "Unsupported Media Type" },
    { 422, "Unprocessable Content" },
    { 429, "Too Many Requests" },
    { 500, "Internal Server Error" },
    { 502, "Bad Gateway" },
    { 503, "Service Unavailable" },
    { 504, "Gateway Timeout" }
};


ngx_int_t
ngx_http_penstock_problem(ngx_http_request_t *r,
    ngx_http_penstock_problem_t *problem)
{
    ngx_http_penstock_problem_t     *copy;
    ngx_http_penstock_filter_ctx_t  *ctx;

    ctx = ngx_http_penstock_filter_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    copy = ngx_palloc(r->pool, sizeof(ngx_http_penstock_problem_t));
    if (copy == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    *copy = *problem;
    ctx->problem = copy;

    return problem->status;
}


ngx_int_t
ngx_http_penstock_refuse(ngx_http_request_t *r, ngx_uint_t status,
    const char *detail)
{
    ngx_http_penstock_problem_t  problem;

    ngx_memzero(&problem, sizeof(ngx_http_penstock_problem_t));

    problem.status = status;
    problem.detail.data = (u_char *) detail;
    problem.detail.len = ngx_strlen(detail);

    return ngx_http_penstock_problem(r, &problem);
}


ngx_int_t
ngx_http_penstock_problem_answer(ngx_http_request_t *r,
    ngx_http_penstock_problem_t *problem, ngx_buf_t **out)
{
    ngx_str_t         body;
    ngx_buf_t        *b;
    static ngx_str_t  name = ngx_string("Cache-Control");
    static ngx_str_t  no_store = ngx_string("no-store");

    if (ngx_http_penstock_problem_body(r, problem, &body) != NGX_OK) {
        return NGX_ERROR;
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->pos = body.data;
    b->last = body.data + body.len;
    b->memory = 1;
    b->last_buf = 1;
    b->last_in_chain = 1;

    *out = b;

    ngx_http_clear_content_length(r);
    ngx_http_clear_accept_ranges(r);
    ngx_http_clear_last_modified(r);
    ngx_http_clear_etag(r);

    r->headers_out.content_length_n = body.len;

    ngx_str_set(&r->headers_out.content_type, "application/problem+json");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;

    if (ngx_http_penstock_add_header(r, &name, &no_store) == NULL) {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* the problem as a JSON document in r->pool */

static ngx_int_t
ngx_http_penstock_problem_body(ngx_http_request_t *r,
    ngx_http_penstock_problem_t *problem, ngx_str_t *body)
{
    u_char                         *p;
    size_t                          len;
    ngx_str_t                       type, title, id;
    ngx_http_penstock_main_conf_t  *pmcf;

    pmcf = ngx_http_get_module_main_conf(r, ngx_http_penstock_module);

    type = problem->type;
    title = problem->title;
    ngx_str_null(&id);

    if (type.len == 0) {
        ngx_str_set(&type, "about:blank");
    }

    if (title.len == 0) {
        title.data = (u_char *)
                          ngx_http_penstock_problem_title(problem->status);
        title.len = ngx_strlen(title.data);
    }

    if (pmcf->correlation_id && pmcf->correlation_id(r, &id) != NGX_OK) {
        ngx_str_null(&id);
    }

    p = NULL;

    len = sizeof("{\"status\":600,}" CRLF)
          + ngx_http_penstock_problem_member(&p, "type", &type)
          + ngx_http_penstock_problem_member(&p, "title", &title)
          + ngx_http_penstock_problem_member(&p, "detail", &problem->detail)
          + ngx_http_penstock_problem_member(&p, "correlation_id", &id)
          + problem->members.len;

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    body->data = p;

    *p++ = '{';
    (void) ngx_http_penstock_problem_member(&p, "type", &type);
    (void) ngx_http_penstock_problem_member(&p, "title", &title);
    p = ngx_sprintf(p, "\"status\":%ui,", problem->status);
    (void) ngx_http_penstock_problem_member(&p, "detail", &problem->detail);
    (void) ngx_http_penstock_problem_member(&p, "correlation_id", &id);

    if (problem->members.len) {
        p = ngx_cpymem(p, problem->members.data, problem->members.len);

    } else {
        p--;
    }

    *p++ = '}';
    *p++ = LF;

    body->len = p - body->data;

    return NGX_OK;
}


/* "name":"value", at *p, or the most that it may take where *p is NULL */

static size_t
ngx_http_penstock_problem_member(u_char **p, const char *name,
    ngx_str_t *value)
{
    if (value->len == 0) {
        return 0;
    }

    if (*p == NULL) {
        return ngx_strlen(name) + sizeof("\"\":\"\",") - 1
               + PS_JSON_ESCAPE_MAX(value->len);
    }

    *p = ngx_sprintf(*p, "\"%s\":\"", name);
    *p += ps_json_escape((char *) *p, (char *) value->data, value->len);
    *(*p)++ = '"';
    *(*p)++ = ',';

    return 0;
}


static const char *
ngx_http_penstock_problem_title(ngx_uint_t status)
{
    ngx_uint_t  i, n;

    n = sizeof(ngx_http_penstock_titles) / sizeof(ngx_http_penstock_title_t);

    for (i = 0; i < n; i++) {
        if (ngx_http_penstock_titles[i].status == status) {
            return ngx_http_penstock_titles[i].title;
        }
    }

    return "Error";
}
