"""Nodes of a Redis Cluster that follow a script: what they redirect arrives,
once and behind ASKING where that is due; what they say without an end, or
that makes no sense, ends as a refusal, in time; and the next call is fine.
"""

import os
import socket
import time
import unittest

import penstock
import test_redis_fakes
from test_redis_fakes import Fake

SLOT = 12182        # of "foo"

CONF = '''
    redis main {
        mode cluster;
        server 127.0.0.1:%%NODE%%;
        %%BLOCK%%
    }

    server {
        listen 127.0.0.1:%%PORT%%;
        location / { probe_redis main; }
    }
'''


def bulk(text):
    return b'$%d\r\n%s\r\n' % (len(text), text)


def ok(node, argv):
    return bulk(b'%d' % node.number)


class Node(Fake):
    """script(node, argv) makes the answer; CLUSTER SLOTS is apart and counted
    in .asked.  Nodes are numbered as they are made."""

    def __init__(self, number, script, slots):
        self.number = number
        self.script = script
        self.slots = slots
        self.asked = 0
        super().__init__(lambda fake, s, argv: self.reply(s, argv))

    def reply(self, s, argv):
        if argv[0] == b'CLUSTER':
            self.commands.remove(argv)
            self.asked += 1
            return self.slots()
        if argv[0] == b'ASKING':
            return b'+OK\r\n'
        answer = self.script(self, argv)
        if answer is False:
            s.shutdown(socket.SHUT_RDWR)
            return None
        return answer

    @property
    def names(self):
        return [argv[0].decode() for argv in self.commands]


