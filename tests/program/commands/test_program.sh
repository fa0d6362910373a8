#!/usr/bin/env bash
# test_program.sh <espalier> <inputs> <mpirun words for 2 ranks>
# Checks what a person and a job script see: exit statuses, and errors printed once.
set -u
program=$1 inputs=$2 mpirun=$3
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failures=0

# expect <status> <words that must be printed> <command ...>
expect() {
  local status=$1 words=$2 got
  shift 2
  "$@" >"$folder/out" 2>&1 </dev/null
  got=$?
  if [ "$got" -ne "$status" ]; then
    echo "FAILED: status $got, expected $status: $*"; cat "$folder/out"; failures=$((failures + 1))
  elif ! grep -qF -- "$words" "$folder/out"; then
    echo "FAILED: \"$words\" is not printed by: $*"; cat "$folder/out"; failures=$((failures + 1))
  fi
}

# once <words>: the last command printed them exactly once
once() {
  local count
  count=$(grep -cF -- "$1" "$folder/out")
  if [ "$count" -ne 1 ]; then
    echo "FAILED: \"$1\" is printed $count times"; cat "$folder/out"; failures=$((failures + 1))
  fi
}

printf '[training]\nstepz = 4\n' >"$folder/bad.toml"
tiny=$inputs/tests/tiny.toml

expect 0 "espalier 0." "$program" --version
expect 0 "Commands" "$program" help
expect 0 "sequence_length" "$program" help parameters training
expect 64 "espalier help" "$program"
expect 64 "did you mean train?" "$program" tarin
expect 64 "section.key=value" "$program" train "$tiny" steps=4
expect 78 "bad.toml:2: unknown key training.stepz; did you mean training.steps?" \
  "$program" train "$folder/bad.toml"
expect 78 "nowhere.toml cannot be read: No such file" "$program" train nowhere.toml
expect 78 "is a folder" "$program" train "$folder"
expect 78 "data.train is not set" "$program" train "$tiny"
expect 0 "tensor 2 x data 4 = 8 ranks" \
  "$program" train "$tiny" parallel.tensor=2 parallel.data=4 "output.directory=$folder/run" --dry-run
expect 78 "parallel.tensor = 3" "$program" train "$tiny" parallel.tensor=3 --dry-run

# shellcheck disable=SC2086  # several words on purpose
expect 78 "did you mean training.steps?" $mpirun "$program" train "$folder/bad.toml"
once "espalier: error:"
# shellcheck disable=SC2086
expect 78 "parallel.tensor = 4 does not divide the job's 2 ranks" \
  $mpirun "$program" train "$tiny" parallel.tensor=4 data.train=x
once "espalier: error:"
# shellcheck disable=SC2086
expect 64 "did you mean train?" $mpirun "$program" tarin
once "espalier: error:"
# shellcheck disable=SC2086
expect 0 "Commands" $mpirun "$program" help
once "Commands"

# What nobody could read was not a success: a full disk, a closed output, a reader that has gone.
printf 'some text' >"$folder/text.txt"
tokenizer=$inputs/tests/bytes.tiktoken
unread() {  # <command ...>
  local got
  for how in full closed gone; do
    case $how in
      full) "$@" >/dev/full 2>"$folder/out" </dev/null ;;
      closed) "$@" >&- 2>"$folder/out" </dev/null ;;
      gone) mkfifo "$folder/reader"
        # Opened for both ends, so that nothing waits; then nobody reads what is written.
        exec 7<>"$folder/reader" 8>"$folder/reader" 7>&-
        "$@" >&8 2>"$folder/out" </dev/null 8>&- ;;
    esac
    got=$?
    [ $how = gone ] && exec 8>&- && rm "$folder/reader"
    if [ "$got" -ne 74 ] || ! grep -qF "standard output" "$folder/out"; then
      echo "FAILED: status $got with $how output: $*"; cat "$folder/out"; failures=$((failures + 1))
    fi
    rm -rf "$folder/unread"
  done
}
unread "$program" --version
unread "$program" help parameters
unread "$program" inspect "$tokenizer"
unread "$program" train "$tiny" parallel.tensor=1 "output.directory=$folder/unread" --dry-run
unread "$program" tokenize "data.tokenizer=$tokenizer" "tokenize.input=$folder/text.txt" \
  "tokenize.output=$folder/unread"

[ "$failures" -eq 0 ] && echo "all as expected"
exit "$((failures > 0))"
