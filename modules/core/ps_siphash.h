
/*
 * SipHash-2-4 (Aumasson, Bernstein): a keyed hash, so that who chooses the
 * text can't choose the place in a table.
 */

#ifndef _PS_SIPHASH_H_INCLUDED_
#define _PS_SIPHASH_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


#define PS_SIPHASH_KEY_LEN  16


/*
 * The 64-bit hash of "len" bytes at "data" under the secret "key", which was
 * read by ps_siphash_key() from PS_SIPHASH_KEY_LEN bytes.
 */

typedef struct {
    uint64_t  k0;
    uint64_t  k1;
} ps_siphash_key_t;

void ps_siphash_key(ps_siphash_key_t *key, const uint8_t *bytes);
uint64_t ps_siphash(const ps_siphash_key_t *key, const void *data, size_t len);

/*
 * The 128-bit one: long enough to stand for the text itself, as nobody
 * without the key can look for two texts with the same hash.
 */

void ps_siphash128(const ps_siphash_key_t *key, const void *data, size_t len,
    uint64_t hash[2]);


#endif /* _PS_SIPHASH_H_INCLUDED_ */
