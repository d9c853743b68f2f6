
/*
 * The mode of a "redis NAME { }" block, and what else it asks for.
 */

#include "ngx_http_penstock_redis_node.h"
#include "ngx_http_penstock_redis_cluster.h"
#include "ngx_http_penstock_redis_sentinel.h"


#define NGX_HTTP_PENSTOCK_REDIS_SENTINEL_PORT  26379


static char *ngx_http_penstock_redis_mode_sentinel(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis);
static ngx_http_penstock_redis_sentinel_t *ngx_http_penstock_redis_sentinel(
    ngx_conf_t *cf, ngx_http_penstock_redis_t *redis);
static char *ngx_http_penstock_redis_sentinel_defaults(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis);


char *
ngx_http_penstock_redis_mode(ngx_conf_t *cf, ngx_http_penstock_redis_t *redis)
{
    ngx_str_t  *value;

    value = cf->args->elts;

    if (redis->mode.data) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"mode\" directive is duplicate in redis \"%V\"",
                           &redis->name);
        return NGX_CONF_ERROR;
    }

    if (cf->args->nelts > 1 && ngx_strcmp(value[1].data, "sentinel") == 0) {
        return ngx_http_penstock_redis_mode_sentinel(cf, redis);
    }

    if (cf->args->nelts != 2) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid mode in redis \"%V\", use \"standalone\", "
                           "\"sentinel MASTER\" or \"cluster\"", &redis->name);
        return NGX_CONF_ERROR;
    }

    redis->mode = value[1];

    if (ngx_strcmp(value[1].data, "standalone") == 0) {
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(value[1].data, "cluster") == 0) {
        redis->cluster = ngx_http_penstock_redis_cluster_create(cf, redis);

        return redis->cluster ? NGX_CONF_OK : NGX_CONF_ERROR;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid mode \"%V\" in redis \"%V\", use "
                       "\"standalone\", \"sentinel MASTER\" or \"cluster\"",
                       &value[1], &redis->name);
    return NGX_CONF_ERROR;
}


static char *
ngx_http_penstock_redis_mode_sentinel(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis)
{
    ngx_str_t                           *value;
    ngx_http_penstock_redis_sentinel_t  *sentinel;

    value = cf->args->elts;

    if (cf->args->nelts != 3) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"mode sentinel\" in redis \"%V\" needs the "
                           "name of one master, for example \"mode sentinel "
                           "mymaster\"", &redis->name);
        return NGX_CONF_ERROR;
    }

    if (!ps_sentinel_name((char *) value[2].data, value[2].len)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid master \"%V\" in redis \"%V\": letters, "
                           "digits, \".\", \"-\" and \"_\" may be used, %d "
                           "at most", &value[2], &redis->name,
                           PS_SENTINEL_NAME_MAX);
        return NGX_CONF_ERROR;
    }

    sentinel = ngx_http_penstock_redis_sentinel(cf, redis);
    if (sentinel == NULL) {
        return NGX_CONF_ERROR;
    }

    redis->mode = value[1];

    sentinel->name = value[2];

    /* as long as its address is not known */

    sentinel->master.redis = redis;
    sentinel->master.server = value[2];

    return NGX_CONF_OK;
}


/* its directives may come before "mode" */

static ngx_http_penstock_redis_sentinel_t *
ngx_http_penstock_redis_sentinel(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis)
{
    if (redis->sentinel == NULL) {
        redis->sentinel = ngx_pcalloc(cf->pool,
                                 sizeof(ngx_http_penstock_redis_sentinel_t));
        if (redis->sentinel == NULL) {
            return NULL;
        }

        redis->sentinel->redis = redis;
        redis->sentinel->tls = NGX_CONF_UNSET;
    }

    return redis->sentinel;
}


