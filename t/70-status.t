# penstock_status speaks to Prometheus and to people: which format is sent,
# and how other methods and formats are refused.

use Test::Nginx::Socket 'no_plan';

run_tests();

__DATA__

=== TEST 1: JSON by default
--- config
location = /status {
    penstock_status;
}
--- request
GET /status
--- response_headers
Content-Type: application/json
Cache-Control: no-store
Vary: Accept
--- response_body_like chop
^\{"version":"[0-9.]+","nginx":"[0-9.]+","metrics":\{"penstock_info":\{"type":"gauge","help":"[^"]+","values":\[\{"labels":\{"version":"[0-9.]+","nginx":"[0-9.]+"\},"value":1\}\]\}
--- no_error_log
[error]



=== TEST 2: Prometheus by Accept
--- config
location = /status {
    penstock_status;
}
--- request
GET /status
--- more_headers
Accept: application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1
--- response_headers
Content-Type: text/plain; version=0.0.4; charset=utf-8
--- response_body_like
^# HELP penstock_info [^\n]+
# TYPE penstock_info gauge
penstock_info\{version="[0-9.]+",nginx="[0-9.]+"\} 1



=== TEST 3: Prometheus by argument
--- config
location = /status {
    penstock_status;
}
--- request
GET /status?format=prometheus
--- response_headers
Content-Type: text/plain; version=0.0.4; charset=utf-8
!Vary
--- response_body_like: ^# HELP penstock_info



=== TEST 4: a client that takes anything gets JSON
--- config
location = /status {
    penstock_status;
}
--- request
GET /status
--- more_headers
Accept: application/json, text/plain, */*
--- response_headers
Content-Type: application/json



=== TEST 5: an unknown format
--- config
location = /status {
    penstock_status;
}
--- request
GET /status?format=%00xml
--- error_code: 400
--- response_headers
Content-Type: application/problem+json
--- response_body
{"type":"about:blank","title":"Bad Request","status":400,"detail":"The format is \"json\" or \"prometheus\"."}



=== TEST 6: POST
--- config
location = /status {
    penstock_status;
}
--- request
POST /status
x=1
--- error_code: 405
--- response_headers
Allow: GET, HEAD
Content-Type: application/problem+json



=== TEST 7: HEAD
--- config
location = /status {
    penstock_status;
}
--- request
HEAD /status
--- response_headers_like
Content-Length: \d\d\d+
--- response_body



=== TEST 8: access rules apply
--- config
location = /status {
    deny all;
    penstock_status;
}
--- request
GET /status
--- error_code: 403



=== TEST 9: a hostile Accept
--- config
location = /status {
    penstock_status;
}
--- request
GET /status
--- more_headers eval
"Accept: \"\\" . (",;q=" x 1000)
--- response_headers
Content-Type: application/json
--- no_error_log
[alert]
