# What nginx -t says of a configuration that can't work: the value and the
# remedy.

use Test::Nginx::Socket 'no_plan';

no_shuffle();
run_tests();

__DATA__

=== TEST 1: a zone without a size
--- http_config
availability_zone a;
--- config

--- must_die
--- error_log
invalid zone "a", write it as NAME:SIZE


=== TEST 2: a zone's size
--- http_config
availability_zone a:1x;
--- config

--- must_die
--- error_log
invalid size "1x" of zone "a"


=== TEST 3: a zone that is too small
--- http_config
availability_zone a:4k;
--- config

--- must_die
--- error_log
zone "a" is too small, give it at least 32k


=== TEST 4: a zone twice
--- http_config
availability_zone a:1m; availability_zone a:1m;
--- config

--- must_die
--- error_log
duplicate zone "a"


=== TEST 5: another parameter of a zone
--- http_config
availability_zone a:1m backend=x;
--- config

--- must_die
--- error_log
invalid parameter "backend=x", only "redis=NAME" may follow the size


=== TEST 6: no name of the redis block
--- http_config
availability_zone a:1m redis=;
--- config

--- must_die
--- error_log
invalid parameter "redis="


=== TEST 7: a redis block that is not there
--- http_config
availability_zone a:1m redis=none;
--- config

--- must_die
--- error_log
"none"


=== TEST 8: a zone's name taken by another use
--- http_config
limit_req_zone $uri zone=a:1m rate=1r/s;
rate_limit_zone $uri zone=b:1m rate=1r/s; availability_zone a:1m;
--- config
location /t { availability_cache b; }
--- must_die
--- error_log
there is no zone "b", define it by "availability_zone b:SIZE" in


=== TEST 9: a zone that is not there
--- http_config
availability_zone a:1m;
--- config
location /t { availability_cache b; }
--- must_die
--- error_log
there is no zone "b", define it by "availability_zone b:SIZE" in


=== TEST 10: a zone of an invalidation that is not there
--- config
location /t { availability_invalidate zone=b /x; }
--- must_die
--- error_log
there is no zone "b", define it by "availability_zone b:SIZE" in


=== TEST 11: a zone of a purge that is not there
--- config
location /t { availability_purge zone=b; }
--- must_die
--- error_log
there is no zone "b"


=== TEST 12: a cache twice
--- http_config
availability_zone a:1m;
--- config
location /t { availability_cache a; availability_cache off; }
--- must_die
--- error_log
"availability_cache" directive is duplicate


=== TEST 13: a key twice
--- http_config
availability_zone a:1m;
--- config
location /t { availability_cache a; availability_cache_key a; availability_cache_key b; }
--- must_die
--- error_log
"availability_cache_key" directive is duplicate


=== TEST 14: an unknown variable in a key
--- http_config
availability_zone a:1m;
--- config
location /t { availability_cache a; availability_cache_key $nothing_of_that_name; }
--- must_die
--- error_log
unknown "nothing_of_that_name" variable


=== TEST 15: a time that is none
--- http_config
availability_zone a:1m;
--- config
location /t { availability_cache_valid 200 soon; }
--- must_die
--- error_log
invalid time "soon", write for example "5s"


=== TEST 16: a code that can't be kept: 206
--- config
location /t { availability_cache_valid 206 5s; }
--- must_die
--- error_log
invalid code "206", it must be from 200 to 499 and not 206, 304 or 429


=== TEST 17: a code that can't be kept: 304
--- config
location /t { availability_cache_valid 200 304 5s; }
--- must_die
--- error_log
invalid code "304"


=== TEST 18: a code that can't be kept: 429
--- config
location /t { availability_cache_valid 429 5s; }
--- must_die
--- error_log
invalid code "429"


=== TEST 19: a code that can't be kept: 500
--- config
location /t { availability_cache_valid 500 5s; }
--- must_die
--- error_log
invalid code "500"


=== TEST 20: a code that can't be kept: 199
--- config
location /t { availability_cache_valid 199 5s; }
--- must_die
--- error_log
invalid code "199"


=== TEST 21: a code that is none
--- config
location /t { availability_cache_valid any 5s; }
--- must_die
--- error_log
invalid code "any"


=== TEST 22: a stale parameter
--- config
location /t { availability_cache_stale updating; }
--- must_die
--- error_log
invalid parameter "updating", it must be "while_revalidate=TIME" or "if_error=TIME"


