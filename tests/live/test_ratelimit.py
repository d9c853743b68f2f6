"""Rate limits shared through a real Redis: exact over hosts and workers, and
what happens to them when Redis dies, stalls, comes back empty or refuses.

Rates are one a day, so that counts are exact however slow the machine is.
"""

import hashlib
import os
import re
import signal
import socket
import struct
import time
import unittest

import penstock

DAY = 86400

HTTP = '''
    redis main {
        server 127.0.0.1:%%REDIS%%;
        timeout connect=%%TIMEOUT%% command=%%TIMEOUT%%;
    }
    rate_limit_zone $arg_k zone=client:1m rate=1r/d burst=%%BURST%%
                    redis=main %%OPTIONS%%;
    server {
        listen 127.0.0.1:%%PORT%%;
        add_header X-Told "$rate_limit_status $rate_limit_zone" always;
        location = /t {
            rate_limit zone=client cost=$arg_c;
            empty_gif;
        }
        location = /free { empty_gif; }
        location = /status { penstock_status; }
    }
'''

NAME = 'penstock:rl:{client:%s}'


class Test(penstock.TestCase):

    def pair(self, options='', burst=5, gateways=1, workers=1,
             timeout='10s'):
        redis = self.redis()
        gws = [self.limiting(redis, options, burst, workers, timeout)
               for _ in range(gateways)]
        for gw in gws:
            self.shared(gw)
        return [redis] + gws

    def limiting(self, redis, options='', burst=5, workers=1,
                 timeout='10s'):
        return self.gateway(HTTP, REDIS=redis.port, BURST=burst,
                            OPTIONS=options, TIMEOUT=timeout,
                            workers=workers)

    def shared(self, gw):
        """Waits until Redis decides; a cost of 0 debits nothing."""

        penstock.wait_for(
            lambda: gw.get('/t?c=0&k=probe').headers['X-Told']
            == 'PASSED client', what='Redis decides again')

    def count(self, gw, key, n):
        """Statuses of n requests, in order."""

        return [gw.get('/t?k=' + key).status for _ in range(n)]

    def counter(self, gw, result, zone='client'):
        return self.metric(gw, 'penstock_ratelimit_requests_total{zone="%s",'
                           'result="%s"}' % (zone, result))

    def metric(self, gw, name):
        text = gw.get('/status?format=prometheus').text
        found = re.search('^' + re.escape(name) + r' (\d+)$', text, re.M)
        self.assertTrue(found, name + ' in ' + text)
        return int(found.group(1))

    def test_exact_over_two_gateways(self):
        redis, one, two = self.pair(burst=50, gateways=2, workers=2)

        def client(n):
            gw = (one, two)[n % 2]
            return [gw.get('/t?k=a').status for _ in range(20)]

        statuses = sum(penstock.together(
            [lambda n=n: client(n) for n in range(8)]), [])

        self.assertEqual(statuses.count(200), 50)
        self.assertEqual(statuses.count(429), 110)

        self.assertEqual(self.counter(one, 'passed')
                         + self.counter(two, 'passed')
                         + self.counter(one, 'fallback')
                         + self.counter(two, 'fallback'),
                         50 + self.probes(one) + self.probes(two))

    def probes(self, gw):
        return len(re.findall(r'GET /t\?c=0', gw.access_log()))

    def test_key_and_fields(self):
        redis, gw = self.pair(burst=3)

        r = gw.get('/t?k=a')
        self.assertEqual(r.headers.get_all('RateLimit'),
                         ['"client";r=2;t=86400'])
        self.assertEqual(r.headers.get_all('RateLimit-Policy'),
                         ['"client";q=3;w=259200'])

        value = redis.command('GET', NAME % 'a')
        at, left = value.split(' ')
        self.assertEqual(int(left), DAY * 10**9)
        self.assertLess(abs(int(at) / 1e6 - time.time()), 60)

        ttl = redis.command('PTTL', NAME % 'a')
        self.assertTrue((DAY - 60) * 1000 < ttl <= DAY * 1000, ttl)

        self.assertEqual(self.count(gw, 'a', 3), [200, 200, 429])

        r = gw.get('/t?k=a')
        self.assertEqual(r.status, 429)
        problem = r.json()
        self.assertEqual(problem['violated-policies'], ['client'])
        found = re.match(r'"client";r=0;t=(\d+)$', r.headers['RateLimit'])
        self.assertGreaterEqual(int(r.headers['Retry-After']),
                                int(found.group(1)))

        # a refusal leaves no trace, a peek neither

        before = redis.command('GET', NAME % 'a')
        self.assertEqual(gw.get('/t?k=a').status, 429)
        self.assertEqual(gw.get('/t?k=a&c=0').status, 200)
        self.assertEqual(redis.command('GET', NAME % 'a'), before)
        gw.get('/t?k=unseen&c=0')
        self.assertEqual(redis.command('EXISTS', NAME % 'unseen'), 0)

        # long keys are hashed

        key = 'x' * 129
        gw.get('/t?k=' + key)
        digest = hashlib.sha256(key.encode()).hexdigest()
        self.assertEqual(redis.command(
            'EXISTS', NAME % ('sha256:' + digest)), 1)
        gw.get('/t?k=' + key[1:])
        self.assertEqual(redis.command('EXISTS', NAME % key[1:]), 1)

    def test_costs(self):
        redis, gw = self.pair(burst=10)

        self.assertEqual(gw.get('/t?k=a&c=7').status, 200)
        r = gw.get('/t?k=a&c=4')
        self.assertEqual(r.status, 429)
        self.assertIn('r=3', r.headers['RateLimit'])
        self.assertEqual(gw.get('/t?k=a&c=3').status, 200)
        r = gw.get('/t?k=b&c=11')
        self.assertEqual(r.status, 429)
        self.assertNotIn('Retry-After', r.headers)
        self.assertEqual(r.headers['RateLimit'], '"client";r=10')
        self.assertEqual(gw.get('/t?k=b&c=9223372036854775807').status, 429)
        self.assertEqual(gw.get('/t?k=b&c=10').status, 200)

    def test_killed_local(self):
        """The limit goes on from where it was, and nothing is forgotten when
        Redis is back without its data."""

        redis, gw = self.pair()

        self.assertEqual(self.count(gw, 'a', 3), [200] * 3)

        redis.kill()

        r = gw.get('/t?k=a')
        self.assertEqual((r.status, r.headers['X-Told']),
                         (200, 'FALLBACK client'))
        self.assertIn('r=1', r.headers['RateLimit'])
        self.assertEqual(self.count(gw, 'a', 3), [200, 429, 429])
        self.assertEqual(self.count(gw, 'b', 6), [200] * 5 + [429])
        self.assertEqual(self.counter(gw, 'rejected'), 0)
        self.assertGreaterEqual(self.counter(gw, 'fallback'), 10)

        redis.start()
        self.shared(gw)

        # spent with Redis, spent without it

        self.assertEqual(self.count(gw, 'a', 2), [429] * 2)
        self.assertEqual(self.count(gw, 'b', 2), [429] * 2)
        self.assertEqual(self.count(gw, 'c', 6), [200] * 5 + [429])

    def test_restarted_empty(self):
        redis, gw = self.pair()

        self.assertEqual(self.count(gw, 'a', 4), [200] * 4)
        redis.restart()
        self.shared(gw)
        self.assertEqual(self.count(gw, 'a', 2), [200, 429])

        # and so for one that does not know: Redis has it again

        other = self.limiting(redis)
        self.shared(other)
        self.assertEqual(self.count(other, 'a', 1), [429])

        redis.command('FLUSHALL')
        self.assertEqual(self.count(gw, 'a', 1), [429])

    def test_killed_allow(self):
        redis, gw = self.pair('fallback=allow')

        self.assertEqual(self.count(gw, 'a', 6), [200] * 5 + [429])
        redis.kill()

        for _ in range(3):
            r = gw.get('/t?k=a')
            self.assertEqual((r.status, r.headers['X-Told']),
                             (200, 'FALLBACK client'))
            self.assertNotIn('RateLimit', r.headers)
            self.assertIn('RateLimit-Policy', r.headers)

        redis.start()
        self.shared(gw)
        self.assertEqual(self.count(gw, 'a', 1), [429])

    def test_killed_deny(self):
        redis, gw = self.pair('fallback=deny')

        self.assertEqual(self.count(gw, 'a', 2), [200] * 2)
        redis.kill()

        r = gw.get('/t?k=a')
        self.assertEqual((r.status, r.headers['X-Told']),
                         (503, 'UNAVAILABLE client'))
        self.assertEqual(r.headers['Content-Type'],
                         'application/problem+json')
        self.assertEqual(r.headers['Retry-After'], '1')
        self.assertNotIn('RateLimit', r.headers)
        self.assertNotIn(str(redis.port), r.text)

        redis.start()
        self.shared(gw)
        self.assertEqual(self.count(gw, 'a', 4), [200] * 3 + [429])

    def test_stalled(self):
        """A Redis that stands still costs a request its command timeout."""

        redis, gw = self.pair(timeout='500ms')

        self.assertEqual(self.count(gw, 'a', 2), [200] * 2)
        redis.freeze()

        try:
            r = gw.get('/t?k=a')
            self.assertEqual((r.status, r.headers['X-Told']),
                             (200, 'FALLBACK client'))
            self.assertLess(r.seconds, 5)

            # others are served meanwhile

            start = time.monotonic()
            rs = penstock.together(
                [lambda: gw.get('/t?k=b')] * 5 + [lambda: gw.get('/free')])
            self.assertEqual([r.status for r in rs], [200] * 6)
            self.assertLess(time.monotonic() - start, 10)
            self.assertEqual(self.count(gw, 'a', 3), [200, 200, 429])
        finally:
            redis.thaw()

        self.shared(gw)
        self.assertEqual(self.count(gw, 'a', 1), [429])
        self.assertEqual(self.count(gw, 'b', 1), [429])

    def test_client_leaves(self):
        """A client that leaves while Redis is asked ends its request."""

        redis, gw = self.pair(timeout='500ms')
        redis.freeze()

        try:
            for _ in range(5):
                s = socket.create_connection(('127.0.0.1', gw.port))
                s.sendall(b'GET /t?k=a HTTP/1.1\r\nHost: a\r\n\r\n')
                time.sleep(0.05)
                s.close()
        finally:
            redis.thaw()

        self.shared(gw)
        self.assertEqual(gw.get('/t?k=z').status, 200)

    def test_reload_while_asking(self):
        """A request that waits for Redis is answered by the old worker."""

        redis, gw = self.pair(timeout='500ms')
        self.assertEqual(self.count(gw, 'a', 4), [200] * 4)
        redis.freeze()

        def ask():
            return gw.get('/t?k=b')

        def reload():
            time.sleep(0.1)
            gw.reload()

        try:
            r, _ = penstock.together([ask, reload])
        finally:
            redis.thaw()

        self.assertEqual(r.status, 200)

        # states survive the reload, in the host as well

        self.shared(gw)
        redis.kill()
        self.assertEqual(self.count(gw, 'a', 2), [200, 429])

    def test_refused(self):
        """What Redis refuses is as good as no answer."""

        redis, gw = self.pair()
        redis.command('CONFIG', 'SET', 'maxmemory', '1')

        r = gw.get('/t?k=a')
        self.assertEqual((r.status, r.headers['X-Told']),
                         (200, 'FALLBACK client'))
        gw.wait_log('Redis refused the rate limit script: "')

        redis.command('CONFIG', 'SET', 'maxmemory', '0')
        self.assertEqual(gw.get('/t?k=a').headers['X-Told'],
                         'PASSED client')

    def test_strange_values(self):
        """Garbage is an idle key; a time in the future is now."""

        redis, gw = self.pair(burst=3)

        for value in 'x', '', '1', '-1 5', '1 2 3', '1 -2':
            redis.command('SET', NAME % 'a', value)
            r = gw.get('/t?k=a&c=0')
            self.assertEqual(r.headers['RateLimit'], '"client";r=3;t=0',
                             value)

        redis.command('DEL', NAME % 'a')
        redis.command('LPUSH', NAME % 'a', 'x')
        self.assertEqual(gw.get('/t?k=a&c=0').headers['RateLimit'],
                         '"client";r=3;t=0')
        self.assertEqual(self.count(gw, 'a', 4), [200] * 3 + [429])

        future = int((time.time() + 7 * DAY) * 1e6)
        redis.command('SET', NAME % 'f', '%d %d' % (future, 2 * DAY * 10**9))
        self.assertEqual(self.count(gw, 'f', 2), [200, 429])
        at = int(redis.command('GET', NAME % 'f').split()[0])
        self.assertLess(at, future - 6 * DAY * 10**6)

        # more than this limit could have left: the burst is spent, no more

        redis.command('SET', NAME % 'g',
                      '%d %d' % (time.time() * 1e6, 50 * DAY * 10**9))
        r = gw.get('/t?k=g')
        self.assertEqual(r.status, 429)
        self.assertLessEqual(int(r.headers['Retry-After']), DAY)

    def test_several_in_one_call(self):
        """All limits of one Redis in one call: a refusal debits none."""

        redis = self.redis()
        gw = self.gateway('''
            redis main {
                server 127.0.0.1:%%REDIS%%;
                timeout connect=10s command=10s;
            }
            rate_limit_zone $arg_a zone=a:1m rate=1r/d burst=5 redis=main;
            rate_limit_zone $arg_b zone=b:1m rate=1r/d burst=2 redis=main;
            rate_limit_zone $arg_l zone=l:1m rate=1r/d burst=4;
            rate_limit_zone $arg_d zone=d:1m rate=1r/d burst=1 redis=main;
            server {
                listen 127.0.0.1:%%PORT%%;
                add_header X-Told "$rate_limit_status $rate_limit_zone"
                                  always;
                location = /t {
                    rate_limit zone=a;
                    rate_limit zone=l;
                    rate_limit zone=b;
                    rate_limit zone=d dry_run;
                    empty_gif;
                }
            }
        ''', REDIS=redis.port)

        penstock.wait_for(lambda: gw.get('/t?a=probe').headers['X-Told']
                          .startswith('PASSED'))

        r = gw.get('/t?a=x&b=x&l=x&d=x')
        self.assertEqual(r.status, 200)
        self.assertEqual(r.headers['RateLimit'],
                         '"a";r=4;t=86400, "l";r=3;t=86400, "b";r=1;t=86400')

        calls = self.calls(redis)
        r = gw.get('/t?a=x&b=x&l=x&d=x')
        self.assertEqual((r.status, r.headers['X-Told']),
                         (200, 'REJECTED_DRY_RUN d'))
        self.assertEqual(self.calls(redis), calls + 1)

        # b refuses: a and l keep what they have

        for _ in range(4):
            r = gw.get('/t?a=x&b=x&l=x')
            self.assertEqual((r.status, r.headers['X-Told']),
                             (429, 'REJECTED b'))
            self.assertTrue(r.headers['RateLimit'].startswith('"b";r=0;t='))

        self.assertEqual(gw.get('/t?a=x').headers['X-Told'], 'PASSED a')
        self.assertEqual(
            [gw.get('/t?l=x').status for _ in range(3)], [200, 200, 429])

        # l refuses: Redis is not asked at all

        calls = self.calls(redis)
        self.assertEqual(gw.get('/t?a=x&l=x').status, 429)
        self.assertEqual(self.calls(redis), calls)
        self.assertEqual(
            [gw.get('/t?a=x').status for _ in range(3)], [200, 200, 429])

    def calls(self, redis):
        text = redis.command('INFO', 'commandstats')
        return sum(int(n) for n in
                   re.findall(r'cmdstat_eval(?:sha)?:calls=(\d+)', text))

    def test_two_redis(self):
        """What one Redis has debited goes back when another refuses."""

        first, second = self.redis(), self.redis()
        gw = self.gateway('''
            redis first {
                server 127.0.0.1:%%FIRST%%;
                timeout connect=10s command=10s;
            }
            redis second {
                server 127.0.0.1:%%SECOND%%;
                timeout connect=10s command=10s;
            }
            rate_limit_zone $arg_a zone=a:1m rate=1r/d burst=2 redis=first;
            rate_limit_zone $arg_b zone=b:1m rate=1r/d burst=1 redis=second;
            server {
                listen 127.0.0.1:%%PORT%%;
                add_header X-Told "$rate_limit_status $rate_limit_zone"
                                  always;
                location = /t {
                    rate_limit zone=a;
                    rate_limit zone=b;
                    empty_gif;
                }
            }
        ''', FIRST=first.port, SECOND=second.port)

        for key in 'a', 'b':
            n = iter(range(1000))
            penstock.wait_for(
                lambda: gw.get('/t?%s=probe%d' % (key, next(n)))
                .headers['X-Told'].startswith('PASSED'))

        self.assertEqual(gw.get('/t?a=x&b=x').status, 200)

        def left():
            value = first.command('GET', 'penstock:rl:{a:x}')
            return int(value.split()[1])

        for _ in range(5):
            r = gw.get('/t?a=x&b=x')
            self.assertEqual((r.status, r.headers['X-Told']),
                             (429, 'REJECTED b'))

            # nobody waited for it

            penstock.wait_for(lambda: left() <= DAY * 10**9,
                              what='the debit of the first is back')

        self.assertEqual([gw.get('/t?a=x').status for _ in range(2)],
                         [200, 429])

        # one of them down: its limit is local, the other goes on

        second.kill()
        self.assertEqual(gw.get('/t?a=y&b=y').status, 200)
        r = gw.get('/t?a=y&b=y')
        self.assertEqual((r.status, r.headers['X-Told']),
                         (429, 'REJECTED b'))
        self.assertEqual([gw.get('/t?a=y').status for _ in range(2)],
                         [200, 429])

    def test_counts_once_over_redirects(self):
        redis = self.redis()
        gw = self.gateway('''
            redis main {
                server 127.0.0.1:%%REDIS%%;
                timeout connect=10s command=10s;
            }
            rate_limit_zone $arg_k zone=a:1m rate=1r/d burst=3 redis=main;
            rate_limit zone=a;
            server {
                listen 127.0.0.1:%%PORT%%;
                add_header X-Told "$rate_limit_status $rate_limit_zone"
                                  always;
                error_page 429 /slow;
                location = /t { try_files /none @u; }
                location @u { empty_gif; }
                location = /slow { empty_gif; }
                location = /early {
                    rate_limit zone=a before_auth;
                    try_files /none @u;
                }
            }
        ''', REDIS=redis.port)

        n = iter(range(1000))
        penstock.wait_for(
            lambda: gw.get('/t?k=probe%d' % next(n)).headers['X-Told']
            == 'PASSED a')

        self.assertEqual([gw.get(path + '?k=x').status for path in
                          ('/t', '/early', '/t', '/t', '/early')],
                         [200, 200, 200, 429, 429])

        r = gw.get('/t?k=x')
        self.assertEqual(r.headers['Content-Type'], 'image/gif')
        self.assertIn('"a";r=0;t=', r.headers['RateLimit'])

    def test_http2(self):
        """Streams of one connection wait for Redis side by side."""

        redis = self.redis()
        gw = self.gateway('''
            redis main {
                server 127.0.0.1:%%REDIS%%;
                timeout connect=10s command=10s;
            }
            rate_limit_zone $arg_k zone=a:1m rate=1r/d burst=3 redis=main;
            server {
                listen 127.0.0.1:%%PORT%% http2;
                location = /t { rate_limit zone=a; empty_gif; }
                location = /free { empty_gif; }
            }
        ''', REDIS=redis.port)

        def frame(kind, flags, stream, data=b''):
            return (struct.pack('>I', len(data))[1:]
                    + struct.pack('>BBI', kind, flags, stream) + data)

        def get(stream, path):
            # GET, http, :path, :authority; the end of headers and stream
            return frame(1, 5, stream, b'\x82\x86\x04' + bytes([len(path)])
                         + path + b'\x01\x01a')

        redis.freeze()
        s = socket.create_connection(('127.0.0.1', gw.port),
                                     penstock.DEADLINE)

        try:
            s.sendall(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + frame(4, 0, 0)
                      + b''.join(get(n, b'/t?k=x') for n in (1, 3, 5, 7, 9))
                      + get(11, b'/free'))

            f = s.makefile('rb')
            status = {}

            while len(status) < 6:
                head = f.read(9)
                size = int.from_bytes(head[:3], 'big')
                stream = int.from_bytes(head[5:], 'big')
                data = f.read(size)

                self.assertNotIn(head[3], (3, 7), 'RST_STREAM or GOAWAY')

                if head[3] == 1:
                    if data[0] == 0x20:
                        data = data[1:]
                    status[stream] = 200 if data[0] == 0x88 \
                        else int(data[2:5])

                    if stream == 11:
                        # the one that needs no Redis came first
                        self.assertEqual(len(status), 1)
                        redis.thaw()
        finally:
            redis.thaw()
            s.close()

        del status[11]
        self.assertEqual(sorted(status.values()), [200] * 3 + [429] * 2)

    def test_reload_keeps_local_states(self):
        """Without Redis, too: a reload with another rate goes on."""

        http = '''
            rate_limit_zone $arg_k zone=a:1m rate=%%RATE%% burst=3;
            server {
                listen 127.0.0.1:%%PORT%%;
                location = /t { rate_limit zone=a; empty_gif; }
            }
        '''
        gw = self.gateway(http, RATE='1r/d', workers=2)

        self.assertEqual(self.count(gw, 'x', 2), [200] * 2)
        gw.reload()
        self.assertEqual(self.count(gw, 'x', 2), [200, 429])
        gw.reload(http, RATE='2r/d')
        self.assertEqual(self.count(gw, 'x', 1), [429])

    def test_killed_worker(self):
        """A worker that dies takes no state and no lock with it."""

        gw = self.gateway('''
            rate_limit_zone $arg_k zone=a:1m rate=1r/d burst=3;
            server {
                listen 127.0.0.1:%%PORT%%;
                location = /t { rate_limit zone=a; empty_gif; }
            }
        ''', allow=['exited on signal 9'])

        self.assertEqual(self.count(gw, 'x', 2), [200] * 2)
        pid = gw.workers()[0]
        os.kill(pid, signal.SIGKILL)
        penstock.wait_for(lambda: gw.workers() and pid not in gw.workers())
        self.assertEqual(self.count(gw, 'x', 2), [200, 429])


if __name__ == '__main__':
    unittest.main()
