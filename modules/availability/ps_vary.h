
/*
 * Vary (RFC 9110, Section 12.5.5): which fields of a request choose among the
 * answers of one URL, and what of them makes a key (RFC 9111, Section 4.1).
 */

#ifndef _PS_VARY_H_INCLUDED_
#define _PS_VARY_H_INCLUDED_


#include <stddef.h>


/* more, or longer names together, is an answer that can't be kept */

#define PS_VARY_NAMES  8
#define PS_VARY_LEN    240


typedef struct {
    char      text[PS_VARY_LEN];        /* names in lower case, in order, each
                                           once and with a comma behind */
    size_t    len;
    unsigned  n;

    unsigned  coding:1;                 /* Accept-Encoding, which is no name:
                                           a fill asks without */
    unsigned  any:1;                    /* "*" */
    unsigned  overflow:1;               /* or something that is no name */
} ps_vary_t;


void ps_vary_init(ps_vary_t *vary);

/* adds the names of one field line, or of the text of another list */

void ps_vary_add(ps_vary_t *vary, const char *value, size_t len);

/* the next name from *p on, which starts at vary->text; 0: no more */

int ps_vary_next(const ps_vary_t *vary, const char **p, const char **name,
    size_t *len);

/*
 * Writes one line of a request's field of that name so that lines which mean
 * the same become the same: without blanks around commas that stand outside
 * of quotes; Accept-Language in lower case.  Takes "len" bytes at most, and
 * returns the end.
 */

char *ps_vary_put(char *p, const char *name, size_t nlen, const char *value,
    size_t len);


#endif /* _PS_VARY_H_INCLUDED_ */
