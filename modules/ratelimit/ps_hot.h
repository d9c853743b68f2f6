
/*
 * The keys of a zone that are used most, in memory that processes share:
 * those that came often lately have a place, found without a lock.
 *
 * A key that has none wears the least used of its set down by one, and takes
 * its place when nothing is left of it.  So a flood of keys that come once
 * pushes nobody out who comes more often than its share of the flood.
 */

#ifndef _PS_HOT_H_INCLUDED_
#define _PS_HOT_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


#define PS_HOT_TEXT  128


typedef struct {
    uint64_t  hash;
    uint64_t  uses;            /* since it has its place */
    uint64_t  refused;
    uint64_t  since;           /* seconds */
    uint32_t  score;           /* of the last time; for the order */
    uint16_t  len;
    char      text[PS_HOT_TEXT];
} ps_hot_key_t;


typedef struct ps_hot_s  ps_hot_t;


/* NULL: too small.  Aligned to 64; may be mapped elsewhere in a process */

ps_hot_t *ps_hot_init(void *mem, size_t size);

/*
 * Counts a use of the key with that hash (not 0) at "now", seconds of a clock
 * that all processes share.  Returns 0, or 1: it may have a place, which the
 * caller asks for by ps_hot_take() with its name.
 */

int ps_hot_use(ps_hot_t *hot, uint64_t hash, uint64_t now, int refused);

void ps_hot_take(ps_hot_t *hot, uint64_t hash, uint64_t now, int refused,
    const char *text, size_t len);

/* the i-th place; 0: nobody there, or it changes hands just now */

uint32_t ps_hot_places(const ps_hot_t *hot);
int ps_hot_at(ps_hot_t *hot, uint32_t i, uint64_t now, ps_hot_key_t *key);


#endif /* _PS_HOT_H_INCLUDED_ */
