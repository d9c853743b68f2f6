#!/usr/bin/python3
"""What a request for many cells costs at the gateway, beside a bare return
200 of the same bytes, in one run; and whether that stays so with a million
cells held, and while others are invalidated.

The same way of measuring as bench.py, which runs this with --set cells.
"""

import http.client
import http.server
import json
import os
import random
import socketserver
import subprocess
import sys
import threading
import time
from urllib.parse import parse_qsl

from bench import CLIENT_CORE, Bench, configs, say, stop_with

LOCATIONS = ("LON", "ROT")
HELD = 1000                             # SKUs of the small gateways
MANY = 500_000                          # and of the large one
PURGES, TAGS = 100, 100                 # a second, each of so many tags


def item(sku, location):
    return (f'{{"sku":"{sku}","location":"{location}",'
            f'"available":{sum(map(ord, sku + location)) * 7}}}')


def answer(skus, locations):
    return ('{"as_of":"2026-01-05T08:15:30.123Z","items":['
            + ",".join(item(s, lo) for s in skus for lo in locations) + "]}")


class Origin(http.server.BaseHTTPRequestHandler):
    """Any SKU, at any location."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        asked = {"sku": [], "location": []}
        for name, value in parse_qsl(self.path.partition("?")[2]):
            asked[name] += value.split(",")
        body = answer(asked["sku"], asked["location"]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Cache-Control", "max-age=3600")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Threads(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128


def bare(skus):
    return f"""
    server {{
        listen 127.0.0.1:%PORT%;
        location / {{ return 200 '{answer(skus, LOCATIONS)}'; }}
    }}
"""


def gateway(origin, size, redis_port=None):
    redis = f"redis main {{ server 127.0.0.1:{redis_port}; }}" \
        if redis_port else ""
    return configs.upstream(origin) + f"""
    {redis}
    availability_zone stock:{size} {"redis=main" if redis_port else ""};
    server {{
        listen 127.0.0.1:%PORT%;
        correlation_id off;
        location /availability {{
            availability_cache stock;
            availability_cache_key $uri;
            availability_cache_items arg=sku arg=location list=/items
                                     id=/sku id=/location;
            proxy_pass http://erp;
        }}
        location /purge {{ availability_purge zone=stock; }}
        location /status {{ penstock_status; }}
    }}
