# W3C Trace Context, level 2, at the HTTP boundary: what an upstream gets for
# what a client sent.  The grammar byte by byte is in tests/unit.  The
# upstream is a server on another loopback address.

use Test::Nginx::Socket 'no_plan';

our $trace = '12345678901234567890123456789012';
our $parent = '1234567890123456';
our $joined = "00-$trace-(?!$parent)[0-9a-f]{16}";
our $fresh = "00-(?!$trace)[0-9a-f]{32}-(?!$parent)[0-9a-f]{16}-02";

add_block_preprocessor(sub {
    my ($block) = @_;

    $block->set_value('http_config', <<'END');
server {
    listen 127.0.0.2:$TEST_NGINX_SERVER_PORT;
    location / {
        return 200 "$http_traceparent|$http_tracestate\n";
    }
}
END

    $block->set_value('config', <<'END') unless defined $block->config;
trace_context on;
location = /t {
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT/;
}
END

    $block->set_value('request', 'GET /t') unless defined $block->request;
});

no_root_location();
run_tests();

__DATA__

=== TEST 1: off by default: what a client sends passes
--- config
location = /t {
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT/;
    add_header X-Seen "[$trace_id$span_id$trace_flags$traceparent]";
}
--- more_headers
traceparent: anything
tracestate: FOO
--- response_headers
X-Seen: []
--- response_body
anything|FOO



=== TEST 2: a new trace: random, not sampled
--- response_body_like eval
"^$::fresh\\|\$"



=== TEST 3: joined: the trace's ID stays, the parent is ours, flags are kept
--- request eval
[map { "GET /t" } 1 .. 4]
--- more_headers eval
[map { "traceparent: 00-$::trace-$::parent-$_" } "00", "01", "02", "03"]
--- response_body_like eval
[map { "^$::joined-$_\\|\$" } "00", "01", "02", "03"]



=== TEST 4: other flags are sent as zero
--- more_headers eval
"traceparent: 00-$::trace-$::parent-fd"
--- response_body_like eval
"^$::joined-01\\|\$"



=== TEST 5: a later version is read and answered as version 00
--- request eval
["GET /t", "GET /t"]
--- more_headers eval
["traceparent: cc-$::trace-$::parent-01",
 "traceparent: cc-$::trace-$::parent-01-what-the-future-will-be-like"]
--- response_body_like eval
["^$::joined-01\\|\$", "^$::joined-01\\|\$"]



=== TEST 6: invalid: the trace starts anew and tracestate is dropped
--- request eval
[map { "GET /t" } 1 .. 9]
--- more_headers eval
[map { "traceparent: $_\r\ntracestate: foo=1" }
 "00-$::trace-$::parent-01.", "00-$::trace-$::parent-01-more",
 "cc-$::trace-$::parent-01.more", "ff-$::trace-$::parent-01",
 "00-" . "0" x 32 . "-$::parent-01", "00-$::trace-" . "0" x 16 . "-01",
 "00-$::trace-$::parent-1", "", "x"]
--- response_body_like eval
[map { "^$::fresh\\|\$" } 1 .. 9]



=== TEST 7: two are as good as none
--- more_headers eval
"traceparent: 00-$::trace-$::parent-01
traceparent: 00-$::trace-$::parent-01
tracestate: foo=1"
--- response_body_like eval
"^$::fresh\\|\$"



=== TEST 8: the name in any case, other names are no traceparent
--- request eval
["GET /t", "GET /t", "GET /t"]
--- more_headers eval
["TraceParent: 00-$::trace-$::parent-01\r\nTRACESTATE: foo=1",
 "trace-parent: 00-$::trace-$::parent-01",
 "trace.parent: 00-$::trace-$::parent-01"]
--- response_body_like eval
["^$::joined-01\\|foo=1\$", "^$::fresh\\|\$", "^$::fresh\\|\$"]



=== TEST 9: spaces and tabs around it
--- request eval
["GET /t", "GET /t"]
--- more_headers eval
["traceparent: \t 00-$::trace-$::parent-01 \t",
 "traceparent: \t00-$::trace-$::parent-01\t"]
