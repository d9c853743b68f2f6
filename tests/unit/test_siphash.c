
/*
 * SipHash-2-4, with 64 and 128 bits, against the vectors of its authors'
 * reference implementation
 * (key 00..0f, text 00, 00 01, ...) and against OpenSSL's, for every length.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <openssl/evp.h>

#include "../../modules/core/ps_siphash.h"


static const uint64_t  first[] = {
    0x726fdb47dd0e0e31ULL, 0x74f839c593dc67fdULL, 0x0d6c8009d9a94f5aULL,
    0x85676696d7fb7e2dULL, 0xcf2794e0277187b7ULL, 0x18765564cd99a68dULL,
    0xcbc9466e58fee3ceULL, 0xab0200f58b01d137ULL, 0x93f5f5799a932462ULL
};


static void
test_vectors(void **state)
{
    size_t            i;
    uint8_t           bytes[16], text[16];
    ps_siphash_key_t  key;

    (void) state;

    for (i = 0; i < 16; i++) {
        bytes[i] = (uint8_t) i;
        text[i] = (uint8_t) i;
    }

    ps_siphash_key(&key, bytes);

    for (i = 0; i < sizeof(first) / sizeof(first[0]); i++) {
        assert_true(ps_siphash(&key, text, i) == first[i]);
    }

    /* the paper's appendix A */

    assert_true(ps_siphash(&key, text, 15) == 0xa129ca6149be45e5ULL);
}


static void
test_openssl(void **state)
{
    int               sized, size;
    size_t            i, n, len;
    uint8_t           bytes[16], text[300], out[16];
    uint64_t          want[2], hash[2];
    EVP_PKEY         *pkey;
    EVP_MD_CTX       *ctx;
    EVP_PKEY_CTX     *pctx;
    ps_siphash_key_t  key;

    (void) state;

    for (i = 0; i < sizeof(text); i++) {
        text[i] = (uint8_t) (i * 37 + 11);
    }

    for (i = 0; i < 16; i++) {
        bytes[i] = (uint8_t) (255 - i * 13);
    }

    ps_siphash_key(&key, bytes);

    pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_SIPHASH, NULL, bytes, 16);
    assert_non_null(pkey);

    for (n = 0; n <= sizeof(text); n++) {
        for (size = 8; size <= 16; size += 8) {
            ctx = EVP_MD_CTX_new();
            assert_non_null(ctx);

            assert_int_equal(EVP_DigestSignInit(ctx, &pctx, NULL, NULL, pkey),
                             1);

            sized = EVP_PKEY_CTX_ctrl(pctx, EVP_PKEY_SIPHASH,
                                      EVP_PKEY_OP_SIGNCTX,
                                      EVP_PKEY_CTRL_SET_DIGEST_SIZE, size,
                                      NULL);
            assert_int_equal(sized, 1);

            assert_int_equal(EVP_DigestSignUpdate(ctx, text, n), 1);

            len = sizeof(out);
            assert_int_equal(EVP_DigestSignFinal(ctx, out, &len), 1);
            assert_int_equal(len, size);

            memset(want, 0, sizeof(want));

            for (i = 0; i < len; i++) {
                want[i / 8] |= (uint64_t) out[i] << (8 * (i % 8));
            }

            if (size == 8) {
                assert_true(ps_siphash(&key, text, n) == want[0]);

            } else {
                ps_siphash128(&key, text, n, hash);
                assert_true(hash[0] == want[0] && hash[1] == want[1]);
            }

            EVP_MD_CTX_free(ctx);
        }
    }

    EVP_PKEY_free(pkey);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_openssl),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
