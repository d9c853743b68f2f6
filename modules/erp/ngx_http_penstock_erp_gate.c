
/*
 * The breaker and the budget as gates: fills of the cache pass them like
 * governed requests.
 *
 * On the way back they hear what the upstream said.  A refusal for its load
 * becomes one problem, whatever it looked like: nothing has happened there.
 */

#include "ngx_http_penstock_erp.h"


typedef struct {
    ps_breaker_t                         breaker;
    ngx_slab_pool_t                     *shpool;
} ngx_http_penstock_erp_shared_t;


typedef struct {
    int                                  probe;
    ngx_uint_t                           told;
} ngx_http_penstock_erp_circuit_t;


static ngx_int_t ngx_http_penstock_erp_circuit_enter(
    ngx_http_penstock_exchange_t *x, void **state);
static ngx_int_t ngx_http_penstock_erp_circuit_answered(
    ngx_http_penstock_exchange_t *x, void **state);
static void ngx_http_penstock_erp_circuit_leave(
    ngx_http_penstock_exchange_t *x, void **state);
static ngx_int_t ngx_http_penstock_erp_circuit_early(
    ngx_http_penstock_exchange_t *x, void **state);

static ngx_int_t ngx_http_penstock_erp_budget_enter(
    ngx_http_penstock_exchange_t *x, void **state);
static ngx_int_t ngx_http_penstock_erp_budget_answered(
    ngx_http_penstock_exchange_t *x, void **state);
static void ngx_http_penstock_erp_budget_leave(
    ngx_http_penstock_exchange_t *x, void **state);
static ngx_int_t ngx_http_penstock_erp_budget_early(
    ngx_http_penstock_exchange_t *x, void **state);
static ngx_http_penstock_erp_passage_t *ngx_http_penstock_erp_passage(
    ngx_http_penstock_exchange_t *x, ngx_http_penstock_erp_loc_conf_t *conf);

static ngx_int_t ngx_http_penstock_erp_gate_refuse(
    ngx_http_penstock_exchange_t *x, const char *type, const char *detail,
    time_t retry);
static ngx_uint_t ngx_http_penstock_erp_overloaded(
    ngx_http_penstock_exchange_t *x, ngx_http_penstock_erp_loc_conf_t *conf,
    time_t *retry);


ngx_http_penstock_gate_t  ngx_http_penstock_erp_breaker_gate = {
    ngx_http_penstock_erp_circuit_enter,
    ngx_http_penstock_erp_circuit_answered,
    ngx_http_penstock_erp_circuit_leave,
    ngx_http_penstock_erp_circuit_early
};


ngx_http_penstock_gate_t  ngx_http_penstock_erp_budget_gate = {
    ngx_http_penstock_erp_budget_enter,
    ngx_http_penstock_erp_budget_answered,
    ngx_http_penstock_erp_budget_leave,
    ngx_http_penstock_erp_budget_early
};


static ngx_int_t
ngx_http_penstock_erp_circuit_enter(ngx_http_penstock_exchange_t *x,
    void **state)
{
    uint64_t                           wait;
    ngx_http_penstock_erp_shared_t    *shared;
    ngx_http_penstock_erp_circuit_t   *circuit;
    ngx_http_penstock_erp_breaker_t   *breaker;
    ngx_http_penstock_erp_loc_conf_t  *conf;

    conf = ngx_http_get_module_loc_conf(x->host, ngx_http_penstock_erp_module);

    breaker = conf->breaker;

    if (breaker == NULL) {
        return NGX_OK;
    }

    circuit = ngx_pcalloc(x->host->pool,
                          sizeof(ngx_http_penstock_erp_circuit_t));
    if (circuit == NULL) {
        return NGX_ERROR;
    }

    shared = ngx_http_penstock_zone_data(breaker->shm_zone);

    ngx_shmtx_lock(&shared->shpool->mutex);

    wait = ps_breaker_ask(&shared->breaker, &breaker->limits,
                          ngx_current_msec, &circuit->probe);

    ngx_shmtx_unlock(&shared->shpool->mutex);

    if (wait) {
        ngx_http_penstock_count(breaker->refused, 1);

        return ngx_http_penstock_erp_gate_refuse(x, "circuit-open",
                   "The server has failed too often and is left alone for a "
                   "while. The request was not sent.", (wait + 999) / 1000);
    }

    *state = circuit;

    return NGX_OK;
}


