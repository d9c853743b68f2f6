"""What is given back of a limit in Redis: what was debited, less what of it
has drained, so that whatever comes in between, and however late it arrives,
no more passes than if the request had never come.

The script is the module's own, taken from its sources.
"""

import os
import random
import re
import unittest

import penstock

MS = 1000000        # ns


def script(name):
    path = os.path.join(penstock.ROOT, 'modules/ratelimit',
                        'ngx_http_penstock_ratelimit_scripts.c')
    with open(path) as f:
        text = f.read()
    text = text[text.index('ngx_http_penstock_ratelimit_%s = {' % name):]
    text = text[:text.index('{ 0 }')]
    return ''.join(re.findall(r'^ *"(.*)"[,\\]?$', text, re.M)) \
        .replace('\\n', '\n')


class Test(penstock.TestCase):

    def setUp(self):
        self.store = self.redis()
        self.back = script('back')

    def now(self):
        seconds, us = self.store.command('TIME')
        return int(seconds) * 1000000 + int(us)

    def give_back(self, cost, age, before=0):
        """Of so many ns, debited so many ns ago; behind so many."""

        self.store.command('EVAL', self.back, 1, 'k', cost,
                           self.now() - age // 1000, before)

    def left(self, value):
        """What is still to drain now, by a value of the key."""

        if value is None:
            return 0
        at, left = value.split()[:2]
        return max(0, int(left) - (self.now() - int(at)) * 1000)

    def after(self, left, cost, age, before=0, rest=''):
        self.store.command('SET', 'k', '%d %d%s' % (self.now(), left, rest),
                           'PX', 10000000)
        self.give_back(cost, age, before)
        return self.left(self.store.command('GET', 'k'))

    def near(self, value, wanted):
        # the test's own steps take time
        self.assertLessEqual(value, wanted + 100 * MS)
        self.assertGreaterEqual(value, wanted - 1000 * MS)

    def test_at_once(self):
        self.near(self.after(60000 * MS, 10000 * MS, 0), 50000 * MS)
        self.assertEqual(self.after(10000 * MS, 20000 * MS, 0), 0)
        self.assertIsNone(self.store.command('GET', 'k'))

    def test_what_has_drained_is_not_given_back(self):
        self.near(self.after(60000 * MS, 10000 * MS, 4000 * MS), 54000 * MS)
        self.near(self.after(60000 * MS, 10000 * MS, 20000 * MS), 60000 * MS)

    def test_it_drains_behind_what_was_there(self):
        self.near(self.after(60000 * MS, 10000 * MS, 4000 * MS, 4000 * MS),
                  50000 * MS)
        self.near(self.after(60000 * MS, 10000 * MS, 9000 * MS, 4000 * MS),
                  55000 * MS)
        self.near(self.after(60000 * MS, 10000 * MS, 15000 * MS, 4000 * MS),
                  60000 * MS)

    def test_a_clock_that_was_set_back(self):
        self.near(self.after(60000 * MS, 10000 * MS, -5000 * MS), 60000 * MS)

    def test_leases_stay(self):
        rest = ' abc 5000000000 %d' % (self.now() + 10**9)
        self.assertEqual(self.after(9000 * MS, 10000 * MS, 0, rest=rest), 0)
        self.assertTrue(self.store.command('GET', 'k').endswith(rest))

    def test_no_key_or_another(self):
        self.give_back(1000 * MS, 0)
        self.assertIsNone(self.store.command('GET', 'k'))
        self.store.command('SET', 'k', 'mine')
        self.give_back(1000 * MS, 0)
        self.assertEqual(self.store.command('GET', 'k'), 'mine')

    def test_never_more_than_without_it(self):
        """Against a simulation: a debit, others at any time, and the refund
        at the end.  What is left then is never less than if there had been
        no debit, and the same where the key had to drain all the time what
        was there before it."""

        rnd = random.Random(3)
        whole = 0

        for _ in range(300):
            now = self.now() * 1000
            start = now - rnd.randrange(1, 60000) * MS
            times = sorted(rnd.randrange(start, now)
                           for _ in range(rnd.randrange(6)))
            before = rnd.choice([0, rnd.randrange(60000) * MS])
            cost = rnd.randrange(1, 30000) * MS
            others = [(t, rnd.randrange(1, 30000) * MS) for t in times]

            def run(tat):
                for t, c in others:
                    tat = max(tat, t) + c
                return tat

            with_, without = run(start + before + cost), run(start + before)
            at = others[-1][0] if others else start
            self.store.command('SET', 'k', '%d %d' % (
                at // 1000, max(0, with_ - at)), 'PX', 10000000)
            self.store.command('EVAL', self.back, 1, 'k', cost,
                               start // 1000, before)
            value = self.store.command('GET', 'k')
            tat = 0 if value is None else \
                int(value.split()[0]) * 1000 + int(value.split()[1])

            # 1 ms: the test's own rounding
            self.assertGreaterEqual(max(tat, now), max(without, now) - MS)
            if before > now - start:
                whole += 1
                self.assertLessEqual(tat, without + 1000 * MS)

        self.assertGreater(whole, 20)


if __name__ == '__main__':
    unittest.main()
