package PenstockErp;

# An upstream that is asked for cells, for t/: it answers any list of SKUs and
# locations, in an order of its own, and tells what it was asked since the last
# time somebody wanted to know.  It lives as long as the test file.
#
#     /...?sku=A,B&location=X     GET, or POST {"skus": [], "locations": []}
#     /asked                      "METHOD URI BODY" of each request, and
#                                 forgets them
#
# A SKU that begins with "U" is unknown.  as_of is "tN" in the Nth answer.
# What an answer is otherwise, the argument "do" says.

use strict;
use warnings;

use IO::Compress::Gzip ();
use IO::Socket::INET;
use POSIX ();

my ($pid, $owner, @asked);

our $port;

sub start {
    my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 64)
        or die "no port: $!\n";

    $port = $listen->sockport;
    $owner = $$;
    $pid = fork;

    defined $pid or die "fork: $!\n";

    return $port if $pid;

    $SIG{$_} = 'DEFAULT' for qw(TERM INT);
    $SIG{PIPE} = 'IGNORE';
    $SIG{ALRM} = sub { POSIX::_exit(0) };

    alarm 900;

    while (my $socket = $listen->accept) {
        $socket->autoflush(1);
        eval { serve($socket) };
        close $socket;
    }

    POSIX::_exit(0);
}


END {
    if ($pid && $$ == $owner) {
        local $?;
        kill TERM => $pid;
        waitpid $pid, 0;
    }
}


sub element {
    my ($sku, $location) = @_;
    my ($name) = $sku =~ /^\d+$/ ? $sku : do {
        (my $s = $sku) =~ s/([\\"])/\\$1/g;
        "\"$s\"";
    };

    return if $sku =~ /^U/;

    # spelt in ways that don't survive a number's or a string's value

    return "{\"sku\":$name,"
           . (defined $location ? "\"location\":\"$location\"," : '')
           . "\"qty\":10.00, \"id\":9007199254740993,\"t\":\"\\u00e9\\/\"}";
}


# an answer of these elements, as serve() makes it: with commas alone between
# them, as the gateway puts it together

sub answer {
    my $as_of = shift;

    return "{ \"as_of\" : \"$as_of\", \"items\":[" . join(',', @_)
           . "],\r\n\"limit\":18446744073709551616}\n";
}


# a preprocessor of blocks: each has a zone "a", /asked, and locations, given
# as path => what availability_cache_items says

sub blocks {
    my $locations = [@_];
    my $zone = "availability_zone a:1m;\n";
    my $text = "location = /asked {\n    proxy_pass http://127.0.0.1:$port;\n}\n";

    while (my ($path, $items) = splice @$locations, 0, 2) {
        $text .= <<"_EOC_";
location $path {
    availability_cache       a;
    availability_cache_key   \$uri;
    availability_cache_items $items;
    availability_cache_valid 200 20s;
    add_header X-Status \$availability_cache_status;
    add_header X-Cells  \$availability_cells;
    proxy_pass http://127.0.0.1:$port;
}
_EOC_
    }

    return sub {
        my $block = shift;

        $block->set_value('http_config', $zone . ($block->http_config || ''));
        $block->set_value('config', $text . ($block->config || ''));
    };
}


sub serve {
    my $socket = shift;
    my ($head, $body, %arg, @skus, @locations) = ('', '');

    while ($head !~ /\r\n\r\n$/) {
        my $line = <$socket>;
        return unless defined $line;
        $head .= $line;
    }

    my ($method, $uri) = $head =~ /^(\S+) (\S+)/;

    if ($head =~ /^Content-Length: (\d+)/mi) {
        read $socket, $body, $1;
    }

    if ($uri =~ m{^/asked}) {
        my $text = join '', map { "$_\n" } @asked;
        @asked = ();
        print $socket "HTTP/1.1 200 OK\r\nContent-Length: " . length($text)
                      . "\r\nConnection: close\r\n\r\n$text";
        return;
    }

    push @asked, $body eq '' ? "$method $uri" : "$method $uri $body";

    for (split /&/, $uri =~ /\?(.*)/ ? $1 : '') {
        my ($name, $value) = (split(/=/, $_, 2), '', '');

        s/\+/ /g, s/%([0-9a-fA-F]{2})/chr hex $1/ge for $name, $value;

        if ($name eq 'sku') {
            push @skus, grep { $_ ne '' } split /,/, $value;

        } elsif ($name eq 'location') {
            push @locations, grep { $_ ne '' } split /,/, $value;

        } else {
            $arg{$name} = $value;
        }
    }

    for ([\@skus, 'skus'], [\@locations, 'locations']) {
        my ($list, $name) = @$_;

        if ($body =~ /"$name"\s*:\s*\[([^\]]*)\]/) {
            my $ids = $1;
            while ($ids =~ /"([^"]*)"|(-?\d+)/g) {
                my $id = defined $1 ? $1 : $2;

                $id =~ s/\\u([0-9a-f]{4})/chr hex $1/gie;
                push @$list, $id;
            }
        }
    }

    # below /t and /p stock has a place, and all places are two

    if (!@locations && $uri =~ m{^/[tp]\b}) {
        @locations = ('X', 'Y');
    }

    # each once, the last one first

    my (%seen, @elements);

    for my $sku (reverse grep { !$seen{$_}++ } @skus) {
        push @elements, @locations ? map { element($sku, $_) } @locations
                                   : element($sku);
    }

    reply($socket, $method, $arg{do} || '', scalar @skus, \%arg, @elements);
}


