"""A Redis Cluster of six nodes: every key finds its node, while slots move
and masters die, and changes are pushed by each of them.
"""

import os
import statistics
import subprocess
import threading
import time
import unittest

import penstock
from test_push import CONF, LONG, PushCase, ZONE


class Cluster:
    """Three masters with a replica each; commands go where they must."""

    def __init__(self, case, nodes=6, tls=None):
        """With "tls", a folder with certificates, nodes speak it to each
        other and on .tls_port; the test itself does not."""

        self.tls = tls
        self.nodes = [self.start(case) for _ in range(nodes)]
        self.create()

    def start(self, case):
        options = ['--cluster-enabled', 'yes',
                   '--cluster-node-timeout', '1000',
                   '--cluster-port', penstock.free_port(),
                   '--cluster-replica-validity-factor', '0',
                   '--repl-diskless-sync-delay', '0',
                   '--cluster-config-file', 'nodes.conf']
        port = penstock.free_port() if self.tls else None
        if self.tls:
            options += ['--tls-port', port, '--tls-cluster', 'yes',
                        '--tls-replication', 'yes',
                        '--tls-auth-clients', 'no', *self.certificates()]
        node = case.redis(*options)
        node.tls_port = port
        return node

    def certificates(self):
        return [word for name, file in (('cert-file', 'server.crt'),
                                        ('key-file', 'server.key'),
                                        ('ca-cert-file', 'ca.crt'))
                for word in ('--tls-' + name, os.path.join(self.tls, file))]

    def create(self):
        addresses = ['127.0.0.1:%d' % (n.tls_port or n.port)
                     for n in self.nodes]
        tls = ['--tls', '--cacert', os.path.join(self.tls, 'ca.crt')] \
            if self.tls else []
        p = subprocess.run(['redis-cli', *tls, '--cluster', 'create',
                            *addresses,
                            '--cluster-replicas', '1', '--cluster-yes'],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           stdin=subprocess.DEVNULL, timeout=60)
        if p.returncode:
            raise AssertionError(p.stdout.decode())
        penstock.wait_for(lambda: all(
            'cluster_state:ok' in n.command('CLUSTER', 'INFO')
            and 'cluster_slots_ok:16384' in n.command('CLUSTER', 'INFO')
            for n in self.nodes), deadline=40, what='the cluster is up')
        penstock.wait_for(lambda: all(
            'master_link_status:down' not in n.command('INFO', 'replication')
            for n in self.nodes), deadline=40, what='replicas')

    @property
    def port(self):
        return self.nodes[0].port

    def node(self, port):
        return next(n for n in self.nodes if n.port == port)

    def alive(self):
        return [n for n in self.nodes if n.process is not None
                and n.process.poll() is None]

    def command(self, *argv):
        node = self.alive()[0]
        end = time.monotonic() + 40
        while time.monotonic() < end:
            try:
                return node.command(*argv)
            except OSError:
                # it is dead, which the others don't know yet
                time.sleep(0.1)
                node = self.alive()[0]
            except penstock.RedisError as error:
                word = str(error).split()
                if word[0] == 'ASK':
                    node = self.node(int(word[2].rsplit(':')[-1]))
                    node.command('ASKING')
                elif word[0] == 'MOVED':
                    node = self.node(int(word[2].rsplit(':')[-1]))
                elif word[0] in ('CLUSTERDOWN', 'TRYAGAIN'):
                    time.sleep(0.1)
                else:
                    raise
        raise AssertionError('redirected without an end: %s' % (argv,))

    def slot(self, key):
        return self.alive()[0].command('CLUSTER', 'KEYSLOT', key)

    def master(self, key):
        slot = self.slot(key)
        for range_ in self.alive()[0].command('CLUSTER', 'SLOTS'):
            if range_[0] <= slot <= range_[1]:
                return self.node(range_[2][1])

    def masters(self):
        return {r[2][1] for r in self.alive()[0].command('CLUSTER', 'SLOTS')}

    def id(self, node):
        return node.command('CLUSTER', 'MYID')

    def move(self, slot, source, target, pause=0):
        """As redis-cli reshards, with time to ask in between."""

        target.command('CLUSTER', 'SETSLOT', slot, 'IMPORTING',
                       self.id(source))
        source.command('CLUSTER', 'SETSLOT', slot, 'MIGRATING',
                       self.id(target))
        time.sleep(pause)
        while True:
            keys = source.command('CLUSTER', 'GETKEYSINSLOT', slot, 5)
            if not keys:
                break
            source.command('MIGRATE', '127.0.0.1', target.port, '', 0, 5000,
                           'KEYS', *keys)
            time.sleep(pause / 10)
        for node in (target, source, *self.alive()):
            if node.port in self.masters() or node in (target, source):
                node.command('CLUSTER', 'SETSLOT', slot, 'NODE',
                             self.id(target))


