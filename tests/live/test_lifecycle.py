#!/usr/bin/env python3
"""What befalls requests between nginx's phases: followers that came late or
wait long, redirects by error_page, bodies that can't be read."""

import socket
import threading
import time
import unittest

import penstock


def conf(locations):
    return '''
        availability_zone a:8m;

        server {
            listen 127.0.0.1:%%PORT%%;
''' + locations + '''
        }
    '''


def rss(pid):
    """KB"""

    with open('/proc/%d/status' % pid) as f:
        for line in f:
            if line.startswith('VmRSS:'):
                return int(line.split()[1])


class Late(penstock.TestCase):

    def test_purge_of_a_tag_that_only_the_answer_names(self):
        """Who asks after the purge must not get what a fill from before it
        brings, though nothing in its request names the tag."""

        value = ['old']
        go = threading.Event()
        self.addCleanup(go.set)

        def handler(h):
            said = value[0]
            if len(origin.requests) == 1:
                go.wait(10)
            h.send(200, said, {'Cache-Tag': 'W7',
                               'Cache-Control': 'max-age=60'})

        origin = self.origin(handler)
        gw = self.gateway(conf('''
            location /t {
                availability_cache a;
                availability_cache_tag arg=sku;
                add_header X-Status $availability_cache_status always;
                proxy_pass http://127.0.0.1:%%ORIGIN%%;
            }
            location /purge { availability_purge zone=a; }
        '''), ORIGIN=origin.port)

        answers = {}

        def read(name):
            thread = threading.Thread(target=lambda: answers.__setitem__(
                name, gw.get('/t?sku=A')), daemon=True)
            thread.start()
            return thread

        threads = [read('leader')]
        penstock.wait_for(lambda: len(origin.requests) == 1)
        threads.append(read('follower'))
        time.sleep(0.2)

        value[0] = 'new'
        self.assertEqual(gw.post('/purge', {'tags': ['W7']}).status, 200)

        threads.append(read('late'))
        time.sleep(0.2)
        go.set()

        for thread in threads:
            thread.join(10)

        self.assertEqual(answers['leader'].text, 'old')
        self.assertEqual(answers['follower'].text, 'old')
        self.assertEqual(answers['late'].text, 'new')
        self.assertEqual(len(origin.requests), 2)
        self.assertEqual(gw.get('/t?sku=A').text, 'new')


class Memory(penstock.TestCase):

    def test_followers_keep_one_copy(self):
        """They look again whenever any fill of their zone ends, at a record
        that is too old for them."""

        go = threading.Event()
        self.addCleanup(go.set)
        slow = []

        def handler(h):
            if 'slow' in h.path:
                slow.append(h.path)
                if len(slow) > 1:
                    go.wait(10)
                h.send(200, b'x' * 900000, {'Cache-Control': 'max-age=1'})
            else:
                h.send(200, 'small', {'Cache-Control': 'max-age=60'})

        origin = self.origin(handler)
        gw = self.gateway(conf('''
            location / {
                availability_cache a;
                availability_cache_max_size 1m;
                availability_cache_lock on timeout=20s;
                proxy_pass http://127.0.0.1:%%ORIGIN%%;
            }
        '''), ORIGIN=origin.port)

        self.assertEqual(gw.get('/slow').status, 200)
        time.sleep(1.2)

        threads = [threading.Thread(target=gw.get, args=('/slow',),
                                    daemon=True) for _ in range(5)]
        for thread in threads:
            thread.start()

        penstock.wait_for(lambda: len(slow) == 2)
        time.sleep(0.3)

        before = rss(gw.workers()[0])
        for n in range(60):
            self.assertEqual(gw.get('/%d' % n).status, 200)
        grown = rss(gw.workers()[0]) - before

        go.set()
        for thread in threads:
            thread.join(10)

        # 5 followers with 60 copies each are 270 MB
        self.assertLess(grown, 64 * 1024)


