"""The ERP's budget of two hosts with one Redis: never more at the ERP than the
limit, by its own count, whoever dies.
"""

import unittest

import penstock
import test_erp_budget as base


class BudgetInRedis(base.Budget):

    redis_ = True

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


if __name__ == '__main__':
    unittest.main()
