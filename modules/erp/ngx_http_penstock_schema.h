
/*
 * Private to the schema module.
 */

#ifndef _NGX_HTTP_PENSTOCK_SCHEMA_H_INCLUDED_
#define _NGX_HTTP_PENSTOCK_SCHEMA_H_INCLUDED_


#include "ngx_http_penstock.h"
#include "ps_schema.h"


/* a file, however many locations name it */

typedef struct {
    ngx_str_t                    name;
    ps_schema_t                 *schema;
} ngx_http_penstock_schema_file_t;


typedef struct {
    ngx_array_t                  files;  /* ngx_http_penstock_schema_file_t */
    ngx_int_t                    valid;          /* counters */
    ngx_int_t                    invalid;
    ngx_int_t                    refused;
} ngx_http_penstock_schema_main_conf_t;


typedef struct {
    ps_schema_t                 *schema;         /* NULL: off */
    size_t                       max_size;
    ngx_uint_t                   max_depth;
    ngx_uint_t                   max_errors;
} ngx_http_penstock_schema_loc_conf_t;


/* "request_schema" */

char *ngx_http_penstock_schema_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


#define NGX_HTTP_PENSTOCK_UNPROCESSABLE  422


/*
 * Refusals, each a status to be returned: the body can't be read, as of the
 * byte "at"; it is not what the schema asks for.
 */

ngx_int_t ngx_http_penstock_schema_no_json(ngx_http_request_t *r,
    ngx_http_penstock_schema_loc_conf_t *slcf, ps_json_rc_e rc,
    ngx_uint_t at);
ngx_int_t ngx_http_penstock_schema_invalid(ngx_http_request_t *r,
    const ps_schema_fault_t *fault, size_t n);


extern ngx_module_t  ngx_http_penstock_schema_module;


#endif /* _NGX_HTTP_PENSTOCK_SCHEMA_H_INCLUDED_ */
