
/*
 * DPoP (RFC 9449): whether the sender of a token holds the key it is bound to.
 * Each proof counts once: this host knows those it saw, and where Redis is
 * named the first of all hosts has it.
 */

#include "ngx_http_penstock_oauth.h"

#include "ps_dpop.h"


/* a proof is remembered for longer than it counts, for clocks that differ */

#define NGX_HTTP_PENSTOCK_OAUTH_MARK_MORE    60000

#define NGX_HTTP_PENSTOCK_OAUTH_MARK_PREFIX  "penstock:dpop:"


static ngx_int_t ngx_http_penstock_oauth_judge(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf, ngx_table_elt_t *h,
    ngx_str_t *token, ps_token_text_t *jkt, ps_dpop_proof_t *proof,
    const char **wrong);
static ngx_table_elt_t *ngx_http_penstock_oauth_proof(ngx_http_request_t *r,
    const char **wrong);
static ngx_int_t ngx_http_penstock_oauth_origin(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf, ps_token_text_t *origin);
static ngx_int_t ngx_http_penstock_oauth_nonce(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf,
    ngx_http_penstock_oauth_state_t *state, ps_dpop_proof_t *proof);
static ngx_uint_t ngx_http_penstock_oauth_replayed(
    ngx_http_penstock_oauth_main_conf_t *omcf, ps_dpop_proof_t *proof,
    double now);
static ngx_int_t ngx_http_penstock_oauth_mark(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf,
    ngx_http_penstock_oauth_state_t *state, ngx_table_elt_t *h,
    ps_dpop_proof_t *proof, double now);
static void ngx_http_penstock_oauth_marked(
    ngx_http_penstock_redis_call_t *call, redisReply *reply);
static ngx_int_t ngx_http_penstock_oauth_unproved(
    ngx_http_penstock_oauth_verdict_t *verdict, const char *error);
static ngx_int_t ngx_http_penstock_oauth_no_mark(ngx_http_request_t *r,
    ngx_http_penstock_oauth_verdict_t *verdict);


/* a worker checks one proof at a time */

static u_char  ngx_http_penstock_oauth_proof_buf[PS_JWS_MAX];


ngx_int_t
ngx_http_penstock_oauth_dpop(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf,
    ngx_http_penstock_oauth_state_t *state, ngx_str_t *token,
    ps_token_text_t *jkt, ngx_http_penstock_oauth_verdict_t *verdict)
{
    double                                now;
    ngx_int_t                             rc;
    ngx_time_t                           *tp;
    const char                           *wrong;
    ngx_table_elt_t                      *h;
    ps_dpop_proof_t                       proof;
    ngx_http_penstock_oauth_mark_t       *mark;
    ngx_http_penstock_oauth_main_conf_t  *omcf;

    h = ngx_http_penstock_oauth_proof(r, &wrong);
    if (h == NULL) {
        return ngx_http_penstock_oauth_unproved(verdict, wrong);
    }

    mark = state->mark;

    if (mark && mark->done && mark->conf == olcf && mark->proof == h) {

        /* the rest was judged before the wait for it */

        state->mark = NULL;
        rc = mark->result;
        ngx_memcpy(proof.id, mark->id, sizeof(proof.id));

    } else {
        rc = ngx_http_penstock_oauth_judge(r, olcf, h, token, jkt, &proof,
                                           &wrong);
        if (rc == NGX_DECLINED) {
            return ngx_http_penstock_oauth_unproved(verdict, wrong);
        }

        if (rc != NGX_OK) {
            return rc;
        }

        /* an internal redirect judges again what came only once */

        if (ngx_memcmp(state->proof, proof.id, sizeof(proof.id)) == 0) {
            return NGX_OK;
        }

        if (olcf->dpop_nonce) {
            rc = ngx_http_penstock_oauth_nonce(r, olcf, state, &proof);

            if (rc == NGX_DECLINED) {
                verdict->result = NGX_HTTP_PENSTOCK_OAUTH_USE_NONCE;
                verdict->status = NGX_HTTP_UNAUTHORIZED;
                verdict->error = "the DPoP proof has no nonce of this server, "
                                 "or an old one";
                verdict->description = "The DPoP proof needs the nonce that "
                                       "comes with this answer";
                return NGX_DECLINED;
            }

            if (rc != NGX_OK) {
                return rc;
            }
        }

        tp = ngx_timeofday();
        now = (double) tp->sec + (double) tp->msec / 1000;

        omcf = ngx_http_get_module_main_conf(r,
                                             ngx_http_penstock_oauth_module);

        if (ngx_http_penstock_oauth_replayed(omcf, &proof, now)) {
            rc = NGX_DECLINED;

        } else if (omcf->proofs.redis) {
            rc = ngx_http_penstock_oauth_mark(r, olcf, state, h, &proof, now);

        } else {
            rc = NGX_OK;
        }
    }

    switch (rc) {

    case NGX_OK:
        ngx_memcpy(state->proof, proof.id, sizeof(proof.id));
        return NGX_OK;

    case NGX_DECLINED:
        return ngx_http_penstock_oauth_unproved(verdict,
                                            "the DPoP proof was used before");

    case NGX_BUSY:
        rc = ngx_http_penstock_oauth_no_mark(r, verdict);

        if (rc == NGX_OK) {
            ngx_memcpy(state->proof, proof.id, sizeof(proof.id));
        }

        return rc;

    default:
        return rc;
    }
}


