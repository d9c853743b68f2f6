
#include <string.h>

#include "ps_overrides.h"
#include "ps_fault.h"
#include "ps_siphash.h"


struct ps_overrides_s {
    ps_siphash_key_t  key;
    uint64_t          generation;  /* its last bit: the set in force */
    uint32_t          places;      /* of each set */
    uint32_t          number[2];
    uint32_t          unused;
    ps_override_t     place[];
};


static uint64_t ps_overrides_hash(const ps_overrides_t *overrides, int kind,
    const char *text, size_t len);
static ps_override_t *ps_overrides_set(const ps_overrides_t *overrides,
    uint64_t generation);
static uint64_t ps_overrides_generation(const ps_overrides_t *overrides);
static void ps_overrides_begin(ps_overrides_t *overrides);
static void ps_overrides_carry(ps_overrides_t *overrides, uint64_t but,
    uint64_t now);
static int ps_overrides_add(ps_overrides_t *overrides,
    const ps_override_t *put, uint64_t hash);
static void ps_overrides_commit(ps_overrides_t *overrides);


ps_overrides_t *
ps_overrides_init(void *mem, size_t size, const uint8_t *seed)
{
    size_t           n;
    ps_overrides_t  *overrides = mem;

    if (size < sizeof(ps_overrides_t)) {
        return NULL;
    }

    n = (size - sizeof(ps_overrides_t)) / sizeof(ps_override_t) / 2;

    if (n < 4) {
        return NULL;
    }

    memset(mem, 0, size);

    ps_siphash_key(&overrides->key, seed);
    overrides->places = (n > UINT32_MAX / 4) ? UINT32_MAX / 4 : (uint32_t) n;

    return overrides;
}


/* a quarter stays free, so that a search is short */

uint32_t
ps_overrides_max(const ps_overrides_t *overrides)
{
    return overrides->places - overrides->places / 4;
}


uint32_t
ps_overrides_number(const ps_overrides_t *overrides)
{
    return __atomic_load_n(
               &overrides->number[ps_overrides_generation(overrides) & 1],
               __ATOMIC_RELAXED);
}


int
ps_overrides_find(ps_overrides_t *overrides, int kind, const char *text,
    size_t len, uint64_t now, ps_override_t *found)
{
    uint32_t        i, n;
    uint64_t        hash, generation;
    ps_override_t  *set;

    if (ps_overrides_number(overrides) == 0 || len > PS_OVERRIDE_TEXT) {
        return 0;
    }

    hash = ps_overrides_hash(overrides, kind, text, len);

    do {
        generation = ps_overrides_generation(overrides);
        set = ps_overrides_set(overrides, generation);

        found->hash = 0;
        i = (uint32_t) (hash % overrides->places);

        for (n = 0; n < overrides->places; n++) {

            if (set[i].hash == hash || set[i].hash == 0) {
                memcpy(found, &set[i], sizeof(ps_override_t));
                break;
            }

            i = (i + 1 == overrides->places) ? 0 : i + 1;
        }

        __atomic_thread_fence(__ATOMIC_ACQUIRE);

        /* else the set that was read may have been built anew meanwhile */

    } while (ps_overrides_generation(overrides) != generation);

    return found->hash == hash && found->until > now && found->kind == kind
           && found->len == len && memcmp(found->text, text, len) == 0;
}


void
ps_overrides_use(ps_overrides_t *overrides, const ps_override_t *found,
    int refused)
{
    ps_override_t  *o;

    o = ps_overrides_set(overrides, ps_overrides_generation(overrides));
    o += found->place;

    if (o->hash == found->hash) {
        (void) __atomic_fetch_add(refused ? &o->refused : &o->passed, 1,
                                  __ATOMIC_RELAXED);
    }
}


uint32_t
ps_overrides_copy(const ps_overrides_t *overrides, ps_override_t *all)
{
    uint32_t              i, n;
    const ps_override_t  *o;

    o = ps_overrides_set(overrides, overrides->generation);

    for (i = 0, n = 0;
         i < overrides->places && n < ps_overrides_max(overrides);
         i++)
    {
        if (o[i].hash) {
            all[n++] = o[i];
        }
    }

    return n;
}


int
ps_overrides_put(ps_overrides_t *overrides, const ps_override_t *put,
    uint64_t now)
{
    uint64_t  hash;

    hash = ps_overrides_hash(overrides, put->kind, put->text, put->len);

    ps_overrides_begin(overrides);
    ps_overrides_carry(overrides, hash, now);

    if (ps_overrides_add(overrides, put, hash) != 0) {
        return -1;
    }

    ps_overrides_commit(overrides);

    return 0;
}


