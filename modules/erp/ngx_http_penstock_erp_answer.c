
/*
 * Answers: the upstream's, one that was kept, or a problem whose type says
 * what has become of the request.
 */

#include "ngx_http_penstock_erp.h"


#define NGX_HTTP_PENSTOCK_ERP_TYPE  "urn:penstock:problem:"


static ngx_int_t ngx_http_penstock_erp_answer_read(
    ngx_http_penstock_erp_ctx_t *ctx);
static ngx_uint_t ngx_http_penstock_erp_hop(ngx_str_t *name);
static void ngx_http_penstock_erp_content_type(ngx_http_request_t *r,
    ngx_str_t *value);


ngx_int_t
ngx_http_penstock_erp_refuse(ngx_http_request_t *r, ngx_uint_t status,
    const char *type, const char *detail, time_t retry)
{
    size_t                       len;
    ngx_http_penstock_problem_t  problem;

    ngx_memzero(&problem, sizeof(ngx_http_penstock_problem_t));

    len = ngx_strlen(type);

    if (len) {
        problem.type.data = ngx_pnalloc(r->pool,
                          sizeof(NGX_HTTP_PENSTOCK_ERP_TYPE) - 1 + len);
        if (problem.type.data == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        problem.type.len = ngx_sprintf(problem.type.data,
                                       NGX_HTTP_PENSTOCK_ERP_TYPE "%s", type)
                           - problem.type.data;
    }

    problem.status = status;
    problem.detail.data = (u_char *) detail;
    problem.detail.len = ngx_strlen(detail);

    if (retry && ngx_http_penstock_retry_after(r, retry) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_penstock_problem(r, &problem);
}


ngx_int_t
ngx_http_penstock_erp_verdict_answer(ngx_http_penstock_erp_ctx_t *ctx)
{
    ngx_msec_t                      left;
    ngx_http_request_t             *r;
    ngx_http_penstock_erp_claim_t  *claim;

    r = ctx->request;
    claim = ctx->claim;

    ctx->state = NGX_HTTP_PENSTOCK_ERP_ANSWERED;

    switch (claim->verdict) {

    case NGX_HTTP_PENSTOCK_ERP_REPLAYED:
        return ngx_http_penstock_erp_replay(r, &claim->answer);

    case NGX_HTTP_PENSTOCK_ERP_IN_PROGRESS:
        return ngx_http_penstock_erp_refuse(r, NGX_HTTP_CONFLICT,
                   "idempotency-in-progress",
                   "A request with this Idempotency-Key is in progress.", 1);

    case NGX_HTTP_PENSTOCK_ERP_MISMATCH:
        return ngx_http_penstock_erp_refuse(r, 422,
                   "idempotency-key-reused",
                   "This Idempotency-Key was used with another request.", 0);

    case NGX_HTTP_PENSTOCK_ERP_UNKNOWN:

        left = 0;

        if (ctx->conf->reconcile) {

            /* the upstream may be asked again, and may know better then */

            left = claim->age < ctx->conf->reconcile_after
                   ? ctx->conf->reconcile_after - claim->age : 1000;
        }

        return ngx_http_penstock_erp_refuse(r, NGX_HTTP_CONFLICT,
                   "idempotency-unknown-outcome",
                   "Whether the request with this Idempotency-Key took effect "
                   "is unknown. It will not be sent again.",
                   (time_t) (left + 999) / 1000);

    default: /* NGX_HTTP_PENSTOCK_ERP_UNAVAILABLE */
        return ngx_http_penstock_erp_refuse(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                   "idempotency-unavailable",
                   "Idempotency keys can't be checked at the moment. The "
                   "request was not sent.", 1);
    }
}


ngx_int_t
ngx_http_penstock_erp_answer(ngx_http_penstock_erp_ctx_t *ctx)
{
    ngx_http_request_t            *r;
    ngx_http_penstock_exchange_t  *x;

    r = ctx->request;
    x = &ctx->exchange;

    if (ctx->claim && !ctx->claim->kept) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "the outcome of a request could not be kept for its "
                      "idempotency key, status %ui", x->status);
    }

    if (x->refused) {
        return ngx_http_penstock_exchange_answer(r, x);
    }

    if (x->unsent && !x->header && x->status >= NGX_HTTP_BAD_GATEWAY) {
        return ngx_http_penstock_erp_refuse(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                   "not-sent",
                   "The server could not be reached. The request was not "
                   "sent.", 1);
    }

    if (x->intercepted) {

        /* the page that "error_page" has for it */

        return ngx_http_penstock_exchange_answer(r, x);
    }

    if (!ctx->unsafe) {
        return ngx_http_penstock_erp_answer_read(ctx);
    }

    if (!x->header && x->status == NGX_HTTP_GATEWAY_TIME_OUT) {
        return ngx_http_penstock_erp_refuse(r, NGX_HTTP_GATEWAY_TIME_OUT,
                   "unknown-outcome",
                   "The server did not answer in time. Whether the request "
                   "took effect is unknown.", 0);
    }

    if ((!x->header && x->status >= NGX_HTTP_INTERNAL_SERVER_ERROR)
        || (x->header && !x->complete))
    {
        return ngx_http_penstock_erp_refuse(r, NGX_HTTP_BAD_GATEWAY,
                   "unknown-outcome",
                   "The server did not answer. Whether the request took "
                   "effect is unknown.", 0);
    }

    return ngx_http_penstock_exchange_answer(r, x);
}


