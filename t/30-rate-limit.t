# A rate limit admits its burst at once, then what the rate gives back, and
# refuses with a problem document that says when to come again.  Slow rates,
# so that counts are exact on any machine.

use Test::Nginx::Socket 'no_plan';

no_shuffle();
run_tests();

__DATA__

=== TEST 1: burst at once, then 429
--- http_config
rate_limit_zone $arg_k zone=client:1m rate=1r/h burst=3;
--- config
location = /t {
    rate_limit zone=client;
    empty_gif;
}
--- request eval
["GET /t?k=a", "GET /t?k=a", "GET /t?k=a", "GET /t?k=a", "GET /t?k=b",
 "GET /t?k=a"]
--- error_code eval
[200, 200, 200, 429, 200, 429]



=== TEST 2: the refusal is the problem document of the draft
--- http_config
rate_limit_zone $server_name zone=client:1m rate=1r/h;
--- config
location = /t {
    rate_limit zone=client;
    empty_gif;
}
--- request eval
["GET /t", "GET /t"]
--- error_code eval
[200, 429]
--- response_headers eval
["Content-Type: image/gif", "Content-Type: application/problem+json"]
--- response_body_like eval
["GIF89", '^\{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded",.*"status":429.*"violated-policies":\["client"\]\}$']
--- no_error_log
[error]



=== TEST 3: a default burst of one
--- http_config
rate_limit_zone $arg_k zone=client:1m rate=1000r/d;
--- config
location = /t {
    rate_limit zone=client;
    empty_gif;
}
--- request eval
["GET /t?k=1", "GET /t?k=1"]
--- error_code eval
[200, 429]



=== TEST 4: an empty key is not limited
--- http_config
rate_limit_zone $arg_k zone=client:1m rate=1r/h;
--- config
location = /t {
    rate_limit zone=client;
    add_header X-Status "[$rate_limit_status]" always;
    empty_gif;
}
--- request eval
["GET /t", "GET /t", "GET /t?k="]
--- error_code eval
[200, 200, 200]
--- response_headers eval
["X-Status: []\r\n!RateLimit", "X-Status: []\r\n!RateLimit-Policy", "X-Status: []"]



=== TEST 5: keys of any length and content
--- http_config
rate_limit_zone $arg_k zone=client:1m rate=1r/h;
--- config
location = /t {
    rate_limit zone=client;
    empty_gif;
}
--- request eval
["GET /t?k=" . ("x" x 5000), "GET /t?k=" . ("x" x 4999) . "y",
 "GET /t?k=" . ("x" x 5000), "GET /t?k=%00", "GET /t?k=%00"]
--- error_code eval
[200, 200, 429, 200, 429]



=== TEST 6: the rate gives units back
--- http_config
rate_limit_zone $server_name zone=client:1m rate=1000000r/s burst=1;
--- config
location = /t {
    rate_limit zone=client;
    empty_gif;
}
--- request eval
[("GET /t") x 20]
--- error_code eval
[(200) x 20]



=== TEST 7: costs from a variable
--- http_config
rate_limit_zone $server_name zone=client:1m rate=1r/h burst=10;
--- config
location = /t {
    rate_limit zone=client cost=$arg_c;
    empty_gif;
}
--- request eval
["GET /t?c=7", "GET /t?c=4", "GET /t?c=3", "GET /t?c=0", "GET /t"]
--- error_code eval
[200, 429, 200, 200, 429]
--- response_headers_like eval
["RateLimit: \"client\";r=3;t=25200",
 "RateLimit: \"client\";r=3;t=(3600|35\\d\\d)",
 "RateLimit: \"client\";r=0;t=(3600|35\\d\\d)",
 "RateLimit: \"client\";r=0;t=(3600|35\\d\\d)",
 "RateLimit: \"client\";r=0;t=(3600|35\\d\\d)"]



