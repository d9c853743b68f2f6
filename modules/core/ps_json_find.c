
/*
 * Values of a JSON text that was checked: by a path, one by one, and what a
 * string stands for.
 */

#include <string.h>

#include "ps_json_text.h"
#include "ps_json_walk.h"


static int ps_json_find_member(const ps_json_text_t *object,
    const ps_json_text_t *name, ps_json_text_t *value);
static int ps_json_find_element(const ps_json_text_t *array,
    const ps_json_text_t *index, ps_json_text_t *value);
static int ps_json_name_is(const char *p, const char *end,
    const ps_json_text_t *name);
static int ps_json_unescape(const char **p, char **out);


const char *
ps_json_path_parse(ps_json_path_t *path, const char *text, size_t len,
    char *buf)
{
    char        *out;
    const char  *p, *end;

    path->n = 0;
    out = buf;
    p = text;
    end = text + len;

    if (len == 0 || *p != '/') {
        return "it must begin with \"/\"";
    }

    while (p < end) {

        if (path->n == PS_JSON_PATH_MAX) {
            return "it has more than 8 parts";
        }

        path->token[path->n].data = out;

        for (p++; p < end && *p != '/'; p++) {

            if (*p != '~') {
                *out++ = *p;
                continue;
            }

            if (++p == end || (*p != '0' && *p != '1')) {
                return "\"~\" must be written as \"~0\"";
            }

            *out++ = (*p == '0') ? '~' : '/';
        }

        path->token[path->n].len = (size_t) (out - path->token[path->n].data);
        path->n++;
    }

    return NULL;
}


int
ps_json_text_find(const ps_json_text_t *text, const ps_json_path_t *path,
    ps_json_text_t *value)
{
    unsigned     i;
    const char  *end;

    end = text->data + text->len;

    value->data = ps_json_skip_blank(text->data, end);
    value->len = (size_t) (ps_json_skip_value(value->data, end,
                                              PS_JSON_TEXT_DEPTH)
                           - value->data);

    for (i = 0; i < path->n; i++) {

        switch (*value->data) {

        case '{':
            if (ps_json_find_member(value, &path->token[i], value) != 0) {
                return -1;
            }

            break;

        case '[':
            if (ps_json_find_element(value, &path->token[i], value) != 0) {
                return -1;
            }

            break;

        default:
            return -1;
        }
    }

    return 0;
}


/* "value" may be "object" */

static int
ps_json_find_member(const ps_json_text_t *object, const ps_json_text_t *name,
    ps_json_text_t *value)
{
    int              found, match;
    const char      *p, *end, *start;
    ps_json_text_t   got;

    found = 0;
    end = object->data + object->len;
    p = ps_json_skip_blank(object->data + 1, end);

    got.data = NULL;
    got.len = 0;

    while (*p != '}') {
        start = p;
        p = ps_json_skip_string(p, end);

        match = ps_json_name_is(start + 1, p - 1, name);

        p = ps_json_skip_blank(p, end);
        p = ps_json_skip_blank(p + 1, end);

        start = p;
        p = ps_json_skip_value(p, end, PS_JSON_TEXT_DEPTH);

        if (match) {

            if (found) {
                return -1;
            }

            found = 1;
            got.data = start;
            got.len = (size_t) (p - start);
        }

        p = ps_json_skip_blank(p, end);

        if (*p == ',') {
            p = ps_json_skip_blank(p + 1, end);
        }
    }

    if (!found) {
        return -1;
    }

    *value = got;

    return 0;
}


static int
ps_json_find_element(const ps_json_text_t *array, const ps_json_text_t *index,
    ps_json_text_t *value)
{
    size_t           i, n;
    const char      *p;
    ps_json_text_t   got;

    if (index->len == 0 || index->len > 6
        || (index->len > 1 && index->data[0] == '0'))
    {
        return -1;
    }

    n = 0;

    for (i = 0; i < index->len; i++) {
        if (index->data[i] < '0' || index->data[i] > '9') {
            return -1;
        }

        n = n * 10 + (size_t) (index->data[i] - '0');
    }

    p = array->data;

    do {
        if (ps_json_text_next(array, &p, &got) != 1) {
            return -1;
        }
    } while (n--);

    *value = got;

    return 0;
}


