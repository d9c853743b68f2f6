#!/usr/bin/python3
"""Long mixed traffic with faults against lua-free-config as it is: does
anything grow, and does every promise hold while servers come and go?

    soak.py 30                   for half an hour
    soak.py --short              one round of the main kinds

plays rounds.  In each the demo's load runs (pages, orders, a channel that
misbehaves) beside the clients of soak_clients.py, and in the midst of it
something goes wrong: Redis or the ERP is killed, stopped, slow, or its link is
spoiled; the gateway is reloaded, a worker killed.  Then it is put right, and
the round ends when all is well again.  What a killed worker held of the ERP's
budget comes back when its lease ends, after a minute.

Each answer is held against what was true, as in the demo.  After each round
nothing waits any more and no old worker is left; counters never go back.  At
the end memory and descriptors of workers have not grown while they lived, nor
the master's at all, no order was sent twice, nothing was oversold, and no line of level alert, crit or emerg
was logged but of the workers that were killed.

Exit status: 0 all held, 1 not, 2 it could not run.
"""

import argparse
import collections
import itertools
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import faults
import penstock
import soak_clients as clients

sys.path.insert(0, os.path.join(penstock.ROOT, "tests/demo"))

import demo                                               # noqa: E402
import judge                                              # noqa: E402
import plan as plans                                      # noqa: E402

MAX_AGE = 4              # s that the ERP lets answers be kept
ANSWER_TIME = 1.5        # s of an answer's way, at most, on a busy machine
IF_ERROR = 60            # s, as locations/availability.conf says
LATENCY = "20ms"         # of the ERP
CONCURRENCY = 15         # that it takes
SETTLE = 75              # s; worker_shutdown_timeout is 60
LEASE = 70               # s; the budget's is 60
DEADLINE = 180           # s for what the load of a round takes

# what a process has may grow by so much: a worker's in its life, the master's
# in all; no worker has ever more than MOST_KB
GROWTH = {"worker": 1536, "fds": 6, "master": 1024, "master_fds": 0}
LIFE = 16                # rounds that a worker must live to be compared
MOST_KB = 16384

# answers beside those that the demo expects: none, as a worker is gone; the
# ERP's absence
LOST = {0}
ABSENT = {502, 503, 504}

# what lua-free-config's zones hold at most: entries of 64m, tokens of 16m
MOST = {"penstock_availability_cell_entries": 64 << 20 >> 6,
        "penstock_oauth_cache_entries": 16 << 20 >> 6,
        "penstock_erp_budget_waiting": 200 * 2}
IN_USE, WAITING = (f'penstock_erp_budget_{name}{{zone="erp"}}'
                   for name in ("in_use", "waiting"))


def say(text):
    print(text, flush=True)


