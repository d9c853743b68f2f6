# What nginx -t says of every directive of ours that is written wrongly: the
# value, the remedy, the file and the line.  Which arguments and places each
# takes is read from the command tables, so that a new directive is tried
# too, and fails here until it has a wrong value to be tried with.

use strict;
use warnings;

use File::Temp qw(tempdir);
use Test::More;

my $root = $ENV{PENSTOCK_ROOT} || '.';
my $nginx = $ENV{TEST_NGINX_BINARY} || 'nginx';
my ($module) = split ' ', $ENV{TEST_NGINX_LOAD_MODULES} || '';

plan skip_all => 'TEST_NGINX_LOAD_MODULES is not set' unless $module;

my $dir = tempdir('penstock-XXXXXX', TMPDIR => 1, CLEANUP => 1);
mkdir "$dir/temp";

write_file('hs.json', '{"kty":"oct","alg":"HS256","k":"'
           . 'c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3JldCE"}');
write_file('pass', "top-secret\n");
write_file('ok.json', 'true');

# directive => [ where, text, message ]; where is the place to write it: main
# (top level), http, server, location or if.  A text of several lines is
# blamed on the line that starts with "!" (or the last one), which goes.

my $redis = 'redis m { server 127.0.0.1; }';
my $client = "oauth_client c { token_endpoint /t; client_id i; "
             . "client_secret_file $dir/pass; }";
my $keys = "auth_jwt_key_file $dir/hs.json;";

