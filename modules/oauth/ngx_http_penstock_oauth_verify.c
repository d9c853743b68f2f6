
/*
 * Verification, and its cache: in shared memory, by a digest of the whole
 * token and of what it was verified with.  A record holds the verdict on the
 * signature and the claims; everything that may differ by time or location
 * is judged each time.
 *
 * A channel sends the same token with each request.  So before it hashes, a
 * worker compares the token with those that it has met within the last
 * second (ps_recent.h).  After that second it asks the shared zone again,
 * whose entry thus stays among those used last.
 */

#include "ngx_http_penstock_oauth.h"
#include "ps_bearer.h"
#include "ps_recent.h"


static ngx_int_t ngx_http_penstock_oauth_known(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf, ngx_str_t *text,
    const ps_token_t **token);
static void ngx_http_penstock_oauth_met(
    ngx_http_penstock_oauth_loc_conf_t *olcf, ngx_str_t *text,
    const ps_token_t *token);
static void ngx_http_penstock_oauth_forget(void *data);
static ps_jwt_error_e ngx_http_penstock_oauth_judge(
    ngx_http_penstock_oauth_loc_conf_t *olcf, const ps_token_t *token,
    ngx_uint_t *issuer);
static ps_jwt_error_e ngx_http_penstock_oauth_signature(
    ngx_http_penstock_oauth_main_conf_t *omcf,
    ngx_http_penstock_oauth_loc_conf_t *olcf, ngx_uint_t issuer,
    ps_jws_t *jws);
static ps_jwt_error_e ngx_http_penstock_oauth_try(
    ngx_http_penstock_oauth_main_conf_t *omcf, ps_jwks_t *set, ps_jws_t *jws,
    ngx_uint_t *tries);


/* a worker does one token at a time, so these are used again for the next */

static u_char          ngx_http_penstock_oauth_decoded[PS_JWS_MAX];
static ps_token_buf_t  ngx_http_penstock_oauth_buf;

/* of this worker; freed with the cycle, before the module is unloaded */

static ps_recent_t    *ngx_http_penstock_oauth_recent;


ps_jwt_error_e
ngx_http_penstock_oauth_verify(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf, ngx_str_t *text,
    const ps_token_t **token, ngx_uint_t *issuer)
{
    u_char                                key[NGX_HTTP_PENSTOCK_KEY_LEN];
    json_t                               *claims;
    ps_jws_t                              jws;
    ngx_int_t                             rc;
    ngx_str_t                             parts[2];
    ps_token_t                           *copy;
    ps_jwt_error_e                        error;
    const ps_token_t                     *built;
    ngx_http_penstock_oauth_main_conf_t  *omcf;

    if (text->len > PS_JWS_MAX) {
        return ps_bearer_b64token(text->data, text->len) ? PS_JWT_SIZE
                                                         : PS_JWT_GRAMMAR;
    }

    omcf = ngx_http_get_module_main_conf(r, ngx_http_penstock_oauth_module);

    rc = ngx_http_penstock_oauth_known(r, olcf, text, token);

    if (rc == NGX_OK) {
        ngx_http_penstock_count(omcf->hits, 1);
        return ngx_http_penstock_oauth_judge(olcf, *token, issuer);
    }

    if (rc == NGX_ERROR) {
        return PS_JWT_MEMORY;
    }

    parts[0] = *text;
    parts[1].data = olcf->trust->fingerprint;
    parts[1].len = NGX_HTTP_PENSTOCK_KEY_LEN;

    if (ngx_http_penstock_sha256(parts, 2, key) != NGX_OK) {
        return PS_JWT_MEMORY;
    }

    copy = ngx_http_penstock_oauth_cached(r, key, &rc);

    if (rc == NGX_OK) {
        ngx_http_penstock_count(omcf->hits, 1);
        ngx_http_penstock_oauth_met(olcf, text, copy);
        *token = copy;

        return ngx_http_penstock_oauth_judge(olcf, copy, issuer);
    }

    if (rc == NGX_ERROR) {
        return PS_JWT_MEMORY;
    }

    if (!ps_bearer_b64token(text->data, text->len)) {
        return PS_JWT_GRAMMAR;
    }

    ngx_http_penstock_count(omcf->misses, 1);

    error = ps_jws_parse(&jws, text->data, text->len,
                         ngx_http_penstock_oauth_decoded);
    if (error != PS_JWT_OK) {
        return error;
    }

    error = ps_token_claims(&jws, &claims);

    if (error == PS_JWT_OK) {
        error = ps_token_build(&ngx_http_penstock_oauth_buf, &jws, claims,
                               &built);
    }

    /* a token that would be refused anyway costs no signature check */

    if (error == PS_JWT_OK) {
        error = ngx_http_penstock_oauth_judge(olcf, built, issuer);
    }

    if (error == PS_JWT_OK) {
        error = ngx_http_penstock_oauth_signature(omcf, olcf, *issuer, &jws);
    }

    json_decref(claims);
    ps_jws_free(&jws);

    if (error != PS_JWT_OK) {
        return error;
    }

    /* aligned for its numbers */

    copy = ngx_palloc(r->pool, built->size);
    if (copy == NULL) {
        return PS_JWT_MEMORY;
    }

    ngx_memcpy(copy, built, built->size);
    *token = copy;

    ngx_http_penstock_oauth_keep(omcf, key, copy);

    return PS_JWT_OK;
}


