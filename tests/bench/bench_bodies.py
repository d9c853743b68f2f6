#!/usr/bin/python3
"""What it costs to look into bodies, and to put the gateway's own token on a
request: orders passed on to an upstream with a schema, with a token and with
both, and answers from which fields are taken, beside plain proxy_pass of the
same bytes.

bench.py runs this with --set bodies.
"""

import json
import socket
import sys
import time

from bench import Bench, configs, cpu_seconds, say, stop_with

LINES, ITEMS = 10, 24
REQUESTS = 3000

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["customer", "lines"],
    "additionalProperties": False,
    "properties": {
        "customer": {"type": "string", "pattern": "^C[0-9]{6}$"},
        "currency": {"enum": ["EUR", "GBP", "USD"]},
        "due": {"type": "string", "format": "date"},
        "lines": {"type": "array", "minItems": 1, "maxItems": 500,
                  "items": {"$ref": "#/$defs/line"}},
    },
    "$defs": {"line": {
        "type": "object",
        "required": ["sku", "qty"],
        "additionalProperties": False,
        "properties": {
            "sku": {"type": "string", "pattern": "^[0-9A-Z]{3,12}$"},
            "qty": {"type": "integer", "minimum": 1, "maximum": 9999},
            "price": {"type": "number", "multipleOf": 0.01, "minimum": 0},
        },
    }},
}

ORDER = json.dumps({
    "customer": "C004711", "currency": "GBP", "due": "2026-02-28",
    "lines": [{"sku": f"85123{n:02}A", "qty": n + 1, "price": 10.25 + n}
              for n in range(LINES)]})

ANSWER = json.dumps({"as_of": "2026-01-05T08:15:30.123Z", "items": [
    {"sku": f"85123{n:02}A", "available": 12000 + n, "cost": 4.15,
     "supplier": "ACME"} for n in range(ITEMS)]})

ORIGIN = f"""
    server {{
        listen 127.0.0.1:%PORT%;
        location /answer {{ return 200 '{ANSWER}'; }}
        location /orders {{ return 201 '{{"id":1}}'; }}
        location /token {{
            return 200 '{{"access_token":"{"x" * 600}",
                          "token_type":"Bearer","expires_in":3600}}';
        }}
    }}
"""


def gateway(origin, what):
    return f"""
    correlation_id off;
    upstream erp {{ server 127.0.0.1:{origin}; keepalive 4; }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    oauth_client erp {{
        token_endpoint /_token; client_id gateway;
        client_secret_file %PREFIX%/../secret;
    }}
    server {{
        listen 127.0.0.1:%PORT%;
        location = /_token {{ internal; proxy_pass http://erp/token; }}
        location / {{ {what} proxy_pass http://erp; }}
    }}
"""


class Bodies(Bench):
    def set_up(self):
        for name, text in ("secret", "s"), ("order.json", json.dumps(SCHEMA)):
            with open(self.path(name), "w") as file:
                file.write(text)
        origin = self.nginx("origin", ORIGIN, "1")
        schema = "request_schema %PREFIX%/../order.json;"
        token = "erp_authorization erp; erp_identity_header X-Client shop;"
        mask = "response_mask /items/*/cost /items/*/supplier;"
        for name, what in ("plain", ""), ("schema", schema), \
                ("token", token), ("both", schema + token), ("mask", mask):
            self.nginx(name, gateway(origin, what))

    def ask(self, name, method, path, body, status):
        """One connection, one request after the other."""
        text = (f"{method} {path} HTTP/1.1\r\nHost: a\r\n"
                "Authorization: Bearer channel\r\n"
                "Content-Type: application/json\r\n"
                + (f"Content-Length: {len(body)}\r\n" if body else "")
                + "\r\n" + body).encode()
        took = []
        with socket.create_connection(("127.0.0.1", self.ports[name])) as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            file = s.makefile("rb")
            for n in range(REQUESTS + 50):
                if n == 50:
                    pid = self.worker(name)
                    began, before = time.monotonic(), cpu_seconds(pid)
                start = time.monotonic()
                s.sendall(text)
                line = file.readline()
                if not line.startswith(b"HTTP/1.1 %d" % status):
                    stop_with(f"{name}: {line!r}")
                length = 0
                for line in iter(file.readline, b"\r\n"):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line[15:])
                file.read(length)
                took.append(time.monotonic() - start)
        cost = (cpu_seconds(pid) - before) * 1e6 / REQUESTS
        took = sorted(took[50:])
        return {"requests": REQUESTS, "ok": REQUESTS, "hits": 0,
                "cost": cost, "rate": REQUESTS / (time.monotonic() - began),
                "p50": took[len(took) // 2] * 1e6,
                "p99": took[len(took) * 99 // 100] * 1e6}

    def order(self, name):
        return self.ask(name, "POST", "/orders", ORDER, 201)

    def plain(self):
        return self.order("plain")

    def schema(self):
        return self.order("schema")

    def token(self):
        return self.order("token")

    def both(self):
        return self.order("both")

    def answer(self):
        return self.ask("plain", "GET", "/answer", "", 200)

    def masked(self):
        return self.ask("mask", "GET", "/answer", "", 200)

    ROWS = (
        ("plain", f"nginx: an order of {LINES} lines passed on"),
        ("schema", "Penstock: the same, checked by a schema"),
        ("token", "Penstock: the same, with the gateway's own token"),
        ("both", "Penstock: both"),
        ("answer", f"nginx: an answer of {ITEMS} items passed on"),
        ("masked", "Penstock: the same, two fields of each masked"),
    )

    def table(self, rows, got):
        super().table(rows, got)
        for name, other, what in (
                ("schema", "plain", f"A schema costs an order of "
                 f"{len(ORDER)} bytes"),
                ("token", "plain", "The gateway's own token costs"),
                ("both", "plain", "Both together cost"),
                ("masked", "answer", f"A mask costs an answer of "
                 f"{len(ANSWER)} bytes")):
            if {name, other} <= got.keys():
                more = sorted(mine["cost"] - its["cost"] for mine, its
                              in zip(got[name], got[other]))
                say(f"{what} {more[len(more) // 2]:.1f} us more than plain "
                    "proxy_pass.")


if __name__ == "__main__":
    sys.exit("run ./build.sh bench --set bodies")
