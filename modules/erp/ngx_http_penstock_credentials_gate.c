
/*
 * Exchanges get the gateway's token and the identity at a gate, before any
 * other, so that nothing is held while a token is on its way.  A token that
 * the ERP refuses is replaced and the request sent once more.
 */

#include "ngx_http_penstock_credentials.h"


static ngx_int_t ngx_http_penstock_credentials_enter(
    ngx_http_penstock_exchange_t *x, void **state);
static ngx_int_t ngx_http_penstock_credentials_answered(
    ngx_http_penstock_exchange_t *x, void **state);
static void ngx_http_penstock_credentials_leave(
    ngx_http_penstock_exchange_t *x, void **state);
static ngx_int_t ngx_http_penstock_credentials_early(
    ngx_http_penstock_exchange_t *x, void **state);


ngx_http_penstock_gate_t  ngx_http_penstock_credentials_gate = {
    ngx_http_penstock_credentials_enter,
    ngx_http_penstock_credentials_answered,
    ngx_http_penstock_credentials_leave,
    ngx_http_penstock_credentials_early
};


static ngx_int_t
ngx_http_penstock_credentials_enter(ngx_http_penstock_exchange_t *x,
    void **state)
{
    ngx_int_t                                  rc;
    ngx_str_t                                  token;
    ngx_http_request_t                        *r;
    ngx_http_penstock_bearer_t                *bearer;
    ngx_http_penstock_problem_t               *problem;
    ngx_http_penstock_credentials_loc_conf_t  *clcf;

    r = x->host;

    clcf = ngx_http_get_module_loc_conf(r,
                                        ngx_http_penstock_credentials_module);

    if (clcf->client == NULL && clcf->identity == NULL) {
        return NGX_OK;
    }

    ngx_str_null(&token);

    if (clcf->client) {
        bearer = *state;

        if (bearer == NULL) {
            bearer = ngx_pcalloc(r->pool, sizeof(ngx_http_penstock_bearer_t));
            if (bearer == NULL) {
                return NGX_ERROR;
            }

            bearer->client = clcf->client;
            bearer->waiter.exchange = x;

            *state = bearer;
        }

        rc = ngx_http_penstock_token(bearer, r, r->pool, &token);

        if (rc == NGX_DECLINED) {
            problem = ngx_pcalloc(r->pool,
                                  sizeof(ngx_http_penstock_problem_t));
            if (problem == NULL) {
                return NGX_ERROR;
            }

            problem->status = NGX_HTTP_SERVICE_UNAVAILABLE;
            ngx_str_set(&problem->detail,
                        "The gateway has no access to the server now.");

            x->problem = problem;
            x->retry_after = ngx_http_penstock_token_pause(clcf->client);

            return NGX_HTTP_SERVICE_UNAVAILABLE;
        }

        if (rc != NGX_OK) {
            return rc;
        }
    }

    if (x->add == NULL) {
        x->add = ngx_array_create(r->pool, 8,
                                  sizeof(ngx_http_penstock_header_t));
        if (x->add == NULL) {
            return NGX_ERROR;
        }
    }

    return ngx_http_penstock_credentials_headers(r, clcf, &token, x->add);
}


static ngx_int_t
ngx_http_penstock_credentials_answered(ngx_http_penstock_exchange_t *x,
    void **state)
{
    ngx_http_penstock_bearer_t *bearer = *state;

    /* 401: the ERP did nothing, so that even a write may go once more */

    if (bearer == NULL || !x->upstream || x->status != NGX_HTTP_UNAUTHORIZED)
    {
        return NGX_OK;
    }

    return ngx_http_penstock_token_rejected(bearer) == NGX_OK ? NGX_AGAIN
                                                              : NGX_OK;
}


static void
ngx_http_penstock_credentials_leave(ngx_http_penstock_exchange_t *x,
    void **state)
{
    ngx_http_penstock_bearer_t *bearer = *state;

    ngx_http_penstock_wait_leave(&bearer->waiter);
}


/* nothing is held while a token is on its way */

static ngx_int_t
ngx_http_penstock_credentials_early(ngx_http_penstock_exchange_t *x,
    void **state)
{
    ngx_http_penstock_credentials_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(x->host,
                                        ngx_http_penstock_credentials_module);

    return (clcf->client && !ngx_http_penstock_token_ready(clcf->client))
           ? NGX_DECLINED : NGX_OK;
}
