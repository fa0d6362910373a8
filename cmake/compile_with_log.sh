#!/bin/sh
# compile_with_log.sh LOG COMMAND...: runs a compiler whose remarks go to LOG; they are shown, too,
# when it fails.
log=$1
shift
"$@" >"$log" 2>&1 && exit 0
status=$?
cat "$log" >&2
exit $status
