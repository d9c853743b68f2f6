# Answers that can't be taken apart, or may not be kept: the client gets what
# the upstream says, where only a part was asked for the whole is asked, once,
# and nothing of it is held.

use lib 't/lib';
use Test::Nginx::Socket 'no_plan';
use PenstockErp;

$ENV{PENSTOCK_ERP} = PenstockErp::start();

no_shuffle();
no_long_string();

add_block_preprocessor(sub {
    my $block = shift;

    my $config = $block->config || '';

    $block->set_value('http_config', "availability_zone a:1m;");

    $block->set_value('config', <<"_EOC_" . $config);
location = /asked {
    proxy_pass http://127.0.0.1:$ENV{PENSTOCK_ERP};
}

location /one {
    availability_cache          a;
    availability_cache_key      \$uri;
    availability_cache_items    arg=sku list=/items id=/sku;
    availability_cache_valid    200 404 20s;
    availability_cache_max_size 16k;
    add_header X-Status \$availability_cache_status;
    proxy_pass http://127.0.0.1:$ENV{PENSTOCK_ERP};
}

location /stale {
    availability_cache          a;
    availability_cache_key      \$uri;
    availability_cache_items    arg=sku list=/items id=/sku;
    availability_cache_valid    200 1s;
    availability_cache_stale    if_error=1h;
    add_header X-Status \$availability_cache_status;
    proxy_pass http://127.0.0.1:$ENV{PENSTOCK_ERP};
}
_EOC_
});

run_tests();

__DATA__

=== TEST 1: no JSON: as it is, each time
--- request eval
["GET /asked", "GET /one?sku=A&do=html", "GET /one?sku=A,B&do=html", "GET /one?sku=A&do=html", "GET /asked"]
--- response_body eval
["", ("<html></html>") x 3,
 "GET /one?sku=A&do=html\nGET /one?sku=A,B&do=html\nGET /one?sku=A&do=html\n"]
--- response_headers eval
["", ("X-Status: PASS") x 3, ""]



=== TEST 2: other shapes
--- request eval
["GET /asked", map { "GET /one?sku=A&do=$_" } qw(half nolist object noid other float twice empty)]
--- response_body_like eval
['', '^\{ "as_of" : "t1", "i$', '^\{"item":\[\]\}$', '^\{"items":\{"sku":"A"\}\}$', '^\{"items":\[\{"ku":"A"\}\]\}$',
 '^\{"items":\[\{"sku":"Z"\}\]\}$', '^\{"items":\[\{"sku":1.5\}\]\}$', '^\{"items":\[\],"items":\[\]\}$', '^$']
--- response_headers eval
["", ("X-Status: PASS") x 8]



=== TEST 3: the whole is asked where a part was odd, once
--- request eval
["GET /asked", "GET /one?sku=A,B&do=part-html&all=3", "GET /one?sku=A,B,C&do=part-html&all=3", "GET /asked"]
--- response_body_like eval
['', '^<html></html>$', '"A".*"B".*"C"', 'GET /one\?sku=A,B&do=part-html&all=3\n'
 . 'GET /one\?sku=A,B,C&do=part-html&all=3\n$']



=== TEST 4: the whole, where others are held
--- request eval
["GET /asked", "GET /one?sku=A,B,C&do=part-html&all=3", "GET /one?sku=C,D,E&do=part-html&all=3", "GET /asked"]
--- response_body_like eval
['', '"A".*"B".*"C"', '"E".*"D".*"C"',
 '^GET /one\?sku=A,B,C&do=part-html&all=3\nGET /one\?sku=D,E&do=part-html&all=3\nGET /one\?sku=C,D,E&do=part-html&all=3\n$']
--- response_headers eval
["", "X-Status: MISS", "X-Status: PASS", ""]



=== TEST 5: an element twice
--- request eval
["GET /asked", "GET /one?sku=A&do=double", "GET /one?sku=A&do=double"]
--- response_body_like eval
['', '"A".*"A"', '"A".*"A"']



=== TEST 6: no UTF-8 around the cells: bytes are bytes
--- request eval
["GET /asked", "GET /one?sku=A&do=bytes", "GET /one?sku=A&do=bytes"]
--- response_body_like eval
['', "\xff", "\xff"]
--- response_headers eval
["", "X-Status: MISS", "X-Status: HIT"]



=== TEST 7: truncated
--- request eval
["GET /asked", "GET /one?sku=A&do=truncate", "GET /one?sku=A"]
--- error_code eval
[200, 502, 200]
--- response_headers_like eval
["", "Content-Type: application/problem\\+json", "X-Status: MISS"]



=== TEST 8: not answered at all
--- request eval
["GET /asked", "GET /one?sku=A&do=drop"]
--- error_code eval
[200, 502]



=== TEST 9: gzip that nobody asked for
--- request eval
["GET /asked", "GET /one?sku=A&do=gzip", "GET /one?sku=A&do=gzip", "GET /asked"]
--- response_headers eval
["", "Content-Encoding: gzip\nX-Status: PASS", "Content-Encoding: gzip\nX-Status: PASS", ""]
--- response_body_like eval
['', '^\x1f\x8b', '^\x1f\x8b', '^GET /one\?sku=A&do=gzip\nGET /one\?sku=A&do=gzip\n$']



=== TEST 10: other statuses, as they are
--- request eval
["GET /asked", "GET /one?sku=A&do=404", "GET /one?sku=A&do=404", "GET /asked"]
--- error_code eval
[200, 404, 404, 200]
--- response_body_like eval
['', '"A"', '"A"', '^(GET /one\?sku=A&do=404\n){2}$']



