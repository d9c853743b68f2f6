
/*
 * Takes values out of a JSON text by JSON pointers, or puts a mask in their
 * place.  All else survives byte for byte.
 */

#ifndef _PS_MASK_H_INCLUDED_
#define _PS_MASK_H_INCLUDED_


#include <stddef.h>

#include "ps_json_pointer.h"
#include "ps_json_tape.h"


/* different masks that one document can have */

#define PS_MASK_MAX_MASKS  6


/* pointers, and what comes in the place of what they find */

typedef struct {
    ps_json_pointer_t  **pointers;
    size_t               npointers;
    unsigned             mask;       /* an index into masks, or ... */
    unsigned             remove;     /* ... nothing at all */
} ps_mask_rule_t;


/* a JSON text, such as "***" in quotes */

typedef struct {
    const char          *text;
    size_t               len;
} ps_mask_text_t;


/*
 * Marks what the rule's pointers find; of two members of one name both.
 * What one rule removes no other masks.  Returns the number of values marked
 * that had not been marked.
 */

size_t ps_mask_mark(ps_json_tape_t *tape, const ps_mask_rule_t *rule);

/*
 * Writes the document without the marked values, with one comma less for
 * each that is gone; a whole document that is removed leaves "null".  "dst"
 * needs tape->len bytes, 4 at least, and for each value marked the longest
 * mask's length.  Returns the number of bytes written.
 */

size_t ps_mask_write(const ps_json_tape_t *tape, const ps_mask_text_t *masks,
    char *dst);


#endif /* _PS_MASK_H_INCLUDED_ */
