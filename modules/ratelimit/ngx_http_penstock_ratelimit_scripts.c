
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
 *
 * MGET, as a key of another type is no error for it, but none.  "%d" is the
 * fastest way to write a number, where Lua's integers have 64 bits.  Numbers
 * from elsewhere that are beyond all limits are cut, or the sums of them were
 * no numbers.
 */

#define NGX_HTTP_PENSTOCK_RATELIMIT_LUA                                       \
    "local call, match, format = redis.call, string.match, string.format\n"   \
    "local time = call('TIME')\n"                                             \
    "local now = time[1] * 1000000 + time[2]\n"                               \
    "local digits = format('%d', 2 ^ 40) == '1099511627776'\n"                \
    "               and '%d' or '%.0f'\n"                                     \
    "local text = format(digits, now) .. ' ' .. digits\n"                     \
    "local function load(value, ttl)\n"                                       \
    "    if not value then\n"                                                 \
    "        return 0, false, 0, false, false\n"                              \
    "    end\n"                                                               \
    "    local at, left = match(value, '^(%d+) (%d+)$')\n"                    \
    "    local held, sum, rest = false, 0, false\n"                           \
    "    if not at then\n"                                                    \
    "        at, left, rest = match(value, '^(%d+) (%d+)( .*)$')\n"           \
    "        if not at then\n"                                                \
    "            return 0, false, 0, false, false\n"                          \
    "        end\n"                                                           \
    "    end\n"                                                               \
    "    at, left = tonumber(at), tonumber(left)\n"                           \
    "    if #value > 40 then\n"                                               \
    "        at, left = math.min(at, 2 ^ 53), math.min(left, 2 ^ 53)\n"       \
    "    end\n"                                                               \
    "    if rest then\n"                                                      \
    "        local ended, size = {}, 0\n"                                     \
    "        held = {}\n"                                                     \
    "        for h, ns, t in string.gmatch(rest, ' (%w+) (%d+) (%d+)') do\n"  \
    "            size = size + 3 + #h + #ns + #t\n"                           \
    "            ns = math.min(tonumber(ns), 2 ^ 53)\n"                       \
    "            t = math.min(tonumber(t), now + ttl)\n"                      \
    "            if t > now then\n"                                           \
    "                held[#held + 1] = {h, ns, t}\n"                          \
    "                sum = math.min(sum + ns, 2 ^ 53)\n"                      \
    "            else\n"                                                      \
    "                ended[#ended + 1] = {t, ns}\n"                           \
    "            end\n"                                                       \
    "        end\n"                                                           \
    "        if size ~= #rest then\n"                                         \
    "            return 0, false, 0, false, false\n"                          \
    "        end\n"                                                           \
    "        table.sort(ended, function(a, b) return a[1] < b[1] end)\n"      \
    "        for _, e in ipairs(ended) do\n"                                  \
    "            local t = math.max(at, e[1])\n"                              \
    "            left = math.max(0, left - (t - at) * 1000) + e[2]\n"         \
    "            at = t\n"                                                    \
    "        end\n"                                                           \
    "    end\n"                                                               \
    "    if at < now then\n"                                                  \
    "        left = math.max(0, left - (now - at) * 1000)\n"                  \
    "    end\n"                                                               \
    "    return left, held, sum, true, at > now\n"                            \
    "end\n"                                                                   \
    "local function store(key, ttl, left, held, sum)\n"                       \
    "    local value = format(text, left)\n"                                  \
    "    local ms = math.ceil((left + sum) / 1e6)\n"                          \
    "    if held and #held > 0 then\n"                                        \
    "        for _, h in ipairs(held) do\n"                                   \
    "            value = value .. format(' %s %.0f %.0f', h[1], h[2], h[3])\n"\
    "        end\n"                                                           \
    "        ms = ms + math.ceil(ttl / 1000)\n"                               \
    "    elseif left <= 0 then\n"                                             \
    "        call('DEL', key)\n"                                              \
    "        return\n"                                                        \
    "    end\n"                                                               \
    "    call('SET', key, value, 'PX', format(digits, ms))\n"                 \
    "end\n"


/*
 * Questions of many requests in one call: KEYS are each there once, and the
 * argument is an array in MessagePack, which costs Redis much less than an
 * argument for each number.  It holds the way and the TTL of leases; then for
 * each request how many limits it has, and for each of these: the number of
 * its key, capacity, cost, what the host remembers, and whether it is
 * enforced.
 *
 * Requests are taken in their order, each by what those before it have left.
 * Returns for each limit of each request what was left before the request,
 * and, if that is refused, -1 less that; and behind them the time, or, where
 * there are leases, -1 times it.
 *
 * What the host remembers is as old as the question was on its way.  Where
 * Redis has the key that much, the way, is taken off: or each request that
 * travels longer than the one before would cost its key the difference.
 */

