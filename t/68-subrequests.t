# A subrequest of another module can't wait for a place: within a budget it is
# refused rather than one too many at the server, and so it is where a breaker
# is not closed.

use Test::Nginx::Socket 'no_plan';

our $HttpConfig = <<'_EOC_';
    erp_budget_zone  erp:64k limit=1;

    server {
        listen unix:$TEST_NGINX_SERVER_ROOT/origin.sock;

        location /fail {
            return 500 "no";
        }

        location / {
            return 200 "<$request_method $uri>";
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

=== TEST 1: parts of a page, from the server and of our own
--- http_config eval: $::HttpConfig
--- config
erp_budget erp;
location = /page {
    ssi on;
    ssi_types *;
    return 200 '(<!--# include virtual="/r/1" -->)(<!--# include virtual="/part" -->)(<!--# include virtual="/free" -->)';
}
location /r/ {
    proxy_pass http://origin;
}
location /free {
    erp_budget off;
    proxy_pass http://origin;
}
--- user_files
>>> part
part
--- request
GET /page
--- response_body_like: ^\(<html>.*503 Service.*\)\(part\n\)\(<GET /free>\)$
--- error_log
"erp_budget" can't be applied to a subrequest, "/r/1" is not sent: give its location "erp_budget off"


=== TEST 2: auth_request
--- http_config eval: $::HttpConfig
--- config
erp_budget erp;
location /inherits {
    auth_request /auth;
    proxy_pass http://origin;
}
location /names {
    auth_request /auth_off;
    proxy_pass http://origin;
}
location = /auth {
    internal;
    proxy_pass http://origin;
}
location = /auth_off {
    internal;
    erp_budget off;
    proxy_pass http://origin;
}
--- request eval
["GET /inherits", "GET /names", "POST /names"]
--- error_code eval
[500, 200, 200]
--- response_body_like eval
["500 Internal", "<GET /names>", "<POST /names>"]


=== TEST 3: a breaker that is open
--- http_config eval: $::HttpConfig
--- config
location = /page {
    ssi on;
    ssi_types *;
    return 200 '(<!--# include virtual="/b/ok" -->)';
}
location /b/ {
    erp_breaker erp least=2 open=60s;
    proxy_pass http://origin/;
}
--- request eval
["GET /page", "GET /b/fail", "GET /b/fail", "GET /b/ok", "GET /page"]
--- error_code eval
[200, 500, 500, 503, 200]
--- response_body_like eval
['^\(<GET /ok>\)$', "no", "no", "circuit-open", '^\(<html>.*503 Service']
