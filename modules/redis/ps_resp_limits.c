
/*
 * A byte-wise machine over RESP2 framing.  String contents are skipped in
 * one step, so that its cost is that of the headers.
 */

#include <string.h>

#include "ps_resp_limits.h"


static int ps_resp_limits_number(ps_resp_limits_t *rl, char ch);
static int ps_resp_limits_header(ps_resp_limits_t *rl);
static int ps_resp_limits_element(ps_resp_limits_t *rl);
static int ps_resp_limits_fail(ps_resp_limits_t *rl, const char *error);


void
ps_resp_limits_init(ps_resp_limits_t *rl, const ps_resp_caps_t *caps)
{
    memset(rl, 0, sizeof(ps_resp_limits_t));

    rl->caps = *caps;

    if (rl->caps.depth > PS_RESP_MAX_DEPTH) {
        rl->caps.depth = PS_RESP_MAX_DEPTH;
    }
}


long
ps_resp_limits_scan(ps_resp_limits_t *rl, const char *p, size_t n, int *done)
{
    int     rc;
    char    ch;
    size_t  i, size;

    *done = 0;

    for (i = 0; i < n; /* void */) {

        if (rl->state == PS_RESP_FAILED) {
            return -1;
        }

        if (rl->state == PS_RESP_BULK && rl->bulk) {

            /* the header's check made sure that these fit the total */

            size = n - i < rl->bulk ? n - i : rl->bulk;

            rl->bulk -= size;
            rl->total += size;
            i += size;

            continue;
        }

        if (++rl->total > rl->caps.total) {
            return ps_resp_limits_fail(rl, "reply is too large");
        }

        ch = p[i++];
        rc = 0;

        switch (rl->state) {

        case PS_RESP_TYPE:

            rl->type = ch;
            rl->line = 0;
            rl->negative = 0;
            rl->digits = 0;
            rl->number = 0;

            switch (ch) {
            case '+':
            case '-':
                rl->state = PS_RESP_LINE;
                break;
            case ':':
            case '$':
            case '*':
                rl->state = PS_RESP_NUMBER;
                break;
            default:
                return ps_resp_limits_fail(rl, "unknown reply type");
            }

            break;

        case PS_RESP_LINE:

            if (ch == '\r') {
                rl->state = PS_RESP_LINE_LF;

            } else if (ch == '\n') {
                return ps_resp_limits_fail(rl, "LF without CR in reply");

            } else if (++rl->line > rl->caps.line) {
                return ps_resp_limits_fail(rl, "reply line is too long");
            }

            break;

        case PS_RESP_LINE_LF:

            if (ch != '\n') {
                return ps_resp_limits_fail(rl, "CR without LF in reply");
            }

            rc = ps_resp_limits_element(rl);
            break;

        case PS_RESP_NUMBER:

            if (ch == '\r') {
                if (rl->digits == 0) {
                    return ps_resp_limits_fail(rl, "invalid number in reply");
                }

                rl->state = PS_RESP_NUMBER_LF;
                break;
            }

            if (ps_resp_limits_number(rl, ch) < 0) {
                return -1;
            }

            break;

        case PS_RESP_NUMBER_LF:

            if (ch != '\n') {
                return ps_resp_limits_fail(rl, "CR without LF in reply");
            }

            rc = ps_resp_limits_header(rl);
            break;

        case PS_RESP_BULK:

            if (ch != '\r') {
                return ps_resp_limits_fail(rl, "string does not end with "
                                               "CR LF");
            }

            rl->state = PS_RESP_BULK_LF;
            break;

        case PS_RESP_BULK_LF:

            if (ch != '\n') {
                return ps_resp_limits_fail(rl, "string does not end with "
                                               "CR LF");
            }

            rc = ps_resp_limits_element(rl);
            break;

        case PS_RESP_FAILED:
            return -1;
        }

        if (rc < 0) {
            return -1;
        }

        if (rc > 0) {
            *done = 1;
            return (long) i;
        }
    }

    return (long) n;
}


static int
ps_resp_limits_number(ps_resp_limits_t *rl, char ch)
{
    uint64_t  max;

    if (ch == '-' && rl->digits == 0 && !rl->negative) {
        rl->negative = 1;
        return 0;
    }

    if (ch < '0' || ch > '9') {
        return ps_resp_limits_fail(rl, "invalid number in reply");
    }

    /* as the parser does: no "-0", no leading zeros */

    if (rl->digits && rl->number == 0) {
        return ps_resp_limits_fail(rl, "invalid number in reply");
    }

    if (ch == '0' && rl->negative && rl->digits == 0) {
        return ps_resp_limits_fail(rl, "invalid number in reply");
    }

    /* what doesn't fit 64 bits signed would wrap there */

    max = (uint64_t) INT64_MAX + rl->negative;

    if (rl->number > (max - (uint64_t) (ch - '0')) / 10) {
        return ps_resp_limits_fail(rl, "number in reply is out of range");
    }

    rl->digits = 1;
    rl->number = rl->number * 10 + (uint64_t) (ch - '0');

    return 0;
}


/* the end of a ":", "$" or "*" line */

static int
ps_resp_limits_header(ps_resp_limits_t *rl)
{
    if (rl->type == ':') {
        return ps_resp_limits_element(rl);
    }

    if (rl->negative) {
        if (rl->number != 1) {
            return ps_resp_limits_fail(rl, "negative length in reply");
        }

        /* nil */

        return ps_resp_limits_element(rl);
    }

    if (rl->type == '$') {

        if (rl->number > rl->caps.bulk) {
            return ps_resp_limits_fail(rl, "string in reply is too large");
        }

        if (rl->caps.total < rl->total
            || rl->number > rl->caps.total - rl->total)
        {
            return ps_resp_limits_fail(rl, "reply is too large");
        }

        rl->bulk = (size_t) rl->number;
        rl->state = PS_RESP_BULK;

        return 0;
    }

    if (rl->number > rl->caps.elements - rl->elements) {
        return ps_resp_limits_fail(rl, "too many elements in reply");
    }

    if (rl->number == 0) {
        return ps_resp_limits_element(rl);
    }

    if (rl->depth == rl->caps.depth) {
        return ps_resp_limits_fail(rl, "reply is nested too deep");
    }

    rl->elements += (uint32_t) rl->number;
    rl->left[rl->depth++] = (uint32_t) rl->number;
    rl->state = PS_RESP_TYPE;

    return 0;
}


/* the end of an element; 1: and of the reply */

static int
ps_resp_limits_element(ps_resp_limits_t *rl)
{
    rl->state = PS_RESP_TYPE;

    while (rl->depth) {

        if (--rl->left[rl->depth - 1]) {
            return 0;
        }

        rl->depth--;
    }

    rl->total = 0;
    rl->elements = 0;

    return 1;
}


static int
ps_resp_limits_fail(ps_resp_limits_t *rl, const char *error)
{
    rl->state = PS_RESP_FAILED;
    rl->error = error;

    return -1;
}
