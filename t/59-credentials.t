# The ERP sees the gateway's own token and the identity that the gateway has
# verified, whichever way a request takes to it, and nothing of the channel's
# credentials.

use Test::Nginx::Socket 'no_plan';

add_block_preprocessor(sub {
    my $block = shift;

    $block->set_value('user_files', ">>> secret\ntop secret&\n"
                                    . ($block->user_files || ''));

    $block->set_value('http_config', <<'_EOC_' . ($block->http_config || ''));
availability_zone a:1m;
underscores_in_headers on;

oauth_client erp {
    token_endpoint     /_token;
    client_id          "gate way";
    client_secret_file ../html/secret;
    scope              "orders stock";
}

map $http_x_who $who {
    default $http_x_who;
    ""      "";
}
_EOC_

    $block->set_value('config', <<'_EOC_' . ($block->config || ''));
location = /_token {
    internal;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/as;
}

location = /as {
    default_type application/json;
    add_header X-Unused $http_cookie;
    if ($http_authorization != "Basic Z2F0ZSt3YXk6dG9wK3NlY3JldCUyNg==") {
        return 401 '{"error":"invalid_client"}';
    }
    if ($http_cookie) {
        return 400 '{"error":"a cookie"}';
    }
    return 200 '{"access_token":"T0k.e-n_$request_length","token_type":"bearer","expires_in":300}';
}

location /pass {
    erp_authorization erp;
    erp_identity_header X-Client-ID $who;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/erp;
}

location /read {
    availability_cache a;
    availability_cache_key $request_uri;
    availability_cache_valid 60s;
    erp_authorization erp;
    erp_identity_header X-Client-ID $who;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/erp;
}

location /write {
    availability_invalidate zone=a /sku;
    erp_authorization erp;
    erp_identity_header X-Client-ID $who;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/erp;
}

location /erp {
    return 200 "$http_authorization|$http_cookie$http_dpop|$http_x_client_id|$http_x_other";
}
_EOC_
});

# a subrequest, and what its server and the request's own see of the client

our $Asks = <<'_EOC_';
location /asks {
    auth_request /inner;
    auth_request_set $seen $upstream_http_x_seen;
    proxy_set_header X-Seen $seen;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/show;
}
location /show {
    return 200 "seen $http_x_seen, client $http_x_client_id";
}
location /saw {
    add_header X-Seen "<$http_x_client_id>";
    return 204;
}
_EOC_

run_tests();

__DATA__

=== TEST 1: passed on
--- request
GET /pass
--- more_headers
Authorization: Bearer channel
Cookie: session=1
DPoP: proof
X-Other: stays
X-Who: shop
--- response_body_like: \ABearer T0k\.e-n_\d+\|\|shop\|stays\z


=== TEST 2: a fill of the cache
--- request
GET /read?2
--- more_headers
Authorization: Bearer channel
Cookie: session=1
X-Who: shop
--- response_body_like: \ABearer T0k\.e-n_\d+\|\|shop\|\z


=== TEST 3: a write
--- request
POST /write
{"sku":"A"}
--- more_headers
Authorization: Bearer channel
Cookie: session=1
X-Who: shop
--- response_body_like: \ABearer T0k\.e-n_\d+\|\|shop\|\z


=== TEST 4: nobody names himself
--- request eval
["GET /pass", "GET /read?4", "POST /write\n{}", "GET /pass", "GET /pass"]
--- more_headers eval
["X-Client-ID: forged", "X_Client_ID: forged\nx-client-id: forged",
 "x_client-Id: forged", "X-CLIENT-ID: forged\nX-Who: shop",
 "X-Client-IDs: kept\nX-Other: kept"]
--- response_body_like eval
[qr/\ABearer \S+\|\|\|\z/, qr/\ABearer \S+\|\|\|\z/,
 qr/\ABearer \S+\|\|\|\z/, qr/\ABearer \S+\|\|shop\|\z/,
 qr/\ABearer \S+\|\|\|kept\z/]


