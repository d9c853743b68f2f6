#!/usr/bin/env bash
# Builds, tests and shows Penstock; prints its usage without arguments.
set -euo pipefail

root=$(cd "$(dirname "$0")" && pwd)
build=${PENSTOCK_BUILD:-$root/build}

# build_module KIND: plain, asan or probe (with the tests' probe module)
build_module() {
    local kind=$1 dir=$build/$1 cc="-std=gnu11 -Wall -Wextra -Werror" ld=""

    if [ "$kind" = asan ]; then
        cc="$cc -fsanitize=address,undefined -fno-omit-frame-pointer"
        cc="$cc -fno-sanitize-recover=undefined"
        ld="-fsanitize=address,undefined"
    fi

    . /usr/share/nginx/src/conf_flags

    local sum
    sum=$(cat "$root/config" /usr/share/nginx/src/conf_flags \
          <(ls "$root"/modules/*/*.[ch]) <(nginx -v 2>&1) \
          <(echo "$cc $ld") | sha256sum)

    if [ ! -f "$dir/objs/Makefile" ] || [ "$(cat "$dir/stamp" 2>/dev/null)" != "$sum" ]; then
        rm -rf "$dir"
        mkdir -p "$dir"
        cp -rs /usr/share/nginx/src/. "$dir/"
        (cd "$dir" && PENSTOCK_KIND=$kind bash ./configure \
            "${NGX_CONF_FLAGS[@]}" \
            --with-cc-opt="-g -O2 -fstack-protector-strong -Wformat -Werror=format-security -fPIC -D_FORTIFY_SOURCE=2 $cc" \
            --with-ld-opt="-Wl,-z,relro -Wl,-z,now -fPIC $ld" \
            --add-dynamic-module="$root" > configure.log 2>&1) \
            || { tail -20 "$dir/configure.log"; echo "configure failed"; exit 1; }
        echo "$sum" > "$dir/stamp"
    fi

    make -s -C "$dir" -f objs/Makefile -j"$(nproc)" modules
    echo "built $dir/objs/ngx_http_penstock_module.so"
}

case ${1:-} in
    build) build_module "${2:-plain}" ;;
    *) echo "usage: ./build.sh build [plain|asan|probe]" ;;
esac
