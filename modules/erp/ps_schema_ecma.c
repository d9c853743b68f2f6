
#include "ps_schema_ecma.h"

#include <stdio.h>
#include <string.h>


typedef struct {
    const char           *p;
    const char           *end;
    char                 *dst;
    const char           *wrong;
} ps_schema_translate_t;


static int ps_schema_translate(ps_schema_translate_t *t);
static int ps_schema_translate_class(ps_schema_translate_t *t);
static int ps_schema_translate_escape(ps_schema_translate_t *t, int class);
static int ps_schema_translate_group(ps_schema_translate_t *t);
static int ps_schema_translate_quantifier(ps_schema_translate_t *t);
static int ps_schema_translate_property(ps_schema_translate_t *t);
static int ps_schema_translate_hex(ps_schema_translate_t *t, int digits,
    unsigned long *value);
static void ps_schema_translate_put(ps_schema_translate_t *t,
    const char *text);
static void ps_schema_translate_code(ps_schema_translate_t *t,
    unsigned long code);
static int ps_schema_translate_wrong(ps_schema_translate_t *t,
    const char *wrong);


/* what \s and \S are: PCRE2 without its Unicode properties knows ASCII only */

static const char  ps_schema_space[] =
    "\\t-\\r \\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}"
    "\\x{202f}\\x{205f}\\x{3000}\\x{feff}";

static const char  ps_schema_no_space[] =
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}!-\\x{9f}\\x{a1}-\\x{167f}"
    "\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}"
    "\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{fefe}"
    "\\x{ff00}-\\x{10ffff}";


/* the long names that schemas use; the short ones are the same in PCRE2 */

static const struct {
    const char  *name;
    const char  *shorter;
} ps_schema_properties[] = {
    { "Letter", "L" },
    { "Lowercase_Letter", "Ll" },
    { "Uppercase_Letter", "Lu" },
    { "Titlecase_Letter", "Lt" },
    { "Modifier_Letter", "Lm" },
    { "Other_Letter", "Lo" },
    { "Mark", "M" },
    { "Number", "N" },
    { "Decimal_Number", "Nd" },
    { "digit", "Nd" },
    { "Letter_Number", "Nl" },
    { "Other_Number", "No" },
    { "Punctuation", "P" },
    { "punct", "P" },
    { "Symbol", "S" },
    { "Separator", "Z" },
    { "Space_Separator", "Zs" },
    { "Other", "C" },
    { "Control", "Cc" }
};


int
ps_schema_ecma(const char *pattern, size_t len, char *dst, size_t *n,
    const char **wrong, size_t *at)
{
    int                    rc;
    ps_schema_translate_t  t;

    t.p = pattern;
    t.end = pattern + len;
    t.dst = dst;
    t.wrong = NULL;

    rc = ps_schema_translate(&t);

    *n = (size_t) (t.dst - dst);
    *at = (size_t) (t.p - pattern);
    *wrong = t.wrong;

    return rc;
}


static int
ps_schema_translate(ps_schema_translate_t *t)
{
    int   depth, atom;
    char  c;

    depth = 0;
    atom = 0;           /* whether a quantifier may follow */

    while (t->p < t->end) {
        c = *t->p;

        switch (c) {

        case '\\':
            if (ps_schema_translate_escape(t, 0) != 0) {
                return -1;
            }

            atom = 1;
            break;

        case '[':
            if (ps_schema_translate_class(t) != 0) {
                return -1;
            }

            atom = 1;
            break;

        case '(':
            if (ps_schema_translate_group(t) != 0) {
                return -1;
            }

            depth++;
            atom = 0;
            break;

        case ')':
            if (depth-- == 0) {
                return ps_schema_translate_wrong(t, "there is a \")\" too "
                                                    "many");
            }

            *t->dst++ = c;
            t->p++;
            atom = 1;
            break;

        case '.':
            ps_schema_translate_put(t, "[^\\n\\r\\x{2028}\\x{2029}]");
            t->p++;
            atom = 1;
            break;

        case '*':
        case '+':
        case '?':
        case '{':
            if (!atom) {
                return ps_schema_translate_wrong(t, "there is nothing to "
                                                    "repeat");
            }

            if (ps_schema_translate_quantifier(t) != 0) {
                return -1;
            }

            atom = 0;
            break;

        case '}':
        case ']':
            return ps_schema_translate_wrong(t, "\"}\" and \"]\" are written "
                                                "with \"\\\" before them");

        case '^':
        case '$':
        case '|':
            *t->dst++ = c;
            t->p++;
            atom = 0;
            break;

        default:

            /* a "#" or a blank means nothing special without (?x) */

            if (c == '\0') {
                ps_schema_translate_put(t, "\\x{0}");

            } else {
                *t->dst++ = c;
            }

            t->p++;
            atom = 1;
        }
    }

    if (depth) {
        return ps_schema_translate_wrong(t, "a \")\" is missing");
    }

    return 0;
}


