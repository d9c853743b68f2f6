#!/usr/bin/python3
"""The demo's verdict must be able to fail: a judge that finds nothing would
make every promise hold.  Here it is given answers that break one, and a
small demo is run as a user would."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/demo"))

import judge                                              # noqa: E402
import plan as plans                                      # noqa: E402

S = 1000000


def body(history, **cells):
    items = [{"sku": sku, "location": "LON", "available": n}
             for sku, n in cells.items()]
    return judge.Body(json.dumps({"as_of": "x", "items": items}), history)


class Judge(unittest.TestCase):
    """Stock of A: 10 at 0 s, 7 at 100 s by order "o" (answered at 100.1 s),
    9 at 200 s by the ERP itself; B: 5 all the time.  An answer may be 10 s
    old."""

    def setUp(self):
        self.history = judge.History(
            [(1, 0, "A", "LON", 10, "initial"), (2, 0, "B", "LON", 5,
                                                 "initial"),
             (3, 100, "A", "LON", 7, "o"), (4, 200, "A", "LON", 9, "direct")],
            {"o": 100.1 * S}, 10 * S)

    def stale(self, sent, **cells):
        return body(self.history, **cells).stale(sent * S,
                                                 (sent + 0.001) * S)

    def test_after_an_order_at_once(self):
        self.assertFalse(self.stale(100.05, A=10, B=5))
        self.assertTrue(self.stale(100.11, A=10, B=5))
        self.assertFalse(self.stale(100.11, A=7, B=5))

    def test_what_the_erp_did_within_the_time(self):
        self.assertFalse(self.stale(209, A=7))
        self.assertTrue(self.stale(211, A=7))

    def test_not_before_it_was_true(self):
        self.assertTrue(self.stale(50, A=7))

    def test_never_true(self):
        self.assertTrue(body(self.history, A=8).never)
        self.assertTrue(body(self.history, nope=1).never)

    def test_age(self):
        self.assertEqual(body(self.history, A=7, B=5).age(203 * S), 3 * S)
        self.assertEqual(body(self.history, A=9, B=5).age(203 * S), 0)

    def test_a_quantity_that_came_back(self):
        history = judge.History(
            [(1, 0, "A", "LON", 3, "initial"), (2, 10, "A", "LON", 1, "o"),
             (3, 20, "A", "LON", 3, "p")], {"o": 10 * S, "p": 20 * S}, S)
        for sent, stale in ((5, False), (15, True), (25, False)):
            self.assertEqual(body(history, A=3).stale(sent * S, sent * S + 9),
                             stale, sent)

    def test_how_late(self):
        late = body(self.history, A=10, B=5).lateness
        self.assertEqual(late(100.3 * S), 0.2 * S)
        self.assertEqual(late(99 * S), 0)

    def test_not_an_answer(self):
        for text in ("", "{}", "[]", '{"items":[{}]}', '{"items":['):
            self.assertIsNone(judge.Body(text, self.history).cells)


class Orders(unittest.TestCase):
    def read(self, text):
        with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
            file.write(text)
            file.flush()
            return plans.read_orders(file.name)

    def test_odd_lines(self):
        orders, lines, skipped = self.read(
            "invoice,sku,quantity,customer,country\n"
            "1,A,6,17,United Kingdom\n"
            "1,A,-2,17,United Kingdom\n"
            "C2,POST,-1,,France\n"
            "3,B,0,,\n"
            "4,BANK CHARGES,x,,\n"
            "5,\"a,b\",1,,\n"
            ",A,1,,\n"
            "6,M,2.0,,\n")
        self.assertEqual([o.number for o in orders], ["1", "C2", "6"])
        self.assertEqual((lines, skipped), (4, 4))
        self.assertEqual(orders[0].lines, [("A", 6), ("A", -2)])
        self.assertEqual(orders[1].location, "ROT")

    def test_missing_column(self):
        with self.assertRaises(SystemExit) as caught:
            self.read("invoice,item\n1,A\n")
        self.assertIn("quantity, sku", str(caught.exception))


class Run(unittest.TestCase):
    def run_demo(self, *more):
        with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
            file.write("invoice,sku,quantity,customer,country\n")
            for n in range(30):
                for sku in ("A B", "C/1", "D&", "E" + str(n % 7), "F"):
                    file.write(f"{n},{sku},{1 + n % 3},{n},"
                               f"{'France' if n % 4 else 'EIRE'}\n")
            file.write("C1,F,-3,1,France\n")
            file.flush()
            done = subprocess.run(
                [sys.executable, os.path.join(ROOT, "tests/demo/demo.py"),
                 "--orders", file.name, "--reads-per-order", "40",
                 *more], stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, timeout=300)
        return done.returncode, done.stdout

    def promise(self, text, name):
        return next(line for line in text.splitlines()
                    if line.strip().startswith(name))

    def test_small(self):
        status, text = self.run_demo("--max-age", "2", "--answer-time", "10")
        self.assertEqual(status, 0, text)
        self.assertIn("All promises held", text)
        for name in ("units oversold", "answers staler", "highest ERP"):
            self.assertIn("   held", self.promise(text, name))

    def test_two_gateways(self):
        status, text = self.run_demo("--gateways", "2",
                                     "--max-age", "60", "--answer-time", "10",
                                     "--elsewhere", "10")
        self.assertEqual(status, 0, text)
        self.assertRegex(self.promise(text, "an order seen at another"),
                         r"ms late +may be 10\.00 s")

    def without(self, name, pattern, *more):
        """The verdict on a configuration that lacks something."""
        with tempfile.TemporaryDirectory() as folder:
            config = os.path.join(folder, "config")
            shutil.copytree(os.path.join(ROOT, "lua-free-config"), config)
            path = os.path.join(config, name)
            with open(path) as file:
                text, count = re.subn(pattern, "", file.read())
            self.assertTrue(count)
            with open(path, "w") as file:
                file.write(text)
            status, text = self.run_demo("--config", config, *more)
        self.assertEqual(status, 1, text)
        self.assertIn("NOT HELD", self.promise(text, "answers staler"))

    def test_it_notices_when_orders_invalidate_nothing(self):
        self.without("locations/writes.conf", "availability_invalidate[^;]*;")

    def test_it_notices_when_gateways_share_nothing(self):
        self.without("conf.d/availability.conf", "redis=main",
                     "--gateways", "2", "--elsewhere", "0.1")


if __name__ == "__main__":
    unittest.main()
