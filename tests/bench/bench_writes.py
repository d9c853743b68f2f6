#!/usr/bin/python3
"""What a write costs at the gateway beside nginx's own proxy_pass of it: with
an idempotency key, with the budget, with both, a schema and the gateway's own
token; keys and budget in Redis.

The same way of measuring as bench.py, which runs this with --set writes.
"""

import json
import subprocess
import sys
import time

from bench import Bench, CLIENT_CORE, configs, say

ORDER = json.dumps({"order_id": "4711", "customer": "c", "lines": [
    {"sku": "85123A", "location": "LON", "quantity": n} for n in range(1, 9)]})

SCHEMA = {"type": "object", "required": ["order_id", "lines"], "properties": {
    "order_id": {"type": "string", "maxLength": 40},
    "lines": {"type": "array", "minItems": 1, "items": {
        "type": "object", "required": ["sku", "location", "quantity"],
        "properties": {"sku": {"type": "string"},
                       "location": {"type": "string"},
                       "quantity": {"type": "integer", "minimum": 1}}}}}}

KEY = "idempotency keys required scope=bench pass=X-Erp-Key;"
BUDGET = "erp_budget places queue=1000;"


TOKEN = "erp_authorization erp; erp_identity_header X-Client bench;"

ORIGIN = """
    server {
        listen 127.0.0.1:%PORT%;
        location / { return 200 '{"id":1}'; }
        location /token {
            return 200 '{"access_token":"TOKEN","token_type":"Bearer",
                         "expires_in":3600}';
        }
    }
""".replace("TOKEN", "x" * 600)


def gateway(origin, redis_port, directives):
    zones = f"""
    redis main {{ server 127.0.0.1:{redis_port}; }}
    correlation_id off;
    idempotency_zone keys:1m redis=main;
    erp_budget_zone places:64k limit=64 writes=16 redis=main;
    oauth_client erp {{
        token_endpoint /_token; client_id gateway;
        client_secret_file %PREFIX%/../secret;
    }}
    """ if directives else ""
    return configs.upstream(origin) + f"""
    {zones}
    server {{
        listen 127.0.0.1:%PORT%;
        location = /_token {{ internal; proxy_pass http://erp/token; }}
        location /orders {{
            {directives}
            proxy_pass http://erp;
        }}
    }}
"""


class Writes(Bench):
    def set_up(self):
        self.redis()
        self.orders = self.file("orders", ["POST /orders " + ORDER])
        schema = self.file("schema.json", [json.dumps(SCHEMA)])
        self.file("secret", ["s"])
        origin = self.nginx("origin", ORIGIN, CLIENT_CORE)
        self.said = {}
        for name, directives in (
                ("plain", ""), ("key", KEY), ("budget", BUDGET),
                ("both", KEY + BUDGET),
                ("schema", KEY + BUDGET + f"request_schema {schema};"),
                ("all", KEY + BUDGET + TOKEN
                 + f"request_schema {schema};")):
            if name in self.names:
                self.nginx(name, gateway(origin, self.redis_port, directives))
                self.client(self.ports[name], 20, self.orders)
        # a budget that is new to Redis begins after two seconds
        time.sleep(2.2)
        for name in self.names:
            self.client(self.ports[name], 200, self.orders)

    def calls(self):
        said = subprocess.run(
            ["redis-cli", "-p", str(self.redis_port), "info", "commandstats"],
            capture_output=True, text=True, check=True).stdout
        return sum(int(line.split("calls=")[1].split(",")[0])
                   for line in said.splitlines()
                   if line.startswith(("cmdstat_eval",)))

    def row(self, name):
        before = self.calls()
        said = self.measure(name, self.time, self.orders)
        said["calls"] = (self.calls() - before) / said["requests"]
        return said

    def plain(self):
        return self.row("plain")

    def key(self):
        return self.row("key")

    def budget(self):
        return self.row("budget")

    def both(self):
        return self.row("both")

    def schema(self):
        return self.row("schema")

    def all(self):
        return self.row("all")

    ROWS = (
        ("plain", "nginx: proxy_pass of a write"),
        ("key", "Penstock: with an idempotency key"),
        ("budget", "Penstock: within the budget"),
        ("both", "Penstock: both"),
        ("schema", "Penstock: both, and a schema"),
        ("all", "Penstock: both, a schema and the gateway's token"),
    )

    def table(self, rows, got):
        super().table(rows, got)
        for name in "key", "budget", "both", "schema", "all":
            if {"plain", name} <= got.keys():
                pairs = list(zip(got[name], got["plain"]))
                more = sorted(a["cost"] - b["cost"] for a, b in pairs)
                calls = sorted(a["calls"] for a in got[name])
                say(f"{name}: {more[len(more) // 2]:.1f} us more than "
                    f"proxy_pass, {calls[len(calls) // 2]:.1f} calls to "
                    "Redis"
                    + (" (target 60 us)." if name == "all" else "."))


if __name__ == "__main__":
    sys.exit("run ./build.sh bench --set writes")