class Rate(penstock.TestCase):

    def test_refresh_behind_a_limited_answer(self):
        """The answer's limit_rate and the refresh share a connection, whose
        write timer nginx deletes as it reads the refresh."""

        def handler(h):
            if len(origin.requests) == 1:
                h.send(200, b'x' * 150000, {'Cache-Control': 'max-age=1'})
                return

            time.sleep(0.5)
            h.send_response(200)
            h.send_header('Content-Length', '150000')
            h.end_headers()
            for _ in range(15):
                h.wfile.write(b'y' * 10000)
                time.sleep(0.05)

        origin = self.origin(handler)
        gw = self.gateway(conf('''
            limit_rate 50k;

            location / {
                availability_cache a;
                availability_cache_stale while_revalidate=30s;
                proxy_pass http://127.0.0.1:%%ORIGIN%%;
            }
        '''), ORIGIN=origin.port)

        threading.Thread(target=gw.get, args=('/',), daemon=True).start()
        penstock.wait_for(lambda: origin.requests)
        time.sleep(1.5)

        answer = gw.get('/', timeout=10)
        self.assertEqual(answer.body, b'x' * 150000)
        self.assertGreater(answer.seconds, 0.9)
        self.assertEqual(len(origin.requests), 2)


class ErrorPage(penstock.TestCase):

    def test_intercepted_errors(self):
        """As without us: an answer that error_page knows is replaced, any
        other one passes, and a 401 keeps its challenge."""

        def handler(h):
            status = int(h.path[-3:])
            h.send(status, 'erp says %d' % status,
                   {'Location': '/else'} if status == 303
                   else {'WWW-Authenticate': 'Basic realm="erp"'})

        origin = self.origin(handler)
        gw = self.gateway(conf('''
            proxy_intercept_errors on;
            error_page 404 /page;

            location = /page { return 200 mine; }

            location /plain/ { proxy_pass http://127.0.0.1:%%ORIGIN%%; }
            location /read/ {
                error_page 404 /page;
                availability_cache a;
                availability_cache_valid 200 404 409 5s;
                proxy_pass http://127.0.0.1:%%ORIGIN%%;
            }
            location /write/ {
                error_page 404 /page;
                availability_invalidate zone=a /sku;
                proxy_pass http://127.0.0.1:%%ORIGIN%%;
            }
            location /read/own/ {
                error_page 401 @own;
                availability_cache a;
                proxy_pass http://127.0.0.1:%%ORIGIN%%;
            }
            location @own { return 401; }
        '''), ORIGIN=origin.port)

        for status in 303, 404, 409, 422, 503:
            plain = gw.get('/plain/%d' % status)

            with self.subTest(status=status):
                answers = [gw.post('/write/%d' % status, {})]
                if status < 500:
                    answers += [gw.get('/read/%d' % status)
                                for _ in range(3)]

                for answer in answers:
                    self.assertEqual(answer.status, status)
                    self.assertEqual(answer.text, plain.text)
                    self.assertEqual(answer.headers['Location'],
                                     plain.headers['Location'])

        for _ in range(2):
            answer = gw.get('/read/own/401')
            self.assertEqual(answer.status, 401)
            self.assertEqual(answer.headers.get_all('WWW-Authenticate'),
                             ['Basic realm="erp"'])

    def test_redirect_of_nginx_itself(self):
        gw = self.gateway(conf('''
            location /html {
                availability_cache a;
                root %%DIR%%;
            }
        '''))

        for _ in range(2):
            answer = gw.get('/html')
            self.assertEqual(answer.status, 301)
            self.assertEqual(answer.headers.get_all('Location'),
                             ['http://127.0.0.1:%d/html/' % gw.port])

    def test_body_that_cant_be_read(self):
        """error_page may lead to where the body is wanted again."""

        origin = self.origin()
        gw = self.gateway(conf('''
            client_max_body_size 10;

            location /a {
                error_page 413 @again;
                availability_invalidate zone=a /sku;
                proxy_pass http://127.0.0.1:%%ORIGIN%%;
            }
            location /b {
                error_page 413 = @again;
                availability_invalidate zone=a /sku;
                proxy_pass http://127.0.0.1:%%ORIGIN%%;
            }
            location @again {
                availability_invalidate zone=a /sku;
                proxy_pass http://127.0.0.1:%%ORIGIN%%;
            }
        '''), ORIGIN=origin.port)

        for path, status in ('/a', b'413'), ('/b', b'400'):
            for delay in 0, 0.2:
                s = socket.create_connection(('127.0.0.1', gw.port), 10)
                s.sendall(b'POST %s HTTP/1.1\r\nHost: a\r\n'
                          b'Transfer-Encoding: chunked\r\n\r\n'
                          % path.encode())
                time.sleep(delay)
                s.sendall(b'40\r\n' + b'x' * 64 + b'\r\n0\r\n\r\n')
                self.assertIn(b'HTTP/1.1 ' + status, s.recv(4096))
                s.close()

        self.assertEqual(origin.requests, [])


if __name__ == '__main__':
    unittest.main()
