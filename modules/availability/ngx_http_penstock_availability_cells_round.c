
/*
 * A round of a request that asks for cells: what nobody else reads, from
 * Redis, under leases where one host reads for all, and from the upstream;
 * then what other hosts read.
 */

#include "ngx_http_penstock_availability_cells.h"


static ngx_int_t ngx_http_penstock_cells_go_fill(
    ngx_http_penstock_cells_t *c);
static ngx_int_t ngx_http_penstock_cells_go_look(
    ngx_http_penstock_cells_t *c);
static void ngx_http_penstock_cells_background(ngx_event_t *ev);


/* the round's own part: what is old but usable is read along */

ngx_int_t
ngx_http_penstock_cells_lead(ngx_http_penstock_cells_t *c)
{
    ngx_uint_t                 i;
    ngx_http_penstock_cell_t  *cell;

    for (i = 0; i < c->n; i++) {
        cell = &c->cell[i];

        if (cell->refresh) {
            cell->refresh = 0;

            if (cell->slot || !c->ctx->conf->lock) {
                cell->state = NGX_HTTP_PENSTOCK_CELL_LEAD;
            }
        }
    }

    c->ctx->state = NGX_HTTP_PENSTOCK_AV_FILL;
    c->asked = 0;
    c->clock = 0;

    if (c->zone->redis && ngx_http_penstock_cells_l2_look(c) == NGX_OK) {
        c->stage = NGX_HTTP_PENSTOCK_CELLS_LOOK;
        return NGX_OK;
    }

    return ngx_http_penstock_cells_fill(c);
}


/*
 * From a stage that has ended to the next: Redis, leases, the upstream, other
 * hosts.  NGX_OK: the round is over; NGX_AGAIN: not yet.
 */

