#!/usr/bin/env bash
# Builds the relays that `scripts/bench nostr` compares with, from the crates registry:
#
#   benches/compare/peers/nostr.sh FOLDER
#
# The programs come to FOLDER/bin. One that cannot be built leaves FOLDER/NAME.skipped with the
# reason. What is there already is left alone, so that a second call takes no time.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.." || exit 1

mkdir -p "${1:?usage: nostr.sh FOLDER}/bin"
folder=$(cd "$1" && pwd)
export CARGO_TARGET_DIR="$folder/build"

say() { printf 'bench: %s\n' "$*" >&2; }

# skip NAME REASON
skip() {
  printf '%s\n' "$2" >"$folder/$1.skipped"
  say "without $1: $2"
}

# The reason of a failed build: the first error of the compiler, or of cargo.
reason() { grep -m1 '^error' "$folder/$1.log" | cut -c1-200; }

# build NAME ARGUMENTS…: cargo install with these arguments.
build() {
  local name=$1
  shift
  say "building $name (release, a few minutes, once)"
  if ! cargo install --locked --root "$folder" "$@" >"$folder/$name.log" 2>&1; then
    skip "$name" "it does not build here: $(reason "$name")"
    return 1
  fi
  rm -f "$folder/$name.skipped"
}

# is_there NAME
is_there() { [[ -x $folder/bin/$1 ]]; }

# The source of a crate, which cargo has in its cache once something asked for it.
source_of() {
  local name=$1 version=$2 crate
  cargo info --registry crates-io "$name@$version" >/dev/null 2>&1
  crate=$(find "${CARGO_HOME:-$HOME/.cargo}/registry/cache" -name "$name-$version.crate" 2>/dev/null | head -1)
  [[ -n $crate ]] || return 1
  rm -rf "$folder/source/$name-$version"
  mkdir -p "$folder/source"
  tar -C "$folder/source" -xzf "$crate"
}

# SQLite with `synchronous = NORMAL` and a write-ahead log does not sync when it commits: an event
# that was acknowledged can be gone after a power failure. The other relays sync, so this one is
# built with FULL. Its lock file names a `time` that no compiler since 1.80 accepts.
nostr_rs_relay() {
  local name=nostr-rs-relay version=0.8.12 source
  is_there "$name" && return
  command -v protoc >/dev/null || install_protoc
  if ! command -v protoc >/dev/null; then
    skip "$name" 'it needs protoc (protobuf-compiler)'
    return
  fi
  if ! source_of "$name" "$version"; then
    skip "$name" 'the registry does not have its source'
    return
  fi
  source="$folder/source/$name-$version"
  sed -i -E 's/^(PRAGMA main\.synchronous *=) *NORMAL;/\1 FULL;/' "$source/src/repo/sqlite_migration.rs"
  if grep -q 'synchronous *= *NORMAL' "$source/src/repo/sqlite_migration.rs"; then
    skip "$name" 'its durability could not be raised'
    return
  fi
  # It is not a member of the workspace that it lies in.
  printf '\n[workspace]\n' >>"$source/Cargo.toml"
  (cd "$source" && cargo update --quiet -p time@0.3.25 --precise 0.3.36) >/dev/null 2>&1
  build "$name" --path "$source"
}

install_protoc() {
  [[ $EUID -eq 0 ]] && command -v apt-get >/dev/null || return
  say "installing Debian's protobuf-compiler with apt-get"
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes \
    --no-install-recommends protobuf-compiler; } >/dev/null 2>&1
}

rnostr() {
  is_there rnostr || build rnostr --version 0.4.8 rnostr
}

nostr_relay_builder() {
  is_there peer-nostr-relay-builder \
    || build peer-nostr-relay-builder --path benches/compare/peers/nostr-relay-builder
}

nostr_relay_builder
nostr_rs_relay
rnostr
# All that is needed is in FOLDER/bin.
if is_there rnostr && is_there nostr-rs-relay && is_there peer-nostr-relay-builder; then
  rm -rf "$folder/build" "$folder/source"
fi
exit 0
