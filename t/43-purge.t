# A purge makes everything that it names be asked for again, at once, and
# answers only those that ask rightly.

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

location = /purge {
    availability_purge zone=a;
}

location /origin/ {
    return 200 "$request_method $request_uri $request_id";
}
_EOC_
});

no_long_string();
run_tests();

__DATA__

=== TEST 1: by tags
--- request eval
["GET /t?sku=A", "GET /t?sku=B", "GET /t?sku=A,C", "POST /purge\n{\"tags\":[\"A\",\"Z\"]}", "GET /t?sku=A", "GET /t?sku=B", "GET /t?sku=A,C"]
--- answers: 1 2 3 - 4 2 5
--- response_headers eval
["", "", "", "Content-Type: application/json", "", "", ""]
--- response_body_like eval
[".", ".", ".", '^\{"tags":2\}\n$', ".", ".", "."]



=== TEST 2: everything, with and without tags
--- request eval
["GET /t?sku=A", "GET /t", "POST /purge\n{\"all\":true}", "GET /t?sku=A", "GET /t", "GET /t?sku=A",
 "POST /purge\n{\"all\":true,\"tags\":[\"x\"]}", "GET /t?sku=A"]
--- answers: 1 2 - 3 4 3 - 5
--- response_body_like eval
[".", ".", '^\{"all":true\}\n$', ".", ".", ".", '^\{"all":true\}\n$', "."]



=== TEST 3: nothing
--- request eval
["GET /t?sku=A", "POST /purge\n{\"tags\":[]}", "GET /t?sku=A"]
--- answers: 1 - 1
--- response_body_like eval
[".", '^\{"tags":0\}\n$', "."]



=== TEST 4: other methods
--- request eval
["GET /purge", "HEAD /purge", "PUT /purge\n{\"all\":true}", "DELETE /purge"]
--- error_code eval
[405, 405, 405, 405]



=== TEST 5: what is no purge
--- request eval
["GET /t?sku=A", map { "POST /purge\n$_" } '', 'x', '[]', '"all"', 'true', '{}', '{"all":false}', '{"all":1}',
 '{"all":"true"}', '{"tags":"A"}', '{"tags":{"A":1}}', '{"tags":[1]}', '{"tags":[""]}', '{"tags":["A",null]}',
 '{"tags":["A"],"tags":["B"]}', '{"tags":["A"]}}', "{\"tags\":[\"\xff\"]}", '{"tags":["A"],"all":"no"}',
 '{"tags":["' . ("x" x 129) . '"]}', '{"tags":[' . CORE::join(",", map { "\"$_\"" } 1 .. 257) . ']}', ("[" x 3000) x 1]
--- answers eval
"1" . " -" x 21
--- error_code eval
[200, (400) x 21]
--- response_body_like eval
[".", ('^\{"type":"about:blank","title":"Bad Request","status":400,"detail":"A purge is a JSON object:') x 21]
--- timeout: 20



=== TEST 6: too long, and in a file
--- config
location = /long {
    client_max_body_size 4m;
    client_body_buffer_size 64;
    availability_purge zone=a;
}
--- request eval
["GET /t?sku=A", "POST /long\n{\"tags\":[\"A\"" . (" " x 1000) . "]}", "GET /t?sku=A",
 "POST /long\n{\"all\":true,\"x\":\"" . ("x" x 1048576) . "\"}", "GET /t?sku=A"]
--- answers: 1 - 2 - 2
--- error_code eval
[200, 200, 200, 413, 200]
--- timeout: 20



=== TEST 7: another zone is another zone
--- http_config
availability_zone b:1m;
--- config
location = /b {
    availability_cache b;
    availability_cache_valid 60s;
    availability_cache_tag arg=sku;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin/;
}

location = /purge-b {
    availability_purge zone=b;
}
--- request eval
["GET /t?sku=A", "GET /b?sku=A", "POST /purge-b\n{\"all\":true}", "GET /t?sku=A", "GET /b?sku=A"]
--- answers: 1 2 - 1 3



=== TEST 8: deny comes before
--- config
location = /denied {
    deny all;
    availability_purge zone=a;
}
--- request eval
["GET /t?sku=A", "POST /denied\n{\"all\":true}", "GET /t?sku=A"]
--- answers: 1 - 1
--- error_code eval
[200, 403, 200]



=== TEST 20: other methods are told which to use
--- request
GET /purge
--- error_code: 405
--- response_headers
Allow: POST
Content-Type: application/problem+json



=== TEST 20: by SKUs and locations
--- config
location /l {
    availability_cache a;
    availability_cache_valid 60s;
    availability_cache_tag arg=sku;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/tagged/;
}
location /tagged/ {
    add_header Cache-Tag "warehouse";
    return 200 "$request_id";
}
--- request eval
["GET /l?sku=A", "GET /l?sku=B",
 "POST /purge\n{\"skus\":[\"A\",\"C\"]}", "GET /l?sku=A", "GET /l?sku=B",
 "POST /purge\n{\"skus\":[\"A\"],\"locations\":[\"L1\"],\"tags\":[\"B\",\"A\"]}", "GET /l?sku=A", "GET /l?sku=B"]
--- answers: 1 2 - 3 2 - 4 5
--- response_body_like eval
[".", ".", '^\{"tags":2\}\n$', ".", ".", '^\{"tags":3\}\n$', ".", "."]



=== TEST 21: modes
--- request eval
["GET /t?sku=A", "POST /purge\n{\"skus\":[\"A\"],\"mode\":\"hard\"}", "GET /t?sku=A", "GET /t?sku=A",
 "POST /purge\n{\"skus\":[\"A\"],\"mode\":\"soft\"}", "GET /t?sku=A", "GET /t?sku=A",
 "POST /purge\n{\"all\":true,\"mode\":\"hard\"}", "GET /t?sku=A", "GET /t?sku=A",
 "POST /purge\n{\"all\":true,\"mode\":\"soft\"}", "GET /t?sku=A", "GET /t?sku=A"]
--- answers: 1 - 2 2 - 3 3 - 4 4 - 5 5



=== TEST 22: what is no purge by these
--- request eval
["GET /t?sku=A", map { "POST /purge\n$_" }
 '{"skus":"A"}', '{"locations":{}}', '{"skus":[1]}', '{"skus":["A"],"locations":[""]}', '{"mode":"hard"}',
 '{"skus":["A"],"mode":"medium"}', '{"skus":["A"],"mode":1}', '{"skus":["A"],"mode":null}', '{"all":true,"mode":"Hard"}',
 '{"skus":["A"],"Mode":"hard"}', '{"skus":["A"],"location":["L"]}', '{"all":true,"foo":1}',
 '{"locations":["' . ("x" x 120) . '"]}', '{"skus":[' . CORE::join(",", map { "\"$_\"" } 1 .. 200)
 . '],"locations":[' . CORE::join(",", map { "\"$_\"" } 1 .. 57) . ']}']
--- answers eval
"1" . " -" x 14
--- error_code eval
[200, (400) x 14]
