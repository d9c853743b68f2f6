"""Helpers of the live tests: real nginx, Redis, ERP and origin servers.

A test derives from TestCase and asks it for servers; each is started on a
free port of 127.0.0.1 in a folder of its own, waited for, and stopped by its
pid when the test ends.  nginx's error log is read at the end: a line that
nobody asked for ([alert], [emerg], [crit], a sanitizer's report) fails the
test.

    import unittest
    import penstock

    class Test(penstock.TestCase):

        def test_hit(self):
            origin = self.origin()
            gw = self.gateway('''
                server {
                    listen 127.0.0.1:%%PORT%%;
                    location / { proxy_pass http://127.0.0.1:%%ORIGIN%%; }
                }
            ''', ORIGIN=origin.port)
            self.assertEqual(gw.get('/').status, 200)

    if __name__ == '__main__':
        unittest.main()

Run one by one: python3 tests/live/test_X.py.  PENSTOCK_MODULE names the
.so (default: the plain build), PENSTOCK_NGINX the nginx to run.
"""

import fcntl
import http.client
import http.server
import json
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
BUILD = os.environ.get('PENSTOCK_BUILD', os.path.join(ROOT, 'build'))
MODULE = os.path.abspath(os.environ.get(
    'PENSTOCK_MODULE',
    os.path.join(BUILD, 'plain/objs/ngx_http_penstock_module.so')))
PROBE_MODULE = os.path.abspath(os.environ.get(
    'PENSTOCK_PROBE_MODULE',
    os.path.join(BUILD, 'probe/objs/ngx_http_penstock_module.so')))
NGINX = os.environ.get('PENSTOCK_NGINX', '/usr/sbin/nginx')
REDIS = os.environ.get('PENSTOCK_REDIS_SERVER', 'redis-server')
SHARED = os.path.join(os.path.dirname(ROOT), 'shared')

# how long a server may take to come or go; sanitizers make it slow
DEADLINE = 20.0

BAD_LINE = re.compile(
    r'^\d{4}/\d\d/\d\d [\d:]+ \[(alert|emerg|crit)\]'
    r'|AddressSanitizer|LeakSanitizer|UndefinedBehaviorSanitizer'
    r'|^\S+:\d+:\d+: runtime error: ')

_ports = []
_ports_mutex = threading.Lock()


def wait_for(condition, deadline=DEADLINE, what=None, step=0.01):
    """Calls condition() until it is true and returns its value; fails the
    test after "deadline" seconds, saying "what"."""

    end = time.monotonic() + deadline

    while True:
        value = condition()
        if value:
            return value

        if time.monotonic() > end:
            raise AssertionError('not within %g s: %s' % (
                deadline, what or getattr(condition, '__name__', 'it')))

        time.sleep(step)


def free_port():
    """A TCP port of 127.0.0.1 that nobody listens on.  It lies below the
    range the kernel uses for outgoing connections, and a lock keeps it for
    this process, so that tests that run side by side don't collide."""

    locks = os.path.join(BUILD, 'ports')
    os.makedirs(locks, exist_ok=True)

    with _ports_mutex:
        while True:
            port = random.randrange(20000, 32000)

            lock = open(os.path.join(locks, str(port)), 'w')
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with socket.socket() as s:
                    s.bind(('127.0.0.1', port))
            except OSError:
                lock.close()
                continue

            _ports.append(lock)
            return port


def listening(port):
    """Whether a connection to the port is accepted."""

    try:
        socket.create_connection(('127.0.0.1', port), 1).close()
    except OSError:
        return False

    return True


class Response:
    """status, headers (case-insensitive; get_all() for repeated ones), body
    (bytes), version (10 or 11) and seconds it took."""

    def __init__(self, response, body, seconds):
        self.status = response.status
        self.headers = response.msg
        self.version = response.version
        self.body = body
        self.seconds = seconds

    @property
    def text(self):
        return self.body.decode('utf-8', 'replace')

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return '<%d %r>' % (self.status, self.body[:300])


