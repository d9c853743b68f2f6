
/*
 * The ACCESS handler: where the token is and what it is worth here.
 */

#include "ngx_http_penstock_oauth.h"

#include "ps_bearer.h"
#include "ps_scope.h"


static ngx_int_t ngx_http_penstock_oauth_private(ngx_http_request_t *r,
    ngx_http_penstock_oauth_state_t *state);
static ngx_int_t ngx_http_penstock_oauth_wait(ngx_http_request_t *r,
    ngx_http_penstock_oauth_state_t *state);
static ngx_uint_t ngx_http_penstock_oauth_opaque(
    ngx_http_penstock_oauth_loc_conf_t *olcf, ngx_str_t *text);
static ngx_int_t ngx_http_penstock_oauth_evaluate(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf,
    ngx_http_penstock_oauth_state_t *state,
    ngx_http_penstock_oauth_verdict_t *verdict);
static ngx_int_t ngx_http_penstock_oauth_token(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf, ngx_str_t *text,
    ngx_http_penstock_oauth_verdict_t *verdict);
static void ngx_http_penstock_oauth_malformed(
    ngx_http_penstock_oauth_verdict_t *verdict);
static ngx_uint_t ngx_http_penstock_oauth_scoped(
    ngx_http_penstock_oauth_loc_conf_t *olcf, const ps_token_t *token);
static ngx_int_t ngx_http_penstock_oauth_required(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf, ngx_uint_t *status);


