
/*
 * What runs in Redis, on its clock.
 *
 * A key holds "AT LEFT": at the time AT (us since the epoch) LEFT ns had to
 * pass until idle; and behind that, for each lease, " HOLDER NS UNTIL": what
 * is leased does not drain, and counts as spent from UNTIL (us) on.
 */

#include "ngx_http_penstock_ratelimit.h"


/*
 * load() returns what is spent, the leases that live and their sum, and
 * whether there was such a key, and one from the future: where the clock was
 * set back, a time to come is taken as now, or the limit would stay shut
 * until the clock is there again.
 *
 * Leases that have ended become spent one by one, each at its time, so that
 * nothing drains before it was spent.
 */

#define NGX_HTTP_PENSTOCK_RATELIMIT_LUA                                       \
    "local time = redis.call('TIME')\n"                                       \
    "local now = time[1] * 1000000 + time[2]\n"                               \
    "local function load(key, ttl)\n"                                         \
    "    local value = redis.call('GET', key) or ''\n"                        \
    "    local at, left, rest = string.match(value,\n"                        \
    "                                        '^(%d+) (%d+)(.*)$')\n"          \
    "    if not at then\n"                                                    \
    "        return 0, {}, 0, false, false\n"                                 \
    "    end\n"                                                               \
    "    at, left = tonumber(at), tonumber(left)\n"                           \
    "    local held, sum, ended, size = {}, 0, {}, 0\n"                       \
    "    if rest ~= '' then\n"                                                \
    "        for h, ns, t in string.gmatch(rest, ' (%w+) (%d+) (%d+)') do\n"  \
    "            size = size + 3 + #h + #ns + #t\n"                           \
    "            ns, t = tonumber(ns), math.min(tonumber(t), now + ttl)\n"    \
    "            if t > now then\n"                                           \
    "                held[#held + 1] = {h, ns, t}\n"                          \
    "                sum = sum + ns\n"                                        \
    "            else\n"                                                      \
    "                ended[#ended + 1] = {t, ns}\n"                           \
    "            end\n"                                                       \
    "        end\n"                                                           \
    "        if size ~= #rest then\n"                                         \
    "            return 0, {}, 0, false, false\n"                             \
    "        end\n"                                                           \
    "        table.sort(ended, function(a, b) return a[1] < b[1] end)\n"      \
    "        for _, e in ipairs(ended) do\n"                                  \
    "            local t = math.max(at, e[1])\n"                              \
    "            left = math.max(0, left - (t - at) * 1000) + e[2]\n"         \
    "            at = t\n"                                                    \
    "        end\n"                                                           \
    "    end\n"                                                               \
    "    left = math.max(0, left - math.max(0, now - at) * 1000)\n"           \
    "    return left, held, sum, true, at > now\n"                            \
    "end\n"                                                                   \
    "local function store(key, ttl, left, held, sum)\n"                       \
    "    if left <= 0 and #held == 0 then\n"                                  \
    "        redis.call('DEL', key)\n"                                        \
    "        return\n"                                                        \
    "    end\n"                                                               \
    "    local value = string.format('%.0f %.0f', now, left)\n"               \
    "    local ms = math.ceil((left + sum) / 1e6)\n"                          \
    "    for _, h in ipairs(held) do\n"                                       \
    "        value = value .. string.format(' %s %.0f %.0f',\n"               \
    "                                       h[1], h[2], h[3])\n"              \
    "    end\n"                                                               \
    "    if #held > 0 then\n"                                                 \
    "        ms = ms + math.ceil(ttl / 1000)\n"                               \
    "    end\n"                                                               \
    "    redis.call('SET', key, value, 'PX',\n"                               \
    "               string.format('%.0f', math.max(ms, 1)))\n"                \
    "end\n"


/*
 * The usual case, one key without leases, in a few steps: it is what a server
 * that is asked for each request spends its time on.  The same arithmetic as
 * below, which goes on from here in all other cases.
 */