/* of which half an answer is none: its length would be a lie */

static ngx_int_t
ngx_http_penstock_erp_answer_read(ngx_http_penstock_erp_ctx_t *ctx)
{
    ngx_http_request_t            *r;
    ngx_http_penstock_exchange_t  *x;

    r = ctx->request;
    x = &ctx->exchange;

    if (!x->header && x->status == NGX_HTTP_GATEWAY_TIME_OUT) {
        return ngx_http_penstock_erp_refuse(r, NGX_HTTP_GATEWAY_TIME_OUT,
                   "no-answer", "The server did not answer in time.", 1);
    }

    if ((!x->header && x->status >= NGX_HTTP_INTERNAL_SERVER_ERROR)
        || (x->header && !x->complete))
    {
        return ngx_http_penstock_erp_refuse(r, NGX_HTTP_BAD_GATEWAY,
                   "no-answer", "The server did not answer.", 1);
    }

    return ngx_http_penstock_exchange_answer(r, x);
}


ngx_int_t
ngx_http_penstock_erp_serialize(ngx_http_penstock_exchange_t *x,
    ngx_str_t *out)
{
    char                *p;
    size_t               len;
    ngx_str_t            type;
    ngx_uint_t           i, n;
    ngx_list_part_t     *part;
    ngx_table_elt_t     *h;
    ngx_http_request_t  *sr;

    static ngx_str_t     name = ngx_string("Content-Type");

    ngx_str_null(out);

    if (x->file || x->too_large || !x->header) {
        return NGX_OK;
    }

    sr = x->request;
    type = sr->headers_out.content_type;

    if (type.len && sr->headers_out.charset.len) {

        type.data = ngx_pnalloc(x->host->pool, type.len + sizeof("; charset=")
                                               + sr->headers_out.charset.len);
        if (type.data == NULL) {
            return NGX_ERROR;
        }

        type.len = ngx_sprintf(type.data, "%V; charset=%V",
                               &sr->headers_out.content_type,
                               &sr->headers_out.charset)
                   - type.data;
    }

    len = PS_IDEMPOTENCY_HEAD + x->answer.len;
    n = 0;

    if (type.len) {
        len += PS_IDEMPOTENCY_FIELD + name.len + type.len;
        n++;
    }

    for (part = &sr->headers_out.headers.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (h[i].hash && !ngx_http_penstock_erp_hop(&h[i].key)) {
                len += PS_IDEMPOTENCY_FIELD + h[i].key.len + h[i].value.len;
                n++;
            }
        }
    }

    /* too many fields or too large for a replay: done, not kept */

    if (n > PS_IDEMPOTENCY_FIELDS || len > 2 * NGX_HTTP_PENSTOCK_ERP_ANSWER) {
        return NGX_OK;
    }

    out->data = ngx_pnalloc(x->host->pool, len);
    if (out->data == NULL) {
        return NGX_ERROR;
    }

    p = ps_idempotency_head((char *) out->data, (unsigned) x->status,
                            (unsigned) n);

    if (type.len) {
        p = ps_idempotency_field(p, (char *) name.data, name.len,
                                 (char *) type.data, type.len);
    }

    for (part = &sr->headers_out.headers.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (h[i].hash && !ngx_http_penstock_erp_hop(&h[i].key)) {
                p = ps_idempotency_field(p, (char *) h[i].key.data,
                                         h[i].key.len,
                                         (char *) h[i].value.data,
                                         h[i].value.len);
            }
        }
    }

    p = (char *) ngx_cpymem(p, x->answer.data, x->answer.len);

    out->len = (u_char *) p - out->data;

    return NGX_OK;
}


