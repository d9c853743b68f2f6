# "build.sh matrix": the module with other versions of what it stands on, in
# chroots that debootstrap makes.  Sourced by build.sh.

matrix_suites="bookworm trixie sid"

# What a suite does not have is left out of its chroot, and said.
packages_matrix="gcc libc6-dev make nginx nginx-dev libhiredis-dev
    libjansson-dev libssl-dev libjwt-dev libcmocka-dev redis-server
    valkey-server python3 curl openssl perl procps libipc-run-perl
    liblist-moreutils-perl libscalar-list-utils-perl libtest-base-perl
    libtest-longstring-perl libtext-diff-perl liburi-perl libwww-perl"

# what is run in each, the second again with Valkey where there is one
matrix_tests='^t/|^tests/unit/|^tests/fuzz/|^tests/live/test_(http_versions|push|redis|redis_fakes|redis_tls)\.py'
matrix_valkey='^tests/live/test_(push|ratelimit|redis|redis_tls)\.py'


# run_matrix [--build] [--fresh] [--only PATTERN] [SUITE...]
run_matrix() {
    local suite suites= verdict build_only= fresh= only=

    while [ $# -gt 0 ]; do
        case $1 in
            --build) build_only=1 ;;
            --fresh) fresh=1 ;;
            --only) only=${2:?--only needs a pattern}; shift ;;
            bookworm|trixie|sid) suites="$suites $1" ;;
            *) die "matrix knows --build, --fresh, --only PATTERN and the" \
                   "suites $matrix_suites, not \"$1\"" ;;
        esac
        shift
    done

    need debootstrap perl
    [ -n "${PENSTOCK_NO_DEPS:-}" ] || install_test_nginx
    mkdir -p "$build/matrix"

    for suite in ${suites:-$matrix_suites}; do
        [ -z "$fresh" ] || remove_chroot $suite
        step "$suite: chroot" make_chroot $suite
        [ "$(chroot_state $suite)" = ready ] || continue

        chroot_versions $suite
        step "$suite: build" \
            in_chroot $suite ./build.sh build plain
        step "$suite: package" package_in_chroot $suite
        [ -z "$build_only" ] || continue

        step "$suite: tests" \
            in_chroot $suite ./build.sh test \
 --only "${only:-$matrix_tests}"

        if [ -z "$only" ] \
           && [ -x "$build/matrix/$suite/usr/bin/valkey-server" ]
        then
            step "$suite: tests with Valkey" \
                in_chroot $suite env PENSTOCK_REDIS_SERVER=valkey-server \
                    ./build.sh test --only "$matrix_valkey"
        fi
    done

    printf '\n'
    for suite in ${suites:-$matrix_suites}; do
        cat "$build/matrix/$suite.versions" 2> /dev/null || true
    done
    printf '\n%s' "$report"

    [ -z "$failed" ] || die "the matrix has failures (see above)"
    say "the matrix passed in $((SECONDS - started)) s"
}


chroot_state() {
    cat "$build/matrix/$1.state" 2> /dev/null || true
}


# remove_chroot SUITE: nothing of it is mounted outside of in_chroot
remove_chroot() {
    as_root rm -rf --one-file-system "$build/matrix/$1" \
        "$build/matrix/$1.build" "$build/matrix/$1.state"
}


# make_chroot SUITE: as the archive that this machine uses has it
make_chroot() {
    local suite=$1 dir=$build/matrix/$1 log=$build/matrix/$1.log
    local name have= lack= uri

    [ "$(chroot_state $suite)" != ready ] || return 0

    remove_chroot $suite
    debian_uri || uri=http://deb.debian.org/debian

    as_root nice debootstrap --variant=minbase $suite "$dir" "$uri" \
        > "$log" 2>&1 \
        || { tail -5 "$log"; echo "debootstrap failed: $log"; return 1; }

    # a mirror that stands still will do; services stay off
    echo 'Acquire::Check-Valid-Until "false";' \
        | as_root tee "$dir/etc/apt/apt.conf.d/90penstock" > /dev/null
    printf '%s\n' '#!/bin/sh' 'exit 101' \
        | as_root tee "$dir/usr/sbin/policy-rc.d" > /dev/null
    as_root chmod 755 "$dir/usr/sbin/policy-rc.d"
    as_root mkdir -p "$dir/penstock" "$dir/build"
    mkdir -p "$build/matrix/$suite.build"

    chroot_run $suite apt-get update -q >> "$log" 2>&1 \
        || { tail -5 "$log"; echo "apt failed: $log"; return 1; }

    for name in $packages_matrix; do
        if chroot_run $suite apt-cache show -q $name > /dev/null 2>&1; then
            have="$have $name"
        else
            lack="$lack $name"
        fi
    done

    chroot_run $suite apt-get install -y -q --no-install-recommends $have \
        >> "$log" 2>&1 \
        || { tail -5 "$log"; echo "apt failed: $log"; return 1; }

    [ -z "$lack" ] || echo "$suite has no$lack"
    echo ready > "$build/matrix/$suite.state"
}


# chroot_run SUITE COMMAND...: as root, with its own mounts and processes, all
# of which end with the command
chroot_run() {
    local dir=$build/matrix/$1

    shift
    as_root nice unshare --mount --pid --fork --kill-child \
        sh -c '
            dir=$1 root=$2 out=$3
            shift 3
            mount -t proc proc "$dir/proc"
            mount --bind /dev "$dir/dev"
            mount --bind "$root" "$dir/penstock"
            mount -o remount,bind,ro "$dir/penstock"
            mount --bind "$out" "$dir/build"
            exec chroot "$dir" env -i HOME=/root LC_ALL=C.UTF-8 \
                PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin \
                DEBIAN_FRONTEND=noninteractive "$@"
        ' sh "$dir" "$root" "$dir.build" "$@"
}


# in_chroot SUITE COMMAND...: from the repository, which is read-only there
in_chroot() {
    local suite=$1

    shift
    rm -rf "$build/matrix/$suite.build/test-nginx"
    [ ! -d "$build/test-nginx" ] \
        || cp -r "$build/test-nginx" "$build/matrix/$suite.build/test-nginx"

    chroot_run $suite sh -c 'cd /penstock && exec "$@"' sh \
        env PENSTOCK_BUILD=/build PENSTOCK_NO_DEPS=1 \
            PENSTOCK_JOBS="${PENSTOCK_JOBS:-2}" "$@"
}


# package_in_chroot SUITE: built there, and loaded by that nginx
package_in_chroot() {
    in_chroot $1 ./build.sh package \
        && chroot_run $1 sh -exc '
            dpkg -i /build/package/'$package'_*.deb
            ls /etc/nginx/modules-enabled/*penstock*
            nginx -t
            dpkg -P '$package'
            nginx -t
        '
}


# chroot_versions SUITE: says what is tested there
chroot_versions() {
    { chroot_run $1 dpkg-query -W -f '${Package} ${Version}\n' \
          nginx 'libhiredis[0-9]*' libjansson4 'libjwt[0-9]*' \
          openssl gcc redis-server valkey-server curl 2> /dev/null || true; } \
        | awk -v suite=$1 '
              NF > 1 { all = all (all ? ", " : "") $1 " " $2 }
              END { print suite ": " all }
          ' > "$build/matrix/$1.versions"
    cat "$build/matrix/$1.versions"
}