=== TEST 5: the same token for all of them
--- config
location = /once {
    penstock_status;
}
--- request eval
["GET /pass", "GET /read?5", "POST /write\n{}", "GET /pass", "GET /once"]
--- more_headers eval
["", "", "", "", "Accept: text/plain"]
--- response_body_like eval
["Bearer", "Bearer", "Bearer", "Bearer",
 qr/tokens_total\{client="erp",result="fetched"\} 1\n/]


=== TEST 6: the token is not there for what comes after
--- config
location = /failed {
    erp_authorization erp;
    error_page 502 = /elsewhere;
    proxy_pass http://127.0.0.1:1;
}
location = /elsewhere {
    internal;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/erp;
}
location = /after {
    erp_authorization erp;
    proxy_hide_header X-None;
    add_header X-Authorization $http_authorization;
    add_header X-Session $cookie_session;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/erp;
}
--- request eval
["GET /failed", "GET /after"]
--- more_headers eval
["Authorization: Bearer channel\nCookie: session=1",
 "Authorization: Bearer channel\nCookie: session=1"]
--- response_body_like eval
[qr/\ABearer channel\|session=1\|/, qr/\ABearer T0k/]
--- response_headers_like eval
["", "X-Authorization: Bearer channel\r\nX-Session: 1"]


=== TEST 7: no token, no request
--- http_config
oauth_client none {
    token_endpoint     /_none;
    client_id          a;
    client_secret_file ../html/secret;
}
--- config
location = /_none {
    internal;
    return 200 '{"access_token":"a b","token_type":"Bearer"}';
}
location = /refused {
    erp_authorization none;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/erp;
}
location = /refused-fill {
    availability_cache a;
    availability_cache_key $request_uri;
    erp_authorization none;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/erp;
}
--- request eval
["GET /refused", "GET /refused-fill", "GET /refused"]
--- error_code eval
[503, 503, 503]
--- response_headers_like eval
["Retry-After: \\d+", "Retry-After: \\d+", "Retry-After: \\d+"]
--- response_body_like eval
["no access to the server now", "", "no access to the server now"]


=== TEST 8: off, and inherited
--- config
location /in {
    erp_authorization erp;
    erp_identity_header X-Client-ID fixed;
    location /in/side {
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/erp;
    }
    location /in/off {
        erp_authorization off;
        proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/erp;
    }
}
--- request eval
["GET /in/side", "GET /in/off"]
--- more_headers eval
["Authorization: a", "Authorization: a\nX-Client-ID: forged"]
--- response_body_like eval
[qr/\ABearer T0k\S+\|\|fixed\|\z/, qr/\Aa\|\|fixed\|\z/]


=== TEST 9: a subrequest of a forger
--- config eval
$::Asks . '
location = /inner {
    internal;
    erp_identity_header X-Client-ID $who;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/saw;
}'
--- request eval
["GET /asks", "GET /asks"]
--- more_headers eval
["X-Client-ID: forged\nX_Client_ID: forged", "X-Client-ID: forged\nX-Who: shop"]
--- response_body_like eval
['^seen <>, client forged(, forged)?$', '^seen <shop>, client forged$']


=== TEST 10: names that a server takes for credentials
--- config
location /variants {
    erp_authorization erp;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/got;
}
location /got {
    return 200 "<$http_proxy_authorization>";
}
--- request
GET /variants
--- more_headers
Proxy_Authorization: forged
--- response_body chomp
<>


=== TEST 11: a subrequest where only others name the header: none at all
--- config eval
'erp_identity_header X-Client-ID $who;' . $::Asks . '
location = /inner {
    internal;
    proxy_pass http://127.0.0.1:$TEST_NGINX_SERVER_PORT/saw;
}'
--- request
GET /asks
--- more_headers
X-Client-ID: forged
X-Who: shop
--- response_body chomp
seen <>, client shop
