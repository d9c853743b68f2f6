# What the gateway asks for itself, an exchange, goes to the upstream with the
# ID and the trace of the request that it is for; a hit has its own ID.

use Test::Nginx::Socket 'no_plan';

our $trace = '12345678901234567890123456789012';
our $parent = '1234567890123456';

add_block_preprocessor(sub {
    my ($block) = @_;

    $block->set_value('http_config', <<'END');
availability_zone stock:1m;
server {
    listen 127.0.0.2:$TEST_NGINX_SERVER_PORT;
    location / {
        add_header X-Correlation-ID the-upstreams-own;
        return 200 "$http_x_correlation_id|$http_traceparent|$http_tracestate\n";
    }
}
END
});

run_tests();

__DATA__

=== TEST 1: a miss, and a hit of another request
--- config
correlation_id on;
correlation_id_trust on;
location = /t {
    availability_cache stock;
    availability_cache_key $uri;
    availability_cache_valid 1m;
    add_header X-Status $availability_cache_status;
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT/;
}
--- request eval
["GET /t", "GET /t"]
--- more_headers eval
["X-Correlation-ID: first", "X-Correlation-ID: second"]
--- response_headers eval
["X-Correlation-ID: first\nX-Status: MISS",
 "X-Correlation-ID: second\nX-Status: HIT"]
--- response_body eval
["first||\n", "first||\n"]



=== TEST 2: a client's header does not pass, one is sent
--- config
correlation_id on;
location = /t {
    availability_cache stock;
    availability_cache_key $uri;
    availability_cache_valid 1m;
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT/;
}
--- request
GET /t
--- more_headers
X-Correlation-ID: one
X-Correlation-ID: two
--- response_body_like: ^[0-9a-f-]{36}\|



=== TEST 3: the trace
--- config
trace_context on;
location = /t {
    availability_cache stock;
    availability_cache_key $uri;
    availability_cache_valid 1m;
    add_header X-Span "00-$trace_id-$span_id-$trace_flags";
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT/;
}
--- request
GET /t
--- more_headers eval
"traceparent: 00-$::trace-$::parent-03
tracestate: a=1
tracestate: b=2"
--- response_headers_like eval
"X-Span: 00-$::trace-(?!$::parent)[0-9a-f]{16}-03"
--- response_body_like eval
"^\\|00-$::trace-(?!$::parent)[0-9a-f]{16}-03\\|a=1,b=2\$"
