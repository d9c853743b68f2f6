# Claims and header fields as variables: what text they have, and who sees
# them when.

use lib 't/lib';
use PenstockTokens;
use Test::Nginx::Socket 'no_plan';

new_key('a', 'ES256');
new_key('b', 'ES256');
key_set('a.json', 'a ka ES256');
key_set('b.json', 'b kb ES256');
key_set('ab.json', 'a ka ES256', 'b kb ES256');

our @claims = map { ('--claim', $_) }
    'str="caf\u00e9 \"x\""', 'int=-12345678901234', 'real=0.1', 'big=1e20',
    'yes=true', 'no=false', 'nil=null', 'empty=""',
    'list=["a",1,true,null,1.5]', 'deep=[["x"],{"y":2}]', 'none=[]',
    'obj={"k":{"m":"v","n":[1,2]},"z":9}', 'realm_access={"roles":["r1","r2"]}',
    'Upper="up"', 'a.b="dot"', 'nest={"1":{"2":{"3":"deep"}}}';

our $token = mint('a', 'ES256', '--kid', 'ka', '--sub', 'bob', '--iss', 'i1',
                  '--aud', 'x', '--aud', 'y', @claims);
our $tb = mint('b', 'ES256', '--kid', 'kb', '--sub', 'eve');

add_block_preprocessor(sub {
    my ($block) = @_;

    $block->set_value('http_config', <<'_EOC_') unless $block->http_config;
auth_jwt_claim_set $c_roles realm_access roles;
auth_jwt_claim_set $c_upper Upper;
auth_jwt_claim_set $c_dot a.b;
auth_jwt_claim_set $c_m obj k m;
auth_jwt_claim_set $c_n obj k n;
auth_jwt_claim_set $c_k obj k;
auth_jwt_claim_set $c_deep nest 1 2 3;
auth_jwt_claim_set $c_miss obj k q;
auth_jwt_header_set $h_kid kid;
_EOC_
});

no_shuffle();
run_tests();

__DATA__

=== TEST 1: the text of each kind
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/a.json;
    try_files /none @out;
}
location @out {
    auth_jwt off;
    return 200 "str=$jwt_claim_str
int=$jwt_claim_int
real=$jwt_claim_real
yes=$jwt_claim_yes
no=$jwt_claim_no
nil=[$jwt_claim_nil]
empty=[$jwt_claim_empty]
list=$jwt_claim_list
deep=$jwt_claim_deep
none=[$jwt_claim_none]
aud=$jwt_claim_aud
missing=[$jwt_claim_missing]
z=$jwt_claim_obj
";
}
--- request
GET /t
--- more_headers eval
PenstockTokens::bearer($main::token)
--- response_body eval
qq(str=caf\xc3\xa9 "x"
int=-12345678901234
real=0.1
yes=true
no=false
nil=[]
empty=[]
list=a,1,true,null,1.5
deep=["x"],{"y":2}
none=[]
aud=x,y
missing=[]
z={"k":{"m":"v","n":[1,2]},"z":9}
)



=== TEST 2: paths into objects, and names that nginx would not take
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/a.json;
    try_files /none @out;
}
location @out {
    auth_jwt off;
    return 200 "$c_roles $c_upper $c_dot $c_m $c_n $c_k $c_deep [$c_miss] [$jwt_claim_upper]
$h_kid $jwt_header_alg $jwt_header_typ [$jwt_header_none]
";
}
--- request
GET /t
--- more_headers eval
PenstockTokens::bearer($main::token)
--- response_body
r1,r2 up dot v 1,2 {"m":"v","n":[1,2]} deep [] []
ka ES256 JWT []



