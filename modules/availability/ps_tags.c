
#include <string.h>

#include "ps_form.h"
#include "ps_tags.h"


uint64_t
ps_tag_hash(const char *name, size_t len)
{
    size_t    i;
    uint64_t  hash;

    hash = 0xcbf29ce484222325ULL;

    for (i = 0; i < len; i++) {
        hash = (hash ^ (unsigned char) name[i]) * 0x100000001b3ULL;
    }

    /* FNV's low bits are weak for short names, and they choose the bucket */

    return hash ^ (hash >> 32);
}


void
ps_tags_add(ps_tags_t *tags, const char *name, size_t len)
{
    unsigned  i;
    uint64_t  hash;

    if (len == 0) {
        return;
    }

    if (len > PS_TAG_MAX_LEN) {
        tags->overflow = 1;
        return;
    }

    hash = ps_tag_hash(name, len);

    for (i = 0; i < tags->n; i++) {
        if (tags->tag[i].hash == hash && tags->tag[i].len == len
            && memcmp(tags->tag[i].name, name, len) == 0)
        {
            return;
        }
    }

    if (tags->n == PS_TAGS_MAX) {
        tags->overflow = 1;
        return;
    }

    tags->tag[tags->n].name = name;
    tags->tag[tags->n].len = len;
    tags->tag[tags->n].hash = hash;
    tags->n++;
}


void
ps_tags_list(ps_tags_t *tags, const char *list, size_t len)
{
    size_t       n;
    const char  *p, *end, *comma;

    p = list;
    end = list + len;

    while (p < end) {
        comma = memchr(p, ',', (size_t) (end - p));

        if (comma == NULL) {
            comma = end;
        }

        n = (size_t) (comma - p);

        while (n && (*p == ' ' || *p == '\t')) {
            p++;
            n--;
        }

        while (n && (p[n - 1] == ' ' || p[n - 1] == '\t')) {
            n--;
        }

        ps_tags_add(tags, p, n);

        p = comma + 1;
    }
}


size_t
ps_tags_query(ps_tags_t *tags, const char *args, size_t len, const char *arg,
    size_t arglen, char *buf)
{
    char        *out;
    size_t       n;
    const char  *p, *end, *amp, *eq;

    p = args;
    end = args + len;
    out = buf;

    while (p < end) {
        amp = memchr(p, '&', (size_t) (end - p));

        if (amp == NULL) {
            amp = end;
        }

        eq = memchr(p, '=', (size_t) (amp - p));

        if (eq) {
            n = ps_form_decode(out, p, (size_t) (eq - p));

            if (n == arglen && memcmp(out, arg, n) == 0) {
                n = ps_form_decode(out, eq + 1, (size_t) (amp - eq - 1));
                ps_tags_list(tags, out, n);
                out += n;
            }
        }

        p = amp + 1;
    }

    return (size_t) (out - buf);
}
