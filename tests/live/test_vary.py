"""Answers that vary: leaders, followers and hosts.

Those who wait for a fill don't know yet whether its answer is theirs.  Each
variant must be asked for once, nobody may get another's, and nobody waits
for ever on a list of fields that changes under way.
"""

import random
import time
import unittest

import penstock

CONF = '''
    %%REDIS%%

    availability_zone a:4m %%ZONE%%;

    server {
        listen 127.0.0.1:%%PORT%%;

        location / {
            availability_cache     a;
            availability_cache_key $uri;
            availability_cache_tag arg=sku;
            availability_cache_stale if_error=60s;
            add_header X-Status $availability_cache_status always;
            proxy_pass http://127.0.0.1:%%ORIGIN%%;
        }

        location = /purge {
            availability_purge zone=a;
        }
    }
'''

REDIS = '''
    redis main {
        server 127.0.0.1:%d;
        timeout connect=200ms command=1s;
    }
'''


class Channels:
    """An origin that says which channel and language it was asked for."""

    def __init__(self):
        self.seconds = 0.0
        self.vary = 'X-Channel'
        self.max_age = 60
        self.fail = False
        self.etag = False

    def __call__(self, h):
        time.sleep(self.seconds)

        if self.fail:
            h.send(503, 'no', {})
            return

        text = '%s %s' % (h.headers.get('X-Channel'), h.headers.get('X-Lang'))
        vary = self.vary(h) if callable(self.vary) else self.vary
        headers = {'Cache-Control': 'max-age=%d' % self.max_age}

        if vary:
            headers['Vary'] = vary

        if self.etag:
            headers['ETag'] = '"%s"' % text

        if self.etag and h.headers.get('If-None-Match') == headers['ETag']:
            h.send(304, '', headers)
        else:
            h.send(200, text, headers)


class VaryCase(penstock.TestCase):

    def start(self, gateways=1, redis=False):
        self.channels = Channels()
        self.server = self.origin(self.channels)
        store = self.redis() if redis else None
        self.gw = [
            self.gateway(CONF, workers=2, ORIGIN=self.server.port,
                         REDIS=REDIS % store.port if redis else '',
                         ZONE='redis=main' if redis else '')
            for _ in range(gateways)]

    def read(self, channel, lang='x', gw=0, path='/t'):
        answer = self.gw[gw].get(path, {'X-Channel': channel, 'X-Lang': lang})
        self.assertEqual(answer.status, 200, answer)
        self.assertEqual(answer.text.split()[0], channel)
        return answer

    def together(self, channels, langs='x', n=4):
        calls = [lambda c=c, l=l: self.read(c, l)
                 for c in channels for l in langs for _ in range(n)]
        random.shuffle(calls)
        return penstock.together(calls)

    def asked(self):
        """(channel, language) of each request that the origin got."""

        return sorted((h.get('X-Channel'), h.get('X-Lang'))
                      for _, _, h, _ in self.server.requests)


