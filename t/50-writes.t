# Writes led to the upstream: where the directives stand, what passes them by,
# and what a client and the upstream see of a request that was led.

use Test::Nginx::Socket 'no_plan';

our $HttpConfig = <<'_EOC_';
    idempotency_zone keys:1m;
    erp_budget_zone  erp:64k limit=2 writes=1;

    server {
        listen unix:$TEST_NGINX_SERVER_ROOT/origin.sock;
        default_type text/plain;

        location = /large {
            root $TEST_NGINX_SERVER_ROOT/html;
            error_page 405 =200 /large;
        }

        location = /fail {
            return 500 "the origin's own words";
        }

        location = /slow {
            add_header Retry-After 7 always;
            return 503 "later";
        }

        location = /missing {
            return 404 "the origin's own words";
        }

        location = /limit {
            return 400 "{code: LIMIT_REACHED}";
        }

        location / {
            add_header X-Origin yes;
            return 201 "$request_method $request_uri id=$http_x_id len=$http_content_length $request_id";
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

=== TEST 1: the answer again, with its headers, marked; the status variable
--- http_config eval: $::HttpConfig
--- config
location /x {
    idempotency keys;
    add_header X-Status $idempotency_status;
    add_header X-Key $idempotency_key;
    proxy_pass http://origin;
}
--- request eval
["POST /x?a\nbody", "POST /x?a\nbody", "POST /x?b\nbody", "PUT /x?a\nbody"]
--- more_headers
Idempotency-Key: "k"
--- error_code eval
[201, 201, 422, 201]
--- response_headers eval
["X-Status: new\nX-Key: k\n!Idempotent-Replayed",
 "X-Status: replayed\nIdempotent-Replayed: true\nX-Origin: yes\nContent-Type: text/plain",
 "Content-Type: application/problem+json",
 "X-Status: new"]
--- response_body_like eval
["^POST /x\\?a id= len=4 ", "^POST /x\\?a id= len=4 ",
 "urn:penstock:problem:idempotency-key-reused", "^PUT /x"]



=== TEST 2: directives of http and server reach a location, and "off" ends them
--- http_config eval: $::HttpConfig . 'idempotency keys required;'
--- config
location /x {
    proxy_pass http://origin;
}
location /off {
    idempotency off;
    proxy_pass http://origin;
}
--- request eval
["POST /x", "GET /x", "POST /off"]
--- error_code eval
[400, 201, 201]



=== TEST 3: a header of the key's name comes from us or not at all
--- http_config eval: $::HttpConfig
--- config
location /x {
    idempotency keys pass=X-Id;
    proxy_pass http://origin;
}
--- request
POST /x
--- more_headers
X-Id: forged
--- error_code: 201
--- response_body_like: id= len=



=== TEST 4: reads pass by keys, and are led where there is a budget
--- http_config eval: $::HttpConfig
--- config
location /keys {
    idempotency keys;
    proxy_pass http://origin;
}
location /budget {
    erp_budget erp;
    proxy_pass http://origin;
    add_header X-Upstream $upstream_status;
}
location = /status {
    penstock_status;
}
--- request eval
["GET /keys", "GET /budget?a=b", "HEAD /budget", "DELETE /budget", "GET /status"]
--- error_code eval
[201, 201, 201, 201, 200]
--- response_headers eval
["X-Origin: yes", "X-Upstream: 201", "X-Upstream: 201", "X-Upstream: 201", ""]
--- response_body_like eval
["^GET /keys", "^GET /budget\\?a=b", "^\$", "^DELETE", "granted_total.*?3"]



=== TEST 5: a HEAD that was led has the length of its GET
--- http_config eval: $::HttpConfig
--- user_files
>>> large
0123456789
--- config
location /large {
    erp_budget erp;
    proxy_pass http://origin;
}
--- request
HEAD /large
--- response_headers
Content-Length: 11



=== TEST 6: an answer above the limit passes whole; its key says that it is gone
--- http_config eval: $::HttpConfig
--- user_files eval
[["large" => "x" x 400000]]
--- config
location /large {
    idempotency keys;
    proxy_pass http://origin;
}
--- request eval
["POST /large", "POST /large"]
--- more_headers
Idempotency-Key: "l"
--- error_code eval
[200, 409]
--- response_body_like eval
["^x{60000}x{60000}x{60000}x{60000}x{60000}x{60000}x{40000}\$", "idempotency-answer-not-kept"]



=== TEST 7: 500 passes as it is, and leaves its key unknown
--- http_config eval: $::HttpConfig
--- config
location /fail {
    idempotency keys;
    proxy_pass http://origin;
}
--- request eval
["POST /fail", "POST /fail"]
--- more_headers
Idempotency-Key: "f"
--- error_code eval
[500, 409]
--- response_body_like eval
["^the origin's own words\$", "idempotency-unknown-outcome"]



=== TEST 8: an overload is one problem, whatever it looked like
--- http_config eval: $::HttpConfig
--- config
erp_budget erp;
erp_overload 400 LIMIT_REACHED;
location /slow {
    proxy_pass http://origin;
}
location /limit {
    idempotency keys;
    proxy_pass http://origin;
}
--- request eval
["GET /slow", "POST /limit", "POST /limit"]
--- more_headers
Idempotency-Key: "o"
--- error_code eval
[503, 503, 503]
--- response_headers eval
["Retry-After: 7", "Retry-After: 1", "Retry-After: 1"]
--- response_body_like eval
["urn:penstock:problem:overload", "urn:penstock:problem:overload",
 "urn:penstock:problem:overload"]



=== TEST 9: error_page may answer a refusal, and the request is not led again
--- http_config eval: $::HttpConfig
--- config
location /x {
    idempotency keys required;
    error_page 400 @sorry;
    proxy_pass http://origin;
}
location @sorry {
    idempotency keys required;
    return 400 "no key";
}
location /y {
    idempotency keys required;
    error_page 400 = /z;
    proxy_pass http://origin;
}
location /z {
    idempotency keys required;
    proxy_pass http://origin;
}
--- request eval
["POST /x", "POST /y"]
--- error_code eval
[400, 201]
--- response_body_like eval
["no key", "GET /z"]



=== TEST 10: all directives of keys, budget and breaker, in all their places
--- http_config eval
$::HttpConfig . 'idempotency keys ttl=1h lease=5s scope=$http_x;
idempotency_reconcile /_look after=1m; erp_budget erp queue=0 timeout=1s
client=$http_x; erp_overload 418; erp_breaker b failures=20% window=1m open=1s
least=3;'
--- config
idempotency keys pass=X-Id;
idempotency_reconcile off;
erp_budget off;
erp_breaker off;
location /x {
    idempotency_reconcile /_look;
    erp_budget erp;
    erp_overload 419 text;
    erp_breaker b;
    proxy_pass http://origin;
}
--- request
POST /x
--- error_code: 201



=== TEST 11: what "proxy_intercept_errors" has a page for was answered
--- http_config eval: $::HttpConfig
--- config
location ~ ^/(missing|slow)$ {
    idempotency keys;
    proxy_intercept_errors on;
    error_page 404 /page;
    error_page 503 /page;
    proxy_pass http://origin;
}
location = /page {
    return 200 "a page";
}
--- request eval
["POST /missing", "POST /missing", "POST /slow", "POST /slow"]
--- more_headers
Idempotency-Key: "a"
--- error_code eval
[404, 409, 503, 503]
--- response_body_like eval
["^a page", "idempotency-answer-not-kept", "^a page", "^a page"]



=== TEST 12: another path is another request, though nginx may see one
--- http_config eval: $::HttpConfig
--- config
location ~ ^/(a|x) {
    idempotency keys;
    add_header X-Status $idempotency_status;
    proxy_pass http://origin;
}
--- request eval
["DELETE /a/b", "DELETE /a%2Fb", "DELETE /a//b", "DELETE /x/../a/b",
 "DELETE /a/b?q", "DELETE /a%2Fb"]
--- more_headers
Idempotency-Key: "a"
--- error_code eval
[201, 201, 201, 201, 422, 201]
--- response_body_like eval
["^DELETE /a/b ", "^DELETE /a%2Fb ", "^DELETE /a//b ", "^DELETE /x/\\.\\./a/b ",
 "idempotency-key-reused", "^DELETE /a%2Fb "]
--- response_headers eval
[("Idempotent-Replayed: ") x 5, "Idempotent-Replayed: true"]



=== TEST 13: an interim response is no answer, whatever comes behind it
--- http_config eval: $::HttpConfig
--- config
location /x {
    idempotency keys;
    proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
}
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\n\r\n"
--- request eval
["POST /x", "POST /x"]
--- more_headers
Idempotency-Key: "a"
--- error_code eval
[502, 409]
--- response_body_like eval
["problem:unknown-outcome", "problem:idempotency-unknown-outcome"]



=== TEST 14: 204 has no length, whatever the upstream says
--- http_config eval: $::HttpConfig
--- config
location /x {
    erp_budget erp;
    proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
}
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"
--- request
POST /x
--- error_code: 204
--- response_headers
!Content-Length
