
/*
 * Between the files of rate_limit_admin: what a request is about, and the
 * two halves, lists and changes.
 */

#ifndef _NGX_HTTP_PENSTOCK_RATELIMIT_ADMIN_H_INCLUDED_
#define _NGX_HTTP_PENSTOCK_RATELIMIT_ADMIN_H_INCLUDED_


#include "ngx_http_penstock_ratelimit.h"

#include <jansson.h>


/* bytes of the body of a change */

#define NGX_HTTP_PENSTOCK_RATELIMIT_ADMIN_BODY  4096


typedef struct {
    ngx_http_request_t                    *request;
    ngx_http_penstock_ratelimit_zone_t    *zone;
    ngx_http_penstock_ratelimit_memory_t  *memory;
    ps_override_t                          override;
    ngx_str_t                              target;    /* for the log */
    uint64_t                               expires;   /* seconds; 0: never */
    uint64_t                               now;
    ngx_uint_t                             status;    /* of the answer */
    const char                            *detail;

    ngx_http_penstock_redis_call_t         call;
    ngx_event_t                            event;

    unsigned                               remove:1;
    unsigned                               done:1;
} ngx_http_penstock_ratelimit_change_t;


/* the zone of that name; NULL: none */

ngx_http_penstock_ratelimit_zone_t *ngx_http_penstock_ratelimit_admin_zone(
    ngx_http_request_t *r, ngx_str_t *name);

/* an argument of the query, unescaped, in r->pool; NGX_DECLINED: not there */

ngx_int_t ngx_http_penstock_ratelimit_admin_arg(ngx_http_request_t *r,
    const char *name, ngx_str_t *value);

/* a new reference, NULL: no memory */

json_t *ngx_http_penstock_ratelimit_admin_override(const ps_override_t *o,
    uint64_t now);

/* sends and frees it; the result is for ngx_http_finalize_request() */

ngx_int_t ngx_http_penstock_ratelimit_admin_send(ngx_http_request_t *r,
    ngx_uint_t status, json_t *json);

/* PUT and DELETE: reads the body first; returns as a content handler */

ngx_int_t ngx_http_penstock_ratelimit_admin_change(ngx_http_request_t *r);


#endif /* _NGX_HTTP_PENSTOCK_RATELIMIT_ADMIN_H_INCLUDED_ */
