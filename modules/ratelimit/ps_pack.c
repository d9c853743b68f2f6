
#include <string.h>

#include "ps_pack.h"


#define PS_PACK_TYPE_ARRAY   0xdd
#define PS_PACK_TYPE_DOUBLE  0xcb


uint8_t *
ps_pack_array(uint8_t *p, uint32_t n)
{
    *p++ = PS_PACK_TYPE_ARRAY;
    *p++ = (uint8_t) (n >> 24);
    *p++ = (uint8_t) (n >> 16);
    *p++ = (uint8_t) (n >> 8);
    *p++ = (uint8_t) n;

    return p;
}


uint8_t *
ps_pack_number(uint8_t *p, uint64_t n)
{
    int       shift;
    double    number;
    uint64_t  bits;

    if (n < 128) {
        *p++ = (uint8_t) n;
        return p;
    }

    number = (double) n;
    memcpy(&bits, &number, sizeof(bits));

    *p++ = PS_PACK_TYPE_DOUBLE;

    for (shift = 56; shift >= 0; shift -= 8) {
        *p++ = (uint8_t) (bits >> shift);
    }

    return p;
}
