"""Idempotency keys in Redis, for two hosts; and what is left of them when Redis
dies or hangs at each step of a request.
"""

import threading
import unittest

import penstock
import test_idempotency as base


class KeysInRedis(base.Keys):

    redis_ = True


class RedisDown(base.Case):

    def test_down(self):
        """With a key 503, without one the write goes through."""
        self.start(redis=True)
        self.store.kill()
        answer = self.send('k')
        self.assertEqual((answer.status, self.kind(answer)),
                         (503, 'idempotency-unavailable'))
        self.assertIn('Retry-After', answer.headers)
        self.assertEqual(self.stats()['writes'], 0)
        self.assertEqual(self.send(None, base.order()).status, 201)
        self.store.forget()
        self.store.start()
        penstock.wait_for(lambda: self.send('k').status == 201)

    def test_lost_before_the_answer(self):
        """Redis dies while the ERP works: the client hears the ERP."""
        self.start(redis=True, latency='2s')
        got = []
        thread = threading.Thread(
            target=lambda: got.append(self.send('k')))
        thread.start()
        penstock.wait_for(lambda: self.stats()['writes'] == 1)
        self.store.kill()
        thread.join()
        self.assertEqual(got[0].status, 201)
        self.gw[0].wait_log('could not be kept')
        self.assertEqual(self.send('k').status, 503)
        self.assertEqual(self.stats()['writes'], 1)

    def test_frozen(self):
        """Redis hangs at each step; nothing is sent without its word."""
        self.start(redis=True, latency='400ms')
        self.assertEqual(self.send('warm', base.order()).status, 201)
        self.store.freeze()
        answer = self.send('k')
        self.assertEqual(answer.status, 503)
        self.store.thaw()
        penstock.wait_for(lambda: self.send('k').status in (201, 409),
                          step=0.1)
        self.assertLessEqual(self.stats()['writes'], 2)

    def test_memory_lost(self):
        """Restarted empty in the middle: the answer is kept all the same."""
        self.start(redis=True, latency='1s')
        got = []
        thread = threading.Thread(
            target=lambda: got.append(self.send('k')))
        thread.start()
        penstock.wait_for(lambda: self.stats()['writes'] == 1)
        self.store.restart()
        thread.join()
        self.assertEqual(got[0].status, 201)


if __name__ == '__main__':
    unittest.main()
