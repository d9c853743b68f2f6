
/*
 * Tags: the names by which answers are invalidated, such as SKUs.
 */

#ifndef _PS_TAGS_H_INCLUDED_
#define _PS_TAGS_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


#define PS_TAGS_MAX      256            /* of one answer or one write */
#define PS_TAG_MAX_LEN   128            /* bytes */


typedef struct {
    const char  *name;                  /* not terminated */
    size_t       len;
    uint64_t     hash;
} ps_tag_t;


typedef struct {
    ps_tag_t     tag[PS_TAGS_MAX];
    unsigned     n;
    unsigned     overflow:1;            /* some did not fit: what they would
                                           cover can't be told */
} ps_tags_t;


/* FNV-1a, 64 bits */

uint64_t ps_tag_hash(const char *name, size_t len);

/*
 * Adds one tag; the bytes must outlive "tags".  Empty and known ones are
 * skipped, one that is too long counts as overflow.
 */

void ps_tags_add(ps_tags_t *tags, const char *name, size_t len);

/* adds each member of a list separated by commas, without white space */

void ps_tags_list(ps_tags_t *tags, const char *list, size_t len);

/*
 * Adds the values of every query argument "arg" (a decoded name) of "args":
 * lists and repeats, percent-decoded and with "+" as a space, as a form
 * (WHATWG URL, application/x-www-form-urlencoded).  Decoded bytes go to
 * "buf", which holds at least "len" bytes and must outlive "tags"; returns
 * how many of it were used.
 */

size_t ps_tags_query(ps_tags_t *tags, const char *args, size_t len,
    const char *arg, size_t arglen, char *buf);


#endif /* _PS_TAGS_H_INCLUDED_ */
