"""Stock and orders of the test ERP in SQLite, with real transactions.

Every change of stock is one transaction that starts with BEGIN IMMEDIATE and
leaves a row in `history`, so that a test can tell which quantity was true at
which moment, and can audit afterwards that nothing was promised twice.
"""

import hashlib
import json
import sqlite3
import time

SCHEMA = """
CREATE TABLE IF NOT EXISTS stock (
    sku TEXT NOT NULL, location TEXT NOT NULL,
    initial INTEGER NOT NULL, available INTEGER NOT NULL,
    PRIMARY KEY (sku, location)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS orders (
    id TEXT PRIMARY KEY, customer TEXT, status TEXT NOT NULL,
    created REAL NOT NULL, correlation_id TEXT,
    key TEXT UNIQUE, fingerprint TEXT);
CREATE TABLE IF NOT EXISTS order_lines (
    seq INTEGER PRIMARY KEY, order_id TEXT NOT NULL,
    sku TEXT NOT NULL, location TEXT NOT NULL, quantity INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS order_lines_order ON order_lines (order_id);
CREATE TABLE IF NOT EXISTS history (
    seq INTEGER PRIMARY KEY, at REAL NOT NULL, sku TEXT NOT NULL,
    location TEXT NOT NULL, delta INTEGER NOT NULL,
    available INTEGER NOT NULL, cause TEXT NOT NULL);
"""

DEFAULT_STOCK = [(sku, loc, n)
                 for sku, n in (("A", 12), ("B", 5), ("C", 0), ("D", 1000))
                 for loc in ("L1", "L2")]


class Refused(Exception):
    """An order that can't be taken; code and details go to the client."""

    def __init__(self, status, code, message, **details):
        super().__init__(message)
        self.status = status
        self.body = {"error": dict(code=code, message=message, **details)}