=== TEST 23: a stale time
--- config
location /t { availability_cache_stale if_error=; }
--- must_die
--- error_log
invalid time in "if_error="


=== TEST 24: stale twice
--- config
location /t { availability_cache_stale if_error=1s; availability_cache_stale while_revalidate=1s; }
--- must_die
--- error_log
"availability_cache_stale" directive is duplicate


=== TEST 25: a lock that is neither on nor off
--- config
location /t { availability_cache_lock yes; }
--- must_die
--- error_log
invalid value "yes", it must be "on" or "off"


=== TEST 26: a lock's parameter
--- config
location /t { availability_cache_lock on scope=world; }
--- must_die
--- error_log
invalid parameter "scope=world", it must be "timeout=TIME", "scope=host" or "scope=cluster"



=== TEST 26a: a lock in a cluster without a Redis
--- http_config
availability_zone b:1m;
--- config
location /t { availability_cache b; availability_cache_lock on scope=cluster; }
--- must_die
--- error_log
"availability_cache_lock" with "scope=cluster" needs a Redis: add "redis=NAME" to "availability_zone b"



=== TEST 26b: a scope twice
--- config
location /t { availability_cache_lock on scope=host scope=cluster; }
--- must_die
--- error_log
duplicate parameter "scope=cluster", keep one


=== TEST 27: a lock's time
--- config
location /t { availability_cache_lock on timeout=0; }
--- must_die
--- error_log
invalid time in "timeout=0"


=== TEST 28: a lock twice
--- config
location /t { availability_cache_lock on; availability_cache_lock off; }
--- must_die
--- error_log
"availability_cache_lock" directive is duplicate


=== TEST 29: a size that is none
--- config
location /t { availability_cache_max_size big; }
--- must_die
--- error_log
invalid value


=== TEST 30: a tag without a name
--- config
location /t { availability_cache_tag arg=; }
--- must_die
--- error_log
"arg=" needs the name of a query argument, for example "arg=sku"


=== TEST 31: a tag of an unknown variable
--- config
location /t { availability_cache_tag $nothing_of_that_name; }
--- must_die
--- error_log
unknown "nothing_of_that_name" variable


=== TEST 32: an invalidation without a zone
--- config
location /t { availability_invalidate /lines /sku; }
--- must_die
--- error_log
the first parameter of "availability_invalidate" is "zone=NAME", not "/lines"


=== TEST 33: an invalidation without a pointer
--- http_config
availability_zone a:1m;
--- config
location /t { availability_invalidate zone=a; }
--- must_die
--- error_log
"availability_invalidate" takes a zone and JSON pointers, for example "zone=stock /lines/*/sku", or "off"


=== TEST 34: what is no pointer
--- http_config
availability_zone a:1m;
--- config
location /t { availability_invalidate zone=a lines/sku; }
--- must_die
--- error_log
"lines/sku" is no JSON pointer


=== TEST 35: a pointer with a bad escape
--- http_config
availability_zone a:1m;
--- config
location /t { availability_invalidate zone=a /a~2b; }
--- must_die
--- error_log
"/a~2b" is no JSON pointer


=== TEST 36: an invalidation twice
--- http_config
availability_zone a:1m;
--- config
location /t { availability_invalidate zone=a /a; availability_invalidate zone=a /b; }
--- must_die
--- error_log
"availability_invalidate" directive is duplicate


=== TEST 37: a purge without a zone
--- config
location /t { availability_purge a; }
--- must_die
--- error_log
the first parameter of "availability_purge" is "zone=NAME", not "a"


=== TEST 38: a purge twice
--- http_config
availability_zone a:1m;
--- config
location /t { availability_purge zone=a; availability_purge zone=a; }
--- must_die
--- error_log
"availability_purge" directive is duplicate


=== TEST 39: a zone in a server
--- config
availability_zone a:1m;
--- must_die
--- error_log
"availability_zone" directive is not allowed here


=== TEST 40: auth_jwt and a cache without a key
--- http_config
availability_zone a:1m;
--- config
location /t { auth_jwt gw; auth_jwt_key_file $TEST_NGINX_SERVER_ROOT/html/keys.json; availability_cache a; }
--- user_files
>>> keys.json
{"keys":[{"kty":"oct","kid":"1","alg":"HS256","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ"}]}
--- must_die
--- error_log
"availability_cache" and "auth_jwt" together need "availability_cache_key": say who may share an answer


