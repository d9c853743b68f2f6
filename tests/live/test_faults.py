"""Fault by feature: what each feature does while the link to Redis, to the ERP
or to the token issuer is spoiled in each of the ways of faults.Proxy, and
that all is well again when the link is.

What is promised is DESIGN.md's table "when something is down"; a link that is
only slow, or gives its bytes one by one, keeps every promise of a good one.
Each column is a gateway with one fault; they run side by side.  A table of all
cells is printed, with what was wrong.
"""

import http.client
import json
import os
import shutil
import sys
import tempfile
import threading
import time
import unittest
import urllib.parse

import faults
import penstock
import test_bound
from test_oauth import tool

CONF = '''
    redis main {
        server 127.0.0.1:%%REDIS%%;
        timeout connect=1s command=1s;
    }

    availability_zone   stock:1m redis=main;
    availability_zone   alone:1m;
    rate_limit_zone     $arg_c zone=local:1m rate=1r/h burst=2 redis=main;
    rate_limit_zone     $arg_c zone=allow:1m rate=1r/h burst=2 redis=main
                        fallback=allow;
    rate_limit_zone     $arg_c zone=deny:1m rate=1r/h burst=2 redis=main
                        fallback=deny;
    rate_limit_zone     $arg_c zone=here:1m rate=1r/h burst=2;
    idempotency_zone    keys:1m redis=main;
    rate_limit_zone     $arg_c zone=tuned:1m rate=1r/h burst=3 redis=main;
    rate_limit_zone     $arg_c zone=tuned_here:1m rate=1r/h burst=3;
    rate_limit_concurrency_zone  $arg_c zone=run_local:1m limit=1 redis=main;
    rate_limit_concurrency_zone  $arg_c zone=run_allow:1m limit=1 redis=main
                                 fallback=allow;
    rate_limit_concurrency_zone  $arg_c zone=run_deny:1m limit=1 redis=main
                                 fallback=deny;
    rate_limit_concurrency_zone  $arg_c zone=run_here:1m limit=1;
    erp_budget_zone     shared:1m limit=4 alone=2 lease=5s redis=main;
    erp_budget_zone     own:1m limit=2 lease=5s;
    auth_dpop_zone      proofs:1m redis=main fail=closed;
    auth_jwt_key_cache  1s refetch=1s timeout=1s;

    proxy_connect_timeout  1s;
    proxy_read_timeout     1s;

    server {
        listen 127.0.0.1:%%PORT%%;
        correlation_id on;

        location = /_keys { internal; proxy_pass http://127.0.0.1:%%AS%%; }
        location = /_cold { internal; proxy_pass http://127.0.0.1:%%AS%%; }
        location = /_introspect {
            internal;
            proxy_pass http://127.0.0.1:%%AS%%;
        }

        location /stock {
            availability_cache        stock;
            availability_cache_tag    arg=sku;
            availability_cache_valid  600s;
            add_header X-Cache $availability_cache_status always;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location /held {
            availability_cache        alone;
            availability_cache_tag    arg=sku;
            availability_cache_valid  600s;
            add_header X-Cache $availability_cache_status always;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location /stale {
            availability_cache        alone;
            availability_cache_valid  1s;
            availability_cache_stale  if_error=600s;
            add_header X-Cache $availability_cache_status always;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location /orders {
            availability_invalidate zone=stock /sku;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location /orders/held {
            availability_invalidate zone=alone /sku;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location /keyed {
            idempotency keys required;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location = /cells {
            availability_cache        stock;
            availability_cache_items  arg=sku list=/items id=/sku;
            availability_cache_valid  600s;
            add_header X-Cache $availability_cache_status always;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location = /cells/held {
            availability_cache        alone;
            availability_cache_items  arg=sku list=/items id=/sku;
            availability_cache_valid  600s;
            add_header X-Cache $availability_cache_status always;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location = /cells/stale {
            availability_cache        alone;
            availability_cache_items  arg=sku list=/items id=/sku;
            availability_cache_valid  1s;
            availability_cache_stale  if_error=600s;
            add_header X-Cache $availability_cache_status always;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location = /governed/shared {
            erp_budget shared timeout=10s;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location = /governed/own {
            erp_budget own timeout=1s;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location = /frail {
            erp_breaker frail least=3 open=1s;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location = /run/local {
            rate_limit_concurrency zone=run_local;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location = /run/allow {
            rate_limit_concurrency zone=run_allow;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location = /run/deny {
            rate_limit_concurrency zone=run_deny;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location = /run/here {
            rate_limit_concurrency zone=run_here;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location = /limits { rate_limit_admin; }

        location = /limits/guarded {
            auth_jwt api;
            auth_jwt_key_request /_keys;
            rate_limit_admin;
        }

        location /limit/tuned      { rate_limit zone=tuned;      empty_gif; }
        location /limit/tuned_here { rate_limit zone=tuned_here; empty_gif; }

        location /limit/local { rate_limit zone=local; empty_gif; }
        location /limit/allow { rate_limit zone=allow; empty_gif; }
        location /limit/deny  { rate_limit zone=deny;  empty_gif; }
        location /limit/here  { rate_limit zone=here;  empty_gif; }

        location /jwt {
            auth_jwt api;
            auth_jwt_key_request /_keys;
            empty_gif;
        }

        location /cold {
            auth_jwt api;
            auth_jwt_key_request /_cold;
            empty_gif;
        }

        location /revocable/closed {
            auth_jwt api;
            auth_jwt_key_file %%KEYS%%;
            auth_jwt_revocation redis=main;
            empty_gif;
        }

        location /revocable/open {
            auth_jwt api;
            auth_jwt_key_file %%KEYS%%;
            auth_jwt_revocation redis=main fail=open;
            empty_gif;
        }

        location /opaque {
            auth_jwt api;
            auth_introspect /_introspect redis=main cache=600s;
            empty_gif;
        }

        location /bound {
            auth_jwt api;
            auth_jwt_key_file %%KEYS%%;
            auth_dpop on uri=https://api.example;
            empty_gif;
        }
    }
'''


