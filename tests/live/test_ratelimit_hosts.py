"""What several gateways on one Redis admit together, by "sync=exact" and by
"sync=lease": never more than rate x time + burst in any span, whatever is
thrown at them; all of a steady load below the limit; and nothing is lost or
won when Redis is killed, paused, slow, empty, or its clock jumps.
"""

import http.client
import os
import re
import threading
import time
import unittest

import penstock

HTTP = '''
    redis main {
        server 127.0.0.1:%%REDIS%%;
        timeout connect=%%TIMEOUT%% command=%%TIMEOUT%%;
    }
    rate_limit_zone $arg_k zone=client:1m rate=%%RATE%% burst=%%BURST%%
                    redis=main sync=%%SYNC%% %%OPTIONS%%;
    rate_limit_zone $arg_l zone=mine:1m rate=1r/h burst=20;
    server {
        listen 127.0.0.1:%%PORT%%;
        keepalive_requests 100000;
        add_header X-Told "$rate_limit_status $rate_limit_zone" always;
        location = /t {
            rate_limit zone=client cost=$arg_c;
            rate_limit zone=mine;
            empty_gif;
        }
        location = /status { penstock_status; }
    }
'''

NAME = 'penstock:rl:{client:%s}'


class ClockedRedis(penstock.Redis):
    """A Redis whose clock can be set."""

    def start(self):
        self.clock = penstock.Clock()
        self.spawn([penstock.REDIS, '--port', str(self.port),
                    '--bind', '127.0.0.1', '--save', '',
                    '--appendonly', 'no', '--dir', self.dir],
                   lambda: penstock.listening(self.port),
                   dict(os.environ, **self.clock.env))

    def set_clock(self, seconds):
        self.clock.set(seconds)

    def teardown(self):
        self.clock.close()
        super().teardown()


class Client(threading.Thread):
    """A connection that sends one request after the other until "end", each
    "pause" seconds; "seen" are (sent, received, status)."""

    def __init__(self, port, path, end, pause=0, first=0):
        super().__init__(daemon=True)
        self.port, self.path, self.end = port, path, end
        self.pause, self.first = pause, first
        self.seen = []
        self.start()

    def run(self):
        connection = http.client.HTTPConnection('127.0.0.1', self.port,
                                                timeout=penstock.DEADLINE)
        due = time.monotonic() + self.first
        while True:
            now = time.monotonic()
            if now < due:
                time.sleep(due - now)
            sent = time.monotonic()
            if sent >= self.end:
                return
            due += self.pause
            connection.request('GET', self.path)
            response = connection.getresponse()
            response.read()
            self.seen.append((sent, time.monotonic(), response.status))


