
/*
 * The way of a request that asks for cells.
 *
 * It goes in rounds: it looks what is held, reads what nobody else reads (at
 * Redis, then from the upstream), waits for what others read, and looks
 * again.  What comes back is stored by the callbacks, so that it is kept even
 * when the client has left; the answer follows when the request is resumed.
 */

#include "ngx_http_penstock_availability_cells.h"


static ngx_int_t ngx_http_penstock_cells_step(ngx_http_penstock_cells_t *c);
static ngx_int_t ngx_http_penstock_cells_wait(ngx_http_penstock_cells_t *c);
static ngx_uint_t ngx_http_penstock_cells_count(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cell_state_e state);
static ngx_uint_t ngx_http_penstock_cells_reads(ngx_http_penstock_cells_t *c);
static ngx_int_t ngx_http_penstock_cells_settle(ngx_http_penstock_cells_t *c);
static ngx_int_t ngx_http_penstock_cells_pass(ngx_http_penstock_cells_t *c);
static void ngx_http_penstock_cells_cleanup(void *data);


ngx_int_t
ngx_http_penstock_cells_handler(ngx_http_request_t *r,
    ngx_http_penstock_av_loc_conf_t *alcf)
{
    ngx_int_t                    rc;
    ngx_uint_t                   in_body;
    ngx_pool_cleanup_t          *cln;
    ngx_http_penstock_cells_t   *c;
    ngx_http_penstock_av_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_penstock_availability_module);

    if (ctx && ctx->state == NGX_HTTP_PENSTOCK_AV_BUDGET) {
        return ngx_http_penstock_av_budget_resume(ctx);
    }

    if (ctx) {
        return ctx->cells ? ngx_http_penstock_cells_resume(ctx->cells)
                          : NGX_DECLINED;
    }

    in_body = (alcf->items->in_body && r->method == NGX_HTTP_POST);

    if (in_body) {

        rc = ngx_http_penstock_read_body(r);
        if (rc != NGX_OK) {
            return rc;
        }
    }

    ctx = ngx_http_penstock_av_make_ctx(r, alcf);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    switch (ngx_http_test_predicates(r, alcf->bypass)) {

    case NGX_ERROR:
        return NGX_HTTP_INTERNAL_SERVER_ERROR;

    case NGX_DECLINED:
        return ngx_http_penstock_av_decline(ctx, NGX_HTTP_PENSTOCK_AV_BYPASS);

    default:
        break;
    }

    if (alcf->items->in_body && !in_body) {

        /* a read too, but of no list */

        return ngx_http_penstock_av_decline(ctx, NGX_HTTP_PENSTOCK_AV_BYPASS);
    }

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_penstock_cells_t));
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    c = cln->data;
    ngx_memzero(c, sizeof(ngx_http_penstock_cells_t));

    c->ctx = ctx;
    c->request = r;
    c->conf = alcf->items;
    c->zone = alcf->zone;

    rc = ngx_http_penstock_cells_read(c);

    if (rc == NGX_OK) {
        rc = ngx_http_penstock_cells_grid(c);
    }

    switch (rc) {

    case NGX_OK:
        break;

    case NGX_DECLINED:
        return ngx_http_penstock_av_decline(ctx, NGX_HTTP_PENSTOCK_AV_PASS);

    case NGX_ABORT:
        return ngx_http_penstock_av_decline(ctx, NGX_HTTP_PENSTOCK_AV_BYPASS);

    default:
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    cln->handler = ngx_http_penstock_cells_cleanup;
    ctx->cells = c;

    return ngx_http_penstock_cells_step(c);
}


/* called again, perhaps for no reason: a function of the state */

