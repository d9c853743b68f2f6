"""Clients of each HTTP version that nginx and curl both speak: hits, fills
that many streams of one connection share, writes with bodies, refusals, and
clients that leave.  HTTP/3 is there with nginx 1.26 and newer, see
"build.sh matrix".
"""

import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
import unittest

import penstock

NGINX = subprocess.run([penstock.NGINX, '-V'], stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT).stdout.decode()
CURL = subprocess.run(['curl', '-V'], stdout=subprocess.PIPE).stdout.decode()

HTTP3 = '--with-http_v3_module' in NGINX and 'HTTP3' in CURL
NEW = tuple(map(int, re.search(r'nginx/(\d+)\.(\d+)', NGINX).groups())) \
    >= (1, 25)

CONF = '''
    availability_zone    stock:2m;
    rate_limit_zone      $arg_client zone=few:1m rate=1r/m;

    ssl_certificate      server.crt;
    ssl_certificate_key  server.key;

    server {
        listen 127.0.0.1:%%PORT%% ssl %%LISTEN%%;
        %%HTTP%%

        correlation_id       on;
        rate_limit_headers   on;

        location /stock {
            availability_cache         stock;
            availability_cache_tag     arg=sku;
            availability_cache_valid   60s;
            availability_cache_bypass  $arg_fresh;
            add_header X-Cache $availability_cache_status always;
            proxy_pass http://127.0.0.1:%%ORIGIN%%;
        }

        location /stale {
            availability_cache         stock;
            availability_cache_valid   1s;
            availability_cache_stale   while_revalidate=60s;
            add_header X-Cache $availability_cache_status always;
            proxy_pass http://127.0.0.1:%%ORIGIN%%;
        }

        location /orders {
            availability_invalidate zone=stock /lines/*/sku;
            proxy_pass http://127.0.0.1:%%ORIGIN%%;
        }

        location /few {
            rate_limit zone=few;
            proxy_pass http://127.0.0.1:%%ORIGIN%%;
        }
    }
'''


