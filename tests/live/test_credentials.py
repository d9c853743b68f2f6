"""The gateway's own credentials for the ERP: with a certified OAuth server,
every way to authenticate and every algorithm; and with servers that are slow,
down, or refuse a token. The token endpoint is asked once, whoever waits.
"""

import base64
import json
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
import unittest
import urllib.parse

import penstock
from test_oauth import tool
from test_oidc import Issuer

SECRET = 'shhh!&=+ secret'

CONF = '''
    availability_zone a:1m;
    erp_budget_zone   places:1m limit=4;
    log_format seen   '$request $status "$http_authorization"';
    idempotency_zone  keys:1m;

    oauth_client erp {
        token_endpoint     /_token;
        client_id          gateway;
        client_secret_file %%DIR%%/secret;
        scope              orders;
        refresh            %%REFRESH%%;
        timeout            5s;
    }

    server {
        listen 127.0.0.1:%%PORT%%;

        erp_authorization   erp;
        erp_identity_header X-Shop host;

        location = /_token {
            internal;
            proxy_read_timeout 10s;
            proxy_pass http://127.0.0.1:%%AS%%/token;
        }

        location /pass {
            add_header X-Added once always;
            correlation_id on;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location /unbuffered {
            proxy_request_buffering off;
            proxy_http_version 1.1;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location /page {
            proxy_intercept_errors on;
            error_page 401 = /teapot;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location = /teapot { return 418; }

        location /read {
            availability_cache a;
            availability_cache_key $request_uri;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location /write {
            availability_invalidate zone=a /sku;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location /governed {
            erp_budget  places;
            idempotency keys;
            proxy_pass  http://127.0.0.1:%%ERP%%;
        }

        location /fill {
            erp_budget places;
            availability_cache a;
            availability_cache_key $request_uri;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location /left {
            access_log   %%DIR%%/access.log seen;
            proxy_pass   http://127.0.0.1:%%ERP%%;
        }

        location /lost {
            proxy_intercept_errors on;
            error_page   404 502 504 = /shown;
            proxy_read_timeout 200ms;
            proxy_pass   http://127.0.0.1:%%ERP%%;
        }

        location = /shown {
            access_log   %%DIR%%/access.log seen;
            return 200 "sent: $http_authorization";
        }

        location /mirrored {
            mirror /copy;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location = /copy {
            internal;
            proxy_pass http://127.0.0.1:%%ERP%%/copy;
        }

        location /lookup {
            mirror /second;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location = /second {
            internal;
            erp_authorization   erp;
            erp_identity_header X-Shop copy;
            if ($request_method = GET) { set $odd 1; }
            proxy_pass http://127.0.0.1:%%ERP%%/second;
        }

        location = /status { penstock_status; }
    }
'''


