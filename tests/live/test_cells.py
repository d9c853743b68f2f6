"""Cells under load and fault: what is read from the ERP is what nobody holds,
once, whoever asks, leaves or dies; and what an order took is gone from the
next answer.
"""

import http.client
import json
import os
import random
import signal
import socket
import threading
import time
import unittest
from urllib.parse import parse_qsl

import penstock

CONF = '''
    %%REDIS%%

    availability_zone a:8m %%ZONE%%;

    server {
        listen 127.0.0.1:%%PORT%%;

        location = /availability {
            availability_cache       a;
            availability_cache_key   $uri;
            availability_cache_items arg=sku %%ITEMS%%;
            %%READ%%
            add_header X-Status $availability_cache_status always;
            proxy_pass http://127.0.0.1:%%UPSTREAM%%;
        }

        location = /search {
            availability_cache       a;
            availability_cache_key   $uri;
            availability_cache_items arg=body:/skus arg=body:/locations
                                     list=/items id=/sku id=/location;
            availability_cache_valid 1h;
            proxy_pass http://127.0.0.1:%%UPSTREAM%%;
        }

        location = /orders {
            availability_invalidate zone=a /lines/*/sku;
            proxy_pass http://127.0.0.1:%%UPSTREAM%%;
        }

        location = /purge {
            availability_purge zone=a;
        }

        location = /status {
            penstock_status;
        }
    }
'''

REDIS = '''
    redis main {
        server 127.0.0.1:%d;
        timeout connect=200ms command=200ms;
    }
'''

ONE = 'list=/items id=/sku'
TWO = 'arg=location list=/items id=/sku id=/location'


class Stock:
    """An upstream: SKUs that begin with "U" are unknown; .asked counts how
    often each cell was asked for.  before() is called when a request has
    been read, with it; after(), when its answer is made but not sent."""

    def __init__(self, locations=False):
        self.locations = locations
        self.numbers = {}
        self.asked = {}
        self.requests = 0
        self.now = 0
        self.mutex = threading.Lock()
        self.before = self.after = lambda h: None
        self.answer = None

    def number(self, sku, location=None):
        return self.numbers.get((sku, location), sum(map(ord, sku)))

    def element(self, sku, location=None):
        place = {'location': location} if location else {}
        return dict(sku=sku, **place, available=self.number(sku, location))

    def __call__(self, h):
        skus, locations = [], []
        for name, value in parse_qsl(h.path.partition('?')[2]):
            if name == 'sku':
                skus += value.split(',')
            elif name == 'location':
                locations += value.split(',')

        if h.body:
            said = json.loads(h.body)
            skus += said.get('skus', [])
            locations += said.get('locations', [])

        with self.mutex:
            self.requests += 1
            for sku in skus:
                for location in locations or [None]:
                    key = (sku, location)
                    self.asked[key] = self.asked.get(key, 0) + 1

        self.before(h)
        items = [self.element(sku, location) for sku in skus
                 for location in locations or [None]
                 if not sku.startswith('U')]
        self.after(h)

        if self.answer:
            self.answer(h)
        else:
            h.send(200, {'as_of': 'now', 'items': items})


