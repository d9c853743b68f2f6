# A refusal carries the ID in its header and in its document, and its line of
# the error log has the same.

use Test::Nginx::Socket 'no_plan';

run_tests();

__DATA__

=== TEST 1: no token
--- config
correlation_id on;
correlation_id_trust on;
location = /t {
    auth_jwt "api";
    auth_jwt_key_file ../html/keys.json;
    root html;
}
--- user_files
>>> keys.json
{"keys":[{"kty":"oct","alg":"HS256","k":"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE"}]}
--- request
GET /t
--- more_headers
X-Correlation-ID: order/4711
--- error_code: 401
--- response_headers
Content-Type: application/problem+json
X-Correlation-ID: order/4711
--- response_body_like chop
^\{.*"status":401,.*"correlation_id":"order/4711"\}$



=== TEST 2: over the limit
--- http_config
rate_limit_zone $binary_remote_addr zone=address:1m rate=1r/m;
--- config
correlation_id on;
correlation_id_trust on;
location = /t {
    rate_limit zone=address;
    root html;
}
--- user_files
>>> t
text
--- request eval
["GET /t", "GET /t"]
--- more_headers eval
["X-Correlation-ID: first", "X-Correlation-ID: second"]
--- error_code eval
[200, 429]
--- response_headers eval
["X-Correlation-ID: first", "X-Correlation-ID: second"]
--- response_body_like eval
["^text", '^\{.*"status":429,.*"correlation_id":"second"']



=== TEST 3: a limit before the token, in a location that alone has an ID
--- http_config
rate_limit_zone $binary_remote_addr zone=address:1m rate=1r/m;
--- config
location = /t {
    correlation_id on;
    rate_limit zone=address before_auth;
    root html;
}
--- user_files
>>> t
text
--- request eval
["GET /t", "GET /t"]
--- error_code eval
[200, 429]
--- response_headers_like eval
[map { "X-Correlation-ID: [0-9a-f-]{36}" } 1 .. 2]
--- response_body_like eval
["^text", '"correlation_id":"[0-9a-f-]{36}"']



=== TEST 4: off: no member
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_key_file ../html/keys.json;
    root html;
}
--- user_files
>>> keys.json
{"keys":[{"kty":"oct","alg":"HS256","k":"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE"}]}
--- request
GET /t
--- error_code: 401
--- response_body_unlike: correlation_id
