# The module loads, and what is not configured changes nothing: an ordinary
# location answers as it would without the module.

use Test::Nginx::Socket 'no_plan';

run_tests();

__DATA__

=== TEST 1: nothing configured, own answer
--- config
location = /t {
    return 200 "plain\n";
}
--- request
GET /t
--- response_body
plain
--- response_headers
!X-Correlation-ID
!RateLimit
!Cache-Status



=== TEST 2: nothing configured, proxied
--- config
location = /t {
    proxy_pass http://127.0.0.1:$server_port/origin;
}

location = /origin {
    add_header X-Origin yes;
    return 201 "made\n";
}
--- request
POST /t
body
--- error_code: 201
--- response_body
made
--- response_headers
X-Origin: yes



=== TEST 3: an error keeps nginx's own page
--- config
location = /t {
    return 404;
}
--- request
GET /t
--- error_code: 404
--- response_headers
Content-Type: text/html
--- response_body_like: 404 Not Found



=== TEST 4: an unknown directive is still nginx's to refuse
--- config
location = /t {
    penstock_no_such_thing on;
}
--- must_die
--- error_log
unknown directive "penstock_no_such_thing"
