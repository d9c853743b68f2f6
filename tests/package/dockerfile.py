"""Does what a Dockerfile says, in chroots instead of containers: for machines
without Docker, so that a Dockerfile is tested wherever its distribution can be
had.  Root is needed.

    *others, image = dockerfile.build(path, context, folder)
    process = image.start()           # its CMD, as its USER, alone as pid 1
    image.stop(process)               # as "docker stop"
    image.run('dpkg -l')              # anything else, as root
    image.remove()

Each stage gets a copy of its base, made by debootstrap and kept in
"folder"/base.  What is understood is what ours need; anything else is an
error, not left out.  here=('build',): the stage of that name gets a folder
with what is copied into it, and its steps are done there by this machine: it
takes less time, and does not show that the base has all it needs.
"""

import glob
import json
import os
import shutil
import signal
import subprocess

# what an image's base is made of
SUITES = {'debian:12-slim': 'bookworm'}

# documentation is not installed in a slim image
SLIM = ''.join('path-exclude /usr/share/%s/*\n' % name
               for name in ('doc', 'man', 'info', 'locale')) \
    + 'path-include /usr/share/doc/*/copyright\n'

PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

# mounts and processes of its own, all of which end with the command
INSIDE = '''
    dir=$1 user=$2 where=$3
    shift 3
    mount -t proc proc "$dir/proc"
    mount --bind /dev "$dir/dev"
    exec chroot --userspec="$user" "$dir" env -i HOME=/root LC_ALL=C.UTF-8 \\
        PATH="$PATH" DEBIAN_FRONTEND=noninteractive \\
        sh -c 'cd "$1" && shift && exec "$@"' sh "$where" "$@"
'''


class Error(Exception):
    pass


def archive():
    """The Debian archive that this machine uses."""

    out = subprocess.run(
        ['apt-get', 'indextargets', '--format',
         '$(ORIGIN) $(CODENAME) $(COMPONENT) $(SITE)',
         'Created-By: Packages'], stdout=subprocess.PIPE, text=True).stdout
    for line in out.splitlines():
        origin, name, component, site = line.split()
        if origin == 'Debian' and '-' not in name and component == 'main':
            return site
    return 'http://deb.debian.org/debian'


def said(argv, what, cwd=None, env=None):
    """Runs it; all it said if it fails."""

    p = subprocess.run(argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True, errors='replace')
    if p.returncode:
        raise Error('%s: exit status %d\n%s'
                    % (what, p.returncode, p.stdout[-4000:]))
    return p.stdout


def base(folder, suite):
    """A small Debian, made once."""

    path = os.path.join(folder, 'base', suite)
    if os.path.isdir(path):
        return path

    new = path + '.new'
    shutil.rmtree(new, ignore_errors=True)
    os.makedirs(new)
    said(['debootstrap', '--variant=minbase', suite, new, archive()],
         'debootstrap')

    def write(name, text, mode=0o644):
        with open(os.path.join(new, name), 'w') as f:
            f.write(text)
        os.chmod(os.path.join(new, name), mode)

    write('etc/dpkg/dpkg.cfg.d/docker', SLIM + 'force-unsafe-io\n')
    # an archive that stands still will do; services stay off
    write('etc/apt/apt.conf.d/90penstock',
          'Acquire::Check-Valid-Until "false";\n')
    write('usr/sbin/policy-rc.d', '#!/bin/sh\nexit 101\n', 0o755)
    os.rename(new, path)
    return path