#define NGX_HTTP_PENSTOCK_RATELIMIT_ONE                                       \
    "local value = #ARGV == 6 and redis.call('GET', KEYS[1])\n"               \
    "local at, left = 0, '0'\n"                                               \
    "if value then\n"                                                         \
    "    at, left = string.match(value, '^(%d+) (%d+)$')\n"                   \
    "end\n"                                                                   \
    "if #ARGV == 6 and at then\n"                                             \
    "    local time = redis.call('TIME')\n"                                   \
    "    local now = time[1] * 1000000 + time[2]\n"                           \
    "    local capacity, carry = tonumber(ARGV[1]), tonumber(ARGV[3])\n"      \
    "    local write = false\n"                                               \
    "    at, left = tonumber(at), tonumber(left)\n"                           \
    "    if value then\n"                                                     \
    "        carry = carry - ARGV[5]\n"                                       \
    "        write = at > now\n"                                              \
    "        if at < now then\n"                                              \
    "            left = left - (now - at) * 1000\n"                           \
    "        end\n"                                                           \
    "    end\n"                                                               \
    "    if left < carry then\n"                                              \
    "        left, write = carry, true\n"                                     \
    "    end\n"                                                               \
    "    if left < 0 then\n"                                                  \
    "        left = 0\n"                                                      \
    "    elseif left > capacity then\n"                                       \
    "        left, write = capacity, true\n"                                  \
    "    end\n"                                                               \
    "    local before, fits = left, 1\n"                                      \
    "    if left + ARGV[2] <= capacity then\n"                                \
    "        left = left + ARGV[2]\n"                                         \
    "        write = write or left > before\n"                                \
    "    elseif ARGV[4] == '1' then\n"                                        \
    "        fits = 0\n"                                                      \
    "    end\n"                                                               \
    "    if write and left > 0 then\n"                                        \
    "        redis.call('SET', KEYS[1],\n"                                    \
    "                   string.format('%.0f %.0f', now, left), 'PX',\n"       \
    "                   math.ceil(left / 1e6))\n"                             \
    "    end\n"                                                               \
    "    return {fits, before}\n"                                             \
    "end\n"


/*
 * Per key: capacity, cost, what the host remembers, and whether the limit is
 * enforced; then the way and the TTL of leases.  Returns 1 or 0, then for
 * each key what was left before this request.
 *
 * What the host remembers is as old as the question was on its way.  Where
 * Redis has the key that much, the way, is taken off: or each request that
 * travels longer than the one before would cost its key the difference.
 */

ngx_http_penstock_redis_script_t  ngx_http_penstock_ratelimit_exact = {
    NGX_HTTP_PENSTOCK_RATELIMIT_ONE
    NGX_HTTP_PENSTOCK_RATELIMIT_LUA
    "local reply = {1}\n"
    "local write, spent, leases, sums = {}, {}, {}, {}\n"
    "local ttl = tonumber(ARGV[#ARGV])\n"
    "local way = tonumber(ARGV[#ARGV - 1])\n"
    "for i = 1, #KEYS do\n"
    "    local a = 4 * i - 4\n"
    "    local capacity = tonumber(ARGV[a + 1])\n"
    "    local carry = tonumber(ARGV[a + 3])\n"
    "    local left, held, sum, known, future = load(KEYS[i], ttl)\n"
    "    if known then\n"
    "        carry = carry - way\n"
    "        write[i] = future\n"
    "    end\n"
    "    if left < carry then\n"
    "        left, write[i] = carry, true\n"
    "    end\n"
    "    if left > capacity then\n"
    "        left = capacity\n"
    "        write[i] = true\n"
    "    end\n"
    "    if ARGV[a + 4] == '1'\n"
    "       and left + sum + tonumber(ARGV[a + 2]) > capacity\n"
    "    then\n"
    "        reply[1] = 0\n"
    "    end\n"
    "    spent[i], leases[i], sums[i] = left, held, sum\n"
    "    reply[i + 1] = left + sum\n"
    "end\n"
    "for i = 1, #KEYS do\n"
    "    local a = 4 * i - 4\n"
    "    local cost = tonumber(ARGV[a + 2])\n"
    "    if reply[1] == 1 and cost > 0\n"
    "       and reply[i + 1] + cost <= tonumber(ARGV[a + 1])\n"
    "    then\n"
    "        spent[i] = spent[i] + cost\n"
    "        write[i] = true\n"
    "    end\n"
    "    if write[i] and spent[i] > 0 then\n"
    "        store(KEYS[i], ttl, spent[i], leases[i], sums[i])\n"
    "    end\n"
    "end\n"
    "return reply\n",
    { 0 }
};


