"""The Redis client against a real server: what a call gets when the server
answers, refuses, is slow, stopped, killed, restarted, renamed or reloaded
around it, and that every answer goes to the call it belongs to.

The probe (tests/probe) makes the calls; see there for its query string.
"""

import os
import signal
import socket
import struct
import threading
import time
import unittest
import urllib.parse

import penstock

CONF = '''
    %%HTTP%%

    redis main {
        server %%REDIS%%;
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


class Dns:
    """Answers A queries for any name with .address, an empty answer when it
    is None; no AAAA."""

    def __init__(self, address):
        self.address = address
        self.queries = 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(('127.0.0.1', 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                query, peer = self.socket.recvfrom(512)
            except OSError:
                return

            if query == b'stop':
                return

            self.queries += 1
            end = query.index(b'\0', 12) + 5
            kind = struct.unpack('>H', query[end - 4:end - 2])[0]
            found = kind == 1 and self.address is not None

            answer = query[:2] + struct.pack(
                '>5H', 0x8180 if found or kind != 1 else 0x8183, 1, found,
                0, 0) + query[12:end]
            if found:
                answer += struct.pack('>3HIH', 0xc00c, 1, 1, 1, 4) \
                    + socket.inet_aton(self.address)

            self.socket.sendto(answer, peer)

    def teardown(self):
        self.socket.sendto(b'stop', self.socket.getsockname())
        self.thread.join(penstock.DEADLINE)
        self.socket.close()


class Test(penstock.TestCase):

    def gate(self, redis, http='', block='', **kw):
        kw.setdefault('HTTP', http)
        kw.setdefault('BLOCK', block)
        server = redis if isinstance(redis, str) \
            else '127.0.0.1:%d' % redis.port
        return self.gateway(CONF, module=penstock.PROBE_MODULE, REDIS=server,
                            **kw)

    def ask(self, gw, *argv, body=None, **options):
        """The probe's answer: a dict with up, took and calls."""

        query = [('a', arg) for arg in argv] + list(options.items())
        # + is no blank to nginx
        path = '/?' + urllib.parse.urlencode(
            query, quote_via=urllib.parse.quote)
        r = gw.request('POST' if body is not None else 'GET', path, {}, body)
        self.assertEqual(r.status, 200, r)
        return r.json()

    def call(self, gw, *argv, **options):
        """(status, reply) of one call."""

        call = self.ask(gw, *argv, **options)['calls'][0]
        return call['status'], call['reply']

    def until(self, gw, *argv, **options):
        """Calls until one is answered."""

        return penstock.wait_for(
            lambda: self.call(gw, *argv, **options)[0] == 'ok',
            what='%r is answered' % (argv,), step=0.02)

    # answers

    def test_replies(self):
        gw = self.gate(self.redis())

        for argv, status, reply in (
                (('PING',), 'ok', 'PONG'),
                (('SET', 'k', 'v'), 'ok', 'OK'),
                (('GET', 'k'), 'ok', 'v'),
                (('GET', 'none'), 'ok', None),
                (('SET', 'empty', ''), 'ok', 'OK'),
                (('GET', 'empty'), 'ok', ''),
                (('INCR', 'n'), 'ok', 1),
                (('LRANGE', 'none', '0', '-1'), 'ok', []),
                (('MGET', 'k', 'none', 'n'), 'ok', ['v', None, '1']),
                (('SET', 'a\r\nb', '$-1\r\n'), 'ok', 'OK'),
                (('GET', 'a\r\nb'), 'ok', '$-1\r\n')):
            self.assertEqual(self.call(gw, *argv), (status, reply), argv)

        status, reply = self.call(gw, 'INCR', 'k')
        self.assertEqual(status, 'refused')
        self.assertTrue(reply['error'].startswith('ERR value is not'))

        self.assertEqual(
            self.call(gw, eval='return {1,{"a",{{2}}},false}'),
            ('ok', [1, ['a', [[2]]], None]))

    def test_large_value(self):
        redis = self.redis()
        gw = self.gate(redis, block='timeout command=10s;')
        body = os.urandom(3 << 20)

        self.assertEqual(self.call(gw, 'SET', 'big', body=body),
                         ('ok', 'OK'))
        self.assertEqual(redis.command('GET', 'big'), body)
        self.assertEqual(self.call(gw, 'GET', 'big'),
                         ('ok', {'bytes': len(body)}))

    def test_reply_too_large(self):
        redis = self.redis()
        gw = self.gate(redis, block='max_reply 10k;')
        redis.command('SET', 'fits', 'x' * 10000)
        redis.command('SET', 'big', 'x' * 20000)

        answer = self.ask(gw, 'GET', 'fits', n=3)
        self.assertEqual([c['status'] for c in answer['calls']], ['ok'] * 3)
        self.assertEqual(self.call(gw, 'GET', 'big'), ('lost', None))
        gw.wait_log('string in reply is too large, redis "main"')
        self.until(gw, 'GET', 'fits')

    def test_order_under_load(self):
        redis = self.redis()
        gw = self.gate(redis, block='timeout command=10s;'
                                    'max_pending 100000;', workers=2)

        def many(name):
            answer = self.ask(gw, 'ECHO', name + '-%i', n=1250)
            self.assertEqual([c['reply'] for c in answer['calls']],
                             ['%s-%d' % (name, i) for i in range(1250)])

        for _ in range(3):
            penstock.together([lambda name=name: many(name)
                               for name in 'abcd'])

        # one connection a worker, and ours
        self.assertLessEqual(len(redis.command('CLIENT', 'LIST')
                                 .splitlines()), 3)

    def test_commands_leave_together(self):
        redis = self.redis()
        gw = self.gate(redis, block='timeout command=10s;')
        self.until(gw, 'PING')

        def reads():
            for line in redis.command('INFO', 'stats').splitlines():
                if line.startswith('total_reads_processed:'):
                    return int(line.split(':')[1])

        before = reads()
        self.ask(gw, 'ECHO', 'x', n=1000)

        # 24000 bytes; redis reads up to 16 KB at once
        self.assertLess(reads() - before, 10)

    def test_calls_from_handlers(self):
        redis = self.redis()
        gw = self.gate(redis, block='timeout command=10s;')

        self.ask(gw, 'INCR', 'n', n=20, again=50)
        self.assertEqual(redis.command('GET', 'n'), str(20 * 51))

    def test_max_pending(self):
        redis = self.redis()
        gw = self.gate(redis, block='max_pending 10;')

        self.until(gw, 'PING')
        statuses = [c['status'] for c in
                    self.ask(gw, 'INCR', 'n', n=15)['calls']]
        self.assertEqual(statuses, ['ok'] * 10 + ['declined'] * 5)
        self.assertEqual(redis.command('GET', 'n'), '10')

    def test_forget_and_cancel(self):
        redis = self.redis()
        gw = self.gate(redis)

        self.ask(gw, 'INCR', 'forgotten', n=7, forget=1)
        penstock.wait_for(lambda: redis.command('GET', 'forgotten') == '7')

        # cancelled in the turn they were made: never sent
        self.ask(gw, 'INCR', 'cancelled', n=7, cancel=0)
        self.assertEqual(self.call(gw, 'ECHO', 'x'), ('ok', 'x'))
        self.assertIsNone(redis.command('GET', 'cancelled'))

        # cancelled when they were sent: their replies go to nobody
        redis.command('CLIENT', 'PAUSE', '150')
        calls = self.ask(gw, 'ECHO', 'old', n=7, timeout=5000,
                         cancel=20)['calls']
        self.assertEqual([c['status'] for c in calls], ['cancelled'] * 7)
        self.assertEqual(self.call(gw, 'ECHO', 'new', timeout=5000),
                         ('ok', 'new'))

    def test_client_that_leaves(self):
        redis = self.redis()
        gw = self.gate(redis, block='timeout command=10s;')
        self.until(gw, 'PING')

        with socket.create_connection(('127.0.0.1', gw.port)) as s:
            s.sendall(b'GET /?a=BLPOP&a=q&a=0 HTTP/1.1\r\nHost: a\r\n\r\n')
            penstock.wait_for(lambda: 'cmd=blpop' in
                              redis.command('CLIENT', 'LIST'))

        gw.wait_log('client prematurely closed connection')
        redis.command('RPUSH', 'q', 'for nobody')
        self.assertEqual(self.call(gw, 'ECHO', 'mine'), ('ok', 'mine'))

    def test_counters(self):
        redis = self.redis('--enable-debug-command', 'yes')
        gw = self.gate(redis, workers=2)

        def counters():
            text = gw.get('/status', {'Accept': 'text/plain'}).text
            return {name.split('{')[0][len('penstock_redis_'):]
                    + ''.join(name.split('reason=')[1:]).strip('}'):
                    int(value)
                    for name, value in (line.rsplit(' ', 1) for line
                                        in text.splitlines()
                                        if line.startswith('penstock_redis')
                                        and 'redis="main"' in line)}

        zero = counters()
        self.assertEqual(set(zero.values()), {0})

        self.ask(gw, 'PING', n=7)
        self.ask(gw, 'NOPE', n=2)
        self.ask(gw, 'DEBUG', 'SLEEP', '0.2', n=1, timeout=20)
        self.until(gw, 'PING')
        redis.kill()
        redis.forget()
        penstock.wait_for(lambda: self.call(gw, 'PING')[0] == 'declined')

        now = counters()
        self.assertGreaterEqual(now['calls_total'], 11)
        self.assertEqual(now['errors_total"refused"'], 2)
        self.assertGreaterEqual(now['errors_total"lost"'], 1)
        self.assertGreaterEqual(now['errors_total"down"'], 1)
        self.assertEqual(now['errors_total"protocol"'], 0)
        self.assertGreaterEqual(now['connects_total'], 1)

        # a reload keeps them
        gw.reload()
        for name, value in counters().items():
            self.assertGreaterEqual(value, now[name], name)

    def test_unix_socket(self):
        redis = self.redis('--unixsocket', 'redis.sock')
        gw = self.gate('unix:' + redis.path('redis.sock'),
                       allow=[r'\[crit\].*connect\(\) to unix:'])
        self.assertEqual(self.call(gw, 'PING'), ('ok', 'PONG'))

        redis.kill()
        penstock.wait_for(lambda: self.call(gw, 'PING')[0] == 'declined')
        redis.restart()
        self.until(gw, 'PING')

    # scripts

    def test_script_flush(self):
        redis = self.redis()
        gw = self.gate(redis, block='timeout command=10s;')
        script = 'return redis.call("INCRBY", KEYS[1], ARGV[1])'

        for total in 60, 120:
            # all of them are told NOSCRIPT, each runs once
            redis.command('SCRIPT', 'FLUSH')
            calls = self.ask(gw, 'k', '3', n=20, eval=script,
                             nkeys=1)['calls']
            self.assertEqual([c['reply'] for c in calls],
                             list(range(total - 57, total + 1, 3)))

        stats = redis.command('INFO', 'commandstats')
        self.assertIn('cmdstat_eval:calls=40', stats)

        self.ask(gw, 'k', '3', n=20, eval=script, nkeys=1)
        self.assertIn('cmdstat_eval:calls=40',
                      redis.command('INFO', 'commandstats'))

        redis.command('SCRIPT', 'FLUSH')
        self.ask(gw, 'k', '3', n=5, eval=script, nkeys=1, forget=1)
        penstock.wait_for(lambda: redis.command('GET', 'k') == '195')

        redis.command('SCRIPT', 'FLUSH')
        self.ask(gw, 'k', '3', eval=script, nkeys=1, timeout=5000, cancel=0)
        self.assertEqual(self.call(gw, 'GET', 'k'), ('ok', '195'))

    def test_script_error(self):
        gw = self.gate(self.redis())
        status, reply = self.call(gw, eval='return redis.error_reply("NO")')
        self.assertEqual(status, 'refused')
        status, reply = self.call(gw, eval='this is no lua')
        self.assertEqual(status, 'refused')
        self.assertIn('compiling', reply['error'])

    # who we are

    def test_password(self):
        redis = self.redis('--requirepass', 'open sesame')
        gw = penstock.Gateway(CONF, start=False, HTTP='',
                              module=penstock.PROBE_MODULE,
                              REDIS='127.0.0.1:%d' % redis.port,
                              BLOCK='password_file redis.pass;')
        self.addCleanup(gw.teardown)
        gw.write('redis.pass', 'open sesame\n')
        gw.start()

        self.assertEqual(self.call(gw, 'PING'), ('ok', 'PONG'))
        self.assertEqual(self.call(gw, 'CLIENT', 'GETNAME'),
                         ('ok', 'penstock'))

        # de-authenticated, as by a rotation: said to calls, then mended
        self.assertEqual(self.call(gw, 'RESET'), ('ok', 'RESET'))
        status, reply = self.call(gw, 'PING')
        self.assertEqual((status, reply['error'][:6]), ('refused', 'NOAUTH'))
        self.until(gw, 'PING')

        gw.write('redis.pass', 'wrong secret')
        gw.reload()
        self.assertNotEqual(self.call(gw, 'PING')[0], 'ok')
        gw.wait_log(r'\[error\].*authentication failed, check "user" and '
                    r'"password_file" \(WRONGPASS\), redis "main"')
        self.assertNotIn('secret', gw.log())
        self.assertNotIn('sesame', gw.log())

    def test_password_rotation_under_load(self):
        """A user with two passwords for a while: the file is changed, nginx
        reloaded, the old one removed, and no call is lost."""

        redis = self.redis()
        redis.command('ACL', 'SETUSER', 'gw', 'on', '>old', '~*', '+@all')

        gw = penstock.Gateway(CONF, start=False, HTTP='', workers=2,
                              module=penstock.PROBE_MODULE,
                              REDIS='127.0.0.1:%d' % redis.port,
                              BLOCK='user gw; password_file redis.pass;'
                                    'timeout connect=5s command=5s;')
        self.addCleanup(gw.teardown)
        gw.write('redis.pass', 'old\n')
        gw.start()

        statuses = []
        over = threading.Event()

        def load():
            while not over.is_set():
                statuses.extend(call['status'] for call in
                                self.ask(gw, 'INCR', 'n', n=20)['calls'])

        def rotate():
            try:
                penstock.wait_for(lambda: len(statuses) > 500)
                before = gw.workers()
                redis.command('ACL', 'SETUSER', 'gw', '>new')
                gw.write('redis.pass', 'new\n')
                gw.reload()
                penstock.wait_for(lambda: not set(before)
                                  & set(gw.workers(old=True)),
                                  what='the old workers end')
                redis.command('ACL', 'SETUSER', 'gw', '<old')
                count = len(statuses)
                penstock.wait_for(lambda: len(statuses) > count + 500)
            finally:
                over.set()

        penstock.together([load, load, rotate])

        self.assertEqual(set(statuses), {'ok'})
        self.assertEqual(redis.command('GET', 'n'), str(len(statuses)))

        # the new one is what a new connection says
        redis.command('CLIENT', 'KILL', 'USER', 'gw')
        self.until(gw, 'PING')
        self.assertEqual(self.call(gw, 'ACL', 'WHOAMI'), ('ok', 'gw'))

    def test_password_is_missing(self):
        redis = self.redis('--requirepass', 'x')
        gw = self.gate(redis)
        self.assertEqual(self.call(gw, 'SET', 'a', 'b'), ('down', None))
        gw.wait_log(r'a password is needed, see "password_file" \(NOAUTH\)')
        self.assertEqual(self.call(gw, 'SET', 'a', 'b'), ('declined', None))

    def test_acl_user(self):
        redis = self.redis()
        redis.command('ACL', 'SETUSER', 'gw', 'on', '>pw', '~pen:*', '+get',
                      '+set', '+select')

        gw = penstock.Gateway(CONF, start=False, HTTP='',
                              module=penstock.PROBE_MODULE,
                              REDIS='127.0.0.1:%d' % redis.port,
                              BLOCK='user gw; password_file redis.pass;'
                                    'database 3;')
        self.addCleanup(gw.teardown)
        gw.write('redis.pass', 'pw\r\n')
        gw.start()

        # it may not even name its connection
        self.assertEqual(self.call(gw, 'SET', 'pen:a', '1'), ('ok', 'OK'))
        self.assertEqual(self.call(gw, 'SET', 'a', '1')[0], 'refused')
        self.assertEqual(self.call(gw, 'INCR', 'pen:a')[0], 'refused')

        redis.command('SELECT', '3')
        self.assertEqual(redis.command('GET', 'pen:a'), '1')

        # the server closes the connection of a user that is gone
        redis.command('ACL', 'DELUSER', 'gw')
        penstock.wait_for(lambda: self.call(gw, 'GET', 'pen:a')[0]
                          == 'declined')
        redis.command('ACL', 'SETUSER', 'gw', 'on', '>pw', '~*', '+@all')
        self.until(gw, 'GET', 'pen:a')

    def test_database_refused(self):
        redis = self.redis('--databases', '4')
        gw = self.gate(redis, block='database 7;')

        # nothing may land in another database
        self.assertEqual(self.call(gw, 'SET', 'a', 'b'), ('down', None))
        gw.wait_log(r'"database" was refused \(ERR\)')
        self.assertEqual(redis.command('DBSIZE'), 0)

    # faults

    def test_killed_and_restarted(self):
        redis = self.redis()
        gw = self.gate(redis, block='timeout command=2s;')
        self.until(gw, 'PING')

        def kill():
            penstock.wait_for(lambda: 'cmd=blpop' in
                              redis.command('CLIENT', 'LIST'))
            redis.kill()
            redis.forget()

        answer, _ = penstock.together(
            [lambda: self.ask(gw, 'BLPOP', 'q', '0', n=3), kill])
        self.assertEqual([c['status'] for c in answer['calls']],
                         ['lost'] * 3)

        # no request waits for a server that isn't there
        for _ in range(20):
            answer = self.ask(gw, 'PING')
            self.assertIn(answer['calls'][0]['status'], ('declined', 'down'))
            self.assertEqual(answer['up'], 0)
            self.assertLess(answer['took'], 1000)

        redis.restart()
        self.until(gw, 'PING')
        gw.wait_log('connected again')

    def test_handlers_that_call_when_it_is_gone(self):
        redis = self.redis()
        gw = self.gate(redis, block='timeout command=5s;')
        self.until(gw, 'PING')

        def kill():
            penstock.wait_for(lambda: 'cmd=blpop' in
                              redis.command('CLIENT', 'LIST'))
            redis.kill()
            redis.forget()

        answer, _ = penstock.together(
            [lambda: self.ask(gw, 'BLPOP', 'q', '0', n=30, again=2), kill])
        self.assertEqual({c['status'] for c in answer['calls']}, {'down'})

    def test_stopped(self):
        redis = self.redis()
        gw = self.gate(redis, block='timeout command=2s connect=5s;')
        ident = self.call(gw, 'CLIENT', 'ID')

        redis.freeze()
        answer = self.ask(gw, 'ECHO', 'old-%i', n=5, timeout=60)
        self.assertEqual([c['status'] for c in answer['calls']],
                         ['lost'] * 5)
        self.assertGreaterEqual(answer['took'], 60)
        redis.thaw()

        # the five late answers are consumed, in order, by nobody
        self.assertEqual(self.call(gw, 'ECHO', 'new'), ('ok', 'new'))
        self.assertEqual(self.call(gw, 'CLIENT', 'ID'), ident)

    def test_stopped_for_long(self):
        redis = self.redis()
        gw = self.gate(redis)
        self.until(gw, 'PING')

        redis.freeze()
        self.assertEqual(self.call(gw, 'SET', 'a', '1'), ('lost', None))
        gw.wait_log('no reply in time, redis "main"')
        self.assertEqual(self.ask(gw, 'PING')['up'], 0)
        gw.wait_log('no reply to the handshake')

        redis.thaw()
        self.until(gw, 'GET', 'a')

    def test_timeouts_of_different_length(self):
        redis = self.redis('--enable-debug-command', 'yes')
        gw = self.gate(redis, block='timeout command=300ms;')
        self.until(gw, 'PING')

        def slow():
            time.sleep(0.1)
            return self.call(gw, 'DEBUG', 'SLEEP', '0.4', timeout=5000)

        def wait(ms):
            time.sleep(0.2)
            answer = self.ask(gw, 'ECHO', str(ms), timeout=ms)
            return answer['calls'][0]['status'], answer['took']

        answers = penstock.together(
            [slow, lambda: wait(20), lambda: wait(4000), lambda: wait(100)])
        self.assertEqual([a[0] for a in answers],
                         ['ok', 'lost', 'ok', 'lost'])
        self.assertGreaterEqual(answers[1][1], 20)
        self.assertGreaterEqual(answers[3][1], 100)

    def test_loading(self):
        redis = self.redis('--enable-debug-command', 'yes')
        redis.command('DEBUG', 'POPULATE', '30000')
        redis.command('CONFIG', 'SET', 'key-load-delay', '-20')
        redis.command('CONFIG', 'SET', 'loading-process-events-interval-bytes',
                      '1024')
        gw = self.gate(redis, block='timeout command=1s;')
        self.until(gw, 'PING')

        def reload():
            try:
                redis.command('DEBUG', 'RELOAD')
            except OSError:
                pass

        thread = threading.Thread(target=reload, daemon=True)
        thread.start()
        seen = set()

        def check():
            for call in self.ask(gw, 'GET', 'a')['calls']:
                if call['status'] == 'refused':
                    seen.add(call['reply']['error'].split()[0])
                elif call['status'] == 'ok' and seen:
                    return True

        try:
            penstock.wait_for(check, what='loading begins and ends')
        finally:
            thread.join(penstock.DEADLINE)

        self.assertEqual(seen, {'LOADING'})
        gw.wait_log('it is loading its data, no calls for ')

    def test_server_closes_idle_connections(self):
        redis = self.redis()
        gw = self.gate(redis)
        self.until(gw, 'PING')

        for _ in range(5):
            redis.command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
            self.until(gw, 'PING')

        self.assertNotIn('[error]', gw.log())

    def test_read_only(self):
        redis = self.redis()
        gw = self.gate(redis, block='timeout command=5s;')
        ident = self.call(gw, 'CLIENT', 'ID')
        redis.command('REPLICAOF', '127.0.0.1', '1')

        def refused():
            status, reply = self.call(gw, 'SET', 'a', '1')
            self.assertEqual(status, 'refused')
            self.assertEqual(reply['error'].split()[0], 'READONLY')
            return 'it became read-only' in gw.log()

        # not at once: a server that is just so would be left each time
        penstock.wait_for(refused, step=0.2)
        self.until(gw, 'GET', 'a')
        self.assertNotEqual(self.call(gw, 'CLIENT', 'ID'), ident)

        redis.command('REPLICAOF', 'NO', 'ONE')
        self.assertEqual(self.call(gw, 'SET', 'a', '1'), ('ok', 'OK'))

    # names

    def test_resolver(self):
        a = self.redis()
        dns = Dns('127.0.0.1')
        self.addCleanup(dns.teardown)
        gw = self.gate('redis.test:%d' % a.port,
                       http='resolver 127.0.0.1:%d valid=1s ipv6=off;'
                            % dns.port)

        self.assertEqual(self.call(gw, 'SET', 'who', 'a'), ('ok', 'OK'))

        # gone, and then somewhere else
        dns.address = None
        a.kill()
        a.forget()
        penstock.wait_for(lambda: self.call(gw, 'PING')[0] == 'declined')
        gw.wait_log(r'"redis.test" could not be resolved .*, redis "main"')
        self.assertIn(self.call(gw, 'PING')[0], ('declined', 'down'))

        b = penstock.Redis('--bind', '127.0.0.2', port=a.port, start=False)
        self.addCleanup(b.teardown)
        b.spawn([penstock.REDIS, '--port', str(b.port), '--bind',
                 '127.0.0.2', '--save', '', '--dir', b.dir],
                lambda: 'Ready to accept' in b.read('output.log'))
        dns.address = '127.0.0.2'

        self.until(gw, 'PING')
        self.assertEqual(self.call(gw, 'GET', 'who'), ('ok', None))

    def test_resolver_ttl(self):
        """A name that leads elsewhere is followed when its TTL is over,
        though the old server still answers, and no call is lost by it."""

        a = self.redis('--bind', '127.0.0.1')
        b = penstock.Redis('--bind', '127.0.0.2', port=a.port, start=False)
        self.addCleanup(b.teardown)
        b.spawn([penstock.REDIS, '--port', str(b.port), '--bind',
                 '127.0.0.2', '--save', '', '--dir', b.dir],
                lambda: 'Ready to accept' in b.read('output.log'))

        dns = Dns('127.0.0.1')
        self.addCleanup(dns.teardown)
        gw = self.gate('redis.test:%d' % a.port,
                       block='timeout connect=5s command=5s;',
                       http='resolver 127.0.0.1:%d valid=1s ipv6=off;'
                            % dns.port)

        def who():
            return self.call(gw, 'CONFIG', 'GET', 'bind')[1][1]

        self.assertEqual(who(), '127.0.0.1')

        # looked up again and again, and it stays where it is
        queries = dns.queries
        penstock.wait_for(lambda: dns.queries >= queries + 2)
        self.assertEqual(self.metric(gw, 'connects_total'), 1)

        # not found: it stays, too
        dns.address = None
        gw.wait_log(r'\[warn\].*"redis\.test" could not be resolved again '
                    r'.*the connection stays.*, redis "main"')
        self.assertEqual(who(), '127.0.0.1')
        self.assertEqual(self.metric(gw, 'connects_total'), 1)

        # elsewhere, with a call on its way, which the old server answers,
        # and calls made meanwhile, which the new one does
        moving = r'its name leads to another address, moving there'
        late = []

        def blocked():
            return self.call(gw, 'BLPOP', 'q', '0', timeout=20000)

        def meanwhile():
            penstock.wait_for(lambda: b'blocked_clients:1' in
                              a.command('INFO', 'clients').encode())
            dns.address = '127.0.0.2'
            gw.wait_log(moving)

            ask = threading.Thread(target=lambda: late.extend(
                self.ask(gw, 'CONFIG', 'GET', 'bind', n=20)['calls']),
                daemon=True)
            calls = self.metric(gw, 'calls_total')
            ask.start()
            penstock.wait_for(
                lambda: self.metric(gw, 'calls_total') == calls + 20)
            a.command('RPUSH', 'q', 'x')
            ask.join(penstock.DEADLINE)

        self.assertEqual(penstock.together([blocked, meanwhile])[0],
                         ('ok', ['q', 'x']))
        self.assertEqual([(call['status'], call['reply'][1])
                          for call in late], [('ok', '127.0.0.2')] * 20)
        gw.wait_log(r'\[notice\].*' + moving + r', redis "main"')
        self.assertEqual(self.metric(gw, 'connects_total'), 2)

    def metric(self, gw, name):
        text = gw.get('/status?format=prometheus').text
        return int(text.split('penstock_redis_%s{redis="main"} ' % name)
                   [1].split()[0])

    def test_resolver_is_silent(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.bind(('127.0.0.1', 0))
            gw = self.gate('redis.test:6379', workers=2,
                           http='resolver 127.0.0.1:%d ipv6=off;'
                                % s.getsockname()[1])

            answer = self.ask(gw, 'PING')
            self.assertEqual(answer['calls'][0]['status'], 'down')
            gw.wait_log('could not be resolved|not connected in time')

            before = gw.workers()
            gw.reload()
            penstock.wait_for(lambda: not set(before)
                              & set(gw.workers(old=True)),
                              what='the old workers end')

    def test_name_without_resolver(self):
        redis = self.redis()
        gw = self.gate('localhost:%d' % redis.port)
        # localhost may be ::1 first; the second attempt takes the other
        self.until(gw, 'PING')

        ok, output = self.check(CONF, module=penstock.PROBE_MODULE,
                                REDIS='no-such-host.invalid', HTTP='',
                                BLOCK='')
        self.assertFalse(ok)
        self.assertIn('host not found in server "no-such-host.invalid" of '
                      'redis "main", define a "resolver"', output)

    # reload

    def test_reload_with_calls_in_flight(self):
        redis = self.redis()
        gw = self.gate(redis, workers=2)
        self.until(gw, 'PING')

        def reload():
            penstock.wait_for(lambda: redis.command('CLIENT', 'LIST')
                              .count('cmd=blpop') >= 1)
            before = gw.workers()
            gw.reload()
            self.until(gw, 'PING')
            for _ in range(4):
                redis.command('RPUSH', 'q', 'x')
            return before

        answers = penstock.together(
            [lambda: self.call(gw, 'BLPOP', 'q', '0', timeout=15000)] * 4
            + [reload])
        self.assertEqual(answers[:4], [('ok', ['q', 'x'])] * 4)
        penstock.wait_for(lambda: not set(answers[4])
                          & set(gw.workers(old=True)),
                          what='the old workers end')

    def test_reload_when_idle_or_down(self):
        redis = self.redis()
        gw = self.gate(redis, workers=2)

        for _ in range(2):
            for _ in range(4):
                self.call(gw, 'PING')

            before = gw.workers()
            gw.reload()
            penstock.wait_for(lambda: not set(before)
                              & set(gw.workers(old=True)),
                              what='the old workers end')
            redis.kill()
            redis.forget()

        redis.start()
        self.until(gw, 'PING')

    def test_shutdown_timeout(self):
        redis = self.redis()
        gw = self.gate(redis, main='worker_shutdown_timeout 300ms;')
        self.until(gw, 'PING')

        with socket.create_connection(('127.0.0.1', gw.port)) as s:
            s.sendall(b'GET /?timeout=600000&a=BLPOP&a=q&a=0 HTTP/1.1\r\n'
                      b'Host: a\r\n\r\n')
            penstock.wait_for(lambda: 'cmd=blpop' in
                              redis.command('CLIENT', 'LIST'))
            before = gw.workers()
            gw.reload()
            penstock.wait_for(lambda: before[0] not in gw.workers(old=True),
                              what='the old worker ends')

        self.until(gw, 'PING')

    def test_terminate_with_a_call(self):
        redis = self.redis()
        gw = self.gate(redis)
        self.until(gw, 'PING')

        with socket.create_connection(('127.0.0.1', gw.port)) as s:
            s.sendall(b'GET /?timeout=600000&a=BLPOP&a=q&a=0&again=3 '
                      b'HTTP/1.1\r\nHost: a\r\n\r\n')
            penstock.wait_for(lambda: 'cmd=blpop' in
                              redis.command('CLIENT', 'LIST'))
            gw.stop(signal.SIGTERM)

        self.assertEqual(gw.process.returncode, 0)

    def test_one_process(self):
        redis = self.redis()
        gw = self.gate(redis, main='master_process off;', workers=0)

        self.assertEqual(self.call(gw, 'PING'), ('ok', 'PONG'))
        gw.stop(signal.SIGQUIT)
        self.assertEqual(gw.process.returncode, 0)

    def test_quit_with_a_call(self):
        redis = self.redis()
        gw = self.gate(redis)
        self.until(gw, 'PING')

        def stop():
            penstock.wait_for(lambda: 'cmd=blpop' in
                              redis.command('CLIENT', 'LIST'))
            gw.signal(signal.SIGQUIT)
            time.sleep(0.2)
            redis.command('RPUSH', 'q', 'x')

        # answered, and what the request asks next is answered too
        answer, _ = penstock.together(
            [lambda: self.call(gw, 'BLPOP', 'q', '1', again=1,
                               timeout=15000), stop])
        self.assertEqual(answer, ('ok', None))
        gw.process.wait(penstock.DEADLINE)
        self.assertEqual(gw.process.returncode, 0)


if __name__ == '__main__':
    unittest.main()
