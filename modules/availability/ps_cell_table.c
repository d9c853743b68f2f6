
/*
 * Cells in a ring.  From the tail to the head lie the cells in the order in
 * which they were put there, dead ones among them; the ring's end is at
 * "wrap" where a cell did not fit behind the last one.
 */

#include <string.h>

#include "ps_cell_table.h"
#include "ps_fault.h"


#define PS_CELL_ALIGN         8

/* what 32 bits of link reach, about 32 GB */

#define PS_CELL_RING_MAX      ((uint64_t) UINT32_MAX * PS_CELL_ALIGN)

/* bytes of table for a bucket */

#define PS_CELL_BUCKET_BYTES  256


struct ps_cell_table_s {
    uint64_t   size;                    /* of the ring, bytes */
    uint64_t   head;                    /* where the next one goes */
    uint64_t   tail;                    /* the oldest one */
    uint64_t   wrap;                    /* the end of what is written */
    uint64_t   used;                    /* bytes, dead ones included */

    uint64_t   entries;                 /* read without the lock */
    uint64_t   evictions;

    uint64_t   ring;                    /* offset of it from here */
    uint32_t   mask;                    /* buckets - 1, a power of two less
                                           one */
    uint32_t   bucket[];                /* place of a cell, 0: none */
};


static uint64_t ps_cell_size(const ps_cell_t *cell);
static uint64_t ps_cell_place(ps_cell_table_t *table, uint64_t size);
static void ps_cell_drop_tail(ps_cell_table_t *table);
static void ps_cell_unlink(ps_cell_table_t *table, ps_cell_t *cell);
static void ps_cell_link(ps_cell_table_t *table, ps_cell_t *cell);


#define ps_cell_at(table, offset)                                             \
    ((ps_cell_t *) ((char *) (table) + (table)->ring + (offset)))

#define ps_cell_offset(table, cell)                                           \
    ((uint64_t) ((char *) (cell) - (char *) (table) - (table)->ring))

/* a link holds the place in units, from 1 on */

#define ps_cell_linked(table, link)                                           \
    ps_cell_at(table, ((uint64_t) (link) - 1) * PS_CELL_ALIGN)


ps_cell_table_t *
ps_cell_table_init(void *memory, size_t size)
{
    uint32_t          n;
    ps_cell_table_t  *table;

    if (size < PS_CELL_MIN_SIZE) {
        return NULL;
    }

    for (n = 64; n < size / PS_CELL_BUCKET_BYTES && n < 1U << 30; n *= 2) {
        /* void */
    }

    table = memory;

    table->mask = n - 1;
    table->ring = sizeof(ps_cell_table_t) + (uint64_t) n * sizeof(uint32_t);
    table->ring = (table->ring + PS_CELL_ALIGN - 1)
                  & ~(uint64_t) (PS_CELL_ALIGN - 1);
    table->size = (size - table->ring) & ~(uint64_t) (PS_CELL_ALIGN - 1);

    if (table->size > PS_CELL_RING_MAX) {
        table->size = PS_CELL_RING_MAX;
    }

    table->evictions = 0;

    ps_cell_table_reset(table);

    return table;
}


void
ps_cell_table_reset(ps_cell_table_t *table)
{
    table->head = 0;
    table->tail = 0;
    table->wrap = table->size;
    table->used = 0;

    __atomic_store_n(&table->entries, 0, __ATOMIC_RELAXED);

    memset(table->bucket, 0, ((size_t) table->mask + 1) * sizeof(uint32_t));
}


ps_cell_t *
ps_cell_find(ps_cell_table_t *table, const uint64_t hash[2])
{
    uint32_t    link;
    ps_cell_t  *cell;

    for (link = table->bucket[hash[0] & table->mask];
         link;
         link = cell->next)
    {
        cell = ps_cell_linked(table, link);

        if (cell->hash[0] == hash[0] && cell->hash[1] == hash[1]) {
            return cell;
        }
    }

    return NULL;
}


void
ps_cell_touch(ps_cell_table_t *table, ps_cell_t *cell)
{
    uint64_t    age, size, place;
    ps_cell_t   head;

    /* a ring with room, or a cell that is not among the oldest */

    if (table->used < table->size - table->size / 4) {
        return;
    }

    age = ps_cell_offset(table, cell);
    age = (age >= table->tail) ? age - table->tail
                               : age + table->wrap - table->tail;

    size = ps_cell_size(cell);

    if (age > table->used / 4 || size > table->size / 64) {
        return;
    }

    /*
     * Making room moves the tail past the cell itself where it is the oldest,
     * and what is written at the head may lie where it was: the bytes are
     * moved once, as they may overlap.
     */

    head = *cell;
    ps_cell_unlink(table, cell);
    cell->flags |= PS_CELL_DEAD;

    place = ps_cell_place(table, size);

    memmove(ps_cell_at(table, place), cell, size);

    ps_kill_point("cell-moved");

    cell = ps_cell_at(table, place);
    cell->flags = head.flags;

    ps_cell_link(table, cell);
}


