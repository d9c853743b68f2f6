
/*
 * Fills of cells that are under way, in memory that processes share: who
 * reads a cell from the upstream, so that others wait for it instead of
 * asking too.  The caller holds a lock.
 */

#ifndef _PS_CELL_FILLS_H_INCLUDED_
#define _PS_CELL_FILLS_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


typedef enum {
    PS_CELL_FILL_FREE = 0,
    PS_CELL_FILL_RUNS,
    PS_CELL_FILL_FAILED,                /* "status" says how */
    PS_CELL_FILL_ODD                    /* nothing that can be shared */
} ps_cell_fill_state_e;


typedef struct {
    uint64_t   hash[2];                 /* of the cell's key */
    uint64_t   fill;                    /* its id, never twice */
    uint64_t   seq;                     /* invalidations at its start: given */
    uint64_t   gen;                     /* out, and written */
    uint32_t   since;                   /* ms, low 32 bits: its start */
    int32_t    pid;                     /* of its worker process */
    uint16_t   state;
    uint16_t   status;
    uint32_t   spare;
} ps_cell_fill_t;


typedef struct {
    uint32_t         mask;              /* slots - 1 */
    uint32_t         spare;
    ps_cell_fill_t   slot[];
} ps_cell_fills_t;


/* bytes for "n" slots, a power of two; init: none is taken */

size_t ps_cell_fills_size(uint32_t n);
void ps_cell_fills_init(ps_cell_fills_t *fills, uint32_t n);

/* the slot of that cell, whatever its state, or NULL */

ps_cell_fill_t *ps_cell_fills_find(ps_cell_fills_t *fills,
    const uint64_t hash[2]);

/*
 * A slot for that cell with nothing but its hash set: its own, a free one, or
 * that of a fill which ended, oldest first.  NULL: too many fills run.
 */

ps_cell_fill_t *ps_cell_fills_claim(ps_cell_fills_t *fills,
    const uint64_t hash[2]);


#endif /* _PS_CELL_FILLS_H_INCLUDED_ */
