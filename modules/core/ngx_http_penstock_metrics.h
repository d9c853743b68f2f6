
/*
 * Private to core: shared memory zones and metrics, as the module and the
 * status handler need them.
 */

#ifndef _NGX_HTTP_PENSTOCK_METRICS_H_INCLUDED_
#define _NGX_HTTP_PENSTOCK_METRICS_H_INCLUDED_


#include "ngx_http_penstock.h"


#define NGX_HTTP_PENSTOCK_VERSION  "0.1.0"


/* a sample: one name with one set of labels */

typedef struct {
    ngx_str_t                    labels;     /* Prometheus label pairs */
    ngx_array_t                  pairs;      /* the same, ngx_keyval_t */
    ngx_uint_t                   slot;       /* of a counter */
    ngx_http_penstock_gauge_pt   read;       /* of a gauge */
    void                        *data;
} ngx_http_penstock_sample_t;


/* all samples of one name */

typedef struct {
    ngx_str_t                    name;
    ngx_str_t                    help;
    ngx_http_penstock_metric_e   type;
    ngx_array_t                  samples;    /* ngx_http_penstock_sample_t */
} ngx_http_penstock_metric_t;


/* the value now, summed over all processes */

uint64_t ngx_http_penstock_metric_value(ngx_http_penstock_main_conf_t *pmcf,
    ngx_http_penstock_sample_t *sample);


/*
 * Sets "pairs" of the sample from its labels.  NGX_DECLINED: these are no
 * label pairs; NGX_ERROR: no memory.
 */

ngx_int_t ngx_http_penstock_labels(ngx_pool_t *pool,
    ngx_http_penstock_sample_t *sample);


/*
 * For core's postconfiguration: a zone that was named but never defined is
 * an error with the file and line that named it.
 */

ngx_int_t ngx_http_penstock_zone_postconf(ngx_conf_t *cf);


/*
 * Takes "size" bytes (zeroed) from the end of the zone, out of reach of the
 * slab allocator, so that they outlive ngx_slab_init().  Only while a zone
 * is being initialized, before its first slab allocation.  NULL: too large.
 */

void *ngx_http_penstock_zone_reserve(ngx_slab_pool_t *shpool, size_t size);


/* "penstock_status" */

char *ngx_http_penstock_status_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


#endif /* _NGX_HTTP_PENSTOCK_METRICS_H_INCLUDED_ */
