
/*
 * Opaque tokens (RFC 7662): the authorization server is asked by an exchange
 * with an internal location, once for each token and host at a time.
 *
 * What it said of active tokens is kept among the verified ones.  A zone of
 * its own holds what is short-lived and what strangers can fill: which
 * tokens are asked for at the moment, which are not active, and for which
 * there was no answer.
 */

#include "ngx_http_penstock_oauth_introspect.h"

#include "ps_bearer.h"


/* a call that is not over after this has no leader any more, ms */

#define NGX_HTTP_PENSTOCK_OAUTH_CALL_LOST   300000


typedef struct {
    ngx_http_penstock_oauth_call_e       state;
    ngx_pid_t                            pid;       /* who asks */
    ngx_msec_t                           until;     /* or since, if asked */
} ngx_http_penstock_oauth_call_t;


static ngx_int_t ngx_http_penstock_oauth_known(ngx_http_request_t *r,
    u_char *key, double now, const ps_token_t **token);
static ps_jwt_error_e ngx_http_penstock_oauth_allowed(
    ngx_http_penstock_oauth_loc_conf_t *olcf, const ps_token_t *token,
    double now);
static ngx_int_t ngx_http_penstock_oauth_call_lead(
    ngx_http_penstock_oauth_main_conf_t *omcf, u_char *key, ngx_uint_t look,
    ps_jwt_error_e *error);
static void ngx_http_penstock_oauth_ask_cleanup(void *data);


