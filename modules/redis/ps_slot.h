
/*
 * Redis Cluster: the slot of a key, what a redirection says, and who has
 * which slots.
 */

#ifndef _PS_SLOT_H_INCLUDED_
#define _PS_SLOT_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>

#include <hiredis/hiredis.h>


#define PS_SLOTS     16384
#define PS_SLOT_HOST 255                 /* bytes of a node's name */


/*
 * CRC16 (XMODEM) of the key modulo PS_SLOTS; if the key has a "{" and behind
 * it a "}" that is not the next byte, only of what is between the first "{"
 * and the first "}" behind it.
 */

unsigned ps_slot(const char *key, size_t len);


typedef struct {
    unsigned     slot;
    const char  *host;               /* in the text; empty: the same host */
    size_t       host_len;
    unsigned     port;
    unsigned     ask:1;              /* for this command only */
} ps_redirect_t;


/*
 * "MOVED SLOT HOST:PORT" or "ASK SLOT HOST:PORT"; 0, or -1: it is neither.  A
 * host is a name or an address, of nothing but their letters.
 */

int ps_redirect_parse(ps_redirect_t *redirect, const char *text, size_t len);


typedef struct {
    unsigned     first;
    unsigned     last;
    const char  *host;               /* in the reply; empty: the same host */
    size_t       host_len;
    unsigned     port;
} ps_slot_range_t;


/*
 * An element of the reply to CLUSTER SLOTS: the slots and their master; 0, or
 * -1: it is none, or its master's address is not known.
 */

int ps_slot_range_parse(ps_slot_range_t *range, const redisReply *reply);


#endif /* _PS_SLOT_H_INCLUDED_ */
