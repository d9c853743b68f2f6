
/*
 * Private to the files that hold cells in shared memory: _cells_zone.c,
 * _cells_look.c and _cells_store.c.
 */

#ifndef _NGX_HTTP_PENSTOCK_AVAILABILITY_CELLS_SHM_H_INCLUDED_
#define _NGX_HTTP_PENSTOCK_AVAILABILITY_CELLS_SHM_H_INCLUDED_


#include "ngx_http_penstock_availability_cells.h"


typedef struct {
    ps_cell_table_t                   *table;
    ps_cell_fills_t                   *fills;
    ps_siphash_key_t                   key;
    ngx_slab_pool_t                   *shpool;

    ngx_atomic_t                       logged;     /* s, of an odd answer */

    volatile ngx_uint_t                dirty;
    ngx_uint_t                         was_reset;
} ngx_http_penstock_cells_shm_t;


/* a worker that died inside leaves an empty table */

void ngx_http_penstock_cells_lock(ngx_http_penstock_cells_shm_t *shm);
void ngx_http_penstock_cells_unlock(ngx_http_penstock_cells_shm_t *shm);

/* the numbers of the tags that each cell has */

void ngx_http_penstock_cells_tag(ngx_http_penstock_cells_t *c,
    ngx_http_penstock_cell_t *cell, ps_cell_t *head);

/* whether a tag of the cell has a later number than it, in those buckets */

ngx_uint_t ngx_http_penstock_cells_later(ngx_atomic_t *bucket,
    ngx_uint_t size, ngx_atomic_uint_t all, ps_cell_t *held);

/*
 * Whether it was invalidated here: void; purged softly: soft; any of these,
 * or perhaps, as Redis told of a change: touched.
 */

ngx_uint_t ngx_http_penstock_cells_void(ngx_http_penstock_tag_table_t *table,
    ps_cell_t *held);
ngx_uint_t ngx_http_penstock_cells_soft(ngx_http_penstock_tag_table_t *table,
    ps_cell_t *held);
ngx_uint_t ngx_http_penstock_cells_touched(
    ngx_http_penstock_tag_table_t *table, ps_cell_t *held);


#endif /* _NGX_HTTP_PENSTOCK_AVAILABILITY_CELLS_SHM_H_INCLUDED_ */