def storm(test, writer, readers, seconds=3, others=(), late=0, lost=(),
          beside=()):
    """Numbers only rise; "floor" is what was surely invalidated.  "others"
    are hosts that may know of it "late" seconds later.  "lost" are errors
    of clients that may come."""

    stock = test.stock
    world = ['S%d' % n for n in range(30)]
    floor = dict.fromkeys(world, 0)
    floors = [(0, dict(floor))]
    for sku in world:
        stock.numbers[(sku, None)] = 0
    stock.before = stock.after = \
        lambda h: time.sleep(random.random() * 0.02)
    end = time.monotonic() + seconds
    counts = [0, 0, 0]

    def write():
        while time.monotonic() < end:
            skus = random.sample(world, 3)
            for sku in skus:
                stock.numbers[(sku, None)] += 1
            now = {sku: stock.numbers[(sku, None)] for sku in skus}
            try:
                answer = writer.post('/purge', {'skus': skus})
            except lost:
                continue
            test.assertLess(answer.status, 300, answer)
            floor.update(now)
            floors.append((time.monotonic(), dict(floor)))
            counts[0] += 1
            time.sleep(0.01)

    def told():
        """What was invalidated "late" seconds ago."""

        when = time.monotonic() - late
        return next(f for at, f in reversed(floors) if at < when)

    def read(gw):
        while time.monotonic() < end:
            skus = random.sample(world, random.randrange(1, 20))
            least = told() if gw in others else dict(floor)
            try:
                answer = gw.get('/availability?sku=' + ','.join(skus))
            except lost:
                counts[2] += 1
                continue
            test.assertEqual(answer.status, 200, answer)
            items = answer.json()['items']
            test.assertEqual([i['sku'] for i in items], skus)
            for item in items:
                test.assertGreaterEqual(item['available'],
                                        least[item['sku']], answer.headers)
            counts[1] += 1

    penstock.together([write] + [lambda gw=gw: read(gw)
                                 for gw in (*readers, *others)
                                 for _ in range(6)] + list(beside))
    test.assertGreater(counts[0], 10)
    test.assertGreater(counts[1], 50)
    return counts


class Case(penstock.TestCase):

    def start(self, items=ONE, read='availability_cache_valid 1h;',
              workers=2, **kw):
        self.stock = Stock()
        self.upstream = self.origin(self.stock)
        self.gw = self.gateway(CONF, workers=workers, REDIS='', ZONE='',
                               ITEMS=items, READ=read,
                               UPSTREAM=self.upstream.port, **kw)
        return self.gw

    def path(self, skus, locations=()):
        return '/availability?sku=' + ','.join(skus) + (
            '&location=' + ','.join(locations) if locations else '')

    def expect(self, answer, skus, locations=()):
        self.assertEqual(answer.status, 200, answer)
        self.assertEqual(answer.json()['items'],
                         [self.stock.element(s, l) for s in skus
                          for l in locations or [None]
                          if not s.startswith('U')])

    def purge(self, gw, *skus, **said):
        answer = gw.post('/purge', dict(said, skus=list(skus)))
        self.assertLess(answer.status, 300, answer)



