#!/usr/bin/env bash
# From a fresh clone to a model that writes English, in under 15 minutes on two cores.
#
# Usage   jobscripts/quickstart.sh
#         RANKS=2     MPI ranks (default 2, with GPUs at most one each); the cores are divided among
#                     them
#         MINUTES=5   how long to train, about: a few steps are timed and the schedule made to fit
# Steps   1 install what is missing (Debian 12, as root or through sudo)   2 build, and try a few
#         steps in each dtype   3 plain English text from two dictionaries that Debian ships
#         4 tokenize   5 train inputs/runs/quickstart.toml   6 compare and write
# Writes  build/, data/english/ (text), data/english-8k/ (token shards), runs/quickstart/ (history,
#         log, checkpoints). Nothing is done twice: started again after an interruption it goes on
#         where it was, training included. `rm -r runs/quickstart` trains anew.
set -euo pipefail
cd "$(dirname "$0")/.."

ranks="${RANKS:-2}"
minutes="${MINUTES:-5}"
num_gpus=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU' || true)
(( num_gpus > 0 && ranks > num_gpus )) && ranks=$num_gpus
input=inputs/runs/quickstart.toml
tokenizer=inputs/tokenizers/english-8k/tokenizer.json
text=data/english
shards=data/english-8k
run=runs/quickstart

seconds_at_start=$SECONDS
title() { printf '\n== %s (%d s so far)\n' "$1" "$((SECONDS - seconds_at_start))"; }

title "1 Packages"
bash jobscripts/install-dependencies.sh text

title "2 Build"
# Compiling the CUDA kernels takes a third of the time and needs a GPU to be of use.
cuda=OFF
(( num_gpus > 0 )) && cuda=AUTO
[[ -f build/build.ninja ]] || cmake --preset release "-DESPALIER_CUDA=$cuda" >build-configure.log || {
  cat build-configure.log >&2
  exit 70
}
rm -f build-configure.log
# A line per tenth of the files; whatever is no progress, errors above all, as it comes.
tenths() {
  awk -v start="$SECONDS" 'match($0, /^\[[0-9]+\/[0-9]+\]/) {
         split(substr($0, 2, RLENGTH - 2), count, "/")
         if (count[1] * 10 / count[2] >= next_tenth + 1 || count[1] == count[2]) {
           next_tenth = int(count[1] * 10 / count[2])
           printf "  %3d of %d files\n", count[1], count[2]; fflush() }
         next }
       { print; fflush() }'
}
cmake --build build --target espalier 2>&1 | tenths

# Physical cores that this process may use; a second hardware thread per core does not help GEMM.
cores=$(lscpu --parse=Socket,Core | grep -v '^#' | sort -u | wc -l)
allowed=$(nproc)
(( cores > allowed )) && cores=$allowed
threads=$(( cores / ranks ))
if (( threads > 0 )); then
  binding=(--map-by "slot:PE=$threads" --bind-to core)
else  # fewer cores than ranks
  threads=1
  binding=(--oversubscribe --bind-to none)
  export OMPI_MCA_mpi_yield_when_idle=1
fi
export OMP_NUM_THREADS=$threads
# Containers often forbid one process to read another one's memory; OpenMPI then complains.
export OMPI_MCA_btl_vader_single_copy_mechanism="${OMPI_MCA_btl_vader_single_copy_mechanism:-none}"
if [[ $(id -u) -eq 0 ]]; then  # OpenMPI wants to be asked twice
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi

# On this machine, with these ranks: does a step work in each dtype? Known before anything long.
bench_log=build/quickstart-bench.log
bench() {  # ARGUMENT ...  prints tokens per second
  mpirun -n "$ranks" "${binding[@]}" build/espalier bench "$@" >"$bench_log" 2>&1 || {
    cat "$bench_log" >&2
    return 70
  }
  awk '$2 == "tokens_per_second" { print int($3) }' "$bench_log"
}
for dtype in float32 bfloat16; do
  speed=$(bench "$input" "training.dtype=$dtype" bench.warmup_steps=1 bench.steps=2)
  printf '%-9s works: about %d tokens/s\n' "$dtype" "$speed"
done
grep -m 1 '^device:' "$bench_log"

title "3 Text"
if [[ ! -f $text/validation.txt ]]; then  # the last file that the script writes
  python3 jobscripts/english_text.py "$text"
