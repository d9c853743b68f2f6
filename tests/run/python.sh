# python.sh FILE: runs one unittest file, with a time limit; prints its
# summary, and all it said if it failed.  Several run side by side, so the
# output comes in one piece.

file=$1
name=$(basename "$file" .py)
log=$PENSTOCK_LOGS/$name.log
from=$SECONDS

cd "$(dirname "$file")" || exit 1

PYTHONDONTWRITEBYTECODE=1 timeout -k 10 ${PENSTOCK_TIMEOUT:-600} python3 "$file" -v \
    > "$log" 2>&1 < /dev/null
status=$?

if [ $status = 0 ]; then
    out=$(grep -A2 '^Ran ' "$log" | grep .)
else
    out=$(cat "$log"
          [ $status != 124 ] || echo "$name: still running after ${PENSTOCK_TIMEOUT:-600} s")
fi

printf '%s\n' "-- $name ($((SECONDS - from)) s)
$out"

exit $((status != 0))
