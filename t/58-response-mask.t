# What a caller may not see is not in any answer: from the cache or the
# server, whole or asked for in part, and what can't be masked is not sent.
# All else is passed on as it was written.

use Test::Nginx::Socket 'no_plan';

add_block_preprocessor(sub {
    my $block = shift;

    $block->set_value('http_config', <<'_EOC_' . ($block->http_config || ''));
availability_zone a:1m;

map $http_x_role $sees_all {
    buyer   0;
    clerk   "";
    manager 1;
    default "";
}
_EOC_

    $block->set_value('config', <<'_EOC_' . ($block->config || ''));
location = /order {
    default_type application/json;
    response_mask /customer/email /lines/*/cost unless=$sees_all;
    response_mask /customer/phone mask=*** unless=$sees_all;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/erp/order;
}

location = /cached {
    availability_cache a;
    availability_cache_valid 60s;
    response_mask /customer /lines unless=$sees_all;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/erp/order;
}

location /any/ {
    response_mask /cost;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/erp/;
}

location = /erp/order {
    default_type application/json;
    add_header ETag '"v1"';
    add_header Repr-Digest "sha-256=:AAAA:";
    return 200 '{"id": 12345678901234567890123, "total": 10.00,
 "customer": { "email" : "a@b.c", "name":"A\u00e9", "phone":"1" } ,
 "lines":[{"sku":"A","cost":1e2},{"cost":2,"sku":"B"},{"sku":"C"}]}';
}

location = /erp/text {
    default_type text/plain;
    return 200 "cost: 1";
}

location = /erp/bad {
    default_type application/json;
    return 200 '{"cost":1,}';
}

location = /erp/cut {
    default_type application/json;
    return 200 '{"cost":1';
}

location = /erp/plus {
    default_type "application/vnd.erp+json; charset=utf-8";
    return 200 '{"cost":1,"cost":2,"a":3}';
}

location = /erp/failed {
    default_type application/json;
    return 422 '{"cost":1,"why":"no"}';
}

location = /erp/moved {
    return 303 /elsewhere;
}

location = /erp/gzip {
    default_type application/json;
    add_header Content-Encoding gzip;
    return 200 '{"cost":1}';
}

location = /erp/encoding {
    default_type application/json;
    return 200 '{"got":"$http_accept_encoding$http_range$http_if_none_match"}';
}

location = /erp/empty {
    return 204;
}
_EOC_
});

run_tests();

__DATA__

=== TEST 1: gone, masked, and the rest byte for byte
--- request
GET /order
--- response_body chomp
{"id": 12345678901234567890123, "total": 10.00,
 "customer": {"name":"A\u00e9", "phone":"***" } ,
 "lines":[{"sku":"A"},{"sku":"B"},{"sku":"C"}]}
--- response_headers
Content-Type: application/json
Content-Length: 145
! ETag
! Repr-Digest


=== TEST 2: a caller who may see it gets it as it is
--- request
GET /order
--- more_headers
X-Role: manager
--- response_body_like: "email" : "a@b.c".*"cost":1e2
--- response_headers
ETag: "v1"
Repr-Digest: sha-256=:AAAA:


=== TEST 3: 0 is no permission
--- request
GET /order
--- more_headers
X-Role: buyer
--- response_body_unlike: email|cost


=== TEST 4: neither is nothing
--- request
GET /order
--- more_headers
X-Role: clerk
--- response_body_unlike: email|cost


=== TEST 5: a fill and a hit alike, and each caller gets what is his
--- request eval
["GET /cached", "GET /cached", "GET /cached", "GET /cached"]
--- more_headers eval
["X-Role: manager", "", "X-Role: manager", ""]
--- response_body_like eval
[qr/"customer"/, qr/\A\{"id": 12345678901234567890123, "total": 10.00\}\z/,
 qr/"customer"/, qr/\A\{"id": 12345678901234567890123, "total": 10.00\}\z/]


=== TEST 6: the validator of the whole answer does not bring a 304
--- request eval
["GET /cached", "GET /cached"]
--- more_headers eval
["X-Role: manager\nIf-None-Match: \"v1\"", "If-None-Match: \"v1\""]
--- error_code eval
[304, 200]


=== TEST 7: no part of it
--- request eval
["GET /cached", "GET /cached", "GET /cached"]
--- more_headers eval
["", "X-Role: manager\nRange: bytes=0-3", "Range: bytes=0-3"]
--- error_code eval
[200, 206, 200]
--- response_body_unlike eval
["customer", "customer", "customer"]


=== TEST 8: HEAD tells no length and no validator
--- request
HEAD /cached
--- response_headers
! Content-Length
! ETag
--- error_code: 200


=== TEST 9: nothing of the caller's makes the server send less or encode it
--- request
GET /any/encoding
--- more_headers
Accept-Encoding: gzip
Range: bytes=0-1
If-None-Match: "x"
--- response_body chomp
{"got":""}


=== TEST 10: nginx compresses what is left
--- config
gzip on;
gzip_min_length 1;
gzip_types application/json;
--- request
GET /order
--- more_headers
Accept-Encoding: gzip
--- response_headers
Content-Encoding: gzip
--- response_body_like: \A\x1f\x8b


=== TEST 11: no JSON is not sent
--- request
GET /any/text
--- error_code: 502
--- response_headers
Content-Type: application/problem+json
--- response_body_unlike: cost
--- error_log
can't be masked and is not sent: it is not JSON


=== TEST 12: what only looks like JSON neither
--- request
GET /any/bad
--- error_code: 502
--- response_body_unlike: cost
--- error_log
it is not JSON in UTF-8


=== TEST 13: nor what ends too early
--- request
GET /any/cut
--- error_code: 502
--- response_body_unlike: cost
--- error_log
it ends too early


=== TEST 14: nor what is encoded
--- request
GET /any/gzip
--- error_code: 502
--- response_headers
! Content-Encoding
--- response_body_unlike: cost
--- error_log
it is encoded


=== TEST 15: any +json, and both of two members of one name
--- request
GET /any/plus
--- response_body chomp
{"a":3}
--- response_headers
Content-Type: application/vnd.erp+json; charset=utf-8


=== TEST 16: an error's answer is masked too
--- request
GET /any/failed
--- error_code: 422
--- response_body chomp
{"why":"no"}


=== TEST 17: a redirect without its page
--- request
GET /any/moved
--- error_code: 303
--- response_headers_like
Location: .*/elsewhere
--- response_headers
Content-Length: 0
--- response_body


=== TEST 18: no body, nothing to mask
--- request
GET /any/empty
--- error_code: 204


=== TEST 19: nginx's own pages are no answers of the server
--- config
location = /down {
    response_mask /cost;
    proxy_pass http://127.0.0.1:1;
}
--- request
GET /down
--- error_code: 502
--- response_headers
Content-Type: text/html
--- error_log
connect() failed


=== TEST 20: an error page from a file
--- config
location = /failed {
    response_mask /cost;
    error_page 404 /sorry.html;
    return 404;
}
location = /sorry.html {
    response_mask /cost;
}
--- user_files
>>> sorry.html
Sorry.
--- request
GET /failed
--- error_code: 404
--- response_body
Sorry.


=== TEST 21: larger than allowed, with a length and without
--- config
location = /large {
    response_mask /cost;
    response_mask_max_size 100;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/erp/order;
}
location = /chunked {
    response_mask /cost;
    response_mask_max_size 100;
    proxy_http_version 1.1;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/erp/zipped;
}
location = /erp/zipped {
    default_type application/json;
    sub_filter x y;
    sub_filter_types *;
    return 200 '{"cost":"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"}';
}
--- request eval
["GET /large", "GET /chunked"]
--- error_code eval
[502, 502]
--- response_body_unlike eval
["email", "0123"]
--- error_log
it is larger than "response_mask_max_size"


=== TEST 22: in pieces of any size
--- config
location = /pieces {
    response_mask /customer /lines/*/cost;
    proxy_buffering off;
    proxy_buffer_size 1k;
    proxy_http_version 1.1;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/pieces-erp;
}
location = /pieces-erp {
    default_type application/json;
    postpone_output 0;
    sub_filter Q '}, {"sku": "S", "cost": 2';
    sub_filter_once off;
    sub_filter_types *;
    return 200 '{"customer":1, "lines":[{"cost": 1QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ}]}';
}
--- request
GET /pieces
--- response_body_like: \A\{"lines":\[\{\}(?:, \{"sku": "S"\}){63}\]\}\z


=== TEST 23: off, and one location's own in place of those above
--- config
response_mask /a;
location = /inherited {
    default_type application/json;
    return 200 '{"a":1,"b":2}';
}
location = /own {
    response_mask /b mask=no;
    default_type application/json;
    return 200 '{"a":1,"b":2}';
}
location = /off {
    response_mask off;
    default_type application/json;
    return 200 '{"a":1,"b":2}';
}
--- request eval
["GET /inherited", "GET /own", "GET /off"]
--- response_body eval
['{"b":2}', '{"a":1,"b":"no"}', '{"a":1,"b":2}']


=== TEST 24: the whole of it
--- config
location = /whole {
    response_mask "" mask=hidden;
    default_type application/json;
    return 200 '{"a":1,"b":2}';
}
--- request
GET /whole
--- response_body chomp
"hidden"


=== TEST 25: a write's answer, with its status and headers
--- config
location = /orders {
    availability_invalidate zone=a /lines/*/sku;
    response_mask /margin;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/erp-orders;
}
location = /erp-orders {
    default_type application/json;
    add_header Location /orders/7 always;
    return 201 '{"id":7,"margin":0.4}';
}
--- request
POST /orders
{"lines":[{"sku":"A"}]}
--- error_code: 201
--- response_headers
Location: /orders/7
--- response_body chomp
{"id":7}


=== TEST 26: counted
--- config
location = /status {
    penstock_status;
}
--- request eval
["GET /any/plus", "GET /any/text", "GET /status"]
--- error_code eval
[200, 502, 200]
--- response_body_like eval
["a", "shown", qr/penstock_masked_responses_total 1\n.*penstock_mask_failures_total 1\n/s]
--- more_headers
Accept: text/plain


=== TEST 27: a subrequest's answer would be shown unmasked
--- config
location = /page {
    ssi on;
    ssi_types *;
    default_type text/plain;
    return 200 "<<!--# include virtual=\"/any/plus\" -->>";
}
location = /page-set {
    ssi on;
    ssi_types *;
    default_type text/plain;
    return 200 "<<!--# include virtual=\"/any/plus\" set=\"v\" --><!--# echo var=\"v\" encoding=\"none\" -->>";
}
--- request eval
["GET /page", "GET /page-set"]
--- error_code eval
[200, 200]
--- response_body_unlike eval
["cost", "cost"]
--- error_log
can't be applied to a subrequest


=== TEST 28: identity is no coding
--- config
location /coded {
    response_mask /cost;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/plain;
}
location /plain {
    default_type application/json;
    add_header Content-Encoding Identity;
    return 200 '{"id":1,"cost":2}';
}
--- request
GET /coded
--- response_body chomp
{"id":1}


=== TEST 29: what add_after_body brings comes behind the mask
--- config
location /masked {
    response_mask /cost;
    addition_types application/json;
    add_before_body /before;
    add_after_body /after;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/plain;
}
location /before {
    return 200 "<";
}
location /after {
    return 200 ">";
}
location /plain {
    default_type application/json;
    return 200 '{"id":1,"cost":2}';
}
--- request
GET /masked
--- response_body chomp
<{"id":1}>
