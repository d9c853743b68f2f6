# "build.sh package": a Debian package of the module, for the nginx that is
# installed here.  Sourced by build.sh.

package=libnginx-mod-http-penstock


# package_version [TIME]: the suite's own; of a git checkout also the time of
# its last commit, so that a later one is an upgrade; and the Debian release,
# so that the next release's package is an upgrade of this one's
package_version() {
    local version release

    version=$(sed -n 's/^#define NGX_HTTP_PENSTOCK_VERSION *"\(.*\)"/\1/p' \
              "$root/modules/core/ngx_http_penstock_metrics.h")
    [ -n "$version" ] || die "the sources name no version"

    if [ -n "$1" ]; then
        version=$version+git$(date -u -d "@$1" +%Y%m%d%H%M%S)
    fi

    release=$(. /etc/os-release && echo "${VERSION_ID:-}")
    echo "$version${release:+~deb$release}"
}


# Debian's way: a source tree with debian/, debhelper and what nginx-dev adds
# to it, which know nginx's ABI and how a module is enabled
build_package() {
    local dir=$build/package src=$build/package/src log=$build/package/build.log
    local maintainer version commit= time=

    rm -rf "$dir"
    mkdir -p "$src"

    (cd "$root" && cp -r config modules lua-free-config docs README.md \
        LICENSE "$src")
    cp -r "$root/tests/package/debian" "$src/debian"

    maintainer="${DEBFULLNAME:-Penstock authors}"
    maintainer="$maintainer <${DEBEMAIL:-penstock@example.org}>"
    sed -i "s/@MAINTAINER@/$maintainer/" "$src/debian/control"

    if [ -e "$root/.git" ]; then
        read -r commit time \
            <<< "$(git -C "$root" log -1 --format='%h %ct' 2> /dev/null)"
    fi

    version=$(package_version "$time")
    [ -n "$time" ] || time=$(stat -c %Y "$root/config")

    printf '%s\n' "penstock ($version) unstable; urgency=medium" '' \
        "  * Built by build.sh${commit:+ from commit $commit}." '' \
        " -- $maintainer  $(date -u -R -d "@$time")" \
        > "$src/debian/changelog"

    say "building $package $version for $(nginx -v 2>&1)"

    # -d: the packages above are there; build-essential's C++ is not needed
    (cd "$src" && dpkg-buildpackage -b -us -uc -d) > "$log" 2>&1 \
        || { grep -E 'error|Error' "$log" | head -20 >&2 || tail "$log" >&2
             die "the package could not be built; all that was said is in" \
                 "$log"; }

    rm -rf "$src"
    say "built $(ls "$dir/$package"_*.deb | sed "s,^$root/,,")"
}