class Servers(demo.Servers):
    """The demo's, with links to Redis and to the ERP that can be spoiled,
    and a listener for TLS and HTTP/2."""

    def __init__(self, folder):
        super().__init__(folder)
        self.argvs = {}
        self.named = {}

    def start(self, name, argv):
        self.argvs.setdefault(name, argv)
        self.named[name] = super().start(name, argv)
        return self.named[name]

    def kill(self, name):
        process = self.named[name]
        process.kill()
        process.wait()
        self.processes.remove(process)

    def restart_redis(self):
        process = self.start("redis", self.argvs["redis"])
        demo.wait_for(self.redis_port, process, "Redis",
                      self.path("redis.log"))

    def gateway(self, config, jwks):
        real = self.redis_port, self.erp_port
        self.redis_link = faults.Proxy(self.redis_port)
        self.erp_link = faults.Proxy(self.erp_port)
        self.h2_port = demo.free_port()
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
             "ec_paramgen_curve:prime256v1", "-nodes", "-days", "9",
             "-subj", "/CN=localhost", "-keyout", self.path("tls.key"),
             "-out", self.path("tls.crt")], check=True, capture_output=True)
        copy = self.path("config")
        shutil.copytree(config, copy)
        old = re.search(r"nginx/1\.(\d|1\d|2[0-4])\.", subprocess.run(
            [demo.NGINX, "-v"], stderr=subprocess.PIPE, text=True).stderr)
        # links that go through this process are slow on a busy machine
        path = os.path.join(copy, "site/redis.conf")
        with open(path) as file:
            text = file.read()
        with open(path, "w") as file:
            file.write(re.sub("timeout .*;", "timeout connect=1s command=1s;",
                              text))
        with open(os.path.join(copy, "site/listen.conf"), "a") as file:
            file.write(f"\nlisten 127.0.0.1:{self.h2_port} ssl"
                       + (" http2;\n" if old else ";\nhttp2 on;\n")
                       + f"ssl_certificate {self.path('tls.crt')};\n"
                       f"ssl_certificate_key {self.path('tls.key')};\n")
        self.redis_port = self.redis_link.port
        self.erp_port = self.erp_link.port
        try:
            super().gateway(copy, jwks)
        finally:
            self.redis_port, self.erp_port = real
        self.nginx = self.named["nginx"]

    def workers(self, old=False):
        pids = []
        with open(f"/proc/{self.nginx.pid}/task/{self.nginx.pid}"
                  "/children") as file:
            children = file.read().split()
        for pid in children:
            try:
                with open(f"/proc/{pid}/cmdline") as file:
                    title = file.read()
            except OSError:
                continue
            if "worker process" in title \
                    and (old or "shutting down" not in title):
                pids.append(int(pid))
        return pids

    def waiting(self):
        """Connections that the gateway holds of clients."""
        ports, n = (self.port, self.h2_port), 0
        with open("/proc/net/tcp") as file:
            for line in file.readlines()[1:]:
                words = line.split()
                # established, or closed by the client alone
                n += int(words[1].split(":")[1], 16) in ports \
                    and words[3] in ("01", "08")
        return n

    def stop(self):
        for name in "redis_link", "erp_link":
            if hasattr(self, name):
                getattr(self, name).teardown()
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
        super().stop()


class Faults:
    """What goes wrong, and is put right again.  Each of RULES is (name,
    statuses that answers may have then, whether the ERP was away, whether
    what Redis held is lost)."""

    RULES = (
        ("quiet", set(), False, False),
        ("reload", set(), False, False),
        ("redis_stopped", set(), False, False),
        ("erp_slow", ABSENT, True, False),
        ("redis_killed", set(), False, True),
        ("erp_fails", ABSENT | {500}, True, False),
        ("redis_link", set(), False, False),
        # the places that it had at the ERP stay taken for a while
        ("worker_killed", LOST | ABSENT, True, False),
        ("erp_killed", ABSENT, True, False),
        ("erp_link", ABSENT, True, False),
        ("all_at_once", ABSENT | LOST, True, False),
    )
    # between them workers live on, that it shows when they grow
    RESTARTS = "reload", "worker_killed", "all_at_once"
    LONG = RULES + 3 * tuple(rule for rule in RULES if rule[0] not in (
        "reload", "worker_killed", "all_at_once"))
    SHORT = ("quiet", "worker_killed", "reload", "redis_stopped", "erp_fails",
             "redis_killed", "erp_link", "quiet")

    def __init__(self, servers, pause):
        self.servers, self.pause = servers, pause
        kinds = faults.DOWN + faults.HARMLESS
        self.redis_kinds = itertools.cycle(kinds)
        # an answer that comes later than a client waits is no news
        self.erp_kinds = itertools.cycle(
            [k for k in kinds if k not in ("late", "corrupt")])
        self.erp_fault = itertools.cycle(
            ("fail", "drop", "truncate", "lose", "nolength", "hang"))
        self.killed = []
        self.last_kill = 0

    def quiet(self):
        self.pause(1)

    def reload(self):
        for sig in signal.SIGHUP, signal.SIGUSR1, signal.SIGHUP:
            self.servers.nginx.send_signal(sig)
            self.pause(0.7)

    def redis_stopped(self):
        self.servers.named["redis"].send_signal(signal.SIGSTOP)
        self.pause(1.5)
        self.servers.named["redis"].send_signal(signal.SIGCONT)

    def redis_killed(self):
        self.servers.kill("redis")
        self.pause(1)
        self.servers.restart_redis()

    def redis_link(self):
        self.servers.redis_link.fault = next(self.redis_kinds)
        self.pause(1.5)
        self.servers.redis_link.heal()

    def erp_slow(self):
        self.servers.ask_erp("/__control", {"latency": "400ms"})
        self.pause(1.5)
        self.servers.ask_erp("/__control", {"latency": LATENCY})

    def erp_fails(self):
        fault = next(self.erp_fault)
        self.servers.ask_erp("/__control", {fault: -1})
        self.pause(1)
        self.servers.ask_erp("/__control", {fault: 0})

    def erp_killed(self):
        self.servers.kill("erp")
        self.pause(1)
        self.servers.start_erp()

    def erp_link(self):
        self.servers.erp_link.fault = next(self.erp_kinds)
        self.pause(1.5)
        self.servers.erp_link.heal()

    def worker_killed(self):
        pid = random.choice(self.servers.workers())
        self.killed.append(pid)
        self.last_kill = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        self.pause(1)

    def all_at_once(self):
        self.servers.nginx.send_signal(signal.SIGHUP)
        self.servers.redis_link.fault = "reset"
        self.servers.erp_link.fault = "half"
        self.pause(0.5)
        self.worker_killed()
        self.redis_stopped()
        self.servers.redis_link.heal()
        self.servers.erp_link.heal()