class Partial(Case):

    def test_any_part_in_any_order(self):
        """Hundreds of requests, each answered as if the upstream were asked
        for all of it; and each SKU is read once."""

        gw = self.start()
        rnd = random.Random(4)
        world = ['S%d' % n for n in range(300)] + ['U%d' % n
                                                   for n in range(30)]
        seen = set()

        for n in range(200):
            skus = rnd.choices(world, k=rnd.choice([1, 3, 24, 24, 150,
                                             500]))
            self.expect(gw.get(self.path(skus)), skus)
            seen |= set(skus)

        self.assertEqual({s for s, _ in self.stock.asked}, seen)
        # what is unknown is held for a short time only
        self.assertEqual([k for k, n in self.stock.asked.items()
                          if n > 1 and not k[0].startswith('U')], [])

    def test_grids(self):
        gw = self.start(TWO)
        rnd = random.Random(5)
        world = ['S%d' % n for n in range(40)]
        places = ['L1', 'L2', 'L3', 'L4']
        held = set()

        for n in range(150):
            skus = rnd.choices(world, k=rnd.randrange(1, 25))
            locations = rnd.sample(places, rnd.randrange(1, 5))
            before = dict(self.stock.asked)

            if n % 2:
                answer = gw.get(self.path(skus, locations))
            else:
                answer = gw.post('/search', {'skus': skus,
                                             'locations': locations})
            self.expect(answer, skus, locations)

            # no SKU and no location of which all is held
            new = {k for k in self.stock.asked
                   if self.stock.asked[k] != before.get(k, 0)}

            if n % 2:
                need = {(s, l) for s in skus for l in locations} - held
                self.assertEqual({s for s, _ in new}, {s for s, _ in need})
                self.assertEqual({l for _, l in new}, {l for _, l in need})
                held |= need

    def test_500_skus_in_chunks(self):
        gw = self.start(ONE + ' max_items=50')
        barrier = threading.Barrier(10)
        self.stock.before = lambda h: barrier.wait(penstock.DEADLINE)

        # they are asked for side by side, or the barrier breaks
        skus = ['S%d' % n for n in range(500)]
        self.expect(gw.get(self.path(skus)), skus)
        self.assertEqual(self.stock.requests, 10)

        self.expect(gw.get(self.path(skus[::-1])), skus[::-1])
        self.assertEqual(self.stock.requests, 10)

    def test_a_chunk_that_fails(self):
        gw = self.start(ONE + ' max_items=2')
        self.stock.before = lambda h: h.send(500) if 'S3' in h.path else None

        answer = gw.get(self.path(['S1', 'S2', 'S3', 'S4']))
        self.assertIn(answer.status, (500, 502))

        self.stock.before = lambda h: None
        self.expect(gw.get(self.path(['S1', 'S2', 'S3', 'S4'])),
                    ['S1', 'S2', 'S3', 'S4'])
        self.assertEqual(self.stock.asked[('S1', None)], 1)
        self.assertEqual(self.stock.asked[('S3', None)], 2)

    def test_partial_hits_at_the_erp(self):
        erp = self.erp('--max-age', '60', '--latency', '5ms')
        gw = self.gateway(CONF, workers=2, REDIS='', ZONE='', ITEMS=TWO,
                          READ='', UPSTREAM=erp.port)

        def cells():
            return erp.request('GET', '/__stats').json()['cells']

        def numbers(skus, locations):
            answer = gw.get(self.path(skus, locations))
            self.assertEqual(answer.status, 200)
            return [(i['sku'], i['location'], i['available'])
                    for i in answer.json()['items']], answer

        got, answer = numbers(['A', 'B'], ['L1', 'L2'])
        self.assertEqual(got, [('A', 'L1', 12), ('A', 'L2', 12),
                               ('B', 'L1', 5), ('B', 'L2', 5)])
        self.assertEqual(cells(), 4)

        got, answer = numbers(['D', 'B', 'A'], ['L2', 'L1'])
        self.assertEqual(got, [('D', 'L2', 1000), ('D', 'L1', 1000),
                               ('B', 'L2', 5), ('B', 'L1', 5),
                               ('A', 'L2', 12), ('A', 'L1', 12)])
        self.assertEqual(cells(), 6)
        self.assertIn('detail="4 of 6 cells held"',
                      answer.headers['Cache-Status'])

        # an order voids its SKU's cells, no others, for the next reader
        order = gw.post('/orders', {
            'order_id': '1', 'customer': 'c',
            'lines': [{'sku': 'A', 'location': 'L1', 'quantity': 2}]})
        self.assertEqual(order.status, 201)
        got, answer = numbers(['D', 'A', 'B'], ['L1'])
        self.assertEqual(got, [('D', 'L1', 1000), ('A', 'L1', 10),
                               ('B', 'L1', 5)])
        self.assertEqual(cells(), 7)

    def test_the_log_says_once_a_minute_what_does_not_fit(self):
        clock = penstock.Clock(sanitized=True)
        self.addCleanup(clock.close)
        gw = self.start(env=clock.env)
        self.stock.answer = lambda h: h.send(200, {'stock': []})

        def lines(n):
            for _ in range(4):
                self.assertEqual(gw.get(self.path(['S%d' % n])).json(),
                                 {'stock': []})
            return gw.log().count("can't be taken apart")

        for n, (later, said) in enumerate(((0, 1), (50, 1), (65, 2),
                                           (120, 2), (135, 3))):
            clock.set(later)
            self.assertEqual(lines(n), said, later)
        self.assertEqual(self.stock.requests, 20)


