"""What bad input does to a gateway with everything on: tokens, headers, URIs,
bodies, Redis and the ERP are hostile in turn, by the thousand, and after each
group it must still be whole: the same worker answers a good request right,
nothing bad was kept, refusals are problem documents, and no reply and no log
line holds a token, a secret or an internal address.
"""

import base64
import gzip
import hashlib
import hmac
import json
import random
import re
import socket
import threading
import time
import unittest

import penstock
from test_oauth import tool

SECRET = b'hmac-secret-0123456789-hmac-secret-0123456789'
PASSWORD = 'redis-password-3f9a'
GOOD = b'{"items":[{"sku":"R","location":"L1","available":3}]}'

CONF = '''
    server_tokens off;

    redis main {
        server 127.0.0.1:%%REDIS%%;
        password_file pass;
        timeout connect=500ms command=400ms;
    }

    correlation_id       on;
    correlation_id_trust on;
    trace_context        on;

    auth_jwt        "gateway";
    auth_jwt_issuer https://rs.example key_file=rs.jwks audience=gw
                    algorithms=RS256;
    auth_jwt_issuer https://hs.example key_file=hs.jwks audience=gw
                    algorithms=HS256;

    rate_limit_zone $binary_remote_addr zone=address:1m
                    rate=100000r/s burst=100000;
    rate_limit_zone $jwt_claim_sub zone=client:1m
                    rate=100000r/s burst=100000 redis=main fallback=local;
    rate_limit_zone $arg_k zone=tight:1m rate=1r/h redis=main;
    rate_limit_headers on;

    availability_zone av:16m redis=main;

    map $status $title {
        volatile;
        default Error;
    }

    server {
        listen 127.0.0.1:%%PORT%%;
        large_client_header_buffers 8 128k;
        client_max_body_size 2m;
        client_body_buffer_size 16k;
        client_header_timeout 3s;
        client_body_timeout 3s;
        proxy_read_timeout 2s;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Authorization "";
        proxy_buffer_size 16k;
        proxy_buffers 16 16k;

        rate_limit zone=address before_auth;
        rate_limit zone=client;

        error_page 404 405 413 414 416 500 502 504 /.problem;
        error_page 494 =431 /.problem;

        location = /.problem {
            internal;
            auth_jwt off;
            default_type application/problem+json;
            return 200 '{"title":"$title","status":$status}';
        }

        location /availability {
            availability_cache av;
            availability_cache_key $uri?$args;
            availability_cache_valid 200 60s;
            availability_cache_tag arg=sku;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location /orders {
            availability_invalidate zone=av /lines/*/sku;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location /raw {
            availability_cache av;
            availability_cache_key $uri?$args;
            availability_cache_valid 200 60s;
            availability_cache_stale while_revalidate=1s if_error=1s;
            availability_cache_tag arg=sku $jwt_claim_sub;
            proxy_pass http://127.0.0.1:%%RAW%%;
        }

        location /rawwrite {
            availability_invalidate zone=av /lines/*/sku;
            proxy_pass http://127.0.0.1:%%RAW%%;
        }

        location /tight {
            rate_limit zone=tight;
            proxy_pass http://127.0.0.1:%%RAW%%;
        }

        location /scope {
            auth_jwt_scope never;
            proxy_pass http://127.0.0.1:%%RAW%%;
        }

        location / {
            return 404;
        }

        location = /purge {
            availability_purge zone=av;
        }

        location = /status {
            auth_jwt off;
            penstock_status;
        }
    }
'''


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b'=')


class Reply:

    def __init__(self, data):
        head, _, rest = data.partition(b'\r\n\r\n')
        lines = head.split(b'\r\n')
        self.data = data
        self.head = head
        self.status = int(lines[0].split(b' ')[1]) \
            if re.match(rb'HTTP/1\.[01] \d\d\d', lines[0]) else 0
        self.headers = [line.partition(b':')[::2] for line in lines[1:]]
        self.headers = [(n.lower(), v.strip()) for n, v in self.headers]
        self.body = rest

        if self.get(b'transfer-encoding') == b'chunked':
            self.body = b''
            while True:
                size, _, rest = rest.partition(b'\r\n')
                n = int(size or b'0', 16)
                if n == 0:
                    break
                self.body += rest[:n]
                rest = rest[n + 2:]

    def get(self, name):
        return dict(self.headers).get(name)

    def __repr__(self):
        return repr(self.data[:600])


def send(port, data, shut=False, timeout=12):
    """Sends bytes as they are and reads to the end; b'' is a connection
    closed without a word, a gateway that hangs is a failure."""

    got = b''

    with socket.create_connection(('127.0.0.1', port), timeout) as s:
        try:
            s.sendall(data)
            if shut:
                s.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        try:
            while True:
                more = s.recv(65536)
                if not more:
                    break
                got += more
        except ConnectionResetError:
            pass
        except socket.timeout:
            raise AssertionError('no end of the answer to %r..., so far %r'
                                 % (data[:200], got[:200]))

    return got


class Raw:
    """An upstream that says .script[case] for "?case=..." as it is, in
    pieces, and then closes; a good answer for any other request."""

    def __init__(self):
        self.script = {}
        self.hits = 0
        self.socket = socket.create_server(('127.0.0.1', 0), backlog=64)
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                s, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(s,),
                             daemon=True).start()

    def serve(self, s):
        with s:
            try:
                s.settimeout(10)
                data = b''
                while b'\r\n\r\n' not in data:
                    more = s.recv(65536)
                    if not more:
                        return
                    data += more
                self.hits += 1
                head, _, body = data.partition(b'\r\n\r\n')
                size = re.search(rb'\r\ncontent-length: *(\d+)', head, re.I)
                while size and len(body) < int(size.group(1)):
                    more = s.recv(65536)
                    if not more:
                        return
                    body += more
                case = re.search(rb'[?&]case=(\w+)', head)
                pieces = self.script.get(
                    case and case.group(1).decode(),
                    b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n'
                    b'Cache-Control: max-age=60\r\nContent-Length: %d\r\n'
                    b'Connection: close\r\n\r\n%s' % (len(GOOD), GOOD))
                if isinstance(pieces, bytes):
                    pieces = [pieces]
                for piece in pieces:
                    if isinstance(piece, (int, float)):
                        time.sleep(piece)
                    else:
                        s.sendall(piece)
                s.shutdown(socket.SHUT_WR)
                while s.recv(65536):
                    pass
            except OSError:
                pass

    def teardown(self):
        self.socket.close()


