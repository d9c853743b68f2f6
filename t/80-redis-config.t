# What is wrong in a "redis" block, or in a reference to one, is said by
# nginx -t; what is not supported yet is never taken silently.

use Test::Nginx::Socket 'no_plan';

no_shuffle();
run_tests();

__DATA__

=== TEST 1: no server
--- http_config
redis main { }
--- config
--- must_die
--- error_log
no "server" in redis "main", add for example "server 127.0.0.1:6379" in



=== TEST 2: a redis that is nowhere
--- http_config
rate_limit_zone $remote_addr zone=a:1m rate=1r/s redis=none;
--- config
--- must_die
--- error_log eval
qr/\[emerg\] .*no block redis "none" \{ \} in http \{ \}, it is named in \S+nginx\.conf:\d+/



=== TEST 3: two of a name
--- http_config
redis main { server 127.0.0.1; }
redis main { server 127.0.0.1; }
--- config
--- must_die
--- error_log
duplicate redis "main", the first is in



=== TEST 4: two servers
--- http_config
redis main { server 127.0.0.1; server 127.0.0.2; }
--- config
--- must_die
--- error_log
second server "127.0.0.2" in redis "main": mode standalone takes one



=== TEST 5: a port that is none
--- http_config
redis main { server 127.0.0.1:70000; }
--- config
--- must_die
--- error_log
invalid port in server "127.0.0.1:70000" of redis "main"



=== TEST 6: a unix socket without a path
--- http_config
redis main { server unix:; }
--- config
--- must_die
--- error_log
no path in the unix domain socket in server "unix:" of redis "main"



=== TEST 7: a name that is not found
--- http_config
redis main { server no-such-host.invalid; }
--- config
--- must_die
--- error_log
host not found in server "no-such-host.invalid" of redis "main", define a "resolver" in http { }



=== TEST 8: a bad name
--- http_config
redis a"b { server 127.0.0.1; }
--- config
--- must_die
--- error_log
invalid redis name "a"b": letters, digits, "_", "-" and "." may be used



=== TEST 9: an unknown directive
--- http_config
redis main { server 127.0.0.1; keepalive 3; }
--- config
--- must_die
--- error_log
unknown directive "keepalive" in redis "main"



=== TEST 10: too many arguments
--- http_config
redis main { server 127.0.0.1 127.0.0.2; }
--- config
--- must_die
--- error_log
invalid number of arguments in "server" directive of redis "main"



=== TEST 11: sentinels of no master
--- http_config
redis main { server 127.0.0.1; server 127.0.0.2; mode sentinel; }
--- config
--- must_die
--- error_log
"mode sentinel" in redis "main" needs the name of one master, for example "mode sentinel mymaster"



=== TEST 12: a cluster has one database
--- http_config
redis main { mode cluster; server 127.0.0.1; server 127.0.0.2; database 1; }
--- config
--- must_die
--- error_log
"database 1" in redis "main": a cluster has 0 only



=== TEST 13: a mode that is none
--- http_config
redis main { server 127.0.0.1; mode single; }
--- config
--- must_die
--- error_log
invalid mode "single" in redis "main", use "standalone", "sentinel MASTER" or "cluster"



=== TEST 14: mode twice
--- http_config
redis main { server 127.0.0.1; mode standalone; mode standalone; }
--- config
--- must_die
--- error_log
"mode" directive is duplicate in redis "main"



=== TEST 15: TLS without the CAs to trust
--- http_config
redis main { server 127.0.0.1; tls on; }
--- config
--- must_die
--- error_log
"tls on" in redis "main" needs a "tls_trusted_certificate", the file of the CAs that may vouch for the server in



=== TEST 16: the files of TLS without TLS
--- http_config
redis main { server 127.0.0.1; tls_trusted_certificate ca.pem; }
--- config
--- must_die
--- error_log
"tls_trusted_certificate" in redis "main" needs "tls on"



=== TEST 17: user without password
--- http_config
redis main { server 127.0.0.1; user gw; }
--- config
--- must_die
--- error_log
"user" in redis "main" needs a "password_file"



=== TEST 18: user twice
--- http_config
redis main { server 127.0.0.1; user gw; user gw; }
--- config
--- must_die
--- error_log
"user" directive is duplicate in redis "main"



=== TEST 19: no such password file
--- http_config
redis main { server 127.0.0.1; password_file no.pass; }
--- config
--- must_die
--- error_log
no.pass" failed (2: No such file or directory)



=== TEST 20: password_file twice
--- http_config
redis main { server 127.0.0.1; password_file nginx.conf; password_file nginx.conf; }
--- config
--- must_die
--- error_log
"password_file" directive is duplicate in redis "main"



=== TEST 21: a password file without a password
--- http_config
redis main { server 127.0.0.1; password_file /dev/null; }
--- config
--- must_die
--- error_log
password_file "/dev/null" must hold 1 to 4096 bytes



=== TEST 22: a password without end
--- http_config
redis main { server 127.0.0.1; password_file /dev/zero; }
--- config
--- must_die
--- error_log
password_file "/dev/zero" must hold 1 to 4096 bytes



=== TEST 23: a database that is none
--- http_config
redis main { server 127.0.0.1; database -1; }
--- config
--- must_die
--- error_log
invalid database "-1" in redis "main", give a number between 0 and 1000000



=== TEST 24: database twice
--- http_config
redis main { server 127.0.0.1; database 1; database 2; }
--- config
--- must_die
--- error_log
"database" directive is duplicate in redis "main"



