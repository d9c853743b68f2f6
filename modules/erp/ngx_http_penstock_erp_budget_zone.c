
/*
 * A budget's memory on this host: made, read for metrics, and told what the
 * server said of its limits.
 */

#include "ngx_http_penstock_erp.h"


static uint64_t ngx_http_penstock_erp_count(
    ngx_http_penstock_erp_budget_t *budget, ps_budget_state_e state);


void
ngx_http_penstock_erp_narrow(ngx_http_penstock_erp_budget_t *budget,
    ngx_msec_t ms)
{
    int                              said;
    ngx_http_penstock_erp_places_t  *places;

    places = ngx_http_penstock_zone_data(budget->shm_zone);

    ngx_http_penstock_count(budget->overload, 1);

    ngx_shmtx_lock(&places->shpool->mutex);
    said = ps_budget_narrow(&places->table.narrow, (unsigned) budget->limit,
                            ngx_current_msec, ms);
    ngx_shmtx_unlock(&places->shpool->mutex);

    if (said) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "erp_budget \"%V\" is narrowed, as the server has too "
                      "much to do", &budget->name);
    }

    if (budget->redis) {
        ngx_http_penstock_erp_remote_narrow(budget, ms);
    }
}


ngx_int_t
ngx_http_penstock_erp_budget_init(ngx_shm_zone_t *zone,
    ngx_slab_pool_t *shpool, void *conf, void **data)
{
    size_t                           room;
    ngx_http_penstock_erp_places_t  *places;

    /* as many entries as half of the zone holds */

    room = (zone->shm.size / 2 - sizeof(ngx_http_penstock_erp_places_t))
           / sizeof(ps_budget_entry_t);

    places = ngx_slab_calloc(shpool, sizeof(ngx_http_penstock_erp_places_t)
                                     + room * sizeof(ps_budget_entry_t));
    if (places == NULL) {
        return NGX_ERROR;
    }

    places->shpool = shpool;
    places->table.room = (uint32_t) room;

    *data = places;

    return NGX_OK;
}


static uint64_t
ngx_http_penstock_erp_count(ngx_http_penstock_erp_budget_t *budget,
    ps_budget_state_e state)
{
    uint64_t                         n;
    ngx_http_penstock_erp_places_t  *places;

    places = ngx_http_penstock_zone_data(budget->shm_zone);

    ngx_shmtx_lock(&places->shpool->mutex);
    n = ps_budget_count(&places->table, state, ngx_current_msec);
    ngx_shmtx_unlock(&places->shpool->mutex);

    return n;
}


uint64_t
ngx_http_penstock_erp_budget_held(void *budget)
{
    return ngx_http_penstock_erp_count(budget, PS_BUDGET_HELD);
}


uint64_t
ngx_http_penstock_erp_budget_waiting(void *budget)
{
    return ngx_http_penstock_erp_count(budget, PS_BUDGET_WAITING);
}


uint64_t
ngx_http_penstock_erp_budget_level(void *data)
{
    unsigned                         level;
    ngx_http_penstock_erp_budget_t  *budget = data;
    ngx_http_penstock_erp_places_t  *places;

    places = ngx_http_penstock_zone_data(budget->shm_zone);

    ngx_shmtx_lock(&places->shpool->mutex);
    level = ps_budget_level(&places->table.narrow, (unsigned) budget->limit,
                            ngx_current_msec);
    ngx_shmtx_unlock(&places->shpool->mutex);

    return level;
}
