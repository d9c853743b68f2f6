
/*
 * magic[4] status[2] ntags[2] nheaders[2] flags[2] fresh[4] swr[4] sie[4]
 * created[8] clock[8] body_len[4]
 * ntags * (hash[8] len[2] name) nheaders * (nlen[2] vlen[4] name value) body
 */

#include <endian.h>
#include <string.h>

#include "ps_record.h"


#define PS_RECORD_MAGIC  "PSR2"
#define PS_RECORD_HEAD   44


static void ps_record_head(ps_record_t *record, const char *p);
static char *ps_put(char *p, uint64_t n, unsigned bytes);
static inline uint64_t ps_get(const char *p, unsigned bytes);


size_t
ps_record_size(unsigned ntags, size_t tag_bytes, unsigned nheaders,
    size_t header_bytes, size_t body_bytes)
{
    return PS_RECORD_HEAD + ntags * 10 + tag_bytes + nheaders * 6
           + header_bytes + body_bytes;
}


char *
ps_record_put_head(char *p, const ps_record_t *record)
{
    memcpy(p, PS_RECORD_MAGIC, 4);
    p += 4;

    p = ps_put(p, record->status, 2);
    p = ps_put(p, record->ntags, 2);
    p = ps_put(p, record->nheaders, 2);
    p = ps_put(p, record->flags, 2);
    p = ps_put(p, record->fresh, 4);
    p = ps_put(p, record->while_revalidate, 4);
    p = ps_put(p, record->if_error, 4);
    p = ps_put(p, record->created, 8);
    p = ps_put(p, record->clock, 8);

    return ps_put(p, record->body_len, 4);
}


char *
ps_record_put_tag(char *p, const ps_tag_t *tag)
{
    p = ps_put(p, tag->hash, 8);
    p = ps_put(p, tag->len, 2);

    memcpy(p, tag->name, tag->len);

    return p + tag->len;
}


char *
ps_record_put_header(char *p, const char *name, size_t nlen,
    const char *value, size_t vlen)
{
    p = ps_put(p, nlen, 2);
    p = ps_put(p, vlen, 4);

    memcpy(p, name, nlen);
    memcpy(p + nlen, value, vlen);

    return p + nlen + vlen;
}


char *
ps_record_put_body(char *p, const char *body, size_t len)
{
    if (len) {
        memcpy(p, body, len);
    }

    return p + len;
}


int
ps_record_parse(ps_record_t *record, const char *p, size_t len)
{
    size_t       n, i;
    uint64_t     nlen, vlen;
    const char  *end;

    if (len < PS_RECORD_HEAD || memcmp(p, PS_RECORD_MAGIC, 4) != 0) {
        return -1;
    }

    end = p + len;

    ps_record_head(record, p);

    if (record->status < 200 || record->status > 599
        || (record->flags & ~PS_RECORD_FLAGS)
        || record->ntags > PS_TAGS_MAX)
    {
        return -1;
    }

    p += PS_RECORD_HEAD;
    record->tags = p;

    for (i = 0; i < record->ntags; i++) {
        if (end - p < 10) {
            return -1;
        }

        n = (size_t) ps_get(p + 8, 2);
        p += 10;

        if ((size_t) (end - p) < n || n == 0 || n > PS_TAG_MAX_LEN) {
            return -1;
        }

        p += n;
    }

    record->headers = p;

    for (i = 0; i < record->nheaders; i++) {
        if (end - p < 6) {
            return -1;
        }

        nlen = ps_get(p, 2);
        vlen = ps_get(p + 2, 4);
        p += 6;

        if ((uint64_t) (end - p) < nlen + vlen || nlen == 0
            || memchr(p, '\n', (size_t) (nlen + vlen)) != NULL
            || memchr(p, '\r', (size_t) (nlen + vlen)) != NULL
            || memchr(p, '\0', (size_t) (nlen + vlen)) != NULL)
        {
            return -1;
        }

        p += nlen + vlen;
    }

    record->body = p;

    return (size_t) (end - p) == record->body_len ? 0 : -1;
}


void
ps_record_open(ps_record_t *record, const char *p, size_t headers_at,
    size_t body_at)
{
    ps_record_head(record, p);

    record->tags = p + PS_RECORD_HEAD;
    record->headers = p + headers_at;
    record->body = p + body_at;
}


static void
ps_record_head(ps_record_t *record, const char *p)
{
    record->status = (uint16_t) ps_get(p + 4, 2);
    record->ntags = (uint16_t) ps_get(p + 6, 2);
    record->nheaders = (uint16_t) ps_get(p + 8, 2);
    record->flags = (uint16_t) ps_get(p + 10, 2);
    record->fresh = (uint32_t) ps_get(p + 12, 4);
    record->while_revalidate = (uint32_t) ps_get(p + 16, 4);
    record->if_error = (uint32_t) ps_get(p + 20, 4);
    record->created = ps_get(p + 24, 8);
    record->clock = ps_get(p + 32, 8);
    record->body_len = (size_t) ps_get(p + 40, 4);
}


void
ps_record_tag(const char **p, ps_tag_t *tag)
{
    tag->hash = ps_get(*p, 8);
    tag->len = (size_t) ps_get(*p + 8, 2);
    tag->name = *p + 10;

    *p += 10 + tag->len;
}


void
ps_record_header(const char **p, const char **name, size_t *nlen,
    const char **value, size_t *vlen)
{
    *nlen = (size_t) ps_get(*p, 2);
    *vlen = (size_t) ps_get(*p + 2, 4);
    *name = *p + 6;
    *value = *name + *nlen;

    *p = *value + *vlen;
}


static char *
ps_put(char *p, uint64_t n, unsigned bytes)
{
    while (bytes--) {
        *p++ = (char) (n & 0xff);
        n >>= 8;
    }

    return p;
}


/* "bytes" is a constant where it is called: one load each */

static inline uint64_t
ps_get(const char *p, unsigned bytes)
{
    uint64_t  n;

    n = 0;
    memcpy(&n, p, bytes);

    return le64toh(n);
}
