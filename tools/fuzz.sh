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
targets=$(find $build/tests/fuzz -maxdepth 1 -name 'fuzz_*' -type f -perm -u+x | sort)

fuzz() { # TARGET NAME
  found=$build/found/$2 grown=$build/corpus/$2
  mkdir -p "$found" "$grown"
  rm -f "$found/passed"
  "$1" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 -verbosity=0 \
    -artifact_prefix="$found/" "$grown" tests/fuzz/corpus/"$2" >"$found/log" 2>&1 && touch "$found/passed"
}

started=0
for target in $targets; do # one on each core
  fuzz "$target" "${target##*/fuzz_}" &
  started=$((started + 1))
  [ $((started % $(nproc))) != 0 ] || wait
done
wait

passed=0 failed=0
for target in $targets; do
  name=${target##*/fuzz_}
  log=$build/found/$name/log
  if [ -f "$build/found/$name/passed" ]; then
    passed=$((passed + 1))
    echo "$name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") runs, nothing found"
  else
    failed=$((failed + 1))
    tail -n 40 "$log"
    echo "$name: FAILED, see $build/found/$name"
  fi
done
echo "$passed passed, $failed failed"
[ $failed = 0 ] && [ $passed -gt 0 ]
