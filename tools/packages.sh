#!/bin/sh
# The packages that sam3 needs, and the only list of them. Installs what is missing on Debian 12 and Ubuntu 24.04, as
# root or through sudo; says nothing when all are there.
#
#   tools/packages.sh [--list] [GROUP...]
#
# Groups: build (default): compile and run. test: the tests. tools: fuzzing and formatting, as CI does.
# --list prints the names instead.
set -eu

build='make gcc libc6-dev meson ninja-build pkg-config libfreetype-dev libjansson-dev libjpeg-dev
  libspng-dev libunistring-dev libwebp-dev zlib1g-dev'
test='libcmocka-dev python3 python3-numpy'
tools='git clang clang-format'

list=
[ "${1-}" = --list ] && list=yes && shift
[ $# -gt 0 ] || set -- build
wanted=
for group; do
  case $group in
  build) wanted="$wanted $build" ;;
  test) wanted="$wanted $test" ;;
  tools) wanted="$wanted $tools" ;;
  *)
    echo "$0: no group '$group': build, test or tools" >&2
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
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    echo "$0: missing:$missing; run this as root: apt-get install$missing" >&2
    exit 1
  fi
}

find_missing() {
  missing=
  installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' 2>/dev/null)
  for package in $wanted; do
    case "$installed
" in
    *"installed $package
"*) ;;
    *) missing="$missing $package" ;;
    esac
  done
}

install_missing() {
  find_missing
  if [ -n "$missing" ]; then
    echo "installing:$missing" >&2
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q update </dev/null >&2
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 install \
      --no-install-recommends $missing </dev/null >&2
  fi
}

install_missing
# Clang's sanitizer and fuzzer libraries are a package of its version.
case " $* " in
*' tools '*)
  version=$(clang -dumpversion)
  wanted="libclang-rt-${version%%.*}-dev"
  install_missing
  ;;
esac
