
/*
 * The question at the token endpoint (RFC 6749, section 4.4), by an exchange
 * with an internal location.  What holds a secret is wiped when it is over.
 */

#include "ngx_http_penstock_credentials.h"


#define NGX_HTTP_PENSTOCK_GRANT_MAX  65536

/* of an assertion, s */

#define NGX_HTTP_PENSTOCK_ASSERTION_LIFE  60


typedef struct {
    ngx_http_penstock_client_t     *client;
    ngx_http_penstock_exchange_t    exchange;
    ngx_http_penstock_header_t      headers[2];
    unsigned                        asking:1;
} ngx_http_penstock_ask_t;


static ngx_int_t ngx_http_penstock_ask_body(ngx_http_penstock_ask_t *ask,
    ngx_pool_t *pool);
static char *ngx_http_penstock_ask_assertion(
    ngx_http_penstock_client_t *client, ngx_pool_t *pool);
static ngx_int_t ngx_http_penstock_ask_basic(ngx_http_penstock_ask_t *ask,
    ngx_pool_t *pool);
static void ngx_http_penstock_ask_answered(ngx_http_penstock_exchange_t *x);
static void ngx_http_penstock_ask_cleanup(void *data);
static void ngx_http_penstock_ask_wipe(ngx_http_penstock_ask_t *ask);


ngx_int_t
ngx_http_penstock_token_ask(ngx_http_penstock_client_t *client,
    ngx_http_request_t *host)
{
    ngx_pool_cleanup_t            *cln;
    ngx_http_penstock_ask_t       *ask;
    ngx_http_penstock_exchange_t  *x;

    cln = ngx_pool_cleanup_add(host->pool, sizeof(ngx_http_penstock_ask_t));
    if (cln == NULL) {
        ngx_http_penstock_token_failed(client, 0);
        return NGX_ERROR;
    }

    ask = cln->data;
    ngx_memzero(ask, sizeof(ngx_http_penstock_ask_t));

    cln->handler = ngx_http_penstock_ask_cleanup;

    ask->client = client;
    ask->asking = 1;

    x = &ask->exchange;

    x->host = host;
    x->handler = ngx_http_penstock_ask_answered;
    x->data = ask;
    x->uri = client->endpoint;
    x->internal = 1;
    x->replace_body = 1;
    x->max_size = NGX_HTTP_PENSTOCK_GRANT_MAX;
    x->headers = ask->headers;

    ngx_str_set(&x->content_type, "application/x-www-form-urlencoded");

    ngx_str_set(&ask->headers[0].name, "Accept");
    ngx_str_set(&ask->headers[0].value, "application/json");
    x->nheaders = 1;

    if (ngx_http_penstock_ask_body(ask, host->pool) == NGX_OK
        && ngx_http_penstock_exchange_start(x) == NGX_OK)
    {
        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_ERR, host->connection->log, 0,
                  "the token endpoint of oauth_client \"%V\" could not be "
                  "asked", &client->name);

    ask->asking = 0;
    ngx_http_penstock_ask_wipe(ask);
    ngx_http_penstock_token_failed(client, 1);

    return NGX_ERROR;
}


static ngx_int_t
ngx_http_penstock_ask_body(ngx_http_penstock_ask_t *ask, ngx_pool_t *pool)
{
    char                        *p, *start, *assertion;
    size_t                       size;
    ngx_http_penstock_client_t  *client;

    client = ask->client;
    assertion = NULL;

    size = 512 + 3 * (client->scope.len + client->audience.len
                      + client->resource.len + client->id.len);

    if (client->auth == NGX_HTTP_PENSTOCK_PRIVATE_KEY) {
        assertion = ngx_http_penstock_ask_assertion(client, pool);
        if (assertion == NULL) {
            return NGX_ERROR;
        }

        size += ngx_strlen(assertion);

    } else if (client->auth == NGX_HTTP_PENSTOCK_SECRET_POST) {
        size += 3 * client->secret.len;

    } else if (ngx_http_penstock_ask_basic(ask, pool) != NGX_OK) {
        return NGX_ERROR;
    }

    start = ngx_pnalloc(pool, size);

    if (start) {
        p = start;

        ps_grant_add(&p, start, "grant_type", "client_credentials",
                    sizeof("client_credentials") - 1);

        if (client->scope.len) {
            ps_grant_add(&p, start, "scope", (char *) client->scope.data,
                        client->scope.len);
        }

        if (client->audience.len) {
            ps_grant_add(&p, start, "audience",
                        (char *) client->audience.data,
                        client->audience.len);
        }

        if (client->resource.len) {
            ps_grant_add(&p, start, "resource",
                        (char *) client->resource.data,
                        client->resource.len);
        }

        if (client->auth != NGX_HTTP_PENSTOCK_SECRET_BASIC) {
            ps_grant_add(&p, start, "client_id", (char *) client->id.data,
                        client->id.len);
        }

        if (client->auth == NGX_HTTP_PENSTOCK_SECRET_POST) {
            ps_grant_add(&p, start, "client_secret",
                        (char *) client->secret.data, client->secret.len);
        }

        if (assertion) {
            ps_grant_add(&p, start, "client_assertion_type",
                        "urn:ietf:params:oauth:client-assertion-type:"
                        "jwt-bearer",
                        sizeof("urn:ietf:params:oauth:client-assertion-type:"
                               "jwt-bearer") - 1);
            ps_grant_add(&p, start, "client_assertion", assertion,
                        ngx_strlen(assertion));
        }

        ask->exchange.body.data = (u_char *) start;
        ask->exchange.body.len = p - start;
    }

    free(assertion);

    return start ? NGX_OK : NGX_ERROR;
}


