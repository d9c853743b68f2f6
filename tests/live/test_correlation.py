"""The correlation ID end to end: one ID in the response, at the upstream, in
the access log and in each error-log line of a request, over HTTP/1.1 and
HTTP/2, from several workers, through a reload.
"""

import re
import shutil
import socket
import subprocess
import threading
import unittest
import uuid

import penstock

CONF = '''
    log_format id '"$request_uri" $correlation_id $traceparent';
    access_log %%DIR%%/access.log id;
    keepalive_requests 10000;
    large_client_header_buffers 4 16k;

    server {
        listen 127.0.0.1:%%PORT%%;
        listen 127.0.0.1:%%H2%% http2;

        correlation_id on;
        trace_context on;

        location / {
            proxy_pass http://127.0.0.1:%%ORIGIN%%;
        }

        location /own {
            return 200 "$correlation_id";
        }

        location /rewritten {
            correlation_id_trust on;
            rewrite_log on;
            rewrite ^(.*)$ /x;
            return 204;
        }

        location /missing {
            root %%DIR%%/html;
        }

        location = /status {
            penstock_status;
        }
    }
'''


def hundreds(gw, n):
    """IDs of n requests on one connection."""

    ids = []
    with socket.create_connection(('127.0.0.1', gw.port),
                                  penstock.DEADLINE) as s:
        f = s.makefile('rb')
        for i in range(n):
            s.sendall(b'GET /own HTTP/1.1\r\nHost: a\r\n\r\n')
            size = header = None
            while True:
                line = f.readline().strip()
                if not line:
                    break
                if line.lower().startswith(b'content-length:'):
                    size = int(line.split(b':')[1])
                if line.lower().startswith(b'x-correlation-id:'):
                    header = line.split(b':', 1)[1].strip()
            body = f.read(size)
            assert body == header, (body, header)
            ids.append(body.decode())
    return ids


