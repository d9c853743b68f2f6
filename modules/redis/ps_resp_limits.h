
/*
 * Checks the framing of RESP2 replies against limits, before a parser is
 * given the bytes and commits memory for what a header promises.
 */

#ifndef _PS_RESP_LIMITS_H_INCLUDED_
#define _PS_RESP_LIMITS_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


/* hiredis 0.14 keeps a stack of 9 and takes arrays in arrays 7 deep */

#define PS_RESP_MAX_DEPTH  7


typedef struct {
    size_t        total;       /* bytes of one reply, headers included */
    size_t        bulk;        /* bytes of one string */
    size_t        line;        /* bytes of a status, error or number line */
    uint32_t      elements;    /* of all arrays of one reply */
    uint32_t      depth;       /* arrays in arrays, <= PS_RESP_MAX_DEPTH */
} ps_resp_caps_t;


typedef enum {
    PS_RESP_TYPE = 0,
    PS_RESP_LINE,
    PS_RESP_NUMBER,
    PS_RESP_LINE_LF,
    PS_RESP_NUMBER_LF,
    PS_RESP_BULK,
    PS_RESP_BULK_LF,
    PS_RESP_FAILED
} ps_resp_state_e;


typedef struct {
    ps_resp_caps_t   caps;

    ps_resp_state_e  state;
    const char      *error;          /* a constant text, once failed */

    size_t           total;          /* so far, of this reply */
    size_t           line;
    uint32_t         elements;

    size_t           bulk;           /* bytes of the string still to come */

    char             type;
    unsigned         negative:1;
    unsigned         digits:1;       /* there was one */
    uint64_t         number;

    uint32_t         depth;
    uint32_t         left[PS_RESP_MAX_DEPTH];
                                     /* elements still to come, a level */
} ps_resp_limits_t;


/* caps->depth above PS_RESP_MAX_DEPTH is taken as that */

void ps_resp_limits_init(ps_resp_limits_t *rl, const ps_resp_caps_t *caps);

/*
 * Looks at n bytes.  Returns how many of them belong to the current reply
 * and are fine, at least one; *done tells whether the last of these ends it,
 * and the next call then starts with a new reply.  -1: the bytes are no
 * RESP2 or exceed a limit; rl->error says how, and it stays failed.
 */

long ps_resp_limits_scan(ps_resp_limits_t *rl, const char *p, size_t n,
    int *done);


#endif /* _PS_RESP_LIMITS_H_INCLUDED_ */