class Test(penstock.TestCase):

    ask = test_redis_fakes.Test.ask

    def nodes(self, *scripts, block='timeout command=5s;', slots=None):
        """All slots are the first one's, unless slots() says otherwise."""

        self.owner = 0
        self.table = slots or (lambda: (
            b'*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n' + bulk(b'127.0.0.1')
            + b':%d\r\n' % self.node[self.owner].port + bulk(b'id')))
        self.node = [Node(n, script, lambda: self.table())
                     for n, script in enumerate(scripts)]
        for node in self.node:
            self.addCleanup(node.teardown)
        self.gw = self.gateway(CONF, module=penstock.PROBE_MODULE,
                               NODE=self.node[0].port, BLOCK=block)

        # the table is there before the script begins
        self.ask(self.gw, 'PING')
        penstock.wait_for(lambda: self.node[0].asked, what='CLUSTER SLOTS')
        if slots is None:
            self.get(key='warm')
        for node in self.node:
            node.commands.clear()
        return self.node

    def get(self, key='foo', **kw):
        return self.ask(self.gw, 'GET', key, **kw)

    def to(self, n, word='MOVED', slot=SLOT):
        return b'-%s %d 127.0.0.1:%d\r\n' % (word.encode(), slot,
                                             self.node[n].port)

    def scripted(self, script):
        """For GET foo; all else is answered."""

        return lambda node, argv: script(node, argv) \
            if argv[-1] == b'foo' or argv[0].startswith(b'EVAL') \
            else ok(node, argv)

    def test_moved(self):
        def first(node, argv):
            return self.to(1)

        a, b = self.nodes(self.scripted(first), ok)
        self.owner = 1
        answer = self.get(n=5)
        self.assertEqual(answer['replies'], ['1'] * 5)
        self.assertEqual([len(a.commands), len(b.commands)], [5, 5])

        # known from the first on, and soon for all slots
        self.assertEqual(self.get()['replies'], ['1'])
        self.assertEqual(len(a.commands), 5)
        penstock.wait_for(lambda: self.get('bar')['replies'] == ['1'])

    def test_ask(self):
        a, b = self.nodes(self.scripted(lambda *_: self.to(1, 'ASK')), ok)
        self.assertEqual(self.get(n=3)['replies'], ['1'] * 3)
        self.assertEqual(b.names, ['ASKING', 'GET'] * 3)

        # for these only: the slot is still the first one's
        self.assertEqual(self.get('bar')['replies'], ['0'])
        self.get()
        self.assertEqual(len(a.commands), 5)
        self.assertEqual(b.names, ['ASKING', 'GET'] * 4)

    def test_ask_and_the_script_is_not_there(self):
        def second(node, argv):
            return b'-NOSCRIPT No matching script.\r\n' \
                if argv[0] == b'EVALSHA' else ok(node, argv)

        a, b = self.nodes(self.scripted(lambda *_: self.to(1, 'ASK')), second)
        answer = self.ask(self.gw, 'foo', eval='return 1', nkeys=1)
        self.assertEqual(answer['replies'], ['1'])
        self.assertEqual(a.names, ['EVALSHA'])
        self.assertEqual(b.names, ['ASKING', 'EVALSHA', 'ASKING', 'EVAL'])

    def test_ask_then_moved(self):
        """The slot arrived before the command did, or did not come."""

        a, b = self.nodes(
            self.scripted(lambda node, argv: self.to(1, 'ASK')
                          if len(node.commands) == 1 else ok(node, argv)),
            lambda *_: self.to(0))
        self.assertEqual(self.get()['replies'], ['0'])
        self.assertEqual(a.names, ['GET', 'GET'])
        self.assertEqual(b.names, ['ASKING', 'GET'])

    def test_try_again(self):
        for word in b'TRYAGAIN Multiple keys', b'CLUSTERDOWN Hash slot':
            def first(node, argv):
                return b'-' + word + b'\r\n' if len(node.commands) < 4 \
                    else ok(node, argv)

            a, = self.nodes(self.scripted(first))
            answer = self.get()
            self.assertEqual(answer['replies'], ['0'])
            self.assertEqual(len(a.commands), 4)

            # 10, 20, 40 ms
            self.assertGreaterEqual(answer['took'], 65)
            self.gw.stop()

    def test_try_again_without_end(self):
        a, = self.nodes(self.scripted(lambda *_: b'-TRYAGAIN later\r\n'))
        answer = self.get(n=2)
        self.assertEqual(answer['statuses'], ['refused'] * 2)
        self.assertEqual(answer['replies'],
                         [{'error': 'TRYAGAIN later'}] * 2)
        self.assertEqual(len(a.commands), 2 * 6)

        # others are not held up
        self.assertEqual(self.get('bar')['statuses'], ['ok'])

        # and nobody waits for longer than his time
        a.commands.clear()
        answer = self.get(timeout=100)
        self.assertEqual(answer['statuses'], ['down'])
        self.assertLess(answer['took'], 300)

        # it asks for the slots meanwhile, at most twice a second
        asked, start = a.asked, time.monotonic()
        while time.monotonic() < start + 1.2:
            self.get(timeout=50)
        self.assertLessEqual(a.asked - asked, 3)
        self.assertGreaterEqual(a.asked - asked, 1)

    def test_moved_without_end(self):
        a, b = self.nodes(self.scripted(lambda *_: self.to(1)),
                          self.scripted(lambda *_: self.to(0)))
        answer = self.get()
        self.assertEqual(answer['statuses'], ['refused'])
        self.assertIn('MOVED', answer['replies'][0]['error'])
        self.assertEqual(len(a.commands) + len(b.commands), 6)
        self.assertLess(answer['took'], 1000)

        for word in 'MOVED', 'ASK':
            a.script = self.scripted(lambda *_: self.to(0, word))
            b.script = a.script
            penstock.wait_for(lambda: self.get('bar')['replies'] == ['0'])
            a.commands.clear()
            self.assertEqual(self.get()['statuses'], ['refused'])
            self.assertEqual(a.names.count('GET'), 6)

    def test_garbage(self):
        a, b = self.nodes(self.scripted(lambda *_: garbage), ok)
        port = b.port

        for garbage in (b'MOVED', b'MOVED ', b'MOVED 1', b'MOVED  1 a:1',
                        b'MOVED -1 127.0.0.1:%d' % port,
                        b'MOVED 16384 127.0.0.1:%d' % port,
                        b'MOVED 99999999999999999999 127.0.0.1:%d' % port,
                        b'MOVED 1 127.0.0.1:0', b'MOVED 1 127.0.0.1:65536',
                        b'MOVED 1 127.0.0.1', b'MOVED 1 ?:%d' % port,
                        b'MOVED 1 a b:1', b'MOVED 1 a/b:1',
                        b'MOVED 1 \0\0:1', b'MOVED 1 \xff:1',
                        b'MOVED 1 no.such.name.example:%d' % port,
                        b'MOVED 1 999.1.1.1:%d' % port,
                        b'MOVED 1 ' + b'a' * 300 + b':1',
                        b'ASK 1', b'ASK 1 127.0.0.1:', b'ASK x y:1',
                        b'ASKING 1 127.0.0.1:%d' % port, b'TRYAGAI', b''):
            garbage = b'-' + garbage + b'\r\n'
            a.commands.clear()
            answer = self.get()
            self.assertEqual(answer['statuses'], ['refused'], garbage)
            self.assertEqual(len(a.commands), 1, garbage)
            self.assertEqual(self.get('bar')['replies'], ['0'], garbage)

        self.assertEqual(b.commands, [])

    def test_moved_to_nobody(self):
        dead = penstock.free_port()
        a, = self.nodes(self.scripted(
            lambda *_: b'-MOVED %d 127.0.0.1:%d\r\n' % (SLOT, dead)))
        self.assertEqual(self.get()['statuses'], ['down'])

        # the slots tell that it was not true
        a.script = ok
        penstock.wait_for(lambda: self.get()['statuses'] == ['ok'])

    def test_lost_behind_a_redirection(self):
        """Where it went it may have been carried out: not a third time."""

        a, b = self.nodes(self.scripted(lambda *_: self.to(1)),
                          lambda *_: False)
        self.assertEqual(self.get()['statuses'], ['lost'])
        self.assertEqual([len(a.commands), len(b.commands)], [1, 1])

    def test_nobody_waits_for_it(self):
        def first(node, argv):
            time.sleep(0.3)
            return self.to(1)

        a, b = self.nodes(self.scripted(first), ok)
        self.assertEqual(self.get(timeout=100)['statuses'], ['lost'])
        penstock.wait_for(lambda: self.get('bar')['replies'] == ['0'])
        self.assertEqual(b.commands, [])

    def test_odd_tables(self):
        whole = b'*3\r\n:0\r\n:16383\r\n*2\r\n' + bulk(b'127.0.0.1')
        odd = [b'+OK\r\n', b'$-1\r\n', b'*-1\r\n', b'*0\r\n', b':1\r\n',
               b'-ERR This instance has cluster support disabled\r\n',
               b'*1\r\n*3\r\n:0\r\n:1\r\n*0\r\n',
               b'*1\r\n' + whole + b':0\r\n',
               b'*1\r\n' + whole + b':70000\r\n',
               b'*1\r\n*3\r\n:0\r\n:99999\r\n*2\r\n$1\r\na\r\n:1\r\n',
               b'*1\r\n*3\r\n:9\r\n:1\r\n*2\r\n$1\r\na\r\n:1\r\n',
               b'*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$1\r\n?\r\n:1\r\n']
        tables = iter(odd)
        told = []

        def slots():
            told.append(next(tables, None))
            return told[-1] or (b'*1\r\n' + whole
                                + b':%d\r\n' % self.node[1].port)

        # it answers what it is asked, though the table knows nobody
        a, b = self.nodes(ok, ok, slots=slots)

        def all_told():
            self.assertEqual(self.get()['statuses'], ['ok'])
            a.commands.clear()

            # a refusal is not asked about again, but by what is redirected
            a.script = lambda *_: self.to(0)
            self.get(key='x', timeout=20)
            a.script = ok
            return None in told

        penstock.wait_for(all_told, step=0.1)
        penstock.wait_for(lambda: self.get()['replies'] == ['1'])

    def test_slots_again_and_again(self):
        """A reply that names all slots thousands of times costs no more
        than one that does once."""

        n = 40000
        a, b = self.nodes(ok, ok)
        once = b'*3\r\n:0\r\n:16383\r\n*2\r\n' + bulk(b'127.0.0.1') \
            + b':%d\r\n' % b.port
        self.table = lambda: b'*%d\r\n' % n + once * n
        a.script = self.scripted(lambda node, argv: self.to(0)
                                 if len(node.commands) < 2
                                 else ok(node, argv))
        asked = a.asked + b.asked
        self.get()
        penstock.wait_for(lambda: a.asked + b.asked > asked)
        penstock.wait_for(lambda: self.get('bar')['replies'] == ['1'])

        with open('/proc/%d/stat' % self.gw.workers()[0]) as f:
            used = sum(int(x) for x in f.read().split()[13:15]) / 100
        print('\n%.2f s of CPU' % used)
        self.assertLess(used, 2 if os.environ.get('PENSTOCK_KIND') == 'asan'
                        else 0.2)


if __name__ == '__main__':
    unittest.main()