class Test(penstock.TestCase):

    def start(self, handler=None, **kw):
        self.up = self.origin(handler)
        return self.gateway(CONF, ORIGIN=self.up.port, H2=penstock.free_port(),
                            **kw)

    def test_one_id_everywhere(self):
        gw = self.start()

        for n in range(5):
            path = '/item/%d' % n
            answer = gw.get(path)
            got = answer.headers.get_all('X-Correlation-ID')
            method, seen_path, headers, body = self.up.requests[-1]

            self.assertEqual(len(got), 1)
            self.assertEqual(uuid.UUID(got[0]).version, 7)
            self.assertEqual(headers.get_all('X-Correlation-ID'), got)
            self.assertEqual(len(headers.get_all('traceparent')), 1)
            self.assertIsNone(headers.get('tracestate'))

            line = penstock.wait_for(lambda: re.search(
                '"%s" (.*)' % path, gw.access_log()))
            self.assertEqual(line.group(1),
                             '%s %s' % (got[0], headers['traceparent']))

    def test_error_lines(self):
        gw = self.start()

        answer = gw.get('/missing')
        self.assertEqual(answer.status, 404)
        match = gw.wait_log(r'open\(\).*correlation_id: "([^"]+)"')
        self.assertEqual(match.group(1), answer.headers['X-Correlation-ID'])

    def test_lines_of_every_length(self):
        # The request line, and with it the message, grows byte by byte over
        # the end of nginx's line buffer: always one whole ID, no line broken.
        gw = self.start(level='notice')
        sent = {}

        with socket.create_connection(('127.0.0.1', gw.port),
                                      penstock.DEADLINE) as s:
            f = s.makefile('rb')
            for length in list(range(700, 2100)) + [4000, 8000, 12000]:
                for id in 'id-%d' % length, ('id-%d-' % length).ljust(128, 'x'):
                    s.sendall(b'GET /rewritten%s HTTP/1.1\r\nHost: a\r\n'
                              b'X-Correlation-ID: %s\r\n\r\n'
                              % (b'a' * length, id.encode()))
                    self.assertIn(b' 204 ', f.readline())
                    while f.readline().strip():
                        pass
                    sent[id] = 0

        # the line is written before the answer goes out

        for line in gw.log().splitlines():
            self.assertRegex(line, r'^\d{4}/\d\d/\d\d ')
            self.assertLess(len(line), 2048)
            if '*' in line and 'rewrit' in line or '^(.*)$' in line:
                ids = re.findall(r', correlation_id: "([^"]*)"', line)
                self.assertEqual(len(ids), 1, line)
                sent[ids[0]] += 1

        self.assertEqual([id for id, lines in sent.items() if not lines], [])

    def test_unique_and_in_order(self):
        gw = self.start(workers=2)

        runs = penstock.together([lambda: hundreds(gw, 300)] * 6)
        ids = [id for run in runs for id in run]

        self.assertEqual(len(set(ids)), len(ids))
        self.assertEqual(len({id[24:] for id in ids}), len(ids))

        for run in runs:
            self.assertEqual(run, sorted(run))

    def test_reload_and_counters(self):
        gw = self.start()

        hundreds(gw, 10)
        gw.get('/rewritten', {'X-Correlation-ID': 'client'})
        gw.get('/', {'traceparent': '00-%s-%s-01' % ('1' * 32, '2' * 16)})
        gw.get('/', {'traceparent': 'bad'})
        gw.get('/')
        gw.reload()

        text = gw.get('/status?format=prometheus').text
        value = dict(re.findall(r'^(penstock_\w+\{[^}]*\}) (\d+)$', text,
                                re.M))

        self.assertEqual(
            value['penstock_correlation_ids_total{source="client"}'], '1')
        self.assertEqual(
            value['penstock_correlation_ids_total{source="generated"}'],
            '13')

        # each of the others is logged with its trace
        self.assertEqual(value['penstock_traces_total{origin="joined"}'],
                         '1')
        self.assertEqual(value['penstock_traces_total{origin="restarted"}'],
                         '1')

    def test_reload_on_and_off(self):
        off = '''
            server {
                listen 127.0.0.1:%%PORT%%;
                location / { return 200 "[$correlation_id]"; }
            }
        '''
        gw = self.gateway(off)

        for _ in range(2):
            answer = gw.get('/')
            self.assertEqual(answer.text, '[]')
            self.assertIsNone(answer.headers['X-Correlation-ID'])

            gw.reload(off.replace('location', 'correlation_id on; location'))
            answer = gw.get('/')
            self.assertEqual(answer.text,
                             '[%s]' % answer.headers['X-Correlation-ID'])
            gw.reload(off)

    def test_aborted_request(self):
        # The client leaves while the upstream works: the lines that follow
        # still find the ID.
        release = threading.Event()

        def slow(h):
            release.wait(penstock.DEADLINE)
            h.send(200, 'late')

        gw = self.start(slow)
        s = socket.create_connection(('127.0.0.1', gw.port),
                                     penstock.DEADLINE)
        s.sendall(b'GET /slow HTTP/1.1\r\nHost: a\r\n\r\n')
        penstock.wait_for(lambda: self.up.requests)
        s.close()

        match = gw.wait_log('client prematurely closed connection.*'
                            'correlation_id: "([^"]+)"')
        self.assertEqual(match.group(1),
                         self.up.requests[0][2]['X-Correlation-ID'])
        release.set()

    @unittest.skipUnless(shutil.which('curl'), 'no curl')
    def test_http2(self):
        gw = self.start()

        def id_of(path):
            # a connection each: curl 7.88 loses the second request of one
            out = subprocess.run(
                ['curl', '-sS', '--http2-prior-knowledge', '-D', '-',
                 '-H', 'X-Correlation-ID: client',
                 '-H', 'traceparent: 00-%s-%s-03' % ('1' * 32, '2' * 16),
                 '-H', 'tracestate: a=1', '-H', 'tracestate: b=2',
                 'http://127.0.0.1:%s%s' % (gw.names['H2'], path)],
                stdout=subprocess.PIPE, timeout=penstock.DEADLINE, check=True)
            self.assertIn(b'HTTP/2 ', out.stdout)
            return re.findall(r'(?m)^x-correlation-id: (\S+)\r$',
                              out.stdout.decode())

        ids = id_of('/one') + id_of('/missing')

        self.assertEqual(len(ids), 2)
        self.assertNotEqual(ids[0], ids[1])

        headers = self.up.requests[0][2]
        self.assertEqual(headers.get_all('X-Correlation-ID'), [ids[0]])
        self.assertRegex(headers['traceparent'], '^00-1{32}-(?!2{16})'
                                                 '[0-9a-f]{16}-03$')
        self.assertEqual(headers.get_all('tracestate'), ['a=1,b=2'])
        self.assertEqual(gw.wait_log(r'open\(\).*correlation_id: "([^"]+)"')
                         .group(1), ids[1])


if __name__ == '__main__':
    unittest.main()
