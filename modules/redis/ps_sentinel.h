
/*
 * Redis Sentinel: where a master is, as a sentinel says it.
 */

#ifndef _PS_SENTINEL_H_INCLUDED_
#define _PS_SENTINEL_H_INCLUDED_


#include <stddef.h>


/* of a host's name; of a master's name, which Redis does not limit */

#define PS_SENTINEL_HOST_MAX  255
#define PS_SENTINEL_NAME_MAX  255


typedef struct {
    const char  *host;               /* in the text that was parsed */
    size_t       host_len;
    unsigned     port;               /* 1 .. 65535 */
} ps_sentinel_addr_t;


/*
 * An address from its two texts: the host is a name or an address without
 * brackets.  0, or -1: that is none.
 */

int ps_sentinel_addr(ps_sentinel_addr_t *addr, const char *host,
    size_t host_len, const char *port, size_t port_len);

/*
 * The message of "+switch-master": "NAME OLDHOST OLDPORT NEWHOST NEWPORT".
 * 0: it is about the master of that name, "addr" is its new address; -1: it
 * is about another one, or malformed.
 */

int ps_sentinel_switch(ps_sentinel_addr_t *addr, const char *name,
    size_t name_len, const char *text, size_t len);

/* whether a master may have that name: what Redis itself takes */

int ps_sentinel_name(const char *name, size_t len);


#endif /* _PS_SENTINEL_H_INCLUDED_ */
