#!/bin/sh
# The packages that sam3 needs, and the only list of them. Installs what is missing on Debian 12 and Ubuntu 24.04, as
# root or through sudo; says nothing when all are there.
#
#   tools/packages.sh [--list] [GROUP...]
#
# Groups: build (default): compile and run. test: the tests. web: those of the page, in a browser. tools: fuzzing,
# formatting and schemathesis, as CI does.
# --list prints the names instead.
set -eu

build='make gcc libc6-dev meson ninja-build pkg-config libfreetype-dev libjansson-dev libjpeg-dev
  libmicrohttpd-dev libspng-dev libsqlite3-dev libunistring-dev libwebp-dev libyaml-dev
  python3 zlib1g-dev'
# Used when the distribution has it. (Ubuntu's chromium is a snap.)
optional_web='chromium fonts-wqy-microhei'
test='libcmocka-dev python3 python3-numpy'
web='nodejs npm'
tools='git clang clang-format python3-venv'

list= optional=
[ "${1-}" = --list ] && list=yes && shift
[ $# -gt 0 ] || set -- build
wanted=
for group; do
  case $group in
  build) wanted="$wanted $build" ;;
  test) wanted="$wanted $test" ;;
  web)
    # Node.js of another origin has npm within it, and cannot stand beside Debian's.
    command -v npm >/dev/null || wanted="$wanted $web"
    optional=$optional_web
    ;;
  tools) wanted="$wanted $tools" ;;
  *)
    echo "$0: no group '$group': build, test, web or tools" >&2
    exit 2
    ;;
  esac
done
if [ -n "$list" ]; then
  printf '%s\n' $wanted
  exit
fi

if ! command -v apt-get >/dev/null; then
  echo "$0: this is not Debian or Ubuntu; sam3 needs what these packages hold:" $wanted >&2
  exit
fi

as_root() {
  if [ "$(id -u)" = 0 ]; then
    env DEBIAN_FRONTEND=noninteractive "$@" </dev/null >&2
  elif command -v sudo >/dev/null; then
    sudo env DEBIAN_FRONTEND=noninteractive "$@" >&2
  else
    echo "$0: run this as root: $*" >&2
    exit 1
  fi
}

# Those of the given packages that are not installed.
missing() {
  installed=$(dpkg-query -W -f ' ${db:Status-Status}:${Package} ' 2>/dev/null)
  for package; do
    case $installed in
    *" installed:$package "*) ;;
    *) echo "$package" ;;
    esac
  done
}

install_missing() {
  needed=$(missing "$@")
  [ -z "$needed" ] || as_root apt-get -q update
  for package in $(missing $optional); do
    apt-cache show "$package" >/dev/null 2>&1 && needed="$needed $package"
  done
  [ -z "$needed" ] || as_root apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends $needed
}

install_missing $wanted
# Clang's sanitizer and fuzzer libraries are a package of its version.
case " $* " in
*' tools '*)
  version=$(clang -dumpversion)
  install_missing "libclang-rt-${version%%.*}-dev"
  ;;
esac
case " $* " in
*' web '*)
  cd "$(dirname "$0")/../tests/web"
  [ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --no-audit --no-fund --silent >&2
  ;;
esac
