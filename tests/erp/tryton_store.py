"""Stock and orders of the test ERP in Tryton: the same calls as erp_store's,
done by Tryton's own models.

An order becomes a sale that is confirmed and processed, and its shipments are
assigned, so that what they take is no longer available; a negative quantity
becomes a customer's return that is received and put into stock.  All of it is
one transaction: there is no sale without its shipments.

SQLite has one writer.  Writes wait for each other here, so each reads what
the one before has left, and none fails because the file is locked.
"""

import sqlite3
import threading
import time
from contextlib import closing, contextmanager
from decimal import Decimal

import tryton_base
from erp_store import Refused, answer, check_same, fingerprint, parse_order
from tryton_base import Transaction

AT_ONCE = 500           # records that one Tryton call creates


class Store:
    def __init__(self, path):
        self.path = path
        self.pool = tryton_base.start(path)
        self.writing = threading.Lock()
        self.held = threading.Event()      # set: commits may go on
        self.held.set()
        self.holding = 0                   # orders that wait before theirs
        with self.reading():
            self.company = self.pool.get("company.company").search([])[0].id

    def keep(self):
        """Remembers all there is, for forget()."""
        self.kept = sqlite3.connect(":memory:", check_same_thread=False)
        with closing(sqlite3.connect(self.path)) as db:
            db.backup(self.kept)

    def forget(self):
        """All is as it was when keep() was called."""
        with self.writing, closing(sqlite3.connect(self.path)) as db:
            self.kept.backup(db)

    def close(self):
        self.held.set()

    def get(self, name):
        return self.pool.get(name)

    @contextmanager
    def reading(self):
        with Transaction().start(self.pool.database_name, 1, readonly=True):
            yield

    @contextmanager
    def changing(self):
        """A transaction, committed unless something is raised."""
        with self.writing, Transaction().start(
                self.pool.database_name, 1,
                context={"company": self.company}) as transaction:
            transaction.tasks.clear()
            yield
            self.run_tasks()

    def run_tasks(self):
        """What Tryton would leave to a worker process, such as processing a
        confirmed sale, belongs to this transaction."""
        tasks = Transaction().tasks
        while tasks:
            self.get("ir.queue")(tasks.pop(0)).run()

    def hold(self, on):
        """Orders stand still before they commit, until it is off."""
        (self.held.clear if on else self.held.set)()

    # -- what is there ------------------------------------------------------

    def empty(self):
        with self.reading():
            return not self.get("product.product").search([], limit=1)

    def availability(self, skus, locations):
        """(sku, location, available) in the order asked; unknown left out.

        No locations: all of them, by name.
        """
        with self.reading():
            products = self.products(set(skus))
            warehouses = self.warehouses(set(locations))
            cells = self.quantities(products.values(), warehouses.values())
            names = locations or sorted(warehouses)
            return [(sku, lo, cells[products[sku], warehouses[lo]])
                    for sku in skus if sku in products
                    for lo in names if lo in warehouses]

    def products(self, skus):
        """SKU -> ID"""
        found = {}
        skus = list(skus)
        for i in range(0, len(skus), AT_ONCE):
            for row in self.get("product.product").search_read(
                    [("code", "in", skus[i:i + AT_ONCE])],
                    fields_names=["code"]):
                found[row["code"]] = row["id"]
        return found

    def warehouses(self, codes):
        """code -> ID; all of them if none is named"""
        known = [("code", "in", list(codes))] if codes \
            else [("code", "!=", None)]
        return {row["code"]: row["id"]
                for row in self.get("stock.location").search_read(
                    [("type", "=", "warehouse")] + known,
                    fields_names=["code"])}

    def quantities(self, products, warehouses):
        """What Tryton would still assign: {(product, warehouse): n}."""
        Product = self.get("product.product")
        storage = {w.storage_location.id: w.id
                   for w in self.get("stock.location").browse(
                       list(warehouses))}
        today = self.get("ir.date").today()
        with Transaction().set_context(stock_date_end=today,
                                       stock_assign=True,
                                       company=self.company):
            found = Product.products_by_location(
                list(storage), grouping_filter=(list(products),))
        return {(product, warehouse): int(found.get((location, product), 0))
                for location, warehouse in storage.items()
                for product in products}

    def order(self, order_id):
        return self.find_sale("reference", order_id)

    def order_by_key(self, key):
        return self.find_sale("channel_key", key)

    def find_sale(self, field, value):
        with self.reading():
            sales = self.get("sale.sale").search([(field, "=", value)])
            return self.describe(sales[0]) if sales else None

    def describe(self, sale):
        lines = [(line.product.code, line.ship_from.code, int(line.quantity))
                 for line in sale.lines]
        return dict(answer(sale.reference, lines),
                    customer=sale.party.name,
                    created=sale.create_date.timestamp(),
                    correlation_id=sale.correlation_id,
                    sale=sale.number, state=sale.state,
                    shipments=[s.state for s in (*sale.shipments,
                                                 *sale.shipment_returns)])

    # -- orders -------------------------------------------------------------

    def take_order(self, order, correlation_id="", key=None):
        """(order, whether it was there): all lines or none, see erp_store.
        Raises Refused."""
        order_id, customer, lines = parse_order(order)
        with self.changing():
            Sale = self.get("sale.sale")
            known = Sale.search([("channel_key", "=", key)]) if key else []
            if known:
                check_same(known[0].channel_fingerprint, fingerprint(order))
                return answer(order_id, lines), True
            if Sale.search([("reference", "=", order_id)], limit=1):
                raise Refused(409, "DUPLICATE_ORDER",
                              "an order of this number exists",
                              order_id=order_id)
            products = self.products({sku for sku, _, _ in lines})
            warehouses = self.warehouses({lo for _, lo, _ in lines})
            need, before = self.check(lines, products, warehouses)
            sale = self.sell(customer, lines, products, warehouses,
                             reference=order_id, channel_key=key,
                             channel_fingerprint=fingerprint(order),
                             correlation_id=correlation_id)
            self.ship(sale)
            self.note({cell: before[cell] - n
                       for cell, n in need.items()}, before, order_id)
            self.holding += 1
            self.held.wait()
            self.holding -= 1
        return answer(order_id, lines), False

    def check(self, lines, products, warehouses):
        """({cell: pieces it needs}, {cell: pieces there})"""
        need = {}
        for sku, lo, n in lines:
            need[sku, lo] = need.get((sku, lo), 0) + n
        before = self.quantities(products.values(), warehouses.values())
        unknown, short, out = [], [], {}
        for (sku, lo), n in need.items():
            cell = products.get(sku), warehouses.get(lo)
            if None in cell:
                unknown.append({"sku": sku, "location": lo})
            elif before[cell] < n:
                short.append({"sku": sku, "location": lo, "requested": n,
                              "available": before[cell]})
            out[cell] = n
        if unknown:
            raise Refused(422, "UNKNOWN_ITEM", "no such item", lines=unknown)
        if short:
            raise Refused(409, "INSUFFICIENT_STOCK", "not enough stock",
                          lines=short)
        return out, before

    def sell(self, customer, lines, products, warehouses, **more):
        Sale, Line = self.get("sale.sale"), self.get("sale.line")
        party = self.party(customer)
        address, = party.addresses
        known = {p.id: p for p in self.get("product.product").browse(
            list(products.values()))}
        company = self.get("company.company")(self.company)
        sale = Sale(
            company=company, currency=company.currency, party=party,
            invoice_address=address, shipment_address=address,
            warehouse=warehouses[lines[0][1]], invoice_method="manual",
            shipment_method="order", **more)
        sale.lines = [
            Line(type="line", product=products[sku], quantity=n,
                 unit=known[products[sku]].sale_uom,
                 unit_price=known[products[sku]].list_price,
                 ship_from=warehouses[lo]) for sku, lo, n in lines]
        sale.save()
        Sale.quote([sale])
        Sale.confirm([sale])
        self.run_tasks()            # it is processed
        return Sale(sale.id)

    def ship(self, sale):
        """Goods that come back first: they may be sold by the same order."""
        Out = self.get("stock.shipment.out")
        Return = self.get("stock.shipment.out.return")
        back = list(sale.shipment_returns)
        if back:
            Return.receive(back)
            Return.done(back)
        out = list(sale.shipments)
        if out and not Out.assign_try(out):
            raise RuntimeError(f"{sale.rec_name}: not all could be assigned")

    def party(self, name):
        Party = self.get("party.party")
        name = name or "Unnamed customer"
        found = Party.search([("name", "=", name)], limit=1)
        if found:
            return found[0]
        party = Party(name=name, addresses=[self.get("party.address")()])
        party.save()
        return party

    def note(self, after, before, cause):
        """Writes what changed, as late as can be."""
        now = time.time()
        self.get("channel.stock.change").create([
            {"at": now, "product": product, "warehouse": warehouse,
             "delta": n - before[product, warehouse],
             "available": n, "cause": cause}
            for (product, warehouse), n in after.items()])

    # -- what the ERP does by itself ----------------------------------------

    def load(self, rows):
        """rows of (sku, location, quantity) become the initial stock."""
        want = {}
        for sku, lo, n in rows:
            want.setdefault(lo, {})[sku] = int(n)
        skus = list(dict.fromkeys(s for cells in want.values()
                                  for s in cells))
        with self.changing():
            have = self.products(skus)
            self.make_products([s for s in skus if s not in have])
            warehouses = self.warehouses(set(want))
            for lo in want:
                if lo not in warehouses:
                    self.make_warehouse(lo)
        for lo, cells in want.items():
            cells = list(cells.items())
            for i in range(0, len(cells), AT_ONCE):
                with self.changing():
                    self.count(lo, dict(cells[i:i + AT_ONCE]), "initial")

    def adjust(self, sku, location, available=None, delta=0):
        """A change made in the ERP itself, which no gateway sees.  Returns
        what is there now, or None when it would fall below zero."""
        with self.changing():
            products = self.products([sku])
            warehouses = self.warehouses([location])
            if available is None:
                cells = self.quantities(products.values(),
                                        warehouses.values())
                available = sum(cells.values()) + delta
            if available < 0:
                return None
            self.count(location, {sku: available}, "direct")
        return available

    def count(self, location, cells, cause):
        """An inventory that finds so many available.  It counts what lies
        there, so what is assigned but not yet shipped comes on top."""
        Inventory = self.get("stock.inventory")
        Line = self.get("stock.inventory.line")
        Product = self.get("product.product")
        products = self.products(cells)
        warehouses = self.warehouses([location])
        warehouse = self.get("stock.location")(warehouses[location])
        storage = warehouse.storage_location
        before = self.quantities(products.values(), warehouses.values())
        with Transaction().set_context(
                stock_date_end=self.get("ir.date").today()):
            lying = Product.products_by_location(
                [storage.id], grouping_filter=(list(products.values()),))
        after, lines = {}, []
        for sku, n in cells.items():
            cell = products[sku], warehouse.id
            there = lying.get((storage.id, products[sku]), 0)
            after[cell] = n
            lines.append(Line(product=products[sku],
                              quantity=there + n - before[cell]))
        inventory = Inventory(company=self.company, location=storage,
                              date=self.get("ir.date").today(),
                              empty_quantity="keep", lines=lines)
        inventory.save()
        Inventory.confirm([inventory])
        self.note(after, before, cause)

    def make_products(self, skus):
        unit, = self.get("product.uom").search([("symbol", "=", "u")])
        Template = self.get("product.template")
        for i in range(0, len(skus), AT_ONCE):
            Template.create([
                {"name": sku, "type": "goods", "default_uom": unit.id,
                 "list_price": Decimal(10), "salable": True,
                 "sale_uom": unit.id,
                 "products": [("create", [{"suffix_code": sku}])]}
                for sku in skus[i:i + AT_ONCE]])

    def make_warehouse(self, code):
        Location = self.get("stock.location")
        lost, = Location.search([("type", "=", "lost_found")], limit=1)
        rooms = {}
        for name in "input", "output", "storage":
            rooms[name] = Location(name=f"{code} {name}", type="storage")
            rooms[name].save()
        Location(name=code, code=code, type="warehouse",
                 input_location=rooms["input"],
                 output_location=rooms["output"],
                 storage_location=rooms["storage"],
                 lost_found_location=lost).save()

    # -- what was -----------------------------------------------------------

    def history(self, since=0, limit=100000):
        """Rows of (seq, time, sku, location, available, cause) after seq."""
        with self.reading():
            return [tuple(row) for row in self.rows("""
                SELECT c.id, c.at, p.code, w.code, c.available, c.cause
                FROM channel_stock_change c
                JOIN product_product p ON p.id = c.product
                JOIN stock_location w ON w.id = c.warehouse
                WHERE c.id > ? ORDER BY c.id LIMIT ?""", (since, limit))]

    def audit(self):
        """Recomputes each cell from inventories and sale lines, and holds it
        against what Tryton computes from the shipments' moves."""
        with self.reading():
            warehouses = self.warehouses(())
            # what inventories found, and what they missed
            left = dict(((product, warehouse), int(n)) for product, warehouse,
                        n in self.rows("""
                SELECT m.product, w.id, SUM(CASE m.to_location
                    WHEN w.storage_location THEN m.quantity
                    ELSE -m.quantity END)
                FROM stock_move m JOIN stock_location w
                ON w.storage_location IN (m.from_location, m.to_location)
                WHERE m.state = 'done' AND m.origin LIKE
                'stock.inventory.line,%' GROUP BY m.product, w.id"""))
            out = back = 0
            for product, warehouse, sold, returned in self.rows("""
                SELECT product, ship_from, TOTAL(MAX(quantity, 0)),
                    TOTAL(MAX(-quantity, 0))
                FROM sale_line GROUP BY product, ship_from"""):
                cell = product, warehouse
                left[cell] = left.get(cell, 0) + int(returned - sold)
                out, back = out + int(sold), back + int(returned)
            products = {product for product, _ in left}
            now = self.quantities(products, warehouses.values())
            (initial,), = self.rows("SELECT TOTAL(delta) FROM"
                                    " channel_stock_change"
                                    " WHERE cause = 'initial'")
            (lowest,), = self.rows("SELECT MIN(available) FROM"
                                   " channel_stock_change")
            (orders,), = self.rows("SELECT COUNT(*) FROM sale_sale")
        oversold = sum(max(0, -n) for n in (*left.values(), *now.values()))
        return {"initial": initial, "reserved": out, "returned": back,
                "orders": orders,
                "oversold": max(oversold, -(lowest or 0)),
                "mismatches": sum(left.get(cell, 0) != n
                                  for cell, n in now.items())}

    def rows(self, query, values=()):
        cursor = Transaction().connection.cursor()
        cursor.execute(query, values)
        return cursor.fetchall()