class Parties:
    """Redis, ERP, issuer and keys: the same for all columns."""

    def __init__(self, test):
        self.mutex = threading.Lock()
        self.version = {}
        self.orders = []
        self.now, self.most = {}, {}
        self.fetches = {}
        self.dir = tempfile.mkdtemp(prefix='penstock-')
        test.addCleanup(shutil.rmtree, self.dir, True)
        for name in 'a', 'b', 'stranger':
            tool('jwks', 'gen', 'ES256', self.path(name))
        self.keys = self.path('keys.json')
        self.publish('a')
        self.client = test_bound.Key(self.dir, 'client')
        self.redis = test.redis()
        self.erp = test.origin(self.erp_answers)
        self.issuer = test.origin(self.issuer_answers)

    def path(self, name):
        return os.path.join(self.dir, name)

    def publish(self, *names):
        args = [arg for n in names for arg in ('--key', self.path(n),
                                               '--kid', n)]
        self.set = tool('jwks', 'set', *args)
        with open(self.keys + '.new', 'w') as f:
            f.write(self.set)
        os.rename(self.keys + '.new', self.keys)

    def token(self, key, **claims):
        return tool('jws', '--alg', 'ES256', '--key', self.path(key),
                    '--header', json.dumps({'alg': 'ES256', 'kid': key}),
                    '--payload', json.dumps(dict(
                        {'sub': 'x', 'exp': int(time.time()) + 3600},
                        **claims)))

    def governed(self, h):
        """Counts those of a column that are here at the same time."""

        column = h.path.split('c=')[1]
        with self.mutex:
            self.now[column] = self.now.get(column, 0) + 1
            self.most[column] = max(self.most.get(column, 0),
                                    self.now[column])
        time.sleep(0.1)
        with self.mutex:
            self.now[column] -= 1
        h.send(200, 'done')

    def erp_answers(self, h):
        if h.path.startswith('/governed'):
            self.governed(h)
            return

        if h.path.startswith(('/frail', '/run')):
            if 'hold' in h.path:
                time.sleep(0.5)
            h.send(200, 'done')
            return

        if h.path.startswith('/cells'):
            skus = urllib.parse.parse_qs(h.path.split('?')[1])['sku'][0]
            with self.mutex:
                h.send(200, {'items': [
                    {'sku': sku, 'version': self.version.get(sku, 0)}
                    for sku in skus.split(',')]})
            return

        with self.mutex:
            if h.command == 'POST':
                sku = json.loads(h.body)['sku']
                self.orders.append(sku)
                self.version[sku] = self.version.get(sku, 0) + 1
            else:
                sku = urllib.parse.parse_qs(h.path.split('?')[1])['sku'][0]
            version = self.version.get(sku, 0)
        h.send(201 if h.command == 'POST' else 200,
               {'sku': sku, 'version': version})

    def issuer_answers(self, h):
        if h.path == '/_introspect':
            token = urllib.parse.parse_qs(h.body.decode())['token'][0]
            h.send(200, {'active': token.startswith('good'), 'sub': 'x',
                         'exp': int(time.time()) + 3600})
        else:
            h.send(200, self.set, {'Content-Type': 'application/json'})


