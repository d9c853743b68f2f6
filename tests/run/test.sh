# What "build.sh test" and "build.sh fuzz" run.  Sourced by build.sh.

# most files wait more than they compute
jobs=${PENSTOCK_JOBS:-$((2 * $(nproc)))}
asan_only=
valgrind=
only=
failed=
report=


# step NAME COMMAND...: runs it; its output is the runner's own, its time and
# verdict come again in the table at the end
step() {
    local name=$1 from=$SECONDS verdict

    shift
    say "$name"

    if "$@"; then
        verdict=ok
    else
        verdict=FAILED
        failed=1
    fi

    report="$report$(printf '%-44s %6s  %4d s' "$name" $verdict \
                            $((SECONDS - from)))"$'\n'
}


# pick FILE...: those that exist and match --only
pick() {
    local file

    for file; do
        if [ -e "$file" ] && echo "${file#"$root"/}" | grep -qE -e "$only"
        then
            echo "$file"
        fi
    done
}


run_tests() {
    local kind

    while [ $# -gt 0 ]; do
        case $1 in
            --asan) asan_only=1 ;;
            --valgrind) valgrind=1 ;;
            --only) only=${2:?--only needs a pattern}; shift ;;
            *) die "test knows --asan, --valgrind and --only PATTERN, not" \
                   "\"$1\"" ;;
        esac
        shift
    done

    need $packages_test

    if [ -z "${PENSTOCK_NO_DEPS:-}" ]; then
        install_test_nginx
        [ -z "$(pick "$root"/tests/live/test_{oidc,credentials}.py)" ] \
            || install_oidc_provider
        [ -z "$(pick "$root/tests/live/test_http_cache_suite.py")" ] \
            || install_node
        [ -z "$(pick "$root"/tests/*/test_tryton*.py)" ] \
            || need $packages_tryton
    fi

    export PENSTOCK_BUILD=$build PENSTOCK_ROOT=$root
    export PERL5LIB=$root/t/lib:$build/test-nginx/usr/share/perl5

    if [ -n "$valgrind" ]; then
        need valgrind
        valgrind_tests
        end_tests
        return
    fi

    if [ -z "$asan_only" ] \
       && [ -n "$(pick "$root"/t/*.t "$root"/tests/live/test_*.py)" ]
    then
        build_module plain
        build_module probe
    fi
    if [ -n "$asan_only" ] || [ -z "$only" ]; then
        build_module asan
        sanitized_nginx
    fi

    if [ -z "$only$asan_only" ]; then
        step "exported symbols" check_symbols
        step "files free of nginx" check_includes
        step "directives and their documentation" \
            python3 "$root/tests/run/check_docs.py" "$root"
        run_analyze
    fi

    if [ -z "$asan_only" ]; then
        [ -z "$(pick "$root"/tests/{unit/test,fuzz/fuzz}_*.c)" ] \
            || step "unit tests" unit_tests
        [ -z "$(pick "$root"/tests/erp/test_*.py)" ] \
            || step "the ERP's own tests" \
                    python_tests erp "$root"/tests/erp/test_*.py
        nginx_tests plain "$build/plain/objs/$so" "$build/probe/objs/$so" \
            /usr/sbin/nginx
    fi

    if [ -n "$asan_only" ] || [ -z "$only" ]; then
        nginx_tests asan "$build/asan/objs/$so" "$build/asan/objs/$so" \
            "$build/asan/nginx"
    fi

    end_tests
}


end_tests() {
    [ -n "$report" ] || die "no test matches \"$only\""

    printf '\n%s' "$report"

    if [ -n "$failed" ]; then
        die "some tests failed (see above)"
    fi

    say "all tests passed in $((SECONDS - started)) s"
}


# nginx_tests KIND MODULE PROBE_MODULE NGINX
nginx_tests() {
    local kind=$1 title=

    case $kind in
        asan) title=", with sanitizers" ;;
        valgrind) title=", by valgrind" ;;
    esac

    export PENSTOCK_MODULE=$2 PENSTOCK_PROBE_MODULE=$3 PENSTOCK_NGINX=$4
    export PENSTOCK_KIND=$kind

    [ -z "$(pick "$root"/t/*.t)" ] \
        || step "t/$title" prove_tests "$kind"
    [ -z "$(pick "$root"/tests/live/test_*.py)" ] \
        || step "live tests$title" \
                python_tests "live-$kind" "$root"/tests/live/test_*.py
}


# a selection that meets each feature; everything takes thirty times as long
valgrind_tests() {
    only=${only:-'t/(00|30|36|41|50|probe-01|probe-60)'}
    jobs=$(nproc)

    build_module plain
    build_module probe
    valgrind_nginx

    export PENSTOCK_NGINX_TIMEOUT=120
    nginx_tests valgrind "$build/plain/objs/$so" "$build/probe/objs/$so" \
        "$build/valgrind/nginx"
    step "what valgrind found" valgrind_found
}


valgrind_found() {
    local logs

    logs=$(find "$build/valgrind/logs" -type f -size +0)
    echo "$(ls "$build/valgrind/logs" | grep -c .) processes"
    [ -z "$logs" ] || { head -60 $logs; return 1; }
}


