
/*
 * What the status handler needs to read: label pairs of a metric, and an
 * Accept header.
 */

#ifndef _PS_METRICS_H_INCLUDED_
#define _PS_METRICS_H_INCLUDED_


#include <stddef.h>


/* slices of the text; the value is still escaped */

typedef struct {
    const char  *name;
    size_t       name_len;
    const char  *value;
    size_t       value_len;
} ps_label_t;


/*
 * The next pair of name="value",name="value" (Prometheus text format 0.0.4)
 * at *p, which moves on.  1: a pair; 0: the end; -1: no such pairs.
 */

int ps_label_next(const char **p, const char *end, ps_label_t *label);


/*
 * Resolves \\, \" and \n of a label's value; "dst" needs "len" bytes and may
 * be the value itself.  Returns the number of bytes written.
 */

size_t ps_label_unescape(char *dst, const char *src, size_t len);


/*
 * The weight that an Accept value (RFC 9110, section 12.5.1) gives to that
 * media type by its name, in thousandths: 0 where it is refused or not
 * named.  Ranges (a star) don't count: they prefer nothing.
 */

unsigned ps_accept_weight(const char *accept, size_t len, const char *type);


#endif /* _PS_METRICS_H_INCLUDED_ */
