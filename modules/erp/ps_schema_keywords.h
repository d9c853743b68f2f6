
/*
 * Private to ps_schema_keywords.c and ps_schema_children.c: how keywords are
 * read.
 */

#ifndef _PS_SCHEMA_KEYWORDS_H_INCLUDED_
#define _PS_SCHEMA_KEYWORDS_H_INCLUDED_


#include "ps_schema_node.h"


typedef struct ps_schema_keyword_s  ps_schema_keyword_t;

typedef int (*ps_schema_keyword_pt)(ps_schema_t *schema,
    ps_schema_node_t *node, uint32_t value, const ps_schema_keyword_t *kw);

/* "offset" is of the field in a node; without "read" "hint" says what to do */

struct ps_schema_keyword_s {
    const char            *name;
    ps_schema_keyword_pt   read;
    size_t                 offset;
    const char            *hint;
};


#define ps_schema_offset(field)  offsetof(ps_schema_node_t, field)


/* keywords that hold schemas or names */

int ps_schema_read_names(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw);
int ps_schema_read_schema(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw);
int ps_schema_read_list(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw);
int ps_schema_read_members(ps_schema_t *schema,
    ps_schema_node_t *node, uint32_t value, const ps_schema_keyword_t *kw);
int ps_schema_read_patterns(ps_schema_t *schema,
    ps_schema_node_t *node, uint32_t value, const ps_schema_keyword_t *kw);
int ps_schema_read_dependencies(ps_schema_t *schema,
    ps_schema_node_t *node, uint32_t value, const ps_schema_keyword_t *kw);
int ps_schema_read_defs(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw);


/* an array of strings, sorted; with "unique" none may stand there twice */

int ps_schema_names(ps_schema_t *schema, uint32_t array,
    ps_schema_names_t *names, int unique);

/* the expression at that place; NULL: wrong */

ps_schema_regex_t *ps_schema_regex(ps_schema_t *schema, uint32_t at);


#endif /* _PS_SCHEMA_KEYWORDS_H_INCLUDED_ */