sub reply {
    my ($socket, $method, $do, $skus, $arg, @elements) = @_;
    my $status = '200 OK';
    my $fields = '';
    my $n = @asked;

    my $text = "{ \"as_of\" : \"t$n\", \"items\":["
               . join(" ,\n", @elements)
               . "],\r\n\"limit\":18446744073709551616}\n";

    # "part" does it only where not all SKUs are asked for, as "all" says

    if ($do =~ s/^part-//) {
        $do = '' if $skus >= $arg->{all};
    }

    $text = substr($text, 0, 20)               if $do eq 'half';
    $text = '<html></html>'                    if $do eq 'html';
    $text = '{"item":[]}'                      if $do eq 'nolist';
    $text = '{"items":{"sku":"A"}}'            if $do eq 'object';
    $text = '{"items":[{"ku":"A"}]}'           if $do eq 'noid';
    $text = '{"items":[{"sku":"Z"}]}'          if $do eq 'other';
    $text = '{"items":[{"sku":1.5}]}'          if $do eq 'float';
    $text = '{"items":[],"items":[]}'          if $do eq 'twice';
    $text =~ s/limit/\xff/                     if $do eq 'bytes';
    $text = ''                                 if $do eq 'empty';
    $text .= ' ' x 20000                       if $do eq 'large';
    $text = "{\"items\":[$elements[0],$elements[0]]}" if $do eq 'double';

    $status = '404 Not Found'                  if $do eq '404';
    $status = '500 Internal Server Error'      if $do eq '500';
    $status = '503 Service Unavailable'        if $do eq '503';
    $status = '204 No Content'                 if $do eq '204';
    $status = '206 Partial Content'            if $do eq '206';

    $fields = "Set-Cookie: a=b\r\n"            if $do eq 'cookie';
    $fields = "Cache-Control: no-store\r\n"    if $do eq 'nostore';
    $fields = "Cache-Control: private\r\n"     if $do eq 'private';
    $fields = "Cache-Control: max-age=7\r\n"   if $do eq 'maxage';
    $fields = "Vary: Accept-Language\r\n"      if $do eq 'vary';
    $fields = "Vary: *\r\n"                    if $do eq 'varyall';
    $fields = "Vary: Accept-Encoding\r\n"      if $do eq 'varycode';
    $fields = "Content-Encoding: gzip\r\n"     if $do eq 'gzip';
    if ($do eq 'gzip') {
        my $zipped;

        IO::Compress::Gzip::gzip(\$text => \$zipped);
        $text = $zipped;
    }

    $fields = "Age: 4\r\n"                     if $do eq 'age';
    $fields = "ETag: \"e\"\r\nX-Extra: kept\r\n" if $do eq 'fields';
    $fields = "Retry-After: 9\r\n"             if $do eq '503';

    my $length = length $text;

    $text = substr($text, 0, $length - 5)      if $do eq 'truncate';
    $text = ''                                 if $do eq 'drop';
    return                                     if $do eq 'drop';

    print $socket "HTTP/1.1 $status\r\nContent-Type: application/json\r\n"
                  . "Content-Length: $length\r\n$fields"
                  . "Connection: close\r\n\r\n"
                  . ($method eq 'HEAD' ? '' : $text);
}


1;
