
/*
 * Objects and arrays: their members and elements, and what was found wrong.
 */

#include "ps_schema_run.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


static int ps_schema_members(ps_schema_run_t *run, const ps_schema_node_t *s,
    uint32_t i, size_t seen);
static int ps_schema_member(ps_schema_run_t *run, const ps_schema_node_t *s,
    uint32_t key, int *looked);
static int ps_schema_required(ps_schema_run_t *run,
    const ps_schema_names_t *names, uint32_t i);
static int ps_schema_contains(ps_schema_run_t *run, const ps_schema_node_t *s,
    uint32_t i, size_t seen);


int
ps_schema_object(ps_schema_run_t *run, const ps_schema_node_t *s, uint32_t i,
    size_t seen)
{
    int                  valid;
    uint32_t             n, count;
    ps_schema_member_t  *member;

    valid = 1;
    count = run->tape->nodes[i].count;

    if (count < s->min_members) {
        valid = ps_schema_fault(run, i, "must have at least %u members",
                                (unsigned) s->min_members);
    }

    if (count > s->max_members) {
        valid = ps_schema_fault(run, i, "must have at most %u members",
                                (unsigned) s->max_members);
    }

    if (s->required.n && !ps_schema_required(run, &s->required, i)) {
        valid = 0;
    }

    for (n = 0; n < s->dependencies.n; n++) {
        member = &s->dependencies.members[n];

        run->budget -= count;

        if (ps_json_tape_get(run->tape, i, member->name.text,
                             member->name.len)
            && !ps_schema_required(run, &member->names, i))
        {
            valid = 0;
        }
    }

    if (!valid && ps_schema_enough(run)) {
        return 0;
    }

    if (s->properties.n || s->patterns.n || s->additional || s->names) {
        valid &= ps_schema_members(run, s, i, seen);
    }

    return valid;
}


/* names are few, or as many as the schema says: each is looked for */

static int
ps_schema_required(ps_schema_run_t *run, const ps_schema_names_t *names,
    uint32_t i)
{
    int                    valid;
    size_t                 len;
    uint32_t               key, end, n, found;
    const char            *text;
    const ps_json_node_t  *nodes;

    nodes = run->tape->nodes;
    end = nodes[i].end;
    found = 0;

    /* no two members have the same name: so it is enough to count */

    for (key = i + 1; key < end; key = nodes[key + 1].end) {
        text = ps_json_tape_string(run->tape, key, &len);
        found += (ps_schema_find_name(names, text, len) >= 0);
    }

    run->budget -= nodes[i].count / 4;

    if (found == names->n) {
        return 1;
    }

    valid = 1;

    for (n = 0; n < names->n; n++) {

        if (ps_json_tape_get(run->tape, i, names->names[n].text,
                             names->names[n].len)
            == 0)
        {
            len = names->names[n].len;

            valid = ps_schema_fault(run, i, "the member \"%.*s\" is missing",
                                    (int) (len > 100 ? 100 : len),
                                    names->names[n].text);

            if (ps_schema_enough(run)) {
                break;
            }

            run->budget -= nodes[i].count;
        }
    }

    return valid;
}


static int
ps_schema_members(ps_schema_run_t *run, const ps_schema_node_t *s, uint32_t i,
    size_t seen)
{
    int                    valid, looked;
    size_t                 n;
    uint32_t               key;
    const ps_json_node_t  *nodes;

    nodes = run->tape->nodes;
    valid = 1;

    for (key = i + 1, n = 0;
         key < nodes[i].end;
         key = nodes[key + 1].end, n++)
    {
        if (--run->budget < 0) {
            run->costly = 1;
            return 0;
        }

        looked = 0;

        if (!ps_schema_member(run, s, key, &looked)) {
            valid = 0;

            if (ps_schema_enough(run)) {
                return 0;
            }
        }

        if (looked && seen) {
            run->marks[seen + n] = 1;
        }
    }

    return valid;
}


