#!/usr/bin/python3
"""The main job, with its numbers on screen: an ERP, Redis and the gateway
with lua-free-config as it is; order lines played against it, with browsing
around them, and every answer held against what was true.

    demo.py                      generated catalogue and orders
    demo.py --orders FILE        CSV: invoice,sku,quantity,customer,country
    demo.py --erp tryton         before Tryton instead of the small test ERP
    demo.py --gateways 2         as many before it, with one Redis
    demo.py --keep               leave it running, with three lines to try

Exit status: 0 all promises held, 1 one did not, 2 it could not run.
"""

import argparse
import glob
import json
import os
import random
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import judge
import plan as plans

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.abspath(os.environ.get("PENSTOCK_BUILD",
                                       os.path.join(ROOT, "build")))
MODULE = os.path.abspath(os.environ.get(
    "PENSTOCK_MODULE",
    os.path.join(BUILD, "plain/objs/ngx_http_penstock_module.so")))
CONFIG = os.path.join(ROOT, "lua-free-config")
# what is played when no orders are given: Tryton takes seconds for long ones
SIZES = {"sandbox": {}, "tryton": {"orders": 80, "skus": 500, "most": 40}}
# An order lets so many reads go on, in one burst: it must stay below what
# the channels' plans allow.
READS = {"sandbox": 300, "tryton": 200}
# Debian's Tryton is made for Debian's Python
ERPS = {"sandbox": [sys.executable, os.path.join(ROOT, "tests/erp/erp.py")],
        "tryton": ["/usr/bin/python3",
                   os.path.join(ROOT, "tests/erp/tryton_erp.py")]}
ISSUER, AUDIENCE = "https://issuer.example", "https://gateway.example"
CHANNELS = {"webshop": "channel", "app": "channel", "marketplace": "partner",
            "edi": "partner"}
# nginx stands where an ordinary user's PATH does not look
os.environ["PATH"] += ":/usr/sbin:/sbin"
NGINX = os.environ.get("PENSTOCK_NGINX", "nginx")
BAD_LINE = re.compile(r"\[(alert|emerg|crit)\]|Sanitizer|runtime error: ")


def say(text):
    print(text, flush=True)


def stop_with(text):
    print("demo: " + text, file=sys.stderr)
    raise SystemExit(2)


def tool(name, source, libraries=()):
    """Compiles a C tool into the build folder when its source is newer."""
    binary = os.path.join(BUILD, "tools", name)
    source = os.path.join(ROOT, source)
    if not os.path.exists(binary) \
            or os.path.getmtime(binary) < os.path.getmtime(source):
        os.makedirs(os.path.dirname(binary), exist_ok=True)
        subprocess.run(["gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra",
                        "-Werror", "-o", binary, source, *libraries],
                       check=True)
    return binary