class Test(penstock.TestCase):

    def start(self, gateways=2, rate='1r/h', burst=5, sync='lease',
              options='', workers=1, timeout='10s'):
        redis = self.redis()
        gws = [self.limiting(redis, rate, burst, sync, options, workers,
                             timeout) for _ in range(gateways)]
        return [redis] + gws

    def limiting(self, redis, rate='1r/h', burst=5, sync='lease', options='',
                 workers=1, timeout='10s'):
        gw = self.gateway(HTTP, REDIS=redis.port, RATE=rate, BURST=burst,
                          SYNC=sync, OPTIONS=options, TIMEOUT=timeout,
                          workers=workers)
        self.shared(gw)
        return gw

    probe = 0

    def shared(self, gw):
        def passed():
            Test.probe += 1
            return gw.get('/t?k=probe%d' % Test.probe).headers['X-Told'] \
                == 'PASSED client'

        penstock.wait_for(passed, what='Redis decides')

    def count(self, gw, key, n):
        return [gw.get('/t?k=' + key).status for _ in range(n)]

    def hammer(self, gws, seconds, clients, rate, burst, key='a'):
        """All that clients can send; returns what was admitted over what
        could have been."""

        end = time.monotonic() + seconds
        threads = [Client(gws[n % len(gws)].port, '/t?k=' + key, end)
                   for n in range(clients)]
        for thread in threads:
            thread.join()

        seen = [s for thread in threads for s in thread.seen]
        self.assertEqual({s[2] for s in seen} - {200, 429}, set())
        self.never_more(seen, rate, burst)

        begin = min(s[0] for s in seen)
        last = max(s[1] for s in seen)
        admitted = sum(s[2] == 200 for s in seen)

        self.assertGreater(len(seen), admitted, 'there was too little load')
        return admitted / (rate * (last - begin) + burst)

    def never_more(self, seen, rate, burst):
        """What was decided inside of any span keeps to the limit: those
        that were sent after its start and answered before its end."""

        admitted = sorted((s[0], s[1]) for s in seen if s[2] == 200)
        step = max(1, len(admitted) // 60)

        for n in range(0, len(admitted), step):
            begin = admitted[n][0]
            ends = sorted(s[1] for s in admitted[n:])

            for count, end in enumerate(ends, 1):
                self.assertLessEqual(count, rate * (end - begin) + burst,
                                     'in %.3f s' % (end - begin))

    def test_never_more(self):
        for sync in 'exact', 'lease':
            for gateways in 2, 4:
                with self.subTest(sync=sync, gateways=gateways):
                    redis, *gws = self.start(gateways, '200r/s', 100, sync)
                    share = self.hammer(gws, 2, 16, 200, 100)
                    print(' %s, %d gateways: %.1f%% of the limit'
                          % (sync, gateways, 100 * share), end='', flush=True)

                    # nor much less, or a limit of nothing would pass

                    self.assertGreater(share, 0.75)

    def test_steady(self):
        """At 80% of the limit nothing is refused (lease: next to nothing)."""

        for sync, most in ('exact', 0), ('lease', 0.01):
            for gateways in 2, 4:
                with self.subTest(sync=sync, gateways=gateways):
                    redis, *gws = self.start(gateways, '200r/s', 100, sync)
                    end = time.monotonic() + 2
                    threads = [Client(gws[n % gateways].port, '/t?k=a', end,
                                      pause=0.1, first=n / 160)
                               for n in range(16)]
                    for thread in threads:
                        thread.join()
                    seen = [s[2] for t in threads for s in t.seen]
                    refused = sum(s == 429 for s in seen)
                    self.assertGreater(len(seen), 100)
                    self.assertLessEqual(refused, most * len(seen))

    def test_batches(self):
        """A busy key asks Redis much less often than once a request, and
        gives back what it did not use."""

        redis, gw = self.start(1, '2000r/s', 2000)
        before = self.calls(redis)
        end = time.monotonic() + 2
        threads = [Client(gw.port, '/t?k=a', end, pause=0.01)
                   for _ in range(4)]
        for thread in threads:
            thread.join()
        n = sum(len(t.seen) for t in threads)
        calls = self.calls(redis) - before
        self.assertEqual({s[2] for t in threads for s in t.seen}, {200})
        self.assertLess(calls, n / 4)

        # idle, the lease goes back, and the key is soon forgotten

        penstock.wait_for(lambda: redis.command('EXISTS', NAME % 'a') == 0,
                          what='all is back')

    def calls(self, redis):
        text = redis.command('INFO', 'commandstats')
        return sum(int(n) for n in
                   re.findall(r'cmdstat_eval(?:sha)?:calls=(\d+)', text))

    def test_unspent_goes_back(self):
        """What one gateway has leased and does not use another may."""

        redis, one, two = self.start(2, '1r/h', 100)
        end = time.monotonic() + 0.4
        threads = [Client(one.port, '/t?k=a', end, pause=0.025)
                   for _ in range(2)]
        for thread in threads:
            thread.join()
        used = sum(s[2] == 200 for t in threads for s in t.seen)

        penstock.wait_for(
            lambda: re.fullmatch(r'\d+ \d+', redis.command('GET', NAME % 'a')),
            what='the lease is over')
        left = int(redis.command('GET', NAME % 'a').split()[1])
        self.assertAlmostEqual(left / 3600e9, used, delta=0.01)
        self.assertEqual(self.count(two, 'a', 101 - used),
                         [200] * (100 - used) + [429])

    def test_reload_gives_back(self):
        redis, gw = self.start(1, '1r/h', 1000)
        end = time.monotonic() + 0.4
        client = Client(gw.port, '/t?k=a', end, pause=0.01)
        client.join()
        gw.reload()
        left = penstock.wait_for(
            lambda: re.fullmatch(r'\d+ (\d+)',
                                 redis.command('GET', NAME % 'a')))
        self.assertAlmostEqual(int(left.group(1)) / 3600e9,
                               len(client.seen), delta=0.01)

    def test_costs_and_others(self):
        """A refusal by another limit debits no lease; costs count."""

        redis, gw = self.start(1, '1r/h', 20)
        self.assertEqual(gw.get('/t?k=a&c=5').status, 200)
        r = gw.get('/t?k=a&c=16')
        self.assertEqual(r.status, 429)
        self.assertIn('"client";r=15', r.headers['RateLimit'])
        self.assertGreaterEqual(int(r.headers['Retry-After']), 3500)
        r = gw.get('/t?k=a&c=21')
        self.assertEqual(r.status, 429)
        self.assertNotIn('Retry-After', r.headers)

        self.assertEqual(gw.get('/t?l=x&k=b').status, 200)
        for _ in range(19):
            gw.get('/t?l=x')
        for _ in range(5):
            self.assertEqual(gw.get('/t?l=x&k=b').headers['X-Told'],
                             'REJECTED mine')
        self.assertEqual(self.count(gw, 'b', 20), [200] * 19 + [429])

    def test_killed(self):
        redis, one, two = self.start(2, timeout='1s')
        self.assertEqual(self.count(one, 'a', 3), [200] * 3)
        redis.kill()

        r = one.get('/t?k=a')
        self.assertEqual((r.status, r.headers['X-Told']),
                         (200, 'FALLBACK client'))
        self.assertEqual(self.count(one, 'a', 2), [200, 429])

        redis.start()
        self.shared(one)
        self.shared(two)

        # what was spent with it and without it is known again

        self.assertEqual(self.count(one, 'a', 1), [429])
        self.assertEqual(self.count(two, 'a', 1), [429])

    def test_fallbacks(self):
        for fallback, status, told in (
                ('allow', 200, 'FALLBACK client'),
                ('deny', 503, 'UNAVAILABLE client')):
            redis, gw = self.start(1, options='fallback=' + fallback)
            redis.kill()
            penstock.wait_for(lambda: gw.get('/t?k=w').headers['X-Told']
                              == told)
            r = gw.get('/t?k=a')
            self.assertEqual((r.status, r.headers['X-Told']), (status, told))

    def test_paused(self):
        """A pause, and load over it: what was admitted meanwhile counts."""

        for sync in 'exact', 'lease':
            redis, gw = self.start(1, '1r/h', 50, sync, timeout='300ms')
            self.assertEqual(self.count(gw, 'a', 20), [200] * 20)
            redis.freeze()
            try:
                got = self.count(gw, 'a', 10)
            finally:
                redis.thaw()
            self.assertEqual(got, [200] * 10)
            self.shared(gw)
            got = self.count(gw, 'a', 40)

            # a question that Redis has carried out late is debited twice

            self.assertLessEqual(got.count(200), 20)
            self.assertGreater(got.count(200), 5)
            self.assertEqual(got[-1], 429)

    def test_slow(self):
        """Redis takes 20 ms for each call: all is decided by it, and costs a
        request no more than that."""

        redis = self.redis()
        slow = self.slow(redis.port, 0.02)
        for sync in 'exact', 'lease':
            gw = self.gateway(HTTP, REDIS=slow, RATE='1r/h', BURST=5,
                              SYNC=sync, OPTIONS='', TIMEOUT='5s')
            self.shared(gw)
            rs = penstock.together([lambda: gw.get('/t?k=' + sync)] * 12)
            self.assertEqual(sorted(r.status for r in rs),
                             [200] * 5 + [429] * 7)
            self.assertEqual({r.headers['X-Told'].split()[0] for r in rs},
                             {'PASSED', 'REJECTED'})

    def slow(self, port, seconds):
        """A proxy in front of Redis that holds each packet up."""

        import socket
        listener = socket.socket()
        listener.bind(('127.0.0.1', 0))
        listener.listen(16)
        self.addCleanup(listener.close)

        def pipe(a, b, wait):
            while True:
                try:
                    data = a.recv(65536)
                    if not data:
                        break
                    time.sleep(wait)
                    b.sendall(data)
                except OSError:
                    break
            for s in a, b:
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

        def serve():
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                server = socket.create_connection(('127.0.0.1', port))
                for args in (client, server, seconds), (server, client, 0):
                    threading.Thread(target=pipe, args=args,
                                     daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        return listener.getsockname()[1]

    def test_restarted_empty(self):
        redis, one, two = self.start(2)
        self.assertEqual(self.count(one, 'a', 4), [200] * 4)
        redis.restart()
        for gw in one, two:
            self.shared(gw)
        self.assertEqual(self.count(one, 'a', 2), [200, 429])
        self.assertEqual(self.count(two, 'a', 1), [429])

    def test_gateway_restarts(self):
        """A gateway that comes back has forgotten all, Redis has not; what
        it had leased it has given back."""

        for sync in 'exact', 'lease':
            redis, one, two = self.start(2, '1r/h', 5, sync)
            self.assertEqual(self.count(one, 'a', 3), [200] * 3)
            one.stop()
            one.start()
            self.shared(one)
            self.assertEqual(self.count(one, 'a', 1), [200])
            self.assertEqual(self.count(two, 'a', 2), [200, 429])
            self.assertEqual(self.count(one, 'a', 1), [429])

    def test_clock_jumps(self):
        """Redis' clock is set: forward gives nobody a burst that a gateway
        knows to be spent, back shuts nobody out for longer."""

        for sync in 'exact', 'lease':
            redis = ClockedRedis()
            self.addCleanup(redis.teardown)
            one, two = (self.limiting(redis, sync=sync) for _ in range(2))
            fast = self.limiting(redis, '5r/s', 5, sync)

            self.assertEqual(self.count(one, 'a', 5), [200] * 5)
            redis.set_clock(3 * 3600)
            self.assertEqual(self.count(one, 'a', 1), [429])

            # by a lease "one" refuses without asking, so Redis hears nothing

            if sync == 'exact':
                self.assertEqual(self.count(two, 'a', 1), [429])

            self.count(fast, 'f', 8)
            redis.set_clock(-3 * 3600)
            for gw in (two, one) if sync == 'exact' else (one,):
                r = gw.get('/t?k=a')
                self.assertEqual(r.status, 429)
                self.assertLessEqual(int(r.headers['Retry-After']), 3600)
            self.assertEqual(self.count(one, 'b', 6), [200] * 5 + [429])
            penstock.wait_for(lambda: self.count(fast, 'f', 1) == [200],
                              deadline=5, what='it is not shut until then')

    def test_flood_of_keys(self):
        """A zone full of keys that come once forgets those, not the one that
        has spent its burst."""

        gw = self.gateway('''
            rate_limit_zone $arg_k zone=a:64k rate=1r/h burst=10;
            server {
                listen 127.0.0.1:%%PORT%%;
                keepalive_requests 100000;
                location = /t { rate_limit zone=a; empty_gif; }
                location = /status { penstock_status; }
            }
        ''')
        self.assertEqual(self.count(gw, 'active', 9), [200] * 9)

        connection = http.client.HTTPConnection('127.0.0.1', gw.port)
        for n in range(8000):
            connection.request('GET', '/t?k=flood%d' % n)
            response = connection.getresponse()
            response.read()
            self.assertEqual(response.status, 200)
        connection.close()

        text = gw.get('/status?format=prometheus').text
        self.assertGreater(int(re.search(
            r'evicted_total\{zone="a"\} (\d+)', text).group(1)), 4000)
        self.assertEqual(self.count(gw, 'active', 3), [200, 429, 429])

    def test_strange_values(self):
        """Garbage is an idle key; leases of the future are drawn in; one that
        is over is spent."""

        redis, gw = self.start(1, '1r/h', 5)
        hour = 3600 * 10**9

        for n, value in enumerate(('x', '1', '-1 5', '1 2 3', '1 2 h 3',
                                   '1 2 h 3 x', '1 2  h 3 4')):
            redis.command('SET', NAME % ('g%d' % n), value)
            self.assertEqual(self.count(gw, 'g%d' % n, 6), [200] * 5 + [429],
                             value)

        now = int(time.time() * 1e6)

        redis.command('SET', NAME % 'd', '%d 0 dead %d %d' % (now, 4 * hour,
                                                              now + 10**12))
        self.assertEqual(self.count(gw, 'd', 2), [200, 429])
        held = redis.command('GET', NAME % 'd').split()
        self.assertLess(int(held[4]), time.time() * 1e6 + 3e6)

        # an hour after it was over, one of the four is back

        redis.command('SET', NAME % 'e', '%d %d dead %d %d' % (
            now - 2 * hour // 1000, hour, 4 * hour, now - hour // 1000))
        self.assertEqual(self.count(gw, 'e', 3), [200, 200, 429])

    def test_exact_knows_leases(self):
        """A zone that changes from one to the other while both are there."""

        redis, lease = self.start(1, '1r/h', 100)
        exact = self.limiting(redis, '1r/h', 100, 'exact')
        end = time.monotonic() + 0.5
        client = Client(lease.port, '/t?k=a', end, pause=0.01)
        client.join()
        got = self.count(exact, 'a', 110)
        self.assertLessEqual(got.count(200) + len(client.seen), 100)
        self.assertEqual(got[-1], 429)


if __name__ == '__main__':
    unittest.main()
