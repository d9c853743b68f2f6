
/*
 * TLS to Redis, by nginx's own SSL code.
 *
 * With "tls on" nothing but a TLS handshake is written to a new connection;
 * not a byte of a command, and so no password, leaves before the chain and
 * the name of the server's certificate were found to be right.  There is no
 * way to leave the verification out and no plaintext fallback.
 *
 * A node keeps the last session of its server, in its worker's memory: a
 * reload with another "tls_trusted_certificate" starts without any.
 */

#include "ngx_http_penstock_redis_node.h"
#include "ngx_http_penstock_redis_sentinel.h"


#if !(NGX_SSL)
#error "nginx is built without SSL: --with-http_ssl_module is needed"
#endif


static ngx_int_t ngx_http_penstock_redis_tls_names(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis);
static ngx_int_t ngx_http_penstock_redis_tls_session(
    ngx_http_penstock_redis_node_t *node, ngx_connection_t *c);
static void ngx_http_penstock_redis_tls_save(ngx_connection_t *c);
static void ngx_http_penstock_redis_tls_handler(ngx_connection_t *c);
static void ngx_http_penstock_redis_tls_done(
    ngx_http_penstock_redis_node_t *node);
static ngx_uint_t ngx_http_penstock_redis_tls_match(
    ngx_http_penstock_redis_node_t *node, ngx_connection_t *c);


char *
ngx_http_penstock_redis_tls_directive(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis)
{
    ngx_str_t   *value, *field;
    ngx_uint_t   i;

    static const struct {
        const char  *name;
        size_t       offset;
    } fields[] = {
        { "tls_trusted_certificate",
          offsetof(ngx_http_penstock_redis_t, tls_trusted_certificate) },
        { "tls_certificate",
          offsetof(ngx_http_penstock_redis_t, tls_certificate) },
        { "tls_certificate_key",
          offsetof(ngx_http_penstock_redis_t, tls_certificate_key) },
        { "tls_name",
          offsetof(ngx_http_penstock_redis_t, tls_name) }
    };

    value = cf->args->elts;

    if (ngx_strcmp(value[0].data, "tls") == 0) {

        if (redis->tls != NGX_CONF_UNSET) {
            goto duplicate;
        }

        if (ngx_strcmp(value[1].data, "on") == 0) {
            redis->tls = 1;

        } else if (ngx_strcmp(value[1].data, "off") == 0) {
            redis->tls = 0;

        } else {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid tls \"%V\" in redis \"%V\", use "
                               "\"on\" or \"off\"", &value[1], &redis->name);
            return NGX_CONF_ERROR;
        }

        return NGX_CONF_OK;
    }

    for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {

        if (ngx_strcmp(value[0].data, fields[i].name) != 0) {
            continue;
        }

        field = (ngx_str_t *) ((char *) redis + fields[i].offset);

        if (field->data) {
            goto duplicate;
        }

        if (value[1].len == 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"%V\" in redis \"%V\" is empty",
                               &value[0], &redis->name);
            return NGX_CONF_ERROR;
        }

        *field = value[1];
        return NGX_CONF_OK;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "unknown directive \"%V\" in redis \"%V\", use tls, "
                       "tls_trusted_certificate, tls_name, tls_certificate "
                       "or tls_certificate_key", &value[0], &redis->name);
    return NGX_CONF_ERROR;

duplicate:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "\"%V\" directive is duplicate in redis \"%V\"",
                       &value[0], &redis->name);
    return NGX_CONF_ERROR;
}


