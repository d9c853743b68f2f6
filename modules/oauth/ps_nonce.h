
/*
 * Nonces for DPoP proofs (RFC 9449, 8 and 9) that nobody has to remember: the
 * time they were made, and a keyed digest of it.  Every host that has the key
 * knows the nonces of the others.
 */

#ifndef PS_NONCE_H
#define PS_NONCE_H


#include <stddef.h>
#include <stdint.h>


#define PS_NONCE_LEN      32        /* characters, base64url */
#define PS_NONCE_FOREIGN  -1


/*
 * Writes the nonce of that second (since the epoch) to "out", which is not
 * terminated.  The key should have 32 bytes or more.  0, or -1: no memory.
 */

int ps_nonce_make(const unsigned char *key, size_t len, uint64_t now,
    unsigned char out[PS_NONCE_LEN]);

/*
 * The age of a nonce in seconds, 0 for one from a clock that is ahead by at
 * most a minute; PS_NONCE_FOREIGN if it was not made with this key.
 */

int64_t ps_nonce_age(const unsigned char *key, size_t len,
    const unsigned char *text, size_t text_len, uint64_t now);


#endif /* PS_NONCE_H */