=== TEST 11: 500
--- request eval
["GET /asked", "GET /one?sku=A&do=500", "GET /one?sku=A&do=500", "GET /asked"]
--- error_code eval
[200, 500, 500, 200]
--- response_body_like eval
['', '', '', '^(GET /one\?sku=A&do=500\n){2}$']



=== TEST 12: 503 and when to come again
--- request eval
["GET /asked", "GET /one?sku=A&do=503"]
--- error_code eval
[200, 503]
--- response_headers eval
["", "Retry-After: 9"]



=== TEST 13: 206 and 204
--- request eval
["GET /asked", "GET /one?sku=A&do=206", "GET /one?sku=A&do=206", "GET /one?sku=A&do=204", "GET /asked"]
--- error_code eval
[200, 206, 206, 204, 200]
--- response_body_like eval
['', '', '', '', '^(GET /one\?sku=A&do=206\n){2}GET /one\?sku=A&do=204\n$']



=== TEST 14: too large: passed on as it is, and not read twice the next time
--- request eval
["GET /asked", map({ "GET /one?sku=A&do=large" } 1 .. 3), "GET /asked"]
--- response_body_like eval
['', ('"A".* {20000}$') x 3, '^(GET /one\?sku=A&do=large\n){4}$']
--- response_headers eval
["", ("X-Status: PASS") x 3, ""]



=== TEST 15: others of that path are no larger for it
--- request eval
["GET /asked", "GET /one?sku=A,B&do=part-large&all=2",
 "GET /one?sku=A&do=part-large&all=2", "GET /one?sku=A&do=part-large&all=2",
 "GET /one?sku=A,C,D&do=part-large&all=4", "GET /one?sku=A,C,D&do=part-large&all=4",
 "GET /one?sku=A,C,D,E&do=part-large&all=4", "GET /one?sku=C,A&do=part-large&all=4", "GET /asked"]
--- response_headers eval
["", "X-Status: MISS", "X-Status: HIT", "X-Status: HIT", "X-Status: PASS", "X-Status: PASS",
 "X-Status: MISS", "X-Status: HIT", ""]
--- response_body_like eval
['', ('.') x 7, '^GET /one\?sku=A,B&do=part-large&all=2\n(GET /one\?sku=A,C,D&do=part-large&all=4\n){3}'
 . 'GET /one\?sku=A,C,D,E&do=part-large&all=4\n$']



=== TEST 16: what must not be kept
--- request eval
["GET /asked", map({ ("GET /one?sku=A&do=$_") x 2 } qw(cookie nostore private vary varyall)), "GET /asked"]
--- response_body_like eval
['', ('"t\d+".*"sku":"A"') x 10,
 '^' . join('', map { "(GET /one\\?sku=A&do=$_\n){2}" } qw(cookie nostore private vary varyall)) . '$']



=== TEST 17: what must not be kept goes to who asked as it is
--- request eval
["GET /asked", "GET /one?sku=A&do=cookie", "GET /one?sku=A&do=cookie",
 "GET /one?sku=A&do=private", "GET /one?sku=A&do=nostore", "GET /one?sku=A&do=varyall"]
--- response_headers eval
["", "Set-Cookie: a=b\nX-Status: PASS", "Set-Cookie: a=b", "Cache-Control: private",
 "Cache-Control: no-store", "Vary: *"]
--- no_error_log
can't be taken apart



=== TEST 18: nor does a part of it that is put together with others
--- request eval
["GET /asked", "GET /one?sku=A,B&do=part-private&all=2", "GET /one?sku=A,B,C&do=part-private&all=2",
 "GET /one?sku=C,B&do=part-private&all=2", "GET /asked"]
--- response_headers eval
["", "X-Status: MISS\n!Cache-Control", "X-Status: PARTIAL\nCache-Control: no-store\nCache-Status: Penstock; fwd=partial; fwd-status=200; detail=\"2 of 3 cells held\"",
 "X-Status: PARTIAL\nCache-Control: no-store", ""]
--- response_body_like eval
['', '.', '"A".*"B".*"C"', '"C".*"B"', '^GET /one\?sku=A,B&do=part-private&all=2\nGET /one\?sku=C&do=part-private&all=2\n'
 . 'GET /one\?sku=C&do=part-private&all=2\n$']



=== TEST 19: Vary: Accept-Encoding may be kept
--- request eval
["GET /asked", "GET /one?sku=A&do=varycode", "GET /one?sku=A&do=varycode"]
--- response_headers eval
["", "X-Status: MISS", "X-Status: HIT\nVary: Accept-Encoding"]



=== TEST 20: what is kept at other cells stays
--- request eval
["GET /asked", "GET /one?sku=A", "GET /one?sku=A&do=html", "GET /one?sku=A"]
--- response_headers eval
["", "X-Status: MISS", "X-Status: PASS", "X-Status: HIT"]



=== TEST 21: a failure of a part is no answer for the rest
--- request eval
["GET /asked", "GET /one?sku=A,B&do=part-500&all=2", "GET /one?sku=A&do=part-500&all=2",
 "GET /one?sku=A,C&do=part-500&all=2", "GET /one?sku=A,B&do=part-500&all=2"]
--- error_code eval
[200, 200, 200, 500, 200]



=== TEST 22: stale where the upstream fails
--- request eval
["GET /asked", "GET /stale?sku=A,B&do=part-500&all=2", "GET /one?sku=Z", "GET /stale?sku=A&do=part-500&all=2",
 "GET /stale?sku=A,C&do=part-500&all=2"]
--- delay_after eval
[0, 1.2, 0, 0, 0]
--- error_code eval
[200, 200, 200, 200, 500]
