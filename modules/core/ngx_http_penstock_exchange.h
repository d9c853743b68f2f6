
/*
 * The exchange: the one way the suite talks to an upstream.
 *
 * A parked request starts a background clone of itself (or a subrequest to
 * an internal location); the clone runs the location's proxy_pass, its
 * answer is swallowed whole, and the handler is told.
 */

#ifndef _NGX_HTTP_PENSTOCK_EXCHANGE_H_INCLUDED_
#define _NGX_HTTP_PENSTOCK_EXCHANGE_H_INCLUDED_


#include "ngx_http_penstock.h"


typedef struct ngx_http_penstock_exchange_s  ngx_http_penstock_exchange_t;

/*
 * Called once, when the answer is whole or given up, before the host is
 * resumed and even when the host's client has left.  It stores what must not
 * be lost and calls ngx_http_penstock_wake(); it never runs a request.
 */

typedef void (*ngx_http_penstock_exchange_pt)(ngx_http_penstock_exchange_t *x);


/*
 * A gate is what a feature does with each exchange that is about to go to an
 * upstream ("internal" ones pass by): it may take its time, refuse it, or add
 * to it.  Gates are registered in postconfiguration and entered in that
 * order.  "state" is the gate's own pointer for this exchange, NULL at first.
 *
 * early: the exchange will probably be started, but something else is asked
 * first; what takes a round trip may be asked for beside it, and enter finds
 * it in "state".  NGX_OK: and so may those behind; NGX_DECLINED: they not.
 *
 * enter: NGX_OK: go on.  NGX_AGAIN: wait; the gate will call
 * ngx_http_penstock_exchange_continue(), and is then entered again; with
 * x->idle set nothing is under way for it, and it may end.  NGX_ERROR, or an
 * HTTP status: the exchange ends unsent with it, and with x->problem and
 * x->retry_after where these are set.
 *
 * answered: the answer is there, or given up; x tells.  NGX_OK: fine.
 * NGX_AGAIN: it is dropped, all gates are left and entered again, and the
 * request is sent once more.  That happens once at most.
 *
 * leave: called once wherever *state is not NULL: after the answer, after a
 * refusal, or when the request has gone in the middle (x->done is 0 then).
 * In the reverse order.  May not touch the request but for its pool.
 *
 * Each of them may be NULL.
 */

typedef struct {
    ngx_int_t  (*enter)(ngx_http_penstock_exchange_t *x, void **state);
    ngx_int_t  (*answered)(ngx_http_penstock_exchange_t *x, void **state);
    void       (*leave)(ngx_http_penstock_exchange_t *x, void **state);
    ngx_int_t  (*early)(ngx_http_penstock_exchange_t *x, void **state);
} ngx_http_penstock_gate_t;


#define NGX_HTTP_PENSTOCK_GATES  4


struct ngx_http_penstock_exchange_s {

    /* set before the start; strings live as long as the request */

    ngx_http_request_t             *host;        /* a main request */
    ngx_http_penstock_exchange_pt   handler;
    void                           *data;

    ngx_str_t                       uri;         /* empty: the host's.  Else
                                                    as sent to the upstream,
                                                    or of the internal
                                                    location */
    ngx_str_t                       args;        /* with a uri only */
    ngx_str_t                       body;        /* with "replace_body" */
    ngx_str_t                       content_type;     /* of that body */
    ngx_http_penstock_header_t     *headers;     /* request headers */
    ngx_uint_t                      nheaders;
    size_t                          max_size;    /* bytes of body kept */

    unsigned                        get:1;       /* a fill: GET without
                                                    conditionals, ranges and
                                                    codings; no body */
    unsigned                        replace_body:1;   /* POST unless get */
    unsigned                        internal:1;  /* another location, and
                                                    nothing of the client */
    unsigned                        gated:1;     /* internal, and passes the
                                                    host's gates all the same */
    unsigned                        spool:1;     /* past max_size to a file,
                                                    instead of too_large */
    unsigned                        write:1;     /* never sent twice */
    unsigned                        once:1;      /* a read that a server may
                                                    be at still: neither */

    /* by gates, in the host's pool */

    ngx_array_t                    *add;         /* request headers, of
                                                    ngx_http_penstock_header_t,
                                                    after "headers" */
    ngx_http_penstock_problem_t    *problem;     /* of a refusal */
    time_t                          retry_after; /* s; 0: not said */
    unsigned                        idle:1;      /* waits, nothing is under
                                                    way */

