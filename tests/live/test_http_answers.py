"""Whole answers by the rules of HTTP caches, where time passes.

What a cache shows after the freshness of an answer has ended decides whether
a shop sells what is gone; each rule here is one that an upstream may rely on.
"""

import time
import unittest

import penstock

CONF = '''
    %%REDIS%%

    availability_zone a:2m %%ZONE%%;

    server {
        listen 127.0.0.1:%%PORT%%;

        location / {
            availability_cache       a;
            availability_cache_stale while_revalidate=60s if_error=60s;
            add_header X-Status $availability_cache_status always;
            proxy_pass http://127.0.0.1:%%ORIGIN%%;
        }

        location /asks {
            availability_cache                 a;
            availability_cache_request_control on min=%%MIN%%;
            add_header X-Status $availability_cache_status always;
            proxy_pass http://127.0.0.1:%%ORIGIN%%;
        }
    }
'''


class Answers:
    """An origin whose answer is "status", "headers" and its count."""

    def __init__(self, **headers):
        self.status = 200
        self.headers = {name.replace('_', '-'): value
                        for name, value in headers.items()}
        self.count = 0
        self.seconds = 0.0

    def __call__(self, h):
        self.count += 1
        time.sleep(self.seconds)
        h.send(self.status, 'answer %d' % self.count, self.headers)


class AnswersCase(penstock.TestCase):

    def start(self, **headers):
        self.answers = Answers(**headers)
        self.server = self.origin(self.answers)
        self.gw = self.one_gateway()

    def one_gateway(self, min='0', redis=None):
        return self.gateway(
            CONF, workers=2, ORIGIN=self.server.port, MIN=min,
            REDIS='redis main { server 127.0.0.1:%d; timeout connect=200ms '
                  'command=1s; }' % redis.port if redis else '',
            ZONE='redis=main' if redis else '')

    def status(self, *args, **kwargs):
        return self.gw.get('/t', *args, **kwargs).headers['X-Status']

    def not_fresh(self):
        """The first answer that is not a hit."""

        return penstock.wait_for(
            lambda: next((a for a in [self.gw.get('/t')]
                          if a.headers['X-Status'] != 'HIT'), None))


class Stale(AnswersCase):

    def test_directives_windows(self):
        self.start(Cache_Control='max-age=1')
        self.assertEqual(self.status(), 'MISS')
        self.assertEqual(self.not_fresh().headers['X-Status'], 'UPDATING')

    def test_s_maxage_forbids_them(self):
        self.start(Cache_Control='s-maxage=1')
        self.assertEqual(self.status(), 'MISS')
        self.assertEqual(self.not_fresh().headers['X-Status'], 'EXPIRED')

    def test_unless_the_answer_allows_it(self):
        self.start(Cache_Control='s-maxage=1, stale-while-revalidate=60')
        self.assertEqual(self.status(), 'MISS')
        self.assertEqual(self.not_fresh().headers['X-Status'], 'UPDATING')

    def test_must_revalidate_forbids_all(self):
        self.start(Cache_Control='max-age=1, must-revalidate, '
                                 'stale-while-revalidate=60')
        self.assertEqual(self.status(), 'MISS')
        self.assertEqual(self.not_fresh().headers['X-Status'], 'EXPIRED')

    def test_an_error_page_only_when_nothing_can_be_shown(self):
        self.start(Cache_Control='max-age=1, stale-while-revalidate=0')
        self.assertEqual(self.status(), 'MISS')
        self.answers.status = 500

        answer = self.not_fresh()
        self.assertEqual((answer.status, answer.text), (200, 'answer 1'))
        self.assertEqual(answer.headers['X-Status'], 'STALE')
        self.assertIn('fwd=stale; fwd-status=500',
                      answer.headers['Cache-Status'])

        self.answers.headers['Cache-Control'] = 's-maxage=1'
        self.answers.status = 200
        self.assertEqual(self.status(), 'EXPIRED')
        self.answers.status = 500

        answer = self.not_fresh()
        self.assertEqual(answer.status, 500)
        self.assertEqual(answer.text, 'answer %d' % self.answers.count)
        self.assertIn('detail=error', answer.headers['Cache-Status'])