static char *
ngx_http_penstock_ask_assertion(ngx_http_penstock_client_t *client,
    ngx_pool_t *pool)
{
    char            *text[3];
    u_char           id[33], random[16];
    ngx_str_t       *from[3];
    ngx_uint_t       i;
    ps_assertion_t   a;

    if (ngx_http_penstock_random(random, sizeof(random)) != NGX_OK) {
        return NULL;
    }

    *ngx_hex_dump(id, random, sizeof(random)) = '\0';

    from[0] = &client->id;
    from[1] = &client->assertion_audience;
    from[2] = &client->key_id;

    for (i = 0; i < 3; i++) {
        text[i] = ngx_pnalloc(pool, from[i]->len + 1);
        if (text[i] == NULL) {
            return NULL;
        }

        *ngx_cpymem(text[i], from[i]->data, from[i]->len) = '\0';
    }

    a.alg = (ps_assertion_alg_e) client->alg;
    a.key = (char *) client->secret.data;
    a.key_len = client->secret.len;
    a.client = text[0];
    a.audience = text[1];
    a.key_id = client->key_id.len ? text[2] : NULL;
    a.id = (char *) id;
    a.now = ngx_time();
    a.lifetime = NGX_HTTP_PENSTOCK_ASSERTION_LIFE;

    return ps_assertion_sign(&a);
}


static ngx_int_t
ngx_http_penstock_ask_basic(ngx_http_penstock_ask_t *ask, ngx_pool_t *pool)
{
    size_t                       n;
    ngx_str_t                    plain, value;
    ngx_http_penstock_client_t  *client;

    client = ask->client;

    plain.data = ngx_pnalloc(pool, 3 * (client->id.len + client->secret.len)
                                   + 1);
    if (plain.data == NULL) {
        return NGX_ERROR;
    }

    n = ps_grant_encode((char *) plain.data, (char *) client->id.data,
                       client->id.len);
    plain.data[n++] = ':';
    n += ps_grant_encode((char *) plain.data + n,
                        (char *) client->secret.data, client->secret.len);
    plain.len = n;

    value.data = ngx_pnalloc(pool, sizeof("Basic ") - 1
                                   + ngx_base64_encoded_length(n));

    if (value.data) {
        ngx_str_set(&ask->headers[1].name, "Authorization");
        ask->headers[1].value.data = value.data;

        value.data = ngx_cpymem(value.data, "Basic ", sizeof("Basic ") - 1);
        ngx_encode_base64(&value, &plain);

        ask->headers[1].value.len = sizeof("Basic ") - 1 + value.len;
        ask->exchange.nheaders = 2;
    }

    ngx_explicit_memzero(plain.data, plain.len);

    return value.data ? NGX_OK : NGX_ERROR;
}


static void
ngx_http_penstock_ask_answered(ngx_http_penstock_exchange_t *x)
{
    size_t                       len;
    int64_t                      seconds;
    const char                  *wrong;
    ngx_http_penstock_ask_t     *ask;
    ngx_http_penstock_client_t  *client;

    static char                  token[NGX_HTTP_PENSTOCK_TOKEN_MAX];

    ask = x->data;
    client = ask->client;

    ask->asking = 0;

    len = sizeof(token);
    seconds = -1;

    if (x->too_large) {
        wrong = "it is larger than 64 KB";

    } else if (!x->complete) {
        wrong = "it did not come whole";

    } else if (x->status != NGX_HTTP_OK) {
        wrong = "no token was given";

    } else {
        wrong = ps_grant_read((char *) x->answer.data, x->answer.len, token,
                              &len, &seconds);

        if (wrong == NULL && seconds == 0) {
            wrong = "its token has ended already";
        }
    }

    if (wrong == NULL) {
        ngx_http_penstock_token_store(client, (u_char *) token, len, seconds);

    } else {
        ngx_http_penstock_count(client->failed, 1);

        ngx_log_error(NGX_LOG_ERR, x->host->connection->log, 0,
                      "the answer of \"%V\" to oauth_client \"%V\" can't be "
                      "used: %s, status %ui", &client->endpoint,
                      &client->name, wrong, x->status);

        ngx_http_penstock_token_failed(client, 1);
    }

    ngx_explicit_memzero(token, sizeof(token));
    ngx_http_penstock_ask_wipe(ask);
}


/* the request has ended in the middle: others take over */

static void
ngx_http_penstock_ask_cleanup(void *data)
{
    ngx_http_penstock_ask_t *ask = data;

    if (ask->asking) {
        ngx_http_penstock_ask_wipe(ask);
        ngx_http_penstock_token_failed(ask->client, 0);
    }
}


static void
ngx_http_penstock_ask_wipe(ngx_http_penstock_ask_t *ask)
{
    ngx_http_penstock_exchange_t  *x;

    x = &ask->exchange;

    if (x->body.len) {
        ngx_explicit_memzero(x->body.data, x->body.len);
    }

    if (x->nheaders == 2) {
        ngx_explicit_memzero(ask->headers[1].value.data,
                             ask->headers[1].value.len);
    }

    if (x->answer.len) {
        ngx_explicit_memzero(x->answer.data, x->answer.len);
    }
}
