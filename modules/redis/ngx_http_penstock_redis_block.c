
/*
 * What stands in a "redis NAME { }" block.
 */

#include "ngx_http_penstock_redis_node.h"


#define NGX_HTTP_PENSTOCK_REDIS_PASSWORD_MAX  4096


typedef struct {
    const char  *reason;
    size_t       offset;
} ngx_http_penstock_redis_error_t;


static char *ngx_http_penstock_redis_server(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis);
static void ngx_http_penstock_redis_forget(void *data);
static char *ngx_http_penstock_redis_timeouts(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis);
static char *ngx_http_penstock_redis_number(ngx_conf_t *cf, ngx_int_t *field,
    ngx_int_t min, ngx_int_t max);
static ngx_int_t ngx_http_penstock_redis_metrics(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis);


char *
ngx_http_penstock_redis_directive(ngx_conf_t *cf, ngx_command_t *dummy,
    void *conf)
{
    size_t                      n;
    ngx_str_t                  *value;
    ngx_http_penstock_redis_t  *redis;

    redis = cf->ctx;
    value = cf->args->elts;
    n = cf->args->nelts;

    if (ngx_strcmp(value[0].data, "timeout") == 0) {
        return ngx_http_penstock_redis_timeouts(cf, redis);
    }

    if (ngx_strcmp(value[0].data, "mode") == 0) {
        return ngx_http_penstock_redis_mode(cf, redis);
    }

    if (n != 2) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid number of arguments in \"%V\" directive "
                           "of redis \"%V\", give it one", &value[0],
                           &redis->name);
        return NGX_CONF_ERROR;
    }

    if (ngx_strcmp(value[0].data, "tls") == 0
        || ngx_strncmp(value[0].data, "tls_", 4) == 0)
    {
        return ngx_http_penstock_redis_tls_directive(cf, redis);
    }

    if (ngx_strncmp(value[0].data, "sentinel_", 9) == 0) {
        return ngx_http_penstock_redis_sentinel_directive(cf, redis);
    }

    if (ngx_strcmp(value[0].data, "include") == 0) {
        return ngx_conf_include(cf, dummy, conf);
    }

    if (ngx_strcmp(value[0].data, "server") == 0) {
        return ngx_http_penstock_redis_server(cf, redis);
    }

    if (ngx_strcmp(value[0].data, "user") == 0) {

        if (redis->user.data) {
            goto duplicate;
        }

        redis->user = value[1];
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(value[0].data, "password_file") == 0) {
        return ngx_http_penstock_redis_password_file(cf, redis,
                                                     &redis->password);
    }

    if (ngx_strcmp(value[0].data, "database") == 0) {
        return ngx_http_penstock_redis_number(cf, &redis->database,
                                              0, 1000000);
    }

    if (ngx_strcmp(value[0].data, "max_pending") == 0) {
        return ngx_http_penstock_redis_number(cf, &redis->max_pending,
                                              1, 1000000);
    }

    if (ngx_strcmp(value[0].data, "max_reply") == 0) {

        if (redis->max_reply != NGX_CONF_UNSET) {
            goto duplicate;
        }

        redis->max_reply = ngx_parse_size(&value[1]);

        if (redis->max_reply < 1024
            || redis->max_reply > 512 * 1024 * 1024)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid max_reply \"%V\", give a size "
                               "between 1k and 512m", &value[1]);
            return NGX_CONF_ERROR;
        }

        return NGX_CONF_OK;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "unknown directive \"%V\" in redis \"%V\", use "
                       "server, mode, user, password_file, database, "
                       "timeout, max_pending, max_reply, tls, tls_... or "
                       "sentinel_...",
                       &value[0], &redis->name);
    return NGX_CONF_ERROR;

duplicate:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "\"%V\" directive is duplicate in redis \"%V\"",
                       &value[0], &redis->name);
    return NGX_CONF_ERROR;
}


