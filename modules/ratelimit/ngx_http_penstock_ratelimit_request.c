
/*
 * What a request meets: the limits of its location become items of its
 * state, and their outcome counters, log lines and an answer.
 */

#include "ngx_http_penstock_ratelimit.h"


static ngx_uint_t ngx_http_penstock_ratelimit_counted(
    ngx_http_penstock_ratelimit_state_t *st,
    ngx_http_penstock_ratelimit_zone_t *zone);
static ngx_http_penstock_ratelimit_item_t *ngx_http_penstock_ratelimit_room(
    ngx_http_penstock_ratelimit_state_t *st);
static ngx_int_t ngx_http_penstock_ratelimit_rate(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_item_t *item);
static void ngx_http_penstock_ratelimit_used(
    ngx_http_penstock_ratelimit_item_t *item);
static ngx_int_t ngx_http_penstock_ratelimit_cost(ngx_http_request_t *r,
    ngx_http_complex_value_t *cost, ngx_http_penstock_ratelimit_item_t *item);


ngx_http_penstock_ratelimit_state_t *
ngx_http_penstock_ratelimit_state(ngx_http_request_t *r)
{
    ngx_http_penstock_ratelimit_state_t  *st;

    st = ngx_http_penstock_get_state(r, NGX_HTTP_PENSTOCK_RATELIMIT);

    if (st) {
        return st;
    }

    st = ngx_pcalloc(r->pool, sizeof(ngx_http_penstock_ratelimit_state_t));
    if (st == NULL) {
        return NULL;
    }

    st->items.elts = st->few;
    st->items.size = sizeof(ngx_http_penstock_ratelimit_item_t);
    st->items.nalloc = sizeof(st->few) / sizeof(st->few[0]);
    st->items.pool = r->pool;

    if (ngx_http_penstock_set_state(r, NGX_HTTP_PENSTOCK_RATELIMIT, st)
        != NGX_OK)
    {
        return NULL;
    }

    return st;
}


/*
 * Makes items of the limits that this request meets now for the first time.
 * NGX_DECLINED: none; NGX_OK, or an HTTP status.
 */

ngx_int_t
ngx_http_penstock_ratelimit_collect(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_loc_conf_t *rlcf, ngx_uint_t before_auth,
    ngx_http_penstock_ratelimit_state_t **state)
{
    ngx_int_t                             k, n;
    ngx_str_t                             key;
    ngx_uint_t                            i, first;
    ngx_http_penstock_ratelimit_item_t   *item;
    ngx_http_penstock_ratelimit_zone_t   *zone;
    ngx_http_penstock_ratelimit_limit_t  *limit;
    ngx_http_penstock_ratelimit_state_t  *st;

    st = *state;
    first = st ? st->items.nelts : 0;
    limit = rlcf->limits->elts;

    for (i = 0; i < rlcf->limits->nelts; i++) {

        if (limit[i].before_auth != before_auth) {
            continue;
        }

        zone = ngx_http_penstock_zone_conf(limit[i].shm_zone);

        if (st && ngx_http_penstock_ratelimit_counted(st, zone)) {
            continue;
        }

        n = ngx_http_penstock_ratelimit_key(r, zone, &key);

        if (n == NGX_DECLINED) {
            continue;
        }

        if (st == NULL) {
            st = ngx_http_penstock_ratelimit_state(r);
            if (st == NULL) {
                return NGX_HTTP_INTERNAL_SERVER_ERROR;
            }
        }

        item = NULL;

        if (n == NGX_OK) {
            item = ngx_http_penstock_ratelimit_room(st);
            if (item == NULL) {
                return NGX_HTTP_INTERNAL_SERVER_ERROR;
            }

            n = ngx_http_penstock_ratelimit_item(r, limit[i].shm_zone, &key,
                                                 limit[i].cost, 1, item);
        }

        if (n == NGX_ERROR) {
            st->items.nelts = first;
            st->failed = 1;

            return ngx_http_penstock_refuse(r, NGX_HTTP_INTERNAL_SERVER_ERROR,
                                            "A rate limit is misconfigured.");
        }

        for (k = 0; k < n; k++) {
            item[k].dry_run |= limit[i].dry_run;
        }

        st->items.nelts += n;
    }

    if (st == NULL || st->items.nelts == first) {
        return NGX_DECLINED;
    }

    st->first = first;
    *state = st;

    return NGX_OK;
}


/* two places behind the items, which are not counted yet */

