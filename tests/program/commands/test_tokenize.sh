#!/usr/bin/env bash
# test_tokenize.sh <espalier> <source folder> <mpirun> <words of mpirun without -n ...>
# The shards of `espalier tokenize` are the same bytes for any number of ranks and threads; bad
# input ends with the right status and words, and without shards.
set -u
program=$1 source=$2
shift 2
mpirun=("$@")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failures=0
fail() { echo "FAILED: $*"; failures=$((failures + 1)); }

# Two files, plain and packed, and documents of very different lengths.
mkdir "$folder/texts"
for i in $(seq 1 400); do
  printf 'Document %d of the first file. It has some words, and %d more.\n' "$i" $((i * i))
  for j in $(seq 1 $((i % 40))); do printf 'Line %d: the quick brown fox jumps. ' "$j"; done
  printf '\n\n\n'
done >"$folder/texts/a.txt"
for i in $(seq 1 300); do
  printf '{"id": %d, "text": "Line %d of the second file, caf\\u00e9 %d."}\n' "$i" "$i" $((i * 7))
done | gzip >"$folder/texts/b.jsonl.gz"
echo "not a text" >"$folder/texts/c.bin"

arguments=(tokenize data.tokenizer="$source/inputs/tokenizers/english-8k/tokenizer.json"
           "tokenize.input=[\"$folder/texts\"]" 'tokenize.document_separator="\n\n\n"'
           tokenize.validation_fraction=0.1 tokenize.shard_tokens=5000)

for ranks in 1 2 3; do
  OMP_NUM_THREADS=$((4 - ranks)) "${mpirun[@]}" -n "$ranks" "$program" "${arguments[@]}" \
    tokenize.output="$folder/ranks$ranks" >"$folder/out$ranks" 2>&1 ||
    { fail "status $? on $ranks ranks"; cat "$folder/out$ranks"; }
  grep -q "bytes per token" "$folder/out$ranks" || fail "no summary on $ranks ranks"
  [ "$ranks" = 1 ] || diff -r -x report.json "$folder/ranks1" "$folder/ranks$ranks" ||
    fail "$ranks ranks write other shards than one"
done
[ "$(find "$folder/ranks1" -name 'train-*.h5' | wc -l)" -ge 3 ] || fail "too few shards"
[ -e "$folder/ranks1/validation-00000.h5" ] || fail "no validation shard"
[ -s "$folder/ranks1/report.json" ] && [ -s "$folder/ranks1/manifest.json" ] || fail "no report"
[ -e "$folder/ranks1/units" ] && fail "the marks of units are still there"
[ -e "$folder/ranks1.unfinished" ] && fail "the folder of unfinished shards is still there"

# expect <status> <words> <arguments ...>
expect() {
  local status=$1 words=$2 got
  shift 2
  "$program" "${arguments[@]}" "$@" >"$folder/out" 2>&1
  got=$?
  [ "$got" -eq "$status" ] || { fail "status $got, expected $status: $*"; cat "$folder/out"; }
  grep -qF -- "$words" "$folder/out" || { fail "\"$words\" is not printed: $*"; cat "$folder/out"; }
}

expect 78 "which are not overwritten" tokenize.output="$folder/ranks1"
expect 65 "no such file or folder" tokenize.output="$folder/x" "tokenize.input=[\"$folder/none\"]"
mkdir "$folder/empty"
expect 65 "holds no text" tokenize.output="$folder/x" "tokenize.input=[\"$folder/empty\"]"
printf '{"text": "good"}\n{"text": "cut\n' >"$folder/bad.jsonl"
expect 65 "bad.jsonl:2:" tokenize.output="$folder/x" "tokenize.input=[\"$folder/bad.jsonl\"]"
: >"$folder/nothing.txt"
expect 65 "holds no text" tokenize.output="$folder/x" "tokenize.input=[\"$folder/nothing.txt\"]"
expect 65 "cannot be read" tokenize.output="$folder/x" data.tokenizer="$folder/none.json"
expect 0 "bytes per token" --dry-run tokenize.output="$folder/dry"
[ -e "$folder/dry" ] && fail "a dry run writes"

# What a file is: its name or its first bytes say, or it is refused; what a folder leaves out is said.
grep -q "left out    1: names that say neither.*c.bin" "$folder/out1" || fail "c.bin is not said"
printf 'PAR1....' >"$folder/table.jsonl"
printf 'a text' >"$folder/text.foo"
expect 65 "Parquet" tokenize.output="$folder/x" "tokenize.input=[\"$folder/table.jsonl\"]"
expect 65 "2 inputs cannot be read" tokenize.output="$folder/x" \
  "tokenize.input=[\"$folder/table.jsonl\", \"$folder/text.foo\"]"
