
#include "ps_schema_format.h"

#include <string.h>


typedef struct {
    const char  *p;
    const char  *end;
} ps_schema_text_t;


static int ps_schema_date_time(const char *text, size_t len);
static int ps_schema_date(const char *text, size_t len);
static int ps_schema_time(const char *text, size_t len);
static int ps_schema_uuid(const char *text, size_t len);
static int ps_schema_email(const char *text, size_t len);
static int ps_schema_uri(const char *text, size_t len);
static int ps_schema_quoted(ps_schema_text_t *t);
static int ps_schema_domain(const char *p, const char *end);
static int ps_schema_authority(const char *p, const char *end);
static int ps_schema_uri_chars(const char *p, const char *end,
    const char *more);
static int ps_schema_number(ps_schema_text_t *t, int digits);
static int ps_schema_sign(ps_schema_text_t *t, const char *set);
static int ps_schema_digit(char c);
static int ps_schema_alpha(char c);
static int ps_schema_hex(char c);


static const ps_schema_format_t  ps_schema_formats[] = {
    { "date-time", "a date and time (RFC 3339)", ps_schema_date_time },
    { "date", "a date (RFC 3339)", ps_schema_date },
    { "time", "a time with an offset (RFC 3339)", ps_schema_time },
    { "uuid", "a UUID (RFC 9562)", ps_schema_uuid },
    { "email", "an email address (RFC 5321)", ps_schema_email },
    { "uri", "a URI with a scheme (RFC 3986)", ps_schema_uri }
};


const ps_schema_format_t *
ps_schema_format(const char *name, size_t len)
{
    size_t  i;

    for (i = 0;
         i < sizeof(ps_schema_formats) / sizeof(ps_schema_formats[0]);
         i++)
    {
        if (strlen(ps_schema_formats[i].name) == len
            && memcmp(ps_schema_formats[i].name, name, len) == 0)
        {
            return &ps_schema_formats[i];
        }
    }

    return NULL;
}


static int
ps_schema_date_time(const char *text, size_t len)
{
    return len > 11 && (text[10] == 'T' || text[10] == 't')
           && ps_schema_date(text, 10)
           && ps_schema_time(text + 11, len - 11);
}


static int
ps_schema_date(const char *text, size_t len)
{
    int               year, month, day, last;
    ps_schema_text_t  t = { text, text + len };

    static const int  days[] = { 31, 28, 31, 30, 31, 30,
                                 31, 31, 30, 31, 30, 31 };

    year = ps_schema_number(&t, 4);

    if (!ps_schema_sign(&t, "-")) {
        return 0;
    }

    month = ps_schema_number(&t, 2);

    if (!ps_schema_sign(&t, "-")) {
        return 0;
    }

    day = ps_schema_number(&t, 2);

    if (t.p != t.end || year < 0 || month < 1 || month > 12 || day < 1) {
        return 0;
    }

    last = days[month - 1];

    if (month == 2
        && ((year % 4 == 0 && year % 100 != 0) || year % 400 == 0))
    {
        last++;
    }

    return day <= last;
}


/* a second 60 is a leap second: the last one of a day in UTC */

static int
ps_schema_time(const char *text, size_t len)
{
    int               hour, minute, second, sign, h, m, utc;
    ps_schema_text_t  t = { text, text + len };

    hour = ps_schema_number(&t, 2);

    if (!ps_schema_sign(&t, ":")) {
        return 0;
    }

    minute = ps_schema_number(&t, 2);

    if (!ps_schema_sign(&t, ":")) {
        return 0;
    }

    second = ps_schema_number(&t, 2);

    if (hour < 0 || hour > 23 || minute < 0 || minute > 59
        || second < 0 || second > 60)
    {
        return 0;
    }

    if (ps_schema_sign(&t, ".")) {

        if (t.p == t.end || !ps_schema_digit(*t.p)) {
            return 0;
        }

        while (t.p < t.end && ps_schema_digit(*t.p)) {
            t.p++;
        }
    }

    utc = hour * 60 + minute;

    if (!ps_schema_sign(&t, "Zz")) {

        if (t.p == t.end) {
            return 0;
        }

        sign = *t.p;

        if (!ps_schema_sign(&t, "+-")) {
            return 0;
        }

        h = ps_schema_number(&t, 2);

        if (!ps_schema_sign(&t, ":")) {
            return 0;
        }

        m = ps_schema_number(&t, 2);

        if (h < 0 || h > 23 || m < 0 || m > 59) {
            return 0;
        }

        utc += (sign == '-' ? 1 : -1) * (h * 60 + m);
        utc = (utc + 2 * 1440) % 1440;
    }

    return t.p == t.end && (second < 60 || utc == 1439);
}


static int
ps_schema_uuid(const char *text, size_t len)
{
    size_t  i;

    if (len != 36) {
        return 0;
    }

    for (i = 0; i < len; i++) {

        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (text[i] != '-') {
                return 0;
            }

        } else if (!ps_schema_hex(text[i])) {
            return 0;
        }
    }

    return 1;
}


static int
ps_schema_email(const char *text, size_t len)
{
    const char        *at;
    ps_schema_text_t   t = { text, text + len };

    if (len > 254) {
        return 0;
    }

    if (len && *t.p == '"') {
        if (!ps_schema_quoted(&t)) {
            return 0;
        }

    } else {

        /* words with dots between */

        for ( ;; ) {
            at = t.p;

            while (t.p < t.end
                   && (ps_schema_alpha(*t.p) || ps_schema_digit(*t.p)
                       || (*t.p && strchr("!#$%&'*+-/=?^_`{|}~", *t.p))))
            {
                t.p++;
            }

            if (t.p == at) {
                return 0;
            }

            if (!ps_schema_sign(&t, ".")) {
                break;
            }
        }
    }

    if (t.p - text > 64 || !ps_schema_sign(&t, "@")) {
        return 0;
    }

    return ps_schema_domain(t.p, t.end);
}