    /* the outcome */

    ngx_http_request_t             *request;     /* the clone; its headers_out
                                                    stay valid.  NULL where a
                                                    gate refused */
    ngx_uint_t                      status;
    ngx_str_t                       redirect;    /* to which URI or "@name"
                                                    nginx led the clone, by
                                                    try_files or
                                                    X-Accel-Redirect.  It did
                                                    not go: the host has to */
    ngx_str_t                       redirect_args;
    ngx_str_t                       answer;      /* when complete, in memory */
    ngx_temp_file_t                *file;        /* or spooled */
    off_t                           size;

    unsigned                        done:1;
    unsigned                        complete:1;  /* all of it was seen */
    unsigned                        too_large:1;
    unsigned                        upstream:1;  /* a server's answer, not a
                                                    page of nginx */
    unsigned                        header:1;    /* captured */
    unsigned                        intercepted:1;  /* the status is the
                                                    upstream's, the rest was
                                                    thrown away */
    unsigned                        refused:1;   /* by a gate */
    unsigned                        unsent:1;    /* no byte of the request has
                                                    left, or it was refused by
                                                    a gate that knows that
                                                    nothing happened */

    /* private */

    void                           *gate[NGX_HTTP_PENSTOCK_GATES];
    ngx_uint_t                      at;          /* gate to be entered next */
    ngx_event_t                     event;
    unsigned                        guarded:1;   /* by a cleanup */
    unsigned                        held:1;      /* the host, by a count */
    unsigned                        again:1;     /* sent once more */

    ngx_http_post_subrequest_t      post;
    ngx_buf_t                      *buf;
    ngx_chain_t                    *chain;
    ngx_chain_t                   **last;
};


/*
 * NGX_OK: the handler will be called, later, be it for a refusal of a gate.
 * NGX_ERROR: it won't.  The host must be parked right after, unless it
 * has been answered; without "watch" but where it is idle (below).
 */

ngx_int_t ngx_http_penstock_exchange_start(ngx_http_penstock_exchange_t *x);

/*
 * early: asks the gates for what can be asked for side by side with what
 * decides whether the exchange is started; x is set as for the start.  cancel:
 * it is not; what the gates have is given back.
 *
 * idle: whether it waits for its turn only.  The host is to be parked with
 * "watch" then: a client that leaves ends it, and its turn is the next one's.
 * The host is woken when that becomes so.
 */

void ngx_http_penstock_exchange_early(ngx_http_penstock_exchange_t *x);
void ngx_http_penstock_exchange_cancel(ngx_http_penstock_exchange_t *x);
ngx_uint_t ngx_http_penstock_exchange_idle(ngx_http_penstock_exchange_t *x);

/* the exchange that r is the clone of, NULL for any other request */

ngx_http_penstock_exchange_t *ngx_http_penstock_exchange_of(
    ngx_http_request_t *r);

/*
 * gate: in postconfiguration; the structure is static.  NGX_ERROR: no memory
 * or too many.  continue: from a gate that said NGX_AGAIN.
 */

ngx_int_t ngx_http_penstock_exchange_gate(ngx_conf_t *cf,
    ngx_http_penstock_gate_t *gate);
void ngx_http_penstock_exchange_continue(ngx_http_penstock_exchange_t *x);

/*
 * Answers the host with the captured answer.  For a handler in a phase:
 * "return ngx_http_penstock_exchange_answer(r, x);".  A page of nginx's own
 * becomes the return of its status, so that error_page works.  Where the clone
 * was led elsewhere, the host is, with all checks of that location.
 */

ngx_int_t ngx_http_penstock_exchange_answer(ngx_http_request_t *r,
    ngx_http_penstock_exchange_t *x);

/*
 * Moves the captured headers to the host, in place of what it had; headers
 * that it had already stay.
 */

ngx_int_t ngx_http_penstock_exchange_headers(ngx_http_request_t *r,
    ngx_http_penstock_exchange_t *x);

/*
 * Sends the header and "out" from a phase handler and finalizes; returns
 * NGX_DONE for the handler to return.
 */

ngx_int_t ngx_http_penstock_send(ngx_http_request_t *r, ngx_chain_t *out);


#endif /* _NGX_HTTP_PENSTOCK_EXCHANGE_H_INCLUDED_ */
