
/*
 * For tests only: reaches core's zones, dictionary, counters, digests and
 * random bytes from a configuration.
 *
 *     probe_dict_zone NAME:SIZE [layout=N];       # http
 *     probe_dict NAME;                            # location
 *
 * GET ?do=insert&key=K&value=V, find, delete, fill&from=F&n=N&size=S, kill
 * (dies in the middle of a change, under the lock), count&n=N, sha256&key=K,
 * random.
 */

#include <ngx_http_penstock.h>


#define NGX_HTTP_PENSTOCK_PROBE_FILL  100000


typedef struct {
    ngx_int_t         counter;
} ngx_http_penstock_probe_zone_t;


typedef struct {
    ngx_shm_zone_t   *zone;
} ngx_http_penstock_probe_dict_conf_t;


static ngx_int_t ngx_http_penstock_probe_dict_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_penstock_probe_dict_do(ngx_http_request_t *r,
    ngx_shm_zone_t *zone, ngx_str_t *text);
static ngx_int_t ngx_http_penstock_probe_dict_fill(ngx_http_request_t *r,
    ngx_http_penstock_dict_t *dict);
static void ngx_http_penstock_probe_dict_kill(ngx_http_penstock_dict_t *dict,
    const u_char *key);
static ngx_uint_t ngx_http_penstock_probe_arg_n(ngx_http_request_t *r,
    char *name, ngx_uint_t value);
