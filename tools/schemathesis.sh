#!/bin/sh
# Runs schemathesis against a server with a tiny random model: every operation of openapi.json with generated requests,
# right and wrong ones. Where it is not installed it is put into BUILD_FOLDER/schemathesis.
#
#   tools/schemathesis.sh [BUILD_FOLDER] [EXAMPLES]
#
# One check is left out, that what the schema allows is accepted: no schema says "bytes of a PNG" or "x0 < x1".
set -eu
cd "$(dirname "$0")/.."
build=${1:-build}
program=$build/src/cli/sam3
schemathesis=schemathesis
if ! command -v $schemathesis >/dev/null; then
  schemathesis=$build/schemathesis/bin/schemathesis
  [ -x "$schemathesis" ] || {
    python3 -m venv "$build/schemathesis"
    "$build/schemathesis/bin/pip" install -q schemathesis==4.32.5
  }
fi
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$work"' EXIT
python3 tools/reference/make_model.py "$work/model" --preset ash >"$work/make.log"
"$program" serve -m "$work/model" --port 0 >"$work/log" 2>&1 &
server=$!
tries=0
until grep -q '^sam3: ready' "$work/log"; do
  tries=$((tries + 1))
  [ "$tries" -lt 600 ] || { cat "$work/log" >&2; exit 1; }
  sleep 0.1
done
"$schemathesis" run "$(sed -n 's/^sam3: serving on //p' "$work/log")/openapi.json" --max-examples "${2:-30}" \
  --exclude-checks positive_data_acceptance --request-timeout 60
kill -0 "$server" # it has survived
