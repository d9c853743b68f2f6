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
