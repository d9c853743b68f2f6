"""Revoked tokens: what is written to the stream in Redis holds on every host
within a second, without a call to Redis in anybody's way."""

import json
import os
import shutil
import tempfile
import time
import unittest

import penstock
from test_oauth import tool

CONF = '''
    redis main {
        server 127.0.0.1:%%REDIS%%;
        timeout connect=1s command=1s;
    }

    server {
        listen 127.0.0.1:%%PORT%%;
        auth_jwt api;
        auth_jwt_key_file keys.json;
        add_header X-Reason $auth_jwt_error always;

        location /closed {
            auth_jwt_revocation redis=main;
            empty_gif;
        }

        location /open {
            auth_jwt_revocation redis=main fail=open;
            empty_gif;
        }

        location /off {
            empty_gif;
        }
    }
'''


class Test(penstock.TestCase):

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix='penstock-')
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        tool('jwks', 'gen', 'ES256', self.path('a'))
        with open(self.path('keys.json'), 'w') as file:
            file.write(tool('jwks', 'set', '--key', self.path('a'), '--kid',
                            'a'))
        self.store = self.redis()
        self.gw = self.server()

    def server(self, **kw):
        directory = tempfile.mkdtemp(prefix='penstock-')
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        shutil.copy(self.path('keys.json'), directory)
        return self.gateway(CONF, directory=directory, REDIS=self.store.port,
                            **kw)

    def path(self, name):
        return os.path.join(self.directory, name)

    def token(self, **claims):
        claims = dict({'iss': 'https://a.example', 'sub': 'bob', 'jti': 'j1',
                       'client_id': 'channel', 'iat': int(time.time()),
                       'exp': int(time.time()) + 600}, **claims)
        claims = {k: v for k, v in claims.items() if v is not None}
        return tool('jws', '--alg', 'ES256', '--key', self.path('a'),
                    '--header', '{"alg":"ES256","kid":"a"}', '--payload',
                    json.dumps(claims))

    def get(self, token, path='/closed', gw=None):
        return (gw or self.gw).get(path, headers={
            'Authorization': 'Bearer ' + token})

    def revoke(self, *fields, id='*'):
        self.store.command('XADD', 'penstock:revoked', id, *fields)

    def refused(self, token, gw=None):
        """Within a second; the deadline here is the test's only."""
        penstock.wait_for(lambda: self.get(token, gw=gw).status == 401,
                          what='the revocation')
        answer = self.get(token, gw=gw)
        self.assertEqual(answer.headers['X-Reason'], 'the token is revoked')
        self.assertIn('error="invalid_token"',
                      answer.headers['WWW-Authenticate'])

    def test_by_jti(self):
        one, two = self.token(), self.token(jti='j2')
        self.assertEqual(self.get(one).status, 200)
        self.revoke('jti', 'j1')
        self.refused(one)
        self.assertEqual(self.get(two).status, 200)
        self.assertEqual(self.get(one, '/off').status, 200)
        self.assertEqual(self.get(one, '/open').status, 401)

    def test_within_a_second(self):
        """Nothing is asked between: the request after a second knows."""
        token = self.token()
        self.assertEqual(self.get(token).status, 200)
        self.revoke('jti', 'j1')
        end = time.monotonic() + 1.05
        penstock.wait_for(lambda: time.monotonic() > end, what='a second')
        self.assertEqual(self.get(token).status, 401)

    def test_by_subject_and_client(self):
        now = int(time.time())
        for field, value, claims in (
                ('sub', 'eve', {'sub': 'eve'}),
                ('client_id', 'shop', {'client_id': 'shop'})):
            with self.subTest(field):
                old = self.token(iat=now - 10, **claims)
                none = self.token(iat=None, **claims)
                new = self.token(iat=now + 100, **claims)
                other = self.token(iat=now - 10)
                self.assertEqual(self.get(old).status, 200)
                self.revoke(field, value)
                self.refused(old)
                self.refused(none)
                self.assertEqual(self.get(new).status, 200)
                self.assertEqual(self.get(other).status, 200)

    def test_before(self):
        now = int(time.time())
        self.revoke('sub', 'bob', 'before', str(now - 100))
        self.refused(self.token(iat=now - 100))
        self.assertEqual(self.get(self.token(iat=now - 99)).status, 200)

    def test_of_one_issuer(self):
        self.revoke('jti', 'j1', 'iss', 'https://a.example')
        self.refused(self.token())
        for iss in 'https://b.example', 'https://a.example/', None:
            self.assertEqual(self.get(self.token(iss=iss)).status, 200)

    def test_every_worker_and_host(self):
        token = self.token()
        hosts = [self.server(workers=3) for _ in range(2)]
        for gw in hosts:
            self.assertEqual(self.get(token, gw=gw).status, 200)
        self.revoke('jti', 'j1')
        for gw in hosts:
            self.refused(token, gw)
            answers = penstock.together(
                [lambda: self.get(token, gw=gw)] * 12)
            self.assertEqual({a.status for a in answers}, {401})

    def test_a_new_host_knows_from_its_first_request(self):
        for n in range(2500):
            self.revoke('jti', 'x%d' % n)
        self.revoke('jti', 'j1')
        token = self.token()
        for gw in self.server(), self.server(workers=3):
            self.assertEqual(self.get(token, gw=gw).status, 401)
            self.assertEqual(self.get(self.token(jti='j2'), gw=gw).status,
                             200)

    def test_reload_keeps(self):
        token = self.token()
        self.revoke('jti', 'j1')
        self.refused(token)
        self.store.stop()
        self.gw.reload()
        self.assertEqual(self.get(token, '/open').status, 401)

    def test_redis_down(self):
        token, revoked = self.token(jti='j2'), self.token()
        self.revoke('jti', 'j1')
        self.refused(revoked)
        self.store.stop()
        penstock.wait_for(lambda: self.get(token).status == 503,
                          what='revocations that are too old')
        answer = self.get(token)
        self.assertEqual(answer.headers['X-Reason'],
                         'revocations could not be read')
        self.assertEqual(answer.headers['Retry-After'], '1')
        self.assertIsNone(answer.headers['WWW-Authenticate'])

        # open: what is known holds still
        self.assertEqual(self.get(token, '/open').status, 200)
        self.assertEqual(self.get(revoked, '/open').status, 401)
        self.assertEqual(self.get(revoked).status, 401)

        self.store.start()
        penstock.wait_for(lambda: self.get(token).status == 200,
                          what='Redis is back')

    def test_redis_hangs(self):
        token = self.token()
        self.assertEqual(self.get(token).status, 200)
        self.store.freeze()
        try:
            penstock.wait_for(lambda: self.get(token).status == 503,
                              what='revocations that are too old')
            self.assertEqual(self.get(token, '/open').status, 200)
        finally:
            self.store.thaw()
        penstock.wait_for(lambda: self.get(token).status == 200,
                          what='Redis answers')

    def test_redis_restarted_empty(self):
        revoked, token = self.token(), self.token(jti='j2')
        self.revoke('jti', 'j1')
        self.refused(revoked)
        self.store.command('FLUSHALL')
        self.assertEqual(self.get(revoked).status, 401)
        self.revoke('jti', 'j2')
        self.refused(token)

    def test_strange_entries(self):
        self.revoke('what', 'ever')
        self.revoke('jti', '')
        self.revoke('sub', 'eve', 'before', 'soon')
        self.revoke('jti', 'x' * 300, 'sub', 'y' * 300)
        self.revoke('jti', b'\\x00\\xff'.decode('latin-1'))
        self.refused(self.token(sub='eve'))
        self.assertEqual(self.get(self.token()).status, 200)

    def test_not_a_stream(self):
        self.store.command('SET', 'penstock:revoked', 'x')
        penstock.wait_for(lambda: self.get(self.token()).status == 503,
                          what='a refusal')
        self.gw.wait_log('refuses to read revocations: "WRONGTYPE')
        self.assertEqual(self.get(self.token(), '/open').status, 200)

    def test_one_that_does_not_fit(self):
        self.revoke('jti', 'x' * 2000)
        penstock.wait_for(lambda: self.get(self.token()).status == 503,
                          what='an incomplete table')
        self.gw.wait_log("don't fit")
        self.assertEqual(self.get(self.token(), '/open').status, 200)


if __name__ == '__main__':
    unittest.main()
