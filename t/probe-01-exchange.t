# The exchange is the one way to an upstream: each point of what a clone must
# and must not do is shown by a probe that runs exchanges from a location.

use Test::Nginx::Socket 'no_plan';

our $HttpConfig = <<'_EOC_';
    server {
        listen unix:$TEST_NGINX_SERVER_ROOT/origin.sock;
        default_type text/plain;

        location /headers {
            return 200 "$request_method $request_uri inm=$http_if_none_match range=$http_range ae=$http_accept_encoding x=$http_x_test y=$http_y_test auth=$http_authorization cookie=$http_cookie len=$http_content_length type=$content_type";
        }

        location /made {
            add_header X-Origin yes;
            add_header Set-Cookie a=b;
            return 201 "made";
        }

        location /none {
            return 204;
        }

        location /moved {
            return 302 http://elsewhere/;
        }

        location /missing {
            return 404 "the origin's own page";
        }

        location / {
            root $TEST_NGINX_SERVER_ROOT/html;
        }
    }

    upstream origin {
        server unix:$TEST_NGINX_SERVER_ROOT/origin.sock;
    }
_EOC_

$ENV{TEST_NGINX_SERVER_ROOT} = $Test::Nginx::Util::ServRoot;

env_to_nginx('TEST_NGINX_SERVER_ROOT');
no_shuffle();
run_tests();

__DATA__

=== TEST 1: an answer passes through whole: status, headers, body
--- http_config eval: $::HttpConfig
--- config
location /made {
    probe_exchange;
    proxy_pass http://origin;
}
--- request
POST /made
body
--- error_code: 201
--- response_headers
X-Origin: yes
Set-Cookie: a=b
Content-Length: 4
Content-Type: text/plain
--- response_body: made



=== TEST 2: a write keeps its method, headers, and its body, read before
--- http_config eval: $::HttpConfig
--- config
location /headers {
    probe_exchange;
    proxy_pass http://origin;
}
--- request
PUT /headers?a=b
12345
--- more_headers
X-Test: 1
Authorization: Bearer t
Content-Type: text/x
--- response_body: PUT /headers?a=b inm= range= ae= x=1 y= auth=Bearer t cookie= len=5 type=text/x



=== TEST 3: a fill asks by GET without conditionals, ranges and codings
--- http_config eval: $::HttpConfig
--- config
location /headers {
    probe_exchange get header=Y-Test:2 header=X-Test:;
    proxy_pass http://origin;
}
--- request
GET /headers?a=b
--- more_headers
If-None-Match: "e"
Range: bytes=0-999
Accept-Encoding: gzip
X-Test: 1
--- error_code: 206
--- response_body: GET /headers?a=b inm= range= ae= x= y=2 auth= cookie= len= type=



=== TEST 4: a HEAD miss is filled by GET and answered without a body
--- http_config eval: $::HttpConfig
--- config
location /headers {
    probe_exchange get;
    proxy_pass http://origin;
    add_header X-Status $upstream_status;
}
--- request
HEAD /headers
--- response_headers
Content-Length: 59
X-Status: 200
--- response_body:



=== TEST 5: a GET with a body is filled without it
--- http_config eval: $::HttpConfig
--- config
location /headers {
    probe_exchange get;
    proxy_pass http://origin;
}
--- request
GET /headers
hello
--- response_body: GET /headers inm= range= ae= x= y= auth= cookie= len= type=



=== TEST 6: the body is replaced, and its length and type with it
--- http_config eval: $::HttpConfig
--- config
location /headers {
    probe_exchange body=a-new-body;
    proxy_pass http://origin;
}
--- request
POST /headers
old
--- more_headers
Content-Type: text/x
--- response_body: POST /headers inm= range= ae= x= y= auth= cookie= len=10 type=text/plain



=== TEST 7: the replaced body is what arrives
--- http_config eval: $::HttpConfig
--- config
location /echo {
    probe_exchange body=a-new-body;
    proxy_pass http://127.0.0.1:$server_port/back;
}

