"""Sender-constrained tokens at the HTTP boundary: DPoP (RFC 9449) and
certificates (RFC 8705).  A token that was stolen without its key is of no
use, whatever the thief makes up."""

import base64
import hashlib
import http.client
import json
import os
import re
import shutil
import ssl
import subprocess
import tempfile
import time
import unittest
import uuid

import penstock
from test_oauth import tool

CONF = '''
    large_client_header_buffers 4 32k;
    ssl_certificate server.crt;
    ssl_certificate_key server.key;

    server {
        listen 127.0.0.1:%%PORT%%;
        listen 127.0.0.1:%%TLS%% ssl;
        ssl_verify_client optional_no_ca;

        auth_jwt api;
        auth_jwt_key_file keys.json;
        add_header X-Reason $auth_jwt_error always;

        location /bearer {
            empty_gif;
        }

        location /on {
            auth_dpop on;
            try_files /none @on;
        }

        location @on {
            auth_dpop on;
            empty_gif;
        }

        location /required {
            auth_dpop required window=5s;
            empty_gif;
        }

        location /origin {
            auth_dpop on uri=https://api.example;
            empty_gif;
        }

        location /mtls {
            auth_mtls_bound on;
            empty_gif;
        }

        location /mtls-required {
            auth_mtls_bound required;
            empty_gif;
        }

        location /both {
            auth_mtls_bound on;
            auth_dpop on;
            empty_gif;
        }

        location /status {
            auth_jwt off;
            penstock_status;
        }
    }
'''

ALGS = 'ES256 ES384 ES512 EdDSA PS256 PS384 PS512 RS256 RS384 RS512'


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b'=').decode()


def digest(data):
    return b64(hashlib.sha256(data).digest())


class Key:
    """A client's key for proofs."""

    def __init__(self, directory, name, alg='ES256'):
        self.path, self.alg = os.path.join(directory, name), alg
        tool('jwks', 'gen', alg, self.path)
        jwk = json.loads(tool('jwks', 'set', '--key', self.path))['keys'][0]
        names = {'EC': ('crv', 'kty', 'x', 'y'), 'RSA': ('e', 'kty', 'n'),
                 'OKP': ('crv', 'kty', 'x')}[jwk['kty']]
        self.jwk = {name: jwk[name] for name in names}
        self.jkt = digest(json.dumps(self.jwk, sort_keys=True,
                                     separators=(',', ':')).encode())

    def proof(self, token, url, method='GET', header=(), drop=(), **claims):
        head = {'typ': 'dpop+jwt', 'alg': self.alg, 'jwk': self.jwk}
        head.update(header)
        body = {'htm': method, 'htu': url, 'iat': int(time.time()),
                'jti': str(uuid.uuid4()), 'ath': digest(token.encode())}
        body.update(claims)
        for name in drop:
            body.pop(name)
        return tool('jws', '--alg', self.alg, '--key', self.path, '--header',
                    json.dumps(head), '--payload', json.dumps(body))


