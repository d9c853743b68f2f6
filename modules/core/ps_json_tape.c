
#include "ps_json_escape.h"
#include "ps_json_tape.h"

#include <stdlib.h>
#include <string.h>


static ps_json_rc_e ps_json_tape_values(ps_json_tape_t *tape, unsigned depth,
    unsigned flags);
static ps_json_rc_e ps_json_tape_scalar(ps_json_tape_t *tape, const char **p);
static ps_json_rc_e ps_json_tape_name(ps_json_tape_t *tape, const char **p);
static ps_json_rc_e ps_json_tape_text(ps_json_tape_t *tape, const char **p);
static ps_json_rc_e ps_json_tape_unescape(ps_json_tape_t *tape,
    ps_json_node_t *node);
static ps_json_rc_e ps_json_tape_number(ps_json_tape_t *tape,
    const char **p);
static ps_json_node_t *ps_json_tape_push(ps_json_tape_t *tape,
    ps_json_type_e type, const char *p);
static int ps_json_tape_hex(const char *p);


ps_json_rc_e
ps_json_tape_read(ps_json_tape_t *tape, const char *text, size_t len,
    unsigned depth, unsigned flags)
{
    tape->text = text;
    tape->len = len;
    tape->n = 0;
    tape->error = 0;
    tape->depth = 0;

    if (len > PS_JSON_TAPE_MAX_SIZE) {
        return PS_JSON_LARGE;
    }

    if (depth > PS_JSON_TAPE_MAX_DEPTH) {
        depth = PS_JSON_TAPE_MAX_DEPTH;
    }

    return ps_json_tape_values(tape, depth, flags);
}


static const char *
ps_json_tape_blank(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) {
        p++;
    }

    return p;
}


static ps_json_rc_e
ps_json_tape_values(ps_json_tape_t *tape, unsigned depth, unsigned flags)
{
    unsigned         level;
    uint32_t         open[PS_JSON_TAPE_MAX_DEPTH];
    const char      *p, *end;
    ps_json_rc_e     rc;
    ps_json_node_t  *node;

    p = tape->text;
    end = p + tape->len;
    level = 0;

    for ( ;; ) {

        /* a value is due */

        p = ps_json_tape_blank(p, end);

        if (p == end) {
            rc = PS_JSON_TRUNCATED;
            goto failed;
        }

        if (*p == '{' || *p == '[') {

            if (level == depth) {
                rc = PS_JSON_DEEP;
                goto failed;
            }

            node = ps_json_tape_push(tape, *p == '{' ? PS_JSON_OBJECT
                                                     : PS_JSON_ARRAY, p);
            if (node == NULL) {
                return PS_JSON_MEMORY;
            }

            open[level++] = tape->n - 1;

            if (level > tape->depth) {
                tape->depth = level;
            }

            p = ps_json_tape_blank(p + 1, end);

            if (p < end && *p == (node->type == PS_JSON_OBJECT ? '}' : ']')) {
                goto closed;
            }

            if (node->type == PS_JSON_OBJECT) {
                rc = ps_json_tape_name(tape, &p);
                if (rc != PS_JSON_OK) {
                    goto failed;
                }
            }

            continue;
        }

        rc = ps_json_tape_scalar(tape, &p);
        if (rc != PS_JSON_OK) {
            goto failed;
        }

        /* behind a value */

        for ( ;; ) {
            p = ps_json_tape_blank(p, end);

            if (level == 0) {
                if (p == end) {
                    return PS_JSON_OK;
                }

                rc = PS_JSON_INVALID;
                goto failed;
            }

            if (p == end) {
                rc = PS_JSON_TRUNCATED;
                goto failed;
            }

            node = &tape->nodes[open[level - 1]];
            node->count++;

            if (*p == ',') {
                p = ps_json_tape_blank(p + 1, end);

                if (node->type == PS_JSON_OBJECT) {
                    rc = ps_json_tape_name(tape, &p);
                    if (rc != PS_JSON_OK) {
                        goto failed;
                    }
                }

                break;
            }

            if (*p != (node->type == PS_JSON_OBJECT ? '}' : ']')) {
                rc = PS_JSON_INVALID;
                goto failed;
            }

        closed:

            node = &tape->nodes[open[--level]];
            node->end = tape->n;
            node->len = (uint32_t) (++p - tape->text) - node->pos;

            if (node->type == PS_JSON_OBJECT && node->count > 1
                && (flags & PS_JSON_TAPE_UNIQUE))
            {
                rc = ps_json_tape_unique(tape, open[level]);
                if (rc != PS_JSON_OK) {
                    return rc;
                }
            }
        }
    }

failed:

    tape->error = (uint32_t) (p - tape->text);

    return rc;
}


