"""The cache of several gateways through one Redis, and what is left of it
when Redis is slow, gone, empty or full of garbage.

A and B are two hosts: two nginx with a zone each, one ERP, one Redis.
"""

import http.client
import json
import os
import random
import socket
import threading
import time
import unittest

import penstock

CONF = '''
    redis main {
        server 127.0.0.1:%%REDIS%%;
        timeout connect=200ms command=100ms;
    }

    availability_zone a:4m redis=main;

    server {
        listen 127.0.0.1:%%PORT%%;

        location = /availability {
            availability_cache       a;
            availability_cache_key   $request_uri;
            availability_cache_tag   arg=sku;
            %%READ%%
            add_header X-Status $availability_cache_status always;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location = /orders {
            availability_invalidate zone=a /lines/*/sku;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location = /purge {
            availability_purge zone=a;
        }

        location = /status {
            penstock_status;
        }
    }
'''

# "bounded trust": what a host holds is not used longer without asking Redis
TRUST = 1.0

ZONE = 'penstock:av:{a}'


class RedisCase(penstock.TestCase):

    def start(self, *options, gateways=2, workers=2, read='', redis=None):
        self.store = redis or self.redis()
        self.erp_ = self.erp(*(options or ('--max-age', '60',
                                           '--latency', '5ms')))
        self.gw = [self.gateway(CONF, workers=workers, READ=read,
                                REDIS=getattr(redis, 'port', None)
                                or self.store.port, ERP=self.erp_.port)
                   for _ in range(gateways)]
        return self.gw

    def control(self, **said):
        answer = self.erp_.request('POST', '/__control', body=said)
        self.assertEqual(answer.status, 200, answer)

    def stats(self):
        return self.erp_.request('GET', '/__stats').json()

    def reads(self):
        return self.stats()['reads']

    def read(self, gw, sku='D', **kw):
        answer = gw.get('/availability?sku=%s&location=L1' % sku, **kw)
        return answer

    def number(self, gw, sku='D'):
        answer = self.read(gw, sku)
        self.assertEqual(answer.status, 200, answer)
        return answer.json()['items'][0]['available']

    def order(self, gw, n, sku='D'):
        return gw.post('/orders', {
            'order_id': str(n), 'customer': 'c',
            'lines': [{'sku': sku, 'location': 'L1', 'quantity': 1}]})

    def up(self, gw):
        """Waits until each worker uses Redis: ten fills in a row get there.
        """

        row = [0]

        def check():
            before = set(self.keys(ZONE + ':r:*'))
            self.fresh += 1
            gw.get('/availability?sku=C&x=%d' % self.fresh)
            end = time.monotonic() + 0.3
            while not set(self.keys(ZONE + ':r:*')) - before:
                if time.monotonic() > end:
                    row[0] = 0
                    return False
                time.sleep(0.002)
            row[0] += 1
            return row[0] == 10

        penstock.wait_for(check, what='all workers use Redis', step=0.05)

    fresh = 0

    def keys(self, pattern):
        return self.store.command('KEYS', pattern)


