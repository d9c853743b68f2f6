
/*
 * Metrics.  A counter has a slot, the same one for as long as the master
 * lives: slots are given at configuration time and never taken back.  So
 * values survive any reload, and workers of older cycles go on counting
 * where they did.  Each process counts in its own row of the shared zone.
 *
 * The zone is made with the first counter; a gauge needs none.
 */

#include "ngx_http_penstock.h"
#include "ngx_http_penstock_metrics.h"
#include "ps_metrics.h"


#define NGX_HTTP_PENSTOCK_SLOTS   2048
#define NGX_HTTP_PENSTOCK_ROWS    32         /* the last one is shared */
#define NGX_HTTP_PENSTOCK_ROW     (NGX_HTTP_PENSTOCK_SLOTS * sizeof(uint64_t))


static ngx_http_penstock_sample_t *ngx_http_penstock_sample(ngx_conf_t *cf,
    const char *name, const char *help, ngx_str_t *labels,
    ngx_http_penstock_metric_e type);
static ngx_int_t ngx_http_penstock_slot(ngx_conf_t *cf, const char *name,
    ngx_str_t *labels);
static ngx_int_t ngx_http_penstock_counters_zone(ngx_conf_t *cf);
static ngx_int_t ngx_http_penstock_counters_init(ngx_shm_zone_t *zone,
    ngx_slab_pool_t *shpool, void *conf, void **data);
static uint64_t *ngx_http_penstock_counters_row(void);


/*
 * Digests of name and labels, by slot; kept by the master through reloads,
 * inherited by workers.  Slot 0 is nobody's.
 */

static uint64_t     ngx_http_penstock_names[NGX_HTTP_PENSTOCK_SLOTS][2];
static ngx_uint_t   ngx_http_penstock_nnames = 1;

/* this process' row, and for which process and cycle it was looked up */

static uint64_t    *ngx_http_penstock_row;
static ngx_uint_t   ngx_http_penstock_row_shared;
static ngx_pid_t    ngx_http_penstock_row_pid;
static void        *ngx_http_penstock_row_cycle;


ngx_int_t
ngx_http_penstock_counter(ngx_conf_t *cf, const char *name, const char *help,
    ngx_str_t *labels)
{
    ngx_int_t                    slot;
    ngx_http_penstock_sample_t  *sample;

    sample = ngx_http_penstock_sample(cf, name, help, labels,
                                      NGX_HTTP_PENSTOCK_COUNTER);
    if (sample == NULL) {
        return NGX_ERROR;
    }

    if (sample->slot == 0) {

        if (ngx_http_penstock_counters_zone(cf) != NGX_OK) {
            return NGX_ERROR;
        }

        slot = ngx_http_penstock_slot(cf, name, labels);
        if (slot == NGX_ERROR) {
            return NGX_ERROR;
        }

        sample->slot = slot;
    }

    return sample->slot;
}


ngx_int_t
ngx_http_penstock_gauge(ngx_conf_t *cf, const char *name, const char *help,
    ngx_str_t *labels, ngx_http_penstock_gauge_pt read, void *data)
{
    ngx_http_penstock_sample_t  *sample;

    sample = ngx_http_penstock_sample(cf, name, help, labels,
                                      NGX_HTTP_PENSTOCK_GAUGE);
    if (sample == NULL) {
        return NGX_ERROR;
    }

    sample->read = read;
    sample->data = data;

    return NGX_OK;
}


void
ngx_http_penstock_count(ngx_int_t id, ngx_uint_t n)
{
    uint64_t  *row;

    if (id <= 0 || id >= NGX_HTTP_PENSTOCK_SLOTS) {
        return;
    }

    row = ngx_http_penstock_row;

    if (ngx_http_penstock_row_cycle != (void *) ngx_cycle
        || ngx_http_penstock_row_pid != ngx_pid)
    {
        row = ngx_http_penstock_counters_row();
    }

    if (row == NULL) {
        return;
    }

    if (ngx_http_penstock_row_shared) {
        (void) __atomic_fetch_add(&row[id], n, __ATOMIC_RELAXED);
        return;
    }

    /* nobody else writes here: no need to lock the bus */

    __atomic_store_n(&row[id],
                     __atomic_load_n(&row[id], __ATOMIC_RELAXED) + n,
                     __ATOMIC_RELAXED);
}


