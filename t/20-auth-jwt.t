# auth_jwt at the HTTP boundary: which tokens are accepted, and what the
# client is told otherwise (RFC 6750, RFC 9068, RFC 7519).

use lib 't/lib';
use PenstockTokens;
use Test::Nginx::Socket 'no_plan';

our @algs = qw(RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA);

new_key($_, $_) for @algs;
new_key($_, $_) for qw(Ed448 HS256 HS384 HS512);

key_set('public.json', (map { "$_ $_ $_" } @algs), 'Ed448 ed448');
key_set('secret.json', map { "$_ $_ $_" } qw(HS256 HS384 HS512));
key_set('rs.json', 'RS256 k1 RS256');
key_set('es.json', 'ES256 k1 ES256');
key_set('bare.json', 'RS256');

our $rs = mint('RS256', 'RS256', '--kid', 'RS256', '--sub', 'bob');

no_shuffle();
run_tests();

__DATA__

=== TEST 1: no token: a challenge without an error
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/public.json;
    root html;
}
--- request
GET /t
--- error_code: 401
--- response_headers
WWW-Authenticate: Bearer realm="api"
Content-Type: application/problem+json
--- response_body
{"type":"about:blank","title":"Unauthorized","status":401,"detail":"An access token is needed"}



=== TEST 2: every asymmetric algorithm, signed by OpenSSL
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/public.json;
    try_files /none @ok;
}
location @ok {
    return 200 "$jwt_header_alg $jwt_claim_sub\n";
    auth_jwt off;
}
--- request eval
[map { "GET /t" } @main::algs]
--- more_headers eval
[map { PenstockTokens::bearer(PenstockTokens::forge($_, $_,
       qq({"alg":"$_","kid":"$_"}), '{"sub":"s1","exp":@NOW+60}')) }
     @main::algs]
--- error_code eval
[map { 200 } @main::algs]
--- response_body eval
[map { "$_ s1\n" } @main::algs]



=== TEST 3: algorithms that libjwt signs
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/public.json;
    auth_jwt_key_file $TEST_NGINX_KEYS/secret.json;
    try_files /none @ok;
}
location @ok {
    return 200 "$jwt_header_alg\n";
    auth_jwt off;
}
--- request eval
[map { "GET /t" } 1 .. 9]
--- more_headers eval
[map { PenstockTokens::bearer(PenstockTokens::mint($_, $_, '--kid', $_)) }
     qw(RS256 RS384 RS512 ES256 ES384 ES512 HS256 HS384 HS512)]
--- error_code eval
[map { 200 } 1 .. 9]
--- response_body eval
[map { "$_\n" } qw(RS256 RS384 RS512 ES256 ES384 ES512 HS256 HS384 HS512)]



=== TEST 4: Ed448, and both names of Ed25519 (RFC 9864)
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/public.json;
    try_files /none @ok;
}
location @ok {
    return 200 "$jwt_header_alg\n";
    auth_jwt off;
}
--- request eval
["GET /t", "GET /t", "GET /t", "GET /t"]
--- more_headers eval
[map { PenstockTokens::bearer(PenstockTokens::forge($_->[0], 'EdDSA',
       qq({"alg":"$_->[1]"}), '{"exp":@NOW+60}')) }
     ['Ed448', 'EdDSA'], ['Ed448', 'Ed448'], ['EdDSA', 'Ed25519'],
     ['EdDSA', 'Ed448']]
--- error_code eval
[200, 200, 200, 401]



=== TEST 5: the scheme in any case, one or more spaces
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/public.json;
    empty_gif;
}
--- request eval
["GET /t", "GET /t", "GET /t", "GET /t"]
--- more_headers eval
["Authorization: bearer $main::rs", "Authorization: BEARER $main::rs",
 "Authorization: Bearer    $main::rs", "authorization: BeArEr $main::rs"]
--- error_code eval
[200, 200, 200, 200]



=== TEST 6: malformed credentials are a bad request
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/public.json;
    empty_gif;
}
--- request eval
[map { "GET /t" } 1 .. 7]
--- more_headers eval
["Authorization: Bearer", "Authorization: Bearer a b",
 "Authorization: Bearer a,b",
 "Authorization: Bearer =", "Authorization: Bearer a=b",
 "Authorization: Bearer \"$main::rs\"", "Authorization: Bearer $main::rs, Basic eA=="]