ngx_int_t
ngx_http_penstock_oauth_introspect(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf,
    ngx_http_penstock_oauth_state_t *state, ngx_str_t *text,
    const ps_token_t **token, ps_jwt_error_e *error)
{
    u_char                                key[NGX_HTTP_PENSTOCK_KEY_LEN];
    double                                now;
    ngx_int_t                             rc;
    ngx_str_t                             parts[2];
    ngx_time_t                           *tp;
    ngx_pool_cleanup_t                   *cln;
    ngx_http_penstock_oauth_ask_t        *ask;
    ngx_http_penstock_oauth_main_conf_t  *omcf;

    omcf = ngx_http_get_module_main_conf(r, ngx_http_penstock_oauth_module);

    if (text->len > PS_JWS_MAX) {
        *error = PS_JWT_SIZE;
        return NGX_OK;
    }

    parts[0] = *text;
    parts[1].data = olcf->introspect->salt;
    parts[1].len = NGX_HTTP_PENSTOCK_KEY_LEN;

    if (ngx_http_penstock_sha256(parts, 2, key) != NGX_OK) {
        return NGX_ERROR;
    }

    tp = ngx_timeofday();
    now = (double) tp->sec + (double) tp->msec / 1000;

    ask = state->ask;

    if (ask && ask->answered
        && ngx_memcmp(ask->key, key, NGX_HTTP_PENSTOCK_KEY_LEN) == 0)
    {
        /* our own call's, which the zones may have had no room for */

        *token = ask->token;
        *error = ask->error;

    } else {
        *error = PS_JWT_OK;

        if (ngx_http_penstock_oauth_known(r, key, now, token) != NGX_OK) {
            return NGX_ERROR;
        }

        ngx_http_penstock_count(*token ? omcf->hits : omcf->misses, 1);
    }

    if (*error != PS_JWT_OK) {
        return NGX_OK;
    }

    if (*token) {
        *error = ngx_http_penstock_oauth_allowed(olcf, *token, now);
        return NGX_OK;
    }

    if (!ps_bearer_b64token(text->data, text->len)) {
        *error = PS_JWT_GRAMMAR;
        return NGX_OK;
    }

    rc = ngx_http_penstock_oauth_call_lead(omcf, key, 0, error);

    if (rc == NGX_DECLINED) {
        return NGX_OK;
    }

    if (rc == NGX_OK) {

        /* another's call may have ended after we looked */

        if (ngx_http_penstock_oauth_known(r, key, now, token) != NGX_OK) {
            ngx_http_penstock_oauth_call_end(omcf, key,
                                             NGX_HTTP_PENSTOCK_OAUTH_FAILED,
                                             0);
            return NGX_ERROR;
        }

        if (*token) {
            ngx_http_penstock_oauth_call_end(omcf, key,
                                             NGX_HTTP_PENSTOCK_OAUTH_ASKED,
                                             0);
            *error = ngx_http_penstock_oauth_allowed(olcf, *token, now);
            return NGX_OK;
        }
    }

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_penstock_oauth_ask_t));

    if (cln == NULL) {
        if (rc == NGX_OK) {
            ngx_http_penstock_oauth_call_end(omcf, key,
                                             NGX_HTTP_PENSTOCK_OAUTH_FAILED,
                                             0);
        }

        return NGX_ERROR;
    }

    ask = cln->data;
    ngx_memzero(ask, sizeof(ngx_http_penstock_oauth_ask_t));

    cln->handler = ngx_http_penstock_oauth_ask_cleanup;

    ask->request = r;
    ask->conf = olcf;
    ask->text = *text;
    ask->deadline = ngx_current_msec + olcf->introspect->timeout;
    ngx_memcpy(ask->key, key, NGX_HTTP_PENSTOCK_KEY_LEN);

    state->ask = ask;

    if (rc == NGX_OK) {
        ask->leads = 1;

        if (ngx_http_penstock_oauth_store_read(ask) != NGX_OK
            && ngx_http_penstock_oauth_ask(ask) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_AGAIN;
}


/* what was said of it and still counts; *token NULL: nothing */

static ngx_int_t
ngx_http_penstock_oauth_known(ngx_http_request_t *r, u_char *key, double now,
    const ps_token_t **token)
{
    ngx_int_t  rc;

    *token = ngx_http_penstock_oauth_cached(r, key, &rc);

    if (rc == NGX_OK && now >= (*token)->until) {
        *token = NULL;
    }

    return rc == NGX_ERROR ? NGX_ERROR : NGX_OK;
}


static ps_jwt_error_e
ngx_http_penstock_oauth_allowed(ngx_http_penstock_oauth_loc_conf_t *olcf,
    const ps_token_t *token, double now)
{
    ps_token_rules_t  rules;

    rules = olcf->introspect->rules;
    rules.leeway = (double) olcf->leeway;
    rules.proofs = (olcf->mtls ? PS_TOKEN_X5T : 0)
                   | (olcf->dpop ? PS_TOKEN_JKT : 0);

    return ps_token_check(token, &rules, now);
}


ngx_int_t
ngx_http_penstock_oauth_introspect_wait(ngx_http_request_t *r,
    ngx_http_penstock_oauth_state_t *state)
{
    ngx_msec_t                            left;
    ps_jwt_error_e                        error;
    ngx_http_penstock_oauth_ask_t        *ask;
    ngx_http_penstock_oauth_main_conf_t  *omcf;

    ask = state->ask;

    if (ask == NULL || ask->answered || ask->over) {
        return NGX_OK;
    }

    omcf = ngx_http_get_module_main_conf(r, ngx_http_penstock_oauth_module);

    left = ask->deadline - ngx_current_msec;

    if ((ngx_msec_int_t) left <= 0) {

        /* the call goes on for others; nginx would hold the next request on
           this connection until it ends */

        if (ask->leads) {
            r->keepalive = 0;
        }

        ask->error = PS_JWT_NO_INTROSPECTION;
        ask->answered = 1;

    } else if (ask->leads) {

        if (!ask->read) {
            return ngx_http_penstock_park(r, left, 0);
        }

        /* Redis has nothing; here, since no callback may start an exchange */

        ask->read = 0;

        if (ngx_http_penstock_oauth_ask(ask) == NGX_OK) {
            return ngx_http_penstock_park(r, left, 0);
        }

        ask->error = PS_JWT_NO_INTROSPECTION;
        ask->answered = 1;

    } else if (ngx_http_penstock_oauth_call_lead(omcf, ask->key, 1, &error)
               == NGX_AGAIN)
    {
        ngx_http_penstock_wait_join(&omcf->calls_wait, &ask->waiter, r);
        return ngx_http_penstock_park(r, left, 1);
    }

    ngx_http_penstock_wait_leave(&ask->waiter);
    ask->over = 1;

    return NGX_OK;
}


/*
 * NGX_OK: the caller asks (with "look": nobody does); NGX_AGAIN: another one
 * does; NGX_DECLINED: what is known is in "error".
 */

static ngx_int_t
ngx_http_penstock_oauth_call_lead(ngx_http_penstock_oauth_main_conf_t *omcf,
    u_char *key, ngx_uint_t look, ps_jwt_error_e *error)
{
    ngx_int_t                        rc;
    ngx_http_penstock_dict_t        *dict;
    ngx_http_penstock_dict_node_t   *node;
    ngx_http_penstock_oauth_call_t   call;

    dict = ngx_http_penstock_dict(omcf->calls);
    rc = NGX_OK;

    ngx_http_penstock_dict_lock(dict);

    node = ngx_http_penstock_dict_find(dict, key);

    if (node) {
        ngx_memcpy(&call, node->data, sizeof(ngx_http_penstock_oauth_call_t));

        if (call.state == NGX_HTTP_PENSTOCK_OAUTH_ASKED) {

            if (ngx_http_penstock_age(call.until)
                < NGX_HTTP_PENSTOCK_OAUTH_CALL_LOST
                && (kill(call.pid, 0) == 0 || ngx_errno != NGX_ESRCH))
            {
                rc = NGX_AGAIN;
            }

        } else if ((ngx_msec_int_t) (call.until - ngx_current_msec) > 0) {
            *error = call.state == NGX_HTTP_PENSTOCK_OAUTH_INACTIVE
                     ? PS_JWT_INACTIVE : PS_JWT_NO_INTROSPECTION;
            rc = NGX_DECLINED;
        }
    }

    if (rc == NGX_OK && !look) {
        node = ngx_http_penstock_dict_insert(dict, key,
                                      sizeof(ngx_http_penstock_oauth_call_t));

        if (node) {
            call.state = NGX_HTTP_PENSTOCK_OAUTH_ASKED;
            call.pid = ngx_pid;
            call.until = ngx_current_msec;
            ngx_memcpy(node->data, &call, sizeof(call));
        }
    }

    ngx_http_penstock_dict_unlock(dict);

    return rc;
}


void
ngx_http_penstock_oauth_call_end(ngx_http_penstock_oauth_main_conf_t *omcf,
    u_char *key, ngx_http_penstock_oauth_call_e state, ngx_msec_t time)
{
    ngx_http_penstock_dict_t        *dict;
    ngx_http_penstock_dict_node_t   *node;
    ngx_http_penstock_oauth_call_t   call;

    dict = ngx_http_penstock_dict(omcf->calls);

    call.state = state;
    call.pid = 0;
    call.until = ngx_current_msec + time;

    ngx_http_penstock_dict_lock(dict);

    node = ngx_http_penstock_dict_find(dict, key);

    if (node && time) {
        ngx_memcpy(node->data, &call, sizeof(call));

    } else if (node) {
        ngx_http_penstock_dict_delete(dict, node);
    }

    ngx_http_penstock_dict_unlock(dict);

    (void) ngx_atomic_fetch_add(ngx_http_penstock_oauth_calls_ended(omcf), 1);

    ngx_http_penstock_wait_wake(&omcf->calls_wait);
}


static void
ngx_http_penstock_oauth_ask_cleanup(void *data)
{
    ngx_http_penstock_oauth_ask_t *ask = data;

    ngx_http_penstock_oauth_main_conf_t  *omcf;

    ngx_http_penstock_wait_leave(&ask->waiter);

    if (ask->leads) {
        omcf = ngx_http_get_module_main_conf(ask->request,
                                             ngx_http_penstock_oauth_module);
        ngx_http_penstock_oauth_call_end(omcf, ask->key,
                                         NGX_HTTP_PENSTOCK_OAUTH_FAILED, 0);
    }
}
