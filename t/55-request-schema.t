# A body that is not what the ERP accepts does not reach it, and the client
# learns what is wrong with it and where: wherever the body lies, however it
# came.

use Test::Nginx::Socket 'no_plan';

our $Order = <<'_EOC_';
{
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "https://api.example/order.json",
    "type": "object",
    "required": ["customer", "lines"],
    "additionalProperties": false,
    "properties": {
        "customer": { "type": "string", "pattern": "^C[0-9]{4}$" },
        "note": { "type": "string", "maxLength": 20000 },
        "due": { "type": "string", "format": "date" },
        "lines": {
            "type": "array", "minItems": 1, "maxItems": 2000,
            "items": { "$ref": "#/$defs/line" }
        }
    },
    "$defs": {
        "line": {
            "type": "object",
            "required": ["sku", "qty"],
            "properties": {
                "sku": { "type": "string", "minLength": 1 },
                "qty": { "type": "integer", "minimum": 1, "maximum": 9999 },
                "price": { "type": "number", "multipleOf": 0.01,
                           "exclusiveMinimum": 0 }
            }
        }
    }
}
_EOC_

our $Good = '{"customer":"C0001","lines":[{"sku":"A","qty":2,"price":10.10}]}';

add_block_preprocessor(sub {
    my $block = shift;

    $block->set_value('user_files', ">>> order.json\n$main::Order\n"
                                    . ($block->user_files || ''));

    $block->set_value('config', <<'_EOC_' . ($block->config || ''));
location /orders {
    request_schema ../html/order.json max_size=64k max_depth=8 max_errors=5;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/erp;
}

location /erp {
    client_max_body_size 1m;
    client_body_buffer_size 1m;
    return 201 "made by $request_method";
}

location /status {
    penstock_status;
}
_EOC_

    $block->set_value('more_headers', 'Content-Type: application/json')
        unless defined $block->more_headers;
});

run_tests();

__DATA__

=== TEST 1: what is accepted goes on as it is
--- request eval
"POST /orders\n$main::Good"
--- error_code: 201
--- response_body chomp
made by POST


=== TEST 2: each fault with its place
--- request
POST /orders
{"customer":"X1","lines":[{"sku":"A","qty":1.0},{"qty":0,"sku":""},{"sku":"B","qty":"2","price":1.001}],"a/b%":1}
--- error_code: 422
--- response_headers
Content-Type: application/problem+json
Cache-Control: no-store
--- response_body
{"type":"about:blank","title":"Unprocessable Content","status":422,"detail":"The body is not what is accepted here.","errors":[{"detail":"does not have the form it must have","pointer":"#/customer"},{"detail":"must be at least 1","pointer":"#/lines/1/qty"},{"detail":"must have at least 1 characters","pointer":"#/lines/1/sku"},{"detail":"must be an integer","pointer":"#/lines/2/qty"},{"detail":"must be a multiple of 0.01","pointer":"#/lines/2/price"}]}


=== TEST 3: what is missing, and what is too many
--- request
POST /orders
{"lines":[],"x":"\u00e9","due":"2026-02-30"}
--- error_code: 422
--- response_body_like: "the member \\"customer\\" is missing","pointer":"#"\},\{"detail":"must have at least 1 elements","pointer":"#/lines"\},\{"detail":"there must be no such member","pointer":"#/x"\},\{"detail":"must be a date \(RFC 3339\)","pointer":"#/due"\}\]


=== TEST 4: no JSON
--- request
POST /orders
{"customer":"C0001",}
--- error_code: 400
--- response_body_like: "The body can't be read: it is not JSON in UTF-8, at byte 20\."


