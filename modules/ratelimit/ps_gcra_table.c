
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "ps_fault.h"
#include "ps_gcra_table.h"


#define PS_GCRA_SLOTS   4
#define PS_GCRA_LINES   4
#define PS_GCRA_PLACES  (PS_GCRA_SLOTS * PS_GCRA_LINES)
#define PS_GCRA_SPINS   1000
#define PS_GCRA_YIELDS  50

/*
 * A TAT of BUSY marks an entry that changes hands.  Its owner needs some
 * 50 ns for that; one that was killed just there is given up after a while
 * by who waits, and one that was only slow finds its entry in use, and
 * uses it too.
 */

#define PS_GCRA_BUSY    UINT64_MAX


typedef struct {
    _Atomic uint64_t   hash;           /* 0: free */
    _Atomic uint64_t   tat;
} ps_gcra_entry_t;


typedef struct {
    ps_gcra_entry_t    entry[PS_GCRA_SLOTS];
} ps_gcra_bucket_t;


struct ps_gcra_table_s {
    ps_siphash_key_t                key;
    uint64_t                        nbuckets;
    _Alignas(128) ps_gcra_bucket_t  bucket[];   /* pairs */
};


_Static_assert(sizeof(ps_gcra_bucket_t) == 64, "a bucket is a cache line");


/*
 * The places of a key, in an order that all processes agree on: two buckets,
 * then the neighbour of each, where a key goes when both are full.
 */

typedef struct {
    ps_gcra_bucket_t  *line[PS_GCRA_LINES];
} ps_gcra_places_t;

#define ps_gcra_place(places, i)                                              \
    &(places)->line[(i) / PS_GCRA_SLOTS]->entry[(i) % PS_GCRA_SLOTS]


static void ps_gcra_places(ps_gcra_table_t *table, uint64_t hash,
    ps_gcra_places_t *places);
static ps_gcra_entry_t *ps_gcra_find(ps_gcra_places_t *places, uint64_t hash,
    uint64_t now, uint64_t *tat);
static ps_gcra_entry_t *ps_gcra_claim(ps_gcra_places_t *places, uint64_t hash,
    uint64_t now, int *evicted);
static ps_gcra_entry_t *ps_gcra_victim(ps_gcra_places_t *places, uint64_t now,
    uint64_t *hash, uint64_t *tat);
static int ps_gcra_settle(ps_gcra_places_t *places, ps_gcra_entry_t *own,
    uint64_t hash, uint64_t now);
static uint64_t ps_gcra_wait(ps_gcra_entry_t *entry, uint64_t hash,
    uint64_t now);


ps_gcra_table_t *
ps_gcra_table_init(void *mem, size_t size, const uint8_t *seed)
{
    size_t            head;
    ps_gcra_table_t  *table = mem;

    head = offsetof(ps_gcra_table_t, bucket);

    if (size < PS_GCRA_TABLE_MIN) {
        return NULL;
    }

    memset(mem, 0, size);

    ps_siphash_key(&table->key, seed);

    table->nbuckets = (size - head) / sizeof(ps_gcra_bucket_t);

    if (table->nbuckets > UINT32_MAX) {
        table->nbuckets = UINT32_MAX;
    }

    /* neighbours come in pairs */

    table->nbuckets &= ~(uint64_t) 1;

    return table;
}


uint64_t
ps_gcra_table_capacity(const ps_gcra_table_t *table)
{
    return table->nbuckets * PS_GCRA_SLOTS;
}


uint64_t
ps_gcra_table_hash(const ps_gcra_table_t *table, const void *key, size_t len)
{
    uint64_t  hash;

    hash = ps_siphash(&table->key, key, len);

    return hash ? hash : 1;
}


int
ps_gcra_table_take(ps_gcra_table_t *table, uint64_t hash,
    const ps_gcra_t *limit, uint64_t now, uint64_t cost,
    ps_gcra_result_t *result)
{
    int                evicted;
    uint64_t           tat;
    ps_gcra_entry_t   *entry;
    ps_gcra_places_t   places;

    evicted = 0;

    ps_gcra_places(table, hash, &places);

    for ( ;; ) {
        entry = ps_gcra_find(&places, hash, now, &tat);

        ps_gcra_check(limit, now, tat, cost, result);

        if (!result->changed) {
            return evicted;
        }

        if (entry == NULL) {
            (void) ps_gcra_claim(&places, hash, now, &evicted);
            continue;
        }

        if (atomic_compare_exchange_strong(&entry->tat, &tat, result->tat)) {
            return evicted;
        }
    }
}