ngx_int_t
ngx_http_penstock_cells_resume(ngx_http_penstock_cells_t *c)
{
    ngx_uint_t                    i;
    ngx_http_request_t           *r;
    ngx_http_penstock_av_ctx_t   *ctx;
    ngx_http_penstock_exchange_t *x;

    r = c->request;
    ctx = c->ctx;

    if (ctx->state == NGX_HTTP_PENSTOCK_AV_DONE) {
        return NGX_DECLINED;
    }

    if (c->pending) {
        return ngx_http_penstock_park(r, 0, 0);
    }

    if (c->asked_whole) {
        x = &c->whole->exchange;

        if (!x->done) {
            return ngx_http_penstock_park(r, 0, 0);
        }

        if (x->too_large) {
            ngx_http_penstock_cells_set_large(c);
            return ngx_http_penstock_cells_pass(c);
        }

        ctx->state = NGX_HTTP_PENSTOCK_AV_DONE;
        ctx->status = NGX_HTTP_PENSTOCK_AV_PASS;

        return ngx_http_penstock_exchange_answer(r, x);
    }

    switch (ngx_http_penstock_cells_go_on(c)) {

    case NGX_OK:
        break;

    case NGX_AGAIN:
        return (c->stage == NGX_HTTP_PENSTOCK_CELLS_REMOTE)
               ? ngx_http_penstock_cells_park(c)
               : ngx_http_penstock_park(r, 0, 0);

    default:
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ctx->state == NGX_HTTP_PENSTOCK_AV_FOLLOW
        && ngx_http_penstock_timed_out(r))
    {
        for (i = 0; i < c->n; i++) {
            if (c->cell[i].state == NGX_HTTP_PENSTOCK_CELL_FOLLOW) {
                c->cell[i].state = NGX_HTTP_PENSTOCK_CELL_FAILED;
            }
        }

        c->fail_status = NGX_HTTP_GATEWAY_TIME_OUT;
    }

    return ngx_http_penstock_cells_step(c);
}


