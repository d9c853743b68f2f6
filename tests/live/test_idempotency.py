"""Orders with an Idempotency-Key reach the ERP once: whatever dies, each
order is in the ERP once or not at all, and its client was told the truth.

Here with the keys in shared memory; test_idempotency_redis.py runs the same
with Redis and two hosts.
"""

import json
import os
import signal
import tempfile
import threading
import time
import unittest
import uuid

import penstock

CONF = '''
    %%REDIS_BLOCK%%
    idempotency_zone orders:1m %%REDIS_ARG%%;
    availability_zone a:1m %%REDIS_ARG%%;

    upstream erp {
        server 127.0.0.1:%%ERP%%;
        keepalive 16;
        keepalive_timeout 5s;
    }

    server {
        listen 127.0.0.1:%%PORT%%;

        location = /availability {
            availability_cache       a;
            availability_cache_key   $request_uri;
            availability_cache_tag   arg=sku;
            proxy_pass http://erp;
        }

        location = /orders {
            idempotency orders pass=X-Erp-Key scope=$http_x_client
                        lease=2s %%IDEMPOTENCY%%;
            %%RECONCILE%%
            availability_invalidate zone=a /lines/*/sku;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_read_timeout 3s;
            proxy_pass http://erp;
        }

        location = /_look {
            internal;
            proxy_pass http://erp/orders/by-key/$idempotency_id;
        }

        location = /_other {
            internal;
            proxy_pass http://127.0.0.1:%%OTHER%%;
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

LOOK = 'idempotency_reconcile /_look after=1s;'


def order(n=None):
    return {'order_id': n or uuid.uuid4().hex[:12], 'customer': 'c',
            'lines': [{'sku': 'SKU-1', 'location': 'BER', 'quantity': 1}]}


class Case(penstock.TestCase):

    def start(self, gateways=1, redis=False, reconcile='', idempotency='',
              workers=2, latency='20ms', erp=(), other=None, **kw):
        self.store = self.redis() if redis else None
        self.erp_ = self.erp('--latency', latency, '--concurrency', '0',
                             '--key-header', 'X-Erp-Key', *erp)
        self.stock()
        self.gw = [self.gateway(
            CONF, workers=workers, ERP=self.erp_.port,
            REDIS_BLOCK=REDIS % self.store.port if redis else '',
            REDIS_ARG='redis=main' if redis else '',
            RECONCILE=reconcile, IDEMPOTENCY=idempotency,
            OTHER=other or self.erp_.port, **kw)
            for _ in range(gateways)]
        return self.gw

    def stock(self):
        self.erp_.request('POST', '/__stock', body={
            'sku': 'SKU-1', 'location': 'BER', 'available': 100000})

    def control(self, **said):
        answer = self.erp_.request('POST', '/__control', body=said)
        self.assertEqual(answer.status, 200, answer)

    def stats(self):
        return self.erp_.request('GET', '/__stats').json()

    def send(self, key, body=None, gw=0, client='c', more={}, **kw):
        headers = {'Content-Type': 'application/json', 'X-Client': client,
                   **more}
        if key is not None:
            headers['Idempotency-Key'] = '"%s"' % key
        return self.gw[gw].post('/orders', json.dumps(body or self.body),
                                headers, **kw)

    def kind(self, answer):
        return answer.json()['type'].rsplit(':', 1)[1]

    def setUp(self):
        self.body = order()


class Keys(Case):
    """What a client sees, in shared memory and in Redis alike."""

    redis_ = False

    def begin(self, **kw):
        return self.start(redis=self.redis_, **kw)

    def test_replay(self):
        self.begin()
        first = self.send('k')
        again = self.send('k')
        self.assertEqual(first.status, 201)
        self.assertNotIn('Idempotent-Replayed', first.headers)
        self.assertEqual(again.status, 201)
        self.assertEqual(again.body, first.body)
        self.assertEqual(again.headers['Idempotent-Replayed'], 'true')
        self.assertEqual(again.headers['Content-Type'],
                         first.headers['Content-Type'])
        self.assertEqual(again.headers['Location'],
                         first.headers['Location'])
        self.assertEqual(self.stats()['writes'], 1)

    def test_same_body_in_chunks(self):
        """The print is of the body, not of how it came."""
        self.begin()
        body = dict(self.body, note='x' * 40000)
        first = self.send('k', body)
        self.assertEqual(first.status, 201)
        text = json.dumps(body).encode()
        again = self.gw[0].post(
            '/orders', b''.join(b'%x\r\n%s\r\n' % (len(part), part)
                                for part in (text[:7], text[7:30000],
                                             text[30000:], b'')),
            {'Transfer-Encoding': 'chunked', 'Idempotency-Key': '"k"',
             'Content-Type': 'application/json', 'X-Client': 'c'})
        self.assertEqual((again.status, again.body), (201, first.body))

    def test_key_goes_along(self):
        self.begin()
        self.send('k "1"'.replace('"', '\\"'))
        self.send(None, order())
        seen = [r['headers'].get('x-erp-key') for r in
                self.erp_.request('GET', '/__requests').json()
                if r['method'] == 'POST']
        self.assertEqual(seen[1], None)
        self.assertEqual(str(uuid.UUID(seen[0])), seen[0])
        self.assertEqual(uuid.UUID(seen[0]).version, 8)

    def test_other_body_client_and_key(self):
        self.begin()
        self.assertEqual(self.send('k').status, 201)
        other = self.send('k', order())
        self.assertEqual((other.status, self.kind(other)),
                         (422, 'idempotency-key-reused'))
        self.assertEqual(self.send('k', order(), client='d').status, 201)
        self.assertEqual(self.send('l', order()).status, 201)
        self.assertEqual(self.stats()['writes'], 3)

    def test_in_progress(self):
        self.begin(latency='2s')
        first = []
        thread = threading.Thread(
            target=lambda: first.append(self.send('k')))
        thread.start()
        penstock.wait_for(lambda: self.stats()['writes'] == 1)
        second = self.send('k')
        self.assertEqual((second.status, self.kind(second)),
                         (409, 'idempotency-in-progress'))
        self.assertGreaterEqual(int(second.headers['Retry-After']), 1)
        thread.join()
        self.assertEqual(first[0].status, 201)
        self.assertEqual(self.send('k').headers['Idempotent-Replayed'],
                         'true')
        self.assertEqual(self.stats()['writes'], 1)

    def test_required_and_invalid(self):
        self.begin(idempotency='required')
        none = self.send(None)
        self.assertEqual((none.status, self.kind(none)),
                         (400, 'idempotency-key-missing'))
        for bad in ('k', '"k', '""', '"%s"' % ('x' * 256), '"a"; p=1',
                    '"a", "b"', '"\x01"', '"\\x"'):
            answer = self.gw[0].post('/orders', json.dumps(self.body),
                                     {'Idempotency-Key': bad})
            self.assertEqual((answer.status, self.kind(answer)),
                             (400, 'idempotency-key-invalid'), bad)
        self.assertEqual(self.stats()['writes'], 0)

    def test_refusals_of_the_erp(self):
        """4xx is an answer; 429 and 503 say that nothing happened."""
        self.begin()
        bad = dict(self.body, lines=[])
        first = self.send('k', bad)
        self.assertEqual(first.status, 422)
        again = self.send('k', bad)
        self.assertEqual((again.status, again.headers['Idempotent-Replayed']),
                         (422, 'true'))
        for status in 429, 503:
            self.control(fail=1, fail_status=status)
            body = order()
            self.assertEqual(self.send('k%d' % status, body).status, status)
            self.assertEqual(self.send('k%d' % status, body).status, 201)

    def test_unknown_outcome(self):
        """No answer, half of one, 500: the order may be there."""
        self.begin()
        for fault, status in (('lose', 502), ('truncate', 502),
                              ('fail', 500), ('drop', 502), ('hang', 504)):
            body = order()
            self.control(**{fault: 1, 'fail_status': 500})
            writes = self.stats()['writes']
            first = self.send(fault, body)
            self.assertEqual(first.status, status, fault)
            if fault != 'fail':
                self.assertEqual(self.kind(first), 'unknown-outcome', fault)
            again = self.send(fault, body)
            self.assertEqual((again.status, self.kind(again)),
                             (409, 'idempotency-unknown-outcome'), fault)
            self.assertEqual(self.stats()['writes'], writes + 1, fault)

    def test_not_reached(self):
        """A refused connection is no unknown outcome: try again."""
        self.begin()
        self.erp_.kill()
        down = self.send('k')
        self.assertEqual((down.status, self.kind(down)), (503, 'not-sent'))
        self.erp_.start()
        self.stock()
        self.assertEqual(self.send('k').status, 201)

    def test_reconcile(self):
        """It was done: the ERP's own word is the answer from then on."""
        self.begin(reconcile=LOOK)
        self.control(lose=1)
        self.assertEqual(self.send('k').status, 502)
        found = self.send('k')
        self.assertEqual((found.status, found.headers['Idempotent-Replayed']),
                         (200, 'true'))
        self.assertEqual(found.json()['order_id'], self.body['order_id'])
        self.assertEqual(self.send('k').body, found.body)
        self.assertEqual(self.stats()['writes'], 1)
        self.assertEqual(self.stats()['lookups'], 1)

    def test_reconcile_not_done(self):
        """It was not: only after a while, as it may still be coming."""
        self.begin(reconcile=LOOK)
        self.control(drop=1)
        self.assertEqual(self.send('k').status, 502)
        early = self.send('k')
        self.assertEqual((early.status, self.kind(early)),
                         (409, 'idempotency-unknown-outcome'))
        self.assertIn('Retry-After', early.headers)
        self.assertEqual(self.stats()['writes'], 1)
        done = penstock.wait_for(
            lambda: (lambda a: a if a.status != 409 else None)(
                self.send('k')), step=0.3)
        self.assertEqual(done.status, 201)
        self.assertEqual(self.stats()['writes'], 2)
        self.assertEqual(self.stats()['orders'], 1)

    def test_reconcile_fails(self):
        """The ERP can't say: still unknown."""
        self.begin(reconcile=LOOK)
        self.control(lose=1)
        self.assertEqual(self.send('k').status, 502)
        self.control(fail=1, fail_status=500)
        self.assertEqual(self.send('k').status, 409)
        self.assertEqual(self.send('k').status, 200)

    def test_reconcile_says_nothing(self):
        """404 of nginx's own is no word of the ERP's, 3xx no clear one:
        still unknown, and logged."""
        vague = self.origin(lambda h: h.send(302, '', {'Location': '/'}))
        self.begin(reconcile='idempotency_reconcile /_$http_x_look after=0;',
                   other=vague.port)
        self.control(drop=1)
        self.assertEqual(self.send('k').status, 502)
        for look, said in (('nowhere', 'it is no answer of the upstream, '
                            'status 404'),
                           ('other', 'it says neither that it took effect '
                            'nor that it did not, status 302')):
            answer = self.send('k', more={'X-Look': look})
            self.assertEqual((answer.status, self.kind(answer)),
                             (409, 'idempotency-unknown-outcome'))
            self.gw[0].wait_log("can't be used: %s" % said)
        self.assertEqual(self.stats()['writes'], 1)
        self.assertEqual(self.send('k', more={'X-Look': 'look'}).status, 201)

    def test_reconcile_large(self):
        """It was done, and that is what the client is told."""
        large = self.origin(lambda h: h.send(200, 'x' * 300000))
        self.begin(reconcile='idempotency_reconcile /_other;',
                   other=large.port)
        self.control(lose=1)
        self.assertEqual(self.send('k').status, 502)
        for _ in range(3):
            found = self.send('k')
            self.assertEqual((found.status, self.kind(found)),
                             (409, 'idempotency-answer-not-kept'))
        self.assertEqual(self.stats()['writes'], 1)
        self.assertEqual(len(large.requests), 1)

    def test_client_leaves(self):
        """The order goes on, and its answer waits for the next try."""
        self.begin(latency='1500ms')
        with self.assertRaises(OSError):
            self.send('k', timeout=0.5)
        penstock.wait_for(lambda: self.stats()['orders'] == 1)
        again = penstock.wait_for(
            lambda: (lambda a: a if a.status != 409 else None)(
                self.send('k')), step=0.1)
        self.assertEqual((again.status, again.headers['Idempotent-Replayed']),
                         (201, 'true'))
        self.assertEqual(self.stats()['writes'], 1)

    def test_worker_killed(self):
        """Its lease ends; the outcome is unknown, not free."""
        self.begin(latency='3s')
        got = []

        def one():
            try:
                got.append(self.send('k'))
            except OSError:
                got.append(None)

        thread = threading.Thread(target=one)
        thread.start()
        penstock.wait_for(lambda: self.stats()['writes'] == 1)
        [worker] = self.gw[0].connected(dport=self.erp_.port)
        os.kill(worker, signal.SIGKILL)
        thread.join()
        self.assertEqual(got, [None])
        self.gw[0].allow.append(penstock.re.compile('exited on signal 9'))
        self.assertEqual(self.send('k').status, 409)
        answer = penstock.wait_for(
            lambda: (lambda a: a if self.kind(a)
                     == 'idempotency-unknown-outcome' else None)(
                self.send('k')), step=0.2)
        self.assertEqual(answer.status, 409)
        self.assertEqual(self.stats()['writes'], 1)

    def test_reload(self):
        self.begin(latency='2s')
        got = []
        thread = threading.Thread(
            target=lambda: got.append(self.send('k')))
        thread.start()
        penstock.wait_for(lambda: self.stats()['writes'] == 1)
        self.gw[0].reload()
        self.assertEqual(self.send('k').status, 409)
        thread.join()
        self.assertEqual(got[0].status, 201)
        self.assertEqual(self.send('k').status, 201)
        self.assertEqual(self.stats()['writes'], 1)

    def test_storm(self):
        """100 connections, one key: one order, and all know of it."""
        self.begin(gateways=2 if self.redis_ else 1, latency='200ms')
        got = storm(self, 100, lambda n: self.send('k', gw=n
                                                   % len(self.gw)))
        self.assertEqual({a.status for a in got} - {409}, {201})
        self.assertEqual(self.stats()['writes'], 1)
        bodies = {a.body for a in got if a.status == 201}
        self.assertEqual(len(bodies), 1)
        for gw in range(len(self.gw)):
            self.assertEqual(self.send('k', gw=gw).status, 201)
        self.assertEqual(self.stats()['writes'], 1)

    def test_many_keys(self):
        """Each key five times at once, from everywhere: once each."""
        self.begin(gateways=2 if self.redis_ else 1, latency='10ms')
        bodies = [order() for _ in range(30)]
        storm(self, 150, lambda n: self.send(
            'k%d' % (n % 30), bodies[n % 30], gw=n % len(self.gw)))
        self.assertEqual(self.stats()['writes'], 30)
        self.assertEqual(self.stats()['orders'], 30)

    def test_read_own_write(self):
        """The cells an order touched are new before its answer is there."""
        self.begin()

        def left(gw=0):
            answer = self.gw[gw].get(
                '/availability?sku=SKU-1&location=BER')
            return answer.json()['items'][0]['available']

        before = left()
        for n in range(3):
            self.assertEqual(self.send('r%d' % n, order()).status, 201)
            self.assertEqual(left(), before - n - 1)

        self.control(lose=1)
        self.assertEqual(self.send('lost').status, 502)
        self.assertEqual(left(), before - 4)

        fills = self.stats()['reads']
        self.assertEqual(self.send('r1', order()).status, 422)
        left()
        self.assertEqual(self.stats()['reads'], fills)


def storm(case, n, call):
    got, mutex = [], threading.Lock()
    go = threading.Barrier(n)

    def one(i):
        go.wait()
        answer = call(i)
        with mutex:
            got.append(answer)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    case.assertEqual(len(got), n)
    return got


class ErpKilled(Case):
    """Before, while and after it commits: tried again with its key, an order
    is there once, and what the client heard was true."""

    def start(self, **kw):
        self.db = tempfile.NamedTemporaryFile(suffix='.sqlite')
        self.addCleanup(self.db.close)
        super().start(reconcile=LOOK, erp=('--db', self.db.name),
                      latency='600ms', **kw)
        self.left = self.available()

    def available(self):
        return self.erp_.request(
            'GET', '/availability?sku=SKU-1&location=BER'
        ).json()['items'][0]['available']

    def killed(self, when):
        body, got = order(), []
        self.before = self.stats()['writes']
        thread = threading.Thread(
            target=lambda: got.append(self.send(body['order_id'], body)))
        thread.start()
        when()
        self.erp_.kill()
        thread.join()
        self.assertEqual((got[0].status, self.kind(got[0])),
                         (502, 'unknown-outcome'))
        self.erp_.start()
        there = self.erp_.request('GET', '/orders/' + body['order_id']).status
        again = penstock.wait_for(
            lambda: (lambda a: a if a.status != 409 else None)(
                self.send(body['order_id'], body)), step=0.2)
        self.assertEqual(again.status, 200 if there == 200 else 201)
        self.assertEqual(again.json()['order_id'], body['order_id'])
        self.left -= 1
        self.assertEqual(self.available(), self.left)
        return there

    def writes(self):
        penstock.wait_for(
            lambda: self.stats()['writes'] == self.before + 1)

    def test_before(self):
        self.start()
        self.assertEqual(self.killed(self.writes), 404)

    def test_after(self):
        self.start()
        self.assertEqual(self.killed(lambda: penstock.wait_for(
            lambda: self.stats()['orders'] == 1)), 200)

    def test_about_then(self):
        self.start()
        for ms in 285, 300:

            def when():
                self.writes()
                time.sleep(ms / 1000)

            self.killed(when)


if __name__ == '__main__':
    unittest.main()
