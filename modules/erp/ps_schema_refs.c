
/*
 * What refers to what in a schema's file.
 */

#include "ps_schema_node.h"

#include <string.h>


/* schemas that look at one value, one in another */

#define PS_SCHEMA_MAX_CHAIN  32


static ps_schema_node_t *ps_schema_resolve(ps_schema_t *schema,
    uint32_t value);
static uint32_t ps_schema_pointer(ps_schema_t *schema, const char *p,
    size_t len);
static int ps_schema_part(const char **p, const char *end, char *dst,
    size_t *len);
static int ps_schema_loops(ps_schema_t *schema, ps_schema_node_t *node);
static int ps_schema_hex(char c);


int
ps_schema_refs(ps_schema_t *schema)
{
    size_t             i;
    uint32_t           at;
    ps_schema_node_t  *node;

    for (i = 0; i < schema->nrefs; i++) {
        node = ps_schema_resolve(schema, schema->refs[i].value);

        if (node == NULL) {
            return ps_schema_wrong(schema, schema->refs[i].value,
                                   "the reference leads to no schema of this "
                                   "file, which must hold all it refers to");
        }

        schema->refs[i].schema->ref = node;
    }

    for (at = 0; at < schema->tape.n; at++) {
        if (schema->map[at] && ps_schema_loops(schema, schema->map[at]) != 0) {
            return -1;
        }
    }

    return 0;
}


/* "#", "#/pointer", "#anchor", each also behind the file's own $id */

static ps_schema_node_t *
ps_schema_resolve(ps_schema_t *schema, uint32_t value)
{
    size_t       i, len, n;
    uint32_t     at;
    const char  *p, *text;

    p = ps_json_tape_string(&schema->tape, value, &len);

    if (schema->id) {
        text = ps_json_tape_string(&schema->tape, schema->id, &n);

        if (n && text[n - 1] == '#') {
            n--;
        }

        if (n && len >= n && memcmp(p, text, n) == 0
            && (len == n || p[n] == '#'))
        {
            p += n;
            len -= n;

            if (len == 0) {
                return schema->root;
            }
        }
    }

    if (len == 0 || *p != '#') {
        return NULL;
    }

    p++;
    len--;

    if (len == 0 || *p == '/') {
        at = ps_schema_pointer(schema, p, len);

        return (at == UINT32_MAX) ? NULL : schema->map[at];
    }

    for (i = 0; i < schema->nanchors; i++) {
        text = ps_json_tape_string(&schema->tape, schema->anchors[i].value,
                                   &n);

        if (n == len && memcmp(text, p, n) == 0) {
            return schema->anchors[i].schema;
        }
    }

    return NULL;
}


/* the place that it leads to, UINT32_MAX: nowhere */

static uint32_t
ps_schema_pointer(ps_schema_t *schema, const char *p, size_t len)
{
    char                   part[512];
    size_t                 n, i, index;
    uint32_t               at, child;
    const char            *end;
    const ps_json_node_t  *nodes;

    nodes = schema->tape.nodes;
    end = p + len;
    at = 0;

    while (p < end) {

        n = sizeof(part);

        if (ps_schema_part(&p, end, part, &n) != 0) {
            return UINT32_MAX;
        }

        if (nodes[at].type == PS_JSON_OBJECT) {
            at = ps_json_tape_get(&schema->tape, at, part, n);

            if (at == 0) {
                return UINT32_MAX;
            }

            continue;
        }

        if (nodes[at].type != PS_JSON_ARRAY || n == 0 || n > 9) {
            return UINT32_MAX;
        }

        for (i = 0, index = 0; i < n; i++) {
            if (part[i] < '0' || part[i] > '9') {
                return UINT32_MAX;
            }

            index = index * 10 + (size_t) (part[i] - '0');
        }

        for (child = at + 1; child < nodes[at].end && index; index--) {
            child = nodes[child].end;
        }

        if (child >= nodes[at].end) {
            return UINT32_MAX;
        }

        at = child;
    }

    return at;
}


/* one part of a pointer in a URI's fragment: %XX, ~0 and ~1 are resolved */

static int
ps_schema_part(const char **p, const char *end, char *dst, size_t *len)
{
    int          c;
    size_t       n;
    const char  *s;

    n = 0;

    for (s = *p + 1; s < end && *s != '/'; s++) {
        c = *s;

        if (c == '%') {
            if (end - s < 3 || ps_schema_hex(s[1]) < 0
                || ps_schema_hex(s[2]) < 0)
            {
                return -1;
            }

            c = ps_schema_hex(s[1]) * 16 + ps_schema_hex(s[2]);
            s += 2;
        }

        if (c == '~') {
            if (++s == end || (*s != '0' && *s != '1')) {
                return -1;
            }

            c = *s == '0' ? '~' : '/';
        }

        if (n == *len) {
            return -1;
        }

        dst[n++] = (char) c;
    }

    *p = s;
    *len = n;

    return 0;
}


/*
 * A schema that refers to itself for the same value would never end, and a
 * long chain would take too much of the stack.
 */

static int
ps_schema_loops(ps_schema_t *schema, ps_schema_node_t *node)
{
    size_t              i, j;
    unsigned            depth;
    ps_schema_list_t   *list;
    ps_schema_node_t   *child;

    ps_schema_list_t    lists[4] = { node->all, node->any, node->one,
                                     { NULL, 0 } };
    ps_schema_node_t   *single[] = { node->ref, node->not, node->condition,
                                     node->then, node->otherwise };

    if (node->visited) {
        return 0;
    }

    if (node->visiting) {
        return ps_schema_wrong(schema, node->at, "the schema refers to "
                               "itself for the same value, which never ends");
    }

    node->visiting = 1;
    depth = 0;

    lists[3].schemas = single;
    lists[3].n = sizeof(single) / sizeof(single[0]);

    for (i = 0; i < 4; i++) {
        list = &lists[i];

        for (j = 0; j < list->n; j++) {
            child = list->schemas[j];

            if (child == NULL) {
                continue;
            }

            if (ps_schema_loops(schema, child) != 0) {
                return -1;
            }

            if (child->depth > depth) {
                depth = child->depth;
            }
        }
    }

    for (i = 0; i < node->dependents.n; i++) {
        child = node->dependents.members[i].schema;

        if (ps_schema_loops(schema, child) != 0) {
            return -1;
        }

        if (child->depth > depth) {
            depth = child->depth;
        }
    }

    if (depth >= PS_SCHEMA_MAX_CHAIN) {
        return ps_schema_wrong(schema, node->at, "more than %d schemas for "
                               "one value, one in another",
                               PS_SCHEMA_MAX_CHAIN);
    }

    node->depth = (depth + 1) & 0xff;
    node->visiting = 0;
    node->visited = 1;

    return 0;
}


static int
ps_schema_hex(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }

    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') {
        return (c | 0x20) - 'a' + 10;
    }

    return -1;
}