static int
ps_schema_member(ps_schema_run_t *run, const ps_schema_node_t *s,
    uint32_t key, int *looked)
{
    int                  valid;
    size_t               len;
    uint32_t             n;
    const char          *name;
    ps_schema_member_t  *member;

    valid = 1;
    name = ps_json_tape_string(run->tape, key, &len);

    if (s->names && !ps_schema_value(run, s->names, key, 0)) {
        valid = 0;
    }

    member = ps_schema_find_member(&s->properties, name, len);

    if (member) {
        *looked = 1;
        valid &= ps_schema_value(run, member->schema, key + 1, 0);
    }

    for (n = 0; n < s->patterns.n; n++) {
        member = &s->patterns.members[n];

        if (ps_schema_match(run, member->regex, name, len)) {
            *looked = 1;
            valid &= ps_schema_value(run, member->schema, key + 1, 0);
        }
    }

    if (!*looked && s->additional) {
        *looked = 1;

        if (s->additional->never) {
            return ps_schema_fault(run, key + 1, "there must be no such "
                                                 "member");
        }

        valid &= ps_schema_value(run, s->additional, key + 1, 0);
    }

    return valid;
}


int
ps_schema_array(ps_schema_run_t *run, const ps_schema_node_t *s, uint32_t i,
    size_t seen)
{
    int                     valid;
    uint32_t                at, n, count, repeated;
    ps_schema_node_t       *element;
    const ps_json_node_t   *nodes;

    nodes = run->tape->nodes;
    count = nodes[i].count;
    valid = 1;

    if (count < s->min_items) {
        valid = ps_schema_fault(run, i, "must have at least %u elements",
                                (unsigned) s->min_items);
    }

    if (count > s->max_items) {
        valid = ps_schema_fault(run, i, "must have at most %u elements",
                                (unsigned) s->max_items);
    }

    if (!valid && ps_schema_enough(run)) {
        return 0;
    }

    for (at = i + 1, n = 0;
         (s->prefix.n || s->items) && at < nodes[i].end;
         at = nodes[at].end, n++)
    {
        element = n < s->prefix.n ? s->prefix.schemas[n] : s->items;

        if (element == NULL) {
            break;
        }

        if (!ps_schema_value(run, element, at, 0)) {
            valid = 0;

            if (ps_schema_enough(run)) {
                return 0;
            }
        }

        if (seen) {
            run->marks[seen + n] = 1;
        }
    }

    if (s->contains && !ps_schema_contains(run, s, i, seen)) {
        valid = 0;
    }

    if (s->unique && !(!valid && ps_schema_enough(run))) {
        repeated = ps_schema_repeated(run->tape, i, &run->budget);

        if (repeated == UINT32_MAX) {
            run->failed = 1;
            return 0;
        }

        if (repeated) {
            for (at = i + 1; repeated; repeated--) {
                at = nodes[at].end;
            }

            return ps_schema_fault(run, at, "is there a second time");
        }
    }

    return valid;
}


static int
ps_schema_contains(ps_schema_run_t *run, const ps_schema_node_t *s,
    uint32_t i, size_t seen)
{
    uint32_t               at, n, found;
    const ps_json_node_t  *nodes;

    nodes = run->tape->nodes;
    found = 0;

    run->quiet++;

    for (at = i + 1, n = 0; at < nodes[i].end; at = nodes[at].end, n++) {

        if (ps_schema_value(run, s->contains, at, 0)) {
            found++;

            if (seen) {
                run->marks[seen + n] = 1;
            }
        }
    }

    run->quiet--;

    if (found < s->min_contains) {
        return ps_schema_fault(run, i, "must hold at least %u elements of the "
                               "kind that is asked for",
                               (unsigned) s->min_contains);
    }

    if (found > s->max_contains) {
        return ps_schema_fault(run, i, "must hold at most %u elements of the "
                               "kind that is asked for",
                               (unsigned) s->max_contains);
    }

    return 1;
}


