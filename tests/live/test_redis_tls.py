"""TLS to Redis, with a real Redis that speaks it: what verifies works, and
what doesn't - the wrong CA, another server's certificate, none of ours, a
server without TLS - gets no call and not a byte of the password.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import threading
import unittest
import urllib.parse

import penstock

CONF = '''
    %%HTTP%%

    redis main {
        server %%REDIS%%;
        password_file redis.pass;
        timeout connect=5s command=5s;
        %%BLOCK%%
    }

    server {
        listen 127.0.0.1:%%PORT%%;
        client_max_body_size 32m;
        client_body_buffer_size 32m;

        location / { probe_redis main; }
        location /status { penstock_status; }
    }
'''

TLS = 'tls on; tls_trusted_certificate ca.crt; '
CLIENT = 'tls_certificate client.crt; tls_certificate_key client.key; '

# nginx writes some failures of a TLS handshake as [crit]
HANDSHAKE = r'\[crit\].*SSL_(do_handshake|read|write)\(\) failed'


def openssl(directory, *argv):
    return subprocess.run(('openssl',) + argv, cwd=directory, check=True,
                          stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT).stdout.decode()


def expired():
    """Options for a certificate of the past: OpenSSL 3.4 has dates, and
    takes no negative days any more."""

    if '-not_after' in openssl(None, 'x509', '-help'):
        return ('-not_before', '20200101000000Z',
                '-not_after', '20200102000000Z')
    return ('-days', '-1')


def authority(directory, name):
    openssl(directory, 'req', '-x509', '-newkey', 'ec', '-pkeyopt',
            'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
            '-subj', '/CN=' + name, '-keyout', name + '.key',
            '-out', name + '.crt')


def certificate(directory, name, ca, names='DNS:none.invalid',
                lifetime=('-days', '2')):
    openssl(directory, 'req', '-newkey', 'ec', '-pkeyopt',
            'ec_paramgen_curve:prime256v1', '-nodes', '-subj', '/CN=' + name,
            '-keyout', name + '.key', '-out', name + '.csr')
    with open(os.path.join(directory, name + '.ext'), 'w') as f:
        f.write('subjectAltName=%s\n' % names)
    openssl(directory, 'x509', '-req', '-in', name + '.csr', *lifetime,
            '-CA', ca + '.crt', '-CAkey', ca + '.key', '-CAcreateserial',
            '-extfile', name + '.ext', '-out', name + '.crt')


class Test(penstock.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.certs = tempfile.mkdtemp(prefix='penstock-')
        cls.addClassCleanup(shutil.rmtree, cls.certs, True)

        authority(cls.certs, 'ca')
        authority(cls.certs, 'stranger')
        certificate(cls.certs, 'server', 'ca',
                    'DNS:redis.internal,IP:127.0.0.1')
        certificate(cls.certs, 'elsewhere', 'ca', 'DNS:other.internal')
        certificate(cls.certs, 'expired', 'ca', 'IP:127.0.0.1', expired())
        certificate(cls.certs, 'client', 'ca')
        certificate(cls.certs, 'forged', 'stranger')

    def cert(self, name):
        return os.path.join(self.certs, name)

    def tls_redis(self, name='server', clients='no', *options):
        """A Redis with a TLS port besides the plain one for the test."""

        port = penstock.free_port()
        redis = self.redis(
            '--requirepass', 'sesame', '--tls-port', port,
            '--tls-cert-file', self.cert(name + '.crt'),
            '--tls-key-file', self.cert(name + '.key'),
            '--tls-ca-cert-file', self.cert('ca.crt'),
            '--tls-auth-clients', clients, *options)
        redis.tls_port = port
        redis.command('AUTH', 'sesame')
        return redis

    def gate(self, redis, block=TLS, http='', server=None, mine='client',
             password='sesame', **kw):
        if server is None:
            server = '127.0.0.1:%d' % redis.tls_port
        gw = penstock.Gateway(CONF, start=False, HTTP=http, BLOCK=block,
                              REDIS=server, module=penstock.PROBE_MODULE,
                              **kw)
        self.addCleanup(gw.teardown)
        gw.write('redis.pass', password + '\n')
        for name in os.listdir(self.certs):
            if name.endswith(('.crt', '.key')):
                shutil.copy(self.cert(name), gw.path(name))
        for kind in '.crt', '.key':
            shutil.copy(self.cert(mine + kind), gw.path('mine' + kind))
        gw.start()
        return gw

    def replace(self, gw, name, by):
        """As one should: newer versions of nginx keep what they have read of
        a file that is the same by inode and second."""

        shutil.copy(self.cert(by), gw.path(name + '.new'))
        os.replace(gw.path(name + '.new'), gw.path(name))

    def call(self, gw, *argv, body=None, **options):
        query = [('a', arg) for arg in argv] + list(options.items())
        r = gw.request('POST' if body is not None else 'GET',
                       '/?' + urllib.parse.urlencode(
                           query, quote_via=urllib.parse.quote), {}, body)
        self.assertEqual(r.status, 200, r)
        call = r.json()['calls'][0]
        return call['status'], call['reply']

    def until(self, gw, *argv):
        return penstock.wait_for(
            lambda: self.call(gw, *argv)[0] == 'ok',
            what='%r is answered' % (argv,), step=0.02)

    def metric(self, gw, name, *labels):
        total = 0
        for line in gw.get('/status?format=prometheus').text.splitlines():
            if line.startswith(name + '{') and all(x in line for x in labels):
                total += float(line.rsplit(' ', 1)[1])
        return total

    def refused(self, gw, pattern):
        """No call, no password, a line that says why, and a count."""

        self.assertNotEqual(self.call(gw, 'SET', 'k', 'v')[0], 'ok')
        gw.wait_log(r'\[error\].*' + pattern + r'.*redis "main" ')
        self.assertGreaterEqual(
            self.metric(gw, 'penstock_redis_errors_total', 'reason="tls"'), 1)
        self.assertNotIn('sesame', gw.log())

    # what verifies

    def test_works_by_ip_address(self):
        redis = self.tls_redis()
        gw = self.gate(redis)
        self.assertEqual(self.call(gw, 'SET', 'k', 'v'), ('ok', 'OK'))
        self.assertEqual(redis.command('GET', 'k'), 'v')
        self.assertEqual(
            self.metric(gw, 'penstock_redis_errors_total'), 0)

    def test_works_by_name(self):
        gw = self.gate(self.tls_redis('elsewhere'),
                       TLS + 'tls_name other.internal;')
        self.assertEqual(self.call(gw, 'PING'), ('ok', 'PONG'))

    def test_tls_1_2(self):
        redis = self.tls_redis('server', 'no', '--tls-protocols', 'TLSv1.2')
        gw = self.gate(redis)
        self.assertEqual(self.call(gw, 'PING'), ('ok', 'PONG'))
        self.reconnect(gw, redis)
        self.assertGreaterEqual(
            self.metric(gw, 'penstock_redis_tls_resumed_total'), 1)

    def test_large_values(self):
        """More than a TLS record and more than the socket takes at once."""

        redis = self.tls_redis()
        gw = self.gate(redis)
        redis.command('SET', 'big', 'x' * (6 << 20))
        self.assertEqual(self.call(gw, 'GET', 'big'),
                         ('ok', {'bytes': 6 << 20}))
        self.assertEqual(self.call(gw, 'ECHO', 'after'), ('ok', 'after'))

        echo = 'y' * (5 << 20)
        self.assertEqual(
            self.call(gw, 'SET', 'big', body=echo.encode())[0], 'ok')
        self.assertEqual(redis.command('GET', 'big'), echo)

    def test_client_certificate(self):
        gw = self.gate(self.tls_redis('server', 'yes'), TLS + CLIENT)
        self.assertEqual(self.call(gw, 'PING'), ('ok', 'PONG'))

    def reconnect(self, gw, redis):
        redis.command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
        self.until(gw, 'PING')

    def test_session_is_reused(self):
        redis = self.tls_redis()
        gw = self.gate(redis)
        self.assertEqual(self.call(gw, 'PING'), ('ok', 'PONG'))
        self.assertEqual(
            self.metric(gw, 'penstock_redis_tls_resumed_total'), 0)

        self.reconnect(gw, redis)
        self.assertEqual(
            self.metric(gw, 'penstock_redis_tls_resumed_total'), 1)

    # what doesn't

    def test_ca_that_is_not_trusted(self):
        gw = self.gate(self.tls_redis(),
                       'tls on; tls_trusted_certificate stranger.crt;')
        self.refused(gw, r'its certificate does not verify \(\d+: .*\), '
                         r'check "tls_trusted_certificate"')

    def test_expired(self):
        gw = self.gate(self.tls_redis('expired'))
        self.refused(gw, r'its certificate does not verify \(10: certificate '
                         r'has expired\)')

    def test_another_name(self):
        gw = self.gate(self.tls_redis(), TLS + 'tls_name other.internal;')
        self.refused(gw, r'its certificate is not one of "other\.internal", '
                         r'check "tls_name"')

    def test_another_address(self):
        gw = self.gate(self.tls_redis('elsewhere'))
        self.refused(gw, r'its certificate is not one of "127\.0\.0\.1"')

    def test_client_certificate_is_missing(self):
        gw = self.gate(self.tls_redis('server', 'yes'), allow=[HANDSHAKE])
        self.refused(gw, r'(it refused TLS, does it take our '
                         r'"tls_certificate"\?|the TLS handshake failed)')

    def test_client_certificate_of_a_stranger(self):
        gw = self.gate(
            self.tls_redis('server', 'yes'),
            TLS + 'tls_certificate forged.crt; '
                  'tls_certificate_key forged.key;', allow=[HANDSHAKE])
        self.refused(gw, r'(it refused TLS|the TLS handshake failed)')

    def test_no_plaintext_fallback(self):
        """A server without TLS: nothing but a ClientHello is sent."""

        seen = []
        listener = socket.create_server(('127.0.0.1', 0))
        self.addCleanup(listener.close)

        def serve():
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer:
                    peer.settimeout(penstock.DEADLINE)
                    try:
                        seen.append(peer.recv(65536))
                        peer.sendall(b'-ERR unknown command\r\n')
                        seen.append(peer.recv(65536))
                    except OSError:
                        pass

        threading.Thread(target=serve, daemon=True).start()

        gw = self.gate(None, server='127.0.0.1:%d'
                       % listener.getsockname()[1], allow=[HANDSHAKE])
        self.refused(gw, 'the TLS handshake failed')

        self.assertEqual(seen[0][:2], b'\x16\x03')
        for data in seen:
            self.assertNotIn(b'AUTH', data)
            self.assertNotIn(b'sesame', data)
            self.assertNotIn(data[:1], (b'*', b'$'))

    def test_plaintext_to_a_tls_port(self):
        gw = self.gate(self.tls_redis(), '')
        self.assertNotEqual(self.call(gw, 'PING')[0], 'ok')
        gw.wait_log(r'\[error\].*, redis "main" ')

    def test_silent_server(self):
        """The handshake belongs to connect=."""

        listener = socket.create_server(('127.0.0.1', 0))
        self.addCleanup(listener.close)
        conf = CONF.replace('connect=5s', 'connect=100ms')
        gw = penstock.Gateway(conf, start=False, HTTP='', BLOCK=TLS,
                              REDIS='127.0.0.1:%d'
                              % listener.getsockname()[1],
                              module=penstock.PROBE_MODULE)
        self.addCleanup(gw.teardown)
        gw.write('redis.pass', 'sesame')
        shutil.copy(self.cert('ca.crt'), gw.path('ca.crt'))
        gw.start()
        self.assertEqual(self.call(gw, 'PING'), ('down', None))
        gw.wait_log(r'\[error\].*no TLS handshake in time .*redis "main" ')

    # reload

    def test_reload_takes_new_files(self):
        redis = self.tls_redis()
        gw = self.gate(redis)
        self.assertEqual(self.call(gw, 'PING'), ('ok', 'PONG'))

        # a CA that vouches no more: the session kept counts for nothing
        self.replace(gw, 'ca.crt', 'stranger.crt')
        gw.reload()
        self.refused(gw, 'its certificate does not verify')

        # the right one again, and a password that was changed meanwhile
        redis.command('CONFIG', 'SET', 'requirepass', 'another')
        gw.write('redis.pass', 'another\n')
        self.replace(gw, 'ca.crt', 'ca.crt')
        gw.reload()
        self.assertEqual(self.call(gw, 'PING'), ('ok', 'PONG'))

    def test_reload_takes_a_new_client_certificate(self):
        gw = self.gate(self.tls_redis('server', 'yes'),
                       TLS + 'tls_certificate mine.crt; '
                             'tls_certificate_key mine.key;',
                       mine='forged', allow=[HANDSHAKE])
        self.refused(gw, r'(it refused TLS|the TLS handshake failed)')

        self.replace(gw, 'mine.crt', 'client.crt')
        self.replace(gw, 'mine.key', 'client.key')
        gw.reload()
        self.assertEqual(self.call(gw, 'PING'), ('ok', 'PONG'))

    def test_acl_user(self):
        """Another password of a user, by file and reload; what the user may
        not do is refused, and the connection stays."""

        redis = self.tls_redis()
        redis.command('ACL', 'SETUSER', 'gw', 'on', '>first', '~mine:*',
                      '+get', '+set', '+ping')
        gw = self.gate(redis, TLS + 'user gw;', password='first')
        self.assertEqual(self.call(gw, 'SET', 'mine:k', 'v'), ('ok', 'OK'))
        self.assertEqual(self.call(gw, 'SET', 'other', 'v')[0], 'refused')
        self.assertEqual(self.call(gw, 'GET', 'mine:k'), ('ok', 'v'))

        redis.command('ACL', 'SETUSER', 'gw', 'resetpass', '>second')
        gw.write('redis.pass', 'second\n')
        gw.reload()
        self.assertEqual(self.call(gw, 'GET', 'mine:k'), ('ok', 'v'))
        for password in 'first', 'second':
            self.assertNotIn(password, gw.log())


if __name__ == '__main__':
    unittest.main()
