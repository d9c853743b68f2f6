#include "ngx_http_penstock.h"
static ngx_http_module_t  ngx_http_penstock_module_ctx;
ngx_module_t  ngx_http_penstock_module = {
    NGX_MODULE_V1,
    &ngx_http_penstock_module_ctx,         /* module context */
    NULL,                                  /* module directives */
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
