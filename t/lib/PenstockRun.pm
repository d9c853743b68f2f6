package PenstockRun;

# Loaded before each file of t/ by the runner (perl -MPenstockRun), so that
# files can run side by side and no alarm goes unseen: each gets a port and a
# folder of its own, t/probe-*.t get the module with the probes, and after
# each block the whole error log is read, what nginx said while it ended
# included.  A line that the block did not ask for by its "error_log" (or by
# "must_die", for [emerg]) makes the file fail.

use strict;
use warnings;

my $main_pid = $$;
my @bad;

# First of all END blocks, hence the last to run: nginx is down by then.

END {
    if ($$ == $main_pid && defined $Test::Nginx::Util::ServRoot) {
        scan();

        if (@bad) {
            print STDERR "# $0: not asked for in the error log:\n",
                         map { "#   $_\n" } @bad;
            $? = 1;
        }
    }
}

use Fcntl qw(LOCK_EX LOCK_NB);
use File::Path qw(make_path);
use IO::Socket::INET;

my ($block, $started, $lock);


sub take_port {
    my $dir = "$ENV{PENSTOCK_BUILD}/ports";

    make_path($dir);

    for (1 .. 1000) {
        my $port = 12000 + 2 * int(rand(3900));

        open $lock, '>', "$dir/$port" or die "$dir/$port: $!\n";
        next unless flock $lock, LOCK_EX | LOCK_NB;

        my $socket = IO::Socket::INET->new(LocalAddr => '0.0.0.0',
                                           LocalPort => $port, Listen => 1)
            or next;
        close $socket;

        return $port;
    }

    die "no free port\n";
}


sub asked {
    my ($line) = @_;

    return 0 unless $started;
    return 1 if defined $started->must_die && $line =~ /\[emerg\]/;

    my $patterns = $started->error_log;
    return 0 unless defined $patterns;

    $patterns = [split /\n+/, $patterns] unless ref $patterns;
    $patterns = [$patterns] if ref $patterns eq 'Regexp';

    for my $pattern (@$patterns) {
        next unless defined $pattern && length $pattern;
        return 1 if ref $pattern ? $line =~ $pattern
                                 : index($line, $pattern) >= 0;
    }

    return 0;
}


sub scan {
    my $log = $Test::Nginx::Util::ErrLogFile;
    my $more = 0;

    return unless $started;

    open my $in, '<', $log or return;

    while (my $line = <$in>) {
        chomp $line;

        if ($line =~ m{^\d{4}/\S+ \S+ \[(?:alert|emerg|crit)\]}) {
            next if asked($line);

        } elsif ($line =~ /AddressSanitizer|^\S+:\d+:\d+: runtime error: /) {
            $more = 25;

        } elsif ($more-- <= 0) {
            next;
        }

        push @bad, ($started ? $started->name . ': ' : '') . $line
            if @bad < 100;
    }
}


# nginx answers a bad request early and closes; a client that still writes
# then has the answer to read, not a signal to die of

sub read_after_refused_write {
    no warnings 'redefine', 'prototype';

    my $write = \&Test::Nginx::Socket::write_event_handler;

    *Test::Nginx::Socket::write_event_handler = sub ($) {
        my ($ctx) = @_;
        my $refused;

        local $SIG{PIPE} = 'IGNORE';
        local $SIG{__WARN__} = sub {
            $refused = $_[0] =~ /^write failed: (?:Broken pipe|Connection reset)/
                or warn @_;
        };

        my $rc = $write->($ctx);
        return $rc unless $refused;

        $ctx->{resp} = '' if $ctx->{resp} =~ /^write failed: /;
        return 2;
    };
}


sub setup {
    my ($file) = $0 =~ m{([^/]+)\.t$};
    my $probe = defined $file && $file =~ /^probe-/;

    $file = "pid-$$" unless defined $file;

    my $port = $ENV{TEST_NGINX_PORT} || take_port();

    $ENV{TEST_NGINX_PORT} = $ENV{TEST_NGINX_SERVER_PORT} = $port;
    $ENV{TEST_NGINX_STREAM_PORT} = $port + 1;
    $ENV{TEST_NGINX_SERVROOT} = "$ENV{PENSTOCK_SERVROOTS}/$file"
        if $ENV{PENSTOCK_SERVROOTS};
    $ENV{TEST_NGINX_LOAD_MODULES} = $ENV{PENSTOCK_PROBE_MODULE}
        if $probe && $ENV{PENSTOCK_PROBE_MODULE};

    make_path($ENV{TEST_NGINX_SERVROOT}) if $ENV{TEST_NGINX_SERVROOT};

    require Test::Nginx::Util;

    # it listens on all addresses otherwise
    $Test::Nginx::Util::ServerPort = "127.0.0.1:$port";

    # what nginx says to the terminal when it must not start is in its log too

    Test::Nginx::Util::add_block_preprocessor(sub {
        read_after_refused_write() unless $block;
        $block = shift;
        $block->set_value('suppress_stderr', 1) if defined $block->must_die;
    });

    $SIG{__WARN__} = sub {
        warn @_ unless $block && defined $block->must_die
                       && $_[0] =~ /^WARNING: .* \[emerg\] /;
    };

    my $setup_server_root = \&Test::Nginx::Util::setup_server_root;

    no warnings 'redefine', 'prototype';

    # called before each start of nginx; empties the log

    *Test::Nginx::Util::setup_server_root = sub ($) {
        scan();
        $started = $block;
        $setup_server_root->(@_);
    };
}


setup();

1;