static int
ps_schema_quoted(ps_schema_text_t *t)
{
    for (t->p++; t->p < t->end; t->p++) {

        if (*t->p == '"') {
            t->p++;
            return 1;
        }

        if (*t->p == '\\' && ++t->p == t->end) {
            return 0;
        }

        if (*t->p < 0x20 || *t->p > 0x7e) {
            return 0;
        }
    }

    return 0;
}


/* labels of letters, digits and "-", or an address in brackets */

static int
ps_schema_domain(const char *p, const char *end)
{
    int          dots, value, digits;
    const char  *label;

    if (end - p > 253 || p == end) {
        return 0;
    }

    if (*p == '[') {
        p++;

        if (end - p > 5 && memcmp(p, "IPv6:", 5) == 0) {
            return end[-1] == ']' && ps_schema_authority(p - 1, end);
        }

        dots = 0;

        for ( ;; ) {
            value = 0;
            digits = 0;

            while (p < end && ps_schema_digit(*p) && digits < 4) {
                value = value * 10 + (*p++ - '0');
                digits++;
            }

            if (digits == 0 || digits > 3 || value > 255 || p == end) {
                return 0;
            }

            if (*p != '.') {
                return dots == 3 && *p == ']' && p + 1 == end;
            }

            dots++;
            p++;
        }
    }

    for ( ;; ) {
        label = p;

        while (p < end
               && (ps_schema_alpha(*p) || ps_schema_digit(*p) || *p == '-'))
        {
            p++;
        }

        if (p == label || p - label > 63 || *label == '-' || p[-1] == '-') {
            return 0;
        }

        if (p == end) {
            return 1;
        }

        if (*p++ != '.') {
            return 0;
        }
    }
}


static int
ps_schema_uri(const char *text, size_t len)
{
    const char  *p, *q, *end;

    p = text;
    end = text + len;

    if (p == end || !ps_schema_alpha(*p)) {
        return 0;
    }

    while (p < end && (ps_schema_alpha(*p) || ps_schema_digit(*p)
                       || *p == '+' || *p == '-' || *p == '.'))
    {
        p++;
    }

    if (p == end || *p++ != ':') {
        return 0;
    }

    if (end - p >= 2 && p[0] == '/' && p[1] == '/') {
        p += 2;

        for (q = p; q < end && *q != '/' && *q != '?' && *q != '#'; q++) {
            /* void */
        }

        if (!ps_schema_authority(p, q)) {
            return 0;
        }

        p = q;
    }

    q = memchr(p, '#', (size_t) (end - p));

    if (q && !ps_schema_uri_chars(q + 1, end, ":@/?")) {
        return 0;
    }

    return ps_schema_uri_chars(p, q ? q : end, ":@/?");
}


/* [ userinfo "@" ] host [ ":" port ] */

static int
ps_schema_authority(const char *p, const char *end)
{
    int          colons;
    const char  *q;

    q = memchr(p, '@', (size_t) (end - p));

    if (q) {
        if (!ps_schema_uri_chars(p, q, ":")) {
            return 0;
        }

        p = q + 1;
    }

    if (p < end && *p == '[') {
        p++;
        colons = 0;

        if (end - p > 5 && memcmp(p, "IPv6:", 5) == 0) {
            p += 5;
        }

        for ( /* void */ ; p < end && *p != ']'; p++) {
            if (*p == ':') {
                colons++;

            } else if (!ps_schema_hex(*p) && *p != '.') {
                return 0;
            }
        }

        if (p == end || colons < 2 || colons > 7) {
            return 0;
        }

        p++;

    } else {

        for (q = p; q < end && *q != ':'; q++) {
            /* void */
        }

        if (!ps_schema_uri_chars(p, q, "")) {
            return 0;
        }

        p = q;
    }

    if (p < end && *p == ':') {
        for (p++; p < end && ps_schema_digit(*p); p++) {
            /* void */
        }
    }

    return p == end;
}


/* unreserved, sub-delims, percent-encoded, and "more" */

static int
ps_schema_uri_chars(const char *p, const char *end, const char *more)
{
    for ( /* void */ ; p < end; p++) {

        if (*p == '%') {
            if (end - p < 3 || !ps_schema_hex(p[1]) || !ps_schema_hex(p[2])) {
                return 0;
            }

            p += 2;
            continue;
        }

        if (!ps_schema_alpha(*p) && !ps_schema_digit(*p)
            && (*p == '\0'
                || (!strchr("-._~!$&'()*+,;=", *p) && !strchr(more, *p))))
        {
            return 0;
        }
    }

    return 1;
}


/* so many digits, or -1 */

static int
ps_schema_number(ps_schema_text_t *t, int digits)
{
    int  value;

    value = 0;

    while (digits--) {
        if (t->p == t->end || !ps_schema_digit(*t->p)) {
            return -1;
        }

        value = value * 10 + (*t->p++ - '0');
    }

    return value;
}


static int
ps_schema_sign(ps_schema_text_t *t, const char *set)
{
    if (t->p == t->end || *t->p == '\0' || !strchr(set, *t->p)) {
        return 0;
    }

    t->p++;

    return 1;
}


static int
ps_schema_digit(char c)
{
    return c >= '0' && c <= '9';
}


static int
ps_schema_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}


static int
ps_schema_hex(char c)
{
    return ps_schema_digit(c) || (c >= 'a' && c <= 'f')
           || (c >= 'A' && c <= 'F');
}
