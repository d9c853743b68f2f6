
/*
 * The keywords of JSON Schema 2020-12: each reads its value, or says why it
 * can't.
 */

#include "ps_schema_keywords.h"

#include <stdlib.h>
#include <string.h>


static int ps_schema_read_nothing(ps_schema_t *schema,
    ps_schema_node_t *node, uint32_t value, const ps_schema_keyword_t *kw);
static int ps_schema_read_dialect(ps_schema_t *schema,
    ps_schema_node_t *node, uint32_t value, const ps_schema_keyword_t *kw);
static int ps_schema_read_id(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw);
static int ps_schema_read_anchor(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw);
static int ps_schema_read_ref(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw);
static int ps_schema_read_type(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw);
static int ps_schema_read_const(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw);
static int ps_schema_read_enum(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw);
static int ps_schema_read_number(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw);
static int ps_schema_read_multiple(ps_schema_t *schema,
    ps_schema_node_t *node, uint32_t value, const ps_schema_keyword_t *kw);
static int ps_schema_read_count(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw);
static int ps_schema_read_pattern(ps_schema_t *schema,
    ps_schema_node_t *node, uint32_t value, const ps_schema_keyword_t *kw);
static int ps_schema_read_format(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw);
static int ps_schema_read_unique(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw);


static const ps_schema_keyword_t  ps_schema_keywords[] = {

    /* annotations, which assert nothing */

    { "title", ps_schema_read_nothing, 0, NULL },
    { "description", ps_schema_read_nothing, 0, NULL },
    { "default", ps_schema_read_nothing, 0, NULL },
    { "examples", ps_schema_read_nothing, 0, NULL },
    { "deprecated", ps_schema_read_nothing, 0, NULL },
    { "readOnly", ps_schema_read_nothing, 0, NULL },
    { "writeOnly", ps_schema_read_nothing, 0, NULL },
    { "$comment", ps_schema_read_nothing, 0, NULL },

    { "$schema", ps_schema_read_dialect, 0, NULL },
    { "$id", ps_schema_read_id, 0, NULL },
    { "$anchor", ps_schema_read_anchor, 0, NULL },
    { "$ref", ps_schema_read_ref, 0, NULL },
    { "$defs", ps_schema_read_defs, 0, NULL },

    { "type", ps_schema_read_type, 0, NULL },
    { "const", ps_schema_read_const, 0, NULL },
    { "enum", ps_schema_read_enum, 0, NULL },

    { "minimum", ps_schema_read_number, ps_schema_offset(minimum), NULL },
    { "maximum", ps_schema_read_number, ps_schema_offset(maximum), NULL },
    { "exclusiveMinimum", ps_schema_read_number, ps_schema_offset(above),
      NULL },
    { "exclusiveMaximum", ps_schema_read_number, ps_schema_offset(below),
      NULL },
    { "multipleOf", ps_schema_read_multiple, 0, NULL },

    { "minLength", ps_schema_read_count, ps_schema_offset(min_length), NULL },
    { "maxLength", ps_schema_read_count, ps_schema_offset(max_length), NULL },
    { "minItems", ps_schema_read_count, ps_schema_offset(min_items), NULL },
    { "maxItems", ps_schema_read_count, ps_schema_offset(max_items), NULL },
    { "minProperties", ps_schema_read_count, ps_schema_offset(min_members),
      NULL },
    { "maxProperties", ps_schema_read_count, ps_schema_offset(max_members),
      NULL },
    { "minContains", ps_schema_read_count, ps_schema_offset(min_contains),
      NULL },
    { "maxContains", ps_schema_read_count, ps_schema_offset(max_contains),
      NULL },

    { "pattern", ps_schema_read_pattern, 0, NULL },
    { "format", ps_schema_read_format, 0, NULL },
    { "uniqueItems", ps_schema_read_unique, 0, NULL },
    { "required", ps_schema_read_names, ps_schema_offset(required), NULL },
    { "dependentRequired", ps_schema_read_dependencies, 0, NULL },

    { "properties", ps_schema_read_members, ps_schema_offset(properties),
      NULL },
    { "patternProperties", ps_schema_read_patterns, 0, NULL },
    { "dependentSchemas", ps_schema_read_members,
      ps_schema_offset(dependents), NULL },
    { "additionalProperties", ps_schema_read_schema,
      ps_schema_offset(additional), NULL },
    { "propertyNames", ps_schema_read_schema, ps_schema_offset(names), NULL },
    { "unevaluatedProperties", ps_schema_read_schema,
      ps_schema_offset(rest_members), NULL },

    { "prefixItems", ps_schema_read_list, ps_schema_offset(prefix), NULL },
    { "items", ps_schema_read_schema, ps_schema_offset(items), NULL },
    { "contains", ps_schema_read_schema, ps_schema_offset(contains), NULL },
    { "unevaluatedItems", ps_schema_read_schema, ps_schema_offset(rest_items),
      NULL },

    { "allOf", ps_schema_read_list, ps_schema_offset(all), NULL },
    { "anyOf", ps_schema_read_list, ps_schema_offset(any), NULL },
    { "oneOf", ps_schema_read_list, ps_schema_offset(one), NULL },
    { "not", ps_schema_read_schema, ps_schema_offset(not), NULL },
    { "if", ps_schema_read_schema, ps_schema_offset(condition), NULL },
    { "then", ps_schema_read_schema, ps_schema_offset(then), NULL },
    { "else", ps_schema_read_schema, ps_schema_offset(otherwise), NULL },

    /* of older drafts: they would be ignored in this one */

    { "definitions", NULL, 0, "write \"$defs\"" },
    { "dependencies", NULL, 0, "write \"dependentRequired\" or "
      "\"dependentSchemas\"" },
    { "additionalItems", NULL, 0, "write \"prefixItems\" and \"items\"" },
    { "id", NULL, 0, "write \"$id\"" },

    /* of this draft, but they assert nothing that is checked here */

    { "contentEncoding", NULL, 0, "it asserts nothing, remove it" },
    { "contentMediaType", NULL, 0, "it asserts nothing, remove it" },
    { "contentSchema", NULL, 0, "it asserts nothing, remove it" },
    { "$dynamicRef", NULL, 0, "use \"$ref\"" },
    { "$dynamicAnchor", NULL, 0, "use \"$anchor\"" },
    { "$recursiveRef", NULL, 0, "use \"$ref\"" }
};


