# Old answers are shown only where that was asked for: while one is being
# renewed, and when the upstream can't be read.
#
# What needs time to pass is in tests/live/test_availability.py.

use Test::Nginx::Socket 'no_plan';

add_block_preprocessor(sub {
    my $block = shift;

    my $http = $block->http_config || '';

    $block->set_value('http_config', <<'_EOC_' . $http);
availability_zone a:1m;
_EOC_
});

no_long_string();
run_tests();

__DATA__

=== TEST 1: nobody listens: a problem, no cache
--- config
location = /t {
    availability_cache a;
    availability_cache_valid 5s;
    add_header X-Status $availability_cache_status always;
    proxy_pass http://127.0.0.1:1/;
}
--- request eval
["GET /t", "GET /t"]
--- error_code eval
[502, 502]
--- response_headers eval
["X-Status: ERROR\nContent-Type: application/problem+json\nRetry-After: 1", "X-Status: ERROR"]
--- error_log
connect() failed



=== TEST 2: a truncated answer is a 502, and not kept
--- config
location = /t {
    availability_cache a;
    availability_cache_valid 5s;
    add_header X-Status $availability_cache_status always;
    proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/;
}
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nCache-Control: max-age=60\r\nConnection: close\r\n\r\nhalf of it"
--- request
GET /t
--- error_code: 502
--- response_headers
X-Status: ERROR
Content-Type: application/problem+json
--- response_body_unlike: half
--- error_log
upstream prematurely closed connection



=== TEST 3: a truncated chunked answer too
--- config
location = /t {
    availability_cache a;
    availability_cache_valid 5s;
    add_header X-Status $availability_cache_status always;
    proxy_http_version 1.1;
    proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/;
}
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=60\r\nConnection: close\r\n\r\n4\r\nhalf\r\n"
--- request
GET /t
--- error_code: 502
--- response_headers
X-Status: ERROR
--- response_body_unlike: half
--- error_log
upstream prematurely closed connection



=== TEST 4: an answer ended by the end of the connection is whole
--- config
location = /t {
    availability_cache a;
    add_header X-Status $availability_cache_status always;
    proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/;
}
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
"HTTP/1.0 200 OK\r\nCache-Control: max-age=60\r\n\r\nall of it"
--- request
GET /t
--- response_body: all of it
--- response_headers
X-Status: MISS
Cache-Status: Penstock; fwd=uri-miss; fwd-status=200; stored



=== TEST 5: no HTTP at all
--- config
location = /t {
    availability_cache a;
    availability_cache_valid 5s;
    proxy_http_version 1.1;
    proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/;
}
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
"what\r\n\r\n"
--- request
GET /t
--- error_code: 502
--- response_headers
Content-Type: application/problem+json
--- response_body_unlike: what
--- error_log
upstream sent no valid HTTP/1.0 header



=== TEST 6: malformed headers about freshness don't make it fresh
--- config
location = /t {
    availability_cache a;
    availability_cache_valid 5s;
    add_header X-Status $availability_cache_status always;
    proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/;
}
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
"HTTP/1.0 200 OK\r\nCache-Control: max-age=5s\r\nAge: -7\r\nDate: yesterday\r\nExpires: never\r\n\r\nx"
--- request
GET /t
--- response_headers
X-Status: MISS
Cache-Status: Penstock; fwd=uri-miss; fwd-status=200



=== TEST 7: the age in Date counts
--- config
location = /t {
    availability_cache a;
    add_header X-Status $availability_cache_status always;
    proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/;
}
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
"HTTP/1.0 200 OK\r\nCache-Control: max-age=60\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\nx"
--- request
GET /t
--- response_headers
Cache-Status: Penstock; fwd=uri-miss; fwd-status=200



=== TEST 8: a body cut off at the first byte of it
--- config
location = /t {
    availability_cache a;
    availability_cache_valid 5s;
    add_header X-Status $availability_cache_status always;
    proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/;
}
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nCache-Control: max-age=60\r\nConnection: close\r\n\r\n"
--- request
GET /t
--- error_code: 502
--- error_log
upstream prematurely closed connection



=== TEST 9: a timeout is a 504
--- config
location = /t {
    availability_cache a;
    availability_cache_valid 5s;
    add_header X-Status $availability_cache_status always;
    proxy_read_timeout 200ms;
    proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/;
}
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_no_close
--- tcp_reply:
--- request
GET /t
--- error_code: 504
--- response_headers
Content-Type: application/problem+json
X-Status: ERROR
--- response_body_like: "status":504,"detail":"Availability could not be read in time\."
--- error_log
upstream timed out
