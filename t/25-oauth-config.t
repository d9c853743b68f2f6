# Mistakes that "nginx -t" finds: each message names the value and the
# remedy.

use lib 't/lib';
use PenstockTokens;
use Test::Nginx::Socket 'no_plan';

new_key('ec', 'ES256');
new_key('rs', 'RS256');
new_key('small', 'RS256', 1024);
new_key('hs', 'HS256');

key_set('ec.json', 'ec k ES256');
key_set('rs.json', 'rs k');
key_set('small.json', 'small k RS256');
key_set('mixed.json', 'ec k ES256', 'hs h HS256');
key_set('twice.json', 'ec k ES256', 'ec k ES256');
key_set('empty.json');

PenstockTokens::write_file('broken.json', '{"keys":[{"kty":"oct","k":"geheim');
PenstockTokens::write_file('short.json',
                           '{"kty":"oct","alg":"HS256","k":"Z2VoZWlt"}');
PenstockTokens::write_file('private.json', '{"kty":"EC","crv":"P-256","x":"'
    . 'f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue6'
    . '59LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9'
    . '-E9LI"}');

# name => [ directives of a location, message ]

my $k = '$TEST_NGINX_KEYS';

our @cases = (
    ['auth_jwt a;', 'has no keys to verify tokens with in location "/t"'],
    ['auth_jwt a x;', 'invalid parameter "x", only "token=$variable"'],
    ['auth_jwt a token=x;', 'invalid parameter "token=x"'],
    ['auth_jwt a token=$;', 'invalid parameter "token=$"'],
    ['auth_jwt off token=$arg_a;', 'takes no other parameter'],
    ['auth_jwt a; auth_jwt b;', '"auth_jwt" directive is duplicate'],
    ['auth_jwt_type encrypted;', 'only "signed" tokens are supported'],
    ['auth_jwt_leeway soon;', '"auth_jwt_leeway" directive invalid value'],
    ["auth_jwt_key_file $k/none.json;", "can't open key file"],
    ["auth_jwt_key_file $k;", 'is not a regular file'],
    ['auth_jwt_key_file $arg_file;', 'holds a variable'],
    ["auth_jwt_key_file $k/broken.json;", 'not valid JSON in line 1'],
    ["auth_jwt_key_file $k/empty.json;", 'no key in it can verify'],
    ["auth_jwt_key_file $k/small.json;",
     'key 1 of the set: RSA of less than 2048 bits'],
    ["auth_jwt_key_file $k/mixed.json;", 'put them into sets of their own'],
    ["auth_jwt_key_file $k/twice.json;",
     'key 2 of the set: another key has the same "kid" and algorithm'],
    ["auth_jwt_key_file $k/short.json;", 'the secret is shorter'],
    ["auth_jwt_key_file $k/private.json;",
     'it holds private members: only the public key'],
    ["auth_jwt_issuer i;", 'issuer "i" has no keys, add "key_file="'],
    ["auth_jwt_issuer '' key_file=$k/ec.json;", 'the issuer is empty'],
    ["auth_jwt_issuer i key_request=keys;", 'invalid key request "keys"'],
    ["auth_jwt_issuer i key_request=/a key_request=/b;",
     'invalid or repeated parameter "key_request=/b"'],
    ["auth_jwt_issuer i key_file=$k/ec.json key_file=$k/rs.json;",
     'invalid or repeated parameter'],
    ["auth_jwt_issuer i key_file=$k/ec.json audience=a,;",
     'an audience in "a," is empty'],
    ["auth_jwt_issuer i key_file=$k/ec.json algorithms=RS256,none;",
     'unknown algorithm "none", use a list of RS256'],
    ["auth_jwt_issuer i key_file=$k/ec.json algorithms=ES256,HS256;",
     'mix secrets (HS*) and public keys'],
    ["auth_jwt_issuer i key_file=$k/ec.json algorithms=RS256;",
     'no key in it can verify'],
    ["auth_jwt_issuer i key_file=$k/rs.json algorithms=RS256,PS256;",
     'several of the allowed algorithms fit it: add "alg" to the key'],
    ["auth_jwt_issuer i key_file=$k/ec.json type=at+jwt;",
     'needs "audience=" too'],
    ["auth_jwt_issuer i key_file=$k/ec.json type=JWT;",
     'only "type=at+jwt" is known'],
    ["auth_jwt_issuer i key_file=$k/ec.json; "
     . "auth_jwt_issuer i key_file=$k/rs.json;", 'issuer "i" is named twice'],
    ["auth_jwt_issuer i key_file=$k/ec.json; auth_jwt_key_file $k/ec.json;",
     'can\'t be used beside "auth_jwt_issuer"'],
    ["auth_jwt_key_file $k/ec.json; auth_jwt_issuer i key_file=$k/ec.json;",
     'can\'t be used beside "auth_jwt_key_file"'],
    ['auth_jwt_scope "a b";', 'invalid scope "a b"'],
    ['auth_jwt_scope a; auth_jwt_scope b;', 'name all scopes in one'],
    ['auth_jwt_require x;', 'invalid value "x", it must start with'],
    ['auth_jwt_require error=403;', 'needs a variable'],
    ['auth_jwt_require $a error=500;', 'use "error=401" or "error=403"'],
    ['auth_jwt_key_request keys;', 'invalid key request'],
    ['auth_introspect i;', 'internal location of this server'],
    ['auth_dpop on window=2h;', 'of at most an hour'],
    ['auth_mtls_bound yes;', 'invalid value "yes"'],
);

# directives of http

our @http = (
    ['auth_jwt_claim_set name sub;', 'must start with "$"'],
    ['auth_jwt_claim_set $x;', 'invalid number of arguments'],
    ['auth_jwt_zone tokens;', 'zone'],
    ['auth_jwt_zone tokens:1k;', 'too small'],
    ['auth_jwt_zone a:1m; auth_jwt_zone b:1m;', 'is duplicate'],
);

my $n = 0;
my $case;

# blocks are made here: one a mistake

my $data = '';

for (@cases) {
    $n++;
    $data .= "=== TEST $n: $_->[1]\n--- config\nlocation = /t {\n"
             . "    $_->[0]\n    empty_gif;\n}\n"
             . "--- must_die\n--- error_log eval\nquotemeta(q\x01$_->[1]\x01)"
             . "\n\n\n\n";
}

for (@http) {
    $n++;
    $data .= "=== TEST $n: $_->[1]\n--- http_config\n$_->[0]\n"
             . "--- config\nlocation = /t { empty_gif; }\n"
             . "--- must_die\n--- error_log eval\nquotemeta(q\x01$_->[1]\x01)"
             . "\n\n\n\n";
}

$data =~ s/quotemeta\(q\x01(.*?)\x01\)/my $t = $1; $t =~ s{'}{\\'}g;
                                       "'$t'"/ge;

spec_string($data);

no_shuffle();
run_tests();
