
#include <string.h>

#include "ps_scope.h"


int
ps_scope_word(const unsigned char *word, size_t len)
{
    size_t  i;

    for (i = 0; i < len; i++) {
        if (word[i] <= 0x20 || word[i] > 0x7e || word[i] == '"'
            || word[i] == '\\')
        {
            return 0;
        }
    }

    return len != 0;
}


int
ps_scope_has(const unsigned char *list, size_t list_len,
    const unsigned char *word, size_t len)
{
    size_t                n;
    const unsigned char  *end, *p;

    if (len == 0) {
        return 0;
    }

    end = list + list_len;

    while (list < end) {
        p = memchr(list, ' ', end - list);
        n = (p ? p : end) - list;

        if (n == len && memcmp(list, word, len) == 0) {
            return 1;
        }

        list += n + 1;
    }

    return 0;
}
