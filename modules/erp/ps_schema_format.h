
/*
 * The formats of JSON Schema that are asserted.
 */

#ifndef _PS_SCHEMA_FORMAT_H_INCLUDED_
#define _PS_SCHEMA_FORMAT_H_INCLUDED_


#include <stddef.h>


typedef struct {
    const char   *name;
    const char   *what;          /* "a date (RFC 3339)" */
    int         (*check)(const char *text, size_t len);
} ps_schema_format_t;


/* NULL: not supported */

const ps_schema_format_t *ps_schema_format(const char *name, size_t len);


#endif /* _PS_SCHEMA_FORMAT_H_INCLUDED_ */
