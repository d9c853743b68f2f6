# What a client sees of the cache: which answers are kept and for how long,
# what a hit looks like, and that all that must not be kept is asked for again.
#
# /origin/ answers each request with another body.  "answers: 1 1 2" says that
# the second request got the body of the first, and the third one another.

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

    $seen{$body} = ++$n unless exists $seen{$body};

    Test::More::is($seen{$body}, (split ' ', $block->answers)[$i],
                   $block->name . " - answer of request $i");
});

add_block_preprocessor(sub {
    my $block = shift;

    my $http = $block->http_config || '';
    my $config = $block->config || '';

    $block->set_value('http_config', "availability_zone a:1m;\n$http");

    $block->set_value('config', <<'_EOC_' . $config);
location = /status {
    penstock_status;
}

location /t {
    availability_cache a;
    availability_cache_valid 5s;
    add_header X-Status $availability_cache_status;
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

=== TEST 1: a miss is kept, the next one is a hit
--- request eval
["GET /t?x", "GET /t?x"]
--- answers: 1 1
--- response_headers eval
["X-Status: MISS\nCache-Status: Penstock; fwd=uri-miss; fwd-status=200; stored\n!Age",
 "X-Status: HIT\nCache-Status: Penstock; hit; ttl=4\nAge: 0\nContent-Type: text/plain"]



=== TEST 2: the key is scheme, host and URI with arguments
--- request eval
["GET /t?x", "GET /t?y", "GET /t/?x", "GET /t?x", "GET /t?x"]
--- more_headers eval
["", "", "", "", "Host: other"]
--- answers: 1 2 3 1 4
--- response_headers eval
["X-Status: MISS", "X-Status: MISS", "X-Status: MISS", "X-Status: HIT", "X-Status: MISS"]



=== TEST 3: a key of one's own
--- config
location = /k {
    availability_cache a;
    availability_cache_key "k $arg_sku";
    availability_cache_valid 5s;
    add_header X-Status $availability_cache_status;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin/;
}
--- request eval
["GET /k?sku=A&x=1", "GET /k?x=2&sku=A", "GET /k?sku=B"]
--- answers: 1 1 2
--- response_headers eval
["X-Status: MISS", "X-Status: HIT", "X-Status: MISS"]



=== TEST 4: HEAD is answered from a GET, and a HEAD miss asks by GET
--- request eval
["HEAD /t", "GET /t", "HEAD /t"]
--- response_body_like eval
['^$', '^GET /origin/ ', '^$']
--- raw_response_headers_like eval
["X-Status: MISS", "X-Status: HIT", "Content-Length: 45.*X-Status: HIT"]



=== TEST 5: other methods are not for the cache
--- answers: 1 2 3 4
--- request eval
["POST /t\nx", "OPTIONS /t", "DELETE /t", "GET /t"]
--- response_headers eval
["!X-Status\n!Cache-Status", "!X-Status", "!X-Status", "X-Status: MISS"]
--- error_code eval
[200, 200, 200, 200]



=== TEST 6: conditional requests and ranges are answered here, asked without
--- config
location /file/ {
    availability_cache a;
    availability_cache_valid 5s;
    add_header X-Status $availability_cache_status;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/files/;
}

location /files/ {
    alias html/;
}
--- user_files
>>> a.txt 202601010000.00
0123456789
--- request eval
["GET /file/a.txt", "GET /file/a.txt", "GET /file/a.txt", "GET /file/a.txt", "GET /file/a.txt", "GET /file/a.txt", "GET /file/a.txt"]
--- more_headers eval
["Range: bytes=2-4\nIf-None-Match: \"x\"\nAccept-Encoding: br",
 "",
 "Range: bytes=2-4",
 "Range: bytes=-2",
 "Range: bytes=100-",
 "If-Modified-Since: Thu, 01 Jan 2026 00:00:00 GMT",
 "If-None-Match: \"6955b900-b\""]
--- error_code eval
[206, 200, 206, 206, 416, 304, 304]
--- response_headers eval
["X-Status: MISS\nContent-Range: bytes 2-4/11",
 "X-Status: HIT\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\nETag: \"6955b900-b\"\nAccept-Ranges: bytes",
 "X-Status: HIT\nContent-Range: bytes 2-4/11\nContent-Length: 3",
 "Content-Range: bytes 9-10/11",
 "Content-Range: bytes */11",
 "X-Status: HIT\n!Content-Length",
 "ETag: \"6955b900-b\""]
--- response_body_like eval
["^234\$", "^0123456789\n\$", "^234\$", "^9\n\$", "416", "^\$", "^\$"]



=== TEST 7: no header twice
--- config
location /file/ {
    availability_cache a;
    availability_cache_valid 5s;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/files/;
}

location /files/ {
    alias html/;
}
--- user_files
>>> a.txt
0123456789
--- request eval
["GET /file/a.txt", "GET /file/a.txt"]
--- raw_response_headers_unlike eval
my $twice = qr/^([A-Za-z-]+):.*^\1:/ms;
[$twice, $twice]



=== TEST 8: If-None-Match with an ETag of the origin's, weak and lists
--- config
location = /e {
    availability_cache a;
    availability_cache_valid 5s;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/etag;
}

location = /etag {
    add_header ETag '"v1"';
    return 200 "body";
}
--- request eval
["GET /e", "GET /e", "GET /e", "GET /e"]
--- more_headers eval
["If-None-Match: \"v1\"", "If-None-Match: \"v0\", W/\"v1\"", "If-None-Match: *", "If-None-Match: \"v0\""]
--- error_code eval
[304, 304, 304, 200]



=== TEST 9: what must not be kept
--- config
location /n/ {
    availability_cache a;
    availability_cache_valid 5s;
    add_header X-Status $availability_cache_status always;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/no/;
}

location = /no/store { add_header Cache-Control no-store; return 200; }
location = /no/cache { add_header Cache-Control "max-age=60, no-cache"; return 200; }
location = /no/private { add_header Cache-Control "private, max-age=60"; return 200; }
location = /no/age { add_header Cache-Control "max-age=0"; return 200; }
location = /no/lines { add_header Cache-Control "max-age=60"; add_header Cache-Control "no-store"; return 200; }
location = /no/cookie { add_header Set-Cookie a=b; return 200; }
location = /no/vary { add_header Vary "a,b,c,d,e,f,g,h,i"; return 200; }
location = /no/any { add_header Vary *; return 200; }
location = /no/coded { add_header Content-Encoding br; add_header Vary Accept-Encoding; return 200 "x"; }
location = /no/expires { expires epoch; return 200; }
location = /no/malformed { add_header Expires 0; return 200; }
location = /no/accel { add_header X-Accel-Expires 0; return 200; }
location = /no/part { add_header Content-Range "bytes 0-0/5"; return 206 "x"; }
location = /no/202 { return 202; }
--- request eval
[map { ("GET /n/$_", "GET /n/$_") } qw(store cache private age lines cookie
    vary any coded expires malformed accel part 202)]
--- error_code eval
[(200) x 24, 206, 206, 202, 202]
--- response_headers eval
[("X-Status: MISS", "X-Status: PASS") x 14]
--- raw_response_headers_unlike eval
[("stored|Age:") x 28]
--- timeout: 20



=== TEST 10: freshness: X-Accel-Expires, s-maxage, max-age, Expires, the directive
--- config
location /f/ {
    availability_cache a;
    availability_cache_valid 200 5s;
    availability_cache_valid 404 7s;
    add_header X-Status $availability_cache_status always;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/fresh/;
}

location = /fresh/accel { add_header X-Accel-Expires 70; add_header Cache-Control "max-age=9, s-maxage=8"; return 200; }
location = /fresh/shared { add_header Cache-Control "max-age=9, s-maxage=60"; return 200; }
location = /fresh/age { add_header Cache-Control "max-age=50"; add_header Expires "Thu, 01 Jan 1970 00:00:01 GMT"; return 200; }
location = /fresh/expires { expires 40s; return 200; }
location = /fresh/none { return 200; }
location = /fresh/404 { return 404; }
location = /fresh/vary { add_header Vary "accept-encoding"; return 200; }
location = /fresh/long { add_header Cache-Control "max-age=99999999999999999999"; return 200; }
location = /fresh/201 { add_header Cache-Control "max-age=10" always; return 201 "x"; }
location = /fresh/204 { add_header Cache-Control "max-age=10" always; return 204; }
location = /fresh/301 { add_header Cache-Control "max-age=10" always; return 301 http://localhost/x; }
--- request eval
[map { ("GET /f/$_", "GET /f/$_") } qw(accel shared age expires none 404 vary
    long 201 204 301)]
--- error_code eval
[(200) x 10, 404, 404, (200) x 4, 201, 201, 204, 204, 301, 301]
--- raw_response_headers_like eval
[map { ("; stored.*X-Status: MISS", "; ttl=$_\\r.*X-Status: HIT") }
    "6[89]", "5[89]", "4[89]", "3[89]", "4", "6", "4", "214748[0-9]", "9", "9", "9"]
--- timeout: 20



=== TEST 11: a redirect is kept with its Location
--- config
location = /r {
    availability_cache a;
    availability_cache_valid 301 5s;
    add_header X-Status $availability_cache_status always;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/redirect;
    proxy_redirect off;
}

location = /redirect {
    return 301 http://elsewhere.example/x?y=z;
}
--- request eval
["GET /r", "GET /r"]
--- error_code eval
[301, 301]
--- response_headers eval
["X-Status: MISS\nLocation: http://elsewhere.example/x?y=z",
 "X-Status: HIT\nLocation: http://elsewhere.example/x?y=z"]



=== TEST 12: Age counts what the answer has behind it already
--- config
location = /a {
    availability_cache a;
    add_header X-Status $availability_cache_status;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/aged;
}

location = /aged {
    add_header Age 30;
    add_header Cache-Control max-age=40;
    return 200 "x";
}

location = /b {
    availability_cache a;
    add_header X-Status $availability_cache_status;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/old;
}

location = /old {
    add_header Age 40;
    add_header Cache-Control max-age=40;
    return 200 "x";
}
--- request eval
["GET /a", "GET /a", "GET /b", "GET /b"]
--- raw_response_headers_like eval
["stored.*X-Status: MISS", "Age: 30.*X-Status: HIT",
 "X-Status: MISS", "X-Status: PASS"]



=== TEST 13: bypass
--- config
location = /b {
    availability_cache a;
    availability_cache_valid 5s;
    availability_cache_bypass $arg_fresh $http_x_fresh;
    availability_cache_key b;
    add_header X-Status $availability_cache_status;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin/;
}
--- request eval
["GET /b", "GET /b?fresh=1", "GET /b?fresh=0", "GET /b", "GET /b"]
--- answers: 1 2 1 3 1
--- more_headers eval
["", "", "", "X-Fresh: yes", ""]
--- response_headers eval
["X-Status: MISS", "X-Status: BYPASS", "X-Status: HIT", "X-Status: BYPASS", "X-Status: HIT"]



=== TEST 14: larger than the cap: passed on, then not queued for
--- config
location = /l {
    availability_cache a;
    availability_cache_valid 5s;
    availability_cache_max_size 9;
    add_header X-Status $availability_cache_status;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/large;
}

location = /large {
    return 200 "0123456789";
}
--- request eval
["GET /l", "GET /l", "HEAD /l"]
--- response_body eval
["0123456789", "0123456789", ""]
--- response_headers eval
["X-Status: PASS\nContent-Length: 10", "X-Status: PASS", "X-Status: PASS"]



=== TEST 15: as large as the cap
--- config
location = /l {
    availability_cache a;
    availability_cache_valid 5s;
    availability_cache_max_size 10;
    add_header X-Status $availability_cache_status;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/large;
}

location = /large {
    return 200 "0123456789";
}
--- request eval
["GET /l", "GET /l"]
--- response_headers eval
["X-Status: MISS", "X-Status: HIT"]



=== TEST 16: errors of the upstream's that are intercepted are problems, and are not kept
--- config
location /e/ {
    availability_cache a;
    proxy_intercept_errors on;
    availability_cache_valid 5s;
    add_header X-Status $availability_cache_status always;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/error/;
}

location = /error/500 { return 500 "secret"; }
location = /error/503 { add_header Retry-After 17 always; return 503 "secret"; }
location = /error/504 { return 504; }
location = /error/429 { add_header Retry-After 3 always; return 429; }
--- request eval
["GET /e/500", "GET /e/500", "GET /e/503", "GET /e/504", "GET /e/429"]
--- error_code eval
[502, 502, 503, 504, 503]
--- response_headers eval
["Content-Type: application/problem+json\nX-Status: ERROR\nCache-Control: no-store\nRetry-After: 1",
 "X-Status: ERROR", "Retry-After: 17\nX-Status: ERROR", "Content-Type: application/problem+json", "Retry-After: 3"]
--- response_body_like eval
['"status":502,"detail":"Availability could not be read\."', '502',
 '"status":503,"detail":"Availability can\'t be read at the moment\."', '504', '503']



=== TEST 17: refusals of the upstream's pass as they are
--- config
location /e/ {
    availability_cache a;
    availability_cache_valid 5s;
    add_header X-Status $availability_cache_status always;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/error/;
}

location = /error/400 { default_type application/json; return 400 '{"a":1}'; }
location = /error/401 { add_header WWW-Authenticate Basic always; return 401 "x"; }
--- request eval
["GET /e/400", "GET /e/401"]
--- error_code eval
[400, 401]
--- response_body eval
['{"a":1}', "x"]
--- response_headers eval
["Content-Type: application/json\nX-Status: MISS", "WWW-Authenticate: Basic"]



=== TEST 18: a page of nginx's own keeps its status
--- config
location /files/ {
    availability_cache a;
    availability_cache_valid 200 5s;
    alias html/;
}

location = /own {
    availability_cache a;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/missing;
    proxy_intercept_errors on;
    error_page 404 = /mine;
}

location = /missing {
    return 404;
}

location = /mine {
    return 203 "mine";
}
--- request eval
["GET /files/none", "GET /files/none", "GET /own"]
--- error_code eval
[404, 404, 203]
--- response_body_like eval
["404 Not Found", "404 Not Found", "^mine\$"]



=== TEST 19: static files may be kept too
--- config
location /files/ {
    availability_cache a;
    availability_cache_valid 200 5s;
    add_header X-Status $availability_cache_status;
    alias html/;
}
--- user_files eval
">>> a.txt\n" . ("0123456789" x 5000)
--- request eval
["GET /files/a.txt", "GET /files/a.txt"]
--- response_body eval
[("0123456789" x 5000) x 2]
--- response_headers eval
["X-Status: MISS", "X-Status: HIT"]



=== TEST 20: gzip of our own on a hit, identity is kept
--- config
location = /g {
    availability_cache a;
    availability_cache_valid 5s;
    gzip on;
    gzip_min_length 1;
    gzip_types text/plain;
    gzip_http_version 1.0;
    add_header X-Status $availability_cache_status;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/large;
}

location = /large {
    return 200 "0123456789012345678901234567890123456789";
}
--- request eval
["GET /g", "GET /g", "GET /g"]
--- more_headers eval
["Accept-Encoding: gzip", "Accept-Encoding: gzip", ""]
--- response_headers eval
["X-Status: MISS\nContent-Encoding: gzip", "X-Status: HIT\nContent-Encoding: gzip",
 "X-Status: HIT\n!Content-Encoding\nContent-Length: 40"]



=== TEST 21: headers of a connection are not kept, others are
--- config
location = /h {
    availability_cache a;
    availability_cache_valid 5s;
    add_header X-Status $availability_cache_status;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/headers;
}

location = /headers {
    default_type "application/json; charset=utf-8";
    add_header Keep-Alive timeout=5;
    add_header Proxy-Authenticate Basic;
    add_header Trailer X;
    add_header X-One 1;
    add_header X-Two "a, b";
    add_header X-Two c;
    add_header Cache-Control max-age=60;
    return 200 "{}";
}
--- request eval
["GET /h", "GET /h"]
--- response_headers eval
["X-Status: MISS", "X-Status: HIT\n!Keep-Alive\n!Proxy-Authenticate\n!Trailer\nX-One: 1\nX-Two: a, b, c\nCache-Control: max-age=60\nContent-Type: application/json; charset=utf-8"]



=== TEST 22: proxy_hide_header hides it from a hit too, and not from the cache
--- config
location = /h {
    availability_cache a;
    proxy_hide_header Cache-Control;
    proxy_hide_header X-Internal;
    add_header X-Status $availability_cache_status;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/headers;
}

location = /headers {
    add_header X-Internal secret;
    add_header Cache-Control max-age=60;
    return 200 "{}";
}
--- request eval
["GET /h", "GET /h"]
--- response_headers eval
["X-Status: MISS\n!X-Internal\n!Cache-Control", "X-Status: HIT\n!X-Internal\n!Cache-Control"]



=== TEST 23: off in a location
--- config
location /o {
    availability_cache a;
    availability_cache_valid 5s;

    location /o/off {
        availability_cache off;
        add_header X-Status "[$availability_cache_status]";
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin/;
    }

    location /o/on {
        add_header X-Status "[$availability_cache_status]";
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin/;
    }
}
--- answers: 1 2 3 3
--- request eval
["GET /o/off", "GET /o/off", "GET /o/on", "GET /o/on"]
--- response_headers eval
["X-Status: []\n!Cache-Status", "X-Status: []", "X-Status: [MISS]", "X-Status: [HIT]"]



=== TEST 24: a client's credentials are not shared by the default key
--- config
location = /k {
    availability_cache a;
    availability_cache_key $request_uri;
    availability_cache_valid 5s;
    add_header X-Status $availability_cache_status;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin/;
}
--- request eval
["GET /t", "GET /t", "GET /t", "GET /k", "GET /k"]
--- answers: 1 2 3 4 4
--- more_headers eval
["Authorization: Bearer a", "Authorization: Bearer b", "", "Authorization: Bearer a", "Authorization: Bearer b"]
--- response_headers eval
["X-Status: MISS", "X-Status: PASS", "X-Status: MISS", "X-Status: MISS", "X-Status: HIT"]



=== TEST 25: counters
--- config
--- request eval
["GET /t", "GET /t", "GET /status?format=prometheus"]
--- response_body_like eval
[".", ".", 'penstock_availability_requests_total\{zone="a",result="hit"\} 1
(?s).*result="miss"\} 1
(?s).*penstock_availability_fills_total\{zone="a"\} 1
(?s).*penstock_availability_entries\{zone="a"\} 1
']



=== TEST 26: an empty answer
--- config
location = /n {
    availability_cache a;
    availability_cache_valid 5s;
    add_header X-Status $availability_cache_status;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/nothing;
}

location = /nothing {
    return 200;
}
--- request eval
["GET /n", "GET /n", "HEAD /n"]
--- response_body eval
["", "", ""]
--- response_headers eval
["X-Status: MISS\nContent-Length: 0", "X-Status: HIT\nContent-Length: 0", "X-Status: HIT\nContent-Length: 0"]



=== TEST 27: a GET with a body
--- request eval
["GET /t\nhello", "GET /t\nhello"]
--- answers: 1 1
--- response_headers eval
["X-Status: MISS", "X-Status: HIT"]




=== TEST 28: an empty key tells nobody apart, so it keeps out of the cache
--- config
location = /k {
    availability_cache a;
    availability_cache_key $arg_id;
    availability_cache_valid 60s;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin/;
    add_header X-Status $availability_cache_status;
}
--- request eval
["GET /k", "GET /k?other", "GET /k?id=1", "GET /k?id=1"]
--- answers: 1 2 3 3
--- response_headers eval
["X-Status: BYPASS", "X-Status: BYPASS", "X-Status: MISS", "X-Status: HIT"]