my %wrong = (
    penstock_status => [
        ['location', 'penstock_status; penstock_status;',
         '"penstock_status" directive is duplicate'],
    ],

    correlation_id => [
        ['http', 'correlation_id ON1;',
         'invalid value "ON1" in "correlation_id" directive, it must be "on" '
         . 'or "off"'],
    ],
    correlation_id_header => [
        ['http', 'correlation_id_header "X\x{c3}\x{a9}";', 'is no header name: '
         . 'use letters, digits and "-", as in X-Correlation-ID'],
        ['server', 'correlation_id_header Transfer-Encoding;', 'the header '
         . '"Transfer-Encoding" in "correlation_id_header" has a meaning of '
         . 'its own: choose another name'],
    ],
    correlation_id_trust => [
        ['location', 'correlation_id_trust 1;', 'invalid value "1" in '
         . '"correlation_id_trust" directive, it must be "on" or "off"'],
        ['location', "correlation_id_trust on;\n!correlation_id_trust on;",
         '"correlation_id_trust" directive is duplicate'],
    ],
    trace_context => [
        ['location', 'trace_context level2;', 'invalid value "level2" in '
         . '"trace_context" directive, it must be "on" or "off"'],
        ['location', "trace_context on;\n!trace_context off;",
         '"trace_context" directive is duplicate'],
    ],

    auth_jwt => [
        ['location', 'auth_jwt a token=;', 'invalid parameter "token=", only '
         . '"token=$variable" may follow the realm'],
        ['location', 'auth_jwt off x;', '"auth_jwt off" takes no other '
         . 'parameter'],
        ['location', "!auth_jwt a;\n", 'name "auth_jwt_issuer" or '
         . '"auth_jwt_key_file" there or above'],
    ],
    auth_jwt_key_file => [
        ['location', "auth_jwt_key_file $dir/none.json;", "none.json"],
        ['location', 'auth_jwt_key_file /dev/zero;', 'is not a regular file'],
        ['location', 'auth_jwt_key_file "";', 'file'],
    ],
    auth_jwt_key_request => [
        ['location', 'auth_jwt_key_request keys;', 'internal location'],
        ['location', 'auth_jwt_key_request "";', 'internal location'],
        ['location', 'auth_jwt_key_request /keys?a=b;', 'internal location'],
        ['location', 'auth_jwt_key_request /$host;', 'internal location'],
    ],
    auth_jwt_revocation => [
        ['location', 'auth_jwt_revocation fail=open;', 'needs "redis=NAME"'],
        ['location', 'auth_jwt_revocation redis=;', 'fail=closed|open'],
        ['location', 'auth_jwt_revocation redis=a lifetime=0;',
         'fail=closed|open'],
        ['location', 'auth_jwt_revocation redis=a fail=no;',
         'fail=closed|open'],
        ['location', 'auth_jwt_revocation redis=a; auth_jwt_revocation off;',
         'duplicate'],
    ],
    oauth_protected_resource => [
        ['location', 'oauth_protected_resource http://a;',
         'name it as its clients do'],
        ['location', 'oauth_protected_resource https://;',
         'name it as its clients do'],
        ['location', 'oauth_protected_resource https://a?b;',
         'name it as its clients do'],
        ['location', 'oauth_protected_resource https://a scopes=b;',
         'authorization_server=ISSUER'],
        ['location', 'oauth_protected_resource https://a name=;',
         'authorization_server=ISSUER'],
        ['location', 'oauth_protected_resource https://a; '
         . 'oauth_protected_resource https://b;', 'duplicate'],
    ],
    auth_introspect => [
        ['location', 'auth_introspect here;', 'introspection endpoint'],
        ['location', 'auth_introspect /i?a;', 'introspection endpoint'],
        ['location', 'auth_introspect /i cache=x;', 'negative=TIME'],
        ['location', 'auth_introspect /i cache;', 'negative=TIME'],
        ['location', 'auth_introspect /i issuer=;', 'negative=TIME'],
        ['location', 'auth_introspect /i timeout=0;', 'negative=TIME'],
        ['location', 'auth_introspect /i audience=a,;', 'is empty'],
        ['location', 'auth_introspect /i; auth_introspect /j;', 'duplicate'],
    ],
    auth_dpop => [
        ['location', 'auth_dpop maybe;', 'use "on" or "required"'],
        ['location', 'auth_dpop off window=5s;', 'or "off"'],
        ['location', 'auth_dpop on window=0;', 'of at most an hour'],
        ['location', 'auth_dpop on nonce;', '"uri=https://api.example"'],
        ['location', 'auth_dpop on nonce=2d;', 'of at most a day'],
        ['location', 'auth_dpop on uri=;', '"uri=https://api.example"'],
        ['location', 'auth_dpop on; auth_dpop off;', 'duplicate'],
    ],
    auth_dpop_zone => [
        ['http', 'auth_dpop_zone a:1m; auth_dpop_zone b:1m;', 'duplicate'],
        ['http', 'auth_dpop_zone a:1m fail=no;', 'fail=closed|open'],
    ],
    auth_mtls_bound => [
        ['location', 'auth_mtls_bound yes;', 'invalid value "yes"'],
    ],
    auth_jwt_key_cache => [
        ['location', 'auth_jwt_key_cache 0;', 'how long fetched keys serve'],
        ['location', 'auth_jwt_key_cache often;',
         'how long fetched keys serve'],
        ['location', 'auth_jwt_key_cache 1h refetch=0;', 'both above 0'],
        ['location', 'auth_jwt_key_cache 1h timeout=x;', 'both above 0'],
        ['location', 'auth_jwt_key_cache 1h every=1s;', '"refetch=TIME"'],
        ['location', 'auth_jwt_key_cache 1h; auth_jwt_key_cache 2h;',
         'duplicate'],
    ],
    auth_jwt_issuer => [
        ['location', "auth_jwt_issuer i key_file=$dir/hs.json what=1;",
         'invalid or repeated parameter "what=1"'],
        ['location', "auth_jwt_issuer i key_file=;", 'key_file='],
        ['location', "auth_jwt_issuer i key_file=$dir/hs.json audience=;",
         'audience'],
        ['location', "auth_jwt_issuer i key_file=$dir/hs.json algorithms=;",
         'algorithm'],
        ['location', "auth_jwt_issuer i key_file=$dir/hs.json "
         . "algorithms=hs256;", 'unknown algorithm "hs256", use a list of'],
    ],
    auth_jwt_scope => [
        ['location', 'auth_jwt_scope "";', 'invalid scope ""'],
        ['location', 'auth_jwt_scope "a\"b";', 'several are parameters of '
         . 'their own'],
    ],
    auth_jwt_leeway => [
        ['location', 'auth_jwt_leeway -1s;', '"auth_jwt_leeway" directive '
         . 'invalid value'],
        ['http', "auth_jwt_leeway 1s;\n!auth_jwt_leeway 1s;", 'is duplicate'],
    ],
    auth_jwt_type => [
        ['location', 'auth_jwt_type nested;', 'invalid type "nested", only '
         . '"signed" tokens are supported'],
    ],
    auth_jwt_require => [
        ['location', 'auth_jwt_require "";', 'invalid value "", it must '
         . 'start with a variable'],
        ['location', 'auth_jwt_require $arg_a error=;', 'invalid parameter '
         . '"error=", use "error=401" or "error=403"'],
        ['location', 'auth_jwt_require $no_such_thing;', 'unknown '
         . '"no_such_thing" variable'],
        ['location', 'auth_jwt_require $;', 'invalid variable name'],
    ],
    auth_jwt_claim_set => [
        ['http', 'auth_jwt_claim_set $ sub;', 'invalid variable name '
         . '"$", it must start with "$" and go on with a name'],
        ['http', 'auth_jwt_claim_set sub $x;', 'must start with "$"'],
        ['http', "auth_jwt_claim_set \$x sub;\n!auth_jwt_claim_set \$x sub;",
         '"x"'],
        ['http', 'auth_jwt_claim_set $uri sub;', 'uri'],
    ],
    auth_jwt_header_set => [
        ['http', 'auth_jwt_header_set x kid;', 'must start with "$"'],
        ['http', 'auth_jwt_header_set $ kid;', 'invalid variable name '
         . '"$", it must start with "$" and go on with a name'],
    ],
    auth_jwt_zone => [
        ['http', 'auth_jwt_zone :1m;', 'invalid zone ":1m", write it as '
         . 'NAME:SIZE, for example orders:10m'],
        ['http', 'auth_jwt_zone a:;', 'invalid size "" of zone "a", write a '
         . 'number of bytes, or with k or m'],
        ['http', 'auth_jwt_zone "a b:1m";', 'invalid zone name "a b", use '
         . 'letters, digits'],
        ['http', 'auth_jwt_zone a:-1;', 'invalid size "-1" of zone "a"'],
        ['http', 'auth_jwt_zone a:1k;', 'zone "a" is too small, give it at '
         . 'least 32k'],
    ],

    idempotency_zone => [
        ['http', 'idempotency_zone a;', 'invalid zone "a", write it as '
         . 'NAME:SIZE'],
        ['http', 'idempotency_zone a:1m ttl=1h;', 'invalid parameter '
         . '"ttl=1h"'],
        ['http', 'idempotency_zone a:1m redis=;', '"redis=" has no value'],
        ['http', 'idempotency_zone a:1m redis=none;', 'no block redis "none" '
         . '{ } in http { }'],
    ],
    idempotency => [
        ['location', 'idempotency nowhere;', 'zone "nowhere" is not defined'],
        ['http', "idempotency_zone a:1m;\n!idempotency a pass=Host;",
         'the header "Host" has a meaning of its own'],
        ['http', "idempotency_zone a:1m;\n!idempotency a pass=content-type;",
         'the header "content-type" has a meaning of its own'],
        ['http', "idempotency_zone a:1m;\n!idempotency a pass=a:b;",
         '"a:b" is no header name'],
        ['http', "erp_budget_zone a:1m limit=1;\n!idempotency a;", 'zone "a" '
         . 'is not defined'],
        ['http', "idempotency_zone a:1m;\n!idempotency a ttl=1s lease=1s;",
         '"lease=" of "idempotency" must be shorter than "ttl="'],
        ['http', 'idempotency a ttl=soon;', 'invalid "ttl=soon", write a time '
         . 'of at least 1000 ms, for example ttl=30s'],
        ['http', 'idempotency a require;', 'invalid parameter "require"'],
        ['http', 'idempotency a required required;', 'duplicate parameter '
         . '"required", keep one'],
        ['http', "idempotency off;\n!idempotency off;", 'is duplicate'],
    ],
    idempotency_reconcile => [
        ['location', 'idempotency_reconcile status;', 'invalid URI "status", '
         . 'name an internal location'],
        ['location', 'idempotency_reconcile /a after=x;', 'invalid "after=x"'],
        ['location', "idempotency_reconcile /a;\n!idempotency_reconcile /b;",
         'is duplicate'],
    ],
    erp_budget_zone => [
        ['http', 'erp_budget_zone a:1m;', '"erp_budget_zone" must have '
         . '"limit="'],
        ['http', 'erp_budget_zone a:1m limit=0;', 'invalid "limit=0", write a '
         . 'number from 1 to 10000'],
        ['http', 'erp_budget_zone a:1m limit=5 writes=6;', 'invalid '
         . '"writes=6", write a number from 0 to 5'],
        ['http', 'erp_budget_zone a:1m limit=5 alone=2;', '"alone=" of '
         . '"erp_budget_zone" needs "redis=NAME"'],
        ['http', "$redis\n!erp_budget_zone a:1m limit=5 redis=m alone=6;",
         'invalid "alone=6", write a number from 0 to 5'],
        ['http', 'erp_budget_zone a:1m limit=5 lease=1s;', 'invalid '
         . '"lease=1s", write a time of at least 5000 ms'],
    ],
    erp_budget => [
        ['location', 'erp_budget nowhere;', 'zone "nowhere" is not defined'],
        ['location', 'erp_budget a queue=-1;', 'invalid "queue=-1"'],
        ['location', "erp_budget off;\n!erp_budget off;", 'is duplicate'],
    ],
    erp_overload => [
        ['location', 'erp_overload 200;', 'invalid status "200", use 400 to '
         . '599'],
        ['location', 'erp_overload 400 "";', 'text of "erp_overload" is '
         . 'empty'],
    ],
    erp_breaker => [
        ['location', 'erp_breaker "a b";', 'invalid name "a b" of a breaker'],
        ['location', 'erp_breaker a failures=101%;', 'invalid '
         . '"failures=101"'],
        ['location', 'erp_breaker a open=0;', 'invalid "open=0", write a time '
         . 'of at least 100 ms'],
        ['http', "erp_breaker a open=1s;\nserver {\n"
         . "!erp_breaker a open=2s; }", 'erp_breaker "a" has other parameters '
         . 'elsewhere'],
    ],

    rate_limit_zone => [
        ['http', 'rate_limit_zone "" zone=a:1m rate=1r/s;', 'the key of zone '
         . '"a:1m" is empty, so that it would limit nothing: use a variable, '
         . 'for example $binary_remote_addr'],
        ['http', 'rate_limit_zone $no_such_thing zone=a:1m rate=1r/s;',
         'unknown "no_such_thing" variable'],
        ['http', 'rate_limit_zone $uri zone=a:1m rate=;', 'invalid rate "", '
         . 'write it as 100r/s'],
        ['http', 'rate_limit_zone $uri zone=a:1m rate=1r/s burst=;',
         'invalid burst "", write how many'],
        ['http', 'rate_limit_zone $uri zone=a:1m rate=1r/s burst='
         . '99999999999999999999;', 'invalid burst "99999999999999999999"'],
        ['http', 'rate_limit_zone $uri zone=a:1m rate=-1r/s;', 'invalid rate '
         . '"-1r/s"'],
        ['http', "$redis\n!rate_limit_zone \$uri zone=a:1m rate=1r/s redis=m "
         . "sync=loose;", 'invalid sync "loose", use "exact" or "lease"'],
        ['http', 'rate_limit_zone $uri zone=a:1m rate=1r/s sync=lease;',
         '"sync=" of zone "a" needs "redis=NAME"'],
        ['http', 'rate_limit_zone $uri zone=a:1m rate=1r/s plan=$none;',
         'unknown "none" variable'],
        ['http', 'rate_limit_zone $uri zone=a:1m rate=1r/s redis=;',
         'redis'],
        ['http', 'rate_limit_zone $uri zone=a:1m rate=1r/s redis=none;',
         'no block redis "none" { } in http { }'],
        ['http', 'rate_limit_zone $uri zone=:1m rate=1r/s;', 'write it as '
         . 'NAME:SIZE'],
    ],
    rate_limit => [
        ['location', 'rate_limit zone=;', '"zone=" of "rate_limit" has '
         . 'no name, write zone=NAME'],
        ['location', 'rate_limit zone=nowhere;', 'zone "nowhere" is not '
         . 'defined: correct the name, or define it'],
        ['location', 'rate_limit before_auth;', '"rate_limit" must have '
         . '"zone=NAME"'],
        ['location', 'rate_limit zone=a cost=-1;', 'invalid cost "-1", write '
         . 'a number or a variable'],
        ['location', 'rate_limit zone=a cost=;', 'invalid cost "", write a '
         . 'number or a variable'],
        ['location', 'rate_limit zone=a zone=b;', 'invalid or repeated '
         . 'parameter "zone=b", use zone=, cost=, before_auth and dry_run'],
        ['location', 'rate_limit zone=a nodelay;', 'invalid or repeated '
         . 'parameter "nodelay"'],
    ],
    rate_limit_concurrency_zone => [
        ['http', 'rate_limit_concurrency_zone $uri zone=a:1m;', 'must have '
         . '"limit=N"'],
        ['http', 'rate_limit_concurrency_zone $uri limit=1;', 'must have '
         . '"zone=NAME:SIZE"'],
        ['http', 'rate_limit_concurrency_zone "" zone=a:1m limit=1;',
         'the key of zone "a:1m" is empty'],
        ['http', 'rate_limit_concurrency_zone $uri zone=a:1m limit=0;',
         'invalid limit "0", write how many requests may be under way'],
        ['http', 'rate_limit_concurrency_zone $uri zone=a:1m limit=1 rate=1;',
         'invalid parameter "rate=1", use zone=, limit=, redis= or fallback='],
        ['http', 'rate_limit_concurrency_zone $uri zone=a:1m limit=1 '
         . 'fallback=deny;', '"fallback=" of zone "a" needs "redis=NAME"'],
        ['http', "rate_limit_concurrency_zone \$uri zone=a:1m limit=1;\n"
         . "!rate_limit_concurrency_zone \$uri zone=a:1m limit=1;",
         'zone "a" is already defined'],
    ],
    rate_limit_concurrency => [
        ['location', 'rate_limit_concurrency zone=;', 'invalid or repeated '
         . 'parameter "zone="'],
        ['location', 'rate_limit_concurrency dry_run;', '"zone=NAME"'],
        ['location', 'rate_limit_concurrency zone=nowhere;', 'zone "nowhere" '
         . 'is not defined'],
        ['location', 'rate_limit_concurrency zone=a cost=2;', 'invalid or '
         . 'repeated parameter "cost=2", use zone=NAME and dry_run'],
    ],
    rate_limit_admin => [
        ['location', 'rate_limit_admin; rate_limit_admin;',
         '"rate_limit_admin" directive is duplicate'],
    ],
    rate_limit_headers => [
        ['http', 'rate_limit_headers yes;', 'invalid value "yes" in '
         . '"rate_limit_headers" directive, it must be "on" or "off"'],
        ['http', "rate_limit_headers on;\n!rate_limit_headers on;",
         'is duplicate'],
    ],
    rate_limit_status => [
        ['http', 'rate_limit_status 399;', 'invalid status "399", use 400 to '
         . '599 without 444 and 494 to 499, usually 429'],
        ['http', 'rate_limit_status 600;', 'invalid status "600"'],
        ['http', 'rate_limit_status 444;', 'invalid status "444"'],
        ['http', 'rate_limit_status 497;', 'without 444 and 494 to 499'],
        ['http', 'rate_limit_status many;', '"rate_limit_status" directive '
         . 'invalid number'],
        ['http', "rate_limit_status 429;\n!rate_limit_status 503;",
         'is duplicate'],
    ],

    availability_zone => [
        ['http', 'availability_zone a:1m redis=none;',
         'no block redis "none" { } in http { }'],
        ['http', 'availability_zone "a/b:1m";', 'invalid zone name "a/b", '
         . 'use letters, digits'],
        ['http', "availability_zone a:1m;\n!availability_zone a:1m;",
         'duplicate zone "a", give this one another name'],
    ],
    availability_cache => [
        ['location', 'availability_cache nowhere;', 'there is no zone '
         . '"nowhere", define it by "availability_zone nowhere:SIZE"'],
        ['location', 'availability_cache "";', 'the zone name in '
         . '"availability_cache" is empty, write the NAME of an '
         . '"availability_zone" or "off"'],
    ],
    availability_cache_key => [
        ['location', 'availability_cache_key $no_such_thing;', 'unknown '
         . '"no_such_thing" variable'],
        ['location', 'availability_cache_key $;', 'invalid variable name'],
        ['location', 'availability_cache_key "";',
         '"availability_cache_key" is empty, all answers would be one: '
         . 'write for example "$request_uri"'],
    ],
    availability_cache_valid => [
        ['location', 'availability_cache_valid -1s;', 'invalid time "-1s", '
         . 'write for example "5s"'],
        ['location', 'availability_cache_valid 200 404;' . "\n"
         . '!availability_cache_valid 99 5s;', 'invalid code "99", it must '
         . 'be from 200 to 499'],
        ['location', 'availability_cache_valid any 5s;', 'invalid code '
         . '"any"'],
    ],
    availability_cache_stale => [
        ['location', 'availability_cache_stale if_error=long;', 'invalid '
         . 'time in "if_error=long", write for example "if_error=60s"'],
        ['location', 'availability_cache_stale if_error=1s if_error=2s;',
         'duplicate parameter "if_error=2s", keep one'],
    ],
    availability_cache_items => [
        ['location', 'availability_cache_items arg=sku list=/items;',
         'needs "arg=", "list=" and an "id=" for each "arg=", for example '
         . '"arg=sku list=/items id=/sku"'],
        ['location', 'availability_cache_items arg=sku list=/*/x id=/sku;',
         'the JSON pointer in "list=/*/x" can\'t be used (without "*")'],
        ['location', 'availability_cache_items arg=sku list=items id=/sku;',
         'the JSON pointer in "list=items" can\'t be used (it must begin '
         . 'with "/"), write for example "list=/items"'],
        ['location', 'availability_cache_items arg= list=/items id=/sku;',
         '"arg=" needs the name of a query argument'],
        ['location', 'availability_cache_items arg=a arg=a list=/i id=/a '
         . 'id=/b;', 'duplicate parameter "arg=a", keep one'],
        ['location', 'availability_cache_items arg=body:skus list=/i id=/a;',
         'write for example "arg=body:/items"'],
        ['location', 'availability_cache_items arg=a list=/i id=/a '
         . 'max_items=0;', 'invalid number in "max_items=0"'],
        ['location', 'availability_cache_items arg=a list=/i id=/~;',
         '"~" must be written as "~0"'],
        ['location', 'availability_cache_items on;',
         'invalid parameter "on", it must be "arg=NAME"'],
    ],
    availability_cache_lock => [
        ['location', 'availability_cache_lock on timeout=0;', 'invalid time '
         . 'in "timeout=0", write for example "timeout=5s"'],
        ['location', 'availability_cache_lock on timeout=1s timeout=2s;',
         'duplicate parameter "timeout=2s", keep one'],
    ],
    availability_cache_budget => [
        ['location', 'availability_cache_budget erp;', 'invalid parameter '
         . '"erp", it must be "zone=NAME" with the name of a '
         . '"rate_limit_zone", or "off"'],
        ['location', 'availability_cache_budget zone=nowhere;',
         'zone "nowhere" is not defined'],
    ],
    availability_cache_request_control => [
        ['location', 'availability_cache_request_control maybe;', 'invalid '
         . 'value "maybe", it must be "on" or "off"'],
        ['location', 'availability_cache_request_control on min=x;',
         'invalid time in "min=x", write for example "min=1s"'],
        ['location', 'availability_cache_request_control on max=1s;',
         'invalid parameter "max=1s", it must be "min=TIME"'],
        ['location', 'availability_cache_request_control on; '
         . 'availability_cache_request_control off;', 'is duplicate'],
    ],
    availability_cache_bypass => [
        ['location', 'availability_cache_bypass $no_such_thing;', 'unknown '
         . '"no_such_thing" variable'],
    ],
    availability_cache_max_size => [
        ['location', 'availability_cache_max_size big;',
         '"availability_cache_max_size" directive invalid value'],
        ['location', "availability_cache_max_size 1k;\n"
         . "!availability_cache_max_size 1k;", 'is duplicate'],
    ],
    availability_cache_tag => [
        ['location', 'availability_cache_tag arg=;', '"arg=" needs the name '
         . 'of a query argument, for example "arg=sku"'],
        ['location', 'availability_cache_tag $no_such_thing;', 'unknown '
         . '"no_such_thing" variable'],
    ],
    availability_invalidate => [
        ['location', 'availability_invalidate zone= /a;', 'the first '
         . 'parameter of "availability_invalidate" is "zone=NAME", not '
         . '"zone="'],
        ['location', 'availability_invalidate zone=nowhere /a;', 'there is '
         . 'no zone "nowhere"'],
        ['location', 'availability_invalidate zone=a a;', '"a" is no JSON '
         . 'pointer'],
        ['location', 'availability_invalidate zone=a /~;', 'write for '
         . 'example "/lines/*/sku"'],
        ['location', 'availability_invalidate zone=a ' . ('/a' x 200) . ';',
         'is no JSON pointer'],
    ],
    availability_purge => [
        ['location', 'availability_purge zone=;', 'the first parameter of '
         . '"availability_purge" is "zone=NAME", not "zone="'],
        ['location', 'availability_purge zone=nowhere;', 'there is no zone '
         . '"nowhere"'],
    ],

    oauth_client => [
        ['http', 'oauth_client "" { }', 'is empty'],
        ['http', 'oauth_client a/b { }', 'use letters, digits'],
        ['http', "$client\n!$client", 'duplicate oauth_client "c"'],
        ['http', "oauth_client c {\n!}", 'add "token_endpoint URI"'],
        ['http', "oauth_client c {\n token_endpoint /t;\n!}",
         'add "client_id ID"'],
        ['http', "oauth_client c {\n token_endpoint /t; client_id i;\n!}",
         'add "client_secret_file FILE"'],
        ['http', "oauth_client c {\n! token_endpoint http://a/t;\n}",
         'the URI of an internal location'],
        ['http', "oauth_client c {\n! token_endpoint /t?a;\n}",
         'the URI of an internal location'],
        ['http', "oauth_client c {\n! client_id \"\";\n}",
         'must be 1 to 2048 characters'],
        ['http', "oauth_client c {\n client_id a;\n! client_id b;\n}",
         'duplicate'],
        ['http', "oauth_client c {\n! client_secret a;\n}",
         'unknown directive "client_secret"'],
        ['http', "oauth_client c {\n! scope a b;\n}",
         'invalid number of arguments'],
        ['http', "oauth_client c {\n! auth none;\n}",
         'use client_secret_basic'],
        ['http', "oauth_client c {\n! alg HS256;\n}",
         'use RS256, ES256 or PS256'],
        ['http', "oauth_client c {\n! refresh 0;\n}",
         'give a time above 0'],
        ['http', "oauth_client c {\n! timeout x;\n}",
         'give a time above 0'],
        ['http', "oauth_client c {\n! client_secret_file $dir/none;\n}",
         'failed'],
        ['http', "oauth_client c {\n! private_key_file /dev/null;\n}",
         'must hold 1 to'],
        ['http', "oauth_client c {\n client_secret_file $dir/pass;\n"
         . "! private_key_file $dir/pass;\n}", 'a key already'],
        ['http', "oauth_client c {\n token_endpoint /t; client_id i;\n"
         . "private_key_file $dir/pass;\n!}", 'it holds no private key'],
        ['http', "oauth_client c {\n token_endpoint /t; client_id i;\n"
         . "client_secret_file $dir/pass; alg ES256;\n!}",
         'go with "auth private_key_jwt"'],
    ],
    erp_authorization => [
        ['location', 'erp_authorization none;', 'there is no block '
         . 'oauth_client "none" { } in http { }'],
        ['location', 'erp_authorization "";', 'write the NAME of an '
         . '"oauth_client" or "off"'],
        ['location', 'erp_authorization off; erp_authorization off;',
         'duplicate'],
    ],
    erp_identity_header => [
        ['location', 'erp_identity_header X_A a;', 'is no header name'],
        ['location', 'erp_identity_header "" a;', 'is no header name'],
        ['location', 'erp_identity_header Host a;', 'has a meaning of its '
         . 'own'],
        ['location', 'erp_identity_header X-A $no_such_thing;', 'unknown '
         . '"no_such_thing" variable'],
    ],
    request_schema => [
        ['location', 'request_schema none.json;', 'name the JSON schema'],
        ['location', "request_schema $dir;", 'is not a regular file'],
        ['location', 'request_schema off max_size=1k;', 'takes no other '
         . 'parameter'],
        ['location', "request_schema $dir/hs.json;", 'the keyword "kty" is '
         . 'not supported'],
        ['location', "request_schema $dir/ok.json max_size=16m;",
         '"max_size=SIZE" below 16m'],
        ['location', "request_schema $dir/ok.json max_depth=129;",
         '"max_depth=N" of 1 to 128'],
        ['location', "request_schema $dir/ok.json max_errors=0;",
         '"max_errors=N" of 1 to 64'],
        ['location', "request_schema $dir/ok.json max_size=1k max_size=1k;",
         'invalid or repeated parameter "max_size=1k"'],
        ['location', "request_schema $dir/ok.json; request_schema off;",
         'duplicate'],
    ],
    response_mask => [
        ['location', 'response_mask off /a;', '"response_mask off" takes no '
         . 'other parameter'],
        ['location', "response_mask off;\n!response_mask /a;", 'duplicate'],
        ['location', "response_mask /a;\n!response_mask off;", 'duplicate'],
        ['location', 'response_mask a;', 'write JSON pointers'],
        ['location', 'response_mask /a mask=x /b;', 'invalid or repeated '
         . 'parameter "/b"'],
        ['location', 'response_mask /a mask=x mask=y;', 'invalid or repeated '
         . 'parameter "mask=y"'],
        ['location', 'response_mask unless=$uri;', 'needs a JSON pointer'],
        ['location', 'response_mask /a unless=1;', 'write a variable'],
        ['location', 'response_mask /a unless=$no_such_thing;', 'unknown '
         . '"no_such_thing" variable'],
        ['location', 'response_mask /~;', 'is no JSON pointer'],
        ['location', 'response_mask "";', 'add "mask=STRING"'],
        ['location', join("\n", map { ($_ == 7 ? '!' : '')
         . "response_mask /a mask=$_;" } 1 .. 7), 'different masks'],
    ],
    response_mask_max_size => [
        ['location', 'response_mask_max_size 16m;', 'below 16m'],
        ['location', 'response_mask_max_size 0;', 'above 0'],
        ['location', 'response_mask_max_size big;', 'invalid value'],
    ],

    redis => [
        ['http', 'redis "" { server 127.0.0.1; }', 'invalid redis name "": '],
        ['http', "redis m {\n!}", 'no "server" in redis "m", add for '
         . 'example "server 127.0.0.1:6379"'],
        ['http', "redis m {\n!    sever 127.0.0.1;\n}", 'unknown directive '
         . '"sever" in redis "m", use server, mode, user, password_file, '
         . 'database, timeout, max_pending, max_reply, tls, tls_... or '
         . 'sentinel_...'],
        ['http', "redis m {\n!    server;\n}", 'invalid number of arguments '
         . 'in "server" directive of redis "m", give it one'],
        ['http', "redis m {\n!    server \"\";\n}", 'in server "" of redis '
         . '"m"'],
        ['http', "redis m {\n!    server [::1;\n}", 'in server "[::1" of '
         . 'redis "m"'],
        ['http', "redis m {\n!    server 127.0.0.1:0;\n}", 'invalid port in '
         . 'server "127.0.0.1:0"'],
        ['http', "redis m {\n!    mode proxy;\n}", 'invalid mode "proxy" in '
         . 'redis "m", use "standalone"'],
        ['http', "redis m {\n!    mode;\n}", 'invalid mode in redis "m", use '
         . '"standalone", "sentinel MASTER" or "cluster"'],
        ['http', "redis m {\n!    mode sentinel;\n}", '"mode sentinel" in '
         . 'redis "m" needs the name of one master, for example "mode '
         . 'sentinel mymaster"'],
        ['http', "redis m {\n!    mode sentinel a b;\n}", 'needs the name of '
         . 'one master'],
        ['http', "redis m {\n!    mode sentinel \"a b\";\n}", 'invalid '
         . 'master "a b" in redis "m": letters, digits, ".", "-" and "_" may '
         . 'be used, 255 at most'],
        ['http', "redis m {\n!    mode sentinel \"\";\n}", 'invalid master '
         . '"" in redis "m"'],
        ['http', "redis m {\n    mode sentinel a;\n!    mode sentinel a;\n}",
         '"mode" directive is duplicate in redis "m"'],
        ['http', "redis m {\n!    sentinel_tls maybe;\n}", 'invalid '
         . 'sentinel_tls "maybe" in redis "m", use "on" or "off"'],
        ['http', "redis m {\n    sentinel_tls off;\n!    sentinel_tls off;\n}",
         '"sentinel_tls" directive is duplicate in redis "m"'],
        ['http', "redis m {\n    sentinel_user a;\n!    sentinel_user a;\n}",
         '"sentinel_user" directive is duplicate in redis "m"'],
        ['http', "redis m {\n!    sentinel_user;\n}", 'invalid number of '
         . 'arguments in "sentinel_user"'],
        ['http', "redis m {\n    sentinel_password_file $dir/pass;\n"
         . "!    sentinel_password_file $dir/pass;\n}",
         '"sentinel_password_file" directive is duplicate in redis "m"'],
        ['http', "redis m {\n!    sentinel_password_file $dir/none;\n}",
         'open() "'],
        ['http', "redis m {\n!    sentinel_port 1;\n}", 'unknown directive '
         . '"sentinel_port" in redis "m", use sentinel_user, '
         . 'sentinel_password_file or sentinel_tls'],
        ['http', "redis m {\n!    database one;\n}", 'invalid database "one" '
         . 'in redis "m", give a number between 0 and 1000000'],
        ['http', "redis m {\n!    tls maybe;\n}", 'invalid tls "maybe" in '
         . 'redis "m", use "on" or "off"'],
        ['http', "redis m {\n!    timeout;\n}", 'needs connect=TIME or '
         . 'command=TIME'],
        ['http', "redis m {\n    server 127.0.0.1\n!}", 'unexpected "}"'],
        ['http', "redis m {\n    password_file $dir/pass;\n"
         . "!    user gw x;\n}", 'invalid number of arguments in "user"'],
        ['http', "$redis\n!$redis", 'duplicate redis "m", the first is in'],
    ],
);

