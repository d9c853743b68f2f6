
/*
 * Small readers of what clients and upstreams write into fields: Age, scopes,
 * nonces, and text that becomes a part of JSON.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../modules/availability/ps_age.h"
#include "../../modules/core/ps_json_escape.h"
#include "../../modules/oauth/ps_nonce.h"
#include "../../modules/oauth/ps_scope.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
age(const char *text, size_t len)
{
    int64_t  n;

    n = ps_age_parse(text, len);

    if (n > PS_AGE_MAX) {
        abort();
    }
}


/* a list has its own first word */

static void
scope(const unsigned char *list, size_t len)
{
    size_t  n;

    for (n = 0; n < len && list[n] != ' '; n++) { /* void */ }

    if (n && ps_scope_word(list, n) && !ps_scope_has(list, len, list, n)) {
        abort();
    }

    (void) ps_scope_has(list, n, list, len);
}


/* one of ours is known, with one character changed it is foreign */

static void
nonce(const unsigned char *text, size_t len)
{
    uint64_t       now;
    unsigned char  out[PS_NONCE_LEN];

    static const unsigned char  key[32] = "0123456789abcdef0123456789abcde";

    now = 1700000000;

    (void) ps_nonce_age(key, sizeof(key), text, len, now);

    if (len < 2) {
        return;
    }

    if (ps_nonce_make(key, sizeof(key), now, out) != 0
        || ps_nonce_age(key, sizeof(key), out, PS_NONCE_LEN, now + 5) != 5)
    {
        abort();
    }

    out[text[0] % PS_NONCE_LEN] ^= 1 + text[1] % 255;

    if (ps_nonce_age(key, sizeof(key), out, PS_NONCE_LEN, now + 5)
        != PS_NONCE_FOREIGN)
    {
        abort();
    }
}


/* what comes out is in quotes without harm */

static void
escape(const char *text, size_t len)
{
    char    *out;
    size_t   i, n;

    out = malloc(PS_JSON_ESCAPE_MAX(len) + 1);
    if (out == NULL) {
        return;
    }

    n = ps_json_escape(out, text, len);

    if (n > PS_JSON_ESCAPE_MAX(len)) {
        abort();
    }

    for (i = 0; i < n; i++) {

        if ((unsigned char) out[i] < 0x20 || out[i] == '"') {
            abort();
        }

        if (out[i] == '\\' && ++i == n) {
            abort();
        }
    }

    for (i = 0; i < n; /* void */) {
        size_t  c = ps_utf8_length((unsigned char *) out + i, n - i);

        if (c == 0 || c > n - i) {
            abort();
        }

        i += c;
    }

    free(out);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    age((const char *) data, size);
    scope(data, size);
    nonce(data, size);
    escape((const char *) data, size);

    return 0;
}
