# The ID is one for the whole of a request, whatever nginx makes of it:
# redirects inside, error pages, subrequests, named locations.

use Test::Nginx::Socket 'no_plan';

our $uuid = '[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}';

# the upstream's paths: / what it got, /status/N, /accel, /cached

add_block_preprocessor(sub {
    my ($block) = @_;

    $block->set_value('http_config', ($block->http_config // '') . <<'END')
server {
    listen 127.0.0.2:$TEST_NGINX_SERVER_PORT;

    location / {
        return 200 "$http_x_correlation_id|$http_x_request_id|$http_traceparent\n";
    }

    location = /fail {
        return 500 "failed for $http_x_correlation_id\n";
    }

    location = /accel {
        add_header X-Accel-Redirect /inside;
        add_header X-Correlation-ID upstream;
        return 200;
    }

    location = /cached {
        add_header X-Correlation-ID of-the-first;
        add_header Cache-Control max-age=60;
        return 200 "cached\n";
    }

    location = /auth {
        add_header X-Auth-ID "$http_x_correlation_id";
        return 204;
    }
}
END
});

no_root_location();
run_tests();

__DATA__

=== TEST 1: return, in the server and in a location
--- config
correlation_id on;
if ($arg_server) {
    return 200 "$correlation_id\n";
}
location = /t {
    return 403;
}
location = /text {
    return 200 "$correlation_id\n";
}
--- request eval
["GET /?server=1", "GET /t", "GET /text"]
--- error_code eval
[200, 403, 200]
--- response_headers_like eval
[map { "X-Correlation-ID: $::uuid" } 1 .. 3]



=== TEST 2: the same ID before and after an error page
--- config
correlation_id on;
error_page 404 /page;
location = /t {
    set $first $correlation_id;
    return 404;
}
location = /page {
    set $same no;
    if ($first = $correlation_id) {
        set $same yes;
    }
    return 200 "$same\n";
}
--- request
GET /t
--- error_code: 404
--- response_headers_like eval
"X-Correlation-ID: $::uuid"
--- response_body
yes



=== TEST 3: error_page to a named location with an upstream
--- config
correlation_id on;
correlation_id_trust on;
trace_context on;
location = /t {
    error_page 500 = @other;
    proxy_intercept_errors on;
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT/fail;
    set $before $traceparent;
}
location @other {
    set $same no;
    if ($before = $traceparent) {
        set $same yes;
    }
    add_header X-Same $same;
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT;
}
--- request
GET /t
--- more_headers
X-Correlation-ID: mine
--- response_headers
X-Correlation-ID: mine
X-Same: yes
--- response_body_like
^mine\|\|00-[0-9a-f]{32}-[0-9a-f]{16}-02$



=== TEST 4: an upstream's error passes with its body
--- config
correlation_id on;
correlation_id_trust on;
location = /t {
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT/fail;
}
--- request
GET /t
--- more_headers
X-Correlation-ID: mine
--- error_code: 500
--- response_headers
X-Correlation-ID: mine
--- response_body
failed for mine



=== TEST 5: try_files to a named location
--- config
correlation_id on;
correlation_id_trust on;
location / {
    root html;
    try_files $uri @up;
}
location @up {
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT;
}
--- request eval
["GET /none", "GET /file"]
--- user_files
>>> file
text
--- more_headers
X-Correlation-ID: mine
--- response_headers eval
["X-Correlation-ID: mine", "X-Correlation-ID: mine"]
--- response_body eval
["mine||\n", "text\n"]



=== TEST 6: a rewrite to another location; the header name is the last one's
--- config
correlation_id on;
correlation_id_trust on;
location = /t {
    rewrite ^ /other last;
}
location = /other {
    correlation_id_header X-Request-ID;
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT/;
}
--- request
GET /t
--- more_headers
X-Correlation-ID: mine
--- response_headers
X-Request-ID: mine
!X-Correlation-ID
--- response_body
mine|mine|



=== TEST 7: X-Accel-Redirect; the upstream's header does not survive it
--- config
correlation_id on;
correlation_id_trust on;
location = /t {
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT/accel;
}
location = /inside {
    internal;
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT/;
}
--- request
GET /t
--- more_headers
X-Correlation-ID: mine
--- response_headers
X-Correlation-ID: mine
--- response_body
mine||



=== TEST 8: auth_request: the variable is there for its subrequest
--- config
correlation_id on;
location = /t {
    auth_request /auth;
    auth_request_set $auth_id $upstream_http_x_auth_id;
    set $same no;
    add_header X-Auth-ID $auth_id;
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT/;
}
location = /auth {
    internal;
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT;
    proxy_pass_request_body off;
    proxy_set_header Content-Length "";
    proxy_set_header X-Correlation-ID $correlation_id;
}
--- request
GET /t
--- response_headers_like eval
"X-Auth-ID: $::uuid
X-Correlation-ID: $::uuid"
--- response_body_like eval
"^$::uuid\\|"



=== TEST 9: auth_request refuses: the ID is there
--- config
correlation_id on;
correlation_id_trust on;
location = /t {
    auth_request /auth;
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT/;
}
location = /auth {
    return 401;
}
--- request
GET /t
--- more_headers
X-Correlation-ID: mine
--- error_code: 401
--- response_headers
X-Correlation-ID: mine



=== TEST 10: a cached answer carries the ID of its own request
--- http_config
proxy_cache_path cache keys_zone=cache:1m;
--- config
correlation_id on;
correlation_id_trust on;
location = /t {
    proxy_cache cache;
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT/cached;
    add_header X-Cache $upstream_cache_status;
}
--- request eval
["GET /t", "GET /t"]
--- more_headers eval
["X-Correlation-ID: first", "X-Correlation-ID: second"]
--- response_headers eval
["X-Correlation-ID: first\nX-Cache: MISS",
 "X-Correlation-ID: second\nX-Cache: HIT"]



=== TEST 11: a mirror gets it too
--- config
correlation_id on;
correlation_id_trust on;
access_log off;
location = /t {
    mirror /mirror;
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT/;
}
location = /mirror {
    internal;
    proxy_pass http://127.0.0.2:1/$http_x_correlation_id;
}
--- request
GET /t
--- more_headers
X-Correlation-ID: bad id
--- response_body_like eval
"^$::uuid\\|"
--- error_log eval
qr/connect\(\) failed .*correlation_id: "($::uuid)", .*upstream: "http:\/\/127.0.0.2:1\/\1"/



=== TEST 12: only in a location that an error page leads to
--- config
error_page 404 /page;
location = /t {
    return 404;
}
location = /page {
    correlation_id on;
    return 200 "$correlation_id\n";
}
--- request
GET /t
--- error_code: 404
--- response_headers_like eval
"X-Correlation-ID: $::uuid"
--- response_body_like eval
"^$::uuid\$"



=== TEST 13: proxy_set_header has the last word, and no double is sent
--- config
correlation_id on;
location = /t {
    proxy_set_header X-Correlation-ID "set-by-hand";
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT/;
}
--- request
GET /t
--- response_body
set-by-hand||



=== TEST 14: a server that answers HTTP/1.0
--- config
correlation_id on;
location = /t {
    return 200 "ok\n";
}
--- raw_request eval
"GET /t HTTP/1.0\r\n\r\n"
--- response_headers_like eval
"X-Correlation-ID: $::uuid"



=== TEST 15: gzip, ranges and subrequests of SSI leave one header
--- config
correlation_id on;
correlation_id_trust on;
location = /t {
    ssi on;
    ssi_types text/plain;
    root html;
}
location = /part {
    return 200 "part of $correlation_id";
}
--- user_files
>>> t
<!--#include virtual="/part" -->
--- request
GET /t
--- more_headers
X-Correlation-ID: mine
--- raw_response_headers_unlike: X-Correlation-ID.*X-Correlation-ID
--- response_body
part of mine
