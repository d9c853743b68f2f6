
/*
 * GCRA states of many keys in memory that processes share.
 *
 * 16 bytes an entry, whatever the key's length: a keyed 64-bit fingerprint
 * and the TAT.  A bucket is one cache line of four entries; a key stands in
 * one of two buckets, or beside one that was full.  There is no lock: an
 * entry is changed by compare-and-swap, so a process that dies holds nobody
 * up.
 *
 * Where all of these are full the entry nearest to idle goes: an idle one
 * costs nothing, another one gives its key a new burst early, and that is
 * counted.
 *
 * Two keys with the same fingerprint share a limit: for a million keys the
 * odds are 1 in 37 million, and nobody can look for them without the seed.
 */

#ifndef _PS_GCRA_TABLE_H_INCLUDED_
#define _PS_GCRA_TABLE_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>

#include "ps_gcra.h"
#include "ps_siphash.h"


#define PS_GCRA_TABLE_MIN  4096        /* bytes of memory, at least */


typedef struct ps_gcra_table_s  ps_gcra_table_t;


/*
 * Makes an empty table of the "size" bytes at "mem", which must be aligned
 * to 128 and need not be cleared.  "seed" are PS_SIPHASH_KEY_LEN random
 * bytes.  The table may be mapped elsewhere in another process.  NULL: too
 * small.
 */

ps_gcra_table_t *ps_gcra_table_init(void *mem, size_t size,
    const uint8_t *seed);

/* how many keys it can hold */

uint64_t ps_gcra_table_capacity(const ps_gcra_table_t *table);

/* the key's fingerprint, which all calls below take */

uint64_t ps_gcra_table_hash(const ps_gcra_table_t *table, const void *key,
    size_t len);

/*
 * Checks and debits in one step.  Returns the number of keys that were
 * forgotten before their time to make room: 0, rarely 1.
 */

int ps_gcra_table_take(ps_gcra_table_t *table, uint64_t hash,
    const ps_gcra_t *limit, uint64_t now, uint64_t cost,
    ps_gcra_result_t *result);

/* the same without a debit: "allowed" says what take would have said */

void ps_gcra_table_peek(ps_gcra_table_t *table, uint64_t hash,
    const ps_gcra_t *limit, uint64_t now, uint64_t cost,
    ps_gcra_result_t *result);

/* gives "ns" back; a key that was forgotten has nothing to get */

void ps_gcra_table_refund(ps_gcra_table_t *table, uint64_t hash, uint64_t ns);

/*
 * What is spent, in ns until it is all back; 0 where the key is not known.
 * One burst of "limit" at most, to which it is cut for good: as in take.
 */

uint64_t ps_gcra_table_backlog(ps_gcra_table_t *table, uint64_t hash,
    const ps_gcra_t *limit, uint64_t now);

/* moves the TAT to at least "tat"; returns as take */

int ps_gcra_table_raise(ps_gcra_table_t *table, uint64_t hash, uint64_t now,
    uint64_t tat);


#endif /* _PS_GCRA_TABLE_H_INCLUDED_ */
