"""Opaque tokens: what the authorization server says of them counts, for a
while; one question for each token at a time, and no answer is no access."""

import os
import re
import shutil
import socket
import tempfile
import threading
import time
import unittest
import urllib.parse

import penstock
from test_oauth import tool

CONF = '''
    %%BLOCK%%

    server {
        listen 127.0.0.1:%%PORT%%;

        location = /_introspect {
            internal;
            proxy_set_header Authorization "Basic Z3c6c2VjcmV0";
            proxy_pass http://127.0.0.1:%%AS%%/introspect;
        }

        auth_jwt api;
        add_header X-Reason $auth_jwt_error always;
        add_header X-Sub $jwt_claim_sub always;

        location /t {
            auth_introspect /_introspect %%PARAMS%%;
            empty_gif;
        }

        location /scope {
            auth_introspect /_introspect;
            auth_jwt_scope stock:read;
            empty_gif;
        }

        location /strict {
            auth_introspect /_introspect issuer=https://as.example
                            audience=https://api.example,urn:b;
            empty_gif;
        }

        location /mixed {
            auth_introspect /_introspect;
            auth_jwt_issuer https://a.example key_file=keys.json;
            empty_gif;
        }

        location /dpop {
            auth_introspect /_introspect;
            auth_dpop on;
            empty_gif;
        }

        location /post {
            auth_introspect /_introspect;
            proxy_pass http://127.0.0.1:%%AS%%/echo;
        }

        location /status {
            auth_jwt off;
            penstock_status;
        }
    }
'''


