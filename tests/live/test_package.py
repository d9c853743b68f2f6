"""The Debian package, and lua-free-config/Dockerfile, whose steps are done in
chroots of Debian 12: the package is built for its nginx; what the image runs is
a gateway; installing, removing and purging the package leaves an nginx that
works.  Root is needed, for chroot; what debootstrap makes stays under
build/image/base.

On Debian 12 the package is built by this machine, of what the Dockerfile
copies.  With PENSTOCK_IMAGE=whole, and elsewhere, that is done in a chroot with
nothing prepared too.
"""

import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

import penstock

sys.path.insert(0, os.path.join(penstock.ROOT, 'tests/package'))
sys.path.insert(0, os.path.join(penstock.ROOT, 'tests/demo'))

import demo                                               # noqa: E402
import dockerfile                                         # noqa: E402

PACKAGE = 'libnginx-mod-http-penstock'
LINK = '/etc/nginx/modules-enabled/50-mod-http-penstock.conf'
FOLDER = os.path.join(penstock.BUILD, 'image')
NGINX = ['nginx', '-g', 'daemon off;']

# what a user of Debian's nginx writes: the module is loaded already
SITE = '''
rate_limit_zone $remote_addr zone=all:1m rate=1r/m burst=1;
availability_zone stock:1m;

server {
    listen 127.0.0.1:%d;
    correlation_id on;

    location /limited {
        rate_limit zone=all;
        proxy_pass http://127.0.0.1:%d;
    }
}
'''

PLAIN = 'server { listen 127.0.0.1:%d; return 200 plain; }\n'


@unittest.skipIf(os.environ.get('PENSTOCK_KIND') == 'asan',
                 'the package has no sanitizers')
