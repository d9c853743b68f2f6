
/*
 * Sender-constrained tokens: bound to the client's certificate (RFC 8705, 3)
 * or to the key of a DPoP proof (RFC 9449, 7).  Judged at every request: the
 * verified-token cache knows nothing of possession.
 */

#include "ngx_http_penstock_oauth.h"

#include "ps_base64url.h"


#define NGX_HTTP_PENSTOCK_OAUTH_HASH   43


static ngx_int_t ngx_http_penstock_oauth_mtls(ngx_http_request_t *r,
    ps_token_text_t *x5t, const char **wrong);
static ngx_int_t ngx_http_penstock_oauth_unbound(
    ngx_http_penstock_oauth_verdict_t *verdict, const char *error);


ngx_int_t
ngx_http_penstock_oauth_possession(ngx_http_request_t *r,
    ngx_http_penstock_oauth_loc_conf_t *olcf,
    ngx_http_penstock_oauth_state_t *state, ngx_str_t *text,
    ngx_http_penstock_oauth_verdict_t *verdict)
{
    ngx_int_t          rc;
    const char        *wrong;
    ps_token_text_t    x5t, jkt;
    const ps_token_t  *token;

    token = state->token;

    if (token->flags & PS_TOKEN_X5T) {
        (void) ps_token_find(token, PS_TOKEN_CLAIM, "cnf\0x5t#S256",
                             sizeof("cnf\0x5t#S256") - 1, &x5t);

        rc = ngx_http_penstock_oauth_mtls(r, &x5t, &wrong);

        if (rc == NGX_DECLINED) {
            return ngx_http_penstock_oauth_unbound(verdict, wrong);
        }

        if (rc != NGX_OK) {
            return rc;
        }

    } else if (olcf->mtls == NGX_HTTP_PENSTOCK_OAUTH_REQUIRED) {
        return ngx_http_penstock_oauth_unbound(verdict,
                                "the token is not bound to a certificate");
    }

    if (!verdict->dpop) {

        /* RFC 9449, 7.2: stolen, or sent by somebody who lost the key */

        if (token->flags & PS_TOKEN_JKT) {
            return ngx_http_penstock_oauth_unbound(verdict,
                       "the token is bound by DPoP and was sent as Bearer");
        }

        if (olcf->dpop == NGX_HTTP_PENSTOCK_OAUTH_REQUIRED) {
            return ngx_http_penstock_oauth_unbound(verdict,
                                           "the token is not bound by DPoP");
        }

        return NGX_OK;
    }

    if (!(token->flags & PS_TOKEN_JKT)) {
        return ngx_http_penstock_oauth_unbound(verdict,
                                           "the token is not bound by DPoP");
    }

    (void) ps_token_find(token, PS_TOKEN_CLAIM, "cnf\0jkt",
                         sizeof("cnf\0jkt") - 1, &jkt);

    return ngx_http_penstock_oauth_dpop(r, olcf, state, text, &jkt, verdict);
}


static ngx_int_t
ngx_http_penstock_oauth_unbound(ngx_http_penstock_oauth_verdict_t *verdict,
    const char *error)
{
    verdict->result = NGX_HTTP_PENSTOCK_OAUTH_INVALID_TOKEN;
    verdict->status = NGX_HTTP_UNAUTHORIZED;
    verdict->error = error;
    verdict->description = "Possession of the access token's key is not "
                           "proved";

    return NGX_DECLINED;
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
