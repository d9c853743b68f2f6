
/*
 * JSON as text: the walk over a value, which checks it.
 */

#include <string.h>

#include "ps_json_text.h"
#include "ps_json_walk.h"


static const char *ps_json_skip_members(const char *p, const char *end,
    unsigned depth, char close);
static const char *ps_json_skip_number(const char *p, const char *end);
static const char *ps_json_skip_word(const char *p, const char *end,
    const char *word, size_t len);


int
ps_json_text_check(const char *text, size_t len)
{
    const char  *p, *end;

    end = text + len;

    p = ps_json_skip_value(ps_json_skip_blank(text, end), end,
                           PS_JSON_TEXT_DEPTH);

    return (p && ps_json_skip_blank(p, end) == end) ? 0 : -1;
}


const char *
ps_json_skip_blank(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) {
        p++;
    }

    return p;
}


const char *
ps_json_skip_value(const char *p, const char *end, unsigned depth)
{
    if (p == end) {
        return NULL;
    }

    switch (*p) {

    case '{':
        return depth ? ps_json_skip_members(p + 1, end, depth - 1, '}')
                     : NULL;

    case '[':
        return depth ? ps_json_skip_members(p + 1, end, depth - 1, ']')
                     : NULL;

    case '"':
        return ps_json_skip_string(p, end);

    case 't':
        return ps_json_skip_word(p, end, "true", 4);

    case 'f':
        return ps_json_skip_word(p, end, "false", 5);

    case 'n':
        return ps_json_skip_word(p, end, "null", 4);

    default:
        return ps_json_skip_number(p, end);
    }
}


static const char *
ps_json_skip_members(const char *p, const char *end, unsigned depth,
    char close)
{
    p = ps_json_skip_blank(p, end);

    if (p < end && *p == close) {
        return p + 1;
    }

    for ( ;; ) {

        if (close == '}') {

            if (p == end || *p != '"') {
                return NULL;
            }

            p = ps_json_skip_string(p, end);
            if (p == NULL) {
                return NULL;
            }

            p = ps_json_skip_blank(p, end);

            if (p == end || *p != ':') {
                return NULL;
            }

            p = ps_json_skip_blank(p + 1, end);
        }

        p = ps_json_skip_value(p, end, depth);
        if (p == NULL) {
            return NULL;
        }

        p = ps_json_skip_blank(p, end);

        if (p == end) {
            return NULL;
        }

        if (*p == close) {
            return p + 1;
        }

        if (*p != ',') {
            return NULL;
        }

        p = ps_json_skip_blank(p + 1, end);
    }
}


const char *
ps_json_skip_string(const char *p, const char *end)
{
    for (p++; p < end; p++) {

        if ((unsigned char) *p < 0x20) {
            return NULL;
        }

        if (*p == '"') {
            return p + 1;
        }

        if (*p != '\\') {
            continue;
        }

        if (++p == end) {
            return NULL;
        }

        switch (*p) {

        case '"': case '\\': case '/':
        case 'b': case 'f': case 'n': case 'r': case 't':
            break;

        case 'u':
            if (end - p < 5 || ps_json_hex4(p + 1) < 0) {
                return NULL;
            }

            p += 4;
            break;

        default:
            return NULL;
        }
    }

    return NULL;
}


static const char *
ps_json_skip_number(const char *p, const char *end)
{
    const char  *digits;

    if (p < end && *p == '-') {
        p++;
    }

    if (p == end || *p < '0' || *p > '9') {
        return NULL;
    }

    if (*p == '0') {
        p++;

    } else {
        while (p < end && *p >= '0' && *p <= '9') {
            p++;
        }
    }

    if (p < end && *p == '.') {
        digits = ++p;

        while (p < end && *p >= '0' && *p <= '9') {
            p++;
        }

        if (p == digits) {
            return NULL;
        }
    }

    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;

        if (p < end && (*p == '+' || *p == '-')) {
            p++;
        }

        digits = p;

        while (p < end && *p >= '0' && *p <= '9') {
            p++;
        }

        if (p == digits) {
            return NULL;
        }
    }

    return p;
}


static const char *
ps_json_skip_word(const char *p, const char *end, const char *word,
    size_t len)
{
    return ((size_t) (end - p) >= len && memcmp(p, word, len) == 0) ? p + len
                                                                   : NULL;
}


int
ps_json_hex4(const char *p)
{
    int   i, code;
    char  c;

    code = 0;

    for (i = 0; i < 4; i++) {
        c = p[i];

        if (c >= '0' && c <= '9') {
            code = code << 4 | (c - '0');

        } else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') {
            code = code << 4 | ((c | 0x20) - 'a' + 10);

        } else {
            return -1;
        }
    }

    return code;
}
