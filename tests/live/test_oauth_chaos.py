"""Everything of OAuth at once, with clients that leave at any moment, servers
that hang, reloads and killed workers: whatever happens, a token that is good
is let in or answered with 503, one that is not never is, and when the storm is
over nothing waits for anything."""

import json
import os
import random
import shutil
import socket
import tempfile
import threading
import time
import unittest
import urllib.parse

import penstock
import test_bound
from test_oauth import tool

CONF = '''
    redis main {
        server 127.0.0.1:%%REDIS%%;
        timeout connect=500ms command=300ms;
    }

    auth_dpop_zone proofs:1m redis=main;
    auth_jwt_key_cache 1s refetch=1s timeout=2s;

    server {
        listen 127.0.0.1:%%PORT%%;
        auth_jwt api;
        auth_jwt_revocation redis=main fail=open;

        location = /_keys {
            internal;
            proxy_pass http://127.0.0.1:%%AS%%/keys;
        }

        location = /_introspect {
            internal;
            proxy_pass http://127.0.0.1:%%AS%%/introspect;
        }

        location / {
            auth_jwt_issuer https://a.example key_request=/_keys;
            auth_introspect /_introspect redis=main cache=1s negative=1s
                            timeout=2s;
            auth_dpop on uri=https://api.example;
            proxy_pass http://127.0.0.1:%%AS%%/echo;
        }

        location /status {
            auth_jwt off;
            penstock_status;
        }
    }
'''


class Test(penstock.TestCase):

    def answer(self, h):
        with self.lock:
            delay = self.random.choice((0, 0, 0, 0.05, 0.3, 1))
        time.sleep(delay if self.storm else 0)
        if h.path == '/keys':
            h.send(200, self.keys, {'Content-Type': 'application/json'})
        elif h.path == '/introspect':
            token = urllib.parse.parse_qs(h.body.decode())['token'][0]
            h.send(200, {'active': token.startswith('good'), 'sub': 'bob',
                         'exp': int(time.time()) + 60})
        else:
            h.send(200, b'in')

    def setUp(self):
        self.random = random.Random(7)
        self.lock = threading.Lock()
        self.storm = True
        self.directory = tempfile.mkdtemp(prefix='penstock-')
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.key = test_bound.Key(self.directory, 'client')
        for name in 'a', 'b':
            tool('jwks', 'gen', 'ES256', self.path(name))
        self.keys = tool('jwks', 'set', '--key', self.path('a'), '--kid',
                         'a').encode()
        self.origin_ = self.origin(self.answer)
        self.store = self.redis()
        self.gw = self.gateway(CONF, workers=2, REDIS=self.store.port,
                               AS=self.origin_.port, level='error',
                               allow=['exited on signal 9',
                                      'did not tell about a token',
                                      'can\'t be used'])

    def path(self, name):
        return os.path.join(self.directory, name)

    def token(self, key, **claims):
        body = {'iss': 'https://a.example', 'sub': 'bob',
                'exp': int(time.time()) + 600}
        body.update(claims)
        return tool('jws', '--alg', 'ES256', '--key', self.path(key),
                    '--header', '{"alg":"ES256","kid":"%s"}' % key,
                    '--payload', json.dumps(body))

    def send(self, head, leave):
        """Status of a request, None if there was none or we left."""

        try:
            with socket.create_connection(('127.0.0.1', self.gw.port),
                                          15) as s:
                s.sendall(b'GET / HTTP/1.1\r\nHost: t\r\nConnection: close'
                          b'\r\n' + head.encode() + b'\r\n\r\n')
                if leave:
                    s.settimeout(leave)
                return int(s.makefile('rb').readline().split()[1])
        except (OSError, IndexError):
            return None

    def test_storm(self):
        good = [self.token('a', jti=str(n)) for n in range(20)]
        bad = [self.token('b', jti=str(n)) for n in range(20)]
        bound = self.token('a', cnf={'jkt': self.key.jkt})
        proofs = [self.key.proof(bound, 'https://api.example/')
                  for _ in range(60)]
        wrong = [self.key.proof(bound, 'https://api.example/x')
                 for _ in range(5)]
        used, failures, seen = {}, [], set()
        end = time.monotonic() + 8

        def client(seed):
            rnd = random.Random(seed)
            while time.monotonic() < end:
                kind = rnd.randrange(6)
                leave = rnd.choice((0, 0, 0.001, 0.02, 0.2))
                n = rnd.randrange(200)
                head, fine = [
                    (lambda: 'Bearer ' + rnd.choice(good), True),
                    (lambda: 'Bearer ' + rnd.choice(bad), False),
                    (lambda: 'Bearer good%d' % n, True),
                    (lambda: 'Bearer evil%d' % n, False),
                    (lambda: 'DPoP %s\r\nDPoP: %s' % (
                        bound, rnd.choice(wrong)), False),
                    (lambda: None, None)][kind]
                if kind == 5:
                    proof = rnd.choice(proofs)
                    status = self.send('Authorization: DPoP %s\r\nDPoP: %s'
                                       % (bound, proof), 0)
                    with self.lock:
                        used[proof] = used.get(proof, 0) + (status == 200)
                else:
                    status = self.send('Authorization: ' + head(), leave)
                    if status not in (None, 503, 200 if fine else 401):
                        failures.append((kind, status))
                seen.add((kind, status))

        threads = [threading.Thread(target=client, args=(n,))
                   for n in range(12)]
        for thread in threads:
            thread.start()

        while time.monotonic() < end:
            what = self.random.randrange(4)
            if what == 0:
                self.gw.reload(wait=False)
            elif what == 1:
                self.store.freeze()
                time.sleep(0.4)
                self.store.thaw()
            elif what == 2:
                for pid in self.gw.workers()[:1]:
                    os.kill(pid, 9)
            time.sleep(0.3)

        for thread in threads:
            thread.join(penstock.DEADLINE)
            self.assertFalse(thread.is_alive(), 'a request hangs')

        # no proof twice, nobody in who should not be
        self.assertEqual(failures, [])
        self.assertLessEqual(max(used.values()), 1)
        for kind in range(6):
            self.assertIn((kind, 401 if kind in (1, 3, 4) else 200), seen)

        # calm: all of it works as if nothing had been
        self.storm = False
        penstock.wait_for(
            lambda: [self.send('Authorization: Bearer ' + t, 0) for t in
                     (good[0], bad[0], 'goodx', 'evilx')]
            == [200, 401, 200, 401], what='calm')
        proof = self.key.proof(bound, 'https://api.example/')
        self.assertEqual(
            [self.send('Authorization: DPoP %s\r\nDPoP: %s' % (bound, proof),
                       0) for _ in range(2)], [200, 401])


if __name__ == '__main__':
    unittest.main()