static char *
ngx_http_penstock_redis_server(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis)
{
    ngx_str_t                       *value;
    ngx_url_t                        u;
    ngx_http_penstock_redis_node_t  *node;

    value = cf->args->elts;

    ngx_memzero(&u, sizeof(ngx_url_t));

    u.url = value[1];
    u.default_port = 6379;
    u.no_resolve = 1;

    if (ngx_parse_url(cf->pool, &u) != NGX_OK) {
        if (u.err) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "%s in server \"%V\" of redis \"%V\"",
                               u.err, &u.url, &redis->name);
        }

        return NGX_CONF_ERROR;
    }

    node = ngx_array_push(&redis->nodes);
    if (node == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(node, sizeof(ngx_http_penstock_redis_node_t));

    node->redis = redis;
    node->server = value[1];
    node->host = u.host;
    node->port = u.port;
    node->addrs = u.addrs;
    node->naddrs = u.naddrs;
    node->no_port = u.no_port;

    return NGX_CONF_OK;
}


char *
ngx_http_penstock_redis_password_file(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis, ngx_str_t *password)
{
    char                *rv;
    u_char               buf[NGX_HTTP_PENSTOCK_REDIS_PASSWORD_MAX + 2];
    ssize_t              n;
    ngx_fd_t             fd;
    ngx_str_t           *value, name;
    ngx_pool_cleanup_t  *cln;

    value = cf->args->elts;

    if (password->data) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" directive is duplicate in redis \"%V\"",
                           &value[0], &redis->name);
        return NGX_CONF_ERROR;
    }

    name = value[1];

    if (ngx_conf_full_name(cf->cycle, &name, 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    fd = ngx_open_file(name.data, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_open_file_n " \"%V\" failed", &name);
        return NGX_CONF_ERROR;
    }

    rv = NGX_CONF_ERROR;

    n = ngx_read_fd(fd, buf, sizeof(buf));

    if (n == -1) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_read_fd_n " \"%V\" failed", &name);
        goto done;
    }

    if (n && buf[n - 1] == LF) {
        n--;
    }

    if (n && buf[n - 1] == CR) {
        n--;
    }

    if (n == 0 || n > NGX_HTTP_PENSTOCK_REDIS_PASSWORD_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "%V \"%V\" must hold 1 to %d bytes", &value[0],
                           &name, NGX_HTTP_PENSTOCK_REDIS_PASSWORD_MAX);
        goto done;
    }

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        goto done;
    }

    password->data = ngx_pnalloc(cf->pool, n);
    if (password->data == NULL) {
        goto done;
    }

    ngx_memcpy(password->data, buf, n);
    password->len = n;

    cln->handler = ngx_http_penstock_redis_forget;
    cln->data = password;

    rv = NGX_CONF_OK;

done:

    ngx_explicit_memzero(buf, sizeof(buf));

    if (ngx_close_file(fd) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_ERR, cf, ngx_errno,
                           ngx_close_file_n " \"%V\" failed", &name);
    }

    return rv;
}


static void
ngx_http_penstock_redis_forget(void *data)
{
    ngx_str_t  *password = data;

    ngx_explicit_memzero(password->data, password->len);
}


static char *
ngx_http_penstock_redis_timeouts(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis)
{
    ngx_str_t   *value, s;
    ngx_uint_t   i;
    ngx_msec_t  *field, ms;

    value = cf->args->elts;

    if (cf->args->nelts < 2) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"timeout\" in redis \"%V\" needs connect=TIME "
                           "or command=TIME", &redis->name);
        return NGX_CONF_ERROR;
    }

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "connect=", 8) == 0) {
            field = &redis->connect_timeout;

        } else if (ngx_strncmp(value[i].data, "command=", 8) == 0) {
            field = &redis->command_timeout;

        } else {
            goto invalid;
        }

        if (*field != NGX_CONF_UNSET_MSEC) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "timeout \"%V\" is duplicate in redis \"%V\"",
                               &value[i], &redis->name);
            return NGX_CONF_ERROR;
        }

        s.data = value[i].data + 8;
        s.len = value[i].len - 8;

        ms = ngx_parse_time(&s, 0);

        if (ms == (ngx_msec_t) NGX_ERROR || ms == 0 || ms > 3600 * 1000) {
            goto invalid;
        }

        *field = ms;
    }

    return NGX_CONF_OK;

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid timeout \"%V\" in redis \"%V\", give "
                       "connect=TIME or command=TIME between 1ms and 1h",
                       &value[i], &redis->name);
    return NGX_CONF_ERROR;
}


