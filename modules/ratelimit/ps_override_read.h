
/*
 * The JSON by which rate_limit_admin is asked for an override:
 *
 *     {"rate":"10r/s","burst":20,"dry_run":false,"expires":3600}
 */

#ifndef _PS_OVERRIDE_READ_H_INCLUDED_
#define _PS_OVERRIDE_READ_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>

#include "ps_overrides.h"


/* seconds that an override may last, at most: a year */

#define PS_OVERRIDE_LAST  (366 * 86400)


/*
 * Reads "len" bytes at "text", of any content, into the rate, the limit and
 * the dry run of "o", and into "expires", seconds, or 0: never.  "burst" is
 * the zone's, for where there is none.  NULL, or a constant sentence of what
 * is wrong; then "o" is not to be used.
 */

const char *ps_override_read(const char *text, size_t len, uint64_t burst,
    ps_override_t *o, uint64_t *expires);


#endif /* _PS_OVERRIDE_READ_H_INCLUDED_ */
