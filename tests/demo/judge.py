"""Holds what came back against what was true, and prints the table.

Every change of stock stands in the ERP's history with its time.  An answer
to a read that was sent at time T must show each change that

  - an order made whose answer had come to its channel before T, or
  - the ERP made by itself, earlier than T minus what the answer may be old:
    the ERP's max-age, the time while it is revalidated, and one answer time.

It may show later ones.  A quantity that never was true fails too.

With several gateways, the one that took an order shows it at once; the others
after the time that a change may take from one to the other.
"""

import bisect
import collections
import json


class History:
    def __init__(self, rows, answered, may_be_old):
        """rows: the ERP's (seq, time, sku, location, available, cause);
        answered: order number -> when its answer came; times in us."""
        self.cells = {}
        for _, at, sku, location, available, cause in rows:
            at = int(at * 1e6)
            must = min(answered.get(cause, at + may_be_old), at + may_be_old)
            self.cells.setdefault((sku, location), []).append(
                [at, available, must])
        for events in self.cells.values():
            # who sees a change must have seen those before it
            for i in range(len(events) - 2, -1, -1):
                events[i][2] = min(events[i][2], events[i + 1][2])

    def windows(self, cell, available):
        """When the quantity may be shown: [(from, until, true until)]."""
        events = self.cells.get(cell, ())
        out = []
        for i, (at, n, _) in enumerate(events):
            if n == available:
                last = i + 1 == len(events)
                out.append((at, float("inf") if last else events[i + 1][2],
                            float("inf") if last else events[i + 1][0]))
        return out


class Body:
    """One answer of the gateway, checked once however often it was given."""

    def __init__(self, text, history):
        try:
            items = json.loads(text)["items"]
            self.cells = tuple((i["sku"], i["location"]) for i in items)
            found = [history.windows((i["sku"], i["location"]),
                                     i["available"]) for i in items]
        except (ValueError, KeyError, TypeError):
            self.cells, found = None, []
        self.never = not all(found)
        one = [w[0] for w in found if len(w) == 1]
        self.many = [w for w in found if len(w) > 1]
        self.since = max((w[0] for w in one), default=0)
        self.until = min((w[1] for w in one), default=float("inf"))
        self.true = min((w[2] for w in one), default=float("inf"))

    def stale(self, sent, received):
        return sent >= self.until or received < self.since \
            or any(not any(w[0] <= received and sent < w[1] for w in windows)
                   for windows in self.many)

    def lateness(self, sent):
        """us since it should have shown what it does not"""
        return max(0, sent - min([self.until] + [
            max(w[1] for w in windows) for windows in self.many]))

    def age(self, sent):
        """us since the oldest quantity in it was no longer true"""
        oldest = min([self.true] + [max(w[2] for w in windows)
                                    for windows in self.many])
        return max(0, sent - oldest)


def read_bodies(path):
    bodies = {}
    with open(path, "rb") as file:
        while True:
            head = file.readline()
            if not head:
                return bodies
            number, size = head.split()
            bodies[int(number)] = file.read(int(size))


class Verdict:
    def __init__(self):
        self.reads = self.partial = 0
        self.late, self.latest = 0, 0     # orders of other gateways, us
        self.times = {"hit": [], "miss": []}
        self.cache = collections.Counter()
        self.stale = self.wrong = 0
        self.worst_age = 0
        self.orders = collections.Counter()
        self.statuses = collections.defaultdict(collections.Counter)
        self.unexpected = collections.Counter()
        self.examples = []
        self.seconds = 0.0


def judge(plan, results, bodies_path, history_rows, may_be_old, gateways=1,
          elsewhere=0):
    """may_be_old and elsewhere in seconds"""
    lines = []
    answered = [{} for _ in range(gateways)]
    at_once = {}
    with open(results) as file:
        for line in file:
            queue, job, step, sent, received, status, cache, body, gateway = \
                line.split()
            what = plan.steps[queue][int(job)][int(step)]
            lines.append((what, int(sent), int(received), int(status), cache,
                          int(body), int(gateway)))
            if what.kind == "order" and int(status) == 201:
                at_once[what.order.number] = int(received)
                for g, times in enumerate(answered):
                    times[what.order.number] = int(received) + (
                        0 if g == int(gateway) else int(elsewhere * 1e6))
    texts = read_bodies(bodies_path)
    bodies = []
    for times in (*answered, at_once):
        history = History(history_rows, times, int(may_be_old * 1e6))
        bodies.append({n: Body(text, history) for n, text in texts.items()}
                      if gateways > 1 or not bodies else bodies[0])
    v = Verdict()
    for what, sent, received, status, cache, body, gateway in lines:
        v.statuses[what.channel][status] += 1
        if status not in allowed(what):
            v.unexpected[what.channel, what.kind, status] += 1
        if what.kind == "order":
            v.orders["accepted" if status == 201 else
                     "refused" if status in (409, 422) else "failed"] += 1
            continue
        if status != 200:
            continue
        v.reads += 1
        v.cache[cache] += 1
        v.partial += cache.startswith("partial")
        v.times["hit" if cache.startswith("hit") else "miss"].append(
            received - sent)
        answer = bodies[gateway][body]
        strict = bodies[-1][body]
        if answer.cells != what.cells or answer.never:
            v.wrong += 1
            note(v, "wrong", what, sent, answer)
        elif answer.stale(sent, received):
            v.stale += 1
            note(v, "stale", what, sent, answer)
        elif strict.stale(sent, received):
            v.late += 1
            v.latest = max(v.latest, strict.lateness(sent))
        v.worst_age = max(v.worst_age, answer.age(sent))
    if lines:
        v.seconds = (max(x[2] for x in lines) - min(x[1] for x in lines)) / 1e6
    return v


