# Packages: which are needed for what, and how they get here.  Sourced by
# build.sh.

packages_build="gcc libc6-dev make nginx nginx-dev libhiredis-dev
    libjansson-dev libjwt-dev libpcre2-dev libssl-dev"
packages_package="$packages_build debhelper dpkg-dev"
packages_demo="$packages_build redis-server python3 curl openssl"
packages_analyze="$packages_build cppcheck vera++"
packages_test="$packages_demo $packages_analyze $packages_package
    debootstrap libcmocka-dev perl procps prometheus
    libipc-run-perl liblist-moreutils-perl libscalar-list-utils-perl
    libtest-base-perl libtest-longstring-perl libtext-diff-perl liburi-perl
    libwww-perl libtest-json-schema-acceptance-perl python3-jsonschema"
packages_bench="$packages_demo haproxy wrk libnginx-mod-http-lua lua-nginx-redis"
packages_fuzz="$packages_build clang libclang-rt-dev"
packages_tryton="python3 tryton-server tryton-modules-sale tryton-modules-stock"

# the packages above that start a service when they are installed
packages_services="nginx redis-server prometheus haproxy tryton-server"


# missing PACKAGE...: those that are not installed
missing() {
    local name have

    have=" $(dpkg-query -W -f '${Package} ${db:Status-Abbrev}\n' "$@" \
             2>/dev/null | awk '$2 ~ /^.i/ { printf "%s ", $1 }' || true) "

    for name; do
        case $have in
            *" $name "*) ;;
            *) echo "$name" ;;
        esac
    done
}


# as_root COMMAND...: through sudo where needed
as_root() {
    if [ "$(id -u)" = 0 ]; then
        env DEBIAN_FRONTEND=noninteractive "$@"
    else
        sudo env DEBIAN_FRONTEND=noninteractive "$@"
    fi
}


# Packages install their services started.  A gateway that this script runs
# brings its own Redis and nginx on free ports, so a fresh nginx or Redis on
# 80 and 6379 would only be in the way: Debian's policy-rc.d says no to the
# start of services that are installed just now, for as long as this script
# runs.  A policy that is there already is left alone.
forbid_services() {
    local policy=/usr/sbin/policy-rc.d list=$1

    [ -n "$list" ] && [ ! -e $policy ] || return 0

    printf '%s\n' '#!/bin/sh' \
        '# written by build.sh of penstock, removed when it ends' \
        "kill -0 $$ 2>/dev/null || exit 0" \
        "case \"\$2\" in *start*) ;; *) exit 0 ;; esac" \
        "case \"\${1%.service}\" in $list) exit 101 ;; esac" \
        'exit 0' > "$build/policy-rc.d"

    as_root install -m 755 "$build/policy-rc.d" $policy
    forbidden=$policy
}


allow_services() {
    if [ -n "${forbidden:-}" ]; then
        as_root rm -f "$forbidden"
        forbidden=
    fi
}


# install_packages PACKAGE...: what is missing of them
install_packages() {
    local need services name log=$build/apt.log

    command -v dpkg-query > /dev/null && command -v apt-get > /dev/null \
        || die "there is no apt here: this is made for Debian 12." \
               "Install the equivalents of: $(echo "$@"), then try again" \
               "with PENSTOCK_NO_DEPS=1."

    need=$(missing "$@" | xargs)
    [ -n "$need" ] || return 0

    if [ "$(id -u)" != 0 ]; then
        command -v sudo > /dev/null \
            || die "packages are missing and there is no sudo." \
                   "As root, run: apt-get install $need"
        sudo -n true 2> /dev/null || [ -t 0 ] \
            || die "packages are missing and sudo asks for a password." \
                   "Run once: sudo apt-get install $need"
    fi

    say "installing $need"
    mkdir -p "$build"

    services=
    for name in $(missing $packages_services); do
        services="$services${services:+|}$name"
    done
    case $services in
        *prometheus*) services="$services|prometheus-node-exporter" ;;
    esac
    case $services in
        *tryton*) services="$services|tryton-server-cron|tryton-server-worker"
    esac

    trap allow_services EXIT
    trap 'exit 130' INT TERM
    forbid_services "$services"

    # package lists are fetched only when those here can't serve
    if ! apt_install -s $need > "$log" 2>&1 \
       || ! apt_install $need
    then
        say "fetching the package lists"
        as_root apt-get update -q > "$log" 2>&1 \
            || { tail -5 "$log" >&2
                 say "some package lists could not be fetched; going on"; }
        apt_install -s $need > "$log" 2>&1 \
            || { cat "$log" >&2
                 die "apt knows no way to install: $need. This is made for" \
                     "Debian 12 (bookworm); see that its main archive is in" \
                     "/etc/apt/sources.list and that the network is up."; }
        apt_install $need \
            || { grep '^E:' "$log" | head -3 >&2
                 die "apt-get could not install the packages (all it said:" \
                     "$log). See that the network is up and no other apt" \
                     "is running, then run this again."; }
    fi

    allow_services
    trap - EXIT INT TERM
}


