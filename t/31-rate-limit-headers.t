# RateLimit-Policy and RateLimit are exact structured fields on every answer
# to a limited request, and Retry-After never lies before "t".

use Test::Nginx::Socket 'no_plan';

no_shuffle();
run_tests();

__DATA__

=== TEST 1: the draft's own example
--- http_config
rate_limit_zone $server_name zone=name:1m rate=100r/m burst=100;
--- config
location = /t {
    rate_limit zone=name cost=$arg_c;
    empty_gif;
}
--- request eval
["GET /t?c=50", "GET /t?c=0"]
--- response_headers eval
["RateLimit-Policy: \"name\";q=100;w=60\r\nRateLimit: \"name\";r=50;t=30",
 "RateLimit-Policy: \"name\";q=100;w=60"]



=== TEST 2: one field of each, spelled as in the draft
--- http_config
rate_limit_zone $server_name zone=name:1m rate=100r/m;
--- config
location = /t {
    rate_limit zone=name;
    empty_gif;
}
--- request
GET /t
--- raw_response_headers_like eval
qr/\r\nRateLimit-Policy: "name";q=100;w=60\r\nRateLimit: "name";r=0;t=1\r\n/



=== TEST 3: the refusal: Retry-After and t name the same moment
--- http_config
rate_limit_zone $server_name zone=name:1m rate=2r/h burst=2;
--- config
location = /t {
    rate_limit zone=name;
    empty_gif;
}
--- request eval
["GET /t", "GET /t", "GET /t"]
--- error_code eval
[200, 200, 429]
--- response_headers_like eval
["RateLimit: \"name\";r=1;t=1800",
 "RateLimit: \"name\";r=0;t=(1800|17\\d\\d)",
 "RateLimit: \"name\";r=0;t=(1800|17\\d\\d)\r\nRateLimit-Policy: \"name\";q=2;w=3600\r\nRetry-After: (1800|17\\d\\d)"]
--- raw_response_headers_unlike eval
["\\nRetry-After:",
 "\\nRetry-After:",
 "(?!)"]



=== TEST 4: off, and Retry-After stays
--- http_config
rate_limit_zone $server_name zone=name:1m rate=1r/h;
--- config
rate_limit_headers off;
location = /t {
    rate_limit zone=name;
    empty_gif;
}
--- request eval
["GET /t", "GET /t"]
--- error_code eval
[200, 429]
--- response_headers_like eval
["",
 "Retry-After: (3600|35\\d\\d)"]
--- raw_response_headers_unlike eval
["\\nRateLimit:|\\nRateLimit-Policy:",
 "\\nRateLimit:|\\nRateLimit-Policy:"]



=== TEST 5: on errors of others, too
--- http_config
rate_limit_zone $server_name zone=name:1m rate=1r/h burst=5;
--- config
location /t {
    rate_limit zone=name;
    root html;
}
location = /t/bad {
    rate_limit zone=name;
    proxy_pass http://127.0.0.1:1/;
}
--- request eval
["GET /t/none", "GET /t/bad"]
--- error_code eval
[404, 502]
--- response_headers_like eval
["RateLimit: \"name\";r=4;t=3600",
 "RateLimit: \"name\";r=3;t=(7200|71\\d\\d)"]



=== TEST 6: an upstream's own fields are replaced
--- http_config
rate_limit_zone $server_name zone=name:1m rate=1r/h burst=5;
--- config
location = /t {
    rate_limit zone=name;
    proxy_pass http://127.0.0.1:$server_port/origin;
}
location = /u {
    proxy_pass http://127.0.0.1:$server_port/origin;
}
location = /v {
    rate_limit zone=name;
    rate_limit_headers off;
    proxy_pass http://127.0.0.1:$server_port/origin;
}
location = /origin {
    add_header ratelimit '"erp";r=1;t=2';
    add_header RateLimit-Policy '"erp";q=5;w=300';
    add_header X-RateLimit-Limit 7;
    return 200 ok;
}
--- request eval
["GET /t", "GET /u", "GET /v"]
--- response_headers eval
["RateLimit: \"name\";r=4;t=3600\r\nRateLimit-Policy: \"name\";q=5;w=18000\r\nX-RateLimit-Limit: 7",
 "RateLimit: \"erp\";r=1;t=2\r\nRateLimit-Policy: \"erp\";q=5;w=300",
 "RateLimit: \"erp\";r=1;t=2\r\nRateLimit-Policy: \"erp\";q=5;w=300"]



=== TEST 7: on 304 and 206
--- http_config
rate_limit_zone $server_name zone=name:1m rate=1r/h burst=5;
--- config
location = /f.txt {
    rate_limit zone=name;
    if_modified_since before;
    root html;
}
--- user_files
>>> f.txt
0123456789
--- request eval
["GET /f.txt", "GET /f.txt"]
--- more_headers eval
["Range: bytes=0-3", "If-Modified-Since: Fri, 31 Dec 2100 00:00:00 GMT"]
--- error_code eval
[206, 304]
--- response_headers_like eval
["RateLimit: \"name\";r=4;t=3600",
 "RateLimit: \"name\";r=3;t=(7200|71\\d\\d)"]



=== TEST 8: large quotas and windows
--- http_config
rate_limit_zone $server_name zone=a:1m rate=1000000r/s burst=1000000;
rate_limit_zone $server_name zone=b:1m rate=1r/d burst=90;
--- config
location = /t {
    rate_limit zone=a;
    rate_limit zone=b;
    empty_gif;
}
--- request
GET /t
--- response_headers
RateLimit-Policy: "a";q=1000000;w=1, "b";q=90;w=7776000
RateLimit: "a";r=999999;t=1, "b";r=89;t=86400



=== TEST 9: an error page that is a redirect carries no Retry-After
--- http_config
rate_limit_zone $server_name zone=name:1m rate=1r/h;
--- config
location = /t {
    rate_limit zone=name;
    error_page 429 =302 http://example.com/slow;
    empty_gif;
}
--- request eval
["GET /t", "GET /t"]
--- error_code eval
[200, 302]
--- response_headers_like eval
["",
 "RateLimit: \"name\";r=0;t=(3600|35\\d\\d)"]
--- raw_response_headers_unlike eval
["\\nRetry-After:",
 "\\nRetry-After:"]
