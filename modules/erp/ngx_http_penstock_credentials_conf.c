
/*
 * Directives of credentials: oauth_client, erp_authorization,
 * erp_identity_header.
 */

#include "ngx_http_penstock_credentials.h"


#define NGX_HTTP_PENSTOCK_SECRET_MAX  16384


static char *ngx_http_penstock_client_directive(ngx_conf_t *cf,
    ngx_command_t *dummy, void *conf);
static char *ngx_http_penstock_client_text(ngx_conf_t *cf,
    ngx_http_penstock_client_t *client, ngx_str_t *field);
static char *ngx_http_penstock_client_auth(ngx_conf_t *cf,
    ngx_http_penstock_client_t *client);
static char *ngx_http_penstock_client_alg(ngx_conf_t *cf,
    ngx_http_penstock_client_t *client);
static char *ngx_http_penstock_client_time(ngx_conf_t *cf,
    ngx_http_penstock_client_t *client, ngx_msec_t *field);
static char *ngx_http_penstock_client_secret(ngx_conf_t *cf,
    ngx_http_penstock_client_t *client, ngx_uint_t key);
static void ngx_http_penstock_client_forget(void *data);
static char *ngx_http_penstock_client_check(ngx_conf_t *cf,
    ngx_http_penstock_client_t *client);
static ngx_int_t ngx_http_penstock_client_print(
    ngx_http_penstock_client_t *client);
static ngx_int_t ngx_http_penstock_client_counters(ngx_conf_t *cf,
    ngx_http_penstock_client_t *client);


char *
ngx_http_penstock_client_block(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char                        *rv;
    ngx_str_t                   *value;
    ngx_conf_t                   save;
    ngx_http_penstock_client_t  *client;

    value = cf->args->elts;

    if (value[1].len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the name of an \"oauth_client\" is empty");
        return NGX_CONF_ERROR;
    }

    client = ngx_http_penstock_client(cf, &value[1]);
    if (client == NULL) {
        return NGX_CONF_ERROR;
    }

    if (client->defined) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "duplicate oauth_client \"%V\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    client->defined = 1;
    client->alg = NGX_CONF_UNSET;
    client->refresh = NGX_CONF_UNSET_MSEC;
    client->timeout = NGX_CONF_UNSET_MSEC;

    save = *cf;

    cf->ctx = client;
    cf->handler = ngx_http_penstock_client_directive;
    cf->handler_conf = NULL;

    rv = ngx_conf_parse(cf, NULL);

    *cf = save;

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    return ngx_http_penstock_client_check(cf, client);
}


static char *
ngx_http_penstock_client_directive(ngx_conf_t *cf, ngx_command_t *dummy,
    void *conf)
{
    ngx_str_t                   *value;
    ngx_uint_t                   i;
    ngx_http_penstock_client_t  *client;

    client = cf->ctx;
    value = cf->args->elts;

    struct {
        const char  *name;
        ngx_str_t   *field;
    } texts[] = {
        { "token_endpoint", &client->endpoint },
        { "client_id", &client->id },
        { "key_id", &client->key_id },
        { "assertion_audience", &client->assertion_audience },
        { "scope", &client->scope },
        { "audience", &client->audience },
        { "resource", &client->resource }
    };

    if (cf->args->nelts != 2) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid number of arguments in \"%V\" directive "
                           "of oauth_client \"%V\", give it one", &value[0],
                           &client->name);
        return NGX_CONF_ERROR;
    }

    if (ngx_strcmp(value[0].data, "include") == 0) {
        return ngx_conf_include(cf, dummy, conf);
    }

    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (ngx_strcmp(value[0].data, texts[i].name) == 0) {
            return ngx_http_penstock_client_text(cf, client, texts[i].field);
        }
    }

    if (ngx_strcmp(value[0].data, "client_secret_file") == 0) {
        return ngx_http_penstock_client_secret(cf, client, 0);
    }

    if (ngx_strcmp(value[0].data, "private_key_file") == 0) {
        return ngx_http_penstock_client_secret(cf, client, 1);
    }

    if (ngx_strcmp(value[0].data, "auth") == 0) {
        return ngx_http_penstock_client_auth(cf, client);
    }

    if (ngx_strcmp(value[0].data, "alg") == 0) {
        return ngx_http_penstock_client_alg(cf, client);
    }

    if (ngx_strcmp(value[0].data, "refresh") == 0) {
        return ngx_http_penstock_client_time(cf, client, &client->refresh);
    }

    if (ngx_strcmp(value[0].data, "timeout") == 0) {
        return ngx_http_penstock_client_time(cf, client, &client->timeout);
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "unknown directive \"%V\" in oauth_client \"%V\", use "
                       "token_endpoint, client_id, client_secret_file, "
                       "private_key_file, auth, alg, key_id, "
                       "assertion_audience, scope, audience, resource, "
                       "refresh or timeout", &value[0], &client->name);

    return NGX_CONF_ERROR;
}


