
#include "ps_idempotency.h"

#include <string.h>


static unsigned ps_idempotency_u16(const char *p);
static uint32_t ps_idempotency_u32(const char *p);
static int ps_idempotency_token(const char *p, size_t len);
static int ps_idempotency_text(const char *p, size_t len);


size_t
ps_idempotency_key(const char *text, size_t len, char *key)
{
    size_t         n;
    const char    *p, *end;
    unsigned char  c;

    p = text;
    end = text + len;

    while (p < end && *p == ' ') {
        p++;
    }

    while (p < end && end[-1] == ' ') {
        end--;
    }

    if (end - p < 3 || *p != '"' || end[-1] != '"') {
        return 0;
    }

    p++;
    end--;

    for (n = 0; p < end; p++) {
        c = (unsigned char) *p;

        if (c == '\\') {
            if (++p == end || (*p != '"' && *p != '\\')) {
                return 0;
            }

            c = (unsigned char) *p;

        } else if (c == '"' || c < 0x20 || c > 0x7e) {
            return 0;
        }

        if (n == PS_IDEMPOTENCY_KEY_MAX) {
            return 0;
        }

        key[n++] = (char) c;
    }

    return n;
}


char *
ps_idempotency_head(char *p, unsigned status, unsigned fields)
{
    *p++ = '1';
    *p++ = (char) (status >> 8);
    *p++ = (char) status;
    *p++ = (char) (fields >> 8);
    *p++ = (char) fields;

    return p;
}


char *
ps_idempotency_field(char *p, const char *name, size_t nlen,
    const char *value, size_t vlen)
{
    *p++ = (char) (nlen >> 8);
    *p++ = (char) nlen;
    *p++ = (char) (vlen >> 24);
    *p++ = (char) (vlen >> 16);
    *p++ = (char) (vlen >> 8);
    *p++ = (char) vlen;

    memcpy(p, name, nlen);
    p += nlen;

    if (vlen) {
        memcpy(p, value, vlen);
    }

    return p + vlen;
}


int
ps_idempotency_answer(ps_idempotency_answer_t *answer, const char *data,
    size_t len)
{
    size_t       nlen, vlen;
    unsigned     i;
    const char  *p, *end;

    if (len < PS_IDEMPOTENCY_HEAD || data[0] != '1') {
        return -1;
    }

    p = data + PS_IDEMPOTENCY_HEAD;
    end = data + len;

    answer->status = ps_idempotency_u16(data + 1);
    answer->fields = ps_idempotency_u16(data + 3);
    answer->field = p;

    if (answer->status < 200 || answer->status > 599
        || answer->fields > PS_IDEMPOTENCY_FIELDS)
    {
        return -1;
    }

    for (i = 0; i < answer->fields; i++) {

        if (end - p < PS_IDEMPOTENCY_FIELD) {
            return -1;
        }

        nlen = ps_idempotency_u16(p);
        vlen = ps_idempotency_u32(p + 2);
        p += PS_IDEMPOTENCY_FIELD;

        if ((size_t) (end - p) < nlen || (size_t) (end - p) - nlen < vlen
            || !ps_idempotency_token(p, nlen)
            || !ps_idempotency_text(p + nlen, vlen))
        {
            return -1;
        }

        p += nlen + vlen;
    }

    answer->body = p;
    answer->body_len = (size_t) (end - p);

    return 0;
}


void
ps_idempotency_next(const char **p, const char **name, size_t *nlen,
    const char **value, size_t *vlen)
{
    *nlen = ps_idempotency_u16(*p);
    *vlen = ps_idempotency_u32(*p + 2);
    *name = *p + PS_IDEMPOTENCY_FIELD;
    *value = *name + *nlen;
    *p = *value + *vlen;
}


static unsigned
ps_idempotency_u16(const char *p)
{
    return ((unsigned) (unsigned char) p[0] << 8) | (unsigned char) p[1];
}


static uint32_t
ps_idempotency_u32(const char *p)
{
    return ((uint32_t) ps_idempotency_u16(p) << 16)
           | ps_idempotency_u16(p + 2);
}


/* RFC 9110, Section 5.6.2 */

static int
ps_idempotency_token(const char *p, size_t len)
{
    size_t         i;
    unsigned char  c;

    for (i = 0; i < len; i++) {
        c = (unsigned char) p[i];

        if (c <= 0x20 || c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", c)) {
            return 0;
        }
    }

    return len > 0;
}


static int
ps_idempotency_text(const char *p, size_t len)
{
    size_t         i;
    unsigned char  c;

    for (i = 0; i < len; i++) {
        c = (unsigned char) p[i];

        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return 0;
        }
    }

    return 1;
}
