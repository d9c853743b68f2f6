# What a client sees of cells that are asked for by a query: the upstream is
# asked for what is missing only, and the answer is as if it had been asked
# for everything.
#
# "asked" is what the upstream was asked, since the block began.

use lib 't/lib';
use Test::Nginx::Socket 'no_plan';
use PenstockErp;

$ENV{PENSTOCK_ERP} = PenstockErp::start();

env_to_nginx('PENSTOCK_ERP');
no_shuffle();
no_long_string();

# what answers are made of

sub E { return PenstockErp::element(@_) }

sub answer { return PenstockErp::answer(@_) }

my $blocks = PenstockErp::blocks(
    '/t'   => 'arg=sku arg=location list=/items id=/sku id=/location',
    '/one' => 'arg=sku list=/items id=/sku',
    '/few' => 'arg=sku list=/items id=/sku max_items=2'
);

add_block_preprocessor(sub { $blocks->(shift) });

run_tests();

__DATA__

=== TEST 1: all, again, a part, and others
--- request eval
["GET /asked", "GET /one?sku=A,B", "GET /one?sku=A,B", "GET /one?sku=B",
 "GET /one?sku=C,A,D,B", "GET /asked"]
--- response_body eval
["", main::answer('t1', main::E('A'), main::E('B')),
 main::answer('t1', main::E('A'), main::E('B')),
 main::answer('t1', main::E('B')),
 main::answer('t1', main::E('C'), main::E('A'), main::E('D'), main::E('B')),
 "GET /one?sku=A,B\nGET /one?sku=C,D\n"]
--- response_headers eval
["", "X-Status: MISS\nCache-Status: Penstock; fwd=miss; fwd-status=200; stored",
 "X-Status: HIT\nContent-Type: application/json",
 "X-Status: HIT",
 "X-Status: PARTIAL\nCache-Status: Penstock; fwd=partial; fwd-status=200; stored; detail=\"2 of 4 cells held\"",
 ""]



=== TEST 2: by commas or one by one, as the client does
--- request eval
["GET /asked", "GET /one?sku=A", "GET /one?sku=A&sku=B&sku=C",
 "GET /one?sku=A,D,E", "GET /one?x&sku=F,G&sku=H", "GET /asked"]
--- response_body eval
["", main::answer('t1', main::E('A')),
 main::answer('t1', main::E('A'), main::E('B'), main::E('C')),
 main::answer('t1', main::E('A'), main::E('D'), main::E('E')),
 main::answer('t4', main::E('F'), main::E('G'), main::E('H')),
 "GET /one?sku=A\nGET /one?sku=B&sku=C\nGET /one?sku=D,E\n"
 . "GET /one?x&sku=F,G&sku=H\n"]



=== TEST 3: twice comes twice, in the order that was asked
--- request eval
["GET /asked", "GET /one?sku=B,A,B", "GET /one?sku=A&sku=C&sku=A", "GET /asked"]
--- response_body eval
["", main::answer('t1', main::E('B'), main::E('A'), main::E('B')),
 main::answer('t1', main::E('A'), main::E('C'), main::E('A')),
 "GET /one?sku=B,A\nGET /one?sku=C\n"]



=== TEST 4: SKUs and locations: each SKU with its locations
--- request eval
["GET /asked", "GET /t?sku=A,B&location=X,Y", "GET /t?location=Y&sku=B",
 "GET /t?sku=B,A&location=Y,X,Z", "GET /t?sku=A,C&location=X", "GET /asked"]
--- response_body eval
["", main::answer('t1', main::E('A', 'X'), main::E('A', 'Y'), main::E('B', 'X'), main::E('B', 'Y')),
 main::answer('t1', main::E('B', 'Y')),
 main::answer('t1', main::E('B', 'Y'), main::E('B', 'X'), main::E('B', 'Z'),
                    main::E('A', 'Y'), main::E('A', 'X'), main::E('A', 'Z')),
 main::answer('t1', main::E('A', 'X'), main::E('C', 'X')),
 "GET /t?sku=A,B&location=X,Y\nGET /t?sku=B,A&location=Z\n"
 . "GET /t?sku=C&location=X\n"]
