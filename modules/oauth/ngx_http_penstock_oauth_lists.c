
/*
 * Lists in parameters of directives, with commas between.
 */

#include "ngx_http_penstock_oauth.h"


char *
ngx_http_penstock_oauth_algorithms(ngx_conf_t *cf, ngx_str_t *list,
    unsigned *algorithms)
{
    u_char        *p, *last, *next;
    unsigned       secret;
    ngx_str_t      name;
    ps_jwt_alg_e   alg;

    p = list->data;
    last = list->data + list->len;

    for ( ;; ) {
        next = ngx_strlchr(p, last, ',');

        name.data = p;
        name.len = (next ? next : last) - p;

        alg = ps_jwt_alg((char *) name.data, name.len);

        if (alg == PS_ALG_UNKNOWN) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "unknown algorithm \"%V\", use a list of "
                               "RS256 RS384 RS512 PS256 PS384 PS512 ES256 "
                               "ES384 ES512 EdDSA Ed25519 Ed448 with commas "
                               "between, or HS256 HS384 HS512", &name);
            return NGX_CONF_ERROR;
        }

        *algorithms |= ps_alg_bit(alg);

        if (next == NULL) {
            break;
        }

        p = next + 1;
    }

    secret = ps_alg_bit(PS_ALG_HS256) | ps_alg_bit(PS_ALG_HS384)
             | ps_alg_bit(PS_ALG_HS512);

    if (*algorithms & secret && *algorithms & ~secret) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "algorithms \"%V\" mix secrets (HS*) and public "
                           "keys, which no issuer needs: keep one kind",
                           list);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_penstock_oauth_audience(ngx_conf_t *cf, ngx_str_t *list,
    ps_token_rules_t *rules)
{
    u_char           *p, *last, *next;
    ngx_uint_t        n;
    ps_token_text_t  *audience;

    last = list->data + list->len;
    n = 1;

    for (p = list->data; p < last; p++) {
        n += (*p == ',');
    }

    audience = ngx_palloc(cf->pool, n * sizeof(ps_token_text_t));
    if (audience == NULL) {
        return NGX_CONF_ERROR;
    }

    p = list->data;

    for (n = 0; /* void */ ; n++) {
        next = ngx_strlchr(p, last, ',');

        audience[n].data = p;
        audience[n].len = (next ? next : last) - p;

        if (audience[n].len == 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "an audience in \"%V\" is empty, name those "
                               "that tokens for this resource have in "
                               "\"aud\", with commas between", list);
            return NGX_CONF_ERROR;
        }

        if (next == NULL) {
            break;
        }

        p = next + 1;
    }

    rules->audience = audience;
    rules->naudience = n + 1;

    return NGX_CONF_OK;
}
