"""A TCP proxy that does to a link what networks and dying servers do.

    proxy = faults.Proxy(redis.port)      # proxy.port is what the gateway gets
    proxy.fault = 'reset'                 # from now on, also on what is open
    proxy.heal()

Faults are of the server's answers, or of the connection as a whole:

    delay       20 ms before each piece: slow, and all is well
    bytes       one byte at a time
    late        answers come later than anybody waits
    blackhole   takes everything, answers nothing
    half        the server's side is closed when something was asked; what
                is sent is still taken
    reset       RST when something was asked
    refuse      nobody listens, what is open is reset
    corrupt     the first byte of each answer is another one
    cut         the last byte is missing from each piece, then the connection
                ends

The first two keep all promises of a healthy link; the others are "down".
"""

import socket
import struct
import threading
import time

HARMLESS = 'delay', 'bytes'
DOWN = 'late', 'blackhole', 'half', 'reset', 'refuse', 'corrupt', 'cut'

LATE = 3


class Proxy:

    def __init__(self, target):
        self.target = target
        self.mutex = threading.Lock()
        self.sockets = set()
        self.doomed = set()
        self.healthy = threading.Event()
        self.closed = False
        self._fault = None
        self.accepted = 0
        self.clients = []
        self.dumb = None        # through these and later ones nothing passes
        self.listener = None
        self.port = 0
        self.listen()

    # the link

    @property
    def fault(self):
        return self._fault

    @fault.setter
    def fault(self, fault):
        assert fault is None or fault in HARMLESS + DOWN, fault
        self._fault = fault

        if fault == 'refuse':
            self.deafen()
            self.drop()
        elif self.listener is None and not self.closed:
            self.listen()

        if fault is None:
            self.healthy.set()
        else:
            self.healthy.clear()

    def heal(self):
        """What was spoiled is dropped, as when a network comes back."""

        self.fault = None
        self.drop()

    def drop(self):
        """RST to all connections."""

        with self.mutex:
            sockets = list(self.sockets)
        for s in sockets:
            self.reset(s)

    def cut(self, n):
        """n of the connections there are, and all that come, go dumb; the
        others stay well."""

        with self.mutex:
            alive = [c for c in self.clients if c in self.sockets]
        self.dumb = set(alive[:n])

    def teardown(self):
        self.closed = True
        self.healthy.set()
        self.deafen()
        self.drop()

    # connections

    def listen(self):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(('127.0.0.1', self.port))
        self.listener.listen(256)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, args=(self.listener,),
                         daemon=True).start()

    def deafen(self):
        listener, self.listener = self.listener, None
        if listener is not None:
            # wakes the thread that accepts; close() alone does not
            try:
                listener.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            listener.close()

    def accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.accepted += 1
            self.clients.append(client)
            if self.dumb is not None:
                self.dumb.add(client)
            threading.Thread(target=self.serve, args=(client,),
                             daemon=True).start()

    def serve(self, client):
        server = None
        try:
            server = socket.create_connection(('127.0.0.1', self.target), 5)
            server.settimeout(None)
            for s in client, server:
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.mutex:
                self.sockets |= {client, server}
            back = threading.Thread(target=self.answers,
                                    args=(server, client), daemon=True)
            back.start()
            self.questions(client, server)
            back.join()
        except OSError:
            pass
        finally:
            with self.mutex:
                self.sockets -= {client, server}
                self.doomed -= {client, server}
            for s in client, server:
                if s is not None:
                    s.close()

    def questions(self, client, server):
        """What the gateway sends; it reaches the server but for the faults
        that take it away."""

        half = False

        try:
            while True:
                data = client.recv(65536)
                if client in self.doomed:
                    self.reset(server)
                    return
                if not data:
                    server.shutdown(socket.SHUT_WR)
                    return
                if self.fault == 'reset':
                    self.reset(client)
                    self.reset(server)
                    return
                if self.fault == 'half':
                    if not half:
                        client.shutdown(socket.SHUT_WR)
                        half = True
                    continue
                if self.fault == 'blackhole' or client in (self.dumb or ()):
                    continue
                server.sendall(data)
        except OSError:
            self.reset(server)

    def answers(self, server, client):
        try:
            while True:
                data = server.recv(65536)
                if server in self.doomed:
                    self.reset(client)
                    return
                if not data:
                    if self.fault != 'blackhole':
                        client.shutdown(socket.SHUT_WR)
                    return
                if not self.answer(client, data):
                    server.shutdown(socket.SHUT_RDWR)
                    return
        except OSError:
            self.reset(client)

    def answer(self, client, data):
        """False: the connection has ended."""

        fault = 'blackhole' if client in (self.dumb or ()) else self.fault

        if fault == 'delay':
            time.sleep(0.02)
        elif fault == 'bytes':
            for n in range(len(data)):
                client.sendall(data[n:n + 1])
                if n % 16 == 0:
                    time.sleep(0.0002)
            return True
        elif fault == 'late':
            self.healthy.wait(LATE)
        elif fault in ('blackhole', 'half'):
            return True
        elif fault == 'corrupt':
            data = bytes([data[0] ^ 0x15]) + data[1:]
        elif fault == 'cut':
            client.sendall(data[:-1])
            client.shutdown(socket.SHUT_WR)
            return False
        elif fault in ('reset', 'refuse'):
            self.reset(client)
            return False

        client.sendall(data)
        return True

    def reset(self, s):
        """RST, by the thread that reads the socket and is woken here."""

        self.doomed.add(s)
        try:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                         struct.pack('ii', 1, 0))
            s.shutdown(socket.SHUT_RD)
        except OSError:
            pass
