"""The public HTTP cache test suite, as others measure caches.

The suite (npm: http-cache-tests) is fetched at a pinned version and checked
by its digest, never kept in the tree.  Of its cases those it calls required
are run through the gateway: all pass but those that are named here.

The suite's answers are fresh for a second or two, and 25 cases run side by
side, so on a busy machine a pause may outlast an answer.  What fails among
the others is therefore run once more, alone, and must pass then.
"""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import unittest

import penstock

VERSION = '0.4.5'
INTEGRITY = ('DjuwN9nUZXLTW+wav1LRESCZNVxl8SshwOy4z1pxuWbWt5/ay6sM9QQ1lebBaDO6'
             'P1IMBoK6mdf+PuVP/QNL8A==')
FETCH = 'node-fetch@2.7.0'

REQUIRED = 157

# an answer with Set-Cookie is not kept, and a list in Age is too old
CHOSEN = {'headers-store-Set-Cookie', '304-etag-update-response-Set-Cookie',
          'age-parse-prefix'}

# they look for a field of the origin in the answer to a connection that the
# origin has closed without one
VOID = {'stale-close-must-revalidate', 'stale-close-no-cache',
        'stale-close-proxy-revalidate', 'stale-close-s-maxage=2'}

SUITE = os.path.join(penstock.BUILD, 'http-cache-tests')
RUNNER = os.path.join(penstock.ROOT, 'tests/tools/http_cache_suite.mjs')

# the default key, and no freshness but what the answers say themselves
CONF = '''
    availability_zone a:8m;

    upstream suite {
        server 127.0.0.1:%%SUITE%%;
        keepalive 8;
    }

    server {
        listen 127.0.0.1:%%PORT%%;

        location / {
            availability_cache a;
            proxy_http_version 1.1;
            proxy_set_header   Connection "";
            proxy_pass         http://suite;
        }
    }
'''


def npm(*argv, cwd):
    done = subprocess.run(['npm', *argv], cwd=cwd, text=True, timeout=120,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise RuntimeError('npm %s:\n%s' % (' '.join(argv), done.stdout))


def fetch():
    """The suite's folder, fetched if it is not there."""

    package = os.path.join(SUITE, 'package')

    if os.path.isdir(package):
        return package

    new = SUITE + '.new'
    shutil.rmtree(new, ignore_errors=True)
    os.makedirs(new)

    npm('pack', '--silent', 'http-cache-tests@' + VERSION, cwd=new)

    name = os.path.join(new, 'http-cache-tests-%s.tgz' % VERSION)

    with open(name, 'rb') as f:
        digest = base64.b64encode(hashlib.sha512(f.read()).digest()).decode()

    if digest != INTEGRITY:
        raise RuntimeError('http-cache-tests %s is not what it was: %s'
                           % (VERSION, digest))

    shutil.unpack_archive(name, new)

    # of what the package asks for, its runner needs one
    with open(os.path.join(new, 'package/package.json'), 'w') as f:
        json.dump({'private': True, 'type': 'module'}, f)

    npm('install', '--ignore-scripts', '--no-audit', '--no-fund',
        '--silent', FETCH, cwd=os.path.join(new, 'package'))

    shutil.rmtree(SUITE, ignore_errors=True)
    os.rename(new, SUITE)

    return package


class SuiteServer(penstock.Server):
    """The suite's origin."""

    def __init__(self, package):
        super().__init__()
        self.package = package
        self.port = penstock.free_port()

    def start(self):
        self.spawn(['node', RUNNER, self.package, 'origin'],
                   lambda: penstock.listening(self.port),
                   env=dict(os.environ, npm_config_protocol='http',
                            npm_config_port=str(self.port),
                            npm_config_pidfile=self.path('suite.pid')))


@unittest.skipUnless(shutil.which('npm') and shutil.which('node'),
                     'there is no npm here')
class SuiteTest(penstock.TestCase):

    def run_suite(self):
        package = fetch()
        origin = SuiteServer(package)
        self._add(origin)

        gw = self.gateway(CONF, SUITE=origin.port)

        def run(**env):
            done = subprocess.run(
                ['node', '--no-warnings', RUNNER, package,
                 'http://127.0.0.1:%d' % gw.port],
                text=True, timeout=240, stdout=subprocess.PIPE,
                env=dict(os.environ, **env))
            self.assertEqual(done.returncode, 0)
            return json.loads(done.stdout)

        results = run()

        for name in [name for name, why in sorted(results.items())
                     if why is not True and name not in CHOSEN | VOID]:
            print('    once more %s: %s' % (name, ': '.join(results[name])))
            results.update(run(CACHE_SUITE_ID=name))

        return results

    def test_required_cases(self):
        results = self.run_suite()

        failed = {name: why for name, why in sorted(results.items())
                  if why is not True}

        print('http-cache-tests %s: %d of %d required cases pass'
              % (VERSION, len(results) - len(failed), len(results)))

        for name, why in failed.items():
            print('    not %s: %s' % (name, ': '.join(why)))

        self.assertEqual(len(results), REQUIRED)
        self.assertEqual(set(failed), CHOSEN | VOID)


if __name__ == '__main__':
    unittest.main()