char *
ngx_http_penstock_redis_tls_defaults(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis)
{
    const char          *name;
    ngx_pool_cleanup_t  *cln;

    ngx_conf_init_value(redis->tls, 0);

    if (!redis->tls) {

        name = redis->tls_trusted_certificate.data
               ? "tls_trusted_certificate"
               : redis->tls_name.data ? "tls_name"
               : redis->tls_certificate.data ? "tls_certificate"
               : redis->tls_certificate_key.data ? "tls_certificate_key"
               : NULL;

        if (name) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"%s\" in redis \"%V\" needs \"tls on\"",
                               name, &redis->name);
            return NGX_CONF_ERROR;
        }

        return NGX_CONF_OK;
    }

    if (redis->tls_trusted_certificate.data == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"tls on\" in redis \"%V\" needs a "
                           "\"tls_trusted_certificate\", the file of the CAs "
                           "that may vouch for the server", &redis->name);
        return NGX_CONF_ERROR;
    }

    if ((redis->tls_certificate.data == NULL)
        != (redis->tls_certificate_key.data == NULL))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "redis \"%V\" needs both \"tls_certificate\" and "
                           "\"tls_certificate_key\", or none", &redis->name);
        return NGX_CONF_ERROR;
    }

    if (ngx_http_penstock_redis_tls_names(cf, redis) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    redis->ssl = ngx_pcalloc(cf->pool, sizeof(ngx_ssl_t));
    if (redis->ssl == NULL) {
        return NGX_CONF_ERROR;
    }

    redis->ssl->log = cf->log;

    if (ngx_ssl_create(redis->ssl, NGX_SSL_TLSv1_2|NGX_SSL_TLSv1_3, NULL)
        != NGX_OK)
    {
        goto failed;
    }

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        ngx_ssl_cleanup_ctx(redis->ssl);
        return NGX_CONF_ERROR;
    }

    cln->handler = ngx_ssl_cleanup_ctx;
    cln->data = redis->ssl;

    if (ngx_ssl_trusted_certificate(cf, redis->ssl,
                                    &redis->tls_trusted_certificate, 10)
        != NGX_OK
        || (redis->tls_certificate.data
            && ngx_ssl_certificate(cf, redis->ssl, &redis->tls_certificate,
                                   &redis->tls_certificate_key, NULL)
               != NGX_OK)
        || ngx_ssl_client_session_cache(cf, redis->ssl, 1) != NGX_OK)
    {
        goto failed;
    }

    return NGX_CONF_OK;

failed:

    /* nginx's line before this one names the reason, but no place */

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "TLS of redis \"%V\" can't be set up, check its "
                       "\"tls_...\" files", &redis->name);
    return NGX_CONF_ERROR;
}


/* the name that each server's certificate must carry */

static ngx_int_t
ngx_http_penstock_redis_tls_names(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis)
{
    u_char                          *p, addr[16];
    ngx_str_t                        name;
    ngx_uint_t                       i;
    ngx_http_penstock_redis_node_t  *node;

    node = redis->nodes.elts;

    for (i = 0; i < redis->nodes.nelts; i++) {

        name = redis->tls_name.data ? redis->tls_name : node[i].host;

        if (redis->tls_name.data == NULL
            && (redis->sentinel == NULL || redis->sentinel->tls)
            && ngx_strncasecmp(node[i].server.data, (u_char *) "unix:", 5)
               == 0)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "server \"%V\" of redis \"%V\" has no name to "
                               "check by TLS, add \"tls_name\"",
                               &node[i].server, &redis->name);
            return NGX_ERROR;
        }

        if (name.len > 2 && name.data[0] == '[') {
            name.data++;
            name.len -= 2;
        }

        p = ngx_pnalloc(cf->pool, name.len + 1);
        if (p == NULL) {
            return NGX_ERROR;
        }

        (void) ngx_cpystrn(p, name.data, name.len + 1);

        node[i].tls_name.data = p;
        node[i].tls_name.len = name.len;

        node[i].tls_ip = (ngx_inet_addr(p, name.len) != INADDR_NONE);

#if (NGX_HAVE_INET6)
        if (ngx_inet6_addr(p, name.len, addr) == NGX_OK) {
            node[i].tls_ip = 1;
        }
#else
        (void) addr;
#endif
    }

    return NGX_OK;
}


void
ngx_http_penstock_redis_tls_start(ngx_http_penstock_redis_node_t *node)
{
    ngx_int_t          rc;
    ngx_connection_t  *c;

    c = node->connection;

    node->state = NGX_HTTP_PENSTOCK_REDIS_TLS;

    c->pool = ngx_create_pool(256, &node->log);
    if (c->pool == NULL) {
        ngx_http_penstock_redis_close(node, 1);
        return;
    }

    if (ngx_ssl_create_connection(node->redis->ssl, c, NGX_SSL_CLIENT)
        != NGX_OK
        || ngx_http_penstock_redis_tls_session(node, c) != NGX_OK)
    {
        ngx_http_penstock_redis_fail(node, 0, "TLS can't be started");
        return;
    }

    rc = ngx_ssl_handshake(c);

    if (rc == NGX_AGAIN) {
        c->ssl->handler = ngx_http_penstock_redis_tls_handler;
        return;
    }

    ngx_http_penstock_redis_tls_done(node);
}


/* the name to ask for, which no IP address may be, and the last session */