void
ps_gcra_table_peek(ps_gcra_table_t *table, uint64_t hash,
    const ps_gcra_t *limit, uint64_t now, uint64_t cost,
    ps_gcra_result_t *result)
{
    uint64_t          tat;
    ps_gcra_places_t  places;

    ps_gcra_places(table, hash, &places);
    (void) ps_gcra_find(&places, hash, now, &tat);

    ps_gcra_check(limit, now, tat, cost, result);

    if (result->allowed) {

        /* what is there without the debit */

        ps_gcra_check(limit, now, tat, 0, result);
    }
}


void
ps_gcra_table_refund(ps_gcra_table_t *table, uint64_t hash, uint64_t ns)
{
    uint64_t           tat;
    ps_gcra_entry_t   *entry;
    ps_gcra_places_t   places;

    ps_gcra_places(table, hash, &places);

    do {
        entry = ps_gcra_find(&places, hash, 0, &tat);

        if (entry == NULL) {
            return;
        }

    } while (!atomic_compare_exchange_strong(&entry->tat, &tat,
                                             tat > ns ? tat - ns : 0));
}


uint64_t
ps_gcra_table_backlog(ps_gcra_table_t *table, uint64_t hash,
    const ps_gcra_t *limit, uint64_t now)
{
    uint64_t           tat;
    ps_gcra_entry_t   *entry;
    ps_gcra_places_t   places;

    ps_gcra_places(table, hash, &places);

    do {
        entry = ps_gcra_find(&places, hash, now, &tat);

        if (tat <= now + limit->capacity) {
            return (tat > now) ? tat - now : 0;
        }

    } while (!atomic_compare_exchange_strong(&entry->tat, &tat,
                                             now + limit->capacity));

    return limit->capacity;
}


int
ps_gcra_table_raise(ps_gcra_table_t *table, uint64_t hash, uint64_t now,
    uint64_t tat)
{
    int                evicted;
    uint64_t           old;
    ps_gcra_entry_t   *entry;
    ps_gcra_places_t   places;

    evicted = 0;

    ps_gcra_places(table, hash, &places);

    for ( ;; ) {
        entry = ps_gcra_find(&places, hash, now, &old);

        if (old >= tat || tat <= now) {
            return evicted;
        }

        if (entry == NULL) {
            (void) ps_gcra_claim(&places, hash, now, &evicted);
            continue;
        }

        if (atomic_compare_exchange_strong(&entry->tat, &old, tat)) {
            return evicted;
        }
    }
}


static void
ps_gcra_places(ps_gcra_table_t *table, uint64_t hash, ps_gcra_places_t *places)
{
    uint64_t  a, b;

    a = ((hash >> 32) * table->nbuckets) >> 32;
    b = ((hash & UINT32_MAX) * table->nbuckets) >> 32;

    if ((a | 1) == (b | 1)) {
        b = (a + 2) % table->nbuckets;
    }

    places->line[0] = &table->bucket[a];
    places->line[1] = &table->bucket[b];
    places->line[2] = &table->bucket[a ^ 1];
    places->line[3] = &table->bucket[b ^ 1];
}


/* the entry of the key and its TAT, or NULL and 0; never a busy one */

static ps_gcra_entry_t *
ps_gcra_find(ps_gcra_places_t *places, uint64_t hash, uint64_t now,
    uint64_t *tat)
{
    int               i;
    ps_gcra_entry_t  *entry;

again:

    for (i = 0; i < PS_GCRA_PLACES; i++) {
        entry = ps_gcra_place(places, i);

        if (atomic_load(&entry->hash) != hash) {
            continue;
        }

        *tat = atomic_load(&entry->tat);

        if (*tat == PS_GCRA_BUSY) {
            (void) ps_gcra_wait(entry, hash, now);
            goto again;
        }

        /*
         * Still the same key: from here on a change of hands changes the
         * TAT, and the caller's compare-and-swap fails.
         */

        if (atomic_load(&entry->hash) != hash) {
            goto again;
        }

        return entry;
    }

    *tat = 0;

    return NULL;
}


/*
 * Makes an idle entry for the key unless there is one.  NULL: somebody was
 * in the way; the caller looks again.
 */

