# Protected resource metadata (RFC 9728): a client that has no token learns
# from the challenge where to read who issues them, and reads it without one.

use lib 't/lib';
use PenstockTokens;
use Test::Nginx::Socket 'no_plan';

new_key('ES256', 'ES256');
key_set('keys.json', 'ES256 k ES256');

our $server = <<'END';
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/keys.json;
END

no_shuffle();
run_tests();

__DATA__

=== TEST 1: the document, and the challenge that names it
--- config eval
$main::server . q{
    oauth_protected_resource https://api.example
        authorization_server=https://login.example
        authorization_server=https://other.example/t/1
        scope=stock:read scope=orders:write
        "name=The \"ERP\"" documentation=https://api.example/docs;
    location /t { root html; }
}
--- request eval
["GET /.well-known/oauth-protected-resource", "GET /t"]
--- error_code eval
[200, 401]
--- response_headers eval
["Content-Type: application/json",
 'WWW-Authenticate: Bearer realm="api", resource_metadata="https://api.example/.well-known/oauth-protected-resource"']
--- response_body_like eval
['\A\{"resource":"https://api\.example","authorization_servers":\["https://login\.example","https://other\.example/t/1"\],"scopes_supported":\["stock:read","orders:write"\],"bearer_methods_supported":\["header"\],"resource_name":"The \\\\"ERP\\\\"","resource_documentation":"https://api\.example/docs"\}\n\z',
 '"status":401']



=== TEST 2: a resource with a path; lists that are empty are left out
--- config eval
$main::server . q{
    oauth_protected_resource https://api.example/erp/v1;
    location /t { root html; }
}
--- request eval
["GET /.well-known/oauth-protected-resource/erp/v1",
 "GET /.well-known/oauth-protected-resource",
 "GET /.well-known/oauth-protected-resource/erp"]
--- error_code eval
[200, 401, 401]
--- response_headers eval
["Content-Type: application/json",
 ('WWW-Authenticate: Bearer realm="api", resource_metadata="https://api.example/.well-known/oauth-protected-resource/erp/v1"') x 2]
--- response_body_like eval
['\A\{"resource":"https://api\.example/erp/v1","bearer_methods_supported":\["header"\]\}\n\z', ('"status":401') x 2]



=== TEST 3: a slash at the end is the identifier's, not the document's
--- config eval
$main::server . q{
    oauth_protected_resource https://api.example/;
    location /t { root html; }
}
--- request eval
["GET /.well-known/oauth-protected-resource", "GET /t"]
--- error_code eval
[200, 401]
--- response_headers eval
["Content-Type: application/json",
 'WWW-Authenticate: Bearer realm="api", resource_metadata="https://api.example/.well-known/oauth-protected-resource"']
--- response_body_like eval
['\A\{"resource":"https://api\.example/",', '"status":401']



=== TEST 4: resources of locations, each with its document
--- config eval
$main::server . q{
    location /a { oauth_protected_resource https://api.example/a
                  authorization_server=https://one.example; root html; }
    location /b { oauth_protected_resource https://api.example/b
                  authorization_server=https://two.example;
                  auth_dpop required; auth_mtls_bound on; root html; }
    location /c { root html; }
}
--- request eval
["GET /a", "GET /b", "GET /c",
 "GET /.well-known/oauth-protected-resource/a",
 "GET /.well-known/oauth-protected-resource/b"]
--- error_code eval
[401, 401, 401, 200, 200]
--- response_headers eval
['WWW-Authenticate: Bearer realm="api", resource_metadata="https://api.example/.well-known/oauth-protected-resource/a"',
 'WWW-Authenticate: DPoP realm="api", resource_metadata="https://api.example/.well-known/oauth-protected-resource/b", algs="ES256 ES384 ES512 EdDSA PS256 PS384 PS512 RS256 RS384 RS512"',
 'WWW-Authenticate: Bearer realm="api"', ('Content-Type: application/json') x 2]
--- response_body_like eval
[('401') x 3, 'one\.example',
 '"tls_client_certificate_bound_access_tokens":true,"dpop_signing_alg_values_supported":\["ES256","ES384","ES512","EdDSA","PS256","PS384","PS512","RS256","RS384","RS512"\],"dpop_bound_access_tokens_required":true\}\n\z']



=== TEST 5: HEAD has no body, other methods authenticate
--- config eval
$main::server . q{
    oauth_protected_resource https://api.example;
    location /t { root html; }
}
--- request eval
["HEAD /.well-known/oauth-protected-resource",
 "POST /.well-known/oauth-protected-resource"]
--- error_code eval
[200, 401]



=== TEST 6: with auth_jwt off, and with deny before it
--- config
    oauth_protected_resource https://api.example;
    location /t { root html; }
    location /.well-known/ { deny all; }
--- request
GET /.well-known/oauth-protected-resource
--- error_code: 403
--- error_log
access forbidden by rule