/* whether the server works; an answer of overload is none of its failures */

static ngx_int_t
ngx_http_penstock_erp_circuit_answered(ngx_http_penstock_exchange_t *x,
    void **state)
{
    ngx_uint_t                         failed, opened;
    ngx_http_penstock_erp_shared_t    *shared;
    ngx_http_penstock_erp_circuit_t   *circuit;
    ngx_http_penstock_erp_breaker_t   *breaker;
    ngx_http_penstock_erp_loc_conf_t  *conf;

    circuit = *state;

    if (circuit == NULL || (x->redirect.len && x->unsent)) {
        return NGX_OK;
    }

    conf = ngx_http_get_module_loc_conf(x->host, ngx_http_penstock_erp_module);

    breaker = conf->breaker;
    shared = ngx_http_penstock_zone_data(breaker->shm_zone);

    failed = !x->refused
             && ((!x->complete && !x->too_large
                  && (x->header || x->status
                                   >= NGX_HTTP_INTERNAL_SERVER_ERROR))
                 || x->status >= NGX_HTTP_INTERNAL_SERVER_ERROR);

    circuit->told = 1;

    ngx_shmtx_lock(&shared->shpool->mutex);

    opened = (ngx_uint_t) shared->breaker.opened;

    ps_breaker_report(&shared->breaker, &breaker->limits, ngx_current_msec,
                      circuit->probe, failed);

    opened = (opened != (ngx_uint_t) shared->breaker.opened);

    ngx_shmtx_unlock(&shared->shpool->mutex);

    if (opened) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "erp_breaker \"%V\" opens for %uL ms", &breaker->name,
                      breaker->limits.open);
    }

    return NGX_OK;
}


static void
ngx_http_penstock_erp_circuit_leave(ngx_http_penstock_exchange_t *x,
    void **state)
{
    ngx_http_penstock_erp_shared_t    *shared;
    ngx_http_penstock_erp_circuit_t   *circuit;
    ngx_http_penstock_erp_loc_conf_t  *conf;

    circuit = *state;

    if (circuit->told || !circuit->probe) {
        return;
    }

    conf = ngx_http_get_module_loc_conf(x->host, ngx_http_penstock_erp_module);
    shared = ngx_http_penstock_zone_data(conf->breaker->shm_zone);

    ngx_shmtx_lock(&shared->shpool->mutex);
    ps_breaker_forget(&shared->breaker, circuit->probe);
    ngx_shmtx_unlock(&shared->shpool->mutex);
}


/* no place is taken for what an open circuit will refuse */

static ngx_int_t
ngx_http_penstock_erp_circuit_early(ngx_http_penstock_exchange_t *x,
    void **state)
{
    ngx_http_penstock_erp_loc_conf_t  *conf;

    conf = ngx_http_get_module_loc_conf(x->host, ngx_http_penstock_erp_module);

    return (conf->breaker
            && ngx_http_penstock_erp_breaker_state(conf->breaker)
               != PS_BREAKER_CLOSED)
           ? NGX_DECLINED : NGX_OK;
}


