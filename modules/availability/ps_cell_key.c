
/*
 * Percent-encoding: what is encoded can't be taken for what separates, and
 * "%" always is, so that each part can be told back from its text.
 */

#include <string.h>

#include "ps_cell_key.h"


static char *ps_cell_key_encode(char *p, unsigned char ch);


char *
ps_cell_key_id(char *p, const ps_json_text_t *id)
{
    size_t         i;
    unsigned char  ch;

    for (i = 0; i < id->len; i++) {
        ch = (unsigned char) id->data[i];

        if (ch <= ' ' || ch == ':' || ch == '{' || ch == '}' || ch == '%'
            || ch == 0x7f)
        {
            p = ps_cell_key_encode(p, ch);
            continue;
        }

        *p++ = (char) ch;
    }

    return p;
}


char *
ps_cell_key_scope(char *p, const char *key, size_t len)
{
    size_t         i, digest;
    unsigned char  ch;

    digest = sizeof("sha256:") - 1;

    if (len < digest || memcmp(key, "sha256:", digest) != 0) {
        digest = 0;
    }

    for (i = 0; i < len; i++) {
        ch = (unsigned char) key[i];

        if (ch == '%' || ch == '?' || ch == ';' || i + 1 == digest) {
            p = ps_cell_key_encode(p, ch);
            continue;
        }

        *p++ = (char) ch;
    }

    return p;
}


static char *
ps_cell_key_encode(char *p, unsigned char ch)
{
    static const char  hex[] = "0123456789ABCDEF";

    *p++ = '%';
    *p++ = hex[ch >> 4];
    *p++ = hex[ch & 15];

    return p;
}