my %tables = tables();

ok(keys %tables > 20, 'the command tables are read');

for my $name (sort keys %tables) {
    my ($places, $most, $least, $block) = @{$tables{$name}};
    my $end = $block ? ' { }' : ';';

    # too few, too many: not told apart by nginx, named with the directive

    my ($at) = grep { $places->{$_} } qw(location server http);

    for my $n ($least - 1, $most + 1) {
        next if $n < 0 || $n > 8;

        check($at, $name . ' a' x $n . $end,
              "invalid number of arguments in \"$name\" directive",
              "$name with $n arguments");
    }

    for my $place (qw(main http server location if)) {
        next if $places->{$place};

        check($place, $name . ' on' x $least . $end,
              "\"$name\" directive is not allowed here",
              "$name in $place");
    }

    if ($block) {
        check($at, "$name a;", "directive \"$name\" has no opening \"{\"",
              "$name without a block");

    } else {
        check($at, $name . ' a' x $least . " { }", "directive \"$name\" is "
              . 'not terminated by ";"', "$name with a block");
    }

    ok($wrong{$name}, "$name is tried with wrong values")
        or next;

    check(@$_, $_->[1]) for @{$wrong{$name}};
}

is(join(' ', grep { !$tables{$_} } sort keys %wrong), '',
   'all that is tried here is a directive');

