# Wrong arguments are refused with what is wrong and what would be right.

use Test::Nginx::Socket 'no_plan';

run_tests();

__DATA__

=== TEST 1: neither on nor off
--- config
correlation_id yes;
--- must_die
--- error_log eval
qr/\[emerg\] .*invalid value "yes" in "correlation_id" directive, it must be "on" or "off" in .*nginx.conf:\d+/



=== TEST 2: so with trust
--- config
correlation_id_trust trusted;
--- must_die
--- error_log
invalid value "trusted" in "correlation_id_trust" directive, it must be "on" or "off"



=== TEST 3: so with trace_context
--- config
trace_context 1;
--- must_die
--- error_log
invalid value "1" in "trace_context" directive, it must be "on" or "off"



=== TEST 4: too many arguments
--- config
correlation_id on off;
--- must_die
--- error_log
invalid number of arguments in "correlation_id" directive



=== TEST 5: no argument
--- config
correlation_id_header;
--- must_die
--- error_log
invalid number of arguments in "correlation_id_header" directive



=== TEST 6: twice
--- config
correlation_id_header X-A;
correlation_id_header X-B;
--- must_die
--- error_log
"correlation_id_header" directive is duplicate



=== TEST 7: twice on
--- config
correlation_id on;
correlation_id on;
--- must_die
--- error_log
"correlation_id" directive is duplicate



=== TEST 8: an empty header name
--- config
correlation_id_header "";
--- must_die
--- error_log
the header name "" in "correlation_id_header" must have from 1 to 64 characters



=== TEST 9: one that is too long
--- config eval
"correlation_id_header " . "X" x 65 . ";"
--- must_die
--- error_log
must have from 1 to 64 characters



=== TEST 10: a space in it
--- config
correlation_id_header "X Correlation";
--- must_die
--- error_log eval
qr/"X Correlation" in "correlation_id_header" is no header name: use letters, digits and "-", as in X-Correlation-ID in .*nginx.conf:\d+/



=== TEST 11: a colon
--- config
correlation_id_header X-Correlation-ID:;
--- must_die
--- error_log
"X-Correlation-ID:" in "correlation_id_header" is no header name



=== TEST 12: a line feed, which would be a header of its own
--- config
correlation_id_header "X-A\nX-B";
--- must_die
--- error_log
in "correlation_id_header" is no header name



=== TEST 13: a variable
--- config
correlation_id_header $http_x_name;
--- must_die
--- error_log
"correlation_id_header" takes a header name, no variable: "$http_x_name"



=== TEST 14: a framing header
--- config
correlation_id_header content-length;
--- must_die
--- error_log
the header "content-length" in "correlation_id_header" has a meaning of its own: choose another name, as X-Correlation-ID



=== TEST 15: a hop-by-hop header
--- config
correlation_id_header Connection;
--- must_die
--- error_log
the header "Connection" in "correlation_id_header" has a meaning of its own



=== TEST 16: the routing header
--- config
correlation_id_header Host;
--- must_die
--- error_log
the header "Host" in "correlation_id_header" has a meaning of its own



=== TEST 17: credentials
--- config
correlation_id_header Authorization;
--- must_die
--- error_log
the header "Authorization" in "correlation_id_header" has a meaning of its own



=== TEST 18: not in an "if"
--- config
location / {
    if ($arg_a) {
        correlation_id on;
    }
}
--- must_die
--- error_log
"correlation_id" directive is not allowed here



=== TEST 19: all of it, at each level
--- http_config
correlation_id on;
correlation_id_header X-Request-ID;
correlation_id_trust on;
trace_context on;
--- config
correlation_id off;
correlation_id_header Request-Id;
correlation_id_trust off;
trace_context off;
location = /t {
    correlation_id on;
    correlation_id_header Transaction-Id;
    correlation_id_trust on;
    trace_context on;
    return 200 "ok\n";
}
--- request
GET /t
--- response_headers_like
Transaction-Id: [0-9a-f-]{36}
--- response_body
ok