static char *
ngx_http_penstock_client_text(ngx_conf_t *cf,
    ngx_http_penstock_client_t *client, ngx_str_t *field)
{
    ngx_str_t   *value;
    ngx_uint_t   i;

    value = cf->args->elts;

    if (field->data) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" directive is duplicate in oauth_client "
                           "\"%V\"", &value[0], &client->name);
        return NGX_CONF_ERROR;
    }

    for (i = 0; i < value[1].len; i++) {
        if (value[1].data[i] < 0x20 || value[1].data[i] == 0x7f) {
            break;
        }
    }

    if (value[1].len == 0 || value[1].len > 2048 || i < value[1].len) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" of oauth_client \"%V\" must be 1 to 2048 "
                           "characters", &value[0], &client->name);
        return NGX_CONF_ERROR;
    }

    if (field == &client->endpoint
        && (value[1].data[0] != '/'
            || ngx_strlchr(value[1].data, value[1].data + value[1].len, '?')
            || ngx_strlchr(value[1].data, value[1].data + value[1].len, '$')))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"token_endpoint\" of oauth_client \"%V\" must be "
                           "the URI of an internal location with a "
                           "\"proxy_pass\" to it, for example \"/_token\"",
                           &client->name);
        return NGX_CONF_ERROR;
    }

    *field = value[1];

    return NGX_CONF_OK;
}


static char *
ngx_http_penstock_client_auth(ngx_conf_t *cf,
    ngx_http_penstock_client_t *client)
{
    ngx_str_t                       *value;
    ngx_uint_t                       i;

    static const struct {
        const char                       *name;
        ngx_http_penstock_client_auth_e   auth;
    } auths[] = {
        { "client_secret_basic", NGX_HTTP_PENSTOCK_SECRET_BASIC },
        { "client_secret_post", NGX_HTTP_PENSTOCK_SECRET_POST },
        { "private_key_jwt", NGX_HTTP_PENSTOCK_PRIVATE_KEY }
    };

    value = cf->args->elts;

    for (i = 0; i < sizeof(auths) / sizeof(auths[0]); i++) {
        if (ngx_strcmp(value[1].data, auths[i].name) == 0
            && client->auth == NGX_HTTP_PENSTOCK_SECRET_UNSET)
        {
            client->auth = auths[i].auth;
            return NGX_CONF_OK;
        }
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid or repeated auth \"%V\" in oauth_client "
                       "\"%V\", use client_secret_basic, client_secret_post "
                       "or private_key_jwt", &value[1], &client->name);

    return NGX_CONF_ERROR;
}


static char *
ngx_http_penstock_client_alg(ngx_conf_t *cf,
    ngx_http_penstock_client_t *client)
{
    ngx_str_t           *value;
    ngx_uint_t           i;
    static const char   *algs[] = { "RS256", "ES256", "PS256" };

    value = cf->args->elts;

    for (i = 0; i < sizeof(algs) / sizeof(algs[0]); i++) {
        if (ngx_strcmp(value[1].data, algs[i]) == 0
            && client->alg == NGX_CONF_UNSET)
        {
            client->alg = i;
            return NGX_CONF_OK;
        }
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid or repeated alg \"%V\" in oauth_client "
                       "\"%V\", use RS256, ES256 or PS256", &value[1],
                       &client->name);

    return NGX_CONF_ERROR;
}


static char *
ngx_http_penstock_client_time(ngx_conf_t *cf,
    ngx_http_penstock_client_t *client, ngx_msec_t *field)
{
    ngx_int_t   n;
    ngx_str_t  *value;

    value = cf->args->elts;

    n = ngx_parse_time(&value[1], 0);

    if (n <= 0 || *field != NGX_CONF_UNSET_MSEC) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid or repeated \"%V %V\" in oauth_client "
                           "\"%V\", give a time above 0", &value[0],
                           &value[1], &client->name);
        return NGX_CONF_ERROR;
    }

    *field = (ngx_msec_t) n;

    return NGX_CONF_OK;
}


/* read again by each reload; wiped with the configuration it belongs to */

static char *
ngx_http_penstock_client_secret(ngx_conf_t *cf,
    ngx_http_penstock_client_t *client, ngx_uint_t key)
{
    u_char              *p;
    ssize_t              n;
    ngx_fd_t             fd;
    ngx_str_t           *value, name;
    ngx_pool_cleanup_t  *cln;

    static u_char        buf[NGX_HTTP_PENSTOCK_SECRET_MAX + 2];

    value = cf->args->elts;

    if (client->secret.data) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "oauth_client \"%V\" has a secret or a key "
                           "already", &client->name);
        return NGX_CONF_ERROR;
    }

    name = value[1];

    if (ngx_conf_full_name(cf->cycle, &name, 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    fd = ngx_open_file(name.data, NGX_FILE_RDONLY|NGX_FILE_NONBLOCK,
                       NGX_FILE_OPEN, 0);
    if (fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_open_file_n " \"%V\" failed", &name);
        return NGX_CONF_ERROR;
    }

    n = ngx_read_fd(fd, buf, sizeof(buf));

    if (ngx_close_file(fd) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_ERR, cf, ngx_errno,
                           ngx_close_file_n " \"%V\" failed", &name);
    }

    if (!key) {
        while (n > 0 && (buf[n - 1] == LF || buf[n - 1] == CR)) {
            n--;
        }
    }

    p = NULL;
    cln = ngx_pool_cleanup_add(cf->pool, 0);

    if (n > 0 && n <= NGX_HTTP_PENSTOCK_SECRET_MAX && cln) {
        p = ngx_pnalloc(cf->pool, n + 1);
    }

    if (p) {
        *ngx_cpymem(p, buf, n) = '\0';

        client->secret.data = p;
        client->secret.len = n;

        if (client->auth == NGX_HTTP_PENSTOCK_SECRET_UNSET && key) {
            client->auth = NGX_HTTP_PENSTOCK_PRIVATE_KEY;
        }

        cln->handler = ngx_http_penstock_client_forget;
        cln->data = &client->secret;
    }

    ngx_explicit_memzero(buf, sizeof(buf));

    if (p == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" must hold 1 to %d bytes", &name,
                           NGX_HTTP_PENSTOCK_SECRET_MAX);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static void