=== TEST 41: auth_jwt after the cache
--- http_config
availability_zone a:1m;
--- config
location /t { availability_cache a; auth_jwt gw; auth_jwt_key_file $TEST_NGINX_SERVER_ROOT/html/keys.json; }
--- user_files
>>> keys.json
{"keys":[{"kty":"oct","kid":"1","alg":"HS256","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ"}]}
--- must_die
--- error_log
"availability_cache" and "auth_jwt" together need "availability_cache_key": say who may share an answer


=== TEST 42: auth_jwt of the server
--- http_config
availability_zone a:1m;
--- config
auth_jwt gw; auth_jwt_key_file $TEST_NGINX_SERVER_ROOT/html/keys.json; location /t { availability_cache a; }
--- user_files
>>> keys.json
{"keys":[{"kty":"oct","kid":"1","alg":"HS256","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ"}]}
--- must_die
--- error_log
"availability_cache" and "auth_jwt" together need "availability_cache_key": say who may share an answer


=== TEST 43: a cache of the server, auth_jwt of the location
--- http_config
availability_zone a:1m;
--- config
availability_cache a; location /t { auth_jwt gw; auth_jwt_key_file $TEST_NGINX_SERVER_ROOT/html/keys.json; }
--- user_files
>>> keys.json
{"keys":[{"kty":"oct","kid":"1","alg":"HS256","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ"}]}
--- must_die
--- error_log
"availability_cache" and "auth_jwt" together need "availability_cache_key": say who may share an answer


=== TEST 44: a cache of the location above
--- http_config
availability_zone a:1m;
--- config
location /t { availability_cache a; location /t/u { auth_jwt gw; auth_jwt_key_file $TEST_NGINX_SERVER_ROOT/html/keys.json; } }
--- user_files
>>> keys.json
{"keys":[{"kty":"oct","kid":"1","alg":"HS256","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ"}]}
--- must_die
--- error_log
"availability_cache" and "auth_jwt" together need "availability_cache_key": say who may share an answer


=== TEST 45: it is fine with a key
--- http_config
availability_zone a:1m;
--- config
location /t { auth_jwt gw; auth_jwt_key_file $TEST_NGINX_SERVER_ROOT/html/keys.json; availability_cache a; availability_cache_key $request_uri; }
location = /fine { auth_jwt off; availability_cache off; return 200 fine; }
--- user_files
>>> keys.json
{"keys":[{"kty":"oct","kid":"1","alg":"HS256","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ"}]}
--- request
GET /fine
--- response_body: fine


=== TEST 46: it is fine with a key from above
--- http_config
availability_zone a:1m;
--- config
availability_cache_key $request_uri; location /t { auth_jwt gw; auth_jwt_key_file $TEST_NGINX_SERVER_ROOT/html/keys.json; availability_cache a; }
location = /fine { auth_jwt off; availability_cache off; return 200 fine; }
--- user_files
>>> keys.json
{"keys":[{"kty":"oct","kid":"1","alg":"HS256","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ"}]}
--- request
GET /fine
--- response_body: fine


=== TEST 47: it is fine with no cache where auth_jwt is
--- http_config
availability_zone a:1m;
--- config
availability_cache a; location /t { availability_cache off; auth_jwt gw; auth_jwt_key_file $TEST_NGINX_SERVER_ROOT/html/keys.json; }
location = /fine { auth_jwt off; availability_cache off; return 200 fine; }
--- user_files
>>> keys.json
{"keys":[{"kty":"oct","kid":"1","alg":"HS256","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ"}]}
--- request
GET /fine
--- response_body: fine


=== TEST 48: it is fine with auth_jwt off where the cache is
--- http_config
availability_zone a:1m;
--- config
auth_jwt gw; auth_jwt_key_file $TEST_NGINX_SERVER_ROOT/html/keys.json; location /t { auth_jwt off; availability_cache a; }
location = /fine { auth_jwt off; availability_cache off; return 200 fine; }
--- user_files
>>> keys.json
{"keys":[{"kty":"oct","kid":"1","alg":"HS256","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ"}]}
--- request
GET /fine
--- response_body: fine
