
#include <string.h>

#include "ps_hot.h"


#define PS_HOT_WAYS    8
#define PS_HOT_EPOCH   10              /* seconds in which a score halves */
#define PS_HOT_MAX     (1u << 24)

/* a place that is being written */

#define PS_HOT_BUSY    UINT64_MAX


typedef struct {
    uint64_t      hash[PS_HOT_WAYS];       /* a cache line */
    uint64_t      score[PS_HOT_WAYS];      /* epoch << 32 | score */
    ps_hot_key_t  key[PS_HOT_WAYS];
} ps_hot_set_t;


struct ps_hot_s {
    uint64_t                    nsets;
    _Alignas(64) ps_hot_set_t   set[];
};


static ps_hot_set_t *ps_hot_set(ps_hot_t *hot, uint64_t hash);
static uint64_t ps_hot_score(ps_hot_set_t *set, int way, uint64_t now);


ps_hot_t *
ps_hot_init(void *mem, size_t size)
{
    ps_hot_t  *hot = mem;

    if (size < offsetof(ps_hot_t, set) + sizeof(ps_hot_set_t)) {
        return NULL;
    }

    memset(mem, 0, size);
    hot->nsets = (size - offsetof(ps_hot_t, set)) / sizeof(ps_hot_set_t);

    return hot;
}


int
ps_hot_use(ps_hot_t *hot, uint64_t hash, uint64_t now, int refused)
{
    int            i, way, least;
    uint64_t       score, min, old;
    ps_hot_set_t  *set;

    set = ps_hot_set(hot, hash);

    for (way = 0; way < PS_HOT_WAYS; way++) {

        if (__atomic_load_n(&set->hash[way], __ATOMIC_RELAXED) != hash) {
            continue;
        }

        score = ps_hot_score(set, way, now);

        if (score < PS_HOT_MAX) {
            score++;
        }

        /* whoever stores at the same time: one use more or less */

        __atomic_store_n(&set->score[way], now / PS_HOT_EPOCH << 32 | score,
                         __ATOMIC_RELAXED);

        (void) __atomic_fetch_add(&set->key[way].uses, 1, __ATOMIC_RELAXED);

        if (refused) {
            (void) __atomic_fetch_add(&set->key[way].refused, 1,
                                      __ATOMIC_RELAXED);
        }

        return 0;
    }

    least = 0;
    min = UINT64_MAX;

    /* of equals any, or the same one would suffer from all */

    for (i = 0; i < PS_HOT_WAYS; i++) {
        way = (int) (((hash >> 8) + (uint64_t) i) % PS_HOT_WAYS);

        old = __atomic_load_n(&set->hash[way], __ATOMIC_RELAXED);
        score = (old == 0) ? 0 : ps_hot_score(set, way, now);

        if (old != PS_HOT_BUSY && score < min) {
            min = score;
            least = way;
        }
    }

    if (min == 0) {
        return 1;
    }

    __atomic_store_n(&set->score[least],
                     now / PS_HOT_EPOCH << 32 | (min - 1), __ATOMIC_RELAXED);

    return 0;
}


void
ps_hot_take(ps_hot_t *hot, uint64_t hash, uint64_t now, int refused,
    const char *text, size_t len)
{
    int            way;
    uint64_t       old;
    ps_hot_set_t  *set;
    ps_hot_key_t  *key;

    set = ps_hot_set(hot, hash);

    for (way = 0; way < PS_HOT_WAYS; way++) {
        old = __atomic_load_n(&set->hash[way], __ATOMIC_RELAXED);

        if (old == hash) {
            return;
        }

        if (old == PS_HOT_BUSY
            || (old && ps_hot_score(set, way, now) != 0))
        {
            continue;
        }

        /* one that dies here leaves a place that nobody has any more */

        if (!__atomic_compare_exchange_n(&set->hash[way], &old, PS_HOT_BUSY,
                                         0, __ATOMIC_ACQUIRE,
                                         __ATOMIC_RELAXED))
        {
            return;
        }

        key = &set->key[way];

        key->hash = hash;
        key->uses = 1;
        key->refused = (refused != 0);
        key->since = now;
        key->len = (uint16_t) ((len > PS_HOT_TEXT) ? PS_HOT_TEXT : len);
        memcpy(key->text, text, key->len);

        set->score[way] = now / PS_HOT_EPOCH << 32 | 1;

        __atomic_store_n(&set->hash[way], hash, __ATOMIC_RELEASE);

        return;
    }
}


uint32_t
ps_hot_places(const ps_hot_t *hot)
{
    return (uint32_t) hot->nsets * PS_HOT_WAYS;
}


int
ps_hot_at(ps_hot_t *hot, uint32_t i, uint64_t now, ps_hot_key_t *key)
{
    int            way;
    uint64_t       hash;
    ps_hot_set_t  *set;

    set = &hot->set[i / PS_HOT_WAYS];
    way = (int) (i % PS_HOT_WAYS);

    hash = __atomic_load_n(&set->hash[way], __ATOMIC_ACQUIRE);

    if (hash == 0 || hash == PS_HOT_BUSY) {
        return 0;
    }

    memcpy(key, &set->key[way], sizeof(ps_hot_key_t));
    key->score = (uint32_t) ps_hot_score(set, way, now);

    __atomic_thread_fence(__ATOMIC_ACQUIRE);

    return __atomic_load_n(&set->hash[way], __ATOMIC_RELAXED) == hash
           && key->hash == hash && key->len <= PS_HOT_TEXT;
}


static ps_hot_set_t *
ps_hot_set(ps_hot_t *hot, uint64_t hash)
{
    return &hot->set[((hash >> 32) * hot->nsets) >> 32];
}


/* the score as of now: halved for each epoch since it was stored */

static uint64_t
ps_hot_score(ps_hot_set_t *set, int way, uint64_t now)
{
    uint64_t  stored, epochs, score;

    stored = __atomic_load_n(&set->score[way], __ATOMIC_RELAXED);

    score = stored & UINT32_MAX;
    epochs = now / PS_HOT_EPOCH;
    epochs = (epochs > stored >> 32) ? epochs - (stored >> 32) : 0;

    return (epochs > 31) ? 0 : score >> epochs;
}
