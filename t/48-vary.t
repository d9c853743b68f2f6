# Answers that vary: each is for the requests that its upstream made it for,
# side by side with the others of the same URL (RFC 9111, Section 4.1).  One
# that is shown to another channel shows it another's prices.
#
# Leaders, followers and Redis are in tests/live/test_vary.py.

use Test::Nginx::Socket 'no_plan';

add_block_preprocessor(sub {
    my $block = shift;

    $block->set_value('http_config', <<'_EOC_' . ($block->http_config || ''));
availability_zone a:2m;
map $arg_v $vary {
    default $arg_v;
    channel "X-Channel";
    two     "x-b, X-Channel";
    code    "Accept-Encoding";
    many    "a,b,c,d,e,f,g,h,i";
    broken  "a b(c)";
}
_EOC_

    if (!defined $block->config) {
        $block->set_value('config', <<'_EOC_');
location /v/ {
    availability_cache a;
    availability_cache_valid 60s;
    availability_cache_key $uri;
    add_header X-Status $availability_cache_status always;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin/;
}

location /origin/ {
    add_header Vary $vary;
    return 200 "$http_x_channel|$http_x_b|$http_accept_language";
}
_EOC_
    }
});

no_long_string();
run_tests();

__DATA__

=== TEST 1: variants side by side
--- request eval
[map { "GET /v/1?v=channel" } 1 .. 6]
--- more_headers eval
["X-Channel: shop", "X-Channel: edi", "X-Channel: shop", "X-Channel: edi", "", "X-Channel:  shop "]
--- response_body eval
["shop||", "edi||", "shop||", "edi||", "||", "shop||"]
--- response_headers eval
["X-Status: MISS\nCache-Status: Penstock; fwd=uri-miss; fwd-status=200; stored",
 "X-Status: MISS\nCache-Status: Penstock; fwd=vary-miss; fwd-status=200; stored",
 "X-Status: HIT\nVary: X-Channel", "X-Status: HIT", "X-Status: MISS", "X-Status: HIT"]



=== TEST 2: absent and empty are two things
--- request eval
[map { "GET /v/1?v=channel" } 1 .. 4]
--- raw_request eval
[map { "GET /v/1?v=channel HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n$_\r\n" } "", "X-Channel:\r\n", "", "X-Channel: \r\n"]
--- response_headers eval
["X-Status: MISS", "X-Status: MISS", "X-Status: HIT", "X-Status: HIT"]



=== TEST 3: several fields, in any order, several lines as one
--- request eval
[map { "GET /v/1?v=two" } 1 .. 6]
--- more_headers eval
["X-Channel: a, b\nX-B: 1", "X-B: 1\nX-Channel: a\nX-Channel: b", "x-channel: a ,b\nx-b: 1",
 "X-Channel: a, b", "X-B: 1", "X-B: 1\nX-Channel: A, b"]
--- response_headers eval
["X-Status: MISS", "X-Status: HIT", "X-Status: HIT", "X-Status: MISS", "X-Status: MISS", "X-Status: MISS"]



=== TEST 4: a value can't pass for another field's
--- request eval
[map { "GET /v/1?v=two" } 1 .. 3]
--- more_headers eval
["X-B: 1\nX-Channel: 2", "X-B: 1,x-channel:2", "X-B: 1x-channel:2"]
--- response_headers eval
["X-Status: MISS", "X-Status: MISS", "X-Status: MISS"]



=== TEST 5: the upstream names now these fields and now those: a list only grows
--- request eval
["GET /v/1?v=channel", "GET /v/1?v=x-b", "GET /v/1?v=channel", "GET /v/1?v=channel", "GET /v/1?v=channel", "GET /v/1", "GET /v/1"]
--- more_headers eval
["X-Channel: a\nX-B: 1", "X-Channel: b\nX-B: 1", "X-Channel: a\nX-B: 1", "X-Channel: b\nX-B: 1", "X-Channel: b\nX-B: 2",
 "X-Channel: c\nX-B: 1", "X-Channel: c\nX-B: 1"]
