
/*
 * Public: what a write in this location touches in the cache, for a module
 * that leads the write itself.
 */

#ifndef _NGX_HTTP_PENSTOCK_AVAILABILITY_INVALIDATE_H_INCLUDED_
#define _NGX_HTTP_PENSTOCK_AVAILABILITY_INVALIDATE_H_INCLUDED_


#include "ngx_http_penstock.h"


typedef struct ngx_http_penstock_invalidation_s
    ngx_http_penstock_invalidation_t;


/*
 * What the request's "availability_invalidate" finds in its body, which must
 * have been read.  *inv is NULL where the location has none.  NGX_ERROR: no
 * memory.
 */

ngx_int_t ngx_http_penstock_availability_touched(ngx_http_request_t *r,
    ngx_http_penstock_invalidation_t **inv);

/*
 * Invalidates it, on this host and in Redis.  The request is woken when
 * Redis has it, or won't; pending: until then.
 */

void ngx_http_penstock_availability_invalidate(
    ngx_http_penstock_invalidation_t *inv);
ngx_uint_t ngx_http_penstock_availability_pending(
    ngx_http_penstock_invalidation_t *inv);


#endif /* _NGX_HTTP_PENSTOCK_AVAILABILITY_INVALIDATE_H_INCLUDED_ */
