"""Verified tokens among workers and through reloads: one verification serves
all, keys that change count at once, a bad key file changes nothing."""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import unittest

import penstock

TOOLS = os.path.join(penstock.BUILD, 'tools')

CONF = '''
    server {
        listen 127.0.0.1:%%PORT%%;

        location /t {
            auth_jwt api;
            auth_jwt_key_file keys.json;
            add_header X-Sub $jwt_claim_sub always;
            add_header X-Reason $auth_jwt_error always;
            empty_gif;
        }

        location /status {
            penstock_status;
        }
    }

    server {
        listen 127.0.0.1:%%PORT2%%;
        auth_jwt api;

        location /t {
            auth_jwt_key_file keys.json;
            empty_gif;
        }
    }
'''


def tool(name, *args):
    """Runs a tool of tests/tools, built here if it is not there."""

    path = os.path.join(TOOLS, name)
    source = os.path.join(penstock.ROOT, 'tests/tools', name + '.c')
    os.makedirs(TOOLS, exist_ok=True)

    with open(path + '.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(path) \
           or os.path.getmtime(path) < os.path.getmtime(source):
            subprocess.run(['gcc', '-O2', '-o', path, source, '-ljwt',
                            '-ljansson', '-lcrypto'], check=True)

    env = {k: v for k, v in os.environ.items() if k != 'LD_PRELOAD'}
    return subprocess.run([path] + list(args), check=True, env=env,
                          stdout=subprocess.PIPE).stdout.decode().strip()


class Test(penstock.TestCase):

    def server(self, **more):
        directory = tempfile.mkdtemp(prefix='penstock-')
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        for name in 'a', 'b':
            tool('jwks', 'gen', 'ES256', os.path.join(directory, name))
        self.keys(directory, 'a')
        return self.gateway(CONF, directory=directory,
                            PORT2=penstock.free_port(), **more)

    def keys(self, directory, *names):
        args = []
        for name in names:
            args += ['--key', os.path.join(directory, name), '--kid', name]
        with open(os.path.join(directory, 'keys.json'), 'w') as f:
            f.write(tool('jwks', 'set', *args))

    def token(self, gw, key, *args):
        return {'Authorization': 'Bearer ' + tool(
            'mint', '--key', gw.path(key), '--alg', 'ES256', '--kid', key,
            '--sub', 'bob', *args)}

    def checks(self, gw):
        text = gw.get('/status?format=prometheus').text
        return int(re.search(r'^penstock_oauth_signature_checks_total (\d+)',
                             text, re.M).group(1))

    def test_one_check_for_all_workers(self):
        gw = self.server(workers=3)
        token = self.token(gw, 'a')

        self.assertEqual(gw.get('/t', headers=token).status, 200)

        answers = penstock.together(
            [lambda: gw.get('/t', headers=token)] * 24)

        self.assertEqual({a.status for a in answers}, {200})
        self.assertEqual({a.headers['X-Sub'] for a in answers}, {'bob'})
        self.assertEqual(self.checks(gw), 1)

    def test_reload(self):
        gw = self.server(workers=2)
        a, b = self.token(gw, 'a'), self.token(gw, 'b')

        self.assertEqual(gw.get('/t', headers=a).status, 200)
        self.assertEqual(gw.get('/t', headers=b).status, 401)
        self.assertEqual(self.checks(gw), 1)

        # the same keys: what was verified stays
        gw.reload()
        self.assertEqual(gw.get('/t', headers=a).status, 200)
        self.assertEqual(self.checks(gw), 1)

        # one key more: another trust, verified anew
        self.keys(gw.dir, 'a', 'b')
        gw.reload()
        self.assertEqual(gw.get('/t', headers=a).status, 200)
        self.assertEqual(gw.get('/t', headers=b).status, 200)
        self.assertEqual(self.checks(gw), 3)

        # the old key is gone: its tokens too, though they are held
        self.keys(gw.dir, 'b')
        gw.reload()
        answer = gw.get('/t', headers=a)
        self.assertEqual(answer.status, 401)
        self.assertEqual(answer.headers['X-Reason'],
                         'no key fits "alg" and "kid"')
        self.assertEqual(gw.get('/t', headers=b).status, 200)

        # another key under the old kid
        os.replace(gw.path('b'), gw.path('a'))
        self.keys(gw.dir, 'a')
        gw.reload()
        answer = gw.get('/t', headers=a)
        self.assertEqual(answer.headers['X-Reason'],
                         "the signature doesn't match")

    def test_bad_key_file_changes_nothing(self):
        gw = self.server(allow=[r'\[emerg\].*key file'])
        a = self.token(gw, 'a')

        self.assertEqual(gw.get('/t', headers=a).status, 200)

        for text, message in (('{"keys":[', 'not valid JSON'),
                              ('{"keys":[]}', 'no key in it'),
                              (json.dumps({'keys': [{'kty': 'oct',
                                                     'k': 'c2VjcmV0'}]}),
                               'shorter')):
            gw.write('keys.json', text)
            before = gw.workers()
            gw.reload(wait=False)
            gw.wait_log(r'\[emerg\].*key file.*' + message)
            self.assertEqual(gw.workers(), before)
            self.assertEqual(gw.get('/t', headers=a).status, 200)

        self.assertNotIn('c2VjcmV0', gw.log())

    def test_worker_killed(self):
        gw = self.server(allow=['exited on signal 9'])
        a = self.token(gw, 'a')

        self.assertEqual(gw.get('/t', headers=a).status, 200)

        before = gw.workers()
        os.kill(before[0], signal.SIGKILL)
        penstock.wait_for(lambda: gw.workers()
                          and gw.workers() != before, what='a new worker')

        self.assertEqual(gw.get('/t', headers=a).status, 200)
        self.assertEqual(self.checks(gw), 1)

    def test_many_tokens_through_a_small_zone(self):
        """100,000 tokens that each are valid: the least recently used go,
        nobody is refused, and what is held now serves without a check."""
        gw = self.server()
        gw.write('secret', '5ec12e7' * 16)
        gw.write('keys.json', tool('jwks', 'set', '--key', gw.path('secret'),
                                   '--kid', 's'))
        gw.reload()
        tokens = tool('mint', '--key', gw.path('secret'), '--alg', 'HS256',
                      '--kid', 's', '--sub', 'bob', '--count', '100000')
        gw.write('tokens', tokens + '\n')
        gw.write('targets', '/t\n')

        pound = os.path.join(TOOLS, 'pound')
        subprocess.run(['gcc', '-O2', '-o', pound, os.path.join(
            penstock.ROOT, 'tests/bench/pound.c')], check=True)
        env = {k: v for k, v in os.environ.items() if k != 'LD_PRELOAD'}
        said = json.loads(subprocess.run(
            [pound, str(gw.port), '16', '100000', gw.path('targets'),
             gw.path('tokens')], check=True, env=env,
            stdout=subprocess.PIPE).stdout)
        self.assertEqual((said['requests'], said['ok']), (100000, 100000))
        self.assertEqual(self.checks(gw), 100000)

        def metric(name):
            return int(re.search(
                r'^penstock_oauth_cache_%s (\d+)' % name,
                gw.get('/status?format=prometheus').text, re.M).group(1))

        held, evicted = metric('entries'), metric('evictions_total')
        self.assertGreater(evicted, 0)
        self.assertEqual(held + evicted, 100000)

        tokens = tokens.split()
        for token, more in (tokens[-1], 0), (tokens[0], 1), (tokens[0], 1):
            self.assertEqual(gw.get('/t', headers={
                'Authorization': 'Bearer ' + token}).status, 200)
            self.assertEqual(self.checks(gw), 100000 + more)

    def test_no_keys_outside_of_locations(self):
        gw = self.server()
        a = self.token(gw, 'a')
        port = gw.names['PORT2']

        self.assertEqual(penstock.request(port, path='/t',
                                          headers=a).status, 200)
        self.assertEqual(penstock.request(port, path='/x',
                                          headers=a).status, 500)
        gw.wait_log('name them at server level')

    def test_nothing_of_a_token_or_key_in_logs_and_answers(self):
        gw = self.server(level='debug')
        secret = 'not hex: ' + 'c0ffee' * 10
        gw.write('secret', secret)
        gw.write('keys.json', tool('jwks', 'set', '--key', gw.path('secret'),
                                   '--kid', 's'))
        gw.reload()

        good = tool('mint', '--key', gw.path('secret'), '--alg', 'HS256',
                    '--kid', 's', '--sub', 'somebody')
        bad = good[:-6] + 'AAAAAA'

        for token, status in ((good, 200), (bad, 401)):
            answer = gw.get('/t', headers={'Authorization':
                                           'Bearer ' + token})
            self.assertEqual(answer.status, status)
            self.assertNotIn(token.split('.')[2][:20],
                             answer.text + str(answer.headers))

        # nginx itself logs request headers at level debug; we add none
        for line in gw.log().splitlines():
            if 'http header: ' in line or 'http args' in line:
                continue
            self.assertNotIn(good.split('.')[1], line)
            self.assertNotIn(good.split('.')[2][:20], line)
            self.assertNotIn('c0ffee', line)


if __name__ == '__main__':
    unittest.main()
