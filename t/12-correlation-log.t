# Every line that nginx writes to the error log for a request carries its
# ID, however long the request line or the message is.

use Test::Nginx::Socket 'no_plan';

our $uuid = '[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}';

add_block_preprocessor(sub {
    my ($block) = @_;

    $block->set_value('log_level', 'info') unless defined $block->log_level;
});

no_root_location();
run_tests();

__DATA__

=== TEST 1: a missing file; the ID stands before nginx's own fields
--- config
correlation_id on;
correlation_id_trust on;
location / {
    root html;
}
--- request
GET /none
--- more_headers
X-Correlation-ID: client-1
--- error_code: 404
--- error_log eval
qr/\[error\] .*open\(\) .* client: 127.0.0.1, correlation_id: "client-1", server: localhost, request: "GET \/none /



=== TEST 2: a made one
--- config
correlation_id on;
location / {
    root html;
}
--- request
GET /none
--- error_code: 404
--- error_log eval
qr/, correlation_id: "$::uuid", server: /



=== TEST 3: off: lines as ever
--- config
location / {
    root html;
}
--- request
GET /none
--- error_code: 404
--- error_log eval
qr/ client: 127.0.0.1, server: localhost/
--- no_error_log
correlation_id



=== TEST 4: a request line of 1800 characters does not push it out
--- config
correlation_id on;
correlation_id_trust on;
location / {
    deny all;
}
--- request eval
"GET /" . "a" x 1800
--- more_headers
X-Correlation-ID: client-4
--- error_code: 403
--- error_log eval
qr/access forbidden by rule, client: 127.0.0.1, correlation_id: "client-4", server: localhost, request: "GET \/aaa/



=== TEST 5: nor does a message longer than the whole line
--- config
correlation_id on;
correlation_id_trust on;
location / {
    rewrite_log on;
    rewrite ^(.*)$ $1$1;
    return 204;
}
--- log_level: notice
--- request eval
"GET /" . "a" x 1900
--- more_headers
X-Correlation-ID: client-5
--- error_code: 204
--- error_log eval
[qr/\[notice\] .*aaaaaaaaaa, correlation_id: "client-5"\n/]



=== TEST 6: an ID of 128 characters
--- config
correlation_id on;
correlation_id_trust on;
location / {
    rewrite_log on;
    rewrite ^(.*)$ $1$1;
    return 204;
}
--- log_level: notice
--- request eval
"GET /" . "a" x 1900
--- more_headers eval
"X-Correlation-ID: " . "i" x 128
--- error_code: 204
--- error_log eval
"a, correlation_id: \"" . "i" x 128 . "\"\n"



=== TEST 7: an upstream that is not there
--- config
correlation_id on;
correlation_id_trust on;
location / {
    proxy_pass http://127.0.0.2:1/;
}
--- request
GET /
--- more_headers
X-Correlation-ID: client-8
--- error_code: 502
--- response_headers
X-Correlation-ID: client-8
--- error_log eval
qr/connect\(\) failed .*, correlation_id: "client-8", server: localhost, request: .*upstream: "http:\/\/127.0.0.2:1\/"/



=== TEST 8: a subrequest's line carries the main request's ID
--- config
correlation_id on;
correlation_id_trust on;
location / {
    auth_request /auth;
    root html;
}
location = /auth {
    internal;
    proxy_pass http://127.0.0.2:1/;
}
--- request
GET /
--- more_headers
X-Correlation-ID: client-9
--- error_code: 500
--- error_log eval
[qr/connect\(\) failed .*, correlation_id: "client-9", .*subrequest: "\/auth"/,
 qr/auth request unexpected status: 502 .*, correlation_id: "client-9"/]



=== TEST 9: nothing is written twice after internal redirects
--- config
correlation_id on;
correlation_id_trust on;
error_page 404 /error;
error_page 403 @named;
location / {
    root html;
}
location = /error {
    deny all;
}
location @named {
    root html/gone;
}
--- request
GET /none
--- more_headers
X-Correlation-ID: client-10
--- error_code: 403
--- error_log eval
qr/access forbidden by rule, client: 127.0.0.1, correlation_id: "client-10", server/
--- no_error_log eval
qr/correlation_id.*correlation_id/



=== TEST 10: on in the location alone: a line of its rewrite
--- config
location = /rewrite {
    correlation_id on;
    correlation_id_trust on;
    rewrite_log on;
    rewrite ^/rewrite$ /x;
    return 204;
}
location = /access {
    correlation_id on;
    correlation_id_trust on;
    deny all;
}
location = /content {
    correlation_id on;
    correlation_id_trust on;
    root html;
}
location = /named {
    try_files /none @named;
}
location @named {
    correlation_id on;
    correlation_id_trust on;
    deny all;
}
--- log_level: notice
--- request
GET /rewrite
--- more_headers
X-Correlation-ID: client-rewrite
--- error_code: 204
--- error_log eval
qr/rewritten data: .*correlation_id: "client-rewrite"/



=== TEST 11: on in the location alone: of the access phase
--- config
location = /rewrite {
    correlation_id on;
    correlation_id_trust on;
    rewrite_log on;
    rewrite ^/rewrite$ /x;
    return 204;
}
location = /access {
    correlation_id on;
    correlation_id_trust on;
    deny all;
}
location = /content {
    correlation_id on;
    correlation_id_trust on;
    root html;
}
location = /named {
    try_files /none @named;
}
location @named {
    correlation_id on;
    correlation_id_trust on;
    deny all;
}
--- log_level: notice
--- request
GET /access
--- more_headers
X-Correlation-ID: client-access
--- error_code: 403
--- error_log eval
qr/access forbidden by rule.*correlation_id: "client-access"/



=== TEST 12: on in the location alone: of its content
--- config
location = /rewrite {
    correlation_id on;
    correlation_id_trust on;
    rewrite_log on;
    rewrite ^/rewrite$ /x;
    return 204;
}
location = /access {
    correlation_id on;
    correlation_id_trust on;
    deny all;
}
location = /content {
    correlation_id on;
    correlation_id_trust on;
    root html;
}
location = /named {
    try_files /none @named;
}
location @named {
    correlation_id on;
    correlation_id_trust on;
    deny all;
}
--- log_level: notice
--- request
GET /content
--- more_headers
X-Correlation-ID: client-content
--- error_code: 404
--- error_log eval
qr/open\(\) .*correlation_id: "client-content"/



=== TEST 13: on in the location alone: of a named location, the first having it off
--- config
location = /rewrite {
    correlation_id on;
    correlation_id_trust on;
    rewrite_log on;
    rewrite ^/rewrite$ /x;
    return 204;
}
location = /access {
    correlation_id on;
    correlation_id_trust on;
    deny all;
}
location = /content {
    correlation_id on;
    correlation_id_trust on;
    root html;
}
location = /named {
    try_files /none @named;
}
location @named {
    correlation_id on;
    correlation_id_trust on;
    deny all;
}
--- log_level: notice
--- request
GET /named
--- more_headers
X-Correlation-ID: client-named
--- error_code: 403
--- error_log eval
qr/access forbidden by rule.*correlation_id: "client-named"/



=== TEST 14: a header nginx complains of
--- config
correlation_id on;
location / {
    return 204;
}
--- raw_request eval
"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n"
--- error_code: 400
--- error_log
client sent invalid "Content-Length" header
