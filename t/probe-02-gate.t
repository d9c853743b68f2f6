# Gates before an upstream: a feature holds an exchange back, refuses it, adds
# to it or has it sent again, and what it took is given back once, always.

use Test::Nginx::Socket 'no_plan';

our $HttpConfig = <<'_EOC_';
    server {
        listen unix:$TEST_NGINX_SERVER_ROOT/origin.sock;
        default_type text/plain;

        location / {
            return 200 "$request_method $request_uri gate=$http_x_gate len=$http_content_length";
        }
    }

    upstream origin {
        server unix:$TEST_NGINX_SERVER_ROOT/origin.sock;
    }
_EOC_

$ENV{TEST_NGINX_SERVER_ROOT} = $Test::Nginx::Util::ServRoot;

env_to_nginx('TEST_NGINX_SERVER_ROOT');
log_level('notice');
no_shuffle();
run_tests();

__DATA__

=== TEST 1: an exchange waits in a gate, and takes a header from it
--- http_config eval: $::HttpConfig
--- config
location /x {
    probe_exchange gate=wait;
    proxy_pass http://origin;
}
--- request
POST /x?b
body
--- response_body: POST /x?b gate=1 len=4
--- error_log: probe gate left, done:1 again:0 status:200



=== TEST 2: refused at once: a problem with Retry-After, and nothing is sent
--- http_config eval: $::HttpConfig
--- config
location /x {
    probe_exchange gate=refuse;
    proxy_pass http://origin;
}
--- request
GET /x
--- error_code: 503
--- response_headers
Content-Type: application/problem+json
Retry-After: 7
--- response_body_like: refused by a gate
--- error_log: probe gate left, done:1 again:0 status:503



=== TEST 3: refused later
--- http_config eval: $::HttpConfig
--- config
location /x {
    probe_exchange gate=late;
    proxy_pass http://origin;
}
--- request
GET /x
--- error_code: 503
--- response_headers
Retry-After: 7



=== TEST 4: sent again, body and all, once
--- http_config eval: $::HttpConfig
--- config
location /x {
    probe_exchange gate=again;
    proxy_pass http://origin;
}
--- request
POST /x
body
--- response_body: POST /x gate=2 len=4
--- grep_error_log eval: qr/probe gate left, done:1 again:\d/
--- grep_error_log_out
probe gate left, done:1 again:0
probe gate left, done:1 again:1



=== TEST 5: several at the same time wait and are refused each for itself
--- http_config eval: $::HttpConfig
--- config
location /wait {
    probe_exchange count=3 gate=wait;
    proxy_pass http://origin;
}
location /late {
    probe_exchange count=2 gate=late;
    proxy_pass http://origin;
}
--- request eval
["GET /wait", "GET /late"]
--- response_body_like eval
["(?s)status:200.*gate=1.*status:200.*gate=1.*status:200.*gate=1",
 "(?s)status:503.* unsent\n.*status:503.* unsent\n"]



=== TEST 6: an exchange to an internal location is not the gates' business
--- http_config eval: $::HttpConfig
--- config
location /a {
    probe_exchange uri=/in internal gate=refuse;
    proxy_pass http://origin;
}
location = /in {
    internal;
    proxy_pass http://origin;
}
--- request
GET /a
--- response_body: GET /in gate= len=



=== TEST 7: a server that can't be reached has not been sent anything
--- config
location /x {
    probe_exchange report;
    proxy_pass http://127.0.0.1:1;
}
--- request
POST /x
body
--- response_body_like: status:502 .* unsent
--- error_log: connect()



=== TEST 8: a write that has left is not tried at another server, a PUT neither
--- http_config
    server {
        listen unix:$TEST_NGINX_SERVER_ROOT/cut.sock;
        access_log off;
        error_log $TEST_NGINX_SERVER_ROOT/logs/cut.log notice;

        location / {
            return 444;
        }
    }

    server {
        listen unix:$TEST_NGINX_SERVER_ROOT/origin.sock;
        default_type text/plain;

        location / {
            return 200 "$request_method";
        }
    }

    upstream both {
        server unix:$TEST_NGINX_SERVER_ROOT/cut.sock;
        server unix:$TEST_NGINX_SERVER_ROOT/origin.sock backup;
    }
--- config
location /write {
    probe_exchange report write;
    proxy_pass http://both;
}
location /read {
    probe_exchange report;
    proxy_pass http://both;
}
--- request eval
["PUT /write", "PUT /read"]
--- response_body_like eval
["^status:502 (?!.*unsent)", "(?s)^status:200.*PUT"]
