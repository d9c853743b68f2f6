
/*
 * Private to correlation/: the state of a main request, and what makes the ID
 * and the trace on first need.
 */

#ifndef _NGX_HTTP_PENSTOCK_CORRELATION_H_INCLUDED_
#define _NGX_HTTP_PENSTOCK_CORRELATION_H_INCLUDED_


#include "ngx_http_penstock.h"
#include "ps_correlation.h"
#include "ps_trace_context.h"


/* how a trace came to be, and the indices of its counters */

typedef enum {
    NGX_HTTP_PENSTOCK_TRACE_JOINED = 0,
    NGX_HTTP_PENSTOCK_TRACE_STARTED,
    NGX_HTTP_PENSTOCK_TRACE_RESTARTED,
    NGX_HTTP_PENSTOCK_TRACE_ORIGINS
} ngx_http_penstock_trace_origin_e;


typedef struct {
    ngx_flag_t                           enable;
    ngx_flag_t                           trust;
    ngx_flag_t                           trace;
    ngx_str_t                            header;
} ngx_http_penstock_correlation_loc_conf_t;


/*
 * Of the main request; survives internal redirects.  The ID may be decided
 * anew until the location has been found ("settled") or somebody has got it
 * ("seen").  "tracestate" is NULL where there is none.
 */

typedef struct {
    ngx_str_t                            id;
    ngx_str_t                            tracestate;
    ngx_http_log_handler_pt              log_handler;
    ngx_http_penstock_correlation_loc_conf_t  *conf;

    u_char                               uuid[PS_UUID_LEN];
    u_char                               traceparent[PS_TRACEPARENT_LEN];

    unsigned                             client:1;
    unsigned                             settled:1;
    unsigned                             seen:1;
    unsigned                             traced:1;
    unsigned                             origin:2;
} ngx_http_penstock_correlation_t;


extern ngx_module_t  ngx_http_penstock_correlation_module;


/*
 * The ID on first need: sets *state and returns NGX_OK, or NGX_DECLINED where
 * r's location has it off and it was not made before, or NGX_ERROR.  From the
 * first one on it is in the error log lines.
 */

ngx_int_t ngx_http_penstock_correlation_make(ngx_http_request_t *r,
    ngx_http_penstock_correlation_t **state);

/* joins, starts or restarts the trace on first need; returns as make does */

ngx_int_t ngx_http_penstock_correlation_trace(ngx_http_request_t *r,
    ngx_http_penstock_correlation_t **state);

/*
 * The next header of that name in a list; *part is its first part and *i is
 * 0 to begin with.  NULL: no more.
 */

ngx_table_elt_t *ngx_http_penstock_correlation_next(ngx_list_part_t **part,
    ngx_uint_t *i, const ngx_str_t *name);

/* at preconfiguration */

ngx_int_t ngx_http_penstock_correlation_add_variables(ngx_conf_t *cf);


#endif /* _NGX_HTTP_PENSTOCK_CORRELATION_H_INCLUDED_ */
