# What HTTP says of a stored answer beyond its age: the upstream's own error
# pages, Date, codings, CDN-Cache-Control (RFC 9213), must-understand.  A
# gateway that gets one of these wrong keeps what it must not, or says other
# things than the upstream did.
#
# What needs time to pass is in tests/live/test_http_answers.py.

use Test::Nginx::Socket 'no_plan';

add_block_preprocessor(sub {
    my $block = shift;

    $block->set_value('http_config', <<'_EOC_' . ($block->http_config || ''));
availability_zone a:2m;
_EOC_
});

no_long_string();
run_tests();

__DATA__

=== TEST 1: an error page of the upstream's passes as it is, and is not kept
--- config
location /e/ {
    availability_cache a;
    availability_cache_valid 5s;
    add_header X-Status $availability_cache_status always;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/error/;
}

location = /error/500 { return 500 "page $request_id"; }
location = /error/503 { add_header Retry-After 17 always; add_header Cache-Control "max-age=60" always; return 503 "busy"; }
location = /error/599 { return 599 "odd"; }
location = /error/429 { add_header Retry-After 3 always; return 429 "slower"; }
--- request eval
["GET /e/500", "GET /e/500", "GET /e/503", "HEAD /e/503", "GET /e/599", "GET /e/429"]
--- error_code eval
[500, 500, 503, 503, 599, 503]
--- response_headers eval
["X-Status: ERROR\nCache-Status: Penstock; fwd=uri-miss; fwd-status=500; detail=error\n!Retry-After\n!Age",
 "X-Status: ERROR", "Retry-After: 17\nX-Status: ERROR", "Retry-After: 17",
 "X-Status: ERROR", "Retry-After: 3\nContent-Type: application/problem+json"]
--- response_body_like eval
["^page [0-9a-f]+\$", "^page [0-9a-f]+\$", "^busy\$", "^\$", "^odd\$", '"status":503']



=== TEST 2: one that is intercepted has the error_page's
--- config
location = /e {
    availability_cache a;
    proxy_intercept_errors on;
    error_page 502 /sorry;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/error;
}

location = /error { return 500 "secret"; }
location = /sorry { return 502 "sorry"; }
--- request
GET /e
--- error_code: 502
--- response_body: sorry



=== TEST 3: Date is of the upstream's answer, not of ours
--- config
location = /d {
    availability_cache a;
    add_header X-Status $availability_cache_status always;
    proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/;
}
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
"HTTP/1.0 200 OK\r\nCache-Control: max-age=60\r\nDate: Thu, 01 Jan 2099 00:00:00 GMT\r\n\r\nx"
--- request eval
["GET /d", "GET /d"]
--- response_headers eval
["X-Status: MISS\nDate: Thu, 01 Jan 2099 00:00:00 GMT",
 "X-Status: HIT\nDate: Thu, 01 Jan 2099 00:00:00 GMT"]



=== TEST 4: an answer without Date is of the moment it came, and has one
--- config
location = /d {
    availability_cache a;
    add_header X-Status $availability_cache_status always;
    proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/;
}
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
"HTTP/1.0 200 OK\r\nCache-Control: max-age=60\r\n\r\nx"
--- request eval
["GET /d", "GET /d"]
--- raw_response_headers_like eval
["Date: \\w{3}, \\d\\d \\w{3} 20\\d\\d .*X-Status: MISS",
 "Date: \\w{3}, \\d\\d \\w{3} 20\\d\\d .*X-Status: HIT"]
--- raw_response_headers_unlike eval
["(?s)Date:.*Date:", "(?s)Date:.*Date:"]



=== TEST 5: what is coded for everybody is kept with its coding, and not coded twice
--- config
gzip on;
gzip_min_length 1;
gzip_types *;

location = /c {
    availability_cache a;
    availability_cache_valid 5s;
    add_header X-Status $availability_cache_status always;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/coded;
}

location = /coded {
    gzip off;
    add_header Content-Encoding br;
    return 200 "not really Brotli, but who is to know that";
}
--- more_headers
Accept-Encoding: gzip
--- request eval
["GET /c", "GET /c"]
--- response_headers eval
["X-Status: MISS\nContent-Encoding: br", "X-Status: HIT\nContent-Encoding: br"]
--- response_body eval
["not really Brotli, but who is to know that", "not really Brotli, but who is to know that"]



=== TEST 6: CDN-Cache-Control goes before Cache-Control and Expires
--- config
location /f/ {
    availability_cache a;
    availability_cache_valid 200 5s;
    add_header X-Status $availability_cache_status always;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/fresh/;
}

location = /fresh/longer { add_header Cache-Control "max-age=9"; add_header CDN-Cache-Control "max-age=60"; return 200; }
location = /fresh/though { add_header Cache-Control "no-store"; add_header CDN-Cache-Control "max-age=50"; return 200; }
location = /fresh/expired { add_header Expires "Thu, 01 Jan 1970 00:00:01 GMT"; add_header CDN-Cache-Control "public"; return 200; }
location = /fresh/broken { add_header Cache-Control "max-age=40"; add_header CDN-Cache-Control "max-age=60, &"; return 200; }
location = /fresh/empty { add_header Cache-Control "max-age=30"; add_header CDN-Cache-Control " "; return 200; }
location = /fresh/lines { add_header CDN-Cache-Control "max-age=9"; add_header CDN-Cache-Control "max-age=70"; return 200; }
--- request eval
[map { ("GET /f/$_", "GET /f/$_") } qw(longer though expired broken empty lines)]
--- raw_response_headers_like eval
[map { ("; stored.*X-Status: MISS", "; ttl=$_\\r.*X-Status: HIT") }
    "(5[89]|60)", "(4[89]|50)", "[45]", "(3[89]|40)", "(2[89]|30)", "(6[89]|70)"]



=== TEST 7: CDN-Cache-Control can forbid what Cache-Control allows
--- config
location /f/ {
    availability_cache a;
    availability_cache_valid 200 5s;
    add_header X-Status $availability_cache_status always;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/no/;
}

location = /no/store { add_header Cache-Control "max-age=9"; add_header CDN-Cache-Control "no-store"; return 200; }
location = /no/private { add_header Cache-Control "max-age=9"; add_header CDN-Cache-Control "max-age=9, private"; return 200; }
location = /no/string { add_header Cache-Control "max-age=9"; add_header CDN-Cache-Control 'max-age="60"'; return 200; }
location = /no/decimal { add_header Cache-Control "max-age=9"; add_header CDN-Cache-Control 'max-age=1.5'; return 200; }
location = /no/understood { add_header Cache-Control "max-age=9, must-understand" always; return 418; }
--- request eval
[map { ("GET /f/$_", "GET /f/$_") } qw(store private string decimal understood)]
--- error_code eval
[(200) x 8, 418, 418]
--- response_headers eval
[("X-Status: MISS", "X-Status: PASS") x 5]



=== TEST 8: who understands the status keeps in spite of no-store
--- config
location = /m {
    availability_cache a;
    add_header X-Status $availability_cache_status always;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/must;
}

location = /must { add_header Cache-Control "max-age=9, must-understand, no-store"; return 200; }
--- request eval
["GET /m", "GET /m"]
--- response_headers eval
["X-Status: MISS", "X-Status: HIT"]

