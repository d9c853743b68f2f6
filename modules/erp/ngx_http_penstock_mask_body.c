
/*
 * The body of an answer, and what is taken out of it.
 */

#include "ngx_http_penstock_mask.h"


#define NGX_HTTP_PENSTOCK_MASK_BLOCK  4096

/* nodes of the tape that a worker keeps from request to request */

#define NGX_HTTP_PENSTOCK_MASK_KEEP   65536


static ngx_uint_t ngx_http_penstock_mask_active(ngx_http_request_t *r,
    ngx_http_penstock_mask_rule_t *rule);
static ngx_int_t ngx_http_penstock_mask_write(ngx_http_request_t *r,
    ngx_http_penstock_mask_ctx_t *ctx, size_t found);


static ps_json_tape_t  ngx_http_penstock_mask_tape;


static ngx_uint_t
ngx_http_penstock_mask_active(ngx_http_request_t *r,
    ngx_http_penstock_mask_rule_t *rule)
{
    ngx_str_t  value;

    if (rule->unless == NULL
        || ngx_http_complex_value(r, rule->unless, &value) != NGX_OK)
    {
        return 1;
    }

    return value.len == 0 || (value.len == 1 && value.data[0] == '0');
}


ngx_uint_t
ngx_http_penstock_mask_any(ngx_http_request_t *r,
    ngx_http_penstock_mask_loc_conf_t *mlcf)
{
    ngx_uint_t                      i;
    ngx_http_penstock_mask_rule_t  *rule;

    rule = mlcf->rules->elts;

    for (i = 0; i < mlcf->rules->nelts; i++) {
        if (ngx_http_penstock_mask_active(r, &rule[i])) {
            return 1;
        }
    }

    return 0;
}


ngx_int_t
ngx_http_penstock_mask_append(ngx_http_request_t *r,
    ngx_http_penstock_mask_ctx_t *ctx, u_char *p, size_t len)
{
    size_t      size, had;
    ngx_buf_t  *b;

    b = ctx->body;
    had = b ? b->last - b->pos : 0;

    if (b == NULL || (size_t) (b->end - b->last) < len) {

        size = ngx_max(2 * had, had + len);
        size = ngx_max(size, NGX_HTTP_PENSTOCK_MASK_BLOCK);

        b = ngx_create_temp_buf(r->pool, size);
        if (b == NULL) {
            return NGX_ERROR;
        }

        if (ctx->body) {
            b->last = ngx_cpymem(b->last, ctx->body->pos, had);
            (void) ngx_pfree(r->pool, ctx->body->start);
        }

        ctx->body = b;
    }

    b->last = ngx_cpymem(b->last, p, len);

    return NGX_OK;
}


ngx_int_t
ngx_http_penstock_mask_apply(ngx_http_request_t *r,
    ngx_http_penstock_mask_ctx_t *ctx, const char **reason)
{
    size_t                               found;
    ngx_int_t                            rc;
    ngx_buf_t                           *b;
    ngx_uint_t                           i;
    ps_json_rc_e                         error;
    ps_json_tape_t                      *tape;
    ngx_http_penstock_mask_rule_t       *rule;
    ngx_http_penstock_mask_main_conf_t  *mmcf;

    b = ctx->body;
    tape = &ngx_http_penstock_mask_tape;

    error = b ? ps_json_tape_read(tape, (char *) b->pos, b->last - b->pos,
                                  PS_JSON_TAPE_MAX_DEPTH, 0)
              : PS_JSON_TRUNCATED;

    if (error != PS_JSON_OK) {
        ps_json_tape_trim(tape, NGX_HTTP_PENSTOCK_MASK_KEEP);
        *reason = ps_json_tape_error(error);

        return NGX_DECLINED;
    }

    rule = ctx->conf->rules->elts;
    found = 0;

    for (i = 0; i < ctx->conf->rules->nelts; i++) {
        if (ngx_http_penstock_mask_active(r, &rule[i])) {
            found += ps_mask_mark(tape, &rule[i].rule);
        }
    }

    rc = found ? ngx_http_penstock_mask_write(r, ctx, found) : NGX_OK;

    ps_json_tape_trim(tape, NGX_HTTP_PENSTOCK_MASK_KEEP);

    if (rc == NGX_OK && found) {
        mmcf = ngx_http_get_module_main_conf(r,
                                             ngx_http_penstock_mask_module);
        ngx_http_penstock_count(mmcf->masked, 1);
    }

    return rc;
}


static ngx_int_t
ngx_http_penstock_mask_write(ngx_http_request_t *r,
    ngx_http_penstock_mask_ctx_t *ctx, size_t found)
{
    size_t           longest;
    ngx_buf_t       *b;
    ngx_uint_t       i;
    ps_mask_text_t  *mask;

    longest = 0;
    mask = ctx->conf->masks->elts;

    for (i = 0; i < ctx->conf->masks->nelts; i++) {
        longest = ngx_max(longest, mask[i].len);
    }

    b = ngx_create_temp_buf(r->pool, (ctx->body->last - ctx->body->pos)
                                     + found * longest + sizeof("null") - 1);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->last += ps_mask_write(&ngx_http_penstock_mask_tape, mask,
                             (char *) b->pos);

    (void) ngx_pfree(r->pool, ctx->body->start);
    ctx->body = b;

    return NGX_OK;
}


/* a masked answer is another one: nothing may take it for the server's */

void
ngx_http_penstock_mask_clear(ngx_http_request_t *r)
{
    ngx_str_t        *name;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    /* digests of what the server sent (RFC 9530) */

    static ngx_str_t  digests[] = {
        ngx_string("Content-MD5"),
        ngx_string("Digest"),
        ngx_string("Content-Digest"),
        ngx_string("Repr-Digest"),
        ngx_null_string
    };

    ngx_http_clear_etag(r);
    ngx_http_clear_last_modified(r);
    ngx_http_clear_accept_ranges(r);

    r->headers_out.last_modified_time = -1;

    for (part = &r->headers_out.headers.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            for (name = digests; name->len; name++) {
                if (h[i].key.len == name->len
                    && ngx_strncasecmp(h[i].key.data, name->data, name->len)
                       == 0)
                {
                    h[i].hash = 0;
                }
            }
        }
    }
}
