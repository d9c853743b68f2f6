
/*
 * Between the files of slots: what a host counts, and what it tells Redis.
 */

#ifndef _NGX_HTTP_PENSTOCK_RATELIMIT_SLOTS_PRIVATE_H_INCLUDED_
#define _NGX_HTTP_PENSTOCK_RATELIMIT_SLOTS_PRIVATE_H_INCLUDED_


#include "ngx_http_penstock_ratelimit_slots.h"
#include "ps_siphash.h"
#include "ps_slots.h"


#define NGX_HTTP_PENSTOCK_RATELIMIT_HOST_LEN  16


/* in the zone; "seq" and what "counts" points to are under the mutex */

typedef struct {
    ngx_atomic_t      released;
    ngx_slab_pool_t  *shpool;
    ps_slots_t       *counts;
    uint64_t          seq;
    u_char            host[NGX_HTTP_PENSTOCK_RATELIMIT_HOST_LEN];
} ngx_http_penstock_ratelimit_shared_t;


/* what is true at "seq": the greater one is the later */

typedef struct {
    uint64_t          seq;
    uint64_t          use[PS_SLOTS_KINDS];
} ngx_http_penstock_ratelimit_snapshot_t;


/* the outcome of a question: slot->rc is set, and the handler called */

void ngx_http_penstock_ratelimit_slot_answered(
    ngx_http_penstock_ratelimit_slot_t *slot, ngx_int_t rc);

/* what this host has in use for that key, and a new number for it */

void ngx_http_penstock_ratelimit_slots_snapshot(
    ngx_http_penstock_ratelimit_slots_t *slots, uint64_t hash,
    ngx_http_penstock_ratelimit_snapshot_t *snapshot);


/*
 * Asks Redis for the slot, which "snapshot" counts as used already.  NGX_OK:
 * ..._slot_answered() will be called with NGX_OK, NGX_DECLINED or NGX_ERROR
 * (no answer).  NGX_DECLINED: it can't be asked now; NGX_ERROR: no memory.
 */

ngx_int_t ngx_http_penstock_ratelimit_slots_ask(
    ngx_http_penstock_ratelimit_slot_t *slot,
    ngx_http_penstock_ratelimit_snapshot_t *snapshot);

/* from here on this worker renews the slot's key in Redis; NGX_ERROR: no
   memory, which costs no more than the lease */

ngx_int_t ngx_http_penstock_ratelimit_slots_keep(
    ngx_http_penstock_ratelimit_slot_t *slot);

/* a slot that was held or asked for is not any more: tells Redis */

void ngx_http_penstock_ratelimit_slots_gone(
    ngx_http_penstock_ratelimit_slot_t *slot);


#endif /* _NGX_HTTP_PENSTOCK_RATELIMIT_SLOTS_PRIVATE_H_INCLUDED_ */
