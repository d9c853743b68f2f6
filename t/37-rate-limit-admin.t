# rate_limit_admin without Redis: what it lists, what a change must look like,
# and that it is in force from the next request on.

use Test::Nginx::Socket 'no_plan';

no_shuffle();
repeat_each(1);

our $json = "Content-Type: application/json";

add_block_preprocessor(sub {
    my $block = shift;

    $block->set_value('http_config', <<'_EOC_') unless $block->http_config;
rate_limit_zone $arg_k zone=client:1m rate=1r/h burst=2 plan=$arg_plan;
rate_limit_zone $arg_k zone=other:1m rate=5r/d;
correlation_id on;
correlation_id_trust on;
_EOC_

    $block->set_value('config', <<'_EOC_') unless $block->config;
location = /limits {
    rate_limit_admin;
}

location = /t {
    add_header X-Told "$rate_limit_status $rate_limit_zone" always;
    rate_limit zone=client;
    empty_gif;
}
_EOC_
});

run_tests();

__DATA__

=== TEST 1: all zones, and one
--- request eval
["GET /limits", "GET /limits?zone=other", "GET /limits?zone=none"]
--- error_code eval
[200, 200, 404]
--- response_headers eval
["Content-Type: application/json", "Content-Type: application/json",
 "Content-Type: application/problem+json"]
--- response_body_like eval
['^\{"zones":\s*\[\{"zone":\s*"client",.*"key_is":\s*"\$arg_k",.*"rate":\s*"1r/h",.*"burst":\s*2,.*"sync":\s*"local",.*"room_for_overrides":\s*\d+,.*"overrides":\s*\[\],.*\{"zone":\s*"other",',
 '^\{"zones":\s*\[\{"zone":\s*"other",(?!.*"client")',
 'There is no such zone']



=== TEST 2: methods
--- request eval
["POST /limits?zone=client&key=a", "PATCH /limits?zone=client&key=a",
 "HEAD /limits"]
--- error_code eval
[405, 405, 200]
--- response_headers eval
["Allow: GET, HEAD, PUT, DELETE", "Allow: GET, HEAD, PUT, DELETE",
 "Content-Type: application/json"]



=== TEST 3: an override is set, in force, replaced, listed and ended
--- more_headers eval
$::json
--- request eval
["PUT /limits?zone=client&key=a\n{\"rate\":\"1r/h\",\"burst\":1}",
 "GET /t?k=a", "GET /t?k=a", "GET /t?k=b", "GET /t?k=b", "GET /t?k=b",
 "PUT /limits?zone=client&key=a\n{\"rate\":\"9r/d\",\"burst\":5}",
 "GET /t?k=a",
 "GET /limits?zone=client",
 "DELETE /limits?zone=client&key=a", "DELETE /limits?zone=client&key=a",
 "GET /limits?zone=client"]
--- error_code eval
[201, 200, 429, 200, 200, 429, 200, 200, 200, 204, 404, 200]
--- response_headers eval
["Content-Type: application/json",
 "RateLimit-Policy: \"client\";q=1;w=3600",
 "X-Told: REJECTED client",
 "RateLimit-Policy: \"client\";q=2;w=7200", "", "",
 "Content-Type: application/json",
 "RateLimit-Policy: \"client\";q=9;w=86400",
 "Content-Type: application/json",
 "", "Content-Type: application/problem+json", ""]
--- response_body_like eval
['^\{"key":\s*"a",\s*"rate":\s*"1r/h",\s*"burst":\s*1,\s*"dry_run":\s*false',
 'GIF', 'quota-exceeded', 'GIF', 'GIF', 'quota-exceeded',
 '"rate":\s*"9r/d"', 'GIF',
 '"overrides":\s*\[\{"key":\s*"a",\s*"rate":\s*"9r/d",\s*"burst":\s*5',
 '^$', 'There is no such override', '"overrides":\s*\[\]']



=== TEST 4: by plan and for all
--- more_headers eval
$::json
--- request eval
["PUT /limits?zone=client&plan=gold\n{\"rate\":\"1r/h\",\"burst\":3}",
 "PUT /limits?zone=client&all=1\n{\"rate\":\"1r/h\",\"burst\":1}",
 "GET /t?k=a&plan=gold", "GET /t?k=b", "GET /t?k=b",
 "DELETE /limits?zone=client&all=1", "GET /t?k=c"]
--- error_code eval
[201, 201, 200, 200, 429, 204, 200]
--- response_headers eval
["", "", "RateLimit: \"client\";r=2;t=3600",
 "RateLimit-Policy: \"client\";q=1;w=3600", "", "",
 "RateLimit-Policy: \"client\";q=2;w=7200"]



=== TEST 5: a dry run refuses nobody and says what it would have done
--- more_headers eval
$::json
--- request eval
["PUT /limits?zone=client&key=a\n{\"rate\":\"1r/h\",\"burst\":1,\"dry_run\":true}",
 "GET /t?k=a", "GET /t?k=a", "GET /t?k=a", "GET /limits?zone=client"]
--- error_code eval
[201, 200, 200, 429, 200]
--- response_headers eval
["", "X-Told: PASSED client", "X-Told: REJECTED_DRY_RUN client",
 "X-Told: REJECTED client", ""]
--- response_body_like eval
['"dry_run":\s*true', 'GIF', 'GIF', 'quota-exceeded',
 '"passed":\s*1,\s*"would_refuse":\s*1\}']



