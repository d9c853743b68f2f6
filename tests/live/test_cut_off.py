"""Requests that end in the middle, whatever they wait for: when a client
leaves or a worker's time is over, their memory goes before their question is
answered.  No worker dies of that, and what they held is free again.
"""

import contextlib
import socket
import struct
import threading
import time
import unittest

import penstock

CONF = '''
    redis main {
        server 127.0.0.1:%%REDIS%%;
        timeout connect=5s command=5s;
    }

    availability_zone a:1m redis=main;
    idempotency_zone  k:1m redis=main;
    erp_budget_zone   b:64k limit=3 lease=5s redis=main;
    rate_limit_zone   $arg_k zone=exact:1m rate=9999r/s burst=9999 redis=main;
    rate_limit_zone   $arg_k zone=leased:1m rate=9999r/s burst=9999 redis=main
                      sync=lease;
    rate_limit_concurrency_zone $arg_k zone=slots:1m limit=200 redis=main;

    server {
        listen 127.0.0.1:%%PORT%%;

        availability_cache_valid 60s;

        location /exact {
            rate_limit zone=exact;
            rate_limit zone=leased;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location /leased {
            rate_limit zone=leased;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location /slots {
            rate_limit_concurrency zone=slots;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location /read {
            availability_cache      a;
            availability_cache_key  $request_uri;
            availability_cache_lock on scope=cluster;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location /spend {
            availability_cache        a;
            availability_cache_key    $request_uri;
            availability_cache_budget zone=exact;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location /cells {
            erp_budget               b;
            availability_cache       a;
            availability_cache_key   $uri;
            availability_cache_items arg=sku list=/items id=/sku id=/location;
            availability_cache_lock  on scope=cluster;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location /write {
            idempotency             k;
            erp_budget              b;
            availability_invalidate zone=a /sku;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location /invalidate {
            availability_invalidate zone=a /sku;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location /all {
            rate_limit_concurrency  zone=slots;
            rate_limit              zone=exact;
            idempotency             k;
            erp_budget              b;
            availability_invalidate zone=a /sku;
            availability_cache      a;
            availability_cache_key  $request_uri;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location = /status {
            penstock_status;
        }
    }
'''

READS = '/exact', '/leased', '/slots', '/read', '/spend', '/cells', '/all'
WRITES = '/write', '/invalidate', '/all'


class Test(penstock.TestCase):

    def start(self, **kw):
        self.gate = threading.Event()
        self.gate.set()
        self.addCleanup(self.gate.set)
        self.store = self.redis()
        self.erp_ = self.origin(self.serve)
        self.gw = self.gateway(CONF, workers=2, REDIS=self.store.port,
                               ERP=self.erp_.port, **kw)
        self.n = 0
        # for two seconds from its start Redis lets nobody in
        penstock.wait_for(lambda: self.gw.post('/write', {}).status == 200)

    def serve(self, h):
        self.gate.wait(penstock.DEADLINE)
        h.send(200, {'items': [{'sku': 'x', 'location': 'L', 'n': 1}]})

    def visit(self, method, path):
        """A connection whose request was sent."""

        self.n += 1
        body = '{"sku":"S%d"}' % self.n if method == 'POST' else ''
        s = socket.create_connection(('127.0.0.1', self.gw.port),
                                     penstock.DEADLINE)
        s.sendall(('%s %s?sku=S%d&k=%d HTTP/1.1\r\nHost: a\r\n'
                   'Idempotency-Key: "k%d"\r\nContent-Length: %d\r\n\r\n%s'
                   % (method, path, self.n, self.n % 3, self.n, len(body),
                      body)).encode())
        return s

    def crowd(self):
        return [self.visit('GET', path) for path in READS for _ in range(4)] \
            + [self.visit('POST', path) for path in WRITES for _ in range(4)]

    def leave(self, crowd, reset):
        for s in crowd:
            if reset:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                             struct.pack('ii', 1, 0))
            s.close()

    def free(self):
        """All works, and nobody holds anything."""

        self.gate.set()
        for path in READS:
            penstock.wait_for(
                lambda: self.gw.get(path + '?sku=F&k=9').status == 200,
                what=path)
        penstock.wait_for(
            lambda: self.gw.metric('penstock_erp_budget_in_use') == 0,
            what='no place is taken')
        for n in range(3):
            penstock.wait_for(
                lambda: not self.store.command(
                    'HGETALL', 'penstock:slots:{slots:%d}' % n),
                what='no slot is taken')
        penstock.wait_for(lambda: not self.store.command(
            'KEYS', 'penstock:lead:*'), what='no lease is held')

    def test_clients_leave(self):
        self.start()
        workers = self.gw.workers()
        for wait in 0, 0.02, 0.2:
            for reset in False, True:
                for frozen in False, True:
                    self.gate.clear()
                    if frozen:
                        self.store.freeze()
                    try:
                        crowd = self.crowd()
                        time.sleep(wait)
                        self.leave(crowd, reset)
                        time.sleep(wait)
                    finally:
                        if frozen:
                            self.store.thaw()
                    self.free()
        self.assertEqual(self.gw.workers(), workers)

    def test_the_workers_time_is_over(self):
        self.start(main='worker_shutdown_timeout 200ms;')
        for frozen in False, True:
            self.gate.clear()
            old = self.gw.workers()
            if frozen:
                self.store.freeze()
            try:
                crowd = self.crowd()
                time.sleep(0.1)
                self.gw.reload()
                penstock.wait_for(
                    lambda: not set(old) & set(self.gw.workers(old=True)),
                    what='the old workers end')
            finally:
                if frozen:
                    self.store.thaw()
            for s in crowd:
                with contextlib.suppress(OSError):
                    s.recv(1)
            self.leave(crowd, False)
            self.free()


if __name__ == '__main__':
    unittest.main()
