
/*
 * Checks a document against a compiled schema.
 *
 * The depth of the recursion is that of the document by that of the schemas
 * for one value, both bounded.  All that is done is paid from a budget, so
 * that no body takes longer than its size allows.
 */

#include "ps_schema_run.h"

#include <stdlib.h>
#include <string.h>


static int ps_schema_scalar(ps_schema_run_t *run, const ps_schema_node_t *s,
    uint32_t i);
static int ps_schema_type(ps_schema_run_t *run, const ps_schema_node_t *s,
    uint32_t i);
static int ps_schema_listed(ps_schema_run_t *run, const ps_schema_node_t *s,
    uint32_t i);
static int ps_schema_number(ps_schema_run_t *run, const ps_schema_node_t *s,
    uint32_t i);
static int ps_schema_string(ps_schema_run_t *run, const ps_schema_node_t *s,
    uint32_t i);
static int ps_schema_combine(ps_schema_run_t *run, const ps_schema_node_t *s,
    uint32_t i, size_t seen);
static int ps_schema_one(ps_schema_run_t *run, const ps_schema_node_t *s,
    uint32_t i, size_t seen);
static int ps_schema_quietly(ps_schema_run_t *run, const ps_schema_node_t *s,
    uint32_t i, size_t seen);


ps_schema_rc_e
ps_schema_check(const ps_schema_t *schema, const ps_json_tape_t *tape,
    ps_schema_fault_t *faults, size_t max, size_t *n)
{
    int              valid;
    ps_schema_run_t  run;

    memset(&run, 0, sizeof(run));

    run.schema = schema;
    run.tape = tape;
    run.faults = faults;
    run.max = max;
    run.quiet = (max == 0);

    run.budget = PS_SCHEMA_STEPS
                 + (int64_t) tape->n * PS_SCHEMA_STEPS_OF_VALUE;
    run.matching = PS_SCHEMA_MATCHING
                   + (int64_t) tape->len * PS_SCHEMA_MATCHING_OF_BYTE;

    valid = ps_schema_value(&run, schema->root, 0, 0);

    free(run.marks);

    *n = run.n;

    if (run.failed) {
        return PS_SCHEMA_MEMORY;
    }

    if (run.costly) {
        return PS_SCHEMA_COSTLY;
    }

    return valid ? PS_SCHEMA_VALID : PS_SCHEMA_INVALID;
}


/*
 * Whether a value is what a schema asks for.  "seen" is where the marks of
 * the children stand that some schema has looked at, 0 where nobody asks.
 */

int
ps_schema_value(ps_schema_run_t *run, const ps_schema_node_t *s, uint32_t i,
    size_t seen)
{
    int                    valid;
    size_t                 own, used;
    unsigned               type;
    const ps_json_node_t  *node;

    if (--run->budget < 0) {
        run->costly = 1;
    }

    if (run->costly || run->failed) {
        return 0;
    }

    if (s->never) {
        return ps_schema_fault(run, i, "is not allowed here");
    }

    node = &run->tape->nodes[i];
    type = node->type;
    own = seen;
    used = run->used;

    if ((s->rest_members && type == PS_JSON_OBJECT)
        || (s->rest_items && type == PS_JSON_ARRAY))
    {
        own = ps_schema_marks(run, i);

        if (own == 0) {
            return 0;
        }
    }

    valid = 1;

    if (!ps_schema_scalar(run, s, i)) {
        valid = 0;

        if (ps_schema_enough(run)) {
            goto done;
        }
    }

    if (!ps_schema_combine(run, s, i, own)) {
        valid = 0;

        if (ps_schema_enough(run)) {
            goto done;
        }
    }

    if (type == PS_JSON_OBJECT) {
        valid &= ps_schema_object(run, s, i, own);

    } else if (type == PS_JSON_ARRAY) {
        valid &= ps_schema_array(run, s, i, own);
    }

    if (valid && own != seen) {
        valid = ps_schema_rest(run, s, i, own);

        if (valid && seen) {
            ps_schema_merge(run, i, seen, own);
        }
    }

done:

    run->used = used;

    return valid && !run->costly && !run->failed;
}


/* what concerns the value alone */

static int
ps_schema_scalar(ps_schema_run_t *run, const ps_schema_node_t *s, uint32_t i)
{
    int       valid;
    unsigned  type;

    if (s->types && !ps_schema_type(run, s, i)) {
        return 0;
    }

    valid = 1;

    if (s->enumeration || s->constant) {
        valid = ps_schema_listed(run, s, i);

        if (!valid && ps_schema_enough(run)) {
            return 0;
        }
    }

    type = run->tape->nodes[i].type;

    if (type == PS_JSON_NUMBER) {
        valid &= ps_schema_number(run, s, i);

    } else if (type == PS_JSON_STRING) {
        valid &= ps_schema_string(run, s, i);
    }

    return valid;
}