class Test(penstock.TestCase):

    def start(self, params='', **kw):
        self.gate = threading.Event()
        self.gate.set()
        self.tokens = {}
        self.raw = None
        self.status = 200
        self.origin_ = self.origin(self.answer)
        directory = tempfile.mkdtemp(prefix='penstock-')
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        tool('jwks', 'gen', 'ES256', os.path.join(directory, 'a'))
        with open(os.path.join(directory, 'keys.json'), 'w') as file:
            file.write(tool('jwks', 'set', '--key',
                            os.path.join(directory, 'a'), '--kid', 'a'))
        self.directory, self.params = directory, params
        self.gw = self.host(**kw)
        return self.gw

    def host(self, redis=None, **kw):
        directory = tempfile.mkdtemp(prefix='penstock-')
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        shutil.copy(os.path.join(self.directory, 'keys.json'), directory)
        return self.gateway(
            CONF, directory=directory, PARAMS=self.params,
            AS=self.origin_.port, BLOCK=redis and 'redis main { server '
            '127.0.0.1:%d; timeout connect=1s command=500ms; }' % redis.port
            or '', **kw)

    def answer(self, h):
        if h.path == '/echo':
            h.send(200, h.body)
            return
        self.gate.wait(penstock.DEADLINE)
        if self.raw is not None:
            h.send(self.status, self.raw,
                   {'Content-Type': 'application/json'})
            return
        form = urllib.parse.parse_qs(h.body.decode())
        h.send(self.status,
               self.tokens.get(form['token'][0], {'active': False}))

    def questions(self):
        with self.origin_.mutex:
            return [r for r in self.origin_.requests if r[1] != '/echo']

    def get(self, token, path='/t', **headers):
        headers['Authorization'] = 'Bearer ' + token
        return self.gw.get(path, headers=headers)

    def active(self, **claims):
        return dict({'active': True, 'sub': 'bob', 'scope': 'stock:read',
                     'exp': int(time.time()) + 600}, **claims)

    # -- the question ----------------------------------------------------------

    def test_question(self):
        gw = self.start()
        token = 'a-B._~+/c=='
        self.tokens[token] = self.active()
        answer = self.get(token, '/t?q=secret', Cookie='secret=1')
        self.assertEqual((answer.status, answer.headers['X-Sub']),
                         (200, 'bob'))
        (method, path, headers, body), = self.questions()
        self.assertEqual((method, path), ('POST', '/introspect'))
        self.assertEqual(headers['Authorization'], 'Basic Z3c6c2VjcmV0')
        self.assertEqual(headers['Content-Type'],
                         'application/x-www-form-urlencoded')
        self.assertEqual(headers['Accept'], 'application/json')
        self.assertEqual(urllib.parse.parse_qs(body.decode()),
                         {'token': [token],
                          'token_type_hint': ['access_token']})
        self.assertNotIn('secret', str(headers))
        self.assertNotIn(token, gw.log())

    def test_a_post_keeps_its_body(self):
        gw = self.start()
        self.tokens['t'] = self.active()
        body = b'x' * 100000
        answer = gw.post('/post', body,
                         headers={'Authorization': 'Bearer t'})
        self.assertEqual((answer.status, answer.body), (200, body))

    def test_one_question_for_all(self):
        gw = self.start(workers=3)
        self.tokens['t'] = self.active()
        self.gate.clear()
        opener = threading.Timer(0.3, self.gate.set)
        opener.start()
        answers = penstock.together([lambda: self.get('t')] * 30)
        opener.join()
        self.assertEqual({a.status for a in answers}, {200})
        self.assertEqual(len(self.questions()), 1)
        self.assertEqual(self.get('t').status, 200)
        self.assertEqual(len(self.questions()), 1)

    def test_tokens_are_asked_side_by_side(self):
        self.start()
        for n in range(5):
            self.tokens['t%d' % n] = self.active(sub='s%d' % n)
        self.gate.clear()
        threads = []
        subs = {}
        for n in range(5):
            threads.append(threading.Thread(
                target=lambda n=n: subs.__setitem__(
                    n, self.get('t%d' % n).headers['X-Sub'])))
            threads[-1].start()
        penstock.wait_for(lambda: len(self.questions()) == 5,
                          what='five questions at once')
        self.gate.set()
        for thread in threads:
            thread.join(penstock.DEADLINE)
        self.assertEqual(subs, {n: 's%d' % n for n in range(5)})

    # -- for how long it counts ----------------------------------------------

    def test_never_past_exp(self):
        self.start('cache=1h')
        self.tokens['t'] = self.active(exp=int(time.time()) + 2)
        self.assertEqual(self.get('t').status, 200)
        self.tokens['t'] = {'active': False}
        penstock.wait_for(lambda: self.get('t').status == 401,
                          what='its end')
        self.assertEqual(len(self.questions()), 2)

    def test_cache_time(self):
        self.start('cache=1s')
        self.tokens['t'] = self.active()
        self.assertEqual(self.get('t').status, 200)
        self.tokens['t'] = {'active': False}
        penstock.wait_for(lambda: self.get('t').status == 401,
                          what='a revoked token')

    def test_without_cache(self):
        self.start('cache=0')
        self.tokens['t'] = self.active()
        for n in range(3):
            self.assertEqual(self.get('t').status, 200)
            self.assertEqual(len(self.questions()), n + 1)

    def test_inactive_tokens_for_a_short_time(self):
        self.start('negative=1s')
        for _ in range(5):
            answer = self.get('t')
            self.assertEqual(answer.status, 401)
            self.assertEqual(answer.headers['X-Reason'],
                             'the token is not active')
            self.assertIn('error="invalid_token"',
                          answer.headers['WWW-Authenticate'])
        self.assertEqual(len(self.questions()), 1)
        self.tokens['t'] = self.active()
        penstock.wait_for(lambda: self.get('t').status == 200,
                          what='an active token')

    # -- what it says --------------------------------------------------------

    def test_active_is_true_or_it_is_not(self):
        self.start('negative=0')
        for n, active in enumerate(('true', 1, None, [True], 'missing')):
            with self.subTest(active=active):
                said = self.active(active=active)
                if active == 'missing':
                    del said['active']
                self.tokens['t%d' % n] = said
                self.assertEqual(self.get('t%d' % n).status, 401)

    def test_scope(self):
        self.start()
        self.tokens['r'] = self.active()
        self.tokens['w'] = self.active(scope='orders:write')
        self.assertEqual(self.get('r', '/scope').status, 200)
        answer = self.get('w', '/scope')
        self.assertEqual(answer.status, 403)
        self.assertIn('scope="stock:read"',
                      answer.headers['WWW-Authenticate'])

    def test_issuer_and_audience(self):
        self.start()
        good = dict(iss='https://as.example', aud='urn:b')
        for n, (claims, status) in enumerate((
                (good, 200),
                (dict(good, aud=['x', 'https://api.example']), 200),
                (dict(good, aud='https://api.example/'), 401),
                (dict(good, iss='https://as.example/'), 401),
                (dict(iss='https://as.example'), 401),
                (dict(aud='urn:b'), 401))):
            with self.subTest(claims):
                self.tokens['t%d' % n] = self.active(**claims)
                self.assertEqual(self.get('t%d' % n, '/strict').status,
                                 status)

    def test_times(self):
        self.start()
        now = int(time.time())
        for n, claims in enumerate(({'exp': now - 5}, {'nbf': now + 60},
                                    {'exp': 'soon'}, {'sub': 7})):
            with self.subTest(claims):
                self.tokens['t%d' % n] = self.active(**claims)
                self.assertEqual(self.get('t%d' % n).status, 401)

    def test_bound(self):
        self.start()
        self.tokens['t'] = self.active(cnf={'jkt': 'x' * 43})
        self.assertEqual(self.get('t').status, 401)
        self.assertEqual(self.get('t', '/dpop').headers['X-Reason'],
                         'the token is bound by DPoP and was sent as Bearer')

    # -- no answer is no access ------------------------------------------------

    def test_garbage(self):
        gw = self.start()
        for n, (raw, status) in enumerate((
                (b'', 200), (b'[]', 200), (b'true', 200),
                (b'{"active":true', 200),
                (b'{"active":false,"active":true}', 200),
                (b'{"active":true}' + b' ' * 70000, 200),
                (b'{"active":true}', 500), (b'{"active":true}', 401),
                (b'{"active":true}', 302))):
            with self.subTest(raw=raw[:40], status=status):
                self.raw, self.status = raw, status
                answer = self.get('g%d' % n)
                self.assertEqual(answer.status, 503)
                self.assertEqual(answer.headers['Retry-After'], '1')
                self.assertIsNone(answer.headers['WWW-Authenticate'])
        gw.wait_log(r'"/_introspect" did not tell about a token: status 500')

        # a pause for the server, then all is well
        self.raw, self.status = None, 200
        self.tokens['g0'] = self.active()
        penstock.wait_for(lambda: self.get('g0').status == 200,
                          what='an answer')

    def test_hanging_server(self):
        self.start('timeout=300ms', workers=2)
        self.gate.clear()
        answers = penstock.together([lambda: self.get('t')] * 6)
        self.assertEqual({a.status for a in answers}, {503})
        self.assertEqual(len(self.questions()), 1)
        self.tokens['t'] = self.active()
        self.gate.set()
        penstock.wait_for(lambda: self.get('t').status == 200,
                          what='an answer')

    def test_dead_server(self):
        self.start()
        self.origin_.teardown()
        self.assertEqual(self.get('t').status, 503)

    def test_the_worker_that_asks_dies(self):
        gw = self.start(workers=2, allow=['exited on signal 9'])
        self.tokens['t'] = self.active()
        self.gate.clear()
        results = []

        def ask():
            try:
                results.append(self.get('t').status)
            except OSError:
                results.append(None)

        threads = gw.crowd(ask)
        penstock.wait_for(lambda: len(self.questions()) == 1,
                          what='the question')
        leader, = gw.connected(dport=self.origin_.port)
        os.kill(leader, 9)
        penstock.wait_for(lambda: len(self.questions()) == 2,
                          what='another worker asks')
        self.gate.set()
        for thread in threads:
            thread.join(penstock.DEADLINE)
        self.assertEqual(len(results), len(threads))
        self.assertLessEqual(set(results), {200, None})
        self.assertIn(200, results)

    # -- several hosts ---------------------------------------------------------

    def test_hosts_share_answers(self):
        store = self.redis()
        self.start('redis=main', redis=store)
        other = self.host(redis=store)
        self.tokens['opaque-secret'] = self.active()
        self.assertEqual(self.get('opaque-secret').status, 200)
        penstock.wait_for(lambda: store.command('DBSIZE') == 1,
                          what='the answer in Redis')
        self.gw = other
        answer = self.get('opaque-secret')
        self.assertEqual((answer.status, answer.headers['X-Sub']),
                         (200, 'bob'))
        self.assertEqual(len(self.questions()), 1)
        self.assertIn('{result="shared"} 1\n',
                      other.get('/status?format=prometheus').text)

        # nothing of the token, and not for longer than it counts
        key, = store.command('KEYS', '*')
        self.assertRegex(key, '^penstock:token:[0-9a-f]{64}$')
        self.assertNotIn('secret', store.command('GET', key))
        self.assertLessEqual(store.command('PTTL', key), 60000)

        # what is judged is judged by each location
        self.assertEqual(self.get('opaque-secret', '/strict').status, 401)

    def test_shared_answers_end_as_the_first_would(self):
        store = self.redis()
        self.start('cache=2s redis=main', redis=store)
        self.tokens['t'] = self.active()
        self.assertEqual(self.get('t').status, 200)
        self.tokens['t'] = {'active': False}
        penstock.wait_for(lambda: store.command('DBSIZE') == 1)
        self.gw = self.host(redis=store)
        begin = time.monotonic()
        self.assertEqual(self.get('t').status, 200)
        penstock.wait_for(lambda: self.get('t').status == 401,
                          what='a revoked token')
        self.assertEqual(len(self.questions()), 2)
        self.assertLess(time.monotonic() - begin, penstock.DEADLINE)

    def test_inactive_tokens_are_not_shared(self):
        store = self.redis()
        self.start('redis=main', redis=store)
        self.assertEqual(self.get('t').status, 401)
        self.tokens['u'] = self.active(exp=int(time.time()) - 5)
        self.assertEqual(self.get('u').status, 401)
        self.assertEqual(store.command('DBSIZE'), 0)

    def test_what_redis_holds_is_not_believed_blindly(self):
        store = self.redis()
        self.start('redis=main', redis=store)
        self.tokens['t'] = self.active()
        self.assertEqual(self.get('t').status, 200)
        penstock.wait_for(lambda: store.command('DBSIZE') == 1)
        key, = store.command('KEYS', '*')
        until, text = store.command('GET', key).split(' ', 1)
        asked = 1
        for value in ('', 'x', text, until, until + ' ', until + ' {}',
                      until + ' [' + text + ']', '-1 ' + text, '1 ' + text,
                      '9' * 30 + ' ' + text, until + ' ' + text[:-1],
                      until + ' ' + text.replace('true', '"true"'),
                      until + ' ' + text.replace('true', 'false'),
                      until + ' ' + text[:-1] + ',"active":true}'):
            with self.subTest(value):
                store.command('SET', key, value)
                self.gw = self.host(redis=store)
                self.assertEqual(self.get('t').status, 200)
                asked += 1
                self.assertEqual(len(self.questions()), asked)
        store.command('DEL', key)
        store.command('LPUSH', key, 'x')
        self.gw = self.host(redis=store)
        self.assertEqual(self.get('t').status, 200)

    def test_without_redis_the_server_is_asked(self):
        store = self.redis()
        self.start('redis=main', redis=store)
        self.tokens.update(t=self.active(), u=self.active(), v=self.active())
        self.assertEqual(self.get('t').status, 200)
        store.freeze()
        try:
            self.assertEqual(self.get('u').status, 200)
        finally:
            store.thaw()
        store.stop()
        self.assertEqual(self.get('v').status, 200)

    def test_the_one_that_reads_redis_leaves(self):
        store = self.redis()
        gw = self.start('redis=main', redis=store)
        self.tokens['t'] = self.active()
        self.assertEqual(self.get('u').status, 401)
        store.freeze()
        try:
            with socket.create_connection(('127.0.0.1', gw.port)) as s:
                s.sendall(b'GET /t HTTP/1.1\r\nHost: t\r\n'
                          b'Authorization: Bearer t\r\n\r\n')
                penstock.wait_for(lambda: self.calls(gw) == 2,
                                  what='a call to Redis')
            self.assertEqual(self.get('t').status, 200)
        finally:
            store.thaw()

    def calls(self, gw):
        text = gw.get('/status?format=prometheus').text
        return int(re.search(r'^penstock_redis_calls_total\S* (\d+)', text,
                             re.M).group(1))

    # -- beside keys -----------------------------------------------------------

    def test_beside_keys(self):
        gw = self.start()
        jwt = tool('mint', '--key', os.path.join(self.directory, 'a'),
                   '--alg', 'ES256', '--kid', 'a', '--sub', 'eve', '--iss', 'https://a.example',
                   '--exp', '600')
        answer = self.get(jwt, '/mixed')
        self.assertEqual((answer.status, answer.headers['X-Sub']),
                         (200, 'eve'))
        self.assertEqual(self.questions(), [])

        self.tokens['opaque'] = self.active()
        answer = self.get('opaque', '/mixed')
        self.assertEqual((answer.status, answer.headers['X-Sub']),
                         (200, 'bob'))

        # a JWT that fails is not asked about: it is no other kind of token
        self.tokens[jwt + 'x'] = self.active()
        self.assertEqual(self.get(jwt + 'x', '/mixed').status, 401)
        self.assertEqual(len(self.questions()), 1)

        # what is known of a token at one place is nothing elsewhere
        self.assertEqual(self.get(jwt, '/t').status, 401)

    def test_counters(self):
        self.start()
        self.tokens['t'] = self.active()
        self.get('t')
        self.get('u')
        text = self.gw.get('/status?format=prometheus').text
        for result, n in ('active', 1), ('inactive', 1), ('error', 0):
            self.assertIn('penstock_oauth_introspections_total'
                          '{result="%s"} %d\n' % (result, n), text)


if __name__ == '__main__':
    unittest.main()
