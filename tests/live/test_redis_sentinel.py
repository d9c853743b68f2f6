"""The master that sentinels tell of, through every way to lose it: under load
no request gets another outcome than a Redis outage promises, orders reach the
ERP once, limits hold, and what changes is pushed again by the new master.
"""

import http.client
import re
import shutil
import tempfile
import threading
import time
import unittest
import urllib.parse
import uuid

import penstock
from sentinels import FAILOVER, Liar, NAME, Sentinel, Sentinels, address
from test_redis import Dns
from test_redis_tls import HANDSHAKE, authority, certificate

CONF = '''
    %%HTTP%%

    redis main {
        %%BLOCK%%
        timeout connect=500ms command=300ms;
    }

    availability_zone a:4m redis=main;
    rate_limit_zone   $arg_key zone=l:1m rate=40r/s burst=20 redis=main
                      fallback=deny;
    idempotency_zone  i:1m redis=main;

    server {
        listen 127.0.0.1:%%PORT%%;

        location = /stock {
            availability_cache       a;
            availability_cache_key   $request_uri;
            availability_cache_tag   arg=sku;
            add_header X-Status $availability_cache_status always;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location = /orders {
            availability_invalidate zone=a /sku;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location = /once {
            idempotency i required lease=2s;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location = /limited {
            rate_limit zone=l;
            proxy_pass http://127.0.0.1:%%ERP%%;
        }

        location = /status {
            penstock_status;
        }

        location = /pid {
            return 200 $pid;
        }
    }
'''

RATE, BURST = 40, 20

# for what takes milliseconds, on a machine that is busy with other things
LONG = 5.0


class Case(penstock.TestCase):

    def start(self, gateways=2, workers=2, block=None, http='', live=True,
              allow=(), **options):
        self.set = Sentinels(self, **options)
        self.stock, self.made = {}, {}
        self.mutex = threading.Lock()
        self.erp = self.origin(self.serve)
        self.gw = [self.host(block or self.set.block(), workers, http, allow)
                   for _ in range(gateways)]
        if live:
            for gw in self.gw:
                self.wait_live(gw)
        return self.gw

    def host(self, block, workers=2, http='', allow=()):
        gw = penstock.Gateway(CONF, start=False, workers=workers, allow=allow,
                              BLOCK=block, HTTP=http, ERP=self.erp.port)
        self.addCleanup(gw.teardown)
        gw.write('redis.pass', 'pw')
        gw.start()
        return gw

    def serve(self, h):
        url = urllib.parse.urlsplit(h.path)
        if url.path == '/orders':
            sku = h.body.split(b'"')[3].decode()
            with self.mutex:
                self.stock[sku] = self.stock.get(sku, 1000) - 1
            h.send(201, 'made')
        elif url.path == '/once':
            key = h.headers['Idempotency-Key']
            with self.mutex:
                self.made[key] = self.made.get(key, 0) + 1
            h.send(201, 'made')
        elif url.path == '/limited':
            h.send(200, 'ok')
        else:
            sku = urllib.parse.parse_qs(url.query)['sku'][0]
            with self.mutex:
                n = self.stock.get(sku, 1000)
            h.send(200, str(n), {'Cache-Control': 'max-age=600'})

    def number(self, gw, sku='D'):
        answer = gw.get('/stock?sku=' + sku)
        self.assertEqual(answer.status, 200, answer)
        return int(answer.text)

    def order(self, gw, sku='D'):
        answer = gw.post('/orders', {'sku': sku})
        self.assertEqual(answer.status, 201, answer)

    def metric(self, gw, name):
        values = gw.get('/status').json()['metrics'][name]['values']
        return sum(v['value'] for v in values)

    def wait_live(self, gw):
        penstock.wait_for(
            lambda: self.metric(gw, 'penstock_redis_push_live') == 1,
            deadline=FAILOVER, what='a push link')

    def hit(self, gw, sku='D'):
        """It answers from its own memory, since it is told of changes."""

        penstock.wait_for(
            lambda: gw.get('/stock?sku=' + sku).headers['X-Status'] == 'HIT',
            what='a hit', step=0.02)

    def whole(self, sku=None):
        """Everything works: an order by A is seen by B, both hold it, and
        limits and keys are decided by the master."""

        a, b = self.gw
        sku = sku or uuid.uuid4().hex
        for gw in self.gw:
            self.wait_live(gw)
            self.hit(gw, sku)
        self.order(a, sku)
        left = self.number(a, sku)
        self.assertEqual(left, 999)
        penstock.wait_for(lambda: self.number(b, sku) == left, LONG,
                          'B sees the order of A')
        for gw in self.gw:
            self.hit(gw, sku)
            penstock.wait_for(
                lambda: gw.get('/limited?key=' + sku).status == 200, LONG,
                'limits are decided')
        key = {'Idempotency-Key': '"%s"' % sku}
        self.assertEqual([gw.post('/once', b'{}', key).status
                          for gw in self.gw], [201, 201])
        self.assertEqual(self.made['"%s"' % sku], 1)

    def clients(self, node):
        """Connections of gateways that Redis has."""

        return self.set.ask(node, 'CLIENT', 'LIST').count(' name=penstock')