static ngx_int_t
ngx_http_penstock_erp_budget_enter(ngx_http_penstock_exchange_t *x,
    void **state)
{
    ngx_int_t                          rc;
    ngx_http_penstock_erp_passage_t   *p;
    ngx_http_penstock_erp_loc_conf_t  *conf;

    conf = ngx_http_get_module_loc_conf(x->host, ngx_http_penstock_erp_module);

    if (conf->budget == NULL) {
        return NGX_OK;
    }

    p = *state;

    if (p == NULL) {
        p = ngx_http_penstock_erp_passage(x, conf);
        if (p == NULL) {
            return NGX_ERROR;
        }

        *state = p;
    }

    rc = ngx_http_penstock_erp_enter(p, conf->timeout);

    /* a server that has not answered in time is at it still */

    x->once = 1;

    if (rc == NGX_OK) {
        ngx_http_penstock_count(p->budget->granted, 1);
    }

    if (rc == NGX_AGAIN) {
        x->idle = 1;
    }

    if (rc != NGX_DECLINED) {
        return rc;
    }

    ngx_http_penstock_count(p->late ? p->budget->late : p->budget->full, 1);

    return ngx_http_penstock_erp_gate_refuse(x, p->late ? "queue-timeout"
                                                        : "queue-full",
               p->late ? "The server had no place for the request in time. It "
                         "was not sent."
                       : "Too many requests wait for the server. This one was "
                         "not sent.", 1);
}


static ngx_int_t
ngx_http_penstock_erp_budget_early(ngx_http_penstock_exchange_t *x,
    void **state)
{
    ngx_http_penstock_erp_passage_t   *p;
    ngx_http_penstock_erp_loc_conf_t  *conf;

    conf = ngx_http_get_module_loc_conf(x->host, ngx_http_penstock_erp_module);

    if (conf->budget == NULL || *state) {
        return NGX_OK;
    }

    p = ngx_http_penstock_erp_passage(x, conf);

    if (p && ngx_http_penstock_erp_enter_early(p) == NGX_OK) {
        *state = p;
    }

    return NGX_OK;
}


static ngx_http_penstock_erp_passage_t *
ngx_http_penstock_erp_passage(ngx_http_penstock_exchange_t *x,
    ngx_http_penstock_erp_loc_conf_t *conf)
{
    ngx_str_t                         client;
    ngx_http_penstock_erp_passage_t  *p;

    p = ngx_pcalloc(x->host->pool, sizeof(ngx_http_penstock_erp_passage_t));

    if (p == NULL
        || ngx_http_penstock_erp_client(x->host, conf->client, &client)
           != NGX_OK)
    {
        return NULL;
    }

    p->budget = ngx_http_penstock_zone_conf(conf->budget);
    p->exchange = x;
    p->write = x->write;
    p->queue_max = (unsigned) conf->queue;
    p->client = ((uint64_t) ngx_crc32_long(client.data, client.len) << 32)
                | ngx_murmur_hash2(client.data, client.len);

    return p;
}


static ngx_int_t
ngx_http_penstock_erp_budget_answered(ngx_http_penstock_exchange_t *x,
    void **state)
{
    time_t                             retry;
    ngx_http_penstock_erp_passage_t   *p;
    ngx_http_penstock_erp_loc_conf_t  *conf;

    p = *state;

    if (p == NULL) {
        return NGX_OK;
    }

    conf = ngx_http_get_module_loc_conf(x->host, ngx_http_penstock_erp_module);

    if (!ngx_http_penstock_erp_overloaded(x, conf, &retry)) {
        return NGX_OK;
    }

    ngx_http_penstock_erp_narrow(p->budget, (ngx_msec_t) retry * 1000);

    (void) ngx_http_penstock_erp_gate_refuse(x, "overload",
               "The server has too much to do. The request had no effect.",
               retry);

    x->status = NGX_HTTP_SERVICE_UNAVAILABLE;
    x->complete = 0;
    x->header = 0;
    x->upstream = 0;
    x->refused = 1;
    x->unsent = 1;

    return NGX_OK;
}


static void
ngx_http_penstock_erp_budget_leave(ngx_http_penstock_exchange_t *x,
    void **state)
{
    ngx_uint_t  busy;

    /* given up by us, the server may still be working on it */

    busy = x->request && !x->unsent
           && (!x->done || (!x->header
                            && x->status == NGX_HTTP_GATEWAY_TIME_OUT));

    ngx_http_penstock_erp_leave(*state, busy);
}


