"""Exact limits whose questions go to Redis together: one script call for what
comes in one turn of the worker's event loop, each request decided as if it
had been alone, in order, and none waiting for the sake of others.
"""

import os
import re
import signal
import socket
import unittest

import penstock
from test_redis_fakes import Fake

HTTP = '''
    redis main {
        server 127.0.0.1:%%REDIS%%;
        timeout connect=%%TIMEOUT%% command=%%TIMEOUT%%;
    }
    rate_limit_zone $arg_k zone=client:1m rate=1r/d burst=5 redis=main;
    rate_limit_zone $arg_p zone=plan:1m rate=1r/d burst=3 redis=main;
    rate_limit_zone $arg_d zone=tried:1m rate=1r/d burst=1 redis=main;
    server {
        listen 127.0.0.1:%%PORT%%;
        add_header X-Told "$rate_limit_status $rate_limit_zone" always;
        location = /t {
            rate_limit zone=client cost=$arg_c;
            rate_limit zone=plan;
            rate_limit zone=tried dry_run;
            empty_gif;
        }
        location = /free { empty_gif; }
    }
'''

NAME = 'penstock:rl:{%s:%s}'


class Client:
    """A connection that the worker has accepted."""

    def __init__(self, gw):
        self.socket = socket.create_connection(('127.0.0.1', gw.port))
        self.socket.settimeout(penstock.DEADLINE)
        self.file = self.socket.makefile('rb')
        self.send('/free')
        self.read()

    def send(self, path):
        self.socket.sendall(b'GET %s HTTP/1.1\r\nHost: a\r\n\r\n'
                            % path.encode())

    def read(self):
        """Status and X-Told."""

        status = int(self.file.readline().split()[1])
        headers = {}
        while True:
            line = self.file.readline().strip().decode()
            if not line:
                break
            name, _, value = line.partition(': ')
            headers[name] = value
        self.file.read(int(headers['Content-Length']))
        return status, headers.get('X-Told')

    def close(self):
        self.file.close()
        self.socket.close()