int
ps_json_text_next(const ps_json_text_t *array, const char **p,
    ps_json_text_t *value)
{
    const char  *end, *start;

    end = array->data + array->len;
    start = *p;

    if (start == array->data) {

        if (array->len == 0 || *start != '[') {
            return -1;
        }
    }

    /* at the opening bracket, or at what follows an element */

    if (start != array->data) {
        start = ps_json_skip_blank(start, end);

        if (*start == ']') {
            return 0;
        }
    }

    start = ps_json_skip_blank(start + 1, end);

    if (*start == ']') {
        return 0;
    }

    *p = ps_json_skip_value(start, end, PS_JSON_TEXT_DEPTH);

    value->data = start;
    value->len = (size_t) (*p - start);

    return 1;
}


static int
ps_json_name_is(const char *p, const char *end, const ps_json_text_t *name)
{
    char         buf[4], *out;
    size_t       left, n;
    const char  *want;

    want = name->data;
    left = name->len;

    while (p < end) {

        if (*p != '\\') {
            if (left == 0 || *p != *want) {
                return 0;
            }

            p++;
            want++;
            left--;
            continue;
        }

        out = buf;

        if (ps_json_unescape(&p, &out) != 0) {
            return 0;
        }

        n = (size_t) (out - buf);

        if (left < n || memcmp(buf, want, n) != 0) {
            return 0;
        }

        want += n;
        left -= n;
    }

    return left == 0;
}


int
ps_json_text_id(const ps_json_text_t *value, char *buf, ps_json_text_t *id)
{
    char        *out;
    size_t       i;
    const char  *p, *end;

    if (value->len == 0) {
        return -1;
    }

    if (value->data[0] != '"') {

        /* digits, perhaps behind a sign: no fraction, no exponent, no word */

        i = (value->data[0] == '-');

        if (i == value->len) {
            return -1;
        }

        for ( /* void */ ; i < value->len; i++) {
            if (value->data[i] < '0' || value->data[i] > '9') {
                return -1;
            }
        }

        *id = *value;

        return 0;
    }

    p = value->data + 1;
    end = value->data + value->len - 1;

    if (memchr(p, '\\', (size_t) (end - p)) == NULL) {
        id->data = p;
        id->len = (size_t) (end - p);
        return 0;
    }

    out = buf;

    while (p < end) {

        if (*p != '\\') {
            *out++ = *p++;
            continue;
        }

        if (ps_json_unescape(&p, &out) != 0) {
            return -1;
        }
    }

    id->data = buf;
    id->len = (size_t) (out - buf);

    return 0;
}


/* one escape of a checked string, a surrogate pair included, as UTF-8 */

static int
ps_json_unescape(const char **p, char **out)
{
    int          code, low;
    char        *o;
    const char  *s;

    s = *p + 1;
    o = *out;

    switch (*s) {

    case 'b': *o++ = '\b'; break;
    case 'f': *o++ = '\f'; break;
    case 'n': *o++ = '\n'; break;
    case 'r': *o++ = '\r'; break;
    case 't': *o++ = '\t'; break;

    case 'u':
        code = ps_json_hex4(s + 1);
        s += 4;

        if (code >= 0xd800 && code <= 0xdfff) {

            /* the string ends with a quote at least, so s[1] is there */

            if (code >= 0xdc00 || s[1] != '\\' || s[2] != 'u') {
                return -1;
            }

            low = ps_json_hex4(s + 3);

            if (low < 0xdc00 || low > 0xdfff) {
                return -1;
            }

            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
            s += 6;
        }

        if (code == 0) {
            return -1;
        }

        if (code < 0x80) {
            *o++ = (char) code;

        } else if (code < 0x800) {
            *o++ = (char) (0xc0 | code >> 6);
            *o++ = (char) (0x80 | (code & 0x3f));

        } else if (code < 0x10000) {
            *o++ = (char) (0xe0 | code >> 12);
            *o++ = (char) (0x80 | (code >> 6 & 0x3f));
            *o++ = (char) (0x80 | (code & 0x3f));

        } else {
            *o++ = (char) (0xf0 | code >> 18);
            *o++ = (char) (0x80 | (code >> 12 & 0x3f));
            *o++ = (char) (0x80 | (code >> 6 & 0x3f));
            *o++ = (char) (0x80 | (code & 0x3f));
        }

        break;

    default:
        *o++ = *s;
    }

    *p = s + 1;
    *out = o;

    return 0;
}