@unittest.skipIf(os.geteuid() != 0, 'chroots are made by root')
class Test(penstock.TestCase):

    @classmethod
    def setUpClass(cls):
        if not shutil.which('debootstrap'):
            raise AssertionError('debootstrap is not installed')

        cls.images = []
        cls.addClassCleanup(lambda: [image.remove() for image in cls.images])
        os.makedirs(FOLDER, exist_ok=True)
        for stage in glob.glob(FOLDER + '/stage*'):
            shutil.rmtree(stage)

        with open('/etc/os-release') as f:
            same = 'VERSION_ID="12"' in f.read()
        here = ('build',) if same and os.environ.get(
            'PENSTOCK_IMAGE') != 'whole' else ()

        start = time.monotonic()
        cls.images = dockerfile.build(
            os.path.join(penstock.ROOT, 'lua-free-config/Dockerfile'),
            penstock.ROOT, FOLDER, here)
        cls.builder, cls.image = cls.images
        print('the image was made in %d s' % (time.monotonic() - start))

        cls.debs = glob.glob(cls.builder.path('/src/build/package/')
                             + PACKAGE + '_*.deb')

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix='penstock-')
        self.addCleanup(shutil.rmtree, self.dir, True)
        os.chmod(self.dir, 0o755)
        self.output = os.path.join(self.dir, 'output')
        self.port = penstock.free_port()

    def start(self, *argv):
        """nginx as pid 1; ends with the test at the latest."""

        process = self.image.start(self.output, *argv)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)

        def ready():
            self.assertIsNone(process.poll(), self.said())
            return penstock.listening(self.port)

        penstock.wait_for(ready, what='nginx in the image')
        return process

    def said(self):
        with open(self.output) as f:
            return f.read()

    def get(self, path, token=None):
        return penstock.request(
            self.port, path=path,
            headers={'Authorization': 'Bearer ' + token} if token else {})

    def test_image(self):
        """It takes site/ and keys/ from outside, and is a gateway."""

        def answer(h):
            if 'sku=slow' in h.path:
                time.sleep(1)
            sku = re.search('sku=([^&]*)', h.path).group(1)
            h.send(200, {'items': [{'sku': sku, 'location': 'L1',
                                    'available': 5}]})

        origin, redis = self.origin(answer), self.redis()
        tokens = demo.Tokens(self.dir)
        token = tokens.make('shop', 'channel', 'availability:read')[0]
        etc = self.image.path('/etc/penstock')

        with open(etc + '/keys/issuer.jwks', 'w') as f:
            f.write(tokens.set())
        for path in glob.glob(demo.CONFIG + '/site/*.conf'):
            with open(path) as f:
                text = f.read()
            for old, new in (('127.0.0.1:8080', self.port),
                             ('127.0.0.1:6379', redis.port),
                             ('127.0.0.1:9000', origin.port)):
                text = text.replace(old, '127.0.0.1:%d' % new)
            with open(os.path.join(etc, 'site', os.path.basename(path)),
                      'w') as f:
                f.write(text)

        process = self.start()
        self.assertEqual(self.get('/healthz').text, 'ok\n')
        self.assertEqual(self.get('/availability?sku=A').status, 401)

        def read():
            r = self.get('/availability?sku=A&location=L1', token)
            self.assertEqual(r.json()['items'][0]['available'], 5)
            return r.headers['Cache-Status']

        self.assertIn('fwd', read())
        # what came before the push link to Redis is not trusted
        penstock.wait_for(lambda: 'hit' in read(), what='a hit')

        # nothing runs as root; what is under way when it is stopped is done
        with open('/proc/%d/status' % self.image.first(process)) as f:
            self.assertIn('Uid:\t33\t33\t33\t33', f.read())
        slow = []

        def ask():
            slow.append(self.get('/availability?sku=slow&location=L1', token))

        def stop():
            penstock.wait_for(
                lambda: any('slow' in r[1] for r in origin.requests))
            slow.append(self.image.stop(process))

        penstock.together([ask, stop])
        self.assertEqual(sorted(slow, key=str)[0], 0, self.said())
        self.assertEqual([r.status for r in slow if r != 0], [200])

        # its logs are the container's
        self.assertRegex(self.said(), '"client":"shop".*"cache":"HIT"')
        self.assertNotIn(token[:40], self.said())
        self.assertNotRegex(self.said(), penstock.BAD_LINE)

    def test_package(self):
        """Debian's nginx with it, without it, with it again."""

        self.assertEqual(len(self.debs), 1)
        deb = self.debs[0]

        def field(name):
            return subprocess.run(['dpkg-deb', '-f', deb, name], check=True,
                                  stdout=subprocess.PIPE,
                                  text=True).stdout.strip()

        # it fits the nginx it was built for, no other
        abi = self.image.run("dpkg-query -W -f '${Provides}' nginx")
        self.assertIn(field('Depends').split(',')[0], abi)
        self.assertRegex(field('Depends'), r'^nginx-abi-1\.22\.1-')
        for library in 'libjansson4', 'libjwt0', 'libpcre2-8-0', 'libssl3':
            self.assertIn(library, field('Depends'))
        self.assertIn('hiredis', field('Built-Using'))

        names = subprocess.run(['dpkg-deb', '-c', deb], check=True,
                               stdout=subprocess.PIPE, text=True).stdout
        for path in glob.glob(demo.CONFIG + '/**/*.conf', recursive=True):
            self.assertIn('/examples/lua-free-config/'
                          + os.path.relpath(path, demo.CONFIG), names)

        site = self.image.path('/etc/nginx/sites-enabled/default')
        os.unlink(site)

        def configure(text):
            with open(site, 'w') as f:
                f.write(text)

        def served(text):
            process = self.start(NGINX, 'root')
            self.assertEqual(self.get('/').text, text)
            self.image.stop(process)

        def link():
            return os.path.lexists(self.image.path(LINK))

        # enabled by its installation
        origin = self.origin()
        self.assertTrue(link())
        configure(SITE % (self.port, origin.port))
        self.image.run('nginx -t')
        process = self.start(NGINX, 'root')
        first = self.get('/limited')
        self.assertEqual(first.json(), {'ok': True})
        self.assertTrue(first.headers['X-Correlation-ID'])
        self.assertEqual(self.get('/limited').status, 429)
        self.assertEqual(self.image.stop(process), 0, self.said())

        # removed: nginx knows its directives no more, and goes on without
        self.image.run('apt-get remove -y ' + PACKAGE)
        self.assertFalse(link())
        with self.assertRaisesRegex(dockerfile.Error, 'unknown directive'):
            self.image.run('nginx -t')
        configure(PLAIN % self.port)
        served('plain')

        # again: it is enabled again; disabled by hand it stays so
        shutil.copy(deb, self.image.path('/tmp/again.deb'))
        self.image.run('dpkg -i /tmp/again.deb')
        self.assertTrue(link())
        served('plain')
        os.unlink(self.image.path(LINK))
        self.image.run('dpkg -i /tmp/again.deb')
        self.assertFalse(link())

        # purged: nothing is left
        self.image.run('dpkg -P ' + PACKAGE)
        left = self.image.run('find / -xdev -name "*penstock*"'
                              ' -not -path "/proc/*" -not -path "/dev/*"')
        self.assertEqual([path for path in left.split()
                          if path not in ('/etc/penstock', '/etc/apt/apt.conf'
                                          '.d/90penstock')], [])
        served('plain')

    @unittest.skipUnless(shutil.which('lintian'), 'lintian is not installed')
    def test_lintian(self):
        changes = glob.glob(self.builder.path('/src/build/package/*.changes'))
        p = subprocess.run(
            ['lintian', '--allow-root', '--fail-on', 'error'] + changes,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual(p.returncode, 0, p.stdout)


if __name__ == '__main__':
    unittest.main()
