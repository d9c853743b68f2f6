#!/usr/bin/python3
"""A small cloud ERP for tests and the demo: stock and orders in SQLite, with
the limits that real cloud ERPs have.

    erp.py --port 0 --db erp.sqlite --latency 80ms --concurrency 15

prints one JSON line with its port, then serves until SIGTERM:

    GET  /availability?sku=A,B&sku=C&location=L1,L2
    POST /orders      {"order_id": "1", "customer": "c", "lines":
                       [{"sku": "A", "location": "L1", "quantity": 2}]}
                      with an Idempotency-Key the same key is the same order
    GET  /orders/ID
    GET  /orders/by-key/KEY
                      what became of it: 200, 404 nothing, 409 not yet known

and, beside the limits and never counted,

    GET  /__stats     counters by kind, highest concurrency
    GET  /__requests  the last 500 requests as they came in
    GET  /__history   every change of stock (?since=SEQ)
    GET  /__audit     stock recomputed from order lines; units oversold
    POST /__stock     {"sku", "location", "available" or "delta"}: a change
                      made in the ERP itself
    POST /__control   faults and settings, see CONTROLS below
"""

import argparse
import asyncio
import collections
import csv
import gzip
import hashlib
import json
import signal
import sys
import time
from email.utils import formatdate
from urllib.parse import parse_qsl, unquote

from erp_store import DEFAULT_STOCK, Refused, Store

MAX_HEAD = 256 * 1024
MAX_BODY = 8 * 1024 * 1024
REASONS = {200: "OK", 201: "Created", 204: "No Content", 304: "Not Modified",
           400: "Bad Request", 401: "Unauthorized", 404: "Not Found",
           405: "Method Not Allowed", 409: "Conflict",
           413: "Content Too Large", 415: "Unsupported Media Type",
           422: "Unprocessable Content",
           429: "Too Many Requests", 500: "Internal Server Error",
           502: "Bad Gateway", 503: "Service Unavailable"}

# POST /__control {"fail": 3}: the next three requests get a 500.  Each fault
# counts down; -1 lasts until set to 0.  "only": "read" or "write" keeps the
# others whole (null: both again).  "fail_status", "slow_time" belong to fail
# and slow; "latency", "max_age", "concurrency", "budget", "gzip" are settings.
# "reset": true sets counters and faults to zero.
FAULTS = ("fail", "hang", "slow", "truncate", "malformed", "lose", "drop",
          "gzip_next", "nolength")
# fail:      status 500 (fail_status), nothing done
# hang:      no answer, nothing done, the connection stays open
# slow:      slow_time (5s) more before the answer
# truncate:  full Content-Length, half the body, then close
# malformed: 200 with half a JSON text, well framed
# lose:      done, but closed without an answer: an unknown outcome
# drop:      closed at once, nothing done
# gzip_next: gzip answer although nobody asked for it
# nolength:  no Content-Length, the end of the connection ends the body


def seconds(text):
    """80ms, 5s, 2m or a number of seconds."""
    for unit, factor in (("ms", 0.001), ("s", 1), ("m", 60)):
        if str(text).endswith(unit):
            return float(text[:-len(unit)]) * factor
    return float(text)


def rate(text):
    """6000/300s -> (6000, 300.0); 0 or none: no limit"""
    if not text or str(text) in ("0", "none"):
        return None
    n, _, window = str(text).partition("/")
    return int(n), seconds(window or "300s")


class Limits:
    """How many requests at once, and how many in a window of time."""

    def __init__(self, concurrency, budget):
        self.concurrency, self.budget = concurrency, budget
        self.running = self.highest = 0
        self.times = collections.deque()

    def enter(self):
        """None, or (what, retry after seconds) when refused."""
        if self.concurrency and self.running >= self.concurrency:
            return "concurrency", 1
        if self.budget:
            n, window = self.budget
            now = time.monotonic()
            while self.times and self.times[0] <= now - window:
                self.times.popleft()
            if len(self.times) >= n:
                return "budget", max(1, int(self.times[0] + window - now) + 1)
            self.times.append(now)
        self.running += 1
        self.highest = max(self.highest, self.running)
        return None

    def leave(self):
        self.running -= 1


class Request:
    def __init__(self, method, target, headers, body, gone):
        self.method, self.target = method, target
        self.gone = gone       # a function: whether the client has left
        self.path, _, self.query = target.partition("?")
        self.headers, self.body = headers, body

    def json(self):
        try:
            return json.loads(self.body or b"")
        except (ValueError, RecursionError):
            raise Refused(400, "INVALID_JSON", "the body is not JSON")


