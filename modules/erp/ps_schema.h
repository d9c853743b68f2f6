
/*
 * JSON Schema, draft 2020-12, of one file: what a request body must be.
 *
 * A keyword that is not supported is an error when the file is read, never
 * ignored.  A body is checked within a budget of steps, whatever it holds.
 */

#ifndef _PS_SCHEMA_H_INCLUDED_
#define _PS_SCHEMA_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>

#include "ps_json_tape.h"


#define PS_SCHEMA_POINTER_SIZE  256
#define PS_SCHEMA_DETAIL_SIZE   192

/* faults of one body that can be told */

#define PS_SCHEMA_MAX_FAULTS    64


typedef struct ps_schema_s  ps_schema_t;


typedef enum {
    PS_SCHEMA_VALID = 0,
    PS_SCHEMA_INVALID,
    PS_SCHEMA_COSTLY,            /* nothing is known: the budget is used up */
    PS_SCHEMA_MEMORY
} ps_schema_rc_e;


/* where and what; both end with a zero, the detail is ASCII or UTF-8 */

typedef struct {
    char             pointer[PS_SCHEMA_POINTER_SIZE];    /* "#/lines/0/qty" */
    char             detail[PS_SCHEMA_DETAIL_SIZE];
} ps_schema_fault_t;


/*
 * Compiles a file's text, which is kept with the schema.  NULL with a
 * sentence in "error" that names the keyword and its JSON pointer.
 */

ps_schema_t *ps_schema_compile(const char *text, size_t len, char *error,
    size_t size);
void ps_schema_free(ps_schema_t *schema);


/*
 * Checks the document of a tape that was read with PS_JSON_TAPE_UNIQUE and
 * holds the key of a hash.  Tells up to "max" faults and sets *n; stops at
 * the first one where max is 0.  Not for several threads at a time.
 */

ps_schema_rc_e ps_schema_check(const ps_schema_t *schema,
    const ps_json_tape_t *tape, ps_schema_fault_t *faults, size_t max,
    size_t *n);


#endif /* _PS_SCHEMA_H_INCLUDED_ */
