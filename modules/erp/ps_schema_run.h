
/*
 * Private to ps_schema_check.c and ps_schema_inside.c: a check on its way.
 */

#ifndef _PS_SCHEMA_RUN_H_INCLUDED_
#define _PS_SCHEMA_RUN_H_INCLUDED_


#include "ps_schema_node.h"


/* the budget: schemas applied to values, and steps of regular expressions */

#define PS_SCHEMA_STEPS             65536
#define PS_SCHEMA_STEPS_OF_VALUE    64
#define PS_SCHEMA_MATCHING          500000
#define PS_SCHEMA_MATCHING_OF_BYTE  8


typedef struct {
    const ps_schema_t     *schema;
    const ps_json_tape_t  *tape;

    ps_schema_fault_t     *faults;
    size_t                 max;
    size_t                 n;

    int64_t                budget;
    int64_t                matching;

    /* marks of children that were looked at, sets on top of sets */

    unsigned char         *marks;
    size_t                 used;
    size_t                 size;

    char                   spelling[64];

    unsigned               quiet;        /* levels that tell no faults */
    unsigned               costly;
    unsigned               failed;       /* no memory */
} ps_schema_run_t;


int ps_schema_value(ps_schema_run_t *run, const ps_schema_node_t *s,
    uint32_t i, size_t seen);
int ps_schema_match(ps_schema_run_t *run, const ps_schema_regex_t *regex,
    const char *text, size_t len);
int ps_schema_enough(const ps_schema_run_t *run);

/* the children of an object or an array */

int ps_schema_object(ps_schema_run_t *run, const ps_schema_node_t *s,
    uint32_t i, size_t seen);
int ps_schema_array(ps_schema_run_t *run, const ps_schema_node_t *s,
    uint32_t i, size_t seen);
int ps_schema_rest(ps_schema_run_t *run, const ps_schema_node_t *s,
    uint32_t i, size_t seen);

/* a set of marks for the children of a value; 0: no memory */

size_t ps_schema_marks(ps_schema_run_t *run, uint32_t i);
void ps_schema_merge(ps_schema_run_t *run, uint32_t i, size_t to,
    size_t from);

/* 0, so that "return ps_schema_fault(...)" says that it is not valid */

int ps_schema_fault(ps_schema_run_t *run, uint32_t i, const char *format,
    ...) __attribute__((format(printf, 3, 4)));

/* a limit as the schema spells it; NULL: its multipleOf */

const char *ps_schema_spelling(ps_schema_run_t *run,
    const ps_schema_node_t *s, const ps_number_t *limit);


#endif /* _PS_SCHEMA_RUN_H_INCLUDED_ */
