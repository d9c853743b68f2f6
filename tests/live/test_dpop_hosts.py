"""DPoP across hosts: a proof counts once for all that share a Redis server,
and nonces keep proofs from being made in advance, on every host that has the
key."""

import os
import shutil
import tempfile
import time
import unittest

import penstock
import test_bound
from test_oauth import tool

CONF = '''
    redis main {
        server 127.0.0.1:%%REDIS%%;
        timeout connect=1s command=1s;
    }

    auth_dpop_zone proofs:1m %%ZONE%%;

    server {
        listen 127.0.0.1:%%PORT%%;
        auth_jwt api;
        auth_jwt_key_file keys.json;
        add_header X-Reason $auth_jwt_error always;

        location /t {
            auth_dpop on uri=https://api.example;
            try_files /none @t;
        }

        location @t {
            auth_dpop on uri=https://api.example;
            empty_gif;
        }

        location /nonce {
            auth_dpop required nonce=1h uri=https://api.example;
            try_files /none @nonce;
        }

        location @nonce {
            auth_dpop required nonce=1h uri=https://api.example;
            empty_gif;
        }

        location /short {
            auth_dpop on nonce=4s uri=https://api.example;
            empty_gif;
        }

        location /status {
            auth_jwt off;
            penstock_status;
        }
    }
'''