static ps_json_rc_e
ps_json_tape_scalar(ps_json_tape_t *tape, const char **p)
{
    size_t            i, len;
    ps_json_node_t   *node;

    static const struct {
        ps_json_type_e   type;
        size_t           len;
        const char      *text;
    } words[] = {
        { PS_JSON_NULL, 4, "null" },
        { PS_JSON_FALSE, 5, "false" },
        { PS_JSON_TRUE, 4, "true" }
    };

    if (**p == '"') {
        return ps_json_tape_text(tape, p);
    }

    if (**p == '-' || (**p >= '0' && **p <= '9')) {
        return ps_json_tape_number(tape, p);
    }

    len = tape->len - (size_t) (*p - tape->text);

    for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {

        if (words[i].text[0] != **p) {
            continue;
        }

        if (len < words[i].len) {
            return memcmp(*p, words[i].text, len) == 0 ? PS_JSON_TRUNCATED
                                                       : PS_JSON_INVALID;
        }

        if (memcmp(*p, words[i].text, words[i].len) != 0) {
            return PS_JSON_INVALID;
        }

        node = ps_json_tape_push(tape, words[i].type, *p);
        if (node == NULL) {
            return PS_JSON_MEMORY;
        }

        node->len = (uint32_t) words[i].len;
        *p += words[i].len;

        return PS_JSON_OK;
    }

    return PS_JSON_INVALID;
}


/* a member's name and the colon */

static ps_json_rc_e
ps_json_tape_name(ps_json_tape_t *tape, const char **p)
{
    const char    *end;
    ps_json_rc_e   rc;

    end = tape->text + tape->len;

    if (*p == end) {
        return PS_JSON_TRUNCATED;
    }

    if (**p != '"') {
        return PS_JSON_INVALID;
    }

    rc = ps_json_tape_text(tape, p);
    if (rc != PS_JSON_OK) {
        return rc;
    }

    *p = ps_json_tape_blank(*p, end);

    if (*p == end) {
        return PS_JSON_TRUNCATED;
    }

    if (**p != ':') {
        return PS_JSON_INVALID;
    }

    (*p)++;

    return PS_JSON_OK;
}


static ps_json_rc_e
ps_json_tape_text(ps_json_tape_t *tape, const char **start)
{
    size_t           n;
    const char      *p, *end;
    ps_json_node_t  *node;

    p = *start + 1;
    end = tape->text + tape->len;

    node = ps_json_tape_push(tape, PS_JSON_STRING, *start);
    if (node == NULL) {
        return PS_JSON_MEMORY;
    }

    while (p < end) {

        if (*p == '"') {
            node->len = (uint32_t) (p + 1 - *start);
            node->count = node->len - 2;
            *start = p + 1;

            return node->escaped ? ps_json_tape_unescape(tape, node)
                                 : PS_JSON_OK;
        }

        if (*p == '\\') {

            /* what follows it is judged when it is resolved */

            node->escaped = 1;
            p += 2;
            continue;
        }

        if ((unsigned char) *p < 0x20) {
            *start = p;
            return PS_JSON_INVALID;
        }

        if ((unsigned char) *p < 0x80) {
            p++;
            continue;
        }

        n = ps_utf8_length((const unsigned char *) p, (size_t) (end - p));

        if (n == 0) {
            *start = p;
            return PS_JSON_INVALID;
        }

        p += n;
    }

    *start = end;

    return PS_JSON_TRUNCATED;
}


/*
 * Resolved into memory of its own, at the string's place there: the result
 * is never longer.
 */

