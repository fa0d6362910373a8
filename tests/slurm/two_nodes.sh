# What the tests on two nodes share. Source it with `root` set; it skips (status 77) where Slurm cannot
# run, and gives
#
#   $work               a folder of the test's own, removed at its end, which also stops the daemons; a
#                       test that fails shows the last lines of $work/*.out and $work/slurm/*.log. A
#                       function before_stop is called before
#   fail, check_equal   end the test
#   job_field JOB FIELD, has_ended JOB, wait_for_end JOB
source "$root/tests/slurm/local_slurm.sh"
cd "$root"

missing="$(local_slurm_missing)"
if [[ -n "$missing" ]]; then
  echo "skipped; missing: $missing" | tr '\n' ' '
  exit 77
fi

work="$(realpath "$(mktemp -d)")"
finish() {
  local status=$?
  trap - EXIT
  type before_stop >/dev/null 2>&1 && before_stop
  local_slurm_stop
  if [[ $status -ne 0 ]]; then
    echo "--- job output"
    tail -n 60 "$work"/*.out 2>/dev/null || true
    echo "--- slurm"
    tail -n 20 "$work"/slurm/*.log 2>/dev/null || true
  fi
  rm -rf "$work"
  exit "$status"
}
trap finish EXIT
trap 'exit 143' TERM INT  # ctest's time limit: clean up as well

fail() {
  echo "FAILED: $1" >&2
  exit 1
}
check_equal() {  # WHAT EXPECTED FOUND
  [[ "$2" == "$3" ]] || fail "$1: expected $2, found $3"
  echo "ok: $1 is $3"
}

# --- what Slurm says of a job
job_field() { scontrol --oneliner show job "$1" | grep -oE " $2=[^ ]+" | head -n 1 | cut -d= -f2; }
has_ended() {  # JOB
  local left
  left="$(squeue --noheader --jobs="$1" 2>/dev/null)" && [[ -z "$left" ]]
}
wait_for_end() { local_slurm_until has_ended "$1" || fail "job $1 does not end"; }
