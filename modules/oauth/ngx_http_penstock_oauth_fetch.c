
/*
 * Fetching key sets: by an exchange with an internal location, which tells
 * the issuer nothing of the client.  One at a time for all workers; a request
 * that needs the keys waits for it, a refresh keeps nobody waiting.
 */

#include "ngx_http_penstock_oauth.h"
#include "ps_cache_control.h"


/* a request leads or follows so many fetches, then it has its answer */

#define NGX_HTTP_PENSTOCK_OAUTH_FETCHES  3

/* between fetches while no keys are held at all, ms */

#define NGX_HTTP_PENSTOCK_OAUTH_RETRY    1000


static ngx_http_penstock_oauth_fetch_t *ngx_http_penstock_oauth_fetch_start(
    ngx_http_request_t *r, ngx_http_penstock_oauth_loc_conf_t *olcf,
    ngx_http_penstock_oauth_source_t *source, ngx_uint_t leads);
static ngx_int_t ngx_http_penstock_oauth_fetch_ask(
    ngx_http_penstock_oauth_fetch_t *fetch);
static void ngx_http_penstock_oauth_fetched(ngx_http_penstock_exchange_t *x);
static const char *ngx_http_penstock_oauth_fetch_check(
    ngx_http_penstock_exchange_t *x, char *error, size_t size);
static ngx_msec_t ngx_http_penstock_oauth_fetch_fresh(
    ngx_http_penstock_oauth_fetch_t *fetch);
static void ngx_http_penstock_oauth_fetch_cleanup(void *data);


static ngx_http_penstock_header_t  ngx_http_penstock_oauth_fetch_headers[] = {
    { ngx_string("Accept"),
      ngx_string("application/jwk-set+json, application/json") }
};


ngx_int_t
ngx_http_penstock_oauth_fetch(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf,
    ngx_http_penstock_oauth_state_t *state, ngx_uint_t issuer)
{
    ngx_int_t                         rc;
    ngx_uint_t                        i;
    ngx_msec_t                        interval;
    ngx_http_penstock_oauth_live_t   *live;
    ngx_http_penstock_oauth_trust_t  *trust;

    trust = olcf->trust;

    if (state->fetches == NGX_HTTP_PENSTOCK_OAUTH_FETCHES) {
        return NGX_DECLINED;
    }

    for (i = trust->first[issuer]; i < trust->first[issuer + 1]; i++) {
        live = trust->live[i];

        interval = (ngx_msec_t) olcf->key_refetch * 1000;

        if (live->set == NULL) {
            interval = ngx_min(interval, NGX_HTTP_PENSTOCK_OAUTH_RETRY);
        }

        rc = ngx_http_penstock_oauth_jwks_lead(live->source, interval, 0);

        if (rc == NGX_DECLINED) {

            /* a fetch of another worker ended after we looked at the keys */

            if (ngx_http_penstock_oauth_live_changed(live)) {
                state->fetches++;
                return NGX_AGAIN;
            }

            continue;
        }

        state->fetches++;
        state->fetch = ngx_http_penstock_oauth_fetch_start(r, olcf,
                                                           live->source,
                                                           rc == NGX_OK);

        return state->fetch ? NGX_AGAIN : NGX_ERROR;
    }

    return NGX_DECLINED;
}


