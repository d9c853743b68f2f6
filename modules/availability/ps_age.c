
#include "ps_age.h"


int64_t
ps_age_parse(const char *value, size_t len)
{
    size_t       digits;
    int64_t      age;
    const char  *p, *end;

    p = value;
    end = value + len;

    while (p < end && (*p == ' ' || *p == '\t')) {
        p++;
    }

    age = 0;
    digits = 0;

    for ( /* void */ ; p < end && *p >= '0' && *p <= '9'; p++) {
        age = age * 10 + (*p - '0');
        digits++;

        if (age > PS_AGE_MAX) {
            age = PS_AGE_MAX;
        }
    }

    while (p < end && (*p == ' ' || *p == '\t')) {
        p++;
    }

    if (digits == 0 || p < end) {
        return PS_AGE_MAX;
    }

    return age;
}
