
/*
 * Sender-constrained tokens: bound to the client's certificate (RFC 8705, 3)
 * or to the key of a DPoP proof (RFC 9449, 7).  Judged at every request: the
 * verified-token cache knows nothing of possession.
 */

#include "ngx_http_penstock_oauth.h"

#include "ps_base64url.h"
#include "ps_dpop.h"


#define NGX_HTTP_PENSTOCK_OAUTH_HASH   43


static ngx_int_t ngx_http_penstock_oauth_mtls(ngx_http_request_t *r,
    ps_token_text_t *x5t, const char **wrong);
static ngx_int_t ngx_http_penstock_oauth_dpop(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf,
    ngx_http_penstock_oauth_state_t *state, ngx_str_t *token,
    ps_token_text_t *jkt, const char **wrong);
static ngx_table_elt_t *ngx_http_penstock_oauth_proof(ngx_http_request_t *r,
    const char **wrong);
static ngx_int_t ngx_http_penstock_oauth_origin(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf, ps_token_text_t *origin);
static ngx_uint_t ngx_http_penstock_oauth_replayed(
    ngx_http_penstock_oauth_main_conf_t *omcf, ps_dpop_proof_t *proof,
    double now);


/* a worker checks one proof at a time */

static u_char  ngx_http_penstock_oauth_proof_buf[PS_JWS_MAX];


ngx_int_t
ngx_http_penstock_oauth_possession(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf,
    ngx_http_penstock_oauth_state_t *state, ngx_str_t *text, ngx_uint_t dpop,
    ngx_uint_t *proof, const char **wrong)
{
    ngx_int_t          rc;
    ps_token_text_t    x5t, jkt;
    const ps_token_t  *token;

    token = state->token;
    *proof = 0;

    if (token->flags & PS_TOKEN_X5T) {
        (void) ps_token_find(token, PS_TOKEN_CLAIM, "cnf\0x5t#S256",
                             sizeof("cnf\0x5t#S256") - 1, &x5t);

        rc = ngx_http_penstock_oauth_mtls(r, &x5t, wrong);
        if (rc != NGX_OK) {
            return rc;
        }

    } else if (olcf->mtls == NGX_HTTP_PENSTOCK_OAUTH_REQUIRED) {
        *wrong = "the token is not bound to a certificate";
        return NGX_DECLINED;
    }

    if (!dpop) {

        /* RFC 9449, 7.2: stolen, or sent by somebody who lost the key */

        if (token->flags & PS_TOKEN_JKT) {
            *wrong = "the token is bound by DPoP and was sent as Bearer";
            return NGX_DECLINED;
        }

        if (olcf->dpop == NGX_HTTP_PENSTOCK_OAUTH_REQUIRED) {
            *wrong = "the token is not bound by DPoP";
            return NGX_DECLINED;
        }

        return NGX_OK;
    }

    if (!(token->flags & PS_TOKEN_JKT)) {
        *wrong = "the token is not bound by DPoP";
        return NGX_DECLINED;
    }

    (void) ps_token_find(token, PS_TOKEN_CLAIM, "cnf\0jkt",
                         sizeof("cnf\0jkt") - 1, &jkt);

    rc = ngx_http_penstock_oauth_dpop(r, olcf, state, text, &jkt, wrong);

    *proof = (rc == NGX_DECLINED);

    return rc;
}


/* the certificate that this connection's handshake proved */

static ngx_int_t
ngx_http_penstock_oauth_mtls(ngx_http_request_t *r, ps_token_text_t *x5t,
    const char **wrong)
{
#if (NGX_HTTP_SSL)

    X509          *cert;
    u_char         digest[EVP_MAX_MD_SIZE];
    u_char         hash[NGX_HTTP_PENSTOCK_OAUTH_HASH];
    unsigned int   len;

    if (r->connection->ssl) {
        cert = SSL_get_peer_certificate(r->connection->ssl->connection);

        if (cert) {
            if (X509_digest(cert, EVP_sha256(), digest, &len) != 1) {
                X509_free(cert);
                return NGX_ERROR;
            }

            X509_free(cert);

            ps_base64url_encode(hash, digest, len);

            if (x5t->len == NGX_HTTP_PENSTOCK_OAUTH_HASH
                && CRYPTO_memcmp(x5t->data, hash, x5t->len) == 0)
            {
                return NGX_OK;
            }

            *wrong = "the token is bound to another certificate";
            return NGX_DECLINED;
        }
    }

#endif

    *wrong = "the token is bound to a certificate and none was shown";

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_penstock_oauth_dpop(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf,
    ngx_http_penstock_oauth_state_t *state, ngx_str_t *token,
    ps_token_text_t *jkt, const char **wrong)
{
    u_char                               *query;
    ngx_time_t                           *tp;
    ngx_table_elt_t                      *h;
    ps_dpop_proof_t                       proof;
    ps_dpop_request_t                     request;
    ngx_http_penstock_oauth_main_conf_t  *omcf;

    h = ngx_http_penstock_oauth_proof(r, wrong);
    if (h == NULL) {
        return NGX_DECLINED;
    }

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
                           &proof);
    if (*wrong) {
        return NGX_DECLINED;
    }

    /* an internal redirect judges again what came only once */

    if (ngx_memcmp(state->proof, proof.id, sizeof(proof.id)) == 0) {
        return NGX_OK;
    }

    if (ngx_http_penstock_oauth_replayed(omcf, &proof, request.now)) {
        *wrong = "the DPoP proof was used before";
        return NGX_DECLINED;
    }

    ngx_memcpy(state->proof, proof.id, sizeof(proof.id));

    return NGX_OK;
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

    dict = ngx_http_penstock_dict(omcf->proofs);

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
