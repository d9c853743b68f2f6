"""The ERP's budget of two hosts with one Redis: never more at the ERP than the
limit, by its own count, whoever dies.
"""

import threading
import time
import unittest

import faults
import penstock
import test_erp_budget as base


class BudgetInRedis(base.Budget):

    redis_ = True
    link = None

    def test_redis_dies(self):
        """Without Redis each host has half; back, they share again."""
        self.start(gateways=2, limit=4, writes=0, latency='100ms')
        got, threads = base.crowd([lambda n=n: self.write(n % 2)
                              for n in range(40)])
        penstock.wait_for(lambda: self.stats()['writes'] >= 6)
        self.store.kill()
        base.join(threads)
        self.assertEqual({getattr(a, 'status', a) for a in got}, {201})
        self.assertLessEqual(self.stats()['highest_concurrency'], 4)
        self.store.forget()
        self.store.start()
        got, threads = base.crowd([lambda n=n: self.write(n % 2)
                              for n in range(40)])
        base.join(threads)
        self.assertEqual({getattr(a, 'status', a) for a in got}, {201})
        self.assertLessEqual(self.stats()['highest_concurrency'], 4)

    def flaps(self, away):
        """The ERP's own count while Redis goes and comes back with its data,
        and both hosts are busy."""

        self.start(gateways=2, limit=4, writes=0, latency='400ms')
        done = threading.Event()
        statuses = set()

        def busy(gw):
            while not done.is_set():
                statuses.add(self.write(gw, timeout=20).status)

        threads = [threading.Thread(target=busy, args=(n % 2,))
                   for n in range(16)]
        for thread in threads:
            thread.start()
        try:
            for phase in (0.5, 2.6, 3.1):
                time.sleep(phase)
                away()
            time.sleep(3)
        finally:
            done.set()
            base.join(threads)
        self.assertEqual(statuses, {201})
        return self.stats()['highest_concurrency']

    def test_redis_freezes(self):
        """It comes back as if nothing had been: hosts went on alone."""

        def away():
            self.store.freeze()
            time.sleep(3.5)
            self.store.thaw()

        self.assertLessEqual(self.flaps(away), 4)

    def test_redis_restarts(self):
        """With its data, which says nothing of who went on alone."""

        self.kept = '--appendonly', 'yes', '--appendfsync', 'always'

        def away():
            self.store.kill()
            time.sleep(3.5)
            self.store.start()

        self.assertLessEqual(self.flaps(away), 4)

    def test_nobody_asks(self):
        """A host without requests asks too, and so does one that reloads:
        that Redis is not asked means that it is away."""

        self.start(gateways=2, limit=4, writes=0)
        time.sleep(3.5)
        self.gw[0].reload()
        time.sleep(0.3)
        begun = time.monotonic()
        for gw in 0, 1:
            self.assertEqual(self.write(gw).status, 201)
        self.assertLess(time.monotonic() - begun, 1.5)
        for gw in 0, 1:
            self.assertLessEqual(
                self.metric('penstock_erp_budget_unshared_total', gw), 1)

    def redis_port(self, gw):
        if self.link and gw == 0:
            self.link.target = self.store.port
            return self.link.port
        return self.store.port

    def cut(self, connections, alone):
        """The first host loses so many of its workers' connections to Redis
        and gets no others, the second keeps its own; what the ERP saw while
        both were busy for longer than anybody waits."""

        self.alone = 'alone=%d' % alone
        self.link = faults.Proxy(0)
        self.addCleanup(self.link.teardown)
        self.start(gateways=2, limit=4, writes=0, latency='200ms',
                   timeout='3s')
        statuses = set()

        def busy(gw, end):
            while time.monotonic() < end:
                statuses.add(self.write(gw, timeout=10).status)

        def busy_for(seconds):
            end = time.monotonic() + seconds
            threads = [threading.Thread(target=busy, args=(n % 2, end))
                       for n in range(24)]
            for thread in threads:
                thread.start()
            base.join(threads)

        def both_there():
            busy_for(0.1)
            return (self.gw[0].connected(dport=self.link.port)
                    == set(self.gw[0].workers()))

        penstock.wait_for(both_there, what='both workers are connected')
        self.assertEqual(statuses, {201})
        self.link.cut(connections)
        busy_for(6)
        self.assertLessEqual(statuses, {201, 503})
        return self.stats()['highest_concurrency']

    def test_a_worker_is_cut_off(self):
        """It does not count for itself while another of its host shares."""

        self.assertLessEqual(self.cut(1, alone=2), 4)

    def test_a_host_is_cut_off(self):
        """Where nobody goes on alone the limit holds even then."""

        self.assertLessEqual(self.cut(2, alone=0), 4)


if __name__ == '__main__':
    unittest.main()
