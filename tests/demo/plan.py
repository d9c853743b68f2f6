"""What the demo plays: real order lines, or generated ones, and the browsing
around them, as a plan that load.c plays (its head says the format)."""

import bisect
import collections
import csv
import itertools
import json
import random
from urllib.parse import quote

LOCATIONS = ("LON", "ROT")
CATEGORY = 24         # SKUs on a category page
ORDER_READ = 50       # at most so many SKUs in one read before an order


class Order:
    def __init__(self, number, customer, country):
        self.number, self.customer, self.country = number, customer, country
        self.lines = []                    # (sku, quantity)

    @property
    def location(self):
        return "LON" if self.country in ("United Kingdom", "EIRE") else "ROT"

    @property
    def skus(self):
        return list(dict.fromkeys(sku for sku, _ in self.lines))


def read_orders(path):
    """Orders of a CSV with invoice, sku, quantity, customer, country, in
    their order.  Lines without a usable quantity or SKU are counted, not
    taken: (orders, lines, skipped)."""
    orders, lines, skipped = {}, 0, 0
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        missing = {"invoice", "sku", "quantity"} - set(rows.fieldnames or ())
        if missing:
            raise SystemExit(f"{path}: no column {', '.join(sorted(missing))};"
                             " needed are invoice, sku, quantity"
                             " (and customer, country)")
        for row in rows:
            number = (row["invoice"] or "").strip()
            sku = (row["sku"] or "").strip()
            try:
                quantity = int(float(row["quantity"]))
            except (TypeError, ValueError, OverflowError):
                quantity = 0
            if not number or not sku or "," in sku or not quantity \
                    or abs(quantity) > 10 ** 9:
                skipped += 1
                continue
            order = orders.setdefault(number, Order(
                number, (row.get("customer") or "").strip(),
                (row.get("country") or "").strip()))
            order.lines.append((sku, quantity))
            lines += 1
    if not orders:
        raise SystemExit(f"{path}: no order lines in it")
    return list(orders.values()), lines, skipped