class Shared(RedisCase):

    def test_a_fill_on_a_is_a_hit_on_b(self):
        a, b = self.start()
        first = self.read(a)
        self.assertEqual(first.headers['X-Status'], 'MISS')
        penstock.wait_for(lambda: self.keys(ZONE + ':r:*'))
        answer = self.read(b)
        self.assertEqual(answer.headers['X-Status'], 'HIT')
        self.assertRegex(answer.headers['Cache-Status'],
                         r'^Penstock; hit; ttl=\d+; detail=redis$')
        self.assertEqual(answer.body, first.body)
        self.assertEqual(answer.headers['ETag'], first.headers['ETag'])
        self.assertEqual(answer.headers['Content-Type'],
                         first.headers['Content-Type'])
        self.assertEqual(self.read(b).headers['Cache-Status'].count('redis'),
                         0)
        self.assertEqual(self.reads(), 1)
        self.assertEqual(b.metric('penstock_availability_requests_total',
                                     result='redis_hit'), 1)

        # what is kept there: one hash, one record, with an end
        record = self.keys(ZONE + ':r:*')
        self.assertEqual(len(record), 1)
        self.assertRegex(record[0], r':r:[0-9a-f]{64}$')
        self.assertGreater(self.store.command('PTTL', record[0]), 50000)
        self.assertLessEqual(self.store.command('PTTL', record[0]), 60000)
        self.assertEqual(self.store.command('HKEYS', ZONE), ['clock'])
        self.assertRegex(self.store.command('GET', ZONE + ':epoch'),
                         r'^\d{16}$')

    def test_what_is_held_here_is_asked_for_there_in_time(self):
        """After the trust has ended a hit still is one: Redis confirms it."""

        a, b = self.start()
        self.read(a)
        end = time.monotonic() + 3.5
        while time.monotonic() < end:
            self.assertEqual(self.read(a).headers['X-Status'], 'HIT')
            time.sleep(0.02)
        self.assertEqual(self.reads(), 1)

    def test_an_order_on_a_is_seen_on_b(self):
        a, b = self.start()
        for n in range(5):
            before = self.number(a)
            self.assertEqual(self.number(b), before)
            self.assertEqual(self.order(a, n).status, 201)
            done = time.monotonic()
            self.assertEqual(self.number(a), before - 1)

            asked = time.monotonic()
            while self.number(b) != before - 1:
                self.assertLess(asked - done, TRUST + 0.15)
                asked = time.monotonic()
                time.sleep(0.01)

        self.assertTrue(self.keys(ZONE + ':t:D'))
        self.assertGreater(self.store.command('PTTL', ZONE + ':t:D'),
                           7 * 86400 * 1000)

    def test_a_purge_on_a_is_seen_on_b(self):
        a, b = self.start()
        self.number(a)
        self.number(b)
        reads = self.reads()
        self.assertEqual(a.post('/purge', {'all': True}).status, 200)
        time.sleep(TRUST + 0.1)
        self.number(b)
        self.number(a)
        self.assertEqual(self.reads(), reads + 1)

    def test_a_slow_fill_on_b_is_not_trusted_longer(self):
        """B's fill has the old number and takes 2 s; A takes an order in the
        middle.  When the fill ends, B may not believe it for another second.
        """

        stock = {'n': 10}

        def serve(h):
            if h.command == 'POST':
                stock['n'] -= 1
                h.send(201, 'made')
                return
            n = stock['n']
            if 'X-Slow' in h.headers:
                time.sleep(2)
            h.send(200, str(n), {'Cache-Control': 'max-age=60'})

        origin = self.origin(serve)
        store = self.store = self.redis()
        # a host that Redis does not answer in time knows of no order
        conf = CONF.replace('connect=200ms command=100ms',
                            'connect=5s command=5s')
        a, b = [self.gateway(conf, workers=2, READ='', REDIS=store.port,
                             ERP=origin.port) for _ in range(2)]
        for gw in a, b:
            gw.wait_live()
        slow = threading.Thread(
            target=lambda: self.read(b, headers={'X-Slow': '1'}))
        slow.start()
        penstock.wait_for(lambda: origin.requests)
        self.assertEqual(self.order(a, 1).status, 201)
        time.sleep(TRUST)
        slow.join()
        for gw in b, a:
            answer = self.read(gw)
            self.assertEqual(answer.text, '9', answer.headers.items())

    def test_a_fill_on_a_that_an_order_on_b_voids_is_void_everywhere(self):
        stock = {'n': 10}

        def serve(h):
            if h.command == 'POST':
                stock['n'] -= 1
                h.send(201, 'made')
                return
            n = stock['n']
            if 'X-Slow' in h.headers:
                time.sleep(1.5)
            h.send(200, str(n), {'Cache-Control': 'max-age=60'})

        origin = self.origin(serve)
        store = self.store = self.redis()
        a, b, c = [self.gateway(CONF, workers=2, READ='', REDIS=store.port,
                                ERP=origin.port) for _ in range(3)]
        slow = threading.Thread(
            target=lambda: self.read(a, headers={'X-Slow': '1'}))
        slow.start()
        penstock.wait_for(lambda: origin.requests)
        self.assertEqual(self.order(b, 1).status, 201)
        slow.join()
        penstock.wait_for(lambda: self.keys(ZONE + ':r:*'))
        self.assertEqual(self.read(c).text, '9')
        self.assertEqual(self.read(b).text, '9')

    def test_orders_and_reads_on_two_hosts(self):
        """Own host: nothing old, ever.  Other host: within the trust."""

        a, b = self.start('--max-age', '60', '--latency', '5ms',
                          '--concurrency', '0')
        for n in range(4):
            self.erp_.request('POST', '/__stock', body={
                'sku': 'S%d' % n, 'location': 'L1', 'available': 1000})
        end = time.monotonic() + 8
        late = []

        def channel(n):
            own, other = (a, b) if n % 2 else (b, a)
            sku, left, past = 'S%d' % n, 1000, []
            for i in range(60):
                if time.monotonic() > end:
                    break
                answer = self.order(own, '%d-%d' % (n, i), sku)
                self.assertEqual(answer.status, 201, answer)
                left -= 1
                past.append((time.monotonic(), left))
                for _ in range(2):
                    self.assertEqual(self.number(own, sku), left)
                asked = time.monotonic()
                number = self.number(other, sku)
                # what was true at any moment of the trust may be said
                old = [t for t, value in past if value < number]
                if old and asked - old[0] > TRUST + 0.1:
                    late.append(asked - old[0])

        penstock.together([lambda n=n: channel(n) for n in range(4)])
        self.assertEqual(late, [])


