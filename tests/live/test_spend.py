"""Other features spend from a rate limit zone: many times a request, after
the answer, and whatever becomes of Redis.  Needs the probe build, whose
location spends as a feature would.
"""

import re
import unittest

import penstock

HTTP = '''
    redis main {
        server 127.0.0.1:%%REDIS%%;
        timeout connect=%%TIMEOUT%% command=%%TIMEOUT%%;
    }
    server {
        listen 127.0.0.1:%%PORT%%;
        location = /shared { probe_spend shared; }
        location = /deny { probe_spend deny; }
        location = /local { probe_spend local; }
        location = /limited { rate_limit zone=local; empty_gif; }
        location = /rated { probe_spend rated; }
        location = /status { penstock_status; }
    }
    rate_limit_zone $arg_k zone=shared:1m rate=1r/d burst=5 redis=main;
    rate_limit_zone $arg_k zone=deny:1m rate=1r/d burst=5 redis=main
                    fallback=deny;
    rate_limit_zone $arg_k zone=local:1m rate=1r/d burst=5;
    rate_limit_zone $arg_k zone=rated:1m rate=$arg_rate burst=5;
'''


class Test(penstock.TestCase):

    def start(self, timeout='10s', gateways=1):
        redis = self.redis()
        gws = [self.gateway(HTTP, REDIS=redis.port, TIMEOUT=timeout,
                            module=penstock.PROBE_MODULE)
               for _ in range(gateways)]
        for gw in gws:
            penstock.wait_for(
                lambda: gw.get('/shared?k=probe&cost=0').text == 'ok+ ',
                what='Redis decides')
        return [redis] + gws

    def told(self, gw, path):
        r = gw.get(path)
        self.assertEqual(r.status, 200)
        return re.sub(r'no:\d+', 'no', r.text).split()

    def test_local(self):
        redis, gw = self.start()

        # a zone counts a request once, but each of these spends

        self.assertEqual(self.told(gw, '/local?k=a&n=7'),
                         ['ok-'] * 5 + ['no-'] * 2)
        self.assertEqual(gw.get('/limited?k=a').status, 429)
        self.assertEqual(self.told(gw, '/local?n=7'), ['ok-'] * 7)
        self.assertEqual(self.told(gw, '/local?k=b&cost=6'), ['never-'])
        self.assertEqual(self.told(gw, '/local?k=b&cost=5'), ['ok-'])
        self.assertEqual(self.told(gw, '/local?k=b&cost=0'), ['ok-'])

        ms = int(re.match(r'no:(\d+)-', gw.get('/local?k=b').text).group(1))
        self.assertTrue(86390000 < ms <= 86400001, ms)

        # what was spent is counted with the zone

        text = gw.get('/status?format=prometheus').text
        self.assertIn('penstock_ratelimit_requests_total{zone="local",'
                      'result="rejected"} 5', text)

    def test_rate_of_a_variable(self):
        redis, gw = self.start()

        self.assertEqual(self.told(gw, '/rated?k=a&rate=1r/d&n=6'),
                         ['ok-'] * 5 + ['no-'])
        self.assertEqual(self.told(gw, '/rated?k=a&rate=much'), ['error-'])
        gw.wait_log('invalid rate "much"')

    def test_shared(self):
        redis, one, two = self.start(gateways=2)

        told = sum(penstock.together(
            [lambda gw=gw: self.told(gw, '/shared?k=a&n=4')
             for gw in (one, two)]), [])
        self.assertEqual(sorted(told), ['no+'] * 3 + ['ok+'] * 5)

    def test_after_the_answer(self):
        redis, gw = self.start()

        self.assertEqual(gw.get('/shared?k=a&n=6&late=1').status, 204)
        gw.wait_log(r'spent late: ok\+ ok\+ ok\+ ok\+ ok\+ no:\d+\+ ')

    def test_cancel(self):
        redis, gw = self.start()

        self.assertEqual(self.told(gw, '/shared?k=a&n=3&cancel=1'),
                         ['cancelled'] * 3)
        self.assertEqual(self.told(gw, '/shared?k=b'), ['ok+'])

    def test_stalled(self):
        redis, gw = self.start(timeout='300ms')
        redis.freeze()

        try:
            self.assertEqual(self.told(gw, '/shared?k=a&n=6'),
                             ['ok+f'] * 5 + ['no+f'])
        finally:
            redis.thaw()

    def test_redis_down(self):
        redis, gw = self.start()
        redis.kill()

        penstock.wait_for(lambda: self.told(gw, '/shared?k=w')[0] in
                          ('ok-f', 'no-f'), what='it is known to be down')
        self.assertEqual(self.told(gw, '/shared?k=a&n=6'),
                         ['ok-f'] * 5 + ['no-f'])
        self.assertEqual(gw.get('/deny?k=a').text, 'no:1000-f ')

    def test_unknown_zone(self):
        fine, out = self.check('''
            server {
                listen 127.0.0.1:%%PORT%%;
                location / { probe_spend nowhere; }
            }
        ''', module=penstock.PROBE_MODULE)
        self.assertFalse(fine)
        self.assertRegex(out, r'zone "nowhere" is not defined: .* in '
                              r'\S+nginx\.conf:\d+')


if __name__ == '__main__':
    unittest.main()
