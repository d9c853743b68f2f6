"""Configurations of the servers that the benchmark compares."""

# 247 bytes: what an ERP says of two SKUs at two locations
BODY = ('{"as_of":"2026-01-05T08:15:30.123Z","items":['
        '{"sku":"85123A","location":"LON","available":12000},'
        '{"sku":"85123A","location":"ROT","available":4400},'
        '{"sku":"71053","location":"LON","available":70},'
        '{"sku":"71053","location":"ROT","available":9999}]}')
assert len(BODY) == 247


def nginx(http, port, prefix, module):
    load = f"load_module {module};\n" if "correlation_id" in http else ""
    if "_by_lua" in http:
        load = "".join(f"load_module /usr/lib/nginx/modules/{name}_module.so;\n"
                       for name in ("ndk_http", "ngx_http_lua"))
    return f"""{load}
daemon off;
worker_processes 1;
pid {prefix}/nginx.pid;
error_log {prefix}/error.log error;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path {prefix}/tmp/body;
    proxy_temp_path {prefix}/tmp/proxy;
    fastcgi_temp_path {prefix}/tmp/fastcgi;
    uwsgi_temp_path {prefix}/tmp/uwsgi;
    scgi_temp_path {prefix}/tmp/scgi;
    large_client_header_buffers 4 16k;
    default_type application/json;
{http.replace('%PORT%', str(port)).replace('%PREFIX%', prefix)}
}}
"""


def upstream(origin):
    return f"""
    upstream erp {{
        server 127.0.0.1:{origin};
        keepalive 32;
    }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Authorization "";
"""


ORIGIN = f"""
    server {{
        listen 127.0.0.1:%PORT%;
        location / {{
            add_header Cache-Control "public, max-age=600";
            add_header ETag '"5f2e6c1d0b7a4938"';
            return 200 '{BODY}';
        }}
    }}
"""

BARE = f"""
    server {{
        listen 127.0.0.1:%PORT%;
        location / {{ return 200 '{BODY}'; }}
    }}
"""


def stock(origin):
    return upstream(origin) + """
    proxy_cache_path %PREFIX%/cache keys_zone=cache:16m;
    limit_req_zone $binary_remote_addr zone=limit:1m rate=1000000r/s;
    server {
        listen 127.0.0.1:%PORT%;
        location /availability {
            limit_req zone=limit burst=1000000 nodelay;
            add_header X-Correlation-ID $request_id;
            proxy_set_header X-Correlation-ID $request_id;
            proxy_cache cache;
            proxy_cache_key $uri?$args;
            proxy_cache_valid 200 600s;
            proxy_pass http://erp;
        }
    }
"""


def plain(origin):
    return upstream(origin) + """
    server {
        listen 127.0.0.1:%PORT%;
        location /availability { proxy_pass http://erp; }
    }
"""


def penstock(origin, redis_port, keys):
    return upstream(origin) + f"""
    redis main {{ server 127.0.0.1:{redis_port}; }}
    correlation_id on;
    trace_context on;
    auth_jwt_zone tokens:64m;
    availability_zone availability:128m redis=main;
    rate_limit_zone $jwt_claim_client_id zone=client:10m
                    rate=1000000r/s burst=1000000;
    rate_limit_headers on;
    server {{
        listen 127.0.0.1:%PORT%;
        auth_jwt "erp-gateway";
        auth_jwt_issuer https://issuer.example key_file={keys}
                        audience=https://gateway.example algorithms=RS256
                        type=at+jwt;
        location /availability {{
            auth_jwt_scope availability:read;
            rate_limit zone=client;
            availability_cache availability;
            availability_cache_key $uri?$args;
            availability_cache_valid 200 600s;
            availability_cache_lock on timeout=5s;
            availability_cache_tag arg=sku;
            proxy_pass http://erp;
        }}
    }}
"""


def penstock_cells(text):
    """The same, each SKU and location held by itself."""
    return text.replace("availability_cache_key $uri?$args;",
                        "availability_cache_key $uri;\n"
                        "            availability_cache_items arg=sku "
                        "arg=location list=/items id=/sku id=/location;"
                        ).replace("availability_cache_tag arg=sku;", "")


def penstock_open(text):
    """The same without a look at the token; the limit counts by host."""
    return "\n".join(
        line.replace("$jwt_claim_client_id", "$host")
        for line in text.split("\n")
        if not line.strip().startswith(("auth_jwt", "audience=", "type=")))


def haproxy(port, origin, public_key):
    return f"""
global
    nbthread 1
    maxconn 1000
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
cache answers
    total-max-size 64
    max-object-size 16384
    max-age 600
frontend gateway
    bind 127.0.0.1:{port}
    unique-id-format %{{+X}}o\\ %ci:%cp_%fi:%fp_%Ts_%rt:%pid
    unique-id-header X-Correlation-ID
    http-request set-var(txn.token) http_auth_bearer
    http-request deny deny_status 401 unless {{ var(txn.token),jwt_header_query('$.alg') -m str RS256 }}
    http-request deny deny_status 401 unless {{ var(txn.token),jwt_payload_query('$.iss') -m str https://issuer.example }}
    http-request deny deny_status 401 unless {{ var(txn.token),jwt_payload_query('$.aud') -m str https://gateway.example }}
    http-request set-var(txn.exp) var(txn.token),jwt_payload_query('$.exp','int')
    http-request set-var(txn.now) date()
    http-request deny deny_status 401 if {{ var(txn.exp),sub(txn.now) -m int lt 0 }}
    http-request deny deny_status 401 unless {{ var(txn.token),jwt_verify("RS256","{public_key}") -m int 1 }}
    http-request track-sc0 var(txn.token),jwt_payload_query('$.client_id') table limits
    http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt 100000000 }}
    http-request del-header Authorization
    http-request cache-use answers
    http-response cache-store answers
    http-response set-header X-Correlation-ID %[unique-id]
    default_backend erp
backend limits
    stick-table type string len 64 size 100k expire 60s store http_req_rate(10s)
backend erp
    server erp 127.0.0.1:{origin}
"""
