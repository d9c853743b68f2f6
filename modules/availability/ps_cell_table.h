
/*
 * Cells in a piece of memory that processes share: a hash table over a ring.
 *
 * A new cell goes to the head of the ring; when there is no room, those at
 * its tail go, and one that is used while it is among the oldest is moved to
 * the head, so what was used least recently goes first.  Nothing is freed or
 * searched, an insert takes as long in a full table as in an empty one, and
 * a cell costs PS_CELL_BYTES and about 8 bytes more beside its data.
 *
 * The caller holds a lock; no call allocates or makes a system call.  Places
 * are offsets, so the memory may lie anywhere.  A table of which a writer
 * died is to be made anew.
 */

#ifndef _PS_CELL_TABLE_H_INCLUDED_
#define _PS_CELL_TABLE_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


#define PS_CELL_MIN_SIZE   (64 * 1024)  /* bytes of a table */

#define PS_CELL_DIRTY      0x01         /* its key was written in Redis */
#define PS_CELL_MARK       0x02         /* nothing but that: no value */
#define PS_CELL_PLAIN      0x04         /* the value of another program */
#define PS_CELL_LINKED     0x08         /* "checked" is an epoch of pushes */
#define PS_CELL_SOFT       0x10         /* purged so, as Redis says: stale */
#define PS_CELL_DEAD       0x80         /* the table's own */


/* data follows: ntags numbers of 32 bits, then len bytes of value */

typedef struct {
    uint64_t   hash[2];                 /* of its key, with a secret */
    uint64_t   created;                 /* ms since the epoch */
    uint64_t   seq;                     /* invalidations at its fill's start */
    uint64_t   envelope;                /* hash of the text around it, or 0 */
    uint32_t   checked;                 /* ms, low 32 bits: last look at Redis;
                                           or that look's epoch; or, of a dirty
                                           one, the number of its push */
    uint32_t   made_by;                 /* low 32 bits of the fill's id */
    uint32_t   fresh;                   /* ms from created */
    uint32_t   while_revalidate;        /* ms past fresh */
    uint32_t   if_error;                /* ms past fresh */
    uint32_t   len;                     /* bytes of value; 0: absent */
    uint32_t   tag[2];                  /* of its SKU, of its location */
    uint32_t   next;                    /* the table's own */
    uint16_t   ntags;                   /* further ones */
    uint8_t    flags;
    uint8_t    spare;
} ps_cell_t;


#define PS_CELL_BYTES  sizeof(ps_cell_t)


typedef struct ps_cell_table_s  ps_cell_table_t;


/*
 * Makes an empty table of "size" bytes at "memory", aligned to 8; NULL where
 * that is less than PS_CELL_MIN_SIZE.  reset: makes it empty again.
 */

ps_cell_table_t *ps_cell_table_init(void *memory, size_t size);
void ps_cell_table_reset(ps_cell_table_t *table);

/* the cell of that hash, or NULL; valid until the next insert or touch */

ps_cell_t *ps_cell_find(ps_cell_table_t *table, const uint64_t hash[2]);

/*
 * Says that a cell is used: it may move, so pointers into the table are void
 * afterwards.
 */

void ps_cell_touch(ps_cell_table_t *table, ps_cell_t *cell);

/*
 * A copy of "head" in the table, in place of any cell of that hash; its data
 * of ntags and len is to be written by the caller.  NULL: it is larger than
 * an eighth of the table, and the older one is gone.
 */

ps_cell_t *ps_cell_insert(ps_cell_table_t *table, const ps_cell_t *head);

void ps_cell_delete(ps_cell_table_t *table, ps_cell_t *cell);

static inline uint32_t *
ps_cell_tags(ps_cell_t *cell)
{
    return (uint32_t *) (cell + 1);
}


static inline char *
ps_cell_value(ps_cell_t *cell)
{
    return (char *) (ps_cell_tags(cell) + cell->ntags);
}


/* what is held now, and how many had to go for others; no lock needed */

uint64_t ps_cell_table_entries(const ps_cell_table_t *table);
uint64_t ps_cell_table_evictions(const ps_cell_table_t *table);

/* bytes that the ring has in use, and has at all */

uint64_t ps_cell_table_used(const ps_cell_table_t *table);
uint64_t ps_cell_table_room(const ps_cell_table_t *table);


#endif /* _PS_CELL_TABLE_H_INCLUDED_ */