--- error_code eval
[map { 400 } 1 .. 7]
--- response_headers eval
[map { 'WWW-Authenticate: Bearer realm="api", error="invalid_request", '
       . 'error_description="The bearer credentials are malformed"' } 1 .. 7]



=== TEST 7: another scheme is no token
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/public.json;
    empty_gif;
}
--- request eval
["GET /t", "GET /t", "GET /t", "GET /t"]
--- more_headers eval
["Authorization: Basic Ym9iOmJvYg==", "Authorization: Bearertoken x",
 "Authorization: DPoP $main::rs", "Proxy-Authorization: Bearer $main::rs"]
--- error_code eval
[401, 401, 401, 401]
--- response_headers eval
[map { 'WWW-Authenticate: Bearer realm="api"' } 1 .. 4]



=== TEST 8: two Authorization fields, refused by nginx itself
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/public.json;
    empty_gif;
}
--- raw_request eval
"GET /t HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
. "Authorization: Bearer $main::rs\r\nauthorization: Bearer $main::rs\r\n\r\n"
--- error_code: 400



=== TEST 9: well-formed credentials that are no JWT
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/public.json;
    empty_gif;
}
--- request eval
["GET /t", "GET /t"]
--- more_headers eval
["Authorization: Bearer abc", "Authorization: Bearer a.b.c.d.e"]
--- error_code eval
[401, 401]
--- response_headers eval
[map { 'WWW-Authenticate: Bearer realm="api", error="invalid_token", '
       . 'error_description="The access token is malformed"' } 1, 2]



=== TEST 10: a realm from a variable can't break out of its quotes
--- config
location = /t {
    auth_jwt "a$arg_r";
    auth_jwt_key_file $TEST_NGINX_KEYS/public.json;
    empty_gif;
}
location = /q {
    set $realm 'a"b\c';
    auth_jwt $realm;
    auth_jwt_key_file $TEST_NGINX_KEYS/public.json;
    empty_gif;
}
--- request eval
['GET /t?r=",scope="x', "GET /t?r=\xc3\xa9z", "GET /q"]
--- error_code eval
[401, 401, 401]
--- response_headers eval
['WWW-Authenticate: Bearer realm="a\",scope=\"x"',
 'WWW-Authenticate: Bearer realm="az"',
 'WWW-Authenticate: Bearer realm="a\"b\\\\c"']



=== TEST 11: exp and nbf, whole and fractional
--- config
add_header X-Reason $auth_jwt_error always;
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/public.json;
    empty_gif;
}
--- request eval
[map { "GET /t" } 1 .. 10]
--- more_headers eval
[map { PenstockTokens::bearer(PenstockTokens::forge('ES256', 'ES256',
       '{"alg":"ES256","kid":"ES256"}', $_)) }
     '{"exp":@NOW+60}', '{"exp":@NOW+60.5}', '{"exp":@NOW-1}',
     '{"exp":@NOW-1.5}', '{"exp":1e3}', '{"exp":0}', '{"nbf":@NOW-5}',
     '{"nbf":@NOW+60}', '{}', '{"exp":2.0e9,"nbf":0.5}']
--- error_code eval
[200, 200, 401, 401, 401, 401, 200, 401, 200, 200]
--- response_headers eval
['X-Reason:', 'X-Reason:', 'X-Reason: the token expired',
 'X-Reason: the token expired', 'X-Reason: the token expired',
 'X-Reason: the token expired', 'X-Reason:',
 'X-Reason: "nbf" is in the future', 'X-Reason:', 'X-Reason:']



=== TEST 12: leeway, for both ends
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/public.json;
    auth_jwt_leeway 30m;
    empty_gif;
}
--- request eval
[map { "GET /t" } 1 .. 4]
--- more_headers eval
[map { PenstockTokens::bearer(PenstockTokens::mint('ES256', 'ES256',
       '--kid', 'ES256', @$_)) }
     ['--exp', '-60'], ['--exp', '-1900'], ['--nbf', '600'],
     ['--nbf', '7200']]
--- error_code eval
[200, 401, 200, 401]
--- response_headers eval
['!WWW-Authenticate',
 'WWW-Authenticate: Bearer realm="api", error="invalid_token", '
 . 'error_description="The access token expired"', '!WWW-Authenticate',
 'WWW-Authenticate: Bearer realm="api", error="invalid_token", '
 . 'error_description="The access token is not valid yet"']



