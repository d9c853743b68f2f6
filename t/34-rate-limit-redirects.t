# Internal redirects run the phases again and lose module contexts.  A zone
# still counts a request once, and an error page tells what the limit said.

use Test::Nginx::Socket 'no_plan';

no_shuffle();
run_tests();

__DATA__

=== TEST 1: an error page of its own
--- http_config
rate_limit_zone $server_name zone=a:1m rate=1r/h;
--- config
error_page 429 /slow.html;
rate_limit zone=a;
location = /t {
    empty_gif;
}
location = /slow.html {
    root html;
}
--- user_files
>>> slow.html
slow down
--- request eval
["GET /t", "GET /t", "GET /t"]
--- error_code eval
[200, 429, 429]
--- response_headers_like eval
["RateLimit: \"a\";r=0;t=3600",
 "RateLimit: \"a\";r=0;t=(3600|35\\d\\d)\r\nRateLimit-Policy: \"a\";q=1;w=3600\r\nRetry-After: (3600|35\\d\\d)\r\nContent-Type: text/html",
 "Retry-After: (3600|35\\d\\d)"]
--- response_body_like eval
["GIF89", "^slow down", "^slow down"]



=== TEST 2: a named location, proxied
--- http_config
rate_limit_zone $server_name zone=a:1m rate=1r/h;
--- config
location = /t {
    rate_limit zone=a;
    error_page 429 @slow;
    empty_gif;
}
location @slow {
    proxy_pass http://127.0.0.1:$server_port;
    rewrite ^ /origin break;
    add_header X-Told "$rate_limit_status $rate_limit_zone" always;
}
location = /origin {
    add_header Retry-After 5 always;
    return 200 "from origin\n";
}
--- request eval
["GET /t", "GET /t"]
--- error_code eval
[200, 429]
--- response_headers_like eval
["",
 "RateLimit: \"a\";r=0;t=(3600|35\\d\\d)\r\nRetry-After: (3600|35\\d\\d)\r\nX-Told: REJECTED a"]
--- response_body_like eval
["GIF89", "^from origin"]



=== TEST 3: try_files and index count once
--- http_config
rate_limit_zone $server_name zone=a:1m rate=1r/h burst=9;
--- config
rate_limit zone=a;
location /p/ {
    root html;
    try_files $uri/ /none /fallback;
}
location /fallback {
    rate_limit zone=a;
    empty_gif;
}
location /d/ {
    root html;
    index page.html;
}
--- user_files
>>> d/page.html
page
--- request eval
["GET /p/x", "GET /d/", "GET /p/x"]
--- response_headers_like eval
["RateLimit: \"a\";r=8;t=3600",
 "RateLimit: \"a\";r=7;t=(7200|71\\d\\d)",
 "RateLimit: \"a\";r=6;t=(10800|107\\d\\d)"]



=== TEST 4: another zone on the way is met as well
--- http_config
rate_limit_zone $server_name zone=a:1m rate=1r/h burst=9;
rate_limit_zone $server_name zone=b:1m rate=1r/h burst=2;
--- config
location = /t {
    rate_limit zone=a;
    try_files /none @b;
}
location @b {
    rate_limit zone=a;
    rate_limit zone=b;
    empty_gif;
}
--- request eval
["GET /t", "GET /t", "GET /t"]
--- error_code eval
[200, 200, 429]
--- response_headers_like eval
["RateLimit: \"a\";r=8;t=3600, \"b\";r=1;t=3600",
 "RateLimit: \"a\";r=7;t=(7200|71\\d\\d), \"b\";r=0;t=(3600|35\\d\\d)",
 "RateLimit: \"b\";r=0;t=(3600|35\\d\\d)\r\nRetry-After: (3600|35\\d\\d)"]



=== TEST 5: before_auth counts once over a redirect
--- http_config
rate_limit_zone $server_name zone=a:1m rate=1r/h burst=9;
--- config
location = /t {
    rate_limit zone=a before_auth;
    rewrite ^ /u last;
}
location = /u {
    rate_limit zone=a before_auth;
    try_files /none @v;
}
location @v {
    rate_limit zone=a;
    empty_gif;
}
--- request
GET /t
--- response_headers
RateLimit: "a";r=8;t=3600



=== TEST 6: the page of another error is counted once, too
--- http_config
rate_limit_zone $server_name zone=a:1m rate=1r/h burst=3;
--- config
rate_limit zone=a;
error_page 404 /none.html;
location /p/ {
    root html;
}
location = /none.html {
    root html;
}
--- user_files
>>> none.html
nothing here
--- request eval
["GET /p/x", "GET /p/x", "GET /p/x", "GET /p/x"]
--- error_code eval
[404, 404, 404, 429]
--- response_headers_like eval
["RateLimit: \"a\";r=2;t=3600",
 "RateLimit: \"a\";r=1;t=(7200|71\\d\\d)",
 "RateLimit: \"a\";r=0;t=(3600|35\\d\\d)",
 "Retry-After: (3600|35\\d\\d)"]



=== TEST 7: rate_limit_headers of the location that limited counts
--- http_config
rate_limit_zone $server_name zone=a:1m rate=1r/h;
--- config
location = /t {
    rate_limit zone=a;
    rate_limit_headers off;
    error_page 429 /slow.html;
    empty_gif;
}
location = /slow.html {
    root html;
}
--- user_files
>>> slow.html
slow down
--- request eval
["GET /t", "GET /t"]
--- error_code eval
[200, 429]
--- response_headers_like eval
["",
 "Retry-After: (3600|35\\d\\d)"]
--- raw_response_headers_unlike eval
["\\nRateLimit:",
 "\\nRateLimit:"]



=== TEST 8: an invalid rate does not stop its own error page
--- http_config
rate_limit_zone $server_name zone=a:1m rate=$arg_rate;
--- config
rate_limit zone=a;
error_page 500 /oops.html;
location = /t {
    empty_gif;
}
location = /oops.html {
    root html;
}
--- user_files
>>> oops.html
oops
--- request
GET /t
--- error_code: 500
--- response_body
oops