def request(port, method='GET', path='/', headers=None, body=None,
            timeout=DEADLINE, host='127.0.0.1'):
    """One HTTP/1.1 request on a connection of its own.  "headers" is a dict
    or a list of pairs (then nothing but Host and Content-Length is added);
    a "body" that is neither bytes nor str is sent as JSON."""

    items = list(headers.items()) if hasattr(headers, 'items') \
        else list(headers or ())
    names = [name.lower() for name, _ in items]

    if body is not None and not isinstance(body, (bytes, str)):
        body = json.dumps(body)
        if 'content-type' not in names:
            items.append(('Content-Type', 'application/json'))

    if isinstance(body, str):
        body = body.encode()

    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    start = time.monotonic()

    try:
        connection.putrequest(method, path, skip_host='host' in names,
                              skip_accept_encoding=True)
        for name, value in items:
            connection.putheader(name, value)
        if body is not None and 'content-length' not in names \
           and 'transfer-encoding' not in names:
            connection.putheader('Content-Length', str(len(body)))
        connection.endheaders(body)

        response = connection.getresponse()
        return Response(response, response.read(), time.monotonic() - start)
    finally:
        connection.close()


def together(calls):
    """Runs the functions side by side, a thread each, and returns their
    values in order; the first exception is raised."""

    values = [None] * len(calls)
    errors = []

    def run(n, call):
        try:
            values[n] = call()
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=run, args=(n, call), daemon=True)
               for n, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(3 * DEADLINE)
        if thread.is_alive():
            raise AssertionError('a call still runs after %g s'
                                 % (3 * DEADLINE))
    if errors:
        raise errors[0]

    return values


def stop_process(process, sig=signal.SIGTERM):
    """Signals a child and waits for it; kills it after the deadline."""

    if process.poll() is not None:
        return process.returncode

    process.send_signal(signal.SIGCONT)
    process.send_signal(sig)

    try:
        process.wait(DEADLINE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise AssertionError('pid %d ignored signal %d for %g s'
                             % (process.pid, sig, DEADLINE))

    return process.returncode


class Server:
    """A child process with a folder of its own."""

    def __init__(self, directory=None):
        self.own_dir = directory is None
        self.dir = directory or tempfile.mkdtemp(prefix='penstock-')
        self.process = None
        self.port = None

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text):
        mode = 'wb' if isinstance(text, bytes) else 'w'
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), mode) as f:
            f.write(text)
        return self.path(name)

    def read(self, name):
        try:
            with open(self.path(name), errors='replace') as f:
                return f.read()
        except FileNotFoundError:
            return ''

    def spawn(self, argv, ready, env=None):
        """Starts argv and waits until ready()."""

        with open(self.path('output.log'), 'ab') as out:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                cwd=self.dir, env=env)

        def check():
            if self.process.poll() is not None:
                raise AssertionError('%s ended with status %d:\n%s' % (
                    argv[0], self.process.returncode, self.tail()))
            return ready()

        try:
            wait_for(check, what='%s is ready' % argv[0])
        except AssertionError:
            self.kill()
            raise

    def tail(self):
        return self.read('output.log')[-3000:]

    @property
    def pid(self):
        return self.process.pid

    def signal(self, sig):
        self.process.send_signal(sig)

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self):
        if self.process is not None:
            stop_process(self.process)

    def remove(self):
        if self.own_dir:
            shutil.rmtree(self.dir, ignore_errors=True)

    def teardown(self):
        try:
            self.stop()
        finally:
            self.remove()