class Test(penstock.TestCase):

    def start(self, redis, timeout='10s'):
        return self.gateway(HTTP, REDIS=redis.port, TIMEOUT=timeout)

    def shared(self, gw):
        penstock.wait_for(
            lambda: gw.get('/t?c=0&k=probe').headers['X-Told']
            == 'PASSED client', what='Redis decides')

    def clients(self, gw, n):
        made = []
        for _ in range(n):
            made.append(Client(gw))
            self.addCleanup(made[-1].close)
        return made

    def send_at_once(self, gw, paths):
        """The worker finds all of them in one turn: it is stopped till they
        are there."""

        clients = self.clients(gw, len(paths))
        pid, = gw.workers()
        os.kill(pid, signal.SIGSTOP)

        def stopped():
            with open('/proc/%d/stat' % pid) as file:
                return file.read().rpartition(')')[2].split()[0] == 'T'

        try:
            penstock.wait_for(stopped, what='the worker is stopped')
            for client, path in zip(clients, paths):
                client.send(path)
        finally:
            os.kill(pid, signal.SIGCONT)
        return clients

    def at_once(self, gw, paths):
        return [c.read() for c in self.send_at_once(gw, paths)]

    def calls(self, redis):
        text = redis.command('INFO', 'commandstats')
        return sum(int(n) for n in
                   re.findall(r'cmdstat_eval(?:sha)?:calls=(\d+)', text))

    def test_one_call(self):
        """Keys that are there once and often: one call, counted in order."""

        redis = self.redis()
        gw = self.start(redis)
        self.shared(gw)
        before = self.calls(redis)
        got = self.at_once(gw, ['/t?k=a', '/t?k=b&c=5', '/t?k=a&c=4',
                                '/t?k=b', '/t?k=a', '/t?k=c&c=6', '/t?k=d',
                                '/t?k=b&c=0'])
        self.assertEqual(self.calls(redis), before + 1)
        self.assertEqual([status for status, _ in got],
                         [200, 200, 200, 429, 429, 429, 200, 200])
        self.assertEqual([redis.command('EXISTS', NAME % ('client', key))
                          for key in 'abcd'], [1, 1, 0, 1])

        # and so it stays

        self.assertEqual([gw.get('/t?k=' + key).status for key in 'abd'],
                         [429, 429, 200])

    def test_full_calls(self):
        redis = self.redis()
        gw = self.start(redis)
        self.shared(gw)
        before = self.calls(redis)
        got = self.at_once(gw, ['/t?k=%d' % n for n in range(150)])
        self.assertEqual({status for status, _ in got}, {200})
        self.assertEqual(self.calls(redis), before + 3)

    def test_all_or_none(self):
        """A request that one of its limits refuses debits none of them, the
        request behind it finds all as it was; a dry run refuses nobody."""

        redis = self.redis()
        gw = self.start(redis)
        self.shared(gw)
        before = self.calls(redis)
        got = self.at_once(gw, ['/t?k=%d&p=small&d=x' % n for n in range(6)]
                           + ['/t?k=5', '/t?k=0&c=5', '/t?k=0&c=4&p=other'])
        self.assertEqual(self.calls(redis), before + 1)
        self.assertEqual(got[1:], [(200, 'REJECTED_DRY_RUN tried')] * 2
                         + [(429, 'REJECTED plan')] * 3
                         + [(200, 'PASSED client'), (429, 'REJECTED client'),
                            (200, 'PASSED client')])
        self.assertEqual(got[0][0], 200)
        self.assertTrue(got[0][1].startswith('PASSED '))
        self.assertEqual([redis.command('EXISTS', NAME % ('client', n))
                          for n in range(6)], [1, 1, 1, 0, 0, 1])

    def test_client_leaves(self):
        """One of those that wait for an answer leaves; the others get
        theirs, and what it has asked for stays debited."""

        redis = self.redis()
        gw = self.start(redis)
        self.shared(gw)
        redis.freeze()
        try:
            clients = self.send_at_once(gw, ['/t?k=a', '/t?k=b&c=5',
                                             '/t?k=a&c=4', '/t?k=c'])
            clients[1].close()
            penstock.wait_for(lambda: '/t?k=b&c=5 HTTP/1.1" 499'
                              in gw.access_log())
        finally:
            redis.thaw()
        self.assertEqual([clients[n].read()[0] for n in (0, 2, 3)],
                         [200, 200, 200])
        self.assertEqual([gw.get('/t?k=' + key).status for key in 'abc'],
                         [429, 429, 200])

    def test_all_leave(self):
        """Nobody waits for the answer any more, and it comes."""

        redis = self.redis()
        gw = self.start(redis)
        self.shared(gw)
        redis.freeze()
        try:
            for client in self.send_at_once(gw, ['/t?k=a', '/t?k=b']):
                client.close()
            penstock.wait_for(
                lambda: gw.access_log().count('" 499') == 2)
        finally:
            redis.thaw()
        self.assertEqual(gw.get('/t?k=a').headers['X-Told'],
                         'PASSED client')
        self.assertEqual(int(redis.command('GET', NAME % ('client', 'a'))
                             .split()[1]) // (86400 * 10**9), 1)

    def fake(self, answer):
        fake = Fake(answer)
        self.addCleanup(fake.socket.close)
        gw = self.start(fake)
        return fake, gw

    def asks(self, argv):
        return any(arg.startswith(b'penstock:rl:{client:') for arg in argv)

    def test_nobody_waits(self):
        """While a call is out those behind it leave all the same."""

        def answer(fake, s, argv):
            if not self.asks(argv):
                return b'*0\r\n'
            calls = sum(self.asks(c) for c in fake.commands)
            return b'*2\r\n:0\r\n:1\r\n' * 2 if calls == 2 else None

        fake, gw = self.fake(answer)
        first, second = self.clients(gw, 2)
        first.send('/t?k=a')
        penstock.wait_for(lambda: any(self.asks(c) for c in fake.commands))
        second.send('/t?k=b')
        self.assertEqual(first.read(), (200, 'PASSED client'))
        self.assertEqual(second.read(), (200, 'PASSED client'))

    def test_broken_replies(self):
        """A reply that is not as it should be decides none of them."""

        reply = [b'']

        def answer(fake, s, argv):
            return reply[0] if self.asks(argv) else b'*0\r\n'

        fake, gw = self.fake(answer)
        time = b':1764100000000000\r\n'
        good = [b':0\r\n'] * 3 + [time]
        for n, (elements, told) in enumerate((
                (good, 'PASSED'),
                (good[1:], 'FALLBACK'),
                (good + good[:1], 'FALLBACK'),
                ([], 'FALLBACK'),
                (good[:3], 'FALLBACK'),
                (good[:3] + [b'$1\r\n1\r\n'], 'FALLBACK'),
                ([b':0\r\n', b'+0\r\n', b':0\r\n', time], 'FALLBACK'),
                ([b':0\r\n', b':0\r\n', b'$-1\r\n', time], 'FALLBACK'),
                # of two limits of one request one refuses, one does not
                ([b':0\r\n', b':-1\r\n', b':0\r\n', time], 'FALLBACK'),
                ([b':0\r\n', b':0\r\n', b':9223372036854775807\r\n', time],
                 'FALLBACK'),
                ([b':-9223372036854775808\r\n', b':0\r\n', b':0\r\n', time],
                 'FALLBACK'),
                (None, 'FALLBACK'),
                (good, 'PASSED'))):
            reply[0] = b'+OK\r\n' if elements is None else \
                b'*%d\r\n' % len(elements) + b''.join(elements)
            got = self.at_once(gw, ['/t?k=%d-a' % n,
                                    '/t?k=%d-b&p=%d' % (n, n)])
            self.assertEqual([(s, t.split()[0]) for s, t in got],
                             [(200, told)] * 2, reply[0])


if __name__ == '__main__':
    unittest.main()