class Test(penstock.TestCase):

    def servers(self, workers=1, refresh='60s', lifetime=300, **kw):
        self.lifetime, self.delay, self.broken = lifetime, 0, False
        self.late = threading.Event()
        self.addCleanup(self.late.set)
        self.bad = set()        # tokens that the ERP does not take (any more)
        self.secret = SECRET
        self.authorization = self.origin(self.issue)
        self.erp_ = self.origin(self.serve)
        self.gw = penstock.Gateway(
            CONF, workers=workers, AS=self.authorization.port,
            ERP=self.erp_.port, REFRESH=refresh, start=False, **kw)
        self.addCleanup(self.gw.teardown)
        self.gw.write('secret', SECRET + '\n')
        self.gw.start()

    def issue(self, h):
        n = len(self.authorization.requests)
        if self.delay:
            time.sleep(self.delay)
        plain = ':'.join(urllib.parse.quote_plus(part, safe='*')
                         for part in ('gateway', self.secret))
        if h.headers.get('Authorization') != 'Basic ' + base64.b64encode(
                plain.encode()).decode():
            return h.send(401, {'error': 'invalid_client'})
        if self.broken:
            return h.send(500, b'no')
        h.send(200, {'access_token': 'token-%d' % n, 'token_type': 'Bearer',
                     'expires_in': self.lifetime})

    def serve(self, h):
        if h.path.startswith(('/left', '/lost/slow')):
            self.late.wait(5)
        if h.path == '/lost/none':
            return h.send(404, b'none')
        token = (h.headers.get('Authorization') or '').partition(' ')[2]
        if not token.startswith('token-') or token in self.bad:
            return h.send(401, {'error': 'invalid_token'},
                          {'WWW-Authenticate': 'Bearer', 'X-Refused': 'yes',
                           'Set-Cookie': 'a=b', 'Cache-Control': 'no-store'})
        h.send(200, {'token': token, 'method': h.command})

    def asked(self):
        return len(self.authorization.requests)

    def seen(self, path):
        return [r for r in self.erp_.requests if r[1].startswith(path)]

    def tearDown(self):
        for name in 'error.log', 'access.log':
            log = self.gw.read(name) if hasattr(self, 'gw') else ''
            for word in SECRET, 'token-1', base64.b64encode(
                    b'gateway:').decode()[:10]:
                self.assertNotIn(word, log)

    def test_one_question_for_all(self):
        self.servers(workers=2)
        self.delay = .5
        ways = [('GET', '/pass'), ('GET', '/read?%d'), ('POST', '/write')]
        got = penstock.together(
            [lambda n=n: self.gw.request(
                ways[n % 3][0], ways[n % 3][1].replace('%d', str(n)),
                {'Content-Type': 'application/json'} if n % 3 == 2 else {},
                '{"sku":"A"}' if n % 3 == 2 else None) for n in range(36)])
        self.assertEqual({r.status for r in got}, {200})
        self.assertEqual({r.json()['token'] for r in got}, {'token-1'})
        self.assertEqual(self.asked(), 1)
        method, _, headers, body = self.authorization.requests[0]
        self.assertEqual(method, 'POST')
        self.assertEqual(dict(urllib.parse.parse_qsl(body.decode())),
                         {'grant_type': 'client_credentials',
                          'scope': 'orders'})
        self.assertEqual(headers['Content-Type'],
                         'application/x-www-form-urlencoded')

    def governed(self, n):
        """A write with a key, one without, and a fill, to take a place."""

        return {
            '/governed/key%d' % n: ('POST', {'Idempotency-Key': '"%d"' % n}),
            '/governed/any%d' % n: ('POST', {}),
            '/governed/get%d' % n: ('GET', {}),
            '/fill/%d' % n: ('GET', {})}

    def send(self, path, method, headers):
        return self.gw.request(method, path, headers,
                               b'order' if method == 'POST' else None)

    def test_sent_once_where_the_token_is_waited_for(self):
        """By those that find a place at once when it is there."""

        for n in range(4):
            for path, how in self.governed(n).items():
                with self.subTest(path):
                    self.servers()
                    self.delay = .1
                    self.assertEqual(self.send(path, *how).status, 200)
                    self.assertEqual(len(self.seen(path)), 1)
                    self.gw.teardown()

    def test_sent_once_where_many_wait(self):
        self.servers(workers=2)
        self.delay = .3
        ways = {k: v for n in range(8) for k, v in self.governed(n).items()}
        got = penstock.together([lambda w=w: self.send(w[0], *w[1])
                                 for w in ways.items()])
        self.assertEqual({r.status for r in got}, {200})
        for path in ways:
            self.assertEqual(len(self.seen(path)), 1, path)

    def test_sent_twice_where_the_first_was_refused(self):
        self.servers()
        for path, how in self.governed(0).items():
            with self.subTest(path):
                self.refuse()
                self.assertEqual(self.send(path, *how).status, 200)
                self.assertEqual(len(self.seen(path)), 2)

    def test_refused_by_the_erp(self):
        self.servers()
        for way, method in (('/read?1', 'GET'), ('/write', 'POST'),
                            ('/pass?1', 'GET'), ('/pass?2', 'POST')):
            with self.subTest(way):
                self.gw.get('/pass')
                token = 'token-%d' % self.asked()
                time.sleep(1.1)
                self.bad.add(token)
                before = len(self.seen(way))
                got = self.gw.request(method, way, body=b'{"sku":1}'
                                      if method == 'POST' else None)
                self.assertEqual(got.status, 200, got)
                self.assertNotEqual(got.json()['token'], token)
                self.assertEqual(len(self.seen(way)) - before, 2)
                if method == 'POST':
                    self.assertEqual(self.seen(way)[-1][3], b'{"sku":1}')

    def test_seen_by_nobody_else(self):
        """Not in the log of a client that left, nor on an error page."""

        self.servers()
        own = {'Authorization': 'Bearer own'}
        for path in '/lost/none', '/lost/slow':
            got = self.gw.get(path, own)
            self.assertEqual(got.text, 'sent: Bearer own')
        client = socket.create_connection(('127.0.0.1', self.gw.port))
        client.sendall(b'GET /left HTTP/1.1\r\nHost: a\r\n'
                       b'Authorization: Bearer own\r\n\r\n')
        penstock.wait_for(lambda: self.seen('/left'))
        client.close()
        penstock.wait_for(lambda: '/left' in self.gw.read('access.log'))
        self.assertIn('GET /left HTTP/1.1 499 "Bearer own"',
                      self.gw.read('access.log'))
        self.assertIn('token-1', self.seen('/left')[0][2]['Authorization'])

    def refuse(self):
        """The token that is held is of no use any more."""

        self.gw.get('/pass')
        time.sleep(1.1)
        self.bad.add('token-%d' % self.asked())

    def test_passed_on_twice(self):
        """Nothing of the first answer is seen, all of the request is there
        twice, be it in a file, and the answer is passed on as it comes."""

        self.servers()
        for size in 0, 10, 300000:
            with self.subTest(size):
                self.refuse()
                body = os.urandom(size) if size else None
                before = len(self.seen('/pass?b'))
                got = self.gw.request('PUT' if size else 'GET', '/pass?b',
                                      {'X-Mine': 'a'}, body)
                self.assertEqual(got.status, 200, got)
                self.assertNotIn('WWW-Authenticate', got.headers)
                self.assertNotIn('X-Refused', got.headers)
                self.assertEqual(got.headers['X-Added'], 'once')
                self.assertEqual(len(got.headers.get_all('X-Added')), 1)
                self.assertEqual(len(got.headers.get_all('Content-Type')), 1)
                tries = self.seen('/pass?b')[before:]
                self.assertEqual(len(tries), 2)
                self.assertEqual([t[3] for t in tries], [body or b''] * 2)
                self.assertEqual([t[2]['X-Mine'] for t in tries], ['a'] * 2)
                self.assertNotEqual(*[t[2]['Authorization'] for t in tries])
        self.assertEqual(self.gw.log().count('once more, after status 401'),
                         3)

    def test_passed_on_twice_copied_once(self):
        self.servers()
        self.refuse()
        got = self.gw.request('POST', '/mirrored', body=b'x')
        self.assertEqual((got.status, len(self.seen('/mirrored'))), (200, 2))
        self.assertEqual(self.gw.get('/mirrored').status, 200)
        penstock.wait_for(lambda: len(self.seen('/copy')) >= 2)
        self.assertEqual(len(self.seen('/copy')), 2)

    def test_passed_on_together(self):
        """Many with the old token: each twice at most, one new token."""

        self.servers(workers=2)
        self.refuse()
        asked = self.asked()
        got = penstock.together([lambda n=n: self.gw.request(
            'POST', '/pass?t%d' % n, body=b'x%d' % n) for n in range(20)])
        self.assertEqual({r.status for r in got}, {200})
        self.assertEqual(self.asked(), asked + 1)
        for n in range(20):
            tries = [r for r in self.seen('/pass?t')
                     if r[1] == '/pass?t%d' % n]
            self.assertLessEqual(len(tries), 2)

    def test_passed_on_without_a_token(self):
        """Refused, and no new token is to be had."""

        self.servers()
        self.refuse()
        self.broken = True
        got = self.gw.request('POST', '/pass', body=b'x')
        self.assertEqual(got.status, 503)
        self.assertIn('Retry-After', got.headers)
        self.assertEqual(got.headers['Content-Type'],
                         'application/problem+json')

    def test_not_sent_again(self):
        """Where the body is gone, or a page of nginx's is the answer; the
        next request has a new token."""

        self.servers()
        for path, status in ('/unbuffered', 401), ('/page', 418):
            with self.subTest(path):
                self.refuse()
                before = len(self.erp_.requests)
                got = self.gw.request('POST', path, body=b'x' * 300000)
                self.assertEqual(got.status, status)
                self.assertEqual(len(self.erp_.requests), before + 1)
                self.assertEqual(self.gw.request(
                    'POST', path, body=b'x').status, 200)

        # nothing of a body to be gone
        self.refuse()
        self.assertEqual(self.gw.get('/unbuffered').status, 200)

    def test_refused_for_ever(self):
        self.servers()
        self.bad = {'token-%d' % n for n in range(1, 100)}
        start = time.monotonic()
        for n in range(20):
            for way in '/read?%d', '/pass?%d':
                got = self.gw.get(way % n)
                self.assertEqual(got.status, 401)
                self.assertLessEqual(len(self.seen(way % n)), 2)
        self.assertLessEqual(self.asked(),
                             2 + (time.monotonic() - start) / 1.0)

    def test_renewed_before_its_end(self):
        self.servers(refresh='1h', lifetime=4)
        self.gw.get('/pass')
        self.delay = .5
        slowest, tokens, end = 0, set(), time.monotonic() + 7
        while time.monotonic() < end:
            got = self.gw.get('/pass')
            self.assertEqual(got.status, 200)
            tokens.add(got.json()['token'])
            slowest = max(slowest, got.seconds)
            time.sleep(.05)
        self.assertGreaterEqual(len(tokens), 2)
        self.assertLessEqual(self.asked(), 4)
        print('slowest %.3f s while the answer took %.1f s'
              % (slowest, self.delay))

    def test_endpoint_down(self):
        self.servers()
        self.broken = True
        got = [self.gw.request('POST' if n % 2 else 'GET',
                               '/write' if n % 2 else '/pass',
                               body=b'{}' if n % 2 else None)
               for n in range(20)]
        self.assertEqual({r.status for r in got}, {503})
        self.assertTrue(all(int(r.headers['Retry-After']) > 0 for r in got))
        self.assertLessEqual(self.asked(), 4)
        self.assertEqual(self.erp_.requests, [])
        self.gw.wait_log('no token was given, status 500')
        self.broken = False
        penstock.wait_for(lambda: self.gw.get('/pass').status == 200,
                          what='a token again')

    def test_new_secret_by_reload(self):
        self.servers()
        self.assertEqual(self.gw.get('/pass').json()['token'], 'token-1')
        self.secret = 'another one'
        self.gw.write('secret', 'another one')
        self.gw.reload()
        self.assertEqual(self.gw.get('/pass').json()['token'], 'token-1')
        time.sleep(1.1)
        self.bad.add('token-1')
        self.assertEqual(self.gw.get('/read?1').json()['token'], 'token-2')

    def test_corrected_secret_by_reload(self):
        """It is tried at once, as long as the refused one has to wait."""

        self.servers()
        self.gw.write('secret', 'wrong')
        self.gw.reload()
        end = time.monotonic() + 30
        while int(self.gw.get('/pass').headers['Retry-After']) < 4:
            self.assertLess(time.monotonic(), end)
            time.sleep(.1)
        asked = self.asked()
        self.assertEqual(self.gw.get('/pass').status, 503)
        self.assertEqual(self.asked(), asked)
        self.gw.write('secret', self.secret)
        self.gw.reload()
        self.assertEqual(self.gw.get('/pass').status, 200)
        self.assertEqual(self.asked(), asked + 1)

    def test_who_asked_is_killed(self):
        self.servers(workers=2, allow=['exited on signal 9'])
        hang = threading.Event()
        issue = self.issue

        def hold(h):
            if len(self.authorization.requests) == 1:
                hang.wait(30)
            issue(h)

        self.authorization.handler = hold
        self.addCleanup(hang.set)

        def ask():
            try:
                return self.gw.get('/pass').status
            except (OSError, penstock.http.client.HTTPException):
                return None

        got = []
        threads = [threading.Thread(target=lambda: got.append(ask()),
                                    daemon=True) for _ in range(20)]
        for thread in threads:
            thread.start()
        pids = penstock.wait_for(
            lambda: self.gw.connected(dport=self.authorization.port),
            what='a question')
        time.sleep(.3)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for thread in threads:
            thread.join(20)
        self.assertTrue(set(got) <= {200, None}, got)
        self.assertEqual(self.gw.get('/pass').status, 200)
        self.assertEqual(self.asked(), 2)

    def test_subrequests(self):
        """A location inherits no token for a subrequest, but may name it."""
        self.servers()
        forged = {'Authorization': 'Bearer channel', 'X-Shop': 'forged',
                  'x_shop': 'forged'}
        for path in '/mirrored', '/lookup':
            self.assertEqual(self.gw.get(path, headers=forged).status, 200)
        penstock.wait_for(lambda: self.seen('/copy') and self.seen('/second'),
                          what='both copies')
        self.assertNotIn('token', self.seen('/copy')[0][2]['Authorization'])
        self.assertEqual(self.seen('/second')[-1][2]['Authorization'],
                         'Bearer token-1')
        self.assertEqual(
            [self.seen(path)[-1][2]['X-Shop'] for path in
             ('/mirrored', '/copy', '/lookup', '/second')],
            ['host', None, 'host', 'copy'])