=== TEST 6: the query names one zone and one target
--- more_headers eval
$::json
--- request eval
[map "PUT /limits$_\n{\"rate\":\"1r/h\"}",
 "", "?zone=none&key=a", "?zone=client", "?zone=client&key=",
 "?zone=client&key=a&plan=b", "?zone=client&all=2", "?zone=other&plan=a"]
--- error_code eval
[400, 404, 400, 400, 400, 400, 400]
--- response_headers eval
[("Content-Type: application/problem+json") x 7]
--- response_body_like eval
['must name a zone=', 'no such zone', ('must name one of key=, plan= and all=1') x 4,
 'The zone has no plan=']
--- no_error_log
audit



=== TEST 7: the body says what is wanted, and nothing else
--- more_headers eval
$::json
--- request eval
[map "PUT /limits?zone=client&key=a\n$_",
 '{', '[]', '{}', '{"rate":"1r/x"}', '{"rate":7}',
 '{"rate":"1r/h","burst":0}', '{"rate":"1r/h","dry_run":"yes"}',
 '{"rate":"1r/h","expires":0}', '{"rate":"1r/h","expires":31622401}',
 '{"rate":"1r/h","quota":5}', '{"rate":"1r/h","rate":"2r/h"}',
 '{"rate":"1r/d","burst":91}']
--- error_code eval
[(400) x 12]
--- response_headers eval
[("Content-Type: application/problem+json") x 12]
--- response_body_like eval
['no JSON', 'an object', 'must have a', 'must be a text', 'must be a text',
 '1 or more', 'true or false', 'a number of seconds', 'at most a year',
 'The members are', 'twice', '90 days']
--- no_error_log
audit



=== TEST 8: no JSON
--- more_headers
Content-Type: text/plain
--- request
PUT /limits?zone=client&key=a
{"rate":"1r/h"}
--- error_code: 415
--- response_headers
Content-Type: application/problem+json
--- no_error_log
audit



=== TEST 9: no type
--- request
PUT /limits?zone=client&key=a
{"rate":"1r/h"}
--- error_code: 415
--- no_error_log
audit



=== TEST 10: a type with a parameter
--- more_headers
Content-Type: application/json; charset=utf-8
--- request
PUT /limits?zone=client&key=a
{"rate":"1r/h"}
--- error_code: 201
--- error_log
audit



=== TEST 11: too large a body
--- more_headers eval
$::json
--- request eval
"PUT /limits?zone=client&key=a\n{\"rate\":\"1r/h\"" . " " x 4096 . "}"
--- error_code: 413
--- no_error_log
audit



=== TEST 12: names are percent-encoded, and shown as they are
--- more_headers eval
$::json
--- request eval
["PUT /limits?zone=client&key=a%20%22b%22%2f\n{\"rate\":\"1r/h\"}",
 "PUT /limits?zone=client&key=%ff%00\n{\"rate\":\"1r/h\"}",
 "GET /limits?zone=client",
 "DELETE /limits?zone=client&key=a%20%22b%22/"]
--- error_code eval
[201, 201, 200, 204]
--- response_body_like eval
['"key":\s*"a \\\\"b\\\\"/"', '"key_hex":\s*"ff00"',
 '"key":\s*"a \\\\"b\\\\"/".*"key_hex":\s*"ff00"|"key_hex":\s*"ff00".*"key":\s*"a \\\\"b\\\\"/"',
 '^$']



=== TEST 13: the hottest keys, and how often they were refused
--- request eval
[("GET /t?k=hot") x 4, "GET /t?k=cold", "GET /limits?zone=client"]
--- error_code eval
[200, 200, 429, 429, 200, 200]
--- response_body_like eval
['GIF', 'GIF', '', '', 'GIF',
 '"hottest":\s*\[\{"key":\s*"hot",\s*"requests":\s*4,\s*"refused":\s*2,.*\{"key":\s*"cold",\s*"requests":\s*1,\s*"refused":\s*0,']



=== TEST 14: guarded as any location
--- config
location = /limits {
    deny all;
    rate_limit_admin;
}
--- more_headers eval
$::json
--- request eval
["GET /limits", "PUT /limits?zone=client&key=a\n{\"rate\":\"1r/h\"}"]
--- error_code eval
[403, 403]
--- no_error_log
audit



=== TEST 15: who has set what, in the log
--- more_headers
Content-Type: application/json
X-Correlation-ID: change-17
--- request
PUT /limits?zone=client&key=a%20%22b%22%0a
{"rate":"1r/h","burst":7,"dry_run":true,"expires":60}
--- error_code: 201
--- error_log
audit: rate limit override set, zone "client" key "a \"b\"\u000a", 1r/h burst 7 in dry run for 60 s, by address "127.0.0.1", correlation ID "change-17": 201



=== TEST 16: who has ended what that was not there
--- more_headers
X-Correlation-ID: change-18
--- request
DELETE /limits?zone=client&plan=gold
--- error_code: 404
--- error_log
audit: rate limit override ended, zone "client" plan "gold", by address "127.0.0.1", correlation ID "change-18": 404



=== TEST 17: guarded by limit_except, with the status beside it
--- config
location = /limits {
    rate_limit_admin;
    limit_except GET { allow 127.0.0.1; deny all; }
}
location = /closed {
    rate_limit_admin;
    limit_except GET { deny all; }
}
location = /status {
    penstock_status;
    limit_except POST { allow all; }
}
--- request eval
["GET /limits", "DELETE /limits?zone=client&plan=gold", "GET /closed",
 "DELETE /closed?zone=client&plan=gold", "GET /status"]
--- error_code eval
[200, 404, 200, 403, 200]
--- response_body_like eval
['"zones"', '"title"', '"zones"', '403 Forbidden', 'penstock']
