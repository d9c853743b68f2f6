
/*
 * Spending from a rate_limit_zone in the name of another feature: a budget
 * of reads to the ERP, say, that fills are debited to.
 *
 *     conf->zone = ngx_http_penstock_ratelimit_spend_zone(cf, &name);
 *
 *     spend->request = r;
 *     spend->zone = conf->zone;
 *     spend->cost = 1;
 *     spend->handler = my_handler;
 *     spend->data = my_data;
 *
 *     switch (ngx_http_penstock_ratelimit_spend(spend)) { ... }
 */

#ifndef _NGX_HTTP_PENSTOCK_RATELIMIT_SPEND_H_INCLUDED_
#define _NGX_HTTP_PENSTOCK_RATELIMIT_SPEND_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


/* a cost above the burst: it can't be admitted, however long one waits */

#define NGX_HTTP_PENSTOCK_RATELIMIT_NEVER  ((ngx_msec_t) -1)


typedef struct ngx_http_penstock_ratelimit_spend_s
    ngx_http_penstock_ratelimit_spend_t;

/*
 * Called once after NGX_AGAIN, never from inside of the call, with the
 * outcome in spend->rc: NGX_OK, NGX_DECLINED or NGX_ERROR.  It may be in the
 * middle of a reply of Redis: it stores what it needs and wakes or posts,
 * and never runs a request.
 */

typedef void (*ngx_http_penstock_ratelimit_spend_pt)(
    ngx_http_penstock_ratelimit_spend_t *spend);


/* owned by the caller, in r->pool or longer; zeroed, then the first part */

struct ngx_http_penstock_ratelimit_spend_s {
    ngx_http_request_t                    *request;
    ngx_shm_zone_t                        *zone;
    ngx_uint_t                             cost;
    ngx_http_penstock_ratelimit_spend_pt   handler;
    void                                  *data;

    ngx_int_t                              rc;
    ngx_msec_t                             retry_after;  /* ms, when refused;
                                                or ..._RATELIMIT_NEVER */
    unsigned                               fallback:1;   /* Redis did not
                                                            answer */
    void                                  *pending;      /* private */
};


/*
 * At configuration time: the rate_limit_zone of that name, which may be
 * defined later.  A name that never is defined is an error of "nginx -t"
 * with the file and line of this call.  NULL: reported already.
 */

ngx_shm_zone_t *ngx_http_penstock_ratelimit_spend_zone(ngx_conf_t *cf,
    ngx_str_t *name);

/*
 * Debits "cost" to the zone, for the key and the rate that the zone finds on
 * the request, in the zone's own way: local, exact or by lease, and by its
 * fallback where Redis does not answer.  The request may be answered
 * already, and may be a clone: its pool must live and its variables be
 * readable.  Each call counts, unlike the zone's "rate_limit".
 *
 * NGX_OK: admitted; also where the key is empty, which limits nothing.
 * NGX_DECLINED: refused, nothing is debited; spend->retry_after says when to
 * come again.  NGX_AGAIN: the handler will be called.  NGX_ERROR: no memory,
 * or a rate that is none (logged).  spend->rc is the same.
 */

ngx_int_t ngx_http_penstock_ratelimit_spend(
    ngx_http_penstock_ratelimit_spend_t *spend);

/*
 * The handler won't be called any more.  What Redis debits meanwhile stays
 * debited.  A pool that ends does it by itself.  No-op if nothing is pending.
 */

void ngx_http_penstock_ratelimit_spend_cancel(
    ngx_http_penstock_ratelimit_spend_t *spend);


#endif /* _NGX_HTTP_PENSTOCK_RATELIMIT_SPEND_H_INCLUDED_ */