--- response_body eval
["a|1|", "b|1|", "a|1|", "b|1|", "b|2|", "c|1|", "c|1|"]
--- response_headers eval
["X-Status: MISS", "X-Status: MISS", "X-Status: MISS", "X-Status: HIT", "X-Status: MISS", "X-Status: MISS", "X-Status: HIT"]



=== TEST 6: Vary: *, too many fields, and what are no names, are not kept
--- request eval
[map { ("GET /v/$_?v=$_", "GET /v/$_?v=$_") } qw(* many broken)]
--- response_headers eval
[map { ("X-Status: MISS", "X-Status: PASS") } 1 .. 3]



=== TEST 7: one variant that can't be kept leaves the others
--- request eval
["GET /v/1?v=channel", "GET /v/1?v=*", "GET /v/1?v=*", "GET /v/1"]
--- more_headers eval
["X-Channel: a", "X-Channel: b", "X-Channel: b", "X-Channel: a"]
--- response_headers eval
["X-Status: MISS", "X-Status: MISS", "X-Status: PASS", "X-Status: HIT"]



=== TEST 8: languages are told apart without regard to case
--- request eval
[map { "GET /v/1?v=Accept-Language" } 1 .. 3]
--- more_headers eval
["Accept-Language: en-GB, de;q=0.5", "Accept-Language: EN-gb,DE;q=0.5", "Accept-Language: de, en-GB"]
--- response_headers eval
["X-Status: MISS", "X-Status: HIT", "X-Status: MISS"]



=== TEST 9: Accept-Encoding alone is no variant: a fill asks without
--- request eval
[map { "GET /v/1?v=code" } 1 .. 2]
--- more_headers eval
["Accept-Encoding: gzip", "Accept-Encoding: br"]
--- response_headers eval
["X-Status: MISS", "X-Status: HIT"]



=== TEST 10: an unsafe method voids all variants, a purge by tag too
--- config
location /v/ {
    availability_cache a;
    availability_cache_valid 60s;
    availability_cache_key $uri;
    availability_cache_tag arg=sku;
    add_header X-Status $availability_cache_status always;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin/;
}

location /origin/ {
    add_header Vary X-Channel;
    return 200;
}

location = /purge { availability_purge zone=a; }
--- request eval
["GET /v/1?sku=A", "GET /v/1?sku=A", "POST /v/1\n", "GET /v/1?sku=A", "GET /v/1?sku=A",
 "POST /purge\n{\"tags\":[\"A\"]}", "GET /v/1?sku=A", "GET /v/1?sku=A", "GET /v/1?sku=A"]
--- more_headers eval
["X-Channel: a", "X-Channel: b", "", "X-Channel: a", "X-Channel: b", "", "X-Channel: a", "X-Channel: b", "X-Channel: a"]
--- raw_response_headers_like eval
["MISS", "MISS", "200 OK", "EXPIRED", "EXPIRED", "200 OK", "EXPIRED", "EXPIRED", "HIT"]



=== TEST 11: a URL has 64 variants at most, the oldest goes
--- request eval
[map { "GET /v/1?v=channel" } 1 .. 70]
--- more_headers eval
[(map { "X-Channel: $_" } 1 .. 65), "X-Channel: 65", "X-Channel: 2", "X-Channel: 64", "X-Channel: 1", "X-Channel: 3"]
--- response_headers eval
[(map { "X-Status: MISS" } 1 .. 65), "X-Status: HIT", "X-Status: HIT", "X-Status: HIT", "X-Status: MISS", "X-Status: HIT"]



=== TEST 12: HEAD and conditionals are answered from the variant
--- request eval
["GET /v/1?v=channel", "HEAD /v/1?v=channel", "GET /v/1?v=channel"]
--- more_headers eval
["X-Channel: a", "X-Channel: a", "X-Channel: a\nRange: bytes=0-0"]
--- error_code eval
[200, 200, 206]
--- response_headers eval
["X-Status: MISS", "X-Status: HIT\nContent-Length: 3", "X-Status: HIT\nContent-Range: bytes 0-0/3"]
