# What a client and an upstream see of the correlation ID: whose it is, where
# it goes, and that there is exactly one.  The upstream is a server on
# another loopback address that answers with the headers it got.

use Test::Nginx::Socket 'no_plan';

our $uuid = '[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}';

add_block_preprocessor(sub {
    my ($block) = @_;

    $block->set_value('http_config', ($block->http_config // '') . <<'END')
server {
    listen 127.0.0.2:$TEST_NGINX_SERVER_PORT;

    location / {
        return 200 "$http_x_correlation_id|$http_x_request_id\n";
    }

    location = /own {
        add_header X-Correlation-ID upstream-1;
        add_header x-correlation-id upstream-2;
        return 200 "own\n";
    }

    location = /error {
        return 503;
    }
}
END
});

no_root_location();
run_tests();

__DATA__

=== TEST 1: off by default
--- config
location = /t {
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT/;
    add_header X-Seen "[$correlation_id]";
}
--- request
GET /t
--- more_headers
X-Correlation-ID: client
--- response_headers
!X-Correlation-ID
X-Seen: []
--- response_body
client|



=== TEST 2: on, a UUIDv7 to the client and in the variable
--- config
correlation_id on;
location = /t {
    return 200 "$correlation_id\n";
}
--- request
GET /t
--- response_headers_like eval
"X-Correlation-ID: $::uuid"
--- response_body_like eval
"^$::uuid\$"



=== TEST 3: on, the upstream gets it
--- config
correlation_id on;
location = /t {
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT/;
}
--- request
GET /t
--- response_headers_like eval
"X-Correlation-ID: $::uuid"
--- response_body_like eval
"^$::uuid\\|\$"



=== TEST 4: a client is not trusted by default, its header does not pass
--- config
correlation_id on;
location = /t {
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT/;
}
--- request
GET /t
--- more_headers
X-Correlation-ID: client
x-correlation-id: other
--- response_headers_like eval
"X-Correlation-ID: $::uuid"
--- response_body_like eval
"^$::uuid\\|\$"



=== TEST 5: trusted, kept
--- config
correlation_id on;
correlation_id_trust on;
location = /t {
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT/;
    add_header X-Seen $correlation_id;
}
--- request
GET /t
--- more_headers
X-CORRELATION-ID: aZ09._~:/+=@-
--- response_headers
X-Correlation-ID: aZ09._~:/+=@-
X-Seen: aZ09._~:/+=@-
--- response_body
aZ09._~:/+=@-|



=== TEST 6: trusted, 128 characters are kept
--- config
correlation_id on;
correlation_id_trust on;
location = /t {
    return 200 "$correlation_id\n";
}
--- request
GET /t
--- more_headers eval
"X-Correlation-ID: " . "x" x 128
--- response_headers eval
"X-Correlation-ID: " . "x" x 128
--- response_body eval
"x" x 128 . "\n"



=== TEST 7: trusted, 129 are not
--- config
correlation_id on;
correlation_id_trust on;
location = /t {
    return 200 "$correlation_id\n";
}
--- request
GET /t
--- more_headers eval
"X-Correlation-ID: " . "x" x 129
--- response_body_like eval
"^$::uuid\$"



=== TEST 8: trusted, nor is one with other characters
--- config
correlation_id on;
correlation_id_trust on;
location = /t {
    return 200 "$correlation_id\n";
}
--- request eval
[map { "GET /t" } 1 .. 7]
--- more_headers eval
["X-Correlation-ID: a b", "X-Correlation-ID: a\"b", "X-Correlation-ID: a,b",
 "X-Correlation-ID: a\tb", "X-Correlation-ID: \xc3\xa9",
 "X-Correlation-ID: <script>", "X-Correlation-ID: %0a"]
--- response_body_like eval
[map { "^$::uuid\$" } 1 .. 7]



=== TEST 9: trusted, an empty one is replaced
--- config
correlation_id on;
correlation_id_trust on;
location = /t {
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT/;
}
--- request
GET /t
--- more_headers
X-Correlation-ID:
--- response_body_like eval
"^$::uuid\\|\$"



=== TEST 10: trusted, of two none is kept and one is sent
--- config
correlation_id on;
correlation_id_trust on;
location = /t {
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT/;
}
--- request
GET /t
--- more_headers
X-Correlation-ID: one
X-Correlation-ID: two
--- response_body_like eval
"^$::uuid\\|\$"



=== TEST 11: another header name
--- config
correlation_id on;
correlation_id_trust on;
correlation_id_header X-Request-ID;
location = /t {
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT/;
}
--- request
GET /t
--- more_headers
X-Request-ID: mine
X-Correlation-ID: none of ours
--- response_headers
X-Request-ID: mine
!X-Correlation-ID
--- response_body
none of ours|mine



=== TEST 12: the upstream's own is replaced, not doubled
--- config
correlation_id on;
correlation_id_trust on;
location = /t {
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT/own;
}
--- request
GET /t
--- more_headers
X-Correlation-ID: mine
--- raw_response_headers_like: (?s)^(?!.*upstream-).*\nX-Correlation-ID: mine\r
--- response_headers
X-Correlation-ID: mine
--- response_body
own



=== TEST 13: errors, of nginx and of the upstream
--- config
correlation_id on;
correlation_id_trust on;
location = /own {
    return 404;
}
location = /up {
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT/error;
}
location = /file {
    root html/none;
}
--- request eval
["GET /own", "GET /up", "GET /file", "GET /%00"]
--- more_headers
X-Correlation-ID: mine
--- error_code eval
[404, 503, 404, 400]
--- response_headers_like eval
["X-Correlation-ID: mine", "X-Correlation-ID: mine",
 "X-Correlation-ID: mine", "X-Correlation-ID: $::uuid"]



=== TEST 14: 304, 416, HEAD and redirects
--- config
correlation_id on;
correlation_id_trust on;
location / {
    root html;
    if_modified_since before;
}
location = /moved {
    return 302 /else;
}
--- user_files
>>> file 200001010000.00
text
--- request eval
["GET /file", "GET /file", "HEAD /file", "GET /moved"]
--- more_headers eval
["X-Correlation-ID: mine\nIf-Modified-Since: Sat, 01 Jan 2050 00:00:00 GMT",
 "X-Correlation-ID: mine\nRange: bytes=1000-2000",
 "X-Correlation-ID: mine", "X-Correlation-ID: mine"]
--- error_code eval
[304, 416, 200, 302]
--- response_headers eval
[map { "X-Correlation-ID: mine" } 1 .. 4]



=== TEST 15: bad requests: one after the headers, and none that were read
--- config
correlation_id on;
location / {
    return 204;
}
--- raw_request eval
["GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
 "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n",
 "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
 "GARBAGE\r\n\r\n",
 "G\x01T / HTTP/1.1\r\nHost: a\r\n\r\n"]
--- error_code eval
[400, 400, 400, 400, 400]
--- response_headers_like eval
[map { "X-Correlation-ID: $::uuid" } 1 .. 5]



=== TEST 16: off in a location: neither sent nor taken away
--- config
correlation_id on;
location = /t {
    correlation_id off;
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT/;
}
--- request
GET /t
--- more_headers
X-Correlation-ID: client
--- response_headers
!X-Correlation-ID
--- response_body
client|



=== TEST 17: on in a location alone, its return included
--- config
location = /on {
    correlation_id on;
    return 200 "$correlation_id\n";
}
location = /off {
    return 200 "[$correlation_id]\n";
}
--- request eval
["GET /on", "GET /off"]
--- response_headers_like eval
["X-Correlation-ID: $::uuid", "Content-Type: text/plain"]
--- response_body_like eval
["^$::uuid\$", "^\\[\\]\$"]



=== TEST 18: the location says whom to trust
--- config
correlation_id on;
location = /trusted {
    correlation_id_trust on;
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT/;
}
location = /not {
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT/;
}
--- request eval
["GET /trusted", "GET /not"]
--- more_headers
X-Correlation-ID: client
--- response_body_like eval
["^client\\|\$", "^$::uuid\\|\$"]



=== TEST 19: and which header; one that was not trusted here is made anew
--- config
correlation_id on;
correlation_id_trust on;
location = /name {
    correlation_id_header X-Request-ID;
    return 200 "$correlation_id\n";
}
location = /not {
    correlation_id_trust off;
    return 200 "$correlation_id\n";
}
--- request eval
["GET /name", "GET /not"]
--- more_headers
X-Correlation-ID: client
X-Request-ID: request
--- response_headers_like eval
["X-Request-ID: request", "X-Correlation-ID: $::uuid"]
--- response_body_like eval
["^request\$", "^$::uuid\$"]



=== TEST 20: but what was used before never changes
--- config
correlation_id on;
set $first $correlation_id;
location = /t {
    correlation_id_trust on;
    if ($first = $correlation_id) {
        return 200 "same\n";
    }
    return 200 "changed\n";
}
--- request
GET /t
--- more_headers
X-Correlation-ID: client
--- response_body
same



=== TEST 21: an access log gets it
--- http_config
log_format id "id=$correlation_id";
--- config
correlation_id on;
correlation_id_trust on;
access_log logs/error.log id;
location = /t {
    return 200 "ok\n";
}
--- request
GET /t
--- more_headers
X-Correlation-ID: client-7
--- error_log
id=client-7



=== TEST 22: a request body goes through, chunked too
--- config
correlation_id on;
correlation_id_trust on;
location = /t {
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT/;
}
--- request eval
"POST /t\r\n" . "x" x 50000
--- more_headers
X-Correlation-ID: client
--- response_body
client|



=== TEST 23: no location: the server's codes run once
--- config
correlation_id on;
set $runs "${runs}x";
rewrite ^/t(.*)$ /tt$1;
if ($request_uri = /t) {
    set $seen "$uri $runs";
}
add_header X-Seen $seen always;
root html/none;
--- request
GET /t
--- error_code: 404
--- response_headers
X-Seen: /tt x
--- response_headers_like eval
"X-Correlation-ID: $::uuid"



=== TEST 24: with limits of header buffers, many headers and a trusted ID
--- config
correlation_id on;
correlation_id_trust on;
location = /t {
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT/;
    proxy_buffer_size 8k;
}
--- request
GET /t
--- more_headers eval
(CORE::join "", map { "X-Header-$_: " . "y" x 100 . "\n" } 1 .. 60)
. "X-Correlation-ID: last"
--- response_headers
X-Correlation-ID: last
--- response_body
last|



=== TEST 25: a header too large, in all and by itself; too long a URI
--- config
correlation_id on;
correlation_id_trust on;
trace_context on;
location = /t {
    return 204;
}
--- request eval
["GET /t", "GET /t", "GET /" . "x" x 60000]
--- more_headers eval
["X-Correlation-ID: " . "x" x 60000,
 CORE::join("\n", map { "tracestate: k$_=" . "v" x 7000 } 1 .. 8), "A: b"]
--- error_code eval
[400, 400, 414]
--- response_headers_like eval
[map { "X-Correlation-ID: $::uuid" } 1 .. 3]