int
ps_schema_keyword(ps_schema_t *schema, ps_schema_node_t *node, uint32_t key)
{
    size_t                      i, len;
    const char                 *name;
    const ps_schema_keyword_t  *kw;

    name = ps_json_tape_string(&schema->tape, key, &len);

    for (i = 0;
         i < sizeof(ps_schema_keywords) / sizeof(ps_schema_keywords[0]);
         i++)
    {
        kw = &ps_schema_keywords[i];

        if (strlen(kw->name) != len || memcmp(kw->name, name, len) != 0) {
            continue;
        }

        if (kw->read == NULL) {
            return ps_schema_wrong(schema, key, "the keyword \"%s\" is not "
                                   "supported: %s", kw->name, kw->hint);
        }

        return kw->read(schema, node, key + 1, kw);
    }

    return ps_schema_wrong(schema, key, "the keyword \"%.*s\" is not "
                           "supported: correct its name, or remove it",
                           (int) (len > 64 ? 64 : len), name);
}


static int
ps_schema_read_nothing(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw)
{
    (void) schema;
    (void) node;
    (void) value;
    (void) kw;

    return 0;
}


static int
ps_schema_read_dialect(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw)
{
    size_t       len;
    const char  *text;

    static const char  dialect[] =
                              "https://json-schema.org/draft/2020-12/schema";

    if (schema->tape.nodes[value].type == PS_JSON_STRING) {
        text = ps_json_tape_string(&schema->tape, value, &len);

        if (len && text[len - 1] == '#') {
            len--;
        }

        if (len == sizeof(dialect) - 1 && memcmp(text, dialect, len) == 0) {
            return 0;
        }
    }

    (void) node;

    return ps_schema_wrong(schema, value, "\"%s\" must be \"%s\": no other "
                           "draft is supported", kw->name, dialect);
}


