# What the tests of trainings on two nodes share. Source it after two_nodes.sh, with `build` set.
#
#   submit LOG [SBATCH OPTION ...] INPUT AND OVERRIDES ...   prints the job's number; ESPALIER_HERE:
#                               another program than build/espalier
#   rows RUN, wait_for_rows RUN ROWS, check_all_steps RUN STEPS, newest_checkpoint_step RUN
#   make_training_data          shards of this repository's own sources; `arguments` name them

submit() {
  ESPALIER="${ESPALIER_HERE:-$build/espalier}" jobscripts/submit.sh cpu --nodes=2 --time=60 \
    --output="$1" "${@:2}" | grep -oE '[0-9]+$'
}

# --- history.csv
rows() { if [[ -f "$1/history.csv" ]]; then tail -n +2 "$1/history.csv" | wc -l; else echo 0; fi; }
has_rows() { [[ "$(rows "$1")" -ge "$2" ]]; }
wait_for_rows() {
  local_slurm_until has_rows "$@" || fail "$1/history.csv still has $(rows "$1") rows, not $2"
}
check_all_steps() {
  diff <(seq "$2") <(tail -n +2 "$1/history.csv" | cut -d, -f1) ||
    fail "history.csv does not have every step from 1 to $2 exactly once"
  echo "ok: history.csv has every step from 1 to $2 exactly once"
}
newest_checkpoint_step() {
  local marker
  marker="$(ls -d "$1"/checkpoints/step-*/COMPLETE 2>/dev/null | sort | tail -n 1)"
  [[ -n "$marker" ]] || { echo none; return; }
  basename "$(dirname "$marker")" | sed 's/^step-0*//'
}

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
# Both nodes share this machine's processors: one thread a rank, and no waiting at full speed.
export THREADS_PER_RANK=1 OMPI_MCA_mpi_yield_when_idle=1

make_training_data() {
  local tokenizer=inputs/tokenizers/english-8k/tokenizer.json
  cat src/*/*.hpp src/*/*.cpp >"$work/text.txt"
  "$build/espalier" tokenize inputs/tests/tiny.toml "data.tokenizer=$tokenizer" \
    "tokenize.input=[\"$work/text.txt\"]" "tokenize.output=$work/data" >"$work/tokenize.out" 2>&1
  arguments=(model.vocab_size=8192 "data.tokenizer=$tokenizer" "data.train=$work/data")
}
