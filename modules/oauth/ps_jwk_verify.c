
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/err.h>

#include "ps_jwk_key.h"


/* the orders of P-256, P-384 and P-521 */

static const unsigned char  ps_jwk_order_256[32] = {
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84,
    0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51
};

static const unsigned char  ps_jwk_order_384[48] = {
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xc7, 0x63, 0x4d, 0x81, 0xf4, 0x37, 0x2d, 0xdf,
    0x58, 0x1a, 0x0d, 0xb2, 0x48, 0xb0, 0xa7, 0x7a,
    0xec, 0xec, 0x19, 0x6a, 0xcc, 0xc5, 0x29, 0x73
};

static const unsigned char  ps_jwk_order_521[66] = {
    0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xfa, 0x51, 0x86, 0x87, 0x83, 0xbf, 0x2f, 0x96, 0x6b, 0x7f, 0xcc,
    0x01, 0x48, 0xf7, 0x09, 0xa5, 0xd0, 0x3b, 0xb5, 0xc9, 0xb8, 0x89,
    0x9c, 0x47, 0xae, 0xbb, 0x6f, 0xb7, 0x1e, 0x91, 0x38, 0x64, 0x09
};


/* whether 0 < n < order; a signature is public, no constant time needed */

static int
ps_jwk_in_range(const unsigned char *n, const unsigned char *order,
    size_t size)
{
    size_t  i;

    for (i = 0; i < size && n[i] == 0; i++) { /* void */ }

    return i < size && memcmp(n, order, size) < 0;
}


/* an INTEGER of DER; returns its end */

static unsigned char *
ps_jwk_der_integer(unsigned char *p, const unsigned char *n, size_t size)
{
    while (*n == 0) {
        n++;
        size--;
    }

    *p++ = 0x02;

    if (*n & 0x80) {
        *p++ = (unsigned char) (size + 1);
        *p++ = 0;

    } else {
        *p++ = (unsigned char) size;
    }

    memcpy(p, n, size);

    return p + size;
}


/*
 * R||S to the DER that OpenSSL takes.  Returns its length, 0 if the signature
 * is not of the curve's size or out of range.
 */

static size_t
ps_jwk_der_signature(ps_jwk_kind_e kind, unsigned char *der,
    const unsigned char *sig, size_t sig_len)
{
    size_t                size, len;
    unsigned char        *p, body[2 * (66 + 3)];
    const unsigned char  *order;

    switch (kind) {

    case PS_JWK_P256:
        order = ps_jwk_order_256;
        size = sizeof(ps_jwk_order_256);
        break;

    case PS_JWK_P384:
        order = ps_jwk_order_384;
        size = sizeof(ps_jwk_order_384);
        break;

    default:
        order = ps_jwk_order_521;
        size = sizeof(ps_jwk_order_521);
    }

    if (sig_len != 2 * size
        || !ps_jwk_in_range(sig, order, size)
        || !ps_jwk_in_range(sig + size, order, size))
    {
        return 0;
    }

    p = ps_jwk_der_integer(body, sig, size);
    p = ps_jwk_der_integer(p, sig + size, size);
    len = p - body;

    p = der;
    *p++ = 0x30;

    if (len > 127) {
        *p++ = 0x81;
    }

    *p++ = (unsigned char) len;
    memcpy(p, body, len);

    return p + len - der;
}


int
ps_jwk_verify(ps_jwk_t *key, const unsigned char *input, size_t input_len,
    const unsigned char *sig, size_t sig_len)
{
    int            ok;
    size_t         len;
    unsigned       hash_len;
    unsigned char  hash[EVP_MAX_MD_SIZE], der[2 * (66 + 3) + 3];

    if (key->kind == PS_JWK_OCT) {

        /* no key here: HMAC starts again with the one it has */

        return EVP_MAC_init(key->mac_ctx, NULL, 0, NULL) == 1
               && EVP_MAC_update(key->mac_ctx, input, input_len) == 1
               && EVP_MAC_final(key->mac_ctx, hash, &len, sizeof(hash)) == 1
               && len == sig_len
               && len == ps_jwt_alg_hash(key->alg)
               && CRYPTO_memcmp(hash, sig, len) == 0;
    }

    if (ps_alg_is_ed(key->alg)) {
        ok = EVP_MD_CTX_reset(key->md_ctx) == 1
             && EVP_DigestVerifyInit_ex(key->md_ctx, NULL, NULL, NULL, NULL,
                                        key->pkey, NULL) == 1
             && EVP_DigestVerify(key->md_ctx, sig, sig_len, input, input_len)
                == 1;
        goto done;
    }

    if (ps_alg_is_es(key->alg)) {
        sig_len = ps_jwk_der_signature(key->kind, der, sig, sig_len);
        sig = der;

        if (sig_len == 0) {
            return 0;
        }
    }

    ok = EVP_DigestInit_ex2(key->md_ctx, key->md, NULL) == 1
         && EVP_DigestUpdate(key->md_ctx, input, input_len) == 1
         && EVP_DigestFinal_ex(key->md_ctx, hash, &hash_len) == 1
         && EVP_PKEY_verify(key->pkey_ctx, sig, sig_len, hash, hash_len) == 1;

done:

    if (!ok) {

        /* or nginx's SSL code would find and log them as its own */

        ERR_clear_error();
    }

    return ok;
}