static int
ps_schema_translate_class(ps_schema_translate_t *t)
{
    char  c;

    *t->dst++ = *t->p++;

    if (t->p < t->end && *t->p == '^') {
        *t->dst++ = *t->p++;
    }

    while (t->p < t->end) {
        c = *t->p;

        if (c == ']') {
            *t->dst++ = *t->p++;
            return 0;
        }

        if (c == '\\') {
            if (ps_schema_translate_escape(t, 1) != 0) {
                return -1;
            }

            continue;
        }

        /* no [:names:] there */

        if (c == '[') {
            *t->dst++ = '\\';
        }

        if (c == '\0') {
            ps_schema_translate_put(t, "\\x{0}");
            t->p++;
            continue;
        }

        *t->dst++ = c;
        t->p++;
    }

    return ps_schema_translate_wrong(t, "a \"]\" is missing");
}


static int
ps_schema_translate_escape(ps_schema_translate_t *t, int class)
{
    char           c;
    unsigned long  code, low;

    t->p++;

    if (t->p == t->end) {
        return ps_schema_translate_wrong(t, "nothing follows a \"\\\"");
    }

    c = *t->p++;

    switch (c) {

    case 'd':
    case 'D':
    case 'w':
    case 'W':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        *t->dst++ = '\\';
        *t->dst++ = c;
        return 0;

    case 's':
    case 'S':
        if (!class) {
            ps_schema_translate_put(t, c == 's' ? "[" : "[^");
        }

        ps_schema_translate_put(t, class && c == 'S' ? ps_schema_no_space
                                                     : ps_schema_space);
        if (!class) {
            *t->dst++ = ']';
        }

        return 0;

    case 'v':
        ps_schema_translate_code(t, 0x0b);
        return 0;

    case 'b':
        if (class) {
            ps_schema_translate_code(t, 0x08);
            return 0;
        }

        /* fall through */

    case 'B':
        if (class) {
            break;
        }

        *t->dst++ = '\\';
        *t->dst++ = c;
        return 0;

    case '0':
        if (t->p < t->end && *t->p >= '0' && *t->p <= '9') {
            break;
        }

        ps_schema_translate_code(t, 0);
        return 0;

    case 'c':
        if (t->p == t->end || (*t->p | 0x20) < 'a' || (*t->p | 0x20) > 'z') {
            break;
        }

        ps_schema_translate_code(t, (unsigned long) (*t->p++ & 0x1f));
        return 0;

    case 'x':
        if (ps_schema_translate_hex(t, 2, &code) != 0) {
            break;
        }

        ps_schema_translate_code(t, code);
        return 0;

    case 'u':
        if (t->p < t->end && *t->p == '{') {
            t->p++;

            if (ps_schema_translate_hex(t, 0, &code) != 0) {
                break;
            }

            t->p++;

        } else if (ps_schema_translate_hex(t, 4, &code) != 0) {
            break;
        }

        if (code >= 0xd800 && code < 0xdc00 && t->end - t->p >= 6
            && t->p[0] == '\\' && t->p[1] == 'u')
        {
            t->p += 2;

            if (ps_schema_translate_hex(t, 4, &low) != 0
                || low < 0xdc00 || low > 0xdfff)
            {
                break;
            }

            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        }

        if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
            break;
        }

        ps_schema_translate_code(t, code);
        return 0;

    case 'p':
    case 'P':
        *t->dst++ = '\\';
        *t->dst++ = c;

        return ps_schema_translate_property(t);

    case 'k':
        if (class || t->p == t->end || *t->p != '<') {
            break;
        }

        ps_schema_translate_put(t, "\\k");
        return 0;

    default:

        if (c >= '1' && c <= '9' && !class) {
            ps_schema_translate_put(t, "\\g{");
            *t->dst++ = c;

            while (t->p < t->end && *t->p >= '0' && *t->p <= '9') {
                *t->dst++ = *t->p++;
            }

            *t->dst++ = '}';
            return 0;
        }

        /* any other sign stands for itself */

        if (c > 0x20 && c < 0x7f && (c < '0' || c > '9')
            && ((c | 0x20) < 'a' || (c | 0x20) > 'z'))
        {
            *t->dst++ = '\\';
            *t->dst++ = c;
            return 0;
        }
    }

    return ps_schema_translate_wrong(t, "what follows a \"\\\" has no meaning "
                                        "in ECMA-262");
}