/* what no schema for this value has looked at */

int
ps_schema_rest(ps_schema_run_t *run, const ps_schema_node_t *s, uint32_t i,
    size_t seen)
{
    int                     valid;
    size_t                  n;
    uint32_t                at, step;
    ps_schema_node_t       *rest;
    const ps_json_node_t   *nodes;

    nodes = run->tape->nodes;
    step = (nodes[i].type == PS_JSON_OBJECT);
    rest = step ? s->rest_members : s->rest_items;
    valid = 1;

    for (at = i + 1, n = 0;
         at < nodes[i].end;
         at = nodes[at + step].end, n++)
    {
        if (run->marks[seen + n]) {
            continue;
        }

        if (rest->never) {
            valid = ps_schema_fault(run, at + step, "there must be no such %s",
                                    step ? "member" : "element");

        } else if (!ps_schema_value(run, rest, at + step, 0)) {
            valid = 0;
        }

        if (!valid && ps_schema_enough(run)) {
            return 0;
        }

        run->marks[seen + n] = 1;
    }

    return valid;
}


size_t
ps_schema_marks(ps_schema_run_t *run, uint32_t i)
{
    size_t          n, size, at;
    unsigned char  *marks;

    n = run->tape->nodes[i].type >= PS_JSON_ARRAY ? run->tape->nodes[i].count
                                                  : 0;

    run->budget -= (int64_t) (n / 16);

    /* none begins at 0, which means that there is none */

    at = run->used ? run->used : 1;

    if (at + n > run->size) {
        size = 2 * (at + n) + 256;

        marks = realloc(run->marks, size);
        if (marks == NULL) {
            run->failed = 1;
            return 0;
        }

        run->marks = marks;
        run->size = size;
    }

    memset(run->marks + at, 0, n);
    run->used = at + n;

    return at;
}


void
ps_schema_merge(ps_schema_run_t *run, uint32_t i, size_t to, size_t from)
{
    size_t  n, count;

    count = run->tape->nodes[i].type >= PS_JSON_ARRAY
            ? run->tape->nodes[i].count : 0;

    run->budget -= (int64_t) (count / 16);

    for (n = 0; n < count; n++) {
        run->marks[to + n] |= run->marks[from + n];
    }
}


int
ps_schema_fault(ps_schema_run_t *run, uint32_t i, const char *format, ...)
{
    va_list             args;
    ps_schema_fault_t  *fault;

    if (ps_schema_enough(run)) {
        return 0;
    }

    fault = &run->faults[run->n++];

    ps_json_tape_pointer(run->tape, i, 1, fault->pointer,
                         sizeof(fault->pointer));

    va_start(args, format);
    vsnprintf(fault->detail, sizeof(fault->detail), format, args);
    va_end(args);

    return 0;
}


const char *
ps_schema_spelling(ps_schema_run_t *run, const ps_schema_node_t *s,
    const ps_number_t *limit)
{
    size_t                 i;
    uint32_t               at;
    const char            *name;
    const ps_json_node_t  *node;

    const struct {
        const ps_number_t  *limit;
        const char         *name;
    } names[] = {
        { s->minimum, "minimum" },
        { s->maximum, "maximum" },
        { s->above, "exclusiveMinimum" },
        { s->below, "exclusiveMaximum" }
    };

    name = "multipleOf";

    for (i = 0; limit && i < 4; i++) {
        if (names[i].limit == limit) {
            name = names[i].name;
        }
    }

    at = ps_json_tape_get(&run->schema->tape, s->at, name, strlen(name));
    node = &run->schema->tape.nodes[at];

    snprintf(run->spelling, sizeof(run->spelling), "%.*s",
             (int) (node->len > 60 ? 60 : node->len),
             run->schema->tape.text + node->pos);

    return run->spelling;
}