--- response_headers eval
["", "X-Status: MISS\nX-Cells: 4", "X-Status: HIT\nX-Cells: 1",
 "X-Status: PARTIAL\nX-Cells: 6\nCache-Status: Penstock; fwd=partial; fwd-status=200; stored; detail=\"4 of 6 cells held\"",
 "X-Status: PARTIAL\nX-Cells: 2", ""]



=== TEST 5: without locations: all elements of a SKU, told apart from those with
--- request eval
["GET /asked", "GET /t?sku=A&location=X", "GET /t?sku=A", "GET /t?sku=A", "GET /t?sku=A,B",
 "GET /t?sku=A&location=", "GET /t?sku=A&location=X", "GET /asked"]
--- response_body_like eval
['', 't1.*"location":"X"', 't2.*"location":"X".*"location":"Y"', 't2.*"location":"X".*"location":"Y"',
 't2(.*"A".*"location":"[XY]"){2}(.*"B".*"location":"[XY]"){2}', 't4.*"location":"[XY]"', 't1.*"location":"X"',
 '^GET /t\?sku=A&location=X\nGET /t\?sku=A\nGET /t\?sku=B\nGET /t\?sku=A&location=\n$']
--- response_headers eval
["", "X-Status: MISS", "X-Status: MISS\nX-Cells: 1", "X-Status: HIT", "X-Status: PARTIAL\nX-Cells: 2", "X-Status: BYPASS", "X-Status: HIT", ""]



=== TEST 6: an unknown SKU is held as absent
--- request eval
["GET /asked", "GET /one?sku=U1,A", "GET /one?sku=U1", "GET /one?sku=A,U1,U2", "GET /asked"]
--- response_body eval
["", main::answer('t1', main::E('A')), main::answer('t1'),
 main::answer('t1', main::E('A')),
 "GET /one?sku=U1,A\nGET /one?sku=U2\n"]
--- response_headers eval
["", "X-Status: MISS\nCache-Status: Penstock; fwd=miss; fwd-status=200; stored",
 "X-Status: HIT", "X-Status: PARTIAL", ""]
--- response_headers_like eval
["", ".*", "Cache-Status: Penstock; hit; ttl=[5-9]", ".*", ".*"]



=== TEST 7: other arguments are told apart, and passed on
--- request eval
["GET /asked", "GET /one?sku=A&currency=EUR", "GET /one?sku=A&currency=USD",
 "GET /one?currency=EUR&sku=A,B", "GET /one?sku=A", "GET /asked"]
--- response_body_like eval
['', '"t1"', '"t2"', '"t1"', '"t4"',
 '^GET /one\?sku=A&currency=EUR\nGET /one\?sku=A&currency=USD\n'
 . 'GET /one\?currency=EUR&sku=B\nGET /one\?sku=A\n$']
--- response_headers eval
["", "X-Status: MISS", "X-Status: MISS", "X-Status: PARTIAL", "X-Status: MISS", ""]



=== TEST 8: names and values that are encoded
--- request eval
["GET /asked", "GET /one?s%6Bu=A%2CB&sku=C", "GET /one?sku=%41,b+b,c%20c",
 "GET /one?sku=b%20b", "GET /one?sku=%26%3D%2B%25", "GET /one?sku=+,%2C,B,+,",
 "GET /asked"]
--- response_body eval
["", main::answer('t1', main::E('A'), main::E('B'), main::E('C')),
 main::answer('t1', main::E('A'), main::E('b b'), main::E('c c')),
 main::answer('t2', main::E('b b')),
 main::answer('t3', main::E('&=+%')),
 main::answer('t1', main::E('B')),
 "GET /one?s%6Bu=A%2CB&sku=C\nGET /one?sku=b%20b,c%20c\nGET /one?sku=%26%3D%2B%25\n"]



=== TEST 9: whole numbers as SKUs
--- request eval
["GET /asked", "GET /one?sku=7,8", "GET /one?sku=8,9", "GET /one?sku=07",
 "GET /asked"]
