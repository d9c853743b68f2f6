
/*
 * OAuth scope: a list of words between single spaces (RFC 6749, 3.3).
 */

#ifndef PS_SCOPE_H
#define PS_SCOPE_H


#include <stddef.h>


/* whether "word" is 1*( %x21 / %x23-5B / %x5D-7E ) */

int ps_scope_word(const unsigned char *word, size_t len);

/* whether the list holds the word, byte for byte */

int ps_scope_has(const unsigned char *list, size_t list_len,
    const unsigned char *word, size_t len);


#endif /* PS_SCOPE_H */
