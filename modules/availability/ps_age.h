
/*
 * The Age of a response (RFC 9111, Section 5.1).
 */

#ifndef _PS_AGE_H_INCLUDED_
#define _PS_AGE_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


#define PS_AGE_MAX  2147483647          /* s; RFC 9111, Section 1.2.2 */


/*
 * Seconds.  What is not one number, and numbers above it, are PS_AGE_MAX: an
 * answer of which nobody can tell how old it is, is not kept.  (The RFC lets
 * a cache take the first of a list and ignore what is no number; that may
 * call old numbers fresh.)
 */

int64_t ps_age_parse(const char *value, size_t len);


#endif /* _PS_AGE_H_INCLUDED_ */