=== TEST 5: half of it
--- request
POST /orders
{"customer":"C0001"
--- error_code: 400
--- response_body_like: it ends too early


=== TEST 6: no body
--- request
POST /orders
--- error_code: 400
--- response_body_like: it ends too early


=== TEST 7: two members of one name: the ERP might take the other one
--- request
POST /orders
{"customer":"C0001","lines":[{"sku":"A","qty":1,"qt\u0079":99999}]}
--- error_code: 400
--- response_body_like: two members of an object have the same name, at byte 48


=== TEST 8: nested too deeply
--- request
POST /orders
{"customer":[[[[[[[[1]]]]]]]]}
--- error_code: 413
--- response_body_like: The body nests deeper than 8, at byte 19\.


=== TEST 9: another type
--- request eval
"POST /orders\n$main::Good"
--- more_headers
Content-Type: text/json
--- error_code: 415
--- response_headers
Accept: application/json
--- response_body_like: \+json


=== TEST 10: no type at all
--- request eval
"POST /orders\n$main::Good"
--- more_headers
X-Other: a
--- error_code: 415


=== TEST 11: types that are JSON, with parameters
--- request eval
["POST /orders\n$main::Good", "POST /orders\n$main::Good",
 "PATCH /orders\n$main::Good", "POST /orders\n$main::Good",
 "POST /orders\n$main::Good", "POST /orders\n$main::Good",
 "POST /orders\n$main::Good"]
--- more_headers eval
["Content-Type: Application/JSON ; charset=\"UTF-8\"",
 "Content-Type: application/vnd.order+json;v=1",
 "Content-Type: application/merge-patch+json",
 "Content-Type: application/json; charset=iso-8859-1",
 "Content-Type: +json",
 "Content-Type: application/json;charset=utf-8;charset=utf-16",
 "Content-Type: application/json;xcharset=a; charset=utf-8"]
--- error_code eval
[201, 201, 201, 415, 415, 415, 201]


=== TEST 12: two types: which one the ERP would go by is not known
--- request eval
"POST /orders\n$main::Good"
--- more_headers
Content-Type: application/json
Content-Type: application/json
--- error_code: 400
--- response_body_like: one Content-Type


=== TEST 13: an encoded body can't be read here
--- request eval
"POST /orders\n$main::Good"
--- more_headers
Content-Type: application/json
Content-Encoding: gzip
--- error_code: 415


=== TEST 14: too large by its length, before a byte is read
--- request eval
"POST /orders\n{" . (' ' x 65536) . '}'
--- error_code: 413
--- response_body_like: larger than is accepted here


=== TEST 15: too large without a length
--- raw_request eval
"POST /orders HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
. "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
. "11000\r\n" . (' ' x 0x11000) . "\r\n0\r\n\r\n"
--- error_code: 413
--- response_body_like: larger than is accepted here


=== TEST 16: chunks, cut anywhere
--- raw_request eval
my $body = $main::Good;
"POST /orders HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
. "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
. CORE::join('', map { "1\r\n$_\r\n" } split //, $body) . "0\r\n\r\n"
--- error_code: 201


=== TEST 17: from a temp file, and in part from one
--- config
location = /file {
    client_body_in_file_only clean;
    request_schema ../html/order.json;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/erp;
}
location = /small {
    client_body_buffer_size 1k;
    request_schema ../html/order.json;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/erp;
}
--- request eval
["POST /file\n$main::Good",
 "POST /file\n{}",
 "POST /small\n" . '{"note":"' . ('n' x 15000) . '",' . substr($main::Good, 1),
 "POST /small\n" . '{"note":"' . ('n' x 25000) . '",' . substr($main::Good, 1)]
--- more_headers eval
["Content-Type: application/json", "Content-Type: application/json",
 "Content-Type: application/json", "Content-Type: application/json"]
--- error_code eval
[201, 422, 201, 422]


=== TEST 18: a method without a body is not looked at, one with a body is
--- request eval
["GET /orders", "DELETE /orders", "DELETE /orders\n{}",
 "GET /orders\n{}", "OPTIONS /orders"]
--- more_headers eval
["", "", "Content-Type: application/json", "Content-Type: application/json",
 ""]
--- error_code eval
[201, 201, 422, 422, 201]


=== TEST 19: before a write is governed, and behind its limits
--- http_config
availability_zone a:1m;
rate_limit_zone one zone=l:1m rate=1r/m burst=1;
--- config
location = /write {
    request_schema ../html/order.json;
    rate_limit zone=l;
    availability_invalidate zone=a /lines/*/sku;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/erp;
}
--- request eval
["POST /write\n{}", "POST /write\n{}"]
--- more_headers eval
["Content-Type: application/json", "Content-Type: application/json"]
--- error_code eval
[422, 429]


=== TEST 20: error_page has its say
--- config
location = /own {
    request_schema ../html/order.json;
    error_page 422 =409 @page;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/erp;
}
location @page {
    return 409 "not like that";
}
request_schema ../html/order.json;
error_page 400 /bad.html;
location = /bad.html {
    internal;
    return 200 "bad";
}
location = /below {
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/erp;
}
--- request eval
["POST /own\n{}", "POST /below\nx"]
--- more_headers eval
["Content-Type: application/json", "Content-Type: application/json"]
--- error_code eval
[409, 400]
--- response_body eval
["not like that", "bad"]


=== TEST 21: off, and inherited
--- config
request_schema ../html/order.json;
location = /inherited {
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/erp;
}
location = /off {
    request_schema off;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/erp;
}
--- request eval
["POST /inherited\n{}", "POST /off\n{}"]
--- more_headers eval
["Content-Type: application/json", "Content-Type: application/json"]
--- error_code eval
[422, 201]


=== TEST 22: a body that would take too long
--- config
location = /costly {
    request_schema ../html/costly.json;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/erp;
}
--- user_files
>>> costly.json
{ "type": "string", "pattern": "^(a|a)*$" }
--- request eval
["POST /costly\n\"aaaaaaaa\"", "POST /costly\n\"" . ('a' x 100) . 'b"']
--- more_headers eval
["Content-Type: application/json", "Content-Type: application/json"]
--- error_code eval
[201, 422]
--- response_body_like eval
["made", "takes too much work"]


=== TEST 23: counted
--- request eval
["POST /orders\n$main::Good", "POST /orders\n{}", "POST /orders\nx",
 "GET /status"]
--- more_headers eval
["Content-Type: application/json", "Content-Type: application/json",
 "Content-Type: application/json", "Accept: text/plain"]
--- error_code eval
[201, 422, 400, 200]
--- response_body_like eval
["made", "missing", "read",
 qr/bodies_total\{result="valid"\} 1\n.*result="invalid"\} 1\n.*result="refused"\} 1\n/s]
