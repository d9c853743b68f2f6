"""Masking before a server that misbehaves: answers that break off, in every
way of transfer, encoded ones, large ones, and clients that leave or ask over
HTTP/2.  Whatever happens, what must not be seen is not seen.
"""

import gzip
import json
import socket
import subprocess
import unittest

import penstock

SECRET = 'to-be-hidden'

CONF = '''
    map $http_x_role $sees { manager 1; default 0; }
    availability_zone a:4m;

    proxy_http_version 1.1;
    response_mask /lines/*/cost /email unless=$sees;
    response_mask_max_size 2m;
    proxy_read_timeout 5s;

    server {
        listen 127.0.0.1:%%PORT%%;
        listen 127.0.0.1:%%H2%% http2;

        location / {
            proxy_pass http://127.0.0.1:%%ORIGIN%%;
        }

        location /direct/ {
            proxy_buffering off;
            proxy_pass http://127.0.0.1:%%ORIGIN%%/;
        }

        location /old/ {
            proxy_http_version 1.0;
            proxy_pass http://127.0.0.1:%%ORIGIN%%/;
        }

        location /cached/ {
            availability_cache a;
            availability_cache_valid 60s;
            availability_cache_max_size 4m;
            proxy_pass http://127.0.0.1:%%ORIGIN%%/;
        }

        location /write/ {
            availability_invalidate zone=a /sku;
            proxy_pass http://127.0.0.1:%%ORIGIN%%/;
        }

        location = /status { penstock_status; response_mask off; }
    }
'''

WAYS = ('/', '/direct/', '/old/', '/cached/', '/write/')


def order(lines):
    return json.dumps({'id': 1, 'email': SECRET, 'lines': [
        {'sku': 'S%d' % n, 'cost': SECRET} for n in range(lines)]}).encode()


def masked(lines):
    return {'id': 1, 'lines': [{'sku': 'S%d' % n} for n in range(lines)]}


