"""What an operator does to a gateway under load: reloads, many of them, with
zones that grow and shrink; binary upgrades, also one that is taken back; log
rotation.  No request is lost, those that wait are answered, and the master
ends with the memory and descriptors that it had.

PENSTOCK_RELOADS says how many reloads in a row (12; 1000 in a long run).
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest

import penstock
from test_oauth import tool

RELOADS = int(os.environ.get('PENSTOCK_RELOADS', '12'))

CONF = '''
    redis main {
        server 127.0.0.1:%%REDIS%%;
        timeout connect=5s command=5s;
    }

    availability_zone   stock:%%SIZE%% redis=main;
    rate_limit_zone     $arg_c zone=channel:%%SIZE%% rate=100000r/s
                        burst=10000;
    rate_limit_zone     $arg_c zone=shared:%%SIZE%% rate=100000r/s burst=10000
                        redis=main;
    auth_jwt_zone       tokens:%%SIZE%%;
    auth_jwt_key_cache  1s refetch=1s timeout=10s;

    log_format line $request_uri;

    server {
        listen 127.0.0.1:%%PORT%% backlog=1024;
        access_log %%DIR%%/access.log line;
        correlation_id on;

        location = /_keys {
            internal;
            proxy_pass http://127.0.0.1:%%ORIGIN%%/keys;
        }

        location = /_introspect {
            internal;
            proxy_pass http://127.0.0.1:%%ORIGIN%%/introspect;
        }

        location /stock {
            rate_limit                zone=channel;
            rate_limit                zone=shared;
            availability_cache        stock;
            availability_cache_tag    arg=sku;
            availability_cache_valid  600s;
            proxy_pass http://127.0.0.1:%%ORIGIN%%;
        }

        location /orders {
            availability_invalidate zone=stock /sku;
            proxy_pass http://127.0.0.1:%%ORIGIN%%;
        }

        location /mine {
            auth_jwt api;
            auth_jwt_key_request /_keys;
            auth_introspect /_introspect cache=1s;
            proxy_pass http://127.0.0.1:%%ORIGIN%%;
        }

        location /generation { return 200 %%GENERATION%%; }
    }
'''


def shared_kb(pid):
    """KB of shared memory that a process maps, zones in the main."""

    total = 0
    with open('/proc/%d/maps' % pid) as f:
        for line in f:
            part = line.split()
            if 's' in part[1] and len(part) > 5 and '/dev/zero' in part[5]:
                start, end = (int(n, 16) for n in part[0].split('-'))
                total += end - start
    return total // 1024


def private_kb(pid):
    with open('/proc/%d/smaps_rollup' % pid) as f:
        for line in f:
            if line.startswith('Private_Dirty:'):
                return int(line.split()[1])


def descriptors(pid):
    return len(os.listdir('/proc/%d/fd' % pid))


class Load:
    """Clients side by side, each request on a connection of its own: one
    that is not answered, or not as it should be, is lost.  hosts=2: while two
    masters serve, they are to each other as two hosts; one hears of the
    other's writes by Redis, a moment later."""

    def __init__(self, case, clients=6, hosts=1):
        self.case = case
        self.hosts = hosts
        self.done = threading.Event()
        self.lost = []
        self.count = 0
        self.mutex = threading.Lock()
        self.threads = [threading.Thread(target=self.client, args=(n,),
                                         daemon=True)
                        for n in range(clients)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *args):
        self.done.set()
        for thread in self.threads:
            thread.join(2 * penstock.DEADLINE)
            if thread.is_alive():
                self.lost.append('a request hangs')

    def more(self, n=50):
        """Until so many more were answered."""

        seen = self.count
        penstock.wait_for(lambda: self.count >= seen + n or self.lost,
                          what='the load goes on')

    def client(self, seed):
        rnd = random.Random(seed)
        port = self.case.gw.port
        version = 0

        while not self.done.is_set():
            kind = rnd.randrange(6)
            try:
                if kind == 0:
                    what, wanted = ('POST', '/orders', None,
                                    {'sku': 'S%d' % seed}), 201
                elif kind == 1:
                    what, wanted = ('GET', '/stock?c=%d&sku=S%d'
                                    % (seed, seed)), 200
                elif kind == 2:
                    what, wanted = ('GET', '/stock?c=%d&sku=slow%d' % (
                        seed, rnd.randrange(1000))), 200
                elif kind == 3:
                    what, wanted = ('GET', '/stock?c=%d&sku=all%d' % (
                        seed, rnd.randrange(3))), 200
                else:
                    token, wanted = rnd.choice(self.case.tokens)
                    what = ('GET', '/mine', {'Authorization':
                                             'Bearer ' + token})
                r = penstock.request(port, *what)
                if r.status != wanted:
                    self.lost.append((what, wanted, r))
                elif kind == 0:
                    version = int(r.text)
                elif kind == 1 and self.hosts == 1 and int(r.text) < version:
                    self.lost.append(('older than its own order', version, r))
            except Exception as e:
                self.lost.append((kind, repr(e)))
            with self.mutex:
                self.count += 1


