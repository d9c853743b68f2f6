#!/usr/bin/python3
"""An order with an Idempotency-Key is one sale in Tryton: however often it is
sent, through whichever gateway, and whenever Tryton is killed."""

import json
import threading
import unittest
import uuid

import penstock

CONF = '''
    redis main {
        server 127.0.0.1:%%REDIS%%;
        timeout connect=1s command=1s;
    }

    idempotency_zone  orders:1m redis=main;
    availability_zone stock:1m redis=main;

    upstream erp {
        server 127.0.0.1:%%ERP%%;
        keepalive 4;
    }

    server {
        listen 127.0.0.1:%%PORT%%;

        location = /availability {
            availability_cache       stock;
            availability_cache_key   $uri;
            availability_cache_items arg=sku arg=location
                                     list=/items id=/sku id=/location;
            availability_cache_valid 200 60s;
            proxy_pass http://erp;
        }

        location = /orders {
            idempotency             orders required pass=X-Erp-Key
                                    scope=$http_x_client;
            idempotency_reconcile   /_look after=100ms;
            availability_invalidate zone=stock /lines/*/sku;
            proxy_http_version 1.1;
            proxy_set_header   Connection "";
            proxy_read_timeout 60s;
            proxy_pass http://erp;
        }

        location = /_look {
            internal;
            proxy_pass http://erp/orders/by-key/$idempotency_id;
        }
    }
'''


class Keys(penstock.TestCase):

    def setUp(self):
        self.store = self.redis()
        self.erp_ = self.tryton('--key-header', 'X-Erp-Key',
                                '--max-age', '60')
        self.gw = [self.gateway(CONF, workers=2, REDIS=self.store.port,
                                ERP=self.erp_.port) for _ in range(2)]
        self.body = {'order_id': uuid.uuid4().hex[:12], 'customer': 'c',
                     'lines': [{'sku': 'A', 'location': 'L1', 'quantity': 2},
                               {'sku': 'D', 'location': 'L2', 'quantity': 1}]}

    def send(self, key, gateway=0):
        return self.gw[gateway].post(
            '/orders', json.dumps(self.body),
            {'Content-Type': 'application/json', 'X-Client': 'c',
             'Idempotency-Key': '"%s"' % key}, timeout=60)

    def settle(self, key, gateway=0):
        """Sends it until it is known what became of it."""

        def known():
            answer = self.send(key, gateway)
            if answer.status in (200, 201):
                return answer
            self.assertEqual(answer.status, 409, answer)

        return penstock.wait_for(known, step=0.1)

    def left(self, gateway=0):
        answer = self.gw[gateway].get('/availability?sku=A&location=L1,L2')
        self.assertEqual(answer.status, 200, answer)
        return [item['available'] for item in answer.json()['items']]

    def stats(self, name):
        return self.erp_.request('GET', '/__stats').json()[name]

    def sales(self):
        return self.erp_.rows('SELECT state FROM sale_sale')

    def in_background(self, key):
        answers = []
        thread = threading.Thread(
            target=lambda: answers.append(self.send(key)))
        thread.start()
        return thread, answers

    def again(self):
        self.erp_.kill()
        self.erp_.start()

    def test_double_submit(self):
        self.assertEqual(self.left(1), [12, 12])
        answers = penstock.together(
            [lambda n=n: self.send('k', n % 2) for n in range(8)])
        first = [a for a in answers if a.status == 201]
        self.assertTrue(first)
        self.assertLessEqual({a.status for a in answers}, {201, 409})
        for gateway in (0, 1):
            self.assertEqual(self.send('k', gateway).body, first[0].body)
        self.assertEqual(self.sales(), [('processing',)])
        self.assertEqual((self.stats('orders'), self.stats('replays')),
                         (1, 0))
        self.assertEqual(self.left(0), [10, 12])
        penstock.wait_for(lambda: self.left(1) == [10, 12], 2)

    def test_killed_after_the_commit(self):
        self.assertEqual(self.left(), [12, 12])
        self.erp_.request('POST', '/__control', body={
            'slow': 1, 'slow_time': '60s', 'only': 'write'})
        thread, answers = self.in_background('k')
        penstock.wait_for(lambda: self.stats('orders') == 1)
        self.again()
        thread.join(60)
        self.assertIn(answers[0].status, (409, 502, 504), answers)
        found = self.settle('k', 1)
        self.assertEqual(found.json()['order_id'], self.body['order_id'])
        self.assertEqual(self.sales(), [('processing',)])
        self.assertEqual((self.stats('orders'), self.stats('lookups')),
                         (0, 1))
        self.assertEqual(self.left(), [10, 12])

    def test_killed_before_the_commit(self):
        self.erp_.request('POST', '/__control', body={'hold': True})
        thread, answers = self.in_background('k')
        penstock.wait_for(lambda: self.stats('holding') == 1)
        self.again()
        thread.join(60)
        self.assertIn(answers[0].status, (409, 502, 504), answers)
        self.assertEqual(self.sales(), [])
        self.assertEqual(self.settle('k', 1).status, 201)
        self.assertEqual(self.sales(), [('processing',)])
        self.assertEqual(self.left(1), [10, 12])


if __name__ == '__main__':
    unittest.main()