=== TEST 8: a cost above the burst is never admitted, and no time is promised
--- http_config
rate_limit_zone $server_name zone=client:1m rate=1r/h burst=10;
--- config
location = /t {
    rate_limit zone=client cost=$arg_c;
    empty_gif;
}
--- request eval
["GET /t?c=11", "GET /t?c=9223372036854775807", "GET /t?c=10"]
--- error_code eval
[429, 429, 200]
--- response_headers_like eval
["RateLimit: \"client\";r=10",
 "",
 "RateLimit: \"client\";r=0;t=(3600|35\\d\\d)"]
--- raw_response_headers_unlike eval
["\\nRetry-After:",
 "\\nRetry-After:",
 "(?!)"]



=== TEST 9: a cost that is no number counts as one, and is logged
--- http_config
rate_limit_zone $server_name zone=client:1m rate=1r/h burst=3;
--- config
location = /t {
    rate_limit zone=client cost=$arg_c;
    empty_gif;
}
--- request eval
["GET /t?c=-5", "GET /t?c=1e9", "GET /t?c=0x10", "GET /t"]
--- error_code eval
[200, 200, 200, 429]



=== TEST 10: rates by plan
--- http_config
map $arg_plan $plan_rate {
    default  1r/h;
    gold     100r/s;
}
rate_limit_zone $arg_k zone=client:1m rate=$plan_rate burst=2;
--- config
location = /t {
    rate_limit zone=client;
    empty_gif;
}
--- request eval
["GET /t?k=a", "GET /t?k=b&plan=gold", "GET /t?k=a", "GET /t?k=a"]
--- error_code eval
[200, 200, 200, 429]
--- response_headers_like eval
["RateLimit-Policy: \"client\";q=2;w=7200",
 "RateLimit-Policy: \"client\";q=100;w=1",
 "RateLimit: \"client\";r=0;t=(3600|35\\d\\d)",
 "RateLimit: \"client\";r=0;t=(3600|35\\d\\d)"]



=== TEST 11: a rate that makes no sense fails the request
--- http_config
rate_limit_zone $server_name zone=client:1m rate=$arg_rate burst=100;
--- config
location = /t {
    rate_limit zone=client;
    empty_gif;
}
--- request eval
["GET /t?rate=abc", "GET /t", "GET /t?rate=1r/d", "GET /t?rate=10r/s"]
--- error_code eval
[500, 500, 500, 200]



=== TEST 12: a key that moves to a faster plan waits for the new plan only
--- http_config
rate_limit_zone $arg_k zone=client:1m rate=$arg_rate burst=2;
--- config
location = /t {
    rate_limit zone=client;
    empty_gif;
}
--- request eval
["GET /t?k=a&rate=1r/h", "GET /t?k=a&rate=1r/h", "GET /t?k=a&rate=1r/h",
 "GET /t?k=a&rate=1r/s"]
--- error_code eval
[200, 200, 429, 429]
--- response_headers_like eval
["RateLimit: \"client\";r=1;t=3600",
 "RateLimit: \"client\";r=0;t=(3600|35\\d\\d)",
 "Retry-After: (3600|35\\d\\d)",
 "Retry-After: 1"]



=== TEST 13: dry run refuses nobody, tells nobody, and says so in a variable
--- http_config
rate_limit_zone $server_name zone=client:1m rate=1r/h;
--- config
location = /t {
    rate_limit zone=client dry_run;
    add_header X-Status "$rate_limit_status $rate_limit_zone";
    empty_gif;
}
--- request eval
["GET /t", "GET /t"]
--- error_code eval
[200, 200]
--- response_headers eval
["X-Status: PASSED client\r\n!RateLimit\r\n!RateLimit-Policy",
 "X-Status: REJECTED_DRY_RUN client\r\n!RateLimit\r\n!Retry-After"]