def free_port():
    """Below the range that outgoing connections use."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


def wait_for(port, process, what, log, seconds=20):
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            with open(log, errors="replace") as file:
                stop_with(f"{what} did not start:\n{file.read()[-3000:]}")
        time.sleep(0.02)


class Servers:
    """Redis, ERP and gateways in one folder; the last started stops first."""

    def __init__(self, folder):
        self.folder, self.processes = folder, []
        self.prefixes, self.ports = [], []

    def path(self, name):
        return os.path.join(self.folder, name)

    def start(self, name, argv):
        with open(self.path(name + ".log"), "ab") as log:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL,
                                       stdout=log, stderr=log,
                                       cwd=self.folder,
                                       start_new_session=True)
        self.processes.append(process)
        return process

    def redis(self):
        self.redis_port = free_port()
        process = self.start("redis", [
            "redis-server", "--port", str(self.redis_port), "--bind",
            "127.0.0.1", "--save", "", "--appendonly", "no",
            "--maxmemory", "256mb", "--maxmemory-policy", "allkeys-lru"])
        wait_for(self.redis_port, process, "Redis", self.path("redis.log"))

    def erp(self, catalogue, options):
        self.erp_port = free_port()
        self.erp_argv = [
            *ERPS[options.erp],
            "--port", str(self.erp_port), "--db", self.path("erp.sqlite"),
            "--style", "netsuite",
            "--concurrency", str(options.erp_concurrency),
            "--latency", options.erp_latency,
            "--max-age", str(options.max_age)]
        return self.start_erp("--catalogue", catalogue)

    def start_erp(self, *more):
        """For the first time, or again with what it has."""
        process = self.start("erp", [*self.erp_argv, *more])
        # it listens when the catalogue is loaded: Tryton takes 10 ms a line
        wait_for(self.erp_port, process, "the ERP", self.path("erp.log"), 600)
        return process

    @property
    def port(self):
        return self.ports[0]

    def gateway(self, config, jwks):
        """One more gateway.  The configuration as it is; only site/ gets this
        run's addresses, by the same lines with other numbers."""
        number = "" if not self.ports else str(len(self.ports) + 1)
        self.ports.append(free_port())
        prefix = self.path("gateway" + number)
        self.prefixes.append(prefix)
        shutil.copytree(config, prefix)
        for name in ("modules", "keys", "logs", "run"):
            os.makedirs(os.path.join(prefix, name), exist_ok=True)
        os.symlink(MODULE, os.path.join(prefix, "modules",
                                        "ngx_http_penstock_module.so"))
        with open(os.path.join(prefix, "keys/issuer.jwks"), "w") as file:
            file.write(jwks)
        for name, old, new in (
                ("listen.conf", "127.0.0.1:8080", self.ports[-1]),
                ("redis.conf", "127.0.0.1:6379", self.redis_port),
                ("upstream.conf", "127.0.0.1:9000", self.erp_port)):
            path = os.path.join(prefix, "site", name)
            with open(path) as file:
                text = file.read()
            if old not in text:
                stop_with(f"{path} does not name {old}, which this run would"
                          " replace by an address of its own")
            with open(path, "w") as file:
                file.write(text.replace(old, f"127.0.0.1:{new}"))
        argv = [NGINX, "-p", prefix + "/", "-e", "logs/error.log",
                "-c", "nginx.conf", "-g", "daemon off;"]
        log = os.path.join(prefix, "logs/error.log")
        check = subprocess.run(argv[:-2] + ["-t"], capture_output=True,
                               text=True)
        if check.returncode:
            stop_with("nginx does not take the configuration:\n"
                      + check.stderr)
        process = self.start("nginx" + number, argv)
        wait_for(self.ports[-1], process, "the gateway", log
                 if os.path.exists(log) else self.path(f"nginx{number}.log"))

    def bad_log_lines(self):
        paths = [os.path.join(prefix, "logs/error.log")
                 for prefix in self.prefixes]
        paths += glob.glob(self.path("nginx*.log"))
        lines = []
        for path in paths:
            with open(path, errors="replace") as file:
                lines += [line.strip() for line in file
                          if BAD_LINE.search(line)]
        return lines

    def ask_erp(self, path, body=None):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.erp_port}{path}",
            None if body is None else json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def stop(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


class Tokens:
    """Access tokens of the channels, and the wrong ones of the scraper."""

    def __init__(self, folder):
        libraries = ("-ljwt", "-ljansson", "-lcrypto")
        self.mint = tool("mint", "tests/tools/mint.c", libraries)
        self.jwks = tool("jwks", "tests/tools/jwks.c", libraries)
        self.key = os.path.join(folder, "issuer.pem")
        self.stranger = os.path.join(folder, "stranger.pem")
        for path in (self.key, self.stranger):
            subprocess.run([self.jwks, "gen", "RS256", path], check=True)

    def set(self):
        return subprocess.run(
            [self.jwks, "set", "--key", self.key, "--kid", "k1",
             "--alg", "RS256"], check=True, capture_output=True,
            text=True).stdout

    def make(self, client, plan, scope, count=1, key=None, **more):
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": client,
                  "client-id": client, "scope": scope, "exp": "3600",
                  **more}
        argv = [self.mint, "--key", key or self.key, "--alg", "RS256",
                "--kid", "k1", "--typ", "at+jwt", "--claim",
                f'plan="{plan}"', "--count", str(count)]
        for name, value in claims.items():
            argv += ["--" + name, value]
        return subprocess.run(argv, check=True, capture_output=True,
                              text=True).stdout.split()

    def all(self):
        both = "availability:read orders:write orders:read"
        tokens = {channel: self.make(channel, plan, both, 4)
                  for channel, plan in CHANNELS.items()}
        read = ("scraper", "free", "availability:read")
        tokens["scraper"] = {
            "none": "-",
            "expired": self.make(*read, exp="-120")[0],
            "audience": self.make(*read, aud="https://other.example")[0],
            "forged": self.make(*read, key=self.stranger)[0],
            "greedy": self.make(*read)[0]}
        return tokens