fi
ls -lh "$text"/*.txt

title "4 Tokenize"
# What the shards were made of; another tokenizer or text makes them anew.
made_of="$(cat "$tokenizer" "$text"/{gcide,wn,validation}.txt | sha256sum)"
if [[ "$(cat "$shards/made_of" 2>/dev/null)" != "$made_of" ]]; then
  rm -rf "$shards"
  mkdir -p "$shards"
  mpirun -n "$ranks" "${binding[@]}" build/espalier tokenize "$input" \
    "tokenize.input=[\"$text/gcide.txt\", \"$text/wn.txt\"]" "tokenize.output=$shards/train" \
    tokenize.validation_fraction=0
  mpirun -n "$ranks" "${binding[@]}" build/espalier tokenize "$input" \
    "tokenize.input=[\"$text/validation.txt\"]" "tokenize.output=$shards/validation" \
    tokenize.validation_fraction=1
  echo "$made_of" >"$shards/made_of"
fi
ls -lh "$shards"/*/*.h5

title "5 Train"
# Steps for about MINUTES, from the speed of this machine. A run that was begun keeps its own.
schedule=$run/schedule
if [[ ! -f $schedule ]]; then
  speed=$(bench "$input")
  steps=$(( minutes * 60 * speed / 4096 / 50 * 50 ))  # 4,096 tokens per step
  (( steps < 150 )) && steps=150    # fewer learn too little to show
  (( steps > 4500 )) && steps=4500  # once through the text
  echo "$speed tokens/s: $steps steps"
  mkdir -p "$run"
  printf '%s\n' "training.steps=$steps" "schedule.decay_steps=$(( steps * 2 / 5 ))" \
    "validation.interval=$(( steps / 2 ))" "checkpoint.interval=$(( steps / 5 ))" \
    "training.log_interval=$(( steps / 20 ))" >"$schedule.partial"
  mv "$schedule.partial" "$schedule"
fi
mapfile -t overrides <"$schedule"
mpirun -n "$ranks" "${binding[@]}" build/espalier train "$input" "${overrides[@]}" || {
  status=$?
  [[ $status -eq 75 ]] && echo "Stopped early with a checkpoint: run this script again to go on."
  exit "$status"
}

title "6 What came out"
# The compressors on the validation text alone, and on the whole text, where they may look back at
# the training text as the model may look back at what it has learnt.
sizes=$text/compressed_sizes
plain() { cat "$@" | grep -vx '%%'; }
if [[ ! -f $sizes ]]; then
  validation=("$text/validation.txt")
  whole=("$text"/{gcide,wn,validation}.txt)
  plain "${whole[@]}" | gzip -9 | wc -c >"$sizes.gzip" &
  plain "${whole[@]}" | xz -9 --threads=1 | wc -c >"$sizes.xz"
  wait
  echo "$(plain "${validation[@]}" | wc -c) $(plain "${validation[@]}" | gzip -9 | wc -c)" \
    "$(plain "${validation[@]}" | xz -9 | wc -c) $(plain "${whole[@]}" | wc -c)" \
    "$(cat "$sizes.gzip") $(cat "$sizes.xz")" >"$sizes.partial"
  rm "$sizes.gzip" "$sizes.xz"
  mv "$sizes.partial" "$sizes"
fi
read -r v_bytes v_gzip v_xz w_bytes w_gzip w_xz <"$sizes"
# The last line of validation.csv; the column is found by its name.
model_bits="$(awk -F, 'NR == 1 { for (i = 1; i <= NF; ++i) if ($i ~ /bits_per_byte/) c = i }
                       NR > 1 && $c != "" { value = $c } END { print value }' "$run/validation.csv")"

awk -v vn="$v_bytes" -v vg="$v_gzip" -v vx="$v_xz" -v wn="$w_bytes" -v wg="$w_gzip" -v wx="$w_xz" \
  -v m="$model_bits" 'BEGIN {
  printf "Bits per byte of English text (fewer is better):\n"
  printf "             validation text   whole text\n"
  printf "                    (%.1f MB)    (%.1f MB)\n", vn / 1e6, wn / 1e6
  printf "  gzip -9              %.3f        %.3f\n", 8 * vg / vn, 8 * wg / wn
  printf "  xz -9                %.3f        %.3f\n", 8 * vx / vn, 8 * wx / wn
  printf "  the model            %.3f            -\n", m
  printf "The model has never seen the validation text. On the whole text the compressors may look\n"
  printf "back at everything the model could learn from.\n"
}'
printf '\nA paragraph from the model (the prompt is "%s"):\n\n' "Mountain"
OMP_NUM_THREADS=$cores build/espalier generate "$input" generate.prompt=Mountain \
  generate.max_new_tokens=160 generate.temperature=0.7
title "Done: runs/quickstart/history.csv has every step, runs/quickstart/run.log the log"