class Down(RedisCase):

    def test_killed_and_back_empty(self):
        a, b = self.start()
        before = self.number(a)
        self.number(b)
        self.store.kill()

        for n in range(3):
            self.assertEqual(self.order(a, n).status, 201)
            self.assertEqual(self.number(a), before - n - 1)
        time.sleep(TRUST + 0.1)
        self.assertEqual(self.number(b), before - 3)

        # what was filled meanwhile is hit here, for as long as it is trusted
        self.assertEqual(self.read(a).status, 200)

        self.store.forget()
        self.store.start()
        self.up(a)
        self.up(b)
        time.sleep(TRUST)
        self.assertEqual(self.order(a, 'x').status, 201)
        time.sleep(TRUST + 0.1)
        self.assertEqual(self.number(b), before - 4)
        self.assertEqual(self.number(a), before - 4)
        for gw in a, b:
            self.assertEqual(self.read(gw).headers['X-Status'], 'HIT')

    def test_never_there(self):
        self.store = self.redis()
        port = self.store.port
        self.store.kill()
        self.erp_ = self.erp('--max-age', '60')
        gw = self.gateway(CONF, READ='', REDIS=port, ERP=self.erp_.port)
        answers = penstock.together([lambda: self.read(gw)] * 10)
        self.assertEqual({x.status for x in answers}, {200})
        self.assertEqual(self.order(gw, 1).status, 201)
        self.assertEqual(self.number(gw), 999)
        self.assertEqual(self.read(gw).headers['X-Status'], 'HIT')
        self.assertLessEqual(self.reads(), 3)

    def test_emptied(self):
        """FLUSHALL takes the invalidations along: what was filled before
        them must not come back to life."""

        a, b = self.start()
        before = self.number(a)
        self.number(b)
        self.assertEqual(self.order(a, 1).status, 201)
        self.store.command('FLUSHALL')
        time.sleep(TRUST + 0.1)
        for gw in b, a, b:
            self.assertEqual(self.number(gw), before - 1)

    def test_frozen(self):
        a, b = self.start()
        self.number(a)
        self.store.freeze()
        self.addCleanup(self.store.thaw)

        time.sleep(TRUST + 0.1)
        answers = penstock.together([lambda: self.read(a)] * 10)
        self.assertEqual({x.status for x in answers}, {200})
        # the command's timeout, not more; the ERP's 5 ms, a slow machine
        self.assertLess(max(x.seconds for x in answers), 2.5)

        # an order waits as long for Redis, and is answered
        answer = self.order(a, 1)
        self.assertEqual(answer.status, 201)
        self.assertLess(answer.seconds, 2.5)
        self.assertEqual(self.number(a), 999)

        self.store.thaw()
        self.up(a)
        self.up(b)
        time.sleep(TRUST + 0.1)
        self.assertEqual(self.number(b), 999)

    def test_an_invalidation_that_was_lost_voids_the_zone(self):
        """A takes an order while it can't reach Redis, which B can: when A
        reaches it again, all of the zone is void, B's old number too."""

        self.store = self.redis()
        proxy = Proxy(self.store.port)
        self.addCleanup(proxy.teardown)
        self.erp_ = self.erp('--max-age', '60', '--latency', '5ms')
        a = self.gateway(CONF, workers=2, READ='', REDIS=proxy.port,
                         ERP=self.erp_.port)
        b = self.gateway(CONF, workers=2, READ='', REDIS=self.store.port,
                         ERP=self.erp_.port)
        self.assertEqual(self.number(b), 1000)
        self.assertEqual(self.number(a), 1000)

        proxy.cut()
        self.assertEqual(self.order(a, 1).status, 201)
        self.assertEqual(self.number(a), 999)
        time.sleep(TRUST + 0.1)
        # B can't know
        self.assertEqual(self.number(b), 1000)

        proxy.mend()
        epoch = self.store.command('GET', ZONE + ':epoch')

        # nobody needs to ask A for that

        penstock.wait_for(
            lambda: self.store.command('GET', ZONE + ':epoch') != epoch,
            what='the zone is void', step=0.05)
        time.sleep(TRUST + 0.1)
        self.assertEqual(self.number(b), 999)
        self.assertEqual(self.number(a), 999)

    def test_own_orders_while_redis_comes_and_goes(self):
        self.store = self.redis()
        proxy = Proxy(self.store.port)
        self.addCleanup(proxy.teardown)
        self.erp_ = self.erp('--max-age', '60', '--latency', '2ms',
                             '--concurrency', '0')
        a = self.gateway(CONF, workers=2, READ='', REDIS=proxy.port,
                         ERP=self.erp_.port)
        left = 1000
        end = time.monotonic() + 8
        stop = threading.Event()

        def flap():
            while not stop.wait(0.4):
                proxy.cut()
                if stop.wait(0.3):
                    break
                proxy.mend()

        thread = threading.Thread(target=flap)
        thread.start()
        try:
            n = 0
            while time.monotonic() < end and n < 900:
                n += 1
                self.assertEqual(self.order(a, n).status, 201)
                left -= 1
                for _ in range(3):
                    self.assertEqual(self.number(a), left, n)
        finally:
            stop.set()
            thread.join()
        self.assertGreater(n, 20)