"""


def target(skus):
    return f"/availability?sku={','.join(skus)}&location=" \
        + ",".join(LOCATIONS)


class Cells(Bench):
    def set_up(self):
        random.seed(1)
        held = [f"{n:05}A" for n in range(HELD)]
        server = Threads(("127.0.0.1", 0), Origin)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        origin = server.server_address[1]
        self.redis()

        sets = [random.sample(held, 24) for _ in range(500)]
        self.wide = self.file("wide", map(target, sets))
        self.narrow = self.file("narrow", (
            f"/availability?sku={sku}&location=LON" for sku in held))

        self.nginx("bare", bare(sets[0]))
        self.nginx("one", bare(held[:1]).replace(item(held[0], "ROT"), "")
                   .replace("},]", "}]"))
        self.nginx("cells", gateway(origin, "16m"))
        self.fill("cells", held)
        if "many" in self.names:
            self.nginx("many", gateway(origin, "384m"))
            say(f"filling {2 * MANY:,} cells")
            self.fill("many", held)
            self.fill("many", (f"{n:06}B" for n in range(MANY)))
            self.fill("many", held)
            say("held: " + str(self.status(
                "many", "penstock_availability_cell_entries")))
        self.l2 = gateway(origin, "16m", self.redis_port)
        if set(self.names) & {"pushed", "redis", "redis_one"}:
            self.nginx("other", self.l2, CLIENT_CORE)
            self.fill("other", held)
        if "pushed" in self.names:
            self.nginx("pushed", self.l2)
            for _ in range(2):
                self.fill("pushed", held)

    def get(self, name, path, method="GET", body=None):
        connection = http.client.HTTPConnection("127.0.0.1",
                                                self.ports[name])
        connection.request(method, path, body)
        reply = connection.getresponse()
        text = reply.read()
        if reply.status != 200:
            stop_with(f"{name}: {path[:60]}: {reply.status}")
        connection.close()
        return text

    def fill(self, name, skus):
        skus = list(skus)
        for n in range(0, len(skus), 500):
            self.get(name, target(skus[n:n + 500]))

    def status(self, name, metric):
        values = json.loads(self.get(name, "/status"))["metrics"][metric]
        return sum(v["value"] for v in values["values"])

    # -- rows -------------------------------------------------------------

    def bare(self):
        return self.measure("bare", self.time, self.wide)

    def cells(self):
        return self.measure("cells", self.time, self.wide)

    def many(self):
        return self.measure("many", self.time, self.wide)

    def one(self):
        return self.measure("one", self.time, self.narrow)

    def cell(self):
        return self.measure("cells", self.time, self.narrow)

    def pushed(self):
        """Hits, while another host invalidates 10,000 tags a second."""
        stop = threading.Event()
        sent = []

        def purge():
            connection = http.client.HTTPConnection("127.0.0.1",
                                                    self.ports["other"])
            began = time.monotonic()
            while not stop.is_set() and len(sent) < 100 * PURGES:
                tags = [f"X{len(sent) * TAGS + n}" for n in range(TAGS)]
                connection.request("POST", "/purge",
                                   json.dumps({"tags": tags}))
                connection.getresponse().read()
                sent.append(time.monotonic())
                ahead = len(sent) / PURGES - (sent[-1] - began)
                if ahead > 0:
                    stop.wait(ahead)

        thread = threading.Thread(target=purge)
        thread.start()
        try:
            return self.measure("pushed", self.time, self.wide)
        finally:
            stop.set()
            thread.join()
            if len(sent) > 1:
                self.rates.append(TAGS * (len(sent) - 1)
                                  / (sent[-1] - sent[0]))

    rates = []

    def empty(self, targets, limit):
        """Its memory is empty, but Redis holds all."""
        self.nginx("fresh", self.l2)
        try:
            return self.measure("fresh", limit, targets)
        finally:
            self.end("fresh")

    def redis_cells(self):
        wide = self.file("once", (
            target([f"{n + k:05}A" for k in range(24)])
            for n in range(0, HELD - 24, 24)))
        return self.empty(wide, HELD // 24 - 1)

    def redis_cell(self):
        return self.empty(self.narrow, HELD)

    ROWS = (
        ("bare", "return 200 of 48 items, nothing else"),
        ("cells", "Penstock: 24 SKUs x 2 locations from memory"),
        ("many", "Penstock: the same, a million cells held"),
        ("pushed", "Penstock: the same, 10,000 others voided a second"),
        ("redis_cells", "Penstock: 24 x 2 from Redis"),
        ("one", "return 200 of one item"),
        ("cell", "Penstock: one cell from memory"),
        ("redis_cell", "Penstock: one cell from Redis"),
    )

    def table(self, rows, got):
        super().table(rows, got)
        self.rates = [r for r in self.rates if r]
        if {"bare", "cells"} <= got.keys():
            say(f"24 x 2 cells from memory cost {self.ratio('cells', 'bare'):.2f}"
                " x bare (target 3).")
        if {"many", "cells"} <= got.keys():
            say("With a million cells held they cost "
                f"{self.ratio('many', 'cells'):.2f} x as much (target 1).")
        if {"pushed", "cells"} <= got.keys() and self.rates:
            say(f"While {min(self.rates):,.0f} tags a second and more were "
                "invalidated at another host they cost "
                f"{self.ratio('pushed', 'cells'):.2f} x as much (target 1).")
        if {"one", "cell"} <= got.keys():
            say(f"One cell from memory costs {self.ratio('cell', 'one'):.2f} x "
                "bare.")
        if {"redis_cells", "redis_cell"} <= got.keys():
            say("48 cells from Redis cost "
                f"{self.ratio('redis_cells', 'redis_cell'):.1f} x one cell.")


if __name__ == "__main__":
    sys.exit("run ./build.sh bench --set cells")