class Versions:

    version = None
    option = None

    @classmethod
    def setUpClass(cls):
        cls.certs = tempfile.mkdtemp(prefix='penstock-')
        cls.addClassCleanup(shutil.rmtree, cls.certs, True)
        subprocess.run(
            ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt',
             'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
             '-subj', '/CN=localhost', '-keyout', 'server.key',
             '-out', 'server.crt'], cwd=cls.certs, check=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start(self, handler):
        self.upstream = self.origin(handler)
        http = ('http2 on;' if NEW else '')
        if HTTP3:
            http += ' listen 127.0.0.1:%%PORT%% quic;'
        gw = penstock.Gateway(CONF.replace('%%HTTP%%', http), start=False,
                              LISTEN='' if NEW else 'http2',
                              ORIGIN=self.upstream.port)
        self.addCleanup(gw.teardown)
        for name in os.listdir(self.certs):
            shutil.copy(os.path.join(self.certs, name), gw.path(name))
        gw.start()
        self.gw = gw
        return gw

    def argv(self, *args):
        return ['curl', '-sk', self.option, '--max-time',
                str(2 * penstock.DEADLINE)] + list(args)

    def url(self, path):
        return 'https://127.0.0.1:%d%s' % (self.gw.port, path)

    def curl(self, path, *args):
        """(status, headers, body) of one request of this version."""

        out = subprocess.run(self.argv('-i', self.url(path), *args),
                             stdout=subprocess.PIPE, check=True).stdout
        head, body = out.split(b'\r\n\r\n', 1)
        while re.match(rb'HTTP/\S+ 1\d\d', head):
            head, body = body.split(b'\r\n\r\n', 1)
        lines = head.decode().split('\r\n')
        version, status = lines[0].split()[:2]
        self.assertEqual(version, 'HTTP/' + self.version)
        return int(status), {
            line.split(':', 1)[0].lower(): line.split(':', 1)[1].strip()
            for line in lines[1:]}, body.decode()

    def streams(self, paths):
        """Requests side by side over as few connections as curl makes:
        [(path, status, seconds)]."""

        args = ['-Z', '--parallel-max', str(len(paths)), '-w',
                '%{url_effective} %{http_version} %{http_code} '
                '%{time_total}\n']
        for path in paths:
            args += ['-o', os.devnull, self.url(path)]
        out = subprocess.run(self.argv(*args), stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, check=True).stdout.decode()
        rows = [line.split() for line in out.splitlines()]
        self.assertEqual({row[1] for row in rows}, {self.version})
        return [(row[0].split('/', 3)[3], int(row[2]), float(row[3]))
                for row in rows]

    def test_hit(self):
        self.start(lambda h: h.send(200, {'path': h.path}))

        status, miss, body = self.curl('/stock?sku=A')
        self.assertEqual((status, miss['x-cache']), (200, 'MISS'))
        again, hit, same = self.curl('/stock?sku=A')
        self.assertEqual((again, hit['x-cache'], same), (200, 'HIT', body))
        self.assertNotEqual(hit['x-correlation-id'],
                            miss['x-correlation-id'])

        status, head, body = self.curl('/stock?sku=A', '-I')
        self.assertEqual((status, head['x-cache'], body), (200, 'HIT', ''))
        self.assertEqual(head['content-length'], hit['content-length'])
        self.assertEqual(len(self.upstream.requests), 1)

    def test_streams_share_a_fill(self):
        go = threading.Event()
        self.addCleanup(go.set)

        def handler(h):
            if 'fresh' not in h.path:
                go.wait(penstock.DEADLINE)
            h.send(200, {'path': h.path})

        self.start(handler)
        paths = ['/stock?sku=A'] * 20
        rows = []
        thread = threading.Thread(
            target=lambda: rows.extend(self.streams(paths)))
        thread.start()

        penstock.wait_for(lambda: self.upstream.requests)
        time.sleep(0.3)             # the others, too; 1 whenever they come
        go.set()
        thread.join(3 * penstock.DEADLINE)

        self.assertEqual([row[1] for row in rows], [200] * 20)
        self.assertEqual(len(self.upstream.requests), 1)

    def test_a_fill_holds_no_other_stream(self):
        go = threading.Event()
        self.addCleanup(go.set)

        def handler(h):
            if 'slow' in h.path:
                go.wait(penstock.DEADLINE)
            h.send(200, 'x')
            if 'last' in h.path:
                go.set()

        # the slow one ends only when the last one came through
        self.start(handler)
        rows = self.streams(['/stock?sku=slow'] + ['/stock?sku=%d' % n
                                                   for n in range(9)]
                            + ['/stock?sku=last'])
        self.assertEqual({row[1] for row in rows}, {200})
        slow = [row[2] for row in rows if 'slow' in row[0]][0]
        self.assertLess(slow, penstock.DEADLINE - 1)

    def test_revalidation_behind_an_answer(self):
        self.start(lambda h: h.send(200, str(len(self.upstream.requests))))

        self.assertEqual(self.curl('/stale')[2], '1')

        def behind():
            return self.curl('/stale')[1]['x-cache'] == 'UPDATING'

        penstock.wait_for(behind, step=0.3)
        penstock.wait_for(lambda: len(self.upstream.requests) > 1)
        rows = self.streams(['/stale'] * 10)
        self.assertEqual({row[1] for row in rows}, {200})

    def test_write_voids(self):
        self.start(lambda h: h.send(201 if h.command == 'POST' else 200,
                                    str(len(self.upstream.requests))))

        self.assertEqual(self.curl('/stock?sku=B')[2], '1')
        self.assertEqual(self.curl('/stock?sku=B')[2], '1')
        padding = 'x' * 200000
        self.gw.write('body', '{"lines":[{"sku":"B"}],"note":"%s"}' % padding)
        status, _, _ = self.curl('/orders', '-H', 'Expect:', '--data-binary',
                                 '@' + self.gw.path('body'))
        self.assertEqual(status, 201)
        self.assertIn(padding.encode(), self.upstream.requests[-1][3])
        self.assertEqual(self.curl('/stock?sku=B')[2], '3')

    def test_refused(self):
        self.start(lambda h: h.send(200))

        self.assertEqual(self.curl('/few?client=a')[0], 200)
        status, headers, body = self.curl('/few?client=a')
        self.assertEqual(status, 429)
        self.assertEqual(headers['content-type'],
                         'application/problem+json')
        self.assertIn('retry-after', headers)
        self.assertIn(headers['x-correlation-id'], body)

    def test_client_leaves(self):
        go = threading.Event()
        self.addCleanup(go.set)

        def handler(h):
            go.wait(penstock.DEADLINE)
            h.send(200, 'kept')

        self.start(handler)
        client = subprocess.Popen(self.argv(self.url('/stock?sku=C')),
                                  stdout=subprocess.DEVNULL)
        penstock.wait_for(lambda: self.upstream.requests)
        client.kill()
        client.wait()
        go.set()

        penstock.wait_for(
            lambda: self.curl('/stock?sku=C')[1]['x-cache'] == 'HIT')
        self.assertEqual(len(self.upstream.requests), 1)


class Http1(Versions, penstock.TestCase):

    version = '1.1'
    option = '--http1.1'


class Http2(Versions, penstock.TestCase):

    version = '2'
    option = '--http2'


@unittest.skipUnless(HTTP3, 'nginx or curl has no HTTP/3')
class Http3(Versions, penstock.TestCase):

    version = '3'
    option = '--http3-only'


if __name__ == '__main__':
    unittest.main()
