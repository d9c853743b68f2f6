
#include <stdint.h>
#include <string.h>

#include "ps_targeted.h"


#define PS_SF_DIGITS  15                /* of an integer; RFC 8941, 3.3.1 */


typedef enum {
    PS_SF_INTEGER = 0,
    PS_SF_BOOLEAN,
    PS_SF_OTHER
} ps_sf_type_e;


typedef struct {
    ps_sf_type_e  type;
    int64_t       n;                    /* of an integer, or 0 and 1 */
} ps_sf_value_t;


typedef struct {
    const char   *p;
    const char   *end;
} ps_sf_t;


static int ps_sf_key(ps_sf_t *sf, const char **key, size_t *len);
static int ps_sf_member(ps_sf_t *sf, ps_sf_value_t *value);
static int ps_sf_inner_list(ps_sf_t *sf);
static int ps_sf_parameters(ps_sf_t *sf);
static int ps_sf_bare_item(ps_sf_t *sf, ps_sf_value_t *value);
static int ps_sf_number(ps_sf_t *sf, ps_sf_value_t *value);
static int ps_sf_string(ps_sf_t *sf);
static int ps_sf_token(ps_sf_t *sf);
static int ps_sf_bytes(ps_sf_t *sf);
static int ps_sf_boolean(ps_sf_t *sf, ps_sf_value_t *value);
static void ps_sf_blanks(ps_sf_t *sf, int tabs);
static void ps_targeted_directive(ps_cache_control_t *cc, const char *name,
    size_t len, const ps_sf_value_t *value);


#define ps_sf_digit(c)   ((c) >= '0' && (c) <= '9')
#define ps_sf_lower(c)   ((c) >= 'a' && (c) <= 'z')
#define ps_sf_alpha(c)   (ps_sf_lower((c) | 0x20))


void
ps_targeted_init(ps_targeted_t *targeted)
{
    memset(targeted, 0, sizeof(ps_targeted_t));

    ps_cache_control_init(&targeted->cc);
}


void
ps_targeted_parse(ps_targeted_t *targeted, const char *value, size_t len)
{
    size_t         klen;
    ps_sf_t        sf;
    const char    *key;
    ps_sf_value_t  member;

    targeted->lines++;

    sf.p = value;
    sf.end = value + len;

    ps_sf_blanks(&sf, 0);

    while (sf.end > sf.p && sf.end[-1] == ' ') {
        sf.end--;
    }

    if (sf.p == sf.end) {
        targeted->empty = 1;
        return;
    }

    for ( ;; ) {

        if (ps_sf_key(&sf, &key, &klen) != 0
            || ps_sf_member(&sf, &member) != 0)
        {
            targeted->failed = 1;
            return;
        }

        targeted->members++;
        ps_targeted_directive(&targeted->cc, key, klen, &member);

        ps_sf_blanks(&sf, 1);

        if (sf.p == sf.end) {
            return;
        }

        if (*sf.p++ != ',') {
            targeted->failed = 1;
            return;
        }

        ps_sf_blanks(&sf, 1);

        /* after a comma there is one more: the next key sees to it */
    }
}


int
ps_targeted_valid(const ps_targeted_t *targeted)
{
    /* an empty line among others is two commas in a row, once joined */

    return !targeted->failed && targeted->members
           && !(targeted->empty && targeted->lines > 1);
}


static void
ps_targeted_directive(ps_cache_control_t *cc, const char *name, size_t len,
    const ps_sf_value_t *value)
{
    int64_t   age;
    unsigned  flag;

#define ps_targeted_is(s)  (len == sizeof(s) - 1 && memcmp(name, s, len) == 0)

    flag = !(value->type == PS_SF_BOOLEAN && value->n == 0);

    age = (value->type == PS_SF_INTEGER && value->n >= 0) ? value->n : 0;

    if (age > PS_CC_MAX_AGE) {
        age = PS_CC_MAX_AGE;
    }

    if (ps_targeted_is("max-age")) {
        cc->max_age = age;

    } else if (ps_targeted_is("s-maxage")) {
        cc->s_maxage = age;

    } else if (ps_targeted_is("stale-while-revalidate")) {
        cc->stale_while_revalidate = age;

    } else if (ps_targeted_is("stale-if-error")) {
        cc->stale_if_error = age;

    } else if (ps_targeted_is("no-store")) {
        cc->no_store = flag;

    } else if (ps_targeted_is("no-cache")) {
        cc->no_cache = flag;

    } else if (ps_targeted_is("private")) {
        cc->private_ = flag;

    } else if (ps_targeted_is("public")) {
        cc->public_ = flag;

    } else if (ps_targeted_is("must-understand")) {
        cc->must_understand = flag;

    } else if (ps_targeted_is("must-revalidate")
               || ps_targeted_is("proxy-revalidate"))
    {
        cc->must_revalidate = flag;
    }

#undef ps_targeted_is
}


static int
ps_sf_key(ps_sf_t *sf, const char **key, size_t *len)
{
    *key = sf->p;

    if (sf->p == sf->end || !(ps_sf_lower(*sf->p) || *sf->p == '*')) {
        return -1;
    }

    do {
        sf->p++;
    } while (sf->p < sf->end
             && (ps_sf_lower(*sf->p) || ps_sf_digit(*sf->p)
                 || *sf->p == '_' || *sf->p == '-' || *sf->p == '.'
                 || *sf->p == '*'));

    *len = (size_t) (sf->p - *key);

    return 0;
}


