
#include "ps_siphash.h"


#define ps_rotl(x, n)  (((x) << (n)) | ((x) >> (64 - (n))))

#define ps_sipround(v)                                                        \
    do {                                                                      \
        v[0] += v[1]; v[1] = ps_rotl(v[1], 13); v[1] ^= v[0];                 \
        v[0] = ps_rotl(v[0], 32);                                             \
        v[2] += v[3]; v[3] = ps_rotl(v[3], 16); v[3] ^= v[2];                 \
        v[0] += v[3]; v[3] = ps_rotl(v[3], 21); v[3] ^= v[0];                 \
        v[2] += v[1]; v[1] = ps_rotl(v[1], 17); v[1] ^= v[2];                 \
        v[2] = ps_rotl(v[2], 32);                                             \
    } while (0)


static uint64_t
ps_siphash_word(const uint8_t *p, size_t n)
{
    size_t    i;
    uint64_t  w;

    w = 0;

    for (i = 0; i < n; i++) {
        w |= (uint64_t) p[i] << (8 * i);
    }

    return w;
}


void
ps_siphash_key(ps_siphash_key_t *key, const uint8_t *bytes)
{
    key->k0 = ps_siphash_word(bytes, 8);
    key->k1 = ps_siphash_word(bytes + 8, 8);
}


uint64_t
ps_siphash(const ps_siphash_key_t *key, const void *data, size_t len)
{
    size_t          left;
    uint64_t        v[4], m;
    const uint8_t  *p = data;

    v[0] = key->k0 ^ 0x736f6d6570736575ULL;
    v[1] = key->k1 ^ 0x646f72616e646f6dULL;
    v[2] = key->k0 ^ 0x6c7967656e657261ULL;
    v[3] = key->k1 ^ 0x7465646279746573ULL;

    for (left = len; left >= 8; left -= 8) {
        m = ps_siphash_word(p, 8);
        p += 8;

        v[3] ^= m;
        ps_sipround(v);
        ps_sipround(v);
        v[0] ^= m;
    }

    m = ((uint64_t) len << 56) | ps_siphash_word(p, left);

    v[3] ^= m;
    ps_sipround(v);
    ps_sipround(v);
    v[0] ^= m;

    v[2] ^= 0xff;
    ps_sipround(v);
    ps_sipround(v);
    ps_sipround(v);
    ps_sipround(v);

    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
