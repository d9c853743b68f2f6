# Limits among the other modules: keys and rates from verified claims, a
# refused token in front of a client's limit, and a hit in the cache that is
# counted like any other request.

use lib 't/lib';
use PenstockTokens;
use Test::Nginx::Socket 'no_plan';

new_key('RS256', 'RS256');
key_set('public.json', 'RS256 RS256 RS256');

our $bob = 'Authorization: Bearer '
           . mint('RS256', 'RS256', '--kid', 'RS256', '--sub', 'bob');
our $eve = 'Authorization: Bearer '
           . mint('RS256', 'RS256', '--kid', 'RS256', '--sub', 'eve');

no_shuffle();
run_tests();

__DATA__

=== TEST 1: a limit by claim; what has no valid token does not spend it
--- http_config
map $jwt_claim_sub $rate {
    volatile;
    default  1r/h;
    eve      5r/h;
}
rate_limit_zone $jwt_claim_sub zone=client:1m rate=$rate burst=2;
rate_limit_zone $server_name zone=address:1m rate=1r/h burst=6;
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/public.json;
    rate_limit zone=address before_auth;
    rate_limit zone=client;
    empty_gif;
}
--- request eval
[("GET /t") x 7]
--- more_headers eval
[$::bob, "", "Authorization: Bearer x.y.z", $::bob, $::bob, $::eve, $::eve]
--- error_code eval
[200, 401, 401, 200, 429, 200, 429]
--- response_headers_like eval
["RateLimit-Policy: \"address\";q=6;w=21600, \"client\";q=2;w=7200",
 "RateLimit: \"address\";r=4;t=\\d+", "RateLimit: \"address\";r=3;t=\\d+",
 "RateLimit: \"address\";r=2;t=\\d+, \"client\";r=0;t=\\d+",
 "RateLimit: \"client\";r=0;t=\\d+",
 "RateLimit-Policy: \"address\";q=6;w=21600, \"client\";q=5;w=3600",
 "RateLimit: \"address\";r=0;t=\\d+"]



=== TEST 2: a hit in the cache is counted by its limit
--- http_config
availability_zone stock:1m;
rate_limit_zone $server_name zone=client:1m rate=1r/h burst=3;
--- config
location = /t {
    rate_limit zone=client;
    availability_cache stock;
    availability_cache_key "all";
    availability_cache_valid 200 10m;
    add_header X-Cache "$availability_cache_status";
    proxy_pass http://127.0.0.1:$server_port/origin;
}
location = /origin {
    default_type application/json;
    add_header RateLimit '"erp";r=1;t=2';
    return 200 '{"items":[]}';
}
--- request eval
[("GET /t") x 4]
--- error_code eval
[200, 200, 200, 429]
--- response_headers_like eval
["X-Cache: MISS\r\nRateLimit: \"client\";r=2;t=3600",
 "X-Cache: HIT\r\nRateLimit: \"client\";r=1;t=\\d+",
 "X-Cache: HIT\r\nRateLimit: \"client\";r=0;t=\\d+",
 "RateLimit: \"client\";r=0;t=\\d+"]



=== TEST 3: the refusal carries the correlation ID
--- http_config
rate_limit_zone $server_name zone=client:1m rate=1r/h;
correlation_id on;
correlation_id_trust on;
--- config
location = /t {
    rate_limit zone=client;
    empty_gif;
}
--- request eval
["GET /t", "GET /t"]
--- more_headers
X-Correlation-ID: order-77
--- error_code eval
[200, 429]
--- response_headers eval
["X-Correlation-ID: order-77", "X-Correlation-ID: order-77"]
--- response_body_like eval
["GIF89", '"correlation_id":"order-77","violated-policies":\["client"\]\}']
