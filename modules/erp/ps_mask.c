
#include "ps_mask.h"

#include <string.h>


/* a node's mark: 0, PS_MASK_REMOVE, PS_MASK_FIRST + index of a mask */

#define PS_MASK_REMOVE  1
#define PS_MASK_FIRST   2
#define PS_MASK_INSIDE  8        /* or that: something inside it is marked */


typedef struct {
    const ps_json_tape_t     *tape;
    const ps_mask_text_t     *masks;
    size_t                    at;    /* copied so far, bytes of the text */
    char                     *dst;
} ps_mask_out_t;


static size_t ps_mask_find(ps_json_tape_t *tape, const ps_mask_rule_t *rule,
    const ps_json_pointer_t *pointer, size_t depth, uint32_t i);
static size_t ps_mask_set(ps_json_node_t *node, const ps_mask_rule_t *rule);
static void ps_mask_value(ps_mask_out_t *out, uint32_t i);
static void ps_mask_inside(ps_mask_out_t *out, uint32_t parent);
static void ps_mask_copy(ps_mask_out_t *out, size_t to);


size_t
ps_mask_mark(ps_json_tape_t *tape, const ps_mask_rule_t *rule)
{
    size_t  i, found;

    found = 0;

    for (i = 0; i < rule->npointers; i++) {
        found += ps_mask_find(tape, rule, rule->pointers[i], 0, 0);
    }

    return found;
}


/* the depth of this recursion is the number of tokens */

static size_t
ps_mask_find(ps_json_tape_t *tape, const ps_mask_rule_t *rule,
    const ps_json_pointer_t *pointer, size_t depth, uint32_t i)
{
    size_t                  n, len, found;
    uint32_t                child, step;
    const char             *name;
    ps_json_node_t         *nodes;
    const ps_json_token_t  *token;

    nodes = tape->nodes;

    if (depth == ps_json_pointer_count(pointer)) {
        return ps_mask_set(&nodes[i], rule);
    }

    if (nodes[i].type < PS_JSON_ARRAY) {
        return 0;
    }

    token = ps_json_pointer_token(pointer, depth);
    step = (nodes[i].type == PS_JSON_OBJECT);
    found = 0;

    for (child = i + 1, n = 0;
         child < nodes[i].end;
         child = nodes[child + step].end, n++)
    {
        if (token->any) {
            /* void */

        } else if (step) {
            name = ps_json_tape_string(tape, child, &len);

            if (len != token->len || memcmp(name, token->name, len) != 0) {
                continue;
            }

        } else if (n != token->index) {
            continue;
        }

        found += ps_mask_find(tape, rule, pointer, depth + 1, child + step);

        if (nodes[child + step].mark) {
            nodes[i].mark |= PS_MASK_INSIDE;
        }

        if (!step && !token->any) {
            break;
        }
    }

    return found;
}


static size_t
ps_mask_set(ps_json_node_t *node, const ps_mask_rule_t *rule)
{
    unsigned  mark, had;

    had = node->mark & ~(unsigned) PS_MASK_INSIDE;
    mark = rule->remove ? PS_MASK_REMOVE : PS_MASK_FIRST + rule->mask;

    if (had == 0 || mark == PS_MASK_REMOVE) {
        node->mark = (node->mark & PS_MASK_INSIDE) | (mark & 7);
    }

    return had == 0;
}


size_t
ps_mask_write(const ps_json_tape_t *tape, const ps_mask_text_t *masks,
    char *dst)
{
    ps_mask_out_t  out;

    out.tape = tape;
    out.masks = masks;
    out.at = 0;
    out.dst = dst;

    if ((tape->nodes[0].mark & 7) == PS_MASK_REMOVE) {
        memcpy(dst, "null", 4);
        return 4;
    }

    ps_mask_value(&out, 0);
    ps_mask_copy(&out, tape->len);

    return (size_t) (out.dst - dst);
}


/* not one that is removed; the document's depth bounds the recursion */

static void
ps_mask_value(ps_mask_out_t *out, uint32_t i)
{
    unsigned               mark;
    const ps_json_node_t  *node;
    const ps_mask_text_t  *mask;

    node = &out->tape->nodes[i];
    mark = node->mark & 7;

    if (mark >= PS_MASK_FIRST) {
        mask = &out->masks[mark - PS_MASK_FIRST];

        ps_mask_copy(out, node->pos);
        memcpy(out->dst, mask->text, mask->len);

        out->dst += mask->len;
        out->at = node->pos + node->len;

    } else if (node->mark & PS_MASK_INSIDE) {
        ps_mask_inside(out, i);
    }
}


/*
 * What is removed takes the comma before it along, or, where nothing before
 * it is left, the one behind it.
 */

static void
ps_mask_inside(ps_mask_out_t *out, uint32_t parent)
{
    size_t                 left;         /* where the last one kept ends */
    unsigned               kept;
    uint32_t               child, step, next;
    const ps_json_node_t  *nodes, *node;

    nodes = out->tape->nodes;
    step = (nodes[parent].type == PS_JSON_OBJECT);

    left = nodes[parent].pos + 1;
    kept = 0;

    for (child = parent + 1; child < nodes[parent].end; child = next) {
        node = &nodes[child + step];
        next = node->end;

        if ((node->mark & 7) == PS_MASK_REMOVE) {
            ps_mask_copy(out, left);

            out->at = kept || next == nodes[parent].end
                      ? node->pos + node->len : nodes[next].pos;
            continue;
        }

        ps_mask_value(out, child + step);

        left = node->pos + node->len;
        kept = 1;
    }
}


static void
ps_mask_copy(ps_mask_out_t *out, size_t to)
{
    size_t  n;

    if (to <= out->at) {
        return;
    }

    n = to - out->at;

    memcpy(out->dst, out->tape->text + out->at, n);

    out->dst += n;
    out->at = to;
}
