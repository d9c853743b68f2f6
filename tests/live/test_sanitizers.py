"""That the sanitizers see what they are there for: one byte beyond a piece of
a request's pool, which an nginx that is not built for it takes for its own.
"""

import os
import re
import unittest

import penstock

CONF = '''
    server {
        listen 127.0.0.1:%%PORT%%;
        location / { probe_kill; }
    }
'''


def pool_checks():
    """Whether this nginx is compiled with NGX_DEBUG_PALLOC."""

    with open(penstock.NGINX, 'rb') as f:
        return b'nginx-asan' in f.read(4096)


@unittest.skipUnless(os.environ.get('PENSTOCK_KIND') == 'asan'
                     and pool_checks(), 'an nginx without pool checks')
class Test(penstock.TestCase):

    def test_overflow_of_a_pool(self):
        gw = self.gateway(CONF, module=penstock.PROBE_MODULE,
                          allow=['exited with code', 'exited on signal',
                                 'AddressSanitizer'])
        self.assertEqual(gw.get('/?overflow=16').status, 200)
        self.assertEqual(gw.bad_lines(), [])
        with self.assertRaises((OSError, penstock.http.client.HTTPException)):
            gw.get('/?overflow=17')
        penstock.wait_for(lambda: re.search(
            r'heap-buffer-overflow[\s\S]*ngx_http_penstock_probe_overflow',
            gw.read('output.log') + gw.log()), what='a report')


if __name__ == '__main__':
    unittest.main()