class Test(penstock.TestCase):

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix='penstock-')
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        tool('jwks', 'gen', 'ES256', self.path('issuer'))
        with open(self.path('keys.json'), 'w') as file:
            file.write(tool('jwks', 'set', '--key', self.path('issuer'),
                            '--kid', 'issuer'))
        self.key = test_bound.Key(self.directory, 'client')
        self.jwt = tool('jws', '--alg', 'ES256', '--key',
                        self.path('issuer'), '--header',
                        '{"alg":"ES256","kid":"issuer"}', '--payload',
                        '{"sub":"bob","exp":%d,"cnf":{"jkt":"%s"}}' % (
                            time.time() + 600, self.key.jkt))

    def path(self, name):
        return os.path.join(self.directory, name)

    def host(self, zone='redis=main', redis=None, secret=None, **kw):
        directory = tempfile.mkdtemp(prefix='penstock-')
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        shutil.copy(self.path('keys.json'), directory)
        if secret:
            with open(os.path.join(directory, 'nonce.key'), 'wb') as file:
                file.write(secret)
        return self.gateway(CONF, directory=directory, ZONE=zone,
                            REDIS=redis.port if redis else 1, **kw)

    def proof(self, path='/t', **claims):
        return self.key.proof(self.jwt, 'https://api.example' + path,
                              **claims)

    def ask(self, gw, proof, path='/t'):
        return gw.get(path, headers={'Authorization': 'DPoP ' + self.jwt,
                                     'DPoP': proof})

    def replayed(self, answer):
        self.assertEqual((answer.status, answer.headers['X-Reason']),
                         (401, 'the DPoP proof was used before'))

    def errors(self, gw):
        text = gw.get('/status?format=prometheus').text
        return int(text.split('proof_store_errors_total ')[-1].split()[0])

    # -- one proof, several hosts ----------------------------------------------

    def test_once_on_all_hosts(self):
        store = self.redis()
        hosts = [self.host(redis=store, workers=2) for _ in range(2)]
        proof = self.proof()
        answers = penstock.together(
            [lambda gw=gw: self.ask(gw, proof) for gw in hosts * 8])
        self.assertEqual(sorted(a.status for a in answers),
                         [200] + [401] * 15)
        for gw in hosts:
            self.replayed(self.ask(gw, proof))
            self.assertEqual(self.errors(gw), 0)

        # a mark of fixed size, for as long as the proof counts
        key, = store.command('KEYS', '*')
        self.assertRegex(key, '^penstock:dpop:[0-9a-f]{64}$')
        left = store.command('PTTL', key)
        self.assertLess(60000, left)
        self.assertLessEqual(left, 121000)

    def test_redis_down(self):
        store = self.redis()
        closed = self.host(redis=store)
        open_ = self.host('redis=main fail=open', redis=store)
        store.stop()
        answer = self.ask(closed, self.proof())
        self.assertEqual((answer.status, answer.headers['Retry-After']),
                         (503, '1'))
        self.assertIsNone(answer.headers['WWW-Authenticate'])
        proof = self.proof()
        self.assertEqual(self.ask(open_, proof).status, 200)
        self.assertEqual(self.errors(open_), 1)

        # this host knows it still
        self.replayed(self.ask(open_, proof))

        store.start()
        penstock.wait_for(
            lambda: self.ask(closed, self.proof()).status == 200,
            what='Redis is back')

    def test_redis_hangs(self):
        store = self.redis()
        closed = self.host(redis=store)
        open_ = self.host('fail=open redis=main', redis=store)
        for gw in closed, open_:
            self.assertEqual(self.ask(gw, self.proof()).status, 200)
        store.freeze()
        try:
            self.assertEqual(self.ask(closed, self.proof()).status, 503)
            self.assertEqual(self.ask(open_, self.proof()).status, 200)
        finally:
            store.thaw()

    def test_redis_refuses(self):
        store = self.redis()
        gw = self.host(redis=store)
        store.command('CONFIG', 'SET', 'maxmemory', '1')
        self.assertEqual(self.ask(gw, self.proof()).status, 503)

    # -- nonces ----------------------------------------------------------------

    def challenged(self, answer):
        self.assertEqual(answer.status, 401)
        self.assertIn('DPoP realm="api", error="use_dpop_nonce"',
                      answer.headers['WWW-Authenticate'])
        self.assertEqual(answer.headers['Content-Type'],
                         'application/problem+json')
        nonce = answer.headers['DPoP-Nonce']
        self.assertRegex(nonce, '^[A-Za-z0-9_-]{32}$')
        return nonce

    def test_nonce(self):
        gw = self.host('', workers=2)
        nonce = self.challenged(self.ask(gw, self.proof('/nonce'), '/nonce'))

        # the same proof again, with it; and young ones are not replaced
        for _ in range(4):
            answer = self.ask(gw, self.proof('/nonce', nonce=nonce),
                              '/nonce')
            self.assertEqual(answer.status, 200)
            self.assertIsNone(answer.headers['DPoP-Nonce'])

        for bad in ('', 'x', nonce[:-1], nonce + 'A', 'A' * 32,
                    nonce[:10] + ('B' if nonce[10] == 'A' else 'A')
                    + nonce[11:], 7, None, [nonce]):
            with self.subTest(bad):
                self.challenged(self.ask(
                    gw, self.proof('/nonce', nonce=bad), '/nonce'))

        # where none is asked for, none is looked at
        self.assertEqual(self.ask(gw, self.proof(nonce='x')).status, 200)

        gw.reload()
        self.assertEqual(self.ask(gw, self.proof('/nonce', nonce=nonce),
                                  '/nonce').status, 200)

    def test_a_wrong_proof_gets_no_nonce(self):
        gw = self.host('')
        answer = self.ask(gw, self.proof('/other'), '/nonce')
        self.assertIn('error="invalid_dpop_proof"',
                      answer.headers['WWW-Authenticate'])
        self.assertIsNone(answer.headers['DPoP-Nonce'])

    def test_a_proof_without_nonce_is_not_used_up(self):
        store = self.redis()
        gw = self.host(redis=store)
        self.challenged(self.ask(gw, self.proof('/nonce'), '/nonce'))
        self.assertEqual(store.command('DBSIZE'), 0)

    def test_a_nonce_ends(self):
        gw = self.host('')
        nonce = self.challenged(self.ask(gw, self.proof('/short'), '/short'))

        def ask(value):
            return self.ask(gw, self.proof('/short', nonce=value), '/short')

        # a new one comes in time, with what the old one still admits
        def renewed():
            answer = ask(nonce)
            self.assertEqual(answer.status, 200)
            return answer.headers['DPoP-Nonce']

        new = penstock.wait_for(renewed, what='a new nonce')
        self.assertNotEqual(new, nonce)
        penstock.wait_for(lambda: ask(nonce).status == 401,
                          what='the end of the old one')
        newer = self.challenged(ask(nonce))
        self.assertEqual(ask(newer).status, 200)

    def test_hosts_with_one_key(self):
        secret = os.urandom(32)
        one, two = [self.host('nonce_key=nonce.key', secret=secret)
                    for _ in range(2)]
        other = self.host('nonce_key=nonce.key', secret=os.urandom(32))
        nonce = self.challenged(self.ask(one, self.proof('/nonce'),
                                         '/nonce'))
        proof = self.proof('/nonce', nonce=nonce)
        self.assertEqual(self.ask(two, proof, '/nonce').status, 200)
        self.challenged(self.ask(other, proof, '/nonce'))

    def test_configuration(self):
        def error(zone, secret=None):
            directory = tempfile.mkdtemp(prefix='penstock-')
            self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
            if secret is not None:
                with open(os.path.join(directory, 'k'), 'wb') as file:
                    file.write(secret)
            return self.check('auth_dpop_zone a:1m %s;' % zone,
                              directory=directory)

        for zone, secret, text in (
                ('nonce_key=none', None, 'open() "'),
                ('nonce_key=k', b'short', 'must hold 32 to 1024 bytes'),
                ('nonce_key=k', b'x' * 1025, 'must hold 32 to 1024 bytes'),
                ('redis=nobody', None, 'nobody'),
                ('fail=maybe', None, 'fail=closed|open')):
            with self.subTest(zone):
                ok, out = error(zone, secret)
                self.assertFalse(ok)
                self.assertIn(text, out)


if __name__ == '__main__':
    unittest.main()