/* all but the nonce and the replay: NGX_OK, NGX_DECLINED and why, NGX_ERROR */

static ngx_int_t
ngx_http_penstock_oauth_judge(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf, ngx_table_elt_t *h,
    ngx_str_t *token, ps_token_text_t *jkt, ps_dpop_proof_t *proof,
    const char **wrong)
{
    u_char                               *query;
    ngx_time_t                           *tp;
    ps_dpop_request_t                     request;
    ngx_http_penstock_oauth_main_conf_t  *omcf;

    ngx_memzero(&request, sizeof(ps_dpop_request_t));

    request.method.data = r->method_name.data;
    request.method.len = r->method_name.len;

    if (ngx_http_penstock_oauth_origin(r, olcf, &request.origin) != NGX_OK) {
        return NGX_ERROR;
    }

    query = ngx_strlchr(r->unparsed_uri.data,
                        r->unparsed_uri.data + r->unparsed_uri.len, '?');

    request.path.data = r->unparsed_uri.data;
    request.path.len = query ? (size_t) (query - r->unparsed_uri.data)
                             : r->unparsed_uri.len;

    request.token.data = token->data;
    request.token.len = token->len;
    request.jkt = *jkt;

    tp = ngx_timeofday();
    request.now = (double) tp->sec + (double) tp->msec / 1000;
    request.window = (double) olcf->dpop_window;

    omcf = ngx_http_get_module_main_conf(r, ngx_http_penstock_oauth_module);
    ngx_http_penstock_count(omcf->checks, 1);

    *wrong = ps_dpop_check(h->value.data, h->value.len,
                           ngx_http_penstock_oauth_proof_buf, &request,
                           proof);

    return *wrong ? NGX_DECLINED : NGX_OK;
}


/* RFC 9449, 4.3 (1): exactly one; and of a size that is worth a look */

static ngx_table_elt_t *
ngx_http_penstock_oauth_proof(ngx_http_request_t *r, const char **wrong)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h, *proof;

    proof = NULL;

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (h[i].key.len != 4
                || ngx_strncasecmp(h[i].key.data, (u_char *) "DPoP", 4) != 0)
            {
                continue;
            }

            if (proof) {
                *wrong = "there are several DPoP proofs";
                return NULL;
            }

            proof = &h[i];
        }
    }

    if (proof == NULL) {
        *wrong = "there is no DPoP proof";
        return NULL;
    }

    if (proof->value.len > PS_JWS_MAX) {
        *wrong = "the DPoP proof is too large";
        return NULL;
    }

    return proof;
}


