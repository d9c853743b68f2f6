
/*
 * W3C Trace Context, level 2: "traceparent" and "tracestate".
 */

#include <string.h>

#include "ps_trace_context.h"


static int ps_hex_copy(char *dst, const char *src, size_t len);
static int ps_hex_byte(const char *p);
static int ps_hex_digit(char c);
static void ps_hex_write(char *dst, const uint8_t *src, size_t len);
static int ps_is_ows(char c);
static int ps_tracestate_member(ps_tracestate_t *ts, const char *p,
    size_t len);
static int ps_tracestate_key_valid(const char *key, size_t len);
static int ps_tracestate_value_valid(const char *value, size_t len);


static const char  ps_hex[] = "0123456789abcdef";


int
ps_traceparent_parse(ps_traceparent_t *tp, const char *value, size_t len)
{
    int  version, flags;

    while (len && ps_is_ows(value[0])) {
        value++;
        len--;
    }

    while (len && ps_is_ows(value[len - 1])) {
        len--;
    }

    if (len < PS_TRACEPARENT_LEN
        || value[2] != '-' || value[35] != '-' || value[52] != '-')
    {
        return -1;
    }

    version = ps_hex_byte(value);

    if (version < 0 || version == 0xff) {
        return -1;
    }

    if (len > PS_TRACEPARENT_LEN
        && (version == 0 || value[PS_TRACEPARENT_LEN] != '-'))
    {
        return -1;
    }

    flags = ps_hex_byte(value + 53);

    if (flags < 0
        || ps_hex_copy(tp->trace_id, value + 3, PS_TRACE_ID_LEN) != 0
        || ps_hex_copy(tp->span_id, value + 36, PS_SPAN_ID_LEN) != 0)
    {
        return -1;
    }

    tp->flags = (uint8_t) (flags & (PS_TRACE_SAMPLED|PS_TRACE_RANDOM));

    return 0;
}


void
ps_traceparent_start(ps_traceparent_t *tp, const uint8_t *random)
{
    ps_hex_write(tp->trace_id, random, PS_TRACE_RANDOM_LEN);

    tp->flags = PS_TRACE_RANDOM;
}


void
ps_traceparent_span(ps_traceparent_t *tp, const uint8_t *random)
{
    ps_hex_write(tp->span_id, random, PS_SPAN_RANDOM_LEN);
}


void
ps_traceparent_write(char *text, const ps_traceparent_t *tp)
{
    text[0] = '0';
    text[1] = '0';
    text[2] = '-';
    memcpy(text + 3, tp->trace_id, PS_TRACE_ID_LEN);
    text[35] = '-';
    memcpy(text + 36, tp->span_id, PS_SPAN_ID_LEN);
    text[52] = '-';
    text[53] = ps_hex[tp->flags >> 4];
    text[54] = ps_hex[tp->flags & 0x0f];
}


/* copies hex digits; all zeroes are no identifier */

static int
ps_hex_copy(char *dst, const char *src, size_t len)
{
    int     any;
    size_t  i;

    any = 0;

    for (i = 0; i < len; i++) {

        if (ps_hex_digit(src[i]) < 0) {
            return -1;
        }

        any |= src[i] != '0';
        dst[i] = src[i];
    }

    return any ? 0 : -1;
}


static int
ps_hex_byte(const char *p)
{
    int  high, low;

    high = ps_hex_digit(p[0]);
    low = ps_hex_digit(p[1]);

    return (high < 0 || low < 0) ? -1 : high * 16 + low;
}


static int
ps_hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }

    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }

    return -1;
}


static void
ps_hex_write(char *dst, const uint8_t *src, size_t len)
{
    int     any;
    size_t  i;

    any = 0;

    for (i = 0; i < len; i++) {
        any |= src[i];
        dst[2 * i] = ps_hex[src[i] >> 4];
        dst[2 * i + 1] = ps_hex[src[i] & 0x0f];
    }

    /* all zeroes, however unlikely, would be refused */

    if (!any) {
        dst[2 * len - 1] = '1';
    }
}


static int
ps_is_ows(char c)
{
    return c == ' ' || c == '\t';
}


void
ps_tracestate_init(ps_tracestate_t *ts, char *text)
{
    ts->text = text;
    ts->len = 0;
    ts->n = 0;
}


int
ps_tracestate_add(ps_tracestate_t *ts, const char *value, size_t len)
{
    const char  *p, *end, *last, *comma;

    p = value;
    last = value + len;

    for ( ;; ) {
        comma = (p == last) ? NULL : memchr(p, ',', (size_t) (last - p));
        end = comma ? comma : last;

        while (p < end && ps_is_ows(*p)) {
            p++;
        }

        while (end > p && ps_is_ows(end[-1])) {
            end--;
        }

        if (p < end
            && ps_tracestate_member(ts, p, (size_t) (end - p)) != 0)
        {
            return -1;
        }

        if (comma == NULL) {
            return 0;
        }

        p = comma + 1;
    }
}


static int
ps_tracestate_member(ps_tracestate_t *ts, const char *p, size_t len)
{
    size_t       key;
    unsigned     i;
    const char  *equal;

    equal = memchr(p, '=', len);

    if (equal == NULL || ts->n == PS_TRACESTATE_MEMBERS) {
        return -1;
    }

    key = (size_t) (equal - p);

    if (!ps_tracestate_key_valid(p, key)
        || !ps_tracestate_value_valid(equal + 1, len - key - 1))
    {
        return -1;
    }

    for (i = 0; i < ts->n; i++) {
        if (ts->keys[i].len == key
            && memcmp(ts->text + ts->keys[i].start, p, key) == 0)
        {
            return -1;
        }
    }

    if (ts->n) {
        ts->text[ts->len++] = ',';
    }

    ts->keys[ts->n].start = ts->len;
    ts->keys[ts->n].len = key;
    ts->n++;

    memcpy(ts->text + ts->len, p, len);
    ts->len += len;

    return 0;
}


/*
 * Level 2 has one form of key, in which "@" is a character as any other; all
 * keys of level 1, those of multi-tenant systems too, are of that form.
 */

static int
ps_tracestate_key_valid(const char *key, size_t len)
{
    char    c;
    size_t  i;

    if (len == 0 || len > PS_TRACESTATE_KEY_MAX) {
        return 0;
    }

    for (i = 0; i < len; i++) {
        c = key[i];

        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) {
            continue;
        }

        if (i && (c == '_' || c == '-' || c == '*' || c == '/' || c == '@')) {
            continue;
        }

        return 0;
    }

    return 1;
}


static int
ps_tracestate_value_valid(const char *value, size_t len)
{
    size_t  i;

    /* trailing spaces have gone, leading ones belong to the value */

    if (len == 0 || len > PS_TRACESTATE_VALUE_MAX) {
        return 0;
    }

    for (i = 0; i < len; i++) {
        if (value[i] < 0x20 || value[i] > 0x7e || value[i] == '=') {
            return 0;
        }
    }

    return 1;
}
