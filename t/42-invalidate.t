# An order invalidates what it names, and nothing less: wherever its body
# lies, whatever it looks like, and unless the upstream says that it did not
# take it.  Its own answer passes as it is.
#
# "answers: 1 1 - 2": the second request got the body of the first, the third
# is not looked at, the fourth got another one.

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
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin/;
}

location /orders {
    availability_invalidate zone=a /lines/*/sku;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/erp/;
}

location /erp/ {
    return 201 "made";
}

location /origin/ {
    return 200 "$request_method $request_uri $request_id";
}
_EOC_
});

no_long_string();
run_tests();

__DATA__

=== TEST 1: what an order names is asked for again, other things are not
--- request eval
["GET /t?sku=A", "GET /t?sku=B", "GET /t?sku=A,B", "POST /orders\n{\"lines\":[{\"sku\":\"A\"},{\"sku\":\"C\"}]}",
 "GET /t?sku=A", "GET /t?sku=B", "GET /t?sku=A,B", "GET /t?sku=A"]
--- answers: 1 2 3 - 4 2 5 4
--- error_code eval
[200, 200, 200, 201, 200, 200, 200, 200]



=== TEST 2: any tag of the request's: a location
--- config
location = /stock {
    availability_invalidate zone=a /location;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/erp/;
}
--- request eval
["GET /t?sku=A&location=L1", "GET /t?sku=A&location=L2", "PUT /stock\n{\"location\":\"L1\"}",
 "GET /t?sku=A&location=L1", "GET /t?sku=A&location=L2"]
--- answers: 1 2 - 3 2
--- error_code eval
[200, 200, 201, 200, 200]



=== TEST 3: integer SKUs, escapes, and lines without any
--- request eval
["GET /t?sku=17", "GET /t?sku=%C3%A4", "GET /t?sku=-1", "GET /t?sku=true",
 "POST /orders\n{\"lines\":[{\"sku\":17},{\"sku\":\"\\u00e4\"},{\"sku\":-1},{},7]}",
 "GET /t?sku=17", "GET /t?sku=%c3%a4", "GET /t?sku=-1", "GET /t?sku=true"]
--- answers: 1 2 3 4 - 5 6 7 4
--- error_code eval
[200, 200, 200, 200, 201, 200, 200, 200, 200]



=== TEST 4: a body in a temp file
--- config
location = /file {
    availability_invalidate zone=a /lines/*/sku;
    client_body_buffer_size 16;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/erp/;
}
--- request eval
["GET /t?sku=A", "GET /t?sku=B",
 "POST /file\n{\"lines\":[" . CORE::join(",", map { "{\"sku\":\"X$_\"}" } 1 .. 100) . ",{\"sku\":\"A\"}]}",
 "GET /t?sku=A", "GET /t?sku=B"]
--- answers: 1 2 - 3 2
--- error_code eval
[200, 200, 201, 200, 200]



