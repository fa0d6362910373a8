#!/usr/bin/env bash
# A run in a chain of jobs (jobscripts/train.slurm, AUTO_RESUBMIT=1) on a real Slurm of two nodes.
#
# Usage   tests/slurm/chain_two_nodes.sh BUILD_DIRECTORY
#         REAL_LIMIT=1 ...   also 6: limits of a minute that Slurm enforces; takes minutes
# Checks  1 submitted once, a run that no job finishes is done after four jobs of one id, and its
#           history is that of an uninterrupted run, digit for digit
#         2 likewise when a job is requeued by an administrator and one is cancelled in the middle
#         3 a node is drained: the next job runs on the other one alone, and goes on
#         4 a program that dies without progress ends the chain after MAX_RESTARTS starts
#         5 bad numbers (79) and an internal error (70) end the chain, and the log says which
# Status  0 all hold, 1 one does not, 77 it cannot run here (not root, or Slurm is not installed).
set -euo pipefail
root="$(cd "$(dirname "$0")/../.." && pwd)"
build="$(cd "${1:?usage: chain_two_nodes.sh BUILD_DIRECTORY}" && pwd)"
source "$root/tests/slurm/two_nodes.sh"
source "$root/tests/slurm/training_runs.sh"
make_training_data
mkdir "$work/slurm"
local_slurm_start "$work/slurm"

chain() {  # LOG INPUT AND OVERRIDES ...; prints the job's number
  AUTO_RESUBMIT=1 submit "$@"
}
columns() { cut -d, -f1,3-5 "$1/history.csv"; }  # RUN: step, loss, grad_norm, learning_rate

steps=60
whole="$work/whole"
input=(inputs/tests/tiny.toml "${arguments[@]}" "training.steps=$steps" checkpoint.interval=10)
echo "the run that nothing interrupts"
OMP_NUM_THREADS=1 mpirun --oversubscribe --bind-to none -n 2 "$build/espalier" train "${input[@]}" \
  "output.directory=$whole" >"$work/whole.out" 2>&1
check_same_history() {  # RUN
  diff <(columns "$whole") <(columns "$1") || fail "the history of $1 is not that of one run"
  echo "ok: the history is that of an uninterrupted run, digit for digit"
}

echo "1: four jobs in a chain"
run="$work/chained"
export SLURM_TEST_TOKEN=not-to-be-kept
job="$(chain "$work/chained.out" "${input[@]}" "output.directory=$run" run.stop_after=17)"
wait_for_end "$job"
check_equal "status of the chain" 0:0 "$(job_field "$job" ExitCode)"
check_equal "restarts" 3 "$(job_field "$job" Restarts)"
check_same_history "$run"
check_equal "kept environments" 4 "$(ls -d "$run"/jobs/slurm-"$job"-*/environment | wc -l)"
grep -q "^SLURM_JOB_ID=$job\$" "$run/jobs/slurm-$job-2/environment" || fail "environment not kept"
grep -rq not-to-be-kept "$run/jobs" && fail "a secret was kept"

echo "2: requeued by an administrator, cancelled by its owner"
run="$work/disturbed"
slow=("${input[@]}" "output.directory=$run" "training.log_interval=1" run.stop_after=40)
job="$(chain "$work/disturbed.out" "${slow[@]}")"
wait_for_rows "$run" 3
scontrol requeue "$job"
has_started() { grep -q "job $job start $1 " "$run/jobs/slurm.log"; }  # RESTARTS
local_slurm_until has_started 1 || fail "job $job was not requeued"
scancel "$job" || true
wait_for_end "$job"
job="$(chain "$work/disturbed-2.out" "${slow[@]}")"
wait_for_end "$job"
check_equal "status of the chain" 0:0 "$(job_field "$job" ExitCode)"
check_same_history "$run"