class Store:
    def __init__(self, path):
        self.db = sqlite3.connect(path, isolation_level=None, timeout=10)
        self.db.execute("PRAGMA journal_mode=WAL")
        # The ERP process may be killed by a test, the machine is not:
        # commits reach the kernel, they don't wait for the disk.
        self.db.execute("PRAGMA synchronous=OFF")
        self.db.executescript(SCHEMA)

    def close(self):
        self.db.close()

    def load(self, rows):
        """rows of (sku, location, quantity) become the initial stock."""
        self.db.execute("BEGIN IMMEDIATE")
        now = time.time()
        for sku, loc, n in rows:
            self._set(sku, loc, int(n), "initial", now)
        self.db.execute("COMMIT")

    def empty(self):
        return self.db.execute("SELECT 1 FROM stock LIMIT 1").fetchone() is None

    def availability(self, skus, locations):
        """(sku, location, available) in the order asked; unknown left out.

        No locations: all that hold the SKU, by name.
        """
        known = {}
        unique = list(dict.fromkeys(skus))
        for i in range(0, len(unique), 500):
            part = unique[i:i + 500]
            marks = ",".join("?" * len(part))
            for sku, loc, n in self.db.execute(
                    "SELECT sku, location, available FROM stock"
                    f" WHERE sku IN ({marks}) ORDER BY sku, location", part):
                known.setdefault(sku, {})[loc] = n
        out = []
        for sku in skus:
            cells = known.get(sku, {})
            for loc in (locations or cells):
                if loc in cells:
                    out.append((sku, loc, cells[loc]))
        return out

    def take_order(self, order, correlation_id="", key=None):
        """Reserves all lines or none.  Raises Refused.  A negative quantity
        is a return and puts goods back.

        With a key that an order was taken under already it is that order
        again: (order, whether it was there)."""
        order_id, customer, lines = parse_order(order)
        print_of = fingerprint(order)
        need = {}
        for sku, loc, n in lines:
            need[sku, loc] = need.get((sku, loc), 0) + n
        db = self.db
        db.execute("BEGIN IMMEDIATE")
        try:
            known = db.execute("SELECT id, fingerprint FROM orders WHERE"
                               " key = ?", (key,)).fetchone()
            if known:
                check_same(known[1], print_of)
                db.execute("ROLLBACK")
                return answer(known[0], lines), True
            if db.execute("SELECT 1 FROM orders WHERE id = ?",
                          (order_id,)).fetchone():
                raise Refused(409, "DUPLICATE_ORDER",
                              "an order of this number exists",
                              order_id=order_id)
            unknown, short, after = [], [], []
            for (sku, loc), n in need.items():
                row = db.execute("SELECT available FROM stock WHERE sku = ?"
                                 " AND location = ?", (sku, loc)).fetchone()
                if row is None:
                    unknown.append({"sku": sku, "location": loc})
                elif row[0] < n:
                    short.append({"sku": sku, "location": loc,
                                  "requested": n, "available": row[0]})
                else:
                    after.append((sku, loc, -n, row[0] - n))
            if unknown:
                raise Refused(422, "UNKNOWN_ITEM", "no such item",
                              lines=unknown)
            if short:
                raise Refused(409, "INSUFFICIENT_STOCK",
                              "not enough stock", lines=short)
            now = time.time()
            db.execute("INSERT INTO orders VALUES"
                       " (?, ?, 'reserved', ?, ?, ?, ?)",
                       (order_id, customer, now, correlation_id, key,
                        print_of))
            db.executemany("INSERT INTO order_lines (order_id, sku, location,"
                           " quantity) VALUES (?, ?, ?, ?)",
                           [(order_id, s, lo, n) for s, lo, n in lines])
            db.executemany("UPDATE stock SET available = ? WHERE sku = ?"
                           " AND location = ?",
                           [(left, s, lo) for s, lo, _, left in after])
            db.executemany("INSERT INTO history (at, sku, location, delta,"
                           " available, cause) VALUES (?, ?, ?, ?, ?, ?)",
                           [(now, s, lo, d, left, order_id)
                            for s, lo, d, left in after])
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise
        return answer(order_id, lines), False

    def order_by_key(self, key):
        row = self.db.execute("SELECT id FROM orders WHERE key = ?",
                              (key,)).fetchone()
        return row and self.order(row[0])

    def order(self, order_id):
        row = self.db.execute("SELECT id, customer, status, created,"
                              " correlation_id FROM orders WHERE id = ?",
                              (order_id,)).fetchone()
        if row is None:
            return None
        lines = self.db.execute("SELECT sku, location, quantity FROM"
                                " order_lines WHERE order_id = ? ORDER BY seq",
                                (order_id,))
        return {"order_id": row[0], "customer": row[1], "status": row[2],
                "created": row[3], "correlation_id": row[4],
                "lines": [dict(zip(("sku", "location", "quantity"), line))
                          for line in lines]}

    def adjust(self, sku, location, available=None, delta=0):
        """A change made in the ERP itself, which no gateway sees.  Returns
        what is there now, or None when it would fall below zero."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            if available is None:
                row = self.db.execute("SELECT available FROM stock WHERE"
                                      " sku = ? AND location = ?",
                                      (sku, location)).fetchone()
                available = (row[0] if row else 0) + delta
            if available < 0:
                self.db.execute("ROLLBACK")
                return None
            self._set(sku, location, available, "direct", time.time())
            self.db.execute("COMMIT")
        except BaseException:
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            raise
        return available

    def _set(self, sku, loc, n, cause, now):
        row = self.db.execute("SELECT available FROM stock WHERE sku = ? AND"
                              " location = ?", (sku, loc)).fetchone()
        delta = n - (row[0] if row else 0)
        self.db.execute(
            "INSERT INTO stock VALUES (?, ?, ?, ?) ON CONFLICT (sku, location)"
            " DO UPDATE SET available = ?", (sku, loc, n, n, n))
        self.db.execute(
            "INSERT INTO history (at, sku, location, delta, available, cause)"
            " VALUES (?, ?, ?, ?, ?, ?)", (now, sku, loc, delta, n, cause))

    def history(self, since=0, limit=100000):
        """Rows of (seq, time, sku, location, available, cause) after seq."""
        return self.db.execute(
            "SELECT seq, at, sku, location, available, cause FROM history"
            " WHERE seq > ? ORDER BY seq LIMIT ?", (since, limit)).fetchall()

    def audit(self):
        """Recomputes each cell from what came in and the order lines, not
        from the column that availability is read from."""
        db = self.db
        came = {(s, lo): n for s, lo, n in db.execute(
            "SELECT sku, location, SUM(delta) FROM history WHERE cause IN"
            " ('initial', 'direct') GROUP BY sku, location")}
        sold = {(s, lo): (out, back) for s, lo, out, back in db.execute(
            "SELECT sku, location, SUM(MAX(quantity, 0)),"
            " SUM(MAX(-quantity, 0)) FROM order_lines GROUP BY sku, location")}
        oversold = mismatches = 0
        for sku, loc, available in db.execute(
                "SELECT sku, location, available FROM stock"):
            out, back = sold.get((sku, loc), (0, 0))
            left = came.get((sku, loc), 0) + back - out
            oversold += max(0, -left)
            mismatches += left != available
        lowest = db.execute("SELECT MIN(available) FROM history").fetchone()[0]
        if lowest is not None and lowest < 0:
            oversold = max(oversold, -lowest)
        return {
            "initial": db.execute("SELECT TOTAL(initial) FROM stock")
                         .fetchone()[0],
            "reserved": sum(out for out, _ in sold.values()),
            "returned": sum(back for _, back in sold.values()),
            "orders": db.execute("SELECT COUNT(*) FROM orders").fetchone()[0],
            "oversold": oversold, "mismatches": mismatches}


def answer(order_id, lines):
    """What a channel is told of an order that was taken."""
    return {"order_id": order_id, "status": "reserved",
            "lines": [{"sku": s, "location": lo, "quantity": n}
                      for s, lo, n in lines]}


def fingerprint(order):
    return hashlib.sha256(json.dumps(order, sort_keys=True).encode()) \
        .hexdigest()


def check_same(one, other):
    if one != other:
        raise Refused(422, "KEY_REUSED",
                      "another order was taken under this key")


def parse_order(order):
    """Checks the shape of an order; (id, customer, [(sku, location, n)])."""
    def bad(message):
        raise Refused(422, "INVALID_ORDER", message)

    if not isinstance(order, dict):
        bad("an order is a JSON object")
    order_id = order.get("order_id")
    if not isinstance(order_id, str) or not 0 < len(order_id) <= 100:
        bad("order_id: a string of 1 to 100 characters")
    customer = order.get("customer", "")
    if not isinstance(customer, str) or len(customer) > 200:
        bad("customer: a string of at most 200 characters")
    lines = order.get("lines")
    if not isinstance(lines, list) or not lines:
        bad("lines: a list that is not empty")
    out = []
    for i, line in enumerate(lines):
        if not isinstance(line, dict):
            bad(f"lines/{i}: an object")
        sku, loc, n = (line.get(k) for k in ("sku", "location", "quantity"))
        if not isinstance(sku, str) or not sku or not isinstance(loc, str):
            bad(f"lines/{i}: sku and location are strings")
        if type(n) is not int or n == 0 or abs(n) > 10 ** 9:
            bad(f"lines/{i}: quantity is a whole number other than 0")
        out.append((sku, loc, n))
    return order_id, customer, out
