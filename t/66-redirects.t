# A request that is led or cached and that try_files, index or
# X-Accel-Redirect leads to another location is subject to all that stands
# there, as if nothing had been before; and so is one that error_page leads to
# a server.

use Test::Nginx::Socket 'no_plan';

our $HttpConfig = <<'_EOC_';
    idempotency_zone  keys:1m;
    erp_budget_zone   erp:64k limit=2;
    availability_zone a:1m;
    rate_limit_zone   one zone=l:1m rate=1r/m burst=1;

    server {
        listen unix:$TEST_NGINX_SERVER_ROOT/origin.sock;
        default_type application/json;

        location = /accel {
            add_header X-Accel-Redirect $arg_to;
            add_header Set-Cookie a=b;
            add_header X-Accel-Limit-Rate $arg_rate;
            return 200 "not this";
        }

        location = /fail {
            return 500 "no";
        }

        location / {
            return 200 '{"cost":"SECRET","path":"$request_method $uri","id":"$http_x_id"}';
        }
    }

    upstream origin {
        server unix:$TEST_NGINX_SERVER_ROOT/origin.sock;
    }
_EOC_

# what each way of being led starts with
our $Targets = <<'_EOC_';
    location @denied { deny all; proxy_pass http://origin; }
    location @limited { rate_limit zone=l; proxy_pass http://origin; }
    location @governed {
        idempotency keys required;
        erp_identity_header X-Id real;
        response_mask /cost;
        proxy_pass http://origin;
    }
    location /denied { deny all; proxy_pass http://origin; }
    location /governed {
        idempotency keys required;
        erp_identity_header X-Id real;
        response_mask /cost;
        proxy_pass http://origin;
    }
    location /t/denied { try_files /none @denied; }
    location /t/limited { try_files /none @limited; }
    location /t/governed { try_files /none @governed; }
    location /u/denied { try_files /none /denied; }
    location /u/governed { try_files /none /governed; }
_EOC_

our $Asks = [
    "GET /t/denied", "POST /t/denied", "GET /u/denied", "POST /u/denied",
    "GET /t/limited", "GET /t/limited",
    "GET /t/governed", "POST /t/governed", "GET /u/governed",
    "POST /u/governed"];

our $Statuses = [403, 403, 403, 403, 200, 429, 200, 400, 200, 400];

our $Bodies = ["403", "403", "403", "403", "SECRET", "429",
               '^\{"path":"GET /t/governed","id":"real"\}', "Idempotency-Key",
               '^\{"path":"GET /governed","id":"real"\}', "Idempotency-Key"];

$ENV{TEST_NGINX_SERVER_ROOT} = $Test::Nginx::Util::ServRoot;

env_to_nginx('TEST_NGINX_SERVER_ROOT');
no_shuffle();
run_tests();

__DATA__

=== TEST 1: as nginx has it, nothing outside
--- http_config eval: $::HttpConfig
--- config eval: $::Targets
--- request eval: $::Asks
--- more_headers
X-Id: forged
--- error_code eval: $::Statuses
--- response_body_like eval: $::Bodies



=== TEST 2: within a budget, inherited by all
--- http_config eval: $::HttpConfig
--- config eval: "erp_budget erp;" . $::Targets
--- request eval: $::Asks
--- more_headers
X-Id: forged
--- error_code eval: $::Statuses
--- response_body_like eval: $::Bodies



=== TEST 3: behind a breaker
--- http_config eval: $::HttpConfig
--- config eval: "erp_breaker b;" . $::Targets
--- request eval: $::Asks
--- more_headers
X-Id: forged
--- error_code eval: $::Statuses
--- response_body_like eval: $::Bodies



=== TEST 4: of a cache
--- http_config eval: $::HttpConfig
--- config eval: "availability_cache a; availability_cache_key \$uri;" . $::Targets
--- request eval: $::Asks
--- more_headers
X-Id: forged
--- error_code eval: $::Statuses
--- response_body_like eval: $::Bodies



=== TEST 5: of a cache of parts
--- http_config eval: $::HttpConfig
--- config
location = /t {
    availability_cache a;
    availability_cache_items arg=sku list=/items id=/sku;
    try_files /none @denied;
}
location @denied { deny all; proxy_pass http://origin; }
--- request eval
["GET /t?sku=a,b", "GET /t?sku=a,b"]
--- error_code eval
[403, 403]



=== TEST 6: keys: one that is led on is free, and counts where it is led
--- http_config eval: $::HttpConfig
--- config
idempotency keys;
location /t { try_files /none @m; }
location @m {
    add_header X-Status $idempotency_status;
    proxy_pass http://origin;
}
--- request eval
["POST /t", "POST /t"]
--- more_headers
Idempotency-Key: "a"
--- error_code eval
[200, 200]
--- response_headers eval
["Idempotent-Replayed: ", "Idempotent-Replayed: true"]



=== TEST 7: a file that is there is still the answer
--- http_config eval: $::HttpConfig
--- config
erp_budget erp;
location /f { root html; try_files $uri @denied; }
location @denied { deny all; proxy_pass http://origin; }
--- user_files
>>> f
the file
--- request eval
["GET /f", "GET /f/none"]
--- error_code eval
[200, 403]
--- response_body_like eval
["^the file", "403"]



=== TEST 8: index
--- http_config eval: $::HttpConfig
--- config
erp_budget erp;
location /i/ { root html; index index.json; }
location = /i/index.json { deny all; proxy_pass http://origin; }
--- user_files
>>> i/index.json
{}
--- request
GET /i/
--- error_code: 403



=== TEST 9: X-Accel-Redirect, with what nginx takes over of the answer
--- http_config eval: $::HttpConfig
--- config eval
$::Targets . '
location /x {
    erp_budget erp;
    proxy_pass http://origin/accel;
}
location /c {
    availability_cache a;
    proxy_pass http://origin/accel;
}
location /open { internal; proxy_pass http://origin; }
'
--- request eval
["GET /x?to=/denied", "POST /x?to=/denied", "GET /x?to=/governed",
 "POST /x?to=/governed", "GET /x?to=\@denied", "GET /c?to=/denied",
 "GET /c?to=/governed", "GET /x?to=/open/a", "POST /x?to=/open/a"]
--- more_headers
X-Id: forged
--- error_code eval
[403, 403, 200, 200, 403, 403, 200, 200, 200]
--- response_body_like eval
["403", "403", '^\{"path":"GET /governed","id":"real"\}',
 '^\{"path":"GET /governed","id":"real"\}', "403", "403",
 '^\{"path":"GET /governed","id":"real"\}', "GET /open/a", "GET /open/a"]
--- response_headers eval
[("") x 7, "Set-Cookie: a=b", "Set-Cookie: a=b"]



=== TEST 10: X-Accel-Redirect of a write with a key: done, its answer not kept
--- http_config eval: $::HttpConfig
--- config
location /x {
    idempotency keys;
    proxy_pass http://origin/accel;
}
location /open { internal; proxy_pass http://origin; }
--- request eval
["POST /x?to=/open/a", "POST /x?to=/open/a"]
--- more_headers
Idempotency-Key: "a"
--- error_code eval
[200, 409]
--- response_body_like eval
["GET /open/a", "idempotency-answer-not-kept"]



=== TEST 11: error_page to a server: governed by what stands there
--- http_config eval: $::HttpConfig
--- config
location /dead {
    idempotency keys;
    error_page 503 = @other;
    proxy_pass http://127.0.0.1:1;
}
location /fail {
    idempotency keys;
    proxy_intercept_errors on;
    error_page 500 = @other;
    proxy_pass http://origin;
}
location /required {
    root html;
    error_page 404 405 = @required;
}
location @other {
    idempotency keys;
    proxy_pass http://origin;
}
location @required {
    idempotency keys required;
    proxy_pass http://origin;
}
--- request eval
["POST /dead", "POST /dead", "POST /fail", "POST /fail", "POST /required"]
--- more_headers eval
[("Idempotency-Key: \"a\"") x 4, ""]
--- error_code eval
[200, 200, 409, 409, 400]
--- response_body_like eval
["POST /dead", "POST /dead", "unknown-outcome", "unknown-outcome",
 "Idempotency-Key"]
--- response_headers eval
["Idempotent-Replayed: ", "Idempotent-Replayed: true", "", "", ""]


=== TEST 12: X-Accel-Limit-Rate, led on or not
--- http_config eval: $::HttpConfig
--- config
location /x {
    erp_budget erp;
    add_header X-Rate $limit_rate;
    proxy_pass http://origin/accel;
}
location /c {
    availability_cache a;
    add_header X-Rate $limit_rate;
    proxy_pass http://origin/accel;
}
location /open {
    internal;
    add_header X-Rate $limit_rate;
    proxy_pass http://origin;
}
--- request eval
["GET /x?rate=90000", "GET /c?rate=90000", "GET /x?rate=90000&to=/open/a"]
--- response_headers eval
["X-Rate: 90000", "X-Rate: 90000", "X-Rate: 90000"]


=== TEST 13: a HEAD with a place leaves what proxy_cache has whole
--- http_config eval
$::HttpConfig
. 'proxy_cache_path $TEST_NGINX_SERVER_ROOT/cache keys_zone=c:1m;'
--- config
location /x {
    erp_budget erp;
    proxy_cache c;
    proxy_cache_valid 1m;
    proxy_pass http://origin;
}
--- request eval
["HEAD /x", "GET /x", "HEAD /x", "GET /x"]
--- error_code eval
[200, 200, 200, 200]
--- response_body_like eval
["^\$", "SECRET", "^\$", "SECRET"]