class Between:
    """Stands between the gateway and a real Redis.  When .bad is set, those
    bytes answer the commands whose first word is in .to (None: each but the
    handshake's), and .closes says whether the connection then ends."""

    def __init__(self, redis):
        self.redis = redis
        self.bad = None
        self.to = None
        self.closes = False
        self.sent = self.passed = 0
        self.socket = socket.create_server(('127.0.0.1', 0), backlog=64)
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                s, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(s,),
                             daemon=True).start()

    def serve(self, s):
        try:
            with s, socket.create_connection(
                    ('127.0.0.1', self.redis.port)) as up:
                asked, told = s.makefile('rb'), up.makefile('rb')
                while True:
                    raw = line = asked.readline()
                    if not line:
                        return
                    for n in range(int(line[1:])):
                        line = asked.readline()
                        part = asked.read(int(line[1:]) + 2)
                        raw += line + part
                        if n == 0:
                            word = part[:-2]
                    bad = self.bad
                    if bad is not None and (
                            word in self.to if self.to
                            else word not in (b'AUTH', b'CLIENT')):
                        s.sendall(bad)
                        self.sent += 1
                        if self.closes:
                            return
                        continue
                    up.sendall(raw)
                    s.sendall(self.reply(told))
                    self.passed += word not in (b'AUTH', b'CLIENT')
        except (OSError, ValueError):
            pass

    def reply(self, file):
        line = file.readline()
        if not line:
            raise OSError('redis closed')
        n = int(line[1:]) if line[:1] in b'$*' else -1
        if line[:1] == b'$' and n >= 0:
            line += file.read(n + 2)
        if line[:1] == b'*':
            for _ in range(n):
                line += self.reply(file)
        return line

    def teardown(self):
        self.socket.close()


