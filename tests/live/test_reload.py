"""A reload loses no request, and the module loads and unloads cleanly.

Two workers with the module serve a slow origin; a SIGHUP comes while
requests are under way.  A replaced module file is picked up by an upgrade of
the binary, not by a reload.
"""

import os
import shutil
import signal
import subprocess
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


ZONES = '''
    availability_zone erp:1m;
    idempotency_zone  erp:1m;
    rate_limit_zone   $uri zone=erp:1m rate=1r/d burst=1;
    %%MORE%%

    upstream erp {
        zone erp 64k;
        server 127.0.0.1:%%ORIGIN%%;
    }

    server {
        listen 127.0.0.1:%%PORT%%;

        location /stock {
            availability_cache       erp;
            availability_cache_key   $uri;
            availability_cache_valid 201 60s;
            proxy_pass http://erp;
        }

        location /orders {
            idempotency erp scope=all;
            proxy_pass http://erp;
        }

        location /few {
            rate_limit zone=erp;
            empty_gif;
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

    def test_zones_of_one_name(self):
        """Each keeps what it has, and its size, by a name of its own."""

        origin = self.origin(lambda h: h.send(201, h.body))
        gw = self.gateway(ZONES, ORIGIN=origin.port, MORE='')
        key = {'Idempotency-Key': '"k"'}

        def seen():
            return [gw.get('/stock').headers['Cache-Status'].split(';')[1],
                    gw.post('/orders', b'1', key).headers.get(
                        'Idempotent-Replayed'),
                    gw.get('/few').status]

        self.assertEqual(seen(), [' fwd=uri-miss', None, 200])
        gw.reload(ZONES, MORE='')
        self.assertEqual(seen(), [' hit', 'true', 429])
        # one that is new starts empty, and the others go on
        gw.reload(ZONES, MORE='erp_budget_zone erp:64k limit=1;'
                              'rate_limit_concurrency_zone $uri zone=erp:64k'
                              ' limit=1;')
        self.assertEqual(seen(), [' hit', 'true', 429])
        self.assertEqual(gw.log().count('different use'), 0)

    def test_killed_worker_is_replaced(self):
        gw = self.gateway(CONF, ORIGIN=1, GENERATION=1,
                          allow=['exited on signal 9'])
        before = gw.workers()
        os.kill(before[0], signal.SIGKILL)
        penstock.wait_for(lambda: gw.workers()
                          and gw.workers() != before)
        self.assertEqual(gw.get('/generation').status, 200)

    def test_replaced_module(self):

        def loaded(pid):
            with open('/proc/%d/maps' % pid) as f:
                return {line.split()[4] for line in f
                        if line.rstrip('\n').endswith(
                            ('module.so', 'module.so (deleted)'))}

        def replace():
            shutil.copy(penstock.MODULE, module + '.new')
            os.rename(module + '.new', module)
            return {str(os.stat(module).st_ino)}

        gw = penstock.Gateway(CONF, start=False, ORIGIN=1, GENERATION=1)
        self.addCleanup(gw.teardown)
        module = gw.module = gw.path('module.so')
        gw.configure(CONF)

        # only a daemon upgrades itself
        gw.write('nginx.conf', gw.read('nginx.conf').replace('daemon off;',
                                                             ''))

        def started(old=None):
            def pid():
                text = gw.read('nginx.pid').strip()
                return text and text != str(old) and int(text)
            master = penstock.wait_for(pid, what='a master')
            self.addCleanup(self.end, master)
            return master

        first = replace()
        subprocess.run(gw.argv(), check=True, timeout=60)
        old = started()
        self.assertEqual(loaded(old), first)

        # a signal that comes before it waits for signals waits, too
        self.assertEqual(gw.get('/generation').status, 200)
        second = replace()
        os.kill(old, signal.SIGHUP)
        gw.wait_log('worker process [0-9]+ exited')
        self.assertEqual(loaded(old), first)

        os.kill(old, signal.SIGUSR2)
        new = started(old)
        self.assertEqual(loaded(new), second)

        self.end(old, signal.SIGQUIT)
        self.assertEqual(gw.get('/generation').status, 200)

    def end(self, pid, sig=signal.SIGTERM):
        """Ends a daemon that is not our child."""

        def gone():
            try:
                with open('/proc/%d/cmdline' % pid) as f:
                    return 'nginx' not in f.read()
            except (FileNotFoundError, ProcessLookupError):
                return True

        if not gone():
            os.kill(pid, sig)
            penstock.wait_for(gone, what='pid %d ends' % pid)

    def test_quit(self):
        gw = self.gateway(CONF, ORIGIN=1, GENERATION=1)
        gw.stop(signal.SIGQUIT)
        self.assertEqual(gw.process.returncode, 0)
        self.assertFalse(penstock.listening(gw.port))


if __name__ == '__main__':
    unittest.main()
