
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


extern ngx_module_t  ngx_http_penstock_mask_module;


#endif /* _NGX_HTTP_PENSTOCK_MASK_H_INCLUDED_ */