--- response_body eval
["", main::answer('t1', main::E('7'), main::E('8')),
 main::answer('t1', main::E('8'), main::E('9')),
 main::answer('t3', main::E('07')),
 "GET /one?sku=7,8\nGET /one?sku=9\nGET /one?sku=07\n"]



=== TEST 10: HEAD
--- request eval
["GET /asked", "HEAD /one?sku=A,B", "HEAD /one?sku=A,B", "GET /one?sku=B,A", "GET /asked"]
--- response_body eval
["", "", "", main::answer('t1', main::E('B'), main::E('A')), "GET /one?sku=A,B\n"]
--- response_headers eval
["", "X-Status: MISS\nContent-Length: 184", "X-Status: HIT\nContent-Length: 184",
 "X-Status: HIT\nContent-Length: 184", ""]



=== TEST 11: in chunks
--- request eval
["GET /asked", "GET /few?sku=A,B,C,D,E", "GET /few?sku=E,D,C,B,A,F,G,H", "GET /asked"]
--- response_body_like eval
['', '"sku":"A".*"sku":"B".*"sku":"C".*"sku":"D".*"sku":"E"',
 '"sku":"E".*"sku":"D".*"sku":"C".*"sku":"B".*"sku":"A".*"sku":"F".*"sku":"G".*"sku":"H"',
 '^(GET /few\?sku=(A,B|C,D|E)\n){3}(GET /few\?sku=(F,G|H)\n){2}$']
--- response_headers eval
["", "X-Status: MISS", "X-Status: PARTIAL", ""]



=== TEST 12: no list, no cells
--- request eval
["GET /asked", "GET /one", "GET /one?x=1", "GET /one?sku=", "GET /one", "GET /asked"]
--- response_body_like eval
['', 't1', 't2', 't3', 't', '^GET /one\nGET /one\?x=1\nGET /one\?sku=\n']



=== TEST 13: Age is that of the oldest, and so is the text
--- request eval
["GET /asked", "GET /one?sku=A&do=age", "GET /one?sku=A,B&do=age", "GET /one?sku=B&do=age"]
--- response_headers eval
["", "Age: 4", "X-Status: PARTIAL", "X-Status: HIT"]
--- response_headers_like eval
["", "Age: 4", "Age: [4-9]", "Age: [4-9]"]
--- response_body_like eval
['', '"t1"', '"t1"', '"t2"']



=== TEST 14: max-age of the upstream
--- request eval
["GET /asked", "GET /one?sku=A&do=maxage", "GET /one?sku=A&do=maxage"]
--- response_headers eval
["", "X-Status: MISS", "X-Status: HIT"]
--- response_headers_like eval
["", "Cache-Control: max-age=7", "Cache-Control: max-age=[67]\nCache-Status: Penstock; hit; ttl=[3-7]"]



=== TEST 15: fields of the answer, without validators
--- request eval
["GET /asked", "GET /one?sku=A&do=fields", "GET /one?sku=A,B&do=fields"]
--- response_headers eval
["", "X-Extra: kept\n!ETag\n!Last-Modified", "X-Extra: kept\n!ETag\n!Last-Modified"]



=== TEST 16: conditions and ranges don't reach the upstream's cells
--- request eval
["GET /asked", "GET /one?sku=A", "GET /one?sku=A", "GET /one?sku=A,B"]
--- more_headers eval
["", "If-None-Match: \"x\"\nRange: bytes=0-3", "If-Modified-Since: Thu, 01 Jan 2037 00:00:00 GMT", "If-Match: \"x\""]
--- error_code eval
[200, 200, 200, 412]
--- response_body_like eval
['', 'items', 'items', '412']



=== TEST 17: without a key, requests with credentials are passed
--- config eval
"location /nokey {
    availability_cache       a;
    availability_cache_items arg=sku list=/items id=/sku;
    availability_cache_valid 200 20s;
    add_header X-Status \$availability_cache_status;
    proxy_pass http://127.0.0.1:$ENV{PENSTOCK_ERP};
}"
--- request eval
["GET /asked", "GET /nokey?sku=A", "GET /nokey?sku=A", "GET /nokey?sku=A",
 "GET /nokey?sku=B", "GET /nokey?sku=A"]