class Together(Case):

    def test_one_fill_a_cell(self):
        """80 clients in four workers want 24 of 120 SKUs each: the upstream
        is asked for each of them once."""

        gw = self.start(workers=4)
        self.stock.before = lambda h: time.sleep(0.3)
        world = ['S%d' % n for n in range(120)]
        rnd = random.Random(6)
        wants = [rnd.sample(world, 24) for _ in range(80)]

        answers = penstock.together([
            lambda skus=skus: gw.get(self.path(skus)) for skus in wants])

        for skus, answer in zip(wants, answers):
            self.expect(answer, skus)
        self.assertEqual({n for n in self.stock.asked.values()}, {1})

    def test_a_leader_that_leaves(self):
        gw = self.start()
        go = threading.Event()
        self.stock.before = lambda h: go.wait(penstock.DEADLINE)

        leader = socket.create_connection(('127.0.0.1', gw.port))
        leader.sendall(b'GET %s HTTP/1.1\r\nHost: a\r\n\r\n'
                       % self.path(['A', 'B', 'C']).encode())
        penstock.wait_for(lambda: self.stock.requests)

        followers = []
        threads = [threading.Thread(
            target=lambda: followers.append(gw.get(self.path(['C', 'B']))))
            for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        leader.close()
        time.sleep(0.2)
        go.set()
        for thread in threads:
            thread.join(penstock.DEADLINE)

        self.assertEqual(len(followers), 4)
        for answer in followers:
            self.expect(answer, ['C', 'B'])
        self.expect(gw.get(self.path(['A'])), ['A'])
        self.assertEqual(self.stock.requests, 1)

    def test_a_worker_that_dies(self):
        gw = self.start(workers=3, allow=[r'exited on signal 9'],
                        read='availability_cache_valid 1h;'
                             'availability_cache_lock on timeout=60s;')
        go = threading.Event()
        first = []

        def before(h):
            with self.stock.mutex:
                first.append(h)
                mine = len(first) == 1
            if mine:
                go.wait(penstock.DEADLINE)

        self.stock.before = before

        answers, lost = [], []

        def read():
            try:
                answers.append(gw.get(self.path(['A', 'B'])))
            except (OSError, http.client.HTTPException):
                lost.append(1)

        threads = gw.crowd(read)
        penstock.wait_for(lambda: self.stock.requests)
        self.assertEqual(self.stock.requests, 1)

        # the one that asks; its clients are lost, all others get theirs
        leader = gw.connected(dport=self.upstream.port)
        self.assertEqual(len(leader), 1)
        os.kill(leader.pop(), signal.SIGKILL)

        for thread in threads:
            thread.join(penstock.DEADLINE)
        go.set()

        self.assertGreater(len(answers), 0)
        for answer in answers:
            self.expect(answer, ['A', 'B'])
        self.assertEqual(self.stock.requests, 2)

    def test_nobody_waits_longer_than_timeout(self):
        gw = self.start(read='availability_cache_valid 1h;'
                             'availability_cache_lock on timeout=300ms;')
        go = threading.Event()
        self.stock.before = lambda h: go.wait(penstock.DEADLINE)

        leader = []
        thread = threading.Thread(
            target=lambda: leader.append(gw.get(self.path(['A', 'B']))))
        thread.start()
        penstock.wait_for(lambda: self.stock.requests)

        answer = gw.get(self.path(['B']))
        self.assertEqual(answer.status, 504)
        self.assertEqual(answer.headers['Content-Type'],
                         'application/problem+json')
        self.assertLess(answer.seconds, 10)
        self.assertEqual(self.stock.requests, 1)

        go.set()
        thread.join(penstock.DEADLINE)
        self.expect(leader[0], ['A', 'B'])

    def hang(self, times, read=''):
        """The first requests that the upstream gets are never answered."""

        gw = self.start(read='availability_cache_valid 1s;'
                             'proxy_read_timeout 500ms;' + read)
        go = threading.Event()
        self.addCleanup(go.set)
        left = [times]

        def before(h):
            with self.stock.mutex:
                left[0] -= 1
                hangs = left[0] >= 0
            if hangs:
                go.wait(penstock.DEADLINE)

        self.before = before
        return gw

    def test_another_one_tries_again_where_no_answer_came_in_time(self):
        gw = self.hang(1)
        self.stock.before = self.before
        answers = penstock.together(
            [lambda: gw.get(self.path(['A', 'B']))] * 5)
        self.assertEqual(sorted(a.status for a in answers),
                         [200] * 4 + [504])
        self.assertEqual(self.stock.requests, 2)

    def test_nobody_waits_longer_to_try_again(self):
        gw = self.hang(1000, 'availability_cache_lock on timeout=1s;')
        self.stock.before = self.before
        answers = penstock.together(
            [lambda: gw.get(self.path(['A', 'B']))] * 20)
        self.assertEqual({a.status for a in answers}, {504})
        self.assertIn(self.stock.requests, range(2, 7))
        # the last one began within a second, and has its own 500 ms
        self.assertLess(max(a.seconds for a in answers), 1.5 + 1.5)

    def test_what_may_be_shown_is_where_no_answer_came_in_time(self):
        gw = self.hang(1, 'availability_cache_stale if_error=1h;')
        self.expect(gw.get(self.path(['A', 'B'])), ['A', 'B'])
        time.sleep(1.1)
        self.stock.before = self.before
        answers = penstock.together(
            [lambda: gw.get(self.path(['A', 'B']))] * 5)
        self.assertEqual({(a.status, a.headers['X-Status']) for a in answers},
                         {(200, 'STALE')})
        self.assertEqual(self.stock.requests, 2)

    def test_a_part_that_others_read(self):
        """A request waits for what another reads, and reads the rest."""

        gw = self.start()
        go = threading.Event()
        self.stock.before = \
            lambda h: go.wait(penstock.DEADLINE) if 'A' in h.path else None

        one, two = [], []
        first = threading.Thread(
            target=lambda: one.append(gw.get(self.path(['A', 'B']))))
        first.start()
        penstock.wait_for(lambda: self.stock.requests)
        second = threading.Thread(
            target=lambda: two.append(gw.get(self.path(['C', 'B', 'D']))))
        second.start()
        penstock.wait_for(lambda: self.stock.requests == 2)
        go.set()
        first.join(penstock.DEADLINE)
        second.join(penstock.DEADLINE)

        self.expect(one[0], ['A', 'B'])
        self.expect(two[0], ['C', 'B', 'D'])
        self.assertEqual({n for n in self.stock.asked.values()}, {1})


class Invalidated(Case):

    def test_a_fill_that_was_under_way(self):
        """What was invalidated while it was read serves those who wait, and
        is read again by the next."""

        gw = self.start()
        made, go = threading.Event(), threading.Event()

        def after(h):
            made.set()
            go.wait(penstock.DEADLINE)

        self.stock.after = after

        old = []
        thread = threading.Thread(
            target=lambda: old.append(gw.get(self.path(['A', 'B']))))
        thread.start()
        made.wait(penstock.DEADLINE)

        # the answer is made, an order comes through
        self.stock.numbers[('A', None)] = 1
        self.purge(gw, 'A')
        self.stock.after = lambda h: None
        go.set()
        thread.join(penstock.DEADLINE)
        self.assertEqual(old[0].status, 200)

        self.expect(gw.get(self.path(['A', 'B'])), ['A', 'B'])
        self.assertEqual(self.stock.asked[('A', None)], 2)
        self.assertEqual(self.stock.asked[('B', None)], 1)

    def test_who_comes_after_an_invalidation_does_not_wait_for_the_old(self):
        gw = self.start()
        made, go = threading.Event(), threading.Event()

        def after(h):
            if not made.is_set():
                made.set()
                go.wait(penstock.DEADLINE)

        self.stock.after = after
        old = []
        thread = threading.Thread(
            target=lambda: old.append(gw.get(self.path(['A', 'B']))))
        thread.start()
        made.wait(penstock.DEADLINE)

        self.stock.numbers[('A', None)] = 1
        self.purge(gw, 'A')
        self.expect(gw.get(self.path(['A'])), ['A'])

        go.set()
        thread.join(penstock.DEADLINE)
        self.expect(gw.get(self.path(['A', 'B'])), ['A', 'B'])

    def test_no_answer_is_older_than_an_invalidation(self):
        """Readers and writers side by side: who begins to read after an
        invalidation has been answered never sees what was before."""

        gw = self.start(workers=3)
        storm(self, gw, [gw])

    def test_stale_only_where_the_upstream_fails(self):
        gw = self.start(read='availability_cache_valid 1h;'
                             'availability_cache_stale if_error=1h;')
        self.expect(gw.get(self.path(['A', 'B'])), ['A', 'B'])

        self.stock.numbers[('A', None)] = 1
        self.purge(gw, 'A')
        self.stock.answer = lambda h: h.send(503)
        answer = gw.get(self.path(['A', 'B']))
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.headers['X-Status'], 'STALE')
        self.assertRegex(answer.headers['Cache-Status'],
                         r'fwd=stale; fwd-status=503; .*detail=if-error')
        self.assertEqual(answer.json()['items'][0]['available'], ord('A'))

        # none is held of this one
        self.assertEqual(gw.get(self.path(['A', 'C'])).status, 503)

        self.stock.answer = None
        self.expect(gw.get(self.path(['A', 'B'])), ['A', 'B'])

    def test_revalidation_behind_the_answer(self):
        gw = self.start(read='availability_cache_valid 1s;'
                             'availability_cache_stale while_revalidate=1h;')
        self.expect(gw.get(self.path(['A', 'B'])), ['A', 'B'])
        time.sleep(1.2)

        go = threading.Event()
        self.stock.before = lambda h: go.wait(penstock.DEADLINE)
        self.stock.numbers[('A', None)] = 1

        for n in range(5):
            answer = gw.get(self.path(['A', 'B']))
            self.assertEqual(answer.json()['items'][0]['available'],
                             ord('A'))

        penstock.wait_for(lambda: self.stock.requests == 2)
        go.set()
        penstock.wait_for(lambda: gw.get(self.path(['A']))
                          .json()['items'][0]['available'] == 1)