class Gateway(Server):
    """nginx with the module, a master and "workers" workers.

    "http" is what stands in http { }.  %%PORT%% is the main port, %%DIR%%
    the folder, %%NAME%% any other keyword given.  "main" goes to the top
    level.  "allow" are regular expressions of error-log lines that may come
    though they are [alert]s, such as "exited on signal 9".

    module=PROBE_MODULE: the module with the probes of tests/probe.

    whole=True: "http" is a complete nginx.conf for the folder as prefix; pass
    error_log= if it names another than error.log.  "daemon" and "user" are
    set beside it.
    """

    def __init__(self, http, main='', events='', workers=1, level='info',
                 allow=(), whole=False, port=None, start=True, env=None,
                 directory=None, error_log='error.log', module=None,
                 **names):
        super().__init__(directory)
        self.module = module or MODULE
        self.error_log = error_log
        self.port = port or free_port()
        self.level = level
        self.allow = [re.compile(pattern) for pattern in allow]
        self.whole = whole
        self.main = main
        self.events = events
        self.n = workers
        self.names = names
        self.env = dict(os.environ, **(env or {}))
        self.configure(http)
        if start:
            self.start()

    def expand(self, text):
        names = dict(self.names, PORT=self.port, DIR=self.dir,
                     MODULE=self.module, ROOT=ROOT, SHARED=SHARED)
        for name, value in names.items():
            text = text.replace('%%' + name + '%%', str(value))
        left = re.search(r'%%[A-Z0-9_]+%%', text)
        if left:
            raise AssertionError('no value for ' + left.group())
        return text

    def configure(self, http, **names):
        """Writes nginx.conf; for start(), test() or reload() to use."""

        self.names.update(names)

        for name in 'html', 'temp':
            os.makedirs(self.path(name), exist_ok=True)

        if self.whole:
            self.write('nginx.conf', self.expand(http))
            return

        temp = ''.join('    %s_temp_path %s;\n' % (name, self.path('temp/')
                                                   + name)
                       for name in ('client_body', 'proxy', 'fastcgi',
                                    'scgi', 'uwsgi'))

        self.write('nginx.conf', self.expand(
            '%s'
            'worker_processes %d;\n'
            'daemon off;\n'
            'pid %%%%DIR%%%%/nginx.pid;\n'
            'error_log %%%%DIR%%%%/error.log %s;\n'
            'load_module %%%%MODULE%%%%;\n'
            'env ASAN_OPTIONS;\n'
            'env UBSAN_OPTIONS;\n'
            'env LD_PRELOAD;\n'
            '%s\n'
            'events { worker_connections 1024; %s }\n'
            'http {\n'
            '    access_log %%%%DIR%%%%/access.log;\n'
            '%s%s\n'
            '}\n' % ('user root;\n' if os.geteuid() == 0 else '', self.n,
                     self.level, self.main, self.events, temp, http)))

    def argv(self, *more):
        return [NGINX, '-p', self.dir + '/', '-e', self.path('error.log'),
                '-c', self.path('nginx.conf')] + list(more)

    def test(self):
        """nginx -t: (whether it is fine, what it said)."""

        p = subprocess.run(self.argv('-t'), stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           env=self.env, timeout=60)
        return p.returncode == 0, p.stdout.decode('utf-8', 'replace')

    def start(self):
        aside = []
        if self.whole:
            aside = ['-g', 'daemon off;' + (' user root;'
                                            if os.geteuid() == 0 else '')]
        self.spawn(self.argv(*aside), lambda: listening(self.port), self.env)
        wait_for(lambda: len(self.workers()) >= self.n, what='nginx workers')

    def tail(self):
        return super().tail() + self.log()[-3000:]

    def workers(self, old=False):
        """pids of workers; with "old" also those that are shutting down."""

        pids = []

        try:
            with open('/proc/%d/task/%d/children'
                      % (self.pid, self.pid)) as f:
                children = [int(pid) for pid in f.read().split()]
        except FileNotFoundError:
            return pids

        for pid in children:
            try:
                with open('/proc/%d/cmdline' % pid) as f:
                    title = f.read()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if 'worker process' in title \
               and (old or 'shutting down' not in title):
                pids.append(pid)

        return pids

    def connected(self, sport=None, dport=None):
        """pids of the workers with a connection from or to a port."""

        inodes = set()

        with open('/proc/net/tcp') as f:
            for line in f.readlines()[1:]:
                part = line.split()
                ports = [int(part[n].split(':')[1], 16) for n in (1, 2)]
                if part[3] == '01' and (sport in (None, ports[0])
                                        and dport in (None, ports[1])):
                    inodes.add('socket:[%s]' % part[9])

        def holds(pid):
            for fd in os.listdir('/proc/%d/fd' % pid):
                try:
                    if os.readlink('/proc/%d/fd/%s' % (pid, fd)) in inodes:
                        return True
                except OSError:
                    continue

        return {pid for pid in self.workers() if holds(pid)}

    def crowd(self, call, least=12):
        """Runs call() in threads, at least so many and until each worker
        has a client's connection: the kernel may give all of them to one.
        call() must not end before.  Returns the threads."""

        threads = []

        def one():
            threads.append(threading.Thread(target=call, daemon=True))
            threads[-1].start()

        for _ in range(least):
            one()

        def everywhere():
            if self.connected(sport=self.port) == set(self.workers()):
                return True
            # by themselves they would all go to who was idle last
            for _ in range(6):
                one()

        wait_for(everywhere, what='a client at each worker', step=0.1)
        return threads

    def reload(self, http=None, wait=True, **names):
        """SIGHUP, with a new configuration if one is given.  With "wait"
        returns when new workers serve and no old one accepts any more; the
        old ones may still have requests to finish."""

        if http is not None:
            self.configure(http, **names)

        before = set(self.workers(old=True))
        self.signal(signal.SIGHUP)

        if wait:
            wait_for(lambda: len(self.workers()) >= self.n
                     and not before & set(self.workers()),
                     what='reload; the error log ends with:\n'
                          + self.log()[-1500:])

    def reopen(self):
        self.signal(signal.SIGUSR1)

    def log(self):
        return self.read(self.error_log)

    def access_log(self):
        return self.read('access.log')

    def wait_log(self, pattern, deadline=DEADLINE):
        """Waits for a line of the error log; returns the match."""

        return wait_for(lambda: re.search(pattern, self.log(), re.M),
                        deadline, 'error log has ' + pattern)

    def bad_lines(self):
        bad = []
        for line in (self.log() + self.read('output.log')).splitlines():
            if BAD_LINE.search(line) \
               and not any(p.search(line) for p in self.allow):
                bad.append(line)
        return bad

    def stop(self, sig=signal.SIGTERM):
        """SIGTERM, or SIGQUIT to let running requests finish."""

        if self.process is not None:
            stop_process(self.process, sig)

    def teardown(self):
        try:
            self.stop()
            bad = self.bad_lines()
            if bad:
                # what follows the first one is the stack trace
                log = self.log() + self.read('output.log')
                at = log.find(bad[0])
                raise AssertionError('in the error log:\n%s\n...\n%s' % (
                    '\n'.join(bad[:10]), log[at:at + 4000]))
        finally:
            self.remove()

    def request(self, method='GET', path='/', headers=None, body=None,
                **kw):
        return request(self.port, method, path, headers, body, **kw)

    def get(self, path='/', headers=None, **kw):
        return self.request('GET', path, headers, **kw)

    def post(self, path='/', body=b'', headers=None, **kw):
        return self.request('POST', path, headers, body, **kw)

    def metric(self, name, **labels):
        """Of penstock_status at /status: the sum of those with these labels.
        """

        values = self.get('/status').json()['metrics'][name]['values']
        return sum(v['value'] for v in values
                   if labels.items() <= v['labels'].items())

    def wait_live(self, live=1):
        """Until changes in Redis are pushed here, or no more; how long it
        took."""

        start = time.monotonic()
        wait_for(lambda: self.metric('penstock_redis_push_live') == live,
                 what='push link is %d' % live)
        return time.monotonic() - start


