
/*
 * A request's idempotency key: what the client says, and what is made of it.
 */

#include "ngx_http_penstock_erp.h"


static ngx_int_t ngx_http_penstock_erp_key_field(ngx_http_request_t *r,
    ngx_str_t *value);
static ngx_int_t ngx_http_penstock_erp_digest(
    ngx_http_penstock_erp_claim_t *claim,
    ngx_http_penstock_erp_loc_conf_t *conf);
static ngx_int_t ngx_http_penstock_erp_uuid(
    ngx_http_penstock_erp_claim_t *claim);


ngx_int_t
ngx_http_penstock_erp_prepare(ngx_http_penstock_erp_ctx_t *ctx)
{
    char                               key[PS_IDEMPOTENCY_KEY_MAX];
    ngx_int_t                          rc;
    ngx_str_t                          value;
    ngx_pool_cleanup_t                *cln;
    ngx_http_request_t                *r;
    ngx_http_penstock_erp_claim_t     *claim;

    r = ctx->request;

    rc = ngx_http_penstock_erp_key_field(r, &value);

    if (rc == NGX_DECLINED) {

        if (!ctx->conf->required) {
            return NGX_DECLINED;
        }

        return ngx_http_penstock_erp_refuse(r, NGX_HTTP_BAD_REQUEST,
                   "idempotency-key-missing",
                   "This operation needs an Idempotency-Key.", 0);
    }

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_penstock_erp_claim_t));
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    claim = cln->data;
    ngx_memzero(claim, sizeof(ngx_http_penstock_erp_claim_t));
    cln->handler = ngx_http_penstock_erp_claim_cleanup;

    claim->request = r;
    claim->exchange = &ctx->exchange;
    claim->keys = ngx_http_penstock_zone_conf(ctx->conf->keys);
    claim->ttl = (ngx_msec_t) ctx->conf->ttl * 1000;
    claim->lease = ctx->conf->lease;

    if (rc == NGX_OK) {
        claim->text.len = ps_idempotency_key((char *) value.data, value.len,
                                             key);
    }

    if (claim->text.len == 0) {
        return ngx_http_penstock_erp_refuse(r, NGX_HTTP_BAD_REQUEST,
                   "idempotency-key-invalid",
                   "An Idempotency-Key is one string of 1 to 255 characters "
                   "in double quotes (RFC 8941).", 0);
    }

    claim->text.data = ngx_pnalloc(r->pool, claim->text.len);
    if (claim->text.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memcpy(claim->text.data, key, claim->text.len);

    rc = ngx_http_penstock_erp_digest(claim, ctx->conf);

    if (rc == NGX_OK) {
        rc = ngx_http_penstock_erp_uuid(claim);
    }

    if (rc == NGX_DECLINED) {
        return ngx_http_penstock_erp_refuse(r,
                   NGX_HTTP_REQUEST_ENTITY_TOO_LARGE, "",
                   "With an Idempotency-Key a body is limited to 16 MB.", 0);
    }

    if (rc != NGX_OK
        || ngx_http_penstock_random(claim->owner, NGX_HTTP_PENSTOCK_ERP_OWNER)
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->claim = claim;

    return NGX_OK;
}


/* NGX_DECLINED: none; NGX_ERROR: more than one */

static ngx_int_t
ngx_http_penstock_erp_key_field(ngx_http_request_t *r, ngx_str_t *value)
{
    ngx_int_t         rc;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    rc = NGX_DECLINED;

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (h[i].hash == 0
                || h[i].key.len != sizeof("Idempotency-Key") - 1
                || ngx_strncasecmp(h[i].key.data,
                                   (u_char *) "Idempotency-Key",
                                   sizeof("Idempotency-Key") - 1)
                   != 0)
            {
                continue;
            }

            if (rc == NGX_OK) {
                return NGX_ERROR;
            }

            *value = h[i].value;
            rc = NGX_OK;
        }
    }

    return rc;
}


/* lengths go along, so that no two different lists look the same */

static ngx_int_t
ngx_http_penstock_erp_digest(ngx_http_penstock_erp_claim_t *claim,
    ngx_http_penstock_erp_loc_conf_t *conf)
{
    u_char              *query, sizes[4 * sizeof(size_t)];
    ngx_int_t            rc;
    ngx_str_t            part[6], client, body;
    ngx_http_request_t  *r;

    r = claim->request;

    rc = ngx_http_penstock_body(r, NGX_HTTP_PENSTOCK_ERP_BODY, &body);
    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_http_penstock_erp_client(r, conf->scope, &client) != NGX_OK) {
        return NGX_ERROR;
    }

    part[1] = client;
    part[2] = r->method_name;
    part[4] = claim->text;

    /* as the client wrote it: to the ERP "a%2Fb" is not "a/b" */

    part[3] = r->unparsed_uri;
    query = ngx_strlchr(part[3].data, part[3].data + part[3].len, '?');

    if (query) {
        part[3].len = query - part[3].data;
    }

    ngx_memcpy(sizes, &client.len, sizeof(size_t));
    ngx_memcpy(sizes + sizeof(size_t), &r->method_name.len, sizeof(size_t));
    ngx_memcpy(sizes + 2 * sizeof(size_t), &part[3].len, sizeof(size_t));
    ngx_memcpy(sizes + 3 * sizeof(size_t), &claim->text.len, sizeof(size_t));

    part[0].data = sizes;
    part[0].len = sizeof(sizes);

    if (ngx_http_penstock_sha256(part, 5, claim->key) != NGX_OK) {
        return NGX_ERROR;
    }

    part[0].len = sizeof(size_t);
    ngx_memcpy(sizes, &r->args.len, sizeof(size_t));
    part[1] = r->args;
    part[2] = body;

    return ngx_http_penstock_sha256(part, 3, claim->print);
}


/*
 * What the upstream gets for a key: a UUID of version 8 (RFC 9562), of all
 * that makes the key's scope.  The keys of two clients may be equal, these
 * are not.
 */

static ngx_int_t
ngx_http_penstock_erp_uuid(ngx_http_penstock_erp_claim_t *claim)
{
    u_char      *p, uuid[16];
    ngx_uint_t   i;

    ngx_memcpy(uuid, claim->key, sizeof(uuid));

    uuid[6] = (u_char) ((uuid[6] & 0x0f) | 0x80);
    uuid[8] = (u_char) ((uuid[8] & 0x3f) | 0x80);

    p = ngx_pnalloc(claim->request->pool, 36);
    if (p == NULL) {
        return NGX_ERROR;
    }

    claim->id.data = p;
    claim->id.len = 36;

    for (i = 0; i < sizeof(uuid); i++) {

        if (i == 4 || i == 6 || i == 8 || i == 10) {
            *p++ = '-';
        }

        p = ngx_hex_dump(p, &uuid[i], 1);
    }

    return NGX_OK;
}