class Load:
    """Clients of both gateways, until stop(); then what they were told."""

    def __init__(self, case):
        self.case = case
        self.end = threading.Event()
        self.failed = []
        self.orders = self.admitted = self.denied = 0
        self.keys = {}
        self.begun = time.monotonic()
        self.mutex = threading.Lock()
        a, b = case.gw
        self.threads = [threading.Thread(target=self.run, args=x, daemon=True)
                        for x in ((self.sell, a, 'S1'), (self.sell, b, 'S2'),
                                  (self.ask, a), (self.ask, b),
                                  (self.once, a, b), (self.once, b, a))]
        for t in self.threads:
            t.start()

    def run(self, what, *args):
        try:
            while not self.end.is_set():
                what(*args)
        except Exception as error:
            self.failed.append(repr(error))

    def sell(self, gw, sku):
        self.case.order(gw, sku)
        left = self.case.stock[sku]
        shown = self.case.number(gw, sku)
        if shown != left:
            self.failed.append('%s: %d shown, %d left after %.2f s' % (
                sku, shown, left, time.monotonic() - self.begun))
        self.orders += 1
        time.sleep(0.005)

    def ask(self, gw):
        status = gw.get('/limited?key=one').status
        with self.mutex:
            if status == 200:
                self.admitted += 1
            elif status in (429, 503):
                self.denied += 1
            else:
                self.failed.append('limit: %d' % status)
        time.sleep(0.005)

    def once(self, *gateways):
        """A client that tries again until it is told that it is made."""

        key = '"%s"' % uuid.uuid4().hex
        for n in range(200):
            answer = gateways[n % 2].post('/once', b'{}',
                                          {'Idempotency-Key': key})
            self.keys[key] = answer.status
            if answer.status == 201:
                time.sleep(0.005)
                return
            kind = answer.json()['type'].rsplit(':', 1)[1]
            self.keys[key] = kind
            if kind == 'idempotency-unknown-outcome':
                return
            if kind not in ('idempotency-in-progress',
                            'idempotency-unavailable') \
               or not answer.headers['Retry-After']:
                self.failed.append('%s: %r' % (key, answer))
            if self.end.is_set():
                return
            time.sleep(0.05)

    def stop(self, losses=1):
        case = self.case
        time.sleep(0.5)
        self.end.set()
        for t in self.threads:
            t.join(penstock.DEADLINE)
        took = time.monotonic() - self.begun
        case.assertEqual(self.failed, [])
        # each master that was lost may have taken a burst along
        case.assertLessEqual(self.admitted,
                             RATE * took + BURST * (1 + losses) + 2)
        told = sum(s == 201 for s in self.keys.values())
        for key, status in self.keys.items():
            made = case.made.get(key, 0)
            case.assertLessEqual(made, 1, (key, status))
            if status == 201:
                case.assertEqual(made, 1, key)
            if status == 'idempotency-unavailable':
                case.assertEqual(made, 0, key)
        print('\n%.1f s: %d orders, %d keys (%d made), %d admitted, %d not'
              % (took, self.orders, len(self.keys), told, self.admitted,
                 self.denied))
        case.assertGreater(told, 0)


