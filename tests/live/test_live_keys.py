"""Key sets fetched from issuers: one fetch for all workers, rotation without
a refused request, outages, forged key ids, and nothing of the client's."""

import base64
import json
import os
import re
import shutil
import socket
import tempfile
import threading
import time
import unittest

import penstock
from test_oauth import tool

CONF = '''
    server {
        listen 127.0.0.1:%%PORT%%;
        proxy_read_timeout 20s;

        location = /_keys {
            internal;
            proxy_pass http://127.0.0.1:%%A%%/jwks?a=1;
        }

        location = /_other {
            internal;
            proxy_pass http://127.0.0.1:%%B%%/jwks;
        }

        auth_jwt_key_cache %%CACHE%%;

        location /t {
            auth_jwt api;
            auth_jwt_issuer https://a.example key_request=/_keys;
            add_header X-Sub $jwt_claim_sub always;
            add_header X-Reason $auth_jwt_error always;
            empty_gif;
        }

        location /two {
            auth_jwt api;
            auth_jwt_issuer https://a.example key_request=/_keys;
            auth_jwt_issuer https://b.example key_request=/_other;
            add_header X-Reason $auth_jwt_error always;
            empty_gif;
        }

        location /plain {
            auth_jwt api;
            auth_jwt_key_request /_keys;
            empty_gif;
        }

        location /post {
            auth_jwt api;
            auth_jwt_issuer https://a.example key_request=/_keys;
            proxy_pass http://127.0.0.1:%%A%%/echo;
        }

        location /status {
            auth_jwt off;
            penstock_status;
        }
    }
'''


class Issuer:
    """Publishes keys of a folder; what it does wrong is set by the test."""

    def __init__(self, test, directory):
        self.directory = directory
        self.names = ()
        self.headers = {}
        self.status = 200
        self.raw = None
        self.gate = threading.Event()
        self.gate.set()
        self.origin = test.origin(self.answer)
        self.port = self.origin.port

    def answer(self, h):
        if h.path == '/echo':
            h.send(200, h.body)
            return
        self.gate.wait(penstock.DEADLINE)
        body = self.raw if self.raw is not None else self.set()
        h.send(self.status, body, self.headers)

    def set(self):
        args = []
        for name in self.names:
            args += ['--key', os.path.join(self.directory, name),
                     '--kid', name]
        return tool('jwks', 'set', *args)

    def fetches(self):
        with self.origin.mutex:
            return [r for r in self.origin.requests if r[1] != '/echo']


