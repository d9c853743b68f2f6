"""request_schema's judge against the public JSON-Schema-Test-Suite, and
against another implementation on schemas and documents made at random.

The suite is Debian's (libtest-json-schema-acceptance-perl); what is not
supported must be an error when the schema is read.
"""

import glob
import json
import os
import random
import subprocess
import unittest

import jsonschema

import penstock

SUITE = ('/usr/share/perl5/auto/share/dist/Test-JSON-Schema-Acceptance/tests/'
         'draft2020-12')

FORMATS = ('date-time', 'date', 'time', 'uuid', 'email', 'uri')

OPTIONAL = ['optional/%s.json' % name
            for name in ('bignum', 'float-overflow', 'non-bmp-regex',
                         'no-schema', 'ecmascript-regex')] \
    + ['optional/format/%s.json' % name for name in FORMATS]

# groups that ask for what is an error here, by the words of the error
UNSUPPORTED = ('is not supported', 'at the top of the file only',
               'no other draft is supported', 'leads to no schema',
               'this "format" is not supported',
               'refers to itself for the same value')

# where the suite asks for what the standard leaves open, or another answer
# is given on purpose: (file, group, test)
DIFFERENT = ()

# groups of the suite that are judged, and tests in them: no fewer
FLOOR_GROUPS, FLOOR_TESTS = 300, 1200