class Failover(Case):

    def lose(self, how, back=None, **options):
        """Loses the master under load; returns it and the new one."""

        self.start(**options)
        self.whole()
        load = Load(self)
        time.sleep(0.5)
        old = self.set.master()
        start = time.monotonic()
        how(old)
        new = self.set.wait_master(old)
        known = time.monotonic()
        for gw in self.gw:
            self.wait_live(gw)
        print('\nanother master after %.1f s, links to it %.2f s later'
              % (known - start, time.monotonic() - known))
        self.assertLess(time.monotonic() - known, LONG)
        if back:
            back(old, new)
        load.stop()
        self.whole()
        penstock.wait_for(lambda: all(
            self.metric(gw, 'penstock_redis_master_moves_total')
            for gw in self.gw), what='moves')
        for node in self.set.nodes:
            if node not in (old, new):
                self.assertEqual(self.clients(node), 0)
        return old, new

    def quiet(self):
        """Once all is well no connection is made anew: there are 1.5 s
        without one, longer than the longest pause between two."""

        def attempts():
            return [self.metric(gw, 'penstock_redis_connects_total')
                    for gw in self.gw]

        self.before, self.since = attempts(), time.monotonic()

        def calm():
            now = attempts()
            if now != self.before:
                self.before, self.since = now, time.monotonic()
            return time.monotonic() - self.since > 1.5

        penstock.wait_for(calm, what='no connection made anew', step=0.1)

    def test_an_operator_asks_for_it(self):
        self.lose(lambda _: self.set.failover())

    def test_the_master_dies(self):
        def die(old):
            old.kill()
            old.forget()
        self.lose(die)
        self.quiet()

    def test_the_sentinel_that_is_asked_dies_too(self):
        def die(old):
            for server in self.set.sentinels[0], old:
                server.kill()
                server.forget()
        self.lose(die)

    def test_reloads_meanwhile(self):
        def die(old):
            old.kill()
            old.forget()
            for _ in range(3):
                for gw in self.gw:
                    gw.reload()
        self.lose(die)

    def test_the_master_hangs_and_returns(self):
        """It calls itself a master for a while: nobody must listen."""

        def back(old, new):
            old.thaw()
            old.forget()
            penstock.wait_for(lambda: self.clients(old) == 0, LONG,
                              'nobody is connected to it')
            served, alone = self.calls(old), 0
            while self.set.role(old) == 'master':
                self.assertEqual(self.clients(old), 0)
                self.assertEqual(self.calls(old), served)
                alone += 1
                time.sleep(0.02)
            print('\nlooked %d times at a second master' % alone)
            self.assertGreater(alone, 0)

        # it is made a replica after 4 times that pace
        old, new = self.lose(lambda old: old.freeze(), back, pace=500)
        penstock.wait_for(lambda: self.set.role(old) == 'slave',
                          deadline=FAILOVER, what='it is a replica')
        self.assertEqual(self.clients(old), 0)

    def test_a_worker_is_behind(self):
        """It asks the old master; others don't take its word for news."""

        old, new = self.redis(), self.redis()
        liar = Liar(lambda argv: address('127.0.0.1', old.port))
        self.addCleanup(liar.teardown)
        self.stock = {}
        self.mutex = threading.Lock()
        self.erp = self.origin(self.serve)
        gw = self.host('mode sentinel %s; server 127.0.0.1:%d;'
                       % (NAME, liar.port))
        self.wait_live(gw)
        worker = self.workers(gw)

        def number(connection):
            connection.request('GET', '/stock?sku=D')
            return int(connection.getresponse().read())

        # each is at the old master, once it had to ask
        def asked():
            for connection in worker.values():
                self.assertEqual(number(connection), 1000)
            return len(liar.connections) == 2
        penstock.wait_for(asked, what='a connection of each worker')
        link = re.search(r' addr=\S+:(\d+) .* name=penstock-push ',
                         old.command('CLIENT', 'LIST'))
        holder, = gw.connected(sport=int(link[1]), dport=old.port)
        behind, = set(worker) - {holder}
        to, = [s for s in liar.connections
               if gw.connected(sport=s.getpeername()[1], dport=liar.port)
               == {holder}]

        # the holder of the link moves, and fills what the new one lacks
        liar.told[to] = address('127.0.0.1', new.port)
        liar.say('%s 127.0.0.1 %d 127.0.0.1 %d' % (
            NAME, old.port, new.port), to=to)
        penstock.wait_for(lambda: 'penstock-push'
                          in new.command('CLIENT', 'LIST'), what='a link')
        self.wait_live(gw)
        self.stock['D'] = 999
        new.command('SET', 'penstock:av:{a}:epoch', 'x')

        # nobody told the old one
        number(worker[behind])
        self.assertEqual(number(worker[holder]), 999)

        liar.told.clear()
        liar.answer = lambda argv: address('127.0.0.1', new.port)
        penstock.wait_for(lambda: 'name=penstock'
                          not in old.command('CLIENT', 'LIST'), LONG,
                          'it follows')
        self.assertEqual(number(worker[behind]), 999)

    def lost_invalidation(self):
        """A gateway, its old master, which confirmed an order, and the new
        one, which was not told."""

        old = self.redis('--repl-diskless-sync-delay', '0')
        new = self.redis('--replicaof', '127.0.0.1 %d' % old.port)
        penstock.wait_for(lambda: new.command('ROLE')[3] == 'connected',
                          deadline=FAILOVER, what='a replica in step')
        self.liar = Liar(lambda argv: address('127.0.0.1', old.port))
        self.addCleanup(self.liar.teardown)
        self.stock = {}
        self.mutex = threading.Lock()
        self.erp = self.origin(self.serve)
        gw = self.host('mode sentinel %s; server 127.0.0.1:%d;'
                       % (NAME, self.liar.port), workers=1)
        self.wait_live(gw)
        self.assertEqual(self.number(gw), 1000)
        penstock.wait_for(lambda: new.command('KEYS', 'penstock:av:*'),
                          what='a record at the replica')
        new.command('REPLICAOF', 'NO', 'ONE')
        self.order(gw)
        return gw, old, new

    def test_an_invalidation_is_lost(self):
        gw, old, new = self.lost_invalidation()
        self.liar.answer = lambda argv: address('127.0.0.1', new.port)
        self.liar.say('%s 127.0.0.1 %d 127.0.0.1 %d' % (
            NAME, old.port, new.port))
        gw.wait_log('"shop" is 127.0.0.1:%d now' % new.port)
        for _ in range(20):
            self.assertEqual(self.number(gw), 999)

    def test_an_invalidation_is_lost_along_with_a_worker(self):
        gw, old, new = self.lost_invalidation()
        for s in self.liar.connections:
            self.liar.told[s] = address('127.0.0.1', old.port)
        self.liar.answer = lambda argv: address('127.0.0.1', new.port)
        gw.reload()
        for _ in range(20):
            self.assertEqual(self.number(gw), 999)
        self.assertIn('name=penstock', new.command('CLIENT', 'LIST'))

    def workers(self, gw):
        """A connection to each worker, by its pid."""

        found = {}

        def all_():
            connection = http.client.HTTPConnection('127.0.0.1', gw.port)
            connection.request('GET', '/pid')
            pid = int(connection.getresponse().read())
            if found.setdefault(pid, connection) is connection:
                self.addCleanup(connection.close)
            else:
                connection.close()
            return set(found) == set(gw.workers())

        penstock.wait_for(all_, what='a connection to each worker')
        return found

    def calls(self, node):
        stats = self.set.ask(node, 'INFO', 'commandstats')
        return {name: n for name, n in
                re.findall(r'cmdstat_(\w+):calls=(\d+)', stats)
                if name in ('get', 'set', 'eval', 'evalsha', 'mget')}


