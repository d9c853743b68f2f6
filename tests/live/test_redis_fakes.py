"""The Redis client against servers that misbehave: replies that are absurd,
cut, late, too many or never come; sockets that nobody reads.  Whatever they
do, each call ends once, in time, as what it is, and the next connection is a
clean one.
"""

import os
import socket
import threading
import time
import unittest
import urllib.parse

import penstock

CONF = '''
    redis main {
        server 127.0.0.1:%%REDIS%%;
        %%BLOCK%%
    }

    server {
        listen 127.0.0.1:%%PORT%%;
        client_max_body_size 32m;
        client_body_buffer_size 32m;

        location / { probe_redis main; }
    }
'''


class Fake:
    """answer(fake, s, argv) is called for each command but the handshake's
    and returns what to send, or None; it may close s.  Commands are kept in
    .commands, sockets in .connections."""

    def __init__(self, answer, handshake=b'+OK\r\n', read=True):
        self.answer = answer
        self.handshake = handshake
        self.read = read
        self.commands = []
        self.connections = []
        self.socket = socket.create_server(('127.0.0.1', 0), backlog=64)
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                s, _ = self.socket.accept()
            except OSError:
                return
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections.append(s)
            threading.Thread(target=self.serve, args=(s,),
                             daemon=True).start()

    def serve(self, s):
        try:
            for argv in penstock.commands(s):
                if argv[0] == b'CLIENT':
                    reply = self.handshake
                    if not self.read:
                        s.sendall(reply)
                        return
                else:
                    self.commands.append(argv)
                    reply = self.answer(self, s, argv)

                if reply is not None:
                    s.sendall(reply)
        except (OSError, ValueError):
            pass

    def waiting(self):
        """Whether bytes have come that nobody has read."""

        for s in self.connections:
            try:
                if s.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                    return True
            except OSError:
                pass
        return False

    def teardown(self):
        self.socket.close()
        for s in self.connections:
            s.close()