class Test(penstock.TestCase):

    def start(self, cache='1h refetch=10s', workers=1, **names):
        self.directory = tempfile.mkdtemp(prefix='penstock-')
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        for name in 'a', 'b', 'c':
            tool('jwks', 'gen', 'ES256', os.path.join(self.directory, name))
        self.a = Issuer(self, self.directory)
        self.b = Issuer(self, self.directory)
        self.a.names = ('a',)
        self.b.names = ('b',)
        self.gw = self.gateway(CONF, workers=workers, CACHE=cache,
                               A=self.a.port, B=self.b.port, **names)
        return self.gw

    def token(self, key, kid=None, iss='https://a.example', *args):
        return {'Authorization': 'Bearer ' + tool(
            'mint', '--key', os.path.join(self.directory, key), '--alg',
            'ES256', '--kid', kid or key, '--sub', 'bob', '--iss', iss,
            '--exp', '3600', *args)}

    def metric(self, name):
        text = self.gw.get('/status?format=prometheus').text
        found = re.search(r'^' + re.escape(name) + r' (\d+)', text, re.M)
        return int(found.group(1)) if found else 0

    def fetched(self, result='ok'):
        return self.metric(
            'penstock_oauth_key_fetches_total{result="%s"}' % result)

    # -- what is fetched, and how -------------------------------------------

    def test_one_fetch_for_all_workers_and_nothing_of_the_clients(self):
        gw = self.start(workers=3)
        self.a.gate.clear()
        token = self.token('a')
        token.update({'Cookie': 'session=secret', 'X-Api-Key': 'secret',
                      'Accept-Encoding': 'gzip'})
        opener = threading.Timer(0.3, self.a.gate.set)
        opener.start()
        answers = penstock.together(
            [lambda: gw.get('/t?q=secret', headers=token)] * 30)
        opener.join()

        self.assertEqual({a.status for a in answers}, {200})
        self.assertEqual({a.headers['X-Sub'] for a in answers}, {'bob'})
        fetches = self.a.fetches()
        self.assertEqual(len(fetches), 1)
        method, path, headers, body = fetches[0]
        self.assertEqual((method, path, body), ('GET', '/jwks?a=1', b''))
        self.assertNotIn('secret', str(headers))
        for name in 'Authorization', 'Cookie', 'X-Api-Key', \
                'Accept-Encoding', 'Content-Length':
            self.assertNotIn(name, headers)
        self.assertIn('application/jwk-set+json', headers['Accept'])
        self.assertEqual(self.fetched(), 1)

    def test_a_post_keeps_its_body(self):
        gw = self.start()
        body = b'x' * 100000
        answer = gw.post('/post', body, headers=self.token('a'))
        self.assertEqual((answer.status, answer.body), (200, body))

    def test_without_an_issuer(self):
        gw = self.start()
        self.assertEqual(gw.get('/plain', headers=self.token('a')).status,
                         200)
        self.assertEqual(gw.get('/plain', headers=self.token('b')).status,
                         401)

    # -- rotation ------------------------------------------------------------

    def test_a_new_key_serves_from_its_first_token(self):
        gw = self.start('1h refetch=1s', workers=2)
        old, new = self.token('a'), self.token('b')
        self.assertEqual(gw.get('/t', headers=old).status, 200)

        self.a.names = ('a', 'b')
        penstock.wait_for(
            lambda: gw.get('/t', headers=new).status == 200,
            what='the new key')
        answers = penstock.together(
            [lambda: gw.get('/t', headers=old),
             lambda: gw.get('/t', headers=new)] * 10)
        self.assertEqual({a.status for a in answers}, {200})

    def test_no_request_is_refused_by_a_rotation(self):
        """The interval is over: new tokens wait for the one fetch."""
        gw = self.start('1h refetch=1s', workers=2)
        old, new = self.token('a'), self.token('b')
        self.assertEqual(gw.get('/t', headers=old).status, 200)
        before = len(self.a.fetches())
        penstock.wait_for(self.interval_over(1.0), what='the interval')

        self.a.names = ('a', 'b')
        answers = penstock.together(
            [lambda: gw.get('/t', headers=old),
             lambda: gw.get('/t', headers=new)] * 15)
        self.assertEqual({a.status for a in answers}, {200})
        self.assertEqual(len(self.a.fetches()), before + 1)

    def interval_over(self, seconds):
        end = time.monotonic() + seconds + 0.1
        return lambda: time.monotonic() > end

    def test_a_withdrawn_key_ends_its_tokens(self):
        gw = self.start('1s refetch=1s')
        token = self.token('a')
        self.assertEqual(gw.get('/t', headers=token).status, 200)
        self.a.names = ('b',)
        penstock.wait_for(
            lambda: gw.get('/t', headers=token).status == 401,
            what='the end of the key')
        self.assertEqual(gw.get('/t', headers=self.token('b')).status, 200)

    def test_refresh_keeps_nobody_waiting(self):
        gw = self.start('1s refetch=1s')
        token = self.token('a')
        self.assertEqual(gw.get('/t', headers=token).status, 200)
        self.a.gate.clear()
        penstock.wait_for(
            lambda: gw.get('/t', headers=token).status == 200
            and len(self.a.fetches()) == 2, what='a refresh')
        for _ in range(5):
            self.assertEqual(gw.get('/t', headers=token).status, 200)
        self.assertEqual(len(self.a.fetches()), 2)
        self.a.gate.set()
        penstock.wait_for(lambda: self.fetched() == 2, what='its end')

    def test_the_answers_max_age_shortens_the_lifetime(self):
        gw = self.start('1h refetch=1s')
        self.a.headers = {'Cache-Control': 'max-age=1'}
        token = self.token('a')
        penstock.wait_for(
            lambda: gw.get('/t', headers=token).status == 200
            and len(self.a.fetches()) >= 2, what='a refresh')

    # -- forged key ids ------------------------------------------------------

    def test_forged_key_ids_cause_one_fetch(self):
        gw = self.start('1h refetch=1h', workers=2)
        self.assertEqual(gw.get('/t', headers=self.token('a')).status, 200)
        self.assertEqual(len(self.a.fetches()), 1)
        head, claims, sig = \
            self.token('b')['Authorization'].split(' ')[1].split('.')

        def forged(n):
            text = json.dumps({'alg': 'ES256', 'kid': 'forged%d' % n})
            part = base64.urlsafe_b64encode(text.encode()).rstrip(b'=')
            return 'Bearer %s.%s.%s' % (part.decode(), claims, sig)

        def many(start):
            """1,000 requests, one behind the other on one connection."""

            with socket.create_connection(('127.0.0.1', gw.port),
                                          penstock.DEADLINE) as s:
                file = s.makefile('rb')
                for n in range(start, start + 1000, 50):
                    s.sendall(b''.join(
                        b'HEAD /t HTTP/1.1\r\nHost: t\r\n%s\r\n\r\n'
                        % b'Authorization: %s' % forged(k).encode()
                        for k in range(n, n + 50)))
                    for _ in range(50):
                        yield int(file.readline().split()[1])
                        while file.readline() != b'\r\n':
                            pass

        statuses = penstock.together([
            lambda n=n: list(many(n * 1000)) for n in range(10)])
        self.assertEqual([len(batch) for batch in statuses], [1000] * 10)
        self.assertEqual({s for batch in statuses for s in batch}, {401})
        self.assertEqual(len(self.a.fetches()), 1)
        self.assertEqual(self.metric('penstock_oauth_signature_checks_total'),
                         1)

    # -- outages -------------------------------------------------------------

    def test_no_keys_at_all(self):
        gw = self.start('1h refetch=1s')
        self.a.status = 500
        answer = gw.get('/t', headers=self.token('a'))
        self.assertEqual(answer.status, 503)
        self.assertEqual(answer.headers['Retry-After'], '1')
        self.assertEqual(answer.headers['Content-Type'],
                         'application/problem+json')
        self.assertIsNone(answer.headers['WWW-Authenticate'])
        self.assertEqual(answer.headers['X-Reason'],
                         "the issuer's keys could not be fetched")
        gw.wait_log(r'key set of "/_keys" can\'t be used: it was refused, '
                    'status 500')

        # at most one a second while it lasts
        for _ in range(20):
            gw.get('/t', headers=self.token('a'))
        self.assertLessEqual(len(self.a.fetches()), 3)

        self.a.status = 200
        penstock.wait_for(
            lambda: gw.get('/t', headers=self.token('a')).status == 200,
            what='the issuer is back')

    def test_keys_outlive_an_outage_and_a_reload(self):
        gw = self.start('1s refetch=1s')
        token, other = self.token('a'), self.token('a', None,
                                                   'https://a.example',
                                                   '--jti', 'x')
        self.assertEqual(gw.get('/t', headers=token).status, 200)
        self.a.status = 503
        penstock.wait_for(
            lambda: gw.get('/t', headers=token).status == 200
            and self.fetched('error') >= 1, what='a refresh that fails')
        self.assertEqual(gw.get('/t', headers=other).status, 200)
        gw.reload()
        self.assertEqual(gw.get('/t', headers=other).status, 200)
        self.assertEqual(gw.get('/t', headers=self.token('b')).status, 401)

    def test_a_reload_fetches_in_the_background(self):
        gw = self.start('1h refetch=1s')
        token = self.token('a')
        self.assertEqual(gw.get('/t', headers=token).status, 200)
        gw.reload()
        self.a.gate.clear()
        penstock.wait_for(
            lambda: gw.get('/t', headers=token).status == 200
            and len(self.a.fetches()) == 2, what='a fetch')
        self.a.gate.set()
        penstock.wait_for(lambda: self.fetched() == 2, what='its end')
        self.assertEqual(gw.get('/t', headers=token).status, 200)
        self.assertEqual(len(self.a.fetches()), 2)

    def test_unusable_sets(self):
        gw = self.start('1h refetch=1s')
        for raw, reason in ((b'', 'JSON'), (b'{"keys":[]}', 'key'),
                            (b'<html>', 'JSON'),
                            (b'{"issuer":"https://a.example","jwks_uri":'
                             b'"https://a.example/keys"}', 'key'),
                            (b'{"keys":[' + b' ' * 140000 + b']}',
                             'larger than 128 KB')):
            with self.subTest(reason):
                self.a.raw = raw
                penstock.wait_for(
                    lambda: gw.get('/t', headers=self.token('a')).status
                    == 503 and re.search(
                        'key set of .*' + reason, gw.log()),
                    what=reason)
        self.a.raw = None
        penstock.wait_for(
            lambda: gw.get('/t', headers=self.token('a')).status == 200,
            what='a good set')

    def test_hanging_issuer(self):
        gw = self.start('1h refetch=1s timeout=300ms', workers=2)
        self.a.gate.clear()
        answers = penstock.together(
            [lambda: gw.get('/t', headers=self.token('a'))] * 6)
        self.assertEqual({a.status for a in answers}, {503})
        self.assertEqual(len(self.a.fetches()), 1)
        self.a.gate.set()
        penstock.wait_for(
            lambda: gw.get('/t', headers=self.token('a')).status == 200,
            what='the issuer is back')

    def test_the_worker_that_fetches_dies(self):
        gw = self.start('1h refetch=1s', workers=2,
                        allow=['exited on signal 9'])
        self.a.gate.clear()
        results = []
        threads = gw.crowd(lambda: results.append(self.attempt(gw)))
        penstock.wait_for(lambda: len(self.a.fetches()) == 1,
                          what='the fetch')
        leader, = gw.connected(dport=self.a.port)
        os.kill(leader, 9)
        penstock.wait_for(lambda: len(self.a.fetches()) == 2,
                          what='another worker takes over')
        self.a.gate.set()
        for thread in threads:
            thread.join(penstock.DEADLINE)
        self.assertEqual(len(results), len(threads))
        self.assertLessEqual(set(results), {200, None})
        self.assertIn(200, results)

    def attempt(self, gw):
        try:
            return gw.get('/t', headers=self.token('a')).status
        except OSError:
            return None

    # -- several issuers -----------------------------------------------------

    def test_a_key_never_vouches_for_another_issuer(self):
        gw = self.start()
        self.assertEqual(gw.get('/two', headers=self.token('a')).status, 200)
        self.assertEqual(
            gw.get('/two', headers=self.token('b', None,
                                              'https://b.example')).status,
            200)
        for key, iss in (('a', 'https://b.example'),
                         ('b', 'https://a.example'),
                         ('a', 'https://a.example/'),
                         ('a', 'https://c.example')):
            with self.subTest(key=key, iss=iss):
                self.assertEqual(
                    gw.get('/two', headers=self.token(key, None,
                                                      iss)).status, 401)

    def test_one_issuers_outage_is_not_the_others(self):
        gw = self.start('1h refetch=1s')
        self.b.status = 500
        self.assertEqual(gw.get('/two', headers=self.token('a')).status, 200)
        self.assertEqual(
            gw.get('/two', headers=self.token('b', None,
                                              'https://b.example')).status,
            503)
        self.assertEqual(gw.get('/two', headers=self.token('a')).status, 200)

    def test_no_location_inherits_anothers_verdict(self):
        gw = self.start()
        token = self.token('b', None, 'https://b.example')
        self.assertEqual(gw.get('/two', headers=token).status, 200)
        self.assertEqual(gw.get('/t', headers=token).status, 401)
        self.assertEqual(gw.get('/plain', headers=token).status, 401)
        self.assertEqual(gw.get('/two', headers=token).status, 200)


if __name__ == '__main__':
    unittest.main()
