#!/bin/bash
# Measures the engine beside llama.cpp, in turns, for every weight format: the tables of
# docs/PERFORMANCE.md.
#
# Usage: deploy/bench-engine.sh [THREADS ...]     (1 and 2 by default; half an hour)
# SLIPSTREAM_BENCH_ONLY="Q8_0 F16" measures these formats only. Needs .build/release/slipstream;
# llama.cpp is built by deploy/peer-llamacpp.sh where it is missing. The models (5 GB) stay in
# $SLIPSTREAM_CACHE/bench (~/.cache/slipstream/bench).
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
cache=${SLIPSTREAM_CACHE:-${HOME:?HOME is not set}/.cache/slipstream}
readonly models=$cache/bench python=$cache/peer-llamacpp/bin/python
readonly slipstream=.build/release/slipstream

say() { echo "bench-engine: $*" >&2; }

[ -x $slipstream ] || {
  say "no $slipstream: run swift build -c release"
  exit 1
}
model=$(deploy/setup.sh)
deploy/peer-llamacpp.sh
"$python" -c 'import gguf' 2>/dev/null ||
  "$python" -m pip --disable-pip-version-check install --quiet gguf
mkdir -p "$models"

# make NAME COMMAND ...: runs the command, whose @ is a new file, unless NAME is there already.
make() {
  local name=$1
  shift
  [ -e "$models/$name.gguf" ] && return
  say "making $name"
  rm -f "$models/$name.partial"
  "${@//@/$models/$name.partial}" >&2
  mv "$models/$name.partial" "$models/$name.gguf"
}

make F16 "$python" deploy/bench_models.py float "$model" @ F16
make BF16 "$python" deploy/bench_models.py float "$model" @ BF16
make Q8_0 $slipstream quantize "$models/F16.gguf" @ Q8_0
make Q4_0 $slipstream quantize "$models/F16.gguf" @ Q4_0
make wide "$python" deploy/bench_models.py wide "$model" @
make Q4_K_M $slipstream quantize "$models/wide.gguf" @ Q4_K_M
make Q6_K $slipstream quantize "$models/wide.gguf" @ Q6_K
make Q8_0-deep "$python" deploy/bench_models.py deep "$models/Q8_0.gguf" @ 8
ln -sf "$model" "$models/Q4_1.gguf"

for threads in ${*:-1 2}; do
  for name in ${SLIPSTREAM_BENCH_ONLY:-Q8_0 Q4_0 Q4_1 Q4_K_M Q6_K F16 BF16 Q8_0-deep}; do
    $slipstream bench engine -m "$models/$name.gguf" -t "$threads" -p 16,512 -n 32 -r 5 \
      --compare llamacpp
    echo
  done
done
