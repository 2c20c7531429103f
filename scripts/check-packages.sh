#!/usr/bin/env bash
# Checks the packages as crates.io would get them: packs them, unpacks them beside each other, and compiles what came out, with the
# default features and what the main build has left of dependencies.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(catamaran-macros-core catamaran-macros catamaran-pubsub catamaran catamaran-resources-macros catamaran-resources)
target="${CARGO_TARGET_DIR:-$PWD/target}"
unpacked="$target/unpacked"

rm -rf "$unpacked" "$target"/package/*.crate
cargo package --locked --allow-dirty --no-verify "${packages[@]/#/--package=}"
mkdir -p "$unpacked"
{
  printf '[workspace]\nresolver = "3"\nmembers = ["*-*.*.*"]\n[patch.crates-io]\n'
  for package in "${packages[@]}"; do
    # With the time of today: in a package all files are of one old date, by which cargo would take them for checked.
    for file in "$target/package/$package"-[0-9]*.crate; do
      tar -xzmf "$file" -C "$unpacked"
      printf '%s = { path = "%s" }\n' "$package" "$(basename "$file" .crate)"
    done
  done
} >"$unpacked/Cargo.toml"
# The versions of this repository; cargo leaves out those that only tests and examples need.
cp Cargo.lock "$unpacked"
CARGO_TARGET_DIR="$target" cargo check --manifest-path "$unpacked/Cargo.toml" --workspace --offline