class Column:
    """One gateway with one fault in one link.  Features are methods: what
    each does before, during and after is one cell."""

    def __init__(self, test, parties, link, fault):
        self.test, self.parties, self.link = test, parties, link
        self.fault = fault
        self.name = '%s-%s' % (link, fault)
        self.cells = {}
        target = {'redis': parties.redis.port, 'erp': parties.erp.port,
                  'issuer': parties.issuer.port}
        self.proxy = faults.Proxy(target[link])
        test.addCleanup(self.proxy.teardown)
        target[link] = self.proxy.port
        self.gw = penstock.Gateway(
            CONF, start=False, REDIS=target['redis'], ERP=target['erp'],
            AS=target['issuer'], KEYS=parties.keys)
        test.addCleanup(self.gw.teardown)
        self.gw.start()

    def down(self, link):
        return self.link == link and self.fault in faults.DOWN

    def run(self, features):
        steps = {name: getattr(self, name)() for name in features}

        def step(name):
            """To the next yield of the feature; only the first fault of a
            cell is told."""

            try:
                next(steps[name], None)
            except Exception as e:
                self.cells.setdefault(name, '%s: %s' % (
                    type(e).__name__, str(e)[:300]))

        for name in features:
            step(name)

        # what is fresh for a second is no more
        time.sleep(1.2)
        self.proxy.fault = self.fault
        for name in features:
            step(name)

        self.proxy.heal()
        for name in features:
            step(name)

        return self.cells

    # helpers

    def get(self, path, token=None, scheme='Bearer', **headers):
        if token:
            headers['Authorization'] = '%s %s' % (scheme, token)
        answer = self.gw.get(path, headers, timeout=15)
        assert answer.seconds < 12, answer.seconds
        return answer

    def status(self, *args, **kw):
        return self.get(*args, **kw).status

    def same(self, value, *wanted):
        assert value in wanted, '%r, not %r' % (value, wanted)

    def refused(self, answer, *statuses, retry=True):
        """A problem document, with the ID of the correlation."""

        self.same(answer.status, *statuses)
        self.same(answer.headers['Content-Type'], 'application/problem+json')
        assert answer.headers['X-Correlation-ID'] in answer.text, answer
        if retry:
            assert answer.headers['Retry-After'], 'no Retry-After'

    def again(self, condition):
        penstock.wait_for(condition, what='it is well again', step=0.05)

    def sku(self, kind):
        return '%s-%s' % (kind, self.name)

    def read(self, path, sku):
        answer = self.get('%s?sku=%s' % (path, sku))
        self.same(answer.status, 200)
        return answer.json()['version'], answer.headers['X-Cache']

    def order(self, path, sku):
        return self.gw.request('POST', path, body={'sku': sku}, timeout=15)

    def stock_of(self, path, *skus):
        """Versions of cells, and how they were answered."""

        answer = self.get('%s?sku=%s' % (path, ','.join(skus)))
        self.same(answer.status, 200)
        items = answer.json()['items']
        self.same([i['sku'] for i in items], list(skus))
        return [i['version'] for i in items], answer.headers['X-Cache']

    def governed(self, which, n):
        path = '/governed/%s?c=%s' % (which, self.sku(which))
        return sorted(a.status for a in penstock.together(
            [lambda: self.get(path)] * n))

    def most(self, which):
        return self.parties.most.get(self.sku(which), 0)

    def at_once(self, zone, key):
        """Two of a key that stay for a while, of which one may."""

        return sorted(penstock.together(
            [lambda: self.status('/run/%s?hold&c=%s' % (zone, key))] * 2))

    def tune(self, zone, key, burst, path='/limits', token=None):
        headers = {'Authorization': 'Bearer ' + token} if token else {}
        return self.gw.request('PUT', '%s?zone=%s&key=%s' % (path, zone, key),
                               headers, {'rate': '1r/h', 'burst': burst},
                               timeout=15)

    def passed(self, zone, key, n):
        return [self.status('/limit/%s?c=%s' % (zone, key))
                for _ in range(n)].count(200)

    # features that use Redis

    def cells_held(self):
        skus = [self.sku('c%d' % n) for n in range(3)]
        self.same(self.stock_of('/cells', *skus)[0], [0] * 3)
        yield
        for _ in range(3):
            self.same(self.stock_of('/cells', *skus)[0], [0] * 3)
        yield
        self.again(lambda: self.stock_of('/cells', *skus)[1] == 'HIT')

    def cells_new(self):
        held, new = self.sku('ch'), self.sku('cn')
        self.stock_of('/cells', held)
        yield
        self.same(self.stock_of('/cells', new, held)[0], [0, 0])
        yield
        self.same(self.stock_of('/cells', held, self.sku('cm'), new)[0], [0] * 3)

    def cells_write(self):
        """A write passes, once, and this host's next read shows it."""

        sku, other = self.sku('cw'), self.sku('co')
        self.stock_of('/cells', sku, other)
        yield
        self.same(self.order('/orders', sku).status, 201)
        self.same(self.parties.orders.count(sku), 1)
        self.same(self.stock_of('/cells', other, sku)[0], [0, 1])
        yield
        self.same(self.stock_of('/cells', sku, other)[0], [1, 0])

    def budget_shared(self):
        """Never more than the limit; without Redis this host's share."""

        self.same(self.governed('shared', 2), [200] * 2)
        yield
        self.same(self.governed('shared', 6), [200] * 6)
        assert self.most('shared') <= 4, self.most('shared')
        yield
        self.same(self.governed('shared', 6), [200] * 6)
        assert self.most('shared') <= 4, self.most('shared')

    def running_local(self):
        self.same(self.at_once('local', self.sku('r')), [200, 429])
        yield
        self.same(self.at_once('local', self.sku('r')), [200, 429])
        self.same(self.status('/run/local?c=' + self.sku('r')), 200)
        yield
        self.same(self.at_once('local', self.sku('r')), [200, 429])

    def running_allow(self):
        yield
        self.same(self.status('/run/allow?c=' + self.sku('r')), 200)
        yield
        self.again(lambda: self.at_once('allow', self.sku('r'))
                   == [200, 429])

    def running_deny(self):
        yield
        if self.down('redis'):
            for _ in range(2):
                self.refused(self.get('/run/deny?c=' + self.sku('r')), 503)
        else:
            self.same(self.at_once('deny', self.sku('r')), [200, 429])
        yield
        self.again(lambda: self.at_once('deny', self.sku('r'))
                   == [200, 429])

    def tuned(self):
        """What was changed before holds on; a change that can't be made
        says so."""

        known, new = self.sku('tk'), self.sku('tn')
        self.same(self.tune('tuned', known, 1).status, 201)
        self.same(self.passed('tuned', self.sku('t'), 4), 3)
        yield
        self.same(self.passed('tuned', known, 4), 1)
        answer = self.tune('tuned', new, 1)
        if self.down('redis'):
            self.refused(answer, 503, retry=False)
        else:
            self.same(answer.status, 201)
        zones = [z['zone'] for z in self.get('/limits').json()['zones']]
        assert 'tuned' in zones, zones
        yield
        self.again(lambda: self.tune('tuned', new, 1).status in (200, 201))
        self.same(self.passed('tuned', new, 4), 1)

    # features that use the ERP

    def cells_hit(self):
        skus = [self.sku('ch%d' % n) for n in range(2)]
        self.stock_of('/cells/held', *skus)
        yield
        self.same(self.stock_of('/cells/held', *skus), ([0, 0], 'HIT'))
        yield
        self.same(self.stock_of('/cells/held', *skus), ([0, 0], 'HIT'))

    def cells_stale(self):
        skus = [self.sku('cs%d' % n) for n in range(2)]
        self.stock_of('/cells/stale', *skus)
        yield
        # an answer that took longer than it counts is passed on
        self.same(self.stock_of('/cells/stale', *skus),
                  *([([0, 0], 'STALE')] if self.down('erp') else
                    [([0, 0], 'MISS'), ([0, 0], 'PASS')]))
        yield
        time.sleep(1.1)
        self.again(lambda: self.stock_of('/cells/stale', *skus)[1]
                   in ('MISS', 'HIT'))

    def cells_none(self):
        """One that is held does not make up for one that is not."""

        held, none = self.sku('cn'), self.sku('cx')
        self.stock_of('/cells/held', held)
        yield
        path = '/cells/held?sku=%s,%s' % (held, none)
        answer = self.get(path)
        if self.down('erp'):
            self.refused(answer, 502, 503, 504)
        else:
            self.same(answer.status, 200)
        yield
        self.again(lambda: self.status(path) == 200)

    def cells_written(self):
        """What a write may have changed is not shown any more."""

        sku = self.sku('cwr')
        self.stock_of('/cells/held', sku)
        yield
        answer = self.order('/orders/held', sku)
        if self.down('erp'):
            self.refused(answer, 502, 504, retry=False)
        else:
            self.same(answer.status, 201)
        yield
        time.sleep(0.1)
        self.same(self.stock_of('/cells/held', sku)[0],
                  [self.parties.orders.count(sku)])

    def budget_own(self):
        """It ends in time, and the places come back: at once, or when the
        ERP is done with what was given up."""

        yield
        if self.down('erp'):
            for status in self.governed('own', 4):
                self.same(status, 502, 503, 504)
            self.refused(self.get('/governed/own?c=' + self.sku('own')),
                         502, 503, 504)
        else:
            self.same(self.governed('own', 4), [200] * 4)
        yield
        self.again(lambda: self.governed('own', 2) == [200] * 2)
        assert self.most('own') <= 2, self.most('own')

    def breaker(self):
        """Asked so often that it knows, it answers at once."""

        def ask():
            return self.get('/frail')

        self.same(ask().status, 200)
        yield
        if self.down('erp'):
            self.again(lambda: 'circuit-open' in ask().text)
            answer = ask()
            self.refused(answer, 503)
            assert answer.seconds < 0.5 or 'circuit-open' not in answer.text
        else:
            self.same([ask().status for _ in range(5)], *[[200] * 5])
        yield
        self.again(lambda: ask().status == 200)

    def running_here(self):
        """What ends without an answer has ended."""

        key = self.sku('rh')
        self.same(self.at_once('here', key), [200, 429])
        yield
        for _ in range(2):
            try:
                status = self.status('/run/here?c=' + key)
            except http.client.HTTPException:
                # half an answer goes on to the client as it is
                status = 502
            self.same(status, *((502, 504) if self.down('erp') else (200,)))
        yield
        self.same(self.at_once('here', key), [200, 429])

    def tuned_here(self):
        key = self.sku('th')
        yield
        self.same(self.tune('tuned_here', key, 1).status, 201)
        self.same(self.passed('tuned_here', key, 4), 1)
        yield
        self.same(self.tune('tuned_here', key, 2).status, 200)
        self.same(self.passed('tuned_here', key, 4), 1)

    def tuned_by_token(self):
        """Who may change limits is told by keys that are held."""

        key = self.sku('tt')
        path = '/limits/guarded'
        token = self.parties.token('a', n=3)
        self.same(self.tune('tuned_here', key, 1, path, token).status, 201)
        yield
        self.same(self.tune('tuned_here', key, 2, path, token).status, 200)
        self.same(self.tune('tuned_here', key, 9, path).status, 401)
        self.same(self.passed('tuned_here', key, 4), 2)
        yield
        self.same(self.tune('tuned_here', key, 1, path, token).status, 200)

    # and again those that use Redis

    def read_held(self):
        sku = self.sku('h')
        self.same(self.read('/stock', sku)[0], 0)
        yield
        for _ in range(3):
            self.same(self.read('/stock', sku)[0], 0)
        yield
        self.again(lambda: self.read('/stock', sku)[1] == 'HIT')

    def read_new(self):
        yield
        self.same(self.read('/stock', self.sku('n'))[0], 0)
        yield
        self.same(self.read('/stock', self.sku('n2'))[0], 0)

    def write_seen(self):
        """Without a key a write passes, once, and this host's next read
        shows it."""

        sku = self.sku('w')
        self.read('/stock', sku)
        yield
        self.same(self.order('/orders', sku).status, 201)
        self.same(self.parties.orders.count(sku), 1)
        self.same(self.read('/stock', sku)[0], 1)
        yield
        self.same(self.read('/stock', sku)[0], 1)

    def limit(self, zone):
        return [self.status('/limit/%s?c=%s' % (zone, self.name))
                for _ in range(3)]

    def limit_local(self):
        yield
        self.same(self.limit('local'), [200, 200, 429])
        yield
        # what was admitted meanwhile counts in Redis, too
        self.same(self.status('/limit/local?c=' + self.name), 429)

    def limit_allow(self):
        yield
        self.same(self.limit('allow'), [200, 200, 200] if self.down('redis')
                  else [200, 200, 429])
        yield
        key = iter(range(10000))
        self.again(lambda: [self.status('/limit/allow?c=%s%d' % (self.name, n))
                            for n in [next(key)] * 3] == [200, 200, 429])

    def limit_deny(self):
        yield
        if self.down('redis'):
            for _ in range(2):
                self.refused(self.get('/limit/deny?c=' + self.name), 503)
        else:
            self.same(self.limit('deny'), [200, 200, 429])
        yield
        self.again(lambda: self.status('/limit/deny?c=x' + self.name) == 200)

    def revocable(self, how, during):
        token = self.parties.token('a', jti=self.sku(how))
        revoked = self.parties.token('a', jti='revoked')
        path = '/revocable/' + how
        self.again(lambda: self.status(path, token) == 200)
        self.same(self.status(path, revoked), 401)
        yield
        self.same(self.status(path, revoked), 401)
        self.same(self.status(path, token),
                  during if self.down('redis') else 200)
        self.same(self.status(path, self.parties.token('stranger')), 401)
        yield
        self.again(lambda: self.status(path, token) == 200)
        self.same(self.status(path, revoked), 401)

    def revocation_closed(self):
        return self.revocable('closed', 503)

    def revocation_open(self):
        return self.revocable('open', 200)

    def proof_closed(self):
        client = self.parties.client
        token = self.parties.token('a', cnf={'jkt': client.jkt})

        def ask(proof):
            return self.status('/bound', token, 'DPoP', DPoP=proof)

        def fresh():
            return client.proof(token, 'https://api.example/bound')

        self.again(lambda: ask(fresh()) == 200)
        yield
        self.same(ask(fresh()), 503 if self.down('redis') else 200)
        yield
        self.again(lambda: ask(fresh()) == 200)
        proof = fresh()
        self.same([ask(proof), ask(proof)], [200, 401])

    # features that use the ERP

    def hit(self):
        sku = self.sku('hit')
        self.read('/held', sku)
        yield
        self.same(self.read('/held', sku), (0, 'HIT'))
        yield
        self.same(self.read('/held', sku), (0, 'HIT'))

    def stale(self):
        sku = self.sku('stale')
        # one that took longer than it counts is not held
        self.again(lambda: self.read('/stale', sku)[1] == 'HIT')
        yield
        self.same(self.read('/stale', sku),
                  (0, 'STALE' if self.down('erp') else 'EXPIRED'))
        yield
        time.sleep(1.1)
        self.again(lambda: self.read('/stale', sku)[1] in ('EXPIRED', 'HIT'))

    def nothing_held(self):
        path = '/held?sku=' + self.sku('none')
        yield
        answer = self.get(path)
        if self.down('erp'):
            self.refused(answer, 502, 503, 504)
        else:
            self.same(answer.status, 200)
        yield
        self.again(lambda: self.status(path) == 200)

    def write(self):
        """Once, whatever comes back; and what it may have changed is not
        shown any more."""

        sku = self.sku('write')
        self.read('/held', sku)
        yield
        answer = self.order('/orders/held', sku)
        if self.down('erp'):
            self.refused(answer, 502, 504, retry=False)
            assert 'unknown' in answer.text, answer
        else:
            self.same(answer.status, 201)
        yield
        time.sleep(0.1)
        taken = self.parties.orders.count(sku)
        self.same(taken, *((0, 1) if self.down('erp') else (1,)))
        self.same(self.read('/held', sku)[0], taken)

    def keyed(self):
        """A write with a key: not at all without Redis, and never twice,
        whatever the ERP's link did to the first try."""

        sku = self.sku('keyed')

        def order():
            return self.gw.request('POST', '/keyed', {
                'Idempotency-Key': '"%s"' % sku}, {'sku': sku}, timeout=15)

        def taken():
            return self.parties.orders.count(sku)

        yield
        answer = order()
        if self.down('redis'):
            self.refused(answer, 503)
            self.same(taken(), 0)
        elif self.down('erp') and self.fault == 'refuse':
            # nothing was sent, so it may be tried again
            self.refused(answer, 503)
        elif self.down('erp'):
            self.refused(answer, 502, 504, retry=False)
            self.same(order().status, 409, 502, 504)
        else:
            self.same([answer.status, order().status], [201, 201])
            self.same(taken(), 1)
        yield
        if self.down('erp') and self.fault != 'refuse':
            time.sleep(0.1)
            self.same(order().status, 201, 409)
        else:
            self.again(lambda: order().status == 201)
            self.same(taken(), 1)
        self.same(taken(), 0, 1)

    def limit_here(self):
        yield
        self.same(self.limit('here'), [200, 200, 429])
        yield

    # features that use the issuer

    def keys_held(self):
        token = self.parties.token('a', n=1)
        self.same(self.status('/jwt', token), 200)
        yield
        for n in range(3):
            other = self.parties.token('a', n=n)
            self.same(self.status('/jwt', other), 200)
            time.sleep(0.5)
        self.same(self.status('/jwt', self.parties.token('stranger')), 401)
        yield
        self.same(self.status('/jwt', token), 200)

    def keys_rotated(self):
        """A key that the issuer has only since: not known, so 401; and the
        issuer is asked about it once in a while."""

        token = self.parties.token('b')
        yield
        before = self.proxy.accepted
        asked = [self.status('/jwt', token) for _ in range(8)]
        self.same(set(asked), {401})
        assert self.proxy.accepted - before < 16, 'asked each time'
        yield
        self.same(self.status('/jwt', token), 401)

    def keys_none(self):
        token = self.parties.token('a')
        yield
        answer = self.get('/cold', token)
        if self.down('issuer'):
            self.refused(answer, 503)
        else:
            self.same(answer.status, 200)
        yield
        self.again(lambda: self.status('/cold', token) == 200)

    def opaque_held(self):
        token = 'good' + self.name
        self.again(lambda: self.status('/opaque', token) == 200)
        yield
        self.same(self.status('/opaque', token), 200)
        yield

    def opaque_new(self):
        token, bad = 'goodnew' + self.name, 'evil' + self.name
        yield
        answer = self.get('/opaque', token)
        if self.down('issuer'):
            self.refused(answer, 503)
            self.same(self.status('/opaque', bad), 503)
        else:
            self.same(answer.status, 200)
            self.same(self.status('/opaque', bad), 401)
        yield
        self.again(lambda: self.status('/opaque', token) == 200)
        self.again(lambda: self.status('/opaque', bad) == 401)


