"""A Redis with replicas and the sentinels that watch over them."""

import socket
import threading
import time

import penstock

NAME = 'shop'

# what a machine that is busy with other things may need; mostly it is 1 s
FAILOVER = 30.0


class Sentinel(penstock.Redis):
    """redis-server --sentinel: no state but its folder."""

    def __init__(self, conf, master, quorum=2, down=500):
        super().__init__(start=False)
        self.write('sentinel.conf', '''
port %d
bind 127.0.0.1
dir %s
sentinel monitor %s 127.0.0.1 %d %d
sentinel down-after-milliseconds %s %d
sentinel failover-timeout %s 1500
sentinel parallel-syncs %s 2
%s
''' % (self.port, self.dir, NAME, master, quorum, NAME, down, NAME, NAME,
            conf))

    def start(self):
        self.spawn([penstock.REDIS, self.path('sentinel.conf'), '--sentinel'],
                   lambda: penstock.listening(self.port))

    def master(self):
        host, port = self.command('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', NAME)
        return int(port)


class Sentinels:
    """One master, two replicas, three sentinels; commands go to the node
    that the sentinels call the master."""

    def __init__(self, case, conf='', nodes=(), replicas=2, sentinels=3,
                 auth=None, pace=200):
        self.auth = auth
        master = case.redis('--repl-diskless-sync-delay', '0', *nodes)
        self.nodes = [master]
        for _ in range(replicas):
            self.nodes.append(case.redis(
                '--replicaof', '127.0.0.1 %d' % master.port,
                '--repl-diskless-sync-delay', '0', *nodes))
        self.login()
        penstock.wait_for(
            lambda: master.command('ROLE')[2:] and all(
                n.command('ROLE')[3] == 'connected' for n in self.nodes[1:]),
            deadline=FAILOVER, what='replicas are in step')
        self.sentinels = [case._add(Sentinel(conf, master.port))
                          for _ in range(sentinels)]
        for s in self.sentinels:
            if self.auth and 'requirepass' in conf:
                s.command('AUTH', self.auth)
            # its own pace is made for machines, not for tests
            s.command('SENTINEL', 'DEBUG', 'INFO-PERIOD', pace,
                      'PUBLISH-PERIOD', pace, 'ASK-PERIOD', 100,
                      'PING-PERIOD', 100, 'TILT-PERIOD', 1000)
        penstock.wait_for(self.ready, deadline=FAILOVER,
                          what='sentinels that know each other')

    def login(self):
        for n in self.nodes:
            if self.auth:
                n.command('AUTH', self.auth)

    def ready(self):
        for s in self.sentinels:
            state = s.command('SENTINEL', 'MASTER', NAME)
            state = dict(zip(state[::2], state[1::2]))
            if int(state['num-slaves']) < len(self.nodes) - 1 \
               or int(state['num-other-sentinels']) \
               < len(self.sentinels) - 1 or state['flags'] != 'master':
                return False
        return True

    @property
    def ports(self):
        return [s.port for s in self.sentinels]

    @property
    def port(self):
        return self.sentinels[0].port

    def node(self, port):
        return next(n for n in self.nodes if n.port == port)

    def master(self):
        """As most sentinels see it."""

        seen = [s.master() for s in self.sentinels
                if s.process is not None and s.process.poll() is None]
        return self.node(max(seen, key=seen.count))

    def command(self, *argv):
        return self.ask(self.master(), *argv)

    def ask(self, node, *argv):
        """The sentinels close all connections of one that they demote."""

        try:
            return node.command(*argv)
        except (OSError, EOFError):
            if self.auth:
                node.command('AUTH', self.auth)
            return node.command(*argv)

    def role(self, node):
        return self.ask(node, 'ROLE')[0]

    def settled(self, old=None):
        """All sentinels name the same master, another one than "old", and
        it is one."""

        seen = {s.master() for s in self.sentinels
                if s.process is not None and s.process.poll() is None}
        return len(seen) == 1 and seen != {old and old.port} \
            and self.role(self.master()) == 'master'

    def wait_master(self, old=None):
        penstock.wait_for(lambda: self.settled(old), deadline=FAILOVER,
                          what='another master')
        return self.master()

    def failover(self):
        """As an operator asks for it, and asks again: the sentinels give it
        up when one of them or a replica was slow to answer.  Returns the
        former master."""

        old = self.master()
        penstock.wait_for(self.ready, deadline=FAILOVER,
                          what='all is well')
        asked = [0]

        def done():
            if time.monotonic() - asked[0] > 4:
                asked[0] = time.monotonic()
                try:
                    self.sentinels[0].command('SENTINEL', 'FAILOVER', NAME)
                except penstock.RedisError:
                    # one is under way, or none is possible now
                    pass
            return self.settled(old)

        penstock.wait_for(done, deadline=FAILOVER, what='a failover')
        return old

    def block(self, mode=True):
        return ('mode sentinel %s; ' % NAME if mode else '') + ''.join(
            'server 127.0.0.1:%d; ' % s.port for s in self.sentinels)


class Liar:
    """A server that speaks RESP and says what "answer" makes of a command:
    it returns bytes, or None to say nothing from there on.  Handshakes are
    fine."""

    def __init__(self, answer):
        self.answer = answer
        self.told = {}          # by socket: what that one is told instead
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
            self.connections.append(s)
            threading.Thread(target=self.serve, args=(s,),
                             daemon=True).start()

    def serve(self, s):
        try:
            for argv in penstock.commands(s):
                argv = [part.decode() for part in argv]
                self.commands.append(argv)
                word = argv[0].upper()
                if word == 'CLIENT':
                    reply = b'+OK\r\n'
                elif word in ('SUBSCRIBE', 'UNSUBSCRIBE'):
                    reply = b'*3\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n:1\r\n' % (
                        len(word), word.lower().encode(), len(argv[1]),
                        argv[1].encode())
                else:
                    reply = self.told.get(s) or self.answer(argv)
                if reply is None:
                    return
                s.sendall(reply)
        except (OSError, ValueError):
            pass

    def asked(self):
        return sum(argv[0] == 'SENTINEL' for argv in self.commands)

    def say(self, text, channel='+switch-master', to=None):
        """A message to all that listen, or one of them."""

        data = b'*3\r\n' + b''.join(b'$%d\r\n%s\r\n' % (len(x), x) for x in (
            b'message', channel.encode(), text.encode()))
        for s in [to] if to else self.connections:
            try:
                s.sendall(data)
            except OSError:
                pass

    def teardown(self):
        # a thread that waits in accept() would still take one
        for s in [self.socket] + self.connections:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()


def address(host, port):
    """The answer to GET-MASTER-ADDR-BY-NAME."""

    parts = [str(x).encode() for x in (host, port)]
    return b'*2\r\n' + b''.join(b'$%d\r\n%s\r\n' % (len(x), x) for x in parts)
