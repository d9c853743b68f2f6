
/*
 * Numbers in MessagePack, which a script in Redis reads by one call.
 */

#ifndef _PS_PACK_H_INCLUDED_
#define _PS_PACK_H_INCLUDED_


#include <stdint.h>


/* bytes, at most */

#define PS_PACK_ARRAY   5
#define PS_PACK_NUMBER  9


/* the head of an array of "n" elements; returns the end */

uint8_t *ps_pack_array(uint8_t *p, uint32_t n);

/*
 * A number as Lua has it, a double: exact below 2^53.  Returns the end.
 */

uint8_t *ps_pack_number(uint8_t *p, uint64_t n);


#endif /* _PS_PACK_H_INCLUDED_ */
