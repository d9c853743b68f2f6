"""Shared memory zones: what is in them outlives a reload and a worker.

Needs the probe build, whose location reaches a dictionary of core: LRU,
eviction when full, a reload that keeps the memory or (with another layout)
gives new memory, and a worker that is killed in the middle of a change.
"""

import os
import re
import unittest

import penstock

penstock.MODULE = os.environ.get('PENSTOCK_PROBE_MODULE', os.path.join(
    penstock.BUILD, 'probe/objs/ngx_http_penstock_module.so'))

CONF = '''
    probe_dict_zone a:%%SIZE%% layout=%%LAYOUT%%;
    %%MORE%%

    server {
        listen 127.0.0.1:%%PORT%%;

        location /a {
            probe_dict a;
        }

        location /status {
            penstock_status;
        }
    }
'''


class Test(penstock.TestCase):

    def start(self, **kw):
        names = dict(SIZE='64k', LAYOUT=1, MORE='')
        names.update(kw)
        self.gw = self.gateway(CONF, **names)

    def do(self, what, status=200, **args):
        query = ''.join('&%s=%s' % arg for arg in args.items())
        answer = self.gw.get('/a?do=%s%s' % (what, query))
        self.assertEqual(answer.status, status)
        return answer.text

    def value(self, name, zone='a'):
        metric = self.gw.get('/status').json()['metrics'][name]
        for value in metric['values']:
            if value['labels'] == {'zone': zone}:
                return value['value']
        self.fail('no zone ' + zone)

    def test_find_replace_delete(self):
        self.start()
        self.assertEqual(self.do('find', key='k'), 'miss')
        self.do('insert', key='k', value='v')
        self.do('insert', key='l', value='w' * 3000)
        self.assertEqual(self.do('find', key='k'), 'v')
        self.assertEqual(self.do('find', key='l'), 'w' * 3000)
        self.do('insert', key='k', value='other')
        self.assertEqual(self.do('find', key='k'), 'other')
        self.assertEqual(self.value('penstock_probe_entries'), 2)
        self.do('delete', key='k')
        self.assertEqual(self.do('find', key='k'), 'miss')
        self.assertEqual(self.value('penstock_probe_entries'), 1)

    def test_least_recently_used_goes_first(self):
        self.start()
        self.do('insert', key='kept', value='kept')
        self.do('insert', key='gone', value='gone')
        for n in range(6):
            self.do('fill', **{'from': 100 * n, 'n': 100, 'size': 8})
            self.assertEqual(self.do('find', key='kept'), 'kept')
        self.assertEqual(self.do('find', key='gone'), 'miss')
        self.assertEqual(self.do('find', key='0'), 'miss')
        self.assertNotEqual(self.do('find', key='599'), 'miss')
        entries = self.value('penstock_probe_entries')
        self.assertGreater(entries, 200)
        self.assertLess(entries, 512)
        self.assertGreater(self.value('penstock_probe_evictions'), 0)

    def test_full_zone_makes_room_for_any_size(self):
        self.start()
        self.do('fill', n=2000, size=8)
        before = self.value('penstock_probe_evictions')
        self.do('insert', key='large', value='x' * 5000)
        self.assertEqual(self.do('find', key='large'), 'x' * 5000)
        self.do('fill', n=50, size=200)
        self.assertNotEqual(self.do('find', key='49'), 'miss')
        self.assertGreater(self.value('penstock_probe_evictions'), before)

        # what can never fit evicts nobody
        before = self.value('penstock_probe_entries')
        self.assertEqual(self.do('fill', status=507, n=1, size=100000),
                         self.gw.get('/a?do=fill&size=100000').text)
        self.do('find', key='49')
        self.assertGreaterEqual(self.value('penstock_probe_entries'),
                                before - 1)
        self.assertNotIn('no memory', self.gw.log())

    def test_reload_keeps_the_memory(self):
        self.start()
        self.do('insert', key='k', value='v')
        self.do('count', n=3)
        self.gw.reload()
        self.assertEqual(self.do('find', key='k'), 'v')
        self.do('count', n=4)
        self.assertEqual(self.value('penstock_probe_total'), 7)

    def test_counters_outlive_a_change_of_zones(self):
        self.start()
        self.do('count', n=5)
        self.gw.reload(CONF, SIZE='64k', LAYOUT=1,
                       MORE='probe_dict_zone b:64k; probe_dict_zone c:32k;')
        self.do('count', n=6)
        self.assertEqual(self.value('penstock_probe_total'), 11)
        self.assertEqual(self.value('penstock_probe_total', 'b'), 0)
        self.gw.reload(CONF, SIZE='64k', LAYOUT=1,
                       MORE='probe_dict_zone c:32k;')
        self.assertEqual(self.value('penstock_probe_total'), 11)
        self.assertEqual(self.value('penstock_probe_total', 'c'), 0)

    def test_another_size_or_layout_is_another_memory(self):
        self.start()
        self.do('insert', key='k', value='v')
        self.gw.reload(CONF, SIZE='64k', LAYOUT=2, MORE='')
        self.assertEqual(self.do('find', key='k'), 'miss')
        self.do('insert', key='k', value='w')
        self.gw.reload(CONF, SIZE='64k', LAYOUT=2, MORE='')
        self.assertEqual(self.do('find', key='k'), 'w')
        self.gw.reload(CONF, SIZE='96k', LAYOUT=2, MORE='')
        self.assertEqual(self.do('find', key='k'), 'miss')

    def test_refused_reload_changes_nothing(self):
        self.start()
        self.do('insert', key='k', value='v')
        self.do('count', n=2)
        self.gw.allow.append(re.compile('is already defined'))
        self.gw.configure(CONF, SIZE='64k', LAYOUT=1,
                          MORE='probe_dict_zone a:64k;')
        self.gw.signal(1)
        self.gw.wait_log('is already defined')
        self.assertEqual(self.do('find', key='k'), 'v')
        self.do('count', n=2)
        self.gw.reload(CONF, SIZE='64k', LAYOUT=1, MORE='')
        self.assertEqual(self.do('find', key='k'), 'v')
        self.assertEqual(self.value('penstock_probe_total'), 4)

    def test_worker_killed_inside(self):
        self.gw = self.gateway(CONF, workers=2, SIZE='64k', LAYOUT=1, MORE='',
                               allow=['exited on signal 9',
                                      'zone "penstock_probe_dict:a" was locked by'])
        for _ in range(3):
            self.do('fill', n=300, size=8)
            self.do('count', n=1)

            before = self.gw.workers()
            with self.assertRaises(OSError):
                self.do('kill', key='k')
            penstock.wait_for(lambda: len(self.gw.workers()) == 2
                              and self.gw.workers() != before)

            # everything is gone, and it works
            self.assertEqual(self.do('find', key='1'), 'miss')
            self.assertEqual(self.do('find', key='k'), 'miss')
            self.assertEqual(self.value('penstock_probe_entries'), 0)
            self.do('insert', key='k', value='v')
            self.assertEqual(self.do('find', key='k'), 'v')

        self.gw.wait_log('died while it wrote in zone "a", which was emptied')
        self.assertEqual(self.value('penstock_probe_total'), 3)

    def test_waiting_worker_goes_on_when_the_holder_dies(self):
        self.gw = self.gateway(CONF, workers=4, SIZE='64k', LAYOUT=1, MORE='',
                               allow=['exited on signal 9',
                                      'zone "penstock_probe_dict:a" was locked by'])

        def kill():
            try:
                self.do('kill', key='k')
            except OSError:
                pass

        def work():
            for n in range(20):
                try:
                    self.do('fill', n=500, size=8)
                except OSError:
                    pass    # served by the worker that was killed

        penstock.together([work] * 3 + [kill])
        penstock.wait_for(lambda: len(self.gw.workers()) == 4)
        self.do('insert', key='k', value='v')
        self.assertEqual(self.do('find', key='k'), 'v')

    def test_no_two_workers_draw_the_same(self):
        self.gw = self.gateway(CONF, workers=4, SIZE='64k', LAYOUT=1, MORE='')
        drawn = penstock.together([lambda: self.do('random')] * 400)
        self.assertEqual(len(set(drawn)), 400)
        self.assertEqual(len(drawn[0]), 64)

    def test_sha256(self):
        self.start()
        self.assertEqual(self.do('sha256', key='abc'),
                         'ba7816bf8f01cfea414140de5dae2223'
                         'b00361a396177a9cb410ff61f20015ad')

    def test_configuration_errors(self):
        for directives, said in (
            ('probe_dict_zone a;', 'invalid zone "a", write it as NAME:SIZE'),
            ('probe_dict_zone :1m;', 'invalid zone ":1m"'),
            ('probe_dict_zone "a b:1m";', 'invalid zone name "a b"'),
            ('probe_dict_zone a:1x;', 'invalid size "1x" of zone "a"'),
            ('probe_dict_zone a:;', 'invalid size "" of zone "a"'),
            ('probe_dict_zone a:8k;', 'zone "a" is too small'),
            ('probe_dict_zone a:64k; probe_dict_zone a:64k;',
             'zone "a" is already defined'),
            ('rate_limit_zone $host zone=nowhere:64k rate=1r/s;'
             'server { location / { probe_dict nowhere; } }',
             r'zone "nowhere" is not defined: .* in \S+nginx.conf:\d+'),
            ('server { location / { probe_dict nowhere; } }',
             r'zone "nowhere" is not defined: .* in \S+nginx.conf:\d+'),
        ):
            fine, output = self.check(directives)
            self.assertFalse(fine, directives)
            self.assertRegex(output, said)
            self.assertNotIn('zero size', output)

        # used before it is defined
        fine, output = self.check(
            'server { location / { probe_dict a; } } probe_dict_zone a:64k;')
        self.assertTrue(fine, output)


if __name__ == '__main__':
    unittest.main()
