
#include <string.h>

#include "ps_slots.h"
#include "ps_fault.h"
#include "ps_siphash.h"


typedef struct {
    uint64_t          hash;
    uint64_t          owner;                   /* 0: free */
    uint32_t          count[PS_SLOTS_KINDS];
} ps_slots_entry_t;


struct ps_slots_s {
    ps_siphash_key_t  key;
    uint64_t          nentries;
    ps_slots_entry_t  entry[];
};


static ps_slots_entry_t *ps_slots_at(const ps_slots_t *slots, uint64_t hash,
    unsigned i);
static ps_slots_entry_t *ps_slots_find(const ps_slots_t *slots, uint64_t hash,
    uint64_t owner);
static void ps_slots_tidy(ps_slots_entry_t *entry);


ps_slots_t *
ps_slots_init(void *mem, size_t size, const uint8_t *seed)
{
    ps_slots_t  *slots = mem;

    if (size < sizeof(ps_slots_t)
               + PS_SLOTS_WINDOW * sizeof(ps_slots_entry_t))
    {
        return NULL;
    }

    memset(mem, 0, size);

    ps_siphash_key(&slots->key, seed);

    slots->nentries = (size - sizeof(ps_slots_t)) / sizeof(ps_slots_entry_t);

    if (slots->nentries > UINT32_MAX) {
        slots->nentries = UINT32_MAX;
    }

    return slots;
}


uint64_t
ps_slots_hash(const ps_slots_t *slots, const void *key, size_t len)
{
    return ps_siphash(&slots->key, key, len);
}


int
ps_slots_add(ps_slots_t *slots, uint64_t hash, uint64_t owner, unsigned kind)
{
    unsigned           i;
    ps_slots_entry_t  *entry;

    entry = ps_slots_find(slots, hash, owner);

    for (i = 0; entry == NULL && i < PS_SLOTS_WINDOW; i++) {
        entry = ps_slots_at(slots, hash, i);

        if (entry->owner) {
            entry = NULL;
        }
    }

    if (entry == NULL || entry->count[kind] == UINT32_MAX) {
        return -1;
    }

    if (entry->owner == 0) {

        /* the owner last: until then the entry is free */

        entry->hash = hash;
        entry->count[kind] = 1;
        entry->count[!kind] = 0;

        ps_kill_point("slots-entered");

        __atomic_store_n(&entry->owner, owner, __ATOMIC_RELEASE);

    } else {
        entry->count[kind]++;
    }

    return 0;
}


void
ps_slots_remove(ps_slots_t *slots, uint64_t hash, uint64_t owner,
    unsigned kind)
{
    ps_slots_entry_t  *entry;

    entry = ps_slots_find(slots, hash, owner);

    if (entry && entry->count[kind]) {
        entry->count[kind]--;

        ps_kill_point("slots-removed");

        ps_slots_tidy(entry);
    }
}


void
ps_slots_use(const ps_slots_t *slots, uint64_t hash,
    uint64_t use[PS_SLOTS_KINDS])
{
    unsigned           i, kind;
    ps_slots_entry_t  *entry;

    for (kind = 0; kind < PS_SLOTS_KINDS; kind++) {
        use[kind] = 0;
    }

    for (i = 0; i < PS_SLOTS_WINDOW; i++) {
        entry = ps_slots_at(slots, hash, i);

        if (entry->owner && entry->hash == hash) {
            for (kind = 0; kind < PS_SLOTS_KINDS; kind++) {
                use[kind] += entry->count[kind];
            }
        }
    }
}


uint64_t
ps_slots_reap(ps_slots_t *slots, uint64_t hash, ps_slots_alive_pt alive)
{
    unsigned           i, kind;
    uint64_t           n, lives;
    ps_slots_entry_t  *entry;

    n = 0;
    lives = 0;

    for (i = 0; i < PS_SLOTS_WINDOW; i++) {
        entry = ps_slots_at(slots, hash, i);

        if (entry->owner == 0 || entry->owner == lives) {
            continue;
        }

        if (alive(entry->owner)) {
            lives = entry->owner;
            continue;
        }

        for (kind = 0; kind < PS_SLOTS_KINDS; kind++) {
            n += entry->count[kind];
        }

        entry->owner = 0;
    }

    return n;
}


int
ps_slots_fit(const uint64_t use[PS_SLOTS_KINDS], unsigned kind,
    uint64_t limit, uint64_t reserved)
{
    uint64_t  kept;

    kept = (reserved > use[!kind]) ? reserved - use[!kind] : 0;

    return use[0] + use[1] + kept <= limit;
}


static ps_slots_entry_t *
ps_slots_at(const ps_slots_t *slots, uint64_t hash, unsigned i)
{
    uint64_t  first;

    first = ((hash >> 32) * slots->nentries) >> 32;

    return (ps_slots_entry_t *) &slots->entry[(first + i) % slots->nentries];
}


static ps_slots_entry_t *
ps_slots_find(const ps_slots_t *slots, uint64_t hash, uint64_t owner)
{
    unsigned           i;
    ps_slots_entry_t  *entry;

    for (i = 0; i < PS_SLOTS_WINDOW; i++) {
        entry = ps_slots_at(slots, hash, i);

        if (entry->owner == owner && entry->hash == hash) {
            return entry;
        }
    }

    return NULL;
}


static void
ps_slots_tidy(ps_slots_entry_t *entry)
{
    unsigned  kind;

    for (kind = 0; kind < PS_SLOTS_KINDS; kind++) {
        if (entry->count[kind]) {
            return;
        }
    }

    entry->owner = 0;
}
