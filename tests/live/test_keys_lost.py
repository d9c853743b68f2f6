"""What is left of a key where its record is lost halfway: Redis dies between
the ERP's answer and the record of it, the zone is full, a worker dies inside
of the zone. Each order is in the ERP once or not at all, and the client was
told the truth.
"""

import glob
import os
import re
import socket
import threading
import time
import unittest

import penstock
import test_idempotency as base


class Link(threading.Thread):
    """Between a gateway and its Redis, which is killed when a claim or the
    record of an outcome comes: before it has that or before it can tell."""

    CLAIM = b'\r\n$1\r\nn\r\n'
    RECORD = b'\r\ndone\r\n'

    def __init__(self, store):
        super().__init__(daemon=True)
        self.store, self.killed = store, threading.Event()
        self.what, self.when = None, None
        self.socket = socket.create_server(('127.0.0.1', 0))
        self.port = self.socket.getsockname()[1]
        self.start()

    def close(self):
        self.socket.close()

    def run(self):
        while True:
            try:
                here = self.socket.accept()[0]
            except OSError:
                return
            try:
                there = socket.create_connection(('127.0.0.1',
                                                  self.store.port))
            except OSError:
                here.close()
                continue
            threading.Thread(target=self.serve, args=(here, there),
                             daemon=True).start()

    def serve(self, here, there):
        state = {}
        back = threading.Thread(target=self.pump, daemon=True,
                                args=(there, here, self.answer, state))
        back.start()
        self.pump(here, there, self.question, state)
        back.join()
        here.close()
        there.close()

    def pump(self, source, sink, look, state):
        try:
            while True:
                data = source.recv(65536)
                if not data or not look(data, state):
                    break
                sink.sendall(data)
        except OSError:
            pass
        for s in source, sink:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def question(self, data, state):
        if self.when and self.what in data:
            if self.when == 'before':
                self.kill()
                return False
            state['armed'] = True
        return True

    def answer(self, data, state):
        if state.get('armed'):
            # Redis has done it, or it had nothing to say
            self.kill()
            return False
        return True

    def kill(self):
        self.when = None
        self.store.kill()
        self.killed.set()


class RedisDies(base.Case):

    def redis(self):
        store = super().redis('--appendonly', 'yes', '--appendfsync',
                              'always')
        self.link = Link(store)
        self.addCleanup(self.link.close)
        return store

    def gateway(self, conf, **kw):
        return super().gateway(conf, **dict(
            kw, REDIS_BLOCK=base.REDIS % self.link.port))

    def begin(self):
        self.start(redis=True, workers=1)
        self.assertEqual(self.send('warm', base.order()).status, 201)

    def lose(self, when):
        """The client hears the ERP whatever becomes of the record."""

        self.link.what, self.link.when = Link.RECORD, when
        first = self.send('k')
        self.assertTrue(self.link.killed.wait(penstock.DEADLINE))
        self.assertEqual(first.status, 201)
        self.gw[0].wait_log('could not be kept')
        self.assertEqual(self.send('k').status, 503)
        self.assertEqual(self.stats()['writes'], 2)
        self.store.forget()
        self.store.start()
        return first

    def lose_claim(self, when):
        """Nothing is sent where it is not known whose the key is."""

        self.link.what, self.link.when = Link.CLAIM, when
        first = self.send('k')
        self.assertTrue(self.link.killed.wait(penstock.DEADLINE))
        self.assertEqual((first.status, self.kind(first)),
                         (503, 'idempotency-unavailable'))
        self.assertEqual(self.stats()['writes'], 1)
        self.store.forget()
        self.store.start()

    def back(self):
        """The first answer about the key that is none of Redis being away"""

        return penstock.wait_for(
            lambda: (lambda a: a if a.status != 503 else None)(
                self.send('k')), step=0.05)

    def test_before_it_has_the_claim(self):
        self.begin()
        self.lose_claim('before')
        self.assertEqual(self.back().status, 201)
        self.assertEqual(self.stats()['writes'], 2)

    def test_before_it_grants_the_claim(self):
        """It can't be taken back: unknown after its lease, and not sent."""

        self.begin()
        self.lose_claim('after')
        self.assertEqual(self.back().status, 409)
        answer = penstock.wait_for(
            lambda: (lambda a: a if self.kind(a)
                     == 'idempotency-unknown-outcome' else None)(
                self.send('k')), step=0.2)
        self.assertEqual(answer.status, 409)
        self.assertEqual(self.stats()['writes'], 1)

    def test_before_it_has_the_record(self):
        """In progress until the lease ends, then unknown; never again."""

        self.begin()
        self.lose('before')
        self.assertEqual(self.back().status, 409)
        answer = penstock.wait_for(
            lambda: (lambda a: a if self.kind(a)
                     == 'idempotency-unknown-outcome' else None)(
                self.send('k')), step=0.2)
        self.assertEqual(answer.status, 409)
        self.assertEqual(self.stats()['writes'], 2)

    def test_before_it_says_so(self):
        """Redis has kept the answer, which is the same ever after."""

        self.begin()
        first = self.lose('after')
        again = self.back()
        self.assertEqual((again.status, again.body,
                          again.headers['Idempotent-Replayed']),
                         (201, first.body, 'true'))
        self.assertEqual(self.stats()['writes'], 2)


