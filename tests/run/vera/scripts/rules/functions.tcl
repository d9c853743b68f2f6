#!/usr/bin/tclsh
# As in nginx's sources: what ends in the first column, a function or a type,
# is followed by an empty line, a function by two; a function's name begins
# its line.

foreach f [getSourceFileNames] {
    set number 0
    set before {}
    set gap 0

    foreach line [getAllLines $f] {
        incr number

        if {$line == ""} {
            incr gap
            continue
        }

        if {$before == "\}" && $gap != 2 && ![regexp {^#} $line]} {
            report $f $number "not two empty lines behind a function"
        }

        if {$line == "\{" && [regexp {^[a-z].*\)$} $before] \
            && ![regexp {^[a-z_0-9A-Z]+\(} $before]} {
            report $f $number "a function's name does not begin its line"
        }

        set before $line
        set gap 0
    }
}
