
/*
 * CDN-Cache-Control, a targeted field (RFC 9213): a dictionary of structured
 * fields (RFC 8941, Section 3.2), each member a directive of Cache-Control.
 */

#ifndef _PS_TARGETED_H_INCLUDED_
#define _PS_TARGETED_H_INCLUDED_


#include <stddef.h>

#include "ps_cache_control.h"


typedef struct {
    ps_cache_control_t  cc;
    unsigned            lines;
    unsigned            members;
    unsigned            failed:1;
    unsigned            empty:1;         /* one of the lines is */
} ps_targeted_t;


void ps_targeted_init(ps_targeted_t *targeted);

/*
 * Adds one field line.  Any error fails the whole field.  Of a repeated
 * directive the last counts; parameters are ignored; an age that is no
 * integer of 0 and above makes the response stale; what forbids is taken
 * with any value but false.
 */

void ps_targeted_parse(ps_targeted_t *targeted, const char *value,
    size_t len);

/* whether the field counts, in place of Cache-Control and Expires */

int ps_targeted_valid(const ps_targeted_t *targeted);


#endif /* _PS_TARGETED_H_INCLUDED_ */
