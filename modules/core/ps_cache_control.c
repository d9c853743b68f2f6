
#include <string.h>
#include <strings.h>

#include "ps_cache_control.h"


static int64_t ps_cc_age(const char *p, size_t len);
static void ps_cc_set(int64_t *age, int64_t value);
static void ps_cc_directive(ps_cache_control_t *cc, const char *name,
    size_t len, const char *arg, size_t arglen);


void
ps_cache_control_init(ps_cache_control_t *cc)
{
    memset(cc, 0, sizeof(ps_cache_control_t));

    cc->max_age = PS_CC_UNSET;
    cc->s_maxage = PS_CC_UNSET;
    cc->stale_while_revalidate = PS_CC_UNSET;
    cc->stale_if_error = PS_CC_UNSET;
    cc->max_stale = PS_CC_UNSET;
    cc->min_fresh = PS_CC_UNSET;
}


void
ps_cache_control_parse(ps_cache_control_t *cc, const char *value, size_t len)
{
    size_t       nlen, alen;
    const char  *p, *end, *name, *arg;

    p = value;
    end = value + len;

    while (p < end) {

        if (*p == ' ' || *p == '\t' || *p == ',') {
            p++;
            continue;
        }

        name = p;

        while (p < end && *p != '=' && *p != ',' && *p != ' ' && *p != '\t') {
            p++;
        }

        nlen = (size_t) (p - name);
        arg = NULL;
        alen = 0;

        if (p < end && *p == '=') {
            p++;

            if (p < end && *p == '"') {
                arg = ++p;

                while (p < end && *p != '"') {
                    p += (*p == '\\' && p + 1 < end) ? 2 : 1;
                }

                alen = (size_t) (p - arg);

            } else {
                arg = p;

                while (p < end && *p != ',' && *p != ' ' && *p != '\t') {
                    p++;
                }

                alen = (size_t) (p - arg);
            }
        }

        while (p < end && *p != ',') {
            p++;
        }

        ps_cc_directive(cc, name, nlen, arg, alen);
    }
}


static void
ps_cc_directive(ps_cache_control_t *cc, const char *name, size_t len,
    const char *arg, size_t arglen)
{
    int64_t  age;

#define ps_cc_is(s)  (len == sizeof(s) - 1 && strncasecmp(name, s, len) == 0)

    if (ps_cc_is("max-age")) {
        ps_cc_set(&cc->max_age, ps_cc_age(arg, arglen));

    } else if (ps_cc_is("s-maxage")) {
        ps_cc_set(&cc->s_maxage, ps_cc_age(arg, arglen));

    } else if (ps_cc_is("stale-while-revalidate")) {
        ps_cc_set(&cc->stale_while_revalidate, ps_cc_age(arg, arglen));

    } else if (ps_cc_is("stale-if-error")) {
        ps_cc_set(&cc->stale_if_error, ps_cc_age(arg, arglen));

    } else if (ps_cc_is("max-stale")) {
        ps_cc_set(&cc->max_stale, arg ? ps_cc_age(arg, arglen)
                                      : PS_CC_MAX_AGE);

    } else if (ps_cc_is("min-fresh")) {
        age = ps_cc_age(arg, arglen);

        /* here the larger asks for more */

        if (age > cc->min_fresh) {
            cc->min_fresh = age;
        }

    } else if (ps_cc_is("only-if-cached")) {
        cc->only_if_cached = 1;

    } else if (ps_cc_is("no-store")) {
        cc->no_store = 1;

    } else if (ps_cc_is("no-cache")) {
        cc->no_cache = 1;

    } else if (ps_cc_is("private")) {
        cc->private_ = 1;

    } else if (ps_cc_is("public")) {
        cc->public_ = 1;

    } else if (ps_cc_is("must-revalidate") || ps_cc_is("proxy-revalidate")) {
        cc->must_revalidate = 1;

    } else if (ps_cc_is("must-understand")) {
        cc->must_understand = 1;
    }

#undef ps_cc_is
}


static int64_t
ps_cc_age(const char *p, size_t len)
{
    size_t   i;
    int64_t  age;

    if (len == 0) {
        return 0;
    }

    age = 0;

    for (i = 0; i < len; i++) {
        if (p[i] < '0' || p[i] > '9') {
            return 0;
        }

        if (age < PS_CC_MAX_AGE) {
            age = age * 10 + (p[i] - '0');
        }
    }

    return age < PS_CC_MAX_AGE ? age : PS_CC_MAX_AGE;
}


static void
ps_cc_set(int64_t *age, int64_t value)
{
    if (*age == PS_CC_UNSET || value < *age) {
        *age = value;
    }
}
