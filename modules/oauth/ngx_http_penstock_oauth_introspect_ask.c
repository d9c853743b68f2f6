
/*
 * The question about an opaque token (RFC 7662, 2) and its answer.
 */

#include "ngx_http_penstock_oauth_introspect.h"


#define NGX_HTTP_PENSTOCK_OAUTH_ANSWER_MAX  65536

/* after a failure that token is not asked for again so soon, ms */

#define NGX_HTTP_PENSTOCK_OAUTH_PAUSE       1000


static ngx_int_t ngx_http_penstock_oauth_form(ngx_http_request_t *r,
    ngx_str_t *text, ngx_str_t *body);
static void ngx_http_penstock_oauth_answered(ngx_http_penstock_exchange_t *x);
static ps_jwt_error_e ngx_http_penstock_oauth_active(
    ngx_http_penstock_oauth_ask_t *ask, json_t *claims);


static ps_token_buf_t  ngx_http_penstock_oauth_answer_buf;


static ngx_http_penstock_header_t  ngx_http_penstock_oauth_ask_headers[] = {
    { ngx_string("Accept"), ngx_string("application/json") }
};


ngx_int_t
ngx_http_penstock_oauth_ask(ngx_http_penstock_oauth_ask_t *ask)
{
    ngx_http_request_t                   *r;
    ngx_http_penstock_exchange_t         *x;
    ngx_http_penstock_oauth_main_conf_t  *omcf;

    r = ask->request;
    x = &ask->exchange;

    x->host = r;
    x->handler = ngx_http_penstock_oauth_answered;
    x->data = ask;
    x->uri = ask->conf->introspect->uri;
    x->internal = 1;
    x->replace_body = 1;
    x->headers = ngx_http_penstock_oauth_ask_headers;
    x->nheaders = sizeof(ngx_http_penstock_oauth_ask_headers)
                  / sizeof(ngx_http_penstock_header_t);
    x->max_size = NGX_HTTP_PENSTOCK_OAUTH_ANSWER_MAX;

    ngx_str_set(&x->content_type, "application/x-www-form-urlencoded");

    if (ngx_http_penstock_oauth_form(r, &ask->text, &x->body) == NGX_OK
        && ngx_http_penstock_exchange_start(x) == NGX_OK)
    {
        return NGX_OK;
    }

    omcf = ngx_http_get_module_main_conf(r, ngx_http_penstock_oauth_module);

    ask->leads = 0;
    ngx_http_penstock_oauth_call_end(omcf, ask->key,
                                     NGX_HTTP_PENSTOCK_OAUTH_FAILED, 0);

    return NGX_ERROR;
}


/* RFC 7662, 2.1; of a b64token only "+", "/" and "=" must be encoded */

