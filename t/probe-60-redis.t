# Who answers at Redis's address may be anyone: whatever comes, the request is
# answered, no memory is taken for a promise, and the log says why.  The fake
# answers the handshake, which is parsed as all replies are; replies to calls
# are in tests/live/test_redis_fakes.py.

use Test::Nginx::Socket 'no_plan';

our $HttpConfig = <<'_EOC_';
    redis main {
        server  unix:$TEST_NGINX_HTML_DIR/redis.sock;
        timeout connect=3s command=3s;
    }
_EOC_

our $Config = <<'_EOC_';
    location /t {
        probe_redis main;
    }
_EOC_

$ENV{TEST_NGINX_HTML_DIR} ||= html_dir();

no_shuffle();
run_tests();

__DATA__

=== TEST 1: a web server
--- http_config eval: $::HttpConfig
--- config eval: $::Config
--- tcp_listen: $TEST_NGINX_HTML_DIR/redis.sock
--- tcp_query_len: 43
--- tcp_reply eval
"HTTP/1.1 400 Bad Request\r\n\r\n"
--- request
GET /t?a=PING
--- response_body_like eval
qr/^\{"up":0,"took":\d+,"calls":\[\{"status":"down","reply":null\}\]\}$/
--- error_log
unknown reply type, redis "main" unix:



=== TEST 2: RESP3, which was not asked for
--- http_config eval: $::HttpConfig
--- config eval: $::Config
--- tcp_listen: $TEST_NGINX_HTML_DIR/redis.sock
--- tcp_query_len: 43
--- tcp_reply eval
"%1\r\n+a\r\n+b\r\n"
--- request
GET /t?a=PING
--- response_body_like eval
qr/^\{"up":0,"took":\d+,"calls":\[\{"status":"down","reply":null\}\]\}$/
--- error_log
unknown reply type, redis "main" unix:



=== TEST 3: a string of half a gigabyte
--- http_config eval: $::HttpConfig
--- config eval: $::Config
--- tcp_listen: $TEST_NGINX_HTML_DIR/redis.sock
--- tcp_query_len: 43
--- tcp_reply eval
"\x24536870912\r\n"
--- request
GET /t?a=PING
--- response_body_like eval
qr/^\{"up":0,"took":\d+,"calls":\[\{"status":"down","reply":null\}\]\}$/
--- error_log
string in reply is too large, redis "main" unix:



=== TEST 4: a string of eight exabytes
--- http_config eval: $::HttpConfig
--- config eval: $::Config
--- tcp_listen: $TEST_NGINX_HTML_DIR/redis.sock
--- tcp_query_len: 43
--- tcp_reply eval
"\x249223372036854775807\r\n"
--- request
GET /t?a=PING
--- response_body_like eval
qr/^\{"up":0,"took":\d+,"calls":\[\{"status":"down","reply":null\}\]\}$/
--- error_log
string in reply is too large, redis "main" unix:



=== TEST 5: a string of more than fits
--- http_config eval: $::HttpConfig
--- config eval: $::Config
--- tcp_listen: $TEST_NGINX_HTML_DIR/redis.sock
--- tcp_query_len: 43
--- tcp_reply eval
"\x2418446744073709551615\r\n"
--- request
GET /t?a=PING
--- response_body_like eval
qr/^\{"up":0,"took":\d+,"calls":\[\{"status":"down","reply":null\}\]\}$/
--- error_log
number in reply is out of range, redis "main" unix:



=== TEST 6: a string of negative length
--- http_config eval: $::HttpConfig
--- config eval: $::Config
--- tcp_listen: $TEST_NGINX_HTML_DIR/redis.sock
--- tcp_query_len: 43
--- tcp_reply eval
"\x24-5\r\n"
--- request
GET /t?a=PING
--- response_body_like eval
qr/^\{"up":0,"took":\d+,"calls":\[\{"status":"down","reply":null\}\]\}$/
--- error_log
negative length in reply, redis "main" unix:



=== TEST 7: an array of a billion
--- http_config eval: $::HttpConfig
--- config eval: $::Config
--- tcp_listen: $TEST_NGINX_HTML_DIR/redis.sock
--- tcp_query_len: 43
--- tcp_reply eval
"*1000000000\r\n"
--- request
GET /t?a=PING
--- response_body_like eval
qr/^\{"up":0,"took":\d+,"calls":\[\{"status":"down","reply":null\}\]\}$/
--- error_log
too many elements in reply, redis "main" unix:



