
/*
 * A JSON document (RFC 8259) as a flat list of its values, each with its
 * place in the text: nothing is converted, so that 10.00 stays 10.00 and an
 * integer of any size keeps its digits.  For bodies from anybody: the depth
 * and the size are bounded, the work is linear, nothing recurses.
 */

#ifndef _PS_JSON_TAPE_H_INCLUDED_
#define _PS_JSON_TAPE_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>

#include "ps_siphash.h"


#define PS_JSON_TAPE_MAX_SIZE   0xfffff0    /* bytes of text: just below 16M */
#define PS_JSON_TAPE_MAX_DEPTH  128         /* arrays and objects in another */


typedef enum {
    PS_JSON_NULL = 0,
    PS_JSON_FALSE,
    PS_JSON_TRUE,
    PS_JSON_NUMBER,
    PS_JSON_STRING,
    PS_JSON_ARRAY,
    PS_JSON_OBJECT
} ps_json_type_e;


typedef enum {
    PS_JSON_OK = 0,
    PS_JSON_INVALID,             /* no JSON, or not UTF-8 */
    PS_JSON_TRUNCATED,           /* it ends too early */
    PS_JSON_DEEP,                /* deeper than allowed */
    PS_JSON_DUPLICATE,           /* two members of one name */
    PS_JSON_LARGE,               /* longer than PS_JSON_TAPE_MAX_SIZE */
    PS_JSON_MEMORY
} ps_json_rc_e;


/*
 * The values in the order of the text: behind an array come its elements,
 * behind an object its members, each a string (the name) and a value.
 */

typedef struct {
    uint32_t         pos;        /* of its text, bytes into the document */
    uint32_t         len;        /* of its text; a string's with quotes */
    uint32_t         end;        /* index of the value behind all inside it */
    unsigned         type:3;     /* ps_json_type_e */
    unsigned         escaped:1;  /* a string that holds "\" */
    unsigned         mark:4;     /* for the user; 0 at first */
    unsigned         count:24;   /* elements, members; a string's bytes */
} ps_json_node_t;


/* zeroed before its first use; may be used again and again */

typedef struct {
    const char      *text;       /* the document; kept by the caller */
    size_t           len;
    ps_json_node_t  *nodes;
    uint32_t         n;
    uint32_t         error;      /* where it is wrong, bytes */
    uint32_t         depth;      /* 1 for an array of numbers */
    ps_siphash_key_t key;        /* set by the caller: random bytes */

    /* private */

    uint32_t         size;
    char            *strings;
    size_t           strings_size;
    uint64_t        *hashes;
    uint32_t         hashes_size;
} ps_json_tape_t;


#define PS_JSON_TAPE_UNIQUE  1   /* equal names in an object are an error */


/*
 * Reads "len" bytes of text, which must stay as they are while the tape is
 * used.  "depth" is at most PS_JSON_TAPE_MAX_DEPTH.  A string must be UTF-8,
 * and its escapes whole characters (RFC 7493, section 2.1).
 */

ps_json_rc_e ps_json_tape_read(ps_json_tape_t *tape, const char *text,
    size_t len, unsigned depth, unsigned flags);

/*
 * For ps_json_tape_read(): PS_JSON_DUPLICATE, with the place of the second,
 * where two members of the object have the same name.
 */

ps_json_rc_e ps_json_tape_unique(ps_json_tape_t *tape, uint32_t object);

/* frees what the tape holds; it may be used again */

void ps_json_tape_free(ps_json_tape_t *tape);

/* frees it when it has grown beyond "nodes" */

void ps_json_tape_trim(ps_json_tape_t *tape, uint32_t nodes);


/* a string's characters without quotes and escapes; may hold zero bytes */

const char *ps_json_tape_string(const ps_json_tape_t *tape, uint32_t i,
    size_t *len);

/* the value of a member, 0 where there is none (no member's is the first) */

uint32_t ps_json_tape_get(const ps_json_tape_t *tape, uint32_t object,
    const char *name, size_t len);

/*
 * Writes the JSON pointer (RFC 6901) of the value i, or of the member whose
 * name it is, with a zero behind it; with "uri" as a URI fragment (section
 * 6).  One that would not fit into "size" bytes ends at the value around it.
 */

void ps_json_tape_pointer(const ps_json_tape_t *tape, uint32_t i, int uri,
    char *dst, size_t size);

/* a constant sentence, without the place */

const char *ps_json_tape_error(ps_json_rc_e rc);


#endif /* _PS_JSON_TAPE_H_INCLUDED_ */