static ngx_http_penstock_ratelimit_item_t *
ngx_http_penstock_ratelimit_room(ngx_http_penstock_ratelimit_state_t *st)
{
    ngx_http_penstock_ratelimit_item_t  *item;

    if (st->items.nelts + 2 <= st->items.nalloc) {
        item = st->items.elts;
        return &item[st->items.nelts];
    }

    item = ngx_array_push_n(&st->items, 2);
    if (item == NULL) {
        return NULL;
    }

    st->items.nelts -= 2;

    return item;
}


/* one variable, as usual, is read without the script engine; its value lives
   as long as the request */

ngx_int_t
ngx_http_penstock_ratelimit_key(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_zone_t *zone, ngx_str_t *key)
{
    ngx_http_variable_value_t  *vv;

    if (zone->key_index == NGX_ERROR) {

        if (ngx_http_complex_value(r, &zone->key, key) != NGX_OK) {
            return NGX_ERROR;
        }

        return key->len ? NGX_OK : NGX_DECLINED;
    }

    vv = ngx_http_get_flushed_variable(r, zone->key_index);

    if (vv == NULL || vv->not_found || vv->len == 0) {
        return NGX_DECLINED;
    }

    key->len = vv->len;
    key->data = vv->data;

    return NGX_OK;
}


ngx_int_t
ngx_http_penstock_ratelimit_item(ngx_http_request_t *r,
    ngx_shm_zone_t *shm_zone, ngx_str_t *key, ngx_http_complex_value_t *cost,
    uint64_t n, ngx_http_penstock_ratelimit_item_t item[2])
{
    ngx_http_penstock_ratelimit_zone_t  *zone;

    zone = ngx_http_penstock_zone_conf(shm_zone);

    ngx_memzero(item, sizeof(ngx_http_penstock_ratelimit_item_t));

    item->zone = zone;
    item->memory = ngx_http_penstock_zone_data(shm_zone);
    item->table = item->memory->table;
    item->key = *key;
    item->hash = ps_gcra_table_hash(item->table, key->data, key->len);
    item->cost = n;
    item->local = (zone->redis == NULL);
    item->lease = (zone->lease != 0);

    if (ngx_http_penstock_ratelimit_rate(r, item) != NGX_OK) {
        return NGX_ERROR;
    }

    if (cost && ngx_http_penstock_ratelimit_cost(r, cost, item) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ps_overrides_number(item->memory->overrides) == 0) {
        return 1;
    }

    return ngx_http_penstock_ratelimit_override(r, item);
}


static ngx_uint_t
ngx_http_penstock_ratelimit_counted(ngx_http_penstock_ratelimit_state_t *st,
    ngx_http_penstock_ratelimit_zone_t *zone)
{
    ngx_uint_t                           i;
    ngx_http_penstock_ratelimit_item_t  *item;

    item = st->items.elts;

    for (i = 0; i < st->items.nelts; i++) {
        if (item[i].zone == zone) {
            return 1;
        }
    }

    return 0;
}


/*
 * A rate that makes no sense must not open the gate: the request fails, and
 * the error log says why.  Not to limit is said by an empty key.
 */

static ngx_int_t
ngx_http_penstock_ratelimit_rate(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_item_t *item)
{
    ngx_str_t                            value;
    ps_gcra_rate_t                       rate;
    ngx_http_penstock_ratelimit_zone_t  *zone;

    zone = item->zone;

    if (zone->rate == NULL) {
        item->limit = &zone->limit;
        return NGX_OK;
    }

    if (ngx_http_complex_value(r, zone->rate, &value) != NGX_OK) {
        return NGX_ERROR;
    }

    item->limit = ngx_palloc(r->pool, sizeof(ps_gcra_t));
    if (item->limit == NULL) {
        return NGX_ERROR;
    }

    if (ps_gcra_rate((char *) value.data, value.len, &rate) != 0) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "rate_limit_zone \"%V\": invalid rate \"%V\"",
                      &zone->name, &value);
        return NGX_ERROR;
    }

    if (ps_gcra_limit(item->limit, &rate, zone->burst) != 0) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "rate_limit_zone \"%V\": rate \"%V\" is too low for "
                      "its burst, or too high",
                      &zone->name, &value);
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* no value costs 1, and so does one that is no number; a number beyond all
   limits is more than any burst */

static ngx_int_t
ngx_http_penstock_ratelimit_cost(ngx_http_request_t *r,
    ngx_http_complex_value_t *cost, ngx_http_penstock_ratelimit_item_t *item)
{
    size_t     i;
    ngx_int_t  n;
    ngx_str_t  value;

    if (ngx_http_complex_value(r, cost, &value) != NGX_OK) {
        return NGX_ERROR;
    }

    if (value.len == 0) {
        return NGX_OK;
    }

    n = ngx_atoi(value.data, value.len);

    if (n == NGX_ERROR) {

        for (i = 0; i < value.len; i++) {
            if (value.data[i] < '0' || value.data[i] > '9') {
                break;
            }
        }

        if (i == value.len) {
            item->cost = NGX_MAX_INT_T_VALUE;
            return NGX_OK;
        }

        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "rate_limit zone \"%V\": invalid cost \"%V\", "
                      "counted as 1", &item->zone->name, &value);
        return NGX_OK;
    }

    item->cost = n;

    return NGX_OK;
}


