
/*
 * Hostile bytes as the inside of a JSON string (RFC 8259).
 */

#ifndef _PS_JSON_ESCAPE_H_INCLUDED_
#define _PS_JSON_ESCAPE_H_INCLUDED_


#include <stddef.h>


/* room that ps_json_escape() needs for len bytes of input */

#define PS_JSON_ESCAPE_MAX(len)  ((len) * 6)


/*
 * Writes "len" bytes of "src" to "dst" without the quotes and without a
 * terminating zero; returns the number of bytes written.  Quotes, backslash
 * and control characters are escaped; a byte that is no part of valid UTF-8
 * (RFC 3629) becomes U+FFFD.
 */

size_t ps_json_escape(char *dst, const char *src, size_t len);


/*
 * The length of the character at p (RFC 3629), with "len" bytes there, at
 * least one; 0 where there is none.
 */

size_t ps_utf8_length(const unsigned char *p, size_t len);


#endif /* _PS_JSON_ESCAPE_H_INCLUDED_ */
