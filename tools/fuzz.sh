#!/bin/sh
# Runs every fuzz target over its corpus for SECONDS (default 60) each, with address and undefined-behaviour sanitizers.
# What a target finds stays in build-fuzz/found/; the last line tells how many passed and failed.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-60}
build=build-fuzz
[ -f $build/build.ninja ] || CC=clang meson setup -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false \
  --buildtype=debugoptimized $build
ninja -C $build fuzzers
passed=0 failed=0
for target in $build/tests/fuzz/fuzz_*; do
  [ -f "$target" ] && [ -x "$target" ] || continue
  name=${target##*/fuzz_}
  found=$build/found/$name grown=$build/corpus/$name
  mkdir -p "$found" "$grown"
  if "$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 -verbosity=0 \
    -artifact_prefix="$found/" "$grown" tests/fuzz/corpus/"$name" >"$found/log" 2>&1; then
    passed=$((passed + 1))
    echo "$name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$found/log") runs, nothing found"
  else
    failed=$((failed + 1))
    tail -n 40 "$found/log"
    echo "$name: FAILED, see $found"
  fi
done
echo "$passed passed, $failed failed"
[ $failed = 0 ] && [ $passed -gt 0 ]