OIDC_CLIENTS = (
    ('basic', 'client_secret_basic', None),
    ('post', 'client_secret_post', None),
    ('rs', 'private_key_jwt', 'RS256'),
    ('es', 'private_key_jwt', 'ES256'),
    ('ps', 'private_key_jwt', 'PS256'),
)

OIDC = '''
    %%CLIENTS%%

    server {
        listen 127.0.0.1:%%PORT%%;

        location = /_token {
            internal;
            proxy_pass http://127.0.0.1:%%AS%%/token;
        }

        location = /_keys {
            internal;
            proxy_pass http://127.0.0.1:%%AS%%/jwks;
        }

        %%LOCATIONS%%

        location /erp {
            auth_jwt        erp;
            auth_jwt_issuer http://127.0.0.1:%%AS%% key_request=/_keys
                            type=at+jwt audience=https://api.example/ES256;
            auth_jwt_scope  orders:write;
            add_header X-Client $jwt_claim_client_id always;
            add_header X-Reason $auth_jwt_error always;
            empty_gif;
        }
    }
'''


class Oidc(penstock.TestCase):

    def test_every_way(self):
        directory = tempfile.mkdtemp(prefix='penstock-')
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        port = penstock.free_port()

        def path(name):
            return os.path.join(directory, name)

        tool('jwks', 'gen', 'ES256', path('issuer'))
        with open(path('keys.json'), 'w') as f:
            json.dump([{'file': path('issuer'), 'kid': 'one',
                        'alg': 'ES256'}], f)

        clients, blocks, locations = [], '', ''
        for name, auth, alg in OIDC_CLIENTS:
            client = {'client_id': name, 'auth': auth}
            if alg:
                tool('jwks', 'gen', alg, path(name))
                client.update(file=path(name), alg=alg)
                how = '''private_key_file %s; alg %s; key_id %s;
                         assertion_audience http://127.0.0.1:%d;
                      ''' % (path(name), alg, name, port)
            else:
                client['secret'] = SECRET
                with open(path(name), 'w') as f:
                    f.write(SECRET + '\n')
                how = 'client_secret_file %s;' % path(name)
            clients.append(client)
            blocks += '''oauth_client %s {
                token_endpoint /_token; client_id %s; auth %s; %s
                scope orders:write; resource https://api.example/ES256;
            }\n''' % (name, name, auth, how)
            locations += '''location = /%s {
                erp_authorization %s;
                proxy_pass http://127.0.0.1:%%%%PORT%%%%/erp;
            }\n''' % (name, name)
        with open(path('clients.json'), 'w') as f:
            json.dump(clients, f)

        issuer = Issuer(directory, port, 'clients.json')
        self._add(issuer)
        gw = self.gateway(OIDC.replace('%%CLIENTS%%', blocks)
                          .replace('%%LOCATIONS%%', locations), AS=port)

        for name, _, _ in OIDC_CLIENTS:
            with self.subTest(name):
                got = gw.get('/' + name)
                self.assertEqual(
                    (got.status, got.headers['X-Client']), (200, name),
                    '%s\n%s' % (got.headers['X-Reason'], gw.log()[-500:]))


if __name__ == '__main__':
    unittest.main()
