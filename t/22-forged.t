# Forgeries, each refused for its own reason, which $auth_jwt_error names: a
# forgery that is refused for another reason proves nothing.  The first one
# of each block is the good token that the others were made from.

use lib 't/lib';
use PenstockTokens;
use Test::Nginx::Socket 'no_plan';

new_key($_, $_) for qw(RS256 ES256 ES384 ES512 EdDSA HS256 PS256);
new_key('other', 'RS256');
new_key('otherec', 'ES256');

key_set('keys.json', 'RS256 rs RS256', 'PS256 ps PS256', 'ES256 es ES256',
        'ES384 es3', 'ES512 es5', 'EdDSA ed');
key_set('secret.json', 'HS256 hs HS256');

# the public key as a secret, the classic confusion

tool('jwks', 'gen', 'RS256', keys_file('tmp'));
system('openssl pkey -in ' . keys_file('RS256') . ' -pubout -out '
       . keys_file('RS256.pub') . ' 2>/dev/null') == 0 or die;

our $p = '{"sub":"s","exp":@NOW+600}';
our $rs = '{"alg":"RS256","kid":"rs"}';
our $es = '{"alg":"ES256","kid":"es"}';
our $good = forge('RS256', 'RS256', $rs, $p);
our ($h, $c, $s) = split /\./, $good;

my $sig = 'the signature doesn\'t match';
my $key = 'no key fits "alg" and "kid"';
my $b64 = 'a part of the token is not base64url';
my $parts = 'the token doesn\'t have three parts';
my $header = 'the header is not a JSON object of unique names';
my $payload = 'the payload is not a JSON object of unique names';
my $alg = 'the algorithm is not supported';
my $claim = 'a registered claim has a wrong type or an absurd value';
my $crit = 'the header has "crit"';

sub rs { return forge('RS256', 'RS256', @_) }
sub es { return forge('ES256', 'ES256', $es, $p, @_) }

sub flip {
    my ($text, $at) = @_;
    substr($text, $at, 1) = substr($text, $at, 1) eq 'A' ? 'B' : 'A';
    return $text;
}

# [ token, reason, status ]