PROBE = '''
    %%HTTP%%

    redis main {
        %%BLOCK%%
    }

    server {
        listen 127.0.0.1:%%PORT%%;
        location / { probe_redis main; }
    }
'''


class Probe(penstock.TestCase):
    """One worker, asked which server its calls go to."""

    def probe(self, block, http='', files=(), **kw):
        gw = penstock.Gateway(PROBE, start=False,
                              module=penstock.PROBE_MODULE, HTTP=http,
                              BLOCK=block, **kw)
        self.addCleanup(gw.teardown)
        for name, text in files:
            gw.write(name, text)
        gw.start()
        return gw

    def where(self, gw):
        """The port of the server that answers; None: no server does."""

        answer = gw.get('/?a=CONFIG&a=GET&a=port')
        self.assertEqual(answer.status, 200, answer)
        call = answer.json()['calls'][0]
        if call['status'] != 'ok':
            self.assertIn(call['status'], ('declined', 'down', 'lost'))
            return None
        return int(call['reply'][1])

    def until(self, gw, port, only=True):
        """Until calls are answered there; "only": and nowhere before."""

        def there():
            now = self.where(gw)
            if only:
                self.assertIn(now, (None, port))
            return now == port
        penstock.wait_for(there, FAILOVER, 'calls go to %d' % port)

    def liar(self, answer):
        liar = Liar(lambda argv: answer)
        self.addCleanup(liar.teardown)
        return liar

    def servers(self, *ports):
        return 'mode sentinel %s;' % NAME + ''.join(
            'server 127.0.0.1:%d;' % port for port in ports)


