# Verified tokens in shared memory: what is spared, and that nothing which
# depends on time or location is.  The last request of each block reads the
# counters.

use lib 't/lib';
use PenstockTokens;
use Test::Nginx::Socket 'no_plan';

new_key('a', 'ES256');
new_key('b', 'ES256');
new_key('hs', 'HS256');
key_set('a.json', 'a ka ES256');
key_set('ab.json', 'a ka ES256', 'b kb ES256');
key_set('b.json', 'b ka ES256');
key_set('many.json', 'b', 'b', 'b', 'a');
key_set('toomany.json', 'b', 'b', 'b', 'b', 'a');

our $good = bearer(mint('a', 'ES256', '--kid', 'ka', '--iss', 'i',
                        '--aud', 'x', '--scope', 'read', '--sub', 's'));
our $bare = bearer(mint('a', 'ES256', '--iss', 'i'));
our $expired = bearer(mint('a', 'ES256', '--kid', 'ka', '--exp', '-1'));
our $forged = bearer(mint('b', 'ES256', '--kid', 'ka'));
our $large = bearer(mint('a', 'ES256', '--kid', 'ka', '--claim',
                         'x="' . ('y' x 5500) . '"'));

# [hits, misses, signature checks]

sub counts {
    my ($hits, $misses, $checks) = @_;

    return qr/^penstock_oauth_cache_total\{result="hit"\} $hits
penstock_oauth_cache_total\{result="miss"\} $misses
.*^penstock_oauth_signature_checks_total $checks
/ms;
}

add_block_preprocessor(sub {
    my ($block) = @_;

    $block->set_value('config', $block->config . <<'_EOC_');
location = /status {
    auth_jwt off;
    penstock_status;
}
_EOC_
});

no_shuffle();
run_tests();

__DATA__

=== TEST 1: the second time costs no signature check
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/a.json;
    add_header X-Sub $jwt_claim_sub;
    empty_gif;
}
--- request eval
[("GET /t") x 3, "GET /status?format=prometheus"]
--- more_headers eval
$main::good
--- response_headers eval
[("X-Sub: s") x 3, ""]
--- response_body_like eval
[("GIF") x 3, main::counts(2, 1, 1)]



=== TEST 2: what was refused is not held
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/a.json;
    empty_gif;
}
--- request eval
[("GET /t") x 3, "GET /status?format=prometheus"]
--- more_headers eval
$main::forged
--- error_code eval
[401, 401, 401, 200]
--- response_body_like eval
[("signature") x 3, main::counts(0, 3, 3)]



=== TEST 3: an expired token costs no signature check
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/a.json;
    empty_gif;
}
--- request eval
[("GET /t") x 2, "GET /status?format=prometheus"]
--- more_headers eval
$main::expired
--- error_code eval
[401, 401, 200]
--- response_body_like eval
[("expired") x 2, main::counts(0, 2, 0)]



=== TEST 4: a held token is judged by each location
--- config
auth_jwt "api";
auth_jwt_key_file $TEST_NGINX_KEYS/a.json;
location = /read { auth_jwt_scope read; empty_gif; }
location = /write { auth_jwt_scope write; empty_gif; }
location = /plan { auth_jwt_require $jwt_claim_plan error=403; empty_gif; }
--- request eval
["GET /read", "GET /write", "GET /plan", "GET /read",
 "GET /status?format=prometheus"]
--- more_headers eval
$main::good
--- error_code eval
[200, 403, 403, 200, 200]
--- response_body_like eval
["", "scope", "claim", "", main::counts(3, 1, 1)]



=== TEST 5: audience and type too, with the same keys
--- config
location = /x {
    auth_jwt "api";
    auth_jwt_issuer i key_file=$TEST_NGINX_KEYS/a.json audience=x;
    empty_gif;
}
location = /y {
    auth_jwt "api";
    auth_jwt_issuer i key_file=$TEST_NGINX_KEYS/a.json audience=y;
    empty_gif;
}
location = /at {
    auth_jwt "api";
    auth_jwt_issuer i key_file=$TEST_NGINX_KEYS/a.json audience=x type=at+jwt;
    empty_gif;
}
location = /j {
    auth_jwt "api";
    auth_jwt_issuer j key_file=$TEST_NGINX_KEYS/a.json audience=x;
    empty_gif;
}
--- request eval
["GET /x", "GET /y", "GET /at", "GET /j", "GET /x",
 "GET /status?format=prometheus"]
--- more_headers eval
$main::good
--- error_code eval
[200, 401, 401, 401, 200, 200]
--- response_body_like eval
["", "not meant", "not an access token", "issuer", "", main::counts(3, 2, 1)]



=== TEST 6: other keys, even under the same kid, are another trust
--- config
location = /a {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/a.json;
    empty_gif;
}
location = /b {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/b.json;
    empty_gif;
}
location = /ab {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/ab.json;
    empty_gif;
}
--- request eval
["GET /a", "GET /b", "GET /ab", "GET /a", "GET /b",
 "GET /status?format=prometheus"]