def note(v, how, what, sent, answer):
    if len(v.examples) < 5:
        v.examples.append(f"{how}: {what.channel} {what.kind} "
                          f"{what.target[:100]} sent at {sent / 1e6:.3f}, "
                          f"{answer.age(sent) / 1000:.0f} ms out of date")


def allowed(what):
    if what.channel == "scraper":
        return (200, 429) if what.kind == "greedy" else (401, 429)
    return (201, 409, 422) if what.kind == "order" else (200,)


def percentile(values, part):
    if not values:
        return 0
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * part))]


def ms(us):
    return f"{us / 1000:.2f} ms" if us < 10000 else f"{us / 1000:.0f} ms"


def table(v, stats, audit, cap, may_be_old, bad_log_lines, elsewhere=None):
    """(text, whether all promises held)"""
    asked = stats["reads"] + stats["refused_reads"]
    hits = sum(n for c, n in v.cache.items() if c.startswith("hit"))
    collapsed = sum(n for c, n in v.cache.items() if "collapsed" in c)
    total = max(v.reads, 1)
    rows = [
        ("reads answered", f"{v.reads:,}", f"{v.reads / max(v.seconds, 1):,.0f}"
         f" a second for {v.seconds:.0f} s"),
        ("reads that reached the ERP", f"{asked:,}",
         f"offload {100 * (1 - asked / total):.1f}%"),
        ("cache hit ratio", f"{100 * hits / total:.1f}%",
         f"{hits:,} hits, {collapsed:,} waited for another's fill"),
        ("partial hits", f"{100 * v.partial / total:.1f}%",
         f"{v.partial:,} reads that asked the ERP for a part only"),
    ]
    for kind in ("hit", "miss"):
        times = v.times[kind]
        rows.append((f"time of a {kind}",
                     "p50 " + ms(percentile(times, 0.5)),
                     "p99 " + ms(percentile(times, 0.99))))
    rows.append(("orders", f"{v.orders['accepted']:,} accepted",
                 f"{v.orders['refused']:,} refused for want of stock, "
                 f"{v.orders['failed']:,} failed"))
    for channel, counts in sorted(v.statuses.items()):
        rows.append((f"401 and 429: {channel}", f"{counts[401]:,} / "
                     f"{counts[429]:,}", f"of {sum(counts.values()):,}"))
    rows.append(("oldest answer", f"{v.worst_age / 1e6:.2f} s out of date",
                 f"may be {may_be_old:.2f} s; 0 after an order"))
    if elsewhere is not None:
        rows.append(("an order seen at another gateway",
                     f"{v.latest / 1000:.1f} ms late",
                     f"may be {elsewhere:.2f} s; {v.late:,} answers"))
    promises = [
        ("units oversold", audit["oversold"] + audit["mismatches"],
         0, f"{audit['reserved']:,} reserved, {audit['returned']:,} returned"),
        ("answers staler than promised", v.stale, 0, ""),
        ("answers that never were true", v.wrong, 0, ""),
        ("highest ERP concurrency", stats["highest_concurrency"], cap,
         f"the ERP takes {cap}"),
        ("refused by the ERP for its limits", stats["refusals"], 0, ""),
        ("unexpected answers", sum(v.unexpected.values()), 0,
         ", ".join(f"{c} {k} {s}: {n}" for (c, k, s), n
                   in v.unexpected.most_common(4))),
        ("alerts in the gateway's log", len(bad_log_lines), 0, ""),
    ]
    out = [""]
    for name, value, more in rows:
        out.append(f"  {name:<36}{value:>18}   {more}")
    out.append("")
    held = True
    for name, value, most, more in promises:
        good = value <= most
        held = held and good
        out.append(f"  {name:<36}{value:>18,}   "
                   + ("held" if good else f"NOT HELD (at most {most})")
                   + (f"; {more}" if more else ""))
    out += ["    " + text for text in v.examples + bad_log_lines[:5]]
    out.append("")
    return "\n".join(out), held
