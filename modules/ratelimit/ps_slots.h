
/*
 * How many are under way: counts by key and by the process that holds them,
 * in memory that processes share.
 *
 * What a process holds stands in entries of its own, so that it can be taken
 * away from one that died.  All calls but the hash need the caller's lock;
 * each change is one store that counts, so a process killed in the middle
 * leaves nothing half done.
 */

#ifndef _PS_SLOTS_H_INCLUDED_
#define _PS_SLOTS_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


#define PS_SLOTS_KINDS  2

/* entries that one key may stand in: as many processes may hold of it */

#define PS_SLOTS_WINDOW  64


typedef struct ps_slots_s  ps_slots_t;

/* whether the process of that name lives */

typedef int (*ps_slots_alive_pt)(uint64_t owner);


/*
 * Makes an empty table of the "size" bytes at "mem" (aligned to 8; it may be
 * mapped elsewhere in another process).  "seed" are PS_SIPHASH_KEY_LEN
 * random bytes.  NULL: too small.
 */

ps_slots_t *ps_slots_init(void *mem, size_t size, const uint8_t *seed);

/* the key's fingerprint, which the calls below take */

uint64_t ps_slots_hash(const ps_slots_t *slots, const void *key, size_t len);

/* one more of that kind for the owner (not 0); -1: no room */

int ps_slots_add(ps_slots_t *slots, uint64_t hash, uint64_t owner,
    unsigned kind);

/* one less; nothing happens if it has none */

void ps_slots_remove(ps_slots_t *slots, uint64_t hash, uint64_t owner,
    unsigned kind);

/* how many of each kind all owners have together */

void ps_slots_use(const ps_slots_t *slots, uint64_t hash,
    uint64_t use[PS_SLOTS_KINDS]);

/*
 * Takes away what dead owners have around this key; returns how many slots
 * that were.
 */

uint64_t ps_slots_reap(ps_slots_t *slots, uint64_t hash,
    ps_slots_alive_pt alive);

/*
 * Whether "use", with the one asked for in it already, keeps to the limit
 * and leaves "reserved" slots to the other kind, of which those that it uses
 * count.
 */

int ps_slots_fit(const uint64_t use[PS_SLOTS_KINDS], unsigned kind,
    uint64_t limit, uint64_t reserved);


#endif /* _PS_SLOTS_H_INCLUDED_ */