class Test(penstock.TestCase):

    def setUp(self):
        self.random = random.Random(20261123)
        self.store = self.redis('--requirepass', PASSWORD)
        self.between = Between(self.store)
        self.addCleanup(self.between.teardown)
        self.erp_server = self.erp('--latency', '0', '--concurrency', '1000')
        self.erp_server.request('POST', '/__stock', None, {
            'sku': 'GOOD', 'location': 'L1', 'available': 7})
        self.raw = Raw()
        self.addCleanup(self.raw.teardown)

        gw = penstock.Gateway(CONF, start=False, level='notice',
                              REDIS=self.between.port, RAW=self.raw.port,
                              ERP=self.erp_server.port)
        self.gw = gw
        self.addCleanup(gw.teardown)
        tool('jwks', 'gen', 'RS256', gw.path('rs'))
        gw.write('hs', SECRET)
        gw.write('pass', PASSWORD + '\n')
        gw.write('rs.jwks', tool('jwks', 'set', '--key', gw.path('rs'),
                                 '--kid', 'rs', '--alg', 'RS256'))
        gw.write('hs.jwks', json.dumps({'keys': [
            {'kty': 'oct', 'alg': 'HS256', 'kid': 'hs',
             'k': b64(SECRET).decode()}]}))
        self.token = tool('mint', '--key', gw.path('rs'), '--alg', 'RS256',
                          '--kid', 'rs', '--iss', 'https://rs.example',
                          '--aud', 'gw', '--sub', 'good',
                          '--exp', '7200').encode()
        gw.start()
        self.worker = gw.workers()
        self.secrets = [self.token, self.token.split(b'.')[2][:24], SECRET,
                        b64(SECRET), PASSWORD.encode()]
        self.addresses = [b'127.0.0.1:%d' % port for port in (
            self.between.port, self.store.port, self.raw.port,
            self.erp_server.port)]
        self.whole()

    # -- what must hold ----------------------------------------------------

    def ask(self, target=b'/raw?sku=a', method=b'GET', headers=(), body=b'',
            token=None, **kw):
        """One request, any bytes; checks what is true of every answer."""

        token = self.token if token is None else token
        data = method + b' ' + target + b' HTTP/1.1\r\nHost: g\r\n' \
            b'Connection: close\r\n'
        if token:
            data += b'Authorization: Bearer ' + token + b'\r\n'
        for line in headers:
            data += line + b'\r\n'
        if body and not any(h.lower().startswith((b'content-length',
                                                  b'transfer-encoding'))
                            for h in headers):
            data += b'Content-Length: %d\r\n' % len(body)
        return self.checked(send(self.gw.port, data + b'\r\n' + body, **kw),
                            method)

    def checked(self, data, method=b'GET'):
        for secret in self.secrets + self.addresses:
            self.assertNotIn(secret, data)

        if not data:
            return None

        reply = Reply(data.removeprefix(b'HTTP/1.1 100 Continue\r\n\r\n'))
        kind = reply.get(b'content-type') or b''

        if method == b'HEAD':
            self.assertEqual(reply.body, b'', reply)

        elif reply.status >= 400 and kind == b'application/problem+json':
            said = json.loads(reply.body.decode('utf-8'))
            self.assertEqual(said['status'], reply.status, reply)

        # a page of nginx's own is what it says of what is no HTTP, or of a
        # method that it does not know
        elif kind == b'text/html':
            self.assertIn(reply.status, (400, 405, 408, 501, 505), reply)

        # the ERP's own 500 is passed on, we make none
        if reply.status == 500:
            self.assertNotIn(kind, (b'text/html',
                                    b'application/problem+json'), reply)

        id_ = reply.get(b'x-correlation-id')
        if id_ is not None:
            self.assertRegex(id_, rb'\A[A-Za-z0-9._~:/+=@-]{1,128}\Z')
        return reply

    def whole(self):
        """The gateway is as it was."""

        answer = self.ask(b'/availability?sku=GOOD&location=L1')
        self.assertEqual(answer.status, 200, answer)
        erp = self.erp_server.request(path='/availability?sku=GOOD'
                                      '&location=L1').json()
        self.assertEqual(json.loads(answer.body)['items'], erp['items'])
        self.assertEqual(erp['items'][0]['available'], 7)

        for sku in b'a', b'b%d' % self.random.randrange(1 << 60):
            answer = self.ask(b'/raw?sku=' + sku)
            self.assertEqual((answer.status, answer.body), (200, GOOD),
                             answer)

        self.assertEqual(self.ask(token=b'').status, 401)
        self.assertEqual(self.gw.workers(), self.worker)
        self.assertEqual(self.gw.bad_lines(), [])
        self.no_secrets_logged()

    def no_secrets_logged(self):
        for name in 'error.log', 'access.log', 'output.log':
            log = self.gw.read(name).encode()
            for secret in self.secrets:
                self.assertNotIn(secret, log)

    def hs(self, payload, header=b'{"alg":"HS256","kid":"hs"}'):
        """A token with any bytes in it whose signature is right."""

        text = b64(header) + b'.' + b64(payload)
        return text + b'.' + b64(hmac.new(SECRET, text,
                                          hashlib.sha256).digest())

    def claims(self, more=b''):
        return b'{"iss":"https://hs.example","aud":"gw","sub":"h","exp":' \
            b'%d%s}' % (time.time() + 3600, more)

    # -- tokens ------------------------------------------------------------

    def refused(self, token, statuses=(400, 401), target=b'/raw?sku=a'):
        answer = self.ask(target, token=token)
        self.assertIsNotNone(answer, token[:100])
        self.assertIn(answer.status, statuses, (token[:200], answer))
        if answer.status == 401:
            self.assertTrue(answer.get(b'www-authenticate'), answer)
        return answer

    def test_tokens_of_noise(self):
        rnd = self.random
        visible = bytes(range(33, 127)) + bytes(range(128, 256))

        for n in range(500):
            size = rnd.choice((1, 2, 3, 10, 100, 1000, 5000))
            pool = rnd.choice((visible, b'.', b'=', b'A.', b'eyJ.',
                               b'abcXYZ019-_.'))
            self.refused(bytes(rnd.choice(pool) for _ in range(size)))

        parts = self.token.split(b'.')
        for n in range(500):
            t = bytearray(self.token)
            for _ in range(rnd.choice((1, 1, 1, 2, 20))):
                i = rnd.randrange(len(t))
                t[i] = rnd.choice([c for c in b'abcXYZ019-_.=!\xff'
                                   if c != t[i]])
            if bytes(t) == self.token:
                continue
            self.refused(bytes(t))

        for n in range(0, len(self.token), 7):
            if n:
                self.refused(self.token[:n])
            self.refused(self.token[n + 1:])

        for token in (b'..', b'.' * 5000, self.token + b'.',
                      b'.' + self.token, self.token + b'=',
                      b'.'.join(parts[:2]) + b'.', b'.'.join(parts * 2),
                      parts[0] + b'..' + parts[2], self.token * 40,
                      self.token + b'A' * 60000, b'A' * 60000,
                      b'A.' * 30000):
            self.refused(token)

        self.whole()

    def test_tokens_signed_but_absurd(self):
        good = self.claims()
        answer = self.ask(token=self.hs(good))
        self.assertEqual(answer.status, 200, answer)

        for payload in (
                b'', b'null', b'[]', b'1', b'"x"', b'{', b'{}', good[:-1],
                good + b'x', good + b'{}', b'\xef\xbb\xbf' + good,
                b'{' * 30000, b'[' * 30000, b'{"a":' * 8000 + b'1'
                + b'}' * 8000, self.claims(b',"a":' + b'[' * 9000
                                           + b']' * 9000),
                self.claims(b',"sub":"again"'), self.claims(b',"exp":1'),
                self.claims(b',"x":"\\ud800"'), self.claims(b',"x":"\xff"'),
                self.claims(b',"x":"\xed\xa0\x80"'),
                self.claims(b',"x":"\xc0\xaf"'), self.claims(b',"x":1e999'),
                self.claims(b',"x":' + b'9' * 5000),
                self.claims(b',"x":NaN'), self.claims(b',"x":Infinity'),
                self.claims(b',"nbf":9999999999'),
                self.claims(b',"nbf":"now"'), self.claims(b',"nbf":1e400'),
                good.replace(b'"exp":', b'"exp":-'),
                re.sub(rb'"exp":\d+', b'"exp":"9999999999"', good),
                re.sub(rb'"exp":\d+', b'"exp":null', good),
                re.sub(rb'"exp":\d+', b'"exp":[9999999999]', good),
                re.sub(rb'"exp":\d+', b'"exp":99999999999999999999999', good),
                re.sub(rb',"exp":\d+', b'', good),
                good.replace(b'"gw"', b'{}'), good.replace(b'"gw"', b'["x"]'),
                good.replace(b'"gw"', b'[["gw"]]'),
                good.replace(b'"gw"', b'"gw\\u0000"'),
                good.replace(b'https://hs', b'https://rs'),
                good.replace(b'"https://hs.example"', b'7'),
                good.replace(b'"h"', b'"h\\u0000"'),
                self.claims(b',"x":"' + b'\\u0000' * 50 + b'"'),
                self.claims(b',"\\u0000":1')):
            answer = self.ask(token=self.hs(payload))
            self.assertIn(answer.status, (200, 400, 401), payload[:100])
            try:
                said = json.loads(payload.decode('utf-8'))
                fine = isinstance(said, dict) and said.get('aud') == 'gw' \
                    and said.get('iss') == 'https://hs.example' \
                    and type(said.get('exp')) is int \
                    and said['exp'] > time.time() \
                    and type(said.get('nbf', 0)) in (int, float) \
                    and said.get('nbf', 0) <= time.time()
            except (ValueError, RecursionError):
                fine = False
            if not fine:
                self.assertIn(answer.status, (400, 401), payload[:200])

        for header in (
                b'', b'{}', b'null', b'{"alg":null}', b'{"alg":"none"}',
                b'{"alg":"None","kid":"hs"}', b'{"alg":"hs256"}',
                b'{"alg":["HS256"]}', b'{"alg":"HS256","alg":"HS256"}',
                b'{"alg":"HS256","kid":7}', b'{"alg":"HS256","kid":"rs"}',
                b'{"alg":"RS256","kid":"hs"}', b'{"alg":"RS256","kid":"rs"}',
                b'{"alg":"HS256","kid":"hs","crit":["b64"],"b64":false}',
                b'{"alg":"HS256","kid":"hs","crit":[]}',
                b'{"alg":"HS256","kid":"' + b'k' * 20000 + b'"}',
                b'{"alg":"HS256","kid":"hs","zip":"DEF","crit":["zip"]}',
                b'{"alg":"HS512","kid":"hs"}', b'[' * 9000,
                b'{"alg":"HS256","kid":"\\ud800"}'):
            self.refused(self.hs(good, header))

        # what is true of it but not of the base64url alphabet or form
        token = self.hs(good)
        for other in (token.replace(b'.', b'=.', 1), token[:-1],
                      token + b'A', b'\xc2\xa0' + token,
                      token.replace(b'.', b'%2E')):
            self.refused(other)

        # claims that travel: into tags, keys of limits, headers, logs
        for sub in (b'\\r\\nX-Evil: 1', b'\\"', b'a b', b'x' * 15000,
                    b'\\u00e9' * 100, b'..%2f', b'\\ud83d\\ude00',
                    b'{}', b'*', b'\\t', b'\\u007f'):
            payload = good.replace(b'"h"', b'"%s"' % sub)
            for n in range(2):
                answer = self.ask(b'/raw?sku=a', token=self.hs(payload))
                self.assertIn(answer.status, (200, 400, 401), sub)
                self.assertNotIn(b'X-Evil', answer.head)
            self.refused(self.hs(payload), (400, 401, 403), b'/scope')

        self.whole()

    # -- requests ----------------------------------------------------------

    def test_headers(self):
        rnd = self.random
        auth = b'Authorization: Bearer ' + self.token
        many = []

        for line in (b'X: ' + b'y' * 61000, b'Cookie: ' + b'a=b; ' * 12000,
                     b'X-Correlation-ID: ' + b'c' * 61000,
                     b'traceparent: ' + b'0' * 61000,
                     b'tracestate: ' + b'a=b,' * 15000,
                     b'Accept-Encoding: ' + b'gzip,' * 12000,
                     b'If-None-Match: ' + b'"x",' * 15000,
                     b'Cache-Control: ' + b'no-cache,' * 6000,
                     b'Range: bytes=' + b'0-1,' * 15000,
                     b'X' * 61000 + b': y', b'Cookie: ' + b'x' * 200000,
                     b'\x00: 1', b'X: \x00', b'X\x00: 1', b'X: a\rb',
                     b'X : 1', b' X: folded', b'X: 1\r\n folded: 2',
                     b': empty', b'no colon', b'X: \xff\xfe\xc0\x80',
                     b'\xff\xfe: 1', b'Host: other', b'Host: a b',
                     b'Host: ' + b'h' * 60000, b'Host: g:99999999',
                     b'Content-Length: -1', b'Content-Length: x',
                     b'Content-Length: 99999999999999999999999',
                     b'Content-Length: 0\r\nContent-Length: 0',
                     b'Content-Length: 0, 0', b'Content-Length: +0',
                     b'Transfer-Encoding: x', b'Transfer-Encoding: gzip, '
                     b'chunked', b'Transfer-Encoding: chunked\r\n'
                     b'Content-Length: 5', b'Expect: 100-continue',
                     b'Expect: ' + b'x' * 9000, b'Upgrade: h2c\r\n'
                     b'Connection: Upgrade', b'Range: bytes=-0',
                     b'Range: bytes=0-,0-,0-', b'Range: bytes=9-1',
                     b'If-Modified-Since: ' + b'9' * 500,
                     b'If-Range: \xff', b'If-Match: *', b'Via: ' + b'x,' * 999,
                     auth, b'Authorization: Basic eDp5', b'Authorization:',
                     b'Authorization: Bearer', b'Authorization: Bearer ',
                     b'Proxy-Authorization: ' + self.token):
            many.append([line])

        many += [[b'X-A: %d' % n for n in range(2000)],
                 [b'X-Correlation-ID: same'] * 500,
                 [b'traceparent: 00-%032x-%016x-01' % (n + 1, n + 1)
                  for n in range(300)],
                 [b'tracestate: k%d=v' % n for n in range(1000)],
                 [auth] * 50, [b'Cookie: a=%d' % n for n in range(1000)],
                 [b'Accept: */*'] * 1000, [b'If-None-Match: "x"'] * 300]

        for lines in many:
            # half a connection is a client that has gone: only where a body
            # is announced that doesn't come
            announced = lines[0].startswith((b'Content-L', b'Transfer-E'))
            answer = self.ask(b'/raw?sku=a', headers=lines, shut=announced)
            self.assertIn(answer.status if answer else None, (
                200, 206, 304, 400, 401, 404, 408, 411, 412, 413, 416, 431,
                501) + (None,) * announced, (lines[0][:100], answer))

        # more than one credential is no request at all (RFC 6750, 3.1)
        self.assertEqual(self.ask(headers=[auth]).status, 400)

        for n in range(400):
            name = rnd.choice((b'X-Correlation-ID', b'traceparent',
                               b'tracestate', b'X-Any'))
            pool = rnd.choice((bytes(range(33, 127)), bytes(range(32, 256)),
                               b'0123456789abcdef-', b'=,; \t@_a0'))
            value = bytes(rnd.choice(pool)
                          for _ in range(rnd.randrange(200)))
            value = value.replace(b'\x7f', b'')
            answer = self.ask(headers=[name + b': ' + value])
            self.assertIn(answer.status, (200, 400), (value, answer))

        for n in range(200):
            parent = bytearray(b'00-0af7651916cd43dd8448eb211c80319c-'
                               b'b7ad6b7169203331-01')
            for _ in range(rnd.randrange(4)):
                parent[rnd.randrange(len(parent))] = rnd.choice(
                    b'0fFgG-_ \xff')
            answer = self.ask(headers=[b'traceparent: ' + bytes(parent)])
            self.assertEqual(answer.status, 200)

        self.whole()

    def test_request_lines(self):
        rnd = self.random
        end = b' HTTP/1.1\r\nHost: g\r\nConnection: close\r\n' \
            b'Authorization: Bearer ' + self.token + b'\r\n\r\n'

        for start in (b'GET /availability?sku=' + b'x' * 61000,
                      b'GET /raw?' + b'sku=a&' * 9000,
                      b'GET /raw?' + b'&' * 50000, b'GET /raw?' + b'=' * 900,
                      b'GET /raw?sku=' + b',' * 9000,
                      b'GET /raw?sku=' + b'%' * 300, b'GET /raw?sku=%',
                      b'GET /raw?sku=%0', b'GET /raw?sku=%00',
                      b'GET /raw?sku=%zz', b'GET /raw?sku=%0d%0aSet-Cookie:x',
                      b'GET /raw?sku=%c0%af', b'GET /raw?sku=%ed%a0%80',
                      b'GET /raw?sku=\xff\xfe', b'GET /raw?sku=a\x00b',
                      b'GET /raw?sku=a b', b'GET /raw?sku=a\tb',
                      b'GET /raw%00', b'GET /raw%', b'GET /raw%zz',
                      b'GET /raw/../raw?sku=a', b'GET /../../etc/passwd',
                      b'GET /raw/' + b'../' * 9000, b'GET /raw' + b'/' * 9000,
                      b'GET http://[::1/raw', b'GET http://g:0/raw?sku=a',
                      b'GET *', b'OPTIONS *', b'CONNECT g:443', b'GET',
                      b'G\x00T /', b'get /raw', b'TRACE /raw',
                      b'PRI * HTTP/2.0\r\n\r\nSM', b'M' * 60000 + b' /raw',
                      b'PURGE /raw?sku=a', b'PROPFIND /raw', b'GET  /raw',
                      b'HEAD /raw?sku=zz', b'GET /tight', b'GET /tight?k=',
                      b'GET /tight?k=' + b'%00' * 5000,
                      b'GET /tight?k=' + b'k' * 60000,
                      b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc', b'\x00' * 999):
            answer = self.checked(send(self.gw.port, start + end, shut=True))
            if answer and answer.status:
                self.assertIn(answer.status, (
                    200, 400, 403, 404, 405, 414, 429, 431, 501, 505),
                    (start[:100], answer))
                self.assertNotIn(b'set-cookie', dict(answer.headers))

        for n in range(600):
            text = bytes(rnd.choice(b'%%%&=+,;/?#.\\"\'<>{}a0\xc3\xa9\xff')
                         for _ in range(rnd.randrange(1, 60)))
            where = rnd.choice((b'/raw?sku=', b'/raw?', b'/availability?sku=',
                                b'/availability?', b'/', b'/orders/'))
            answer = self.ask(where + text)
            self.assertIn(answer.status, (200, 400, 404), (where, text,
                                                           answer))

        for version in (b'HTTP/0.9', b'HTTP/1.2', b'HTTP/2.0', b'HTTP/9.9',
                        b'HTTP/1.', b'HTTP/11111.1', b'http/1.1', b'X'):
            self.checked(send(self.gw.port, b'GET /raw ' + version
                              + end[9:], shut=True))

        for query in (b'', b'?', b'?tag=', b'?tag=' + b'x' * 50000,
                      b'?sku=%00', b'?sku=' + b'%' * 9999, b'?all=1',
                      b'?tag=a&' * 500):
            for method in b'GET', b'POST', b'DELETE', b'X':
                answer = self.ask(b'/purge' + query, method)
                self.assertLess(answer.status, 500, (query, answer))
            answer = self.ask(b'/status' + query.replace(b'tag', b'format'),
                              token=b'')
            self.assertIn(answer.status, (200, 400), (query, answer))

        self.whole()

    def test_bodies(self):
        order = b'{"order_id":"%s","customer":"c","lines":[{"sku":"S",' \
            b'"location":"L1","quantity":1}]}'
        bodies = [
            b'', b'{', b'null', b'[]', b'1', b'"', b'\x00', b'\xff\xfe',
            b'{"lines":' * 50000, b'[' * 100000, b'[' * 50000 + b']' * 50000,
            b'{"lines":[' + b'{"sku":' * 99999,
            b'{"lines":[' + b'{"sku":"' + b's' * 900000 + b'"}]}',
            b'{"lines":[' + b','.join(b'{"sku":"s%d"}' % n
                                      for n in range(40000)) + b']}',
            b'{"lines":[{"sku":' + b'9' * 100000 + b'}]}',
            b'{"lines":[{"sku":1e999}]}', b'{"lines":[{"sku":-0}]}',
            b'{"lines":[{"sku":NaN}]}', b'{"lines":{"sku":"a"}}',
            b'{"lines":"a","lines":[]}', b'{"lines":[{"sku":"a",'
            b'"sku":"b"}]}', b'{"lines":[{"sku":"\\ud800"}]}',
            b'{"lines":[{"sku":"\xed\xa0\x80"}]}',
            b'{"lines":[{"sku":"\xff"}]}', b'{"lines":[{"sku":"\\u0000"}]}',
            b'{"lines":[{"sku":"a\x00b"}]}', b'{"lines":[{"sku":"a\r\nb"}]}',
            b'{"lines":[{"sku":null},{"sku":[]},{"sku":{}},{}]}',
            b' ' * 1000000, b'\xef\xbb\xbf' + order % b'bom',
            gzip.compress(order % b'gz'), order % b'x' + b'\x00' * 1000,
            (order % b'u').decode().encode('utf-16'), b'a' * 2097152]
        rnd = self.random

        for _ in range(200):
            body = bytearray(order % b'm%d' % rnd.randrange(1 << 40))
            for _ in range(rnd.randrange(1, 6)):
                body[rnd.randrange(len(body))] = rnd.randrange(256)
            bodies.append(bytes(body))

        for body in bodies:
            for target in b'/orders', b'/rawwrite':
                answer = self.ask(target, b'POST', body=body, headers=[
                    b'Content-Type: application/json'])
                self.assertTrue(answer.status < 500 and answer.status,
                                (body[:80], answer))
                if target == b'/rawwrite':
                    self.assertEqual((answer.status, answer.body),
                                     (200, GOOD), body[:80])

        answer = self.ask(b'/rawwrite', b'POST', body=b'a' * 2097153)
        self.assertEqual(answer.status, 413)

        # bodies where none belong
        for method in b'GET', b'HEAD', b'DELETE', b'OPTIONS':
            answer = self.ask(b'/raw?sku=a', method, body=b'[' * 100000)
            self.assertLess(answer.status, 500)

        chunked = [b'Transfer-Encoding: chunked']
        for body in (b'0\r\n\r\n', b'x\r\n\r\n', b'-1\r\n\r\n',
                     b'ffffffffffffffffff\r\na', b'5\r\nabc', b'5\r\nabcdef',
                     b'1;' + b'x' * 9000 + b'\r\na\r\n0\r\n\r\n',
                     b'1\r\na\r\n' * 9000 + b'0\r\n\r\n',
                     b'0\r\nTrailer: ' + b'x' * 9000 + b'\r\n\r\n',
                     b'0x1\r\na\r\n0\r\n\r\n', b'1\na\n0\n\n', b'\r\n\r\n',
                     b'fffffff\r\n' + b'a' * 100000, b''):
            for target in b'/orders', b'/rawwrite', b'/raw?sku=a':
                answer = self.ask(target, b'POST', headers=chunked,
                                  body=body, shut=True)
                self.assertTrue(answer is None or answer.status < 500,
                                (body[:50], answer))

        # less than promised, then gone; then silent
        for shut in True, False:
            answer = self.ask(b'/rawwrite', b'POST', body=b'{"lines"',
                              headers=[b'Content-Length: 500'], shut=shut)
            self.assertTrue(answer is None or answer.status in (400, 408),
                            answer)

        self.whole()

    # -- Redis -------------------------------------------------------------

    def hostile_redis(self, replies, to=None, closes=False):
        b = self.between
        n = 0

        for bad in replies:
            n += 1

            if n % 5 == 0:
                # a new worker has no back-off
                self.gw.reload()
                self.worker = self.gw.workers()

            b.bad = None
            self.until('passed', bad)
            b.to, b.closes, b.bad = to, closes, bad

            if to:
                self.gw.reload()
                self.worker = self.gw.workers()

            self.until('sent', bad)
            self.reads_and_writes()
            self.assertEqual(self.gw.workers(), self.worker, bad[:100])

        b.bad = None
        self.whole()

    def until(self, counter, bad):
        before = getattr(self.between, counter)

        def counted():
            self.reads_and_writes()
            return getattr(self.between, counter) > before

        penstock.wait_for(counted, what='Redis: %s, at %r'
                          % (counter, bad[:60]), step=0.05)

    def reads_and_writes(self):
        sku = b'r%d' % self.random.randrange(1 << 60)
        for _ in range(2):
            answer = self.ask(b'/raw?sku=' + sku)
            self.assertEqual((answer.status, answer.body), (200, GOOD),
                             answer)
        answer = self.ask(b'/rawwrite', b'POST',
                          body=b'{"lines":[{"sku":"%s"}]}' % sku)
        self.assertEqual(answer.status, 200, answer)
        for name, value in answer.headers:
            if name == b'ratelimit':
                self.assertRegex(value, rb'"client";r=\d+(;t=\d+)?')

    def test_redis_types(self):
        n63 = b':9223372036854775807\r\n'
        self.hostile_redis([
            b'+OK\r\n', b'+\r\n', b':0\r\n', b':1\r\n', b':-1\r\n', n63,
            b':-9223372036854775808\r\n', b'$-1\r\n', b'$0\r\n\r\n',
            b'*-1\r\n', b'*0\r\n', b'$3\r\n\x00\x01\x02\r\n',
            b'*1\r\n:1\r\n', b'*2\r\n:1\r\n:-5\r\n', b'*2\r\n:7\r\n' + n63,
            b'*2\r\n:1\r\n' + n63, b'*2\r\n' + n63 + n63,
            b'*2\r\n$1\r\n1\r\n$1\r\n1\r\n', b'*2\r\n*0\r\n*0\r\n',
            b'*3\r\n' + n63 * 3, b'*3\r\n$-1\r\n$-1\r\n$-1\r\n',
            b'*3\r\n$1\r\n9\r\n$1\r\n8\r\n$-1\r\n',
            b'*3\r\n$1\r\n9\r\n$1\r\n9\r\n$9\r\nnorecord.\r\n',
            b'*3\r\n$18\r\n999999999999999999\r\n$1\r\n1\r\n$4\r\nPSR2\r\n',
            b'*3\r\n$19\r\n9999999999999999999\r\n$1\r\n1\r\n$-1\r\n',
            b'*3\r\n$1\r\n9\r\n$1\r\n1\r\n$5000\r\n' + b'\x00' * 5000
            + b'\r\n', b'*3\r\n$1\r\n9\r\n$1\r\n1\r\n$5000\r\n'
            + b'\xff' * 5000 + b'\r\n', b'*4\r\n' + b':1\r\n' * 4,
            b'*1\r\n*1\r\n*1\r\n:1\r\n', b'*2\r\n:1\r\n-ERR in it\r\n'])

    def test_redis_records(self):
        # records that were right, with bytes changed, read by a gateway
        # whose own memory is empty
        rnd = self.random

        for n in range(200):
            self.assertEqual(self.ask(b'/raw?sku=rec%d' % n).status, 200)

        self.store.command('AUTH', PASSWORD)

        def keys():
            found = [k for k in self.store.command('KEYS', '*') if ':r:' in k]
            return found if len(found) >= 200 else None

        found = penstock.wait_for(keys, what='records in Redis')
        self.gw.stop()

        for n, key in enumerate(found):
            record = self.store.command('GET', key)
            bad = bytearray(record if isinstance(record, bytes)
                            else record.encode())
            if GOOD not in bad:
                continue
            head = bad.index(GOOD)

            if n % 7 == 0:
                # header lines of its own
                for byte in b'\r\n':
                    bad[head - 1 - byte] = byte
                bad[head - 30] = 10
            elif n % 5 == 0:
                bad = bad[:rnd.randrange(len(bad))]
            elif n % 5 == 1:
                bad += bytes(rnd.randrange(256) for _ in range(50))
            else:
                # sizes, times, tags and headers; not the status, which would
                # be as good as the one that was there
                for _ in range(n % 5 - 1):
                    bad[rnd.randrange(6, head)] = rnd.choice(
                        (0, 1, 10, 13, 127, 128, 255))

            self.store.command('SET', key, bytes(bad))

        self.gw.start()
        self.worker = self.gw.workers()

        for n in range(200):
            answer = self.ask(b'/raw?sku=rec%d' % n)
            self.assertEqual((answer.status, answer.body), (200, GOOD),
                             answer)
            for name, value in answer.headers:
                self.assertTrue(name and not re.search(rb'[\0\r\n]',
                                                       name + value), answer)

        self.whole()

    def test_redis_errors(self):
        self.hostile_redis([
            b'-' + text + b'\r\n' for text in (
                b'', b'ERR', b'LOADING Redis is loading the dataset',
                b'NOSCRIPT No matching script.', b'READONLY You can\'t '
                b'write against a read only replica.', b'OOM command not '
                b'allowed when used memory > \'maxmemory\'.',
                b'NOAUTH Authentication required.', b'NOPERM no',
                b'WRONGPASS ' + PASSWORD.encode()[:5], b'BUSY script',
                b'MASTERDOWN Link with MASTER is down', b'MISCONF',
                b'CLUSTERDOWN Hash slot not served', b'TRYAGAIN Multiple',
                b'MOVED 3999 127.0.0.1:1', b'ASK 3999 127.0.0.1:1',
                b'MOVED', b'MOVED 99999999999 :0', b'WRONGTYPE Operation',
                b'CROSSSLOT Keys', b'EXECABORT', b'UNKILLABLE',
                b'ERR x\n2026/11/23 00:00:00 [alert] 1#1: forged',
                b'ERR \x1b[2J\x07', b'ERR %s%n%V%p%99999d', b'ERR \x00\x01\x1b[31m\xff',
                b'ERR ' + b'x' * 8000)])

    def test_redis_frames(self):
        self.hostile_redis([
            b'$-2\r\n', b'*-2\r\n', b'$-999999999999999999999\r\n',
            b'$999999999999\r\n', b'$2147483648\r\n', b'*1000000000\r\n',
            b'*4294967297\r\n:1\r\n', b'$18446744073709551615\r\n',
            b'$1e3\r\n', b'$ 3\r\nabc\r\n', b'$+3\r\nabc\r\n', b'$\r\n',
            b'*\r\n', b':\r\n', b':1.5\r\n', b':x\r\n',
            b':' + b'9' * 40 + b'\r\n', b'\r\n', b'\r\n\r\n', b'\x00' * 64,
            b'HTTP/1.1 400 Bad Request\r\n\r\n', b'\x16\x03\x03\x00\x02',
            b'*1\r\n' * 100000, b'*2\r\n' * 5000, b'+' + b'x' * 300000,
            b'$3\r\nabcdef\r\n', b'+OK\r\n' * 50, b':1\r\n' * 2,
            b'*3\r\n' + b'$1000000\r\n' + b'x' * 1000000 + b'\r\n'])

    def test_redis_resp3(self):
        self.hostile_redis([
            b'_\r\n', b'#t\r\n', b',1.5\r\n', b',inf\r\n', b'(99999999\r\n',
            b'=7\r\ntxt:abc\r\n', b'%1\r\n+a\r\n:1\r\n', b'~1\r\n:1\r\n',
            b'>2\r\n+invalidate\r\n*0\r\n', b'|1\r\n+a\r\n+b\r\n:1\r\n',
            b'!5\r\nERR x\r\n', b'$?\r\n;4\r\nabcd\r\n;0\r\n', b'*?\r\n.\r\n'])

    def test_redis_leaves(self):
        self.hostile_redis([b'', b'$', b'$100\r\nabc', b'*3\r\n:1\r\n',
                            b'*3\r\n$1\r\n', b'+O', b'+OK\r', b'-ERR',
                            b'+OK\r\n', b':1', b'*2\r\n:1\r\n:0\r\n'],
                           closes=True)

    def test_redis_handshake(self):
        self.hostile_redis([b'+OK\r\n+OK\r\n', b'$-1\r\n', b'*0\r\n',
                            b':1\r\n', b'-WRONGPASS invalid\r\n',
                            b'-ERR ' + PASSWORD.encode() + b'\r\n',
                            b'-LOADING x\r\n', b'\x00', b'>1\r\n:1\r\n',
                            b'*1\r\n' * 999], to=(b'AUTH', b'CLIENT'))

    # -- the ERP -----------------------------------------------------------

    def test_erp_answers(self):
        ok = b'HTTP/1.1 200 OK\r\n'
        keep = b'Cache-Control: max-age=60\r\n'
        bad = b'{"items":"BAD"}'
        sized = b'Content-Length: %d\r\n\r\n' % len(bad) + bad
        chunked = b'Transfer-Encoding: chunked\r\n\r\n'
        gz = gzip.compress(bad)

        # never kept, and never a whole 200
        broken = {
            'nothing': b'', 'noise': b'\x00\xff' * 500,
            'status': b'HTTP/1.1 2x0 OK\r\n\r\n', 'http9': b'BAD\r\n',
            'version': b'HTTP/9.9 abc\r\n\r\n', 'status0': b'HTTP/1.1\r\n\r\n',
            'tls': b'\x15\x03\x01\x00\x02\x02\x28',
            'smtp': b'220 mail ESMTP\r\n\r\n',
            'head': ok + b'X: ' + b'y' * 100000 + b'\r\n' + sized,
            'heads': ok + b'X: y\r\n' * 9000 + sized,
            'half': ok + b'Content-Ty', 'headonly': ok + keep
            + b'Content-Length: 100\r\n\r\n',
            'truncated': ok + keep + b'Content-Length: 1000\r\n\r\n' + bad,
            'chunkcut': ok + keep + chunked + b'f\r\n' + bad + b'\r\n',
            'chunknone': ok + keep + chunked,
            'chunkbad': ok + keep + chunked + b'zz\r\n' + bad,
            'chunkneg': ok + keep + chunked + b'-5\r\n' + bad,
            'chunkhuge': ok + keep + chunked + b'fffffffffffffffffff\r\n'
            + bad, 'chunkshort': ok + keep + chunked + b'5\r\n' + bad
            + b'\r\n0\r\n\r\n', 'lengths': ok + keep
            + b'Content-Length: 5\r\nContent-Length: 15\r\n\r\n' + bad,
            'length': ok + keep + b'Content-Length: -1\r\n\r\n' + bad,
            'lengthx': ok + keep + b'Content-Length: x\r\n\r\n' + bad,
            'nul': ok + keep + b'X: a\x00b\r\n' + sized,
            'late': [ok, 3, keep + sized],
            'slow': [ok + keep + b'Content-Length: 15\r\n\r\n', bad[:5], 3,
                     bad[5:]]}

        # passed on as they are, but never kept
        passed = {
            'cookie': ok + keep + b'Set-Cookie: a=b\r\n' + sized,
            'private': ok + b'Cache-Control: private, max-age=60\r\n' + sized,
            'nostore': ok + b'Cache-Control: max-age=60, no-store\r\n'
            + sized, 'nostore2': ok + keep + b'Cache-Control: no-store\r\n'
            + sized, 'zero': ok + b'Cache-Control: max-age=0\r\n' + sized,
            'varystar': ok + keep + b'Vary: *\r\n' + sized,
            'partial': b'HTTP/1.1 206 Partial Content\r\n' + keep
            + b'Content-Range: bytes 0-14/100\r\n' + sized,
            'notmodified': b'HTTP/1.1 304 Not Modified\r\n' + keep + b'\r\n',
            'aged': ok + keep + b'Age: 9999999999\r\n' + sized,
            'error': b'HTTP/1.1 500 Oops\r\n' + keep + sized,
            'unavailable': b'HTTP/1.1 503 Busy\r\n' + keep + sized,
            'many': b'HTTP/1.1 429 Slow\r\n' + keep + sized,
            'status999': b'HTTP/1.1 999 What\r\n' + keep + sized,
            'status600': b'HTTP/1.1 600 What\r\n' + keep + sized,
            'info': b'HTTP/1.1 199 Info\r\n' + keep + sized,
            'continue': b'HTTP/1.1 100 Continue\r\n\r\n' + ok + sized,
            'early': b'HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n' + ok
            + sized, 'status000': b'HTTP/1.1 000 None\r\n' + sized,
            'switching': b'HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n'
            + bad}

        # these are answers, if odd ones: whatever becomes of them
        odd = {
            'nolength': ok + keep + b'\r\n' + bad,
            'gzip': ok + keep + b'Content-Encoding: gzip\r\n'
            b'Content-Length: %d\r\n\r\n' % len(gz) + gz,
            'gzipbad': ok + keep + b'Content-Encoding: gzip\r\n' + sized,
            'gziptwice': ok + keep + b'Content-Encoding: gzip, gzip\r\n'
            + sized, 'long': ok + keep + b'Content-Length: 5\r\n\r\n' + bad,
            'fold': ok + keep + b'X: a\r\n b\r\n' + sized,
            'bytes': ok + keep + b'X-\xff: \xff\xfe\r\n' + sized,
            'nocolon': ok + keep + b'no colon\r\n' + sized,
            'empty': ok + keep + b': x\r\n' + sized,
            'both': ok + keep + b'Content-Length: 15\r\n' + chunked
            + b'f\r\n' + bad + b'\r\n0\r\n\r\n',
            'te': ok + keep + b'Transfer-Encoding: gzip, chunked\r\n\r\n'
            + bad, 'nobody': b'HTTP/1.1 204 No Content\r\n' + keep + sized,
            'lf': b'HTTP/1.1 200 OK\nContent-Length: 15\n\n' + bad,
            'ccs': ok + b'Cache-Control: ' + b'max-age=1,' * 900 + b'\r\n'
            + sized, 'ccnoise': ok + b'Cache-Control: ,,=;"\\max-age=\x7f'
            b'\xff\r\n' + sized, 'cchuge': ok + b'Cache-Control: max-age='
            b'99999999999999999999999999\r\n' + sized, 'ccneg': ok
            + b'Cache-Control: max-age=-1\r\n' + sized, 'ccfloat': ok
            + b'Cache-Control: max-age=1.5e9\r\n' + sized, 'ccquote': ok
            + b'Cache-Control: max-age="60"\r\n' + sized, 'expires': ok
            + b'Expires: 0\r\n' + sized, 'expires2': ok + b'Expires: Fri, 99 '
            b'Foo 99999 99:99:99 GMT\r\n' + sized, 'expires3': ok
            + b'Expires: ' + b'9' * 5000 + b'\r\n' + sized, 'date': ok + keep
            + b'Date: yesterday\r\n' + sized, 'dates': ok + keep
            + b'Date: Mon, 23 Nov 2099 00:00:00 GMT\r\n' * 3 + sized,
            'ageneg': ok + keep + b'Age: -5\r\n' + sized, 'ages': ok + keep
            + b'Age: 1\r\nAge: x\r\n' + sized, 'agehuge': ok + keep
            + b'Age: 99999999999999999999999\r\n' + sized, 'etag': ok + keep
            + b'ETag: ' + b'"' * 900 + b'\r\n' + sized, 'etags': ok + keep
            + b'ETag: "a"\r\nETag: "b"\r\n' + sized, 'vary': ok + keep
            + b'Vary: ' + b'X-Y, ' * 900 + b'Accept\r\n' + sized,
            'type': ok + keep + b'Content-Type: ' + b'x' * 5000 + b'\r\n'
            + sized, 'status99': b'HTTP/1.1 299 Odd\r\n' + keep + sized,
            'lm': ok + keep + b'Last-Modified: x\r\n' + sized,
            'accel': ok + keep + b'X-Accel-Redirect: /status\r\n'
            b'X-Accel-Expires: @99999999999\r\nX-Accel-Limit-Rate: 99999\r\n'
            b'X-Accel-Charset: \xff\r\nX-Accel-Buffering: maybe\r\n' + sized,
            'refresh': ok + keep + b'Refresh: 0; url=http://127.0.0.1/\r\n'
            + sized, 'wwwauth': b'HTTP/1.1 401 No\r\nWWW-Authenticate: x\r\n'
            + sized, 'moved': b'HTTP/1.1 302 Found\r\nLocation: \xff//\r\n'
            + sized, 'big': ok + keep + b'Content-Length: 1000000\r\n\r\n'
            + b'b' * 1000000, 'bigger': ok + keep + b'\r\n' + b'b' * 3000000}

        def ask(path, name, method=b'GET', body=b''):
            return self.ask(path + b'?sku=%s&case=%s'
                            % (name.encode(), name.encode()), method,
                            body=body)

        for group in broken, passed, odd:
            names = list(group)
            # several at a time: some wait for a timeout
            for at in range(0, len(names), 6):
                self.raw.script = group

                def one(name):
                    answers = [ask(b'/raw', name), ask(b'/raw', name, b'HEAD')
                               if name != 'late' else None,
                               ask(b'/rawwrite', name, b'POST',
                                   b'{"lines":[{"sku":"%s"}]}'
                                   % name.encode())]
                    return answers

                for name, answers in zip(names[at:at + 6], penstock.together(
                        [lambda n=n: one(n) for n in names[at:at + 6]])):
                    if group is broken:
                        self.assertIsNotNone(answers[0], name)
                        self.assertIn(answers[0].status, (502, 504),
                                      (name, answers[0]))
                        continue
                    for answer in answers:
                        if answer and answer.status == 200 \
                           and group is passed:
                            self.assertIn(answer.body, (bad, b''), name)

            # the ERP is well again, and so is each of their keys
            self.raw.script = {}

            if group is not odd:
                for name in names:
                    answer = ask(b'/raw', name)
                    self.assertEqual((answer.status, answer.body),
                                     (200, GOOD), (name, answer))

            self.whole()

        # what was kept of the odd ones goes with a purge
        for name in odd:
            self.ask(b'/rawwrite', b'POST',
                     body=b'{"lines":[{"sku":"%s"}]}' % name.encode())
            answer = ask(b'/raw', name)
            self.assertEqual((answer.status, answer.body), (200, GOOD),
                             (name, answer))

    def test_erp_faults(self):
        def control(**what):
            self.erp_server.request('POST', '/__control', None, what)

        n = 0
        for fault in ('fail', 'truncate', 'malformed', 'lose', 'drop',
                      'gzip_next', 'nolength', 'hang'):
            for only in 'read', 'write':
                # a JSON text cut short is a whole answer to a cache
                control(**{'only': only, fault: -1,
                           'max_age': 0 if fault == 'malformed' else 5})
                for _ in range(3 if fault != 'hang' else 1):
                    n += 1
                    read = self.ask(b'/availability?sku=F%d' % n)
                    write = self.ask(
                        b'/orders', b'POST', body=b'{"order_id":"f%d",'
                        b'"customer":"c","lines":[{"sku":"F%d","location":'
                        b'"L1","quantity":1}]}' % (n, n),
                        headers=[b'Content-Type: application/json'])
                    if fault in ('truncate', 'drop', 'hang'):
                        hit = read if only == 'read' else write
                        self.assertTrue(hit is None or hit.status != 200
                                        or only == 'write', (fault, hit))
                control(**{'only': None, fault: 0})
                for m in range(1, n + 1):
                    answer = self.ask(b'/availability?sku=F%d' % m)
                    self.assertEqual(answer.status, 200, (fault, answer))
                    if answer.get(b'content-encoding') is None:
                        json.loads(answer.body)
        self.whole()


if __name__ == '__main__':
    unittest.main()
