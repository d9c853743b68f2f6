# Cells that are asked for by a JSON body: POST is a read then, the upstream
# gets the same body with shorter lists, and everything else in it decides
# who shares cells.

use lib 't/lib';
use Test::Nginx::Socket 'no_plan';
use PenstockErp;

$ENV{PENSTOCK_ERP} = PenstockErp::start();

no_shuffle();
no_long_string();

# what answers are made of

sub E { return PenstockErp::element(@_) }

sub answer { return PenstockErp::answer(@_) }

my $blocks = PenstockErp::blocks(
    '/p'     => 'arg=body:/skus arg=body:/locations list=/items id=/sku id=/location',
    '/b'     => 'arg=body:/skus list=/items id=/sku',
    '/deep'  => 'arg=body:/q/0/skus list=/items id=/sku',
    '/mixed' => 'arg=body:/skus arg=location list=/items id=/sku id=/location'
);

add_block_preprocessor(sub { $blocks->(shift) });

run_tests();

__DATA__

=== TEST 1: all, again, a part
--- request eval
["GET /asked", "POST /b\n{\"skus\":[\"A\",\"B\"]}", "POST /b\n{\"skus\":[\"B\",\"A\"]}",
 "POST /b\n{\"skus\":[\"A\",\"C\",\"B\",\"D\"]}", "GET /asked"]
--- response_body eval
["", main::answer('t1', main::E('A'), main::E('B')),
 main::answer('t1', main::E('B'), main::E('A')),
 main::answer('t1', main::E('A'), main::E('C'), main::E('B'), main::E('D')),
 "POST /b {\"skus\":[\"A\",\"B\"]}\nPOST /b {\"skus\":[\"C\",\"D\"]}\n"]
--- response_headers eval
["", "X-Status: MISS\nX-Cells: 2", "X-Status: HIT",
 "X-Status: PARTIAL\nCache-Status: Penstock; fwd=partial; fwd-status=200; stored; detail=\"2 of 4 cells held\"", ""]



=== TEST 2: SKUs and locations, the rest of the body as it is written
--- request eval
["GET /asked", "POST /p\n{\"n\":10.00, \"skus\" : [ \"A\" , \"B\" ], \"locations\":[\"X\"],\"z\":[] }",
 "POST /p\n{\"n\":10.00, \"skus\" : [\"A\",\"B\"], \"locations\":[\"X\",\"Y\"],\"z\":[] }", "GET /asked"]
--- response_body eval
["", main::answer('t1', main::E('A', 'X'), main::E('B', 'X')),
 main::answer('t1', map { my $s = $_; map { main::E($s, $_) } 'X', 'Y' } 'A', 'B'),
 "POST /p {\"n\":10.00, \"skus\" : [ \"A\" , \"B\" ], \"locations\":[\"X\"],\"z\":[] }\n"
 . "POST /p {\"n\":10.00, \"skus\" : [\"A\",\"B\"], \"locations\":[\"Y\"],\"z\":[] }\n"]
--- response_headers eval
["", "X-Status: MISS\nX-Cells: 2", "X-Status: PARTIAL\nX-Cells: 4", ""]



=== TEST 3: another body is another answer; so is another query
--- request eval
["GET /asked", "POST /b\n{\"skus\":[\"A\"],\"c\":\"EUR\"}", "POST /b\n{\"skus\":[\"A\"],\"c\":\"USD\"}",
 "POST /b?x=1\n{\"skus\":[\"A\"],\"c\":\"EUR\"}", "POST /b\n{\"skus\":[\"A\"],\"c\":\"EUR\"}",
 "POST /b?x=1\n{\"skus\":[\"A\"],\"c\":\"EUR\"}"]
--- response_headers eval
["", "X-Status: MISS", "X-Status: MISS", "X-Status: MISS", "X-Status: HIT", "X-Status: HIT"]



=== TEST 4: numbers and strings, escaped or not
--- request eval
["GET /asked", "POST /b\n{\"skus\":[7,\"8\"]}", "POST /b\n{\"skus\":[\"7\",8]}",
 "POST /b\n{\"skus\":[\"\\u0041\"]}", "POST /b\n{\"skus\":[\"A\"]}"]
--- response_body_like eval
['', '"sku":7.*"sku":8', '"sku":7.*"sku":8', '', '']
--- response_headers eval
["", "X-Status: MISS", "X-Status: HIT", "X-Status: MISS", "X-Status: HIT"]



=== TEST 5: a list that is deep in the body
--- request eval
["GET /asked", "POST /deep\n{\"q\":[{\"skus\":[\"A\"]}]}", "POST /deep\n{\"q\":[{\"skus\":[\"A\",\"B\"]}]}", "GET /asked"]
--- response_body_like eval
['', '"A"', '"A".*"B"', '^POST /deep \{"q":\[\{"skus":\["A"\]\}\]\}\nPOST /deep \{"q":\[\{"skus":\["B"\]\}\]\}\n$']



=== TEST 6: SKUs in the body, locations in the query
--- request eval
["GET /asked", "POST /mixed?location=X\n{\"skus\":[\"A\"]}", "POST /mixed?location=X,Y\n{\"skus\":[\"A\"]}", "GET /asked"]
--- response_body eval
["", main::answer('t1', main::E('A', 'X')),
 main::answer('t1', main::E('A', 'X'), main::E('A', 'Y')),
 "POST /mixed?location=X {\"skus\":[\"A\"]}\nPOST /mixed?location=Y {\"skus\":[\"A\"]}\n"]



