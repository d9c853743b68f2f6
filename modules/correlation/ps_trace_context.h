
/*
 * W3C Trace Context, level 2, as a participant: "traceparent" is read and
 * written anew with a parent-id of our own, "tracestate" is checked and
 * passed on.
 */

#ifndef _PS_TRACE_CONTEXT_H_INCLUDED_
#define _PS_TRACE_CONTEXT_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


#define PS_TRACE_ID_LEN           32     /* bytes of hex text */
#define PS_SPAN_ID_LEN            16
#define PS_TRACEPARENT_LEN        55
#define PS_TRACE_RANDOM_LEN       16     /* bytes for a trace-id */
#define PS_SPAN_RANDOM_LEN        8      /* bytes for a parent-id */

#define PS_TRACESTATE_MEMBERS     32
#define PS_TRACESTATE_KEY_MAX     256    /* bytes */
#define PS_TRACESTATE_VALUE_MAX   256

#define PS_TRACE_SAMPLED          0x01
#define PS_TRACE_RANDOM           0x02


/* the identifiers are lower-case hex without a terminating zero */

typedef struct {
    char         trace_id[PS_TRACE_ID_LEN];
    char         span_id[PS_SPAN_ID_LEN];
    uint8_t      flags;
} ps_traceparent_t;


/*
 * A tracestate list being combined.  "text" belongs to the caller and has
 * room for every value that is added plus one byte for each.
 */

typedef struct {
    char        *text;
    size_t       len;
    unsigned     n;
    struct {
        size_t   start;                  /* in text */
        size_t   len;
    }            keys[PS_TRACESTATE_MEMBERS];
} ps_tracestate_t;


/*
 * Reads a field value; spaces and tabs around it are ignored.  Version 00
 * must match exactly.  A higher version is read by its first 55 characters
 * if it ends there or a dash follows; ff is invalid.  Of the flags only
 * "sampled" and "random" are kept, whatever the version: the others are to
 * be sent as zero.  Returns 0, or -1 when the trace must be restarted; "tp"
 * is undefined then.
 */

int ps_traceparent_parse(ps_traceparent_t *tp, const char *value, size_t len);


/*
 * A new trace: "random" holds 16 bytes.  The random flag is set, "sampled"
 * is not, as who starts a trace without recording it should have it.  Sets
 * no span.
 */

void ps_traceparent_start(ps_traceparent_t *tp, const uint8_t *random);


/* A new span in the trace: "random" holds 8 bytes. */

void ps_traceparent_span(ps_traceparent_t *tp, const uint8_t *random);


/* Writes 55 bytes of version 00, no terminating zero. */

void ps_traceparent_write(char *text, const ps_traceparent_t *tp);


void ps_tracestate_init(ps_tracestate_t *ts, char *text);


/*
 * Appends a field value.  Values are to be added in the order of the fields.
 * Members keep their order and bytes; white space around them and empty ones
 * are left out.  Returns 0, or -1 if the list breaks the grammar, names a
 * key twice or has more than 32 members: it is to be dropped as a whole then,
 * the trace goes on.
 */

int ps_tracestate_add(ps_tracestate_t *ts, const char *value, size_t len);


#endif /* _PS_TRACE_CONTEXT_H_INCLUDED_ */
