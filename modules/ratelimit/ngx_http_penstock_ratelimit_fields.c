
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


static void ngx_http_penstock_ratelimit_hide(ngx_http_request_t *r,
    ngx_str_t *name);
static ngx_int_t ngx_http_penstock_ratelimit_policies(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_state_t *st, ngx_str_t *policy,
    ngx_str_t *limit);
static u_char *ngx_http_penstock_ratelimit_member(u_char *p, ngx_str_t *name,
    const char *parameter, uint64_t n);
static ngx_int_t ngx_http_penstock_ratelimit_retry(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_state_t *st);
static ngx_http_penstock_ratelimit_item_t *ngx_http_penstock_ratelimit_told(
    ngx_http_penstock_ratelimit_state_t *st);


static ngx_str_t  ngx_http_penstock_ratelimit_policy_name =
    ngx_string("RateLimit-Policy");
static ngx_str_t  ngx_http_penstock_ratelimit_limit_name =
    ngx_string("RateLimit");
static ngx_str_t  ngx_http_penstock_ratelimit_retry_name =
    ngx_string("Retry-After");


ngx_int_t
ngx_http_penstock_ratelimit_fields(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_state_t *st)
{
    ngx_str_t  policy, limit;

    if (st->refused && r->headers_out.status >= NGX_HTTP_BAD_REQUEST
        && ngx_http_penstock_ratelimit_retry(r, st) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (!st->headers) {
        return NGX_OK;
    }

    if (ngx_http_penstock_ratelimit_policies(r, st, &policy, &limit)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (policy.len == 0) {
        return NGX_OK;
    }

    /* an upstream's would speak of its limits on us, and clash by name */

    ngx_http_penstock_ratelimit_hide(r,
                                  &ngx_http_penstock_ratelimit_policy_name);
    ngx_http_penstock_ratelimit_hide(r,
                                  &ngx_http_penstock_ratelimit_limit_name);

    if (ngx_http_penstock_add_header(r,
                                     &ngx_http_penstock_ratelimit_policy_name,
                                     &policy)
        == NULL)
    {
        return NGX_ERROR;
    }

    if (limit.len
        && ngx_http_penstock_add_header(r,
                                     &ngx_http_penstock_ratelimit_limit_name,
                                     &limit)
           == NULL)
    {
        return NGX_ERROR;
    }

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
    ngx_http_penstock_ratelimit_item_t  *item;

    item = st->items.elts;
    len = 0;

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

        l = ngx_http_penstock_ratelimit_member(l, &item[i].zone->name, ";r=",
                                             item[i].result.remaining);

        if (item[i].result.allowed
            || item[i].result.retry != PS_GCRA_NEVER)
        {
            l = ngx_cpymem(l, ";t=", 3);
            l = ngx_http_penstock_digits(l,
                                         ps_gcra_seconds(&item[i].result));
        }
    }

    policy->len = p - policy->data;
    limit->len = l - limit->data;

    return NGX_OK;
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
                                     &ngx_http_penstock_ratelimit_retry_name);

    return ngx_http_penstock_retry_after(r, (time_t) retry);
}


static void
ngx_http_penstock_ratelimit_hide(ngx_http_request_t *r, ngx_str_t *name)
{
    ngx_uint_t        i;
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

        if (h[i].hash && h[i].key.len == name->len
            && ngx_strncasecmp(h[i].key.data, name->data, name->len) == 0)
        {
            h[i].hash = 0;
        }
    }
}


ngx_int_t
ngx_http_penstock_ratelimit_status_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t                             value;
    ngx_http_penstock_ratelimit_item_t   *item;
    ngx_http_penstock_ratelimit_state_t  *st;

    st = ngx_http_penstock_get_state(r, NGX_HTTP_PENSTOCK_RATELIMIT);
    item = st ? ngx_http_penstock_ratelimit_told(st) : NULL;

    if (item == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    if (st->decision.unavailable) {
        ngx_str_set(&value, "UNAVAILABLE");

    } else if (st->refused) {
        ngx_str_set(&value, "REJECTED");

    } else if (item->refused) {
        ngx_str_set(&value, "REJECTED_DRY_RUN");

    } else if (item->fallback) {
        ngx_str_set(&value, "FALLBACK");

    } else {
        ngx_str_set(&value, "PASSED");
    }

    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->len = value.len;
    v->data = value.data;

    return NGX_OK;
}


ngx_int_t
ngx_http_penstock_ratelimit_zone_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_penstock_ratelimit_item_t   *item;
    ngx_http_penstock_ratelimit_state_t  *st;

    st = ngx_http_penstock_get_state(r, NGX_HTTP_PENSTOCK_RATELIMIT);
    item = st ? ngx_http_penstock_ratelimit_told(st) : NULL;

    if (item == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->len = item->zone->name.len;
    v->data = item->zone->name.data;

    return NGX_OK;
}


/*
 * The one that the variables speak of: who refused, who would have, who had
 * no answer from Redis, else who has least left.
 */

static ngx_http_penstock_ratelimit_item_t *
ngx_http_penstock_ratelimit_told(ngx_http_penstock_ratelimit_state_t *st)
{
    ngx_uint_t                           i, rank, best;
    ngx_http_penstock_ratelimit_item_t  *item, *told;

    item = st->items.elts;
    told = NULL;
    best = 0;

    for (i = 0; i < st->items.nelts; i++) {

        if (!item[i].decided) {
            continue;
        }

        rank = (item[i].refused && !item[i].dry_run) ? 4
               : item[i].refused ? 3
               : item[i].fallback ? 2 : 1;

        if (rank > best
            || (rank == 1 && best == 1
                && item[i].result.remaining < told->result.remaining))
        {
            best = rank;
            told = &item[i];
        }
    }

    return told;
}