ngx_http_penstock_client_forget(void *data)
{
    ngx_str_t *secret = data;

    ngx_explicit_memzero(secret->data, secret->len);
}


static char *
ngx_http_penstock_client_check(ngx_conf_t *cf,
    ngx_http_penstock_client_t *client)
{
    const char  *wrong;

    wrong = NULL;

    if (client->endpoint.len == 0) {
        wrong = "add \"token_endpoint URI\"";

    } else if (client->id.len == 0) {
        wrong = "add \"client_id ID\"";

    } else if (client->secret.len == 0) {
        wrong = "add \"client_secret_file FILE\" or \"private_key_file FILE\"";
    }

    if (client->auth == NGX_HTTP_PENSTOCK_SECRET_UNSET) {
        client->auth = NGX_HTTP_PENSTOCK_SECRET_BASIC;
    }

    if (wrong) {
        /* void */

    } else if (client->auth == NGX_HTTP_PENSTOCK_PRIVATE_KEY) {

        if (client->alg == NGX_CONF_UNSET) {
            client->alg = PS_ASSERTION_RS256;
        }

        wrong = ps_assertion_key((char *) client->secret.data,
                                 client->secret.len,
                                 (ps_assertion_alg_e) client->alg);

        if (wrong == NULL && client->assertion_audience.len == 0) {
            wrong = "add \"assertion_audience URL\": what the authorization "
                    "server calls itself";
        }

    } else if (client->alg != NGX_CONF_UNSET || client->key_id.len
               || client->assertion_audience.len)
    {
        wrong = "\"alg\", \"key_id\" and \"assertion_audience\" go with "
                "\"auth private_key_jwt\"";
    }

    if (wrong) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "oauth_client \"%V\" can't be used: %s",
                           &client->name, wrong);
        return NGX_CONF_ERROR;
    }

    ngx_conf_init_msec_value(client->refresh, 60000);
    ngx_conf_init_msec_value(client->timeout, 10000);

    if (ngx_http_penstock_client_print(client) != NGX_OK
        || ngx_http_penstock_token_zone(cf, client) != NGX_OK
        || ngx_http_penstock_client_counters(cf, client) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* what makes its tokens others; a new secret does not */

static ngx_int_t
ngx_http_penstock_client_print(ngx_http_penstock_client_t *client)
{
    ngx_uint_t  i;
    ngx_str_t   parts[10];

    static ngx_str_t  end = { 1, (u_char *) "" };

    parts[0] = client->endpoint;
    parts[2] = client->id;
    parts[4] = client->scope;
    parts[6] = client->audience;
    parts[8] = client->resource;

    for (i = 1; i < 10; i += 2) {
        parts[i] = end;
    }

    return ngx_http_penstock_sha256(parts, 10, client->print);
}


static ngx_int_t
ngx_http_penstock_client_counters(ngx_conf_t *cf,
    ngx_http_penstock_client_t *client)
{
    u_char     *p;
    ngx_str_t   labels[3];
    ngx_uint_t  i;

    static const char  *results[] = { "fetched", "failed", "rejected" };

    for (i = 0; i < 3; i++) {
        p = ngx_pnalloc(cf->pool, client->name.len + 64);
        if (p == NULL) {
            return NGX_ERROR;
        }

        labels[i].data = p;
        labels[i].len = ngx_sprintf(p, "client=\"%V\",result=\"%s\"",
                                    &client->name, results[i]) - p;
    }

    client->fetched = ngx_http_penstock_counter(cf,
                          "penstock_client_tokens_total",
                          "Tokens of the gateway's own.", &labels[0]);
    client->failed = ngx_http_penstock_counter(cf,
                         "penstock_client_tokens_total",
                         "Tokens of the gateway's own.", &labels[1]);
    client->rejected = ngx_http_penstock_counter(cf,
                           "penstock_client_tokens_total",
                           "Tokens of the gateway's own.", &labels[2]);

    return (client->fetched == NGX_ERROR || client->failed == NGX_ERROR
            || client->rejected == NGX_ERROR) ? NGX_ERROR : NGX_OK;
}