static ngx_int_t
ngx_http_penstock_oauth_origin(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf, ps_token_text_t *origin)
{
    u_char     *p;
    ngx_str_t   value, host;

    if (olcf->dpop_uri) {
        if (ngx_http_complex_value(r, olcf->dpop_uri, &value) != NGX_OK) {
            return NGX_ERROR;
        }

        origin->data = value.data;
        origin->len = value.len;

        return NGX_OK;
    }

    /* with its port; HTTP/2's :authority is there too */

    if (r->headers_in.host) {
        host = r->headers_in.host->value;

    } else {
        host = r->headers_in.server;
    }

    p = ngx_pnalloc(r->pool, sizeof("https://") - 1 + host.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    origin->data = p;

#if (NGX_HTTP_SSL)
    if (r->connection->ssl) {
        p = ngx_cpymem(p, "https://", sizeof("https://") - 1);

    } else
#endif
    {
        p = ngx_cpymem(p, "http://", sizeof("http://") - 1);
    }

    p = ngx_cpymem(p, host.data, host.len);
    origin->len = p - origin->data;

    return NGX_OK;
}


/*
 * RFC 9449, 9: NGX_OK, or NGX_DECLINED: not with a nonce of ours that is young
 * enough.  The reply has a new one then, and when more than half of the time
 * of this one is over.
 */

static ngx_int_t
ngx_http_penstock_oauth_nonce(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf,
    ngx_http_penstock_oauth_state_t *state, ps_dpop_proof_t *proof)
{
    u_char                                own[NGX_HTTP_PENSTOCK_KEY_LEN];
    int64_t                               age;
    ngx_str_t                             key, value;
    ngx_table_elt_t                      *h;
    ngx_http_penstock_dict_t             *dict;
    ngx_http_penstock_oauth_main_conf_t  *omcf;

    static ngx_str_t  name = ngx_string("DPoP-Nonce");
    static ngx_str_t  label = ngx_string("penstock dpop nonce");

    omcf = ngx_http_get_module_main_conf(r, ngx_http_penstock_oauth_module);

    key = omcf->proofs.nonce_key;

    if (key.len == 0) {

        /* this host's, made of the zone's own secret; a reload keeps it */

        dict = ngx_http_penstock_dict(omcf->proofs.zone);
        ngx_http_penstock_dict_key(dict, &label, own);

        key.data = own;
        key.len = sizeof(own);
    }

    age = ps_nonce_age(key.data, key.len, proof->nonce, proof->nonce_len,
                       ngx_time());

    if (age != PS_NONCE_FOREIGN && age <= olcf->dpop_nonce / 2) {
        return NGX_OK;
    }

    value.data = ngx_pnalloc(r->pool, PS_NONCE_LEN);
    value.len = PS_NONCE_LEN;

    if (value.data == NULL
        || ps_nonce_make(key.data, key.len, ngx_time(), value.data) != 0)
    {
        return NGX_ERROR;
    }

    if (state->nonce) {
        state->nonce->value = value;

    } else {
        h = ngx_http_penstock_add_header(r, &name, &value);
        if (h == NULL) {
            return NGX_ERROR;
        }

        state->nonce = h;
    }

    return age != PS_NONCE_FOREIGN && age <= olcf->dpop_nonce ? NGX_OK
                                                              : NGX_DECLINED;
}


/*
 * RFC 9449, 11.1: each proof once in its time.  The lock makes look and mark
 * one, so of two at the same time one is refused.
 */

static ngx_uint_t
ngx_http_penstock_oauth_replayed(ngx_http_penstock_oauth_main_conf_t *omcf,
    ps_dpop_proof_t *proof, double now)
{
    double                          until;
    ngx_uint_t                      seen;
    ngx_http_penstock_dict_t       *dict;
    ngx_http_penstock_dict_node_t  *node;

    dict = ngx_http_penstock_dict(omcf->proofs.zone);

    ngx_http_penstock_dict_lock(dict);

    node = ngx_http_penstock_dict_find(dict, proof->id);

    seen = 0;

    if (node) {
        ngx_memcpy(&until, node->data, sizeof(double));
        seen = (until >= now);
    }

    if (!seen) {
        node = ngx_http_penstock_dict_insert(dict, proof->id, sizeof(double));

        if (node) {
            ngx_memcpy(node->data, &proof->until, sizeof(double));

        } else {
            seen = 1;
        }
    }

    ngx_http_penstock_dict_unlock(dict);

    return seen;
}


/*
 * NGX_AGAIN: Redis is asked whether another host saw it; NGX_BUSY: it can't
 * be asked; NGX_ERROR.
 */

static ngx_int_t
ngx_http_penstock_oauth_mark(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf,
    ngx_http_penstock_oauth_state_t *state, ngx_table_elt_t *h,
    ps_dpop_proof_t *proof, double now)
{
    u_char                               *p;
    u_char                                ms[NGX_INT64_LEN];
    u_char                                key[
                            sizeof(NGX_HTTP_PENSTOCK_OAUTH_MARK_PREFIX) - 1
                            + 2 * NGX_HTTP_PENSTOCK_KEY_LEN];
    ngx_str_t                             argv[6];
    ngx_http_penstock_oauth_mark_t       *mark;
    ngx_http_penstock_oauth_main_conf_t  *omcf;

    omcf = ngx_http_get_module_main_conf(r, ngx_http_penstock_oauth_module);

    mark = ngx_pcalloc(r->pool, sizeof(ngx_http_penstock_oauth_mark_t));
    if (mark == NULL) {
        return NGX_ERROR;
    }

    mark->request = r;
    mark->conf = olcf;
    mark->proof = h;
    ngx_memcpy(mark->id, proof->id, sizeof(proof->id));

    p = ngx_cpymem(key, NGX_HTTP_PENSTOCK_OAUTH_MARK_PREFIX,
                   sizeof(NGX_HTTP_PENSTOCK_OAUTH_MARK_PREFIX) - 1);
    p = ngx_hex_dump(p, proof->id, sizeof(proof->id));

    ngx_str_set(&argv[0], "SET");
    argv[1].data = key;
    argv[1].len = p - key;
    ngx_str_set(&argv[2], "1");
    ngx_str_set(&argv[3], "NX");
    ngx_str_set(&argv[4], "PX");

    argv[5].data = ms;
    argv[5].len = ngx_http_penstock_digits(ms,
                        (uint64_t) ((proof->until - now) * 1000)
                        + NGX_HTTP_PENSTOCK_OAUTH_MARK_MORE) - ms;

    mark->call.handler = ngx_http_penstock_oauth_marked;
    mark->call.data = mark;
    mark->call.pool = r->pool;

    if (ngx_http_penstock_redis_send(omcf->proofs.redis, &mark->call, 6, argv,
                                     1)
        != NGX_OK)
    {
        return NGX_BUSY;
    }

    state->mark = mark;

    return NGX_AGAIN;
}


static void
ngx_http_penstock_oauth_marked(ngx_http_penstock_redis_call_t *call,
    redisReply *reply)
{
    ngx_http_penstock_oauth_mark_t *mark = call->data;

    mark->done = 1;
    mark->result = NGX_BUSY;

    if (call->status == NGX_HTTP_PENSTOCK_REDIS_OK) {

        if (reply->type == REDIS_REPLY_NIL) {
            mark->result = NGX_DECLINED;

        } else if (reply->type == REDIS_REPLY_STATUS) {
            mark->result = NGX_OK;
        }
    }

    ngx_http_penstock_wake(mark->request);
}


ngx_int_t
ngx_http_penstock_oauth_dpop_wait(ngx_http_request_t *r,
    ngx_http_penstock_oauth_state_t *state)
{
    /* the call has its own timeout */

    return state->mark && !state->mark->done ? ngx_http_penstock_park(r, 0, 1)
                                             : NGX_OK;
}


static ngx_int_t
ngx_http_penstock_oauth_unproved(ngx_http_penstock_oauth_verdict_t *verdict,
    const char *error)
{
    verdict->result = NGX_HTTP_PENSTOCK_OAUTH_INVALID_PROOF;
    verdict->status = NGX_HTTP_UNAUTHORIZED;
    verdict->error = error;
    verdict->description = "The DPoP proof is not valid";

    return NGX_DECLINED;
}


/* nobody knows whether another host saw it: NGX_OK if that will do */

static ngx_int_t
ngx_http_penstock_oauth_no_mark(ngx_http_request_t *r,
    ngx_http_penstock_oauth_verdict_t *verdict)
{
    ngx_http_penstock_oauth_main_conf_t  *omcf;

    omcf = ngx_http_get_module_main_conf(r, ngx_http_penstock_oauth_module);

    ngx_http_penstock_count(omcf->proofs.unknown, 1);

    if (omcf->proofs.open) {
        return NGX_OK;
    }

    verdict->result = NGX_HTTP_PENSTOCK_OAUTH_UNAVAILABLE;
    verdict->status = NGX_HTTP_SERVICE_UNAVAILABLE;
    verdict->error = "Redis did not tell whether the DPoP proof was used";
    verdict->description = "The DPoP proof can't be checked now";

    return NGX_DECLINED;
}