static ngx_int_t
ngx_http_penstock_oauth_form(ngx_http_request_t *r, ngx_str_t *text,
    ngx_str_t *body)
{
    u_char      *p;
    ngx_uint_t   i;

    p = ngx_pnalloc(r->pool, sizeof("token=&token_type_hint=access_token") - 1
                             + 3 * text->len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    body->data = p;

    p = ngx_cpymem(p, "token=", sizeof("token=") - 1);

    for (i = 0; i < text->len; i++) {

        switch (text->data[i]) {

        case '+':
            p = ngx_cpymem(p, "%2B", 3);
            break;

        case '/':
            p = ngx_cpymem(p, "%2F", 3);
            break;

        case '=':
            p = ngx_cpymem(p, "%3D", 3);
            break;

        default:
            *p++ = text->data[i];
        }
    }

    p = ngx_cpymem(p, "&token_type_hint=access_token",
                   sizeof("&token_type_hint=access_token") - 1);

    body->len = p - body->data;

    return NGX_OK;
}


static void
ngx_http_penstock_oauth_answered(ngx_http_penstock_exchange_t *x)
{
    ngx_http_penstock_oauth_ask_t        *ask;
    ngx_http_penstock_oauth_main_conf_t  *omcf;

    ask = x->data;
    ask->leads = 0;

    omcf = ngx_http_get_module_main_conf(ask->request,
                                         ngx_http_penstock_oauth_module);

    ask->error = PS_JWT_NO_INTROSPECTION;
    ask->answered = 1;

    if (x->complete && !x->too_large && x->status == NGX_HTTP_OK) {
        ask->error = ngx_http_penstock_oauth_read_answer(ask, &x->answer);
    }

    switch (ask->error) {

    case PS_JWT_OK:
        ngx_http_penstock_count(omcf->active, 1);
        ngx_http_penstock_oauth_store_write(ask, &x->answer);
        ngx_http_penstock_oauth_ask_active(ask);
        break;

    case PS_JWT_INACTIVE:
    case PS_JWT_CLAIM:
        ngx_http_penstock_count(omcf->inactive, 1);
        ngx_http_penstock_oauth_call_end(omcf, ask->key,
                       NGX_HTTP_PENSTOCK_OAUTH_INACTIVE,
                       (ngx_msec_t) ask->conf->introspect->negative * 1000);
        break;

    default:
        ngx_http_penstock_count(omcf->ask_errors, 1);
        ngx_log_error(NGX_LOG_ERR, ask->request->connection->log, 0,
                      "\"%V\" did not tell about a token: status %ui%s",
                      &ask->conf->introspect->uri, x->status,
                      x->status == NGX_HTTP_OK ? ", but no JSON object" : "");
        ngx_http_penstock_oauth_call_end(omcf, ask->key,
                                         NGX_HTTP_PENSTOCK_OAUTH_FAILED,
                                         NGX_HTTP_PENSTOCK_OAUTH_PAUSE);
    }

    ngx_http_penstock_wake(ask->request);
}


void
ngx_http_penstock_oauth_ask_active(ngx_http_penstock_oauth_ask_t *ask)
{
    ngx_http_penstock_oauth_main_conf_t  *omcf;

    omcf = ngx_http_get_module_main_conf(ask->request,
                                         ngx_http_penstock_oauth_module);

    ngx_http_penstock_oauth_keep(omcf, ask->key, ask->token);
    ngx_http_penstock_oauth_call_end(omcf, ask->key,
                                     NGX_HTTP_PENSTOCK_OAUTH_ASKED, 0);
}


/* RFC 7662, 2.2: active is true, or it is not active */

ps_jwt_error_e
ngx_http_penstock_oauth_read_answer(ngx_http_penstock_oauth_ask_t *ask,
    ngx_str_t *answer)
{
    json_t          *claims;
    ps_jwt_error_e   error;

    claims = json_loadb((char *) answer->data, answer->len,
                        JSON_REJECT_DUPLICATES, NULL);

    if (!json_is_object(claims)) {
        error = PS_JWT_NO_INTROSPECTION;

    } else if (!json_is_true(json_object_get(claims, "active"))) {
        error = PS_JWT_INACTIVE;

    } else {
        error = ngx_http_penstock_oauth_active(ask, claims);
    }

    json_decref(claims);

    return error;
}


static ps_jwt_error_e
ngx_http_penstock_oauth_active(ngx_http_penstock_oauth_ask_t *ask,
    json_t *claims)
{
    ps_jws_t           jws;
    ps_token_t        *copy;
    ps_jwt_error_e     error;
    const ps_token_t  *built;

    ngx_memzero(&jws, sizeof(ps_jws_t));

    jws.header = json_object();
    if (jws.header == NULL) {
        return PS_JWT_NO_INTROSPECTION;
    }

    error = ps_token_build(&ngx_http_penstock_oauth_answer_buf, &jws, claims,
                           &built);
    json_decref(jws.header);

    if (error != PS_JWT_OK) {
        return error == PS_JWT_MEMORY ? PS_JWT_NO_INTROSPECTION : error;
    }

    copy = ngx_palloc(ask->request->pool, built->size);
    if (copy == NULL) {
        return PS_JWT_NO_INTROSPECTION;
    }

    ngx_memcpy(copy, built, built->size);

    /* what was said counts for a while, and never past "exp" */

    copy->until = (double) ngx_time()
                  + (double) ask->conf->introspect->cache;

    if (copy->flags & PS_TOKEN_EXP) {
        copy->until = ngx_min(copy->until, copy->exp);
    }

    ask->token = copy;

    return PS_JWT_OK;
}
