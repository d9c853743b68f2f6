# Each use of a zone has names of its own: one word for all that belongs to
# one ERP, as its upstream has it already.

use Test::Nginx::Socket 'no_plan';

add_block_preprocessor(sub {
    my $block = shift;

    $block->set_value('user_files', ">>> secret\nsecret\n");

    $block->set_value('http_config', <<'_EOC_');
redis erp { server 127.0.0.1:1; }

rate_limit_zone $uri zone=erp:64k rate=1r/m burst=2;
rate_limit_concurrency_zone $uri zone=erp:64k limit=5;
availability_zone erp:1m;
idempotency_zone erp:64k;
erp_budget_zone erp:64k limit=2;
auth_jwt_zone erp:64k;
auth_dpop_zone erp:64k;

oauth_client erp {
    token_endpoint     /_token;
    client_id          a;
    client_secret_file ../html/secret;
}

upstream erp {
    zone erp 64k;
    server 127.0.0.1:$TEST_NGINX_SERVER_PORT;
}
_EOC_

    $block->set_value('config', <<'_EOC_');
erp_breaker erp;
erp_budget  erp;

location /read {
    availability_cache erp;
    availability_cache_key $request_uri;
    availability_cache_valid 60s;
    rate_limit zone=erp;
    rate_limit_concurrency zone=erp;
    proxy_pass http://erp/origin;
}

location /write {
    idempotency erp scope=all;
    availability_invalidate zone=erp /sku;
    proxy_pass http://erp/origin;
}

location /origin {
    erp_budget  off;
    erp_breaker off;
    return 200 "$msec\n";
}

location = /status {
    erp_budget  off;
    erp_breaker off;
    penstock_status;
}
_EOC_
});

run_tests();

__DATA__

=== TEST 1: each does what it is for
--- request eval
["GET /read", "GET /read", "GET /read",
 "POST /write\n{\"sku\":\"a\"}", "POST /write\n{\"sku\":\"a\"}"]
--- more_headers eval
["", "", "", "Idempotency-Key: \"k\"", "Idempotency-Key: \"k\""]
--- error_code eval
[200, 200, 429, 200, 200]
--- raw_response_headers_like eval
["Cache-Status: Penstock; fwd=uri-miss", "Cache-Status: Penstock; hit",
 "Retry-After", "200 OK",
 "Idempotent-Replayed: true"]



=== TEST 2: and is called as it was configured
--- request eval
["GET /read?2", "POST /write\n{}", "GET /status"]
--- more_headers eval
["", "Idempotency-Key: \"l\"", "Accept: text/plain"]
--- response_body_like eval
[qr/./, qr/./,
 qr/(?s)(?=.*erp_breaker_state\{breaker="erp"\} 0)(?=.*erp_budget_granted_total\{zone="erp"\} 2)(?=.*idempotency_keys\{zone="erp"\} 1)(?!.*penstock_[a-z]+:erp)/]
