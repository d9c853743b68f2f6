# availability_cache_items where it can't work: what nginx -t says, and the
# remedy.

use Test::Nginx::Socket 'no_plan';

no_shuffle();

add_block_preprocessor(sub {
    my $block = shift;

    $block->set_value('http_config', "availability_zone a:1m;")
        unless defined $block->http_config;
});

run_tests();

__DATA__

=== TEST 1: without list=
--- config
availability_cache_items arg=sku id=/sku;
--- must_die
--- error_log
needs "arg=", "list=" and an "id=" for each "arg="


=== TEST 2: without id=
--- config
availability_cache_items arg=sku list=/items;
--- must_die
--- error_log
needs "arg=", "list=" and an "id=" for each "arg="


=== TEST 3: without arg=
--- config
availability_cache_items list=/items id=/sku;
--- must_die
--- error_log
needs "arg=", "list=" and an "id=" for each "arg="


=== TEST 4: two arguments, one id
--- config
availability_cache_items arg=sku arg=location list=/items id=/sku;
--- must_die
--- error_log
an "id=" for each "arg="


=== TEST 5: three arguments
--- config
availability_cache_items arg=a arg=b arg=c list=/items id=/a id=/b;
--- must_die
--- error_log
"arg=c" is one "arg=" too many


=== TEST 6: three ids
--- config
availability_cache_items arg=a list=/items id=/a id=/b id=/c;
--- must_die
--- error_log
"id=/c" is one "id=" too many


=== TEST 7: the same argument twice
--- config
availability_cache_items arg=a arg=a list=/items id=/a id=/b;
--- must_die
--- error_log
duplicate parameter "arg=a", keep one


=== TEST 8: the same list in the body twice
--- config
availability_cache_items arg=body:/a arg=body:/a list=/items id=/a id=/b;
--- must_die
--- error_log
duplicate parameter "arg=body:/a", keep one


=== TEST 9: the same id twice
--- config
availability_cache_items arg=a arg=b list=/items id=/a id=/a;
--- must_die
--- error_log
duplicate parameter "id=/a", keep one


=== TEST 10: a pointer without "/"
--- config
availability_cache_items arg=a list=items id=/a;
--- must_die
--- error_log
the JSON pointer in "list=items" can't be used (it must begin with "/"), write for example "list=/items"


=== TEST 11: a pointer with half an escape
--- config
availability_cache_items arg=a list=/items id=/a~;
--- must_die
--- error_log
the JSON pointer in "id=/a~" can't be used ("~" must be written as "~0")


=== TEST 12: a pointer that is too deep
--- config
availability_cache_items arg=a list=/1/2/3/4/5/6/7/8/9 id=/a;
--- must_die
--- error_log
it has more than 8 parts


=== TEST 13: a pointer of nothing
--- config
availability_cache_items arg=body: list=/items id=/a;
--- must_die
--- error_log
the JSON pointer in "arg=body:" can't be used


=== TEST 14: an argument of nothing
--- config
availability_cache_items arg= list=/items id=/a;
--- must_die
--- error_log
"arg=" needs the name of a query argument


=== TEST 15: no number
--- config
availability_cache_items arg=a list=/items id=/a max_items=x;
--- must_die
--- error_log
invalid number in "max_items=x", write for example "max_items=50"


=== TEST 16: none at all
--- config
availability_cache_items arg=a list=/items id=/a max_items=0;
--- must_die
--- error_log
invalid number in "max_items=0"


=== TEST 17: a parameter twice
--- config
availability_cache_items arg=a list=/items list=/other id=/a;
--- must_die
--- error_log
duplicate parameter "list=/other"


=== TEST 18: another parameter
--- config
availability_cache_items arg=a list=/items id=/a chunk=7;
--- must_die
--- error_log
invalid parameter "chunk=7"


=== TEST 19: twice in a location
--- config
location /t {
    availability_cache_items arg=a list=/items id=/a;
    availability_cache_items arg=b list=/items id=/b;
}
--- must_die
--- error_log
is duplicate


=== TEST 20: a key that holds what is taken apart
--- config
location /t {
    availability_cache       a;
    availability_cache_key   $uri$is_args$args;
    availability_cache_items arg=sku list=/items id=/sku;
    proxy_pass http://127.0.0.1:1;
}
--- must_die
--- error_log
"$args" in "availability_cache_key" holds what "availability_cache_items" takes apart


=== TEST 21: or one argument of it
--- config
location /t {
    availability_cache       a;
    availability_cache_key   $uri:${arg_sku};
    availability_cache_items arg=sku list=/items id=/sku;
    proxy_pass http://127.0.0.1:1;
}
--- must_die
--- error_log
"$arg_sku" in "availability_cache_key"


=== TEST 22: a read and a write in one
--- config
location /t {
    availability_cache       a;
    availability_cache_key   $uri;
    availability_cache_items arg=body:/skus list=/items id=/sku;
    availability_invalidate  zone=a /skus/*;
    proxy_pass http://127.0.0.1:1;
}
--- must_die
--- error_log
keep one in this location


=== TEST 23: a zone without room for them
--- http_config
availability_zone a:64k;
--- config
location /t {
    availability_cache       a;
    availability_cache_key   $uri;
    availability_cache_items arg=sku list=/items id=/sku;
    proxy_pass http://127.0.0.1:1;
}
--- must_die
--- error_log
zone "a" is too small for "availability_cache_items", give it at least 256k


=== TEST 24: inherited, and off again
--- config
availability_cache       a;
availability_cache_items arg=sku list=/items id=/sku;

location /t {
    availability_cache_key   $uri;
    location /t/off {
        availability_cache_items off;
        availability_cache_key   $request_uri;
        return 200 "off";
    }
    proxy_pass http://127.0.0.1:1;
}
--- request
GET /t/off?sku=A
--- response_body: off