void
ngx_http_penstock_ratelimit_account(ngx_http_penstock_ratelimit_decision_t *d,
    ngx_int_t rc)
{
    ngx_uint_t                           i, result;
    ngx_http_penstock_ratelimit_item_t  *item;

    item = d->items;

    for (i = 0; i < d->n; i++) {

        if (rc == NGX_DECLINED && (item[i].dry_run || !item[i].refused)
            && !item[i].fallback)
        {
            /* another one refused: this one has not counted it */

            continue;
        }

        if (item[i].refused) {
            ngx_log_error(NGX_LOG_INFO, d->request->connection->log, 0,
                          "rate limit%s by zone \"%V\"",
                          item[i].dry_run ? ", dry run," : "",
                          &item[i].zone->name);
        }

        if (item[i].decided) {
            ngx_http_penstock_ratelimit_used(&item[i]);
        }

        if (item[i].trial && !item[i].refused) {
            continue;
        }

        if (item[i].fallback) {
            result = NGX_HTTP_PENSTOCK_RATELIMIT_FALLBACK;

        } else if (item[i].refused) {
            result = item[i].dry_run ? NGX_HTTP_PENSTOCK_RATELIMIT_DRY_RUN
                                     : NGX_HTTP_PENSTOCK_RATELIMIT_REJECTED;

        } else {
            result = NGX_HTTP_PENSTOCK_RATELIMIT_PASSED;
        }

        ngx_http_penstock_count(item[i].zone->counters[result], 1);
    }
}


/* the key's use, and the override's, if this limit was asked */

static void
ngx_http_penstock_ratelimit_used(ngx_http_penstock_ratelimit_item_t *item)
{
    u_char      buf[NGX_HTTP_PENSTOCK_RATELIMIT_KEY_MAX];
    ngx_str_t   name;

    if (item->override) {
        ps_overrides_use(item->memory->overrides, item->override,
                         item->refused);
    }

    if (!item->trial
        && ps_hot_use(item->memory->hot, item->hash,
                      ngx_current_msec / 1000, item->refused)
        && ngx_http_penstock_ratelimit_key_name(&item->key, buf, &name)
           == NGX_OK)
    {
        ps_hot_take(item->memory->hot, item->hash, ngx_current_msec / 1000,
                    item->refused, (char *) name.data, name.len);
    }
}


ngx_int_t
ngx_http_penstock_ratelimit_refuse(ngx_http_request_t *r,
    ngx_http_penstock_ratelimit_state_t *st)
{
    u_char                              *p;
    size_t                               len;
    ngx_uint_t                           i;
    ngx_http_penstock_running_t         *running;
    ngx_http_penstock_problem_t          problem;
    ngx_http_penstock_ratelimit_item_t  *item;

    if (st->decision.unavailable) {
        return ngx_http_penstock_refuse(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                              "The rate limit can't be checked just now.");
    }

    ngx_memzero(&problem, sizeof(ngx_http_penstock_problem_t));

    problem.status = st->status;

    ngx_str_set(&problem.type,
             "https://iana.org/assignments/http-problem-types#quota-exceeded");
    ngx_str_set(&problem.title,
             "Request cannot be satisfied as assigned quota has been "
             "exceeded");

    item = st->items.elts;
    len = sizeof("\"violated-policies\":[]") - 1;

    for (i = st->first; i < st->items.nelts; i++) {
        len += item[i].zone->name.len + sizeof("\"\",") - 1;
    }

    for (running = st->running; running; running = running->next) {
        len += running->zone->slots.name.len + sizeof("\"\",") - 1;
    }

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    problem.members.data = p;

    p = ngx_cpymem(p, "\"violated-policies\":[",
                   sizeof("\"violated-policies\":[") - 1);

    for (i = st->first; i < st->items.nelts; i++) {
        if (item[i].refused && !item[i].dry_run) {
            p = ngx_sprintf(p, "\"%V\",", &item[i].zone->name);
        }
    }

    for (running = st->running; running; running = running->next) {
        if (running->refused && !running->dry_run) {
            p = ngx_sprintf(p, "\"%V\",", &running->zone->slots.name);
        }
    }

    p[-1] = ']';

    problem.members.len = p - problem.members.data;

    return ngx_http_penstock_problem(r, &problem);
}