class FullZone(base.Case):
    """Nothing is evicted; what can't be kept is not sent."""

    def gateway(self, conf, **kw):
        return super().gateway(conf.replace('orders:1m', 'orders:32k'), **kw)

    def fill(self):
        """Sends orders until the zone is full; returns those it took."""

        kept = []
        while True:
            key, body = 'f%d' % len(kept), base.order()
            answer = self.send(key, body)
            if answer.status != 201:
                break
            kept.append((key, body, answer))
            self.assertLess(len(kept), 1000)
        self.assertEqual((answer.status, self.kind(answer)),
                         (503, 'idempotency-unavailable'))
        self.assertIn('Retry-After', answer.headers)
        return kept

    def test_refuses(self):
        self.start()
        kept = self.fill()
        self.assertGreater(len(kept), 10)
        for n in range(5):
            self.assertEqual(self.send('more%d' % n, base.order()).status,
                             503)
        self.assertEqual(self.stats()['writes'], len(kept))
        self.gw[0].wait_log('idempotency_zone "orders" is full')
        # of each it knows that it was done, and of most the answer
        replayed = 0
        for key, body, answer in kept:
            again = self.send(key, body)
            if again.status == 409:
                self.assertEqual(self.kind(again),
                                 'idempotency-answer-not-kept')
                continue
            replayed += 1
            self.assertEqual((again.status, again.body),
                             (201, answer.body))
        self.assertGreater(replayed, 2)
        self.assertEqual(self.stats()['writes'], len(kept))
        # without a key it is none of the zone's business
        self.assertEqual(self.send(None, base.order()).status, 201)

    def test_goes_on(self):
        """There is room again as keys run out."""

        self.start(idempotency='ttl=3s')
        self.fill()
        penstock.wait_for(lambda: self.send('new', self.body).status == 201,
                          step=0.2)
        self.assertEqual(self.send('new', self.body).headers[
            'Idempotent-Replayed'], 'true')


class WorkerDies(base.Case):
    """At each moment inside of the zone that the sources name."""

    # those in the allocator, after which nothing new can be taken in
    ALLOCATOR = {'keys-allocating', 'keys-freeing'}

    # those that are come by when keys have run out
    WHEN_KEYS_END = {'keys-freeing', 'keys-unlinked'}

    POINTS = sorted(name for path in glob.glob(os.path.join(
        penstock.ROOT, 'modules/erp/*.c')) for name in re.findall(
            r'kill_point\("(keys-[\w-]+)"\)', open(path).read()))

    def gateway(self, conf, **kw):
        conf = conf.replace('orders:1m', 'orders:32k')
        conf = conf.replace('lease=2s', 'lease=1s')
        conf = conf.replace('location = /status {', '''
            location /kill { probe_kill; }
            location = /status {''')
        return super().gateway(conf, module=penstock.PROBE_MODULE, **dict(
            kw, allow=['exited on signal 9', 'was locked by']))

    def lost(self, *args):
        try:
            return self.send(*args)
        except (OSError, penstock.http.client.HTTPException):
            return None

    def die(self, point):
        """Orders until a worker has died with one; that one's key."""

        before = set(self.gw[0].workers())
        self.gw[0].get('/kill?point=%s&after=1' % point)
        for n in range(200):
            key, body = 'd%d' % n, base.order()
            if self.lost(key, body) is None:
                break
        penstock.wait_for(lambda: len(set(self.gw[0].workers()) - before) == 1
                          and len(self.gw[0].workers()) == 2,
                          what='a worker dies at ' + point)
        return key, body

    def orders(self, body):
        return self.erp_.request('GET', '/orders/' + body['order_id']).status

    def test_each(self):
        self.assertGreaterEqual(len(self.POINTS), 6)
        for point in self.POINTS:
            with self.subTest(point):
                ends = point in self.WHEN_KEYS_END
                self.start(idempotency='ttl=2s' if ends else '')
                if ends:
                    for n in range(4):
                        self.assertEqual(self.send('o%d' % n,
                                                   base.order()).status, 201)
                    time.sleep(2.1)
                known, its = 'known', base.order()
                if point not in self.ALLOCATOR:
                    self.assertEqual(self.send(known, its).status, 201)
                key, body = self.die(point)
                there = self.orders(body)
                writes = self.stats()['writes']
                again = self.lost(key, body)
                if point in self.ALLOCATOR:
                    self.assertEqual(again.status, 503)
                    self.gw[0].wait_log('died in the allocator of '
                                        'idempotency_zone "orders"')
                    self.assertEqual(self.send('new', base.order()).status,
                                     503)
                    self.assertEqual(self.stats()['writes'], writes)
                    # restarted, it is as new
                    self.gw[0].stop()
                    self.gw[0].start()
                    self.assertEqual(self.send('new', base.order()).status,
                                     201)
                    continue
                # held by a dead worker, or never taken in; never twice
                self.assertIn(again.status, (201, 409))
                self.assertEqual(again.status == 201,
                                 self.stats()['writes'] == writes + 1)
                if there == 200:
                    self.assertEqual(again.status, 409)
                # the others go on
                self.assertEqual(self.send(known, its).headers.get(
                    'Idempotent-Replayed'), 'true')
                for n in range(20):
                    new = base.order()
                    self.assertEqual(self.send('n%d' % n, new).status, 201)
                    self.assertEqual(self.send('n%d' % n, new).headers.get(
                        'Idempotent-Replayed'), 'true')


if __name__ == '__main__':
    unittest.main()
