
/*
 * What stands where on a tape.
 */

#include "ps_json_tape.h"

#include <stdio.h>
#include <string.h>


static char *ps_json_tape_part(const ps_json_tape_t *tape, uint32_t i,
    int uri, char *dst, char *end);
static char *ps_json_tape_index(size_t n, char *dst, char *end);


const char *
ps_json_tape_string(const ps_json_tape_t *tape, uint32_t i, size_t *len)
{
    const ps_json_node_t  *node;

    node = &tape->nodes[i];
    *len = node->count;

    return (node->escaped ? tape->strings : tape->text) + node->pos + 1;
}


uint32_t
ps_json_tape_get(const ps_json_tape_t *tape, uint32_t object,
    const char *name, size_t len)
{
    size_t                 n;
    uint32_t               i, end;
    const char            *text;
    const ps_json_node_t  *nodes;

    nodes = tape->nodes;

    if (nodes[object].type != PS_JSON_OBJECT) {
        return 0;
    }

    end = nodes[object].end;

    for (i = object + 1; i < end; i = nodes[i + 1].end) {
        text = ps_json_tape_string(tape, i, &n);

        if (n == len && memcmp(text, name, len) == 0) {
            return i + 1;
        }
    }

    return 0;
}


void
ps_json_tape_pointer(const ps_json_tape_t *tape, uint32_t i, int uri,
    char *dst, size_t size)
{
    char                  *p, *end;
    size_t                 n;
    uint32_t               parent, child, step;
    const ps_json_node_t  *nodes;

    nodes = tape->nodes;
    p = dst;
    end = dst + size - 1;

    if (uri && p < end) {
        *p++ = '#';
        dst = p;
    }

    parent = 0;

    while (i > parent && i < nodes[parent].end) {
        step = (nodes[parent].type == PS_JSON_OBJECT);

        for (child = parent + 1, n = 0;
             nodes[child + step].end <= i;
             child = nodes[child + step].end, n++)
        {
            /* void */
        }

        p = step ? ps_json_tape_part(tape, child, uri, p, end)
                 : ps_json_tape_index(n, p, end);

        if (p == NULL || i == child) {
            break;
        }

        parent = child + step;
        dst = p;
    }

    /* what did not fit has been written over */

    *(p ? p : dst) = '\0';
}


static char *
ps_json_tape_part(const ps_json_tape_t *tape, uint32_t i, int uri, char *dst,
    char *end)
{
    size_t       n, len;
    const char  *p;

    static const char  hex[] = "0123456789ABCDEF";
    static const char  plain[] = "!$&'()*+,-./:;=?@_~";

    p = ps_json_tape_string(tape, i, &len);

    if (dst == end) {
        return NULL;
    }

    *dst++ = '/';

    for (n = 0; n < len; n++) {

        if (end - dst < 3) {
            return NULL;
        }

        if (p[n] == '~' || p[n] == '/') {
            *dst++ = '~';
            *dst++ = p[n] == '~' ? '0' : '1';

        } else if (!uri || (p[n] >= '0' && p[n] <= '9')
                   || ((p[n] | 0x20) >= 'a' && (p[n] | 0x20) <= 'z')
                   || (p[n] && strchr(plain, p[n])))
        {
            *dst++ = p[n];

        } else {
            *dst++ = '%';
            *dst++ = hex[(unsigned char) p[n] >> 4];
            *dst++ = hex[p[n] & 0xf];
        }
    }

    return dst;
}


static char *
ps_json_tape_index(size_t n, char *dst, char *end)
{
    int  len;

    len = snprintf(dst, (size_t) (end - dst) + 1, "/%zu", n);

    return (len < 0 || len > end - dst) ? NULL : dst + len;
}


const char *
ps_json_tape_error(ps_json_rc_e rc)
{
    switch (rc) {

    case PS_JSON_OK:
        return "it is fine";

    case PS_JSON_INVALID:
        return "it is not JSON in UTF-8";

    case PS_JSON_TRUNCATED:
        return "it ends too early";

    case PS_JSON_DEEP:
        return "it is nested too deeply";

    case PS_JSON_DUPLICATE:
        return "two members of an object have the same name";

    case PS_JSON_LARGE:
        return "it is too large";

    default:
        return "there is no memory";
    }
}
