#!/usr/bin/python3
"""What a rate limit costs: on one host, by leases, and exactly over hosts,
beside nginx with lua-nginx-redis that does one script call a request with the
same Redis; and whether a zone of 32m holds a million keys.

The same way of measuring as bench.py, which runs this with --set limits.
Redis shares the gateway's core, as the client needs all of the other one: it
is not in the worker's CPU time, but in the rate.
"""

import os
import re
import sys
import urllib.request

from bench import Bench, cpu_seconds, say, stop_with

KEYS = 100                              # clients that take turns
MILLION = 1_000_000

BARE = """
    server {
        listen 127.0.0.1:%PORT%;
        location / { empty_gif; }
    }
"""

STOCK = """
    limit_req_zone $arg_k zone=limit:10m rate=1000000r/s;
    server {
        listen 127.0.0.1:%PORT%;
        location / { limit_req zone=limit burst=1000000 nodelay; empty_gif; }
    }
"""

# with as many bytes in its answer as ours has

STOCK_FIELDS = STOCK.replace("empty_gif;", """
        add_header RateLimit-Policy '"client";q=1000000;w=1';
        add_header RateLimit '"client";r=999999;t=1';
        empty_gif;""")


def penstock(redis_port=None, sync="", headers="off"):
    redis = f"redis main {{ server 127.0.0.1:{redis_port}; }}" \
        if redis_port else ""
    zone = sync or "client"             # keys of their own in Redis
    return f"""
    correlation_id off;
    {redis}
    rate_limit_zone $arg_k zone={zone}:10m rate=1000000r/s burst=1000000
                    {f"redis=main sync={sync}" if redis_port else ""};
    rate_limit_headers {headers};
    server {{
        listen 127.0.0.1:%PORT%;
        location / {{ rate_limit zone={zone}; empty_gif; }}
    }}
"""


# GCRA in a script, as one would write it: one call a request

SCRIPT = """
local t = redis.call("TIME")
local now = t[1] * 1000000 + t[2]
local tat = tonumber(redis.call("GET", KEYS[1]) or 0)
local interval, capacity = tonumber(ARGV[1]), tonumber(ARGV[2])
tat = math.max(tat, now) + interval
if tat - now > capacity then
    return 0
end
redis.call("SET", KEYS[1], string.format("%.0f", tat), "PX",
           math.ceil((tat - now) / 1000))
return 1
"""


def lua(redis_port):
    return f"""
    lua_package_path "/usr/share/lua/5.1/?.lua;;";
    init_by_lua_block {{
        redis = require "nginx.redis"
        redis.add_commands("evalsha")
        script = [[{SCRIPT}]]
    }}
    server {{
        listen 127.0.0.1:%PORT%;
        location / {{
            access_by_lua_block {{
                local r = redis:new()
                r:set_timeout(1000)
                local ok, err = r:connect("127.0.0.1", {redis_port})
                if not ok then
                    return ngx.exit(503)
                end
                local key = "lua:" .. ngx.var.arg_k
                local passed
                if sha then
                    passed, err = r:evalsha(sha, 1, key, 1, 1000000)
                end
                if not sha or (not passed and err) then
                    sha = r:script("LOAD", script)
                    passed = r:evalsha(sha, 1, key, 1, 1000000)
                end
                r:set_keepalive(10000, 64)
                if passed ~= 1 then
                    return ngx.exit(429)
                end
            }}
            empty_gif;
        }}
    }}
"""


def million(size):
    return f"""
    correlation_id off;
    rate_limit_zone $arg_k zone=client:{size} rate=1r/d burst=1;
    rate_limit_headers off;
    server {{
        listen 127.0.0.1:%PORT%;
        location / {{ rate_limit zone=client; empty_gif; }}
        location = /status {{ penstock_status; }}
    }}
"""