static int
ps_schema_translate_property(ps_schema_translate_t *t)
{
    size_t       i, len;
    const char  *end;

    end = (t->p < t->end && *t->p == '{')
          ? memchr(t->p, '}', (size_t) (t->end - t->p)) : NULL;

    if (end == NULL) {
        return ps_schema_translate_wrong(t, "a property is written as "
                                            "\"\\p{L}\"");
    }

    t->p++;
    len = (size_t) (end - t->p);

    /* names that PCRE2 has of its own */

    if (len == 0 || *t->p == 'X' || memchr(t->p, '&', len)
        || memchr(t->p, '^', len) || memchr(t->p, ' ', len))
    {
        return ps_schema_translate_wrong(t, "there is no such property");
    }

    for (i = 0;
         i < sizeof(ps_schema_properties) / sizeof(ps_schema_properties[0]);
         i++)
    {
        if (strlen(ps_schema_properties[i].name) == len
            && memcmp(t->p, ps_schema_properties[i].name, len) == 0)
        {
            *t->dst++ = '{';
            ps_schema_translate_put(t, ps_schema_properties[i].shorter);
            *t->dst++ = '}';

            t->p = end + 1;

            return 0;
        }
    }

    /* PCRE2 says whether it knows the name */

    *t->dst++ = '{';
    memcpy(t->dst, t->p, len + 1);
    t->dst += len + 1;
    t->p = end + 1;

    return 0;
}


static int
ps_schema_translate_group(ps_schema_translate_t *t)
{
    *t->dst++ = *t->p++;

    if (t->p < t->end && *t->p == '*') {
        return ps_schema_translate_wrong(t, "there is nothing to repeat");
    }

    if (t->p == t->end || *t->p != '?') {
        return 0;
    }

    *t->dst++ = *t->p++;

    if (t->p < t->end && (*t->p == ':' || *t->p == '=' || *t->p == '!')) {
        *t->dst++ = *t->p++;
        return 0;
    }

    /* (?<= and (?<!, or a name, which PCRE2 reads to the ">" */

    if (t->end - t->p >= 2 && *t->p == '<') {
        *t->dst++ = *t->p++;

        if (*t->p == '=' || *t->p == '!') {
            *t->dst++ = *t->p++;
        }

        return 0;
    }

    return ps_schema_translate_wrong(t, "ECMA-262 has no such group");
}


/* what follows one, "?" aside, would make it a possessive one in PCRE2 */

static int
ps_schema_translate_quantifier(ps_schema_translate_t *t)
{
    int  comma, digits;

    if (*t->p != '{') {
        *t->dst++ = *t->p++;

    } else {
        comma = 0;
        digits = 0;

        do {
            comma += (*t->p == ',');
            digits += (*t->p >= '0' && *t->p <= '9');
            *t->dst++ = *t->p++;

        } while (t->p < t->end
                 && ((*t->p >= '0' && *t->p <= '9')
                     || (*t->p == ',' && digits && !comma)));

        if (t->p == t->end || *t->p != '}' || digits == 0) {
            return ps_schema_translate_wrong(t, "\"{\" is written with \"\\\" "
                                                "before it");
        }

        *t->dst++ = *t->p++;
    }

    if (t->p < t->end && *t->p == '?') {
        *t->dst++ = *t->p++;
    }

    return 0;
}


/* digits == 0: up to a "}", which is left */

static int
ps_schema_translate_hex(ps_schema_translate_t *t, int digits,
    unsigned long *value)
{
    int  n, c;

    *value = 0;

    for (n = 0; digits == 0 || n < digits; n++) {

        if (t->p == t->end) {
            return -1;
        }

        c = (unsigned char) *t->p;

        if (c == '}' && digits == 0) {
            return n ? 0 : -1;
        }

        if (c >= '0' && c <= '9') {
            c -= '0';

        } else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') {
            c = (c | 0x20) - 'a' + 10;

        } else {
            return -1;
        }

        *value = *value * 16 + (unsigned long) c;

        if (*value > 0x10ffff) {
            return -1;
        }

        t->p++;
    }

    return 0;
}


static void
ps_schema_translate_put(ps_schema_translate_t *t, const char *text)
{
    size_t  len;

    len = strlen(text);

    memcpy(t->dst, text, len);
    t->dst += len;
}


static void
ps_schema_translate_code(ps_schema_translate_t *t, unsigned long code)
{
    t->dst += sprintf(t->dst, "\\x{%lx}", code);
}


static int
ps_schema_translate_wrong(ps_schema_translate_t *t, const char *wrong)
{
    t->wrong = wrong;

    return -1;
}
