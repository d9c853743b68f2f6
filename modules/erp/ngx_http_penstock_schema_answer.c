
/*
 * What is said of a body that is not accepted.
 */

#include "ngx_http_penstock_schema.h"
#include "ps_json_escape.h"


static u_char *ngx_http_penstock_schema_member(u_char *p, const char *name,
    const char *text);


ngx_int_t
ngx_http_penstock_schema_no_json(ngx_http_request_t *r,
    ngx_http_penstock_schema_loc_conf_t *slcf, ps_json_rc_e rc,
    ngx_uint_t at)
{
    u_char                       *p;
    ngx_http_penstock_problem_t   problem;

    ngx_memzero(&problem, sizeof(ngx_http_penstock_problem_t));

    problem.status = NGX_HTTP_BAD_REQUEST;

    switch (rc) {

    case PS_JSON_MEMORY:
        return NGX_HTTP_INTERNAL_SERVER_ERROR;

    case PS_JSON_LARGE:
        return ngx_http_penstock_refuse(r, NGX_HTTP_REQUEST_ENTITY_TOO_LARGE,
                                        "The body is larger than is accepted "
                                        "here.");

    case PS_JSON_DEEP:
        problem.status = NGX_HTTP_REQUEST_ENTITY_TOO_LARGE;
        break;

    default:
        break;
    }

    p = ngx_pnalloc(r->pool, 128);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    problem.detail.data = p;

    if (rc == PS_JSON_DEEP) {
        p = ngx_sprintf(p, "The body nests deeper than %ui, at byte %ui.",
                        slcf->max_depth, at);

    } else {
        p = ngx_sprintf(p, "The body can't be read: %s, at byte %ui.",
                        ps_json_tape_error(rc), at);
    }

    problem.detail.len = p - problem.detail.data;

    return ngx_http_penstock_problem(r, &problem);
}


/* RFC 9457, section 3: "errors", each with a pointer and a detail */

ngx_int_t
ngx_http_penstock_schema_invalid(ngx_http_request_t *r,
    const ps_schema_fault_t *fault, size_t n)
{
    size_t                        i, size;
    u_char                       *p;
    ngx_http_penstock_problem_t   problem;

    ngx_memzero(&problem, sizeof(ngx_http_penstock_problem_t));

    problem.status = NGX_HTTP_PENSTOCK_UNPROCESSABLE;
    ngx_str_set(&problem.detail, "The body is not what is accepted here.");

    size = sizeof("\"errors\":[]") - 1;

    for (i = 0; i < n; i++) {
        size += sizeof("{\"detail\":\"\",\"pointer\":\"\"},") - 1
                + PS_JSON_ESCAPE_MAX(ngx_strlen(fault[i].detail)
                                     + ngx_strlen(fault[i].pointer));
    }

    p = ngx_pnalloc(r->pool, size);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    problem.members.data = p;

    p = ngx_cpymem(p, "\"errors\":[", sizeof("\"errors\":[") - 1);

    for (i = 0; i < n; i++) {

        if (i) {
            *p++ = ',';
        }

        *p++ = '{';
        p = ngx_http_penstock_schema_member(p, "detail", fault[i].detail);
        *p++ = ',';
        p = ngx_http_penstock_schema_member(p, "pointer", fault[i].pointer);
        *p++ = '}';
    }

    *p++ = ']';

    problem.members.len = p - problem.members.data;

    return ngx_http_penstock_problem(r, &problem);
}


static u_char *
ngx_http_penstock_schema_member(u_char *p, const char *name, const char *text)
{
    p = ngx_sprintf(p, "\"%s\":\"", name);
    p += ps_json_escape((char *) p, text, ngx_strlen(text));
    *p++ = '"';

    return p;
}