class Slow(RedisCase):

    def test_an_order_overtakes_a_slow_workers_invalidation(self):
        """The order's worker is slow to reach Redis; other workers fetch the
        old record from there meanwhile.  After the order's answer none of
        them may show it."""

        self.store = self.redis()
        proxy = Proxy(self.store.port)
        self.addCleanup(proxy.teardown)
        self.erp_ = self.erp('--max-age', '60', '--latency', '2ms',
                             '--concurrency', '0')
        a = self.gateway(CONF, workers=4, READ='', REDIS=proxy.port,
                         ERP=self.erp_.port)
        self.up(a)
        # half of the connections take 60 ms to Redis, the others none
        proxy.delay = 0.06
        left = 1000
        stop = threading.Event()

        def browse():
            while not stop.is_set():
                self.read(a)

        threads = [threading.Thread(target=browse) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for n in range(30):
                self.number(a)
                self.assertEqual(self.order(a, n).status, 201)
                left -= 1
                for _ in range(4):
                    self.assertEqual(self.number(a), left, n)
        finally:
            stop.set()
            for thread in threads:
                thread.join()


class Stale(RedisCase):

    def poll(self, gw, seconds, **kw):
        """Reads on one connection while that is kept; the answers.  A
        connection that ends must have been announced."""

        end = time.monotonic() + seconds
        answers, connection = [], None
        while time.monotonic() < end:
            if connection is None:
                connection = http.client.HTTPConnection(
                    '127.0.0.1', gw.port, timeout=10)
            start = time.monotonic()
            connection.request('GET', '/availability?sku=D&location=L1')
            response = connection.getresponse()
            answers.append((response.status, response.headers['X-Status'],
                            time.monotonic() - start, response.read()))
            if response.headers['Connection'] == 'close':
                connection.close()
                connection = None
            time.sleep(0.02)
        if connection:
            connection.close()
        return answers

    def test_while_revalidate(self):
        gw, = self.start('--max-age', '1', '--latency', '400ms', gateways=1,
                         workers=1,
                         read='availability_cache_stale while_revalidate=60s;')
        self.read(gw)
        answers = self.poll(gw, 6)
        self.assertEqual({a[0] for a in answers}, {200})
        self.assertEqual({a[1] for a in answers}, {'HIT', 'UPDATING'})
        # nobody waits for the ERP
        self.assertLess(sorted(a[2] for a in answers)[-2], 0.35)
        # renewed more than once, by a 304 where the numbers are the same
        renewed = [(a[1], b[1]) for a, b in zip(answers, answers[1:])]
        self.assertGreaterEqual(renewed.count(('UPDATING', 'HIT')), 2)
        self.assertGreaterEqual(self.reads(), 3)

    def test_while_revalidate_and_redis_freezes(self):
        gw, = self.start('--max-age', '1', '--latency', '50ms', gateways=1,
                         workers=1,
                         read='availability_cache_stale while_revalidate=60s;')
        self.read(gw)
        answers = self.poll(gw, 2)
        self.store.freeze()
        self.addCleanup(self.store.thaw)
        answers += self.poll(gw, 3)
        self.store.thaw()
        answers += self.poll(gw, 2)
        self.assertEqual({a[0] for a in answers}, {200})
        self.assertLess(max(a[2] for a in answers), 1.5)

    def test_clients_leave_in_a_background_look(self):
        gw, = self.start('--max-age', '1', '--latency', '50ms', gateways=1,
                         workers=1,
                         read='availability_cache_stale while_revalidate=60s;')
        self.read(gw)
        self.store.freeze()
        self.addCleanup(self.store.thaw)
        end = time.monotonic() + 4
        while time.monotonic() < end:
            s = socket.create_connection(('127.0.0.1', gw.port), 5)
            s.sendall(b'GET /availability?sku=D&location=L1 HTTP/1.1\r\n'
                      b'Host: a\r\n\r\n')
            time.sleep(random.random() * 0.03)
            s.close()
        self.store.thaw()
        self.assertEqual(self.read(gw).status, 200)

    def test_if_error(self):
        gw, other = self.start('--max-age', '1', '--latency', '5ms',
                               workers=1,
                               read='availability_cache_stale if_error=60s;')
        self.read(gw)
        time.sleep(1.2)
        self.erp_.kill()
        for _ in range(3):
            answer = self.read(gw)
            self.assertEqual(answer.status, 200)
            self.assertEqual(answer.headers['X-Status'], 'STALE')
        self.store.kill()
        time.sleep(TRUST + 0.1)
        self.assertEqual(self.read(gw).headers['X-Status'], 'STALE')
        self.assertEqual(self.read(other).status, 502)


class Garbage(RedisCase):

    def test_records(self):
        gw, = self.start(gateways=1, workers=1)
        self.read(gw)
        key, = penstock.wait_for(lambda: self.keys(ZONE + ':r:*'))
        good = self.raw_value(key)
        rnd = random.Random(1)

        def mutated():
            data = bytearray(good)
            for _ in range(rnd.randrange(1, 4)):
                at = rnd.randrange(len(data))
                kind = rnd.randrange(3)
                if kind == 0:
                    data[at] = rnd.randrange(256)
                elif kind == 1:
                    del data[at:]
                else:
                    data[at:at] = bytes(rnd.randrange(256)
                                        for _ in range(rnd.randrange(9)))
                if not data:
                    data = bytearray(b'P')
            return bytes(data)

        garbage = [b'', b'PSR2', b'x' * 5, b'PSR2' + b'\xff' * 40,
                   b'PSR1' + good[4:], b'PSR2' + b'\0' * 40, good[:-1],
                   good + b'x', good[1:], b'x' * 600000] + [mutated() for _ in range(60)]

        for data in garbage:
            # void what is held here, so that Redis is asked; then the
            # garbage, as young as can be
            gw.post('/purge', {'all': True})
            self.store.command('SET', key, data)
            answer = self.read(gw)
            self.assertEqual(answer.status, 200)
            self.assertEqual(json.loads(answer.body)['items'][0]['available'],
                             1000)
            self.assertIn(answer.headers['X-Status'], ('MISS', 'EXPIRED'),
                          data)

    def raw_value(self, key):
        value = self.store.command('GET', key)
        return value if isinstance(value, bytes) else value.encode()

    def test_young_records(self):
        """The same where nothing voids them, so that only the parser and
        what it says are between garbage and the client."""

        gw, other = self.start('--max-age', '600', '--latency', '1ms',
                               workers=1)
        rnd = random.Random(2)
        for n in range(60):
            path = '/availability?sku=D&location=L1&x=%d' % n
            before = set(self.keys(ZONE + ':r:*'))
            gw.get(path)
            key, = penstock.wait_for(
                lambda: set(self.keys(ZONE + ':r:*')) - before)
            data = bytearray(self.raw_value(key))
            # not the body: nobody signs it
            for _ in range(rnd.randrange(1, 3)):
                at = rnd.randrange(44 + 11)
                data[at] = rnd.choice((0, 1, 0x7f, 0x80, 0xff,
                                       rnd.randrange(256)))
            self.store.command('SET', key, bytes(data))
            answer = other.get(path)
            self.assertEqual(answer.status, 200)
            json.loads(answer.body)

    def test_a_record_from_the_future(self):
        """It would stay fresh until then."""

        gw, other = self.start(workers=1)
        self.read(gw)
        key, = penstock.wait_for(lambda: self.keys(ZONE + ':r:*'))
        data = bytearray(self.raw_value(key))
        for ahead in 60, 86400, 1 << 40, 1 << 52:
            created = int(time.time() * 1000) + ahead * 1000
            data[24:32] = (created & (1 << 64) - 1).to_bytes(8, 'little')
            self.store.command('SET', key, bytes(data))
            self.assertEqual(self.read(other).headers['X-Status'], 'MISS')
            other.stop()
            other.start()

    def test_types_and_values_of_the_other_keys(self):
        gw, = self.start(gateways=1, workers=1)
        values = ['', 'x', '-1', '0', '1e300', 'inf', '-inf', 'nan', '0x10',
                  '9' * 400, '1' * 16, '1' * 18, '99999999999999999',
                  b'\xff\0\x01', '1.5', ' 1']
        left = 1000
        n = 0

        def spoil(act):
            nonlocal left, n
            for command in act:
                self.store.command(*command)
            for _ in range(2):
                self.assertEqual(self.number(gw), left, act)
            n += 1
            self.assertEqual(self.order(gw, n).status, 201)
            left -= 1
            for _ in range(2):
                self.assertEqual(self.number(gw), left, act)
            time.sleep(TRUST / 2 + 0.05)
            self.assertEqual(self.number(gw), left, act)

        tag = ZONE + ':t:D'
        for value in values:
            spoil([('SET', tag, value)])
        for key in tag, ZONE:
            spoil([('DEL', key), ('LPUSH', key, 'x')])
            spoil([('DEL', key), ('SADD', key, 'x')])
            self.store.command('DEL', key)
        spoil([('DEL', ZONE), ('SET', ZONE, 'x')])
        self.store.command('DEL', ZONE)
        for value in values:
            spoil([('HSET', ZONE, 'clock', value)])
        self.store.command('DEL', ZONE)
        for value in values:
            spoil([('SET', ZONE + ':epoch', value)])
        self.store.command('DEL', ZONE + ':epoch')

        # and when the garbage is gone it works again
        spoil([('FLUSHALL',)])
        self.number(gw)
        time.sleep(0.2)
        self.assertEqual(self.read(gw).headers['X-Status'], 'HIT')

    def test_another_zones_records_are_not_ours(self):
        """A record of another key's, moved: it is a valid record.  Whoever
        can write to Redis can lie; but a mere mix-up of tags shows."""

        gw, = self.start(gateways=1, workers=1)
        self.number(gw, 'A')
        self.number(gw, 'D')
        self.assertEqual(self.order(gw, 1, 'A').status, 201)
        self.assertEqual(self.number(gw, 'D'), 1000)


class Proxy:
    """A TCP relay to Redis.  cut(): connections die and none is accepted
    until mend().  delay: every second connection is that slow."""

    def __init__(self, port):
        self.to = port
        self.port = penstock.free_port()
        self.delay = 0
        self.open = True
        self.ends = set()
        self.n = 0
        self.mutex = threading.Lock()
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(('127.0.0.1', self.port))
        self.listener.listen(64)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with self.mutex:
                self.n += 1
                slow = self.n % 2 == 0
                if not self.open:
                    client.close()
                    continue
                try:
                    server = socket.create_connection(
                        ('127.0.0.1', self.to), 5)
                except OSError:
                    client.close()
                    continue
                for s in client, server:
                    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.ends |= {client, server}
            for pair in (client, server), (server, client):
                threading.Thread(target=self.relay, daemon=True,
                                 args=pair + (slow and pair[0] is client,)
                                 ).start()

    def relay(self, here, there, slow):
        try:
            while True:
                data = here.recv(65536)
                if not data:
                    break
                if slow and self.delay:
                    time.sleep(self.delay)
                there.sendall(data)
        except OSError:
            pass
        self.shut(here, there)

    def shut(self, *ends):
        for s in ends:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            with self.mutex:
                if s in self.ends:
                    self.ends.discard(s)
                    s.close()

    def cut(self):
        with self.mutex:
            self.open = False
            ends = list(self.ends)
        self.shut(*ends)

    def mend(self):
        self.open = True

    def teardown(self):
        self.cut()
        self.listener.close()


if __name__ == '__main__':
    unittest.main()