class Erp:
    def __init__(self, options, store):
        self.store = store
        self.key_header = options.key_header.lower()
        self.keys = collections.Counter()      # of orders under way
        self.limits = Limits(0, None)
        self.configure(options)
        self.reset()

    def configure(self, options):
        self.latency = seconds(options.latency)
        self.max_age = options.max_age
        self.style = options.style
        self.gzip = False
        self.limits.concurrency = options.concurrency
        self.limits.budget = rate(options.budget)
        self.slow_time, self.fail_status, self.only = 5.0, 500, None

    def reset(self):
        self.counts = collections.Counter()
        self.refusals = collections.Counter()
        self.statuses = collections.Counter()
        self.faults = collections.Counter()
        self.requests = collections.deque(maxlen=500)
        self.limits.highest = self.limits.running

    def ready(self):
        """Called when the stock is loaded."""

    async def call(self, function, *args):
        """What the store does goes through here: it may take its time."""
        return function(*args)

    # -- one request ------------------------------------------------------

    async def handle(self, request):
        """(status, headers, body, fault): fault says how to spoil it."""
        if request.path.startswith("/__"):
            return *await self.admin(request), None
        kind = "read" if request.method in ("GET", "HEAD") else "write"
        fault = self.next_fault(kind)
        self.requests.append(
            {"at": time.time(), "method": request.method,
             "target": request.target, "headers": request.headers,
             "size": len(request.body)})
        refused = self.limits.enter()
        if refused:
            self.refusals[refused[0]] += 1
            self.counts["refused_" + kind] += 1
            status, body, headers = self.refusal(*refused)
            self.statuses[status] += 1
            return status, headers, body, None
        key = request.headers.get(self.key_header)
        self.keys[key] += 1
        try:
            return await self.work(request, kind, fault)
        finally:
            self.keys[key] -= 1
            self.keys += collections.Counter()      # those above zero
            self.limits.leave()

    async def work(self, request, kind, fault):
        self.counts[kind] += 1
        if fault == "drop":
            return 0, {}, b"", fault
        if fault == "hang":
            while not request.gone():
                await asyncio.sleep(0.02)
            return 0, {}, b"", fault
        # What is read or written happens in the middle of the latency, so
        # that an answer may be on its way while another one changes stock.
        await asyncio.sleep(self.latency / 2)
        if fault == "fail":
            status, headers = self.fail_status, {}
            body = {"error": {"code": "UNEXPECTED_ERROR",
                              "message": "told to fail"}}
        else:
            try:
                status, headers, body = await self.route(request)
            except Refused as refused:
                status, headers, body = refused.status, {}, refused.body
        await asyncio.sleep(self.latency / 2)
        if fault == "slow":
            await asyncio.sleep(self.slow_time)
        self.statuses[status] += 1
        return status, headers, body, fault

    def next_fault(self, kind):
        if self.only not in (None, kind):
            return None
        for name in FAULTS:
            if self.faults[name]:
                if self.faults[name] > 0:
                    self.faults[name] -= 1
                return name
        return None

    def refusal(self, what, after):
        if self.style == "netsuite":
            return 400, {"error": {
                "code": "SSS_REQUEST_LIMIT_EXCEEDED",
                "message": "{\"type\":\"error.SuiteScriptError\",\"message\":"
                           "\"Concurrent request limit exceeded. Request "
                           "blocked.\"}"}}, {}
        return 429, {"error": {
            "code": "Application_TooManyRequests",
            "message": f"too many requests: {what}"}}, \
            {"Retry-After": str(after)}

    async def route(self, request):
        if request.path == "/availability":
            if request.method not in ("GET", "HEAD"):
                return 405, {"Allow": "GET, HEAD"}, {"error": {
                    "code": "METHOD", "message": "use GET"}}
            return await self.availability(request)
        if request.path == "/orders" and request.method == "POST":
            return await self.take_order(request)
        if request.path.startswith("/orders/") and request.method == "GET":
            order = await self.find_order(request)
            if order:
                return 200, {"Cache-Control": "no-store"}, order
        return 404, {}, {"error": {"code": "NOT_FOUND",
                                   "message": "nothing here"}}

    async def take_order(self, request):
        order, again = await self.call(
            self.store.take_order, request.json(),
            request.headers.get("x-correlation-id", ""),
            request.headers.get(self.key_header))
        self.counts["replays" if again else "orders"] += 1
        return 201, {"Location": "/orders/" + order["order_id"]}, order

    async def find_order(self, request):
        self.counts["lookups"] += 1
        name = unquote(request.path[8:])
        if not name.startswith("by-key/"):
            return await self.call(self.store.order, name)
        key = name[7:]
        under_way = key in self.keys
        order = await self.call(self.store.order_by_key, key)
        if under_way and not order:
            raise Refused(409, "IN_PROGRESS", "this order is being taken")
        return order

    async def availability(self, request):
        skus, locations = [], []
        for name, value in parse_qsl(request.query):
            if name == "sku":
                skus += [v for v in value.split(",") if v]
            elif name == "location":
                locations += [v for v in value.split(",") if v]
        if not skus:
            return 400, {}, {"error": {"code": "SKU_MISSING",
                                       "message": "name at least one sku"}}
        if len(skus) > 1000:
            return 400, {}, {"error": {"code": "TOO_MANY",
                                       "message": "at most 1000 SKUs"}}
        items = [{"sku": s, "location": lo, "available": n}
                 for s, lo, n in await self.call(
                     self.store.availability, skus, locations)]
        self.counts["cells"] += len(items)
        now = time.time()
        as_of = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) \
            + ".%03dZ" % (now % 1 * 1000)
        etag = '"%s"' % hashlib.sha256(
            json.dumps(items).encode()).hexdigest()[:16]
        headers = {"ETag": etag,
                   "Cache-Control": f"public, max-age={self.max_age}"}
        if etag in request.headers.get("if-none-match", ""):
            return 304, headers, b""
        return 200, headers, {"as_of": as_of, "items": items}

    # -- beside the API ---------------------------------------------------

    async def admin(self, request):
        try:
            return await self.admin_route(request)
        except Refused as refused:
            return refused.status, {}, refused.body
        except (TypeError, ValueError, KeyError) as error:
            return 400, {}, {"error": {"code": "CONTROL",
                                       "message": repr(error)}}

    async def admin_route(self, request):
        what = request.method + " " + request.path
        if what == "GET /__stats":
            return 200, {}, self.stats()
        if what == "GET /__requests":
            return 200, {}, list(self.requests)
        if what == "GET /__history":
            args = dict(parse_qsl(request.query))
            return 200, {}, await self.call(self.store.history,
                                            int(args.get("since", 0)))
        if what == "GET /__audit":
            return 200, {}, await self.call(self.store.audit)
        if what == "POST /__stock":
            said = request.json()
            left = await self.call(self.store.adjust, said["sku"],
                                   said["location"], said.get("available"),
                                   said.get("delta", 0))
            if left is None:
                raise Refused(409, "BELOW_ZERO", "stock can't be negative")
            return 200, {}, {"available": left}
        if what == "POST /__control":
            self.control(request.json())
            return 200, {}, {"faults": {k: v for k, v in self.faults.items()
                                        if v}}
        return 404, {}, {"error": {"code": "NOT_FOUND",
                                   "message": "no such control"}}

    def control(self, said):
        if said.pop("reset", False):
            self.reset()
        for name, value in said.items():
            if name in FAULTS:
                self.faults[name] = int(value)
            elif name in ("latency", "slow_time"):
                setattr(self, name, seconds(value))
            elif name in ("max_age", "fail_status"):
                setattr(self, name, int(value))
            elif name == "only":
                if value not in (None, "read", "write"):
                    raise ValueError("only: read, write or null")
                self.only = value
            elif name == "gzip":
                self.gzip = bool(value)
            elif name == "concurrency":
                self.limits.concurrency = int(value)
            elif name == "budget":
                self.limits.budget = rate(value)
            else:
                raise ValueError("no such control: " + name)

    def stats(self):
        return {"reads": self.counts["read"], "writes": self.counts["write"],
                "orders": self.counts["orders"],
                "replays": self.counts["replays"],
                "lookups": self.counts["lookups"],
                "cells": self.counts["cells"],
                "refusals": sum(self.refusals.values()),
                "refused": dict(self.refusals),
                "refused_reads": self.counts["refused_read"],
                "refused_writes": self.counts["refused_write"],
                "running": self.limits.running,
                "highest_concurrency": self.limits.highest,
                "statuses": {str(k): v for k, v in self.statuses.items()}}


