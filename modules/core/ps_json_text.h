
/*
 * JSON as text (RFC 8259): where a value begins and ends, so that it can be
 * cut out and put elsewhere byte for byte.  Nothing is allocated, nothing is
 * made of numbers or strings but what is asked for.
 */

#ifndef _PS_JSON_TEXT_H_INCLUDED_
#define _PS_JSON_TEXT_H_INCLUDED_


#include <stddef.h>


#define PS_JSON_TEXT_DEPTH   64         /* arrays and objects in each other */
#define PS_JSON_PATH_MAX     8          /* tokens of a path */


typedef struct {
    const char  *data;                  /* not terminated */
    size_t       len;
} ps_json_text_t;


/* a JSON pointer (RFC 6901) without wildcards, its tokens decoded */

typedef struct {
    ps_json_text_t   token[PS_JSON_PATH_MAX];
    unsigned         n;
} ps_json_path_t;


/*
 * Reads "len" bytes of a pointer.  Tokens are decoded into "buf", which holds
 * at least "len" bytes and must outlive the path.  NULL, or what is wrong.
 */

const char *ps_json_path_parse(ps_json_path_t *path, const char *text,
    size_t len, char *buf);


/*
 * 0: "len" bytes are one strict JSON text: no name without a colon, no
 * control character or half escape in a string, no leading zero, nothing
 * behind it, at most PS_JSON_TEXT_DEPTH deep.  -1: they aren't.
 */

int ps_json_text_check(const char *text, size_t len);


/*
 * The value at "path" in a text that was checked.  0; -1: there is none, or
 * an object on the way has the next name twice.
 */

int ps_json_text_find(const ps_json_text_t *text, const ps_json_path_t *path,
    ps_json_text_t *value);


/*
 * The elements of an array that was checked, one by one: set *p to
 * array->data first.  1: "value" is the next one; 0: there are no more; -1:
 * it is no array.
 */

int ps_json_text_next(const ps_json_text_t *array, const char **p,
    ps_json_text_t *value);


/*
 * The bytes that a checked string stands for, or the digits of a whole
 * number as they are written: what a client asks for it by.  "buf" holds at
 * least value->len bytes; it is used only where the string has escapes.  0;
 * -1: it is neither, or a string with half a surrogate pair or a zero byte.
 */

int ps_json_text_id(const ps_json_text_t *value, char *buf,
    ps_json_text_t *id);


#endif /* _PS_JSON_TEXT_H_INCLUDED_ */
