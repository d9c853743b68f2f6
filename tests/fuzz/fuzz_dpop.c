/*
 * Whatever a client sends as its proof: the header, a zero byte and the
 * payload of a JWS, or the JWS itself.  And URIs: the same one is always
 * itself, if it is one.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../modules/core/ps_base64url.h"
#include "../../modules/oauth/ps_dpop.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
uri(const uint8_t *data, size_t size)
{
    ps_token_text_t  htu, origin, path;

    htu.data = data;
    htu.len = size;
    origin.data = (const unsigned char *) "https://a.example";
    origin.len = 17;
    path.data = data;
    path.len = size;

    (void) ps_dpop_htu_is(&htu, &origin, &path);

    origin = htu;
    path.data = (const unsigned char *) "/";
    path.len = 1;

    (void) ps_dpop_htu_is(&htu, &origin, &path);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t              len;
    const uint8_t      *zero;
    unsigned char      *text, *p, *buf;
    ps_dpop_proof_t     proof;
    ps_dpop_request_t   request;

    uri(data, size);

    zero = size ? memchr(data, '\0', size) : NULL;

    text = malloc(ps_base64url_encoded_len(size) + 16);
    if (text == NULL) {
        abort();
    }

    if (zero) {
        p = text;
        p += ps_base64url_encode(p, data, zero - data);
        *p++ = '.';
        p += ps_base64url_encode(p, zero + 1, data + size - zero - 1);
        memcpy(p, ".AAAA", 5);
        len = p + 5 - text;

    } else {
        memcpy(text, data, size);
        len = size;
    }

    buf = malloc(len ? len : 1);
    if (buf == NULL) {
        abort();
    }

    memset(&request, 0, sizeof(request));
    request.method.data = (const unsigned char *) "GET";
    request.method.len = 3;
    request.origin.data = (const unsigned char *)
                          "https://resource.example.org";
    request.origin.len = 28;
    request.path.data = (const unsigned char *) "/protectedresource";
    request.path.len = 18;
    request.token.data = (const unsigned char *)
                         "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
    request.token.len = 43;
    request.jkt.data = (const unsigned char *)
                       "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
    request.jkt.len = 43;
    request.now = 1562262618;
    request.window = 60;

    (void) ps_dpop_check(text, len, buf, &request, &proof);

    free(text);
    free(buf);

    return 0;
}
