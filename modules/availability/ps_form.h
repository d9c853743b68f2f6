
/*
 * Arguments of a query, as a form writes them (WHATWG URL,
 * application/x-www-form-urlencoded).
 */

#ifndef _PS_FORM_H_INCLUDED_
#define _PS_FORM_H_INCLUDED_


#include <stddef.h>


typedef struct {
    const char  *text;                  /* all of it, as it is written */
    size_t       len;
    size_t       name_len;              /* its name begins at text */
    const char  *value;                 /* empty where there is no "=" */
    size_t       value_len;
} ps_form_arg_t;


/* 1: the argument at *p, which moves behind it; 0: there are no more */

int ps_form_next(const char **p, const char *end, ps_form_arg_t *arg);

/*
 * Decodes "%XX" and "+".  "dst" holds at least "len" bytes; returns how many
 * were written.
 */

size_t ps_form_decode(char *dst, const char *src, size_t len);

/* the other way round; "dst" holds at least three times "len" bytes */

size_t ps_form_encode(char *dst, const char *src, size_t len);


#endif /* _PS_FORM_H_INCLUDED_ */