location /back {
    client_body_in_single_buffer on;
    proxy_pass http://127.0.0.1:$server_port/body;
    add_header X-Body $request_body;
}

location /body {
    return 200 "ok";
}
--- request
POST /echo
old
--- response_headers
X-Body: a-new-body
--- response_body: ok



=== TEST 8: a new URL, as it is sent
--- http_config eval: $::HttpConfig
--- config
location /x {
    probe_exchange get uri=/headers/%41 args=sku=A,B;
    proxy_pass http://origin;
}
--- request
GET /x?c=d
--- response_body: GET /headers/%41?sku=A,B inm= range= ae= x= y= auth= cookie= len= type=



=== TEST 9: to an internal location nothing of the client's goes
--- http_config eval: $::HttpConfig
--- config
location /x {
    probe_exchange internal uri=/keys args=k=1;
    proxy_pass http://origin;
}

location /keys {
    internal;
    proxy_pass http://origin/headers;
}
--- request
POST /x?c=d
body
--- more_headers
Authorization: Bearer t
Cookie: a=b
X-Test: 1
Range: bytes=0-1
--- response_body: GET /headers?k=1 inm= range= ae= x= y= auth= cookie= len= type=



=== TEST 10: with a body of its own it is a POST (a token request)
--- http_config eval: $::HttpConfig
--- config
location /x {
    probe_exchange internal uri=/token body=grant_type=x header=Authorization:Basic;
    proxy_pass http://origin;
}

location /token {
    internal;
    proxy_pass http://origin/headers;
}
--- request
GET /x
--- more_headers
Authorization: Bearer t
Cookie: a=b
--- response_body: POST /headers inm= range= ae= x= y= auth=Basic cookie= len=12 type=text/plain



=== TEST 11: a parked POST starts an internal exchange without its own body
--- http_config eval: $::HttpConfig
--- config
location /x {
    probe_exchange internal uri=/keys;
    proxy_pass http://origin;
}

location /keys {
    internal;
    proxy_pass http://origin/headers;
}
--- request eval
"POST /x\r\n" . ("x" x 20000)
--- response_body: GET /headers inm= range= ae= x= y= auth= cookie= len= type=



=== TEST 12: a truncated answer ends with status 200 and is not complete
--- http_config eval: $::HttpConfig
--- config
location /t {
    probe_exchange get report;
    proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
}
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"
--- request
GET /t
--- response_body eval
"status:200 size:9 complete:0 too_large:0 upstream:1 file:0\n\n"
--- error_log
upstream prematurely closed connection



=== TEST 13: a truncated chunked answer is not complete either
--- http_config eval: $::HttpConfig
--- config
location /t {
    probe_exchange get report;
    proxy_http_version 1.1;
    proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
}
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nonly\r\n"
--- request
GET /t
--- response_body eval
"status:200 size:4 complete:0 too_large:0 upstream:1 file:0\n\n"
--- error_log
upstream prematurely closed connection



=== TEST 14: too large by Content-Length
--- http_config eval: $::HttpConfig
--- config
location /big {
    probe_exchange get report max=10;
    proxy_pass http://origin;
}
--- user_files
>>> big
0123456789abcdef
--- request
GET /big
--- response_body eval
"status:200 size:0 complete:0 too_large:1 upstream:1 file:0\n\n"



=== TEST 15: too large as it comes, without a length
--- http_config eval: $::HttpConfig
--- config
location /t {
    probe_exchange get report max=10;
    proxy_http_version 1.1;
    proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
}
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
. "8\r\n01234567\r\n" . "8\r\n01234567\r\n" . "0\r\n\r\n"
--- request
GET /t
--- response_body_like
status:200 size:\d+ complete:0 too_large:1 upstream:1 file:0



=== TEST 16: the answer of a write is spooled, never refused for its size
--- http_config eval: $::HttpConfig
--- config
location /big {
    probe_exchange max=10 spool;
    proxy_pass http://origin;
}
--- user_files eval
">>> big\n" . ("0123456789abcdef" x 10000)
--- request
GET /big
--- response_headers
Content-Length: 160000
--- response_body eval
"0123456789abcdef" x 10000



