# What the RFCs ask of a resource server beyond the token itself: challenges
# that hold nothing of what the client sent, tokens only from the place that is
# configured, keys only for the use they were published for.

use lib 't/lib';
use PenstockTokens;
use Test::Nginx::Socket 'no_plan';

new_key($_, 'ES256') for qw(sig enc ops);

PenstockTokens::write_file('keys.json', tool('jwks', 'set',
    '--key', keys_file('sig'), '--kid', 'sig', '--alg', 'ES256',
    '--key', keys_file('enc'), '--kid', 'enc', '--alg', 'ES256', '--use',
    'enc'));

# a set whose only key is for another operation

PenstockTokens::write_file('ops.json', tool('jwks', 'set', '--key',
    keys_file('ops'), '--kid', 'ops', '--use', 'none')
    =~ s/"kty"/"key_ops":["deriveKey"],"kty"/r);

my $p = '{"sub":"s","scope":"a","exp":@NOW+600}';

our $good = forge('sig', 'ES256', '{"alg":"ES256","kid":"sig"}', $p);
our $enc = forge('enc', 'ES256', '{"alg":"ES256","kid":"enc"}', $p);
our $nokid = forge('enc', 'ES256', '{"alg":"ES256"}', $p);

# tokens whose texts would break out of a header or a quoted string

our @hostile = (
    (map { forge('sig', 'ES256', $_, $p) }
     '{"alg":"x\"\\\\","kid":"INJECT\",error=\"none"}',
     '{"alg":"ES256","kid":"INJECT\r\nSet-Cookie: a=b"}',
     '{"alg":"ES256","kid":"sig","crit":["INJECT\""]}',
     '{"alg":"ES256","kid":"sig","typ":"INJECT\"\u00e9"}'),
    (map { forge('sig', 'ES256', '{"alg":"ES256","kid":"sig"}', $_) }
     '{"sub":"INJECT\"","exp":1}',
     '{"iss":"INJECT\r\nX: y","nbf":4000000000}',
     '{"scope":"INJECT\"\\\\","exp":4000000000}'),
    'INJECT', 'INJECT.INJECT.INJECT',
);

no_shuffle();
run_tests();

__DATA__

=== TEST 1: a challenge has the characters of RFC 6750, 3, each parameter once
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/keys.json;
    auth_jwt_scope b c;
    empty_gif;
}
--- request eval
[map { 'GET /t' } @main::hostile]
--- more_headers eval
[map { PenstockTokens::bearer($_) } @main::hostile]
--- error_code eval
[(401) x 6, 403, 401, 401]
--- raw_response_headers_like eval
[map {
    my $error = $_ == 6 ? 'insufficient_scope' : 'invalid_token';
    my $scope = $_ == 6 ? ', scope="b c"' : '';
    'WWW-Authenticate: Bearer realm="api", error="' . $error
    . '", error_description="[ !\x23-\x5b\x5d-\x7e]+"' . $scope . '\r\n';
} 0 .. 8]
--- raw_response_headers_unlike eval
[map { 'INJECT|Set-Cookie|WWW-Authenticate[\s\S]*WWW-Authenticate' }
 @main::hostile]
--- response_body_unlike eval
[map { 'INJECT' } @main::hostile]



=== TEST 2: a token in the query string or in a form is no token
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/keys.json;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin;
}
location = /origin {
    return 200 ok;
}
--- request eval
["GET /t?access_token=$main::good", "POST /t
access_token=$main::good"]
--- more_headers eval
["", "Content-Type: application/x-www-form-urlencoded"]
--- error_code eval
[401, 401]
--- response_headers eval
['WWW-Authenticate: Bearer realm="api"', 'WWW-Authenticate: Bearer realm="api"']



=== TEST 3: from the query string only if told so, and never to be shared
--- config
location = /t {
    auth_jwt "api" token=$arg_access_token;
    auth_jwt_key_file $TEST_NGINX_KEYS/keys.json;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin;
}
location = /origin {
    add_header Cache-Control max-age=60;
    return 200 ok;
}
location = /again {
    auth_jwt "api" token=$arg_access_token;
    auth_jwt_key_file $TEST_NGINX_KEYS/keys.json;
    try_files /none @again;
}
location @again {
    auth_jwt "api" token=$arg_access_token;
    auth_jwt_key_file $TEST_NGINX_KEYS/keys.json;
    empty_gif;
}
--- request eval
["GET /t?access_token=$main::good", "GET /t", "POST /t
access_token=$main::good", "GET /again?access_token=$main::good"]
--- error_code eval
[200, 401, 401, 200]
--- raw_response_headers_like eval
['Cache-Control: private', 'WWW-Authenticate: Bearer',
 'WWW-Authenticate: Bearer', 'Cache-Control: private']
--- raw_response_headers_unlike eval
['WWW-Authenticate', 'private', 'private',
 'Cache-Control[\s\S]*Cache-Control']



=== TEST 4: a key published for encryption verifies nothing (RFC 9728, 2)
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/keys.json;
    add_header X-Reason $auth_jwt_error always;
    empty_gif;
}
--- request eval
[map { "GET /t" } 1 .. 3]
--- more_headers eval
[map { PenstockTokens::bearer($_) } $main::good, $main::enc, $main::nokid]
--- error_code eval
[200, 401, 401]
--- response_headers eval
["X-Reason: ", 'X-Reason: no key fits "alg" and "kid"',
 "X-Reason: the signature doesn't match"]



=== TEST 5: nor does one whose key_ops don't allow it
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/ops.json;
}
--- must_die
--- error_log
no key in it can verify



=== TEST 6: per tenant and per role, by nginx's own map
--- http_config
map $jwt_claim_tenant $tenant_erp {
    acme    127.0.0.1:$TEST_NGINX_SERVER_PORT/acme;
    default 127.0.0.1:$TEST_NGINX_SERVER_PORT/other;
}
map ",$jwt_claim_roles," $may_order {
    ~,buyer, 1;
    ~,admin, 1;
}
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/keys.json;
    auth_jwt_require $may_order error=403;
    proxy_pass http://$tenant_erp;
}
location = /acme {
    return 200 acme;
}
location = /other {
    return 200 other;
}
--- request eval
[map { "GET /t" } 1 .. 5]
--- more_headers eval
[map { PenstockTokens::bearer(PenstockTokens::forge('sig', 'ES256',
       '{"alg":"ES256","kid":"sig"}', $_)) }
 '{"tenant":"acme","roles":["buyer"],"exp":4000000000}',
 '{"tenant":"zeta","roles":["viewer","admin"],"exp":4000000000}',
 '{"tenant":"acme","roles":["viewer"],"exp":4000000000}',
 '{"tenant":"acme","roles":["buyers"],"exp":4000000000}',
 '{"tenant":"acme","exp":4000000000}']
--- error_code eval
[200, 200, 403, 403, 403]
--- response_body_like eval
['^acme$', '^other$', ('"status":403') x 3]
