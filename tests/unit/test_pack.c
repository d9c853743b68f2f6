/*
 * MessagePack, byte by byte as its specification has it.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ps_pack.h"


static void
test_array(void **state)
{
    uint8_t  buf[PS_PACK_ARRAY];

    assert_ptr_equal(ps_pack_array(buf, 0x01020304), buf + 5);
    assert_memory_equal(buf, "\xdd\x01\x02\x03\x04", 5);

    assert_ptr_equal(ps_pack_array(buf, 0), buf + 5);
    assert_memory_equal(buf, "\xdd\x00\x00\x00\x00", 5);
}


static void
test_number(void **state)
{
    int       shift;
    size_t    i, len;
    double    number;
    uint8_t   buf[PS_PACK_NUMBER];
    uint64_t  n, bits;

    for (n = 0; n < 128; n++) {
        assert_ptr_equal(ps_pack_number(buf, n), buf + 1);
        assert_int_equal(buf[0], n);
    }

    /* 1000 is 1.953125 x 2^9 */

    assert_ptr_equal(ps_pack_number(buf, 1000), buf + 9);
    assert_memory_equal(buf, "\xcb\x40\x8f\x40\x00\x00\x00\x00\x00", 9);

    assert_ptr_equal(ps_pack_number(buf, 128), buf + 9);
    assert_memory_equal(buf, "\xcb\x40\x60\x00\x00\x00\x00\x00\x00", 9);

    /* all that a limit can be comes back as it was */

    for (shift = 7; shift < 53; shift++) {
        for (i = 0; i < 3; i++) {
            n = (1ULL << shift) + i;
            len = (size_t) (ps_pack_number(buf, n) - buf);

            assert_int_equal(len, 9);
            assert_int_equal(buf[0], 0xcb);

            for (bits = 0, len = 1; len < 9; len++) {
                bits = bits << 8 | buf[len];
            }

            memcpy(&number, &bits, sizeof(number));
            assert_true((uint64_t) number == n);
        }
    }

    (void) ps_pack_number(buf, UINT64_MAX);
    assert_memory_equal(buf, "\xcb\x43\xf0\x00\x00\x00\x00\x00\x00", 9);
}


int
main(void)
{
    const struct CMUnitTest  tests[] = {
        cmocka_unit_test(test_array),
        cmocka_unit_test(test_number)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