class Soft(Case):
    """Purges with a mode, of cells that nothing but a purge makes old."""

    STALE = 'availability_cache_stale while_revalidate=1h if_error=1h;'

    def begin(self, stale):
        gw = self.start(read='availability_cache_valid 1h;' + stale)
        self.expect(gw.get(self.path(['A', 'B'])), ['A', 'B'])
        self.stock.numbers[('A', None)] = 1
        return gw

    def test_shown_while_it_is_renewed(self):
        gw = self.begin(self.STALE)
        go = threading.Event()
        self.stock.before = lambda h: go.wait(penstock.DEADLINE)
        self.purge(gw, 'A', mode='soft')

        for n in range(8):
            answer = gw.get(self.path(['A', 'B']))
            self.assertEqual(answer.headers['X-Status'], 'UPDATING')
            self.assertEqual(answer.headers['Cache-Status'],
                             'Penstock; hit; ttl=0')
            self.assertEqual(answer.json()['items'][0]['available'],
                             ord('A'))

        # the other one is as fresh as before
        self.assertEqual(gw.get(self.path(['B'])).headers['X-Status'], 'HIT')

        penstock.wait_for(lambda: self.stock.requests == 2)
        go.set()
        penstock.wait_for(lambda: gw.get(self.path(['A', 'B']))
                          .headers['X-Status'] == 'HIT')
        self.expect(gw.get(self.path(['A', 'B'])), ['A', 'B'])
        self.assertEqual(self.stock.asked[('A', None)], 2)
        self.assertEqual(self.stock.asked[('B', None)], 1)

    def test_read_with_others_that_are_missing(self):
        gw = self.begin(self.STALE)
        self.purge(gw, 'A', mode='soft')
        answer = gw.get(self.path(['A', 'C']))
        self.expect(answer, ['A', 'C'])
        self.assertEqual(answer.headers['X-Status'], 'MISS')
        self.assertEqual(self.stock.requests, 2)

    def test_all(self):
        gw = self.begin(self.STALE)
        answer = gw.post('/purge', {'all': True, 'mode': 'soft'})
        self.assertEqual(answer.status, 200)
        for sku in 'A', 'B':
            self.assertEqual(gw.get(self.path([sku])).headers['X-Status'],
                             'UPDATING')
        penstock.wait_for(lambda: self.stock.requests == 3)

    def test_not_shown_where_stale_is_not_allowed(self):
        for stale in '', 'availability_cache_stale if_error=1h;':
            gw = self.begin(stale)
            self.purge(gw, 'A', mode='soft')
            answer = gw.get(self.path(['A', 'B']))
            self.expect(answer, ['A', 'B'])
            self.assertEqual(answer.headers['X-Status'], 'PARTIAL')

    def test_where_the_upstream_fails(self):
        for stale, mode, status in (
                (self.STALE, 'soft', 200), ('', 'soft', 503),
                (self.STALE, 'hard', 503), ('', 'hard', 503),
                ('availability_cache_stale if_error=1h;', 'soft', 200),
                ('availability_cache_stale if_error=1h;', 'hard', 503),
                ('availability_cache_stale while_revalidate=1h;', 'soft',
                 200),
                ('availability_cache_stale while_revalidate=1h;', 'hard',
                 503)):
            gw = self.begin(stale)
            self.stock.answer = lambda h: h.send(503)
            self.purge(gw, 'A', mode=mode)
            for n in range(2):
                answer = gw.get(self.path(['A', 'B']))
                self.assertEqual(answer.status, status, (stale, mode))

    def test_a_void_after_it_counts(self):
        for mode in None, 'hard':
            gw = self.begin(self.STALE)
            self.purge(gw, 'A', mode='soft')
            self.purge(gw, 'A', **({'mode': mode} if mode else {}))
            self.expect(gw.get(self.path(['A', 'B'])), ['A', 'B'])

    def test_a_fill_that_was_under_way(self):
        gw = self.begin(self.STALE)
        self.purge(gw, 'A')
        made, go = threading.Event(), threading.Event()

        def after(h):
            made.set()
            go.wait(penstock.DEADLINE)

        self.stock.after = after
        old = []
        thread = threading.Thread(
            target=lambda: old.append(gw.get(self.path(['A', 'B']))))
        thread.start()
        made.wait(penstock.DEADLINE)
        self.stock.after = lambda h: None
        self.stock.numbers[('A', None)] = 2
        self.purge(gw, 'A', mode='soft')
        go.set()
        thread.join(penstock.DEADLINE)

        # what it brought is from before the purge: stale
        answer = gw.get(self.path(['A']))
        self.assertEqual(answer.json()['items'][0]['available'], 1)
        self.assertEqual(answer.headers['X-Status'], 'UPDATING')
        penstock.wait_for(lambda: gw.get(self.path(['A']))
                          .json()['items'][0]['available'] == 2)


