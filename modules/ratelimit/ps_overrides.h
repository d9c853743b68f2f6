
/*
 * Overrides of a zone's limits, in memory that processes share.
 *
 * There are two sets, one of which is in force.  A change builds the other
 * one as a whole and then puts it in force with one store, so that readers
 * need no lock and a process that is killed in the middle leaves the old set.
 * Changes need the caller's lock.
 */

#ifndef _PS_OVERRIDES_H_INCLUDED_
#define _PS_OVERRIDES_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>

#include "ps_gcra.h"


/* bytes of a key's or plan's name; longer ones are named by their digest */

#define PS_OVERRIDE_TEXT   128

#define PS_OVERRIDE_NEVER  UINT64_MAX


typedef enum {
    PS_OVERRIDE_KEY = 0,
    PS_OVERRIDE_PLAN,
    PS_OVERRIDE_ZONE,              /* of all keys; has no name */
    PS_OVERRIDE_KINDS
} ps_override_kind_e;


typedef struct {
    uint64_t        hash;          /* of kind and name; 0: none here */
    uint64_t        until;         /* ns, ps_gcra_now(), or NEVER */
    ps_gcra_rate_t  rate;
    ps_gcra_t       limit;
    uint64_t        passed;        /* requests that it decided so far */
    uint64_t        refused;       /* or would have refused */
    uint32_t        place;
    uint8_t         kind;
    uint8_t         dry_run;
    uint16_t        len;
    char            text[PS_OVERRIDE_TEXT];
} ps_override_t;


typedef struct ps_overrides_s  ps_overrides_t;


/*
 * Makes an empty one of the "size" bytes at "mem" (aligned to 8; it may be
 * mapped elsewhere in another process).  "seed" are PS_SIPHASH_KEY_LEN
 * random bytes.  NULL: too small.
 */

ps_overrides_t *ps_overrides_init(void *mem, size_t size,
    const uint8_t *seed);

/* how many there may be, and are */

uint32_t ps_overrides_max(const ps_overrides_t *overrides);
uint32_t ps_overrides_number(const ps_overrides_t *overrides);

/*
 * Copies the one of that kind and name that is in force at "now".  Returns
 * 1, or 0 if there is none.  Needs no lock.
 */

int ps_overrides_find(ps_overrides_t *overrides, int kind, const char *text,
    size_t len, uint64_t now, ps_override_t *found);

/* counts a request for one that was found; it may be gone by now */

void ps_overrides_use(ps_overrides_t *overrides, const ps_override_t *found,
    int refused);

/*
 * The whole set in force, for lists, as a change may move one to a place that
 * has been passed: under the lock.  Room for ps_overrides_max().  Returns how
 * many there are; some may be over.
 */

uint32_t ps_overrides_copy(const ps_overrides_t *overrides,
    ps_override_t *all);

/*
 * Changes, under the lock.  put adds one, or takes the place of the one of
 * the same kind and name, whose counts it takes over; of the given one, kind,
 * text, until, rate, limit and dry_run count.  Those that are over by "now"
 * are dropped on the way.  0, or -1: there is no room.
 *
 * remove: 1, or 0 if there was none.
 *
 * replace: these and no others; returns how many had no room.
 */

int ps_overrides_put(ps_overrides_t *overrides, const ps_override_t *put,
    uint64_t now);
int ps_overrides_remove(ps_overrides_t *overrides, int kind, const char *text,
    size_t len, uint64_t now);
uint32_t ps_overrides_replace(ps_overrides_t *overrides,
    const ps_override_t *all, uint32_t n, uint64_t now);


#endif /* _PS_OVERRIDES_H_INCLUDED_ */