class BadRequest(Exception):
    pass


class Server:
    """HTTP/1.1 with keep-alive; one coroutine a connection."""

    def __init__(self, erp):
        self.erp = erp

    async def connection(self, reader, writer):
        try:
            while True:
                request = await self.read(reader, writer)
                if request is None:
                    break
                if not await self.answer(request, writer):
                    break
        except BadRequest as error:
            self.send(writer, 400, {"Connection": "close"}, json.dumps(
                {"error": {"code": "HTTP", "message": str(error)}}).encode())
        except (ConnectionError, asyncio.IncompleteReadError,
                asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def read(self, reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        except asyncio.LimitOverrunError:
            raise BadRequest("header too large")
        lines = head[:-4].decode("latin-1").split("\r\n")
        try:
            method, target, version = lines[0].split(" ")
        except ValueError:
            raise BadRequest("request line")
        headers = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon:
                raise BadRequest("header line")
            name, value = name.strip().lower(), value.strip()
            headers[name] = headers[name] + ", " + value \
                if name in headers else value
        headers.setdefault("connection",
                           "close" if version == "HTTP/1.0" else "keep-alive")
        if headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await self.read_body(reader, headers)
        return Request(method, target, headers, body, reader.at_eof)

    async def read_body(self, reader, headers):
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = b""
            while True:
                try:
                    size = int((await reader.readuntil(b"\r\n"))
                               .split(b";")[0], 16)
                except ValueError:
                    raise BadRequest("chunk size")
                if len(body) + size > MAX_BODY:
                    raise BadRequest("body too large")
                body += (await reader.readexactly(size + 2))[:-2]
                if size == 0:
                    return body
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > MAX_BODY:
            raise BadRequest("content length")
        return await reader.readexactly(int(length))

    async def answer(self, request, writer):
        """True: the connection goes on."""
        status, headers, body, fault = await self.erp.handle(request)
        if fault in ("lose", "drop", "hang"):
            return False
        if not isinstance(body, bytes):
            body = json.dumps(body, separators=(",", ":")).encode()
            headers = dict(headers, **{"Content-Type": "application/json"})
        if fault == "malformed":
            body = body[:len(body) // 2]
        asked = "gzip" in request.headers.get("accept-encoding", "")
        if body and (fault == "gzip_next" or self.erp.gzip and asked):
            body = gzip.compress(body)
            headers = dict(headers, **{"Content-Encoding": "gzip",
                                       "Vary": "Accept-Encoding"})
        keep = request.headers["connection"].lower() != "close" \
            and fault not in ("truncate", "nolength")
        headers = dict(headers,
                       Connection="keep-alive" if keep else "close")
        cut = len(body) // 2 if fault == "truncate" else None
        self.send(writer, status, headers, body,
                  head_only=request.method == "HEAD" or status == 304,
                  cut=cut, framed=fault != "nolength")
        await writer.drain()
        return keep

    def send(self, writer, status, headers, body, head_only=False, cut=None,
             framed=True):
        lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}",
                 "Date: " + formatdate(usegmt=True), "Server: test-erp"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if framed and status not in (204, 304):
            lines.append(f"Content-Length: {len(body)}")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        writer.write(head if head_only else head + body[:cut])


async def serve(options, erp):
    if options.catalogue:
        with open(options.catalogue, newline="") as file:
            rows = csv.DictReader(file)
            erp.store.load((r["sku"], r["location"], r["available"])
                           for r in rows)
    elif erp.store.empty():
        erp.store.load(DEFAULT_STOCK)
    erp.ready()
    server = await asyncio.start_server(
        Server(erp).connection, options.host, options.port, limit=MAX_HEAD,
        backlog=1024)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"port": port, "db": options.db}), flush=True)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    server.close()
    erp.store.close()


def arguments(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--db", default=":memory:", help="SQLite file")
    parser.add_argument("--catalogue", help="CSV: sku,location,available")
    parser.add_argument("--latency", default="80ms")
    parser.add_argument("--concurrency", type=int, default=15,
                        help="requests at once; 0: no limit")
    parser.add_argument("--budget", default="",
                        help="requests in a window, as 6000/300s")
    parser.add_argument("--max-age", type=int, default=5,
                        help="seconds that an availability answer is good for")
    parser.add_argument("--style", choices=("netsuite", "bc"), default="bc",
                        help="how a limit refuses: 400 with NetSuite's code, "
                             "or 429 as Business Central")
    parser.add_argument("--key-header", default="Idempotency-Key",
                        metavar="NAME", help="the same key in it is the same"
                        " order (default Idempotency-Key)")
    return parser


def main(argv):
    options = arguments("A small cloud ERP for tests, on SQLite.") \
        .parse_args(argv)
    asyncio.run(serve(options, Erp(options, Store(options.db))))


if __name__ == "__main__":
    main(sys.argv[1:])
