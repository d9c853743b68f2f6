
/*
 * Redis Cluster: the slot of a key, and what a redirection says.
 */

#ifndef _PS_SLOT_H_INCLUDED_
#define _PS_SLOT_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


#define PS_SLOTS  16384


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


/* "MOVED SLOT HOST:PORT" or "ASK SLOT HOST:PORT"; 0, or -1: it is neither */

int ps_redirect_parse(ps_redirect_t *redirect, const char *text, size_t len);


#endif /* _PS_SLOT_H_INCLUDED_ */