ngx_int_t
ngx_http_penstock_oauth_fetch_wait(ngx_http_request_t *r,
    ngx_http_penstock_oauth_state_t *state)
{
    ngx_msec_t                         left;
    ngx_http_penstock_oauth_fetch_t   *fetch;

    fetch = state->fetch;
    left = fetch->deadline - ngx_current_msec;

    if ((ngx_msec_int_t) left <= 0) {

        /*
         * The fetch goes on, but this request has waited long enough.  nginx
         * would hold the next one on this connection until it ends.
         */

        if (fetch->leads) {
            r->keepalive = 0;
        }

        state->fetches = NGX_HTTP_PENSTOCK_OAUTH_FETCHES;

    } else if (ngx_http_penstock_oauth_jwks_ended(fetch->source)
               == fetch->ended)
    {
        if (fetch->leads) {
            return ngx_http_penstock_park(r, left, 0);
        }

        /* whoever led may have died: NGX_OK here takes over */

        if (ngx_http_penstock_oauth_jwks_lead(fetch->source, 0, 0)
            == NGX_AGAIN)
        {
            ngx_http_penstock_wait_join(&fetch->source->wait, &fetch->waiter,
                                        r);
            return ngx_http_penstock_park(r, left, 1);
        }

        ngx_http_penstock_wait_leave(&fetch->waiter);

        if (ngx_http_penstock_oauth_jwks_ended(fetch->source) != fetch->ended)
        {
            /* it has just ended: what it brought is not to be asked again */

            ngx_http_penstock_oauth_jwks_failed(fetch->source);

        } else {
            fetch->leads = 1;

            if (ngx_http_penstock_oauth_fetch_ask(fetch) == NGX_OK) {
                return ngx_http_penstock_park(r, left, 0);
            }
        }
    }

    ngx_http_penstock_wait_leave(&fetch->waiter);
    state->fetch = NULL;

    return NGX_OK;
}


