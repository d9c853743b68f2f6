"""Old answers are asked for with their validators, and writes to a URL void it.

An ERP that knows its answer is unchanged says so in a few bytes; what it says
then must be in the answer of everybody, and nothing of what is held may be
lost by it.
"""

import unittest

import penstock

CONF = '''
    availability_zone a:1m %%REDIS%%;

    server {
        listen 127.0.0.1:%%PORT%%;

        location / {
            availability_cache     a;
            availability_cache_tag arg=sku;
            proxy_pass http://127.0.0.1:%%ORIGIN%%;
        }

        location = /purge {
            availability_purge zone=a;
        }
    }
'''


class Stock:
    """An origin of one answer that is fresh for a second."""

    def __init__(self):
        self.version = 1
        self.max_age = 1
        self.more = {}
        self.write = (200, {})

    def __call__(self, h):
        if h.command not in ('GET', 'HEAD'):
            h.send(self.write[0], 'written', self.write[1])
            return

        etag = '"%d"' % self.version
        headers = dict({'ETag': etag, 'Content-Type': 'text/x-stock',
                        'Cache-Control': 'max-age=%d' % self.max_age},
                       **self.more)

        if h.headers.get('If-None-Match') == etag:
            del headers['Content-Type']
            h.send(304, '', headers)
        else:
            h.send(200, 'stock %d' % self.version, headers)


class Validation(penstock.TestCase):

    def setUp(self):
        self.stock = Stock()
        self.server = self.origin(self.stock)
        self.gw = self.gateway(CONF, ORIGIN=self.server.port, REDIS='')

    def conditions(self):
        return [h.get('If-None-Match')
                for method, _, h, _ in self.server.requests
                if method == 'GET']

    def asked_again(self, path='/t?sku=A'):
        """The answer that made the gateway ask the origin once more."""

        n = len(self.server.requests)
        answers = []

        def look():
            answers.append(self.gw.get(path))
            return len(self.server.requests) > n

        penstock.wait_for(look, what='the answer is old')
        return answers[-1]

    def test_304_renews(self):
        self.stock.more = {'X-Kept': 'first', 'X-Count': '1'}
        self.assertEqual(self.gw.get('/t?sku=A').text, 'stock 1')

        self.stock.more = {'X-Count': '2'}
        self.stock.max_age = 1000
        answer = self.asked_again()

        # the leader's, then what is held
        for answer in answer, self.gw.get('/t?sku=A'):
            self.assertEqual(answer.status, 200)
            self.assertEqual(answer.text, 'stock 1')
            self.assertEqual(answer.headers['Content-Type'], 'text/x-stock')
            self.assertEqual(answer.headers['X-Kept'], 'first')
            self.assertEqual(answer.headers['X-Count'], '2')
            self.assertEqual(answer.headers['Cache-Control'], 'max-age=1000')
            self.assertEqual(answer.headers['ETag'], '"1"')

        self.assertIn('hit', answer.headers['Cache-Status'])
        self.assertEqual(self.conditions(), [None, '"1"'])

    def test_304_is_said(self):
        self.gw.get('/t?sku=A')
        answer = self.asked_again()
        self.assertIn('fwd=stale; fwd-status=304; stored',
                      answer.headers['Cache-Status'])

    def test_200_replaces(self):
        self.gw.get('/t?sku=A')
        self.stock.version = 2
        answer = self.asked_again()
        self.assertEqual(answer.text, 'stock 2')
        self.assertIn('fwd-status=200', answer.headers['Cache-Status'])
        self.assertEqual(self.conditions(), [None, '"1"'])

    def test_clients_own_conditional(self):
        self.gw.get('/t?sku=A')
        self.stock.max_age = 1000
        self.asked_again()

        same = {'If-None-Match': '"1"'}
        self.assertEqual(self.gw.get('/t?sku=A', headers=same).status, 304)

        # If-None-Match goes before a date that doesn't match
        same['If-Modified-Since'] = 'Thu, 01 Jan 1970 00:00:01 GMT'
        self.assertEqual(self.gw.get('/t?sku=A', headers=same).status, 304)

        other = {'If-None-Match': '"other"'}
        self.assertEqual(self.gw.get('/t?sku=A', headers=other).status, 200)

    def test_tags_outlive_a_304(self):
        self.stock.more = {'Cache-Tag': 'X'}
        self.gw.get('/t?sku=A')
        self.stock.more = {}
        self.stock.max_age = 1000
        self.asked_again()
        n = len(self.server.requests)

        for tag in 'X', 'A':
            self.assertEqual(
                self.gw.post('/purge', '{"tags": ["%s"]}' % tag).status, 200)
            self.stock.more = {'Cache-Tag': 'X'}
            self.assertEqual(self.gw.get('/t?sku=A').status, 200)
            n += 1
            self.assertEqual(len(self.server.requests), n)

        # what was invalidated is asked for as a whole
        self.assertEqual(self.conditions(), [None, '"1"', None, None])


class Unsafe(penstock.TestCase):

    def setUp(self):
        self.stock = Stock()
        self.stock.max_age = 1000
        self.server = self.origin(self.stock)

    def reads(self, gw, path):
        """Whether the origin was asked for it."""

        n = len(self.server.requests)
        self.assertEqual(gw.get(path).status, 200)
        return len(self.server.requests) > n

    def test_write_voids_its_url(self):
        gw = self.gateway(CONF, ORIGIN=self.server.port, REDIS='')

        for method in 'POST', 'PUT', 'PATCH', 'DELETE':
            self.reads(gw, '/t')
            self.reads(gw, '/other')
            self.assertFalse(self.reads(gw, '/t'))
            self.assertEqual(gw.request(method, '/t').status, 200)
            self.assertTrue(self.reads(gw, '/t'), method)
            self.assertFalse(self.reads(gw, '/other'), method)

    def test_safe_and_failed_ones_do_not(self):
        gw = self.gateway(CONF, ORIGIN=self.server.port, REDIS='')
        self.reads(gw, '/t')

        self.assertEqual(gw.request('OPTIONS', '/t').status, 200)
        self.assertFalse(self.reads(gw, '/t'))

        self.stock.write = (500, {})
        self.assertEqual(gw.post('/t').status, 500)
        self.assertFalse(self.reads(gw, '/t'))

    def test_locations_of_the_answer(self):
        gw = self.gateway(CONF, ORIGIN=self.server.port, REDIS='')
        own = 'http://127.0.0.1:%d' % gw.port

        for name in 'Location', 'Content-Location':
            for value, void in (('/made?x', True), (own + '/made?x', True),
                                ('/made?x#part', True), ('/made', False),
                                ('//else.example/made?x', False),
                                ('http://else.example/made?x', False),
                                (own + '.else.example/made?x', False)):
                self.reads(gw, '/made?x')
                self.stock.write = (201, {name: value})
                self.assertEqual(gw.post('/t').status, 201)
                self.assertEqual(self.reads(gw, '/made?x'), void,
                                 (name, value))

    def test_on_every_host(self):
        redis = self.redis()
        conf = ('redis main { server 127.0.0.1:%d; }\n' % redis.port) + CONF
        a, b = (self.gateway(conf, ORIGIN=self.server.port,
                             REDIS='redis=main') for _ in range(2))

        self.reads(a, '/t')
        self.reads(b, '/t')
        self.stock.version = 2
        self.assertEqual(a.post('/t').status, 200)

        penstock.wait_for(lambda: b.get('/t').text == 'stock 2',
                          what='the other host has heard of it')
        self.assertEqual(a.get('/t').text, 'stock 2')


if __name__ == '__main__':
    unittest.main()
