"""The first configuration of the README is one that nginx takes and that does
what it says: reads and orders need a token, reads are cached, an order
invalidates what it names.
"""

import os
import re
import shutil
import subprocess
import tempfile
import unittest

import penstock


def tool(name, *argv):
    """Runs a tool of tests/tools, which it builds first if need be."""

    path = os.path.join(penstock.BUILD, 'tools', name)
    source = os.path.join(penstock.ROOT, 'tests/tools', name + '.c')

    if not os.path.exists(path) \
       or os.path.getmtime(path) < os.path.getmtime(source):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        handle, new = tempfile.mkstemp(dir=os.path.dirname(path))
        os.close(handle)
        subprocess.run(['gcc', '-std=gnu11', '-O2', '-o', new, source,
                        '-ljwt', '-ljansson', '-lcrypto'], check=True)
        os.rename(new, path)

    return subprocess.run([path] + list(argv), check=True, text=True,
                          stdout=subprocess.PIPE).stdout


class Test(penstock.TestCase):

    def setUp(self):
        with open(os.path.join(penstock.ROOT, 'README.md')) as f:
            text = re.search(r'^```nginx\n(.*?)^```$', f.read(),
                             re.S | re.M).group(1)

        self.stock = 7
        self.erp = self.origin(self.answer)

        gw = penstock.Gateway('', whole=True, start=False)
        self.addCleanup(gw.teardown)

        for old, new in (('127.0.0.1:8080', gw.port),
                         ('127.0.0.1:8090', self.erp.port)):
            self.assertIn(old, text)
            text = text.replace(old, '127.0.0.1:%d' % new)

        temp = ''.join('%s_temp_path temp/%s; ' % (name, name) for name in
                       ('client_body', 'proxy', 'fastcgi', 'scgi', 'uwsgi'))
        gw.configure('pid nginx.pid; error_log error.log;\n'
                     + text.replace('http {\n', 'http { access_log off; '
                                    + temp + '\n', 1))

        os.makedirs(gw.path('modules'))
        shutil.copy(penstock.MODULE, gw.path('modules'))

        key = gw.path('issuer.pem')
        tool('jwks', 'gen', 'RS256', key)
        gw.write('keys.json', tool('jwks', 'set', '--key', key, '--kid', 'k',
                                   '--alg', 'RS256'))
        self.token = {'Authorization': 'Bearer ' + tool(
            'mint', '--key', key, '--alg', 'RS256', '--kid', 'k',
            '--sub', 'shop', '--exp', '3600').strip()}
        gw.start()
        self.gw = gw

    def answer(self, h):
        if h.command == 'POST':
            self.stock -= 1
        h.send(200, {'sku': 'A', 'available': self.stock})

    def test_needs_a_token(self):
        for answer in self.gw.get('/availability?sku=A'), \
                self.gw.post('/orders', {}), self.gw.get('/orders'):
            self.assertEqual(answer.status, 401, answer)
            self.assertIn('Bearer', answer.headers['WWW-Authenticate'])
            self.assertTrue(answer.headers['X-Correlation-ID'])
        self.assertEqual(self.erp.requests, [])

    def test_main_job(self):
        for n in range(3):
            answer = self.gw.get('/availability?sku=A', self.token)
            self.assertEqual(answer.json()['available'], 7, answer)
        self.assertEqual(len(self.erp.requests), 1)

        answer = self.gw.get('/availability?sku=B', self.token)
        self.assertEqual(len(self.erp.requests), 2,
                         'arguments tell answers apart')

        answer = self.gw.post('/orders', {'lines': [{'sku': 'A'}]},
                              self.token)
        self.assertEqual(answer.status, 200, answer)

        answer = self.gw.get('/availability?sku=A', self.token)
        self.assertEqual(answer.json()['available'], 6,
                         'the order invalidates what it names')

    def test_status(self):
        self.gw.get('/availability?sku=A', self.token)
        self.assertIn('metrics', self.gw.get('/status').json())


if __name__ == '__main__':
    unittest.main()
