
/*
 * Replies of Redis, cut anywhere.  What the limits let pass as a reply,
 * hiredis takes as a reply, at the same place, and needs no more memory than
 * the limits say.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "../../modules/redis/ps_resp_limits.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static const ps_resp_caps_t  caps = {
    .total = 4096,
    .bulk = 1024,
    .line = 256,
    .elements = 64,
    .depth = PS_RESP_MAX_DEPTH
};


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int                done;
    long               n;
    char              *piece;
    void              *reply;
    size_t             cut, len;
    redisReader       *reader;
    ps_resp_limits_t   rl;

    if (size < 2) {
        return 0;
    }

    /* the first byte says how TCP cuts the others */

    cut = (size_t) data[0] + 1;
    data++;
    size--;

    reader = redisReaderCreate();
    if (reader == NULL) {
        return 0;
    }

    ps_resp_limits_init(&rl, &caps);

    while (size) {

        len = size < cut ? size : cut;

        /* exactly as large, so that a read behind it is seen */

        piece = malloc(len);
        if (piece == NULL) {
            break;
        }

        memcpy(piece, data, len);

        n = ps_resp_limits_scan(&rl, piece, len, &done);

        if (n < 0) {
            if (rl.error == NULL) {
                abort();
            }

            free(piece);
            break;
        }

        if (n == 0 || (size_t) n > len || (!done && (size_t) n != len)
            || redisReaderFeed(reader, piece, (size_t) n) != REDIS_OK
            || redisReaderGetReply(reader, &reply) != REDIS_OK
            || (reply != NULL) != (done != 0))
        {
            abort();
        }

        free(piece);

        if (reply) {
            freeReplyObject(reply);
        }

        data += n;
        size -= (size_t) n;
    }

    redisReaderFree(reader);

    return 0;
}
