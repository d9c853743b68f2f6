
/*
 * base64url as JOSE uses it (RFC 7515, 2): no padding, no white space, no
 * other characters, and no bits left over in the last character.
 */

#ifndef PS_BASE64URL_H
#define PS_BASE64URL_H


#include <stddef.h>


/* bytes that "len" characters decode to, at most */

#define ps_base64url_decoded_len(len)  ((len) / 4 * 3 + 2)

/* characters of "len" bytes */

#define ps_base64url_encoded_len(len)  (((len) * 4 + 2) / 3)


/*
 * Decodes into dst, which has room for ps_base64url_decoded_len(len) bytes
 * and may not overlap src.  Returns 0, or -1 if src is not strictly what an
 * encoder makes; dst is undefined then.
 */

int ps_base64url_decode(unsigned char *dst, size_t *dst_len,
    const unsigned char *src, size_t len);

/* Encodes; returns the number of characters.  No zero is appended. */

size_t ps_base64url_encode(unsigned char *dst, const unsigned char *src,
    size_t len);


#endif /* PS_BASE64URL_H */
