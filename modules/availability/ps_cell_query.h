
/*
 * What a request asks for by lists in its query or in a JSON body, and the
 * same request for some of that.
 */

#ifndef _PS_CELL_QUERY_H_INCLUDED_
#define _PS_CELL_QUERY_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>

#include "ps_json_text.h"
#include "ps_siphash.h"


#define PS_CELL_AXES       2            /* SKUs, locations */
#define PS_CELL_AXIS_MAX   1024         /* values of one */
#define PS_CELL_ID_MAX     128          /* bytes of a value */


typedef struct {
    ps_json_text_t   id;                /* decoded */
    ps_json_text_t   text;              /* in a body: as it is written */
} ps_cell_id_t;


typedef struct {
    ps_json_text_t         name;        /* of the argument, decoded, or */
    const ps_json_path_t  *path;        /* of the list in the body */

    ps_cell_id_t          *id;          /* as asked, those twice too */
    unsigned               n;
    unsigned               asked:1;     /* by a list, be it empty */
    unsigned               repeat:1;    /* sku=A&sku=B, no commas */

    ps_json_text_t         array;       /* its place in a body */
} ps_cell_axis_t;


/*
 * Reads the values of axis->name from a query.  axis->id holds "max" of them;
 * decoded bytes go to *buf, which moves on and has room for "len" bytes.
 * 0; -1: there are more, or a longer one than PS_CELL_ID_MAX.
 */

int ps_cell_query_ids(ps_cell_axis_t *axis, const char *args, size_t len,
    char **buf, unsigned max);

/*
 * How many values there are, be they too long or too many for that.  "buf"
 * has room for "len" bytes.
 */

size_t ps_cell_query_count(const ps_json_text_t *name, const char *args,
    size_t len, char *buf);

/*
 * As ps_cell_query_ids(), of a checked JSON body; -1 also where the list is
 * none of strings and whole numbers.
 */

int ps_cell_body_ids(ps_cell_axis_t *axis, const ps_json_text_t *body,
    char **buf, unsigned max);

/*
 * The query without the axes' arguments: what else decides the answer.  "out"
 * holds at least "len" bytes; returns how many were written.
 */

size_t ps_cell_query_rest(const ps_cell_axis_t *axis, unsigned n,
    const char *args, size_t len, char *out);

/*
 * The query with other values: at the place of the first argument of an axis
 * all of axis->id, in the way that the client wrote them.  size: bytes that
 * this takes at most.
 */

size_t ps_cell_query_size(const ps_cell_axis_t *axis, unsigned n, size_t len);
size_t ps_cell_query_write(const ps_cell_axis_t *axis, unsigned n,
    const char *args, size_t len, char *out);

/* the same with a body, whose lists lie at axis->array of the old one */

size_t ps_cell_body_size(const ps_cell_axis_t *axis, unsigned n, size_t len);
size_t ps_cell_body_write(const ps_cell_axis_t *axis, unsigned n,
    const ps_json_text_t *body, char *out);


/*
 * Which of an axis' ids a text is.  "slot" holds ps_cell_index_size(n)
 * numbers.  init returns how many ids differ; find: the first of that text,
 * or -1.
 */

typedef struct {
    const ps_cell_id_t      *id;
    const ps_siphash_key_t  *key;       /* secret: clients choose the ids */
    unsigned                 mask;
    uint16_t                *slot;
} ps_cell_index_t;

unsigned ps_cell_index_size(unsigned n);
unsigned ps_cell_index_init(ps_cell_index_t *index, const ps_cell_id_t *id,
    unsigned n, const ps_siphash_key_t *key, uint16_t *slot);
int ps_cell_index_find(const ps_cell_index_t *index,
    const ps_json_text_t *text);


#endif /* _PS_CELL_QUERY_H_INCLUDED_ */
