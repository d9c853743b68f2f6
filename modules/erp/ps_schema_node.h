
/*
 * Private to ps_schema*.c: a compiled schema.
 */

#ifndef _PS_SCHEMA_NODE_H_INCLUDED_
#define _PS_SCHEMA_NODE_H_INCLUDED_


#include "ps_number.h"
#include "ps_schema.h"
#include "ps_schema_format.h"
#include "ps_schema_regex.h"


/* types, as bits; an integer is a number too */

#define PS_SCHEMA_T_NULL      0x01
#define PS_SCHEMA_T_BOOLEAN   0x02
#define PS_SCHEMA_T_INTEGER   0x04
#define PS_SCHEMA_T_NUMBER    0x08
#define PS_SCHEMA_T_STRING    0x10
#define PS_SCHEMA_T_ARRAY     0x20
#define PS_SCHEMA_T_OBJECT    0x40


typedef struct ps_schema_node_s  ps_schema_node_t;


/* slices of the schema's tape; sorted by length, then bytes */

typedef struct {
    const char               *text;
    size_t                    len;
} ps_schema_name_t;

typedef struct {
    ps_schema_name_t         *names;
    uint32_t                  n;
} ps_schema_names_t;


/* a name with a schema (sorted as above), with names, or with a pattern */

typedef struct {
    ps_schema_name_t          name;
    ps_schema_node_t         *schema;
    ps_schema_names_t         names;
    ps_schema_regex_t        *regex;
} ps_schema_member_t;

typedef struct {
    ps_schema_member_t       *members;
    uint32_t                  n;
} ps_schema_members_t;


typedef struct {
    ps_schema_node_t        **schemas;
    uint32_t                  n;
} ps_schema_list_t;


struct ps_schema_node_s {
    uint32_t                  at;            /* on the schema's tape */
    unsigned                  never:1;       /* false */
    unsigned                  unique:1;
    unsigned                  visiting:1;    /* for the check for loops */
    unsigned                  visited:1;
    unsigned                  depth:8;       /* schemas for one value */

    unsigned                  types;         /* 0: any */

    uint32_t                  constant;      /* on the schema's tape, or 0 */
    uint32_t                  enumeration;
    ps_schema_names_t         words;         /* of an enum of strings only */

    ps_number_t              *minimum;
    ps_number_t              *maximum;
    ps_number_t              *above;         /* exclusiveMinimum */
    ps_number_t              *below;
    ps_divisor_t             *multiple;

    uint32_t                  min_length;
    uint32_t                  max_length;    /* UINT32_MAX: no limit */
    uint32_t                  min_items;
    uint32_t                  max_items;
    uint32_t                  min_members;
    uint32_t                  max_members;
    uint32_t                  min_contains;
    uint32_t                  max_contains;

    ps_schema_regex_t        *pattern;
    const ps_schema_format_t *format;

    ps_schema_members_t       properties;
    ps_schema_members_t       patterns;
    ps_schema_members_t       dependents;
    ps_schema_members_t       dependencies;  /* with names */
    ps_schema_names_t         required;

    ps_schema_list_t          prefix;
    ps_schema_list_t          all;
    ps_schema_list_t          any;
    ps_schema_list_t          one;

    ps_schema_node_t         *additional;
    ps_schema_node_t         *names;
    ps_schema_node_t         *items;
    ps_schema_node_t         *contains;
    ps_schema_node_t         *not;
    ps_schema_node_t         *condition;
    ps_schema_node_t         *then;
    ps_schema_node_t         *otherwise;
    ps_schema_node_t         *ref;
    ps_schema_node_t         *rest_items;    /* unevaluatedItems */
    ps_schema_node_t         *rest_members;
};


typedef struct ps_schema_block_s  ps_schema_block_t;

typedef struct {
    ps_schema_node_t         *schema;        /* that has it */
    uint32_t                  value;         /* of "$ref" or "$anchor" */
} ps_schema_pending_t;


struct ps_schema_s {
    ps_json_tape_t            tape;
    char                     *text;
    ps_schema_node_t         *root;
    ps_schema_block_t        *blocks;
    ps_schema_regex_t       **regexes;
    size_t                    nregexes;

    /* while it is compiled */

    ps_schema_node_t        **map;           /* by place on the tape */
    ps_schema_pending_t      *refs;
    size_t                    nrefs;
    ps_schema_pending_t      *anchors;
    size_t                    nanchors;
    uint32_t                  id;
    char                     *error;
    size_t                    error_size;
};


/* zeroed memory that lives as long as the schema; NULL sets its error */

void *ps_schema_alloc(ps_schema_t *schema, size_t size);

/* -1, with "AT: MESSAGE" as its error */

int ps_schema_wrong(ps_schema_t *schema, uint32_t at, const char *format,
    ...) __attribute__((format(printf, 3, 4)));

/* the schema at that place, compiled if it is not yet; NULL: wrong */

ps_schema_node_t *ps_schema_at(ps_schema_t *schema, uint32_t at);

/* reads one keyword, whose name stands at "key": 0 or -1 */

int ps_schema_keyword(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t key);

/* adds a pending $ref or $anchor to a list of *n: 0 or -1 */

int ps_schema_add_pending(ps_schema_t *schema, ps_schema_pending_t **list,
    size_t *n, ps_schema_node_t *node, uint32_t value);

/*
 * Once all is read: finds what each pending $ref leads to, and refuses what
 * would never end: 0 or -1.
 */

int ps_schema_refs(ps_schema_t *schema);


/* the index of a name in a sorted list, or -1 */

long ps_schema_find_name(const ps_schema_names_t *names, const char *text,
    size_t len);
ps_schema_member_t *ps_schema_find_member(const ps_schema_members_t *members,
    const char *text, size_t len);

/* a sorted list's order */

int ps_schema_order(const ps_schema_name_t *a, const char *text, size_t len);


/* whether two values are equal as JSON Schema has it: 1 is 1.0 */

int ps_schema_equal(const ps_json_tape_t *one, uint32_t a,
    const ps_json_tape_t *two, uint32_t b);

/*
 * The index among its elements of one that is equal to an earlier one, 0
 * where there is none, or UINT32_MAX when there is no memory.  *budget pays
 * for it.
 */

uint32_t ps_schema_repeated(const ps_json_tape_t *tape, uint32_t array,
    int64_t *budget);


#endif /* _PS_SCHEMA_NODE_H_INCLUDED_ */
