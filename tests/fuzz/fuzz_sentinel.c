
/*
 * A message of a sentinel may say anything: what is taken for an address lies
 * in it, in a form that is safe to look up, and holds no byte of a command.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../modules/redis/ps_sentinel.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char                *text;
    size_t               i;
    ps_sentinel_addr_t   addr;

    /* exactly as large, so that a read behind it is seen */

    text = malloc(size ? size : 1);
    if (text == NULL) {
        return 0;
    }

    if (size) {
        memcpy(text, data, size);
    }

    if (ps_sentinel_switch(&addr, "m", 1, text, size) == 0) {

        if (addr.port == 0 || addr.port > 65535 || addr.host_len == 0
            || addr.host_len > PS_SENTINEL_HOST_MAX || addr.host < text
            || addr.host + addr.host_len > text + size || text[0] != 'm')
        {
            abort();
        }

        for (i = 0; i < addr.host_len; i++) {
            if (strchr(" \r\n/[]%", addr.host[i]) != NULL) {
                abort();
            }
        }
    }

    (void) ps_sentinel_addr(&addr, text, size / 2, text + size / 2,
                            size - size / 2);
    (void) ps_sentinel_name(text, size);

    free(text);

    return 0;
}