static int
ps_schema_type(ps_schema_run_t *run, const ps_schema_node_t *s, uint32_t i)
{
    int                    n, left;
    char                   text[96];
    size_t                 len;
    unsigned               bit;
    ps_number_t            number;
    const ps_json_node_t  *node;

    static const unsigned  bits[] = {
        PS_SCHEMA_T_NULL, PS_SCHEMA_T_BOOLEAN, PS_SCHEMA_T_BOOLEAN,
        PS_SCHEMA_T_NUMBER, PS_SCHEMA_T_STRING, PS_SCHEMA_T_ARRAY,
        PS_SCHEMA_T_OBJECT
    };

    static const char  *names[] = {
        "null", "true or false", "an integer", "a number", "a string",
        "an array", "an object"
    };

    node = &run->tape->nodes[i];
    bit = bits[node->type];

    if (s->types & bit) {
        return 1;
    }

    if (bit == PS_SCHEMA_T_NUMBER && (s->types & PS_SCHEMA_T_INTEGER)) {
        ps_number_read(&number, run->tape->text + node->pos, node->len);

        if (ps_number_is_integer(&number)) {
            return 1;
        }
    }

    len = 0;
    text[0] = '\0';

    for (n = 0, left = __builtin_popcount(s->types); n < 7; n++) {

        if (s->types & (1u << n)) {
            strcpy(text + len, names[n]);
            len += strlen(names[n]);

            if (--left) {
                strcpy(text + len, left == 1 ? " or " : ", ");
                len += strlen(text + len);
            }
        }
    }

    return ps_schema_fault(run, i, "must be %s", text);
}


static int
ps_schema_listed(ps_schema_run_t *run, const ps_schema_node_t *s, uint32_t i)
{
    size_t                 len;
    uint32_t               at;
    const char            *text;
    const ps_json_node_t  *nodes, *node;
    const ps_json_tape_t  *tape;

    tape = &run->schema->tape;
    nodes = tape->nodes;
    node = &run->tape->nodes[i];

    if (s->constant) {
        run->budget -= 1 + node->len / 64;

        if (!ps_schema_equal(tape, s->constant, run->tape, i)) {
            return ps_schema_fault(run, i, "must have the one value that is "
                                           "allowed");
        }
    }

    if (s->enumeration == 0) {
        return 1;
    }

    if (s->words.n) {

        if (node->type == PS_JSON_STRING) {
            text = ps_json_tape_string(run->tape, i, &len);

            if (ps_schema_find_name(&s->words, text, len) >= 0) {
                return 1;
            }
        }

    } else {
        for (at = s->enumeration + 1;
             at < nodes[s->enumeration].end;
             at = nodes[at].end)
        {
            run->budget -= 1 + node->len / 64;

            if (run->budget < 0) {
                run->costly = 1;
                return 0;
            }

            if (ps_schema_equal(tape, at, run->tape, i)) {
                return 1;
            }
        }
    }

    return ps_schema_fault(run, i, "must be one of %u allowed values",
                           (unsigned) nodes[s->enumeration].count);
}


static int
ps_schema_number(ps_schema_run_t *run, const ps_schema_node_t *s, uint32_t i)
{
    size_t                 n;
    ps_number_t            number;
    const ps_json_node_t  *node;

    const struct {
        const ps_number_t  *limit;
        int                 sign;
        int                 equal;
        const char         *words;
    } limits[] = {
        { s->minimum, -1, 1, "must be at least" },
        { s->maximum, 1, 1, "must be at most" },
        { s->above, -1, 0, "must be above" },
        { s->below, 1, 0, "must be below" }
    };

    node = &run->tape->nodes[i];

    ps_number_read(&number, run->tape->text + node->pos, node->len);

    for (n = 0; n < 4; n++) {
        int  rc;

        if (limits[n].limit == NULL) {
            continue;
        }

        rc = ps_number_compare(&number, limits[n].limit) * limits[n].sign;

        if (rc > 0 || (rc == 0 && !limits[n].equal)) {

            /* its spelling is the schema's own, a slice of its text */

            return ps_schema_fault(run, i, "%s %s", limits[n].words,
                                   ps_schema_spelling(run, s,
                                                      limits[n].limit));
        }
    }

    if (s->multiple && !ps_number_is_multiple(&number, s->multiple)) {
        return ps_schema_fault(run, i, "must be a multiple of %s",
                               ps_schema_spelling(run, s, NULL));
    }

    return 1;
}