apt_install() {
    if [ "$1" = -s ]; then
        apt-get install -y --no-install-recommends "$@"
        return
    fi

    # a line for each package; what maintainer scripts say goes to the log
    as_root apt-get install -y --no-install-recommends -q \
        -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@" \
        < /dev/null 2> "$build/apt.log" \
        | awk '/^(Get:|Setting up|Need to get)/ { print "    " $0; fflush() }'
}


# install_node: any Node.js that is there will do; else Debian's is installed
install_node() {
    command -v node > /dev/null && command -v npm > /dev/null \
        || need nodejs npm
}


# install_oidc_provider: the OAuth server of the live tests, from the npm
# registry, as its lock file says and under the build folder
install_oidc_provider() {
    local dir=$build/oidc from=$root/tests/live/oidc

    if cmp -s "$from/package-lock.json" "$dir/installed.json"; then
        return
    fi

    install_node

    say "fetching oidc-provider (unpacked under build/)"
    rm -rf "$dir"
    mkdir -p "$dir"
    cp "$from/package.json" "$from/package-lock.json" "$dir"

    (cd "$dir" && npm ci --no-audit --no-fund --ignore-scripts) \
        > "$build/npm.log" 2>&1 \
        || { tail -5 "$build/npm.log" >&2
             die "npm could not fetch oidc-provider (all it said:" \
                 "$build/npm.log). See that the npm registry can be reached."; }

    cp "$from/package-lock.json" "$dir/installed.json"
}


# install_test_nginx: Debian 12 has all that Test::Nginx needs, but not
# Test::Nginx itself.  The package of a newer suite is pure Perl; it is
# unpacked under the build folder, and nothing of that suite is installed.
install_test_nginx() {
    local dir=$build/test-nginx state=$build/test-nginx.apt
    local apt signed uri suite

    if [ -f "$dir/usr/share/perl5/Test/Nginx/Socket.pm" ]; then
        return 0
    fi

    if perl -MTest::Nginx::Util -e 1 2> /dev/null; then
        return 0
    fi

    debian_uri || { say "fetching the package lists"
                    as_root apt-get update -q > "$build/apt.log" 2>&1 || true
                    debian_uri; } \
        || die "no Debian archive is in apt's sources, so Test::Nginx can't" \
               "be fetched. Add one to /etc/apt/sources.list."

    private_apt "$state"

    for suite in forky sid; do
        say "fetching Test::Nginx from Debian $suite (unpacked under build/," \
            "not installed)"

        echo "deb $signed $uri $suite main" > "$state/sources.list"

        if apt-get $apt update > "$state/log" 2>&1 \
           && (cd "$state" && apt-get $apt download libtest-nginx-perl) \
              >> "$state/log" 2>&1
        then
            mkdir -p "$dir.new"
            dpkg -x "$state"/libtest-nginx-perl_*.deb "$dir.new"
            rm -rf "$dir" "$state"
            mv "$dir.new" "$dir"
            return 0
        fi
    done

    cat "$state/log" >&2
    die "Test::Nginx (libtest-nginx-perl) could not be fetched from $uri;" \
        "apt's messages are above. See that the network is up."
}


# private_apt DIR: sets apt, options for apt-get with state of its own in DIR,
# whose sources.list is the caller's to write; and signed, an option of its
# lines.  The archive's signature is checked; its expiry is not, so that a
# mirror that stands still will do.
private_apt() {
    local state=$1

    signed=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -f $signed ] && signed="[signed-by=$signed]" || signed=

    rm -rf "$state"
    mkdir -p "$state/lists/partial" "$state/archives/partial" "$state/etc"
    : > "$state/status"

    apt="-q -o Dir::Etc::SourceList=$state/sources.list
         -o Dir::Etc::SourceParts=$state/etc
         -o Dir::Etc::Preferences=$state/none
         -o Dir::Etc::PreferencesParts=$state/etc
         -o Dir::State=$state -o Dir::State::Lists=$state/lists
         -o Dir::State::Status=$state/status
         -o Dir::Cache=$state -o Dir::Cache::Archives=$state/archives
         -o Acquire::Check-Valid-Until=false
         -o Acquire::Languages=none -o APT::Sandbox::User=
         -o APT::Update::Post-Invoke::= -o Debug::NoLocking=1"
}


# debian_uri: sets uri to the Debian archive this machine uses
debian_uri() {
    uri=$(apt-get indextargets \
              --format '$(ORIGIN) $(CODENAME) $(COMPONENT) $(SITE)' \
              'Created-By: Packages' 2>/dev/null \
          | awk '$1 == "Debian" && $2 !~ /-/ && $3 == "main" { print $4
                                                              exit }')
    [ -n "$uri" ]
}
