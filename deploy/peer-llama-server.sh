#!/bin/bash
# Builds llama.cpp's server from the sources that llama-cpp-python carries, as the peer of
# deploy/bench-ngram.py. Takes ten minutes or so on two cores. No part of the tests.
#
# Usage: deploy/peer-llama-server.sh
# Prints the path of the program: $SLIPSTREAM_CACHE/peer-llama-server/bin/llama-server
# (~/.cache/slipstream/peer-llama-server). One that is there is left as it is.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly version=0.3.36
cache=${SLIPSTREAM_CACHE:-${HOME:?HOME is not set}/.cache/slipstream}
readonly folder=$cache/peer-llama-server

say() { echo "peer-llama-server: $*" >&2; }

if [ -x "$folder/bin/llama-server" ]; then
  echo "$folder/bin/llama-server"
  exit 0
fi
command -v c++ >/dev/null || {
  say "no C++ compiler: install g++"
  exit 1
}
deploy/peer-llamacpp.sh
readonly python=$cache/peer-llamacpp/bin/python
"$python" -m pip --disable-pip-version-check install --quiet --only-binary :all: cmake ninja >&2
mkdir -p "$folder"
say "fetching llama-cpp-python $version"
"$python" deploy/fetch_source.py llama-cpp-python "$version" "$folder/source.tar.gz"
tar xzf "$folder/source.tar.gz" -C "$folder"

# As deploy/peer-llamacpp.sh: what the processor says it has, without AMX.
options=(-DGGML_NATIVE=OFF -DGGML_OPENMP=OFF -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF)
options+=(-DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_UI=OFF)
options+=(-DBUILD_SHARED_LIBS=OFF -DCMAKE_BUILD_TYPE=Release)
flags=" $(sed -n 's/^flags[^:]*://p' /proc/cpuinfo | head -n 1) "
for pair in avx:AVX avx2:AVX2 fma:FMA f16c:F16C bmi2:BMI2 avx512f:AVX512 \
  avx512vbmi:AVX512_VBMI avx512_vnni:AVX512_VNNI avx512_bf16:AVX512_BF16; do
  [[ $flags != *" ${pair%%:*} "* ]] || options+=("-DGGML_${pair##*:}=ON")
done
bin=$(dirname "$python")
say "building llama-server"
"$bin/cmake" -G Ninja -DCMAKE_MAKE_PROGRAM="$bin/ninja" "${options[@]}" -B "$folder" \
  -S "$folder/llama_cpp_python-$version/vendor/llama.cpp" >&2
"$bin/ninja" -C "$folder" llama-server >&2
echo "$folder/bin/llama-server"
