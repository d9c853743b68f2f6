"""Concurrency limits: slots come back when a request ends, however it ends,
when a worker is killed, and from a host that died; through a real Redis they
hold for all gateways together.
"""

import os
import signal
import socket
import threading
import unittest

import penstock

HTTP = '''
    %%REDIS_BLOCK%%
    rate_limit_concurrency_zone $arg_k zone=running:1m limit=%%LIMIT%%
                                %%OPTIONS%%;
    server {
        listen 127.0.0.1:%%PORT%%;
        add_header X-Told "$rate_limit_status $rate_limit_zone" always;
        location = /hold {
            rate_limit_concurrency zone=running;
            proxy_pass http://127.0.0.1:%%ORIGIN%%;
        }
        location = /free {
            rate_limit_concurrency zone=running;
            empty_gif;
        }
        location = /try {
            rate_limit_concurrency zone=running dry_run;
            empty_gif;
        }
        location = /status { penstock_status; }
    }
'''

REDIS = '''
    redis main {
        server 127.0.0.1:%d;
        timeout connect=%s command=%s;
    }
'''


class Test(penstock.TestCase):

    def setUp(self):
        super().setUp()
        self.gate = threading.Event()
        self.addCleanup(self.gate.set)
        self.held = self.origin(lambda h: (self.gate.wait(30),
                                           h.send(200, b'done')))

    def limiting(self, redis=None, options='', limit=2, timeout='5s', **kw):
        block = REDIS % (redis.port, timeout, timeout) if redis else ''
        gw = self.gateway(HTTP, ORIGIN=self.held.port, LIMIT=limit,
                          REDIS_BLOCK=block,
                          OPTIONS=('redis=main ' if redis else '') + options,
                          **kw)
        if redis:
            self.shared(gw)
        return gw

    def shared(self, gw):
        penstock.wait_for(lambda: gw.get('/free?k=probe').headers['X-Told']
                          == 'PASSED running', what='Redis decides')

    def hold(self, gw, n, key='a'):
        """Starts n requests that are held by the origin."""

        before = len(self.held.requests)
        threads = []
        statuses = []

        def run():
            try:
                statuses.append(gw.get('/hold?k=' + key).status)
            except OSError:
                statuses.append(None)

        for _ in range(n):
            threads.append(threading.Thread(target=run, daemon=True))
            threads[-1].start()

        penstock.wait_for(lambda: len(self.held.requests) == before + n,
                          what='%d are held' % n)
        return threads, statuses

    def free(self, gw, key='a'):
        return gw.get('/free?k=' + key).status

    def wait_free(self, gw, deadline=penstock.DEADLINE):
        penstock.wait_for(lambda: self.free(gw) == 200, deadline,
                          'a slot is free')

    def test_local(self):
        gw = self.limiting(workers=2)
        threads, statuses = self.hold(gw, 2)

        r = gw.get('/free?k=a')
        self.assertEqual((r.status, r.headers['X-Told']),
                         (429, 'REJECTED running'))
        self.assertEqual(r.headers['RateLimit-Policy'],
                         '"running";q=2;qu="concurrent-requests"')
        self.assertEqual(r.headers['RateLimit'], '"running";r=0')
        self.assertEqual(r.headers['Retry-After'], '1')
        self.assertEqual(r.json()['violated-policies'], ['running'])

        r = gw.get('/free?k=b')
        self.assertEqual((r.status, r.headers['RateLimit']),
                         (200, '"running";r=1'))
        self.assertEqual(gw.get('/free').status, 200)

        r = gw.get('/try?k=a')
        self.assertEqual((r.status, r.headers['X-Told']),
                         (200, 'REJECTED_DRY_RUN running'))
        self.assertNotIn('RateLimit', r.headers)

        text = gw.get('/status?format=prometheus').text
        for result, n in ('rejected', 1), ('dry_run', 1), ('passed', 3):
            self.assertIn('penstock_concurrency_requests_total{zone="running"'
                          ',result="%s"} %d\n' % (result, n), text)

        self.gate.set()
        for thread in threads:
            thread.join()
        self.assertEqual(statuses, [200, 200])
        self.wait_free(gw)

        # nothing leaks: each of these needs a slot

        for _ in range(20):
            self.wait_free(gw)

    def test_client_leaves(self):
        gw = self.limiting()
        s = [socket.create_connection(('127.0.0.1', gw.port))
             for _ in range(2)]
        for c in s:
            c.sendall(b'GET /hold?k=a HTTP/1.1\r\nHost: a\r\n\r\n')
        penstock.wait_for(lambda: len(self.held.requests) == 2)
        self.assertEqual(self.free(gw), 429)
        for c in s:
            c.close()
        self.wait_free(gw)

    def test_client_leaves_before_redis_answers(self):
        """Its slot is given back when the request's memory goes."""

        redis = self.redis()
        gw = self.limiting(redis)
        workers = gw.workers()
        redis.freeze()
        try:
            for n in range(6):
                with socket.create_connection(('127.0.0.1', gw.port)) as s:
                    s.sendall(b'GET /hold?k=a HTTP/1.1\r\nHost: a\r\n\r\n')
                penstock.wait_for(
                    lambda: gw.access_log().count('/hold?k=a') > n,
                    what='it has ended')
        finally:
            redis.thaw()
        self.assertEqual(gw.workers(), workers)
        self.shared(gw)
        self.wait_free(gw)
        penstock.wait_for(lambda: redis.command(
            'HGETALL', 'penstock:slots:{running:a}') == [], what='no slot')
        self.assertEqual(self.held.requests, [])

    def test_killed_worker(self):
        for redis in None, self.redis():
            gw = self.limiting(redis, allow=['exited on signal 9'])
            self.hold(gw, 2)
            self.assertEqual(self.free(gw), 429)

            pid = gw.workers()[0]
            os.kill(pid, signal.SIGKILL)
            penstock.wait_for(lambda: gw.workers()
                              and pid not in gw.workers())

            # at once, and not only when a lease in Redis has ended

            self.wait_free(gw, deadline=5)
            gw.stop()

    def test_reload(self):
        """Slots of the old worker's requests count for the new one's."""

        for redis in None, self.redis():
            self.gate.clear()
            gw = self.limiting(redis)
            threads, statuses = self.hold(gw, 2)
            gw.reload(wait=False)
            penstock.wait_for(lambda: self.free(gw, 'b') == 200)
            self.assertEqual(self.free(gw), 429)
            self.gate.set()
            for thread in threads:
                thread.join()
            self.assertEqual(statuses, [200, 200])
            self.wait_free(gw)

    def test_two_gateways(self):
        redis = self.redis()
        one, two = (self.limiting(redis, limit=3, workers=2)
                    for _ in range(2))

        threads, statuses = self.hold(one, 2)
        more, others = self.hold(two, 1)
        self.assertEqual([self.free(one), self.free(two)], [429, 429])

        # the most that were under way, under a storm of requests

        self.gate.set()
        for thread in threads + more:
            thread.join()
        penstock.wait_for(lambda: self.held.now == 0)
        self.held.most = 0

        def client(n):
            gw = (one, two)[n % 2]
            return [gw.get('/hold?k=a').status for _ in range(15)]

        got = sum(penstock.together([lambda n=n: client(n)
                                     for n in range(12)]), [])
        self.assertLessEqual(self.held.most, 3)
        self.assertGreater(got.count(200), 15)
        self.assertEqual(set(got) - {200, 429}, set())

        penstock.wait_for(lambda: redis.command(
            'HLEN', 'penstock:slots:{running:a}') == 0,
            what='all slots are back in Redis')

    def test_dead_host(self):
        """What a host held that died is free when its lease ends; a host
        that lives renews its own."""

        redis = self.redis()
        one, two = (self.limiting(redis, limit=2,
                                  allow=['exited on signal'])
                    for _ in range(2))

        self.hold(one, 1)
        self.hold(two, 1)
        self.assertEqual(self.free(two), 429)

        pids = [one.pid] + one.workers()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

        self.wait_free(two, deadline=20)
        self.hold(two, 1)

        # what the living one holds is renewed

        def until():
            values = redis.command('HGETALL', 'penstock:slots:{running:a}')
            self.assertEqual(len(values), 2)
            return int(values[1].split()[3])

        first = until()
        penstock.wait_for(lambda: until() > first + 2500)
        self.assertEqual(self.free(two), 429)

    def test_redis_down(self):
        redis = self.redis()
        gw = self.limiting(redis)
        deny = self.limiting(redis, 'fallback=deny')
        allow = self.limiting(redis, 'fallback=allow')

        threads, statuses = self.hold(gw, 1)
        redis.kill()

        # the host goes on from what it knows

        more, others = self.hold(gw, 1)
        r = gw.get('/free?k=a')
        self.assertEqual((r.status, r.headers['X-Told']),
                         (429, 'REJECTED running'))
        self.assertEqual(gw.get('/free?k=b').headers['X-Told'],
                         'FALLBACK running')

        r = deny.get('/free?k=a')
        self.assertEqual((r.status, r.headers['X-Told']),
                         (503, 'UNAVAILABLE running'))
        self.assertEqual(r.headers['Retry-After'], '1')

        self.hold(allow, 3)

        # and tells Redis when it is back what it holds

        redis.start()
        self.shared(gw)
        other = self.limiting(redis)
        penstock.wait_for(lambda: self.free(other) == 429,
                          what='the other host hears of the two')

        self.gate.set()
        self.wait_free(other)

    def test_stalled(self):
        redis = self.redis()
        gw = self.limiting(redis, timeout='300ms')
        redis.freeze()
        try:
            r = gw.get('/free?k=a')
            self.assertEqual((r.status, r.headers['X-Told']),
                             (200, 'FALLBACK running'))
        finally:
            redis.thaw()
        self.shared(gw)
        self.hold(gw, 2)
        self.assertEqual(self.free(gw), 429)


if __name__ == '__main__':
    unittest.main()
