
/*
 * Keywords that hold schemas, and those that hold names.
 */

#include "ps_schema_keywords.h"

#include <stdlib.h>


static ps_schema_member_t *ps_schema_members(ps_schema_t *schema,
    uint32_t value, const ps_schema_keyword_t *kw);
static int ps_schema_compare_names(const void *one, const void *two);
static int ps_schema_compare_members(const void *one, const void *two);


int
ps_schema_read_names(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw)
{
    ps_schema_names_t  *names;

    names = (ps_schema_names_t *) ((char *) node + kw->offset);

    return ps_schema_names(schema, value, names, 1);
}


int
ps_schema_read_schema(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw)
{
    ps_schema_node_t  *child;

    if (kw->offset == ps_schema_offset(items)
        && schema->tape.nodes[value].type == PS_JSON_ARRAY)
    {
        return ps_schema_wrong(schema, value, "\"%s\" must be a schema: an "
                               "array of them is \"prefixItems\"", kw->name);
    }

    child = ps_schema_at(schema, value);

    *(ps_schema_node_t **) ((char *) node + kw->offset) = child;

    return child ? 0 : -1;
}


int
ps_schema_read_list(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw)
{
    uint32_t                at;
    ps_schema_list_t       *list;
    const ps_json_node_t   *nodes;

    nodes = schema->tape.nodes;
    list = (ps_schema_list_t *) ((char *) node + kw->offset);

    if (nodes[value].type != PS_JSON_ARRAY || nodes[value].count == 0) {
        return ps_schema_wrong(schema, value, "\"%s\" must be an array of "
                               "schemas", kw->name);
    }

    list->schemas = ps_schema_alloc(schema, nodes[value].count
                                            * sizeof(ps_schema_node_t *));
    if (list->schemas == NULL) {
        return -1;
    }

    for (at = value + 1; at < nodes[value].end; at = nodes[at].end) {
        list->schemas[list->n] = ps_schema_at(schema, at);

        if (list->schemas[list->n++] == NULL) {
            return -1;
        }
    }

    return 0;
}


/* members with a schema each, as an array that is not sorted yet */

static ps_schema_member_t *
ps_schema_members(ps_schema_t *schema, uint32_t value,
    const ps_schema_keyword_t *kw)
{
    uint32_t               key, n;
    ps_schema_member_t    *members;
    const ps_json_node_t  *nodes;

    nodes = schema->tape.nodes;

    if (nodes[value].type != PS_JSON_OBJECT) {
        ps_schema_wrong(schema, value, "\"%s\" must be an object", kw->name);
        return NULL;
    }

    members = ps_schema_alloc(schema, (nodes[value].count + 1)
                                      * sizeof(ps_schema_member_t));
    if (members == NULL) {
        return NULL;
    }

    n = 0;

    for (key = value + 1; key < nodes[value].end; key = nodes[key + 1].end) {
        members[n].name.text = ps_json_tape_string(&schema->tape, key,
                                                   &members[n].name.len);
        n++;
    }

    return members;
}


int
ps_schema_read_members(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw)
{
    uint32_t               key;
    ps_schema_members_t   *list;
    const ps_json_node_t  *nodes;

    nodes = schema->tape.nodes;
    list = (ps_schema_members_t *) ((char *) node + kw->offset);

    list->members = ps_schema_members(schema, value, kw);
    if (list->members == NULL) {
        return -1;
    }

    for (key = value + 1; key < nodes[value].end; key = nodes[key + 1].end) {
        list->members[list->n].schema = ps_schema_at(schema, key + 1);

        if (list->members[list->n++].schema == NULL) {
            return -1;
        }
    }

    qsort(list->members, list->n, sizeof(ps_schema_member_t),
          ps_schema_compare_members);

    return 0;
}


int
ps_schema_read_patterns(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw)
{
    uint32_t               key;
    ps_schema_member_t    *member;
    const ps_json_node_t  *nodes;

    nodes = schema->tape.nodes;

    node->patterns.members = ps_schema_members(schema, value, kw);
    if (node->patterns.members == NULL) {
        return -1;
    }

    for (key = value + 1; key < nodes[value].end; key = nodes[key + 1].end) {
        member = &node->patterns.members[node->patterns.n++];

        member->regex = ps_schema_regex(schema, key);
        member->schema = ps_schema_at(schema, key + 1);

        if (member->regex == NULL || member->schema == NULL) {
            return -1;
        }
    }

    return 0;
}


int
ps_schema_read_dependencies(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw)
{
    uint32_t               key;
    ps_schema_members_t   *list;
    const ps_json_node_t  *nodes;

    nodes = schema->tape.nodes;
    list = &node->dependencies;

    list->members = ps_schema_members(schema, value, kw);
    if (list->members == NULL) {
        return -1;
    }

    for (key = value + 1; key < nodes[value].end; key = nodes[key + 1].end) {
        if (ps_schema_names(schema, key + 1, &list->members[list->n++].names,
                            1)
            != 0)
        {
            return -1;
        }
    }

    return 0;
}


int
ps_schema_read_defs(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw)
{
    uint32_t               key;
    const ps_json_node_t  *nodes;

    nodes = schema->tape.nodes;

    if (nodes[value].type != PS_JSON_OBJECT) {
        return ps_schema_wrong(schema, value, "\"%s\" must be an object",
                               kw->name);
    }

    (void) node;

    for (key = value + 1; key < nodes[value].end; key = nodes[key + 1].end) {
        if (ps_schema_at(schema, key + 1) == NULL) {
            return -1;
        }
    }

    return 0;
}


int
ps_schema_names(ps_schema_t *schema, uint32_t array,
    ps_schema_names_t *names, int unique)
{
    uint32_t               at, i;
    ps_schema_name_t      *name;
    const ps_json_node_t  *nodes;

    nodes = schema->tape.nodes;

    if (nodes[array].type != PS_JSON_ARRAY) {
        return ps_schema_wrong(schema, array, "an array of strings must "
                               "stand here");
    }

    names->names = ps_schema_alloc(schema, (nodes[array].count + 1)
                                           * sizeof(ps_schema_name_t));
    if (names->names == NULL) {
        return -1;
    }

    for (at = array + 1; at < nodes[array].end; at = nodes[at].end) {

        if (nodes[at].type != PS_JSON_STRING) {
            return ps_schema_wrong(schema, at, "a string must stand here");
        }

        name = &names->names[names->n++];
        name->text = ps_json_tape_string(&schema->tape, at, &name->len);
    }

    qsort(names->names, names->n, sizeof(ps_schema_name_t),
          ps_schema_compare_names);

    for (i = 1; unique && i < names->n; i++) {
        name = &names->names[i];

        if (ps_schema_order(name - 1, name->text, name->len) == 0) {
            return ps_schema_wrong(schema, array, "a name stands twice here");
        }
    }

    return 0;
}


static int
ps_schema_compare_names(const void *one, const void *two)
{
    const ps_schema_name_t  *b = two;

    return ps_schema_order(one, b->text, b->len);
}


static int
ps_schema_compare_members(const void *one, const void *two)
{
    const ps_schema_member_t  *a = one;
    const ps_schema_member_t  *b = two;

    return ps_schema_order(&a->name, b->name.text, b->name.len);
}