--- response_body_like eval
["^$::joined-01\\|\$", "^$::joined-01\\|\$"]



=== TEST 10: tracestate alone is dropped
--- more_headers
tracestate: foo=1
--- response_body_like eval
"^$::fresh\\|\$"



=== TEST 11: tracestate passes; several become one, in order, empty ones go
--- request eval
[map { "GET /t" } 1 .. 5]
--- more_headers eval
[map { "traceparent: 00-$::trace-$::parent-00\r\n$_" }
 "tracestate: foo=1,bar=2",
 "tracestate: foo=1,bar=2\r\ntracestate: rojo=1,congo=2\r\ntracestate: baz=3",
 "tracestate: foo=1\r\ntracestate: ",
 "tracestate: \r\ntracestate: foo=1",
 "tracestate: foo=1 \t , \t bar=2, \t baz=3"]
--- response_body_like eval
["\\|foo=1,bar=2\$", "\\|foo=1,bar=2,rojo=1,congo=2,baz=3\$", "\\|foo=1\$",
 "\\|foo=1\$", "\\|foo=1,bar=2,baz=3\$"]



=== TEST 12: an invalid tracestate is dropped, the trace goes on
--- request eval
[map { "GET /t" } 1 .. 7]
--- more_headers eval
[map { "traceparent: 00-$::trace-$::parent-01\r\ntracestate: $_" }
 "foo=1,foo=2", "FOO=1", "foo =1", "foo=bar=baz", "foo=,bar=3",
 "bar=1\r\ntracestate: bar=2", "z" x 257 . "=1"]
--- response_body_like eval
[map { "^$::joined-01\\|\$" } 1 .. 7]



=== TEST 13: 32 members pass, 33 do not
--- request eval
["GET /t", "GET /t"]
--- more_headers eval
[map { "traceparent: 00-$::trace-$::parent-01\r\ntracestate: a=1\r\n"
       . "tracestate: " . CORE::join(",", map { "k$_=v" } 1 .. $_) } 31, 32]
--- response_body_like eval
["\\|a=1,k1=v,.*,k31=v\$", "^$::joined-01\\|\$"]



=== TEST 14: a tracestate of 16 KB
--- config
trace_context on;
large_client_header_buffers 8 16k;
location = /t {
    return 200 "$traceparent\n";
}
--- more_headers eval
"traceparent: 00-$::trace-$::parent-01\r\n"
. CORE::join("\r\n", map { "tracestate: k$_=" . "v" x 256 } 10 .. 41)
--- response_body_like eval
"^$::joined-01\$"



=== TEST 15: the variables are what the upstream gets
--- config
trace_context on;
location = /t {
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT/;
    add_header X-Parts "00-$trace_id-$span_id-$trace_flags";
    add_header X-Trace $trace_id;
}
--- more_headers eval
"traceparent: 00-$::trace-$::parent-01"
--- response_headers_like eval
"X-Parts: $::joined-01
X-Trace: $::trace"
--- response_body_like eval
"^$::joined-01\\|\$"



=== TEST 16: set before the location: the same span
--- config
trace_context on;
set $before $traceparent;
location = /t {
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT/;
    proxy_set_header X-Before $before;
    if ($before = $traceparent) {
        return 200 "same\n";
    }
    return 200 "changed\n";
}
--- response_body
same



=== TEST 17: no trace header goes to the client
--- response_headers
!traceparent
!tracestate



=== TEST 18: off in a location
--- config
trace_context on;
location = /t {
    trace_context off;
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT/;
}
--- more_headers
traceparent: client
--- response_body
client|



=== TEST 19: without a correlation ID, and with one
--- config
trace_context on;
location = /t {
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT/;
}
location = /both {
    correlation_id on;
    proxy_pass http://127.0.0.2:$TEST_NGINX_SERVER_PORT/;
}
--- request eval
["GET /t", "GET /both"]
--- more_headers eval
"traceparent: 00-$::trace-$::parent-01"
--- response_headers_like eval
["Content-Type: text/plain", "X-Correlation-ID: [0-9a-f-]{36}"]
--- response_body_like eval
["^$::joined-01\\|\$", "^$::joined-01\\|\$"]
