
/*
 * An answer of many cells taken apart: the text before the list, its
 * elements, the text behind it.
 */

#ifndef _PS_CELL_SPLIT_H_INCLUDED_
#define _PS_CELL_SPLIT_H_INCLUDED_


#include <stddef.h>

#include "ps_json_text.h"


/* an element as it is written, and what its ids stand for; 0, or -1 to end */

typedef int (*ps_cell_split_pt)(const ps_json_text_t *element,
    const ps_json_text_t *id, void *data);


typedef struct {
    const ps_json_path_t  *list;        /* of the array in the answer */
    const ps_json_path_t  *id;          /* of the ids in an element */
    unsigned               nid;         /* at most PS_CELL_AXES */

    ps_json_text_t         before;      /* "[" included */
    ps_json_text_t         behind;      /* "]" included */
} ps_cell_split_t;


/*
 * Calls "handler" for each element in order.  "buf" holds at least
 * answer->len bytes; ids may lie there until the next call.  0; -1: it isn't
 * JSON, has no such list, or an element lacks an id; or the handler's word.
 */

int ps_cell_split(ps_cell_split_t *split, const ps_json_text_t *answer,
    char *buf, ps_cell_split_pt handler, void *data);


#endif /* _PS_CELL_SPLIT_H_INCLUDED_ */