def replenish(servers, skus, stop):
    """Changes made in the ERP itself, which no order tells the gateway of:
    their answers may be as old as the ERP allows."""
    rng = random.Random(3)
    while not stop.wait(0.5):
        servers.ask_erp("/__stock", {
            "sku": rng.choice(skus[:200]),
            "location": rng.choice(plans.LOCATIONS), "delta": 24})


def play(servers, load, plan):
    """Runs the load and shows how it goes."""
    total = len(plan.steps["browse"])
    process = subprocess.Popen(
        [load, ",".join(map(str, servers.ports)), servers.path("plan"),
         servers.path("results"), servers.path("bodies")],
        stdout=subprocess.PIPE, text=True)
    servers.processes.append(process)
    start, shown = time.monotonic(), 0
    tty = sys.stdout.isatty()
    for line in process.stdout:
        n = {k: int(v) for k, _, v in (w.partition("=")
                                       for w in line.split())}
        now = time.monotonic()
        text = (f"  {now - start:5.0f} s  {100 * n['browsed'] / total:5.1f}%"
                f"  {n['reads']:>8,} reads"
                f"  {100 * n['hits'] / max(n['reads'], 1):5.1f}% hits"
                f"  {n['accepted']:>5,} of {n['posted']:,} orders taken"
                f"  {n['unauthorized']:,} x 401  {n['limited']:,} x 429"
                f"  {n['failed']:,} failed")
        if tty:
            print("\r" + text, end="", flush=True)
        elif now - shown >= 5:
            say(text)
            shown = now
    if process.wait():
        stop_with(f"the load generator ended with {process.returncode}")
    say(("\r" if tty else "") + text)


def run(options, folder, servers):
    started = time.monotonic()
    os.chmod(folder, 0o755)       # nginx's workers are somebody else
    load = tool("load", "tests/demo/load.c")
    path = options.orders
    if not path:
        path = servers.path("orders.csv")
        plans.generate_orders(path, **SIZES[options.erp])
    orders, lines, skipped = plans.read_orders(path)
    skus = plans.write_catalogue(servers.path("catalogue.csv"), orders)
    say(f"{len(orders):,} orders of {lines:,} lines, {len(skus):,} SKUs, from "
        + (options.orders or "a generated catalogue")
        + (f"; {skipped:,} lines left out" if skipped else ""))
    tokens = Tokens(folder)
    servers.redis()
    servers.erp(servers.path("catalogue.csv"), options)
    for _ in range(options.gateways):
        servers.gateway(options.config, tokens.set())
    name = {"sandbox": "the ERP", "tryton": "Tryton"}[options.erp]
    say(f"Redis on {servers.redis_port}, {name} on {servers.erp_port} "
        f"(+{options.erp_latency}, {options.erp_concurrency} at once), "
        + ("the gateway on " if options.gateways == 1 else "gateways on ")
        + " and ".join(map(str, servers.ports)))
    by_channel = tokens.all()
    plan = plans.build(orders, skus, by_channel, options.reads_per_order,
                       options.lanes)
    plan.write(servers.path("plan"))

    stop = threading.Event()
    thread = threading.Thread(target=replenish, args=(servers, skus, stop))
    thread.start()
    try:
        play(servers, load, plan)
    finally:
        stop.set()
        thread.join()

    history, since = [], 0
    while True:
        rows = servers.ask_erp(f"/__history?since={since}")
        if not rows:
            break
        history += rows
        since = rows[-1][0]
    may_be_old = options.max_age + options.answer_time
    verdict = judge.judge(plan, servers.path("results"),
                          servers.path("bodies"), history, may_be_old,
                          options.gateways, options.elsewhere)
    text, held = judge.table(
        verdict, servers.ask_erp("/__stats"), servers.ask_erp("/__audit"),
        options.erp_concurrency, may_be_old, servers.bad_log_lines(),
        options.elsewhere if options.gateways > 1 else None)
    say(text)
    say(("All promises held" if held else "Not all promises held")
        + f", in {time.monotonic() - started:.0f} s.")
    if options.keep:
        keep(servers, by_channel, skus)
    return 0 if held else 1