static ps_gcra_entry_t *
ps_gcra_claim(ps_gcra_places_t *places, uint64_t hash, uint64_t now,
    int *evicted)
{
    uint64_t          tat, old, busy;
    ps_gcra_entry_t  *entry;

    entry = ps_gcra_victim(places, now, &old, &tat);

    if (entry == NULL
        || !atomic_compare_exchange_strong(&entry->tat, &tat, PS_GCRA_BUSY))
    {
        return NULL;
    }

    ps_kill_point("gcra-busy");

    busy = PS_GCRA_BUSY;

    if (!atomic_compare_exchange_strong(&entry->hash, &old, hash)) {
        (void) atomic_compare_exchange_strong(&entry->tat, &busy, tat);
        return NULL;
    }

    ps_kill_point("gcra-named");

    if (old && tat > now) {
        *evicted = 1;
    }

    if (ps_gcra_settle(places, entry, hash, now) != 0) {

        /* somebody else made one */

        old = hash;
        (void) atomic_compare_exchange_strong(&entry->hash, &old, 0);
        (void) atomic_compare_exchange_strong(&entry->tat, &busy, 0);

        return NULL;
    }

    (void) atomic_compare_exchange_strong(&entry->tat, &busy, now);

    return entry;
}


/*
 * Where the key is best put: in the emptier of its buckets, else with a
 * neighbour, else in the place of the entry that is nearest to idle.
 */

static ps_gcra_entry_t *
ps_gcra_victim(ps_gcra_places_t *places, uint64_t now, uint64_t *hash,
    uint64_t *tat)
{
    int               i, line, first, last, used[PS_GCRA_LINES];
    uint64_t          h[PS_GCRA_PLACES], t[PS_GCRA_PLACES], least;
    ps_gcra_entry_t  *entry;

    for (line = 0; line < PS_GCRA_LINES; line++) {
        used[line] = 0;
    }

    for (i = 0; i < PS_GCRA_PLACES; i++) {
        entry = ps_gcra_place(places, i);

        t[i] = atomic_load(&entry->tat);
        h[i] = atomic_load(&entry->hash);

        if (t[i] == PS_GCRA_BUSY || (h[i] && t[i] > now)) {
            used[i / PS_GCRA_SLOTS]++;
        }
    }

    line = (used[1] < used[0]);

    if (used[line] == PS_GCRA_SLOTS) {
        line = 2 + (used[3] < used[2]);
    }

    if (used[line] == PS_GCRA_SLOTS) {
        first = 0;
        last = PS_GCRA_PLACES;

    } else {
        first = line * PS_GCRA_SLOTS;
        last = first + PS_GCRA_SLOTS;
    }

    entry = NULL;
    least = PS_GCRA_BUSY;

    for (i = first; i < last; i++) {

        if (t[i] == PS_GCRA_BUSY || (entry && h[i] && t[i] >= least)) {
            continue;
        }

        entry = ps_gcra_place(places, i);
        *hash = h[i];
        *tat = t[i];

        if (h[i] == 0) {
            break;
        }

        least = t[i];
    }

    return entry;
}


/*
 * Two processes may have claimed two entries for one key.  Both publish the
 * fingerprint before they look for the other's, so one of them at least sees
 * both: the one in front stays, unless the other is in use already.
 */

static int
ps_gcra_settle(ps_gcra_places_t *places, ps_gcra_entry_t *own, uint64_t hash,
    uint64_t now)
{
    int               i, passed;
    ps_gcra_entry_t  *entry;

    passed = 0;

    for (i = 0; i < PS_GCRA_PLACES; i++) {
        entry = ps_gcra_place(places, i);

        if (entry == own) {
            passed = 1;
            continue;
        }

        if (atomic_load(&entry->hash) != hash) {
            continue;
        }

        if (!passed) {
            return -1;
        }

        if (ps_gcra_wait(entry, hash, now) == hash) {
            return -1;
        }
    }

    return 0;
}


/*
 * Waits until a busy entry is in use, and returns whose it is then.  What
 * waits too long takes the entry as it stands.
 */

static uint64_t
ps_gcra_wait(ps_gcra_entry_t *entry, uint64_t hash, uint64_t now)
{
    int       i;
    uint64_t  busy;

    for (i = 0; i < PS_GCRA_SPINS + PS_GCRA_YIELDS; i++) {

        if (atomic_load(&entry->tat) != PS_GCRA_BUSY
            || atomic_load(&entry->hash) != hash)
        {
            return atomic_load(&entry->hash);
        }

        if (i >= PS_GCRA_SPINS) {
            (void) sched_yield();
        }
    }

    busy = PS_GCRA_BUSY;
    (void) atomic_compare_exchange_strong(&entry->tat, &busy, now);

    return atomic_load(&entry->hash);
}
