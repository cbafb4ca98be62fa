#!/bin/bash
# Every check of the project, in the order in which they fail fastest. The default model is
# fetched where it is missing.
#
# Usage: deploy/test.sh
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# They tune OpenBLAS for another machine or another cache than this one.
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE

# What may stand at the top of the repository.
readonly layout=(Package.swift Sources Protos Tests deploy docs README.md LICENSE CHANGELOG.md .ci
  .gitignore .swift-format)

# Runs a command under a header; a failure names the check and ends the script.
stage() {
  local title=$1 started=$SECONDS
  shift
  echo "== $title"
  "$@" || {
    echo "test: failed: $title" >&2
    exit 1
  }
  echo "   $((SECONDS - started)) s"
}

scratch=$(mktemp -d)
readonly scratch
aarch64=
# Ends what was started, and only that.
finish() {
  [ -z "$aarch64" ] || kill -- "-$aarch64" 2>/dev/null || true
  rm -rf "$scratch"
}
trap finish EXIT

# In a process group of its own, beside the build, which leaves a core idle now and then.
start_aarch64() {
  setsid deploy/test-aarch64.sh >"$scratch/aarch64.log" 2>&1 &
  aarch64=$!
}

check_aarch64() {
  local status=0
  wait "$aarch64" || status=$?
  aarch64=
  cat "$scratch/aarch64.log"
  [ $status != 3 ] || echo "compiled for aarch64, but not run: no emulator on this machine"
  [ $status = 0 ] || [ $status = 3 ]
}

# Looks at files under version control: what tools leave behind is nobody's fault.
check_layout() {
  local tracked entry status=0
  tracked=$(git ls-files 2>/dev/null) || {
    echo "no git checkout: the layout is not checked"
    return 0
  }
  while IFS= read -r entry; do
    [[ -z $entry || " ${layout[*]} " == *" $entry "* ]] || {
      echo "$entry has no place at the top of the repository" >&2
      status=1
    }
  done < <(cut -d / -f 1 <<<"$tracked" | sort -u)
  return $status
}

stage "setup" deploy/setup.sh
stage "layout" check_layout
stage "format" swift format lint --strict --recursive --parallel Package.swift Sources Tests
stage "generated protocol code" deploy/regenerate-protos.sh --check
start_aarch64
stage "build" swift build -c release --build-tests --explicit-target-dependency-import-check error
stage "aarch64 kernels" check_aarch64
# These tests use one core each, so they share the machine.
readonly light='^(CKernels|Cluster|Decoding|GGUF|HTTPAPI|Simulation|Tokenizer|Transport|Wire)Tests\.'
readonly tests=(swift test -c release --disable-xctest --skip-build)
stage "tests of one core" "${tests[@]}" --parallel --filter "$light"
readonly rows='^IntegrationTests\.(FirstRow|SecondRow)Tests/'
# One at a time: engines want the cores for themselves.
stage "tests of all cores" "${tests[@]}" --no-parallel --skip "$light" --skip "$rows"
# Two at a time: clusters wait for half of their time.
stage "tests of clusters" "${tests[@]}" --parallel --filter "$rows"
echo "all checks passed"