static char *
ngx_http_penstock_redis_number(ngx_conf_t *cf, ngx_int_t *field,
    ngx_int_t min, ngx_int_t max)
{
    ngx_str_t                  *value;
    ngx_http_penstock_redis_t  *redis;

    redis = cf->ctx;
    value = cf->args->elts;

    if (*field != NGX_CONF_UNSET) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" directive is duplicate in redis \"%V\"",
                           &value[0], &redis->name);
        return NGX_CONF_ERROR;
    }

    *field = ngx_atoi(value[1].data, value[1].len);

    if (*field == NGX_ERROR || *field < min || *field > max) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid %V \"%V\" in redis \"%V\", give a number "
                           "between %i and %i",
                           &value[0], &value[1], &redis->name, min, max);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* the end of a block */

char *
ngx_http_penstock_redis_defaults(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis)
{
    if (redis->nodes.nelts == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "no \"server\" in redis \"%V\", add for example "
                           "\"server 127.0.0.1:6379\"", &redis->name);
        return NGX_CONF_ERROR;
    }

    if (redis->user.data && redis->password.data == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"user\" in redis \"%V\" needs a "
                           "\"password_file\"", &redis->name);
        return NGX_CONF_ERROR;
    }

    ngx_conf_init_value(redis->database, 0);
    ngx_conf_init_msec_value(redis->connect_timeout, 200);
    ngx_conf_init_msec_value(redis->command_timeout, 50);
    ngx_conf_init_value(redis->max_pending, 4096);
    ngx_conf_init_value(redis->max_reply, 8 * 1024 * 1024);

    if (ngx_http_penstock_redis_mode_defaults(cf, redis) != NGX_CONF_OK
        || ngx_http_penstock_redis_tls_defaults(cf, redis) != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (ngx_http_penstock_redis_metrics(cf, redis) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_penstock_redis_metrics(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis)
{
    ngx_uint_t                                    i;

    static const ngx_http_penstock_redis_error_t  errors[] = {
        { "refused", offsetof(ngx_http_penstock_redis_metrics_t, refused) },
        { "down", offsetof(ngx_http_penstock_redis_metrics_t, down) },
        { "lost", offsetof(ngx_http_penstock_redis_metrics_t, lost) },
        { "protocol", offsetof(ngx_http_penstock_redis_metrics_t, protocol) },
        { "tls", offsetof(ngx_http_penstock_redis_metrics_t, tls) }
    };

    for (i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        if (ngx_http_penstock_redis_counter(cf, redis,
                                "penstock_redis_errors_total",
                                "Redis calls that failed and broken replies",
                                errors[i].reason,
                                (ngx_int_t *) ((char *) &redis->metrics
                                               + errors[i].offset))
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    if (ngx_http_penstock_redis_counter(cf, redis,
                                        "penstock_redis_calls_total",
                                        "Redis commands taken to be sent",
                                        NULL, &redis->metrics.calls)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ngx_http_penstock_redis_counter(cf, redis,
                                        "penstock_redis_tls_resumed_total",
                                        "TLS handshakes that resumed a "
                                        "session", NULL,
                                        &redis->metrics.resumed)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_penstock_redis_counter(cf, redis,
                                        "penstock_redis_connects_total",
                                        "Attempts to connect to Redis",
                                        NULL, &redis->metrics.connects);
}


ngx_int_t
ngx_http_penstock_redis_counter(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis, const char *name, const char *help,
    const char *reason, ngx_int_t *id)
{
    u_char     *p;
    ngx_str_t   labels;

    labels.data = ngx_pnalloc(cf->pool, redis->name.len
                              + sizeof("redis=\"\",reason=\"protocol\""));
    if (labels.data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_sprintf(labels.data, "redis=\"%V\"", &redis->name);

    if (reason) {
        p = ngx_sprintf(p, ",reason=\"%s\"", reason);
    }

    labels.len = p - labels.data;

    *id = ngx_http_penstock_counter(cf, name, help, &labels);

    return *id == NGX_ERROR ? NGX_ERROR : NGX_OK;
}