static int
ps_schema_read_id(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw)
{
    if (schema->tape.nodes[value].type != PS_JSON_STRING) {
        return ps_schema_wrong(schema, value, "\"%s\" must be a string",
                               kw->name);
    }

    if (node->at != 0) {
        return ps_schema_wrong(schema, value, "\"%s\" is supported at the "
                               "top of the file only: use \"$anchor\" inside",
                               kw->name);
    }

    schema->id = value;

    return 0;
}


static int
ps_schema_read_anchor(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw)
{
    size_t       i, n, len;
    const char  *text, *other;

    if (schema->tape.nodes[value].type != PS_JSON_STRING) {
        return ps_schema_wrong(schema, value, "\"%s\" must be a string",
                               kw->name);
    }

    text = ps_json_tape_string(&schema->tape, value, &len);

    if (len == 0 || memchr(text, '/', len) || memchr(text, '#', len)) {
        return ps_schema_wrong(schema, value, "\"%s\" must be a name without "
                               "\"/\" and \"#\"", kw->name);
    }

    for (i = 0; i < schema->nanchors; i++) {
        other = ps_json_tape_string(&schema->tape,
                                    schema->anchors[i].value, &n);

        if (n == len && memcmp(text, other, n) == 0) {
            return ps_schema_wrong(schema, value, "there is another "
                                   "\"%s\" of that name", kw->name);
        }
    }

    return ps_schema_add_pending(schema, &schema->anchors, &schema->nanchors,
                                 node, value);
}


static int
ps_schema_read_ref(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw)
{
    if (schema->tape.nodes[value].type != PS_JSON_STRING) {
        return ps_schema_wrong(schema, value, "\"%s\" must be a string",
                               kw->name);
    }

    return ps_schema_add_pending(schema, &schema->refs, &schema->nrefs, node,
                                 value);
}


static int
ps_schema_read_type(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw)
{
    size_t                 i, len;
    uint32_t               at, end;
    const char            *text;
    const ps_json_node_t  *nodes;

    static const char  *types[] = { "null", "boolean", "integer", "number",
                                    "string", "array", "object" };

    nodes = schema->tape.nodes;
    at = value;
    end = value + 1;

    if (nodes[value].type == PS_JSON_ARRAY) {
        at = value + 1;
        end = nodes[value].end;
    }

    for ( /* void */ ; at < end; at = nodes[at].end) {

        if (nodes[at].type != PS_JSON_STRING) {
            goto wrong;
        }

        text = ps_json_tape_string(&schema->tape, at, &len);

        for (i = 0; i < 7; i++) {
            if (strlen(types[i]) == len && memcmp(types[i], text, len) == 0) {
                break;
            }
        }

        if (i == 7) {
            goto wrong;
        }

        node->types |= 1u << i;
    }

    if (node->types == 0) {
        goto wrong;
    }

    return 0;

wrong:

    return ps_schema_wrong(schema, at < end ? at : value, "\"%s\" must be "
                           "null, boolean, integer, number, string, array, "
                           "object, or an array of these", kw->name);
}


static int
ps_schema_read_const(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw)
{
    (void) schema;
    (void) kw;

    node->constant = value;

    return 0;
}


static int
ps_schema_read_enum(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw)
{
    uint32_t               at;
    const ps_json_node_t  *nodes;

    nodes = schema->tape.nodes;

    if (nodes[value].type != PS_JSON_ARRAY || nodes[value].count == 0) {
        return ps_schema_wrong(schema, value, "\"%s\" must be an array of "
                               "values", kw->name);
    }

    node->enumeration = value;

    for (at = value + 1; at < nodes[value].end; at = nodes[at].end) {
        if (nodes[at].type != PS_JSON_STRING) {
            return 0;
        }
    }

    return ps_schema_names(schema, value, &node->words, 0);
}