class Stampede(VaryCase):

    def test_nobody_knows_that_it_varies(self):
        self.start()
        self.channels.seconds = 0.3
        self.together('abc')
        self.assertEqual([c for c, _ in self.asked()], ['a', 'b', 'c'])

    def test_all_know(self):
        self.start()
        self.read('z')
        self.channels.seconds = 0.3
        start = time.monotonic()
        self.together('abc')
        self.assertEqual([c for c, _ in self.asked()], ['a', 'b', 'c', 'z'])
        self.assertGreater(self.server.most, 1, 'variants wait for variants')
        self.assertLess(time.monotonic() - start, penstock.DEADLINE)

    def test_the_list_grows_while_they_wait(self):
        self.start()
        self.read('z')
        self.channels.vary = 'X-Lang'
        self.channels.seconds = 0.3
        answers = self.together('ab', 'mn')
        self.assertEqual({a.text for a in answers},
                         {'a m', 'a n', 'b m', 'b n'})

        # who waits at the old list's key may lead at the new one's while
        # the leader that it has left asks for the same
        asked = self.asked()
        self.assertEqual(set(asked), {('a', 'm'), ('a', 'n'), ('b', 'm'),
                                      ('b', 'n'), ('z', 'x')})
        self.assertLessEqual(max(asked.count(one) for one in asked), 2)

    def test_each_its_own_though_the_upstream_does_not_decide(self):
        self.start()
        self.channels.vary = lambda h: random.choice(
            ['X-Channel, X-Lang', 'x-lang, x-channel', 'X-Lang,X-Channel, A',
             'B, X-Lang, X-Channel'])
        self.channels.seconds = 0.02

        for _ in range(5):
            for answer, text in zip(
                    penstock.together([
                        lambda c=c, l=l: self.read(c, l)
                        for c in 'abc' for l in 'mn']),
                    ['a m', 'a n', 'b m', 'b n', 'c m', 'c n']):
                self.assertEqual(answer.text, text)

        n = len(self.server.requests)
        self.together('abc', 'mn')
        self.assertEqual(len(self.server.requests), n)

    def test_a_failure_is_of_one_variant(self):
        self.start()
        self.channels.max_age = 1
        self.read('a')
        self.channels.fail = True
        answer = self.gw[0].get('/t', {'X-Channel': 'b', 'X-Lang': 'x'})
        self.assertEqual(answer.status, 503)
        penstock.wait_for(
            lambda: self.read('a').headers['X-Status'] == 'STALE')


class Validators(VaryCase):

    def test_each_variant_has_its_own(self):
        self.start()
        self.channels.etag = True
        self.channels.max_age = 2
        self.read('a')
        self.read('b')

        def renewed(channel):
            answer = self.read(channel)
            return 'fwd-status=304' in (answer.headers['Cache-Status'] or '')

        penstock.wait_for(lambda: renewed('a'))
        penstock.wait_for(lambda: renewed('b'))


class Hosts(VaryCase):

    def test_one_list_for_all(self):
        self.start(gateways=2, redis=True)
        self.assertEqual(self.read('a').headers['X-Status'], 'MISS')

        answer = self.read('a', gw=1)
        self.assertEqual(answer.headers['X-Status'], 'HIT')
        self.assertIn('detail=redis', answer.headers['Cache-Status'])
        self.assertEqual(self.read('a', gw=1).headers['X-Status'], 'HIT')

        self.assertEqual(self.read('b', gw=1).headers['X-Status'], 'MISS')
        self.assertIn('detail=redis',
                      self.read('b').headers['Cache-Status'])
        self.assertEqual(len(self.server.requests), 2)

    def test_a_crowd_at_the_second_host(self):
        self.start(gateways=2, redis=True)
        self.read('a')
        self.read('b')
        self.channels.seconds = 0.3
        penstock.together([lambda c=c: self.read(c, gw=1)
                           for c in 'abc' for _ in range(5)])
        self.assertEqual([c for c, _ in self.asked()], ['a', 'b', 'c'])

    def test_a_purge_is_of_all_variants_on_all_hosts(self):
        self.start(gateways=2, redis=True)

        for gw in 0, 1:
            self.read('a', gw=gw, path='/t?sku=A')
            self.read('b', gw=gw, path='/t?sku=A')

        self.assertEqual(len(self.server.requests), 2)
        self.assertEqual(self.gw[0].post('/purge', {'tags': ['A']}).status,
                         200)

        def asked_again(channel):
            answer = self.read(channel, gw=1, path='/t?sku=A')
            return answer.headers['X-Status'] == 'EXPIRED'

        penstock.wait_for(lambda: asked_again('a'))
        penstock.wait_for(lambda: asked_again('b'))
        self.assertEqual(len(self.server.requests), 4)

    def test_an_unsafe_method_too(self):
        self.start(gateways=2, redis=True)

        for gw in 0, 1:
            self.read('a', gw=gw)
            self.read('b', gw=gw)

        self.assertEqual(self.gw[0].post('/t', 'x').status, 200)
        n = len(self.server.requests)

        for channel in 'ab':
            penstock.wait_for(lambda: self.read(channel, gw=1)
                              .headers['X-Status'] == 'EXPIRED')

        self.assertEqual(len(self.server.requests), n + 2)


if __name__ == '__main__':
    unittest.main()