class Test(penstock.TestCase):

    def setUp(self):
        directory = tempfile.mkdtemp(prefix='penstock-')
        self.addCleanup(shutil.rmtree, directory, True)
        key = {}
        for name in 'a', 'stranger':
            key[name] = os.path.join(directory, name)
            tool('jwks', 'gen', 'ES256', key[name])
        self.set = tool('jwks', 'set', '--key', key['a'], '--kid', 'a')

        def token(name, n):
            return tool('jws', '--alg', 'ES256', '--key', key[name],
                        '--header', '{"alg":"ES256","kid":"a"}',
                        '--payload', json.dumps({
                            'n': n, 'exp': int(time.time()) + 36000}))

        self.tokens = [(token('a', n), 200) for n in range(4)] \
            + [(token('stranger', 1), 401), ('good', 200), ('evil', 401)]

        self.version = {}
        self.mutex = threading.Lock()
        self.store = self.redis()
        self.upstream = self.origin(self.answer)

    def answer(self, h):
        if h.path == '/keys':
            h.send(200, self.set, {'Content-Type': 'application/json'})
        elif h.path == '/introspect':
            h.send(200, {'active': b'good' in h.body, 'sub': 'x'})
        elif h.command == 'POST':
            sku = json.loads(h.body)['sku']
            with self.mutex:
                self.version[sku] = self.version.get(sku, 0) + 1
            h.send(201, str(self.version[sku]))
        else:
            with self.mutex:
                value = self.version.get(h.path.rpartition('=')[2], 0)
            if 'slow' in h.path:
                time.sleep(0.05)
            h.send(200, str(value))

    def names(self, **kw):
        return dict(dict(REDIS=self.store.port, ORIGIN=self.upstream.port,
                         SIZE='1m', GENERATION=1), **kw)

    def child(self):
        self.gw = self.gateway(CONF, workers=2, level='warn', **self.names())
        return self.gw

    def daemon(self):
        """Only a daemon upgrades itself; it is no child of ours."""

        self.gw = gw = penstock.Gateway(CONF, start=False, workers=2,
                                        level='notice', **self.names())
        self.addCleanup(gw.teardown)
        gw.configure(CONF)
        gw.write('nginx.conf', gw.read('nginx.conf').replace('daemon off;',
                                                             ''))
        self.addCleanup(self.end_all)
        self.masters = []
        subprocess.run(gw.argv(), check=True, timeout=60, env=gw.env)
        return self.new_master()

    def new_master(self):
        def pid():
            text = self.gw.read('nginx.pid').strip()
            return text and int(text) not in self.masters and int(text)
        self.masters.append(penstock.wait_for(pid, what='a master'))
        penstock.wait_for(lambda: len(self.children(self.masters[-1])) >= 2,
                          what='its workers')
        return self.masters[-1]

    def children(self, pid):
        try:
            with open('/proc/%d/task/%d/children' % (pid, pid)) as f:
                return f.read().split()
        except FileNotFoundError:
            return []

    def gone(self, pid):
        try:
            with open('/proc/%d/stat' % pid) as f:
                return f.read().rpartition(')')[2].split()[0] == 'Z'
        except (FileNotFoundError, ProcessLookupError):
            return True

    def end_all(self):
        for pid in self.masters:
            if not self.gone(pid):
                os.kill(pid, signal.SIGTERM)
        for pid in self.masters:
            penstock.wait_for(lambda: self.gone(pid), what='a master ends')

    def test_reloads(self):
        gw = self.child()
        marks = []

        def settled():
            return len(self.children(gw.pid)) == 2

        with Load(self) as load:
            for n in range(RELOADS):
                gw.reload(CONF, **self.names(GENERATION=n))
                load.more(20)
                self.assertEqual(load.lost, [])

                # what a master has after some is what it has after many
                if n in (RELOADS // 3, RELOADS - 1):
                    penstock.wait_for(settled, what='old workers end')
                    marks.append((descriptors(gw.pid), shared_kb(gw.pid),
                                  private_kb(gw.pid)))

        self.assertEqual(load.lost, [])
        self.assertEqual(gw.get('/generation').text, str(RELOADS - 1))
        before, after = marks
        self.assertEqual(before[0], after[0], 'descriptors')
        self.assertEqual(before[1], after[1], 'KB of zones')
        if os.environ.get('PENSTOCK_KIND') != 'asan':
            self.assertLess(after[2], before[2] + 1024, 'KB of memory')
        print('%d requests, %d reloads; fds, zones, private KB: %r' % (
            load.count, RELOADS, marks))

    def test_zones_grow_and_shrink(self):
        gw = self.child()

        with Load(self) as load:
            for n, size in enumerate(('256k', '2m', '64k', '2m')):
                gw.reload(CONF, **self.names(SIZE=size, GENERATION=size))
                self.assertEqual(gw.get('/generation').text, size)
                load.more()

            # one that is too small is refused by name, and all goes on
            gw.allow.append(re.compile('zone "stock" is too small'))
            gw.configure(CONF, **self.names(SIZE='8k'))
            gw.signal(signal.SIGHUP)
            gw.wait_log(r'zone "stock" is too small, give it at least 32k in '
                        r'\S+nginx.conf:\d+')
            load.more()
            self.assertEqual(gw.get('/generation').text, '2m')

        self.assertEqual(load.lost, [])

    def test_waiting_requests_finish(self):
        """A leader and its followers of both workers, waiting for the ERP
        while their gateway is reloaded twice."""

        go = threading.Event()
        self.addCleanup(go.set)
        answer = self.upstream.handler

        def held(h):
            if 'held' in h.path:
                go.wait(penstock.DEADLINE)
            answer(h)

        self.upstream.handler = held
        gw = self.child()


        # an empty Redis gets what the zone keeps there, which voids once
        for n in range(20):
            self.assertEqual(gw.get('/stock?c=1&sku=%d' % n).status, 200)
        time.sleep(0.5)

        got = []
        threads = gw.crowd(lambda: got.append(gw.get('/stock?c=1&sku=held')))

        penstock.wait_for(lambda: any(
            'held' in r[1] for r in self.upstream.requests))
        for n in 2, 3:
            gw.reload(CONF, **self.names(GENERATION=n))
        self.assertEqual(gw.get('/generation').text, '3')
        go.set()

        for thread in threads:
            thread.join(penstock.DEADLINE)
        self.assertEqual([r.status for r in got], [200] * len(threads))
        self.assertEqual(sum('held' in r[1] for r in self.upstream.requests),
                         1)
        penstock.wait_for(lambda: len(gw.workers(old=True)) == 2,
                          what='old workers end')

    def test_binary_upgrade(self):
        old = self.daemon()

        with Load(self, hosts=2) as load:
            load.more()
            os.kill(old, signal.SIGUSR2)
            new = self.new_master()
            load.more()
            os.kill(old, signal.SIGWINCH)
            penstock.wait_for(lambda: not self.children(old) or
                              self.children(old) == [str(new)],
                              what='old workers end')
            load.more()
            os.kill(old, signal.SIGQUIT)
            penstock.wait_for(lambda: self.gone(old), what='old master ends')
            load.more()

        self.assertEqual(load.lost, [])
        self.assertFalse(self.gone(new))

    def test_binary_upgrade_taken_back(self):
        old = self.daemon()

        with Load(self, hosts=2) as load:
            os.kill(old, signal.SIGUSR2)
            new = self.new_master()
            os.kill(old, signal.SIGWINCH)
            penstock.wait_for(lambda: self.children(old) == [str(new)],
                              what='old workers end')
            load.more()

            # the old one gets its workers again, the new one goes
            os.kill(old, signal.SIGHUP)
            penstock.wait_for(lambda: len(self.children(old)) == 3,
                              what='old workers are back')
            os.kill(new, signal.SIGQUIT)
            penstock.wait_for(lambda: self.gone(new), what='new master ends')
            load.more()

        self.assertEqual(load.lost, [])
        self.assertFalse(self.gone(old))

    def test_logs_are_reopened(self):
        """Each request is a line of one of the files."""

        gw = self.child()

        with Load(self) as load:
            for n in range(3):
                load.more()
                os.rename(gw.path('access.log'), gw.path('access.%d' % n))
                os.rename(gw.path('error.log'), gw.path('error.%d' % n))
                gw.reopen()
                penstock.wait_for(lambda: gw.read('access.log'),
                                  what='a new access log')

        self.assertEqual(load.lost, [])
        penstock.wait_for(
            lambda: sum(gw.read('access.' + end).count('\n')
                        for end in ('log', '0', '1', '2')) == load.count,
            what='a line for each request')


if __name__ == '__main__':
    unittest.main()