ngx_int_t
ngx_http_penstock_oauth_refresh(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf)
{
    ngx_uint_t                         i;
    ngx_http_penstock_oauth_trust_t   *trust;
    ngx_http_penstock_oauth_source_t  *source;

    trust = olcf->trust;

    if (trust == NULL) {
        return NGX_OK;
    }

    for (i = 0; i < trust->nlive; i++) {
        source = trust->live[i]->source;

        if (!ngx_http_penstock_oauth_jwks_due(source)
            || ngx_http_penstock_oauth_jwks_lead(source,
                                  (ngx_msec_t) olcf->key_refetch * 1000, 1)
               != NGX_OK)
        {
            continue;
        }

        /* nginx would hold the next request until the fetch ends */

        r->keepalive = 0;

        if (ngx_http_penstock_oauth_fetch_start(r, olcf, source, 1) == NULL) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_http_penstock_oauth_fetch_t *
ngx_http_penstock_oauth_fetch_start(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf,
    ngx_http_penstock_oauth_source_t *source, ngx_uint_t leads)
{
    ngx_pool_cleanup_t               *cln;
    ngx_http_penstock_oauth_fetch_t  *fetch;

    cln = ngx_pool_cleanup_add(r->pool,
                               sizeof(ngx_http_penstock_oauth_fetch_t));
    if (cln == NULL) {
        if (leads) {
            ngx_http_penstock_oauth_jwks_failed(source);
        }

        return NULL;
    }

    fetch = cln->data;
    ngx_memzero(fetch, sizeof(ngx_http_penstock_oauth_fetch_t));

    cln->handler = ngx_http_penstock_oauth_fetch_cleanup;

    fetch->request = r;
    fetch->conf = olcf;
    fetch->source = source;
    fetch->ended = ngx_http_penstock_oauth_jwks_ended(source);
    fetch->deadline = ngx_current_msec + olcf->key_timeout;
    fetch->leads = leads;

    if (leads && ngx_http_penstock_oauth_fetch_ask(fetch) != NGX_OK) {
        return NULL;
    }

    return fetch;
}


static ngx_int_t
ngx_http_penstock_oauth_fetch_ask(ngx_http_penstock_oauth_fetch_t *fetch)
{
    ngx_http_penstock_exchange_t  *x;

    x = &fetch->exchange;

    x->host = fetch->request;
    x->handler = ngx_http_penstock_oauth_fetched;
    x->data = fetch;
    x->uri = fetch->source->uri;
    x->internal = 1;
    x->headers = ngx_http_penstock_oauth_fetch_headers;
    x->nheaders = sizeof(ngx_http_penstock_oauth_fetch_headers)
                  / sizeof(ngx_http_penstock_header_t);
    x->max_size = NGX_HTTP_PENSTOCK_OAUTH_JWKS_MAX;

    if (ngx_http_penstock_exchange_start(x) == NGX_OK) {
        return NGX_OK;
    }

    fetch->leads = 0;
    ngx_http_penstock_oauth_jwks_failed(fetch->source);

    return NGX_ERROR;
}


static void
ngx_http_penstock_oauth_fetched(ngx_http_penstock_exchange_t *x)
{
    char                                  error[256];
    u_char                                digest[NGX_HTTP_PENSTOCK_KEY_LEN];
    const char                           *wrong;
    ngx_http_penstock_oauth_fetch_t      *fetch;
    ngx_http_penstock_oauth_main_conf_t  *omcf;

    fetch = x->data;
    fetch->leads = 0;

    omcf = ngx_http_get_module_main_conf(fetch->request,
                                         ngx_http_penstock_oauth_module);

    wrong = ngx_http_penstock_oauth_fetch_check(x, error, sizeof(error));

    if (wrong == NULL
        && ngx_http_penstock_sha256(&x->answer, 1, digest) == NGX_OK)
    {
        ngx_http_penstock_count(omcf->fetched, 1);
        ngx_http_penstock_oauth_jwks_store(fetch->source, &x->answer, digest,
                                  ngx_http_penstock_oauth_fetch_fresh(fetch));

    } else {
        ngx_http_penstock_count(omcf->fetch_errors, 1);

        if (wrong) {
            ngx_log_error(NGX_LOG_ERR, fetch->request->connection->log, 0,
                          "key set of \"%V\" can't be used: %s, status %ui",
                          &fetch->source->uri, wrong, x->status);
        }

        ngx_http_penstock_oauth_jwks_failed(fetch->source);
    }

    ngx_http_penstock_wake(fetch->request);
}


/* NULL: it can be used.  Nothing of the answer's is in the text. */

static const char *
ngx_http_penstock_oauth_fetch_check(ngx_http_penstock_exchange_t *x,
    char *error, size_t size)
{
    ps_jwks_t  *set;

    if (x->too_large) {
        return "it is larger than 128 KB";
    }

    if (!x->complete) {
        return "it did not come whole";
    }

    if (x->status != NGX_HTTP_OK) {
        return "it was refused";
    }

    set = ps_jwks_parse(x->answer.data, x->answer.len, 0, 0, error, size);
    if (set == NULL) {
        return error;
    }

    ps_jwks_free(set);

    return NULL;
}


/* ms; the answer's own lifetime where that is shorter (RFC 9111, 5.2.2) */

static ngx_msec_t
ngx_http_penstock_oauth_fetch_fresh(ngx_http_penstock_oauth_fetch_t *fetch)
{
    int64_t              sec;
    ngx_uint_t           i;
    ngx_list_part_t     *part;
    ngx_table_elt_t     *h;
    ps_cache_control_t   cc;
    ngx_http_request_t  *sr;

    ps_cache_control_init(&cc);

    sr = fetch->exchange.request;

    part = fetch->exchange.upstream ? &sr->upstream->headers_in.headers.part
                                    : &sr->headers_out.headers.part;

    for ( /* void */ ; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (h[i].hash
                && h[i].key.len == sizeof("Cache-Control") - 1
                && ngx_strncasecmp(h[i].key.data, (u_char *) "Cache-Control",
                                   h[i].key.len)
                   == 0)
            {
                ps_cache_control_parse(&cc, (char *) h[i].value.data,
                                       h[i].value.len);
            }
        }
    }

    sec = fetch->conf->key_cache;

    if (cc.max_age != PS_CC_UNSET) {
        sec = ngx_min(sec, cc.max_age);
    }

    if (cc.no_store || cc.no_cache) {
        sec = 0;
    }

    /* the last quarter is for the refresh; a floor, as it has a price */

    sec = ngx_max(sec, (int64_t) fetch->conf->key_refetch);

    return (ngx_msec_t) sec * 750;
}


static void
ngx_http_penstock_oauth_fetch_cleanup(void *data)
{
    ngx_http_penstock_oauth_fetch_t *fetch = data;

    ngx_http_penstock_wait_leave(&fetch->waiter);

    if (fetch->leads) {
        ngx_http_penstock_oauth_jwks_failed(fetch->source);
    }
}