=== TEST 8: arrays in arrays
--- http_config eval: $::HttpConfig
--- config eval: $::Config
--- tcp_listen: $TEST_NGINX_HTML_DIR/redis.sock
--- tcp_query_len: 43
--- tcp_reply eval
"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n"
--- request
GET /t?a=PING
--- response_body_like eval
qr/^\{"up":0,"took":\d+,"calls":\[\{"status":"down","reply":null\}\]\}$/
--- error_log
reply is nested too deep, redis "main" unix:



=== TEST 9: a string that is longer than it says
--- http_config eval: $::HttpConfig
--- config eval: $::Config
--- tcp_listen: $TEST_NGINX_HTML_DIR/redis.sock
--- tcp_query_len: 43
--- tcp_reply eval
"\x242\r\nabc\r\n"
--- request
GET /t?a=PING
--- response_body_like eval
qr/^\{"up":0,"took":\d+,"calls":\[\{"status":"down","reply":null\}\]\}$/
--- error_log
string does not end with CR LF, redis "main" unix:



=== TEST 10: a number that is none
--- http_config eval: $::HttpConfig
--- config eval: $::Config
--- tcp_listen: $TEST_NGINX_HTML_DIR/redis.sock
--- tcp_query_len: 43
--- tcp_reply eval
":12a\r\n"
--- request
GET /t?a=PING
--- response_body_like eval
qr/^\{"up":0,"took":\d+,"calls":\[\{"status":"down","reply":null\}\]\}$/
--- error_log
invalid number in reply, redis "main" unix:



=== TEST 11: bytes that mean nothing
--- http_config eval: $::HttpConfig
--- config eval: $::Config
--- tcp_listen: $TEST_NGINX_HTML_DIR/redis.sock
--- tcp_query_len: 43
--- tcp_reply eval
"\0\0\0\0"
--- request
GET /t?a=PING
--- response_body_like eval
qr/^\{"up":0,"took":\d+,"calls":\[\{"status":"down","reply":null\}\]\}$/
--- error_log
unknown reply type, redis "main" unix:



=== TEST 12: one reply too many
--- http_config eval: $::HttpConfig
--- config eval: $::Config
--- tcp_listen: $TEST_NGINX_HTML_DIR/redis.sock
--- tcp_query_len: 43
--- tcp_reply eval
"+OK\r\n+OK\r\n"
--- request
GET /t?a=PING
--- response_body_like eval
qr/^\{"up":0,"took":\d+,"calls":\[\{"status":"down","reply":null\}\]\}$/
--- error_log
a reply to no command, redis "main" unix:



=== TEST 13: loading already
--- http_config eval: $::HttpConfig
--- config eval: $::Config
--- tcp_listen: $TEST_NGINX_HTML_DIR/redis.sock
--- tcp_query_len: 43
--- tcp_reply eval
"-LOADING Redis is loading the dataset in memory\r\n-LOADING\r\n"
--- request
GET /t?a=PING
--- response_body_like eval
qr/^\{"up":0,"took":\d+,"calls":\[\{"status":"down","reply":null\}\]\}$/
--- error_log
a reply to no command, redis "main" unix:



=== TEST 14: a password is wanted
--- http_config eval: $::HttpConfig
--- config eval: $::Config
--- tcp_listen: $TEST_NGINX_HTML_DIR/redis.sock
--- tcp_query_len: 43
--- tcp_reply eval
"-NOAUTH Authentication required.\r\n"
--- request
GET /t?a=PING
--- response_body_like eval
qr/^\{"up":0,"took":\d+,"calls":\[\{"status":"down","reply":null\}\]\}$/
--- error_log
a password is needed, see "password_file" (NOAUTH), redis "main" unix:



=== TEST 15: silence, then the end
--- http_config eval: $::HttpConfig
--- config eval: $::Config
--- tcp_listen: $TEST_NGINX_HTML_DIR/redis.sock
--- tcp_query_len: 43
--- tcp_reply eval
""
--- request
GET /t?a=PING
--- response_body_like eval
qr/^\{"up":0,"took":\d+,"calls":\[\{"status":"down","reply":null\}\]\}$/
--- error_log
it closed the connection, redis "main" unix:



=== TEST 16: the name of the connection is refused, which is no failure
--- http_config eval: $::HttpConfig
--- config eval: $::Config
--- tcp_listen: $TEST_NGINX_HTML_DIR/redis.sock
--- tcp_query_len: 43
--- tcp_reply eval
"-NOPERM this user has no permissions\r\n"
--- request
GET /t?a=PING
--- response_body_like eval
qr/"status":"(?:lost|down)"/
--- no_error_log
(NOPERM)
[alert]
