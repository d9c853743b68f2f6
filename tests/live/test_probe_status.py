"""What penstock_status shows, in both formats; promtool is the judge of the
Prometheus one.  The probe build gives it something to show.
"""

import os
import re
import subprocess
import unittest

import penstock

penstock.MODULE = os.environ.get('PENSTOCK_PROBE_MODULE', os.path.join(
    penstock.BUILD, 'probe/objs/ngx_http_penstock_module.so'))

CONF = '''
    %%ZONES%%

    server {
        listen 127.0.0.1:%%PORT%%;

        location = /status {
            penstock_status;
        }

        location = /a {
            probe_dict a;
        }
    }
'''

PROMETHEUS = {'Accept': 'application/openmetrics-text;version=1.0.0,'
                        'application/openmetrics-text;version=0.0.1;q=0.75,'
                        'text/plain;version=0.0.4;q=0.5,*/*;q=0.1'}


class Test(penstock.TestCase):

    def start(self, zones='probe_dict_zone a:64k; probe_dict_zone b:64k;',
              **kw):
        self.gw = self.gateway(CONF, ZONES=zones, **kw)

    def test_prometheus(self):
        self.start()
        self.gw.get('/a?do=count&n=41')
        self.gw.get('/a?do=count')
        self.gw.get('/a?do=insert&key=k&value=v')

        answer = self.gw.get('/status', PROMETHEUS)
        self.assertEqual(answer.headers['Content-Type'],
                         'text/plain; version=0.0.4; charset=utf-8')
        self.assertEqual(answer.headers['Vary'], 'Accept')
        self.assertEqual(answer.headers['Cache-Control'], 'no-store')

        lines = answer.text.splitlines()
        self.assertIn('penstock_probe_total{zone="a"} 42', lines)
        self.assertIn('penstock_probe_total{zone="b"} 0', lines)
        self.assertIn('penstock_probe_entries{zone="a"} 1', lines)
        self.assertRegex(answer.text, r'(?m)^penstock_info\{version="[\d.]+",'
                                      r'nginx="[\d.]+"\} 1$')

        # each family once, in one piece
        families = [line.split()[2] for line in lines
                    if line.startswith('# TYPE ')]
        self.assertEqual(len(families), len(set(families)))
        samples = [re.match('[a-z_]+', line)[0] for line in lines
                   if not line.startswith('#')]
        runs = [name for n, name in enumerate(samples)
                if n == 0 or samples[n - 1] != name]
        self.assertEqual(runs, families)

        p = subprocess.run(['promtool', 'check', 'metrics'],
                           input=answer.body, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, timeout=60)
        self.assertEqual((p.returncode, p.stdout), (0, b''))

    def test_json(self):
        self.start()
        self.gw.get('/a?do=count&n=7')
        answer = self.gw.get('/status')
        self.assertEqual(answer.headers['Content-Type'], 'application/json')
        status = answer.json()
        self.assertRegex(status['version'], r'^\d')
        self.assertEqual(status['metrics']['penstock_probe_total'], {
            'type': 'counter', 'help': 'What a test counts.',
            'values': [{'labels': {'zone': 'a'}, 'value': 7},
                       {'labels': {'zone': 'b'}, 'value': 0}]})

    def test_format(self):
        self.start()

        for path, accept, text in (
            ('/status', None, False),
            ('/status', '*/*', False),
            ('/status', 'text/plain', True),
            ('/status', 'application/json, text/plain, */*', False),
            ('/status', 'application/json;q=0.5, text/plain', True),
            ('/status', 'application/openmetrics-text', True),
            ('/status', 'text/html,application/xhtml+xml,*/*;q=0.8', False),
            ('/status?format=json', 'text/plain', False),
            ('/status?format=prometheus', 'application/json', True),
        ):
            answer = self.gw.get(path, {'Accept': accept} if accept else {})
            self.assertEqual(answer.status, 200)
            self.assertEqual(answer.headers['Content-Type']
                             .startswith('text/plain'), text, (path, accept))

        # Accept in two lines is one list
        answer = self.gw.get('/status', [('Accept', 'application/json;q=0.1'),
                                         ('Accept', 'text/plain;q=0.2')])
        self.assertIn('text/plain', answer.headers['Content-Type'])

        answer = self.gw.get('/status?format=xml')
        self.assertEqual(answer.status, 400)
        self.assertEqual(answer.headers['Content-Type'],
                         'application/problem+json')

    def test_methods(self):
        self.start()
        answer = self.gw.request('HEAD', '/status')
        self.assertEqual((answer.status, answer.body), (200, b''))
        self.assertGreater(int(answer.headers['Content-Length']), 100)

        for method in 'POST', 'PUT', 'DELETE':
            answer = self.gw.request(method, '/status', body='x' * 100)
            self.assertEqual(answer.status, 405)
            self.assertEqual(answer.headers['Allow'], 'GET, HEAD')

    def test_sum_over_workers(self):
        self.count_by(4)

    @unittest.skipIf(os.environ.get('PENSTOCK_KIND') == 'asan',
                     'so many sanitized workers need too much memory')
    def test_more_workers_than_rows(self):
        self.count_by(40)

    def count_by(self, workers):
        self.start(workers=workers)
        penstock.together([lambda: [self.gw.get('/a?do=count&n=3')
                                    for _ in range(25)]] * 8)
        text = self.gw.get('/status?format=prometheus').text
        self.assertIn('penstock_probe_total{zone="a"} 600\n', text)

    def test_many_zones(self):
        zones = ['z%d' % n for n in range(100)]
        self.start('probe_dict_zone a:64k;' + ''.join(
            'probe_dict_zone %s:32k;' % name for name in zones))
        metric = self.gw.get('/status').json()['metrics']
        self.assertEqual([value['labels']['zone'] for value
                          in metric['penstock_probe_total']['values']],
                         ['a'] + zones)

    def test_nothing_to_show(self):
        gw = self.gateway('''
            server {
                listen 127.0.0.1:%%PORT%%;
                location / { penstock_status; }
            }
        ''')
        self.assertEqual(list(gw.get('/').json()['metrics']),
                         ['penstock_info'])

        # nor does a zone exist
        with open('/proc/%d/maps' % gw.workers()[0]) as f:
            shared = [line for line in f if 'zero' in line]
        self.assertLessEqual(len(shared), 1)

    def test_twice(self):
        fine, output = self.check('server { location / { penstock_status; '
                                  'penstock_status; } }')
        self.assertFalse(fine)
        self.assertIn('"penstock_status" directive is duplicate', output)


if __name__ == '__main__':
    unittest.main()
