
/*
 * The response's fields (draft-ietf-httpapi-ratelimit-headers-11): Lists of
 * Strings with Integer parameters (RFC 9651).  Zone names need no escaping,
 * see ngx_http_penstock_zone_parse().
 *
 * And the variables, which tell the same.
 */

#include "ngx_http_penstock_ratelimit.h"


#define NGX_HTTP_PENSTOCK_RATELIMIT_ITEM_LEN                                  \
    (sizeof(", \"\";q=;w=") - 1 + 2 * NGX_INT64_LEN)


/* $rate_limit_status, in the order of what is told first */

typedef enum {
    NGX_HTTP_PENSTOCK_RATELIMIT_TOLD_NOTHING = 0,
    NGX_HTTP_PENSTOCK_RATELIMIT_TOLD_PASSED,
    NGX_HTTP_PENSTOCK_RATELIMIT_TOLD_FALLBACK,
    NGX_HTTP_PENSTOCK_RATELIMIT_TOLD_DRY_RUN,
    NGX_HTTP_PENSTOCK_RATELIMIT_TOLD_REJECTED,
    NGX_HTTP_PENSTOCK_RATELIMIT_TOLD_UNAVAILABLE
} ngx_http_penstock_ratelimit_told_e;


static void ngx_http_penstock_ratelimit_hide(ngx_http_request_t *r,
    ngx_str_t *names, ngx_uint_t n);
static ngx_int_t ngx_http_penstock_ratelimit_one(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_item_t *item, ngx_str_t *limit);
static ngx_int_t ngx_http_penstock_ratelimit_policies(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_state_t *st, ngx_str_t *policy,
    ngx_str_t *limit);
static u_char *ngx_http_penstock_ratelimit_left(u_char *p,
    ngx_http_penstock_ratelimit_item_t *item);
static u_char *ngx_http_penstock_ratelimit_member(u_char *p, ngx_str_t *name,
    const char *parameter, uint64_t n);
static ngx_int_t ngx_http_penstock_ratelimit_retry(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_state_t *st);
static ngx_http_penstock_ratelimit_told_e ngx_http_penstock_ratelimit_told(
    ngx_http_penstock_ratelimit_state_t *st, ngx_str_t *zone);
static ngx_http_penstock_ratelimit_told_e ngx_http_penstock_ratelimit_rank(
    ngx_uint_t refused, ngx_uint_t dry_run, ngx_uint_t fallback);


static ngx_str_t  ngx_http_penstock_ratelimit_names[] = {
    ngx_string("RateLimit-Policy"),
    ngx_string("RateLimit")
};

static ngx_str_t  ngx_http_penstock_ratelimit_retry_name =
    ngx_string("Retry-After");