class Test(penstock.TestCase):

    def setUp(self):
        self.origin_ = self.origin(self.answer)
        self.h2 = penstock.free_port()
        self.gw = self.gateway(CONF, ORIGIN=self.origin_.port, H2=self.h2,
                               level='warn')

    @staticmethod
    def answer(h):
        kind, _, n = h.path.split('?')[0].rpartition('/')[2].partition('-')
        body = order(int(n or 3))
        headers = {'Content-Type': 'application/json', 'ETag': '"1"'}

        if kind == 'short':
            headers['Content-Length'] = str(len(body) + 100)
            h.send(200, body, headers)
            h.close_connection = True
        elif kind in ('chunked', 'broken'):
            headers['Transfer-Encoding'] = 'chunked'
            h.send(200, b'', headers)
            for at in range(0, len(body), 997):
                part = body[at:at + 997]
                h.wfile.write(b'%x\r\n%s\r\n' % (len(part), part))
            if kind == 'chunked':
                h.wfile.write(b'0\r\n\r\n')
            h.close_connection = True
        elif kind == 'gzip':
            h.send(200, gzip.compress(body),
                   dict(headers, **{'Content-Encoding': 'gzip'}))
        elif kind == 'asked':
            h.send(200, {'got': sorted(name.lower() for name in h.headers)},
                   headers)
        elif kind == 'unmodified':
            h.send(304, b'', headers)
        elif kind == 'html':
            h.send(200, body, {'Content-Type': 'text/html'})
        else:
            h.send(200, body, headers)

    def ask(self, way, path, **kw):
        return self.gw.request('POST' if way == '/write/' else 'GET',
                               way + path, **kw)

    def test_whole_answers(self):
        for way in WAYS:
            for path, n in ('plain-3', 3), ('chunked-3', 3), \
                    ('plain-9000', 9000), ('chunked-9001', 9001):
                with self.subTest(way + path):
                    for role in 'clerk', 'manager', 'clerk':
                        got = self.ask(way, path, headers={'X-Role': role})
                        self.assertEqual(got.status, 200)
                        self.assertEqual(
                            got.json(), masked(n) if role == 'clerk'
                            else json.loads(order(n)))
                        self.assertEqual('ETag' in got.headers,
                                         role == 'manager')

    def test_broken_answers(self):
        for way in WAYS:
            for path in ('short-3', 'broken-3', 'short-2000', 'broken-2000',
                         'gzip-3', 'html-3', 'plain-60000',
                         'chunked-60000', 'unmodified'):
                with self.subTest(way + path):
                    if way == '/old/' and path.startswith('broken'):
                        continue
                    try:
                        got = self.ask(way, path)
                    except (ConnectionError,
                            penstock.http.client.HTTPException):
                        continue            # nothing came, which is fine too
                    self.assertIn(got.status, (502, 504))
                    self.assertNotIn(SECRET, got.text)
                    self.assertEqual(got.headers['Content-Type'],
                                     'application/problem+json')
                    self.assertNotIn('ETag', got.headers)

    def test_head(self):
        for way in WAYS[:4]:
            got = self.gw.request('HEAD', way + 'plain-3')
            self.assertEqual((got.status, got.body), (200, b''))
            self.assertNotIn('Content-Length', got.headers)
            self.assertNotIn('ETag', got.headers)

    def test_what_the_server_is_asked(self):
        got = self.gw.get('/asked', headers={
            'Accept-Encoding': 'gzip', 'Range': 'bytes=0-9',
            'If-None-Match': '"1"', 'If-Range': '"1"',
            'If-Modified-Since': 'Thu, 01 Jan 1970 00:00:00 GMT',
            'X-Other': 'stays'}).json()['got']
        self.assertEqual(
            {'accept-encoding', 'range', 'if-none-match', 'if-range',
             'if-modified-since', 'x-other'} & set(got), {'x-other'})

    def test_keepalive(self):
        """One connection: answers don't run into each other."""
        with socket.create_connection(('127.0.0.1', self.gw.port)) as s:
            f = s.makefile('rb')
            for path in 'plain-3', 'html-3', 'cached/plain-3', 'gzip-3', \
                    'chunked-3':
                s.sendall(b'GET /%s HTTP/1.1\r\nHost: a\r\n\r\n'
                          % path.encode())
                status = f.readline().split()[1]
                length = None
                for line in iter(f.readline, b'\r\n'):
                    name, _, value = line.partition(b':')
                    if name.lower() == b'content-length':
                        length = int(value)
                self.assertIsNotNone(length)
                body = f.read(length)
                self.assertEqual(status, b'502' if path[0] in 'hg'
                                 else b'200')
                self.assertNotIn(SECRET.encode(), body)
                json.loads(body)

    def test_http2(self):
        for path, status in ('plain-3', '200'), ('plain-9000', '200'), \
                ('html-3', '502'), ('gzip-3', '502'):
            done = subprocess.run(
                ['curl', '-sS', '--http2-prior-knowledge', '-w',
                 '\n%{http_code}', 'http://127.0.0.1:%d/%s'
                 % (self.h2, path)], capture_output=True, text=True,
                timeout=30)
            body, _, code = done.stdout.rpartition('\n')
            self.assertEqual((code, done.stderr), (status, ''), path)
            self.assertNotIn(SECRET, body)
            if status == '200':
                self.assertEqual(json.loads(body),
                                 masked(int(path.partition('-')[2])))

    def test_clients_that_leave(self):
        for path in ('plain-9000', 'chunked-9000', 'cached/plain-9000') * 5:
            s = socket.create_connection(('127.0.0.1', self.gw.port))
            s.sendall(b'GET /%s HTTP/1.1\r\nHost: a\r\n\r\n' % path.encode())
            s.close()
        self.assertEqual(self.gw.get('/plain-3').json(), masked(3))


if __name__ == '__main__':
    unittest.main()