=== TEST 7: what is no such body is passed as it is
--- request eval
["GET /asked", "POST /p\n{\"skus\":[\"A\"]", "POST /p\n{\"skus\":\"A\"}", "POST /p\n{\"skus\":[1.5]}",
 "POST /p\n{\"skus\":[null]}", "POST /p\n{\"skus\":[\"A\"],\"skus\":[\"B\"]}", "POST /p\n[]",
 "POST /p\nskus=A", "GET /p?skus=A", "GET /asked"]
--- response_body_like eval
['', ('"t\d"') x 8,
 '^POST /p \{"skus":\["A"\]\nPOST /p \{"skus":"A"\}\nPOST /p \{"skus":\[1.5\]\}\n'
 . 'POST /p \{"skus":\[null\]\}\nPOST /p \{"skus":\["A"\],"skus":\["B"\]\}\nPOST /p \[\]\n'
 . 'POST /p skus=A\nGET /p\?skus=A\n$']
--- response_headers_like eval
["", ("X-Status: (?:PASS|BYPASS)") x 7, "", ""]



=== TEST 8: lists of nothing
--- request eval
["GET /asked", "POST /p\n{\"skus\":[]}", "POST /p\n{\"skus\":[\"A\"],\"locations\":[]}", "POST /p\n{\"skus\":[\"A\"]}"]
--- response_body_like eval
['', '"items":\[\]', '"sku":"A"', '"sku":"A"']



=== TEST 9: a large body, and one that is too large
--- config eval
"location /big {
    client_max_body_size     4m;
    client_body_buffer_size  16k;
    availability_cache       a;
    availability_cache_key   \$uri;
    availability_cache_items arg=body:/skus list=/items id=/sku;
    availability_cache_valid 200 20s;
    add_header X-Status \$availability_cache_status;
    proxy_pass http://127.0.0.1:$ENV{PENSTOCK_ERP};
}"
--- request eval
["GET /asked", "POST /big\n{\"skus\":[\"A\"],\"x\":\"" . ('x' x 500000) . "\"}",
 "POST /big\n{\"skus\":[\"A\",\"B\"],\"x\":\"" . ('x' x 500000) . "\"}",
 "POST /big\n{\"skus\":[\"A\"],\"x\":\"" . ('x' x 1100000) . "\"}", "GET /asked"]
--- response_headers_like eval
["", "X-Status: MISS", "X-Status: PARTIAL", "X-Status: (?:PASS|BYPASS)"]
--- response_body_like eval
['', '"A"', '"A".*"B"', '"A"']



=== TEST 10: an unknown SKU
--- request eval
["GET /asked", "POST /b\n{\"skus\":[\"U1\"]}", "POST /b\n{\"skus\":[\"A\",\"U1\"]}", "POST /b\n{\"skus\":[\"U1\",\"A\"]}", "GET /asked"]
--- response_body eval
["", main::answer('t1'), main::answer('t1', main::E('A')), main::answer('t1', main::E('A')),
 "POST /b {\"skus\":[\"U1\"]}\nPOST /b {\"skus\":[\"A\"]}\n"]



=== TEST 11: without locations: all elements of each SKU, told apart from those with
--- request eval
["GET /asked", "POST /p\n{\"skus\":[\"A\",\"B\"]}", "POST /p\n{\"skus\":[\"B\"]}", "POST /p\n{\"skus\":[\"B\"],\"locations\":[\"X\"]}"]
--- response_body eval
["",
 main::answer('t1', map { my $s = $_; map { main::E($s, $_) } 'X', 'Y' } 'A', 'B'),
 main::answer('t1', map { main::E('B', $_) } 'X', 'Y'), main::answer('t2', main::E('B', 'X'))]
--- response_headers eval
["", "X-Status: MISS\nX-Cells: 2", "X-Status: HIT", "X-Status: MISS"]



=== TEST 12: a GET has no lists: it goes by the cache
--- request eval
["GET /asked", "GET /b?sku=A", "GET /b?sku=A", "HEAD /b?sku=A", "GET /mixed?location=X", "PUT /b\n{\"skus\":[\"A\"]}", "GET /asked"]
--- response_headers eval
["", "X-Status: BYPASS\n!Cache-Status", ("X-Status: BYPASS") x 3, "!X-Status", ""]
--- response_body_like eval
['', ('.') x 2, '', '.', '.', '^GET /b\?sku=A\nGET /b\?sku=A\nHEAD /b\?sku=A\nGET /mixed\?location=X\nPUT /b .*\n$']



=== TEST 13: a body and a query are told apart from a path that looks like them
--- request eval
["GET /asked", "POST /b?x=1\n{\"skus\":[\"A\"]}", "POST /b%3Fx=1\n{\"skus\":[\"A\"]}", "POST /b%253Fx=1\n{\"skus\":[\"A\"]}",
 "POST /b?x=1\n{\"skus\":[\"A\"]}", "POST /b%3Fx=1\n{\"skus\":[\"A\"]}"]
--- response_headers eval
["", ("X-Status: MISS") x 3, ("X-Status: HIT") x 2]