/* fields of a connection, or made for each answer */

static ngx_uint_t
ngx_http_penstock_erp_hop(ngx_str_t *name)
{
    ngx_uint_t        i;

    static ngx_str_t  names[] = {
        ngx_string("Connection"),
        ngx_string("Keep-Alive"),
        ngx_string("Transfer-Encoding"),
        ngx_string("Content-Length"),
        ngx_string("Content-Type"),
        ngx_string("Date"),
        ngx_string("Server"),
        ngx_null_string
    };

    for (i = 0; names[i].len; i++) {
        if (name->len == names[i].len
            && ngx_strncasecmp(name->data, names[i].data, name->len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


ngx_int_t
ngx_http_penstock_erp_replay(ngx_http_request_t *r, ngx_str_t *answer)
{
    size_t                    nlen, vlen;
    ngx_buf_t                *b;
    ngx_str_t                 key, value;
    ngx_uint_t                i;
    ngx_chain_t               out;
    const char               *p, *name, *text;
    ps_idempotency_answer_t   kept;

    static ngx_str_t          marker = ngx_string("Idempotent-Replayed");
    static ngx_str_t          yes = ngx_string("true");

    if (answer->len == 0) {
        return ngx_http_penstock_erp_refuse(r, NGX_HTTP_CONFLICT,
                   "idempotency-answer-not-kept",
                   "The request with this Idempotency-Key was carried out; "
                   "its answer was too large to be kept.", 0);
    }

    if (ps_idempotency_answer(&kept, (char *) answer->data, answer->len)
        != 0)
    {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "what is kept for an idempotency key is no answer");

        return ngx_http_penstock_erp_refuse(r, NGX_HTTP_CONFLICT,
                   "idempotency-answer-not-kept",
                   "The request with this Idempotency-Key was carried out; "
                   "its answer can't be read.", 0);
    }

    r->headers_out.status = kept.status;
    r->headers_out.content_length_n = kept.body_len;

    p = kept.field;

    for (i = 0; i < kept.fields; i++) {
        ps_idempotency_next(&p, &name, &nlen, &text, &vlen);

        key.data = (u_char *) name;
        key.len = nlen;
        value.data = (u_char *) text;
        value.len = vlen;

        if (nlen == sizeof("Content-Type") - 1
            && ngx_strncasecmp(key.data, (u_char *) "Content-Type", nlen) == 0)
        {
            ngx_http_penstock_erp_content_type(r, &value);
            continue;
        }

        /* a Location is as it was: not to be made absolute once more */

        if (ngx_http_penstock_add_header(r, &key, &value) == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    if (ngx_http_penstock_add_header(r, &marker, &yes) == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (kept.body_len) {
        b->pos = (u_char *) kept.body;
        b->last = b->pos + kept.body_len;
        b->memory = 1;
    }

    b->last_buf = 1;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    /* If-Match and the like were the upstream's to judge */

    r->disable_not_modified = 1;

    return ngx_http_penstock_send(r, &out);
}


static void
ngx_http_penstock_erp_content_type(ngx_http_request_t *r, ngx_str_t *value)
{
    u_char  *p;

    r->headers_out.content_type = *value;

    p = ngx_strlchr(value->data, value->data + value->len, ';');

    r->headers_out.content_type_len = p ? (size_t) (p - value->data)
                                        : value->len;
    r->headers_out.content_type_lowcase = NULL;
}
