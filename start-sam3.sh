#!/bin/sh
# Builds sam3 where that is needed and serves its page and API in the background.
#
#   ./start-sam3.sh [start|stop|restart|status|logs] [FLAG of sam3 serve...]
#
# Settings, each by its environment variable: MODEL_PATH, DEVICE_IDS, NUM_WORKERS, BATCH_SIZE_PER_GPU, USE_DDP,
# MASTER_PORT, HOST, PORT, LOG_FILE, and SAM3_* for every other (sam3 serve --help). CONFIG names a YAML file.
set -eu
cd "$(dirname "$0")"

program=build/src/cli/sam3
state=${XDG_STATE_HOME:-$HOME/.local/state}/sam3
pid_file=$state/sam3.pid

say() { printf 'sam3: %s\n' "$*"; }
die() {
  printf 'sam3: %s\n' "$*" >&2
  exit 1
}

# The guide's names, unless the program's own are given.
map() {
  eval "given=\${$1-} own=\${$2-}"
  if [ -n "$given" ] && [ -z "$own" ]; then
    eval "export $2=\$given"
  fi
}
map MODEL_PATH SAM3_MODEL_PATH
map DEVICE_IDS SAM3_DEVICE_IDS
map NUM_WORKERS SAM3_NUM_WORKERS
map BATCH_SIZE_PER_GPU SAM3_BATCH_SIZE_PER_GPU
map USE_DDP SAM3_USE_DDP
map MASTER_PORT SAM3_MASTER_PORT
map HOST SAM3_HOST
map PORT SAM3_PORT
map LOG_FILE SAM3_LOG_FILE

# On a terminal, a line that the next one of it replaces; none ends it.
progress() {
  [ ! -t 1 ] || printf '\r\033[K%s' "${1:+sam3: $1 }"
}

# The process of the pid file, if it is still ours.
running() {
  [ -s "$pid_file" ] || return 1
  pid=$(head -n 1 "$pid_file")
  [ -d "/proc/$pid" ] && tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q 'sam3 serve'
}

log_of() { sed -n 2p "$pid_file" 2>/dev/null; }
address_of() { sed -n 3p "$pid_file" 2>/dev/null; }

choose_log() {
  [ -z "${SAM3_LOG_FILE-}" ] || return 0
  if { : >>/var/log/sam3.log; } 2>/dev/null; then
    SAM3_LOG_FILE=/var/log/sam3.log
  else
    SAM3_LOG_FILE=$state/sam3.log
  fi
  export SAM3_LOG_FILE
}

build() {
  tools/packages.sh build
  [ -f build/build.ninja ] || meson setup -Dtests=false ${MESON_FLAGS-} build >"$state/build.log" 2>&1 ||
    die "the build could not be set up: see $state/build.log"
  ninja -C build -n src/cli/sam3 2>/dev/null | grep -q 'no work to do' || say 'building (the first time takes a minute or two)'
  ninja -C build src/cli/sam3 >"$state/build.log" 2>&1 &
  while kill -0 $! 2>/dev/null; do
    progress "building $(grep -o '^\[[0-9/]*\]' "$state/build.log" | tail -n 1)"
    sleep 0.2
  done
  progress
  wait $! || die "the build failed: see $state/build.log"
}

# GPUs when this build can use them, else a group of cores for each NUMA node, else all cores.
choose_devices() {
  [ -z "${SAM3_DEVICE_IDS-}" ] || return 0
  [ -z "${CONFIG-}" ] || ! grep -q '^device_ids:' "$CONFIG" || return 0
  if command -v nvidia-smi >/dev/null && "$program" devices --json | grep -q '"cuda:'; then
    SAM3_DEVICE_IDS=$(nvidia-smi --query-gpu=index --format=csv,noheader | paste -sd, -)
  else
    groups= count=0
    for node in /sys/devices/system/node/node[0-9]*/cpulist; do
      list=$(cat "$node" 2>/dev/null) || continue
      case $list in
      '' | *,*) continue ;; # without cores, or not one range
      esac
      groups=$groups${groups:+,}cpu:$list count=$((count + 1))
    done
    [ "$count" -gt 1 ] || return 0
    SAM3_DEVICE_IDS=$groups
  fi
  export SAM3_DEVICE_IDS
  say "devices: $SAM3_DEVICE_IDS"
}

# Waits for the server that was started, with a line that says so.
wait_ready() {
  out=$1 tries=0
  while :; do
    if ! kill -0 "$pid" 2>/dev/null; then
      rm -f "$pid_file"
      grep '^sam3: ' "$out" | grep -v '^sam3: serving on\|^sam3: using the demo' >&2 || cat "$out" >&2
      die 'did not start'
    fi
    address=$(sed -n 's/^sam3: serving on //p' "$out")
    if grep -q '^sam3: ready' "$out"; then
      break
    fi
    progress "loading the model, $((tries / 5)) s"
    tries=$((tries + 1))
    sleep 0.2
  done
  progress
}

start() {
  if running; then
    say "runs already, process $pid: $(address_of)"
    return
  fi
  [ -z "${CONFIG-}" ] || [ -r "$CONFIG" ] || die "CONFIG: $CONFIG cannot be read"
  mkdir -p "$state"
  build
  choose_log
  choose_devices
  out=$state/start.log
  : >"$out"
  setsid "$program" serve ${CONFIG:+-c "$CONFIG"} "$@" </dev/null >>"$out" 2>&1 &
  pid=$!
  printf '%s\n%s\n' "$pid" "$SAM3_LOG_FILE" >"$pid_file"
  wait_ready "$out"
  printf '%s\n' "$address" >>"$pid_file"
  say "$(sed -n 's/^sam3: //p' "$out" | tail -n 1): open $(printf %s "$address" | sed -E 's#//(127\.0\.0\.1|0\.0\.0\.0|\[::1?\]):#//localhost:#')"
  say "log: $SAM3_LOG_FILE; ./start-sam3.sh stop ends it"
}

stop() {
  if ! running; then
    rm -f "$pid_file"
    say 'does not run'
    return
  fi
  kill -TERM "$pid"
  tries=0
  while kill -0 "$pid" 2>/dev/null && [ "$tries" -lt 300 ]; do
    tries=$((tries + 1))
    sleep 0.2
  done
  ! kill -0 "$pid" 2>/dev/null || die "process $pid does not end; kill -KILL $pid ends it at once"
  rm -f "$pid_file"
  say 'stopped'
}

case ${1-} in
'' | --[!h]* | -[cmd]) command=start ;; # flags alone
*) command=$1 && shift ;;
esac
case $command in
start) start "$@" ;;
stop) stop ;;
restart)
  stop
  start "$@"
  ;;
status)
  running || {
    say 'does not run'
    exit 3
  }
  say "runs, process $pid: $(address_of), log $(log_of)"
  ;;
logs)
  log=$(log_of)
  exec tail -n 50 -f "${log:-${SAM3_LOG_FILE:-$state/sam3.log}}"
  ;;
-h | --help | help) sed -n '2,7s/^# \{0,1\}//p' "$0" ;;
*) die "no command '$command': start, stop, restart, status or logs" ;;
esac
