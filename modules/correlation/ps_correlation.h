
/*
 * Correlation IDs: which of a client's are kept, and how ours are made.
 */

#ifndef _PS_CORRELATION_H_INCLUDED_
#define _PS_CORRELATION_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


#define PS_CORRELATION_ID_MAX    128     /* bytes */
#define PS_CORRELATION_NAME_MAX  64      /* bytes */
#define PS_UUID_LEN              36      /* bytes of text */
#define PS_UUID_RANDOM_LEN       8       /* bytes */


typedef enum {
    PS_CORRELATION_NAME_OK = 0,
    PS_CORRELATION_NAME_LENGTH,          /* empty or too long */
    PS_CORRELATION_NAME_TOKEN,           /* no RFC 9110 token */
    PS_CORRELATION_NAME_RESERVED         /* has a meaning of its own */
} ps_correlation_name_e;


/*
 * Whether an ID is 1 to 128 bytes of [A-Za-z0-9._~:/+=@-].  The set holds
 * nothing that could end a quoted string or a line of a log.
 */

int ps_correlation_id_valid(const char *id, size_t len);


/*
 * Whether a header may carry the ID: a token (RFC 9110, section 5.6.2) that
 * is neither a framing, routing or hop-by-hop field nor one that HTTP gives
 * a meaning to.
 */

ps_correlation_name_e ps_correlation_name_check(const char *name,
    size_t len);


/*
 * Writes a UUID version 7 (RFC 9562, section 5.7) as 36 bytes of lower-case
 * text, no terminating zero.  "usec" is microseconds since the epoch: its
 * milliseconds fill the timestamp, the rest of it rand_a (section 6.2,
 * method 3), so that a greater "usec" gives a greater UUID.  62 bits of
 * "random" fill rand_b.
 */

void ps_uuid7(char *text, uint64_t usec, const uint8_t *random);


#endif /* _PS_CORRELATION_H_INCLUDED_ */