class Limits(Bench):
    # as many as a worker has under way: questions to Redis go together
    connections = 64

    def set_up(self):
        self.redis()
        self.redis_pid = self.processes[-1].pid
        os.sched_setaffinity(self.redis_pid, {0})
        self.targets = self.file("targets", (f"/?k={n}" for n in range(KEYS)))
        self.nginx("bare", BARE)
        self.nginx("stock", STOCK)
        self.nginx("stock_fields", STOCK_FIELDS)
        self.nginx("local", penstock())
        self.nginx("fields", penstock(headers="on"))
        self.nginx("lease", penstock(self.redis_port, "lease"))
        self.nginx("exact", penstock(self.redis_port, "exact"))
        if "lua" in self.names:
            self.nginx("lua", lua(self.redis_port))

    def row(self, name):
        before = cpu_seconds(self.redis_pid)
        said = self.measure(name, self.time, self.targets)
        said["redis"] = (cpu_seconds(self.redis_pid) - before) * 1e6 \
            / said["requests"]
        return said

    def bare(self):
        return self.row("bare")

    def stock(self):
        return self.row("stock")

    def stock_fields(self):
        return self.row("stock_fields")

    def local(self):
        return self.row("local")

    def fields(self):
        return self.row("fields")

    def lease(self):
        return self.row("lease")

    def exact(self):
        return self.row("exact")

    def lua(self):
        return self.row("lua")

    ROWS = (
        ("bare", "empty_gif, nothing else"),
        ("stock", "nginx: limit_req"),
        ("stock_fields", "nginx: the same, and two add_header"),
        ("local", "Penstock: rate_limit, rate_limit_headers off"),
        ("fields", "Penstock: rate_limit, with RateLimit fields"),
        ("lease", "Penstock: sync=lease"),
        ("exact", "Penstock: sync=exact"),
        ("lua", "lua-nginx, lua-nginx-redis: a script call each"),
    )

    def table(self, rows, got):
        super().table(rows, got)

        def rate(name):
            return sorted(g["rate"] for g in got[name])[len(got[name]) // 2]

        def redis(name):
            return sorted(g["redis"] for g in got[name])[len(got[name]) // 2]

        def more(name, other):
            costs = sorted(mine["cost"] - its["cost"]
                           for mine, its in zip(got[name], got[other]))
            return costs[len(costs) // 2]

        if {"bare", "local"} <= got.keys():
            say(f"A limit on this host adds {more('local', 'bare'):.2f} us "
                "to a request (target 0.5).")
        if {"bare", "fields", "stock", "stock_fields"} <= got.keys():
            say(f"With the fields that tell clients it adds "
                f"{more('fields', 'bare'):.2f} us; limit_req adds "
                f"{more('stock', 'bare'):.2f}, with two constant fields "
                f"{more('stock_fields', 'bare'):.2f}.")
        if {"lease", "local"} <= got.keys():
            say(f"A leased one costs {self.ratio('lease', 'local'):.2f} x "
                f"that of a request with a local one (target 1.2), at "
                f"{rate('lease'):,.0f} requests a second.")
        if {"exact", "lua"} <= got.keys():
            say(f"An exact one serves {rate('exact') / rate('lua'):.1f} x as "
                "many requests as Lua with one call each (target 2), with "
                f"Redis on the same core, for {self.ratio('exact', 'lua'):.2f}"
                f" x the worker's CPU time; Redis takes {redis('exact'):.1f} "
                f"us for one, {redis('lua'):.1f} for Lua's.")
        if not self.options.only:
            self.million()

    def million(self):
        """Each key once, then once more: who is refused is known still."""
        self.nginx("million", million("32m"))
        targets = self.file("million.txt", (
            f"/?k=customer-{n}" for n in range(MILLION)))
        first = self.measure("million", MILLION, targets)
        again = self.measure("million", MILLION, targets)
        with urllib.request.urlopen(
                f"http://127.0.0.1:{self.ports['million']}"
                "/status?format=prometheus") as reply:
            text = reply.read().decode()
        evicted = int(re.search(
            r'evicted_total\{zone="client"\} (\d+)', text).group(1))
        if first["ok"] != MILLION:
            stop_with(f"of a million new keys {first['ok']} passed")
        say(f"A zone of 32m holds {MILLION - again['ok']:,} of a million "
            f"keys ({evicted:,} were forgotten early); a new one costs "
            f"{first['cost']:.2f} us, one that is refused "
            f"{again['cost']:.2f}.")


if __name__ == "__main__":
    from bench import main
    sys.exit(main([*sys.argv[1:], "--set", "limits"]))
