
/*
 * For tests only: a worker that dies at a moment named in the sources
 * (ngx_http_penstock_kill_point), and one that writes beyond its pool.
 *
 *     probe_kill;                                 # location
 *
 * GET ?point=NAME&after=N: the N-th passage, of whatever worker, is its last.
 * GET alone answers with how many passages are left to it.
 * GET ?overflow=N writes N bytes into a string of 16 from the request's pool.
 */

#include <ngx_http_penstock.h>


#define NGX_HTTP_PENSTOCK_PROBE_POINT  64


/* shared by the master's processes for as long as it lives */

typedef struct {
    ngx_atomic_t      left;
    char              point[NGX_HTTP_PENSTOCK_PROBE_POINT];
} ngx_http_penstock_probe_kill_t;


static ngx_int_t ngx_http_penstock_probe_kill_handler(ngx_http_request_t *r);
static void ngx_http_penstock_probe_overflow(ngx_http_request_t *r,
    ngx_uint_t n);
static char *ngx_http_penstock_probe_kill(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


static ngx_http_penstock_probe_kill_t  *ngx_http_penstock_probe_killer;


static ngx_command_t  ngx_http_penstock_probe_kill_commands[] = {

    { ngx_string("probe_kill"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_penstock_probe_kill,
      0,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_penstock_probe_kill_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_penstock_probe_kill_module = {
    NGX_MODULE_V1,
    &ngx_http_penstock_probe_kill_module_ctx,
                                           /* module context */
    ngx_http_penstock_probe_kill_commands, /* module directives */
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


void
ngx_http_penstock_fault(const char *point)
{
    ngx_atomic_uint_t                left;
    ngx_http_penstock_probe_kill_t  *killer;

    killer = ngx_http_penstock_probe_killer;

    if (killer == NULL || killer->left == 0
        || ngx_strcmp(killer->point, point) != 0)
    {
        return;
    }

    do {
        left = killer->left;

        if (left == 0) {
            return;
        }

    } while (!ngx_atomic_cmp_set(&killer->left, left, left - 1));

    if (left == 1) {
        (void) kill(ngx_pid, SIGKILL);
    }
}


static ngx_int_t
ngx_http_penstock_probe_kill_handler(ngx_http_request_t *r)
{
    u_char                          *p;
    ngx_int_t                        rc, n;
    ngx_str_t                        point, after, text;
    ngx_http_complex_value_t         cv;
    ngx_http_penstock_probe_kill_t  *killer;

    static ngx_str_t                 type = ngx_string("text/plain");

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    killer = ngx_http_penstock_probe_killer;

    if (ngx_http_arg(r, (u_char *) "overflow", 8, &after) == NGX_OK) {
        ngx_http_penstock_probe_overflow(r, ngx_atoi(after.data, after.len));
    }

    if (ngx_http_arg(r, (u_char *) "point", 5, &point) == NGX_OK
        && point.len < NGX_HTTP_PENSTOCK_PROBE_POINT)
    {
        n = 1;

        if (ngx_http_arg(r, (u_char *) "after", 5, &after) == NGX_OK) {
            n = ngx_atoi(after.data, after.len);
        }

        if (n < 1) {
            return NGX_HTTP_BAD_REQUEST;
        }

        killer->left = 0;
        ngx_memory_barrier();

        ngx_memcpy(killer->point, point.data, point.len);
        killer->point[point.len] = '\0';

        ngx_memory_barrier();
        killer->left = n;
    }

    p = ngx_pnalloc(r->pool, NGX_INT64_LEN);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    text.data = p;
    text.len = ngx_sprintf(p, "%uA", killer->left) - p;

    ngx_memzero(&cv, sizeof(ngx_http_complex_value_t));
    cv.value = text;

    return ngx_http_send_response(r, NGX_HTTP_OK, &type, &cv);
}


static void
ngx_http_penstock_probe_overflow(ngx_http_request_t *r, ngx_uint_t n)
{
    ngx_uint_t        i;
    volatile u_char  *p;

    p = ngx_pnalloc(r->pool, 16);

    for (i = 0; p && i < ngx_min(n, 64); i++) {
        p[i] = 'x';
    }
}


static char *
ngx_http_penstock_probe_kill(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    void                      *p;
    ngx_http_core_loc_conf_t  *clcf;

    if (ngx_http_penstock_probe_killer == NULL) {
        p = mmap(NULL, sizeof(ngx_http_penstock_probe_kill_t),
                 PROT_READ|PROT_WRITE, MAP_ANON|MAP_SHARED, -1, 0);

        if (p == MAP_FAILED) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                               "mmap() failed");
            return NGX_CONF_ERROR;
        }

        ngx_http_penstock_probe_killer = p;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_penstock_probe_kill_handler;

    return NGX_CONF_OK;
}
