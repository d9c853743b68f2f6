
/*
 * The "redis NAME { }" blocks.
 *
 * A block may come after the directives that name it.  Passwords are read
 * here, by the master, so that workers need no access to the files.
 */

#include "ngx_http_penstock_redis_node.h"
#include "ngx_http_penstock_redis_cluster.h"
#include "ngx_http_penstock_redis_sentinel.h"


typedef struct {
    ngx_array_t   blocks;          /* ngx_http_penstock_redis_t * */
    unsigned      checked:1;
} ngx_http_penstock_redis_main_conf_t;


static ngx_int_t ngx_http_penstock_redis_init(ngx_conf_t *cf);
static void *ngx_http_penstock_redis_create_main_conf(ngx_conf_t *cf);
static ngx_int_t ngx_http_penstock_redis_init_module(ngx_cycle_t *cycle);
static ngx_int_t ngx_http_penstock_redis_init_process(ngx_cycle_t *cycle);
static void ngx_http_penstock_redis_exit_process(ngx_cycle_t *cycle);
static char *ngx_http_penstock_redis_block(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_http_penstock_redis_lookup(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis);


static ngx_command_t  ngx_http_penstock_redis_commands[] = {

    { ngx_string("redis"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_BLOCK|NGX_CONF_TAKE1,
      ngx_http_penstock_redis_block,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_penstock_redis_module_ctx = {
    NULL,                                  /* preconfiguration */
    ngx_http_penstock_redis_init,          /* postconfiguration */

    ngx_http_penstock_redis_create_main_conf,  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_penstock_redis_module = {
    NGX_MODULE_V1,
    &ngx_http_penstock_redis_module_ctx,   /* module context */
    ngx_http_penstock_redis_commands,      /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    ngx_http_penstock_redis_init_module,   /* init module */
    ngx_http_penstock_redis_init_process,  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_penstock_redis_exit_process,  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


ngx_http_penstock_redis_t *
ngx_http_penstock_redis_ref(ngx_conf_t *cf, ngx_str_t *name)
{
    u_char                                ch;
    ngx_uint_t                            i;
    ngx_http_penstock_redis_t            *redis, **block;
    ngx_http_penstock_redis_main_conf_t  *rmcf;

    rmcf = ngx_http_conf_get_module_main_conf(cf,
                                              ngx_http_penstock_redis_module);

    block = rmcf->blocks.elts;

    for (i = 0; i < rmcf->blocks.nelts; i++) {
        if (block[i]->name.len == name->len
            && ngx_memcmp(block[i]->name.data, name->data, name->len) == 0)
        {
            return block[i];
        }
    }

    if (name->len == 0) {
        goto invalid;
    }

    for (i = 0; i < name->len; i++) {
        ch = name->data[i];

        if (!((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z')
              || (ch >= '0' && ch <= '9') || ch == '_' || ch == '-'
              || ch == '.'))
        {
            goto invalid;
        }
    }

    if (rmcf->checked) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "no block redis \"%V\" { } in http { }", name);
        return NULL;
    }

    redis = ngx_pcalloc(cf->pool, sizeof(ngx_http_penstock_redis_t));
    if (redis == NULL) {
        return NULL;
    }

    redis->name = *name;
    redis->database = NGX_CONF_UNSET;
    redis->connect_timeout = NGX_CONF_UNSET_MSEC;
    redis->command_timeout = NGX_CONF_UNSET_MSEC;
    redis->max_pending = NGX_CONF_UNSET;
    redis->max_reply = NGX_CONF_UNSET;
    redis->tls = NGX_CONF_UNSET;

    if (cf->conf_file) {
        redis->file = cf->conf_file->file.name.data;
        redis->line = cf->conf_file->line;
    }

    if (ngx_array_init(&redis->nodes, cf->pool, 1,
                       sizeof(ngx_http_penstock_redis_node_t))
        != NGX_OK
        || ngx_array_init(&redis->movers, cf->pool, 1,
                          sizeof(ngx_http_penstock_redis_mover_t))
           != NGX_OK)
    {
        return NULL;
    }

    block = ngx_array_push(&rmcf->blocks);
    if (block == NULL) {
        return NULL;
    }

    *block = redis;

    return redis;

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid redis name \"%V\": letters, digits, \"_\", "
                       "\"-\" and \".\" may be used", name);
    return NULL;
}


/* the end of http { }: the resolver and all references are known */

static ngx_int_t
ngx_http_penstock_redis_init(ngx_conf_t *cf)
{
    ngx_uint_t                            i;
    ngx_http_penstock_redis_t           **block;
    ngx_http_penstock_redis_main_conf_t  *rmcf;

    rmcf = ngx_http_conf_get_module_main_conf(cf,
                                              ngx_http_penstock_redis_module);

    rmcf->checked = 1;

    block = rmcf->blocks.elts;

    for (i = 0; i < rmcf->blocks.nelts; i++) {

        if (!block[i]->defined) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "no block redis \"%V\" { } in http { }, it is "
                          "named in %s:%ui",
                          &block[i]->name, block[i]->file, block[i]->line);
            return NGX_ERROR;
        }

        if (ngx_http_penstock_redis_lookup(cf, block[i]) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* without a resolver names are looked up once, as those of an upstream */

static ngx_int_t
ngx_http_penstock_redis_lookup(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis)
{
    ngx_url_t                        u;
    ngx_uint_t                       i;
    ngx_http_core_loc_conf_t        *clcf;
    ngx_http_penstock_redis_node_t  *node;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->resolver && clcf->resolver->connections.nelts) {
        redis->resolver = clcf->resolver;
        return NGX_OK;
    }

    node = redis->nodes.elts;

    for (i = 0; i < redis->nodes.nelts; i++) {

        if (node[i].naddrs) {
            continue;
        }

        ngx_memzero(&u, sizeof(ngx_url_t));

        u.url = node[i].server;
        u.default_port = node[i].port;

        if (ngx_parse_url(cf->pool, &u) != NGX_OK) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "%s in server \"%V\" of redis \"%V\", define a "
                          "\"resolver\" in http { } to look it up later",
                          u.err ? u.err : "no memory", &u.url,
                          &redis->name);
            return NGX_ERROR;
        }

        node[i].addrs = u.addrs;
        node[i].naddrs = u.naddrs;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_redis_init_module(ngx_cycle_t *cycle)
{
    ngx_uint_t                            i;
    ngx_http_penstock_redis_t           **block;
    ngx_http_penstock_redis_main_conf_t  *rmcf;

    rmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                              ngx_http_penstock_redis_module);
    if (rmcf == NULL) {
        return NGX_OK;
    }

    block = rmcf->blocks.elts;

    for (i = 0; i < rmcf->blocks.nelts; i++) {
        ngx_http_penstock_redis_push_init(block[i]);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_redis_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                            i;
    ngx_http_penstock_redis_t           **block;
    ngx_http_penstock_redis_main_conf_t  *rmcf;

    rmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                              ngx_http_penstock_redis_module);

    /* the cache manager and loader serve nobody */

    if (rmcf == NULL
        || (ngx_process != NGX_PROCESS_WORKER
            && ngx_process != NGX_PROCESS_SINGLE))
    {
        return NGX_OK;
    }

    block = rmcf->blocks.elts;

    for (i = 0; i < rmcf->blocks.nelts; i++) {
        if (ngx_http_penstock_redis_push_start(block[i], cycle) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* nginx reports connections that are left open as leaks */

static void
ngx_http_penstock_redis_exit_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                            i, n;
    ngx_http_penstock_redis_t           **block;
    ngx_http_penstock_redis_node_t       *node;
    ngx_http_penstock_redis_main_conf_t  *rmcf;

    rmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                              ngx_http_penstock_redis_module);
    if (rmcf == NULL) {
        return;
    }

    block = rmcf->blocks.elts;

    for (i = 0; i < rmcf->blocks.nelts; i++) {
        node = block[i]->nodes.elts;

        for (n = 0; n < block[i]->nodes.nelts; n++) {
            ngx_http_penstock_redis_node_exit(&node[n]);
        }

        if (block[i]->cluster) {
            ngx_http_penstock_redis_cluster_exit(block[i]->cluster);
        }

        if (block[i]->sentinel) {
            ngx_http_penstock_redis_sentinel_exit(block[i]->sentinel);
        }

        ngx_http_penstock_redis_push_exit(block[i]);
    }
}


static void *
ngx_http_penstock_redis_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_penstock_redis_main_conf_t  *rmcf;

    rmcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_penstock_redis_main_conf_t));
    if (rmcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&rmcf->blocks, cf->pool, 4,
                       sizeof(ngx_http_penstock_redis_t *))
        != NGX_OK)
    {
        return NULL;
    }

    return rmcf;
}


static char *
ngx_http_penstock_redis_block(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char                       *rv;
    ngx_str_t                  *value;
    ngx_conf_t                  save;
    ngx_http_penstock_redis_t  *redis;

    value = cf->args->elts;

    redis = ngx_http_penstock_redis_ref(cf, &value[1]);
    if (redis == NULL) {
        return NGX_CONF_ERROR;
    }

    if (redis->defined) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "duplicate redis \"%V\", the first is in %s:%ui",
                           &value[1], redis->file, redis->line);
        return NGX_CONF_ERROR;
    }

    redis->defined = 1;

    redis->file = cf->conf_file->file.name.data;
    redis->line = cf->conf_file->line;

    save = *cf;
    cf->ctx = redis;
    cf->handler = ngx_http_penstock_redis_directive;
    cf->handler_conf = conf;

    rv = ngx_conf_parse(cf, NULL);

    *cf = save;

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    return ngx_http_penstock_redis_defaults(cf, redis);
}
