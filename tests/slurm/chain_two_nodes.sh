#!/usr/bin/env bash
# Chains of jobs (jobscripts/train.slurm with AUTO_RESUBMIT=1) on a real Slurm of two nodes.
#
# Usage   tests/slurm/chain_two_nodes.sh BUILD_DIRECTORY
# Checks  1 submitted once, a run longer than its time limit goes on over at least three jobs
#         2 a requeue in the middle, a node that goes down, and a drained node end nothing
#         3 scancel ends the chain; submitted again, the run goes on and finishes, and its history is
#           that of one uninterrupted run, bit for bit
#         4 the next job, on one node, goes on
#         5 what the job was started with is kept, and no secret
#         6 a crash loop ends after MAX_RESTARTS jobs without progress, with the status and why
# Status  0 all hold, 1 one does not, 77 it cannot run here (not root, or Slurm is not installed).
set -euo pipefail
root="$(cd "$(dirname "$0")/../.." && pwd)"
build="$(cd "${1:?usage: chain_two_nodes.sh BUILD_DIRECTORY}" && pwd)"
source "$root/tests/slurm/two_nodes.sh"

submit() {  # NODES LOG INPUT AND OVERRIDES ...; prints the job's number
  ESPALIER="${program:-$build/espalier}" jobscripts/submit.sh cpu --nodes="$1" --time=60 \
    --output="$2" "${@:3}" | grep -oE '[0-9]+$'
}
rows() { if [[ -f "$run/history.csv" ]]; then tail -n +2 "$run/history.csv" | wc -l; else echo 0; fi; }
has_rows() { [[ "$(rows)" -ge "$1" ]]; }
has_restarts() { [[ "$(job_field "$job" Restarts)" -ge "$1" ]]; }
is_in_state() { [[ "$(job_field "$job" JobState)" == "$1" ]]; }
wait_for() { local_slurm_until "$@" || fail "$* does not come; job: $(scontrol show job "$job")"; }
# The job of so many restarts is at work: it has added a row.
wait_for_work() {  # RESTARTS
  wait_for has_restarts "$1"
  wait_for grep -q "job $job start $1 " "$run/jobs/slurm.log"
  wait_for has_rows "$(( $(rows) + 1 ))"
}
next_restart() { echo "$(( $(job_field "$job" Restarts) + 1 ))"; }
columns() { tail -n +2 "$1/history.csv" | cut -d, -f1-5; }  # step, tokens, loss, norm, rate

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
tokenizer=inputs/tokenizers/english-8k/tokenizer.json
cat src/*/*.hpp >"$work/text.txt"
"$build/espalier" tokenize inputs/tests/tiny.toml "data.tokenizer=$tokenizer" \
  "tokenize.input=[\"$work/text.txt\"]" "tokenize.output=$work/data" >"$work/tokenize.out" 2>&1
mkdir "$work/slurm"
local_slurm_start "$work/slurm"
export THREADS_PER_RANK=1 OMPI_MCA_mpi_yield_when_idle=1 SRUN_WAIT=3 AUTO_RESUBMIT=1
export CHAIN_TEST_SECRET=not-to-be-kept SLURM_TEST_TOKEN=not-to-be-kept
# The rate of a step does not depend on training.steps, which is changed while the run goes.
sed -e 's/^name = "cosine"/name = "constant"/' -e '/^min_learning_rate/d' \
  -e 's/^steps = .*/steps = 1000000000/' inputs/tests/tiny.toml >"$work/input.toml"
run="$work/run"
arguments=("$work/input.toml" model.vocab_size=8192 "data.tokenizer=$tokenizer"
  "data.train=$work/data" checkpoint.interval=25 "output.directory=$run")

echo "1: over at least three jobs"
job="$(submit 2 "$work/chain.out" "${arguments[@]}" run.time_limit=4 run.time_margin=0.5)"
wait_for_work 2
echo "ok: two jobs stopped at the limit, the third works"