expect 0 "1 documents" tokenize.output="$folder/foo" "tokenize.input=[\"$folder/text.foo\"]" \
  tokenize.format=text
grep -q 'document_separator = "\\n\\n\\n" does not occur in 1 of 1' "$folder/out" ||
  fail "a separator that never occurs is not said"

# Parquet gives the shards of the same text as JSON lines, where the program can read it. All files
# have the same name, which the shards hold, and their first bytes say what they are.
mkdir "$folder/lines" "$folder/table"
python3 -c 'for i in range(230):
  if i % 7 not in (0, 3):
    print("{\"text\": \"row %d%s%s\"}" % (i, " äöü" * (i < 5), "x" * (3000 * (i % 50 == 1))))
' >"$folder/lines/rows"
# rows <status> <words> <input> <output> ...
rows() {
  expect "$1" "$2" "tokenize.input=[\"$3\"]" tokenize.output="$folder/$4" \
    tokenize.validation_fraction=0.2 tokenize.shard_tokens=100000 "${@:5}"
}
same_as_lines() {
  cp "$source/tests/fixtures/parquet/$1.parquet" "$folder/table/rows"
  rows 0 "35 documents" "$folder/table/rows" "of-$1" "${@:2}"
  diff -r -x report.json -x manifest.json "$folder/of-lines" "$folder/of-$1" ||
    fail "$1.parquet gives other shards than its text as JSON lines"
}
zstd=$source/tests/fixtures/parquet/zstd.parquet
if [ "$HAS_ARROW" = ON ]; then
  rows 0 "35 documents" "$folder/lines/rows" of-lines
  for name in snappy-dictionary gzip zstd-dictionary pages-v2 large-string; do
    same_as_lines $name
  done
  same_as_lines nested tokenize.text_key=meta.text
  rows 65 "is no column; there are id (INT64), text (String)" "$zstd" x tokenize.text_key=body
  rows 65 "is no text; there are id (INT64), text (String). Set tokenize.source_key" "$zstd" x \
    tokenize.source_key=id
  head -c 1500 "$zstd" >"$folder/table/cut.parquet"
  rows 65 "the Parquet file is cut off" "$folder/table/cut.parquet" x
  rows 0 "35 documents" "$folder/lines/rows\", \"$folder/table/cut.parquet" with-cut \
    tokenize.on_bad_file=skip
  grep -q "cut.parquet" "$folder/with-cut/report.json" || fail "a cut Parquet file is not counted"
  rows 65 "cannot be read from a stream" - x < <(cat "$zstd")
else
  rows 65 "jobscripts/fetch-arrow.sh" "$zstd" x
fi

printf '{"text": "good"}\n{"text": "a", "x": NaN}\n{"text": "\\ud800"}\n' >"$folder/bad2.jsonl"
expect 65 "tokenize.on_bad_line" tokenize.output="$folder/x" "tokenize.input=[\"$folder/bad2.jsonl\"]"
expect 0 "skipped     1 line(s): NaN" tokenize.output="$folder/skip" \
  "tokenize.input=[\"$folder/bad2.jsonl\"]" tokenize.on_bad_line=skip
grep -q "skipped     1 line(s): half a surrogate" "$folder/out" || fail "a surrogate is not counted"

# A stream is read once, whatever its name, and gives the shards of the file.
for i in $(seq 1 30000); do
  echo "{\"text\": \"document number $i: the quick brown fox jumps over the lazy dog, again and again\"}"
done >"$folder/long.jsonl"
expect 0 "30,000 documents" tokenize.output="$folder/whole" "tokenize.input=[\"$folder/long.jsonl\"]" \
  tokenize.validation_fraction=0
# A stream is one unit, whose shards go on in further files where they become too long.
tokens_of() {
  for shard in "$folder/$1"/train-*.h5; do
    h5dump -y -w 1 -d tokens "$shard" | grep -E '^ *[0-9]+,?$' | tr -d ' ,'
  done
}
tokens_of whole >"$folder/dump2"
same_shards() {
  tokens_of "$1" >"$folder/dump1"
  [ -e "$folder/$1/train-00000-0003.h5" ] || fail "$1 is one long shard"
  cmp "$folder/dump1" "$folder/dump2" || fail "$1 has other shards than the file"
}
mkfifo "$folder/pipe.jsonl"
stream() {
  local name=$1 input=$2
  expect 0 "30,000 documents" tokenize.output="$folder/$name" "tokenize.input=[\"$input\"]" \
    tokenize.validation_fraction=0
  same_shards "$name"
}
stream dash - < <(cat "$folder/long.jsonl")
stream packed - < <(gzip -c "$folder/long.jsonl")
stream redirected - <"$folder/long.jsonl"
stream by_name /dev/stdin < <(cat "$folder/long.jsonl")
stream substituted /dev/fd/9 9< <(cat "$folder/long.jsonl")
cat "$folder/long.jsonl" >"$folder/pipe.jsonl" &
stream named "$folder/pipe.jsonl"
expect 65 "names it twice" tokenize.output="$folder/x" 'tokenize.input=["-", "-"]' </dev/null
expect 74 "cannot be read" tokenize.output="$folder/x" 'tokenize.input=["-"]' <&-
"${mpirun[@]}" -n 2 "$program" "${arguments[@]}" tokenize.output="$folder/x" \
  'tokenize.input=["-"]' <"$folder/long.jsonl" >"$folder/out" 2>&1
