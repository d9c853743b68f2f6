
#include <string.h>

#include "ps_vary.h"


static void ps_vary_name(ps_vary_t *vary, const char *name, size_t len);
static int ps_vary_is_token(char c);
static char ps_vary_lower(char c);
static int ps_vary_is_blank(char c);


void
ps_vary_init(ps_vary_t *vary)
{
    vary->len = 0;
    vary->n = 0;
    vary->coding = 0;
    vary->any = 0;
    vary->overflow = 0;
}


void
ps_vary_add(ps_vary_t *vary, const char *value, size_t len)
{
    const char  *p, *end, *name;

    p = value;
    end = value + len;

    while (p < end) {

        if (ps_vary_is_blank(*p) || *p == ',') {
            p++;
            continue;
        }

        name = p;

        while (p < end && !ps_vary_is_blank(*p) && *p != ',') {
            p++;
        }

        ps_vary_name(vary, name, (size_t) (p - name));
    }
}


static void
ps_vary_name(ps_vary_t *vary, const char *name, size_t len)
{
    int          order;
    char         lower[PS_VARY_LEN];
    size_t       i, n;
    const char  *p, *other, *at;

    static const char  coding[] = "accept-encoding";

    if (len == 1 && name[0] == '*') {
        vary->any = 1;
        return;
    }

    if (len + 1 > PS_VARY_LEN) {
        vary->overflow = 1;
        return;
    }

    for (i = 0; i < len; i++) {

        if (!ps_vary_is_token(name[i])) {
            vary->overflow = 1;
            return;
        }

        lower[i] = ps_vary_lower(name[i]);
    }

    if (len == sizeof(coding) - 1 && memcmp(lower, coding, len) == 0) {
        vary->coding = 1;
        return;
    }

    /* its place; a comma is less than what a name may have */

    p = vary->text;
    at = p;

    while (ps_vary_next(vary, &p, &other, &n)) {

        order = memcmp(lower, other, len < n ? len : n);

        if (order == 0) {
            order = (len > n) - (len < n);
        }

        if (order == 0) {
            return;
        }

        if (order < 0) {
            break;
        }

        at = p;
    }

    if (vary->n == PS_VARY_NAMES || vary->len + len + 1 > PS_VARY_LEN) {
        vary->overflow = 1;
        return;
    }

    i = (size_t) (at - vary->text);

    memmove(vary->text + i + len + 1, vary->text + i, vary->len - i);
    memcpy(vary->text + i, lower, len);
    vary->text[i + len] = ',';

    vary->len += len + 1;
    vary->n++;
}


int
ps_vary_next(const ps_vary_t *vary, const char **p, const char **name,
    size_t *len)
{
    const char  *comma, *end;

    end = vary->text + vary->len;

    if (*p == end) {
        return 0;
    }

    comma = memchr(*p, ',', (size_t) (end - *p));

    *name = *p;
    *len = (size_t) (comma - *p);
    *p = comma + 1;

    return 1;
}


char *
ps_vary_put(char *p, const char *name, size_t nlen, const char *value,
    size_t len)
{
    int          fold, quoted, gap;
    char        *start;
    const char  *end;

    static const char  language[] = "accept-language";

    fold = (nlen == sizeof(language) - 1
            && memcmp(name, language, nlen) == 0);

    start = p;
    end = value + len;
    quoted = 0;
    gap = 0;

    for ( /* void */ ; value < end; value++) {

        if (!quoted && ps_vary_is_blank(*value)) {
            gap++;
            continue;
        }

        /* blanks within a member stay as they are */

        if (gap && p != start && p[-1] != ',' && *value != ',') {
            memcpy(p, value - gap, (size_t) gap);
            p += gap;
        }

        gap = 0;

        if (*value == '"') {
            quoted = !quoted;

        } else if (*value == '\\' && quoted && value + 1 < end) {
            *p++ = *value++;
        }

        *p++ = fold ? ps_vary_lower(*value) : *value;
    }

    return p;
}


/* RFC 9110, Section 5.6.2 */

static int
ps_vary_is_token(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
           || (c >= '0' && c <= '9')
           || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}


static char
ps_vary_lower(char c)
{
    return (c >= 'A' && c <= 'Z') ? (char) (c | 0x20) : c;
}


static int
ps_vary_is_blank(char c)
{
    return c == ' ' || c == '\t';
}