class Sample:
    """What the gateway's processes have, at rest."""

    def __init__(self, servers):
        workers = servers.workers()
        self.master = self.private(servers.nginx.pid)
        self.worker = max(map(self.private, workers))
        self.fds = max(len(os.listdir(f"/proc/{pid}/fd")) for pid in workers)
        self.master_fds = len(os.listdir(f"/proc/{servers.nginx.pid}/fd"))
        self.zones = max(self.memory(pid)[1] for pid in workers)

    @staticmethod
    def memory(pid):
        """(KB written that are its own, KB of zones that it has touched): a
        page of a zone that no other process has touched is its own as well
        to the kernel, which fills up as zones do."""
        own = zones = 0
        shared = False
        with open(f"/proc/{pid}/smaps") as file:
            for line in file:
                words = line.split()
                if "-" in words[0]:
                    shared = "s" in words[1]
                elif words[0] == "Private_Dirty:" and not shared:
                    own += int(words[1])
                elif words[0] == "Rss:" and shared:
                    zones += int(words[1])
        return own, zones

    def private(self, pid):
        return self.memory(pid)[0]

    def __str__(self):
        return (f"worker {self.worker:,} KB, {self.fds} fds, {self.zones:,}"
                f" KB of zones; master {self.master:,} KB, {self.master_fds}"
                " fds")