ps_cell_t *
ps_cell_insert(ps_cell_table_t *table, const ps_cell_t *head)
{
    uint64_t    size;
    ps_cell_t  *cell;

    cell = ps_cell_find(table, head->hash);

    if (cell) {
        ps_cell_delete(table, cell);
    }

    size = ps_cell_size(head);

    if (size > table->size / 8) {
        return NULL;
    }

    cell = ps_cell_at(table, ps_cell_place(table, size));

    *cell = *head;
    cell->flags &= (uint8_t) ~PS_CELL_DEAD;

    ps_kill_point("cell-placed");

    ps_cell_link(table, cell);

    __atomic_store_n(&table->entries, table->entries + 1, __ATOMIC_RELAXED);

    return cell;
}


void
ps_cell_delete(ps_cell_table_t *table, ps_cell_t *cell)
{
    ps_cell_unlink(table, cell);

    ps_kill_point("cell-unlinked");

    cell->flags |= PS_CELL_DEAD;

    __atomic_store_n(&table->entries, table->entries - 1, __ATOMIC_RELAXED);
}


static uint64_t
ps_cell_size(const ps_cell_t *cell)
{
    uint64_t  size;

    size = sizeof(ps_cell_t) + (uint64_t) cell->ntags * sizeof(uint32_t)
           + cell->len;

    return (size + PS_CELL_ALIGN - 1) & ~(uint64_t) (PS_CELL_ALIGN - 1);
}


/* makes room at the head for "size" bytes, which are then in use */

static uint64_t
ps_cell_place(ps_cell_table_t *table, uint64_t size)
{
    uint64_t  place;

    for ( ;; ) {

        if (table->used == 0) {
            table->head = 0;
            table->tail = 0;
            table->wrap = table->size;
            break;
        }

        if (table->head > table->tail) {

            if (table->size - table->head >= size) {
                break;
            }

            if (table->tail >= size) {
                table->wrap = table->head;
                table->head = 0;
                break;
            }

        } else if (table->tail - table->head >= size) {
            break;
        }

        ps_cell_drop_tail(table);
    }

    place = table->head;

    table->head += size;
    table->used += size;

    return place;
}


static void
ps_cell_drop_tail(ps_cell_table_t *table)
{
    uint64_t    size;
    ps_cell_t  *cell;

    cell = ps_cell_at(table, table->tail);
    size = ps_cell_size(cell);

    if (!(cell->flags & PS_CELL_DEAD)) {
        ps_cell_delete(table, cell);

        __atomic_store_n(&table->evictions, table->evictions + 1,
                         __ATOMIC_RELAXED);
    }

    table->tail += size;

    ps_kill_point("cell-dropped");

    table->used -= size;

    if (table->tail == table->wrap) {
        table->tail = 0;
        table->wrap = table->size;
    }
}


static void
ps_cell_link(ps_cell_table_t *table, ps_cell_t *cell)
{
    uint32_t  *bucket;

    bucket = &table->bucket[cell->hash[0] & table->mask];

    cell->next = *bucket;
    *bucket = (uint32_t) (ps_cell_offset(table, cell) / PS_CELL_ALIGN + 1);
}


static void
ps_cell_unlink(ps_cell_table_t *table, ps_cell_t *cell)
{
    uint32_t   link, *p;

    link = (uint32_t) (ps_cell_offset(table, cell) / PS_CELL_ALIGN + 1);

    for (p = &table->bucket[cell->hash[0] & table->mask];
         *p != link;
         p = &ps_cell_linked(table, *p)->next)
    {
        /* void */
    }

    *p = cell->next;
}


uint64_t
ps_cell_table_entries(const ps_cell_table_t *table)
{
    return __atomic_load_n(&table->entries, __ATOMIC_RELAXED);
}


uint64_t
ps_cell_table_evictions(const ps_cell_table_t *table)
{
    return __atomic_load_n(&table->evictions, __ATOMIC_RELAXED);
}


uint64_t
ps_cell_table_used(const ps_cell_table_t *table)
{
    return table->used;
}


uint64_t
ps_cell_table_room(const ps_cell_table_t *table)
{
    return table->size;
}
