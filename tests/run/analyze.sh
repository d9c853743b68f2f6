# Static analysis and style, of "build.sh test".  Sourced by build.sh.

# the rules of vera++ that nginx's style can live with: no CR, trailing blanks
# or tabs, 80 columns, at most two empty lines, files that can be read in one
# go, keywords and commas with their blanks, braces around each body
vera_rules="F001 L001 L002 L004 L005 L006 T004 T007 T008 T009 T019"


run_analyze() {
    step "style" check_style
    step "gcc's analyzer" analyze_gcc
    step "cppcheck" analyze_cppcheck
}


# sources: the C files, of the repository's root
sources() {
    (cd "$root" && ls modules/*/*.[ch] tests/*/*.[ch])
}


check_style() {
    local rule args= out

    for rule in $vera_rules; do
        args="$args -R $rule"
    done

    out=$(cd "$root"
          vera++ $args -P max-line-length=80 -P max-file-length=1000 \
                 -P max-consecutive-empty-lines=2 $(sources) 2>&1
          vera++ --root tests/run/vera/ -R functions $(sources) 2>&1)

    [ -z "$out" ] || { echo "$out"; return 1; }
    echo "$(sources | grep -c .) files"
}


# analyze_gcc: gcc's analyzer, without optimization, which hides paths from
# it.  Its uninitialized values are wrong about structures that come zeroed
# from elsewhere; the compiler's own warning and valgrind look for those.
analyze_gcc() {
    local out inc

    # as the module is compiled
    inc=$(cd "$build/plain" \
          && make -f objs/Makefile -n -B modules \
             | grep -oE -- '-I ?[^ \\]+' | sort -u | tr '\n' ' ')

    out=$(cd "$build/plain" && ls "$root"/modules/*/*.c \
          | xargs -P "$(nproc)" -n 1 gcc -std=gnu11 -O0 -fanalyzer -S \
                -o /dev/null $inc -Wno-unused-parameter \
                -Wno-analyzer-use-of-uninitialized-value 2>&1) \
        || { echo "$out"; return 1; }

    [ -z "$out" ] || { echo "$out"; return 1; }
}


analyze_cppcheck() {
    local args= dir

    for dir in "$root"/modules/*/; do
        args="$args -I $dir"
    done

    (cd "$root" && cppcheck -q -j"$(nproc)" --std=c11 --inline-suppr \
        --enable=warning,performance,portability --error-exitcode=1 \
        $args modules tests/probe tests/fuzz tests/tools tests/bench tests/demo)
}
