"""Whole answers by the rules of HTTP caches, where time passes.

What a cache shows after the freshness of an answer has ended decides whether
a shop sells what is gone; each rule here is one that an upstream may rely on.
"""

import unittest

import penstock

CONF = '''
    availability_zone a:2m %%REDIS%%;

    server {
        listen 127.0.0.1:%%PORT%%;

        location / {
            availability_cache       a;
            availability_cache_stale while_revalidate=60s if_error=60s;
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

    def __call__(self, h):
        self.count += 1
        h.send(self.status, 'answer %d' % self.count, self.headers)


class AnswersCase(penstock.TestCase):

    def start(self, **headers):
        self.answers = Answers(**headers)
        self.server = self.origin(self.answers)
        self.gw = self.gateway(CONF, ORIGIN=self.server.port, REDIS='')

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


if __name__ == '__main__':
    unittest.main()