class Asks(AnswersCase):
    """Cache-Control of requests."""

    def asks(self, control='', gw=None):
        answer = (gw or self.gw).get(
            '/asks', {'Cache-Control': control} if control else {})
        return answer.headers['X-Status']

    def test_max_stale(self):
        self.start(Cache_Control='max-age=1')
        self.assertEqual(self.asks(), 'MISS')
        penstock.wait_for(
            lambda: self.asks('max-stale=60') == 'UPDATING')
        penstock.wait_for(lambda: self.answers.count == 2)

    def test_max_stale_has_an_end(self):
        self.start(Cache_Control='max-age=1')
        self.assertEqual(self.asks(), 'MISS')
        time.sleep(3.1)
        self.assertEqual(self.asks('max-stale=1'), 'EXPIRED')

    def test_max_stale_is_not_for_what_must_be_revalidated(self):
        self.start(Cache_Control='max-age=1, must-revalidate')
        self.assertEqual(self.asks(), 'MISS')
        self.assertEqual(penstock.wait_for(
            lambda: next((s for s in [self.asks('max-stale')]
                          if s != 'HIT'), None)), 'EXPIRED')

    def test_no_channel_asks_as_often_as_it_likes(self):
        self.start(Cache_Control='max-age=60')
        gw = self.one_gateway(min='500ms')
        start = time.monotonic()
        end = start + 2

        def channel():
            n = 0
            while time.monotonic() < end:
                self.assertEqual(
                    gw.get('/asks', {'Cache-Control': 'no-cache'}).status,
                    200)
                n += 1
            return n

        asked = sum(penstock.together([channel] * 8))
        most = (time.monotonic() - start) / 0.5 + 2

        self.assertGreater(asked, 50)
        self.assertGreater(self.answers.count, 2)
        self.assertLess(self.answers.count, most)

    def test_those_who_ask_together_wait_for_one(self):
        self.start(Cache_Control='max-age=60')
        self.assertEqual(self.asks(), 'MISS')
        self.answers.seconds = 0.4
        statuses = penstock.together(
            [lambda: self.asks('no-cache')] * 10)
        self.assertEqual(self.answers.count, 2)
        self.assertEqual(sorted(statuses), ['COLLAPSED'] * 9 + ['EXPIRED'])

    def test_an_upstream_that_fails_costs_nobody_a_fresh_answer(self):
        self.start(Cache_Control='max-age=60')
        self.assertEqual(self.asks(), 'MISS')
        self.answers.status = 503
        answer = self.gw.get('/asks', {'Cache-Control': 'no-cache'})
        self.assertEqual((answer.status, answer.text), (200, 'answer 1'))

    def test_redis_is_no_upstream(self):
        self.start(Cache_Control='max-age=60')
        store = self.redis()
        one, two = [self.one_gateway(redis=store) for _ in range(2)]

        self.assertEqual(self.asks(gw=one), 'MISS')
        self.assertEqual(self.asks('only-if-cached', gw=two), 'HIT')
        self.assertEqual(self.asks('no-cache', gw=two), 'EXPIRED')
        self.assertEqual(self.answers.count, 2)

        # what it has brought is for all
        penstock.wait_for(lambda: one.get('/asks').text == 'answer 2')
        self.assertEqual(self.answers.count, 2)

        three = self.one_gateway(redis=store)
        self.assertEqual(self.asks('no-cache', gw=three), 'MISS')
        self.assertEqual(self.answers.count, 3)


class Large(AnswersCase):
    """What is too large to be kept streams through."""

    SIZE = 48 << 20

    CONF = '''
        availability_zone a:256k;

        server {
            listen 127.0.0.1:%%PORT%%;

            location / {
                availability_cache          a;
                availability_cache_max_size %%MAX%%;
                add_header X-Status $availability_cache_status always;
                proxy_max_temp_file_size 0;
                proxy_http_version 1.1;
                proxy_pass http://127.0.0.1:%%ORIGIN%%;
            }
        }
    '''

    def stream(self, h):
        size = int(h.path.split('/')[2])
        h.send_response(200)
        h.send_header('Cache-Control', 'max-age=60')

        chunked = 'chunked' in h.path
        h.send_header(*(('Transfer-Encoding', 'chunked') if chunked
                        else ('Content-Length', str(size))))
        h.end_headers()

        block = bytes(range(256)) * 256
        for _ in range(size // len(block)):
            if chunked:
                h.wfile.write(b'%x\r\n' % len(block))
            h.wfile.write(block)
            if chunked:
                h.wfile.write(b'\r\n')
        if chunked:
            h.wfile.write(b'0\r\n\r\n')

    def begin(self, most):
        self.server = self.origin(self.stream)
        self.gw = self.gateway(self.CONF, MAX=most, ORIGIN=self.server.port)

    def memory(self):
        """KB of the worker's own, at its most."""

        with open('/proc/%d/status' % self.gw.workers()[0]) as f:
            return sum(int(line.split()[1]) for line in f
                       if line.startswith('VmHWM'))

    def whole(self, path):
        answer = self.gw.get(path)
        size = int(path.split('/')[2])
        self.assertEqual(answer.status, 200)
        self.assertEqual(len(answer.body), size)
        block = bytes(range(256)) * 256
        self.assertEqual(answer.body[:65536], block)
        self.assertEqual(answer.body[-65536:], block)
        return answer.headers['X-Status']

    def test_memory_is_bounded(self):
        self.begin('128k')
        self.whole('/small/65536')
        before = self.memory()

        for kind in 'length', 'chunked':
            path = '/%s/%d' % (kind, self.SIZE)
            statuses = penstock.together([lambda: self.whole(path)] * 4)
            self.assertEqual(set(statuses), {'PASS'})

        # each of the eight may hold its buffers, and none its answer
        self.assertLess(self.memory() - before, 8 << 10)

    def test_what_no_zone_could_hold(self):
        self.begin('8m')
        path = '/length/%d' % (4 << 20)
        statuses = penstock.together([lambda: self.whole(path)] * 4)
        self.assertLessEqual(set(statuses), {'MISS', 'PASS'})
        self.assertEqual(self.whole(path), 'PASS')
        self.assertEqual(self.whole('/length/65536'), 'MISS')
        self.assertEqual(self.whole('/length/65536'), 'HIT')

    def test_a_full_zone_refuses_nobody(self):
        self.begin('1m')

        def channel(n):
            for i in range(40):
                self.assertIn(self.whole('/%d.%d/65536' % (n, i % 20)),
                              ('MISS', 'HIT', 'PASS', 'COLLAPSED'))

        penstock.together([lambda n=n: channel(n) for n in range(6)])


if __name__ == '__main__':
    unittest.main()
