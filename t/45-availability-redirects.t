# The cache among nginx's other phases: redirects run them again, access rules
# and limits come first, an error page may say more than a problem.

use Test::Nginx::Socket 'no_plan';

my (%seen, $n, $of);

add_response_body_check(sub {
    my ($block, $body, $i) = @_;

    return unless defined $block->answers;

    if (!defined $of || $of ne $block->name) {
        $of = $block->name;
        %seen = ();
        $n = 0;
    }

    my $want = (split ' ', $block->answers)[$i];

    return if $want eq '-';

    $seen{$body} = ++$n unless exists $seen{$body};

    Test::More::is($seen{$body}, $want,
                   $block->name . " - answer of request $i");
});

add_block_preprocessor(sub {
    my $block = shift;

    my $http = $block->http_config || '';
    my $config = $block->config || '';

    $block->set_value('http_config', "availability_zone a:1m;\n$http");

    $block->set_value('config', <<'_EOC_' . $config);
location /t {
    availability_cache a;
    availability_cache_valid 60s;
    availability_cache_tag arg=sku arg=location;
    add_header X-Status $availability_cache_status always;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin/;
}

location /origin/ {
    return 200 "$request_method $request_uri $request_id";
}
_EOC_
});

no_long_string();
run_tests();

__DATA__

=== TEST 1: error_page for what can't be read
--- config
location = /e {
    availability_cache a;
    error_page 502 = @sorry;
    proxy_pass http://127.0.0.1:1/;
}

location @sorry {
    return 203 "later";
}
--- request eval
["GET /e", "GET /e"]
--- error_code eval
[203, 203]
--- response_body eval
["later", "later"]



=== TEST 2: an error page from another cached location, with a key of its own
--- config
location = /e {
    availability_cache a;
    error_page 502 =200 /other;
    proxy_pass http://127.0.0.1:1/;
}

location = /other {
    availability_cache a;
    availability_cache_key $uri;
    availability_cache_valid 60s;
    add_header X-Status $availability_cache_status always;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin/;
}
--- request eval
["GET /e", "GET /e", "GET /other"]
--- answers: 1 1 1
--- response_headers eval
["X-Status: MISS", "X-Status: HIT", "X-Status: HIT"]



=== TEST 3: try_files to a named location, which caches
--- config
location /n/ {
    try_files /none @origin;
}

location @origin {
    availability_cache a;
    availability_cache_valid 60s;
    add_header X-Status $availability_cache_status always;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT;
    rewrite ^/n(/.*) /origin$1 break;
}
--- request eval
["GET /n/a", "GET /n/a", "GET /n/b"]
--- answers: 1 1 2
--- response_headers eval
["X-Status: MISS", "X-Status: HIT", "X-Status: MISS"]



=== TEST 4: the cache before try_files: what that finds, and not where it leads
--- config
location /n/ {
    root html;
    availability_cache a;
    availability_cache_valid 60s;
    add_header X-Status $availability_cache_status always;
    try_files $uri @origin;
}

location @origin {
    add_header X-Status $availability_cache_status always;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT;
    rewrite ^/n(/.*) /origin$1 break;
}
--- user_files
>>> n/file
found
--- request eval
["GET /n/a", "GET /n/a", "GET /n/file", "GET /n/file"]
--- answers: 1 2 3 3
--- response_headers eval
["X-Status: MISS", "X-Status: PASS", "X-Status: MISS", "X-Status: HIT"]



=== TEST 5: a rewrite of the location
--- config
location /r/ {
    availability_cache a;
    availability_cache_valid 60s;
    availability_cache_key $uri$is_args$args;
    add_header X-Status $availability_cache_status always;
    rewrite ^/r/(.*)$ /origin/$1 break;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT;
}
--- request eval
["GET /r/a", "GET /r/a", "GET /r/b"]
--- answers: 1 1 2



=== TEST 6: X-Accel-Redirect of the upstream
--- config
location = /x {
    availability_cache a;
    availability_cache_valid 60s;
    add_header X-Status $availability_cache_status always;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/accel;
}

location = /accel {
    add_header X-Accel-Redirect /origin/there;
    return 200;
}
--- request eval
["GET /x", "GET /x"]
--- answers: 1 2
--- response_body_like eval
["^GET /origin|^GET /x", "."]



=== TEST 7: deny is asked before a hit
--- config
location = /d {
    availability_cache a;
    availability_cache_key d;
    availability_cache_valid 60s;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin/;
}

location = /denied {
    deny all;
    availability_cache a;
    availability_cache_key d;
    availability_cache_valid 60s;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin/;
}
--- request eval
["GET /d", "GET /denied"]
--- error_code eval
[200, 403]



=== TEST 8: satisfy any
--- config
location = /s {
    satisfy any;
    allow 127.0.0.1;
    deny all;
    auth_basic realm;
    auth_basic_user_file html/none;
    availability_cache a;
    availability_cache_valid 60s;
    add_header X-Status $availability_cache_status always;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin/;
}
--- request eval
["GET /s", "GET /s"]
--- response_headers eval
["X-Status: MISS", "X-Status: HIT"]



