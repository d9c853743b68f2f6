
/*
 * Reads a schema's file: the schemas in it.
 */

#include "ps_schema_node.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


#define PS_SCHEMA_BLOCK  8192


struct ps_schema_block_s {
    ps_schema_block_t  *next;
    size_t              used;
    size_t              size;
    uint64_t            data[];
};


ps_schema_t *
ps_schema_compile(const char *text, size_t len, char *error, size_t size)
{
    ps_json_rc_e   rc;
    ps_schema_t   *schema;

    schema = calloc(1, sizeof(ps_schema_t));
    if (schema == NULL) {
        snprintf(error, size, "there is no memory");
        return NULL;
    }

    schema->error = error;
    schema->error_size = size;
    schema->text = malloc(len ? len : 1);

    if (schema->text == NULL) {
        snprintf(error, size, "there is no memory");
        goto failed;
    }

    memcpy(schema->text, text, len);

    rc = ps_json_tape_read(&schema->tape, schema->text, len,
                           PS_JSON_TAPE_MAX_DEPTH, PS_JSON_TAPE_UNIQUE);

    if (rc != PS_JSON_OK) {
        snprintf(error, size, "%s, at byte %u", ps_json_tape_error(rc),
                 (unsigned) schema->tape.error);
        goto failed;
    }

    schema->map = calloc(schema->tape.n, sizeof(ps_schema_node_t *));
    if (schema->map == NULL) {
        snprintf(error, size, "there is no memory");
        goto failed;
    }

    schema->root = ps_schema_at(schema, 0);

    if (schema->root == NULL || ps_schema_refs(schema) != 0) {
        goto failed;
    }

    free(schema->map);
    free(schema->refs);
    free(schema->anchors);

    schema->map = NULL;
    schema->refs = NULL;
    schema->anchors = NULL;
    schema->error = NULL;

    return schema;

failed:

    ps_schema_free(schema);

    return NULL;
}


void
ps_schema_free(ps_schema_t *schema)
{
    size_t              i;
    ps_schema_block_t  *block;

    for (i = 0; i < schema->nregexes; i++) {
        ps_schema_regex_free(schema->regexes[i]);
    }

    while (schema->blocks) {
        block = schema->blocks;
        schema->blocks = block->next;
        free(block);
    }

    ps_json_tape_free(&schema->tape);

    free(schema->regexes);
    free(schema->map);
    free(schema->refs);
    free(schema->anchors);
    free(schema->text);
    free(schema);
}


void *
ps_schema_alloc(ps_schema_t *schema, size_t size)
{
    void               *p;
    size_t              room;
    ps_schema_block_t  *block;

    size = (size + 7) & ~(size_t) 7;
    block = schema->blocks;

    if (block == NULL || block->size - block->used < size) {
        room = size > PS_SCHEMA_BLOCK ? size : PS_SCHEMA_BLOCK;

        block = malloc(sizeof(ps_schema_block_t) + room);
        if (block == NULL) {
            snprintf(schema->error, schema->error_size,
                     "there is no memory");
            return NULL;
        }

        block->used = 0;
        block->size = room;
        block->next = schema->blocks;
        schema->blocks = block;
    }

    p = (char *) block->data + block->used;
    block->used += size;

    memset(p, 0, size);

    return p;
}


int
ps_schema_wrong(ps_schema_t *schema, uint32_t at, const char *format, ...)
{
    int      n;
    char     pointer[PS_SCHEMA_POINTER_SIZE];
    va_list  args;

    ps_json_tape_pointer(&schema->tape, at, 0, pointer, sizeof(pointer));

    n = snprintf(schema->error, schema->error_size, "at \"%s\": ", pointer);

    if (n > 0 && (size_t) n < schema->error_size) {
        va_start(args, format);
        vsnprintf(schema->error + n, schema->error_size - (size_t) n, format,
                  args);
        va_end(args);
    }

    return -1;
}


ps_schema_node_t *
ps_schema_at(ps_schema_t *schema, uint32_t at)
{
    uint32_t                key, end;
    ps_schema_node_t       *node;
    const ps_json_node_t   *nodes;

    nodes = schema->tape.nodes;

    if (schema->map[at]) {
        return schema->map[at];
    }

    node = ps_schema_alloc(schema, sizeof(ps_schema_node_t));
    if (node == NULL) {
        return NULL;
    }

    schema->map[at] = node;

    node->at = at;
    node->max_length = UINT32_MAX;
    node->max_items = UINT32_MAX;
    node->max_members = UINT32_MAX;
    node->min_contains = 1;
    node->max_contains = UINT32_MAX;

    switch (nodes[at].type) {

    case PS_JSON_TRUE:
        return node;

    case PS_JSON_FALSE:
        node->never = 1;
        return node;

    case PS_JSON_OBJECT:
        break;

    default:
        ps_schema_wrong(schema, at, "a schema is an object, true or false");
        return NULL;
    }

    end = nodes[at].end;

    for (key = at + 1; key < end; key = nodes[key + 1].end) {
        if (ps_schema_keyword(schema, node, key) != 0) {
            return NULL;
        }
    }

    return node;
}


int
ps_schema_add_pending(ps_schema_t *schema, ps_schema_pending_t **list,
    size_t *n, ps_schema_node_t *node, uint32_t value)
{
    ps_schema_pending_t  *more;

    more = realloc(*list, (*n + 1) * sizeof(ps_schema_pending_t));
    if (more == NULL) {
        snprintf(schema->error, schema->error_size, "there is no memory");
        return -1;
    }

    more[*n].schema = node;
    more[*n].value = value;

    *list = more;
    (*n)++;

    return 0;
}


int
ps_schema_order(const ps_schema_name_t *a, const char *text, size_t len)
{
    if (a->len != len) {
        return a->len < len ? -1 : 1;
    }

    return len ? memcmp(a->text, text, len) : 0;
}


long
ps_schema_find_name(const ps_schema_names_t *names, const char *text,
    size_t len)
{
    int       rc;
    uint32_t  low, high, i;

    low = 0;
    high = names->n;

    while (low < high) {
        i = low + (high - low) / 2;
        rc = ps_schema_order(&names->names[i], text, len);

        if (rc == 0) {
            return i;
        }

        if (rc < 0) {
            low = i + 1;

        } else {
            high = i;
        }
    }

    return -1;
}


ps_schema_member_t *
ps_schema_find_member(const ps_schema_members_t *members, const char *text,
    size_t len)
{
    int       rc;
    uint32_t  low, high, i;

    low = 0;
    high = members->n;

    while (low < high) {
        i = low + (high - low) / 2;
        rc = ps_schema_order(&members->members[i].name, text, len);

        if (rc == 0) {
            return &members->members[i];
        }

        if (rc < 0) {
            low = i + 1;

        } else {
            high = i;
        }
    }

    return NULL;
}