/* NGX_OK and a copy in r->pool, NGX_DECLINED: not met lately, NGX_ERROR */

static ngx_int_t
ngx_http_penstock_oauth_known(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf, ngx_str_t *text,
    const ps_token_t **token)
{
    size_t       size;
    ps_token_t  *copy;
    const void  *found;

    if (ngx_http_penstock_oauth_recent == NULL) {
        return NGX_DECLINED;
    }

    found = ps_recent_find(ngx_http_penstock_oauth_recent, text->data,
                           text->len, olcf->trust->fingerprint,
                           ngx_current_msec, &size);
    if (found == NULL) {
        return NGX_DECLINED;
    }

    /* the request may outlive the entry */

    copy = ngx_palloc(r->pool, size);
    if (copy == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(copy, found, size);
    *token = copy;

    return NGX_OK;
}


/*
 * Only what the shared zone knows is kept here, so a token that is used once
 * costs no copy.  No memory for it is no fault: the zone has it.
 */

static void
ngx_http_penstock_oauth_met(ngx_http_penstock_oauth_loc_conf_t *olcf,
    ngx_str_t *text, const ps_token_t *token)
{
    ngx_pool_cleanup_t  *cln;

    if (ngx_http_penstock_oauth_recent == NULL) {

        cln = ngx_pool_cleanup_add(ngx_cycle->pool, 0);
        if (cln == NULL) {
            return;
        }

        ngx_http_penstock_oauth_recent = ngx_calloc(sizeof(ps_recent_t),
                                                    ngx_cycle->log);
        if (ngx_http_penstock_oauth_recent == NULL) {
            return;
        }

        cln->handler = ngx_http_penstock_oauth_forget;
    }

    ps_recent_keep(ngx_http_penstock_oauth_recent, text->data, text->len,
                   olcf->trust->fingerprint, token, token->size,
                   ngx_current_msec);
}


static void
ngx_http_penstock_oauth_forget(void *data)
{
    ps_recent_free(ngx_http_penstock_oauth_recent);
    ngx_free(ngx_http_penstock_oauth_recent);
    ngx_http_penstock_oauth_recent = NULL;
}


/* the issuer that the token names, and the location's rules for it, now */

static ps_jwt_error_e
ngx_http_penstock_oauth_judge(ngx_http_penstock_oauth_loc_conf_t *olcf,
    const ps_token_t *token, ngx_uint_t *issuer)
{
    double                             now;
    ngx_time_t                        *tp;
    ngx_uint_t                         i;
    ps_token_text_t                    iss;
    ps_token_rules_t                   rules;
    ngx_http_penstock_oauth_issuer_t  *list;

    list = olcf->issuers->elts;
    i = 0;

    if (olcf->bound) {
        if (!ps_token_find(token, PS_TOKEN_CLAIM, "iss", 3, &iss)) {
            return PS_JWT_ISS;
        }

        for ( /* void */ ; i < olcf->issuers->nelts; i++) {
            if (list[i].name.len == iss.len
                && ngx_memcmp(list[i].name.data, iss.data, iss.len) == 0)
            {
                break;
            }
        }

        if (i == olcf->issuers->nelts) {
            return PS_JWT_ISS;
        }
    }

    *issuer = i;

    tp = ngx_timeofday();
    now = (double) tp->sec + (double) tp->msec / 1000;

    rules = list[i].rules;

    if (olcf->bound) {

        /* found above */

        rules.iss.data = NULL;
    }

    rules.leeway = (double) olcf->leeway;
    rules.proofs = (olcf->mtls ? PS_TOKEN_X5T : 0)
                   | (olcf->dpop ? PS_TOKEN_JKT : 0);

    return ps_token_check(token, &rules, now);
}


static ps_jwt_error_e
ngx_http_penstock_oauth_signature(ngx_http_penstock_oauth_main_conf_t *omcf,
    ngx_http_penstock_oauth_loc_conf_t *olcf, ngx_uint_t issuer,
    ps_jws_t *jws)
{
    ps_jwks_t                        **sets;
    ngx_uint_t                         i, tries, absent;
    ps_jwt_error_e                     error;
    ngx_http_penstock_oauth_trust_t   *trust;
    ngx_http_penstock_oauth_issuer_t  *list;

    list = olcf->issuers->elts;
    sets = list[issuer].sets.elts;
    trust = olcf->trust;

    tries = 0;
    absent = 0;

    for (i = 0; i < list[issuer].sets.nelts; i++) {
        error = ngx_http_penstock_oauth_try(omcf, sets[i], jws, &tries);

        if (error != PS_JWT_KEY) {
            return error;
        }
    }

    for (i = trust->first[issuer]; i < trust->first[issuer + 1]; i++) {

        if (trust->live[i]->set == NULL) {
            absent = 1;
            continue;
        }

        error = ngx_http_penstock_oauth_try(omcf, trust->live[i]->set, jws,
                                            &tries);

        if (error != PS_JWT_KEY) {
            return error;
        }
    }

    if (tries) {
        return PS_JWT_SIGNATURE;
    }

    return absent ? PS_JWT_NO_KEYS : PS_JWT_KEY;
}


/* PS_JWT_KEY: none of the set's that fit has signed it */

static ps_jwt_error_e
ngx_http_penstock_oauth_try(ngx_http_penstock_oauth_main_conf_t *omcf,
    ps_jwks_t *set, ps_jws_t *jws, ngx_uint_t *tries)
{
    size_t     k;
    ps_jwk_t  *key;

    k = 0;

    for ( ;; ) {
        key = ps_jwks_next(set, &k, jws->alg, jws->kid, jws->kid_len);

        if (key == NULL) {
            return PS_JWT_KEY;
        }

        if ((*tries)++ == NGX_HTTP_PENSTOCK_OAUTH_TRIES) {
            return PS_JWT_KEYS;
        }

        ngx_http_penstock_count(omcf->checks, 1);

        if (ps_jwk_verify(key, jws->input, jws->input_len, jws->signature,
                          jws->signature_len))
        {
            return PS_JWT_OK;
        }
    }
}


/* the lock protects the node from eviction by another worker until copied */

ps_token_t *
ngx_http_penstock_oauth_cached(ngx_http_request_t *r, u_char *key,
    ngx_int_t *rc)
{
    ps_token_t                           *copy;
    ngx_http_penstock_dict_t             *dict;
    ngx_http_penstock_dict_node_t        *node;
    ngx_http_penstock_oauth_main_conf_t  *omcf;

    omcf = ngx_http_get_module_main_conf(r, ngx_http_penstock_oauth_module);
    dict = ngx_http_penstock_dict(omcf->zone);

    copy = NULL;
    *rc = NGX_DECLINED;

    ngx_http_penstock_dict_lock(dict);

    node = ngx_http_penstock_dict_find(dict, key);

    if (node) {
        copy = ngx_palloc(r->pool, node->size);

        if (copy) {
            ngx_memcpy(copy, node->data, node->size);
        }

        *rc = copy ? NGX_OK : NGX_ERROR;
    }

    ngx_http_penstock_dict_unlock(dict);

    return copy;
}


void
ngx_http_penstock_oauth_keep(ngx_http_penstock_oauth_main_conf_t *omcf,
    u_char *key, const ps_token_t *token)
{
    ngx_http_penstock_dict_t       *dict;
    ngx_http_penstock_dict_node_t  *node;

    dict = ngx_http_penstock_dict(omcf->zone);

    ngx_http_penstock_dict_lock(dict);

    node = ngx_http_penstock_dict_insert(dict, key, token->size);

    if (node) {
        ngx_memcpy(node->data, token, token->size);
    }

    ngx_http_penstock_dict_unlock(dict);
}
