
/*
 * Revocation: what its two files share.  The mutex protects the table, the
 * position in the stream and the look of one request; the atomics are read
 * without.
 */

#ifndef _NGX_HTTP_PENSTOCK_OAUTH_REVOCATION_H_INCLUDED_
#define _NGX_HTTP_PENSTOCK_OAUTH_REVOCATION_H_INCLUDED_


#include "ngx_http_penstock_oauth.h"
#include "ngx_http_penstock_redis.h"

#include "ps_revoked.h"


#define NGX_HTTP_PENSTOCK_OAUTH_REVOKED_ID      48

/* how much later than its timeout a reading may end, ms */

#define NGX_HTTP_PENSTOCK_OAUTH_REVOKED_LATE    100


typedef struct {
    ngx_atomic_t        ended;       /* counts readings that ended */
    ngx_atomic_t        synced;      /* ms: all was known then; 0: never */
    ngx_atomic_t        reading;     /* ms: a reading began; 0: none */
    ngx_atomic_t        reader;      /* pid of the worker that reads */
    ngx_atomic_t        incomplete;  /* something did not fit */

    ngx_slab_pool_t    *shpool;
    size_t              len;         /* of the position */
    u_char              id[NGX_HTTP_PENSTOCK_OAUTH_REVOKED_ID];
    ps_revoked_t        table;
} ngx_http_penstock_oauth_revoked_t;


struct ngx_http_penstock_oauth_revocation_s {
    ngx_http_penstock_redis_t       *redis;
    ngx_str_t                        name;
    time_t                           lifetime;
    ngx_shm_zone_t                  *zone;

    /* of this worker */

    ngx_http_penstock_wait_t         wait;
    ngx_http_penstock_redis_call_t   call;
    ngx_msec_t                       began;
};


ngx_http_penstock_oauth_revoked_t *ngx_http_penstock_oauth_revoked_of(
    ngx_http_penstock_oauth_revocation_t *revocation);

/* ms since "time", which another worker may have written; 0 is long ago */

ngx_msec_t ngx_http_penstock_oauth_revoked_age(ngx_msec_t time);

/*
 * Has the stream read, unless that is under way or Redis is down.  Where the
 * reader has died the next one to call takes over.
 */

void ngx_http_penstock_oauth_revoked_read(
    ngx_http_penstock_oauth_revocation_t *revocation);


#endif /* _NGX_HTTP_PENSTOCK_OAUTH_REVOCATION_H_INCLUDED_ */
