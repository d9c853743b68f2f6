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

    if build_sanitized_nginx; then
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


build_sanitized_nginx() {
    local dir=$build/nginx-asan src=/usr/share/nginx/src version log stamp
    local cc="-g -O1 -fPIC -fsanitize=address -fno-omit-frame-pointer"

    version=$(dpkg-query -W -f '${source:Version}' nginx)
    stamp="$version $cc $nginx_modules"
    log=$dir/log

    if [ "$(cat "$dir/stamp" 2> /dev/null)" = "$stamp" ]; then
        return 0
    fi

    rm -rf "$dir"
    mkdir -p "$dir"
    say "fetching the sources of nginx $version (under build/)"
    debian_source nginx "$version" "$dir/src" > "$log" 2>&1 || return 1

    . $src/conf_flags
    say "building nginx with AddressSanitizer and NGX_DEBUG_PALLOC"

    (cd "$dir/src" && ./configure "${NGX_CONF_FLAGS[@]}" $nginx_modules \
        --builddir="$dir/objs" --with-cc-opt="$cc -DNGX_DEBUG_PALLOC=1" \
        --with-ld-opt="-Wl,-E -fsanitize=address" \
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
