# What is wrong in a configuration of limits is said by nginx -t, with the
# value and what to write instead.

use Test::Nginx::Socket 'no_plan';

no_shuffle();
run_tests();

__DATA__

=== TEST 1: no zone
--- http_config
rate_limit_zone $remote_addr rate=1r/s burst=2;
--- config
--- must_die
--- error_log
"rate_limit_zone" must have "zone=NAME:SIZE"



=== TEST 2: no rate
--- http_config
rate_limit_zone $remote_addr zone=a:1m;
--- config
--- must_die
--- error_log
"rate_limit_zone" must have "rate=RATE"



=== TEST 3: a rate that is none
--- http_config
rate_limit_zone $remote_addr zone=a:1m rate=10/s;
--- config
--- must_die
--- error_log
invalid rate "10/s", write it as 100r/s, r/m, r/h or r/d, at most 1000000r/s



=== TEST 4: a rate too high
--- http_config
rate_limit_zone $remote_addr zone=a:1m rate=1000001r/s;
--- config
--- must_die
--- error_log
invalid rate "1000001r/s"



=== TEST 5: a burst of nothing
--- http_config
rate_limit_zone $remote_addr zone=a:1m rate=1r/s burst=0;
--- config
--- must_die
--- error_log
invalid burst "0", write how many requests may come at once, 1 or more



=== TEST 6: a burst that takes too long
--- http_config
rate_limit_zone $remote_addr zone=a:1m rate=1r/h burst=2161;
--- config
--- must_die
--- error_log
burst "2161" at rate "1r/h" takes more than 90 days to come back, lower the burst



=== TEST 7: a zone without size
--- http_config
rate_limit_zone $remote_addr zone=a rate=1r/s;
--- config
--- must_die
--- error_log
invalid zone "a", write it as NAME:SIZE



=== TEST 8: a zone too small
--- http_config
rate_limit_zone $remote_addr zone=a:8k rate=1r/s;
--- config
--- must_die
--- error_log
zone "a" is too small



=== TEST 9: two zones of one name
--- http_config
rate_limit_zone $remote_addr zone=a:1m rate=1r/s;
rate_limit_zone $remote_addr zone=a:1m rate=2r/s;
--- config
--- must_die
--- error_log
zone "a" is already defined



=== TEST 10: the name of another module's zone
--- http_config
limit_req_zone $remote_addr zone=a:1m rate=1r/s;
rate_limit_zone $remote_addr zone=a:1m rate=1r/m;
--- config
location /t {
    limit_req zone=a burst=5 nodelay;
    rate_limit zone=a;
    return 204;
}
location /u {
    limit_req zone=a burst=5 nodelay;
    rate_limit zone=a;
    empty_gif;
}
--- request eval
["GET /u", "GET /u"]
--- error_code eval
[200, 429]



=== TEST 11: a zone that is not defined
--- config
rate_limit zone=nowhere;
--- must_die
--- error_log
zone "nowhere" is not defined



=== TEST 12: a zone defined behind its use
--- http_config
rate_limit zone=late;
rate_limit_zone $server_name zone=late:1m rate=1r/h;
--- config
location = /t {
    empty_gif;
}
--- request
GET /t
--- response_headers
RateLimit: "late";r=0;t=3600



=== TEST 13: unknown and repeated parameters
--- http_config
rate_limit_zone $remote_addr zone=a:1m rate=1r/s brust=5;
--- config
--- must_die
--- error_log
invalid parameter "brust=5", use zone=, rate=, burst=, plan=, redis=, sync= or fallback=



=== TEST 14: a parameter twice
--- http_config
rate_limit_zone $remote_addr zone=a:1m rate=1r/s rate=2r/s;
--- config
--- must_die
--- error_log
duplicate parameter "rate=2r/s", keep one



=== TEST 15: sync and fallback are about Redis
--- http_config
rate_limit_zone $remote_addr zone=a:1m rate=1r/s sync=exact;
--- config
--- must_die
--- error_log
"sync=" of zone "a" needs "redis=NAME"



=== TEST 16: fallback without Redis
--- http_config
rate_limit_zone $remote_addr zone=a:1m rate=1r/s fallback=deny;
--- config
--- must_die
--- error_log
"fallback=" of zone "a" needs "redis=NAME"



=== TEST 17: a sync that is none
--- http_config
redis main {
    server 127.0.0.1:6379;
}
rate_limit_zone $remote_addr zone=a:1m rate=1r/s redis=main sync=loose;
--- config
--- must_die
--- error_log
invalid sync "loose", use "exact" or "lease"



=== TEST 18: a fallback that is none
--- http_config
redis main {
    server 127.0.0.1:6379;
}
rate_limit_zone $remote_addr zone=a:1m rate=1r/s redis=main fallback=pass;
--- config
--- must_die
--- error_log
invalid fallback "pass", use "local", "allow" or "deny"



=== TEST 19: a limit without a zone
--- config
rate_limit before_auth;
--- must_die
--- error_log
"rate_limit" must have "zone=NAME"



=== TEST 20: a limit with something else
--- http_config
rate_limit_zone $remote_addr zone=a:1m rate=1r/s;
--- config
rate_limit zone=a burst=5;
--- must_die
--- error_log
invalid or repeated parameter "burst=5", use zone=, cost=, before_auth and dry_run



=== TEST 21: a cost that is no number
--- http_config
rate_limit_zone $remote_addr zone=a:1m rate=1r/s;
--- config
rate_limit zone=a cost=much;
--- must_die
--- error_log
invalid cost "much", write a number or a variable



=== TEST 22: the same zone twice in one place
--- http_config
rate_limit_zone $remote_addr zone=a:1m rate=1r/s;
--- config
rate_limit zone=a;
rate_limit zone=a before_auth;
--- must_die
--- error_log
zone "a" limits here already



=== TEST 23: a status that is no refusal
--- config
rate_limit_status 200;
--- must_die
--- error_log
invalid status "200", use 400 to 599



=== TEST 24: a variable that does not exist
--- http_config
rate_limit_zone $no_such_thing zone=a:1m rate=1r/s;
--- config
--- must_die
--- error_log
unknown "no_such_thing" variable