=== TEST 3: the same from the cache, for the upstream and for the log
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/a.json;
    proxy_set_header X-Sub $jwt_claim_sub;
    proxy_set_header X-Roles $c_roles;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin;
    add_header X-Log "$jwt_claim_sub $jwt_claim_iss" always;
}
location = /origin {
    return 200 "$http_x_sub $http_x_roles\n";
}
--- request eval
["GET /t", "GET /t", "GET /t"]
--- more_headers eval
PenstockTokens::bearer($main::token)
--- response_body eval
["bob r1,r2\n", "bob r1,r2\n", "bob r1,r2\n"]
--- response_headers eval
["X-Log: bob i1", "X-Log: bob i1", "X-Log: bob i1"]



=== TEST 4: nothing of a token that was refused
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/a.json;
    auth_jwt_scope never;
    error_page 401 403 @out;
}
location @out {
    auth_jwt off;
    return 200 "[$jwt_claim_sub][$jwt_header_alg] $auth_jwt_error\n";
}
--- request eval
["GET /t", "GET /t", "GET /t"]
--- more_headers eval
[PenstockTokens::bearer($main::token), PenstockTokens::bearer($main::tb), ""]
--- error_code eval
[403, 401, 401]
--- response_body eval
["[][] a required scope is missing\n",
 "[][] no key fits \"alg\" and \"kid\"\n", "[][] no token\n"]



=== TEST 5: before ACCESS they are empty, and don't stay so
--- config
location = /t {
    set $early "[$jwt_claim_sub]";
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/a.json;
    add_header X-Early $early;
    add_header X-Late "[$jwt_claim_sub]";
    empty_gif;
}
--- request
GET /t
--- more_headers eval
PenstockTokens::bearer($main::token)
--- response_headers
X-Early: []
X-Late: [bob]



=== TEST 6: claims that other keys verified are not seen in a location
--- config
location = /a {
    auth_jwt "a";
    auth_jwt_key_file $TEST_NGINX_KEYS/a.json;
    error_page 404 /b;
}
location = /b {
    auth_jwt "b";
    auth_jwt_key_file $TEST_NGINX_KEYS/b.json;
    add_header X-Early $early always;
    set $early "[$jwt_claim_sub]";
    add_header X-Late "[$jwt_claim_sub]" always;
}
location = /same {
    auth_jwt "a";
    auth_jwt_key_file $TEST_NGINX_KEYS/ab.json;
    error_page 404 /off;
}
location = /off {
    set $early "[$jwt_claim_sub]";
    add_header X-Early $early always;
    add_header X-Late "[$jwt_claim_sub]" always;
    empty_gif;
}
--- request eval
["GET /a", "GET /same", "GET /off"]
--- more_headers eval
PenstockTokens::bearer($main::token)
--- error_code eval
[401, 404, 200]
--- response_headers eval
["X-Early: []\nX-Late: []", "X-Early: [bob]\nX-Late: [bob]",
 "X-Early: []\nX-Late: []"]



=== TEST 7: a subrequest sees the main request's
--- config
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/a.json;
    auth_request /check;
    auth_request_set $who $upstream_http_x_who;
    add_header X-Who $who always;
    empty_gif;
}
location = /check {
    internal;
    proxy_pass_request_body off;
    proxy_set_header Content-Length "";
    proxy_set_header X-Sub $jwt_claim_sub;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin;
}
location = /origin {
    add_header X-Who "who-$http_x_sub";
    return 204;
}
--- request
GET /t
--- more_headers eval
PenstockTokens::bearer($main::token)
--- response_headers
X-Who: who-bob



=== TEST 8: a map asked early stays empty unless volatile
--- http_config
map $jwt_claim_sub $still { default none; bob known; }
map $jwt_claim_sub $fresh { volatile; default none; bob known; }
--- config
location = /t {
    set $e1 $still;
    set $e2 $fresh;
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/a.json;
    add_header X-Still $still;
    add_header X-Fresh $fresh;
    empty_gif;
}
--- request
GET /t
--- more_headers eval
PenstockTokens::bearer($main::token)
--- response_headers
X-Still: none
X-Fresh: known