ngx_http_penstock_redis_script_t  ngx_http_penstock_ratelimit_exact = {
    NGX_HTTP_PENSTOCK_RATELIMIT_LUA
    "local n = cmsgpack.unpack(ARGV[1])\n"
    "local way, ttl = n[1], n[2]\n"
    "local value = call('MGET', unpack(KEYS))\n"
    "local left, held, sum, known, write = {}, {}, {}, {}, {}\n"
    "for i = 1, #KEYS do\n"
    "    left[i], held[i], sum[i], known[i], write[i] = load(value[i], ttl)\n"
    "end\n"
    "local reply, p, r = {}, 3, 0\n"
    "while p <= #n do\n"
    "    local first, last, fits = p + 1, p + 5 * n[p], true\n"
    "    for q = first, last, 5 do\n"
    "        local i, capacity, carry = n[q], n[q + 1], n[q + 3]\n"
    "        if known[i] then\n"
    "            carry = carry - way\n"
    "        end\n"
    "        if left[i] < carry then\n"
    "            left[i], write[i] = carry, true\n"
    "        end\n"
    "        if left[i] > capacity then\n"
    "            left[i], write[i] = capacity, true\n"
    "        end\n"
    "        if n[q + 4] == 1 and left[i] + sum[i] + n[q + 2] > capacity then\n"
    "            fits = false\n"
    "        end\n"
    "    end\n"
    "    for q = first, last, 5 do\n"
    "        local i, cost = n[q], n[q + 2]\n"
    "        local before = left[i] + sum[i]\n"
    "        r = r + 1\n"
    "        if not fits then\n"
    "            reply[r] = -1 - before\n"
    "        else\n"
    "            reply[r] = before\n"
    "            if cost > 0 and before + cost <= n[q + 1] then\n"
    "                left[i], write[i] = left[i] + cost, true\n"
    "            end\n"
    "        end\n"
    "    end\n"
    "    p = last + 1\n"
    "end\n"
    "reply[r + 1] = now\n"
    "for i = 1, #KEYS do\n"
    "    if write[i] and left[i] > 0 then\n"
    "        store(KEYS[i], ttl, left[i], held[i], sum[i])\n"
    "    end\n"
    "    if held[i] and #held[i] > 0 then\n"
    "        reply[r + 1] = -now\n"
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
 * leased, what is spent, what others have leased, and the time.
 */

ngx_http_penstock_redis_script_t  ngx_http_penstock_ratelimit_leased = {
    NGX_HTTP_PENSTOCK_RATELIMIT_LUA
    "local n = {}\n"
    "for i = 2, #ARGV do\n"
    "    n[i] = tonumber(ARGV[i])\n"
    "end\n"
    "local capacity, interval, kept, back = n[2], n[3], n[4], n[5]\n"
    "local need, least, want = n[6], n[7], n[8]\n"
    "local carry, way, ttl = n[9], n[10], n[11]\n"
    "local value = call('MGET', KEYS[1])[1]\n"
    "local left, held, sum, known = load(value, ttl)\n"
    "held = held or {}\n"
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
    "return {given, extra, left, others, now}\n",
    { 0 }
};


/*
 * Gives back; leases stay.  Arguments: what was debited; when, by Redis' own
 * clock; what was left before.
 *
 * Where the key has had nothing to drain since, what was debited is gone, and
 * what is there now is of others.  It drains behind what was there before, so
 * that of an age beyond that so much less goes back.
 */

ngx_http_penstock_redis_script_t  ngx_http_penstock_ratelimit_back = {
    "local value = redis.call('MGET', KEYS[1])[1] or ''\n"
    "local at, ns, rest = string.match(value, '^(%d+) (%d+)(.*)$')\n"
    "if not at then\n"
    "    return 0\n"
    "end\n"
    "local time = redis.call('TIME')\n"
    "local age = time[1] * 1000000 + time[2] - tonumber(ARGV[2])\n"
    "local cost, before = tonumber(ARGV[1]), tonumber(ARGV[3])\n"
    "local back = math.min(cost, cost + before - age * 1000)\n"
    "if age < 0 or back <= 0 then\n"
    "    return 0\n"
    "end\n"
    "local left = math.max(0, tonumber(ns) - back)\n"
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