static ngx_int_t
ngx_http_penstock_redis_tls_session(ngx_http_penstock_redis_node_t *node,
    ngx_connection_t *c)
{
    if (!node->tls_ip
        && SSL_set_tlsext_host_name(c->ssl->connection,
                                    (char *) node->tls_name.data)
           == 0)
    {
        ngx_ssl_error(NGX_LOG_ERR, &node->log, 0,
                      "SSL_set_tlsext_host_name(\"%V\") failed",
                      &node->tls_name);
        return NGX_ERROR;
    }

    c->ssl->save_session = ngx_http_penstock_redis_tls_save;

    if (node->session && ngx_ssl_set_session(c, node->session) != NGX_OK) {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/*
 * With TLS 1.3 sessions come after the handshake, with 1.2 before the end of
 * it.  One whose certificate did not verify is resumed as such, since OpenSSL
 * keeps the verdict with it; besides, a failure forgets it.
 */

static void
ngx_http_penstock_redis_tls_save(ngx_connection_t *c)
{
    ngx_ssl_session_t               *session;
    ngx_http_penstock_redis_node_t  *node;

    node = c->data;

    session = ngx_ssl_get_session(c);

    if (session) {
        ngx_http_penstock_redis_tls_forget(node);
        node->session = session;
    }
}


void
ngx_http_penstock_redis_tls_forget(ngx_http_penstock_redis_node_t *node)
{
    if (node->session) {
        ngx_ssl_free_session(node->session);
        node->session = NULL;
    }
}


static void
ngx_http_penstock_redis_tls_handler(ngx_connection_t *c)
{
    ngx_http_penstock_redis_tls_done(c->data);
}


static void
ngx_http_penstock_redis_tls_done(ngx_http_penstock_redis_node_t *node)
{
    long               rc;
    ngx_connection_t  *c;

    c = node->connection;

    if (!c->ssl->handshaked) {

        /* nginx has written why */

        ngx_http_penstock_redis_tls_fail(node, "the TLS handshake failed");
        return;
    }

    rc = SSL_get_verify_result(c->ssl->connection);

    if (rc != X509_V_OK) {
        ngx_log_error(NGX_LOG_ERR, &node->log, 0,
                      "its certificate does not verify (%l: %s), check "
                      "\"tls_trusted_certificate\"",
                      rc, X509_verify_cert_error_string(rc));

        ngx_http_penstock_redis_tls_fail(node, NULL);
        return;
    }

    if (!ngx_http_penstock_redis_tls_match(node, c)) {
        ngx_log_error(NGX_LOG_ERR, &node->log, 0,
                      "its certificate is not one of \"%V\", check "
                      "\"tls_name\"", &node->tls_name);

        ngx_http_penstock_redis_tls_fail(node, NULL);
        return;
    }

    if (SSL_session_reused(c->ssl->connection)) {
        ngx_http_penstock_count(node->redis->metrics.resumed, 1);
    }

    c->read->handler = ngx_http_penstock_redis_read_handler;
    c->write->handler = ngx_http_penstock_redis_write_handler;

    ngx_http_penstock_redis_greet(node);
}


/* nginx's own check knows names only */

static ngx_uint_t
ngx_http_penstock_redis_tls_match(ngx_http_penstock_redis_node_t *node,
    ngx_connection_t *c)
{
    int    rc;
    X509  *cert;

    if (!node->tls_ip) {
        return ngx_ssl_check_host(c, &node->tls_name) == NGX_OK;
    }

    cert = SSL_get_peer_certificate(c->ssl->connection);
    if (cert == NULL) {
        return 0;
    }

    rc = X509_check_ip_asc(cert, (char *) node->tls_name.data, 0);

    X509_free(cert);

    return rc == 1;
}


void
ngx_http_penstock_redis_tls_fail(ngx_http_penstock_redis_node_t *node,
    const char *reason)
{
    ngx_http_penstock_count(node->redis->metrics.tls, 1);

    if (reason) {
        ngx_log_error(NGX_LOG_ERR, &node->log, 0, "%s", reason);
    }

    ngx_http_penstock_redis_tls_forget(node);
    ngx_http_penstock_redis_close(node, 1);
}


void
ngx_http_penstock_redis_tls_close(ngx_connection_t *c, ngx_uint_t failed)
{
    c->ssl->no_wait_shutdown = 1;
    c->ssl->no_send_shutdown = failed;

    if (ngx_ssl_shutdown(c) == NGX_AGAIN) {

        /* its goodbye can't be written now: none, then */

        c->ssl->no_send_shutdown = 1;
        (void) ngx_ssl_shutdown(c);
    }
}