our %matrix = (

signatures => [
    [$good, ''],
    ["$h.$c." . flip($s, 0), $sig],
    ["$h.$c." . flip($s, 170), $sig],
    ["$h." . flip($c, 3) . ".$s", $sig],
    ["$h." . b64('{"sub":"admin","exp":4000000000}') . ".$s", $sig],
    ["$h." . b64('{"sub":"s"}') . ".$s", $sig],
    [forge('other', 'RS256', $rs, $p), $sig],
    [forge('PS256', 'RS256', $rs, $p), $sig],
    [rs('{"alg":"RS256","kid":"ps"}', $p), $key],
    [rs('{"alg":"RS256","kid":"nobody"}', $p), $key],
    [rs('{"alg":"RS256","kid":""}', $p), $key],
    [rs('{"alg":"RS256","kid":"../../etc/passwd"}', $p), $key],
    [rs('{"alg":"RS256","kid":"rs\' OR 1=1"}', $p), $key],
    ["$h.$c." . b64('x' x 256), $sig],
    ["$h.$c." . b64("\0" x 256), $sig],
    ["$h.$c.AA", $sig],
    [rs($rs, $p, '--sig-cut', 1), $sig],
    [rs($rs, $p, '--sig-pad', 1), $sig],
    [rs($rs, $p, '--hash', 'SHA512'), $sig],
    [rs($rs, $p, '--hash', 'SHA1'), $sig],
    ["$h.$c." . b64('x' x 1051), 'the token is too large'],
],

algorithms => [
    [forge('HS256', 'HS256', '{"alg":"HS256"}', $p), $key],
    [forge(undef, 'none', '{"alg":"none"}', $p) . 'AA', $alg],
    [forge(undef, 'none', '{"alg":"none"}', $p), $parts],
    ["$h.$c.", $parts],
    [forge(undef, 'none', '{"alg":"None","kid":"rs"}', $p) . 'AA', $alg],
    [forge(undef, 'none', '{"alg":"nOnE","kid":"rs"}', $p) . 'AA', $alg],
    [forge(undef, 'none', '{"alg":""}', $p) . 'AA', $alg],
    [forge('RS256.pub', 'HS256', '{"alg":"HS256","kid":"rs"}', $p), $key],
    [forge('RS256.pub', 'HS256', '{"alg":"RS256","kid":"rs"}', $p), $sig],
    [rs('{"alg":"rs256","kid":"rs"}', $p), $alg],
    [rs('{"alg":"RS256 ","kid":"rs"}', $p), $alg],
    [rs('{"alg":"RS384","kid":"rs"}', $p, '--hash', 'SHA384'), $key],
    [forge('RS256', 'PS256', '{"alg":"PS256","kid":"rs"}', $p), $key],
    [forge('RS256', 'PS256', $rs, $p), $sig],
    [forge('PS256', 'RS256', '{"alg":"PS256","kid":"ps"}', $p), $sig],
    [forge('PS256', 'PS256', '{"alg":"PS256","kid":"ps"}', $p, '--salt', 0),
     $sig],
    [forge('PS256', 'PS256', '{"alg":"PS256","kid":"ps"}', $p, '--salt', 20),
     $sig],
    [forge('PS256', 'PS256', '{"alg":"PS256","kid":"ps"}', $p, '--hash',
           'SHA384'), $sig],
    [rs('{"alg":["RS256"],"kid":"rs"}', $p), $alg],
    [rs('{"alg":null,"kid":"rs"}', $p), $alg],
    [rs('{"kid":"rs"}', $p), $alg],
    [rs('{"alg":256,"kid":"rs"}', $p), $alg],
    [rs('{"Alg":"RS256","kid":"rs"}', $p), $alg],
    [rs('{"alg":"RSA-OAEP","kid":"rs"}', $p), $alg],
    [forge('EdDSA', 'EdDSA', '{"alg":"Ed448","kid":"ed"}', $p), $key],
],

curves => [
    [es(), ''],
    [es('--der'), $sig],
    [es('--zero'), $sig],
    [es('--order'), $sig],
    [es('--sig-cut', 1), $sig],
    [es('--sig-pad', 1), $sig],
    [es('--sig-cut', 32), $sig],
    [es('--hash', 'SHA384'), $sig],
    [forge('otherec', 'ES256', $es, $p), $sig],
    [forge('ES384', 'ES384', '{"alg":"ES256","kid":"es3"}', $p), $key],
    [forge('ES384', 'ES384', $es, $p), $sig],
    [forge('ES256', 'ES256', '{"alg":"ES384","kid":"es3"}', $p), $sig],
    [forge('ES512', 'ES512', '{"alg":"ES512","kid":"es5"}', $p, '--zero'),
     $sig],
    [forge('ES512', 'ES512', '{"alg":"ES512","kid":"es5"}', $p, '--sig-cut',
           2), $sig],
    [forge('EdDSA', 'EdDSA', '{"alg":"EdDSA","kid":"ed"}', $p, '--sig-cut',
           1), $sig],
    [forge('EdDSA', 'EdDSA', $es, $p), $sig],
    [forge('EdDSA', 'EdDSA', '{"alg":"EdDSA","kid":"es"}', $p), $key],
],

headers => [
    [rs('{"alg":"RS256","kid":"rs","typ":"JWT","x":{"alg":"none"}}', $p), ''],
    [rs('{"alg":"RS256","kid":"rs","crit":["exp"],"exp":1}', $p), $crit],
    [rs('{"alg":"RS256","kid":"rs","crit":[]}', $p), $crit],
    [rs('{"alg":"RS256","kid":"rs","crit":null}', $p), $crit],
    [rs('{"alg":"RS256","kid":"rs","crit":["b64"],"b64":false}', $p), $crit],
    [rs('{"alg":"RS256","kid":"rs","b64":false}', $p),
     'the header has "b64"'],
    [rs('{"alg":"none","kid":"rs","alg":"RS256"}', $p), $header],
    [rs('{"alg":"RS256","kid":"rs","alg":"RS256"}', $p), $header],
    [rs('{"alg":"RS256","kid":"rs","\u0061lg":"none"}', $p), $header],
    [rs('{"alg":"RS256","kid":"rs","x":{"a":1,"a":2}}', $p), $header],
    [rs('[{"alg":"RS256"}]', $p), $header],
    [rs('"RS256"', $p), $header],
    [rs('{"alg":"RS256"', $p), $header],
    [rs('{"alg":"RS256","kid":"rs"} {}', $p), $header],
    [rs("{\"alg\":\"RS256\",\"kid\":\"rs\xff\"}", $p), $header],
    [rs("\xef\xbb\xbf$rs", $p), $header],
    [rs('{"alg":"RS256","kid":"rs\u0000x"}', $p), $header],
    [rs("{'alg':'RS256'}", $p), $header],
    [rs('{"alg":"RS256","kid":["rs"]}', $p),
     '"kid" or "typ" is not a string'],
    [rs('{"alg":"RS256","kid":"rs","typ":1}', $p),
     '"kid" or "typ" is not a string'],
    [rs('{"alg":"RS256","kid":"rs","typ":"dpop+jwt"}', $p),
     '"typ" is not that of an access token'],
    [forge('other', 'RS256', '{"alg":"RS256","kid":"x","jku":'
           . '"https://evil.example/keys","x5u":"https://evil.example/c"}',
           $p), $key],
    [forge('other', 'RS256', '{"alg":"RS256","jwk":'
           . tool('jwks', 'set', '--key', keys_file('other'))
             =~ s/.*\[\s*(\{.*?\})\s*\].*/$1/sr . '}', $p), $sig],
    [rs('{"alg":"RS256","kid":"rs","x":"' . ('y' x 2000) . '"}', $p),
     'the token is too large'],
    [rs('{"alg":"RS256","kid":"rs","x":' . ('[' x 700) . (']' x 700) . '}',
        $p), ''],
],

encoding => [
    [$good, ''],
    ["$h.$c", $parts],
    ["$good.", $parts],
    ["$good.x", $parts],
    ["..$s", $parts],
    ["$h..$s", $payload],
    [".$c.$s", $parts],
    ["$h=.$c.$s", undef, 400],
    ["$h.$c.$s=", $b64],
    ["$h.$c.$s==", $b64],
    ["$h.$c+.$s", $b64],
    ["$h.$c/.$s", $b64],
    ["$h.$c.~$s", $b64],
    ["$h.$c.${s}A", $sig],
    ["$h.$c.${s}AA", $sig],
    ["$h.$c.${s}AAA", $b64],
    ["$h.$c." . substr($s, 0, -1) . chr(ord(substr($s, -1)) + 1), $b64],
    [forge('RS256', 'RS256', $rs, '{}', '--raw-sig', 'A'), $b64],
    ["$h.$c.%$s", undef, 400],
    ["$h.$c.\xc3\xa9$s", undef, 400],
],

claims => [
    [rs($rs, '{"sub":"s","exp":@NOW+600,"aud":["a"],"iat":@NOW-1}'), ''],
    [rs($rs, '{"sub":"s","sub":"t"}'), $payload],
    [rs($rs, '{"exp":1,"exp":@NOW+600}'), $payload],
    [rs($rs, '["sub"]'), $payload],
    [rs($rs, '"sub"'), $payload],
    [rs($rs, 'null'), $payload],
    [rs($rs, ''), $payload],
    [rs($rs, '{"sub":"s"}x'), $payload],
    [rs($rs, "{\"sub\":\"\xc0\xaf\"}"), $payload],
    [rs($rs, '{"sub":"s\u0000t"}'), $payload],
    [rs($rs, '{"exp":1e999}'), $payload],
    [rs($rs, '{"exp":99999999999999999999}'), $payload],
    [rs($rs, '{"exp":"@NOW+600"}'), $claim],
    [rs($rs, '{"exp":null}'), $claim],
    [rs($rs, '{"exp":true}'), $claim],
    [rs($rs, '{"exp":[@NOW+600]}'), $claim],
    [rs($rs, '{"exp":-1}'), $claim],
    [rs($rs, '{"exp":1795471515000}'), $claim],
    [rs($rs, '{"exp":1e300}'), $claim],
    [rs($rs, '{"nbf":"0"}'), $claim],
    [rs($rs, '{"iat":{}}'), $claim],
    [rs($rs, '{"sub":7}'), $claim],
    [rs($rs, '{"iss":["a"]}'), $claim],
    [rs($rs, '{"jti":1}'), $claim],
    [rs($rs, '{"client_id":null}'), $claim],
    [rs($rs, '{"aud":7}'), $claim],
    [rs($rs, '{"aud":["a",7]}'), $claim],
    [rs($rs, '{"exp":1}'), 'the token expired'],
    [rs($rs, '{"nbf":@NOW+600}'), '"nbf" is in the future'],
    [rs($rs, '{"cnf":{"x5t#S256":"x"}}'),
     'the token is bound to a key and possession is not checked'],
],

);

sub rows { return @{ $main::matrix{$_[0]} } }

no_shuffle();

add_block_preprocessor(sub {
    my ($block) = @_;
    my $name = $block->name =~ s/.*: //r;
    my @rows = rows($name);

    $block->set_value('config', <<'_EOC_') unless defined $block->config;
location = /t {
    auth_jwt "api";
    auth_jwt_key_file $TEST_NGINX_KEYS/keys.json;
    add_header X-Reason $auth_jwt_error always;
    empty_gif;
}
_EOC_

    $block->set_value('request', [map { 'GET /t' } @rows]);
    $block->set_value('more_headers',
                      [map { "Authorization: Bearer $_->[0]" } @rows]);
    $block->set_value('error_code',
                      [map { $_->[2] || ($_->[1] ? 401 : 200) } @rows]);
    $block->set_value('response_headers',
                      [map { 'X-Reason: '
                             . ($_->[1]
                                // 'the credentials are malformed') } @rows]);
    $block->set_value('no_error_log', '[warn]');
});

run_tests();

__DATA__

=== TEST 1: signatures



=== TEST 2: algorithms



=== TEST 3: curves



=== TEST 4: headers



=== TEST 5: encoding



=== TEST 6: claims