class ClusterCase(PushCase):

    def start(self, seeds=2, **kw):
        self.cluster = Cluster(self)
        block = 'mode cluster;' + ''.join(
            'server 127.0.0.1:%d;' % n.port
            for n in self.cluster.nodes[1:seeds])
        self.store_ = self.cluster
        return super().start(block=block, **kw)

    def redis(self, *options, **kw):
        # PushCase asks for its store
        if not options and getattr(self, 'cluster', None):
            return self.cluster
        return super().redis(*options, **kw)

    def errors(self, gw):
        values = gw.get('/status').json()['metrics'][
            'penstock_redis_errors_total']['values']
        return {v['labels']['reason']: v['value'] for v in values}


class Test(ClusterCase):

    def test_keys_find_their_nodes(self):
        a, b = self.start()
        self.settle()
        times = []
        for n in range(10):
            self.order(a)
            times.append(self.seen(b, self.number(a)))
        self.settle()
        print('\norder on A seen on B in a cluster: median %.1f ms'
              % (1000 * statistics.median(times)))
        self.assertLess(statistics.median(times), 0.25)
        # all of the zone is on its node, and nothing was refused or lost
        zone = self.cluster.master(ZONE)
        self.assertGreater(len(zone.command('KEYS', ZONE + '*')), 2)
        for gw in a, b:
            errors = self.errors(gw)
            self.assertEqual([errors[k] for k in
                              ('refused', 'lost', 'protocol')], [0, 0, 0])

    def test_a_link_to_each_master(self):
        a, b = self.start()
        self.settle()
        for port in self.cluster.masters():
            clients = self.cluster.node(port).command('CLIENT', 'LIST')
            self.assertEqual(clients.count(' name=penstock-push '), 2)

    def test_a_slot_moves_under_load(self):
        a, b = self.start()
        self.settle()
        slot = self.cluster.slot(ZONE)
        stop = threading.Event()
        failed, done = [], [0]

        def load(gw, other, sku):
            left = 1000
            try:
                while not stop.is_set():
                    self.order(gw, sku)
                    left -= 1
                    if self.number(gw, sku) != left:
                        failed.append('own')
                    self.seen(other, left, sku)
                    done[0] += 1
            except Exception as error:
                failed.append(repr(error))

        threads = [threading.Thread(target=load, args=x)
                   for x in ((a, b, 'S1'), (b, a, 'S2'), (a, b, 'S3'))]
        for t in threads:
            t.start()
        for n in range(4):
            source = self.cluster.master(ZONE)
            target = next(self.cluster.node(p) for p in
                          sorted(self.cluster.masters())
                          if p != source.port)
            self.cluster.move(slot, source, target, pause=0.3)
            time.sleep(0.3)
        before = done[0]
        time.sleep(1)
        stop.set()
        for t in threads:
            t.join()
        self.assertEqual(failed, [])
        self.assertGreater(done[0], before)
        for gw in a, b:
            self.assertEqual(self.errors(gw)['protocol'], 0)
        print('\n%d orders while a slot moved 4 times' % done[0])
        self.wait_live(b)
        self.settle()

    def test_a_master_dies_under_load(self):
        a, b = self.start()
        self.settle()
        master = self.cluster.master(ZONE)
        stop = threading.Event()
        failed = []

        def load(gw, sku):
            left = 1000
            try:
                while not stop.is_set():
                    self.order(gw, sku)
                    left -= 1
                    if self.number(gw, sku) != left:
                        failed.append('own')
                    time.sleep(0.01)
            except Exception as error:
                failed.append(repr(error))

        threads = [threading.Thread(target=load, args=x)
                   for x in ((a, 'S1'), (b, 'S2'))]
        for t in threads:
            t.start()
        time.sleep(0.5)
        master.kill()
        master.forget()
        start = time.monotonic()
        penstock.wait_for(lambda: self.cluster.command('GET', ZONE + ':epoch')
                          is not None and self.cluster.master(ZONE)
                          is not master, deadline=40, what='a failover')
        for gw in a, b:
            self.wait_live(gw)
        print('\nwith all links again %.1f s after the master was killed'
              % (time.monotonic() - start))
        stop.set()
        for t in threads:
            t.join()
        self.assertEqual(failed, [])
        time.sleep(1)
        self.settle()
        self.order(a)
        self.seen(b, self.number(a))

    def test_a_seed_is_gone(self):
        self.cluster = Cluster(self)
        dead = self.cluster.nodes[5]
        replica = dead.port
        dead.kill()
        dead.forget()
        self.origin_ = None
        self.store = self.cluster
        PushCase.start(self, block='mode cluster; server 127.0.0.1:%d;'
                       % self.cluster.nodes[1].port, port=lambda _: replica)
        self.settle()
        self.order(self.gw[0])
        self.seen(self.gw[1], self.number(self.gw[0]))


if __name__ == '__main__':
    unittest.main()
