#!/usr/bin/python3
"""What a request costs at the gateway, side by side in one run.

Each server runs one worker on core 0; the client and the upstream have core
1.  Cost is CPU time of the worker (user and system) by the number of
requests.  All get the same requests, with a token of some 650 bytes, though
not all look at it.  The rows take turns, round after round, so that a noisy
neighbour hurts all alike; medians are printed.  It asserts nothing.

    bench.py [--rounds 5] [--seconds 1.5] [--only ROW,ROW]
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "demo"))

import configs                                            # noqa: E402
from demo import (BUILD, MODULE, Servers, Tokens, free_port, say,  # noqa: E402
                  stop_with, tool, wait_for)

GATEWAY_CORE, CLIENT_CORE = "0", "1"
CONNECTIONS = 16


def cpu_seconds(pid):
    """User and system time of a process that has one thread."""
    try:
        with open(f"/proc/{pid}/schedstat") as file:
            ns = int(file.read().split()[0])
        if ns:
            return ns / 1e9
    except (OSError, ValueError):
        pass
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Bench(Servers):
    connections = CONNECTIONS

    def __init__(self, folder, options):
        super().__init__(folder)
        self.options = options
        self.pound = tool("pound", "tests/bench/pound.c")
        self.rsa = tool("rsa", "tests/bench/rsa.c", ("-lcrypto",))
        self.tokens = Tokens(folder)
        self.ports = {}
        self.running = {}

    def pinned(self, name, argv, core):
        process = self.start(name, ["taskset", "-c", core, *argv])
        self.running[name] = process
        return process

    def nginx(self, name, text, core=GATEWAY_CORE):
        """One nginx with one process, so that its pid is the worker's."""
        prefix = self.path(name)
        os.makedirs(os.path.join(prefix, "tmp"), exist_ok=True)
        port = self.ports.setdefault(name, free_port())
        path = os.path.join(prefix, "nginx.conf")
        with open(path, "w") as file:
            file.write(configs.nginx(text, port, prefix, MODULE))
        process = self.pinned(name, [
            "nginx", "-p", prefix, "-e", "error.log", "-c", path], core)
        wait_for(port, process, name, os.path.join(prefix, "error.log"))
        return port

    def end(self, name):
        process = self.running.pop(name)
        process.terminate()
        process.wait(10)
        self.processes.remove(process)

    def file(self, name, lines):
        with open(self.path(name), "w") as file:
            file.writelines(line + "\n" for line in lines)
        return self.path(name)

    def client(self, port, limit, targets, tokens="-"):
        done = subprocess.run(
            ["taskset", "-c", CLIENT_CORE, self.pound, str(port),
             str(self.connections), str(limit), targets, tokens],
            capture_output=True, text=True)
        if done.returncode:
            stop_with("the client failed: " + done.stderr)
        return json.loads(done.stdout)

    def measure(self, name, limit, targets, tokens="-"):
        pid = self.worker(name)
        before = cpu_seconds(pid)
        said = self.client(self.ports[name], limit, targets, tokens)
        said["cost"] = (cpu_seconds(pid) - before) * 1e6 / said["requests"]
        said["rate"] = said["requests"] / said["seconds"]
        return said

    def worker(self, name):
        pid = self.running[name].pid
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = file.read().split()
        return int(children[0]) if children else pid

    # -- servers ----------------------------------------------------------

    def set_up(self):
        options = self.options
        with open(self.path("keys.json"), "w") as file:
            file.write(self.tokens.set())
        subprocess.run(["openssl", "pkey", "-in", self.tokens.key, "-pubout",
                        "-out", self.path("public.pem")], check=True)
        say(f"minting {2 * options.tokens:,} tokens")
        token = self.tokens.make("bench", "channel", "availability:read")
        self.one_token = self.file("token", token)
        self.old_tokens, self.new_tokens = (
            self.file(name, self.tokens.make(
                "bench", "channel", "availability:read", options.tokens))
            for name in ("old", "new"))
        target = "/availability?sku=85123A,71053&location=LON"
        self.one = self.file("one", [target])
        self.many = self.file("many", (
            f"/availability?sku={n},71053&location=LON"
            for n in range(options.tokens)))
        self.redis()
        origin = self.nginx("origin", configs.ORIGIN, CLIENT_CORE)
        self.nginx("bare", configs.BARE)
        self.nginx("stock", configs.stock(origin))
        self.nginx("plain", configs.plain(origin))
        self.haproxy(origin)
        self.penstock_text = configs.penstock(origin, self.redis_port,
                                              self.path("keys.json"))
        if set(self.names) & {"hit", "forged", "redis_hit", "miss"}:
            self.nginx("warm", self.penstock_text)
        if "cell" in self.names:
            self.asked = self.file("asked", [
                "/availability?sku=85123A,71053&location=LON,ROT"])
            self.nginx("cells", configs.penstock_cells(self.penstock_text))
        if "open" in self.names:
            self.nginx("open", configs.penstock_open(self.penstock_text))
        with open(self.new_tokens) as file:
            self.forged_tokens = self.file("forged", (
                self.forge(token) for token in file.read().split()))
        self.round = 0

    @property
    def names(self):
        only = [w for w in self.options.only.split(",") if w]
        return [name for name, _ in self.ROWS if not only or name in only]

    def haproxy(self, origin):
        port = self.ports["haproxy"] = free_port()
        path = self.path("haproxy.cfg")
        with open(path, "w") as file:
            file.write(configs.haproxy(port, origin, self.path("public.pem")))
        process = self.pinned("haproxy", ["haproxy", "-db", "-f", path],
                              GATEWAY_CORE)
        wait_for(port, process, "HAProxy", self.path("haproxy.log"))

    # -- rows -------------------------------------------------------------

    def bare(self):
        return self.measure("bare", self.time, self.one, self.one_token)

    def stock(self):
        return self.measure("stock", self.time, self.one, self.one_token)

    def haproxy_hit(self):
        return self.measure("haproxy", self.time, self.one, self.one_token)

    def hit(self):
        return self.measure("warm", self.time, self.one, self.one_token)

    def cell(self):
        return self.measure("cells", self.time, self.asked, self.one_token)

    @staticmethod
    def forge(token):
        """Another signature of the same length."""
        head, body, signature = token.split(".")
        return ".".join((head, body, signature[::-1][2:] + "AA"))

    def open(self):
        return self.measure("open", self.time, self.one, self.one_token)

    def forged(self):
        return self.measure("warm", self.options.tokens, self.one,
                            self.forged_tokens)

    def new_token(self):
        """A gateway that was just started has not seen these tokens; others
        have filled its zone, and its answer is in memory, before the count
        begins."""
        self.nginx("fresh", self.penstock_text.replace("tokens:64m",
                                                       "tokens:8m"))
        try:
            self.client(self.ports["fresh"], self.options.tokens, self.one,
                        self.old_tokens)
            return self.measure("fresh", self.options.tokens, self.one,
                                self.new_tokens)
        finally:
            self.end("fresh")

    def redis_hit(self):
        """Its memory is empty, but another gateway filled Redis."""
        self.nginx("fresh", self.penstock_text)
        try:
            self.client(self.ports["warm"], self.options.tokens, self.many,
                        self.one_token)
            self.client(self.ports["fresh"], 200, self.one, self.one_token)
            return self.measure("fresh", self.options.tokens, self.many,
                                self.one_token)
        finally:
            self.end("fresh")

    def never_asked(self):
        """Targets that no gateway was asked before."""
        self.round += 1
        return self.file("never", (
            f"/availability?sku={self.round}-{n},71053&location=LON"
            for n in range(self.options.tokens)))

    def miss(self):
        return self.measure("warm", self.options.tokens, self.never_asked(),
                            self.one_token)

    def plain(self):
        return self.measure("plain", self.options.tokens, self.never_asked(),
                            self.one_token)

    def verify(self):
        """The bare signature check, in the same run."""
        done = subprocess.run(
            ["taskset", "-c", GATEWAY_CORE, self.rsa, self.tokens.key,
             "4000"], capture_output=True, text=True, check=True)
        return {"cost": float(done.stdout)}

    @property
    def time(self):
        return f"{self.options.seconds}s"

    ROWS = (
        ("bare", "return 200, nothing else"),
        ("stock", "nginx: proxy_cache hit, limit_req, $request_id"),
        ("haproxy_hit", "HAProxy: jwt_verify, stick table, cache hit"),
        ("hit", "Penstock: hit, everything on"),
        ("cell", "Penstock: the same, by four cells"),
        ("open", "Penstock: the same, no look at the token"),
        ("new_token", "Penstock: the same, token never seen"),
        ("forged", "Penstock: forged token, refused"),
        ("redis_hit", "Penstock: the same, answer from Redis"),
        ("miss", "Penstock: miss"),
        ("plain", "nginx: proxy_pass"),
        ("verify", "RS256 signature check alone"),
    )

    def run(self):
        rows = [row for row in self.ROWS if row[0] in self.names]
        got = {name: [] for name, _ in rows}
        # what is compared closest stands side by side in time too
        order = sorted(got, key=lambda name: name not in ("bare", "hit",
                                                          "open"))
        for n in range(self.options.rounds):
            for name in order:
                got[name].append(getattr(self, name)())
            print(f"\rround {n + 1} of {self.options.rounds}",
                  end="" if sys.stdout.isatty() else "\n", flush=True)
        self.table(rows, got)

    def table(self, rows, got):
        def median(name, what):
            return statistics.median(g[what] for g in got[name])

        def ratio(name, other):
            """Of each round by itself: the machine's speed drifts."""
            return statistics.median(
                mine["cost"] / its["cost"]
                for mine, its in zip(got[name], got[other]))

        self.ratio = ratio
        bare = "bare" in got
        say(f"\n\n{'':50}{'us CPU':>9}{'x bare':>8}{'requests':>10}"
            f"{'p50':>9}{'p99':>9}{'not 200':>9}\n"
            f"{'':50}{'a request':>9}{'':>8}{'a second':>10}")
        for name, title in rows:
            cost = median(name, "cost")
            line = f"{title:50}{cost:9.2f}"
            line += f"{ratio(name, 'bare'):8.2f}" if bare else f"{'':8}"
            if name != "verify":
                bad = sum(g["requests"] - g["ok"] for g in got[name])
                line += f"{median(name, 'rate'):10,.0f}" \
                    f"{median(name, 'p50'):6.0f} us" \
                    f"{median(name, 'p99'):6.0f} us{bad:9,}"
            say(line)
        say("")
        if {"hit", "stock"} <= got.keys() and bare:
            say("A hit with everything on costs "
                f"{ratio('hit', 'bare'):.2f} x bare (target 1.35) and "
                f"{ratio('hit', 'stock'):.2f} x a stock hit that checks no "
                "token.")
        if {"new_token", "verify", "hit"} <= got.keys():
            rest = statistics.median(
                new["cost"] - check["cost"] - hit["cost"]
                for new, check, hit in zip(got["new_token"], got["verify"],
                                           got["hit"]))
            say("A token not seen before costs a hit, the signature check "
                f"and {rest:.1f} us (target 10).")
        if {"open", "hit"} <= got.keys():
            more = statistics.median(
                hit["cost"] - none["cost"]
                for hit, none in zip(got["hit"], got["open"]))
            say(f"A token seen before costs {more:.1f} us more than no look "
                "at it (target 2).")
        if {"forged", "verify", "hit"} <= got.keys():
            more = statistics.median(
                bad["cost"] - hit["cost"] - check["cost"]
                for bad, hit, check in zip(got["forged"], got["hit"],
                                           got["verify"]))
            say("A forged token costs a signature check and "
                f"{abs(more):.1f} us {'more' if more > 0 else 'less'} than a "
                "hit.")
        if {"miss", "plain"} <= got.keys():
            say(f"A miss costs {ratio('miss', 'plain'):.2f} x plain "
                "proxy_pass.")
        for name in "hit", "new_token", "redis_hit":
            if name in got:
                share = sum(g["hits"] for g in got[name]) \
                    / sum(g["requests"] for g in got[name])
                if share < 1:
                    say(f"({name}: {100 * share:.1f}% were hits)")