# nginx loads modules RTLD_GLOBAL: what we export could replace a symbol of
# another module, or be replaced
check_symbols() {
    local want="ngx_module_names ngx_module_order ngx_modules" have

    have=$(nm -D --defined-only "$build/plain/objs/$so" \
           | awk '{ print $NF }' | sort | xargs)

    echo "exported: $have"
    [ "$have" = "$want" ] || { echo "only these may be: $want"; return 1; }
}


# a file without ngx_ in its name is unit-tested and fuzzed without nginx
check_includes() {
    local files

    files=$(cd "$root" && ls modules/*/*.[ch] | grep -v '/ngx_')
    echo "$(echo "$files" | grep -c .) files"
    ! (cd "$root" && grep -nE '^#[[:space:]]*include.*ngx_' $files)
}


unit_tests() {
    local test name log bad=0

    mkdir -p "$build/unit"
    log=$build/unit/build.log
    make -C "$root/tests/unit" -s -j"$jobs" OUT="$build/unit" \
        > "$log" 2>&1 || { cat "$log"; return 1; }

    for test in $(pick "$root"/tests/unit/test_*.c); do
        name=$(basename "$test" .c)
        echo "-- $name"
        (cd "$root/tests/unit" && timeout 300 "$build/unit/$name") 2>&1 \
            || { echo "$name: exit status $?"; bad=1; }
    done

    for test in $(pick "$root"/tests/fuzz/fuzz_*.c); do
        name=$(basename "$test" .c)
        echo "-- $name, replayed"
        timeout 300 "$build/unit/$name" \
            $(ls -d "$root/tests/fuzz/corpus/${name#fuzz_}"/* 2> /dev/null) \
            2>&1 || { echo "$name: exit status $?"; bad=1; }
    done

    return $bad
}


prove_tests() {
    local roots=$build/servroots/$1 status=0

    rm -rf "$roots"
    mkdir -p "$roots"

    (cd "$root" && env -u LD_PRELOAD \
        PENSTOCK_SERVROOTS="$roots" \
        TEST_NGINX_BINARY="$PENSTOCK_NGINX" \
        TEST_NGINX_LOAD_MODULES="$PENSTOCK_MODULE" \
        TEST_NGINX_NO_SHUFFLE=1 TEST_NGINX_TIMEOUT=${PENSTOCK_NGINX_TIMEOUT:-10} \
        timeout 1500 prove --timer -j "$jobs" \
        --exec 'perl -MPenstockRun' $(pick t/*.t)) 2>&1 || status=$?

    [ $status = 0 ] || echo "error logs: $roots/*/logs/error.log (of each" \
                            "file's last block)"
    return $status
}


# python_tests NAME FILE...: each a process of its own, side by side, large
# files first, as they mostly take long
python_tests() {
    local name=$1

    shift
    mkdir -p "$build/logs/$name"
    pick "$@" | xargs ls -S | PENSTOCK_LOGS=$build/logs/$name \
        xargs -P "$jobs" -n 1 bash "$root/tests/run/python.sh"
}


run_fuzz() {
    local seconds=$1 target name bad=

    case $seconds in
        ''|*[!0-9]*) die "fuzz takes a number of seconds, not \"$seconds\"" ;;
    esac

    mkdir -p "$build/fuzz"
    make -C "$root/tests/fuzz" -s -j"$(nproc)" OUT="$build/fuzz" \
        || die "the fuzz targets don't compile; clang's words are above"

    for target in "$root"/tests/fuzz/fuzz_*.c; do
        [ -e "$target" ] || die "there are no fuzz targets"
        name=$(basename "$target" .c)
        say "$name for $seconds s"
        mkdir -p "$build/fuzz/corpus/$name" "$build/fuzz/found/$name"
        "$build/fuzz/$name" -max_total_time="$seconds" -print_final_stats=1 \
            -verbosity=0 -timeout=10 -rss_limit_mb=2048 \
            -artifact_prefix="$build/fuzz/found/$name/" \
            "$build/fuzz/corpus/$name" \
            $(ls -d "$root/tests/fuzz/corpus/${name#fuzz_}" 2> /dev/null) \
            || { echo "$name: the input is in build/fuzz/found/$name"
                 bad=1; }
    done

    [ -z "$bad" ] || die "a fuzz target failed"
    say "no fuzz target failed"
}


# What takes too long for each change: other versions, valgrind, many reloads,
# more time for the fuzzers.
run_nightly() {
    step "other versions" "$root/build.sh" matrix
    step "by valgrind" "$root/build.sh" test --valgrind
    step "1000 reloads" env PENSTOCK_RELOADS=1000 PENSTOCK_TIMEOUT=3600 \
        "$root/build.sh" test --only tests/live/test_upgrade
    step "half an hour of faults" "$root/build.sh" soak 30
    step "the image from nothing" env PENSTOCK_IMAGE=whole \
        "$root/build.sh" test --only tests/live/test_package
    step "fuzzers" "$root/build.sh" fuzz 60

    printf '\n%s' "$report"
    [ -z "$failed" ] || die "some of it failed (see above)"
    say "all of it passed in $((SECONDS - started)) s"
}
