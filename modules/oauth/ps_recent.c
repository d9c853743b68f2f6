
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "ps_recent.h"


#define ps_recent_align(n)  (((n) + 15) & ~(size_t) 15)


static ps_recent_slot_t *ps_recent_slot(ps_recent_t *recent, const void *text,
    size_t len);
static int ps_recent_equal(const unsigned char *a, const unsigned char *b,
    size_t len);
static void ps_recent_wipe(ps_recent_slot_t *slot);


const void *
ps_recent_find(ps_recent_t *recent, const void *text, size_t len,
    const unsigned char *context, uint64_t now, size_t *value_len)
{
    ps_recent_slot_t  *slot;

    slot = ps_recent_slot(recent, text, len);

    if (slot->text_len != len || len == 0
        || now - slot->kept >= PS_RECENT_MS
        || memcmp(slot->context, context, PS_RECENT_CONTEXT) != 0
        || !ps_recent_equal(slot->data, text, len))
    {
        return NULL;
    }

    *value_len = slot->value_len;

    return slot->data + ps_recent_align(len);
}


void
ps_recent_keep(ps_recent_t *recent, const void *text, size_t len,
    const unsigned char *context, const void *value, size_t value_len,
    uint64_t now)
{
    size_t             size;
    unsigned char     *data;
    ps_recent_slot_t  *slot;

    slot = ps_recent_slot(recent, text, len);

    ps_recent_wipe(slot);

    if (len == 0 || len > PS_RECENT_TEXT || value_len > PS_RECENT_VALUE) {
        return;
    }

    size = ps_recent_align(len) + value_len;

    if (slot->size < size) {
        free(slot->data);
        slot->data = NULL;
        slot->size = 0;

        data = malloc(size);
        if (data == NULL) {
            return;
        }

        slot->data = data;
        slot->size = size;
    }

    memcpy(slot->data, text, len);
    memcpy(slot->data + ps_recent_align(len), value, value_len);
    memcpy(slot->context, context, PS_RECENT_CONTEXT);
    slot->text_len = len;
    slot->value_len = value_len;
    slot->kept = now;
}


void
ps_recent_free(ps_recent_t *recent)
{
    size_t  i;

    for (i = 0; i < PS_RECENT_SLOTS; i++) {
        ps_recent_wipe(&recent->slots[i]);
        free(recent->slots[i].data);
    }

    memset(recent, 0, sizeof(ps_recent_t));
}


/* by the last bytes: those of a signature differ like those of a hash */

static ps_recent_slot_t *
ps_recent_slot(ps_recent_t *recent, const void *text, size_t len)
{
    uint64_t  last;

    last = 0;

    if (len >= sizeof(last)) {
        memcpy(&last, (const unsigned char *) text + len - sizeof(last),
               sizeof(last));
    }

    last *= 0x9e3779b97f4a7c15ULL;

    return &recent->slots[(last >> 32) % PS_RECENT_SLOTS];
}


/* in constant time, 32 bytes at a time */

static int
ps_recent_equal(const unsigned char *a, const unsigned char *b, size_t len)
{
    size_t    i;
    uint64_t  x[4], y[4], differ;

    differ = 0;

    for (i = 0; i + sizeof(x) <= len; i += sizeof(x)) {
        memcpy(x, a + i, sizeof(x));
        memcpy(y, b + i, sizeof(x));

        differ |= (x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2])
                  | (x[3] ^ y[3]);
    }

    for ( /* void */ ; i < len; i++) {
        differ |= a[i] ^ b[i];
    }

    return differ == 0;
}


static void
ps_recent_wipe(ps_recent_slot_t *slot)
{
    if (slot->text_len) {
        OPENSSL_cleanse(slot->data, slot->size);
        slot->text_len = 0;
    }
}