echo "3: a drained node"
run="$work/smaller"
job="$(chain "$work/smaller.out" "${input[@]}" "output.directory=$run" run.stop_after=30)"
wait_for_rows "$run" 3
scontrol update nodename=n2 state=drain reason=test
is_waiting() { [[ "$(job_field "$job" JobState)" == PENDING ]]; }
local_slurm_until is_waiting || fail "job $job does not wait for the drained node"
scontrol update jobid="$job" NumCPUs=1 NumTasks=1 NumNodes=1  # without NumCPUs it never starts
wait_for_end "$job"
scontrol update nodename=n2 state=resume
check_equal "status on one node" 0:0 "$(job_field "$job" ExitCode)"
check_equal "its nodes" n1 "$(job_field "$job" NodeList)"
check_all_steps "$run" "$steps"
diff <(columns "$whole" | head -n 31) <(columns "$run" | head -n 31) ||
  fail "the first job's rows are not those of an uninterrupted run"
python3 - "$whole/history.csv" "$run/history.csv" <<'PYTHON'
import csv, sys
whole, run = ([float(row["loss"]) for row in csv.DictReader(open(path))] for path in sys.argv[1:])
worst = max(abs(a - b) / a for a, b in zip(whole, run))
# Another grid sums in another order; tests/support/grids.py has the bound for 20 steps.
assert worst < 2e-5, f"losses on the other grid differ by {worst}"
print(f"ok: losses on one node are those on two within {worst:.1e}")
PYTHON

echo "4: a crash loop"
cat >"$work/dies" <<'SCRIPT'
#!/usr/bin/env bash
kill -KILL $$
SCRIPT
chmod +x "$work/dies"
run="$work/loop"
job="$(ESPALIER_HERE="$work/dies" MAX_RESTARTS=2 chain "$work/loop.out" "${input[@]}" \
  "output.directory=$run")"
wait_for_end "$job"
check_equal "restarts of the crash loop" 1 "$(job_field "$job" Restarts)"
grep -q "not resubmitted: 2 starts from step 0 without progress" "$work/loop.out" ||
  fail "the log does not say that the crash loop was ended"
echo "ok: the log says why"

echo "5: statuses that end the chain"
for status in 79 70 78; do
  printf '#!/usr/bin/env bash\nexit %s\n' "$status" >"$work/fails-$status"
  chmod +x "$work/fails-$status"
  job="$(ESPALIER_HERE="$work/fails-$status" chain "$work/fails-$status.out" "${input[@]}" \
    "output.directory=$work/fails-$status.run")"
  wait_for_end "$job"
  check_equal "status of the chain" "$status:0" "$(job_field "$job" ExitCode)"
  check_equal "restarts" 0 "$(job_field "$job" Restarts)"
  grep -q "not resubmitted: status $status: " "$work/fails-$status.out" ||
    fail "the log does not say why the chain ended"
done
job="$(chain "$work/wrong.out" "${input[@]}" "output.directory=$work/wrong" training.micro_batch_size=3)"
wait_for_end "$job"
check_equal "status of a wrong input" 78:0 "$(job_field "$job" ExitCode)"

if [[ "${REAL_LIMIT:-0}" == 1 ]]; then
  echo "6: limits that Slurm enforces"
  run="$work/limited"
  # More steps than two minutes are good for, at the best speed of the uninterrupted run.
  rate="$(python3 -c "
import csv, sys
rows = list(csv.DictReader(open('$whole/history.csv')))
print(max(float(r['tokens_per_second']) for r in rows) / 256)")"
  steps="$(python3 -c "print(int($rate * 130))")"
  long=(inputs/tests/tiny.toml "${arguments[@]}" "training.steps=$steps" checkpoint.interval=500
    run.time_margin=5)
  job="$(AUTO_RESUBMIT=1 submit "$work/limited.out" --time=1 --signal=USR2@2 "${long[@]}" \
    "output.directory=$run")"
  wait_for_end "$job"
  check_equal "status of the chain" 0:0 "$(job_field "$job" ExitCode)"
  restarts="$(job_field "$job" Restarts)"
  [[ "$restarts" -ge 2 ]] || fail "$steps steps took only $restarts restarts"
  echo "ok: $((restarts + 1)) jobs of a minute, $steps steps"
  check_all_steps "$run" "$steps"
  OMP_NUM_THREADS=1 mpirun --oversubscribe --bind-to none -n 2 "$build/espalier" train \
    "${long[@]}" "output.directory=$whole-long" >"$work/whole-long.out" 2>&1
  diff <(columns "$whole-long") <(columns "$run") || fail "not the history of one run"
  echo "ok: the history is that of an uninterrupted run, digit for digit"
fi
echo "ok: all of it"