[ $? -eq 78 ] || fail "a stream for two ranks: another status than 78"
grep -q "one process can read once, and there are 2 ranks" "$folder/out" ||
  { fail "a stream for two ranks is not refused"; cat "$folder/out"; }

# A set appears whole, in a folder that may be there and empty; what a killed run has left is removed,
# and nothing else.
mkdir -p "$folder/killed" "$folder/killed.unfinished" "$folder/mine" "$folder/other.unfinished"
touch "$folder/killed.unfinished/"{train-00000.h5,train-00007.h5,train-00001.h5.tokens.partial}
expect 0 "bytes per token" tokenize.output="$folder/killed/"
diff -r -x report.json "$folder/ranks1" "$folder/killed" || fail "a killed run shows in the next one"
[ -e "$folder/killed.unfinished" ] && fail "the folder of unfinished shards is still there"
echo precious >"$folder/other.unfinished/notes"
expect 78 "notes is none" tokenize.output="$folder/other"
[ -s "$folder/other.unfinished/notes" ] || fail "a foreign file is gone"
echo precious >"$folder/mine/notes"
expect 78 "new or empty" tokenize.output="$folder/mine"
expect 78 "this is a file" tokenize.output="$folder/mine/notes"
# Two jobs into one folder: the second is refused by name and touches nothing. The first waits for
# its input, which this shell holds.
mkfifo "$folder/held.jsonl"
exec 8<>"$folder/held.jsonl"
"$program" "${arguments[@]}" tokenize.output="$folder/raced" "tokenize.input=[\"$folder/held.jsonl\"]" \
  >"$folder/first" 2>&1 8>&- &
first=$!
until [ -d "$folder/raced.unfinished" ] || ! kill -0 "$first"; do sleep 0.1; done
expect 74 "raced is being written by another job" tokenize.output="$folder/raced" 8>&-
grep -q "process $first," "$folder/out" || fail "the other job is not named"
head -n 50 "$folder/long.jsonl" >&8
exec 8>&-
wait "$first" || { fail "status $? of the first of two jobs"; cat "$folder/first"; }
grep -q " documents" "$folder/first" && [ -e "$folder/raced/train-00000.h5" ] ||
  fail "the first of two jobs has lost its shards"

# A request to stop leaves nothing half-written, and of files the units that are done: while a stream is waited for, and at work on two ranks.
mkfifo "$folder/waiting.jsonl"
exec 8<>"$folder/waiting.jsonl"
"$program" "${arguments[@]}" tokenize.output="$folder/stopped" \
  'tokenize.input=["-"]' <"$folder/waiting.jsonl" >"$folder/out" 2>&1 8>&- &
job=$!
until [ -d "$folder/stopped.unfinished" ] || ! kill -0 "$job"; do sleep 0.1; done
kill -TERM "$job"
wait "$job"
[ $? -eq 75 ] || { fail "another status than 75 after SIGTERM"; cat "$folder/out"; }
exec 8>&-
many=$(yes "\"$folder/long.jsonl\"," | head -n 400 | tr -d '\n')
"${mpirun[@]}" -n 2 "$program" "${arguments[@]}" tokenize.output="$folder/stopped2" \
  "tokenize.input=[${many%,}]" >"$folder/out" 2>&1 &
job=$!
until [ -d "$folder/stopped2.unfinished" ] || ! kill -0 "$job"; do sleep 0.1; done
kill -USR2 "$job"
wait "$job"
[ $? -eq 75 ] || { fail "another status than 75 after SIGUSR2 on two ranks"; cat "$folder/out"; }
grep -q "stopped by a signal" "$folder/out" || { fail "a stop is not said"; cat "$folder/out"; }
[ -e "$folder/stopped" ] || [ -e "$folder/stopped2" ] && fail "a stopped run has published"
[ -z "$(ls -d "$folder"/*.unfinished* | grep -v "other\|stopped2")" ] || { fail "left"; ls -d "$folder"/*.unfinished*; }
[ -z "$(find "$folder/x" -name '*.h5' 2>/dev/null)" ] || fail "a failed run left shards"

[ "$failures" -eq 0 ] && echo "all passed"
exit $((failures > 0))