done_testing();


sub write_file {
    my ($name, $text) = @_;

    open my $out, '>', "$dir/$name" or die "$dir/$name: $!";
    print $out $text;
    close $out or die "$dir/$name: $!";
}


# name => [ { place => 1 }, most arguments, least, whether it is a block ]

sub tables {
    my (%macro, $text, %found);

    for my $file (glob "$root/modules/*/*.[ch]") {
        open my $in, '<', $file or die "$file: $!";
        local $/;
        my $c = <$in>;

        $c =~ s/\\\n/ /g;
        $macro{$1} = $2 while $c =~ /^#define\s+(NGX_HTTP_\w+_CONF)\s+(.*)/mg;
        $text .= $c if $file =~ /_module\.c$/;
    }

    while ($text =~ /\{\s*ngx_string\("(\w+)"\),\s*((?:NGX_\w+\s*\|?\s*)+),/g)
    {
        my ($name, $flags) = ($1, $2);

        $flags =~ s/(\w+)/exists $macro{$1} ? $macro{$1} : $1/ge;

        my %place = map { $_->[1] => 1 }
                    grep { $flags =~ /\b$_->[0]\b/ }
                    (['NGX_HTTP_MAIN_CONF', 'http'],
                     ['NGX_HTTP_SRV_CONF', 'server'],
                     ['NGX_HTTP_LOC_CONF', 'location'],
                     ['NGX_HTTP_LIF_CONF', 'if']);

        my ($most, $least) = (99, 99);

        if ($flags =~ /NGX_CONF_NOARGS/) {
            ($most, $least) = (0, 0);

        } elsif ($flags =~ /NGX_CONF_FLAG/) {
            ($most, $least) = (1, 1);

        } elsif ($flags =~ /NGX_CONF_([12])MORE/) {
            $least = $1;

        } elsif ($flags =~ /NGX_CONF_TAKE(\d+)/) {
            ($least, $most) = (substr($1, 0, 1), substr($1, -1));

        } else {
            die "what arguments does $name take? $flags";
        }

        $found{$name} = [\%place, $most, $least, $flags =~ /NGX_CONF_BLOCK/];
    }

    return %found;
}


sub check {
    my ($place, $text, $message, $name) = @_;

    my @lines = split /\n/, $text;
    my ($mark) = grep { $lines[$_] =~ /^!/ } 0 .. $#lines;
    $mark = $#lines unless defined $mark;
    s/^!// for @lines;

    my @conf = ("load_module $module;", "error_log stderr;",
                "pid $dir/nginx.pid;", "events { }");
    my @after = ();

    if ($place ne 'main') {
        push @conf, 'http {', map { "${_}_temp_path $dir/temp/$_;" }
                    qw(client_body proxy fastcgi scgi uwsgi);
        unshift @after, '}';
    }

    if ($place =~ /^(?:server|location|if)$/) {
        push @conf, 'server {', "listen unix:$dir/sock;";
        unshift @after, '}';
    }

    if ($place =~ /^(?:location|if)$/) {
        push @conf, 'location /t {';
        unshift @after, '}';
    }

    if ($place eq 'if') {
        push @conf, 'if ($arg_a) {';
        unshift @after, '}';
    }

    my $line = @conf + 1 + $mark;

    write_file('nginx.conf', join("\n", @conf, @lines, @after) . "\n");

    my $said = `$nginx -t -p $dir/ -c $dir/nginx.conf -e stderr 2>&1`;
    my $status = $? >> 8;
    my ($emerg) = grep { /\[emerg\]/ } split /\n/, $said;

    $emerg = '' unless defined $emerg;
    $name = substr($name, 0, 90);
    $name =~ s/\Q$dir\E/DIR/g;
    $name =~ s/\n/ /g;

    # nginx itself looks variables up at the end, and tells no line

    my $fine = $status == 1 && index($emerg, $message) >= 0
               && ($emerg =~ m{ in \Q$dir\E/nginx\.conf:$line\b}
                   || $emerg =~ /: unknown "\w+" variable$/)
               && $emerg !~ /top-secret|c2VjcmV0/
               && $said !~ /AddressSanitizer|runtime error/;

    ok($fine, $name)
        or diag("wanted, in line $line: $message\nexit status $status, "
                . "said: $said");
}
