
/*
 * A slot lies within a few places of where its hash points to, so a look is
 * short however many there are, and nothing has to be moved.
 */

#include <string.h>

#include "ps_cell_fills.h"
#include "ps_fault.h"


#define PS_CELL_FILLS_REACH  16


size_t
ps_cell_fills_size(uint32_t n)
{
    return sizeof(ps_cell_fills_t) + (size_t) n * sizeof(ps_cell_fill_t);
}


void
ps_cell_fills_init(ps_cell_fills_t *fills, uint32_t n)
{
    memset(fills, 0, ps_cell_fills_size(n));
    fills->mask = n - 1;
}


ps_cell_fill_t *
ps_cell_fills_find(ps_cell_fills_t *fills, const uint64_t hash[2])
{
    uint32_t         i;
    ps_cell_fill_t  *slot;

    for (i = 0; i < PS_CELL_FILLS_REACH; i++) {
        slot = &fills->slot[(hash[1] + i) & fills->mask];

        if (slot->state != PS_CELL_FILL_FREE
            && slot->hash[0] == hash[0] && slot->hash[1] == hash[1])
        {
            return slot;
        }
    }

    return NULL;
}


ps_cell_fill_t *
ps_cell_fills_claim(ps_cell_fills_t *fills, const uint64_t hash[2])
{
    uint32_t         i;
    ps_cell_fill_t  *slot, *best;

    best = ps_cell_fills_find(fills, hash);

    for (i = 0; best == NULL && i < PS_CELL_FILLS_REACH; i++) {
        slot = &fills->slot[(hash[1] + i) & fills->mask];

        if (slot->state == PS_CELL_FILL_FREE) {
            best = slot;
        }
    }

    if (best == NULL) {

        for (i = 0; i < PS_CELL_FILLS_REACH; i++) {
            slot = &fills->slot[(hash[1] + i) & fills->mask];

            if (slot->state != PS_CELL_FILL_RUNS
                && (best == NULL || slot->fill < best->fill))
            {
                best = slot;
            }
        }
    }

    if (best == NULL) {
        return NULL;
    }

    memset(best, 0, sizeof(ps_cell_fill_t));

    ps_kill_point("cell-fill-claimed");

    best->hash[0] = hash[0];
    best->hash[1] = hash[1];

    return best;
}