class Hosts(Case):

    def start_two(self, **kw):
        self.store = self.redis()
        self.stock = Stock()
        self.upstream = self.origin(self.stock)
        kw.setdefault('workers', 2)
        self.gws = [self.gateway(CONF, **kw, ITEMS=ONE,
                                 REDIS=REDIS % self.store.port,
                                 ZONE='redis=main',
                                 READ='availability_cache_valid 1h;',
                                 UPSTREAM=self.upstream.port)
                    for _ in range(2)]

        # until every worker of both talks to Redis
        fresh = [0]

        def shared():
            fresh[0] += 1
            sku = 'W%d' % fresh[0]
            for _ in range(2):
                self.gws[0].get(self.path([sku]))
            time.sleep(0.05)
            return all(
                'redis' in self.gws[1].get(self.path([sku]))
                .headers['Cache-Status'] for _ in range(1))

        row = [0]

        def steady():
            row[0] = row[0] + 1 if shared() else 0
            return row[0] == 8

        penstock.wait_for(steady, what='both hosts use Redis')
        self.stock.asked.clear()
        return self.gws

    def test_what_one_has_read_the_other_holds(self):
        a, b = self.start_two()
        skus = ['S%d' % n for n in range(50)]
        self.expect(a.get(self.path(skus)), skus)

        penstock.wait_for(lambda: len(self.store.command(
            'KEYS', 'penstock:cell:{a:S*')) == 50)

        more = skus[::-1] + ['T1', 'U1']
        self.expect(b.get(self.path(more)), more)
        self.assertEqual({n for n in self.stock.asked.values()}, {1})
        self.expect(b.get(self.path(more)), more)
        self.assertEqual({n for n in self.stock.asked.values()}, {1})

    def test_an_order_at_one_is_seen_at_the_other(self):
        a, b = self.start_two()

        for n in range(20):
            self.expect(a.get(self.path(['A', 'B'])), ['A', 'B'])
            self.expect(b.get(self.path(['A', 'B'])), ['A', 'B'])

            self.stock.numbers[('A', None)] = 1000 + n
            answer = a.post('/purge', {'skus': ['A']})
            self.assertLess(answer.status, 300, answer)

            # at once where it was said, soon at the other
            self.expect(a.get(self.path(['A', 'B'])), ['A', 'B'])
            penstock.wait_for(lambda: b.get(self.path(['A', 'B']))
                              .json()['items'][0]['available'] == 1000 + n,
                              what='the other host knows')

        self.assertEqual(self.stock.asked[('B', None)], 1)

    def test_no_answer_is_older_than_an_invalidation(self):
        a, b = self.start_two()
        storm(self, a, [a])

    def test_nor_where_workers_are_killed(self):
        """On both hosts, in the middle of anything."""

        a, b = self.start_two(workers=3, allow=[r'exited on signal 9',
                                                r'was locked by',
                                                r'died while it wrote'])
        rnd = random.Random(7)
        end = time.monotonic() + 6
        killed = [0]

        def kill():
            while time.monotonic() < end:
                time.sleep(rnd.random() * 0.3)
                gw = rnd.choice((a, b))
                os.kill(rnd.choice(gw.workers()), signal.SIGKILL)
                killed[0] += 1
                penstock.wait_for(lambda: len(gw.workers()) == 3)

        # what a link that is gone may hide, and a second's trust
        counts = storm(self, a, [a], 6, others=[b], late=2.5, beside=[kill],
                       lost=(OSError, http.client.HTTPException))
        print('\n%d workers killed: %d purges, %d answers, %d clients lost '
              'theirs' % (killed[0], *counts))
        self.assertGreater(killed[0], 10)
        self.stock.before = self.stock.after = lambda h: None
        skus = ['S%d' % n for n in range(30)]
        self.expect(a.get(self.path(skus)), skus)
        penstock.wait_for(lambda: b.get(self.path(skus)).json()['items']
                          == a.get(self.path(skus)).json()['items'])

    def test_without_redis_each_goes_on(self):
        a, b = self.start_two()
        self.expect(a.get(self.path(['A', 'B'])), ['A', 'B'])
        self.store.stop()
        self.expect(a.get(self.path(['B', 'C'])), ['B', 'C'])
        self.expect(b.get(self.path(['B', 'C'])), ['B', 'C'])


if __name__ == '__main__':
    unittest.main()