class Test(penstock.TestCase):

    def fake(self, *args, block='', **kw):
        fake = Fake(*args, **kw)
        self.addCleanup(fake.teardown)
        gw = self.gateway(CONF, module=penstock.PROBE_MODULE,
                          REDIS=fake.port, BLOCK=block)
        return fake, gw

    def ask(self, gw, *argv, body=None, **options):
        query = [('a', arg) for arg in argv] + list(options.items())
        path = '/?' + urllib.parse.urlencode(
            query, quote_via=urllib.parse.quote)
        r = gw.request('POST' if body is not None else 'GET', path, {}, body)
        self.assertEqual(r.status, 200, r)
        answer = r.json()
        answer['statuses'] = [c['status'] for c in answer['calls']]
        answer['replies'] = [c['reply'] for c in answer['calls']]
        return answer

    def test_byte_by_byte(self):
        def answer(fake, s, argv):
            for byte in (b'*4\r\n$5\r\nhe\r\nl\r\n*-1\r\n*2\r\n:-7\r\n'
                         b'-ERR in it\r\n+fin\r\n'):
                s.sendall(bytes([byte]))
                time.sleep(0.001)

        fake, gw = self.fake(answer, block='timeout command=10s;')
        answer = self.ask(gw, 'X', n=3)
        self.assertEqual(answer['replies'],
                         [['he\r\nl', None, [-7, {'error': 'ERR in it'}],
                           'fin']] * 3)

    def test_absurd_replies(self):
        absurd = {
            b'http': (b'HTTP/1.1 200 OK\r\n\r\n', 'unknown reply type'),
            b'huge': (b'$999999999999\r\n', 'string in reply is too large'),
            b'many': (b'*2\r\n*262140\r\n*9\r\n',
                      'too many elements in reply'),
            b'billion': (b'*1000000000\r\n', 'too many elements in reply'),
            b'deep': (b'*1\r\n' * 1000, 'reply is nested too deep'),
            b'line': (b'+' + b'x' * 100000 + b'\r\n',
                      'reply line is too long'),
            b'endless': (b'-' + b'x' * 20000000, 'reply line is too long'),
            b'total': (b'*9\r\n' + (b'$1000000\r\n' + b'x' * 1000000
                                    + b'\r\n') * 9, 'reply is too large'),
            b'number': (b':99999999999999999999\r\n',
                        'number in reply is out of range'),
            b'short': (b'$3\r\nabcdef\r\n', 'string does not end with CR LF'),
            b'nul': (b'\0' * 100, 'unknown reply type')
        }

        def answer(fake, s, argv):
            if argv[0] in absurd:
                return absurd[argv[0]][0]
            return b'+' + argv[-1] + b'\r\n'

        for n, (name, (_, error)) in enumerate(absurd.items()):

            if n % 3 == 0:
                # else the back-off grows with each of them
                fake, gw = self.fake(answer, block='timeout command=5s;')

            def fine():
                a = self.ask(gw, 'ECHO', name.decode())
                return a['statuses'] == ['ok'] \
                    and a['replies'] == [name.decode()]

            penstock.wait_for(fine, what='an answer before ' + str(name))

            answers = self.ask(gw, name.decode(), n=3)
            self.assertEqual(answers['statuses'], ['lost'] * 3, name)
            self.assertLess(answers['took'], 4000, name)
            gw.wait_log(error + ', redis "main"')

            # the probe and nginx take some 10 MB, a promise kept the rest
            with open('/proc/%d/status' % gw.workers()[0]) as f:
                peak = [line for line in f if line.startswith('VmHWM')][0]
            if os.environ.get('PENSTOCK_KIND') != 'asan':
                self.assertLess(int(peak.split()[1]), 100000, name)

    def test_one_reply_too_many(self):
        fake, gw = self.fake(lambda fake, s, argv: b'+one\r\n+two\r\n',
                             block='timeout command=5s;')
        answer = self.ask(gw, 'X')
        self.assertEqual(answer['replies'], ['one'])
        gw.wait_log('a reply to no command, redis "main"')

        # two were asked, both got the first one's: nothing shifts unseen,
        # the connection does not survive it
        penstock.wait_for(lambda: self.ask(gw, 'X')['statuses'] == ['ok'])
        self.assertGreater(len(fake.connections), 1)

    def test_cut_reply(self):
        def answer(fake, s, argv):
            if len(fake.commands) == 2:
                s.sendall(b'$10\r\nabc')
                s.shutdown(socket.SHUT_RDWR)
                return None
            return b'+first\r\n' if len(fake.commands) == 1 else b'+new\r\n'

        fake, gw = self.fake(answer, block='timeout command=5s;')
        answer = self.ask(gw, 'X', n=4)
        self.assertEqual(answer['statuses'], ['ok'] + ['lost'] * 3)
        gw.wait_log('it closed the connection, redis "main"')
        penstock.wait_for(lambda: self.ask(gw, 'X')['replies'] == ['new'])

    def test_reply_and_close(self):
        def answer(fake, s, argv):
            s.sendall(b'+last\r\n')
            s.shutdown(socket.SHUT_RDWR)

        fake, gw = self.fake(answer, block='timeout command=5s;')

        for n in range(1, 6):
            penstock.wait_for(lambda: self.ask(gw, 'X')['replies']
                              == ['last'])
            # what is sent before it has seen the end is lost, rightly
            penstock.wait_for(lambda: gw.log().count(
                'closed an idle connection') >= n)

        self.assertNotIn('[error]', gw.log())

    def test_nobody_answers_the_handshake(self):
        fake, gw = self.fake(lambda *args: b'+OK\r\n', handshake=None,
                             block='timeout connect=300ms command=100ms;')

        # waits for its own time, not for that of the connection
        answer = self.ask(gw, 'X', n=5)
        self.assertEqual(answer['statuses'], ['down'] * 5)
        self.assertGreaterEqual(answer['took'], 99)
        self.assertLess(answer['took'], 290)

        answer = self.ask(gw, 'X', n=5, timeout=5000)
        self.assertEqual(answer['statuses'], ['down'] * 5)
        self.assertLess(answer['took'], 3000)

        gw.wait_log(r'no reply to the handshake \(110: .*\), redis "main"')
        answer = self.ask(gw, 'X')
        self.assertEqual(answer['statuses'], ['declined'])

        # what was down was never sent
        fake.handshake = b'+OK\r\n'
        penstock.wait_for(lambda: self.ask(gw, 'Y')['statuses'] == ['ok'])
        self.assertEqual({argv[0] for argv in fake.commands}, {b'Y'})

    def test_nobody_reads(self):
        fake, gw = self.fake(lambda *args: b'+OK\r\n', read=False,
                             block='timeout command=1s;')
        big = b'x' * (8 << 20)

        answers = penstock.together(
            [lambda: self.ask(gw, 'SET', 'k', body=big),
             lambda: penstock.wait_for(fake.waiting)
                     and self.ask(gw, 'BEHIND', n=3)])

        # some bytes of the first have left, none of those behind it
        self.assertEqual(answers[0]['statuses'], ['lost'])
        self.assertEqual(answers[1]['statuses'], ['down'] * 3)

        # it can't be given up half way: the connection goes
        gw.wait_log('no reply in time, redis "main"')
        fake.read = True
        penstock.wait_for(lambda: self.ask(gw, 'Y')['statuses'] == ['ok'])
        self.assertEqual({argv[0] for argv in fake.commands}, {b'Y'})

    def test_back_off(self):
        def answer(fake, s, argv):
            s.shutdown(socket.SHUT_RDWR)

        fake, gw = self.fake(answer, block='timeout command=5s;')
        start = time.monotonic()

        while time.monotonic() < start + 2:
            self.ask(gw, 'X')
            time.sleep(0.005)

        # 25, 50, 100, 200, 400, 800 ms at the least
        self.assertLess(len(fake.connections), 9)
        self.assertLess(gw.log().count('[error]'), 9)

    def test_unknown_script_again(self):
        fake, gw = self.fake(
            lambda fake, s, argv: b'-NOSCRIPT No matching script.\r\n',
            block='timeout command=5s;')
        answer = self.ask(gw, eval='return 1', n=2)
        self.assertEqual(answer['statuses'], ['refused'] * 2)
        self.assertEqual([argv[0] for argv in fake.commands],
                         [b'EVALSHA'] * 2 + [b'EVAL'] * 2)

    def test_slow_but_alive(self):
        def answer(fake, s, argv):
            # late each time, but never silent for three timeouts
            for byte in b'+slow\r\n':
                time.sleep(0.1)
                s.sendall(bytes([byte]))

        fake, gw = self.fake(answer, block='timeout command=100ms;')
        answers = penstock.together(
            [lambda: self.ask(gw, 'X'),
             lambda: self.ask(gw, 'X', timeout=10000)])
        self.assertEqual([a['statuses'] for a in answers],
                         [['lost'], ['ok']])
        self.assertEqual(len(fake.connections), 1)


if __name__ == '__main__':
    unittest.main()