/*
 * Arguments: the holder; capacity, interval; of its lease what it keeps and
 * what it gives back, the rest is spent; what it needs now, of that the
 * least that is of use, what it wants to lease; what it remembers; the way;
 * the TTL.
 *
 * What is needed is spent at once.  What is leased is a quarter of what is
 * free at most: the others want some, too.  Returns what was given, what was
 * leased, what is spent, and what others have leased.
 */

ngx_http_penstock_redis_script_t  ngx_http_penstock_ratelimit_batch = {
    NGX_HTTP_PENSTOCK_RATELIMIT_LUA
    "local n = {}\n"
    "for i = 2, #ARGV do\n"
    "    n[i] = tonumber(ARGV[i])\n"
    "end\n"
    "local capacity, interval, kept, back = n[2], n[3], n[4], n[5]\n"
    "local need, least, want = n[6], n[7], n[8]\n"
    "local carry, way, ttl = n[9], n[10], n[11]\n"
    "local left, held, sum, known = load(KEYS[1], ttl)\n"
    "for i = #held, 1, -1 do\n"
    "    if held[i][1] == ARGV[1] then\n"
    "        left = left + math.max(0, held[i][2] - kept - back)\n"
    "        sum = sum - held[i][2]\n"
    "        table.remove(held, i)\n"
    "    end\n"
    "end\n"
    "if known then\n"
    "    carry = carry - way\n"
    "end\n"
    "left = math.min(capacity, math.max(left, carry - kept))\n"
    "local free = math.max(0, capacity - left - sum - kept)\n"
    "local function whole(ns)\n"
    "    return math.floor(ns / interval) * interval\n"
    "end\n"
    "local given, extra = 0, 0\n"
    "if least <= free then\n"
    "    given = math.min(need, whole(free))\n"
    "end\n"
    "if given == need then\n"
    "    extra = whole(math.min(want, (free - given) / 4))\n"
    "end\n"
    "left = left + given\n"
    "local others = sum\n"
    "if kept + extra > 0 then\n"
    "    held[#held + 1] = {ARGV[1], kept + extra, now + ttl}\n"
    "    sum = sum + kept + extra\n"
    "end\n"
    "store(KEYS[1], ttl, left, held, sum)\n"
    "return {given, extra, left, others}\n",
    { 0 }
};


/* gives back; leases stay */

ngx_http_penstock_redis_script_t  ngx_http_penstock_ratelimit_back = {
    "local value = redis.call('GET', KEYS[1]) or ''\n"
    "local at, ns, rest = string.match(value, '^(%d+) (%d+)(.*)$')\n"
    "if not at then\n"
    "    return 0\n"
    "end\n"
    "local left = math.max(0, tonumber(ns) - tonumber(ARGV[1]))\n"
    "if left == 0 and rest == '' then\n"
    "    return redis.call('DEL', KEYS[1])\n"
    "end\n"
    "redis.call('SET', KEYS[1],\n"
    "           string.format('%s %.0f', at, left) .. rest, 'PX',\n"
    "           string.format('%.0f', math.max(1, math.ceil(left / 1e6),\n"
    "                                  redis.call('PTTL', KEYS[1]))))\n"
    "return 1\n",
    { 0 }
};
