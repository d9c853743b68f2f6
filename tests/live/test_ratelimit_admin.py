"""Limits are tuned while traffic flows: overrides by key, plan and zone, in
the zone or through Redis for all gateways within a second, in dry run, with
an end; who changed what is in the log; and what is wrong is refused whole.
"""

import json
import os
import re
import shutil
import tempfile
import threading
import time
import unittest
import urllib.parse

import penstock
from test_oauth import tool

HTTP = '''
    %%REDIS_BLOCK%%
    map $arg_plan $plan { default ""; "~." $arg_plan; }
    rate_limit_zone $arg_k zone=client:%%SIZE%% rate=1r/h burst=3 plan=$plan
                    %%OPTIONS%%;
    rate_limit_zone $arg_n zone=other:1m rate=5r/m;
    server {
        listen 127.0.0.1:%%PORT%%;
        correlation_id on;
        add_header X-Told "$rate_limit_status $rate_limit_zone" always;
        location = /t { rate_limit zone=client; empty_gif; }
        location = /o { rate_limit zone=other; empty_gif; }
        location = /limits { rate_limit_admin; }
        location = /status { penstock_status; }
    }
'''

REDIS = '''
    redis main {
        server 127.0.0.1:%d;
        timeout connect=5s command=5s;
    }
'''


