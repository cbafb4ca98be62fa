#!/bin/bash
# Builds Slipstream, starts a router, a verifier and a drafter on this machine, asks one question
# and stops everything again.
#
# Usage: deploy/quickstart.sh ["prompt"]
# SLIPSTREAM_PORT chooses the port of the HTTP API; a free one is taken unless it is set.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
prompt=${1:-Explain in two sentences why the sky is blue.}
readonly executable=.build/release/slipstream
readonly start_seconds=60 stop_seconds=20

logs=$(mktemp -d)
cluster=

fail() {
  local message=$1 log=${2:-}
  if [ -n "$log" ] && [ -s "$log" ]; then
    tail -n 30 "$log" >&2
    echo "quickstart: $message; the whole log is $log" >&2
  else
    echo "quickstart: $message" >&2
  fi
  exit 1
}

# Ends the cluster that this script started, gently first.
stop() {
  local status=$? tenths=0
  trap - EXIT INT TERM
  if [ -n "$cluster" ] && kill -TERM "$cluster" 2>/dev/null; then
    while kill -0 "$cluster" 2>/dev/null && ((tenths < stop_seconds * 10)); do
      sleep 0.1
      tenths=$((tenths + 1))
    done
    if kill -KILL "$cluster" 2>/dev/null; then
      echo "quickstart: the cluster did not stop within $stop_seconds s and was killed" >&2
    fi
  fi
  [ "$status" != 0 ] || rm -rf "$logs"
  exit "$status"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

echo "quickstart: checking this machine" >&2
model=$(deploy/setup.sh | tail -n 1) || fail "setup failed; see above"

echo "quickstart: building (several minutes the first time)" >&2
swift build -c release --product slipstream >"$logs/build.log" 2>&1 ||
  fail "the build failed" "$logs/build.log"

echo "quickstart: starting router, verifier and drafter" >&2
# There before it is read: the process in the background may make it late.
: >"$logs/up.out"
"$executable" up -m "$model" --port "${SLIPSTREAM_PORT:-0}" >"$logs/up.out" 2>"$logs/up.log" &
cluster=$!
url=
for ((tenths = 0; tenths < start_seconds * 10; tenths++)); do
  url=$(sed -n 's|^ready \(http://[^ ]*\).*|\1|p' "$logs/up.out" | head -n 1)
  [ -z "$url" ] || break
  kill -0 "$cluster" 2>/dev/null || fail "the cluster ended before it was ready" "$logs/up.log"
  sleep 0.1
done
[ -n "$url" ] || fail "the cluster was not ready within $start_seconds s" "$logs/up.log"

echo "quickstart: asking $url: $prompt" >&2
"$executable" generate --chat --stream --url "$url" --temp 0 -- "$prompt" ||
  fail "the question was not answered" "$logs/up.log"
