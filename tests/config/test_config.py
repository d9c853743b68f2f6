"""What we tell users to deploy is what nginx accepts.

lua-free-config/ as it is, each of its files included, and the README's first
configuration; both also serve: the gateway starts with them and refuses a
request that has no token.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                '../live'))

import penstock

CONFIG = os.path.join(penstock.ROOT, 'lua-free-config')

# the public key of RFC 7517, appendix A.1
KEYS = {'keys': [{
    'kty': 'EC', 'crv': 'P-256', 'use': 'sig', 'kid': '1', 'alg': 'ES256',
    'x': 'MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4',
    'y': '4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM'}]}


class Test(penstock.TestCase):

    def prefix(self, http, **kw):
        """A gateway with a prefix as lua-free-config describes it."""

        gw = penstock.Gateway(http, whole=True, start=False, **kw)
        self.addCleanup(gw.teardown)
        for name in 'keys', 'logs', 'run', 'modules', 'temp':
            os.makedirs(gw.path(name), exist_ok=True)
        gw.write('keys/issuer.jwks', json.dumps(KEYS))
        gw.write('keys.json', json.dumps(KEYS))
        shutil.copy(penstock.MODULE, gw.path('modules'))
        return gw

    def deployed(self):
        """lua-free-config with its one fixed port replaced."""

        with open(os.path.join(CONFIG, 'nginx.conf')) as f:
            gw = self.prefix(f.read(), error_log='logs/error.log')
        shutil.copytree(CONFIG, gw.dir, dirs_exist_ok=True)
        with open(os.path.join(CONFIG, 'site/listen.conf')) as f:
            listen = f.read()
        gw.write('site/listen.conf',
                 listen.replace('127.0.0.1:8080',
                                '127.0.0.1:%d' % gw.port))
        return gw

    def test_every_file_is_used(self):
        gw = self.deployed()
        p = subprocess.run(gw.argv('-T'), stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           text=True, timeout=60)
        self.assertEqual(p.returncode, 0, p.stderr)

        used = re.findall(r'^# configuration file (.*):$', p.stdout, re.M)
        used = {os.path.relpath(path, gw.dir) for path in used}
        have = {os.path.relpath(os.path.join(folder, name), CONFIG)
                for folder, _, names in os.walk(CONFIG) for name in names
                if name.endswith('.conf')}
        self.assertEqual(have - used, set(), 'included by nobody')

    def serves(self, gw):
        gw.start()
        for method, path in (('GET', '/availability?sku=A'),
                             ('POST', '/orders')):
            answer = gw.request(method, path)
            self.assertEqual(answer.status, 401, answer)
            self.assertIn('Bearer', answer.headers['WWW-Authenticate'])
            self.assertTrue(answer.headers['X-Correlation-ID'])

    def test_lua_free_config_serves(self):
        gw = self.deployed()
        redis = self.redis()
        with open(gw.path('site/redis.conf')) as f:
            text = f.read()
        gw.write('site/redis.conf', text.replace(
            '127.0.0.1:6379', '127.0.0.1:%d' % redis.port))
        self.serves(gw)

    def test_readme_serves(self):
        with open(os.path.join(penstock.ROOT, 'README.md')) as f:
            text = re.search(r'^```nginx\n(.*?)^```$', f.read(),
                             re.S | re.M).group(1)
        self.assertIn('listen 127.0.0.1:8080;', text)
        gw = self.prefix('')
        text = text.replace('127.0.0.1:8080', '127.0.0.1:%d' % gw.port)
        temp = ''.join('%s_temp_path temp/%s; ' % (name, name) for name in
                       ('client_body', 'proxy', 'fastcgi', 'scgi', 'uwsgi'))
        text = text.replace('http {\n', 'http {\naccess_log off; ' + temp
                            + '\n', 1)
        gw.configure('pid nginx.pid; error_log error.log;\n' + text)
        self.serves(gw)


if __name__ == '__main__':
    unittest.main()