class Lies(Probe):
    """Sentinels, scripted, that say anything."""

    def pair(self):
        master = self.redis('--repl-diskless-sync-delay', '0')
        replica = self.redis('--replicaof', '127.0.0.1 %d' % master.port)
        penstock.wait_for(
            lambda: replica.command('ROLE')[3] == 'connected',
            deadline=FAILOVER, what='a replica in step')
        return master, replica

    def test_what_is_no_master_is_not_used(self):
        master, replica = self.pair()
        nowhere = penstock.free_port()
        none = "what it gave as the master's address is none"
        lies = [
            (address('127.0.0.1', replica.port),
             'by its ROLE it is no master'),
            (address('127.0.0.1', nowhere), r'connect\(\) failed'),
            (b'*-1\r\n', 'it knows no master of that name'),
            (b'$-1\r\n', 'it knows no master of that name'),
            (address('127.0.0.1', 0), none),
            (address('127.0.0.1', 65536), none),
            (address('127.0.0.1', '80 '), none),
            (address('', 80), none),
            (address('a b', 80), none),
            (address('a\0b', 80), none),
            (address('x' * 256, 80), none),
            (b'*1\r\n$1\r\na\r\n', none),
            (b'*2\r\n$1\r\na\r\n:80\r\n', none),
            (b'*2\r\n*-1\r\n$2\r\n80\r\n', none),
            (b'+OK\r\n', none),
            (b':7\r\n', none),
            (address('redis.invalid', 80), 'needs a "resolver"'),
            (b"-ERR unknown command 'SENTINEL'\r\n", 'is it a sentinel'),
            (b'-NOAUTH Authentication required.\r\n', 'is it a sentinel'),
            (b'$999999999\r\n', 'string in reply is too large'),
            (b'HTTP/1.1 400 Bad Request\r\n', 'unknown reply type'),
            (None, 'no (answer of the sentinel|reply) in time'),
        ]
        truth = self.liar(address('127.0.0.1', master.port))
        for lie, line in lies:
            with self.subTest(lie=lie):
                first = self.liar(lie)
                gw = self.probe(self.servers(first.port, truth.port))
                self.until(gw, master.port)
                gw.wait_log(line)
                gw.stop()

    def test_nobody_tells_the_truth(self):
        """Nothing is answered, and nobody is asked without a pause."""

        master, replica = self.pair()
        a = self.liar(address('127.0.0.1', replica.port))
        b = self.liar(b'*-1\r\n')
        gw = self.probe(self.servers(a.port, b.port))
        begun = time.monotonic()
        while time.monotonic() - begun < 2:
            self.assertIsNone(self.where(gw))
        asked = a.asked() + b.asked()
        print('\nasked %d times in 2 s' % asked)
        self.assertLess(asked, 40)
        self.assertGreater(asked, 3)
        a.answer = lambda argv: address('127.0.0.1', master.port)
        self.until(gw, master.port)

    def test_messages(self):
        master, replica = self.pair()
        other, nowhere = self.redis(), penstock.free_port()
        a = self.liar(address('127.0.0.1', master.port))
        gw = self.probe(self.servers(a.port))
        self.until(gw, master.port)

        def say(port, name=NAME, rest=''):
            a.say('%s 127.0.0.1 %d 127.0.0.1 %s%s' % (
                name, master.port, port, rest))

        # of other masters, or malformed
        for args in ((other.port, 'other'), (0,), (70000,), ('x',),
                     (other.port, NAME, ' '), ('', )):
            say(*args)
        a.say('\0' * 1000)
        asked = a.asked()
        penstock.wait_for(lambda: a.asked() > asked, what='the next question')
        self.assertEqual(self.where(gw), master.port)
        self.assertNotIn(' now, redis', gw.log())

        # to a replica, to nobody: left again for what the answers say
        for port in replica.port, nowhere:
            say(port)
            gw.wait_log('"shop" is 127.0.0.1:%d now' % port)
            self.until(gw, master.port)

        # to a master
        a.answer = lambda argv: address('127.0.0.1', other.port)
        say(other.port)
        self.until(gw, other.port, only=False)
        self.assertEqual(self.where(gw), other.port)

    def test_promoted(self):
        """The answer changes before +switch-master is said."""

        old, new = self.redis(), self.redis()
        a = self.liar(address('127.0.0.1', old.port))
        gw = self.probe(self.servers(a.port))
        self.until(gw, old.port)
        asked = a.asked()
        penstock.wait_for(lambda: a.asked() > asked, what='the next question')
        a.answer = lambda argv: address('127.0.0.1', new.port)
        asked = a.asked()
        a.say('any', '+promoted-slave')
        begun = time.monotonic()
        penstock.wait_for(lambda: a.asked() > asked, what='a question')
        self.assertLess(time.monotonic() - begun, 0.8)
        self.until(gw, new.port, only=False)

    def call(self, gw, *argv):
        """What becomes of it: its status, and the error's code."""

        call = gw.get('/?' + '&'.join('a=' + x for x in argv)).json()[
            'calls'][0]
        reply = call['reply']
        return call['status'], (reply['error'].split()[0]
                                if isinstance(reply, dict) else reply)

    def test_read_only(self):
        """A server that became a replica, and kept its connections."""

        old, new = self.redis(), self.redis('--repl-diskless-sync-delay', '0')
        a = self.liar(address('127.0.0.1', old.port))
        gw = self.probe(self.servers(a.port))
        for port, argv, error in (
                (new.port, ('SET', 'k', 'v'), 'READONLY'),
                (1, ('GET', 'k'), 'MASTERDOWN')):
            a.answer = lambda argv: address('127.0.0.1', old.port)
            old.command('REPLICAOF', 'NO', 'ONE')
            old.command('CONFIG', 'SET', 'replica-serve-stale-data', 'no')
            self.until(gw, old.port, only=False)
            old.command('REPLICAOF', '127.0.0.1', port)
            if error == 'READONLY':
                penstock.wait_for(
                    lambda: 'master_link_status:up'
                    in old.command('INFO', 'replication'),
                    deadline=FAILOVER, what='a replica in step')
            self.assertEqual(self.call(gw, *argv), ('refused', error))
            gw.wait_log('it became read-only')
            gw.wait_log('by its ROLE it is no master')
            self.assertIn(self.call(gw, *argv)[0], ('declined', 'down'))
            a.answer = lambda argv: address('127.0.0.1', new.port)
            self.until(gw, new.port)
            self.assertEqual(self.call(gw, 'SET', 'k', 'v'), ('ok', 'OK'))

    def test_a_sentinel_of_former_days(self):
        """A master that is fine is not left on the word of one."""

        master, former = self.redis(), self.redis()
        a, c = (self.liar(address('127.0.0.1', master.port))
                for _ in range(2))
        b = self.liar(address('127.0.0.1', former.port))
        gw = self.probe(self.servers(a.port, b.port, c.port))
        self.until(gw, master.port)
        a.teardown()
        penstock.wait_for(lambda: c.asked() > 1,
                          what='the third sentinel is asked')
        self.assertGreater(b.asked(), 0)
        self.assertEqual(self.where(gw), master.port)
        self.assertNotIn('penstock', former.command('CLIENT', 'LIST'))

        # until another one says the same
        c.answer = b.answer
        self.until(gw, former.port, only=False)

    def test_the_last_sentinel_of_former_days(self):
        """Nor for ever kept against the only one that can be asked."""

        master, other = self.redis(), self.redis()
        a = self.liar(address('127.0.0.1', master.port))
        b = self.liar(address('127.0.0.1', other.port))
        gw = self.probe(self.servers(a.port, b.port))
        self.until(gw, master.port)
        a.teardown()
        self.until(gw, other.port, only=False)


