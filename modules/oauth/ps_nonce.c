
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "ps_base64url.h"
#include "ps_nonce.h"


#define PS_NONCE_TIME    8
#define PS_NONCE_DIGEST  16

#define PS_NONCE_AHEAD   60


int
ps_nonce_make(const unsigned char *key, size_t len, uint64_t now,
    unsigned char out[PS_NONCE_LEN])
{
    int            i;
    unsigned int   n;
    unsigned char  raw[PS_NONCE_TIME + PS_NONCE_DIGEST];
    unsigned char  digest[EVP_MAX_MD_SIZE];

    for (i = 0; i < PS_NONCE_TIME; i++) {
        raw[i] = (unsigned char) (now >> (8 * (PS_NONCE_TIME - 1 - i)));
    }

    n = sizeof(digest);

    if (HMAC(EVP_sha256(), key, (int) len, raw, PS_NONCE_TIME, digest, &n)
        == NULL)
    {
        return -1;
    }

    memcpy(raw + PS_NONCE_TIME, digest, PS_NONCE_DIGEST);

    ps_base64url_encode(out, raw, sizeof(raw));

    return 0;
}


int64_t
ps_nonce_age(const unsigned char *key, size_t len, const unsigned char *text,
    size_t text_len, uint64_t now)
{
    int            i;
    size_t         n;
    uint64_t       made;
    unsigned char  own[PS_NONCE_LEN];
    unsigned char  raw[ps_base64url_decoded_len(PS_NONCE_LEN)];

    if (text_len != PS_NONCE_LEN
        || ps_base64url_decode(raw, &n, text, text_len) != 0)
    {
        return PS_NONCE_FOREIGN;
    }

    made = 0;

    for (i = 0; i < PS_NONCE_TIME; i++) {
        made = made << 8 | raw[i];
    }

    if (ps_nonce_make(key, len, made, own) != 0
        || CRYPTO_memcmp(own, text, PS_NONCE_LEN) != 0)
    {
        return PS_NONCE_FOREIGN;
    }

    if (made > now) {
        return made - now <= PS_NONCE_AHEAD ? 0 : PS_NONCE_FOREIGN;
    }

    return (int64_t) (now - made);
}