=== TEST 13: scopes: all of them, whole words
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/public.json;
    auth_jwt_scope stock:read orders;
    empty_gif;
}
--- request eval
[map { "GET /t" } 1 .. 7]
--- more_headers eval
[map { PenstockTokens::bearer(PenstockTokens::mint('ES256', 'ES256',
       '--kid', 'ES256', @$_)) }
     ['--scope', 'stock:read orders'], ['--scope', 'x orders y stock:read'],
     ['--scope', 'stock:read'], ['--scope', 'stock:reader orders'],
     ['--scope', 'STOCK:READ orders'], [],
     ['--claim', 'scope=["stock:read","orders"]']]
--- error_code eval
[200, 200, 403, 403, 403, 403, 403]
--- response_headers eval
[('!WWW-Authenticate') x 2,
 ('WWW-Authenticate: Bearer realm="api", error="insufficient_scope", '
  . 'error_description="The access token lacks a required scope", '
  . 'scope="stock:read orders"') x 5]



=== TEST 14: issuers: exact, and keys belong to them
--- config
add_header X-Reason $auth_jwt_error always;
location = /t {
    auth_jwt "api";
    auth_jwt_issuer https://a.example key_file=$TEST_NGINX_KEYS/rs.json;
    auth_jwt_issuer https://b.example key_file=$TEST_NGINX_KEYS/es.json;
    empty_gif;
}
--- request eval
[map { "GET /t" } 1 .. 9]
--- more_headers eval
[map { PenstockTokens::bearer(PenstockTokens::mint($_->[0], $_->[0],
       '--kid', 'k1', @$_[1 .. $#$_])) }
     ['RS256', '--iss', 'https://a.example'],
     ['ES256', '--iss', 'https://b.example'],
     ['ES256', '--iss', 'https://a.example'],
     ['RS256', '--iss', 'https://b.example'],
     ['RS256', '--iss', 'https://a.example/'],
     ['RS256', '--iss', 'https://A.example'],
     ['RS256', '--iss', 'https://a.exampl'],
     ['RS256'],
     ['RS256', '--iss', 'https://a.example', '--exp', 'none']]
--- error_code eval
[200, 200, 401, 401, 401, 401, 401, 401, 401]
--- response_headers eval
['X-Reason:', 'X-Reason:', 'X-Reason: no key fits "alg" and "kid"',
 'X-Reason: no key fits "alg" and "kid"',
 ('X-Reason: "iss" is not a configured issuer') x 4,
 'X-Reason: "exp" is missing']



=== TEST 15: audience, a string or an array
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_issuer https://a.example key_file=$TEST_NGINX_KEYS/rs.json
                    audience=https://api.example,stock;
    empty_gif;
}
--- request eval
[map { "GET /t" } 1 .. 9]
--- more_headers eval
[map { PenstockTokens::bearer(PenstockTokens::mint('RS256', 'RS256',
       '--iss', 'https://a.example', @$_)) }
     ['--aud', 'stock'], ['--aud', 'https://api.example'],
     ['--aud', 'x', '--aud', 'stock'], ['--aud', 'x'], [],
     ['--claim', 'aud=[]'], ['--aud', 'https://api.example,stock'],
     ['--aud', 'https://api.example/'], ['--claim', 'aud={"stock":1}']]
--- error_code eval
[200, 200, 200, 401, 401, 401, 401, 401, 401]



=== TEST 16: type=at+jwt: the type and all claims of RFC 9068
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_issuer https://a.example key_file=$TEST_NGINX_KEYS/rs.json
                    audience=stock type=at+jwt;
    empty_gif;
}
--- request eval
[map { "GET /t" } 1 .. 11]
--- more_headers eval
our @all = ('--iss', 'https://a.example', '--aud', 'stock', '--sub', 'u',
            '--client-id', 'c');
[map { PenstockTokens::bearer(PenstockTokens::mint('RS256', 'RS256',
       @$_)) }
     [@all, '--typ', 'at+jwt'], [@all, '--typ', 'application/at+jwt'],
     [@all, '--typ', 'AT+JWT'], [@all], [@all, '--typ', 'at+jwtx'],
     [@all, '--typ', 'application/application/at+jwt'],
     [@all, '--typ', 'at+jwt', '--exp', 'none'],
     [@all, '--typ', 'at+jwt', '--iat', 'none'],
     [@all[0 .. 3], '--typ', 'at+jwt', '--client-id', 'c'],
     [@all[0 .. 5], '--typ', 'at+jwt'],
     [@all[0, 1, 4 .. 7], '--typ', 'at+jwt']]
--- error_code eval
[200, 200, 200, (401) x 8]



=== TEST 17: without type=, other kinds of JWT are no access tokens
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/rs.json;
    empty_gif;
}
--- request eval
[map { "GET /t" } 1 .. 7]
--- more_headers eval
[map { PenstockTokens::bearer(PenstockTokens::mint('RS256', 'RS256',
       '--typ', $_)) }
     'JWT', 'jwt', 'at+jwt', 'application/jwt', 'dpop+jwt', 'logout+jwt',
     'token-introspection+jwt']
--- error_code eval
[200, 200, 200, 200, 401, 401, 401]



=== TEST 18: a token bound to a key is no bearer token
--- config
add_header X-Reason $auth_jwt_error always;
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/rs.json;
    empty_gif;
}
--- request
GET /t
--- more_headers eval
PenstockTokens::bearer(PenstockTokens::mint('RS256', 'RS256',
    '--claim', 'cnf={"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}'))