class Names(Probe):

    def test_a_name(self):
        """A sentinel that gives names, which lead to several hosts."""

        master = self.redis()
        dns = Dns('127.0.0.1')
        self.addCleanup(dns.teardown)
        a = self.liar(address('redis-0.internal', master.port))
        gw = self.probe(self.servers(a.port), http='resolver 127.0.0.1:%d '
                        'valid=1s ipv6=off;' % dns.port)
        self.until(gw, master.port)

        # the same name leads to another server
        other = self.redis('--bind', '127.0.0.2', '127.0.0.1')
        dns.address = '127.0.0.2'
        a.answer = lambda argv: address('redis-1.internal', other.port)
        self.until(gw, other.port, only=False)
        self.assertIn(' addr=127.0.0.1', other.command('CLIENT', 'LIST'))
        self.assertIn(' laddr=127.0.0.2', other.command('CLIENT', 'LIST'))

    def test_wrong_name(self):
        set_ = Sentinels(self, replicas=0)
        gw = self.probe('mode sentinel shoq;' + set_.block(mode=False))
        begun = time.monotonic()
        while time.monotonic() - begun < 1:
            self.assertIsNone(self.where(gw))
        lines = re.findall('it knows no master of that name, check "mode '
                           'sentinel" \\(master "shoq"\\), redis "main" '
                           '(\\S+)', gw.log())
        self.assertEqual(sorted(lines), sorted(
            '127.0.0.1:%d' % port for port in set_.ports))

    def test_the_port_of_sentinels(self):
        gw = self.probe('mode sentinel shop; server 127.255.0.9;')
        self.assertIsNone(self.where(gw))
        gw.wait_log(r'redis "main" 127\.255\.0\.9 \(127\.255\.0\.9:26379\)')

    def test_no_sentinels(self):
        """A master that is fine is used on, whoever tells of it."""

        set_ = Sentinels(self, replicas=0)
        gw = self.probe(set_.block())
        master = set_.nodes[0].port
        self.until(gw, master)
        for s in set_.sentinels:
            s.kill()
            s.forget()
        gw.wait_log('refused')
        for _ in range(20):
            self.assertEqual(self.where(gw), master)
            time.sleep(0.05)
        set_.nodes[0].restart()
        self.until(gw, master)


