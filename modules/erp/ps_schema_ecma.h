
/*
 * Regular expressions of ECMA-262 (with the "u" flag) in PCRE2's spelling.
 */

#ifndef _PS_SCHEMA_ECMA_H_INCLUDED_
#define _PS_SCHEMA_ECMA_H_INCLUDED_


#include <stddef.h>


/* room that ps_schema_ecma() needs: \\S in a class grows most */

#define PS_SCHEMA_ECMA_MAX(len)  ((len) * 128 + 64)


/*
 * Translates what PCRE2 would read in another way; what it alone knows is an
 * error, as ECMA-262 reads it in another way or not at all.  0 with *n bytes
 * written, or -1 with a constant sentence and the place in the pattern.
 */

int ps_schema_ecma(const char *pattern, size_t len, char *dst, size_t *n,
    const char **wrong, size_t *at);


#endif /* _PS_SCHEMA_ECMA_H_INCLUDED_ */
