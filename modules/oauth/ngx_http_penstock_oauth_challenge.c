
/*
 * What the client is told of a refusal (RFC 6750, 3; RFC 9449, 7.1; RFC 9728,
 * 5.1).  Nothing of the token goes into a reply.
 */

#include "ngx_http_penstock_oauth.h"

#include "ps_dpop.h"


static ngx_int_t ngx_http_penstock_oauth_challenge(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf,
    ngx_http_penstock_oauth_verdict_t *verdict, ngx_str_t *value);
static u_char *ngx_http_penstock_oauth_quote(u_char *p, ngx_str_t *text);


ngx_int_t
ngx_http_penstock_oauth_refuse(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf,
    ngx_http_penstock_oauth_state_t *state,
    ngx_http_penstock_oauth_verdict_t *verdict)
{
    ngx_str_t         value;
    ngx_table_elt_t  *h;

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0, "auth_jwt: %s",
                  verdict->error);

    if (verdict->result == NGX_HTTP_PENSTOCK_OAUTH_UNAVAILABLE) {

        if (ngx_http_penstock_retry_after(r, 1) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return ngx_http_penstock_refuse(r, verdict->status,
                                        verdict->description);
    }

    if (ngx_http_penstock_oauth_challenge(r, olcf, verdict, &value)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    h = state->challenge;

    if (h == NULL) {
        h = ngx_list_push(&r->headers_out.headers);
        if (h == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        ngx_str_set(&h->key, "WWW-Authenticate");

#if (nginx_version >= 1023000)
        h->next = r->headers_out.www_authenticate;
#endif

        state->challenge = h;

        /* with "satisfy any" nginx takes it back when others let it pass */

        r->headers_out.www_authenticate = h;
    }

    h->hash = 1;
    h->value = value;

    return ngx_http_penstock_refuse(r, verdict->status,
                                    verdict->description);
}


/*
 * RFC 6750, 3: the realm always, an error only if there were credentials,
 * and the scope that would have done with 403.
 */

static ngx_int_t
ngx_http_penstock_oauth_challenge(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf,
    ngx_http_penstock_oauth_verdict_t *verdict, ngx_str_t *value)
{
    u_char      *p;
    ngx_str_t    realm;
    ngx_uint_t   dpop;
    const char  *error;

    if (ngx_http_complex_value(r, olcf->realm, &realm) != NGX_OK) {
        return NGX_ERROR;
    }

    switch (verdict->result) {

    case NGX_HTTP_PENSTOCK_OAUTH_INVALID_REQUEST:
        error = "invalid_request";
        break;

    case NGX_HTTP_PENSTOCK_OAUTH_INVALID_TOKEN:
        error = "invalid_token";
        break;

    case NGX_HTTP_PENSTOCK_OAUTH_INSUFFICIENT_SCOPE:
        error = "insufficient_scope";
        break;

    case NGX_HTTP_PENSTOCK_OAUTH_INVALID_PROOF:
        error = "invalid_dpop_proof";
        break;

    case NGX_HTTP_PENSTOCK_OAUTH_USE_NONCE:
        error = "use_dpop_nonce";
        break;

    default:
        error = NULL;
    }

    /* what the client used, or what it may use */

    dpop = verdict->dpop
           || olcf->dpop == NGX_HTTP_PENSTOCK_OAUTH_REQUIRED;

    p = ngx_pnalloc(r->pool, sizeof("Bearer realm=\"\"") - 1 + 2 * realm.len
                             + sizeof(", error=\"insufficient_scope\"") - 1
                             + sizeof(", error_description=\"\"") - 1
                             + ngx_strlen(verdict->description)
                             + sizeof(", scope=\"\"") - 1 + olcf->scope.len
                             + sizeof(", DPoP algs=\"" PS_DPOP_ALGS "\"") - 1
                             + sizeof(", resource_metadata=\"\"") - 1
                             + (olcf->resource ? olcf->resource->url.len : 0));
    if (p == NULL) {
        return NGX_ERROR;
    }

    value->data = p;

    p = ngx_sprintf(p, "%s realm=\"", dpop ? "DPoP" : "Bearer");
    p = ngx_http_penstock_oauth_quote(p, &realm);
    *p++ = '"';

    if (error) {
        p = ngx_sprintf(p, ", error=\"%s\", error_description=\"%s\"", error,
                        verdict->description);
    }

    if (verdict->result == NGX_HTTP_PENSTOCK_OAUTH_INSUFFICIENT_SCOPE
        && olcf->scope.len)
    {
        p = ngx_sprintf(p, ", scope=\"%V\"", &olcf->scope);
    }

    if (olcf->resource) {
        p = ngx_sprintf(p, ", resource_metadata=\"%V\"",
                        &olcf->resource->url);
    }

    if (olcf->dpop) {
        p = ngx_sprintf(p, ",%s algs=\"" PS_DPOP_ALGS "\"",
                        dpop ? "" : " DPoP");
    }

    value->len = p - value->data;

    return NGX_OK;
}


/* a realm may come from a variable: nothing in it may end the string */

static u_char *
ngx_http_penstock_oauth_quote(u_char *p, ngx_str_t *text)
{
    u_char  *s, *last;

    last = text->data + text->len;

    for (s = text->data; s < last; s++) {

        if (*s < 0x20 || *s > 0x7e) {
            continue;
        }

        if (*s == '"' || *s == '\\') {
            *p++ = '\\';
        }

        *p++ = *s;
    }

    return p;
}
