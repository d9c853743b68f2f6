"""What soak.py's gateway gets beside the demo's load, a thread each: orders
with an Idempotency-Key, sent until they are answered; purges and monitoring;
clients that send and read slowly or leave; HTTP/2."""

import collections
import itertools
import random
import re
import socket
import struct
import subprocess
import threading
import time
import uuid

import penstock

KEYED_SKUS = 4
KEYED_STOCK = 1000000000
SCOPES = "availability:read orders:write orders:read availability:purge"

# so is answered what can't be done now, a key that comes again included
NOT_NOW = {409, 429, 502, 503, 504}


class Problems:
    """One of each kind, and how many there were."""

    def __init__(self):
        self.first, self.count = {}, collections.Counter()

    def append(self, text):
        kind = re.sub(r"\d+", "", text)[:60]
        self.first.setdefault(kind, text)
        self.count[kind] += 1

    def items(self):
        return [(self.first[kind], n) for kind, n in self.count.items()]


class Clients:

    def __init__(self, servers, tokens, skus):
        self.servers, self.tokens, self.skus = servers, tokens, skus
        self.port = servers.port
        self.counts = collections.Counter()
        self.taken = collections.Counter()
        self.last, self.highest = {}, collections.Counter()
        self.number = itertools.count(1)
        self.header = {}
        self.calm = False
        self.allowed, self.forgotten = set(), False

    def __str__(self):
        return ", ".join(f"{n:,} {name}" for name, n
                         in sorted(self.counts.items()))

    def begin(self, allowed, forgotten, calm):
        """A round: statuses that answers may have (0: none), whether keys
        may be forgotten, whether nothing goes wrong."""
        token = self.tokens.make("soak", "channel", SCOPES)[0]
        self.header = {"Authorization": "Bearer " + token}
        self.allowed, self.forgotten, self.calm = allowed, forgotten, calm
        self.problems = Problems()
        self.done = threading.Event()
        self.threads = [threading.Thread(target=self.thread, args=args,
                                         daemon=True)
                        for args in ((self.keyed, 0), (self.keyed, 1),
                                     (self.monitor,), (self.slow,),
                                     (self.leave,), (self.http2,))]
        for thread in self.threads:
            thread.start()

    def end(self):
        self.done.set()
        for thread in self.threads:
            thread.join(60)
            if thread.is_alive():
                self.problems.append("a client still waits after 60 s")
        return self.problems.items()

    def thread(self, client, *args):
        try:
            while not self.done.is_set():
                client(*args)
        except Exception as error:
            self.problems.append(f"{client.__name__}: {error!r}")

    def ask(self, method, path, body=None, headers=None):
        try:
            return penstock.request(self.port, method, path, dict(
                self.header, **(headers or {})), body, timeout=60)
        except (OSError, EOFError, penstock.http.client.HTTPException):
            return None

    def expect(self, what, answer, *wanted):
        """Whether it is as wanted; says so if it may not be otherwise."""
        status = answer.status if answer else 0
        if status in wanted:
            return True
        if self.calm or status not in self.allowed | NOT_NOW:
            self.problems.append(f"{what}: {answer or 'no answer'}")
        return False

    # orders

    def order(self, sku, number):
        return {"order_id": f"K{number}", "customer": "soak", "lines": [
            {"sku": sku, "location": "LON", "quantity": 1}]}

    def keyed(self, n):
        """One order, until it is answered; this thread alone sells its SKU,
        and sees at once that it did."""
        sku, number = f"KEYED{n}", next(self.number)
        body = self.order(sku, number)
        key = {"Idempotency-Key": f'"{uuid.uuid4()}"'}

        while not self.done.is_set():
            answer = self.ask("POST", "/orders", body, key)
            if answer and "DUPLICATE_ORDER" in answer.text:
                if not self.forgotten:
                    self.problems.append(f"sent twice: {answer}")
                return
            # 200: its answer was lost, and it was looked up
            if self.expect("an order with a key", answer, 201, 200):
                break
            self.counts["orders sent again"] += 1
            self.done.wait(0.2)
        else:
            return

        self.counts["orders with a key"] += 1
        self.taken[sku] += 1
        read = self.ask("GET", f"/availability?sku={sku}&location=LON")
        if self.expect("a read after an order", read, 200) \
                and not re.search("ttl=-|stale|bypass",
                                  read.headers["Cache-Status"] or "bypass"):
            left = read.json()["items"][0]["available"]
            if left > KEYED_STOCK - self.taken[sku]:
                self.problems.append(f"an order is not seen: {read}")

        again = self.ask("POST", "/orders", body, key)
        if self.expect("a key again", again, answer.status) \
                and again.body != answer.body:
            self.problems.append(f"{answer}, then {again}")
        self.done.wait(0.02)

    def works(self):
        """Whether reads, orders and orders with a key go through now."""
        number = next(self.number)
        body = self.order(f"KEYED{KEYED_SKUS - 1}", number)
        other = self.order(f"KEYED{KEYED_SKUS - 1}", f"{number}-2")
        key = {"Idempotency-Key": f'"{uuid.uuid4()}"'}
        sku = random.choice(self.skus)
        path = f"/availability?sku={sku}&location=LON"
        reads = [self.ask("GET", path) for _ in range(4)]
        writes = [self.ask("POST", "/orders", body, key),
                  self.ask("POST", "/orders", other)]
        return all(r and r.status == 200 and not re.search(
                       "ttl=-|if-error", r.headers["Cache-Status"] or "")
                   for r in reads) \
            and all(r and r.status == 201 for r in writes)

    # monitoring

    def metrics(self):
        """Name and labels: value; counters must not go back."""
        counters, values = set(), {}
        text = penstock.request(
            self.port, path="/penstock_status?format=prometheus").text
        for line in text.splitlines():
            if line.startswith("# TYPE") and line.endswith(" counter"):
                counters.add(line.split()[2])
            elif not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                values[name] = int(value)
        for name, value in values.items():
            if name.partition("{")[0] in counters:
                if value < self.last.get(name, 0):
                    raise AssertionError(
                        f"{name}: {self.last[name]}, then {value}")
                self.last[name] = value
            else:
                self.highest[name] = max(self.highest[name], value)
        return values

    def bounds(self, most):
        """What has been more than it may be."""
        return [f"{name} was {value}" for name, value in self.highest.items()
                if value > most.get(name.partition("{")[0], value)]

    def monitor(self):
        self.metrics()
        tags = {"tags": random.sample(self.skus, 3)}
        if self.expect("a purge", self.ask("POST", "/purge", tags), 200):
            self.counts["purges"] += 1
        if self.expect("healthz", self.ask("GET", "/healthz"), 200):
            self.counts["looks"] += 1
        self.done.wait(0.1)

    # those that are slow or leave

    def connect(self, size=None):
        s = socket.socket()
        s.settimeout(60)
        if size:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
        s.connect(("127.0.0.1", self.port))
        return s

    def head(self, method, path, more=""):
        return (f"{method} {path} HTTP/1.1\r\nHost: soak\r\nAuthorization:"
                f" {self.header['Authorization']}\r\n{more}\r\n").encode()

    def slow(self):
        """Sends a piece at a time, and reads so."""
        skus = ",".join(random.sample(self.skus, 30))
        head = self.head("GET", "/availability?sku=" + skus,
                         "Connection: close\r\n")
        answer = b""
        try:
            with self.connect(2048) as s:
                for at in range(0, len(head), 100):
                    s.sendall(head[at:at + 100])
                    time.sleep(0.02)
                while True:
                    piece = s.recv(512)
                    if not piece:
                        break
                    answer += piece
                    time.sleep(0.02)
        except OSError:
            pass
        self.counts["slow reads"] += 1
        if self.calm and (b" 200 OK\r\n" not in answer
                          or not answer.endswith(b"]}")):
            self.problems.append(f"a slow client: {answer[-300:]!r}")

    def leave(self):
        """In the middle of its question, of its order, or while it waits."""
        skus = ",".join(random.sample(self.skus, 5))
        what = random.choice((
            self.head("GET", "/availability?sku=" + skus),
            self.head("GET", "/availability?sku=" + skus)[:-20],
            self.head("POST", "/orders", "Content-Length: 100\r\n")
            + b'{"order_id":'))
        try:
            with self.connect() as s:
                s.sendall(what)
                self.done.wait(random.choice((0, 0.003, 0.05)))
                if random.random() < 0.5:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                 struct.pack("ii", 1, 0))
        except OSError:
            pass
        self.counts["left"] += 1
        self.done.wait(0.02)

    def http2(self):
        """Streams of one connection."""
        lines = [f'header = "Authorization: {self.header["Authorization"]}"']
        for sku in random.choices(self.skus, k=20):
            lines += [f'url = "https://127.0.0.1:{self.servers.h2_port}'
                      f'/availability?sku={sku}"', 'output = "/dev/null"']
        done = subprocess.run(
            ["curl", "-sk", "-Z", "--http2", "-m", "60", "-w",
             "%{http_version} %{http_code}\n", "-K", "-"],
            input="\n".join(lines), stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True)
        got = collections.Counter(done.stdout.splitlines())
        self.counts["HTTP/2 reads"] += got["2 200"]
        other = {what: n for what, n in got.items() if what != "2 200"
                 and (self.calm or int(what.split()[1])
                      not in self.allowed | NOT_NOW)}
        if other:
            self.problems.append(f"HTTP/2: {other}")
        self.done.wait(0.2)