ngx_int_t
ngx_http_penstock_cells_go_on(ngx_http_penstock_cells_t *c)
{
    ngx_uint_t                 i, ours, remote;
    ngx_http_penstock_cell_t  *cell;

    ours = 0;
    remote = 0;

    for (i = 0; i < c->n; i++) {
        cell = &c->cell[i];

        if (ngx_http_penstock_cells_wanted(c, cell)) {
            ours += !cell->remote;
            remote += cell->remote;
        }
    }

    switch (c->stage) {

    case NGX_HTTP_PENSTOCK_CELLS_LOOK:

        /* those of other hosts may be free by now */

        for (i = 0; i < c->n; i++) {
            c->cell[i].remote = 0;
        }

        if (ours + remote == 0) {
            break;
        }

        if (ngx_http_penstock_cells_lease_ask(c) == NGX_OK) {
            c->stage = NGX_HTTP_PENSTOCK_CELLS_LEASE;
            return NGX_AGAIN;
        }

        return ngx_http_penstock_cells_go_fill(c);

    case NGX_HTTP_PENSTOCK_CELLS_LEASE:

        if (c->changed && c->rounds++ < NGX_HTTP_PENSTOCK_CELLS_ROUNDS) {

            /* filled between the look and the lease */

            return ngx_http_penstock_cells_go_look(c);
        }

        if (ours) {
            return ngx_http_penstock_cells_go_fill(c);
        }

        if (c->background) {
            break;
        }

        c->stage = NGX_HTTP_PENSTOCK_CELLS_REMOTE;

        return NGX_AGAIN;

    case NGX_HTTP_PENSTOCK_CELLS_ASKED:

        if (remote == 0 || c->background || c->odd || c->pass) {
            break;
        }

        c->stage = NGX_HTTP_PENSTOCK_CELLS_REMOTE;

        return NGX_AGAIN;

    case NGX_HTTP_PENSTOCK_CELLS_REMOTE:

        switch (ngx_http_penstock_cells_lease_wait(c)) {

        case NGX_AGAIN:
            return NGX_AGAIN;

        case NGX_OK:
            return ngx_http_penstock_cells_go_look(c);

        default: /* NGX_BUSY */
            break;
        }

        for (i = 0; i < c->n; i++) {
            if (c->cell[i].remote) {
                c->cell[i].remote = 0;
                c->cell[i].state = NGX_HTTP_PENSTOCK_CELL_FAILED;
            }
        }

        c->fail_status = NGX_HTTP_GATEWAY_TIME_OUT;

        (void) ngx_http_penstock_cells_end(c, PS_CELL_FILL_FAILED,
                                           NGX_HTTP_GATEWAY_TIME_OUT);
        ngx_http_penstock_cells_ended(c);
        break;

    default: /* NGX_HTTP_PENSTOCK_CELLS_IDLE */
        return NGX_OK;
    }

    ngx_http_penstock_cells_lease_end(c);
    ngx_http_penstock_cells_lease_leave(c);

    c->stage = NGX_HTTP_PENSTOCK_CELLS_IDLE;

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_cells_go_fill(ngx_http_penstock_cells_t *c)
{
    if (ngx_http_penstock_cells_fill(c) != NGX_OK) {
        return NGX_ERROR;
    }

    if (c->pending) {
        return NGX_AGAIN;
    }

    ngx_http_penstock_cells_lease_end(c);
    ngx_http_penstock_cells_lease_leave(c);

    c->stage = NGX_HTTP_PENSTOCK_CELLS_IDLE;

    return NGX_OK;
}


static ngx_int_t
ngx_http_penstock_cells_go_look(ngx_http_penstock_cells_t *c)
{
    ngx_uint_t  i;

    if (ngx_http_penstock_cells_l2_look(c) == NGX_OK) {
        c->stage = NGX_HTTP_PENSTOCK_CELLS_LOOK;
        return NGX_AGAIN;
    }

    /* without Redis each host reads by itself */

    for (i = 0; i < c->n; i++) {
        c->cell[i].remote = 0;
    }

    return ngx_http_penstock_cells_go_fill(c);
}


/* waits for other hosts, with those of this host who wait for us */

ngx_int_t
ngx_http_penstock_cells_park(ngx_http_penstock_cells_t *c)
{
    ngx_msec_t  left;

    if (ngx_http_penstock_cells_lease_wait(c) != NGX_AGAIN) {

        /* there is news already */

        return ngx_http_penstock_cells_resume(c);
    }

    left = c->lease_until - ngx_current_msec;
    left = ngx_min(left, c->ctx->deadline - ngx_current_msec);

    return ngx_http_penstock_park(c->request, ngx_max(left, 1), 0);
}


/* reads behind the answer what it shows though it is old */

ngx_int_t
ngx_http_penstock_cells_refresh(ngx_http_penstock_cells_t *c)
{
    ngx_uint_t                 i, n;
    ngx_http_request_t        *r;
    ngx_http_penstock_cell_t  *cell;

    n = 0;
    r = c->request;

    for (i = 0; i < c->n; i++) {
        cell = &c->cell[i];

        if (cell->refresh && (cell->slot || !c->ctx->conf->lock)) {
            n++;
        }
    }

    if (n == 0) {
        return NGX_OK;
    }

    c->background = 1;

    ngx_http_penstock_av_close(r);

    if (c->event == NULL) {
        c->event = ngx_pcalloc(r->pool, sizeof(ngx_event_t));
        if (c->event == NULL) {
            return NGX_ERROR;
        }
    }

    if (c->zone->redis && ngx_http_penstock_cells_l2_look(c) == NGX_OK) {

        /* the request must outlive the look: its client may be gone first */

        r->main->count++;
        c->held = 1;
        c->stage = NGX_HTTP_PENSTOCK_CELLS_LOOK;

        return NGX_OK;
    }

    return ngx_http_penstock_cells_fill(c);
}


void
ngx_http_penstock_cells_ended(ngx_http_penstock_cells_t *c)
{
    ngx_http_penstock_tag_table_t  *table;

    table = ngx_http_penstock_av_tag_table(c->zone);

    (void) ngx_atomic_fetch_add(&table->wake, 1);

    ngx_http_penstock_wait_wake(&c->zone->wait);

    if (!c->background) {
        ngx_http_penstock_wake(c->request);
        return;
    }

    if (c->held) {
        c->event->handler = ngx_http_penstock_cells_background;
        c->event->data = c;
        c->event->log = c->request->connection->log;

        ngx_post_event(c->event, &ngx_posted_events);
    }
}


/* a look in the background has ended; the request is held for it */

static void
ngx_http_penstock_cells_background(ngx_event_t *ev)
{
    ngx_connection_t           *conn;
    ngx_http_request_t         *r;
    ngx_http_penstock_cells_t  *c = ev->data;

    r = c->request;
    conn = r->connection;

    ngx_http_set_log_request(conn->log, r);

    if (ngx_http_penstock_cells_go_on(c) == NGX_AGAIN
        && c->stage != NGX_HTTP_PENSTOCK_CELLS_ASKED)
    {
        /* Redis has more to say */

        return;
    }

    c->held = 0;

    ngx_http_finalize_request(r, NGX_DONE);

    ngx_http_run_posted_requests(conn);
}
