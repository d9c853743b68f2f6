
/*
 * Records come from Redis, where anybody may have written: what parses must
 * be safe to walk, and lead from the head to the last byte.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../modules/availability/ps_record.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t        i, nlen, vlen;
    ps_tag_t      tag;
    const char   *p, *name, *value;
    ps_record_t   record;

    if (ps_record_parse(&record, (const char *) data, size) != 0) {
        return 0;
    }

    p = record.tags;

    for (i = 0; i < record.ntags; i++) {
        ps_record_tag(&p, &tag);

        if (tag.len == 0 || tag.len > PS_TAG_MAX_LEN) {
            abort();
        }

        (void) ps_tag_hash(tag.name, tag.len);
    }

    if (p != record.headers) {
        abort();
    }

    for (i = 0; i < record.nheaders; i++) {
        ps_record_header(&p, &name, &nlen, &value, &vlen);

        if (nlen == 0 || memchr(name, '\n', nlen)
            || memchr(value, '\n', vlen))
        {
            abort();
        }
    }

    if (p != record.body
        || record.body + record.body_len != (const char *) data + size)
    {
        abort();
    }

    return 0;
}
