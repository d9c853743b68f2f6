
#include <string.h>

#include "ps_revoked.h"


/* an issuer and a name together are not longer */

#define PS_REVOKED_TEXT  1024


static int ps_revoked_hash(const ps_revoked_t *table, ps_revoked_kind_e kind,
    const ps_revoked_text_t *iss, const ps_revoked_text_t *value,
    uint64_t hash[2]);


void
ps_revoked_init(ps_revoked_t *table, size_t n, const uint8_t *random)
{
    ps_siphash_key(&table->key, random);
    table->n = n;
}


int
ps_revoked_add(ps_revoked_t *table, ps_revoked_kind_e kind,
    const ps_revoked_text_t *iss, const ps_revoked_text_t *value,
    uint32_t before, uint32_t until, uint32_t now)
{
    size_t              i;
    uint64_t            hash[2];
    ps_revoked_slot_t  *slot, *room;

    if (ps_revoked_hash(table, kind, iss, value, hash) != 0) {
        return -1;
    }

    room = NULL;

    for (i = 0; i < PS_REVOKED_PROBES; i++) {
        slot = &table->slots[(hash[0] + i) & (table->n - 1)];

        if (slot->until && slot->hash[0] == hash[0]
            && slot->hash[1] == hash[1])
        {
            slot->before = slot->before > before ? slot->before : before;
            slot->until = slot->until > until ? slot->until : until;
            return 0;
        }

        if (room == NULL && slot->until < now) {
            room = slot;
        }
    }

    if (room == NULL) {
        return -1;
    }

    /* "until" last: whoever dies here leaves no half of an entry */

    room->until = 0;
    __atomic_thread_fence(__ATOMIC_RELEASE);

    room->hash[0] = hash[0];
    room->hash[1] = hash[1];
    room->before = before;
    __atomic_thread_fence(__ATOMIC_RELEASE);

    room->until = until ? until : 1;

    return 0;
}


int
ps_revoked_has(const ps_revoked_t *table, ps_revoked_kind_e kind,
    const ps_revoked_text_t *iss, const ps_revoked_text_t *value, double iat)
{
    size_t                    i;
    uint64_t                  hash[2];
    const ps_revoked_slot_t  *slot;

    if (ps_revoked_hash(table, kind, iss, value, hash) != 0) {
        return 0;
    }

    for (i = 0; i < PS_REVOKED_PROBES; i++) {
        slot = &table->slots[(hash[0] + i) & (table->n - 1)];

        if (slot->until && slot->hash[0] == hash[0]
            && slot->hash[1] == hash[1])
        {
            return slot->before == PS_REVOKED_ALWAYS
                   || iat <= (double) slot->before;
        }
    }

    return 0;
}


/* -1: too long to be one that was revoked */

static int
ps_revoked_hash(const ps_revoked_t *table, ps_revoked_kind_e kind,
    const ps_revoked_text_t *iss, const ps_revoked_text_t *value,
    uint64_t hash[2])
{
    uint32_t        len;
    unsigned char   text[PS_REVOKED_TEXT];

    if (value->len + iss->len > sizeof(text) - 1 - sizeof(len)) {
        return -1;
    }

    len = (uint32_t) iss->len;

    text[0] = (unsigned char) kind;
    memcpy(text + 1, &len, sizeof(len));
    memcpy(text + 1 + sizeof(len), iss->data, iss->len);
    memcpy(text + 1 + sizeof(len) + iss->len, value->data, value->len);

    ps_siphash128(&table->key, text, 1 + sizeof(len) + iss->len + value->len,
                  hash);

    return 0;
}
