package PenstockTokens;

# Keys and tokens for t/*.t: runs the tools of tests/tools (built here if they
# are not there), keeps keys in a folder of the file's own, which configs know
# as $TEST_NGINX_KEYS.

use strict;
use warnings;

use Exporter 'import';
use Fcntl qw(LOCK_EX);
use File::Path qw(make_path);
use File::Temp qw(tempdir);

our @EXPORT = qw(tool new_key key_set mint forge bearer b64 keys_file);

my $build = ($ENV{PENSTOCK_BUILD} || 'build') . '/tools';
my $dir = tempdir('penstock-keys-XXXXXX', TMPDIR => 1, CLEANUP => 1);

chmod 0755, $dir;
$ENV{TEST_NGINX_KEYS} = $dir;

make_path($build);

for my $name (qw(mint jwks jws)) {
    open my $lock, '>', "$build/$name.lock" or die "$build/$name.lock: $!\n";
    flock $lock, LOCK_EX;

    my $source = "tests/tools/$name.c";
    my @made = stat "$build/$name";
    my @from = map { (stat $_)[9] } $source, 'tests/tools/tool.h';

    next if @made && !grep { $_ > $made[9] } @from;

    system("gcc -O2 -o $build/$name.new $source -ljwt -ljansson -lcrypto "
           . "&& mv $build/$name.new $build/$name") == 0
        or die "$name: gcc failed\n";
}


# the output of a tool, without the final newline

sub tool {
    my ($name, @args) = @_;

    open my $out, '-|', "$build/$name", @args or die "$name: $!\n";
    local $/;
    my $text = <$out>;
    close $out or die "$name @args: failed\n";

    $text =~ s{\n\z}{};
    return $text;
}


sub keys_file { return "$dir/$_[0]" }


# new_key NAME, ALG[, BITS]

sub new_key {
    my ($name, @args) = @_;

    tool('jwks', 'gen', shift @args, "$dir/$name", @args);
}


# key_set FILE, 'NAME [KID [ALG]]'...

sub key_set {
    my ($file, @keys) = @_;
    my @args;

    for (@keys) {
        my ($name, $kid, $alg) = split;

        push @args, '--key', "$dir/$name";
        push @args, '--kid', $kid if defined $kid && $kid ne '-';
        push @args, '--alg', $alg if defined $alg;
    }

    write_file($file, tool('jwks', 'set', @args));
}


sub write_file {
    my ($file, $text) = @_;

    open my $fh, '>', "$dir/$file" or die "$dir/$file: $!\n";
    print $fh $text;
    close $fh;
}


# mint KEY, ALG, options of tests/tools/mint.c

sub mint {
    my ($key, $alg, @args) = @_;

    return tool('mint', '--key', "$dir/$key", '--alg', $alg, @args);
}


# forge KEY, ALG, HEADER, PAYLOAD, options of tests/tools/jws.c

sub forge {
    my ($key, $alg, $header, $payload, @args) = @_;

    return tool('jws', '--alg', $alg,
                $key ? ('--key', "$dir/$key") : (),
                defined $header ? ('--header', $header) : (),
                defined $payload ? ('--payload', $payload) : (), @args);
}


sub bearer { return "Authorization: Bearer $_[0]" }


sub b64 {
    my ($bytes) = @_;

    require MIME::Base64;
    my $text = MIME::Base64::encode_base64($bytes, '');
    $text =~ tr{+/}{-_};
    $text =~ s/=+$//;

    return $text;
}


1;