uint64_t
ngx_http_penstock_metric_value(ngx_http_penstock_main_conf_t *pmcf,
    ngx_http_penstock_sample_t *sample)
{
    uint64_t    *rows, sum;
    ngx_uint_t   i;

    if (sample->read) {
        return sample->read(sample->data);
    }

    rows = ngx_http_penstock_zone_data(pmcf->metrics_zone);
    sum = 0;

    for (i = 0; i < NGX_HTTP_PENSTOCK_ROWS; i++) {
        sum += __atomic_load_n(&rows[i * NGX_HTTP_PENSTOCK_SLOTS
                                     + sample->slot],
                               __ATOMIC_RELAXED);
    }

    return sum;
}


ngx_int_t
ngx_http_penstock_labels(ngx_pool_t *pool, ngx_http_penstock_sample_t *sample)
{
    int            rc;
    u_char        *p;
    ps_label_t     label;
    const char    *pos, *end;
    ngx_keyval_t  *pair;

    if (ngx_array_init(&sample->pairs, pool, 2, sizeof(ngx_keyval_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    pos = (char *) sample->labels.data;
    end = pos + sample->labels.len;

    while ((rc = ps_label_next(&pos, end, &label)) == 1) {

        pair = ngx_array_push(&sample->pairs);
        if (pair == NULL) {
            return NGX_ERROR;
        }

        p = ngx_pnalloc(pool, label.value_len + 1);
        if (p == NULL) {
            return NGX_ERROR;
        }

        pair->key.data = (u_char *) label.name;
        pair->key.len = label.name_len;
        pair->value.data = p;
        pair->value.len = ps_label_unescape((char *) p, label.value,
                                            label.value_len);
    }

    return rc == 0 ? NGX_OK : NGX_DECLINED;
}


/* the sample of that name and these labels, a new one if there is none */

static ngx_http_penstock_sample_t *
ngx_http_penstock_sample(ngx_conf_t *cf, const char *name, const char *help,
    ngx_str_t *labels, ngx_http_penstock_metric_e type)
{
    size_t                          len;
    ngx_int_t                       rc;
    ngx_str_t                       none;
    ngx_uint_t                      i;
    ngx_http_penstock_metric_t     *metric;
    ngx_http_penstock_sample_t     *sample;
    ngx_http_penstock_main_conf_t  *pmcf;

    if (labels == NULL) {
        ngx_str_null(&none);
        labels = &none;
    }

    pmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_penstock_module);

    if (pmcf->metrics.elts == NULL
        && ngx_array_init(&pmcf->metrics, cf->pool, 16,
                          sizeof(ngx_http_penstock_metric_t))
           != NGX_OK)
    {
        return NULL;
    }

    len = ngx_strlen(name);
    metric = pmcf->metrics.elts;

    for (i = 0; i < pmcf->metrics.nelts; i++) {
        if (metric[i].name.len == len
            && ngx_memcmp(metric[i].name.data, name, len) == 0)
        {
            break;
        }
    }

    if (i < pmcf->metrics.nelts) {
        metric = &metric[i];

        if (metric->type != type) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "metric \"%s\" can't be both a counter and "
                               "a gauge", name);
            return NULL;
        }

    } else {
        metric = ngx_array_push(&pmcf->metrics);
        if (metric == NULL) {
            return NULL;
        }

        /* names and help texts are constants of the module */

        metric->name.data = (u_char *) name;
        metric->name.len = len;
        metric->help.data = (u_char *) help;
        metric->help.len = ngx_strlen(help);
        metric->type = type;

        if (ngx_array_init(&metric->samples, cf->pool, 4,
                           sizeof(ngx_http_penstock_sample_t))
            != NGX_OK)
        {
            return NULL;
        }
    }

    sample = metric->samples.elts;

    for (i = 0; i < metric->samples.nelts; i++) {
        if (sample[i].labels.len == labels->len
            && (labels->len == 0
                || ngx_memcmp(sample[i].labels.data, labels->data, labels->len)
                   == 0))
        {
            return &sample[i];
        }
    }

    sample = ngx_array_push(&metric->samples);
    if (sample == NULL) {
        return NULL;
    }

    ngx_memzero(sample, sizeof(ngx_http_penstock_sample_t));

    if (labels->len) {
        sample->labels.len = labels->len;
        sample->labels.data = ngx_pstrdup(cf->pool, labels);
        if (sample->labels.data == NULL) {
            return NULL;
        }
    }

    rc = ngx_http_penstock_labels(cf->pool, sample);

    if (rc == NGX_DECLINED) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the labels %V of metric \"%s\" can't be shown, "
                           "use names without quotes and backslashes",
                           labels, name);
    }

    return rc == NGX_OK ? sample : NULL;
}