static void *ngx_http_penstock_probe_dict_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_penstock_probe_dict_zone(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static char *ngx_http_penstock_probe_dict(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


static ngx_command_t  ngx_http_penstock_probe_dict_commands[] = {

    { ngx_string("probe_dict_zone"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE12,
      ngx_http_penstock_probe_dict_zone,
      0,
      0,
      NULL },

    { ngx_string("probe_dict"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_penstock_probe_dict,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_penstock_probe_dict_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_penstock_probe_dict_create_loc_conf,
                                           /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_penstock_probe_dict_module = {
    NGX_MODULE_V1,
    &ngx_http_penstock_probe_dict_module_ctx,
                                           /* module context */
    ngx_http_penstock_probe_dict_commands, /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_int_t
ngx_http_penstock_probe_dict_handler(ngx_http_request_t *r)
{
    ngx_int_t                             rc;
    ngx_str_t                             text;
    ngx_http_complex_value_t              cv;
    ngx_http_penstock_probe_dict_conf_t  *pcf;

    static ngx_str_t                      type = ngx_string("text/plain");

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    pcf = ngx_http_get_module_loc_conf(r, ngx_http_penstock_probe_dict_module);

    rc = ngx_http_penstock_probe_dict_do(r, pcf->zone, &text);
    if (rc != NGX_OK) {
        return rc;
    }

    ngx_memzero(&cv, sizeof(ngx_http_complex_value_t));
    cv.value = text;

    return ngx_http_send_response(r, NGX_HTTP_OK, &type, &cv);
}


static ngx_int_t
ngx_http_penstock_probe_dict_do(ngx_http_request_t *r, ngx_shm_zone_t *zone,
    ngx_str_t *text)
{
    u_char                           digest[NGX_HTTP_PENSTOCK_KEY_LEN];
    ngx_str_t                        what, key, value;
    ngx_http_penstock_dict_t        *dict;
    ngx_http_penstock_dict_node_t   *node;
    ngx_http_penstock_probe_zone_t  *conf;

    ngx_str_null(&key);
    ngx_str_null(&value);

    if (ngx_http_arg(r, (u_char *) "do", 2, &what) != NGX_OK) {
        return NGX_HTTP_BAD_REQUEST;
    }

    (void) ngx_http_arg(r, (u_char *) "key", 3, &key);
    (void) ngx_http_arg(r, (u_char *) "value", 5, &value);

    if (ngx_http_penstock_sha256(&key, 1, digest) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_str_set(text, "ok");

    conf = ngx_http_penstock_zone_conf(zone);
    dict = ngx_http_penstock_dict(zone);

    if (what.len == 6 && ngx_strncmp(what.data, "insert", 6) == 0) {
        ngx_http_penstock_dict_lock(dict);

        node = ngx_http_penstock_dict_insert(dict, digest, value.len);
        if (node) {
            ngx_memcpy(node->data, value.data, value.len);
        }

        ngx_http_penstock_dict_unlock(dict);

        if (node == NULL) {
            ngx_str_set(text, "no room");
        }

        return NGX_OK;
    }

    if (what.len == 4 && ngx_strncmp(what.data, "find", 4) == 0) {
        ngx_str_set(text, "miss");

        ngx_http_penstock_dict_lock(dict);

        node = ngx_http_penstock_dict_find(dict, digest);

        if (node) {
            text->data = ngx_pnalloc(r->pool, node->size + 1);

            if (text->data) {
                text->len = ngx_cpymem(text->data, node->data, node->size)
                            - text->data;
            }
        }

        ngx_http_penstock_dict_unlock(dict);

        return text->data ? NGX_OK : NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (what.len == 6 && ngx_strncmp(what.data, "delete", 6) == 0) {
        ngx_http_penstock_dict_lock(dict);

        node = ngx_http_penstock_dict_find(dict, digest);
        if (node) {
            ngx_http_penstock_dict_delete(dict, node);
        }

        ngx_http_penstock_dict_unlock(dict);

        return NGX_OK;
    }

    if (what.len == 4 && ngx_strncmp(what.data, "fill", 4) == 0) {
        return ngx_http_penstock_probe_dict_fill(r, dict);
    }

    if (what.len == 4 && ngx_strncmp(what.data, "kill", 4) == 0) {
        ngx_http_penstock_probe_dict_kill(dict, digest);
        return NGX_OK;
    }

    if (what.len == 5 && ngx_strncmp(what.data, "count", 5) == 0) {
        ngx_http_penstock_count(conf->counter,
                                ngx_http_penstock_probe_arg_n(r, "n", 1));
        return NGX_OK;
    }

    text->data = ngx_pnalloc(r->pool, 2 * sizeof(digest));
    if (text->data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (what.len == 6 && ngx_strncmp(what.data, "random", 6) == 0
        && ngx_http_penstock_random(digest, sizeof(digest)) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* "random", "sha256" */

    text->len = ngx_hex_dump(text->data, digest, sizeof(digest)) - text->data;

    return NGX_OK;
}


/* n entries of that size, with the numbers from "from" on as keys */

static ngx_int_t
ngx_http_penstock_probe_dict_fill(ngx_http_request_t *r,
    ngx_http_penstock_dict_t *dict)
{
    u_char      buf[NGX_INT_T_LEN], digest[NGX_HTTP_PENSTOCK_KEY_LEN];
    ngx_str_t   key;
    ngx_uint_t  i, n, from, size;

    n = ngx_http_penstock_probe_arg_n(r, "n", 1);
    from = ngx_http_penstock_probe_arg_n(r, "from", 0);
    size = ngx_http_penstock_probe_arg_n(r, "size", 8);

    for (i = 0; i < ngx_min(n, NGX_HTTP_PENSTOCK_PROBE_FILL); i++) {
        key.data = buf;
        key.len = ngx_sprintf(buf, "%ui", from + i) - buf;

        if (ngx_http_penstock_sha256(&key, 1, digest) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        ngx_http_penstock_dict_lock(dict);

        if (ngx_http_penstock_dict_insert(dict, digest, size) == NULL) {
            ngx_http_penstock_dict_unlock(dict);
            return NGX_HTTP_INSUFFICIENT_STORAGE;
        }

        ngx_http_penstock_dict_unlock(dict);
    }

    return NGX_OK;
}


/* leaves links that lead nowhere, as a change half made would */

static void
ngx_http_penstock_probe_dict_kill(ngx_http_penstock_dict_t *dict,
    const u_char *key)
{
    ngx_http_penstock_dict_node_t  *node;

    ngx_http_penstock_dict_lock(dict);

    node = ngx_http_penstock_dict_insert(dict, key, 8);

    if (node) {
        ngx_memset(node, 0xa5, sizeof(ngx_http_penstock_dict_node_t));
    }

    (void) kill(getpid(), SIGKILL);
}


static ngx_uint_t
ngx_http_penstock_probe_arg_n(ngx_http_request_t *r, char *name,
    ngx_uint_t value)
{
    ngx_int_t  n;
    ngx_str_t  arg;

    if (ngx_http_arg(r, (u_char *) name, ngx_strlen(name), &arg) != NGX_OK) {
        return value;
    }

    n = ngx_atoi(arg.data, arg.len);

    return n == NGX_ERROR ? value : (ngx_uint_t) n;
}


static void *
ngx_http_penstock_probe_dict_create_loc_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_penstock_probe_dict_conf_t));
}


static char *
ngx_http_penstock_probe_dict_zone(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    u_char                          *p;
    ssize_t                          size;
    ngx_str_t                       *value, name, labels;
    ngx_int_t                        layout;
    ngx_shm_zone_t                  *zone;
    ngx_http_penstock_probe_zone_t  *pz;

    value = cf->args->elts;
    layout = 1;

    if (ngx_http_penstock_zone_parse(cf, &value[1], &name, &size) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (cf->args->nelts == 3) {
        if (ngx_strncmp(value[2].data, "layout=", 7) != 0) {
            return "invalid parameter";
        }

        layout = ngx_atoi(value[2].data + 7, value[2].len - 7);
        if (layout == NGX_ERROR) {
            return "invalid layout";
        }
    }

    pz = ngx_palloc(cf->pool, sizeof(ngx_http_penstock_probe_zone_t));
    p = ngx_pnalloc(cf->pool, sizeof("zone=\"\"") + name.len);
    if (pz == NULL || p == NULL) {
        return NGX_CONF_ERROR;
    }

    labels.data = p;
    labels.len = ngx_sprintf(p, "zone=\"%V\"", &name) - p;

    zone = ngx_http_penstock_dict_add(cf, &name, size,
                                      &ngx_http_penstock_probe_dict_module,
                                      layout, pz);
    if (zone == NULL) {
        return NGX_CONF_ERROR;
    }

    pz->counter = ngx_http_penstock_counter(cf, "penstock_probe_total",
                                            "What a test counts.", &labels);

    if (pz->counter == NGX_ERROR
        || ngx_http_penstock_gauge(cf, "penstock_probe_entries",
                                   "Entries in a zone of a test.", &labels,
                                   ngx_http_penstock_dict_entries, zone)
           == NGX_ERROR
        || ngx_http_penstock_gauge(cf, "penstock_probe_evictions",
                                   "Entries that had to go.", &labels,
                                   ngx_http_penstock_dict_evictions, zone)
           == NGX_ERROR)
    {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_penstock_probe_dict(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_penstock_probe_dict_conf_t  *pcf = conf;

    ngx_str_t                 *value;
    ngx_http_core_loc_conf_t  *clcf;

    value = cf->args->elts;

    pcf->zone = ngx_http_penstock_zone_ref(cf, &value[1],
                                       &ngx_http_penstock_probe_dict_module);
    if (pcf->zone == NULL) {
        return NGX_CONF_ERROR;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_penstock_probe_dict_handler;

    return NGX_CONF_OK;
}
