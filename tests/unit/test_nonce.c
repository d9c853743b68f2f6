/*
 * Nonces of DPoP: only what was made with the key is one, and it has an age.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ps_nonce.h"


#define NOW  1790000000


static const unsigned char  key[32] = "0123456789abcdef0123456789abcde";
static const unsigned char  other[32] = "0123456789abcdef0123456789abcdf";


static void
test_age(void **state)
{
    unsigned char  nonce[PS_NONCE_LEN];

    (void) state;

    assert_int_equal(ps_nonce_make(key, sizeof(key), NOW, nonce), 0);

    assert_int_equal(ps_nonce_age(key, sizeof(key), nonce, sizeof(nonce),
                                  NOW), 0);
    assert_int_equal(ps_nonce_age(key, sizeof(key), nonce, sizeof(nonce),
                                  NOW + 3600), 3600);

    /* another host's clock may be ahead, but not by much */

    assert_int_equal(ps_nonce_age(key, sizeof(key), nonce, sizeof(nonce),
                                  NOW - 60), 0);
    assert_int_equal(ps_nonce_age(key, sizeof(key), nonce, sizeof(nonce),
                                  NOW - 61), PS_NONCE_FOREIGN);
}


static void
test_foreign(void **state)
{
    int            bit;
    unsigned char  nonce[PS_NONCE_LEN + 1];

    (void) state;

    assert_int_equal(ps_nonce_make(key, sizeof(key), NOW, nonce), 0);

    assert_int_equal(ps_nonce_age(other, sizeof(other), nonce, PS_NONCE_LEN,
                                  NOW), PS_NONCE_FOREIGN);
    assert_int_equal(ps_nonce_age(key, sizeof(key), nonce, 0, NOW),
                     PS_NONCE_FOREIGN);
    assert_int_equal(ps_nonce_age(key, sizeof(key), nonce, PS_NONCE_LEN - 1,
                                  NOW), PS_NONCE_FOREIGN);

    nonce[PS_NONCE_LEN] = 'A';
    assert_int_equal(ps_nonce_age(key, sizeof(key), nonce, PS_NONCE_LEN + 1,
                                  NOW), PS_NONCE_FOREIGN);

    for (bit = 0; bit < 8 * PS_NONCE_LEN; bit++) {
        nonce[bit / 8] ^= 1 << bit % 8;
        assert_int_equal(ps_nonce_age(key, sizeof(key), nonce, PS_NONCE_LEN,
                                      NOW), PS_NONCE_FOREIGN);
        nonce[bit / 8] ^= 1 << bit % 8;
    }

    assert_int_equal(ps_nonce_age(key, sizeof(key), nonce, PS_NONCE_LEN,
                                  NOW), 0);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_age),
        cmocka_unit_test(test_foreign),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