class Test(penstock.TestCase):

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix='penstock-')
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        for name in 'server', 'one', 'two':
            subprocess.run(
                ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt',
                 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=' + name,
                 '-keyout', self.path(name + '.key'), '-out',
                 self.path(name + '.crt')], check=True,
                stderr=subprocess.DEVNULL)
        tool('jwks', 'gen', 'ES256', self.path('issuer'))
        with open(self.path('keys.json'), 'w') as file:
            file.write(tool('jwks', 'set', '--key', self.path('issuer'),
                            '--kid', 'issuer'))
        self.tls = penstock.free_port()
        self.gw = self.gateway(CONF, directory=self.directory, TLS=self.tls,
                               workers=2)
        self.key = Key(self.directory, 'client')
        self.other = Key(self.directory, 'thief')

    def path(self, name):
        return os.path.join(self.directory, name)

    def token(self, **cnf):
        claims = {'sub': 'bob', 'exp': int(time.time()) + 600}
        if cnf:
            claims['cnf'] = {k.replace('x5t', 'x5t#S256'): v
                             for k, v in cnf.items()}
        return tool('jws', '--alg', 'ES256', '--key', self.path('issuer'),
                    '--header', '{"alg":"ES256","kid":"issuer"}',
                    '--payload', json.dumps(claims))

    def url(self, path):
        return 'http://127.0.0.1:%d%s' % (self.gw.port, path)

    def ask(self, path, token, proof=None, scheme='DPoP', **kw):
        headers = {'Authorization': scheme + ' ' + token}
        if proof is not None:
            headers['DPoP'] = proof
        return self.gw.request(kw.pop('method', 'GET'), path,
                               headers=headers, **kw)

    def refused(self, answer, reason, error='invalid_dpop_proof'):
        self.assertEqual(answer.status, 401, reason)
        self.assertEqual(answer.headers['X-Reason'], reason)
        self.assertIn('error="%s"' % error,
                      answer.headers['WWW-Authenticate'])
        self.assertEqual(answer.headers['Content-Type'],
                         'application/problem+json')

    # -- DPoP ----------------------------------------------------------------

    def test_proof(self):
        for alg in ALGS.split():
            with self.subTest(alg):
                key = Key(self.directory, alg, alg)
                token = self.token(jkt=key.jkt)
                for path in '/on', '/required':
                    self.assertEqual(
                        self.ask(path, token,
                                 key.proof(token, self.url(path))).status,
                        200)

    def test_scheme_in_any_case_and_a_query(self):
        token = self.token(jkt=self.key.jkt)
        proof = self.key.proof(token, self.url('/on').upper()
                               .replace('/ON', '/on'))
        self.assertEqual(self.ask('/on?sku=1', token, proof,
                                  scheme='dpop').status, 200)

    def test_configured_origin(self):
        token = self.token(jkt=self.key.jkt)
        self.assertEqual(self.ask(
            '/origin', token,
            self.key.proof(token, 'https://api.example/origin')).status, 200)
        self.refused(self.ask('/origin', token,
                              self.key.proof(token, self.url('/origin'))),
                     'the DPoP proof\'s "htu" is not this resource')

    def test_each_proof_once(self):
        token = self.token(jkt=self.key.jkt)
        proof = self.key.proof(token, self.url('/on'))
        answers = penstock.together(
            [lambda: self.ask('/on', token, proof)] * 12)
        self.assertEqual(sorted(a.status for a in answers),
                         [200] + [401] * 11)
        self.refused(self.ask('/on', token, proof),
                     'the DPoP proof was used before')

        # reloads forget nothing
        self.gw.reload()
        self.refused(self.ask('/on', token, proof),
                     'the DPoP proof was used before')

    def test_old_proofs(self):
        token = self.token(jkt=self.key.jkt)
        now = int(time.time())
        for iat in now - 10, now + 10:
            self.assertEqual(self.ask(
                '/on', token, self.key.proof(token, self.url('/on'),
                                             iat=iat)).status, 200)
            self.refused(self.ask(
                '/required', token,
                self.key.proof(token, self.url('/required'), iat=iat)),
                'the DPoP proof was not made now')

    def test_proofs_of_others(self):
        token = self.token(jkt=self.key.jkt)
        other = self.token(jkt=self.other.jkt)
        url = self.url('/on')
        for proof, reason in (
                (self.other.proof(token, url),
                 'the DPoP proof\'s key is not the token\'s'),
                (self.other.proof(token, url,
                                  header={'jwk': self.key.jwk}),
                 'the DPoP proof\'s signature doesn\'t match'),
                (self.key.proof(other, url),
                 'the DPoP proof\'s "ath" is not of this token'),
                (self.key.proof(token, url, 'POST'),
                 'the DPoP proof\'s "htm" is not this method'),
                (self.key.proof(token, self.url('/required')),
                 'the DPoP proof\'s "htu" is not this resource'),
                (self.key.proof(token, url, drop=['ath']),
                 'the DPoP proof\'s "ath" is not of this token'),
                (self.key.proof(token, url, drop=['jti']),
                 'the DPoP proof has no "jti", or too long a one'),
                (self.key.proof(token, url, header={'typ': 'JWT'}),
                 'the DPoP proof\'s "typ" is not dpop+jwt'),
                (self.key.proof(token, url, header={
                    'jwk': dict(self.key.jwk, d='AAAA')}),
                 'the DPoP proof\'s "jwk" can\'t be used'),
                (token, 'the DPoP proof\'s "typ" is not dpop+jwt'),
                ('x', 'the DPoP proof is not a JWS'),
                ('', 'the DPoP proof is not a JWS'),
                ('a' * 9000, 'the DPoP proof is too large')):
            with self.subTest(reason):
                self.refused(self.ask('/on', token, proof), reason)
        self.refused(self.ask('/on', token), 'there is no DPoP proof')

    def test_several_proofs(self):
        token = self.token(jkt=self.key.jkt)
        connection = http.client.HTTPConnection('127.0.0.1', self.gw.port,
                                                timeout=penstock.DEADLINE)
        connection.putrequest('GET', '/on')
        connection.putheader('Authorization', 'DPoP ' + token)
        for _ in range(2):
            connection.putheader('DPoP',
                                 self.key.proof(token, self.url('/on')))
        connection.endheaders()
        answer = connection.getresponse()
        self.refused(answer, 'there are several DPoP proofs')
        connection.close()

    def test_a_bound_token_is_no_bearer_token(self):
        token = self.token(jkt=self.key.jkt)
        proof = self.key.proof(token, self.url('/on'))
        self.refused(self.ask('/on', token, proof, scheme='Bearer'),
                     'the token is bound by DPoP and was sent as Bearer',
                     'invalid_token')
        self.refused(self.ask('/bearer', token, scheme='Bearer'),
                     'the token is bound to a key and possession is not '
                     'checked', 'invalid_token')

        # and where DPoP is off its scheme is not known
        answer = self.ask('/bearer', token, proof)
        self.assertEqual(answer.status, 401)
        self.assertEqual(answer.headers['WWW-Authenticate'],
                         'Bearer realm="api"')

    def test_unbound_tokens(self):
        token = self.token()
        self.assertEqual(self.ask('/on', token, scheme='Bearer').status, 200)
        self.refused(self.ask('/on', token,
                              self.key.proof(token, self.url('/on'))),
                     'the token is not bound by DPoP', 'invalid_token')
        self.refused(self.ask('/required', token, scheme='Bearer'),
                     'the token is not bound by DPoP', 'invalid_token')

    def test_challenges(self):
        self.assertEqual(
            self.gw.get('/on').headers['WWW-Authenticate'],
            'Bearer realm="api", DPoP algs="%s"' % ALGS)
        self.assertEqual(
            self.gw.get('/required').headers['WWW-Authenticate'],
            'DPoP realm="api", algs="%s"' % ALGS)
        token = self.token(jkt=self.key.jkt)
        self.assertEqual(
            self.ask('/on', token).headers['WWW-Authenticate'],
            'DPoP realm="api", error="invalid_dpop_proof", '
            'error_description="The DPoP proof is not valid", algs="%s"'
            % ALGS)
        answer = self.gw.get('/on', headers={'Authorization': 'DPoP a b'})
        self.assertEqual(answer.status, 400)
        self.assertIn('DPoP realm="api", error="invalid_request"',
                      answer.headers['WWW-Authenticate'])

    def test_unknown_confirmation(self):
        for cnf in {'kid': 'x'}, {'jkt': 7}, {}, 'x', \
                {'jkt': self.key.jkt, 'jwk': {}}:
            with self.subTest(cnf):
                token = tool(
                    'jws', '--alg', 'ES256', '--key', self.path('issuer'),
                    '--header', '{"alg":"ES256","kid":"issuer"}',
                    '--payload', json.dumps({'exp': int(time.time()) + 60,
                                             'cnf': cnf}))
                self.refused(self.ask('/both', token, scheme='Bearer'),
                             'the token is bound to a key and possession is '
                             'not checked', 'invalid_token')

    def test_counted(self):
        self.ask('/on', self.token(jkt=self.key.jkt))
        text = self.gw.get('/status?format=prometheus').text
        self.assertRegex(text, r'penstock_oauth_requests_total'
                               r'\{result="invalid_proof"\} 1\b')

    # -- certificates --------------------------------------------------------

    def thumbprint(self, name):
        with open(self.path(name + '.crt')) as file:
            der = ssl.PEM_cert_to_DER_cert(file.read())
        return digest(der)

    def over_tls(self, path, token, certificate=None):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if certificate:
            context.load_cert_chain(self.path(certificate + '.crt'),
                                    self.path(certificate + '.key'))
        connection = http.client.HTTPSConnection(
            '127.0.0.1', self.tls, context=context,
            timeout=penstock.DEADLINE)
        try:
            connection.request('GET', path, headers={
                'Authorization': 'Bearer ' + token})
            answer = connection.getresponse()
            answer.read()
            return answer
        finally:
            connection.close()

    def test_certificate(self):
        token = self.token(x5t=self.thumbprint('one'))
        for path in '/mtls', '/mtls-required', '/both':
            with self.subTest(path):
                self.assertEqual(self.over_tls(path, token, 'one').status,
                                 200)
                self.refused(self.over_tls(path, token, 'two'),
                             'the token is bound to another certificate',
                             'invalid_token')
                self.refused(self.over_tls(path, token),
                             'the token is bound to a certificate and none '
                             'was shown', 'invalid_token')
                self.refused(self.ask(path, token, scheme='Bearer'),
                             'the token is bound to a certificate and none '
                             'was shown', 'invalid_token')
        self.refused(self.over_tls('/bearer', token, 'one'),
                     'the token is bound to a key and possession is not '
                     'checked', 'invalid_token')

    def test_certificate_and_unbound_token(self):
        token = self.token()
        self.assertEqual(self.over_tls('/mtls', token).status, 200)
        self.refused(self.over_tls('/mtls-required', token, 'one'),
                     'the token is not bound to a certificate',
                     'invalid_token')

    def test_both_bindings(self):
        token = self.token(x5t=self.thumbprint('one'), jkt=self.key.jkt)
        self.refused(self.over_tls('/both', token, 'one'),
                     'the token is bound by DPoP and was sent as Bearer',
                     'invalid_token')
        self.refused(self.ask('/both', token,
                              self.key.proof(token, self.url('/both'))),
                     'the token is bound to a certificate and none was shown',
                     'invalid_token')


if __name__ == '__main__':
    unittest.main()
