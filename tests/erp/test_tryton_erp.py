#!/usr/bin/python3
"""Tryton offers what the small test ERP offers: the same tests of orders,
availability and keys run on it, and what it makes of an order is looked up in
Tryton's own tables."""

import os
import signal
import sqlite3
import subprocess
import threading
import time
import unittest

import test_erp

HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON = "/usr/bin/python3"       # the one that Debian's Tryton is made for


def setUpModule():
    # made once; it takes longer than a server may take to start
    subprocess.run([PYTHON, os.path.join(HERE, "tryton_base.py")],
                   check=True, stdout=subprocess.DEVNULL)
    Tryton.launch()


def tearDownModule():
    Tryton.end()


class Tryton(test_erp.ErpCase):
    """One process for all tests; each begins with fresh stock."""

    program = (PYTHON, os.path.join(HERE, "tryton_erp.py"))
    options = ("--fresh",)

    def setUp(self):
        self.assertEqual(self.json("POST", "/__fresh")[0], 200)

    def tearDown(self):
        pass

    def rows(self, query, *values):
        db = sqlite3.connect(os.path.join(self.dir.name, "erp.sqlite"))
        try:
            return db.execute(query, values).fetchall()
        finally:
            db.close()


class Availability(Tryton, test_erp.Availability):
    pass


class Orders(Tryton, test_erp.Orders):
    pass


class Keys(Tryton, test_erp.Keys):
    pass


class Sales(Tryton):
    def test_an_order_is_a_sale_with_shipments(self):
        self.order("1", ("A", "L1", 10), ("A", "L1", 1), ("B", "L2", 5))
        self.assertEqual(self.rows("SELECT number, reference, state,"
                                   " shipment_state FROM sale_sale"),
                         [("1", "1", "processing", "waiting")])
        self.assertEqual(self.rows("""
            SELECT w.code, s.state, COUNT(*), SUM(m.quantity)
            FROM stock_shipment_out s
            JOIN stock_location w ON w.id = s.warehouse
            JOIN stock_move m ON m.shipment = 'stock.shipment.out,' || s.id
            WHERE m.state = 'assigned' GROUP BY s.id ORDER BY w.code"""),
            [("L1", "assigned", 2, 11), ("L2", "assigned", 1, 5)])

    def test_a_return_is_received(self):
        """and one order may sell what it brings back"""
        self.assertEqual(self.order("1", ("C", "L1", -4), ("C", "L1", 3))[0],
                         201)
        self.assertEqual(
            self.rows("SELECT state FROM stock_shipment_out_return"),
            [("done",)])
        items = self.json("GET", "/availability?sku=C&location=L1")[1]["items"]
        self.assertEqual(items[0]["available"], 1)
        audit = self.json("GET", "/__audit")[1]
        self.assertEqual((audit["reserved"], audit["returned"],
                          audit["mismatches"]), (3, 4, 0))

    def test_a_refused_order_leaves_nothing(self):
        self.order("1", ("A", "L1", 1), ("B", "L1", 6))
        for table in "sale_sale", "sale_line", "stock_shipment_out":
            self.assertEqual(self.rows(f"SELECT COUNT(*) FROM {table}"),
                             [(0,)])

    def test_the_database_refuses_a_second_sale_of_a_key(self):
        """whatever program writes it"""
        self.ask("POST", "/orders", {"order_id": "1", "lines": [
            {"sku": "A", "location": "L1", "quantity": 1}]},
            {"Idempotency-Key": "k"})
        db = sqlite3.connect(os.path.join(self.dir.name, "erp.sqlite"))
        try:
            for column, value in ("channel_key", "k"), ("reference", "1"):
                with self.assertRaises(sqlite3.IntegrityError):
                    db.execute(f"INSERT INTO sale_sale ({column}) VALUES (?)",
                               (value,))
        finally:
            db.close()

    def test_audit_notices(self):
        """Tryton's own tables are what is audited."""
        self.order("1", ("A", "L1", 2))
        db = sqlite3.connect(os.path.join(self.dir.name, "erp.sqlite"))
        db.execute("UPDATE stock_move SET internal_quantity = 1"
                   " WHERE quantity = 2 AND state = 'assigned'")
        db.commit()
        db.close()
        self.assertEqual(self.json("GET", "/__audit")[1]["mismatches"], 1)

    def test_four_at_once_and_reads_meanwhile(self):
        got, reads = [], []
        start = threading.Barrier(6)

        def buy(n):
            start.wait(10)
            for i in range(3):
                got.append(self.order(f"{n}-{i}", ("D", "L1", 1),
                                      ("D", "L2", 1))[0])

        def look():
            start.wait(10)
            while len(got) < 12:
                reads.append(self.ask("GET", "/availability?sku=D")[0])

        threads = [threading.Thread(target=buy, args=(n,)) for n in range(4)]
        threads += [threading.Thread(target=look) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        self.assertEqual(got, [201] * 12)
        self.assertEqual(set(reads), {200})
        self.assertEqual(self.rows("SELECT COUNT(*) FROM sale_sale"), [(12,)])
        audit = self.json("GET", "/__audit")[1]
        self.assertEqual((audit["orders"], audit["reserved"],
                          audit["mismatches"]), (12, 24, 0))
        self.assertGreaterEqual(
            self.json("GET", "/__stats")[1]["highest_concurrency"], 4)


class Killed(Tryton):
    """kill -9, and started again on the same file"""

    options = ()

    def setUp(self):
        self.launch()

    def tearDown(self):
        self.end()

    def again(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.start(str(self.port))

    def send(self, key):
        def post():
            try:
                self.ask("POST", "/orders", {"order_id": key, "lines": [
                    {"sku": "A", "location": "L1", "quantity": 1}]},
                    {"Idempotency-Key": key})
            except OSError:
                pass
        thread = threading.Thread(target=post)
        thread.start()
        return thread

    def wait(self, name, value):
        deadline = time.monotonic() + 20
        while self.json("GET", "/__stats")[1][name] != value:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)

    def test_before_the_commit(self):
        self.control(hold=True)
        thread = self.send("k")
        self.wait("holding", 1)
        self.assertEqual(self.json("GET", "/orders/by-key/k")[0], 409)
        self.again()
        thread.join(20)
        self.assertEqual(self.json("GET", "/orders/by-key/k")[0], 404)
        self.assertEqual(self.order("k", ("A", "L1", 12))[0], 201)
        self.assertEqual(self.json("GET", "/__audit")[1]["mismatches"], 0)

    def test_after_the_commit(self):
        self.control(slow=1, slow_time="60s")
        thread = self.send("k")
        self.wait("orders", 1)
        self.again()
        thread.join(20)
        self.assertEqual(self.json("GET", "/orders/by-key/k")[0], 200)
        self.assertEqual(self.order("2", ("A", "L1", 12))[0], 409)

    def test_ends_while_it_holds_an_order(self):
        self.control(hold=True)
        self.send("k")
        self.wait("holding", 1)
        self.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.process.wait(20), 0)
        self.assertEqual(self.rows("SELECT COUNT(*) FROM sale_sale"), [(1,)])


if __name__ == "__main__":
    unittest.main()
