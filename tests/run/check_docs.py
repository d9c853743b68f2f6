"""Each directive of the modules has its reference in docs/, and no other.

A directive is an entry of an ngx_command_t table: { ngx_string("name"), ...
Its reference is a heading with its name (backquotes allowed) and, below,
Syntax, Default and Context.  A heading with a Syntax that is no directive
must at least be a word the sources know (parameters of a block).  Links from
page to page lead somewhere, and the tests that the table of requirements names
are there.
"""

import glob
import os
import re
import sys

root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(
    os.path.dirname(os.path.abspath(__file__)), '../..')
bad = []

sources = ''
directives = {}

for path in sorted(glob.glob(os.path.join(root, 'modules/*/*.c'))):
    with open(path) as f:
        text = f.read()
    sources += text
    for table in re.findall(r'ngx_command_t\s+\w+\[\]\s*=\s*\{(.*?)\n\};',
                            text, re.S):
        for name in re.findall(r'\{\s*ngx_string\("([^"]+)"\)', table):
            directives[name] = os.path.relpath(path, root)

documented = {}

for path in sorted(glob.glob(os.path.join(root, 'docs/*.md'))):
    with open(path) as f:
        parts = re.split(r'^#{1,6} +(.+?) *#*$', f.read(), flags=re.M)
    for title, text in zip(parts[1::2], parts[2::2]):
        if '**Syntax' in text:
            name = title.replace('`', '').split()[0]
            documented[name] = os.path.relpath(path, root)
            if name in directives:
                for word in 'Default', 'Context':
                    if '**' + word not in text:
                        bad.append('%s: %s has no %s'
                                   % (documented[name], name, word))

for name, path in sorted(directives.items()):
    if name not in documented:
        bad.append('%s: directive %s is not in docs/' % (path, name))

for name, path in sorted(documented.items()):
    if name not in directives and '"%s"' % name not in sources:
        bad.append('%s: there is no directive %s' % (path, name))

for path in ['README.md'] + ['docs/' + name for name in
                             sorted(os.listdir(os.path.join(root, 'docs')))]:
    with open(os.path.join(root, path)) as f:
        text = re.sub(r'^```.*?^```', '', f.read(), flags=re.S | re.M)
    for link in re.findall(r'\]\(([^)#:\s]+)(?:#[^)]*)?\)', text):
        if not os.path.exists(os.path.join(root, os.path.dirname(path),
                                           link)):
            bad.append('%s: there is no %s' % (path, link))

# the tests that the requirements' table names

def lines_of(path):
    try:
        with open(os.path.join(root, path)) as f:
            return f.read()
    except FileNotFoundError:
        return ''

with open(os.path.join(root, 'docs/oauth-requirements.md')) as f:
    rows = [line for line in f if re.match(r'\| \d', line)]

for row in rows:
    tests = re.findall(r'\b(?:T ([\w-]+)(?: (\d+))?|L (\w+) (\w+))',
                       row.split('|')[3])
    found = [re.search(r'^=== TEST %s:' % number if number else r'^=== TEST',
                       lines_of('t/%s.t' % t), re.M)
             or not number and lines_of('t/%s.t' % t) if t else
             'def test_%s(' % name in lines_of('tests/live/%s.py' % live)
             for t, number, live, name in tests]
    if not found or not all(found):
        bad.append('docs/oauth-requirements.md: no such test: %s'
                   % row.strip())

for line in bad:
    print(line)

print('%d directives, %d documented' % (len(directives), len(documented)))
sys.exit(1 if bad else 0)
