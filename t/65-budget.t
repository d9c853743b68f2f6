# A budget bounds what goes to the upstream, whatever clients do, and shows
# what is old rather than nothing; limits may count cells.

use Test::Nginx::Socket 'no_plan';

no_shuffle();
repeat_each(1);

add_block_preprocessor(sub {
    my $block = shift;

    my $http = $block->http_config || '';

    $block->set_value('http_config', <<'_EOC_' . $http);
availability_zone a:1m;
rate_limit_zone erp zone=reads:32k rate=1r/h burst=2;
rate_limit_zone $remote_addr zone=cells:32k rate=1r/h burst=10;

server {
    listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1;

    location / {
        add_header Cache-Control $arg_cc;
        return 200 "$request_uri";
    }

    location /items {
        default_type application/json;
        return 200 '{"items":[]}';
    }

    location /fail {
        return 500;
    }
}
_EOC_

    $block->set_value('config', <<'_EOC_');
    location /t {
        availability_cache        a;
        availability_cache_valid  1m;
        availability_cache_budget zone=reads;
        proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    }

    location /bypass {
        availability_cache        a;
        availability_cache_bypass 1;
        availability_cache_budget zone=reads;
        proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    }

    location /stale {
        availability_cache        a;
        availability_cache_budget zone=reads;
        availability_cache_stale  if_error=1h;
        proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    }

    location /items {
        rate_limit zone=cells cost=$availability_cells;

        availability_cache        a;
        availability_cache_items  arg=sku arg=location list=/items
                                  id=/sku id=/location;
        availability_cache_valid  1m;
        proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    }

    location /off {
        availability_cache        a;
        availability_cache_valid  1m;
        availability_cache_budget off;
        proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_1;
    }

    location = /purge {
        availability_purge zone=a;
    }

    location = /status {
        penstock_status;
    }
_EOC_
});

run_tests();

__DATA__

=== TEST 1: reads above the budget get 503, and say when to come again
--- pipelined_requests eval
["GET /t?1", "GET /t?2", "GET /t?3", "GET /t?4"]
--- error_code eval
[200, 200, 503, 503]
--- response_headers_like eval
["Cache-Status: .*stored", "Cache-Status: .*stored",
 'Retry-After: \d{3,4}' . "\nContent-Type: application/problem\\+json",
 'Retry-After: \d{3,4}']


=== TEST 2: hits don't count
--- pipelined_requests eval
["GET /t?1", "GET /t?1", "GET /t?1", "GET /t?1", "GET /t?2", "GET /t?2"]
--- error_code eval
[200, 200, 200, 200, 200, 200]


=== TEST 3: requests that pass by the cache count, too
--- pipelined_requests eval
["GET /bypass?1", "GET /bypass?1", "GET /bypass?1", "GET /t?1"]
--- error_code eval
[200, 200, 503, 503]


=== TEST 4: an answer that can't be kept is passed from then on, and counts
--- pipelined_requests eval
["GET /t?cc=no-store", "GET /t?cc=no-store", "GET /t?cc=no-store"]
--- error_code eval
[200, 200, 503]


=== TEST 5: what is held is shown stale where that is allowed
--- pipelined_requests eval
["GET /stale?cc=max-age=60", "GET /stale?cc=max-age=61",
 "POST /purge\n{\"all\":true}", "GET /stale?cc=max-age=60"]
--- error_code eval
[200, 200, 200, 200]
--- response_headers_like eval
["Cache-Status: .*stored", "Cache-Status: .*stored", "",
 "Cache-Status: Penstock; fwd=stale; fwd-status=503; ttl=.*if-error"]


=== TEST 6: other methods are not bounded
--- pipelined_requests eval
["GET /t?1", "GET /t?2", "POST /t?3\na", "POST /t?3\na"]
--- error_code eval
[200, 200, 200, 200]


=== TEST 7: a location without
--- pipelined_requests eval
["GET /off?1", "GET /off?2", "GET /off?3", "GET /off?4"]
--- error_code eval
[200, 200, 200, 200]


=== TEST 8: what was kept back is counted
--- pipelined_requests eval
["GET /t?1", "GET /t?2", "GET /t?3", "GET /status?format=prometheus"]
--- error_code eval
[200, 200, 503, 200]
--- response_body_like eval
["", "", "", 'penstock_availability_over_budget_total 1\n']


=== TEST 9: a limit that counts cells
--- pipelined_requests eval
["GET /items?sku=A,B,C&location=X,Y", "GET /items?sku=D,E&sku=F",
 "GET /items?sku=A,B"]
--- error_code eval
[200, 200, 429]


=== TEST 10: a request that asks for no cells costs one
--- pipelined_requests eval
["GET /items?sku=A,B,C&location=X,Y,Z", "GET /items", "GET /items"]
--- error_code eval
[200, 200, 429]


=== TEST 11: nobody gets more for less by a list that cells can't be made of
--- pipelined_requests eval
my $long = 'x' x 129;
["GET /items?sku=A,B,C&location=", "GET /items?sku=$long,A,B&location=",
 "GET /items?sku=A,$long&location=,",
 "GET /items?sku=A&sku=$long&location=%2C+,%20",
 "GET /items?sku=A&location=L"]
--- error_code eval
[200, 200, 200, 200, 429]


=== TEST 12: nor by asking what may be asked
--- pipelined_requests eval
["OPTIONS /t?1", "OPTIONS /t?1", "OPTIONS /t?1", "GET /t?1"]
--- error_code eval
[200, 200, 503, 503]