ngx_int_t
ngx_http_penstock_ratelimit_fields(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_state_t *st)
{
    ngx_str_t                            policy, limit;
    ngx_http_penstock_ratelimit_item_t  *item;

    if (st->refused && r->headers_out.status >= NGX_HTTP_BAD_REQUEST
        && ngx_http_penstock_ratelimit_retry(r, st) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (!st->headers) {
        return NGX_OK;
    }

    item = st->items.elts;

    if (st->items.nelts == 1 && !st->refused && st->running == NULL
        && item->limit == &item->zone->limit && item->decided
        && !item->unknown && !item->dry_run)
    {
        /* the usual case: the policy is a constant */

        policy = item->zone->policy;

        if (ngx_http_penstock_ratelimit_one(r, item, &limit) != NGX_OK) {
            return NGX_ERROR;
        }

    } else if (ngx_http_penstock_ratelimit_policies(r, st, &policy, &limit)
               != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (policy.len == 0) {
        return NGX_OK;
    }

    /* an upstream's would speak of its limits on us, and clash by name */

    ngx_http_penstock_ratelimit_hide(r, ngx_http_penstock_ratelimit_names, 2);

    if (ngx_http_penstock_add_header(r, &ngx_http_penstock_ratelimit_names[0],
                                     &policy)
        == NULL)
    {
        return NGX_ERROR;
    }

    if (limit.len
        && ngx_http_penstock_add_header(r,
                                        &ngx_http_penstock_ratelimit_names[1],
                                        &limit)
           == NULL)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_penstock_ratelimit_policy(ngx_pool_t *pool,
    ngx_http_penstock_ratelimit_zone_t *zone)
{
    u_char  *p;

    p = ngx_pnalloc(pool, NGX_HTTP_PENSTOCK_RATELIMIT_ITEM_LEN
                          + zone->name.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    zone->policy.data = p;

    p = ngx_http_penstock_ratelimit_member(p, &zone->name, ";q=",
                                           zone->limit.quota);
    p = ngx_cpymem(p, ";w=", 3);
    p = ngx_http_penstock_digits(p, zone->limit.window);

    zone->policy.len = p - zone->policy.data;

    return NGX_OK;
}


/* RateLimit of a request that has met one limit */

static ngx_int_t
ngx_http_penstock_ratelimit_one(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_item_t *item, ngx_str_t *limit)
{
    limit->data = ngx_pnalloc(r->pool, NGX_HTTP_PENSTOCK_RATELIMIT_ITEM_LEN
                                       + item->zone->name.len);
    if (limit->data == NULL) {
        return NGX_ERROR;
    }

    limit->len = ngx_http_penstock_ratelimit_left(limit->data, item)
                 - limit->data;

    return NGX_OK;
}


/*
 * All policies; of the limits, on a refusal, only those that refused: what
 * the others allow is of no use to the client, and their "t" could lie
 * behind Retry-After.
 */

static ngx_int_t
ngx_http_penstock_ratelimit_policies(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_state_t *st, ngx_str_t *policy,
    ngx_str_t *limit)
{
    u_char                              *p, *l;
    size_t                               len;
    ngx_uint_t                           i;
    ngx_http_penstock_running_t         *running;
    ngx_http_penstock_ratelimit_item_t  *item;

    item = st->items.elts;
    len = 0;

    for (running = st->running; running; running = running->next) {
        if (!running->dry_run) {
            len += NGX_HTTP_PENSTOCK_RATELIMIT_ITEM_LEN
                   + sizeof(";qu=\"concurrent-requests\"")
                   + running->zone->slots.name.len;
        }
    }

    for (i = 0; i < st->items.nelts; i++) {
        if (!item[i].dry_run) {
            len += NGX_HTTP_PENSTOCK_RATELIMIT_ITEM_LEN
                   + item[i].zone->name.len;
        }
    }

    policy->len = 0;
    limit->len = 0;

    if (len == 0) {
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, 2 * len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    l = p + len;

    policy->data = p;
    limit->data = l;

    for (i = 0; i < st->items.nelts; i++) {

        if (item[i].dry_run) {
            continue;
        }

        if (p != policy->data) {
            *p++ = ',';
            *p++ = ' ';
        }

        p = ngx_http_penstock_ratelimit_member(p, &item[i].zone->name, ";q=",
                                             item[i].limit->quota);
        p = ngx_cpymem(p, ";w=", 3);
        p = ngx_http_penstock_digits(p, item[i].limit->window);

        if (!item[i].decided || item[i].unknown
            || (st->refused && !item[i].refused))
        {
            continue;
        }

        if (l != limit->data) {
            *l++ = ',';
            *l++ = ' ';
        }

        l = ngx_http_penstock_ratelimit_left(l, &item[i]);
    }

    for (running = st->running; running; running = running->next) {

        if (running->dry_run) {
            continue;
        }

        if (p != policy->data) {
            *p++ = ',';
            *p++ = ' ';
        }

        p = ngx_http_penstock_ratelimit_member(p, &running->zone->slots.name,
                                               ";q=", running->slot.limit);
        p = ngx_cpymem(p, ";qu=\"concurrent-requests\"",
                       sizeof(";qu=\"concurrent-requests\"") - 1);

        if (!running->decided || running->slot.fallback
            || (st->refused && !running->refused))
        {
            continue;
        }

        if (l != limit->data) {
            *l++ = ',';
            *l++ = ' ';
        }

        l = ngx_http_penstock_ratelimit_member(l, &running->zone->slots.name,
                                               ";r=",
                                     running->slot.limit
                                     - ngx_min(running->slot.in_use,
                                               running->slot.limit));
    }

    policy->len = p - policy->data;
    limit->len = l - limit->data;

    return NGX_OK;
}


/* what is left of a limit, and when there is more */

static u_char *
ngx_http_penstock_ratelimit_left(u_char *p,
    ngx_http_penstock_ratelimit_item_t *item)
{
    p = ngx_http_penstock_ratelimit_member(p, &item->zone->name, ";r=",
                                           item->result.remaining);

    if (item->result.allowed || item->result.retry != PS_GCRA_NEVER) {
        p = ngx_cpymem(p, ";t=", 3);
        p = ngx_http_penstock_digits(p, ps_gcra_seconds(&item->result));
    }

    return p;
}


/* a String and its first parameter, "parameter" being ";x=" */

static u_char *
ngx_http_penstock_ratelimit_member(u_char *p, ngx_str_t *name,
    const char *parameter, uint64_t n)
{
    *p++ = '"';
    p = ngx_cpymem(p, name->data, name->len);
    *p++ = '"';
    p = ngx_cpymem(p, parameter, 3);

    return ngx_http_penstock_digits(p, n);
}


/* when every limit that refused would let this request pass */

static ngx_int_t
ngx_http_penstock_ratelimit_retry(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_state_t *st)
{
    uint64_t                             retry;
    ngx_uint_t                           i;
    ngx_http_penstock_ratelimit_item_t  *item;

    item = st->items.elts;
    retry = 1;

    for (i = 0; i < st->items.nelts; i++) {

        if (!item[i].refused || item[i].dry_run || item[i].unknown) {
            continue;
        }

        if (item[i].result.retry == PS_GCRA_NEVER) {
            return NGX_OK;
        }

        retry = ngx_max(retry, ps_gcra_ceil(item[i].result.retry));
    }

    ngx_http_penstock_ratelimit_hide(r,
                                  &ngx_http_penstock_ratelimit_retry_name, 1);

    return ngx_http_penstock_retry_after(r, (time_t) retry);
}


static void
ngx_http_penstock_ratelimit_hide(ngx_http_request_t *r, ngx_str_t *names,
    ngx_uint_t n)
{
    ngx_uint_t        i, k;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    part = &r->headers_out.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        for (k = 0; k < n; k++) {
            if (h[i].key.len == names[k].len
                && ngx_strncasecmp(h[i].key.data, names[k].data, names[k].len)
                   == 0)
            {
                h[i].hash = 0;
            }
        }
    }
}


ngx_int_t
ngx_http_penstock_ratelimit_status_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t                             zone;
    ngx_http_penstock_ratelimit_told_e    told;
    ngx_http_penstock_ratelimit_state_t  *st;

    static ngx_str_t                      names[] = {
        ngx_null_string,
        ngx_string("PASSED"),
        ngx_string("FALLBACK"),
        ngx_string("REJECTED_DRY_RUN"),
        ngx_string("REJECTED"),
        ngx_string("UNAVAILABLE")
    };

    st = ngx_http_penstock_get_state(r, NGX_HTTP_PENSTOCK_RATELIMIT);
    told = ngx_http_penstock_ratelimit_told(st, &zone);

    if (told == NGX_HTTP_PENSTOCK_RATELIMIT_TOLD_NOTHING) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->len = names[told].len;
    v->data = names[told].data;

    return NGX_OK;
}


ngx_int_t
ngx_http_penstock_ratelimit_zone_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t                             zone;
    ngx_http_penstock_ratelimit_state_t  *st;

    st = ngx_http_penstock_get_state(r, NGX_HTTP_PENSTOCK_RATELIMIT);

    if (ngx_http_penstock_ratelimit_told(st, &zone)
        == NGX_HTTP_PENSTOCK_RATELIMIT_TOLD_NOTHING)
    {
        v->not_found = 1;
        return NGX_OK;
    }

    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->len = zone.len;
    v->data = zone.data;

    return NGX_OK;
}


/*
 * What the variables say, and of which zone: who refused, who would have,
 * who had no answer from Redis, else who has least left.
 */

static ngx_http_penstock_ratelimit_told_e
ngx_http_penstock_ratelimit_told(ngx_http_penstock_ratelimit_state_t *st,
    ngx_str_t *zone)
{
    uint64_t                             least, left;
    ngx_uint_t                           i;
    ngx_http_penstock_running_t         *running;
    ngx_http_penstock_ratelimit_item_t  *item;
    ngx_http_penstock_ratelimit_told_e   rank, best;

    best = NGX_HTTP_PENSTOCK_RATELIMIT_TOLD_NOTHING;
    least = UINT64_MAX;

    if (st == NULL) {
        return best;
    }

    item = st->items.elts;

    for (i = 0; i < st->items.nelts; i++) {

        if (!item[i].decided) {
            continue;
        }

        rank = ngx_http_penstock_ratelimit_rank(item[i].refused,
                                                item[i].dry_run,
                                                item[i].fallback);

        if (rank > best
            || (rank == NGX_HTTP_PENSTOCK_RATELIMIT_TOLD_PASSED
                && rank == best && item[i].result.remaining < least))
        {
            best = rank;
            least = item[i].result.remaining;
            *zone = item[i].zone->name;
        }
    }

    for (running = st->running; running; running = running->next) {

        if (!running->decided) {
            continue;
        }

        rank = ngx_http_penstock_ratelimit_rank(running->refused,
                                                running->dry_run,
                                                running->slot.fallback);

        left = running->slot.limit - ngx_min(running->slot.in_use,
                                             running->slot.limit);

        if (rank > best
            || (rank == NGX_HTTP_PENSTOCK_RATELIMIT_TOLD_PASSED
                && rank == best && left < least))
        {
            best = rank;
            least = left;
            *zone = running->zone->slots.name;
        }
    }

    return (best && st->decision.unavailable)
           ? NGX_HTTP_PENSTOCK_RATELIMIT_TOLD_UNAVAILABLE : best;
}


static ngx_http_penstock_ratelimit_told_e
ngx_http_penstock_ratelimit_rank(ngx_uint_t refused, ngx_uint_t dry_run,
    ngx_uint_t fallback)
{
    if (refused) {
        return dry_run ? NGX_HTTP_PENSTOCK_RATELIMIT_TOLD_DRY_RUN
                       : NGX_HTTP_PENSTOCK_RATELIMIT_TOLD_REJECTED;
    }

    return fallback ? NGX_HTTP_PENSTOCK_RATELIMIT_TOLD_FALLBACK
                    : NGX_HTTP_PENSTOCK_RATELIMIT_TOLD_PASSED;
}
