# Whether Redis tells this host of changes is seen in penstock_status, and
# only where a zone is shared.  What a push does is in tests/live/test_push.py.

use Test::Nginx::Socket 'no_plan';

no_shuffle();
run_tests();

__DATA__

=== TEST 1: a zone of this host alone
--- http_config
availability_zone a:1m;
--- config
location = /status { penstock_status; }
--- request
GET /status
--- response_body_unlike
penstock_redis_push



=== TEST 2: a Redis that nobody shares a zone by has no link
--- http_config
redis main { server 127.0.0.1:1; }
availability_zone a:1m;
--- config
location = /status { penstock_status; }
--- request
GET /status
--- response_body_unlike
penstock_redis_push
--- no_error_log
connect() failed



=== TEST 3: a link that can't be made
--- http_config
redis main { server 127.0.0.1:1; }
redis other { server 127.0.0.1:1; }
availability_zone a:1m redis=main;
availability_zone b:1m redis=main;
availability_zone c:1m redis=other;
--- config
location = /status { penstock_status; }
location = /t {
    availability_cache a;
    availability_cache_valid 60s;
    add_header X-Status $availability_cache_status;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/origin;
}
location = /origin { return 200 "x"; }
--- request eval
["GET /t", "GET /t", "GET /status"]
--- response_headers eval
["X-Status: MISS", "X-Status: HIT", ""]
--- more_headers
Accept: text/plain
--- response_body_like eval
["^x\$", "^x\$", 'penstock_redis_push_live\{redis="main"\} 0\npenstock_redis_push_live\{redis="other"\} 0\n']