class Rights(Probe):

    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix='penstock-') + '/'
        cls.addClassCleanup(shutil.rmtree, cls.dir, True)

    def test_users(self):
        """Sentinels with a user of their own, and no right but those that
        the documentation names."""

        set_ = Sentinels(
            self, auth='pw', replicas=1,
            nodes=('--requirepass', 'pw', '--masterauth', 'pw'),
            conf='requirepass pw\n'
                 'sentinel auth-pass shop pw\n'
                 'sentinel sentinel-pass pw\n'
                 'user gw on >told &+switch-master &+promoted-slave -@all '
                 '+auth +subscribe +unsubscribe '
                 '+sentinel|get-master-addr-by-name\n')
        for n in set_.nodes:
            n.command('ACL', 'SETUSER', 'app', 'on', '>secret', '~*',
                      '-@all', '+config|get', '+role')
        files = [('told', 'told\n'), ('secret', 'secret\n'), ('no', 'no\n')]
        block = set_.block() + 'user app; password_file secret;'
        mine = 'sentinel_user gw; sentinel_password_file told;'
        gw = self.probe(block + mine, files=files)
        self.until(gw, set_.master().port)
        old = set_.failover()
        new = set_.wait_master(old)
        self.until(gw, new.port, only=False)
        self.assertNotIn('refused', gw.log())

        for rest, line in (
                ('', 'a password is needed, see "sentinel_password_file"'),
                ('sentinel_password_file no;', 'check "sentinel_user" and '
                 '"sentinel_password_file"')):
            gw = self.probe(block + rest, files=files)
            self.assertIsNone(self.where(gw))
            gw.wait_log(line)

        set_.ask(new, 'ACL', 'SETUSER', 'app', '-role')
        gw = self.probe(block + mine, files=files)
        self.assertIsNone(self.where(gw))
        gw.wait_log('it refused ROLE, may its user \\+role')

    def test_tls(self):
        """A sentinel and its master by TLS; one of them by plaintext."""

        authority(self.dir, 'ca')
        certificate(self.dir, 'server', 'ca', 'IP:127.0.0.1')
        certificate(self.dir, 'named', 'ca', 'DNS:redis.internal')

        def options(prefix, name='server'):
            return [(prefix + 'tls-cert-file', self.dir + name + '.crt'),
                    (prefix + 'tls-key-file', self.dir + name + '.key'),
                    (prefix + 'tls-ca-cert-file', self.dir + 'ca.crt'),
                    (prefix + 'tls-auth-clients', 'no')]

        port, named = penstock.free_port(), penstock.free_port()
        master = self.redis('--tls-port', port,
                            *sum(options('--'), ()))
        other = self.redis('--tls-port', named,
                           *sum(options('--', 'named'), ()))
        tls = penstock.free_port()
        sentinel = self._add(Sentinel(
            'tls-port %d\ntls-replication yes\n' % tls + ''.join(
                '%s %s\n' % pair for pair in options('')),
            port, quorum=1))
        penstock.wait_for(lambda: sentinel.master() == port, what='a master')
        block = 'tls on; tls_trusted_certificate %sca.crt;' % self.dir

        gw = self.probe(self.servers(tls) + block)
        self.until(gw, master.port)

        # no plaintext, unless it is asked for
        gw = self.probe(self.servers(sentinel.port) + block,
                        allow=(HANDSHAKE,))
        self.assertIsNone(self.where(gw))
        gw.wait_log('TLS handshake')
        gw = self.probe(self.servers(sentinel.port) + block
                        + 'sentinel_tls off;')
        self.until(gw, master.port)

        # the name is that which was told, or tls_name
        liar = self.liar(address('127.0.0.1', named))
        plain = self.servers(liar.port) + block + 'sentinel_tls off;'
        gw = self.probe(plain)
        self.assertIsNone(self.where(gw))
        gw.wait_log('its certificate is not one of "127.0.0.1"')
        gw = self.probe(plain + 'tls_name redis.internal;')
        self.until(gw, other.port)


if __name__ == '__main__':
    unittest.main()