class Stage:
    """A root of its own, and what the image's configuration says."""

    def __init__(self, source, path):
        self.dir = path
        self.here = source is None
        self.workdir = '/'
        self.user = 'root'
        self.command = None
        self.stopsignal = 'SIGTERM'
        if self.here:
            os.mkdir(path)
        else:
            said(['cp', '-a', source, path], 'cp')

    def path(self, name):
        return os.path.join(self.dir, name.lstrip('/'))

    def argv(self, argv, user='root', where='/'):
        return ['nice', 'unshare', '--mount', '--pid', '--fork',
                '--kill-child', 'sh', '-ec', INSIDE, 'sh', self.dir, user,
                where] + list(argv)

    def run(self, command, user='root', where='/'):
        argv = ['sh', '-c', command]
        if self.here:
            env = {name: value for name, value in os.environ.items()
                   if not name.startswith('PENSTOCK_')}
            return said(['nice', *argv], command, self.path(where),
                        dict(env, PENSTOCK_NO_DEPS='1'))
        return said(self.argv(argv, user, where), command)

    def start(self, output, command=None, user=None):
        """The image's command, or another; returns its process.  What it
        says goes to a file that is its user's, as in a container."""

        user = user or self.user
        with open(output, 'ab') as out:
            os.fchown(out.fileno(), int(self.run('id -u ' + user)), -1)
            return subprocess.Popen(
                self.argv(command or self.command, user, self.workdir),
                stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.STDOUT)

    def first(self, process):
        """The pid, here, of what is pid 1 there."""

        with open('/proc/%d/task/%d/children'
                  % (process.pid, process.pid)) as f:
            return int(f.read().split()[0])

    def stop(self, process, seconds=10):
        """As "docker stop": its exit status."""

        os.kill(self.first(process), getattr(signal, self.stopsignal))
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise Error('%s does not end on %s within %d s'
                        % (self.command[0], self.stopsignal, seconds))

    def copy(self, source, words):
        """COPY: a folder's content into the other, files by pattern."""

        *names, to = words
        target = os.path.normpath(os.path.join(self.workdir, to))
        into = to.endswith('/') or to in ('.', './')

        for name in names:
            found = glob.glob(os.path.join(source, name.lstrip('/')))
            if not found:
                raise Error('COPY: there is no %s' % name)
            for path in found:
                there = self.path(target)
                if os.path.isdir(path):
                    shutil.copytree(path, there, symlinks=True,
                                    dirs_exist_ok=True)
                    continue
                if into:
                    there = os.path.join(there, os.path.basename(path))
                os.makedirs(os.path.dirname(there), exist_ok=True)
                shutil.copy2(path, there)

    def remove(self):
        shutil.rmtree(self.dir)


def instructions(text):
    """(WORD, rest) of each, lines that go on put together."""

    lines = [line for line in text.splitlines()
             if line.strip() and not line.lstrip().startswith('#')]
    for line in '\n'.join(lines).replace('\\\n', ' ').splitlines():
        word, _, rest = line.strip().partition(' ')
        yield word.upper(), rest.strip()


def build(dockerfile, context, folder, here=()):
    """Its stages, for the caller to remove; the last one is the image."""

    stages, names = [], {}
    with open(dockerfile) as f:
        text = f.read()

    try:
        for word, rest in instructions(text):
            if word == 'FROM':
                image, _, name = rest.partition(' AS ')
                source = None if name in here \
                    else base(folder, SUITES[image])
                stage = Stage(source, os.path.join(
                    folder, 'stage%d' % len(stages)))
                stages.append(stage)
                names[name] = stage
            elif word == 'WORKDIR':
                stage.workdir = rest
                os.makedirs(stage.path(rest), exist_ok=True)
            elif word == 'COPY' and rest.startswith('--from='):
                name, *words = rest[len('--from='):].split()
                stage.copy(names[name].dir, words)
            elif word == 'COPY' and not rest.startswith('--'):
                stage.copy(context, rest.split())
            elif word == 'RUN' and rest[0] not in '[-':
                stage.run(rest, stage.user, stage.workdir)
            elif word == 'USER':
                stage.user = rest
            elif word == 'STOPSIGNAL':
                stage.stopsignal = rest
            elif word == 'CMD':
                stage.command = json.loads(rest)
            elif word != 'EXPOSE':
                raise Error('%s %s: not understood here' % (word, rest))
    except BaseException:
        for stage in stages:
            stage.remove()
        raise

    return stages