static ngx_int_t
ngx_http_penstock_cells_step(ngx_http_penstock_cells_t *c)
{
    ngx_int_t                    rc;
    ngx_http_penstock_av_ctx_t  *ctx;

    ctx = c->ctx;

    ngx_http_penstock_wait_leave(&ctx->waiter);

    for ( ;; ) {

        if (c->odd) {

            /* who asked for the whole has it, others ask for that, once */

            if (c->ask && c->ask[0].whole) {
                ctx->state = NGX_HTTP_PENSTOCK_AV_DONE;
                ctx->status = NGX_HTTP_PENSTOCK_AV_PASS;

                return ngx_http_penstock_exchange_answer(c->request,
                                                  &c->ask[0].exchange);
            }

            if (ngx_http_penstock_cells_ask_whole(c) != NGX_OK) {
                return NGX_HTTP_INTERNAL_SERVER_ERROR;
            }

            return ngx_http_penstock_park(c->request, 0, 0);
        }

        if (c->pass) {
            return ngx_http_penstock_cells_pass(c);
        }

        if (ngx_http_penstock_cells_count(c, NGX_HTTP_PENSTOCK_CELL_NEED)
            || ngx_http_penstock_cells_count(c,
                                             NGX_HTTP_PENSTOCK_CELL_FOLLOW))
        {
            if (ngx_http_penstock_cells_look(c) != NGX_OK) {
                return NGX_HTTP_INTERNAL_SERVER_ERROR;
            }

            if (c->pass || c->rounds++ == NGX_HTTP_PENSTOCK_CELLS_ROUNDS
                || (ngx_http_penstock_cells_reads(c)
                    && ngx_http_penstock_cells_large(c)))
            {
                return ngx_http_penstock_cells_pass(c);
            }
        }

        if (ngx_http_penstock_cells_count(c, NGX_HTTP_PENSTOCK_CELL_LEAD)) {

            rc = ngx_http_penstock_cells_lead(c);
            if (rc != NGX_OK) {
                return NGX_HTTP_INTERNAL_SERVER_ERROR;
            }

            if (c->pending) {
                return ngx_http_penstock_park(c->request, 0, 0);
            }

            continue;
        }

        if (ngx_http_penstock_cells_count(c, NGX_HTTP_PENSTOCK_CELL_FOLLOW)) {

            return ngx_http_penstock_cells_wait(c);
        }

        if (ngx_http_penstock_cells_settle(c) != NGX_OK) {
            ctx->state = NGX_HTTP_PENSTOCK_AV_DONE;
            ctx->fail_status = c->fail_status;
            ctx->retry_after = c->retry_after;

            ngx_http_penstock_cells_end(c, PS_CELL_FILL_FREE, 0);

            return ngx_http_penstock_av_answer_failure(ctx);
        }

        rc = ngx_http_penstock_cells_refresh(c);
        if (rc != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        rc = ngx_http_penstock_cells_answer(c);

        if (rc != NGX_AGAIN) {
            return rc;
        }

        /* the text around the cells has gone: they are to be read again */
    }
}


static ngx_int_t
ngx_http_penstock_cells_wait(ngx_http_penstock_cells_t *c)
{
    ngx_msec_t                   left;
    ngx_http_penstock_av_ctx_t  *ctx;

    ctx = c->ctx;

    if (ctx->deadline == 0) {
        ctx->deadline = ngx_current_msec + ctx->conf->lock_timeout;
    }

    ctx->state = NGX_HTTP_PENSTOCK_AV_FOLLOW;

    ngx_http_penstock_wait_join(&c->zone->wait, &ctx->waiter, c->request);

    left = ctx->deadline - ngx_current_msec;

    if ((ngx_msec_int_t) left <= 0) {
        left = 1;
    }

    /* a wait is no round: followers are woken by whatever ends */

    c->rounds = 0;

    return ngx_http_penstock_park(c->request, left, 1);
}


static ngx_uint_t
ngx_http_penstock_cells_count(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cell_state_e state)
{
    ngx_uint_t  i, n;

    n = 0;

    for (i = 0; i < c->n; i++) {
        n += (c->cell[i].state == state);
    }

    return n;
}


/* whether it is to read anything, be it behind its answer */

static ngx_uint_t
ngx_http_penstock_cells_reads(ngx_http_penstock_cells_t *c)
{
    ngx_uint_t  i;

    for (i = 0; i < c->n; i++) {
        if (c->cell[i].state == NGX_HTTP_PENSTOCK_CELL_LEAD
            || c->cell[i].refresh)
        {
            return 1;
        }
    }

    return 0;
}


/*
 * Old values in place of those that could not be read, where that is allowed;
 * NGX_DECLINED: not for all.  One that was invalidated is known to be old:
 * only if_error lets it show.
 */

static ngx_int_t
ngx_http_penstock_cells_settle(ngx_http_penstock_cells_t *c)
{
    uint64_t                   now;
    ngx_uint_t                 i;
    ngx_http_penstock_cell_t  *cell;

    now = ngx_http_penstock_av_now();

    for (i = 0; i < c->n; i++) {
        cell = &c->cell[i];

        if (cell->state == NGX_HTTP_PENSTOCK_CELL_HAVE) {
            continue;
        }

        if (!ngx_http_penstock_cells_showable(cell, now)) {
            return NGX_DECLINED;
        }

        cell->state = NGX_HTTP_PENSTOCK_CELL_HAVE;
        cell->stale = 1;
    }

    return NGX_OK;
}


ngx_uint_t
ngx_http_penstock_cells_showable(ngx_http_penstock_cell_t *cell, uint64_t now)
{
    return cell->held && (cell->valid || cell->if_error)
           && now < cell->created + cell->fresh + cell->if_error;
}


/* to proxy_pass; the phase goes on behind us */

static ngx_int_t
ngx_http_penstock_cells_pass(ngx_http_penstock_cells_t *c)
{
    ngx_uint_t  i;

    for (i = 0; i < c->n; i++) {
        c->cell[i].remote = 0;
    }

    ngx_http_penstock_cells_lease_end(c);
    ngx_http_penstock_cells_lease_leave(c);

    /* those who wait for us may do better, with other cells */

    ngx_http_penstock_cells_leave(c);

    return ngx_http_penstock_av_decline(c->ctx, NGX_HTTP_PENSTOCK_AV_PASS);
}


static void
ngx_http_penstock_cells_cleanup(void *data)
{
    ngx_http_penstock_cells_t  *c = data;

    ngx_uint_t  i;

    ngx_http_penstock_cells_l2_cancel(c);
    ngx_http_penstock_cells_lease_end(c);
    ngx_http_penstock_cells_lease_leave(c);

    if (c->event && c->event->posted) {
        ngx_delete_posted_event(c->event);
    }

    for (i = 0; c->cell && i < c->n; i++) {
        c->cell[i].remote = 0;
    }

    /* terminated in the middle: a follower takes over */

    if (c->cell) {
        ngx_http_penstock_cells_leave(c);
    }
}
