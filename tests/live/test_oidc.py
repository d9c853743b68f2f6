"""A certified OAuth server and the gateway: its tokens of every algorithm,
opaque and sender-constrained ones, and what happens when it changes its keys.
"""

import base64
import json
import os
import shutil
import tempfile
import unittest
import urllib.parse

import penstock
from test_bound import Key
from test_oauth import tool

ALGS = ('RS256', 'PS256', 'ES256', 'ES384', 'ES512', 'EdDSA')

CONF = '''
    server {
        listen 127.0.0.1:%%PORT%%;

        location = /_keys {
            internal;
            proxy_pass http://127.0.0.1:%%AS%%/jwks;
        }

        location = /_introspect {
            internal;
            proxy_set_header Authorization "Basic %%BASIC%%";
            proxy_pass http://127.0.0.1:%%AS%%/token/introspection;
        }

        auth_jwt api;
        auth_jwt_key_cache 1h refetch=1s;
        auth_jwt_scope stock:read;
        add_header X-Reason $auth_jwt_error always;
        add_header X-Client $jwt_claim_client_id always;

        location ~ ^/(?<alg>RS256|PS256|ES256|ES384|ES512|EdDSA)$ {
            auth_jwt_issuer http://127.0.0.1:%%AS%% key_request=/_keys
                            type=at+jwt %%AUDIENCES%%;
            auth_dpop on;
            empty_gif;
        }

        location /strict {
            auth_jwt_issuer http://127.0.0.1:%%AS%% key_request=/_keys
                            type=at+jwt audience=https://api.example/ES256
                            algorithms=ES256;
            empty_gif;
        }

        location /opaque {
            auth_introspect /_introspect negative=1s cache=1s
                            issuer=http://127.0.0.1:%%AS%%
                            audience=https://api.example/opaque;
            auth_dpop on;
            empty_gif;
        }
    }
'''


class Issuer(penstock.Server):
    """tests/live/oidc/issuer.js with the keys of a folder, and more clients
    where a file of it names some."""

    def __init__(self, directory, port, clients=None):
        super().__init__(directory)
        self.port = port
        self.more = [self.path(clients)] if clients else []

    def start(self):
        home = os.path.join(penstock.BUILD, 'oidc')
        script = os.path.join(home, 'issuer-%d.js' % os.getpid())
        shutil.copy(os.path.join(penstock.ROOT, 'tests/live/oidc/issuer.js'),
                    script)
        self.script = script
        env = {k: v for k, v in os.environ.items()
               if k not in ('LD_PRELOAD', 'ASAN_OPTIONS')}
        self.spawn(['node', script, self.path('keys.json'),
                    str(self.port)] + self.more,
                   lambda: penstock.listening(self.port), env)

    def teardown(self):
        super().teardown()
        if os.path.exists(self.script):
            os.unlink(self.script)


class Test(penstock.TestCase):

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix='penstock-')
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.port = penstock.free_port()
        self.keys('one')
        self.issuer = Issuer(self.directory, self.port)
        self._add(self.issuer)
        self.gw = self.gateway(
            CONF, workers=2, AS=self.port,
            BASIC=base64.b64encode(b'gateway:gateway-secret').decode(),
            AUDIENCES='audience=' + ','.join('https://api.example/' + alg
                                             for alg in ALGS))

    def keys(self, name):
        """A private key for each algorithm, with a key id of its own."""
        keys = []
        for alg in ALGS:
            path = os.path.join(self.directory, name + alg)
            tool('jwks', 'gen', alg, path)
            keys.append({'file': path, 'kid': name + alg, 'alg': alg})
        with open(os.path.join(self.directory, 'keys.json'), 'w') as file:
            json.dump(keys, file)

    def token(self, kind, scope='stock:read', headers=None):
        answer = penstock.request(
            self.port, 'POST', '/token',
            dict({'Authorization': 'Basic ' + base64.b64encode(
                b'channel:channel-secret').decode(),
                'Content-Type': 'application/x-www-form-urlencoded'},
                **(headers or {})),
            urllib.parse.urlencode({
                'grant_type': 'client_credentials', 'scope': scope,
                'resource': 'https://api.example/' + kind}).encode())
        self.assertEqual(answer.status, 200, answer.text)
        return answer.json()['access_token']

    def get(self, path, token, scheme='Bearer', **headers):
        headers['Authorization'] = scheme + ' ' + token
        return self.gw.get(path, headers=headers)

    def test_every_algorithm(self):
        for alg in ALGS:
            with self.subTest(alg):
                answer = self.get('/' + alg, self.token(alg))
                self.assertEqual(
                    (answer.status, answer.headers['X-Client']),
                    (200, 'channel'), answer.headers['X-Reason'])

    def test_refused(self):
        for alg in ALGS:
            with self.subTest(alg):
                token = self.token(alg)
                self.assertEqual(self.get('/strict', token).status,
                                 200 if alg == 'ES256' else 401)
                head, body, sig = token.split('.')
                bad = '.'.join((head, body, ('A' if sig[0] != 'A' else 'B')
                                + sig[1:]))
                self.assertEqual(self.get('/' + alg, bad).status, 401)
        answer = self.get('/ES256', self.token('ES256', 'orders:write'))
        self.assertEqual(answer.status, 403)

    def test_rotation_by_restart(self):
        old = self.token('ES256')
        self.assertEqual(self.get('/ES256', old).status, 200)
        self.issuer.stop()
        self.assertEqual(self.get('/ES256', old).status, 200)

        self.keys('two')
        self.issuer.start()
        new = self.token('ES256')
        penstock.wait_for(lambda: self.get('/ES256', new).status == 200,
                          what='the new key')

        # the old one is not published any more
        self.assertEqual(self.get('/ES256', old).status, 401)

    def test_opaque(self):
        token = self.token('opaque')
        self.assertNotIn('.', token)
        answer = self.get('/opaque', token)
        self.assertEqual((answer.status, answer.headers['X-Client']),
                         (200, 'channel'), answer.headers['X-Reason'])
        self.assertEqual(self.get('/opaque', token + 'x').status, 401)

        # revoked: an end within cache=
        answer = penstock.request(
            self.port, 'POST', '/token/revocation',
            {'Authorization': 'Basic ' + base64.b64encode(
                b'channel:channel-secret').decode(),
             'Content-Type': 'application/x-www-form-urlencoded'},
            urllib.parse.urlencode({'token': token}).encode())
        self.assertEqual(answer.status, 200)
        penstock.wait_for(
            lambda: self.get('/opaque', token).status == 401,
            what='the end of a revoked token')

    def test_dpop(self):
        key = Key(self.directory, 'client')
        for kind in 'ES256', 'opaque':
            with self.subTest(kind):
                proof = key.proof('', 'http://127.0.0.1:%d/token' % self.port,
                                  'POST', drop=['ath'])
                token = self.token(kind, headers={'DPoP': proof})
                url = 'http://127.0.0.1:%d/%s' % (self.gw.port, kind)
                answer = self.get('/' + kind, token, 'DPoP',
                                  DPoP=key.proof(token, url))
                self.assertEqual(answer.status, 200,
                                 answer.headers['X-Reason'])
                self.assertEqual(self.get('/' + kind, token).status, 401)
                self.assertEqual(
                    self.get('/' + kind, token, 'DPoP',
                             DPoP=Key(self.directory, 'thief').proof(
                                 token, url)).status, 401)


if __name__ == '__main__':
    unittest.main()
