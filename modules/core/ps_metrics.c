
#include "ps_metrics.h"

#include <string.h>
#include <strings.h>


static int ps_is_name(char c, int first);
static const char *ps_skip_blank(const char *p, const char *end);
static const char *ps_accept_end(const char *p, const char *end, char other);
static unsigned ps_accept_q(const char *p, const char *end);


int
ps_label_next(const char **pos, const char *end, ps_label_t *label)
{
    const char  *p;

    p = *pos;

    if (p == end) {
        return 0;
    }

    label->name = p;

    while (p < end && ps_is_name(*p, p == label->name)) {
        p++;
    }

    label->name_len = (size_t) (p - label->name);

    if (label->name_len == 0 || end - p < 3 || p[0] != '=' || p[1] != '"') {
        return -1;
    }

    p += 2;
    label->value = p;

    while (p < end && *p != '"') {

        if (*p == '\n') {
            return -1;
        }

        if (*p == '\\') {
            p++;

            if (p == end || (*p != '\\' && *p != '"' && *p != 'n')) {
                return -1;
            }
        }

        p++;
    }

    if (p == end) {
        return -1;
    }

    label->value_len = (size_t) (p++ - label->value);

    if (p < end) {

        /* another pair must follow a comma */

        if (*p++ != ',' || p == end) {
            return -1;
        }
    }

    *pos = p;

    return 1;
}


size_t
ps_label_unescape(char *dst, const char *src, size_t len)
{
    char        *out;
    const char  *end;

    out = dst;
    end = src + len;

    while (src < end) {

        if (*src == '\\' && src + 1 < end) {
            src++;
            *out++ = *src == 'n' ? '\n' : *src;
            src++;
            continue;
        }

        *out++ = *src++;
    }

    return (size_t) (out - dst);
}


unsigned
ps_accept_weight(const char *accept, size_t len, const char *type)
{
    size_t       n;
    unsigned     weight, q;
    const char  *p, *end, *next, *last;

    n = strlen(type);
    weight = 0;
    end = accept + len;

    for (p = accept; p < end; p = next + 1) {

        next = ps_accept_end(p, end, ',');

        p = ps_skip_blank(p, next);
        last = ps_accept_end(p, next, ';');

        while (last > p && (last[-1] == ' ' || last[-1] == '\t')) {
            last--;
        }

        if ((size_t) (last - p) != n || strncasecmp(p, type, n) != 0) {
            continue;
        }

        q = ps_accept_q(last, next);

        if (q > weight) {
            weight = q;
        }
    }

    return weight;
}


static int
ps_is_name(char c, int first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'
           || (!first && c >= '0' && c <= '9');
}


static const char *
ps_skip_blank(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t')) {
        p++;
    }

    return p;
}


/* the next such delimiter outside of a quoted string, or the end */

static const char *
ps_accept_end(const char *p, const char *end, char delimiter)
{
    int  quoted;

    quoted = 0;

    for ( /* void */ ; p < end; p++) {

        if (*p == '"') {
            quoted = !quoted;

        } else if (quoted && *p == '\\' && p + 1 < end) {
            p++;

        } else if (!quoted && *p == delimiter) {
            break;
        }
    }

    return p;
}


/* "q" among the parameters, 1 without; what is malformed counts as 0 */

static unsigned
ps_accept_q(const char *p, const char *end)
{
    unsigned     q, unit;
    const char  *next;

    for (p = ps_accept_end(p, end, ';'); p < end; p = next) {

        p = ps_skip_blank(p + 1, end);
        next = ps_accept_end(p, end, ';');

        if (next - p < 3 || (*p != 'q' && *p != 'Q') || p[1] != '=') {
            continue;
        }

        p += 2;

        if (*p != '0' && *p != '1') {
            return 0;
        }

        q = (unsigned) (*p++ - '0') * 1000;

        if (p < next && *p == '.') {
            unit = 100;

            for (p++; p < next && *p >= '0' && *p <= '9'; p++) {
                q += (unsigned) (*p - '0') * unit;
                unit /= 10;
            }
        }

        if (ps_skip_blank(p, next) != next) {
            return 0;
        }

        return q > 1000 ? 1000 : q;
    }

    return 1000;
}
