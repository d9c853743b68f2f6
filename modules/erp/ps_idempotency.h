
/*
 * Idempotency keys (draft-ietf-httpapi-idempotency-key-header) and the
 * answers that are kept for them.
 *
 * An answer is kept as one string of bytes: "1", the status (2 bytes, big
 * endian), the number of fields (2), of each the lengths of name (2) and
 * value (4) and both of them; the rest is the body.
 */

#ifndef _PS_IDEMPOTENCY_H_INCLUDED_
#define _PS_IDEMPOTENCY_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


#define PS_IDEMPOTENCY_KEY_MAX   255     /* bytes, without the quotes */
#define PS_IDEMPOTENCY_FIELDS    128     /* of an answer */


/*
 * Reads the field's value, a string of RFC 8941, Section 3.3.3, without
 * parameters, into "key", which has room for PS_IDEMPOTENCY_KEY_MAX bytes.
 * Returns its length; 0 where the value is anything else, empty or too long.
 */

size_t ps_idempotency_key(const char *text, size_t len, char *key);


/*
 * Writes an answer piece by piece: PS_IDEMPOTENCY_HEAD bytes, then for each
 * field PS_IDEMPOTENCY_FIELD and its name and value; the body follows.
 */

#define PS_IDEMPOTENCY_HEAD   5
#define PS_IDEMPOTENCY_FIELD  6

char *ps_idempotency_head(char *p, unsigned status, unsigned fields);
char *ps_idempotency_field(char *p, const char *name, size_t nlen,
    const char *value, size_t vlen);


typedef struct {
    unsigned     status;
    unsigned     fields;
    const char  *field;                  /* the first one */
    const char  *body;
    size_t       body_len;
} ps_idempotency_answer_t;

/*
 * Reads an answer, which may come from anywhere: 0, or -1 where it is none.
 * Names are tokens and values have no control characters but tabs.  The
 * pointers go into "data".  next: the field at *p, and moves on.
 */

int ps_idempotency_answer(ps_idempotency_answer_t *answer, const char *data,
    size_t len);
void ps_idempotency_next(const char **p, const char **name, size_t *nlen,
    const char **value, size_t *vlen);


#endif /* _PS_IDEMPOTENCY_H_INCLUDED_ */
