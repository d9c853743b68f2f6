
#include <endian.h>
#include <string.h>

#include "ps_siphash.h"


#define ps_rotl(x, n)  (((x) << (n)) | ((x) >> (64 - (n))))

#define ps_siprounds(v, n)                                                    \
    do {                                                                      \
        int  round;                                                           \
                                                                              \
        for (round = 0; round < n; round++) {                                 \
            v[0] += v[1]; v[1] = ps_rotl(v[1], 13); v[1] ^= v[0];             \
            v[0] = ps_rotl(v[0], 32);                                         \
            v[2] += v[3]; v[3] = ps_rotl(v[3], 16); v[3] ^= v[2];             \
            v[0] += v[3]; v[3] = ps_rotl(v[3], 21); v[3] ^= v[0];             \
            v[2] += v[1]; v[1] = ps_rotl(v[1], 17); v[1] ^= v[2];             \
            v[2] = ps_rotl(v[2], 32);                                         \
        }                                                                     \
    } while (0)


static uint64_t ps_siphash_word(const uint8_t *p);
static void ps_siphash_text(uint64_t v[4], const ps_siphash_key_t *key,
    const uint8_t *p, size_t len);


void
ps_siphash_key(ps_siphash_key_t *key, const uint8_t *bytes)
{
    key->k0 = ps_siphash_word(bytes);
    key->k1 = ps_siphash_word(bytes + 8);
}


uint64_t
ps_siphash(const ps_siphash_key_t *key, const void *data, size_t len)
{
    uint64_t  v[4];

    v[1] = 0;
    ps_siphash_text(v, key, data, len);

    v[2] ^= 0xff;
    ps_siprounds(v, 4);

    return v[0] ^ v[1] ^ v[2] ^ v[3];
}


void
ps_siphash128(const ps_siphash_key_t *key, const void *data, size_t len,
    uint64_t hash[2])
{
    uint64_t  v[4];

    v[1] = 0xee;
    ps_siphash_text(v, key, data, len);

    v[2] ^= 0xee;
    ps_siprounds(v, 4);
    hash[0] = v[0] ^ v[1] ^ v[2] ^ v[3];

    v[1] ^= 0xdd;
    ps_siprounds(v, 4);
    hash[1] = v[0] ^ v[1] ^ v[2] ^ v[3];
}


/* v[1] holds what tells the variants apart */

static void
ps_siphash_text(uint64_t v[4], const ps_siphash_key_t *key, const uint8_t *p,
    size_t len)
{
    size_t    i;
    uint64_t  m;

    v[0] = key->k0 ^ 0x736f6d6570736575ULL;
    v[1] ^= key->k1 ^ 0x646f72616e646f6dULL;
    v[2] = key->k0 ^ 0x6c7967656e657261ULL;
    v[3] = key->k1 ^ 0x7465646279746573ULL;

    for (i = len; i >= 8; i -= 8) {
        m = ps_siphash_word(p);
        p += 8;

        v[3] ^= m;
        ps_siprounds(v, 2);
        v[0] ^= m;
    }

    m = (uint64_t) len << 56;

    while (i--) {
        m |= (uint64_t) p[i] << (8 * i);
    }

    v[3] ^= m;
    ps_siprounds(v, 2);
    v[0] ^= m;
}


static uint64_t
ps_siphash_word(const uint8_t *p)
{
    uint64_t  w;

    memcpy(&w, p, sizeof(uint64_t));

    return le64toh(w);
}