=== TEST 17: spooled with proxy_max_temp_file_size 0, which hangs buffered clones
--- http_config eval: $::HttpConfig
--- config
location /big {
    probe_exchange max=1000000;
    proxy_max_temp_file_size 0;
    proxy_pass http://origin;
}
--- user_files eval
">>> big\n" . ("0123456789abcdef" x 50000)
--- request
GET /big
--- response_body eval
"0123456789abcdef" x 50000



=== TEST 18: chunks side by side
--- http_config eval: $::HttpConfig
--- config
location /none {
    probe_exchange get count=3 uri=/headers args=n=1;
    proxy_pass http://origin;
}
--- request
GET /none
--- response_body
status:200 size:63 complete:1 too_large:0 upstream:1 file:0
GET /headers?n=1 inm= range= ae= x= y= auth= cookie= len= type=
status:200 size:63 complete:1 too_large:0 upstream:1 file:0
GET /headers?n=1 inm= range= ae= x= y= auth= cookie= len= type=
status:200 size:63 complete:1 too_large:0 upstream:1 file:0
GET /headers?n=1 inm= range= ae= x= y= auth= cookie= len= type=



=== TEST 19: 204 is complete
--- http_config eval: $::HttpConfig
--- config
location /none {
    probe_exchange get;
    proxy_pass http://origin;
}
--- request
GET /none
--- error_code: 204
--- response_body:



=== TEST 20: the upstream's own error page, and its redirect, pass
--- http_config eval: $::HttpConfig
--- config
error_page 404 /error;

location /m {
    probe_exchange get;
    proxy_pass http://origin;
}
--- request eval
["GET /missing", "GET /moved"]
--- error_code eval
[404, 302]
--- response_body_like eval
["the origin's own page", "302 Found"]



=== TEST 21: proxy_intercept_errors hands them to error_page
--- http_config eval: $::HttpConfig
--- config
location /missing {
    probe_exchange get;
    proxy_pass http://origin;
    proxy_intercept_errors on;
    error_page 404 = /error;
}

location = /error {
    return 200 "ours";
}
--- request
GET /missing
--- response_body: ours



=== TEST 22: an upstream that is not there: the host's own error_page
--- http_config eval: $::HttpConfig
--- config
location /x {
    probe_exchange get;
    proxy_pass http://127.0.0.1:1;
    error_page 502 = /error;
}

location = /error {
    return 503 "ours";
}
--- request
GET /x
--- error_code: 503
--- response_body: ours
--- error_log
connect() failed



=== TEST 23: content that is no upstream's
--- config
location /x {
    probe_exchange get report;
}
--- user_files
>>> x
a static file
--- request
GET /x
--- response_body eval
"status:200 size:14 complete:1 too_large:0 upstream:0 file:0\n"
. "a static file\n\n"
--- no_error_log
[error]



=== TEST 24: access log variables speak of the exchange's upstream
--- http_config eval: $::HttpConfig
--- config
location /headers {
    probe_exchange get;
    proxy_pass http://origin;
    add_header X-Upstream $upstream_status;
}
--- request
GET /headers
--- response_headers
X-Upstream: 200



=== TEST 25: conditional requests and ranges are answered from the answer
--- http_config eval: $::HttpConfig
--- config
location /file {
    probe_exchange get;
    proxy_pass http://origin;
    if_modified_since before;
}
--- user_files
>>> file 202401010000.00
0123456789
--- request
GET /file
--- more_headers
If-Modified-Since: Wed, 01 Jan 2099 00:00:00 GMT
--- error_code: 304
--- response_body:



=== TEST 26: two requests on one connection, each by an exchange
--- http_config eval: $::HttpConfig
--- config
location ~ ^/(made|headers) {
    probe_exchange;
    proxy_pass http://origin;
}
--- pipelined_requests eval
["POST /made\nabc", "GET /headers"]
--- error_code eval
[201, 200]
--- response_body eval
["made", "GET /headers inm= range= ae= x= y= auth= cookie= len= type="]
