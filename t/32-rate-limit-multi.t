# Several limits on one request: all must let it pass, and a refusal by one
# costs the others nothing.

use Test::Nginx::Socket 'no_plan';

no_shuffle();
run_tests();

__DATA__

=== TEST 1: both are members of the fields
--- http_config
rate_limit_zone $arg_k zone=client:1m rate=1r/h burst=5;
rate_limit_zone $server_name zone=all:1m rate=100r/h burst=7;
--- config
location = /t {
    rate_limit zone=client;
    rate_limit zone=all;
    empty_gif;
}
--- request
GET /t?k=a
--- response_headers
RateLimit-Policy: "client";q=5;w=18000, "all";q=100;w=3600
RateLimit: "client";r=4;t=3600, "all";r=6;t=36



=== TEST 2: a refusal by the second leaves the first alone, and vice versa
--- http_config
rate_limit_zone $arg_k zone=client:1m rate=1r/h burst=3;
rate_limit_zone $arg_z zone=other:1m rate=1r/h burst=2;
--- config
location = /t {
    rate_limit zone=client;
    rate_limit zone=other;
    add_header X-Told "$rate_limit_status $rate_limit_zone" always;
    empty_gif;
}
--- request eval
["GET /t?k=a&z=z", "GET /t?k=a&z=z", "GET /t?k=a&z=z", "GET /t?k=a&z=z",
 "GET /t?k=a", "GET /t?k=a", "GET /t?k=a&z=y", "GET /t?z=y", "GET /t?z=y",
 "GET /t?k=b&z=y"]
--- error_code eval
[200, 200, 429, 429, 200, 429, 429, 200, 200, 429]
--- response_headers eval
["X-Told: PASSED other", "X-Told: PASSED other", "X-Told: REJECTED other",
 "X-Told: REJECTED other", "X-Told: PASSED client",
 "X-Told: REJECTED client", "X-Told: REJECTED client",
 "X-Told: PASSED other", "X-Told: PASSED other", "X-Told: REJECTED other"]



=== TEST 3: only those that refused are told on a refusal; all policies are
--- http_config
rate_limit_zone $arg_k zone=client:1m rate=1r/h burst=3;
rate_limit_zone $arg_z zone=other:1m rate=1r/d;
--- config
location = /t {
    rate_limit zone=client;
    rate_limit zone=other;
    empty_gif;
}
--- request eval
["GET /t?k=a&z=z", "GET /t?k=a&z=z"]
--- error_code eval
[200, 429]
--- response_headers_like eval
["RateLimit: \"client\";r=2;t=3600, \"other\";r=0;t=86400",
 "RateLimit: \"other\";r=0;t=(86400|863\\d\\d)\r\nRateLimit-Policy: \"client\";q=3;w=10800, \"other\";q=1;w=86400\r\nRetry-After: (86400|863\\d\\d)"]
--- response_body_like eval
["GIF89", '"violated-policies":\["other"\]\}']



=== TEST 4: both refuse: both are named, and the later one is Retry-After
--- http_config
rate_limit_zone $arg_k zone=hour:1m rate=1r/h;
rate_limit_zone $arg_k zone=day:1m rate=1r/d;
--- config
location = /t {
    rate_limit zone=hour;
    rate_limit zone=day;
    empty_gif;
}
--- request eval
["GET /t?k=a", "GET /t?k=a"]
--- error_code eval
[200, 429]
--- response_headers_like eval
["",
 "RateLimit: \"hour\";r=0;t=(3600|35\\d\\d), \"day\";r=0;t=(86400|863\\d\\d)\r\nRetry-After: (86400|863\\d\\d)"]
--- response_body_like eval
["GIF89", '"violated-policies":\["hour","day"\]\}']



=== TEST 5: a dry run beside an enforced limit
--- http_config
rate_limit_zone $server_name zone=real:1m rate=1r/h burst=3;
rate_limit_zone $server_name zone=trial:1m rate=1r/h burst=2;
--- config
location = /t {
    rate_limit zone=trial dry_run;
    rate_limit zone=real;
    add_header X-Told "$rate_limit_status $rate_limit_zone" always;
    empty_gif;
}
--- request eval
["GET /t", "GET /t", "GET /t", "GET /t"]
--- error_code eval
[200, 200, 200, 429]
--- response_headers_like eval
["X-Told: PASSED trial\r\nRateLimit: \"real\";r=2;t=3600",
 "X-Told: PASSED trial\r\nRateLimit: \"real\";r=1;t=(7200|71\\d\\d)",
 "X-Told: REJECTED_DRY_RUN trial\r\nRateLimit: \"real\";r=0;t=(3600|35\\d\\d)",
 "X-Told: REJECTED real\r\nRateLimit: \"real\";r=0;t=(3600|35\\d\\d)"]
--- response_body_unlike eval
["trial", "trial", "trial", "trial"]



=== TEST 6: a request that a real limit refuses is not counted by a dry run
--- http_config
rate_limit_zone $arg_k zone=real:1m rate=1r/h;
rate_limit_zone $server_name zone=trial:1m rate=1r/h burst=3;
--- config
location = /t {
    rate_limit zone=trial dry_run;
    rate_limit zone=real;
    add_header X-Told "$rate_limit_status $rate_limit_zone" always;
    empty_gif;
}
--- request eval
["GET /t?k=a", "GET /t?k=a", "GET /t?k=a", "GET /t?k=b", "GET /t?k=c",
 "GET /t?k=d"]
--- error_code eval
[200, 429, 429, 200, 200, 200]
--- response_headers eval
["X-Told: PASSED real", "X-Told: REJECTED real", "X-Told: REJECTED real",
 "X-Told: PASSED real", "X-Told: PASSED trial",
 "X-Told: REJECTED_DRY_RUN trial"]
