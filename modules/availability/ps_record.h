
/*
 * A stored response: one flat piece of bytes, the same in shared memory and
 * in Redis.  What comes from Redis may be anything, so reading it checks
 * every length.  Numbers are little-endian.
 */

#ifndef _PS_RECORD_H_INCLUDED_
#define _PS_RECORD_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>

#include "ps_tags.h"


/* the body is the list of fields that choose among answers, see ps_vary.h */

#define PS_RECORD_VARY      0x0001

/* not for those either who would take a stale one */

#define PS_RECORD_NO_STALE  0x0002

#define PS_RECORD_FLAGS     0x0003      /* all there are */


typedef struct {
    uint64_t     created;               /* ms since the epoch: when the
                                           origin made it, so that age is
                                           now less this */
    uint64_t     clock;                 /* Redis's clock of the zone when the
                                           fill started; 0: not asked */
    uint32_t     fresh;                 /* ms from created */
    uint32_t     while_revalidate;      /* ms past fresh */
    uint32_t     if_error;              /* ms past fresh */
    uint16_t     status;
    uint16_t     flags;
    uint16_t     ntags;
    uint16_t     nheaders;

    const char  *tags;                  /* to be walked by the calls below */
    const char  *headers;
    const char  *body;
    size_t       body_len;
} ps_record_t;


/* bytes that a record takes, where the parts take those */

size_t ps_record_size(unsigned ntags, size_t tag_bytes, unsigned nheaders,
    size_t header_bytes, size_t body_bytes);

/*
 * Writing, in this order: head, each tag, each header, body.  Each returns
 * where the next goes.  ntags and nheaders must be right.
 */

char *ps_record_put_head(char *p, const ps_record_t *record);
char *ps_record_put_tag(char *p, const ps_tag_t *tag);
char *ps_record_put_header(char *p, const char *name, size_t nlen,
    const char *value, size_t vlen);
char *ps_record_put_body(char *p, const char *body, size_t len);

/*
 * Reading: 0, or -1 where it is no whole record of this version.  After it
 * the calls below need no checks.
 */

int ps_record_parse(ps_record_t *record, const char *p, size_t len);

/*
 * The same of bytes that were parsed before and have not changed since, by
 * the distances of headers and body from p that were found then.
 */

void ps_record_open(ps_record_t *record, const char *p, size_t headers_at,
    size_t body_at);

/* *p starts at record->tags or ->headers and moves on */

void ps_record_tag(const char **p, ps_tag_t *tag);
void ps_record_header(const char **p, const char **name, size_t *nlen,
    const char **value, size_t *vlen);


#endif /* _PS_RECORD_H_INCLUDED_ */