static int
ps_schema_read_number(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw)
{
    ps_number_t           *number;
    const ps_json_node_t  *n;

    n = &schema->tape.nodes[value];

    if (n->type != PS_JSON_NUMBER) {
        return ps_schema_wrong(schema, value, "\"%s\" must be a number",
                               kw->name);
    }

    number = ps_schema_alloc(schema, sizeof(ps_number_t));
    if (number == NULL) {
        return -1;
    }

    ps_number_read(number, schema->tape.text + n->pos, n->len);

    *(ps_number_t **) ((char *) node + kw->offset) = number;

    return 0;
}


static int
ps_schema_read_multiple(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw)
{
    ps_number_t            number;
    const ps_json_node_t  *n;

    n = &schema->tape.nodes[value];

    node->multiple = ps_schema_alloc(schema, sizeof(ps_divisor_t));
    if (node->multiple == NULL) {
        return -1;
    }

    if (n->type == PS_JSON_NUMBER) {
        ps_number_read(&number, schema->tape.text + n->pos, n->len);

        if (ps_number_divisor(&number, node->multiple) == 0) {
            return 0;
        }
    }

    return ps_schema_wrong(schema, value, "\"%s\" must be a number above 0 "
                           "of at most 18 digits", kw->name);
}


static int
ps_schema_read_count(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw)
{
    uint32_t              *count;
    ps_number_t            number;
    const ps_json_node_t  *n;

    n = &schema->tape.nodes[value];
    count = (uint32_t *) ((char *) node + kw->offset);

    if (n->type == PS_JSON_NUMBER) {
        ps_number_read(&number, schema->tape.text + n->pos, n->len);

        if (ps_number_count(&number, count) == 0) {
            return 0;
        }
    }

    return ps_schema_wrong(schema, value, "\"%s\" must be an integer of 0 to "
                           "4294967295", kw->name);
}


static int
ps_schema_read_pattern(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw)
{
    if (schema->tape.nodes[value].type != PS_JSON_STRING) {
        return ps_schema_wrong(schema, value, "\"%s\" must be a string",
                               kw->name);
    }

    node->pattern = ps_schema_regex(schema, value);

    return node->pattern ? 0 : -1;
}


static int
ps_schema_read_format(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw)
{
    size_t       len;
    const char  *text;

    if (schema->tape.nodes[value].type == PS_JSON_STRING) {
        text = ps_json_tape_string(&schema->tape, value, &len);

        node->format = ps_schema_format(text, len);

        if (node->format) {
            return 0;
        }
    }

    return ps_schema_wrong(schema, value, "this \"%s\" is not supported, "
                           "date-time, date, time, uuid, email and uri are: "
                           "use one of these or \"pattern\"", kw->name);
}


static int
ps_schema_read_unique(ps_schema_t *schema, ps_schema_node_t *node,
    uint32_t value, const ps_schema_keyword_t *kw)
{
    switch (schema->tape.nodes[value].type) {

    case PS_JSON_TRUE:
        node->unique = 1;
        return 0;

    case PS_JSON_FALSE:
        return 0;

    default:
        return ps_schema_wrong(schema, value, "\"%s\" must be true or false",
                               kw->name);
    }
}


ps_schema_regex_t *
ps_schema_regex(ps_schema_t *schema, uint32_t at)
{
    char                 error[256];
    size_t               len;
    const char          *text;
    ps_schema_regex_t   *regex, **more;

    text = ps_json_tape_string(&schema->tape, at, &len);

    more = realloc(schema->regexes, (schema->nregexes + 1)
                                    * sizeof(ps_schema_regex_t *));
    if (more == NULL) {
        ps_schema_wrong(schema, at, "there is no memory");
        return NULL;
    }

    schema->regexes = more;

    regex = ps_schema_regex_compile(text, len, error, sizeof(error));
    if (regex == NULL) {
        ps_schema_wrong(schema, at, "this regular expression can't be used: "
                        "%s", error);
        return NULL;
    }

    schema->regexes[schema->nregexes++] = regex;

    return regex;
}
