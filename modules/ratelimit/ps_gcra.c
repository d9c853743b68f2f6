
#include <time.h>

#include "ps_gcra.h"


int
ps_gcra_rate(const char *text, size_t len, ps_gcra_rate_t *rate)
{
    size_t    i;
    uint64_t  n;

    n = 0;

    for (i = 0; i < len && text[i] >= '0' && text[i] <= '9'; i++) {
        n = n * 10 + (uint64_t) (text[i] - '0');

        if (n > UINT32_MAX) {
            return -1;
        }
    }

    if (n == 0 || len - i != 3 || text[i] != 'r' || text[i + 1] != '/') {
        return -1;
    }

    switch (text[i + 2]) {

    case 's':
        rate->period = 1;
        break;

    case 'm':
        rate->period = 60;
        break;

    case 'h':
        rate->period = 3600;
        break;

    case 'd':
        rate->period = 86400;
        break;

    default:
        return -1;
    }

    if (n > (uint64_t) PS_GCRA_RATE_MAX * rate->period) {
        return -1;
    }

    rate->count = (uint32_t) n;

    return 0;
}


int
ps_gcra_limit(ps_gcra_t *limit, const ps_gcra_rate_t *rate, uint64_t burst)
{
    uint64_t  interval;

    interval = (rate->period * PS_GCRA_SECOND + rate->count - 1)
               / rate->count;

    if (burst == 0 || burst > PS_GCRA_SPAN_MAX / interval) {
        return -1;
    }

    limit->interval = interval;
    limit->burst = burst;
    limit->capacity = burst * interval;

    if (burst > rate->count) {
        limit->quota = burst;
        limit->window = ps_gcra_ceil(limit->capacity);

    } else {
        limit->quota = rate->count;
        limit->window = rate->period;
    }

    return 0;
}


void
ps_gcra_check(const ps_gcra_t *limit, uint64_t now, uint64_t tat,
    uint64_t cost, ps_gcra_result_t *result)
{
    uint64_t  backlog, need;

    backlog = (tat > now) ? tat - now : 0;

    result->changed = 0;

    if (backlog > limit->capacity) {
        backlog = limit->capacity;
        result->changed = 1;
    }

    if (cost > limit->burst) {
        result->allowed = 0;
        result->retry = PS_GCRA_NEVER;

    } else {
        need = backlog + cost * limit->interval;

        if (need > limit->capacity && cost) {
            result->allowed = 0;
            result->retry = need - limit->capacity;

        } else {
            result->allowed = 1;
            result->changed |= (cost != 0);
            result->retry = 0;
            backlog = need;
        }
    }

    result->tat = now + backlog;
    result->reset = backlog;
    result->remaining = (limit->capacity - backlog) / limit->interval;

    result->next = (result->remaining) ? 0
                   : backlog + limit->interval - limit->capacity;
}


uint64_t
ps_gcra_seconds(const ps_gcra_result_t *result)
{
    if (!result->allowed) {
        return ps_gcra_ceil(result->retry);
    }

    return ps_gcra_ceil(result->remaining ? result->reset : result->next);
}


uint64_t
ps_gcra_ceil(uint64_t ns)
{
    return ns / PS_GCRA_SECOND + (ns % PS_GCRA_SECOND != 0);
}


uint64_t
ps_gcra_now(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * PS_GCRA_SECOND + (uint64_t) ts.tv_nsec;
}
