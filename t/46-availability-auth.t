# Authentication and the cache: every hit is authenticated first, and the key
# says who shares an answer.
#
# "answers: 1 1 2": the second request got the body of the first, the third
# another one; "-" is not looked at.

use lib 't/lib';
use PenstockTokens;
use Test::Nginx::Socket 'no_plan';

my (%seen, $n, $of);

add_response_body_check(sub {
    my ($block, $body, $i) = @_;

    return unless defined $block->answers;

    if (!defined $of || $of ne $block->name) {
        $of = $block->name;
        %seen = ();
        $n = 0;
    }

    my $want = (split ' ', $block->answers)[$i];

    return if $want eq '-';

    $seen{$body} = ++$n unless exists $seen{$body};

    Test::More::is($seen{$body}, $want,
                   $block->name . " - answer of request $i");
});

new_key('a', 'ES256');
new_key('b', 'ES256');
key_set('a.json', 'a ka ES256');

our $one = bearer(mint('a', 'ES256', '--kid', 'ka', '--sub', 'u1',
                       '--claim', 'tenant="one"'));
our $other = bearer(mint('a', 'ES256', '--kid', 'ka', '--sub', 'u2',
                         '--claim', 'tenant="one"'));
our $two = bearer(mint('a', 'ES256', '--kid', 'ka', '--sub', 'u3',
                       '--claim', 'tenant="two"'));
our $old = bearer(mint('a', 'ES256', '--kid', 'ka', '--sub', 'u1',
                       '--claim', 'tenant="one"', '--claim', 'exp=1000000'));
our $forged = bearer(mint('b', 'ES256', '--kid', 'ka', '--sub', 'u1',
                          '--claim', 'tenant="one"'));

add_block_preprocessor(sub {
    my $block = shift;

    $block->set_value('http_config', 'availability_zone a:1m;');

    $block->set_value('config', <<'_EOC_');
auth_jwt_key_file $TEST_NGINX_KEYS/a.json;

location = /tenant {
    auth_jwt gw;
    availability_cache a;
    availability_cache_key "$jwt_claim_tenant $request_uri";
    availability_cache_valid 60s;
    add_header X-Status $availability_cache_status always;
    proxy_set_header X-Tenant $jwt_claim_tenant;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin/;
}

location = /all {
    auth_jwt gw;
    availability_cache a;
    availability_cache_key $request_uri;
    availability_cache_valid 60s;
    availability_cache_tag arg=sku;
    add_header X-Status $availability_cache_status always;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin/;
}

location = /purge {
    auth_jwt gw;
    availability_purge zone=a;
}

location = /orders {
    auth_jwt gw;
    availability_invalidate zone=a /sku;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/made;
}

location = /made {
    return 201;
}

location /origin/ {
    return 200 "$http_x_tenant $request_id";
}
_EOC_
});

no_long_string();
run_tests();

__DATA__

=== TEST 1: tenants don't share, users of one do; the fill has the claims too
--- request eval
["GET /tenant", "GET /tenant", "GET /tenant", "GET /tenant", "GET /tenant"]
--- more_headers eval
[$::one, $::one, $::other, $::two, $::two]
--- answers: 1 1 1 2 2
--- response_body_like eval
["^one ", "^one ", "^one ", "^two ", "^two "]
--- response_headers eval
["X-Status: MISS", "X-Status: HIT", "X-Status: HIT", "X-Status: MISS", "X-Status: HIT"]



=== TEST 2: a hit needs a token
--- request eval
["GET /all", "GET /all", "GET /all", "GET /all", "GET /all", "HEAD /all", "GET /all"]
--- more_headers eval
[$::one, "", $::old, $::forged, "Authorization: Bearer x", "", $::two]
--- answers: 1 - - - - - 1
--- error_code eval
[200, 401, 401, 401, 401, 401, 200]
--- response_headers eval
["X-Status: MISS", "!X-Status\n!Cache-Status", "!X-Status", "!X-Status", "!X-Status", "!X-Status", "X-Status: HIT"]



=== TEST 3: purges and orders need one too, and do nothing without
--- request eval
["GET /all?sku=A", "POST /purge\n{\"all\":true}", "POST /orders\n{\"sku\":\"A\"}", "GET /all?sku=A",
 "POST /orders\n{\"sku\":\"A\"}", "GET /all?sku=A", "POST /purge\n{\"tags\":[\"A\"]}", "GET /all?sku=A"]
--- more_headers eval
[$::one, "", $::forged, $::two, $::one, $::one, $::two, $::one]
--- answers: 1 - - 1 - 2 - 3
--- error_code eval
[200, 401, 401, 200, 201, 200, 200, 200]
