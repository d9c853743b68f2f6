#!/usr/bin/python3
"""A short soak, and that its checks can fail."""

import subprocess
import sys
import types
import unittest

import penstock
import soak
import soak_clients

STATUS = '''# TYPE penstock_a_total counter
penstock_a_total{zone="x"} %d
# TYPE penstock_a_entries gauge
penstock_a_entries %d
'''


class Checks(penstock.TestCase):

    def clients(self, answer):
        origin = self.origin(answer)
        return soak_clients.Clients(types.SimpleNamespace(port=origin.port),
                                    None, ['A', 'B', 'C'])

    def test_counters_and_bounds(self):
        values = [(5, 9), (6, 2), (6, 3), (5, 3)]
        beside = self.clients(lambda h: h.send(200, STATUS % values.pop(0)))
        for _ in range(3):
            beside.metrics()
        self.assertEqual(beside.bounds({'penstock_a_entries': 9}), [])
        self.assertEqual(beside.bounds({'penstock_a_entries': 8}),
                         ['penstock_a_entries was 9'])
        with self.assertRaisesRegex(AssertionError, 'x"}: 6, then 5'):
            beside.metrics()

    def keyed(self, answers, forgotten=False):
        """Problems of one order, with what the gateway answers in turn."""

        beside = self.clients(lambda h: h.send(*answers.pop(0)))
        beside.problems = soak_clients.Problems()
        beside.done = soak.threading.Event()
        beside.calm, beside.forgotten = False, forgotten
        beside.keyed(0)
        return [text for text, _ in beside.problems.items()]

    def test_orders(self):
        taken = 201, 'taken'
        twice = 409, {'code': 'DUPLICATE_ORDER'}

        def left(n, status='hit; ttl=3'):
            return (200, {'items': [{'available':
                                     soak_clients.KEYED_STOCK - n}]},
                    {'Cache-Status': 'Penstock; ' + status})

        self.assertEqual(self.keyed([taken, left(1), taken]), [])
        self.assertEqual(self.keyed([(200, 'found'), left(1), (200, 'found')]),
                         [])
        self.assertEqual(self.keyed([(503,), taken, left(2), taken]), [])
        self.assertEqual(self.keyed([twice], True), [])
        self.assertEqual(self.keyed([taken, left(0, 'hit; ttl=-3'), taken]),
                         [])
        for answers, said in (([twice], 'sent twice'),
                              ([(500,), twice], 'order with a key'),
                              ([taken, left(0), taken], 'is not seen'),
                              ([taken, left(1), (201, 'other')], 'then')):
            self.assertRegex(' '.join(self.keyed(answers)), said)

    def test_growth(self):
        def grown(name, by):
            it = soak.Soak(None, 0, 600)
            it.samples = [types.SimpleNamespace(
                worker=3000, master=900, fds=20, master_fds=11, life=n // 30)
                for n in range(60)]
            it.life = 1
            for n, sample in enumerate(it.samples):
                setattr(sample, name, getattr(sample, name) + by * n)
            it.growth()
            return it.failures

        self.assertEqual(grown('worker', 10), [])
        self.assertRegex(grown('fds', 1)[0], 'fds: 23.5 in the first')
        self.assertRegex(grown('master_fds', 1)[0], 'master_fds')
        if soak.os.environ.get('PENSTOCK_KIND') != 'asan':
            self.assertRegex(grown('worker', 100)[0], 'worker: 3350 in the')
            self.assertRegex(grown('worker', 300)[0], 'more than 16384 KB')
            self.assertRegex(grown('master', 100)[0], 'master: ')


class Soak(unittest.TestCase):

    def test_soak(self):
        p = subprocess.run([sys.executable, soak.__file__, '--short'],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           text=True)
        print(p.stdout)
        self.assertEqual(p.returncode, 0, p.stdout)


if __name__ == '__main__':
    unittest.main()