int
ps_overrides_remove(ps_overrides_t *overrides, int kind, const char *text,
    size_t len, uint64_t now)
{
    uint64_t       hash;
    ps_override_t  found;

    if (!ps_overrides_find(overrides, kind, text, len, now, &found)) {
        return 0;
    }

    hash = ps_overrides_hash(overrides, kind, text, len);

    ps_overrides_begin(overrides);
    ps_overrides_carry(overrides, hash, now);
    ps_overrides_commit(overrides);

    return 1;
}


uint32_t
ps_overrides_replace(ps_overrides_t *overrides, const ps_override_t *all,
    uint32_t n, uint64_t now)
{
    uint32_t  i, lost;

    lost = 0;

    ps_overrides_begin(overrides);

    for (i = 0; i < n; i++) {
        if (all[i].until > now
            && ps_overrides_add(overrides, &all[i],
                                ps_overrides_hash(overrides, all[i].kind,
                                                  all[i].text, all[i].len))
               != 0)
        {
            lost++;
        }
    }

    ps_overrides_commit(overrides);

    return lost;
}


static uint64_t
ps_overrides_hash(const ps_overrides_t *overrides, int kind, const char *text,
    size_t len)
{
    char      buf[PS_OVERRIDE_TEXT + 1];
    uint64_t  hash;

    if (len > PS_OVERRIDE_TEXT) {
        len = PS_OVERRIDE_TEXT;
    }

    buf[0] = (char) kind;
    memcpy(buf + 1, text, len);

    hash = ps_siphash(&overrides->key, buf, len + 1);

    return hash ? hash : 1;
}


static ps_override_t *
ps_overrides_set(const ps_overrides_t *overrides, uint64_t generation)
{
    return (ps_override_t *) overrides->place
           + (generation & 1) * overrides->places;
}


static uint64_t
ps_overrides_generation(const ps_overrides_t *overrides)
{
    return __atomic_load_n(&overrides->generation, __ATOMIC_ACQUIRE);
}


/* the set that is not in force is emptied, and built */

static void
ps_overrides_begin(ps_overrides_t *overrides)
{
    uint64_t  next;

    next = overrides->generation + 1;

    memset(ps_overrides_set(overrides, next), 0,
           overrides->places * sizeof(ps_override_t));

    ps_kill_point("overrides-emptied");

    overrides->number[next & 1] = 0;
}


static void
ps_overrides_carry(ps_overrides_t *overrides, uint64_t but, uint64_t now)
{
    uint32_t        i;
    ps_override_t  *o;

    o = ps_overrides_set(overrides, overrides->generation);

    for (i = 0; i < overrides->places; i++) {
        if (o[i].hash && o[i].hash != but && o[i].until > now) {
            (void) ps_overrides_add(overrides, &o[i], o[i].hash);
        }
    }
}


static int
ps_overrides_add(ps_overrides_t *overrides, const ps_override_t *put,
    uint64_t hash)
{
    uint32_t        i, k;
    uint64_t        next;
    ps_override_t  *set, *old;

    next = overrides->generation + 1;
    set = ps_overrides_set(overrides, next);
    old = ps_overrides_set(overrides, overrides->generation);

    i = (uint32_t) (hash % overrides->places);

    while (set[i].hash && set[i].hash != hash) {
        i = (i + 1 == overrides->places) ? 0 : i + 1;
    }

    if (set[i].hash == 0) {

        if (overrides->number[next & 1] >= ps_overrides_max(overrides)) {
            return -1;
        }

        overrides->number[next & 1]++;
    }

    memcpy(&set[i], put, sizeof(ps_override_t));

    set[i].hash = hash;
    set[i].place = i;
    set[i].passed = 0;
    set[i].refused = 0;

    /* its counts go on */

    k = (uint32_t) (hash % overrides->places);

    while (old[k].hash) {

        if (old[k].hash == hash) {
            set[i].passed = __atomic_load_n(&old[k].passed, __ATOMIC_RELAXED);
            set[i].refused = __atomic_load_n(&old[k].refused,
                                             __ATOMIC_RELAXED);
            break;
        }

        k = (k + 1 == overrides->places) ? 0 : k + 1;
    }

    return 0;
}


static void
ps_overrides_commit(ps_overrides_t *overrides)
{
    ps_kill_point("overrides-built");

    __atomic_store_n(&overrides->generation, overrides->generation + 1,
                     __ATOMIC_RELEASE);

    ps_kill_point("overrides-changed");
}
