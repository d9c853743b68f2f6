
/*
 * Push: Redis tells this host which keys have changed.
 *
 * One worker of a host holds one link to each server of a block.  It is told
 * of each key with a registered prefix that is written, deleted, expired or
 * evicted, whoever did it, by client tracking in broadcast mode (RESP2,
 * Redis 6 or newer, Valkey).  Handlers run in that worker and write to shared
 * memory.
 *
 * What was read from Redis may be trusted for as long as the link is live,
 * the epoch is the one from before the read, and no push of its keys came
 * after the read had begun.
 */

#ifndef _NGX_HTTP_PENSTOCK_REDIS_PUSH_H_INCLUDED_
#define _NGX_HTTP_PENSTOCK_REDIS_PUSH_H_INCLUDED_


#include "ngx_http_penstock_redis.h"


/* without news of the link for so long it does not count as live, ms */

#define NGX_HTTP_PENSTOCK_REDIS_PUSH_LIVE  700


/*
 * n keys have changed; n == 0: all of them may have (FLUSHALL, FLUSHDB).
 * Whatever the change was, one's own writes included.  Never blocks, never
 * runs a request.
 */

typedef void (*ngx_http_penstock_redis_push_pt)(void *data,
    const ngx_str_t *keys, ngx_uint_t n);


/*
 * At configuration time: keys that begin with "prefix", which is not copied,
 * are told to the handler.  A feature may register several.  NGX_ERROR:
 * reported already.
 */

ngx_int_t ngx_http_penstock_redis_push_add(ngx_conf_t *cf,
    ngx_http_penstock_redis_t *redis, ngx_str_t *prefix,
    ngx_http_penstock_redis_push_pt handler, void *data);

/*
 * Whether changes reach this host now; two reads of shared memory.  A link
 * that went silent is noticed by this within NGX_HTTP_PENSTOCK_REDIS_PUSH_LIVE.
 */

ngx_uint_t ngx_http_penstock_redis_push_live(
    ngx_http_penstock_redis_t *redis);

/*
 * Differs, and grows, whenever changes may have been missed: what was read
 * from Redis in another epoch must be read again.  Never 0 after the first
 * link; take it before the read.
 */

uint64_t ngx_http_penstock_redis_push_epoch(ngx_http_penstock_redis_t *redis);


#endif /* _NGX_HTTP_PENSTOCK_REDIS_PUSH_H_INCLUDED_ */