MATRIX = {
    'redis': ['read_held', 'read_new', 'write_seen', 'limit_local',
              'limit_allow', 'limit_deny', 'revocation_closed',
              'revocation_open', 'proof_closed', 'opaque_held', 'opaque_new',
              'keyed', 'cells_held', 'cells_new', 'cells_write',
              'budget_shared', 'running_local', 'running_allow',
              'running_deny', 'tuned', 'hit', 'limit_here', 'keys_held',
              'cells_hit', 'budget_own', 'breaker', 'running_here',
              'tuned_here'],
    'erp': ['hit', 'stale', 'nothing_held', 'write', 'keyed', 'limit_here',
            'limit_local', 'keys_held', 'revocation_closed', 'cells_hit',
            'cells_stale', 'cells_none', 'cells_written', 'budget_own',
            'breaker', 'running_here', 'tuned', 'tuned_here'],
    'issuer': ['keys_held', 'keys_rotated', 'keys_none', 'opaque_held',
               'opaque_new', 'hit', 'nothing_held', 'limit_here',
               'revocation_closed', 'cells_held', 'cells_none',
               'budget_shared', 'breaker', 'running_local',
               'tuned_by_token'],
}


class Test(penstock.TestCase):

    def link(self, link):
        """The text of a link's table, and what was wrong."""

        parties = Parties(self)
        parties.redis.command('XADD', 'penstock:revoked', '*', 'jti',
                              'revoked')
        columns = [Column(self, parties, link, fault)
                   for fault in faults.HARMLESS + faults.DOWN]
        cells = penstock.together([
            lambda column=column: column.run(MATRIX[link])
            for column in columns])

        text = '%-18s' % link + ''.join(
            '%10s' % column.fault for column in columns)
        wrong = []
        for name in MATRIX[link]:
            text += '\n%-18s' % name
            for column, cell in zip(columns, cells):
                text += '%10s' % ('WRONG' if name in cell else 'kept')
                if name in cell:
                    wrong.append('%s, %s: %s' % (name, column.fault,
                                                 cell[name]))
        return text, wrong

    def test_matrix(self):
        parts = penstock.together([lambda name=name: self.link(name)
                                   for name in MATRIX])
        wrong = [line for part in parts for line in part[1]]
        sys.stderr.write('\n' + '\n\n'.join(part[0] for part in parts)
                         + '\n')
        self.assertFalse(wrong, '\n' + '\n'.join(wrong))


if __name__ == '__main__':
    unittest.main()