class Clock:
    """What servers with .env take for the time of day is set() so many
    seconds ahead.  "sanitized": they have sanitizers where that is tested."""

    def __init__(self, sanitized=False):
        self.dir = tempfile.mkdtemp(prefix='penstock-clock-')
        name = os.path.join(self.dir, 'clock')
        with open(name, 'wb') as f:
            f.write(struct.pack('q', 0))
        self.file = open(name, 'r+b', 0)
        library = os.path.join(self.dir, 'clock.so')
        subprocess.run(['gcc', '-shared', '-fPIC', '-O2', '-o', library,
                        os.path.join(ROOT, 'tests/tools/clock.c')],
                       check=True)
        if sanitized and os.environ.get('PENSTOCK_KIND') == 'asan':
            # which wants to be the first
            library = subprocess.check_output(
                ['gcc', '-print-file-name=libasan.so'],
                text=True).strip() + ' ' + library
        self.env = dict(PENSTOCK_CLOCK=name, LD_PRELOAD=library)

    def set(self, seconds):
        os.pwrite(self.file.fileno(), struct.pack('q', seconds), 0)

    def close(self):
        self.file.close()
        shutil.rmtree(self.dir, ignore_errors=True)


class RedisError(Exception):
    pass


class Redis(Server):
    """redis-server without persistence; "options" are its own, by name."""

    def __init__(self, *options, port=None, start=True):
        super().__init__()
        self.port = port or free_port()
        self.options = options
        self.socket = None
        if start:
            self.start()

    def start(self):
        self.spawn([REDIS, '--port', str(self.port),
                    '--bind', '127.0.0.1', '--save', '',
                    '--appendonly', 'no', '--dir', self.dir]
                   + [str(option) for option in self.options],
                   lambda: listening(self.port))

    def command(self, *argv):
        """One command; an error reply raises RedisError.  Values are str
        where they are UTF-8, else bytes."""

        if self.socket is None:
            self.socket = socket.create_connection(
                ('127.0.0.1', self.port), DEADLINE)
            self.file = self.socket.makefile('rb')

        try:
            parts = [arg if isinstance(arg, bytes) else str(arg).encode()
                     for arg in argv]
            self.socket.sendall(b'*%d\r\n' % len(parts) + b''.join(
                b'$%d\r\n%s\r\n' % (len(part), part) for part in parts))
            return self.reply()
        except (OSError, EOFError):
            self.forget()
            raise

    def reply(self):
        line = self.file.readline()
        if not line.endswith(b'\r\n'):
            raise EOFError('redis closed the connection')

        kind, rest = line[:1], line[1:-2]

        if kind == b'-':
            raise RedisError(rest.decode())
        if kind == b':':
            return int(rest)
        if kind == b'+':
            return rest.decode()
        if kind == b'*':
            if int(rest) < 0:
                return None
            return [self.reply() for _ in range(int(rest))]
        if int(rest) < 0:
            return None

        value = self.file.read(int(rest) + 2)[:-2]
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value

    def forget(self):
        if self.socket is not None:
            self.file.close()
            self.socket.close()
            self.socket = None

    def freeze(self):
        """Accepts connections, answers nothing."""
        self.signal(signal.SIGSTOP)

    def thaw(self):
        self.signal(signal.SIGCONT)

    def restart(self):
        self.kill()
        self.forget()
        self.start()

    def stop(self):
        self.forget()
        super().stop()


