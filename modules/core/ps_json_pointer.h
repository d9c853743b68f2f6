
/*
 * JSON pointers (RFC 6901) over jansson values, with one addition: a token
 * "*" stands for any element of an array and any member of an object.
 */

#ifndef _PS_JSON_POINTER_H_INCLUDED_
#define _PS_JSON_POINTER_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>
#include <jansson.h>


/* tokens of one pointer */

#define PS_JSON_POINTER_MAX_TOKENS  32


typedef enum {
    PS_JSON_POINTER_ALL = 0,     /* every match was visited, perhaps none */
    PS_JSON_POINTER_STOPPED,     /* by the callback */
    PS_JSON_POINTER_MORE         /* there are more matches than "max" */
} ps_json_pointer_rc_e;


typedef struct ps_json_pointer_s  ps_json_pointer_t;


#define PS_JSON_POINTER_NO_INDEX  SIZE_MAX

typedef struct {
    const char  *name;           /* unescaped, ends with a zero */
    size_t       len;
    size_t       index;          /* of an array, when it can be one */
    int          any;            /* "*" */
} ps_json_token_t;


/* a match; all references are borrowed */

typedef struct {
    json_t      *value;
    json_t      *parent;         /* NULL when the value is the document */
    const char  *key;            /* in an object, else NULL */
    size_t       index;          /* in an array */
} ps_json_match_t;


/*
 * Returns non-zero to stop.  It may replace the value of a member or an
 * element that is there, but neither add nor remove any.
 */

typedef int (*ps_json_pointer_pt)(const ps_json_match_t *match, void *data);


/*
 * Compiles "len" bytes of "text", which is not kept.  NULL with *err set to
 * a constant sentence: the text is no pointer (RFC 6901, section 3), has too
 * many tokens, or there is no memory.  To be freed by the caller.
 */

ps_json_pointer_t *ps_json_pointer_parse(const char *text, size_t len,
    const char **err);
void ps_json_pointer_free(ps_json_pointer_t *pointer);

/* its tokens, for who walks over something else than jansson's values */

size_t ps_json_pointer_count(const ps_json_pointer_t *pointer);
const ps_json_token_t *ps_json_pointer_token(
    const ps_json_pointer_t *pointer, size_t i);


/*
 * Calls "handler" for each match in document order, at most "max" times.  A
 * token that leads nowhere (an unknown member, an index past the end, "-",
 * a scalar) is no error: it matches nothing.
 */

ps_json_pointer_rc_e ps_json_pointer_eval(const ps_json_pointer_t *pointer,
    json_t *document, size_t max, ps_json_pointer_pt handler, void *data);


#endif /* _PS_JSON_POINTER_H_INCLUDED_ */