=== TEST 25: nothing may be pending
--- http_config
redis main { server 127.0.0.1; max_pending 0; }
--- config
--- must_die
--- error_log
invalid max_pending "0" in redis "main", give a number between 1 and 1000000



=== TEST 26: replies of no size
--- http_config
redis main { server 127.0.0.1; max_reply 100; }
--- config
--- must_die
--- error_log
invalid max_reply "100", give a size between 1k and 512m



=== TEST 27: max_reply twice
--- http_config
redis main { server 127.0.0.1; max_reply 1m; max_reply 1m; }
--- config
--- must_die
--- error_log
"max_reply" directive is duplicate in redis "main"



=== TEST 28: a timeout of nothing
--- http_config
redis main { server 127.0.0.1; timeout command=0; }
--- config
--- must_die
--- error_log
invalid timeout "command=0" in redis "main", give connect=TIME or command=TIME between 1ms and 1h



=== TEST 29: a timeout for nothing
--- http_config
redis main { server 127.0.0.1; timeout read=1s; }
--- config
--- must_die
--- error_log
invalid timeout "read=1s" in redis "main"



=== TEST 30: no timeout
--- http_config
redis main { server 127.0.0.1; timeout; }
--- config
--- must_die
--- error_log
"timeout" in redis "main" needs connect=TIME or command=TIME



=== TEST 31: a timeout twice
--- http_config
redis main { server 127.0.0.1; timeout command=1s; timeout command=1s; }
--- config
--- must_die
--- error_log
timeout "command=1s" is duplicate in redis "main"



=== TEST 32: all that is there, behind what refers to it
--- http_config
rate_limit_zone $remote_addr zone=a:1m rate=1r/s redis=my-redis.1;

redis my-redis.1 {
    server        127.0.0.1:1;
    mode          standalone;
    user          gw;
    password_file nginx.conf;
    database      7;
    timeout       connect=1s;
    timeout       command=70ms;
    max_pending   100;
    max_reply     2m;
    tls           off;
}
--- config
location /t {
    return 204;
}
--- request
GET /t
--- error_code: 204



=== TEST 33: TLS is on or off
--- http_config
redis main { server 127.0.0.1; tls yes; }
--- config
--- must_die
--- error_log
invalid tls "yes" in redis "main", use "on" or "off"



=== TEST 34: tls twice
--- http_config
redis main { server 127.0.0.1; tls off; tls on; }
--- config
--- must_die
--- error_log
"tls" directive is duplicate in redis "main"



=== TEST 35: two names
--- http_config
redis main { server 127.0.0.1; tls on; tls_name a; tls_name b; }
--- config
--- must_die
--- error_log
"tls_name" directive is duplicate in redis "main"



=== TEST 36: verification can't be left out
--- http_config
redis main { server 127.0.0.1; tls on; tls_verify off; }
--- config
--- must_die
--- error_log
unknown directive "tls_verify" in redis "main", use tls, tls_trusted_certificate, tls_name, tls_certificate or tls_certificate_key



=== TEST 37: a certificate without its key
--- http_config
redis main {
    server 127.0.0.1;
    tls on;
    tls_trusted_certificate ca.pem;
    tls_certificate client.pem;
}
--- config
--- must_die
--- error_log
redis "main" needs both "tls_certificate" and "tls_certificate_key", or none



=== TEST 38: CAs that are not there
--- http_config
redis main {
    server 127.0.0.1;
    tls on;
    tls_trusted_certificate no-such-ca.pem;
}
--- config
--- must_die
--- error_log
no-such-ca.pem
TLS of redis "main" can't be set up, check its "tls_..." files in



=== TEST 39: CAs that are none
--- http_config
redis main {
    server 127.0.0.1;
    tls on;
    tls_trusted_certificate nginx.conf;
}
--- config
--- must_die
--- error_log
TLS of redis "main" can't be set up, check its "tls_..." files in



=== TEST 40: a unix socket has no name to check
--- http_config
redis main {
    server unix:/nowhere/redis.sock;
    tls on;
    tls_trusted_certificate nginx.conf;
}
--- config
--- must_die
--- error_log
server "unix:/nowhere/redis.sock" of redis "main" has no name to check by TLS, add "tls_name"



=== TEST 41: sentinels, with all that may be said of them
--- http_config
redis main {
    sentinel_user gw;
    sentinel_password_file $TEST_NGINX_SERVER_ROOT/html/pass;
    server 127.0.0.1;
    server 127.0.0.2:26380;
    mode sentinel my-master_1.x;
    database 3;
}
--- user_files
>>> pass
secret
--- config
location = / { return 200 ok; }
--- request
GET /
--- response_body: ok



=== TEST 42: a user of sentinels without a password
--- http_config
redis main { server 127.0.0.1; mode sentinel m; sentinel_user gw; }
--- config
--- must_die
--- error_log
"sentinel_user" in redis "main" needs a "sentinel_password_file"



=== TEST 43: what is said of sentinels where there are none
--- http_config
redis main { server 127.0.0.1; mode cluster; sentinel_tls off; }
--- config
--- must_die
--- error_log
"sentinel_..." in redis "main" needs "mode sentinel MASTER"



=== TEST 44: TLS to sentinels alone
--- http_config
redis main { server 127.0.0.1; mode sentinel m; sentinel_tls on; }
--- config
--- must_die
--- error_log
"sentinel_tls on" in redis "main" needs "tls on"