static ngx_int_t
ngx_http_penstock_erp_gate_refuse(ngx_http_penstock_exchange_t *x,
    const char *type, const char *detail, time_t retry)
{
    ngx_http_penstock_problem_t  *problem;

    problem = ngx_pcalloc(x->host->pool, sizeof(ngx_http_penstock_problem_t));
    if (problem == NULL) {
        return NGX_ERROR;
    }

    problem->type.data = ngx_pnalloc(x->host->pool,
                                     sizeof("urn:penstock:problem:") - 1
                                     + ngx_strlen(type));
    if (problem->type.data == NULL) {
        return NGX_ERROR;
    }

    problem->type.len = ngx_sprintf(problem->type.data,
                                    "urn:penstock:problem:%s", type)
                        - problem->type.data;

    problem->status = NGX_HTTP_SERVICE_UNAVAILABLE;
    problem->detail.data = (u_char *) detail;
    problem->detail.len = ngx_strlen(detail);

    x->problem = problem;
    x->retry_after = retry;

    return NGX_HTTP_SERVICE_UNAVAILABLE;
}


static ngx_uint_t
ngx_http_penstock_erp_overloaded(ngx_http_penstock_exchange_t *x,
    ngx_http_penstock_erp_loc_conf_t *conf, time_t *retry)
{
    ngx_uint_t                         i, found;
    ngx_list_part_t                   *part;
    ngx_table_elt_t                   *h;
    ngx_http_penstock_erp_overload_t  *overload;

    if (!x->header || !x->upstream) {
        return 0;
    }

    *retry = 0;

    for (part = &x->request->upstream->headers_in.headers.part; part;
         part = part->next)
    {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (h[i].hash && h[i].key.len == sizeof("Retry-After") - 1
                && ngx_strncasecmp(h[i].key.data, (u_char *) "Retry-After",
                                   sizeof("Retry-After") - 1)
                   == 0)
            {
                *retry = ngx_atotm(h[i].value.data, h[i].value.len);

                if (*retry == NGX_ERROR) {
                    *retry = ngx_parse_http_time(h[i].value.data,
                                                 h[i].value.len);

                    *retry = (*retry == NGX_ERROR) ? 1
                                                   : *retry - ngx_time();
                }

                *retry = ngx_max(1, ngx_min(*retry, 3600));
            }
        }
    }

    found = (x->status == NGX_HTTP_TOO_MANY_REQUESTS
             || (x->status == NGX_HTTP_SERVICE_UNAVAILABLE && *retry));

    if (!found && conf->overload) {

        overload = conf->overload->elts;

        for (i = 0; i < conf->overload->nelts; i++) {

            if (overload[i].status != x->status) {
                continue;
            }

            if (overload[i].text.len == 0
                || (x->complete && x->answer.len >= overload[i].text.len
                    && memmem(x->answer.data, x->answer.len,
                              overload[i].text.data, overload[i].text.len)))
            {
                found = 1;
                break;
            }
        }
    }

    if (*retry == 0) {
        *retry = 1;
    }

    return found;
}


ngx_int_t
ngx_http_penstock_erp_breaker_init(ngx_shm_zone_t *zone,
    ngx_slab_pool_t *shpool, void *conf, void **data)
{
    ngx_http_penstock_erp_shared_t  *shared;

    shared = ngx_slab_calloc(shpool, sizeof(ngx_http_penstock_erp_shared_t));
    if (shared == NULL) {
        return NGX_ERROR;
    }

    shared->shpool = shpool;
    *data = shared;

    return NGX_OK;
}


uint64_t
ngx_http_penstock_erp_breaker_state(void *data)
{
    ngx_http_penstock_erp_shared_t   *shared;
    ngx_http_penstock_erp_breaker_t  *breaker = data;

    shared = ngx_http_penstock_zone_data(breaker->shm_zone);

    return ps_breaker_state(&shared->breaker, ngx_current_msec);
}


uint64_t
ngx_http_penstock_erp_breaker_opened(void *data)
{
    ngx_http_penstock_erp_shared_t   *shared;
    ngx_http_penstock_erp_breaker_t  *breaker = data;

    shared = ngx_http_penstock_zone_data(breaker->shm_zone);

    return shared->breaker.opened;
}
