"""A reload loses no request, and the module loads and unloads cleanly.

Two workers with the module serve a slow origin; a SIGHUP comes while
requests are under way.
"""

import os
import signal
import threading
import unittest

import penstock

CONF = '''
    server {
        listen 127.0.0.1:%%PORT%%;

        location / {
            proxy_pass http://127.0.0.1:%%ORIGIN%%;
        }

        location /generation {
            return 200 %%GENERATION%%;
        }
    }
'''


class Test(penstock.TestCase):

    def test_no_request_lost(self):
        release = threading.Event()

        def slow(h):
            release.wait(penstock.DEADLINE)
            h.send(200, 'late')

        origin = self.origin(slow)
        gw = self.gateway(CONF, workers=2, ORIGIN=origin.port, GENERATION=1)

        def reload():
            penstock.wait_for(lambda: len(origin.requests) == 4)
            gw.reload(CONF, GENERATION=2)
            text = gw.get('/generation').text
            release.set()
            return text

        answers = penstock.together([lambda: gw.get('/slow')] * 4 + [reload])

        self.assertEqual([a.text for a in answers[:4]], ['late'] * 4)
        self.assertEqual(answers[4], '2')
        penstock.wait_for(lambda: len(gw.workers(old=True)) == 2,
                          what='old workers end')

    def test_killed_worker_is_replaced(self):
        gw = self.gateway(CONF, ORIGIN=1, GENERATION=1,
                          allow=['exited on signal 9'])
        before = gw.workers()
        os.kill(before[0], signal.SIGKILL)
        penstock.wait_for(lambda: gw.workers()
                          and gw.workers() != before)
        self.assertEqual(gw.get('/generation').status, 200)

    def test_quit(self):
        gw = self.gateway(CONF, ORIGIN=1, GENERATION=1)
        gw.stop(signal.SIGQUIT)
        self.assertEqual(gw.process.returncode, 0)
        self.assertFalse(penstock.listening(gw.port))


if __name__ == '__main__':
    unittest.main()
