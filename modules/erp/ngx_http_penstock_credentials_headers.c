
/*
 * What the ERP learns of who asks: the token, and the identity in headers that
 * no client can forge.
 */

#include "ngx_http_penstock_credentials.h"


static ngx_int_t ngx_http_penstock_credentials_forged(ngx_http_request_t *r,
    ngx_http_penstock_credentials_loc_conf_t *clcf, ngx_array_t *headers);
static ngx_uint_t ngx_http_penstock_credentials_like(ngx_str_t *name,
    ngx_str_t *other);


/* of the channel, not for the ERP */

static ngx_str_t  ngx_http_penstock_credentials_channel[] = {
    ngx_string("DPoP"),
    ngx_string("Cookie"),
    ngx_string("Proxy-Authorization"),
    ngx_string("Authorization"),
    ngx_null_string
};


ngx_int_t
ngx_http_penstock_credentials_headers(ngx_http_request_t *r,
    ngx_http_penstock_credentials_loc_conf_t *clcf, ngx_str_t *token,
    ngx_array_t *headers)
{
    ngx_str_t                    *name, value;
    ngx_uint_t                    i;
    ngx_http_penstock_header_t   *h;
    ngx_http_penstock_identity_t *identity;

    if ((clcf->identity || clcf->client)
        && ngx_http_penstock_credentials_forged(r, clcf, headers) != NGX_OK)
    {
        return NGX_ERROR;
    }

    for (name = ngx_http_penstock_credentials_channel;
         clcf->client && name->len;
         name++)
    {
        h = ngx_array_push(headers);
        if (h == NULL) {
            return NGX_ERROR;
        }

        h->name = *name;
        ngx_str_null(&h->value);
    }

    if (clcf->client) {
        h = ngx_array_push(headers);
        if (h == NULL) {
            return NGX_ERROR;
        }

        ngx_str_set(&h->name, "Authorization");
        h->value = *token;
    }

    /*
     * An auth_request comes before the token is verified: a map over claims
     * that was asked for there would stay empty for the request itself, too.
     */

    if (r != r->main && !clcf->own && !clcf->names) {
        return NGX_OK;
    }

    identity = clcf->identity ? clcf->identity->elts : NULL;

    for (i = 0; clcf->identity && i < clcf->identity->nelts; i++) {

        if (ngx_http_complex_value(r, &identity[i].value, &value) != NGX_OK) {
            return NGX_ERROR;
        }

        h = ngx_array_push(headers);
        if (h == NULL) {
            return NGX_ERROR;
        }

        h->name = identity[i].name;
        h->value = value;

        if (value.len == 0 || ngx_strlchr(value.data, value.data + value.len,
                                          LF)
            || ngx_strlchr(value.data, value.data + value.len, CR)
            || ngx_strlchr(value.data, value.data + value.len, '\0'))
        {
            ngx_str_null(&h->value);
        }
    }

    return NGX_OK;
}


/*
 * Servers read "X_Client" and "x-client" as one: whatever could be taken for
 * a header of ours, or for the channel's credentials, goes.
 */

static ngx_int_t
ngx_http_penstock_credentials_forged(ngx_http_request_t *r,
    ngx_http_penstock_credentials_loc_conf_t *clcf, ngx_array_t *headers)
{
    ngx_str_t                     *name;
    ngx_uint_t                     i, j, n, like;
    ngx_list_part_t               *part;
    ngx_table_elt_t               *in;
    ngx_http_penstock_header_t    *h;
    ngx_http_penstock_identity_t  *identity;

    identity = clcf->identity ? clcf->identity->elts : NULL;
    n = clcf->identity ? clcf->identity->nelts : 0;

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        in = part->elts;

        for (i = 0; i < part->nelts; i++) {
            like = 0;

            for (j = 0; j < n && !like; j++) {
                like = ngx_http_penstock_credentials_like(&in[i].key,
                                                          &identity[j].name);
            }

            for (name = ngx_http_penstock_credentials_channel;
                 clcf->client && name->len && !like;
                 name++)
            {
                like = ngx_http_penstock_credentials_like(&in[i].key, name);
            }

            if (!like) {
                continue;
            }

            h = ngx_array_push(headers);
            if (h == NULL) {
                return NGX_ERROR;
            }

            h->name = in[i].key;
            ngx_str_null(&h->value);
        }
    }

    return NGX_OK;
}


/* letters and digits count, whatever stands between */

static ngx_uint_t
ngx_http_penstock_credentials_like(ngx_str_t *name, ngx_str_t *other)
{
    u_char      a, b;
    ngx_uint_t  i;

    if (name->len != other->len) {
        return 0;
    }

    for (i = 0; i < name->len; i++) {
        a = ngx_tolower(name->data[i]);
        b = ngx_tolower(other->data[i]);

        if (a == b) {
            continue;
        }

        if (((a >= 'a' && a <= 'z') || (a >= '0' && a <= '9'))
            || ((b >= 'a' && b <= 'z') || (b >= '0' && b <= '9')))
        {
            return 0;
        }
    }

    return 1;
}
