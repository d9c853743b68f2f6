#!/usr/bin/env bash
# Builds, tests and shows Penstock; prints its usage without arguments.
set -euo pipefail

root=$(cd "$(dirname "$0")" && pwd)
build=${PENSTOCK_BUILD:-$root/build}
started=$SECONDS


usage() {
    cat << END
usage: ./build.sh COMMAND

  build [plain|asan|probe]   the module: build/plain/objs/$so
                             (asan: with sanitizers and the tests' probes;
                             probe: with the tests' probes)
  package                    a Debian package of it: build/package/*.deb
  demo [--orders FILE] [--erp tryton] [--gateways N] [--keep]
                             the gateway before an ERP, orders through it;
                             tryton: a real one; N gateways on one Redis
  test [--asan | --valgrind] [--only PATTERN]
                             every test there is; --asan: only those that run
                             nginx, with sanitizers; --valgrind: a selection,
                             by valgrind; --only: only the files whose path
                             matches the regular expression
  analyze                    style and static analysis; a part of test
  bench                      what a request costs, side by side
  fuzz [SECONDS]             each parser for that long (default 30)
  matrix [--build] [--fresh] [--only PATTERN] [SUITE...]
                             builds and tests in chroots of Debian 12, 13 and
                             sid (bookworm, trixie, sid); --build: builds
                             only; --fresh: with new chroots
  soak [MINUTES]             mixed traffic with faults for that long (default
                             10): does anything grow, is a promise broken
  nightly                    what takes longer: matrix, test --valgrind,
                             1000 reloads, the image from nothing, soak 30,
                             fuzz 60
  deps [build|package|analyze|demo|test|bench|fuzz|tryton|all]
                             installs the packages a command needs
  clean                      removes what was built

Each command installs the Debian packages that it needs and that are missing
(PENSTOCK_NO_DEPS=1: none).  What is built stays under build/.
END
}


so=ngx_http_penstock_module.so


say() {
    echo "== $*"
}


die() {
    echo "build.sh: $*" >&2
    exit 1
}


. "$root/tests/run/deps.sh"
. "$root/tests/run/test.sh"
. "$root/tests/run/analyze.sh"
. "$root/tests/run/matrix.sh"
. "$root/tests/run/nginx.sh"
. "$root/tests/run/package.sh"


need() {
    if [ -z "${PENSTOCK_NO_DEPS:-}" ]; then
        install_packages "$@"
    fi

    # nginx and others stand where an ordinary user's PATH doesn't look
    PATH=$PATH:/usr/sbin:/sbin
}


# build_module KIND
build_module() {
    local kind=$1 dir=$build/$1 src=/usr/share/nginx/src sum log
    local cc="-std=gnu11 -g -O2 -Wall -Wextra -Werror -Wformat" ld=""

    case $kind in
        plain|probe)
            cc="$cc -fstack-protector-strong -D_FORTIFY_SOURCE=2"
            ;;
        asan)
            cc="$cc -fsanitize=address,undefined -fno-omit-frame-pointer"
            cc="$cc -fno-sanitize-recover=undefined"
            ld="-fsanitize=address,undefined"
            ;;
        *)
            die "there is no build \"$kind\": plain, asan or probe"
            ;;
    esac

    [ -f $src/conf_flags ] \
        || die "nginx's sources are not in $src: install nginx-dev"

    . $src/conf_flags

    sum=$(cat "$root/config" "$root/modules/penstock.map" $src/conf_flags \
              <(cd "$root" && ls modules/*/*.[ch] tests/probe/*.c \
                    2> /dev/null) \
              <(dpkg-query -W nginx-dev gcc 2> /dev/null) \
              <(echo "$root $cc $ld") | sha256sum)
    log=$dir/build.log

    if [ ! -f "$dir/objs/Makefile" ] \
       || [ "$(cat "$dir/stamp" 2> /dev/null)" != "$sum" ]
    then
        say "configuring the $kind build for $(nginx -v 2>&1)"
        rm -rf "$dir"
        mkdir -p "$dir"

        # nginx's sources as links: nothing is written outside of build/
        cp -rs $src/. "$dir/"
        (cd "$dir" && PENSTOCK_KIND=$kind bash ./configure \
            "${NGX_CONF_FLAGS[@]}" \
            --with-cc-opt="-fPIC $cc" \
            --with-ld-opt="-Wl,-z,relro -Wl,-z,now -fPIC $ld" \
            --add-dynamic-module="$root" > configure.log 2>&1) \
            || { tail -20 "$dir/configure.log" >&2
                 die "nginx's configure failed; all it said is in" \
                     "$dir/configure.log"; }
        echo "$sum" > "$dir/stamp"
    fi

    # make prints its commands; they are shown when something goes wrong
    make -C "$dir" -f objs/Makefile -j"$(nproc)" modules > "$log" 2>&1 \
        || { grep -vE '^(cc|gcc|make|	)' "$log" >&2 || cat "$log" >&2
             die "the $kind build failed; the compiler's words are above" \
                 "(all of it: $log)"; }

    say "built ${dir#"$root"/}/objs/$so"
}


case "$root" in
    *[[:space:]]*)
        die "nginx's build can't stand blanks in a path: move the repository" \
            "out of \"$root\""
        ;;
esac

command=${1:-}
[ $# = 0 ] || shift

mkdir -p "$build" 2> /dev/null \
    || die "can't write to $build: is the repository somebody else's?"

case $command in
    deps)
        for set in ${1:-test}; do
            case $set in
                build|package|analyze|demo|test|bench|fuzz|tryton)
                    set=packages_$set
                    need ${!set}
                    ;;
                all)
                    need $packages_test $packages_bench $packages_fuzz \
                        $packages_tryton
                    ;;
                *)
                    die "deps for what? build, package, analyze, demo, test," \
                        "bench, fuzz, tryton or all"
                    ;;
            esac
        done
        case ${1:-test} in
            test|all)
                need $packages_tryton
                install_test_nginx
                install_oidc_provider
                ;;
        esac
        say "all packages are there"
        ;;
    build)
        need $packages_build
        build_module "${1:-plain}"
        ;;
    package)
        need $packages_package
        build_package
        ;;
    demo)
        need $packages_demo
        case " $* " in
            *" --erp tryton "*|*" --erp=tryton "*) need $packages_tryton ;;
        esac
        build_module plain
        exec python3 "$root/tests/demo/demo.py" "$@"
        ;;
    test)
        run_tests "$@"
        ;;
    analyze)
        need $packages_analyze
        build_module plain
        run_analyze
        [ -z "$failed" ] || die "the sources have faults (see above)"
        ;;
    bench)
        need $packages_bench
        build_module plain
        exec python3 "$root/tests/bench/bench.py" "$@"
        ;;
    fuzz)
        need $packages_fuzz
        run_fuzz "${1:-30}"
        ;;
    soak)
        need $packages_demo
        build_module plain
        exec python3 "$root/tests/live/soak.py" "$@"
        ;;
    nightly)
        run_nightly
        ;;
    matrix)
        run_matrix "$@"
        ;;
    clean)
        # what stands there of chroots is root's
        rm -rf "$build" 2> /dev/null \
            || as_root rm -rf --one-file-system "$build"
        ;;
    ''|help|-h|--help)
        usage
        ;;
    *)
        usage >&2
        die "there is no command \"$command\""
        ;;
esac
