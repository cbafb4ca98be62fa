#!/bin/bash
# Generates Sources/CWire from Protos/. With --check it changes nothing and fails where the
# committed files differ from what would be generated.
#
# Needs protoc-c (Debian: protobuf-c-compiler). The output depends on its version: 1.4.1.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
mode=${1:-write}
case "$mode" in
write | --check) ;;
*)
  echo "usage: $0 [--check]" >&2
  exit 2
  ;;
esac
command -v protoc-c >/dev/null || {
  echo "protoc-c not found: install protobuf-c-compiler" >&2
  exit 1
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/generated" "$scratch/CWire/include"

cd "$root/Protos"
find slipstream -name '*.proto' -print0 | sort -z |
  xargs -0 protoc-c --c_out="$scratch/generated" -I .

cd "$scratch/generated"
find . -name '*.pb-c.c' -print0 | sort -z | while IFS= read -r -d '' file; do
  mkdir -p "$scratch/CWire/$(dirname "$file")"
  mv "$file" "$scratch/CWire/$file"
done
cp -r . "$scratch/CWire/include/"

if [ "$mode" = --check ]; then
  if ! diff -r "$scratch/CWire" "$root/Sources/CWire"; then
    echo "Sources/CWire is out of date: run deploy/regenerate-protos.sh" >&2
    exit 1
  fi
else
  rm -rf "$root/Sources/CWire"
  cp -r "$scratch/CWire" "$root/Sources/CWire"
fi
