#!/usr/bin/python3
"""lua-free-config is what people will start from: nginx takes it, every file
of it is used, and what it promises is what it does."""

import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import penstock

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
CONFIG = os.path.join(ROOT, "lua-free-config")
sys.path.insert(0, os.path.join(ROOT, "tests/demo"))

import demo                                               # noqa: E402

BOTH = "/availability?sku=A,B&location=L1"


class Options:
    erp = "sandbox"
    erp_concurrency, erp_latency, max_age = 15, "10ms", 60


class Config(unittest.TestCase):
    """One gateway for all tests: each uses SKUs and clients of its own."""

    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="penstock-config-")
        os.chmod(cls.dir, 0o755)
        cls.servers = demo.Servers(cls.dir)
        try:
            catalogue = cls.servers.path("catalogue.csv")
            with open(catalogue, "w") as file:
                file.write("sku,location,available\n")
                for sku in "ABCDEFGH":
                    file.write(f"{sku},L1,10\n{sku},L2,20\n")
            cls.tokens = demo.Tokens(cls.dir)
            cls.servers.redis()
            cls.servers.erp(catalogue, Options)
            cls.servers.gateway(CONFIG, cls.tokens.set())
        except BaseException:
            cls.end()
            raise

    @classmethod
    def end(cls):
        cls.servers.stop()
        shutil.rmtree(cls.dir)

    @classmethod
    def tearDownClass(cls):
        cls.servers.stop()
        bad = cls.servers.bad_log_lines()
        shutil.rmtree(cls.dir)
        if bad:
            raise AssertionError("in the error log:\n" + "\n".join(bad[:10]))

    def token(self, client="shop", plan="channel",
              scope="availability:read orders:write orders:read", **more):
        return self.tokens.make(client, plan, scope, **more)[0]

    def ask(self, path, token=None, method="GET", body=None, headers=()):
        headers = dict(headers)
        if token:
            headers["Authorization"] = "Bearer " + token
        return penstock.request(self.servers.port, method, path, headers,
                                body)

    def problem(self, answer, status):
        self.assertEqual(answer.status, status, answer)
        self.assertEqual(answer.headers["Content-Type"],
                         "application/problem+json")
        said = answer.json()
        self.assertEqual(said["status"], status)
        self.assertEqual(said["correlation_id"],
                         answer.headers["X-Correlation-ID"])
        return said

    def erp_reads(self):
        return self.servers.ask_erp("/__stats")["reads"]

    def test_every_file_is_used(self):
        prefix = self.servers.path("gateway")
        done = subprocess.run(
            [demo.NGINX, "-p", prefix + "/", "-e", "logs/test.log",
             "-c", "nginx.conf", "-T"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("[warn]", done.stderr)
        used = set(re.findall(r"^# configuration file (.*):$", done.stdout,
                              re.M))
        there = {os.path.join(prefix, os.path.relpath(path, CONFIG))
                 for path in glob.glob(CONFIG + "/**/*.conf",
                                       recursive=True)}
        self.assertEqual({os.path.realpath(p) for p in there},
                         {os.path.realpath(p) for p in used})

    def test_no_token(self):
        answer = self.ask(BOTH)
        self.problem(answer, 401)
        self.assertTrue(answer.headers["WWW-Authenticate"]
                        .startswith('Bearer realm="erp-gateway"'))
        self.assertEqual(self.ask("/orders", method="POST",
                                  body={}).status, 401)

    def test_wrong_tokens(self):
        for more in ({"aud": "https://other.example"}, {"exp": "-120"},
                     {"key": self.tokens.stranger},
                     {"iss": "https://other.example"}):
            answer = self.ask(BOTH, self.token(**more))
            self.problem(answer, 401)
            self.assertIn('error="invalid_token"',
                          answer.headers["WWW-Authenticate"])

    def test_scope(self):
        answer = self.ask(BOTH, self.token(scope="orders:read"))
        self.problem(answer, 403)
        self.assertIn('error="insufficient_scope"',
                      answer.headers["WWW-Authenticate"])

    def test_read_order_read(self):
        token, path = self.token(), "/availability?sku=C,D&location=L1"
        first = self.ask(path, token)
        self.assertEqual(first.status, 200)
        reads = self.erp_reads()
        second = self.ask(path, self.token("another"))
        self.assertIn("; hit", second.headers["Cache-Status"])
        self.assertEqual(second.body, first.body)
        self.assertEqual(self.erp_reads(), reads)

        order = {"order_id": "config-1", "customer": "c", "lines": [
            {"sku": "C", "location": "L1", "quantity": 4}]}
        answer = self.ask("/orders", token, "POST", order,
                          {"X-Correlation-ID": "config-order-1"})
        self.assertEqual(answer.status, 201, answer)
        self.assertEqual(answer.headers["X-Correlation-ID"],
                         "config-order-1")
        third = self.ask(path, token).json()
        self.assertEqual([i["available"] for i in third["items"]], [6, 10])

        # the same number again, which the ERP refuses; and its state
        self.assertEqual(self.ask("/orders", token, "POST", order).status,
                         409)
        said = self.ask("/orders/config-1", token).json()
        self.assertEqual(said["correlation_id"], "config-order-1")

    def test_an_order_with_a_key_is_one(self):
        token, order = self.token(), {
            "order_id": "config-key", "customer": "c", "lines": [
                {"sku": "D", "location": "L2", "quantity": 1}]}
        before = self.servers.ask_erp("/__stats")["writes"]
        answers = penstock.together([lambda: self.ask(
            "/orders", token, "POST", order,
            {"Idempotency-Key": '"config-key"'})] * 8)
        self.assertLessEqual({a.status for a in answers}, {201, 409})
        again = self.ask("/orders", token, "POST", order,
                         {"Idempotency-Key": '"config-key"'})
        self.assertEqual((again.status, again.headers["Idempotent-Replayed"]),
                         (201, "true"))
        self.assertEqual(self.servers.ask_erp("/__stats")["writes"],
                         before + 1)

    def test_lost_answer(self):
        """The channel is told that nobody knows, in the suite's own words;
        and what it reads next is what the ERP has."""
        token, path = self.token(), "/availability?sku=E&location=L2"
        self.ask(path, token)
        self.servers.ask_erp("/__control", {"lose": 1, "only": "write"})
        said = self.problem(self.ask("/orders", token, "POST", {
            "order_id": "config-lost", "lines": [
                {"sku": "E", "location": "L2", "quantity": 4}]}), 502)
        self.assertIn("unknown", said["detail"])
        self.servers.ask_erp("/__control", {"only": None})
        self.assertEqual(self.ask(path, token).json()["items"][0]
                         ["available"], 16)

    def test_lost_answer_of_a_key(self):
        """Asked again with its key, the gateway asks the ERP what became of
        the order, and that is the answer from then on."""
        token, key = self.token(), {"Idempotency-Key": '"config-look"'}
        order = {"order_id": "config-look", "lines": [
            {"sku": "F", "location": "L2", "quantity": 4}]}
        self.servers.ask_erp("/__control", {"lose": 1, "only": "write"})
        self.problem(self.ask("/orders", token, "POST", order, key), 502)
        self.servers.ask_erp("/__control", {"only": None})
        before = self.servers.ask_erp("/__stats")
        for _ in range(2):
            again = self.ask("/orders", token, "POST", order, key)
            self.assertEqual((again.status,
                              again.headers["Idempotent-Replayed"]),
                             (200, "true"))
            self.assertEqual(again.json()["order_id"], "config-look")
        after = self.servers.ask_erp("/__stats")
        self.assertEqual([after[name] - before[name]
                          for name in ("writes", "lookups")], [0, 1])
        # it is no way to the ERP for anybody else
        self.problem(self.ask("/.order?idempotency_id=x", token), 404)

    def test_token_does_not_reach_the_erp(self):
        self.ask("/availability?sku=H", self.token())
        last = [r for r in self.servers.ask_erp("/__requests")
                if r["target"] == "/availability?sku=H"][-1]
        self.assertNotIn("authorization", last["headers"])
        self.assertIn("x-correlation-id", last["headers"])
        self.assertIn("traceparent", last["headers"])

    def test_limit_of_a_plan(self):
        token = self.token("hasty", "free", exp="600")
        answers = penstock.together(
            [lambda: [self.ask("/availability?sku=E", token)
                      for _ in range(400)]] * 2)
        answers = sum(answers, [])
        self.assertEqual({a.status for a in answers}, {200, 429})
        refused = next(a for a in answers if a.status == 429)
        self.problem(refused, 429)
        self.assertGreater(int(refused.headers["Retry-After"]), 0)
        self.assertIn("RateLimit", refused.headers)
        # nobody else is hurt
        self.assertEqual(self.ask("/availability?sku=E",
                                  self.token("patient")).status, 200)

    def test_the_erp_is_never_asked_too_much_at_once(self):
        token = self.token("crowd")
        self.servers.ask_erp("/__control", {"latency": "500ms"})
        try:
            answers = penstock.together(
                [lambda n=n: self.ask(f"/availability?sku=G&n={n}", token)
                 for n in range(40)])
        finally:
            self.servers.ask_erp("/__control", {"latency": "10ms"})
        self.assertEqual({a.status for a in answers}, {200})
        stats = self.servers.ask_erp("/__stats")
        self.assertLessEqual(stats["highest_concurrency"], 13)
        self.assertEqual(stats["refusals"], 0)

    def test_purge(self):
        token, path = self.token(), "/availability?sku=F&location=L2"
        self.ask(path, token)
        self.servers.ask_erp("/__stock", {"sku": "F", "location": "L2",
                                          "available": 77})
        self.assertEqual(self.ask("/purge", token, "POST",
                                  {"tags": ["F"]}).status, 403)
        done = self.ask("/purge", self.token(scope="availability:purge"),
                        "POST", {"tags": ["F"]})
        self.assertIn(done.status, (200, 204))
        self.assertEqual(self.ask(path, token).json()["items"][0]
                         ["available"], 77)

    def test_what_nginx_refuses_is_a_problem_too(self):
        self.problem(self.ask("/nothing"), 404)
        self.problem(self.ask("/availability", method="DELETE"), 405)
        self.problem(self.ask("/orders", method="POST", body="x" * 1100000),
                     413)
        self.problem(self.ask("/healthz", headers={"X": "y" * 70000}), 431)

    def test_health_and_status(self):
        self.assertEqual(self.ask("/healthz").body, b"ok\n")
        answer = self.ask("/penstock_status")
        self.assertEqual(answer.status, 200)
        answer.json()
        answer = self.ask("/penstock_status?format=prometheus")
        self.assertIn("# TYPE penstock_", answer.text)
        said = subprocess.run(["promtool", "check", "metrics"],
                              input=answer.body, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=60)
        self.assertEqual((said.returncode, said.stdout), (0, b""))

    def test_access_log(self):
        self.ask("/healthz")
        self.ask(BOTH, self.token(), headers={
            "X-Correlation-ID": "config-log-1"})
        path = self.servers.path("gateway/logs/access.log")

        def line():
            with open(path) as file:
                for text in file:
                    if "config-log-1" in text:
                        return json.loads(text)

        said = penstock.wait_for(line, what="the line in the access log")
        self.assertEqual((said["client"], said["status"], said["uri"]),
                         ("shop", 200, "/availability"))
        with open(path) as file:
            self.assertNotIn("eyJ", file.read())


if __name__ == "__main__":
    unittest.main()