def main(argv):
    parser = argparse.ArgumentParser(prog="build.sh bench")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5,
                        help="for each row in each round")
    parser.add_argument("--tokens", type=int, default=8000, metavar="N",
                        help="tokens never seen, and targets never asked")
    parser.add_argument("--only", default="", metavar="ROW,ROW",
                        help="some rows: "
                        + " ".join(name for name, _ in Bench.ROWS))
    parser.add_argument("--set", default="all",
                        help="answers, cells, limits, writes, bodies, or all "
                             "that there are")
    options = parser.parse_args(argv)
    if len(os.sched_getaffinity(0)) < 2:
        stop_with("the benchmark needs two cores")
    if not os.path.exists(MODULE):
        stop_with(f"{MODULE} is not there; run ./build.sh build first")
    os.makedirs(BUILD, exist_ok=True)
    sets = bench_sets()
    if options.set != "all":
        if options.set not in sets:
            stop_with("there are the sets " + ", ".join(sets))
        sets = {options.set: sets[options.set]}
    elif options.only:
        sets = {"answers": Bench}
    for made in sets.values():
        run(made, options)
    return 0


def bench_sets():
    """By name; the others import this file, so not at its top."""
    sys.modules.setdefault("bench", sys.modules[__name__])
    from bench_bodies import Bodies
    from bench_cells import Cells
    from bench_limits import Limits
    from bench_writes import Writes
    return {"answers": Bench, "cells": Cells, "limits": Limits,
            "writes": Writes, "bodies": Bodies}


def run(made, options):
    folder = tempfile.mkdtemp(prefix="penstock-bench-")
    os.chmod(folder, 0o755)
    bench = made(folder, options)
    try:
        bench.set_up()
        bench.run()
    finally:
        bench.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
