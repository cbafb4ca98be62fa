#!/bin/bash
# Measures decoding with drafts: the tables of docs/BENCHMARKS.md.
#
# Usage: deploy/bench-decode.sh [PROMPTS.jsonl]
#   PROMPTS.jsonl: JSON lines with "id", "category" and "turns"; Tests/Golden/prompts.jsonl unless told.
# SLIPSTREAM_BENCH_ROWS="free pair ..." runs these rows only: free (no draft model), long (the same, answers
# to 1024 tokens), warm (the same with a store that slipstream warm has filled, and with answers as long as
# others, at both temperatures), random (random words, T = 1.5), pair (a draft model and a deep target in two
# processes), far (the same, 20 ms apart; needs root), apart (the same on hosts of their own, by a virtual clock), ngram (beside llama.cpp's n-gram speculation), load.
# SLIPSTREAM_BENCH_TOKENS=N limits the answers. Needs .build/release/slipstream and the files that
# deploy/bench-engine.sh makes. JSON goes to $SLIPSTREAM_BENCH_OUT (bench-decode, made here).
set -euo pipefail

prompts=$(realpath "${1:-$(dirname "${BASH_SOURCE[0]}")/../Tests/Golden/prompts.jsonl}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cache=${SLIPSTREAM_CACHE:-${HOME:?HOME is not set}/.cache/slipstream}
readonly models=$cache/bench slipstream=$PWD/.build/release/slipstream
readonly rows=" ${SLIPSTREAM_BENCH_ROWS:-free long warm random pair far apart ngram load} "
readonly out=${SLIPSTREAM_BENCH_OUT:-bench-decode} tokens=${SLIPSTREAM_BENCH_TOKENS:-256}

say() { echo "bench-decode: $*" >&2; }
has() { [[ $rows == *" $1 "* ]]; }

[ -x "$slipstream" ] || {
  say "no $slipstream: run swift build -c release"
  exit 1
}
for name in Q4_1 Q4_0 Q8_0-deep; do
  [ -e "$models/$name.gguf" ] || {
    say "no $models/$name.gguf: run deploy/bench-engine.sh first"
    exit 1
  }
done
mkdir -p "$out"

# bench NAME ARGUMENTS: prints the table and leaves the rows in NAME.json.
bench() {
  local name=$1
  shift
  echo "== $name: slipstream bench decode $*"
  "$slipstream" bench decode "$@" -o json >"$out/$name.json"
  python3 deploy/bench_table.py "$out/$name.json"
}

# The first CPU of those that this process may use.
cpu=$(taskset -cp $$ | sed 's/.*: //; s/[,-].*//')
readonly cpu pair="-m $models/Q8_0-deep.gguf -md $models/Q4_0.gguf"
for temperature in 0 0.8; do
  if has free; then
    bench "free-$temperature" -m "$models/Q4_1.gguf" --cpu-range "$cpu" --prompts "$prompts" \
      --methods recycle,auto -n "$tokens" --temp $temperature --seed 1 -r 1
  fi
  # shellcheck disable=SC2086
  if has pair; then
    bench "pair-$temperature" $pair --prompts "$prompts" --pipelines streamed,lockstep,vanilla \
      -n "$tokens" --temp $temperature --seed 1 -r 1
  fi
  # shellcheck disable=SC2086
  if has far && [ "$(id -u)" != 0 ]; then
    say "far makes network namespaces, which takes root: left out"
  elif has far; then
    bench "far-$temperature" $pair --prompts "$prompts" --pipelines streamed,lockstep,vanilla \
      --rtt 20 -n "$tokens" --temp $temperature --seed 1 -r 1
  fi
  # shellcheck disable=SC2086
  if has apart; then
    "$slipstream" bench apart $pair --cpu-range "$cpu" --prompts "$prompts" --pipelines streamed,vanilla \
      --rtt 0.3,20 -n "$tokens" --temp $temperature --seed 1 | tee "$out/apart-$temperature.txt"
  fi
done
if has long; then
  bench long -m "$models/Q4_1.gguf" --cpu-range "$cpu" --prompts "$prompts" --methods recycle \
    -n 1024 --temp 0 -r 3
fi
if has warm; then
  "$slipstream" warm -m "$models/Q4_1.gguf" --draft-store "$out/warm.store"
  bench warm -m "$models/Q4_1.gguf" --cpu-range "$cpu" --prompts "$prompts" --methods recycle \
    -n 1024 --temp 0 -r 3 --draft-store "$out/warm.store"
  for temperature in 0 0.8; do
    bench "warm-$temperature" -m "$models/Q4_1.gguf" --cpu-range "$cpu" --prompts "$prompts" \
      --methods recycle -n "$tokens" --temp $temperature --seed 1 -r 1 --draft-store "$out/warm.store"
  done
fi
if has random; then
  bench random -m "$models/Q4_1.gguf" --cpu-range "$cpu" --random-prompts 12 \
    --methods recycle,auto -n 128 --temp 1.5 --seed 5 -r 3
fi
if has ngram; then
  python3 deploy/bench-ngram.py "$slipstream" "$(deploy/peer-llama-server.sh)" \
    "$models/Q4_0.gguf" "$prompts" -n "$tokens" -o "$out/ngram.json"
fi
if has load; then
  "$slipstream" bench load -m "$models/Q4_1.gguf" --prompts "$prompts" -n 64 --temp 0 \
    --sessions 1,2,4,8,16 -r 2
fi