static int
ps_schema_string(ps_schema_run_t *run, const ps_schema_node_t *s, uint32_t i)
{
    size_t       n, len, count;
    const char  *text;

    text = ps_json_tape_string(run->tape, i, &len);

    if (s->min_length || s->max_length != UINT32_MAX) {

        /* characters: bytes that are not the inside of one */

        for (n = 0, count = 0; n < len; n++) {
            count += ((unsigned char) text[n] & 0xc0) != 0x80;
        }

        if (count < s->min_length) {
            return ps_schema_fault(run, i, "must have at least %u characters",
                                   (unsigned) s->min_length);
        }

        if (count > s->max_length) {
            return ps_schema_fault(run, i, "must have at most %u characters",
                                   (unsigned) s->max_length);
        }
    }

    if (s->format && !s->format->check(text, len)) {
        return ps_schema_fault(run, i, "must be %s", s->format->what);
    }

    if (s->pattern && !ps_schema_match(run, s->pattern, text, len)) {
        return ps_schema_fault(run, i, "does not have the form it must have");
    }

    return 1;
}


int
ps_schema_match(ps_schema_run_t *run, const ps_schema_regex_t *regex,
    const char *text, size_t len)
{
    switch (ps_schema_regex_match(regex, text, len, &run->matching)) {

    case PS_SCHEMA_REGEX_YES:
        return 1;

    case PS_SCHEMA_REGEX_NO:
        return 0;

    default:
        run->costly = 1;
        return 0;
    }
}


/* other schemas for the same value */

static int
ps_schema_combine(ps_schema_run_t *run, const ps_schema_node_t *s, uint32_t i,
    size_t seen)
{
    int                  valid, holds;
    size_t               len;
    uint32_t             n;
    const char          *text;
    ps_schema_member_t  *member;

    valid = 1;

    if (s->ref) {
        valid &= ps_schema_value(run, s->ref, i, seen);
    }

    for (n = 0; n < s->all.n && !(!valid && ps_schema_enough(run)); n++) {
        valid &= ps_schema_value(run, s->all.schemas[n], i, seen);
    }

    if (!valid && ps_schema_enough(run)) {
        return 0;
    }

    if (s->any.n) {
        holds = 0;

        for (n = 0; n < s->any.n && (!holds || seen); n++) {
            holds |= ps_schema_quietly(run, s->any.schemas[n], i, seen);
        }

        if (!holds) {
            valid = ps_schema_fault(run, i, "matches none of %u alternatives",
                                    (unsigned) s->any.n);
        }
    }

    if (s->one.n) {
        valid &= ps_schema_one(run, s, i, seen);
    }

    if (s->not && ps_schema_quietly(run, s->not, i, 0)) {
        valid = ps_schema_fault(run, i, "is what it must not be");
    }

    if (s->condition) {
        if (ps_schema_quietly(run, s->condition, i, seen)) {
            if (s->then) {
                valid &= ps_schema_value(run, s->then, i, seen);
            }

        } else if (s->otherwise) {
            valid &= ps_schema_value(run, s->otherwise, i, seen);
        }
    }

    if (s->dependents.n == 0 || run->tape->nodes[i].type != PS_JSON_OBJECT) {
        return valid;
    }

    for (n = 0; n < s->dependents.n; n++) {
        member = &s->dependents.members[n];
        text = member->name.text;
        len = member->name.len;

        run->budget -= run->tape->nodes[i].count;

        if (ps_json_tape_get(run->tape, i, text, len)) {
            valid &= ps_schema_value(run, member->schema, i, seen);
        }
    }

    return valid;
}


static int
ps_schema_one(ps_schema_run_t *run, const ps_schema_node_t *s, uint32_t i,
    size_t seen)
{
    uint32_t  n, holds;

    holds = 0;

    for (n = 0; n < s->one.n && holds < 2; n++) {
        holds += (uint32_t) ps_schema_quietly(run, s->one.schemas[n], i,
                                              seen);
    }

    if (holds == 0) {
        return ps_schema_fault(run, i, "matches none of %u alternatives",
                               (unsigned) s->one.n);
    }

    if (holds > 1) {
        return ps_schema_fault(run, i, "matches more than one of %u "
                               "alternatives", (unsigned) s->one.n);
    }

    return 1;
}


/* tells no faults; its marks count where it holds */

static int
ps_schema_quietly(ps_schema_run_t *run, const ps_schema_node_t *s, uint32_t i,
    size_t seen)
{
    int     valid;
    size_t  used, own;

    used = run->used;
    own = 0;

    if (seen) {
        own = ps_schema_marks(run, i);

        if (own == 0) {
            return 0;
        }
    }

    run->quiet++;
    valid = ps_schema_value(run, s, i, own);
    run->quiet--;

    if (valid && own) {
        ps_schema_merge(run, i, seen, own);
    }

    run->used = used;

    return valid;
}


/* whether the faults found say all that will be said */

int
ps_schema_enough(const ps_schema_run_t *run)
{
    return run->quiet || run->costly || run->failed || run->n == run->max;
}