def commands(s):
    """What a client of Redis sends, as lists of bytes, until it leaves: for
    fakes."""

    file = s.makefile('rb')
    while True:
        line = file.readline()
        if not line:
            return
        yield [file.read(int(file.readline()[1:]) + 2)[:-2]
               for _ in range(int(line[1:]))]


class Origin:
    """An HTTP/1.1 server that does what a test says.

    handler(h) runs in a thread for each request: h is the
    BaseHTTPRequestHandler, with h.body read and h.send(status, body,
    headers) added.  Requests are kept in .requests as (method, path,
    headers, body); .most is the highest number at the same time.
    """

    def __init__(self, handler=None, port=None):
        origin = self
        self.handler = handler or (lambda h: h.send(200, {'ok': True}))
        self.requests = []
        self.now = self.most = 0
        self.mutex = threading.Lock()

        class Handler(http.server.BaseHTTPRequestHandler):

            protocol_version = 'HTTP/1.1'

            def serve(self):
                self.body = self.read_body()

                with origin.mutex:
                    origin.requests.append((self.command, self.path,
                                            self.headers, self.body))
                    origin.now += 1
                    origin.most = max(origin.most, origin.now)
                    self.counts = True

                try:
                    origin.handler(self)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True
                finally:
                    self.leave()

            def leave(self):
                """Not under way any more: before the last of an answer goes,
                as who has it may send the next request at once."""

                with origin.mutex:
                    origin.now -= self.counts
                    self.counts = False

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = \
                do_OPTIONS = serve

            def read_body(self):
                if 'chunked' in self.headers.get('Transfer-Encoding', ''):
                    body = b''
                    while True:
                        size = int(self.rfile.readline().split(b';')[0], 16)
                        body += self.rfile.read(size)
                        self.rfile.readline()
                        if size == 0:
                            return body
                return self.rfile.read(
                    int(self.headers.get('Content-Length', 0)))

            def send(self, status=200, body=b'', headers=None):
                self.leave()
                if not isinstance(body, (bytes, str)):
                    body = json.dumps(body)
                    headers = dict({'Content-Type': 'application/json'},
                                   **(headers or {}))
                if isinstance(body, str):
                    body = body.encode()

                self.send_response(status)
                items = headers.items() if hasattr(headers, 'items') \
                    else headers or ()
                sized = False
                for name, value in items:
                    self.send_header(name, value)
                    sized |= name.lower() in ('content-length',
                                              'transfer-encoding')
                if not sized and status not in (204, 304):
                    self.send_header('Content-Length', str(len(body)))
                self.end_headers()
                if self.command != 'HEAD':
                    self.wfile.write(body)

            def log_message(self, *args):
                pass

        class HTTPServer(http.server.ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 256

            def handle_error(self, request, client_address):
                if not isinstance(sys.exc_info()[1], OSError):
                    super().handle_error(request, client_address)

        self.port = port or free_port()
        self.server = HTTPServer(('127.0.0.1', self.port), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever,
                                       args=(0.05,), daemon=True)
        self.thread.start()

    def teardown(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(DEADLINE)


class Erp(Server):
    """The ERP of tests/erp; "options" go to it as they are."""

    program = [sys.executable, os.path.join(ROOT, 'tests/erp/erp.py')]

    def __init__(self, *options, port=None, start=True):
        super().__init__()
        self.port = port or free_port()
        self.options = options
        if start:
            self.start()

    def start(self):
        self.spawn(self.program + ['--port', str(self.port)]
                   + [str(option) for option in self.options],
                   lambda: listening(self.port))

    def request(self, method='GET', path='/', headers=None, body=None,
                **kw):
        return request(self.port, method, path, headers, body, **kw)


class Tryton(Erp):
    """Tryton with the interface of that ERP, in a file of its folder."""

    # Debian's Tryton is made for Debian's Python
    program = ['/usr/bin/python3', os.path.join(ROOT,
                                                'tests/erp/tryton_erp.py')]

    @classmethod
    def prepare(cls):
        """Its database is made once; that takes longer than a start may."""

        subprocess.run([cls.program[0], os.path.join(
            ROOT, 'tests/erp/tryton_base.py')], check=True,
            stdout=subprocess.DEVNULL)

    def __init__(self, *options, **kw):
        super().__init__(*options, **kw)
        self.options += ('--db', self.path('erp.sqlite'))

    def start(self):
        self.prepare()
        super().start()

    def rows(self, query, *values):
        """A look into its tables, past Tryton."""

        db = sqlite3.connect(self.path('erp.sqlite'))
        try:
            return db.execute(query, values).fetchall()
        finally:
            db.close()


class TestCase(unittest.TestCase):
    """Servers asked for here end with the test, the last one first."""

    def gateway(self, http, **kw):
        gateway = Gateway(http, start=False, **kw)
        self.addCleanup(gateway.teardown)
        gateway.start()
        return gateway

    def check(self, http, **kw):
        """nginx -t of a configuration: (whether it is fine, output)."""

        gateway = Gateway(http, start=False, **kw)
        try:
            return gateway.test()
        finally:
            gateway.remove()

    def _add(self, server):
        self.addCleanup(server.teardown)
        server.start()
        return server

    def redis(self, *options, **kw):
        return self._add(Redis(*options, start=False, **kw))

    def erp(self, *options, **kw):
        return self._add(Erp(*options, start=False, **kw))

    def tryton(self, *options, **kw):
        return self._add(Tryton(*options, start=False, **kw))

    def origin(self, handler=None, **kw):
        origin = Origin(handler, **kw)
        self.addCleanup(origin.teardown)
        return origin