def generate_orders(path, orders=250, skus=2000, most=500, seed=7):
    """A CSV as a wholesaler's: few SKUs sell often, most seldom; most orders
    have a few lines, some very many; some are returns."""
    rng = random.Random(seed)
    names = [f"{20000 + 7 * n}{rng.choice(['', '', '', 'A', 'B'])}"
             for n in range(skus)]
    rng.shuffle(names)
    weights = list(itertools.accumulate(1 / (n + 8) ** 0.9
                                        for n in range(skus)))
    with open(path, "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(("invoice", "sku", "quantity", "customer", "country"))
        for n in range(orders):
            back = rng.random() < 0.06
            number = ("C" if back else "") + str(700000 + n)
            country = "United Kingdom" if rng.random() < 0.85 \
                else rng.choice(("Germany", "France", "EIRE", "Spain"))
            customer = str(rng.randrange(12000, 18000))
            count = 1 + min(int(rng.lognormvariate(2.3, 1.1)), most)
            for _ in range(1 + count // 8 if back else count):
                sku = names[bisect.bisect(weights,
                                          rng.random() * weights[-1])]
                quantity = max(1, int(rng.lognormvariate(1.3, 1.1)))
                out.writerow((number, sku, -quantity if back else quantity,
                              customer, country))


def write_catalogue(path, orders, seed=7):
    """Initial stock: enough of most, too little of some for all orders."""
    rng = random.Random(seed)
    demand = collections.Counter()
    for order in orders:
        for sku, quantity in order.lines:
            demand[sku, order.location] += max(quantity, 0)
            demand[sku, "LON"] += 0
    skus = sorted({sku for sku, _ in demand})
    with open(path, "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(("sku", "location", "available"))
        for sku in skus:
            scarce = rng.random() < 0.02
            for location in LOCATIONS:
                need = demand[sku, location]
                stock = int(need * 0.7) if scarce \
                    else int(need * 1.5) + rng.randrange(5, 50)
                out.writerow((sku, location, stock))
    return skus


def availability(skus, location=None):
    target = "/availability?sku=" + ",".join(quote(s, safe="") for s in skus)
    return target + (f"&location={location}" if location else "")


class Plan:
    """steps[queue][job] is a list of (channel, kind, target, cells) that
    tells what each line of the results was; cells are those asked for."""

    def __init__(self, tokens):
        self.tokens = tokens           # channel -> list of bearer tokens
        self.numbers = {}
        self.queues = []
        self.steps = {}
        self.gates = {}

    def queue(self, name, lanes, pause=0):
        self.queues.append((name, lanes, pause))
        self.steps[name], self.gates[name] = [], []

    def job(self, queue, steps, gate=0):
        self.steps[queue].append(steps)
        self.gates[queue].append(int(gate))

    def write(self, path):
        for n, token in enumerate(
                dict.fromkeys(t for ts in self.tokens.values() for t in ts)):
            self.numbers[token] = n
        with open(path, "w") as out:
            for token, n in self.numbers.items():
                out.write(f"token {n} {token}\n")
            for name, lanes, pause in self.queues:
                out.write(f"queue {name} {lanes} {pause}\n")
                for gate, steps in zip(self.gates[name], self.steps[name]):
                    out.write(f"job {gate}\n")
                    for step in steps:
                        number = self.numbers[step.token]
                        if step.body is None:
                            out.write(f"get {number} {step.target}\n")
                        else:
                            out.write(f"post {number} {step.target}"
                                      f" {step.body}\n")


class Step:
    __slots__ = ("channel", "kind", "token", "target", "cells", "body",
                 "order")

    def __init__(self, channel, kind, token, target, cells=(), body=None,
                 order=None):
        self.channel, self.kind, self.token = channel, kind, token
        self.target, self.cells, self.body = target, cells, body
        self.order = order


def cells_of(skus, location=None):
    return tuple((s, lo) for s in skus
                 for lo in ((location,) if location else LOCATIONS))


def build(orders, skus, tokens, reads_per_order, lanes, seed=7):
    """tokens: channel -> bearer tokens; those of "scraper" are named."""
    rng = random.Random(seed)
    plan = Plan({c: list(t.values()) if isinstance(t, dict) else t
                 for c, t in tokens.items()})
    reads = len(orders) * reads_per_order
    browse(plan, rng, orders, skus, reads, lanes)
    plan.queue("order", 2)
    for n, order in enumerate(orders):
        plan.job("order", order_steps(order, rng, plan.tokens),
                 gate=(n + 0.5) / len(orders) * reads)
    scrape(plan, rng, skus, reads, tokens["scraper"])
    return plan


def browse(plan, rng, orders, skus, reads, lanes):
    """Product and category pages, as popular as what is ordered; browsing
    and orders wait for each other, so that one runs around the other."""
    sold = collections.Counter(s for o in orders for s, _ in o.lines)
    weights = list(itertools.accumulate(sold[s] + 0.1 for s in skus))
    pages = [skus[i:i + CATEGORY] for i in range(0, len(skus), CATEGORY)]
    product = [(availability([s]), cells_of([s])) for s in skus]
    category = [(availability(p), cells_of(p)) for p in pages]
    plan.queue("browse", lanes)
    for n in range(reads):
        at = bisect.bisect(weights, rng.random() * weights[-1])
        target, cells = category[at // CATEGORY] if rng.random() < 0.2 \
            else product[at]
        channel = rng.choices(("webshop", "app", "marketplace"),
                              (60, 25, 15))[0]
        plan.job("browse", [Step(channel, "browse",
                                 rng.choice(plan.tokens[channel]), target,
                                 cells)],
                 gate=max(0, n * len(orders) // reads - 5))


def order_steps(order, rng, tokens):
    """A batched read of what is wanted, the order, and a look at the first
    product afterwards: it must show the order."""
    channel = "edi" if order.location == "ROT" else \
        "webshop" if order.customer else "marketplace"
    token = rng.choice(tokens[channel])
    skus, steps = order.skus, []
    for i in range(0, len(skus), ORDER_READ):
        part = skus[i:i + ORDER_READ]
        steps.append(Step(channel, "before",
                          token, availability(part, order.location),
                          cells_of(part, order.location), order=order))
    body = json.dumps({"order_id": order.number, "customer": order.customer,
                       "lines": [{"sku": s, "location": order.location,
                                  "quantity": q} for s, q in order.lines]},
                      separators=(",", ":"))
    steps.append(Step(channel, "order", token, "/orders", body=body,
                      order=order))
    steps.append(Step(channel, "after", token, availability(skus[:1]),
                      cells_of(skus[:1]), order=order))
    return steps


def scrape(plan, rng, skus, reads, tokens):
    """One channel that misbehaves: without a token, with an old one, one
    that is not for us, one of a stranger's key, and more than its plan."""
    plan.queue("scraper", 1, 50000)
    jobs = max(5, reads // 800)
    for n in range(jobs):
        steps = []
        for name in ("none", "expired", "audience", "forged"):
            sku = rng.choice(skus)
            steps.append(Step("scraper", name, tokens[name],
                              availability([sku]), cells_of([sku])))
        for _ in range(60):
            sku = rng.choice(skus[:50])
            steps.append(Step("scraper", "greedy", tokens["greedy"],
                              availability([sku]), cells_of([sku])))
        plan.job("scraper", steps, gate=n / jobs * reads)