/* what stands behind a key: nothing, which is true, an item, or a list */

static int
ps_sf_member(ps_sf_t *sf, ps_sf_value_t *value)
{
    if (sf->p == sf->end || *sf->p != '=') {
        value->type = PS_SF_BOOLEAN;
        value->n = 1;

        return ps_sf_parameters(sf);
    }

    sf->p++;

    if (sf->p < sf->end && *sf->p == '(') {
        value->type = PS_SF_OTHER;

        if (ps_sf_inner_list(sf) != 0) {
            return -1;
        }

    } else if (ps_sf_bare_item(sf, value) != 0) {
        return -1;
    }

    return ps_sf_parameters(sf);
}


static int
ps_sf_inner_list(ps_sf_t *sf)
{
    ps_sf_value_t  item;

    sf->p++;

    for ( ;; ) {

        ps_sf_blanks(sf, 0);

        if (sf->p == sf->end) {
            return -1;
        }

        if (*sf->p == ')') {
            sf->p++;
            return 0;
        }

        if (ps_sf_bare_item(sf, &item) != 0 || ps_sf_parameters(sf) != 0
            || sf->p == sf->end || (*sf->p != ' ' && *sf->p != ')'))
        {
            return -1;
        }
    }
}


static int
ps_sf_parameters(ps_sf_t *sf)
{
    size_t         len;
    const char    *key;
    ps_sf_value_t  value;

    while (sf->p < sf->end && *sf->p == ';') {

        sf->p++;
        ps_sf_blanks(sf, 0);

        if (ps_sf_key(sf, &key, &len) != 0) {
            return -1;
        }

        if (sf->p < sf->end && *sf->p == '=') {
            sf->p++;

            if (ps_sf_bare_item(sf, &value) != 0) {
                return -1;
            }
        }
    }

    return 0;
}


static int
ps_sf_bare_item(ps_sf_t *sf, ps_sf_value_t *value)
{
    value->type = PS_SF_OTHER;
    value->n = 0;

    if (sf->p == sf->end) {
        return -1;
    }

    if (*sf->p == '-' || ps_sf_digit(*sf->p)) {
        return ps_sf_number(sf, value);
    }

    if (*sf->p == '"') {
        return ps_sf_string(sf);
    }

    if (*sf->p == '*' || ps_sf_alpha(*sf->p)) {
        return ps_sf_token(sf);
    }

    if (*sf->p == ':') {
        return ps_sf_bytes(sf);
    }

    if (*sf->p == '?') {
        return ps_sf_boolean(sf, value);
    }

    return -1;
}


static int
ps_sf_number(ps_sf_t *sf, ps_sf_value_t *value)
{
    int       negative;
    unsigned  whole, fraction;

    negative = (*sf->p == '-');
    sf->p += negative;

    value->n = 0;

    for (whole = 0; sf->p < sf->end && ps_sf_digit(*sf->p); whole++) {
        if (whole == PS_SF_DIGITS) {
            return -1;
        }

        value->n = value->n * 10 + (*sf->p++ - '0');
    }

    if (whole == 0) {
        return -1;
    }

    if (negative) {
        value->n = -value->n;
    }

    if (sf->p == sf->end || *sf->p != '.') {
        value->type = PS_SF_INTEGER;
        return 0;
    }

    sf->p++;

    for (fraction = 0; sf->p < sf->end && ps_sf_digit(*sf->p); fraction++) {
        sf->p++;
    }

    return (whole <= 12 && fraction >= 1 && fraction <= 3) ? 0 : -1;
}


static int
ps_sf_string(ps_sf_t *sf)
{
    sf->p++;

    while (sf->p < sf->end) {

        if (*sf->p == '"') {
            sf->p++;
            return 0;
        }

        if (*sf->p == '\\') {
            sf->p++;

            if (sf->p == sf->end || (*sf->p != '"' && *sf->p != '\\')) {
                return -1;
            }

        } else if (*sf->p < 0x20 || *sf->p > 0x7e) {
            return -1;
        }

        sf->p++;
    }

    return -1;
}


static int
ps_sf_token(ps_sf_t *sf)
{
    /* not of the string's end, which strchr() would find */

    while (sf->p < sf->end && *sf->p != '\0'
           && (ps_sf_alpha(*sf->p) || ps_sf_digit(*sf->p)
               || strchr("!#$%&'*+-.^_`|~:/", *sf->p) != NULL))
    {
        sf->p++;
    }

    return 0;
}


static int
ps_sf_bytes(ps_sf_t *sf)
{
    sf->p++;

    while (sf->p < sf->end
           && (ps_sf_alpha(*sf->p) || ps_sf_digit(*sf->p) || *sf->p == '+'
               || *sf->p == '/' || *sf->p == '='))
    {
        sf->p++;
    }

    if (sf->p == sf->end || *sf->p != ':') {
        return -1;
    }

    sf->p++;

    return 0;
}


static int
ps_sf_boolean(ps_sf_t *sf, ps_sf_value_t *value)
{
    sf->p++;

    if (sf->p == sf->end || (*sf->p != '0' && *sf->p != '1')) {
        return -1;
    }

    value->type = PS_SF_BOOLEAN;
    value->n = *sf->p++ - '0';

    return 0;
}


static void
ps_sf_blanks(ps_sf_t *sf, int tabs)
{
    while (sf->p < sf->end && (*sf->p == ' ' || (tabs && *sf->p == '\t'))) {
        sf->p++;
    }
}
