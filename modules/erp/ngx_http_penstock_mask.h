
/*
 * Private to the mask module.
 */

#ifndef _NGX_HTTP_PENSTOCK_MASK_H_INCLUDED_
#define _NGX_HTTP_PENSTOCK_MASK_H_INCLUDED_


#include "ngx_http_penstock.h"
#include "ps_mask.h"


/* one "response_mask" */

typedef struct {
    ps_mask_rule_t                  rule;
    ngx_http_complex_value_t       *unless;      /* NULL: always */
} ngx_http_penstock_mask_rule_t;


typedef struct {
    ngx_uint_t                      used;        /* by any location */
    ngx_int_t                       masked;      /* counters */
    ngx_int_t                       failed;
} ngx_http_penstock_mask_main_conf_t;


typedef struct {
    ngx_array_t                    *rules;       /* NULL: none, or off */
    ngx_array_t                    *masks;       /* of ps_mask_text_t */
    ngx_flag_t                      enabled;
    size_t                          max_size;
} ngx_http_penstock_mask_loc_conf_t;


/* "response_mask", and what else is to say of "response_mask_max_size" */

char *ngx_http_penstock_mask_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_penstock_mask_size(ngx_conf_t *cf, void *post, void *data);


typedef enum {
    NGX_HTTP_PENSTOCK_MASK_READ = 0,     /* the header is held back */
    NGX_HTTP_PENSTOCK_MASK_SENT,         /* "body" goes, nothing is left */
    NGX_HTTP_PENSTOCK_MASK_DONE          /* "body" goes, the rest is dropped */
} ngx_http_penstock_mask_state_e;


typedef struct {
    ngx_http_penstock_mask_loc_conf_t  *conf;
    ngx_http_penstock_mask_state_e      state;
    ngx_buf_t                          *body;
} ngx_http_penstock_mask_ctx_t;


/* _body.c: whether any rule counts for this request */

ngx_uint_t ngx_http_penstock_mask_any(ngx_http_request_t *r,
    ngx_http_penstock_mask_loc_conf_t *mlcf);

/* the headers lose what tells of the answer as the server sent it */

void ngx_http_penstock_mask_clear(ngx_http_request_t *r);

/* NGX_ERROR: no memory */

ngx_int_t ngx_http_penstock_mask_append(ngx_http_request_t *r,
    ngx_http_penstock_mask_ctx_t *ctx, u_char *p, size_t len);

/*
 * Masks ctx->body.  NGX_OK; NGX_DECLINED: it can't be, and "reason" says why;
 * NGX_ERROR: no memory.
 */

ngx_int_t ngx_http_penstock_mask_apply(ngx_http_request_t *r,
    ngx_http_penstock_mask_ctx_t *ctx, const char **reason);


extern ngx_module_t  ngx_http_penstock_mask_module;


#endif /* _NGX_HTTP_PENSTOCK_MASK_H_INCLUDED_ */