char *
ngx_http_penstock_redis_sentinel_directive(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis)
{
    ngx_str_t                           *value;
    ngx_http_penstock_redis_sentinel_t  *sentinel;

    value = cf->args->elts;

    sentinel = ngx_http_penstock_redis_sentinel(cf, redis);
    if (sentinel == NULL) {
        return NGX_CONF_ERROR;
    }

    if (ngx_strcmp(value[0].data, "sentinel_password_file") == 0) {
        return ngx_http_penstock_redis_password_file(cf, redis,
                                                     &sentinel->password);
    }

    if (ngx_strcmp(value[0].data, "sentinel_user") == 0) {

        if (sentinel->user.data) {
            goto duplicate;
        }

        sentinel->user = value[1];
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(value[0].data, "sentinel_tls") == 0) {

        if (sentinel->tls != NGX_CONF_UNSET) {
            goto duplicate;
        }

        if (ngx_strcmp(value[1].data, "on") == 0) {
            sentinel->tls = 1;

        } else if (ngx_strcmp(value[1].data, "off") == 0) {
            sentinel->tls = 0;

        } else {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid sentinel_tls \"%V\" in redis \"%V\", "
                               "use \"on\" or \"off\"",
                               &value[1], &redis->name);
            return NGX_CONF_ERROR;
        }

        return NGX_CONF_OK;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "unknown directive \"%V\" in redis \"%V\", use "
                       "sentinel_user, sentinel_password_file or "
                       "sentinel_tls", &value[0], &redis->name);
    return NGX_CONF_ERROR;

duplicate:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "\"%V\" directive is duplicate in redis \"%V\"",
                       &value[0], &redis->name);
    return NGX_CONF_ERROR;
}


char *
ngx_http_penstock_redis_mode_defaults(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis)
{
    ngx_http_penstock_redis_node_t  *node;

    node = redis->nodes.elts;

    if (redis->sentinel) {
        return ngx_http_penstock_redis_sentinel_defaults(cf, redis);
    }

    if (redis->nodes.nelts > 1 && redis->cluster == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "second server \"%V\" in redis \"%V\": mode "
                           "standalone takes one", &node[1].server,
                           &redis->name);
        return NGX_CONF_ERROR;
    }

    if (redis->cluster && redis->database != 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"database %i\" in redis \"%V\": a cluster has "
                           "0 only", redis->database, &redis->name);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_penstock_redis_sentinel_defaults(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis)
{
    ngx_uint_t                           i, k;
    ngx_http_penstock_redis_node_t      *node;
    ngx_http_penstock_redis_sentinel_t  *sentinel;

    sentinel = redis->sentinel;

    if (sentinel->name.data == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"sentinel_...\" in redis \"%V\" needs \"mode "
                           "sentinel MASTER\"", &redis->name);
        return NGX_CONF_ERROR;
    }

    if (sentinel->user.data && sentinel->password.data == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"sentinel_user\" in redis \"%V\" needs a "
                           "\"sentinel_password_file\"", &redis->name);
        return NGX_CONF_ERROR;
    }

    if (sentinel->tls == 1 && redis->tls != 1) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"sentinel_tls on\" in redis \"%V\" needs \"tls "
                           "on\"", &redis->name);
        return NGX_CONF_ERROR;
    }

    ngx_conf_init_value(sentinel->tls, 1);

    node = redis->nodes.elts;

    for (i = 0; i < redis->nodes.nelts; i++) {
        node[i].aside = 1;
        node[i].tells = 1;

        if (!node[i].no_port) {
            continue;
        }

        node[i].port = NGX_HTTP_PENSTOCK_REDIS_SENTINEL_PORT;

        for (k = 0; k < node[i].naddrs; k++) {
            ngx_inet_set_port(node[i].addrs[k].sockaddr, node[i].port);
        }
    }

    return ngx_http_penstock_redis_counter(cf, redis,
                                        "penstock_redis_master_moves_total",
                                        "Times that a worker followed the "
                                        "sentinels to another master", NULL,
                                        &sentinel->moves)
           == NGX_OK ? NGX_CONF_OK : NGX_CONF_ERROR;
}
