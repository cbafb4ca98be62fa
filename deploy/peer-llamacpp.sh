#!/bin/bash
# Builds llama.cpp for this processor, as the peer of `slipstream bench engine --compare llamacpp`:
# a Python environment with llama-cpp-python, compiled from source. Takes ten minutes or so on two
# cores. No part of the tests.
#
# Usage: deploy/peer-llamacpp.sh
# The environment is $SLIPSTREAM_CACHE/peer-llamacpp (~/.cache/slipstream/peer-llamacpp); the file
# build-options in it says how it was compiled. One that works is left as it is.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly requirement=llama-cpp-python==0.3.36
cache=${SLIPSTREAM_CACHE:-${HOME:?HOME is not set}/.cache/slipstream}
readonly environment=$cache/peer-llamacpp

say() { echo "peer-llamacpp: $*" >&2; }
fail() {
  say "$*"
  exit 1
}

# One forward pass in the peer: what cannot run here dies in it.
works() {
  local answer
  answer=$(timeout 300 "$environment/bin/python" deploy/peer_llamacpp.py "$model" 1 <<<v1 \
    2>/dev/null | tail -n 1) && [[ $answer =~ ^[0-9.]+(e-?[0-9]+)?$ ]]
}

build() {
  local options=$1 log
  log=$(mktemp)
  say "building $requirement with CMake options: ${options:-none, for this processor}"
  # pip would take a build with other options out of its cache.
  CMAKE_ARGS=$options "$environment/bin/python" -m pip --disable-pip-version-check install \
    --quiet --no-cache-dir --force-reinstall --no-binary llama-cpp-python "$requirement" \
    >"$log" 2>&1 || {
    tail -n 30 "$log" >&2
    fail "the build failed; the whole log is $log"
  }
  rm -f "$log"
  echo "$requirement ${options:-native}" >"$environment/build-options"
}

# What the processor says it has, without the extensions that are compiled in by a look at it but
# may not be usable, AMX above all.
portable_options() {
  local options="-DGGML_NATIVE=OFF" flags pair
  flags=" $(sed -n 's/^flags[^:]*://p' /proc/cpuinfo | head -n 1) "
  for pair in avx:AVX avx2:AVX2 fma:FMA f16c:F16C bmi2:BMI2 avx512f:AVX512 \
    avx512vbmi:AVX512_VBMI avx512_vnni:AVX512_VNNI avx512_bf16:AVX512_BF16; do
    [[ $flags != *" ${pair%%:*} "* ]] || options+=" -DGGML_${pair##*:}=ON"
  done
  echo "$options"
}

model=$(deploy/setup.sh | tail -n 1) || fail "setup failed; see above"
if [ -x "$environment/bin/python" ] && works; then
  built=unknown
  [ ! -f "$environment/build-options" ] || built=$(<"$environment/build-options")
  say "already there: $environment (build: $built)"
  exit 0
fi

command -v c++ >/dev/null || fail "no C++ compiler: install g++"
rm -rf "$environment"
mkdir -p "$cache"
python3 -m venv "$environment" >&2 || fail "python3 -m venv failed: install python3-venv"
build ""
if ! works; then
  say "that build does not run here: building without a look at this processor"
  build "$(portable_options)"
  works || fail "llama.cpp does not run here in either build"
fi
say "$environment is ready (build: $(<"$environment/build-options"))"