class Soak:

    def __init__(self, servers, seconds, rate, short=False):
        self.servers, self.seconds, self.rate = servers, seconds, rate
        self.kinds = [rule for name in Faults.SHORT for rule in Faults.RULES
                      if rule[0] == name] if short else Faults.LONG
        self.life = 0
        self.reads_per_order = rate // (6 if short else 3)
        self.ended = threading.Event()
        self.failures, self.samples, self.history = [], [], []
        self.statuses = collections.Counter()
        self.rounds = self.reads = self.hits = self.stale_shown = 0
        self.fault = Faults(servers, self.ended.wait)

    def failed(self, text):
        self.failures.append(text)
        say("  NOT HELD: " + text)

    def begin(self):
        servers = self.servers
        path = servers.path("orders.csv")
        plans.generate_orders(path, orders=120, skus=600, most=30)
        self.orders, _, _ = plans.read_orders(path)
        catalogue = servers.path("catalogue.csv")
        self.skus = plans.write_catalogue(catalogue, self.orders)
        with open(catalogue, "a") as file:
            for n in range(clients.KEYED_SKUS):
                file.write(f"KEYED{n},LON,{clients.KEYED_STOCK}\n")
        self.tokens = demo.Tokens(servers.folder)
        servers.redis()

        class Options:
            erp, erp_concurrency = "sandbox", CONCURRENCY
            erp_latency, max_age = LATENCY, MAX_AGE

        servers.erp(catalogue, Options)
        servers.gateway(demo.CONFIG, self.tokens.set())
        penstock.wait_for(lambda: len(servers.workers()) == os.cpu_count(),
                          what="workers")
        self.workers = os.cpu_count()
        self.load = demo.tool("load", "tests/demo/load.c")
        self.beside = clients.Clients(servers, self.tokens, self.skus)

    def plan(self):
        """Orders of a round have numbers of their own; goods come back as
        often as they go."""
        rng = random.Random(self.rounds)
        orders = []
        for order in rng.sample(self.orders, 12):
            new = plans.Order(f"R{self.rounds}-{order.number}",
                              order.customer, order.country)
            sign = rng.choice((1, -1))
            new.lines = [(sku, sign * n) for sku, n in order.lines]
            orders.append(new)
        plan = plans.build(orders, self.skus, self.tokens.all(),
                           self.reads_per_order, 8, seed=self.rounds)
        # so long does a lane wait between two reads
        name, lanes, _ = plan.queues[0]
        plan.queues[0] = name, lanes, 8000000 // self.rate
        plan.write(self.servers.path("plan"))
        return plan

    def play(self, fault):
        """The load, and in the midst of it the fault."""
        servers = self.servers
        process = servers.start("load", [
            self.load, str(servers.port), servers.path("plan"),
            servers.path("results"), servers.path("bodies")])
        try:
            self.ended.wait(0.5)
            getattr(self.fault, fault)()
            process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.failed(f"the load does not end within {DEADLINE} s")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            servers.processes.remove(process)
        if process.returncode > 0:
            self.failed(f"the load ended with {process.returncode}")

    def settle(self):
        """All is well again: nothing waits, reads and orders go through."""
        servers = self.servers
        beside = self.beside

        def rest():
            metrics = beside.metrics()
            return (servers.waiting() == 0
                    and len(servers.workers(old=True))
                    == len(servers.workers()) == self.workers
                    and metrics[WAITING] == 0
                    and (metrics[IN_USE] == 0
                         or time.monotonic() < self.fault.last_kill + LEASE))

        return self.within(SETTLE, "a read and an order go through",
                           beside.works) \
            and self.within(SETTLE, "nothing waits", rest)

    def within(self, seconds, what, condition):
        try:
            penstock.wait_for(condition, seconds, step=0.1)
        except AssertionError:
            self.failed(f"{what}: not within {seconds} s; "
                        f"{self.servers.waiting()} connections, workers "
                        f"{self.servers.workers(old=True)}")
            return False
        return True

    def judge(self, plan, allowed, absent, disturbed):
        """While the ERP is away what is old may be shown: such answers say
        so, and are not held against what was true."""
        servers = self.servers
        rows = True
        while rows:
            since = self.history[-1][0] if self.history else 0
            rows = servers.ask_erp(f"/__history?since={since}")
            self.history += rows
        results = servers.path("results")
        if absent:
            with open(results) as file:
                lines = file.readlines()
            kept = [line for line in lines
                    if not re.search("stale|partial", line.split()[6])]
            self.stale_shown += len(lines) - len(kept)
            with open(results, "w") as file:
                file.writelines(kept)
        v = judge.judge(plan, results, servers.path("bodies"), self.history,
                        MAX_AGE + ANSWER_TIME + (IF_ERROR if absent else 0))
        self.reads += v.reads
        self.hits += sum(n for c, n in v.cache.items()
                         if c.startswith("hit"))
        for counts in v.statuses.values():
            self.statuses.update(counts)
        if v.stale or v.wrong:
            self.failed(f"{v.stale} answers too old, {v.wrong} never true: "
                        + "; ".join(v.examples))
        for what, n in v.unexpected.items():
            # an order with a key is not taken where keys can't be checked
            if what[2] not in allowed and not (
                    disturbed and what[1] == "order"
                    and what[2] in clients.NOT_NOW):
                self.failed("%d x %s %s: status %d" % (n, *what))
        return v

    def round(self):
        name, allowed, absent, forgotten = self.kinds[
            self.rounds % len(self.kinds)]
        plan = self.plan()
        start = time.monotonic()
        before = self.servers.ask_erp("/__stats")
        calm = name in ("quiet", "reload")
        self.beside.begin(allowed, forgotten, calm)
        try:
            self.play(name)
        finally:
            problems = self.beside.end()
        well = self.settle()
        v = self.judge(plan, allowed, absent, not calm)
        for text, n in problems:
            self.failed(f"{n} x {text}")
        stats = self.servers.ask_erp("/__stats")
        # as long as Redis counts and no connection breaks under a request
        if name in ("quiet", "reload", "erp_slow", "worker_killed") \
                and stats["refusals"] > before["refusals"]:
            self.failed("the ERP had more at once than it takes: "
                        f"{stats['refused']}")
        # the ERP takes a key once, and counts what comes again
        if stats["replays"] > (0 if name == "erp_killed"
                               else before["replays"]) and not forgotten:
            self.failed(f"{stats['replays']} orders were sent twice")
        for text in self.beside.bounds(MOST):
            self.failed(text)
        self.samples.append(Sample(self.servers))
        self.life += name in Faults.RESTARTS
        self.samples[-1].life = self.life
        self.rounds += 1
        say(f"  {self.rounds:4} {name:14} {time.monotonic() - start:5.1f} s"
            f"  {v.reads:6,} reads, {v.orders['accepted']} orders; "
            f"{self.samples[-1]}")
        return well

    def run(self):
        self.begin()
        end = time.monotonic() + self.seconds
        # each kind once, at least
        while time.monotonic() < end or self.rounds < len(self.kinds):
            if not self.round():
                break
        self.within(LEASE, "the budget is free", lambda:
                    self.beside.metrics()[IN_USE] == 0)
        self.conclude()
        return not self.failures

    def growth(self):
        most = dict(GROWTH)
        if os.environ.get("PENSTOCK_KIND") == "asan":
            # it keeps what was freed
            del most["worker"], most["master"]
        elif max(s.worker for s in self.samples) > MOST_KB:
            self.failed("a worker had more than %d KB" % MOST_KB)

        def compare(name, what, first, last):
            then, now = (statistics.median(getattr(s, name) for s in samples)
                         for samples in (first, last))
            if now > then + most[name]:
                self.failed(f"{name}: {then:g} in the first rounds of {what},"
                            f" {now:g} in the last")

        for life in range(self.life + 1):
            samples = [s for s in self.samples if s.life == life]
            for name in {"worker", "fds"} & set(most):
                if len(samples) >= LIFE:
                    compare(name, f"life {life}", samples[:LIFE // 2],
                            samples[-LIFE // 2:])
        n = max(1, len(self.samples) // 3)
        for name in {"master", "master_fds"} & set(most):
            compare(name, "all", self.samples[:n], self.samples[-n:])

    def conclude(self):
        self.growth()
        audit = self.servers.ask_erp("/__audit")
        if audit["oversold"] or audit["mismatches"]:
            self.failed(f"stock: {audit}")
        for line in self.servers.bad_log_lines():
            if not any(f" {pid} exited on signal 9" in line
                       for pid in self.fault.killed):
                self.failed(line)
        entries = self.beside.highest[
            'penstock_availability_cell_entries{zone="availability"}']
        say(f"{self.rounds} rounds, {self.reads:,} reads, "
            f"{100 * self.hits / max(1, self.reads):.1f}% hits, "
            f"{audit['orders']:,} orders, {self.stale_shown:,} shown old;"
            f" beside them {self.beside}; statuses "
            + ", ".join(f"{k}: {n:,}" for k, n in
                        sorted(self.statuses.items()))
            + f"; first {self.samples[0]}; last {self.samples[-1]}; "
            f"at most {entries:,} cells held")


def main(argv):
    parser = argparse.ArgumentParser(prog="build.sh soak",
                                     description="Long traffic with faults.")
    parser.add_argument("minutes", type=float, nargs="?", default=10)
    parser.add_argument("--rate", type=int, default=600, metavar="N",
                        help="page reads a second, at most (default 600)")
    parser.add_argument("--short", action="store_true",
                        help="the main kinds of faults, once")
    options = parser.parse_args(argv)
    if options.short:
        options.minutes = 0
    if not os.path.exists(demo.MODULE):
        demo.stop_with(f"{demo.MODULE} is not there; run ./build.sh build")
    folder = tempfile.mkdtemp(prefix="penstock-soak-")
    os.chmod(folder, 0o755)       # nginx's workers are somebody else
    servers = Servers(folder)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    start = time.monotonic()
    soak = Soak(servers, options.minutes * 60, options.rate, options.short)
    try:
        held = soak.run()
        say(("All promises held" if held else "Not all promises held")
            + f", in {time.monotonic() - start:.0f} s.")
        return 0 if held else 1
    except KeyboardInterrupt:
        say("stopped")
        return 2
    finally:
        servers.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
