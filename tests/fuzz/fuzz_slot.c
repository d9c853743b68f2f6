
/*
 * What the nodes of a cluster say of its slots: a redirection, or the reply
 * to CLUSTER SLOTS as the client reads it.  What is accepted lies in what was
 * given, within its bounds, and says the same when it is written again.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../modules/redis/ps_resp_limits.h"
#include "../../modules/redis/ps_slot.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_host(const char *host, size_t len, const char *start,
    size_t size);
static void redirection(const char *text, size_t size);
static void slots(const char *text, size_t size);


static const ps_resp_caps_t  caps = {
    .total = 65536,
    .bulk = 1024,
    .line = 256,
    .elements = 4096,
    .depth = PS_RESP_MAX_DEPTH
};


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char  *text;

    if (size == 0) {
        return 0;
    }

    /* exactly as large, so that a read behind it is seen */

    text = malloc(size);
    if (text == NULL) {
        return 0;
    }

    memcpy(text, data, size);

    if (text[0] == '*') {
        slots(text, size);

    } else {
        redirection(text, size);
    }

    if (ps_slot(text, size) >= PS_SLOTS) {
        abort();
    }

    free(text);

    return 0;
}


static void
check_host(const char *host, size_t len, const char *start, size_t size)
{
    size_t  i;

    if (len > PS_SLOT_HOST) {
        abort();
    }

    if (len && (host < start || host + len > start + size)) {
        abort();
    }

    for (i = 0; i < len; i++) {
        if (host[i] <= ' ' || host[i] >= 127 || host[i] == '/') {
            abort();
        }
    }
}


static void
redirection(const char *text, size_t size)
{
    int            n;
    char           again[PS_SLOT_HOST + 64];
    ps_redirect_t  redirect, other;

    if (ps_redirect_parse(&redirect, text, size) != 0) {
        return;
    }

    if (redirect.slot >= PS_SLOTS || redirect.port < 1
        || redirect.port > 65535)
    {
        abort();
    }

    check_host(redirect.host, redirect.host_len, text, size);

    n = snprintf(again, sizeof(again), "%s %u %.*s:%u",
                 redirect.ask ? "ASK" : "MOVED", redirect.slot,
                 (int) redirect.host_len, redirect.host, redirect.port);

    if (n < 0 || (size_t) n >= sizeof(again)
        || ps_redirect_parse(&other, again, (size_t) n) != 0
        || other.ask != redirect.ask || other.slot != redirect.slot
        || other.port != redirect.port
        || other.host_len != redirect.host_len
        || memcmp(other.host, redirect.host, other.host_len) != 0)
    {
        abort();
    }
}


static void
slots(const char *text, size_t size)
{
    int                done;
    long               n;
    void              *p;
    size_t             i;
    redisReply        *reply, *master;
    redisReader       *reader;
    ps_slot_range_t    range;
    ps_resp_limits_t   limits;

    ps_resp_limits_init(&limits, &caps);

    n = ps_resp_limits_scan(&limits, text, size, &done);

    if (n < 0 || !done) {
        return;
    }

    reader = redisReaderCreate();
    if (reader == NULL) {
        return;
    }

    if (redisReaderFeed(reader, text, (size_t) n) != REDIS_OK
        || redisReaderGetReply(reader, &p) != REDIS_OK || p == NULL)
    {
        abort();
    }

    reply = p;

    for (i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++) {

        if (ps_slot_range_parse(&range, reply->element[i]) != 0) {
            continue;
        }

        if (range.first > range.last || range.last >= PS_SLOTS
            || range.port < 1 || range.port > 65535)
        {
            abort();
        }

        master = reply->element[i]->element[2]->element[0];

        check_host(range.host, range.host_len, master->str,
                   master->type == REDIS_REPLY_STRING ? master->len : 0);
    }

    freeReplyObject(reply);
    redisReaderFree(reader);
}