--- more_headers eval
$main::good
--- error_code eval
[200, 401, 200, 200, 401, 200]
--- response_body_like eval
["", "signature", "", "", "signature", main::counts(1, 4, 4)]



=== TEST 7: what a worker has met last counts no more than the zone does
--- config
location = /a {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/a.json;
    auth_jwt_scope read;
    add_header X-Sub $jwt_claim_sub;
    empty_gif;
}
location = /b {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/b.json;
    empty_gif;
}
location = /write {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/a.json;
    auth_jwt_scope write;
    empty_gif;
}
location = /i {
    auth_jwt "api";
    auth_jwt_issuer j key_file=$TEST_NGINX_KEYS/a.json audience=x;
    empty_gif;
}
--- request eval
[("GET /a") x 4, "GET /b", "GET /write", "GET /i", ("GET /a") x 3,
 "GET /status?format=prometheus"]
--- more_headers eval
# the last but one is shorter, the last differs in one letter of its claims
my $short = $main::good;
CORE::chop($short);
my $other = $main::good;
$other =~ s/\.(.{5})(.)/".$1" . ($2 eq 'A' ? 'B' : 'A')/e;
[($main::good) x 7, $main::good, $short, $other, ""]
--- response_headers eval
[("X-Sub: s") x 4, ("X-Sub: ") x 3, "X-Sub: s", ("X-Sub: ") x 3]
--- error_code eval
[200, 200, 200, 200, 401, 403, 401, 200, 401, 401, 200]
--- response_body_like eval
[("GIF") x 4, "signature", "scope", "issuer", "GIF", "", "",
 qr/result="hit"\} 5\n/]



=== TEST 8: a held token expires in the cache
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/a.json;
    empty_gif;
}
location = /lenient {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/a.json;
    auth_jwt_leeway 1h;
    empty_gif;
}
location = /wait {
    limit_rate 20;
    limit_rate_after 0;
    root html;
}
--- user_files eval
">>> wait\n" . ("x" x 300)
--- request eval
["GET /t", "GET /t", "GET /wait", "GET /t", "GET /lenient",
 "GET /status?format=prometheus"]
--- more_headers eval
our $soon = PenstockTokens::bearer(PenstockTokens::mint('a', 'ES256',
    '--kid', 'ka', '--exp', '14'));
[$soon, $soon, $soon, $soon, $soon, $soon]
--- timeout: 40
--- error_code eval
[200, 200, 200, 401, 200, 200]
--- response_body_like eval
["", "", "x", "expired", "", main::counts(3, 1, 1)]



=== TEST 9: any difference in the token is another token
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/a.json;
    empty_gif;
}
--- request eval
["GET /t", "GET /t", "GET /t", "GET /status?format=prometheus"]
--- more_headers eval
[$main::good, $main::good . "=", $main::good . "AAA", ""]
--- error_code eval
[200, 401, 401, 200]
--- response_body_like eval
["", "malformed", "malformed", main::counts(0, 3, 1)]



=== TEST 10: without a kid few keys are tried, and never more
--- config
location = /many {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/many.json;
    empty_gif;
}
location = /toomany {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/toomany.json;
    add_header X-Reason $auth_jwt_error always;
    empty_gif;
}
--- request eval
["GET /many", "GET /toomany", "GET /status?format=prometheus"]
--- more_headers eval
$main::bare
--- error_code eval
[200, 401, 200]
--- response_headers eval
["", 'X-Reason: more keys fit than are tried: "kid" is needed', ""]
--- response_body_like eval
["", "", main::counts(0, 2, 8)]



=== TEST 11: a zone of the smallest size, with tokens that don't fit twice
--- http_config
auth_jwt_zone small:32k;
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/a.json;
    empty_gif;
}
--- request eval
[(map { "GET /t" } 1 .. 20), "GET /status?format=prometheus"]
--- more_headers eval
[(map { PenstockTokens::bearer(PenstockTokens::mint('a', 'ES256',
        '--kid', 'ka', '--claim', 'x="' . ('y' x (250 * $_)) . '"')) }
      1 .. 20), ""]
--- error_code eval
[map { 200 } 1 .. 21]
--- response_body_like eval
[(map { "" } 1 .. 20), qr/penstock_oauth_cache_entries [1-9]/]



=== TEST 12: results are counted, once a request
--- config
auth_jwt "api";
auth_jwt_key_file $TEST_NGINX_KEYS/a.json;
location = /t { auth_jwt_scope read; try_files /none @t; }
location @t { auth_jwt_scope read; empty_gif; }
location = /w { auth_jwt_scope write; empty_gif; }
--- request eval
["GET /t", "GET /w", "GET /t", "GET /t", "GET /t",
 "GET /status?format=prometheus"]
--- more_headers eval
[$main::good, $main::good, "", $main::expired, "Authorization: Bearer", ""]
--- error_code eval
[200, 403, 401, 401, 400, 200]
--- response_body_like eval
["", "", "", "", "",
 qr/\{result="accepted"\} 1
.*\{result="no_token"\} 1
.*\{result="invalid_request"\} 1
.*\{result="invalid_token"\} 1
.*\{result="insufficient_scope"\} 1
/s]