ngx_int_t
ngx_http_penstock_oauth_handler(ngx_http_request_t *r)
{
    ngx_int_t                             rc;
    ngx_uint_t                            again;
    ngx_http_penstock_oauth_state_t      *state;
    ngx_http_penstock_oauth_verdict_t     verdict;
    ngx_http_penstock_oauth_loc_conf_t   *olcf;
    ngx_http_penstock_oauth_main_conf_t  *omcf;

    if (r != r->main) {
        return NGX_DECLINED;
    }

    /* the document that tells where to get a token needs none */

    rc = ngx_http_penstock_oauth_resource(r);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    olcf = ngx_http_get_module_loc_conf(r, ngx_http_penstock_oauth_module);

    if (!olcf->enabled) {
        return NGX_DECLINED;
    }

    if (olcf->issuers == NULL && olcf->introspect == NULL) {

        /* only at server level: its locations must have keys */

        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "\"auth_jwt\" has no keys outside of the locations, "
                      "name them at server level");
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    state = ngx_http_penstock_get_state(r, NGX_HTTP_PENSTOCK_OAUTH);

    if (state == NULL) {
        state = ngx_pcalloc(r->pool, sizeof(ngx_http_penstock_oauth_state_t));
        if (state == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        if (ngx_http_penstock_set_state(r, NGX_HTTP_PENSTOCK_OAUTH, state)
            != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    rc = ngx_http_penstock_oauth_wait(r, state);

    if (rc != NGX_OK) {
        return rc;
    }

    /*
     * After an internal redirect all is judged again, since arguments, time
     * and requirements may be others; but the same verdict counts once.
     */

    again = (state->conf != NULL);

    for ( ;; ) {
        state->conf = olcf;
        state->token = NULL;
        state->error = "";

        verdict.result = NGX_HTTP_PENSTOCK_OAUTH_UNAVAILABLE;
        verdict.status = NGX_HTTP_SERVICE_UNAVAILABLE;
        verdict.error = "";
        verdict.description = "";
        verdict.dpop = 0;

        rc = ngx_http_penstock_oauth_evaluate(r, olcf, state, &verdict);

        if (rc != NGX_AGAIN) {
            break;
        }

        /* nothing was judged yet */

        state->conf = again ? olcf : NULL;

        rc = ngx_http_penstock_oauth_wait(r, state);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    if (rc == NGX_ERROR) {
        state->token = NULL;
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (!again || state->result != verdict.result) {
        state->result = verdict.result;
        omcf = ngx_http_get_module_main_conf(r,
                                             ngx_http_penstock_oauth_module);
        ngx_http_penstock_count(omcf->results[verdict.result], 1);
    }

    if (verdict.result == NGX_HTTP_PENSTOCK_OAUTH_ACCEPTED) {

        if (olcf->query
            && ngx_http_penstock_oauth_private(r, state) != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        /* keys are refreshed by whom they have served */

        return ngx_http_penstock_oauth_refresh(r, olcf) == NGX_OK
               ? NGX_OK : NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    state->token = NULL;
    state->error = verdict.error;

    return ngx_http_penstock_oauth_refuse(r, olcf, state, &verdict);
}


/* RFC 6750, 2.3: such a URI is itself a credential, so no cache may share */

static ngx_int_t
ngx_http_penstock_oauth_private(ngx_http_request_t *r,
    ngx_http_penstock_oauth_state_t *state)
{
    static ngx_str_t  name = ngx_string("Cache-Control");
    static ngx_str_t  value = ngx_string("private");

    if (state->query == NULL) {
        state->query = ngx_http_penstock_add_header(r, &name, &value);
    }

    return state->query ? NGX_OK : NGX_ERROR;
}


/* NGX_OK: there is nothing to wait for; or the request is parked */

static ngx_int_t
ngx_http_penstock_oauth_wait(ngx_http_request_t *r,
    ngx_http_penstock_oauth_state_t *state)
{
    ngx_int_t  rc;

    if (state->fetch) {
        rc = ngx_http_penstock_oauth_fetch_wait(r, state);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    rc = ngx_http_penstock_oauth_introspect_wait(r, state);

    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_penstock_oauth_revocation_wait(r, state);

    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_http_penstock_oauth_dpop_wait(r, state);
}


/* a compact JWS has two dots; b64token has others nowhere else */

static ngx_uint_t
ngx_http_penstock_oauth_opaque(ngx_http_penstock_oauth_loc_conf_t *olcf,
    ngx_str_t *text)
{
    u_char      *p, *last;
    ngx_uint_t   dots;

    if (olcf->introspect == NULL) {
        return 0;
    }

    if (olcf->issuers == NULL) {
        return 1;
    }

    last = text->data + text->len;
    dots = 0;

    for (p = text->data; p < last; p++) {
        dots += (*p == '.');
    }

    return dots != 2;
}


/* NGX_OK with the verdict, NGX_AGAIN: somebody is asked, NGX_ERROR */

static ngx_int_t
ngx_http_penstock_oauth_evaluate(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf,
    ngx_http_penstock_oauth_state_t *state,
    ngx_http_penstock_oauth_verdict_t *verdict)
{
    ngx_int_t       rc;
    ngx_str_t       text;
    ngx_uint_t      status, issuer;
    ps_jwt_error_e  error;

    rc = ngx_http_penstock_oauth_token(r, olcf, &text, verdict);

    if (rc != NGX_OK) {
        return rc == NGX_DECLINED ? NGX_OK : NGX_ERROR;
    }

    issuer = 0;

    if (ngx_http_penstock_oauth_opaque(olcf, &text)) {
        rc = ngx_http_penstock_oauth_introspect(r, olcf, state, &text,
                                                &state->token, &error);
        if (rc != NGX_OK) {
            return rc;
        }

    } else {

        if (ngx_http_penstock_oauth_trust_update(olcf) != NGX_OK) {
            return NGX_ERROR;
        }

        error = ngx_http_penstock_oauth_verify(r, olcf, &text, &state->token,
                                               &issuer);
    }

    if (error == PS_JWT_MEMORY) {
        return NGX_ERROR;
    }

    if (error == PS_JWT_KEY || error == PS_JWT_NO_KEYS) {
        rc = ngx_http_penstock_oauth_fetch(r, olcf, state, issuer);

        if (rc != NGX_DECLINED) {
            return rc;
        }
    }

    if (error == PS_JWT_OK && olcf->revocation) {
        rc = ngx_http_penstock_oauth_revocation(r, olcf, state, &error);

        if (rc != NGX_OK) {
            state->token = NULL;
            return rc;
        }
    }

    if (error == PS_JWT_NO_KEYS || error == PS_JWT_NO_INTROSPECTION
        || error == PS_JWT_NO_REVOCATION)
    {
        verdict->result = NGX_HTTP_PENSTOCK_OAUTH_UNAVAILABLE;
        verdict->status = NGX_HTTP_SERVICE_UNAVAILABLE;
        verdict->error = ps_jwt_error_log(error);
        verdict->description = ps_jwt_error_description(error);
        return NGX_OK;
    }

    if (error == PS_JWT_GRAMMAR) {
        ngx_http_penstock_oauth_malformed(verdict);
        return NGX_OK;
    }

    if (error != PS_JWT_OK) {
        verdict->result = NGX_HTTP_PENSTOCK_OAUTH_INVALID_TOKEN;
        verdict->status = NGX_HTTP_UNAUTHORIZED;
        verdict->error = ps_jwt_error_log(error);
        verdict->description = ps_jwt_error_description(error);
        return NGX_OK;
    }

    if (state->token->flags & PS_TOKEN_BOUND || verdict->dpop
        || olcf->mtls == NGX_HTTP_PENSTOCK_OAUTH_REQUIRED
        || olcf->dpop == NGX_HTTP_PENSTOCK_OAUTH_REQUIRED)
    {
        rc = ngx_http_penstock_oauth_possession(r, olcf, state, &text,
                                                verdict);

        if (rc == NGX_DECLINED) {
            return NGX_OK;
        }

        if (rc != NGX_OK) {
            state->token = NULL;
            return rc;
        }
    }

    if (!ngx_http_penstock_oauth_scoped(olcf, state->token)) {
        verdict->result = NGX_HTTP_PENSTOCK_OAUTH_INSUFFICIENT_SCOPE;
        verdict->status = NGX_HTTP_FORBIDDEN;
        verdict->error = "a required scope is missing";
        verdict->description = "The access token lacks a required scope";
        return NGX_OK;
    }

    /* its variables read the token, which is in the state by now */

    rc = ngx_http_penstock_oauth_required(r, olcf, &status);

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (rc == NGX_DECLINED) {
        verdict->result = status == NGX_HTTP_FORBIDDEN
                          ? NGX_HTTP_PENSTOCK_OAUTH_INSUFFICIENT_SCOPE
                          : NGX_HTTP_PENSTOCK_OAUTH_INVALID_TOKEN;
        verdict->status = status;
        verdict->error = ps_jwt_error_log(PS_JWT_REQUIRE);
        verdict->description = ps_jwt_error_description(PS_JWT_REQUIRE);
        return NGX_OK;
    }

    verdict->result = NGX_HTTP_PENSTOCK_OAUTH_ACCEPTED;

    return NGX_OK;
}


/* NGX_OK with the token, NGX_DECLINED with a verdict, NGX_ERROR */

static ngx_int_t
ngx_http_penstock_oauth_token(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf, ngx_str_t *text,
    ngx_http_penstock_oauth_verdict_t *verdict)
{
    size_t                      len;
    const u_char               *data;
    ps_bearer_e                 rc;
    ngx_table_elt_t            *h;
    ngx_http_variable_value_t  *vv;

    rc = PS_BEARER_NONE;
    data = NULL;
    len = 0;

    if (olcf->token != NGX_CONF_UNSET) {
        vv = ngx_http_get_flushed_variable(r, olcf->token);

        if (vv == NULL) {
            return NGX_ERROR;
        }

        if (!vv->not_found && vv->len) {
            data = vv->data;
            len = vv->len;
            rc = PS_BEARER_OK;
        }

    } else {
        /* nginx has refused a second such field with 400 */

        h = r->headers_in.authorization;

        if (h) {
            rc = ps_bearer_parse(h->value.data, h->value.len, &data, &len);

            if (rc == PS_BEARER_NONE && olcf->dpop) {
                rc = ps_bearer_parse_dpop(h->value.data, h->value.len, &data,
                                          &len);
                verdict->dpop = (rc != PS_BEARER_NONE);
            }
        }
    }

    switch (rc) {

    case PS_BEARER_OK:
        text->data = (u_char *) data;
        text->len = len;
        return NGX_OK;

    case PS_BEARER_NONE:
        verdict->result = NGX_HTTP_PENSTOCK_OAUTH_NO_TOKEN;
        verdict->status = NGX_HTTP_UNAUTHORIZED;
        verdict->error = "no token";
        verdict->description = "An access token is needed";
        return NGX_DECLINED;

    default:
        ngx_http_penstock_oauth_malformed(verdict);
        return NGX_DECLINED;
    }
}


static void
ngx_http_penstock_oauth_malformed(ngx_http_penstock_oauth_verdict_t *verdict)
{
    verdict->result = NGX_HTTP_PENSTOCK_OAUTH_INVALID_REQUEST;
    verdict->status = NGX_HTTP_BAD_REQUEST;
    verdict->error = ps_jwt_error_log(PS_JWT_GRAMMAR);
    verdict->description = ps_jwt_error_description(PS_JWT_GRAMMAR);
}


static ngx_uint_t
ngx_http_penstock_oauth_scoped(ngx_http_penstock_oauth_loc_conf_t *olcf,
    const ps_token_t *token)
{
    ngx_str_t        *scope;
    ngx_uint_t        i;
    ps_token_text_t   text;

    if (olcf->scopes == NULL) {
        return 1;
    }

    /* a list in an array is not what RFC 8693, 4.2 and RFC 9068 define */

    if (!(token->flags & PS_TOKEN_SCOPE)
        || !ps_token_find(token, PS_TOKEN_CLAIM, "scope", 5, &text))
    {
        return 0;
    }

    scope = olcf->scopes->elts;

    for (i = 0; i < olcf->scopes->nelts; i++) {
        if (!ps_scope_has(text.data, text.len, scope[i].data, scope[i].len)) {
            return 0;
        }
    }

    return 1;
}


static ngx_int_t
ngx_http_penstock_oauth_required(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf, ngx_uint_t *status)
{
    ngx_str_t                           value;
    ngx_uint_t                          i;
    ngx_http_penstock_oauth_require_t  *require;

    if (olcf->require == NULL) {
        return NGX_OK;
    }

    require = olcf->require->elts;

    for (i = 0; i < olcf->require->nelts; i++) {

        if (ngx_http_complex_value(r, &require[i].value, &value) != NGX_OK) {
            return NGX_ERROR;
        }

        if (value.len == 0 || (value.len == 1 && value.data[0] == '0')) {
            *status = require[i].status;
            return NGX_DECLINED;
        }
    }

    return NGX_OK;
}