class Judge:

    def __init__(self):
        path = os.path.join(penstock.BUILD, 'tools', 'schema')
        os.makedirs(os.path.dirname(path), exist_ok=True)
        root = penstock.ROOT
        subprocess.run(
            ['gcc', '-std=gnu11', '-g', '-O1', '-fsanitize=address,undefined',
             '-fno-sanitize-recover=undefined', '-o', path,
             os.path.join(root, 'tests/tools/schema.c')]
            + ['-I' + d for d in glob.glob(os.path.join(root, 'modules/*/'))]
            + glob.glob(os.path.join(root, 'modules/erp/ps_schema*.c'))
            + [os.path.join(root, 'modules/erp/ps_number.c')]
            + glob.glob(os.path.join(root, 'modules/core/ps_json_tape*.c'))
            + [os.path.join(root, 'modules/core', name) for name in
               ('ps_json_escape.c', 'ps_siphash.c')]
            + ['-lpcre2-8'], check=True)
        env = {k: v for k, v in os.environ.items() if k != 'LD_PRELOAD'}
        self.process = subprocess.Popen(
            [path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=env)

    def ask(self, kind, value):
        self.process.stdin.write('%s %s\n' % (kind, json.dumps(value)))
        self.process.stdin.flush()
        line = self.process.stdout.readline().rstrip('\n')
        if not line:
            raise AssertionError('the judge is gone')
        return line

    def schema(self, value):
        """None, or what is wrong with it."""
        if self.ask('S', value) == 'ok':
            return None
        return self.process.stdout.readline().rstrip('\n')

    def valid(self, document):
        answer = self.ask('D', document)
        if answer.split()[0] not in ('valid', 'invalid'):
            raise AssertionError(answer)
        return answer == 'valid'

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        if self.process.wait(20):
            raise AssertionError('the judge ended with status %d'
                                 % self.process.returncode)


class Random:
    """Schemas and documents that have something to do with each other."""

    NAMES = 'a', 'b', 'c', 'aa', ''
    VALUES = (None, True, False, 0, 1, -1, 1.0, 1.5, 2, 10, 1e2, 'a', 'b',
              'ab', '', 'é', [], {}, [1], {'a': 1}, [1, 1.0], [0, False])

    def __init__(self, seed):
        self.r = random.Random(seed)

    def value(self, depth=3):
        r = self.r
        kind = r.randrange(8 if depth else 5)
        if kind < 5:
            return r.choice(self.VALUES)
        if kind == 5:
            return [self.value(depth - 1) for _ in range(r.randrange(4))]
        return {r.choice(self.NAMES): self.value(depth - 1)
                for _ in range(r.randrange(4))}

    def schema(self, depth=3):
        r = self.r
        if depth == 0 or r.random() < .1:
            return r.choice((True, False, True, {}, {'type': 'integer'},
                             {'type': ['string', 'null']},
                             {'$ref': '#/$defs/x'}))
        s = {}
        for _ in range(r.randrange(1, 4)):
            self.keyword(s, depth)
        return s

    def keyword(self, s, depth):
        r = self.r
        sub = lambda: self.schema(depth - 1)
        kind = r.choice((
            'type', 'type', 'const', 'enum', 'minimum', 'exclusiveMaximum',
            'multipleOf', 'minLength', 'maxLength', 'pattern', 'minItems',
            'maxItems', 'uniqueItems', 'prefixItems', 'items', 'contains',
            'minContains', 'maxContains', 'properties', 'properties',
            'patternProperties', 'additionalProperties', 'propertyNames',
            'required', 'minProperties', 'maxProperties',
            'dependentRequired', 'dependentSchemas', 'allOf', 'anyOf',
            'oneOf', 'not', 'if', 'then', 'else', 'unevaluatedProperties',
            'unevaluatedItems'))
        if kind == 'type':
            s[kind] = r.choice(('null', 'boolean', 'integer', 'number',
                                'string', 'array', 'object',
                                ['array', 'object'], ['string', 'integer']))
        elif kind == 'const':
            s[kind] = self.value(1)
        elif kind == 'enum':
            s[kind] = [self.value(1) for _ in range(r.randrange(1, 4))]
        elif kind in ('minimum', 'exclusiveMaximum'):
            s[kind] = r.choice((0, 1, 1.0, 1.5, 10))
        elif kind == 'multipleOf':
            s[kind] = r.choice((1, 0.5, 2))
        elif kind == 'pattern':
            s[kind] = r.choice(('^a', 'b$', '^$', '[ab]+', '^.$'))
        elif kind == 'uniqueItems':
            s[kind] = r.random() < .8
        elif kind[:3] in ('min', 'max'):
            s[kind] = r.randrange(3)
        elif kind in ('prefixItems', 'allOf', 'anyOf', 'oneOf'):
            s[kind] = [sub() for _ in range(r.randrange(1, 4))]
        elif kind in ('properties', 'dependentSchemas'):
            s[kind] = {name: sub() for name in r.sample(self.NAMES, 2)}
        elif kind == 'patternProperties':
            s[kind] = {r.choice(('^a', 'b', '^$', 'a$')): sub()}
        elif kind == 'required':
            s[kind] = r.sample(self.NAMES, r.randrange(3))
        elif kind == 'dependentRequired':
            s[kind] = {r.choice(self.NAMES): r.sample(self.NAMES, 1)}
        else:
            s[kind] = sub()


class Test(unittest.TestCase):

    def setUp(self):
        self.judge = Judge()
        self.addCleanup(self.judge.close)

    def test_public_suite(self):
        groups = tests = 0
        wrong, refused = [], {}
        files = sorted(glob.glob(os.path.join(SUITE, '*.json'))) \
            + [os.path.join(SUITE, name) for name in OPTIONAL]
        for path in files:
            with open(path) as f:
                suite = json.load(f)
            name = os.path.relpath(path, SUITE)
            for group in suite:
                error = self.judge.schema(group['schema'])
                if error:
                    if not any(words in error for words in UNSUPPORTED):
                        wrong.append('%s: %s: %s' % (
                            name, group['description'], error))
                    refused[name] = refused.get(name, 0) + 1
                    continue
                groups += 1
                for test in group['tests']:
                    tests += 1
                    if self.judge.valid(test['data']) != test['valid'] \
                       and (name, group['description'],
                            test['description']) not in DIFFERENT:
                        wrong.append('%s: %s: %s: %s' % (
                            name, group['description'], test['description'],
                            json.dumps(test['data'])[:200]))
        print('%d groups, %d tests; refused when read: %s' % (
            groups, tests, ', '.join('%s %d' % item
                                     for item in sorted(refused.items()))))
        self.assertEqual(wrong, [], '\n' + '\n'.join(wrong))
        self.assertGreaterEqual(groups, FLOOR_GROUPS)
        self.assertGreaterEqual(tests, FLOOR_TESTS)

    def test_another_implementation(self):
        seed = int(os.environ.get('PENSTOCK_SEED', '1'))
        judged = both = 0
        for n in range(seed * 100000, seed * 100000 + 1200):
            r = Random(n)
            schema = {'$defs': {'x': r.schema(1)}, 'allOf': [r.schema()]}
            error = self.judge.schema(schema)
            if error:
                self.assertIn('refers to itself', error,
                              json.dumps(schema))
                continue
            other = jsonschema.Draft202012Validator(schema)
            for _ in range(12):
                document = r.value()
                mine, theirs = self.judge.valid(document), \
                    other.is_valid(document)
                judged += 1
                both += mine
                self.assertEqual(
                    mine, theirs, 'seed %d:\n%s\n%s' % (
                        n, json.dumps(schema), json.dumps(document)))
        print('%d documents, %d of them valid' % (judged, both))
        self.assertGreater(both, judged / 10)
        self.assertGreater(judged - both, judged / 10)


if __name__ == '__main__':
    unittest.main()
