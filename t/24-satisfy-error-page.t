# auth_jwt among nginx's own: satisfy, allow and deny, auth_basic, error_page,
# internal redirects, limit_except.

use lib 't/lib';
use PenstockTokens;
use Test::Nginx::Socket 'no_plan';

new_key('a', 'ES256');
new_key('b', 'ES256');
key_set('a.json', 'a ka ES256');
key_set('b.json', 'b kb ES256');

our $good = bearer(mint('a', 'ES256', '--sub', 's', '--scope', 'read'));
our $bad = bearer(mint('b', 'ES256'));
our $challenge = 'WWW-Authenticate: Bearer realm="api", '
    . 'error="invalid_token", error_description="The access token\'s '
    . 'signature is not valid"';

add_block_preprocessor(sub {
    my ($block) = @_;

    $block->set_value('http_config', <<'_EOC_');
auth_jwt_key_file $TEST_NGINX_KEYS/a.json;
_EOC_
});

no_shuffle();
run_tests();

__DATA__

=== TEST 1: satisfy any: an allowed address needs no token
--- config
location = /t {
    satisfy any;
    allow 127.0.0.1;
    deny all;
    auth_jwt "api";
    empty_gif;
}
--- request eval
["GET /t", "GET /t", "GET /t"]
--- more_headers eval
["", $main::bad, $main::good]
--- error_code eval
[200, 200, 200]
--- response_headers eval
[('!WWW-Authenticate') x 3]



=== TEST 2: satisfy any: a token lets a denied address in
--- config
location = /t {
    satisfy any;
    deny all;
    auth_jwt "api";
    empty_gif;
}
--- request eval
["GET /t", "GET /t", "GET /t"]
--- more_headers eval
["", $main::bad, $main::good]
--- error_code eval
[401, 401, 200]
--- response_headers eval
['WWW-Authenticate: Bearer realm="api"', $main::challenge,
 '!WWW-Authenticate']



=== TEST 3: satisfy all: both
--- config
location = /deny {
    deny all;
    auth_jwt "api";
    empty_gif;
}
location = /allow {
    allow 127.0.0.1;
    deny all;
    auth_jwt "api";
    empty_gif;
}
--- request eval
["GET /deny", "GET /deny", "GET /allow", "GET /allow"]
--- more_headers eval
["", $main::good, "", $main::good]
--- error_code eval
[403, 403, 401, 200]



=== TEST 4: a denied address costs no signature check
--- config
location = /t {
    deny all;
    auth_jwt "api";
    empty_gif;
}
location = /status { penstock_status; }
--- request eval
["GET /t", "GET /status?format=prometheus"]
--- more_headers eval
[$main::good, ""]
--- error_code eval
[403, 200]
--- response_body_like eval
["403", "penstock_oauth_signature_checks_total 0"]



=== TEST 5: satisfy any with auth_basic: either, and both challenges
--- config
location = /t {
    satisfy any;
    auth_basic "users";
    auth_basic_user_file $TEST_NGINX_SERVER_ROOT/html/users;
    auth_jwt "api";
    empty_gif;
}
--- user_files
>>> users
bob:{PLAIN}secret
--- request eval
["GET /t", "GET /t", "GET /t"]
--- more_headers eval
["Authorization: Basic Ym9iOnNlY3JldA==", $main::good, ""]
--- error_code eval
[200, 200, 401]
--- response_headers_like eval
["", "", "WWW-Authenticate: Bearer realm=\"api\", Basic realm=\"users\""]



=== TEST 6: error_page: another page, the challenge stays
--- config
location = /t {
    auth_jwt "api";
    error_page 401 /login.html;
    empty_gif;
}
location = /u {
    auth_jwt "api";
    error_page 401 =200 /login.html;
    empty_gif;
}
location = /v {
    auth_jwt "api";
    error_page 401 = @fallback;
    empty_gif;
}
location = /login.html { internal; root html; }
location @fallback { return 302 /login?from=$uri; }
--- user_files
>>> login.html
please
--- request eval
["GET /t", "GET /u", "GET /v"]
--- error_code eval
[401, 200, 302]
--- response_body_like eval
["^please", "^please", "302 Found"]
--- response_headers eval
['WWW-Authenticate: Bearer realm="api"', "", ""]



=== TEST 7: error_page within the same authentication: one challenge
--- config
auth_jwt "api";
location = /t {
    error_page 401 /login.html;
    empty_gif;
}
location = /login.html {
    root html;
}
--- user_files
>>> login.html
please
--- raw_request eval
"GET /t HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
--- error_code: 401
--- response_headers
WWW-Authenticate: Bearer realm="api"



=== TEST 8: rewrite into a location of other requirements
--- config
location = /open {
    auth_jwt off;
    rewrite ^ /closed last;
}
location = /closed {
    auth_jwt "api";
    auth_jwt_scope admin;
    empty_gif;
}
location = /read {
    auth_jwt "api";
    auth_jwt_scope read;
    error_page 404 /closed;
    root html;
}
--- request eval
["GET /open", "GET /open", "GET /read"]
--- more_headers eval
["", $main::good, $main::good]
--- error_code eval
[401, 403, 403]



=== TEST 9: auth_request beside auth_jwt, and if in a location
--- config
location = /t {
    auth_jwt "api";
    auth_request /check;
    empty_gif;
}
location = /no {
    auth_jwt "api";
    auth_request /deny;
    empty_gif;
}
location = /if {
    auth_jwt "api";
    if ($arg_x) { set $y 1; }
    empty_gif;
}
location = /check { internal; return 204; }
location = /deny { internal; return 403; }
--- request eval
["GET /t", "GET /t", "GET /no", "GET /if?x=1", "GET /if?x=1"]
--- more_headers eval
["", $main::good, $main::good, "", $main::good]
--- error_code eval
[401, 200, 403, 401, 200]