static ps_json_rc_e
ps_json_tape_unescape(ps_json_tape_t *tape, ps_json_node_t *node)
{
    int          c, low;
    char        *dst, *strings;
    const char  *p, *end;

    static const char  from[] = "\"\\/bfnrt";
    static const char  to[] = "\"\\/\b\f\n\r\t";

    if (tape->strings_size < tape->len) {
        strings = realloc(tape->strings, tape->len);
        if (strings == NULL) {
            return PS_JSON_MEMORY;
        }

        tape->strings = strings;
        tape->strings_size = tape->len;
    }

    p = tape->text + node->pos + 1;
    end = p + node->len - 2;
    dst = tape->strings + node->pos + 1;

    while (p < end) {

        if (*p != '\\') {
            *dst++ = *p++;
            continue;
        }

        /* the closing quote was found, so one byte follows at least */

        p++;

        if (*p != 'u') {
            const char  *found = memchr(from, *p, sizeof(from) - 1);

            if (found == NULL) {
                return PS_JSON_INVALID;
            }

            *dst++ = to[found - from];
            p++;
            continue;
        }

        if (end - p < 5 || (c = ps_json_tape_hex(p + 1)) < 0) {
            return PS_JSON_INVALID;
        }

        p += 5;

        if (c >= 0xd800 && c < 0xe000) {

            if (c >= 0xdc00 || end - p < 6 || p[0] != '\\' || p[1] != 'u'
                || (low = ps_json_tape_hex(p + 2)) < 0xdc00 || low > 0xdfff)
            {
                return PS_JSON_INVALID;
            }

            c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
            p += 6;
        }

        if (c < 0x80) {
            *dst++ = (char) c;

        } else if (c < 0x800) {
            *dst++ = (char) (0xc0 | (c >> 6));
            *dst++ = (char) (0x80 | (c & 0x3f));

        } else if (c < 0x10000) {
            *dst++ = (char) (0xe0 | (c >> 12));
            *dst++ = (char) (0x80 | ((c >> 6) & 0x3f));
            *dst++ = (char) (0x80 | (c & 0x3f));

        } else {
            *dst++ = (char) (0xf0 | (c >> 18));
            *dst++ = (char) (0x80 | ((c >> 12) & 0x3f));
            *dst++ = (char) (0x80 | ((c >> 6) & 0x3f));
            *dst++ = (char) (0x80 | (c & 0x3f));
        }
    }

    node->count = (unsigned) (dst - (tape->strings + node->pos + 1))
                  & 0xffffff;

    return PS_JSON_OK;
}


static ps_json_rc_e
ps_json_tape_number(ps_json_tape_t *tape, const char **start)
{
    const char      *p, *q, *end;
    ps_json_node_t  *node;

    p = *start;
    end = tape->text + tape->len;

    if (*p == '-') {
        p++;
    }

    q = p;

    while (p < end && *p >= '0' && *p <= '9') {
        p++;
    }

    if (p == q) {
        goto invalid;
    }

    if (*q == '0' && p - q > 1) {
        p = q + 1;
        goto invalid;
    }

    if (p < end && *p == '.') {
        q = ++p;

        while (p < end && *p >= '0' && *p <= '9') {
            p++;
        }

        if (p == q) {
            goto invalid;
        }
    }

    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;

        if (p < end && (*p == '+' || *p == '-')) {
            p++;
        }

        q = p;

        while (p < end && *p >= '0' && *p <= '9') {
            p++;
        }

        if (p == q) {
            goto invalid;
        }
    }

    node = ps_json_tape_push(tape, PS_JSON_NUMBER, *start);
    if (node == NULL) {
        return PS_JSON_MEMORY;
    }

    node->len = (uint32_t) (p - *start);
    *start = p;

    return PS_JSON_OK;

invalid:

    *start = p;

    return (p == end) ? PS_JSON_TRUNCATED : PS_JSON_INVALID;
}


static ps_json_node_t *
ps_json_tape_push(ps_json_tape_t *tape, ps_json_type_e type, const char *p)
{
    uint32_t         size;
    ps_json_node_t  *node;

    if (tape->n == tape->size) {
        size = tape->size ? tape->size * 2 : 256;

        node = realloc(tape->nodes, size * sizeof(ps_json_node_t));
        if (node == NULL) {
            return NULL;
        }

        tape->nodes = node;
        tape->size = size;
    }

    node = &tape->nodes[tape->n++];

    node->pos = (uint32_t) (p - tape->text);
    node->len = 0;
    node->end = tape->n;
    node->type = type;
    node->escaped = 0;
    node->mark = 0;
    node->count = 0;

    return node;
}


void
ps_json_tape_free(ps_json_tape_t *tape)
{
    free(tape->nodes);
    free(tape->strings);
    free(tape->hashes);

    tape->nodes = NULL;
    tape->strings = NULL;
    tape->hashes = NULL;

    tape->n = 0;
    tape->size = 0;
    tape->strings_size = 0;
    tape->hashes_size = 0;
}


void
ps_json_tape_trim(ps_json_tape_t *tape, uint32_t nodes)
{
    if (tape->size > nodes
        || tape->strings_size / sizeof(ps_json_node_t) > nodes)
    {
        ps_json_tape_free(tape);
    }
}


static int
ps_json_tape_hex(const char *p)
{
    int  i, c, value;

    value = 0;

    for (i = 0; i < 4; i++) {
        c = (unsigned char) p[i];

        if (c >= '0' && c <= '9') {
            c -= '0';

        } else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') {
            c = (c | 0x20) - 'a' + 10;

        } else {
            return -1;
        }

        value = value * 16 + c;
    }

    return value;
}