--- more_headers eval
["", "", "Host: other", "Authorization: Bearer x", "Authorization: Bearer x", ""]
--- response_headers eval
["", "X-Status: MISS", "X-Status: MISS", "X-Status: BYPASS", "X-Status: BYPASS", "X-Status: HIT"]



=== TEST 18: a key of the caller's
--- config eval
"location /who {
    availability_cache       a;
    availability_cache_key   \$uri:\$http_x_tenant;
    availability_cache_items arg=sku list=/items id=/sku;
    availability_cache_valid 200 20s;
    add_header X-Status \$availability_cache_status;
    proxy_pass http://127.0.0.1:$ENV{PENSTOCK_ERP};
}"
--- request eval
["GET /asked", "GET /who?sku=A", "GET /who?sku=A", "GET /who?sku=A", "GET /who?sku=A,B"]
--- more_headers eval
["", "X-Tenant: a", "X-Tenant: b", "X-Tenant: a", "X-Tenant: b"]
--- response_headers eval
["", "X-Status: MISS", "X-Status: MISS", "X-Status: HIT", "X-Status: PARTIAL"]



=== TEST 19: no two pairs of a SKU and a location are one
--- request eval
["GET /asked", "GET /t?sku=a:b&location=c", "GET /t?sku=a&location=b:c", "GET /t?sku=a%7D:b&location=c",
 "GET /t?sku=a%253Ab&location=c", "GET /t?sku=a:b&location=c"]
--- response_headers eval
["", "X-Status: MISS", "X-Status: MISS", "X-Status: MISS", "X-Status: MISS", "X-Status: HIT"]
--- response_body_like eval
['', '"a:b"', '"b:c"', '"a}:b"', '"a%3Ab"', '"a:b"']



=== TEST 20: too long a value, too many of them, too many cells
--- request eval
["GET /asked", "GET /one?sku=" . ("a" x 128), "GET /one?sku=" . ("a" x 128), "GET /one?sku=" . ("a" x 129),
 "GET /one?sku=" . join(',', 1 .. 1024), "GET /one?sku=" . join(',', 1 .. 1025),
 "GET /t?sku=" . join(',', 1 .. 1000) . '&location=' . join(',', 1 .. 9)]
--- response_headers eval
["", "X-Status: MISS", "X-Status: HIT", "X-Status: BYPASS", "X-Status: MISS", "X-Status: BYPASS", "X-Status: BYPASS"]
--- response_body_like eval
['', 'aaa', 'aaa', 'aaa', '"sku":1024,', '"sku":1025,', '"sku":1000,']



=== TEST 21: a zone that holds a few makes room for others
--- http_config
availability_zone small:256k;
--- config eval
"location /small {
    availability_cache       small;
    availability_cache_key   \$uri;
    availability_cache_items arg=sku list=/items id=/sku;
    availability_cache_valid 200 20s;
    add_header X-Status \$availability_cache_status;
    proxy_pass http://127.0.0.1:$ENV{PENSTOCK_ERP};
}"
--- request eval
["GET /asked", "GET /small?sku=A", map({ "GET /small?sku=" . join(',', $_ * 500 .. $_ * 500 + 499) } 1 .. 4),
 "GET /small?sku=A", "GET /small?sku=A"]
--- response_headers eval
["", "X-Status: MISS", ("X-Status: MISS") x 4, "X-Status: MISS", "X-Status: HIT"]
--- response_body_like eval
['', '"A"', ('"items":\[\{"sku":\d+') x 4, '"A"', '"A"']



=== TEST 22: a path that looks like another one with arguments
--- request eval
["GET /asked", "GET /one%3Fx=1?sku=A", "GET /one?x=1&sku=A", "GET /one%253Fx=1?sku=A", "GET /one;body=?sku=A",
 "GET /one%3Bbody=?sku=A", "GET /one?;body=&sku=A", "GET /one%3Fx=1?sku=A", "GET /one?x=1&sku=A"]
--- response_headers eval
["", ("X-Status: MISS") x 4, "X-Status: HIT", "X-Status: MISS", ("X-Status: HIT") x 2]