=== TEST 9: a hit is counted by its rate limit
--- http_config
rate_limit_zone $server_name zone=l:1m rate=1r/h burst=2;
--- config
location = /l {
    rate_limit zone=l;
    availability_cache a;
    availability_cache_valid 60s;
    add_header X-Status $availability_cache_status;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin/;
}
--- request eval
["GET /l", "GET /l", "GET /l", "GET /l"]
--- error_code eval
[200, 200, 429, 429]
--- response_headers eval
["X-Status: MISS", "X-Status: HIT", "!X-Status", "!X-Status"]
--- response_headers_like eval
["RateLimit: \"l\";r=1;", "RateLimit: \"l\";r=0;", "RateLimit: \"l\";r=0;", "RateLimit: \"l\";r=0;"]



=== TEST 10: limit_req, auth_basic and auth_request come first too
--- http_config
limit_req_zone $server_name zone=r:1m rate=1r/m;
--- config
location = /l {
    limit_req zone=r;
    availability_cache a;
    availability_cache_valid 60s;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin/;
}

location = /sub {
    auth_request /auth;
    availability_cache a;
    availability_cache_valid 60s;
    add_header X-Status $availability_cache_status;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin/;
}

location = /auth {
    internal;
    if ($http_x_no) {
        return 403;
    }
    return 204;
}
--- request eval
["GET /l", "GET /l", "GET /sub", "GET /sub", "GET /sub"]
--- more_headers eval
["", "", "", "", "X-No: 1"]
--- error_code eval
[200, 503, 200, 200, 403]
--- response_headers eval
["", "", "X-Status: MISS", "X-Status: HIT", ""]



=== TEST 11: an authorization subrequest to a cached location goes through
--- config
location = /sub {
    auth_request /t;
    return 204;
}

location = /page {
    auth_request /t;
    empty_gif;
}
--- request eval
["GET /page", "GET /page"]
--- error_code eval
[200, 200]



=== TEST 12: an ssi include of a cached location
--- config
location /ssi/ {
    ssi on;
    ssi_types text/plain;
    alias html/;
}
--- user_files
>>> page.txt
[<!--#include virtual="/t?sku=a" -->]
--- request eval
["GET /ssi/page.txt"]
--- response_body_like eval
['^\[GET /origin/\?sku=a [0-9a-f]+\]']



=== TEST 13: sub_filter works on the kept answer
--- config
location = /f {
    availability_cache a;
    availability_cache_valid 60s;
    sub_filter_types *;
    sub_filter origin "[$availability_cache_status]";
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin/;
}
--- request eval
["GET /f", "GET /f"]
--- response_body_like eval
["^GET /\\[MISS\\]/ ", "^GET /\\[HIT\\]/ "]



=== TEST 14: within proxy_cache and without buffering
--- http_config
proxy_cache_path html/cache keys_zone=pc:1m;
--- config
location = /p {
    availability_cache a;
    availability_cache_valid 60s;
    proxy_cache pc;
    proxy_cache_valid 60s;
    add_header X-Status "$availability_cache_status $upstream_cache_status";
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin/;
}

location = /b {
    availability_cache a;
    availability_cache_valid 60s;
    proxy_buffering off;
    proxy_request_buffering off;
    proxy_max_temp_file_size 0;
    add_header X-Status $availability_cache_status;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin/;
}
--- request eval
["GET /p?x", "GET /p?x", "GET /b", "GET /b"]
--- answers: 1 1 2 2
--- response_headers_like eval
["X-Status: MISS.*", "X-Status: HIT.*", "X-Status: MISS", "X-Status: HIT"]



=== TEST 15: a page instead of a failure says once how it came about
--- config
location = /e {
    availability_cache a;
    error_page 502 =200 /other;
    proxy_pass http://127.0.0.1:1/;
}

location = /both {
    availability_cache a;
    error_page 502 /none;
    proxy_pass http://127.0.0.1:1/;
}

location = /plain {
    availability_cache a;
    error_page 502 =200 /static;
    proxy_pass http://127.0.0.1:1/;
}

location = /other {
    availability_cache a;
    availability_cache_key $uri;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin/;
}

location = /none {
    availability_cache a;
    availability_cache_key $uri;
    proxy_pass http://127.0.0.1:1/;
}

location = /static {
    return 200 "later";
}
--- request eval
["GET /e", "GET /both", "GET /plain"]
--- error_code eval
[200, 502, 200]
--- response_headers_like eval
["Retry-After: \nCache-Status: Penstock; fwd=uri-miss; fwd-status=200",
 "Retry-After: 1\nCache-Status: Penstock; fwd=uri-miss; fwd-status=502; detail=error",
 "Retry-After: \nCache-Status: Penstock; fwd=uri-miss; fwd-status=502; detail=error"]
