"""The ERP's budget: never more at the ERP than the limit, by its own count,
whoever dies; writes have their share; clients take turns; it learns.
"""

import json
import os
import signal
import threading
import time
import unittest
import uuid

import penstock

CONF = '''
    %%REDIS_BLOCK%%
    erp_budget_zone erp:1m limit=%%LIMIT%% writes=%%WRITES%% lease=5s
                    %%REDIS_ARG%%;
    availability_zone a:1m;

    upstream erp {
        server 127.0.0.1:%%ERP%%;
        keepalive 32;
    }

    upstream erp_by_two_names {
        server 127.0.0.1:%%ERP%% max_fails=0;
        server 127.0.0.1:%%ERP%% max_fails=0;
    }

    server {
        listen 127.0.0.1:%%PORT%%;

        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_read_timeout %%READ_TIMEOUT%%;
        erp_budget erp queue=%%QUEUE%% timeout=%%TIMEOUT%%
                   client=$http_x_client;
        %%MORE%%

        location = /availability {
            availability_cache       a;
            availability_cache_key   $request_uri;
            proxy_pass http://erp;
        }

        location = /orders {
            proxy_pass http://erp;
        }

        location /plain/ {
            proxy_pass http://erp/;
        }

        location /two/ {
            if ($arg_location = 1) { set $odd 1; }
            proxy_pass http://erp_by_two_names/;
        }

        location = /two/kept {
            availability_cache       a;
            availability_cache_key   $request_uri;
            proxy_pass http://erp_by_two_names/availability;
        }

        location /off/ {
            erp_budget off;
            erp_breaker off;
            mirror /off-copy;
            proxy_pass http://erp/;
        }

        location = /off-copy {
            internal;
            erp_budget off;
            erp_breaker off;
            proxy_pass http://erp/;
        }

        location = /status {
            erp_budget off;
            erp_breaker off;
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


class Case(penstock.TestCase):

    redis_ = False
    alone = ''
    kept = ()       # options of Redis

    def start(self, gateways=1, limit=4, writes=1, queue=200, timeout='15s',
              more='', latency='30ms', workers=2, read_timeout='60s',
              style='bc'):
        self.limit = limit
        self.store = self.redis(*self.kept) if self.redis_ else None
        self.erp_ = self.erp('--latency', latency, '--concurrency', '0',
                             '--max-age', '60', '--style', style)
        self.erp_.request('POST', '/__stock', body={
            'sku': 'A', 'location': 'L1', 'available': 100000})
        self.gw = [self.gateway(
            CONF, workers=workers, ERP=self.erp_.port, LIMIT=limit,
            WRITES=writes, QUEUE=queue, TIMEOUT=timeout, MORE=more,
            READ_TIMEOUT=read_timeout,
            REDIS_BLOCK=REDIS % self.redis_port(n) if self.redis_ else '',
            REDIS_ARG='redis=main ' + self.alone if self.redis_ else '')
            for n in range(gateways)]
        if self.redis_:
            # for two seconds from its start Redis lets nobody in
            penstock.wait_for(lambda: self.write().status != 503)
            self.control(reset=True)
        return self.gw

    def redis_port(self, gw):
        return self.store.port

    def control(self, **said):
        answer = self.erp_.request('POST', '/__control', body=said)
        self.assertEqual(answer.status, 200, answer)

    def stats(self):
        return self.erp_.request('GET', '/__stats').json()

    def write(self, gw=0, client='c', **kw):
        return self.gw[gw].post('/orders', json.dumps({
            'order_id': uuid.uuid4().hex[:12], 'customer': 'c',
            'lines': [{'sku': 'A', 'location': 'L1', 'quantity': 1}]}),
            {'X-Client': client}, **kw)

    def read(self, n, gw=0, **kw):
        return self.gw[gw].get('/availability?sku=A&n=%s' % n, **kw)

    def kind(self, answer):
        return answer.json()['type'].rsplit(':', 1)[1]

    def metric(self, name, gw=0):
        for line in self.gw[gw].get('/status', {
                'Accept': 'text/plain'}).body.decode().splitlines():
            if line.startswith(name + '{'):
                return float(line.split()[-1])
        raise AssertionError(name)


def crowd(calls):
    got = [None] * len(calls)

    def one(n):
        try:
            got[n] = calls[n]()
        except OSError as error:
            got[n] = error

    threads = [threading.Thread(target=one, args=(n,))
               for n in range(len(calls))]
    for thread in threads:
        thread.start()
    return got, threads


def join(threads):
    for thread in threads:
        thread.join()


class Budget(Case):

    def hosts(self):
        return 2 if self.redis_ else 1

    def test_never_more(self):
        """Writes, fills and plain reads from all hosts: all are served."""
        self.start(gateways=self.hosts())
        calls = []
        for n in range(60):
            gw = n % len(self.gw)
            calls.append(lambda gw=gw: self.write(gw))
            calls.append(lambda n=n, gw=gw: self.read(n, gw))
        for n in range(30):
            calls.append(lambda n=n: self.gw[n % len(self.gw)].get(
                '/plain/availability?sku=A&n=%d' % n))
        got, threads = crowd(calls)
        join(threads)
        self.assertEqual({getattr(a, 'status', a) for a in got}, {200, 201})
        stats = self.stats()
        self.assertLessEqual(stats['highest_concurrency'], self.limit)
        self.assertEqual(stats['highest_concurrency'], self.limit)
        self.assertEqual(stats['orders'], 60)

    def test_worker_killed(self):
        """What it held stays taken; others go on within the rest."""
        self.start(gateways=self.hosts(), latency='400ms', read_timeout='3s')
        got, threads = crowd([lambda n=n: self.write(n % len(self.gw))
                              for n in range(40)])
        penstock.wait_for(lambda: self.stats()['writes'] >= 4)
        os.kill(self.gw[0].workers()[0], signal.SIGKILL)
        self.gw[0].allow.append(penstock.re.compile('exited on signal 9'))
        join(threads)
        # the kernel may have given it any number of the connections
        told = [a for a in got if hasattr(a, 'status')]
        done = [a for a in told if a.status == 201]
        self.assertGreaterEqual(len(done), len(told) // 2)
        self.assertLessEqual(self.stats()['highest_concurrency'], self.limit)
        # and its places come back
        got, threads = crowd([lambda n=n: self.write(n % len(self.gw))
                              for n in range(16)])
        join(threads)
        self.assertEqual({a.status for a in got}, {201})
        self.assertLessEqual(self.stats()['highest_concurrency'], self.limit)

    def test_given_up(self):
        """The ERP may still be at what timed out here."""
        self.start(gateways=self.hosts(), limit=2, writes=0,
                   read_timeout='1s')
        self.control(slow=2, slow_time='2500ms')
        got, threads = crowd([self.write] * 2)
        join(threads)
        self.assertEqual({a.status for a in got}, {504})
        got, threads = crowd([lambda n=n: self.write(n % len(self.gw))
                              for n in range(6)])
        join(threads)
        self.assertEqual({a.status for a in got}, {201})
        self.assertLessEqual(self.stats()['highest_concurrency'], 2)

    def test_no_second_server(self):
        """A read that got no answer in time may be at work there still."""

        self.start(limit=2, writes=0, latency='2500ms', read_timeout='1s')
        for method, path in (('GET', 'availability'), ('GET', 'kept'),
                             ('HEAD', 'availability'), ('HEAD', 'kept'),
                             ('OPTIONS', 'availability')):
            with self.subTest(method=method, path=path):
                penstock.wait_for(lambda: self.stats()['running'] == 0)
                self.control(reset=True)
                target = '/two/%s?sku=%s' % (path, method)
                got = penstock.together(
                    [lambda n=n: self.gw[0].request(
                        method, '%s&location=%d' % (target, n), timeout=20)
                     for n in range(2)])
                self.assertLessEqual({r.status for r in got}, {502, 503, 504})
                # what came before may have its place still
                self.assertIn(self.stats()['highest_concurrency'], (1, 2))

    def test_off_is_off(self):
        """Nothing is led there, so a mirror has its copies."""

        self.start(limit=1, writes=0)
        granted = self.metric('penstock_erp_budget_granted_total')
        threads = crowd([lambda m=m: self.gw[0].request(m, '/off/orders')
                         for m in ('GET', 'POST', 'PUT')])[1]
        join(threads)
        penstock.wait_for(lambda: self.stats()['reads']
                          + self.stats()['writes'] == 6, what='the copies')
        self.assertEqual(self.metric('penstock_erp_budget_granted_total'),
                         granted)

    def test_share_of_writes(self):
        """Reads can't take the places that are for writes."""
        self.start(limit=3, writes=1, latency='1s')
        got, threads = crowd([lambda n=n: self.read(n) for n in range(10)])
        penstock.wait_for(lambda: self.stats()['running'] == 2)
        self.assertEqual(self.stats()['highest_concurrency'], 2)
        self.assertEqual(self.write().status, 201)
        # those before it are not through
        self.assertIn(None, got)
        join(threads)
        self.assertEqual({a.status for a in got}, {200})

    def test_queue_full_and_late(self):
        self.start(limit=1, writes=0, queue=2, timeout='400ms',
                   latency='1500ms')
        got, threads = crowd([self.write])
        penstock.wait_for(lambda: self.stats()['running'] == 1)
        more, others = crowd([self.write] * 5)
        join(others)
        kinds = sorted(self.kind(a) for a in more)
        self.assertEqual(kinds, ['queue-full'] * 3 + ['queue-timeout'] * 2)
        for answer in more:
            self.assertEqual(answer.status, 503)
            self.assertGreaterEqual(int(answer.headers['Retry-After']), 1)
        join(threads)
        self.assertEqual(got[0].status, 201)
        self.assertEqual(self.stats()['writes'], 1)
        self.assertEqual(self.metric('penstock_erp_budget_queue_full_total'),
                         3)

    def test_turns(self):
        """One client's 30 don't hold up the other's 3."""
        self.start(limit=1, writes=0, latency='40ms')
        done = []

        def one(client):
            answer = self.write(client=client)
            done.append((client, answer.status))

        got, threads = crowd([lambda: one('many')] * 30)
        penstock.wait_for(lambda: self.stats()['writes'] >= 2)
        few, others = crowd([lambda: one('few')] * 3)
        join(others)
        seen = len(done)
        join(threads)
        self.assertEqual({s for _, s in done}, {201})
        self.assertLess(seen, 20)

    def test_learns(self):
        """A refusal narrows the budget, and is one problem for all."""
        self.start(limit=8, writes=0, style='netsuite',
                   more='erp_overload 400 SSS_REQUEST_LIMIT_EXCEEDED;')
        self.control(concurrency=2)
        got, threads = crowd([self.write] * 8)
        join(threads)
        refused = [a for a in got if a.status != 201]
        self.assertTrue(refused)
        for answer in refused:
            self.assertEqual((answer.status, self.kind(answer)),
                             (503, 'overload'))
            self.assertGreaterEqual(int(answer.headers['Retry-After']), 1)
        self.assertLess(self.metric('penstock_erp_budget_limit'), 8)
        self.assertGreaterEqual(
            self.metric('penstock_erp_budget_overload_total'), 1)
        penstock.wait_for(
            lambda: self.metric('penstock_erp_budget_limit') == 8)

    def test_429(self):
        self.start(limit=8, writes=0)
        self.control(concurrency=1)
        got, threads = crowd([lambda n=n: self.read('l%d' % n)
                              for n in range(6)])
        join(threads)
        self.assertLessEqual({a.status for a in got}, {200, 503})
        self.assertIn(503, {a.status for a in got})
        self.assertLess(self.metric('penstock_erp_budget_limit'), 8)


class Breaker(Case):

    def test_opens_and_closes(self):
        self.start(more='erp_breaker erp failures=50% window=10s open=1s '
                        'least=4;')
        self.assertEqual(self.write().status, 201)
        self.control(fail=-1, fail_status=500)
        for _ in range(4):
            self.write()
        writes = self.stats()['writes']
        answer = self.write()
        self.assertEqual((answer.status, self.kind(answer)),
                         (503, 'circuit-open'))
        self.assertGreaterEqual(int(answer.headers['Retry-After']), 1)
        self.assertEqual(self.read('x').status, 503)
        self.assertEqual(self.stats()['writes'], writes)
        self.assertEqual(self.metric('penstock_erp_breaker_state'), 1)
        # half open: one probe fails and it opens again
        penstock.wait_for(
            lambda: self.metric('penstock_erp_breaker_state') == 2)
        self.assertEqual(self.write().status, 500)
        self.assertEqual(self.write().status, 503)
        self.control(fail=0)
        penstock.wait_for(lambda: self.write().status == 201, step=0.1)
        self.assertEqual(self.metric('penstock_erp_breaker_state'), 0)
        self.assertEqual(self.metric('penstock_erp_breaker_opened_total'), 2)

    def test_one_probe(self):
        """Of many that come when it is half open one goes."""
        self.start(latency='300ms', more='erp_breaker erp open=500ms '
                                         'least=2;')
        self.erp_.kill()
        for _ in range(3):
            self.write()
        self.erp_.start()
        self.erp_.request('POST', '/__stock', body={
            'sku': 'A', 'location': 'L1', 'available': 100000})
        penstock.wait_for(
            lambda: self.metric('penstock_erp_breaker_state') == 2)
        got, threads = crowd([self.write] * 10)
        join(threads)
        self.assertEqual(sorted(a.status for a in got), [201] + [503] * 9)


if __name__ == '__main__':
    unittest.main()
