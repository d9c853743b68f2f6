# An nginx for the sanitizers, from Debian's source package.  Sourced by
# build.sh.

nginx_modules="--with-http_addition_module --with-http_gunzip_module
    --with-http_gzip_static_module --with-http_random_index_module
    --with-http_secure_link_module --with-http_sub_module"


# sanitized_nginx: build/nginx-asan/nginx, compiled with AddressSanitizer and
# NGX_DEBUG_PALLOC, so that each piece of a pool is an allocation of its own
# and one byte beyond it is seen.  Without its sources, which are fetched once,
# Debian's nginx with the sanitizers' runtime loaded before all else, as a
# module built with them needs.  nginx frees little at exit, so leaks say
# nothing.
sanitized_nginx() {
    local dir=$build/nginx-asan nginx=/usr/sbin/nginx lib=

    if build_nginx asan; then
        nginx=$dir/objs/nginx

    else
        lib=$(readlink -f "$(gcc -print-file-name=libasan.so)")
        [ -f "$lib" ] || die "gcc has no libasan.so: reinstall libgcc-12-dev"
        say "NO POOL CHECKS: nginx's sources could not be had, see" \
            "$dir/log; going on with $nginx"
    fi

    printf '%s\n' '#!/bin/sh' \
        'ASAN_OPTIONS=detect_leaks=0:detect_odr_violation=0' \
        'UBSAN_OPTIONS=print_stacktrace=1' \
        'export ASAN_OPTIONS UBSAN_OPTIONS' \
        ${lib:+"LD_PRELOAD=$lib" 'export LD_PRELOAD'} \
        "exec $nginx \"\$@\"" > "$build/asan/nginx"
    chmod 755 "$build/asan/nginx"
}


# valgrind_nginx: build/valgrind/nginx, the same without AddressSanitizer, by
# valgrind; what it finds is in build/valgrind/logs/
valgrind_nginx() {
    local dir=$build/valgrind

    build_nginx palloc \
        || die "nginx's sources could not be had, see $build/nginx-palloc/log"

    rm -rf "$dir"
    mkdir -p "$dir/logs"

    printf '%s\n' '#!/bin/sh' \
        'export NGINX_UNDER_VALGRIND=1' \
        'exec valgrind -q --trace-children=yes --error-limit=no \' \
        "    --suppressions=$root/tests/run/valgrind.supp \\" \
        '    --gen-suppressions=all --num-callers=24 \' \
        "    --log-file=$dir/logs/%p $build/nginx-palloc/objs/nginx \"\$@\"" \
        > "$dir/nginx"
    chmod 755 "$dir/nginx"
}


# build_nginx asan|palloc: build/nginx-KIND/objs/nginx
build_nginx() {
    local kind=$1 dir=$build/nginx-$1 src=/usr/share/nginx/src
    local from=$build/nginx-asan/src version log stamp ld=-Wl,-E
    local cc="-g -O1 -fPIC -fno-omit-frame-pointer"

    if [ $kind = asan ]; then
        cc="-g -O1 -fPIC -fsanitize=address -fno-omit-frame-pointer"
        ld="$ld -fsanitize=address"
    fi

    version=$(dpkg-query -W -f '${source:Version}' nginx)
    stamp="$version $cc $nginx_modules"
    log=$dir/log

    if [ "$(cat "$dir/stamp" 2> /dev/null)" = "$stamp" ]; then
        return 0
    fi

    rm -rf "$dir"
    mkdir -p "$dir"

    if [ ! -x "$from/configure" ]; then
        say "fetching the sources of nginx $version (under build/)"
        mkdir -p "$build/nginx-asan"
        debian_source nginx "$version" "$from" > "$log" 2>&1 || return 1
    fi

    . $src/conf_flags
    say "building nginx with NGX_DEBUG_PALLOC ($kind)"

    (cd "$from" && ./configure "${NGX_CONF_FLAGS[@]}" $nginx_modules \
        --builddir="$dir/objs" --with-cc-opt="$cc -DNGX_DEBUG_PALLOC=1" \
        --with-ld-opt="$ld" \
        && make -j"$(nproc)" -f "$dir/objs/Makefile" binary) \
        >> "$log" 2>&1 \
        || { tail -5 "$log" >&2; return 1; }

    echo "$stamp" > "$dir/stamp"
}


# debian_source PACKAGE VERSION DIR: unpacked, with Debian's patches, from the
# archives that this machine uses; where they have not that one any more,
# another of the same upstream version
debian_source() {
    local package=$1 version=$2 dir=$3 state=$build/source.apt apt signed

    private_apt "$state"

    apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(CODENAME)' \
        'Created-By: Packages' \
        | awk -v signed="$signed" '$1 == "Debian" && !seen[$2 $3]++ {
              print "deb-src", signed, $2, $3, "main"
          }' > "$state/sources.list"

    apt-get $apt update || return 1

    for version in $version $(apt-cache $apt showsrc --only-source $package \
                              | sed -n "s/^Version: \(${version%-*}-.*\)/\1/p")
    do
        mkdir -p "$state/source"

        if (cd "$state/source" \
            && apt-get $apt source --download-only "$package=$version" \
            && dpkg-source --no-check -x *.dsc "$dir")
        then
            rm -rf "$state"
            return 0
        fi

        rm -rf "$state/source" "$dir"
    done

    return 1
}
