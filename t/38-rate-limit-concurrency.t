# rate_limit_concurrency without Redis.  A location asks another one of the
# same server, so that two requests are under way for certain.

use Test::Nginx::Socket 'no_plan';

no_shuffle();
repeat_each(2);

add_block_preprocessor(sub {
    my $block = shift;

    return if $block->config;

    $block->set_value('config', <<'_EOC_');
location = /outer {
    rate_limit_concurrency zone=running;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/inner?k=$arg_inner;
}

location = /inner {
    add_header X-Inner "$rate_limit_status $rate_limit_zone" always;
    rate_limit_concurrency zone=running;
    empty_gif;
}

location = /tried {
    rate_limit_concurrency zone=running;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/dry?k=$arg_inner;
}

location = /dry {
    add_header X-Inner "$rate_limit_status $rate_limit_zone" always;
    rate_limit_concurrency zone=running dry_run;
    empty_gif;
}
_EOC_
});

run_tests();

__DATA__

=== TEST 1: one after the other
--- http_config
rate_limit_concurrency_zone $arg_k zone=running:1m limit=1;
--- request eval
[("GET /inner?k=a") x 3]
--- error_code eval
[200, 200, 200]
--- response_headers eval
[("X-Inner: PASSED running\r\nRateLimit-Policy: \"running\";q=1;qu=\"concurrent-requests\"\r\nRateLimit: \"running\";r=0") x 3]



=== TEST 2: a second one at the same time is refused, and the slot comes back
--- http_config
rate_limit_concurrency_zone $arg_k zone=running:1m limit=1;
--- request eval
["GET /outer?k=a&inner=a", "GET /inner?k=a", "GET /outer?k=a&inner=a"]
--- error_code eval
[429, 200, 429]
--- response_headers eval
[("X-Inner: REJECTED running\r\nContent-Type: application/problem+json\r\nRetry-After: 1",
  "X-Inner: PASSED running",
  "X-Inner: REJECTED running\r\nRateLimit-Policy: \"running\";q=1;qu=\"concurrent-requests\"")]
--- response_body_like eval
['"type":"https://iana.org/assignments/http-problem-types#quota-exceeded".*"status":429.*"violated-policies":\["running"\]',
 'GIF', 'violated-policies']



=== TEST 3: as many as the limit
--- http_config
rate_limit_concurrency_zone $arg_k zone=running:1m limit=2;
--- request eval
["GET /outer?k=a&inner=a", "GET /outer?k=a&inner=a"]
--- error_code eval
[200, 200]
--- response_headers eval
[("X-Inner: PASSED running\r\nRateLimit: \"running\";r=1") x 2]



=== TEST 4: keys do not get in each other's way
--- http_config
rate_limit_concurrency_zone $arg_k zone=running:1m limit=1;
--- request eval
["GET /outer?k=a&inner=b", "GET /outer?k=a&inner=", "GET /outer?inner=a"]
--- error_code eval
[200, 200, 200]
--- response_headers eval
["X-Inner: PASSED running", "X-Inner: ", "X-Inner: PASSED running"]



=== TEST 5: a dry run refuses nobody
--- http_config
rate_limit_concurrency_zone $arg_k zone=running:1m limit=1;
--- request eval
["GET /tried?k=a&inner=a", "GET /dry?k=a"]
--- error_code eval
[200, 200]
--- response_headers eval
["X-Inner: REJECTED_DRY_RUN running",
 "X-Inner: PASSED running\r\n!RateLimit-Policy"]



=== TEST 6: the limit of a variable
--- http_config
map $arg_plan $running {
    volatile;
    gold     2;
    wrong    many;
    default  1;
}
rate_limit_concurrency_zone $arg_k zone=running:1m limit=$running;
--- config
location = /outer {
    rate_limit_concurrency zone=running;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/inner?k=$arg_k&plan=$arg_plan;
}

location = /inner {
    rate_limit_concurrency zone=running;
    empty_gif;
}
--- request eval
["GET /outer?k=a", "GET /outer?k=a&plan=gold", "GET /outer?k=a&plan=wrong"]
--- error_code eval
[429, 200, 500]



=== TEST 7: another status
--- http_config
rate_limit_concurrency_zone $arg_k zone=running:1m limit=1;
--- config
rate_limit_status 503;

location = /outer {
    rate_limit_concurrency zone=running;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/inner?k=$arg_k;
}

location = /inner {
    rate_limit_concurrency zone=running;
    empty_gif;
}
--- request
GET /outer?k=a
--- error_code: 503
--- response_headers
Retry-After: 1



=== TEST 8: a limit that is no number is said in the log
--- http_config
rate_limit_concurrency_zone $arg_k zone=running:1m limit=$arg_limit;
--- config
location = /t {
    rate_limit_concurrency zone=running;
    empty_gif;
}
--- request
GET /t?k=a&limit=many
--- error_code: 500
--- error_log
"many"



=== TEST 9: two zones: who is refused by one holds no slot of the other
--- http_config
rate_limit_concurrency_zone $arg_k zone=narrow:1m limit=1;
rate_limit_concurrency_zone $server_port zone=wide:1m limit=2;
--- config
location = /outer {
    rate_limit_concurrency zone=wide;
    rate_limit_concurrency zone=narrow;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/inner?k=$arg_inner;
}

location = /inner {
    rate_limit_concurrency zone=wide;
    rate_limit_concurrency zone=narrow;
    empty_gif;
}
--- request eval
["GET /outer?k=a&inner=a", "GET /outer?k=a&inner=b", "GET /outer?k=a&inner=a"]
--- error_code eval
[429, 200, 429]
--- response_body_like eval
['"violated-policies":\["narrow"\]', 'GIF', '"violated-policies":\["narrow"\]']



=== TEST 10: a zone that is not there
--- config
location = /t {
    rate_limit_concurrency zone=none;
}
--- must_die
--- error_log
"none"



=== TEST 11: a zone without a limit
--- http_config
rate_limit_concurrency_zone $arg_k zone=running:1m;
--- config
--- must_die
--- error_log
must have



=== TEST 12: something else
--- http_config
rate_limit_concurrency_zone $arg_k zone=running:1m limit=1;
--- config
location = /t {
    rate_limit_concurrency zone=running before_auth;
}
--- must_die
--- error_log
invalid or repeated parameter "before_auth", use zone=NAME and dry_run
