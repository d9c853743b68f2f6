
/*
 * Tags come from query strings and response headers.  The first byte says
 * how long the argument's name is, which stands behind it.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../modules/availability/ps_tags.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char             *buf;
    size_t            n, len;
    unsigned          i, j;
    const char       *arg, *args;
    static ps_tags_t  tags;

    if (size == 0 || (size_t) data[0] + 1 > size) {
        return 0;
    }

    n = data[0];
    arg = (const char *) data + 1;
    args = arg + n;
    len = size - 1 - n;

    /* exactly as large, so that a write behind it is seen */

    buf = malloc(len ? len : 1);
    if (buf == NULL) {
        return 0;
    }

    tags.n = 0;
    tags.overflow = 0;

    if (ps_tags_query(&tags, args, len, arg, n, buf) > len) {
        abort();
    }

    ps_tags_list(&tags, args, len);

    if (tags.n > PS_TAGS_MAX) {
        abort();
    }

    for (i = 0; i < tags.n; i++) {

        if (tags.tag[i].len == 0 || tags.tag[i].len > PS_TAG_MAX_LEN
            || ps_tag_hash(tags.tag[i].name, tags.tag[i].len)
               != tags.tag[i].hash)
        {
            abort();
        }

        for (j = 0; j < i && i < 16; j++) {
            if (tags.tag[i].len == tags.tag[j].len
                && memcmp(tags.tag[i].name, tags.tag[j].name, tags.tag[i].len)
                   == 0)
            {
                abort();
            }
        }
    }

    free(buf);

    return 0;
}