static ngx_int_t
ngx_http_penstock_slot(ngx_conf_t *cf, const char *name, ngx_str_t *labels)
{
    u_char       digest[NGX_HTTP_PENSTOCK_KEY_LEN];
    uint64_t     id[2];
    ngx_str_t    parts[3];
    ngx_uint_t   i, n;

    parts[0].data = (u_char *) name;
    parts[0].len = ngx_strlen(name);
    ngx_str_set(&parts[1], "{");
    n = 2;

    if (labels) {
        parts[n++] = *labels;
    }

    if (ngx_http_penstock_sha256(parts, n, digest) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_memcpy(id, digest, sizeof(id));

    for (i = 1; i < ngx_http_penstock_nnames; i++) {
        if (ngx_memcmp(ngx_http_penstock_names[i], id, sizeof(id)) == 0) {
            return i;
        }
    }

    if (i == NGX_HTTP_PENSTOCK_SLOTS) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "more than %d counters since nginx was started, "
                           "define fewer zones or restart it",
                           NGX_HTTP_PENSTOCK_SLOTS - 1);
        return NGX_ERROR;
    }

    ngx_memcpy(ngx_http_penstock_names[i], id, sizeof(id));
    ngx_http_penstock_nnames++;

    return i;
}


static ngx_int_t
ngx_http_penstock_counters_zone(ngx_conf_t *cf)
{
    static ngx_str_t                name = ngx_string("penstock_metrics");
    ngx_http_penstock_main_conf_t  *pmcf;

    pmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_penstock_module);

    if (pmcf->metrics_zone) {
        return NGX_OK;
    }

    /* pages that no process counts in are never touched */

    pmcf->metrics_zone = ngx_http_penstock_zone_add(cf, &name,
                             (NGX_HTTP_PENSTOCK_ROWS + 2)
                                 * NGX_HTTP_PENSTOCK_ROW + 8 * ngx_pagesize,
                             &ngx_http_penstock_module, 1,
                             ngx_http_penstock_counters_init, NULL);

    return pmcf->metrics_zone ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_http_penstock_counters_init(ngx_shm_zone_t *zone, ngx_slab_pool_t *shpool,
    void *conf, void **data)
{
    uint64_t  *rows;

    /* new anonymous memory is zeroed by the kernel */

    rows = ngx_slab_alloc(shpool,
                          NGX_HTTP_PENSTOCK_ROWS * NGX_HTTP_PENSTOCK_ROW);
    if (rows == NULL) {
        return NGX_ERROR;
    }

    *data = rows;

    return NGX_OK;
}


static uint64_t *
ngx_http_penstock_counters_row(void)
{
    uint64_t                       *rows;
    ngx_uint_t                      n;
    ngx_http_penstock_main_conf_t  *pmcf;

    ngx_http_penstock_row = NULL;
    ngx_http_penstock_row_pid = ngx_pid;
    ngx_http_penstock_row_cycle = (void *) ngx_cycle;

    if (ngx_cycle->conf_ctx == NULL) {
        return NULL;
    }

    pmcf = ngx_http_cycle_get_module_main_conf(ngx_cycle,
                                               ngx_http_penstock_module);

    if (pmcf && pmcf->metrics_zone) {
        rows = ngx_http_penstock_zone_data(pmcf->metrics_zone);

        /*
         * nginx gives a process slot to one process at a time; those with
         * higher numbers share the last row
         */

        if (rows) {
            n = ngx_min((ngx_uint_t) ngx_process_slot,
                        NGX_HTTP_PENSTOCK_ROWS - 1);

            ngx_http_penstock_row = rows + n * NGX_HTTP_PENSTOCK_SLOTS;
            ngx_http_penstock_row_shared = (n == NGX_HTTP_PENSTOCK_ROWS - 1);
        }
    }

    return ngx_http_penstock_row;
}
