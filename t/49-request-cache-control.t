# Cache-Control of requests, and credentials.  A channel may ask for a newer
# answer where that is switched on, but never as often as it likes; and what
# one client got with its credentials is for others only if the upstream says
# so (RFC 9111, Sections 3.5 and 5.2.1).
#
# What needs time to pass is in tests/live/test_http_answers.py.

use Test::Nginx::Socket 'no_plan';

add_block_preprocessor(sub {
    my $block = shift;

    $block->set_value('http_config', <<'_EOC_' . ($block->http_config || ''));
availability_zone a:2m;
map $arg_c $control {
    default $arg_c;
    public  "public, max-age=60";
    shared  "s-maxage=60";
    must    "max-age=60, must-revalidate";
    usual   "max-age=60";
}
_EOC_

    if (!defined $block->config) {
        $block->set_value('config', <<'_EOC_');
location /off/ {
    availability_cache a;
    availability_cache_valid 60s;
    add_header X-Status $availability_cache_status always;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin/;
}

location /on/ {
    availability_cache a;
    availability_cache_valid 60s;
    availability_cache_request_control on min=0;
    add_header X-Status $availability_cache_status always;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin/;
}

location /min/ {
    availability_cache a;
    availability_cache_valid 60s;
    availability_cache_request_control on min=1h;
    add_header X-Status $availability_cache_status always;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin/;
}

location /origin/ {
    add_header Cache-Control $control;
    add_header Age $arg_age;
    return 200 "$request_id";
}
_EOC_
    }
});

no_long_string();
run_tests();

__DATA__

=== TEST 1: by default a request asks for nothing
--- request eval
["GET /off/1", "GET /off/1", "GET /off/1", "GET /off/1", "GET /off/2", "GET /off/2"]
--- more_headers eval
["", "Cache-Control: no-cache", "Cache-Control: max-age=0, min-fresh=9999", "Pragma: no-cache",
 "Cache-Control: only-if-cached", "Cache-Control: no-store"]
--- response_headers eval
["X-Status: MISS", "X-Status: HIT", "X-Status: HIT", "X-Status: HIT", "X-Status: MISS", "X-Status: HIT"]



=== TEST 2: no-cache, and Pragma without Cache-Control
--- request eval
[map { "GET /on/1" } 1 .. 6]
--- more_headers eval
["", "Cache-Control: no-cache", "", "Pragma: foo, No-Cache", "Pragma: no-cache\nCache-Control: max-age=5", "Pragma: x"]
--- response_headers eval
["X-Status: MISS", "X-Status: EXPIRED\nCache-Status: Penstock; fwd=request; fwd-status=200; stored",
 "X-Status: HIT", "X-Status: EXPIRED", "X-Status: HIT", "X-Status: HIT"]



=== TEST 3: max-age and min-fresh
--- request eval
[map { "GET /on/1?c=usual&age=30" } 1 .. 8]
--- more_headers eval
["", "Cache-Control: max-age=40", "Cache-Control: max-age=29", "Cache-Control: max-age=x",
 "Cache-Control: min-fresh=20", "Cache-Control: min-fresh=31", "Cache-Control: max-age=40, min-fresh=31", "Cache-Control: max-stale"]
--- response_headers eval
["X-Status: MISS", "X-Status: HIT", "X-Status: EXPIRED", "X-Status: EXPIRED", "X-Status: HIT", "X-Status: EXPIRED", "X-Status: EXPIRED",
 "X-Status: HIT"]



=== TEST 4: what was read within "min" is new enough
--- request eval
[map { "GET /min/1?c=usual&age=30" } 1 .. 4]
--- more_headers eval
["Cache-Control: no-cache", "Cache-Control: no-cache", "Cache-Control: max-age=0", "Cache-Control: min-fresh=50"]
--- response_headers eval
["X-Status: MISS", "X-Status: HIT", "X-Status: HIT", "X-Status: HIT"]



=== TEST 5: only-if-cached
--- request eval
["GET /on/1", "GET /on/1", "GET /on/1", "GET /on/1"]
--- more_headers eval
["Cache-Control: only-if-cached", "", "Cache-Control: only-if-cached", "Cache-Control: only-if-cached, no-cache"]
--- error_code eval
[504, 200, 200, 504]
--- response_headers eval
["Content-Type: application/problem+json\nCache-Status: Penstock; detail=only-if-cached\n!Retry-After\nX-Status: ERROR",
 "X-Status: MISS", "X-Status: HIT", "X-Status: ERROR"]



=== TEST 6: of what can't be kept nothing is cached
--- request eval
["GET /on/1?c=no-store", "GET /on/1?c=no-store", "GET /on/1?c=no-store"]
--- more_headers eval
["", "", "Cache-Control: only-if-cached"]
--- error_code eval
[200, 200, 504]
--- response_headers eval
["X-Status: MISS", "X-Status: PASS", "X-Status: ERROR"]



=== TEST 7: no-store of a request is not what keeps an answer out
--- request eval
["GET /on/1", "GET /on/1"]
--- more_headers eval
["Cache-Control: no-store", "Cache-Control: no-store"]
--- response_headers eval
["X-Status: MISS", "X-Status: HIT"]



=== TEST 8: with the default key, answers to credentials are shared only where the upstream says so
--- request eval
[map { ("GET /off/1?c=$_", "GET /off/1?c=$_") } qw(usual public shared must private)]
--- more_headers eval
[map { ("Authorization: Bearer a", "Authorization: Bearer b") } 1 .. 5]
--- response_headers eval
[map { ("X-Status: MISS", "X-Status: $_") } qw(PASS HIT HIT HIT PASS)]



=== TEST 9: requests without credentials have answers of their own
--- request eval
["GET /off/1?c=usual", "GET /off/1?c=usual", "GET /off/1?c=usual", "GET /off/2?c=public", "GET /off/2?c=public"]
--- more_headers eval
["", "Authorization: Bearer a", "", "Authorization: Bearer a", ""]
--- response_headers eval
["X-Status: MISS", "X-Status: MISS", "X-Status: HIT", "X-Status: MISS", "X-Status: MISS"]



=== TEST 10: a write voids both
--- request eval
["GET /off/1?c=public", "GET /off/1?c=public", "POST /off/1?c=public\n", "GET /off/1?c=public", "GET /off/1?c=public"]
--- more_headers eval
["", "Authorization: Bearer a", "", "", "Authorization: Bearer a"]
--- raw_response_headers_like eval
["MISS", "MISS", "200 OK", "EXPIRED", "EXPIRED"]



=== TEST 11: neither on nor off
--- config
location /t { availability_cache_request_control yes; }
--- must_die
--- error_log
invalid value "yes", it must be "on" or "off"



=== TEST 12: an unknown parameter
--- config
location /t { availability_cache_request_control on max=1s; }
--- must_die
--- error_log
invalid parameter "max=1s", it must be "min=TIME"



=== TEST 13: no time
--- config
location /t { availability_cache_request_control on min=soon; }
--- must_die
--- error_log
invalid time in "min=soon", write for example "min=1s"