=== TEST 5: only in a file
--- config
location = /file {
    availability_invalidate zone=a /lines/*/sku;
    client_body_in_file_only clean;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/erp/;
}
--- request eval
["GET /t?sku=A", "GET /t?sku=B", "POST /file\n{\"lines\":[{\"sku\":\"A\"}]}",
 "GET /t?sku=A", "GET /t?sku=B"]
--- answers: 1 2 - 3 2
--- error_code eval
[200, 200, 201, 200, 200]



=== TEST 6: a body that can't be read voids the zone, where the upstream took it
--- request eval
["GET /t?sku=A", "POST /orders\nsku=B", "GET /t?sku=A", "POST /orders\n\"A\"", "GET /t?sku=A",
 "POST /orders", "GET /t?sku=A", "POST /orders\n{\"lines\":[{\"sku\":\"B\"}]", "GET /t?sku=A",
 "POST /orders\n{\"lines\":[{\"sku\":\"B\",\"sku\":\"C\"}]}", "GET /t?sku=A",
 "POST /orders\n{\"lines\":[{\"sku\":\"\xff\"}]}", "GET /t?sku=A",
 "POST /orders\n" . ("[" x 5000) . ("]" x 5000), "GET /t?sku=A",
 "POST /orders\n{\"lines\":[" . CORE::join(",", map { "{\"sku\":\"X$_\"}" } 1 .. 257) . "]}", "GET /t?sku=A",
 "POST /orders\n{\"lines\":[{\"sku\":\"" . ("x" x 129) . "\"}]}", "GET /t?sku=A"]
--- answers: 1 - 2 - 3 - 4 - 5 - 6 - 7 - 8 - 9 - 10
--- error_code eval
[200, (201, 200) x 9]
--- timeout: 20



=== TEST 7: as many tags as fit name only those
--- request eval
["GET /t?sku=A",
 "POST /orders\n{\"lines\":[" . CORE::join(",", map { "{\"sku\":\"X$_\"}" } 1 .. 256) . "]}",
 "GET /t?sku=A"]
--- answers: 1 - 1
--- error_code eval
[200, 201, 200]



=== TEST 8: larger than what is looked into
--- config
location = /large {
    availability_invalidate zone=a /sku;
    client_max_body_size 4m;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/erp/large;
}

location = /erp/large {
    client_max_body_size 4m;
    return 200 "taken";
}
--- request eval
["GET /t?sku=A", "POST /large\n{\"sku\":\"B\",\"x\":\"" . ("x" x (1024 * 1024)) . "\"}", "GET /t?sku=A"]
--- answers: 1 - 2
--- timeout: 20



=== TEST 9: nothing named, nothing invalidated
--- request eval
["GET /t?sku=A", "POST /orders\n{}", "POST /orders\n{\"lines\":[]}", "POST /orders\n{\"lines\":{\"sku\":\"A\"}}", "POST /orders\n[1]", "GET /t?sku=A"]
--- answers: 1 - - - - 1
--- error_code eval
[200, 201, 201, 201, 201, 200]



=== TEST 10: 4xx did not take it; 2xx, 3xx and 5xx may have
--- config
location /o/ {
    availability_invalidate zone=a /sku;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/answer/;
}

location = /answer/204 { return 204; }
location = /answer/303 { return 303 /there; }
location = /answer/400 { return 400 "no"; }
location = /answer/409 { return 409 "no"; }
location = /answer/429 { return 429 "no"; }
location = /answer/500 { return 500 "perhaps"; }
location = /answer/503 { return 503 "perhaps"; }
--- request eval
["GET /t?sku=A",
 map { ("POST /o/$_\n{\"sku\":\"A\"}", "GET /t?sku=A") } 400, 409, 429, 204, 303, 500, 503]
--- answers: 1 - 1 - 1 - 1 - 2 - 3 - 4 - 5
--- error_code eval
[200, map { ($_, 200) } 400, 409, 429, 204, 303, 500, 503]
--- timeout: 20



=== TEST 11: no answer: unknown, said so, and invalidated
--- config
location = /o {
    availability_invalidate zone=a /sku;
    proxy_pass http://127.0.0.1:1/;
}
--- request eval
["GET /t?sku=A", "POST /o\n{\"sku\":\"A\"}", "GET /t?sku=A"]
--- answers: 1 - 2
--- error_code eval
[200, 502, 200]
--- response_headers eval
["", "Content-Type: application/problem+json", ""]
--- response_body_like eval
[".", '"detail":"The server did not answer\. Whether the request took effect is unknown\."', "."]



=== TEST 12: a truncated answer is no answer
--- config
location = /o {
    availability_invalidate zone=a /sku;
    proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/;
}
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
"HTTP/1.1 201 Created\r\nContent-Length: 100\r\nConnection: close\r\n\r\nhalf of it"
--- request eval
["GET /t?sku=A", "POST /o\n{\"sku\":\"A\"}", "GET /t?sku=A"]
--- answers: 1 - 2
--- error_code eval
[200, 502, 200]



=== TEST 13: a timeout
--- config
location = /o {
    availability_invalidate zone=a /sku;
    proxy_read_timeout 200ms;
    proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/;
}
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_no_close
--- tcp_reply:
--- request eval
["GET /t?sku=A", "POST /o\n{\"sku\":\"A\"}", "GET /t?sku=A"]
--- answers: 1 - 2
--- error_code eval
[200, 504, 200]
--- response_body_like eval
[".", '"status":504,"detail":"The server did not answer in time\. Whether the request took effect is unknown\."', "."]



=== TEST 14: an order's answer passes as it is
--- config
location = /o {
    availability_invalidate zone=a /sku;
    add_header X-Status "[$availability_cache_status]" always;
    proxy_redirect off;
    proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/;
}
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
"HTTP/1.1 201 Created\r\nContent-Type: application/json; charset=utf-8\r\nLocation: http://erp.example/orders/1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nETag: \"v\"\r\nContent-Length: 8\r\nX-Order: 1\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n{\"id\":1}"
--- request
POST /o
{"sku":"A"}
--- error_code: 201
--- response_headers
Content-Type: application/json; charset=utf-8
Location: http://erp.example/orders/1
Set-Cookie: a=1, b=2
ETag: "v"
Content-Length: 8
X-Order: 1
Cache-Control: no-store
X-Status: []
!Cache-Status
!Age
--- response_body: {"id":1}



=== TEST 15: a refusal of an order passes as it is
--- config
location = /o {
    availability_invalidate zone=a /sku;
    proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/;
}
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
"HTTP/1.1 409 Conflict\r\nContent-Type: application/problem+json\r\nContent-Length: 10\r\nConnection: close\r\n\r\n{\"a\":true}"
--- request
POST /o
{"sku":"A"}
--- error_code: 409
--- response_headers
Content-Type: application/problem+json
--- response_body: {"a":true}



=== TEST 16: a large answer goes through a file
--- config
location = /o {
    availability_invalidate zone=a /sku;
    availability_cache_max_size 1000;
    proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/;
}
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" . CORE::join("", map { "line $_\n" } 1 .. 30000)
--- request
POST /o
{"sku":"A"}
--- response_body eval
CORE::join("", map { "line $_\n" } 1 .. 30000)



=== TEST 17: a large answer with a length, as large as the cap and one more
--- config
location /o/ {
    availability_invalidate zone=a /sku;
    availability_cache_max_size 10;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/answer/;
}

location = /answer/10 { return 200 "0123456789"; }
location = /answer/11 { return 200 "0123456789a"; }
--- request eval
["POST /o/10\n{}", "POST /o/11\n{}"]
--- response_body eval
["0123456789", "0123456789a"]



=== TEST 18: the upstream gets method, headers and body as they came
--- config
location = /o {
    availability_invalidate zone=a /sku;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/echo;
}

location = /echo {
    return 200 "$request_method $http_x_one $http_accept_encoding $content_type $content_length";
}
--- request
PATCH /o
{"sku":"A"}
--- more_headers
Content-Type: application/merge-patch+json
X-One: 1
Accept-Encoding: gzip
--- response_body: PATCH 1 gzip application/merge-patch+json 11



=== TEST 19: a condition is the upstream's to judge
--- config
location = /o {
    availability_invalidate zone=a /sku;
    proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/;
}
--- tcp_listen: $TEST_NGINX_RAND_PORT_1
--- tcp_reply eval
"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nETag: \"v2\"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nConnection: close\r\n\r\ndone"
--- request
PUT /o
{"sku":"A"}
--- more_headers
If-Match: "v1"
If-Unmodified-Since: Wed, 31 Dec 2025 00:00:00 GMT
--- response_headers
ETag: "v2"
--- response_body: done



=== TEST 20: reads of a write location, and methods without effect, go on
--- request eval
["GET /orders", "HEAD /orders", "OPTIONS /orders"]
--- error_code eval
[201, 201, 201]



=== TEST 21: one location for reads and writes
--- config
location = /both {
    availability_cache a;
    availability_cache_valid 60s;
    availability_cache_tag arg=sku;
    availability_invalidate zone=a /sku;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin/;
}
--- request eval
["GET /both?sku=A", "GET /both?sku=A", "DELETE /both\n{\"sku\":\"A\"}", "GET /both?sku=A"]
--- answers: 1 1 2 3



=== TEST 22: tags of the upstream's, by Cache-Tag
--- config
location = /c {
    availability_cache a;
    availability_cache_valid 60s;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/tagged;
}

location = /tagged {
    add_header Cache-Tag "x, A ,y";
    return 200 $request_id;
}
--- request eval
["GET /c", "GET /c", "POST /orders\n{\"lines\":[{\"sku\":\"A\"}]}", "GET /c", "POST /orders\n{\"lines\":[{\"sku\":\"B\"}]}", "GET /c"]
--- answers: 1 1 - 2 - 2
--- error_code eval
[200, 200, 201, 200, 201, 200]



=== TEST 23: a tag by variable, and lists in it
--- config
location /v/ {
    availability_cache a;
    availability_cache_valid 60s;
    availability_cache_tag $arg_x "fixed, too";
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin/;
}
--- request eval
["GET /v/?x=A,B", "POST /orders\n{\"lines\":[{\"sku\":\"B\"}]}", "GET /v/?x=A,B", "POST /orders\n{\"lines\":[{\"sku\":\"too\"}]}", "GET /v/?x=A,B"]
--- answers: 1 - 2 - 3
--- error_code eval
[200, 201, 200, 201, 200]



=== TEST 24: a request with too many tags is not kept
--- request eval
["GET /t?sku=" . CORE::join(",", 1 .. 257), "GET /t?sku=" . CORE::join(",", 1 .. 257), "GET /t?sku=" . CORE::join(",", 1 .. 256), "GET /t?sku=" . CORE::join(",", 1 .. 256)]
--- answers: 1 2 3 3



=== TEST 25: error_page of a write
--- config
location = /o {
    availability_invalidate zone=a /sku;
    error_page 502 = /sorry;
    proxy_pass http://127.0.0.1:1/;
}

location = /sorry {
    return 503 "sorry";
}
--- request
POST /o
{"sku":"A"}
--- error_code: 503
--- response_body: sorry
--- error_log
connect() failed



=== TEST 26: a pointer that finds neither text nor a whole number voids the zone
--- request eval
["GET /t?sku=W", map { ("POST /orders\n{\"lines\":[{\"sku\":$_}]}", "GET /t?sku=W") } '1.5', 'true', 'null', '["W"]', '{"id":"W"}']
--- answers: 1 - 2 - 3 - 4 - 5 - 6
--- error_code eval
[200, (201, 200) x 5]


=== TEST 27: an "if" and what lies within a location inherit it
--- http_config
erp_budget_zone erp:64k limit=2;
--- config
location /o {
    availability_invalidate zone=a /sku;

    if ($arg_if) {
        set $x 1;
    }

    limit_except GET {
        allow all;
    }

    location /o/in {
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/erp/;
    }

    location /o/led {
        erp_budget erp;

        if ($request_method = POST) {
            add_header X-Post yes;
        }

        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/erp/;
    }

    location /o/off {
        availability_invalidate off;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/erp/;
    }

    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/erp/;
}
--- request eval
["GET /t?sku=A", map { ("POST $_\n{\"sku\":\"A\"}",
 "GET /t?sku=A") } "/o?if=1", "/o/in/", "/o/led/", "/o/off/"]
--- answers: 1 - 2 - 3 - 4 - 4
--- error_code eval
[200, (201, 200) x 4]


=== TEST 28: a purge in a location with an "if"
--- config
location /p {
    if ($arg_if) {
        set $x 1;
    }

    availability_purge zone=a;
}
--- request eval
["GET /t?sku=A", "POST /p?if=1\n{\"skus\":[\"A\"]}", "GET /t?sku=A"]
--- answers: 1 - 2
--- error_code eval
[200, 200, 200]