class Test(penstock.TestCase):

    def start(self, redis=None, options='', size='1m', **kw):
        gw = self.gateway(HTTP, SIZE=size,
                          REDIS_BLOCK=REDIS % redis.port if redis else '',
                          OPTIONS=('redis=main ' if redis else '') + options,
                          **kw)
        if redis:
            probe = iter(range(1000))
            penstock.wait_for(
                lambda: gw.get('/t?k=probe%d' % next(probe))
                .headers['X-Told'] == 'PASSED client')
        return gw

    def put(self, gw, target, status=None, **body):
        r = gw.request('PUT', '/limits?zone=client&' + target, body=body)
        if status:
            self.assertEqual(r.status, status, r.text)
        return r

    def delete(self, gw, target, status=204):
        r = gw.request('DELETE', '/limits?zone=client&' + target)
        self.assertEqual(r.status, status, r.text)

    def zone(self, gw, name='client'):
        r = gw.get('/limits?zone=' + name)
        self.assertEqual(r.status, 200)
        self.assertEqual(r.headers['Content-Type'], 'application/json')
        self.assertEqual(len(r.json()['zones']), 1)
        return r.json()['zones'][0]

    def count(self, gw, key, n):
        return [gw.get('/t?k=' + key).status for _ in range(n)]

    def test_key_plan_zone(self):
        gw = self.start(workers=2)

        self.assertEqual(self.count(gw, 'a', 4), [200] * 3 + [429])
        self.put(gw, 'key=b', 201, rate='1r/h', burst=1)
        self.assertEqual(self.count(gw, 'b', 2), [200, 429])
        self.assertEqual(self.count(gw, 'c', 4), [200] * 3 + [429])

        # a new burst is not given, what was spent stays spent

        self.put(gw, 'key=b', 200, rate='1r/h', burst=5)
        self.assertEqual(self.count(gw, 'b', 5), [200] * 4 + [429])

        self.put(gw, 'plan=gold', 201, rate='2r/h', burst=6)
        self.assertEqual(self.count(gw, 'g&plan=gold', 7), [200] * 6 + [429])
        self.assertEqual(self.count(gw, 'h&plan=lead', 4), [200] * 3 + [429])

        r = gw.get('/t?k=g&plan=gold')
        self.assertEqual(r.headers['RateLimit-Policy'],
                         '"client";q=6;w=10800')

        # the key's goes before the plan's, that before the zone's

        self.put(gw, 'all=1', 201, rate='1r/h', burst=1)
        self.put(gw, 'key=k', 201, rate='1r/h', burst=2)
        self.assertEqual(self.count(gw, 'k&plan=gold', 3), [200] * 2 + [429])
        self.assertEqual(self.count(gw, 'i&plan=gold', 7), [200] * 6 + [429])
        self.assertEqual(self.count(gw, 'j', 2), [200, 429])

        self.delete(gw, 'all=1')
        self.delete(gw, 'all=1', 404)
        self.delete(gw, 'plan=gold')
        self.assertEqual(self.count(gw, 'l&plan=gold', 4), [200] * 3 + [429])

        # overrides stay over a reload, and end with the zone

        gw.reload()
        self.assertEqual(self.count(gw, 'k', 1), [429])
        self.assertEqual([o['key'] for o in self.zone(gw)['overrides']
                          if o['burst'] == 2], ['k'])

    def test_long_and_strange_keys(self):
        gw = self.start()
        for key in 'x' * 500, 'ä/+ &=', '\u20ac', 'a b':
            quoted = urllib.parse.quote(key, safe='')
            self.put(gw, 'key=' + quoted, 201, rate='1r/h', burst=1)
            # $arg_ does not unescape: such keys come from other variables
            if quoted == key:
                self.assertEqual(self.count(gw, quoted, 2), [200, 429])

        self.put(gw, 'key=%0a%00%ff%01', 201, rate='1r/h')
        found = self.zone(gw)['overrides']
        self.assertIn('0a00ff01', [o.get('key_hex') for o in found])
        self.assertIn('ä/+ &=', [o.get('key') for o in found])
        self.delete(gw, 'key=%0a%00%ff%01')

    def test_expires(self):
        gw = self.start()
        self.put(gw, 'key=a', 201, rate='1r/h', burst=50, expires=1)
        self.assertEqual(gw.get('/t?k=a').headers['RateLimit-Policy'],
                         '"client";q=50;w=180000')
        penstock.wait_for(
            lambda: gw.get('/t?k=a').headers['RateLimit-Policy']
            == '"client";q=3;w=10800', step=0.05)
        self.assertEqual(self.zone(gw)['overrides'], [])
        self.delete(gw, 'key=a', 404)

    def test_dry_run(self):
        """The limit in force goes on; what the other one would have refused
        is counted."""

        for redis, options in ((None, ''), (self.redis(), ''),
                               (self.redis(), 'sync=lease')):
            gw = self.start(redis, options)
            self.put(gw, 'key=a', 201, rate='1r/h', burst=1, dry_run=True)
            if redis:
                self.applied(gw, 1)

            rs = [gw.get('/t?k=a') for _ in range(4)]
            self.assertEqual([(r.status, r.headers['X-Told']) for r in rs],
                             [(200, 'PASSED client'),
                              (200, 'REJECTED_DRY_RUN client'),
                              (200, 'REJECTED_DRY_RUN client'),
                              (429, 'REJECTED client')])
            self.assertEqual(rs[0].headers['RateLimit-Policy'],
                             '"client";q=3;w=10800')

            o = self.zone(gw)['overrides'][0]
            self.assertEqual((o['dry_run'], o['passed'], o['would_refuse']),
                             (True, 1, 2))
            text = gw.get('/status?format=prometheus').text
            self.assertIn('penstock_ratelimit_requests_total{zone="client",'
                          'result="dry_run"} 2\n', text)

            # in force: its own state begins where the limit is

            self.put(gw, 'key=b', 201, rate='1r/h', burst=1)
            if redis:
                self.applied(gw, 2)
            self.assertEqual(self.count(gw, 'b', 2), [200, 429])
            o = [o for o in self.zone(gw)['overrides'] if o['key'] == 'b'][0]
            self.assertEqual((o['passed'], o['refused']), (1, 1))

    def applied(self, gw, n):
        penstock.wait_for(lambda: len(self.zone(gw)['overrides']) == n,
                          what='%d overrides apply' % n)

    def test_lists(self):
        gw = self.start()
        for key, n in ('hot', 30), ('warm', 10), ('cold', 1):
            self.count(gw, key, n)
        gw.get('/o?n=x')

        zones = gw.get('/limits').json()['zones']
        self.assertEqual([z['zone'] for z in zones], ['client', 'other'])
        z = zones[0]
        self.assertEqual((z['key_is'], z['rate'], z['burst'], z['sync']),
                         ('$arg_k', '1r/h', 3, 'local'))
        self.assertEqual([(k['key'], k['requests'], k['refused'])
                          for k in z['hottest']],
                         [('hot', 30, 27), ('warm', 10, 7), ('cold', 1, 0)])

        self.assertEqual(gw.get('/limits?zone=none').status, 404)
        r = gw.request('HEAD', '/limits')
        self.assertEqual((r.status, r.body), (200, b''))
        r = gw.request('POST', '/limits', body={})
        self.assertEqual((r.status, r.headers['Allow']),
                         (405, 'GET, HEAD, PUT, DELETE'))

    def test_wrong(self):
        """Nothing that is wrong changes anything, and the answer says what
        it is."""

        gw = self.start()

        def put(query, body, status, type='application/json'):
            headers = {'Content-Type': type} if type else {}
            r = gw.request('PUT', '/limits?' + query, headers=headers,
                           body=body if isinstance(body, (str, bytes))
                           else json.dumps(body))
            self.assertEqual(r.status, status, (query, body, r.text))
            if 400 <= status and status != 413:
                self.assertEqual(r.headers['Content-Type'],
                                 'application/problem+json')

        good = {'rate': '1r/s'}
        at = 'zone=client&key=a'

        for query, status in (('', 400), ('zone=none&key=a', 404),
                              ('zone=client', 400), ('zone=client&key=', 400),
                              ('zone=client&key=a&plan=b', 400),
                              ('zone=client&all=2', 400),
                              ('zone=other&plan=a', 400)):
            put(query, good, status)

        for body in ('', '[]', '1', '{', '{"rate":"1r/s"}}', 'null', b'\xff',
                     '{"rate":"1r/s","rate":"2r/s"}', {}, {'burst': 1},
                     {'rate': 1}, {'rate': '1r/x'}, {'rate': '0r/s'},
                     {'rate': '1000001r/s'}, {'rate': None},
                     {'rate': '1r/s', 'burst': 0}, {'rate': '1r/s',
                                                    'burst': -1},
                     {'rate': '1r/s', 'burst': 1.5},
                     {'rate': '1r/s', 'burst': '5'},
                     {'rate': '1r/d', 'burst': 91},
                     {'rate': '1r/s', 'burst': 2**63 - 1},
                     '{"rate":"1r/s","burst":9223372036854775808}',
                     {'rate': '1r/s', 'dry_run': 1},
                     {'rate': '1r/s', 'expires': 0},
                     {'rate': '1r/s', 'expires': 10**9},
                     {'rate': '1r/s', 'expires': 'soon'},
                     {'rate': '1r/s', 'brust': 5},
                     '[' * 4000):
            put(at, body, 400)

        put(at, good, 415, 'text/plain')
        put(at, good, 415, None)
        put(at, good, 415, 'application/jsonp')
        put(at, '{"rate":"1r/s"%s}' % (' ' * 5000), 413)

        r = gw.request('PUT', '/limits?' + at,
                       headers={'Content-Type': 'application/json',
                                'Transfer-Encoding': 'chunked'},
                       body=b'1400\r\n' + b' ' * 0x1400 + b'\r\n0\r\n\r\n')
        self.assertEqual(r.status, 413)

        self.assertEqual(self.zone(gw)['overrides'], [])
        put(at, good, 201, 'application/json; charset=utf-8')

    def test_full(self):
        for redis in None, self.redis():
            gw = self.start(redis, size='64k')
            room = self.zone(gw)['room_for_overrides']
            for n in range(room):
                self.put(gw, 'key=k%d' % n, 201, rate='1r/h')
            self.put(gw, 'key=more', 507, rate='1r/h')
            self.put(gw, 'key=k0', 200, rate='2r/h')
            self.delete(gw, 'key=k1')
            self.put(gw, 'key=more', 201, rate='1r/h')

    def test_audit(self):
        gw = self.start(level='error')
        r = self.put(gw, 'key=a"%0ab', 201, rate='7r/h', burst=2, expires=60,
                     dry_run=True)
        identity = r.headers['X-Correlation-ID']
        gw.wait_log(r'audit: rate limit override set, zone "client" key '
                    r'"a\\"\\u000ab", 7r/h burst 2 in dry run for 60 s, by '
                    r'address "127\.0\.0\.1", correlation ID "%s": 201'
                    % re.escape(identity))
        self.delete(gw, 'key=none', 404)
        gw.wait_log(r'audit: rate limit override ended, zone "client" key '
                    r'"none", by address .*: 404')

    def test_only_for_whom_the_location_lets_in(self):
        """The endpoint is a location like any other, and the log names the
        token's subject."""

        directory = tempfile.mkdtemp(prefix='penstock-')
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        secret = os.path.join(directory, 'secret')

        with open(secret, 'w') as f:
            f.write('5ec12e7' * 16)
        with open(os.path.join(directory, 'keys.json'), 'w') as f:
            f.write(tool('jwks', 'set', '--key', secret, '--kid', 's'))

        gw = self.gateway('''
            rate_limit_zone $arg_k zone=client:1m rate=1r/h burst=3;
            server {
                listen 127.0.0.1:%%PORT%%;
                correlation_id on;
                location = /limits {
                    auth_jwt "limits";
                    auth_jwt_key_file keys.json;
                    auth_jwt_scope limits:write;
                    rate_limit_admin;
                }
                location = /none { deny all; rate_limit_admin; }
            }
        ''', directory=directory)

        def token(*args):
            return {'Authorization': 'Bearer ' + tool(
                'mint', '--key', secret, '--alg', 'HS256', '--kid', 's',
                *args)}

        at = '/limits?zone=client&key=a'
        body = {'rate': '1r/h'}

        self.assertEqual(gw.get('/none').status, 403)
        self.assertEqual(gw.request('PUT', at, body=body).status, 401)
        self.assertEqual(gw.request('PUT', at, body=body, headers=token(
            '--sub', 'eve', '--scope', 'read')).status, 403)
        self.assertNotIn('audit', gw.log())

        self.assertEqual(gw.request('PUT', at, body=body, headers=token(
            '--sub', 'alice"', '--scope', 'limits:write')).status, 201)
        gw.wait_log(r'audit: .* by subject "alice\\"", correlation ID "')

    def test_hosts(self):
        """A change on one gateway is in force on all within a second, and
        still there after a restart."""

        redis = self.redis()
        gws = [self.start(redis, workers=2) for _ in range(3)]
        took = []

        for burst in 7, 2, 9:
            self.put(gws[burst % 3], 'key=a', rate='1r/h', burst=burst)
            then = time.monotonic()
            policy = '"client";q=%d;w=%d' % (burst, burst * 3600)
            for gw in gws:
                penstock.wait_for(
                    lambda: gw.get('/t?k=a').headers['RateLimit-Policy']
                    == policy)
            took.append(time.monotonic() - then)

        # one of them may be late on a machine that is busy

        self.assertLess(sorted(took)[1], 1)

        # what one may spend is one limit on all hosts

        self.put(gws[0], 'key=b', 201, rate='1r/h', burst=4)
        for gw in gws:
            self.applied(gw, 2)
        self.assertEqual([gws[n % 3].get('/t?k=b').status for n in range(6)],
                         [200] * 4 + [429] * 2)

        gws[1].stop()
        gws[1].start()
        self.applied(gws[1], 2)

        self.delete(gws[2], 'key=a')
        for gw in gws:
            self.applied(gw, 1)

        # of all keys, and ended again

        self.put(gws[1], 'all=1', 201, rate='1r/h', burst=2)
        for gw in gws:
            self.applied(gw, 2)
        self.assertEqual([gws[n].get('/t?k=d').status for n in range(3)],
                         [200, 200, 429])
        self.delete(gws[0], 'all=1')
        for gw in gws:
            self.applied(gw, 1)
        self.assertEqual(self.count(gws[2], 'd', 2), [200, 429])

        # an end that comes by itself comes everywhere, and Redis forgets

        self.put(gws[0], 'plan=p', 201, rate='1r/h', burst=20, expires=2)
        self.applied(gws[1], 2)
        for gw in gws:
            self.applied(gw, 1)
        self.put(gws[0], 'key=c', 201, rate='1r/h')
        penstock.wait_for(lambda: redis.command(
            'HEXISTS', 'penstock:rl:overrides:{client}', 'p:p') == 0)

    def test_stricter_under_load(self):
        """A stricter limit holds at once, whatever was leased under the one
        before, and the old one when it is gone."""

        rate = 'rate=50000r/s burst=50000'
        strict = {'rate': '20r/s', 'burst': 10}

        for sync in '', 'sync=exact', 'sync=lease':
            redis = self.redis() if sync else None
            gws = [self.gateway(HTTP.replace('rate=1r/h burst=3', rate),
                                SIZE='1m', OPTIONS='redis=main ' + sync
                                if redis else '',
                                REDIS_BLOCK=REDIS % redis.port if redis
                                else '')
                   for _ in range(2 if redis else 1)]
            end, stop = [], threading.Event()

            def client(gw):
                seen = []
                while not stop.is_set():
                    sent = time.monotonic()
                    r = gw.get('/t?k=a')
                    seen.append((sent, time.monotonic(), r.status))
                return seen

            def change():
                try:
                    penstock.wait_for(lambda: sum(
                        k['requests'] for gw in gws
                        for k in self.zone(gw)['hottest']) > 200)
                    self.put(gws[0], 'key=a', 201, **strict)
                    for gw in gws:
                        self.applied(gw, 1)
                    end.append(time.monotonic())
                    penstock.wait_for(
                        lambda: time.monotonic() > end[0] + 2)
                    end.append(time.monotonic())
                    self.delete(gws[0], 'key=a')
                    for gw in gws:
                        self.applied(gw, 0)
                    end.append(time.monotonic())
                    penstock.wait_for(
                        lambda: time.monotonic() > end[2] + 0.5)
                finally:
                    stop.set()

            *seen, _ = penstock.together(
                [lambda gw=gw: client(gw) for gw in gws * 2] + [change])
            seen = sum(seen, [])

            def admitted(begin, until):
                return sum(begin < sent and received < until
                           and status == 200
                           for sent, received, status in seen)

            # what was spent before keeps it shut for as long as it takes to
            # come back: one burst at most

            most = strict['burst'] + 20 * (end[1] - end[0])
            self.assertLessEqual(admitted(*end[:2]), most, sync)
            self.assertGreater(admitted(*end[:2]), 10, sync)
            # who was refused by a lease looks again when the limit of then
            # would have let it pass

            after = [s[2] for s in seen if s[0] > end[2] + 0.1]
            self.assertEqual(set(after), {200}, sync)

    def test_looser(self):
        """Who was shut out for a day is not when the override is gone: a
        burst of the limit that is in force now is all it owes."""

        for sync in '', 'sync=exact', 'sync=lease':
            redis = self.redis() if sync else None
            gw = self.gateway(HTTP.replace('rate=1r/h burst=3',
                                           'rate=1r/s burst=2'),
                              SIZE='1m', OPTIONS='redis=main ' + sync
                              if redis else '',
                              REDIS_BLOCK=REDIS % redis.port if redis else '')
            self.put(gw, 'key=a', 201, rate='1r/d', burst=1)
            self.applied(gw, 1)
            r = [gw.get('/t?k=a') for _ in range(3)][2]
            self.assertEqual(r.status, 429)
            self.assertGreater(int(r.headers['Retry-After']), 86000)

            self.delete(gw, 'key=a')
            self.applied(gw, 0)
            penstock.wait_for(lambda: gw.get('/t?k=a').status == 200,
                              what='%s: it passes again' % sync)

    def test_races(self):
        """Gateways change the same keys at the same time: all end with what
        Redis has."""

        redis = self.redis()
        gws = [self.start(redis) for _ in range(3)]

        def change(n):
            gw = gws[n % 3]
            for k in range(15):
                key = 'key=k%d' % (k % 3)
                if (k + n) % 4 == 0:
                    gw.request('DELETE', '/limits?zone=client&' + key)
                else:
                    self.put(gw, key, rate='1r/h', burst=1 + n * 20 + k)

        penstock.together([lambda n=n: change(n) for n in range(6)])

        def truth():
            values = redis.command('HGETALL',
                                   'penstock:rl:overrides:{client}')
            pairs = dict(zip(values[::2], values[1::2]))
            return {k[2:]: int(v.split()[1]) for k, v in pairs.items()
                    if k != 'version'}

        def seen(gw):
            return {o['key']: o['burst'] for o in self.zone(gw)['overrides']}

        for gw in gws:
            penstock.wait_for(lambda: seen(gw) == truth(),
                              what='the gateways agree with Redis')

    def test_redis_down(self):
        redis = self.redis()
        gw = self.start(redis)
        self.put(gw, 'key=a', 201, rate='1r/h', burst=1)
        self.applied(gw, 1)
        redis.kill()

        # what is known stays in force; no change is half made

        self.assertEqual(self.count(gw, 'a', 2), [200, 429])
        r = penstock.wait_for(
            lambda: self.put(gw, 'key=b', rate='1r/h', burst=1))
        self.assertEqual(r.status, 503)
        self.assertEqual(len(self.zone(gw)['overrides']), 1)

    def test_strange_overrides(self):
        """What another program wrote wrongly is said and skipped."""

        redis = self.redis()
        gw = self.start(redis)
        name = 'penstock:rl:overrides:{client}'
        redis.command('HSET', name, 'k:good', '1r/h 5 0 0', 'k:bad', 'x',
                      'k:zero', '0r/h 5 0 0', 'q:what', '1r/h 5 0 0',
                      'k:burst', '1r/h -5 0 0', 'k:dry', '1r/h 5 2 0',
                      'k:' + 'x' * 129, '1r/h 5 0 0', 'version', '5')
        self.applied(gw, 1)
        gw.wait_log(r'\d overrides of zone "client" in Redis make no sense')
        self.assertEqual(self.count(gw, 'good', 6), [200] * 5 + [429])

        redis.command('DEL', name)
        redis.command('SET', name, 'x')
        gw.wait_log('Redis refused to read the overrides of zone "client"')
        self.assertEqual(self.put(gw, 'key=a', rate='1r/h').status, 503)


if __name__ == '__main__':
    unittest.main()
