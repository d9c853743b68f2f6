
/*
 * The texts that a process has met last, each with what is known of it: a
 * small table that is looked at before a text is hashed.  A text takes the
 * place of what stands in its slot, and an entry counts for a short while
 * only, so that whoever keeps the same for longer is asked again.
 */

#ifndef _PS_RECENT_H_INCLUDED_
#define _PS_RECENT_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


#define PS_RECENT_SLOTS     64          /* a power of 2 */
#define PS_RECENT_TEXT      4096        /* longer texts are not kept */
#define PS_RECENT_VALUE     8192        /* nor larger values */
#define PS_RECENT_CONTEXT   32
#define PS_RECENT_MS        1000


typedef struct {
    unsigned char  *data;               /* the text, then the value */
    size_t          size;               /* of data */
    size_t          text_len;
    size_t          value_len;
    uint64_t        kept;               /* ms */
    unsigned char   context[PS_RECENT_CONTEXT];
} ps_recent_slot_t;


/* zeroed at first; some 6 KB, and what was kept */

typedef struct {
    ps_recent_slot_t  slots[PS_RECENT_SLOTS];
} ps_recent_t;


/*
 * The value kept with the text within the last PS_RECENT_MS before "now"
 * (ms, of a clock that never goes back) for the same context of
 * PS_RECENT_CONTEXT bytes, and its length; or NULL.  It lies in the table
 * till the next ps_recent_keep(), aligned for anything.  How long it takes
 * tells nothing about the text that is kept.
 */

const void *ps_recent_find(ps_recent_t *recent, const void *text, size_t len,
    const unsigned char *context, uint64_t now, size_t *value_len);

/*
 * Copies text, context and value in; what stood there is wiped.  What is too
 * long, or finds no memory, is not kept.
 */

void ps_recent_keep(ps_recent_t *recent, const void *text, size_t len,
    const unsigned char *context, const void *value, size_t value_len,
    uint64_t now);

/* wipes and frees all */

void ps_recent_free(ps_recent_t *recent);


#endif /* _PS_RECENT_H_INCLUDED_ */
