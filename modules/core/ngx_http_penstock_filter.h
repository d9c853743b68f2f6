
/*
 * Private to core: what the filter module needs of the exchange, and how a
 * problem reaches the filter.
 */

#ifndef _NGX_HTTP_PENSTOCK_FILTER_H_INCLUDED_
#define _NGX_HTTP_PENSTOCK_FILTER_H_INCLUDED_


#include "ngx_http_penstock.h"
#include "ngx_http_penstock_exchange.h"


typedef struct ngx_http_penstock_mark_s  ngx_http_penstock_mark_t;

/* of a main request; a redirect takes it away */

typedef struct {
    ngx_http_penstock_problem_t  *problem;
    ngx_buf_t                    *body;      /* to be sent for the page */
    ngx_http_penstock_mark_t     *mark;      /* of upstream_mark */
    unsigned                      sent:1;
} ngx_http_penstock_filter_ctx_t;


extern ngx_module_t  ngx_http_penstock_filter_module;


/* makes it where there is none; NULL: no memory */

ngx_http_penstock_filter_ctx_t *ngx_http_penstock_filter_ctx(
    ngx_http_request_t *r);

/*
 * For the header filter of a request with a mark: NGX_OK, or what to return
 * at once, where the request goes to the upstream once more.
 */

ngx_int_t ngx_http_penstock_upstream_again(ngx_http_request_t *r,
    ngx_http_penstock_mark_t *mark);


ngx_int_t ngx_http_penstock_exchange_header(ngx_http_penstock_exchange_t *x,
    ngx_http_request_t *r);
ngx_int_t ngx_http_penstock_exchange_body(ngx_http_penstock_exchange_t *x,
    ngx_http_request_t *r, ngx_chain_t *in);

/*
 * A redirect has led the clone elsewhere, where nothing has been done yet:
 * what to return from the phase, so that the host is led there instead.
 */

ngx_int_t ngx_http_penstock_exchange_led(ngx_http_penstock_exchange_t *x,
    ngx_http_request_t *sr);

/* leads the host there, for a handler in a phase to return */

ngx_int_t ngx_http_penstock_exchange_redirect(ngx_http_request_t *r,
    ngx_http_penstock_exchange_t *x);

/* sends what has passed the gates; NGX_ERROR: the handler won't be called */

ngx_int_t ngx_http_penstock_exchange_send(ngx_http_penstock_exchange_t *x);

/*
 * Once the answer is there: NGX_AGAIN where a gate has it sent once more,
 * else the gates are left.
 */

ngx_int_t ngx_http_penstock_exchange_judge(ngx_http_penstock_exchange_t *x);

/* puts what was captured in one piece; NGX_ERROR: no memory */

ngx_int_t ngx_http_penstock_exchange_join(ngx_http_penstock_exchange_t *x);

/*
 * A clone that is read without buffers deletes the timer of its connection's
 * write event whenever that is ready; for a host that is being answered at a
 * limit_rate nothing would go on sending.  Called while the clone is at work;
 * sets the timer again once that is over.
 */

void ngx_http_penstock_keep_delay(ngx_http_request_t *r);

#endif /* _NGX_HTTP_PENSTOCK_FILTER_H_INCLUDED_ */