def keep(servers, tokens, skus):
    token = servers.path("token")
    with open(os.open(token, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write(tokens["webshop"][0])
    auth = f'-H "Authorization: Bearer $(cat {shlex.quote(token)})"'
    url = f"http://127.0.0.1:{servers.port}"
    body = {"order_id": f"try-{int(time.time())}", "customer": "me",
            "lines": [{"sku": skus[0], "location": "LON", "quantity": 1}]}
    target = plans.availability(skus[:2])
    for name in "plan", "results", "bodies":
        os.unlink(servers.path(name))
    say(f"\nIt goes on running (the token for an hour). Try:\n\n"
        f"  curl -i {auth} '{url}{target}'\n"
        f"  curl -i {auth} -H 'Content-Type: application/json'"
        f" -d '{json.dumps(body)}' {url}/orders\n"
        f"  curl -s {url}/penstock_status\n\nTo end it:\n\n  kill "
        + " ".join(str(p.pid) for p in reversed(servers.processes)
                   if p.poll() is None)
        + f"; rm -r {shlex.quote(servers.folder)}")


def main(argv):
    parser = argparse.ArgumentParser(
        prog="build.sh demo", description="The main job, with its numbers.")
    parser.add_argument("--orders", metavar="FILE",
                        help="CSV with invoice,sku,quantity,customer,country")
    parser.add_argument("--keep", action="store_true",
                        help="leave it running and print lines to try")
    parser.add_argument("--reads-per-order", type=int, metavar="N",
                        help="browsing reads (default 300; 200 with Tryton)")
    parser.add_argument("--lanes", type=int, default=10, metavar="N",
                        help="browsing connections (default 10)")
    parser.add_argument("--erp", choices=ERPS, default="sandbox",
                        help="which ERP (default sandbox, a small one made"
                        " for tests)")
    parser.add_argument("--gateways", type=int, default=1, metavar="N",
                        choices=range(1, 5), help="gateways that share one"
                        " Redis (default 1)")
    parser.add_argument("--elsewhere", type=float, default=1.0,
                        metavar="SECONDS", help="an order is seen by reads of"
                        " other gateways after this time, at most (default 1)")
    parser.add_argument("--erp-latency", metavar="TIME",
                        help="added to the ERP's own (default 80ms; 0ms with"
                        " Tryton, which is slow enough)")
    parser.add_argument("--erp-concurrency", type=int, default=15,
                        metavar="N", help="what the ERP takes at once")
    parser.add_argument("--max-age", type=int, default=60, metavar="SECONDS",
                        help="how long the ERP lets answers be kept")
    parser.add_argument("--answer-time", type=float, metavar="SECONDS",
                        help="an answer's way from the ERP to the channel, at"
                        " most: it may be older than max-age by that (default"
                        " 0.5; 2 with Tryton)")
    parser.add_argument("--config", metavar="DIR",
                        default=CONFIG,
                        help="configuration (default lua-free-config)")
    options = parser.parse_args(argv)
    latency, answer_time = {"sandbox": ("80ms", 0.5),
                            "tryton": ("0ms", 2)}[options.erp]
    if options.erp_latency is None:
        options.erp_latency = latency
    if options.reads_per_order is None:
        options.reads_per_order = READS[options.erp]
    if options.answer_time is None:
        options.answer_time = answer_time
    if not os.path.exists(MODULE):
        stop_with(f"{MODULE} is not there; run ./build.sh build first")
    if options.orders and not os.path.isfile(options.orders):
        stop_with(f"no file {options.orders}")
    folder = tempfile.mkdtemp(prefix="penstock-demo-")
    servers = Servers(folder)
    left_running = False
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        status = run(options, folder, servers)
        left_running = options.keep
        return status
    except KeyboardInterrupt:
        say("\nstopped")
        return 2
    finally:
        if not left_running:
            servers.stop()
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
