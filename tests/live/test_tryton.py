#!/usr/bin/python3
"""A real ERP behind the gateway: Tryton, by lua-free-config as it is.  Its
stock is what channels read, their orders become its sales, and when it is
killed no channel is told a lie."""

import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import unittest

import penstock

ROOT = penstock.ROOT
sys.path.insert(0, os.path.join(ROOT, "tests/demo"))

import demo                                               # noqa: E402

STOCK = 100                # of each SKU in L1; twice as many in L2


class Options:
    erp = "tryton"
    erp_concurrency, erp_latency, max_age = 15, "0ms", 600


def setUpModule():
    penstock.Tryton.prepare()


class Tryton(unittest.TestCase):
    """One gateway and one Tryton for all tests: each has SKUs of its own."""

    @classmethod
    def setUpClass(cls):
        cls.numbers = iter(range(1, 1000))
        cls.dir = tempfile.mkdtemp(prefix="penstock-tryton-")
        os.chmod(cls.dir, 0o755)
        cls.servers = demo.Servers(cls.dir)
        try:
            catalogue = cls.servers.path("catalogue.csv")
            with open(catalogue, "w") as file:
                file.write("sku,location,available\n")
                for n in range(20):
                    file.write(f"S{n},L1,{STOCK}\nS{n},L2,{2 * STOCK}\n")
            cls.tokens = demo.Tokens(cls.dir)
            cls.servers.redis()
            cls.tryton = cls.servers.erp(catalogue, Options)
            cls.servers.gateway(demo.CONFIG, cls.tokens.set())
            cls.token = cls.tokens.make(
                "shop", "channel", "availability:read orders:write"
                " orders:read availability:purge")[0]
        except BaseException:
            cls.servers.stop()
            shutil.rmtree(cls.dir)
            raise

    @classmethod
    def tearDownClass(cls):
        try:
            audit = cls.servers.ask_erp("/__audit")
        finally:
            cls.servers.stop()
            bad = cls.servers.bad_log_lines()
            shutil.rmtree(cls.dir)
        if audit["oversold"] or audit["mismatches"]:
            raise AssertionError(f"Tryton's books do not agree: {audit}")
        if bad:
            raise AssertionError("in the error log:\n" + "\n".join(bad[:10]))

    def ask(self, method, path, body=None, **headers):
        headers["Authorization"] = "Bearer " + self.token
        return penstock.request(
            self.servers.port, method, path,
            {name.replace("_", "-"): v for name, v in headers.items()}, body,
            timeout=60)

    def read(self, *skus, location="L1"):
        answer = self.ask("GET", "/availability?sku=%s&location=%s"
                          % (",".join(skus), location))
        self.assertEqual(answer.status, 200, answer)
        return [item["available"] for item in answer.json()["items"]]

    def body(self, *lines):
        return {"order_id": f"T{next(self.numbers)}", "customer": "c",
                "lines": [{"sku": s, "location": "L1", "quantity": n}
                          for s, n in lines]}

    def order(self, *lines):
        body = self.body(*lines)
        return body["order_id"], self.ask("POST", "/orders", body)

    def stats(self, name):
        return self.servers.ask_erp("/__stats")[name]

    def rows(self, query, *values):
        db = sqlite3.connect(self.servers.path("erp.sqlite"))
        try:
            return db.execute(query, values).fetchall()
        finally:
            db.close()

    def sales(self, number):
        return self.rows("SELECT state FROM sale_sale WHERE reference = ?",
                         number)

    # -- as it should be ----------------------------------------------------

    def test_availability(self):
        answer = self.ask("GET", "/availability?sku=S1,nope,S0&location=L2,L1")
        self.assertEqual(
            [(i["sku"], i["location"], i["available"])
             for i in answer.json()["items"]],
            [("S1", "L2", 2 * STOCK), ("S1", "L1", STOCK),
             ("S0", "L2", 2 * STOCK), ("S0", "L1", STOCK)])

    def test_tryton_sees_few_of_many_reads(self):
        before = self.stats("reads")

        def look():
            for n in range(100):
                self.assertEqual(self.read("S18" if n % 2 else "S19", "S2"),
                                 [STOCK, STOCK])

        penstock.together([look] * 8)
        self.assertEqual(self.stats("reads") - before, 2)

    def test_tryton_is_asked_only_for_what_is_missing(self):
        self.read("S0")
        self.assertEqual(self.read("S0", "S1", "S2"), [STOCK] * 3)
        self.read("S0", "S1", "S2", location="L1,L2")
        asked = [r["target"] for r in self.servers.ask_erp("/__requests")
                 if r["target"].startswith("/availability")]
        self.assertIn("location=L2", asked[-1])
        self.assertNotIn("L1", asked[-1])

    def test_an_order_is_a_sale_and_seen_at_once(self):
        self.assertEqual(self.read("S3", "S4"), [STOCK, STOCK])
        body = self.body(("S3", 7), ("S4", 1))
        answer = self.ask("POST", "/orders", body, X_Correlation_ID="try-1")
        self.assertEqual(answer.status, 201, answer)
        self.assertEqual(self.read("S3", "S4"), [STOCK - 7, STOCK - 1])
        self.assertEqual(self.rows("""
            SELECT s.state, s.correlation_id, h.state
            FROM sale_sale s JOIN sale_line l ON l.sale = s.id
            JOIN stock_move m ON m.origin = 'sale.line,' || l.id
            JOIN stock_shipment_out h
            ON m.shipment = 'stock.shipment.out,' || h.id
            WHERE s.reference = ?""", body["order_id"]),
            [("processing", "try-1", "assigned")] * 2)
        said = self.ask("GET", "/orders/" + body["order_id"]).json()
        self.assertEqual((said["state"], said["shipments"]),
                         ("processing", ["assigned"]))

    def test_a_return_is_seen_at_once(self):
        self.assertEqual(self.read("S5"), [STOCK])
        self.assertEqual(self.order(("S5", -3))[1].status, 201)
        self.assertEqual(self.read("S5"), [STOCK + 3])

    def test_a_refused_order(self):
        before = self.read("S6", "S7")
        number, answer = self.order(("S6", 1), ("S7", STOCK + 1))
        self.assertEqual(answer.status, 409, answer)
        self.assertEqual(answer.json()["error"]["code"], "INSUFFICIENT_STOCK")
        self.assertEqual(self.sales(number), [])
        self.assertEqual(self.read("S6", "S7"), before)

    def test_what_tryton_does_by_itself_is_seen_after_a_purge(self):
        self.assertEqual(self.read("S8"), [STOCK])
        self.servers.ask_erp("/__stock", {"sku": "S8", "location": "L1",
                                          "delta": 50})
        self.assertEqual(self.read("S8"), [STOCK])
        done = self.ask("POST", "/purge", {"tags": ["S8"]})
        self.assertIn(done.status, (200, 204))
        self.assertEqual(self.read("S8"), [STOCK + 50])

    def test_four_channels_at_once(self):
        """Tryton takes one order after the other: who has not had an order
        taken looks, and tries again.  None is lost, none is taken twice."""
        taken = []

        def buy():
            for _ in range(3):
                body = self.body(("S9", 1), ("S10", 2))
                path = "/orders/" + body["order_id"]
                while self.ask("POST", "/orders", body).status != 201:
                    self.assertEqual(self.ask("GET", path).status, 404)
                taken.append(body["order_id"])

        penstock.together([buy] * 4)
        self.assertEqual(len(taken), 12)
        for number in taken:
            self.assertEqual(self.sales(number), [("processing",)])
        self.assertEqual(self.read("S9", "S10"), [STOCK - 12, STOCK - 24])
        self.assertLessEqual(self.stats("highest_concurrency"), 15)

    # -- killed -------------------------------------------------------------

    def send(self, body):
        """Sends an order; returns a thread, and a list for its answer."""
        answers = []
        thread = threading.Thread(target=lambda: answers.append(
            self.ask("POST", "/orders", body)))
        thread.start()
        return thread, answers

    def kill(self):
        self.tryton.kill()
        self.tryton.wait()

    def revive(self):
        type(self).tryton = self.servers.start_erp()

    def unknown(self, answer):
        """The channel was told that nobody knows."""
        self.assertIn(answer.status, (502, 504), answer)
        self.assertEqual(answer.headers["Content-Type"],
                         "application/problem+json")
        self.assertIn("unknown", answer.json()["detail"])

    def test_killed_before_the_commit(self):
        self.assertEqual(self.read("S11"), [STOCK])
        body = self.body(("S11", 5))
        self.servers.ask_erp("/__control", {"hold": True})
        thread, answers = self.send(body)
        penstock.wait_for(lambda: self.stats("holding") == 1)
        self.kill()
        thread.join(60)
        self.revive()
        self.unknown(answers[0])
        self.assertEqual(self.sales(body["order_id"]), [])
        self.assertEqual(self.read("S11"), [STOCK])
        self.assertEqual(self.ask("POST", "/orders", body).status, 201)
        self.assertEqual(self.read("S11"), [STOCK - 5])

    def test_killed_after_the_commit(self):
        self.assertEqual(self.read("S12"), [STOCK])
        body = self.body(("S12", 5))
        before = self.stats("orders")
        self.servers.ask_erp("/__control", {"slow": 1, "slow_time": "60s",
                                            "only": "write"})
        thread, answers = self.send(body)
        penstock.wait_for(lambda: self.stats("orders") == before + 1)
        self.kill()
        thread.join(60)
        self.revive()
        self.unknown(answers[0])
        self.assertEqual(self.sales(body["order_id"]), [("processing",)])
        # although nobody said that the order was taken
        self.assertEqual(self.read("S12"), [STOCK - 5])

    def test_killed_at_any_time(self):
        rng = random.Random(5)
        skus = ["S13", "S14", "S15", "S16"]
        sold = 0
        for n in range(4):
            self.assertEqual(self.read(*skus), [STOCK - sold] * 4)
            body = self.body(*[(sku, 1) for sku in skus])
            reads = self.stats("writes")
            thread, answers = self.send(body)
            penstock.wait_for(lambda: self.stats("writes") > reads)
            threading.Event().wait(rng.random() * 0.6)
            self.kill()
            thread.join(60)
            self.revive()
            taken = self.sales(body["order_id"])
            if answers[0].status == 201:
                self.assertEqual(taken, [("processing",)])
            else:
                self.unknown(answers[0])
                self.assertIn(taken, ([], [("processing",)]))
            sold += len(taken)
        self.assertEqual(self.read(*skus), [STOCK - sold] * 4)

    def test_down(self):
        self.read("S17")
        self.kill()
        try:
            self.assertEqual(self.read("S17"), [STOCK])
            number, answer = self.order(("S17", 1))
            self.assertEqual(answer.status, 503, answer)
            self.assertIn("not sent", answer.json()["detail"])
        finally:
            self.revive()
        self.assertEqual(self.sales(number), [])
        self.assertEqual(self.read("S17"), [STOCK])


class Demo(unittest.TestCase):
    def test_demo(self):
        """The demo gives the same verdict before Tryton."""
        with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
            file.write("invoice,sku,quantity,customer,country\n")
            for n in range(8):
                for sku in ("A B", "C/1", "D&", f"E{n % 3}"):
                    file.write(f"{n},{sku},{1 + n % 3},{n % 4},"
                               f"{'France' if n % 4 else 'EIRE'}\n")
            file.write("C1,A B,-3,1,France\n")
            file.flush()
            done = subprocess.run(
                [sys.executable, os.path.join(ROOT, "tests/demo/demo.py"),
                 "--erp", "tryton", "--orders", file.name,
                 "--reads-per-order", "30", "--max-age", "3",
                 "--answer-time", "10"], stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("All promises held", done.stdout)
        self.assertRegex(done.stdout, re.compile(r"^ +orders +9 accepted",
                                                 re.M))


if __name__ == "__main__":
    unittest.main()
