# Limits marked before_auth run in front of access control, others behind it:
# a request that access control turns away costs only the former.

use Test::Nginx::Socket 'no_plan';

no_shuffle();
run_tests();

__DATA__

=== TEST 1: before access control and after it
--- http_config
rate_limit_zone $server_name zone=address:1m rate=1r/h burst=3;
rate_limit_zone $server_name zone=client:1m rate=1r/h burst=2;
--- config
location = /t {
    rate_limit zone=address before_auth;
    rate_limit zone=client;
    deny all;
    empty_gif;
}
location = /u {
    rate_limit zone=client;
    empty_gif;
}
--- request eval
["GET /t", "GET /t", "GET /t", "GET /t", "GET /u", "GET /u", "GET /u"]
--- error_code eval
[403, 403, 403, 429, 200, 200, 429]
--- response_headers_like eval
["RateLimit-Policy: \"address\";q=3;w=10800\r\nRateLimit: \"address\";r=2;t=3600",
 "RateLimit: \"address\";r=1;t=(7200|71\\d\\d)",
 "RateLimit: \"address\";r=0;t=(3600|35\\d\\d)",
 "RateLimit: \"address\";r=0;t=(3600|35\\d\\d)\r\nRetry-After: (3600|35\\d\\d)",
 "RateLimit: \"client\";r=1;t=(3600|35\\d\\d)",
 "RateLimit: \"client\";r=0;t=(3600|35\\d\\d)",
 "Retry-After: (3600|35\\d\\d)"]



=== TEST 2: both are told when both pass
--- http_config
rate_limit_zone $server_name zone=address:1m rate=1r/h burst=3;
rate_limit_zone $server_name zone=client:1m rate=1r/h burst=2;
--- config
location = /t {
    rate_limit zone=address before_auth;
    rate_limit zone=client;
    empty_gif;
}
--- request eval
["GET /t", "GET /t", "GET /t", "GET /t"]
--- error_code eval
[200, 200, 429, 429]
--- response_headers_like eval
["RateLimit: \"address\";r=2;t=3600, \"client\";r=1;t=3600",
 "RateLimit: \"address\";r=1;t=(7200|71\\d\\d), \"client\";r=0;t=(3600|35\\d\\d)",
 "RateLimit: \"client\";r=0;t=(3600|35\\d\\d)",
 "RateLimit: \"address\";r=0;t=(3600|35\\d\\d)"]



=== TEST 3: satisfy any does not get around a limit
--- http_config
rate_limit_zone $server_name zone=address:1m rate=1r/h;
--- config
location = /t {
    satisfy any;
    allow all;
    auth_basic closed;
    auth_basic_user_file none;
    rate_limit zone=address before_auth;
    empty_gif;
}
--- request eval
["GET /t", "GET /t"]
--- error_code eval
[200, 429]



=== TEST 4: return in the rewrite phase is in front of all limits
--- http_config
rate_limit_zone $server_name zone=address:1m rate=1r/h;
--- config
location = /t {
    rate_limit zone=address before_auth;
    return 204;
}
--- request eval
["GET /t", "GET /t"]
--- error_code eval
[204, 204]
--- response_headers eval
["!RateLimit", "!RateLimit"]



=== TEST 5: realip of the server is known to before_auth, of the location not
--- http_config
rate_limit_zone $remote_addr zone=address:1m rate=1r/h;
--- config
location = /t {
    set_real_ip_from 127.0.0.1;
    real_ip_header X-Real-IP;
    rate_limit zone=address before_auth;
    empty_gif;
}
location = /u {
    rate_limit zone=address before_auth;
    empty_gif;
}
--- request eval
["GET /t", "GET /t", "GET /u"]
--- more_headers eval
["X-Real-IP: 192.0.2.1", "X-Real-IP: 192.0.2.2", ""]
--- error_code eval
[200, 429, 429]
