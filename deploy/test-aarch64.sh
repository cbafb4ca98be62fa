#!/bin/bash
# Builds the kernels and their checks for 64-bit ARM and runs them under an emulator: once on a
# processor with the dot product instructions (tables neon and scalar), once on one without
# (scalar only).
#
# Usage: deploy/test-aarch64.sh [quick|full]      (full by default: about two minutes)
# Needs clang with the AArch64 backend and lld (the Swift toolchain has both) and, from Debian,
# the C library for arm64 and user-mode QEMU. What is missing is installed where this runs as
# root. Without the emulator the script compiles only, says so, and exits with status 3.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
effort=${1:-full}
case "$effort" in
quick | full) ;;
*)
  echo "usage: $0 [quick|full]" >&2
  exit 2
  ;;
esac
clang --print-targets 2>/dev/null | grep -qw aarch64 || {
  echo "no clang that builds for aarch64: put the Swift toolchain in PATH" >&2
  exit 1
}

cross=/usr/aarch64-linux-gnu
gcc_directory() {
  find /usr/lib/gcc-cross/aarch64-linux-gnu -name libgcc.a -printf '%h\n' 2>/dev/null | sort -V |
    tail -n 1
}
emulator() { command -v qemu-aarch64 || command -v qemu-aarch64-static || true; }

missing=()
[ -e $cross/include/stdio.h ] && [ -e $cross/lib/libc.a ] || missing+=(libc6-dev-arm64-cross)
[ -n "$(gcc_directory)" ] || missing+=(libgcc-12-dev-arm64-cross)
[ -n "$(emulator)" ] || missing+=(qemu-user-static)
if [ ${#missing[@]} -gt 0 ]; then
  echo "installing: ${missing[*]}"
  if ! { [ "$(id -u)" = 0 ] && apt-get update -qq &&
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
      "${missing[@]}" >/dev/null; }; then
    echo "could not install: ${missing[*]}" >&2
  fi
fi
[ -e $cross/include/stdio.h ] || {
  echo "no C library headers for arm64: nothing was built" >&2
  exit 1
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cat >"$scratch/main.c" <<'MAIN'
#include "ckernelchecks.h"
#include <string.h>

int main(int argc, char **argv) {
  bool quick = argc > 1 && strcmp(argv[1], "quick") == 0;
  return ck_checks_main("aarch64 kernels", quick ? ck_effort_quick : ck_effort_full);
}
MAIN

# The flags of Package.swift's C targets.
flags=(--target=aarch64-linux-gnu -isystem $cross/include -D_GNU_SOURCE -O2 -Wall -Wextra -Werror
  -I "$root/Sources/CKernels/include" -I "$root/Sources/CKernelChecks/include")
objects=()
for source in "$root"/Sources/CKernels/*.c "$root"/Sources/CKernelChecks/*.c "$scratch/main.c"; do
  object="$scratch/$(basename "$source" .c).o"
  clang "${flags[@]}" -c "$source" -o "$object"
  objects+=("$object")
done

libraries=$(gcc_directory)
qemu=$(emulator)
if [ ! -e $cross/lib/libc.a ] || [ -z "$libraries" ] || [ -z "$qemu" ]; then
  echo "aarch64 kernels: compiled, NOT RUN (C library or emulator missing)" >&2
  exit 3
fi
clang --target=aarch64-linux-gnu -fuse-ld=lld -static -B $cross/lib -L $cross/lib \
  -B "$libraries" -L "$libraries" "${objects[@]}" -lm -o "$scratch/checks"

# Both runs count: a failure of the first must not hide behind the second.
status=0
output=$("$qemu" -cpu max "$scratch/checks" "$effort") || status=1
echo "$output"
grep -q '(neon, scalar)$' <<<"$output" || {
  echo "the emulated processor did not run the table neon" >&2
  status=1
}
output=$("$qemu" -cpu cortex-a53 "$scratch/checks" quick) || status=1
echo "$output"
grep -q '(scalar)$' <<<"$output" || {
  echo "the processor without dot products was given another table than scalar" >&2
  status=1
}
exit $status