=== TEST 14: the status of a refusal
--- http_config
rate_limit_zone $server_name zone=client:1m rate=1r/h;
--- config
rate_limit_status 503;
location = /t {
    rate_limit zone=client;
    add_header X-Status "$rate_limit_status $rate_limit_zone" always;
    empty_gif;
}
--- request eval
["GET /t", "GET /t"]
--- error_code eval
[200, 503]
--- response_headers_like eval
["X-Status: PASSED client",
 "Retry-After: (3600|35\\d\\d)\r\nX-Status: REJECTED client"]



=== TEST 15: inherited from http and server, replaced in a location
--- http_config
rate_limit_zone $server_name zone=a:1m rate=1r/h burst=9;
rate_limit_zone $server_name zone=b:1m rate=1r/h burst=8;
rate_limit zone=a;
--- config
location = /t {
    empty_gif;
}
location = /u {
    rate_limit zone=b;
    empty_gif;
}
--- request eval
["GET /t", "GET /u"]
--- error_code eval
[200, 200]
--- response_headers eval
["RateLimit-Policy: \"a\";q=9;w=32400", "RateLimit-Policy: \"b\";q=8;w=28800"]



=== TEST 16: limits run before the content, also for a request with a body
--- http_config
rate_limit_zone $server_name zone=client:1m rate=1r/h;
--- config
location = /t {
    rate_limit zone=client;
    proxy_pass http://127.0.0.1:$server_port/origin;
}
location = /origin {
    access_log logs/origin.log;
    return 200 "made\n";
}
--- request eval
["POST /t\nabc", "POST /t\nabc", "GET /t"]
--- error_code eval
[200, 429, 429]



=== TEST 17: a HEAD request is counted and refused without a body
--- http_config
rate_limit_zone $server_name zone=client:1m rate=1r/h;
--- config
location = /t {
    rate_limit zone=client;
    empty_gif;
}
--- request eval
["HEAD /t", "HEAD /t"]
--- error_code eval
[200, 429]
--- response_headers_like eval
["RateLimit: \"client\";r=0;t=3600",
 "Retry-After: (3600|35\\d\\d)"]
--- response_body eval
["", ""]



=== TEST 18: a subrequest is not counted
--- http_config
rate_limit_zone $server_name zone=client:1m rate=1r/h burst=3;
--- config
rate_limit zone=client;
location = /t {
    add_before_body /part;
    add_after_body /part;
    default_type text/html;
    alias html/index.html;
}
location = /part {
    default_type text/html;
    return 200 "part\n";
}
--- user_files
>>> index.html
page
--- request
GET /t
--- response_headers
RateLimit: "client";r=2;t=3600



=== TEST 19: pipelined requests count each
--- http_config
rate_limit_zone $server_name zone=client:1m rate=1r/h burst=2;
--- config
location = /t {
    rate_limit zone=client;
    empty_gif;
}
--- pipelined_requests eval
["GET /t", "GET /t", "GET /t"]
--- error_code eval
[200, 200, 429]



=== TEST 20: what is wrong with a cost or a rate is logged
--- http_config
rate_limit_zone $server_name zone=client:1m rate=$arg_rate;
rate_limit_zone $server_name zone=other:1m rate=1r/h;
--- config
location = /t {
    rate_limit zone=other cost=$arg_c;
    rate_limit zone=client;
    empty_gif;
}
--- request
GET /t?rate=abc&c=1e9
--- error_code: 500
--- error_log
rate_limit zone "other": invalid cost "1e9", counted as 1
rate_limit_zone "client": invalid rate "abc"



=== TEST 21: a cost beyond all numbers is more than any burst, not the cheapest
--- http_config
rate_limit_zone $server_name zone=huge:1m rate=1r/h burst=5;
--- config
location = /t {
    rate_limit zone=huge cost=$arg_c;
    empty_gif;
}
--- request eval
["GET /t?c=99999999999999999999", "GET /t?c=9223372036854775807", "GET /t?c=5"]
--- error_code eval
[429, 429, 200]