echo "2: requeue, a node down, a node drained"
next="$(next_restart)"
scontrol requeue "$job"
wait_for_work "$next"
next="$(next_restart)"
scontrol update nodename=n2 state=down reason=test
wait_for has_restarts "$next"
scontrol update nodename=n2 state=resume
wait_for_work "$next"
scontrol update nodename=n2 state=drain reason=test
wait_for is_in_state PENDING
scontrol update nodename=n2 state=resume
wait_for_work "$(job_field "$job" Restarts)"

echo "3: scancel ends the chain"
restarts="$(job_field "$job" Restarts)"
wait_for is_in_state RUNNING
scancel "$job"
wait_for_end "$job"
check_equal "state of the cancelled job" CANCELLED "$(job_field "$job" JobState)"
steps="$(( $(rows) + 50 ))"
job="$(submit 2 "$work/again.out" "${arguments[@]}" "training.steps=$steps")"
wait_for_end "$job"
check_equal "status" 0:0 "$(job_field "$job" ExitCode)"
# The same without Slurm, in one go.
run="$work/alone"
mpirun -n 2 --oversubscribe "$build/espalier" train "${arguments[@]}" "training.steps=$steps" \
  "output.directory=$run" >"$work/alone.out" 2>&1
diff <(columns "$work/alone") <(columns "$work/run") >/dev/null ||
  fail "the history of the chain is not that of one uninterrupted run"
echo "ok: $steps steps over $(( restarts + 2 )) jobs are those of one uninterrupted run, bit for bit"

echo "4: the next job on one node"
run="$work/run"
job="$(submit 2 "$work/one.out" "${arguments[@]}" run.time_limit=4 run.time_margin=0.5)"
wait_for is_in_state RUNNING
wait_for is_in_state PENDING
before="$(rows)"
scontrol update JobId="$job" NumNodes=1-1 NumTasks=1 NumCPUs=1
wait_for_work 1
scancel "$job"
wait_for_end "$job"
diff <(seq "$(rows)") <(columns "$run" | cut -d, -f1) >/dev/null || fail "a step is not there once"
grep -q "job $job start 1 on 1 nodes" "$run/jobs/slurm.log" || fail "slurm.log lacks the start on one node"
echo "ok: $(( $(rows) - before )) more steps on one node, each step once"

echo "5: what is kept"
kept="$run/jobs/slurm-$job-1"
grep -q "^SLURM_JOB_ID=$job\$" "$kept/environment" || fail "no SLURM_JOB_ID in $kept/environment"
grep -q "^run.time_limit=4\$" "$kept/arguments" || fail "arguments are not kept"
grep -rq not-to-be-kept "$run/jobs" && fail "a secret was kept"
cmp "$work/input.toml" "$kept/input.toml" || fail "the input is not kept"
echo "ok: environment, arguments and input"

echo "6: a crash loop"
run="$work/crash"
program="$work/crash.sh"
printf '#!/usr/bin/env bash\nkill -9 $$\n' >"$program"
chmod +x "$program"
export MAX_RESTARTS=2
job="$(submit 1 "$work/crash.out" "${arguments[@]}" "output.directory=$run")"
wait_for_end "$job"
check_equal "restarts" 1 "$(job_field "$job" Restarts)"
check_equal "status" 137:0 "$(job_field "$job" ExitCode)"
grep -q "not resubmitted: 2 starts from step 0 without progress" "$work/crash.out" ||
  fail "the log does not say why the chain ended"
program="$build/espalier"
job="$(submit 1 "$work/wrong.out" "${arguments[@]}" "output.directory=$run" model.hidden_size=7)"
wait_for_end "$job"
check_equal "status of a wrong input" 78:0 "$(job_field "$job" ExitCode)"
grep -q "not resubmitted: status 78: the input is wrong" "$work/wrong.out" || fail "no reason"
echo "ok: all of it"