--- error_code: 401
--- response_headers
X-Reason: the token is bound to a key and possession is not checked



=== TEST 19: the token from a variable, and only from there
--- config
location = /t {
    auth_jwt "api" token=$cookie_token;
    auth_jwt_key_file $TEST_NGINX_KEYS/public.json;
    empty_gif;
}
--- request eval
[map { "GET /t" } 1 .. 4]
--- more_headers eval
["Cookie: token=$main::rs", "Authorization: Bearer $main::rs",
 "Cookie: token=", "Cookie: token=a b"]
--- error_code eval
[200, 401, 401, 400]



=== TEST 20: auth_jwt_require
--- http_config
map $jwt_claim_plan $gold { gold 1; }
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/public.json;
    auth_jwt_require $gold;
    empty_gif;
}
location = /f {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/public.json;
    auth_jwt_require $jwt_claim_plan $jwt_claim_level error=403;
    empty_gif;
}
--- request eval
["GET /t", "GET /t", "GET /t", "GET /f", "GET /f", "GET /f"]
--- more_headers eval
[map { PenstockTokens::bearer(PenstockTokens::mint('ES256', 'ES256',
       '--kid', 'ES256', map { ('--claim', $_) } @$_)) }
     ['plan="gold"'], ['plan="golden"'], [],
     ['plan="x"', 'level=1'], ['plan="x"', 'level=0'],
     ['plan="x"', 'level=null']]
--- error_code eval
[200, 401, 401, 200, 403, 403]



=== TEST 21: off in a location, inherited elsewhere
--- config
auth_jwt "api";
auth_jwt_key_file $TEST_NGINX_KEYS/public.json;
location = /t { empty_gif; }
location = /open { auth_jwt off; empty_gif; }
location = /post {
    auth_jwt off;
    limit_except GET { auth_jwt "writers"; }
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/open;
}
--- request eval
["GET /t", "GET /open", "GET /post", "DELETE /post"]
--- error_code eval
[401, 200, 200, 401]



=== TEST 22: keys without "kid" and "alg", tokens with and without "kid"
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/bare.json;
    empty_gif;
}
--- request eval
["GET /t", "GET /t", "GET /t"]
--- more_headers eval
[map { PenstockTokens::bearer($_) }
     PenstockTokens::mint('RS256', 'RS256'),
     PenstockTokens::mint('RS256', 'RS256', '--kid', 'whatever'),
     PenstockTokens::mint('RS256', 'RS512')]
--- error_code eval
[200, 200, 401]



=== TEST 23: HEAD, and a body that is not read
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/public.json;
    empty_gif;
}
--- request eval
["HEAD /t", "POST /t\n" . ("x" x 5000), "GET /t"]
--- error_code eval
[401, 401, 401]



=== TEST 24: a token over the cap, and one at the header buffer's size
--- config
large_client_header_buffers 4 64k;
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/public.json;
    add_header X-Reason $auth_jwt_error always;
    empty_gif;
}
--- request eval
["GET /t", "GET /t"]
--- more_headers eval
[map { PenstockTokens::bearer(PenstockTokens::mint('ES256', 'ES256',
       '--kid', 'ES256', '--claim', 'x="' . ('y' x $_) . '"')) } 5800, 45000]
--- error_code eval
[200, 401]
--- response_headers eval
['X-Reason:', 'X-Reason: the token is too large']
