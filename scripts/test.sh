#!/usr/bin/env bash
# Everything that CI checks, in order. Installs what is missing first: npm packages, cargo-deny, and on Debian, as root
# or by sudo, nodejs, npm, chromium, redis-server, postgresql and nginx; elsewhere it says what to install and stops.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# need COMMAND PACKAGE...: installs the Debian packages if the command is missing.
need() {
  command -v "$1" >/dev/null && return
  if ! command -v apt-get >/dev/null || { [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; }; then
    echo "scripts/test.sh needs \`$1\`: install it (on Debian: apt-get install ${*:2}) and run again." >&2
    exit 1
  fi
  as_root apt-get update -qq
  as_root apt-get install -y -qq --no-install-recommends "${@:2}"
}

if ! command -v cargo >/dev/null; then
  echo "scripts/test.sh needs Rust: see https://rustup.rs, and run again." >&2
  exit 1
fi
need cc gcc libc6-dev
need node nodejs npm
need npm npm
need chromium chromium
need redis-server redis-server
# Debian keeps the programs of the server outside of PATH.
debian_postgres() { printf ':%s' /usr/lib/postgresql/*/bin; }
PATH="$PATH$(debian_postgres):/usr/sbin"
need initdb postgresql
PATH="$PATH$(debian_postgres)"
need nginx nginx
# In debug, since it compiles in half the time and runs once.
command -v cargo-deny >/dev/null || cargo install cargo-deny --version '^0.20' --locked --quiet --debug

# What is built but once has nothing to gain from what is kept for the next build.
[ -z "${CI:-}" ] || export CARGO_INCREMENTAL=0

# The load tests hold thousands of sockets.
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true

# One set of features for all steps: cargo compiles a crate again for each other set.
everything=(--workspace --all-features --locked)
binaries="${CARGO_TARGET_DIR:-$PWD/target}/debug"

step "format"
cargo fmt --all --check

step "lints"
cargo clippy "${everything[@]}" --all-targets -- -D warnings

step "docs"
RUSTDOCFLAGS="-D warnings" cargo doc "${everything[@]}" --no-deps

step "build"
cargo build "${everything[@]}" --all-targets

# MySQL needs a server that somebody starts: CONTRIBUTING.md. With the canary, `it` is also a test that no log says a secret.
step "tests"
CATAMARAN_DIFFERENTIAL_REQUESTS=100000 CATAMARAN_MUTATED_PACKETS=100000 CATAMARAN_ACKED_REQUESTS=100000 CATAMARAN_CANARY=canary-7f3a \
  cargo test "${everything[@]}" --no-fail-fast -- --skip mysql:: --skip leak:: --skip crowd::

# One after the other, without the canary: they measure memory, or load the machine.
step "load tests"
CATAMARAN_LEAK_CYCLES=50000 CATAMARAN_CROWD=2000 cargo test "${everything[@]}" --test it -- --test-threads 1 leak:: crowd::

step "third-party clients"
npm --prefix tests/clients ci --no-audit --no-fund --loglevel=error
CATAMARAN_BINARIES="$binaries" npm --prefix tests/clients test

step "catamaran client"
npm --prefix tests/client ci --no-audit --no-fund --loglevel=error
CATAMARAN_BINARIES="$binaries" npm --prefix tests/client test
CATAMARAN_BINARIES="$binaries" npm --prefix tests/client run test:src

step "benches run"
"$binaries/catamaran-benches" --smoke

step "licences and sources"
cargo deny --log-level error check licenses bans sources

step "packages"
./scripts/check-packages.sh

step "all passed"
