
/*
 * Revocations that this host knows: a table of fixed size in shared memory.
 * Entries go when no token that they mean can live any more.
 */

#ifndef PS_REVOKED_H
#define PS_REVOKED_H


#include <stddef.h>
#include <stdint.h>

#include "ps_siphash.h"


#define PS_REVOKED_PROBES   32      /* slots looked at for one entry */
#define PS_REVOKED_ALWAYS   UINT32_MAX


typedef enum {
    PS_REVOKED_JTI = 'j',
    PS_REVOKED_SUB = 's',
    PS_REVOKED_CLIENT = 'c'
} ps_revoked_kind_e;


typedef struct {
    uint64_t            hash[2];
    uint32_t            before;     /* s: tokens issued till then */
    uint32_t            until;      /* s: when it may go; 0: empty */
} ps_revoked_slot_t;


typedef struct {
    ps_siphash_key_t    key;
    size_t              n;          /* slots, a power of two */
    ps_revoked_slot_t   slots[];
} ps_revoked_t;


typedef struct {
    const void         *data;
    size_t              len;
} ps_revoked_text_t;


/* bytes of a table of "n" slots; init: zeroed memory, 16 random bytes */

#define ps_revoked_size(n)                                                    \
    (sizeof(ps_revoked_t) + (n) * sizeof(ps_revoked_slot_t))

void ps_revoked_init(ps_revoked_t *table, size_t n, const uint8_t *random);

/*
 * Tokens of that jti, subject or client, by that issuer (len 0: any), that
 * were issued at or before "before" are revoked; times in seconds since the
 * epoch.  The later of two entries for the same counts.  -1: there is no room
 * near its place, so the table is not complete.
 */

int ps_revoked_add(ps_revoked_t *table, ps_revoked_kind_e kind,
    const ps_revoked_text_t *iss, const ps_revoked_text_t *value,
    uint32_t before, uint32_t until, uint32_t now);

/* whether a token that was issued at "iat" is */

int ps_revoked_has(const ps_revoked_t *table, ps_revoked_kind_e kind,
    const ps_revoked_text_t *iss, const ps_revoked_text_t *value, double iat);


#endif /* PS_REVOKED_H */
